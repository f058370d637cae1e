//! Queues, pipes, and a wait for several things.

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use kettle::pipe::{RecvError, SendError};
use kettle::queue::{JoinError, TooManyDone};
use kettle::{Bytes, Connection, Event, GetError, JoinableQueue, Lock, PutError, Queue, Readable, SimpleQueue, pipe};
use serde::ser::Error as _;
use serde::{Deserialize, Serialize, Serializer};
use support::{LONG, SHORT, watchdog};

kettle::init_in_tests!();

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Item {
    Nothing,
    Word(String),
    Table { rows: BTreeMap<String, Vec<f64>>, nested: Option<Box<Item>> },
}

kettle::task! {
    fn echo(input: Queue<Item>, output: Queue<Item>) {
        for item in input.iter() {
            output.put(item.unwrap()).unwrap();
        }
    }

    fn put_and_end(queue: SimpleQueue<Vec<u8>>, count: u32) {
        for i in 0..count {
            queue.put(vec![i as u8; i as usize * 100]).unwrap();
        }
    }

    fn reply_on(questions: Queue<(u32, Queue<u32>)>) {
        let (n, answers) = questions.get().unwrap();
        answers.put(n + 1).unwrap();
    }

    fn invert(requests: Connection<Bytes, Bytes>) {
        for request in requests.iter() {
            let mut bytes = request.unwrap();
            bytes.iter_mut().for_each(|b| *b = !*b);
            requests.send(bytes).unwrap();
        }
    }

    fn set_when_told(go: Event, done: Event) {
        go.wait();
        done.set();
    }
}

#[test]
fn values_come_out_as_they_went_in() {
    let _dog = watchdog();
    let (input, output) = (Queue::new().unwrap(), Queue::bounded(2).unwrap());
    let process = echo::start(input.clone(), output.clone()).unwrap();
    let rows = BTreeMap::from([("long".to_string(), vec![0.5; 100_000]), ("empty".to_string(), vec![])]);
    let items = [
        Item::Nothing,
        Item::Word("kettle".repeat(1000)),
        Item::Table { rows, nested: Some(Box::new(Item::Word(String::new()))) },
    ];
    for item in &items {
        input.put(item.clone()).unwrap();
        assert_eq!(&output.get_timeout(LONG).unwrap(), item);
    }
    input.shutdown();
    process.join().unwrap();
    assert_eq!(output.statistics().got, 3);
}

#[test]
fn what_was_put_outlives_its_putter() {
    let _dog = watchdog();
    let queue = SimpleQueue::new().unwrap();
    put_and_end::start(queue.clone(), 50).unwrap().join().unwrap();
    for i in 0..50 {
        assert_eq!(queue.get().unwrap(), vec![i as u8; i * 100]);
    }
    assert!(queue.is_empty());
}

#[test]
fn a_bound_holds_and_the_item_comes_back() {
    let _dog = watchdog();
    let queue = Queue::bounded(1).unwrap();
    queue.put("a".to_string()).unwrap();
    assert!(queue.is_full());
    assert!(matches!(queue.try_put("b".to_string()), Err(PutError::Full(b)) if b == "b"));
    assert_eq!(queue.put_timeout("c".to_string(), SHORT).unwrap_err().into_inner(), "c");
    assert_eq!(queue.get().unwrap(), "a");
    assert_eq!(queue.try_get(), Err(GetError::Empty));
    assert_eq!(queue.get_timeout(SHORT), Err(GetError::Empty));
    assert_eq!((queue.maxsize(), queue.len()), (Some(1), 0));
}

#[test]
fn a_queue_that_is_shut_down_is_emptied_first() {
    let _dog = watchdog();
    let queue = Queue::new().unwrap();
    queue.put(1).unwrap();
    queue.shutdown();
    assert!(matches!(queue.put(2), Err(PutError::ShutDown(2))));
    assert_eq!(queue.get(), Ok(1));
    assert_eq!(queue.get(), Err(GetError::ShutDown));

    let queue = Queue::new().unwrap();
    queue.put(1).unwrap();
    queue.shutdown_now();
    assert_eq!(queue.get(), Err(GetError::ShutDown));
}

