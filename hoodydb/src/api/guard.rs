//! What the SQL of a client may not do, as an authorizer that SQLite asks while it prepares each statement.
//!
//! Called by [`super::connection`], [`super::work::Session`] and [`super::sql`]. The server's own statements pass; text is never looked
//! at here. A statement that SQLite prepares again because the schema has changed is asked about again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use rusqlite::Connection;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};

mod pragma;

/// What the authorizer of one connection looks at, and has seen.
#[derive(Clone, Debug, Default)]
pub(super) struct Guard(Arc<State>);

#[derive(Debug, Default)]
struct State {
    /// Whether the statement is a client's.
    looks: AtomicBool,
    /// Whether the database has change capture, whose tables are the server's own.
    protects: AtomicBool,
    /// Whether it refused something because it is internal.
    refused_internal: AtomicBool,
    /// Whether something is left on the connection that no other client must find.
    is_spent: AtomicBool,
}

impl Guard {
    /// Gives a connection its authorizer.
    ///
    /// # Errors
    /// SQLite's.
    pub(super) fn attach(connection: &mut Connection) -> rusqlite::Result<Self> {
        let guard = Self::default();
        let state = Arc::clone(&guard.0);
        let authorizer = move |context: AuthContext<'_>| {
            if state.looks.load(Relaxed) { state.verdict(&context) } else { Authorization::Allow }
        };
        connection.authorizer(Some(authorizer))?;
        Ok(guard)
    }

    /// Looks at every statement that `work` prepares.
    pub(super) fn enforce<T>(&self, work: impl FnOnce() -> T) -> T {
        self.0.looks.store(true, Relaxed);
        let done = work();
        self.0.looks.store(false, Relaxed);
        done
    }

    /// Says whether the database has change capture, and forgets what was refused.
    pub(super) fn protect(&self, has_capture: bool) {
        self.0.protects.store(has_capture, Relaxed);
        self.0.refused_internal.store(false, Relaxed);
    }

    /// Whether something was refused because it is internal.
    pub(super) fn has_refused_internal(&self) -> bool {
        self.0.refused_internal.load(Relaxed)
    }

    /// Whether the connection must not be used for anybody else: a temporary table would stand before one of the file, a temporary
    /// trigger would run for others, a setting would change what their SQL means.
    pub(super) fn is_spent(&self) -> bool {
        self.0.is_spent.load(Relaxed)
    }
}

/// With what the names of internal tables, triggers and indexes begin.
const INTERNAL: &str = "hoody:kv_";

/// The savepoint around an item that may fail. No client can name one like it.
pub(super) const SAVEPOINT: &str = "hoody:item";

fn begins_with(name: &str, with: &str) -> bool {
    name.get(..with.len()).is_some_and(|start| start.eq_ignore_ascii_case(with))
}

/// Whether a name is of the change capture: its own, or where SQLite keeps the last number that it gave out.
pub(super) fn is_internal(name: &str) -> bool {
    begins_with(name, INTERNAL) || name.eq_ignore_ascii_case("sqlite_sequence")
}

impl State {
    fn verdict(&self, context: &AuthContext<'_>) -> Authorization {
        match context.action {
            // The server owns the transaction, and the connection has one database.
            AuthAction::Attach { .. } | AuthAction::Detach { .. } | AuthAction::Transaction { .. } => {
                Authorization::Deny
            }
            // ATTACH of a name that is not a literal comes without it, as something unknown.
            AuthAction::Unknown { .. } => Authorization::Deny,
            AuthAction::Savepoint { savepoint_name, .. } => allow(!begins_with(savepoint_name, "hoody:")),
            AuthAction::Function { function_name } => allow(!is_forbidden_function(function_name)),
            AuthAction::Pragma { pragma_name, pragma_value } => {
                match pragma::verdict(pragma_name, pragma_value.is_some()) {
                    pragma::Verdict::Allow => Authorization::Allow,
                    pragma::Verdict::Spend => self.spend(),
                    pragma::Verdict::Deny => Authorization::Deny,
                }
            }
            AuthAction::CreateTempIndex { .. }
            | AuthAction::CreateTempTable { .. }
            | AuthAction::CreateTempTrigger { .. }
            | AuthAction::CreateTempView { .. } => self.spend(),
            _ => {
                // `CREATE TABLE temp.t` does not come as what makes a temporary table.
                if context.database_name == Some("temp") {
                    self.spend();
                }
                self.internal(context)
            }
        }
    }

    fn spend(&self) -> Authorization {
        self.is_spent.store(true, Relaxed);
        Authorization::Allow
    }

    /// The change capture is changed by its own triggers only, and whatever else names it is refused.
    fn internal(&self, context: &AuthContext<'_>) -> Authorization {
        let is_own = |name: &str| begins_with(name, INTERNAL);
        let by_own_trigger = context.accessor.is_some_and(is_own);
        let (is_refused, needs_capture) = match context.action {
            // What looks like one of its own parts is never made by anybody else.
            AuthAction::CreateIndex { index_name: name, table_name: on }
            | AuthAction::CreateTrigger { trigger_name: name, table_name: on } => (is_own(name) || is_own(on), false),
            AuthAction::CreateTable { table_name: name }
            | AuthAction::CreateView { view_name: name }
            | AuthAction::CreateVtable { table_name: name, .. } => (is_own(name), false),
            AuthAction::AlterTable { table_name: name, .. }
            | AuthAction::DropTable { table_name: name }
            | AuthAction::DropView { view_name: name } => (is_own(name), true),
            AuthAction::Read { table_name: name, .. } => (is_own(name) && !by_own_trigger, true),
            // SQLite itself writes sqlite_sequence when a table is dropped or renamed, but never from a trigger.
            AuthAction::Insert { table_name: name }
            | AuthAction::Update { table_name: name, .. }
            | AuthAction::Delete { table_name: name } => {
                let by_trigger = context.accessor.is_some() && is_internal(name);
                ((is_own(name) || by_trigger) && !by_own_trigger, true)
            }
            _ => (false, false),
        };
        if is_refused && (self.protects.load(Relaxed) || !needs_capture) {
            self.refused_internal.store(true, Relaxed);
            return Authorization::Deny;
        }
        Authorization::Allow
    }
}

fn allow(may: bool) -> Authorization {
    if may { Authorization::Allow } else { Authorization::Deny }
}

/// `load_extension` runs code of any library, `fts3_tokenizer` takes and gives addresses in memory, `sqlite_log` writes into the
/// server's log.
fn is_forbidden_function(name: &str) -> bool {
    ["load_extension", "fts3_tokenizer", "sqlite_log"].iter().any(|other| name.eq_ignore_ascii_case(other))
}

#[cfg(test)]
mod tests;
