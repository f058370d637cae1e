//! Processes, and what they share: queues, pipes, locks, numbers. Nothing hangs because one of them died.
//!
//! Threads share everything, also a crash, a leak and a stray pointer. Processes share nothing; so people who want
//! their isolation build pipes and protocols, and find out one by one what happens when somebody is killed in the
//! middle. Here a process is started as easily as a thread, its result is joined like a thread's, and what the
//! processes of a program share lives in shared memory that survives the death of any of them, at any instruction.
//!
//! # A process
//!
//! [`task!`] defines functions as usual, with which processes can be started too. A child is this very program once more,
//! which begins with the task in place of `main`: nothing that stands in `main` is in its way, or there for it. (So
//! [`init`] first in `main` is a formality, but for programs that are linked in an unusual way.)
//!
//! ```standalone_crate
//! kettle::task! {
//!     fn add(a: u64, b: u64) -> u64 {
//!         a + b
//!     }
//! }
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     kettle::init();
//!     let process = add::start(1, 2)?;
//!     println!("process {} adds", process.pid());
//!     assert_eq!(process.join()?, 3);
//!     Ok(())
//! }
//! ```
//!
//! Arguments and results travel by [serde](https://serde.rs), [nearly all](#values) that it can write. A [`Process`] can be [waited for](Process::wait_timeout),
//! [terminated](Process::terminate) and [killed](Process::kill); its [`join`](Process::join) gives the result, or tells
//! of the panic, the exit code or the signal that was in the way. `add::builder(1, 2)` gives a [`Builder`], for a
//! process with a name, or a daemon; and [`in_each_child!`] has each child set up a logger, say.
//!
//! A process dies with its parent, however that one ends and whatever it is doing itself. None is left behind.
//!
//! # A pool
//!
//! A [`Pool`] keeps processes at hand to run tasks, many of them if need be. It survives its workers: one that is killed,
//! crashes or hangs fails the task that it was at, and is replaced. `square::call` makes a call of the task's arguments.
//!
//! ```standalone_crate
//! kettle::task! {
//!     fn square(n: u64) -> u64 {
//!         n * n
//!     }
//! }
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     kettle::init();
//!     let pool = kettle::Pool::new()?;
//!     assert_eq!(pool.apply(square::call(7))?, 49);
//!     assert_eq!(pool.map(square::call, 0..5)?, [0, 1, 4, 9, 16]);
//!     let handle = pool.submit(square::call(8))?;
//!     assert_eq!(handle.join()?, 64);
//!     Ok(())
//! }
//! ```
//!
//! There are time limits, retries, cancellation, lazy input and more: see [`mod@pool`]. Where no isolation is needed, a
//! [`ThreadPool`] does the same with threads, and its tasks are closures: see [`mod@thread_pool`].
//!
//! # Queues
//!
//! A [`Queue`] carries items between any number of processes. It may be an argument of a task, or an item of another
//! queue, and it is the same queue everywhere.
//!
//! ```standalone_crate
//! use kettle::Queue;
//!
//! kettle::task! {
//!     fn shout(words: Queue<String>, loud: Queue<String>) {
//!         for word in words.iter() {
//!             loud.put(word.expect("a word").to_uppercase()).expect("the queue is open");
//!         }
//!     }
//! }
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     kettle::init();
//!     let (words, loud) = (Queue::bounded(10)?, Queue::new()?);
//!     let process = shout::start(words.clone(), loud.clone())?;
//!     words.put("kettle".to_string())?;
//!     assert_eq!(loud.get()?, "KETTLE");
//!     words.shutdown();
//!     process.join()?;
//!     Ok(())
//! }
//! ```
//!
//! `put` returns when the item is safe in shared memory, and fails at once if it cannot be encoded. Big byte strings
//! travel as [`Bytes`], which are not copied out. [`JoinableQueue`] knows when all items have been dealt with.
//! A [`channel()`] has ends instead, [`Sender`]s and [`Receiver`]s: when the last of one kind is dropped or dies, the
//! others are told. And [`mod@pipe`] connects two processes in both directions.
//!
//! # Values
//!
//! Items, arguments and results are values of any type that serde can write and read, and that owns what it consists of
//! (`Serialize + DeserializeOwned`). A message has no names and no types in it, only data in the order of the fields. A
//! value arrives as it was sent if what its `Serialize` writes and what its `Deserialize` reads match call by call. With
//! serde's derive they do, whatever the type: structs, tuples, enums, options in options, maps with any keys, 128 bits,
//! `#[serde(skip)]`, `default`, `rename`, `alias`, `transparent`, `from`, `into`, and `with` if its halves match.
//!
//! A value with which they do not match is refused by the call that would send it, with an [`EncodeError`] that names the
//! type and says what to do. The item is not lost: the error hands it back. Such a value can be sent nevertheless, as a
//! [`Described`], which takes its names and types with it and costs more. This concerns
//!
//! * a field that is left out here: by `skip_serializing_if` (if it is to be skipped; otherwise the value is sent),
//!   `skip_serializing` or `skip_deserializing`;
//! * types that ask what comes next: `tag`, `untagged`, `flatten`, `serde_json::Value`;
//! * a variant that stands behind one with `#[serde(skip)]`;
//! * sequences and maps of unknown length;
//! * values that are nested more than 256 levels deep.
//!
//! A `Described` takes all of these but the last, or says why not. (A value nested that deeply can be sent as a list of
//! its parts.)
//!
//! To know this, the sender reads the first value of each shape back itself, once in each process. (A shape is which
//! variants, options and empty sequences a value has, and where.) So an `impl Serialize` may be called several times for one
//! value, and an `impl Deserialize` where the value is sent. Both must go by the value and nothing else.
//!
//! # Locks and numbers
//!
//! A [`Lock`] is around the value that it protects, as a `Mutex` is, but the value stands in shared memory. If a
//! process is killed while it holds the lock, the others are told so, and the value is as it was before.
//!
//! ```standalone_crate
//! use kettle::{AcquireError, Lock};
//!
//! kettle::task! {
//!     fn sell(tickets: Lock<u32>) {
//!         *tickets.acquire().expect("nobody died") -= 1;
//!     }
//!
//!     fn die_with(tickets: Lock<u32>) {
//!         let mut left = tickets.acquire().expect("nobody died");
//!         *left = 0;
//!         std::process::abort();
//!     }
//! }
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     kettle::init();
//!     let tickets = Lock::new(10)?;
//!     sell::start(tickets.clone())?.join()?;
//!     assert_eq!(*tickets.acquire()?, 9);
//!
//!     let dead = die_with::start(tickets.clone())?;
//!     let pid = dead.pid();
//!     assert!(dead.join().is_err());
//!     assert!(matches!(tickets.acquire(), Err(AcquireError::OwnerDied(death)) if death.pid == Some(pid)));
//!     tickets.reset()?;
//!     assert_eq!(*tickets.acquire()?, 9);
//!     Ok(())
//! }
//! ```
//!
//! For single numbers there are [`Value`] and [`Array`], which need no lock. Then there are [`RLock`], [`Semaphore`],
//! [`BoundedSemaphore`], [`Condition`], [`Event`] and [`Barrier`], and [`wait`] for any of several things at once. What
//! waits has a form with a time limit, and what can be looked at has `statistics()`; the shared memory as a whole has
//! [`session::statistics`], and a [limit](session::set_limit).
//!
//! # Threads
//!
//! All of these serve the threads of one process as well. Where nothing crosses a process there are their siblings in
//! [`threads`], of the same names: they hold values of any type, encode nothing, and need no shared memory. So a program
//! moves between processes and threads by the line that says `use`.
//!
//! ```
//! use kettle::threads::{Lock, PriorityQueue};
//!
//! let Ok(log) = Lock::new(Vec::new());
//! let Ok(jobs) = PriorityQueue::new();
//! jobs.put_many([(2, "dust"), (1, "cook")])?;
//! jobs.shutdown();
//! std::thread::scope(|scope| {
//!     scope.spawn(|| {
//!         for Ok((_, job)) in jobs.iter() {
//!             log.acquire().expect("nobody panicked").push(job);
//!         }
//!     });
//! });
//! assert_eq!(*log.acquire()?, ["cook", "dust"]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The mutex and the channels of the standard library do less and are lighter; what these have that those have not says
//! the [module](threads).
//!
//! # Deadlocks
//!
//! Threads that wait for each other's locks, of one or several processes, are found out after a second, without any cost
//! for a lock that is got earlier: the `acquire` of one of them fails, or it is reported; see [`deadlock`].
//!
//! # Tasks of tokio
//!
//! With the feature `tokio`, what waits has an awaitable form besides: [`Queue::get_async`](Queue), `put_async`,
//! `acquire_async`, `recv_async`, `join_async` and so on. They block no thread, and no thread is behind them: a runtime
//! has one descriptor that rings when something in shared memory has changed. All can be dropped at any time (by
//! `tokio::time::timeout` or `select!`) and have then done nothing. The runtime needs its I/O and time drivers, as
//! `enable_all` gives.
//!
//! A task of a pool can be awaited on any runtime, without that feature: its [`Handle`](pool::Handle) is a future.
//!
//! # Errors and panics
//!
//! What can fail returns a `Result`, and says there what went wrong: also that the shared memory is [damaged](SessionDamaged),
//! and that this process [cannot take part](OutOfMemory) in the session (the table of processes is full, say, or there is no
//! address space for the shared memory). Some calls have no `Result`, since nothing else can happen to them. In a damaged
//! session they panic, with the text of [`SessionDamaged`]:
//!
//! * [`Semaphore`] and [`BoundedSemaphore`]: `acquire`, `try_acquire`, `acquire_timeout`, `acquire_async`;
//! * [`Event`]: `wait`, `wait_timeout`, `wait_async`;
//! * [`Value`]: all that read or write it. ([`Value::compare_exchange`] has an error, which is the number that stands there.)
//! * [`Array`]: all that read or write elements.
//!
//! Such a panic comes before anything is taken or written, and poisons nothing: it leaves no lock taken, breaks no lock,
//! and what only threads share goes on. None of these needs the name of its process, so none panics where that cannot
//! take part. Besides, an index that an array does not have panics, as in a slice, and so does what `# Panics` says at its
//! call.
//!
//! # What cannot be
//!
//! * Values of some types cannot be sent, which [their sender is told](#values).
//! * A handle means something only to the processes of one *session*: the program and all that it started by this
//!   library. To others it is a clear error.
//! * Linux only. A process that ignores `SIGCHLD` cannot learn how its children ended.

