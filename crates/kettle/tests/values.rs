//! Values of types as serde's users write them: each arrives as it was sent, or is refused by its sender.

mod support;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt::Debug;
use std::marker::PhantomData;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use kettle::pipe::{Receiver, SendError};
use kettle::pool::{SubmitError, TaskError};
use kettle::process::JoinError;
use kettle::{Array, Bytes, Connection, Lock, Pool, PutError, Queue, StartError, Value};
use serde::de::{self, DeserializeOwned};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use support::{LONG, Random, watchdog};

kettle::init_in_tests!();

/// What a queue makes of it, after it was refused or arrived.
fn sent<T: Serialize + DeserializeOwned>(value: T) -> Result<T, String> {
    let queue = Queue::new().unwrap();
    match queue.put(value) {
        Ok(()) => Ok(queue.get().expect("what `put` took is there")),
        Err(PutError::Encode(_, why)) => {
            assert!(queue.is_empty());
            assert!(why.to_string().contains(std::any::type_name::<T>()), "{why}");
            Err(why.to_string())
        }
        Err(e) => panic!("{e}"),
    }
}

#[track_caller]
fn arrives<T: Serialize + DeserializeOwned + PartialEq + Debug + Clone>(values: impl IntoIterator<Item = T>) {
    for value in values {
        assert_eq!(sent(value.clone()).as_ref(), Ok(&value));
        assert_eq!(sent(vec![value.clone(), value.clone()]), Ok(vec![value.clone(), value.clone()]));
        assert_eq!(sent((1u8, Some(value.clone()), true)), Ok((1u8, Some(value), true)));
    }
}

/// It is refused for this reason, every time, and whatever it is a part of.
#[track_caller]
fn is_refused<T: Serialize + DeserializeOwned + PartialEq + Debug + Clone>(value: T, reason: &str) {
    for why in [
        sent(value.clone()).unwrap_err(),
        sent(value.clone()).unwrap_err(),
        sent(Some(value.clone())).unwrap_err(),
        sent(vec![value.clone(), value.clone(), value.clone()]).unwrap_err(),
        sent(HashMap::from([(7, value.clone())])).unwrap_err(),
        sent((0u64, value, [0u8; 32])).unwrap_err(),
    ] {
        assert!(why.contains(reason), "{why}");
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
enum Plain {
    Unit,
    New(u32),
    Tuple(u8, String),
    Struct { a: i64, b: Option<bool> },
    Empty(),
    Braces {},
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
struct Nothing;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
struct Id(u128);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
struct Clear {
    inner: Vec<Id>,
}

/// With attributes that do no harm.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
struct Decorated {
    #[serde(alias = "first_field", alias = "first")]
    some_field: f64,
    #[serde(rename(serialize = "out", deserialize = "in"))]
    other: char,
    #[serde(default = "seven")]
    number: i128,
    #[serde(skip)]
    cache: u32,
    marker: PhantomData<fn(String)>,
    unit: (),
    #[serde(with = "bytes")]
    bytes: Vec<u8>,
    #[serde(serialize_with = "bytes::serialize")]
    sequence: Vec<u8>,
    #[serde(deserialize_with = "bytes::deserialize")]
    slice: Vec<u8>,
}

fn seven() -> i128 {
    7
}

mod bytes {
    use super::*;

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Vec<u8>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
                Ok(bytes.to_vec())
            }
        }
        deserializer.deserialize_byte_buf(Visitor)
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Renamed {
    A,
    #[serde(alias = "Bee", alias = "Be")]
    B(u8),
    #[serde(rename(serialize = "x", deserialize = "y"))]
    C,
    D,
    #[serde(skip)]
    #[expect(dead_code, reason = "a variant that is skipped does no harm if it is the last one")]
    Skipped,
}

/// As text for people, as a number for us.
#[derive(Clone, Debug, PartialEq)]
struct Switches(u32);

impl Serialize for Switches {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() { serializer.collect_str(&self.0) } else { serializer.serialize_u32(self.0) }
    }
}

impl<'de> Deserialize<'de> for Switches {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = if deserializer.is_human_readable() {
            String::deserialize(deserializer)?.parse().map_err(de::Error::custom)?
        } else {
            u32::deserialize(deserializer)?
        };
        Ok(Self(number))
    }
}

