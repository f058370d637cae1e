//! Handles in messages: the objects that a message names live as long as the message and its receivers, and no longer.
//!
//! A test program of its own, so that the objects of a session can be counted.

mod conformance;

use conformance::support::{self, Child, Gate, alone};
use conformance::*;
use kettle_core::arena::{Block, Handle, Names, Session, Token, TokenError};
use kettle_core::queue::{Body, Parcel, Queue};
use kettle_core::shared::{ArenaStore, place_of};
use kettle_core::sync::Event;
use kettle_core::wait::Patience;

type W = Forked;
type Q = Handle<Queue>;

fn queue() -> Q {
    place::<W, _>(Queue::new(0, true))
}

fn event() -> Handle<Event> {
    place::<W, _>(Event::new())
}

fn session() -> Session {
    Session::get().unwrap()
}

fn objects() -> u64 {
    session().check().unwrap();
    session().statistics().unwrap().objects
}

/// A message that consists of these handles' tokens.
fn message(named: &[&Q]) -> (Vec<u8>, Names) {
    Names::collect(|| named.iter().flat_map(|q| q.token_to_send().to_bytes()).collect())
}

fn put(to: &Q, named: &[&Q]) {
    let (bytes, names) = message(named);
    let parts = names.pack().unwrap().into_iter().collect();
    let parcel = Parcel::<ArenaStore>::blocks(0, Body::Inline(&bytes), parts);
    assert!(to.put(place_of(to), parcel, &forever()).is_ok());
}

fn token(bytes: &[u8]) -> Token {
    Token::from_bytes(bytes.try_into().unwrap())
}

fn get(from: &Q) -> Option<Vec<Q>> {
    let mut bytes = Vec::new();
    let mut taken = from.get::<ArenaStore>(&mut bytes, &Patience::none()).ok()?;
    let _names = Names::unpack(&mut taken.parts).unwrap();
    assert!(taken.parts.is_empty());
    Some(bytes.chunks_exact(Token::LEN).map(|bytes| Handle::from_token(&token(bytes)).unwrap()).collect())
}

/// Runs `body`, then asserts that a reclaim leaves nothing of it in the arena.
fn leaves_nothing(what: &str, body: impl FnOnce()) {
    let what = what.to_owned();
    alone(move || {
        kettle_core::shared::init();
        let before = objects();
        body();
        session().reclaim().unwrap();
        assert_eq!(objects(), before, "{what}: objects were left");
        assert_eq!(session().statistics().unwrap().pinned, 0);
    });
}

#[test]
fn a_named_object_lives_as_long_as_the_message_and_who_got_it() {
    alone(|| {
        let requests = queue();
        put(&requests, &[]);
        get(&requests).unwrap();
        let before = objects();
        for round in 0..300 {
            let answers = queue();
            put(&requests, &[&answers]);
            if round % 3 == 0 {
                // Only the message holds it.
                drop(answers);
                assert_eq!(objects(), before + 2);
                session().reclaim().unwrap();
                let got = get(&requests).unwrap().remove(0);
                put(&got, &[]);
                assert_eq!(got.len(), 1);
            } else {
                let got = get(&requests).unwrap().remove(0);
                put(&got, &[]);
                drop(got);
                assert!(get(&answers).unwrap().is_empty());
                drop(answers);
            }
            assert_eq!(objects(), before);
        }
    });
}

#[test]
fn a_message_that_is_thrown_away_lets_go() {
    leaves_nothing("cleared", || {
        let q = queue();
        put(&q, &[&queue(), &queue()]);
        put(&q, &[&queue()]);
        assert_eq!(objects(), 1 + 1 + 3 + 2);
        q.clear::<ArenaStore>();
        assert_eq!(objects(), 1 + 1);
        put(&q, &[&queue()]);
        q.shutdown::<ArenaStore>(true);
        assert_eq!(objects(), 1 + 1);
        drop(q);
        assert_eq!(objects(), 0);
    });
    leaves_nothing("with its queue", || {
        let q = queue();
        put(&q, &[&queue()]);
        drop(q);
        assert_eq!(objects(), 0);
    });
    leaves_nothing("never put", || {
        let one = queue();
        let (_, names) = message(&[&one]);
        drop(one);
        let block = names.pack().unwrap();
        drop(names);
        assert_eq!(objects(), 2);
        drop(block);
        assert_eq!(objects(), 0);
    });
}

#[test]
fn many_messages_name_one_object() {
    leaves_nothing("many", || {
        let (q, one) = (queue(), queue());
        (0..2_000).for_each(|_| put(&q, &[&one, &one.clone()]));
        let before = objects();
        for n in 0..2_000 {
            if n == 5 {
                put(&one, &[]);
            }
            let got = get(&q).unwrap();
            assert_eq!((got.len(), got[0].len()), (2, u32::from(n >= 5)));
        }
        drop(q);
        assert!(objects() < before);
        assert_eq!(get(&one).unwrap().len(), 0);
    });
}

