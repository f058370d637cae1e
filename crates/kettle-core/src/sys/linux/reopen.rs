//! Another descriptor of a mapped file, after the program closed the first one.

use std::fs::{self, File, OpenOptions};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::ptr::NonNull;

use super::descriptor::KnownFd;

/// Opens the file that is mapped at `address`. The kernel allows this to root, usually not inside containers.
pub fn by_mapping(known: &KnownFd, address: NonNull<u8>) -> Option<OwnedFd> {
    let address = address.as_ptr() as u64;
    let maps = fs::read_to_string("/proc/self/maps").ok()?;
    let (begin, end) = maps.lines().filter_map(range).find(|&(begin, end)| (begin..end).contains(&address))?;
    open(Path::new(&format!("/proc/self/map_files/{begin:x}-{end:x}")), known)
}

/// The addresses of a line such as `7f1c2a400000-7f1c2a600000 rw-s 00000000 00:01 2069 /memfd:a (deleted)`.
fn range(line: &str) -> Option<(u64, u64)> {
    let (begin, end) = line.split_once(' ')?.0.split_once('-')?;
    Some((u64::from_str_radix(begin, 16).ok()?, u64::from_str_radix(end, 16).ok()?))
}

/// Opens the file through a descriptor of the process `pid`, which usually must belong to the same user. `name` is the
/// name with which the file was created.
pub fn of_process(known: &KnownFd, pid: u32, name: &str) -> Option<OwnedFd> {
    let of = |number: &str| PathBuf::from(format!("/proc/{pid}/fd/{number}"));
    // In a forked process it has the same number.
    let same = of(&known.as_raw_fd().to_string());
    let all = fs::read_dir(format!("/proc/{pid}/fd")).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    // Opening another file may have side effects, for example on a terminal or a named pipe.
    let link = PathBuf::from(format!("/memfd:{name} (deleted)"));
    let is_it = |path: &PathBuf| fs::read_link(path).is_ok_and(|to| to == link);
    std::iter::once(same).chain(all).filter(is_it).find_map(|path| open(&path, known))
}

fn open(path: &Path, known: &KnownFd) -> Option<OwnedFd> {
    let file: File = OpenOptions::new().read(true).write(true).open(path).ok()?;
    known.is_same(file.as_raw_fd()).then(|| file.into())
}
