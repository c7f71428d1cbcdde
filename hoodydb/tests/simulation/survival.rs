//! A manager that is saved and restored, or replayed from a checkpoint, is the manager.

use hoodydb::manager::Policy;

use crate::chaos::{Chaos, KINDS, Seen};
use crate::client::{Pattern, Plan};
use crate::world::{Journal, World};
use crate::{MS, plans};

/// SQLite clients of every pattern, under every policy, in both journal modes, with kills.
#[test]
fn a_restored_manager_goes_on_as_if_nothing_had_happened() {
    let patterns = [
        Pattern::Insert,
        Pattern::ReadModifyWrite,
        Pattern::Reconnect,
        Pattern::Select { read_ns: 2 * MS },
        Pattern::LongWrite { work_ns: 250 * MS },
        Pattern::SelectThenInsert { reads: 19 },
        Pattern::Dawdle { pause_ns: 60 * MS },
    ];
    for journal in [Journal::Rollback, Journal::Wal] {
        for policy in [Policy::Turn, Policy::Serial, Policy::Posix] {
            for seed in 0..12 {
                let plan = |pattern| Plan { busy_retries: 20, ..plans(1, pattern, 21)[0] };
                let all: Vec<Plan> = patterns.into_iter().map(plan).collect();
                let world = World::new(seed, journal, &all).with_heirs(seed).with_policy(policy).with_kills(2);
                let outcome = world.run();
                assert!(outcome.commits > 0, "seed {seed} {journal:?} {policy:?}: {outcome:?}");
                assert!(outcome.handovers.successions > 20 && outcome.handovers.replays > 5, "{outcome:?}");
            }
        }
    }
}

/// Every kind of event, and of decision, side by side with heirs.
#[test]
fn a_restored_manager_meets_chaos_as_the_original_does() {
    let mut seen = Seen::default();
    for seed in 0..150 {
        Chaos::new(seed, &mut seen).run(1_000);
    }
    assert_eq!(seen.events.len(), KINDS, "{:?}", seen.events);
    for decision in [
        "Probe",
        "Ok(())",
        "Err(Conflict)",
        "Err(Upgrade)",
        "Err(Deadline)",
        "Err(Deadlock { posix: true })",
        "Err(Deadlock { posix: false })",
        "Err(Cancelled { wait: true })",
        "Err(Cancelled { wait: false })",
        "Err(Limit)",
    ] {
        assert!(seen.decisions.get(decision).is_some_and(|count| *count >= 20), "{decision}: {:?}", seen.decisions);
    }
    assert!(seen.handovers.successions > 1_000 && seen.handovers.replays > 100, "{:?}", seen.handovers);
}
