//! Who may import whom: reads the sources' paths and names every arrow that docs/ARCHITECTURE.md forbids.
//!
//! Called by the gate. It reads tokens, not types: comments and strings are left out, `use` groups are unfolded, and
//! `super::` is followed through files and inline modules.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result, bail};

mod paths;

/// What one room may name.
struct Rule {
    room: &'static str,
    /// Rooms of this crate, besides its own.
    may: &'static [&'static str],
    /// Paths outside of the crate that it must never name.
    never: &'static [&'static str],
}

/// No clock, no threads, no I/O, no runtime.
const IMPURE: &[&str] = &[
    "std::fs",
    "std::net",
    "std::os::fd",
    "std::os::linux",
    "std::os::unix::fs",
    "std::os::unix::net",
    "std::os::unix::process",
    "std::process",
    "std::sync",
    "std::thread",
    "std::time::Instant",
    "std::time::SystemTime",
    "rustix",
    "tokio",
    "tracing",
];

/// The table of docs/ARCHITECTURE.md, "Who may import whom".
const RULES: &[Rule] = &[
    Rule {
        room: "lock",
        may: &[],
        // Derived serde names none of these.
        never: &[
            "std::time",
            "std::io",
            "serde::de",
            "serde::ser",
            "serde::Deserializer",
            "serde::Serializer",
            "serde_json",
        ],
    },
    Rule { room: "sqlite", may: &["lock"], never: &["std::time", "std::io"] },
    Rule { room: "manager", may: &["lock", "sqlite"], never: &["std::time", "std::io"] },
    Rule { room: "model", may: &["manager"], never: &["std::io"] },
    Rule { room: "render", may: &["model", "manager"], never: &["std::io"] },
    Rule { room: "coordinator", may: &["lock", "sqlite", "manager"], never: &[] },
    Rule { room: "fault", may: &[], never: &[] },
    Rule { room: "handover", may: &["fault"], never: &[] },
    Rule { room: "keeper", may: &["handover"], never: &["tokio"] },
    Rule {
        room: "fuse",
        may: &["lock", "manager", "coordinator", "handover", "fault", "process", "model"],
        never: &[],
    },
    Rule { room: "process", may: &["model"], never: &[] },
    Rule { room: "database", may: &["sqlite", "model"], never: &["tokio"] },
    Rule { room: "archive", may: &["model"], never: &["tokio"] },
    Rule { room: "container", may: &["model"], never: &["tokio"] },
    Rule { room: "engine", may: &["process", "model", "runtime"], never: &["tokio"] },
    Rule { room: "host", may: &["process", "model"], never: &[] },
    Rule { room: "inject", may: &["container", "host", "process", "model"], never: &["tokio"] },
    Rule { room: "history", may: &["model"], never: &["tokio"] },
    Rule { room: "metrics", may: &["model"], never: &[] },
    Rule { room: "telemetry", may: &[], never: &[] },
    Rule { room: "tracer", may: &["model"], never: &["tokio"] },
    Rule { room: "control", may: &["model", "manager", "process"], never: &[] },
    Rule {
        room: "daemon",
        may: &[
            "lock",
            "manager",
            "coordinator",
            "fuse",
            "control",
            "process",
            "container",
            "history",
            "metrics",
            "model",
            "telemetry",
            "tracer",
            "handover",
            "keeper",
            "fault",
        ],
        never: &[],
    },
    Rule { room: "api", may: &[], never: &["tokio"] },
    Rule { room: "serve", may: &["api", "keeper", "model"], never: &[] },
    Rule {
        room: "cli",
        may: &[
            "api",
            "serve",
            "control",
            "render",
            "daemon",
            "process",
            "model",
            "manager",
            "fuse",
            "container",
            "engine",
            "host",
            "inject",
            "telemetry",
            "database",
            "archive",
        ],
        never: &["aya", "axum"],
    },
    Rule { room: "main", may: &["cli"], never: &[] },
    Rule { room: "runtime", may: &["model"], never: &["tokio"] },
    Rule { room: "bin", may: &["runtime"], never: &[] },
];

