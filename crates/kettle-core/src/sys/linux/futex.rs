//! Sleeping on a word.

use crate::atomics::AtomicU32;

/// Which threads may sleep on a word: those of this process, or those of every process that maps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The word is in memory private to this process.
    Private,
    /// The word is in memory shared by processes.
    Shared,
}

/// Why a sleep ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slept {
    /// A wake-up, or a spurious return: look at the word.
    Woken,
    /// The word had another value already.
    Changed,
    /// The deadline passed.
    TimedOut,
    /// A signal handler ran in this thread.
    Interrupted,
}

/// All bits: a sleeper that every wake-up reaches, or a wake-up that reaches every sleeper.
pub const ANY: u32 = u32::MAX;

/// As [`wait_as`], for any wake-up.
pub fn wait(word: &AtomicU32, expected: u32, until: u64, scope: Scope) -> Slept {
    wait_as(word, expected, until, ANY, scope)
}

/// As [`wake_those`], for any sleeper.
pub fn wake(word: &AtomicU32, count: u32, scope: Scope) -> u32 {
    wake_those(word, count, ANY, scope)
}

/// Sleeps while `word` holds `expected`, until `until` (nanoseconds on [`super::clock::now`]'s clock), or until a
/// wake-up that has one of `bits`.
#[cfg(not(loom))]
pub fn wait_as(word: &AtomicU32, expected: u32, until: u64, bits: u32, scope: Scope) -> Slept {
    let deadline =
        libc::timespec { tv_sec: (until / 1_000_000_000) as libc::time_t, tv_nsec: (until % 1_000_000_000) as _ };
    // WAIT_BITSET, unlike WAIT, takes an absolute time, so interruptions do not extend the wait.
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
            bits,
        )
    };
    if r == 0 {
        return Slept::Woken;
    }
    match std::io::Error::last_os_error().raw_os_error() {
        Some(libc::EAGAIN) => Slept::Changed,
        Some(libc::ETIMEDOUT) => Slept::TimedOut,
        Some(libc::EINTR) => Slept::Interrupted,
        // No other error is possible for a valid word; callers look at the word in any case.
        _ => Slept::Woken,
    }
}

/// Wakes at most `count` sleepers of `word` that have one of `bits`, in the order in which they fell asleep; returns
/// how many there were.
#[cfg(not(loom))]
pub fn wake_those(word: &AtomicU32, count: u32, bits: u32, scope: Scope) -> u32 {
    wake_by(word.as_ptr().addr(), count, bits, scope)
}

/// Wakes all threads of this process that sleep on a word at `address`, if there are any. Sleepers look again in any
/// case, so this is harmless even if the word at that address is a different one by now.
#[cfg(not(loom))]
pub fn wake_at(address: usize) {
    wake_by(address, u32::MAX, ANY, Scope::Private);
}

#[cfg(not(loom))]
fn wake_by(address: usize, count: u32, bits: u32, scope: Scope) -> u32 {
    let op = libc::FUTEX_WAKE_BITSET | if scope == Scope::Private { libc::FUTEX_PRIVATE_FLAG } else { 0 };
    let count = count.min(i32::MAX as u32);
    let nothing = core::ptr::null::<u32>();
    // SAFETY: the address is only used as a key to look up sleepers, so there need not be a word. The kernel reads
    // neither pointer.
    let r = unsafe { libc::syscall(libc::SYS_futex, address, op, count, nothing, nothing, bits) };
    if r > 0 { r as u32 } else { 0 }
}

#[cfg(loom)]
pub use model::{let_slices_end, wait_as, wake_at, wake_those};

/// Loom has no system calls, so a model emulates the kernel's table of sleepers by a monitor of loom's. A lost wake-up
/// then becomes visible: loom reports that all threads are asleep.
#[cfg(loom)]
mod model {
    use loom::sync::{Condvar, Mutex, MutexGuard};
    use std::sync::{Arc, PoisonError};

    use super::{Scope, Slept};
    use crate::atomics::{AtomicU32, Ordering};

    #[derive(Default)]
    struct Kernel {
        sleepers: Vec<Sleeper>,
        slices_end: bool,
    }

    struct Sleeper {
        word: usize,
        bits: u32,
        ended: Option<Slept>,
        bell: Arc<Condvar>,
    }

    loom::lazy_static! {
        static ref KERNEL: Mutex<Kernel> = Mutex::new(Kernel::default());
    }

    fn kernel() -> MutexGuard<'static, Kernel> {
        // A model's threads share one thread of the system, so a panic in one of them poisons the mutex for all.
        KERNEL.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the slices of all threads that sleep now or later; without this no slice ever ends. For facts that are
    /// noticed only at the end of a slice, such as deaths.
    pub fn let_slices_end() {
        let mut kernel = kernel();
        kernel.slices_end = true;
        end(&mut kernel, usize::MAX, Slept::TimedOut, |_| true);
    }

    /// Sleeps while `word` holds `expected`.
    pub fn wait_as(word: &AtomicU32, expected: u32, _until: u64, bits: u32, _scope: Scope) -> Slept {
        let mut kernel = kernel();
        if word.load(Ordering::Relaxed) != expected {
            return Slept::Changed;
        }
        if kernel.slices_end {
            drop(kernel);
            loom::thread::yield_now();
            return Slept::TimedOut;
        }
        let bell = Arc::new(Condvar::new());
        let word = core::ptr::from_ref(word).addr();
        kernel.sleepers.push(Sleeper { word, bits, ended: None, bell: Arc::clone(&bell) });
        loop {
            kernel = bell.wait(kernel).unwrap_or_else(PoisonError::into_inner);
            let mine = kernel.sleepers.iter().position(|s| Arc::ptr_eq(&s.bell, &bell)).unwrap();
            if let Some(slept) = kernel.sleepers[mine].ended {
                kernel.sleepers.remove(mine);
                return slept;
            }
        }
    }

    /// Wakes at most `count` sleepers of `word` that have one of `bits`; returns how many there were.
    pub fn wake_those(word: &AtomicU32, count: u32, bits: u32, _scope: Scope) -> u32 {
        let word = core::ptr::from_ref(word).addr();
        end(&mut kernel(), count as usize, Slept::Woken, |s| s.word == word && s.bits & bits != 0)
    }

    /// Wakes all sleepers of the word at `address`.
    pub fn wake_at(address: usize) {
        end(&mut kernel(), usize::MAX, Slept::Woken, |s| s.word == address);
    }

    fn end(kernel: &mut Kernel, count: usize, how: Slept, which: impl Fn(&Sleeper) -> bool) -> u32 {
        let mut ended = 0;
        for sleeper in kernel.sleepers.iter_mut().filter(|s| s.ended.is_none() && which(s)).take(count) {
            sleeper.ended = Some(how);
            sleeper.bell.notify_one();
            ended += 1;
        }
        ended
    }
}
