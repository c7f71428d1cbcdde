//! Docker: `hoodydb-runc` as the default runtime in daemon.json.
//!
//! Called by [`super`]. docker reads `runtimes` and `default-runtime` anew on SIGHUP; a setting that is gone from the file keeps its
//! value, so that `disable` first writes docker's own default, and only then puts the file back.
//!
//! # Source
//! dockerd(8); measured on 20.10 and 26.1. A container keeps the name of the runtime that it was made with.

use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, kill_process};

use super::docker_info::{default_runtime, socket, wait_for};
use super::edit::{self, Record, Target};
use super::installed::{Daemon, daemons, version};
use super::{Done, Engine, EngineError, Found, State};
use crate::model::printable;
use crate::runtime::json_text::{Fields, apply, remove, set};

/// The oldest that was measured is 20.10; runtimes by path are older.
const NEEDED: &str = "18.9";

/// Where docker looks without `--config-file`.
const CONFIG: &str = "/etc/docker/daemon.json";

/// Our runtime's name.
const OURS: &str = "hoodydb";

/// Docker's own default.
const THEIRS: &str = "runc";

/// Docker on this host.
struct Docker {
    version: String,
    daemon: Option<Daemon>,
    config: PathBuf,
}

pub(super) fn enable(wrapper: &Path) -> Result<Done, EngineError> {
    let docker = find()?;
    let left_alone = |reason: String| EngineError::LeftAlone { path: docker.config.clone(), reason };
    for flag in ["--default-runtime", "--add-runtime"] {
        if docker.daemon.as_ref().is_some_and(|daemon| !daemon.values(&[flag]).is_empty()) {
            return Err(left_alone(format!("dockerd runs with {flag}, and takes no file that says the same")));
        }
    }
    let text = edit::read(&docker.config)?;
    let changed = match with_runtime(text.as_deref().unwrap_or(""), wrapper).map_err(left_alone)? {
        Some(after) => edit::change(Engine::Docker, &docker.config, &after)?,
        None => false,
    };
    let (mut notes, mut reloaded) = (Vec::new(), false);
    match (&docker.daemon, docker.daemon.as_ref().and_then(socket)) {
        (None, _) => notes.push("dockerd does not run: it takes effect at its next start".to_owned()),
        (Some(daemon), None) => {
            hang_up(daemon)?;
            notes.push("dockerd has no Unix socket: whether it has taken the configuration is not known".to_owned());
        }
        (Some(daemon), Some(socket)) => {
            if !default_runtime(&socket).is_ok_and(|now| now == OURS) {
                hang_up(daemon)?;
                reloaded = true;
                if let Err(why) = wait_for(&socket, OURS) {
                    disable()?;
                    return Err(EngineError::NotTaken { engine: Engine::Docker, why });
                }
            }
        }
    }
    if changed || reloaded {
        notes.push("containers that were made before keep their runtime: hoodydb containers inject".to_owned());
    }
    Ok(Done { changed: changed || reloaded, notes })
}

pub(super) fn disable() -> Result<Done, EngineError> {
    let Some(record) = Record::load(Engine::Docker)? else { return Ok(Done::default()) };
    let daemon = daemons("dockerd").into_iter().find(|daemon| daemon.uid == 0);
    let now = edit::read(&record.path)?;
    // What an attempt that was killed leaves.
    let is_half_way = now.is_some() && now == with_default(&record.after, THEIRS).ok();
    let had_default = record.before.as_ref().is_some_and(|before| before.text.contains("default-runtime"));
    let target = if is_half_way { Target::Before } else { record.target(|text| without_runtime(text, had_default))? };
    let mut notes = Vec::new();
    if let Some(daemon) = &daemon
        && let Err(why) = go_back(daemon, &record.path, now.as_deref())?
    {
        notes.push(format!("dockerd was told to go back to {THEIRS}, but {why}"));
    }
    record.restore(Engine::Docker, target)?;
    let names = containers_with_our_runtime(&record.path, daemon.as_ref());
    if !names.is_empty() {
        notes.push(format!(
            "containers that still name the runtime {OURS}, and will not start again once dockerd was restarted; make them anew: {}",
            names.join(", ")
        ));
    }
    Ok(Done { changed: true, notes })
}

