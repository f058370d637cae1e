//! The items of a job: their source, how far ahead they are pulled, and how long they are kept.
//!
//! ```text
//!               push, or pull               sent, done               fetched
//!   a source ──────────────────► in line ───────────────► outcome ─────────────►
//!                                 └───── of an imap, at most `window` items ─────┘
//! ```

use std::collections::VecDeque;

use kettle::pool::scheduler::{JobTasks, Span};
use kettle_core::wait::Scope;
use pyo3::prelude::*;
use pyo3::types::{PyIterator, PyList, PyRange, PySequence};

use super::Job;
use crate::pool::tasks::Progression;

/// Where an imap's items come from.
pub(super) enum Source {
    /// All items are there.
    Exhausted,
    /// An iterator that cannot block and runs no user code; workers or the leader pull from it.
    Builtin(Py<PyIterator>),
    /// A separate thread pulls them.
    Fed,
}

/// The items that are there.
pub(super) enum Items {
    /// For a map, all items, with None for those that have an outcome or were given away. For a call, none.
    List(Py<PyList>),
    /// For a map over a `range`; the items are made on demand.
    Range(Progression),
    /// For an imap, the items from number `done_before` on that have no outcome.
    Window { queue: VecDeque<Option<Py<PyAny>>>, done_before: u64 },
}

/// The items of a job. `JobTasks` tracks which of them are to be sent.
pub(in crate::pool) struct Input {
    items: Items,
    source: Source,
    /// A map's items move to the worker together with the tasks.
    are_given_away: bool,
    /// The number of items that an imap sends together.
    chunk: u64,
    /// The number of outcomes fetched from an imap.
    fetched: u64,
    /// How far an imap's items may be ahead of the fetched outcomes; None if there is no limit, or no longer.
    window: Option<u64>,
}

/// The items of a job that was ended. Dropping them may run user code that waits for this very job, so the waiting
/// threads are woken first.
#[must_use]
#[expect(dead_code, reason = "to be dropped")]
pub(in crate::pool) struct Cleared(Items, Source);

/// The items of a span, readable without the job's lock.
pub(in crate::pool) enum SpanItems {
    Listed(Py<PyList>, usize),
    Counted(Progression),
    Taken(Vec<Py<PyAny>>),
}

impl SpanItems {
    /// Returns item `place` of the span.
    pub(in crate::pool) fn get<'py>(&self, py: Python<'py>, place: usize) -> PyResult<Bound<'py, PyAny>> {
        match self {
            Self::Listed(list, first) => list.bind(py).get_item(first + place),
            Self::Counted(numbers) => numbers.get(py, place as u64),
            Self::Taken(items) => Ok(items[place].bind(py).clone()),
        }
    }
}

impl Input {
    /// The input of a map, over a `range` or over a list without other references.
    pub(super) fn of_map(items: &Bound<'_, PyAny>) -> PyResult<Self> {
        let items = match items.cast::<PyRange>() {
            Ok(range) => match Progression::of(range) {
                Some(numbers) => Items::Range(numbers),
                None => Items::List(items.cast::<PySequence>()?.to_list()?.unbind()),
            },
            Err(_) => Items::List(items.cast::<PyList>()?.clone().unbind()),
        };
        Ok(Self::of_all(items))
    }

    /// The input of a call.
    pub(super) fn none(py: Python<'_>) -> Self {
        Self::of_all(Items::List(PyList::empty(py).unbind()))
    }

    fn of_all(items: Items) -> Self {
        Self { items, source: Source::Exhausted, are_given_away: false, chunk: 1, fetched: 0, window: None }
    }

    /// The input of an imap.
    pub(super) fn of_source(source: Source, chunk: u64, window: Option<u64>) -> Self {
        let items = Items::Window { queue: VecDeque::new(), done_before: 0 };
        Self { items, source, are_given_away: false, chunk, fetched: 0, window }
    }

    /// Whether no more items will come.
    pub(super) fn is_exhausted(&self) -> bool {
        matches!(self.source, Source::Exhausted)
    }

    /// Whether the items are pulled from an iterator by workers or the leader.
    pub(super) fn is_pulled(&self) -> bool {
        matches!(self.source, Source::Builtin(_))
    }

