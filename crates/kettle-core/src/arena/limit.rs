//! The maximum size of the arena.
//!
//! The arena's memory is attributed to no process, so when the machine runs out of memory, the kernel kills whichever
//! process is large, which frees nothing here. Therefore an arena has a limit, like `/dev/shm`: half of the memory.

use std::env;

use crate::sys::limits;

use crate::arena::error::ArenaError;

const VARIABLE: &str = "KETTLE_ARENA_LIMIT";

/// The limit that the environment sets, in bytes, or otherwise half of the available memory; None means no limit.
pub(in crate::arena) fn from_environment() -> Result<Option<u64>, ArenaError> {
    match env::var_os(VARIABLE) {
        Some(text) if !text.is_empty() => {
            let text = text.to_string_lossy();
            parse(&text).ok_or_else(|| ArenaError::BadLimit(text.into_owned()))
        }
        _ => Ok(limits::total().map(|bytes| bytes / 2)),
    }
}

/// Parses sizes such as `512M` (a number and optionally K, M, G or T in either case, for powers of 1024), or `none`. A
/// limit of 0 bytes is useless, and is rejected because some would use it to mean no limit.
fn parse(text: &str) -> Option<Option<u64>> {
    let text = text.trim();
    if text.eq_ignore_ascii_case("none") {
        return Some(None);
    }
    let text = text.strip_suffix(['b', 'B']).unwrap_or(text);
    let (digits, shift) = match text.char_indices().last()? {
        (at, 'k' | 'K') => (&text[..at], 10),
        (at, 'm' | 'M') => (&text[..at], 20),
        (at, 'g' | 'G') => (&text[..at], 30),
        (at, 't' | 'T') => (&text[..at], 40),
        _ => (text, 0),
    };
    digits.trim().parse::<u64>().ok()?.checked_mul(1 << shift).filter(|&bytes| bytes != 0).map(Some)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn sizes() {
        assert_eq!(parse("4096"), Some(Some(4096)));
        assert_eq!(parse(" 2k"), Some(Some(2048)));
        assert_eq!(parse("3MB"), Some(Some(3 << 20)));
        assert_eq!(parse("1 G"), Some(Some(1 << 30)));
        for none in ["none", "None", " NONE "] {
            assert_eq!(parse(none), Some(None), "{none}");
        }
        for bad in ["", "M", "-1", "0", "0G", "1.5G", "12Q", "99999999999T", "nonesuch"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
