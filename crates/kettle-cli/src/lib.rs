//! Looks at running programs that use Kettle: the library behind the command `kettle`.
//!
//! | module | what it is |
//! |---|---|
//! | `arguments` | the command line |
//! | `look` | a session at an instant: what its memory says, and what the system says of its processes |
//! | `system` | what `/proc` says of a process |
//! | `names` | how processes, threads and objects are called in texts |
//! | `tree` | a look as JSON, which `snapshot` returns |
//! | `ps`, `stacks`, `doctor` | the commands |
//! | `findings` | why a program does not go on |
//! | `json` | writing JSON |

use std::io::{self, Write};

mod arguments;
mod doctor;
mod findings;
mod json;
mod look;
mod names;
mod ps;
mod stacks;
mod system;
mod tree;

use kettle_core::watch::WatchError;

use arguments::{Arguments, Command};

/// Found nothing, or did what was asked.
const FINE: u8 = 0;
/// Found something.
const FOUND: u8 = 1;
/// Could not look.
const CANNOT: u8 = 2;

const HELP: &str = "usage: kettle ps [PID] [--json]
       kettle stacks PID [--json]
       kettle doctor [PID] [--for SECONDS] [--json]
       kettle doctor [--json] -- PROGRAM [ARGUMENT...]

Looks at running programs that use Kettle. PID is any process of the program;
without it there must be only one such program.

  ps       its processes, and its locks and queues
  stacks   its threads, and what each of them waits for
  doctor   why it does not go on. Exit status: 0 nothing found, 1 something
           found, 2 could not look
";

/// Runs a command line, without the program's name, and returns the exit status.
pub fn main(arguments: &[String]) -> u8 {
    let mut out = io::stdout().lock();
    let status = match arguments::parse(arguments) {
        Err(help) if help.is_empty() => {
            let _ = out.write_all(HELP.as_bytes());
            FINE
        }
        Err(mistake) => {
            eprintln!("kettle: {mistake}\n{HELP}");
            CANNOT
        }
        Ok(arguments) => run(&arguments, &mut out).unwrap_or_else(|problem| {
            eprintln!("kettle: {problem}");
            CANNOT
        }),
    };
    // If standard output is closed, the status is all that is left to say.
    let _ = out.flush();
    status
}

fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<u8, String> {
    match arguments.command {
        Command::Ps => ps::run(arguments, out),
        Command::Stacks => stacks::run(arguments, out),
        Command::Doctor => doctor::run(arguments, out),
    }
}

/// The session of a process, as JSON: what `kettle ps PID --json` prints.
///
/// # Errors
/// If the session cannot be read.
pub fn snapshot(pid: u32) -> Result<String, WatchError> {
    Ok(tree::of(&look::Target::of(pid)?.look()?).to_string())
}
