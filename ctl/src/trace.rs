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
    /// Show at most this many, the latest.
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
    /// Source MAC address of a frame that is made.
    #[arg(long, default_value = "02:00:00:00:00:01", value_parser = mac)]
    src_mac: [u8; 6],
    /// Destination MAC address of a frame that is made.
    #[arg(long, default_value = "ff:ff:ff:ff:ff:ff", value_parser = mac)]
    dst_mac: [u8; 6],
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

fn mac(text: &str) -> Result<[u8; 6], String> {
    let wrong = || format!("\"{text}\" is not a MAC address: write 52:54:00:12:34:56");
    let bytes: Result<Vec<u8>, _> = text.split(':').map(|byte| u8::from_str_radix(byte, 16)).collect();
    bytes.ok().and_then(|b| b.try_into().ok()).ok_or_else(wrong)
}

/// Runs `why`.
pub async fn why(why: Why, daemon: &Connection, format: Format) -> Result<(), Failure> {
    let request = v1::WhyRequest { port: why.port.unwrap_or_default() };
    let mut packets = daemon.trace().await?.why(request).await?.into_inner().packets;
    packets.drain(..packets.len().saturating_sub(why.last));
    match format {
        Format::Json => print_json(&packets),
        Format::Table if packets.is_empty() => print("no packet was dropped\n"),
        // The latest first: that is the one people ask about.
        Format::Table => print(&packets.iter().rev().map(text).collect::<Vec<_>>().join("\n")),
    }
}

fn text(packet: &v1::DroppedPacket) -> String {
    let mut text = format!(
        "{} ago, port {}: {}, {} bytes\n  reason     {}: {}\n",
        duration_ms(packet.ago_ms),
        packet.port,
        packet.summary,
        packet.length,
        packet.reason,
        packet.meaning
    );
    for (name, value) in [("rule", &packet.rule), ("signature", &packet.signature)] {
        if !value.is_empty() {
            text += &format!("  {name:9}  {value}\n");
        }
    }
    text + &hex_dump(&packet.head, "  ")
}

/// Runs `trace`.
pub async fn run(trace: Trace, daemon: &Connection, format: Format) -> Result<(), Failure> {
    let link = frame::Link { source: trace.src_mac, destination: trace.dst_mac, vlan: trace.vlan };
    let frame = if let Some(digits) = &trace.hex {
        frame::from_hex(digits).map_err(Failure::usage)?
    } else if let Some(Pair(from, to)) = trace.tcp {
        frame::tcp_syn(&link, Ends::of(from.ip(), to.ip()).map_err(Failure::usage)?, from.port(), to.port())
    } else if let Some(Pair(from, to)) = trace.udp {
        frame::udp(&link, Ends::of(from.ip(), to.ip()).map_err(Failure::usage)?, from.port(), to.port())
    } else if let Some(Pair(from, to)) = trace.ping {
        frame::ping(&link, Ends::of(from, to).map_err(Failure::usage)?)
    } else {
        return Err(Failure::usage("which frame? give --hex, --tcp, --udp or --ping"));
    };
    let answer = daemon.trace().await?.frame(v1::TraceFrameRequest { port: trace.port, frame }).await?.into_inner();
    match format {
        Format::Json => print_json(&answer),
        Format::Table => print(&answer.steps.iter().map(|step| format!("{step}\n")).collect::<String>()),
    }
}
