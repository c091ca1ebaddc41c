//! Rules judged on one direction of a transaction.
//!
//! A buffer is searched once, when it is there; a growing one each time it has something new. A rule whose fast pattern
//! was found, but whose other parts are not there yet, waits in the transaction's [`TxMemory`]. A rule matches a
//! transaction once in each direction; one that looks at files may match again for a file that began later.
//!
//! Limits: [`WAITING`] rules wait in a transaction; what is beyond is counted and not judged further.

mod worth;

use std::cell::Cell;

use weir_ids_rules::rule::{Absent, Arrow, FileTest, Nth, NumberTest};
use weir_ids_rules::{AppProtocol, Buffer};

use super::Direction;
use super::check::Outcome;
use super::compiled::{Part, Text};
use super::file_tests::{file_fits, magic_of};
use super::growth::Growth;
use super::judge::Judge;
use super::scratch::Scratch;
use super::sets::Sets;
use super::transactions::TxTable;
use crate::app::file::{Content, File};
use crate::app::{Mark, Transaction};

pub use worth::may_take;

/// Rules that wait in one direction of a transaction.
const WAITING: usize = 256;
/// Values of one buffer, or number, that are looked at.
const VALUES: usize = 1024;

/// What detection remembers of one direction of a transaction.
#[derive(Debug, Default)]
pub struct TxMemory {
    /// Progress up to which buffers were searched, plus one; 0 before the first time.
    searched: u8,
    waiting: Vec<Waiting>,
    /// Rules that matched, with the number of files there were.
    fired: Vec<(u32, u32)>,
    /// Anomalies that rules were asked about.
    anomalies: usize,
    /// `xbits` of the transaction.
    pub bits: Vec<u64>,
    /// How often the transaction was guessed for a match on a packet.
    pub guessed: u32,
    /// All was judged that ever can be.
    pub done: bool,
    /// What the application layer had read, and how many rules' payloads had matched, when it was judged last.
    pub judged: Option<(u64, usize)>,
}

impl TxMemory {
    /// The program changed: `renumber` tells the new number of a rule. What was searched is searched anew.
    pub fn renumber(&mut self, renumber: &impl Fn(u32) -> Option<u32>) {
        (self.searched, self.anomalies, self.done, self.judged) = (0, 0, false, None);
        self.waiting.clear();
        self.fired = self.fired.iter().filter_map(|&(rule, files)| Some((renumber(rule)?, files))).collect();
    }
}

/// A rule of which some parts are satisfied.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    rule: u32,
    /// Parts that are.
    parts: u64,
    /// Parts that were asked when the rule was judged last.
    asked: u64,
    /// Up to where they have looked at a growing buffer; `None` where there was none.
    looked: Option<u64>,
}

/// Whether a part is satisfied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Satisfied {
    Yes,
    /// And never will be.
    No,
    NotYet,
}

/// One direction of a transaction under judgement.
pub struct TxView<'t> {
    pub protocol: AppProtocol,
    pub transaction: &'t dyn Transaction,
    pub way: Direction,
    /// Which parser's it is.
    pub parser: usize,
    /// The flow's end: nothing more will come.
    pub end: bool,
    /// The parser could not go on: the flow is judged for what ended it, once.
    pub over: bool,
}

impl TxView<'_> {
    fn is_complete(&self, way: Direction) -> bool {
        self.end || self.transaction.progress(way) >= self.transaction.complete(way)
    }

    fn files(&self) -> &[File] {
        self.transaction.files(self.way).map_or(&[], |files| files.list.as_slice())
    }
}

