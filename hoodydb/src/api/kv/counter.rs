//! Counters: `incr` and `decr` of a whole value, or of an integer within a document.
//!
//! Called by the routes of a key. A counter is decimal text of 64 bits, whatever its content type.

use serde::Serialize;

use super::super::{Call, Failure, Outcome, Roots, Session, Work};
use super::Table;
use super::change::{Found, Operation, To};
use super::conditions::Demands;
use super::content;
use super::document::Document;
use super::json_path::Path;
use super::put::document;
use super::request::{Request, records, tagged};

/// What a counter answers.
#[derive(Debug, Serialize)]
pub(in crate::api) struct Counted<'a> {
    success: bool,
    key: &'a str,
    value: i64,
    etag: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<&'a str>,
}

struct Wish {
    key: String,
    op: &'static str,
    /// With its sign.
    delta: i64,
    path: Option<Path>,
    demands: Demands,
    is_recorded: bool,
}

/// `POST /kv/{key}/incr` and `/decr`.
pub(super) fn count(call: &Call, roots: &Roots, key: String, is_up: bool) -> Result<Work, Failure> {
    let op = if is_up { "INCR" } else { "DECR" };
    let request = Request::of_key(call, roots, op, &key)?;
    let delta = call.params.first("delta").map_or(Ok(1), str::parse::<i64>).ok().filter(|delta| *delta >= 1);
    let delta = delta.ok_or_else(|| Failure::parameters("delta must be a positive integer"))?;
    let wish = Wish {
        key,
        op,
        delta: if is_up { delta } else { -delta },
        path: Path::of(&call.params)?,
        demands: Demands::of(call)?,
        is_recorded: records(call)?,
    };
    request.write(call, move |session, table| wish.count(session, table))
}

impl Wish {
    fn count(&self, session: &Session<'_>, table: &Table) -> Outcome {
        let found = Found::load(session, table, &self.key)?;
        self.demands.check(found.entry.is_some(), found.etag())?;
        let (count, value) = match &self.path {
            None => self.whole(&found)?,
            Some(path) => self.within(&found, path)?,
        };
        let old = found.entry.as_ref();
        let new_type = if self.path.is_some() { content::JSON } else { "text/plain" };
        let content_type = old.map_or(new_type, |old| old.content_type.as_str());
        let to = To::Value { value: &value, content_type, expire_at: old.and_then(|old| old.expire_at) };
        let path = self.path.as_ref().map(Path::text);
        let operation = Operation {
            op: self.op,
            path: path.unwrap_or_default(),
            delta: Some(self.delta),
            is_recorded: self.is_recorded,
        };
        let etag = found.change(session, table, &self.key, to, operation)?;
        tagged(&Counted { success: true, key: &self.key, value: count, etag: &etag, path }, Some(&etag))
    }

    fn add(&self, count: i64) -> Result<i64, Failure> {
        count.checked_add(self.delta).ok_or_else(|| Failure::parameters("the counter would not fit into 64 bits"))
    }

    /// Counts where the whole value is the counter.
    fn whole(&self, found: &Found) -> Result<(i64, Vec<u8>), Failure> {
        let count = match &found.entry {
            None => 0,
            Some(entry) => {
                let text = std::str::from_utf8(&entry.value).ok();
                text.and_then(|text| text.trim().parse().ok()).ok_or_else(not_an_integer)?
            }
        };
        let count = self.add(count)?;
        Ok((count, count.to_string().into_bytes()))
    }

    /// Counts within a document.
    fn within(&self, found: &Found, path: &Path) -> Result<(i64, Vec<u8>), Failure> {
        let mut count = 0;
        let changed = Document::changed(document(found, path)?, path.steps(), &mut |old| {
            let old = match old {
                None => 0,
                Some(Document::Number(number)) => number.integer().ok_or_else(not_an_integer)?,
                Some(_) => return Err(not_an_integer()),
            };
            count = self.add(old)?;
            Ok(Document::integer(count))
        })?;
        Ok((count, changed.to_bytes()))
    }
}

fn not_an_integer() -> Failure {
    Failure::parameters("the value is not an integer of 64 bits")
}
