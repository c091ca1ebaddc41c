//! The keyword `modbus`: `function 8, subfunction 4`, `function !user`, `access write holding, address 500, value >200`,
//! `unit 10, …`.

use super::message::{Message, Span};

/// Kinds of functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Category {
    /// Described by the specification.
    Assigned,
    /// Public and without a meaning yet.
    Unassigned,
    /// Free for users.
    User,
    /// In use by companies.
    Reserved,
}

impl Category {
    /// The name in EVE.
    pub const fn name(self) -> &'static str {
        match self {
            Category::Assigned => "PUBLIC_ASSIGNED",
            Category::Unassigned => "PUBLIC_UNASSIGNED",
            Category::User => "USER_DEFINED",
            Category::Reserved => "RESERVED",
        }
    }
}

/// What kind of function this is.
pub const fn category(function: u8) -> Category {
    match function {
        1..=8 | 11 | 12 | 15..=17 | 20..=24 | 43 => Category::Assigned,
        65..=72 | 100..=110 => Category::User,
        9 | 10 | 13 | 14 | 41 | 42 | 90 | 91 | 125..=127 => Category::Reserved,
        _ => Category::Unassigned,
    }
}

/// Whether a request is what a rule's argument asks for.
pub fn holds(request: &Message, argument: &str) -> bool {
    let parts: Vec<(&str, &str)> = argument
        .split(',')
        .map(|part| part.trim().split_once(char::is_whitespace).unwrap_or((part.trim(), "")))
        .map(|(name, value)| (name, value.trim()))
        .collect();
    let wanted = |name: &str| parts.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
    let access = wanted("access").is_none_or(|value| accessed(request, value, wanted("address"), wanted("value")));
    access
        && wanted("unit").is_none_or(|value| compared(request.unit.into(), value))
        && wanted("function").is_none_or(|value| function_is(request.function, value))
        && wanted("subfunction").is_none_or(|value| request.subfunction().is_some_and(|sub| compared(sub, value)))
}

fn function_is(function: u8, wanted: &str) -> bool {
    let (negated, name) = match wanted.strip_prefix('!') {
        Some(name) => (true, name.trim()),
        None => (false, wanted),
    };
    let kind = category(function);
    let is = match name {
        "assigned" => kind == Category::Assigned,
        "unassigned" => kind == Category::Unassigned,
        "public" => matches!(kind, Category::Assigned | Category::Unassigned),
        "user" => kind == Category::User,
        "reserved" => kind == Category::Reserved,
        "all" => true,
        number => number.parse() == Ok(function),
    };
    is != negated
}

/// A number, a range, or a bound.
fn compared(number: u16, wanted: &str) -> bool {
    let (low, high) = bounds(wanted);
    u32::from(number) >= low && u32::from(number) <= high
}

fn bounds(wanted: &str) -> (u32, u32) {
    let parsed = |text: &str| text.trim().parse::<u32>().ok();
    let none = (u32::MAX, 0);
    if let Some(limit) = wanted.strip_prefix('<') {
        return parsed(limit).and_then(|limit| limit.checked_sub(1)).map_or(none, |high| (0, high));
    }
    if let Some(limit) = wanted.strip_prefix('>') {
        return parsed(limit).map_or(none, |limit| (limit.saturating_add(1), u32::MAX));
    }
    if let Some((low, high)) = wanted.split_once("<>") {
        let inner = parsed(low).zip(parsed(high));
        return inner.map_or(none, |(low, high)| (low.saturating_add(1), high.saturating_sub(1)));
    }
    parsed(wanted).map_or(none, |number| (number, number))
}

fn accessed(request: &Message, access: &str, address: Option<&str>, value: Option<&str>) -> bool {
    let mut words = access.split_whitespace();
    let write = words.next() == Some("write");
    let fits = match (write, words.next()) {
        (_, None) => true,
        (false, Some("coils")) => request.function == 1,
        (false, Some("discretes")) => request.function == 2,
        (false, Some("holding")) => matches!(request.function, 3 | 23),
        (false, Some("input")) => request.function == 4,
        (true, Some("coils")) => matches!(request.function, 5 | 15),
        (true, Some("holding")) => matches!(request.function, 6 | 16 | 22 | 23),
        _ => false,
    };
    let span = if write { request.writes() } else { request.reads() };
    let Some(Span { address: first, count }) = span.filter(|_| fits) else { return false };
    let (low, high) = address.map_or((0, u32::MAX), bounds);
    let last = u32::from(first) + u32::from(count).saturating_sub(1);
    if low > last || high < u32::from(first) {
        return false;
    }
    let Some(value) = value else { return true };
    (0..count.min(2000)).any(|nth| {
        let place = u32::from(first) + u32::from(nth);
        let here = place >= low && place <= high;
        here && request.written(nth).is_some_and(|written| compared(written, value))
    })
}
