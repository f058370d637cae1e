//! The other side: what a process does that was started by this library.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::panic::{self, AssertUnwindSafe};
use std::process;
use std::str::FromStr;
use std::sync::{Mutex, OnceLock, PoisonError};

use kettle_core::arena::{Handle, Session, Ticket, Token, participants};
use kettle_core::queue::Queue;
use kettle_core::sys::{child, early, process as system, signal};
use kettle_core::wait::Patience;
use serde::{Deserialize, Serialize};

use super::limits::Limits;
use super::task::{Entry, Harness, Setup};
use crate::codec::{self, Message};
use crate::panic::message_of;
use crate::queue::message::{Incoming, Outgoing};
use crate::session;

/// What is known of this process once something asks for it.
static CURRENT: OnceLock<Current> = OnceLock::new();

/// To be called first in `main` by programs that are to run wherever they may be linked to.
///
/// A child is this very program again. On nearly all targets it begins its task before `main`, and nothing of `main`
/// runs in it: no parsing of arguments, no `#[tokio::main]`. There this does nothing, and may be left out: so libraries
/// can start processes, and so can their tests. Only a program that is linked statically to fixed addresses
/// (`relocation-model=static` with `crt-static`) has no such place before `main`. In its children `main` runs as far as
/// `init`, which runs the task and does not return.
///
/// [`in_each_child!`](crate::in_each_child) sets up what children need, such as a logger. Rust's own start-up code does
/// not run in a child either: a stack overflow ends it with `SIGSEGV` and without a message.
///
/// A child knows what it is by a variable in its environment, which is removed before any of the program's code runs.
/// In a program that is set-user-id it means nothing.
///
/// When the program ends, by returning from `main` or by `exit`, daemons among its children are killed and all others
/// are waited for.
///
/// ```standalone_crate
/// kettle::task! {
///     fn arguments() -> usize {
///         std::env::args().count()
///     }
/// }
///
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     kettle::init();
///     // A child has the arguments of its parent.
///     assert_eq!(arguments::start()?.join()?, std::env::args().count());
///     Ok(())
/// }
/// ```
pub fn init() {
    match start_line() {
        Some(line) => run(line),
        None => {
            CURRENT.get_or_init(Current::main);
        }
    }
}

kettle_core::initialiser!(before_main: is_child => begin);

fn is_child() -> bool {
    start_line().is_some()
}

/// The course of a child, in place of `main`.
fn begin() -> ! {
    signal::ignore_broken_pipes();
    init();
    // Only between two looks at the environment could it have changed.
    process::exit(PANICKED)
}

/// What the parent has put into the environment.
fn start_line() -> Option<StartLine> {
    let line = std::env::var_os(VARIABLE)?;
    let line = StartLine::parse(line.to_str()?)?;
    (!system::is_privileged()).then_some(line)
}

/// Whether children of this program, which are this program again, will know what they are.
pub(super) fn is_ready() -> bool {
    begins_early() || CURRENT.get().is_some() || Harness::test().is_some()
}

/// Whether they begin before `main`.
pub(super) fn begins_early() -> bool {
    static IS_EARLY: OnceLock<bool> = OnceLock::new();
    *IS_EARLY.get_or_init(|| early::is_of_program(before_main))
}

/// This process, as this library knows it.
#[derive(Debug)]
pub struct Current {
    name: String,
    parent: Option<u32>,
}

/// This process.
pub fn current() -> &'static Current {
    CURRENT.get_or_init(Current::main)
}

impl Current {
    fn main() -> Self {
        Self { name: "main".into(), parent: None }
    }

    /// What it is called; `main` if it was not started by this library.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        process::id()
    }

    /// The number of the process that started it by this library, if one did.
    pub fn parent(&self) -> Option<u32> {
        self.parent
    }
}

/// What a child finds first in its mailbox; its arguments come second.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Header {
    pub(super) key: String,
    pub(super) name: String,
    pub(super) parent: u32,
    /// The descriptors that go with the arguments.
    pub(super) inherited: Vec<RawFd>,
    pub(super) limits: Limits,
}

/// The numbers of descriptors that this process was started with for its arguments, and has not taken yet.
static INHERITED: Mutex<Vec<RawFd>> = Mutex::new(Vec::new());

/// Takes a descriptor that the parent has handed down for an argument. Any other number, from whatever message, is
/// refused: it has an owner.
pub(crate) fn take_inherited(fd: RawFd) -> io::Result<OwnedFd> {
    let mut inherited = INHERITED.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(at) = inherited.iter().position(|&number| number == fd) else {
        return Err(io::Error::new(io::ErrorKind::NotFound, "this process was not started with this end of a pipe"));
    };
    inherited.swap_remove(at);
    child::take_inherited(fd)
}

/// What a child leaves in its mailbox: the tags of its messages.
#[derive(Clone, Copy, Debug)]
pub(super) enum Outcome {
    Returned = 1,
    Panicked = 2,
    Lost = 3,
}

impl Outcome {
    /// None: this message was for the child.
    pub(super) fn of(tag: u8) -> Option<Self> {
        [Self::Returned, Self::Panicked, Self::Lost].into_iter().find(|outcome| *outcome as u8 == tag)
    }
}

