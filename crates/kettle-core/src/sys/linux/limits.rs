//! How much memory may still be taken before something gets killed for it.
//!
//! Memory that is mapped is only promised; it is taken when a page is touched, and by then the kernel has no way to
//! say no except a signal. So whoever is about to touch much asks here first. The answers are estimates: others
//! take memory meanwhile, so the caller keeps a reserve.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicPtr, Ordering};

/// The longest file that this process may make: going beyond it raises SIGXFSZ.
pub fn file_size() -> u64 {
    super::memory::soft_limit(libc::RLIMIT_FSIZE)
}

/// What limits the memory that can still be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// The memory limit of a control group (a container, a systemd unit).
    Cgroup,
    /// The memory of the machine.
    Machine,
    /// The commit limit, where the kernel was told never to promise more than it has.
    Commit,
}

/// How much memory can still be taken, and what sets the bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headroom {
    /// Bytes.
    pub bytes: u64,
    /// By what they are limited.
    pub bound: Bound,
}

/// The tightest bound at this moment. What cannot be read does not limit.
pub fn headroom() -> Headroom {
    let mut least = Headroom { bytes: u64::MAX, bound: Bound::Machine };
    let mut consider = |bytes: Option<u64>, bound| {
        if let Some(bytes) = bytes.filter(|&b| b < least.bytes) {
            least = Headroom { bytes, bound };
        }
    };
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    consider(machine(&meminfo), Bound::Machine);
    consider(commit(&meminfo), Bound::Commit);
    consider(cgroup(), Bound::Cgroup);
    least
}

fn machine(meminfo: &str) -> Option<u64> {
    let available = kilobytes(meminfo, "MemAvailable:")?;
    // Shared memory can be swapped out.
    Some(available + kilobytes(meminfo, "SwapFree:").unwrap_or(0))
}

fn commit(meminfo: &str) -> Option<u64> {
    let mode = fs::read_to_string("/proc/sys/vm/overcommit_memory").ok()?;
    if mode.trim() != "2" {
        return None;
    }
    Some(kilobytes(meminfo, "CommitLimit:")?.saturating_sub(kilobytes(meminfo, "Committed_AS:")?))
}

/// The value of a line such as `MemAvailable:   24532 kB`, in bytes.
fn kilobytes(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|l| l.strip_prefix(key))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|k| k * 1024)
}

/// The names that one version of control groups gives to the same three things.
struct Files {
    limit: &'static str,
    usage: &'static str,
    reclaimable: &'static str,
}

const V1: Files =
    Files { limit: "memory.limit_in_bytes", usage: "memory.usage_in_bytes", reclaimable: "total_inactive_file " };
const V2: Files = Files { limit: "memory.max", usage: "memory.current", reclaimable: "inactive_file " };

/// The least headroom of the control groups that this process is in, from its own up to the root.
fn cgroup() -> Option<u64> {
    // Read afresh: a process can be moved.
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let mounts = mounts();
    let mut least = None;
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else { continue };
        let (mount, files) = if controllers.is_empty() {
            (&mounts.v2, &V2)
        } else if controllers.split(',').any(|c| c == "memory") {
            (&mounts.v1, &V1)
        } else {
            continue;
        };
        let Some(mount) = mount else { continue };
        least = mount.ancestry(path).filter_map(|dir| headroom_in(&dir, files)).chain(least).min();
    }
    least
}

fn headroom_in(dir: &Path, files: &Files) -> Option<u64> {
    let number = |name| fs::read_to_string(dir.join(name)).ok()?.trim().parse::<u64>().ok();
    // "max" is no number and so no limit; version 1 says nearly the largest number instead.
    let limit = number(files.limit).filter(|&l| l < 1 << 60)?;
    let usage = number(files.usage)?;
    // Cached files count as used, but make room when asked.
    let cached = fs::read_to_string(dir.join("memory.stat"))
        .ok()
        .and_then(|s| s.lines().find_map(|l| l.strip_prefix(files.reclaimable)?.trim().parse::<u64>().ok()))
        .unwrap_or(0);
    Some(limit.saturating_sub(usage.saturating_sub(cached)))
}

/// Where a hierarchy of control groups is to be seen.
struct Mount {
    /// The directory.
    point: PathBuf,
    /// The group that stands there: in a container often not the topmost.
    root: PathBuf,
}

