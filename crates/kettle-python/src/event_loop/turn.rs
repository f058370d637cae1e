//! One turn of a loop, and its sleep.

use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

use kettle::event_loop::{Events, Offer, Poller, Time, Wait};
use kettle_core::sys::clock;
use pyo3::exceptions::{PyKeyboardInterrupt, PySystemExit};
use pyo3::intern;
use pyo3::prelude::*;

use super::EventLoop;
use crate::errors;
use crate::fast::calls;
use crate::fast::handle::Handle;
use crate::fast::handle_classes;

/// The minimum time between two polls while callbacks are ready and the last poll found nothing, in nanoseconds.
const BETWEEN_POLLS: u64 = 50_000;
/// asyncio's own limit, in seconds.
const LONGEST_SLEEP: f64 = 24.0 * 3600.0;

impl EventLoop {
    /// The loop's clock, which the program may have replaced.
    fn now(slf: &Bound<'_, Self>) -> PyResult<f64> {
        match slf.get().has_its_own_clock() {
            true => Ok(Self::clock()),
            false => calls::call_method(slf, intern!(slf.py(), "time"), ())?.extract(),
        }
    }

    /// How long to sleep at most; None for ever.
    fn sleep_limit(slf: &Bound<'_, Self>) -> PyResult<Option<Duration>> {
        let (py, this) = (slf.py(), slf.get());
        this.drop_cancelled(py);
        let first = {
            let parts = this.lock(py);
            if !parts.ready.is_empty() || this.is_stopping.load(Ordering::Relaxed) {
                return Ok(Some(Duration::ZERO));
            }
            parts.timers.first().map(|(time, _)| time.seconds())
        };
        let Some(first) = first else { return Ok(None) };
        Ok(Some(Self::sleep_of(first - Self::now(slf)?)))
    }

    /// How long to sleep if something is due in `seconds`.
    pub(super) fn sleep_of(seconds: f64) -> Duration {
        // A NaN is due now. One more, since the difference was rounded.
        match seconds > 0.0 {
            true => Duration::from_secs_f64(seconds.min(LONGEST_SLEEP)) + Duration::from_nanos(1),
            false => Duration::ZERO,
        }
    }

    /// Drops cancelled timers at the front, and all cancelled ones if there are many.
    pub(super) fn drop_cancelled(&self, py: Python<'_>) {
        loop {
            let mut parts = self.lock(py);
            if parts.timers.is_stale() {
                let gone = parts.timers.take_cancelled(|timer| timer.is_cancelled(py));
                drop(parts);
                gone.iter().for_each(|timer| timer.set_due(py));
                continue;
            }
            if !parts.timers.first().is_some_and(|(_, timer)| timer.is_cancelled(py)) {
                return;
            }
            parts.timers.note_cancelled_is_out();
            let timer = parts.timers.pop();
            drop(parts);
            if let Some(timer) = timer {
                timer.set_due(py);
            }
        }
    }

    /// Whether this turn may skip the poll.
    fn may_skip_poll(&self, py: Python<'_>, limit: Option<Duration>) -> bool {
        let quiet_since = self.lock(py).quiet_since;
        limit == Some(Duration::ZERO) && quiet_since != 0 && clock::now() < quiet_since + BETWEEN_POLLS
    }

    /// Waits, and moves what arrived to the ready callbacks.
    pub(super) fn poll(&self, py: Python<'_>, limit: Option<Duration>) -> PyResult<()> {
        let poller = self.poller(py)?;
        let mut events = self.lock(py).events.take().unwrap_or_default();
        let is_brief = limit == Some(Duration::ZERO) || !self.inbox.announce();
        let now = match is_brief {
            true => poller.sleep(&mut events, Some(Duration::ZERO)).map(|()| clock::now()),
            false => self.wait(py, &poller, &mut events, limit),
        };
        let now = now.map_err(errors::os)?;
        let mut came = poller.came(&events).map_err(errors::os)?.peekable();
        let mut parts = self.lock(py);
        parts.quiet_since = if came.peek().is_none() { now } else { 0 };
        for ready in came {
            let parts = &mut *parts;
            match parts.slots.of(ready) {
                Ok(handles) => parts.ready.extend(handles.into_iter().flatten().map(|handle| handle.clone_ref(py))),
                Err(kettle::event_loop::Gone) => parts.must_renew = true,
            }
        }
        parts.events = Some(events);
        // Without a GIL there is nothing to share.
        let offer = if cfg!(Py_GIL_DISABLED) { None } else { parts.tenure.owes(now, clock::spent_by_thread) };
        drop(parts);
        if let Some(offer) = offer {
            self.offer(py, offer);
        }
        Ok(())
    }

