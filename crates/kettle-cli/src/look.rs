//! A session at an instant: what its memory says, and what the system says of its processes.

use std::collections::HashMap;

use kettle_core::watch::{Arena, ProcessState, Snapshot, Thread, WatchError, find};

use crate::arguments::Arguments;
use crate::system::Facts;

/// A session to look at.
#[derive(Debug)]
pub(crate) struct Target {
    arena: Arena,
}

/// A session at an instant.
#[derive(Debug)]
pub(crate) struct Look {
    pub(crate) seen: Snapshot,
    /// By process ID: those of the session that are alive.
    pub(crate) facts: HashMap<u32, Facts>,
}

impl Target {
    pub(crate) fn of(pid: u32) -> Result<Self, WatchError> {
        find::session_of(pid).map(|arena| Self { arena })
    }

    /// The session of the process that the arguments name, or else the only one.
    pub(crate) fn chosen(arguments: &Arguments) -> Result<Self, String> {
        let text = |e: WatchError| e.to_string();
        if let Some(pid) = arguments.pid {
            return Self::of(pid).map_err(text);
        }
        match find::sessions().map_err(|e| e.to_string())?.as_slice() {
            [] => Err("no program that this user may look at uses Kettle".to_owned()),
            [one] => Self::of(one.pids[0]).map_err(text),
            many => {
                let pids: Vec<String> = many.iter().map(|found| found.pids[0].to_string()).collect();
                Err(format!("there are {} programs; choose one by a process ID: {}", many.len(), pids.join(", ")))
            }
        }
    }

    pub(crate) fn look(&self) -> Result<Look, WatchError> {
        let seen = self.arena.snapshot()?;
        // Process IDs of another namespace are those of other processes here.
        let alive = seen.processes.iter().filter(|p| seen.same_namespace && p.state == ProcessState::Alive);
        let facts = alive.map(|process| (process.pid, Facts::of(process.pid))).collect();
        Ok(Look { seen, facts })
    }
}

impl Look {
    pub(crate) fn facts_of(&self, thread: Thread) -> Option<&Facts> {
        self.facts.get(&thread.pid?)
    }

    /// How long ago that was, in seconds.
    pub(crate) fn age(&self, since: u64) -> f64 {
        self.seen.taken.saturating_sub(since) as f64 / 1e9
    }
}
