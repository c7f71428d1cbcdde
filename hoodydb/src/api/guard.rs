//! What the SQL of a client may not do, as an authorizer that SQLite asks while it prepares each statement.
//!
//! Called by [`super::connection`] and [`super::work::Session`]. The server's own statements pass; text is never looked at here.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use rusqlite::Connection;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};

/// Whether the authorizer of one connection looks.
#[derive(Clone, Debug, Default)]
pub(super) struct Guard(Arc<AtomicBool>);

impl Guard {
    /// Gives a connection its authorizer.
    ///
    /// # Errors
    /// SQLite's.
    pub(super) fn attach(connection: &mut Connection) -> rusqlite::Result<Self> {
        let guard = Self::default();
        let looks = Arc::clone(&guard.0);
        let authorizer = move |context: AuthContext<'_>| {
            if looks.load(Relaxed) { verdict(&context) } else { Authorization::Allow }
        };
        connection.authorizer(Some(authorizer))?;
        Ok(guard)
    }

    /// Looks at every statement that `work` prepares.
    pub(super) fn enforce<T>(&self, work: impl FnOnce() -> T) -> T {
        self.0.store(true, Relaxed);
        let done = work();
        self.0.store(false, Relaxed);
        done
    }
}

/// PRAGMAs that reach out of the database, or break its guards.
const PRAGMAS: [&str; 3] = ["temp_store_directory", "data_store_directory", "writable_schema"];

fn verdict(context: &AuthContext<'_>) -> Authorization {
    match context.action {
        AuthAction::Attach { .. } | AuthAction::Detach { .. } | AuthAction::Transaction { .. } => Authorization::Deny,
        AuthAction::Function { function_name } if function_name.eq_ignore_ascii_case("load_extension") => Authorization::Deny,
        AuthAction::Pragma { pragma_name, .. } if PRAGMAS.iter().any(|name| pragma_name.eq_ignore_ascii_case(name)) => {
            Authorization::Deny
        }
        _ => Authorization::Allow,
    }
}