impl Mount {
    /// The directory of the group `path` and those above it, as far as they can be seen.
    fn ancestry(&self, path: &str) -> impl Iterator<Item = PathBuf> {
        let below = Path::new(path).strip_prefix(&self.root).ok();
        // A group outside of what is mounted here is one whose mount was made from within: then the mount is it.
        let dir = below.map_or_else(|| self.point.clone(), |b| self.point.join(b));
        let point = self.point.clone();
        std::iter::successors(Some(dir), move |d| (*d != point).then(|| d.parent().map(Path::to_path_buf)).flatten())
    }
}

struct Mounts {
    v1: Option<Mount>,
    v2: Option<Mount>,
}

/// Found once per process. No lock is held meanwhile, which a forked child could find locked for ever.
fn mounts() -> &'static Mounts {
    static FOUND: AtomicPtr<Mounts> = AtomicPtr::new(std::ptr::null_mut());
    let mut found = FOUND.load(Ordering::Acquire);
    if found.is_null() {
        let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let mine = Box::into_raw(Box::new(parse_mounts(&text)));
        found = match FOUND.compare_exchange(found, mine, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => mine,
            Err(others) => {
                // SAFETY: `mine` came from a box just now and lost: nobody else has seen it.
                drop(unsafe { Box::from_raw(mine) });
                others
            }
        };
    }
    // SAFETY: once stored, a box is never taken back.
    unsafe { &*found }
}

/// Reads lines such as `30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup rw`.
fn parse_mounts(text: &str) -> Mounts {
    let mut mounts = Mounts { v1: None, v2: None };
    for line in text.lines() {
        let Some((left, right)) = line.split_once(" - ") else { continue };
        let mut right = right.split(' ');
        let kind = right.next().unwrap_or_default();
        let memory = right.nth(1).is_some_and(|options| options.split(',').any(|o| o == "memory"));
        let mut left = left.split(' ').skip(3);
        let (Some(root), Some(point)) = (left.next(), left.next()) else { continue };
        let mount = Mount { point: PathBuf::from(point), root: PathBuf::from(root) };
        match kind {
            "cgroup2" if mounts.v2.is_none() => mounts.v2 = Some(mount),
            "cgroup" if memory && mounts.v1.is_none() => mounts.v1 = Some(mount),
            _ => {}
        }
    }
    mounts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_of_both_versions_are_found() {
        let text = "30 23 0:26 / /sys/fs/cgroup/unified rw,nosuid shared:9 - cgroup2 cgroup2 rw\n\
                    33 23 0:29 /docker/abc /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                    34 23 0:30 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n";
        let mounts = parse_mounts(text);
        assert_eq!(mounts.v2.unwrap().point, Path::new("/sys/fs/cgroup/unified"));
        let v1 = mounts.v1.unwrap();
        assert_eq!(v1.root, Path::new("/docker/abc"));
        let dirs: Vec<_> = v1.ancestry("/docker/abc/inner").collect();
        assert_eq!(dirs, [Path::new("/sys/fs/cgroup/memory/inner"), Path::new("/sys/fs/cgroup/memory")]);
        let dirs: Vec<_> = v1.ancestry("/elsewhere").collect();
        assert_eq!(dirs, [Path::new("/sys/fs/cgroup/memory")]);
    }

    #[test]
    fn a_group_leaves_what_its_limit_leaves() {
        let dir = std::env::temp_dir().join(format!("kettle-limits-{}", super::super::process::id()));
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("memory.max"), "1000\n").unwrap();
        fs::write(dir.join("memory.current"), "700\n").unwrap();
        assert_eq!(headroom_in(&dir, &V2), Some(300));
        fs::write(dir.join("memory.stat"), "anon 5\ninactive_file 100\n").unwrap();
        assert_eq!(headroom_in(&dir, &V2), Some(400));
        fs::write(dir.join("memory.max"), "max\n").unwrap();
        assert_eq!(headroom_in(&dir, &V2), None);
        fs::write(dir.join("memory.max"), "").unwrap();
        assert_eq!(headroom_in(&dir, &V2), None);
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn lines_of_meminfo_are_read() {
        let text = "MemTotal:  100 kB\nMemAvailable:   10 kB\nSwapFree: 2 kB\n";
        assert_eq!(machine(text), Some(12 * 1024));
        assert_eq!(machine("MemTotal: 100 kB\n"), None);
    }

    #[test]
    fn this_machine_has_room() {
        assert!(headroom().bytes > 0);
    }
}
