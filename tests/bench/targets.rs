//! The targets that the project set itself, and whether a run reached them. Called by the report; a target is a number here
//! and nowhere else.

use crate::peers::Peer::{Disk, Mount, MountAtOnce, Postgres};
use crate::results::{HttpRound, Results, Sample};
use crate::statistics::Spread;
use crate::text;
use crate::view::{self, Figure, find, ratio};

/// A target and what came of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// The case.
    pub case: String,
    /// What was to be reached.
    pub wanted: String,
    /// What was measured; none if the run left it out.
    pub measured: Option<String>,
    /// Whether it was reached.
    pub is_reached: bool,
}

/// All targets of the project, in their order.
pub fn all(results: &Results) -> Vec<Target> {
    let judge = Judge(results);
    [judge.saturated(), judge.thinking(), judge.readers_and_writers(), judge.alone(), judge.growth(), judge.http()]
        .concat()
}

struct Judge<'a>(&'a Results);

/// On which side of the limit a figure is to be.
#[derive(Clone, Copy)]
enum Limit {
    AtLeast(f64),
    AtMost(f64),
    Below(f64),
}

impl Limit {
    fn holds(self, value: f64) -> bool {
        match self {
            Self::AtLeast(limit) => value >= limit,
            Self::AtMost(limit) => value <= limit,
            Self::Below(limit) => value < limit,
        }
    }

    fn text(self, format: impl Fn(f64) -> String) -> String {
        match self {
            Self::AtLeast(limit) => format!(">= {}", format(limit)),
            Self::AtMost(limit) => format!("<= {}", format(limit)),
            Self::Below(limit) => format!("< {}", format(limit)),
        }
    }
}

