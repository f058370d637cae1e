//! `kettle stacks`: the threads of a session, and what each of them waits for.

use std::io::{self, Write};

use kettle_core::watch::Wait;

use crate::FINE;
use crate::arguments::Arguments;
use crate::json::Json;
use crate::look::{Look, Target};
use crate::names;
use crate::system::ThreadFacts;

pub(crate) fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<u8, String> {
    let look = Target::chosen(arguments)?.look().map_err(|e| e.to_string())?;
    if arguments.json {
        let _ = writeln!(out, "{}", tree(&look));
    } else {
        let _ = print(&look, out);
    }
    Ok(FINE)
}

/// The wait of a thread, if it has lasted for long.
fn wait_of(look: &Look, pid: u32, tid: u32) -> Option<&Wait> {
    look.seen.waits.iter().find(|wait| wait.thread.pid == Some(pid) && wait.thread.tid == tid)
}

fn print(look: &Look, out: &mut dyn Write) -> io::Result<()> {
    for process in &look.seen.processes {
        let Some(facts) = look.facts.get(&process.pid) else { continue };
        writeln!(out, "process {}  {}", process.pid, names::shown(&facts.command))?;
        for thread in &facts.threads {
            print_thread(look, process.pid, thread, out)?;
        }
    }
    Ok(())
}

fn print_thread(look: &Look, pid: u32, thread: &ThreadFacts, out: &mut dyn Write) -> io::Result<()> {
    let main = if thread.tid == pid { ", the main thread" } else { "" };
    writeln!(out, "  thread {} ({}{main}): {}", thread.tid, names::shown(&thread.name), thread.doing())?;
    let Some(wait) = wait_of(look, pid, thread.tid) else { return Ok(()) };
    let holder = wait.holder.map_or(String::new(), |holder| format!(", held by {}", names::thread(holder)));
    writeln!(out, "    has waited {} for {}{holder}", names::seconds(look.age(wait.since)), names::wanted(look, wait))?;
    let stack = wait.text.as_ref().map_or("", |text| &text.stack);
    for line in names::shown_lines(stack) {
        writeln!(out, "    {line}")?;
    }
    Ok(())
}

fn tree(look: &Look) -> Json {
    let processes = look.seen.processes.iter().filter_map(|process| {
        let facts = look.facts.get(&process.pid)?;
        let threads = facts.threads.iter().map(|thread| {
            let wait = wait_of(look, process.pid, thread.tid);
            Json::Object(vec![
                ("tid", thread.tid.into()),
                ("name", thread.name.as_str().into()),
                ("state", thread.doing().into()),
                ("waits_for", wait.map(|wait| names::wanted(look, wait)).into()),
                ("seconds", wait.map(|wait| look.age(wait.since)).into()),
                ("stack", wait.and_then(|wait| Some(wait.text.as_ref()?.stack.as_str())).into()),
            ])
        });
        let (pid, command) = (process.pid.into(), facts.command.as_str().into());
        Some(Json::Object(vec![("pid", pid), ("command", command), ("threads", Json::List(threads.collect()))]))
    });
    Json::List(processes.collect())
}
