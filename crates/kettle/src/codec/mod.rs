//! Values to bytes and back: serde at the edge, a compact format in between, which is that of one program and of no
//! file.
//!
//! A message does not describe itself. That a value arrives as it was is made sure [when it is sent](trial).
//!
//! Two things do not become bytes. A handle (a [`Queue`](crate::Queue), a [`Lock`](crate::Lock) …) travels as a *token*
//! and may be granted to one process; a big [`Bytes`](crate::Bytes) travels as a block of shared memory that changes
//! hands. Both leave what goes with the message in the [`Baggage`] of the thread that encodes, and find it there when
//! they are decoded.

mod decoder;
mod encoder;
mod error;
mod known;
mod octets;
#[cfg(test)]
mod tests;
mod trial;
mod varint;

use std::any::{Any, type_name};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::mem::ManuallyDrop;
use std::os::fd::OwnedFd;

use kettle_core::arena::{Block, Body, Handle, Names, Ticket, Token, Way};
use kettle_core::queue::PARTS_MAX;
use serde::de::{self, DeserializeOwned};
use serde::ser;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use self::decoder::Blind;
use self::encoder::Written;
pub(crate) use self::error::{DEPTH_MAX, Error};
use crate::error::{DecodeError, EncodeError, OutOfMemory};

/// What travels beside the bytes of a message.
#[derive(Debug, Default)]
struct Baggage {
    /// The process that alone gets the message, before it runs.
    ticket: Option<Ticket>,
    /// What the message names.
    names: Names,
    /// Blocks of shared memory; those that were unpacked are gone.
    blocks: Vec<Option<Block>>,
    /// Descriptors that the new process is to inherit.
    descriptors: Vec<OwnedFd>,
    /// It failed for lack of memory.
    shortage: Option<OutOfMemory>,
    /// Nothing is sent.
    trial: Option<Trial>,
}

/// What stands in for the baggage while it is tried whether a value [arrives](trial::arrives).
#[derive(Debug, Default)]
struct Trial {
    /// What does not become bytes, in the order in which it stands in the value.
    lent: VecDeque<Box<dyn Any>>,
    /// So many blocks would have been packed.
    packed: usize,
}

/// What a thread encodes or decodes. Most messages are bytes alone, and cost no more than two words here.
#[derive(Debug, Default)]
struct Now {
    is_active: bool,
    /// In it, a value that [describes itself](crate::described).
    is_described: bool,
    /// None: nothing so far.
    baggage: Option<Box<Baggage>>,
}

thread_local! {
    /// The message that this thread encodes or decodes now. It has no destructor, so that it is there for what runs at
    /// the end of a thread; between messages there is nothing to drop.
    static NOW: RefCell<ManuallyDrop<Now>> =
        const { RefCell::new(ManuallyDrop::new(Now { is_active: false, is_described: false, baggage: None })) };
}

/// A message: its bytes, the blocks that go with it, and the handles that are in it.
#[derive(Debug, Default)]
pub(crate) struct Message {
    pub(crate) bytes: Vec<u8>,
    pub(crate) blocks: Vec<Block>,
    pub(crate) names: Names,
}

impl Message {
    /// Whether its bytes are all of it.
    pub(crate) fn is_plain(&self) -> bool {
        self.blocks.is_empty() && self.names.is_empty()
    }

