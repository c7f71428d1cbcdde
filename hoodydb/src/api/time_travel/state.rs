//! The state of a key at a moment, from its history and from what it is now.
//!
//! Called by the other files of [`super`]. It decides only: what it is given was read in one snapshot.

use super::super::Failure;
use super::rows::{Current, Operation, Rows, Stored};

/// What a key was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Not there.
    Absent,
    /// There, and over its time.
    Expired,
    /// There.
    There(Known),
    /// A write that was not recorded hides it.
    Gap,
}

/// A value and from where it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) stored: Stored,
    pub(super) origin: Origin,
}

/// From where a state is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// An operation, by its number, and when it was.
    Operation(i64, i64),
    /// Around operations: from what is there now, or from what the first of them found.
    Around,
    /// The key has no history at all.
    Current,
}

impl Origin {
    /// `op_number` and `op_timestamp` as answers have them.
    pub(super) fn numbers(self) -> (Option<i64>, Option<i64>) {
        match self {
            Self::Operation(number, ts) => (Some(number), Some(ts)),
            Self::Around => (Some(0), Some(0)),
            Self::Current => (None, None),
        }
    }
}

/// What decides about a state.
#[derive(Clone, Debug, Default)]
pub(super) struct Evidence {
    /// The newest operation up to the moment.
    pub(super) last: Option<Operation>,
    /// The first operation after that one, or of all.
    pub(super) next: Option<Operation>,
    /// The key now.
    pub(super) current: Option<Current>,
}

impl Evidence {
    /// Reads it.
    ///
    /// # Errors
    /// 413 if the key has too many operations; SQLite's.
    pub(super) fn read(rows: &Rows<'_>, key: &str, at: i64) -> Result<Self, Failure> {
        rows.newest(key)?;
        let last = rows.last_until(key, at)?;
        let next = rows.first_after(key, last.as_ref().map_or(0, |last| last.number))?;
        Ok(Self { last, next, current: rows.current(key)? })
    }

    /// The state at the moment that it was read for.
    pub(super) fn state(&self, at: i64) -> State {
        let now = self.current.as_ref();
        match (&self.last, &self.next) {
            (Some(last), next) if last.is_unrecorded() => {
                let is_over = last.unrecorded_until.unwrap_or(last.ts) <= at;
                let known = now.filter(|_| next.is_none() && is_over);
                known.map_or(State::Gap, |now| there(&now.stored, Origin::Around, at))
            }
            (Some(last), _) => {
                let origin = Origin::Operation(last.number, last.ts);
                last.new.as_ref().map_or(State::Absent, |new| there(new, origin, at))
            }
            (None, Some(next)) if next.is_unrecorded() => State::Gap,
            (None, Some(next)) => match (&next.old, now) {
                (None, _) => State::Absent,
                (Some(old), Some(now)) if now.created_at <= at => there(old, Origin::Around, at),
                (Some(_), Some(_)) => State::Absent,
                // Since when it had been there before it was removed is not known.
                (Some(_), None) => State::Gap,
            },
            (None, None) => match now {
                None => State::Absent,
                Some(now) if now.updated_at <= at => there(&now.stored, Origin::Current, at),
                Some(now) if now.created_at > at => State::Absent,
                Some(_) => State::Gap,
            },
        }
    }
}

fn there(stored: &Stored, origin: Origin, at: i64) -> State {
    if stored.expire_at.is_some_and(|expire_at| expire_at <= at) {
        return State::Expired;
    }
    State::There(Known { stored: stored.clone(), origin })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(text: &str) -> Stored {
        Stored { value: text.into(), content_type: "text/plain".to_owned(), expire_at: None }
    }

    fn operation(number: i64, ts: i64, old: Option<&str>, new: Option<&str>) -> Option<Operation> {
        let (op, path) = ("SET".to_owned(), String::new());
        let (old, new) = (old.map(stored), new.map(stored));
        Some(Operation { number, op, path, delta: None, ts, unrecorded_until: None, old, new })
    }

    fn unrecorded(number: i64, ts: i64, until: i64) -> Option<Operation> {
        let op = "UNRECORDED".to_owned();
        operation(number, ts, None, None).map(|row| Operation { op, unrecorded_until: Some(until), ..row })
    }

    fn current(text: &str, created_at: i64, updated_at: i64) -> Option<Current> {
        Some(Current { stored: stored(text), created_at, updated_at })
    }

    fn state(last: Option<Operation>, next: Option<Operation>, current: Option<Current>) -> State {
        Evidence { last, next, current }.state(100)
    }

    fn known(text: &str, origin: Origin) -> State {
        State::There(Known { stored: stored(text), origin })
    }

    #[test]
    fn a_recorded_operation_tells() {
        assert_eq!(
            state(operation(2, 90, None, Some("a")), None, current("z", 1, 1)),
            known("a", Origin::Operation(2, 90))
        );
        assert_eq!(state(operation(2, 90, Some("a"), None), None, None), State::Absent);
        let expires = |at| {
            operation(1, 90, None, Some("a")).map(|mut row| {
                row.new.as_mut().unwrap().expire_at = Some(at);
                row
            })
        };
        assert_eq!(state(expires(100), None, None), State::Expired);
        assert!(matches!(state(expires(101), None, None), State::There(_)));
    }

    #[test]
    fn an_unrecorded_write_is_known_only_if_nothing_came_after_it() {
        assert_eq!(state(unrecorded(2, 90, 100), None, current("z", 1, 1)), known("z", Origin::Around));
        assert_eq!(state(unrecorded(2, 90, 101), None, current("z", 1, 1)), State::Gap);
        assert_eq!(state(unrecorded(2, 90, 95), None, None), State::Gap);
        assert_eq!(state(unrecorded(2, 90, 95), operation(3, 110, None, Some("b")), current("z", 1, 1)), State::Gap);
    }

    #[test]
    fn what_the_first_operation_found_was_there_before() {
        assert_eq!(state(None, operation(1, 110, None, Some("b")), current("b", 1, 1)), State::Absent);
        assert_eq!(
            state(None, operation(1, 110, Some("a"), Some("b")), current("b", 100, 110)),
            known("a", Origin::Around)
        );
        assert_eq!(state(None, operation(1, 110, Some("a"), Some("b")), current("b", 101, 110)), State::Absent);
        assert_eq!(state(None, operation(1, 110, Some("a"), None), None), State::Gap);
        assert_eq!(state(None, unrecorded(1, 110, 110), current("b", 1, 1)), State::Gap);
    }

    #[test]
    fn without_history_the_times_of_the_row_tell() {
        assert_eq!(state(None, None, None), State::Absent);
        assert_eq!(state(None, None, current("a", 1, 100)), known("a", Origin::Current));
        assert_eq!(state(None, None, current("a", 101, 101)), State::Absent);
        assert_eq!(state(None, None, current("a", 99, 101)), State::Gap);
    }
}
