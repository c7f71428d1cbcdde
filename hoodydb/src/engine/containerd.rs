//! containerd below Kubernetes: `hoodydb-runc` as the binary of the CRI plugin's runtime, in config.toml.
//!
//! Called by [`super`]. Other clients of containerd (`ctr`, docker) bring a configuration of their own for each container, which
//! no file changes. What containerd makes of the new file is asked of containerd itself before it is put in place.
//!
//! # Source
//! containerd's docs/cri/config.md; `options.BinaryName` was measured over CRI on 1.6 and 1.7.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use toml_edit::{DocumentMut, Item, Table, TableLike, value};

use super::edit::{self, Record};
use super::installed::{Daemon, daemons, program, version};
use super::{Done, Engine, EngineError, Found, State};
use crate::model::printable;

/// The first version with this layout of the configuration.
const NEEDED: &str = "1.6";

/// Where containerd looks without `--config`.
const CONFIG: &str = "/etc/containerd/config.toml";

/// The name of the runtime in the CRI plugin, and its shim.
const RUNTIME: (&str, &str) = ("runc", "io.containerd.runc.v2");

/// The CRI plugin, by the version of the configuration.
const PLUGINS: [(i64, &str); 2] = [(2, "io.containerd.grpc.v1.cri"), (3, "io.containerd.cri.v1.runtime")];

/// How far the time of a start is cut off.
const TICK: Duration = Duration::from_millis(10);

struct Containerd {
    version: String,
    daemon: Option<Daemon>,
    config: PathBuf,
}

pub(super) fn enable(wrapper: &Path) -> Result<Done, EngineError> {
    let containerd = find()?;
    let text = edit::read(&containerd.config)?.unwrap_or_default();
    // As docker's own packages configure it, in whatever version of the configuration.
    if let Some(reason) = parse(&text).ok().and_then(|document| check_is_on(&document).err()) {
        return Err(EngineError::Unused { path: containerd.config, reason });
    }
    let left_alone = |reason: String| EngineError::LeftAlone { path: containerd.config.clone(), reason };
    let Some(after) = with_binary(&text, wrapper).map_err(left_alone)? else { return Ok(Done::default()) };
    try_out(&after, wrapper).map_err(|why| EngineError::NotTaken { engine: Engine::Containerd, why })?;
    let package = edit::package_of(&containerd.config);
    let changed = edit::change(Engine::Containerd, &containerd.config, &after)?;
    let mut notes = vec![restart(containerd.daemon.as_ref())];
    if let Some(package) = package {
        notes.push(format!(
            "{} belongs to the package {package}, whose next upgrade will ask about it",
            printable(&containerd.config)
        ));
    }
    Ok(Done { changed, notes })
}

pub(super) fn disable() -> Result<Done, EngineError> {
    let Some(record) = Record::load(Engine::Containerd)? else { return Ok(Done::default()) };
    let target = record.target(without_binary)?;
    record.restore(Engine::Containerd, target)?;
    let notes = vec![restart(find().ok().and_then(|containerd| containerd.daemon).as_ref())];
    Ok(Done { changed: true, notes })
}

pub(super) fn status() -> Result<Found, EngineError> {
    let containerd = find()?;
    let text = edit::read(&containerd.config)?.unwrap_or_default();
    let wrapper = super::wrapper().unwrap_or_default();
    let (state, detail) = match with_binary(&text, &wrapper) {
        Ok(None) if has_started_since(&containerd) => (State::Enabled, None),
        Ok(None) => (State::Waiting, Some("containerd has not read its configuration: restart it".to_owned())),
        Ok(Some(_)) => (State::Disabled, None),
        Err(reason) => (State::LeftAlone, Some(reason)),
    };
    Ok(Found { state, version: containerd.version, detail })
}

