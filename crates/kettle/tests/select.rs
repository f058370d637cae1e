//! A choice between several queues, channels and events: each item goes to exactly one, and every end is noticed.

mod support;

use std::sync::mpsc;
use std::thread;
#[cfg(feature = "tokio")]
use std::time::Duration;

use kettle::select::{Select, SelectTimeout};
use kettle::{Event, GetError, JoinableQueue, Process, Queue, Receiver, RecvError, Sender, channel, threads};
use support::{LONG, SHORT, watchdog};

kettle::init_in_tests!();

kettle::task! {
    fn count(numbers: Sender<u32>, from: u32, to: u32) {
        for n in from..to {
            numbers.send(n).expect("a receiver");
        }
    }

    fn hold(numbers: Sender<u32>, ready: Event) {
        ready.set();
        loop {
            thread::park();
        }
    }

    fn choose(numbers: Receiver<u32>, words: Queue<String>, stop: Event, said: Queue<String>) {
        let mut select = Select::new()
            .on(&numbers, |n| n.map_or("no more numbers".to_string(), |n| n.to_string()))
            .on(&words, |word| word.unwrap_or("no more words".to_string()))
            .on(&stop, |()| "stop".to_string());
        while let Some(what) = select.wait() {
            let is_over = what == "stop";
            said.put(what).unwrap();
            if is_over {
                break;
            }
        }
    }
}

fn held(numbers: Sender<u32>) -> Process {
    let ready = Event::new().unwrap();
    let process = hold::builder(numbers, ready.clone()).daemon(true).start().unwrap();
    ready.wait();
    process
}

#[derive(Debug, PartialEq)]
enum Got {
    Number(Result<u32, RecvError>),
    Word(Result<&'static str, GetError>),
    Job(Result<u8, GetError>),
    Item(Result<u64, RecvError>),
    Set,
}

#[test]
fn each_kind_is_an_arm() {
    let _dog = watchdog();
    let (numbers, from_numbers) = channel().unwrap();
    let Ok(words) = threads::Queue::new();
    let jobs = JoinableQueue::new().unwrap();
    let Ok((items, from_items)) = threads::channel();
    let Ok(event) = threads::Event::new();
    let mut select = Select::new()
        .on(&from_numbers, Got::Number)
        .on(&words, Got::Word)
        .on(&jobs, Got::Job)
        .on(&from_items, Got::Item)
        .on(&event, |()| Got::Set);
    assert_eq!(select.len(), 5);
    assert_eq!(select.try_wait(), None);
    assert_eq!(select.wait_timeout(SHORT), Err(SelectTimeout));

    numbers.send(1).unwrap();
    assert_eq!(select.wait(), Some(Got::Number(Ok(1))));
    words.put("word").unwrap();
    assert_eq!(select.wait(), Some(Got::Word(Ok("word"))));
    jobs.put(2).unwrap();
    assert_eq!(select.wait_timeout(LONG), Ok(Some(Got::Job(Ok(2)))));
    items.send(3).unwrap();
    assert_eq!(select.try_wait(), Some(Got::Item(Ok(3))));
    event.set();
    assert_eq!(select.wait(), Some(Got::Set));
    assert_eq!(select.wait(), Some(Got::Set), "it is set until it is cleared");
    event.clear();

    // Each end is told once.
    drop(numbers);
    assert_eq!(select.wait(), Some(Got::Number(Err(RecvError::Disconnected))));
    words.shutdown();
    assert_eq!(select.wait(), Some(Got::Word(Err(GetError::ShutDown))));
    jobs.shutdown();
    assert_eq!(select.wait(), Some(Got::Job(Err(GetError::ShutDown))));
    drop(items);
    assert_eq!(select.wait(), Some(Got::Item(Err(RecvError::Disconnected))));
    assert_eq!(select.wait_timeout(SHORT), Err(SelectTimeout));
    assert_eq!(select.len(), 1);
}

#[test]
fn without_arms_there_is_nothing_to_wait_for() {
    let mut select = Select::<()>::new();
    assert!(select.is_empty());
    assert_eq!((select.wait(), select.try_wait()), (None, None));
    assert_eq!(select.wait_timeout(LONG), Ok(None));
}

#[test]
fn arms_that_are_ready_take_turns() {
    let _dog = watchdog();
    let queues: Vec<threads::Queue<usize>> = (0..3).map(|n| std::iter::repeat_n(n, 50).collect()).collect();
    let mut select = Select::new();
    for queue in &queues {
        select = select.on(queue, |n| n.unwrap());
    }
    let first: Vec<_> = (0..30).map(|_| select.wait().unwrap()).collect();
    for n in 0..3 {
        assert_eq!(first.iter().filter(|&&got| got == n).count(), 10, "{first:?}");
    }
}

#[test]
fn a_wait_is_woken_by_each_arm() {
    let _dog = watchdog();
    let (sender, receiver) = channel::<u32>().unwrap();
    let Ok(queue) = threads::Queue::<u32>::new();
    let (say, said) = mpsc::channel();
    thread::scope(|scope| {
        let queue = &queue;
        scope.spawn(move || {
            let mut select = Select::new().on(&receiver, |n| n.ok()).on(queue, |n| n.ok());
            while let Some(n) = select.wait() {
                say.send(n).unwrap();
            }
        });
        for n in 0..200 {
            if n % 2 == 0 {
                sender.send(n).unwrap()
            } else {
                queue.put(n).unwrap()
            }
            assert_eq!(said.recv(), Ok(Some(n)));
        }
        drop(sender);
        assert_eq!(said.recv(), Ok(None));
        queue.shutdown();
        assert_eq!(said.recv(), Ok(None));
        assert!(said.recv().is_err());
    });
}

#[test]
fn several_choose_between_the_same_queues_and_nothing_is_lost() {
    let _dog = watchdog();
    let (sender, receiver) = channel().unwrap();
    let Ok(queue) = threads::Queue::bounded(4);
    let counter = count::start(sender, 0, 1000).unwrap();
    let mut got = thread::scope(|scope| {
        let choosers: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    let mut select = Select::new().on(&receiver, |n| n.ok()).on(&queue, |n| n.ok());
                    std::iter::from_fn(|| select.wait()).flatten().collect::<Vec<u32>>()
                })
            })
            .collect();
        queue.put_many(1000..2000).unwrap();
        queue.shutdown();
        choosers.into_iter().flat_map(|chooser| chooser.join().unwrap()).collect::<Vec<_>>()
    });
    counter.join().unwrap();
    got.sort_unstable();
    assert!(got.into_iter().eq(0..2000));
}

