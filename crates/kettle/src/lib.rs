//! Processes and what they share: queues, pipes, locks, numbers. The death of a process never makes another one hang.
//!
//! Threads share everything, including crashes, leaks and stray pointers. Processes share nothing, so programs that
//! need their isolation build pipes and protocols, and then have to handle a process that is killed in the middle of
//! one. With this crate a process is started as easily as a thread, its result is joined like a thread's, and the
//! objects that processes share are in shared memory that survives the death of any process, at any instruction.
//!
//! # A process
//!
//! [`task!`] defines ordinary functions that a process can also be started with. A child runs the same program, but the
//! task in place of `main`: no code of `main` runs in it. (The call of [`init`] at the beginning of `main` is therefore
//! a formality, except in programs that are linked in an unusual way.)
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
//! Arguments and results travel by [serde](https://serde.rs), [nearly all](#values) that it can write. A [`Process`]
//! can be [waited for](Process::wait_timeout),
//! [terminated](Process::terminate) and [killed](Process::kill); its [`join`](Process::join) gives the result, or tells
//! of the panic, the exit code or the signal that was in the way. `add::builder(1, 2)` gives a [`Builder`], for a
//! process with a name, or a daemon; and [`in_each_child!`] has each child set up a logger, say.
//!
//! A process dies with its parent, however the parent ends and whatever the process is doing, unless it was started
//! with [`outlive_parent`](Builder::outlive_parent).
//!
//! # A pool
//!
//! A [`Pool`] runs tasks in long-lived worker processes, and survives their deaths: if a worker is killed, crashes or
//! hangs, only the task that it was running fails, and the worker is replaced. `square::call` creates a call from the
//! task's arguments.
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
//! There are time limits, retries, cancellation, lazy input and more: see [`mod@pool`]. If no isolation is needed, a
//! [`ThreadPool`] does the same with threads, and its tasks are closures: see [`mod@thread_pool`].
//!
//! # Queues
//!
//! A [`Queue`] transfers items between any number of processes. It can be passed as an argument of a task or as an item
//! of another queue, and remains the same queue everywhere.
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
//! `put` returns when the item is safe in shared memory, and fails at once if it cannot be encoded. A `Vec<u8>` is copied
//! in one piece; large byte strings are sent as [`Bytes`], and numbers or other [plain](Plain) data as a
//! [`SharedSlice`], which the receiver reads in place. A [`JoinableQueue`] tracks whether all items have been
//! processed. A [`channel()`] has separate ends, [`Sender`]s and [`Receiver`]s: when the last end of one kind is
//! dropped or its process dies, operations on the other ends report it. A [`Select`] takes what comes first from any of
//! several queues and channels. A [`mod@pipe`] connects two processes in both directions.
//!
//! # Values
//!
//! Items, arguments and results are values of any owned type that serde can write and read (`Serialize +
//! DeserializeOwned`). A message contains no names and no types, only data in the order of the fields. A value arrives
//! as it was sent if its `Serialize` writes exactly what its `Deserialize` reads, call by call. With serde's derive
//! this holds for any type: structs, tuples, enums, nested options, maps with any keys, 128-bit integers,
//! `#[serde(skip)]`, `default`, `rename`, `alias`, `transparent`, `from`, `into`, and `with` if its two functions
//! match.
//!
//! If they do not match for a value, the call that would send it returns an [`EncodeError`] that names the type and
//! says what to do; the error returns the item. Such a value can still be sent as a [`Described`], which includes its
//! names and types and costs more. This concerns
//!
//! * a field that is left out here: by `skip_serializing_if` (if it is to be skipped; otherwise the value is sent),
//!   `skip_serializing` or `skip_deserializing`;
//! * types that need a self-describing format: `tag`, `untagged`, `flatten`, `serde_json::Value`;
//! * a variant declared after one with `#[serde(skip)]`;
//! * sequences and maps of unknown length;
//! * values that are nested more than 256 levels deep.
//!
//! A `Described` supports all of these but the last, or reports why not. (A value nested that deeply can be sent as a
//! list of its parts.)
//!
//! To detect this, the sender itself reads back the first value of each shape, once in each process. (The shape of a
//! value is the set of its variants, options and empty sequences with their positions.) An `impl Serialize` may
//! therefore be called several times for one value, and an `impl Deserialize` in the sending process. Both must depend
//! only on the value.
//!
//! # Locks and numbers
//!
//! A [`Lock`] contains the value that it protects, like a `Mutex`, but the value is in shared memory. If a process is
//! killed while it holds the lock, the next `acquire` reports it, and the value is unchanged.
//!
//! ```standalone_crate
//! use kettle::{AcquireError, Lock};
//!
//! kettle::task! {
//!     fn sell(tickets: Lock<u32>) {
//!         *tickets.acquire().expect("no holder died") -= 1;
//!     }
//!
//!     fn die_with(tickets: Lock<u32>) {
//!         let mut left = tickets.acquire().expect("no holder died");
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
//! For numbers there are [`Value`] and [`Array`], which need no lock. There are also [`RwLock`], [`RLock`],
//! [`Semaphore`], [`BoundedSemaphore`], [`Condition`], [`Event`], [`Barrier`], [`Once`] and [`OnceLock`], and [`wait`]
//! for any of several objects at once.
//! Every blocking method has a variant with a time limit. The primitives have `statistics()`; the shared memory as a
//! whole has [`session::statistics`], and a [limit](session::set_limit).
//!
//! # Threads
//!
//! All of these also work between the threads of one process. For programs that share nothing with other processes,
//! [`threads`] has types of the same names, which hold values of any type, encode nothing, and need no shared memory.
//! To move between processes and threads, a program changes a `use` declaration.
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
//!             log.acquire().expect("no holder panicked").push(job);
//!         }
//!     });
//! });
//! assert_eq!(*log.acquire()?, ["cook", "dust"]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A [`threads::Mutex`] or [`threads::RwLock`] needs no handle and no allocation, so it can be a `static`. The mutex
//! and the channels of the standard library are lighter and do less; the [module](threads) lists the differences.
//!
//! # Deadlocks
//!
//! Threads that wait for each other's locks, in one or several processes, are detected after a second: the `acquire` of
//! one of them fails, or the deadlock is reported; see [`deadlock`]. An acquisition that takes less time costs nothing
//! extra.
//!
//! # Tasks of tokio
//!
//! With the feature `tokio`, blocking methods also have an awaitable variant: [`Queue::get_async`](Queue), `put_async`,
//! `acquire_async`, `recv_async`, `join_async` and so on. They neither block a thread nor need a helper thread: each
//! runtime has one descriptor that becomes readable when something in shared memory has changed. All of these futures
//! are cancel safe: they can be dropped at any time (by `tokio::time::timeout` or `select!`) and then have had no
//! effect. The runtime needs its I/O and time drivers (`enable_all`).
//!
//! A task of a pool can be awaited on any runtime, without that feature: its [`Handle`](pool::Handle) is a future. With
//! the feature `futures`, receivers and queues are streams, and senders are sinks: see `streams`.
//!
//! # Names
//!
//! Queues and locks have the names of Python's modules, and those that Rust programmers look for beside them: `put` is
//! also `send`, `get` is `recv`, `acquire` is `lock`, `shutdown` is `close`, `maxsize` is `capacity`, each with its
//! variants (`try_recv`, `lock_timeout`, `send_async`).
//!
//! # Errors and panics
//!
//! Operations that can fail return a `Result`. Its errors include that the shared memory is [damaged](SessionDamaged),
//! and that this process [cannot take part](OutOfMemory) in the session (because the table of processes is full, for
//! example, or there is no address space for the shared memory). Some methods return no `Result`, because a damaged
//! session is the only possible failure. In that case they panic with the text of [`SessionDamaged`]:
//!
//! * [`Semaphore`] and [`BoundedSemaphore`]: `acquire`, `try_acquire`, `acquire_timeout`, `acquire_async`;
//! * [`Event`]: `wait`, `wait_timeout`, `wait_async`;
//! * [`OnceLock::get`] and [`Once::is_completed`];
//! * [`Value`]: all methods that read or write it. (The error of [`Value::compare_exchange`] is the current number.)
//! * [`Array`]: all methods that read or write elements.
//!
//! Such a panic occurs before anything is acquired or written, and poisons nothing: no lock stays acquired or breaks,
//! and objects shared only by threads continue to work. None of these methods needs a registration of its process, so
//! none panics in a process that cannot take part. In addition, an index out of range panics, as for a slice, and so do
//! the cases listed under `# Panics` of a method.
//!
//! # What cannot be
//!
//! * Values of some types cannot be sent; [sending them is an error](#values).
//! * A handle means something only to the processes of one *session*: the program and all that it started by this
//!   library. To others it is a clear error.
//! * Linux only. A process that ignores `SIGCHLD` cannot learn how its children ended.