fn find() -> Result<Containerd, EngineError> {
    let version = version(Engine::Containerd, "containerd", NEEDED)?;
    // One that dockerd started for itself serves docker alone.
    let is_dockers = |daemon: &Daemon| daemon.values(&["--config", "-c"]).iter().any(|path| path.contains("/docker/"));
    let mut of_root = daemons("containerd");
    of_root.retain(|daemon| daemon.uid == 0 && !is_dockers(daemon));
    let daemon = of_root.into_iter().next();
    let named = daemon.as_ref().and_then(|daemon| daemon.values(&["--config", "-c"]).first().map(PathBuf::from));
    let config = named.unwrap_or_else(|| CONFIG.into());
    if config.components().any(|part| part.as_os_str() == "rancher") {
        let reason = "k3s writes it anew at each start: put the BinaryName into config.toml.tmpl beside it".to_owned();
        return Err(EngineError::LeftAlone { path: config, reason });
    }
    Ok(Containerd { version, daemon, config })
}

/// Restarts containerd where systemd keeps it, or says that it is to be done. Containers go on meanwhile: their shims are
/// processes of their own.
fn restart(daemon: Option<&Daemon>) -> String {
    if daemon.is_none() {
        return "containerd does not run: it takes effect at its next start".to_owned();
    }
    let systemctl =
        |words: &[&str]| Command::new("systemctl").args(words).output().is_ok_and(|output| output.status.success());
    if Path::new("/run/systemd/system").exists()
        && systemctl(&["is-active", "--quiet", "containerd"])
        && systemctl(&["restart", "containerd"])
    {
        return "containerd was restarted; containers go on, and those that are made from now on follow".to_owned();
    }
    "restart containerd: it reads its configuration at its start only".to_owned()
}

/// Whether the daemon that runs is younger than its configuration; true if none runs.
fn has_started_since(containerd: &Containerd) -> bool {
    let Some(daemon) = &containerd.daemon else { return true };
    // The time of /proc/PID is that of the first look at it, not of the start.
    let started = daemon.started().map(|time| time + TICK);
    started >= containerd.config.metadata().and_then(|meta| meta.modified()).ok()
}

/// Has containerd read the new configuration, and looks for our binary in what it makes of it.
fn try_out(text: &str, wrapper: &Path) -> Result<(), String> {
    let trial = Path::new("/run").join(format!("hoodydb-containerd-{}.toml", std::process::id()));
    let program = program("containerd").unwrap_or_else(|| "containerd".into());
    let dump = std::fs::write(&trial, text)
        .and_then(|()| Command::new(program).arg("--config").arg(&trial).args(["config", "dump"]).output());
    let _ = std::fs::remove_file(&trial);
    let output = dump.map_err(|error| format!("containerd config dump: {error}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(printable(said.lines().last().unwrap_or("it gives no reason")));
    }
    let dumped = String::from_utf8_lossy(&output.stdout).into_owned();
    match with_binary(&dumped, wrapper) {
        Ok(None) => Ok(()),
        Ok(Some(_)) => Err("an import of its configuration sets another runtime".to_owned()),
        Err(reason) => Err(reason),
    }
}

/// The configuration with our binary; none if it has it already.
fn with_binary(text: &str, wrapper: &Path) -> Result<Option<String>, String> {
    let mut document = parse(text)?;
    if document.is_empty() {
        document["version"] = value(2);
    }
    check_is_on(&document)?;
    let plugin = plugin_of(&document)?;
    let wrapper = wrapper.to_str().ok_or("the path of hoodydb-runc is not UTF-8")?;
    let mut table: &mut dyn TableLike = document.as_table_mut();
    for name in ["plugins", plugin, "containerd"] {
        table = inner(table, name)?;
    }
    if let Some(other) = string(table, "default_runtime_name").filter(|name| *name != RUNTIME.0) {
        return Err(format!(
            "its default runtime is {}: give that one the BinaryName {wrapper} by hand",
            printable(other)
        ));
    }
    for name in ["runtimes", RUNTIME.0] {
        table = inner(table, name)?;
    }
    match string(table, "runtime_type") {
        None | Some("") => _ = table.insert("runtime_type", value(RUNTIME.1)),
        Some(shim) if shim == RUNTIME.1 => (),
        Some(other) => return Err(format!("its runtime {} is of the type {}", RUNTIME.0, printable(other))),
    }
    let options = inner(table, "options")?;
    match string(options, "BinaryName") {
        Some(name) if name == wrapper => return Ok(None),
        None | Some("" | "runc") => _ = options.insert("BinaryName", value(wrapper)),
        Some(other) => return Err(format!("its runtime is {}, which hoodydb-runc would replace", printable(other))),
    }
    Ok(Some(document.to_string()))
}

/// The configuration without our binary, where others changed it as well.
fn without_binary(text: &str) -> Result<String, String> {
    let mut document = parse(text)?;
    let plugin = plugin_of(&document)?;
    let mut table: &mut dyn TableLike = document.as_table_mut();
    for name in ["plugins", plugin, "containerd", "runtimes", RUNTIME.0, "options"] {
        table = inner(table, name)?;
    }
    let is_ours = string(table, "BinaryName").is_some_and(|name| name.ends_with(super::WRAPPER));
    if is_ours {
        table.remove("BinaryName");
        return Ok(document.to_string());
    }
    Ok(text.to_owned())
}

fn parse(text: &str) -> Result<DocumentMut, String> {
    text.parse().map_err(|error: toml_edit::TomlError| {
        format!("it cannot be understood: {}", printable(error.message().replace('\n', " ")))
    })
}

fn plugin_of(document: &DocumentMut) -> Result<&'static str, String> {
    let version = document.get("version").and_then(Item::as_integer).unwrap_or(1);
    let known = PLUGINS.iter().find(|(number, _)| *number == version).map(|(_, plugin)| *plugin);
    known.ok_or_else(|| format!("it is of version {version}, not 2 or 3: see containerd config migrate"))
}

