//! Channels: the ends of one kind notice when those of the other are gone, however they went.

mod support;

use std::thread;
use std::time::Duration;

use kettle::{Described, Process, Queue, Receiver, RecvError, SendError, Sender, bounded_channel, channel, wait};
use support::{LONG, SHORT, watchdog};

kettle::init_in_tests!();

kettle::task! {
    fn send_and_end(numbers: Sender<u32>, to: u32) {
        for n in 0..to {
            numbers.send(n).expect("a receiver");
        }
    }

    fn hold(numbers: Sender<u32>, ready: Queue<()>) {
        numbers.send(1).unwrap();
        ready.put(()).unwrap();
        loop {
            thread::park();
        }
    }

    fn listen(numbers: Receiver<u32>, ready: Queue<()>) {
        ready.put(()).unwrap();
        loop {
            thread::park();
        }
    }

    fn add_up(numbers: Receiver<u32>) -> u32 {
        numbers.into_iter().map(|n| n.unwrap()).sum()
    }

    fn answer(requests: Receiver<(u32, Sender<u32>)>) {
        for request in &requests {
            let (n, reply) = request.unwrap();
            if n < 10 {
                reply.send(n + 1).unwrap();
            }
        }
    }
}

fn held(numbers: Sender<u32>) -> Process {
    let ready = Queue::new().unwrap();
    let process = hold::builder(numbers, ready.clone()).daemon(true).start().unwrap();
    ready.get().unwrap();
    process
}

fn listening(numbers: Receiver<u32>) -> Process {
    let ready = Queue::new().unwrap();
    let process = listen::builder(numbers, ready.clone()).daemon(true).start().unwrap();
    ready.get().unwrap();
    process
}

#[test]
fn the_last_sender_ends_the_items() {
    let _dog = watchdog();
    let (sender, receiver) = channel().unwrap();
    let other = sender.clone();
    sender.send(1).unwrap();
    drop(sender);
    assert_eq!(receiver.try_recv(), Ok(1));
    assert_eq!(receiver.try_recv(), Err(RecvError::Empty));
    assert_eq!(receiver.recv_timeout(SHORT), Err(RecvError::Empty));
    other.send(2).unwrap();
    drop(other);
    let again = receiver.clone();
    assert_eq!(again.recv(), Ok(2));
    for receiver in [receiver, again] {
        assert!(receiver.is_disconnected());
        assert_eq!(receiver.recv(), Err(RecvError::Disconnected));
        assert_eq!(receiver.try_recv(), Err(RecvError::Disconnected));
        assert_eq!(receiver.iter().count(), 0);
    }
}

#[test]
fn the_last_receiver_stops_the_senders() {
    let _dog = watchdog();
    let (sender, receiver) = bounded_channel(1).unwrap();
    assert_eq!((sender.capacity(), receiver.capacity()), (Some(1), Some(1)));
    let other = receiver.clone();
    sender.send(1).unwrap();
    drop(receiver);
    assert!(matches!(sender.try_send(2), Err(SendError::Full(2))));
    assert!(matches!(sender.send_timeout(2, SHORT), Err(SendError::Full(2))));
    let waiting = thread::spawn({
        let sender = sender.clone();
        move || sender.send(2)
    });
    thread::sleep(SHORT);
    drop(other);
    assert!(matches!(waiting.join().unwrap(), Err(SendError::Disconnected(2))));
    let error = sender.send(3).unwrap_err();
    assert!(error.is_disconnected());
    assert_eq!(error.into_inner(), 3);
}

#[test]
fn processes_that_end_let_go() {
    let _dog = watchdog();
    let (sender, receiver) = channel().unwrap();
    let senders: Vec<_> = (0..3).map(|_| send_and_end::start(sender.clone(), 100).unwrap()).collect();
    let adder = add_up::start(receiver.clone()).unwrap();
    drop(sender);
    let rest: u32 = receiver.iter().map(|n| n.unwrap()).sum();
    assert_eq!(adder.join().unwrap() + rest, 3 * 4950);
    senders.into_iter().for_each(|sender| sender.join().unwrap());
}

#[test]
fn senders_that_are_killed_are_gone() {
    let _dog = watchdog();
    let (sender, receiver) = channel().unwrap();
    let holder = held(sender.clone());
    let waiting = thread::spawn({
        let receiver = receiver.clone();
        move || receiver.iter().map(|n| n.unwrap()).collect::<Vec<_>>()
    });
    drop(sender);
    assert!(!receiver.is_disconnected());
    holder.kill().unwrap();
    assert_eq!(waiting.join().unwrap(), [1]);
    assert_eq!(receiver.recv(), Err(RecvError::Disconnected));
}