    /// All that goes beside the bytes, as the parts of a message in a queue.
    pub(crate) fn into_parts(self) -> Result<(Vec<u8>, Vec<Block>), OutOfMemory> {
        let Self { bytes, mut blocks, names } = self;
        blocks.extend(names.pack()?);
        Ok((bytes, blocks))
    }
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

/// A message for any process, if it is sure that the value arrives. `scratch` lends its memory.
pub(crate) fn encode<T: Serialize + DeserializeOwned>(value: &T, scratch: Vec<u8>) -> Result<Message, Unsendable> {
    encode_with(value, scratch, None).map(|(message, _)| message)
}

/// A message for a process that is being started: its handles are granted to that one, and the descriptors that it is
/// to inherit come out.
pub(crate) fn encode_for<T: Serialize + DeserializeOwned>(
    value: &T,
    ticket: Ticket,
) -> Result<(Message, Vec<OwnedFd>), Unsendable> {
    encode_with(value, Vec::new(), Some(ticket))
}

/// A message of what this library says itself, and knows to arrive.
pub(crate) fn encode_own<T: Serialize + ?Sized>(value: &T) -> Result<Message, Unsendable> {
    match with_baggage(None, || write(value, 0, Vec::new())) {
        (Ok(written), None) => Ok(Message { bytes: written.bytes, ..Message::default() }),
        (Ok(written), Some(baggage)) => Ok(baggage.into_message(written.bytes).0),
        (Err(e), baggage) => Err(unsendable::<T>(baggage, &e)),
    }
}

fn encode_with<T: Serialize + DeserializeOwned>(
    value: &T,
    mut scratch: Vec<u8>,
    ticket: Option<Ticket>,
) -> Result<(Message, Vec<OwnedFd>), Unsendable> {
    scratch.clear();
    let baggage = ticket.map(|ticket| Box::new(Baggage { ticket: Some(ticket), ..Baggage::default() }));
    let (result, mut baggage) = with_baggage(baggage, || write(value, trial::root_of::<T>(), scratch));
    let written = match result {
        Ok(written) => written,
        Err(e) => return Err(unsendable::<T>(baggage, &e)),
    };
    if written.is_new {
        baggage = Some(try_out(value, &written.bytes, baggage.unwrap_or_default())?);
    }
    match baggage {
        None => Ok((Message { bytes: written.bytes, ..Message::default() }, Vec::new())),
        Some(baggage) => Ok(baggage.into_message(written.bytes)),
    }
}

/// Makes sure that the value with these bytes and this baggage arrives. Gives the baggage back.
#[cold]
fn try_out<T: Serialize + DeserializeOwned>(
    value: &T,
    bytes: &[u8],
    mut baggage: Box<Baggage>,
) -> Result<Box<Baggage>, Unsendable> {
    let blocks = std::mem::take(&mut baggage.blocks);
    let stand_in = Box::new(Baggage { blocks, trial: Some(Trial::default()), ..Baggage::default() });
    let (result, stand_in) = with_baggage(Some(stand_in), || trial::arrives(value, bytes));
    match result {
        Ok(()) => {
            baggage.blocks = stand_in.unwrap_or_default().blocks;
            Ok(baggage)
        }
        Err(e) => Err(unsendable::<T>(stand_in, &e.in_trial())),
    }
}

impl Baggage {
    /// The message with these bytes, and the descriptors that go with it.
    fn into_message(self, bytes: Vec<u8>) -> (Message, Vec<OwnedFd>) {
        let blocks = self.blocks.into_iter().flatten().collect();
        (Message { bytes, blocks, names: self.names }, self.descriptors)
    }
}

fn write<T: Serialize + ?Sized>(value: &T, root: u64, bytes: Vec<u8>) -> Result<Written, Error> {
    encoder::write(value, root, Written { bytes, is_new: false })
}

#[cold]
fn unsendable<T: ?Sized>(baggage: Option<Box<Baggage>>, why: &Error) -> Unsendable {
    match baggage.and_then(|baggage| baggage.shortage) {
        Some(shortage) => Unsendable::OutOfMemory(shortage),
        None => Unsendable::Encode(EncodeError(format!("it is of type {}, and {why}", type_name::<T>()))),
    }
}

/// The value of a message; `parts` as [`into_parts`](Message::into_parts) gave them.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8], mut parts: Vec<Block>) -> Result<T, DecodeError> {
    // Held until the value's own handles are made.
    let _names = Names::unpack(&mut parts).map_err(|e| DecodeError(e.to_string()))?;
    let baggage = (!parts.is_empty()).then(|| {
        let blocks = parts.into_iter().map(Some).collect();
        Box::new(Baggage { blocks, ..Baggage::default() })
    });
    let (result, _) = with_baggage(baggage, || decoder::read(bytes, Blind));
    match result {
        Ok((value, Blind)) => Ok(value),
        Err(e) => Err(DecodeError(format!("as a value of type {}: {e}", type_name::<T>()))),
    }
}

/// Runs `f` with this baggage; what was there before (a message inside a message) comes back after it.
fn with_baggage<R>(baggage: Option<Box<Baggage>>, f: impl FnOnce() -> R) -> (R, Option<Box<Baggage>>) {
    struct Restore(Now);
    impl Drop for Restore {
        fn drop(&mut self) {
            exchange(std::mem::take(&mut self.0));
        }
    }
    let restore = Restore(exchange(Now { is_active: true, is_described: false, baggage }));
    let result = f();
    let baggage = NOW.with_borrow_mut(|now| now.baggage.take());
    drop(restore);
    (result, baggage)
}

fn exchange(now: Now) -> Now {
    ManuallyDrop::into_inner(NOW.replace(ManuallyDrop::new(now)))
}

/// Looks at the baggage of the message that is encoded or decoded, if there is any.
fn baggage<R>(f: impl FnOnce(&Baggage) -> R) -> Option<R> {
    NOW.with_borrow(|now| now.baggage.as_deref().map(f))
}

/// Changes it. None: no message is encoded or decoded.
fn now<R>(f: impl FnOnce(&mut Baggage) -> R) -> Option<R> {
    NOW.with_borrow_mut(|now| now.is_active.then(|| f(now.baggage.get_or_insert_default())))
}

/// Whether this thread is inside [`encode`] or [`decode`], and not in some other format.
pub(crate) fn is_active() -> bool {
    NOW.with_borrow(|now| now.is_active)
}

/// Whether what is written or read now describes itself. It may be looked at several times, and in any order.
pub(crate) fn is_described() -> bool {
    NOW.with_borrow(|now| now.is_described)
}

/// Runs `f`, which writes or reads a value that describes itself, as part of the message that is encoded or decoded.
pub(crate) fn describing<R>(f: impl FnOnce() -> R) -> R {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            NOW.with_borrow_mut(|now| now.is_described = self.0);
        }
    }
    let _restore = Restore(NOW.with_borrow_mut(|now| std::mem::replace(&mut now.is_described, true)));
    f()
}

