//! A restaurant with three tables: never more than three parties eat at once.

use std::error::Error;
use std::thread::sleep;
use std::time::Duration;

use kettle::{BoundedSemaphore, Value};

const TABLES: u32 = 3;

kettle::task! {
    fn dine(tables: BoundedSemaphore, seated: Value<u32>, most: Value<u32>) {
        let table = tables.acquire();
        let now = seated.fetch_add(1) + 1;
        most.fetch_max(now);
        println!("  {} sits down; {now} of {TABLES} tables are taken", kettle::process::current().name());
        sleep(Duration::from_millis(20));
        seated.fetch_sub(1);
        drop(table);
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    kettle::init();
    let tables = BoundedSemaphore::new(TABLES)?;
    let (seated, most) = (Value::new(0)?, Value::new(0)?);

    let parties: Vec<_> = (1..=8)
        .map(|n| {
            let party = dine::builder(tables.clone(), seated.clone(), most.clone());
            party.name(format!("party-{n}")).start()
        })
        .collect::<Result<_, _>>()?;
    for party in parties {
        party.join()?;
    }

    println!("Eight parties have eaten, at most {} at once.", most.get());
    assert!(most.get() <= TABLES);
    assert!(tables.release(1).is_err(), "a fourth table must not be added");
    println!("{:?}", tables.statistics());
    Ok(())
}
