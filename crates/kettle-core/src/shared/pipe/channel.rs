//! One end's part of a pipe in the arena, and how it is sent to other processes.

use super::lane::{Lane, Lanes};
use crate::arena::{Handle, Token, TokenError, Way};
use crate::queue::Queue;

/// What one end of a pipe knows about the arena: both directions, and which of them it sends in.
#[derive(Clone, Debug)]
pub struct Channel {
    pub(super) lanes: Handle<Lanes>,
    /// What end 0 sends, and what end 1 sends.
    pub(super) queues: [Handle<Queue>; 2],
    pub(super) end: usize,
}

impl Channel {
    /// The length of [`tokens`](Self::tokens).
    pub const TOKENS: usize = 3 * Token::LEN + 1;

    /// The tokens from which another process can rebuild this end, for transport by `way`.
    pub fn tokens(&self, way: Way) -> [u8; Self::TOKENS] {
        let [first, second] = &self.queues;
        let tokens = [self.lanes.token_by(way), first.token_by(way), second.token_by(way)];
        let mut bytes = [self.end as u8; Self::TOKENS];
        for (to, token) in bytes.chunks_exact_mut(Token::LEN).zip(tokens) {
            to.copy_from_slice(&token.to_bytes());
        }
        bytes
    }

    /// Rebuilds an end from its [`tokens`](Self::tokens).
    ///
    /// # Errors
    /// If they come from another session, or their objects no longer exist.
    pub fn from_tokens(bytes: &[u8]) -> Result<Self, TokenError> {
        let token = |i: usize| {
            let at = bytes.get(i * Token::LEN..).and_then(<[u8]>::first_chunk).ok_or(TokenError::Malformed)?;
            Ok::<_, TokenError>(Token::from_bytes(at))
        };
        let end = match bytes.get(3 * Token::LEN..) {
            Some(&[end @ (0 | 1)]) => end as usize,
            _ => return Err(TokenError::Malformed),
        };
        Ok(Self {
            lanes: Handle::from_token(&token(0)?)?,
            queues: [Handle::from_token(&token(1)?)?, Handle::from_token(&token(2)?)?],
            end,
        })
    }

    /// The number of bytes that this end has sent through the arena and that have not been received yet.
    pub fn on_their_way(&self) -> u64 {
        self.lanes.0[self.end].on_their_way()
    }

    pub(super) fn outward(&self) -> (&Lane, &Handle<Queue>) {
        (&self.lanes.0[self.end], &self.queues[self.end])
    }

    pub(super) fn inward(&self) -> (&Lane, &Handle<Queue>) {
        (&self.lanes.0[1 - self.end], &self.queues[1 - self.end])
    }
}