/// Messages nested in messages, to any depth.
#[test]
fn nested_queues() {
    leaves_nothing("nested", || {
        let outermost = queue();
        let mut inner = queue();
        for _ in 0..20_000 {
            let outer = queue();
            put(&outer, &[&inner]);
            inner = outer;
        }
        put(&outermost, &[&inner]);
        drop(inner);
        session().reclaim().unwrap();
        let mut found = get(&outermost).unwrap().remove(0);
        for _ in 0..10_000 {
            found = get(&found).unwrap().remove(0);
        }
        // Dropping the last handle frees the chain without a stack of its depth.
        drop(found);
        drop(outermost);
        assert_eq!(objects(), 0);
    });
}

/// A queue that is named only by its own content is found by a reclaim.
#[test]
fn rings() {
    leaves_nothing("itself", || {
        let q = queue();
        put(&q, &[&q]);
        session().reclaim().unwrap();
        assert_eq!(get(&q).unwrap().len(), 1);
        put(&q, &[&q]);
    });
    leaves_nothing("a ring, and what hangs on it", || {
        let ring: Vec<Q> = (0..5).map(|_| queue()).collect();
        for (i, q) in ring.iter().enumerate() {
            put(q, &[&ring[(i + 1) % 5], &queue()]);
        }
        let elsewhere = queue();
        put(&elsewhere, &[&ring[3]]);
        drop(ring);
        // One reference from outside keeps all of them alive.
        assert_eq!(session().reclaim().unwrap().objects, 0);
        let first = get(&elsewhere).unwrap().remove(0);
        let next = get(&first).unwrap();
        assert_eq!((next.len(), next[0].len()), (2, 1));
    });
}

#[test]
fn a_fork_in_the_middle_keeps_what_both_hold() {
    leaves_nothing("fork", || {
        let q = queue();
        put(&q, &[&queue()]);
        let mut bytes = Vec::new();
        let mut taken = q.get::<ArenaStore>(&mut bytes, &Patience::none()).unwrap();
        let names = Names::unpack(&mut taken.parts).unwrap();
        let go = Gate::new();
        let child = Child::fork(|| {
            go.pass();
            let got = Handle::<Queue>::from_token(&token(&bytes)).unwrap();
            drop(names.clone());
            put(&got, &[]);
        });
        drop(names);
        go.open();
        child.succeeds();
    });
    leaves_nothing("fork of a sender", || {
        let (q, one) = (queue(), queue());
        let (bytes, names) = message(&[&one]);
        drop(one);
        let child = Child::fork(|| {
            let parts = names.pack().unwrap().into_iter().collect();
            let parcel = Parcel::<ArenaStore>::blocks(0, Body::Inline(&bytes), parts);
            assert!(q.put(place_of(&q), parcel, &forever()).is_ok());
        });
        drop(names.clone());
        child.succeeds();
        drop(names);
        put(&get(&q).unwrap()[0], &[]);
    });
}

#[test]
fn messages_made_within_messages_are_apart() {
    leaves_nothing("apart", || {
        let (q, one, two) = (queue(), queue(), event());
        let (_, outer) = Names::collect(|| {
            one.token_to_send();
            put(&q, &[&one]);
            let (_, inner) = Names::collect(|| two.token_to_send());
            assert!(!inner.is_empty());
        });
        drop(two);
        // The object named by the message, its list, the queue and its chunk.
        drop((one, outer));
        assert_eq!(objects(), 4);
        assert_eq!(get(&q).unwrap().len(), 1);
    });
}

#[test]
fn outside_of_a_message_a_token_pins() {
    alone(|| {
        let q = queue();
        let token = q.token_to_send();
        drop(q);
        assert_eq!(session().statistics().unwrap().pinned, 1);
        Handle::<Queue>::from_token(&token).unwrap().token_to_send();
        session().reclaim().unwrap();
        assert_eq!((objects(), session().statistics().unwrap().pinned), (1, 1));
    });
}

#[test]
fn seen_off_and_arrived() {
    alone(|| {
        let q = queue();
        let (bytes, names) = message(&[&q, &q]);
        drop(q);
        let pass = names.see_off().unwrap().unwrap();
        drop(names);
        session().reclaim().unwrap();
        assert_eq!((objects(), session().statistics().unwrap().pinned), (2, 1));
        let names = Names::arrived(&Token::from_bytes(&pass.to_bytes())).unwrap();
        let got = Handle::<Queue>::from_token(&token(&bytes[..Token::LEN])).unwrap();
        drop(names);
        assert_eq!((objects(), session().statistics().unwrap().pinned), (1, 0));
        assert!(matches!(Names::arrived(&pass), Err(TokenError::Gone)));
        drop(got);
        assert_eq!(objects(), 0);
        // A token of another object is not a list's, and vice versa.
        let other = queue();
        assert!(Names::arrived(&other.token_pinned()).is_err());
        assert!(Handle::<Queue>::from_token(&pass).is_err());
    });
}

