//! A lock for this process's own bookkeeping; a forked child can tell whether it is really held.

use core::cell::UnsafeCell;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};

use crate::atomics::{AtomicU32, Ordering};
use crate::sys::futex::{self, Scope};
use crate::sys::process;

/// ```text
/// 0                free
/// epoch            held by a thread of the process that has this epoch
/// epoch | WAITED   held, and others may be asleep on the word
/// ```
///
/// After `fork` a child may find the lock held by a thread that it does not have. The handlers of [`super::fork`]
/// acquire our locks around every `fork` of the C library, so that this does not happen. A child created without the
/// library finds another [epoch](process::epoch) than its own in the word, takes the lock over, and learns that the
/// protected value may be half-written.
pub(in crate::arena) struct LocalLock<T> {
    word: AtomicU32,
    value: UnsafeCell<T>,
}

const WAITED: u32 = 1 << 31;

/// The value that this process writes to its locks; never 0.
fn here() -> u32 {
    process::epoch() as u32 & !WAITED | u32::from(process::epoch() == 0)
}

// SAFETY: the value is reachable only through a guard, and there is only one guard at a time.
unsafe impl<T: Send> Sync for LocalLock<T> {}

pub(in crate::arena) struct LocalGuard<'a, T> {
    lock: &'a LocalLock<T>,
    /// Sharing a guard shares the value, so a guard is `Sync` only if the value may be shared.
    _value: PhantomData<&'a T>,
    /// Whether the previous holder never released the lock: validate the value before using it.
    pub torn: bool,
}

impl<T> LocalLock<T> {
    pub(in crate::arena) const fn new(value: T) -> Self {
        Self { word: AtomicU32::new(0), value: UnsafeCell::new(value) }
    }

    pub(in crate::arena) fn lock(&self) -> LocalGuard<'_, T> {
        let me = here();
        match self.word.compare_exchange(0, me, Ordering::Acquire, Ordering::Relaxed) {
            Ok(_) => LocalGuard { lock: self, _value: PhantomData, torn: false },
            Err(_) => LocalGuard { lock: self, _value: PhantomData, torn: self.lock_contended(me) },
        }
    }

    #[cold]
    fn lock_contended(&self, me: u32) -> bool {
        loop {
            let seen = self.word.load(Ordering::Relaxed);
            let holder = seen & !WAITED;
            if holder == 0 || holder != me {
                // A thread that had to wait leaves the mark, since others may still be waiting.
                if self.word.compare_exchange(seen, me | WAITED, Ordering::Acquire, Ordering::Relaxed).is_ok() {
                    return holder != 0;
                }
                continue;
            }
            let marked = seen | WAITED;
            if seen == marked || self.word.compare_exchange(seen, marked, Ordering::Relaxed, Ordering::Relaxed).is_ok()
            {
                futex::wait(&self.word, marked, u64::MAX / 2, Scope::Private);
            }
        }
    }

    fn unlock(&self) {
        if self.word.swap(0, Ordering::Release) & WAITED != 0 {
            futex::wake(&self.word, 1, Scope::Private);
        }
    }

    /// The value, for a thread that holds the lock without a guard.
    ///
    /// # Safety
    /// The calling thread holds the lock, and no other reference to the value is alive.
    pub(in crate::arena) unsafe fn peek(&self) -> &T {
        // SAFETY: the lock is held, and the caller guarantees the rest.
        unsafe { &*self.value.get() }
    }

    /// In a forked child whose forking thread held the lock: releases it. There are no other threads to wake.
    ///
    /// # Safety
    /// The calling thread is the copy of the one that acquired the lock, and is the only thread of this process.
    pub(in crate::arena) unsafe fn unlock_in_child(&self) {
        self.word.store(0, Ordering::Release);
    }

    /// Releases a lock whose guard was forgotten.
    ///
    /// # Safety
    /// The calling thread holds it.
    pub(in crate::arena) unsafe fn unlock_forgotten(&self) {
        self.unlock();
    }
}

impl<T> Deref for LocalGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the guard holds the lock.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T> DerefMut for LocalGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the guard holds the lock, and is borrowed exclusively.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T> Drop for LocalGuard<'_, T> {
    fn drop(&mut self) {
        self.lock.unlock();
    }
}
