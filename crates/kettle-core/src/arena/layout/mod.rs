//! What shared memory consists of: words and bits, without behaviour. All processes of a session must agree on it.

pub(crate) mod bins;
pub(crate) mod header;
pub(crate) mod object_header;
pub(crate) mod offset;
pub(crate) mod page_map;
pub(crate) mod participant;
pub(crate) mod participant_rows;
pub(crate) mod size_classes;
pub(crate) mod wait_rows;
