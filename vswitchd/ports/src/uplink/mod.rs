//! The host's own network card, shared with it: guests reach the network and the host, and the host keeps its card.
//!
//! The host's addresses, routes and connections stay where they are, in the kernel. Two small programs at the card's
//! hooks ([`program`]) hand the switch what is for guests and a copy of what is for everybody, in both directions; what
//! the switch sends goes out by the card, or to the host as if the card had received it. In between is a TAP device, so
//! that checksums and super-segments pass unfinished and the card's own offloads complete them.
//!
//! The programs are held by descriptors of this process. When it ends, however it ends, the kernel takes them off and
//! the card is as it was before: no connection of the host depends on us.
//!
//! **Safety.** No memory is shared beyond what [`crate::tap`] and [`crate::bpf`] describe.

mod program;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use weir_wire::{Capabilities, MacAddr, Packet, Pool, PortId};

use crate::bpf::{self, Hook};
use crate::netdev::{Netdev, check_name, promiscuous};
use crate::netns::NetNs;
use crate::tap::{TapConfig, TapPort};
use crate::{Armed, Counters, Port, PortError, PortErrorKind, Status};
use program::{Owner, Tables};

/// Guests that the status counts, one system call each: it is asked on the worker, and guests can make many addresses.
const GUESTS_SHOWN: usize = 256;

/// A card to share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UplinkConfig {
    /// The card's name.
    pub interface: String,
    /// The namespace it is in, by name or path; the daemon's own for `None`.
    pub netns: Option<String>,
    /// Name of the TAP device between the card and the switch; made from the card's for `None`.
    pub tap: Option<String>,
}

impl UplinkConfig {
    /// The card of that name in the daemon's namespace.
    pub fn new(interface: impl Into<String>) -> UplinkConfig {
        UplinkConfig { interface: interface.into(), netns: None, tap: None }
    }

    fn tap_name(&self) -> String {
        let name = self.tap.clone().unwrap_or_else(|| format!("weir-{}", self.interface));
        name.chars().take(libc::IFNAMSIZ - 1).collect()
    }
}

/// A card that the switch and the host share.
#[derive(Debug)]
pub struct UplinkPort {
    config: UplinkConfig,
    tap: TapPort,
    ns: NetNs,
    card: Netdev,
    tables: Tables,
    hooks: Option<Hooks>,
    problem: String,
}

/// The programs at their hooks; gone when dropped.
#[derive(Debug)]
struct Hooks {
    /// The card's number.
    index: u32,
    mac: MacAddr,
    /// The gateways' addresses.
    gateways: Vec<MacAddr>,
    _links: [OwnedFd; 3],
    _promiscuous: OwnedFd,
}

fn object(config: &UplinkConfig) -> String {
    format!("uplink {}", config.interface)
}

impl UplinkPort {
    /// Shares the card. It must be up already: its addresses and routes are the host's and are not touched.
    ///
    /// # Errors
    /// `NotFound` without the card, `Denied` without the rights, `Unsupported` on kernels before 6.6.
    pub fn open(config: UplinkConfig) -> Result<UplinkPort, PortError> {
        check_name(&config.interface)?;
        let ns = NetNs::open(config.netns.as_deref())?;
        let card = Netdev::new(&ns, &config.interface)?;
        let mtu = card.mtu().map_err(|e| card.error("cannot read its MTU", e))?;
        let tap = TapPort::open(TapConfig {
            netns: config.netns.clone(),
            mtu: Some(mtu),
            ..TapConfig::new(config.tap_name())
        })?;
        quieten(&ns, tap.device().name());
        let tables = Tables::new().map_err(|e| {
            PortError::os(object(&config), "cannot make its tables", e)
                .with_remedy("vswitchd needs CAP_BPF and CAP_NET_ADMIN, or root")
        })?;
        let mut port = UplinkPort { config, tap, ns, card, tables, hooks: None, problem: String::new() };
        port.hooks = Some(port.hook()?);
        Ok(port)
    }

