//! Descriptors, and what runs when one is ready.

use std::io;
use std::os::fd::RawFd;

use kettle_core::sys::epoll::{Interest, Ready};
use kettle_core::wait::{Poller, Removed};

/// What a descriptor is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Until it can be read.
    Read,
    /// Until it takes more.
    Write,
}

/// One descriptor.
#[derive(Debug)]
struct Slot<T> {
    reader: Option<T>,
    writer: Option<T>,
    /// Which registration of its number this is.
    generation: u32,
}

impl<T> Slot<T> {
    fn interest(&self) -> Interest {
        Interest { read: self.reader.is_some(), write: self.writer.is_some() }
    }

    fn handle_mut(&mut self, direction: Direction) -> &mut Option<T> {
        match direction {
            Direction::Read => &mut self.reader,
            Direction::Write => &mut self.writer,
        }
    }
}

/// What came for a registration that is over: its file is still in the set, and cannot be taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone;

/// The descriptors of a loop, by number.
#[derive(Debug)]
pub struct Slots<T> {
    slots: Vec<Option<Slot<T>>>,
    next_generation: u32,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self { slots: Vec::new(), next_generation: 0 }
    }
}

fn token(fd: RawFd, generation: u32) -> u64 {
    // Generations have 31 bits, so that no token is one of the poller's own.
    u64::from(generation) << 32 | u64::from(fd as u32)
}

fn index(fd: RawFd) -> io::Result<usize> {
    usize::try_from(fd).map_err(|_| io::Error::from_raw_os_error(EBADF))
}

/// As Linux has it on all processors.
const EBADF: i32 = 9;

impl<T> Slots<T> {
    /// Has `handle` run when `fd` is ready. Gives back the one that it replaces.
    ///
    /// # Errors
    /// Those of [`Poller::watch`]; nothing is changed then, and the handle is dropped.
    pub fn set(&mut self, poller: &Poller, fd: RawFd, direction: Direction, handle: T) -> io::Result<Option<T>> {
        let index = index(fd)?;
        let generation = self.next_generation;
        if let Some(Some(slot)) = self.slots.get_mut(index) {
            let before = slot.handle_mut(direction).replace(handle);
            // Also if nothing changes: the number may lead to another file by now.
            let changed = poller.change(fd, slot.interest(), token(fd, slot.generation));
            return match changed {
                Ok(()) => Ok(before),
                Err(e) => {
                    *slot.handle_mut(direction) = before;
                    Err(e)
                }
            };
        }
        let mut slot = Slot { reader: None, writer: None, generation };
        *slot.handle_mut(direction) = Some(handle);
        poller.watch(fd, slot.interest(), token(fd, generation))?;
        self.next_generation = (generation + 1) & (u32::MAX >> 1);
        if self.slots.len() <= index {
            self.slots.resize_with(index + 1, || None);
        }
        self.slots[index] = Some(slot);
        Ok(None)
    }

    /// Takes away what runs when `fd` is ready, if there is something.
    pub fn unset(&mut self, poller: &Poller, fd: RawFd, direction: Direction) -> Option<T> {
        let place = self.slots.get_mut(index(fd).ok()?)?;
        let slot = place.as_mut()?;
        let handle = slot.handle_mut(direction).take()?;
        if slot.interest().is_none() {
            *place = None;
            // That it was closed before shows itself when something comes for it.
            let (Removed::Out | Removed::ClosedBefore) = poller.forget(fd);
        } else {
            // One that the program closed is as good as changed.
            let _ = poller.change(fd, slot.interest(), token(fd, slot.generation));
        }
        Some(handle)
    }

    /// The reader and the writer of `fd`; None if it has neither.
    pub fn handles(&self, fd: RawFd) -> Option<[Option<&T>; 2]> {
        let slot = self.slots.get(index(fd).ok()?)?.as_ref()?;
        Some([slot.reader.as_ref(), slot.writer.as_ref()])
    }

