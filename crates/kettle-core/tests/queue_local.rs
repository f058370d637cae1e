//! The queue of values between threads: orders, bounds, waiting, moving out, and comparisons whose result is not known
//! yet.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use kettle_core::queue::local::{ByOrd, Judge, LocalQueue, NotDone, Order, Refused, Sign};
use kettle_core::wait::{Deadline, Patience, Stopped};

fn put<T: Ord + std::fmt::Debug>(queue: &LocalQueue<T>, item: T) {
    queue.put_now((), item, &mut ByOrd).expect("there is room");
}

fn drain<T: Ord>(queue: &LocalQueue<T>) -> Vec<T> {
    std::iter::from_fn(|| queue.take_now((), &mut ByOrd).ok()).collect()
}

/// Waits for longer than any operation takes, but not forever.
fn patient() -> Patience<'static> {
    Patience::until(Deadline::after(Duration::from_secs(60)))
}

/// Yields until `holds`.
fn until(holds: impl Fn() -> bool) {
    let patience = Deadline::after(Duration::from_secs(60));
    while !holds() {
        assert!(!patience.is_past(), "it never came true");
        thread::yield_now();
    }
}

/// Takes an item, waiting if necessary.
fn take<T: Ord + std::fmt::Debug>(queue: &LocalQueue<T>) -> Result<T, Refused<std::convert::Infallible>> {
    let place = queue.line((), Sign::Item);
    loop {
        match place.take(&mut ByOrd) {
            Err(Refused::NotNow) => place.waiting().sleep(&patient()).expect("it is woken"),
            other => return other,
        }
    }
}

/// A small random number generator; its seed is printed when a test fails.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

#[test]
fn each_order() {
    for (order, expected) in [(Order::Fifo, [3, 1, 2]), (Order::Lifo, [2, 1, 3]), (Order::Priority, [1, 2, 3])] {
        let queue = LocalQueue::new(order, 0);
        [3, 1, 2].into_iter().for_each(|n| put(&queue, n));
        assert_eq!(queue.len(()), 3);
        assert_eq!(queue.order(()), order);
        assert_eq!(drain(&queue), expected, "{order:?}");
        assert_eq!(queue.take_now((), &mut ByOrd), Err(Refused::NotNow));
    }
}

#[test]
fn a_heap_does_as_a_sorted_set() {
    let seed = 0x9e37_79b9_7f4a_7c15;
    println!("seed {seed:#x}");
    let mut numbers = Numbers(seed);
    let queue = LocalQueue::new(Order::Priority, 0);
    let mut model = BTreeSet::new();
    for arrival in 0..20_000 {
        if numbers.next() % 5 < 3 {
            // Few keys, so that many items compare equal; only the test's model distinguishes them, by arrival.
            let key = numbers.next() % 16;
            put(&queue, Keyed { key, arrival });
            model.insert((key, arrival));
        } else {
            let taken = queue.take_now((), &mut ByOrd).ok().map(|k: Keyed| (k.key, k.arrival));
            assert_eq!(taken, model.pop_first());
        }
    }
    let rest: Vec<_> = drain(&queue).into_iter().map(|k| (k.key, k.arrival)).collect();
    assert_eq!(rest, model.into_iter().collect::<Vec<_>>());
}

/// Compares by its key only.
#[derive(Debug)]
struct Keyed {
    key: u64,
    arrival: u64,
}

impl PartialEq for Keyed {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}
impl Eq for Keyed {}
impl PartialOrd for Keyed {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Keyed {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key.cmp(&other.key)
    }
}

/// Knows only the answers that it was given, and only while the queue stays the same.
#[derive(Default)]
struct Told {
    version: u64,
    answers: Vec<bool>,
    used: usize,
}

impl Judge<u64> for Told {
    type Question = (u64, u64);

    fn begin(&mut self, version: u64) {
        if self.version != version {
            *self = Self { version, ..Self::default() };
        }
        self.used = 0;
    }

    fn less(&mut self, a: &u64, b: &u64) -> Result<bool, (u64, u64)> {
        self.used += 1;
        self.answers.get(self.used - 1).copied().ok_or((*a, *b))
    }
}

