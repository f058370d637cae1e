//! Where what is shared stands: in shared memory for processes, on the heap for the threads of one.
//!
//! The types for both have the same names and methods, whose text is written once: in a macro beside the type for
//! processes, to which a type for threads in [`threads`](crate::threads) gives its place.

use std::convert::Infallible;
use std::sync::Arc;

use kettle_core::arena::{Body, Handle};
use kettle_core::shared::Processes;
use kettle_core::sync::{self, Home};

use crate::error::OutOfMemory;
use crate::session;

/// A place for bodies of the core.
pub(crate) trait Place {
    type Home: Home;
    /// A counted reference to a body there.
    type Ref<B: Body>;
    /// Why there may be no room.
    type Refusal;

    fn put<B: Body>(make: impl FnOnce() -> B) -> Result<Self::Ref<B>, Self::Refusal>;
}

/// The session's memory.
#[derive(Debug)]
pub(crate) struct Shared;

impl Place for Shared {
    type Home = Processes;
    type Ref<B: Body> = Handle<B>;
    type Refusal = OutOfMemory;

    fn put<B: Body>(make: impl FnOnce() -> B) -> Result<Handle<B>, OutOfMemory> {
        session::join()?;
        Ok(Handle::new(make)?)
    }
}

/// This process's own memory.
#[derive(Debug)]
pub(crate) struct Heap;

impl Place for Heap {
    type Home = sync::Heap;
    type Ref<B: Body> = Arc<B>;
    type Refusal = Infallible;

    fn put<B: Body>(make: impl FnOnce() -> B) -> Result<Arc<B>, Infallible> {
        Ok(Arc::new(make()))
    }
}
