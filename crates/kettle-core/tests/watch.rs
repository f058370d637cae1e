//! Reading a session from outside: what a reader sees of living, stopped, killed and damaged ones.

mod arena_support;

use std::any::Any;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use arena_support::{Child, Gate, Random, alone, sleep_for_ever};
use kettle_core::arena::{Handle, Session};
use kettle_core::queue::{Parcel, Queue};
use kettle_core::shared::{self, ArenaStore, InArena, Placement, Processes, place_of};
use kettle_core::sync::{
    Barrier, Condition, Event, Lock, OnOwnerDeath, OwnedPermits, ReentrantLock, RwLock, Semaphore,
};
use kettle_core::sys::process;
use kettle_core::wait::Patience;
use kettle_core::watch::{Arena, Content, Object, ProcessState, Snapshot, WatchError, find};

fn forever() -> Patience<'static> {
    Patience::forever()
}

fn put(queue: &Handle<Queue>, bytes: &[u8]) {
    assert!(queue.put::<ArenaStore>(place_of(queue), Parcel::inline(3, bytes), &Patience::none()).is_ok());
}

/// One of each kind.
struct Things {
    lock: Handle<Lock>,
    again: Handle<ReentrantLock>,
    permits: Handle<OwnedPermits>,
    queue: Handle<Queue>,
    _others: Vec<Box<dyn Any>>,
}

impl Things {
    fn new() -> Self {
        shared::init();
        let event = InArena::place(Event::new()).unwrap();
        event.set::<Processes>();
        let others: Vec<Box<dyn Any>> = vec![
            Box::new(event),
            Box::new(InArena::place(Semaphore::new(2, 5)).unwrap()),
            Box::new(InArena::place(Condition::new()).unwrap()),
            Box::new(InArena::place(Barrier::new(3)).unwrap()),
            Box::new(InArena::place(RwLock::noted(OnOwnerDeath::Raise)).unwrap()),
        ];
        Self {
            lock: InArena::place(Lock::new(OnOwnerDeath::Raise)).unwrap(),
            again: InArena::place(ReentrantLock::new(OnOwnerDeath::Raise)).unwrap(),
            permits: InArena::place(OwnedPermits::new(4).unwrap()).unwrap(),
            queue: InArena::place(Queue::new(8, false)).unwrap(),
            _others: others,
        }
    }

    /// Takes and puts something in this process.
    fn use_them(&self) {
        self.lock.acquire_scoped::<Processes>(&forever()).unwrap();
        self.again.acquire::<Processes>(&forever()).unwrap();
        self.again.acquire::<Processes>(&forever()).unwrap();
        self.permits.acquire::<Processes>(&forever()).unwrap();
        (0..5).for_each(|_| put(&self.queue, b"a message"));
        let mut bytes = Vec::new();
        assert!(self.queue.get::<ArenaStore>(&mut bytes, &Patience::none()).is_ok());
    }
}

fn those<'a, T>(seen: &'a Snapshot, is: impl Fn(&'a Object) -> Option<T>) -> Vec<T> {
    seen.objects.iter().filter_map(is).collect()
}

/// What a reader must see of [`Things`] that process `pid` has used.
fn check(seen: &Snapshot, pid: u32, alive: bool) {
    assert_eq!((seen.unread, seen.damage), (0, None));
    let locks = those(seen, |o| if let Content::Lock(lock) = &o.content { Some(lock) } else { None });
    assert_eq!(locks.len(), 2);
    for lock in &locks {
        let holder = lock.holder.unwrap();
        assert_eq!((holder.pid, holder.alive, lock.broken, lock.waiting), (Some(pid), alive, false, 0));
        assert_eq!(lock.scoped, lock.depth.is_none());
    }
    let mut depths: Vec<_> = locks.iter().map(|lock| lock.depth).collect();
    depths.sort_unstable();
    assert_eq!(depths, [None, Some(2)]);
    let queues = those(seen, |o| if let Content::Queue(queue) = &o.content { Some(queue) } else { None });
    let counters = queues[0].counters;
    assert_eq!((queues.len(), counters.size, counters.maxsize, counters.put, counters.got), (1, 4, 8, 5, 1));
    let permits = those(seen, |o| match &o.content {
        Content::Semaphore { value, limit, owners, .. } => Some((*value, *limit, owners.len())),
        _ => None,
    });
    assert!(permits.contains(&(3, 4, 1)) && permits.contains(&(2, 5, 0)), "{permits:?}");
    let others = those(seen, |o| match &o.content {
        Content::Event { set, waiting } => Some(("event", u32::from(*set), *waiting)),
        Content::Condition { waiting, .. } => Some(("condition", waiting.len() as u32, 0)),
        Content::Barrier(barrier) => Some(("barrier", barrier.parties, barrier.waiting)),
        Content::RwLock { readers, .. } => Some(("readers", readers.len() as u32, 0)),
        _ => None,
    });
    for expected in [("event", 1, 0), ("condition", 0, 0), ("barrier", 3, 0), ("readers", 0, 0)] {
        assert!(others.contains(&expected), "{others:?}");
    }
    assert!(seen.memory.resident >= seen.memory.allocated && seen.memory.messages > 0, "{:?}", seen.memory);
}

