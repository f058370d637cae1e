//! What a process can be started with, and what a pool can be given to do: functions that the program has registered.

use std::fmt;
use std::sync::OnceLock;

use kettle_core::arena::Block;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codec::{self, Message, Unsendable};
use crate::error::DecodeError;

/// A registered function, as the child finds it.
#[doc(hidden)]
#[derive(Debug)]
pub struct Entry {
    key: &'static str,
    run: fn(Arguments<'_>) -> Answer,
}

inventory::collect!(Entry);

/// The arguments of a task, still encoded.
#[doc(hidden)]
#[derive(Debug)]
pub struct Arguments<'a> {
    bytes: &'a [u8],
    blocks: Vec<Block>,
}

/// What became of a call that did not panic.
#[doc(hidden)]
#[derive(Debug)]
pub struct Answer(Result<Message, Failure>);

/// Why a task that did not panic has no result.
#[derive(Debug)]
pub(crate) enum Failure {
    Arguments(DecodeError),
    Result(Unsendable),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Arguments(e) => write!(f, "the arguments: {}", e.0),
            Self::Result(e) => write!(f, "the result: {e}"),
        }
    }
}

impl Entry {
    /// `key` is unique in the program.
    pub const fn new(key: &'static str, run: fn(Arguments<'_>) -> Answer) -> Self {
        Self { key, run }
    }

    /// All there are, in an order that is the same in all processes: these run one program.
    fn all() -> &'static [&'static Self] {
        static ALL: OnceLock<Vec<&'static Entry>> = OnceLock::new();
        ALL.get_or_init(|| {
            let mut all: Vec<_> = inventory::iter::<Self>().chain([&crate::pool::WORKER]).collect();
            all.sort_unstable_by_key(|entry| entry.key);
            all
        })
    }

    pub(super) fn find(key: &str) -> Option<&'static Self> {
        Self::numbered(Self::number_of(key)?)
    }

    pub(crate) fn number_of(key: &str) -> Option<u32> {
        Self::all().binary_search_by_key(&key, |entry| entry.key).ok().map(|number| number as u32)
    }

    pub(crate) fn numbered(number: u32) -> Option<&'static Self> {
        Self::all().get(number as usize).copied()
    }

    /// The function's own name.
    pub(crate) fn name(&self) -> &'static str {
        let last = self.key.rsplit("::").next().unwrap_or(self.key);
        last.split(':').next().unwrap_or(last)
    }

    pub(crate) fn key(&self) -> &'static str {
        self.key
    }

    pub(crate) fn run(&self, bytes: &[u8], blocks: Vec<Block>) -> Result<Message, Failure> {
        (self.run)(Arguments { bytes, blocks }).0
    }
}

impl Arguments<'_> {
    /// Calls `task` with them.
    pub fn answer<A: DeserializeOwned, R: Serialize + DeserializeOwned>(self, task: impl FnOnce(A) -> R) -> Answer {
        let arguments = match codec::decode(self.bytes, self.blocks) {
            Ok(arguments) => arguments,
            Err(e) => return Answer(Err(Failure::Arguments(e))),
        };
        Answer(codec::encode(&task(arguments), Vec::new()).map_err(Failure::Result))
    }
}

/// Where the type of an argument or a result cannot be sent, this says so at the type itself.
#[doc(hidden)]
pub fn must_be_sendable<T: Serialize + DeserializeOwned + 'static>() {}

/// What each child does before its task.
#[doc(hidden)]
#[derive(Debug)]
pub struct Setup(fn());

inventory::collect!(Setup);

impl Setup {
    /// Runs `set_up` in each child.
    pub const fn new(set_up: fn()) -> Self {
        Self(set_up)
    }

    pub(super) fn run_all() {
        inventory::iter::<Self>().for_each(|setup| (setup.0)());
    }
}

/// Has each child do something before its task: set up a logger, say. In a child nothing of `main` runs, and so nothing
/// of what `main` sets up is there. A worker of a [`Pool`](crate::Pool) does it once, before its first task.
///
/// May be written several times, anywhere in the program or in a library, outside of functions. The order is not
/// defined. If it panics, the task does not run, and the panic is told as one of the task.
///
/// ```standalone_crate
/// use std::sync::OnceLock;
///
/// static LOGGER: OnceLock<&str> = OnceLock::new();
///
/// fn set_up_logging() {
///     LOGGER.set("a logger").expect("it is the first one");
/// }
///
/// kettle::in_each_child! {
///     set_up_logging();
/// }
///
/// kettle::task! {
///     fn logger() -> Option<String> {
///         LOGGER.get().map(ToString::to_string)
///     }
/// }
///
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     kettle::init();
///     assert_eq!(logger(), None);
///     assert_eq!(logger::start()?.join()?.as_deref(), Some("a logger"));
///     Ok(())
/// }
/// ```
#[macro_export]
macro_rules! in_each_child {
    ($($body:tt)*) => {
        const _: () = {
            fn set_up() {
                $($body)*
            }

            $crate::__private::inventory::submit! {
                $crate::__private::Setup::new(set_up)
            }
        };
    };
}

