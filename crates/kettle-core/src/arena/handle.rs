//! Typed references to what lives in the arena, counted by process.

use core::fmt;
use core::marker::PhantomData;
use core::ops::Deref;
use core::ptr::NonNull;
use core::sync::atomic::Ordering;

use super::alloc::Allocator;
use super::error::{ArenaError, TokenError};
use super::object::{self, Raw, Status};
use super::offset::Off;
use super::participants::Ticket;
use super::{names, registry, segment};

/// What may be placed in the arena.
///
/// # Safety
/// A `Body` is mapped at different addresses in different processes, all of which may use it at once, and any of
/// which may be killed at any instruction. So it is `repr(C)` (two builds of the library agree on it); it holds no
/// pointers, references or descriptors, only atomics and offsets; what changes in it changes through atomics; and
/// no bytes that another process may leave in it make its methods do what Rust forbids. `KIND` is its own.
pub unsafe trait Body: Send + Sync + Sized + 'static {
    /// A number from 16 to 2^24 - 1 that no other body has.
    const KIND: u32;

    /// Allocates what the body needs in the arena besides itself. Called once, when the body is at `off` and is not shared
    /// yet; after an error, [`teardown`](Self::teardown) follows.
    ///
    /// # Errors
    /// When there is no room.
    fn set_up(&self, off: Off) -> Result<(), ArenaError> {
        let _ = off;
        Ok(())
    }

    /// Frees what it alone keeps in the arena. Called once, when nobody can use it any more.
    fn teardown(&self) {}
}

/// A reference to a `T` in the arena. It lives while any handle to it does, in any process that lives.
///
/// Handles may be cloned and dropped freely, in any thread; they survive `fork`. Another process gets one from a
/// [`Token`].
pub struct Handle<T: Body> {
    raw: Raw,
    _body: PhantomData<T>,
}

impl<T: Body> Handle<T> {
    const FITS: () = assert!(
        align_of::<T>() <= 64 && !core::mem::needs_drop::<T>(),
        "a body is aligned to at most 64 bytes, and is torn down, not dropped"
    );

    /// Places what `make` returns in the arena.
    ///
    /// # Errors
    /// When there is no room.
    pub fn new(make: impl FnOnce() -> T) -> Result<Self, ArenaError> {
        Self::with_tail(0, make)
    }

    /// The same, followed by `tail` bytes of zeros. See [`tail`](Self::tail).
    ///
    /// # Errors
    /// When there is no room.
    pub fn with_tail(tail: usize, make: impl FnOnce() -> T) -> Result<Self, ArenaError> {
        let () = Self::FITS;
        let body = make();
        let len = Self::TAIL.saturating_add(tail);
        let raw = object::allocate(T::KIND, len)?;
        // SAFETY: the data are ours alone until published, large enough, and aligned to 64 bytes.
        unsafe {
            raw.data().cast::<T>().write(body);
            raw.clear(Self::TAIL, tail);
        }
        registry::lock()?.add(&raw);
        raw.publish();
        let handle = Self { raw, _body: PhantomData };
        handle.set_up(raw.off())?;
        Ok(handle)
    }

    /// Where the tail begins: at the next multiple of 64.
    const TAIL: usize = size_of::<T>().next_multiple_of(64);

    /// The bytes behind the body: where they are here, and how many. Aligned to 64 bytes.
    pub fn tail(&self) -> (NonNull<u8>, usize) {
        // SAFETY: the data are at least TAIL bytes long.
        (unsafe { self.raw.data().add(Self::TAIL) }, self.raw.len() - Self::TAIL)
    }

    /// Its name within the session, by which other bodies may refer to it.
    pub fn off(&self) -> Off {
        self.raw.off()
    }

    /// Tells it from others that were, or will be, in the same place.
    pub fn generation(&self) -> u32 {
        self.raw.generation()
    }

    /// A name for it in the message that this thread makes: see [`Names::collect`](super::Names::collect). If it makes
    /// none, as [`token_pinned`](Self::token_pinned).
    pub fn token_to_send(&self) -> Token {
        if names::note(&self.raw) { self.token() } else { self.token_pinned() }
    }

    /// A name for it that may go any way, be kept, and be used as often as one likes: from now on it lives as long as the
    /// session, since nobody can tell when the last use was.
    pub fn token_pinned(&self) -> Token {
        self.raw.header().pin();
        self.token()
    }

    /// A name for it that only the process to be started with `ticket` can use; that process holds it from now on.
    pub fn token_for(&self, ticket: Ticket) -> Token {
        self.raw.header().add_holder(self.raw.off(), ticket.participant(), None);
        self.token()
    }

    /// A name for it that goes this way.
    pub fn token_by(&self, way: Way) -> Token {
        match way {
            Way::ToChild(ticket) => self.token_for(ticket),
            Way::InMessage => self.token_to_send(),
            Way::Any => self.token_pinned(),
            Way::Nowhere => self.token(),
        }
    }

    fn token(&self) -> Token {
        Token::of(&self.raw, T::KIND)
    }

