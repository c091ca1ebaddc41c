//! Content lists: what it costs to ask one for a name.

use weir_filter::content::List;

use crate::measure::{Figure, Rounds, timed};

/// Names in the list.
const NAMES: usize = 500_000;
/// Names that are asked for in a step.
const ASKED: usize = 1000;

/// Whether the names asked for are in the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Below an entry of it.
    Listed,
    /// Not.
    Other,
}

/// Asks a list of half a million names for hosts of four labels.
///
/// # Errors
/// An answer was wrong.
pub fn look_up(rounds: &Rounds, name: &str, asked: Asked) -> Result<Figure, String> {
    let text: String = (0..NAMES).map(|n| format!("host-{n}.category.example\n")).collect();
    let list = List::parse(&text);
    drop(text);
    let first = if asked == Asked::Listed { 0 } else { NAMES };
    // Places far from each other, so that they are not in the cache.
    let host = |n: usize| format!("www.host-{}.category.example", first + n * 7919 % NAMES);
    let hosts: Vec<String> = (0..100 * ASKED).map(host).collect();
    let (mut steps, mut wrong) = (0, 0);
    let figure = rounds.measure(name, || {
        let from = steps % 100 * ASKED;
        steps += 1;
        let ((), cost) = timed(ASKED as u64, || {
            for host in hosts.iter().skip(from).take(ASKED) {
                wrong += usize::from(list.site(host, None).is_some() != (asked == Asked::Listed));
            }
        });
        cost
    });
    if wrong > 0 { Err(format!("{name}: {wrong} answers were wrong")) } else { Ok(figure) }
}
