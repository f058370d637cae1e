//! What makes an end of a channel one, and how the other kind of ends is watched.

use kettle_core::arena::{Handle, Token, Way};
use kettle_core::sync;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::codec;
use crate::error::OutOfMemory;

/// All ends of one kind hold one body, so that the arena, which knows who holds what and who lives, knows whether there
/// are any. Of the other kind they know the name, which holds nothing.
#[derive(Clone, Debug)]
pub(super) struct End {
    ours: Handle<sync::Event>,
    theirs: Token,
}

/// The name of the ends of one kind, to look whether there are any.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kind(Token);

impl End {
    /// One of each kind.
    pub(super) fn pair() -> Result<(Self, Self), OutOfMemory> {
        let [a, b] = [Handle::new(sync::Event::new)?, Handle::new(sync::Event::new)?];
        let (of_a, of_b) = (a.token_by(Way::Nowhere), b.token_by(Way::Nowhere));
        Ok((Self { ours: a, theirs: of_b }, Self { ours: b, theirs: of_a }))
    }

    pub(super) fn ours(&self) -> Kind {
        Kind(self.ours.token_by(Way::Nowhere))
    }

    pub(super) fn theirs(&self) -> Kind {
        Kind(self.theirs)
    }
}

impl Kind {
    /// Whether there is no end of this kind any more, and can be none. What cannot be found out is not so: in memory
    /// that is damaged, whatever is done next says so.
    pub(super) fn is_gone(self) -> bool {
        matches!(self.0.is_held(), Ok(false))
    }
}

impl Serialize for End {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (Ours(self.ours.clone()), self.theirs.to_bytes()).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for End {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (Ours(ours), theirs) = <(Ours, [u8; Token::LEN])>::deserialize(deserializer)?;
        Ok(Self { ours, theirs: Token::from_bytes(&theirs) })
    }
}

/// The body, as it travels.
struct Ours(Handle<sync::Event>);

impl Serialize for Ours {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        codec::write_handle(&self.0, serializer)
    }
}

impl<'de> Deserialize<'de> for Ours {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        codec::read_handle(deserializer).map(Self)
    }
}
