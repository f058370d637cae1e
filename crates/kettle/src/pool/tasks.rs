//! Submitting tasks to a pool, with options for each call.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;

use super::Pool;
use super::call::Call;
use super::error::{SubmitError, TaskError};
use super::handle::Handle;
use super::imap::{Imap, Input};
use super::job::Terms;
use super::map::{self, Progress};
use super::scheduler::{Chunking, Order, Want};

/// A pool together with options for the tasks submitted through it. Created by [`Pool::task_timeout`],
/// [`Pool::retries`], [`Pool::chunks_of`] and [`Pool::buffer_size`].
///
/// ```no_run
/// # use std::time::Duration;
/// # kettle::task! { fn thumbnail(path: String) {} }
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let (pool, paths) = (kettle::Pool::new()?, Vec::<String>::new());
/// let patient = pool.task_timeout(Duration::from_secs(10)).retries(2);
/// patient.map(thumbnail::call, paths)?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy)]
#[must_use = "nothing happens before it is given a task"]
pub struct Tasks<'p> {
    pool: &'p Pool,
    timeout: Option<Duration>,
    retries: u32,
    chunk: Option<u32>,
    buffer: Option<usize>,
    report: Option<&'p (dyn Fn(Progress) + Sync)>,
}

impl<'p> Tasks<'p> {
    pub(super) fn of(pool: &'p Pool) -> Self {
        Self { pool, timeout: None, retries: 0, chunk: None, buffer: None, report: None }
    }

    /// See [`Pool::task_timeout`].
    pub fn task_timeout(self, timeout: Duration) -> Self {
        Self { timeout: Some(timeout), ..self }
    }

    /// See [`Pool::retries`].
    pub fn retries(self, retries: u32) -> Self {
        Self { retries, ..self }
    }

    /// See [`Pool::chunks_of`].
    pub fn chunks_of(self, tasks: u32) -> Self {
        Self { chunk: Some(tasks.max(1)), ..self }
    }

    /// See [`Pool::buffer_size`].
    pub fn buffer_size(self, tasks: usize) -> Self {
        Self { buffer: Some(tasks.max(1)), ..self }
    }

    /// See [`Pool::on_progress`].
    pub fn on_progress(self, report: &'p (dyn Fn(Progress) + Sync)) -> Self {
        Self { report: Some(report), ..self }
    }

    /// See [`Pool::submit`].
    ///
    /// # Errors
    /// If the task is not accepted.
    pub fn submit<R>(&self, call: Call<R>) -> Result<Handle<R>, SubmitError> {
        let handle = self.give(call)?;
        self.pool.shared.call_deputy(false);
        Ok(handle)
    }

    /// See [`Pool::apply`].
    ///
    /// # Errors
    /// If there is no result.
    pub fn apply<R: DeserializeOwned>(&self, call: Call<R>) -> Result<R, TaskError> {
        // The waiting thread leads, so no deputy is needed.
        self.give(call)?.join()
    }

    /// See [`Pool::map`].
    ///
    /// # Errors
    /// The first failure of a task. Tasks that were not sent by then are not run.
    pub fn map<T, R, F>(&self, call: F, items: T) -> Result<Vec<R>, TaskError>
    where
        T: IntoIterator,
        F: FnMut(T::Item) -> Call<R>,
        R: DeserializeOwned,
    {
        let terms = self.terms(Chunking::Measured);
        map::map(
            &self.pool.shared,
            terms,
            items.into_iter().map(call),
            self.report.map(|report| report as &dyn Fn(Progress)),
        )
    }

    /// See [`Pool::imap`].
    pub fn imap<T, R, F>(&self, call: F, items: T) -> Imap<impl Iterator<Item = Call<R>> + use<T, R, F>, R>
    where
        T: IntoIterator,
        F: FnMut(T::Item) -> Call<R>,
        R: DeserializeOwned,
    {
        self.stream(items.into_iter().map(call), Order::OfTasks)
    }

    /// See [`Pool::imap_unordered`].
    pub fn imap_unordered<T, R, F>(&self, call: F, items: T) -> Imap<impl Iterator<Item = Call<R>> + use<T, R, F>, R>
    where
        T: IntoIterator,
        F: FnMut(T::Item) -> Call<R>,
        R: DeserializeOwned,
    {
        self.stream(items.into_iter().map(call), Order::OfArrival)
    }

    fn stream<I: Iterator<Item = Call<R>>, R>(&self, calls: I, order: Order) -> Imap<I, R> {
        let chunk = self.chunk.unwrap_or(1);
        let workers = self.pool.shared.state().supervisor.size();
        let ahead = self.buffer.unwrap_or_else(|| (4 * workers * chunk as usize).max(64));
        let input = Input { calls, chunk: chunk as usize, ahead: ahead.max(chunk as usize) };
        Imap::new(Arc::clone(&self.pool.shared), self.terms(Chunking::Fixed(1)), input, order)
    }

    fn terms(&self, chunking: Chunking) -> Terms {
        let chunking = self.chunk.map_or(chunking, Chunking::Fixed);
        Terms { timeout: self.timeout, retries: self.retries, chunking }
    }

    /// Accepts a task, and sends it if there is room.
    fn give<R>(&self, call: Call<R>) -> Result<Handle<R>, SubmitError> {
        let call = call.pack()?;
        let shared = &self.pool.shared;
        let mut state = shared.state();
        let (job, completion) = state.open_job(self.terms(Chunking::Fixed(1)), Order::OfTasks)?;
        state.add(job, [call]);
        state.want(job, Want::All);
        drop(state);
        if self.timeout.is_some() {
            // A sleeping leader does not know of the limit yet.
            shared.kick();
        }
        Ok(Handle::new(Arc::clone(shared), job, completion))
    }
}

impl fmt::Debug for Tasks<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tasks")
            .field("pool", &self.pool.shared.name())
            .field("task_timeout", &self.timeout)
            .field("retries", &self.retries)
            .field("chunks_of", &self.chunk)
            .field("buffer_size", &self.buffer)
            .finish_non_exhaustive()
    }
}
