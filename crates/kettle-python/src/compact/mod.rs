//! Small messages made of nothing but plain builtins, without pickle.
//!
//! | file | what it is |
//! |---|---|
//! | `encode` | an object to bytes in one pass, or the word that pickle has to do it |
//! | `seen` | which objects of a message were met, and where |
//! | `decode` | bytes to an object: a stack and a loop |
//! | `keys` | keys of dicts, which come again with the next message |
//!
//! # The format
//!
//! A message is a program for a machine with a stack. Containers come after what they hold, so that whoever reads need
//! not recurse. Each step is one byte and its operand, in the byte order of the machine, which no message leaves:
//!
//! | step | operand | what it does |
//! |---|---|---|
//! | `NONE`, `TRUE`, `FALSE` | – | pushes it |
//! | `INT_1`, `INT_4`, `INT_8`, `INT_16` | a signed number of so many bytes | pushes an int |
//! | `FLOAT` | eight bytes | pushes a float, bit for bit |
//! | `BYTES_1`, `BYTES_4` | their number, then the bytes | pushes bytes |
//! | `STR_1`, `STR_4` | the number of bytes, then UTF-8 | pushes a str |
//! | `KEY` | as `STR_1`, of a few bytes | pushes a str that is the key of a dict: it was perhaps met before |
//! | `TUPLE_1`, `TUPLE_4`, `LIST_1`, `LIST_4` | n | takes n objects, pushes what holds them |
//! | `DICT_1`, `DICT_4` | n | takes n pairs of key and value, pushes the dict |
//! | `SAME` | where in the message a step stands | pushes once more what that step pushed |
//! | `END` | – | the one object that is left is the message; nothing comes after |
//!
//! A step whose object a later `SAME` asks for has the bit `REMEMBERED`.
//!
//! # Why it is faithful
//!
//! What arrives is what would have arrived through pickle.
//!
//! - Exact types only. A subclass, a set, an instance, a function anywhere inside: the message is left to pickle. So is
//!   a str that has no UTF-8, an int beyond 128 bits, what is nested too deep or is too long.
//! - No reducer is passed over. The interpreter's pickler too looks at the types above before it asks anybody.
//! - Identity. Of str, bytes and containers each is written once, however often it is met; so a list that stands in two
//!   places stays one list. A container that holds itself is left to pickle. Of two equal keys of dicts one may arrive
//!   for both, which only `is` can tell.
//! - Order. A dict is written, and filled, in its own order.
//! - Nothing can change in between. Encoding neither makes an object that the garbage collector knows nor lets go of
//!   the interpreter, so no other code runs, and the address of an object that was met remains its own. An exception is
//!   such an object, so none is raised either but to end the attempt: Python 3.11 begins a collection, and with it
//!   finalizers, wherever one is made. Where there is no such lock to hold (`Py_GIL_DISABLED`) all is left to pickle.

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

/// A later step asks for what this one pushes.
const REMEMBERED: u8 = 0x80;

/// A message has at most about so many bytes: the last step may go beyond.
const LEN_MAX: usize = 64 * 1024;

/// Containers stand in each other so deep at most.
const DEPTH_MAX: usize = 32;

/// A key of more bytes than this is not looked for among those of other messages.
const KEY_MAX: usize = 23;
