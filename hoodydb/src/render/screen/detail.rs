//! One database of the screen: who waits for whom, how long, what happened, and what to do about it.

use ratatui::style::Style;
use ratatui::text::Line;

use super::hints;
use crate::model::{DatabaseTop, LINES_MAX, WaitLine, Watch, printable, wait_tree};
use crate::render::top::{pinned, refusals, wait, who};
use crate::render::units::{bytes, count, micros, millis, per_second};

/// Widest bar of the histogram.
const BAR_WIDTH: u64 = 30;

/// All lines; `title` is the style of headings.
pub(super) fn lines(watch: &Watch, key: &(String, u64), title: Style) -> Vec<Line<'static>> {
    let (mountpoint, inode) = key;
    let mount = watch.top().mounts.iter().find(|mount| mount.mountpoint == *mountpoint);
    let found = mount.and_then(|mount| Some((mount, mount.databases.iter().find(|one| one.inode == *inode)?)));
    let Some((mount, database)) = found else {
        return vec![Line::raw("this database is not in use any more; Esc goes back")];
    };
    let mut lines = vec![Line::styled(printable(&database.path), title)];
    lines.extend(facts(database).into_iter().map(Line::raw));
    let tree = wait_tree(&mount.databases, *inode);
    lines.push(Line::raw(""));
    lines.push(Line::styled("Who waits for whom", title));
    lines.extend(tree_lines(&tree, database));
    if let Some(root) = tree.first() {
        lines.push(Line::raw(""));
        lines.push(Line::styled(format!("To inspect or end pid {}", root.process.pid), title));
        lines.extend(hints::of(root, mount, database).into_iter().map(Line::raw));
    }
    lines.push(Line::raw(""));
    lines.push(Line::styled("Waits between the last two looks", title));
    lines.extend(histogram(&database.wait_us_log2));
    lines.push(Line::raw(""));
    lines.push(Line::styled("Lately", title));
    let events = watch.events(mountpoint, *inode);
    if events.is_empty() {
        lines.push(Line::raw("  nothing was seen to happen"));
    }
    lines.extend(events.iter().map(|(age_s, what)| Line::raw(format!("  {age_s:>4} s ago  {}", printable(what)))));
    lines
}

fn facts(database: &DatabaseTop) -> Vec<String> {
    let mut facts = vec![
        format!("  journal {}, policy {}", database.journal_mode, database.policy),
        format!(
            "  {} locks held, {} wait; {} acquisitions/s, {} waits/s",
            count(database.holders_total),
            count(database.waiters_total),
            per_second(database.acquisitions_per_s),
            per_second(database.waits_per_s)
        ),
        format!(
            "  wait p50 {}, p95 {}, p99 {}, max {}",
            wait(database.wait_p50_us),
            wait(database.wait_p95_us),
            wait(database.wait_p99_us),
            wait(database.wait_max_us)
        ),
    ];
    let refused = refusals(database);
    facts.extend((!refused.is_empty()).then(|| format!("  refused since the mount was made: {refused}")));
    facts.extend(database.hold_p99_us.map(|us| format!("  hold p99 {}", micros(us))));
    facts.extend(database.wal_bytes.map(|size| {
        let reader = database.wal_pinned_by.as_ref().map(|by| format!(", kept by {}", pinned(by))).unwrap_or_default();
        format!("  WAL {}{reader}", bytes(size))
    }));
    facts
}

fn tree_lines(tree: &[WaitLine], database: &DatabaseTop) -> Vec<Line<'static>> {
    if tree.is_empty() {
        return vec![Line::raw("  nobody holds or wants a lock now")];
    }
    let mut lines: Vec<Line> = tree.iter().map(|line| Line::raw(tree_line(line))).collect();
    let hidden = database.waiters_total.saturating_sub(database.waiters.len() as u64);
    if hidden > 0 || tree.len() >= LINES_MAX {
        lines.push(Line::raw(format!("  and {} more", count(hidden.max(1)))));
    }
    lines
}

fn tree_line(line: &WaitLine) -> String {
    // Deeper than this nobody reads, and a narrow terminal shows nothing else.
    let indent = "  ".repeat(line.depth.min(10) + 1);
    let mut what = Vec::new();
    if !line.holds.is_empty() {
        what.push(format!("holds {}", printable(line.holds.join(", "))));
    }
    if let Some(wanted) = &line.wants {
        what.push(format!("waits for {}", printable(wanted)));
    }
    what.push(millis(line.age_ms));
    what.extend(line.halted.iter().map(printable));
    what.extend(line.is_cycle.then(|| "in a circle".to_owned()));
    format!("{indent}pid {} {}: {}", line.process.pid, who(&line.process, line.container.as_ref()), what.join(", "))
}

fn histogram(buckets: &[u64]) -> Vec<Line<'static>> {
    let first = buckets.iter().position(|count| *count > 0);
    let last = buckets.iter().rposition(|count| *count > 0);
    let (Some(first), Some(last)) = (first, last) else { return vec![Line::raw("  nobody waited")] };
    let highest = buckets.iter().copied().max().unwrap_or(1).max(1);
    let line = |bucket: usize| {
        let amount = buckets[bucket];
        let width = usize::try_from((amount * BAR_WIDTH).div_ceil(highest)).unwrap_or(0);
        let upper = micros(1 << (bucket + 1));
        Line::raw(format!("  up to {upper:>7} {:>7} {}", count(amount), "\u{2588}".repeat(width)))
    };
    (first..=last).map(line).collect()
}
