//! The source tree as text, and Rust with its comments and literals blanked.

use std::fs;
use std::path::{Path, PathBuf};

/// Ends of the names of files that are read.
const KINDS: &[&str] = &["rs", "toml", "md", "sh", "proto", "rules", "yml", "yaml"];

/// One file.
pub struct File {
    /// Path from the root of the repository.
    pub path: String,
    /// As it stands.
    pub text: String,
    /// The same with comments, strings and characters blanked; line numbers are kept. Empty but for Rust.
    pub code: String,
    /// Its module is declared for tests alone.
    for_tests: bool,
}

/// All files that people write.
pub struct Tree {
    /// In order of their paths.
    pub files: Vec<File>,
}

/// A function and its length.
pub struct Function {
    /// Its name.
    pub name: String,
    /// Where it begins.
    pub line: usize,
    /// From `fn` to the closing brace.
    pub lines: usize,
}

impl Tree {
    /// Reads the repository this test was built from.
    pub fn read() -> Tree {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."));
        let mut paths = Vec::new();
        collect(root, &mut paths);
        paths.sort();
        let read = |path: &PathBuf| {
            // A file that is no text, or went away in between, has nothing to say.
            let text = fs::read_to_string(path).ok()?;
            let path = path.strip_prefix(root).ok()?.to_str()?.to_owned();
            let code = if path.ends_with(".rs") { scrub(&text) } else { String::new() };
            Some(File { path, text, code, for_tests: false })
        };
        let mut files: Vec<File> = paths.iter().filter_map(read).collect();
        let declared: Vec<String> = files.iter().flat_map(File::test_modules).collect();
        files.iter_mut().for_each(|file| file.for_tests = declared.contains(&file.path));
        assert!(files.len() > 50, "the source tree was not found at {}", root.display());
        Tree { files }
    }

    /// Files of this name.
    pub fn named(&self, name: &str) -> impl Iterator<Item = &File> {
        self.files.iter().filter(move |file| file.path.rsplit('/').next() == Some(name))
    }

    /// Rust files.
    pub fn rust(&self) -> impl Iterator<Item = &File> {
        self.files.iter().filter(|file| file.path.ends_with(".rs"))
    }
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with('.') || name == "target" || name == "corpus" {
            continue;
        }
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect(&path, paths);
        } else if path.extension().and_then(|e| e.to_str()).is_none_or(|kind| KINDS.contains(&kind)) {
            paths.push(path);
        }
    }
}

impl File {
    /// Paths of the modules that this file declares for tests alone.
    fn test_modules(&self) -> Vec<String> {
        let (folder, name) = self.path.rsplit_once('/').unwrap_or(("", &self.path));
        let folder = match name {
            "lib.rs" | "main.rs" | "mod.rs" => folder.to_owned(),
            _ => format!("{folder}/{}", name.trim_end_matches(".rs")),
        };
        let lines: Vec<&str> = self.code.lines().map(str::trim).collect();
        let pairs = lines.windows(2).filter(|pair| pair[0] == "#[cfg(test)]");
        let named = pairs.filter_map(|pair| {
            let declaration = pair[1].strip_suffix(';')?;
            let name = declaration.rsplit_once("mod ")?.1;
            Some([format!("{folder}/{name}.rs"), format!("{folder}/{name}/mod.rs")])
        });
        named.flatten().collect()
    }

    /// Part of a program, not of its tests.
    pub fn is_production(&self) -> bool {
        if self.for_tests {
            return false;
        }
        let test_folder = self.path.contains("/tests/") || self.path.starts_with("tests/");
        self.path.contains("src/")
            && !test_folder
            && !self.path.ends_with("/tests.rs")
            && !self.path.ends_with("/testing.rs")
    }

    /// The code before the unit tests, which stand last in a file.
    pub fn production(&self) -> &str {
        self.code.find("\n#[cfg(test)]\nmod tests").map_or(&self.code, |end| &self.code[..end])
    }

    /// The code of tests: all of a test file, or the unit tests.
    pub fn tests(&self) -> &str {
        if self.is_production() { &self.code[self.production().len()..] } else { &self.code }
    }

    /// Numbers of the lines of code that hold this word.
    pub fn code_lines_with_word(&self, word: &str) -> impl Iterator<Item = usize> {
        let has = move |line: &str| line.split(|c: char| !c.is_alphanumeric() && c != '_').any(|part| part == word);
        self.code.lines().enumerate().filter(move |(_, line)| has(line)).map(|(index, _)| index + 1)
    }