#[derive(Deserialize)]
struct Stubborn;

impl Serialize for Stubborn {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(S::Error::custom("it will not"))
    }
}

#[test]
fn what_cannot_be_sent_fails_at_the_call() {
    let _dog = watchdog();
    let queue = Queue::new().unwrap();
    assert!(matches!(queue.put(Stubborn), Err(PutError::Encode(Stubborn, _))));
    assert!(queue.is_empty());
}

#[test]
fn what_cannot_be_rebuilt_fails_in_the_get_that_took_it() {
    let _dog = watchdog();
    let put = Queue::new().unwrap();
    let mailbox = Queue::new().unwrap();
    mailbox.put(put.clone()).unwrap();
    // The handle travels as a token, which says nothing of the items.
    let got: Queue<Queue<(bool, bool)>> = {
        let through = Queue::new().unwrap();
        through.put(mailbox.clone()).unwrap();
        retype(&through)
    };
    let got = got.get().unwrap();
    put.put(vec![7u8, 7, 7]).unwrap();
    put.put(vec![]).unwrap();
    assert!(matches!(got.get(), Err(GetError::Decode(_))));
    assert!(matches!(got.get(), Err(GetError::Decode(_))));
    assert_eq!(got.try_get(), Err(GetError::Empty));
}

/// The queue inside a queue, as one of other items.
fn retype<A, B>(through: &Queue<A>) -> B
where
    A: Serialize,
    B: serde::de::DeserializeOwned,
{
    let again: Queue<B> = {
        let bytes = postcard::to_stdvec(through).unwrap();
        postcard::from_bytes(&bytes).unwrap()
    };
    again.get().unwrap()
}

#[test]
fn a_handle_may_be_sent_and_dropped() {
    let _dog = watchdog();
    let questions = Queue::new().unwrap();
    let process = reply_on::start(questions.clone()).unwrap();
    let answers = Queue::new().unwrap();
    questions.put((41, answers.clone())).unwrap();
    drop(questions);
    assert_eq!(answers.get_timeout(LONG), Ok(42));
    process.join().unwrap();
}

#[test]
fn a_handle_of_another_session_is_refused() {
    let _dog = watchdog();
    let mut token = postcard::to_stdvec(&Queue::<u32>::new().unwrap()).unwrap();
    token[0] ^= 1;
    let queue = Queue::new().unwrap();
    queue.put(token.clone().try_into().map(|t: [u8; 24]| t).unwrap()).unwrap();
    let received: Queue<Queue<u32>> = {
        let bytes = postcard::to_stdvec(&queue).unwrap();
        postcard::from_bytes(&bytes).unwrap()
    };
    let why = received.get().unwrap_err().to_string();
    assert!(why.contains("another session"), "{why}");
}

#[test]
fn a_lock_is_not_taken_for_a_queue() {
    let _dog = watchdog();
    let through = Queue::new().unwrap();
    through.put(Lock::new(1u32).unwrap()).unwrap();
    let received: Queue<Queue<u32>> = postcard::from_bytes(&postcard::to_stdvec(&through).unwrap()).unwrap();
    assert!(received.get().unwrap_err().to_string().contains("something else"));

    through.put(Lock::new(1u32).unwrap()).unwrap();
    let received: Queue<Lock<[u64; 3]>> = postcard::from_bytes(&postcard::to_stdvec(&through).unwrap()).unwrap();
    assert!(received.get().unwrap_err().to_string().contains("around something else"));
}

#[test]
fn big_bytes_stay_in_shared_memory() {
    let _dog = watchdog();
    let queue = Queue::new().unwrap();
    queue.put((Bytes::copy_of(b"few"), Bytes::from(vec![9; 1 << 20]))).unwrap();
    let (few, many) = queue.get().unwrap();
    assert!(!few.is_shared() && many.is_shared());
    assert_eq!((&*few, many.len(), many[1 << 19]), (&b"few"[..], 1 << 20, 9));
    // What was received can be sent again, and to another format.
    queue.put((few, many)).unwrap();
    assert_eq!(queue.get().unwrap().1.len(), 1 << 20);
    assert_eq!(Vec::from(Bytes::copy_of(b"own")), b"own");
}

