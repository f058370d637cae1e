//! Receivers as streams and senders as sinks.

mod support;

use std::thread;

use futures::stream::{FusedStream, select};
use futures::{FutureExt, SinkExt, StreamExt, TryStreamExt};
use kettle::{
    Event, JoinableQueue, Process, Queue, Receiver, RecvError, SendError, Sender, bounded_channel, channel, threads,
};
use support::{LONG, SHORT, watchdog};
use tokio::runtime::Builder;
use tokio::time::timeout;

kettle::init_in_tests!();

kettle::task! {
    fn count(numbers: Sender<u32>, to: u32) {
        for n in 0..to {
            numbers.send(n).expect("a receiver");
        }
    }

    fn add_up(numbers: Receiver<u32>) -> u32 {
        numbers.into_iter().map(|n| n.unwrap()).sum()
    }

    fn hold(numbers: Sender<u32>, ready: Event) {
        ready.set();
        loop {
            thread::park();
        }
    }

    fn listen(numbers: Receiver<u32>, ready: Event) {
        ready.set();
        loop {
            thread::park();
        }
    }
}

fn held(numbers: Sender<u32>) -> Process {
    let ready = Event::new().unwrap();
    let process = hold::builder(numbers, ready.clone()).daemon(true).start().unwrap();
    ready.wait();
    process
}

fn listening(numbers: Receiver<u32>) -> Process {
    let ready = Event::new().unwrap();
    let process = listen::builder(numbers, ready.clone()).daemon(true).start().unwrap();
    ready.wait();
    process
}

fn on_both<F: Future<Output = ()>>(test: impl Fn() -> F) {
    let _dog = watchdog();
    Builder::new_current_thread().enable_all().build().unwrap().block_on(test());
    Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(test());
}

#[test]
fn a_stream_ends_with_its_senders() {
    on_both(|| async {
        let (sender, receiver) = channel().unwrap();
        let process = count::start(sender, 1000).unwrap();
        let mut stream = receiver.stream();
        let numbers: Vec<u32> = (&mut stream).try_collect().await.unwrap();
        assert!(numbers.into_iter().eq(0..1000));
        assert!(stream.is_terminated());
        assert_eq!(stream.next().await, None);
        process.await.unwrap();

        let Ok((sender, receiver)) = threads::channel();
        let task = tokio::spawn(receiver.into_stream().map(|n| n.unwrap()).collect::<Vec<_>>());
        (0..100).try_for_each(|n| sender.send(n)).unwrap();
        drop(sender);
        assert!(timeout(LONG, task).await.unwrap().unwrap().into_iter().eq(0..100));
    });
}

#[test]
fn queues_are_streams_until_they_are_shut_down() {
    on_both(|| async {
        let (numbers, jobs) = (Queue::new().unwrap(), JoinableQueue::new().unwrap());
        let Ok(sorted) = threads::PriorityQueue::new();
        for n in [3, 1, 2] {
            numbers.put(n).unwrap();
            jobs.put(n).unwrap();
            sorted.put(n).unwrap();
        }
        numbers.shutdown();
        jobs.shutdown();
        sorted.shutdown();
        assert_eq!(numbers.stream().try_collect::<Vec<_>>().await, Ok(vec![3, 1, 2]));
        assert_eq!(jobs.into_stream().try_collect::<Vec<_>>().await, Ok(vec![3, 1, 2]));
        assert_eq!(sorted.stream().try_collect::<Vec<_>>().await, Ok(vec![1, 2, 3]));
    });
}

#[test]
fn a_stream_that_is_dropped_takes_nothing_with_it() {
    on_both(|| async {
        let (sender, receiver) = channel().unwrap();
        for n in 0..50 {
            let mut stream = receiver.stream();
            assert_eq!(stream.next().now_or_never(), None);
            sender.send(n).unwrap();
            drop(stream);
            assert_eq!(timeout(LONG, receiver.stream().next()).await.unwrap(), Some(Ok(n)));
        }
    });
}

#[test]
fn streams_of_both_kinds_merge() {
    on_both(|| async {
        let (sender, receiver) = channel().unwrap();
        let Ok((other, other_receiver)) = threads::channel();
        let process = count::start(sender, 100).unwrap();
        let task = tokio::task::spawn_blocking(move || (100..200).try_for_each(|n| other.send(n)));
        let ours = receiver.stream().map(|n| n.unwrap());
        let theirs = other_receiver.stream().map(|n| n.unwrap());
        let mut all: Vec<u32> = timeout(LONG, select(ours, theirs).collect()).await.unwrap();
        all.sort_unstable();
        assert!(all.into_iter().eq(0..200));
        task.await.unwrap().unwrap();
        process.await.unwrap();
    });
}

#[test]
fn a_sink_waits_for_room_and_ends_its_channel() {
    on_both(|| async {
        let (sender, receiver) = bounded_channel(1).unwrap();
        let process = add_up::start(receiver).unwrap();
        let mut numbers = futures::stream::iter(0..1000).map(Ok);
        sender.into_sink().send_all(&mut numbers).await.unwrap();
        assert_eq!(timeout(LONG, process.into_future()).await.unwrap().unwrap(), 499_500);

        let Ok((sender, receiver)) = threads::bounded_channel(1);
        let mut sink = sender.sink();
        sink.send(1).await.unwrap();
        sink.feed(2).await.unwrap();
        assert!(timeout(SHORT, sink.flush()).await.is_err());
        assert_eq!(receiver.recv(), Ok(1));
        timeout(LONG, sink.flush()).await.unwrap().unwrap();
        assert_eq!(receiver.recv(), Ok(2));
        drop(receiver);
        assert!(matches!(sink.send(3).await, Err(SendError::Disconnected(3))));
    });
}

