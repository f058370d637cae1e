//! How much one message may have.

/// The maximum number of bytes stored in the queue itself; larger bodies need a block of their own.
pub const INLINE_MAX: usize = 2048;

/// The maximum number of additional blocks of a message.
pub const PARTS_MAX: usize = 64;
