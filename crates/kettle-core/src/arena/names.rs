//! What messages name: the objects whose handles travel in a message live as long as the message does.
//!
//! A message that has handles in it carries one block more, a *list of names*: an object of a kind of its own, which
//! goes through queues as any block does, and so is in somebody's hand or in a queue at every instant. Each object that
//! it lists counts the lists that name it, beside its holders. `README.md` beside this file has the states and the steps.

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

/// The home of a list whose message is on a way that the session does not see.
pub(super) const ON_ITS_WAY: u64 = u64::MAX;
/// Set in a list's position: a process has taken it out of its queue.
const IN_HAND: u64 = 1 << 63;

/// An entry of a list.
#[repr(C)]
struct Name {
    off: AtomicU64,
    generation: AtomicU64,
}

/// A handle to an object of whatever kind.
struct Hold {
    raw: Raw,
}

impl Hold {
    /// Another handle, for a caller that has one.
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
        // SAFETY: it was counted when it was made, and ends here.
        unsafe { registry::let_go(&self.raw, || recover::tear_down(&self.raw)) };
    }
}

/// What a message names, as handles of this process: before the message holds them itself, or after it was received.
#[derive(Clone, Default)]
pub struct Names(Vec<Hold>);

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|hold| hold.raw.off())).finish()
    }
}

thread_local! {
    /// What was named in the message that this thread makes now. It has no destructor, so that it is there for what runs
    /// at the end of a thread; between messages there is nothing to drop.
    static COLLECTED: RefCell<ManuallyDrop<Option<Vec<Hold>>>> = const { RefCell::new(ManuallyDrop::new(None)) };
}

/// Makes `names` the list that this thread collects into, and gives the one before.
fn collect_into(names: Option<Vec<Hold>>) -> Option<Vec<Hold>> {
    ManuallyDrop::into_inner(COLLECTED.replace(ManuallyDrop::new(names)))
}

impl Names {
    /// Runs `f`, which makes a message, and gives what it named by
    /// [`Handle::token_to_send`](super::Handle::token_to_send). A message that is made within belongs to itself.
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

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds those of another message.
    pub fn extend(&mut self, others: &Self) {
        self.0.extend_from_slice(&others.0);
    }

    /// Takes over those of another message.
    pub fn append(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    /// The block that holds them all, to be the last part of the message. None if there are no names.
    ///
    /// # Errors
    /// When there is no room.
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
        // In the eyes of a reclaim it exists from here on.
        block.raw().publish();
        Ok(Some(block))
    }

    /// Takes the handles out of the parts of a message that was received, if the last part is a list of names.
    ///
    /// # Errors
    /// When this process is new and cannot register.
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
        // From here on it does not count.
        list.raw().header().condemn(me)?;
        crate::crash_point("arena.names.condemned");
        holds.iter().for_each(|hold| _ = hold.raw.header().holders.no_longer_named());
        allocator.free_and_cool(list.raw().off(), list.raw().header());
        Ok(Self(holds))
    }

    /// For a message that goes where the session cannot see it: a token of a list that lives until the message
    /// [arrives](Self::arrived), or else as long as the session. None if there are no names.
    ///
    /// # Errors
    /// When there is no room.
    pub fn see_off(&self) -> Result<Option<Token>, ArenaError> {
        let Some(list) = self.pack()? else { return Ok(None) };
        let list = ManuallyDrop::new(list);
        let allocator = Allocator::lock(segment::header()?)?;
        list.raw().set_home(ON_ITS_WAY, 0);
        list.raw().disown()?;
        add(&allocator.header.counts.pinned, 1);
        Ok(Some(Token::of(list.raw(), NAMES)))
    }

    /// The handles of a message that [was seen off](Self::see_off) and arrives now. Once: afterwards they are this
    /// process's alone.
    ///
    /// # Errors
    /// When it arrived before, or was never seen off in this session.
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

/// Notes that the message which this thread makes names an object; false if it makes none.
pub(super) fn note(raw: &Raw) -> bool {
    COLLECTED.with_borrow_mut(|collected| match &mut **collected {
        Some(names) => {
            names.push(Hold::of(raw));
            true
        }
        None => false,
    })
}

/// Notes that this process has taken a list out of its queue, having made itself the holder.
pub(super) fn taken(list: &Raw) {
    let (home, position) = list.home();
    list.set_home(home, position | IN_HAND);
}

/// Whether a list belongs to the process that holds it, and not to the queue that it was, or is about to be, put into.
pub(super) fn is_in_hand(list: &Raw) -> bool {
    let (home, position) = list.home();
    home == 0 || position & IN_HAND != 0
}

fn entries(list: &Raw) -> impl Iterator<Item = &'static Name> + use<> {
    let first = list.data().cast::<Name>();
    // SAFETY: a list's data are so many entries, which consist of atomics, in a mapping that stays.
    (0..list.len() / size_of::<Name>()).map(move |i| unsafe { first.add(i).as_ref() })
}

/// The objects that a list names. The allocator's lock is held.
pub(super) fn named(list: &Raw) -> impl Iterator<Item = Raw> + use<> {
    entries(list).filter_map(|name| {
        let off = Off::from_bits(name.off.load(Ordering::Relaxed))?;
        let raw = object::find(off).ok().flatten()?;
        let state = raw.header().state();
        let generation = u64::from(state.generation());
        (state.status() == Status::Live && generation == name.generation.load(Ordering::Relaxed)).then_some(raw)
    })
}

/// Frees a list that this process owns, and what nothing holds besides.
///
/// # Safety
/// It is this caller's to free, and nobody uses it any more.
pub(super) unsafe fn free_list(list: &Raw) {
    // One that was never published was not counted; of one that is not freed here, a reclaim takes care.
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
    /// What this thread is to tear down and free; while it is at it. Without a destructor, as above.
    static DYING: RefCell<ManuallyDrop<Option<Vec<Raw>>>> = const { RefCell::new(ManuallyDrop::new(None)) };
}

/// Tears down and frees what is DYING in the hands of this process.
///
/// With a queue go its messages, with those what they name, which may be queues again, and so on. Therefore what dies
/// by a teardown is left to the loop that does the teardown: a chain of any length needs no more stack than one queue.
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
