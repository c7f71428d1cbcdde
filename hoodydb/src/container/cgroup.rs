//! From a control group's path to an engine and an id. Called by [`super::Containers`]; it reads nothing.
//!
//! # Source
//! The paths that engines make, with the systemd and the cgroupfs driver, on cgroup v1 and v2; see the tests.

/// Who made a control group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Engine {
    Podman,
    Docker,
    Containerd,
    CriO,
    /// Kubernetes with cgroupfs: the path does not tell whose container it is.
    Kubernetes,
    Lxc,
    Nspawn,
    Systemd,
    /// A path that no engine is known for: runc by itself, `ctr`, or no container at all.
    Unknown,
}

/// An engine's container, or a unit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) engine: Engine,
    pub(super) id: String,
    /// The component above: containerd's namespace, for `ctr`.
    pub(super) above: Option<String>,
    /// Whose user's engine it is.
    pub(super) uid: Option<u32>,
}

impl Place {
    /// Whether the path alone tells that it is a container or a unit.
    pub(super) fn is_certain(&self) -> bool {
        self.engine != Engine::Unknown
    }
}

/// The control groups of this process itself.
#[derive(Debug, Default)]
pub(super) struct Own(Vec<(String, String)>);

impl Own {
    /// From /proc/self/cgroup.
    pub(super) fn of(text: &str) -> Self {
        Self(lines(text).map(|(controllers, path)| (controllers.to_owned(), path.to_owned())).collect())
    }

    /// What lies below the own group, or the whole path if it lies elsewhere; none where it is the own group.
    fn below<'a>(&self, controllers: &str, path: &'a str) -> Option<&'a str> {
        let own = self.0.iter().find(|(names, _)| names == controllers).map_or("/", |(_, path)| path.as_str());
        if path == own {
            return None;
        }
        match path.strip_prefix(own) {
            Some(rest) if own != "/" && rest.starts_with('/') => Some(rest),
            _ => Some(path),
        }
    }
}

/// The most telling line of /proc/PID/cgroup: on a host with both versions, each line has a path of its own.
pub(super) fn place_in(text: &str, own: &Own) -> Option<Place> {
    let places = lines(text).filter_map(|(controllers, path)| place_of(own.below(controllers, path)?));
    places.min_by_key(|place| place.engine)
}

/// # Source
/// cgroups(7): `hierarchy-ID:controller-list:cgroup-path`.
fn lines(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines().filter_map(|line| {
        let mut fields = line.splitn(3, ':');
        let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        path.starts_with('/').then_some((controllers, path))
    })
}

fn place_of(path: &str) -> Option<Place> {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != "..").collect();
    let uid = parts.iter().find_map(|part| part.strip_prefix("user-")?.strip_suffix(".slice")?.parse().ok());
    let place = |engine, id: &str, at: usize| Place {
        engine,
        id: id.to_owned(),
        above: at.checked_sub(1).map(|above| parts[above].to_owned()),
        uid,
    };
    // The innermost one: a container may itself hold containers.
    for at in (0..parts.len()).rev() {
        if let Some((engine, id)) = container_at(&parts, at) {
            return Some(place(engine, &id, at));
        }
    }
    if let Some(at) = (0..parts.len()).rev().find(|at| is_unit(parts[*at])) {
        return Some(place(Engine::Systemd, parts[at], at));
    }
    let last = parts.len().checked_sub(1)?;
    // Slices and sessions are how systemd sorts processes, not what keeps them apart.
    let is_systemds = |part: &&str| [".slice", ".scope", ".service"].iter().any(|end| part.ends_with(end));
    (!parts.iter().any(is_systemds)).then(|| place(Engine::Unknown, parts[last], last))
}

fn container_at(parts: &[&str], at: usize) -> Option<(Engine, String)> {
    let part = parts[at];
    let above = at.checked_sub(1).map_or("", |above| parts[above]);
    if let Some(name) = part.strip_prefix("lxc.payload.").or((above == "lxc" || above == "lxc.payload").then_some(part))
    {
        return (!name.is_empty()).then(|| (Engine::Lxc, name.to_owned()));
    }
    if let Some(name) = part.strip_prefix("systemd-nspawn@").and_then(|name| name.strip_suffix(".service")) {
        return Some((Engine::Nspawn, unescaped(name)));
    }
    let plain = part.strip_suffix(".scope").unwrap_or(part);
    if let Some(name) = plain.strip_prefix("machine-").filter(|_| plain != part) {
        return Some((Engine::Nspawn, unescaped(name)));
    }
    // With systemd: docker-ID.scope. Where one side uses cgroupfs and the other does not: system.slice:docker:ID.
    let (maker, id) = plain.rsplit_once([':', '-']).unwrap_or(("", plain));
    if !is_hash(id) {
        return None;
    }
    let engine = match maker.rsplit(':').next().unwrap_or(maker) {
        "libpod" => Engine::Podman,
        "docker" => Engine::Docker,
        "cri-containerd" | "nerdctl" => Engine::Containerd,
        "crio" => Engine::CriO,
        "" if above == "docker" => Engine::Docker,
        "" if above.starts_with("libpod") => Engine::Podman,
        "" if parts.iter().any(|part| part.starts_with("kubepods")) => Engine::Kubernetes,
        _ => return None,
    };
    Some((engine, id.to_owned()))
}

