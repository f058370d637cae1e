//! Findings, in human-readable form.

use core::fmt;

use crate::arena::participants;
use crate::arena::waiters::{TEXT, Waiting};

/// How a thread describes itself and the lock that it waits for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text {
    /// The thread's name.
    pub thread: String,
    /// The lock: its name, or where it was created.
    pub lock: String,
    /// Where the thread is, innermost call last.
    pub stack: String,
}

const BETWEEN: char = '\0';

impl Text {
    /// Serializes the text; the outer calls of a long stack are omitted.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let thread: String = self.thread.chars().filter(|&c| c != BETWEEN).take(200).collect();
        let lock: String = self.lock.chars().filter(|&c| c != BETWEEN).take(300).collect();
        let room = TEXT - thread.len() - lock.len() - 2;
        let mut from = self.stack.len().saturating_sub(room);
        if from > 0 {
            // Keep whole lines.
            from = self.stack.bytes().skip(from).position(|b| b == b'\n').map_or(self.stack.len(), |n| from + n + 1);
        }
        format!("{thread}{BETWEEN}{lock}{BETWEEN}{}", &self.stack[from..]).into_bytes()
    }

    /// The inverse of [`to_bytes`](Self::to_bytes), of whatever bytes there are.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let mut parts = text.splitn(3, BETWEEN).map(str::to_owned);
        let mut next = || parts.next().unwrap_or_default();
        Self { thread: next(), lock: next(), stack: next() }
    }
}

/// One of the threads of a cycle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The process of the thread.
    pub pid: u32,
    /// The kernel's thread ID.
    pub tid: u32,
    /// The thread's name.
    pub thread: String,
    /// The lock that it waits for.
    pub waits_for: String,
    /// The lock that it holds, for which the previous member waits.
    pub holds: String,
    /// Where it is, innermost call last.
    pub stack: String,
}

/// A set of threads that will wait forever unless another thread helps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deadlock {
    /// The waiting threads: each waits for a lock that the next one holds, and the last for one that the first holds.
    pub members: Vec<Member>,
    /// No other thread can help.
    pub certain: bool,
    /// Set if the holder of the lock that the only member waits for has ended.
    pub ended: Option<Ended>,
}

/// A thread that ended while it held a lock, in a process that lives on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The process of the thread.
    pub pid: u32,
    /// The kernel's thread ID.
    pub tid: u32,
    /// The thread's name, if it received a deadlock error, which presumably ended it.
    pub told_as: Option<String>,
}

/// How `waiting` describes itself; None if its wait is over.
pub(super) fn member(waiting: &Waiting) -> Option<Member> {
    let text = match waiting.has_text() {
        true => Text::from_bytes(&waiting.text()?),
        false => Text { stack: "(no stack trace available)\n".to_owned(), ..Text::default() },
    };
    Some(Member::new(waiting.owner, text))
}

impl Member {
    pub(super) fn new(owner: crate::sys::Owner, text: Text) -> Self {
        Self {
            pid: participants::pid_of(owner).unwrap_or(0),
            tid: owner.thread(),
            thread: text.thread,
            waits_for: text.lock,
            holds: String::new(),
            stack: text.stack,
        }
    }
}

impl Deadlock {
    pub(super) fn circle(mut members: Vec<Member>, certain: bool) -> Self {
        let n = members.len();
        for i in 0..n {
            members[i].holds = members[(i + n - 1) % n].waits_for.clone();
        }
        Self { members, certain, ended: None }
    }
}

impl core::error::Error for Deadlock {}

fn lock(name: &str) -> &str {
    if name.is_empty() { "a lock" } else { name }
}

fn thread(name: &str) -> &str {
    if name.is_empty() { "a thread" } else { name }
}

impl fmt::Display for Deadlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("deadlock: ")?;
        match (&self.ended, self.members.as_slice()) {
            (Some(ended), members) => ended.with(members.first().map_or("", |m| &m.waits_for), f)?,
            (None, [_]) => f.write_str("a thread waits for a lock that it holds itself")?,
            (None, members) => write!(f, "{} threads wait for each other", members.len())?,
        }
        f.write_str(match (&self.ended, self.certain) {
            (None, true) => "",
            (Some(_), true) => "; no other thread can release it",
            (None, false) if self.members.len() == 1 => {
                "; only a release() by another thread, or by a signal handler, can help"
            }
            (_, false) => "; only a release() by yet another thread can help",
        })?;
        for (member, next) in self.members.iter().zip(self.members.iter().cycle().skip(1)) {
            let Member { pid, tid, thread: name, waits_for, holds, stack } = member;
            write!(f, "\n\n{} (pid {pid}, thread {tid})\n", thread(name))?;
            if self.ended.is_none() {
                writeln!(f, "  holds     {}", lock(holds))?;
            }
            write!(f, "  waits for {}", lock(waits_for))?;
            if self.members.len() > 1 {
                write!(f, ", which {} holds", thread(&next.thread))?;
            }
            write!(f, "\n{}", stack.trim_end())?;
        }
        Ok(())
    }
}

impl Ended {
    fn with(&self, waits_for: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self { pid, tid, told_as }, lock) = (self, lock(waits_for));
        match told_as {
            Some(name) => {
                write!(
                    f,
                    "{} (pid {pid}, thread {tid}), which was notified of a deadlock, ended while holding {lock}",
                    thread(name)
                )
            }
            None => write!(f, "the thread that holds {lock} has ended (pid {pid}, thread {tid})"),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn of_a_long_stack_the_innermost_calls_are_told_in_whole_lines() {
        for len in [2, 3, 10, 77, 500] {
            let line = format!("{}\n", "x".repeat(len - 1));
            for lines in [TEXT / len - 1, TEXT / len, TEXT / len + 1, TEXT] {
                let outer = format!("{}\n", "-".repeat(len - 1));
                let stack = outer + &line.repeat(lines);
                let bytes = Text { thread: "one".into(), lock: "its lock".into(), stack: stack.clone() }.to_bytes();
                let told = Text::from_bytes(&bytes);
                assert_eq!((&told.thread[..], &told.lock[..]), ("one", "its lock"));
                assert!(bytes.len() <= TEXT, "{} bytes", bytes.len());
                if told.stack != stack {
                    assert!(bytes.len() + 2 * len > TEXT, "more had room beside {} bytes", bytes.len());
                    assert_eq!(told.stack, line.repeat(told.stack.len() / len));
                }
            }
        }
    }

    #[test]
    fn long_names_leave_room_for_the_stack() {
        let long = |letter: &str| letter.repeat(TEXT);
        let bytes = Text { thread: long("a\0"), lock: long("b\0"), stack: "main\n".into() }.to_bytes();
        let told = Text::from_bytes(&bytes);
        assert_eq!((told.thread, told.lock), ("a".repeat(200), "b".repeat(300)));
        assert_eq!(told.stack, "main\n");
    }
}
