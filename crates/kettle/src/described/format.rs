//! What stands in front of each part of a described value.
//!
//! | | |
//! |---|---|
//! | numbers | their bytes, little-endian |
//! | strings, bytes | their length, in groups of seven bits, then they |
//! | `SOME` | the value |
//! | `SEQ`, `TUPLE` | the elements, then `END` |
//! | `MAP` | keys and values in turn, then `END`; the keys of a struct are the names of its fields |
//! | `UNIT_VARIANT` | its name, as a string without a tag |
//! | `VARIANT` | its name likewise, then what it has: a value, a tuple or a map |

macro_rules! tags {
    ($($name:ident = $number:literal),+ $(,)?) => {
        $(pub(super) const $name: u8 = $number;)+
    };
}

tags! {
    UNIT = 0,
    FALSE = 1,
    TRUE = 2,
    U8 = 3,
    U16 = 4,
    U32 = 5,
    U64 = 6,
    U128 = 7,
    I8 = 8,
    I16 = 9,
    I32 = 10,
    I64 = 11,
    I128 = 12,
    F32 = 13,
    F64 = 14,
    CHAR = 15,
    STR = 16,
    BYTES = 17,
    NONE = 18,
    SOME = 19,
    SEQ = 20,
    TUPLE = 21,
    MAP = 22,
    UNIT_VARIANT = 23,
    VARIANT = 24,
    END = 25,
}

/// How many bytes of a number stand behind this tag; none: it is not that of a number.
pub(super) fn width(tag: u8) -> Option<usize> {
    match tag {
        U8 | I8 => Some(1),
        U16 | I16 => Some(2),
        U32 | I32 | F32 | CHAR => Some(4),
        U64 | I64 | F64 => Some(8),
        U128 | I128 => Some(16),
        _ => None,
    }
}