    /// Whether a separate thread still pulls the items.
    pub(super) fn is_fed(&self) -> bool {
        matches!(self.source, Source::Fed)
    }

    /// The number of items that may be pulled now.
    pub(super) fn room(&self) -> u64 {
        match (&self.items, self.window) {
            (Items::Window { queue, done_before }, Some(window)) => {
                window.saturating_sub(done_before + queue.len() as u64 - self.fetched)
            }
            _ => u64::MAX,
        }
    }

    /// Whether to pull now. Items are pulled in batches, since the feeder would otherwise be woken for each one.
    pub(super) fn has_room_for_a_batch(&self) -> bool {
        self.window.is_none_or(|window| 2 * self.room() >= window)
    }

    /// Counts a fetched outcome.
    pub(super) fn fetched_one(&mut self) {
        self.fetched += 1;
    }

    /// Whether an outcome was ever fetched.
    pub(super) fn was_fetched(&self) -> bool {
        self.fetched > 0
    }

    /// Adds an item. Only whole chunks become ready to send.
    fn push(&mut self, tasks: &mut JobTasks, item: Py<PyAny>) {
        let Items::Window { queue, done_before } = &mut self.items else { return };
        queue.push_back(Some(item));
        let rest = *done_before + queue.len() as u64 - tasks.pending.count();
        tasks.add(rest / self.chunk * self.chunk);
    }

    /// Marks the input as exhausted. An incomplete chunk is sent as well, unless the input ended with an error. Returns
    /// the objects to drop.
    fn close(&mut self, tasks: &mut JobTasks, is_error: bool) -> (VecDeque<Option<Py<PyAny>>>, Source) {
        let source = std::mem::replace(&mut self.source, Source::Exhausted);
        let Items::Window { queue, done_before } = &mut self.items else { return (VecDeque::new(), source) };
        let rest = *done_before + queue.len() as u64 - tasks.pending.count();
        if is_error {
            return (queue.split_off(queue.len() - (rest as usize).min(queue.len())), source);
        }
        tasks.add(rest);
        (VecDeque::new(), source)
    }

    fn items(&self, py: Python<'_>, span: Span) -> SpanItems {
        match &self.items {
            Items::List(list) => SpanItems::Listed(list.clone_ref(py), span.start as usize),
            Items::Range(numbers) => SpanItems::Counted(numbers.from(span.start)),
            Items::Window { queue, done_before } => {
                let first = (span.start - done_before) as usize;
                let item = |place: usize| {
                    queue.get(place).and_then(|i| i.as_ref()).map_or_else(|| py.None(), |i| i.clone_ref(py))
                };
                SpanItems::Taken((first..first + span.len as usize).map(item).collect())
            }
        }
    }

    /// The items of a span, moved to the worker. A map does not keep them, so each one can be dropped as soon as its
    /// task has ended.
    pub(in crate::pool) fn give_away(&mut self, py: Python<'_>, span: Span) -> VecDeque<Py<PyAny>> {
        let list = match self.items(py, span) {
            SpanItems::Listed(list, _) => list.into_bound(py),
            SpanItems::Counted(_) => return self.lend(py, span),
            SpanItems::Taken(items) => return items.into(),
        };
        self.are_given_away = true;
        let give_away = |place: usize| {
            let item = list.get_item(place);
            // The index is valid, so this cannot fail.
            let _ = list.set_item(place, py.None());
            item.map_or_else(|_| py.None(), Bound::unbind)
        };
        (span.start as usize..).take(span.len as usize).map(give_away).collect()
    }

    /// The items of a span; the job keeps them too.
    pub(in crate::pool) fn lend(&self, py: Python<'_>, span: Span) -> VecDeque<Py<PyAny>> {
        let items = self.items(py, span);
        (0..span.len as usize).map(|place| items.get(py, place).map_or_else(|_| py.None(), Bound::unbind)).collect()
    }

