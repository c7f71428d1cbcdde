//! What keys were: at a time, or after an operation; and back to it.
//!
//! Called by [`super::Api`] and by the endpoints of keys that take `at_timestamp`. Everything is read from the history that writes
//! leave ([`state`] has the rules); what no history tells is a gap, which is said and never guessed over.

use http::StatusCode;

use super::work::Create;
use super::{Call, Failure, Session};

mod diff;
mod key;
mod preview;
mod rollback;
mod rows;
mod state;
mod table;

pub(super) use diff::table_diff;
pub(super) use key::{get_at, history, rollback, snapshot};
pub(super) use rollback::table_rollback;
pub(super) use table::{list_at, table_snapshot};

/// Operations of one key that are read.
const OPERATIONS_MAX: i64 = 50_000;

/// Keys of a table that are looked at.
const CANDIDATES_MAX: u32 = 100_000;

/// The most entries of a page.
const LIMIT_MAX: i64 = 1000;

/// Whether a write may make the database; its directory must be there.
fn create(call: &Call) -> Result<Create, Failure> {
    Ok(if call.params.creates()? { Create::InParent } else { Create::No })
}

/// A moment that a request names: neither before 1970 nor to come.
fn moment(call: &Call, name: &str) -> Result<i64, Failure> {
    let at =
        call.params.integer(name)?.ok_or_else(|| Failure::parameters(format!("the parameter {name} is missing")))?;
    checked(call, name, at)
}

fn checked(call: &Call, name: &str, at: i64) -> Result<i64, Failure> {
    if at < 1 || at > call.now {
        return Err(Failure::parameters(format!("{name} must be seconds since 1970, and not in the future")));
    }
    Ok(at)
}

/// A whole number that is not negative.
fn not_negative(call: &Call, name: &str) -> Result<Option<i64>, Failure> {
    match call.params.integer(name)? {
        Some(value) if value < 0 => Err(Failure::parameters(format!("{name} must not be negative"))),
        value => Ok(value),
    }
}

/// Refuses conditions where there is no one tag that they could be of.
fn unconditional(call: &Call) -> Result<(), Failure> {
    let has = |name: &str| call.headers.contains_key(name);
    if has("If-Match") || has("If-None-Match") {
        return Err(Failure::parameters("If-Match and If-None-Match do not go with this request"));
    }
    Ok(())
}

/// 409: a write that was not recorded hides the state.
fn gap(detail: &str) -> Failure {
    Failure::new(StatusCode::CONFLICT, "TIME_TRAVEL_CHAIN_GAP", "TIME_TRAVEL_CHAIN_GAP").with("message", detail)
}

/// Adds up what an answer holds, so that it is not built at all if it is too large.
struct Size {
    left: usize,
}

impl Size {
    fn of(session: &Session<'_>) -> Self {
        Self { left: session.max_response_bytes }
    }

    /// # Errors
    /// 413 RESPONSE_TOO_LARGE.
    fn add(&mut self, bytes: usize) -> Result<(), Failure> {
        self.left = self.left.checked_sub(bytes).ok_or_else(super::work::too_large)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
