//! `kettle ps`: the sessions of this machine, or one of them in detail.

use std::io::{self, Write};

use kettle_core::watch::{Content, Object, Process, ProcessState, find};

use crate::FINE;
use crate::arguments::Arguments;
use crate::json::Json;
use crate::look::{Look, Target};
use crate::names::{self, bytes, count};
use crate::system::Facts;
use crate::tree;

pub(crate) fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<u8, String> {
    let looks = match arguments.pid {
        Some(_) => vec![Target::chosen(arguments)?.look().map_err(|e| e.to_string())?],
        // A program may end between being found and being read.
        None => find::sessions()
            .map_err(|e| e.to_string())?
            .iter()
            .filter_map(|found| Target::of(found.pids[0]).ok()?.look().ok())
            .collect(),
    };
    if arguments.json {
        let all = Json::List(looks.iter().map(tree::of).collect());
        let _ = match (arguments.pid, looks.first()) {
            (Some(_), Some(one)) => writeln!(out, "{}", tree::of(one)),
            _ => writeln!(out, "{all}"),
        };
        return Ok(FINE);
    }
    if looks.is_empty() {
        return Err("no program that this user may look at uses Kettle".to_owned());
    }
    for (i, look) in looks.iter().enumerate() {
        if i > 0 {
            let _ = writeln!(out);
        }
        // If standard output is closed, the rest is lost, as it should be.
        let _ = print(look, arguments.pid.is_some(), out);
    }
    Ok(FINE)
}

fn print(look: &Look, in_detail: bool, out: &mut dyn Write) -> io::Result<()> {
    let memory = &look.seen.memory;
    writeln!(
        out,
        "session {:016x}: {}, {} of shared memory",
        look.seen.session,
        count(look.seen.processes.len() as u32, "process", "processes"),
        bytes(memory.resident),
    )?;
    for process in &look.seen.processes {
        print_process(look, process, out)?;
    }
    if let Some(damage) = look.seen.damage {
        writeln!(out, "  {damage}")?;
    }
    if look.seen.unread > 0 {
        writeln!(out, "  {} could not be read", count(look.seen.unread, "place", "places"))?;
    }
    let busy = |object: &&Object| in_detail || names_waiters(object);
    let mut idle = 0;
    for object in &look.seen.objects {
        match state(object).filter(|_| busy(&object)) {
            Some(state) => writeln!(out, "  {}: {state}", names::object(object))?,
            None => idle += 1,
        }
    }
    if idle > 0 {
        writeln!(out, "  {}", count(idle, "more object", "more objects"))?;
    }
    for wait in &look.seen.waits {
        let holder = wait.holder.map_or(String::new(), |holder| format!(", held by {}", names::thread(holder)));
        let since = names::seconds(look.age(wait.since));
        writeln!(out, "  {} has waited {since} for {}{holder}", names::waiter(wait), names::wanted(look, wait))?;
    }
    Ok(())
}

fn print_process(look: &Look, process: &Process, out: &mut dyn Write) -> io::Result<()> {
    let facts = look.facts.get(&process.pid);
    let state = match process.state {
        ProcessState::Starting => "starting",
        ProcessState::Dead => "dead",
        ProcessState::Alive if facts.is_some_and(Facts::is_stopped) => "stopped",
        ProcessState::Alive => "alive",
    };
    write!(out, "  {:>8}  {state}", process.pid)?;
    if let Some(facts) = facts {
        write!(out, ", {}", count(facts.threads.len() as u32, "thread", "threads"))?;
        if let Some(memory) = facts.proportional {
            write!(out, ", {}", bytes(memory))?;
        }
        write!(out, "  {}", names::shown(&facts.command))?;
    }
    writeln!(out)
}

fn names_waiters(object: &Object) -> bool {
    match &object.content {
        Content::Lock(lock) => lock.waiting > 0 || lock.broken,
        Content::Queue(queue) => {
            let seen = &queue.counters;
            seen.getters_waiting + seen.putters_waiting + queue.joiners > 0
        }
        _ => false,
    }
}

/// The state of an object; None if there is nothing to tell.
fn state(object: &Object) -> Option<String> {
    let waiting = |n: u32| if n == 0 { String::new() } else { format!(", {n} waiting") };
    Some(match &object.content {
        Content::Lock(lock) => {
            let holder = lock.holder?;
            let held = if lock.broken { "broken by the death of" } else { "held by" };
            let depth = lock.depth.filter(|&depth| depth > 1).map_or(String::new(), |depth| format!(", {depth} times"));
            format!("{held} {}{depth}{}", names::thread(holder), waiting(lock.waiting))
        }
        Content::Semaphore { value, limit, waiting: n, owners } => {
            let held = owners.iter().map(|&owner| names::thread(owner)).collect::<Vec<_>>().join(", ");
            let held = if held.is_empty() { String::new() } else { format!(", held by {held}") };
            format!("{value} of at most {limit} permits free{}{held}", waiting(*n))
        }
        Content::Event { set, waiting: n } => format!("{}{}", if *set { "set" } else { "not set" }, waiting(*n)),
        Content::Condition { waiting, .. } if waiting.is_empty() => return None,
        Content::Condition { waiting, .. } => {
            let who = waiting.iter().map(|&thread| names::thread(thread)).collect::<Vec<_>>().join(", ");
            format!("{who} waiting")
        }
        Content::Barrier(barrier) => {
            let broken = if barrier.broken { ", broken" } else { "" };
            format!("{} of {} parties have arrived{broken}", barrier.waiting, barrier.parties)
        }
        Content::RwLock { writer, readers, waiting: n, .. } => {
            let writer = writer.map_or(String::new(), |writer| format!(", written by {}", names::thread(writer)));
            format!("{}{writer}{}", count(readers.len() as u32, "reader", "readers"), waiting(*n))
        }
        Content::Queue(queue) => {
            let seen = &queue.counters;
            let bound = if seen.maxsize == 0 { String::new() } else { format!(" of {}", seen.maxsize) };
            let mut text = format!("{}{bound} inside, {} put, {} got", seen.size, seen.put, seen.got);
            let sides = [(seen.getters_waiting, "get"), (seen.putters_waiting, "put"), (queue.joiners, "join")];
            for (n, side) in sides.into_iter().filter(|(n, _)| *n > 0) {
                text += &format!(", {n} waiting to {side}");
            }
            text
        }
        Content::Bytes { len } => format!("{len} bytes"),
        Content::EventCount { waiting: n } if *n > 0 => format!("{n} waiting"),
        _ => return None,
    })
}