/// Waits until the kernel says that the process is in this state.
fn wait_for_state(pid: u32, state: char) {
    let is = |stat: String| stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with(state));
    while !std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(is) {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A process that was stopped. It ends with this, so that a failed test leaves none that no signal but one ends.
struct Stopped(libc::pid_t);

impl Stopped {
    fn new(child: &Child) -> Self {
        let pid = child.pid() as libc::pid_t;
        // SAFETY: kill takes two integers; the process is ours and not yet reaped.
        unsafe { libc::kill(pid, libc::SIGSTOP) };
        wait_for_state(child.pid(), 'T');
        Self(pid)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        // SAFETY: as above.
        unsafe { libc::kill(self.0, libc::SIGKILL) };
    }
}

#[test]
fn a_running_and_a_stopped_process_show_the_same() {
    alone(|| {
        let ready = Gate::new();
        let child = Child::fork(|| {
            let things = Things::new();
            things.use_them();
            ready.open();
            sleep_for_ever();
        });
        ready.pass();
        let arena = find::session_of(child.pid()).unwrap();
        check(&arena.snapshot().unwrap(), child.pid(), true);
        let state = Stopped::new(&child);
        let stopped = find::session_of(child.pid()).unwrap().snapshot().unwrap();
        check(&stopped, child.pid(), true);
        assert!(find::sessions().unwrap().iter().any(|found| found.pids == [child.pid()]));
        drop(state);
        child.kill_and_wait();
        // The file outlives the process for as long as it is open here.
        let seen = arena.snapshot().unwrap();
        assert_eq!(seen.processes[0].state, ProcessState::Dead);
    });
}

#[test]
fn what_a_killed_process_held_is_seen_through_another() {
    alone(|| {
        let ready = Gate::new();
        let things = Things::new();
        let child = Child::fork(|| {
            things.use_them();
            ready.open();
            sleep_for_ever();
        });
        ready.pass();
        let pid = child.pid();
        check(&find::session_of(std::process::id()).unwrap().snapshot().unwrap(), pid, true);
        child.kill_and_wait();
        let seen = find::session_of(std::process::id()).unwrap().snapshot().unwrap();
        check(&seen, pid, false);
        let dead: Vec<u32> = seen.processes.iter().filter(|p| p.state == ProcessState::Dead).map(|p| p.pid).collect();
        assert_eq!(dead, [pid]);
        // Once its row is free, its process ID is known still.
        Session::get().unwrap().reclaim().unwrap();
        let seen = find::session_of(std::process::id()).unwrap().snapshot().unwrap();
        check(&seen, pid, false);
    });
}

#[test]
fn looking_gives_the_session_no_memory() {
    alone(|| {
        let _things = Things::new();
        let arena = find::session_of(std::process::id()).unwrap();
        let before = arena.snapshot().unwrap().memory.resident;
        (0..3).for_each(|_| drop(arena.snapshot().unwrap()));
        assert_eq!(arena.snapshot().unwrap().memory.resident, before);
    });
}

#[test]
fn what_is_no_session_is_an_error() {
    alone(|| {
        let gone = Child::fork(|| {});
        let pid = gone.pid();
        gone.wait_unreaped();
        gone.succeeds();
        assert!(matches!(find::session_of(pid), Err(WatchError::NoProcess(_))));
        assert!(matches!(find::session_of(process::id()), Err(WatchError::NoSession(_))));
        assert!(matches!(Arena::new(File::open("/dev/null").unwrap()), Err(WatchError::NotAnArena)));
        assert!(matches!(Arena::new(File::open("/proc/self/exe").unwrap()), Err(WatchError::NotAnArena)));
    });
}

/// The parts of a session's memory that were written to, each with its offset.
fn written(file: &File) -> Vec<(u64, Vec<u8>)> {
    let mut parts = Vec::new();
    let mut page = vec![0; 4096];
    for at in (0..8 << 20).step_by(page.len()) {
        file.read_exact_at(&mut page, at).unwrap();
        if page.iter().any(|&byte| byte != 0) {
            parts.push((at, page.clone()));
        }
    }
    parts
}

/// A word that may be anywhere in an arena: no bits, all bits, any bits, or small numbers in both halves.
fn nonsense(random: &mut Random, was: u64) -> u64 {
    match random.below(6) {
        0 => 0,
        1 => u64::MAX,
        2 => random.word(),
        3 => random.below(16) << 32 | random.below(16),
        4 => was.wrapping_add(random.below(8)).wrapping_sub(4),
        _ => was ^ 1 << random.below(64),
    }
}

#[test]
fn a_damaged_arena_is_read_without_panic_and_in_finite_time() {
    alone(|| {
        let things = Things::new();
        things.use_them();
        let many: Vec<_> = (0..200).map(|_| InArena::place(Event::new()).unwrap()).collect();
        let own =
            File::open(format!("/proc/self/fd/{}", Session::get().unwrap().descriptor().unwrap().as_raw_fd())).unwrap();
        let parts = written(&own);
        assert!(parts.len() > 3 && !many.is_empty());
        let path = std::env::temp_dir().join(format!("kettle-watch-{}", process::id()));
        let copy = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        copy.set_len(own.metadata().unwrap().len().min(1 << 40)).unwrap();
        parts.iter().for_each(|(at, bytes)| copy.write_all_at(bytes, *at).unwrap());
        let arena = Arena::new(copy.try_clone().unwrap()).unwrap();
        let whole = arena.snapshot().unwrap();
        assert_eq!(whole.unread, 0);
        assert!(whole.objects.len() >= 200);
        let mut random = Random::seeded();
        let mut errors = 0;
        for _ in 0..300 {
            let mut changed = Vec::new();
            for _ in 0..=random.below(40) {
                let (at, bytes) = &parts[random.below(parts.len() as u64) as usize];
                let word = random.below(bytes.len() as u64 / 8) as usize * 8;
                let was = u64::from_ne_bytes(bytes[word..word + 8].try_into().unwrap());
                let at = at + word as u64;
                changed.push((at, was));
                copy.write_all_at(&nonsense(&mut random, was).to_ne_bytes(), at).unwrap();
            }
            errors += u32::from(arena.snapshot().is_err());
            changed.iter().for_each(|(at, was)| copy.write_all_at(&was.to_ne_bytes(), *at).unwrap());
        }
        assert!(errors < 300, "every arena was refused, so none was read");
        let again = arena.snapshot().unwrap();
        assert_eq!((again.objects, again.unread), (whole.objects, 0));
    });
}

#[test]
fn a_shortened_file_is_an_error_or_read_as_far_as_it_goes() {
    alone(|| {
        let things = Things::new();
        things.use_them();
        let own =
            File::open(format!("/proc/self/fd/{}", Session::get().unwrap().descriptor().unwrap().as_raw_fd())).unwrap();
        let path = std::env::temp_dir().join(format!("kettle-watch-{}", process::id()));
        let copy = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        copy.set_len(own.metadata().unwrap().len().min(1 << 40)).unwrap();
        written(&own).iter().for_each(|(at, bytes)| copy.write_all_at(bytes, *at).unwrap());
        let arena = Arena::new(copy.try_clone().unwrap()).unwrap();
        assert_eq!(arena.snapshot().unwrap().unread, 0);
        copy.set_len((2 << 20) + 4096).unwrap();
        let seen = arena.snapshot().unwrap();
        assert_eq!((seen.objects.len(), seen.unread), (0, 1));
        copy.set_len(5000).unwrap();
        assert!(matches!(arena.snapshot(), Err(WatchError::Read(_) | WatchError::NotAnArena)));
        copy.set_len(0).unwrap();
        assert!(matches!(arena.snapshot(), Err(WatchError::NotAnArena)));
    });
}
