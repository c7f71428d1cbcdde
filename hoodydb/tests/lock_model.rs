//! The record table against a naive model: one cell per (owner, byte). Small worlds exhaustively, larger ones by proptest.

use std::collections::BTreeMap;

use hoodydb::lock::{ByteRange, Handle, Holder, LockKind, LockOwner, LockTable, Origin, Pid, Record, Tid};
use proptest::prelude::*;

/// `cells[(owner, byte)] = (kind, handle)`: POSIX records said the slowest way.
#[derive(Clone, Default)]
struct Model {
    cells: BTreeMap<(u64, u64), (LockKind, u64)>,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Set { owner: u64, handle: u64, start: u64, end: u64, kind: LockKind },
    Unlock { owner: u64, start: u64, end: u64 },
    DropOwner { owner: u64 },
    DropThrough { owner: u64, handle: u64 },
}

impl Model {
    fn conflicts(&self, owner: u64, start: u64, end: u64, kind: LockKind) -> bool {
        self.cells.iter().any(|((other, byte), (held, _))| {
            *other != owner && (start..end).contains(byte) && (kind == LockKind::Write || *held == LockKind::Write)
        })
    }

    fn apply(&mut self, step: Step) {
        match step {
            Step::Set { owner, handle, start, end, kind } => {
                self.cells.extend((start..end).map(|byte| ((owner, byte), (kind, handle))));
            }
            Step::Unlock { owner, start, end } => {
                self.cells.retain(|(other, byte), _| *other != owner || !(start..end).contains(byte));
            }
            Step::DropOwner { owner } => self.cells.retain(|(other, _), _| *other != owner),
            Step::DropThrough { owner, handle } => {
                self.cells.retain(|(other, _), (_, through)| *other != owner || *through != handle);
            }
        }
    }
}

fn range(start: u64, end: u64) -> ByteRange {
    ByteRange::new(start, end).expect("steps have ranges that are not empty")
}

/// Takes a step on both, unless it conflicts; both must agree on that.
fn step_both(model: &mut Model, table: &mut LockTable, step: Step) {
    if let Step::Set { owner, start, end, kind, .. } = step {
        let conflict = table.conflict(Holder::posix(LockOwner(owner)), range(start, end), kind);
        assert_eq!(conflict.is_some(), model.conflicts(owner, start, end, kind), "{step:?}");
        if conflict.is_some() {
            return;
        }
    }
    model.apply(step);
    match step {
        Step::Set { owner, handle, start, end, kind } => {
            let origin = Origin { handle: Handle(handle), pid: Pid(1), tid: Tid(1), at_ns: 0 };
            table.set(Holder::posix(LockOwner(owner)), range(start, end), kind, origin);
        }
        Step::Unlock { owner, start, end } => {
            table.unlock(Holder::posix(LockOwner(owner)), range(start, end));
        }
        Step::DropOwner { owner } => {
            table.drop_of(LockOwner(owner), None);
        }
        Step::DropThrough { owner, handle } => {
            table.drop_of(LockOwner(owner), Some(Handle(handle)));
        }
    }
}

fn assert_same(model: &Model, table: &LockTable, bytes: u64) {
    let mut cells = BTreeMap::new();
    let mut records = 0;
    for (holder, list) in table.iter() {
        assert!(list.windows(2).all(|pair| pair[0].range.end() <= pair[1].range.start()), "sorted and disjoint");
        let melted = |pair: &[hoodydb::lock::Record]| {
            pair[0].range.end() == pair[1].range.start()
                && pair[0].kind == pair[1].kind
                && pair[0].origin.handle == pair[1].origin.handle
        };
        assert!(!list.windows(2).any(melted), "neighbours of one kind melt");
        for record in list {
            records += 1;
            for byte in record.range.start()..record.range.end() {
                cells.insert((holder.owner.0, byte), (record.kind, record.origin.handle.0));
            }
        }
    }
    assert_eq!(cells, model.cells);
    assert_eq!(records, table.len());
    for owner in 0..3 {
        for start in 0..bytes {
            for kind in [LockKind::Read, LockKind::Write] {
                let found = table.conflict(Holder::posix(LockOwner(owner)), range(start, start + 1), kind);
                assert_eq!(found.is_some(), model.conflicts(owner, start, start + 1, kind));
            }
        }
    }
}

