//! Ending together with another process, and surviving a broken pipe.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Has the kernel send SIGKILL to this process when the last write end of the pipe with the read end `life` closes,
/// that is, when the process that holds the write end ends. This works even in the middle of a C call, and needs no
/// thread.
///
/// It follows the *process* that holds the write end, whereas `PR_SET_PDEATHSIG` would follow the thread that started
/// us. If the pipe is closed already, this process is killed here.
///
/// # Errors
/// Those of `fcntl`, if `life` is not a pipe or socket.
pub fn die_with(life: BorrowedFd<'_>) -> io::Result<()> {
    let fd = life.as_raw_fd();
    let check = |r: i32| if r < 0 { Err(io::Error::last_os_error()) } else { Ok(r) };
    // SAFETY: plain fcntl calls with integers on a descriptor that is borrowed for the whole function.
    unsafe {
        check(libc::fcntl(fd, libc::F_SETOWN, libc::getpid()))?;
        check(libc::fcntl(fd, F_SETSIG, libc::SIGKILL))?;
        let flags = check(libc::fcntl(fd, libc::F_GETFL))?;
        check(libc::fcntl(fd, libc::F_SETFL, flags | libc::O_ASYNC))?;
    }
    // The signal is sent on the *change*; if the holder ended before this call, only polling reveals it.
    let mut p = libc::pollfd { fd, events: 0, revents: 0 };
    // SAFETY: `p` is one valid pollfd.
    let n = unsafe { libc::poll(&mut p, 1, 0) };
    if n > 0 && p.revents & (libc::POLLHUP | libc::POLLERR) != 0 {
        // SAFETY: kill takes two integers; ending this process is what was requested.
        unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
    }
    Ok(())
}

/// Makes a write to a pipe or socket without a reader fail with an error, instead of ending this process. Rust's own
/// startup code does the same before `main`.
pub fn ignore_broken_pipes() {
    // SAFETY: sets the disposition of a signal; no handler runs.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
}

/// From the kernel's uapi; the `libc` crate lacks it for some targets.
const F_SETSIG: libc::c_int = 10;
