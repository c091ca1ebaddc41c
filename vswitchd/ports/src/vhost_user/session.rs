//! One front end's connection: what was agreed on, its memory, its rings, and the answer to each message.
//!
//! Requests were checked for their form before ([`super::message`]); here they are carried out, or refused. A refusal
//! goes back as an acknowledgement where the front end asked for one, and else ends the connection: going on without
//! what was asked for would fail later and less clearly.
//!
//! # Safety model
//! Rings point into the guest's memory. Whenever the memory changes, all rings are paused first, and made anew from
//! their addresses afterwards; the session drops its rings before its memory.

use std::os::fd::{AsFd, OwnedFd};

use super::dirty_log::DirtyLog;
use super::features::{self, Agreed, Offer, Profile, protocol};
use super::inflight::{self, Inflight};
use super::memory::{GuestMemory, SLOTS_MAX};
use super::message::{CONFIG_MAX, InflightInfo, MemoryTable, Outgoing, RegionInfo, Request};
use super::notify::{Kick, Notifier};
use super::refusal::{Refusal, SessionEnd};
use super::sigbus;
use super::socket::{Connection, Message};
use super::virtqueue::{SIZE_MAX, SetupFault};
use super::vring::{Vring, Waking};
use crate::event::Epoll;

/// Messages served in one go; the rest waits in the socket.
const MESSAGES_MAX: usize = 32;
/// Announcements that wait for the fabric to take them.
const RARPS_MAX: usize = 4;
/// The smallest and the largest MTU a driver may be told (virtio 1.2, 5.1.4.1).
const MTU_RANGE: std::ops::RangeInclusive<u64> = 68..=65535;

/// What the port's settings say about a connection.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// Expected front end.
    pub profile: Profile,
    /// Queue pairs at most.
    pub queue_pairs_max: u16,
    /// MTU of the port.
    pub mtu: u16,
    /// MAC for the configuration space.
    pub mac: Option<[u8; 6]>,
    /// virtio features that may be offered.
    pub feature_mask: u64,
}

/// A reply of its own, instead of an acknowledgement.
struct Reply(Outgoing, Option<OwnedFd>);

/// One connection's state. Fields are dropped in this order: rings before memory.
#[derive(Debug)]
pub struct Session {
    /// The rings, in the order of their indices.
    pub rings: Vec<Vring>,
    /// The guest's memory.
    pub memory: GuestMemory,
    /// The log of migration; in force with LOG_ALL.
    pub log: Option<DirtyLog>,
    inflight: Option<Inflight>,
    /// The channel for requests of ours: nothing is sent on it, but closing it would look like our end.
    channel: Option<OwnedFd>,
    connection: Connection,
    terms: Terms,
    offer: Option<Offer>,
    owner_first: bool,
    /// What was agreed on.
    pub agreed: Agreed,
    protocol: u64,
    status: u8,
    /// The MTU that the front end told its guest.
    pub mtu: Option<u16>,
    /// MACs to be announced.
    pub rarps: Vec<[u8; 6]>,
    /// The last request that was refused.
    pub refused: Option<Refusal>,
    /// Messages served.
    pub messages: u64,
    /// Mappings cut so far in the whole process, as last looked at.
    cuts_seen: u64,
}

impl Session {
    /// A session on a fresh connection.
    pub fn new(connection: Connection, terms: Terms) -> Session {
        let rings = (0..terms.queue_pairs_max.saturating_mul(2)).map(Vring::new).collect();
        Session {
            rings,
            memory: GuestMemory::new(),
            log: None,
            inflight: None,
            channel: None,
            connection,
            terms,
            offer: None,
            owner_first: false,
            agreed: Agreed::default(),
            protocol: 0,
            status: 0,
            mtu: None,
            rarps: Vec::new(),
            refused: None,
            messages: 0,
            cuts_seen: sigbus::cuts(),
        }
    }

    /// The connection's descriptor, to wait on.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// The log that is in force.
    #[inline]
    pub fn active_log(&self) -> Option<&DirtyLog> {
        self.log.as_ref().filter(|_| self.agreed.has(features::LOG_ALL))
    }

    /// Whether frames may pass a ring: the front end's flag, or always where ring states were not agreed on.
    #[inline]
    pub fn may_pass(&self, ring: &Vring) -> bool {
        ring.enabled || !self.agreed.has(features::PROTOCOL_FEATURES)
    }

