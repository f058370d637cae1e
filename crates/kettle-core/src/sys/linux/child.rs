//! Starting a process with chosen descriptors, watching it, and what it does first when it runs.

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
use super::process;
use super::socket::{self, Watch};

/// A process that this one started.
///
/// Dropping it does nothing to the process; who wants no zombie calls [`try_reap`](Self::try_reap) first.
#[derive(Debug)]
pub struct Child {
    pid: u32,
    /// A pidfd; of one that was over and reaped before it could be watched, the end of a pipe without writers.
    fd: KnownFd,
    /// Somebody looked, and it was not ours any more.
    is_lost: AtomicBool,
}

const WATCHED: &str = "what watches a child process";

impl Child {
    fn new(pid: u32, fd: OwnedFd) -> Self {
        Self { pid, fd: KnownFd::new(fd, WATCHED), is_lost: AtomicBool::new(false) }
    }

    /// Starts `program`. Every descriptor in `inherited` has the same number there; all others that are closed on exec
    /// are closed. The new process has no signal blocked, and `SIGPIPE` has its default meaning.
    ///
    /// This does not `fork`: handlers that were set up for that do not run, and its cost does not depend on how much
    /// memory this process has.
    ///
    /// # Errors
    /// What the system says.
    pub fn start(
        program: &CStr,
        arguments: &[CString],
        environment: &[CString],
        inherited: &[BorrowedFd<'_>],
    ) -> io::Result<Self> {
        let mut actions = Actions::new()?;
        for fd in inherited {
            actions.keep(*fd)?;
        }
        let attributes = Attributes::new()?;
        let argv = pointers(arguments);
        let numbers: Vec<_> = inherited.iter().map(|fd| fd.as_raw_fd().to_string()).collect();
        let told = CString::new(format!("{INHERITED}{}", numbers.join(",")))?;
        let is_older = |entry: &&CString| entry.as_bytes().starts_with(INHERITED.as_bytes());
        let envp = pointers(environment.iter().filter(|entry| !is_older(entry)).chain([&told]));
        let mut pid: libc::pid_t = 0;
        // SAFETY: the program is a C string; both lists end with a null pointer and point at C strings that outlive
        // the call; actions and attributes are initialised; posix_spawn only reads them.
        check(unsafe {
            libc::posix_spawn(&mut pid, program.as_ptr(), &actions.0, &attributes.0, argv.as_ptr(), envp.as_ptr())
        })?;
        match process::open(pid as u32) {
            Ok(fd) => Ok(Self::new(pid as u32, fd)),
            // Over, and reaped: this process ignores SIGCHLD, or another thread waits for any child.
            Err(e) if e.raw_os_error() == Some(libc::ESRCH) => Ok(Self::new(pid as u32, pipe()?.0)),
            Err(e) => {
                // Not to be watched, so not to be left running.
                if is_unreaped(pid as u32) {
                    // SAFETY: integers, and a null pointer where the status is not wanted.
                    unsafe {
                        libc::kill(pid, libc::SIGKILL);
                        libc::waitpid(pid, ptr::null_mut(), 0);
                    }
                }
                Err(e)
            }
        }
    }

    /// A process that was started by other means, as long as nobody has reaped it. One that this process did not start
    /// itself can be watched and signalled, but not reaped.
    ///
    /// # Errors
    /// When there is no such process, or no descriptor left.
    pub fn adopt(pid: u32) -> io::Result<Self> {
        Ok(Self::new(pid, process::open(pid)?))
    }

    /// A process that was started by other means and is watched by the caller, through `fd`: a pidfd or, of one
    /// that was over and reaped before it could be watched, a descriptor that is readable. So it does not matter whether
    /// its number belongs to another process by now.
    ///
    /// # Errors
    /// When `fd` is not open, or no descriptor is left.
    pub fn watched_through(pid: u32, fd: RawFd) -> io::Result<Self> {
        // SAFETY: integers only.
        let copy = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 0) };
        if copy < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: made just now, and nobody else knows it.
        Ok(Self::new(pid, unsafe { OwnedFd::from_raw_fd(copy) }))
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Looks whether what watches it is still there, or the program closed it.
    pub fn is_watched(&self) -> bool {
        let ours = self.fd.is_ours();
        if !ours {
            self.is_lost.store(true, Ordering::Relaxed);
        }
        ours
    }

    /// To be woken by its end. None once [`is_watched`](Self::is_watched) or [`has_ended`](Self::has_ended) found that the
    /// program closed the descriptor: then `has_ended` is to be asked now and then.
    pub fn watch(&self) -> Option<Watch> {
        (!self.is_lost.load(Ordering::Relaxed)).then(|| Watch::readable(self.fd.as_raw_fd()))
    }

    /// Whether it has ended; it may be a zombie still, or be reaped.
    pub fn has_ended(&self) -> bool {
        match self.descriptor() {
            Ok(fd) => {
                let mut watched = [Watch::readable(fd.as_fd().as_raw_fd())];
                matches!(socket::poll(&mut watched, Duration::ZERO), Ok(1..))
            }
            Err(_) => !process::is_alive(self.pid, None),
        }
    }

