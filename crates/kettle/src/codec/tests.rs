//! Bytes that are no message of ours: an error or a value, whatever they are, and no more work than the bytes are
//! worth.
//!
//! `SEED=7 MESSAGES=100000000 cargo test --release -p kettle --lib codec -- --nocapture` tries so many.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::*;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Shape {
    Unit,
    Number(i64),
    Pair(u8, String),
    Record { name: Option<Box<Shape>>, list: Vec<Shape>, map: BTreeMap<String, (char, f32)> },
}

/// A type whose values take no byte, but memory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Hollow {
    #[serde(skip)]
    room: [u64; 32],
}

type Table = HashMap<(u16, bool), Vec<Option<u128>>>;

fn shape() -> Shape {
    let inner = Shape::Record { name: None, list: vec![Shape::Unit, Shape::Number(-1)], map: BTreeMap::new() };
    let map = BTreeMap::from([("key".to_string(), ('ß', 1.5)), (String::new(), ('a', f32::NAN))]);
    Shape::Record {
        name: Some(Box::new(inner)),
        list: vec![Shape::Pair(1, "text".into()), Shape::Number(1 << 40)],
        map,
    }
}

fn bytes_of<T: Serialize + DeserializeOwned>(value: &T) -> Vec<u8> {
    encode(value, Vec::new()).expect("it arrives").bytes
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        // The generator xorshift64*.
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.next()) * n as u128) >> 64) as usize
    }

    fn mutate(&mut self, bytes: &mut Vec<u8>) {
        let at = self.below(bytes.len() + 1);
        match self.below(8) {
            0 | 1 if at < bytes.len() => bytes[at] = self.next() as u8,
            2 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
            3 if at < bytes.len() => bytes[at] = self.below(6) as u8,
            4 => bytes.truncate(at),
            5 => bytes.insert(at, self.next() as u8),
            // A number that is as long as they get.
            6 => drop(bytes.splice(at..at, [0xff; 9].into_iter().take(self.below(10)))),
            _ => drop(bytes.drain(at..(at + 3).min(bytes.len()))),
        }
    }
}

/// It is an error, or a value that is written as no more bytes than it was read from.
fn survives<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> bool {
    match decode::<T>(bytes, Vec::new()) {
        Ok(value) => {
            let again = write(&value, 0, Vec::new()).expect("what was read can be written").bytes;
            assert!(again.len() <= bytes.len(), "{bytes:?} has become {again:?}");
            true
        }
        Err(_) => false,
    }
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn mutated_messages_are_errors_or_values() {
    let (seed, messages) = (setting("SEED", 20_240_609), setting("MESSAGES", 100_000));
    eprintln!("SEED={seed} MESSAGES={messages}");
    let table = Table::from([((7, true), vec![None, Some(1), Some(u128::MAX)]), ((300, false), vec![])]);
    let plain = (0xffu8, -1i16, 1u32 << 20, (Duration::from_millis(1500), [1.5f64; 2]), "text".to_string(), 'ß', ());
    let valid =
        [bytes_of(&shape()), bytes_of(&table), bytes_of(&plain), bytes_of(&vec![(); 20]), bytes_of(&vec![shape(); 3])];
    let mut random = Random(seed | 1);
    let (mut values, mut bytes) = (0u64, Vec::new());
    for n in 0..messages {
        bytes.clone_from(&valid[random.below(valid.len())]);
        for _ in 0..=random.below(3) {
            random.mutate(&mut bytes);
        }
        let is_value = match random.below(6) {
            0 => survives::<Shape>(&bytes),
            1 => survives::<Table>(&bytes),
            2 => survives::<(u8, i16, u32, (Duration, [f64; 2]), String, char, ())>(&bytes),
            3 => survives::<Vec<()>>(&bytes),
            4 => survives::<Vec<Hollow>>(&bytes),
            _ => survives::<Vec<Shape>>(&bytes),
        };
        values += u64::from(is_value);
        if (n + 1) % 10_000_000 == 0 {
            eprintln!("{} messages, {values} of them values", n + 1);
        }
    }
    assert!(values > messages / 1000 && values < messages, "{values}");
}

#[test]
fn lengths_are_not_believed_beyond_the_bytes() {
    let mut long = vec![0xff; 8];
    long.extend([0x7f, 0, 0, 0]);
    assert!(decode::<Vec<()>>(&long, Vec::new()).is_err());
    assert!(decode::<Vec<Hollow>>(&long, Vec::new()).is_err());
    assert!(decode::<Vec<u8>>(&long, Vec::new()).is_err());
    assert!(decode::<String>(&long, Vec::new()).is_err());
    assert!(decode::<HashMap<(), ()>>(&long, Vec::new()).is_err());
    assert!(decode::<crate::Bytes>(&[&[0], &long[..]].concat(), Vec::new()).is_err());
    assert!(decode::<crate::Bytes>(&[1, 3], Vec::new()).is_err());
}

#[test]
fn what_is_nested_too_deep_is_an_error_and_no_overflow() {
    #[derive(Debug, Serialize, Deserialize)]
    struct Tree(Vec<Tree>);
    #[derive(Debug, Serialize, Deserialize)]
    struct Onion(Option<Box<Onion>>);
    let why = decode::<Tree>(&[1; 1 << 20], Vec::new()).unwrap_err().to_string();
    assert!(why.contains("levels deep"), "{why}");
    assert!(decode::<Onion>(&[1; 1 << 20], Vec::new()).unwrap_err().to_string().contains("levels deep"));
}

#[test]
fn bytes_that_are_left_over_are_an_error() {
    let mut bytes = bytes_of(&(1u32, true));
    assert_eq!(decode::<(u32, bool)>(&bytes, Vec::new()), Ok((1, true)));
    bytes.push(0);
    let why = decode::<(u32, bool)>(&bytes, Vec::new()).unwrap_err().to_string();
    assert!(why.contains("left over"), "{why}");
}
