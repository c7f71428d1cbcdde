//! Who waits for whom, as a tree whose roots hold and wait for nobody.
//!
//! Called by [`crate::render`] for one database of `top`; chains may lead through other databases of the mount.

use std::collections::{BTreeMap, BTreeSet};

use super::{Container, DatabaseTop, ProcessName};

/// One process in the tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WaitLine {
    /// 0 for a root.
    pub depth: usize,
    /// Who.
    pub process: ProcessName,
    /// Its container.
    pub container: Option<Container>,
    /// What it holds: `WRITE in app.db`.
    pub holds: Vec<String>,
    /// What it waits for: `TURN in app.db`; none for a root.
    pub wants: Option<String>,
    /// Since when it has waited, or held the oldest lock.
    pub age_ms: u64,
    /// `stopped` or `frozen`.
    pub halted: Option<String>,
    /// It stands in a circle of waits: the root is only where it was entered.
    pub is_cycle: bool,
}

/// Processes in one tree; a queue of thousands is told by its number.
pub const LINES_MAX: usize = 200;

/// The tree of one database of a mount: the oldest root first, then whoever waits for it.
pub fn wait_tree(databases: &[DatabaseTop], inode: u64) -> Vec<WaitLine> {
    let graph = Graph::of(databases);
    let mut roots: Vec<(bool, u32)> = Vec::new();
    let mut seen = BTreeSet::new();
    let mut known = BTreeMap::new();
    for pid in graph.start(databases, inode) {
        let (is_cycle, root) = graph.root_of(pid, &mut known);
        if seen.insert(root) {
            roots.push((is_cycle, root));
        }
    }
    let held_ms = |pid: u32| graph.lines.get(&pid).map_or(0, |line| line.age_ms);
    roots.sort_by_key(|(_, pid)| {
        (std::cmp::Reverse(graph.children.get(pid).map_or(0, Vec::len)), std::cmp::Reverse(held_ms(*pid)))
    });
    graph.walk(&roots)
}

struct Graph {
    lines: BTreeMap<u32, WaitLine>,
    /// Who waits for a process, the next one first.
    children: BTreeMap<u32, Vec<u32>>,
    /// Whom a process waits for.
    blockers: BTreeMap<u32, Vec<u32>>,
}

impl Graph {
    fn of(databases: &[DatabaseTop]) -> Self {
        let mut graph = Self { lines: BTreeMap::new(), children: BTreeMap::new(), blockers: BTreeMap::new() };
        for database in databases {
            for holder in database.holders.iter().filter(|holder| holder.is_transaction(&database.journal_mode)) {
                let line = graph.line(&holder.process, holder.container.as_ref(), holder.halted.as_ref());
                line.holds.push(format!("{} in {}", holder.role, database.path));
                line.age_ms = line.age_ms.max(holder.age_ms);
            }
            for waiter in &database.waiters {
                let pid = waiter.process.pid;
                let line = graph.line(&waiter.process, waiter.container.as_ref(), waiter.halted.as_ref());
                line.wants = Some(format!("{} in {}", waiter.role, database.path));
                line.age_ms = waiter.age_ms;
                graph.blockers.entry(pid).or_default().extend(&waiter.blocked_by);
                for blocker in &waiter.blocked_by {
                    graph.children.entry(*blocker).or_default().push(pid);
                }
            }
        }
        graph
    }

    fn line(&mut self, process: &ProcessName, container: Option<&Container>, halted: Option<&String>) -> &mut WaitLine {
        self.lines.entry(process.pid).or_insert_with(|| WaitLine {
            process: process.clone(),
            container: container.cloned(),
            halted: halted.cloned(),
            ..WaitLine::default()
        })
    }

    /// Whoever stands in the way at a database; if nobody waits, whoever holds.
    fn start(&self, databases: &[DatabaseTop], inode: u64) -> Vec<u32> {
        let Some(database) = databases.iter().find(|database| database.inode == inode) else { return Vec::new() };
        let blockers: Vec<u32> = database.waiters.iter().flat_map(|waiter| waiter.blocked_by.iter().copied()).collect();
        let holders = database.holders.iter().filter(|holder| holder.is_transaction(&database.journal_mode));
        blockers.into_iter().chain(holders.map(|holder| holder.process.pid)).collect()
    }