    /// Guests that the card knows, in order; some of them where there are more than 256.
    pub fn guests(&self) -> Vec<MacAddr> {
        self.tables.guests(GUESTS_SHOWN).unwrap_or_default()
    }

    /// Puts the programs to the card as it is at present.
    fn hook(&self) -> Result<Hooks, PortError> {
        let error = |what: &str| {
            let what = what.to_owned();
            move |e| hook_error(&self.config, what, e)
        };
        let index = self.card.index().map_err(|e| self.card.error("there is no such device", e))?;
        let mac = self.card.mac().map_err(|e| self.card.error("cannot read its address", e))?;
        let tap = self.tap.device().index().map_err(|e| self.card.error("its TAP device is gone", e))?;
        self.tables.unpin_all().map_err(error("cannot forget the addresses of before"))?;
        self.tables.pin(mac, Owner::Host).map_err(error("cannot pin the host's address"))?;
        let gateways = self.ns.run(|| gateways(&self.config.interface))?;
        for &gateway in &gateways {
            self.tables.pin(gateway, Owner::Outside).map_err(error("cannot pin the gateway's address"))?;
        }
        let (to_switch, from_switch) =
            (program::load_card(&self.tables, tap)?, program::load_switch(&self.tables, index)?);
        let attached = self.ns.run(|| {
            // What the switch sends must find its way before anything is handed to it.
            Ok::<_, PortError>((
                [
                    bpf::attach(from_switch.as_fd(), tap, Hook::TcxIngress, 0).map_err(error("cannot hook its TAP"))?,
                    bpf::attach(to_switch.as_fd(), index, Hook::TcxIngress, 0)
                        .map_err(error("cannot hook what the card receives"))?,
                    bpf::attach(to_switch.as_fd(), index, Hook::TcxEgress, 0)
                        .map_err(error("cannot hook what the host sends"))?,
                ],
                promiscuous(index).map_err(error("cannot make the card take frames for guests"))?,
            ))
        })?;
        let (links, promiscuous) = attached?;
        Ok(Hooks { index, mac, gateways, _links: links, _promiscuous: promiscuous })
    }

    /// The card may have gone, or come back as another.
    fn look(&mut self) {
        let there = self.card.index().ok();
        if there == self.hooks.as_ref().map(|hooks| hooks.index) {
            return;
        }
        self.hooks = None;
        self.problem = match there {
            None => format!("there is no card {}", self.config.interface),
            Some(_) => match self.hook() {
                Ok(hooks) => {
                    self.hooks = Some(hooks);
                    String::new()
                }
                Err(e) => e.to_string(),
            },
        };
    }
}

fn hook_error(config: &UplinkConfig, what: String, source: std::io::Error) -> PortError {
    let remedy = match source.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => "vswitchd needs CAP_NET_RAW, CAP_NET_ADMIN and CAP_BPF, or root",
        Some(libc::EINVAL) => {
            "this needs Linux 6.6 or later; with an older kernel give the switch a card of its own (xdp)"
        }
        _ => "",
    };
    let error = PortError::os(object(config), what, source).with_remedy(remedy);
    if error.raw_os_error() == Some(libc::EINVAL) { error.of_kind(PortErrorKind::Unsupported) } else { error }
}

/// Keeps the kernel from speaking IPv6 of its own on the TAP device. Kernels without IPv6 have nothing to be told.
fn quieten(ns: &NetNs, device: &str) {
    let path = format!("/proc/sys/net/ipv6/conf/{device}/disable_ipv6");
    let _ = ns.run(|| std::fs::write(path, "1"));
}

/// The addresses of the host's default gateways behind a card, as the routes of the namespace say.
///
/// # Errors
/// Where there is no such namespace.
pub fn default_gateways(interface: &str, netns: Option<&str>) -> Result<Vec<IpAddr>, PortError> {
    NetNs::open(netns)?.run(|| {
        let v4 = next_hops_in(interface, &proc_net("route")).into_iter().map(IpAddr::V4);
        v4.chain(next_hops6_in(interface, &proc_net("ipv6_route")).into_iter().map(IpAddr::V6)).collect()
    })
}

