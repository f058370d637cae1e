pub mod clock;
pub mod doorbell;
pub mod futex;
pub mod limits;
pub mod memory;
pub mod process;
pub mod signal;
pub mod socket;
