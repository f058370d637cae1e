//! Facts about the operating system, without opinions.
//!
//! This is the porting guide: another system supplies a folder beside `linux` with these parts and the same promises,
//! and nothing above this module changes.
//!
//! * [`futex`]: sleep while a 32-bit word has a value; wake some of its sleepers. Shared between processes or private
//!   to one. Spurious returns are allowed; a wake-up that comes after the word changed is never lost.
//! * [`clock`]: a monotonic clock that all processes of a machine read alike.
//! * [`owner`]: who takes something, in 64 bits.
//! * [`process`]: who am I; does that one, started then, still live.
//! * [`thread`]: a number for each thread, the same in the child of a fork.
//! * [`child`]: start a process with chosen descriptors; watch it, signal it, learn how it ended.
//! * [`descriptor`]: descriptors that are known again, should the program close one and open another file.
//! * [`memory`]: memory shared by descriptor, grown and given back.
//! * [`limits`]: how much memory may still be taken before something gets killed for it.
//! * [`signal`]: end this process when another one ends.
//! * [`doorbell`]: a descriptor that another process can make readable.
//! * [`socket`]: sockets that keep records whole, streams, and a wait for any of several descriptors.

pub mod owner;

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
pub use linux::{child, clock, descriptor, doorbell, futex, limits, memory, process, signal, socket, thread};

#[cfg(not(target_os = "linux"))]
compile_error!(
    "kettle-core runs on Linux only; a port supplies a folder beside sys/linux (see the text of sys/mod.rs)"
);

pub use owner::Owner;
