//! The learned cells of each port by last use: a doubly linked list a port, so that ageing, eviction and flushing
//! take steps of constant cost.

use weir_wire::PortId;

/// Neighbours of a cell in its port's list. Cells are named by their number plus one; 0 is none.
const NEWER: usize = 0;
const OLDER: usize = 1;

#[derive(Debug)]
pub(super) struct Lists {
    links: Vec<[u32; 2]>,
    ports: Vec<List>,
}

#[derive(Clone, Copy, Debug, Default)]
struct List {
    newest: u32,
    oldest: u32,
    count: u32,
}

impl Lists {
    /// Empty lists for a table of so many cells.
    pub fn new(cells: usize) -> Lists {
        Lists { links: vec![[0; 2]; cells], ports: Vec::new() }
    }

    /// Ports that have or had a list.
    pub fn ports(&self) -> impl Iterator<Item = PortId> + use<> {
        (0..self.ports.len()).map(|index| PortId(index as u16))
    }

    /// Cells in a port's list.
    pub fn count(&self, port: PortId) -> usize {
        self.ports.get(usize::from(port.0)).map_or(0, |list| list.count as usize)
    }

    /// The port with the longest list.
    pub fn longest(&self) -> Option<PortId> {
        self.ports().max_by_key(|&port| self.count(port))
    }

    /// The longest unused cell of a port.
    pub fn oldest(&self, port: PortId) -> Option<usize> {
        let oldest = self.ports.get(usize::from(port.0))?.oldest;
        (oldest as usize).checked_sub(1)
    }

    /// The cells of a port, oldest first.
    pub fn cells(&self, port: PortId) -> impl Iterator<Item = usize> + '_ {
        let newer = |&cell: &usize| (*self.links.get(cell)?.get(NEWER)? as usize).checked_sub(1);
        std::iter::successors(self.oldest(port), newer)
    }

    /// Puts a cell at the newest end of a port's list.
    pub fn link(&mut self, cell: usize, port: PortId) {
        let index = usize::from(port.0);
        if index >= self.ports.len() {
            self.ports.resize(index + 1, List::default());
        }
        let name = cell as u32 + 1;
        let Some(list) = self.ports.get_mut(index) else { return };
        let next = std::mem::replace(&mut list.newest, name);
        list.count += 1;
        if next == 0 {
            list.oldest = name;
        }
        self.set_neighbour(name, NEWER, 0);
        self.set_neighbour(name, OLDER, next);
        self.set_neighbour(next, NEWER, name);
    }

    /// Takes a cell out of the list of its port.
    pub fn unlink(&mut self, cell: usize, port: PortId) {
        let Some(&[newer, older]) = self.links.get(cell) else { return };
        if let Some(list) = self.ports.get_mut(usize::from(port.0)) {
            list.count = list.count.saturating_sub(1);
            if newer == 0 {
                list.newest = older;
            }
            if older == 0 {
                list.oldest = newer;
            }
        }
        self.set_neighbour(newer, OLDER, older);
        self.set_neighbour(older, NEWER, newer);
    }

    fn set_neighbour(&mut self, name: u32, side: usize, to: u32) {
        let cell = (name as usize).checked_sub(1).and_then(|cell| self.links.get_mut(cell));
        if let Some(place) = cell.and_then(|links| links.get_mut(side)) {
            *place = to;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes all cells of a port, oldest first.
    fn drain(lists: &mut Lists, port: PortId) -> Vec<usize> {
        let mut cells = Vec::new();
        while let Some(cell) = lists.oldest(port) {
            lists.unlink(cell, port);
            cells.push(cell);
        }
        assert_eq!(lists.count(port), 0);
        cells
    }

    #[test]
    fn cells_come_back_in_the_order_of_their_use() {
        let (mut lists, port) = (Lists::new(16), PortId(3));
        for cell in [5, 0, 9, 15] {
            lists.link(cell, port);
        }
        for cell in [0, 15, 5] {
            lists.unlink(cell, port);
            lists.link(cell, port);
        }
        assert_eq!(lists.count(port), 4);
        assert_eq!(lists.cells(port).collect::<Vec<_>>(), [9, 0, 15, 5]);
        assert_eq!(drain(&mut lists, port), [9, 0, 15, 5]);
    }

    #[test]
    fn ports_do_not_mix_and_the_longest_is_known() {
        let mut lists = Lists::new(16);
        assert_eq!(lists.longest(), None);
        for cell in 0..7 {
            lists.link(cell, PortId(cell as u16 % 3));
        }
        assert_eq!(lists.longest(), Some(PortId(0)));
        lists.unlink(3, PortId(0));
        lists.link(3, PortId(2));
        assert_eq!(drain(&mut lists, PortId(2)), [2, 5, 3]);
        assert_eq!(drain(&mut lists, PortId(0)), [0, 6]);
        assert_eq!(lists.oldest(PortId(9)), None);
    }
}
