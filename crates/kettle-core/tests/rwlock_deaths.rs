//! What the death of a reader or a writer leaves to the others.
#![cfg(feature = "crash-points")]

mod conformance;

use conformance::support::alone;
use conformance::*;
use kettle_core::sync::{Acquired, LockError, OnOwnerDeath, RwLock};

type W = Forked;
type L = Ref<W, RwLock>;

fn lock(policy: OnOwnerDeath) -> L {
    place::<W, _>(RwLock::noted(policy))
}

fn read(lock: &L) {
    let (reader, how) = lock.read::<H<W>>(&forever()).unwrap();
    assert!(matches!(how, Acquired::Clean));
    lock.end_read::<H<W>>(reader);
}

fn write(lock: &L) {
    assert!(matches!(lock.write::<H<W>>(&forever()), Ok(Acquired::Clean)));
    lock.end_write::<H<W>>();
}

#[test]
fn a_reader_that_dies_stops_neither_readers_nor_writers() {
    for point in ["rwlock.read.entered", "rwlock.read.before-leave", "rwlock.read.left"] {
        alone(move || {
            let lock = lock(OnOwnerDeath::Raise);
            dies_at(point, || read(&lock));
            read(&lock);
            dies_at(point, || read(&lock));
            write(&lock);
            read(&lock);
        });
    }
}

#[test]
fn the_death_of_a_writer_is_told_to_the_next_one() {
    alone(|| {
        let recovers = lock(OnOwnerDeath::Recover);
        dies_at("rwlock.write.begun", || write(&recovers));
        assert!(matches!(recovers.write::<H<W>>(&forever()), Ok(Acquired::FromDead(_))));
        recovers.end_write::<H<W>>();
        write(&recovers);

        let raises = lock(OnOwnerDeath::Raise);
        dies_at("rwlock.write.begun", || write(&raises));
        assert!(matches!(raises.read::<H<W>>(&forever()), Err(LockError::OwnerDied(_))));
        assert!(raises.is_broken());
    });
}

#[test]
fn a_writer_that_dies_after_its_change_leaves_nothing() {
    alone(|| {
        let lock = lock(OnOwnerDeath::Raise);
        dies_at("rwlock.write.done", || write(&lock));
        write(&lock);
        read(&lock);
    });
}
