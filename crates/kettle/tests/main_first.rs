//! A program whose `main` is a runtime and reads its arguments before anything else. Nothing of it is in a child's way.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kettle::Pool;

static IS_SET_UP: AtomicBool = AtomicBool::new(false);

kettle::in_each_child! {
    assert!(!IS_SET_UP.swap(true, Ordering::Relaxed), "once");
}

kettle::task! {
    fn with_a_runtime(n: u64) -> (u64, bool) {
        assert!(tokio::runtime::Handle::try_current().is_err());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { tokio::time::sleep(Duration::from_millis(1)).await });
        (n + 1, IS_SET_UP.load(Ordering::Relaxed))
    }
}

#[tokio::main]
async fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    if std::env::args().any(|argument| argument.contains("kettle-child")) {
        std::process::exit(2);
    }
    println!("main was here with {arguments:?}");
    kettle::init();
    assert_eq!(with_a_runtime::start(1).unwrap().join_async().await.unwrap(), (2, true));
    let pool = Pool::new().unwrap();
    for n in 0..3 {
        assert_eq!(pool.submit(with_a_runtime::call(n)).unwrap().await.unwrap(), (n + 1, true));
    }
    assert!(!IS_SET_UP.load(Ordering::Relaxed));
}
