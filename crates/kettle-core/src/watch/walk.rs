//! The objects in the segments, found by walking the page maps as they are at the moment.

use std::fs::File;
use std::io;

use super::file::{self, Copy};
use crate::arena::layout::object_header::HEADER;
use crate::arena::layout::page_map::{ENTRY, Kind, PAGE, Run, map_pages};
use crate::arena::layout::size_classes::{is_class, small_size};

/// The most entries that are looked at in a snapshot, and the most of them that need not begin a run: a damaged map
/// must not hold the reader up.
const ENTRIES: u64 = 1 << 20;
const LOST: u64 = 1 << 18;
/// How often a run that is not one is read again before it is passed over.
const ATTEMPTS: u32 = 3;

/// A segment as listed: a range of the file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment {
    pub(super) number: u64,
    pub(super) offset: u64,
    pub(super) len: u64,
}

/// Where an object may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Site {
    /// In the arena.
    pub(super) off: u64,
    /// In the file.
    pub(super) at: u64,
    /// The room for its header and its data.
    pub(super) room: u64,
}

/// What remains of the limits, and how much was passed over.
#[derive(Debug)]
pub(super) struct Budget {
    entries: u64,
    lost: u64,
    /// The number of pages and segments that could not be read.
    pub(super) unread: u32,
}

impl Budget {
    pub(super) fn new() -> Self {
        Self { entries: ENTRIES, lost: LOST, unread: 0 }
    }

    pub(super) fn miss(&mut self) {
        self.unread = self.unread.saturating_add(1);
    }
}

/// A page of the page map, read when it is first needed.
struct Entries<'a> {
    file: &'a File,
    segment: Segment,
    page: u64,
    copy: Option<Copy>,
}

impl Entries<'_> {
    fn word(&mut self, number: u64, again: bool) -> io::Result<u64> {
        let (page, within) = (number * ENTRY / PAGE, number * ENTRY % PAGE);
        if again || self.copy.is_none() || page != self.page {
            self.copy = Some(file::copy(self.file, self.segment.offset + page * PAGE, PAGE as usize)?);
            self.page = page;
        }
        Ok(self.copy.as_ref().map_or(0, |copy| copy.word(within as usize)))
    }

    /// The run that begins with this page, if it ends inside the segment.
    fn run(&mut self, number: u64, again: bool) -> io::Result<Option<Run>> {
        let pages = self.segment.len / PAGE;
        let run = Run::from_bits(self.word(number, again)?);
        Ok(run.filter(|run| number + u64::from(run.pages) <= pages && (run.kind != Kind::Slab || is_class(*run))))
    }
}

/// Calls `visit` for each place of a segment where an object may be.
pub(super) fn walk(
    file: &File,
    segment: Segment,
    budget: &mut Budget,
    visit: &mut impl FnMut(Group, &mut Budget) -> io::Result<()>,
) -> io::Result<()> {
    let mut entries = Entries { file, segment, page: 0, copy: None };
    // The map describes itself, too; it may be passed over.
    let mut number = map_pages(segment.len).min(segment.len / PAGE);
    while number < segment.len / PAGE {
        if budget.entries == 0 || budget.lost == 0 {
            budget.miss();
            return Ok(());
        }
        budget.entries -= 1;
        let mut run = entries.run(number, false)?;
        for _ in 0..ATTEMPTS {
            if run.is_none() {
                run = entries.run(number, true)?;
            }
        }
        let Some(run) = run else {
            // In the middle of a change, or damaged: the next page that begins a run is as good a start.
            budget.lost -= 1;
            budget.miss();
            number += 1;
            continue;
        };
        let byte = number * PAGE;
        let site = Site { off: segment.number << 48 | byte, at: segment.offset + byte, room: 0 };
        match run.kind {
            Kind::Object => visit(Group::One(Site { room: u64::from(run.pages) * PAGE, ..site }), budget)?,
            Kind::Slab => visit(Group::Small { page: site, size: small_size(run.class) }, budget)?,
            Kind::Warm | Kind::Cold | Kind::Map => {}
        }
        number += u64::from(run.pages);
    }
    Ok(())
}

/// What a run holds.
pub(super) enum Group {
    /// One object.
    One(Site),
    /// A page of small objects of one size, including their headers.
    Small { page: Site, size: u64 },
}

impl Group {
    pub(super) fn sites(self) -> impl Iterator<Item = Site> {
        let (first, size, count) = match self {
            Self::One(site) => (site, site.room, 1),
            Self::Small { page, size } => (page, size, PAGE / size.max(HEADER)),
        };
        (0..count).map(move |i| Site { off: first.off + i * size, at: first.at + i * size, room: size })
    }
}