    /// Drops the items of the tasks from `first` on, which have an outcome.
    pub(super) fn let_go(&mut self, py: Python<'_>, first: u64, count: u64, dropped: &mut Vec<Py<PyAny>>) {
        let (queue, done_before) = match &mut self.items {
            Items::Window { queue, done_before } => (queue, done_before),
            Items::List(_) if self.are_given_away => return,
            Items::Range(_) => return,
            Items::List(list) => {
                // A result then reuses the memory of an item that is no longer needed and still in the cache.
                let list = list.bind(py);
                for place in first as usize..list.len().min((first + count) as usize) {
                    dropped.extend(list.get_item(place).map(Bound::unbind));
                    // The index is valid, so this cannot fail.
                    let _ = list.set_item(place, py.None());
                }
                return;
            }
        };
        if let Some(place) = first.checked_sub(*done_before).map(|i| i as usize) {
            let end = queue.len().min(place.saturating_add(count as usize));
            dropped.extend(queue.range_mut(place.min(end)..end).filter_map(Option::take));
        }
        while let Some(None) = queue.front() {
            queue.pop_front();
            *done_before += 1;
        }
    }

    /// Removes all items and returns them, to be dropped.
    fn clear(&mut self, py: Python<'_>) -> Cleared {
        let source = std::mem::replace(&mut self.source, Source::Exhausted);
        let items = match &mut self.items {
            Items::List(list) => Items::List(std::mem::replace(list, PyList::empty(py).unbind())),
            Items::Range(numbers) => Items::Range(*numbers),
            Items::Window { queue, done_before } => {
                *done_before += queue.len() as u64;
                Items::Window { queue: std::mem::take(queue), done_before: 0 }
            }
        };
        Cleared(items, source)
    }
}

impl Job {
    /// Whether workers or the leader are to pull its items now.
    pub(in crate::pool) fn is_pulled(&self, py: Python<'_>) -> bool {
        let state = self.state(py);
        !state.is_held && state.input.is_pulled()
    }

    /// Whether a separate thread still feeds it.
    pub(super) fn is_fed(&self, py: Python<'_>) -> bool {
        self.state(py).input.is_fed()
    }

    /// Whether one more item may be pulled now.
    pub(super) fn has_room(&self, py: Python<'_>) -> bool {
        self.state(py).input.room() > 0
    }

    /// The items of a span.
    pub(in crate::pool) fn items(&self, py: Python<'_>, span: Span) -> SpanItems {
        self.state(py).input.items(py, span)
    }

    /// Pulls as many items as there is room for, if the source is an iterator. Returns whether there is something to
    /// send.
    pub(in crate::pool) fn refill(&self, py: Python<'_>) -> bool {
        let iterator = {
            let state = self.state(py);
            match &state.input.source {
                Source::Builtin(iterator) if !state.tasks.pending.has_some() => iterator.clone_ref(py),
                _ => return state.tasks.pending.has_some(),
            }
        };
        let mut iterator = iterator.into_bound(py);
        let room = self.state(py).input.room();
        for _ in 0..room.min(1024) {
            match iterator.next() {
                Some(Ok(item)) => self.push(py, item.unbind()),
                Some(Err(e)) => {
                    self.close_input(py, Some(e.into_value(py).into_any()));
                    break;
                }
                None => {
                    self.close_input(py, None);
                    break;
                }
            }
        }
        self.state(py).tasks.pending.has_some()
    }
    /// Adds an item to an imap.
    pub(super) fn push(&self, py: Python<'_>, item: Py<PyAny>) {
        let state = &mut *self.state(py);
        state.input.push(&mut state.tasks, item);
    }

    /// Marks the input as exhausted. An error of the input takes its place after the last whole chunk.
    pub(super) fn close_input(&self, py: Python<'_>, error: Option<Py<PyAny>>) {
        let mut guard = self.state(py);
        let state = &mut *guard;
        let dropped = state.input.close(&mut state.tasks, error.is_some());
        let surplus = error.and_then(|error| {
            self.completion.finish();
            state.results.put_input_error(error)
        });
        drop(guard);
        drop((dropped, surplus));
    }

    /// Lifts the limit on how far the input is pulled ahead.
    pub(in crate::pool) fn lift(&self, py: Python<'_>) {
        {
            let mut state = self.state(py);
            state.input.window = None;
            state.is_held &= !self.is_iterated();
        }
        self.room.notify_all(Scope::Private);
    }

    /// Withdraws all tasks that were not sent.
    pub(in crate::pool) fn clear(&self, py: Python<'_>) -> Cleared {
        let cleared = {
            let mut state = self.state(py);
            state.tasks.pending.clear();
            state.input.clear(py)
        };
        self.room.notify_all(Scope::Private);
        cleared
    }
}
