//! What can be told of SQL by its text: where one statement ends, whether it only reads, whether it names what is internal.
//!
//! Called by [`super::run`], [`super::query`] and [`super::transaction`]. Each statement that is cut out here is prepared alone: if
//! SQLite sees two in one it refuses them.

use super::super::guard;
use super::lexer::{Kind, Token, tokens};

/// One statement of several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Statement<'s> {
    /// Its text, without the semicolon.
    pub(super) text: &'s str,
    /// Its first word.
    word: &'s str,
}

/// Where in a statement a token stands, as `sqlite3_complete` sees it: a trigger has semicolons of its own, until `;END;`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Begin,
    Explain,
    Plain,
    Create,
    Trigger,
    TriggerSemicolon,
    TriggerEnd,
}

impl State {
    fn next(self, token: &Token<'_>) -> Self {
        let is_semicolon = token.kind == Kind::Semicolon;
        match self {
            Self::Begin if token.is("EXPLAIN") => Self::Explain,
            Self::Begin | Self::Explain if token.is("CREATE") => Self::Create,
            Self::Explain if token.is("QUERY") || token.is("PLAN") => Self::Explain,
            Self::Create if token.is("TEMP") || token.is("TEMPORARY") => Self::Create,
            Self::Create if token.is("TRIGGER") => Self::Trigger,
            Self::Trigger | Self::TriggerSemicolon | Self::TriggerEnd if is_semicolon && self != Self::TriggerEnd => {
                Self::TriggerSemicolon
            }
            Self::TriggerEnd if is_semicolon => Self::Begin,
            Self::TriggerSemicolon if token.is("END") => Self::TriggerEnd,
            Self::Trigger | Self::TriggerSemicolon | Self::TriggerEnd => Self::Trigger,
            _ if is_semicolon => Self::Begin,
            _ => Self::Plain,
        }
    }
}

/// Cuts a text into its statements; comments and blanks are none.
pub(super) fn split(sql: &str) -> Vec<Statement<'_>> {
    let mut statements = Vec::new();
    let (mut state, mut current) = (State::Begin, None::<(&str, usize, usize)>);
    let mut close = |current: &mut Option<(&'_ str, usize, usize)>| {
        if let Some((word, start, end)) = current.take() {
            statements.push(Statement { text: &sql[start..end], word: &sql[start..start + word.len()] });
        }
    };
    for token in tokens(sql) {
        state = state.next(&token);
        if state == State::Begin {
            close(&mut current);
        } else {
            let (word, start, _) = current.unwrap_or((token.text, token.start, 0));
            current = Some((word, start, token.end()));
        }
    }
    close(&mut current);
    statements
}

/// PRAGMAs that take an argument and still only read.
const LOOKUPS: [&str; 10] = [
    "foreign_key_check",
    "foreign_key_list",
    "index_info",
    "index_list",
    "index_xinfo",
    "integrity_check",
    "quick_check",
    "table_info",
    "table_list",
    "table_xinfo",
];

/// PRAGMAs that write without an argument.
const WRITERS: [&str; 3] = ["incremental_vacuum", "optimize", "wal_checkpoint"];

impl Statement<'_> {
    /// Whether it begins with one of these keywords.
    pub(super) fn begins_with(&self, words: &[&str]) -> bool {
        words.iter().any(|word| self.word.eq_ignore_ascii_case(word))
    }

    /// Whether the rows that it changes are counted.
    pub(super) fn counts_changes(&self) -> bool {
        self.begins_with(&["INSERT", "REPLACE", "UPDATE", "DELETE", "WITH"])
    }

    /// Whether it may be kept prepared. What makes or changes a schema is rare, and its text goes into the schema.
    pub(super) fn is_kept(&self) -> bool {
        const LENGTH: usize = 16 << 10;
        self.text.len() <= LENGTH && (self.counts_changes() || self.begins_with(&["SELECT", "VALUES"]))
    }

    /// Whether it only reads, by its words.
    pub(super) fn reads(&self) -> bool {
        if self.begins_with(&["SELECT", "VALUES", "EXPLAIN"]) {
            return true;
        }
        if self.begins_with(&["WITH"]) {
            return !writes(self.text);
        }
        self.begins_with(&["PRAGMA"]) && self.is_pragma_that_reads()
    }

    fn is_pragma_that_reads(&self) -> bool {
        let mut tokens = tokens(self.text).skip(1).peekable();
        let mut name = tokens.next();
        if tokens.next_if(|token| token.text == ".").is_some() {
            name = tokens.next();
        }
        let Some(name) = name.map(|token| token.name().to_ascii_lowercase()) else { return false };
        match tokens.next().map(|token| token.text) {
            None => !WRITERS.contains(&name.as_str()),
            Some("(") => LOOKUPS.contains(&name.as_str()),
            Some(_) => false,
        }
    }
}

