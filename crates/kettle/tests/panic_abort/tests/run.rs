//! Runs the program, which was built with `panic = "abort"`, as this test cannot be.

use std::process::Command;

#[test]
fn the_messages_of_panics_arrive() {
    let output = Command::new(env!("CARGO_BIN_EXE_panic-abort")).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{:?}\n{said}{}", output.status, String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("all messages arrived"), "{said}");
}
