//! The atomics under every algorithm in this crate: `core`'s, or loom's when a model is being checked.
//!
//! Every word that threads or processes share has its type from this module, so `tests/loom.rs` explores the same code
//! that ships.

#[cfg(loom)]
pub use loom::sync::atomic::{AtomicBool, AtomicU16, AtomicUsize, Ordering, fence};
#[cfg(loom)]
pub use model::{AtomicU32, AtomicU64, let_loads_count};

#[cfg(not(loom))]
pub use core::sync::atomic::{AtomicBool, AtomicU16, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};

/// One iteration of a spin loop.
#[inline]
pub fn spin_hint() {
    #[cfg(loom)]
    loom::thread::yield_now();
    #[cfg(not(loom))]
    core::hint::spin_loop();
}

/// Defines a function that is `const`, except under loom, whose atomics are not made at compile time.
macro_rules! const_fn {
    ($(#[$attribute:meta])* $visibility:vis fn $name:ident($($parameters:tt)*) -> $result:ty $body:block) => {
        $(#[$attribute])*
        #[cfg(not(loom))]
        $visibility const fn $name($($parameters)*) -> $result $body

        $(#[$attribute])*
        #[cfg(loom)]
        $visibility fn $name($($parameters)*) -> $result $body
    };
}
pub(crate) use const_fn;

/// An array of atomics that are all zero.
macro_rules! zeros {
    ($($name:ident: $atomic:ident of $int:literal),*) => {$(
        #[cfg(not(loom))]
        pub(crate) const fn $name<const N: usize>() -> [$atomic; N] {
            [const { $atomic::new($int) }; N]
        }

        #[cfg(loom)]
        pub(crate) fn $name<const N: usize>() -> [$atomic; N] {
            [$int; N].map($atomic::new)
        }
    )*};
}

zeros!(zeros_u16: AtomicU16 of 0, zeros_u32: AtomicU32 of 0, zeros_u64: AtomicU64 of 0);

/// Loom's atomics, whose loads can be made to count as writes.
///
/// Loom works out by itself which steps of two threads have to be tried in either order. For each word, however, it
/// remembers only the last access, so it may miss the order in which one thread reads a word after, rather than before,
/// another thread that reads *and then* changes it. With loads that count as writes it misses no order; in exchange,
/// every load then returns the newest value. Each model therefore runs both ways.
#[cfg(loom)]
mod model {
    use core::cell::Cell;
    use core::ops::Deref;

    use super::Ordering;

    thread_local! {
        static LOADS_COUNT: Cell<bool> = const { Cell::new(false) };
    }

    /// Sets whether loads count as writes in the models that this thread runs.
    pub fn let_loads_count(count: bool) {
        LOADS_COUNT.set(count);
    }

    macro_rules! atomic {
        ($($name:ident: $int:ty),*) => {$(
            /// Loom's atomic of the same name; see the module docs.
            #[derive(Debug)]
            pub struct $name(loom::sync::atomic::$name);

            impl $name {
                /// See loom.
                pub fn new(value: $int) -> Self {
                    Self(loom::sync::atomic::$name::new(value))
                }

                /// See loom, and the module docs.
                pub fn load(&self, order: Ordering) -> $int {
                    if LOADS_COUNT.get() { self.0.fetch_or(0, order) } else { self.0.load(order) }
                }

                /// See loom, and the module docs: where loads count as writes, a store has to be a read-modify-write
                /// too.
                pub fn store(&self, value: $int, order: Ordering) {
                    if LOADS_COUNT.get() {
                        self.0.swap(value, order);
                    } else {
                        self.0.store(value, order);
                    }
                }

                /// See loom.
                pub fn fetch_update(
                    &self,
                    set: Ordering,
                    fetch: Ordering,
                    mut f: impl FnMut($int) -> Option<$int>,
                ) -> Result<$int, $int> {
                    let mut seen = self.load(fetch);
                    while let Some(next) = f(seen) {
                        match self.0.compare_exchange(seen, next, set, fetch) {
                            Ok(before) => return Ok(before),
                            Err(now) => seen = now,
                        }
                    }
                    Err(seen)
                }
            }

            impl Deref for $name {
                type Target = loom::sync::atomic::$name;

                fn deref(&self) -> &Self::Target {
                    &self.0
                }
            }
        )*};
    }

    atomic!(AtomicU32: u32, AtomicU64: u64);
}
