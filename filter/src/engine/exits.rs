//! The ports a packet is to leave by: one, or several of which some may be refused.

use weir_wire::PortId;

use crate::flow::UNKNOWN_PORT;
use crate::policy::Decision;

/// Where a packet goes.
pub(super) enum Exits<'a> {
    /// To one port.
    One(PortId),
    /// To several; those that may not have it are taken out and counted.
    Many {
        /// The ports.
        ports: &'a mut Vec<PortId>,
        /// How many were taken out.
        refused: &'a mut usize,
    },
}

impl Exits<'_> {
    /// The port, where there is only one.
    #[inline]
    pub fn sole(&self) -> Option<PortId> {
        match self {
            Exits::One(port) => Some(*port),
            Exits::Many { ports, .. } => match ports.as_slice() {
                [port] => Some(*port),
                _ => None,
            },
        }
    }

    /// Whether the packet goes there.
    pub fn contains(&self, port: PortId) -> bool {
        match self {
            Exits::One(one) => *one == port,
            Exits::Many { ports, .. } => ports.contains(&port),
        }
    }

    /// Asks for every port and takes none out: the answer that [`Exits::choose`] would give.
    pub fn peek(&self, mut judge: impl FnMut(PortId) -> Decision) -> Decision {
        let mut list = match self {
            Exits::One(port) => return judge(*port),
            Exits::Many { ports, .. } => Vec::clone(ports),
        };
        let (Ok(decision) | Err(decision)) = Exits::Many { ports: &mut list, refused: &mut 0 }.choose(judge);
        decision
    }

    /// Asks for every port. Ports that are refused are taken out, unless all are. The answer is the first decision that
    /// lets the packet pass, one that inspects before one that does not; or the first refusal.
    ///
    /// # Errors
    /// The first refusal, where no port is left.
    pub fn choose(&mut self, mut judge: impl FnMut(PortId) -> Decision) -> Result<Decision, Decision> {
        let (ports, refused) = match self {
            Exits::One(port) => {
                let decision = judge(*port);
                return if decision.refuses() { Err(decision) } else { Ok(decision) };
            }
            Exits::Many { ports, refused } => (ports, refused),
        };
        let mut allowed: Option<Decision> = None;
        let mut refusal: Option<Decision> = None;
        let before = ports.len();
        // Refused ports are marked first, so that a packet that is refused by all keeps its list for another try.
        let mut kept = 0;
        for at in 0..before {
            let Some(&port) = ports.get(at) else { break };
            let decision = judge(port);
            if decision.refuses() {
                refusal = refusal.or(Some(decision));
                continue;
            }
            if allowed.is_none_or(|a| decision.depth() > a.depth()) {
                allowed = Some(decision);
            }
            ports.swap(at, kept);
            kept += 1;
        }
        match (allowed, refusal) {
            (Some(decision), _) => {
                ports.truncate(kept);
                **refused += before - kept;
                Ok(decision)
            }
            (None, Some(refusal)) => Err(refusal),
            // No port at all: there is nothing to refuse or allow.
            (None, None) => Err(judge(UNKNOWN_PORT)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Action;

    fn odd(port: PortId) -> Decision {
        let action = if port.0 % 2 == 1 { Action::Allow } else { Action::Reject };
        Decision { action, program: (port.0 == 5).then_some(0), ..Decision::default() }
    }

    #[test]
    fn refused_ports_are_taken_out_and_the_inspecting_decision_is_taken() {
        let mut ports = [2, 3, 4, 5, 6].map(PortId).to_vec();
        let mut refused = 0;
        let decision = Exits::Many { ports: &mut ports, refused: &mut refused }.choose(odd).unwrap();
        assert_eq!((decision.program, refused), (Some(0), 3));
        assert_eq!(ports, [PortId(3), PortId(5)]);
    }

    #[test]
    fn a_packet_refused_by_all_keeps_its_ports() {
        let mut ports = [2, 4].map(PortId).to_vec();
        let mut refused = 0;
        let decision = Exits::Many { ports: &mut ports, refused: &mut refused }.choose(odd).unwrap_err();
        assert_eq!((decision.action, refused, ports.len()), (Action::Reject, 0, 2));
        assert_eq!(Exits::One(PortId(2)).choose(odd).unwrap_err().action, Action::Reject);
    }
}
