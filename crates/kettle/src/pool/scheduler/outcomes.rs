//! The outcomes of a job that are taken one by one.

use std::collections::VecDeque;

/// The order in which outcomes are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// That of the tasks.
    OfTasks,
    /// That in which the outcomes arrive.
    OfArrival,
}

/// The outcomes that were not taken yet.
///
/// It drops none of them: a method returns what is no longer needed, for the caller to drop without a lock.
#[derive(Debug)]
pub enum Outcomes<O> {
    /// In the order of the tasks, beginning with the one numbered `next`.
    OfTasks {
        /// The number of the task whose outcome is taken next.
        next: u64,
        /// `None` in the place of an outcome that has not arrived.
        waiting: VecDeque<Option<O>>,
    },
    /// In the order of arrival.
    OfArrival(VecDeque<O>),
}

impl<O> Outcomes<O> {
    /// Creates an empty set of outcomes, which are taken in this order.
    pub fn new(order: Order) -> Self {
        match order {
            Order::OfTasks => Self::OfTasks { next: 0, waiting: VecDeque::new() },
            Order::OfArrival => Self::OfArrival(VecDeque::new()),
        }
    }

    /// Adds the outcome of this task. Returns an earlier outcome of the same task.
    #[inline]
    pub fn put(&mut self, task: u64, outcome: O) -> Option<O> {
        match self {
            Self::OfTasks { next, waiting } => {
                let place = (task - *next) as usize;
                if waiting.len() <= place {
                    waiting.resize_with(place + 1, || None);
                }
                waiting[place].replace(outcome)
            }
            Self::OfArrival(waiting) => {
                waiting.push_back(outcome);
                None
            }
        }
    }

    /// Removes and returns the next outcome, if it is there.
    #[inline]
    pub fn take(&mut self) -> Option<O> {
        match self {
            Self::OfTasks { next, waiting } => {
                waiting.front()?.as_ref()?;
                *next += 1;
                waiting.pop_front()?
            }
            Self::OfArrival(waiting) => waiting.pop_front(),
        }
    }

    /// Returns whether [`take`](Self::take) would return an outcome.
    pub fn has_next(&self) -> bool {
        match self {
            Self::OfTasks { waiting, .. } => waiting.front().is_some_and(Option::is_some),
            Self::OfArrival(waiting) => !waiting.is_empty(),
        }
    }

    /// Removes and returns all outcomes that are there.
    pub fn take_all(&mut self) -> Vec<O> {
        match self {
            Self::OfTasks { waiting, .. } => std::mem::take(waiting).into_iter().flatten().collect(),
            Self::OfArrival(waiting) => std::mem::take(waiting).into(),
        }
    }

    /// Ends the outcomes with this one, after those that can be taken already. Returns the others.
    pub fn end_with(&mut self, last: O) -> Vec<O> {
        match self {
            Self::OfTasks { waiting, .. } => {
                let there = waiting.iter().take_while(|outcome| outcome.is_some()).count();
                let rest = waiting.split_off(there).into_iter().flatten().collect();
                waiting.push_back(Some(last));
                rest
            }
            Self::OfArrival(waiting) => {
                waiting.push_back(last);
                Vec::new()
            }
        }
    }

    /// All outcomes that are there, in the order in which they will be taken.
    pub fn iter(&self) -> impl Iterator<Item = &O> {
        let (in_order, as_they_came) = match self {
            Self::OfTasks { waiting, .. } => (Some(waiting.iter().flatten()), None),
            Self::OfArrival(waiting) => (None, Some(waiting.iter())),
        };
        in_order.into_iter().flatten().chain(as_they_came.into_iter().flatten())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(outcomes: &mut Outcomes<u32>) -> Vec<u32> {
        std::iter::from_fn(|| outcomes.take()).collect()
    }

    #[test]
    fn outcomes_are_taken_in_order() {
        let mut outcomes = Outcomes::new(Order::OfTasks);
        assert_eq!((outcomes.put(1, 10), outcomes.has_next()), (None, false));
        assert_eq!((outcomes.put(0, 0), outcomes.put(3, 30)), (None, None));
        assert_eq!(outcomes.iter().copied().collect::<Vec<_>>(), [0, 10, 30]);
        assert_eq!(drain(&mut outcomes), [0, 10]);
        assert_eq!(outcomes.end_with(99), [30], "what cannot be taken any more is given back");
        assert_eq!(drain(&mut outcomes), [99]);

        let mut outcomes = Outcomes::new(Order::OfArrival);
        assert!(!outcomes.has_next());
        assert_eq!((outcomes.put(1, 10), outcomes.put(0, 0)), (None, None));
        assert!(outcomes.end_with(99).is_empty());
        assert_eq!(outcomes.iter().copied().collect::<Vec<_>>(), [10, 0, 99]);
        assert_eq!(drain(&mut outcomes), [10, 0, 99]);
    }
}
