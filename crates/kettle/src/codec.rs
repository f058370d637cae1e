//! Values to bytes and back: serde at the edge, [postcard](https://docs.rs/postcard) in between.
//!
//! Two things do not become bytes. A handle (a [`Queue`](crate::Queue), a [`Lock`](crate::Lock) …) travels as a *token*
//! and may be granted to one process; a big [`Bytes`](crate::Bytes) travels as a block of shared memory that changes
//! hands. Both leave what goes with the message in the [`Baggage`] of the thread that encodes, and find it there when
//! they are decoded.

use std::cell::RefCell;
use std::fmt;
use std::os::fd::OwnedFd;

use kettle_core::arena::{Block, Body, Handle, Ticket, Token};
use kettle_core::queue::PARTS_MAX;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{DecodeError, EncodeError, OutOfMemory};

/// What travels beside the bytes of a message.
#[derive(Debug, Default)]
struct Baggage {
    /// The process that alone gets the message, before it runs.
    ticket: Option<Ticket>,
    /// Blocks of shared memory; those that were unpacked are gone.
    blocks: Vec<Option<Block>>,
    /// Descriptors that the new process is to inherit.
    descriptors: Vec<OwnedFd>,
    /// Why it failed, in our own words: postcard keeps none.
    reason: Option<String>,
    /// It failed for lack of memory.
    shortage: Option<OutOfMemory>,
}

thread_local! {
    /// The baggage of the message that this thread encodes or decodes now.
    static NOW: RefCell<Option<Baggage>> = const { RefCell::new(None) };
}

/// A message: its bytes, and the blocks that go with it.
#[derive(Debug, Default)]
pub(crate) struct Message {
    pub(crate) bytes: Vec<u8>,
    pub(crate) blocks: Vec<Block>,
}

/// Why there is no message of a value.
#[derive(Debug)]
pub(crate) enum Unsendable {
    Encode(EncodeError),
    OutOfMemory(OutOfMemory),
}

impl From<OutOfMemory> for Unsendable {
    fn from(e: OutOfMemory) -> Self {
        Self::OutOfMemory(e)
    }
}

impl fmt::Display for Unsendable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Encode(e) => e.fmt(f),
            Self::OutOfMemory(e) => e.fmt(f),
        }
    }
}

/// A message for anybody. `scratch` lends its memory.
pub(crate) fn encode<T: Serialize + ?Sized>(value: &T, scratch: Vec<u8>) -> Result<Message, Unsendable> {
    encode_with(value, scratch, None).map(|(message, _)| message)
}

/// A message for a process that is being started: its handles are granted to that one, and the descriptors that it is
/// to inherit come out.
pub(crate) fn encode_for<T: Serialize + ?Sized>(
    value: &T,
    ticket: Ticket,
) -> Result<(Message, Vec<OwnedFd>), Unsendable> {
    encode_with(value, Vec::new(), Some(ticket))
}

fn encode_with<T: Serialize + ?Sized>(
    value: &T,
    mut scratch: Vec<u8>,
    ticket: Option<Ticket>,
) -> Result<(Message, Vec<OwnedFd>), Unsendable> {
    scratch.clear();
    let baggage = Baggage { ticket, ..Baggage::default() };
    let (result, baggage) = with_baggage(baggage, || postcard::to_extend(value, scratch));
    match result {
        Ok(bytes) => {
            let blocks = baggage.blocks.into_iter().flatten().collect();
            Ok((Message { bytes, blocks }, baggage.descriptors))
        }
        Err(e) => Err(match baggage.shortage {
            Some(shortage) => Unsendable::OutOfMemory(shortage),
            None => Unsendable::Encode(EncodeError(baggage.reason.unwrap_or_else(|| e.to_string()))),
        }),
    }
}

/// The value of a message.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8], blocks: Vec<Block>) -> Result<T, DecodeError> {
    let baggage = Baggage { blocks: blocks.into_iter().map(Some).collect(), ..Baggage::default() };
    let (result, baggage) = with_baggage(baggage, || postcard::from_bytes(bytes));
    result.map_err(|e| DecodeError(baggage.reason.unwrap_or_else(|| e.to_string())))
}

