//! Where shared objects are stored: in shared memory for processes, on the heap for the threads of one process.
//!
//! The types for both have the same names and methods. The methods are written once, in a macro beside the type for
//! processes; the type for threads in [`threads`](crate::threads) uses the macro with its own place.

use std::convert::Infallible;
use std::sync::Arc;

use kettle_core::arena::{Body, Handle};
use kettle_core::shared::Processes;
use kettle_core::sync::{self, Home};

use crate::error::OutOfMemory;
use crate::session;

/// A place in which bodies of the core are stored.
pub(crate) trait Place {
    type Home: Home;
    /// A counted reference to a body in this place.
    type Ref<B: Body>;
    /// The error if there is no room.
    type Refusal;

    fn put<B: Body>(make: impl FnOnce() -> B) -> Result<Self::Ref<B>, Self::Refusal>;
}

/// The session's shared memory.
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

/// The heap of this process.
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
