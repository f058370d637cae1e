//! What shared memory consists of: words and bits, without behaviour. All processes of a session must agree on it.

pub(super) mod bins;
pub(super) mod header;
pub(super) mod object_header;
pub(super) mod offset;
pub(super) mod page_map;
pub(super) mod participant;
pub(super) mod participant_rows;
pub(super) mod size_classes;
pub(super) mod wait_rows;
