//! What runs later: a heap with four children to each node, which is flatter than one with two and so touches less
//! memory.

/// A number of seconds as an integer of the same order. NaN is before all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(u64);

impl Time {
    /// The time `seconds` on the clock of the loop.
    #[inline]
    pub fn at(seconds: f64) -> Self {
        if seconds.is_nan() {
            return Self(0);
        }
        // Positive ones are in the order of their bits, negative ones in the opposite order and before the others;
        // minus zero is zero.
        let bits = (seconds + 0.0).to_bits();
        let sign = 1 << 63;
        Self(if bits & sign == 0 { bits | sign } else { !bits })
    }

    /// In seconds; NaN for what was that.
    pub fn seconds(self) -> f64 {
        let sign = 1 << 63;
        match self.0 {
            0 => f64::NAN,
            bits if bits & sign != 0 => f64::from_bits(bits & !sign),
            bits => f64::from_bits(!bits),
        }
    }
}

struct Entry<T> {
    time: Time,
    number: u64,
    handle: T,
}

impl<T> Entry<T> {
    #[inline(always)]
    fn key(&self) -> (Time, u64) {
        (self.time, self.number)
    }
}

/// Handles with the times at which they are to run. Those of the same time are in the order in which they came.
pub struct Timers<T> {
    heap: Vec<Entry<T>>,
    next_number: u64,
    cancelled: usize,
}

impl<T> Default for Timers<T> {
    fn default() -> Self {
        Self { heap: Vec::new(), next_number: 0, cancelled: 0 }
    }
}

/// A heap of fewer is not worth being made anew.
const FEW: usize = 64;
const CHILDREN: usize = 4;

impl<T> Timers<T> {
    /// Adds one.
    pub fn push(&mut self, time: Time, handle: T) {
        let number = self.next_number;
        self.next_number += 1;
        self.heap.push(Entry { time, number, handle });
        self.rise(self.heap.len() - 1);
    }

    /// The first and its time.
    #[inline(always)]
    pub fn first(&self) -> Option<(Time, &T)> {
        self.heap.first().map(|entry| (entry.time, &entry.handle))
    }

    /// Takes the first.
    pub fn pop(&mut self) -> Option<T> {
        let last = self.heap.len().checked_sub(1)?;
        self.heap.swap(0, last);
        let first = self.heap.pop()?;
        self.sink(0);
        Some(first.handle)
    }

    /// Notes that one of them was cancelled.
    #[inline(always)]
    pub fn note_cancelled(&mut self) {
        self.cancelled += 1;
    }

    /// Notes that one that was cancelled is out.
    #[inline(always)]
    pub fn note_cancelled_is_out(&mut self) {
        self.cancelled = self.cancelled.saturating_sub(1);
    }

    /// Whether so many are cancelled that they should be [taken out](Self::take_cancelled).
    #[inline(always)]
    pub fn is_stale(&self) -> bool {
        self.heap.len() >= FEW && self.cancelled > self.heap.len() / 2
    }

    /// Takes out those of which `is_cancelled` is true, in no order.
    pub fn take_cancelled(&mut self, is_cancelled: impl Fn(&T) -> bool) -> Vec<T> {
        let (gone, kept): (Vec<_>, Vec<_>) =
            core::mem::take(&mut self.heap).into_iter().partition(|entry| is_cancelled(&entry.handle));
        self.heap = kept;
        self.cancelled = 0;
        for place in (0..self.heap.len().div_ceil(CHILDREN)).rev() {
            self.sink(place);
        }
        gone.into_iter().map(|entry| entry.handle).collect()
    }

    /// Takes out the one of which `is_it` is true.
    pub fn take(&mut self, is_it: impl Fn(&T) -> bool) -> Option<T> {
        let place = self.heap.iter().position(|entry| is_it(&entry.handle))?;
        let taken = self.heap.swap_remove(place);
        if place < self.heap.len() {
            self.rise(place);
            self.sink(place);
        }
        Some(taken.handle)
    }

    /// All of them, in the order in which they are to run.
    pub fn in_order(&self) -> impl Iterator<Item = &T> {
        let mut entries: Vec<_> = self.heap.iter().collect();
        entries.sort_unstable_by_key(|entry| entry.key());
        entries.into_iter().map(|entry| &entry.handle)
    }

