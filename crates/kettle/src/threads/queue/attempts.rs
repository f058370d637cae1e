//! Putting and taking as often as it takes: the queue of the core says "not now", and here one waits for its sign.

use std::convert::Infallible;

use kettle_core::queue::local::{Judge, LocalQueue, Place, Refused, Sign};
use kettle_core::wait::Patience;

use crate::error::OutOfMemory;
use crate::queue::{GetError, PutError};

/// What can be refused, when no comparison is ever left open and nothing ever moves out.
enum Refusal {
    NotNow,
    ShutDown,
    OutOfMemory,
}

impl From<Refused<Infallible>> for Refusal {
    fn from(refused: Refused<Infallible>) -> Self {
        match refused {
            Refused::NotNow => Self::NotNow,
            Refused::ShutDown => Self::ShutDown,
            Refused::OutOfMemory => Self::OutOfMemory,
            Refused::MovedOut => unreachable!("the caller did not ask for that"),
            Refused::Compare(never) => match never {},
        }
    }
}

/// Makes attempts until one is not refused for now, or `patience` is over.
pub(super) fn insist<T, R>(
    queue: &LocalQueue<T>,
    sign: Sign,
    patience: &Patience<'_>,
    mut attempt: impl FnMut(Option<&Place<'_, T>>) -> Option<R>,
) -> Option<R> {
    if !patience.may_wait() {
        return None;
    }
    let patience = patience.among_threads(true);
    let place = queue.line((), sign);
    loop {
        if let Some(result) = attempt(Some(&place)) {
            return Some(result);
        }
        // Where it often looks worth a try, and another is always quicker, no sleep is ever too long.
        if patience.deadline().is_past() || !place.waiting().spin() && place.waiting().sleep(&patience).is_err() {
            return attempt(Some(&place));
        }
    }
}

/// Puts `item`, waiting for room as long as `patience` allows.
pub(super) fn put<T>(
    queue: &LocalQueue<T>,
    item: T,
    mut judge: impl Judge<T, Question = Infallible>,
    patience: &Patience<'_>,
) -> Result<(), PutError<T>> {
    let mut in_hand = Some(item);
    let mut attempt = |place: Option<&Place<'_, T>>| {
        let item = in_hand.take()?;
        let result = match place {
            None if patience.may_wait() => queue.put_unreserved((), item, &mut judge),
            None => queue.put_now((), item, &mut judge),
            Some(place) => place.put(item, &mut judge),
        };
        let Err((item, refused)) = result else { return Some(Ok(())) };
        match refused.into() {
            Refusal::ShutDown => Some(Err(PutError::ShutDown(item))),
            Refusal::OutOfMemory => {
                Some(Err(PutError::OutOfMemory(item, OutOfMemory::new("there is no memory for one more item"))))
            }
            Refusal::NotNow => {
                in_hand = Some(item);
                None
            }
        }
    };
    let result = match attempt(None) {
        None => insist(queue, Sign::Room, patience, &mut attempt),
        result => result,
    };
    match (result, in_hand) {
        (None, Some(item)) => Err(PutError::Full(item)),
        (result, _) => result.unwrap_or(Ok(())),
    }
}

/// Takes the next item, waiting for one as long as `patience` allows.
pub(super) fn get<T>(
    queue: &LocalQueue<T>,
    mut judge: impl Judge<T, Question = Infallible>,
    patience: &Patience<'_>,
) -> Result<T, GetError> {
    let mut attempt = |place: Option<&Place<'_, T>>| {
        let taken = match place {
            None if patience.may_wait() => queue.take_unreserved((), &mut judge),
            None => queue.take_now((), &mut judge),
            Some(place) => place.take(&mut judge),
        };
        match taken.map_err(Refusal::from) {
            Ok(item) => Some(Ok(item)),
            Err(Refusal::ShutDown) => Some(Err(GetError::ShutDown)),
            // To take one needs no memory.
            Err(Refusal::NotNow | Refusal::OutOfMemory) => None,
        }
    };
    match attempt(None) {
        None => insist(queue, Sign::Item, patience, attempt).unwrap_or(Err(GetError::Empty)),
        Some(result) => result,
    }
}