    /// The handle to what a token names.
    ///
    /// # Errors
    /// When it comes from another session, names something of another kind, or something that is gone.
    pub fn from_token(token: &Token) -> Result<Self, TokenError> {
        if token.kind != T::KIND {
            return Err(TokenError::WrongKind { found: token.kind, expected: T::KIND });
        }
        let raw = token.find()?;
        if raw.len() < Self::TAIL || raw.kind() != T::KIND {
            return Err(TokenError::Gone);
        }
        if !registry::acquire(&raw, token.generation)? {
            return Err(TokenError::Gone);
        }
        Ok(Self { raw, _body: PhantomData })
    }
}

impl<T: Body> Clone for Handle<T> {
    fn clone(&self) -> Self {
        registry::lock_unregistered().add(&self.raw);
        Self { raw: self.raw, _body: PhantomData }
    }
}

impl<T: Body> Drop for Handle<T> {
    fn drop(&mut self) {
        let body: &T = self;
        // SAFETY: this handle was counted when it was made, and ends here.
        unsafe { registry::let_go(&self.raw, || body.teardown()) };
    }
}

impl<T: Body> Deref for Handle<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: a T was written here before the object was published, and it stays while this process is among its
        // holders, as it is while the handle lives. `Body` promises that others may use it at the same time.
        unsafe { self.raw.data().cast::<T>().as_ref() }
    }
}

impl<T: Body> fmt::Debug for Handle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Handle").field(&self.raw.off()).finish()
    }
}

/// Where a token goes, which decides who keeps what it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// To the process to be started: see [`Handle::token_for`].
    ToChild(Ticket),
    /// Into the message that this thread makes: see [`Handle::token_to_send`].
    InMessage,
    /// Any way, any number of times: see [`Handle::token_pinned`].
    Any,
    /// Nowhere: it is used at once, by who has the handle.
    Nowhere,
}

/// The name of an object, as bytes that may travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Token {
    /// The session it belongs to.
    pub session: u64,
    /// Where it is.
    pub off: u64,
    /// Which of the objects that were there one after another.
    pub generation: u32,
    /// What it is.
    pub kind: u32,
}

impl Token {
    pub(super) fn of(raw: &Raw, kind: u32) -> Self {
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

    /// From what [`to_bytes`](Self::to_bytes) gave.
    pub fn from_bytes(bytes: &[u8; Self::LEN]) -> Self {
        let long = |at: usize| u64::from_le_bytes(core::array::from_fn(|i| bytes[at + i]));
        let short = |at: usize| u32::from_le_bytes(core::array::from_fn(|i| bytes[at + i]));
        Self { session: long(0), off: long(8), generation: short(16), kind: short(20) }
    }

    /// Whether there may be another handle to what it names at some time: a process that lives has one, or a message that
    /// could still be received names it. Not for the hot path.
    ///
    /// # Errors
    /// When the token is from another session, or the arena is damaged.
    pub fn is_held(&self) -> Result<bool, TokenError> {
        let raw = match self.find() {
            Ok(raw) => raw,
            Err(TokenError::Gone) => return Ok(false),
            Err(e) => return Err(e),
        };
        // Under its lock nothing begins to die, and no link to further holders ends.
        let _allocator = Allocator::lock(segment::header()?)?;
        let object = raw.header();
        let state = object.state();
        if state.status() != Status::Live || state.generation() != self.generation {
            return Ok(false);
        }
        Ok(state.is_kept() || object.holders.is_named() || object.holders.any_alive()?)
    }

    /// The object, if it is still the one that was meant. It may go at any time unless it is held.
    pub(super) fn find(&self) -> Result<Raw, TokenError> {
        let header = segment::header_if_any().ok_or(TokenError::OtherSession)?;
        if header.session.load(Ordering::Relaxed) != self.session {
            return Err(TokenError::OtherSession);
        }
        // The token may be anybody's bytes: nothing is touched that is not known to be an object's header.
        let off = Off::from_bits(self.off).ok_or(TokenError::Malformed)?;
        let raw = object::find(off)?.ok_or(TokenError::Gone)?;
        let state = raw.header().state();
        if state.status() != Status::Live || state.generation() != self.generation {
            return Err(TokenError::Gone);
        }
        Ok(raw)
    }
}

/// For a census, which runs under the allocator's lock, so that nothing goes meanwhile: the body of this kind at `off`,
/// unless its teardown was done or will never be.
///
/// A body whose holders are all dead still counts: the reclaim that finds it tears it down, which takes what it reaches
/// with it, and would meet in it what the same reclaim had freed already. So does one whose teardown is under way.
///
/// # Errors
/// When it cannot be looked at: it may live then.
pub(crate) fn living<T: Body>(off: u64) -> Result<Option<&'static T>, TokenError> {
    let Some(off) = Off::from_bits(off) else { return Ok(None) };
    let raw = match object::find(off) {
        Ok(Some(raw)) => raw,
        Ok(None) | Err(TokenError::Malformed) => return Ok(None),
        Err(e) => return Err(e),
    };
    let state = raw.header().state();
    let reaches = match state.status() {
        Status::Live => true,
        Status::Dying => raw.header().holders.any_alive()?,
        Status::Free | Status::New => false,
    };
    if !reaches || state.kind() != T::KIND || raw.len() < size_of::<T>() {
        return Ok(None);
    }
    // SAFETY: a T was written here before the object was published, and it is not freed while the allocator's lock is
    // held, as the caller promises by being a census. `Body` promises that whatever bytes stand there are a T.
    Ok(Some(unsafe { raw.data().cast::<T>().as_ref() }))
}
