//! A program that forgot `kettle::init`: it is told so, instead of starting itself again and again.

use kettle::StartError;

kettle::task! {
    fn nothing() {}
}

#[test]
fn starting_needs_init() {
    assert!(matches!(nothing::start(), Err(StartError::NotInitialised)));
}
