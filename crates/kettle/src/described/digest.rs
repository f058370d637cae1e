//! What two descriptions of one value have in common: sets and maps may be written in another order each time.

use std::hash::{DefaultHasher, Hasher};

use super::decode::Input;
use super::format as tag;
use crate::codec::Error;

/// A hash of the value with these bytes, for which the order in a sequence or a map does not matter. What was read from
/// a sequence is in its order if that matters; so this is not looked at.
pub(super) fn of(bytes: &[u8]) -> Option<u64> {
    value(&mut Input(bytes)).ok()
}

/// It was [written](super::encode), so it is not nested deeper than that allows.
fn value(input: &mut Input<'_>) -> Result<u64, Error> {
    let mut hash = DefaultHasher::new();
    let tag = input.tag()?;
    hash.write_u8(tag);
    match tag {
        tag::STR | tag::BYTES | tag::UNIT_VARIANT => hash.write(input.sized()?),
        tag::SOME => hash.write_u64(value(input)?),
        tag::VARIANT => {
            hash.write(input.sized()?);
            hash.write_u64(value(input)?);
        }
        tag::TUPLE => {
            while input.peek()? != tag::END {
                hash.write_u64(value(input)?);
            }
            input.tag()?;
        }
        tag::SEQ => {
            let mut sum = 0u64;
            while input.peek()? != tag::END {
                sum = sum.wrapping_add(value(input)?);
            }
            input.tag()?;
            hash.write_u64(sum);
        }
        tag::MAP => {
            let mut sum = 0u64;
            while input.peek()? != tag::END {
                let mut entry = DefaultHasher::new();
                entry.write_u64(value(input)?);
                entry.write_u64(value(input)?);
                sum = sum.wrapping_add(entry.finish());
            }
            input.tag()?;
            hash.write_u64(sum);
        }
        tag => hash.write(input.take(tag::width(tag).unwrap_or(0))?),
    }
    Ok(hash.finish())
}
