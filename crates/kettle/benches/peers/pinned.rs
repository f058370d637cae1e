//! The processors that threads may run on.

use std::process::{Command, id};

/// Until it is dropped, the main thread and the threads that it starts run on one processor only.
///
/// The libraries do not know: they see the processors that the process started with. That is what a program meets whose
/// threads are more than the processors that other programs leave to it.
pub(crate) struct Pinned {
    before: String,
}

impl Pinned {
    pub(crate) fn to(processor: u32) -> Self {
        // Our library remembers them from when it first asks; the others do not ask.
        let _ = kettle_core::wait::cpus();
        let told = run(&["-p", "-c"], None);
        let before = told.rsplit(' ').next().unwrap_or("0").trim().to_owned();
        run(&["-p", "-c"], Some(&processor.to_string()));
        Self { before }
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        run(&["-p", "-c"], Some(&self.before));
    }
}

/// Asks `taskset`, which belongs to every Linux system, for this process's main thread or tells it where to run.
fn run(options: &[&str], processors: Option<&str>) -> String {
    let output = Command::new("taskset").args(options).args(processors).arg(id().to_string()).output();
    let output = output.expect("taskset (of util-linux) is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
