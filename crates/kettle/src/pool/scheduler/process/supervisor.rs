//! The parent's side: which worker has which chunks, which workers have died, and the consequences.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use kettle_core::arena::Handle;
use kettle_core::sys::child::Child;
use kettle_core::sys::clock;
use kettle_core::wait::{Deadline, EventCount, Patience};

use super::super::pending::Span;
use super::desk::Desk;
use super::letters::{self, Head, Load, TIMED};
use super::limits::{Conditions, Limits, Tally};
use super::post::{Event, Post};
use super::seat::{Announces, Fate, Held, Phase, Seat, SeatId};
use super::steps::{LOOK, SIGKILL};
use super::watch::{Bell, Watch};
use crate::error::OutOfMemory;

/// The workers of a pool. `J` is the front's reference to a job.
///
/// All methods are short, so a front may keep a supervisor behind a mutex. None waits for a worker, except that
/// [`cancel`](Self::cancel) and [`withdraw`](Self::withdraw) wait for at most 50 ms for the lock of a worker's queue.
#[derive(Debug)]
pub struct Supervisor<J> {
    limits: Limits,
    bell: Arc<Bell>,
    seats: Vec<Seat<J>>,
    next_seat: u64,
    next_chunk: u64,
    watch: Arc<Watch>,
    /// When something is due without a notification: a time limit, a kill, a check of memory use.
    due: Deadline,
    looked_at: u64,
    scratch: Vec<u8>,
    /// Events found outside of `sweep`.
    pending: Post<J>,
}

/// The longest wait for the lock of a worker's queue. A worker that holds it for longer has been stopped (by SIGSTOP,
/// for example) and keeps its chunks; otherwise all other workers would wait along with the supervisor.
const STOPPED: Duration = Duration::from_millis(50);

/// The number of outcomes received from one worker before it is the next one's turn.
const TURN: usize = 512;

/// The longest time for which it pays to spin, in nanoseconds: what it takes to be woken.
const SPIN_MAX: u64 = 40_000;

impl<J: Clone> Supervisor<J> {
    /// Creates a supervisor without workers.
    ///
    /// # Errors
    /// If there is no memory or no descriptor left.
    pub fn new(limits: Limits) -> io::Result<Self> {
        let outcomes = Handle::new(EventCount::new).map_err(|e| io::Error::other(e.to_string()))?;
        let bell = Arc::new(Bell::new(outcomes)?);
        let watch = Arc::new(Watch { bell: Arc::clone(&bell), desks: Vec::new(), children: Vec::new() });
        Ok(Self {
            limits,
            bell,
            seats: Vec::new(),
            next_seat: 1,
            next_chunk: 1,
            watch,
            due: Deadline::NEVER,
            looked_at: 0,
            scratch: Vec::new(),
            pending: Post::default(),
        })
    }

    /// The requested number of workers.
    pub fn size(&self) -> usize {
        self.limits.workers
    }

    /// The number of workers that are missing.
    pub fn vacancies(&self) -> usize {
        self.limits.workers.saturating_sub(self.seats.iter().filter(|seat| seat.is_staff()).count())
    }

    /// Returns whether all workers are about to be started. If that is up to a thread that waits for the pool meanwhile,
    /// in a signal handler, it has to start another one.
    pub fn has_only_openings(&self) -> bool {
        self.seats.iter().all(|seat| !seat.is_staff() || seat.phase == Phase::Opening)
    }

    /// Increases the requested number of workers.
    pub fn grow(&mut self, more: usize) {
        self.limits.workers += more;
    }

    /// The number of workers, running or starting, that have no chunk and may be sent one.
    pub fn idle(&self) -> usize {
        self.seats.iter().filter(|seat| seat.may_be_sent() && seat.hand.is_empty()).count()
    }

    /// Reserves a seat for a worker that is about to be started. [`occupy`](Self::occupy) or [`abandon`](Self::abandon)
    /// must follow.
    ///
    /// # Errors
    /// If there is no memory for its desk.
    pub fn open(&mut self) -> Result<(SeatId, Desk), OutOfMemory> {
        let desk = Desk::new(&self.bell.outcomes)?;
        let id = SeatId(self.next_seat);
        self.next_seat += 1;
        self.seats.push(Seat::new(id, desk.clone(), self.limits.chunks));
        Ok((id, desk))
    }

