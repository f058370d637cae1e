//! Pipes: whole messages in order, back-pressure, and ends that close.

use std::os::fd::AsRawFd;
use std::thread;
use std::time::Duration;

use kettle_core::arena::{Block, Way};
use kettle_core::queue::{Body, Parcel};
use kettle_core::shared::{Channel, IN_RECORD, PipeEnd, RECORD_HEADER, ReceiveError, Received, SendError, init, pipe};
use kettle_core::sys::descriptor::KnownFd;
use kettle_core::sys::socket::{self, Watch};
use kettle_core::wait::{Deadline, Patience, Stopped};

/// Longer than any operation takes, so that a test that hangs fails.
fn patience() -> Patience<'static> {
    Patience::until(Deadline::after(Duration::from_secs(20)))
}

fn soon() -> Patience<'static> {
    Patience::until(Deadline::after(Duration::from_millis(50)))
}

fn new_pipe() -> [(KnownFd, Channel); 2] {
    init();
    pipe().expect("there is room for a pipe").map(|(socket, channel)| (KnownFd::new(socket, "an end"), channel))
}

fn end((socket, channel): &(KnownFd, Channel)) -> PipeEnd<'_> {
    PipeEnd { socket, channel: Some(channel) }
}

fn send(from: &(KnownFd, Channel), bytes: &[u8], patience: &Patience<'_>) -> Result<(), SendError> {
    if end(from).takes_short(bytes.len()) {
        return end(from).send(7, bytes, patience);
    }
    let block = Block::copy_of(bytes).expect("there is room for a block");
    end(from).send_through(&from.1, Parcel::blocks(7, Body::Block(block), Vec::new()), patience)
}

/// As a program does that knows an end by its descriptor alone.
fn send_bare((socket, _): &(KnownFd, Channel), bytes: &[u8]) {
    PipeEnd { socket, channel: None }.send(7, bytes, &patience()).unwrap();
}

fn receive(at: &(KnownFd, Channel), patience: &Patience<'_>) -> Result<Vec<u8>, ReceiveError> {
    let mut buffer = Vec::new();
    let end = end(at);
    let posted = end.posted();
    let received = match end.try_receive(&mut buffer).transpose() {
        Some(result) => result?,
        None => end.receive(&mut buffer, posted, patience)?,
    };
    Ok(match received {
        Received::Inline(tag) => {
            assert_eq!(tag, 7);
            buffer.split_off(RECORD_HEADER)
        }
        Received::Announced(taken) => taken.block.map_or(buffer, |block| block.as_slice().to_vec()),
    })
}

#[test]
fn messages_of_every_size_arrive_in_order_both_ways() {
    let [a, b] = new_pipe();
    for (from, to) in [(&a, &b), (&b, &a)] {
        for len in LENGTHS {
            send(from, &vec![len as u8; len], &patience()).unwrap();
        }
        for len in LENGTHS {
            assert_eq!(receive(to, &patience()).unwrap(), vec![len as u8; len]);
        }
    }
}

/// Around the limits of a slot, of a rest as long as a slot, and of a record.
const LENGTHS: [usize; 16] =
    [0, 1, 695, 696, 697, 698, 1383, 1384, 1385, 2048, 2049, 5_000, IN_RECORD, IN_RECORD + 1, 100_000, 1 << 20];
const SLOT: usize = 704;
const IN_SLOT: usize = SLOT - RECORD_HEADER;

/// A receiver dies after it received the beginning of a message: the others get the next one.
#[test]
fn the_rest_of_a_lost_message_is_dropped() {
    let [a, b] = new_pipe();
    for len in LENGTHS.into_iter().filter(|&len| len > IN_SLOT && len <= IN_RECORD) {
        for after in [3, 1000, 100_000] {
            send_bare(&a, &vec![1; len]);
            send(&a, &vec![2; after], &patience()).unwrap();
            let mut slot = Vec::new();
            assert_eq!(socket::receive(b.0.get().unwrap(), &mut slot, SLOT).unwrap(), SLOT);
            assert_eq!(receive(&b, &patience()).unwrap(), vec![2; after], "{len}, {after}");
        }
        // It was the last message, and nothing is left.
        send_bare(&a, &vec![1; len]);
        assert_eq!(socket::receive(b.0.get().unwrap(), &mut Vec::new(), SLOT).unwrap(), SLOT);
        assert!(matches!(receive(&b, &soon()), Err(ReceiveError::Stopped(Stopped::TimedOut))));
    }
}

