//! The tasks of a job that are still to be sent.

use std::collections::HashMap;

/// The maximum number of tasks in a chunk: a worker's mark has 22 bits for the index of the task.
pub(super) const CHUNK_MAX: u32 = (1 << 22) - 1;

/// Consecutive tasks of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The number of the first task.
    pub start: u64,
    /// The number of tasks; not zero.
    pub len: u32,
}

/// How tasks are grouped into chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chunking {
    /// This many tasks to a chunk.
    Fixed(u32),
    /// As many tasks as take a millisecond, by measurement.
    Measured,
}

/// The pending tasks of one job: first those that were given back, then those that were never sent.
///
/// A task is not sent yet, given back, with a worker, or done. This type tracks the first two; the caller that takes a
/// span is responsible for it until it is done or given back.
#[derive(Debug)]
pub struct PendingTasks {
    next: u64,
    end: u64,
    /// A stack: the last span is sent first.
    given_back: Vec<Span>,
    chunking: Chunking,
    /// The length of a measured chunk.
    len: u32,
    /// The maximum length of a measured chunk.
    most: u32,
    /// Nanoseconds per task, 0 while unknown.
    pace: u64,
    retries: u32,
    deaths: HashMap<u64, u32>,
}

/// The target duration of a measured chunk in nanoseconds: long compared with the cost of sending one, and too short
/// for a waiting thread to notice.
const CHUNK_TIME: u64 = 1_000_000;
/// The shortest duration of a chunk at the end of a job, where chunks shrink so that all workers finish together.
const LAST_CHUNK_TIME: u64 = 20_000;
/// The maximum number of tasks in a measured chunk: the outcomes of such a chunk and of those waiting behind it fit
/// into the ring.
pub(super) const MEASURED_MAX: u64 = 4096;

const fn at_most_a_chunk(len: u64) -> u32 {
    if len > CHUNK_MAX as u64 { CHUNK_MAX } else { len as u32 }
}

impl PendingTasks {
    /// Creates an empty set. A task whose worker dies is sent again up to `retries` times.
    pub fn new(chunking: Chunking, retries: u32) -> Self {
        Self {
            next: 0,
            end: 0,
            given_back: Vec::new(),
            chunking,
            len: 1,
            most: u32::MAX,
            pace: 0,
            retries,
            deaths: HashMap::new(),
        }
    }

    /// Limits measured chunks to this many tasks.
    pub fn at_most(self, tasks: u32) -> Self {
        Self { most: tasks, ..self }
    }

    /// Adds `count` tasks.
    pub fn extend(&mut self, count: u64) {
        self.end += count;
    }

    /// The total number of tasks so far.
    pub fn count(&self) -> u64 {
        self.end
    }

    /// The number of tasks that were never sent.
    pub fn unsent(&self) -> u64 {
        self.end - self.next
    }

    /// Returns whether there is a task to send.
    pub fn has_some(&self) -> bool {
        self.next < self.end || !self.given_back.is_empty()
    }

    /// The number of tasks that stay together once they are taken.
    pub fn chunk(&self) -> u32 {
        match self.chunking {
            Chunking::Fixed(len) => len.max(1),
            Chunking::Measured => 1,
        }
    }

    /// Takes the next tasks to send to one of `workers` workers.
    pub fn take(&mut self, workers: usize) -> Option<Span> {
        self.take_by(|pending| match pending.chunking {
            Chunking::Fixed(len) => u64::from(len),
            Chunking::Measured => pending.measured(workers).min(MEASURED_MAX),
        })
    }

    /// As [`take`](Self::take), but for a worker from which others can steal the tasks that it has not begun. Takes as
    /// many whole chunks as run for a millisecond.
    pub fn claim(&mut self, workers: usize) -> Option<Span> {
        self.take_by(|pending| {
            let chunk = u64::from(pending.chunk());
            let most = u64::from(at_most_a_chunk(u64::MAX));
            (pending.measured(workers).min(most) / chunk).max(1) * chunk
        })
    }

    fn take_by(&mut self, len: impl FnOnce(&Self) -> u64) -> Option<Span> {
        if let Some(span) = self.given_back.pop() {
            return Some(span);
        }
        let left = self.unsent();
        if left == 0 {
            return None;
        }
        let span = Span { start: self.next, len: at_most_a_chunk(len(self).clamp(1, left)) };
        self.next += u64::from(span.len);
        Some(span)
    }

    /// The number of tasks that run for the target duration of a chunk.
    fn measured(&self, workers: usize) -> u64 {
        let share = self.unsent().div_ceil(2 * workers.max(1) as u64);
        let shortest = LAST_CHUNK_TIME.checked_div(self.pace).unwrap_or(1);
        u64::from(self.len.min(self.most)).min(share.max(shortest))
    }

    /// Gives back tasks that were sent and never begun.
    pub fn give_back(&mut self, span: Span) {
        if span.len > 0 {
            self.given_back.push(span);
        }
    }

    /// As [`give_back`](Self::give_back), for tasks that are to be sent one by one.
    pub fn give_back_apart(&mut self, span: Span) {
        self.given_back.extend((0..span.len).rev().map(|i| Span { start: span.start + u64::from(i), len: 1 }));
    }

