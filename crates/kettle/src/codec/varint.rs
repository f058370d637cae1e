//! Numbers of as many bytes as they need: seven bits a byte, the lowest first; the top bit says that more follow.
//!
//! Up to eight of the bytes are made, and read, as one word, which stands in a message little-endian.

/// How many bytes a number has at most.
pub(super) const LEN_MAX: usize = 10;

/// So many bits are in four bytes.
pub(super) const SHORT_BITS: u32 = 28;

/// So many bits are in the bytes of a word.
pub(super) const WORD_BITS: u32 = 56;

/// The top bits of the bytes of a word.
const TOPS: u64 = 0x8080_8080_8080_8080;

/// The word of a number of three or four bytes, and how many they are.
#[inline]
pub(super) fn spread_short(number: u32) -> (u32, usize) {
    debug_assert!(number >= 1 << 14 && number >> SHORT_BITS == 0);
    let has_fourth = number >> 21 != 0;
    let bytes = number & 0x7f | (number & 0x3f80) << 1 | (number & 0x1f_c000) << 2 | (number & 0xfe0_0000) << 3;
    (bytes | 0x8080 | u32::from(has_fourth) << 23, 3 + usize::from(has_fourth))
}

/// The word of a number of five to eight bytes, and how many they are.
#[inline]
pub(super) fn spread(number: u64) -> (u64, usize) {
    debug_assert!(number >> SHORT_BITS != 0 && number >> WORD_BITS == 0);
    let bits = 64 - number.leading_zeros();
    // Divides by seven, rounding up.
    let len = (bits * 9 + 64) >> 6;
    (stretch(number) | TOPS >> (72 - 8 * len), len as usize)
}

/// The word of the lowest bits of a number that has more.
#[inline]
pub(super) fn spread_lowest(number: u64) -> u64 {
    stretch(number) | TOPS
}

/// The number whose bytes begin this word, and how many they are; 0: they do not end in it.
#[inline]
pub(super) fn gather(word: u64) -> (u64, usize) {
    let ends = !word & TOPS;
    if ends == 0 {
        return (0, 0);
    }
    // All bits up to the first end.
    let bytes = word & (ends ^ (ends - 1));
    (shrink(bytes), ends.trailing_zeros() as usize / 8 + 1)
}

/// The lowest bits of a number whose bytes do not end in this word.
#[inline]
pub(super) fn gather_lowest(word: u64) -> u64 {
    shrink(word)
}

/// Sevens of bits to bytes.
#[inline]
fn stretch(number: u64) -> u64 {
    let halves = number & 0x0fff_ffff | (number & 0x00ff_ffff_f000_0000) << 4;
    let quarters = halves & 0x0000_3fff_0000_3fff | (halves & 0x0fff_c000_0fff_c000) << 2;
    quarters & 0x007f_007f_007f_007f | (quarters & 0x3f80_3f80_3f80_3f80) << 1
}

/// Bytes to sevens of bits.
#[inline]
fn shrink(bytes: u64) -> u64 {
    let quarters = bytes & 0x007f_007f_007f_007f | (bytes & 0x7f00_7f00_7f00_7f00) >> 1;
    let halves = quarters & 0x0000_3fff_0000_3fff | (quarters & 0x3fff_0000_3fff_0000) >> 2;
    halves & 0x0fff_ffff | (halves & 0x0fff_ffff_0000_0000) >> 4
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the format is described.
    fn plain(mut number: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        while number >= 0x80 {
            bytes.push(number as u8 | 0x80);
            number >>= 7;
        }
        bytes.push(number as u8);
        bytes
    }

    /// Numbers of every length, and some of the shorter ones.
    fn numbers() -> impl Iterator<Item = u64> {
        let edges = (0..64).flat_map(|bit| [(1 << bit) - 1, 1 << bit, u64::MAX >> bit]);
        edges.chain((0..70_000).map(|n| n * n * n))
    }

    #[test]
    fn every_number_is_made_and_read_as_it_is_described() {
        for number in numbers().filter(|n| n >> WORD_BITS == 0) {
            let mut bytes = plain(number);
            let len = bytes.len();
            bytes.resize(8, 0);
            let word = u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
            match len {
                0..=2 => {}
                3 | 4 => assert_eq!(spread_short(number as u32), (word as u32, len), "{number}"),
                _ => assert_eq!(spread(number), (word, len), "{number}"),
            }
            // Whatever stands behind it.
            for behind in [0, u64::MAX] {
                let read = word | behind.checked_shl(8 * len as u32).unwrap_or(0);
                assert_eq!(gather(read), (number, len), "{number}");
            }
        }
    }

    #[test]
    fn the_lowest_bits_of_a_longer_number_are_made_and_read_as_they_are_described() {
        for number in numbers().filter(|n| n >> WORD_BITS != 0) {
            let word = u64::from_le_bytes(*plain(number).first_chunk().expect("eight bytes"));
            assert_eq!(spread_lowest(number), word, "{number}");
            assert_eq!(gather(word), (0, 0), "{number}");
            assert_eq!(gather_lowest(word), number & ((1 << WORD_BITS) - 1), "{number}");
        }
    }
}