/// Has a daemon take its own default, beside our runtime: containers that name that one go on. The file is then as it was.
fn go_back(daemon: &Daemon, config: &Path, now: Option<&str>) -> Result<Result<(), String>, EngineError> {
    let changed_since = |reason| EngineError::ChangedSince { path: config.to_owned(), reason };
    edit::write(config, &with_default(now.unwrap_or("{}"), THEIRS).map_err(changed_since)?)?;
    hang_up(daemon)?;
    let taken = socket(daemon).map_or(Ok(()), |socket| wait_for(&socket, THEIRS));
    match now {
        Some(text) => edit::write(config, text)?,
        None => std::fs::remove_file(config).map_err(EngineError::file("cannot remove", config))?,
    }
    Ok(taken)
}

pub(super) fn status() -> Result<Found, EngineError> {
    let docker = find()?;
    let text = edit::read(&docker.config)?.unwrap_or_default();
    let is_configured = parse(&text).is_ok_and(|config| config["default-runtime"] == OURS);
    let now = docker.daemon.as_ref().and_then(socket).map(|socket| default_runtime(&socket));
    let is_recorded = Record::load(Engine::Docker)?.is_some();
    let by_hand = || (!is_recorded).then(|| "by hand".to_owned());
    let (state, detail) = match (is_configured, now) {
        (true, Some(Ok(now))) if now == OURS => (State::Enabled, by_hand()),
        (true, Some(Ok(_))) => (State::Waiting, Some("dockerd has not read its configuration: SIGHUP".to_owned())),
        (true, Some(Err(error))) => (State::Waiting, Some(format!("dockerd does not answer: {error}"))),
        (true, None) => (State::Enabled, docker.daemon.is_none().then(|| "dockerd does not run".to_owned())),
        (false, _) if is_recorded => {
            (State::Waiting, Some("daemon.json was changed since: enable it again".to_owned()))
        }
        (false, _) => match with_runtime(&text, &super::wrapper().unwrap_or_default()) {
            Ok(_) => (State::Disabled, None),
            Err(reason) => (State::LeftAlone, Some(reason)),
        },
    };
    Ok(Found { state, version: docker.version, detail })
}

fn find() -> Result<Docker, EngineError> {
    let version = version(Engine::Docker, "dockerd", NEEDED)?;
    let (of_root, of_users): (Vec<_>, Vec<_>) = daemons("dockerd").into_iter().partition(|daemon| daemon.uid == 0);
    if let (true, Some(daemon)) = (of_root.is_empty(), of_users.first()) {
        return Err(EngineError::RootlessOnly { engine: Engine::Docker, uid: daemon.uid });
    }
    let daemon = of_root.into_iter().next();
    let named = daemon.as_ref().and_then(|daemon| daemon.values(&["--config-file"]).first().map(PathBuf::from));
    Ok(Docker { version, daemon, config: named.unwrap_or_else(|| CONFIG.into()) })
}

fn hang_up(daemon: &Daemon) -> Result<(), EngineError> {
    let failed =
        |error: rustix::io::Errno| EngineError::file("cannot signal", format!("/proc/{}", daemon.pid))(error.into());
    let Some(pid) = Pid::from_raw(daemon.pid) else { return Ok(()) };
    kill_process(pid, Signal::HUP).map_err(failed)
}

/// The configuration with our runtime as the default; none if it says so already.
fn with_runtime(text: &str, wrapper: &Path) -> Result<Option<String>, String> {
    let text = if text.trim().is_empty() { "{\n}\n" } else { text };
    let config = parse(text)?;
    if config["default-runtime"] == OURS && config["runtimes"][OURS].is_object() {
        return Ok(None);
    }
    let by_hand = format!(
        "add by hand: \"runtimes\": {{\"{OURS}\": {{\"path\": \"{}\"}}}}, \"default-runtime\": \"{OURS}\"",
        printable(wrapper)
    );
    match &config["default-runtime"] {
        serde_json::Value::Null => (),
        other if other == THEIRS => (),
        other => {
            let other = printable(other.as_str().unwrap_or("?"));
            return Err(format!(
                "its default runtime is {other}, which hoodydb-runc would replace: {by_hand}, \
                 and \"runtimeArgs\": [\"--hoodydb-runtime=PATH of {other}\"] beside the path"
            ));
        }
    }
    if let Some(runtimes) = config["runtimes"].as_object().filter(|runtimes| !runtimes.is_empty()) {
        let names: Vec<String> = runtimes.keys().map(printable).collect();
        return Err(format!("it has runtimes of its own ({}), which get no mount: {by_hand}", names.join(", ")));
    }
    let text = with_default(text, OURS)?;
    let value = serde_json::json!({ OURS: { "path": wrapper.to_str() } }).to_string();
    with_field(&text, "runtimes", &value).map(Some)
}

