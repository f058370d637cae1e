//! Descriptors that the program closed, and whose numbers were reused for its own files.

mod arena_support;

use std::fs::{self, File};
use std::io::{Read, Seek, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use arena_support::{Child, Gate, alone, attach_to_parent};
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

/// Gives up what lets root open whatever is mapped.
fn without_capabilities() {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    let mut header = Header { version: 0x2008_0522, pid: 0 };
    let none = [0_u32; 6];
    // SAFETY: the header says which version of the sets follows: two times three words.
    assert_eq!(unsafe { libc::syscall(libc::SYS_capset, &raw mut header, none.as_ptr()) }, 0);
}

/// A test in which the session's descriptor is closed and its number used for a file, which stays as it is.
fn descriptor_closed<T>(before: impl FnOnce(Session) -> T, after: impl FnOnce(T, Session, RawFd)) {
    alone(|| {
        without_capabilities();
        let session = Session::get().unwrap();
        let number = session.descriptor().unwrap().as_raw_fd();
        let what = before(session);
        assert!(descriptor::kept().contains(&number));
        let mut theirs = replace(number, file(&vec![b'P'; 1 << 20]));
        assert!(!descriptor::kept().contains(&number));
        after(what, session, number);
        session.check().unwrap();
        assert_eq!(contents(&mut theirs), vec![b'P'; 1 << 20]);
    });
}

fn is_lost(session: Session, number: RawFd) -> bool {
    match session.descriptor() {
        Err(e @ ArenaError::DescriptorLost(lost)) => lost.number == number && e.to_string().contains("descriptors()"),
        _ => false,
    }
}

#[test]
fn the_arena_without_its_descriptor() {
    let large = vec![7_u8; 300_000];
    let (told, done) = (Gate::new(), Gate::new());
    descriptor_closed(
        |session| {
            session.set_warm_limit(0);
            // Some room that is cold and mapped here, and a block in a segment that is not.
            drop(Block::copy_of(&large).unwrap());
            let small = Block::copy_of(b"before").unwrap();
            let other = Child::fork(|| {
                told.tell(Block::copy_of(&vec![9_u8; 3_000_000]).unwrap().into_off().to_bits());
                done.pass();
            });
            (small, other)
        },
        |(small, other), session, _| {
            // Reading, writing what was cold, giving back, looking, tidying up.
            let others = Off::from_bits(told.hear()).unwrap();
            assert_eq!(small.as_slice(), b"before");
            let block = Block::copy_of(&large).unwrap();
            assert_eq!(block.as_slice(), large);
            drop(block);
            // SAFETY: the place came from `into_off` of one who does not use it any more.
            let block = unsafe { Block::take(others) }.unwrap();
            assert!(block.as_slice().iter().all(|&b| b == 9) && block.len() == 3_000_000);
            drop(block);
            done.open();
            other.succeeds();
            // More memory, here and in forked processes, which all see; and less again.
            let before = session.statistics().unwrap();
            let block = Block::copy_of(&vec![1_u8; 50_000_000]).unwrap();
            let (made, taken) = (Gate::new(), Gate::new());
            let child = Child::fork(|| {
                made.tell(Block::copy_of(&vec![2_u8; 70_000_000]).unwrap().into_off().to_bits());
                taken.pass();
            });
            let theirs = Off::from_bits(made.hear()).unwrap();
            // SAFETY: as above.
            let theirs = unsafe { Block::take(theirs) }.unwrap();
            taken.open();
            child.succeeds();
            assert!(block.as_slice().iter().all(|&b| b == 1) && theirs.as_slice().iter().all(|&b| b == 2));
            let full = session.statistics().unwrap();
            assert!(full.segments > before.segments && full.resident_bytes >= before.resident_bytes + 120_000_000);
            drop((block, theirs));
            session.reclaim().unwrap();
            assert!(session.statistics().unwrap().resident_bytes < full.resident_bytes - 100_000_000);
            // What was given back reads as zeros.
            let cold = Block::allocate(40_000_000).unwrap();
            assert!(cold.is_cold() && cold.as_slice().iter().all(|&b| b == 0));
        },
    );
}

#[test]
fn the_descriptor_of_another_process_serves() {
    let (there, gate) = (Gate::new(), Gate::new());
    descriptor_closed(
        |_| {
            let other = Child::fork(|| {
                there.open();
                gate.pass();
            });
            there.pass();
            other
        },
        |other, session, number| {
            let again = session.descriptor().unwrap().as_raw_fd();
            assert!(again != number && descriptor::kept().contains(&again));
            assert_eq!(session.descriptor().unwrap().as_raw_fd(), again, "and is kept");
            let block = Block::copy_of(b"block").unwrap();
            // One that has nothing mapped finds the same session by it.
            close(again);
            let again = session.descriptor().unwrap();
            Session::attach(again.try_clone_to_owned().unwrap()).unwrap();
            drop(block);
            gate.open();
            other.succeeds();
        },
    );
}

#[test]
fn a_process_that_is_alone_moves_to_another_file() {
    let (begun, told, answer) = (Gate::new(), Gate::new(), Gate::new());
    // It is no part of the session, and comes later, as one that is executed does.
    alone(|| {
        let newcomer = Child::fork(|| {
            without_capabilities();
            begun.pass();
            let session = attach_to_parent(told.hear());
            // SAFETY: the place came from `into_off` of one who does not use it any more.
            let block = unsafe { Block::take(Off::from_bits(told.hear()).unwrap()) }.unwrap();
            assert_eq!(block.as_slice(), vec![5_u8; 2_000_000]);
            let mut block = Block::copy_of(&vec![6_u8; 90_000_000]).unwrap();
            block.as_mut_slice()[1] = 60;
            answer.tell(block.into_off().to_bits());
            begun.pass();
            session.check().unwrap();
        });
        without_capabilities();
        let session = Session::get().unwrap();
        let number = session.descriptor().unwrap().as_raw_fd();
        let blocks: Vec<_> =
            (1..200_u32).map(|i| Block::copy_of(&vec![i as u8; (i * i * 7) as usize]).unwrap()).collect();
        let given = Block::copy_of(&vec![5_u8; 2_000_000]).unwrap();
        // Parents that end are no company.
        Child::fork(|| drop(Block::copy_of(b"parent").unwrap())).succeeds();
        let theirs = replace(number, file(b"theirs"));
        let address = given.as_slice().as_ptr();
        let id = session.id();

        let again = session.descriptor().unwrap().as_raw_fd();
        assert!(again != number && descriptor::kept().contains(&again));
        assert_eq!((session.id(), given.as_slice().as_ptr()), (id, address));
        for (block, i) in blocks.iter().zip(1..200_u32) {
            assert_eq!(block.as_slice(), vec![i as u8; (i * i * 7) as usize]);
        }
        session.check().unwrap();
        begun.open();
        told.tell(again as u64);
        told.tell(given.into_off().to_bits());
        // SAFETY: the place came from `into_off` of one who does not use it any more.
        let block = unsafe { Block::take(Off::from_bits(answer.hear()).unwrap()) }.unwrap();
        assert_eq!((block.as_slice()[0], block.as_slice()[1], block.len()), (6, 60, 90_000_000));
        begun.open();
        newcomer.succeeds();
        drop(blocks);
        session.reclaim().unwrap();
        session.check().unwrap();
        drop(theirs);
    });
}

/// Whether this process may open what it has mapped, as root may outside of containers.
fn may_open_what_is_mapped() -> bool {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let range = maps.lines().find(|line| line.contains("/memfd:kettle-arena")).and_then(|line| line.split(' ').next());
    File::open(format!("/proc/self/map_files/{}", range.unwrap())).is_ok()
}

#[test]
fn what_is_mapped_can_be_opened_by_some() {
    alone(|| {
        let session = Session::get().unwrap();
        if !may_open_what_is_mapped() {
            return;
        }
        let number = session.descriptor().unwrap().as_raw_fd();
        let before = descriptor::FileId::of(number);
        // Another thread: it cannot move.
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || stopped.recv());
        let mut theirs = replace(number, file(b"theirs"));
        let again = session.descriptor().unwrap().as_raw_fd();
        assert_ne!(again, number);
        assert_eq!(descriptor::FileId::of(again), before);
        drop(stop);
        let _ = thread.join();
        assert_eq!(contents(&mut theirs), b"theirs");
    });
}

