//! Waiting for any of several objects.

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

use kettle_core::damage;
use kettle_core::sys::process;
use kettle_core::sys::socket::{self, Watch};
use kettle_core::wait::{Deadline, Doorbell, EventCount, Patience, Scope, WatchError, sleep_on};

use crate::channel::{Receiver, Sender};
use crate::error::SessionDamaged;

use crate::pipe::{Connection, Receiver as PipeReceiver};
use crate::plain::Plain;
use crate::process::Process;
use crate::queue::{JoinableQueue, Queue, SimpleQueue};
use crate::session;
use crate::sync::{BoundedSemaphore, Event, Lock, Semaphore};
use crate::threads;

/// An object that [`wait`] can wait for. It is ready when the operation that would wait for it would not block.
///
/// A queue or a [`Receiver`] is ready when it has an item (or was shut down, or is disconnected), a connection when
/// something can be received, a lock when it is free (or broken), a semaphore when it has a permit, an event when it is
/// set, a process when it has ended, and any descriptor ([`Readable`]) when it can be read.
pub trait Waitable: sealed::Waitable {}

impl<W: sealed::Waitable> Waitable for W {}

mod sealed {
    use super::{EventCount, Scope, Watch};

    /// What announces a change.
    #[derive(Debug)]
    pub enum Source<'a> {
        /// An event count in shared memory or on the heap.
        Events(&'a EventCount, Scope),
        /// A file descriptor; `None` if the program closed it, so that the object must be polled.
        Descriptor(Option<Watch>),
    }

    pub trait Waitable {
        fn is_ready(&self) -> bool;
        fn source(&self) -> Source<'_>;
    }
}

use sealed::Source;

/// Waits until at least one of `things` is ready or `timeout` has passed (`None` means no limit). Returns the indices
/// of all that are ready.
///
/// ```
/// use std::time::Duration;
///
/// let (jobs, stop) = (kettle::Queue::<u32>::new()?, kettle::Event::new()?);
/// assert_eq!(kettle::wait(&[&jobs, &stop], Some(Duration::ZERO))?, []);
/// jobs.put(7)?;
/// assert_eq!(kettle::wait(&[&jobs, &stop], None)?, [0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Readiness is a hint: another thread or process may take the item first. So continue with `try_get` or its
/// equivalent; or let a [`Select`](crate::Select) take the item.
///
/// # Errors
/// If there are no file descriptors left, or one of `things` is a descriptor that is not open; or with a
/// [`SessionDamaged`], if one of `things` is in the session's shared memory and that is damaged.
pub fn wait(things: &[&dyn Waitable], timeout: Option<Duration>) -> io::Result<Vec<usize>> {
    wait_until(things, timeout.map_or(Deadline::NEVER, Deadline::after))
}

/// As [`wait`], until `deadline`.
pub(crate) fn wait_until(things: &[&dyn Waitable], deadline: Deadline) -> io::Result<Vec<usize>> {
    let patience = Patience::until(deadline);
    let ready = || -> Vec<usize> { (0..things.len()).filter(|&i| things[i].is_ready()).collect() };
    let is_shared = things.iter().any(|thing| matches!(thing.source(), Source::Events(_, Scope::Shared)));
    let check = || match is_shared && damage::is_marked(Scope::Shared) {
        true => Err(io::Error::other(SessionDamaged::found())),
        false => Ok(()),
    };
    check()?;
    let found = ready();
    if !found.is_empty() || !patience.may_wait() {
        return Ok(found);
    }
    with_doorbell(|bell| {
        let mut watched = Vec::new();
        let doors = Doors { bell, things };
        loop {
            check()?;
            doors.leave();
            let found = ready();
            if !found.is_empty() {
                return Ok(found);
            }
            watched.clear();
            watched.extend(bell.watch());
            watched.extend(things.iter().filter_map(|thing| match thing.source() {
                Source::Descriptor(watch) => watch,
                Source::Events(..) => None,
            }));
            match sleep_on(&mut watched, &patience) {
                // All objects are checked afterwards in any case.
                Ok(()) => drop(bell.drain()),
                Err(WatchError::Stopped(_)) => return Ok(ready()),
                Err(WatchError::Io(e)) => return Err(e),
            }
            if let Some(closed) = watched.iter().find(|w| w.is_invalid()) {
                let why = format!("descriptor {} is not open", closed.fd());
                return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
            }
        }
    })
}

/// The registration of this thread's doorbell at all objects that it waits for. Dropping it unregisters the doorbell.
struct Doors<'a> {
    bell: &'a Doorbell,
    things: &'a [&'a dyn Waitable],
}

impl Doors<'_> {
    fn events(&self) -> impl Iterator<Item = (&EventCount, Scope)> {
        self.things.iter().filter_map(|thing| match thing.source() {
            Source::Events(events, scope) => Some((events, scope)),
            Source::Descriptor(_) => None,
        })
    }

    fn leave(&self) {
        for (events, _) in self.events() {
            // If there is no room for a registration, the object is checked at the end of the slice.
            let _ = events.leave_door(self.bell.door());
        }
    }
}

impl Drop for Doors<'_> {
    fn drop(&mut self) {
        self.events().for_each(|(events, scope)| events.take_door(self.bell.door(), scope));
    }
}

