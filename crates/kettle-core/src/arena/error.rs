//! Errors, and what to do about them.

use core::fmt;
use std::io;

use crate::damage::Damage;
use crate::sys::descriptor::DescriptorLost;
use crate::sys::limits::Bound;

/// Why an arena operation failed.
#[derive(Debug)]
pub enum ArenaError {
    /// There is no room for that many bytes. Nothing was changed; smaller requests may still succeed.
    OutOfMemory {
        /// The number of bytes requested.
        needed: u64,
        /// The cause.
        why: Shortage,
        /// How much of the memory in use is taken by messages in queues.
        in_queues: InQueues,
    },
    /// The arena's file could not be created.
    Create(io::Error),
    /// A part of the arena could not be mapped into this process.
    Map(io::Error),
    /// The program closed the arena's descriptor. Memory that is already mapped is still usable.
    DescriptorLost(DescriptorLost),
    /// The descriptor does not refer to an arena.
    NotAnArena,
    /// The arena was created by another version of this library.
    OtherVersion {
        /// The layout found.
        found: u32,
        /// The layout of this library.
        expected: u32,
    },
    /// This process already belongs to another session.
    OtherSession,
    /// This process has a PID namespace of its own, so it cannot tell whether the other processes are alive.
    OtherPidNamespace,
    /// All rows of the participants table are in use.
    TooManyParticipants,
    /// The row that was reserved for this process was given up in the meantime.
    TicketGone,
    /// This process registered by itself before it took the row reserved for it.
    AlreadyRegistered,
    /// The environment variable `KETTLE_ARENA_LIMIT` is not a size.
    BadLimit(String),
    /// A word of the arena has an impossible value; nothing in the arena can be relied on any more.
    Damaged(Damage),
}

impl From<Damage> for ArenaError {
    fn from(damage: Damage) -> Self {
        Self::Damaged(damage)
    }
}

impl From<DescriptorLost> for ArenaError {
    fn from(lost: DescriptorLost) -> Self {
        Self::DescriptorLost(lost)
    }
}

/// What prevents the arena from growing.
#[derive(Debug)]
pub enum Shortage {
    /// The session's own limit.
    Limit {
        /// The limit in bytes.
        limit: u64,
        /// The bytes of it in use.
        used: u64,
    },
    /// The limit on file sizes (`ulimit -f`), in bytes.
    FileSize(u64),
    /// The system has no memory left.
    System {
        /// The bytes left.
        left: u64,
        /// How many of them are reserved for everything else.
        reserve: u64,
        /// What limits them.
        bound: Bound,
    },
    /// A system call failed.
    Refused(io::Error),
    /// The segment table is full.
    Segments,
}

impl fmt::Display for ArenaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfMemory { needed, why, in_queues } => {
                write!(f, "no room for {} of shared memory: {why}", Size(*needed))?;
                if in_queues.queues != 0 { write!(f, ". {in_queues}") } else { Ok(()) }
            }
            Self::Create(e) => write!(
                f,
                "cannot create shared memory ({e}); check the limit on open files (ulimit -n) and that memfd_create is \
                 not forbidden by a sandbox"
            ),
            Self::Map(e) => write!(
                f,
                "cannot map shared memory into this process ({e}); check the limit on its address space (ulimit -v)"
            ),
            Self::DescriptorLost(lost) => lost.fmt(f),
            Self::NotAnArena => {
                f.write_str("the descriptor given holds no arena; pass the one of the parent's session")
            }
            Self::OtherVersion { found, expected } => write!(
                f,
                "the session was created by another version (layout {found}, this one has {expected}); use one version \
                 in all its processes"
            ),
            Self::Damaged(damage) => damage.fmt(f),
            Self::OtherSession => {
                f.write_str("this process already belongs to another session; attach before creating shared objects")
            }
            Self::OtherPidNamespace => f.write_str(
                "this process is in another pid namespace than its session and cannot tell which processes are alive; \
                 start it in the namespace of its parent, or begin a session of its own there",
            ),
            Self::TooManyParticipants => {
                f.write_str("the session has no room for another process; let some of its 8191 end first")
            }
            Self::TicketGone => f.write_str("the row reserved for this process was given up; start it again"),
            Self::AlreadyRegistered => f.write_str(
                "this process registered before it took the row reserved for it; take the row before anything else",
            ),
            Self::BadLimit(text) => write!(
                f,
                "KETTLE_ARENA_LIMIT={text:?} is not a size; write a number of bytes, optionally followed by K, M, \
                 G or T, or none for no limit"
            ),
        }
    }
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Limit { limit, used } => write!(
                f,
                "{} of the session's limit of {} are in use; free some, or raise KETTLE_ARENA_LIMIT (without it the \
                 limit is half of the memory; none lifts it)",
                Size(*used),
                Size(*limit)
            ),
            Self::FileSize(limit) => {
                write!(f, "files may not be longer than {} here; raise it with ulimit -f", Size(*limit))
            }
            Self::System { left, reserve, bound } => {
                let (whose, what) = match bound {
                    Bound::Cgroup => ("the control group (container)", "raise its memory limit"),
                    Bound::Machine => ("the machine", "stop other programs"),
                    Bound::Commit => ("the commit limit (vm.overcommit_memory=2)", "raise it"),
                };
                let (left, reserve) = (Size(*left), Size(*reserve));
                write!(f, "{whose} has about {left} left, and {reserve} are kept free; free some, or {what}")
            }
            Self::Refused(e) => write!(f, "the system refused ({e}); check ulimit -v and ulimit -f"),
            Self::Segments => f.write_str("the arena has reached its maximum number of segments; free some blocks"),
        }
    }
}

