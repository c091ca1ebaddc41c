//! The thread of the services: packets in, frames out, time and the answers of others in between.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{self, Receiver, Sender};
use weir_fabric::serve::{Punt, Service};
use weir_wire::build::{Ends, udp};
use weir_wire::{InterfaceId, MacAddr, PortId, Vid};

use super::book::Asking;
use super::dhcp4::{self, Answer};
use super::dhcp6;
use super::dns::cache::Key;
use super::dns::local::Names;
use super::dns::message::Transport;
use super::dns::{self, Asked, Said, WAITING_MAX, forward, message};
use super::frame::Frame;
use super::served::{Catalogue, Guest};
use super::tcp::{After, Stack};
use super::{Back, Services, now_s};
use crate::published::Board;
use crate::worker::{Handle, Outgoing};

mod metadata;

/// Packets answered before the worker is given what there is.
const BATCH: usize = 64;
/// The longest DHCP request that is read.
const DHCP_MAX: usize = 2048;
/// How long hosts have to say that an address is theirs.
const PROBE_FOR: Duration = Duration::from_millis(300);
/// Addresses asked after at once; beyond that they are given without.
const PROBES_MAX: usize = 64;
/// Requests and answers in hand: what the name service may wait for, and the probes.
const EVENTS_MAX: usize = WAITING_MAX + PROBES_MAX;
/// Questions of one connection that are answered before others have their turn.
const QUESTIONS_IN_A_ROW: usize = 8;
/// Room for what nested options of a request take.
const STACK: usize = 8 << 20;
/// Without timers the thread looks up this often.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Where a datagram came from, and where its answer goes.
#[derive(Clone, Debug)]
pub struct Way {
    to: (InterfaceId, PortId, Vid),
    ends: Ends,
    port: u16,
}

/// What comes to pass while packets are answered.
enum Event {
    /// Other name servers have answered, or not.
    Answered(Key, Option<message::Answer>),
    /// A network was asked for an address; who has it.
    Probed(Box<Punt>, IpAddr, Option<MacAddr>),
}

/// What the state asks for, made ready.
#[derive(Default)]
struct Wanted {
    catalogue: Catalogue,
    names: BTreeMap<String, Arc<Names>>,
    reserved: BTreeMap<String, Arc<BTreeSet<String>>>,
}

struct Server {
    worker: Handle,
    board: Board,
    services: Services,
    wanted: Wanted,
    stacks: BTreeMap<u16, Stack<Way>>,
    metadata: metadata::Stacks,
    events: Sender<Event>,
    probes: usize,
    started: Instant,
    outgoing: Vec<Outgoing>,
}

/// Starts the thread; it ends with the worker.
///
/// # Errors
/// Where it cannot be made.
pub fn start(worker: Handle, board: Board, services: Services, punts: Receiver<Punt>) -> io::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (events, heard) = mpsc::channel(EVENTS_MAX);
    let server = Server {
        worker,
        board,
        services,
        wanted: Wanted::default(),
        stacks: BTreeMap::new(),
        metadata: metadata::Stacks::default(),
        events,
        probes: 0,
        started: Instant::now(),
        outgoing: Vec::new(),
    };
    let thread = std::thread::Builder::new().name("services".into()).stack_size(STACK);
    thread.spawn(move || runtime.block_on(server.run(punts, heard)))
}

impl Server {
    async fn run(mut self, mut punts: Receiver<Punt>, mut heard: Receiver<Event>) {
        loop {
            let wait = self.due().saturating_sub(self.started.elapsed()).min(LONGEST_WAIT);
            tokio::select! {
                punt = punts.recv() => match punt {
                    Some(punt) => {
                        self.look_at_state();
                        self.take(punt);
                        for _ in 1..BATCH {
                            match punts.try_recv() {
                                Ok(punt) => self.take(punt),
                                Err(_) => break,
                            }
                        }
                    }
                    None => return,
                },
                Some(event) = heard.recv() => {
                    self.look_at_state();
                    self.hear(event);
                }
                () = tokio::time::sleep(wait) => {}
            }
            self.poll_stacks();
            self.poll_metadata();
            if self.worker.send_out(std::mem::take(&mut self.outgoing)).is_err() {
                return;
            }
        }
    }

