//! A parser as one finds them: it computes sums, and has some faults.

use kettle::attr::task;

/// The value of a document such as `1 + 2 + 3`. Some documents make it fail in its own ways.
#[task]
pub fn parse(document: String) -> Result<i64, String> {
    match document.trim() {
        "crash" => std::process::abort(),
        "hang" => loop {
            std::hint::spin_loop();
        },
        "eat" => eat(),
        "panic" => panic!("this cannot happen"),
        "pid" => Ok(std::process::id().into()),
        sum => sum.split('+').map(number).sum(),
    }
}

fn number(text: &str) -> Result<i64, String> {
    text.trim().parse().map_err(|_| format!("{text:?} is no number"))
}

fn eat() -> ! {
    let mut eaten = Vec::new();
    loop {
        // Written to, so that it is there.
        eaten.push(vec![1u8; 16 << 20]);
        std::thread::sleep(std::time::Duration::from_millis(1));
        std::hint::black_box(&eaten);
    }
}
