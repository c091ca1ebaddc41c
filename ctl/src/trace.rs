//! `vswitchctl why` and `vswitchctl trace`.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use clap::Args;
use weir_proto::v1;

use crate::Format;
use crate::connect::Connection;
use crate::failure::Failure;
use crate::frame::{self, Ends};
use crate::table::{duration_ms, hex_dump, print, print_json};

/// The packets that were dropped lately, and why.
#[derive(Args)]
pub struct Why {
    /// Packets that came in by this port; all ports where absent.
    #[arg(long)]
    port: Option<String>,
    /// Show at most this many, the latest; the same drop again and again is shown once.
    #[arg(long, value_name = "NUMBER", default_value_t = 10)]
    last: usize,
}

/// Walk one frame through the switch.
///
/// Give the frame in hexadecimal digits, or let one be made: --tcp, --udp or --ping with both ends, and the MAC addresses
/// where they matter.
#[derive(Args)]
pub struct Trace {
    /// The port the frame is to come in by.
    #[arg(long)]
    port: String,
    /// The frame from its Ethernet header on, in hexadecimal digits; spaces and colons do not matter.
    #[arg(long, value_name = "DIGITS", group = "frame", required = true)]
    hex: Option<String>,
    /// A TCP SYN from one end to the other, as in 10.0.0.1:40000,10.0.0.2:80.
    #[arg(long, value_name = "SRC:PORT,DST:PORT", group = "frame", required = true)]
    tcp: Option<Pair<SocketAddr>>,
    /// A UDP datagram.
    #[arg(long, value_name = "SRC:PORT,DST:PORT", group = "frame", required = true)]
    udp: Option<Pair<SocketAddr>>,
    /// An ICMP echo request.
    #[arg(long, value_name = "SRC,DST", group = "frame", required = true)]
    ping: Option<Pair<IpAddr>>,
    /// The first packet of a flow by its five-tuple, as in "tcp 10.0.0.5:1234 > 10.0.1.7:80", "udp [fd00::1]:5 >
    /// [fd00::2]:53" or "icmp 10.0.0.5 > 10.0.0.6"; the daemon finds the MAC addresses.
    #[arg(long, value_name = "FLOW", group = "frame", required = true)]
    flow: Option<Flow>,
    /// Source MAC address of a frame that is made [with --flow: the one that belongs to the address].
    #[arg(long, value_parser = mac)]
    src_mac: Option<[u8; 6]>,
    /// Destination MAC address of a frame that is made [with --flow: the receiver's or the router's].
    #[arg(long, value_parser = mac)]
    dst_mac: Option<[u8; 6]>,
    /// VLAN tag of a frame that is made.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=4094))]
    vlan: Option<u16>,
}

/// Two of a kind with a comma between.
#[derive(Clone, Copy, Debug)]
pub struct Pair<T>(T, T);

impl<T: FromStr> FromStr for Pair<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<Pair<T>, String> {
        let (from, to) = text.split_once(',').ok_or("write both ends with a comma between")?;
        let read = |end: &str| end.trim().parse().map_err(|_| format!("\"{end}\" cannot be read"));
        Ok(Pair(read(from)?, read(to)?))
    }
}

/// The first packet of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// TCP between these.
    Tcp(SocketAddr, SocketAddr),
    /// UDP.
    Udp(SocketAddr, SocketAddr),
    /// ICMP or ICMPv6 echo.
    Ping(IpAddr, IpAddr),
}

impl FromStr for Flow {
    type Err = String;

    fn from_str(text: &str) -> Result<Flow, String> {
        const FORM: &str = "write \"tcp 10.0.0.5:1234 > 10.0.1.7:80\", with udp or icmp in its place";
        let (protocol, ends) = text.trim().split_once(char::is_whitespace).ok_or(FORM)?;
        let (from, to) = ends.split_once('>').ok_or(FORM)?;
        let (from, to) = (from.trim().trim_end_matches('-').trim(), to.trim());
        let end = |text: &str| {
            text.parse::<SocketAddr>().map_err(|_| format!("\"{text}\" is no address with a port; {FORM}"))
        };
        let host = |text: &str| text.parse::<IpAddr>().map_err(|_| format!("\"{text}\" is no address; {FORM}"));
        match protocol.to_ascii_lowercase().as_str() {
            "tcp" => Ok(Flow::Tcp(end(from)?, end(to)?)),
            "udp" => Ok(Flow::Udp(end(from)?, end(to)?)),
            "icmp" | "icmpv6" | "ping" => Ok(Flow::Ping(host(from)?, host(to)?)),
            other => Err(format!("\"{other}\" is not tcp, udp or icmp; {FORM}")),
        }
    }
}