    /// Makes ready what the state asks for, where it has changed.
    fn look_at_state(&mut self) {
        let snapshot = self.board.read();
        if snapshot.revision == self.wanted.catalogue.revision {
            return;
        }
        let config = &snapshot.config;
        let catalogue = Catalogue::of(config, &snapshot.ids, snapshot.revision);
        let ports = || config.ports.iter().map(|port| port.name.as_str());
        let names: BTreeMap<String, Arc<Names>> =
            config.routers.iter().filter_map(|r| Some((r.name.clone(), Arc::new(Names::of(r, ports())?)))).collect();
        let reserved = names.iter().map(|(router, names)| (router.clone(), Arc::new(names.reserved()))).collect();
        self.stacks.retain(|id, _| catalogue.interfaces.get(id).is_some_and(|served| served.dns));
        self.metadata.retain(&catalogue);
        self.wanted = Wanted { catalogue, names, reserved };
    }

    fn take(&mut self, punt: Punt) {
        match punt.service {
            Service::Dhcp => self.dhcp(punt, false),
            Service::Dhcp6 => self.dhcp6(&punt),
            Service::Dns => self.dns(&punt),
            Service::Metadata => self.metadata(&punt),
        }
    }

    fn hear(&mut self, event: Event) {
        match event {
            Event::Answered(key, answer) => {
                let limit = self.wanted.names.get(&*key.router).map_or(0, |names| names.config.cache as usize);
                let answers = self.services.state().dns.answered(key, answer, limit, now_s());
                answers.into_iter().for_each(|(back, bytes)| self.say(back, &bytes));
            }
            Event::Probed(punt, address, holder) => {
                self.probes = self.probes.saturating_sub(1);
                let Some(frame) = Frame::read(&punt) else { return };
                let guest = frame.ends.source_mac;
                if holder.is_some_and(|holder| holder != guest) {
                    self.taken_by_another(&punt, guest, address);
                }
                self.dhcp(*punt, true);
            }
        }
    }

    fn taken_by_another(&mut self, punt: &Punt, mac: MacAddr, address: IpAddr) {
        let served = self.wanted.catalogue.interface(punt.interface).and_then(|served| served.dhcp.clone());
        let (Some(served), Some(port)) = (served, self.wanted.catalogue.port(punt.port)) else { return };
        let guest = Guest { port, mac, id: &[] };
        self.services.state().book.conflict(&served.place, address, &guest, now_s());
    }

    fn dhcp(&mut self, punt: Punt, probed: bool) {
        let catalogue = &self.wanted.catalogue;
        let served = catalogue.interface(punt.interface).and_then(|served| Some((served, served.dhcp.clone()?)));
        let (Some((whole, served)), Some(port)) = (served, catalogue.port(punt.port)) else { return };
        let none = Arc::default();
        let reserved = self.wanted.reserved.get(&whole.router).unwrap_or(&none);
        let Some(frame) = Frame::read(&punt).filter(|frame| frame.payload.len() <= DHCP_MAX) else { return };
        let guest = Guest { port, mac: frame.ends.source_mac, id: &[] };
        let probed = probed || self.probes >= PROBES_MAX;
        let asking = Asking { guest, reserved, now_s: now_s(), probed };
        let answer = dhcp4::answer(&mut self.services.state().book, &served, asking, frame.payload);
        match answer {
            Answer::Nothing => {}
            Answer::Frame(frame) => {
                let (interface, port) = (punt.interface, Some(punt.port));
                self.outgoing.push(Outgoing::Put { interface, port, frame });
            }
            Answer::Probe(address) => self.probe(punt, address),
        }
    }

    /// Asks the network who has an address, and looks at the request again when hosts have had time to answer.
    fn probe(&mut self, punt: Punt, address: IpAddr) {
        self.probes += 1;
        let interface = punt.interface;
        self.outgoing.push(Outgoing::Probe { interface, address });
        let (worker, events) = (self.worker.clone(), self.events.clone());
        tokio::spawn(async move {
            tokio::time::sleep(PROBE_FOR).await;
            let holder =
                worker.ask_of(interface, move |view| view.fabric.probed(interface, address)).await.unwrap_or(None);
            // Nobody listens any more where the services have ended.
            drop(events.send(Event::Probed(Box::new(punt), address, holder)).await);
        });
    }

