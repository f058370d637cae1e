//! How much of the arena is taken by messages in queues, for out-of-memory errors.

use crate::arena::allocator::alloc::Allocator;
use crate::arena::allocator::slab;
use crate::arena::error::{ArenaError, InQueues, Waiting};
use crate::arena::layout::object_header::{ObjectHeader, Status};
use crate::arena::layout::offset::Off;
use crate::arena::layout::page_map::Kind;
use crate::arena::objects::census;
use crate::arena::objects::raw::Raw;
use crate::arena::pages;

/// Sums up all queues, which are small objects. This visits each page of small objects.
pub(in crate::arena) fn in_queues(allocator: &Allocator) -> Result<InQueues, ArenaError> {
    let mut sum = InQueues::default();
    pages::walk(allocator.header, |at, run| {
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

fn waiting_in(off: Off, object: &ObjectHeader) -> Result<Option<Waiting>, ArenaError> {
    if object.state().status() != Status::Live {
        return Ok(None);
    }
    // It cannot be freed while the allocator is locked.
    let raw = Raw::at(off)?;
    Ok(census::census().waiting(&census::found(&raw)))
}
