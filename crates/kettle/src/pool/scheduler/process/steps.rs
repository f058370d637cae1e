//! The supervisor's operations on one worker.

use std::time::Duration;

use kettle_core::damage::{self, What};
use kettle_core::queue::{Body, GetError, Parcel, Taken};
use kettle_core::shared::ArenaStore;
use kettle_core::sys::futex::Scope;
use kettle_core::sys::process;
use kettle_core::wait::{Deadline, Patience};

use super::desk::Mark;
use super::letters::{self, Head, LEAVE, Load};
use super::post::{Event, Post};
use super::seat::{Fate, Held, Phase, Seat};

/// The time between asking a worker to end and killing it, in nanoseconds.
const GRACE: u64 = 60_000_000;
/// The minimum interval between checks whether a task with a very short time limit has begun, in nanoseconds.
const SHORTEST_LOOK: u64 = 1_000_000;
const SIGTERM: i32 = 15;
/// The interval, in nanoseconds, at which the memory of workers is checked, and dead workers are looked for while
/// outcomes keep arriving.
pub(super) const LOOK: u64 = 50_000_000;
pub(super) const SIGKILL: i32 = 9;

impl<J: Clone> Seat<J> {
    /// Receives up to `most` messages of the worker.
    pub(super) fn receive(&mut self, post: &mut Post<J>, now: u64, most: usize) {
        let mut chunks = 0;
        let oldest_sent_at = self.hand.front().map_or(now, |held| held.sent_at);
        let first_event = post.events.len();
        let mut left = most;
        while left > 0 {
            // The queue is checked first: if it has a message, everything put into the ring before that message is
            // visible. In the opposite order, a quick worker might put both in between, and the message would be taken
            // out of turn.
            let has_letter = !self.desk.outcomes.is_empty();
            let words = self.receive_words(post, left);
            left -= words;
            if words == 0 {
                if !has_letter {
                    self.look_for_strays();
                    break;
                }
                if !self.receive_letter(post) {
                    break;
                }
                left -= 1;
            }
            if self.hand.front().is_some_and(|held| held.finished == held.len) {
                chunks += 1;
                if let Some(held) = self.hand.pop_front() {
                    post.events.push(Event::Finished { job: held.job, len: held.len, took: 0 });
                }
            }
        }
        if chunks == 0 {
            return;
        }
        let each = self.pace.finished(chunks, oldest_sent_at, now);
        for event in &mut post.events[first_event..] {
            if let Event::Finished { took, .. } = event {
                *took = each;
            }
        }
    }

    /// Called when nothing expected has arrived: checks for damage. A word is put after the messages that precede it,
    /// so an unexpected word without a message was not written by a worker.
    fn look_for_strays(&self) {
        let expected = self.hand.front().map(|held| Mark::new(held.id, held.finished));
        let is_stray = self.desk.words().is_next_another(self.taken, expected) && self.desk.outcomes.is_empty();
        if is_stray && !matches!(self.phase, Phase::Ending { .. }) {
            self.desk.words().is_damaged();
        }
    }

    /// Receives short outcomes of the first chunk in its hand. Returns their number.
    pub(super) fn receive_words(&mut self, post: &mut Post<J>, most: usize) -> usize {
        let judged = self.judged();
        let Some(held) = self.hand.front_mut() else { return 0 };
        let start = post.words.len();
        let most = (held.len - held.finished).min(u32::try_from(most).unwrap_or(u32::MAX));
        let expected = Mark::new(held.id, held.finished);
        let mut count = self.desk.words().take(&mut self.taken, expected, most, &mut post.words);
        if judged
            .is_some_and(|(chunk, task)| chunk == held.id && (held.finished..held.finished + count).contains(&task))
        {
            // The victim's word is the last one that can come, and is ignored.
            count -= 1;
            post.words.pop();
        }
        if count > 0 {
            let at = start..post.words.len();
            post.events.push(Event::Words { job: held.job.clone(), first: held.number(held.finished), at });
            held.finished += count;
        }
        count as usize
    }

    /// Receives one message; returns false if there is none.
    pub(super) fn receive_letter(&mut self, post: &mut Post<J>) -> bool {
        let start = post.bytes.len();
        let (head, taken) = match letters::take(&self.desk.outcomes, &mut post.bytes, &Patience::none()) {
            Ok(letter) => letter,
            Err(e) => {
                if let GetError::Exhausted(e) = e {
                    post.shortage = Some(e.into());
                }
                return false;
            }
        };
        let at = start + Head::LEN..post.bytes.len();
        if head.chunk == 0 {
            post.events.push(Event::Note { seat: self.id, taken, word: head.word, at });
            return true;
        }
        let judged = self.judged() == Some((head.chunk, head.number));
        let held = self.hand.front_mut().filter(|h| h.id == head.chunk && h.finished == head.number);
        if let (Some(held), false) = (held, judged) {
            held.finished += 1;
            let task = held.number(head.number);
            post.events.push(Event::Outcome { job: held.job.clone(), task, taken, at });
        } else if !matches!(self.phase, Phase::Ending { .. }) {
            // An outcome that is not expected: workers report their tasks in order.
            damage::mark(Scope::Shared, What::Letter, 0, head.chunk);
        }
        true
    }