fn proc_net(file: &str) -> String {
    std::fs::read_to_string(format!("/proc/thread-self/net/{file}")).unwrap_or_default()
}

fn next_hops_in(interface: &str, routes: &str) -> Vec<Ipv4Addr> {
    let is_default = |line: &&str| {
        let mut words = line.split_whitespace();
        words.next() == Some(interface) && words.next() == Some("00000000")
    };
    routes
        .lines()
        .filter(is_default)
        .filter_map(|line| u32::from_str_radix(line.split_whitespace().nth(2)?, 16).ok())
        .map(|address| Ipv4Addr::from(address.to_ne_bytes()))
        .collect()
}

/// The same of IPv6: lines of destination, its length, source, its length, next hop, and at last the device.
fn next_hops6_in(interface: &str, routes: &str) -> Vec<Ipv6Addr> {
    let next_hop = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (&[destination, "00", _, _, next_hop, ..], Some(&device)) = (words.as_slice(), words.last()) else {
            return None;
        };
        let is_default = destination.bytes().all(|digit| digit == b'0') && device == interface;
        let next_hop = u128::from_str_radix(next_hop, 16).ok().filter(|address| is_default && *address != 0)?;
        Some(Ipv6Addr::from(next_hop))
    };
    let mut found: Vec<Ipv6Addr> = routes.lines().filter_map(next_hop).collect();
    found.sort_unstable();
    found.dedup();
    found
}

/// The MAC that a link-local address was made from (RFC 4291, appendix A), where it was.
fn mac_within(address: Ipv6Addr) -> Option<MacAddr> {
    match address.octets() {
        [0xfe, 0x80, .., a, b, c, 0xff, 0xfe, d, e, f] => Some(MacAddr([a ^ 2, b, c, d, e, f])),
        _ => None,
    }
}

/// The link-layer addresses of the default gateways behind a device, as far as the host knows them (proc(5)), or as far
/// as their addresses tell.
fn gateways(interface: &str) -> Vec<MacAddr> {
    let mut found = gateways_in(interface, &proc_net("route"), &proc_net("arp"));
    found.extend(next_hops6_in(interface, &proc_net("ipv6_route")).into_iter().filter_map(mac_within));
    found.sort_unstable();
    found.dedup();
    found
}

fn gateways_in(interface: &str, routes: &str, neighbors: &str) -> Vec<MacAddr> {
    let next_hops = next_hops_in(interface, routes);
    let mut found: Vec<MacAddr> = neighbors
        .lines()
        .filter_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let &[address, _, _, mac, _, device] = words.as_slice() else { return None };
            let mac: MacAddr = mac.parse().ok()?;
            let wanted = next_hops.contains(&address.parse().ok()?) && device == interface;
            (wanted && mac != MacAddr::ZERO).then_some(mac)
        })
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}

impl Port for UplinkPort {
    fn rx(&mut self, id: PortId, pool: &mut Pool, burst: &mut Vec<Packet>, room: usize) -> usize {
        self.tap.rx(id, pool, burst, room)
    }

    fn tx(&mut self, pool: &mut Pool, packets: &mut Vec<Packet>) {
        self.tap.tx(pool, packets);
    }

    fn tx_from(&mut self, origin: &dyn Port, pool: &mut Pool, packets: &mut Vec<Packet>) {
        self.tap.tx_from(origin, pool, packets);
    }

    fn set_gro(&mut self, on: bool) {
        self.tap.set_gro(on);
    }

    fn flush(&mut self) {
        self.tap.flush();
    }

    fn arm(&mut self) -> Armed {
        self.tap.arm()
    }

    fn disarm(&mut self) {
        self.tap.disarm();
    }