/// Takes an item, answering each question after `meanwhile`.
fn take_told(queue: &LocalQueue<u64>, mut meanwhile: impl FnMut()) -> Option<u64> {
    let mut judge = Told::default();
    loop {
        match queue.take_now((), &mut judge) {
            Ok(item) => return Some(item),
            Err(Refused::Compare((a, b))) => {
                meanwhile();
                judge.answers.push(a < b);
            }
            Err(_) => return None,
        }
    }
}

/// All items, in the order in which they are visited.
fn contents(queue: &LocalQueue<u64>) -> Vec<u64> {
    let mut all = Vec::new();
    let push = |n: &u64| {
        all.push(*n);
        Ok::<(), ()>(())
    };
    queue.try_for_each((), push).expect("nothing fails");
    all
}

#[test]
fn all_items_can_be_visited_and_stay() {
    for order in [Order::Fifo, Order::Lifo, Order::Priority] {
        let queue = LocalQueue::new(order, 0);
        (0..10).for_each(|n| put(&queue, n));
        let mut seen = contents(&queue);
        seen.sort_unstable();
        assert_eq!(seen, (0..10).collect::<Vec<_>>(), "{order:?}");
        let mut visits = 0;
        let third = |_: &u64| {
            visits += 1;
            if visits == 3 { Err("enough") } else { Ok(()) }
        };
        assert_eq!((queue.try_for_each((), third), visits), (Err("enough"), 3), "{order:?}");
        assert_eq!(queue.len(()), 10, "{order:?}");
    }
}

/// Records the versions under which it is asked; knows no answer while it is `at_a_loss`.
#[derive(Default)]
struct Versions {
    seen: Vec<u64>,
    at_a_loss: bool,
}

impl Judge<u64> for Versions {
    type Question = ();

    fn begin(&mut self, version: u64) {
        self.seen.push(version);
    }

    fn less(&mut self, a: &u64, b: &u64) -> Result<bool, ()> {
        if self.at_a_loss { Err(()) } else { Ok(a < b) }
    }
}

#[test]
fn a_judge_is_told_whether_it_is_still_the_same_queue() {
    let queue = LocalQueue::<u64>::new(Order::Priority, 0);
    let mut judge = Versions::default();
    [7, 5, 6].into_iter().for_each(|n| assert_eq!(queue.put_now((), n, &mut judge), Ok(())));
    assert_eq!(queue.take_now((), &mut judge), Ok(5));
    // It is asked again and again, until it knows the answer.
    judge.at_a_loss = true;
    (0..3).for_each(|_| assert_eq!(queue.put_now((), 1, &mut judge), Err((1, Refused::Compare(())))));
    judge.at_a_loss = false;
    assert_eq!(queue.put_now((), 1, &mut judge), Ok(()));
    assert_eq!(queue.take_now((), &mut judge), Ok(1));
    assert_eq!(queue.reset((), Order::Priority, 0).len(), 2);
    assert_eq!(queue.put_now((), 8, &mut judge), Ok(()));
    assert_eq!(queue.shut_down((), true), Some(vec![8]));
    queue.set_shut((), false);
    assert_eq!(queue.put_now((), 9, &mut judge), Ok(()));
    let seen = &judge.seen;
    assert!(seen[4..8].iter().all(|version| *version == seen[4]), "no item had changed: {seen:?}");
    let changes: BTreeSet<_> = seen.iter().collect();
    assert_eq!(changes.len(), seen.len() - 3, "each change has a version of its own: {seen:?}");
}

