//! Half-open byte ranges of a file.

use serde::{Deserialize, Serialize};

/// Bytes `start..end` of a file; never empty.
///
/// # Units
/// Bytes. `end` is at most 2^63: `fcntl(2)` counts with `off_t`, and its "to the end of the file" (`l_len == 0`) arrives
/// from the kernel as the inclusive last byte 2^63 - 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Bounds")]
pub struct ByteRange {
    start: u64,
    end: u64,
}

/// What is read of a saved range, before it is known not to be empty.
#[derive(Deserialize)]
struct Bounds {
    start: u64,
    end: u64,
}

impl TryFrom<Bounds> for ByteRange {
    type Error = &'static str;

    fn try_from(Bounds { start, end }: Bounds) -> Result<Self, Self::Error> {
        Self::new(start, end).ok_or("a byte range is empty")
    }
}

impl ByteRange {
    /// The first byte after the largest offset (`OFFSET_MAX` + 1).
    pub const END_OF_FILE: u64 = 1 << 63;

    /// The whole file, as `close(2)` and `fcntl(F_UNLCK, 0, 0)` mean it.
    pub const ALL: Self = Self { start: 0, end: Self::END_OF_FILE };

    /// Bytes `start..end`, or `None` if that is empty.
    pub const fn new(start: u64, end: u64) -> Option<Self> {
        if start < end { Some(Self { start, end }) } else { None }
    }

    /// The range from the kernel's inclusive `start` and `last`, or `None` where `last` lies before `start`.
    pub const fn from_inclusive(start: u64, last: u64) -> Option<Self> {
        let end = if last >= Self::END_OF_FILE { Self::END_OF_FILE } else { last + 1 };
        Self::new(start, end)
    }

    /// First byte.
    pub const fn start(self) -> u64 {
        self.start
    }

    /// First byte after the range.
    pub const fn end(self) -> u64 {
        self.end
    }

    /// Last byte, as the kernel writes it.
    pub const fn last(self) -> u64 {
        self.end - 1
    }

    /// Whether the two ranges share a byte.
    pub const fn overlaps(self, other: Self) -> bool {
        self.start < other.end && other.start < self.end
    }

    /// Whether every byte of `other` is in this range.
    pub const fn contains(self, other: Self) -> bool {
        self.start <= other.start && other.end <= self.end
    }

    /// Whether the two ranges overlap or lie side by side, so that records of one kind melt into one.
    pub const fn touches(self, other: Self) -> bool {
        self.start <= other.end && other.start <= self.end
    }
}