    /// The functions outside of unit tests that have a body.
    pub fn functions(&self) -> impl Iterator<Item = Function> {
        let code = self.production();
        code.match_indices("fn ").filter_map(move |(at, _)| {
            let before = code[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
                return None;
            }
            let name: String = code[at + 3..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            let end = at + body_end(&code[at..])?;
            let line = code[..at].matches('\n').count() + 1;
            (!name.is_empty()).then(|| Function { name, line, lines: code[at..end].matches('\n').count() + 1 })
        })
    }
}

/// Where the body of the function that begins here ends; `None` where a semicolon stands in its place.
fn body_end(code: &str) -> Option<usize> {
    let mut braces = 0usize;
    let mut brackets = 0usize;
    for (at, c) in code.char_indices() {
        match c {
            '(' | '[' => brackets += 1,
            ')' | ']' => brackets = brackets.saturating_sub(1),
            '{' => braces += 1,
            '}' => {
                braces = braces.saturating_sub(1);
                if braces == 0 {
                    return Some(at + 1);
                }
            }
            ';' if braces == 0 && brackets == 0 => return None,
            _ => {}
        }
    }
    None
}

/// Rust with comments, strings and characters replaced by blanks; newlines stay.
fn scrub(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let skipped = blank_length(rest, clean.chars().next_back());
        if skipped == 0 {
            clean.push(first);
            rest = &rest[first.len_utf8()..];
        } else {
            clean.extend(rest[..skipped].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
            rest = &rest[skipped..];
        }
    }
    clean
}

/// Length of the comment or literal that begins here; 0 where none does.
fn blank_length(rest: &str, before: Option<char>) -> usize {
    let in_word = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    if rest.starts_with("//") {
        return rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        return rest.find("*/").map_or(rest.len(), |end| end + 2);
    }
    if rest.starts_with('"') {
        return quoted(rest, '"');
    }
    if let (false, Some(hashes)) = (in_word, raw_string(rest)) {
        let end = format!("\"{}", "#".repeat(hashes));
        let start = rest.find('"').unwrap_or(0) + 1;
        return rest[start..].find(&end).map_or(rest.len(), |at| start + at + end.len());
    }
    // A lifetime has no closing quote behind its first character.
    let mut next = rest.chars().skip(1);
    match (rest.starts_with('\''), next.next(), next.next()) {
        (true, Some('\\'), _) => quoted(rest, '\''),
        (true, Some(c), Some('\'')) => c.len_utf8() + 2,
        _ => 0,
    }
}

/// The number of hashes of the raw string that begins here.
fn raw_string(rest: &str) -> Option<usize> {
    let tail = rest.strip_prefix("br").or(rest.strip_prefix("cr")).or(rest.strip_prefix('r'))?;
    let hashes = tail.chars().take_while(|c| *c == '#').count();
    tail[hashes..].starts_with('"').then_some(hashes)
}

/// Length of a literal with escapes, its quotes included.
fn quoted(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blanked_and_lines_kept() {
        let text = "let a = \"x // \\\" y\"; // unsafe\nlet b = r#\"unsafe \"q\" \"#; let c = '\\''; /* {\n */ fn f<'a>() {}\n";
        let code = scrub(text);
        assert_eq!(code.matches('\n').count(), 3);
        assert!(!code.contains("unsafe") && !code.contains('x') && !code.contains('q'));
        assert!(code.contains("let c =") && code.contains("fn f<'a>() {}"));
    }

    #[test]
    fn functions_are_measured_to_their_closing_brace() {
        let code =
            "trait T {\n    fn a(x: [u8; 2]);\n}\nfn b() {\n    if x { y }\n}\nconst F: fn (u8) = b;\n".to_owned();
        let file = File { path: "src/x.rs".to_owned(), text: String::new(), code, for_tests: false };
        let found: Vec<_> = file.functions().map(|f| (f.name, f.line, f.lines)).collect();
        assert_eq!(found, [("b".to_owned(), 4, 3)]);
    }

    #[test]
    fn modules_declared_for_tests_are_found() {
        let code = "mod a;\n#[cfg(test)]\nmod model;\n#[cfg(test)]\nmod tests {\n}\n".to_owned();
        let file = File { path: "x/src/policy.rs".to_owned(), text: String::new(), code, for_tests: false };
        assert_eq!(file.test_modules(), ["x/src/policy/model.rs", "x/src/policy/model/mod.rs"]);
    }
}
