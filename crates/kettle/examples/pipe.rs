//! A conversation between two processes, big payloads that are not copied out, and what a death sounds like.

use std::error::Error;

use kettle::pipe::{Receiver, RecvError};
use kettle::{Bytes, Connection};
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize)]
enum Question {
    Square(i64),
    Reverse(String),
}

kettle::task! {
    fn answer(client: Connection<String, Question>) {
        for question in client.iter() {
            let answer = match question.expect("a question") {
                Question::Square(n) => (n * n).to_string(),
                Question::Reverse(s) => s.chars().rev().collect(),
            };
            client.send(answer).expect("the client waits for it");
        }
    }

    fn measure(pictures: Receiver<(String, Bytes)>) -> usize {
        let mut total = 0;
        for picture in pictures.iter() {
            let (name, pixels) = picture.expect("a picture");
            println!("  {name}: {} bytes, in shared memory still: {}", pixels.len(), pixels.is_shared());
            total += pixels.len();
        }
        total
    }

    fn die(_peer: Connection<()>) {
        std::process::abort();
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    kettle::init();

    let (ours, theirs) = kettle::pipe()?;
    let server = answer::start(theirs)?;
    for question in [Question::Square(12), Question::Reverse("kettle".into())] {
        print!("{question:?} -> ");
        ours.send(question)?;
        println!("{}", ours.recv()?);
    }
    // The server finds the end of the pipe, and ends.
    drop(ours);
    server.join()?;

    let (receiver, sender) = kettle::one_way_pipe()?;
    let reader = measure::start(receiver)?;
    for (name, len) in [("thumbnail", 500), ("photograph", 6_000_000)] {
        sender.send((name.to_string(), Bytes::from(vec![0x7f; len])))?;
    }
    drop(sender);
    println!("{} bytes in all", reader.join()?);

    let (ours, theirs) = kettle::pipe::<(), ()>()?;
    let dead = die::start(theirs)?;
    match ours.recv() {
        Err(e @ RecvError::Closed) => println!("{} is gone, and recv() says: {e}", dead.name()),
        other => return Err(format!("the other end died, and recv() says {other:?}").into()),
    }
    Ok(())
}