    /// The task that was judged to have no outcome.
    pub(super) fn judged(&self) -> Option<(u64, u32)> {
        match self.phase {
            Phase::Ending { victim, .. } => victim,
            Phase::Opening | Phase::Starting | Phase::Ready | Phase::Leaving => None,
        }
    }

    /// Takes all messages out of the worker's queue and puts back those to be kept. Returns whether a chunk was taken
    /// away. A message that the worker takes first is left to it. If the queue's lock cannot be had within `patience`,
    /// nothing is taken away.
    pub(super) fn recall(
        &mut self,
        mut keep: impl FnMut(&Held<J>) -> bool,
        post: &mut Post<J>,
        patience: &Patience<'_>,
    ) -> bool {
        let mut bytes = Vec::new();
        let mut letters = Vec::new();
        // In one step: if the worker took some in between, it would process them out of turn.
        let collect = |head, taken, at| letters.push((head, taken, at));
        if letters::take_all(&self.desk.tasks, &mut bytes, collect, patience).is_err() {
            return false;
        }
        let mut any = false;
        let mut is_short = false;
        for (head, taken, at) in letters {
            let place = self.hand.iter().position(|held| held.id == head.chunk);
            let keeps = !is_short && (head.chunk == 0 || place.is_some_and(|place| keep(&self.hand[place])));
            if keeps {
                let Taken { tag, block, parts } = taken;
                let body = block.map_or(Body::Inline(&bytes[at]), Body::Block);
                if letters::put_again(&self.desk.tasks, Parcel::<ArenaStore>::blocks(tag, body, parts)).is_ok() {
                    continue;
                }
                // There is no memory. Later chunks may depend on this message, so they are taken away as well.
                is_short = true;
            }
            if head.flags & LEAVE != 0 {
                self.phase = Phase::Ready;
            }
            if let Some(held) = place.and_then(|place| self.hand.remove(place)) {
                any = true;
                if let Some(quota) = &mut self.quota {
                    *quota += 1;
                }
                let span = held.tasks_from(0);
                post.events.push(Event::Undone { job: held.job, span, apart: false });
            }
        }
        if is_short {
            self.known.clear();
        }
        any
    }

    pub(super) fn tell_to_leave(&mut self, scratch: &mut Vec<u8>) {
        match self.phase {
            // A worker that is still starting will find the message in its queue.
            Phase::Opening | Phase::Starting | Phase::Ready => {}
            Phase::Leaving | Phase::Ending { .. } => return,
        }
        // Without memory for the message, the worker stays and is told again later.
        if letters::put(&self.desk.tasks, scratch, Head::note(LEAVE), Load::inline(0, &[])).is_ok() {
            self.phase = Phase::Leaving;
        }
    }

    /// Condemns the worker, whatever it is running: it begins no further task. [`go_on_ending`](Self::go_on_ending)
    /// does the rest.
    pub(super) fn end(&mut self, why: Fate) {
        if !matches!(self.phase, Phase::Ending { .. }) {
            self.desk.condemn();
            self.phase = Phase::Ending { why, kill_at: None, victim: None };
        }
    }

    /// Ends the worker if `is_meant` holds for its current task, and only at that task: a later task, begun meanwhile,
    /// is not ended.
    pub(super) fn catch(
        &mut self,
        why: Fate,
        post: &mut Post<J>,
        now: u64,
        mut is_meant: impl FnMut(&Self, Mark) -> bool,
    ) {
        while !matches!(self.phase, Phase::Ending { .. }) {
            let mark = self.desk.mark();
            // Outcomes that arrived before the worker is condemned count.
            self.receive(post, now, usize::MAX);
            if !is_meant(self, mark) {
                return;
            }
            if self.desk.condemn_at(mark) {
                self.phase = Phase::Ending { why, kill_at: None, victim: None };
            }
        }
    }

