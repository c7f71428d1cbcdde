//! What the user chose by keys. Called by [`crate::cli`] with each key; it knows no terminal.

use super::Row;

/// A key, as far as the screen knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// A character.
    Char(char),
    /// The line above.
    Up,
    /// The line below.
    Down,
    /// A page up.
    PageUp,
    /// A page down.
    PageDown,
    /// The first line.
    Home,
    /// The last line.
    End,
    /// Into the database.
    Enter,
    /// Back.
    Escape,
    /// The last character of the filter.
    Backspace,
}

/// What the list is sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sort {
    /// Waits and refusals, then use.
    #[default]
    Contention,
    /// Lock calls that wait now.
    Waiters,
    /// Since when the lock is held.
    Held,
    /// 99 of 100 waits.
    P99,
    /// Lock calls.
    Acquisitions,
    /// The path.
    Name,
}

const SORTS: [(Sort, &str); 6] = [
    (Sort::Contention, "contention"),
    (Sort::Waiters, "waiters"),
    (Sort::Held, "time held"),
    (Sort::P99, "wait p99"),
    (Sort::Acquisitions, "acquisitions"),
    (Sort::Name, "name"),
];

/// Longest filter.
const FILTER_MAX_CHARS: usize = 200;

/// Lines of a page.
const PAGE: usize = 10;

pub(super) const HELP: &str = "\
up, down, j, k   another database
Enter            into it: who waits for whom, histogram, events, and how to
                 inspect or end the blocker
Esc              back
s, S             the next, the previous column to sort by
r                the other way round
/                show only names that contain ..; Enter ends it, Esc forgets it
Space            stand still
?                this help
q                end

WAIT      lock calls that wait now        WAITS/S  that had to wait, per second
HELD      how long the writer, or the oldest transaction, has its lock
P50 .. MAX  how long the waits took, rounded up to a power of two
HOLD P99  how long locks are held: from the kernel's tracer
REFUSED   since the mount was made, by cause; upgrade is inferred
WAL       size of the -wal file, and the oldest reader that keeps it
";

/// The choices.
#[derive(Debug, Default)]
pub struct Ui {
    sort: Sort,
    is_reversed: bool,
    filter: String,
    is_editing: bool,
    /// Mount point and inode: they stay the same while names and places in the list change.
    selected: Option<(String, u64)>,
    is_open: bool,
    is_help: bool,
    is_paused: bool,
    scrolled: usize,
}

impl Ui {
    /// Takes a key; true ends the program. `watch` is what is shown now.
    pub fn press(&mut self, key: Key, watch: &crate::model::Watch) -> bool {
        if self.is_editing {
            self.edit(key);
            return false;
        }
        match key {
            Key::Char('q') => return true,
            Key::Char('?') => (self.is_help, self.scrolled) = (!self.is_help, 0),
            Key::Escape if self.is_help => (self.is_help, self.scrolled) = (false, 0),
            Key::Escape if self.is_open => (self.is_open, self.scrolled) = (false, 0),
            Key::Escape => self.filter.clear(),
            Key::Char(' ') => self.is_paused = !self.is_paused,
            Key::Char('s') => self.sort_by_next(1),
            Key::Char('S') => self.sort_by_next(SORTS.len() - 1),
            Key::Char('r') => self.is_reversed = !self.is_reversed,
            Key::Char('/') => (self.is_editing, self.is_open, self.is_help) = (true, false, false),
            Key::Enter if !self.is_help => self.open(&super::rows(watch, self)),
            _ if self.is_help || self.is_open => self.scroll(key),
            _ => self.walk(key, &super::rows(watch, self)),
        }
        false
    }

    fn edit(&mut self, key: Key) {
        match key {
            Key::Char(character) if self.filter.chars().count() < FILTER_MAX_CHARS => self.filter.push(character),
            Key::Backspace => _ = self.filter.pop(),
            Key::Enter => self.is_editing = false,
            Key::Escape => {
                self.filter.clear();
                self.is_editing = false;
            }
            _ => (),
        }
    }

