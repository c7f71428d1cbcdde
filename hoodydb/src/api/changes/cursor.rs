//! Positions in the change log of a table, and whether a client may still go on from one.
//!
//! Called by [`super`] and by the list of keys. A cursor names the life of the table that it is of: its epoch, which a replaced file
//! or a reset gives anew, and its generation, which a table that was made again gives anew. A cursor that was taken before the table
//! was there names none, and fits the first.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::StatusCode;
use rusqlite::Connection;

use super::super::Failure;
use super::super::kv::Table;
use super::super::kv::schema::{self, State};

/// What cursors begin with, before they are encoded.
const VERSION: &str = "1";

/// A position in a table's change log: after an event, or before all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::api) struct Cursor {
    pub(super) life: Option<Life>,
    pub(super) seq: i64,
}

/// Which life of a table it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Life {
    pub(super) epoch: String,
    pub(super) generation: i64,
}

/// Why a cursor is of no use any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gone {
    /// Events after it are pruned.
    Expired,
    /// Another file lies at the path, or the log was reset.
    Replaced,
    /// The table was made again.
    Table,
    /// It is after the newest event.
    Future,
}

impl Cursor {
    /// As clients see it.
    pub(in crate::api) fn encode(&self) -> String {
        let (epoch, generation) = self.life.as_ref().map_or(("", 0), |life| (life.epoch.as_str(), life.generation));
        URL_SAFE_NO_PAD.encode(format!("{VERSION}.{}.{generation}.{epoch}", self.seq))
    }

    /// From what clients send.
    ///
    /// # Errors
    /// 400 INVALID_PARAMETERS if it is no cursor.
    pub(super) fn parse(text: &str) -> Result<Self, Failure> {
        let parsed =
            URL_SAFE_NO_PAD.decode(text).ok().and_then(|bytes| String::from_utf8(bytes).ok()).and_then(|plain| {
                let mut parts = plain.splitn(4, '.');
                let is_known = parts.next() == Some(VERSION);
                let seq = parts.next()?.parse().ok().filter(|seq| *seq >= 0)?;
                let generation = parts.next()?.parse().ok()?;
                let epoch = parts.next()?.to_owned();
                let life = (!epoch.is_empty()).then_some(Life { epoch, generation });
                is_known.then_some(Self { life, seq })
            });
        parsed.ok_or_else(|| Failure::parameters("the cursor is malformed"))
    }
}

impl Gone {
    /// As 410 answers and `reset` events call it.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::Expired => "cursor_expired",
            Self::Replaced => "database_replaced",
            Self::Table => "table_changed",
            Self::Future => "future_cursor",
        }
    }
}

impl From<Gone> for Failure {
    fn from(gone: Gone) -> Self {
        let code = if gone == Gone::Expired { "CHANGE_CURSOR_EXPIRED" } else { "CHANGE_CURSOR_INVALID" };
        let text = "the cursor is of no use any more: list the keys again and follow from a new one";
        Self::new(StatusCode::GONE, code, text).with("reason", gone.reason())
    }
}

/// Where the change log of a table is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::api) struct Position {
    pub(super) life: Option<Life>,
    /// The newest event of all tables.
    pub(super) newest: i64,
    /// The oldest event from which on none is missing.
    pub(super) oldest: i64,
}

impl Position {
    /// Reads it; a table whose changes are not logged has no life.
    ///
    /// # Errors
    /// 409 if the table is none of keys; SQLite's.
    pub(in crate::api) fn read(connection: &Connection, table: &Table) -> Result<Self, Failure> {
        let newest = schema::newest(connection)?;
        Ok(match schema::look(connection, table)? {
            State::Logged(meta) => {
                let life = Life { epoch: meta.epoch, generation: meta.generation };
                Self { life: Some(life), newest, oldest: meta.oldest }
            }
            State::Absent | State::Plain => Self { life: None, newest, oldest: 1 },
        })
    }

    /// The cursor behind the newest event.
    pub(in crate::api) fn end(&self) -> Cursor {
        Cursor { life: self.life.clone(), seq: self.newest }
    }

    /// The cursor before the oldest event that is there.
    pub(super) fn start(&self) -> Cursor {
        Cursor { life: self.life.clone(), seq: (self.oldest - 1).clamp(0, self.newest.max(0)) }
    }

    /// Whether one may go on from a cursor.
    pub(super) fn check(&self, cursor: &Cursor) -> Result<(), Gone> {
        fits(cursor.life.as_ref(), self.life.as_ref())?;
        if cursor.seq > self.newest {
            return Err(Gone::Future);
        }
        if cursor.seq + 1 < self.oldest { Err(Gone::Expired) } else { Ok(()) }
    }
}

/// Whether a cursor of one life goes on in another.
pub(super) fn fits(cursor: Option<&Life>, table: Option<&Life>) -> Result<(), Gone> {
    match (cursor, table) {
        (None, _) => Ok(()),
        (Some(_), None) => Err(Gone::Table),
        (Some(cursor), Some(table)) if cursor.epoch != table.epoch => Err(Gone::Replaced),
        (Some(cursor), Some(table)) if cursor.generation != table.generation => Err(Gone::Table),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn life(epoch: &str, generation: i64) -> Option<Life> {
        Some(Life { epoch: epoch.to_owned(), generation })
    }

    #[test]
    fn a_cursor_comes_back_as_it_was() {
        for cursor in [Cursor { life: life("a.b", 3), seq: 9 }, Cursor { life: None, seq: 0 }] {
            let text = cursor.encode();
            assert_eq!(Cursor::parse(&text), Ok(cursor));
            assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'), "{text}");
        }
        for bad in ["", "x", "C9", &URL_SAFE_NO_PAD.encode("2.9.1.a"), &URL_SAFE_NO_PAD.encode("1.-9.1.a"), "é"] {
            assert_eq!(Cursor::parse(bad).unwrap_err().code, "INVALID_PARAMETERS", "{bad}");
        }
    }

    #[test]
    fn reasons_are_told_apart() {
        let position = Position { life: life("a", 1), newest: 9, oldest: 5 };
        let check = |life, seq| position.check(&Cursor { life, seq }).map_err(Gone::reason);
        assert_eq!(check(life("a", 1), 4), Ok(()));
        assert_eq!(check(life("a", 1), 3), Err("cursor_expired"));
        assert_eq!(check(life("a", 1), 10), Err("future_cursor"));
        assert_eq!(check(life("a", 2), 5), Err("table_changed"));
        assert_eq!(check(life("b", 1), 5), Err("database_replaced"));
        assert_eq!(check(None, 9), Ok(()));
        assert_eq!(Position { life: None, ..position.clone() }.check(&position.end()), Err(Gone::Table));
    }
}
