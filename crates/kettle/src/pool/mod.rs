//! Pools of worker processes.
//!
//! A [`Pool`] runs functions of [`task!`](crate::task) in long-lived worker processes, and survives their deaths. If a
//! worker is killed, crashes, exits or uses too much memory, only the task that it was running fails, with an error
//! that says so. The worker is replaced, and all other tasks are unaffected.
//!
//! ```standalone_crate
//! kettle::task! {
//!     fn square(n: u64) -> u64 {
//!         n * n
//!     }
//!
//!     fn crash(signal: i32) {
//!         let _ = std::process::Command::new("kill").arg(format!("-{signal}")).arg(std::process::id().to_string()).status();
//!         std::thread::park();
//!     }
//! }
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     kettle::init();
//!     let pool = kettle::Pool::builder().workers(2).build()?;
//!
//!     // One task, and its result.
//!     assert_eq!(pool.apply(square::call(7))?, 49);
//!
//!     // One task now, its result later.
//!     let handle = pool.submit(square::call(8))?;
//!     assert_eq!(handle.join()?, 64);
//!
//!     // Many tasks: all results at once, or one by one.
//!     assert_eq!(pool.map(square::call, 0..1000)?.len(), 1000);
//!     for (n, result) in (0..).zip(pool.imap(square::call, 0..1000)) {
//!         assert_eq!(result?, n * n);
//!     }
//!
//!     // A worker dies. Its task tells; the pool goes on.
//!     let kettle::pool::TaskError::WorkerDied(death) = pool.apply(crash::call(9)).unwrap_err() else { panic!() };
//!     assert_eq!(death.signal(), Some(9));
//!     assert_eq!(pool.apply(square::call(9))?, 81);
//!     Ok(())
//! }
//! ```
//!
//! Tasks are submitted as a [`Call`], a function with its arguments. `square::call` creates one from the arguments, so
//! it can be passed to [`map`](Pool::map) directly. Where the items are not the arguments, pass a closure that creates
//! calls, such as `|n| power::call(n, 3)`.
//!
//! # Options
//!
//! Options precede the operation: `pool.task_timeout(second).retries(3).map(…)`.
//!
//! * A task that takes longer than [`task_timeout`](Pool::task_timeout) is ended together with its worker, whatever it
//!   is doing; so is a task that is [cancelled](Handle::cancel) while it runs.
//! * A task whose worker died is run again if [`retries`](Pool::retries) permits: only after a death, not after a
//!   panic.
//!
//! # Threads
//!
//! Of the threads that wait for results, one collects them on behalf of all. While work is outstanding and no thread
//! waits, a thread of the pool does. No two workers share a lock. A [`Handle`] is also a future, on any runtime.
//!
//! `README.md` beside the sources of this module describes the states of a task, which side moves it, and what a death
//! in each state leaves behind.

mod builder;
mod call;
mod error;
mod handle;
mod imap;
mod job;
mod map;
mod panics;
#[doc(hidden)]
pub mod scheduler;
mod shared;
mod state;
mod tasks;
mod worker;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use kettle_core::wait::{Deadline, Patience};
use serde::de::DeserializeOwned;

pub use crate::panic::Panic;
pub use builder::Builder;
pub use call::Call;
pub use error::{Broken, SubmitError, TaskError, WorkerDied};
pub use handle::Handle;
pub use imap::Imap;
pub use map::Progress;
pub use scheduler::Statistics;
pub use tasks::Tasks;
pub(crate) use worker::WORKER;

use crate::process::StartError;
use shared::Shared;

/// A set of processes that run tasks. See the [module](self).
///
/// Dropping a pool terminates it: tasks without an outcome are cancelled, and the workers are ended. To finish all
/// tasks first, [`join`](Self::join) the pool. If the process that created the pool ends, in whatever way, its workers
/// die.
pub struct Pool {
    shared: Arc<Shared>,
}

/// How long `terminate` waits for killed workers to disappear.
const END: Duration = Duration::from_secs(5);

impl Pool {
    /// Creates a pool with one worker for each processor available to this process.
    ///
    /// # Errors
    /// If a process cannot be started.
    pub fn new() -> Result<Self, StartError> {
        Self::builder().build()
    }

    /// Returns a builder, to set the number of workers, an initializer, or limits.
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// Submits a task. The [`Handle`] provides the result.
    ///
    /// # Errors
    /// If the task is not accepted, for example because its arguments cannot be encoded or the pool was closed.
    pub fn submit<R>(&self, call: Call<R>) -> Result<Handle<R>, SubmitError> {
        Tasks::of(self).submit(call)
    }

    /// Runs a task and waits for its result.
    ///
    /// # Errors
    /// If there is no result.
    pub fn apply<R: DeserializeOwned>(&self, call: Call<R>) -> Result<R, TaskError> {
        Tasks::of(self).apply(call)
    }

