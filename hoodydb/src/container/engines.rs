//! Names and images from the files that the engines keep of their containers.
//!
//! Called by [`super::Containers`]. Every file belongs to somebody else: it may be missing, huge, half written or anything at
//! all, and then the container has its id and no more.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::cgroup::{Engine, Place};
use crate::model::Container;

/// Longest file that is read: podman's list of some ten thousand containers.
const FILE_MAX_BYTES: u64 = 16 * 1024 * 1024;

/// Longest name or image that is taken.
const NAME_MAX_BYTES: usize = 256;

/// What is at a place; `is_apart` says whether the process has namespaces of its own.
pub(super) fn identify(root: &Path, place: &Place, is_apart: impl FnOnce() -> bool) -> Option<Container> {
    let host = Host { root };
    let id = place.id.as_str();
    let (engine, names) = match place.engine {
        Engine::Podman => ("podman", host.podman(id, place.uid)),
        Engine::Docker => ("docker", host.docker(id)),
        Engine::Containerd => ("containerd", host.containerd(id)),
        Engine::CriO => ("cri-o", host.crio(id)),
        Engine::Kubernetes => match host.crio(id) {
            Names { name: None, image: None, .. } => ("containerd", host.containerd(id)),
            names => ("cri-o", names),
        },
        Engine::Lxc => ("lxc", Names::default()),
        Engine::Nspawn => ("nspawn", Names::default()),
        Engine::Systemd => ("systemd", Names::default()),
        Engine::Unknown => match host.maker_of(place) {
            Some("containerd") => ("containerd", host.containerd(id)),
            maker => (maker.or_else(|| is_apart().then_some("container"))?, Names::default()),
        },
    };
    // It keeps the pod's network and runs no program of anybody's.
    (!names.is_sandbox).then(|| Container {
        engine: engine.to_owned(),
        id: id.to_owned(),
        name: names.name,
        image: names.image,
    })
}

#[derive(Debug, Default)]
struct Names {
    name: Option<String>,
    image: Option<String>,
    /// Whether it is not a container of a pod, but what holds the pod together.
    is_sandbox: bool,
}

struct Host<'a> {
    root: &'a Path,
}

impl Host<'_> {
    fn at(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    fn json(&self, path: impl AsRef<Path>) -> Option<Value> {
        serde_json::from_slice(&read(&self.at(path))?).ok()
    }

    /// # Source
    /// containers-storage.conf(5): `graphroot`; storage's `DRIVER-containers/containers.json`.
    fn podman(&self, id: &str, uid: Option<u32>) -> Names {
        let graph_root = read(&self.at("/etc/containers/storage.conf")).and_then(|text| graph_root(&text));
        let homes = uid.and_then(|uid| self.home_of(uid)).map(|home| home.join(".local/share/containers/storage"));
        let storages = homes.into_iter().chain([graph_root.unwrap_or_else(|| "/var/lib/containers/storage".into())]);
        for storage in storages {
            for driver in ["overlay", "vfs", "btrfs", "zfs"] {
                for file in ["containers.json", "volatile-containers.json"] {
                    let list = self.json(storage.join(format!("{driver}-containers")).join(file));
                    if let Some(names) = list.and_then(|list| podman_names(&list, id)) {
                        return names;
                    }
                }
            }
        }
        Names::default()
    }

    fn home_of(&self, uid: u32) -> Option<PathBuf> {
        let text = read(&self.at("/etc/passwd"))?;
        let text = String::from_utf8_lossy(&text).into_owned();
        let fields = text.lines().map(|line| line.split(':').collect::<Vec<_>>());
        let of_user = fields.filter(|fields| fields.get(2).and_then(|field| field.parse().ok()) == Some(uid));
        of_user.filter_map(|fields| fields.get(5).map(PathBuf::from)).next()
    }

    /// # Source
    /// daemon.json: `data-root`; moby's `containers/ID/config.v2.json`, with `userns-remap` in a directory that is named by the ids.
    fn docker(&self, id: &str) -> Names {
        let configured = self.json("/etc/docker/daemon.json");
        let data_root =
            configured.as_ref().and_then(|config| config["data-root"].as_str()).unwrap_or("/var/lib/docker");
        let root = Path::new(data_root);
        let file = |root: &Path| root.join("containers").join(id).join("config.v2.json");
        let remapped = || self.remapped(root).iter().find_map(|root| self.json(file(root)));
        let Some(config) = self.json(file(root)).or_else(remapped) else { return Names::default() };
        let name = config["Name"].as_str().map(|name| name.trim_start_matches('/'));
        Names { name: short(name), image: short(config["Config"]["Image"].as_str()), ..Names::default() }
    }

    /// Docker's data of mapped users: `UID.GID` below its data of root.
    fn remapped(&self, root: &Path) -> Vec<PathBuf> {
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let is_pair = |name: &str| name.split_once('.').is_some_and(|(uid, gid)| is_number(uid) && is_number(gid));
        let entries = std::fs::read_dir(self.at(root)).into_iter().flatten().flatten();
        let pairs = entries.filter(|entry| entry.file_name().to_str().is_some_and(is_pair));
        pairs.take(64).map(|entry| root.join(entry.file_name())).collect()
    }

    /// # Source
    /// containerd's runtime v2: a bundle per task, `NAMESPACE/ID/config.json`.
    fn containerd(&self, id: &str) -> Names {
        for namespace in self.containerd_namespaces() {
            if let Some(spec) = self.json(namespace.join(id).join("config.json")) {
                return names_of_spec(&spec);
            }
        }
        Names::default()
    }

    fn containerd_namespaces(&self) -> Vec<PathBuf> {
        let tasks = Path::new("/run/containerd/io.containerd.runtime.v2.task");
        let entries = std::fs::read_dir(self.at(tasks)).into_iter().flatten().flatten();
        entries.take(64).map(|entry| tasks.join(entry.file_name())).collect()
    }

    fn crio(&self, id: &str) -> Names {
        for storage in ["/run/containers/storage", "/var/run/containers/storage"] {
            let bundle = Path::new(storage).join("overlay-containers").join(id).join("userdata/config.json");
            if let Some(spec) = self.json(bundle) {
                return names_of_spec(&spec);
            }
        }
        Names::default()
    }

    /// Who has a container of that id, where its path tells nothing.
    fn maker_of(&self, place: &Place) -> Option<&'static str> {
        let id = &place.id;
        let runs = |state: PathBuf| self.at(state).symlink_metadata().is_ok();
        let below = |directory: &str| Path::new(directory).join(id);
        if runs(below("/run/runc").join("state.json")) {
            return Some("runc");
        }
        if runs(below("/run/crun").join("status")) {
            return Some("crun");
        }
        let namespace = place.above.as_deref()?;
        runs(Path::new("/run/containerd/io.containerd.runtime.v2.task").join(namespace).join(id))
            .then_some("containerd")
    }
}