#[test]
fn the_sockets_carry_bytes() {
    let [a, b] = new_pipe();
    let (a, b) = (a.0.get().unwrap(), b.0.get().unwrap());
    assert_eq!(socket::send(a, &[7; 1000], &[]).unwrap(), 1000);
    let mut bytes = Vec::new();
    for _ in 0..10 {
        assert_eq!(socket::receive(b, &mut bytes, 100).unwrap(), 100);
    }
    assert_eq!(bytes, [7; 1000]);
    assert_eq!((socket::sort_of(a), socket::sort_of(b)), (socket::Sort::Records, socket::Sort::Records));
}

#[test]
fn bytes_that_are_no_message_are_told() {
    let [a, b] = new_pipe();
    for bytes in [&b"text\n"[..], &[1; 10_000], &[0; SLOT], &[3; SLOT], &[4; SLOT]] {
        socket::send(a.0.get().unwrap(), bytes, &[]).unwrap();
        assert!(matches!(receive(&b, &patience()), Err(ReceiveError::Foreign)), "{} bytes", bytes.len());
        while socket::receive(b.0.get().unwrap(), &mut Vec::new(), 4096).is_ok() {}
    }
    send(&a, b"a message", &patience()).unwrap();
    assert_eq!(receive(&b, &patience()).unwrap(), b"a message");
}

#[test]
fn a_wait_for_nothing_ends_on_time() {
    let [a, _b] = new_pipe();
    assert!(matches!(receive(&a, &soon()), Err(ReceiveError::Stopped(Stopped::TimedOut))));
}

#[test]
fn what_was_sent_before_the_end_is_received_and_then_the_end() {
    let [a, b] = new_pipe();
    send(&a, b"short", &patience()).unwrap();
    send(&a, &[1; 100_000], &patience()).unwrap();
    // Unread by the other side: the socket reports this once, which must not hide the data it still holds.
    send(&b, b"never read", &patience()).unwrap();
    drop(a);
    assert_eq!(receive(&b, &patience()).unwrap(), b"short");
    assert_eq!(receive(&b, &patience()).unwrap(), [1; 100_000]);
    assert!(matches!(receive(&b, &patience()), Err(ReceiveError::End)));
    assert!(matches!(send(&b, b"x", &patience()), Err(SendError::Closed)));
    assert!(matches!(send(&b, &[0; 100_000], &patience()), Err(SendError::Closed)));
}

#[test]
fn long_messages_wait_for_the_receiver() {
    let [a, b] = new_pipe();
    let long = vec![3; 6 << 20];
    send(&a, &long, &patience()).unwrap();
    assert!(matches!(send(&a, &long, &soon()), Err(SendError::Stopped(Stopped::TimedOut))));
    assert_eq!(a.1.on_their_way(), 6 << 20);
    thread::scope(|scope| {
        scope.spawn(|| send(&a, &long, &patience()).unwrap());
        for _ in 0..2 {
            assert!(receive(&b, &patience()).unwrap() == long);
        }
    });
    assert_eq!(a.1.on_their_way(), 0);
}

#[test]
fn one_that_waits_for_room_learns_that_the_other_end_is_gone() {
    let [a, b] = new_pipe();
    let long = vec![3; 6 << 20];
    send(&a, &long, &patience()).unwrap();
    thread::scope(|scope| {
        let sender = scope.spawn(|| send(&a, &long, &patience()));
        drop(b);
        assert!(matches!(sender.join().unwrap(), Err(SendError::Closed)));
    });
}

/// How many messages the socket has room for depends on the system; these are more.
const MANY: u32 = 20_000;

fn is_readable((socket, _): &(KnownFd, Channel)) -> bool {
    let mut watched = [Watch::readable(socket.as_raw_fd())];
    socket::poll(&mut watched, Duration::ZERO).unwrap() == 1
}

#[test]
fn thousands_of_short_messages_wait_for_their_receiver() {
    let [a, b] = new_pipe();
    for round in 0..3 {
        for i in 0..MANY {
            let len = [4, 600, 1500, 5000][if i % 97 == 0 { (i % 4) as usize } else { 0 }];
            let mut message = (round + i).to_ne_bytes().to_vec();
            message.resize(len, 1);
            send(&a, &message, &Patience::none()).unwrap();
        }
        for i in 0..MANY {
            assert!(is_readable(&b), "{i}");
            let message = receive(&b, &patience()).unwrap();
            assert_eq!(message[..4], (round + i).to_ne_bytes());
        }
        assert!(!is_readable(&b));
        assert!(matches!(receive(&b, &soon()), Err(ReceiveError::Stopped(Stopped::TimedOut))));
        assert_eq!(a.1.on_their_way(), 0);
    }
}