impl std::error::Error for ArenaError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Create(e) | Self::Map(e) | Self::OutOfMemory { why: Shortage::Refused(e), .. } => Some(e),
            Self::DescriptorLost(lost) => Some(lost),
            _ => None,
        }
    }
}

/// Why a token could not be turned into a handle.
#[derive(Debug)]
pub enum TokenError {
    /// It comes from another session, or this process has no session.
    OtherSession,
    /// The object was freed: the last process that had it ended or dropped it.
    Gone,
    /// It names an object of another kind.
    WrongKind {
        /// The kind found.
        found: u32,
        /// The kind expected.
        expected: u32,
    },
    /// It names no object at all.
    Malformed,
    /// The arena is unusable.
    Arena(ArenaError),
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherSession => f.write_str(
                "it belongs to another session; shared objects can be used only by the process that created them and \
                 those started from it through kettle",
            ),
            Self::Gone => f.write_str(
                "it no longer exists; keep a reference to it in a process that lives until the others have it too",
            ),
            Self::WrongKind { found, expected } => {
                write!(f, "it is something else (kind {found}, not {expected}); pass the object that was meant")
            }
            Self::Malformed => f.write_str("these bytes name no shared object; pass what was received unchanged"),
            Self::Arena(e) => e.fmt(f),
        }
    }
}

impl std::error::Error for TokenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Arena(e) => Some(e),
            _ => None,
        }
    }
}

impl From<ArenaError> for TokenError {
    fn from(e: ArenaError) -> Self {
        Self::Arena(e)
    }
}

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
    pub(in crate::arena) fn add(&mut self, one: Waiting) {
        self.queues += u64::from(one.messages != 0);
        self.all.messages = self.all.messages.saturating_add(one.messages);
        self.all.bytes = self.all.bytes.saturating_add(one.bytes);
        if one.bytes > self.fullest.bytes {
            self.fullest = one;
        }
    }
}

impl fmt::Display for InQueues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Waiting { messages, bytes } = self.fullest;
        match self.queues {
            1 => write!(f, "{} wait in a queue ({messages} messages)", Size(bytes)),
            n => write!(
                f,
                "{} wait in {n} queues, {} of them in the fullest ({messages} messages)",
                Size(self.all.bytes),
                Size(bytes)
            ),
        }?;
        f.write_str("; a queue without a maxsize has no other limit than this")
    }
}

/// A number of bytes in a human-readable form.
struct Size(u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(u64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
        match UNITS.iter().find(|(unit, _)| self.0 >= *unit) {
            Some((unit, name)) => write!(f, "{:.1} {name}", self.0 as f64 / *unit as f64),
            None => write!(f, "{} bytes", self.0),
        }
    }
}