    /// Records that the worker of this seat was started. If `child` has ended already, the next [`sweep`](Self::sweep)
    /// finds out. If the pool has enough workers without it, it is told to leave.
    pub fn occupy(&mut self, id: SeatId, child: Child) {
        let child = Arc::new(child);
        let is_there = |seat: &&Seat<J>| seat.is_staff() && seat.phase != Phase::Opening;
        let is_needed = self.seats.iter().filter(is_there).count() < self.limits.workers;
        if let Some(seat) = self.seats.iter_mut().find(|seat| seat.id == id) {
            seat.child = Some(child);
            match seat.phase {
                Phase::Opening if seat.was_ready => seat.phase = Phase::Ready,
                Phase::Opening => seat.phase = Phase::Starting,
                // The pool was terminated meanwhile.
                Phase::Ending { .. } => seat.signal(SIGKILL),
                Phase::Starting | Phase::Ready | Phase::Leaving => {}
            }
            if !is_needed {
                seat.tell_to_leave(&mut self.scratch);
            }
        }
        self.renew_watch();
        // A sleeping leader does not watch this worker yet.
        self.watch.kick();
    }

    /// Records that the worker of this seat could not be started.
    pub fn abandon(&mut self, id: SeatId) {
        self.seats.retain(|seat| seat.id != id);
        self.renew_watch();
    }

    /// Records that the worker of this seat reported ready.
    pub fn is_ready(&mut self, id: SeatId) {
        if let Some(seat) = self.seat(id) {
            // In `Opening`, the report came before `occupy`.
            seat.was_ready = true;
            if seat.phase == Phase::Starting {
                seat.phase = Phase::Ready;
            }
        }
    }

    /// The seat to send the next chunk to, if any has room: the one with the fewest chunks.
    pub fn room(&self) -> Option<SeatId> {
        let may = self.seats.iter().filter(|seat| seat.may_be_sent());
        may.min_by_key(|seat| (seat.hand.len(), seat.phase != Phase::Ready)).map(|seat| seat.id)
    }

    /// Returns whether a worker was sent the common data of this job.
    pub fn knows(&self, id: SeatId, job: u64) -> bool {
        self.seats.iter().any(|seat| seat.id == id && seat.known.contains(&job))
    }

    /// Sends a worker the data that all chunks of a job have in common, before the first of them.
    ///
    /// # Errors
    /// If there is no memory for it.
    pub fn teach(&mut self, id: SeatId, job: u64, load: Load<'_>) -> Result<(), OutOfMemory> {
        let Some(seat) = self.seats.iter_mut().find(|seat| seat.id == id) else { return Ok(()) };
        letters::put(&seat.desk.tasks, &mut self.scratch, Head::note(0), load)?;
        seat.known.push(job);
        Ok(())
    }

    /// The seats whose workers have the common data of any job.
    pub fn taught(&self) -> Vec<SeatId> {
        self.seats.iter().filter(|seat| !seat.known.is_empty()).map(|seat| seat.id).collect()
    }

    /// Removes the jobs that are over from those known to a worker, and returns them; the worker may drop their data.
    pub fn forget(&mut self, id: SeatId, mut is_over: impl FnMut(u64) -> bool) -> Vec<u64> {
        let Some(seat) = self.seat(id) else { return Vec::new() };
        let known = std::mem::take(&mut seat.known);
        let (over, rest) = known.into_iter().partition(|job| is_over(*job));
        seat.known = rest;
        over
    }

    /// Sends a note to a worker.
    ///
    /// # Errors
    /// If there is no memory for it.
    pub fn note(&mut self, id: SeatId, load: Load<'_>) -> Result<(), OutOfMemory> {
        let Some(seat) = self.seats.iter_mut().find(|seat| seat.id == id) else { return Ok(()) };
        letters::put(&seat.desk.tasks, &mut self.scratch, Head::note(0), load)
    }