    /// All of them, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.heap.iter().map(|entry| &entry.handle)
    }

    /// How many there are, those that were cancelled included.
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }

    fn rise(&mut self, mut place: usize) {
        while place > 0 {
            let parent = (place - 1) / CHILDREN;
            if self.heap[parent].key() <= self.heap[place].key() {
                return;
            }
            self.heap.swap(parent, place);
            place = parent;
        }
    }

    fn sink(&mut self, mut place: usize) {
        loop {
            let first = place * CHILDREN + 1;
            let children = first..(first + CHILDREN).min(self.heap.len());
            let Some(least) = children.min_by_key(|&child| self.heap[child].key()) else { return };
            if self.heap[place].key() <= self.heap[least].key() {
                return;
            }
            self.heap.swap(place, least);
            place = least;
        }
    }
}

impl<T> core::fmt::Debug for Timers<T> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Timers").field("len", &self.len()).field("cancelled", &self.cancelled).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_in_the_order_of_their_seconds() {
        let times =
            [f64::NAN, f64::NEG_INFINITY, -1e300, -1.0, -1e-300, 0.0, 1e-300, 1.0, 1.0 + 1e-15, 1e300, f64::INFINITY];
        assert!(times.windows(2).all(|pair| Time::at(pair[0]) < Time::at(pair[1])));
        assert_eq!(Time::at(-0.0), Time::at(0.0));
        for time in &times[1..] {
            assert_eq!(Time::at(*time).seconds(), *time);
        }
        assert!(Time::at(f64::NAN).seconds().is_nan());
    }

    /// The same numbers for the same seed.
    fn numbers(seed: u64) -> impl Iterator<Item = u64> {
        std::iter::successors(Some(seed), |n| {
            Some(n.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407))
        })
        .map(|n| n >> 33)
    }

    #[test]
    fn come_out_by_time_and_then_in_the_order_of_coming() {
        for seed in 0..50 {
            let mut timers = Timers::default();
            let mut expected: Vec<_> =
                numbers(seed).take(500).map(|n| n % 40).enumerate().map(|(i, t)| (t, i)).collect();
            for &(time, i) in &expected {
                timers.push(Time::at(time as f64), (time, i));
            }
            expected.sort();
            let out: Vec<_> = std::iter::from_fn(|| timers.pop()).collect();
            assert_eq!(out, expected, "seed {seed}");
        }
    }

    #[test]
    fn one_can_be_taken_out_of_the_middle() {
        for seed in 0..50 {
            let mut timers = Timers::default();
            let mut expected: Vec<_> =
                numbers(seed).take(100).map(|n| n % 40).enumerate().map(|(i, t)| (t, i)).collect();
            for &(time, i) in &expected {
                timers.push(Time::at(time as f64), (time, i));
            }
            for _ in 0..30 {
                let taken = expected.remove(seed as usize % expected.len());
                assert_eq!(timers.take(|timer| *timer == taken), Some(taken), "seed {seed}");
                assert_eq!(timers.take(|timer| *timer == taken), None);
            }
            expected.sort();
            assert_eq!(timers.in_order().copied().collect::<Vec<_>>(), expected, "seed {seed}");
            let out: Vec<_> = std::iter::from_fn(|| timers.pop()).collect();
            assert_eq!(out, expected, "seed {seed}");
        }
    }

    #[test]
    fn those_that_are_cancelled_are_taken_out_and_the_rest_stays_in_order() {
        for seed in 0..50 {
            let mut timers = Timers::default();
            let mut kept = Vec::new();
            for (i, n) in numbers(seed).take(300).enumerate() {
                timers.push(Time::at((n % 40) as f64), (n % 40, i, n % 3 != 0));
                if n % 3 == 0 {
                    kept.push((n % 40, i, false));
                } else {
                    timers.note_cancelled();
                }
            }
            assert!(timers.is_stale());
            assert_eq!(timers.take_cancelled(|entry| entry.2).len(), 300 - kept.len());
            assert!(!timers.is_stale());
            kept.sort();
            let out: Vec<_> = std::iter::from_fn(|| timers.pop()).collect();
            assert_eq!(out, kept, "seed {seed}");
        }
    }
}
