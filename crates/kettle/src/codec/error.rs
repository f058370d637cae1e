//! Why a value does not become bytes, or bytes no value.

use std::fmt;

use serde::{de, ser};

/// The text says what is wrong and, where it is the type's own doing, what to do about it.
#[derive(Debug)]
pub(crate) struct Error(Box<Reason>);

/// Behind a pointer of one word, so that results of all calls fit into registers.
#[derive(Debug)]
struct Reason {
    text: Box<str>,
    /// The text is that of the type itself, or of serde.
    is_foreign: bool,
}

/// How deep a value may be nested, on its way out and on its way in: a limit that every stack has room for.
pub(crate) const DEPTH_MAX: usize = 256;

impl Error {
    #[cold]
    pub(crate) fn new(text: impl Into<Box<str>>) -> Self {
        Self(Box::new(Reason { text: text.into(), is_foreign: false }))
    }

    #[cold]
    fn foreign(text: String) -> Self {
        Self(Box::new(Reason { text: text.into(), is_foreign: true }))
    }

    /// It came when a value was tried that can be written.
    #[cold]
    pub(crate) fn in_trial(self) -> Self {
        if !self.0.is_foreign {
            return self;
        }
        Self::new(format!(
            "its Deserialize does not read what its Serialize writes: {}; it may do so in a kettle::Described",
            self.0.text
        ))
    }

    #[cold]
    pub(crate) fn too_deep() -> Self {
        Self::new(format!(
            "it is nested more than {DEPTH_MAX} levels deep, and the stack of its receiver might not do; \
             send it in a flat form, such as a list of its parts"
        ))
    }

    #[cold]
    pub(crate) fn skipped(name: &str) -> Self {
        Self::new(format!(
            "its field `{name}` is left out here (#[serde(skip_serializing_if)]), and the receiver would take the \
             next field for it; send it as a kettle::Described, or remove that attribute"
        ))
    }

    #[cold]
    pub(crate) fn without_length() -> Self {
        Self::new(
            "it has a sequence or a map that does not know its length (as #[serde(flatten)] makes one); \
             send it as a kettle::Described, or derive without that attribute",
        )
    }

    #[cold]
    pub(crate) fn miscounted() -> Self {
        Self::new("its Serialize announces another number of elements than it writes")
    }

    #[cold]
    pub(crate) fn guessing() -> Self {
        Self::new(
            "its Deserialize asks what comes next, which a message does not tell (so do types with \
             #[serde(tag)], #[serde(untagged)] or #[serde(flatten)], and serde_json::Value); \
             send it as a kettle::Described, or derive without these attributes",
        )
    }

    #[cold]
    pub(crate) fn ends_early() -> Self {
        Self::new("the message ends in the middle of the value")
    }

    #[cold]
    pub(crate) fn malformed(what: &str) -> Self {
        Self::new(format!("the message has something else where {what} is expected"))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.text)
    }
}

impl std::error::Error for Error {}

impl ser::Error for Error {
    fn custom<M: fmt::Display>(text: M) -> Self {
        Self::foreign(text.to_string())
    }
}

impl de::Error for Error {
    fn custom<M: fmt::Display>(text: M) -> Self {
        Self::foreign(text.to_string())
    }
}
