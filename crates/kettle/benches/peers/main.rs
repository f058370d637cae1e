//! The library beside the Rust libraries that do one of its things each.
//!
//!     cargo bench -p kettle                    # all of it, a minute
//!     cargo bench -p kettle -- pool            # the cells with this in their names
//!
//! It prints Markdown, as it stands in `docs/benchmarks.md`. Within each round the libraries take turns, and what
//! counts is the ratio: the figures themselves move with what else the machine does.

mod locks;
mod pinned;
mod pools;
mod queues;
mod table;
mod work;

use table::Table;

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    // Cargo says so when it benches. It runs this also where it tests everything, and there is nothing to test here.
    if !arguments.iter().any(|argument| argument == "--bench") {
        return;
    }
    let named = |cell: &str| {
        let mut words = arguments.iter().filter(|argument| !argument.starts_with('-')).peekable();
        words.peek().is_none() || words.any(|word| cell.contains(word.as_str()))
    };
    let tables = [
        Table::new("Locks", ["std", "parking_lot"], locks::cells()),
        Table::new("Queues", ["std", "crossbeam-channel"], queues::cells()),
        Table::new("Pools of threads", ["rayon"], pools::cells()),
    ];
    for table in tables {
        table.measure(named).print();
    }
}
