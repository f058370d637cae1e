//! Pipes: whole messages in order, back-pressure, and ends that close.

use std::thread;
use std::time::Duration;

use kettle_core::arena::{Block, Way};
use kettle_core::queue::{Body, Parcel};
use kettle_core::shared::{Channel, IN_RECORD, PipeEnd, RECORD_HEADER, ReceiveError, Received, SendError, init, pipe};
use kettle_core::sys::descriptor::KnownFd;
use kettle_core::sys::socket;
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
    if bytes.len() <= IN_RECORD {
        return end(from).send(7, bytes, patience);
    }
    let block = Block::copy_of(bytes).expect("there is room for a block");
    end(from).send_through(&from.1, Parcel::blocks(7, Body::Block(block), Vec::new()), bytes.len(), patience)
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
const LENGTHS: [usize; 13] = [0, 1, 247, 248, 249, 250, 487, 488, 489, 5_000, IN_RECORD, IN_RECORD + 1, 1 << 20];

/// A receiver dies after it received the beginning of a message: the others get the next one.
#[test]
fn the_rest_of_a_message_that_nobody_has_is_dropped() {
    let [a, b] = new_pipe();
    for len in LENGTHS.into_iter().filter(|&len| len > 248 && len <= IN_RECORD) {
        for after in [3, 300, 100_000] {
            send(&a, &vec![1; len], &patience()).unwrap();
            send(&a, &vec![2; after], &patience()).unwrap();
            let mut slot = Vec::new();
            assert_eq!(socket::receive(b.0.get().unwrap(), &mut slot, 256).unwrap(), 256);
            assert_eq!(receive(&b, &patience()).unwrap(), vec![2; after], "{len}, {after}");
        }
        // It was the last message, and nothing is left.
        send(&a, &vec![1; len], &patience()).unwrap();
        assert_eq!(socket::receive(b.0.get().unwrap(), &mut Vec::new(), 256).unwrap(), 256);
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
    for bytes in [&b"text\n"[..], &[1; 10_000], &[0; 256], &[3; 256]] {
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

#[test]
fn an_entry_that_nobody_announced_is_skipped() {
    let [a, b] = new_pipe();
    let long = |n: u8| vec![n; 100_000];
    // The socket is full, so this message is put and not announced, as if the sender had died in between.
    let mut shorts = 0;
    while end(&a).send(7, &[0; 4096], &Patience::none()).is_ok() {
        shorts += 1;
    }
    assert!(matches!(send(&a, &long(1), &soon()), Err(SendError::Stopped(Stopped::TimedOut))));
    for _ in 0..shorts {
        receive(&b, &patience()).unwrap();
    }
    send(&a, &long(2), &patience()).unwrap();
    assert_eq!(receive(&b, &patience()).unwrap(), long(2));
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