/// Whether a text has a keyword that writes.
pub(super) fn writes(sql: &str) -> bool {
    let mut tokens = tokens(sql).peekable();
    while let Some(token) = tokens.next() {
        let replaces = token.is("REPLACE") && tokens.peek().is_some_and(|next| next.is("INTO"));
        if replaces || ["INSERT", "UPDATE", "DELETE"].iter().any(|word| token.is(word)) {
            return true;
        }
    }
    false
}

/// Whether a semicolon stands outside of quotes and comments.
pub(super) fn has_semicolon(sql: &str) -> bool {
    tokens(sql).any(|token| token.kind == Kind::Semicolon)
}

/// Whether a text begins with one of these keywords.
pub(super) fn begins_with(sql: &str, words: &[&str]) -> bool {
    tokens(sql).next().is_some_and(|token| words.iter().any(|word| token.is(word)))
}

/// Words behind which SQLite takes text in single quotes for the name of a table or an object of the schema.
const BEFORE_NAMES: [&str; 18] = [
    "FROM",
    "JOIN",
    "INTO",
    "UPDATE",
    "TABLE",
    "INDEX",
    "TRIGGER",
    "VIEW",
    "EXISTS",
    "ON",
    "IN",
    "REFERENCES",
    "IGNORE",
    "REPLACE",
    "ROLLBACK",
    "ABORT",
    "FAIL",
    "REINDEX",
];

/// Whether a text names an internal table of the change capture, or the counters that its numbers come from.
pub(super) fn names_internal(sql: &str) -> bool {
    let mut previous = None::<Token<'_>>;
    tokens(sql).any(|token| {
        let before = previous.replace(token);
        let is_name = match token.kind {
            Kind::Word | Kind::Name => true,
            Kind::Text => {
                before.is_some_and(|before| before.text == "." || BEFORE_NAMES.iter().any(|word| before.is(word)))
            }
            Kind::Semicolon | Kind::Other => false,
        };
        is_name && guard::is_internal(&token.name())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(sql: &str) -> Vec<&str> {
        split(sql).into_iter().map(|statement| statement.text).collect()
    }

    #[test]
    fn statements_end_where_sqlite_ends_them() {
        assert_eq!(texts(";; -- a\n SELECT ';' ; /* b; */ "), ["SELECT ';'"]);
        assert_eq!(texts("SELECT 1;SELECT 2"), ["SELECT 1", "SELECT 2"]);
        let trigger = "CREATE TEMP TRIGGER x AFTER INSERT ON t BEGIN SELECT CASE WHEN 1 THEN 2 END; DELETE FROM t; END";
        assert_eq!(texts(&format!("{trigger}; SELECT 1")), [trigger, "SELECT 1"]);
        assert_eq!(texts(&format!("EXPLAIN QUERY PLAN {trigger}; SELECT 1")).len(), 2);
        assert_eq!(texts("CREATE TABLE trigger_log(a); SELECT 1").len(), 2);
        assert_eq!(texts(" /* only a comment */ "), [""; 0]);
    }

    #[test]
    fn reading_is_told_from_writing_by_the_words() {
        let reads = |sql| split(sql).iter().all(Statement::reads);
        for sql in [
            "SELECT 1",
            "values (1)",
            "WITH a AS (SELECT replace('x','y','z')) SELECT 'DELETE' FROM a",
            "PRAGMA user_version",
            "PRAGMA main.table_info('t')",
            "EXPLAIN DELETE FROM t",
            "",
        ] {
            assert!(reads(sql), "{sql}");
        }
        for sql in [
            "WITH a AS (SELECT 1) DELETE FROM t",
            "WITH a AS (SELECT 1) REPLACE INTO t SELECT 1",
            "PRAGMA user_version = 5",
            "PRAGMA user_version(5)",
            "PRAGMA optimize",
            "PRAGMA main.incremental_vacuum",
            "SELECT 1; INSERT INTO t VALUES (1)",
            "CREATE TABLE t(a)",
            "SAVEPOINT a",
        ] {
            assert!(!reads(sql), "{sql}");
        }
    }

    #[test]
    fn internal_names_are_found_however_they_are_quoted() {
        for sql in [
            "SELECT * FROM \"hoody:kv_meta\"",
            "SELECT * FROM [HOODY:KV_changes]",
            "DELETE FROM main.'hoody:kv_meta'",
            "UPDATE OR IGNORE 'sqlite_sequence' SET seq = 0",
            "SELECT * FROM Sqlite_Sequence",
            "DROP TRIGGER IF EXISTS 'hoody:kv_insert:kv_store'",
        ] {
            assert!(names_internal(sql), "{sql}");
        }
        for sql in [
            "SELECT name FROM sqlite_schema WHERE name <> 'sqlite_sequence'",
            "INSERT INTO log VALUES ('hoody:kv_meta')",
            "SELECT 1 -- hoody:kv_meta",
        ] {
            assert!(!names_internal(sql), "{sql}");
        }
    }
}
