//! The value that a lock contains: it follows the lock's body in shared memory, and is read and written as a whole.

use bytemuck::checked;
use kettle_core::arena::{Body, Handle};
use kettle_core::damage::{self, What};
use kettle_core::shared::cell;
use kettle_core::sys::futex::Scope;

use crate::error::OutOfMemory;
use crate::plain::Plain;
use crate::session;

/// Creates a body that contains `value`.
///
/// # Errors
/// If there is no shared memory.
pub(super) fn create<B: Body, T: Plain>(body: impl FnOnce() -> B, value: &T) -> Result<Handle<B>, OutOfMemory> {
    session::join()?;
    let body = cell::with_data(size_of::<T>(), body)?;
    store(&body, value);
    Ok(body)
}

/// Checks that what the body contains is as long as a `T`.
pub(super) fn check<B: Body, T: Plain>(body: &Handle<B>) -> Result<(), &'static str> {
    check_len(body, size_of::<T>())
}

/// Checks that the body contains so many bytes.
pub(super) fn check_len<B: Body>(body: &Handle<B>, len: usize) -> Result<(), &'static str> {
    let there = size_of_val(cell::words(body));
    if there == cell::tail_for(len) { Ok(()) } else { Err("this is a lock around something else") }
}

pub(super) fn store<B: Body, T: Plain>(body: &Handle<B>, value: &T) {
    store_at(body, 0, value);
}

/// As [`store`], after so many bytes of something else.
pub(super) fn store_at<B: Body, T: Plain>(body: &Handle<B>, at: usize, value: &T) {
    cell::store(cell::words(body), at, bytemuck::bytes_of(value));
}

/// Returns the value. If these bytes are not a `T`, marks the session as damaged and returns None. Only whole words are
/// ever stored, so no field is half written, even by a process that was killed: the bytes then come from a stray write.
pub(super) fn load<B: Body, T: Plain>(body: &Handle<B>) -> Option<T> {
    load_at(body, 0)
}

/// As [`load`], after so many bytes of something else.
pub(super) fn load_at<B: Body, T: Plain>(body: &Handle<B>, at: usize) -> Option<T> {
    let value = with_buffer(size_of::<T>(), |bytes| {
        cell::load(cell::words(body), at, bytes);
        checked::try_pod_read_unaligned(bytes).ok()
    });
    if value.is_none() {
        damage::mark(Scope::Shared, What::Object, body.off().to_bits(), 0);
    }
    value
}

/// Gives `f` as many bytes: from the stack if they are few, as they are in nearly all cases.
fn with_buffer<R>(len: usize, f: impl FnOnce(&mut [u8]) -> R) -> R {
    let mut few = [0; 256];
    match few.get_mut(..len) {
        Some(bytes) => f(bytes),
        None => f(&mut vec![0; len]),
    }
}
