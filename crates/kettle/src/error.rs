//! What can go wrong, in pieces that fit the operation.

use std::fmt;

use std::process;

use kettle_core::arena::{ArenaError, participants};
use kettle_core::damage::{self, Damage};
use kettle_core::deadlock::Deadlock;
use kettle_core::queue::Exhausted;
use kettle_core::sync::LockError;
pub use kettle_core::sys::descriptor::DescriptorLost;
use kettle_core::sys::futex::Scope;
use kettle_core::sys::{Owner, thread};
use kettle_core::wait::Stopped;

/// There is no room in the session's shared memory, or no session can be had. The text says what stands in the way and
/// what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutOfMemory {
    text: String,
    lost: Option<DescriptorLost>,
}

impl OutOfMemory {
    pub(crate) fn new(text: impl ToString) -> Self {
        Self { text: text.to_string(), lost: None }
    }

    /// Why this process cannot take part in the session.
    pub(crate) fn no_part() -> Self {
        match participants::try_me() {
            Err(e) => e.into(),
            // Since then a place became free.
            Ok(_) => Self::new("there was no room for this process in the session; now there is: try again"),
        }
    }

    /// Where this program closed the descriptor of the session's memory, so that there can be no more of it: which one.
    pub fn descriptor_lost(&self) -> Option<DescriptorLost> {
        self.lost
    }
}

impl fmt::Display for OutOfMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for OutOfMemory {}

impl From<ArenaError> for OutOfMemory {
    fn from(e: ArenaError) -> Self {
        let lost = if let ArenaError::DescriptorLost(lost) = e { Some(lost) } else { None };
        Self { text: e.to_string(), lost }
    }
}

impl From<Exhausted> for OutOfMemory {
    fn from(e: Exhausted) -> Self {
        match e {
            Exhausted::DescriptorLost(lost) => Self { text: lost.to_string(), lost: Some(lost) },
            Exhausted::Memory(text) => Self { text, lost: None },
            Exhausted::NoPart => Self::no_part(),
        }
    }
}

/// A process of the session wrote where it must not, and something was found in the shared memory that cannot be. From
/// then on everything that uses this memory says so, in all processes of the session; what only threads share
/// ([`threads`](crate::threads)) goes on. End the program's processes and start it again.
///
/// Methods that return no error [panic](crate#errors-and-panics) with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionDamaged(Damage);

impl SessionDamaged {
    /// What the session is marked with.
    pub(crate) fn found() -> Self {
        Self(damage::marked())
    }
}

impl fmt::Display for SessionDamaged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for SessionDamaged {}

/// Panics if memory of this scope is damaged: for what has no other way to say so.
#[inline]
#[track_caller]
pub(crate) fn expect_sound(scope: Scope) {
    if damage::is_marked(scope) {
        panic!("{}", SessionDamaged::found());
    }
}

/// Whether a wait ended well, for what has no other way to say that the memory is damaged.
#[track_caller]
pub(crate) fn in_time<T>(result: Result<T, Stopped>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(Stopped::TimedOut | Stopped::Interrupted) => None,
        Err(Stopped::Damaged) => panic!("{}", SessionDamaged::found()),
        Err(Stopped::NoPart) => panic!("{}", OutOfMemory::no_part()),
    }
}

/// The holder of a lock died with it: what the lock protects may be half changed. Of a lock between the
/// [threads](crate::threads) of one process: the holder panicked.
///
/// The lock stays broken, and every `acquire` fails with this, until it is `reset`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnerDied {
    /// The process that died, or this one if a thread of it panicked; `None` if its process id is no longer known.
    pub pid: Option<u32>,
    /// Its thread that held the lock.
    pub thread: u32,
}

impl From<Owner> for OwnerDied {
    fn from(owner: Owner) -> Self {
        // In a process's own memory there are no participants.
        if owner.slot() == 0 {
            return Self { pid: Some(process::id()), thread: thread::kernel_id(owner.thread()) };
        }
        Self { pid: participants::pid_of(owner), thread: owner.thread() }
    }
}

impl fmt::Display for OwnerDied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pid {
            // This process is alive, so a thread of it panicked.
            Some(pid) if pid == process::id() => write!(f, "thread {} panicked while it held this lock", self.thread)?,
            Some(pid) => write!(f, "process {pid} died while it held this lock")?,
            None => f.write_str("a process died while it held this lock")?,
        }
        f.write_str("; put right what it protects, then call reset()")
    }
}

impl std::error::Error for OwnerDied {}

/// Why a lock was not acquired.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AcquireError {
    /// The lock was held for the whole time. Never returned by `acquire`, which waits without a limit.
    TimedOut,
    /// Its holder died with it.
    OwnerDied(OwnerDied),
    /// The holder waits in turn for what this thread holds, so `acquire` would never have ended; see
    /// [`deadlock`](crate::deadlock). Go back: what this thread holds is what the others wait for.
    Deadlock(Box<Deadlock>),
    /// This process cannot take part in the session, so the lock could not name it as its holder.
    OutOfMemory(OutOfMemory),
    /// The session's shared memory is damaged.
    Damaged(SessionDamaged),
}

impl From<LockError> for AcquireError {
    fn from(e: LockError) -> Self {
        match e {
            LockError::OwnerDied(owner) => Self::OwnerDied(owner.into()),
            LockError::Stopped(Stopped::Damaged) => Self::Damaged(SessionDamaged::found()),
            LockError::Stopped(Stopped::NoPart) => Self::OutOfMemory(OutOfMemory::no_part()),
            LockError::Stopped(Stopped::TimedOut | Stopped::Interrupted) => Self::TimedOut,
        }
    }
}

impl fmt::Display for AcquireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimedOut => f.write_str("the lock is held elsewhere"),
            Self::OwnerDied(e) => e.fmt(f),
            Self::Deadlock(e) => e.fmt(f),
            Self::OutOfMemory(e) => e.fmt(f),
            Self::Damaged(e) => e.fmt(f),
        }
    }
}

impl std::error::Error for AcquireError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::OwnerDied(e) => Some(e),
            Self::Deadlock(e) => Some(&**e),
            Self::OutOfMemory(e) => Some(e),
            Self::Damaged(e) => Some(e),
            _ => None,
        }
    }
}

/// A reset of a lock whose holder lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldByTheLiving {
    /// The process that holds it.
    pub pid: Option<u32>,
}

impl fmt::Display for HeldByTheLiving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pid {
            Some(pid) => write!(f, "process {pid} holds this lock and lives")?,
            None => f.write_str("a living thread holds this lock")?,
        }
        f.write_str("; only a lock whose holder died can be reset")
    }
}

impl std::error::Error for HeldByTheLiving {}

/// A value that could not be turned into bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodeError(pub(crate) String);

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "this value cannot be sent: {}", self.0)
    }
}

impl std::error::Error for EncodeError {}

/// Bytes that could not be turned into a value again. The message is lost; those behind it are not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodeError(pub(crate) String);

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a message that was received cannot be rebuilt: {}", self.0)
    }
}

impl std::error::Error for DecodeError {}
