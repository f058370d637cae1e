//! Sleeping on a word.

use crate::atomics::AtomicU32;

/// Who may sleep on a word: the threads of this process, or those of every process that maps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The word is in this process's own memory.
    Private,
    /// The word is in memory that processes share.
    Shared,
}

/// Why a sleep ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slept {
    /// Somebody woke us, or for no reason at all: look at the word.
    Woken,
    /// The word already had another value.
    Changed,
    /// The time was over.
    TimedOut,
    /// A signal handler ran in this thread.
    Interrupted,
}

/// Sleeps while `word` holds `expected`, until `until` (nanoseconds on [`super::clock::now`]'s clock).
#[cfg(not(loom))]
pub fn wait(word: &AtomicU32, expected: u32, until: u64, scope: Scope) -> Slept {
    let deadline = libc::timespec {
        tv_sec: (until / 1_000_000_000) as libc::time_t,
        tv_nsec: (until % 1_000_000_000) as _,
    };
    // WAIT_BITSET, unlike WAIT, takes an absolute time, so that an interruption loses none of it.
    let op = libc::FUTEX_WAIT_BITSET | if scope == Scope::Private { libc::FUTEX_PRIVATE_FLAG } else { 0 };
    // SAFETY: `word` is a live, aligned 32-bit word for the whole call; the kernel only reads it and `deadline`.
    let r = unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            op,
            expected,
            &deadline as *const libc::timespec,
            core::ptr::null::<u32>(),
            libc::FUTEX_BITSET_MATCH_ANY,
        )
    };
    if r == 0 {
        return Slept::Woken;
    }
    match std::io::Error::last_os_error().raw_os_error() {
        Some(libc::EAGAIN) => Slept::Changed,
        Some(libc::ETIMEDOUT) => Slept::TimedOut,
        Some(libc::EINTR) => Slept::Interrupted,
        // Nothing else can come of a valid word; the callers look at the word in any case.
        _ => Slept::Woken,
    }
}

/// Wakes at most `count` sleepers of `word`; says how many there were.
#[cfg(not(loom))]
pub fn wake(word: &AtomicU32, count: u32, scope: Scope) -> u32 {
    let op = libc::FUTEX_WAKE | if scope == Scope::Private { libc::FUTEX_PRIVATE_FLAG } else { 0 };
    let count = count.min(i32::MAX as u32);
    // SAFETY: the address is only used as a key to look up sleepers; it is a live word besides.
    let r = unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), op, count) };
    if r > 0 { r as u32 } else { 0 }
}

/// Loom knows no system calls. In a model a sleeper gives up its turn and looks at the word again, which explores
/// every order in which it may see the word; a lost wake-up shows itself as a model that never ends.
#[cfg(loom)]
pub fn wait(word: &AtomicU32, expected: u32, _until: u64, _scope: Scope) -> Slept {
    let seen = word.load(crate::atomics::Ordering::Relaxed);
    loom::thread::yield_now();
    if seen == expected { Slept::Woken } else { Slept::Changed }
}

/// See [`wait`].
#[cfg(loom)]
pub fn wake(_word: &AtomicU32, _count: u32, _scope: Scope) -> u32 {
    0
}
