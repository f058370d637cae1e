//! Who am I; does that one, started then, still live.

use core::cell::Cell;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use std::fs;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;

/// The number of this process.
pub fn id() -> u32 {
    // SAFETY: getpid takes nothing and cannot fail.
    unsafe { libc::getpid() as u32 }
}

/// Whether this program has rights that the one who started it does not have: it is set-user-id, set-group-id, or has
/// capabilities of its own. Then its arguments and its environment are not to be trusted.
pub fn is_privileged() -> bool {
    // SAFETY: getauxval looks a number up in what the kernel handed over, and knows this one on every Linux.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}

/// Takes a variable out of the environment that this process was started with, so that programs which it starts do not
/// get it.
pub fn forget_variable(name: &str) {
    // SAFETY: std's lock keeps this apart from all that reads or writes the environment through std. C code that reads it
    // without that lock meets `unsetenv`, of glibc or musl, which moves pointers up in an array that stays where it is,
    // and frees no string that the process was started with: it reads the old environment or the new one.
    unsafe { std::env::remove_var(name) }
}

/// The kernel's number of this thread. It costs a system call once per thread, and again after `fork`.
#[inline]
pub fn thread_id() -> u32 {
    thread_id_in(epoch())
}

/// As [`thread_id`], for a caller that has just asked for the [`epoch`].
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
    /// The number of this thread, and in which epoch it was asked for.
    static KNOWN: Cell<(u64, u32)> = const { Cell::new((0, 0)) };
}

/// The epoch of this process, in a page that is wiped at `fork`.
static EPOCH: AtomicPtr<AtomicU64> = AtomicPtr::new(ptr::null_mut());
/// The last epoch of this process or, by inheritance, of one of its ancestors.
static EPOCHS: AtomicU64 = AtomicU64::new(0);

/// A number that is another one in each forked child than in all its ancestors, so that what was found out in an
/// ancestor is not taken for true. However the child was made: the kernel wipes the page where the number stands.
/// 0 when there is no memory for a page: then trust nothing.
#[inline]
pub fn epoch() -> u64 {
    let Some(page) = NonNull::new(EPOCH.load(Ordering::Acquire)) else { return begin_epoch() };
    // SAFETY: EPOCH is null or a mapping that is never taken back; zeros, as after a fork, are a valid word.
    match unsafe { page.as_ref() }.load(Ordering::Relaxed) {
        0 => begin_epoch(),
        epoch => epoch,
    }
}

/// Whether `number`, which is not 0, is the present [`epoch`].
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
                // For sandboxes that do not wipe pages. Failing, there is no remedy for those.
                let _ = at_fork(nothing, nothing, wipe);
                fresh
            }
            // Two threads at once: the other's page it is, and this one is lost, once.
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

/// When the process `pid` was started, in clock ticks since boot; None if it is gone or `/proc` does not tell.
pub fn start_time(pid: u32) -> Option<u64> {
    stat(pid)?.start
}

/// What `/proc/PID/stat` tells.
struct Stat {
    state: u8,
    threads: Option<usize>,
    start: Option<u64>,
}

fn stat(pid: u32) -> Option<Stat> {
    // In one read: the line is some three hundred bytes, and this is done at every start of a process.
    let mut line = [0; 1024];
    let len = fs::File::open(format!("/proc/{pid}/stat")).ok()?.read(&mut line).ok()?;
    // The name stands in parentheses and may itself hold any of them: the last one closes it.
    let line = &line[..len];
    let after = &line[line.iter().rposition(|&b| b == b')')? + 1..];
    let mut fields = after.split(|b| b.is_ascii_whitespace()).filter(|f| !f.is_empty());
    // `state` is field 3, `num_threads` 20, `starttime` 22.
    let state = *fields.next()?.first()?;
    let mut number = |nth| fields.nth(nth).and_then(|f| core::str::from_utf8(f).ok()?.parse().ok());
    let threads = number(16).map(|n: u64| n as usize);
    Some(Stat { state, threads, start: number(1) })
}

