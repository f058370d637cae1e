//! Limits to what a process may use.

use std::io;

use kettle_core::sys::resource::{self, Resource};
use serde::{Deserialize, Serialize};

/// What [`Builder::limit`](crate::Builder::limit) limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Limit {
    /// Its own memory, in bytes: heap and stacks, but not what processes share. Where the limit is reached, allocating
    /// fails, and a Rust program that does not provide for that aborts.
    Memory,
    /// Its processor time, in seconds. Then it gets `SIGXCPU`, which ends it unless it is handled, and a second later
    /// `SIGKILL`.
    CpuTime,
    /// How many descriptors it may have open.
    OpenFiles,
    /// The size of a file that it writes, in bytes. Then it gets `SIGXFSZ`, which ends it unless it is handled.
    FileSize,
    /// The size of a core dump, in bytes: zero if there is to be none.
    CoreSize,
}

impl Limit {
    fn resource(self) -> Resource {
        match self {
            Self::Memory => Resource::Memory,
            Self::CpuTime => Resource::ProcessorTime,
            Self::OpenFiles => Resource::Descriptors,
            Self::FileSize => Resource::FileSize,
            Self::CoreSize => Resource::CoreSize,
        }
    }
}

/// The limits of a process.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Limits(Vec<(Limit, u64)>);

impl Limits {
    /// A later value replaces an earlier one.
    pub(super) fn set(&mut self, what: Limit, most: u64) {
        self.0.retain(|(limit, _)| *limit != what);
        self.0.push((what, most));
    }

    /// Limits this process.
    pub(super) fn apply(&self) -> Result<(), String> {
        let apply = |&(what, most): &(Limit, u64)| {
            resource::limit(what.resource(), most).map_err(|e: io::Error| format!("its limit {what:?} of {most}: {e}"))
        };
        self.0.iter().try_for_each(apply)
    }
}
