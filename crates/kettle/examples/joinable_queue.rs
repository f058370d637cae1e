//! A queue that knows when the work is done, and tells if it never will be.

use std::error::Error;
use std::thread::sleep;
use std::time::Duration;

use kettle::JoinableQueue;
use kettle::queue::JoinError;

kettle::task! {
    fn work(jobs: JoinableQueue<u32>) {
        for job in jobs.iter() {
            let job = job.expect("a job is a number");
            println!("  {} does job {job}", kettle::process::current().name());
            sleep(Duration::from_millis(5));
            jobs.task_done().expect("one was taken");
        }
    }

    fn take_and_die(jobs: JoinableQueue<u32>) {
        let job = jobs.get().expect("there is a job");
        println!("  {} takes job {job}, and aborts", kettle::process::current().name());
        std::process::abort();
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    kettle::init();
    let jobs = JoinableQueue::new()?;
    for job in 1..=6 {
        jobs.put(job)?;
    }
    let workers: Vec<_> = (0..2).map(|_| work::builder(jobs.clone()).daemon(true).start()).collect::<Result<_, _>>()?;
    jobs.join()?;
    println!("All jobs are done; {} workers wait for more.", workers.iter().filter(|w| w.is_alive()).count());
    jobs.shutdown();
    for worker in workers {
        worker.join()?;
    }

    let jobs = JoinableQueue::new()?;
    jobs.put(7)?;
    let careless = take_and_die::start(jobs.clone())?;
    println!("{}", careless.join().expect_err("it aborts"));
    match jobs.join() {
        Err(e @ JoinError::ConsumerDied { .. }) => println!("join() does not wait for ever: {e}"),
        other => return Err(format!("a consumer died, and join() says {other:?}").into()),
    }
    Ok(())
}