    /// Runs the calls that `call` creates from the items, and returns all results in the order of the items.
    ///
    /// Tasks are sent in chunks that take a few hundred microseconds, unless [`chunks_of`](Self::chunks_of) sets their
    /// length. Even so, a worker that dies loses only the task that it was running.
    ///
    /// # Errors
    /// The first failure of a task. Tasks that were not sent by then are not run. To get every outcome, use
    /// [`imap`](Self::imap).
    pub fn map<T, R, F>(&self, call: F, items: T) -> Result<Vec<R>, TaskError>
    where
        T: IntoIterator,
        F: FnMut(T::Item) -> Call<R>,
        R: DeserializeOwned,
    {
        Tasks::of(self).map(call, items)
    }

    /// Runs the calls that `call` creates from the items, and iterates over the results in the order of the items.
    ///
    /// Items are pulled as results are taken, at most [`buffer_size`](Self::buffer_size) ahead, so the input may be
    /// endless. No item is pulled before the first result is requested.
    pub fn imap<T, R, F>(&self, call: F, items: T) -> Imap<impl Iterator<Item = Call<R>> + use<T, R, F>, R>
    where
        T: IntoIterator,
        F: FnMut(T::Item) -> Call<R>,
        R: DeserializeOwned,
    {
        Tasks::of(self).imap(call, items)
    }

    /// As [`imap`](Self::imap), but returns the results in the order in which they are ready.
    pub fn imap_unordered<T, R, F>(&self, call: F, items: T) -> Imap<impl Iterator<Item = Call<R>> + use<T, R, F>, R>
    where
        T: IntoIterator,
        F: FnMut(T::Item) -> Call<R>,
        R: DeserializeOwned,
    {
        Tasks::of(self).imap_unordered(call, items)
    }

    /// Limits the running time of each task, measured from its own start, even within a chunk. At the limit its worker
    /// is ended, and the task fails with [`TaskError::TimedOut`].
    pub fn task_timeout(&self, timeout: Duration) -> Tasks<'_> {
        Tasks::of(self).task_timeout(timeout)
    }

    /// Runs a task again if its worker dies, up to this many times.
    pub fn retries(&self, retries: u32) -> Tasks<'_> {
        Tasks::of(self).retries(retries)
    }

    /// Sends this many tasks to a worker at a time.
    pub fn chunks_of(&self, tasks: u32) -> Tasks<'_> {
        Tasks::of(self).chunks_of(tasks)
    }

    /// Limits how many items [`imap`](Self::imap) pulls ahead of the results that were taken. The default is four
    /// chunks for each worker, and at least 64.
    pub fn buffer_size(&self, tasks: usize) -> Tasks<'_> {
        Tasks::of(self).buffer_size(tasks)
    }

    /// Has `report` called by [`map`](Self::map) as results arrive, in the thread that called `map`. ([`imap`](Self::imap)
    /// needs nothing of the kind: it returns results as they arrive.)
    ///
    /// ```no_run
    /// # kettle::task! { fn thumbnail(path: String) {} }
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (pool, paths) = (kettle::Pool::new()?, Vec::<String>::new());
    /// let report = |at: kettle::pool::Progress| eprint!("\r{} of {:?}", at.done, at.total);
    /// pool.on_progress(&report).map(thumbnail::call, paths)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn on_progress<'p>(&'p self, report: &'p (dyn Fn(Progress) + Sync)) -> Tasks<'p> {
        Tasks::of(self).on_progress(report)
    }

    /// Closes the pool to new jobs. Accepted ones are completed, including items that an [`imap`](Self::imap) has yet
    /// to pull; then the workers exit.
    pub fn close(&self) {
        self.shared.state().close();
        self.shared.call_deputy(true);
    }

    /// Closes the pool, and waits until all tasks are done and the workers have exited.
    pub fn join(self) {
        self.close();
        let deserted = Arc::clone(&self.shared.state().deserted);
        // A wait without a limit does not time out.
        let _ = self.shared.wait(&deserted, &Patience::forever());
    }

    /// Cancels all tasks without an outcome, ends the workers, whatever they are running, and waits until they are
    /// gone, which takes a fraction of a second.
    pub fn terminate(&self) {
        let deserted = {
            let mut state = self.shared.state();
            state.terminate();
            Arc::clone(&state.deserted)
        };
        // The wait is bounded, because the system may be unable to end a process for a long time.
        let _ = self.shared.wait(&deserted, &Patience::until(Deadline::after(END)));
    }

    /// Returns the pool's current state and the counts of its outcomes so far.
    pub fn statistics(&self) -> Statistics {
        self.shared.look();
        self.shared.state().statistics()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.terminate();
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let statistics = self.shared.state().statistics();
        f.debug_struct("Pool").field("name", &self.shared.name()).field("statistics", &statistics).finish()
    }
}
