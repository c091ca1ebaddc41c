//! Reading a direction line by line, where a line may be cut anywhere and a long one is not kept.

use super::read::line;

/// What is known of the line that is being read.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lines {
    /// Bytes already searched for its end.
    searched: usize,
    /// Its start was handed out, the rest is skipped.
    skipping: bool,
}

/// What the next bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next<'b> {
    /// A line.
    Line {
        /// It without its end, as far as the limit.
        text: &'b [u8],
        /// Bytes to be taken.
        used: usize,
        /// It is longer than the limit.
        cut: bool,
    },
    /// The rest of a long line: so many bytes to be taken.
    Rest(usize),
    /// Its end is missing: wait.
    Open,
}

impl Lines {
    /// The line that `bytes` begin with; of one longer than `limit` only the start is handed out.
    pub fn next<'b>(&mut self, bytes: &'b [u8], limit: usize) -> Next<'b> {
        let from = std::mem::take(&mut self.searched).min(bytes.len());
        let end = line(bytes.get(from..).unwrap_or_default()).map(|(_, length)| from + length);
        match end {
            None if self.skipping => Next::Rest(bytes.len()),
            None if bytes.len() > limit + 1 => {
                self.skipping = true;
                Next::Line { text: bytes.get(..limit).unwrap_or_default(), used: bytes.len(), cut: true }
            }
            None => {
                self.searched = bytes.len();
                Next::Open
            }
            Some(used) if std::mem::take(&mut self.skipping) => Next::Rest(used),
            Some(used) => {
                let full = bytes.get(..used).unwrap_or_default();
                let text = line(full).map(|(text, _)| text).unwrap_or_default();
                Next::Line { text: text.get(..limit).unwrap_or(text), used, cut: text.len() > limit }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_are_handed_out_once_however_they_come() {
        let text = [&[b'a'; 50][..], b"\r\nnext\r\n"].concat();
        for piece in 1..text.len() {
            let (mut lines, mut pending, mut out) = (Lines::default(), Vec::new(), Vec::new());
            for part in text.chunks(piece) {
                pending.extend_from_slice(part);
                loop {
                    let used = match lines.next(&pending, 10) {
                        Next::Line { text, used, cut } => {
                            out.push((text.to_vec(), cut));
                            used
                        }
                        Next::Rest(used) => used,
                        Next::Open => break,
                    };
                    pending.drain(..used);
                    if pending.is_empty() {
                        break;
                    }
                }
            }
            assert_eq!(out, [(vec![b'a'; 10], true), (b"next".to_vec(), false)], "in pieces of {piece}");
        }
    }
}
