//! A seeded simulation of SQLite clients in virtual time: the real lock manager, clients that follow SQLite's lock protocol,
//! and a world that checks every grant by its own rules.
//!
//! Each property names the promise of docs/SEMANTICS.md that it proves. A failure prints the seed.

mod bytes;
mod chaos;
mod client;
mod heirs;
mod random;
mod survival;
mod world;

use client::{Pattern, Plan};
use world::{Journal, Outcome, World};

const MS: u64 = 1_000_000;

fn run(seed: u64, journal: Journal, plans: &[Plan]) -> Outcome {
    World::new(seed, journal, plans).run()
}

fn plans(count: usize, pattern: Pattern, transactions: u32) -> Vec<Plan> {
    vec![Plan { pattern, transactions, busy_retries: 0, think_ns: 300_000 }; count]
}

/// Every pattern whose transactions begin with a read start that queues: no error, although nobody retries.
#[test]
fn writers_of_separate_processes_never_see_busy() {
    for journal in [Journal::Rollback, Journal::Wal] {
        for pattern in [Pattern::Insert, Pattern::ReadModifyWrite, Pattern::Reconnect] {
            for seed in 0..150 {
                let outcome = run(seed, journal, &plans(8, pattern, 40));
                assert_eq!(outcome.busy, 0, "seed {seed} {journal:?} {pattern:?}: {outcome:?}");
                assert_eq!(outcome.commits, 8 * 40, "seed {seed} {journal:?} {pattern:?}");
            }
        }
    }
}

/// Readers beside writers: neither sees an error, and readers that are known as such do not wait for a turn.
#[test]
fn readers_beside_writers_never_see_busy() {
    for journal in [Journal::Rollback, Journal::Wal] {
        for seed in 0..150 {
            let mut mixed = plans(4, Pattern::Insert, 40);
            mixed.extend(plans(4, Pattern::Select { read_ns: 2 * MS }, 40));
            let outcome = run(seed, journal, &mixed);
            assert_eq!(outcome.busy, 0, "seed {seed} {journal:?}: {outcome:?}");
        }
    }
}

/// WAL: a writer that works for long delays a reader by the bounded hold, not by its length; a reader never delays a
/// writer beyond the longest intent.
#[test]
fn long_transactions_in_wal_mode_hold_others_only_for_a_bounded_time() {
    for seed in 0..100 {
        let long_writer =
            Plan { pattern: Pattern::LongWrite { work_ns: 10_000 * MS }, ..plans(1, Pattern::Insert, 1)[0] };
        let mut mixed = vec![long_writer];
        mixed.extend(plans(3, Pattern::Select { read_ns: MS }, 20));
        let outcome = run(seed, Journal::Wal, &mixed);
        assert_eq!(outcome.busy, 0, "seed {seed}: {outcome:?}");
        // The bounded hold, and before it a turn of each other reader while it is not known as one.
        assert!(outcome.longest_read_wait_ns <= 100 * MS + 2 * 12 * MS, "seed {seed}: {outcome:?}");
        let mut mixed = plans(2, Pattern::Insert, 20);
        mixed.extend(plans(2, Pattern::Select { read_ns: 5_000 * MS }, 2));
        let outcome = run(seed, Journal::Wal, &mixed);
        assert_eq!(outcome.busy, 0, "seed {seed}: {outcome:?}");
        // Two unknown readers may each have the turn for as long as intent may last, then the other writer's quantum.
        assert!(outcome.longest_write_wait_ns <= 2 * 105 * MS + 20 * MS, "seed {seed}: {outcome:?}");
    }
}

