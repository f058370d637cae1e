//! Tokens: names of objects in bytes.

use crate::arena::allocator::alloc::Allocator;
use crate::arena::error::TokenError;
use crate::arena::layout::object_header::Status;
use crate::arena::layout::offset::Off;
use crate::arena::objects::holders;
use crate::arena::objects::raw::{self, Raw};
use crate::arena::{membership, segment};
use crate::atomics::Ordering;

/// The name of an object, which can be sent as bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Token {
    /// The session it belongs to.
    pub session: u64,
    /// Its offset.
    pub off: u64,
    /// Its generation.
    pub generation: u32,
    /// Its kind.
    pub kind: u32,
}

impl Token {
    pub(in crate::arena) fn of(raw: &Raw, kind: u32) -> Self {
        let header = segment::header_if_any();
        Self {
            session: header.map_or(0, |h| h.session.load(Ordering::Relaxed)),
            off: raw.off().to_bits(),
            generation: raw.generation(),
            kind,
        }
    }

    /// The length of [`to_bytes`](Self::to_bytes).
    pub const LEN: usize = 24;

    /// As bytes.
    pub fn to_bytes(&self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[..8].copy_from_slice(&self.session.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.off.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.generation.to_le_bytes());
        bytes[20..].copy_from_slice(&self.kind.to_le_bytes());
        bytes
    }

    /// The inverse of [`to_bytes`](Self::to_bytes).
    pub fn from_bytes(bytes: &[u8; Self::LEN]) -> Self {
        let long = |at: usize| u64::from_le_bytes(core::array::from_fn(|i| bytes[at + i]));
        let short = |at: usize| u32::from_le_bytes(core::array::from_fn(|i| bytes[at + i]));
        Self { session: long(0), off: long(8), generation: short(16), kind: short(20) }
    }

    /// Whether there may ever be another handle to its object: a live process has one, or a message that could still be
    /// received names it. Not for hot paths.
    ///
    /// # Errors
    /// If the token is from another session, or the arena is damaged.
    pub fn is_held(&self) -> Result<bool, TokenError> {
        let raw = match self.find() {
            Ok(raw) => raw,
            Err(TokenError::Gone) => return Ok(false),
            Err(e) => return Err(e),
        };
        // Under this lock no object begins to die, and no link to further holders is removed.
        let _allocator = Allocator::lock(membership::header()?)?;
        let object = raw.header();
        let state = object.state();
        if state.status() != Status::Live || state.generation() != self.generation {
            return Ok(false);
        }
        Ok(state.is_kept() || object.holders.is_named() || holders::any_alive(&object.holders)?)
    }

    /// The object, if it is still the intended one. It may be freed at any time unless it is held.
    pub(in crate::arena) fn find(&self) -> Result<Raw, TokenError> {
        let header = segment::header_if_any().ok_or(TokenError::OtherSession)?;
        if header.session.load(Ordering::Relaxed) != self.session {
            return Err(TokenError::OtherSession);
        }
        // The token may be arbitrary bytes: only memory that is known to be an object header is accessed.
        let off = Off::from_bits(self.off).ok_or(TokenError::Malformed)?;
        let raw = raw::find(off)?.ok_or(TokenError::Gone)?;
        let state = raw.header().state();
        if state.status() != Status::Live || state.generation() != self.generation {
            return Err(TokenError::Gone);
        }
        Ok(raw)
    }
}
