//! What messages keep alive, for a reclaim: which lists of names are alive, and what they reach.
//!
//! Alive are objects held by a live process, messages in a live queue, and objects named by a live message. A queue
//! that is named only by a message inside itself, or in a ring of queues, is not alive.

use std::collections::{BTreeMap, BTreeSet};

use crate::arena::error::ArenaError;
use crate::arena::layout::header::Header;
use crate::arena::layout::object_header::{NAMES, ON_ITS_WAY, Status};
use crate::arena::layout::offset::Off;
use crate::arena::objects::census::{self, Fate};
use crate::arena::objects::raw::{self, Raw};
use crate::arena::objects::walk::for_each_object;
use crate::arena::objects::{holders, name_list};

/// Determined under the allocator's lock, and valid as long as it is held.
#[derive(Default)]
pub(in crate::arena) struct Reach {
    /// The objects named by live lists.
    reached: BTreeSet<Off>,
    /// How many lists name each object, not counting lists that are garbage.
    counts: BTreeMap<Off, u32>,
    /// Lists that will never be used again.
    garbage: BTreeSet<Off>,
}

impl Reach {
    pub(in crate::arena) fn find(header: &'static Header) -> Result<Self, ArenaError> {
        let mut lists = Vec::new();
        for_each_object(header, |off, object| {
            let state = object.state();
            if state.kind() == NAMES && state.status() == Status::Live {
                lists.push(Raw::at(off)?);
            }
            Ok(())
        })?;
        let mut reach = Self::default();
        if lists.is_empty() {
            return Ok(reach);
        }
        // Lists in a queue that is not known to be alive yet wait for that.
        let mut waiting: BTreeMap<u64, Vec<Raw>> = BTreeMap::new();
        while let Some(list) = lists.pop() {
            if !reach.is_alive(&list)? {
                waiting.entry(list.home().0).or_default().push(list);
                continue;
            }
            for raw in name_list::named(&list) {
                *reach.counts.entry(raw.off()).or_default() += 1;
                if reach.reached.insert(raw.off()) {
                    lists.extend(waiting.remove(&raw.off().to_bits()).into_iter().flatten());
                }
            }
        }
        crate::crash_point("arena.reclaim.waiting");
        for list in waiting.into_values().flatten() {
            // Either its queue is about to be torn down, which takes the list out; or that has happened since the first
            // check, and the list is in the hand of that process.
            if census::fate_of(&list) == Fate::Reachable || reach.is_alive(&list)? {
                name_list::named(&list).for_each(|raw| *reach.counts.entry(raw.off()).or_default() += 1);
            } else {
                reach.garbage.insert(list.off());
            }
        }
        Ok(reach)
    }

    /// Whether a live message names the object at `off`.
    pub(in crate::arena) fn reaches(&self, off: Off) -> bool {
        self.reached.contains(&off)
    }

    /// How many lists name the object at `off`.
    pub(in crate::arena) fn count(&self, off: Off) -> u32 {
        self.counts.get(&off).copied().unwrap_or(0)
    }

    pub(in crate::arena) fn is_garbage(&self, list: Off) -> bool {
        self.garbage.contains(&list)
    }

    fn is_alive(&self, list: &Raw) -> Result<bool, ArenaError> {
        if list.home().0 == ON_ITS_WAY {
            return Ok(true);
        }
        let is_held = || -> Result<bool, ArenaError> {
            Ok(holders::any_alive(&list.header().holders)?
                && (name_list::is_in_hand(list) || self.is_home_alive(list)?))
        };
        // A process that takes the list first becomes its holder. So if it has no holder after it was not found in its
        // queue, it was not there to be taken.
        Ok(is_held()? || (self.is_home_alive(list)? && census::fate_of(list) == Fate::Reachable) || is_held()?)
    }

    fn is_home_alive(&self, list: &Raw) -> Result<bool, ArenaError> {
        let home = Off::from_bits(list.home().0).and_then(|off| raw::find(off).ok().flatten());
        let Some(home) = home else { return Ok(false) };
        let state = home.header().state();
        Ok(state.status() == Status::Live
            && (state.is_kept() || self.reached.contains(&home.off()) || holders::any_alive(&home.header().holders)?))
    }
}
