//! The command lines that inspect or end a blocker.
//!
//! They are meant to be copied into a shell, and names come from strangers: what is not plain is quoted or left out.

use crate::model::{Container, DatabaseTop, MountTop, WaitLine};

/// For the process at the root of the waits.
pub(super) fn of(root: &WaitLine, mount: &MountTop, database: &DatabaseTop) -> Vec<String> {
    let pid = root.process.pid;
    if pid == 0 {
        return vec!["  the kernel did not tell who it is: it lives in another pid namespace".to_owned()];
    }
    let mut lines = Vec::new();
    match root.halted.as_deref() {
        Some("frozen") => lines.extend(resume(root.container.as_ref())),
        Some(_) => lines.push(format!("  kill -CONT {pid}  # it is stopped: lets it go on")),
        None => (),
    }
    lines.push(format!("  ps -o pid,user,stat,etime,args -p {pid}"));
    lines.extend(root.container.as_ref().and_then(inspect));
    if let (Some(mountpoint), Some(path)) = (word(&mount.mountpoint), word(&database.path)) {
        lines.push(format!("  hoodydb locks --mount {mountpoint} --db {path}"));
    }
    lines.push(format!("  kill {pid}  # ends it: its transaction is rolled back"));
    lines
}

fn resume(container: Option<&Container>) -> Option<String> {
    let container = container?;
    let id = name_of(container)?;
    match container.engine.as_str() {
        engine @ ("docker" | "podman") => Some(format!("  {engine} unpause {id}  # it is paused: lets it go on")),
        "runc" => Some(format!("  runc resume {id}  # it is paused: lets it go on")),
        "lxc" => Some(format!("  lxc-unfreeze {id}  # it is frozen: lets it go on")),
        "systemd" => Some(format!("  systemctl thaw {id}  # it is frozen: lets it go on")),
        _ => None,
    }
}

fn inspect(container: &Container) -> Option<String> {
    let id = name_of(container)?;
    match container.engine.as_str() {
        engine @ ("docker" | "podman") => Some(format!("  {engine} logs --tail 20 {id}")),
        "containerd" | "cri-o" => Some(format!("  crictl logs --tail 20 {id}")),
        "systemd" => Some(format!("  systemctl status {id}")),
        "lxc" => Some(format!("  lxc-info {id}")),
        "nspawn" => Some(format!("  machinectl status {id}")),
        "runc" => Some(format!("  runc state {id}")),
        _ => None,
    }
}

/// As the engine's commands take it: the name reads better than an id of 64 digits.
fn name_of(container: &Container) -> Option<String> {
    let takes_names = ["docker", "podman"].contains(&container.engine.as_str());
    let name = container.name.as_deref().filter(|_| takes_names).and_then(word);
    name.or_else(|| word(&container.id))
}

/// One word of a shell's command line; none where a name has what no terminal should see.
fn word(text: &str) -> Option<String> {
    let is_plain = |character: char| character.is_ascii_alphanumeric() || "/._@:-".contains(character);
    if text.is_empty() || text.starts_with('-') || crate::model::printable(text) != text {
        return None;
    }
    if text.chars().all(is_plain) {
        return Some(text.to_owned());
    }
    Some(format!("'{}'", text.replace('\'', r"'\''")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ProcessName;

    fn hints(engine: &str, id: &str, halted: Option<&str>) -> Vec<String> {
        let container = Container { engine: engine.to_owned(), id: id.to_owned(), ..Container::default() };
        let root = WaitLine {
            process: ProcessName { pid: 5, command: "x".to_owned() },
            container: Some(container),
            halted: halted.map(str::to_owned),
            ..WaitLine::default()
        };
        let mount = MountTop { mountpoint: "/m".to_owned(), ..MountTop::default() };
        of(&root, &mount, &DatabaseTop { path: "a b.db".to_owned(), ..DatabaseTop::default() })
    }

    #[test]
    fn each_engine_has_its_commands() {
        let docker = hints("docker", "abc", Some("frozen"));
        assert!(docker[0].contains("docker unpause abc"), "{docker:?}");
        assert!(docker.iter().any(|line| line.contains("docker logs --tail 20 abc")));
        assert!(docker.iter().any(|line| line == "  hoodydb locks --mount /m --db 'a b.db'"));
        assert!(hints("systemd", "a.service", None)[1].contains("systemctl status a.service"));
        assert!(hints("runc", "a", Some("stopped"))[0].contains("kill -CONT 5"));
    }

    #[test]
    fn no_name_runs_a_command() {
        assert_eq!(word("$(reboot)").unwrap(), "'$(reboot)'");
        assert_eq!(word("a'; reboot; '").unwrap(), r"'a'\''; reboot; '\'''");
        assert_eq!(word("-rf"), None);
        assert_eq!(word("a\u{1b}[2J"), None);
        assert!(hints("docker", "x; reboot", None).iter().all(|line| !line.contains("20 x;")));
    }
}
