//! Data that may stand in shared memory.

use bytemuck::{CheckedBitPattern, NoUninit};

/// Plain data: copied byte by byte, without pointers, so that it means the same in every process.
///
/// Numbers, `bool`, `char`, `()`, arrays of these, and the program's own types that derive
/// [`bytemuck`](https://docs.rs/bytemuck)'s `Pod`, or its `NoUninit` and `CheckedBitPattern`. Nothing else needs to be
/// done:
///
/// ```
/// use bytemuck::{Pod, Zeroable};
///
/// #[derive(Clone, Copy, Pod, Zeroable)]
/// #[repr(C)]
/// struct Account {
///     balance: i64,
///     transactions: u64,
/// }
///
/// let account = kettle::Lock::new(Account { balance: 100, transactions: 0 })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Plain: NoUninit + CheckedBitPattern {}

impl<T: NoUninit + CheckedBitPattern> Plain for T {}

/// A number of at most eight bytes, for [`Value`](crate::Value) and [`Array`](crate::Array).
pub trait Number: bytemuck::Pod + PartialEq + PartialOrd + sealed::Number {}

pub(crate) mod sealed {
    /// How a number stands in a word, and how it is counted up and down.
    pub trait Number {
        fn to_word(self) -> u64;
        fn from_word(word: u64) -> Self;
        fn plus(self, other: Self) -> Self;
        fn minus(self, other: Self) -> Self;
    }
}

macro_rules! numbers {
    ($($number:ident, $bits:ident, $to:expr, $from:expr, $plus:expr, $minus:expr);+ $(;)?) => {$(
        impl sealed::Number for $number {
            fn to_word(self) -> u64 {
                let bits: $bits = $to(self);
                u64::from(bits)
            }
            fn from_word(word: u64) -> Self {
                $from(word as $bits)
            }
            fn plus(self, other: Self) -> Self {
                $plus(self, other)
            }
            fn minus(self, other: Self) -> Self {
                $minus(self, other)
            }
        }
        impl Number for $number {}
    )+};
}

macro_rules! integers {
    ($($integer:ident as $bits:ident),+) => {
        numbers! {$(
            $integer, $bits, |n: $integer| n as $bits, |b: $bits| b as $integer,
            $integer::wrapping_add, $integer::wrapping_sub;
        )+}
    };
}

#[cfg(target_pointer_width = "64")]
integers!(usize as u64, isize as u64);
#[cfg(target_pointer_width = "32")]
integers!(usize as u32, isize as u32);

integers!(u8 as u8, u16 as u16, u32 as u32, u64 as u64, i8 as u8, i16 as u16, i32 as u32, i64 as u64);

numbers! {
    f32, u32, f32::to_bits, f32::from_bits, |a, b| a + b, |a, b| a - b;
    f64, u64, f64::to_bits, f64::from_bits, |a, b| a + b, |a, b| a - b;
}
