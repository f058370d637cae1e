//! Jobs that borrow.
//!
//! A thread that runs jobs outlives any frame, so a job may not borrow from one — unless the frame stays until the job
//! is over. [`scope`] is a function that does not return, nor unwind, while one of its [`Job`]s exists: whichever thread
//! has it, and whether it is run or dropped. It is to a pool of threads what `std::thread::scope` is to new threads.

use core::fmt;
use core::marker::PhantomData;
use core::ptr::NonNull;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::process::abort;
use std::sync::Arc;

use super::{EventCount, Patience, Scope as Reach};
use crate::atomics::{AtomicUsize, Ordering};

/// Where jobs are made that may borrow what outlives `'scope`: the call of [`scope`] that this is from.
///
/// As in the standard library, both lifetimes are invariant: `'scope` cannot be made shorter or longer, so what a job
/// borrows lives until the end of the call.
pub struct Scope<'scope, 'env: 'scope> {
    jobs: Arc<Jobs>,
    scope: PhantomData<&'scope mut &'scope ()>,
    env: PhantomData<&'env mut &'env ()>,
}

/// The jobs of a scope that exist.
#[derive(Debug)]
struct Jobs {
    count: AtomicUsize,
    ends: EventCount,
}

impl Jobs {
    fn wait(&self) {
        let over = || (self.count.load(Ordering::SeqCst) == 0).then_some(());
        while over().is_none() {
            // The word is this process's own, so nothing but the end of the last job ends the wait.
            let _ = self.ends.wait_for(&Patience::forever(), Reach::Private, over, || None);
        }
    }
}

/// Runs `body`, which may make jobs, and waits until they are over. A panic of `body` is passed on after that.
pub fn scope<'env, R>(body: impl for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> R) -> R {
    struct AbortsOnUnwind;
    impl Drop for AbortsOnUnwind {
        fn drop(&mut self) {
            abort();
        }
    }
    let jobs = Arc::new(Jobs { count: AtomicUsize::new(0), ends: EventCount::new() });
    let scope = Scope { jobs: Arc::clone(&jobs), scope: PhantomData, env: PhantomData };
    // From here on, this frame must not end before the jobs do.
    let stays = AbortsOnUnwind;
    let result = catch_unwind(AssertUnwindSafe(|| body(&scope)));
    jobs.wait();
    core::mem::forget(stays);
    result.unwrap_or_else(|panic| resume_unwind(panic))
}

impl<'scope> Scope<'scope, '_> {
    /// Waits until no job exists, as the end of the scope does.
    pub fn wait(&self) {
        self.jobs.wait();
    }

    /// Makes a job of `run`, which may be handed to any thread.
    pub fn job<F: FnOnce() + Send + 'scope>(&'scope self, run: F) -> Job {
        self.jobs.count.fetch_add(1, Ordering::SeqCst);
        Job {
            closure: Some(NonNull::from(Box::leak(Box::new(run))).cast()),
            run: run_closure::<F>,
            discard: discard_closure::<F>,
            _exists: Exists(Arc::clone(&self.jobs)),
        }
    }
}

impl fmt::Debug for Scope<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").field("jobs", &self.jobs.count).finish_non_exhaustive()
    }
}

/// A closure that borrows from the frame of its scope, which waits for it. It has no lifetime, so it can be given to
/// threads that outlive the frame.
#[must_use = "a job that is dropped is not run"]
pub struct Job {
    /// A leaked box of the closure's type; none once it is run.
    closure: Option<NonNull<()>>,
    run: unsafe fn(NonNull<()>),
    discard: unsafe fn(NonNull<()>),
    /// Dropped last, when the closure is no more.
    _exists: Exists,
}

/// Counts a job for as long as it exists.
struct Exists(Arc<Jobs>);

impl Drop for Exists {
    fn drop(&mut self) {
        if self.0.count.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.ends.notify_all(Reach::Private);
        }
    }
}

// SAFETY: a job consists of a closure, which is Send by the bound of `Scope::job`, and of a counted reference to atomics.
unsafe impl Send for Job {}

impl Job {
    /// Runs it. If it panics, it is over all the same.
    pub fn run(mut self) {
        if let Some(closure) = self.closure.take() {
            // SAFETY: `closure` is the box that `run` was made for, and was taken out of the only place where it is. All
            // that it borrows is alive, since `scope` waits until `_exists` is dropped: with `self`, after this.
            unsafe { (self.run)(closure) };
        }
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        if let Some(closure) = self.closure.take() {
            // SAFETY: as in `run`; fields are dropped after this.
            unsafe { (self.discard)(closure) };
        }
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job").finish_non_exhaustive()
    }
}

/// Runs a closure and frees its box.
///
/// # Safety
/// `closure` is a leaked `Box<F>` that nothing else uses, and what it borrows is alive.
unsafe fn run_closure<F: FnOnce()>(closure: NonNull<()>) {
    // SAFETY: by the contract.
    let run = unsafe { Box::from_raw(closure.cast::<F>().as_ptr()) };
    run();
}

/// Drops a closure and frees its box.
///
/// # Safety
/// As for [`run_closure`].
unsafe fn discard_closure<F>(closure: NonNull<()>) {
    // SAFETY: by the contract.
    drop(unsafe { Box::from_raw(closure.cast::<F>().as_ptr()) });
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    #[test]
    fn a_scope_waits_for_jobs_that_are_run_elsewhere() {
        let (to_thread, jobs) = mpsc::channel::<Job>();
        let thread = thread::spawn(move || jobs.into_iter().for_each(Job::run));
        let mut numbers = [0; 100];
        for round in 1..=100 {
            let sum = scope(|scope| {
                for number in &mut numbers {
                    to_thread.send(scope.job(move || *number += round)).unwrap();
                }
                round
            });
            assert_eq!(sum, round);
        }
        assert_eq!(numbers, [5050; 100]);
        drop(to_thread);
        thread.join().unwrap();
    }

    #[test]
    fn a_job_that_is_dropped_or_panics_is_over() {
        let dropped = Mutex::new(Vec::new());
        struct Tells<'d>(&'d Mutex<Vec<u32>>, u32);
        impl Drop for Tells<'_> {
            fn drop(&mut self) {
                self.0.lock().unwrap().push(self.1);
            }
        }
        scope(|scope| {
            let tells = Tells(&dropped, 1);
            drop(scope.job(move || drop(tells)));
            let tells = Tells(&dropped, 2);
            let job = scope.job(move || {
                let _tells = tells;
                panic!("no luck");
            });
            assert!(thread::spawn(move || job.run()).join().is_err());
        });
        assert_eq!(dropped.into_inner().unwrap(), [1, 2]);
    }

    #[test]
    fn a_panic_of_the_body_waits_for_the_jobs() {
        let mut number = 0;
        let (to_thread, jobs) = mpsc::channel::<Job>();
        let (unwinds, may_run) = mpsc::channel::<()>();
        let thread = thread::spawn(move || {
            // Not before the body is over: its end of the channel is dropped as it unwinds.
            let _ = may_run.recv();
            jobs.into_iter().for_each(Job::run);
        });
        let panic = catch_unwind(AssertUnwindSafe(|| {
            scope(|scope| {
                let _unwinds = unwinds;
                to_thread.send(scope.job(|| number = 7)).unwrap();
                panic!("no luck");
            })
        }));
        assert_eq!(*panic.unwrap_err().downcast::<&str>().unwrap(), "no luck");
        assert_eq!(number, 7);
        drop(to_thread);
        thread.join().unwrap();
    }
}