impl Judge<'_> {
    fn saturated(&self) -> Vec<Target> {
        let name = "8 writers saturated";
        let alone = find(self.0, "writers-wal-normal", 1, Mount);
        let crowd = find(self.0, "writers-wal-normal", 8, Mount);
        let by_alone = alone.zip(crowd).and_then(|(alone, crowd)| {
            let rates = |rounds: &[Sample]| rounds.iter().map(view::per_second).collect::<Vec<_>>();
            Spread::of_ratios(rates(&crowd.rounds), rates(&alone.rounds))
        });
        let normal = format!("{name}, WAL NORMAL");
        let mut targets = vec![
            times(&normal, "throughput, by one writer alone on the mount", Limit::AtLeast(0.9), by_alone),
            self.longest(&normal, "writers-wal-normal", Limit::AtMost(100_000.0)),
            self.no_errors(&normal, "writers-wal-normal"),
            self.by_disk(
                &normal,
                "throughput (stretch)",
                "writers-wal-normal",
                8,
                view::per_second,
                Limit::AtLeast(0.35),
            ),
        ];
        for (mode, case) in [("WAL FULL", "writers-wal-full"), ("DELETE FULL", "writers-delete-full")] {
            let name = format!("{name}, {mode}");
            targets.push(self.by_disk(&name, "throughput", case, 8, view::per_second, Limit::AtLeast(1.0)));
            targets.push(self.by_disk(&name, "longest wait", case, 8, view::longest, Limit::AtMost(0.1)));
            targets.push(self.no_errors(&name, case));
        }
        targets
    }

    fn thinking(&self) -> Vec<Target> {
        let name = "8 writers, 10 ms think time";
        let mut targets = Vec::new();
        for (mode, case) in [("WAL FULL", "think-wal-full"), ("DELETE FULL", "think-delete-full")] {
            let name = format!("{name}, {mode}");
            targets.push(self.by_disk(&name, "p99", case, 8, view::p99, Limit::AtMost(0.5)));
            targets.push(self.by_disk(&name, "longest wait", case, 8, view::longest, Limit::AtMost(0.25)));
        }
        let rounds = find(self.0, "think-wal-normal", 8, Mount);
        let p99 = rounds.and_then(|found| view::spread(&found.rounds, view::p99));
        targets.push(duration(&format!("{name}, WAL NORMAL"), "p99", Limit::Below(10_000.0), p99));
        targets
    }

    fn readers_and_writers(&self) -> Vec<Target> {
        let reads: Figure = |sample| sample.reads.per_second;
        let writes: Figure = |sample| sample.writes.per_second;
        let mut targets = Vec::new();
        for (mode, case) in [("WAL", "readers-writers-wal"), ("DELETE", "readers-writers-delete")] {
            let name = format!("4 readers + 2 writers, {mode}");
            if mode == "WAL" {
                targets.push(self.by_disk(&name, "reads", case, 6, reads, Limit::AtLeast(0.3)));
            }
            targets.push(self.by_disk(&name, "writes", case, 6, writes, Limit::AtLeast(1.0)));
            let slowest = find(self.0, case, 6, Mount).and_then(|found| {
                let classes = found.rounds.iter().flat_map(|sample| [&sample.reads, &sample.writes]);
                classes.filter_map(|class| class.slowest_by_mean()).reduce(f64::min)
            });
            let slowest = slowest.and_then(|slowest| Spread::of([slowest]));
            let what = "slowest process of any round, by its class's mean";
            targets.push(times(&name, what, Limit::AtLeast(0.5), slowest));
        }
        targets
    }

    fn alone(&self) -> Vec<Target> {
        let mut targets = Vec::new();
        for (name, case, most) in
            [("point SELECT, WAL", "select-wal", 3.0), ("point SELECT, DELETE", "select-delete", 4.0)]
        {
            targets.push(self.by_disk(name, "latency", case, 1, view::p50, Limit::AtMost(most)));
            let by_postgres = ratio(self.0, case, 1, [Postgres, Mount], view::p50);
            targets.push(times(name, "PostgreSQL's latency, by the mount's", Limit::AtLeast(2.0), by_postgres));
        }
        let most = [
            ("INSERT, WAL NORMAL", "insert-wal-normal", 3.5),
            ("INSERT, WAL FULL", "insert-wal-full", 1.1),
            ("INSERT, DELETE FULL", "insert-delete-full", 1.1),
            ("bulk insert, WAL NORMAL", "bulk-wal-normal", 1.1),
            ("bulk insert, DELETE FULL", "bulk-delete-full", 1.1),
            ("scan, warm", "scan-warm", 1.1),
            ("scan, cold", "scan-cold", 1.1),
            ("10 + 10 statements per transaction", "ten-and-ten", 1.7),
            ("shell: open, SELECT, close, WAL", "shell-wal", 1.5),
            ("shell: open, SELECT, close, DELETE", "shell-delete", 1.5),
        ];
        let one = |(name, case, most)| self.by_disk(name, "latency", case, 1, view::p50, Limit::AtMost(most));
        targets.extend(most.map(one));
        targets
    }

    fn growth(&self) -> Vec<Target> {
        let name = "3,000 databases open";
        let of = |at| view::point(&self.0.databases, at, Mount);
        let by_one = |figure: fn(&crate::results::GrowthPoint) -> &[Sample]| {
            let p50 = |at| of(at).map(|point| figure(point).iter().map(view::p50).collect::<Vec<_>>());
            Spread::of_ratios(p50(3_000)?, p50(1)?)
        };
        let kib = view::kib_per_database(&self.0.databases, 3_000).map(|(resident, _)| resident);
        let p99 = |waiters| self.0.waiters.iter().find(|point| point.waiters == waiters).map(|point| point.p99_us);
        let more = p99(2_000).zip(p99(10)).and_then(|(many, few)| Spread::of([many - few]));
        let kib_limit = Limit::Below(4.0);
        vec![
            times(name, "latency of SELECT, by 1 database", Limit::AtMost(1.1), by_one(|point| &point.select)),
            times(name, "latency of INSERT, by 1 database", Limit::AtMost(1.1), by_one(|point| &point.insert)),
            Target {
                case: name.to_owned(),
                wanted: format!("daemon memory (RSS) each {}", kib_limit.text(text::kib)),
                measured: kib.map(text::kib),
                is_reached: kib.is_some_and(|kib| kib_limit.holds(kib)),
            },
            duration("2,000 waiters on one database", "hand-over p99, more than with 10:", Limit::Below(200.0), more),
        ]
    }

    fn http(&self) -> Vec<Target> {
        let rounds = &self.0.http;
        let spread = |figure: fn(&HttpRound) -> f64| Spread::of(rounds.iter().map(figure));
        let by_native = Spread::of_ratios(
            rounds.iter().map(|round| round.set.per_second),
            rounds.iter().map(|round| round.native_per_second),
        );
        let errors: u64 = rounds.iter().map(|round| round.get.errors + round.set.errors).sum();
        let get = Limit::AtLeast(10_000.0);
        vec![
            judge("HTTP, 64 connections", "KV get per second", get, spread(|round| round.get.per_second), text::count),
            times("HTTP, 64 connections", "KV set, by one native connection, WAL FULL", Limit::AtLeast(1.0), by_native),
            duration("HTTP, 64 connections", "KV get p99", Limit::Below(20_000.0), spread(|round| round.get.p99_us)),
            duration("HTTP, 64 connections", "KV set p99", Limit::Below(20_000.0), spread(|round| round.set.p99_us)),
            Target {
                case: "HTTP, 64 connections".to_owned(),
                wanted: "no errors".to_owned(),
                measured: (!rounds.is_empty()).then(|| errors.to_string()),
                is_reached: !rounds.is_empty() && errors == 0,
            },
        ]
    }

    /// A figure on the mount by the same on the disk with a busy timeout.
    fn by_disk(&self, name: &str, what: &str, case: &str, processes: u32, figure: Figure, limit: Limit) -> Target {
        times(name, what, limit, ratio(self.0, case, processes, [Mount, Disk], figure))
    }

    /// The longest wait of all rounds, with and without a busy timeout.
    fn longest(&self, name: &str, case: &str, limit: Limit) -> Target {
        let rounds = [Mount, MountAtOnce].map(|peer| find(self.0, case, 8, peer)).into_iter().flatten();
        let longest = rounds.flat_map(|found| &found.rounds).map(view::longest).reduce(f64::max);
        duration(name, "longest wait of all rounds", limit, longest.and_then(|longest| Spread::of([longest])))
    }

    fn no_errors(&self, name: &str, case: &str) -> Target {
        let of = |peer| find(self.0, case, 8, peer).map(|found| found.rounds.iter().map(view::failures).sum::<u64>());
        let measured = of(Mount).zip(of(MountAtOnce));
        Target {
            case: name.to_owned(),
            wanted: "no errors, also at busy timeout 0".to_owned(),
            measured: measured.map(|(with, without)| format!("{with} with 5 s, {without} with 0")),
            is_reached: measured == Some((0, 0)),
        }
    }
}

fn times(case: &str, what: &str, limit: Limit, measured: Option<Spread>) -> Target {
    judge(case, what, limit, measured, text::times)
}

fn duration(case: &str, what: &str, limit: Limit, measured: Option<Spread>) -> Target {
    judge(case, what, limit, measured, text::us)
}

/// The median decides; the spread is shown.
fn judge(case: &str, what: &str, limit: Limit, measured: Option<Spread>, format: fn(f64) -> String) -> Target {
    Target {
        case: case.to_owned(),
        wanted: format!("{what} {}", limit.text(format)),
        measured: measured.map(|spread| text::spread(spread, format)),
        is_reached: measured.is_some_and(|spread| limit.holds(spread.median)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_measured_is_not_reached() {
        let targets = all(&Results::default());
        assert!(targets.iter().all(|target| target.measured.is_none() && !target.is_reached));
    }

    #[test]
    fn limits_have_their_sides() {
        assert!(Limit::AtLeast(0.9).holds(0.9) && !Limit::AtLeast(0.9).holds(0.89));
        assert!(Limit::AtMost(1.1).holds(1.1) && !Limit::AtMost(1.1).holds(1.11));
        assert!(!Limit::Below(200.0).holds(200.0));
    }
}
