//! The tables of `hoodydb containers status`.

use super::Style;
use super::table::{self, name, number};
use super::units::seconds;
use crate::model::{ContainerStatus, Containers, EngineStatus, printable};

/// Longest name or id in the table.
const NAME_MAX_CHARS: usize = 40;

/// The engines, then the containers; `now_s` is in seconds since 1970.
pub fn containers(status: &Containers, now_s: u64, style: Style) -> String {
    let engines = [name("engine"), name("state"), name("version"), name("")];
    let mut text = table::draw(&engines, status.engines.iter().map(engine).collect(), style);
    text.push('\n');
    if status.containers.is_empty() {
        text.push_str("no container runs\n");
        return text;
    }
    let columns = [name("container"), name("mount"), number("since"), number("locks"), number("pid"), name("image")];
    let rows = status.containers.iter().map(|one| container(one, now_s)).collect();
    text.push_str(&table::draw(&columns, rows, style));
    text
}

fn engine(engine: &EngineStatus) -> Vec<String> {
    let or_empty = |text: &Option<String>| text.as_deref().map(printable).unwrap_or_default();
    vec![printable(&engine.engine), printable(&engine.state), or_empty(&engine.version), or_empty(&engine.detail)]
}

fn container(status: &ContainerStatus, now_s: u64) -> Vec<String> {
    let since = status.since_s.map_or_else(|| "-".to_owned(), |since| seconds(now_s.saturating_sub(since)));
    let image = status.container.image.as_deref().map(printable).unwrap_or_default();
    vec![
        short(status.container.label()),
        printable(&status.mount),
        since,
        status.locks.to_string(),
        status.pid.to_string(),
        short(image),
    ]
}

fn short(text: String) -> String {
    match text.char_indices().nth(NAME_MAX_CHARS) {
        Some((end, _)) => format!("{}..", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Container;

    fn status() -> Containers {
        let engine = |engine: &str, state: &str, version: Option<&str>, detail: Option<&str>| EngineStatus {
            engine: engine.to_owned(),
            state: state.to_owned(),
            version: version.map(str::to_owned),
            detail: detail.map(str::to_owned),
        };
        let container = |name: &str, mount: &str, since_s, locks| ContainerStatus {
            container: Container {
                engine: "docker".to_owned(),
                id: "ab".repeat(32),
                name: Some(name.to_owned()),
                image: Some("debian:12".to_owned()),
            },
            pid: 4711,
            mount: mount.to_owned(),
            since_s,
            locks,
        };
        Containers {
            engines: vec![
                engine("podman", "enabled", Some("4.3.1"), None),
                engine("docker", "left alone", None, Some("/etc/docker/daemon.json is left alone: x")),
                engine("lxc", "absent", None, None),
            ],
            containers: vec![
                container("evil\u{1b}[2J\nname", "live", Some(1_000), 3),
                container(&"long".repeat(20), "none", None, 0),
            ],
        }
    }

    #[test]
    fn engines_and_containers() {
        insta::assert_snapshot!(containers(&status(), 4_700, Style::default()));
    }

    #[test]
    fn nothing_runs() {
        let idle = Containers { containers: Vec::new(), ..status() };
        insta::assert_snapshot!(containers(&idle, 0, Style::default()));
    }

    #[test]
    fn json_schema_of_containers() {
        insta::assert_snapshot!(super::super::json(&status()).unwrap());
    }
}