/// The test harness that this program runs under, if it does: where in it a child begins.
#[doc(hidden)]
#[derive(Debug)]
pub struct Harness(&'static str);

inventory::collect!(Harness);

impl Harness {
    /// `test` is the path of a test that calls [`init`](crate::init), beginning with the crate's name.
    pub const fn new(test: &'static str) -> Self {
        Self(test)
    }

    /// The name by which the harness knows the test.
    pub(super) fn test() -> Option<&'static str> {
        inventory::iter::<Self>().next().and_then(|harness| harness.0.split_once("::")).map(|(_, test)| test)
    }
}

/// Defines functions that can be called, as ever, and that processes can be started with.
///
/// For `fn name(a: A, …) -> R`, besides the function there is
///
/// * `name::start(a, …)`, which starts a process that runs it and gives a [`Process<R>`](crate::Process);
/// * `name::builder(a, …)`, which gives a [`Builder<R>`](crate::Builder), for a process with a name, say;
/// * `name::call(a, …)`, which gives a [`Call<R>`](crate::pool::Call), to be made by a worker of a
///   [`Pool`](crate::Pool).
///
/// The arguments and the result travel by serde, so their types implement `Serialize` and `Deserialize`; they own what
/// they consist of. All that this crate shares between processes may be among them.
///
/// The attribute [`#[task]`](crate::attr::task) does the same for one function, which rustfmt then formats, and whose
/// arguments may be patterns. `cfg` on a task needs the attribute.
///
/// ```standalone_crate
/// kettle::task! {
///     /// How often `word` occurs in `text`.
///     fn count(text: String, word: char) -> usize {
///         text.chars().filter(|&c| c == word).count()
///     }
/// }
///
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     kettle::init();
///     assert_eq!(count("here".into(), 'e'), 2);
///     let process = count::start("in another process".into(), 'o')?;
///     assert_eq!(process.join()?, 2);
///     Ok(())
/// }
/// ```
#[macro_export]
macro_rules! task {
    ($(
        $(#[$attribute:meta])*
        $visibility:vis fn $name:ident ( $($argument:ident : $type:ty),* $(,)? ) $(-> $result:ty)? $body:block
    )+) => {$(
        $(#[$attribute])*
        $visibility fn $name($($argument: $type),*) $(-> $result)? $body

        /// Starts processes that run the function of this name.
        #[allow(non_camel_case_types, dead_code)]
        $visibility enum $name {}

        #[allow(dead_code, clippy::too_many_arguments)]
        impl $name {
            /// What tells it from all other tasks of the program.
            const KEY: &'static str = concat!(module_path!(), "::", stringify!($name), ":", line!(), ":", column!());

            /// Starts a process that runs it.
            $visibility fn start(
                $($argument: $type),*
            ) -> ::core::result::Result<$crate::Process<$crate::task!(@result $($result)?)>, $crate::StartError> {
                Self::builder($($argument),*).start()
            }

            /// For a process with a name, or other choices.
            $visibility fn builder($($argument: $type),*) -> $crate::Builder<$crate::task!(@result $($result)?)> {
                $crate::Builder::__new(Self::KEY, stringify!($name), ($($argument,)*))
            }

            /// A call of it, to be made by a worker of a pool.
            $visibility fn call($($argument: $type),*) -> $crate::pool::Call<$crate::task!(@result $($result)?)> {
                $crate::pool::Call::__new(Self::KEY, &($($argument,)*))
            }
        }

        const _: () = {
            #[allow(dead_code)]
            fn all_can_be_sent() {
                $($crate::__private::must_be_sendable::<$type>();)*
                $crate::__private::must_be_sendable::<$crate::task!(@result $($result)?)>();
            }
        };

        $crate::__private::inventory::submit! {
            $crate::__private::Entry::new($name::KEY, |arguments| {
                // Beside the arguments, one of which may have the name of the function.
                let task: fn($($type),*) -> $crate::task!(@result $($result)?) = $name;
                arguments.answer(|($($argument,)*): ($($type,)*)| task($($argument),*))
            })
        }
    )+};
    (@result) => { () };
    (@result $result:ty) => { $result };
}

/// Lets the tests of a crate start processes where children do not begin before `main`, which is hardly anywhere: see
/// [`init`](crate::init). To be written once, at the root of a test (or of a crate, under `#[cfg(test)]`).
///
/// A test program's `main` belongs to the harness. Its children are told to run the one test that this macro defines,
/// which calls [`init`](crate::init).
///
/// ```
/// # #[cfg(test)]
/// mod tests {
///     kettle::init_in_tests!();
///
///     // Tests that start processes.
/// }
/// ```
#[macro_export]
macro_rules! init_in_tests {
    () => {
        #[test]
        fn kettle_child() {
            $crate::init();
        }

        $crate::__private::inventory::submit! {
            $crate::__private::Harness::new(concat!(module_path!(), "::kettle_child"))
        }
    };
}