/// Judges the rules on one direction of a transaction. `hits` are rules whose payload's part has matched.
pub fn judge(judge: &mut Judge<'_>, view: &TxView<'_>, mark: &mut Mark, hits: &[u32]) {
    let number = mark.number;
    let anomalies = mark.anomalies.as_slice();
    let [original, reply] = &mut mark.detection;
    let (memory, other) = match view.way {
        Direction::Original => (original, reply),
        Direction::Reply => (reply, original),
    };
    if memory.done && anomalies.len() == memory.anomalies {
        return;
    }
    let complete = view.is_complete(view.way);
    let program = judge.program;
    judge.scratch.work.holds = None;
    if let Some(table) = program.transactions.get(view.protocol, view.way, judge.facts.between) {
        judge.scratch.round.begin(program.rule_count());
        search(judge, view, table, memory, hits);
        if anomalies.len() > memory.anomalies {
            // A rule that means either direction is told of what ended the parsing in one of them.
            let told = |rule: u32| view.over && other.fired.iter().any(|&(fired, _)| fired == rule);
            let fresh = table.anomalies.iter().filter(|&&rule| !told(rule));
            fresh.for_each(|&rule| judge.scratch.round.add(rule));
        }
        memory.waiting.iter().for_each(|waiting| judge.scratch.round.add(waiting.rule));
        let both = |rule: u32| program.rule(rule).is_some_and(|rule| rule.arrow == Arrow::Transaction);
        other.waiting.iter().filter(|w| both(w.rule)).for_each(|waiting| judge.scratch.round.add(waiting.rule));
        judge.scratch.round.sort();
        let mut next = 0;
        while let Some(rule) = judge.scratch.round.get(next).map(|candidate| candidate.rule) {
            next += 1;
            let from_other = both(rule) && other.waiting.iter().any(|waiting| waiting.rule == rule);
            let memory = if from_other { &mut *other } else { &mut *memory };
            let begun = judge.scratch.begin();
            judge_rule(judge, view, (number, anomalies), memory, rule, hits);
            judge.scratch.end(rule, begun);
        }
    }
    memory.searched = memory.searched.max(view.transaction.progress(view.way).saturating_add(1));
    memory.anomalies = anomalies.len();
    memory.done = complete;
}

/// Makes candidates of the rules worth judging.
fn search(judge: &mut Judge<'_>, view: &TxView<'_>, table: &TxTable, memory: &TxMemory, hits: &[u32]) {
    // Behind the end of the flow nothing is waited for: what there is, is looked at.
    let progress = if view.end { u8::MAX } else { view.transaction.progress(view.way) };
    let mut work = std::mem::take(&mut judge.scratch.work);
    // The body that was searched last for the rules of two buffers.
    let mut shared = None;
    // Where all that is ready was searched before, only what grows may have something new.
    let known = memory.searched > progress;
    let count = if known { table.growing.len() } else { table.lanes.len() };
    let lane = |nth: usize| table.lanes.get(if known { *table.growing.get(nth)? } else { nth });
    // Lanes are sorted by their readiness.
    for lane in (0..count).map_while(lane).take_while(|lane| lane.ready <= progress) {
        let again = memory.searched > lane.ready;
        if again && !(lane.may_grow && grows(view, lane.buffer)) {
            continue;
        }
        for nth in 0..VALUES {
            let value = match fresh_value(view, lane.buffer, nth, &mut work) {
                Value::Missing => break,
                Value::Nothing => continue,
                Value::Bytes(bytes) => bytes,
            };
            // What was found in bytes seen before waits.
            let seen = content(view, lane.buffer, nth)
                .filter(|_| again && lane.transforms.is_empty())
                .map_or(0, Content::seen);
            let place = Some((value.as_ptr(), value.len(), seen));
            if lane.is_shared && std::mem::replace(&mut shared, place) == place {
                continue;
            }
            let Scratch { round, room, .. } = &mut *judge.scratch;
            room.work += 1 + value.len().saturating_sub(seen) as u64 / 64;
            lane.transforms.apply(value, room, |text| lane.lane.find(text, seen, &[0], |rule, _| round.add(rule)));
        }
    }
    judge.scratch.work = work;
    let from = table.always.partition_point(|&(ready, _)| ready < memory.searched);
    for &(ready, rule) in table.always.iter().skip(from) {
        if ready > progress {
            break;
        }
        judge.scratch.round.add(rule);
    }
    for hit in hits {
        let at = table.by_payload.binary_search_by_key(hit, |&(rule, _)| rule).ok();
        if let Some(&(rule, _)) = at.and_then(|at| table.by_payload.get(at)).filter(|&&(_, ready)| ready <= progress) {
            judge.scratch.round.add(rule);
        }
    }
}