    /// Performs the next step of ending a worker: judge it, ask it to end, kill it. Returns when the next step is due.
    pub(super) fn go_on_ending(&mut self, post: &mut Post<J>, now: u64) -> Option<u64> {
        match self.phase {
            Phase::Ending { why, kill_at: None, .. } => {
                self.receive(post, now, usize::MAX);
                // It can begin no further task, so this is its last one. An outcome that still arrives is too late.
                self.phase = Phase::Ending { why, kill_at: Some(now + GRACE), victim: self.current() };
                self.signal(SIGTERM);
                Some(now + GRACE)
            }
            Phase::Ending { why, kill_at: Some(kill_at), victim } if kill_at <= now => {
                self.signal(SIGKILL);
                self.phase = Phase::Ending { why, kill_at: Some(now + LOOK), victim };
                Some(now + LOOK)
            }
            Phase::Ending { kill_at, .. } => kill_at,
            Phase::Opening | Phase::Starting | Phase::Ready | Phase::Leaving => None,
        }
    }

    /// Reports the end of the worker, whose process was `pid`: everything that it put is visible, and nothing more will
    /// arrive.
    pub(super) fn bury(mut self, pid: u32, post: &mut Post<J>, now: u64) {
        self.receive(post, now, usize::MAX);
        // Its last note may be among the pending events.
        let told = |event: &Event<J>| matches!(event, Event::Note { seat: id, .. } if *id == self.id);
        let early = !self.was_ready && !post.events.iter().any(told) && !matches!(self.phase, Phase::Ending { .. });
        let (fate, victim) = match self.phase {
            Phase::Ending { why, kill_at: Some(_), victim } => (why, victim),
            Phase::Ending { why, .. } => (why, self.current()),
            _ => (Fate::Died, self.current()),
        };
        let lost = fate == Fate::Died && (self.phase != Phase::Leaving || !self.hand.is_empty());
        let opening = self.opening();
        let mut victim_task = None;
        let mut undone = Vec::new();
        for held in self.hand.drain(..) {
            let mut from = held.finished;
            if let Some((_, task)) = victim.filter(|(chunk, _)| *chunk == held.id) {
                victim_task = Some((held.job.clone(), held.number(task)));
                from = task + 1;
            }
            if from < held.len {
                let span = held.tasks_from(from);
                undone.push(Event::Undone { job: held.job, span, apart: opening == Some(held.id) });
            }
        }
        let preparing = self.desk.mark() == Mark::PREPARING;
        post.events.push(Event::Ended { seat: self.id, pid, fate, early, lost, preparing, victim: victim_task });
        post.events.append(&mut undone);
    }

    /// Checks the worker's use of memory: ends it far above the limit in the middle of a task, and tells it to leave
    /// above the limit. Returns whether it is ended.
    pub(super) fn weigh(&mut self, limit: u64, post: &mut Post<J>, scratch: &mut Vec<u8>) -> bool {
        let Some(resident) = self.child.as_ref().and_then(|child| process::resident(child.pid())) else { return false };
        let ends = resident > limit + limit / 2 && !self.hand.is_empty();
        if ends {
            self.end(Fate::Memory);
        } else if resident > limit && self.phase == Phase::Ready {
            self.recall(|_| false, post, &Patience::none());
            self.tell_to_leave(scratch);
        }
        ends
    }

    /// Ends the worker if its task has exceeded its time limit, and kills it if it was asked to end and did not. Returns
    /// when that is to be checked again.
    pub(super) fn keep_time(&mut self, post: &mut Post<J>, now: u64) -> Deadline {
        let is_late = |seat: &Self, mark| seat.time_left(mark, now) == Some(Duration::ZERO);
        if is_late(self, self.desk.mark()) {
            self.catch(Fate::TimedOut, post, now, is_late);
        }
        let left = self.time_left(self.desk.mark(), now);
        let late_at = left.map(|left| now.saturating_add(left.as_nanos() as u64));
        let next_step = self.go_on_ending(post, now);
        late_at.into_iter().chain(next_step).min().map_or(Deadline::NEVER, Deadline::at)
    }

    /// How long the worker, which is at `mark`, may continue before the next check; `None` if it has no limit.
    pub(super) fn time_left(&self, mark: Mark, now: u64) -> Option<Duration> {
        if matches!(self.phase, Phase::Ending { .. }) {
            return None;
        }
        let is_at = |held: &Held<J>| mark == Mark::new(held.id, held.finished) || mark == Mark::opening(held.id);
        let begun = |held: &Held<J>| is_at(held).then(|| self.desk.since());
        let left = |held: &Held<J>| {
            let timeout = held.timeout?;
            Some(match begun(held) {
                Some(since) => since.saturating_add(timeout).saturating_sub(now),
                // Its time cannot end earlier than if it began now; the minimum avoids constant checks until it begins.
                None => timeout.max(SHORTEST_LOOK),
            })
        };
        self.hand.iter().filter_map(left).min().map(Duration::from_nanos)
    }
}