/// `graphroot = "/path"` of a TOML file, without the rest of TOML.
fn graph_root(text: &[u8]) -> Option<PathBuf> {
    let text = String::from_utf8_lossy(text).into_owned();
    let value = text.lines().find_map(|line| line.trim().strip_prefix("graphroot")?.trim_start().strip_prefix('='))?;
    let path = value.trim().trim_matches(['"', '\'']);
    path.starts_with('/').then(|| path.into())
}

fn podman_names(list: &Value, id: &str) -> Option<Names> {
    let container = list.as_array()?.iter().find(|one| one["id"] == id)?;
    let metadata: Option<Value> = container["metadata"].as_str().and_then(|text| serde_json::from_str(text).ok());
    let image = metadata.as_ref().and_then(|metadata| metadata["image-name"].as_str());
    Some(Names { name: short(container["names"][0].as_str()), image: short(image), ..Names::default() })
}

/// # Source
/// Annotations that containerd's CRI plugin, cri-o and nerdctl write into the bundle.
fn names_of_spec(spec: &Value) -> Names {
    let annotation = |name: &str| spec["annotations"][name].as_str().filter(|text| !text.is_empty());
    let first = |names: &[&str]| names.iter().find_map(|name| annotation(name));
    let pod = first(&["io.kubernetes.cri.sandbox-name", "io.kubernetes.pod.name"]);
    let container = first(&["io.kubernetes.cri.container-name", "io.kubernetes.container.name", "nerdctl/name"]);
    let image = first(&["io.kubernetes.cri.image-name", "io.kubernetes.cri-o.ImageName"]);
    let name = match (pod, container) {
        (Some(pod), Some(container)) => Some(format!("{pod}/{container}")),
        (pod, container) => container.or(pod).map(str::to_owned),
    };
    let is_sandbox =
        first(&["io.kubernetes.cri.container-type", "io.kubernetes.cri-o.ContainerType"]) == Some("sandbox");
    Names { name: short(name.as_deref()), image: short(image), is_sandbox }
}

fn short(name: Option<&str>) -> Option<String> {
    let name = name.filter(|name| !name.is_empty())?;
    let end = (0..=name.len().min(NAME_MAX_BYTES)).rev().find(|end| name.is_char_boundary(*end))?;
    Some(name[..end].to_owned())
}

/// A regular file, whole; what takes its place (a pipe, a device) must not keep the reader.
fn read(path: &Path) -> Option<Vec<u8>> {
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file: File = OpenOptions::new().read(true).custom_flags(nonblocking).open(path).ok()?;
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut text = Vec::new();
    file.take(FILE_MAX_BYTES + 1).read_to_end(&mut text).ok()?;
    (text.len() as u64 <= FILE_MAX_BYTES).then_some(text)
}

#[cfg(test)]
mod tests;