#![forbid(unsafe_code)]
#![deny(missing_debug_implementations)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod array;
#[cfg(feature = "macros")]
pub mod attr;
mod bytes;
pub mod channel;
mod codec;
pub mod deadlock;
pub mod described;
mod error;
#[doc(hidden)]
pub mod event_loop;
mod label;
mod panic;
pub mod pipe;
mod place;
mod plain;
pub mod pool;
pub mod process;
pub mod queue;
#[cfg(feature = "tokio")]
mod reactor;
pub mod select;
pub mod session;
mod shared_slice;
#[cfg(feature = "futures")]
pub mod streams;
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
pub use panic::Panic;
pub use pipe::{Connection, Pipe, one_way_pipe, pipe};
pub use plain::{Number, Plain};
pub use pool::Pool;
pub use process::{Builder, Process, StartError, init};
pub use queue::{GetError, JoinableQueue, PutError, Queue, SimpleQueue};
pub use select::Select;
pub use session::descriptors;
pub use shared_slice::SharedSlice;
pub use sync::{
    Barrier, BoundedSemaphore, Condition, Event, Lock, LockGuard, OnOwnerDeath, Once, OnceLock, RLock, RwLock,
    Semaphore,
};
pub use thread_pool::ThreadPool;
pub use value::Value;
pub use wait::{Readable, Waitable, wait};

/// Used by the macros.
#[doc(hidden)]
pub mod __private {
    pub use crate::process::{Entry, Harness, Setup, must_be_sendable};
    pub use inventory;
}

/// Tests the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
