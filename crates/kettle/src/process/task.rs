//! What a process can be started with: functions that the program has registered.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codec::{self, Message, Unsendable};
use crate::error::DecodeError;
use crate::queue::message::Incoming;

/// A registered function, as the child finds it.
#[doc(hidden)]
#[derive(Debug)]
pub struct Entry {
    key: &'static str,
    run: fn(Call) -> Answer,
}

inventory::collect!(Entry);

/// The arguments of a task, still encoded.
#[doc(hidden)]
#[derive(Debug)]
pub struct Call(pub(super) Incoming);

/// What became of a call that did not panic.
#[doc(hidden)]
#[derive(Debug)]
pub struct Answer(pub(super) Result<Message, Failure>);

/// Why a task that did not panic has no result.
#[derive(Debug)]
pub(super) enum Failure {
    Arguments(DecodeError),
    Result(Unsendable),
}

impl Entry {
    /// `key` is unique in the program.
    pub const fn new(key: &'static str, run: fn(Call) -> Answer) -> Self {
        Self { key, run }
    }

    pub(super) fn find(key: &str) -> Option<&'static Self> {
        inventory::iter::<Self>().find(|entry| entry.key == key)
    }

    pub(super) fn run(&self, arguments: Incoming) -> Result<Message, Failure> {
        (self.run)(Call(arguments)).0
    }
}

impl Call {
    /// Calls `task` with the arguments.
    pub fn answer<A: DeserializeOwned, R: Serialize>(self, task: impl FnOnce(A) -> R) -> Answer {
        let arguments = match self.0.decode() {
            Ok(arguments) => arguments,
            Err(e) => return Answer(Err(Failure::Arguments(e))),
        };
        Answer(codec::encode(&task(arguments), Vec::new()).map_err(Failure::Result))
    }
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
/// * `name::builder(a, …)`, which gives a [`Builder<R>`](crate::Builder), for a process with a name, say.
///
/// The arguments and the result travel by serde, so their types implement `Serialize` and `Deserialize`; they own what
/// they consist of. All that this crate shares between processes may be among them.
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
        }

        $crate::__private::inventory::submit! {
            $crate::__private::Entry::new($name::KEY, |call| {
                call.answer(|($($argument,)*): ($($type,)*)| $name($($argument),*))
            })
        }
    )+};
    (@result) => { () };
    (@result $result:ty) => { $result };
}

/// Lets the tests of a crate start processes, under Rust's own test harness. To be written once, at the root of a
/// test (or of a crate, under `#[cfg(test)]`).
///
/// A child is this very program again. A test program's `main` belongs to the harness, so the child is told to run
/// the one test that this macro defines, which calls [`init`](crate::init). The harness of each child prints a line or
/// two of its own.
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
