//! `kettle._native`: the Rust core with a Python interface. Names and conversions only, no algorithms.
//!
//! | module | what it is |
//! |---|---|
//! | `door` | the one way to detach from the interpreter |
//! | `deadlock` | what a waiting thread reports about itself, and what is raised on a deadlock |
//! | `errors` | the core's errors as Python's exceptions |
//! | `parameters` | conversion of arguments, and the errors for wrong ones |
//! | `panics` | our own faults as exceptions of ours |
//! | `pickle`, `compact`, `message` | objects to bytes to messages, and back |
//! | `buffers`, `fast`, `fast_methods` | the buffer protocol, and hand-written hot methods: the only `unsafe` code here |
//! | `event_loop` | the native half of `kettle.asyncio.EventLoop` |
//! | `observe` | the command's view of running programs |
//! | `pool` | pools of processes and of threads |
//! | `primitive` | tokens, doorbells and statistics: what all primitives share |
//! | `sync`, `queue` | the primitives and the queues: for each theme the class for processes and the one for threads |
//! | the rest | one Python class or topic each |

use pyo3::prelude::*;

mod buffers;
mod compact;
mod connection;
mod deadlock;
mod descriptor;
mod door;
mod errors;
mod event_loop;
mod fast;
mod fast_methods;
mod importer;
mod memory;
mod message;
mod number;
mod observe;
mod panics;
mod parameters;
mod pickle;
mod pool;
mod primitive;
mod queue;
mod replaced;
mod session;
mod sync;
mod waiting;

/// The Rust core as Python sees it.
#[pymodule(gil_used = false)]
mod _native {
    use pyo3::prelude::*;

    #[pymodule_export]
    use super::connection::{Connection, pipe};
    #[pymodule_export]
    use super::deadlock::deadlock_policy;
    #[pymodule_export]
    use super::descriptor::{Descriptor, life_pipe, memory_file, open_process, signal_process};
    #[pymodule_export]
    use super::errors::{ConsumerDied, KettleError, OwnerDied, SessionDamaged, late_attribute};
    #[pymodule_export]
    use super::event_loop::{EventLoop, Stream, accept};
    #[pymodule_export]
    use super::fast::scopes::is_guarded;
    #[pymodule_export]
    use super::fast::{Glance, is_layout_known};
    #[pymodule_export]
    use super::fast_methods::handles::handle_classes;
    #[pymodule_export]
    use super::fast_methods::streams::stream_transport;
    #[pymodule_export]
    use super::fast_methods::{LockMaker, quicken};
    #[pymodule_export]
    use super::importer::Importer;
    #[pymodule_export]
    use super::memory::{Cell, Lease, SharedBytes};
    #[pymodule_export]
    use super::observe::{command_line, session_snapshot};
    #[pymodule_export]
    use super::panics::InternalError;
    #[pymodule_export]
    use super::pickle::{dumps, set_pickler};
    #[pymodule_export]
    use super::pool::{CrewHandle, Desk, PoolCrew, PoolJob, ThreadCrew, Worker};
    #[pymodule_export]
    use super::primitive::{Travelling, name_in_message, sending_to};
    #[pymodule_export]
    use super::queue::process::Queue;
    #[pymodule_export]
    use super::queue::thread::{ObjectQueue, replaced_clock};
    #[pymodule_export]
    use super::replaced::replace_picklers;
    #[pymodule_export]
    use super::session::{
        after_fork_in_child, after_fork_in_parent, arena_layout, arena_statistics, arm_crash_point, attach,
        before_fork, child_gone, child_is_dead, child_started, crash_points, descriptors, die_with, fork, reclaim,
        release_child, reserve_child, session_fd, session_id, set_limit,
    };
    #[pymodule_export]
    use super::sync::barrier::process::Barrier;
    #[pymodule_export]
    use super::sync::barrier::thread::Barrier as HeapBarrier;
    #[pymodule_export]
    use super::sync::condition::process::Condition;
    #[pymodule_export]
    use super::sync::condition::thread::Condition as HeapCondition;
    #[pymodule_export]
    use super::sync::event::process::Event;
    #[pymodule_export]
    use super::sync::event::thread::Event as HeapEvent;
    #[pymodule_export]
    use super::sync::lock::process::{Lock, RLock};
    #[pymodule_export]
    use super::sync::lock::thread::{Lock as HeapLock, RLock as HeapRLock};
    #[pymodule_export]
    use super::sync::semaphore::process::Semaphore;
    #[pymodule_export]
    use super::sync::semaphore::thread::Semaphore as HeapSemaphore;
    #[pymodule_export]
    use super::waiting::{Doorbell, wait_any};

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        kettle_core::shared::init();
        // After the interpreter has ended, not before: until then destructors use this process's membership of the
        // session.
        kettle_core::arena::leave_at_exit();
        super::deadlock::recognize_locks_by(super::sync::lock_number);
        super::fast::learn_layout(&module.py().get_type::<HeapEvent>())?;
        super::panics::become_errors(module)
    }
}
