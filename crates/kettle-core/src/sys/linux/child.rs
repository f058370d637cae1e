//! Starting a process with chosen descriptors, watching it, and what it does first.

use core::ffi::CStr;
use std::ffi::CString;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::descriptor::KnownFd;
pub use super::descriptor::pipe;
use super::process;
use super::socket::{self, Watch};

/// A process that this one started.
///
/// Dropping it does not affect the process; call [`try_reap`](Self::try_reap) first to avoid a zombie.
#[derive(Debug)]
pub struct Child {
    pid: u32,
    /// A pidfd; or the read end of a pipe without writers, if the process ended and was reaped before it could be
    /// watched.
    fd: KnownFd,
    /// A check found that the descriptor was no longer ours.
    is_lost: AtomicBool,
}

/// What a process is started with.
#[derive(Clone, Copy, Debug)]
pub struct Program<'a> {
    /// The file.
    pub path: &'a CStr,
    /// Its arguments; the first one is its name.
    pub arguments: &'a [CString],
    /// `NAME=value`.
    pub environment: &'a [CString],
    /// Where it begins; `None`: where this process is.
    pub directory: Option<&'a CStr>,
    /// Its standard input, output and error; `None`: those of this process. Descriptors above these three.
    pub streams: [Option<BorrowedFd<'a>>; 3],
    /// Descriptors that keep their numbers in the new process. All other close-on-exec descriptors are closed.
    pub inherited: &'a [BorrowedFd<'a>],
}

const WATCHED: &str = "what watches a child process";

impl Child {
    fn new(pid: u32, fd: OwnedFd) -> Self {
        Self { pid, fd: KnownFd::new(fd, WATCHED), is_lost: AtomicBool::new(false) }
    }

