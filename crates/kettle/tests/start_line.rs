//! What makes a process a child, where it is none.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::{Command, Output};

kettle::init_in_tests!();

kettle::task! {
    fn environment_of_a_grandchild() -> String {
        let output = Command::new("env").output().expect("env");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn nothing() {}
}

/// As a child's, and well formed.
fn line() -> String {
    format!("kettle-child:9:-1:100000001:{}", "5a".repeat(24))
}

/// What this program does is up to its environment, and to who starts it.
#[test]
fn inner() {
    if std::env::var_os("ROLE").is_none() {
        return;
    }
    kettle::init();
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let users = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap();
    let users: Vec<_> = users.split_whitespace().collect();
    println!("main goes on, {}", if users[0] == users[1] { "as who started it" } else { "as another user" });
    println!("starting: {}", nothing::start().map_or_else(|e| e.to_string(), |_| "no error".into()));
}

fn run(program: &Path, variable: &str) -> (Output, String) {
    let mut command = Command::new(program);
    command.args(["inner", "--exact", "--nocapture", "--test-threads=1"]).env("ROLE", "inner");
    command.env("KETTLE_CHILD", variable);
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (output, text)
}

#[test]
fn only_a_whole_line_makes_a_child() {
    let program = std::env::current_exe().unwrap();
    for variable in ["", "kettle-child", "kettle-child:", "kettle-child:9:-1:x", &line()[1..]] {
        let (output, text) = run(&program, variable);
        assert!(output.status.success(), "{variable}: {output:?}");
        assert!(text.contains("main goes on") && text.contains("starting: no error"), "{text}");
    }
    // One that is not in this session.
    let (output, text) = run(&program, &line());
    assert!(output.status.code() == Some(101) && !text.contains("main goes on"), "{output:?}");
}

#[test]
fn grandchildren_do_not_inherit_what_makes_a_child() {
    let environment = environment_of_a_grandchild::start().unwrap().join().unwrap();
    assert!(environment.contains("PATH=") && !environment.contains("KETTLE_CHILD"), "{environment}");
}

#[test]
fn a_set_user_id_program_does_not_join() {
    const NOBODY: u32 = 65534;
    let copy = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("set-user-id-{}", std::process::id()));
    fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
    let is_made = chown(&copy, Some(NOBODY), None).is_ok();
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o4755)).unwrap();
    let (output, text) = run(&copy, &line());
    fs::remove_file(&copy).unwrap();
    if !is_made || output.status.code() == Some(101) && text.is_empty() {
        eprintln!("not tried: only root can make such a program, where its file system allows it");
        return;
    }
    assert!(output.status.success(), "{output:?}");
    assert!(text.contains("main goes on, as another user"), "{text}");
    assert!(text.contains("starting: a program that is set-user-id"), "{text}");
}
