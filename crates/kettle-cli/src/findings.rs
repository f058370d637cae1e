//! Why a program does not go on: rules over several looks at its session.
//!
//! A finding is what was true in each of the looks. Where nothing shows that it stays true (a wait may have a timeout,
//! another thread may release a lock), it says so by `certain`.

use std::io::Write;

use kettle_core::watch::{Content, Object, ProcessState, Queue, Thread, Wait};

use crate::json::Json;
use crate::look::Look;
use crate::names::{self, count};

/// One reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// The rule.
    pub(crate) rule: &'static str,
    /// The rule, and what it is about: the same for the same finding in later looks.
    pub(crate) subject: String,
    /// What it is, in a sentence.
    pub(crate) sentence: String,
    /// What shows it, line by line.
    pub(crate) evidence: Vec<String>,
    /// Whether it stays so until something from outside helps.
    pub(crate) certain: bool,
}

impl Finding {
    pub(crate) fn json(&self) -> Json {
        Json::Object(vec![
            ("rule", self.rule.into()),
            ("sentence", self.sentence.as_str().into()),
            ("certain", self.certain.into()),
            ("evidence", Json::list(self.evidence.iter().map(String::as_str))),
        ])
    }

    pub(crate) fn print(&self, out: &mut dyn Write) {
        // If standard output is closed, the exit status is what remains.
        let _ = writeln!(out, "{}", self.sentence);
        self.evidence.iter().for_each(|line| drop(writeln!(out, "    {line}")));
    }
}

/// All findings, the worst first. There is at least one look.
pub(crate) fn all(looks: &[Look]) -> Vec<Finding> {
    let mut found = Vec::new();
    found.extend(damage(looks));
    let circles = circles(looks);
    found.extend(circles.iter().map(|circle| deadlock(last(looks), circle)));
    found.extend(stopped(looks));
    found.extend(held(looks, &circles));
    found.extend(died(looks));
    found.extend(queues(looks));
    found.extend(memory(looks));
    found
}

fn last(looks: &[Look]) -> &Look {
    &looks[looks.len() - 1]
}

/// The same object in an earlier look.
fn in_look<'a>(look: &'a Look, object: &Object) -> Option<&'a Content> {
    let same = |other: &&Object| (other.place, other.generation) == (object.place, object.generation);
    look.seen.objects.iter().find(same).map(|object| &object.content)
}

fn damage(looks: &[Look]) -> Option<Finding> {
    let damage = last(looks).seen.damage?;
    let (sentence, subject) = (damage.to_string(), "damage".to_owned());
    Some(Finding { rule: "damage", subject, sentence, evidence: Vec::new(), certain: true })
}

/// The waits that are the same in all looks.
fn lasting(looks: &[Look]) -> Vec<&Wait> {
    let lasts = |wait: &&Wait| looks.iter().all(|look| look.seen.waits.iter().any(|w| w.number == wait.number));
    last(looks).seen.waits.iter().filter(lasts).collect()
}

/// Circles of threads: each thread waits for a lock that the next one holds.
fn circles(looks: &[Look]) -> Vec<Vec<&Wait>> {
    let waits = lasting(looks);
    let next = |wait: &Wait| {
        // The next thread must have been waiting already when the holder was looked up.
        waits.iter().copied().find(|other| wait.is_for(other) && wait.looked > other.since)
    };
    let mut circles: Vec<Vec<&Wait>> = Vec::new();
    for first in &waits {
        let mut circle = vec![*first];
        while let Some(wait) = next(circle[circle.len() - 1]) {
            if wait.number == first.number {
                // Each circle is found once from each of its members: keep the one that begins with the oldest wait.
                if circle.iter().all(|member| member.number >= first.number) {
                    circles.push(circle);
                }
                break;
            }
            if circle.iter().any(|member| member.number == wait.number) {
                break;
            }
            circle.push(wait);
        }
    }
    circles
}

fn deadlock(look: &Look, circle: &[&Wait]) -> Finding {
    let since = circle.iter().map(|wait| wait.since).max().unwrap_or(0);
    let since = names::seconds(look.age(since));
    let certain = circle.iter().all(|wait| wait.reentrant || wait.scoped);
    let sentence = match circle.len() {
        1 => format!("A thread has waited for {since} for a lock that it holds itself."),
        n => format!("{n} threads have waited for each other for {since}."),
    };
    let mut evidence = Vec::new();
    for wait in circle {
        let holder = wait.holder.map_or(String::new(), |holder| format!(", held by {}", names::thread(holder)));
        evidence.push(format!("{} waits for {}{holder}", names::waiter(wait), names::wanted(look, wait)));
        let stack = wait.text.as_ref().map_or("", |text| &text.stack);
        evidence.extend(names::shown_lines(stack).map(|line| format!("    {line}")));
    }
    if !certain {
        evidence
            .push("Only a release by another thread can help: such a lock may be released by any thread.".to_owned());
    }
    let numbers: Vec<String> = circle.iter().map(|wait| wait.number.to_string()).collect();
    Finding { rule: "deadlock", subject: format!("deadlock {}", numbers.join(" ")), sentence, evidence, certain }
}