/// Rooms that must do without a clock, threads and I/O.
const PURE: &[&str] = &["lock", "sqlite", "manager", "model", "render"];

/// Crates that only these rooms may name.
const SOLE: &[(&str, &[&str])] = &[
    ("fuser", &["fuse"]),
    ("comfy_table", &["render"]),
    ("toml_edit", &["engine"]),
    ("ratatui", &["render", "cli"]),
    ("rusqlite", &["api", "database", "history"]),
    ("hyper", &["metrics", "serve"]),
    ("hyper_util", &["metrics", "serve"]),
    ("http_body_util", &["metrics", "serve"]),
    ("postcard", &["manager"]),
    ("memmap2", &["handover"]),
    ("nix", &["keeper", "inject"]),
    ("sha2", &["archive"]),
    ("time", &["api", "archive"]),
    ("zstd", &["archive"]),
    ("indicatif", &["cli"]),
    ("signal_hook", &["cli"]),
    ("aya", &["tracer"]),
    ("hoodydb_ebpf", &["tracer"]),
    ("utoipa", &["api"]),
    ("axum", &["serve"]),
    ("tower_http", &["serve"]),
    ("rustls", &["serve"]),
    ("tokio_rustls", &["serve"]),
    ("subtle", &["serve"]),
];

/// An arrow that is not in the table.
#[derive(Debug, PartialEq, Eq)]
pub struct Forbidden {
    file: String,
    line: usize,
    path: String,
    why: String,
}

impl std::fmt::Display for Forbidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}: `{}`: {}", self.file, self.line, self.path, self.why)
    }
}

/// Checks every source file below a crate's `src`.
///
/// # Errors
/// If a file cannot be read, or a room has no rule.
pub fn check(source: &Path) -> Result<Vec<Forbidden>> {
    let mut files = BTreeMap::new();
    collect(source, source, &mut files)?;
    let rooms: BTreeSet<String> = files.keys().map(|file| room_of(file)).filter(|room| room != "lib").collect();
    if let Some(room) = rooms.iter().find(|room| rule_of(room).is_none()) {
        bail!("the room `{room}` has no rule in xtask/src/imports.rs and docs/ARCHITECTURE.md");
    }
    let mut forbidden = Vec::new();
    for (file, text) in &files {
        forbidden.extend(check_file(file, text, &rooms));
    }
    Ok(forbidden)
}

fn collect(top: &Path, directory: &Path, files: &mut BTreeMap<String, String>) -> Result<()> {
    for entry in std::fs::read_dir(directory).with_context(|| directory.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            collect(top, &path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(top)?.to_string_lossy().into_owned();
            files.insert(name, std::fs::read_to_string(&path).with_context(|| path.display().to_string())?);
        }
    }
    Ok(())
}

fn room_of(file: &str) -> String {
    let first = file.split('/').next().unwrap_or(file);
    first.strip_suffix(".rs").unwrap_or(first).to_owned()
}

fn rule_of(room: &str) -> Option<&'static Rule> {
    RULES.iter().find(|rule| rule.room == room)
}

/// The module that a file is, from the crate's root: `lock/table.rs` is `lock::table`.
fn module_of(file: &str) -> Vec<String> {
    let stem = file.strip_suffix(".rs").unwrap_or(file);
    let module: Vec<String> = stem.split('/').map(str::to_owned).collect();
    match module.last().map(String::as_str) {
        Some("lib" | "main") if module.len() == 1 => Vec::new(),
        Some("mod") => module[..module.len() - 1].to_vec(),
        _ => module,
    }
}

fn check_file(file: &str, text: &str, rooms: &BTreeSet<String>) -> Vec<Forbidden> {
    let room = room_of(file);
    let Some(rule) = rule_of(&room) else { return Vec::new() };
    let mut found = Vec::new();
    for named in paths::named(text, &module_of(file)) {
        if let Some(why) = why_forbidden(rule, &named.path, rooms) {
            found.push(Forbidden { file: file.to_owned(), line: named.line, path: named.path.join("::"), why });
        }
    }
    found
}