#[test]
fn a_backlog_has_an_end() {
    let [a, b] = new_pipe();
    let mut sent = 0;
    while send(&a, &[5; 2000], &Patience::none()).is_ok() {
        sent += 1;
    }
    assert!(sent * 2000 >= 7 << 20, "{sent}");
    thread::scope(|scope| {
        scope.spawn(|| send(&a, &[6; 2000], &patience()).unwrap());
        for _ in 0..sent {
            assert_eq!(receive(&b, &patience()).unwrap(), [5; 2000]);
        }
        assert_eq!(receive(&b, &patience()).unwrap(), [6; 2000]);
    });
}

#[test]
fn a_backlog_is_received_when_its_senders_are_gone_and_then_the_end() {
    let [a, b] = new_pipe();
    for i in 0..MANY {
        send(&a, &i.to_ne_bytes(), &patience()).unwrap();
    }
    drop(a);
    for i in 0..MANY {
        assert_eq!(receive(&b, &patience()).unwrap(), i.to_ne_bytes());
    }
    assert!(matches!(receive(&b, &patience()), Err(ReceiveError::End)));
}

#[test]
fn who_adds_to_a_backlog_learns_that_the_other_end_is_gone() {
    let [a, b] = new_pipe();
    for i in 0..MANY {
        send(&a, &i.to_ne_bytes(), &patience()).unwrap();
    }
    drop(b);
    assert!(matches!(send(&a, b"one more", &patience()), Err(SendError::Closed)));
}

#[test]
fn messages_that_come_and_go_in_a_backlog_keep_their_order() {
    let [a, b] = new_pipe();
    let (mut sent, mut received) = (0u32, 0u32);
    let mut random = 20261u32;
    while received < 200_000 {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        for _ in 0..random >> 22 {
            send(&a, &sent.to_ne_bytes(), &patience()).unwrap();
            sent += 1;
        }
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        for _ in 0..(random >> 22).min(sent - received) {
            assert!(is_readable(&b));
            assert_eq!(receive(&b, &patience()).unwrap(), received.to_ne_bytes());
            received += 1;
        }
        assert_eq!(is_readable(&b), received != sent);
    }
}

#[test]
fn senders_and_receivers_in_crowds_lose_and_double_nothing() {
    const EACH: u32 = 300;
    let [a, b] = new_pipe();
    let mut got: Vec<u32> = thread::scope(|scope| {
        for sender in 0..3 {
            let a = &a;
            scope.spawn(move || {
                for i in 0..EACH {
                    let message = (sender * EACH + i).to_ne_bytes().repeat(if i % 3 == 0 { 10_000 } else { 5 });
                    send(a, &message, &patience()).unwrap();
                }
            });
        }
        let receivers: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    (0..EACH)
                        .map(|_| {
                            let message = receive(&b, &patience()).unwrap();
                            let (number, _) = message.split_first_chunk().unwrap();
                            assert!(message.chunks(4).all(|c| c == number), "a message is torn");
                            u32::from_ne_bytes(*number)
                        })
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        receivers.into_iter().flat_map(|r| r.join().unwrap()).collect()
    });
    got.sort_unstable();
    assert!(got.into_iter().eq(0..3 * EACH));
}

#[test]
fn an_end_is_rebuilt_from_its_tokens() {
    let [a, (socket, channel)] = new_pipe();
    let again = Channel::from_tokens(&channel.tokens(Way::InMessage)).unwrap();
    send(&a, &[9; 50_000], &patience()).unwrap();
    assert_eq!(receive(&(socket, again), &patience()).unwrap(), [9; 50_000]);
    assert!(Channel::from_tokens(&[0; Channel::TOKENS]).is_err());
    assert!(Channel::from_tokens(b"short").is_err());
}

#[test]
fn a_bare_socket_passes_short_messages_and_refuses_long_ones() {
    let [a, b] = new_pipe();
    let bare = PipeEnd { socket: &b.0, channel: None };
    let mut buffer = Vec::new();
    send(&a, b"short", &patience()).unwrap();
    assert!(matches!(bare.try_receive(&mut buffer), Ok(Some(Received::Inline(7)))));
    assert_eq!(buffer[RECORD_HEADER..], *b"short");
    send(&a, &[1; 50_000], &patience()).unwrap();
    assert!(matches!(bare.try_receive(&mut buffer), Err(ReceiveError::NoChannel)));
    // The next message is not mistaken for it.
    send(&a, &[2; 50_000], &patience()).unwrap();
    assert_eq!(receive(&b, &patience()).unwrap(), [2; 50_000]);
}
