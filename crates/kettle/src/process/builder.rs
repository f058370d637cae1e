//! Starting a process.

use std::ffi::{CString, OsString};
use std::fmt;
use std::io;
use std::iter;
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
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
    /// Another program than this one, and its arguments.
    program: Option<Vec<OsString>>,
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
            program: None,
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

    /// By itself, a process is killed by the kernel when its parent has ended in whatever way, in the middle of a
    /// system call too. With this it goes on, and its parent does not wait for it.
    pub fn outlive_parent(mut self, outlive_parent: bool) -> Self {
        self.outlive_parent = outlive_parent;
        self
    }

    /// Starts this program in place of the one that runs here: for libraries that other programs load, such as modules
    /// of Python. It needs the same task in it, from the same source, so put the task into a crate that both depend on.
    /// Its `main` may have [`init`](crate::init) as its only line.
    ///
    /// ```no_run
    /// # kettle::task! { fn parse(text: String) -> usize { text.len() } }
    /// let process = parse::builder("text".into()).program("/usr/lib/myproject/worker", ["--quiet"]).start()?;
    /// # Ok::<(), kettle::StartError>(())
    /// ```
    pub fn program<A: Into<OsString>>(
        mut self,
        program: impl Into<PathBuf>,
        arguments: impl IntoIterator<Item = A>,
    ) -> Self {
        let program = OsString::from(program.into());
        self.program = Some(iter::once(program).chain(arguments.into_iter().map(Into::into)).collect());
        self
    }

    /// Starts it.
    ///
    /// # Errors
    /// See [`StartError`]. Nothing is left behind.
    pub fn start(self) -> Result<Process<R>, StartError> {
        if self.program.is_none() && !entry::is_ready() {
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
        let (program, arguments) = match &self.program {
            Some(arguments) => (Some(&arguments[0]), arguments.clone()),
            None => (None, own_arguments()),
        };
        let program = program.map_or(Ok(c"/proc/self/exe".to_owned()), |program| c_string(program.clone()))?;
        let arguments = arguments.into_iter().map(c_string).collect::<io::Result<Vec<_>>>()?;
        let process = Child::start(&program, &arguments, &environment(&line)?, &inherited)?;
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
        // A mailbox has no bound and is never shut down.
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

/// Those of this process; or, under a test harness that children have to come through, what makes it run the one right
/// test.
fn own_arguments() -> Vec<OsString> {
    let mut arguments = std::env::args_os();
    match Harness::test() {
        Some(test) if !entry::begins_early() => {
            let ours = [test, "--exact", "--nocapture", "--quiet", "--test-threads=1"].map(OsString::from);
            arguments.next().into_iter().chain(ours).collect()
        }
        _ => arguments.collect(),
    }
}

/// That of this process, what it does about deadlocks, and the start line.
fn environment(line: &StartLine) -> io::Result<Vec<CString>> {
    let entry = |(mut name, value): (OsString, OsString)| {
        name.push("=");
        name.push(value);
        c_string(name)
    };
    let ours = [(deadlock::VARIABLE, deadlock::for_children().into()), (entry::VARIABLE, line.to_string())];
    let others = std::env::vars_os().filter(|(name, _)| ours.iter().all(|(our, _)| name != our));
    let ours = ours.iter().map(|(name, value): &(_, String)| (name.into(), value.into()));
    others.chain(ours).map(entry).collect()
}

/// As the system wants it; an error if there is a zero in it.
fn c_string(s: OsString) -> io::Result<CString> {
    Ok(CString::new(s.into_vec())?)
}
