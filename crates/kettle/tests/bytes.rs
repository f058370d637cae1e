//! Bytes and plain data, on every way that a value takes.

mod support;

use std::collections::{BTreeSet, VecDeque};

use bytemuck::{CheckedBitPattern, NoUninit};
use kettle::threads;
use kettle::{Bytes, Described, Pool, Queue, SharedSlice, channel, pipe};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use support::{Random, watchdog};

kettle::init_in_tests!();

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Frame {
    name: String,
    pixels: Vec<u8>,
    mask: Option<Box<[u8]>>,
    more: Vec<Vec<u8>>,
    signed: Vec<i8>,
    flags: Vec<bool>,
    fixed: [u8; 5],
    window: VecDeque<u8>,
    set: BTreeSet<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, NoUninit, CheckedBitPattern)]
#[repr(u8)]
enum Colour {
    Red = 1,
    Green = 2,
}

kettle::task! {
    fn back(frame: Frame) -> Frame {
        frame
    }

    fn doubled(numbers: SharedSlice<f64>) -> SharedSlice<f64> {
        assert!(numbers.is_shared());
        numbers.iter().map(|n| 2.0 * n).collect()
    }
}

const LENGTHS: [usize; 9] = [0, 1, 127, 128, 1023, 1024, 5_000, 100_000, 3_000_001];

fn bytes(random: &mut Random, len: usize) -> Vec<u8> {
    (0..len).map(|_| random.below(256) as u8).collect()
}

fn frame(random: &mut Random, len: usize) -> Frame {
    let pixels = bytes(random, len);
    Frame {
        name: format!("{len} pixels"),
        mask: (len % 2 == 0).then(|| pixels.clone().into()),
        more: vec![vec![], pixels.iter().take(300).copied().collect(), vec![255]],
        signed: pixels.iter().take(1000).map(|&byte| byte as i8).collect(),
        flags: pixels.iter().take(1000).map(|&byte| byte > 127).collect(),
        fixed: [0, 127, 128, 254, 255],
        window: pixels.iter().take(2000).rev().copied().collect(),
        set: pixels.iter().take(50).copied().collect(),
        pixels,
    }
}

/// Through a queue, which is empty before and after.
fn sent<T: Serialize + DeserializeOwned>(value: T) -> T {
    let queue = Queue::new().unwrap();
    queue.put(value).unwrap();
    queue.get().unwrap()
}

#[test]
fn bytes_arrive_as_they_were() {
    let _dog = watchdog();
    let mut random = Random::new(20261);
    let pool = Pool::builder().workers(1).build().unwrap();
    for len in LENGTHS {
        let frame = frame(&mut random, len);
        assert_eq!(sent(frame.clone()), frame);
        assert_eq!(sent(Described(frame.clone())).0, frame);
        assert_eq!(pool.apply(back::call(frame.clone())).unwrap(), frame);
        assert_eq!(back::start(frame.clone()).unwrap().join().unwrap(), frame);

        let (sender, receiver) = channel().unwrap();
        sender.send(frame.pixels.clone()).unwrap();
        assert_eq!(receiver.recv().unwrap(), frame.pixels);

        let Ok(queue) = threads::Queue::new();
        queue.put(frame.pixels.clone()).unwrap();
        assert_eq!(queue.get().unwrap(), frame.pixels);
    }
}

#[test]
fn bytes_pass_through_a_pipe() {
    let _dog = watchdog();
    let mut random = Random::new(20262);
    let (ours, theirs) = pipe::<Vec<u8>, Vec<u8>>().unwrap();
    for len in LENGTHS {
        let bytes = bytes(&mut random, len);
        std::thread::scope(|scope| {
            scope.spawn(|| ours.send(bytes.clone()).unwrap());
            assert_eq!(theirs.recv().unwrap(), bytes);
        });
    }
}