#[test]
fn receivers_that_are_killed_are_gone() {
    let _dog = watchdog();
    // One that waits for room, and one that never waits.
    let (sender, receiver) = bounded_channel(1).unwrap();
    let listener = listening(receiver);
    sender.send(1).unwrap();
    let waiting = thread::spawn(move || sender.send(2));
    thread::sleep(SHORT);
    listener.kill().unwrap();
    assert!(matches!(waiting.join().unwrap(), Err(SendError::Disconnected(2))));

    let (sender, receiver) = channel().unwrap();
    let listener = listening(receiver);
    sender.send(1).unwrap();
    listener.kill().unwrap();
    listener.wait().unwrap();
    let error = (0..).find_map(|n| {
        thread::sleep(Duration::from_millis(1));
        sender.send(n).err()
    });
    assert!(error.unwrap().is_disconnected());
}

#[test]
fn ends_travel_in_messages() {
    let _dog = watchdog();
    let (requests, receiver) = channel().unwrap();
    let server = answer::start(receiver).unwrap();
    for n in 0..5 {
        let (reply, replies) = channel().unwrap();
        requests.send((n, reply)).unwrap();
        assert_eq!(replies.recv(), Ok(n + 1));
        assert_eq!(replies.recv(), Err(RecvError::Disconnected));
    }
    // A request that is dropped without an answer is not waited for.
    let (reply, replies) = channel().unwrap();
    requests.send((10, reply)).unwrap();
    assert_eq!(replies.recv(), Err(RecvError::Disconnected));
    drop(requests);
    server.join().unwrap();
}

#[test]
fn an_end_on_its_way_is_an_end() {
    let _dog = watchdog();
    let (sender, receiver) = channel::<u8>().unwrap();
    let queue = Queue::new().unwrap();
    queue.put(Described(sender)).unwrap();
    assert!(!receiver.is_disconnected());
    assert_eq!(receiver.try_recv(), Err(RecvError::Empty));
    let sender = queue.get().unwrap().0;
    sender.send(1).unwrap();
    assert_eq!(receiver.recv(), Ok(1));
    queue.put(Described(sender)).unwrap();
    queue.shutdown_now();
    assert_eq!(receiver.recv(), Err(RecvError::Disconnected));
}

#[test]
fn a_receiver_can_be_waited_for_among_others() {
    let _dog = watchdog();
    let (sender, receiver) = channel().unwrap();
    let (_other_sender, other) = channel::<u8>().unwrap();
    assert_eq!(wait(&[&receiver, &other], Some(SHORT)).unwrap(), []);
    sender.send("item".to_string()).unwrap();
    assert_eq!(wait(&[&other, &receiver], None).unwrap(), [1]);
    assert_eq!(receiver.recv().unwrap(), "item");
    let waiting = thread::spawn(move || wait(&[&receiver, &other], Some(LONG)).unwrap());
    thread::sleep(SHORT);
    drop(sender);
    assert_eq!(waiting.join().unwrap(), [0]);
}

#[cfg(feature = "tokio")]
#[test]
fn ends_can_be_awaited() {
    let _dog = watchdog();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let (sender, receiver) = channel().unwrap();
        let holder = held(sender.clone());
        assert_eq!(receiver.recv_async().await, Ok(1));
        let waiting = tokio::spawn(async move { receiver.recv_async().await });
        tokio::time::sleep(SHORT).await;
        drop(sender);
        holder.kill().unwrap();
        assert_eq!(waiting.await.unwrap(), Err(RecvError::Disconnected));

        let (sender, receiver) = bounded_channel(1).unwrap();
        sender.send_async(1).await.unwrap();
        let waiting = tokio::spawn(async move { sender.send_async(2).await });
        tokio::time::sleep(SHORT).await;
        drop(receiver);
        assert!(matches!(waiting.await.unwrap(), Err(SendError::Disconnected(2))));
    });
}

kettle::task! {
    fn take_and_fail(jobs: kettle::JoinableQueue<u32>) -> Result<u32, String> {
        let job = jobs.take().unwrap();
        match *job {
            0 => Err("an early return".into()),
            1 => panic!("with an item"),
            n => Ok(n),
        }
    }
}

#[test]
fn taken_items_are_done_unless_their_process_panics() {
    use kettle::queue::JoinError;
    let _dog = watchdog();
    let jobs = kettle::JoinableQueue::new().unwrap();
    for (job, outcome) in [(0, Some(Err("an early return".to_string()))), (5, Some(Ok(5))), (1, None)] {
        jobs.put(job).unwrap();
        let process = take_and_fail::start(jobs.clone()).unwrap();
        let pid = process.pid();
        assert_eq!(process.join().ok(), outcome);
        match outcome {
            Some(_) => assert_eq!(jobs.join(), Ok(())),
            None => assert_eq!(jobs.join(), Err(JoinError::ConsumerDied { pid: Some(pid), unfinished: 1 })),
        }
    }
    assert_eq!(jobs.unfinished(), 0);
}
