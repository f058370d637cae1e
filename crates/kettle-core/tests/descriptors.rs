//! Descriptors that the program closed, and whose numbers were reused for its own files.

mod arena_support;

use std::fs::{self, File};
use std::io::{Read, Seek, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use arena_support::{Child, Gate, alone};
use kettle_core::arena::{ArenaError, Block, Off, Session};
use kettle_core::sys::child;
use kettle_core::sys::descriptor::{self, DescriptorLost, KnownFd};
use kettle_core::wait::Doorbell;

/// An unnamed file with this content.
fn file(bytes: &[u8]) -> File {
    let path = std::env::temp_dir().join(format!("kettle-descriptors-{}", std::process::id()));
    let mut file = File::options().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
    fs::remove_file(path).unwrap();
    file.write_all(bytes).unwrap();
    file
}

fn close(number: RawFd) {
    // SAFETY: closing a descriptor that belongs to other code is what is tested here.
    drop(unsafe { OwnedFd::from_raw_fd(number) });
}

/// What a program does that closes one of our descriptors and opens a file of its own; returns that file, at the same
/// number.
fn replace(number: RawFd, by: impl AsRawFd) -> File {
    // SAFETY: two integers. As above.
    assert_eq!(unsafe { libc::dup2(by.as_raw_fd(), number) }, number);
    // SAFETY: the number refers to the file duplicated in the line above.
    unsafe { File::from_raw_fd(number) }
}

fn contents(file: &mut File) -> Vec<u8> {
    let mut bytes = Vec::new();
    file.rewind().unwrap();
    file.read_to_end(&mut bytes).unwrap();
    bytes
}

fn is_open(number: RawFd) -> bool {
    // SAFETY: integers only.
    unsafe { libc::fcntl(number, libc::F_GETFD) >= 0 }
}

#[test]
fn one_that_is_kept_is_listed_and_closed_in_the_end() {
    alone(|| {
        let (reader, _writer) = child::pipe().unwrap();
        let number = reader.as_raw_fd();
        let known = KnownFd::new(reader, "a pipe");
        assert_eq!(known.get().unwrap().as_raw_fd(), number);
        assert_eq!(descriptor::kept(), [number]);
        drop(known);
        assert_eq!(descriptor::kept(), []);
        assert!(!is_open(number));
    });
}

#[test]
fn one_that_is_not_ours_any_more_is_neither_used_nor_closed() {
    alone(|| {
        let (reader, _writer) = child::pipe().unwrap();
        let number = reader.as_raw_fd();
        let known = KnownFd::new(reader, "a pipe");
        let theirs = replace(number, file(b"theirs"));
        assert_eq!(known.get().unwrap_err(), DescriptorLost { number, purpose: "a pipe" });
        assert_eq!(descriptor::kept(), []);
        drop(known);
        assert!(is_open(number));
        drop(theirs);

        let (reader, _writer) = child::pipe().unwrap();
        let known = KnownFd::new(reader, "a pipe");
        close(known.as_raw_fd());
        assert!(known.get().is_err());
    });
}

#[test]
fn one_that_others_use_is_hollowed_and_its_number_closed_in_the_end() {
    alone(|| {
        let (reader, mut writer) = child::pipe().map(|(r, w)| (r, File::from(w))).unwrap();
        let known = KnownFd::new(reader, "a pipe");
        let hollow = known.hollow().unwrap();
        assert_eq!(hollow.as_raw_fd(), known.as_raw_fd());
        assert_eq!(writer.write(b"x").unwrap_err().kind(), std::io::ErrorKind::BrokenPipe);
        assert!(known.get().is_err() && known.hollow().is_none());
        drop(known);
        assert!(hollow.is_ours());
        let theirs = replace(hollow.as_raw_fd(), file(b"theirs"));
        drop(hollow);
        assert!(is_open(theirs.as_raw_fd()));
    });
}

#[test]
fn a_number_of_ours_that_another_one_of_ours_has_now_stays_listed() {
    alone(|| {
        let (reader, _writer) = child::pipe().unwrap();
        let (other, _other_writer) = child::pipe().unwrap();
        let first = KnownFd::new(reader, "a pipe");
        let number = first.as_raw_fd();
        let second = KnownFd::new(replace(number, other).into(), "another");
        drop(first);
        assert!(second.is_ours());
        assert_eq!(descriptor::kept(), [number]);
    });
}

#[test]
fn a_process_is_told_from_another_by_its_descriptor() {
    alone(|| {
        let gates = [Gate::new(), Gate::new()];
        let children = gates.each_ref().map(|gate| Child::fork(|| gate.pass()));
        let watch = |child: &Child| child::Child::adopt(child.pid()).unwrap();
        let [one, other] = children.each_ref().map(watch);
        let id = |watched: &child::Child| descriptor::FileId::of(std::os::fd::AsFd::as_fd(watched).as_raw_fd());
        assert_ne!(id(&one), id(&other));
        assert_eq!(id(&one), id(&watch(&children[0])));
        gates.iter().for_each(Gate::open);
        children.into_iter().for_each(Child::succeeds);
    });
}

#[test]
fn a_forked_child_closes_what_is_private_and_nothing_of_its_own() {
    alone(|| {
        let (reader, writer) = child::pipe().unwrap();
        let (other, _other_writer) = child::pipe().unwrap();
        let common = KnownFd::new(reader, "a pipe");
        let private = KnownFd::private(writer, "a life pipe");
        let lost = KnownFd::private(other, "another life pipe");
        let theirs = replace(lost.as_raw_fd(), file(b"theirs"));
        Child::fork(|| {
            descriptor::close_private();
            assert!(!is_open(private.as_raw_fd()) && !private.is_ours());
            assert!(common.is_ours());
            assert!(is_open(theirs.as_raw_fd()));
        })
        .succeeds();
        assert!(private.is_ours());
    });
}

#[test]
fn the_arena_without_its_descriptor() {
    alone(|| {
        let session = Session::get().unwrap();
        let number = session.descriptor().unwrap().as_raw_fd();
        assert!(descriptor::kept().contains(&number));
        session.set_warm_limit(0);
        // Some memory that is decommitted and mapped here, and a block in a segment that is not.
        let large = vec![7_u8; 300_000];
        drop(Block::copy_of(&large).unwrap());
        let small = Block::copy_of(b"before").unwrap();
        let (told, done) = (Gate::new(), Gate::new());
        let other = Child::fork(|| {
            told.tell(Block::copy_of(&vec![9_u8; 3_000_000]).unwrap().into_off().to_bits());
            done.pass();
        });
        let others = Off::from_bits(told.hear()).unwrap();

        let mut theirs = replace(number, file(&vec![b'P'; 1 << 20]));
        assert!(matches!(session.descriptor(), Err(ArenaError::DescriptorLost(lost)) if lost.number == number));
        assert!(!descriptor::kept().contains(&number));
        // Mapped memory stays usable: reading, recommitting, freeing, checking, reclaiming.
        assert_eq!(small.as_slice(), b"before");
        let block = Block::copy_of(&large).unwrap();
        assert_eq!(block.as_slice(), large);
        drop(block);
        session.statistics().unwrap();
        // SAFETY: the offset came from `into_off` of an owner that no longer uses it.
        let block = unsafe { Block::take(others) }.unwrap();
        assert!(block.as_slice().iter().all(|&b| b == 9) && block.len() == 3_000_000);
        drop(block);
        done.open();
        other.succeeds();
        session.reclaim().unwrap();
        session.check().unwrap();
        // The arena cannot grow.
        let refused = Block::copy_of(&vec![1_u8; 50_000_000]).unwrap_err();
        assert!(matches!(refused, ArenaError::DescriptorLost(lost) if lost.number == number), "{refused}");
        assert!(refused.to_string().contains("descriptors()"));
        session.check().unwrap();
        assert_eq!(contents(&mut theirs), vec![b'P'; 1 << 20]);

        // The same if the number is free.
        drop(theirs);
        assert!(matches!(session.descriptor(), Err(ArenaError::DescriptorLost(_))));
        assert!(matches!(Block::copy_of(&vec![1_u8; 50_000_000]), Err(ArenaError::DescriptorLost(_))));
        assert_eq!(Block::copy_of(&large).unwrap().as_slice(), large);
    });
}

/// Once the program has closed it, the descriptor is not watched: its number belongs to other code.
#[test]
fn a_bell_is_watched_until_the_program_closes_it() {
    alone(|| {
        Session::get().unwrap();
        let [bell, drained] = [(); 2].map(|()| Doorbell::new().unwrap());
        let fd = |bell: &Doorbell| bell.watch().map(|watch| watch.fd());
        assert!(bell.is_ours());
        assert_eq!((fd(&bell), bell.drain()), (Some(bell.as_raw_fd()), Some(vec![])));
        let theirs = [&bell, &drained].map(|bell| replace(bell.as_raw_fd(), File::open("/dev/null").unwrap()));
        assert!(!bell.is_ours());
        assert_eq!((fd(&bell), bell.drain()), (None, None));
        assert_eq!((drained.drain(), fd(&drained)), (None, None));
        drop([bell, drained]);
        assert!(theirs.iter().all(|file| is_open(file.as_raw_fd())), "the other file is not closed");
    });
}

#[test]
fn only_what_was_handed_over_can_be_taken() {
    alone(|| {
        let (reader, _writer) = child::pipe().unwrap();
        // SAFETY: an integer, on a live descriptor. The state of a descriptor that C code opened.
        assert_eq!(unsafe { libc::fcntl(reader.as_raw_fd(), libc::F_SETFD, 0) }, 0);
        let refused = child::take_inherited(reader.as_raw_fd()).unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::AlreadyExists);
        assert!(child::take_inherited(4000).is_err());
    });
}
