//! Which shapes of values are known to arrive as they were.
//!
//! What a derived `Serialize` writes depends on the value only where it branches: at the variant of an enum, at an
//! option, at whether a sequence has elements, at a struct that leaves a field out. Such a branch at such a place of a
//! type is an *edge*. A value all of whose edges were part of values that arrived in a [trial](super::trial) arrives,
//! too, so it goes without one. An edge is a hash of
//!
//! * the type of the whole value (by the functions that write and read it, which the linker may share between types,
//!   but only where they do the same),
//! * the type that the place belongs to, the branch taken there, and the number of the field,
//! * the type at the place, and the branch taken.
//!
//! There are so many of these as the program's text has, however deep a recursive value may be.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The hash of a branch at a place of a type, which is not 0 but by the worst of luck.
pub(super) type Edge = u64;

/// From one part of a value to the next.
pub(super) const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// Keeps small numbers apart that are added or combined.
pub(super) const SPREAD: u64 = 0xd6e8_feb8_6659_fd93;

/// The edge of a branch at this place.
#[inline(always)]
pub(super) fn edge(place: u64, branch: u64) -> Edge {
    (place ^ branch).wrapping_mul(SPREAD)
}

const RECENT_BITS: u32 = 10;

/// Those that were asked for last: enough for the hot path. Each stands where its upper bits say.
static RECENT: [AtomicU64; 1 << RECENT_BITS] = [const { AtomicU64::new(0) }; 1 << RECENT_BITS];

/// All of them.
static ALL: Mutex<Option<HashSet<Edge>>> = Mutex::new(None);

/// More than any program has. Should one make types as it goes, it makes trials again.
const MANY: usize = 1 << 20;

fn all() -> MutexGuard<'static, Option<HashSet<Edge>>> {
    ALL.lock().unwrap_or_else(PoisonError::into_inner)
}

fn recent(edge: Edge) -> &'static AtomicU64 {
    &RECENT[(edge >> (64 - RECENT_BITS)) as usize]
}

/// Whether values with this edge arrive.
#[inline(always)]
pub(super) fn is_known(edge: Edge) -> bool {
    recent(edge).load(Ordering::Relaxed) == edge || is_known_of_old(edge)
}

#[cold]
fn is_known_of_old(edge: Edge) -> bool {
    let is_known = all().as_ref().is_some_and(|all| all.contains(&edge));
    if is_known {
        recent(edge).store(edge, Ordering::Relaxed);
    }
    is_known
}

/// Values with these edges arrive.
pub(super) fn learn(edges: &HashSet<Edge>) {
    let mut all = all();
    let all = all.get_or_insert_default();
    if all.len() + edges.len() > MANY {
        all.clear();
    }
    all.extend(edges);
}