    /// Serves what has come, up to a bound.
    ///
    /// # Errors
    /// [`SessionEnd`]: the session is to be dropped.
    pub fn serve(&mut self, epoll: &Epoll, kick_token: u64) -> Result<(), SessionEnd> {
        for _ in 0..MESSAGES_MAX {
            let Some(message) = self.connection.receive()? else { return Ok(()) };
            self.messages += 1;
            self.answer(message, epoll, kick_token)?;
        }
        Ok(())
    }

    /// Lets go of everything that outlives a dropped session: the kicks, which the front end holds too.
    pub fn close(mut self, epoll: &Epoll) {
        for ring in &mut self.rings {
            forget(ring.stop(), epoll);
        }
    }

    fn answer(&mut self, message: Message, epoll: &Epoll, kick_token: u64) -> Result<(), SessionEnd> {
        let Message { number, need_reply, request, fds } = message;
        let result = self.carry_out(request, fds, epoll, kick_token);
        let wanted = need_reply && self.protocol & protocol::REPLY_ACK != 0;
        match result {
            Ok(Some(Reply(reply, fd))) => self.connection.send(&reply, fd.as_ref().map(AsFd::as_fd))?,
            Ok(None) if wanted => self.connection.send(&Outgoing::reply_u64(number, 0), None)?,
            Ok(None) => {}
            Err(refusal) if wanted => {
                self.connection.send(&Outgoing::reply_u64(number, 1), None)?;
                self.refused = Some(refusal);
            }
            Err(refusal) => return Err(SessionEnd::Refused(refusal)),
        }
        Ok(())
    }

    fn carry_out(
        &mut self,
        request: Request,
        fds: Vec<OwnedFd>,
        epoll: &Epoll,
        kick_token: u64,
    ) -> Result<Option<Reply>, Refusal> {
        match request {
            Request::GetFeatures
            | Request::GetProtocolFeatures
            | Request::GetQueueNum
            | Request::GetMaxMemSlots
            | Request::GetStatus
            | Request::GetConfig { .. }
            | Request::GetInflightFd(_) => return self.tell(request).map(Some),
            Request::GetVringBase { ring } => return self.stop_ring(ring, epoll).map(Some),
            Request::SetLogBase { size, offset } => {
                self.set_log(size, offset, &fds)?;
                // Answered in any case, since QEMU waits for it.
                return Ok(Some(Reply(Outgoing::reply_u64(super::message::number::SET_LOG_BASE, 0), None)));
            }
            Request::SetOwner => self.owner_first = self.offer.is_none(),
            Request::ResetOwner => self.stop_all(epoll),
            Request::SetFeatures(bits) => self.set_features(bits)?,
            Request::SetProtocolFeatures(bits) => self.set_protocol(bits)?,
            Request::SetMemTable(table) => self.set_memory(&table, &fds)?,
            Request::AddMemReg(region) => self.add_memory(region, &fds)?,
            Request::RemMemReg(region) => self.remove_memory(region)?,
            // The notification that the log has changed; the front end may poll the log as well.
            Request::SetLogFd => {}
            Request::SetVringNum { ring, size } => self.set_ring_size(ring, size)?,
            Request::SetVringAddr { ring, address } => self.change(ring, |r| r.set_address(address))?,
            Request::SetVringBase { ring, base } => {
                if !self.agreed.has(features::RING_PACKED) && base > u32::from(u16::MAX) {
                    return Err(Refusal::Base(base));
                }
                self.change(ring, |r| r.set_base(base))?;
            }
            Request::SetVringKick { ring } => self.set_kick(ring, fds, epoll, kick_token)?,
            Request::SetVringCall { ring } => {
                self.ring(ring)?.set_call(fds.into_iter().next().map(Notifier::new).transpose()?);
            }
            Request::SetVringErr { ring } => {
                self.ring(ring)?.error = fds.into_iter().next().map(Notifier::new).transpose()?;
            }
            Request::SetVringEnable { ring, enable } => self.ring(ring)?.enabled = enable,
            Request::SendRarp(mac) => {
                if self.rarps.len() < RARPS_MAX && !self.rarps.contains(&mac) {
                    self.rarps.push(mac);
                }
            }
            Request::NetSetMtu(mtu) if MTU_RANGE.contains(&mtu) => self.mtu = u16::try_from(mtu).ok(),
            Request::NetSetMtu(mtu) => return Err(Refusal::Mtu(mtu)),
            Request::SetBackendReqFd if self.protocol & protocol::BACKEND_REQ != 0 => {
                self.channel = fds.into_iter().next();
            }
            Request::SetBackendReqFd => {
                return Err(Refusal::NotServed(super::message::number::SET_BACKEND_REQ_FD));
            }
            // Nothing in the configuration space of a modern device can be written.
            Request::SetConfig => return Err(Refusal::NotServed(super::message::number::SET_CONFIG)),
            Request::SetInflightFd(info) => self.set_inflight(info, &fds)?,
            Request::SetStatus(status) => self.set_status(status as u8, epoll),
            Request::Unknown(number) => return Err(Refusal::NotServed(number)),
        }
        Ok(None)
    }