    /// Sends a chunk: consecutive tasks of a job. From now on the supervisor is responsible for it.
    ///
    /// # Errors
    /// If there is no memory for it. In this case nothing was sent.
    pub fn send(
        &mut self,
        id: SeatId,
        job: J,
        span: Span,
        conditions: Conditions,
        load: Load<'_>,
    ) -> Result<(), OutOfMemory> {
        let Some(seat) = self.seats.iter_mut().find(|seat| seat.id == id) else {
            self.pending.events.push(Event::Undone { job, span, apart: false });
            return Ok(());
        };
        let chunk = self.next_chunk;
        let Span { start, len } = span;
        let announces = if conditions.batched { seat.next_announces() } else { Announces::Each };
        let timed = if conditions.timeout.is_some() { TIMED } else { 0 };
        let head = Head { chunk, number: len, flags: timed | announces.flags(), word: 0 };
        letters::put(&seat.desk.tasks, &mut self.scratch, head, load)?;
        self.next_chunk += 1;
        let timeout = conditions.timeout.map(|t| u64::try_from(t.as_nanos()).unwrap_or(u64::MAX));
        let sent_at = clock::now();
        if let Some(timeout) = timeout {
            self.due = self.due.min(Deadline::at(sent_at.saturating_add(timeout)));
        }
        seat.hand.push_back(Held { id: chunk, job, start, len, finished: 0, timeout, sent_at, announces });
        if let Some(quota) = &mut seat.quota {
            *quota -= 1;
            if *quota == 0 {
                seat.tell_to_leave(&mut self.scratch);
            }
        }
        Ok(())
    }

    /// Collects what happened. With `ask`, also looks for workers that have ended; to be set after a sleep. While
    /// outcomes keep arriving, this is done at intervals in any case.
    pub fn sweep(&mut self, post: &mut Post<J>, ask: bool) {
        let now = clock::now();
        for seat in &mut self.seats {
            seat.receive(&mut self.pending, now, TURN);
            if seat.is_used_up() {
                seat.tell_to_leave(&mut self.scratch);
            }
        }
        if ask || now.saturating_sub(self.looked_at) > LOOK {
            self.looked_at = now;
            for child in self.watch.ended() {
                self.bury(&child, now);
            }
            self.weigh(now);
        }
        if self.due != Deadline::NEVER {
            self.keep_time(now);
        }
        post.bytes.clear();
        post.words.clear();
        post.events.clear();
        post.shortage = None;
        std::mem::swap(post, &mut self.pending);
    }

    /// Takes queued chunks away from workers so that idle ones can have them: they come back as [`Event::Undone`].
    /// Returns whether there were any. To be called before a leader goes to sleep with nothing left to send.
    pub fn rebalance(&mut self) -> bool {
        let idle =
            self.seats.iter().filter(|s| s.phase == Phase::Ready && s.hand.is_empty() && s.may_be_sent()).count();
        let mut taken = false;
        for _ in 0..idle {
            let Some(seat) = self.seats.iter_mut().filter(|s| s.waiting() > 0).max_by_key(|s| s.waiting()) else {
                break;
            };
            let from = seat.hand[seat.hand.len() - seat.waiting().div_ceil(2)].id;
            taken |= seat.recall(|held| held.id < from, &mut self.pending, &Patience::none());
        }
        taken
    }

    /// Takes back all chunks of the jobs for which `is_meant` holds. Queued ones come back as [`Event::Undone`]; a
    /// worker that is running one is ended with [`Fate::Cancelled`].
    pub fn cancel(&mut self, mut is_meant: impl FnMut(&J) -> bool) {
        let now = clock::now();
        for seat in &mut self.seats {
            if seat.hand.iter().any(|held| is_meant(&held.job)) {
                seat.recall(|held| !is_meant(&held.job), &mut self.pending, &Patience::until(Deadline::after(STOPPED)));
                // The worker has taken the remaining ones out of the queue, or is about to.
                seat.catch(Fate::Cancelled, &mut self.pending, now, |seat, _| {
                    seat.hand.front().is_some_and(|held| is_meant(&held.job))
                });
            }
        }
        self.due = Deadline::NOW;
        self.watch.kick();
    }

    /// Takes the chunks of the jobs for which `is_meant` holds back from the workers' queues; they come back as
    /// [`Event::Undone`]. Returns false if there is none, or if a worker has begun one or is about to.
    pub fn withdraw(&mut self, is_meant: impl Fn(&J) -> bool) -> bool {
        let has_some = |seat: &Seat<J>| seat.hand.iter().any(|held| is_meant(&held.job));
        let mut withdrawn = None;
        for seat in self.seats.iter_mut().filter(|seat| has_some(seat)) {
            seat.recall(|held| !is_meant(&held.job), &mut self.pending, &Patience::until(Deadline::after(STOPPED)));
            withdrawn = Some(withdrawn.unwrap_or(true) && !has_some(seat));
        }
        if withdrawn.is_some() {
            // The worker has room for other work.
            self.watch.kick();
        }
        withdrawn.unwrap_or(false)
    }

