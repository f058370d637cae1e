//! Locks around a value, which nobody gets at without holding them.

use core::cell::UnsafeCell;
use core::fmt;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::thread;

use super::{Acquired, Heap, Holder, Lock, LockError, OnOwnerDeath, ReentrantLock, ResetError};
use crate::stats::LockStatistics;
use crate::sys::Owner;
use crate::wait::{Line, Patience};

/// A [`Lock`] of this process, and the value that only its holder can see.
///
/// A holder that panics abandons the lock, since it may have left the value half changed: see [`Lock::abandon`]. So
/// nothing hands out the lock itself; anybody could release that. A hold is a scope.
pub struct Guarded<T> {
    lock: Lock,
    value: UnsafeCell<T>,
}

// SAFETY: a reference to the value is had by way of a `Hold` alone, and there is one of these at a time: it is made when
// the lock was taken, and the lock is left when it is dropped. So threads pass the value to each other, for which it is
// `Send`. What one wrote, the next one sees: taking is an acquire, leaving a release.
unsafe impl<T: Send> Sync for Guarded<T> {}

// A panic in the middle of a change is not overlooked: the lock is broken.
impl<T> UnwindSafe for Guarded<T> {}
impl<T> RefUnwindSafe for Guarded<T> {}

/// The right to the value of a [`Guarded`]. Dropping it leaves the lock.
#[must_use = "the lock is free again as soon as its hold is dropped"]
pub struct Hold<'a, T> {
    guarded: &'a Guarded<T>,
    from: Owner,
    panics: Panics,
    /// It may go where a `&mut T` may.
    value: PhantomData<&'a mut T>,
}

impl<T> Guarded<T> {
    /// A free lock around `value`.
    pub fn new(value: T, policy: OnOwnerDeath) -> Self {
        Self { lock: Lock::new(policy), value: UnsafeCell::new(value) }
    }

    /// The lock is this thread's now.
    #[inline]
    fn hold(&self, how: Acquired) -> Hold<'_, T> {
        Hold { guarded: self, from: dead_in(how), panics: Panics::now(), value: PhantomData }
    }

    /// Takes the lock if it is free.
    #[inline]
    pub fn try_acquire_now(&self) -> Option<Hold<'_, T>> {
        self.lock.try_acquire_scoped::<Heap>().then(|| self.hold(Acquired::Clean))
    }

    /// Takes the lock, waiting as long as `patience` allows.
    ///
    /// # Errors
    /// See [`LockError`].
    pub fn acquire(&self, patience: &Patience<'_>) -> Result<Hold<'_, T>, LockError> {
        self.lock.acquire_scoped::<Heap>(patience).map(|how| self.hold(how))
    }
}

impl<T> Hold<'_, T> {
    /// See [`Lock::unscope`].
    pub fn unscope(&self) {
        self.guarded.lock.unscope();
    }
}

impl<T> Deref for Hold<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: this is the only hold there is (see `Sync`), and it is borrowed while the reference lives.
        unsafe { &*self.guarded.value.get() }
    }
}

impl<T> DerefMut for Hold<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: this is the only hold there is, and it is borrowed for this reference alone.
        unsafe { &mut *self.guarded.value.get() }
    }
}

impl<T> Drop for Hold<'_, T> {
    #[inline]
    fn drop(&mut self) {
        if self.panics.began_since() {
            return self.guarded.lock.abandon::<Heap>();
        }
        // It is held, by this hold.
        let _ = self.guarded.lock.release::<Heap>();
    }
}

/// A [`ReentrantLock`] of this process, and the value that only its holder can see: shared, since it may see it by
/// several holds.
pub struct ReentrantGuarded<T> {
    lock: ReentrantLock,
    value: T,
}

// SAFETY: a reference to the value is had by way of a `ReentrantHold` alone, and these are of one thread at a time,
// which they cannot leave. So threads pass the value to each other, for which it is `Send`; what the value lets change
// through a shared reference, one thread changes at a time.
unsafe impl<T: Send> Sync for ReentrantGuarded<T> {}

impl<T> UnwindSafe for ReentrantGuarded<T> {}
impl<T> RefUnwindSafe for ReentrantGuarded<T> {}

