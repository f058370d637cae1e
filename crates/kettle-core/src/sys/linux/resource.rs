//! Limits to what this process, and what it starts, may use.

use std::io;

use super::memory::Resource as Number;

/// What is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// Private writable memory, in bytes: the heap above all, not what processes share.
    Memory,
    /// Processor time, in seconds. At the limit the process gets `SIGXCPU`, and a second later `SIGKILL`.
    ProcessorTime,
    /// Open descriptors.
    Descriptors,
    /// The size of a file that it writes, in bytes. At the limit it gets `SIGXFSZ`.
    FileSize,
    /// The size of a core dump, in bytes.
    CoreSize,
}

impl Resource {
    fn number(self) -> Number {
        match self {
            Self::Memory => libc::RLIMIT_DATA,
            Self::ProcessorTime => libc::RLIMIT_CPU,
            Self::Descriptors => libc::RLIMIT_NOFILE,
            Self::FileSize => libc::RLIMIT_FSIZE,
            Self::CoreSize => libc::RLIMIT_CORE,
        }
    }
}

/// Limits a resource for this process, for good. A limit that is lower already stays.
///
/// # Errors
/// Those of `setrlimit`.
pub fn limit(resource: Resource, most: u64) -> io::Result<()> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid place for one rlimit.
    if unsafe { libc::getrlimit(resource.number(), &mut limit) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // At the hard limit there is no signal but SIGKILL.
    let hard = if resource == Resource::ProcessorTime { most.saturating_add(1) } else { most };
    limit.rlim_cur = limit.rlim_cur.min(most);
    limit.rlim_max = limit.rlim_max.min(hard);
    // SAFETY: `limit` is an initialized rlimit.
    if unsafe { libc::setrlimit(resource.number(), &limit) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