#[test]
fn more_blocks_than_a_message_has_room_for() {
    let _dog = watchdog();
    let queue = Queue::new().unwrap();
    let many: Vec<_> = (0..100).map(|i| Bytes::from(vec![i; 2000])).collect();
    queue.put(many).unwrap();
    let many = queue.get().unwrap();
    assert!((0..100).all(|i| many[i as usize][..] == [i; 2000]));
}

#[test]
fn a_joinable_queue_counts_what_is_done() {
    let _dog = watchdog();
    let jobs = JoinableQueue::bounded(3).unwrap();
    jobs.join().unwrap();
    jobs.put(1).unwrap();
    assert_eq!(jobs.get(), Ok(1));
    assert_eq!(jobs.unfinished(), 1);
    assert_eq!(jobs.join_timeout(SHORT), Err(JoinError::TimedOut));
    jobs.task_done().unwrap();
    jobs.join().unwrap();
    assert_eq!(jobs.task_done(), Err(TooManyDone));
}

#[test]
fn a_pipe_carries_both_ways_whatever_the_size() {
    let _dog = watchdog();
    let (ours, theirs) = pipe().unwrap();
    let process = invert::start(theirs).unwrap();
    for len in [0, 1, 1000, 10_000, 100_000, 10_000_000] {
        ours.send(Bytes::from(vec![0x0f; len])).unwrap();
        let back: Bytes = ours.recv_timeout(LONG).unwrap();
        assert!(back.len() == len && back.iter().all(|&b| b == 0xf0), "{len} bytes");
    }
    drop(ours);
    process.join().unwrap();
}

#[test]
fn a_pipe_has_an_end() {
    let _dog = watchdog();
    let (a, b) = pipe::<u32, u32>().unwrap();
    assert!(matches!(b.try_recv(), Err(RecvError::Empty)));
    assert!(matches!(b.recv_timeout(SHORT), Err(RecvError::Empty)));
    a.send(1).unwrap();
    drop(a);
    assert_eq!(b.recv().unwrap(), 1);
    assert!(matches!(b.recv(), Err(RecvError::Closed)));
    assert!(matches!(b.send(2), Err(SendError::Closed(2))));
}

#[test]
fn a_full_pipe_hands_the_item_back() {
    let _dog = watchdog();
    let (receiver, sender) = kettle::one_way_pipe().unwrap();
    let mut sent = 0;
    let back = loop {
        match sender.try_send(vec![7u8; 10_000]) {
            Ok(()) => sent += 1,
            Err(e) => break e,
        }
    };
    assert!(matches!(&back, SendError::Full(item) if item.len() == 10_000), "{back}");
    drop(sender);
    assert_eq!(receiver.iter().map(|item| item.unwrap().len()).sum::<usize>(), sent * 10_000);
}

#[test]
fn an_end_of_a_pipe_cannot_be_put_into_a_queue() {
    let _dog = watchdog();
    let (_receiver, sender) = kettle::one_way_pipe::<u32>().unwrap();
    let queue = Queue::new().unwrap();
    let e = queue.put(sender).unwrap_err();
    assert!(e.to_string().contains("being started"), "{e}");
}

#[test]
fn one_wait_for_all_sorts_of_things() {
    let _dog = watchdog();
    let queue = Queue::<u32>::new().unwrap();
    let (go, done) = (Event::new().unwrap(), Event::new().unwrap());
    let (end, other) = pipe::<u32, u32>().unwrap();
    let process = set_when_told::start(go.clone(), done.clone()).unwrap();
    let wait = |timeout| kettle::wait(&[&queue, &done, &end, &process, &Readable(&end)], timeout).unwrap();

    assert_eq!(wait(Some(Duration::ZERO)), []);
    assert_eq!(wait(Some(SHORT)), []);
    queue.put(1).unwrap();
    assert_eq!(wait(None), [0]);
    queue.get().unwrap();
    other.send(5).unwrap();
    assert_eq!(wait(None), [2, 4]);
    end.recv().unwrap();
    go.set();
    assert!(wait(Some(LONG)).contains(&1));
    done.clear();
    assert_eq!(wait(Some(LONG)), [3]);
    process.join().unwrap();
}