/// A value of a buffer.
enum Value<'v> {
    /// There is no such value, nor one behind it.
    Missing,
    /// There is one, with nothing to be looked at.
    Nothing,
    Bytes(&'v [u8]),
}

/// Room in which a transaction builds a buffer, and which of its buffers it holds, where that is known.
#[derive(Debug, Default)]
pub struct Work {
    bytes: Vec<u8>,
    holds: Option<(Buffer, Direction, usize)>,
}

/// Buffers that HTTP composes of all fields of a message: what was built for one rule serves the next one.
fn is_composed(buffer: Buffer) -> bool {
    matches!(buffer, Buffer::HttpHeader | Buffer::HttpHeaderNames | Buffer::HttpStart)
}

fn is_file(buffer: Buffer) -> bool {
    matches!(buffer, Buffer::FileData | Buffer::FileName | Buffer::FileMagic)
}

/// A buffer that is looked at each time it has something new.
fn grows(view: &TxView<'_>, buffer: Buffer) -> bool {
    is_file(buffer) || view.transaction.grown(buffer, view.way).is_some()
}

/// What a growing buffer is read from.
fn content<'v>(view: &'v TxView<'_>, buffer: Buffer, nth: usize) -> Option<&'v Content> {
    match buffer {
        Buffer::FileData => view.files().get(nth).map(|file| &file.content),
        Buffer::FileName | Buffer::FileMagic => None,
        _ => view.transaction.grown(buffer, view.way),
    }
}

/// The nth value of a buffer, where it has something that was not searched yet.
fn fresh_value<'v>(view: &'v TxView<'_>, buffer: Buffer, nth: usize, work: &'v mut Work) -> Value<'v> {
    if buffer == Buffer::FileData {
        return match view.files().get(nth) {
            None => Value::Missing,
            Some(file) => file.content.window().map_or(Value::Nothing, |(bytes, _)| Value::Bytes(bytes)),
        };
    }
    if view.transaction.grown(buffer, view.way).is_some_and(|content| content.window().is_none()) {
        return Value::Missing;
    }
    value(view, (buffer, view.way), nth, work)
}

/// The nth value of a buffer as it is.
fn value<'v>(view: &'v TxView<'_>, (buffer, way): (Buffer, Direction), nth: usize, work: &'v mut Work) -> Value<'v> {
    if is_composed(buffer) {
        let wanted = Some((buffer, way, nth));
        if work.holds != wanted {
            work.bytes.clear();
            work.holds = view.transaction.buffer(buffer, way, nth, &mut work.bytes).and(wanted);
        }
        return if work.holds.is_some() { Value::Bytes(&work.bytes) } else { Value::Missing };
    }
    let file = || view.transaction.files(way).and_then(|files| files.list.get(nth));
    let found = match buffer {
        Buffer::FileData => file().map(|file| file.content.window().unwrap_or_else(|| file.content.recent()).0),
        Buffer::FileName => file().map(|file| file.name.as_slice()),
        Buffer::FileMagic => match file() {
            Some(file) => match magic_of(file) {
                Some(kind) => Some(kind.as_bytes()),
                None => return Value::Nothing,
            },
            None => None,
        },
        _ => {
            work.bytes.clear();
            work.holds = None;
            view.transaction.buffer(buffer, way, nth, &mut work.bytes)
        }
    };
    found.map_or(Value::Missing, Value::Bytes)
}

