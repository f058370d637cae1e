//! How much memory can still be used before the kernel kills a process for it.
//!
//! Mapping memory only promises it; it is allocated when a page is touched, and at that point the kernel can refuse
//! only by a signal to whichever process is the largest. So a caller that is about to touch much memory asks here
//! first. The answers are estimates, since other processes allocate meanwhile; a reserve is kept for them.
//!
//! Swap does not count: by the time it is needed, everything has become slow.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicPtr, Ordering};

/// The maximum size of a file for this process; exceeding it raises SIGXFSZ.
pub fn file_size() -> u64 {
    super::memory::soft_limit(libc::RLIMIT_FSIZE)
}

/// What limits the memory that can still be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// The memory limit of a control group (a container, a systemd unit).
    Cgroup,
    /// The memory of the machine.
    Machine,
    /// The commit limit, if the kernel is configured not to overcommit.
    Commit,
}

/// How much memory can still be used, and what limits it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headroom {
    /// The bytes that are available, including the reserve.
    pub left: u64,
    /// How many of them are to be left for everything else.
    pub reserve: u64,
    /// What limits them.
    pub bound: Bound,
}

impl Headroom {
    fn new(left: u64, reserve: u64, bound: Bound) -> Self {
        Self { left, reserve, bound }
    }

    /// The bytes that can be used without touching the reserve.
    pub fn to_spare(&self) -> u64 {
        self.left.saturating_sub(self.reserve)
    }
}

/// The tightest bound at this moment. Limits that cannot be read are ignored.
pub fn headroom() -> Headroom {
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let overcommit = fs::read_to_string("/proc/sys/vm/overcommit_memory").unwrap_or_default();
    let groups = groups();
    let cgroups = groups.iter().filter_map(Group::headroom);
    tightest([machine(&meminfo), commit(&meminfo, &overcommit)].into_iter().flatten().chain(cgroups))
}

fn tightest(bounds: impl Iterator<Item = Headroom>) -> Headroom {
    bounds.min_by_key(Headroom::to_spare).unwrap_or(Headroom::new(u64::MAX, 0, Bound::Machine))
}

/// The memory available to this process and all others: that of the machine, or less if one of its control groups has a
/// limit. None if it cannot be determined.
pub fn total() -> Option<u64> {
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    kilobytes(&meminfo, "MemTotal:").into_iter().chain(groups().iter().filter_map(Group::limit)).min()
}

const LEAST_RESERVE: u64 = 64 << 20;

/// The reserve to keep of `total` memory: a twentieth, but at least 64 MiB; at most a quarter.
fn reserve(total: u64) -> u64 {
    (total / 20).max(LEAST_RESERVE).min(total / 4)
}

fn machine(meminfo: &str) -> Option<Headroom> {
    let (left, total) = (kilobytes(meminfo, "MemAvailable:")?, kilobytes(meminfo, "MemTotal:")?);
    Some(Headroom::new(left, reserve(total), Bound::Machine))
}

fn commit(meminfo: &str, overcommit: &str) -> Option<Headroom> {
    if overcommit.trim() != "2" {
        return None;
    }
    let (limit, promised) = (kilobytes(meminfo, "CommitLimit:")?, kilobytes(meminfo, "Committed_AS:")?);
    // Commitments are not memory yet, and other processes get an error when they run out: the minimum suffices.
    let reserve = reserve(limit).min(LEAST_RESERVE);
    Some(Headroom::new(limit.saturating_sub(promised), reserve, Bound::Commit))
}

/// The value of a line such as `MemAvailable:   24532 kB`, in bytes.
fn kilobytes(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|l| l.strip_prefix(key))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

/// The file names of one version of control groups for the same three values.
struct Files {
    limit: &'static str,
    usage: &'static str,
    reclaimable: &'static str,
}

const V1: Files =
    Files { limit: "memory.limit_in_bytes", usage: "memory.usage_in_bytes", reclaimable: "total_inactive_file " };
const V2: Files = Files { limit: "memory.max", usage: "memory.current", reclaimable: "inactive_file " };

/// A control group, with regard to memory.
struct Group {
    dir: PathBuf,
    files: &'static Files,
}