    /// Waits until something comes: without the GIL or, beside a thread that computes, for a short time with it. Returns
    /// the time.
    fn wait(&self, py: Python<'_>, poller: &Poller, events: &mut Events, limit: Option<Duration>) -> io::Result<u64> {
        let begun = self.lock(py).tenure.is_contested().then(clock::now);
        if let Some(begun) = begun {
            let wait = self.lock(py).tenure.wait(begun);
            if let Wait::Holding(most) = wait {
                poller.sleep(events, Some(limit.map_or(most, |limit| limit.min(most))))?;
                let now = clock::now();
                self.lock(py).tenure.held(begun, now, events.iter().next().is_some());
                return Ok(now);
            }
        }
        let (slept, asked) = py.detach(|| (poller.sleep(events, limit), clock::now()));
        let now = clock::now();
        self.regained(py, asked, now);
        slept.map(|()| now)
    }

    /// Has other threads run, which the loop has kept from the GIL for some time.
    #[cold]
    fn offer(&self, py: Python<'_>, offer: Offer) {
        let asked = py.detach(|| {
            if let Offer::Pause(pause) = offer {
                std::thread::sleep(pause);
            }
            clock::now()
        });
        self.regained(py, asked, clock::now());
    }

    /// Notes how long the GIL took to come back.
    fn regained(&self, py: Python<'_>, asked: u64, got: u64) {
        if cfg!(Py_GIL_DISABLED) || !self.lock(py).tenure.regained(asked, got, clock::spent_by_thread) {
            return;
        }
        // A program may have removed what it thinks it does not need.
        let sys = py.import(intern!(py, "sys"));
        let interval = sys.and_then(|sys| calls::call_method(&sys, intern!(py, "getswitchinterval"), ()));
        let interval = interval.and_then(|interval| interval.extract::<f64>()).map(Duration::try_from_secs_f64);
        if let Ok(Ok(interval)) = interval {
            self.lock(py).tenure.set_interval(interval);
        }
    }

    /// Moves the handles that other threads left to the ready callbacks.
    pub(super) fn empty_inbox(&self, py: Python<'_>) {
        let came = self.inbox.take();
        if !came.is_empty() {
            self.lock(py).ready.extend(came);
        }
    }

    /// Moves the due timers to the ready callbacks.
    fn take_due(slf: &Bound<'_, Self>) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        if this.lock(py).timers.is_empty() {
            return Ok(());
        }
        let now = Time::at(Self::now(slf)?);
        loop {
            let mut parts = this.lock(py);
            if parts.timers.first().is_none_or(|(time, _)| time > now) {
                return Ok(());
            }
            let Some(timer) = parts.timers.pop() else { return Ok(()) };
            if timer.is_cancelled(py) {
                parts.timers.note_cancelled_is_out();
            }
            // Under the lock: False replaces True, which runs no code.
            timer.set_due(py);
            parts.ready.push(timer);
        }
    }

    /// Runs the callbacks that are ready now.
    fn run_ready(slf: &Bound<'_, Self>) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        let count = this.lock(py).ready.len();
        for _ in 0..count {
            let Some(next) = this.lock(py).ready.pop() else { return Ok(()) };
            if next.is_cancelled(py) {
                continue;
            }
            if this.is_debug() {
                calls::call_method(slf, intern!(py, "_kettle_run_watched"), (next.object(),))?;
            } else if let Err(e) = next.run(py) {
                Self::report(slf, &next, e)?;
            }
            calls::let_go(next.into_bound(py));
        }
        Ok(())
    }

    /// Handles an exception of a callback as asyncio does.
    #[cold]
    fn report(slf: &Bound<'_, Self>, handle: &Handle, e: PyErr) -> PyResult<()> {
        let py = slf.py();
        if e.is_instance_of::<PySystemExit>(py) || e.is_instance_of::<PyKeyboardInterrupt>(py) {
            return Err(e);
        }
        calls::call_method(slf, intern!(py, "_kettle_report"), (handle.object(), e)).map(drop)
    }
}

#[pymethods]
impl EventLoop {
    /// One turn: waits for what comes, and runs what is ready.
    fn _run_once(slf: &Bound<'_, Self>) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        py.check_signals()?;
        let limit = Self::sleep_limit(slf)?;
        if !this.may_skip_poll(py, limit) {
            this.poll(py, limit)?;
        }
        this.empty_inbox(py);
        Self::take_due(slf)?;
        Self::run_ready(slf)
    }

    /// Before a run: looks what the program has replaced or closed since the last one.
    fn _kettle_prepare(&self, py: Python<'_>) -> PyResult<()> {
        handle_classes::look_for_replacements(py)?;
        let mut parts = self.lock(py);
        parts.quiet_since = 0;
        // Descriptors that the program closed are created again.
        parts.must_renew |= parts.poller.as_deref().is_some_and(|poller| !Poller::is_whole(poller));
        Ok(())
    }

    /// Turns until `stop()`.
    fn _kettle_run(slf: &Bound<'_, Self>) -> PyResult<()> {
        let this = slf.get();
        loop {
            Self::_run_once(slf)?;
            if this.is_stopping.load(Ordering::Relaxed) {
                return Ok(());
            }
        }
    }
}
