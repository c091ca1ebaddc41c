//! The options of DHCP: what guests say of themselves, and what they are told (RFC 2132, 3397, 3442, 6842).

use std::net::Ipv4Addr;

use dhcproto::v4::{DhcpOption, DhcpOptions, Message, MessageType, OptionCode, UnknownOption};
use ipnetwork::Ipv4Network;

use super::super::served::Served4;

/// The usual MTU, which nobody needs to be told.
const USUAL_MTU: u32 = 1500;

/// Where the options of a message begin, behind the magic number.
const OPTIONS: usize = 240;

/// A message with those of its options alone that mean something here, each of a length that it can have: `dhcproto` does
/// not bear all others. `None` where it is too short.
pub fn distilled(payload: &[u8]) -> Option<Vec<u8>> {
    let (head, mut rest) = payload.split_at_checked(OPTIONS)?;
    let mut message = head.to_vec();
    while let [code, behind @ ..] = rest {
        rest = match (*code, behind) {
            (0, _) => behind,
            (255, _) => break,
            (code, [length, data @ ..]) => {
                let Some((data, next)) = data.split_at_checked(usize::from(*length)) else { break };
                let fine = match code {
                    // Requested address, server.
                    50 | 54 => data.len() == 4,
                    // Type.
                    53 => data.len() == 1,
                    // Host name, what is wanted, client identifier, full name.
                    12 | 55 | 61 => !data.is_empty(),
                    81 => data.len() > 3,
                    _ => false,
                };
                if fine {
                    message.extend([code, *length]);
                    message.extend(data);
                }
                next
            }
            (_, []) => break,
        };
    }
    message.push(255);
    Some(message)
}

/// The name a guest gives itself.
pub fn host_name(options: &DhcpOptions) -> Option<String> {
    let plain = options.get(OptionCode::Hostname).and_then(|option| match option {
        DhcpOption::Hostname(name) => Some(name.clone()),
        _ => None,
    });
    let whole = || match options.get(OptionCode::ClientFQDN) {
        Some(DhcpOption::ClientFQDN(name)) => Some(name.domain().to_ascii()),
        _ => None,
    };
    plain.or_else(whole)
}

/// What a guest is told; `lease_s` where it is given an address too.
pub fn told(served: &Served4, asked: &Message, lease_s: Option<u32>, kind: MessageType) -> Vec<DhcpOption> {
    let config = &served.config;
    let mut told = head(served, asked, kind);
    if let Some(lease_s) = lease_s {
        told.push(DhcpOption::AddressLeaseTime(lease_s));
        told.push(DhcpOption::Renewal(lease_s / 2));
        told.push(DhcpOption::Rebinding((u64::from(lease_s) * 7 / 8) as u32));
    }
    let gateway = config.gateway.unwrap_or(served.network.ip());
    told.push(DhcpOption::SubnetMask(served.network.mask()));
    told.push(DhcpOption::BroadcastAddr(served.network.broadcast()));
    told.push(DhcpOption::Router(vec![gateway]));
    if !served.dns.is_empty() {
        told.push(DhcpOption::DomainNameServer(served.dns.clone()));
    }
    told.extend(served.domain.clone().map(DhcpOption::DomainName));
    // The rest only to those who ask for it, or do not say what they want.
    let wants = |code: OptionCode| match asked.opts().get(OptionCode::ParameterRequestList) {
        Some(DhcpOption::ParameterRequestList(list)) => list.contains(&code),
        _ => true,
    };
    if !config.ntp.is_empty() && wants(OptionCode::NtpServers) {
        told.push(DhcpOption::NtpServers(config.ntp.clone()));
    }
    if !served.search.is_empty() && wants(OptionCode::DomainSearch) {
        told.push(DhcpOption::DomainSearch(served.search.clone()));
    }
    if served.mtu != USUAL_MTU && wants(OptionCode::InterfaceMtu) {
        told.push(DhcpOption::InterfaceMtu(u16::try_from(served.mtu).unwrap_or(u16::MAX)));
    }
    if !config.routes.is_empty() && wants(OptionCode::ClasslessStaticRoute) {
        told.push(raw(OptionCode::ClasslessStaticRoute, &classless(served, gateway)));
    }
    if let Some(server) = config.next_server {
        told.push(raw(OptionCode::TFTPServerName, server.to_string().as_bytes()));
    }
    if let Some(file) = &config.boot_file {
        told.push(raw(OptionCode::BootfileName, file.as_bytes()));
    }
    for option in &config.options {
        told.extend(option.bytes().map(|bytes| raw(OptionCode::from(option.code), &bytes)));
    }
    told
}

/// What a guest is told that is to begin anew.
pub fn refusal(served: &Served4, asked: &Message) -> Vec<DhcpOption> {
    let mut told = head(served, asked, MessageType::Nak);
    told.push(DhcpOption::Message("this address is not yours here".into()));
    told
}

fn head(served: &Served4, asked: &Message, kind: MessageType) -> Vec<DhcpOption> {
    let mut told = vec![DhcpOption::MessageType(kind), DhcpOption::ServerIdentifier(served.network.ip())];
    told.extend(asked.opts().get(OptionCode::ClientIdentifier).cloned());
    told
}

fn raw(code: OptionCode, bytes: &[u8]) -> DhcpOption {
    DhcpOption::Unknown(UnknownOption::new(code, bytes.to_vec()))
}

/// Routes as RFC 3442 writes them; guests that read them pass over the plain router option, so the default route is
/// among them.
fn classless(served: &Served4, gateway: Ipv4Addr) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut add = |to: Ipv4Network, via: Ipv4Addr| {
        bytes.push(to.prefix());
        let significant = usize::from(to.prefix().div_ceil(8));
        bytes.extend(to.network().octets().into_iter().take(significant));
        bytes.extend(via.octets());
    };
    served.config.routes.iter().for_each(|route| add(route.to, route.via));
    if let Ok(all) = Ipv4Network::new(Ipv4Addr::UNSPECIFIED, 0) {
        add(all, gateway);
    }
    bytes
}
