//! Which processes have received messages and not finished them.

use super::store::{Exhausted, Place, Store, Trouble};
use crate::atomics::{AtomicU32, AtomicU64, Ordering};
use crate::crash_point;
use crate::damage::What;
use crate::sync::Home;
use crate::sys::Owner;

/// For each process, the number of messages that it received and has not finished; used by joinable queues only.
///
/// ```text
/// entry:  63            32 31            0
///         [ participant   ][ outstanding  ]
/// ```
///
/// There is no count of finished messages: the unfinished ones are those in the queue plus those in these entries.
/// Finishing is one compare-exchange, so a death in the middle leaves it either done or not done. Receiving increments
/// an entry *before* the message leaves the queue. A getter that dies between the two has one message too many
/// outstanding; its loss then includes a message that another getter receives.
///
/// When every entry belongs to a process with messages outstanding, a getter appends a *sheet* of further entries.
/// Sheets are never unlinked while the queue lives, so the chain is read without a lock.
#[repr(C)]
#[derive(Debug)]
pub(super) struct Consumers {
    /// Outstanding messages of the threads on the heap, which cannot die alone; the upper half is 0.
    threads: AtomicU64,
    losses: AtomicU32,
    last_loss: AtomicU64,
    entries: [AtomicU64; ENTRIES],
    /// The first sheet, or 0.
    more: AtomicU64,
}

/// A block of further entries.
#[repr(C)]
struct Sheet {
    /// The next sheet, or 0.
    more: AtomicU64,
    entries: [AtomicU64; PER_SHEET],
}

const ENTRIES: usize = if cfg!(loom) { 2 } else { 32 };
/// Together with the arena's header this makes an object of 1024 bytes.
const PER_SHEET: usize = if cfg!(loom) { 1 } else { 119 };
const COUNT: u64 = u32::MAX as u64;

impl Sheet {
    fn new() -> Self {
        Self { more: AtomicU64::new(0), entries: [0; PER_SHEET].map(AtomicU64::new) }
    }
}

/// A process has at most one entry, so this many sheets are enough for all of them.
const SHEETS: usize = Owner::SLOTS as usize / PER_SHEET + 2;

/// The sheet at the place that a link holds.
fn sheet<'a, S: Store>(place: Place) -> Result<&'a Sheet, Trouble> {
    let sheet = S::sheet_at(place, size_of::<Sheet>())?;
    // SAFETY: according to the store there is a sheet of this length here, aligned to eight, in memory that stays
    // mapped; it consists of atomics, for which all bit patterns are valid. It is freed only when the queue is no
    // longer in use.
    Ok(unsafe { &*sheet.cast::<Sheet>() })
}

/// What a dead process had received and not finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loss {
    /// The process that died.
    pub consumer: Owner,
    /// The number of its unfinished messages.
    pub unfinished: u32,
}

/// More messages were marked as done than there are unfinished ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyDone;

/// The word of an entry, if it is valid: free, or the name of a possible consumer.
#[inline]
fn look<S: Store>(entry: &AtomicU64) -> Result<u64, Trouble> {
    let word = entry.load(Ordering::SeqCst);
    if word == 0 || S::Home::can_be(Owner::from_bits(word & !COUNT)) {
        return Ok(word);
    }
    Err(S::damaged(What::Entry, 0, word))
}

impl Consumers {
    pub(super) fn new() -> Self {
        Self {
            threads: AtomicU64::new(0),
            losses: AtomicU32::new(0),
            last_loss: AtomicU64::new(0),
            entries: [0; ENTRIES].map(AtomicU64::new),
            more: AtomicU64::new(0),
        }
    }