    fn dhcp6(&mut self, punt: &Punt) {
        let catalogue = &self.wanted.catalogue;
        let served = catalogue.interface(punt.interface).and_then(|served| Some((served, served.dhcp6.clone()?)));
        let (Some((whole, served)), Some(port)) = (served, catalogue.port(punt.port)) else { return };
        let none = Arc::default();
        let reserved = self.wanted.reserved.get(&whole.router).unwrap_or(&none);
        let Some(frame) = Frame::read(punt).filter(|frame| frame.payload.len() <= DHCP_MAX) else { return };
        let IpAddr::V6(source) = frame.ends.source else { return };
        let guest = Guest { port, mac: frame.ends.source_mac, id: &[] };
        let asking = Asking { guest, reserved, now_s: now_s(), probed: true };
        let answer = dhcp6::answer(&mut self.services.state().book, &served, asking, source, frame.payload);
        let (interface, port) = (punt.interface, Some(punt.port));
        self.outgoing.extend(answer.map(|frame| Outgoing::Put { interface, port, frame }));
    }

    fn dns(&mut self, punt: &Punt) {
        let Some(frame) = Frame::read(punt) else { return };
        let to = (punt.interface, punt.port, punt.vid);
        let way = Way { to, ends: frame.ends, port: frame.ports.0 };
        if punt.headers.protocol == weir_wire::numbers::PROTOCOL_UDP {
            return self.question(punt.interface, punt.port, frame.payload, Back::Datagram(way));
        }
        let now = self.started.elapsed();
        let stack = self.stacks.entry(punt.interface.0).or_insert_with(|| Stack::new(dns::tcp::MANNER, random(), now));
        let segment = (frame.ports.0, punt.headers.tcp_flags);
        stack.take(frame.network.to_vec(), frame.ends, segment, way);
    }

    fn question(&mut self, interface: InterfaceId, port: PortId, bytes: &[u8], back: Back) {
        let catalogue = &self.wanted.catalogue;
        let names = catalogue.interface(interface).filter(|served| served.dns);
        let names = names.and_then(|served| self.wanted.names.get(&served.router));
        let (Some(names), Some(port)) = (names.cloned(), catalogue.port(port)) else { return };
        let transport = match &back {
            Back::Datagram(_) => Transport::Udp,
            Back::Connection(..) => Transport::Tcp,
        };
        let said = {
            let mut state = self.services.state();
            let super::State { book, dns, .. } = &mut *state;
            let asked = Asked { bytes, port, transport, back: back.clone() };
            dns.ask(&names, &book.leases, now_s(), asked)
        };
        match said {
            Said::Nothing => {}
            Said::Now(answer) => self.say(back, &answer),
            Said::Ask(key, servers) => {
                let events = self.events.clone();
                tokio::spawn(async move {
                    let answer = forward::ask(&key, &servers).await;
                    // Nobody listens any more where the services have ended.
                    drop(events.send(Event::Answered(key, answer)).await);
                });
            }
        }
    }

    fn say(&mut self, back: Back, answer: &[u8]) {
        match back {
            Back::Datagram(Way { to, ends, port }) => {
                let frame = udp(ends.reversed(), (53, port), answer);
                self.outgoing.push(Outgoing::Answer { to, frame });
            }
            Back::Connection(interface, line) => {
                if let Some(stack) = self.stacks.get_mut(&interface) {
                    stack.answer(line, &dns::tcp::framed(answer), After::Listen);
                }
            }
        }
    }

    /// Moves what connections have to say and to hear. A question that is answered at once may be followed by another.
    fn poll_stacks(&mut self) {
        let now = self.started.elapsed();
        for _ in 0..QUESTIONS_IN_A_ROW {
            let mut questions = Vec::new();
            for (id, stack) in &mut self.stacks {
                questions.extend(stack.poll(now).into_iter().map(|(line, bytes, way)| (*id, line, bytes, way)));
            }
            if questions.is_empty() {
                break;
            }
            for (id, line, bytes, way) in questions {
                let (interface, port, _) = way.to;
                self.question(interface, port, &bytes, Back::Connection(id, line));
            }
        }
        for stack in self.stacks.values_mut() {
            while let Some((frame, way)) = stack.next_segment() {
                self.outgoing.push(Outgoing::Answer { to: way.to, frame });
            }
        }
    }

    /// When a connection wants to be looked at, since the start.
    fn due(&mut self) -> Duration {
        let now = self.started.elapsed();
        let stacks = self.stacks.values_mut().chain(self.metadata.stacks());
        stacks.filter_map(|stack| stack.due(now)).min().unwrap_or(now + LONGEST_WAIT)
    }
}

/// A number that nobody outside can guess.
fn random() -> u64 {
    use ring::rand::SecureRandom;
    let mut bytes = [0; 8];
    // Without random numbers the stack's are easier to guess, which the guard's windows make up for.
    let _ = ring::rand::SystemRandom::new().fill(&mut bytes);
    u64::from_ne_bytes(bytes)
}
