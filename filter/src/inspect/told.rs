//! What the inspection of a flow tells people: members of EVE events, written where the transaction is at hand.
//!
//! The members are JSON without braces; who writes the event puts its head before them. How many there are in a step is
//! bounded by the transactions of a flow; those that find no room among the engine's events are counted there.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use crate::app::file::File;
use crate::app::{Anomaly, App, Mark, Transaction};
use crate::content::Watch;
use crate::detect::{Alert, Marked, Scene, Sink};
use crate::eve;
use crate::event::{HandedFile, StoredFile, Tells};
use crate::json::Json;
use crate::scan::Scan;

use super::{Direction, Findings};

/// An event of the application layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// `event_type`: "http", "dns", "fileinfo", "anomaly" and the like.
    pub kind: &'static str,
    /// The direction of the addresses it shows.
    pub way: Direction,
    /// Its members behind the head.
    pub members: Box<str>,
}

/// Takes what a step has to tell.
#[derive(Debug)]
pub struct Told<'f> {
    pub findings: &'f mut Findings,
    /// What is wanted.
    pub tells: Tells,
    /// What looks at the flow besides the rules.
    pub beside: Beside<'f>,
    /// Takes files that are to be stored.
    pub store: Option<Store>,
}

/// The bound on files kept, those on their way to a disk among them.
#[derive(Debug)]
pub struct Store {
    pub kept: Arc<AtomicUsize>,
    pub limit: usize,
}

/// What looks at a flow besides the rules.
#[derive(Debug, Default)]
pub struct Beside<'f> {
    /// The content filter's part.
    pub watch: Option<&'f mut Watch>,
    /// The virus check's part.
    pub scan: Option<&'f mut Scan>,
    /// The step brings something that its sender says.
    pub says: bool,
    /// A file is refused.
    pub infected: bool,
}

/// Members without the braces around them.
fn members(fill: impl FnOnce(&mut Json<'_>)) -> Box<str> {
    let mut text = String::with_capacity(512);
    let mut json = Json::object(&mut text);
    fill(&mut json);
    json.leave_open();
    text.strip_prefix('{').unwrap_or(&text).into()
}

impl Sink for Told<'_> {
    fn alert(&mut self, scene: &Scene<'_>, alert: &Alert<'_>) {
        self.findings.matched.push(Arc::clone(alert.signature));
        let payload = self.tells.payloads;
        let text = members(|json| {
            eve::metadata_field(json, scene.variables);
            eve::transaction_number(json, alert);
            let ends = scene.step.view.tuple.as_ref();
            eve::alert(json, alert.signature, alert.blocked, ends, alert.extra);
            eve::app_fields(json, &scene.app);
            json.text("direction", eve::way_name(scene.step.way));
            eve::flow_fields(json, scene.tuple, scene.step.flow);
            eve::alert_transaction(json, scene, alert, eve::kinds::Bodies::default());
            if payload {
                eve::payload_fields(json, alert);
            }
        });
        self.findings.members.push((Arc::clone(alert.signature), text));
    }

    fn heard(&mut self, app: &mut App, way: Direction, failed: bool) {
        if let Some(scan) = self.beside.scan.as_deref_mut() {
            self.beside.infected |= scan.look(app, way, failed, &mut self.findings.files);
        }
        let Some(watch) = self.beside.watch.as_deref_mut() else { return };
        let told = &mut self.findings.content;
        // The answer may be the first that tells what was asked.
        let mut denial = watch.look(app, told);
        if denial.is_none() {
            denial = watch.gave_up(app, failed, way == Direction::Original && self.beside.says, told);
        }
        self.findings.denial = denial;
    }

    fn transaction(&mut self, scene: &Scene<'_>, mark: &Mark, transaction: &dyn Transaction) {
        let Some(protocol) = scene.app.protocol.filter(|_| self.tells.transactions) else { return };
        let text = members(|json| {
            eve::metadata_field(json, scene.variables);
            json.number("tx_id", mark.number);
            eve::transaction_fields(json, protocol, transaction);
        });
        self.record(eve::object_name(protocol), transaction.shown_in(), text);
    }

    fn file(&mut self, scene: &Scene<'_>, way: Direction, (mark, transaction): Marked<'_>, file: &File) {
        if let (Some(store), Some(stored)) = (&self.store, StoredFile::of(file)) {
            match HandedFile::new(stored, &store.kept, store.limit) {
                Some(handed) => self.findings.stored.push(Arc::new(handed)),
                None => self.findings.files_refused += 1,
            }
        }
        if !self.tells.files {
            return;
        }
        let text = members(|json| {
            if let Some(protocol) = scene.app.protocol {
                eve::transaction_fields(json, protocol, transaction);
            }
            eve::app_fields(json, &scene.app);
            json.nested("fileinfo", |json| eve::file_fields(json, file, mark.number));
        });
        self.record("fileinfo", way, text);
    }

    fn anomaly(&mut self, scene: &Scene<'_>, mark: Option<&Mark>, anomaly: Anomaly) {
        if !self.tells.anomalies {
            return;
        }
        let text = members(|json| {
            if let Some(mark) = mark {
                json.number("tx_id", mark.number);
            }
            eve::anomaly_fields(json, scene.app.protocol, anomaly);
        });
        self.record("anomaly", scene.step.way, text);
    }
}

impl Told<'_> {
    fn record(&mut self, kind: &'static str, way: Direction, members: Box<str>) {
        self.findings.records.push(Record { kind, way, members });
    }
}