    /// Starts `program`. No signal is blocked in it, and `SIGPIPE` has its default action.
    ///
    /// This does not call `fork`: fork handlers do not run, and the cost does not depend on how much memory this
    /// process has.
    ///
    /// # Errors
    /// Those of the system calls; and if a descriptor to be inherited is a standard one that is replaced.
    pub fn start(program: &Program<'_>) -> io::Result<Self> {
        let mut actions = Actions::new()?;
        for fd in program.inherited {
            if program.streams.get(fd.as_raw_fd() as usize).is_some_and(Option::is_some) {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    "a standard stream cannot be replaced while its number is in use for something else: this process \
                     runs without that stream, so open one first",
                ));
            }
            actions.keep(*fd)?;
        }
        for (number, stream) in (0..).zip(&program.streams) {
            if let Some(stream) = stream {
                actions.replace(number, *stream)?;
            }
        }
        if let Some(directory) = program.directory {
            actions.enter(directory)?;
        }
        let attributes = Attributes::new()?;
        let argv = pointers(program.arguments);
        let numbers: Vec<_> = program.inherited.iter().map(|fd| fd.as_raw_fd().to_string()).collect();
        let told = CString::new(format!("{INHERITED}{}", numbers.join(",")))?;
        let is_older = |entry: &&CString| entry.as_bytes().starts_with(INHERITED.as_bytes());
        let envp = pointers(program.environment.iter().filter(|entry| !is_older(entry)).chain([&told]));
        let mut pid: libc::pid_t = 0;
        // SAFETY: the program is a C string; both lists end with a null pointer and point to C strings that outlive the
        // call; actions and attributes are initialized; posix_spawn only reads them.
        check(unsafe {
            libc::posix_spawn(&mut pid, program.path.as_ptr(), &actions.0, &attributes.0, argv.as_ptr(), envp.as_ptr())
        })?;
        match process::open(pid as u32) {
            Ok(fd) => Ok(Self::new(pid as u32, fd)),
            // Ended and reaped already: this process ignores SIGCHLD, or another thread waits for any child.
            Err(e) if e.raw_os_error() == Some(libc::ESRCH) => Ok(Self::new(pid as u32, pipe()?.0)),
            Err(e) => {
                // It cannot be watched, so it must not keep running.
                if is_unreaped(pid as u32) {
                    // SAFETY: integers, and a null pointer since the status is not needed.
                    unsafe {
                        libc::kill(pid, libc::SIGKILL);
                        libc::waitpid(pid, ptr::null_mut(), 0);
                    }
                }
                Err(e)
            }
        }
    }

    /// A process that was started by other means, and has not been reaped. A process that is not a child of this one
    /// can be watched and signalled, but not reaped.
    ///
    /// # Errors
    /// If there is no such process, or no descriptor left.
    pub fn adopt(pid: u32) -> io::Result<Self> {
        Ok(Self::new(pid, process::open(pid)?))
    }

    /// A process that was started by other means and is watched by the caller through `fd`: a pidfd or, if the process
    /// ended and was reaped before it could be watched, a descriptor that is readable. It does not matter whether its
    /// number has been reused for another process.
    ///
    /// # Errors
    /// If `fd` is not open, or no descriptor is left.
    pub fn watched_through(pid: u32, fd: RawFd) -> io::Result<Self> {
        // SAFETY: integers only.
        let copy = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 0) };
        if copy < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: created above, and unknown to other code.
        Ok(Self::new(pid, unsafe { OwnedFd::from_raw_fd(copy) }))
    }

    /// Its process ID.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Checks that the program has not closed the descriptor that watches the process.
    pub fn is_watched(&self) -> bool {
        let ours = self.fd.is_ours();
        if !ours {
            self.is_lost.store(true, Ordering::Relaxed);
        }
        ours
    }

    /// For a sleep that its end is to interrupt. None once [`is_watched`](Self::is_watched) or
    /// [`has_ended`](Self::has_ended) found that the program closed the descriptor: then `has_ended` must be polled.
    pub fn watch(&self) -> Option<Watch> {
        (!self.is_lost.load(Ordering::Relaxed)).then(|| Watch::readable(self.fd.as_raw_fd()))
    }

    /// Whether it has ended. It may still be a zombie, or be reaped.
    pub fn has_ended(&self) -> bool {
        match self.descriptor() {
            Ok(fd) => {
                let mut watched = [Watch::readable(fd.as_fd().as_raw_fd())];
                matches!(socket::poll(&mut watched, Duration::ZERO), Ok(1..))
            }
            Err(_) => !process::is_alive(self.pid, None),
        }
    }

    /// The descriptor. If the program closed it, a new one, provided that this is an unreaped child, whose number is
    /// therefore still valid.
    fn descriptor(&self) -> io::Result<Pidfd<'_>> {
        if self.is_watched() {
            Ok(Pidfd::Kept(self.fd.as_fd()))
        } else if is_unreaped(self.pid) {
            process::open(self.pid).map(Pidfd::Fresh)
        } else {
            Err(self.fd.lost().into())
        }
    }

    /// Sends it a signal; does nothing if it has ended. The signal cannot reach another process that reused its number.
    ///
    /// # Errors
    /// If this process may not signal it (for example because it changed its user), or the signal does not exist.
    pub fn signal(&self, signal: i32) -> io::Result<()> {
        match process::signal(self.descriptor()?.as_fd(), signal) {
            // EBADF: it ended before it could be watched, so this is not a pidfd.
            Err(e) if matches!(e.raw_os_error(), Some(libc::ESRCH | libc::EBADF)) => Ok(()),
            done => done,
        }
    }

    /// If it has ended, reaps it and returns its status as `wait` does. To be called until it returns a status.
    ///
    /// # Errors
    /// If other code reaped it, or this process ignores `SIGCHLD`: then its status cannot be known.
    pub fn try_reap(&self) -> io::Result<Option<i32>> {
        // SAFETY: siginfo_t is plain old data, for which all zeros is a valid value.
        let mut info: libc::siginfo_t = unsafe { core::mem::zeroed() };
        let fd = self.descriptor()?;
        let fd = fd.as_fd().as_raw_fd() as libc::id_t;
        // SAFETY: the descriptor is live, and `info` is a valid place for one siginfo_t.
        let r = unsafe { libc::waitid(libc::P_PIDFD, fd, &mut info, libc::WEXITED | libc::WNOHANG) };
        if r < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: waitid filled in the fields of a SIGCHLD, or left the process ID zero.
        let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
        Ok((pid != 0).then_some(match info.si_code {
            libc::CLD_EXITED => (status & 0xff) << 8,
            libc::CLD_DUMPED => status | 0x80,
            _ => status,
        }))
    }
}

/// Whether it is an unreaped child of this process, so that the number is still its.
fn is_unreaped(pid: u32) -> bool {
    // SAFETY: siginfo_t is plain old data, for which all zeros is a valid value.
    let mut info: libc::siginfo_t = unsafe { core::mem::zeroed() };
    let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: `info` is a valid place for one siginfo_t.
    unsafe { libc::waitid(libc::P_PID, pid as libc::id_t, &mut info, flags) == 0 }
}

/// The descriptor that watches a process: the permanent one, or a temporary one.
enum Pidfd<'a> {
    Kept(BorrowedFd<'a>),
    Fresh(OwnedFd),
}

impl AsFd for Pidfd<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Kept(fd) => *fd,
            Self::Fresh(fd) => fd.as_fd(),
        }
    }
}

impl AsFd for Child {
    /// Readable once the process has ended. Does not check whether it is still ours: see [`watch`](Self::watch).
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn pointers<'a>(strings: impl IntoIterator<Item = &'a CString>) -> Vec<*mut libc::c_char> {
    strings.into_iter().map(|s| s.as_ptr().cast_mut()).chain([ptr::null_mut()]).collect()
}

fn check(error: libc::c_int) -> io::Result<()> {
    if error == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(error)) }
}

struct Actions(libc::posix_spawn_file_actions_t);

impl Actions {
    fn new() -> io::Result<Self> {
        let mut actions = MaybeUninit::uninit();
        // SAFETY: the place is valid; on success it is initialized.
        unsafe {
            check(libc::posix_spawn_file_actions_init(actions.as_mut_ptr()))?;
            Ok(Self(actions.assume_init()))
        }
    }