/// A thread that cannot go on after its read start keeps its turn for a second: nobody sees an error, although it writes in
/// the end. Beyond that it has the turn no longer; in WAL mode others then go on.
#[test]
fn starved_transactions_keep_their_turn_for_a_second() {
    let mut longest_ns = 0;
    for journal in [Journal::Rollback, Journal::Wal] {
        for seed in 0..60 {
            let mut mixed = plans(4, Pattern::Insert, 20);
            mixed.extend(plans(2, Pattern::StarvedBefore { pause_ns: 900 * MS }, 3));
            let outcome = run(seed, journal, &mixed);
            assert_eq!(outcome.busy, 0, "seed {seed} {journal:?}: {outcome:?}");
            assert_eq!(outcome.commits, 4 * 20 + 2 * 3, "seed {seed} {journal:?}: {outcome:?}");
            longest_ns = longest_ns.max(outcome.longest_write_wait_ns);
        }
    }
    // Some waited for them, or nothing was shown.
    assert!(longest_ns > 850 * MS, "{longest_ns}");
    for seed in 0..60 {
        let mut mixed = plans(4, Pattern::Insert, 20);
        mixed.extend(plans(1, Pattern::StarvedBefore { pause_ns: 5_000 * MS }, 1));
        let outcome = run(seed, Journal::Wal, &mixed);
        assert!(outcome.longest_write_wait_ns <= 1_005 * MS + 4 * 12 * MS, "seed {seed}: {outcome:?}");
        assert!(outcome.busy <= 1, "seed {seed}: only the starved one: {outcome:?}");
    }
}

/// WAL: a writer whose thread cannot go on delays a reader by a second at most, and by less where it goes on sooner.
#[test]
fn a_starved_writer_holds_readers_for_a_second_at_most() {
    for (pause_ms, longest_ms) in [(600, 600), (10_000, 1_150)] {
        let mut longest_ns = 0;
        for seed in 0..60 {
            let mut mixed = plans(1, Pattern::StarvedWrite { pause_ns: pause_ms * MS }, 1);
            mixed.extend(plans(3, Pattern::Select { read_ns: MS }, 20));
            let outcome = run(seed, Journal::Wal, &mixed);
            assert_eq!(outcome.busy, 0, "seed {seed}: {outcome:?}");
            assert!(outcome.longest_read_wait_ns <= (longest_ms + 25) * MS, "seed {seed}: {outcome:?}");
            longest_ns = longest_ns.max(outcome.longest_read_wait_ns);
        }
        // Longer than behind one that works.
        assert!(longest_ns > 200 * MS, "{longest_ns}");
    }
}

/// Nobody starves: with n saturated writers the longest wait is bounded by n quanta and the transaction that ends each.
#[test]
fn the_longest_wait_is_bounded_by_the_number_of_writers() {
    for journal in [Journal::Rollback, Journal::Wal] {
        for seed in 0..60 {
            let count = 8;
            let saturated: Vec<Plan> =
                plans(count, Pattern::Insert, 100).into_iter().map(|plan| Plan { think_ns: 20_000, ..plan }).collect();
            let outcome = run(seed, journal, &saturated);
            assert_eq!(outcome.busy, 0, "seed {seed}: {outcome:?}");
            let per_turn = 8 * MS + world::LONGEST_TRANSACTION_NS + 2 * MS;
            assert!(outcome.longest_write_wait_ns <= count as u64 * per_turn, "seed {seed} {journal:?}: {outcome:?}");
        }
    }
}

/// Processes that write now and then between their reads are not taken for readers: no error, although nobody retries.
#[test]
fn who_writes_after_some_reads_never_sees_busy() {
    for seed in 0..50 {
        let mut mixed = plans(2, Pattern::Insert, 40);
        mixed.extend(plans(3, Pattern::SelectThenInsert { reads: 9 }, 80));
        mixed.extend(plans(3, Pattern::SelectThenInsert { reads: 60 }, 122));
        for journal in [Journal::Rollback, Journal::Wal] {
            let outcome = run(seed, journal, &mixed);
            assert_eq!(outcome.busy, 0, "seed {seed} {journal:?}: {outcome:?}");
            assert_eq!(outcome.commits, 2 * 40 + 3 * 8 + 3 * 2, "seed {seed} {journal:?}: {outcome:?}");
        }
    }
}

