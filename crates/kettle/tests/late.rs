//! What runs when a thread ends, after the thread's own values are gone, may still use what is shared.

mod support;

use std::cell::RefCell;
use std::thread;

use kettle::{Queue, ThreadPool};
use support::{LONG, watchdog};

kettle::init_in_tests!();

/// When it is dropped, it uses everything that keeps something for its thread.
struct Late {
    queue: Queue<Vec<u8>>,
    done: Queue<bool>,
}

impl Late {
    fn go_round(&self) {
        self.queue.put(vec![1; 10]).unwrap();
        self.queue.put(vec![2; 100_000]).unwrap();
        assert_eq!(self.queue.get().unwrap(), [1; 10]);
        assert_eq!(kettle::wait(&[&self.queue], Some(LONG)).unwrap(), [0]);
        assert_eq!(self.queue.get().unwrap().len(), 100_000);
        assert_eq!(ThreadPool::builder().workers(1).build().unwrap().apply(|| 7).unwrap(), 7);
    }
}

impl Drop for Late {
    fn drop(&mut self) {
        self.go_round();
        self.done.put(true).unwrap();
    }
}

thread_local! {
    static LATE: RefCell<Option<Late>> = const { RefCell::new(None) };
}

#[test]
fn a_destructor_of_a_thread() {
    let _dog = watchdog();
    for uses_before in [false, true] {
        let queue = Queue::new().unwrap();
        let done = Queue::new().unwrap();
        let late = Late { queue, done: done.clone() };
        thread::spawn(move || {
            // What a thread asked for first, it loses last.
            if uses_before {
                late.go_round();
            }
            LATE.set(Some(late));
            LATE.with_borrow(|late| late.as_ref().unwrap().go_round());
        })
        .join()
        .unwrap();
        assert!(done.get_timeout(LONG).unwrap());
    }
}
