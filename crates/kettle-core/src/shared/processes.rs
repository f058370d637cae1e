//! The processes of a session, as those that share a primitive.

use super::parties;
use crate::arena;
use crate::atomics::AtomicU64;
use crate::damage::{self, What};
use crate::sync::{Home, NoWords};
use crate::sys::futex::Scope;
use crate::sys::{Owner, process};

/// The arena as a home: the processes of a session share it, and any of them may die.
#[derive(Clone, Copy, Debug)]
pub struct Processes;

impl Home for Processes {
    const SCOPE: Scope = Scope::Shared;

    #[inline]
    fn me() -> Owner {
        arena::participants::me()
    }

    #[inline]
    fn try_me() -> Option<Owner> {
        arena::participants::me_if_any()
    }

    #[inline]
    fn my_thread() -> u32 {
        process::thread_id()
    }

    fn is_dead(owner: Owner) -> bool {
        if owner.slot() == 0 {
            // A process that writes its name here has a row.
            if !owner.is_none() {
                damage::mark(Self::SCOPE, What::Owner, 0, owner.to_bits());
            }
            return false;
        }
        arena::participants::is_dead(owner)
    }

    fn can_be(owner: Owner) -> bool {
        owner.slot() != 0
    }

    fn has_lost(owner: Owner) -> bool {
        arena::participants::has_lost_thread(owner)
    }

    fn words(place: u64) -> Result<&'static [AtomicU64], NoWords> {
        parties::list(place)
    }
}