    /// The descriptor. Where the program closed it, another one, if this is a child that nobody has reaped, so that the
    /// number is still its.
    fn descriptor(&self) -> io::Result<Pidfd<'_>> {
        if self.is_watched() {
            Ok(Pidfd::Kept(self.fd.as_fd()))
        } else if is_unreaped(self.pid) {
            process::open(self.pid).map(Pidfd::Fresh)
        } else {
            Err(self.fd.lost().into())
        }
    }

    /// Sends it a signal; nothing if it has ended. The signal cannot reach another process that got its number.
    ///
    /// # Errors
    /// When it must not be signalled (it changed its user, say), or the signal does not exist.
    pub fn signal(&self, signal: i32) -> io::Result<()> {
        let fd = self.descriptor()?;
        let fd = fd.as_fd().as_raw_fd();
        // SAFETY: a descriptor that lives, integers, and a null pointer where the kernel is to fill in the sender.
        let r = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, signal, ptr::null::<libc::siginfo_t>(), 0) };
        if r == 0 {
            return Ok(());
        }
        match io::Error::last_os_error() {
            // EBADF: it was over before it could be watched, so this is no pidfd.
            e if matches!(e.raw_os_error(), Some(libc::ESRCH | libc::EBADF)) => Ok(()),
            e => Err(e),
        }
    }

    /// If it has ended: how, as `wait` would tell; and it is no zombie any more. To be called until it gives something.
    ///
    /// # Errors
    /// When something else reaped it, or this process ignores `SIGCHLD`: then it cannot be known how it ended.
    pub fn try_reap(&self) -> io::Result<Option<i32>> {
        // SAFETY: siginfo_t is plain old data, for which all zeroes is a valid value.
        let mut info: libc::siginfo_t = unsafe { core::mem::zeroed() };
        let fd = self.descriptor()?;
        let fd = fd.as_fd().as_raw_fd() as libc::id_t;
        // SAFETY: the descriptor lives, and `info` is a valid place for one siginfo_t.
        let r = unsafe { libc::waitid(libc::P_PIDFD, fd, &mut info, libc::WEXITED | libc::WNOHANG) };
        if r < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: waitid filled in the fields of a SIGCHLD, or left the number zero.
        let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
        Ok((pid != 0).then_some(match info.si_code {
            libc::CLD_EXITED => (status & 0xff) << 8,
            libc::CLD_DUMPED => status | 0x80,
            _ => status,
        }))
    }
}

/// Whether it is a child of this process that has not been reaped, so that the number is still its.
fn is_unreaped(pid: u32) -> bool {
    // SAFETY: siginfo_t is plain old data, for which all zeroes is a valid value.
    let mut info: libc::siginfo_t = unsafe { core::mem::zeroed() };
    let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: `info` is a valid place for one siginfo_t.
    unsafe { libc::waitid(libc::P_PID, pid as libc::id_t, &mut info, flags) == 0 }
}

/// What watches a process: the descriptor that is kept, or one for the moment.
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
    /// Readable when it has ended. Without a look whether it is still ours: see [`watch`](Self::watch).
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
        // SAFETY: the place is valid; on success it is initialised.
        unsafe {
            check(libc::posix_spawn_file_actions_init(actions.as_mut_ptr()))?;
            Ok(Self(actions.assume_init()))
        }
    }

    fn keep(&mut self, fd: BorrowedFd<'_>) -> io::Result<()> {
        let fd = fd.as_raw_fd();
        // SAFETY: initialised in `new`. A descriptor that is duplicated onto itself only loses its close-on-exec.
        check(unsafe { libc::posix_spawn_file_actions_adddup2(&mut self.0, fd, fd) })
    }
}

impl Drop for Actions {
    fn drop(&mut self) {
        // SAFETY: initialised in `new`, and not used any more.
        unsafe { libc::posix_spawn_file_actions_destroy(&mut self.0) };
    }
}

struct Attributes(libc::posix_spawnattr_t);

impl Attributes {
    fn new() -> io::Result<Self> {
        let mut attributes = MaybeUninit::uninit();
        // SAFETY: the places are valid; `init` and `sigemptyset` initialise what they are given.
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
        // SAFETY: initialised in `new`, and not used any more.
        unsafe { libc::posix_spawnattr_destroy(&mut self.0) };
    }
}

/// A pipe: the end to read from, the end to write to. Both are closed on exec.
///
/// # Errors
/// When descriptors have run out.
pub fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut fds = [-1; 2];
    // SAFETY: `fds` has room for two descriptors.
    if unsafe { libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: fresh descriptors that nobody else owns.
    let [reader, writer] = fds.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
    Ok((reader, writer))
}

/// Where [`Child::start`] tells the new process which descriptors are handed over to it.
const INHERITED: &str = "KETTLE_INHERITED=";

/// Takes possession of a descriptor that [`Child::start`] handed over to this process; from now on it is closed on exec.
///
/// # Errors
/// When there is no such descriptor, it was not handed over, or it was taken before.
pub fn take_inherited(fd: RawFd) -> io::Result<OwnedFd> {
    static TAKEN: Mutex<Vec<RawFd>> = Mutex::new(Vec::new());
    // What the process began with, whatever the program has done to its environment since.
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
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "this descriptor was not inherited, or is taken"));
    }
    taken.push(fd);
    // SAFETY: integers only.
    unsafe { libc::fcntl(fd, libc::F_SETFD, flags | libc::FD_CLOEXEC) };
    // SAFETY: the process that executed this one left it open for whoever takes it here, and said so in the environment
    // that no one can change any more; each is given once. Nothing else here owns it, since nothing here opened it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The name under which tools list this process, whatever thread says so; its first fifteen bytes count.
///
/// # Errors
/// When `/proc` is not there.
pub fn set_name(name: &str) -> io::Result<()> {
    std::fs::write("/proc/self/comm", name)
}

/// Has `last` run when this process ends by returning from `main` or by `exit`; not when it is killed.
///
/// Thread-local values with destructors are gone by then.
///
/// # Errors
/// When there is no memory for it.
pub fn at_exit(last: extern "C" fn()) -> io::Result<()> {
    // SAFETY: a function that lives as long as the program.
    match unsafe { libc::atexit(last) } {
        0 => Ok(()),
        _ => Err(io::Error::other("no room for another exit handler")),
    }
}
