//! Descriptors that the program may close unexpectedly.
//!
//! A descriptor is a number in a table shared by the whole program. Daemons close all of them, and the next file that
//! is opened reuses a number that was ours. So code that keeps a descriptor for long remembers which file it refers to,
//! and checks that before it uses or closes the descriptor. The check is one `fstat`, and not for every message.
//!
//! Between the check and the use another thread may still close the descriptor and open a file, as with any descriptor
//! of the program. The two calls are adjacent, so this takes a thread that closes descriptors of other code while other
//! threads run: no daemon does that, and no library can guard against it.
//!
//! All kept descriptors are listed, so that a program can find out which ones to leave open ([`kept`]).

use core::fmt;
use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};

use super::clock;

/// The identity of the file that a descriptor refers to, independent of its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileId {
    device: u64,
    inode: u64,
    /// The process of a pidfd, if all pidfds share one inode (before Linux 6.9).
    process: i64,
}

impl FileId {
    /// The file of `fd`; None if it is not open.
    pub fn of(fd: RawFd) -> Option<Self> {
        let stat = stat(fd).ok()?;
        let mut id = Self { device: stat.st_dev, inode: stat.st_ino, process: 0 };
        // Older kernels use one inode for all files without a type.
        if stat.st_mode & libc::S_IFMT == 0 && (id.device, id.inode) == inode_shared_with_pidfds() {
            id.process = process_of(fd);
        }
        Some(id)
    }

    /// The representation in the list: never zero, and without the topmost bit.
    fn key(self) -> u64 {
        let mut key = self.inode ^ self.device.rotate_left(32) ^ (self.process as u64).rotate_left(48);
        key = (key ^ key >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
        (key ^ key >> 33) & !PRIVATE | 1
    }
}

pub(super) fn stat(fd: RawFd) -> io::Result<libc::stat> {
    // SAFETY: all zeros is a valid stat, which the kernel then fills.
    let mut stat: libc::stat = unsafe { core::mem::zeroed() };
    // SAFETY: a number, which need not be open, and a valid place for one stat.
    if unsafe { libc::fstat(fd, &mut stat) } < 0 { Err(io::Error::last_os_error()) } else { Ok(stat) }
}

/// Device and inode of all files without a type if pidfds are among them, as before Linux 6.9; determined once. Zeros
/// if pidfds have inodes of their own, and on failure.
fn inode_shared_with_pidfds() -> (u64, u64) {
    /// The inode if it is known that no pidfd has the one of the others.
    const NONE: u64 = u64::MAX;
    static DEVICE: AtomicU64 = AtomicU64::new(0);
    static INODE: AtomicU64 = AtomicU64::new(0);
    match INODE.load(Ordering::Acquire) {
        0 => {}
        NONE => return (0, 0),
        inode => return (DEVICE.load(Ordering::Relaxed), inode),
    }
    // SAFETY: integers only.
    let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
    if fd < 0 {
        return (0, 0);
    }
    // SAFETY: created above, and unknown to other code.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    let Ok(shared) = stat(fd.as_raw_fd()) else { return (0, 0) };
    let of_pidfd = super::process::open(std::process::id()).and_then(|fd| stat(fd.as_raw_fd()));
    if of_pidfd.is_ok_and(|own| (own.st_dev, own.st_ino) != (shared.st_dev, shared.st_ino)) {
        INODE.store(NONE, Ordering::Release);
        return (0, 0);
    }
    DEVICE.store(shared.st_dev, Ordering::Relaxed);
    INODE.store(shared.st_ino, Ordering::Release);
    (shared.st_dev, shared.st_ino)
}

/// The process of a pidfd; 0 for anything else.
fn process_of(fd: RawFd) -> i64 {
    let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).unwrap_or_default();
    text.lines().find_map(|line| line.strip_prefix("Pid:")?.trim().parse().ok()).unwrap_or(0)
}

/// A descriptor of ours is closed, or its number refers to another file: the program closed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DescriptorLost {
    /// Its number.
    pub number: RawFd,
    /// What it was for.
    pub purpose: &'static str,
}

impl fmt::Display for DescriptorLost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "this program closed descriptor {}, which is {}; leave it open (kettle.descriptors() in Python, \
             kettle::descriptors() in Rust), or begin to use Kettle after closing",
            self.number, self.purpose
        )
    }
}

impl std::error::Error for DescriptorLost {}

impl From<DescriptorLost> for io::Error {
    fn from(lost: DescriptorLost) -> Self {
        Self::other(lost)
    }
}

impl DescriptorLost {
    /// The value contained in `e`, if there is one.
    pub fn from_io(e: &io::Error) -> Option<Self> {
        e.get_ref()?.downcast_ref().copied()
    }
}

