//! Longest prefix match: a tree bitmap (Eatherton, Varghese, Dittia, "Tree Bitmap", 2004) with strides of six bits.
//!
//! A node stands for six bits of the address. One word tells which prefixes end inside it, another which of its 64
//! children there are; children and values stand in a row, found by counting bits. So a table costs about as much as
//! its prefixes, a look-up touches one node for each six bits of the longest path (five for most IPv4 routes), and a
//! change touches one node and moves at most 64 entries. Nothing is pushed down to leaves, so nothing has to be built
//! again when a prefix goes.
//!
//! Addresses are 128 bits wide with the address in the upper bits; IPv4 and IPv6 have tables of their own. Limit:
//! [`ENTRIES_MAX`] prefixes.

mod blocks;

use blocks::Blocks;

/// Bits of the address that one node decides.
const STRIDE: u32 = 6;
/// Prefixes in one table; the next is refused.
pub const ENTRIES_MAX: usize = 1 << 24;

/// One step of six bits.
#[derive(Clone, Copy, Debug, Default)]
struct Node {
    /// Bit `(1 << length) + prefix` is set for each prefix that ends here after `length` (0 to 5) more bits.
    ending: u64,
    /// Bit `n` is set where the child for the next six bits `n` is there.
    going_on: u64,
    /// Where the values of the prefixes that end here stand.
    values: u32,
    /// Where the children stand.
    children: u32,
}

/// Prefixes with a number each.
#[derive(Debug, Default)]
pub struct Lpm {
    nodes: Blocks<Node>,
    values: Blocks<u32>,
    root: Node,
    len: usize,
}

/// The bits below `bit`.
#[inline]
fn below(bit: u32) -> u64 {
    (1u64 << bit) - 1
}

/// Place of `bit` among those that are set.
#[inline]
fn rank(word: u64, bit: u32) -> u32 {
    (word & below(bit)).count_ones()
}

/// All prefixes of these six bits that may end in a node, as bits of `Node::ending`.
#[inline]
fn ancestors(bits: u32) -> u64 {
    let bits = bits & 63;
    (1 << 1)
        | (1 << (2 | bits >> 5))
        | (1 << (4 | bits >> 4))
        | (1 << (8 | bits >> 3))
        | (1 << (16 | bits >> 2))
        | (1 << (32 | bits >> 1))
}

/// The first six bits.
#[inline]
fn first(address: u128) -> u32 {
    (address >> (128 - STRIDE)) as u32
}

/// The bit of a prefix of less than six bits, which stand first in `address`.
fn ending_bit(address: u128, length: u32) -> u32 {
    (1 << length) | first(address) >> (STRIDE - length)
}

impl Lpm {
    /// Prefixes in the table.
    pub fn len(&self) -> usize {
        self.len
    }

    /// No prefix at all.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes that the table takes, without the room it keeps for more.
    pub fn bytes(&self) -> usize {
        self.nodes.len() * size_of::<Node>() + self.values.len() * size_of::<u32>()
    }

    /// The value of the longest prefix that `address` begins with.
    #[inline]
    pub fn lookup(&self, mut address: u128) -> Option<u32> {
        let mut node = &self.root;
        let mut best = None;
        loop {
            let bits = first(address);
            let here = node.ending & ancestors(bits);
            if here != 0 {
                // The longest prefix has the highest bit.
                best = Some(node.values + rank(node.ending, 63 - here.leading_zeros()));
            }
            if node.going_on >> bits & 1 == 0 {
                break;
            }
            match self.nodes.get(node.children + rank(node.going_on, bits)) {
                Some(child) => node = child,
                None => break,
            }
            address <<= STRIDE;
        }
        self.values.get(best?).copied()
    }

