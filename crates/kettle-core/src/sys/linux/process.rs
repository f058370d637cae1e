//! The current process; whether a process that started at a given time is still alive.

use core::cell::Cell;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use std::fs;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;

/// The ID of this process.
pub fn id() -> u32 {
    // SAFETY: getpid takes nothing and cannot fail.
    unsafe { libc::getpid() as u32 }
}

/// Whether this program has privileges that the user who started it lacks: it is set-user-ID or set-group-ID, or has
/// capabilities of its own. Then its arguments and its environment must not be trusted.
pub fn is_privileged() -> bool {
    // SAFETY: getauxval looks up an entry that the kernel provided, and this one exists on every Linux.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}

/// Removes a variable from the environment that this process was started with, so that programs it starts do not
/// inherit it.
pub fn forget_variable(name: &str) {
    // SAFETY: std's lock synchronizes this with all accesses to the environment through std. C code that reads the
    // environment without that lock may run concurrently with `unsetenv`; that of glibc and musl shifts pointers within
    // an array that stays in place, and frees no string that the process was started with, so such code sees either the
    // old environment or the new one.
    unsafe { std::env::remove_var(name) }
}

/// The kernel's ID of this thread. It costs a system call once per thread, and again after a `fork`.
#[inline]
pub fn thread_id() -> u32 {
    thread_id_in(epoch())
}

/// As [`thread_id`], for a caller that has just read the [`epoch`].
#[inline(always)]
pub fn thread_id_in(epoch: u64) -> u32 {
    match KNOWN.get() {
        (at, id) if at == epoch && epoch != 0 => id,
        _ => ask_thread_id(epoch),
    }
}

#[cold]
fn ask_thread_id(epoch: u64) -> u32 {
    // SAFETY: gettid takes nothing and cannot fail.
    let id = unsafe { libc::syscall(libc::SYS_gettid) as u32 };
    KNOWN.set((epoch, id));
    id
}

thread_local! {
    /// The ID of this thread, and the epoch in which it was read.
    static KNOWN: Cell<(u64, u32)> = const { Cell::new((0, 0)) };
}

/// The epoch of this process, in a page that is wiped by `fork`.
static EPOCH: AtomicPtr<AtomicU64> = AtomicPtr::new(ptr::null_mut());
/// The last epoch of this process or, inherited, of one of its ancestors.
static EPOCHS: AtomicU64 = AtomicU64::new(0);

/// A number that differs between a forked child and all its ancestors, so that facts established in an ancestor are not
/// taken for true in the child. It works however the child was created: the kernel wipes the page that holds the
/// number. 0 if there is no memory for the page; then no such fact may be trusted.
#[inline]
pub fn epoch() -> u64 {
    let Some(page) = NonNull::new(EPOCH.load(Ordering::Acquire)) else { return begin_epoch() };
    // SAFETY: EPOCH is null or a mapping that is never unmapped; zeros, as after a fork, are a valid word.
    match unsafe { page.as_ref() }.load(Ordering::Relaxed) {
        0 => begin_epoch(),
        epoch => epoch,
    }
}

/// Whether `number`, which is not 0, is the current [`epoch`].
#[inline(always)]
pub fn is_epoch(number: u64) -> bool {
    // SAFETY: as in `epoch`.
    let page = NonNull::new(EPOCH.load(Ordering::Acquire)).map(|page| unsafe { page.as_ref() });
    page.is_some_and(|page| page.load(Ordering::Relaxed) == number)
}

#[cold]
fn begin_epoch() -> u64 {
    let mut page = EPOCH.load(Ordering::Acquire);
    if page.is_null() {
        let Ok(fresh) = super::memory::wiped_on_fork() else { return 0 };
        let fresh = fresh.cast().as_ptr();
        page = match EPOCH.compare_exchange(page, fresh, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => {
                // For sandboxes that do not wipe pages. If this fails, those have no remedy.
                let _ = at_fork(nothing, nothing, wipe);
                fresh
            }
            // Two threads raced: the other one's page is used, and this one is leaked, once.
            Err(first) => first,
        };
    }
    // SAFETY: as in `epoch`.
    let page = unsafe { &*page };
    let next = EPOCHS.fetch_add(1, Ordering::Relaxed) + 1;
    match page.compare_exchange(0, next, Ordering::Relaxed, Ordering::Relaxed) {
        Ok(_) => next,
        Err(first) => first,
    }
}

extern "C" fn nothing() {}

extern "C" fn wipe() {
    if let Some(page) = NonNull::new(EPOCH.load(Ordering::Acquire)) {
        // SAFETY: as in `epoch`.
        unsafe { page.as_ref() }.store(0, Ordering::Relaxed);
    }
}

/// When the process `pid` started, in clock ticks since boot; None if it is gone or `/proc` is unavailable.
pub fn start_time(pid: u32) -> Option<u64> {
    stat(pid)?.start
}

/// The contents of `/proc/PID/stat`.
struct Stat {
    state: u8,
    threads: Option<usize>,
    start: Option<u64>,
}

fn stat(pid: u32) -> Option<Stat> {
    // A single read: the line has some three hundred bytes, and this runs at every start of a process.
    let mut line = [0; 1024];
    let len = fs::File::open(format!("/proc/{pid}/stat")).ok()?.read(&mut line).ok()?;
    // The name is in parentheses and may contain parentheses itself; the last one closes it.
    let line = &line[..len];
    let after = &line[line.iter().rposition(|&b| b == b')')? + 1..];
    let mut fields = after.split(|b| b.is_ascii_whitespace()).filter(|f| !f.is_empty());
    // `state` is field 3, `num_threads` 20, `starttime` 22.
    let state = *fields.next()?.first()?;
    let mut number = |nth| fields.nth(nth).and_then(|f| core::str::from_utf8(f).ok()?.parse().ok());
    let threads = number(16).map(|n: u64| n as usize);
    Some(Stat { state, threads, start: number(1) })
}

/// Whether the process that had the ID `pid` when it started at `start` (None: at any time) is still running.
///
/// A zombie is not: it answers `kill(pid, 0)` and keeps its start time, but its pidfd is readable. If the answer cannot
/// be determined it is yes, since taking from a live process is worse than waiting for a dead one.
pub fn is_alive(pid: u32, start: Option<u64>) -> bool {
    // The pidfd first, the start time second: if the ID is reused for another process in between, the start time read
    // is that of the other process.
    match open(pid) {
        Ok(fd) => {
            let mut p = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
            // SAFETY: `p` is one valid pollfd.
            let ended = unsafe { libc::poll(&mut p, 1, 0) } > 0 && p.revents & libc::POLLIN != 0;
            !ended && same_start(start, stat(pid).and_then(|s| s.start))
        }
        Err(e) => match e.raw_os_error() {
            // EINVAL: the ID is that of a thread, not of a process.
            Some(libc::ESRCH | libc::EINVAL) => false,
            _ => is_alive_without_descriptor(pid, start),
        },
    }
}

/// For kernels and sandboxes without `pidfd_open`, and for a process that has no descriptor left.
fn is_alive_without_descriptor(pid: u32, start: Option<u64>) -> bool {
    if let Some(stat) = stat(pid) {
        return !matches!(stat.state, b'Z' | b'X' | b'x') && same_start(start, stat.start);
    }
    // SAFETY: signal 0 only checks.
    let r = unsafe { libc::kill(pid as libc::pid_t, 0) };
    r == 0 || io::Error::last_os_error().raw_os_error() != Some(libc::ESRCH)
}

fn same_start(expected: Option<u64>, found: Option<u64>) -> bool {
    match (expected, found) {
        (Some(a), Some(b)) => a == b,
        _ => true,
    }
}

/// Opens a pidfd: a close-on-exec descriptor that is readable once the process has ended.
///
/// # Errors
/// If there is no such process, no descriptor is left, or the system lacks or forbids `pidfd_open`.
pub fn open(pid: u32) -> io::Result<OwnedFd> {
    // SAFETY: pidfd_open takes two integers; its descriptor is close-on-exec by default.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid as libc::pid_t, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: created above, and unknown to other code.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Sends a signal to the process of a pidfd.
///
/// # Errors
/// If the process has been reaped (`ESRCH`), this is not a pidfd (`EBADF`), this process may not signal that one, or
/// the signal does not exist.
pub fn signal(fd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    let sender = ptr::null::<libc::siginfo_t>();
    // SAFETY: a live descriptor, integers, and a null pointer, for which the kernel fills in the sender.
    let r = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd.as_raw_fd(), signal, sender, 0) };
    if r == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Whether thread `thread` of the live process `pid` exists. Threads also vanish when their process executes another
/// program. If the answer cannot be determined it is yes. No thread has ID 0.
pub fn thread_exists(pid: u32, thread: u32) -> bool {
    if thread == 0 {
        return false;
    }
    // SAFETY: signal 0 only checks.
    let r = unsafe { libc::syscall(libc::SYS_tgkill, pid as libc::pid_t, thread as libc::pid_t, 0) };
    r == 0 || io::Error::last_os_error().raw_os_error() != Some(libc::ESRCH)
}

/// The number of threads of this process; None if `/proc` is unavailable.
pub fn thread_count() -> Option<usize> {
    stat(id())?.threads
}

/// The resident memory of process `pid` in bytes; None if it is gone or `/proc` is unavailable.
pub fn resident(pid: u32) -> Option<u64> {
    let line = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let pages: u64 = line.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(pages * super::memory::page_size() as u64)
}

/// A number that identifies this process's PID namespace; None if `/proc` is unavailable.
pub fn namespace() -> Option<u64> {
    fs::metadata("/proc/self/ns/pid").ok().map(|m| m.ino())
}

/// Forks this process. Returns the child's ID, and 0 in the child.
///
/// # Safety
/// The child has only this thread. Whatever other threads hold, for example a lock of another library, is held for ever
/// there. The caller sees to it that the child uses nothing of that.
///
/// # Errors
/// If the limit on processes is reached, or there is no memory.
pub unsafe fn fork() -> io::Result<u32> {
    // SAFETY: the caller's promise.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        pid => Ok(pid as u32),
    }
}

/// Runs `prepare` before each `fork` of this process, then `parent` in this process and `child` in the new one.
///
/// # Errors
/// Only if there is no memory.
pub fn at_fork(prepare: extern "C" fn(), parent: extern "C" fn(), child: extern "C" fn()) -> io::Result<()> {
    // SAFETY: three functions that live as long as the program.
    match unsafe { libc::pthread_atfork(Some(prepare), Some(parent), Some(child)) } {
        0 => Ok(()),
        e => Err(io::Error::from_raw_os_error(e)),
    }
}
