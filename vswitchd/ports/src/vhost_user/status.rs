//! A vhost-user port's state in words, for people.

use super::{VhostUserPort, features};
use crate::Status;

impl VhostUserPort {
    pub(super) fn describe(&self) -> Status {
        Status {
            link: self.ways.link,
            kind: "vhost-user",
            mode: self.mode(),
            problem: self.problem(),
            mtu: self.mtu(),
            details: self.details(),
        }
    }

    fn mode(&self) -> String {
        let state = if self.session.is_some() { "connected" } else { "waiting for a front end" };
        let pairs = self.ways.to_guest.len();
        let s = if pairs == 1 { "" } else { "s" };
        let packed = self.session.as_ref().is_some_and(|session| session.agreed.has(features::RING_PACKED));
        let kind = if packed { "packed ring" } else { "split ring" };
        format!("{}, {state}, {pairs} queue pair{s}, {kind}", self.endpoint.describe())
    }

    fn problem(&self) -> String {
        let faults = self.session.iter().flat_map(|s| &s.rings);
        let fault = faults.filter_map(|r| r.fault.map(|f| format!("ring {} is stopped: {f}", r.index))).next();
        let refused = || self.session.as_ref().and_then(|s| s.refused.as_ref()).map(|r| format!("refused: {r}"));
        match fault.or_else(refused) {
            Some(problem) => problem,
            None if self.ways.link => String::new(),
            None if !self.endpoint.problem.is_empty() => self.endpoint.problem.clone(),
            None if !self.ended.is_empty() => self.ended.clone(),
            None if self.session.is_some() => "the guest's driver has not started the rings".to_string(),
            None => String::new(),
        }
    }

    fn details(&self) -> Vec<(String, String)> {
        let mut details = vec![
            ("sessions".to_string(), self.sessions.to_string()),
            ("refused".to_string(), self.endpoint.refused.to_string()),
        ];
        let Some(session) = &self.session else { return details };
        details.push(("features".to_string(), session.agreed.names()));
        details.push(("gro".to_string(), self.departure.describe_gro()));
        let memory = format!("{} MiB in {} regions", session.memory.size() >> 20, session.memory.len());
        details.push(("memory".to_string(), memory));
        details.push(("messages".to_string(), session.messages.to_string()));
        for ring in session.rings.iter().filter(|r| r.is_running() || r.fault.is_some()) {
            details.push((format!("ring {}", ring.index), ring.describe()));
        }
        details
    }
}
