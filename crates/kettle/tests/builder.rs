//! Processes that are started with an environment, a directory, streams and limits of their own.

mod support;

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};

use kettle::process::{JoinError, Limit, Stdio};
use kettle::{Queue, StartError};
use support::watchdog;

kettle::init_in_tests!();

kettle::task! {
    fn variables(names: Vec<String>) -> Vec<Option<String>> {
        names.into_iter().map(|name| std::env::var(name).ok()).collect()
    }

    fn count_of_variables() -> usize {
        std::env::vars_os().count()
    }

    fn directory() -> String {
        std::env::current_dir().unwrap().to_str().unwrap().into()
    }

    fn echo(prefix: String) -> usize {
        let mut text = String::new();
        io::stdin().read_to_string(&mut text).unwrap();
        print!("{prefix}{text}");
        io::stdout().flush().unwrap();
        eprint!("heard {} bytes", text.len());
        text.len()
    }

    fn limits() -> String {
        fs::read_to_string("/proc/self/limits").unwrap()
    }

    fn reserve(bytes: usize) -> bool {
        Vec::<u8>::new().try_reserve_exact(bytes).is_ok()
    }

    fn take(queue: Queue<u32>) -> u32 {
        queue.get().unwrap()
    }

    fn compute_for_ever() {
        loop {
            std::hint::spin_loop();
        }
    }
}

fn strings<const N: usize>(names: [&str; N]) -> Vec<String> {
    names.map(String::from).into()
}

#[test]
fn the_environment_is_this_one_with_changes() {
    let _dog = watchdog();
    let names = strings(["KETTLE_TEST_A", "KETTLE_TEST_B", "PATH", "HOME"]);
    let path = std::env::var("PATH").ok();
    let process = variables::builder(names.clone())
        .envs([("KETTLE_TEST_A", "1"), ("KETTLE_TEST_B", "a=b c")])
        .env_remove("HOME")
        .start();
    assert_eq!(process.unwrap().join().unwrap(), [Some("1".into()), Some("a=b c".into()), path, None]);

    let process = variables::builder(names).env("KETTLE_TEST_A", "1").env_clear().env("KETTLE_TEST_B", "2").start();
    assert_eq!(process.unwrap().join().unwrap(), [None, Some("2".into()), None, None]);
    // What the library itself needs is there in any case, and is gone before the task begins, or is its own.
    assert!(count_of_variables::builder().env_clear().start().unwrap().join().unwrap() <= 2);
}

#[test]
fn a_variable_that_cannot_be_is_an_error_at_the_start() {
    let _dog = watchdog();
    for (name, value) in [("A=B", "1"), ("", "1"), ("A\0", "1"), ("A", "1\0")] {
        match directory::builder().env(name, value).start() {
            Err(StartError::Io(e)) => assert_eq!(e.kind(), ErrorKind::InvalidInput, "{e}"),
            other => panic!("{name:?} {value:?}: {other:?}"),
        }
    }
}

#[test]
fn it_begins_in_its_directory() {
    let _dog = watchdog();
    let here = std::env::current_dir().unwrap();
    assert_eq!(directory::start().unwrap().join().unwrap(), here.to_str().unwrap());
    assert_eq!(directory::builder().current_dir("/").start().unwrap().join().unwrap(), "/");
    for (path, kind) in [("/no/such/directory", ErrorKind::NotFound), ("/dev/null", ErrorKind::NotADirectory)] {
        match directory::builder().current_dir(path).start() {
            Err(StartError::Io(e)) => {
                assert_eq!(e.kind(), kind);
                assert!(e.to_string().contains(path), "{e}");
            }
            other => panic!("{path}: {other:?}"),
        }
    }
}

#[test]
fn its_streams_are_pipes_if_they_are_to_be() {
    let _dog = watchdog();
    let mut process = echo::builder("it said: ".into())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .start()
        .unwrap();
    let mut stdin = process.take_stdin().unwrap();
    assert!(process.take_stdin().is_none());
    stdin.write_all(b"hello").unwrap();
    drop(stdin);
    let (mut said, mut noted) = (String::new(), String::new());
    process.take_stdout().unwrap().read_to_string(&mut said).unwrap();
    process.take_stderr().unwrap().read_to_string(&mut noted).unwrap();
    assert_eq!((said.as_str(), noted.as_str()), ("it said: hello", "heard 5 bytes"));
    assert_eq!(process.join().unwrap(), 5);

    // A task that reads to the end ends when it is joined, though nothing closed its input.
    let process = echo::builder("".into()).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).start();
    assert_eq!(process.unwrap().join().unwrap(), 0);
}

#[test]
fn its_streams_are_files_if_they_are_to_be() {
    let _dog = watchdog();
    let place = std::env::temp_dir().join(format!("kettle-builder-{}", std::process::id()));
    fs::create_dir_all(&place).unwrap();
    let (input, output) = (place.join("input"), place.join("output"));
    fs::write(&input, "from a file").unwrap();
    let both = File::create(&output).unwrap();
    let process = echo::builder("> ".into())
        .stdin(File::open(&input).unwrap())
        .stdout(both.try_clone().unwrap())
        .stderr(std::os::fd::OwnedFd::from(both))
        .start()
        .unwrap();
    assert_eq!(process.join().unwrap(), 11);
    assert_eq!(fs::read_to_string(&output).unwrap(), "> from a fileheard 11 bytes");
    fs::remove_dir_all(&place).unwrap();
}

#[test]
fn what_a_process_shares_works_without_streams_and_environment() {
    let _dog = watchdog();
    let queue = Queue::new().unwrap();
    let builder = take::builder(queue.clone()).env_clear().current_dir("/");
    let process = builder.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).start().unwrap();
    queue.put(7).unwrap();
    assert_eq!(process.join().unwrap(), 7);
}

#[test]
fn limits_hold() {
    let _dog = watchdog();
    let limits = limits::builder()
        .limit(Limit::OpenFiles, 4000)
        .limit(Limit::OpenFiles, 100)
        .limit(Limit::CoreSize, 0)
        .limit(Limit::CpuTime, 50)
        .start()
        .unwrap()
        .join()
        .unwrap();
    let of = |name: &str| -> Vec<String> {
        let line = limits.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().take(2).map(String::from).collect()
    };
    assert_eq!(of("Max open files"), ["100", "100"]);
    assert_eq!(of("Max core file size"), ["0", "0"]);
    assert_eq!(of("Max cpu time"), ["50", "51"]);

    assert!(reserve::start(1 << 30).unwrap().join().unwrap());
    let limited = |bytes| reserve::builder(bytes).limit(Limit::Memory, 256 << 20).start().unwrap().join().unwrap();
    assert!(!limited(1 << 30));
    assert!(limited(1 << 20));
}

#[test]
fn a_process_that_computes_too_long_is_ended() {
    let _dog = watchdog();
    let process = compute_for_ever::builder().limit(Limit::CpuTime, 1).limit(Limit::CoreSize, 0).start().unwrap();
    match process.join() {
        Err(e @ JoinError::Died { .. }) => assert_eq!(e.signal(), Some(24)),
        other => panic!("{other:?}"),
    }
}
