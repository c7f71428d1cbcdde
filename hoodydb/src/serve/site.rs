//! From where a request comes: what it takes this server for, and which web page sends it.
//!
//! Called by [`super::answer`] before anything else. Browsers send requests for any page that is open in them, to any address that a
//! name leads to: a page may not ask unless it is of this server or named by `--cors-origin`, and a name that was made to lead
//! here (DNS rebinding) is told by Host. Programs send no Origin and pass.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, Uri, header, uri::Authority};

use crate::api::Failure;

/// What may stand in Host and Origin.
#[derive(Clone, Debug, Default)]
pub(super) struct Sites {
    hosts: Vec<String>,
    origins: Vec<String>,
}

/// Where a connection came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Door {
    /// By TCP, at this address of this machine.
    Tcp(SocketAddr),
    /// By a unix socket, which no name leads to and no browser opens.
    Unix,
}

impl Sites {
    /// Names beside this machine's own, and origins as browsers write them.
    pub(super) fn new(hosts: Vec<String>, origins: Vec<String>) -> Self {
        let lower = |texts: Vec<String>| texts.into_iter().map(|text| text.to_ascii_lowercase()).collect();
        Self { hosts: lower(hosts), origins: lower(origins) }
    }

    /// The origins that may ask.
    pub(super) fn origins(&self) -> &[String] {
        &self.origins
    }

    /// Whether a request may be looked at.
    ///
    /// # Errors
    /// 403 FORBIDDEN; 400 if Host is malformed.
    pub(super) fn check(&self, door: Door, uri: &Uri, headers: &HeaderMap) -> Result<(), Failure> {
        let host = host_of(uri, headers)?;
        if let (Door::Tcp(local), Some(host)) = (door, &host)
            && !self.knows(host.host(), local.ip())
        {
            return Err(forbidden("the server has no such name: see hoodydb serve --allow-host"));
        }
        match headers.get(header::ORIGIN) {
            Some(origin) => {
                let origin = origin.to_str().unwrap_or_default().to_ascii_lowercase();
                let is_own = host.as_ref().is_some_and(|host| is_same(&origin, host));
                if is_own || self.origins.iter().any(|allowed| *allowed == origin || allowed == "*") {
                    return Ok(());
                }
                Err(forbidden("the web page is of another site: see hoodydb serve --cors-origin"))
            }
            // Of requests that have no Origin browsers say this much: a page of another site asks.
            None if headers.get("sec-fetch-site").is_some_and(|site| site == "cross-site") => {
                Err(forbidden("the web page is of another site"))
            }
            None => Ok(()),
        }
    }

    fn knows(&self, host: &str, local: IpAddr) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let by_address =
            bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback() || ip.to_canonical() == local.to_canonical());
        let is_localhost = host == "localhost" || host.ends_with(".localhost");
        by_address || is_localhost || self.hosts.iter().any(|allowed| *allowed == host || *allowed == bare)
    }
}

/// The host that the request is for; HTTP/1.0 may leave it out.
fn host_of(uri: &Uri, headers: &HeaderMap) -> Result<Option<Authority>, Failure> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (None, _) => None,
        (Some(host), None) => {
            Some(Authority::try_from(host.as_bytes()).map_err(|_| Failure::parameters("Host is malformed"))?)
        }
        (Some(_), Some(_)) => return Err(Failure::parameters("there are two Host headers")),
    };
    match (uri.authority(), host) {
        // The address of a proxied request wins over Host, so both have to be right.
        (Some(asked), Some(host)) if asked.host() != host.host() => {
            Err(Failure::parameters("Host is not that of the address"))
        }
        (Some(asked), _) => Ok(Some(asked.clone())),
        (None, host) => Ok(host),
    }
}