#[test]
fn bytes_written_one_way_are_read_the_other() {
    /// What a `Vec<u8>` is in a message, for a type that is read as another one.
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Either<T>(T, u32);

    let _dog = watchdog();
    for len in LENGTHS {
        let bytes = bytes(&mut Random::quiet(len as u64), len);
        let vectors = Queue::<Either<Vec<u8>>>::new().unwrap();
        vectors.put(Either(bytes.clone(), 7)).unwrap();
        assert_eq!(vectors.get().unwrap(), Either(bytes.clone(), 7));
        let deques = Queue::<Either<VecDeque<u8>>>::new().unwrap();
        deques.put(Either(bytes.clone().into(), 7)).unwrap();
        assert_eq!(deques.get().unwrap(), Either(bytes.into(), 7));
    }
}

#[test]
fn plain_data_arrives_as_it_was_and_in_place() {
    let _dog = watchdog();
    for len in [0, 1, 3, 100, 100_000] {
        let numbers: Vec<f64> = (0..len).map(|n| f64::from(n) / 4.0).collect();
        let mut received = sent(("numbers".to_string(), SharedSlice::from(numbers.clone()))).1;
        assert_eq!(*received, *numbers);
        assert_eq!(received.is_shared(), len > 1000, "{len}");
        if let Some(first) = received.first_mut() {
            *first = -1.0;
            assert_eq!(received[0], -1.0);
        }
        assert_eq!(Vec::from(received.clone()).len(), numbers.len());
        // What was received can be sent on.
        assert_eq!(sent(received.clone()), received);
        assert_eq!(*sent(Described(SharedSlice::from(numbers.clone()))).0, *numbers);
    }
    let numbers: SharedSlice<f64> = (0..5000).map(f64::from).collect();
    let twice = doubled::start(numbers.clone()).unwrap().join().unwrap();
    assert!(twice.iter().zip(numbers.iter()).all(|(twice, n)| *twice == 2.0 * n));
}

#[test]
fn plain_data_is_checked_when_it_is_received() {
    let _dog = watchdog();
    for len in [3, 5000] {
        let colours = vec![Colour::Red, Colour::Green, Colour::Red].into_iter().cycle().take(len);
        let colours: SharedSlice<Colour> = colours.collect();
        assert_eq!(sent(colours.clone()), colours);
        let flags: SharedSlice<bool> = (0..len).map(|n| n % 3 == 0).collect();
        assert_eq!(sent(flags.clone()), flags);
    }
}

#[test]
fn bytes_that_are_no_such_elements_are_an_error() {
    let _dog = watchdog();
    for bytes in [vec![1, 2, 3], vec![1, 2], vec![2; 5000], vec![1; 5001]] {
        let sent = Queue::<Bytes>::new().unwrap();
        sent.put(Bytes::from(bytes)).unwrap();
        // The same queue, as one of other items.
        let received: Queue<SharedSlice<Pair>> = postcard::from_bytes(&postcard::to_stdvec(&sent).unwrap()).unwrap();
        let e = received.get().unwrap_err();
        assert!(e.to_string().contains("no elements of this type"), "{e}");
    }
}

/// Two bytes, the second of which is a `bool`.
#[derive(Clone, Copy, Debug, PartialEq, NoUninit, CheckedBitPattern)]
#[repr(C)]
struct Pair {
    first: u8,
    second: bool,
}

#[cfg(feature = "bytes")]
#[test]
fn bytes_of_the_bytes_crate_are_not_copied() {
    let _dog = watchdog();
    let bytes = bytes::Bytes::from(vec![7; 100_000]);
    let place = bytes.as_ptr();
    let ours = Bytes::from(bytes);
    assert_eq!(ours.as_ptr(), place);
    let received = sent(ours);
    assert!(received.is_shared());
    let place = received.as_ptr();
    let theirs = bytes::Bytes::from(received);
    assert_eq!((theirs.as_ptr(), theirs.len(), theirs[99_999]), (place, 100_000, 7));
    // The block lives as long as any part of it.
    let part = theirs.slice(50_000..50_010);
    drop(theirs);
    assert_eq!(*part, [7; 10]);
}
