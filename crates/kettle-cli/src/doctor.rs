//! `kettle doctor`: says in sentences why a program does not go on.

use std::collections::{HashSet, VecDeque};
use std::io::Write;
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use crate::arguments::Arguments;
use crate::findings::{self, Finding};
use crate::json::Json;
use crate::look::{Look, Target};
use crate::names;
use crate::{CANNOT, FINE, FOUND};

/// The time between two looks.
const PAUSE: Duration = Duration::from_millis(250);
/// A program that is run from here is looked at this often, and each look must confirm a finding.
const LOOKS: usize = 6;

pub(crate) fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<u8, String> {
    if !arguments.program.is_empty() {
        return run_program(arguments, out);
    }
    let target = Target::chosen(arguments)?;
    let looks = look_for(&target, arguments.span)?;
    let found = findings::all(&looks);
    if arguments.json {
        let _ = writeln!(out, "{}", Json::List(found.iter().map(Finding::json).collect()));
    } else if found.is_empty() {
        let processes = names::count(looks[0].seen.processes.len() as u32, "process", "processes");
        let _ = writeln!(out, "Nothing found: no thread of the {processes} waits for something that cannot happen.");
    } else {
        found.iter().for_each(|finding| finding.print(out));
    }
    Ok(if found.is_empty() { FINE } else { FOUND })
}

/// At least two looks, over this span.
fn look_for(target: &Target, span: Duration) -> Result<Vec<Look>, String> {
    let look = || target.look().map_err(|e| e.to_string());
    let (begin, mut looks) = (Instant::now(), vec![look()?]);
    loop {
        thread::sleep(PAUSE.min(span.max(PAUSE / 2)));
        looks.push(look()?);
        if begin.elapsed() >= span {
            return Ok(looks);
        }
    }
}

/// Runs the program, and tells each finding once, while it holds.
fn run_program(arguments: &Arguments, out: &mut dyn Write) -> Result<u8, String> {
    let words = &arguments.program;
    let mut child = Command::new(&words[0]).args(&words[1..]).spawn().map_err(|e| format!("{}: {e}", words[0]))?;
    let mut told = HashSet::new();
    let (mut target, mut looks): (Option<Target>, VecDeque<Look>) = (None, VecDeque::new());
    let status = loop {
        if let Some(status) = ended(&mut child)? {
            break status;
        }
        thread::sleep(PAUSE);
        // A program begins its session when it first needs one.
        target = target.or_else(|| Target::of(child.id()).ok());
        let Some(Ok(look)) = target.as_ref().map(Target::look) else { continue };
        looks.push_back(look);
        if looks.len() < LOOKS {
            continue;
        }
        for finding in findings::all(looks.make_contiguous()) {
            if told.insert(finding.subject.clone()) {
                if arguments.json {
                    // If standard output is closed, the exit status is what remains.
                    let _ = writeln!(out, "{}", finding.json());
                } else {
                    finding.print(out);
                }
                let _ = out.flush();
            }
        }
        looks.pop_front();
    };
    if told.is_empty() && !status {
        eprintln!("kettle: the program failed, and nothing was found before");
        return Ok(CANNOT);
    }
    Ok(if told.is_empty() { FINE } else { FOUND })
}

/// Whether the program succeeded, once it has ended.
fn ended(child: &mut Child) -> Result<Option<bool>, String> {
    child.try_wait().map(|status| status.map(|status| status.success())).map_err(|e| e.to_string())
}