/// Whether an origin is the server itself. The scheme is left aside: something in front may do TLS.
fn is_same(origin: &str, host: &Authority) -> bool {
    let Some((scheme, rest)) = origin.split_once("://") else { return false };
    let Ok(origin) = Authority::try_from(rest) else { return false };
    let default = if scheme == "https" { 443 } else { 80 };
    let port = |authority: &Authority| authority.port_u16().unwrap_or(default);
    origin.host().eq_ignore_ascii_case(host.host()) && port(&origin) == port(host)
}

fn forbidden(text: &str) -> Failure {
    Failure::new(http::StatusCode::FORBIDDEN, "FORBIDDEN", text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(sites: &Sites, door: Door, uri: &str, headers: &[(&'static str, &str)]) -> Result<(), &'static str> {
        let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        let mut map = HeaderMap::new();
        headers.for_each(|(name, value): (header::HeaderName, _)| _ = map.append(name, value));
        sites.check(door, &uri.parse().unwrap(), &map).map_err(|failure| failure.code)
    }

    fn tcp(local: &str) -> Door {
        Door::Tcp(local.parse().unwrap())
    }

    #[test]
    fn a_name_that_was_made_to_lead_here_is_refused() {
        let sites = Sites::new(vec!["db.Example".to_owned()], Vec::new());
        let host = |door, host| check(&sites, door, "/x", &[("host", host)]);
        let here = tcp("127.0.0.1:8090");
        for good in [
            "localhost:8090",
            "LOCALHOST",
            "a.localhost:1",
            "127.0.0.1:8090",
            "127.9.9.9",
            "[::1]:8090",
            "DB.example:80",
        ] {
            assert_eq!(host(here, good), Ok(()), "{good}");
        }
        for bad in ["evil.example", "localhost.evil.example", "10.0.0.1:8090", "xlocalhost", "db.example.evil"] {
            assert_eq!(host(here, bad), Err("FORBIDDEN"), "{bad}");
        }
        assert_eq!(host(tcp("10.0.0.1:8090"), "10.0.0.1:8090"), Ok(()));
        assert_eq!(host(tcp("[::ffff:10.0.0.1]:8090"), "10.0.0.1"), Ok(()));
        assert_eq!(host(Door::Unix, "anything"), Ok(()));
        assert_eq!(check(&sites, here, "http://evil.example/x", &[]), Err("FORBIDDEN"));
        assert_eq!(check(&sites, here, "http://localhost/x", &[("host", "evil.example")]), Err("INVALID_PARAMETERS"));
        assert_eq!(check(&sites, here, "/x", &[("host", "localhost"), ("host", "evil")]), Err("INVALID_PARAMETERS"));
        assert_eq!(check(&sites, here, "/x", &[]), Ok(()));
    }

    #[test]
    fn pages_of_other_sites_are_refused() {
        let sites = Sites::new(Vec::new(), vec!["https://app.Example".to_owned()]);
        let origin =
            |origin| check(&sites, tcp("127.0.0.1:8090"), "/x", &[("host", "localhost:8090"), ("origin", origin)]);
        for good in ["http://localhost:8090", "https://LOCALHOST:8090", "https://app.example"] {
            assert_eq!(origin(good), Ok(()), "{good}");
        }
        for bad in
            ["null", "http://localhost", "http://localhost:8091", "https://evil.example", "https://app.example:444", ""]
        {
            assert_eq!(origin(bad), Err("FORBIDDEN"), "{bad}");
        }
        let proxied = check(&sites, Door::Unix, "/x", &[("host", "db.example"), ("origin", "https://db.example")]);
        assert_eq!(proxied, Ok(()));
        assert_eq!(check(&sites, Door::Unix, "/x", &[("host", "a"), ("origin", "http://evil")]), Err("FORBIDDEN"));
        assert_eq!(check(&sites, Door::Unix, "/x", &[("sec-fetch-site", "cross-site")]), Err("FORBIDDEN"));
        let all = Sites::new(Vec::new(), vec!["*".to_owned()]);
        assert_eq!(check(&all, Door::Unix, "/x", &[("origin", "http://evil")]), Ok(()));
    }
}
