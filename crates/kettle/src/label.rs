//! The name of a lock in messages.

use std::fmt;
use std::panic::Location;
use std::sync::{Arc, OnceLock};

use kettle_core::arena::{Body, Handle};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::codec;

/// A lock's name, and where it was made; both travel with it, as text.
#[derive(Clone, Debug, Default)]
pub(crate) struct Label {
    text: OnceLock<Arc<str>>,
    made: Option<&'static Location<'static>>,
}

impl Label {
    /// Of a lock that our caller makes.
    #[track_caller]
    pub(crate) const fn here() -> Self {
        Self { text: OnceLock::new(), made: Some(Location::caller()) }
    }

    /// Sets the name. Only the first call has an effect.
    pub(crate) fn name(&self, name: &str) {
        let text = match self.made {
            Some(made) => format!("'{name}', made at {}:{}", made.file(), made.line()),
            None => format!("'{name}'"),
        };
        let _ = self.text.set(text.into());
    }

    fn is_empty(&self) -> bool {
        self.text.get().is_none() && self.made.is_none()
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.text.get(), self.made) {
            (Some(text), _) => f.write_str(text),
            (None, Some(made)) => write!(f, "made at {}:{}", made.file(), made.line()),
            (None, None) => f.write_str("whose name is not known here"),
        }
    }
}

impl Serialize for Label {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (!self.is_empty()).then(|| self.to_string()).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Label {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?.map(Arc::from);
        Ok(Self { text: text.map(OnceLock::from).unwrap_or_default(), made: None })
    }
}

/// A handle in a message.
#[derive(Debug)]
pub(crate) struct Outgoing<'a, B: Body>(pub(crate) &'a Handle<B>);

impl<B: Body> Serialize for Outgoing<'_, B> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        codec::write_handle(self.0, serializer)
    }
}

/// A handle out of a message.
#[derive(Debug)]
pub(crate) struct Incoming<B: Body>(pub(crate) Handle<B>);

impl<'de, B: Body> Deserialize<'de> for Incoming<B> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        codec::read_handle(deserializer).map(Self)
    }
}

/// As `by_token!`, for a type that has a `label` beside its body.
macro_rules! by_token_and_label {
    ($name:ident $(<$t:ident $(: $bound:path)?>)? $(, check = $check:expr)?) => {
        impl$(<$t $(: $bound)?>)? serde::Serialize for $name$(<$t>)? {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                (crate::label::Outgoing(&self.body), &self.label).serialize(serializer)
            }
        }

        impl<'de $(, $t $(: $bound)?)?> serde::Deserialize<'de> for $name$(<$t>)? {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let (crate::label::Incoming(body), label) = serde::Deserialize::deserialize(deserializer)?;
                $($check(&body).map_err(serde::de::Error::custom)?;)?
                Ok(Self::from_parts(body, label))
            }
        }

        impl$(<$t $(: $bound)?>)? Clone for $name$(<$t>)? {
            /// Another handle to the same thing.
            fn clone(&self) -> Self {
                Self::from_parts(self.body.clone(), self.label.clone())
            }
        }
    };
}
pub(crate) use by_token_and_label;
