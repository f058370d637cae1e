//! How large the arena may become.

use std::env;

use super::error::ArenaError;

const VARIABLE: &str = "KETTLE_ARENA_LIMIT";

/// The limit that the environment sets, in bytes; 0: none.
pub(super) fn from_environment() -> Result<u64, ArenaError> {
    match env::var_os(VARIABLE) {
        None => Ok(0),
        Some(text) if text.is_empty() => Ok(0),
        Some(text) => {
            let text = text.to_string_lossy();
            parse(&text).ok_or_else(|| ArenaError::BadLimit(text.into_owned()))
        }
    }
}

/// Reads `512M` and the like: a number, and K, M, G or T in either case, for powers of 1024.
fn parse(text: &str) -> Option<u64> {
    let text = text.trim();
    let text = text.strip_suffix(['b', 'B']).unwrap_or(text);
    let (digits, shift) = match text.char_indices().last()? {
        (at, 'k' | 'K') => (&text[..at], 10),
        (at, 'm' | 'M') => (&text[..at], 20),
        (at, 'g' | 'G') => (&text[..at], 30),
        (at, 't' | 'T') => (&text[..at], 40),
        _ => (text, 0),
    };
    digits.trim().parse::<u64>().ok()?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn sizes() {
        assert_eq!(parse("4096"), Some(4096));
        assert_eq!(parse(" 2k"), Some(2048));
        assert_eq!(parse("3MB"), Some(3 << 20));
        assert_eq!(parse("1 G"), Some(1 << 30));
        for bad in ["", "M", "-1", "1.5G", "12Q", "99999999999T"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
