//! What is wrong with a rule, where, and what to do about it. Displayed the way compilers do.

use std::fmt;
use std::ops::Range;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The rule was loaded all the same.
    Warning,
    /// The rule was refused.
    Error,
}

/// What sort of problem it is; for summaries and for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// The text does not have the form of a rule.
    Syntax,
    /// An address or port that cannot be read, or a list that matches nothing.
    Header,
    /// A variable without a definition.
    Variable,
    /// An action that this engine does not have.
    UnsupportedAction,
    /// A protocol that this engine does not inspect.
    UnsupportedProtocol,
    /// A keyword that this engine does not have.
    UnsupportedKeyword,
    /// A keyword's value, or a form of it, that this engine does not have.
    UnsupportedValue,
    /// A keyword's value that makes no sense.
    Value,
    /// Options that contradict each other.
    Conflict,
    /// A rule without `sid`.
    MissingSid,
    /// A `sid` that another rule has.
    Duplicate,
    /// A regular expression that does not compile.
    Pattern,
    /// Beyond one of the [limits](crate::limits).
    Limit,
}

impl Kind {
    /// A short name for tables.
    pub const fn label(self) -> &'static str {
        match self {
            Kind::Syntax => "syntax",
            Kind::Header => "header",
            Kind::Variable => "variable",
            Kind::UnsupportedAction => "unsupported action",
            Kind::UnsupportedProtocol => "unsupported protocol",
            Kind::UnsupportedKeyword => "unsupported keyword",
            Kind::UnsupportedValue => "unsupported value",
            Kind::Value => "value",
            Kind::Conflict => "conflict",
            Kind::MissingSid => "no sid",
            Kind::Duplicate => "duplicate",
            Kind::Pattern => "pattern",
            Kind::Limit => "limit",
        }
    }
}

/// One problem with one rule. `Display` shows the line with a caret under the place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Refused, or only warned about.
    pub severity: Severity,
    /// Sort of problem.
    pub kind: Kind,
    /// The keyword, protocol or variable concerned; empty where there is none.
    pub subject: String,
    /// What is wrong.
    pub message: String,
    /// What to do; empty where there is nothing to say.
    pub remedy: String,
    /// Name of the source.
    pub source: String,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// How many characters the caret marks, at least 1.
    pub width: u32,
    /// The rule's `sid`, where it got that far.
    pub sid: Option<u32>,
    /// The line, cut around the place to [`EXCERPT`] characters.
    pub excerpt: String,
    /// Where in `excerpt` the caret stands, in characters from 0.
    pub caret: u32,
}

/// Characters of a line that a diagnostic shows at most.
pub const EXCERPT: usize = 120;

/// A problem found in one rule's text, before its place in the source is known. Offsets are bytes of the rule's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub kind: Kind,
    pub at: Range<usize>,
    pub subject: String,
    pub message: String,
    pub remedy: String,
}

impl Fault {
    pub(crate) fn new(kind: Kind, at: Range<usize>, message: impl Into<String>) -> Fault {
        Fault { kind, at, subject: String::new(), message: message.into(), remedy: String::new() }
    }

    pub(crate) fn remedy(mut self, remedy: impl Into<String>) -> Fault {
        self.remedy = remedy.into();
        self
    }

    pub(crate) fn subject(mut self, subject: impl Into<String>) -> Fault {
        self.subject = subject.into();
        self
    }
}

/// A line, cut around a place so that it fits a screen.
pub(crate) struct Excerpt {
    pub text: String,
    pub caret: u32,
    pub width: u32,
    pub column: u32,
}

impl Excerpt {
    /// Cuts `line` around the bytes `at`. Control characters are shown as spaces so that the caret stands right.
    pub(crate) fn around(line: &str, at: Range<usize>) -> Excerpt {
        let column = line.char_indices().take_while(|&(i, _)| i < at.start).count();
        let marked = line.char_indices().filter(|&(i, _)| i >= at.start && i < at.end).count().max(1);
        let from = if column + marked <= EXCERPT { 0 } else { column.saturating_sub(EXCERPT / 2) };
        let mut text: String = if from > 0 { "…".into() } else { String::new() };
        let shown = line.chars().skip(from).map(|c| if c.is_control() { ' ' } else { c });
        let rest = line.chars().skip(from).take(EXCERPT + 1).count();
        text.extend(shown.take(EXCERPT));
        if rest > EXCERPT {
            text.push('…');
        }
        let caret = column - from + usize::from(from > 0);
        let width = marked.min(EXCERPT.saturating_sub(column - from).max(1));
        Excerpt { text, caret: caret as u32, width: width as u32, column: column as u32 + 1 }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let number = self.line.to_string();
        let gap = " ".repeat(number.len());
        write!(f, "{severity}: {}", self.message)?;
        if let Some(sid) = self.sid {
            write!(f, " (sid {sid})")?;
        }
        writeln!(f, "\n{gap}--> {}:{}:{}", self.source, self.line, self.column)?;
        writeln!(f, "{gap} |\n{number} | {}", self.excerpt)?;
        write!(f, "{gap} | {}{}", " ".repeat(self.caret as usize), "^".repeat(self.width.max(1) as usize))?;
        if !self.remedy.is_empty() {
            write!(f, "\n{gap} = help: {}", self.remedy)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caret_stands_under_the_place_in_long_lines_too() {
        for start in [0, 5, 119, 120, 300, 399] {
            let line: String = (0..400).map(|i| if i == start { 'X' } else { 'ä' }).collect();
            let at = line.find('X').unwrap();
            let cut = Excerpt::around(&line, at..at + 1);
            assert_eq!(cut.text.chars().nth(cut.caret as usize), Some('X'), "{start}");
            assert_eq!(cut.column as usize, start + 1);
            assert!(cut.text.chars().count() <= EXCERPT + 2);
        }
    }

    #[test]
    fn a_place_behind_the_end_of_the_line_is_shown_at_its_end() {
        let cut = Excerpt::around("abc", 3..9);
        assert_eq!((cut.caret, cut.width, cut.column), (3, 1, 4));
    }
}
