//! Counts by file, process and role.

/// Buckets of a histogram: bucket `i` counts durations of `2^i <= ns < 2^(i + 1)`, the last one everything above.
pub const BUCKETS: usize = 40;

/// Whose counts a [`Row`] has.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowKey {
    /// Inode number that the mount shows; 0 where rows no longer fit.
    pub ino: u64,
    /// Process id as the kernel's first namespace has it; 0 for all processes that have ended.
    pub tgid: u32,
    /// One of [`role`](crate::role).
    pub role: u32,
}

/// Counts of one process on one role of one file. They only grow.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Lock calls that ended.
    pub calls: u64,
    /// Those that were granted.
    pub granted: u64,
    /// Those that ended with EAGAIN or EACCES.
    pub refused: u64,
    /// Those that a signal ended.
    pub interrupted: u64,
    /// Unlock calls.
    pub unlocks: u64,
    /// Sum of the waits.
    pub wait_ns_total: u64,
    /// The longest one.
    pub wait_ns_max: u64,
    /// Sum of the holds that ended.
    pub held_ns_total: u64,
    /// The longest one.
    pub held_ns_max: u64,
    /// CLOCK_MONOTONIC of the last change.
    pub changed_ns: u64,
    /// Cgroup of the last caller.
    pub cgroup: u64,
    /// Name of the last calling thread, ended by zeros.
    pub comm: [u8; 16],
    /// Process id in the daemon's namespace, 0 while it is not known.
    pub pid: u32,
    /// 0.
    pub reserved: u32,
    /// From the start of each call to its end.
    pub waits: [u64; BUCKETS],
    /// From each grant to its end.
    pub holds: [u64; BUCKETS],
}

impl Row {
    /// Nothing counted yet.
    pub const EMPTY: Self = Self {
        calls: 0,
        granted: 0,
        refused: 0,
        interrupted: 0,
        unlocks: 0,
        wait_ns_total: 0,
        wait_ns_max: 0,
        held_ns_total: 0,
        held_ns_max: 0,
        changed_ns: 0,
        cgroup: 0,
        comm: [0; 16],
        pid: 0,
        reserved: 0,
        waits: [0; BUCKETS],
        holds: [0; BUCKETS],
    };

    /// Takes in another row's counts; who it is stays.
    pub fn absorb(&mut self, other: &Self) {
        self.calls += other.calls;
        self.granted += other.granted;
        self.refused += other.refused;
        self.interrupted += other.interrupted;
        self.unlocks += other.unlocks;
        self.wait_ns_total += other.wait_ns_total;
        self.held_ns_total += other.held_ns_total;
        self.wait_ns_max = self.wait_ns_max.max(other.wait_ns_max);
        self.held_ns_max = self.held_ns_max.max(other.held_ns_max);
        self.changed_ns = self.changed_ns.max(other.changed_ns);
        for (mine, theirs) in self.waits.iter_mut().zip(other.waits) {
            *mine += theirs;
        }
        for (mine, theirs) in self.holds.iter_mut().zip(other.holds) {
            *mine += theirs;
        }
    }
}

/// Two rows that the daemon is about to make one: whoever finds this goes on with it, however far it had come.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fold {
    /// 1 while it has to be done.
    pub is_due: u64,
    /// The row that goes.
    pub from: RowKey,
    /// The row that stays.
    pub into: RowKey,
    /// What it is then.
    pub sum: Row,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_add_up() {
        let mut waits = [0; BUCKETS];
        waits[3] = 2;
        let mut all = Row { calls: 2, wait_ns_max: 9, pid: 7, waits, ..Row::EMPTY };
        all.absorb(&Row { calls: 3, granted: 1, wait_ns_max: 5, held_ns_total: 4, pid: 8, waits, ..Row::EMPTY });
        assert_eq!((all.calls, all.granted, all.wait_ns_max, all.held_ns_total, all.pid), (5, 1, 9, 4, 7));
        assert_eq!(all.waits[3], 4);
    }
}