/// A list with overwritten words leads nowhere.
#[test]
fn a_list_that_was_scribbled_on() {
    alone(|| {
        let mut random = support::Random::seeded();
        let q = queue();
        for _ in 0..200 {
            let one = queue();
            let (_, names) = message(&[&one, &q]);
            let mut block: Block = names.pack().unwrap().unwrap();
            let word = random.word();
            block.as_mut_slice()[..8].copy_from_slice(&word.to_ne_bytes());
            if word % 2 == 0 {
                drop(Names::unpack(&mut vec![block]).unwrap());
            } else {
                drop(block);
            }
        }
        session().check().unwrap();
        assert_eq!(q.len(), 0);
    });
}

#[cfg(feature = "crash-points")]
mod deaths {
    use super::*;

    /// A process that sends handles to a queue that lives on is killed at every step.
    #[test]
    fn a_sender_at_every_step() {
        for (crash, is_put) in [
            ("arena.names.counted", false),
            ("arena.alloc.before-commit", false),
            ("arena.slab.after-commit", false),
            ("queue.put.before-commit", false),
            ("queue.put.committed", true),
            ("queue.put.before-notify", true),
        ] {
            leaves_nothing(crash, || {
                let (q, shared) = (queue(), queue());
                dies_at(crash, || {
                    loop {
                        put(&q, &[&queue(), &shared]);
                    }
                });
                session().reclaim().unwrap();
                session().check().unwrap();
                if is_put {
                    let got = get(&q).unwrap();
                    put(&got[0], &[&got[1]]);
                    assert_eq!((got[0].len(), got[1].len()), (1, 0));
                }
                assert_eq!(get(&q).map(|got| got.len()), None);
                put(&shared, &[]);
                assert_eq!(get(&shared).unwrap().len(), 0);
            });
        }
    }

