//! Podman: a drop-in of containers.conf that adds one volume to every container.
//!
//! Called by [`super`]. It also reaches rootless users, whose own containers.conf comes later.
//!
//! # Source
//! containers.conf(5): files are read in the order of [`sources`], and an array replaces the one of an earlier file. From 5.0 on
//! an array with `{append=true}` adds to it; 4.3 refuses a file that has one (measured).

use std::path::{Path, PathBuf};

use toml_edit::{DocumentMut, Item, Table, Value};

use super::edit::{self, Record};
use super::installed::{major, program, version};
use super::{Done, Engine, EngineError, Found, PARENT, State};
use crate::model::printable;

/// The oldest version that reads drop-ins as the measured ones do.
const NEEDED: &str = "4.0";

/// The first version that can add to an array.
const APPENDS: u32 = 5;

/// Drop-ins; read in the order of their names.
const DROP_INS: &str = "/etc/containers/containers.conf.d";

/// Ours; late, so that it has the last word on its array.
const OURS: &str = "99-hoodydb.conf";

/// The volume that every container gets.
const VOLUME: &str = "/hoody:/hoody:rslave";

/// The volumes that a file names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Volumes {
    names: Vec<String>,
    /// Whether they are added to those of earlier files.
    append: bool,
}

pub(super) fn enable() -> Result<Done, EngineError> {
    program("podman").ok_or(EngineError::Absent { engine: Engine::Podman })?;
    // Before podman is asked anything: with a broken file it says nothing else.
    let (earlier, later) = around_ours()?;
    let version = version(Engine::Podman, "podman", NEEDED)?;
    let path = Path::new(DROP_INS).join(OURS);
    if has_parent(&earlier) && edit::read(&path)?.is_none() {
        return Ok(Done { changed: false, notes: vec!["the volume is in containers.conf already".to_owned()] });
    }
    if let Some((path, _)) = later.into_iter().find(|(_, volumes)| !volumes.append) {
        let reason = format!("it is read after {OURS} and replaces the volumes: add \"{VOLUME}\" to it");
        return Err(EngineError::LeftAlone { path, reason });
    }
    let changed = edit::change(Engine::Podman, &path, &drop_in(&folded(&earlier), major(&version)))?;
    Ok(Done { changed, notes: Vec::new() })
}

pub(super) fn disable() -> Result<Done, EngineError> {
    let Some(record) = Record::load(Engine::Podman)? else { return Ok(Done::default()) };
    // The whole file is ours.
    let target = record.target(|_| Err("remove it, or take the volume /hoody out of it".to_owned()))?;
    record.restore(Engine::Podman, target)?;
    Ok(Done { changed: true, notes: Vec::new() })
}

pub(super) fn status() -> Result<Found, EngineError> {
    let version = version(Engine::Podman, "podman", NEEDED)?;
    let path = Path::new(DROP_INS).join(OURS);
    let (earlier, later) = around_ours()?;
    let ours = volumes_of(&path)?;
    let all: Vec<_> = earlier.iter().cloned().chain(ours.map(|ours| (path.clone(), ours))).chain(later).collect();
    let (state, detail) = match (folded(&all).iter().any(|volume| is_parent(volume)), edit::read(&path)?) {
        (true, None) => (State::Enabled, Some("by hand".to_owned())),
        (true, Some(text)) if major(&version) < APPENDS && text != drop_in(&folded(&earlier), major(&version)) => {
            let detail = "other volumes were changed since: hoodydb containers enable --engine podman takes them in";
            (State::Waiting, Some(detail.to_owned()))
        }
        (true, Some(_)) => (State::Enabled, None),
        (false, Some(_)) => {
            let last = all.last().map(|(path, _)| printable(path)).unwrap_or_default();
            (State::Waiting, Some(format!("{last} is read later and replaces the volumes: add \"{VOLUME}\" to it")))
        }
        (false, None) => (State::Disabled, None),
    };
    Ok(Found { state, version, detail })
}

/// The files that name volumes, before and after ours, each with what it names.
type Sources = Vec<(PathBuf, Volumes)>;

fn around_ours() -> Result<(Sources, Sources), EngineError> {
    let ours = Path::new(DROP_INS).join(OURS);
    let (mut earlier, mut later) = (Vec::new(), Vec::new());
    for path in sources()? {
        if path == ours {
            continue;
        }
        let is_later = path.starts_with(DROP_INS) && path > ours;
        if let Some(volumes) = volumes_of(&path)? {
            if is_later { &mut later } else { &mut earlier }.push((path, volumes));
        }
    }
    Ok((earlier, later))
}

fn sources() -> Result<Vec<PathBuf>, EngineError> {
    let mut files: Vec<PathBuf> =
        ["/usr/share/containers/containers.conf", "/etc/containers/containers.conf"].map(PathBuf::from).to_vec();
    let entries = match std::fs::read_dir(DROP_INS) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(files),
        entries => entries.map_err(EngineError::file("cannot look into", DROP_INS))?,
    };
    let mut drop_ins: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    drop_ins.retain(|path| path.extension().is_some_and(|extension| extension == "conf"));
    drop_ins.sort();
    files.extend(drop_ins);
    Ok(files)
}