/// A descriptor that is kept and remains recognizable.
///
/// Dropping it closes the descriptor if it is still ours.
#[derive(Debug)]
pub struct KnownFd {
    number: RawFd,
    /// None: it was closed before it arrived here.
    id: Option<FileId>,
    purpose: &'static str,
    closed: AtomicBool,
    /// The tick in which it was last checked.
    looked: AtomicU64,
}

impl KnownFd {
    /// Keeps `fd`; `purpose` describes it, for example "Kettle's shared memory".
    pub fn new(fd: OwnedFd, purpose: &'static str) -> Self {
        Self::listed(fd, purpose, 0)
    }

    /// Keeps a descriptor that a forked child must not have: [`close_private`] closes it there.
    pub fn private(fd: OwnedFd, purpose: &'static str) -> Self {
        Self::listed(fd, purpose, PRIVATE)
    }

    fn listed(fd: OwnedFd, purpose: &'static str, private: u64) -> Self {
        let id = FileId::of(fd.as_raw_fd());
        Self::identified(fd, id, purpose, private)
    }

    /// The read end and the write end of a new pipe, the latter [private](Self::private).
    ///
    /// # Errors
    /// Those of `pipe`: no descriptors are left.
    pub fn pipe(purpose: &'static str) -> io::Result<(Self, Self)> {
        let (reader, writer) = pipe()?;
        // Both lead to one file.
        let id = FileId::of(reader.as_raw_fd());
        Ok((Self::identified(reader, id, purpose, 0), Self::identified(writer, id, purpose, PRIVATE)))
    }

    fn identified(fd: OwnedFd, id: Option<FileId>, purpose: &'static str, private: u64) -> Self {
        // From here on it is not closed without a check.
        let number = fd.into_raw_fd();
        if let (Some(id), Some(word)) = (id, word(number, true)) {
            word.store(id.key() | private, Ordering::Release);
        }
        Self { number, id, purpose, closed: AtomicBool::new(false), looked: AtomicU64::new(0) }
    }

    /// The descriptor, if it is still ours.
    ///
    /// # Errors
    /// If the program closed it.
    pub fn get(&self) -> Result<BorrowedFd<'_>, DescriptorLost> {
        if self.is_ours() { Ok(self.as_fd()) } else { Err(self.lost()) }
    }

    /// As [`get`](Self::get), for calls so frequent that an `fstat` would matter: it checks once per tick of the
    /// kernel, of which there are 100 to 1000 a second.
    ///
    /// # Errors
    /// If the program closed it before the current tick.
    #[inline(always)]
    pub fn get_lately(&self) -> Result<BorrowedFd<'_>, DescriptorLost> {
        let tick = clock::tick();
        if self.looked.load(Ordering::Relaxed) == tick { Ok(self.as_fd()) } else { self.get_in(tick) }
    }

    #[cold]
    fn get_in(&self, tick: u64) -> Result<BorrowedFd<'_>, DescriptorLost> {
        let fd = self.get()?;
        self.looked.store(tick, Ordering::Relaxed);
        Ok(fd)
    }

    /// Whether `fd` leads to the same file, whether or not this descriptor is lost.
    pub(super) fn is_same(&self, fd: RawFd) -> bool {
        self.id.is_some() && FileId::of(fd) == self.id
    }

    /// The error for a descriptor that is no longer ours.
    pub fn lost(&self) -> DescriptorLost {
        DescriptorLost { number: self.number, purpose: self.purpose }
    }

    /// Whether its number still refers to our file.
    pub fn is_ours(&self) -> bool {
        self.id.is_some() && !self.closed.load(Ordering::Acquire) && FileId::of(self.number) == self.id
    }

    /// Closes it now, if it is still ours. Further calls have no effect.
    pub fn close(&self) {
        drop(self.detach());
    }

    /// Returns the descriptor and stops keeping it.
    ///
    /// # Errors
    /// If it is no longer ours.
    pub fn detach(&self) -> Result<OwnedFd, DescriptorLost> {
        if let (Some(id), Some(word)) = (self.id, word(self.number, false)) {
            let listed = word.load(Ordering::Acquire);
            // Another of our descriptors may have the number by now.
            if listed & !PRIVATE == id.key() {
                let _ = word.compare_exchange(listed, 0, Ordering::AcqRel, Ordering::Relaxed);
            }
        }
        if self.is_ours() && !self.closed.swap(true, Ordering::AcqRel) {
            // SAFETY: the number refers to our file, and the swap lets only one caller take it.
            return Ok(unsafe { OwnedFd::from_raw_fd(self.number) });
        }
        Err(self.lost())
    }

    /// Closes the file but keeps the number in use: the number refers to an empty file from now on, which is returned
    /// to be closed later. For a descriptor that another thread may be using right now, and would confuse with a new
    /// one of the same number. None if it is no longer ours, or if descriptors have run out.
    pub fn hollow(&self) -> Option<Self> {
        let empty = super::memory::create_low(c"kettle-closed").ok()?;
        if !self.is_ours() || self.closed.swap(true, Ordering::AcqRel) {
            return None;
        }
        // SAFETY: two integers; the file that the second one refers to is ours to close.
        let r = unsafe { libc::dup3(empty.as_raw_fd(), self.number, libc::O_CLOEXEC) };
        // SAFETY: created in the line above, and unknown to other code.
        (r >= 0).then(|| Self::new(unsafe { OwnedFd::from_raw_fd(r) }, self.purpose))
    }
}

