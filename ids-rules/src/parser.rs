//! One rule's text to a [`Rule`], or the first thing that is wrong with it.

use std::ops::Range;
use std::sync::Arc;

use crate::classification::{self, Classes};
use crate::diagnostic::{Fault, Kind};
use crate::header::{Header, HeaderParser};
use crate::lexer::{Logical, split_options, split_rule};
use crate::rule::{Flow, Origin, Rule};
use crate::section::Cursor;
use crate::{keywords, validate};

/// A rule under construction: what keywords fill in, and what only the checks at the end need.
pub(crate) struct Draft {
    pub rule: Rule,
    /// Something loads all the same, but a person should look at it.
    pub warnings: Vec<Fault>,
    /// Where each of the matches of each section stands in the text.
    pub places: Vec<Vec<Range<usize>>>,
    /// Which section the next match belongs to.
    pub cursor: Cursor,
    /// `priority` was given; it wins over that of the classtype.
    pub priority_given: bool,
    /// `flow` was given.
    pub flow_given: bool,
    /// `rev` was given.
    pub rev_given: bool,
    /// Rules can be chosen by the last keyword that asks something.
    pub prefilters: bool,
    /// `requires` asks for something that is not here: the rule is passed over.
    pub passed_over: bool,
    /// The text is in Snort 3's dialect.
    pub snort: bool,
    /// Classtypes beyond the customary ones.
    pub classes: Arc<Classes>,
}

/// What became of a rule's text.
pub(crate) enum Parsed {
    /// A rule, with warnings.
    Rule(Box<Rule>, Vec<Fault>),
    /// `requires` asks for something that is not here: it is not for this engine, and nothing is wrong with it.
    PassedOver,
}

/// A rule with its warnings, or the fault together with the `sid` as far as it is known.
pub(crate) fn parse_rule(
    logical: &Logical<'_>,
    source: &Arc<str>,
    headers: &mut HeaderParser<'_>,
) -> Result<Parsed, (Fault, Option<u32>)> {
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
        draft.classes = headers.classes();
        draft.snort |= keywords::is_snort(&options);
        keywords::requires(&mut draft, &options)?;
        if draft.passed_over {
            return Ok(draft);
        }
        for option in &options {
            keywords::apply(&mut draft, *option)?;
            draft.prefilters = keywords::app::prefilters(option.name.text).unwrap_or(draft.prefilters);
        }
        draft.finish_sections()?;
        validate::normalise(&mut draft.rule);
        validate::check(&mut draft)?;
        Ok(draft)
    })();
    match result {
        Ok(draft) if draft.passed_over => Ok(Parsed::PassedOver),
        Ok(draft) => Ok(Parsed::Rule(Box::new(draft.rule), draft.warnings)),
        Err(fault) => Err((fault, sid)),
    }
}

impl Draft {
    fn new(header: Header, origin: Origin) -> Draft {
        let rule = Rule {
            action: header.action,
            protocol: header.protocol,
            apps: keywords::app::of_header(header.protocol),
            services: Vec::new(),
            hook: header.hook,
            source: header.source,
            arrow: header.arrow,
            destination: header.destination,
            gid: 1,
            sid: 0,
            rev: 0,
            msg: String::new(),
            classtype: String::new(),
            category: String::new(),
            priority: classification::DEFAULT_PRIORITY,
            references: Vec::new(),
            metadata: Vec::new(),
            target: None,
            noalert: false,
            alert: false,
            flow: Flow::default(),
            conditions: Vec::new(),
            sections: Vec::new(),
            numbers: Vec::new(),
            app: Vec::new(),
            files: Vec::new(),
            variables: Vec::new(),
            flowbits: Vec::new(),
            xbits: Vec::new(),
            flowints: Vec::new(),
            threshold: None,
            tags: Vec::new(),
            filestore: None,
            config: None,
            prefilter: false,
            origin,
        };
        Draft {
            rule,
            warnings: Vec::new(),
            places: Vec::new(),
            cursor: Cursor::default(),
            priority_given: false,
            flow_given: false,
            rev_given: false,
            prefilters: true,
            passed_over: false,
            snort: header.snort,
            classes: Arc::default(),
        }
    }

    /// A fault of the kind "options contradict each other".
    pub(crate) fn conflict(at: Range<usize>, message: impl Into<String>) -> Fault {
        Fault::new(Kind::Conflict, at, message)
    }
}
