//! Where the sessions of a machine are: the descriptors of processes.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use super::{Arena, WatchError};

/// What the link of the arena's descriptor begins with.
const LINK: &str = "/memfd:kettle-arena";

/// The bit in the mode of a descriptor's link that says that it is open for writing.
const WRITABLE: u32 = 0o200;

/// A session, and the processes that have its memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Identifies the file on this machine, for as long as it exists.
    pub file: u64,
    /// The processes, in ascending order.
    pub pids: Vec<u32>,
}

/// The sessions whose processes this user may look at, in the order of their first processes.
///
/// # Errors
/// If `/proc` cannot be read.
pub fn sessions() -> io::Result<Vec<Found>> {
    let mut found: Vec<Found> = Vec::new();
    for pid in processes()? {
        for (file, _) in descriptors(pid).unwrap_or_default() {
            match found.iter_mut().find(|session| session.file == file) {
                Some(session) if session.pids.last() != Some(&pid) => session.pids.push(pid),
                Some(_) => {}
                None => found.push(Found { file, pids: vec![pid] }),
            }
        }
    }
    Ok(found)
}

/// Opens the session of a process.
///
/// # Errors
/// If there is no such process, it has no session that this version can read, or it must not be looked at.
pub fn session_of(pid: u32) -> Result<Arena, WatchError> {
    let mut error = WatchError::NoSession(pid);
    let mut places: Vec<PathBuf> = match descriptors(pid) {
        Ok(own) => own.into_iter().map(|(_, path)| path).collect(),
        Err(e) => return Err(refusal(pid, &e)),
    };
    if places.is_empty() {
        // The program may have closed the descriptor; the mapping is there still, and so are other processes.
        places = elsewhere(pid);
    }
    for place in places {
        match File::open(&place).map_err(|e| refusal(pid, &e)).and_then(Arena::new) {
            Ok(arena) => return Ok(arena),
            Err(e) => error = e,
        }
    }
    Err(error)
}

fn refusal(pid: u32, e: &io::Error) -> WatchError {
    match e.kind() {
        io::ErrorKind::NotFound => WatchError::NoProcess(pid),
        // ESRCH: it has just ended.
        _ if e.raw_os_error() == Some(3) => WatchError::NoProcess(pid),
        _ => WatchError::NotAllowed(pid),
    }
}

fn processes() -> io::Result<Vec<u32>> {
    let names = fs::read_dir("/proc")?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let mut pids: Vec<u32> = names.collect();
    pids.sort_unstable();
    Ok(pids)
}

/// The descriptors of arenas that a process has for writing, which a reader like this one does not: the number of the
/// file, and a path by which it can be opened.
fn descriptors(pid: u32) -> io::Result<Vec<(u64, PathBuf)>> {
    let is_arena = |path: &PathBuf| {
        let leads_there = fs::read_link(path).is_ok_and(|link| link.to_string_lossy().starts_with(LINK));
        leads_there && fs::symlink_metadata(path).is_ok_and(|link| link.mode() & WRITABLE != 0)
    };
    let entries = fs::read_dir(format!("/proc/{pid}/fd"))?.filter_map(Result::ok);
    let paths = entries.map(|entry| entry.path()).filter(is_arena);
    Ok(paths.filter_map(|path| Some((fs::metadata(&path).ok()?.ino(), path))).collect())
}

/// Paths by which other processes have the file that a process has mapped.
fn elsewhere(pid: u32) -> Vec<PathBuf> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
    // address permissions offset device inode path
    let inode = |line: &str| line.split_ascii_whitespace().nth(4)?.parse::<u64>().ok();
    let Some(file) = maps.lines().filter(|line| line.contains(LINK)).find_map(inode) else { return Vec::new() };
    let others = processes().unwrap_or_default().into_iter().flat_map(|pid| descriptors(pid).unwrap_or_default());
    others.filter(|(inode, _)| *inode == file).map(|(_, path)| path).collect()
}