/// Judges one rule.
fn judge_rule(
    judge: &mut Judge<'_>,
    view: &TxView<'_>,
    (transaction, anomalies): (u64, &[crate::app::Anomaly]),
    memory: &mut TxMemory,
    number: u32,
    hits: &[u32],
) {
    let Some(rule) = judge.program.rule(number) else { return };
    let files = view.files().len() as u32;
    let fired = memory.fired.iter().position(|&(fired, _)| fired == number);
    let told = fired.and_then(|index| memory.fired.get(index)).map_or(0, |&(_, files)| files);
    if fired.is_some() && (!rule.on_files || told == files) {
        return;
    }
    let waiting = memory.waiting.iter().position(|waiting| waiting.rule == number);
    let (mut parts, before) = match waiting.and_then(|index| memory.waiting.get(index)) {
        Some(waiting) => (waiting.parts, (waiting.asked, waiting.looked)),
        None if judge.takes_transaction(rule, &mut memory.bits) => (0, (0, None)),
        None => return,
    };
    let (mut asked_now, looked) = (0, Cell::new(None));
    let mut all = Satisfied::Yes;
    for (index, part) in rule.parts.iter().enumerate().take(64) {
        if parts >> index & 1 == 1 {
            continue;
        }
        let payload = hits.binary_search(&number).is_ok();
        let before = before.1.filter(|_| before.0 >> index & 1 == 1);
        let growth = Growth { before, now: &looked, blocks: rule.blocks() };
        let asked = Asked { view, anomalies, first_file: told as usize, payload, growth };
        asked_now |= 1 << index;
        match satisfied(judge, &asked, part) {
            Satisfied::Yes => parts |= 1 << index,
            Satisfied::No => {
                all = Satisfied::No;
                break;
            }
            Satisfied::NotYet => all = Satisfied::NotYet,
        }
        if all == Satisfied::NotYet && matches!(part, Part::Payload) {
            break;
        }
    }
    if let Some(index) = waiting {
        memory.waiting.swap_remove(index);
    }
    if all == Satisfied::Yes && !judge.headers(rule) {
        all = Satisfied::No;
    }
    match all {
        Satisfied::Yes => {
            match fired.and_then(|index| memory.fired.get_mut(index)) {
                Some(entry) => entry.1 = files,
                None => memory.fired.push((number, files)),
            }
            judge.matched_transaction(rule, number, (view.parser, transaction), &mut memory.bits);
        }
        Satisfied::No => {}
        Satisfied::NotYet if memory.waiting.len() < WAITING => {
            memory.waiting.push(Waiting { rule: number, parts, asked: asked_now, looked: looked.get() });
        }
        Satisfied::NotYet => judge.overflow(rule),
    }
}

/// What a part is asked of.
struct Asked<'a> {
    view: &'a TxView<'a>,
    anomalies: &'a [crate::app::Anomaly],
    /// Files before this one have been told of.
    first_file: usize,
    /// The rule's payload has matched.
    payload: bool,
    growth: Growth<'a>,
}

impl Asked<'_> {
    /// `NotYet` while more may come in the direction, `No` behind that.
    fn later(&self, way: Direction) -> Satisfied {
        if self.view.is_complete(way) { Satisfied::No } else { Satisfied::NotYet }
    }
}

fn satisfied(judge: &mut Judge<'_>, asked: &Asked<'_>, part: &Part) -> Satisfied {
    let view = asked.view;
    let progress = view.transaction.progress(view.way);
    let yes = |holds: bool, otherwise: Satisfied| if holds { Satisfied::Yes } else { otherwise };
    match part {
        Part::Text(part) => text(judge, asked, part),
        Part::Number(test) => number(asked, test),
        Part::Event(name) => {
            let there = asked.anomalies.iter().any(|anomaly| anomaly.0.eq_ignore_ascii_case(name));
            yes(there, asked.later(view.way))
        }
        Part::Hook(name) => {
            let hook = judge.program.transactions.hook(view.protocol, name, view.way);
            yes(hook.is_some_and(|(_, at)| progress >= at), asked.later(view.way))
        }
        Part::State(name, wanted) => {
            let Some((of, at)) = judge.program.transactions.hook(view.protocol, name, view.way) else {
                return Satisfied::No;
            };
            // A direction that the state is not named after is compared once it has said something.
            if of != view.way && progress == 0 {
                return asked.later(view.way);
            }
            let past = if progress > at { Satisfied::No } else { asked.later(view.way) };
            yes(progress.cmp(&at) == *wanted, past)
        }
        Part::Named { keyword, argument, negated } => match view.transaction.special(keyword, argument, view.way) {
            Some(holds) => yes(holds != *negated, asked.later(view.way)),
            None => asked.later(view.way),
        },
        Part::Files(tests) => files(asked, tests, &judge.scratch.room.sets),
        Part::Payload => yes(asked.payload, asked.later(view.way)),
    }
}