/// By its text, and through other types.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
struct Even(u64);

impl TryFrom<String> for Even {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let number = text.parse::<u64>().map_err(|e| e.to_string())?;
        if number % 2 == 0 { Ok(Self(number)) } else { Err(format!("{number} is odd")) }
    }
}

impl From<Even> for String {
    fn from(even: Even) -> Self {
        even.0.to_string()
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Cell<'a> {
    name: Cow<'a, str>,
    table: BTreeMap<(u8, Plain), HashSet<Option<Nothing>>>,
    boxed: Box<[Option<Option<i16>>]>,
    result: Result<Duration, String>,
}

#[test]
fn what_serde_derives_arrives() {
    let _dog = watchdog();
    arrives([
        Plain::Unit,
        Plain::New(1),
        Plain::Tuple(2, "x".into()),
        Plain::Struct { a: -1, b: Some(true) },
        Plain::Struct { a: i64::MIN, b: None },
        Plain::Empty(),
        Plain::Braces {},
    ]);
    arrives([Nothing]);
    arrives([()]);
    arrives([Id(0), Id(u128::MAX), Id(1 << 70)]);
    arrives([Clear { inner: vec![Id(1)] }, Clear { inner: vec![] }]);
    arrives([
        Decorated::default(),
        Decorated {
            other: 'ß',
            number: i128::MIN,
            bytes: vec![0; 300],
            sequence: vec![5; 200],
            slice: vec![6; 200],
            ..Default::default()
        },
    ]);
    arrives([Renamed::A, Renamed::B(1), Renamed::C, Renamed::D]);
    arrives([Switches(70_000)]);
    arrives([Even(4), Even(1 << 40)]);
    let table = BTreeMap::from([
        ((1, Plain::Unit), HashSet::from([None, Some(Nothing)])),
        ((1, Plain::New(3)), HashSet::new()),
    ]);
    let boxed = Box::new([None, Some(None), Some(Some(-300))]);
    arrives([Cell { name: Cow::Borrowed("a name"), table, boxed, result: Err("no".into()) }]);
    assert_eq!(sent(Decorated { cache: 5, ..Default::default() }).map(|d| d.cache), Ok(0));
}

#[test]
fn what_the_standard_library_has_arrives() {
    let _dog = watchdog();
    arrives([(u8::MAX, u16::MAX, u32::MAX, u64::MAX, u128::MAX, usize::MAX)]);
    arrives([(i8::MIN, i16::MIN, i32::MIN, i64::MIN, i128::MIN, isize::MIN), (i8::MAX, -1, -1, -1, -1, -1)]);
    arrives([0, 1, 127, 128, 16_383, 16_384, u32::MAX - 1]);
    arrives(['\0', 'a', '\u{7ff}', '\u{ffff}', char::MAX]);
    arrives([f64::MIN_POSITIVE, -0.0, f64::INFINITY]);
    arrives([true, false]);
    arrives([String::new(), "\0ß\u{10ffff}".repeat(100)]);
    arrives([vec![(); 1000], vec![]]);
    arrives([vec![Nothing; 3]]);
    arrives([HashMap::from([((), ())]), HashMap::new()]);
    arrives([[[(); 3]; 2]]);
    arrives([[7u8; 32]]);
    arrives([Some(None), None, Some(Some("deep".to_string()))]);
    arrives([PathBuf::from("/tmp/ß")]);
    arrives([SystemTime::UNIX_EPOCH + Duration::from_nanos(1)]);
    arrives([IpAddr::from([127, 0, 0, 1]), IpAddr::from([0u16; 8])]);
    arrives([SocketAddr::from(([1, 2, 3, 4], 5))]);
    arrives([NonZeroU64::MAX]);
    arrives([1..5, 2..3]);
    arrives([BTreeSet::from([3, 1])]);
    arrives([std::ffi::CString::new("c").unwrap()]);
    arrives([std::ffi::OsString::from("os")]);
    arrives([Box::<str>::from("boxed")]);
    arrives([std::cmp::Reverse(std::num::Wrapping(4))]);
    for nan in [f32::NAN, -f32::NAN, f32::from_bits(0x7fa0_0001)] {
        assert_eq!(sent(nan).unwrap().to_bits(), nan.to_bits());
    }
    let list = sent(Mutex::new(vec![1])).unwrap();
    assert_eq!(*list.lock().unwrap(), [1]);
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Order {
    #[serde(skip_serializing_if = "Option::is_none", default)]
    note: Option<u8>,
    paid: bool,
    items: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Event {
    Ordered {
        #[serde(skip_serializing_if = "Vec::is_empty", default)]
        items: Vec<u8>,
        price: u8,
    },
    Paid(#[serde(skip_serializing_if = "Option::is_none", default)] Option<u8>, #[serde(default)] u8),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Pair(#[serde(skip_serializing_if = "is_zero", default)] u32, #[serde(default)] u32);

fn is_zero(n: &u32) -> bool {
    *n == 0
}

#[test]
fn a_field_that_is_left_out_is_refused_and_nothing_else() {
    let _dog = watchdog();
    for _ in 0..2 {
        arrives([Order { note: Some(1), paid: false, items: vec![0] }]);
        is_refused(Order { note: None, paid: false, items: vec![0] }, "`note` is left out");
        arrives([Event::Ordered { items: vec![1], price: 1 }, Event::Paid(Some(1), 1)]);
        is_refused(Event::Ordered { items: vec![], price: 0 }, "`items` is left out");
        is_refused(Event::Paid(None, 0), "skip_serializing_if");
        arrives([Pair(1, 2)]);
        is_refused(Pair(0, 2), "skip_serializing_if");
    }
    // One among many that are right.
    let mut pairs = vec![Pair(1, 1); 100];
    pairs[50].0 = 0;
    assert!(sent(pairs).unwrap_err().contains("skip_serializing_if"));
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct NeverWritten {
    #[serde(skip_serializing, default)]
    a: u8,
    b: u8,
    c: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct NeverRead {
    #[serde(skip_deserializing)]
    a: u8,
    b: u8,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Gap {
    A,
    #[serde(skip)]
    #[expect(dead_code, reason = "those behind it are counted otherwise by its Serialize than by its Deserialize")]
    Hole,
    B,
    C,
    D,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Crooked {
    #[serde(serialize_with = "as_text")]
    number: u32,
}

fn as_text<S: Serializer>(number: &u32, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(number)
}

#[test]
fn halves_that_do_not_match_are_refused() {
    let _dog = watchdog();
    is_refused(NeverWritten { a: 0, b: 1, c: vec![] }, "skip_serializing");
    is_refused(NeverRead { a: 0, b: 1 }, "skip_deserializing");
    arrives([Gap::A]);
    for gap in [Gap::B, Gap::C] {
        is_refused(gap, "makes another value");
    }
    // This one is beyond the last variant that its Deserialize knows.
    assert!(sent(Gap::D).is_err());
    is_refused(Crooked { number: 3 }, "reads a u32 where its Serialize wrote a string");
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind")]
enum Internal {
    A { x: u32 },
    B(Order),
    C,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "t", content = "c")]
enum Adjacent {
    A(u32),
    B { text: String },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Untagged {
    Number(u32),
    Text(String),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
struct Tagged {
    x: u32,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Flat {
    id: u32,
    #[serde(flatten)]
    rest: HashMap<String, u32>,
}

/// Now and then it holds what cannot be sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Sometimes {
    Fine(u32),
    Wrong(Untagged),
    Perhaps(Option<Untagged>),
    Many(Vec<Untagged>),
    Deep(Box<Sometimes>),
}

#[test]
fn what_asks_what_comes_next_is_refused() {
    let _dog = watchdog();
    let asks = "asks what comes next";
    is_refused(Internal::A { x: 1 }, asks);
    is_refused(Internal::B(Order { note: Some(1), paid: true, items: vec![] }), asks);
    is_refused(Internal::C, asks);
    is_refused(Adjacent::A(1), asks);
    is_refused(Adjacent::B { text: "t".into() }, asks);
    is_refused(Untagged::Number(3), asks);
    is_refused(Untagged::Text("3".into()), asks);
    assert!(sent(Tagged { x: 1 }).is_err());
    is_refused(Flat { id: 1, rest: HashMap::new() }, "flatten");

    let deep = |inner| Sometimes::Deep(Box::new(inner));
    for _ in 0..2 {
        arrives([Sometimes::Fine(1), Sometimes::Perhaps(None), Sometimes::Many(vec![])]);
        arrives([deep(deep(Sometimes::Perhaps(None)))]);
        is_refused(Sometimes::Wrong(Untagged::Number(1)), asks);
        is_refused(Sometimes::Perhaps(Some(Untagged::Number(1))), asks);
        is_refused(Sometimes::Many(vec![Untagged::Number(1)]), asks);
        is_refused(deep(deep(Sometimes::Many(vec![Untagged::Number(1)]))), asks);
    }
}

/// Two halves written by hand, with a fault.
#[derive(Clone, Debug, PartialEq)]
struct ByHand(u8);

impl Serialize for ByHand {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::{SerializeSeq, SerializeTuple};
        match self.0 {
            // It announces more than it has.
            0 => serializer.serialize_seq(Some(2))?.end(),
            // It does not know how many it has.
            1 => serializer.serialize_seq(None)?.end(),
            // It is no sequence.
            2 => {
                let mut tuple = serializer.serialize_tuple(1)?;
                tuple.serialize_element(&0u8)?;
                tuple.end()
            }
            n => vec![n; 3].serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for ByHand {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::<u8>::deserialize(deserializer).map(|numbers| Self(numbers.first().copied().unwrap_or(0)))
    }
}

#[test]
fn faults_of_code_written_by_hand_are_refused() {
    let _dog = watchdog();
    arrives([ByHand(9)]);
    is_refused(ByHand(0), "another number of elements");
    is_refused(ByHand(1), "length");
    is_refused(ByHand(2), "reads a sequence where its Serialize wrote a struct or tuple");
}

/// A list as text books have it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum List {
    End,
    Node(u32, Box<List>),
}

fn list(len: u32) -> List {
    (0..len).fold(List::End, |rest, n| List::Node(n, Box::new(rest)))
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Tree(Vec<Tree>);

fn tree(height: usize) -> Tree {
    (0..height).fold(Tree(vec![]), |tree, _| Tree(vec![tree]))
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Onion(Option<Box<Onion>>);

#[test]
fn what_is_nested_too_deep_is_refused() {
    // With the stack of a thread, not that of `main`.
    let _dog = watchdog();
    arrives([list(200)]);
    arrives([tree(200)]);
    assert_eq!(sent(list(256)), Ok(list(256)));
    for why in [sent(list(257)).unwrap_err(), sent(tree(20_000)).unwrap_err(), sent(list(5000)).unwrap_err()] {
        assert!(why.contains("nested more than 256 levels deep"), "{why}");
    }
    let onion = (0..300).fold(Onion(None), |onion, _| Onion(Some(Box::new(onion))));
    assert!(sent(onion).unwrap_err().contains("nested more than"));
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Expression {
    Number(f64),
    Text(String),
    Name { name: char, index: Option<Option<u16>> },
    Sum(Vec<Expression>),
    Call(u8, Box<(Expression, [i32; 3])>),
    Table(BTreeMap<u64, Expression>),
    Unit,
}

fn expression(random: &mut Random, height: u32) -> Expression {
    let kinds = if height == 0 { 4 } else { 7 };
    match random.below(kinds) {
        0 => Expression::Number(f64::from(random.below(1 << 30) as u32) / 7.0),
        1 => Expression::Text("ß".repeat(random.below(200) as usize)),
        2 => {
            let index = [None, Some(None), Some(Some(random.below(1 << 16) as u16))][random.below(3) as usize];
            Expression::Name { name: char::from_u32(random.below(0xd800) as u32).unwrap(), index }
        }
        3 => Expression::Unit,
        4 => Expression::Sum((0..random.below(4)).map(|_| expression(random, height - 1)).collect()),
        5 => {
            let numbers = std::array::from_fn(|_| random.below(1 << 32) as u32 as i32);
            Expression::Call(random.below(256) as u8, Box::new((expression(random, height - 1), numbers)))
        }
        _ => Expression::Table(
            (0..random.below(4)).map(|_| (random.below(u64::MAX), expression(random, height - 1))).collect(),
        ),
    }
}

#[test]
fn values_at_random_arrive() {
    let _dog = watchdog();
    let mut random = Random::new(20_240_607);
    let queue = Queue::new().unwrap();
    for _ in 0..2000 {
        let value = expression(&mut random, 6);
        queue.put(value.clone()).unwrap();
        assert_eq!(queue.get().unwrap(), value);
    }
}

/// Some fields of some of them are left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Record {
    #[serde(skip_serializing_if = "is_zero", default)]
    a: u32,
    inner: Vec<Pair>,
    choice: Option<Sometimes>,
    gap: Gap,
}

#[test]
fn values_at_random_arrive_or_are_refused() {
    let _dog = watchdog();
    let mut random = Random::new(20_240_608);
    let mut arrived = 0;
    for _ in 0..5000 {
        let choice = match random.below(8) {
            0 => Some(Sometimes::Wrong(Untagged::Number(0))),
            1 => Some(Sometimes::Perhaps(Some(Untagged::Text("a".into())))),
            2 => Some(Sometimes::Perhaps(None)),
            3 => Some(Sometimes::Deep(Box::new(Sometimes::Many(vec![])))),
            4 => Some(Sometimes::Fine(random.below(3) as u32)),
            _ => None,
        };
        let value = Record {
            a: random.below(4) as u32,
            inner: (0..random.below(4)).map(|_| Pair(random.below(6) as u32, random.below(3) as u32)).collect(),
            choice,
            gap: [Gap::A, Gap::A, Gap::A, Gap::B, Gap::C][random.below(5) as usize].clone(),
        };
        let is_right = value.a != 0
            && value.inner.iter().all(|pair| pair.0 != 0)
            && !matches!(value.choice, Some(Sometimes::Wrong(_) | Sometimes::Perhaps(Some(_))))
            && value.gap == Gap::A;
        match sent(value.clone()) {
            Ok(received) => {
                assert_eq!(received, value);
                assert!(is_right);
                arrived += 1;
            }
            Err(why) => assert!(!is_right, "{value:?}: {why}"),
        }
    }
    assert!(arrived > 100, "{arrived}");
}

#[derive(Debug, Serialize, Deserialize)]
struct Handles {
    queue: Queue<u32>,
    lock: Option<Lock<[u64; 3]>>,
    value: Value<i32>,
    array: Array<u8>,
    short: Bytes,
    long: Bytes,
    after: Order,
}

#[test]
fn handles_and_blocks_arrive_and_what_is_behind_them_is_looked_at() {
    let _dog = watchdog();
    let handles = |note| Handles {
        queue: Queue::new().unwrap(),
        lock: Some(Lock::new([1, 2, 3]).unwrap()),
        value: Value::new(-5).unwrap(),
        array: Array::from_slice(&[4; 10]).unwrap(),
        short: Bytes::copy_of(b"short"),
        long: vec![7; 100_000].into(),
        after: Order { note, paid: true, items: vec![] },
    };
    for _ in 0..3 {
        let sent_ones = handles(Some(1));
        let queue = sent_ones.queue.clone();
        let got = sent(sent_ones).unwrap();
        queue.put(77).unwrap();
        assert_eq!(got.queue.get(), Ok(77));
        assert_eq!(*got.lock.as_ref().unwrap().acquire().unwrap(), [1, 2, 3]);
        assert_eq!((got.value.get(), &*got.short, got.long.len()), (-5, &b"short"[..], 100_000));
        assert!(got.long.is_shared() && got.long.iter().all(|&byte| byte == 7));
        assert!(sent(handles(None)).unwrap_err().contains("`note` is left out"));
    }
}

kettle::task! {
    fn total(order: Order) -> usize {
        order.items.len()
    }

    fn order(is_noted: bool) -> Order {
        Order { note: is_noted.then_some(1), paid: true, items: vec![1] }
    }

    fn either(n: u32) -> Untagged {
        Untagged::Number(n)
    }

    fn beside_a_pipe(peer: Connection<Pair>, words: Receiver<String>, order: Order) -> usize {
        while let Ok(pair) = peer.recv() {
            peer.send(pair).unwrap();
        }
        words.iter().count() + order.items.len()
    }
}

#[test]
fn arguments_and_results_are_refused_where_they_are_sent() {
    let _dog = watchdog();
    let right = Order { note: Some(1), paid: true, items: vec![1, 2] };
    let wrong = Order { note: None, ..right.clone() };
    assert_eq!(total::start(right.clone()).unwrap().join().unwrap(), 2);
    let refused = total::start(wrong.clone());
    assert!(matches!(refused, Err(StartError::Encode(why)) if why.to_string().contains("`note` is left out")));
    assert_eq!(order::start(true).unwrap().join().unwrap().note, Some(1));
    for lost in [order::start(false).unwrap().join().map(drop), either::start(1).unwrap().join().map(drop)] {
        assert!(matches!(&lost, Err(JoinError::Lost(why)) if why.contains("the result: this value cannot be sent")));
    }

    let pool = Pool::new().unwrap();
    assert_eq!(pool.apply(total::call(right.clone())).unwrap(), 2);
    assert!(matches!(pool.submit(total::call(wrong.clone())), Err(SubmitError::Encode(_))));
    assert!(pool.map(total::call, [right.clone(), wrong.clone()]).is_err());
    for lost in [pool.apply(order::call(false)).map(drop), pool.apply(either::call(1)).map(drop)] {
        assert!(matches!(&lost, Err(TaskError::Lost(why)) if why.contains("the result: this value cannot be sent")));
    }
}

#[test]
fn no_message_takes_a_descriptor_that_was_not_handed_down() {
    let _dog = watchdog();
    let through = Queue::new().unwrap();
    let raw = Queue::<(i32, Vec<u8>)>::new().unwrap();
    through.put(raw.clone()).unwrap();
    // The handle travels as a token, which says nothing of the items.
    let retyped: Queue<Queue<Connection<u8>>> = postcard::from_bytes(&postcard::to_stdvec(&through).unwrap()).unwrap();
    let ends = retyped.get().unwrap();
    for number in [0, 1, 2] {
        raw.put((number, vec![0; 73])).unwrap();
        let why = ends.get().unwrap_err().to_string();
        assert!(why.contains("not started with this end of a pipe"), "{why}");
        assert!(std::fs::read_link(format!("/proc/self/fd/{number}")).is_ok());
    }
}

#[test]
fn ends_of_pipes_arrive_and_what_goes_through_them_is_looked_at() {
    let _dog = watchdog();
    let right = Order { note: Some(1), paid: true, items: vec![1, 2] };
    for _ in 0..2 {
        let (ours, theirs) = kettle::pipe::<Pair, Pair>().unwrap();
        let (words, to_say) = kettle::one_way_pipe().unwrap();
        let process = beside_a_pipe::start(theirs, words, right.clone()).unwrap();
        ours.send(Pair(1, 2)).unwrap();
        assert_eq!(ours.recv_timeout(LONG).unwrap(), Pair(1, 2));
        assert!(matches!(ours.send(Pair(0, 2)), Err(SendError::Encode(Pair(0, 2), _))));
        to_say.send("word".to_string()).unwrap();
        drop((ours, to_say));
        assert_eq!(process.join().unwrap(), 3);

        let (_ours, theirs) = kettle::pipe().unwrap();
        let (words, _to_say) = kettle::one_way_pipe().unwrap();
        let wrong = Order { note: None, ..right.clone() };
        assert!(matches!(beside_a_pipe::start(theirs, words, wrong), Err(StartError::Encode(_))));
    }
}
