//! The children of this process: none is left as a zombie, and none without supervision.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::panic::catch_unwind;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};

use kettle_core::arena::{Ticket, participants};
use kettle_core::sys::child::{self, Child};
use kettle_core::sys::descriptor::KnownFd;
use kettle_core::sys::socket::Watch;
use kettle_core::wait::{Patience, WatchError, sleep_on};

/// A child, and what is known of its end.
#[derive(Debug)]
pub(super) struct Supervised {
    child: Child,
    ticket: Ticket,
    name: String,
    daemon: bool,
    outlives: bool,
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    /// It runs, or is a zombie. While this process has the write end, the child lives.
    Started {
        _life: Option<KnownFd>,
    },
    Reaped(ExitStatus),
    /// It was reaped elsewhere: an error number.
    Lost(Option<i32>),
}

impl Supervised {
    pub(super) fn new(
        child: Child,
        ticket: Ticket,
        life: Option<OwnedFd>,
        name: String,
        daemon: bool,
        outlives: bool,
    ) -> Self {
        Self {
            child,
            ticket,
            name,
            daemon,
            outlives,
            state: Mutex::new(State::Started {
                _life: life.map(|end| KnownFd::new(end, "what ties a child process to its parent")),
            }),
        }
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.pid()
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn is_daemon(&self) -> bool {
        self.daemon
    }

    pub(super) fn signal(&self, signal: i32) -> io::Result<()> {
        self.child.signal(signal)
    }

    /// How it ended, if it did.
    pub(super) fn try_wait(&self) -> io::Result<Option<ExitStatus>> {
        let mut state = lock(&self.state);
        match &*state {
            State::Started { .. } => {}
            State::Reaped(status) => return Ok(Some(*status)),
            State::Lost(e) => return Err(e.map_or_else(|| io::Error::other("lost"), io::Error::from_raw_os_error)),
        }
        let status = match self.child.try_reap() {
            Ok(None) => return Ok(None),
            Ok(Some(status)) => Ok(ExitStatus::from_raw(status)),
            Err(e) => Err(e),
        };
        // The others need not find out by themselves.
        participants::child_gone(self.ticket);
        *state = match &status {
            Ok(status) => State::Reaped(*status),
            Err(e) => State::Lost(e.raw_os_error()),
        };
        status.map(Some)
    }

    /// Waits for its end; `None` if that did not come in time.
    pub(super) fn wait(&self, patience: &Patience<'_>) -> io::Result<Option<ExitStatus>> {
        loop {
            if let Some(status) = self.try_wait()? {
                return Ok(Some(status));
            }
            // Where the program closed what watches it, we look again after each slice.
            self.child.is_watched();
            match sleep_on(self.watch().as_mut_slice(), patience) {
                Ok(()) => {}
                Err(WatchError::Stopped(_)) => return self.try_wait(),
                Err(WatchError::Io(e)) => return Err(e),
            }
        }
    }

    /// To be woken by its end; see [`Child::watch`].
    pub(super) fn watch(&self) -> Option<Watch> {
        self.child.watch()
    }

    pub(super) fn is_watched(&self) -> bool {
        self.child.is_watched()
    }

    /// Whether it has ended, reaped or not.
    pub(super) fn has_ended(&self) -> bool {
        self.child.has_ended()
    }

    fn is_over(&self) -> bool {
        !matches!(self.try_wait(), Ok(None))
    }
}

impl AsFd for Supervised {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.child.as_fd()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// All that were started here and not seen to be over.
static CHILDREN: Mutex<Vec<Arc<Supervised>>> = Mutex::new(Vec::new());

/// Takes a child under supervision.
pub(super) fn watch(child: Supervised) -> Arc<Supervised> {
    static AT_EXIT: Once = Once::new();
    // Without it (no memory for a pointer) the children end with this process all the same, only less politely.
    AT_EXIT.call_once(|| drop(child::at_exit(end_of_main)));
    let child = Arc::new(child);
    lock(&CHILDREN).push(Arc::clone(&child));
    child
}

/// Reaps the children that have ended, including those whose handles were dropped.
pub(super) fn reap_the_forgotten() {
    lock(&CHILDREN).retain(|child| !child.is_over());
}

/// The children of this process that have not ended: number and name.
pub fn active_children() -> Vec<(u32, String)> {
    reap_the_forgotten();
    lock(&CHILDREN).iter().map(|child| (child.pid(), child.name.clone())).collect()
}

/// When `main` has returned: daemons are killed, all others waited for.
extern "C" fn end_of_main() {
    // The C library calls this, and no panic may pass through it.
    let _ = catch_unwind(end_children);
}

fn end_children() {
    let children = std::mem::take(&mut *lock(&CHILDREN));
    let (daemons, others): (Vec<_>, Vec<_>) = children.into_iter().filter(|c| !c.outlives).partition(|c| c.daemon);
    for daemon in &daemons {
        // One that cannot be signalled still dies with this process.
        let _ = daemon.signal(SIGKILL);
    }
    for child in daemons.iter().chain(&others) {
        let _ = child.wait(&Patience::forever());
    }
}

pub(crate) const SIGKILL: i32 = 9;
pub(super) const SIGTERM: i32 = 15;