fn all_steps(owners: u64, bytes: u64) -> Vec<Step> {
    let mut steps = Vec::new();
    for owner in 0..owners {
        for start in 0..bytes {
            for end in start + 1..=bytes {
                for kind in [LockKind::Read, LockKind::Write] {
                    steps.push(Step::Set { owner, handle: owner, start, end, kind });
                }
                steps.push(Step::Unlock { owner, start, end });
            }
        }
        steps.push(Step::DropOwner { owner });
    }
    steps
}

fn explore(model: &Model, table: &LockTable, steps: &[Step], depth: usize, bytes: u64) -> usize {
    if depth == 0 {
        return 1;
    }
    let mut worlds = 0;
    for step in steps {
        let (mut model, mut table) = (model.clone(), table.clone());
        step_both(&mut model, &mut table, *step);
        assert_same(&model, &table, bytes);
        worlds += explore(&model, &table, steps, depth - 1, bytes);
    }
    worlds
}

#[test]
fn every_history_of_three_calls_by_two_owners_on_three_bytes() {
    let steps = all_steps(2, 3);
    let worlds = explore(&Model::default(), &LockTable::default(), &steps, 3, 3);
    assert_eq!(worlds, steps.len().pow(3));
}

fn any_step() -> impl Strategy<Value = Step> {
    const BYTES: u64 = 24;
    let span = (0..BYTES).prop_flat_map(|start| (Just(start), start + 1..=BYTES));
    let kind = prop_oneof![Just(LockKind::Read), Just(LockKind::Write)];
    prop_oneof![
        6 => (0..3u64, 0..3u64, span.clone(), kind)
            .prop_map(|(owner, handle, (start, end), kind)| Step::Set { owner, handle, start, end, kind }),
        3 => (0..3u64, span).prop_map(|(owner, (start, end))| Step::Unlock { owner, start, end }),
        1 => (0..3u64).prop_map(|owner| Step::DropOwner { owner }),
        1 => (0..3u64, 0..3u64).prop_map(|(owner, handle)| Step::DropThrough { owner, handle }),
    ]
}

proptest! {
    #[test]
    fn longer_histories_agree_with_the_model(steps in prop::collection::vec(any_step(), 1..200)) {
        let (mut model, mut table) = (Model::default(), LockTable::default());
        for step in steps {
            step_both(&mut model, &mut table, step);
            assert_same(&model, &table, 24);
        }
        let saved = postcard::to_allocvec(&table).expect("a table has bytes");
        let restored: LockTable = postcard::from_bytes(&saved).expect("a saved table restores");
        assert_same(&model, &restored, 24);
    }

    #[test]
    fn a_saved_table_that_breaks_the_law_is_refused(
        records in prop::collection::vec((0..3u64, 0..8u64, 1..4u64, any::<bool>()), 1..6),
    ) {
        let mut held: BTreeMap<Holder, Vec<Record>> = BTreeMap::new();
        for (owner, start, length, write) in &records {
            let kind = if *write { LockKind::Write } else { LockKind::Read };
            let origin = Origin { handle: Handle(*owner), pid: Pid(1), tid: Tid(1), at_ns: 0 };
            let list = held.entry(Holder::posix(LockOwner(*owner))).or_default();
            list.push(Record { range: range(*start, start + length), kind, origin });
        }
        held.values_mut().for_each(|list| list.sort_by_key(|record| record.range.start()));
        let all: Vec<(u64, Record)> =
            held.iter().flat_map(|(holder, list)| list.iter().map(|record| (holder.owner.0, *record))).collect();
        let lawful = all.iter().enumerate().all(|(at, (owner, one))| {
            all[at + 1..].iter().all(|(other, two)| {
                let shared = owner != other && one.kind == LockKind::Read && two.kind == LockKind::Read;
                shared || !one.range.overlaps(two.range)
            })
        });
        let saved = postcard::to_allocvec(&held).expect("records have bytes");
        prop_assert_eq!(postcard::from_bytes::<LockTable>(&saved).is_ok(), lawful, "{:?}", held);
    }
}
