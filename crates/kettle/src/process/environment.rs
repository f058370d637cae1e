//! The environment of a process that is started.

use std::collections::BTreeMap;
use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;

use super::builder::c_string;
use super::entry::{self, StartLine};
use crate::deadlock;

/// How it differs from that of this process.
#[derive(Debug, Default)]
pub(super) struct Environment {
    /// Nothing is taken over.
    is_cleared: bool,
    /// Variables that are set, or removed.
    changes: BTreeMap<OsString, Option<OsString>>,
}

impl Environment {
    pub(super) fn set(&mut self, name: OsString, value: Option<OsString>) {
        self.changes.insert(name, value);
    }

    pub(super) fn clear(&mut self) {
        *self = Self { is_cleared: true, ..Self::default() };
    }

    /// All of it, with what the process does about deadlocks, unless that is set here, and the start line.
    pub(super) fn with(self, line: &StartLine) -> io::Result<Vec<CString>> {
        let mut variables: BTreeMap<OsString, OsString> = BTreeMap::new();
        if !self.is_cleared {
            variables.extend(std::env::vars_os());
        }
        variables.insert(deadlock::VARIABLE.into(), deadlock::for_children().into());
        for (name, value) in self.changes {
            check(&name)?;
            match value {
                Some(value) => variables.insert(name, value),
                None => variables.remove(&name),
            };
        }
        variables.insert(entry::VARIABLE.into(), line.to_string().into());
        let entry = |(mut name, value): (OsString, OsString)| {
            name.push("=");
            name.push(value);
            c_string(name)
        };
        variables.into_iter().map(entry).collect()
    }
}

/// Whether a variable can have this name.
fn check(name: &OsStr) -> io::Result<()> {
    if name.is_empty() || name.as_bytes().contains(&b'=') {
        let why = format!("a variable of the environment cannot have the name {name:?}");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    Ok(())
}