#[test]
fn with_another_thread_or_process_nothing_moves() {
    descriptor_closed(
        |_| (),
        |(), session, number| {
            let (stop, stopped) = std::sync::mpsc::channel::<()>();
            let thread = std::thread::spawn(move || stopped.recv());
            assert!(is_lost(session, number));
            drop(stop);
            let _ = thread.join();
            let gate = Gate::new();
            // It has lost the descriptor, too.
            let child = Child::fork(|| {
                assert!(is_lost(session, number));
                gate.pass();
            });
            assert!(is_lost(session, number));
            assert_eq!(Block::copy_of(&vec![1_u8; 50_000_000]).unwrap().len(), 50_000_000);
            gate.open();
            child.succeeds();
            assert!(session.descriptor().is_ok());
        },
    );
}

#[test]
fn a_process_that_the_session_does_not_know_is_told_that_it_moved() {
    let gate = Gate::new();
    descriptor_closed(
        |_| {
            let block = Block::copy_of(b"block").unwrap();
            // SAFETY: a fork, of which the C library is not told; the child makes system calls and uses the arena.
            let stray = unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) };
            if stray == 0 {
                gate.pass();
                let refused = Block::copy_of(b"more").unwrap_err().to_string();
                let code = i32::from(!refused.contains("moved the session") || block.as_slice() != b"block");
                // SAFETY: takes an integer and does not return.
                unsafe { libc::_exit(code) };
            }
            stray
        },
        |stray, session, _| {
            session.descriptor().unwrap();
            gate.open();
            let mut status = 0;
            // SAFETY: a valid place for one integer.
            assert_eq!(i64::from(unsafe { libc::waitpid(stray as i32, &mut status, 0) }), stray);
            assert_eq!(status, 0);
        },
    );
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
