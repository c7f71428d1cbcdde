//! LXC: a drop-in of the configuration that every container includes, with one more mount.
//!
//! Called by [`super`]. Containers take it in at their next start.
//!
//! # Source
//! lxc.container.conf(5): `lxc.mount.entry`, `lxc.include` of a directory; lxc's common.conf.

use std::path::Path;

use super::edit::{self, Record};
use super::installed::version;
use super::{Done, Engine, EngineError, Found, State};

/// The first version with `lxc.mount.entry` options that are used here.
const NEEDED: &str = "3.0";

/// What the configurations of containers include.
const COMMON: &str = "/usr/share/lxc/config/common.conf";

/// What that one includes in turn.
const DROP_INS: &str = "/usr/share/lxc/config/common.conf.d";

const OURS: &str = "50-hoodydb.conf";

const TEXT: &str = "\
# By `hoodydb containers enable`; `hoodydb containers disable` removes it.
lxc.mount.entry = /hoody hoody none rbind,rslave,create=dir 0 0
";

pub(super) fn enable() -> Result<Done, EngineError> {
    version(Engine::Lxc, "lxc-start", NEEDED)?;
    check_common()?;
    let changed = edit::change(Engine::Lxc, &Path::new(DROP_INS).join(OURS), TEXT)?;
    let notes = if changed { vec!["containers that run get it at their next start".to_owned()] } else { Vec::new() };
    Ok(Done { changed, notes })
}

pub(super) fn disable() -> Result<Done, EngineError> {
    let Some(record) = Record::load(Engine::Lxc)? else { return Ok(Done::default()) };
    let target = record.target(|_| Err("remove it, or take the mount of /hoody out of it".to_owned()))?;
    record.restore(Engine::Lxc, target)?;
    Ok(Done { changed: true, notes: Vec::new() })
}

pub(super) fn status() -> Result<Found, EngineError> {
    let version = version(Engine::Lxc, "lxc-start", NEEDED)?;
    check_common()?;
    let text = edit::read(&Path::new(DROP_INS).join(OURS))?;
    let has_entry = text.is_some_and(|text| text.lines().any(|line| TEXT.lines().last() == Some(line.trim())));
    Ok(Found { state: if has_entry { State::Enabled } else { State::Disabled }, version, detail: None })
}

/// Without that line our file would do nothing.
fn check_common() -> Result<(), EngineError> {
    let left_alone = |reason: String| EngineError::LeftAlone { path: COMMON.into(), reason };
    let text = edit::read(Path::new(COMMON))?
        .ok_or_else(|| left_alone("there is no such file: add the mount to the containers' own files".to_owned()))?;
    let includes = |line: &str| {
        let value = line.trim().strip_prefix("lxc.include").and_then(|rest| rest.trim_start().strip_prefix('='));
        value.is_some_and(|value| value.trim().trim_end_matches('/') == DROP_INS)
    };
    if text.lines().any(includes) {
        return Ok(());
    }
    Err(left_alone(format!("it does not include {DROP_INS}: add the mount to the containers' own files")))
}