    /// Records that the worker of this task died. Returns whether the task is sent again.
    pub fn died(&mut self, task: u64) -> bool {
        if self.retries == 0 {
            return false;
        }
        let deaths = self.deaths.entry(task).or_default();
        *deaths += 1;
        let again = *deaths <= self.retries;
        if again {
            self.given_back.push(Span { start: task, len: 1 });
        }
        again
    }

    /// Records that a chunk, or a claim, of `len` tasks took this many nanoseconds.
    pub fn finished(&mut self, len: u32, took: u64) {
        if len == 0 {
            return;
        }
        let pace = (took / u64::from(len)).max(1);
        self.pace = if self.pace == 0 { pace } else { (self.pace + pace) / 2 };
        // A short chunk is a poor sample, so the length grows at most eightfold at a time; a long task reduces it at
        // once.
        let ideal = at_most_a_chunk(CHUNK_TIME / self.pace).max(1);
        self.len = ideal.min(self.len.max(len).saturating_mul(8));
    }

    /// Removes all pending tasks.
    pub fn clear(&mut self) {
        self.next = self.end;
        self.given_back.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(pending: &mut PendingTasks, workers: usize) -> Vec<Span> {
        std::iter::from_fn(|| pending.take(workers)).collect()
    }

    #[test]
    fn fixed_chunks_cover_every_task_once() {
        let mut pending = PendingTasks::new(Chunking::Fixed(4), 0);
        pending.extend(10);
        let spans = drain(&mut pending, 2);
        assert_eq!(spans.iter().map(|s| (s.start, s.len)).collect::<Vec<_>>(), [(0, 4), (4, 4), (8, 2)]);
        assert!(!pending.has_some());
    }

    #[test]
    fn measured_chunks_grow_for_short_tasks_and_shrink_for_long_ones() {
        let mut pending = PendingTasks::new(Chunking::Measured, 0);
        pending.extend(1_000_000);
        assert_eq!(pending.take(2).map(|s| s.len), Some(1));
        pending.finished(1, 100);
        assert_eq!(pending.take(2).map(|s| s.len), Some(8));
        for _ in 0..10 {
            pending.finished(8, 2_400);
        }
        let long = pending.take(2).map_or(0, |s| s.len);
        assert!((3000..=4000).contains(&long), "{long}");
        for _ in 0..20 {
            pending.finished(1, 10_000_000);
        }
        assert_eq!(pending.take(2).map(|s| s.len), Some(1));
    }

    #[test]
    fn measured_chunks_are_no_longer_than_they_may() {
        let mut pending = PendingTasks::new(Chunking::Measured, 0).at_most(100);
        pending.extend(1_000_000);
        for _ in 0..10 {
            pending.finished(100, 10_000);
        }
        assert_eq!(pending.take(2).map(|s| s.len), Some(100));
        let mut pending = PendingTasks::new(Chunking::Measured, 0);
        pending.extend(1_000_000);
        for _ in 0..10 {
            pending.finished(100_000, 1);
        }
        assert_eq!(pending.take(2).map(|s| u64::from(s.len)), Some(MEASURED_MAX), "outcomes are to find room");
    }

    #[test]
    fn claims_are_of_whole_chunks_and_as_long_as_measured_ones() {
        let mut pending = PendingTasks::new(Chunking::Fixed(3), 0);
        pending.extend(1_000_000);
        assert_eq!((pending.claim(2).map(|s| s.len), pending.chunk()), (Some(3), 3));
        for _ in 0..10 {
            pending.finished(100, 25_000);
        }
        let many = pending.claim(2).map_or(0, |s| s.len);
        assert!(many % 3 == 0 && (3000..=4000).contains(&many), "{many}");
        for _ in 0..20 {
            pending.finished(3, 10_000_000);
        }
        assert_eq!(pending.claim(2).map(|s| s.len), Some(3));
        assert_eq!(pending.take(2).map(|s| s.len), Some(3), "who sends chunks is not concerned");
        let mut pending = PendingTasks::new(Chunking::Fixed(3), 0);
        pending.extend(4);
        assert_eq!(std::iter::from_fn(|| pending.claim(2)).map(|s| s.len).collect::<Vec<_>>(), [3, 1]);
    }

    #[test]
    fn the_last_chunks_are_shared() {
        let mut pending = PendingTasks::new(Chunking::Measured, 0);
        pending.extend(100);
        pending.finished(1, 10_000);
        pending.finished(8, 80_000);
        let spans = drain(&mut pending, 2);
        assert_eq!(spans.iter().map(|s| u64::from(s.len)).sum::<u64>(), 100);
        assert!(spans[0].len <= 25 && spans.last().is_some_and(|s| s.len <= 2), "{spans:?}");
    }

    #[test]
    fn what_is_given_back_goes_first_and_deaths_are_counted() {
        let mut pending = PendingTasks::new(Chunking::Fixed(5), 1);
        pending.extend(10);
        let _ = pending.take(1);
        pending.give_back(Span { start: 3, len: 2 });
        assert!(pending.died(2));
        assert_eq!(pending.take(1), Some(Span { start: 2, len: 1 }));
        assert!(!pending.died(2), "one retry was allowed");
        assert_eq!(pending.take(1), Some(Span { start: 3, len: 2 }));
        assert_eq!(pending.take(1), Some(Span { start: 5, len: 5 }));
        assert_eq!(pending.take(1), None);
    }
}
