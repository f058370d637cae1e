//! What both ends of a channel consist of.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::end::End;
use crate::queue::Queue;

/// The queue, and a place among the ends of one kind.
pub(super) struct Half<T> {
    queue: Queue<T>,
    /// None: it is being dropped.
    end: Option<End>,
}

impl<T> Half<T> {
    pub(super) fn new(queue: Queue<T>, end: End) -> Self {
        Self { queue, end: Some(end) }
    }

    pub(super) fn queue(&self) -> &Queue<T> {
        &self.queue
    }

    /// Whether there are no ends of the other kind.
    pub(super) fn is_alone(&self) -> bool {
        self.end.as_ref().is_some_and(|end| end.theirs().is_gone())
    }

    /// Leaves the ends of its kind. Returns whether it was the last one.
    pub(super) fn leave(&mut self) -> bool {
        let Some(end) = self.end.take() else { return false };
        let ours = end.ours();
        drop(end);
        ours.is_gone()
    }
}

impl<T> Clone for Half<T> {
    fn clone(&self) -> Self {
        Self { queue: self.queue.clone(), end: self.end.clone() }
    }
}

impl<T> Serialize for Half<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (&self.queue, &self.end).serialize(serializer)
    }
}

impl<'de, T> Deserialize<'de> for Half<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (queue, end) = Deserialize::deserialize(deserializer)?;
        Ok(Self { queue, end })
    }
}