    /// Gives a prefix a value; returns the one that it had. `Err` where the table is full. Bits behind `length` are not
    /// looked at; lengths above 128 count as 128.
    pub fn insert(&mut self, address: u128, length: u32, value: u32) -> Result<Option<u32>, Full> {
        let mut path = Path { rest: address, length: length.min(128) };
        let mut at = None;
        let mut node = self.root;
        // The value is put where it belongs first: whether it is a new one decides about the limit.
        if self.len >= ENTRIES_MAX && self.exact(address, length).is_none() {
            return Err(Full);
        }
        while let Some(bits) = path.step() {
            if node.going_on >> bits & 1 == 0 {
                let place = rank(node.going_on, bits);
                node.children = self.nodes.insert(node.children, node.going_on.count_ones(), place, Node::default());
                node.going_on |= 1 << bits;
                self.set_node(at, node);
            }
            let place = node.children + rank(node.going_on, bits);
            at = Some(place);
            node = self.nodes.get(place).copied().unwrap_or_default();
        }
        let bit = ending_bit(path.rest, path.length);
        let place = rank(node.ending, bit);
        if node.ending >> bit & 1 == 1 {
            let old = self.values.get_mut(node.values + place).map(|slot| std::mem::replace(slot, value));
            return Ok(old);
        }
        node.values = self.values.insert(node.values, node.ending.count_ones(), place, value);
        node.ending |= 1 << bit;
        self.set_node(at, node);
        self.len += 1;
        Ok(None)
    }

    /// The value of exactly this prefix.
    pub fn exact(&self, address: u128, length: u32) -> Option<u32> {
        let mut path = Path { rest: address, length: length.min(128) };
        let mut node = &self.root;
        while let Some(bits) = path.step() {
            if node.going_on >> bits & 1 == 0 {
                return None;
            }
            node = self.nodes.get(node.children + rank(node.going_on, bits))?;
        }
        let bit = ending_bit(path.rest, path.length);
        if node.ending >> bit & 1 == 0 {
            return None;
        }
        self.values.get(node.values + rank(node.ending, bit)).copied()
    }

    /// Takes a prefix out; returns its value.
    pub fn remove(&mut self, address: u128, length: u32) -> Option<u32> {
        let mut path = Path { rest: address, length: length.min(128) };
        // The way down, so that nodes that become empty can go. A path has 22 nodes at most.
        let mut way: Vec<(Option<u32>, u32)> = Vec::with_capacity(22);
        let mut at = None;
        while let Some(bits) = path.step() {
            let node = self.node(at)?;
            if node.going_on >> bits & 1 == 0 {
                return None;
            }
            way.push((at, bits));
            at = Some(node.children + rank(node.going_on, bits));
        }
        let mut node = self.node(at)?;
        let bit = ending_bit(path.rest, path.length);
        if node.ending >> bit & 1 == 0 {
            return None;
        }
        let place = rank(node.ending, bit);
        let value = self.values.get(node.values + place).copied();
        node.values = self.values.remove(node.values, node.ending.count_ones(), place);
        node.ending &= !(1 << bit);
        self.set_node(at, node);
        self.len -= 1;
        self.prune(node, way);
        value
    }

    /// Takes out a node at the end of this way that is empty, and those above that become so.
    fn prune(&mut self, mut node: Node, mut way: Vec<(Option<u32>, u32)>) {
        while node.ending == 0
            && node.going_on == 0
            && let Some((parent_at, bits)) = way.pop()
            && let Some(mut parent) = self.node(parent_at)
        {
            let place = rank(parent.going_on, bits);
            parent.children = self.nodes.remove(parent.children, parent.going_on.count_ones(), place);
            parent.going_on &= !(1 << bits);
            self.set_node(parent_at, parent);
            node = parent;
        }
    }

    fn node(&self, at: Option<u32>) -> Option<Node> {
        match at {
            None => Some(self.root),
            Some(at) => self.nodes.get(at).copied(),
        }
    }

    fn set_node(&mut self, at: Option<u32>, node: Node) {
        match at {
            None => self.root = node,
            Some(at) => {
                if let Some(slot) = self.nodes.get_mut(at) {
                    *slot = node;
                }
            }
        }
    }
}

/// The table holds as many prefixes as it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// A prefix on its way down.
struct Path {
    rest: u128,
    length: u32,
}

impl Path {
    /// The next six bits, where the prefix goes beyond them.
    #[inline]
    fn step(&mut self) -> Option<u32> {
        if self.length < STRIDE {
            return None;
        }
        let bits = first(self.rest);
        self.rest <<= STRIDE;
        self.length -= STRIDE;
        Some(bits)
    }
}

#[cfg(test)]
mod tests;