fn is_unit(part: &str) -> bool {
    let is_a_users = part.starts_with("user@") || part.starts_with("session-") || part == "init.scope";
    !is_a_users && (part.ends_with(".service") || part.ends_with(".scope"))
}

fn is_hash(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// # Source
/// systemd.unit(5): `-` in the name of a machine is written `\x2d`.
fn unescaped(name: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = name.as_bytes();
    while let [byte, after @ ..] = rest {
        let code = after.strip_prefix(b"x").and_then(|digits| std::str::from_utf8(digits.get(..2)?).ok());
        match code.filter(|_| *byte == b'\\').and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(decoded) => {
                bytes.push(decoded);
                rest = &after[3..];
            }
            None => {
                bytes.push(*byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn found(text: &str) -> Option<(Engine, String)> {
        place_in(&text.replace("ID", ID), &Own::default()).map(|place| (place.engine, place.id.replace(ID, "ID")))
    }

    #[test]
    fn each_engine_has_its_paths() {
        let rows = [
            ("0::/machine.slice/libpod-ID.scope/container", Engine::Podman, "ID"),
            ("0::/libpod_parent/libpod-ID", Engine::Podman, "ID"),
            ("0::/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-ID.scope", Engine::Podman, "ID"),
            ("4:memory:/docker/ID", Engine::Docker, "ID"),
            ("0::/system.slice/docker-ID.scope/init.scope", Engine::Docker, "ID"),
            ("0::/system.slice:docker:ID", Engine::Docker, "ID"),
            ("0::/kubepods.slice/kubepods-podab_c.slice/cri-containerd-ID.scope", Engine::Containerd, "ID"),
            ("0::/kubepods-besteffort-pod1.slice:cri-containerd:ID", Engine::Containerd, "ID"),
            ("0::/system.slice/nerdctl-ID.scope", Engine::Containerd, "ID"),
            ("0::/kubepods.slice/kubepods-pod1.slice/crio-ID.scope", Engine::CriO, "ID"),
            ("3:cpu:/kubepods/besteffort/pod1-2-3/ID", Engine::Kubernetes, "ID"),
            ("0::/lxc.payload.web/system.slice/nginx.service", Engine::Lxc, "web"),
            ("2:cpu:/lxc/web", Engine::Lxc, "web"),
            (r"0::/machine.slice/machine-my\x2dbox.scope/payload", Engine::Nspawn, "my-box"),
            ("0::/machine.slice/systemd-nspawn@box.service/payload", Engine::Nspawn, "box"),
            ("0::/system.slice/nginx.service/worker", Engine::Systemd, "nginx.service"),
            ("0::/user.slice/user-7.slice/user@7.service/app.slice/a.service", Engine::Systemd, "a.service"),
            ("0::/web-1", Engine::Unknown, "web-1"),
        ];
        for (text, engine, id) in rows {
            assert_eq!(found(text), Some((engine, id.to_owned())), "{text}");
        }
    }

    #[test]
    fn plain_processes_are_in_none() {
        for text in [
            "0::/",
            "",
            "0::/user.slice/user-0.slice/session-3.scope",
            "0::/init.scope",
            "0::/user.slice",
            "x",
            "0::rel",
        ] {
            assert_eq!(found(text), None, "{text}");
        }
        assert_eq!(
            found("0::/machine.slice/libpod-conmon-ID.scope").map(|(engine, _)| engine),
            Some(Engine::Systemd),
            "the container's monitor is not in the container"
        );
    }

    #[test]
    fn the_most_telling_line_counts() {
        assert_eq!(found("9:name=systemd:/\n4:memory:/app\n2:cpu:/docker/ID\n0::/").unwrap().0, Engine::Docker);
    }

    #[test]
    fn the_innermost_container_counts() {
        assert_eq!(found("0::/docker/ID/lxc/inner"), Some((Engine::Lxc, "inner".to_owned())));
    }

    #[test]
    fn what_this_process_is_in_tells_nothing() {
        let own = Own::of(&format!("0::/docker/{ID}\n4:memory:/jail\n"));
        let of = |text: &str| place_in(&text.replace("ID", ID), &own).map(|place| (place.engine, place.id));
        assert_eq!(of("0::/docker/ID"), None);
        assert_eq!(of("0::/docker/ID\n4:memory:/jail"), None);
        assert_eq!(of("0::/docker/ID/inner"), Some((Engine::Unknown, "inner".to_owned())));
        assert_eq!(of("4:memory:/jailed"), Some((Engine::Unknown, "jailed".to_owned())));
    }

    #[test]
    fn a_users_own_engine_is_told() {
        let text = format!("0::/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{ID}.scope");
        assert_eq!(place_in(&text, &Own::default()).unwrap().uid, Some(1000));
    }
}
