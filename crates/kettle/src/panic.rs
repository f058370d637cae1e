//! The panic of a task.

use std::any::Any;
use std::fmt;
use std::panic;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

/// A panic of a task of a [`Pool`](crate::Pool) or a [`ThreadPool`](crate::ThreadPool).
///
/// ```
/// use kettle::ThreadPool;
/// use kettle::thread_pool::TaskError;
///
/// let pool = ThreadPool::new()?;
/// match pool.apply(|| -> u32 { panic!("no luck") }) {
///     Err(TaskError::Panicked(panic)) => assert_eq!(panic.message(), "no luck"),
///     other => unreachable!("{other:?}"),
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Serialize, Deserialize)]
pub struct Panic {
    /// The panic message.
    pub message: String,
    /// The location as `file:line:column`. `None` in a pool of threads, where the program's panic hook has already
    /// reported it, and if a task in a process has set its own panic hook.
    pub location: Option<String>,
    pub(crate) backtrace: String,
    /// What was thrown, in this process. It belongs to the clone that asks first.
    #[serde(skip)]
    payload: Option<Arc<Mutex<Payload>>>,
}

type Payload = Option<Box<dyn Any + Send>>;

impl Panic {
    /// A panic in another process, which cannot send its payload.
    pub(crate) fn told(message: String, location: Option<String>, backtrace: String) -> Self {
        Self { message, location, backtrace, payload: None }
    }

    /// A panic in this process.
    pub(crate) fn caught(payload: Box<dyn Any + Send>) -> Self {
        let message = message_of(&*payload).to_owned();
        let payload = Some(Arc::new(Mutex::new(Some(payload))));
        Self { message, location: None, backtrace: String::new(), payload }
    }

    /// Returns the panic message, which is also the field of that name.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Returns the backtrace, as detailed as the program's symbols permit; empty where `location` is `None`.
    pub fn backtrace(&self) -> &str {
        &self.backtrace
    }

    /// Returns the payload, as [`std::thread::JoinHandle::join`] does. It is the message, as a `String`, if the panic
    /// was in another process, or if the payload was taken from a clone.
    ///
    /// ```
    /// use kettle::ThreadPool;
    /// use kettle::thread_pool::TaskError;
    ///
    /// let pool = ThreadPool::new()?;
    /// let task = || -> u32 { std::panic::panic_any(404) };
    /// let Err(TaskError::Panicked(panic)) = pool.apply(task) else { unreachable!() };
    /// assert_eq!(*panic.into_payload().downcast::<i32>().expect("a number"), 404);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn into_payload(self) -> Box<dyn Any + Send> {
        let taken = self.payload.and_then(|payload| payload.lock().unwrap_or_else(PoisonError::into_inner).take());
        taken.unwrap_or_else(|| Box::new(self.message))
    }

    /// Resumes the panic in this thread, without calling the panic hook again.
    ///
    /// ```
    /// use kettle::ThreadPool;
    /// use kettle::thread_pool::TaskError;
    ///
    /// let pool = ThreadPool::new()?;
    /// let Err(TaskError::Panicked(panic)) = pool.apply(|| -> u32 { panic!("no luck") }) else { unreachable!() };
    /// assert!(std::thread::spawn(|| panic.resume()).join().is_err());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn resume(self) -> ! {
        panic::resume_unwind(self.into_payload())
    }
}

impl PartialEq for Panic {
    /// Compares what is told about them, not their payloads.
    fn eq(&self, other: &Self) -> bool {
        self.message == other.message && self.location == other.location
    }
}

impl Eq for Panic {}

impl std::error::Error for Panic {}

impl fmt::Display for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        self.location.as_ref().map_or(Ok(()), |location| write!(f, " (at {location})"))
    }
}

impl fmt::Debug for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Panic")
            .field("message", &self.message)
            .field("location", &self.location)
            .finish_non_exhaustive()
    }
}

/// The message that a panic was raised with.
pub(crate) fn message_of(panic: &(dyn Any + Send)) -> &str {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(s), _) => s,
        (_, Some(s)) => s,
        _ => "a panic without a message",
    }
}
