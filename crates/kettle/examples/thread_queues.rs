//! Three queues of the same things: first in first out, last in first out, and the smallest first.

use std::error::Error;
use std::thread;

use kettle::threads::{LifoQueue, PriorityQueue, Queue};

fn main() -> Result<(), Box<dyn Error>> {
    let queue = Queue::new()?;
    queue.put_many(["first", "second", "third"])?;
    println!("fifo:     {:?}, {:?}, {:?}", queue.get()?, queue.get()?, queue.get()?);

    let stack = LifoQueue::new()?;
    stack.put_many(["first", "second", "third"])?;
    println!("lifo:     {:?}, {:?}, {:?}", stack.get()?, stack.get()?, stack.get()?);

    let ward = PriorityQueue::new()?;
    ward.put_many([(20, "a"), (10, "b"), (30, "c")])?;
    println!("priority: {:?}, {:?}, {:?}", ward.get()?, ward.get()?, ward.get()?);

    // Two threads work off what a third one puts, which is told when all is done.
    let jobs = Queue::bounded(2)?;
    thread::scope(|scope| {
        for name in ["Ann", "Bob"] {
            let jobs = &jobs;
            scope.spawn(move || {
                for Ok(job) in jobs.iter() {
                    println!("  {name} does {job}");
                    jobs.task_done().expect("one was taken");
                }
            });
        }
        jobs.put_many(["the dishes", "the laundry", "the windows", "the floor"])?;
        jobs.join()?;
        println!("All jobs are done: {:?}", jobs.statistics());
        jobs.shutdown();
        Ok(())
    })
}
