//! Rounds, medians, ratios.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use crate::pinned::Pinned;

/// How long one sample takes, about.
const SAMPLE: Duration = Duration::from_millis(20);
/// Before each: until then the threads of the library before, some of which spin on for a while, are asleep.
const REST: Duration = Duration::from_millis(20);
const ROUNDS: usize = 9;
const OURS: &str = "kettle";

/// What one library takes for so many operations.
type Run = Box<dyn FnMut(u64) -> Duration>;

/// One thing that several libraries do.
pub(crate) struct Cell {
    name: &'static str,
    unit: &'static str,
    on_one_core: bool,
    runners: Vec<Runner>,
}

struct Runner {
    library: &'static str,
    run: Run,
    operations: u64,
    /// Operations per second.
    samples: Vec<f64>,
}

pub(crate) struct Table {
    title: &'static str,
    libraries: Vec<&'static str>,
    cells: Vec<Cell>,
}

impl Cell {
    pub(crate) fn new(name: &'static str, unit: &'static str) -> Self {
        Self { name, unit, on_one_core: false, runners: Vec::new() }
    }

    /// All threads that it starts share one processor.
    pub(crate) fn on_one_core(mut self) -> Self {
        self.on_one_core = true;
        self
    }

    /// What this library does: so many operations.
    pub(crate) fn with(mut self, library: &'static str, run: impl FnMut(u64) -> Duration + 'static) -> Self {
        self.runners.push(Runner { library, run: Box::new(run), operations: 0, samples: Vec::new() });
        self
    }

    fn measure(&mut self) {
        let _pinned = self.on_one_core.then(|| Pinned::to(0));
        self.runners.iter_mut().for_each(Runner::warm_up);
        for round in 0..ROUNDS {
            let count = self.runners.len();
            (0..count).for_each(|i| self.runners[(i + round) % count].sample());
        }
    }

    fn median_of(&self, library: &str) -> Option<f64> {
        self.runners.iter().find(|runner| runner.library == library).map(Runner::median)
    }
}

impl Runner {
    /// Finds out how many operations a sample has.
    fn warm_up(&mut self) {
        let mut operations = 64;
        loop {
            let took = (self.run)(operations);
            if took > SAMPLE / 4 {
                let wanted = operations as f64 * SAMPLE.as_secs_f64() / took.as_secs_f64();
                self.operations = wanted.max(1.0) as u64;
                return;
            }
            operations *= 4;
        }
    }

    fn sample(&mut self) {
        thread::sleep(REST);
        let took = (self.run)(self.operations);
        self.samples.push(self.operations as f64 / took.as_secs_f64());
    }

    fn median(&self) -> f64 {
        let mut samples = self.samples.clone();
        samples.sort_by(f64::total_cmp);
        samples[samples.len() / 2]
    }
}

impl Table {
    pub(crate) fn new<const N: usize>(title: &'static str, rivals: [&'static str; N], cells: Vec<Cell>) -> Self {
        Self { title, libraries: std::iter::once(OURS).chain(rivals).collect(), cells }
    }

    /// Measures those of its cells that are asked for, and keeps no others.
    pub(crate) fn measure(mut self, is_wanted: impl Fn(&str) -> bool) -> Self {
        self.cells.retain(|cell| is_wanted(&format!("{}: {}", self.title, cell.name).to_lowercase()));
        self.cells.iter_mut().for_each(Cell::measure);
        self
    }

    pub(crate) fn print(&self) {
        if self.cells.is_empty() {
            return;
        }
        println!("\n### {}\n", self.title);
        println!("| cell | unit | {} | to the best rival |", self.libraries.join(" | "));
        println!("| --- | --- | {}---: |", "---: | ".repeat(self.libraries.len()));
        for cell in &self.cells {
            let figures: Vec<_> = self.libraries.iter().map(|library| figure(cell.median_of(library))).collect();
            println!("| {} | {} | {} | {} |", cell.name, cell.unit, figures.join(" | "), verdict(cell));
        }
    }
}

fn verdict(cell: &Cell) -> String {
    let rivals = cell.runners.iter().filter(|runner| runner.library != OURS);
    let best = rivals.max_by(|one, other| one.median().total_cmp(&other.median()));
    match (cell.median_of(OURS), best) {
        (Some(ours), Some(best)) => format!("{:.2}× {}", ours / best.median(), best.library),
        _ => "-".into(),
    }
}

/// Three digits are what a shared machine can vouch for.
fn figure(value: Option<f64>) -> String {
    let Some(value) = value else { return "-".into() };
    let (scaled, suffix) = match value {
        1e6.. => (value / 1e6, " M"),
        1e3.. => (value / 1e3, " k"),
        _ => (value, ""),
    };
    let decimals = if scaled < 10.0 { 2 } else { usize::from(scaled < 100.0) };
    format!("{scaled:.decimals$}{suffix}")
}

/// How long something takes.
pub(crate) fn time(what: impl FnOnce()) -> Duration {
    let begin = Instant::now();
    what();
    begin.elapsed()
}

/// How long it takes that many threads to do something, each with its number, from when the first begins until the last
/// is done.
///
/// The threads read the clock themselves: while they keep all processors busy, a thread that only watches them runs a
/// time slice too late.
pub(crate) fn time_threads(count: u64, what: impl Fn(u64) + Sync) -> Duration {
    let barrier = Barrier::new(count as usize);
    let times = thread::scope(|scope| {
        let threads: Vec<_> = (0..count)
            .map(|number| {
                let (barrier, what) = (&barrier, &what);
                scope.spawn(move || {
                    barrier.wait();
                    let begin = Instant::now();
                    what(number);
                    (begin, Instant::now())
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect::<Vec<_>>()
    });
    let (begins, ends): (Vec<_>, Vec<_>) = times.into_iter().unzip();
    match (begins.into_iter().min(), ends.into_iter().max()) {
        (Some(begin), Some(end)) => end - begin,
        _ => Duration::ZERO,
    }
}
