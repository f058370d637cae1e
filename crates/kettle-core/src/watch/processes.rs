//! The processes of a session.

use core::mem::offset_of;
use std::collections::HashMap;
use std::fs::File;
use std::io;

use super::file;
use crate::arena::Participant;
use crate::arena::layout::header::Header;
use crate::arena::layout::participant_rows::{EXPECTED, FREE, Identity, LIVE, RESERVED, SLOTS, Slot, State, Table};
use crate::atomics::Ordering;
use crate::sys::owner::Owner;

/// A process of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its row and generation: unique among the processes of a session, in the past as well.
    pub id: u32,
    /// Its ID, in the PID namespace of the session; 0 while it is not known yet.
    pub pid: u32,
    /// When it started, in clock ticks since boot; 0 if unknown.
    pub start: u64,
    /// Whether it lives.
    pub state: ProcessState,
    /// When its row was taken, in nanoseconds on `CLOCK_MONOTONIC`.
    pub since: u64,
}

/// Whether a process lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcessState {
    /// About to be started.
    Starting,
    /// Alive; or that cannot be told, because it has another PID namespace than the reader.
    Alive,
    /// It ended without leaving the session, and no other process has noticed that yet.
    Dead,
}

/// A thread of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Thread {
    /// The [`id`](Process::id) of its process.
    pub process: u32,
    /// The ID of its process, if that is in the table still.
    pub pid: Option<u32>,
    /// Its number in the kernel; 0 for all of its process.
    pub tid: u32,
    /// Whether its process is in the table as one that is not dead.
    pub alive: bool,
}

/// The rows in use, and who used the others last.
#[derive(Debug)]
pub(super) struct Processes {
    pub(super) all: Vec<Process>,
    /// Process IDs of those that are gone.
    past: HashMap<u32, u32>,
}

/// Reads the table. `same_namespace`: process IDs mean the same here.
pub(super) fn read(file: &File, same_namespace: bool) -> io::Result<Processes> {
    let at = offset_of!(Header, participants) + offset_of!(Table, slots);
    let table = file::copy(file, at as u64, size_of::<[Slot; SLOTS]>())?;
    let mut found = Processes { all: Vec::new(), past: HashMap::new() };
    // Row 0 is unused.
    for slot in 1..SLOTS {
        let Some(row) = table.view::<Slot>(slot * size_of::<Slot>()) else { break };
        let (state, identity) =
            (State(row.state.load(Ordering::Relaxed)), Identity(row.identity.load(Ordering::Relaxed)));
        let id = |generation| Participant::new(slot as u32, generation).to_bits();
        let state_now = match state.status() {
            FREE if identity.pid() != 0 => {
                let before = state.generation().wrapping_sub(1) & (Owner::GENERATIONS - 1);
                found.past.insert(id(before), identity.pid());
                continue;
            }
            RESERVED | EXPECTED => ProcessState::Starting,
            LIVE if same_namespace && !identity.is_alive() => ProcessState::Dead,
            LIVE => ProcessState::Alive,
            _ => continue,
        };
        found.all.push(Process {
            id: id(state.generation()),
            pid: identity.pid(),
            start: identity.start(),
            state: state_now,
            since: row.since.load(Ordering::Relaxed),
        });
    }
    Ok(found)
}

impl Processes {
    /// The thread that an owner names.
    pub(super) fn thread(&self, owner: Owner) -> Thread {
        let process = Participant::of(owner).to_bits();
        let known = self.all.iter().find(|known| known.id == process);
        let pid = known.map(|known| known.pid).or_else(|| self.past.get(&process).copied());
        let alive = known.is_some_and(|known| known.state != ProcessState::Dead);
        Thread { process, pid: pid.filter(|&pid| pid != 0), tid: owner.thread(), alive }
    }
}
