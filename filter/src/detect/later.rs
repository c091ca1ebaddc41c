//! What can complete a match in a stream once its fast pattern has been seen.

use weir_ids_rules::Rule;
use weir_ids_rules::rule::Match;

use super::fast::Fast;
use super::literal::Literal;

/// What can complete a match.
#[derive(Debug)]
pub enum Later {
    /// Nothing: it is complete or it is not.
    Nothing,
    /// One of these.
    Literals(Box<[Literal]>),
    /// Any byte.
    Anything,
}

impl Later {
    /// What can complete the payload's part of the rule. More bytes can bring what must be there; what must not be
    /// there, they only make less likely to be absent.
    pub fn of(rule: &Rule, fast: Option<&Fast>) -> Later {
        let Some(section) = rule.payload() else { return Later::Nothing };
        let mut literals = Vec::new();
        for m in &section.matches {
            match m {
                Match::Content(content) if content.negated => {}
                Match::Content(content) => literals.push(Literal::new(&content.bytes, content.nocase)),
                Match::Pcre(pcre) if pcre.negated => {}
                Match::IsDataAt(is) if is.negated => {}
                Match::Pcre(_)
                | Match::IsDataAt(_)
                | Match::Size(_)
                | Match::ByteTest(_)
                | Match::ByteJump(_)
                | Match::ByteExtract(_)
                | Match::ByteMath(_)
                | Match::Base64(_)
                | Match::Asn1(_)
                | Match::Entropy(_)
                | Match::DataSet(_)
                | Match::Reputation(_) => return Later::Anything,
            }
        }
        // A fast pattern that is not its content's end is seen before the content is complete.
        let complete = fast.is_some_and(|fast| fast.is_end);
        if literals.len() > 1 || !complete { Later::Literals(literals.into()) } else { Later::Nothing }
    }
}