fn why_forbidden(rule: &Rule, path: &[String], rooms: &BTreeSet<String>) -> Option<String> {
    let room = rule.room;
    let [first, rest @ ..] = path else { return None };
    if first == "crate" || first == "hoodydb" {
        let other = rest.first()?;
        let allowed = other == room || rule.may.contains(&other.as_str()) || !rooms.contains(other);
        return (!allowed).then(|| format!("{room} may not import {other}"));
    }
    if let Some((_, only)) = SOLE.iter().find(|(name, _)| name == first)
        && !only.contains(&room)
    {
        return Some(format!("only {} may name {first}", only.join(" and ")));
    }
    let pure: &[&str] = if PURE.contains(&room) { IMPURE } else { &[] };
    let starts = |banned: &&&str| banned.split("::").eq(path.iter().take(banned.split("::").count()));
    let banned = rule.never.iter().chain(pure).find(starts)?;
    Some(format!("{room} must never name {banned}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whys(file: &str, text: &str) -> Vec<String> {
        let rooms = RULES.iter().map(|rule| rule.room.to_owned()).collect();
        check_file(file, text, &rooms).into_iter().map(|forbidden| forbidden.why).collect()
    }

    #[test]
    fn an_allowed_arrow_passes() {
        assert_eq!(whys("manager/turn.rs", "use crate::lock::{ByteRange, LockKind};\nuse super::queue;"), [""; 0]);
    }

    #[test]
    fn a_lock_that_knows_sqlite_is_found() {
        assert_eq!(whys("lock/table.rs", "use crate::sqlite::Role;"), ["lock may not import sqlite"]);
        assert_eq!(whys("lock.rs", "fn f() { super::sqlite::role(); }"), ["lock may not import sqlite"]);
        assert_eq!(whys("lock/table.rs", "use super::super::sqlite;"), ["lock may not import sqlite"]);
    }

    #[test]
    fn groups_are_unfolded() {
        let text = "use crate::{lock::{self, ByteRange}, coordinator::{Reply, Refusal as No}};";
        let expected = ["manager may not import coordinator"; 2];
        assert_eq!(whys("manager.rs", text), expected);
    }

    #[test]
    fn clocks_and_threads_stay_out_of_pure_rooms() {
        assert_eq!(whys("manager.rs", "use std::{fmt, sync::Mutex};"), ["manager must never name std::sync"]);
        assert_eq!(whys("sqlite.rs", "fn f() { std::fs::read(p); }"), ["sqlite must never name std::fs"]);
        assert_eq!(whys("render.rs", "use std::time::Duration;"), [""; 0]);
    }

    #[test]
    fn records_derive_their_bytes_and_write_none() {
        assert_eq!(whys("lock/table.rs", "use serde::{Deserialize, Serialize};"), [""; 0]);
        assert_eq!(whys("lock/table.rs", "use serde::ser::SerializeMap;"), ["lock must never name serde::ser"]);
        assert_eq!(whys("lock.rs", "fn f() { postcard::to_slice(v, b); }"), ["only manager may name postcard"]);
    }

    #[test]
    fn a_crate_has_one_room() {
        assert_eq!(whys("coordinator.rs", "fn f(r: ::fuser::ReplyEmpty) {}"), ["only fuse may name fuser"]);
        assert_eq!(whys("fuse/mount.rs", "use fuser::Session;"), [""; 0]);
    }

    #[test]
    fn comments_strings_and_inline_modules_do_not_mislead() {
        let text = "//! Called by [`crate::manager`].\n/* use crate::fuse; */ const A: &str = \"crate::fuse::x\";
            const B: &str = r#\"crate::fuse \"quoted\"\"#; const C: char = '\"';
            mod tests { use super::*; use super::super::sqlite::x; }";
        assert_eq!(whys("lock.rs", text), ["lock may not import sqlite"]);
    }

    #[test]
    fn a_forbidden_arrow_tells_its_line() {
        let rooms = ["lock".to_owned(), "fuse".to_owned()].into();
        let found = check_file("lock/range.rs", "\n\nuse crate::fuse::Access;\n", &rooms);
        assert_eq!(found[0].to_string(), "lock/range.rs:3: `crate::fuse::Access`: lock may not import fuse");
    }
}