#[test]
fn a_process_chooses_too() {
    let _dog = watchdog();
    let (numbers, receiver) = channel().unwrap();
    let (words, said) = (Queue::new().unwrap(), Queue::new().unwrap());
    let stop = Event::new().unwrap();
    let chooser = choose::start(receiver, words.clone(), stop.clone(), said.clone()).unwrap();
    numbers.send(1).unwrap();
    assert_eq!(said.get().unwrap(), "1");
    words.put("two".to_string()).unwrap();
    assert_eq!(said.get().unwrap(), "two");
    drop(numbers);
    assert_eq!(said.get().unwrap(), "no more numbers");
    stop.set();
    assert_eq!(said.get().unwrap(), "stop");
    chooser.join().unwrap();
}

#[test]
fn the_death_of_the_last_sender_is_an_end() {
    let _dog = watchdog();
    let (sender, receiver) = channel::<u32>().unwrap();
    let holder = held(sender);
    let queue = Queue::<u32>::new().unwrap();
    let waiting = thread::spawn(move || {
        let mut select = Select::new().on(&receiver, |n| n).on(&queue, |n| Ok(n.unwrap()));
        (select.wait(), select.len())
    });
    thread::sleep(SHORT);
    holder.kill().unwrap();
    assert_eq!(waiting.join().unwrap(), (Some(Err(RecvError::Disconnected)), 1));
}

#[cfg(feature = "tokio")]
mod awaited {
    use super::*;
    use tokio::runtime::Builder;
    use tokio::time::timeout;

    fn on_both<F: Future<Output = ()>>(test: impl Fn() -> F) {
        let _dog = watchdog();
        Builder::new_current_thread().enable_all().build().unwrap().block_on(test());
        Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(test());
    }

    #[test]
    fn items_of_all_arms_come_once() {
        on_both(|| async {
            let (sender, receiver) = channel().unwrap();
            let Ok(queue) = threads::Queue::bounded(4);
            let counter = count::start(sender, 0, 500).unwrap();
            let putter = tokio::spawn({
                let queue = queue.clone();
                async move {
                    for n in 500..1000 {
                        queue.put_async(n).await.unwrap();
                    }
                    queue.shutdown();
                }
            });
            let choosers: Vec<_> = (0..3)
                .map(|_| {
                    let (receiver, queue) = (receiver.clone(), queue.clone());
                    tokio::spawn(async move {
                        let mut select = Select::new().on(&receiver, |n| n.ok()).on(&queue, |n| n.ok());
                        let mut got = Vec::new();
                        while let Some(n) = select.wait_async().await {
                            got.extend(n);
                        }
                        got
                    })
                })
                .collect();
            drop(receiver);
            let mut got = Vec::new();
            for chooser in choosers {
                got.extend(timeout(LONG, chooser).await.unwrap().unwrap());
            }
            putter.await.unwrap();
            counter.join_async().await.unwrap();
            got.sort_unstable();
            assert!(got.into_iter().eq(0..1000));
        });
    }

