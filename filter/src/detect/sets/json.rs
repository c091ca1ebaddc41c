//! JSON (RFC 8259) as far as sets need it: read, look into, write again. Numbers stay as they are written.

/// How deep lists and objects may nest.
const DEPTH: usize = 64;

/// A value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Json {
    /// A number, `true`, `false` or `null`, as written.
    Plain(String),
    /// A text.
    Text(String),
    /// A list.
    List(Vec<Json>),
    /// An object's members in their order.
    Object(Vec<(String, Json)>),
}

/// Reads one value that is all of `text`.
pub fn parse(text: &str) -> Result<Json, String> {
    let mut reader = Reader { rest: text };
    let value = reader.value(0)?;
    reader.blank();
    if reader.rest.is_empty() { Ok(value) } else { Err(reader.fault("something follows the value")) }
}

impl Json {
    /// The member of this name.
    pub fn get(&self, name: &str) -> Option<&Json> {
        match self {
            Json::Object(members) => members.iter().find(|(key, _)| key == name).map(|(_, value)| value),
            Json::Plain(_) | Json::Text(_) | Json::List(_) => None,
        }
    }

    /// What stands at a path of names with dots between them.
    pub fn at(&self, path: &str) -> Option<&Json> {
        path.split('.').try_fold(self, Json::get)
    }

    /// The text, where it is one.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Json::Text(text) => Some(text),
            Json::Plain(_) | Json::List(_) | Json::Object(_) => None,
        }
    }

    /// The list, where it is one.
    pub fn as_list(&self) -> Option<&[Json]> {
        match self {
            Json::List(list) => Some(list),
            Json::Plain(_) | Json::Text(_) | Json::Object(_) => None,
        }
    }

    /// Takes away what stands at a path.
    pub fn remove(&mut self, path: &str) {
        let Json::Object(members) = self else { return };
        match path.split_once('.') {
            Some((key, rest)) => {
                if let Some((_, inner)) = members.iter_mut().find(|(name, _)| name == key) {
                    inner.remove(rest);
                }
            }
            None => members.retain(|(name, _)| name != path),
        }
    }

    /// Writes it without white space.
    pub fn write(&self, out: &mut String) {
        match self {
            Json::Plain(plain) => out.push_str(plain),
            Json::Text(text) => write_text(text, out),
            Json::List(list) => {
                out.push('[');
                for (i, value) in list.iter().enumerate() {
                    out.push_str(if i > 0 { "," } else { "" });
                    value.write(out);
                }
                out.push(']');
            }
            Json::Object(members) => {
                out.push('{');
                for (i, (name, value)) in members.iter().enumerate() {
                    out.push_str(if i > 0 { "," } else { "" });
                    write_text(name, out);
                    out.push(':');
                    value.write(out);
                }
                out.push('}');
            }
        }
    }
}

/// Writes a text in quotes.
pub fn write_text(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if (c as u32) < 0x20 => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
}

struct Reader<'t> {
    rest: &'t str,
}

impl<'t> Reader<'t> {
    fn fault(&self, message: &str) -> String {
        let near: String = self.rest.chars().take(20).collect();
        format!("this is not JSON: {message} before '{near}'")
    }

    fn blank(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\r', '\n']);
    }

    /// Takes `token`, where it comes next.
    fn take(&mut self, token: char) -> bool {
        self.blank();
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn value(&mut self, depth: usize) -> Result<Json, String> {
        self.blank();
        if depth > DEPTH {
            return Err(self.fault("it nests too deep"));
        }
        if self.take('{') {
            return self.object(depth);
        }
        if self.take('[') {
            return self.list(depth);
        }
        if self.rest.starts_with('"') {
            return self.text().map(Json::Text);
        }
        let end = self.rest.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.')));
        let (plain, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        let known = matches!(plain, "true" | "false" | "null") || plain.parse::<f64>().is_ok_and(f64::is_finite);
        if !known {
            return Err(self.fault("there is no value"));
        }
        self.rest = rest;
        Ok(Json::Plain(plain.to_owned()))
    }

    fn object(&mut self, depth: usize) -> Result<Json, String> {
        let mut members = Vec::new();
        while !self.take('}') {
            if !members.is_empty() && !self.take(',') {
                return Err(self.fault("a comma is missing"));
            }
            self.blank();
            let name = self.text()?;
            if !self.take(':') {
                return Err(self.fault("a colon is missing"));
            }
            members.push((name, self.value(depth + 1)?));
        }
        Ok(Json::Object(members))
    }

    fn list(&mut self, depth: usize) -> Result<Json, String> {
        let mut list = Vec::new();
        while !self.take(']') {
            if !list.is_empty() && !self.take(',') {
                return Err(self.fault("a comma is missing"));
            }
            list.push(self.value(depth + 1)?);
        }
        Ok(Json::List(list))
    }

    fn text(&mut self) -> Result<String, String> {
        let Some(inner) = self.rest.strip_prefix('"') else { return Err(self.fault("a text is missing")) };
        let mut text = String::new();
        let mut chars = inner.chars();
        loop {
            match chars.next() {
                Some('"') => break,
                Some('\\') => text.push(escaped(&mut chars).ok_or_else(|| self.fault("an escape is wrong"))?),
                Some(c) => text.push(c),
                None => return Err(self.fault("a text is not closed")),
            }
        }
        self.rest = chars.as_str();
        Ok(text)
    }
}

/// The character that stands behind a backslash. Halves of surrogate pairs become the replacement character.
fn escaped(chars: &mut std::str::Chars<'_>) -> Option<char> {
    Some(match chars.next()? {
        c @ ('"' | '\\' | '/') => c,
        'b' => '\u{8}',
        'f' => '\u{c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'u' => {
            let digits = chars.as_str().get(..4)?;
            *chars = chars.as_str().get(4..)?.chars();
            char::from_u32(u32::from_str_radix(digits, 16).ok()?).unwrap_or(char::REPLACEMENT_CHARACTER)
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_written_again() {
        let text = r#"{"a":[1,-2.5e3,true,null,"x\"\\\n"],"b":{}}"#;
        let mut out = String::new();
        parse(text).unwrap().write(&mut out);
        assert_eq!(out, text);
        let mut value = parse(r#" { "a" : { "b" : 1 , "c" : "\u0041" } } "#).unwrap();
        assert_eq!(value.at("a.c").and_then(Json::as_text), Some("A"));
        value.remove("a.b");
        assert!(value.at("a.b").is_none());
    }

    #[test]
    fn what_is_not_json_is_refused() {
        for text in ["", "{", "[1 2]", "{\"a\" 1}", "\"", "nul", "1 1", "\"\\x\"", "{1:2}", "[,1]"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse(&"[".repeat(100_000)).is_err());
    }
}
