//! Who am I; does that one, started then, still live.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;

/// The number of this process.
pub fn id() -> u32 {
    // SAFETY: getpid takes nothing and cannot fail.
    unsafe { libc::getpid() as u32 }
}

/// The kernel's number of this thread.
pub fn thread_id() -> u32 {
    // SAFETY: gettid takes nothing and cannot fail.
    unsafe { libc::syscall(libc::SYS_gettid) as u32 }
}

/// When the process `pid` was started, in clock ticks since boot; None if it is gone or `/proc` does not tell.
pub fn start_time(pid: u32) -> Option<u64> {
    stat_fields(pid)?.1
}

/// The state letter and the start time of a process.
fn stat_fields(pid: u32) -> Option<(u8, Option<u64>)> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in parentheses and may itself hold any of them: the last one closes it.
    let after = &stat[stat.iter().rposition(|&b| b == b')')? + 1..];
    let mut fields = after.split(|b| b.is_ascii_whitespace()).filter(|f| !f.is_empty());
    let state = *fields.next()?.first()?;
    // `state` is field 3, `starttime` field 22.
    let start = fields.nth(18).and_then(|f| std::str::from_utf8(f).ok()?.parse().ok());
    Some((state, start))
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
            !ended && same_start(start, stat_fields(pid).and_then(|f| f.1))
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
    if let Some((state, found)) = stat_fields(pid) {
        return !matches!(state, b'Z' | b'X' | b'x') && same_start(start, found);
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

fn open(pid: u32) -> io::Result<OwnedFd> {
    // SAFETY: pidfd_open takes two integers; the descriptor is closed on exec by itself.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid as libc::pid_t, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was made just now and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Whether thread `thread` of the living process `pid` exists. Threads also vanish when their process executes
/// another program. When it cannot be found out, the answer is yes.
pub fn thread_exists(pid: u32, thread: u32) -> bool {
    // SAFETY: signal 0 only asks.
    let r = unsafe { libc::syscall(libc::SYS_tgkill, pid as libc::pid_t, thread as libc::pid_t, 0) };
    r == 0 || io::Error::last_os_error().raw_os_error() != Some(libc::ESRCH)
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