/// Calls `f` with the doorbell that all waits of this thread share.
fn with_doorbell<R>(f: impl FnOnce(&Doorbell) -> io::Result<R>) -> io::Result<R> {
    thread_local! {
        /// The doorbell with the process that created it: a forked child would consume its parent's notifications.
        static BELL: RefCell<Option<(u32, Doorbell)>> = const { RefCell::new(None) };
    }
    let me = process::id();
    // While thread-local values are destroyed, there may be no place to keep it in.
    let bell = match BELL.try_with(RefCell::take).ok().flatten() {
        Some((pid, bell)) if pid == me && bell.is_ours() => bell,
        _ => {
            // Doorbells require the session, even if nothing else is shared between processes.
            session::join().map_err(io::Error::other)?;
            Doorbell::new()?
        }
    };
    let result = f(&bell);
    let _ = BELL.try_with(|kept| kept.replace(Some((me, bell))));
    result
}

/// Returns whether a descriptor can be read now or is at its end.
pub(crate) fn is_readable(fd: BorrowedFd<'_>) -> bool {
    let mut watched = [Watch::readable(fd.as_raw_fd())];
    matches!(socket::poll(&mut watched, Duration::ZERO), Ok(n) if n > 0)
}

/// Room for one more item, as an object to wait for: ready when a `put` would not wait.
#[derive(Debug)]
pub struct Room<'a, Q>(pub(crate) &'a Q);

macro_rules! by_room {
    ($scope:expr; $($name:ty, $t:ident; |$this:ident| $ready:expr, $line:expr);+ $(;)?) => {$(
        impl<$t> sealed::Waitable for Room<'_, $name> {
            fn is_ready(&self) -> bool {
                let $this = self.0;
                $ready
            }
            fn source(&self) -> Source<'_> {
                let $this = self.0;
                Source::Events($line.events(), $scope)
            }
        }
    )+};
}

by_room! {
    Scope::Shared;
    Queue<T>, T; |queue| !queue.is_full() || queue.is_shut_down(), queue.space();
    JoinableQueue<T>, T; |queue| !queue.is_full() || queue.is_shut_down(), queue.space();
    Sender<T>, T; |sender| !sender.is_full() || sender.is_disconnected(), sender.space();
}

by_room! {
    Scope::Private;
    threads::Queue<T>, T; |queue| !queue.is_full() || queue.is_shut_down(), queue.room();
    threads::LifoQueue<T>, T; |queue| !queue.is_full() || queue.is_shut_down(), queue.room();
    threads::PriorityQueue<T>, T; |queue| !queue.is_full() || queue.is_shut_down(), queue.room();
    threads::Sender<T>, T; |sender| !sender.is_full() || sender.is_disconnected(), sender.room();
}

/// Makes anything with a file descriptor an object to [`wait`] for, which is ready when it can be read.
#[derive(Clone, Copy, Debug)]
pub struct Readable<F>(pub F);

macro_rules! by_events {
    ($scope:expr; $($name:ty $(, $t:ident $(: $bound:path)?)?; |$this:ident| $ready:expr, $events:expr);+ $(;)?) => {$(
        impl$(<$t $(: $bound)?>)? sealed::Waitable for $name {
            fn is_ready(&self) -> bool {
                let $this = self;
                $ready
            }
            fn source(&self) -> Source<'_> {
                let $this = self;
                Source::Events($events, $scope)
            }
        }
    )+};
}

by_events! {
    Scope::Shared;
    Queue<T>, T; |this| !this.body.is_empty() || this.body.is_shut(), this.body.items().events();
    JoinableQueue<T>, T; |this| !this.body.is_empty() || this.body.is_shut(), this.body.items().events();
    SimpleQueue<T>, T; |this| !this.is_empty(), this.queue().body.items().events();
    Receiver<T>, T; |this| this.is_ready(), this.queue().body.items().events();
    Lock<T>, T: Plain; |this| this.body().owner().is_none() || this.body().is_broken(), this.body().freed().events();
    Semaphore; |this| this.available() > 0, this.body().given().events();
    BoundedSemaphore; |this| this.available() > 0, this.body().given().events();
    Event; |this| this.is_set(), this.body().changed();
}

by_events! {
    Scope::Private;
    threads::Queue<T>, T; |this| !this.is_empty() || this.is_shut_down(), this.items().events();
    threads::Receiver<T>, T; |this| !this.is_empty() || this.queue().is_shut_down(), this.queue().items().events();
    threads::LifoQueue<T>, T; |this| !this.is_empty() || this.is_shut_down(), this.items().events();
    threads::PriorityQueue<T>, T; |this| !this.is_empty() || this.is_shut_down(), this.items().events();
    threads::Lock<T>, T; |this| this.guarded().owner().is_none() || this.guarded().is_broken(), this.guarded().freed().events();
    threads::Mutex<T>, T; |this| this.guarded().owner().is_none() || this.guarded().is_broken(), this.guarded().freed().events();
    threads::Semaphore; |this| this.available() > 0, this.body().given().events();
    threads::BoundedSemaphore; |this| this.available() > 0, this.body().given().events();
    threads::Event; |this| this.is_set(), this.body().changed();
}

macro_rules! by_descriptor {
    ($($name:ident <$($t:ident $(: $bound:path)?),+>, |$this:ident| $ready:expr, $watch:expr);+ $(;)?) => {$(
        impl<$($t $(: $bound)?),+> sealed::Waitable for $name<$($t),+> {
            fn is_ready(&self) -> bool {
                let $this = self;
                $ready
            }
            fn source(&self) -> Source<'_> {
                let $this = self;
                Source::Descriptor($watch)
            }
        }
    )+};
}

by_descriptor! {
    Connection<S, R>, |this| this.is_ready(), this.watch();
    PipeReceiver<T>, |this| this.can_receive(), this.watch();
    Process<R>, |this| this.has_ended(), this.watch();
    Readable<F: AsFd>, |this| is_readable(this.0.as_fd()), Some(Watch::readable(this.0.as_fd().as_raw_fd()));
}
