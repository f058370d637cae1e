//! Names in messages: the objects whose handles travel in a message live as long as the message.
//!
//! A message with handles in it carries an additional block, a *list of names*: an object of a kind of its own, which
//! passes through queues like any block and is therefore in some process's hand or in a queue at every instant. Each
//! object counts the lists that name it, in addition to its holders. `README.md` next to this file describes the states
//! and the steps.

use core::cell::RefCell;
use core::fmt;
use core::mem::ManuallyDrop;

use crate::atomics::{AtomicU64, Ordering};

use super::alloc::{Allocator, add, subtract};
use super::block::Block;
use super::error::{ArenaError, TokenError};
use super::handle::Token;
use super::object::{self, Raw, Status};
use super::offset::Off;
use super::participants::{self, Participant};
use super::{recover, registry, segment};

/// The kind of lists of names.
pub const NAMES: u32 = 4;

/// The home of a list whose message travels outside the session's view.
pub(super) const ON_ITS_WAY: u64 = u64::MAX;
/// Set in a list's position: a process has taken it out of its queue.
const IN_HAND: u64 = 1 << 63;

/// An entry of a list.
#[repr(C)]
struct Name {
    off: AtomicU64,
    generation: AtomicU64,
}

/// A handle to an object of any kind.
struct Hold {
    raw: Raw,
}

impl Hold {
    /// Creates another handle, for a caller that has one.
    fn of(raw: &Raw) -> Self {
        registry::lock_unregistered().add(raw);
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
        unsafe { registry::let_go(&self.raw, || recover::tear_down(&self.raw)) };
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
    /// [`Handle::token_to_send`](super::Handle::token_to_send). A message that is created inside `f` has names of its
    /// own.
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
        let block = Block::of(object::allocate(NAMES, objects.len() * size_of::<Name>())?)?;
        for (name, raw) in entries(block.raw()).zip(&objects) {
            name.off.store(raw.off().to_bits(), Ordering::Relaxed);
            name.generation.store(raw.generation().into(), Ordering::Relaxed);
        }
        let _allocator = Allocator::lock(segment::header()?)?;
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
        let me = Participant::of(participants::try_me()?);
        let mut holds = Vec::with_capacity(entries(list.raw()).count());
        let mut registry = registry::lock()?;
        let allocator = Allocator::lock(segment::header()?)?;
        for raw in named(list.raw()) {
            raw.header().add_holder(raw.off(), me, Some(&allocator));
            registry.add(&raw);
            holds.push(Hold { raw });
        }
        crate::crash_point("arena.names.held");
        let list = ManuallyDrop::new(list);
        // From here on it no longer counts.
        list.raw().header().condemn(me)?;
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
        let allocator = Allocator::lock(segment::header()?)?;
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
        let me = Participant::of(participants::try_me()?);
        let raw = token.find()?;
        {
            let allocator = Allocator::lock(segment::header()?)?;
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
pub(super) fn note(raw: &Raw) -> bool {
    COLLECTED.with_borrow_mut(|collected| match &mut **collected {
        Some(names) => {
            names.push(Hold::of(raw));
            true
        }
        None => false,
    })
}

/// Records that this process has taken a list out of its queue, after becoming its holder.
pub(super) fn taken(list: &Raw) {
    let (home, position) = list.home();
    list.set_home(home, position | IN_HAND);
}

/// Whether a list belongs to the process that holds it, rather than to the queue that it was in, or is about to be put
/// into.
pub(super) fn is_in_hand(list: &Raw) -> bool {
    let (home, position) = list.home();
    home == 0 || position & IN_HAND != 0
}

fn entries(list: &Raw) -> impl Iterator<Item = &'static Name> + use<> {
    let first = list.data().cast::<Name>();
    // SAFETY: a list's data consists of that many entries, which are atomics, in a mapping that stays.
    (0..list.len() / size_of::<Name>()).map(move |i| unsafe { first.add(i).as_ref() })
}

/// The objects that a list names. Requires the allocator's lock.
pub(super) fn named(list: &Raw) -> impl Iterator<Item = Raw> + use<> {
    entries(list).filter_map(|name| {
        let off = Off::from_bits(name.off.load(Ordering::Relaxed))?;
        let raw = object::find(off).ok().flatten()?;
        let state = raw.header().state();
        let generation = u64::from(state.generation());
        (state.status() == Status::Live && generation == name.generation.load(Ordering::Relaxed)).then_some(raw)
    })
}

/// Frees a list that this process owns, and the objects that nothing else holds.
///
/// # Safety
/// The caller has the right to free it, and it is no longer in use.
pub(super) unsafe fn free_list(list: &Raw) {
    // A list that was never published was not counted; a list that is not freed here is left to a reclaim.
    let (Ok(me), Some(header)) = (participants::try_me(), segment::header_if_any()) else { return };
    let me = Participant::of(me);
    let Ok(allocator) = Allocator::lock(header) else { return };
    let counts = list.header().state().status() == Status::Live;
    if list.header().condemn(me).is_err() {
        return;
    }
    crate::crash_point("arena.names.condemned");
    let mut dead = Vec::new();
    if counts {
        for raw in named(list) {
            let object = raw.header();
            let is_last = object.holders.no_longer_named();
            // In a damaged arena everything is left as it is.
            let is_over = is_last && !object.state().is_kept() && matches!(object.holders.any_alive(), Ok(false));
            if is_over && object.condemn(me).is_ok() {
                dead.push(raw);
            }
        }
    }
    crate::crash_point("arena.names.dropped");
    allocator.free_and_cool(list.off(), list.header());
    bury(dead);
}

thread_local! {
    /// The objects that this thread is to tear down and free, while it does so. Without a destructor, as above.
    static DYING: RefCell<ManuallyDrop<Option<Vec<Raw>>>> = const { RefCell::new(ManuallyDrop::new(None)) };
}

/// Tears down and frees objects that are DYING in the hands of this process.
///
/// Freeing a queue frees its messages, and with them the objects they name, which may be queues again, and so on.
/// Objects that die during a teardown are therefore left to the loop that performs it: a chain of any length needs no
/// more stack than a single queue.
fn bury(dead: Vec<Raw>) {
    if dead.is_empty() {
        return;
    }
    let is_nested = DYING.with_borrow_mut(|dying| match &mut **dying {
        Some(others) => {
            others.extend(dead);
            true
        }
        none => {
            *none = Some(dead);
            false
        }
    });
    if is_nested {
        return;
    }
    struct Done;
    impl Drop for Done {
        fn drop(&mut self) {
            DYING.with_borrow_mut(|dying| **dying = None);
        }
    }
    let _done = Done;
    while let Some(raw) = DYING.with_borrow_mut(|dying| dying.as_mut().and_then(Vec::pop)) {
        end(&raw);
    }
}

fn end(raw: &Raw) {
    recover::tear_down(raw);
    // SAFETY: it is DYING with this process as its only holder, so it is ours to free.
    unsafe { raw.free() };
}
