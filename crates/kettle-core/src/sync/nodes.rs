//! Storage for the waiters of a condition.

use std::sync::OnceLock;

use crate::atomics::{AtomicU32, AtomicU64};

/// One waiter's node.
#[repr(C)]
#[derive(Debug)]
pub struct Node {
    /// See [`Condition`](super::Condition).
    pub(super) state: AtomicU64,
    /// The order of arrival.
    pub(super) number: AtomicU32,
    /// The word that the owner sleeps on.
    pub(super) bell: AtomicU32,
    /// The door of an owner that must not sleep.
    pub(super) door: AtomicU64,
}

impl Node {
    fn free() -> Self {
        Self { state: AtomicU64::new(0), number: AtomicU32::new(0), bell: AtomicU32::new(0), door: AtomicU64::new(0) }
    }
}

/// An indexed set of nodes with stable addresses.
pub trait Nodes: Send + Sync + 'static {
    /// The node at this index, if it exists already.
    fn get(&self, index: usize) -> Option<&Node>;

    /// As [`get`](Self::get), but creates the node if the storage can hold it.
    fn get_or_make(&self, index: usize) -> Option<&Node>;
}

/// A fixed number of nodes without pointers, for memory that processes share.
#[repr(C)]
#[derive(Debug)]
pub struct Fixed([Node; Self::LEN]);

impl Fixed {
    /// The number of nodes.
    #[cfg(not(loom))]
    pub const LEN: usize = 160;
    /// Few enough for a model.
    #[cfg(loom)]
    pub const LEN: usize = 3;

    pub(super) fn new() -> Self {
        Self(core::array::from_fn(|_| Node::free()))
    }
}

impl Nodes for Fixed {
    #[inline]
    fn get(&self, index: usize) -> Option<&Node> {
        self.0.get(index)
    }

    fn get_or_make(&self, index: usize) -> Option<&Node> {
        self.get(index)
    }
}

/// A few nodes at first and more on demand, for the memory of one process. They are freed with the condition.
///
/// ```text
/// first:  [ 0 1 ]
/// more:   [ 2 3 ] [ 4 .. 7 ] [ 8 .. 15 ] …      row r has 2^(r+1) nodes, from number 2^(r+1) on
/// ```
#[derive(Debug)]
pub struct Growing {
    first: [Node; FIRST],
    more: OnceLock<Box<Rows>>,
}

const FIRST: usize = 2;
/// Enough for two million waiters.
const ROWS: usize = 20;

type Rows = [OnceLock<Box<[Node]>>; ROWS];

/// The row of a node beyond the first ones, and its position in that row.
fn row_and_place(index: usize) -> (usize, usize) {
    let bits = index.ilog2();
    (bits as usize - 1, index - (1 << bits))
}

impl Growing {
    pub(super) fn new() -> Self {
        Self { first: core::array::from_fn(|_| Node::free()), more: OnceLock::new() }
    }
}

impl Nodes for Growing {
    #[inline]
    fn get(&self, index: usize) -> Option<&Node> {
        if index < FIRST {
            return self.first.get(index);
        }
        let (row, place) = row_and_place(index);
        self.more.get()?.get(row)?.get()?.get(place)
    }

    fn get_or_make(&self, index: usize) -> Option<&Node> {
        if index < FIRST {
            return self.first.get(index);
        }
        let (row, place) = row_and_place(index);
        let rows = self.more.get_or_init(|| Box::new([const { OnceLock::new() }; ROWS]));
        rows.get(row)?.get_or_init(|| (0..2 << row).map(|_| Node::free()).collect()).get(place)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn each_number_has_a_node_of_its_own() {
        let places: Vec<_> = (2..9).map(row_and_place).collect();
        assert_eq!(places, [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2), (1, 3), (2, 0)]);
        let (growing, fixed) = (Growing::new(), Fixed::new());
        assert!(growing.get(FIRST).is_none(), "not needed yet");
        let address = |node: Option<&Node>| node.map(|node| core::ptr::from_ref(node).addr());
        let mut seen = std::collections::HashSet::new();
        for index in 0..200 {
            let made = address(growing.get_or_make(index));
            assert!(made.is_some() && seen.insert(made) && address(growing.get(index)) == made);
            assert_eq!(fixed.get(index).is_some(), index < Fixed::LEN);
            assert_eq!(fixed.get_or_make(index).is_some(), index < Fixed::LEN);
        }
        assert!(growing.get_or_make(2 << ROWS).is_none(), "the rows end here");
    }
}
