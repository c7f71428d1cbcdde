//! Reading one key: its value as it is, a part of it, its metadata, or only whether it exists.
//!
//! Called by the routes of a key. A value goes out byte for byte with the type it came with; only `path` and `entry` look into it.

use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use serde::Serialize;
use serde_json::value::RawValue;

use super::super::{Answer, Body, Call, Failure, Outcome, Roots, Work, time_travel};
use super::change::not_found;
use super::conditions::Tags;
use super::document::Document;
use super::json_path::Path;
use super::request::{Request, check_key, tagged};
use super::{Entry, content};

/// `GET /kv/{key}`.
pub(in crate::api) fn get(call: &Call, roots: &Roots, key: String) -> Result<Work, Failure> {
    let tags = Tags::of(call, "if-none-match")?;
    let at = call.params.integer("at_timestamp")?.unwrap_or(0);
    if at != 0 {
        check_key(&key)?;
        return if tags.is_none() {
            time_travel::get_at(call, roots, key, at)
        } else {
            Err(Failure::parameters("If-None-Match does not go with at_timestamp"))
        };
    }
    let path = Path::of(&call.params)?;
    let request = Request::of_key(call, roots, "GET", &key)?;
    Ok(request.read(move |session, table| {
        let entry = Entry::read(session.connection, table, &key)?.filter(|entry| entry.is_live(session.now));
        let entry = entry.ok_or_else(not_found)?;
        if let Some(answer) = unchanged(tags.as_ref(), &entry) {
            return Ok(answer);
        }
        let mut headers = metadata(&entry);
        let Some(path) = &path else {
            headers.insert(header::CONTENT_TYPE, stored_type(&entry));
            return Ok(answer(StatusCode::OK, headers, entry.value));
        };
        let part = part(&entry, path)?;
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content::JSON));
        if let Ok(sent) = HeaderValue::from_bytes(path.text().as_bytes()) {
            headers.insert(HeaderName::from_static("x-json-path"), sent);
        }
        Ok(answer(StatusCode::OK, headers, part))
    }))
}

/// `HEAD /kv/{key}`.
pub(in crate::api) fn head(call: &Call, roots: &Roots, key: String) -> Result<Work, Failure> {
    let tags = Tags::of(call, "if-none-match")?;
    let request = Request::of_key(call, roots, "HEAD", &key)?;
    Ok(request.read(move |session, table| {
        let entry = Entry::read(session.connection, table, &key)?.ok_or_else(not_found)?;
        if !entry.is_live(session.now) {
            return Err(Failure::not_found("KEY_EXPIRED", "the key has expired"));
        }
        if let Some(answer) = unchanged(tags.as_ref(), &entry) {
            return Ok(answer);
        }
        let mut headers = metadata(&entry);
        headers.insert(header::CONTENT_TYPE, stored_type(&entry));
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(entry.value.len()));
        Ok(answer(StatusCode::OK, headers, Vec::new()))
    }))
}

/// What `entry` answers.
#[derive(Debug, Serialize)]
pub(in crate::api) struct Shown<'a> {
    key: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_base64: Option<String>,
    content_type: &'a str,
    etag: Option<&'a str>,
    created_at: i64,
    updated_at: i64,
    expire_at: Option<i64>,
}

/// `GET /kv/{key}/entry`.
pub(in crate::api) fn entry(call: &Call, roots: &Roots, key: String) -> Result<Work, Failure> {
    let tags = Tags::of(call, "if-none-match")?;
    let request = Request::of_key(call, roots, "ENTRY", &key)?;
    Ok(request.read(move |session, table| {
        let entry = Entry::read(session.connection, table, &key)?.filter(|entry| entry.is_live(session.now));
        let entry = entry.ok_or_else(not_found)?;
        match unchanged(tags.as_ref(), &entry) {
            Some(answer) => Ok(answer),
            None => show(&key, &entry),
        }
    }))
}

fn show(key: &str, entry: &Entry) -> Outcome {
    let (value, value_base64) = content::inline(&entry.value, &entry.content_type);
    let shown = Shown {
        key,
        value,
        value_base64,
        content_type: &entry.content_type,
        etag: entry.etag.as_deref(),
        created_at: entry.created_at,
        updated_at: entry.updated_at,
        expire_at: entry.expire_at,
    };
    tagged(&shown, entry.etag.as_deref())
}

/// The part of a value that a path leads to.
fn part(entry: &Entry, path: &Path) -> Result<Vec<u8>, Failure> {
    let document = Document::parse(&entry.value).ok_or_else(|| Failure::parameters("the stored value is not JSON"))?;
    let part = document.get(path).map(Document::to_bytes);
    part.ok_or_else(|| Failure::not_found("NOT_FOUND", "the path leads to nothing"))
}

/// 304, if the reader has what there is.
fn unchanged(tags: Option<&Tags>, entry: &Entry) -> Option<Answer> {
    tags.filter(|tags| tags.match_weakly(entry.etag.as_deref()))?;
    let mut headers = HeaderMap::new();
    tag(&mut headers, entry);
    Some(answer(StatusCode::NOT_MODIFIED, headers, Vec::new()))
}

fn answer(status: StatusCode, headers: HeaderMap, body: Vec<u8>) -> Answer {
    let mut response = Response::new(Body::Whole(body.into()));
    (*response.status_mut(), *response.headers_mut()) = (status, headers);
    response.into()
}

/// The headers that tell a key's metadata.
fn metadata(entry: &Entry) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(6);
    tag(&mut headers, entry);
    headers.insert(HeaderName::from_static("x-created-at"), HeaderValue::from(entry.created_at));
    headers.insert(HeaderName::from_static("x-updated-at"), HeaderValue::from(entry.updated_at));
    if let Some(expire_at) = entry.expire_at {
        headers.insert(HeaderName::from_static("x-expire-at"), HeaderValue::from(expire_at));
    }
    headers
}

fn tag(headers: &mut HeaderMap, entry: &Entry) {
    if let Some(etag) = entry.etag.as_deref().and_then(|etag| HeaderValue::from_str(etag).ok()) {
        headers.insert(header::ETAG, etag);
    }
}

/// The type as it is stored; a native program may have stored what cannot stand in a header.
fn stored_type(entry: &Entry) -> HeaderValue {
    HeaderValue::from_str(&entry.content_type).unwrap_or(HeaderValue::from_static(content::UNKNOWN))
}
