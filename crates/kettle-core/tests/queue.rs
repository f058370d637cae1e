//! The queue: order, bounds, shutdown, unfinished messages. Deaths are tested in `queue_deaths.rs`.

mod conformance;

use std::time::Duration;

use conformance::*;
use kettle_core::arena::Session;
use kettle_core::queue::{Body, GetError, INLINE_MAX, JoinError, Parcel, PutError, Queue, TooManyDone};
use kettle_core::shared::Placement;
use kettle_core::wait::{Patience, Stopped};

conformance!(
    in_the_order_they_were_put,
    many_to_many,
    a_bound_is_kept,
    unbounded_never_waits,
    ends_late,
    is_interrupted,
    all_sizes_and_chunks,
    blocks_and_parts,
    bytes_inside_are_told,
    sleeping_getters_are_all_served,
    sleeping_putters_are_all_served,
    shutdown_lets_the_rest_be_got,
    immediate_shutdown_drops_the_rest,
    shutdown_wakes_all,
    clear_makes_room,
    join_waits_for_all_to_be_done,
    too_many_done,
    done_ahead,
);

type Q<W> = Ref<W, Queue>;

/// A message whose content depends on its number and length.
fn content(number: u64, len: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..len).map(|i| (number as usize).wrapping_mul(31).wrapping_add(i * 7) as u8).collect();
    bytes.splice(..8.min(len), number.to_le_bytes().into_iter().take(len));
    bytes
}

fn number(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes[..8].try_into().unwrap())
}

