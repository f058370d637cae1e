//! How processes, threads and objects are called in texts.

use kettle_core::watch::{Content, Object, Thread, Wait};

use crate::look::Look;

/// The text without characters that a terminal would obey, or that would change the order of others.
pub(crate) fn shown(text: &str) -> String {
    let is_plain = |c: char| {
        !c.is_control() && !matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().map(|c| if is_plain(c) { c.to_string() } else { c.escape_unicode().to_string() }).collect()
}

/// A text of several lines; each is [`shown`].
pub(crate) fn shown_lines(text: &str) -> impl Iterator<Item = String> {
    text.lines().map(shown)
}

/// The class of the object in Python.
pub(crate) fn kind(content: &Content) -> &'static str {
    match content {
        Content::Lock(lock) if lock.depth.is_some() => "RLock",
        Content::Lock(_) => "Lock",
        Content::Semaphore { .. } => "Semaphore",
        Content::Event { .. } => "Event",
        Content::Condition { .. } => "Condition",
        Content::Barrier(_) => "Barrier",
        Content::RwLock { .. } => "RwLock",
        Content::Queue(queue) if queue.joinable => "JoinableQueue",
        Content::Queue(_) => "Queue",
        Content::Pipe => "Pipe",
        Content::Bytes { .. } => "shared bytes",
        Content::EventCount { .. } => "waiting line of a pool",
        _ => "object of a newer version",
    }
}

/// The object, by its kind and its number in the session.
pub(crate) fn object(object: &Object) -> String {
    format!("{} #{}", kind(&object.content), object.generation)
}

/// A thread of a process.
pub(crate) fn thread(thread: Thread) -> String {
    match (thread.pid, thread.tid) {
        (Some(pid), 0) => format!("process {pid}"),
        (Some(pid), tid) if pid == tid => format!("the main thread of process {pid}"),
        (Some(pid), tid) => format!("thread {tid} of process {pid}"),
        (None, 0) => "a process that is gone".to_owned(),
        (None, tid) => format!("thread {tid} of a process that is gone"),
    }
}

/// The thread that waits, with the name that it gave itself.
pub(crate) fn waiter(wait: &Wait) -> String {
    let name = wait.text.as_ref().map(|text| text.thread.as_str()).filter(|name| !name.is_empty());
    match name {
        Some(name) => format!("{} ({})", thread(wait.thread), shown(name)),
        None => thread(wait.thread),
    }
}

/// The lock that it waits for.
pub(crate) fn wanted(look: &Look, wait: &Wait) -> String {
    let named = wait.text.as_ref().map(|text| text.lock.as_str()).filter(|name| !name.is_empty());
    if let Some(name) = named {
        return shown(name);
    }
    match candidates(look, wait).as_slice() {
        [one] => object(one),
        _ if wait.private => "a lock between the threads of its process".to_owned(),
        _ => "a lock".to_owned(),
    }
}

/// The locks in shared memory that the wait may be for: those that have waiters, and the holder that it names.
pub(crate) fn candidates<'a>(look: &'a Look, wait: &Wait) -> Vec<&'a Object> {
    let is = |object: &&Object| match &object.content {
        Content::Lock(lock) => lock.waiting > 0 && lock.holder.is_some() && lock.holder == wait.holder,
        _ => false,
    };
    if wait.private { Vec::new() } else { look.seen.objects.iter().filter(is).collect() }
}

/// A time in seconds, as precise as it matters.
pub(crate) fn seconds(time: f64) -> String {
    if time < 9.95 { format!("{time:.1} s") } else { format!("{time:.0} s") }
}

/// A number of bytes.
pub(crate) fn bytes(n: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let mut value = n as f64 / 1024.0;
    for unit in UNITS {
        if value < 1024.0 {
            return format!("{value:.1} {unit}");
        }
        value /= 1024.0;
    }
    format!("{value:.1} PiB")
}

/// `n` of something.
pub(crate) fn count(n: u32, one: &str, many: &str) -> String {
    if n == 1 { format!("1 {one}") } else { format!("{n} {many}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_shown_as_codes() {
        assert_eq!(shown("a\x1b[31mb\u{202e}ü"), "a\\u{1b}[31mb\\u{202e}ü");
    }

    #[test]
    fn amounts_have_units() {
        assert_eq!((bytes(512), bytes(3 << 20)), ("0.5 KiB".to_owned(), "3.0 MiB".to_owned()));
        assert_eq!((seconds(1.25), seconds(61.4)), ("1.2 s".to_owned(), "61 s".to_owned()));
    }
}