/// Runs `f` with this baggage; what was there before (a message inside a message) comes back after it.
fn with_baggage<R>(baggage: Baggage, f: impl FnOnce() -> R) -> (R, Baggage) {
    struct Restore(Option<Baggage>);
    impl Drop for Restore {
        fn drop(&mut self) {
            NOW.replace(self.0.take());
        }
    }
    let restore = Restore(NOW.replace(Some(baggage)));
    let result = f();
    let baggage = NOW.take().unwrap_or_default();
    drop(restore);
    (result, baggage)
}

fn now<R>(f: impl FnOnce(&mut Baggage) -> R) -> Option<R> {
    NOW.with_borrow_mut(|now| now.as_mut().map(f))
}

/// Whether this thread is inside [`encode`] or [`decode`], and not in some other format.
pub(crate) fn is_active() -> bool {
    NOW.with_borrow(Option::is_some)
}

/// The process for which a message is encoded, if there is one.
pub(crate) fn ticket() -> Option<Ticket> {
    now(|baggage| baggage.ticket).flatten()
}

/// One part is left for the body of a message, which may have to travel as one.
const BLOCKS_MAX: usize = PARTS_MAX - 1;

/// Packs a block with these bytes; says under which number. `None`: it does not fit, and they must stand in the message.
pub(crate) fn pack<E: serde::ser::Error>(bytes: &[u8]) -> Result<Option<u32>, E> {
    if now(|baggage| baggage.blocks.len()).is_none_or(|n| n >= BLOCKS_MAX) {
        return Ok(None);
    }
    match Block::copy_of(bytes) {
        Ok(block) => Ok(now(|baggage| {
            baggage.blocks.push(Some(block));
            baggage.blocks.len() as u32 - 1
        })),
        Err(e) => {
            let shortage = OutOfMemory::from(e);
            now(|baggage| baggage.shortage = Some(shortage.clone()));
            Err(E::custom(shortage))
        }
    }
}

/// Takes the block that was packed under that number.
pub(crate) fn unpack(number: u32) -> Option<Block> {
    now(|baggage| baggage.blocks.get_mut(number as usize)?.take()).flatten()
}

/// Has the new process inherit a descriptor.
pub(crate) fn pass_on(descriptor: OwnedFd) {
    now(|baggage| baggage.descriptors.push(descriptor));
}

/// A serializer's error that says `reason`, also at the other end of postcard.
pub(crate) fn refuse<E: serde::ser::Error>(reason: impl ToString) -> E {
    let reason = reason.to_string();
    now(|baggage| baggage.reason = Some(reason.clone()));
    E::custom(reason)
}

/// The same for a deserializer.
pub(crate) fn reject<E: serde::de::Error>(reason: impl ToString) -> E {
    let reason = reason.to_string();
    now(|baggage| baggage.reason = Some(reason.clone()));
    E::custom(reason)
}

/// A handle as serde sees it: a token. It is granted to the process for which it is encoded; written into anything
/// else, it makes what it names live as long as the session.
pub(crate) fn write_handle<B: Body, S: Serializer>(handle: &Handle<B>, serializer: S) -> Result<S::Ok, S::Error> {
    let token = match ticket() {
        Some(ticket) => handle.token_for(ticket),
        None => handle.token_pinned(),
    };
    token.to_bytes().serialize(serializer)
}

/// The handle behind a token.
pub(crate) fn read_handle<'de, B: Body, D: Deserializer<'de>>(deserializer: D) -> Result<Handle<B>, D::Error> {
    let token = Token::from_bytes(&<[u8; Token::LEN]>::deserialize(deserializer)?);
    crate::session::join().map_err(reject)?;
    Handle::from_token(&token).map_err(reject)
}

/// Lets a type that is a placed body (its field `body`) and nothing else travel by token. `check` says of a handle that
/// was received why it is none of this type.
macro_rules! by_token {
    ($name:ident $(<$t:ident $(: $bound:path)?>)? $(, check = $check:expr)?) => {
        impl$(<$t $(: $bound)?>)? serde::Serialize for $name$(<$t>)? {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                crate::codec::write_handle(&self.body, serializer)
            }
        }

        impl<'de $(, $t $(: $bound)?)?> serde::Deserialize<'de> for $name$(<$t>)? {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let body = crate::codec::read_handle(deserializer)?;
                $($check(&body).map_err(crate::codec::reject)?;)?
                Ok(Self::from_body(body))
            }
        }

        impl$(<$t $(: $bound)?>)? Clone for $name$(<$t>)? {
            /// Another handle to the same thing.
            fn clone(&self) -> Self {
                Self::from_body(self.body.clone())
            }
        }
    };
}
pub(crate) use by_token;
