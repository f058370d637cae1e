//! One program in two places: shared memory and the heap. The line that says `use` is all that differs.

mod support;

kettle::init_in_tests!();

mod between_processes {
    use kettle::{
        Barrier, BoundedSemaphore, Condition, Event, JoinableQueue, Lock, OnOwnerDeath, Queue, RLock, Semaphore,
        SimpleQueue,
    };

    include!("places/program.rs");
}

mod between_threads {
    use kettle::threads::{
        Barrier, BoundedSemaphore, Condition, Event, JoinableQueue, Lock, OnOwnerDeath, Queue, RLock, Semaphore,
        SimpleQueue,
    };

    include!("places/program.rs");
}