    /// The kernel's state of a process: `S` asleep, `T` stopped.
    fn state_of(child: &Child) -> char {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.pid())).unwrap();
        stat.rsplit(')').next().unwrap().trim_start().chars().next().unwrap()
    }

    fn go_on(child: &Child) {
        // SAFETY: kill takes two integers; the process is our child.
        unsafe { libc::kill(child.pid() as i32, libc::SIGCONT) };
    }

    /// A queue's teardown removes a list between the two checks of a reclaim: after the reclaim found that the queue is
    /// dead, and before it asks whether the queue still contains the list.
    #[test]
    fn a_teardown_in_the_middle_of_a_reclaim() {
        leaves_nothing("teardown", || {
            let named = queue();
            let dropping = Child::fork(|| {
                let q = queue();
                put(&q, &[&queue(), &named]);
                kettle_core::arm_crash_point("arena.object.dying:1:stop");
                drop(q);
            });
            until(|| state_of(&dropping) == 'T');
            let reclaiming = Child::fork(|| {
                kettle_core::arm_crash_point("arena.reclaim.waiting:1:stop");
                session().reclaim().unwrap();
                session().check().unwrap();
            });
            until(|| state_of(&reclaiming) == 'T');
            go_on(&dropping);
            // It has removed the list and waits for the allocator's lock to free it.
            until(|| state_of(&dropping) == 'S');
            go_on(&reclaiming);
            reclaiming.succeeds();
            dropping.succeeds();
            session().check().unwrap();
            put(&named, &[]);
            assert_eq!(get(&named).unwrap().len(), 0);
        });
    }

    /// A process that receives handles is killed at every step. The next receiver gets what it had not taken.
    #[test]
    fn a_receiver_at_every_step() {
        for (crash, is_taken) in [
            ("arena.block.taken", false),
            ("queue.get.claimed", false),
            ("queue.get.before-commit", false),
            ("queue.get.committed", true),
            ("queue.get.before-notify", true),
            ("arena.names.held", true),
            ("arena.names.condemned", true),
            ("arena.free.before-commit", true),
            ("arena.free.after-commit", true),
        ] {
            leaves_nothing(crash, || {
                let (q, shared) = (queue(), queue());
                put(&q, &[&queue(), &shared]);
                put(&q, &[&shared]);
                let inner = queue();
                put(&inner, &[&queue()]);
                put(&q, &[&inner]);
                drop(inner);
                dies_at(crash, || while get(&q).is_some() {});
                session().reclaim().unwrap();
                session().check().unwrap();
                if !is_taken {
                    assert_eq!(get(&q).unwrap().len(), 2);
                }
                assert_eq!(get(&q).unwrap().len(), 1);
                let inner = get(&q).unwrap().remove(0);
                put(&get(&inner).unwrap()[0], &[]);
                put(&shared, &[]);
                assert_eq!(get(&shared).unwrap().len(), 0);
            });
        }
    }

    /// A process that discards messages that name queues with messages in them is killed at every step.
    #[test]
    fn a_thrower_at_every_step() {
        for crash in [
            "arena.names.condemned",
            "arena.names.dropped",
            "arena.object.dying",
            "arena.free.before-commit",
            "arena.free.after-commit",
            "arena.handle.let-go",
        ] {
            for visit in 1..5 {
                let spec = format!("{crash}:{visit}");
                leaves_nothing(&spec, || {
                    let (kept, gate) = (queue(), Gate::new());
                    let child = Child::fork(|| {
                        let q = queue();
                        for _ in 0..3 {
                            let inner = queue();
                            put(&inner, &[&queue(), &kept]);
                            put(&q, &[&inner]);
                        }
                        // Live messages name the same queue.
                        put(&kept, &[&q]);
                        gate.pass();
                        kettle_core::arm_crash_point(&spec);
                        kept.clear::<ArenaStore>();
                        drop(q);
                        queue();
                        put(&queue(), &[&queue()]);
                        support::sleep_for_ever();
                    });
                    gate.open();
                    assert_eq!(child.wait(), support::Ended::Killed(libc::SIGKILL), "{spec} was never reached");
                    session().reclaim().unwrap();
                    put(&kept, &[&kept]);
                    while get(&kept).is_some() {}
                });
            }
        }
    }

    /// What a killed reclaim was tearing down is freed by the next one.
    #[test]
    fn a_reclaim_at_every_step() {
        for crash in ["arena.reclaim.condemned", "arena.names.condemned", "arena.object.dying", "arena.names.dropped"] {
            leaves_nothing(crash, || {
                let kept = queue();
                Child::fork(|| {
                    let q = queue();
                    let inner = queue();
                    put(&inner, &[&queue(), &kept]);
                    put(&q, &[&inner, &q]);
                    put(&q, &[&kept]);
                })
                .succeeds();
                dies_at(crash, || {
                    session().reclaim().unwrap();
                });
                session().reclaim().unwrap();
                assert_eq!(objects(), 1);
                put(&kept, &[&kept]);
                assert_eq!(get(&kept).unwrap().len(), 1);
            });
        }
    }

    /// Messages with handles travel from queue to queue, and are received, discarded and put again, by processes that
    /// are killed at random while others reclaim. Nothing alive is freed, and in the end nothing is left.
    #[test]
    fn at_random() {
        leaves_nothing("at random", || {
            let mut random = support::Random::seeded();
            let queues: Vec<Q> = (0..4).map(|_| queue()).collect();
            let work = |seed: u64| {
                let mut random = support::Random::from(seed);
                let mut mine: Vec<Q> = Vec::new();
                loop {
                    let q = &queues[random.below(4) as usize];
                    let to = &queues[random.below(4) as usize];
                    match random.below(8) {
                        0 | 1 => mine.push(queue()),
                        2 if mine.len() > 4 => drop(mine.remove(0)),
                        3 | 4 if !mine.is_empty() => put(to, &[&mine[0], q]),
                        // Forwarded without inspecting it.
                        5 => {
                            let mut bytes = Vec::new();
                            if let Ok(taken) = q.get::<ArenaStore>(&mut bytes, &Patience::none()) {
                                let parcel = Parcel::<ArenaStore>::blocks(0, Body::Inline(&bytes), taken.parts);
                                assert!(to.put(place_of(to), parcel, &forever()).is_ok());
                            }
                        }
                        6 => {
                            session().reclaim().unwrap();
                        }
                        _ => {
                            // Each handle refers to the right object and is usable.
                            for got in get(q).into_iter().flatten() {
                                put(&got, &[]);
                                let _ = got.statistics::<S<W>>();
                                mine.push(got);
                            }
                        }
                    }
                    mine.truncate(8);
                }
            };
            for _ in 0..12 {
                let seeds: Vec<u64> = (0..3).map(|_| random.word()).collect();
                // The row of a child that is killed before its first step stays reserved for some seconds, as does
                // everything that was held for the child.
                let begun = support::Gate::new();
                let start = |seed| {
                    Child::fork(|| {
                        begun.open();
                        work(seed);
                    })
                };
                let workers: Vec<_> = seeds.into_iter().map(start).collect();
                workers.iter().for_each(|_| begun.pass());
                std::thread::sleep(std::time::Duration::from_micros(10_000 + random.below(60_000)));
                for worker in workers {
                    worker.kill();
                    assert_eq!(worker.wait(), support::Ended::Killed(libc::SIGKILL));
                }
                session().check().unwrap();
            }
        });
    }
}