    /// Tells all workers to leave once they have finished their chunks.
    pub fn dismiss(&mut self) {
        for seat in self.seats.iter_mut().filter(|seat| seat.is_staff()) {
            seat.tell_to_leave(&mut self.scratch);
        }
    }

    /// Ends all workers, whatever they are running.
    pub fn end_all(&mut self) {
        for seat in &mut self.seats {
            seat.end(Fate::Cancelled);
        }
        self.due = Deadline::NOW;
        self.watch.kick();
    }

    /// Kills all workers without asking them to end; to be called after [`end_all`](Self::end_all).
    pub fn kill_all(&self) {
        self.seats.iter().for_each(|seat| seat.signal(SIGKILL));
    }

    /// Returns whether no worker is left, not even one that is ending.
    pub fn is_deserted(&self) -> bool {
        self.seats.is_empty()
    }

    /// As [`is_deserted`](Self::is_deserted), apart from up to `starts` workers that are about to be started.
    pub fn is_deserted_but_for(&self, starts: usize) -> bool {
        self.seats.len() <= starts && self.seats.iter().all(|seat| seat.child.is_none())
    }

    /// Returns whether a worker is being ended, which requires a leader.
    pub fn is_ending_some(&self) -> bool {
        self.seats.iter().any(|seat| matches!(seat.phase, Phase::Ending { .. }))
    }

    /// Returns whether no worker has a chunk and there are no pending events.
    pub fn is_idle(&self) -> bool {
        self.pending.events.is_empty() && self.seats.iter().all(|seat| seat.hand.is_empty())
    }

    /// A summary of the workers.
    pub fn tally(&self) -> Tally {
        Tally {
            workers: self.seats.iter().filter(|seat| seat.is_staff()).count(),
            busy: self.seats.iter().filter(|seat| seat.is_staff() && !seat.hand.is_empty()).count(),
            chunks: self.seats.iter().map(|seat| seat.hand.len()).sum(),
        }
    }

    /// Returns whether an announcement is expected so soon that it pays to spin for it.
    pub fn is_news_near(&self) -> bool {
        let mut times = self.seats.iter().filter_map(Seat::next_announcement).peekable();
        times.peek().is_none() || times.any(|time| time < SPIN_MAX)
    }

    /// What a leader sleeps on.
    pub fn watch(&self) -> Arc<Watch> {
        Arc::clone(&self.watch)
    }

    /// The time at which a sleeping leader must sweep again at the latest.
    pub fn due(&self) -> Deadline {
        if self.pending.events.is_empty() { self.due } else { Deadline::NOW }
    }

    fn seat(&mut self, id: SeatId) -> Option<&mut Seat<J>> {
        self.seats.iter_mut().find(|seat| seat.id == id)
    }

    fn renew_watch(&mut self) {
        self.watch = Arc::new(Watch {
            bell: Arc::clone(&self.bell),
            desks: self.seats.iter().map(|seat| seat.desk.clone()).collect(),
            children: self.seats.iter().filter_map(|seat| seat.child.clone()).collect(),
        });
    }

    /// Processes the end of a worker.
    fn bury(&mut self, child: &Arc<Child>, now: u64) {
        let is_it = |seat: &Seat<J>| seat.child.as_ref().is_some_and(|c| Arc::ptr_eq(c, child));
        let Some(place) = self.seats.iter().position(is_it) else { return };
        self.seats.remove(place).bury(child.pid(), &mut self.pending, now);
        self.renew_watch();
    }

    /// Checks the workers' use of memory.
    fn weigh(&mut self, now: u64) {
        let Some(limit) = self.limits.memory else { return };
        self.due = self.due.min(Deadline::at(now + LOOK));
        for seat in self.seats.iter_mut().filter(|seat| matches!(seat.phase, Phase::Ready | Phase::Leaving)) {
            if seat.weigh(limit, &mut self.pending, &mut self.scratch) {
                self.due = Deadline::NOW;
            }
        }
    }

    /// Ends workers whose task has exceeded its time limit, and kills those that were asked to end and did not.
    fn keep_time(&mut self, now: u64) {
        let mut due = if self.limits.memory.is_some() { Deadline::at(self.looked_at + LOOK) } else { Deadline::NEVER };
        for seat in &mut self.seats {
            due = due.min(seat.keep_time(&mut self.pending, now));
        }
        self.due = due;
    }
}
