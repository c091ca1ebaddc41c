//! Small numbers that name things. Names as people write them live in the control plane only.

/// A port of the fabric. Index into the fabric's port table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortId(pub u16);

impl PortId {
    /// The fabric itself: where frames to its routers go, and where those come from that nobody caused.
    pub const LOCAL: PortId = PortId(u16::MAX - 1);
    /// The first of the numbers that stand for the ends of appliances between two switches: two for each appliance.
    pub const FIRST_PATCH: u16 = 4096;
}

/// A switch of the fabric. Index into the fabric's switch table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SwitchId(pub u16);

impl SwitchId {
    /// The first of the numbers that stand for routers: what is routed belongs to no switch but to a zone, which is the
    /// same for both directions of a flow, whatever switch or VLAN they come from.
    pub const FIRST_ZONE: u16 = 4096;
    /// The first of the numbers that stand for appliances: what passes one belongs to it, not to a switch.
    pub const FIRST_APPLIANCE: u16 = 2048;

    /// It stands for routers. Flows of a zone are told apart by their addresses alone, not by VLAN.
    #[inline]
    pub const fn is_zone(self) -> bool {
        self.0 >= SwitchId::FIRST_ZONE
    }

    /// It stands for an appliance.
    #[inline]
    pub const fn is_appliance(self) -> bool {
        self.0 >= SwitchId::FIRST_APPLIANCE && self.0 < SwitchId::FIRST_ZONE
    }

    /// Its place among the appliances.
    #[inline]
    pub const fn appliance(self) -> Option<usize> {
        if self.is_appliance() { Some((self.0 - SwitchId::FIRST_APPLIANCE) as usize) } else { None }
    }
}

/// A router of the fabric. Index into the fabric's table of routers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouterId(pub u16);

/// An interface of a router, numbered over all routers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InterfaceId(pub u16);

/// A VLAN identifier, 1..=4094; 0 stands for "untagged" where a frame has no tag (IEEE 802.1Q-2022, 9.6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Vid(pub u16);

/// The number of a policy. Each policy that is installed has a larger one than the policy before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

/// A rule's place in the compiled policy. [`RuleId::DEFAULT`] stands for the switch's default action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleId(pub u32);

impl RuleId {
    /// No rule matched: the default action of the switch decided.
    pub const DEFAULT: RuleId = RuleId(u32::MAX);
}
