//! SQL of clients: transactions of many items, and single queries in a URL.
//!
//! Called by [`super::Api`]. The server owns the transaction: a client's SQL can neither end it nor reach another file.
//!
//! ```text
//! POST /db -> item: what is malformed -> run: one after the other -> execute: statements, values -> rows: JSON
//! GET /query -> query                                                       ^ lexer, statements: where each one ends
//! ```

use super::work::{Create, Mode};
use super::{Call, Failure, Roots, Task, Work};

mod execute;
mod item;
mod lexer;
mod query;
mod record;
mod result;
mod rows;
mod run;
mod statements;
#[cfg(test)]
mod tests;
mod values;

pub(super) use record::undo;

use item::{Item, Plan};

/// `POST /db`.
///
/// # Errors
/// 400, 413, with `reqIdx`.
pub(super) fn transaction(call: &Call, roots: &Roots) -> Result<Work, Failure> {
    let of_request = |failure: Failure| failure.at(-1);
    let path = call.params.required("db").and_then(|db| roots.lexical(db)).map_err(of_request)?;
    let creates = call.params.creates().map_err(of_request)?;
    let plan = Plan::parse(&call.body)?;
    // Reading waits for nobody. What looks like reading and is not runs again, writing; so does what has to make the file first.
    let mode = if plan.items.iter().all(Item::reads) { Mode::ReadAlone } else { Mode::WriteAlone };
    let create = if creates { Create::WithParents } else { Create::No };
    let job = Box::new(move |session: &super::Session<'_>| run::run(session, &plan));
    Ok(Work::On(Task { path, mode, create, job, dress: |failure| failure.at(-1) }))
}

/// `GET /query`.
///
/// # Errors
/// 400.
pub(super) fn query(call: &Call, roots: &Roots) -> Result<Work, Failure> {
    let path = roots.lexical(call.params.required("db")?)?;
    let sql = query::decode(call.params.required("sql")?);
    query::check(&sql)?;
    let job = Box::new(move |session: &super::Session<'_>| query::run(session, &sql));
    Ok(Work::On(Task { path, mode: Mode::ReadAlone, create: Create::No, job, dress: |failure| failure }))
}

impl Item {
    /// Whether all of its statements only read, by their words.
    fn reads(&self) -> bool {
        statements::split(&self.sql).iter().all(statements::Statement::reads)
    }
}
