//! All objects of a session, in order.

use crate::arena::allocator::slab;
use crate::arena::error::ArenaError;
use crate::arena::layout::header::Header;
use crate::arena::layout::object_header::ObjectHeader;
use crate::arena::layout::offset::Off;
use crate::arena::layout::page_map::Kind;
use crate::arena::objects::raw;
use crate::arena::pages;

/// Visits all objects, including free ones.
pub(in crate::arena) fn for_each_object(
    header: &Header,
    mut look: impl FnMut(Off, &'static ObjectHeader) -> Result<(), ArenaError>,
) -> Result<(), ArenaError> {
    pages::walk(header, |at, run| match run.kind {
        Kind::Object => look(at, raw::header_at(at)?),
        Kind::Slab => {
            let mut r = Ok(());
            slab::for_each_small(at, run.class, |off, object| {
                if r.is_ok() {
                    r = look(off, object);
                }
            })?;
            r
        }
        Kind::Warm | Kind::Cold | Kind::Map => Ok(()),
    })
}
