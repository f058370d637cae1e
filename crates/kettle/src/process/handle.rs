//! A process that was started.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd};
#[cfg(feature = "tokio")]
use std::pin::Pin;
use std::process::{ChildStderr, ChildStdin, ChildStdout, ExitStatus};
use std::sync::Arc;
use std::time::Duration;

use kettle_core::arena::Handle;
use kettle_core::queue::Queue;
use kettle_core::sys::socket::Watch;
use kettle_core::wait::Patience;
use serde::de::DeserializeOwned;

use super::entry::Outcome;
use super::error::JoinError;
use super::supervisor::{SIGKILL, SIGTERM, Supervised};
use crate::queue::message::Incoming;
use crate::queue::until;

/// A process that was started, and its future result.
///
/// If this is dropped, the process continues, and is reaped when it ends. When `main` returns, daemons are killed, and
/// the program waits for all other processes.
pub struct Process<R = ()> {
    child: Arc<Supervised>,
    mailbox: Handle<Queue>,
    streams: Streams,
    result: PhantomData<fn() -> R>,
}

/// This process's ends of the pipes to its standard streams.
#[derive(Debug, Default)]
pub(super) struct Streams {
    pub(super) stdin: Option<ChildStdin>,
    pub(super) stdout: Option<ChildStdout>,
    pub(super) stderr: Option<ChildStderr>,
}

impl<R> Process<R> {
    pub(super) fn new(child: Arc<Supervised>, mailbox: Handle<Queue>, streams: Streams) -> Self {
        Self { child, mailbox, streams, result: PhantomData }
    }

    /// Takes the end of the pipe to its standard input, if that is [piped](super::Stdio::piped). Otherwise
    /// [`join`](Self::join) closes it.
    pub fn take_stdin(&mut self) -> Option<ChildStdin> {
        self.streams.stdin.take()
    }

    /// Takes the end of the pipe from its standard output, if that is [piped](super::Stdio::piped). A process that
    /// writes more than a pipe holds waits until this is read.
    pub fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.streams.stdout.take()
    }

    /// Takes the end of the pipe from its standard error, if that is [piped](super::Stdio::piped).
    pub fn take_stderr(&mut self) -> Option<ChildStderr> {
        self.streams.stderr.take()
    }

    /// Returns the process id.
    pub fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// Returns the name of the process.
    pub fn name(&self) -> &str {
        self.child.name()
    }

    /// Returns whether the process is killed when the parent ends; otherwise the parent waits for it.
    pub fn is_daemon(&self) -> bool {
        self.child.is_daemon()
    }

    /// Returns whether the process has not ended yet.
    pub fn is_alive(&self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Returns the exit status if the process has ended. `ExitStatusExt::signal` returns the signal that ended it.
    pub fn exit_status(&self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// To be woken by its end; None where the program closed the descriptor that tells.
    pub(crate) fn watch(&self) -> Option<Watch> {
        self.child.is_watched();
        self.child.watch()
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.child.has_ended()
    }

    /// A descriptor that is readable when the process has ended, for `poll` and event loops.
    pub fn sentinel(&self) -> BorrowedFd<'_> {
        self.child.as_fd()
    }

    /// Waits until the process has ended.
    ///
    /// # Errors
    /// If its exit status cannot be determined, because other code reaped it or `SIGCHLD` is ignored.
    pub fn wait(&self) -> io::Result<ExitStatus> {
        loop {
            if let Some(status) = self.child.wait(&Patience::forever())? {
                return Ok(status);
            }
        }
    }

    /// Waits for at most `timeout` until the process has ended; returns `None` if it has not.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn wait_timeout(&self, timeout: Duration) -> io::Result<Option<ExitStatus>> {
        self.child.wait(&until(timeout))
    }

    /// Asks the process to end (`SIGTERM`, which it can handle). Does nothing if it has ended.
    ///
    /// # Errors
    /// If this process may not signal it.
    pub fn terminate(&self) -> io::Result<()> {
        self.child.signal(SIGTERM)
    }

    /// Kills the process (`SIGKILL`). Does nothing if it has ended.
    ///
    /// # Errors
    /// If this process may not signal it.
    pub fn kill(&self) -> io::Result<()> {
        self.child.signal(SIGKILL)
    }

    /// Sends the process a signal, which never reaches another process that has since got the same process id.
    ///
    /// # Errors
    /// If this process may not signal it, or there is no such signal.
    pub fn signal(&self, signal: i32) -> io::Result<()> {
        self.child.signal(signal)
    }
}

