//! Pools of worker processes.
//!
//! A [`Pool`] runs functions of [`task!`](crate::task) in processes that it keeps at hand. It survives them: a worker
//! that is killed, crashes, exits or grows too big fails the one task that it was running, which says so, and is
//! replaced; everything else goes on.
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
//! What is given to a pool is a [`Call`]: a function with its arguments. `square::call` makes one from the arguments, so
//! it can itself be given to [`map`](Pool::map); where something else is needed, a closure that makes calls can, such as
//! `|n| power::call(n, 3)`.
//!
//! # Terms
//!
//! Before what is to be done stands how, if that matters: `pool.task_timeout(second).retries(3).map(…)`.
//!
//! * A task that takes longer than [`task_timeout`](Pool::task_timeout) is ended, whatever it is at, with its worker; so
//!   is one that is [cancelled](Handle::cancel) while it runs.
//! * A task whose worker died is run again if [`retries`](Pool::retries) allows: only after a death, not after a panic.
//!
//! # Who does what
//!
//! Results are collected by whoever waits for one, for all. While work is outstanding and nobody waits, a thread of the
//! pool does. No lock is shared by workers. A [`Handle`] is also a future, on any runtime.
//!
//! The states of a task, who may move it, and what a death at each leaves behind: see `README.md` beside the sources of
//! this module.

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

pub use builder::Builder;
pub use call::Call;
pub use error::{Broken, Panic, SubmitError, TaskError, WorkerDied};
pub use handle::Handle;
pub use imap::Imap;
pub use scheduler::Statistics;
pub use tasks::Tasks;
pub(crate) use worker::WORKER;

use crate::process::StartError;
use shared::Shared;

/// Processes that are kept at hand to run tasks. See the [module](self).
///
/// Dropping it terminates it: tasks that have no outcome are cancelled, and the workers ended. To have everything done
/// first, [`join`](Self::join) it. A worker dies with the process that made its pool, however that one ends.
pub struct Pool {
    shared: Arc<Shared>,
}

/// Within this, workers that were killed are gone; if the system takes longer, it is not waited for.
const END: Duration = Duration::from_secs(5);

impl Pool {
    /// A pool with as many workers as this process may use processors.
    ///
    /// # Errors
    /// When a process cannot be started.
    pub fn new() -> Result<Self, StartError> {
        Self::builder().build()
    }

    /// A pool with another number of workers, an initializer, or limits.
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// Gives it a task. The result comes with the [`Handle`].
    ///
    /// # Errors
    /// When the task is not taken in: its arguments cannot be encoded, say, or the pool was closed.
    pub fn submit<R>(&self, call: Call<R>) -> Result<Handle<R>, SubmitError> {
        Tasks::of(self).submit(call)
    }

    /// Runs a task, and waits for its result.
    ///
    /// # Errors
    /// When there is no result.
    pub fn apply<R: DeserializeOwned>(&self, call: Call<R>) -> Result<R, TaskError> {
        Tasks::of(self).apply(call)
    }

    /// Runs the calls that `call` makes of the items, and gives all results, in the order of the items.
    ///
    /// Tasks travel in chunks that take a few hundred microseconds, unless [`chunks_of`](Self::chunks_of) says otherwise.
    /// A worker's death still costs only the task that it was at.
    ///
    /// # Errors
    /// The first failure of a task. Tasks that were not sent by then are not run. To have every outcome, use
    /// [`imap`](Self::imap).
    pub fn map<T, R, F>(&self, call: F, items: T) -> Result<Vec<R>, TaskError>
    where
        T: IntoIterator,
        F: FnMut(T::Item) -> Call<R>,
        R: DeserializeOwned,
    {
        Tasks::of(self).map(call, items)
    }

    /// Runs the calls that `call` makes of the items, and gives the result of each, in the order of the items.
    ///
    /// The items are pulled as results are taken, at most [`buffer_size`](Self::buffer_size) ahead, so both may be
    /// endless. Nothing is pulled before the first result is asked for.
    pub fn imap<T, R, F>(&self, call: F, items: T) -> Imap<impl Iterator<Item = Call<R>> + use<T, R, F>, R>
    where
        T: IntoIterator,
        F: FnMut(T::Item) -> Call<R>,
        R: DeserializeOwned,
    {
        Tasks::of(self).imap(call, items)
    }

    /// As [`imap`](Self::imap), but the results come as they are ready.
    pub fn imap_unordered<T, R, F>(&self, call: F, items: T) -> Imap<impl Iterator<Item = Call<R>> + use<T, R, F>, R>
    where
        T: IntoIterator,
        F: FnMut(T::Item) -> Call<R>,
        R: DeserializeOwned,
    {
        Tasks::of(self).imap_unordered(call, items)
    }

    /// Terms on which each task may take so long, from when it begins; also within a chunk. Then its worker is ended,
    /// and the task fails with [`TaskError::TimedOut`].
    pub fn task_timeout(&self, timeout: Duration) -> Tasks<'_> {
        Tasks::of(self).task_timeout(timeout)
    }

    /// Terms on which a task is run again if its worker dies, so many times.
    pub fn retries(&self, retries: u32) -> Tasks<'_> {
        Tasks::of(self).retries(retries)
    }

    /// Terms on which so many tasks go to a worker at a time.
    pub fn chunks_of(&self, tasks: u32) -> Tasks<'_> {
        Tasks::of(self).chunks_of(tasks)
    }

    /// Terms on which [`imap`](Self::imap) pulls at most so many items ahead of the results that were taken. Without
    /// this: four chunks for each worker, and 64 at least.
    pub fn buffer_size(&self, tasks: usize) -> Tasks<'_> {
        Tasks::of(self).buffer_size(tasks)
    }

    /// Takes no more tasks. What was taken in will be done, also what an [`imap`](Self::imap) has still to pull; then
    /// the workers leave.
    pub fn close(&self) {
        self.shared.state().close();
        self.shared.call_deputy(true);
    }

    /// Closes the pool, and waits until everything was done and the workers have left.
    pub fn join(self) {
        self.close();
        let deserted = Arc::clone(&self.shared.state().deserted);
        // Who waits without a limit is not told that the time is over.
        let _ = self.shared.wait(&deserted, &Patience::forever());
    }

    /// Ends the workers, whatever they are at, and waits until they are gone, which takes a fraction of a second. Tasks
    /// that have no outcome have been cancelled.
    pub fn terminate(&self) {
        let deserted = {
            let mut state = self.shared.state();
            state.terminate();
            Arc::clone(&state.deserted)
        };
        // A process that the system cannot end at once is not waited for.
        let _ = self.shared.wait(&deserted, &Patience::until(Deadline::after(END)));
    }

    /// How it is, and what it did so far.
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
