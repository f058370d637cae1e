//! The command line.

use std::time::Duration;

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Ps,
    Stacks,
    Doctor,
}

/// A command line that makes sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Arguments {
    pub(crate) command: Command,
    pub(crate) pid: Option<u32>,
    pub(crate) json: bool,
    /// How long to look.
    pub(crate) span: Duration,
    /// The program to run, with its arguments; empty for none.
    pub(crate) program: Vec<String>,
}

const SPAN: Duration = Duration::from_millis(1500);

/// Reads the command line. An empty error asks for help.
pub(crate) fn parse(words: &[String]) -> Result<Arguments, String> {
    let command = match words.first().map(String::as_str) {
        Some("ps") => Command::Ps,
        Some("stacks") => Command::Stacks,
        Some("doctor") => Command::Doctor,
        Some("-h" | "--help" | "help") => return Err(String::new()),
        Some(other) => return Err(format!("there is no command {other}")),
        None => return Err("which command?".to_owned()),
    };
    let mut parsed = Arguments { command, pid: None, json: false, span: SPAN, program: Vec::new() };
    let mut rest = words[1..].iter();
    while let Some(word) = rest.next() {
        match word.as_str() {
            "--json" => parsed.json = true,
            "-h" | "--help" => return Err(String::new()),
            "--for" if command == Command::Doctor => parsed.span = span(rest.next())?,
            "--" if command == Command::Doctor && parsed.pid.is_none() => {
                parsed.program = rest.by_ref().cloned().collect();
                if parsed.program.is_empty() {
                    return Err("which program?".to_owned());
                }
            }
            word => match word.parse() {
                Ok(pid) if parsed.pid.is_none() => parsed.pid = Some(pid),
                Ok(_) => return Err("one process ID is enough".to_owned()),
                Err(_) => return Err(format!("{word} is neither an option nor a process ID")),
            },
        }
    }
    Ok(parsed)
}

fn span(word: Option<&String>) -> Result<Duration, String> {
    let seconds = word.and_then(|word| word.parse::<f64>().ok());
    let span = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    span.ok_or_else(|| "--for needs a number of seconds".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Arguments, String> {
        parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn what_follows_the_dashes_is_the_program() {
        let found = parsed("doctor --json -- python x.py --json 5").unwrap();
        assert_eq!((found.command, found.pid, found.json), (Command::Doctor, None, true));
        assert_eq!(found.program, ["python", "x.py", "--json", "5"]);
    }

    #[test]
    fn a_process_and_a_span() {
        let found = parsed("doctor 123 --for 2.5").unwrap();
        assert_eq!((found.pid, found.span), (Some(123), Duration::from_millis(2500)));
    }

    #[test]
    fn mistakes_are_named() {
        assert_eq!(parsed("ps x").unwrap_err(), "x is neither an option nor a process ID");
        assert_eq!(parsed("ps 1 2").unwrap_err(), "one process ID is enough");
        assert_eq!(parsed("doctor --for -1").unwrap_err(), "--for needs a number of seconds");
        assert_eq!(parsed("doctor --").unwrap_err(), "which program?");
        assert_eq!(parsed("dance").unwrap_err(), "there is no command dance");
        assert_eq!(parsed("ps --help").unwrap_err(), "");
    }
}
