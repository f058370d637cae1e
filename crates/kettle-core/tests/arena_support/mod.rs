//! Processes for the tests: each test runs in a forked process, so that it begins a session of its own.
#![allow(dead_code, unreachable_pub)]

use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};

use kettle_core::arena::Session;

/// The limit for any test; a test that hangs is killed by SIGALRM and thus fails.
const WATCHDOG_SECONDS: u32 = 60;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    Exited(i32),
    Killed(i32),
}

/// A process started by the test.
pub struct Child {
    pid: libc::pid_t,
}

impl Child {
    /// Forks; the child runs `body` and exits with 0, or with 101 if it panics.
    pub fn fork(body: impl FnOnce()) -> Self {
        // SAFETY: the child runs only `body`, which allocates (glibc allows that after fork) but joins no thread.
        let pid = unsafe { libc::fork() };
        assert!(pid >= 0, "fork: {}", io::Error::last_os_error());
        if pid == 0 {
            run(body);
        }
        Self { pid }
    }

    pub fn pid(&self) -> u32 {
        self.pid as u32
    }

    /// Waits for the process to end, and reaps it.
    pub fn wait(self) -> Ended {
        let mut status = 0;
        loop {
            // SAFETY: `status` is a valid place for one integer.
            let r = unsafe { libc::waitpid(self.pid, &mut status, 0) };
            if r == self.pid {
                break;
            }
            assert_eq!(io::Error::last_os_error().kind(), io::ErrorKind::Interrupted);
        }
        if libc::WIFEXITED(status) {
            Ended::Exited(libc::WEXITSTATUS(status))
        } else {
            Ended::Killed(libc::WTERMSIG(status))
        }
    }

    /// Waits for the process to end, but leaves it as a zombie.
    pub fn wait_unreaped(&self) {
        // SAFETY: all zeros is a valid siginfo_t, which the kernel fills.
        let mut info: libc::siginfo_t = unsafe { core::mem::zeroed() };
        // SAFETY: `info` is a valid place for one siginfo_t.
        let r = unsafe { libc::waitid(libc::P_PID, self.pid as libc::id_t, &mut info, libc::WEXITED | libc::WNOWAIT) };
        assert_eq!(r, 0, "waitid: {}", io::Error::last_os_error());
    }

    pub fn succeeds(self) {
        assert_eq!(self.wait(), Ended::Exited(0));
    }

    pub fn kill(&self) {
        // SAFETY: kill takes two integers; the process is ours and not yet reaped.
        unsafe { libc::kill(self.pid, libc::SIGKILL) };
    }

    /// Kills the process and reaps it.
    pub fn kill_and_wait(self) {
        self.kill();
        assert_eq!(self.wait(), Ended::Killed(libc::SIGKILL));
    }
}

/// Reports panics of children on standard error, since the test runner's captured output does not extend to other
/// processes.
///
/// Installed once, in the test runner's process: a child forked while another thread panics could not install it.
fn tell_panics_of_children() {
    static TOLD: Once = Once::new();
    TOLD.call_once(|| {
        let runner = std::process::id();
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let me = std::process::id();
            if me == runner {
                return before(info);
            }
            let seed = SEED.load(Ordering::Relaxed);
            let text = format!("[child {me}, KETTLE_TEST_SEED={seed}] {info}\n");
            // SAFETY: the buffer is valid for its length.
            unsafe { libc::write(2, text.as_ptr().cast(), text.len()) };
        }));
    });
}

fn run(body: impl FnOnce()) -> ! {
    // SAFETY: alarm takes an integer; the default action of its signal, which ends this process, is unchanged.
    unsafe { libc::alarm(WATCHDOG_SECONDS) };
    let code = if panic::catch_unwind(AssertUnwindSafe(body)).is_ok() { 0 } else { 101 };
    // SAFETY: _exit takes an integer and does not return; the parent's exit handlers must not run here.
    unsafe { libc::_exit(code) }
}

/// Runs a test in a process of its own that has no session yet.
pub fn alone(body: impl FnOnce()) {
    tell_panics_of_children();
    Child::fork(body).succeeds();
}

/// A pipe as a signal between processes: each value written is read once.
pub struct Gate {
    ends: [libc::c_int; 2],
}

impl Gate {
    pub fn new() -> Self {
        let mut ends = [0; 2];
        // SAFETY: `ends` is a valid place for two descriptors.
        assert_eq!(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) }, 0);
        Self { ends }
    }

    pub fn tell(&self, word: u64) {
        // SAFETY: eight valid bytes.
        assert_eq!(unsafe { libc::write(self.ends[1], word.to_ne_bytes().as_ptr().cast(), 8) }, 8);
    }

    pub fn hear(&self) -> u64 {
        let mut bytes = [0; 8];
        // SAFETY: a valid place for eight bytes.
        assert_eq!(unsafe { libc::read(self.ends[0], bytes.as_mut_ptr().cast(), 8) }, 8);
        u64::from_ne_bytes(bytes)
    }

    pub fn open(&self) {
        self.tell(0);
    }

    pub fn pass(&self) {
        self.hear();
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        for fd in self.ends {
            // SAFETY: our own descriptor, closed once.
            unsafe { libc::close(fd) };
        }
    }
}

/// Joins the session that this process's parent began after forking it, as a program does that was executed with the
/// session's descriptor.
pub fn attach_to_parent(descriptor: u64) -> Session {
    let path = format!("/proc/{}/fd/{descriptor}", std::os::unix::process::parent_id());
    let file = std::fs::File::options().read(true).write(true).open(path).unwrap();
    Session::attach(file.into()).unwrap()
}

/// Sleeps until the process is killed.
pub fn sleep_for_ever() -> ! {
    loop {
        // SAFETY: pause takes nothing.
        unsafe { libc::pause() };
    }
}

/// The seed, printed when a test fails.
static SEED: AtomicU64 = AtomicU64::new(0);

/// A small random number generator; `KETTLE_TEST_SEED` sets the seed.
pub struct Random(u64);

impl Random {
    pub fn seeded() -> Self {
        let seed = std::env::var("KETTLE_TEST_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or_else(|| {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
            now.as_nanos() as u64
        });
        SEED.store(seed, Ordering::Relaxed);
        Self(seed)
    }

    pub fn from(seed: u64) -> Self {
        Self(seed)
    }

    pub fn word(&mut self) -> u64 {
        // splitmix64
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.word() % n
    }
}