    /// Questions.
    fn tell(&mut self, request: Request) -> Result<Reply, Refusal> {
        use super::message::number as n;
        let (number, value) = match request {
            Request::GetFeatures => (n::GET_FEATURES, self.offer().features),
            Request::GetProtocolFeatures => (n::GET_PROTOCOL_FEATURES, self.offer().protocol),
            Request::GetMaxMemSlots => (n::GET_MAX_MEM_SLOTS, SLOTS_MAX as u64),
            Request::GetStatus => (n::GET_STATUS, u64::from(self.status)),
            Request::GetConfig { offset, size, flags } => return Ok(self.config(offset, size, flags)),
            Request::GetInflightFd(info) => return self.make_inflight(info),
            // The only one left: counts pairs for a network device.
            _ => (n::GET_QUEUE_NUM, u64::from(self.terms.queue_pairs_max)),
        };
        Ok(Reply(Outgoing::reply_u64(number, value), None))
    }

    /// What is offered; settled by the first question.
    fn offer(&mut self) -> Offer {
        let profile = match self.terms.profile {
            Profile::Auto if self.owner_first => Profile::Uml,
            profile => profile,
        };
        let Terms { mac, feature_mask, .. } = self.terms;
        *self.offer.get_or_insert_with(|| Offer::new(profile, mac.is_some(), feature_mask))
    }

    fn set_features(&mut self, bits: u64) -> Result<(), Refusal> {
        let extra = bits & !self.offer().features;
        if extra != 0 {
            return Err(Refusal::NotOffered(extra));
        }
        let before = std::mem::replace(&mut self.agreed, Agreed(bits));
        if (before.0 ^ bits) & !features::LOG_ALL != 0 {
            self.rings.iter_mut().for_each(Vring::pause);
            self.start_rings()?;
        }
        Ok(())
    }

    fn set_protocol(&mut self, bits: u64) -> Result<(), Refusal> {
        let extra = bits & !self.offer().protocol;
        if extra != 0 {
            return Err(Refusal::NotOffered(extra));
        }
        self.protocol = bits;
        Ok(())
    }

    fn set_memory(&mut self, table: &MemoryTable, fds: &[OwnedFd]) -> Result<(), Refusal> {
        let mut memory = GuestMemory::new();
        for (region, fd) in table.regions().iter().zip(fds) {
            memory.add(*region, fd)?;
        }
        self.rings.iter_mut().for_each(Vring::pause);
        self.memory = memory;
        self.start_rings()
    }

    fn add_memory(&mut self, region: RegionInfo, fds: &[OwnedFd]) -> Result<(), Refusal> {
        let Some(fd) = fds.first() else { return Ok(()) };
        self.memory.add(region, fd)?;
        self.start_rings()
    }

    fn remove_memory(&mut self, region: RegionInfo) -> Result<(), Refusal> {
        self.rings.iter_mut().for_each(Vring::pause);
        self.memory.remove(region);
        self.start_rings()
    }

    fn set_log(&mut self, size: u64, offset: u64, fds: &[OwnedFd]) -> Result<(), Refusal> {
        if let Some(fd) = fds.first() {
            self.log = Some(DirtyLog::new(fd.as_fd(), offset, size)?);
        }
        Ok(())
    }

    fn make_inflight(&mut self, info: InflightInfo) -> Result<Reply, Refusal> {
        let (info, file) = inflight::create(info, self.rings.len() as u16, self.layout())?;
        let reply = Outgoing::reply(super::message::number::GET_INFLIGHT_FD)
            .with(&info.size.to_ne_bytes())
            .with(&info.offset.to_ne_bytes())
            .with(&info.queues.to_ne_bytes())
            .with(&info.queue_size.to_ne_bytes())
            .with(&[0; 4]);
        Ok(Reply(reply, Some(file)))
    }

    /// Of the memory for descriptors in flight: front ends agree on the kind of ring before they ask for it.
    fn layout(&self) -> inflight::Layout {
        if self.agreed.has(features::RING_PACKED) { inflight::Layout::Packed } else { inflight::Layout::Split }
    }

