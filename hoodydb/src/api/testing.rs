//! A root with databases for unit tests of this room, and requests to the interface without sockets.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bytes::Bytes;
use http::{HeaderMap, Request};
use rusqlite::Connection;
use serde_json::Value;

use super::{Api, BASE, Body, Inline, Roots, Settings};

/// A root of its own, gone with its end.
pub(super) struct World {
    root: PathBuf,
    pub(super) api: Arc<Api>,
}

/// An answer.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Body,
}

impl World {
    /// An empty root.
    pub(super) fn new() -> Self {
        Self::with(|_| ())
    }

    /// An empty root whose interface is set up differently.
    pub(super) fn with(change: impl FnOnce(&mut Settings)) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let name = format!("hoodydb-api-{}-{}", std::process::id(), COUNT.fetch_add(1, Relaxed));
        let root = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&root).unwrap();
        let roots = Roots::new(&root, false).unwrap();
        let mut settings = Settings { roots, max_response_bytes: 64 << 20, query_history: true, max_streams: 256 };
        change(&mut settings);
        Self { root, api: Api::new(settings, Arc::new(Inline)) }
    }

    /// Runs SQL on a database as a native client does; the file is made if it is not there.
    pub(super) fn sqlite(&self, name: &str, sql: &str) -> Connection {
        let connection = Connection::open(self.path(name)).unwrap();
        connection.execute_batch(sql).unwrap();
        connection
    }

    /// The file of a database.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.root.join(format!("{name}.db"))
    }

    /// Sends a request whose headers are `("Name", "value")`.
    pub(super) fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        let mut request = Request::builder().method(method).uri(format!("{BASE}{path}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Bytes::copy_from_slice(body.as_bytes())).unwrap();
        let (head, body) = self.api.answer(request, "local".to_owned()).into_parts();
        Reply { status: head.status.as_u16(), headers: head.headers, body }
    }

    pub(super) fn get(&self, path: &str) -> Reply {
        self.send("GET", path, &[], "")
    }

    pub(super) fn post(&self, path: &str, body: &str) -> Reply {
        self.send("POST", path, &[("Content-Type", "application/json")], body)
    }

    pub(super) fn put(&self, path: &str, body: &str) -> Reply {
        self.send("PUT", path, &[("Content-Type", "application/json")], body)
    }

    pub(super) fn delete(&self, path: &str) -> Reply {
        self.send("DELETE", path, &[], "")
    }
}

impl Drop for World {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.root).unwrap();
    }
}

impl Reply {
    /// The bytes of the body.
    pub(super) fn bytes(&self) -> &[u8] {
        match &self.body {
            Body::Whole(bytes) => bytes,
            Body::Events(_) => panic!("a stream: {self:?}"),
        }
    }

    /// The body as text.
    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(self.bytes()).unwrap()
    }

    /// The body as JSON.
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(self.bytes()).unwrap()
    }

    /// The status and the code of a failure.
    pub(super) fn failure(&self) -> (u16, String) {
        (self.status, self.json()["code"].as_str().unwrap_or_default().to_owned())
    }

    /// A header's text.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}