fn volumes_of(path: &Path) -> Result<Option<Volumes>, EngineError> {
    let Some(text) = edit::read(path)? else { return Ok(None) };
    parse(&text).map_err(|reason| EngineError::LeftAlone { path: path.to_owned(), reason })
}

/// The volumes in a containers.conf; none if it does not name the array.
fn parse(text: &str) -> Result<Option<Volumes>, String> {
    let document: DocumentMut = text.parse().map_err(|error: toml_edit::TomlError| {
        format!("it cannot be understood: {}", printable(error.message().replace('\n', " ")))
    })?;
    let Some(item) = document.get("containers").and_then(|table| table.get("volumes")) else { return Ok(None) };
    let array = item.as_array().ok_or("its volumes are no array")?;
    let mut volumes = Volumes::default();
    for value in array {
        match value {
            Value::String(name) => volumes.names.push(name.value().clone()),
            Value::InlineTable(attributes) => {
                volumes.append = attributes.get("append").and_then(Value::as_bool).unwrap_or(false);
            }
            _ => return Err("its volumes are not all strings".to_owned()),
        }
    }
    Ok(Some(volumes))
}

/// What podman makes of several files.
fn folded(sources: &[(PathBuf, Volumes)]) -> Vec<String> {
    let mut all = Vec::new();
    for (_, volumes) in sources {
        if !volumes.append {
            all.clear();
        }
        all.extend(volumes.names.iter().cloned());
    }
    all
}

fn has_parent(sources: &[(PathBuf, Volumes)]) -> bool {
    folded(sources).iter().any(|volume| is_parent(volume))
}

/// Whether a volume, `SOURCE:DESTINATION:OPTIONS`, is mounted at the parent.
fn is_parent(volume: &str) -> bool {
    volume.split(':').nth(1).is_some_and(|destination| destination.trim_end_matches('/') == PARENT)
}

/// The text of our drop-in, for volumes that earlier files name.
fn drop_in(earlier: &[String], major: u32) -> String {
    let mut array = toml_edit::Array::new();
    if major < APPENDS {
        array.extend(earlier.iter().filter(|volume| !is_parent(volume)).map(String::as_str));
    }
    array.push(VOLUME);
    if major >= APPENDS {
        let mut attributes = toml_edit::InlineTable::new();
        attributes.insert("append", true.into());
        array.push(attributes);
    }
    let mut table = Table::new();
    table.insert("volumes", Item::Value(array.into()));
    let mut document = DocumentMut::new();
    document.insert("containers", Item::Table(table));
    let why = if major < APPENDS && !earlier.is_empty() {
        "# Arrays of later files replace those of earlier ones, so the volumes of the others are repeated here.\n"
    } else {
        ""
    };
    format!("# By `hoodydb containers enable`; `hoodydb containers disable` removes it.\n{why}{document}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(names: &[&str], append: bool) -> (PathBuf, Volumes) {
        ("/f".into(), Volumes { names: names.iter().map(|name| (*name).to_owned()).collect(), append })
    }

    #[test]
    fn arrays_replace_or_append() {
        assert_eq!(folded(&[source(&["a:/a"], false), source(&["b:/b"], false)]), ["b:/b"]);
        assert_eq!(folded(&[source(&["a:/a"], false), source(&["b:/b"], true)]), ["a:/a", "b:/b"]);
        assert_eq!(folded(&[]), [""; 0]);
    }

    #[test]
    fn volumes_are_read() {
        let text = "# x\n[containers]\nvolumes = [\"a:/a\",\n 'b:/b', {append = true}]\n[engine]\nruntime=\"crun\"\n";
        let names = vec!["a:/a".to_owned(), "b:/b".to_owned()];
        assert_eq!(parse(text).unwrap(), Some(Volumes { names, append: true }));
        assert_eq!(parse("[engine]\n").unwrap(), None);
        for broken in ["[containers", "[containers]\nvolumes=1", "[containers]\nvolumes=[1]"] {
            assert!(parse(broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn others_volumes_are_kept_by_version() {
        insta::assert_snapshot!(drop_in(&["/srv:/srv:ro".to_owned()], 4), @r#"
        # By `hoodydb containers enable`; `hoodydb containers disable` removes it.
        # Arrays of later files replace those of earlier ones, so the volumes of the others are repeated here.
        [containers]
        volumes = ["/srv:/srv:ro", "/hoody:/hoody:rslave"]
        "#);
        insta::assert_snapshot!(drop_in(&["/srv:/srv:ro".to_owned()], 5), @r#"
        # By `hoodydb containers enable`; `hoodydb containers disable` removes it.
        [containers]
        volumes = ["/hoody:/hoody:rslave", { append = true }]
        "#);
        let odd = "a\"b\\:/x\n".to_owned();
        let read_back = parse(&drop_in(std::slice::from_ref(&odd), 4)).unwrap().unwrap();
        assert_eq!(read_back.names, [odd, VOLUME.to_owned()]);
    }

    #[test]
    fn the_parent_is_known_by_its_destination() {
        assert!(is_parent("/hoody:/hoody:rslave") && is_parent("x:/hoody/") && !is_parent("/hoody:/data"));
        assert!(!is_parent("/hoody") && !is_parent(""));
    }
}