impl Group {
    fn number(&self, name: &str) -> Option<u64> {
        fs::read_to_string(self.dir.join(name)).ok()?.trim().parse().ok()
    }

    fn limit(&self) -> Option<u64> {
        // "max" is not a number and means no limit; version 1 uses nearly the largest number instead.
        self.number(self.files.limit).filter(|&l| l < 1 << 60)
    }

    fn headroom(&self) -> Option<Headroom> {
        let limit = self.limit()?;
        let usage = self.number(self.files.usage)?;
        // Cached files count as used, but can be reclaimed.
        let cached = fs::read_to_string(self.dir.join("memory.stat"))
            .ok()
            .and_then(|s| s.lines().find_map(|l| l.strip_prefix(self.files.reclaimable)?.trim().parse::<u64>().ok()))
            .unwrap_or(0);
        let left = limit.saturating_sub(usage.saturating_sub(cached));
        Some(Headroom::new(left, reserve(limit), Bound::Cgroup))
    }
}

/// The control groups of this process, from its own up to the root. Each limits everything inside it.
fn groups() -> Vec<Group> {
    // Read every time: a process can be moved.
    groups_in(&fs::read_to_string("/proc/self/cgroup").unwrap_or_default(), mounts())
}

fn groups_in(text: &str, mounts: &Mounts) -> Vec<Group> {
    let mut groups = Vec::new();
    for line in text.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else { continue };
        let (mount, files) = if controllers.is_empty() {
            (&mounts.v2, &V2)
        } else if controllers.split(',').any(|c| c == "memory") {
            (&mounts.v1, &V1)
        } else {
            continue;
        };
        if let Some(mount) = mount {
            groups.extend(mount.ancestry(path).map(|dir| Group { dir, files }));
        }
    }
    groups
}

/// Where a hierarchy of control groups is mounted.
struct Mount {
    /// The directory.
    point: PathBuf,
    /// The group that is mounted there: in a container often not the root.
    root: PathBuf,
}

impl Mount {
    /// The directory of the group `path` and those of its ancestors, as far as they are visible.
    fn ancestry(&self, path: &str) -> impl Iterator<Item = PathBuf> {
        let below = Path::new(path).strip_prefix(&self.root).ok();
        // If the group is outside what is mounted here, the mount was made from inside the group: then the mount point
        // is its directory.
        let dir = below.map_or_else(|| self.point.clone(), |b| self.point.join(b));
        let point = self.point.clone();
        std::iter::successors(Some(dir), move |d| (*d != point).then(|| d.parent().map(Path::to_path_buf)).flatten())
    }
}

struct Mounts {
    v1: Option<Mount>,
    v2: Option<Mount>,
}

/// Determined once per process, without a lock, which a forked child could find locked forever.
fn mounts() -> &'static Mounts {
    static FOUND: AtomicPtr<Mounts> = AtomicPtr::new(std::ptr::null_mut());
    let mut found = FOUND.load(Ordering::Acquire);
    if found.is_null() {
        let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let mine = Box::into_raw(Box::new(parse_mounts(&text)));
        found = match FOUND.compare_exchange(found, mine, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => mine,
            Err(others) => {
                // SAFETY: `mine` came from a box above and lost the race: no other thread has seen it.
                drop(unsafe { Box::from_raw(mine) });
                others
            }
        };
    }
    // SAFETY: once stored, a box is never freed.
    unsafe { &*found }
}