    fn event_fd(&self) -> BorrowedFd<'_> {
        self.tap.event_fd()
    }

    fn on_event(&mut self) {
        self.tap.on_event();
        self.look();
    }

    fn link(&self) -> bool {
        self.hooks.is_some() && self.tap.link()
    }

    fn capabilities(&self) -> Capabilities {
        self.tap.capabilities()
    }

    fn counters(&self) -> &Counters {
        self.tap.counters()
    }

    fn status(&self) -> Status {
        let inner = self.tap.status();
        let (card, tap) = (&self.config.interface, self.tap.device().name());
        let mode = match &self.hooks {
            Some(_) => format!("{card}, shared with the host by tcx programs, through {tap}"),
            None => format!("{card}, not attached"),
        };
        let mut details = inner.details;
        if let Some(hooks) = &self.hooks {
            let list = |macs: &[MacAddr]| macs.iter().map(MacAddr::to_string).collect::<Vec<_>>().join(" ");
            details.push(("host".to_owned(), hooks.mac.to_string()));
            details.push(("gateways".to_owned(), list(&hooks.gateways)));
            let known = self.guests().len();
            let more = if known == GUESTS_SHOWN { " or more" } else { "" };
            details.push(("guests known".to_owned(), format!("{known}{more}")));
            details.push(("spoofed, dropped".to_owned(), self.tables.spoofed().unwrap_or(0).to_string()));
            details.push((
                "stays in the kernel".to_owned(),
                "the host's addresses, routes and all frames between host and network".to_owned(),
            ));
        }
        let problem = if self.problem.is_empty() { inner.problem } else { self.problem.clone() };
        Status { link: self.link(), kind: "uplink", mode, problem, mtu: inner.mtu, details }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gateways_are_found_by_route_and_neighbor() {
        let routes =
            "Iface\tDestination\tGateway \tFlags\neth0\t00000000\t0101A8C0\t0003\neth1\t00000000\t0201A8C0\t0003\n";
        let neighbors = "IP address HW type Flags HW address Mask Device\n\
                         192.168.1.1 0x1 0x2 52:54:00:00:00:01 * eth0\n\
                         192.168.1.2 0x1 0x2 52:54:00:00:00:02 * eth1\n\
                         192.168.1.9 0x1 0x0 00:00:00:00:00:00 * eth0\n";
        assert_eq!(gateways_in("eth0", routes, neighbors), [MacAddr([0x52, 0x54, 0, 0, 0, 1])]);
        assert_eq!(gateways_in("eth9", routes, neighbors), []);
    }

    #[test]
    fn ipv6_gateways_are_found_by_route_and_by_what_their_addresses_tell() {
        let nothing = "00000000000000000000000000000000";
        let routes = [
            format!("{nothing} 00 {nothing} 00 fe80000000000000505400fffe000001 00000400 1 0 00000003     eth0"),
            format!("{nothing} 00 {nothing} 00 {nothing} ffffffff 1 0 00200200       lo"),
            format!("{nothing} 00 {nothing} 00 fd000000000000000000000000000001 00000400 1 0 00000003     eth1"),
            format!("fd000000000000000000000000000000 40 {nothing} 00 {nothing} 00000100 1 0 00000001     eth0"),
        ];
        let found = next_hops6_in("eth0", &routes.join("\n"));
        assert_eq!(found, ["fe80::5054:ff:fe00:1".parse::<Ipv6Addr>().unwrap()]);
        assert_eq!(found.into_iter().filter_map(mac_within).collect::<Vec<_>>(), [MacAddr([0x52, 0x54, 0, 0, 0, 1])]);
        assert_eq!(mac_within("fe80::1".parse().unwrap()), None);
    }

    #[test]
    fn a_long_card_name_gives_a_tap_name_the_kernel_takes() {
        assert_eq!(UplinkConfig::new("enp129s0f1np1").tap_name(), "weir-enp129s0f1");
    }

    #[test]
    fn a_card_that_is_not_there_is_named() {
        let error = UplinkPort::open(UplinkConfig::new("weir-none")).unwrap_err();
        assert_eq!(error.kind(), PortErrorKind::NotFound);
        assert!(error.to_string().contains("weir-none"), "{error}");
    }
}