#[test]
fn the_deaths_of_the_other_ends_are_noticed() {
    on_both(|| async {
        let (sender, receiver) = channel().unwrap();
        let holder = held(sender);
        let mut stream = receiver.into_stream();
        assert!(timeout(SHORT, stream.next()).await.is_err());
        holder.kill().unwrap();
        assert_eq!(timeout(LONG, stream.next()).await.unwrap(), None);

        let (sender, receiver) = bounded_channel(1).unwrap();
        let listener = listening(receiver);
        let mut sink = sender.into_sink();
        sink.send(1).await.unwrap();
        assert!(timeout(SHORT, sink.send(2)).await.is_err());
        listener.kill().unwrap();
        assert!(matches!(timeout(LONG, sink.flush()).await.unwrap(), Err(SendError::Disconnected(2))));
    });
}

/// An end whose process is killed while it waits takes nothing with it, and keeps no other end waiting.
mod killed_while_it_waits {
    use super::*;

    kettle::task! {
        fn send_by_await(numbers: Sender<u32>, waits: Event) {
            Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
                let mut send = Box::pin(numbers.send_async(2));
                assert!(futures::poll!(&mut send).is_pending());
                waits.set();
                send.await.unwrap();
            });
        }

        fn send_by_sink(numbers: Sender<u32>, waits: Event) {
            Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
                let mut sink = numbers.into_sink();
                sink.feed(2).await.unwrap();
                assert!(futures::poll!(sink.flush()).is_pending());
                waits.set();
                sink.flush().await.unwrap();
            });
        }

        fn send_by_thread(numbers: Sender<u32>, waits: Event) {
            waits.set();
            numbers.send(2).unwrap();
        }

        fn receive_by_await(numbers: Receiver<u32>, waits: Event) {
            Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
                let mut receive = Box::pin(numbers.recv_async());
                assert!(futures::poll!(&mut receive).is_pending());
                waits.set();
                receive.await.unwrap();
            });
        }

        fn receive_by_stream(numbers: Receiver<u32>, waits: Event) {
            Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
                let mut stream = numbers.into_stream();
                assert!(futures::poll!(stream.next()).is_pending());
                waits.set();
                stream.next().await;
            });
        }

        fn receive_by_thread(numbers: Receiver<u32>, waits: Event) {
            waits.set();
            numbers.recv().unwrap();
        }
    }

    #[test]
    fn a_sender() {
        on_both(|| async {
            let starts = [send_by_await::start, send_by_sink::start, send_by_thread::start];
            for start in starts {
                let (sender, receiver) = bounded_channel(1).unwrap();
                sender.send(1).unwrap();
                let waits = Event::new().unwrap();
                let process = start(sender.clone(), waits.clone()).unwrap();
                waits.wait_async().await;
                process.kill().unwrap();
                assert!(timeout(LONG, process.into_future()).await.unwrap().is_err());
                // What it did not send is not there, and others send on.
                assert_eq!(timeout(LONG, receiver.recv_async()).await.unwrap(), Ok(1));
                timeout(LONG, sender.send_async(3)).await.unwrap().unwrap();
                assert_eq!(timeout(LONG, receiver.recv_async()).await.unwrap(), Ok(3));
                // The last sender dies while it waits for room.
                sender.send(4).unwrap();
                waits.clear();
                let process = start(sender, waits.clone()).unwrap();
                waits.wait_async().await;
                process.kill().unwrap();
                assert!(timeout(LONG, process.into_future()).await.unwrap().is_err());
                assert_eq!(timeout(LONG, receiver.recv_async()).await.unwrap(), Ok(4));
                assert_eq!(timeout(LONG, receiver.recv_async()).await.unwrap(), Err(RecvError::Disconnected));
            }
        });
    }

    #[test]
    fn a_receiver() {
        on_both(|| async {
            for start in [receive_by_await::start, receive_by_stream::start, receive_by_thread::start] {
                let (sender, receiver) = channel().unwrap();
                let waits = Event::new().unwrap();
                let process = start(receiver.clone(), waits.clone()).unwrap();
                waits.wait_async().await;
                process.kill().unwrap();
                assert!(timeout(LONG, process.into_future()).await.unwrap().is_err());
                sender.send(1).unwrap();
                assert_eq!(timeout(LONG, receiver.recv_async()).await.unwrap(), Ok(1));
                // The last receiver dies while it waits.
                waits.clear();
                let process = start(receiver, waits.clone()).unwrap();
                waits.wait_async().await;
                process.kill().unwrap();
                assert!(timeout(LONG, process.into_future()).await.unwrap().is_err());
                assert!(matches!(timeout(LONG, sender.send_async(2)).await.unwrap(), Err(SendError::Disconnected(2))));
            }
        });
    }
}
