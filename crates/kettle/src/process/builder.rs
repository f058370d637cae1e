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
use kettle_core::sys::child::{self, Child, Program};
use kettle_core::sys::futex::Scope;
use kettle_core::sys::process::is_privileged;
use kettle_core::wait::Patience;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::entry::{self, Header, StartLine};
use super::environment::Environment;
use super::error::StartError;
use super::handle::{Process, Streams};
use super::limits::{Limit, Limits};
use super::stdio::{Direction, Stdio};
use super::supervisor::{self, Supervised};
use super::task::Harness;
use crate::codec::{self, Message, Unsendable};
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
    environment: Environment,
    directory: Option<PathBuf>,
    stdin: Stdio,
    stdout: Stdio,
    stderr: Stdio,
    limits: Limits,
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
            environment: Environment::default(),
            directory: None,
            stdin: Stdio::default(),
            stdout: Stdio::default(),
            stderr: Stdio::default(),
            limits: Limits::default(),
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

    /// Sets a variable of its environment, which is otherwise that of this process.
    ///
    /// ```standalone_crate
    /// kettle::task! {
    ///     fn read(name: String) -> Option<String> {
    ///         println!("in {}", std::env::current_dir().expect("a directory").display());
    ///         std::env::var(name).ok()
    ///     }
    /// }
    ///
    /// fn main() -> Result<(), Box<dyn std::error::Error>> {
    ///     use kettle::process::{Limit, Stdio};
    ///     use std::io::Read;
    ///
    ///     kettle::init();
    ///     let mut process = read::builder("MODE".into())
    ///         .env("MODE", "careful")
    ///         .current_dir("/")
    ///         .stdin(Stdio::null())
    ///         .stdout(Stdio::piped())
    ///         .limit(Limit::Memory, 1 << 30)
    ///         .start()?;
    ///     let mut said = String::new();
    ///     process.take_stdout().expect("it is piped").read_to_string(&mut said)?;
    ///     assert_eq!(said, "in /\n");
    ///     assert_eq!(process.join()?.as_deref(), Some("careful"));
    ///     Ok(())
    /// }
    /// ```
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.environment.set(name.into(), Some(value.into()));
        self
    }

    /// Sets variables of its environment.
    pub fn envs<N: Into<OsString>, V: Into<OsString>>(mut self, variables: impl IntoIterator<Item = (N, V)>) -> Self {
        for (name, value) in variables {
            self.environment.set(name.into(), Some(value.into()));
        }
        self
    }

    /// Removes a variable from its environment.
    pub fn env_remove(mut self, name: impl Into<OsString>) -> Self {
        self.environment.set(name.into(), None);
        self
    }

    /// Removes all variables from its environment, also those that were set before this.
    pub fn env_clear(mut self) -> Self {
        self.environment.clear();
        self
    }

    /// The directory in which it begins; otherwise that in which this process is.
    pub fn current_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// Its standard input; otherwise that of this process. The end of a [pipe](Stdio::piped) is taken by
    /// [`Process::take_stdin`].
    pub fn stdin(mut self, stream: impl Into<Stdio>) -> Self {
        self.stdin = stream.into();
        self
    }

    /// Its standard output; otherwise that of this process. The end of a [pipe](Stdio::piped) is taken by
    /// [`Process::take_stdout`].
    pub fn stdout(mut self, stream: impl Into<Stdio>) -> Self {
        self.stdout = stream.into();
        self
    }

    /// Its standard error, where panics are printed; otherwise that of this process. The end of a
    /// [pipe](Stdio::piped) is taken by [`Process::take_stderr`].
    pub fn stderr(mut self, stream: impl Into<Stdio>) -> Self {
        self.stderr = stream.into();
        self
    }

    /// Limits what it may use, itself and each process that it starts in turn. It cannot raise the limit again. The
    /// limits are set before the code of [`in_each_child!`](crate::in_each_child) and the task run.
    pub fn limit(mut self, what: Limit, most: u64) -> Self {
        self.limits.set(what, most);
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
            limits: self.limits,
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
        let (path, arguments) = match self.program {
            Some(arguments) => (std::path::absolute(&arguments[0])?.into(), arguments),
            None => (OWN_PROGRAM.into(), own_arguments()),
        };
        let path = c_string(path)?;
        let arguments = arguments.into_iter().map(c_string).collect::<io::Result<Vec<_>>>()?;
        let environment = self.environment.with(&line)?;
        let directory = self.directory.map(existing_directory).transpose()?;
        let stdin = self.stdin.open(Direction::In)?;
        let stdout = self.stdout.open(Direction::Out)?;
        let stderr = self.stderr.open(Direction::Out)?;
        let process = Child::start(&Program {
            path: &path,
            arguments: &arguments,
            environment: &environment,
            directory: directory.as_deref(),
            streams: [&stdin, &stdout, &stderr].map(|stream| stream.theirs.as_ref().map(AsFd::as_fd)),
            inherited: &inherited,
        })?;
        let streams = Streams {
            stdin: stdin.ours.map(Into::into),
            stdout: stdout.ours.map(Into::into),
            stderr: stderr.ours.map(Into::into),
        };
        let ticket = place.taken_by(process.pid());
        let child = Supervised::new(process, ticket, writer, self.name, self.daemon, self.outlive_parent);
        Ok(Process::new(supervisor::watch(child), mailbox, streams))
    }
}

impl<R> fmt::Debug for Builder<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("task", &self.key)
            .field("name", &self.name)
            .field("daemon", &self.daemon)
            .field("outlive_parent", &self.outlive_parent)
            .field("current_dir", &self.directory)
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

/// This program.
const OWN_PROGRAM: &str = "/proc/self/exe";

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

/// The path of a directory that is there. Otherwise the system would say of the program that it is not there.
fn existing_directory(path: PathBuf) -> io::Result<CString> {
    let of_path = |e: &dyn fmt::Display| format!("its directory {}: {e}", path.display());
    match std::fs::metadata(&path) {
        Ok(found) if found.is_dir() => c_string(path.into()),
        Ok(_) => Err(io::Error::new(io::ErrorKind::NotADirectory, of_path(&"this is no directory"))),
        Err(e) => Err(io::Error::new(e.kind(), of_path(&e))),
    }
}

/// As the system wants it; an error if there is a zero in it.
pub(super) fn c_string(s: OsString) -> io::Result<CString> {
    Ok(CString::new(s.into_vec())?)
}