fn put<W: World>(queue: &Q<W>, bytes: &[u8], patience: &Patience<'_>) -> Result<(), &'static str> {
    let r = queue.put::<S<W>>(W::Place::place_of(queue), Parcel::inline(3, bytes), patience);
    r.map_err(|e| match e {
        PutError::Full(_) => "full",
        PutError::ShutDown(_) => "shut",
        PutError::Interrupted(_) => "interrupted",
        PutError::Exhausted(..) => "exhausted",
        PutError::Damaged(_) => "damaged",
    })
}

fn get<W: World>(queue: &Q<W>, patience: &Patience<'_>) -> Result<Vec<u8>, GetError> {
    let mut bytes = Vec::new();
    let taken = queue.get::<S<W>>(&mut bytes, patience)?;
    assert_eq!(taken.tag, 3);
    Ok(bytes)
}

fn queue<W: World>(maxsize: u32, joinable: bool) -> Q<W> {
    place::<W, _>(Queue::new(maxsize, joinable))
}

fn in_the_order_they_were_put<W: World>() {
    let q = queue::<W>(0, false);
    W::all(2, |i| {
        for n in 0..5_000 {
            let bytes = content(n, 8 + n as usize % 40);
            if i == 0 {
                put::<W>(&q, &bytes, &forever()).unwrap();
            } else {
                assert_eq!(get::<W>(&q, &forever()).unwrap(), bytes);
            }
        }
    });
    assert!(q.is_empty());
    let s = q.statistics::<S<W>>();
    assert_eq!((s.put, s.got, s.size, s.owners_died), (5_000, 5_000, 0, 0));
}

/// Every message arrives once, and those of one putter arrive in order.
fn many_to_many<W: World>() {
    const EACH: u64 = 1_500;
    for bound in [0, 3] {
        let q = queue::<W>(bound, false);
        let tally = place::<W, _>(Tally::new());
        W::all(4, |i| {
            if i < 2 {
                for n in 0..EACH {
                    put::<W>(&q, &content(u64::from(i) << 32 | n, 20), &forever()).unwrap();
                }
                return;
            }
            let mut last = [None; 2];
            while tally.add(0, 1) <= 2 * EACH {
                let bytes = get::<W>(&q, &forever()).unwrap();
                let (putter, n) = ((number(&bytes) >> 32) as usize, number(&bytes) as u32);
                assert_eq!(bytes, content(number(&bytes), 20));
                assert!(last[putter] < Some(n), "{n} after {last:?}");
                last[putter] = Some(n);
                tally.add(1 + putter, u64::from(n));
            }
        });
        assert_eq!([1, 2].map(|i| tally.get(i)), [EACH * (EACH - 1) / 2; 2]);
        assert!(q.is_empty());
    }
}

fn a_bound_is_kept<W: World>() {
    let q = queue::<W>(2, false);
    W::all(3, |i| {
        for _ in 0..1_000 {
            match i {
                0 | 1 => put::<W>(&q, b"12345678", &forever()).unwrap(),
                _ => {
                    get::<W>(&q, &forever()).unwrap();
                    get::<W>(&q, &forever()).unwrap();
                }
            }
        }
    });
    assert_eq!(q.len(), 0);
    put::<W>(&q, b"a", &Patience::none()).unwrap();
    put::<W>(&q, b"b", &Patience::none()).unwrap();
    assert!(q.is_full());
    assert_eq!(put::<W>(&q, b"c", &Patience::none()), Err("full"));
    assert_eq!(q.len(), 2);
}

fn unbounded_never_waits<W: World>() {
    let q = queue::<W>(0, false);
    let bytes = content(1, 100);
    W::all(1, |_| (0..20_000).for_each(|_| put::<W>(&q, &bytes, &Patience::none()).unwrap()));
    assert_eq!(q.len(), 20_000);
    (0..20_000).for_each(|_| assert_eq!(get::<W>(&q, &Patience::none()).unwrap(), bytes));
    assert_eq!(get::<W>(&q, &Patience::none()), Err(GetError::Empty));
}

fn ends_late<W: World>() {
    let q = queue::<W>(1, false);
    assert_eq!(get::<W>(&q, &Patience::none()), Err(GetError::Empty));
    assert_eq!(at_least(A_MOMENT, || get::<W>(&q, &within(A_MOMENT))), Err(GetError::Empty));
    put::<W>(&q, b"a", &forever()).unwrap();
    assert_eq!(at_least(A_MOMENT, || put::<W>(&q, b"b", &within(A_MOMENT))), Err("full"));
    assert_eq!(at_least(A_MOMENT, || q.join::<S<W>>(&within(A_MOMENT))), Err(JoinError::Stopped(Stopped::TimedOut)));
}

fn is_interrupted<W: World>() {
    let q = queue::<W>(1, false);
    let stop = || true;
    let patience = || forever().interrupted_by(Duration::from_millis(5), &stop);
    assert_eq!(get::<W>(&q, &patience()), Err(GetError::Interrupted));
    put::<W>(&q, b"a", &forever()).unwrap();
    assert_eq!(put::<W>(&q, b"b", &patience()), Err("interrupted"));
    assert_eq!(q.len(), 1);
}

/// Lengths around every limit, and enough messages for many chunks that end at every unit.
fn all_sizes_and_chunks<W: World>() {
    let q = queue::<W>(0, false);
    let lens = [0, 1, 7, 8, 9, 63, 64, 65, 500, INLINE_MAX - 9, INLINE_MAX - 8, INLINE_MAX - 1, INLINE_MAX];
    let len = |n: u64| lens[n as usize * 5 % lens.len()] - n as usize % 3 % (1 + lens[n as usize * 5 % lens.len()]);
    W::all(2, |i| {
        for n in 0..6_000 {
            let bytes = content(n, len(n));
            if i == 0 {
                put::<W>(&q, &bytes, &forever()).unwrap();
            } else {
                assert_eq!(get::<W>(&q, &forever()).unwrap(), bytes);
            }
        }
    });
}

fn blocks_and_parts<W: World>() {
    let q = queue::<W>(4, false);
    W::all(2, |i| {
        for n in 0..200 {
            let (body, first, second) = (content(n, 3_000), content(n + 1, 70_000), content(n + 2, 8));
            if i == 0 {
                let parts = vec![S::<W>::block(&first), S::<W>::block(&second)];
                let body = if n % 2 == 0 { Body::Block(S::<W>::block(&body)) } else { Body::Inline(&body[..100]) };
                let parcel = Parcel::blocks(n as u8, body, parts);
                assert!(q.put::<S<W>>(W::Place::place_of(&q), parcel, &forever()).is_ok());
            } else {
                let mut bytes = Vec::new();
                let taken = q.get::<S<W>>(&mut bytes, &forever()).unwrap();
                assert_eq!(taken.tag, n as u8);
                match &taken.block {
                    Some(block) => assert_eq!((S::<W>::bytes(block), n % 2), (&body[..], 0)),
                    None => assert_eq!((&bytes[..], n % 2), (&body[..100], 1)),
                }
                assert_eq!(S::<W>::bytes(&taken.parts[0]), first);
                assert_eq!(S::<W>::bytes(&taken.parts[1]), second);
            }
        }
        // Remaining messages are freed with the queue.
        if i == 0 {
            let parcel = Parcel::blocks(0, Body::Block(S::<W>::block(b"left")), vec![S::<W>::block(b"behind")]);
            assert!(q.put::<S<W>>(W::Place::place_of(&q), parcel, &forever()).is_ok());
        }
    });
}

fn bytes_inside_are_told<W: World>() {
    let q = queue::<W>(0, false);
    let bytes = || q.statistics::<S<W>>().bytes;
    let put_blocks = |sizes: [usize; 2]| {
        let [body, part] = sizes.map(|len| S::<W>::block(&content(0, len)));
        let parcel = Parcel::blocks(3, Body::Block(body), vec![part]);
        assert!(q.put::<S<W>>(W::Place::place_of(&q), parcel, &forever()).is_ok());
    };
    assert_eq!(bytes(), 0);
    // One unit for the header, two for the body.
    put::<W>(&q, &content(0, 16), &forever()).unwrap();
    assert_eq!(bytes(), 24);
    put_blocks([3_000, 70_000]);
    // The units that name the blocks.
    assert_eq!(bytes(), 24 + 73_000 + 24);
    put_blocks([5_000, 8]);
    assert_eq!(bytes(), 24 + 73_000 + 24 + 5_008 + 24);
    get::<W>(&q, &forever()).unwrap();
    get::<W>(&q, &forever()).unwrap();
    assert_eq!(bytes(), 5_008 + 24);
    q.clear::<S<W>>();
    assert_eq!(bytes(), 0);
    put_blocks([9, 9]);
    assert_eq!(bytes(), 18 + 24);
}

/// As many puts in a row as there are sleepers: none has to wait for the end of its slice.
fn sleeping_getters_are_all_served<W: World>() {
    for _ in 0..20 {
        let q = queue::<W>(0, false);
        W::all(5, |i| {
            if i > 0 {
                get::<W>(&q, &forever()).unwrap();
            } else {
                until(|| q.statistics::<S<W>>().getters_waiting == 4);
                (0..4).for_each(|_| put::<W>(&q, b"12345678", &forever()).unwrap());
            }
        });
    }
}

fn sleeping_putters_are_all_served<W: World>() {
    for _ in 0..20 {
        let q = queue::<W>(4, false);
        (0..4).for_each(|_| put::<W>(&q, b"12345678", &forever()).unwrap());
        W::all(5, |i| {
            if i > 0 {
                put::<W>(&q, b"12345678", &forever()).unwrap();
            } else {
                until(|| q.statistics::<S<W>>().putters_waiting == 4);
                (0..4).for_each(|_| assert!(get::<W>(&q, &forever()).is_ok()));
            }
        });
        assert_eq!(q.len(), 4);
    }
}

fn shutdown_lets_the_rest_be_got<W: World>() {
    let q = queue::<W>(0, false);
    put::<W>(&q, b"a", &forever()).unwrap();
    W::all(1, |_| q.shutdown::<S<W>>(false));
    assert_eq!(put::<W>(&q, b"b", &forever()), Err("shut"));
    assert_eq!(get::<W>(&q, &forever()).unwrap(), b"a");
    assert_eq!(get::<W>(&q, &forever()), Err(GetError::ShutDown));
    assert!(q.is_shut());
}

fn immediate_shutdown_drops_the_rest<W: World>() {
    let q = queue::<W>(0, true);
    for _ in 0..1_000 {
        let parcel = Parcel::blocks(0, Body::Inline(&[0; 200]), vec![S::<W>::block(b"part")]);
        assert!(q.put::<S<W>>(W::Place::place_of(&q), parcel, &forever()).is_ok());
    }
    W::all(1, |_| q.shutdown::<S<W>>(true));
    assert_eq!(get::<W>(&q, &forever()), Err(GetError::ShutDown));
    q.join::<S<W>>(&forever()).unwrap();
}

fn shutdown_wakes_all<W: World>() {
    for immediate in [false, true] {
        let (empty, full) = (queue::<W>(0, true), queue::<W>(1, true));
        put::<W>(&full, b"a", &forever()).unwrap();
        W::all(5, |i| match i {
            0 => {
                until(|| {
                    empty.statistics::<S<W>>().getters_waiting == 2 && full.statistics::<S<W>>().putters_waiting == 2
                });
                empty.shutdown::<S<W>>(immediate);
                full.shutdown::<S<W>>(immediate);
            }
            1 | 2 => assert_eq!(get::<W>(&empty, &forever()), Err(GetError::ShutDown)),
            _ => assert_eq!(put::<W>(&full, b"b", &forever()), Err("shut")),
        });
        assert_eq!(full.len(), u32::from(!immediate));
    }
}

fn clear_makes_room<W: World>() {
    let q = queue::<W>(1, true);
    put::<W>(&q, b"a", &forever()).unwrap();
    W::all(2, |i| {
        if i == 0 {
            until(|| q.statistics::<S<W>>().putters_waiting == 1);
            q.clear::<S<W>>();
        } else {
            put::<W>(&q, b"b", &forever()).unwrap();
        }
    });
    assert_eq!(get::<W>(&q, &forever()).unwrap(), b"b");
}

fn join_waits_for_all_to_be_done<W: World>() {
    let q = queue::<W>(0, true);
    let tally = place::<W, _>(Tally::new());
    q.join::<S<W>>(&forever()).unwrap();
    put::<W>(&q, &content(0, 8), &forever()).unwrap();
    W::all(4, |i| {
        if i == 0 {
            q.join::<S<W>>(&forever()).unwrap();
            assert_eq!(tally.get(0), 2_047);
            q.shutdown::<S<W>>(false);
            return;
        }
        // Each message produces two more, to a depth of eleven.
        while let Ok(bytes) = get::<W>(&q, &forever()) {
            let depth = number(&bytes);
            if depth < 10 {
                (0..2).for_each(|_| put::<W>(&q, &content(depth + 1, 8), &forever()).unwrap());
            }
            tally.add(0, 1);
            q.task_done::<S<W>>().unwrap();
        }
    });
    assert_eq!(q.unfinished::<S<W>>(), 0);
}

fn too_many_done<W: World>() {
    let q = queue::<W>(0, true);
    assert_eq!(q.task_done::<S<W>>(), Err(TooManyDone));
    put::<W>(&q, b"a", &forever()).unwrap();
    assert_eq!(q.task_done::<S<W>>(), Err(TooManyDone));
    get::<W>(&q, &forever()).unwrap();
    // Work may be passed on and finished by another participant.
    W::all(1, |_| q.task_done::<S<W>>().unwrap());
    assert_eq!(q.task_done::<S<W>>(), Err(TooManyDone));
}

/// As often as messages were put; those not received yet count as done when they are received.
fn done_ahead<W: World>() {
    let q = queue::<W>(0, true);
    let ahead = || q.task_done_ahead::<S<W>>(&forever()).unwrap();
    let state = || (q.len(), q.unfinished::<S<W>>());
    for round in 0..3 {
        assert_eq!(ahead(), Err(TooManyDone));
        (0..5).for_each(|_| put::<W>(&q, b"a", &forever()).unwrap());
        // Received messages come first.
        get::<W>(&q, &forever()).unwrap();
        W::all(1, |_| ahead().unwrap());
        assert_eq!(state(), (4, 4));
        (0..2).for_each(|_| ahead().unwrap());
        assert_eq!(state(), (4, 2));
        W::all(1, |_| (0..2).for_each(|_| drop(get::<W>(&q, &forever()).unwrap())));
        assert_eq!((state(), q.task_done::<S<W>>()), ((2, 2), Err(TooManyDone)));
        if round == 1 {
            // The last one wakes the joiners.
            W::all(
                2,
                |i| if i == 0 { q.join::<S<W>>(&forever()).unwrap() } else { (0..2).for_each(|_| ahead().unwrap()) },
            );
            assert_eq!((state(), ahead()), ((2, 0), Err(TooManyDone)));
            put::<W>(&q, b"b", &forever()).unwrap();
            assert_eq!(state(), (3, 1));
            (0..3).for_each(|_| drop(get::<W>(&q, &forever()).unwrap()));
            assert_eq!(state(), (0, 1));
            q.task_done::<S<W>>().unwrap();
        } else {
            (0..2).for_each(|_| drop(get::<W>(&q, &forever()).unwrap()));
            (0..2).for_each(|_| q.task_done::<S<W>>().unwrap());
        }
        assert_eq!(state(), (0, 0));
    }
    assert!(queue::<W>(0, false).task_done_ahead::<S<W>>(&forever()).unwrap().is_err());
}

/// Many queues cost little, and a long one seldom allocates.
#[test]
fn memory_comes_in_whole_pages() {
    type W = Forked;
    support::alone(|| {
        let q = queue::<W>(0, false);
        let session = Session::get().unwrap();
        let taken = || session.statistics().unwrap().allocated_bytes;
        let before = taken();
        put::<W>(&q, b"12345678", &forever()).unwrap();
        assert_eq!(taken() - before, 4_096);
        while taken() - before == 4_096 {
            put::<W>(&q, b"12345678", &forever()).unwrap();
        }
        assert_eq!(taken() - before, 4_096 + 65_536);
        while get::<W>(&q, &Patience::none()).is_ok() {}
        assert_eq!(taken() - before, 65_536, "the first chunk was freed");
    });
}

#[cfg(feature = "crash-points")]
mod wrapping {
    use super::*;
    use crate::conformance::Threads;
    use kettle_core::shared::OnHeap;

    /// Counts and positions wrap around.
    #[test]
    fn numbers_wrap() {
        type W = Threads<OnHeap>;
        W::case("numbers_wrap", || {
            for before in [3, 300, 600, 9_000] {
                let q = place::<W, _>(Queue::begun_at(5, true, u32::MAX - before / 3, u32::MAX - before));
                W::all(2, |i| {
                    for n in 0..6_000 {
                        let bytes = content(n, 8 + n as usize % 60);
                        if i == 0 {
                            put::<W>(&q, &bytes, &forever()).unwrap();
                        } else {
                            assert!(q.len() <= 10);
                            assert_eq!(get::<W>(&q, &forever()).unwrap(), bytes);
                            q.task_done::<S<W>>().unwrap();
                        }
                    }
                });
                assert_eq!((q.len(), q.unfinished::<S<W>>()), (0, 0));
            }
        });
    }
}
