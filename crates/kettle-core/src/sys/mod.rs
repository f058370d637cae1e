//! Thin wrappers over the operating system, without policy.
//!
//! This is also the porting guide: another system needs a folder next to `linux` that provides these parts with the
//! same guarantees; nothing above this module changes.
//!
//! * [`futex`]: sleep while a 32-bit word has a given value; wake some of its sleepers. Shared between processes or
//!   private to one. Spurious returns are allowed; a wake-up that comes after the word changed is never lost.
//! * [`clock`]: a monotonic clock on which all processes of a machine agree.
//! * [`owner`]: the name of an owner, in 64 bits.
//! * [`process`]: the current process; whether a process that started at a given time is still alive.
//! * [`thread`]: a number for each thread that a fork does not change.
//! * [`child`]: start a process with chosen descriptors; watch it, signal it, get its exit status.
//! * [`early`]: run something else in place of `main`.
//! * [`descriptor`]: descriptors that are recognized even if the program closes them and opens other files.
//! * [`memory`]: memory shared by descriptor, grown and released.
//! * [`reopen`]: another descriptor of a mapped file, if the program closed the first.
//! * [`limits`]: how much memory can still be used before the kernel kills a process for it.
//! * [`resource`]: limits to what this process may use.
//! * [`signal`]: end this process when another one ends; ignore broken pipes.
//! * [`doorbell`]: a descriptor that another process can make readable.
//! * [`epoll`]: waiting for many descriptors, each reported for as long as it is ready.
//! * [`eventfd`], [`timerfd`]: descriptors that a thread, or the clock, makes readable.
//! * [`socket`]: sockets that keep records whole, streams, and waiting for any of several descriptors.
//! * [`stream`]: connected and listening sockets of an event loop.

pub mod owner;

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
pub use linux::{
    child, clock, descriptor, doorbell, early, epoll, eventfd, futex, limits, memory, process, reopen, resource,
    signal, socket, stream, thread, timerfd,
};

#[cfg(not(target_os = "linux"))]
compile_error!(
    "kettle-core runs on Linux only; a port supplies a folder beside sys/linux (see the docs of sys/mod.rs)"
);

pub use owner::Owner;