#[test]
fn giving_up_at_any_comparison_changes_nothing() {
    let queue = LocalQueue::new(Order::Priority, 0);
    (0..100).for_each(|n| put(&queue, n * 37 % 101));
    let before = contents(&queue);
    for told in 0.. {
        let mut judge = Told { version: 100, answers: vec![true; told], used: 0 };
        match queue.put_now((), 0, &mut judge) {
            Err((0, Refused::Compare(_))) => assert_eq!(contents(&queue), before),
            Ok(()) => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(queue.len(()), 101);
    let before = contents(&queue);
    for told in 0..5 {
        let mut judge = Told { version: 101, answers: vec![false; told], used: 0 };
        assert!(matches!(queue.take_now((), &mut judge), Err(Refused::Compare(_))));
        assert_eq!(contents(&queue), before);
    }
}

#[test]
fn answers_are_worth_nothing_once_the_queue_has_changed() {
    let queue = LocalQueue::new(Order::Priority, 0);
    (10..60).rev().for_each(|n| put(&queue, n));
    let mut smaller = (0..5).rev();
    let mut taken = Vec::new();
    // Smaller items arrive in the middle of a take.
    while let Some(item) = take_told(&queue, || {
        if let Some(n) = smaller.next() {
            put(&queue, n);
        }
    }) {
        taken.push(item);
    }
    assert_eq!(taken, (0..5).chain(10..60).collect::<Vec<_>>());
}

#[test]
fn a_bound_is_kept_and_can_be_moved() {
    let queue = LocalQueue::new(Order::Fifo, 2);
    put(&queue, 1);
    assert!(!queue.is_full(()));
    put(&queue, 2);
    assert!(queue.is_full(()));
    assert_eq!(queue.put_now((), 3, &mut ByOrd), Err((3, Refused::NotNow)));
    queue.set_maxsize((), 1);
    queue.take_now((), &mut ByOrd).expect("two are inside");
    assert_eq!(queue.put_now((), 3, &mut ByOrd), Err((3, Refused::NotNow)));
    queue.set_maxsize((), -1);
    put(&queue, 3);
    assert_eq!(drain(&queue), [2, 3]);
}

#[test]
fn a_wait_ends_late_or_interrupted() {
    let queue: LocalQueue<u64> = LocalQueue::new(Order::Fifo, 0);
    let place = queue.line((), Sign::Item);
    let late = Patience::until(Deadline::after(Duration::from_millis(5)));
    assert_eq!(place.waiting().sleep(&late), Err(Stopped::TimedOut));
    let stop = || true;
    let interrupted = Patience::forever().interrupted_by(Duration::from_millis(5), &stop);
    assert_eq!(place.waiting().sleep(&interrupted), Err(Stopped::Interrupted));
    assert_eq!(queue.statistics(()).getters_waiting, 1);
    drop(place);
    assert_eq!(queue.statistics(()).getters_waiting, 0);
}

#[test]
fn all_arrive_once_between_many_threads() {
    const EACH: u64 = 20_000;
    for order in [Order::Fifo, Order::Lifo, Order::Priority] {
        for maxsize in [0, 1, 7] {
            let queue = LocalQueue::new(order, maxsize);
            let sum = AtomicU64::new(0);
            thread::scope(|scope| {
                for producer in 0..3 {
                    let queue = &queue;
                    scope.spawn(move || {
                        for n in 0..EACH / 10 {
                            let mut item = producer * EACH + n;
                            let Err((back, _)) = queue.put_now((), item, &mut ByOrd) else { continue };
                            item = back;
                            let place = queue.line((), Sign::Room);
                            while let Err((back, refused)) = place.put(item, &mut ByOrd) {
                                assert_eq!(refused, Refused::NotNow);
                                item = back;
                                place.waiting().sleep(&patient()).expect("it is woken");
                            }
                        }
                    });
                }
                for _ in 0..3 {
                    scope.spawn(|| {
                        for _ in 0..EACH / 10 {
                            sum.fetch_add(take(&queue).expect("not shut"), Ordering::Relaxed);
                        }
                    });
                }
            });
            let each: u64 = (0..EACH / 10).sum();
            assert_eq!(sum.into_inner(), 3 * each + (1 + 2) * EACH * (EACH / 10), "{order:?}, {maxsize}");
            let s = queue.statistics(());
            assert_eq!((s.size, s.put, s.got), (0, 3 * EACH as u32 / 10, 3 * EACH as u32 / 10));
            assert_eq!((s.getters_waiting, s.putters_waiting), (0, 0));
        }
    }
}

#[test]
fn a_waiter_that_leaves_the_line_wakes_the_next() {
    let queue = Arc::new(LocalQueue::new(Order::Fifo, 0));
    let leaver = queue.line((), Sign::Item);
    let other = {
        let queue = queue.clone();
        thread::spawn(move || take(&queue))
    };
    until(|| queue.statistics(()).getters_waiting == 2);
    put(&queue, 1);
    // Whether that woke the leaver or the other thread, the other thread gets the item.
    drop(leaver);
    assert_eq!(other.join().expect("it does not panic"), Ok(1));
}

#[test]
fn shutting_down() {
    let queue = LocalQueue::new(Order::Fifo, 0);
    [1, 2, 3].into_iter().for_each(|n| put(&queue, n));
    assert_eq!(queue.shut_down((), false), Some(vec![]));
    assert_eq!(queue.put_now((), 4, &mut ByOrd), Err((4, Refused::ShutDown)));
    assert_eq!(take(&queue), Ok(1));
    assert_eq!(queue.shut_down((), true), Some(vec![2, 3]));
    assert_eq!(take(&queue), Err(Refused::ShutDown));
    assert_eq!(queue.unfinished(()), 1);
    assert_eq!(queue.task_done(()), Ok(()));
    assert_eq!(queue.task_done(()), Err(NotDone::TooMany));
}

#[test]
fn those_who_wait_learn_of_the_end() {
    for end in [|q: &LocalQueue<u64>| drop(q.shut_down((), false)), |q: &LocalQueue<u64>| drop(q.move_out(()))] {
        let queue = LocalQueue::new(Order::Fifo, 1);
        put(&queue, 0);
        thread::scope(|scope| {
            let putter = scope.spawn(|| {
                let place = queue.line((), Sign::Room);
                place.waiting().sleep(&patient())
            });
            until(|| queue.statistics(()).putters_waiting == 1);
            end(&queue);
            assert_eq!(putter.join().expect("it does not panic"), Ok(()));
        });
        assert!(matches!(queue.put_now((), 1, &mut ByOrd), Err((1, Refused::ShutDown | Refused::MovedOut))));
    }
}

#[test]
fn says_how_many_there_are_and_how_it_gives_them() {
    for order in [Order::Fifo, Order::Lifo, Order::Priority] {
        let queue = LocalQueue::new(order, 3);
        assert_eq!((queue.order(()), queue.maxsize(()), queue.is_empty(())), (order, 3, true));
        for n in 1..=3 {
            assert!(!queue.is_full(()));
            put(&queue, n);
            assert_eq!((queue.len(()), queue.len_unless_moved(()), queue.is_empty(())), (n, Some(n), false));
        }
        assert!(queue.is_full(()));
    }
}

#[test]
fn equals_leave_in_the_order_of_their_arrival() {
    #[derive(Debug)]
    struct Equal(u32);
    impl PartialEq for Equal {
        fn eq(&self, _: &Self) -> bool {
            true
        }
    }
    impl Eq for Equal {}
    impl PartialOrd for Equal {
        fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
            Some(self.cmp(other))
        }
    }
    impl Ord for Equal {
        fn cmp(&self, _: &Self) -> std::cmp::Ordering {
            std::cmp::Ordering::Equal
        }
    }
    let queue = LocalQueue::new(Order::Priority, 0);
    (0..100).for_each(|n| put(&queue, Equal(n)));
    assert_eq!(drain(&queue).iter().map(|one| one.0).collect::<Vec<_>>(), (0..100).collect::<Vec<_>>());
}

#[test]
fn items_move_out_in_order() {
    for (order, expected) in
        [(Order::Fifo, vec![2, 1, 3]), (Order::Lifo, vec![2, 1, 3]), (Order::Priority, vec![1, 2, 3])]
    {
        let queue = LocalQueue::new(order, 0);
        [2, 1, 3].into_iter().for_each(|n| put(&queue, n));
        assert_eq!(queue.move_out(()), Some(expected), "{order:?}");
        assert_eq!(queue.move_out(()), None);
        assert_eq!(queue.take_now((), &mut ByOrd), Err(Refused::MovedOut));
        assert_eq!(queue.task_done(()), Err(NotDone::MovedOut));
        assert_eq!((queue.len_unless_moved(()), queue.shut_down((), true)), (None, None));
        assert!(!queue.is_shut(()));
        queue.note_put(());
        queue.note_got(());
        let s = queue.statistics(());
        assert_eq!((s.put, s.got, s.unfinished), (4, 1, 4));
        (0..4).for_each(|_| assert_eq!(queue.note_done(()), Ok(())));
        assert_eq!(queue.note_done(()), Err(NotDone::TooMany));
    }
}

#[test]
fn done_is_told_to_all() {
    let queue = LocalQueue::new(Order::Fifo, 0);
    put(&queue, 1);
    thread::scope(|scope| {
        let waiters: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    let place = queue.line((), Sign::Done);
                    while queue.unfinished(()) != 0 {
                        place.waiting().sleep(&patient()).expect("it is woken");
                    }
                })
            })
            .collect();
        take(&queue).expect("it was put");
        queue.task_done(()).expect("once");
        waiters.into_iter().for_each(|w| w.join().expect("it does not panic"));
    });
}

