//! Outcomes that have arrived and were not taken.

use std::collections::{BTreeMap, VecDeque};

use super::chunk::Chunk;
use crate::pool::scheduler::Order;

pub(super) enum ResultBuffer<R> {
    /// The chunks by the number of their first task, and the number of the task whose outcome is next.
    InOrder(BTreeMap<u64, Chunk<R>>, u64),
    AsTheyCame(VecDeque<Chunk<R>>),
}

impl<R> ResultBuffer<R> {
    pub(super) fn new(order: Order) -> Self {
        match order {
            Order::OfTasks => Self::InOrder(BTreeMap::new(), 0),
            Order::OfArrival => Self::AsTheyCame(VecDeque::new()),
        }
    }

    /// Stores the outcomes of the tasks from `first` on.
    pub(super) fn put(&mut self, first: u64, chunk: Chunk<R>) {
        match self {
            Self::InOrder(chunks, _) => _ = chunks.insert(first, chunk),
            Self::AsTheyCame(chunks) => chunks.push_back(chunk),
        }
    }

    pub(super) fn has_next(&self) -> bool {
        match self {
            Self::InOrder(chunks, next) => chunks.first_key_value().is_some_and(|(first, _)| first == next),
            Self::AsTheyCame(chunks) => !chunks.is_empty(),
        }
    }

    pub(super) fn take(&mut self) -> Option<Chunk<R>> {
        if !self.has_next() {
            return None;
        }
        match self {
            Self::InOrder(chunks, next) => {
                let (_, chunk) = chunks.pop_first()?;
                *next += chunk.len() as u64;
                Some(chunk)
            }
            Self::AsTheyCame(chunks) => chunks.pop_front(),
        }
    }

    pub(super) fn take_all(&mut self) -> Vec<Chunk<R>> {
        match self {
            Self::InOrder(chunks, _) => std::mem::take(chunks).into_values().collect(),
            Self::AsTheyCame(chunks) => std::mem::take(chunks).into(),
        }
    }
}