    /// Up from a process to one that waits for nobody; in a circle, to where the way closes. Whoever is met on the way has the
    /// same root, which is remembered: no process is passed twice, however many stand in a line.
    fn root_of(&self, mut pid: u32, known: &mut BTreeMap<u32, (bool, u32)>) -> (bool, u32) {
        let mut way = BTreeSet::new();
        let root = loop {
            if let Some(root) = known.get(&pid) {
                break *root;
            }
            let Some(next) = self.blockers.get(&pid).and_then(|blockers| blockers.first()) else { break (false, pid) };
            if !way.insert(pid) {
                break (true, pid);
            }
            pid = *next;
        };
        known.extend(way.into_iter().map(|passed| (passed, root)));
        root
    }

    fn walk(&self, roots: &[(bool, u32)]) -> Vec<WaitLine> {
        let mut lines = Vec::new();
        let mut shown = BTreeSet::new();
        // Not by recursion: a chain may be as long as there are processes.
        let mut stack: Vec<(usize, bool, u32)> =
            roots.iter().rev().map(|(is_cycle, pid)| (0, *is_cycle, *pid)).collect();
        while let Some((depth, is_cycle, pid)) = stack.pop() {
            if lines.len() >= LINES_MAX || !shown.insert(pid) {
                continue;
            }
            let unknown = || WaitLine { process: ProcessName { pid, command: "?".to_owned() }, ..WaitLine::default() };
            let line = self.lines.get(&pid).cloned().unwrap_or_else(unknown);
            lines.push(WaitLine { depth, is_cycle, ..line });
            let children = self.children.get(&pid).into_iter().flatten().rev();
            stack.extend(children.map(|child| (depth + 1, false, *child)));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Holder, Waiter};

    fn process(pid: u32) -> ProcessName {
        ProcessName { pid, command: format!("p{pid}") }
    }

    fn database(inode: u64, holders: &[u32], waiters: &[(u32, u32)]) -> DatabaseTop {
        let holder = |pid: &u32| Holder { role: "WRITE".to_owned(), process: process(*pid), ..Holder::default() };
        let waiter = |(pid, behind): &(u32, u32)| Waiter {
            role: "TURN".to_owned(),
            process: process(*pid),
            blocked_by: vec![*behind],
            ..Waiter::default()
        };
        DatabaseTop {
            path: format!("{inode}.db"),
            inode,
            holders: holders.iter().map(holder).collect(),
            waiters: waiters.iter().map(waiter).collect(),
            ..DatabaseTop::default()
        }
    }

    fn drawn(databases: &[DatabaseTop], inode: u64) -> Vec<String> {
        let line = |line: WaitLine| format!("{}{}", ".".repeat(line.depth), line.process.pid);
        wait_tree(databases, inode).into_iter().map(line).collect()
    }

    #[test]
    fn the_root_blocker_comes_first_also_from_another_database() {
        // 3 waits behind 2 in one database, which itself waits behind 1 in the other.
        let databases = [database(10, &[2], &[(3, 2), (4, 2)]), database(20, &[1], &[(2, 1)])];
        assert_eq!(drawn(&databases, 10), ["1", ".2", "..3", "..4"]);
        let root = &wait_tree(&databases, 10)[0];
        assert_eq!((root.holds.as_slice(), &root.wants), (["WRITE in 20.db".to_owned()].as_slice(), &None));
    }

    #[test]
    fn whoever_holds_is_shown_although_nobody_waits() {
        assert_eq!(drawn(&[database(10, &[5, 6], &[])], 10), ["5", "6"]);
        assert_eq!(drawn(&[], 10), [""; 0]);
    }

    #[test]
    fn a_circle_ends() {
        let databases = [database(10, &[1], &[(2, 1)]), database(20, &[2], &[(1, 2)])];
        let lines = wait_tree(&databases, 10);
        assert_eq!(lines.len(), 2);
        assert!(lines[0].is_cycle);
    }

    #[test]
    fn a_long_chain_is_cut() {
        let chain: Vec<(u32, u32)> = (2..20_000).map(|pid| (pid, pid - 1)).collect();
        assert_eq!(wait_tree(&[database(10, &[1], &chain)], 10).len(), LINES_MAX);
    }
}
