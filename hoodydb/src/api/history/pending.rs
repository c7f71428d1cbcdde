//! Entries of a query history that are not written yet.
//!
//! Filled by the requests of one database, emptied by whoever writes the history. It never waits: of too many the oldest go.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use super::super::path::Identity;
use super::Record;

/// Entries that are kept, here and in the table.
pub(super) const KEPT: usize = 1000;

/// Bytes of a text that are kept.
const TEXT_MAX: usize = 64 << 10;

/// Bytes of all texts that are kept here.
const TEXTS_MAX: usize = 8 << 20;

/// How long entries of a busy database wait.
const PATIENCE: Duration = Duration::from_secs(5);

/// An entry that waits.
#[derive(Debug)]
pub(super) struct Waiting {
    /// Counts up for as long as the database is open.
    pub(super) number: u64,
    /// Milliseconds since 1970.
    pub(super) at_ms: i64,
    pub(super) record: Record,
    pub(super) client: String,
    /// Whether it comes from a request that may write, and did.
    pub(super) wrote: bool,
}

/// Records that are still to be written.
#[derive(Debug, Default)]
pub(in crate::api) struct Pending(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    entries: VecDeque<Arc<Waiting>>,
    bytes: usize,
    numbers: u64,
    /// The file that they are of.
    file: Option<Identity>,
    /// When the oldest came.
    since: Option<Instant>,
    is_off: bool,
    is_flushing: bool,
}

impl State {
    fn drop_oldest(&mut self) {
        if let Some(oldest) = self.entries.pop_front() {
            self.bytes -= oldest.record.sql.len();
        }
    }

    fn clear(&mut self) {
        self.entries.clear();
        (self.bytes, self.since) = (0, None);
    }
}

impl Pending {
    /// A queue; one that is off keeps nothing.
    pub(in crate::api) fn new(is_on: bool) -> Self {
        Self(Mutex::new(State { is_off: !is_on, ..State::default() }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues records; never waits.
    pub(in crate::api) fn add(&self, records: Vec<Record>, client: &str, wrote: bool) {
        if records.is_empty() {
            return;
        }
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let at_ms = i64::try_from(since_1970.as_millis()).unwrap_or(i64::MAX);
        let mut state = self.state();
        if state.is_off {
            return;
        }
        state.since.get_or_insert_with(Instant::now);
        for mut record in records {
            cut(&mut record.sql);
            state.numbers += 1;
            state.bytes += record.sql.len();
            let wrote = wrote && record.error.is_none();
            let waiting = Waiting { number: state.numbers, at_ms, record, client: client.to_owned(), wrote };
            state.entries.push_back(Arc::new(waiting));
            while state.entries.len() > KEPT || state.bytes > TEXTS_MAX {
                state.drop_oldest();
            }
        }
    }

    /// All that wait, oldest first.
    pub(super) fn batch(&self) -> Vec<Arc<Waiting>> {
        self.state().entries.iter().cloned().collect()
    }

    /// Forgets what is committed: everything up to a number.
    pub(in crate::api) fn forget(&self, upto: u64) {
        let mut state = self.state();
        while state.entries.front().is_some_and(|entry| entry.number <= upto) {
            state.drop_oldest();
        }
        if upto > 0 {
            state.since = (!state.entries.is_empty()).then(Instant::now);
        }
    }

    /// Waits for the next entry before it is time to write again.
    pub(super) fn rest(&self) {
        self.state().since = None;
    }

    /// Forgets everything.
    pub(in crate::api) fn clear(&self) {
        self.state().clear();
    }

    /// Tells which file the database is now: entries of another are forgotten.
    pub(in crate::api) fn belongs_to(&self, file: Identity) {
        let mut state = self.state();
        if state.file.replace(file).is_some_and(|before| before != file) {
            state.clear();
        }
    }

    /// Whether it is time to write: something waits, nobody writes it, and the database is idle or has been busy for long.
    /// If so, whether a write is among it; the caller ends the flush with [`Pending::flushed`].
    pub(in crate::api) fn begin_flush(&self, is_idle: bool) -> Option<bool> {
        let mut state = self.state();
        let is_due = state.since.is_some_and(|since| is_idle || since.elapsed() >= PATIENCE);
        if state.entries.is_empty() || state.is_flushing || !is_due {
            return None;
        }
        state.is_flushing = true;
        Some(state.entries.iter().any(|entry| entry.wrote))
    }

    /// Ends a flush.
    pub(in crate::api) fn flushed(&self) {
        self.state().is_flushing = false;
    }
}

/// Cuts a text between two characters.
fn cut(text: &mut String) {
    text.truncate(text.floor_char_boundary(TEXT_MAX));
}

#[cfg(test)]
mod tests {
    use super::super::Source;
    use super::*;

    fn record(sql: &str) -> Record {
        let time = Duration::from_micros(250);
        Record { sql: sql.to_owned(), is_statement: false, row_count: 1, time, error: None, source: Source::Sql }
    }

    #[test]
    fn only_the_newest_stay() {
        let pending = Pending::new(true);
        for number in 0..KEPT + 5 {
            pending.add(vec![record(&number.to_string())], "local", false);
        }
        let batch = pending.batch();
        assert_eq!((batch.len(), batch[0].record.sql.as_str(), batch[KEPT - 1].number), (KEPT, "5", KEPT as u64 + 5));
        let long = "é".repeat(TEXT_MAX);
        for _ in 0..TEXTS_MAX / TEXT_MAX + 5 {
            pending.add(vec![record(&long)], "local", false);
        }
        assert_eq!(pending.batch().len(), TEXTS_MAX / TEXT_MAX);
        assert_eq!(pending.batch()[0].record.sql.len(), TEXT_MAX);
    }

    #[test]
    fn a_flush_forgets_what_it_saw_and_no_more() {
        let pending = Pending::new(true);
        assert_eq!(pending.begin_flush(true), None);
        pending.add(vec![record("a")], "local", false);
        assert_eq!(
            (pending.begin_flush(false), pending.begin_flush(true), pending.begin_flush(true)),
            (None, Some(false), None)
        );
        pending.add(vec![record("b")], "local", true);
        pending.forget(1);
        pending.flushed();
        assert_eq!(pending.begin_flush(true), Some(true));
        assert_eq!(pending.batch()[0].record.sql, "b");
    }

    #[test]
    fn a_failed_write_makes_no_table_and_a_queue_that_is_off_keeps_nothing() {
        let pending = Pending::new(true);
        pending.add(vec![Record { error: Some("no".to_owned()), ..record("a") }], "local", true);
        assert!(!pending.batch()[0].wrote);
        let off = Pending::new(false);
        off.add(vec![record("a")], "local", true);
        assert!(off.batch().is_empty());
    }
}