    fn set_inflight(&mut self, info: InflightInfo, fds: &[OwnedFd]) -> Result<(), Refusal> {
        if let Some(fd) = fds.first() {
            let fresh = Inflight::new(info, self.rings.len() as u16, self.layout(), fd)?;
            // Packed rings note their place in the memory there was.
            self.rings.iter_mut().for_each(Vring::pause);
            self.inflight = Some(fresh);
        }
        self.start_rings()
    }

    /// The configuration space (virtio 1.2, 5.1.4). An empty reply says that there is nothing there.
    fn config(&self, offset: u32, size: u32, flags: u32) -> Reply {
        let mut space = [0u8; CONFIG_MAX];
        let parts: [&[u8]; 4] = [
            &self.terms.mac.unwrap_or_default(),
            &1u16.to_le_bytes(),
            &self.terms.queue_pairs_max.to_le_bytes(),
            &self.terms.mtu.to_le_bytes(),
        ];
        for (to, from) in space.iter_mut().zip(parts.into_iter().flatten()) {
            *to = *from;
        }
        let reply = Outgoing::reply(super::message::number::GET_CONFIG);
        let range = (offset as usize)..(offset as usize).saturating_add(size as usize);
        let reply = match space.get(range) {
            Some(bytes) => {
                reply.with(&offset.to_ne_bytes()).with(&size.to_ne_bytes()).with(&flags.to_ne_bytes()).with(bytes)
            }
            None => reply,
        };
        Reply(reply, None)
    }

    /// SET_STATUS 0 resets the device: nothing moves any more. Positions are kept, since GET_VRING_BASE asks for them
    /// afterwards.
    fn set_status(&mut self, status: u8, epoll: &Epoll) {
        self.status = status;
        if status == 0 {
            self.stop_all(epoll);
        }
    }

    fn stop_all(&mut self, epoll: &Epoll) {
        for ring in &mut self.rings {
            forget(ring.stop(), epoll);
        }
    }

    fn stop_ring(&mut self, index: u32, epoll: &Epoll) -> Result<Reply, Refusal> {
        let ring = self.ring(index)?;
        forget(ring.stop(), epoll);
        let base = ring.base();
        let reply = Outgoing::reply(super::message::number::GET_VRING_BASE);
        Ok(Reply(reply.with(&index.to_ne_bytes()).with(&base.to_ne_bytes()), None))
    }

    fn set_kick(&mut self, index: u32, fds: Vec<OwnedFd>, epoll: &Epoll, token: u64) -> Result<(), Refusal> {
        let ring = self.ring(index)?;
        let waking = match fds.into_iter().next() {
            Some(fd) => Waking::Kicked(Kick::new(fd, epoll, token)?),
            None => Waking::Polled,
        };
        forget(std::mem::replace(&mut ring.waking, waking), epoll);
        ring.fault = None;
        self.start_rings()
    }

    fn set_ring_size(&mut self, index: u32, size: u32) -> Result<(), Refusal> {
        // A packed ring may have any number of entries.
        let fits = size.is_power_of_two() || size > 0 && self.agreed.has(features::RING_PACKED);
        if !fits || size > SIZE_MAX {
            return Err(Refusal::Ring(self.ring(index)?.index, SetupFault::Size(size)));
        }
        self.change(index, |r| r.set_size(size))
    }

    fn change(&mut self, index: u32, change: impl FnOnce(&mut Vring)) -> Result<(), Refusal> {
        change(self.ring(index)?);
        self.start_rings()
    }

    fn ring(&mut self, index: u32) -> Result<&mut Vring, Refusal> {
        let at = usize::try_from(index).unwrap_or(usize::MAX);
        self.rings.get_mut(at).ok_or(Refusal::NoSuchRing(index))
    }

    /// Starts whatever can run and does not.
    fn start_rings(&mut self) -> Result<(), Refusal> {
        for ring in &mut self.rings {
            ring.start(&self.memory, self.agreed, self.inflight.as_ref())
                .map_err(|fault| Refusal::Ring(ring.index, fault))?;
        }
        Ok(())
    }

    /// Memory that the front end shares was cut short. Costs one load while nothing of the kind happens anywhere.
    #[inline]
    pub fn is_cut(&mut self) -> bool {
        let cuts = sigbus::cuts();
        cuts != self.cuts_seen && self.find_cut(cuts)
    }

    #[cold]
    fn find_cut(&mut self, cuts: u64) -> bool {
        self.cuts_seen = cuts;
        self.memory.is_cut()
            || self.log.as_ref().is_some_and(DirtyLog::is_cut)
            || self.inflight.as_ref().is_some_and(Inflight::is_cut)
    }
}

fn forget(waking: Waking, epoll: &Epoll) {
    if let Waking::Kicked(kick) = waking {
        kick.forget(epoll);
    }
}
