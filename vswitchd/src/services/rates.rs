//! So many requests of one port at once, and so many more each second.

use std::collections::HashMap;

/// Ports whose requests are counted; beyond that all begin anew.
const PORTS_MAX: usize = 8192;

/// How often ports have asked.
#[derive(Debug, Default)]
pub struct Rates {
    /// By port: when it last asked, in seconds, and what it had left then.
    asked: HashMap<String, (u64, u32)>,
}

impl Rates {
    /// Whether a port may ask once more, of `rate` a second and `burst` at once.
    pub fn may_ask(&mut self, port: &str, now_s: u64, rate: u32, burst: u32) -> bool {
        if self.asked.len() >= PORTS_MAX && !self.asked.contains_key(port) {
            self.asked.clear();
        }
        let (since, left) = self.asked.entry(port.to_owned()).or_insert((now_s, burst));
        let new = u32::try_from(now_s.saturating_sub(*since)).unwrap_or(u32::MAX).saturating_mul(rate);
        (*since, *left) = (now_s.max(*since), left.saturating_add(new).min(burst));
        let taken = left.checked_sub(1);
        *left = taken.unwrap_or(0);
        taken.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_asks_so_often_and_no_more() {
        let mut rates = Rates::default();
        let mut asked = |port: &str, now_s| (0..100).filter(|_| rates.may_ask(port, now_s, 20, 40)).count();
        assert_eq!(asked("vm1", 5), 40);
        assert_eq!(asked("vm2", 5), 40);
        assert_eq!(asked("vm1", 6), 20);
        assert_eq!(asked("vm1", 4), 0, "a clock that is set back gives nothing");
    }
}
