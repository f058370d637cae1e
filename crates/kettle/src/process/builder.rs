//! Starting a process.

use std::ffi::{CString, OsString};
use std::fmt;
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::sync::atomic::{AtomicU32, Ordering};

use kettle_core::arena::{ArenaError, Handle, Ticket, participants};
use kettle_core::damage::{self, What};
use kettle_core::queue::Queue;
use kettle_core::sys::child::{self, Child};
use kettle_core::sys::futex::Scope;
use kettle_core::sys::process::is_privileged;
use kettle_core::wait::Patience;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::entry::{self, Header, StartLine};
use super::error::StartError;
use super::handle::Process;
use super::supervisor::{self, Supervised};
use super::task::Harness;
use crate::codec::{self, Message, Unsendable};
use crate::deadlock;
use crate::error::OutOfMemory;
use crate::queue::message::{Outgoing, Refusal};
use crate::session;

/// Encodes the arguments for the process that has this ticket.
type Encode = dyn Fn(Ticket) -> Result<(Message, Vec<OwnedFd>), Unsendable>;

/// A process that is about to be started. Made by `name::builder(…)` of a [`task!`](crate::task).
#[must_use = "a process runs only once it is started"]
pub struct Builder<R> {
    key: &'static str,
    name: String,
    daemon: bool,
    outlive_parent: bool,
    arguments: Box<Encode>,
    result: PhantomData<fn() -> R>,
}

impl<R> Builder<R> {
    #[doc(hidden)]
    pub fn __new<A: Serialize + DeserializeOwned + 'static>(key: &'static str, task: &str, arguments: A) -> Self {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        Self {
            key,
            name: format!("{task}-{}", STARTED.fetch_add(1, Ordering::Relaxed) + 1),
            daemon: false,
            outlive_parent: false,
            arguments: Box::new(move |ticket| codec::encode_for(&arguments, ticket)),
            result: PhantomData,
        }
    }

    /// What it is called, in messages and by `ps` and `top` (which show fifteen bytes). Without this: after its task,
    /// with a number.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// A daemon does not keep its parent from ending: it is killed when the parent's `main` returns. The parent waits
    /// for all others.
    pub fn daemon(mut self, daemon: bool) -> Self {
        self.daemon = daemon;
        self
    }

    /// By itself, a process is killed by the kernel when its parent has ended in whatever way, in the middle of a system
    /// call too. With this it goes on, and its parent does not wait for it.
    pub fn outlive_parent(mut self, outlive_parent: bool) -> Self {
        self.outlive_parent = outlive_parent;
        self
    }

    /// Starts it.
    ///
    /// # Errors
    /// See [`StartError`]. Nothing is left behind.
    pub fn start(self) -> Result<Process<R>, StartError> {
        if !entry::is_initialised() && Harness::test().is_none() {
            return Err(StartError::NotInitialised);
        }
        if is_privileged() {
            return Err(StartError::Privileged);
        }
        let arena = session::join()?.descriptor().map_err(OutOfMemory::from)?;
        supervisor::reap_the_forgotten();
        let place = Reserved::new()?;
        let mailbox = Handle::new(|| Queue::new(0, false)).map_err(OutOfMemory::from)?;
        let (arguments, descriptors) = (self.arguments)(place.ticket())?;
        let header = Header {
            key: self.key.into(),
            name: self.name.clone(),
            parent: std::process::id(),
            inherited: descriptors.iter().map(AsRawFd::as_raw_fd).collect(),
        };
        send(&mailbox, codec::encode_own(&header)?)?;
        send(&mailbox, arguments)?;

        let (reader, writer) = if self.outlive_parent {
            (None, None)
        } else {
            let (reader, writer) = child::pipe()?;
            (Some(reader), Some(writer))
        };
        let mut inherited: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
        inherited.push(arena);
        inherited.extend(reader.as_ref().map(AsFd::as_fd));
        let line = StartLine {
            session: arena.as_raw_fd(),
            life: reader.as_ref().map(AsRawFd::as_raw_fd),
            ticket: place.ticket(),
            mailbox: mailbox.token_for(place.ticket()),
        };
        let process = Child::start(c"/proc/self/exe", &arguments_for(&line), &environment(&line), &inherited)?;
        let ticket = place.taken_by(process.pid());
        let child = Supervised::new(process, ticket, writer, self.name, self.daemon, self.outlive_parent);
        Ok(Process::new(supervisor::watch(child), mailbox))
    }
}

impl<R> fmt::Debug for Builder<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("task", &self.key)
            .field("name", &self.name)
            .field("daemon", &self.daemon)
            .field("outlive_parent", &self.outlive_parent)
            .finish_non_exhaustive()
    }
}

fn send(mailbox: &Handle<Queue>, message: Message) -> Result<(), OutOfMemory> {
    match Outgoing::new(0, message)?.put(mailbox, &Patience::forever()) {
        Ok(()) => Ok(()),
        Err(Refusal::OutOfMemory(e)) => Err(e),
        Err(Refusal::Damaged) => Err(ArenaError::from(damage::marked()).into()),
        // A mailbox has no bound, and nobody shuts it down.
        Err(Refusal::Full | Refusal::ShutDown) => {
            let damage = damage::mark(Scope::Shared, What::Count, mailbox.off().to_bits(), 0);
            Err(ArenaError::from(damage).into())
        }
    }
}

/// A place in the session for the new process, given up unless it is taken.
struct Reserved(Option<Ticket>);

impl Reserved {
    fn new() -> Result<Self, OutOfMemory> {
        Ok(Self(Some(participants::reserve_child()?)))
    }

    fn ticket(&self) -> Ticket {
        self.0.expect("a place is given away only by `taken_by`, which ends it")
    }

    fn taken_by(mut self, pid: u32) -> Ticket {
        let ticket = self.ticket();
        self.0 = None;
        participants::child_started(ticket, pid);
        ticket
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        if let Some(ticket) = self.0 {
            participants::release(ticket);
        }
    }
}

/// The program's own name, then, under a test harness, what makes it run the one right test, then the start line.
fn arguments_for(line: &StartLine) -> Vec<CString> {
    let program = std::env::args_os().next().unwrap_or_else(|| "kettle".into());
    let mut arguments = vec![program];
    if let Some(test) = Harness::test() {
        arguments.extend([test, "--exact", "--nocapture", "--quiet", "--test-threads=1", "--"].map(OsString::from));
    }
    arguments.push(line.to_string().into());
    arguments.into_iter().filter_map(c_string).collect()
}

/// That of this process, what it does about deadlocks, and what makes a start line of the last argument.
fn environment(line: &StartLine) -> Vec<CString> {
    let entry = |(mut name, value): (OsString, OsString)| {
        name.push("=");
        name.push(value);
        c_string(name)
    };
    let ours = [(deadlock::VARIABLE, deadlock::for_children().into()), (entry::VARIABLE, line.to_string())];
    let others = std::env::vars_os().filter(|(name, _)| ours.iter().all(|(our, _)| name != our));
    let ours = ours.iter().map(|(name, value): &(_, String)| (name.into(), value.into()));
    others.chain(ours).filter_map(entry).collect()
}

/// What came from the system as a C string is one again.
fn c_string(s: OsString) -> Option<CString> {
    CString::new(s.into_vec()).ok()
}
