//! The main loop of a worker: the initializer, then one task after another.

use std::thread;
use std::time::Duration;

use kettle_core::arena::{Block, Token};
use kettle_core::queue::Taken;
use kettle_core::wait::Patience;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::call::{Calls, Unpacked, body};
use super::panics::{self, Caught};
use super::scheduler::process::{Assignment, Desk, Load, Word, Worker};
use crate::codec::{self, Message};
use crate::error::OutOfMemory;
use crate::panic::Panic;
use crate::process::Entry;

/// The arguments that a worker is started with.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Start {
    pub(super) desk: DeskToken,
    /// The initializer's encoded call.
    pub(super) initializer: Option<Vec<u8>>,
}

/// The entry point of a worker process.
pub(crate) static WORKER: Entry = Entry::new("kettle::pool::worker", |arguments| arguments.answer(serve));

/// A desk that is sent to its worker.
#[derive(Clone, Debug)]
pub(super) struct DeskToken(pub(super) Desk);

impl Serialize for DeskToken {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if codec::is_trial() {
            codec::lend(self.clone());
            return [[0u8; Token::LEN]; 5].serialize(serializer);
        }
        codec::naming(|| self.0.tokens(codec::ticket())).map(|token| token.to_bytes()).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for DeskToken {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let tokens = <[[u8; Token::LEN]; 5]>::deserialize(deserializer)?.map(|bytes| Token::from_bytes(&bytes));
        if codec::is_trial() {
            return codec::lent();
        }
        Desk::from_tokens(&tokens).map(Self).map_err(de::Error::custom)
    }
}

/// The tags of a worker's messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Tag {
    /// A task's result.
    Returned = 1,
    /// A task's panic.
    Panicked = 2,
    /// Why there is no result, although the task did not panic.
    Lost = 3,
    /// The worker is ready for tasks.
    Ready = 4,
    /// Its initializer panicked.
    NotReady = 5,
}

impl Tag {
    pub(super) fn of(tag: u8) -> Option<Self> {
        [Self::Returned, Self::Panicked, Self::Lost, Self::Ready, Self::NotReady].into_iter().find(|t| *t as u8 == tag)
    }
}

fn serve(start: Start) {
    let mut worker = Worker::new(start.desk.0);
    let last = worker.last_report();
    panics::watch(move |panic| {
        let tag = if last.begin() { Tag::Panicked } else { Tag::NotReady };
        let Message { bytes, .. } = written(&panic.into_panic());
        // Without memory for it, the pool learns only that the worker died.
        let _ = body(&bytes).and_then(|body| last.report(Load { tag: tag as u8, word: 0, body, parts: Vec::new() }));
    });
    // A worker that has no memory for a message to its supervisor exits, and the supervisor notices.
    let _ =
        greet(&mut worker, start.initializer).and_then(|is_ready| if is_ready { work(&mut worker) } else { Ok(()) });
}

/// Runs the initializer; returns whether the worker is ready for tasks.
fn greet(worker: &mut Worker, initializer: Option<Vec<u8>>) -> Result<bool, OutOfMemory> {
    let call = initializer.as_deref().and_then(|bytes| Calls::new(bytes, Vec::new()).next());
    let panic = match call.map(make) {
        None | Some(Made::Result(_)) => {
            worker.note(Load::inline(Tag::Ready as u8, &[]))?;
            return Ok(true);
        }
        Some(Made::Panic(panic)) => panic.into_panic(),
        Some(Made::Nothing(why)) => Panic::told(why, None, String::new()),
    };
    let Message { bytes, .. } = written(&panic);
    worker.note(Load { tag: Tag::NotReady as u8, word: 0, body: body(&bytes)?, parts: Vec::new() })?;
    Ok(false)
}

fn work(worker: &mut Worker) -> Result<(), OutOfMemory> {
    let mut bytes = Vec::new();
    loop {
        let (chunk, taken) = match worker.next(&mut bytes, &Patience::forever()) {
            Ok(Assignment::Chunk { chunk, taken, .. }) => (chunk, taken),
            Ok(Assignment::Note { .. }) => continue,
            // A wait without a limit does not time out. Without its queue the worker cannot continue.
            Ok(Assignment::Leave) | Err(_) => return Ok(()),
        };
        let Taken { block, parts, .. } = taken;
        let mut calls = Calls::new(block.as_ref().map_or(&bytes, Block::as_slice), parts);
        for index in 0..chunk.len {
            if !worker.begin(chunk, index) {
                wait_for_the_end();
                return Ok(());
            }
            let made = calls.next().map_or_else(|| Made::Nothing("what was to be called is torn".into()), make);
            if matches!(made, Made::Panic(_)) {
                worker.stop_clock(chunk);
            }
            let (tag, message) = made.tell();
            if as_word(tag, &message).is_some_and(|word| worker.report_word(chunk, index, word)) {
                continue;
            }
            report(message, |load| worker.report(chunk, index, Load { tag: tag as u8, ..load })).or_else(|e| {
                let why = written(&format!("the result: {e}"));
                report(why, |load| worker.report(chunk, index, Load { tag: Tag::Lost as u8, ..load }))
            })?;
        }
    }
}

/// Encodes a short result as a word: its kind and its length in one byte, and its bytes.
fn as_word(tag: Tag, message: &Message) -> Option<Word> {
    let mut bytes = [0; 8];
    bytes.get_mut(..message.bytes.len())?.copy_from_slice(&message.bytes);
    let len = message.bytes.len() as u8;
    message.is_plain().then_some((tag as u8 | len << 4, u64::from_le_bytes(bytes)))
}

/// Decodes the result of [`as_word`].
pub(super) fn from_word((tag_and_len, bytes): Word) -> (u8, Vec<u8>) {
    let len = usize::from(tag_and_len >> 4).min(8);
    (tag_and_len & 0xf, bytes.to_le_bytes()[..len].to_vec())
}

fn report(message: Message, put: impl FnOnce(Load<'_>) -> Result<(), OutOfMemory>) -> Result<(), OutOfMemory> {
    let (bytes, parts) = message.into_parts()?;
    put(Load { tag: 0, word: 0, body: body(&bytes)?, parts })
}

/// The outcome of a call.
enum Made {
    Result(Message),
    Panic(Caught),
    /// It did not panic and there is no result, for this reason.
    Nothing(String),
}

fn make(call: Unpacked<'_>) -> Made {
    let Unpacked { function, bytes, blocks } = call;
    let Some(function) = function else { return Made::Nothing("this program has no such task".into()) };
    match panics::catch(|| function.run(bytes, blocks)) {
        Ok(Ok(result)) => Made::Result(result),
        Ok(Err(why)) => Made::Nothing(why.to_string()),
        Err(panic) => Made::Panic(panic),
    }
}

impl Made {
    fn tell(self) -> (Tag, Message) {
        match self {
            Self::Result(message) => (Tag::Returned, message),
            Self::Panic(panic) => (Tag::Panicked, written(&panic.into_panic())),
            Self::Nothing(why) => (Tag::Lost, written(&why)),
        }
    }
}

/// Encodes a string, or a struct of strings, which cannot fail.
fn written<T: Serialize>(words: &T) -> Message {
    codec::encode_own(words).unwrap_or_default()
}

/// Waits for the supervisor to end this process. If it does not, the process exits by itself, and the supervisor
/// notices.
fn wait_for_the_end() {
    thread::sleep(Duration::from_secs(1));
}