impl AsFd for KnownFd {
    /// Without a check, for callers that have just checked or cannot afford to. If the program closed the descriptor,
    /// the number may refer to another file, as with any `OwnedFd`.
    #[inline(always)]
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: we own it, and close it only when dropped or by `close`, after which `get` refuses.
        unsafe { BorrowedFd::borrow_raw(self.number) }
    }
}

impl AsRawFd for KnownFd {
    fn as_raw_fd(&self) -> RawFd {
        self.number
    }
}

impl Drop for KnownFd {
    fn drop(&mut self) {
        self.close();
    }
}

/// A word's topmost bit: the descriptor is closed in a forked child.
const PRIVATE: u64 = 1 << 63;
const IN_SHEET: usize = 512;
const SHEETS: usize = 2048;
/// For each number, the file of ours that it refers to; 0 if none. There is no lock, which a forked child could find
/// locked.
static LIST: [AtomicPtr<[AtomicU64; IN_SHEET]>; SHEETS] = [const { AtomicPtr::new(ptr::null_mut()) }; SHEETS];

/// The word of a number; None for numbers above a million, which are not listed.
fn word(number: RawFd, make: bool) -> Option<&'static AtomicU64> {
    let number = usize::try_from(number).ok()?;
    let place = LIST.get(number / IN_SHEET)?;
    let mut sheet = place.load(Ordering::Acquire);
    if sheet.is_null() {
        if !make {
            return None;
        }
        let fresh = Box::into_raw(Box::new([const { AtomicU64::new(0) }; IN_SHEET]));
        sheet = match place.compare_exchange(sheet, fresh, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => fresh,
            Err(first) => {
                // SAFETY: it came from a box above and lost the race: no other thread has seen it.
                drop(unsafe { Box::from_raw(fresh) });
                first
            }
        };
    }
    // SAFETY: once stored, a sheet is never freed.
    Some(unsafe { &(*sheet)[number % IN_SHEET] })
}

/// The listed numbers with their words.
fn listed() -> impl Iterator<Item = (RawFd, &'static AtomicU64, u64)> {
    let sheets = LIST.iter().enumerate().filter_map(|(i, place)| {
        // SAFETY: null, or a sheet that is never freed.
        Some((i * IN_SHEET, unsafe { place.load(Ordering::Acquire).as_ref() }?))
    });
    sheets.flat_map(|(first, sheet)| {
        sheet.iter().enumerate().filter_map(move |(i, word)| match word.load(Ordering::Acquire) {
            0 => None,
            listed => Some(((first + i) as RawFd, word, listed)),
        })
    })
}

fn leads_to(number: RawFd, listed: u64) -> bool {
    FileId::of(number).is_some_and(|id| id.key() == listed & !PRIVATE)
}

/// The numbers of all descriptors that are kept in this process and still ours, in ascending order.
pub fn kept() -> Vec<RawFd> {
    listed().filter(|&(number, _, listed)| leads_to(number, listed)).map(|(number, ..)| number).collect()
}

/// In a forked child: closes the descriptors that it must not have. To be called once, before anything else is opened
/// here.
pub fn close_private() {
    for (number, word, listed) in listed() {
        if listed & PRIVATE != 0 {
            word.store(0, Ordering::Relaxed);
            if leads_to(number, listed) {
                // SAFETY: the file is the parent's; this process's copy is not used by any code here: a `KnownFd`
                // checks first, and finds that it is gone.
                drop(unsafe { OwnedFd::from_raw_fd(number) });
            }
        }
    }
}

/// Creates a pipe: its read end and its write end, both close-on-exec.
///
/// # Errors
/// If descriptors have run out.
pub fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut fds = [-1; 2];
    // SAFETY: `fds` has room for two descriptors.
    if unsafe { libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: fresh descriptors without another owner.
    let [reader, writer] = fds.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
    Ok((reader, writer))
}