/// One hold of a [`ReentrantGuarded`]. Dropping it leaves the lock once. It stays with its thread.
#[must_use = "the lock is left again as soon as its hold is dropped"]
pub struct ReentrantHold<'a, T> {
    guarded: &'a ReentrantGuarded<T>,
    from: Owner,
    panics: Panics,
    /// Only the thread that took the lock may leave it.
    same_thread: PhantomData<*const ()>,
}

impl<T> ReentrantGuarded<T> {
    /// A free lock around `value`.
    pub fn new(value: T, policy: OnOwnerDeath) -> Self {
        Self { lock: ReentrantLock::new(policy), value }
    }

    /// The lock is this thread's now.
    #[inline]
    fn hold(&self, how: Acquired) -> ReentrantHold<'_, T> {
        ReentrantHold { guarded: self, from: dead_in(how), panics: Panics::now(), same_thread: PhantomData }
    }

    /// Takes the lock if it is free, or this thread's already.
    #[inline]
    pub fn try_acquire_now(&self) -> Option<ReentrantHold<'_, T>> {
        self.lock.try_acquire_now::<Heap>().then(|| self.hold(Acquired::Clean))
    }

    /// Takes the lock, or takes it once more, waiting as long as `patience` allows.
    ///
    /// # Errors
    /// See [`LockError`].
    pub fn acquire(&self, patience: &Patience<'_>) -> Result<ReentrantHold<'_, T>, LockError> {
        self.lock.acquire::<Heap>(patience).map(|how| self.hold(how))
    }

    fn lock(&self) -> &Lock {
        self.lock.lock()
    }
}

impl<T> Deref for ReentrantHold<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.guarded.value
    }
}

impl<T> Drop for ReentrantHold<'_, T> {
    #[inline]
    fn drop(&mut self) {
        // It is held, by this hold, which stayed with its thread.
        let _ = match self.panics.began_since() {
            true => self.guarded.lock.abandon::<Heap>(),
            false => self.guarded.lock.release::<Heap>(),
        };
    }
}

#[inline]
fn dead_in(how: Acquired) -> Owner {
    match how {
        Acquired::Clean => Owner::default(),
        Acquired::FromDead(owner) => owner,
    }
}

/// Whether this thread was panicking at some time: what runs in a destructor then is not to blame for it.
#[derive(Clone, Copy, Debug)]
struct Panics(bool);

impl Panics {
    #[inline]
    fn now() -> Self {
        Self(thread::panicking())
    }

    #[inline]
    fn began_since(self) -> bool {
        thread::panicking() && !self.0
    }
}

macro_rules! both {
    ($guarded:ident, $hold:ident, |$this:ident| $lock:expr) => {
        impl<T> $guarded<T> {
            /// Makes a broken lock free again; nothing if it is free.
            ///
            /// # Errors
            /// When it is held.
            pub fn reset(&self) -> Result<(), ResetError> {
                let $this = self;
                $lock.reset::<Heap>()
            }

            /// Who holds it now, or abandoned it.
            pub fn owner(&self) -> Option<Owner> {
                let $this = self;
                $lock.owner()
            }

            /// The same, to be asked again later.
            pub fn holder(&self) -> Holder<'_> {
                let $this = self;
                $lock.holder()
            }

            /// Whether its holder abandoned it.
            pub fn is_broken(&self) -> bool {
                let $this = self;
                $lock.is_broken()
            }

            /// Where those wait who want it.
            pub fn freed(&self) -> &Line {
                let $this = self;
                $lock.freed()
            }

            /// How it is.
            pub fn statistics(&self) -> LockStatistics {
                let $this = self;
                $lock.statistics()
            }
        }

        impl<T> $hold<'_, T> {
            /// Who abandoned the lock before it came here, if somebody did.
            pub fn recovered_from(&self) -> Option<Owner> {
                (!self.from.is_nobody()).then_some(self.from)
            }
        }

        impl<T> fmt::Debug for $guarded<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($guarded)).field("owner", &self.owner()).finish_non_exhaustive()
            }
        }

        impl<T: fmt::Debug> fmt::Debug for $hold<'_, T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                (**self).fmt(f)
            }
        }
    };
}

both!(Guarded, Hold, |this| this.lock);
both!(ReentrantGuarded, ReentrantHold, |this| this.lock());
