//! Names in messages: the objects whose handles travel in a message live as long as the message.
//!
//! A message with handles in it carries an additional block, a *list of names*: an object of a kind of its own, which
//! passes through queues like any block and is therefore in some process's hand or in a queue at every instant. Each
//! object counts the lists that name it, in addition to its holders. `README.md` of the arena describes the states
//! and the steps.

use core::cell::RefCell;
use core::fmt;
use core::mem::ManuallyDrop;

use crate::arena::allocator::alloc::{Allocator, add, subtract};
use crate::arena::error::{ArenaError, TokenError};
use crate::arena::layout::object_header::{NAMES, ON_ITS_WAY, Status};
use crate::arena::layout::participant::Participant;
use crate::arena::objects::allocate::allocate;
use crate::arena::objects::block::Block;
use crate::arena::objects::name_list::{Name, entries, named};
use crate::arena::objects::raw::Raw;
use crate::arena::objects::token::Token;
use crate::arena::objects::{census, holders, holding, registry};
use crate::arena::{held, membership};
use crate::atomics::Ordering;

/// A handle to an object of any kind.
struct Hold {
    raw: Raw,
}

impl Hold {
    /// Creates another handle, for a caller that has one.
    fn of(raw: &Raw) -> Self {
        registry::add(&mut held::lock(), raw);
        Self { raw: *raw }
    }
}

impl Clone for Hold {
    fn clone(&self) -> Self {
        Self::of(&self.raw)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        // SAFETY: the handle was counted when it was created, and ends here.
        unsafe { registry::let_go(&self.raw, || census::tear_down(&self.raw)) };
    }
}

/// The objects that a message names, as handles of this process: before the message holds them itself, or after it was
/// received.
#[derive(Clone, Default)]
pub struct Names(Vec<Hold>);

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|hold| hold.raw.off())).finish()
    }
}

thread_local! {
    /// The objects named so far by the message that this thread is creating. It has no destructor, so that it is
    /// available to code that runs at the end of a thread; between messages there is nothing to drop.
    static COLLECTED: RefCell<ManuallyDrop<Option<Vec<Hold>>>> = const { RefCell::new(ManuallyDrop::new(None)) };
}

/// Makes `names` the list that this thread collects into, and returns the previous one.
fn collect_into(names: Option<Vec<Hold>>) -> Option<Vec<Hold>> {
    ManuallyDrop::into_inner(COLLECTED.replace(ManuallyDrop::new(names)))
}

impl Names {
    /// Runs `f`, which creates a message, and returns the objects that it named by
    /// [`Handle::token_to_send`](crate::arena::Handle::token_to_send). A message that is created inside `f` has names
    /// of its own.
    pub fn collect<R>(f: impl FnOnce() -> R) -> (R, Self) {
        struct Restore(Option<Vec<Hold>>);
        impl Drop for Restore {
            fn drop(&mut self) {
                drop(collect_into(self.0.take()));
            }
        }
        let restore = Restore(collect_into(Some(Vec::new())));
        let result = f();
        let names = collect_into(None).unwrap_or_default();
        drop(restore);
        (result, Self(names))
    }

    /// Whether there are no names.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds the names of another message.
    pub fn extend(&mut self, others: &Self) {
        self.0.extend_from_slice(&others.0);
    }

    /// Takes over the names of another message.
    pub fn append(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    /// Creates the block that holds all the objects, to be the last part of the message. None if there are no names.
    ///
    /// # Errors
    /// If there is no room.
    pub fn pack(&self) -> Result<Option<Block>, ArenaError> {
        if self.is_empty() {
            return Ok(None);
        }
        let mut objects: Vec<Raw> = self.0.iter().map(|hold| hold.raw).collect();
        objects.sort_unstable_by_key(Raw::off);
        objects.dedup_by_key(|raw| raw.off());
        let block = Block::of(allocate(NAMES, objects.len() * size_of::<Name>())?)?;
        for (name, raw) in entries(block.raw()).zip(&objects) {
            name.off.store(raw.off().to_bits(), Ordering::Relaxed);
            name.generation.store(raw.generation().into(), Ordering::Relaxed);
        }
        let _allocator = Allocator::lock(membership::header()?)?;
        objects.iter().for_each(|raw| raw.header().holders.named());
        crate::crash_point("arena.names.counted");
        // From here on a reclaim takes it into account.
        block.raw().publish();
        Ok(Some(block))
    }

    /// Takes the handles out of the parts of a received message, if the last part is a list of names.
    ///
    /// # Errors
    /// If this process cannot register.
    pub fn unpack(parts: &mut Vec<Block>) -> Result<Self, ArenaError> {
        if parts.last().is_none_or(|last| last.raw().kind() != NAMES) {
            return Ok(Self::default());
        }
        parts.pop().map_or_else(|| Ok(Self::default()), Self::of_list)
    }

    fn of_list(list: Block) -> Result<Self, ArenaError> {
        let me = Participant::of(membership::try_me()?);
        let mut holds = Vec::with_capacity(entries(list.raw()).count());
        let mut held = registry::lock()?;
        let allocator = Allocator::lock(membership::header()?)?;
        for raw in named(list.raw()) {
            holding::add_holder(raw.header(), raw.off(), me, Some(&allocator));
            registry::add(&mut held, &raw);
            holds.push(Hold { raw });
        }
        crate::crash_point("arena.names.held");
        let list = ManuallyDrop::new(list);
        // From here on it no longer counts.
        holders::condemn(list.raw().header(), me)?;
        crate::crash_point("arena.names.condemned");
        holds.iter().for_each(|hold| _ = hold.raw.header().holders.no_longer_named());
        allocator.free_and_cool(list.raw().off(), list.raw().header());
        Ok(Self(holds))
    }

    /// For a message that leaves the session's view: a token of a list that lives until the message
    /// [arrives](Self::arrived), or otherwise as long as the session. None if there are no names.
    ///
    /// # Errors
    /// If there is no room.
    pub fn see_off(&self) -> Result<Option<Token>, ArenaError> {
        let Some(list) = self.pack()? else { return Ok(None) };
        let list = ManuallyDrop::new(list);
        let allocator = Allocator::lock(membership::header()?)?;
        list.raw().set_home(ON_ITS_WAY, 0);
        list.raw().disown()?;
        add(&allocator.header.counts.pinned, 1);
        Ok(Some(Token::of(list.raw(), NAMES)))
    }

    /// The handles of a message that [was seen off](Self::see_off) and arrives now. This works only once: afterwards
    /// the handles belong to this process alone.
    ///
    /// # Errors
    /// If it arrived before, or was never seen off in this session.
    pub fn arrived(token: &Token) -> Result<Self, TokenError> {
        let me = Participant::of(membership::try_me()?);
        let raw = token.find()?;
        {
            let allocator = Allocator::lock(membership::header()?)?;
            let state = raw.header().state();
            let is_it = state.status() == Status::Live && state.generation() == token.generation;
            if !is_it || state.kind() != NAMES || raw.home().0 != ON_ITS_WAY {
                return Err(TokenError::Gone);
            }
            raw.stamp(me)?;
            raw.set_home(0, 0);
            subtract(&allocator.header.counts.pinned, 1);
        }
        Ok(Self::of_list(Block::of(raw)?)?)
    }
}

/// Records that the message which this thread is creating names an object; false if it is not creating one.
pub(in crate::arena) fn note(raw: &Raw) -> bool {
    COLLECTED.with_borrow_mut(|collected| match &mut **collected {
        Some(names) => {
            names.push(Hold::of(raw));
            true
        }
        None => false,
    })
}
