//! The clock for deadlines.

/// Nanoseconds on `CLOCK_MONOTONIC`, on which all processes of a machine agree.
#[cfg(not(loom))]
#[inline]
pub fn now() -> u64 {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `t` is a valid place for one timespec, and CLOCK_MONOTONIC exists on every supported kernel.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut t) };
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}

/// No time passes in a model: slices end when the model says so.
#[cfg(loom)]
pub fn now() -> u64 {
    1
}

/// The processor time of the calling thread, in nanoseconds. Unlike the other clocks, this takes a system call.
pub fn spent_by_thread() -> u64 {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `t` is a valid place for one timespec.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut t) };
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}

/// A number that changes with each tick of the kernel, of which there are 100 to 1000 a second. It is cheaper than
/// [`now`], and never 0.
#[inline]
pub fn tick() -> u64 {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `t` is a valid place for one timespec.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &mut t) };
    ((t.tv_sec as u64) << 30 | t.tv_nsec as u64) + 1
}
