use kettle::Queue;
kettle::task! {
    fn greet(name: String, replies: Queue<String>) -> usize {
        replies.put(format!("hello {name}")).unwrap();
        name.len()
    }
    fn boom() { panic!("no good: {}", 3); }
    fn spin() { loop { std::hint::black_box(0); } }
    fn quit() { std::process::exit(3); }
}
fn main() {
    kettle::init();
    let replies = Queue::new().unwrap();
    let t = std::time::Instant::now();
    let child = greet::start("world".into(), replies.clone()).unwrap();
    println!("{:?} {}", child, replies.get().unwrap());
    println!("{:?} {:?}", child.join(), t.elapsed());
    println!("{}", boom::start().unwrap().join().unwrap_err());
    println!("{}", quit::start().unwrap().join().unwrap_err());
    let c = spin::start().unwrap();
    c.kill().unwrap();
    println!("{}", c.join().unwrap_err());
    let _d = spin::builder().daemon(true).start().unwrap();
    println!("{:?}", kettle::process::active_children());
}