fn check_is_on(document: &DocumentMut) -> Result<(), String> {
    let disabled = document.get("disabled_plugins").and_then(Item::as_array);
    let names = disabled.into_iter().flatten().filter_map(toml_edit::Value::as_str);
    if names.into_iter().any(|name| name == "cri" || PLUGINS.iter().any(|(_, plugin)| *plugin == name)) {
        return Err("its CRI plugin is disabled, so that no Kubernetes uses it; docker is set up by itself".to_owned());
    }
    Ok(())
}

/// The table of a name, made where it is missing.
fn inner<'a>(table: &'a mut dyn TableLike, name: &str) -> Result<&'a mut dyn TableLike, String> {
    let item = table.entry(name).or_insert_with(|| {
        let mut table = Table::new();
        table.set_implicit(true);
        Item::Table(table)
    });
    item.as_table_like_mut().ok_or_else(|| format!("its {} is no table", printable(name)))
}

fn string<'a>(table: &'a dyn TableLike, name: &str) -> Option<&'a str> {
    table.get(name).and_then(Item::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Debian's.
    const DEBIAN: &str = "version = 2

[plugins]
  [plugins.\"io.containerd.grpc.v1.cri\"]
    [plugins.\"io.containerd.grpc.v1.cri\".cni]
      bin_dir = \"/usr/lib/cni\" # ours
";

    fn with(text: &str) -> Result<Option<String>, String> {
        with_binary(text, Path::new("/usr/bin/hoodydb-runc"))
    }

    #[test]
    fn the_binary_is_added_once() {
        let after = with(DEBIAN).unwrap().unwrap();
        insta::assert_snapshot!(after);
        assert!(after.starts_with(DEBIAN.trim_end()));
        assert_eq!(with(&after), Ok(None));
        assert!(!without_binary(&after).unwrap().contains("hoodydb"));
        insta::assert_snapshot!(with("").unwrap().unwrap());
        assert!(with("version = 3\n").unwrap().unwrap().contains("cri.v1.runtime"));
    }

    #[test]
    fn what_is_not_ours_is_left_alone() {
        let head = "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".containerd";
        let reasons = [
            "version = 1".to_owned(),
            "imports = [".to_owned(),
            "version = 2\ndisabled_plugins = [\"cri\"]".to_owned(),
            format!("{head}]\ndefault_runtime_name = \"nvidia\"\n"),
            format!("{head}.runtimes.runc]\nruntime_type = \"io.containerd.kata.v2\"\n"),
            format!("{head}.runtimes.runc.options]\nBinaryName = \"/usr/bin/nvidia-container-runtime\"\n"),
            "version = 2\nplugins = 3\n".to_owned(),
        ]
        .map(|text| with(&text).unwrap_err());
        insta::assert_snapshot!(reasons.join("\n"));
    }
}
