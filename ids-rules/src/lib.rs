//! The rule language: text to typed rules, every refusal with its place and its remedy.
//!
//! The language is that of Suricata's signatures. [`RuleSet::parse`] reads any number of texts: a rule it understands
//! becomes a [`Rule`]; a rule it does not is left out with a [`Diagnostic`] that names the keyword, the place in the
//! line and what to do. No text can make it panic, and time and memory are bounded by the limits in [`limits`].
//!
//! ```
//! use weir_ids_rules::{RuleSet, Source, Variables};
//! let text = r#"drop tcp any any -> any 80 (msg:"shell in a header"; content:"() {"; sid:1;)"#;
//! let (rules, problems) = RuleSet::parse(&[Source { name: "local.rules", text }], &Variables::default());
//! assert!(problems.is_empty());
//! assert_eq!(rules.rules()[0].sid, 1);
//! ```
#![forbid(unsafe_code)]

pub mod address;
pub mod adjustment;
pub mod app;
pub mod buffer;
mod builtin;
pub mod classification;
pub mod diagnostic;
pub mod field;
mod header;
mod keywords;
mod lexer;
pub mod limits;
mod parser;
pub mod port;
pub mod rule;
mod rule_set;
mod section;
mod validate;
pub mod variables;

pub use address::AddressSet;
pub use app::AppProtocol;
pub use buffer::Buffer;
pub use builtin::{BUILTIN_NAMES, builtin};
pub use diagnostic::{Diagnostic, Kind, Severity};
pub use field::Field;
pub use keywords::keywords;
pub use port::PortSet;
pub use rule::Rule;
pub use rule_set::{RuleSet, Source, Summary, read};
pub use variables::Variables;
