//! A program that calls `kettle::init` nowhere, and has no test that a child could begin in.

use std::process::Command;

use kettle::process::{self, JoinError};

kettle::task! {
    fn arguments() -> Vec<String> {
        std::env::args().collect()
    }

    fn parents() -> Option<u32> {
        process::current().parent()
    }

    fn grandchild() -> u32 {
        parents::start().unwrap().join().unwrap().unwrap()
    }

    /// The exit status of a program that reads the first line of many.
    fn broken_pipe() -> bool {
        use std::io::Write;
        let mut head = Command::new("true").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let mut stdin = head.stdin.take().unwrap();
        head.wait().unwrap();
        stdin.write_all(&[0; 1000]).is_err()
    }
}

#[test]
fn children_need_nothing_of_main() {
    assert_eq!(parents::start().unwrap().join().unwrap(), Some(std::process::id()));
    let process = grandchild::start().unwrap();
    let pid = process.pid();
    assert_eq!(process.join().unwrap(), pid);
}

#[test]
fn children_have_the_arguments_of_their_parent() {
    assert_eq!(arguments::start().unwrap().join().unwrap(), std::env::args().collect::<Vec<_>>());
}

#[test]
fn a_broken_pipe_is_an_error_to_children() {
    assert!(broken_pipe::start().unwrap().join().unwrap());
}

#[test]
fn another_program_may_have_the_task() {
    let ours = std::env::current_exe().unwrap();
    let given = arguments::builder().program(&ours, ["--and", "more"]).start().unwrap().join().unwrap();
    assert_eq!(given, [ours.to_str().unwrap(), "--and", "more"]);
}

#[test]
fn a_program_that_never_began_is_told_from_a_task_that_ended() {
    let error = arguments::builder().name("not ours").program("false", [""; 0]).start().unwrap_err();
    assert!(error.to_string().contains("No such file"), "{error}");
    let source = std::error::Error::source(&error).and_then(|source| source.downcast_ref::<std::io::Error>());
    assert_eq!(source.map(std::io::Error::kind), Some(std::io::ErrorKind::NotFound));
    let process = arguments::builder().name("not ours").program("/bin/false", [""; 0]).start().unwrap();
    match process.join().unwrap_err() {
        JoinError::NeverBegan { name, status, .. } => assert_eq!((&*name, status.code()), ("not ours", Some(1))),
        e => panic!("{e}"),
    }
    let error = arguments::builder().program("/bin/a\0b", [""; 0]).start().unwrap_err();
    assert!(matches!(error, kettle::StartError::Io(_)), "{error}");
}