#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod array;
mod bytes;
pub mod channel;
mod codec;
pub mod deadlock;
pub mod described;
mod error;
#[doc(hidden)]
pub mod event_loop;
mod label;
pub mod pipe;
mod place;
mod plain;
pub mod pool;
pub mod process;
pub mod queue;
#[cfg(feature = "tokio")]
mod reactor;
pub mod session;
pub mod sync;
pub mod thread_pool;
pub mod threads;
mod value;
mod wait;

pub use array::{Array, SharedBytes};
pub use bytes::Bytes;
pub use channel::{Receiver, RecvError, SendError, Sender, bounded_channel, channel};
pub use described::Described;
pub use error::{
    AcquireError, DecodeError, DescriptorLost, EncodeError, HeldByTheLiving, OutOfMemory, OwnerDied, SessionDamaged,
};
pub use pipe::{Connection, Pipe, one_way_pipe, pipe};
pub use plain::{Number, Plain};
pub use pool::Pool;
pub use process::{Builder, Process, StartError, init};
pub use queue::{GetError, JoinableQueue, PutError, Queue, SimpleQueue};
pub use session::descriptors;
pub use sync::{Barrier, BoundedSemaphore, Condition, Event, Lock, LockGuard, OnOwnerDeath, RLock, Semaphore};
pub use thread_pool::ThreadPool;
pub use value::Value;
pub use wait::{Readable, Waitable, wait};

/// For the macros.
#[doc(hidden)]
pub mod __private {
    pub use crate::process::{Entry, Harness, Setup};
    pub use inventory;
}

/// Has the examples of the README tested.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