impl<R: DeserializeOwned> Process<R> {
    /// Waits until the process has ended, and returns the result of its task.
    ///
    /// # Errors
    /// If the task panicked, or the process ended before its task did.
    pub fn join(mut self) -> Result<R, JoinError> {
        drop(self.take_stdin());
        let status = self.wait().map_err(JoinError::Io)?;
        self.outcome(status)
    }

    /// Waits for at most `timeout` until the process has ended, and returns the result of its task.
    ///
    /// # Errors
    /// The outer error returns the process if it has not ended. The inner one is that of [`join`](Self::join).
    pub fn join_timeout(mut self, timeout: Duration) -> Result<Result<R, JoinError>, Self> {
        drop(self.take_stdin());
        match self.wait_timeout(timeout) {
            Ok(Some(status)) => Ok(self.outcome(status)),
            Ok(None) => Err(self),
            Err(e) => Ok(Err(JoinError::Io(e))),
        }
    }

    /// Waits until the process has ended, without blocking the thread, and returns the result of its task.
    ///
    /// # Errors
    /// As [`join`](Self::join).
    #[cfg(feature = "tokio")]
    pub async fn join_async(mut self) -> Result<R, JoinError> {
        drop(self.take_stdin());
        let watched = match self.child.is_watched() {
            true => Some(crate::reactor::watch(self.sentinel()).map_err(JoinError::Io)?),
            // The program closed what watches it.
            false => None,
        };
        loop {
            if let Some(status) = self.child.try_wait().map_err(JoinError::Io)? {
                return self.outcome(status);
            }
            match &watched {
                Some(watched) => watched.readable().await.map_err(JoinError::Io)?.clear_ready(),
                None => tokio::time::sleep(crate::reactor::LOOK_AGAIN).await,
            }
        }
    }

    fn outcome(&self, status: ExitStatus) -> Result<R, JoinError> {
        let mut is_unread = false;
        // The child has ended, so whatever it wrote is here.
        while let Ok(message) = Incoming::take(&self.mailbox, &Patience::none()) {
            match Outcome::of(message.tag) {
                // It ended before it read what we wrote.
                None => is_unread = true,
                Some(Outcome::Returned) => return Ok(message.decode()?),
                Some(Outcome::Panicked) => return Err(JoinError::Panicked { message: message.decode()? }),
                Some(Outcome::Lost) => return Err(JoinError::Lost(message.decode()?)),
            }
        }
        let (name, pid) = (self.name().into(), self.pid());
        match status.code() {
            Some(_) if is_unread => Err(JoinError::NeverBegan { name, pid, status }),
            _ => Err(JoinError::Died { name, pid, status }),
        }
    }
}

#[cfg(feature = "tokio")]
impl<R: DeserializeOwned + Send + 'static> IntoFuture for Process<R> {
    type Output = Result<R, JoinError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    /// As [`join_async`](Self::join_async): `process.await` returns the result of the task.
    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.join_async())
    }
}

impl<R> AsFd for Process<R> {
    /// As [`sentinel`](Self::sentinel).
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.sentinel()
    }
}

impl<R> fmt::Debug for Process<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process")
            .field("name", &self.name())
            .field("pid", &self.pid())
            .field("exit_status", &self.exit_status())
            .finish_non_exhaustive()
    }
}
