//! Rules that ask something of single packets, and what they cannot ask beside it.

use crate::Buffer;
use crate::diagnostic::Fault;
use crate::parser::Draft;
use crate::rule::{AppTest, Condition, Protocol, Rule, Section};

/// Refuses what cannot be asked together with a condition on single packets: the stream alone, and transactions, which
/// come in as many packets as it pleases the sender.
pub(super) fn check(rule: &Rule) -> Result<(), Fault> {
    if !asks_packets(rule) {
        return Ok(());
    }
    if rule.flow.only_stream || rule.protocol == Protocol::TcpStream {
        return Err(Draft::conflict(0..1, "the rule asks for the stream only, and has conditions on single packets"));
    }
    if asks_transactions(rule) {
        let message = "the rule has conditions on single packets (dsize, flags, ttl and the like) and on a transaction";
        return Err(Draft::conflict(0..1, message)
            .remedy("leave out the one or the other, or tie two rules together with a flowbit"));
    }
    Ok(())
}

fn asks_packets(rule: &Rule) -> bool {
    let header =
        |s: &Section| s.buffer.is_packet_header() && !matches!(s.buffer, Buffer::SourceIp | Buffer::DestinationIp);
    rule.flow.no_stream
        || rule.protocol == Protocol::TcpPacket
        || rule.conditions.iter().any(is_on_packets)
        || rule.sections.iter().any(header)
}

/// What is counted of a flow is compared as each packet comes.
fn is_on_packets(condition: &Condition) -> bool {
    matches!(
        condition,
        Condition::Flags { .. }
            | Condition::PayloadSize(_)
            | Condition::Sequence(_)
            | Condition::Acknowledgment(_)
            | Condition::Window { .. }
            | Condition::TcpMss(_)
            | Condition::TcpWindowScale(_)
            | Condition::Ttl(_)
            | Condition::Tos(_)
            | Condition::IpId(_)
            | Condition::IpOption(_)
            | Condition::FragmentBits { .. }
            | Condition::FragmentOffset(_)
            | Condition::SameIp
            | Condition::FlowAge(_)
            | Condition::FlowPackets(..)
            | Condition::FlowBytes(..)
    )
}

fn asks_transactions(rule: &Rule) -> bool {
    let of_transaction =
        |s: &Section| !s.buffer.is_payload() && !s.buffer.is_packet_header() && s.buffer != Buffer::Frame;
    let asks = |test: &AppTest| match test {
        // Those of protocol detection concern the flow.
        AppTest::Event(name) => !name.starts_with("applayer_"),
        AppTest::Named { .. } => true,
        AppTest::State { .. } => false,
    };
    rule.sections.iter().any(of_transaction)
        || rule.app.iter().any(asks)
        || !rule.numbers.is_empty()
        || !rule.files.is_empty()
        || rule.filestore.is_some()
}
