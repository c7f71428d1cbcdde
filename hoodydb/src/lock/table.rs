//! The record table of one file.
//!
//! Law: records of one holder never overlap, and no write record overlaps a record of another holder. Check first
//! ([`LockTable::conflict`]), apply second ([`LockTable::set`]); `set` asserts the law.
//!
//! ```text
//!   held    holder -> its records, sorted by start          (split, melt, drop)
//!   writes  start -> end, holder                            (disjoint: binary search)
//!   reads   (start, holder) -> end                          (may overlap: search from start - longest)
//! ```

use serde::{Deserialize, Serialize};

use super::small_map::SmallMap;
use super::{ByteRange, Handle, LockKind, LockOwner, Pid, Tid};

/// Who a record belongs to: the kernel's lock owner, and a part of it where one owner must not stand for all its locks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Holder {
    /// The kernel's lock owner.
    pub owner: LockOwner,
    /// 0 on plain POSIX files, where the owner is all there is.
    pub part: u64,
}

impl Holder {
    /// The holder that POSIX knows: one per lock owner.
    pub const fn posix(owner: LockOwner) -> Self {
        Self { owner, part: 0 }
    }
}

/// The call that made a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The open file description it came through.
    pub handle: Handle,
    /// The process.
    pub pid: Pid,
    /// The thread.
    pub tid: Tid,
    /// When, on the caller's clock; opaque here.
    pub at_ns: u64,
}

/// One record: bytes, kind and origin.
///
/// # Layout
/// 48 bytes; with its index entries about 112 bytes per record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The bytes.
    pub range: ByteRange,
    /// Read or write.
    pub kind: LockKind,
    /// The call that made it.
    pub origin: Origin,
}

/// A record that stands in the way of a request, as `F_GETLK` reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// Bytes of the record.
    pub range: ByteRange,
    /// Kind of the record.
    pub kind: LockKind,
    /// Process of the record, 0 if unknown.
    pub pid: Pid,
    /// Holder of the record.
    pub holder: Holder,
    /// When it was taken, on the caller's clock.
    pub at_ns: u64,
}

/// All records of one file. Saved are the records alone; the indexes are made anew of them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(try_from = "Held")]
pub struct LockTable {
    held: SmallMap<Holder, Vec<Record>>,
    #[serde(skip_serializing)]
    writes: SmallMap<u64, (u64, Holder)>,
    #[serde(skip_serializing)]
    reads: SmallMap<(u64, Holder), u64>,
    /// An upper bound of the length of any read record; falls back to 0 when the last one goes.
    #[serde(skip_serializing)]
    longest_read_bytes: u64,
    #[serde(skip_serializing)]
    records: usize,
}

/// What is read of a saved table, before it is known to obey the law.
#[derive(Deserialize)]
struct Held {
    held: SmallMap<Holder, Vec<Record>>,
}

impl TryFrom<Held> for LockTable {
    type Error = &'static str;

    fn try_from(Held { held }: Held) -> Result<Self, Self::Error> {
        let mut table = Self::default();
        for (holder, list) in held.iter() {
            if list.is_empty() || !list.is_sorted_by(|one, next| one.range.end() <= next.range.start()) {
                return Err("the records of a holder are not in order");
            }
            list.iter().for_each(|record| table.remember(*holder, record));
        }
        table.held = held;
        let lawful = |holder, record: &Record| {
            record.kind == LockKind::Read || table.conflict(holder, record.range, record.kind).is_none()
        };
        let all_indexed = table.writes.len() + table.reads.len() == table.records;
        if !all_indexed || !table.iter().all(|(holder, list)| list.iter().all(|record| lawful(holder, record))) {
            return Err("two conflicting locks are held");
        }
        Ok(table)
    }
}

impl LockTable {
    /// Number of records.
    pub fn len(&self) -> usize {
        self.records
    }

