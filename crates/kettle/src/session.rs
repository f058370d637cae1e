//! Taking part in the session.

use std::sync::Once;

use kettle_core::arena::Session;
use kettle_core::{shared, wait};

use crate::error::OutOfMemory;

/// Before anything is placed in the arena: begins the session of this process, if it does not belong to one.
pub(crate) fn join() -> Result<Session, OutOfMemory> {
    static READY: Once = Once::new();
    // The census must be known before anything is placed.
    READY.call_once(shared::init);
    let session = Session::get().map_err(OutOfMemory::from)?;
    wait::set_namespace(session.id());
    Ok(session)
}
