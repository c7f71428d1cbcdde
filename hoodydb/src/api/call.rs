//! A request as the endpoints see it: its parameters, its deadline and the one "now" of everything it does.
//!
//! Called by [`super::Api`]; endpoints read it. The path stays encoded: a key may contain `%2F`.

use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, Method, Request};
use percent_encoding::percent_decode_str;

use super::Failure;

/// Seconds that a request may take if it says nothing.
const TIMEOUT_S: i64 = 30;

/// The longest that a request may ask for, in seconds.
const TIMEOUT_MAX_S: i64 = 300;

/// Part of the deadline that is kept from waiting for locks, so that a lock wait is told from slow SQL.
pub(super) const LOCK_MARGIN: Duration = Duration::from_millis(250);

/// A request.
#[derive(Clone, Debug)]
pub struct Call {
    /// Its method.
    pub method: Method,
    /// Its path below [`super::BASE`], still encoded, with the first slash.
    pub path: String,
    /// Its query parameters.
    pub params: Params,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
    /// Who asks, as the query history shows it: an address, or `local`.
    pub client: String,
    /// Seconds since 1970, read once.
    pub now: i64,
    /// When it has to be answered.
    pub deadline: Instant,
}

impl Call {
    /// Takes a request apart.
    ///
    /// # Errors
    /// 400 if a parameter is not UTF-8.
    pub fn new(request: Request<Bytes>, client: String) -> Result<Self, Failure> {
        let (head, body) = request.into_parts();
        let params = Params::parse(head.uri.query().unwrap_or_default())?;
        let path = head.uri.path();
        let path = path.strip_prefix(super::BASE).unwrap_or(path).to_owned();
        let seconds = params.first("timeout").and_then(|text| text.parse().ok()).unwrap_or(TIMEOUT_S);
        let timeout = Duration::from_secs(seconds.clamp(1, TIMEOUT_MAX_S).unsigned_abs());
        let deadline = Instant::now() + timeout;
        Ok(Self { method: head.method, path, params, headers: head.headers, body, client, now: now_s(), deadline })
    }

    /// A header's text; none if it is absent.
    ///
    /// # Errors
    /// 400 if it is not visible ASCII.
    pub fn header(&self, name: &str) -> Result<Option<&str>, Failure> {
        let Some(value) = self.headers.get(name) else { return Ok(None) };
        value.to_str().map(Some).map_err(|_| Failure::parameters(format!("the header {name} is malformed")))
    }
}

/// Seconds since 1970.
pub(super) fn now_s() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// Query parameters, decoded; of a name that comes more than once the first counts.
#[derive(Clone, Debug, Default)]
pub struct Params(Vec<(String, String)>);

impl Params {
    /// Decodes `a=b&c=d`; `+` is a space.
    ///
    /// # Errors
    /// 400 if a name or value is not UTF-8.
    pub fn parse(query: &str) -> Result<Self, Failure> {
        let decode = |text: &str| {
            let spaced = text.replace('+', " ");
            let decoded = percent_decode_str(&spaced).decode_utf8().map(std::borrow::Cow::into_owned);
            decoded.map_err(|_| Failure::parameters("a query parameter is not UTF-8"))
        };
        let pairs = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decode(name)?, decode(value)?))
        });
        pairs.collect::<Result<_, _>>().map(Self)
    }

    /// The first value of a name.
    pub fn first(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    /// All of them, in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The first value of a name, or 400.
    ///
    /// # Errors
    /// 400 INVALID_PARAMETERS if it is missing.
    pub fn required(&self, name: &str) -> Result<&str, Failure> {
        self.first(name).ok_or_else(|| Failure::parameters(format!("the parameter {name} is missing")))
    }

    /// A boolean; present but empty is true.
    ///
    /// # Errors
    /// 400 INVALID_PARAMETERS if it is none.
    pub fn flag(&self, name: &str) -> Result<Option<bool>, Failure> {
        let Some(text) = self.first(name) else { return Ok(None) };
        match text.to_ascii_lowercase().as_str() {
            "" | "true" | "1" | "yes" | "on" => Ok(Some(true)),
            "false" | "0" | "no" | "off" => Ok(Some(false)),
            _ => Err(Failure::parameters(format!("{name} must be true or false"))),
        }
    }

    /// A whole number.
    ///
    /// # Errors
    /// 400 INVALID_PARAMETERS if it is none.
    pub fn integer(&self, name: &str) -> Result<Option<i64>, Failure> {
        let Some(text) = self.first(name) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| Failure::parameters(format!("{name} must be an integer")))
    }

    /// `create_db_if_missing` and its alias, which must agree.
    ///
    /// # Errors
    /// 400 INVALID_PARAMETERS if they do not.
    pub fn creates(&self) -> Result<bool, Failure> {
        match (self.flag("create_db_if_missing")?, self.flag("auto_create")?) {
            (Some(one), Some(other)) if one != other => {
                Err(Failure::parameters("conflicting flags: create_db_if_missing and auto_create must match"))
            }
            (one, other) => Ok(one.or(other).unwrap_or(false)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_a_repeated_parameter_counts() {
        let params = Params::parse("a=1&a=2&b+c=%C3%A9&d").unwrap();
        assert_eq!(params.first("a"), Some("1"));
        assert_eq!(params.first("b c"), Some("é"));
        assert_eq!(params.flag("d"), Ok(Some(true)));
        assert_eq!(Params::parse("a=%ff").unwrap_err().code, "INVALID_PARAMETERS");
    }

    #[test]
    fn the_flags_of_creation_must_agree() {
        let creates = |query| Params::parse(query).unwrap().creates();
        assert_eq!(creates("create_db_if_missing=yes&auto_create=ON"), Ok(true));
        assert_eq!(creates("auto_create=0"), Ok(false));
        let refusal = creates("create_db_if_missing=yes&auto_create=no").unwrap_err();
        assert_eq!(refusal.text, "conflicting flags: create_db_if_missing and auto_create must match");
        assert_eq!(creates("auto_create=maybe").unwrap_err().code, "INVALID_PARAMETERS");
    }
}
