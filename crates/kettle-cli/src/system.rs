//! What `/proc` says of a process.

use std::fs;

/// A process, as the system sees it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    /// Its command line.
    pub(crate) command: String,
    /// The memory that it has to itself and its share of what it shares, in bytes.
    pub(crate) proportional: Option<u64>,
    /// Its threads; the first is the main thread.
    pub(crate) threads: Vec<ThreadFacts>,
}

/// A thread, as the system sees it.
#[derive(Clone, Debug)]
pub(crate) struct ThreadFacts {
    pub(crate) tid: u32,
    pub(crate) name: String,
    /// The letter of its state: R, S, D, T, Z ...
    pub(crate) state: char,
}

impl Facts {
    pub(crate) fn of(pid: u32) -> Self {
        let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words: Vec<_> = command.split(|&b| b == 0).map(String::from_utf8_lossy).collect();
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten();
        let mut tids: Vec<u32> = tasks.filter_map(|task| task.ok()?.file_name().to_str()?.parse().ok()).collect();
        tids.sort_unstable_by_key(|&tid| (tid != pid, tid));
        Self {
            command: words.join(" ").trim_end().to_owned(),
            proportional: proportional(pid),
            threads: tids.into_iter().filter_map(|tid| thread(pid, tid)).collect(),
        }
    }

    /// Whether it is stopped by a signal, and does not run until it is continued.
    pub(crate) fn is_stopped(&self) -> bool {
        self.threads.first().is_some_and(|main| matches!(main.state, 'T' | 't'))
    }

    pub(crate) fn thread(&self, tid: u32) -> Option<&ThreadFacts> {
        self.threads.iter().find(|thread| thread.tid == tid)
    }
}

fn thread(pid: u32, tid: u32) -> Option<ThreadFacts> {
    let stat = fs::read_to_string(format!("/proc/{pid}/task/{tid}/stat")).ok()?;
    // The name is in parentheses, and may contain some itself.
    let (begin, end) = (stat.find('(')?, stat.rfind(')')?);
    let state = stat.get(end + 1..)?.trim_start().chars().next()?;
    Some(ThreadFacts { tid, name: stat.get(begin + 1..end)?.to_owned(), state })
}

fn proportional(pid: u32) -> Option<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    line.split_ascii_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
}

impl ThreadFacts {
    /// Its state in words.
    pub(crate) fn doing(&self) -> &'static str {
        match self.state {
            'R' => "running",
            'S' | 'I' => "asleep",
            'D' => "in a system call that cannot be interrupted",
            'T' | 't' => "stopped",
            'Z' | 'X' | 'x' => "ended",
            _ => "in an unknown state",
        }
    }
}
