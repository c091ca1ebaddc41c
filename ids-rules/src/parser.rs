//! One rule's text to a [`Rule`], or the first thing that is wrong with it.

use std::ops::Range;
use std::sync::Arc;

use crate::classification;
use crate::diagnostic::{Fault, Kind};
use crate::header::{Header, HeaderParser};
use crate::lexer::{Logical, split_options, split_rule};
use crate::rule::{Flow, Origin, Rule};
use crate::{keywords, validate};

/// A rule under construction: what keywords fill in, and what only the checks at the end need.
pub(crate) struct Draft {
    pub rule: Rule,
    /// Something loads all the same, but a person should look at it.
    pub warnings: Vec<Fault>,
    /// Where each of `rule.matches` stands in the text.
    pub match_places: Vec<Range<usize>>,
    /// `priority` was given; it wins over that of the classtype.
    pub priority_given: bool,
    /// `flow` was given.
    pub flow_given: bool,
    /// `rev` was given.
    pub rev_given: bool,
}

/// A rule with its warnings, or the fault together with the `sid` as far as it is known.
pub(crate) fn parse_rule(
    logical: &Logical<'_>,
    source: &Arc<str>,
    headers: &mut HeaderParser<'_>,
) -> Result<(Rule, Vec<Fault>), (Fault, Option<u32>)> {
    let text = logical.text.trim_end();
    let mut sid = None;
    let result = (|| {
        let (header, options) = split_rule(text)?;
        let options = split_options(options)?;
        sid = options
            .iter()
            .find(|o| o.name.text == "sid")
            .and_then(|o| o.value)
            .and_then(|value| value.text.parse().ok());
        let origin = Origin { source: Arc::clone(source), line: logical.line, text: Arc::from(text) };
        let mut draft = Draft::new(headers.parse(header)?, origin);
        for option in &options {
            keywords::apply(&mut draft, *option)?;
        }
        validate::check(&draft)?;
        Ok(draft)
    })();
    result.map(|draft| (draft.rule, draft.warnings)).map_err(|fault| (fault, sid))
}

impl Draft {
    fn new(header: Header, origin: Origin) -> Draft {
        let rule = Rule {
            action: header.action,
            protocol: header.protocol,
            source: header.source,
            arrow: header.arrow,
            destination: header.destination,
            gid: 1,
            sid: 0,
            rev: 0,
            msg: String::new(),
            classtype: String::new(),
            priority: classification::DEFAULT_PRIORITY,
            references: Vec::new(),
            metadata: Vec::new(),
            target: None,
            noalert: false,
            flow: Flow::default(),
            conditions: Vec::new(),
            matches: Vec::new(),
            flowbits: Vec::new(),
            threshold: None,
            origin,
        };
        Draft {
            rule,
            warnings: Vec::new(),
            match_places: Vec::new(),
            priority_given: false,
            flow_given: false,
            rev_given: false,
        }
    }

    /// A fault of the kind "options contradict each other".
    pub(crate) fn conflict(at: Range<usize>, message: impl Into<String>) -> Fault {
        Fault::new(Kind::Conflict, at, message)
    }
}
