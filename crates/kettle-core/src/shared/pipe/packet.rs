//! What stands in a packet.
//!
//! ```text
//! inline     [ 1 | tag | bytes … ]
//! announced  [ 2 | 0 | 0 0 | number in the queue: 32 | bytes sent so far, with these: 64 ]
//! ```

/// The longest message that travels in its packet.
pub const IN_PACKET: usize = 16 * 1024;
/// Where the bytes begin in an inline packet.
pub const PACKET_HEADER: usize = 2;

pub(super) const INLINE: u8 = 1;
pub(super) const ANNOUNCED: u8 = 2;
pub(super) const ANNOUNCEMENT: usize = 16;

pub(super) fn announcement(number: u32, sum: u64) -> [u8; ANNOUNCEMENT] {
    let mut packet = [0; ANNOUNCEMENT];
    packet[0] = ANNOUNCED;
    packet[4..8].copy_from_slice(&number.to_ne_bytes());
    packet[8..].copy_from_slice(&sum.to_ne_bytes());
    packet
}

/// The number and the sum of an announcement.
pub(super) fn announced(packet: &[u8]) -> (u32, u64) {
    let number = core::array::from_fn(|i| packet[4 + i]);
    let sum = core::array::from_fn(|i| packet[8 + i]);
    (u32::from_ne_bytes(number), u64::from_ne_bytes(sum))
}