/// Parses lines such as `30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup rw`.
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

    const MIB: u64 = 1 << 20;
    const GIB: u64 = 1 << 30;

    /// A hierarchy of control groups that is removed when this is dropped.
    struct Tree(PathBuf);

    impl Tree {
        fn new() -> Self {
            let name = format!("kettle-limits-{:016x}", super::super::memory::random());
            let root = std::env::temp_dir().join(name);
            fs::create_dir_all(&root).unwrap();
            Self(root)
        }

        fn write(&self, group: &str, files: &[(&str, &str)]) -> &Self {
            let dir = self.0.join(group);
            fs::create_dir_all(&dir).unwrap();
            files.iter().for_each(|(name, text)| fs::write(dir.join(name), text).unwrap());
            self
        }

        fn group(&self) -> Group {
            Group { dir: self.0.clone(), files: &V2 }
        }

        fn mount(&self) -> Option<Mount> {
            Some(Mount { point: self.0.clone(), root: "/".into() })
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_group_leaves_what_its_limit_leaves() {
        let tree = Tree::new();
        tree.write("", &[("memory.max", "1000\n"), ("memory.current", "700\n")]);
        assert_eq!(tree.group().headroom(), Some(Headroom::new(300, 250, Bound::Cgroup)));
        tree.write("", &[("memory.stat", "anon 5\ninactive_file 100\n")]);
        assert_eq!(tree.group().headroom(), Some(Headroom::new(400, 250, Bound::Cgroup)));
        for no_limit in ["max\n", "", "9223372036854771712\n"] {
            tree.write("", &[("memory.max", no_limit)]);
            assert_eq!(tree.group().headroom(), None);
        }
    }

    #[test]
    fn the_smallest_of_nested_groups_counts() {
        let tree = Tree::new();
        tree.write("", &[("memory.max", "max"), ("memory.current", "0")])
            .write("outer", &[("memory.max", "1000000000"), ("memory.current", "900000000")])
            .write("outer/middle", &[("memory.max", "800000000"), ("memory.current", "100000000")])
            .write("outer/middle/inner", &[("memory.max", "2000000000"), ("memory.current", "0")]);
        let mounts = Mounts { v1: None, v2: tree.mount() };
        let groups = groups_in("0::/outer/middle/inner\n", &mounts);
        assert_eq!(groups.iter().filter_map(Group::limit).min(), Some(800_000_000));
        // The outer group has the least memory left.
        assert_eq!(tightest(groups.iter().filter_map(Group::headroom)).left, 100_000_000);
    }

    #[test]
    fn both_versions_count() {
        let (old, new) = (Tree::new(), Tree::new());
        old.write("job", &[("memory.limit_in_bytes", "500"), ("memory.usage_in_bytes", "100")])
            .write("", &[("memory.limit_in_bytes", "9223372036854771712"), ("memory.usage_in_bytes", "9000")]);
        new.write("job", &[("memory.max", "max"), ("memory.current", "100")]);
        let mounts = Mounts { v1: old.mount(), v2: new.mount() };
        let groups = groups_in("9:name=systemd:/\n5:cpu,memory:/job\n0::/job\nnonsense\n", &mounts);
        assert_eq!(groups.iter().filter_map(Group::limit).collect::<Vec<_>>(), [500]);
        assert_eq!(tightest(groups.iter().filter_map(Group::headroom)).left, 400);
    }

    #[test]
    fn a_reserve_is_kept_but_not_of_everything() {
        assert_eq!(reserve(64 * GIB), 64 * GIB / 20);
        assert_eq!(reserve(GIB), 64 * MIB);
        assert_eq!(reserve(256 * MIB), 64 * MIB);
        assert_eq!(reserve(100 * MIB), 25 * MIB);
        assert_eq!(reserve(0), 0);
        assert_eq!(Headroom::new(100, 60, Bound::Machine).to_spare(), 40);
        assert_eq!(Headroom::new(50, 60, Bound::Machine).to_spare(), 0);
    }

    #[test]
    fn lines_of_meminfo_are_read() {
        let text =
            "MemTotal:  100 kB\nMemAvailable:   10 kB\nSwapFree: 2 kB\nCommitLimit: 80 kB\nCommitted_AS: 70 kB\n";
        assert_eq!(machine(text), Some(Headroom::new(10 << 10, 25 << 10, Bound::Machine)), "swap is not counted");
        assert_eq!(machine("MemTotal: 100 kB\n"), None);
        assert_eq!(machine("MemTotal: 100 kB\nMemAvailable: 18446744073709551615 kB\n"), None);
        assert_eq!(commit(text, "0\n"), None);
        assert_eq!(commit(text, "2\n"), Some(Headroom::new(10 << 10, 20 << 10, Bound::Commit)));
        let large = "CommitLimit: 33554432 kB\nCommitted_AS: 33456128 kB\n";
        assert_eq!(commit(large, "2\n").unwrap().to_spare(), 32 * MIB);
    }

    #[test]
    fn this_machine_has_room() {
        assert!(headroom().left > 0);
        assert!(total().unwrap() > headroom().reserve);
    }
}
