//! A fork without the hooks that `os.fork` runs in the parent.

use std::io;

use kettle_core::sys::process;
use pyo3::ffi;
use pyo3::prelude::*;

/// Forks this process. Returns the child's process id, and 0 in the child, whose hooks have run.
///
/// The caller holds the import lock and has run those hooks that the child needs to have run before.
///
/// # Errors
/// If the limit on processes is reached, or there is no memory.
pub(crate) fn fork(_: Python<'_>) -> io::Result<i32> {
    // SAFETY: as in `os.fork`, this thread holds the interpreter, so no other thread is inside it, and the next call makes
    // the interpreter and the modules with hooks usable in the child.
    let pid = unsafe { process::fork() }?;
    if pid == 0 {
        // SAFETY: called once, in the child, by the thread that forked and holds the interpreter.
        unsafe { ffi::PyOS_AfterFork_Child() };
    }
    Ok(pid as i32)
}