/// Writers that were taken for readers, and transactions that dawdle between reading and writing, may be refused; a
/// refused writer that retries as SQLite's busy handler does gets through, and nothing is lost.
#[test]
fn refused_writers_get_through_by_retrying() {
    for seed in 0..100 {
        let mut mixed = plans(4, Pattern::Insert, 40);
        let late = plans(3, Pattern::SelectThenInsert { reads: 70 }, 142);
        mixed.extend(late.into_iter().map(|plan| Plan { busy_retries: 60, ..plan }));
        for journal in [Journal::Rollback, Journal::Wal] {
            let outcome = run(seed, journal, &mixed);
            assert_eq!(outcome.busy, 0, "seed {seed} {journal:?}: {outcome:?}");
            assert_eq!(outcome.commits, 4 * 40 + 3 * 2, "seed {seed} {journal:?}: {outcome:?}");
        }
    }
}

/// Clients that die at any point: their locks go, nobody waits for them, the others lose nothing.
#[test]
fn killed_clients_leave_no_lock_behind() {
    for journal in [Journal::Rollback, Journal::Wal] {
        for seed in 0..200 {
            let outcome = World::new(seed, journal, &plans(8, Pattern::Insert, 30)).with_kills(5).run();
            assert_eq!(outcome.busy, 0, "seed {seed} {journal:?}: {outcome:?}");
            assert_eq!(outcome.killed, 5, "seed {seed}");
            assert_eq!(outcome.records_left, 0, "seed {seed} {journal:?}: {outcome:?}");
        }
    }
}

/// Policy serial: no pattern of separate processes sees an error, not even readers that write in the end.
#[test]
fn serial_policy_never_refuses() {
    for journal in [Journal::Rollback, Journal::Wal] {
        for seed in 0..100 {
            let mut mixed = plans(4, Pattern::Insert, 30);
            mixed.extend(plans(3, Pattern::SelectThenInsert { reads: 70 }, 142));
            mixed.extend(plans(2, Pattern::Dawdle { pause_ns: 80 * MS }, 5));
            let outcome = World::new(seed, journal, &mixed).with_policy(hoodydb::manager::Policy::Serial).run();
            assert_eq!(outcome.busy, 0, "seed {seed} {journal:?}: {outcome:?}");
        }
    }
}

/// The patterns are hard: without the queue most of them fail.
#[test]
fn the_same_clients_fail_without_the_queue() {
    for journal in [Journal::Rollback, Journal::Wal] {
        let outcome =
            World::new(1, journal, &plans(8, Pattern::Insert, 40)).with_policy(hoodydb::manager::Policy::Posix).run();
        assert!(outcome.busy > 40, "{journal:?}: {outcome:?}");
    }
}

/// The `-shm` of a database was deleted and made anew, and the database forgotten while somebody has the old one open: its
/// locks are answered all the same.
#[test]
fn a_wal_index_that_outlives_its_database_is_answered() {
    use hoodydb::lock::{ByteRange, FileId, Handle, LockKind, LockOwner, Pid, Tid};
    use hoodydb::manager::{Config, Event, Group, LockCall, LockManager, Ticket, Timestamp};

    let [main, old, new] = [10, 11, 12].map(|ino| FileId { dev: 1, ino });
    let mut manager = LockManager::new(Config::default());
    let mut out = Vec::new();
    let mut tell = |event| manager.handle(Timestamp(0), event, &mut out);
    let opened = |file: FileId| Event::Opened { file, handle: Handle(file.ino), read_only: false };
    let call = |file: FileId, kind| LockCall {
        file,
        owner: LockOwner(1),
        handle: Handle(file.ino),
        pid: Pid(1),
        tid: Tid(1),
        range: ByteRange::new(128, 129).expect("one byte"),
        kind,
        wait: false,
    };
    let set = |ticket, file, kind| Event::Set(Ticket(ticket), call(file, kind), Group(0));
    [main, old, new].into_iter().for_each(|file| tell(opened(file)));
    for (ticket, index) in [(1, old), (3, new)] {
        tell(Event::WalIndex { index, database: main });
        tell(set(ticket, index, Some(LockKind::Read)));
        tell(set(ticket + 1, index, None));
    }
    tell(Event::Release { file: new, handle: Handle(new.ino) });
    tell(Event::Release { file: main, handle: Handle(main.ino) });
    tell(set(5, old, Some(LockKind::Read)));
    tell(set(6, old, None));
    assert_eq!(out.len(), 6, "{out:?}");
}
