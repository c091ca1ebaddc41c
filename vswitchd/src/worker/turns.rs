//! Whose turn it is at a rate that several ports share: who has had more than another lets the others go first, once.
//!
//! Nobody knows what waits in a guest's own ring without looking. So a port that may go and has had more than another
//! passes once; where nobody has taken its turn until it is asked again, it goes. A port that was silent is at most
//! [`CREDIT`] behind the others when it comes back. Limit: a few words for each port.

use weir_wire::PortId;

/// Bytes that a port may be behind the one that has had most.
const CREDIT: u64 = 256 << 10;

#[derive(Clone, Copy, Debug, Default)]
struct Member {
    /// Bytes it has had, as far as they count.
    used: u64,
    /// The turn that it passed last.
    passed: u64,
}

/// The ports that share one rate in one direction.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// By port.
    members: Vec<Option<Member>>,
    least: u64,
    most: u64,
    /// Counts turns, from 1 on.
    turn: u64,
}

impl Turns {
    /// Whether a port may go, or lets others go first.
    pub fn may_go(&mut self, port: PortId) -> bool {
        let (least, turn) = (self.least, self.turn);
        let Some(Some(member)) = self.members.get_mut(usize::from(port.0)) else { return true };
        if member.used <= least || member.passed == turn {
            return true;
        }
        member.passed = turn;
        false
    }

    /// A port went, with so many bytes.
    pub fn went(&mut self, port: PortId, bytes: u64) {
        let index = usize::from(port.0);
        if index >= self.members.len() {
            self.members.resize(index + 1, None);
        }
        self.turn += 1;
        let floor = self.most.saturating_sub(CREDIT);
        if let Some(slot) = self.members.get_mut(index) {
            let member = slot.get_or_insert_default();
            member.used = member.used.max(floor).saturating_add(bytes);
            self.most = self.most.max(member.used);
        }
        self.least = self.members.iter().flatten().map(|member| member.used).min().unwrap_or(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Who goes when these ports are asked in this order, each with so many bytes at a time, until `turns` have gone.
    fn play(turns: &mut Turns, asked: &[(u16, u64)], rounds: usize) -> Vec<u64> {
        let mut had = vec![0; 10];
        for round in 0..rounds {
            // One goes in each round: what is shared is used up then.
            let mut order = asked.to_vec();
            order.rotate_left(round * 7 % asked.len());
            if let Some(&(port, bytes)) = order.iter().find(|(port, _)| turns.may_go(PortId(*port))) {
                turns.went(PortId(port), bytes);
                had[usize::from(port)] += bytes;
            }
        }
        had
    }

    #[test]
    fn who_sends_much_at_a_time_goes_less_often() {
        let mut turns = Turns::default();
        let had = play(&mut turns, &[(1, 60_000), (2, 1500), (3, 30_000)], 3000);
        let most = *had.iter().max().expect("some");
        for port in [1, 2, 3] {
            assert!(most - had[port] <= 120_000, "{had:?}");
        }
    }

    #[test]
    fn one_alone_is_held_up_by_nobody_for_long() {
        let mut turns = Turns::default();
        play(&mut turns, &[(1, 1000), (2, 1000)], 100);
        let had = play(&mut turns, &[(1, 1000)], 100);
        assert!(had[1] >= 49_000, "every second question at least: {had:?}");
    }

    #[test]
    fn a_pause_is_no_credit() {
        let mut turns = Turns::default();
        play(&mut turns, &[(1, 1000), (2, 1000)], 10);
        play(&mut turns, &[(1, 1 << 20)], 100);
        let had = play(&mut turns, &[(1, 1000), (2, 1000)], 2000);
        assert!(had[2] - had[1] <= CREDIT + 2000, "{had:?}");
    }
}