/// Runs `f`, which tries whether a part of the message that is encoded arrives.
pub(crate) fn in_trial<R>(f: impl FnOnce() -> R) -> R {
    let stand_in = Box::new(Baggage { trial: Some(Trial::default()), ..Baggage::default() });
    with_baggage(Some(stand_in), f).0
}

/// The process for which a message is encoded, if there is one.
pub(crate) fn ticket() -> Option<Ticket> {
    baggage(|baggage| baggage.ticket).flatten()
}

/// Runs `write`, which writes tokens to send: what they name lives as long as the message that is encoded.
pub(crate) fn naming<R>(write: impl FnOnce() -> R) -> R {
    if !is_active() {
        return write();
    }
    let (result, names) = Names::collect(write);
    now(|baggage| baggage.names.append(names));
    result
}

/// One part is left for the body of a message, which may have to travel as one, and one for its names.
pub(crate) const BLOCKS_MAX: usize = PARTS_MAX - 2;

/// Packs a block with these bytes; says under which number. `None`: it does not fit, and they must stand in the
/// message.
pub(crate) fn pack<E: ser::Error>(bytes: &[u8]) -> Result<Option<u32>, E> {
    let number = now(|baggage| baggage.trial.as_ref().map_or(baggage.blocks.len(), |trial| trial.packed));
    let Some(number) = number.filter(|&n| n < BLOCKS_MAX) else { return Ok(None) };
    if is_trial() {
        now(|baggage| baggage.trial.as_mut().map(|trial| trial.packed += 1));
        return Ok(Some(number as u32));
    }
    match Block::copy_of(bytes) {
        Ok(block) => {
            now(|baggage| baggage.blocks.push(Some(block)));
            Ok(Some(number as u32))
        }
        Err(e) => {
            let shortage = OutOfMemory::from(e);
            now(|baggage| baggage.shortage = Some(shortage.clone()));
            Err(E::custom(shortage))
        }
    }
}

/// Takes the block that was packed under that number; in a trial, a copy of its bytes.
pub(crate) fn unpack(number: u32) -> Option<Result<Block, Vec<u8>>> {
    now(|baggage| {
        let place = baggage.blocks.get_mut(number as usize)?;
        match &baggage.trial {
            Some(_) => place.as_ref().map(|block| Err(block.as_slice().to_vec())),
            None => place.take().map(Ok),
        }
    })
    .flatten()
}

/// Has the new process inherit a descriptor.
pub(crate) fn pass_on(descriptor: OwnedFd) {
    now(|baggage| baggage.descriptors.push(descriptor));
}

/// Whether it is only tried if a value arrives. What does not become bytes is then [lent](lend) instead of being sent.
pub(crate) fn is_trial() -> bool {
    baggage(|baggage| baggage.trial.is_some()).unwrap_or(false)
}

/// In a trial, what is written next is a value of its own.
fn begin_again() {
    now(|baggage| baggage.trial = Some(Trial::default()));
}

/// Lends what the value has at this place to the other half of a trial.
pub(crate) fn lend(what: impl Any) {
    now(|baggage| baggage.trial.as_mut().map(|trial| trial.lent.push_back(Box::new(what))));
}

/// What was lent at this place.
pub(crate) fn lent<X: Any, E: de::Error>() -> Result<X, E> {
    let lent = now(|baggage| baggage.trial.as_mut()?.lent.pop_front()).flatten();
    match lent.and_then(|lent| lent.downcast().ok()) {
        Some(lent) => Ok(*lent),
        None => Err(E::custom("its Deserialize expects another handle than its Serialize wrote")),
    }
}

/// A handle as serde sees it: a token. It is granted to the process for which it is encoded; or it lives as long as the
/// message that is encoded; written into anything else, it makes what it names live as long as the session. Which serde
/// format asks cannot be told: what a type writes into another one while it is encoded itself counts as the message's.
pub(crate) fn write_handle<B: Body, S: Serializer>(handle: &Handle<B>, serializer: S) -> Result<S::Ok, S::Error> {
    if is_trial() && is_described() {
        return handle.token_by(Way::Nowhere).to_bytes().serialize(serializer);
    }
    if is_trial() {
        lend(handle.clone());
        return [0u8; Token::LEN].serialize(serializer);
    }
    let token = match ticket() {
        Some(ticket) => handle.token_for(ticket),
        None => naming(|| handle.token_to_send()),
    };
    token.to_bytes().serialize(serializer)
}

/// The handle behind a token.
pub(crate) fn read_handle<'de, B: Body, D: Deserializer<'de>>(deserializer: D) -> Result<Handle<B>, D::Error> {
    let token = Token::from_bytes(&<[u8; Token::LEN]>::deserialize(deserializer)?);
    if is_trial() && !is_described() {
        return lent();
    }
    crate::session::join().map_err(de::Error::custom)?;
    Handle::from_token(&token).map_err(de::Error::custom)
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
                $($check(&body).map_err(serde::de::Error::custom)?;)?
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
