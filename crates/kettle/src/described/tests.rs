//! Bytes that describe no value of ours: an error or a value, whatever they are.

use std::collections::{BTreeMap, HashSet};

use super::*;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Tree {
    Leaf(i16),
    Name(Option<String>),
    List(Vec<Tree>),
    Table { entries: BTreeMap<String, Tree>, kinds: Vec<Kind> },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Kind {
    Plain,
    Pair(u8, char),
    Named { of: f32, wide: i64 },
    New(()),
}

fn tree() -> Tree {
    let kinds = vec![Kind::Plain, Kind::Pair(1, 'ß'), Kind::Named { of: 1.5, wide: i64::MIN }, Kind::New(())];
    let entries = BTreeMap::from([
        ("a".to_string(), Tree::Leaf(-3)),
        ("b".repeat(200), Tree::List(vec![Tree::Name(None), Tree::Name(Some("x".into()))])),
    ]);
    Tree::Table { entries, kinds }
}

fn bytes_of<T: Serialize>(value: &T) -> Vec<u8> {
    encode::write(value).expect("it can be written")
}

#[test]
fn mutated_descriptions_are_errors_or_values() {
    let seed = std::env::var("SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(20_240_701_u64);
    eprintln!("SEED={seed}");
    let mut state = seed | 1;
    let mut below = |n: usize| {
        // The generator xorshift64*.
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        ((u128::from(state.wrapping_mul(0x2545_f491_4f6c_dd1d)) * n as u128) >> 64) as usize
    };
    let valid = bytes_of(&tree());
    assert_eq!(decode::read::<Tree>(&valid).expect("it is one"), tree());
    let mut values = 0;
    for _ in 0..50_000 {
        let mut bytes = valid.clone();
        for _ in 0..=below(2) {
            let at = below(bytes.len());
            match below(4) {
                0 => bytes[at] = below(256) as u8,
                1 => bytes[at] = below(27) as u8,
                2 => bytes.truncate(at + 1),
                _ => drop(bytes.drain(at..(at + 3).min(bytes.len()))),
            }
        }
        values += usize::from(decode::read::<Tree>(&bytes).is_ok());
        let _ = digest::of(&bytes);
    }
    assert!(values > 100 && values < 50_000, "{values}");
}

#[test]
fn lengths_are_not_believed_beyond_the_bytes() {
    for tag in [format::STR, format::BYTES, format::UNIT_VARIANT, format::VARIANT] {
        let bytes = [&[tag][..], &[0xff; 8], &[0x7f, 0, 0]].concat();
        assert!(decode::read::<String>(&bytes).is_err());
        assert!(decode::read::<Kind>(&bytes).is_err());
        assert_eq!(digest::of(&bytes), None);
    }
}

#[test]
fn what_is_nested_too_deep_is_an_error_and_no_overflow() {
    #[derive(Debug, Serialize, Deserialize)]
    struct Nest(Vec<Nest>);
    #[derive(Debug, Serialize, Deserialize)]
    struct Onion(Option<Box<Onion>>);
    for tag in [format::SEQ, format::SOME, format::MAP] {
        let bytes = vec![tag; 1 << 20];
        let why = decode::read::<Nest>(&bytes).unwrap_err().to_string()
            + &decode::read::<Onion>(&bytes).unwrap_err().to_string();
        assert!(why.contains("levels deep"), "{why}");
        let why = decode::read::<serde_json::Value>(&bytes).unwrap_err().to_string();
        assert!(why.contains("levels deep") || tag == format::MAP, "{why}");
    }
    let nest = (0..300).fold(Nest(vec![]), |nest, _| Nest(vec![nest]));
    assert!(encode::write(&nest).unwrap_err().to_string().contains("levels deep"));
}

#[test]
fn order_matters_in_tuples_alone() {
    let set: HashSet<u32> = (0..100).collect();
    let again: HashSet<u32> = set.iter().copied().collect();
    assert_eq!(digest::of(&bytes_of(&set)), digest::of(&bytes_of(&again)));
    assert_ne!(digest::of(&bytes_of(&(1, 2))), digest::of(&bytes_of(&(2, 1))));
    assert_ne!(digest::of(&bytes_of(&[vec![1, 2], vec![3]])), digest::of(&bytes_of(&[vec![1], vec![2, 3]])));
    assert_ne!(digest::of(&bytes_of(&5u8)), digest::of(&bytes_of(&5u16)));
}