fn stopped(looks: &[Look]) -> Vec<Finding> {
    let is_stopped = |look: &Look, pid: u32| look.facts.get(&pid).is_some_and(crate::system::Facts::is_stopped);
    let processes = last(looks).seen.processes.iter().filter(|p| p.state == ProcessState::Alive);
    let stopped = processes.filter(|p| looks.iter().all(|look| is_stopped(look, p.pid)));
    stopped
        .map(|process| {
            let mut evidence = holdings(last(looks), process.pid);
            evidence.push(format!("It goes on after `kill -CONT {}`.", process.pid));
            Finding {
                rule: "stopped",
                subject: format!("stopped {}", process.pid),
                sentence: format!("Process {} is stopped, by Ctrl-Z or a signal.", process.pid),
                evidence,
                certain: true,
            }
        })
        .collect()
}

/// The locks that a process holds for which others wait.
fn holdings(look: &Look, pid: u32) -> Vec<String> {
    let line = |object: &Object| match &object.content {
        Content::Lock(lock) if lock.waiting > 0 && lock.holder?.pid == Some(pid) => Some(format!(
            "It holds {}, for which {}.",
            names::object(object),
            count(lock.waiting, "thread waits", "threads wait")
        )),
        _ => None,
    };
    look.seen.objects.iter().filter_map(line).collect()
}

/// Locks that a living thread keeps while others wait for them, outside of circles.
fn held(looks: &[Look], circles: &[Vec<&Wait>]) -> Vec<Finding> {
    let look = last(looks);
    let in_circle = |wait: &&Wait| circles.iter().flatten().any(|member| member.number == wait.number);
    let mut waits: Vec<&Wait> = lasting(looks).into_iter().filter(|wait| !in_circle(wait)).collect();
    waits.sort_unstable_by_key(|wait| wait.since);
    let mut found: Vec<Finding> = Vec::new();
    for wait in waits {
        let Some(holder) = wait.holder.filter(|holder| holder.alive) else { continue };
        let subject = format!("held {:?} {}", holder, names::wanted(look, wait));
        if let Some(known) = found.iter_mut().find(|known| known.subject == subject) {
            known.evidence.push(format!("{} waits for it, too.", names::waiter(wait)));
            continue;
        }
        let since = names::seconds(look.age(wait.since));
        let (waiter, wanted) = (names::waiter(wait), names::wanted(look, wait));
        found.push(Finding {
            rule: "held",
            subject,
            sentence: format!("For {since}, {waiter} has waited for {wanted}, which {} holds.", names::thread(holder)),
            evidence: vec![doing(look, holder)],
            certain: false,
        });
    }
    found
}

/// What the holder of a lock does.
fn doing(look: &Look, holder: Thread) -> String {
    let waits = look.seen.waits.iter().find(|wait| (wait.thread.pid, wait.thread.tid) == (holder.pid, holder.tid));
    let facts = look.facts_of(holder);
    match (waits, facts.and_then(|facts| facts.thread(holder.tid))) {
        (Some(wait), _) => format!("The holder itself waits for {}.", names::wanted(look, wait)),
        (None, Some(thread)) => format!("The holder is {}.", thread.doing()),
        (None, None) if facts.is_some() => "The holder's thread has ended, while its process lives on.".to_owned(),
        (None, None) => "What the holder does is not known.".to_owned(),
    }
}

/// What dead processes left behind.
fn died(looks: &[Look]) -> Vec<Finding> {
    let mut found = Vec::new();
    for object in &last(looks).seen.objects {
        let (name, mut evidence) = (names::object(object), Vec::new());
        let sentence = match &object.content {
            Content::Lock(lock) => match lock.holder {
                Some(holder) if !holder.alive => {
                    evidence.push(format!("{}.", count(lock.waiting, "thread waits for it", "threads wait for it")));
                    format!("{name} was held by {} when that died.", names::thread(holder))
                }
                _ => continue,
            },
            Content::RwLock { writer: Some(writer), broken: true, .. } => {
                format!("{name} was being written by {} when that died.", names::thread(*writer))
            }
            Content::Barrier(barrier) if barrier.broken => {
                format!("{name} is broken: a party timed out, aborted or died. It fails every wait until it is reset.")
            }
            Content::Queue(queue) => match queue.consumers.iter().find(|(consumer, _)| !consumer.alive) {
                Some((consumer, unfinished)) => format!(
                    "{} got {} of {name} and died before {} done.",
                    names::thread(*consumer),
                    count(*unfinished, "message", "messages"),
                    if *unfinished == 1 { "it was" } else { "they were" }
                ),
                None => continue,
            },
            _ => continue,
        };
        let subject = format!("died {}", object.generation);
        found.push(Finding { rule: "died", subject, sentence, evidence, certain: true });
    }
    found
}