#[test]
fn nothing_is_dropped_under_the_lock() {
    /// Accesses its queue when it is dropped, as a finalizer may do.
    struct Nosy(Rc<LocalQueue<Self>>, Rc<Cell<u32>>);
    impl Drop for Nosy {
        fn drop(&mut self) {
            let _ = self.0.len(());
            self.1.set(self.1.get() + 1);
        }
    }
    struct Never;
    impl Judge<Nosy> for Never {
        type Question = ();
        fn begin(&mut self, _: u64) {}
        fn less(&mut self, _: &Nosy, _: &Nosy) -> Result<bool, ()> {
            Err(())
        }
    }
    let dropped = Rc::new(Cell::new(0));
    let queue = Rc::new(LocalQueue::new(Order::Priority, 2));
    let nosy = || Nosy(queue.clone(), dropped.clone());
    assert!(queue.put_now((), nosy(), &mut Never).is_ok());
    drop(queue.put_now((), nosy(), &mut Never)); // refused
    drop(queue.reset((), Order::Fifo, 1));
    assert!(queue.put_now((), nosy(), &mut Never).is_ok());
    drop(queue.put_now((), nosy(), &mut Never)); // full
    drop(queue.shut_down((), true));
    drop(queue.put_now((), nosy(), &mut Never)); // shut down
    assert_eq!(dropped.get(), 5);
}

