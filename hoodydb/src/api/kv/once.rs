//! Idempotency-Key: a write that is sent again is answered again, and done once.
//!
//! Called around every write that takes the header, within its transaction: the reply is stored with what it is the reply to.

use http::{HeaderValue, Response, StatusCode, header};
use rusqlite::{OptionalExtension, params};

use super::super::{Answer, Body, Call, Failure, Outcome, Session};
use super::{Table, schema};

/// For how long a reply is kept, in seconds.
pub(super) const KEPT_S: i64 = 24 * 3600;

/// The most bytes of one.
const REPLY_MAX: usize = 1 << 20;

/// The most bytes of the header.
const NAME_MAX: usize = 255;

/// A request that is done once.
#[derive(Clone, Debug)]
pub(in crate::api) struct Once {
    name: String,
    digest: [u8; 16],
}

impl Once {
    /// The request's header, and what the request asks for.
    ///
    /// # Errors
    /// 400 if it is malformed.
    pub(in crate::api) fn of(call: &Call) -> Result<Option<Self>, Failure> {
        let Some(name) = call.header("idempotency-key")? else { return Ok(None) };
        if name.is_empty() || name.len() > NAME_MAX || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Failure::parameters(format!("Idempotency-Key must be 1 to {NAME_MAX} visible characters")));
        }
        let mut digest = Digest::default();
        digest.add(call.method.as_str().as_bytes());
        digest.add(call.path.as_bytes());
        // Whoever asks again may be ready to wait longer.
        for (name, value) in call.params.iter().filter(|(name, _)| *name != "timeout") {
            digest.add(name.as_bytes());
            digest.add(value.as_bytes());
        }
        for name in ["if-match", "if-none-match", "content-type"] {
            for value in call.headers.get_all(name) {
                digest.add(name.as_bytes());
                digest.add(value.as_bytes());
            }
        }
        digest.add(&call.body);
        Ok(Some(Self { name: name.to_owned(), digest: digest.0.to_be_bytes() }))
    }

    /// Does a request, or answers it as it was answered before.
    ///
    /// # Errors
    /// 422 if the key was used for another request, 413 if the reply is too large to keep; those of the job.
    pub(in crate::api) fn run(
        once: Option<&Self>,
        session: &Session<'_>,
        table: &Table,
        job: impl FnOnce() -> Outcome,
    ) -> Outcome {
        let Some(once) = once else { return job() };
        schema::ensure(session.connection, table, session.now)?;
        if let Some(answer) = once.replay(session)? {
            return Ok(answer);
        }
        let answer = job()?;
        once.keep(session, &answer)?;
        Ok(answer)
    }

    fn replay(&self, session: &Session<'_>) -> Result<Option<Answer>, Failure> {
        let query = "SELECT digest, etag, body FROM \"hoody:kv_replies\" WHERE name = ?1 AND ts > ?2";
        let kept: Option<(Vec<u8>, Option<String>, Vec<u8>)> = session
            .connection
            .prepare_cached(query)?
            .query_row(params![self.name, session.now - KEPT_S], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .optional()?;
        let Some((digest, etag, body)) = kept else { return Ok(None) };
        if digest != self.digest {
            let text = "the Idempotency-Key was used for another request";
            return Err(Failure::new(StatusCode::UNPROCESSABLE_ENTITY, "IDEMPOTENCY_KEY_MISMATCH", text));
        }
        let mut response = Response::new(Body::Whole(body.into()));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert("idempotent-replayed", HeaderValue::from_static("true"));
        if let Some(etag) = etag.and_then(|etag| HeaderValue::try_from(etag).ok()) {
            headers.insert(header::ETAG, etag);
        }
        Ok(Some(response.into()))
    }

    fn keep(&self, session: &Session<'_>, answer: &Answer) -> Result<(), Failure> {
        let Body::Whole(body) = answer.response.body() else { return Ok(()) };
        if body.len() > REPLY_MAX {
            let text = "the reply is too large to be kept for an Idempotency-Key; nothing was done";
            return Err(Failure::new(StatusCode::PAYLOAD_TOO_LARGE, "IDEMPOTENT_RESPONSE_TOO_LARGE", text));
        }
        let etag = answer.response.headers().get(header::ETAG).and_then(|etag| etag.to_str().ok());
        let keep = "INSERT INTO \"hoody:kv_replies\"(name, digest, ts, etag, body) VALUES (?1, ?2, ?3, ?4, ?5) \
                    ON CONFLICT(name) DO UPDATE SET digest = ?2, ts = ?3, etag = ?4, body = ?5";
        let row = params![self.name, self.digest, session.now, etag, &body[..]];
        session.connection.prepare_cached(keep)?.execute(row)?;
        Ok(())
    }
}

/// FNV-1a of 128 bits over parts and their lengths: whoever makes two requests collide misleads nobody else.
struct Digest(u128);

impl Default for Digest {
    fn default() -> Self {
        Self(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d)
    }
}

impl Digest {
    fn add(&mut self, part: &[u8]) {
        for byte in part.len().to_be_bytes().iter().chain(part) {
            self.0 = (self.0 ^ u128::from(*byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b);
        }
    }
}