    /// Whether there is no record.
    pub fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// The record of another holder that a lock of `kind` on `range` would collide with: write records first, then the
    /// one that starts first.
    ///
    /// # Source
    /// fcntl(2): "Any number of processes may hold a read lock (shared lock) on a file region, but only one process may
    /// hold a write lock (exclusive lock)."
    pub fn conflict(&self, holder: Holder, range: ByteRange, kind: LockKind) -> Option<Conflict> {
        self.conflicts(holder, range, kind).next()
    }

    /// Every record of another holder that a lock of `kind` on `range` would collide with.
    pub fn conflicts(&self, holder: Holder, range: ByteRange, kind: LockKind) -> impl Iterator<Item = Conflict> + '_ {
        let first_write = self
            .writes
            .last_up_to(&range.start())
            .filter(|(_, (end, _))| *end > range.start())
            .map_or(range.start(), |(start, _)| *start);
        let writes = self
            .writes
            .range(first_write, range.end())
            .filter(move |(_, (_, other))| *other != holder)
            .map(|(start, (_, other))| self.as_conflict(*other, *start));
        let nobody = Holder::posix(LockOwner(0));
        let (low, high) = match kind {
            LockKind::Write => (range.start().saturating_sub(self.longest_read_bytes), range.end()),
            LockKind::Read => (0, 0),
        };
        let reads = self
            .reads
            .range((low, nobody), (high, nobody))
            .filter(move |((_, other), end)| *other != holder && **end > range.start())
            .map(|((start, other), _)| self.as_conflict(*other, *start));
        writes.chain(reads)
    }

    fn as_conflict(&self, holder: Holder, start: u64) -> Conflict {
        let records = self.of(holder);
        let found = records.partition_point(|record| record.range.start() < start);
        let Record { range, kind, origin } = records[found];
        Conflict { range, kind, pid: origin.pid, holder, at_ns: origin.at_ns }
    }

    /// Sets `range` to `kind` for `holder`, splitting and melting its records. The caller has checked for conflicts.
    ///
    /// # Panics
    /// If another holder's record collides: the caller's check is broken, and going on would corrupt somebody's data.
    ///
    /// # Source
    /// fcntl(2): "a new lock [..] converts an existing lock [..] may involve splitting, shrinking, or coalescing".
    pub fn set(&mut self, holder: Holder, range: ByteRange, kind: LockKind, origin: Origin) {
        assert!(self.conflict(holder, range, kind).is_none(), "a lock was granted over a conflicting record");
        self.replace(holder, range, Some(Record { range, kind, origin }));
    }

    /// Removes `range` from the records of `holder`. Returns whether there was anything.
    pub fn unlock(&mut self, holder: Holder, range: ByteRange) -> bool {
        self.replace(holder, range, None)
    }

    /// The records of one holder, sorted by start.
    pub fn of(&self, holder: Holder) -> &[Record] {
        self.held.get(&holder).map_or(&[], Vec::as_slice)
    }

    /// Whether `holder` has a record that shares a byte with `range`.
    pub fn holds(&self, holder: Holder, range: ByteRange) -> bool {
        self.kind_held(holder, range).is_some()
    }

    /// The strongest kind that `holder` has on any byte of `range`.
    pub fn kind_held(&self, holder: Holder, range: ByteRange) -> Option<LockKind> {
        self.of(holder).iter().filter(|record| record.range.overlaps(range)).map(|record| record.kind).max()
    }

    /// Every holder with its records.
    pub fn iter(&self) -> impl Iterator<Item = (Holder, &[Record])> {
        self.held.iter().map(|(holder, records)| (*holder, records.as_slice()))
    }

    /// The holders of one owner that have records.
    pub fn holders_of(&self, owner: LockOwner) -> impl Iterator<Item = Holder> + '_ {
        self.held.range(Holder { owner, part: 0 }, Holder { owner, part: u64::MAX }).map(|(holder, _)| *holder)
    }

    /// Drops the records of `owner` that were taken through `handle`, or all of them where `handle` is `None`. Returns
    /// whether there was anything.
    pub fn drop_of(&mut self, owner: LockOwner, handle: Option<Handle>) -> bool {
        let holders: Vec<Holder> = self.holders_of(owner).collect();
        holders.into_iter().filter(|holder| self.drop_through(*holder, handle)).count() > 0
    }

    /// Drops every record taken through `handle`, whoever holds it. Returns whether there was anything.
    pub fn drop_handle(&mut self, handle: Handle) -> bool {
        let through = |record: &Record| record.origin.handle == handle;
        let holders: Vec<Holder> =
            self.held.iter().filter(|(_, list)| list.iter().any(through)).map(|(holder, _)| *holder).collect();
        holders.into_iter().filter(|holder| self.drop_through(*holder, Some(handle))).count() > 0
    }

    fn drop_through(&mut self, holder: Holder, handle: Option<Handle>) -> bool {
        let doomed: Vec<ByteRange> = self
            .of(holder)
            .iter()
            .filter(|record| handle.is_none_or(|handle| record.origin.handle == handle))
            .map(|record| record.range)
            .collect();
        for range in &doomed {
            self.unlock(holder, *range);
        }
        !doomed.is_empty()
    }

    fn replace(&mut self, holder: Holder, range: ByteRange, new: Option<Record>) -> bool {
        let mut list = match self.held.get_mut(&holder) {
            Some(list) => std::mem::take(list),
            None if new.is_none() => return false,
            // PENDING and SHARED, or the switch and a mark.
            None => Vec::with_capacity(2),
        };
        let mut from = list.partition_point(|record| record.range.end() <= range.start());
        let mut to = list.partition_point(|record| record.range.start() < range.end());
        let overlapped = from < to;
        let mut left = overlapped.then(|| cut(list[from], list[from].range.start(), range.start())).flatten();
        let mut right = overlapped.then(|| cut(list[to - 1], range.end(), list[to - 1].range.end())).flatten();
        let mut middle = new;
        if let Some(new) = &mut middle {
            // "Coalescing": only what came through the same handle, for close() drops by handle on databases.
            let melts = |record: &Record, new: &Record| {
                record.kind == new.kind && record.origin.handle == new.origin.handle && record.range.touches(new.range)
            };
            if let Some(piece) = left.filter(|piece| melts(piece, new)) {
                *new = join(*new, piece);
                left = None;
            } else if left.is_none() && from > 0 && melts(&list[from - 1], new) {
                from -= 1;
                *new = join(*new, list[from]);
            }
            if let Some(piece) = right.filter(|piece| melts(piece, new)) {
                *new = join(*new, piece);
                right = None;
            } else if right.is_none() && to < list.len() && melts(&list[to], new) {
                *new = join(*new, list[to]);
                to += 1;
            }
        }
        for record in &list[from..to] {
            self.forget(holder, record);
        }
        let pieces = [left, middle, right];
        for record in pieces.iter().flatten() {
            self.remember(holder, record);
        }
        list.splice(from..to, pieces.into_iter().flatten());
        if list.is_empty() {
            self.held.remove(&holder);
        } else {
            self.held.insert(holder, list);
        }
        overlapped
    }

    fn remember(&mut self, holder: Holder, record: &Record) {
        self.records += 1;
        let (start, end) = (record.range.start(), record.range.end());
        match record.kind {
            LockKind::Write => {
                self.writes.insert(start, (end, holder));
            }
            LockKind::Read => {
                self.reads.insert((start, holder), end);
                self.longest_read_bytes = self.longest_read_bytes.max(end - start);
            }
        }
    }

    fn forget(&mut self, holder: Holder, record: &Record) {
        self.records -= 1;
        match record.kind {
            LockKind::Write => {
                self.writes.remove(&record.range.start());
            }
            LockKind::Read => {
                self.reads.remove(&(record.range.start(), holder));
                if self.reads.is_empty() {
                    self.longest_read_bytes = 0;
                }
            }
        }
    }
}

fn cut(record: Record, start: u64, end: u64) -> Option<Record> {
    ByteRange::new(start, end).map(|range| Record { range, ..record })
}

fn join(new: Record, piece: Record) -> Record {
    let start = new.range.start().min(piece.range.start());
    let end = new.range.end().max(piece.range.end());
    let range = ByteRange::new(start, end).unwrap_or(new.range);
    Record { range, ..new }
}