    #[test]
    fn a_wait_that_is_dropped_took_nothing() {
        on_both(|| async {
            let (sender, receiver) = channel().unwrap();
            let Ok(queue) = threads::Queue::new();
            let mut select = Select::new().on(&receiver, |n| n.unwrap()).on(&queue, |n| n.unwrap());
            for n in 0..40u32 {
                assert!(timeout(Duration::from_micros(u64::from(n) * 20), select.wait_async()).await.is_err());
                if n % 2 == 0 {
                    sender.send(n).unwrap()
                } else {
                    queue.put(n).unwrap()
                }
                assert_eq!(timeout(LONG, select.wait_async()).await.unwrap(), Some(n));
            }
        });
    }

    #[test]
    fn the_death_of_the_last_sender_is_an_end() {
        on_both(|| async {
            let (sender, receiver) = channel::<u32>().unwrap();
            let holder = held(sender);
            let Ok(event) = threads::Event::new();
            let mut select = Select::new().on(&receiver, Some).on(&event, |()| None);
            assert!(timeout(SHORT, select.wait_async()).await.is_err());
            holder.kill().unwrap();
            let got = timeout(LONG, select.wait_async()).await.unwrap();
            assert_eq!(got, Some(Some(Err(RecvError::Disconnected))));
            event.set();
            assert_eq!(select.wait_async().await, Some(None));
        });
    }
}

kettle::task! {
    fn collect(numbers: Receiver<u32>) -> Vec<u32> {
        numbers.iter().map(|n| n.expect("a number")).collect()
    }
}

const MANY: u32 = 2000;

/// All numbers, each once, wherever they went.
fn assert_all(parts: [Vec<u32>; 2]) {
    let mut all = parts.concat();
    all.sort_unstable();
    assert!(all.into_iter().eq(0..MANY));
}

#[test]
fn an_item_goes_where_there_is_room_first() {
    let _dog = watchdog();
    let (to_process, from_parent) = kettle::bounded_channel(1).unwrap();
    let Ok((to_thread, from_main)) = threads::bounded_channel(1);
    let process = collect::start(from_parent).unwrap();
    let thread = thread::spawn(move || from_main.iter().map(|Ok(n)| n).collect::<Vec<_>>());
    for n in 0..MANY {
        let mut select =
            Select::new().send(&to_process, n, |sent| sent.is_ok()).send(&to_thread, n, |sent| sent.is_ok());
        assert_eq!(select.wait(), Some(true));
        assert_eq!(select.len(), 1, "an arm sends once");
    }
    drop((to_process, to_thread));
    assert_all([process.join().unwrap(), thread.join().unwrap()]);
}

#[test]
fn an_arm_that_sends_learns_that_nothing_receives() {
    let _dog = watchdog();
    let Ok((full, receiver)) = threads::bounded_channel(1);
    full.send(1).unwrap();
    let (shared, to_drop) = kettle::bounded_channel(1).unwrap();
    shared.send(1).unwrap();
    let Ok(never) = threads::Queue::<()>::new();
    let mut select = Select::new()
        .on(&never, |_| unreachable!("nothing is put"))
        .send(&full, 2, |sent| matches!(sent, Err(threads::SendError::Disconnected(2))))
        .send(&shared, 3, |sent| matches!(sent, Err(kettle::SendError::Disconnected(3))));
    assert_eq!(select.wait_timeout(SHORT), Err(SelectTimeout));
    thread::scope(|scope| {
        scope.spawn(|| drop((receiver, to_drop)));
        assert_eq!([select.wait(), select.wait()], [Some(true); 2]);
    });
    assert_eq!(select.len(), 1);
}

#[cfg(feature = "tokio")]
#[tokio::test]
async fn an_awaited_item_is_sent_once_or_not_at_all() {
    let _dog = watchdog();
    let (to_process, from_parent) = kettle::bounded_channel(1).unwrap();
    let Ok((to_task, from_main)) = threads::bounded_channel(1);
    let process = collect::start(from_parent).unwrap();
    let task = tokio::spawn(async move {
        let mut numbers = Vec::new();
        while let Ok(n) = from_main.recv_async().await {
            numbers.push(n);
        }
        numbers
    });
    for n in 0..MANY {
        let mut select = Select::new().send(&to_process, n, |sent| sent.is_ok()).send(&to_task, n, |sent| sent.is_ok());
        loop {
            tokio::select! {
                biased;
                sent = select.wait_async() => break assert_eq!(sent, Some(true)),
                // A wait that is dropped has sent nothing.
                () = tokio::task::yield_now() => {}
            }
        }
    }
    drop((to_process, to_task));
    assert_all([process.join_async().await.unwrap(), task.await.unwrap()]);
}
