//! How much of the arena is taken by messages in queues, for out-of-memory errors.

use super::alloc::Allocator;
use super::error::ArenaError;
use super::object::{ObjectHeader, Raw, Status};
use super::offset::Off;
use super::pages::{self, Kind};
use super::{recover, slab};

/// The content of one queue, or of several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// The number of messages.
    pub messages: u64,
    /// The number of bytes in them.
    pub bytes: u64,
}

/// The content of all queues of a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InQueues {
    /// The number of queues that are not empty.
    pub queues: u64,
    /// The total.
    pub all: Waiting,
    /// The content of the queue with the most bytes.
    pub fullest: Waiting,
}

impl InQueues {
    fn add(&mut self, one: Waiting) {
        self.queues += u64::from(one.messages != 0);
        self.all.messages = self.all.messages.saturating_add(one.messages);
        self.all.bytes = self.all.bytes.saturating_add(one.bytes);
        if one.bytes > self.fullest.bytes {
            self.fullest = one;
        }
    }
}

impl Allocator {
    /// Sums up all queues, which are small objects. This visits each page of small objects.
    pub(super) fn in_queues(&self) -> Result<InQueues, ArenaError> {
        let mut sum = InQueues::default();
        pages::walk(self.header, |at, run| {
            let mut result = Ok(());
            if run.kind == Kind::Slab {
                slab::for_each_small(at, run.class, |off, object| match waiting_in(off, object) {
                    Ok(Some(one)) => sum.add(one),
                    Ok(None) => {}
                    Err(e) => result = Err(e),
                })?;
            }
            result
        })?;
        Ok(sum)
    }
}

fn waiting_in(off: Off, object: &ObjectHeader) -> Result<Option<Waiting>, ArenaError> {
    if object.state().status() != Status::Live {
        return Ok(None);
    }
    // It cannot be freed while the allocator is locked.
    let raw = Raw::at(off)?;
    Ok(recover::census().waiting(&recover::found(&raw)))
}