fn text(judge: &mut Judge<'_>, asked: &Asked<'_>, part: &Text) -> Satisfied {
    let view = asked.view;
    let Some(has) = judge.program.transactions.has(view.protocol) else { return Satisfied::No };
    let ways = match part.way {
        Some(way) => [Some(way), None],
        None => [Some(view.way), Some(opposite(view.way))],
    };
    let found = ways.into_iter().flatten().find_map(|way| Some((way, has.ready(part.buffer, way)?)));
    let Some((way, ready)) = found else { return Satisfied::No };
    if view.transaction.progress(way) < ready && !view.end {
        return asked.later(way);
    }
    judge.scratch.room.dce_little =
        part.buffer == Buffer::DcerpcStubData && view.transaction.special("dce", "little", way) == Some(true);
    let open = is_file(part.buffer) || view.transaction.grown(part.buffer, way).is_some_and(|c| !c.is_closed());
    let mut work = std::mem::take(&mut judge.scratch.work);
    let first = if is_file(part.buffer) { asked.first_file } else { 0 };
    let (mut any, mut matched) = (false, false);
    for nth in first..first + VALUES {
        let bytes = match value(view, (part.buffer, way), nth, &mut work) {
            Value::Missing => break,
            Value::Nothing => continue,
            Value::Bytes(bytes) => bytes,
        };
        any = true;
        // Of several files each has a length of its own.
        let content = content(view, part.buffer, nth).filter(|_| way == view.way && view.files().len() <= 1);
        if content.is_some_and(|content| !view.end && asked.growth.may_wait(content, &part.check, bytes)) {
            judge.scratch.room.work += 1;
            continue;
        }
        match part.check.run(bytes, &mut judge.scratch.room) {
            Outcome::Match => {
                matched = true;
                break;
            }
            Outcome::NoMatch => {}
            Outcome::Undecided => judge.undecided = true,
        }
    }
    judge.scratch.work = work;
    match (part.absent, any) {
        (Some(Absent::Must | Absent::OrElse), false) if !open || view.is_complete(way) => Satisfied::Yes,
        (Some(Absent::Must), true) => Satisfied::No,
        _ if matched => Satisfied::Yes,
        _ if open => asked.later(way),
        _ => Satisfied::No,
    }
}

fn opposite(way: Direction) -> Direction {
    match way {
        Direction::Original => Direction::Reply,
        Direction::Reply => Direction::Original,
    }
}

fn number(asked: &Asked<'_>, test: &NumberTest) -> Satisfied {
    let view = asked.view;
    let values = (0..VALUES).map_while(|nth| view.transaction.number(test.field, view.way, nth));
    let holds = |value: u64| test.comparison.holds(value);
    let at = |index: i32| {
        let index = match usize::try_from(index) {
            Ok(index) => index,
            Err(_) => values.clone().count().checked_sub(index.unsigned_abs() as usize)?,
        };
        values.clone().nth(index)
    };
    // What the other direction says is not missing in this one.
    let elsewhere = || {
        let other = opposite(view.way);
        values.clone().next().is_none() && view.transaction.number(test.field, other, 0).is_some()
    };
    let satisfied = match test.nth {
        Nth::All | Nth::AtOrMissing(_) | Nth::Count(_) if elsewhere() => false,
        Nth::Any => values.clone().any(holds),
        Nth::All => view.is_complete(view.way) && values.clone().all(holds),
        Nth::AllOfSome => values.clone().next().is_some() && values.clone().all(holds),
        Nth::At(index) => at(index).is_some_and(holds),
        Nth::AtOrMissing(index) => at(index).is_none_or(holds),
        Nth::Count(bounds) => bounds.contains(values.clone().count() as u64),
    };
    if satisfied { Satisfied::Yes } else { asked.later(view.way) }
}

fn files(asked: &Asked<'_>, tests: &[FileTest], sets: &Sets) -> Satisfied {
    let fresh = asked.view.files().get(asked.first_file..).unwrap_or_default();
    let fits = fresh.iter().any(|file| tests.iter().all(|test| file_fits(file, test, sets)));
    if fits { Satisfied::Yes } else { asked.later(asked.view.way) }
}