    fn keep(&mut self, fd: BorrowedFd<'_>) -> io::Result<()> {
        let fd = fd.as_raw_fd();
        // SAFETY: initialized in `new`. Duplicating a descriptor onto itself only clears its close-on-exec flag.
        check(unsafe { libc::posix_spawn_file_actions_adddup2(&mut self.0, fd, fd) })
    }
}

impl Actions {
    fn replace(&mut self, number: libc::c_int, fd: BorrowedFd<'_>) -> io::Result<()> {
        // SAFETY: initialized in `new`; integers.
        check(unsafe { libc::posix_spawn_file_actions_adddup2(&mut self.0, fd.as_raw_fd(), number) })
    }

    fn enter(&mut self, directory: &CStr) -> io::Result<()> {
        // SAFETY: initialized in `new`; the path is a C string, and is copied.
        check(unsafe { libc::posix_spawn_file_actions_addchdir_np(&mut self.0, directory.as_ptr()) })
    }
}

impl Drop for Actions {
    fn drop(&mut self) {
        // SAFETY: initialized in `new`, and no longer used.
        unsafe { libc::posix_spawn_file_actions_destroy(&mut self.0) };
    }
}

struct Attributes(libc::posix_spawnattr_t);

impl Attributes {
    fn new() -> io::Result<Self> {
        let mut attributes = MaybeUninit::uninit();
        // SAFETY: the places are valid; `init` and `sigemptyset` initialize their arguments.
        unsafe {
            check(libc::posix_spawnattr_init(attributes.as_mut_ptr()))?;
            let mut this = Self(attributes.assume_init());
            let mut signals = MaybeUninit::uninit();
            libc::sigemptyset(signals.as_mut_ptr());
            check(libc::posix_spawnattr_setsigmask(&mut this.0, signals.as_ptr()))?;
            libc::sigaddset(signals.as_mut_ptr(), libc::SIGPIPE);
            check(libc::posix_spawnattr_setsigdefault(&mut this.0, signals.as_ptr()))?;
            let flags = libc::POSIX_SPAWN_SETSIGMASK | libc::POSIX_SPAWN_SETSIGDEF;
            check(libc::posix_spawnattr_setflags(&mut this.0, flags as libc::c_short))?;
            Ok(this)
        }
    }
}

impl Drop for Attributes {
    fn drop(&mut self) {
        // SAFETY: initialized in `new`, and no longer used.
        unsafe { libc::posix_spawnattr_destroy(&mut self.0) };
    }
}

/// The variable by which [`Child::start`] tells the new process which descriptors it inherits.
const INHERITED: &str = "KETTLE_INHERITED=";

/// Takes ownership of a descriptor that [`Child::start`] passed to this process, and makes it close-on-exec.
///
/// # Errors
/// If there is no such descriptor, if it was not passed, or if it was taken before.
pub fn take_inherited(fd: RawFd) -> io::Result<OwnedFd> {
    static TAKEN: Mutex<Vec<RawFd>> = Mutex::new(Vec::new());
    // The environment that the process started with, regardless of what the program has changed since.
    let environment = std::fs::read("/proc/self/environ")?;
    let told = environment.split(|&b| b == 0).find_map(|entry| entry.strip_prefix(INHERITED.as_bytes()));
    let mut numbers =
        told.unwrap_or_default().split(|&b| b == b',').filter_map(|n| core::str::from_utf8(n).ok()?.parse().ok());
    let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    // SAFETY: integers only.
    let flags = unsafe { libc::fcntl(fd, libc::F_GETFD) };
    if flags < 0 {
        return Err(io::Error::last_os_error());
    }
    if flags & libc::FD_CLOEXEC != 0 || taken.contains(&fd) || !numbers.any(|number: RawFd| number == fd) {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "this descriptor was not inherited, or was taken"));
    }
    taken.push(fd);
    // SAFETY: integers only.
    unsafe { libc::fcntl(fd, libc::F_SETFD, flags | libc::FD_CLOEXEC) };
    // SAFETY: the process that started this one left the descriptor open for this purpose, and recorded that in the
    // initial environment, which can no longer change; each descriptor is returned only once. No other code here owns
    // it, since none opened it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Sets the name under which tools list this process, from any thread; its first fifteen bytes count.
///
/// # Errors
/// If there is no `/proc`.
pub fn set_name(name: &str) -> io::Result<()> {
    std::fs::write("/proc/self/comm", name)
}

/// Runs `last` when this process ends by returning from `main` or by `exit`; not when it is killed.
///
/// By then, thread-local values with destructors have been dropped.
///
/// # Errors
/// If there is no memory for it.
pub fn at_exit(last: extern "C" fn()) -> io::Result<()> {
    // SAFETY: a function that lives as long as the program.
    match unsafe { libc::atexit(last) } {
        0 => Ok(()),
        _ => Err(io::Error::other("no room for another exit handler")),
    }
}