    /// Visits the links in order, up to and including the final 0, until `visit` returns a value.
    fn find_link<'a, S: Store, T>(
        &'a self,
        mut visit: impl FnMut(&'a AtomicU64, Option<&'a Sheet>) -> Option<T>,
    ) -> Result<Option<T>, Trouble> {
        let mut link = &self.more;
        for _ in 0..SHEETS {
            let sheet = Place::new(link.load(Ordering::Acquire)).map(sheet::<S>).transpose()?;
            if let Some(found) = visit(link, sheet) {
                return Ok(Some(found));
            }
            match sheet {
                Some(sheet) => link = &sheet.more,
                None => return Ok(None),
            }
        }
        Err(S::damaged(What::Holders, 0, link.load(Ordering::Relaxed)))
    }

    /// Calls `visit` with each entry and its word, until it returns a value. A damaged entry is an error, since its
    /// count would never go down.
    fn find<'a, S: Store, T>(
        &'a self,
        mut visit: impl FnMut(&'a AtomicU64, u64) -> Option<T>,
    ) -> Result<Option<T>, Trouble> {
        let mut look = |entry: &'a AtomicU64| match look::<S>(entry) {
            Ok(word) => visit(entry, word).map(Ok),
            Err(trouble) => Some(Err(trouble)),
        };
        if let Some(found) = self.entries.iter().find_map(&mut look) {
            return found.map(Some);
        }
        self.find_link::<S, _>(|_, sheet| sheet?.entries.iter().find_map(&mut look))?.transpose()
    }

    /// The entry that the caller, which is about to take a message, is to increment. Requires the head's lock; the
    /// entry stays the caller's while the lock is held. `chunk` is any of the queue's chunks.
    ///
    /// # Errors
    /// If all entries are in use, and there is no memory for more.
    pub(super) fn entry<S: Store>(&self, chunk: Place) -> Result<&AtomicU64, Trouble> {
        let me = S::Home::try_me().ok_or(Trouble::Exhausted(Exhausted::NoPart))?.participant().to_bits();
        if me == 0 {
            return Ok(&self.threads);
        }
        // Only getters reassign entries, and the lock excludes them.
        if let Some((own, word)) = self.find::<S, _>(|e, word| (word & !COUNT == me).then_some((e, word)))? {
            // One more would overflow into the process's name.
            return if word & COUNT == COUNT { Err(S::damaged(What::Count, 0, word)) } else { Ok(own) };
        }
        let free = |w: u64| w == 0;
        let dead = |w: u64| w & COUNT == 0 && S::Home::is_dead(Owner::from_bits(w & !COUNT));
        let idle = |w: u64| w & COUNT == 0;
        for may in [&free as &dyn Fn(u64) -> bool, &dead, &idle] {
            let take =
                |e: &AtomicU64| e.fetch_update(Ordering::SeqCst, Ordering::Relaxed, |w| may(w).then_some(me)).is_ok();
            if let Some(entry) = self.find::<S, _>(|e, _| take(e).then_some(e))? {
                return Ok(entry);
            }
        }
        let entry = &self.append::<S>(chunk)?.entries[0];
        entry.store(me, Ordering::SeqCst);
        Ok(entry)
    }

    /// With the head's lock held: links another sheet.
    fn append<S: Store>(&self, chunk: Place) -> Result<&Sheet, Trouble> {
        let place = S::sheet(size_of::<Sheet>(), chunk)?;
        let sheet: *mut Sheet = S::sheet_at(place, size_of::<Sheet>())?.cast();
        // SAFETY: fresh memory of that length, which no other thread knows yet.
        unsafe { sheet.write(Sheet::new()) };
        crash_point("queue.consumers.before-link");
        let mut last = &self.more;
        self.find_link::<S, ()>(|link, _| {
            last = link;
            None
        })?;
        last.store(place.get(), Ordering::Release);
        crash_point("queue.consumers.linked");
        // SAFETY: the sheet has just been linked.
        unsafe { S::disown_sheet(place) };
        // SAFETY: the sheet was initialized above.
        Ok(unsafe { &*sheet })
    }

    /// Marks a message of the calling process as done or, if it has none outstanding, one of another process: passing
    /// work on is legal.
    pub(super) fn done<S: Store>(&self) -> Result<(), TooManyDone> {
        let me = S::Home::try_me().ok_or(TooManyDone)?.participant().to_bits();
        let lower = |w: u64| (w & COUNT != 0).then(|| w - 1);
        let own = |e: &AtomicU64| {
            e.fetch_update(Ordering::SeqCst, Ordering::Relaxed, |w| lower(w).filter(|_| w & !COUNT == me)).is_ok()
        };
        let any = |e: &AtomicU64| e.fetch_update(Ordering::SeqCst, Ordering::Relaxed, lower).is_ok();
        // A sheet that cannot be inspected is treated as if it had no entries.
        let found = |lowers: &dyn Fn(&AtomicU64) -> bool| {
            matches!(self.find::<S, _>(|e, _| lowers(e).then_some(())), Ok(Some(())))
        };
        if (me != 0 && found(&own)) || any(&self.threads) || found(&any) { Ok(()) } else { Err(TooManyDone) }
    }

    pub(super) fn outstanding<S: Store>(&self) -> Result<u32, Trouble> {
        // Nonzero only in a queue between the threads of one process, whose entries could not tell them apart.
        let mut sum = (look::<S>(&self.threads)? & COUNT) as u32;
        self.find::<S, ()>(|_, word| {
            sum = sum.saturating_add((word & COUNT) as u32);
            None
        })?;
        Ok(sum)
    }

    /// The processes with unfinished messages, as far as their entries are here and not on a sheet.
    pub(super) fn noted(&self) -> impl Iterator<Item = Loss> {
        let words = self.entries.iter().map(|entry| entry.load(Ordering::SeqCst)).filter(|word| word & COUNT != 0);
        words.map(|word| Loss { consumer: Owner::from_bits(word & !COUNT), unfinished: (word & COUNT) as u32 })
    }

    /// The number of losses found so far.
    pub(super) fn losses(&self) -> u32 {
        self.losses.load(Ordering::SeqCst)
    }

    /// The latest loss, if there was one since `losses` returned `before`.
    pub(super) fn loss_since(&self, before: u32) -> Option<Loss> {
        (self.losses() != before).then(|| {
            let word = self.last_loss.load(Ordering::SeqCst);
            Loss { consumer: Owner::from_bits(word & !COUNT), unfinished: (word & COUNT) as u32 }
        })
    }

    /// Writes off the outstanding messages of a dead process.
    pub(super) fn find_loss<S: Store>(&self) -> Option<Loss> {
        let write_off = |entry: &AtomicU64, word: u64| {
            let loss = Loss { consumer: Owner::from_bits(word & !COUNT), unfinished: (word & COUNT) as u32 };
            if loss.unfinished == 0 || !S::Home::is_dead(loss.consumer) {
                return None;
            }
            // Published before it is written off: otherwise a joiner could see everything finished and return.
            self.last_loss.store(word, Ordering::SeqCst);
            self.losses.fetch_add(1, Ordering::SeqCst);
            entry.compare_exchange(word, 0, Ordering::SeqCst, Ordering::Relaxed).is_ok().then_some(loss)
        };
        self.find::<S, _>(write_off).ok().flatten()
    }

    /// Whether the sheet at `place` is linked. For a reclaim, during which no memory is reused.
    pub(super) fn holds<S: Store>(&self, place: Place) -> bool {
        let leads_there = |link: &AtomicU64| link.load(Ordering::Acquire) == place.get();
        // A sheet that cannot be inspected is not garbage.
        self.find_link::<S, _>(|link, _| leads_there(link).then_some(())).map_or(true, |found| found.is_some())
    }

    /// Frees the sheets.
    ///
    /// # Safety
    /// The queue is no longer in use.
    pub(super) unsafe fn teardown<S: Store>(&self) {
        for _ in 0..SHEETS {
            let Some(place) = Place::new(self.more.load(Ordering::Relaxed)) else { break };
            let Ok(first) = sheet::<S>(place) else { break };
            let next = first.more.load(Ordering::Relaxed);
            // SAFETY: the queue is no longer in use, and no sheet is linked twice. Claimed first, like chunks.
            unsafe {
                if S::claim_chunk(place).is_err() {
                    break;
                }
                self.more.store(next, Ordering::Release);
                S::free_chunk(place);
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use core::cell::{Cell, RefCell};

    use super::*;
    use crate::queue::{Room, Store};
    use crate::shared::HeapStore;
    use crate::sys::futex::Scope;

    thread_local! {
        static ME: Cell<Owner> = const { Cell::new(Owner::new(1, 0, 1)) };
        static DEAD: RefCell<Vec<Owner>> = const { RefCell::new(Vec::new()) };
        static SHEETS_MADE: Cell<usize> = const { Cell::new(0) };
    }

    /// A home in which the test decides which process is calling and which are dead.
    struct Stage;

    impl Home for Stage {
        const SCOPE: Scope = Scope::Private;

        fn me() -> Owner {
            ME.get()
        }

        fn can_be(owner: Owner) -> bool {
            owner.slot() != 0
        }

        fn is_dead(owner: Owner) -> bool {
            DEAD.with_borrow(|dead| dead.contains(&owner))
        }
    }

    struct OnStage;

    // SAFETY: forwards to the heap's store.
    unsafe impl Store for OnStage {
        type Home = Stage;
        type Block = <HeapStore as Store>::Block;
        type Found = <HeapStore as Store>::Found;

        fn chunk(len: usize, queue: Place, index: u32) -> Result<Place, Trouble> {
            HeapStore::chunk(len, queue, index)
        }
        unsafe fn claim_chunk(_: Place) -> Result<(), Trouble> {
            Ok(())
        }
        unsafe fn free_chunk(place: Place) {
            SHEETS_MADE.set(SHEETS_MADE.get() - 1);
            // SAFETY: as the caller promises.
            unsafe { HeapStore::free_chunk(place) };
        }
        fn sheet(len: usize, chunk: Place) -> Result<Place, Trouble> {
            SHEETS_MADE.set(SHEETS_MADE.get() + 1);
            HeapStore::sheet(len, chunk)
        }
        unsafe fn disown_sheet(_: Place) {}
        fn sheet_at(place: Place, len: usize) -> Result<*mut u8, Trouble> {
            HeapStore::sheet_at(place, len)
        }
        fn at(place: Place) -> Result<Room, Trouble> {
            HeapStore::at(place)
        }
        fn publish(block: Self::Block, queue: Place, position: u32) -> Place {
            HeapStore::publish(block, queue, position)
        }
        fn find(place: Place, position: u32) -> Result<Self::Found, Trouble> {
            HeapStore::find(place, position)
        }
        unsafe fn claim(found: Self::Found) -> Self::Block {
            // SAFETY: as the caller promises.
            unsafe { HeapStore::claim(found) }
        }
        fn len(block: &Self::Block) -> usize {
            HeapStore::len(block)
        }
    }

    fn process(number: u32) -> Owner {
        Owner::new(number, 3, 0)
    }

    /// The entry assigned to a thread of process `number`.
    fn entry(consumers: &Consumers, number: u32) -> &AtomicU64 {
        ME.set(Owner::new(number, 3, 1000 + number));
        consumers.entry::<OnStage>(Place::MIN).unwrap()
    }

    fn take(consumers: &Consumers, number: u32) {
        entry(consumers, number).fetch_add(1, Ordering::Relaxed);
    }

    fn done(consumers: &Consumers, number: u32) -> bool {
        ME.set(Owner::new(number, 3, 2000 + number));
        consumers.done::<OnStage>().is_ok()
    }

    fn outstanding(consumers: &Consumers) -> u32 {
        consumers.outstanding::<OnStage>().unwrap()
    }

    /// The process that owns the entry; 0 if it is free.
    fn whose(entry: &AtomicU64) -> u32 {
        Owner::from_bits(entry.load(Ordering::Relaxed) & !COUNT).slot()
    }

    fn give_back(consumers: &Consumers) {
        // SAFETY: the test no longer uses them.
        unsafe { consumers.teardown::<OnStage>() };
        assert_eq!(SHEETS_MADE.get(), 0);
    }

    #[test]
    fn a_process_keeps_its_entry() {
        let consumers = Consumers::new();
        (1..=20).for_each(|number| take(&consumers, number));
        for number in 1..=20 {
            let own = entry(&consumers, number);
            assert_eq!((whose(own), own.load(Ordering::Relaxed) & COUNT), (number, 1));
            assert!(core::ptr::eq(own, entry(&consumers, number)));
        }
        assert_eq!(outstanding(&consumers), 20);
    }

    /// Free entries come first, then those of dead processes, then those of processes that have finished everything.
    #[test]
    fn entries_are_taken_over_from_those_who_owe_nothing() {
        let consumers = Consumers::new();
        let all = ENTRIES as u32;
        (1..=all).for_each(|number| take(&consumers, number));
        let finished = [3, 5, 9];
        finished.iter().for_each(|number| assert!(done(&consumers, *number)));
        DEAD.set(vec![process(4), process(9)]);
        assert_eq!(whose(&consumers.entries[8]), 9);
        take(&consumers, 100);
        assert_eq!(whose(&consumers.entries[8]), 100, "the entry of a dead process without unfinished messages");
        take(&consumers, 101);
        assert_eq!(whose(&consumers.entries[2]), 101);
        take(&consumers, 102);
        assert_eq!(whose(&consumers.entries[4]), 102);
        assert_eq!((SHEETS_MADE.get(), outstanding(&consumers)), (0, all), "there was room for all");
        take(&consumers, 103);
        take(&consumers, 104);
        assert_eq!((SHEETS_MADE.get(), outstanding(&consumers)), (1, all + 2));
        give_back(&consumers);
    }

    #[test]
    fn further_sheets_are_found() {
        let consumers = Consumers::new();
        let all = (ENTRIES + 2 * PER_SHEET) as u32;
        (1..=all).for_each(|number| take(&consumers, number));
        assert_eq!((SHEETS_MADE.get(), outstanding(&consumers)), (2, all));
        let first = Place::new(consumers.more.load(Ordering::Relaxed)).unwrap();
        let second = Place::new(sheet::<OnStage>(first).unwrap().more.load(Ordering::Relaxed)).unwrap();
        assert!(consumers.holds::<OnStage>(first) && consumers.holds::<OnStage>(second));
        assert!(!consumers.holds::<OnStage>(Place::MIN));
        assert!((1..=all).all(|number| done(&consumers, number)));
        assert_eq!(outstanding(&consumers), 0);
        assert!(!done(&consumers, 1), "all were done");
        give_back(&consumers);
    }

    /// First the process's own messages, then those of other processes.
    #[test]
    fn one_may_be_done_that_another_process_took() {
        let consumers = Consumers::new();
        (0..2).for_each(|_| take(&consumers, 1));
        take(&consumers, 2);
        let counts = || [0, 1].map(|i: usize| consumers.entries[i].load(Ordering::Relaxed) & COUNT);
        assert!(done(&consumers, 2));
        assert_eq!(counts(), [2, 0]);
        assert!(done(&consumers, 2) && done(&consumers, 1) && !done(&consumers, 1));
        assert_eq!(counts(), [0, 0]);
    }

    #[test]
    fn each_loss_is_told_once() {
        let consumers = Consumers::new();
        take(&consumers, 1);
        (0..3).for_each(|_| take(&consumers, 2));
        entry(&consumers, 3);
        let before = consumers.losses();
        DEAD.set(vec![process(3)]);
        assert_eq!(consumers.find_loss::<OnStage>(), None, "it had finished everything");
        DEAD.set(vec![process(2), process(3)]);
        let loss = Loss { consumer: process(2), unfinished: 3 };
        assert_eq!(consumers.loss_since(before), None);
        assert_eq!(consumers.find_loss::<OnStage>(), Some(loss));
        assert_eq!((consumers.loss_since(before), consumers.loss_since(consumers.losses())), (Some(loss), None));
        assert_eq!((consumers.find_loss::<OnStage>(), outstanding(&consumers)), (None, 1));
    }

    /// One more would overflow into the process's name.
    #[test]
    fn a_count_that_cannot_be_is_not_believed() {
        let consumers = Consumers::new();
        let own = entry(&consumers, 1);
        own.fetch_or(COUNT - 1, Ordering::Relaxed);
        assert!(consumers.entry::<OnStage>(Place::MIN).is_ok());
        own.fetch_or(COUNT, Ordering::Relaxed);
        assert_eq!(consumers.entry::<OnStage>(Place::MIN).err(), Some(Trouble::Damaged));
    }

    #[test]
    fn an_entry_that_names_no_process_is_not_believed() {
        let consumers = Consumers::new();
        (1..=ENTRIES as u32 + 1).for_each(|number| take(&consumers, number));
        let place = Place::new(consumers.more.load(Ordering::Relaxed)).unwrap();
        for entry in [&consumers.entries[ENTRIES - 1], &sheet::<OnStage>(place).unwrap().entries[0]] {
            let right = entry.load(Ordering::Relaxed);
            for wrong in [1, COUNT, Owner::new(0, 7, 0).to_bits()] {
                entry.store(wrong, Ordering::Relaxed);
                assert_eq!(consumers.outstanding::<OnStage>(), Err(Trouble::Damaged), "{wrong:#x}");
                ME.set(process(500));
                assert_eq!(consumers.entry::<OnStage>(Place::MIN).err(), Some(Trouble::Damaged), "{wrong:#x}");
            }
            entry.store(right, Ordering::Relaxed);
            assert_eq!(outstanding(&consumers), ENTRIES as u32 + 1);
        }
        give_back(&consumers);
    }

    #[test]
    fn a_ring_of_sheets_is_not_followed_for_ever() {
        let consumers = Consumers::new();
        (1..=ENTRIES as u32 + 1).for_each(|number| take(&consumers, number));
        let place = Place::new(consumers.more.load(Ordering::Relaxed)).unwrap();
        sheet::<OnStage>(place).unwrap().more.store(place.get(), Ordering::Relaxed);
        assert_eq!(consumers.outstanding::<OnStage>(), Err(Trouble::Damaged));
        assert!(consumers.holds::<OnStage>(Place::MIN), "a sheet that cannot be inspected is not garbage");
        sheet::<OnStage>(place).unwrap().more.store(0, Ordering::Relaxed);
        give_back(&consumers);
    }
}
