//! A function with its arguments, on its way to a worker.
//!
//! A message contains several of them, one after another:
//!
//! ```text
//!   [ function: 32 ][ length: 32 ][ blocks: 32 ] bytes of the arguments …   [ function ][ …
//! ```
//!
//! The blocks of shared memory that belong to the arguments are sent as the parts of the message, in the same order,
//! followed by the handles that the arguments of all calls refer to.

use std::fmt;
use std::marker::PhantomData;

use kettle_core::arena::{Block, Names};
use kettle_core::queue::Body;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::scheduler::process::{INLINE_MAX, Load};
use crate::codec::{self, BLOCKS_MAX, Message, Unsendable};
use crate::error::OutOfMemory;
use crate::process::Entry;
use crate::session;

/// A function of a [`task!`](crate::task) with its arguments, to be run by a [`Pool`](crate::Pool). Created by
/// `name::call(…)`.
///
/// The arguments are encoded when the call is created. If that fails, submitting the call to a pool returns the error.
/// The arguments may include everything that this crate shares between processes, except the ends of a
/// [pipe](mod@crate::pipe), which can only be passed to a process that is being started.
#[must_use = "nothing happens before it is given to a pool"]
pub struct Call<R> {
    key: &'static str,
    arguments: Result<Message, Unsendable>,
    result: PhantomData<fn() -> R>,
}

impl<R> Call<R> {
    #[doc(hidden)]
    pub fn __new<A: Serialize + DeserializeOwned>(key: &'static str, arguments: &A) -> Self {
        let encode = || {
            // Blocks and handles require a session.
            session::join()?;
            codec::encode(arguments, Vec::new())
        };
        Self { key, arguments: encode(), result: PhantomData }
    }

    pub(super) fn pack(self) -> Result<Packed, Unsendable> {
        let Message { bytes, blocks, names } = self.arguments?;
        let number = Entry::number_of(self.key);
        Ok(Packed { function: number.expect("calls are made of registered functions"), bytes, blocks, names })
    }
}

impl<R> fmt::Debug for Call<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").field("task", &self.key).finish_non_exhaustive()
    }
}

/// A call that can be sent, several times if necessary.
#[derive(Debug)]
pub(super) struct Packed {
    function: u32,
    bytes: Vec<u8>,
    blocks: Vec<Block>,
    names: Names,
}

const HEAD: usize = 12;

impl Packed {
    /// The name of the function.
    pub(super) fn task(&self) -> &'static str {
        Entry::numbered(self.function).map_or("?", Entry::name)
    }

    /// The approximate size in memory, in bytes.
    pub(super) fn weight(&self) -> usize {
        HEAD + self.bytes.len() + self.blocks.iter().map(Block::len).sum::<usize>()
    }

    fn write(&self, to: &mut Vec<u8>) {
        for number in [self.function, self.bytes.len() as u32, self.blocks.len() as u32] {
            to.extend_from_slice(&number.to_le_bytes());
        }
        to.extend_from_slice(&self.bytes);
    }

    /// Turns the call into a message of its own, which is written once for every reader, and the handles in it, which
    /// must be kept until it has been written for the last time.
    pub(super) fn into_bytes(self) -> (Vec<u8>, Names) {
        let mut bytes = Vec::with_capacity(HEAD + self.bytes.len());
        self.write(&mut bytes);
        (bytes, self.names)
    }

    pub(super) fn has_blocks(&self) -> bool {
        !self.blocks.is_empty()
    }
}

/// Packs as many of `calls` as fit, at least one, into a message. Returns it with their number.
///
/// The blocks are copied: a worker that dies loses its copies, and the call may have to be sent again.
pub(super) fn load<'b, 'c>(
    calls: impl Iterator<Item = &'c Packed>,
    scratch: &'b mut Vec<u8>,
) -> Result<(Load<'b>, u32), OutOfMemory> {
    scratch.clear();
    let mut parts = Vec::new();
    let mut names = Names::default();
    let mut count = 0;
    for call in calls {
        if count > 0 && parts.len() + call.blocks.len() > BLOCKS_MAX {
            break;
        }
        call.write(scratch);
        for block in &call.blocks {
            parts.push(Block::copy_of(block.as_slice())?);
        }
        names.extend(&call.names);
        count += 1;
    }
    parts.extend(names.pack()?);
    Ok((Load { tag: 0, word: 0, body: body(scratch)?, parts }, count))
}

/// Turns bytes into the body of a message: inline if they are few, in a block otherwise.
pub(super) fn body(bytes: &[u8]) -> Result<Body<'_, Block>, OutOfMemory> {
    Ok(if bytes.len() > INLINE_MAX { Body::Block(Block::copy_of(bytes)?) } else { Body::Inline(bytes) })
}

/// The calls of a received message. Keeps the handles that their arguments refer to alive.
pub(super) struct Calls<'b> {
    bytes: &'b [u8],
    blocks: std::vec::IntoIter<Block>,
    _names: Names,
}

/// One call of a message.
pub(super) struct Unpacked<'b> {
    pub(super) function: Option<&'static Entry>,
    pub(super) bytes: &'b [u8],
    pub(super) blocks: Vec<Block>,
}

impl<'b> Calls<'b> {
    pub(super) fn new(bytes: &'b [u8], mut parts: Vec<Block>) -> Self {
        // A process that has taken a message is registered. Otherwise decoding each argument reports that it is gone.
        let names = Names::unpack(&mut parts).unwrap_or_default();
        Self { bytes, blocks: parts.into_iter(), _names: names }
    }
}

impl<'b> Iterator for Calls<'b> {
    type Item = Unpacked<'b>;

    fn next(&mut self) -> Option<Unpacked<'b>> {
        let (head, rest) = self.bytes.split_at_checked(HEAD)?;
        let number = |at: usize| u32::from_le_bytes(std::array::from_fn(|i| head[at + i]));
        let (bytes, rest) = rest.split_at_checked(number(4) as usize)?;
        self.bytes = rest;
        let blocks = self.blocks.by_ref().take(number(8) as usize).collect();
        Some(Unpacked { function: Entry::numbered(number(0)), bytes, blocks })
    }
}
