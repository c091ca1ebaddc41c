//! JSON as it is written, without a tree in between: application parsers say with it what a transaction was.
//!
//! Members come out in the order they are written. Of a text that is not UTF-8, all but the printable characters of ASCII
//! stand in hexadecimal (`\xff`).

use std::fmt::Write;

/// An object or array that is being written into a text. Closed by [`Json::end`] or when dropped by its parent.
#[derive(Debug)]
pub struct Json<'t> {
    text: &'t mut String,
    close: char,
    empty: bool,
}

impl<'t> Json<'t> {
    /// Begins an object at the end of `text`.
    pub fn object(text: &'t mut String) -> Json<'t> {
        text.push('{');
        Json { text, close: '}', empty: true }
    }

    /// Goes on with an object whose closing brace is not written yet. `empty`: it has no member so far.
    pub fn resume(text: &'t mut String, empty: bool) -> Json<'t> {
        Json { text, close: '}', empty }
    }

    fn key(&mut self, key: &str) {
        self.comma();
        string(self.text, key);
        self.text.push(':');
    }

    fn comma(&mut self) {
        if !std::mem::take(&mut self.empty) {
            self.text.push(',');
        }
    }

    /// A member that is a text.
    pub fn text(&mut self, key: &str, value: &str) -> &mut Self {
        self.key(key);
        string(self.text, value);
        self
    }

    /// A member that is a text of unknown encoding.
    pub fn bytes(&mut self, key: &str, value: &[u8]) -> &mut Self {
        self.text(key, &readable(value))
    }

    /// A member that is bytes in hexadecimal; `separator` between them where it is not empty.
    pub fn hex(&mut self, key: &str, value: &[u8], separator: &str) -> &mut Self {
        self.key(key);
        self.text.push('"');
        for (i, byte) in value.iter().enumerate() {
            if i > 0 {
                self.text.push_str(separator);
            }
            // Writing into a String does not fail.
            let _ = write!(self.text, "{byte:02x}");
        }
        self.text.push('"');
        self
    }

    /// A member that is a number.
    pub fn number(&mut self, key: &str, value: impl Into<i128>) -> &mut Self {
        self.key(key);
        let _ = write!(self.text, "{}", value.into());
        self
    }

    /// A member that is true or false.
    pub fn flag(&mut self, key: &str, value: bool) -> &mut Self {
        self.key(key);
        self.text.push_str(if value { "true" } else { "false" });
        self
    }

    /// A member that is JSON already.
    pub fn raw(&mut self, key: &str, json: &str) -> &mut Self {
        self.key(key);
        self.text.push_str(json);
        self
    }

    /// Members that are JSON already, with commas between them and without braces.
    pub fn members(&mut self, json: &str) -> &mut Self {
        self.comma();
        self.text.push_str(json);
        self
    }

    /// Leaves the object open; [`Json::resume`] goes on with it.
    pub fn leave_open(self) {}

    /// A member that is an object, written by `fill`.
    pub fn nested(&mut self, key: &str, fill: impl FnOnce(&mut Json<'_>)) -> &mut Self {
        self.key(key);
        self.inner('{', '}', fill)
    }

    /// A member that is an array, written by `fill` with the `item` functions.
    pub fn array(&mut self, key: &str, fill: impl FnOnce(&mut Json<'_>)) -> &mut Self {
        self.key(key);
        self.inner('[', ']', fill)
    }

    /// An item of an array that is an object.
    pub fn item(&mut self, fill: impl FnOnce(&mut Json<'_>)) -> &mut Self {
        self.comma();
        self.inner('{', '}', fill)
    }

    /// An item of an array that is a text of unknown encoding.
    pub fn item_bytes(&mut self, value: &[u8]) -> &mut Self {
        self.comma();
        string(self.text, &readable(value));
        self
    }

    /// An item of an array that is a number.
    pub fn item_number(&mut self, value: impl Into<i128>) -> &mut Self {
        self.comma();
        let _ = write!(self.text, "{}", value.into());
        self
    }

    fn inner(&mut self, open: char, close: char, fill: impl FnOnce(&mut Json<'_>)) -> &mut Self {
        self.text.push(open);
        let mut inner = Json { text: self.text, close, empty: true };
        fill(&mut inner);
        inner.end();
        self
    }

    /// Closes it.
    pub fn end(self) {
        self.text.push(self.close);
    }
}

/// Bytes as text: as they are where they are UTF-8, else with `\xHH` for what is not ASCII.
fn readable(value: &[u8]) -> std::borrow::Cow<'_, str> {
    match std::str::from_utf8(value) {
        Ok(text) => text.into(),
        Err(_) => {
            let mut out = String::with_capacity(value.len() + 16);
            for &byte in value {
                match byte {
                    0..128 => out.push(char::from(byte)),
                    // Writing into a String does not fail.
                    _ => drop(write!(out, "\\x{byte:02x}")),
                }
            }
            out.into()
        }
    }
}

/// Writes a JSON string (RFC 8259, 7). What needs no escape, which is most, is copied in one piece.
pub fn string(out: &mut String, value: &str) {
    out.push('"');
    let mut rest = value;
    while let Some(at) = rest.bytes().position(|byte| byte < b' ' || matches!(byte, b'"' | b'\\')) {
        // All that is escaped is ASCII, so that these are borders of characters.
        let (plain, after) = rest.split_at(at);
        out.push_str(plain);
        let Some((&byte, _)) = after.as_bytes().split_first() else { break };
        match byte {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            byte => drop(write!(out, "\\u{byte:04x}")),
        }
        rest = after.get(1..).unwrap_or_default();
    }
    out.push_str(rest);
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_needs_an_escape_gets_one_wherever_it_stands() {
        for (text, json) in [
            ("", "\"\""),
            ("\"", "\"\\\"\""),
            ("é\n\té", "\"é\\n\\té\""),
            ("\r\\\u{1f}~\u{7f}", "\"\\r\\\\\\u001f~\u{7f}\""),
        ] {
            let mut out = String::new();
            string(&mut out, text);
            assert_eq!(out, json);
        }
    }

    #[test]
    fn members_come_out_in_order_and_escaped() {
        let mut text = String::new();
        let mut json = Json::object(&mut text);
        json.text("a", "x\"\\\u{1}").number("n", 7u32).flag("f", true).hex("h", &[1, 0xab], ":");
        json.array("l", |l| {
            l.item_bytes(b"one").item_number(-2i64).item(|o| {
                o.bytes("b", b"\xffz");
            });
        });
        json.nested("o", |_| {});
        json.end();
        assert_eq!(
            text,
            "{\"a\":\"x\\\"\\\\\\u0001\",\"n\":7,\"f\":true,\"h\":\"01:ab\",\"l\":[\"one\",-2,{\"b\":\"\\\\xffz\"}],\"o\":{}}"
        );
    }
}