    /// What is to run for what came; reader and writer.
    ///
    /// # Errors
    /// The registration is over.
    pub fn of(&self, ready: Ready) -> Result<[Option<&T>; 2], Gone> {
        let (number, generation) = (ready.token as u32, (ready.token >> 32) as u32);
        let slot =
            self.slots.get(number as usize).and_then(Option::as_ref).filter(|slot| slot.generation == generation);
        let slot = slot.ok_or(Gone)?;
        Ok([slot.reader.as_ref().filter(|_| ready.read), slot.writer.as_ref().filter(|_| ready.write)])
    }

    /// Tells another poller of all that are here. Those that the program closed are left out.
    pub fn move_to(&self, poller: &Poller) {
        for (fd, slot) in self.slots.iter().enumerate() {
            if let Some(slot) = slot {
                let _ = poller.watch(fd as RawFd, slot.interest(), token(fd as RawFd, slot.generation));
            }
        }
    }

    /// How many descriptors there are.
    pub fn len(&self) -> usize {
        self.slots.iter().flatten().count()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All handles.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().flatten().flat_map(|slot| slot.reader.iter().chain(&slot.writer))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    use kettle_core::sys::epoll::Events;

    use super::*;

    fn came(poller: &Poller) -> Vec<Ready> {
        let mut events = Events::default();
        poller.sleep(&mut events, Some(Duration::ZERO)).unwrap();
        poller.came(&events).unwrap().collect()
    }

    #[test]
    fn each_direction_has_its_handle() {
        let poller = Poller::new().unwrap();
        let mut slots = Slots::default();
        let (mut here, there) = UnixStream::pair().unwrap();
        let fd = there.as_raw_fd();
        assert_eq!(slots.set(&poller, fd, Direction::Read, "r").unwrap(), None);
        assert_eq!(came(&poller), []);
        assert_eq!(slots.set(&poller, fd, Direction::Write, "w").unwrap(), None);
        here.write_all(b"x").unwrap();
        assert_eq!(slots.of(came(&poller)[0]), Ok([Some(&"r"), Some(&"w")]));
        assert_eq!(slots.set(&poller, fd, Direction::Read, "R").unwrap(), Some("r"));
        assert_eq!(slots.unset(&poller, fd, Direction::Write), Some("w"));
        assert_eq!(slots.unset(&poller, fd, Direction::Write), None);
        assert_eq!(slots.of(came(&poller)[0]), Ok([Some(&"R"), None]));
        assert_eq!(slots.unset(&poller, fd, Direction::Read), Some("R"));
        assert_eq!(came(&poller), []);
        assert!(slots.is_empty());
    }

    #[test]
    fn an_event_for_a_closed_one_with_a_duplicate_is_dropped() {
        let poller = Poller::new().unwrap();
        let mut slots = Slots::default();
        let (mut here, there) = UnixStream::pair().unwrap();
        let duplicate = there.try_clone().unwrap();
        let fd = there.as_raw_fd();
        slots.set(&poller, fd, Direction::Read, "old").unwrap();
        drop(there);
        assert_eq!(slots.unset(&poller, fd, Direction::Read), Some("old"));
        here.write_all(b"x").unwrap();
        let ready = came(&poller);
        assert_eq!(slots.of(ready[0]), Err(Gone));
        // Another poller is told of what is alive only.
        let (mut beside, alive) = UnixStream::pair().unwrap();
        slots.set(&poller, alive.as_raw_fd(), Direction::Read, "alive").unwrap();
        let next = Poller::new().unwrap();
        slots.move_to(&next);
        beside.write_all(b"x").unwrap();
        let ready: Vec<_> = came(&next);
        assert_eq!(ready.len(), 1);
        assert_eq!(slots.of(ready[0]), Ok([Some(&"alive"), None]));
        drop(duplicate);
    }

    #[test]
    fn what_cannot_be_waited_for_is_refused_and_leaves_nothing() {
        let poller = Poller::new().unwrap();
        let mut slots = Slots::default();
        let file = std::fs::File::open("/proc/self/exe").unwrap();
        assert!(slots.set(&poller, file.as_raw_fd(), Direction::Read, ()).is_err());
        assert!(slots.set(&poller, -1, Direction::Read, ()).is_err());
        assert!(slots.is_empty());
    }
}
