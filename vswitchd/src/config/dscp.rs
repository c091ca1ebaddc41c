//! Code points of differentiated services as people write them.

use std::fmt;
use std::str::FromStr;

/// Names of code points (RFC 2474, RFC 2597, RFC 3246, RFC 5865, RFC 8622).
const NAMES: [(&str, u8); 24] = [
    ("default", 0),
    ("le", 1),
    ("cs1", 8),
    ("af11", 10),
    ("af12", 12),
    ("af13", 14),
    ("cs2", 16),
    ("af21", 18),
    ("af22", 20),
    ("af23", 22),
    ("cs3", 24),
    ("af31", 26),
    ("af32", 28),
    ("af33", 30),
    ("cs4", 32),
    ("af41", 34),
    ("af42", 36),
    ("af43", 38),
    ("cs5", 40),
    ("va", 44),
    ("ef", 46),
    ("cs6", 48),
    ("cs7", 56),
    ("cs0", 0),
];

/// A code point, 0 to 63: `"ef"` or `46`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dscp(pub u8);

impl fmt::Display for Dscp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.iter().find(|(_, number)| *number == self.0) {
            Some((name, _)) => f.write_str(name),
            None => write!(f, "{}", self.0),
        }
    }
}

impl FromStr for Dscp {
    type Err = String;

    fn from_str(text: &str) -> Result<Dscp, String> {
        let lower = text.to_ascii_lowercase();
        if let Some((_, number)) = NAMES.iter().find(|(name, _)| *name == lower) {
            return Ok(Dscp(*number));
        }
        let number = text.parse().ok().filter(|number| *number < 64);
        number.map(Dscp).ok_or_else(|| {
            let names: Vec<&str> = NAMES.iter().map(|(name, _)| *name).collect();
            format!("\"{text}\" is no DSCP: write a number from 0 to 63 or one of {}", names.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_points_have_names_and_numbers() {
        for (text, number) in [("ef", 46), ("EF", 46), ("46", 46), ("af41", 34), ("cs0", 0), ("default", 0), ("63", 63)]
        {
            assert_eq!(text.parse(), Ok(Dscp(number)), "{text}");
            assert_eq!(Dscp(number).to_string().parse(), Ok(Dscp(number)), "what is printed is read");
        }
        for text in ["64", "-1", "fast", ""] {
            assert!(text.parse::<Dscp>().unwrap_err().contains("0 to 63"), "{text}");
        }
    }
}
