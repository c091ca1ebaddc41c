//! Which kinds of events are written.

use weir_ids_rules::AppProtocol;

/// The kinds of events that are wanted, by the names in which EVE's configuration lists them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kinds {
    /// Packets that rules or the engine refused.
    pub drop: bool,
    /// Flows, when they end.
    pub flow: bool,
    /// What decoder, streams and parsers found odd.
    pub anomaly: bool,
    /// Files, when they end, with their digests.
    pub files: bool,
    /// How alerts show the bodies of messages.
    pub bodies: Bodies,
    alert: bool,
    protocols: u64,
}

/// How alerts show the bodies of HTTP's requests and responses, as far as rules look at them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bodies {
    /// In Base64.
    pub encoded: bool,
    /// As text.
    pub printable: bool,
}

impl Default for Kinds {
    /// All of them.
    fn default() -> Kinds {
        let bodies = Bodies::default();
        Kinds { drop: true, flow: true, anomaly: true, files: true, bodies, alert: true, protocols: u64::MAX }
    }
}

impl Kinds {
    /// From a list: `[alert, drop, http]`, with or without brackets. Names that there are not are passed over.
    pub fn from_list(text: &str) -> Kinds {
        let bodies = Bodies::default();
        let mut kinds =
            Kinds { drop: false, flow: false, anomaly: false, files: false, bodies, alert: false, protocols: 0 };
        for name in text.split([',', '[', ']', ' ']).map(str::trim).filter(|name| !name.is_empty()) {
            match name {
                "alert" => kinds.alert = true,
                "drop" => kinds.drop = true,
                "flow" => kinds.flow = true,
                "anomaly" => kinds.anomaly = true,
                "files" => kinds.files = true,
                _ => kinds.protocols |= of_name(name),
            }
        }
        kinds
    }

    /// Whether alerts, and packets that rules tag, are written. They are counted in any case.
    pub fn alerts(&self) -> bool {
        self.alert
    }

    /// Whether something is written that the application layer, or the stream, has to tell.
    pub fn hears_flows(&self) -> bool {
        self.flow || self.anomaly || self.files || self.protocols != 0
    }

    /// Whether the transactions of a protocol are written.
    pub fn takes(&self, protocol: AppProtocol) -> bool {
        self.protocols & bit(protocol) != 0
    }
}

fn bit(protocol: AppProtocol) -> u64 {
    1u64.checked_shl(u32::from(protocol as u8)).unwrap_or(1 << 63)
}

/// The protocols whose transactions are written under a name.
fn of_name(name: &str) -> u64 {
    let under = |protocol: AppProtocol| match protocol {
        AppProtocol::Http1 | AppProtocol::Http2 => "http",
        AppProtocol::Doh2 | AppProtocol::Llmnr | AppProtocol::Dns => "dns",
        other => other.name(),
    };
    let all = AppProtocol::ALL.iter().filter(|&&protocol| {
        under(protocol) == name || protocol.name() == name || protocol.name().replace('-', "_") == name
    });
    all.fold(0, |bits, &protocol| bits | bit(protocol))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_names_what_is_written() {
        let kinds = Kinds::from_list("[alert, drop, http, dns]");
        assert!(kinds.alerts() && kinds.drop && !kinds.flow && !kinds.files && !kinds.anomaly);
        assert!(kinds.takes(AppProtocol::Http1) && kinds.takes(AppProtocol::Http2) && kinds.takes(AppProtocol::Dns));
        assert!(!kinds.takes(AppProtocol::Tls) && kinds.hears_flows());
        assert!(!Kinds::from_list("alert, drop").hears_flows());
    }

    #[test]
    fn without_a_list_everything_is_written() {
        let kinds = Kinds::default();
        assert!(AppProtocol::ALL.iter().all(|&protocol| kinds.takes(protocol)));
        assert!(kinds.alerts() && kinds.files);
    }

    #[test]
    fn every_protocol_has_a_place_of_its_own() {
        assert!(AppProtocol::ALL.len() < 64);
    }
}