/// Whether the process that had the number `pid` when it started at `start` (None: whenever) still runs.
///
/// A zombie does not: it answers `kill(pid, 0)` and keeps its start time, but its descriptor is readable. When
/// nothing can be found out, the answer is yes: to take from the living is worse than to wait for the dead.
pub fn is_alive(pid: u32, start: Option<u64>) -> bool {
    // The descriptor first, the start time second: if the number is given to another process in between, the start
    // time that we read is the other's.
    match open(pid) {
        Ok(fd) => {
            let mut p = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
            // SAFETY: `p` is one valid pollfd.
            let ended = unsafe { libc::poll(&mut p, 1, 0) } > 0 && p.revents & libc::POLLIN != 0;
            !ended && same_start(start, stat(pid).and_then(|s| s.start))
        }
        Err(e) => match e.raw_os_error() {
            // EINVAL: the number belongs to a thread, not to a process.
            Some(libc::ESRCH | libc::EINVAL) => false,
            _ => is_alive_without_descriptor(pid, start),
        },
    }
}

/// For kernels and sandboxes without `pidfd_open`, and for a process with no descriptor left.
fn is_alive_without_descriptor(pid: u32, start: Option<u64>) -> bool {
    if let Some(stat) = stat(pid) {
        return !matches!(stat.state, b'Z' | b'X' | b'x') && same_start(start, stat.start);
    }
    // SAFETY: signal 0 only asks.
    let r = unsafe { libc::kill(pid as libc::pid_t, 0) };
    r == 0 || io::Error::last_os_error().raw_os_error() != Some(libc::ESRCH)
}

fn same_start(expected: Option<u64>, found: Option<u64>) -> bool {
    match (expected, found) {
        (Some(a), Some(b)) => a == b,
        _ => true,
    }
}

pub(super) fn open(pid: u32) -> io::Result<OwnedFd> {
    // SAFETY: pidfd_open takes two integers; the descriptor is closed on exec by itself.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid as libc::pid_t, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was made just now and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Whether thread `thread` of the living process `pid` exists. Threads also vanish when their process executes
/// another program. When it cannot be found out, the answer is yes. Number 0 is no thread's.
pub fn thread_exists(pid: u32, thread: u32) -> bool {
    if thread == 0 {
        return false;
    }
    // SAFETY: signal 0 only asks.
    let r = unsafe { libc::syscall(libc::SYS_tgkill, pid as libc::pid_t, thread as libc::pid_t, 0) };
    r == 0 || io::Error::last_os_error().raw_os_error() != Some(libc::ESRCH)
}

/// How many threads this process has; None where `/proc` does not tell.
pub fn thread_count() -> Option<usize> {
    stat(id())?.threads
}

/// How many bytes of memory the process `pid` has resident; None if it is gone or `/proc` does not tell.
pub fn resident(pid: u32) -> Option<u64> {
    let line = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let pages: u64 = line.split_ascii_whitespace().nth(1)?.parse().ok()?;
    // SAFETY: takes an integer and only tells a number.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    Some(pages * u64::try_from(page).ok()?)
}

/// A number for the namespace in which process numbers have their meaning; None where `/proc` does not tell.
pub fn namespace() -> Option<u64> {
    fs::metadata("/proc/self/ns/pid").ok().map(|m| m.ino())
}

/// Has `prepare` run before each `fork` of this process, then `parent` in it and `child` in the new one.
///
/// # Errors
/// Only for lack of memory.
pub fn at_fork(prepare: extern "C" fn(), parent: extern "C" fn(), child: extern "C" fn()) -> io::Result<()> {
    // SAFETY: three functions that live as long as the program.
    match unsafe { libc::pthread_atfork(Some(prepare), Some(parent), Some(child)) } {
        0 => Ok(()),
        e => Err(io::Error::from_raw_os_error(e)),
    }
}