    fn sort_by_next(&mut self, steps: usize) {
        let at = SORTS.iter().position(|(sort, _)| *sort == self.sort).unwrap_or(0);
        self.sort = SORTS[(at + steps) % SORTS.len()].0;
    }

    fn open(&mut self, rows: &[Row<'_>]) {
        if let Some(row) = rows.get(self.selected_at(rows)) {
            self.selected = Some(row.key());
            (self.is_open, self.scrolled) = (true, 0);
        }
    }

    fn scroll(&mut self, key: Key) {
        self.scrolled = match key {
            Key::Up | Key::Char('k') => self.scrolled.saturating_sub(1),
            Key::Down | Key::Char('j') => self.scrolled + 1,
            Key::PageUp => self.scrolled.saturating_sub(PAGE),
            Key::PageDown => self.scrolled + PAGE,
            Key::Home => 0,
            _ => self.scrolled,
        }
        .min(1_000);
    }

    fn walk(&mut self, key: Key, rows: &[Row<'_>]) {
        let Some(last) = rows.len().checked_sub(1) else { return };
        let at = self.selected_at(rows);
        let next = match key {
            Key::Up | Key::Char('k') => at.saturating_sub(1),
            Key::Down | Key::Char('j') => at + 1,
            Key::PageUp => at.saturating_sub(PAGE),
            Key::PageDown => at + PAGE,
            Key::Home => 0,
            Key::End => last,
            _ => at,
        };
        self.selected = Some(rows[next.min(last)].key());
    }

    /// The line of the selected database; the first one if it is gone.
    pub(super) fn selected_at(&self, rows: &[Row<'_>]) -> usize {
        let selected = self.selected.as_ref();
        selected.and_then(|key| rows.iter().position(|row| row.key() == *key)).unwrap_or(0)
    }

    /// The database that is looked into.
    pub(super) fn opened(&self) -> Option<&(String, u64)> {
        self.selected.as_ref().filter(|_| self.is_open)
    }

    pub(super) fn wants(&self, name: &str) -> bool {
        self.filter.is_empty() || name.to_lowercase().contains(&self.filter.to_lowercase())
    }

    pub(super) fn sort(&self, rows: &mut [Row<'_>]) {
        let descending =
            |rows: &mut [Row<'_>], of: fn(&Row<'_>) -> u64| rows.sort_by_key(|row| std::cmp::Reverse(of(row)));
        match self.sort {
            Sort::Contention => rows.sort_by(|one, other| other.database.heat().total_cmp(&one.database.heat())),
            Sort::Waiters => descending(rows, |row| row.database.waiters_total),
            Sort::Held => descending(rows, |row| row.database.hold_age_ms.unwrap_or(0)),
            Sort::P99 => descending(rows, |row| row.database.wait_p99_us),
            Sort::Acquisitions => descending(rows, |row| row.database.acquisitions_per_s.round() as u64),
            Sort::Name => rows.sort_by_cached_key(Row::name),
        }
        if self.is_reversed {
            rows.reverse();
        }
    }

    pub(super) fn sort_name(&self) -> String {
        let name = SORTS.iter().find(|(sort, _)| *sort == self.sort).map_or("", |(_, name)| name);
        if self.is_reversed { format!("{name}, reversed") } else { name.to_owned() }
    }

    pub(super) fn shown_filter(&self) -> Option<&str> {
        (self.is_editing || !self.filter.is_empty()).then_some(self.filter.as_str())
    }

    pub(super) fn is_help(&self) -> bool {
        self.is_help
    }

    pub(super) fn scrolled(&self) -> u16 {
        u16::try_from(self.scrolled).unwrap_or(u16::MAX)
    }

    /// Whether the screen stands still.
    pub fn is_paused(&self) -> bool {
        self.is_paused
    }

    pub(super) fn keys(&self) -> &'static str {
        match self {
            Self { is_editing: true, .. } => "type a part of the name, Enter ends, Esc forgets",
            Self { is_help: true, .. } => "? back  q end",
            Self { is_open: true, .. } => "Esc back  up/down scroll  ? help  q end",
            _ => "? help  Enter into  s sort  / filter  q end",
        }
    }
}