fn with_default(text: &str, runtime: &str) -> Result<String, String> {
    with_field(text, "default-runtime", &format!("\"{runtime}\""))
}

fn with_field(text: &str, name: &str, value: &str) -> Result<String, String> {
    let fields = fields(text)?;
    Ok(apply(text, vec![set(text, text, &fields, name, value, "\n  ")]))
}

/// The configuration without our parts, where others changed it as well; `had_default` if it named docker's own default before.
fn without_runtime(text: &str, had_default: bool) -> Result<String, String> {
    let config = parse(text)?;
    let mut text = text.to_owned();
    if config["default-runtime"] == OURS {
        text = if had_default { with_default(&text, THEIRS)? } else { without_field(&text, "default-runtime")? };
    }
    if let Some(runtimes) = config["runtimes"].as_object().filter(|runtimes| runtimes.contains_key(OURS)) {
        text = if runtimes.len() == 1 { without_field(&text, "runtimes")? } else { without_inner(&text)? };
    }
    Ok(text)
}

fn without_field(text: &str, name: &str) -> Result<String, String> {
    let by_hand = || format!("take {name} out of it by hand");
    let edit = remove(text, &fields(text)?, name).ok_or_else(by_hand)?;
    Ok(apply(text, vec![edit]))
}

/// Takes our runtime out from among others.
fn without_inner(text: &str) -> Result<String, String> {
    let runtimes = fields(text)?.get("runtimes").copied().map_or("{}", |value| value.get());
    // Both texts are the same one: the inner values lie in the outer text.
    let inner: Fields = serde_json::from_str(runtimes).map_err(|error| error.to_string())?;
    let edit = remove(text, &inner, OURS).ok_or_else(|| format!("take the runtime {OURS} out of it by hand"))?;
    Ok(apply(text, vec![edit]))
}

/// Names of the containers that were made while ours was the default, stopped ones too.
///
/// # Source
/// moby: `DATA-ROOT/containers/ID/hostconfig.json` (`Runtime`) and `config.v2.json` (`Name`); with `userns-remap` the first part is
/// `DATA-ROOT/UID.GID`.
fn containers_with_our_runtime(config: &Path, daemon: Option<&Daemon>) -> Vec<String> {
    let flag = daemon.and_then(|daemon| daemon.values(&["--data-root", "-g"]).first().map(PathBuf::from));
    let in_file = || {
        let config = parse(&edit::read(config).ok()??).ok()?;
        config["data-root"].as_str().map(PathBuf::from)
    };
    let root = flag.or_else(in_file).unwrap_or_else(|| "/var/lib/docker".into());
    let json = |path: PathBuf| parse(&edit::read(&path).ok()??).ok();
    let entries = |directory: PathBuf| std::fs::read_dir(directory).into_iter().flatten().flatten();
    let roots = entries(root.clone()).map(|entry| entry.path()).chain([root]);
    let containers = roots.flat_map(|root| entries(root.join("containers")));
    let mut names: Vec<String> = containers
        .filter_map(|entry| {
            let host_config = json(entry.path().join("hostconfig.json"))?;
            let name = json(entry.path().join("config.v2.json"))?["Name"].as_str().map(str::to_owned);
            let name = name.unwrap_or_else(|| entry.file_name().to_string_lossy().into_owned());
            (host_config["Runtime"] == OURS).then(|| printable(name.trim_start_matches('/')))
        })
        .collect();
    names.sort();
    names
}

fn parse(text: &str) -> Result<serde_json::Value, String> {
    if text.trim().is_empty() {
        return Ok(serde_json::json!({}));
    }
    let value: serde_json::Value = serde_json::from_str(text)
        .map_err(|error| format!("it cannot be understood ({error}): docker takes JSON without comments"))?;
    if value.is_object() { Ok(value) } else { Err("it is no JSON object".to_owned()) }
}

fn fields(text: &str) -> Result<Fields<'_>, String> {
    serde_json::from_str(text).map_err(|error| format!("it cannot be understood ({error})"))
}

#[cfg(test)]
mod tests;
