//! Encoding of small messages that consist of plain builtins only, without pickle.
//!
//! | file | what it is |
//! |---|---|
//! | `encode` | an object to bytes in one pass, or the answer that pickle has to do it |
//! | `seen` | which objects of a message were met, and where |
//! | `decode` | bytes to an object: a stack and a loop |
//! | `keys` | keys of dicts, which recur in later messages |
//!
//! # The format
//!
//! A message is a program for a stack machine. Containers come after their contents, so that the decoder need not
//! recurse. Each step is one byte and its operand, in the native byte order, since messages never leave the machine:
//!
//! | step | operand | what it does |
//! |---|---|---|
//! | `NONE`, `TRUE`, `FALSE` | – | pushes it |
//! | `INT_1`, `INT_4`, `INT_8`, `INT_16` | a signed number of this many bytes | pushes an int |
//! | `FLOAT` | eight bytes | pushes a float, bit for bit |
//! | `BYTES_1`, `BYTES_4` | their number, then the bytes | pushes bytes |
//! | `STR_1`, `STR_4` | the number of bytes, then UTF-8 | pushes a str |
//! | `KEY` | as `STR_1`, of a few bytes | pushes a str, a key of a dict that may be known already |
//! | `TUPLE_1`, `TUPLE_4`, `LIST_1`, `LIST_4` | n | pops n objects, pushes their container |
//! | `DICT_1`, `DICT_4` | n | pops n pairs of key and value, pushes the dict |
//! | `SAME` | the position of a step in the message | pushes once more what that step pushed |
//! | `END` | – | the one object that is left is the message; nothing follows |
//!
//! A step whose object is used by a later `SAME` has the bit `REMEMBERED`.
//!
//! # Why it is faithful
//!
//! The receiver gets what it would have got through pickle.
//!
//! - Exact types only. A subclass, a set, an instance or a function anywhere inside leaves the message to pickle. So
//!   does a str that has no UTF-8 encoding, an int beyond 128 bits, and anything nested too deeply or too long.
//! - No reducer is bypassed. The interpreter's pickler, too, checks for the types above before it consults any reducer.
//! - Identity. Each str, bytes object and container is written once, however often it is met; so a list that is in two
//!   places remains one list. A container that contains itself is left to pickle. For two equal keys of dicts the same
//!   object may arrive, which only `is` can tell.
//! - Order. A dict is written, and filled, in its own order.
//! - Nothing can change in between. Encoding neither creates an object that the garbage collector tracks nor releases
//!   the interpreter, so no other code runs, and the address of an object that was met remains its own. An exception is
//!   such an object, so none is raised except to end the attempt: Python 3.11 starts a collection, and with it
//!   finalizers, wherever one is created. Where there is no GIL (`Py_GIL_DISABLED`), everything is left to pickle.

mod decode;
mod encode;
mod keys;
mod seen;

pub(crate) use decode::decode;
pub(crate) use encode::{Compact, encode};

const NONE: u8 = 0;
const TRUE: u8 = 1;
const FALSE: u8 = 2;
const INT_1: u8 = 3;
const INT_4: u8 = 4;
const INT_8: u8 = 5;
const INT_16: u8 = 6;
const FLOAT: u8 = 7;
const BYTES_1: u8 = 8;
const BYTES_4: u8 = 9;
const STR_1: u8 = 10;
const STR_4: u8 = 11;
const KEY: u8 = 12;
const TUPLE_1: u8 = 13;
const TUPLE_4: u8 = 14;
const LIST_1: u8 = 15;
const LIST_4: u8 = 16;
const DICT_1: u8 = 17;
const DICT_4: u8 = 18;
const SAME: u8 = 19;
const END: u8 = 20;

/// A later step uses what this one pushes.
const REMEMBERED: u8 = 0x80;

/// The approximate maximum number of bytes in a message: the last step may exceed it.
const LEN_MAX: usize = 64 * 1024;

/// The maximum nesting depth of containers.
const DEPTH_MAX: usize = 32;

/// The longest key, in bytes, that is looked up among those of other messages.
const KEY_MAX: usize = 23;