/// Queues at which threads wait that no other thread can serve.
fn queues(looks: &[Look]) -> Vec<Finding> {
    let look = last(looks);
    let mut found = Vec::new();
    for object in &look.seen.objects {
        let Content::Queue(queue) = &object.content else { continue };
        let earlier = looks.iter().map(|look| match in_look(look, object) {
            Some(Content::Queue(queue)) => Some(queue),
            _ => None,
        });
        let Some(all) = earlier.collect::<Option<Vec<&Queue>>>() else { continue };
        let moved = all
            .iter()
            .any(|before| (before.counters.put, before.counters.got) != (queue.counters.put, queue.counters.got));
        if moved {
            continue;
        }
        let least = |waiting: fn(&Queue) -> u32| all.iter().map(|queue| waiting(queue)).min().unwrap_or(0);
        let getters = least(|queue| queue.counters.getters_waiting);
        let putters = least(|queue| queue.counters.putters_waiting);
        let is_full = queue.counters.maxsize != 0 && queue.counters.size >= queue.counters.maxsize;
        let others = others(looks, object, getters + putters);
        if is_full && putters > 0 {
            found.push(full(object, queue, putters, others));
        } else if queue.counters.size == 0 && getters > 0 && others == Some(0) {
            let waiting = count(getters, "thread waits", "threads wait");
            found.push(Finding {
                rule: "no producer",
                subject: format!("no producer {}", object.generation),
                sentence: format!(
                    "{} is empty, and {waiting} for a message that no thread is left to put.",
                    names::object(object)
                ),
                evidence: vec![
                    format!("{} put and {} got so far.", queue.counters.put, queue.counters.got),
                    "All threads of all processes that have the queue wait for a message themselves.".to_owned(),
                    "Only a timeout of theirs can end that.".to_owned(),
                ],
                certain: false,
            });
        }
    }
    found
}

fn full(object: &Object, queue: &Queue, putters: u32, others: Option<u32>) -> Finding {
    let (name, waiting) = (names::object(object), count(putters, "thread waits", "threads wait"));
    let (size, maxsize) = (queue.counters.size, queue.counters.maxsize);
    let mut evidence = vec![format!("{} put and {} got so far.", queue.counters.put, queue.counters.got)];
    let (rule, sentence) = if others == Some(0) {
        evidence.push("All threads of all processes that have the queue wait for room themselves.".to_owned());
        evidence.push("Only a timeout of theirs can end that.".to_owned());
        let sentence =
            format!("{name} is full ({size} of {maxsize}), and {waiting} for room that no thread is left to make.");
        ("no consumer", sentence)
    } else {
        let sentence = format!(
            "{name} is full ({size} of {maxsize}), and {waiting} for room: no message was taken while it was looked at."
        );
        ("full", sentence)
    };
    Finding { rule, subject: format!("{rule} {}", object.generation), sentence, evidence, certain: false }
}

/// How many threads of the processes that have the object do not wait at it, if that can be told: the number of those
/// that wait is `waiting`.
fn others(looks: &[Look], object: &Object, waiting: u32) -> Option<u32> {
    let least = |look: &Look| {
        let mut threads = 0;
        // A message may bring it to another process; and further holders are not listed.
        if object.names != 0 || object.holders.len() >= 5 {
            return None;
        }
        for holder in &object.holders {
            let process = look.seen.processes.iter().find(|process| process.id == *holder);
            match process.map(|process| (process.state, look.facts.get(&process.pid))) {
                Some((ProcessState::Dead, _)) | None => {}
                Some((ProcessState::Alive, Some(facts))) => threads += facts.threads.len() as u32,
                Some(_) => return None,
            }
        }
        Some(threads.saturating_sub(waiting))
    };
    looks.iter().map(least).try_fold(0, |most, others| Some(others?.max(most)))
}

fn memory(looks: &[Look]) -> Option<Finding> {
    let memory = &last(looks).seen.memory;
    let is_tight = memory.limit != 0 && memory.allocated.saturating_mul(10) >= memory.limit.saturating_mul(9);
    is_tight.then(|| Finding {
        rule: "memory",
        subject: "memory".to_owned(),
        sentence: format!(
            "{} of the limit of {} of shared memory are in use.",
            names::bytes(memory.allocated),
            names::bytes(memory.limit)
        ),
        evidence: vec![format!("{} of them hold messages that were not taken yet.", names::bytes(memory.messages))],
        certain: true,
    })
}