#[test]
fn what_has_moved_out_stays_out() {
    let queue = LocalQueue::new(Order::Fifo, 0);
    put(&queue, 1);
    assert_eq!(queue.move_out(()), Some(vec![1]));
    // Whatever else its user sets.
    for shut in [true, false] {
        queue.set_shut((), shut);
        assert_eq!(queue.is_shut(()), shut);
        assert_eq!(queue.put_now((), 2, &mut ByOrd), Err((2, Refused::MovedOut)));
        assert_eq!(queue.take_now((), &mut ByOrd), Err(Refused::MovedOut));
        for sign in [Sign::Item, Sign::Room, Sign::Done] {
            assert_eq!(queue.line((), sign).waiting().sleep(&Patience::none()), Ok(()), "{sign:?}: must wake up");
        }
    }
}

#[test]
fn begins_anew() {
    let queue = LocalQueue::new(Order::Lifo, 9);
    (0..7).for_each(|n| put(&queue, n));
    queue.take_now((), &mut ByOrd).expect("seven are inside");
    assert_eq!(queue.shut_down((), false), Some(vec![]));
    assert_eq!(queue.reset((), Order::Fifo, 2), (0..6).collect::<Vec<_>>());
    let s = queue.statistics(());
    assert_eq!((s.size, s.maxsize, s.put, s.got, s.unfinished, s.shut_down), (0, 2, 7, 7, 0, false));
    assert_eq!(queue.order(()), Order::Fifo);
    put(&queue, 1);
    assert_eq!(queue.task_done(()), Ok(()));
}

#[test]
fn what_is_unfinished_can_be_set() {
    let queue = LocalQueue::<u64>::new(Order::Fifo, 0);
    let is_done = || queue.line((), Sign::Done).waiting().sleep(&Patience::none()).is_ok();
    assert!(is_done());
    queue.set_unfinished((), 2);
    assert_eq!((queue.unfinished(()), is_done()), (2, false));
    assert_eq!((queue.task_done(()), queue.task_done(())), (Ok(()), Ok(())));
    assert_eq!((queue.unfinished(()), is_done()), (0, true));
    queue.set_unfinished((), -3);
    assert_eq!((queue.task_done(()), queue.unfinished(())), (Err(NotDone::TooMany), -3));
    assert_eq!(queue.statistics(()).unfinished, 0);
    // Dropping the items marks at most as many as done as were unfinished.
    queue.set_unfinished((), 1);
    (0..3).for_each(|n| put(&queue, n));
    assert_eq!(queue.shut_down((), true).map(|dropped| dropped.len()), Some(3));
    assert_eq!(queue.unfinished(()), 1);
    queue.set_shut((), false);
    put(&queue, 1);
    queue.set_unfinished((), 0);
    assert_eq!(queue.shut_down((), true), Some(vec![1]));
    assert_eq!(queue.unfinished(()), 0);
}
