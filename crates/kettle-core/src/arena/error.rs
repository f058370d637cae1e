//! What can go wrong, and what to do about it.

use core::fmt;
use std::io;

use crate::damage::Damage;
use crate::sys::descriptor::DescriptorLost;
use crate::sys::limits::Bound;

use super::waiting::{InQueues, Waiting};

/// Why the arena could not do what was asked.
#[derive(Debug)]
pub enum ArenaError {
    /// There is no room for that many bytes. Nothing was changed; smaller requests may still be granted.
    OutOfMemory {
        /// The bytes asked for.
        needed: u64,
        /// What stands in the way.
        why: Shortage,
        /// How much of what is in use waits in queues.
        in_queues: InQueues,
    },
    /// The arena's file could not be made.
    Create(io::Error),
    /// A part of the arena could not be mapped into this process.
    Map(io::Error),
    /// The program closed the arena's descriptor. What is mapped already can still be used.
    DescriptorLost(DescriptorLost),
    /// The descriptor does not hold an arena.
    NotAnArena,
    /// The arena was made by another version of this library.
    OtherVersion {
        /// The layout that was found.
        found: u32,
        /// The layout that this library knows.
        expected: u32,
    },
    /// This process already belongs to another session.
    OtherSession,
    /// This process has a pid namespace of its own, so that it cannot tell whether the others live.
    OtherPidNamespace,
    /// All rows of the participants table are taken.
    TooManyParticipants,
    /// The place that was reserved for this process was given up meanwhile.
    TicketGone,
    /// This process had already registered by itself, before it took the place reserved for it.
    AlreadyRegistered,
    /// The environment variable `KETTLE_ARENA_LIMIT` does not hold a size.
    BadLimit(String),
    /// A word of the arena was found that cannot be; nothing in it can be relied on any more.
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

/// What keeps the arena from growing.
#[derive(Debug)]
pub enum Shortage {
    /// The session's own limit.
    Limit {
        /// The limit in bytes.
        limit: u64,
        /// The bytes of it that are in use.
        used: u64,
    },
    /// The limit on the length of files (`ulimit -f`), in bytes.
    FileSize(u64),
    /// The system has no more memory to give.
    System {
        /// The bytes that are left.
        left: u64,
        /// How many of them are to remain for everything else.
        reserve: u64,
        /// What limits them.
        bound: Bound,
    },
    /// The system refused.
    Refused(io::Error),
    /// The table of segments is full.
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
                "cannot make shared memory ({e}); check the limit on open files (ulimit -n) and that memfd_create is \
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
                "the session was made by another version (layout {found}, this one knows {expected}); use one version \
                 in all its processes"
            ),
            Self::Damaged(damage) => damage.fmt(f),
            Self::OtherSession => {
                f.write_str("this process already belongs to another session; attach before anything shared is made")
            }
            Self::OtherPidNamespace => f.write_str(
                "this process is in another pid namespace than its session and cannot tell who lives; start it with \
                 the namespace of its parent, or begin a session of its own there",
            ),
            Self::TooManyParticipants => {
                f.write_str("the session has no room for another process; let some of its 8191 end first")
            }
            Self::TicketGone => f.write_str("the place reserved for this process was given up; start it anew"),
            Self::AlreadyRegistered => f.write_str(
                "this process registered before it took the place reserved for it; take it before anything else",
            ),
            Self::BadLimit(text) => write!(
                f,
                "KETTLE_ARENA_LIMIT={text:?} is not a size; write a number of bytes, with K, M, G or T after it if you \
                 like, or none for no limit"
            ),
        }
    }
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Limit { limit, used } => write!(
                f,
                "{} of the session's limit of {} are in use; free some, or raise KETTLE_ARENA_LIMIT (without it the limit \
                 is half of the memory; none lifts it)",
                Size(*used),
                Size(*limit)
            ),
            Self::FileSize(limit) => {
                write!(f, "files may not be longer than {} here; raise it with ulimit -f", Size(*limit))
            }
            Self::System { left, reserve, bound } => {
                let (whose, what) = match bound {
                    Bound::Cgroup => ("the control group (container)", "raise its memory limit"),
                    Bound::Machine => ("the machine", "end something else"),
                    Bound::Commit => ("the commit limit (vm.overcommit_memory=2)", "raise it"),
                };
                let (left, reserve) = (Size(*left), Size(*reserve));
                write!(f, "{whose} has about {left} left, and {reserve} are kept free; free some, or {what}")
            }
            Self::Refused(e) => write!(f, "the system refused ({e}); check ulimit -v and ulimit -f"),
            Self::Segments => f.write_str("the arena has all the segments it can have; free some blocks"),
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
    /// It comes from another session, or this process has none.
    OtherSession,
    /// What it names was freed: the last process that had it ended or let it go.
    Gone,
    /// It names something of another kind.
    WrongKind {
        /// The kind that was found.
        found: u32,
        /// The kind asked for.
        expected: u32,
    },
    /// It names no object at all.
    Malformed,
    /// The arena could not be used.
    Arena(ArenaError),
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherSession => f.write_str(
                "it belongs to another session; shared objects can be used only by the process that made them and \
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
        f.write_str("; a queue without a maxsize has no other bound than this")
    }
}

/// A number of bytes, as people say it.
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
