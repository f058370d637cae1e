//! What is wrapped in `Described`: whatever attributes a type has, it arrives as it was sent, or its sender is told.

mod support;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Debug;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use kettle::{Bytes, Connection, Described, Lock, Pool, PutError, Queue, StartError, Value};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use support::{Random, watchdog};

kettle::init_in_tests!();

fn sent<T: Serialize + DeserializeOwned>(value: T) -> Result<T, String> {
    let queue = Queue::new().unwrap();
    match queue.put(value) {
        Ok(()) => Ok(queue.get().expect("what `put` took is there")),
        Err(PutError::Encode(_, why)) => {
            assert!(queue.is_empty());
            Err(why.to_string())
        }
        Err(e) => panic!("{e}"),
    }
}

/// Alone, and as a part of others.
#[track_caller]
fn arrives<T: Serialize + DeserializeOwned + PartialEq + Debug + Clone>(values: impl IntoIterator<Item = T>) {
    for value in values.into_iter().map(Described) {
        assert_eq!(sent(value.clone()).as_ref(), Ok(&value));
        assert_eq!(sent(vec![value.clone(), value.clone()]), Ok(vec![value.clone(), value.clone()]));
        assert_eq!(sent((1u8, Some(value.clone()), true)), Ok((1u8, Some(value.clone()), true)));
        assert_eq!(sent(Described(Some(value.clone()))), Ok(Described(Some(value))));
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind")]
enum Internal {
    A { x: u32, deep: Option<Option<i8>> },
    B(Order),
    C,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "t", content = "c")]
enum Adjacent {
    A(u32),
    B { text: String },
    Pair(u8, char),
    Unit,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Untagged {
    Number(u32),
    Text(String),
    Address(IpAddr, u16),
    Enum(External),
    List(Vec<Untagged>),
    Struct { map: BTreeMap<u8, Vec<Untagged>> },
    Nothing,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
enum External {
    Unit,
    New(u32),
    Tuple(u8, String),
    Struct { a: i64, b: Option<bool> },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Order {
    #[serde(skip_serializing_if = "Option::is_none", default)]
    note: Option<u8>,
    paid: bool,
    items: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Flat {
    id: u32,
    #[serde(flatten)]
    inner: Inner,
    #[serde(flatten)]
    choice: Option<Adjacent>,
    #[serde(flatten)]
    rest: HashMap<String, Untagged>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Inner {
    address: SocketAddr,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    many: Vec<External>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Gap {
    A,
    #[serde(skip)]
    #[expect(dead_code, reason = "only what stands behind it is of interest")]
    Hole,
    B,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct NeverWritten {
    #[serde(skip_serializing, default)]
    cache: u8,
    b: u8,
}

fn order(note: Option<u8>) -> Order {
    Order { note, paid: false, items: vec![0, 1] }
}

#[test]
fn what_plain_messages_refuse_arrives() {
    let _dog = watchdog();
    arrives([
        Internal::A { x: 1, deep: None },
        Internal::A { x: 1, deep: Some(Some(-1)) },
        Internal::B(order(None)),
        Internal::B(order(Some(1))),
        Internal::C,
    ]);
    arrives([Adjacent::A(1), Adjacent::B { text: "t".into() }, Adjacent::Pair(1, 'ß'), Adjacent::Unit]);
    arrives([
        Untagged::Number(3),
        Untagged::Text("3".into()),
        Untagged::Address([1, 2, 3, 4].into(), 5),
        Untagged::Enum(External::Struct { a: -1, b: None }),
        Untagged::Enum(External::New(7)),
        Untagged::List(vec![Untagged::Number(1), Untagged::Nothing]),
        Untagged::Struct { map: BTreeMap::from([(7, vec![Untagged::Text(String::new())])]) },
        Untagged::Nothing,
    ]);
    arrives([order(None), order(Some(0))]);
    let rest = || HashMap::from([("a".into(), Untagged::Number(1)), ("b".into(), Untagged::Nothing)]);
    let address = SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], 80));
    arrives([
        Flat { id: 1, inner: Inner { address, many: vec![] }, choice: None, rest: rest() },
        Flat {
            id: 1,
            inner: Inner { address, many: vec![External::Unit, External::Tuple(1, "x".into())] },
            choice: Some(Adjacent::Pair(1, 'a')),
            rest: HashMap::new(),
        },
    ]);
    arrives([Gap::A, Gap::B]);
    arrives([NeverWritten { cache: 0, b: 1 }]);
    arrives([
        serde_json::json!(null),
        serde_json::json!({"a": [1, null, -2, 1.5, "text", {"deep": [[]]}], "b": u64::MAX, "": true}),
    ]);
}

#[test]
fn everything_else_arrives_too() {
    let _dog = watchdog();
    arrives([(u8::MAX, u16::MAX, u32::MAX, u64::MAX, u128::MAX, usize::MAX)]);
    arrives([(i8::MIN, i16::MIN, i32::MIN, i64::MIN, i128::MIN, isize::MIN)]);
    arrives([(1u128, -1i128, u128::from(u64::MAX), i128::from(i64::MIN))]);
    arrives([(f64::INFINITY, f32::MIN_POSITIVE, '\u{10ffff}', true, ())]);
    arrives([Some(None), None, Some(Some("deep".to_string()))]);
    arrives([Some(())]);
    arrives([(PathBuf::from("/tmp/ß"), Duration::from_nanos(1), SystemTime::UNIX_EPOCH)]);
    arrives([HashSet::<u32>::from_iter(0..300)]);
    arrives([HashMap::<(u32, External), Vec<u32>>::from_iter((0..300).map(|n| ((n, External::New(n)), vec![n; 3])))]);
    arrives([(Cow::<str>::Borrowed("cow"), Box::new([7u8; 32]), Err::<u32, String>("no".into()))]);
    for bytes in [vec![7; 300], vec![1; 100_000]] {
        assert_eq!(sent(Described(Bytes::from(bytes.clone()))).unwrap().0, Bytes::from(bytes));
    }
    assert_eq!(sent(Described(f64::NAN.to_bits())).unwrap().0, f64::NAN.to_bits());
}

/// Two that look alike.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Alike {
    Small(u8),
    Big(u32),
    Letter(char),
    Text(String),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct WithoutDefault {
    #[serde(skip_serializing)]
    a: u8,
    b: u8,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Defaulted {
    #[serde(skip_serializing_if = "is_even", default)]
    a: u8,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Wide {
    Number(u128),
}

fn is_even(n: &u8) -> bool {
    n % 2 == 0
}

#[test]
fn what_would_not_arrive_is_refused() {
    let _dog = watchdog();
    arrives([Alike::Small(5), Alike::Big(300), Alike::Letter('x'), Alike::Text("two".into())]);
    for alike in [Alike::Big(5), Alike::Text("x".into())] {
        let why = sent(Described(vec![alike])).unwrap_err();
        assert!(why.contains("makes another value"), "{why}");
    }
    let why = sent(Described(WithoutDefault { a: 1, b: 2 })).unwrap_err();
    assert!(why.contains("missing field `a`") && why.contains("WithoutDefault"), "{why}");
    assert_eq!(sent(Described(Defaulted { a: 3 })), Ok(Described(Defaulted { a: 3 })));
    // Where a value is looked at twice, serde itself has no room for long numbers.
    let why = sent(Described(Wide::Number(u128::MAX))).unwrap_err();
    assert!(why.contains("could not read it"), "{why}");
    let (_ours, theirs) = kettle::pipe::<u8, u8>().unwrap();
    assert!(matches!(end::start(Described(theirs)), Err(StartError::Encode(why)) if why.to_string().contains("pipe")));
}

#[test]
fn refusals_name_what_helps() {
    let _dog = watchdog();
    for why in [
        sent(order(None)).unwrap_err(),
        sent(Internal::C).unwrap_err(),
        sent(Untagged::Number(1)).unwrap_err(),
        sent(Adjacent::Unit).unwrap_err(),
        sent(serde_json::json!([])).unwrap_err(),
        sent(NeverWritten { cache: 0, b: 0 }).unwrap_err(),
        sent(Gap::B).unwrap_err(),
        sent(Flat {
            id: 1,
            inner: Inner { address: ([1, 2, 3, 4], 5).into(), many: vec![] },
            choice: None,
            rest: HashMap::new(),
        })
        .unwrap_err(),
    ] {
        assert!(why.contains("kettle::Described"), "{why}");
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Field {
    before: u8,
    #[serde(with = "kettle::described")]
    setting: Untagged,
    after: Vec<Described<Internal>>,
}

#[test]
fn a_field_may_be_described_alone() {
    let _dog = watchdog();
    let field = Field {
        before: 1,
        setting: Untagged::Text("t".into()),
        after: vec![Described(Internal::C), Described(Internal::B(order(None)))],
    };
    for _ in 0..2 {
        assert_eq!(sent(field.clone()).as_ref(), Ok(&field));
        assert_eq!(sent(Described(field.clone())), Ok(Described(field.clone())));
    }
    let json = serde_json::to_string(&field).unwrap();
    assert!(json.contains(r#""setting":"t""#), "{json}");
    assert_eq!(serde_json::from_str::<Field>(&json).unwrap(), field);
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Request {
    Wrong(Queue<u32>, u8),
    Right(Queue<u32>, String, Lock<u64>),
    Named { reply: Queue<u32>, value: Value<i32>, picture: Bytes },
}

kettle::task! {
    fn answer(requests: Queue<Described<Request>>, first: Described<Request>) -> Described<Internal> {
        for request in std::iter::once(Ok(first)).chain(requests.iter()) {
            match request.expect("a request").0 {
                Request::Wrong(..) => panic!("it is not that"),
                Request::Right(reply, text, lock) => {
                    *lock.acquire().unwrap() += 1;
                    reply.put(text.len() as u32).unwrap();
                }
                Request::Named { reply, value, picture } => {
                    value.set(picture[0].into());
                    reply.put(picture.len() as u32).unwrap();
                }
            }
        }
        Described(Internal::B(order(None)))
    }

    fn end(peer: Described<Connection<u8>>) {
        drop(peer);
    }

    fn twice(number: Described<serde_json::Value>) -> Described<serde_json::Value> {
        Described(serde_json::json!({ "twice": [number.0.clone(), number.0] }))
    }
}

#[test]
fn handles_travel_in_described_values_to_other_processes() {
    let _dog = watchdog();
    let (requests, reply) = (Queue::new().unwrap(), Queue::new().unwrap());
    let (lock, value) = (Lock::new(0).unwrap(), Value::new(0).unwrap());
    let first = Described(Request::Right(reply.clone(), "four".into(), lock.clone()));
    let process = answer::start(requests.clone(), first).unwrap();
    assert_eq!(reply.get(), Ok(4));
    requests.put(Described(Request::Right(reply.clone(), "seven!!".into(), lock.clone()))).unwrap();
    assert_eq!(reply.get(), Ok(7));
    let picture = Bytes::from(vec![9; 50_000]);
    requests.put(Described(Request::Named { reply: reply.clone(), value: value.clone(), picture })).unwrap();
    assert_eq!(reply.get(), Ok(50_000));
    assert_eq!((*lock.acquire().unwrap(), value.get()), (2, 9));
    requests.shutdown();
    assert_eq!(process.join().unwrap().0, Internal::B(order(None)));

    let pool = Pool::new().unwrap();
    let twice = pool.apply(twice::call(Described(serde_json::json!(4)))).unwrap();
    assert_eq!(twice.0, serde_json::json!({"twice": [4, 4]}));
}

fn json(random: &mut Random, height: u32) -> serde_json::Value {
    match random.below(if height == 0 { 5 } else { 7 }) {
        0 => serde_json::Value::Null,
        1 => (random.below(2) == 0).into(),
        2 => (random.below(1 << 40) as i64 - (1 << 39)).into(),
        3 => (random.below(1 << 40) as f64 / 3.0).into(),
        4 => "ß".repeat(random.below(200) as usize).into(),
        5 => (0..random.below(5)).map(|_| json(random, height - 1)).collect::<Vec<_>>().into(),
        _ => {
            let entries = (0..random.below(5)).map(|n| (n.to_string(), json(random, height - 1)));
            serde_json::Value::Object(entries.collect())
        }
    }
}

fn untagged(random: &mut Random, height: u32) -> Untagged {
    match random.below(if height == 0 { 5 } else { 7 }) {
        0 => Untagged::Number(random.below(1 << 32) as u32),
        1 => Untagged::Text("x".repeat(random.below(300) as usize)),
        2 => Untagged::Address(IpAddr::from([random.below(1 << 16) as u16; 8]), 1),
        3 => Untagged::Nothing,
        4 => Untagged::Enum(match random.below(3) {
            0 => External::New(1),
            1 => External::Tuple(1, "t".into()),
            _ => External::Struct { a: -1, b: Some(true) },
        }),
        5 => Untagged::List((0..1 + random.below(4)).map(|_| untagged(random, height - 1)).collect()),
        _ => {
            let list = |random: &mut Random| (0..random.below(3)).map(|_| untagged(random, height - 1)).collect();
            Untagged::Struct { map: (0..random.below(3)).map(|n| (n as u8, list(random))).collect() }
        }
    }
}

#[test]
fn described_values_at_random_arrive_or_are_refused() {
    let _dog = watchdog();
    let mut random = Random::new(20_240_702);
    let queue = Queue::new().unwrap();
    let values = Queue::new().unwrap();
    let mut refused = 0;
    for _ in 0..1500 {
        let value = Described(json(&mut random, 5));
        values.put(value.clone()).unwrap();
        assert_eq!(values.get().unwrap(), value);
        let value = Described(untagged(&mut random, 4));
        match queue.put(value.clone()) {
            Ok(()) => assert_eq!(queue.get().unwrap(), value),
            // A list may look like an address.
            Err(PutError::Encode(item, _)) => {
                assert_eq!(item, value);
                refused += 1;
            }
            Err(e) => panic!("{e}"),
        }
    }
    assert!(refused < 150, "{refused}");
}
