//! Typed references to objects in the arena, counted per process.

use core::fmt;
use core::marker::PhantomData;
use core::ops::Deref;
use core::ptr::NonNull;

use crate::arena::error::{ArenaError, TokenError};
use crate::arena::held;
use crate::arena::layout::object_header::Status;
use crate::arena::layout::offset::Off;
use crate::arena::layout::participant::Ticket;
use crate::arena::objects::allocate::allocate;
use crate::arena::objects::raw::{self, Raw};
use crate::arena::objects::token::Token;
use crate::arena::objects::{holders, holding, names, registry};

/// A type that can be placed in the arena.
///
/// # Safety
/// Several processes map a `Body`, at different addresses, and use it at the same time; each may be killed at any
/// instruction. It must be `repr(C)` (two builds of the library agree on its layout), contain no pointers, references
/// or descriptors, only atomics and offsets, and change only through atomics; and no bytes that another process may
/// leave in it may make its methods do what Rust forbids. `KIND` must be its own.
pub unsafe trait Body: Send + Sync + Sized + 'static {
    /// A number from 16 to 2^24 - 1 that no other body has.
    const KIND: u32;

    /// Allocates what the body needs in the arena besides itself. Called once, when the body is at `off` and is not
    /// shared yet; after an error, [`teardown`](Self::teardown) follows.
    ///
    /// # Errors
    /// If there is no room.
    fn set_up(&self, off: Off) -> Result<(), ArenaError> {
        let _ = off;
        Ok(())
    }

    /// Frees what it alone keeps in the arena. Called once, when the body is no longer in use.
    fn teardown(&self) {}
}

/// A reference to a `T` in the arena, which lives as long as any handle to it, in any live process.
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

    /// Places the result of `make` in the arena.
    ///
    /// # Errors
    /// If there is no room.
    pub fn new(make: impl FnOnce() -> T) -> Result<Self, ArenaError> {
        Self::with_tail(0, make)
    }

    /// The same, followed by `tail` bytes of zeros. See [`tail`](Self::tail).
    ///
    /// # Errors
    /// If there is no room.
    pub fn with_tail(tail: usize, make: impl FnOnce() -> T) -> Result<Self, ArenaError> {
        let () = Self::FITS;
        let body = make();
        let len = Self::TAIL.saturating_add(tail);
        let raw = allocate(T::KIND, len)?;
        // SAFETY: the data is exclusively ours until published, large enough, and aligned to 64 bytes.
        unsafe {
            raw.data().cast::<T>().write(body);
            raw.clear(Self::TAIL, tail);
        }
        registry::add(&mut *registry::lock()?, &raw);
        raw.publish();
        let handle = Self { raw, _body: PhantomData };
        handle.set_up(raw.off())?;
        Ok(handle)
    }

    /// Where the tail begins: at the next multiple of 64.
    const TAIL: usize = size_of::<T>().next_multiple_of(64);

    /// The address of the bytes behind the body in this process, and their number. Aligned to 64 bytes.
    pub fn tail(&self) -> (NonNull<u8>, usize) {
        // SAFETY: the data is at least TAIL bytes long.
        (unsafe { self.raw.data().add(Self::TAIL) }, self.raw.len() - Self::TAIL)
    }

    /// Its offset, by which other bodies may refer to it.
    pub fn off(&self) -> Off {
        self.raw.off()
    }

    /// Distinguishes it from earlier and later objects at the same offset.
    pub fn generation(&self) -> u32 {
        self.raw.generation()
    }

    /// A name for it in the message that this thread is creating: see
    /// [`Names::collect`](crate::arena::Names::collect). If it is not creating one, as
    /// [`token_pinned`](Self::token_pinned).
    pub fn token_to_send(&self) -> Token {
        if names::note(&self.raw) { self.token() } else { self.token_pinned() }
    }

    /// A name for it that may be sent in any way, kept, and used any number of times: from now on it lives as long as
    /// the session, since the last use cannot be known.
    pub fn token_pinned(&self) -> Token {
        holding::pin(self.raw.header());
        self.token()
    }

    /// A name for it that only the process to be started with `ticket` can use; that process is a holder from now on.
    pub fn token_for(&self, ticket: Ticket) -> Token {
        holding::add_holder(self.raw.header(), self.raw.off(), ticket.participant(), None);
        self.token()
    }

    /// A name for it that is sent in this way.
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

    /// The handle to the object that a token names.
    ///
    /// # Errors
    /// If the token comes from another session, names an object of another kind, or one that no longer exists.
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
        registry::add(&mut held::lock(), &self.raw);
        Self { raw: self.raw, _body: PhantomData }
    }
}

impl<T: Body> Drop for Handle<T> {
    fn drop(&mut self) {
        let body: &T = self;
        // SAFETY: this handle was counted when it was created, and ends here.
        unsafe { registry::let_go(&self.raw, || body.teardown()) };
    }
}

impl<T: Body> Deref for Handle<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: a T was written here before the object was published, and it stays while this process is a holder, as
        // it is while the handle lives. `Body` guarantees that other processes may use it at the same time.
        unsafe { self.raw.data().cast::<T>().as_ref() }
    }
}

impl<T: Body> fmt::Debug for Handle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Handle").field(&self.raw.off()).finish()
    }
}

/// How a token is sent, which decides what keeps its object alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// To the process to be started: see [`Handle::token_for`].
    ToChild(Ticket),
    /// In the message that this thread is creating: see [`Handle::token_to_send`].
    InMessage,
    /// Any way, any number of times: see [`Handle::token_pinned`].
    Any,
    /// Not at all: it is used at once, by code that has the handle.
    Nowhere,
}

/// The body of this kind at `off`, unless its teardown has been done or will never be. For a census, which runs under
/// the allocator's lock, so that nothing is freed meanwhile.
///
/// A body whose holders are all dead still counts: the reclaim that finds it tears it down together with what it
/// reaches, and must not find in it what the same reclaim has freed already. So does a body that is being torn down.
///
/// # Errors
/// If it cannot be inspected; then it may be alive.
pub(crate) fn living<T: Body>(off: u64) -> Result<Option<&'static T>, TokenError> {
    let Some(off) = Off::from_bits(off) else { return Ok(None) };
    let raw = match raw::find(off) {
        Ok(Some(raw)) => raw,
        Ok(None) | Err(TokenError::Malformed) => return Ok(None),
        Err(e) => return Err(e),
    };
    let state = raw.header().state();
    let reaches = match state.status() {
        Status::Live => true,
        Status::Dying => holders::any_alive(&raw.header().holders)?,
        Status::Free | Status::New => false,
    };
    if !reaches || state.kind() != T::KIND || raw.len() < size_of::<T>() {
        return Ok(None);
    }
    // SAFETY: a T was written here before the object was published, and it is not freed while the allocator's lock is
    // held, as the caller guarantees by being a census. `Body` guarantees that any bytes there are a valid T.
    Ok(Some(unsafe { raw.data().cast::<T>().as_ref() }))
}
