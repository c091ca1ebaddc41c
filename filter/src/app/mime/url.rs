//! Links in text that comes in pieces.

use memchr::memmem;

use super::{Choices, URLS};

/// A line that has no end yet is kept up to here to find a link that a piece cuts.
const LINE: usize = 8 << 10;

/// The links found, and the start of a line that is not complete.
#[derive(Debug, Default)]
pub(super) struct Urls {
    found: Vec<Vec<u8>>,
    begun: Vec<u8>,
}

impl Urls {
    /// Links found so far.
    pub(super) fn found(&self) -> &[Vec<u8>] {
        &self.found
    }

    /// Looks for links in the next piece of text.
    pub(super) fn add(&mut self, text: &[u8], choices: &Choices) {
        if !choices.urls || self.found.len() >= URLS {
            return;
        }
        if self.begun.is_empty() && text.ends_with(b"\n") {
            self.search(text, choices);
            return;
        }
        self.begun.extend_from_slice(text);
        let complete = match memchr::memrchr(b'\n', text) {
            Some(at) => self.begun.len() - text.len() + at + 1,
            None if self.begun.len() > LINE => self.begun.len(),
            None => return,
        };
        let mut lines = std::mem::take(&mut self.begun);
        let rest = lines.split_off(complete.min(lines.len()));
        self.search(&lines, choices);
        self.begun = rest;
    }

    fn search(&mut self, text: &[u8], choices: &Choices) {
        // Most lines have none; the cheap look comes first.
        if memmem::find(text, b"://").is_none() {
            return;
        }
        let lower = text.to_ascii_lowercase();
        for scheme in &choices.schemes {
            let mut from = 0;
            while let Some(at) = lower.get(from..).and_then(|rest| memmem::find(rest, scheme)) {
                let start = from + at;
                let url = text.get(start..).unwrap_or_default();
                let end = url.iter().position(|byte| b" \"'<>]\t\r\n".contains(byte)).unwrap_or(url.len());
                let skip = if choices.keep_scheme { 0 } else { scheme.len() };
                if self.found.len() >= URLS {
                    return;
                }
                self.found.push(url.get(skip..end).unwrap_or_default().to_vec());
                from = start + end.max(1);
            }
        }
    }
}