impl Flow {
    fn frame(self, link: &frame::Link) -> Result<Vec<u8>, String> {
        Ok(match self {
            Flow::Tcp(from, to) => frame::tcp_syn(link, Ends::of(from.ip(), to.ip())?, from.port(), to.port()),
            Flow::Udp(from, to) => frame::udp(link, Ends::of(from.ip(), to.ip())?, from.port(), to.port()),
            Flow::Ping(from, to) => frame::ping(link, Ends::of(from, to)?),
        })
    }
}

fn mac(text: &str) -> Result<[u8; 6], String> {
    let wrong = || format!("\"{text}\" is not a MAC address: write 52:54:00:12:34:56");
    let bytes: Result<Vec<u8>, _> = text.split(':').map(|byte| u8::from_str_radix(byte, 16)).collect();
    bytes.ok().and_then(|b| b.try_into().ok()).ok_or_else(wrong)
}

/// Runs `why`.
pub async fn why(why: Why, daemon: &Connection, format: Format) -> Result<(), Failure> {
    let request = v1::WhyRequest { port: why.port.unwrap_or_default() };
    let packets = daemon.trace().await?.why(request).await?.into_inner().packets;
    if format == Format::Json {
        return print_json(&packets);
    }
    let groups = groups(&packets);
    if groups.is_empty() {
        return print("no packet was dropped\n");
    }
    print(&groups.iter().take(why.last).map(text).collect::<Vec<_>>().join("\n"))
}

/// Packets of one conversation that were dropped for the same reason.
struct Group<'a> {
    /// The first of them, whose bytes tell most: later ones are repetitions.
    first: &'a v1::DroppedPacket,
    last_ms: u64,
    count: usize,
}

/// Groups the packets, oldest first, into groups, latest first.
fn groups(packets: &[v1::DroppedPacket]) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for packet in packets {
        let key = |p: &v1::DroppedPacket| {
            (p.port.clone(), p.reason.clone(), p.summary.clone(), p.rule.clone(), p.signature.clone())
        };
        match groups.iter().position(|g| key(g.first) == key(packet)) {
            Some(index) => {
                let mut group = groups.remove(index);
                group.count += 1;
                group.last_ms = packet.ago_ms;
                groups.push(group);
            }
            None => groups.push(Group { first: packet, last_ms: packet.ago_ms, count: 1 }),
        }
    }
    groups.reverse();
    groups
}

fn text(group: &Group<'_>) -> String {
    let packet = group.first;
    let when = match group.count {
        1 => format!("{} ago", duration_ms(packet.ago_ms)),
        n => format!("{n} times, {} to {} ago", duration_ms(packet.ago_ms), duration_ms(group.last_ms)),
    };
    let mut text = format!(
        "{when}, port {}: {}, {} bytes\n  reason     {}: {}\n",
        packet.port, packet.summary, packet.length, packet.reason, packet.meaning
    );
    for (name, value) in [("rule", &packet.rule), ("signature", &packet.signature)] {
        if !value.is_empty() {
            text += &format!("  {name:9}  {value}\n");
        }
    }
    // Repetitions of a flow that was ended say nothing of why; what ended it is another group.
    if packet.reason != "flow-blocked" {
        text += &hex_dump(&packet.head, "  ");
    }
    text
}

