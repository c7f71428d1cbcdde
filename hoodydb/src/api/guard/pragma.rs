//! Which PRAGMAs a client may use.
//!
//! Called by [`super`]. A connection serves one client after the other, so what a PRAGMA sets on it must not outlast the transaction;
//! and some reach further than the database. Without an argument a PRAGMA reads, and is allowed unless it is among [`NEVER`]; with one
//! it is allowed only if it is named here, so that what a later SQLite brings is refused until somebody has read what it does.

/// What becomes of a PRAGMA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is allowed.
    Allow,
    /// It is allowed, and the connection is closed behind the transaction.
    Spend,
    /// It is refused.
    Deny,
}

/// Refused whatever the argument.
///
/// - `temp_store_directory`, `data_store_directory`: where the whole process puts its files.
/// - `writable_schema`: makes the schema a table that can be broken, and shows what is hidden.
/// - `wal_checkpoint`: cannot run in a transaction, and keeps a lock that writers wait for; maintenance does it.
/// - `lock_proxy_file`: makes a file of any name.
/// - `activate_extensions`, `key`, `rekey`, `hexkey`, `hexrekey`, `textkey`, `textrekey`: encryption, which other builds of SQLite have.
const NEVER: [&str; 12] = [
    "activate_extensions",
    "data_store_directory",
    "hexkey",
    "hexrekey",
    "key",
    "lock_proxy_file",
    "rekey",
    "temp_store_directory",
    "textkey",
    "textrekey",
    "wal_checkpoint",
    "writable_schema",
];

/// Allowed with an argument: the argument names what is looked up, or what is set belongs to the file or ends with the transaction.
///
/// - `foreign_keys` does nothing in a transaction, as SQLite documents, and stands at the head of many scripts.
/// - `defer_foreign_keys` is reset by COMMIT and ROLLBACK.
/// - `auto_vacuum`, `application_id`, `user_version` are kept in the file.
const WITH_ARGUMENT: [&str; 18] = [
    "application_id",
    "auto_vacuum",
    "defer_foreign_keys",
    "foreign_key_check",
    "foreign_key_list",
    "foreign_keys",
    "incremental_vacuum",
    "index_info",
    "index_list",
    "index_xinfo",
    "integrity_check",
    "optimize",
    "quick_check",
    "stats",
    "table_info",
    "table_list",
    "table_xinfo",
    "user_version",
];

/// Allowed with an argument, and left on the connection: what they change is how SQL is understood, and nobody else must find it so.
const SPENDS: [&str; 9] = [
    "analysis_limit",
    "automatic_index",
    "case_sensitive_like",
    "full_column_names",
    "ignore_check_constraints",
    "legacy_alter_table",
    "recursive_triggers",
    "reverse_unordered_selects",
    "short_column_names",
];

// Refused with an argument because they are in none of these lists:
//
// - journal_mode, locking_mode, synchronous, wal_autocheckpoint, journal_size_limit, fullfsync, checkpoint_fullfsync, query_only,
//   read_uncommitted, busy_timeout: how the file is locked and made durable. MEMORY would lose the file at a crash and EXCLUSIVE
//   would keep every other program out for as long as the connection lives; query_only and busy_timeout undo what the server relies on.
// - schema_version: lets other connections read with a schema that is none.
// - soft_heap_limit, hard_heap_limit: memory of the whole process. cache_size, cache_spill, mmap_size, temp_store, threads,
//   default_cache_size: memory and threads of the server.
// - trusted_schema, cell_size_check: guards against a file that is made to do harm.
// - max_page_count: makes the database full for everybody. page_size, encoding, secure_delete: do nothing here but look as if they did.

/// What becomes of a PRAGMA, which SQLite gives without its schema.
pub(super) fn verdict(name: &str, has_argument: bool) -> Verdict {
    let is_among = |names: &[&str]| names.iter().any(|other| name.eq_ignore_ascii_case(other));
    if is_among(&NEVER) {
        Verdict::Deny
    } else if !has_argument || is_among(&WITH_ARGUMENT) {
        Verdict::Allow
    } else if is_among(&SPENDS) {
        Verdict::Spend
    } else {
        Verdict::Deny
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_may_only_be_read() {
        assert_eq!(verdict("from_the_future", false), Verdict::Allow);
        assert_eq!(verdict("from_the_future", true), Verdict::Deny);
        assert_eq!(verdict("Writable_Schema", false), Verdict::Deny);
        assert_eq!(verdict("JOURNAL_MODE", false), Verdict::Allow);
        assert_eq!(verdict("JOURNAL_MODE", true), Verdict::Deny);
        assert_eq!(verdict("table_info", true), Verdict::Allow);
        assert_eq!(verdict("recursive_triggers", true), Verdict::Spend);
    }
}