/// What the environment of a child tells it: where it finds everything else.
#[derive(Debug)]
pub(super) struct StartLine {
    /// The session's descriptor.
    pub(super) session: RawFd,
    /// The read end of the life pipe.
    pub(super) life: Option<RawFd>,
    pub(super) ticket: Ticket,
    pub(super) mailbox: Token,
}

const MARK: &str = "kettle-child";

/// Under which name. What it starts itself does not get it.
pub(super) const VARIABLE: &str = "KETTLE_CHILD";

impl fmt::Display for StartLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{MARK}:{}:{}:{:x}:", self.session, self.life.unwrap_or(-1), self.ticket.to_bits())?;
        self.mailbox.to_bytes().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl StartLine {
    fn parse(s: &str) -> Option<Self> {
        let mut fields = s.split(':');
        if fields.next()? != MARK {
            return None;
        }
        let session = RawFd::from_str(fields.next()?).ok()?;
        let life = RawFd::from_str(fields.next()?).ok().filter(|&fd| fd >= 0);
        let ticket = Ticket::from_bits(u64::from_str_radix(fields.next()?, 16).ok()?)?;
        let hex = fields.next()?;
        let mut mailbox = [0; Token::LEN];
        for (i, byte) in mailbox.iter_mut().enumerate() {
            *byte = u8::from_str_radix(hex.get(2 * i..2 * i + 2)?, 16).ok()?;
        }
        Some(Self { session, life, ticket, mailbox: Token::from_bytes(&mailbox) })
    }
}

/// As Rust's own programs exit that panicked.
const PANICKED: i32 = 101;

fn run(line: StartLine) -> ! {
    system::forget_variable(VARIABLE);
    let mailbox = match arrive(&line) {
        Ok(mailbox) => mailbox,
        Err(why) => {
            eprintln!("kettle: process {} cannot begin: {why}", process::id());
            process::exit(PANICKED);
        }
    };
    if cfg!(panic = "abort") {
        tell_panics(mailbox.clone());
    }
    let result = panic::catch_unwind(AssertUnwindSafe(|| work(&mailbox)));
    let (outcome, message) = match result {
        Ok(Ok(result)) => (Outcome::Returned, Ok(result)),
        Ok(Err(why)) => (Outcome::Lost, text(&why)),
        Err(panic) => (Outcome::Panicked, text(message_of(&*panic))),
    };
    let code = if matches!(outcome, Outcome::Returned) { 0 } else { PANICKED };
    match message {
        Ok(message) => process::exit(leave(&mailbox, outcome, message).map_or(PANICKED, |()| code)),
        Err(()) => process::exit(PANICKED),
    }
}

/// Leaves the message of a panic before the panic aborts the process: nothing can be done about it later.
fn tell_panics(mailbox: Handle<Queue>) {
    let others = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        others(info);
        let _ = text(message_of(info.payload())).and_then(|message| leave(&mailbox, Outcome::Panicked, message));
    }));
}

/// Ties this process to its parent's life, and takes its place in the session.
fn arrive(line: &StartLine) -> Result<Handle<Queue>, String> {
    if let Some(life) = line.life {
        let life = child::take_inherited(life).map_err(|e| format!("its life pipe: {e}"))?;
        signal::die_with(life.as_fd()).map_err(|e| format!("its life pipe: {e}"))?;
        // Closing it would end the watch.
        static LIFE: OnceLock<OwnedFd> = OnceLock::new();
        let _ = LIFE.set(life);
    }
    let session = child::take_inherited(line.session).map_err(|e| format!("its session: {e}"))?;
    Session::attach(session).map_err(|e| e.to_string())?;
    participants::adopt(line.ticket).map_err(|e| e.to_string())?;
    session::join().map_err(|e| e.to_string())?;
    Handle::from_token(&line.mailbox).map_err(|e| format!("its mailbox: {e}"))
}

/// Runs the task. The error says why it could not, or why its result cannot be told.
fn work(mailbox: &Handle<Queue>) -> Result<Message, String> {
    let next = || Incoming::take(mailbox, &Patience::none()).map_err(|e| format!("the start message: {e:?}"));
    let header: Header = next()?.decode().map_err(|e| e.to_string())?;
    *INHERITED.lock().unwrap_or_else(PoisonError::into_inner) = header.inherited;
    let mut arguments = next()?;
    // Nothing depends on it.
    let _ = child::set_name(&header.name);
    let _ = CURRENT.set(Current { name: header.name, parent: Some(header.parent) });
    header.limits.apply()?;
    Setup::run_all();
    let entry = Entry::find(&header.key).ok_or_else(|| format!("this program has no task {}", header.key))?;
    let (bytes, blocks) = arguments.open();
    entry.run(bytes, blocks).map_err(|failure| failure.to_string())
}

fn text(s: &str) -> Result<Message, ()> {
    codec::encode_own(s).map_err(drop)
}

fn leave(mailbox: &Handle<Queue>, outcome: Outcome, message: Message) -> Result<(), ()> {
    let put = |mut outgoing: Outgoing| outgoing.put(mailbox, &Patience::forever()).map_err(drop);
    match Outgoing::new(outcome as u8, message) {
        Ok(outgoing) => put(outgoing),
        Err(e) => put(Outgoing::new(Outcome::Lost as u8, text(&format!("the result: {e}"))?).map_err(drop)?),
    }
}