/// Runs `trace`.
pub async fn run(trace: Trace, daemon: &Connection, format: Format) -> Result<(), Failure> {
    let link = frame::Link {
        source: trace.src_mac.unwrap_or([2, 0, 0, 0, 0, 1]),
        destination: trace.dst_mac.unwrap_or([0xff; 6]),
        vlan: trace.vlan,
    };
    let find_link = trace.flow.is_some() && trace.src_mac.is_none() && trace.dst_mac.is_none();
    let frame = if let Some(digits) = &trace.hex {
        frame::from_hex(digits).map_err(Failure::usage)?
    } else if let Some(Pair(from, to)) = trace.tcp {
        frame::tcp_syn(&link, Ends::of(from.ip(), to.ip()).map_err(Failure::usage)?, from.port(), to.port())
    } else if let Some(Pair(from, to)) = trace.udp {
        frame::udp(&link, Ends::of(from.ip(), to.ip()).map_err(Failure::usage)?, from.port(), to.port())
    } else if let Some(Pair(from, to)) = trace.ping {
        frame::ping(&link, Ends::of(from, to).map_err(Failure::usage)?)
    } else if let Some(flow) = trace.flow {
        flow.frame(&link).map_err(Failure::usage)?
    } else {
        return Err(Failure::usage("which frame? give --flow, --hex, --tcp, --udp or --ping"));
    };
    let answer =
        daemon.trace().await?.frame(v1::TraceFrameRequest { port: trace.port, frame, find_link }).await?.into_inner();
    match format {
        Format::Json => print_json(&answer),
        Format::Table => print(&answer.steps.iter().map(|step| format!("{step}\n")).collect::<String>()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(ago_ms: u64, reason: &str, summary: &str) -> v1::DroppedPacket {
        v1::DroppedPacket { ago_ms, reason: reason.into(), summary: summary.into(), ..Default::default() }
    }

    #[test]
    fn repetitions_are_one_group_and_the_latest_group_is_first() {
        let packets = [
            packet(900, "inspection", "a -> b"),
            packet(800, "flow-blocked", "a -> b"),
            packet(700, "tx-full", "c -> d"),
            packet(600, "flow-blocked", "a -> b"),
        ];
        let groups = groups(&packets);
        let told: Vec<_> = groups.iter().map(|g| (g.first.reason.as_str(), g.count, g.last_ms)).collect();
        assert_eq!(told, [("flow-blocked", 2, 600), ("tx-full", 1, 700), ("inspection", 1, 900)]);
        assert!(text(&groups[0]).starts_with("2 times, 800 ms to 600 ms ago"));
    }

    #[test]
    fn a_five_tuple_becomes_a_packet() {
        let flow: Flow = "tcp 10.0.0.5:1234 > 10.0.1.7:80".parse().expect("is one");
        assert!(matches!(flow, Flow::Tcp(from, to) if from.port() == 1234 && to.port() == 80));
        assert!(matches!("UDP [fd00::1]:5 -> [fd00::2]:53".parse(), Ok(Flow::Udp(..))));
        assert!(matches!("icmp 10.0.0.5 > 10.0.0.6".parse(), Ok(Flow::Ping(..))));
        for wrong in ["tcp 10.0.0.5 > 10.0.0.6", "gre 10.0.0.5 > 10.0.0.6", "tcp", "10.0.0.5:1 > 10.0.0.6:2"] {
            assert!(wrong.parse::<Flow>().is_err(), "{wrong}");
        }
        let link = frame::Link { source: [2; 6], destination: [4; 6], vlan: None };
        let bytes = flow.frame(&link).expect("both ends are IPv4");
        assert_eq!((bytes.len(), bytes[23]), (54, 6));
        assert!(Flow::Ping([10, 0, 0, 1].into(), std::net::Ipv6Addr::LOCALHOST.into()).frame(&link).is_err());
    }

    #[test]
    fn ends_of_a_frame_are_read() {
        let Pair(from, to): Pair<SocketAddr> = "10.0.0.1:5, [2001:db8::1]:80".parse().expect("both ends");
        assert_eq!((from.port(), to.port(), to.is_ipv6()), (5, 80, true));
        assert!("10.0.0.1:5".parse::<Pair<SocketAddr>>().is_err());
        assert_eq!(mac("52:54:00:12:34:56"), Ok([0x52, 0x54, 0, 0x12, 0x34, 0x56]));
        assert!(mac("52:54").is_err());
    }
}
