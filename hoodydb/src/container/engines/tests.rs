use super::*;

const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// A host of a few files, removed with the value.
struct Files(PathBuf);

impl Files {
    fn of(name: &str, files: &[(&str, &str)]) -> Self {
        let root = std::env::temp_dir().join(format!("hoodydb-engines-{name}-{}", std::process::id()));
        for (path, text) in files {
            let path = root.join(path.replace("ID", ID).trim_start_matches('/'));
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text.replace("ID", ID)).unwrap();
        }
        Self(root)
    }

    fn identify(&self, engine: Engine) -> Container {
        self.place(Place { engine, id: ID.to_owned(), above: None, uid: Some(1000) }).unwrap()
    }

    fn place(&self, place: Place) -> Option<Container> {
        identify(&self.0, &place, || false)
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn shown(container: &Container) -> [&str; 3] {
    [&container.engine, container.name.as_deref().unwrap_or("-"), container.image.as_deref().unwrap_or("-")]
}

#[test]
fn docker_keeps_a_file_per_container() {
    let config = r#"{"Name": "/web", "Config": {"Image": "nginx:1"}}"#;
    let files = Files::of("docker", &[("/var/lib/docker/containers/ID/config.v2.json", config)]);
    assert_eq!(shown(&files.identify(Engine::Docker)), ["docker", "web", "nginx:1"]);
    let remapped = [("/var/lib/docker/100000.100000/containers/ID/config.v2.json", config)];
    assert_eq!(shown(&Files::of("docker-remapped", &remapped).identify(Engine::Docker)), ["docker", "web", "nginx:1"]);
    let moved = [("/etc/docker/daemon.json", r#"{"data-root": "/d"}"#), ("/d/containers/ID/config.v2.json", config)];
    assert_eq!(shown(&Files::of("docker-moved", &moved).identify(Engine::Docker)), ["docker", "web", "nginx:1"]);
}

#[test]
fn podman_keeps_a_list() {
    let list = r#"[{"id": "x"}, {"id": "ID", "names": ["db"], "metadata": "{\"image-name\": \"localhost/db\"}"}]"#;
    let file = "/var/lib/containers/storage/overlay-containers/containers.json";
    assert_eq!(shown(&Files::of("podman", &[(file, list)]).identify(Engine::Podman)), ["podman", "db", "localhost/db"]);
    let moved = [
        ("/etc/containers/storage.conf", "[storage]\n# graphroot\ngraphroot = \"/pool\"\n"),
        ("/pool/vfs-containers/volatile-containers.json", list),
    ];
    assert_eq!(shown(&Files::of("podman-moved", &moved).identify(Engine::Podman)), ["podman", "db", "localhost/db"]);
    let rootless = [
        ("/etc/passwd", "root:x:0:0::/root:/bin/sh\nu:x:1000:1000::/home/u:/bin/sh\n"),
        ("/home/u/.local/share/containers/storage/overlay-containers/containers.json", list),
    ];
    assert_eq!(shown(&Files::of("podman-user", &rootless).identify(Engine::Podman)), ["podman", "db", "localhost/db"]);
}

#[test]
fn kubernetes_writes_annotations() {
    let containerd = r#"{"annotations": {"io.kubernetes.cri.sandbox-name": "pod-1",
        "io.kubernetes.cri.container-name": "app", "io.kubernetes.cri.image-name": "app:2"}}"#;
    let file = "/run/containerd/io.containerd.runtime.v2.task/k8s.io/ID/config.json";
    let files = Files::of("containerd", &[(file, containerd)]);
    assert_eq!(shown(&files.identify(Engine::Containerd)), ["containerd", "pod-1/app", "app:2"]);
    assert_eq!(shown(&files.identify(Engine::Kubernetes)), ["containerd", "pod-1/app", "app:2"]);
    let below = Place { engine: Engine::Unknown, id: ID.to_owned(), above: Some("k8s.io".to_owned()), uid: None };
    assert_eq!(
        shown(&files.place(below).unwrap()),
        ["containerd", "pod-1/app", "app:2"],
        "without a parent of kubelet's"
    );
    let sandbox = r#"{"annotations": {"io.kubernetes.cri.sandbox-name": "pod-1", "io.kubernetes.cri.container-type": "sandbox"}}"#;
    let files = Files::of("sandbox", &[(file, sandbox)]);
    let place = Place { engine: Engine::Kubernetes, id: ID.to_owned(), above: None, uid: None };
    assert_eq!(files.place(place), None, "no program of the user's runs in it");
    let crio = r#"{"annotations": {"io.kubernetes.pod.name": "pod-2", "io.kubernetes.container.name": "app"}}"#;
    let files = Files::of("crio", &[("/run/containers/storage/overlay-containers/ID/userdata/config.json", crio)]);
    assert_eq!(shown(&files.identify(Engine::CriO)), ["cri-o", "pod-2/app", "-"]);
    assert_eq!(shown(&files.identify(Engine::Kubernetes)), ["cri-o", "pod-2/app", "-"]);
}

#[test]
fn an_unknown_path_is_a_container_if_somebody_keeps_a_state_of_it() {
    let unknown = |above: Option<&str>| Place {
        engine: Engine::Unknown,
        id: "web".to_owned(),
        above: above.map(str::to_owned),
        uid: None,
    };
    let runc = Files::of("runc", &[("/run/runc/web/state.json", "{}")]);
    assert_eq!(shown(&runc.place(unknown(None)).unwrap()), ["runc", "-", "-"]);
    let ctr = Files::of("ctr", &[("/run/containerd/io.containerd.runtime.v2.task/default/web/config.json", "{}")]);
    assert_eq!(shown(&ctr.place(unknown(Some("default"))).unwrap()), ["containerd", "-", "-"]);
    let none = Files::of("none", &[]);
    assert_eq!(none.place(unknown(None)), None, "a group that somebody made by hand");
    let apart = identify(&none.0, &unknown(None), || true).unwrap();
    assert_eq!((apart.engine.as_str(), apart.id.as_str()), ("container", "web"));
}

#[test]
fn garbage_leaves_the_id() {
    for garbage in ["", "null", "[]", "[1]", "{\"Name\": 7}", "\u{0}", "[{\"id\": \"ID\", \"names\": 3}]", "{"] {
        let files = Files::of(
            "garbage",
            &[
                ("/var/lib/docker/containers/ID/config.v2.json", garbage),
                ("/etc/docker/daemon.json", garbage),
                ("/etc/containers/storage.conf", garbage),
                ("/var/lib/containers/storage/overlay-containers/containers.json", garbage),
                ("/run/containerd/io.containerd.runtime.v2.task/k8s.io/ID/config.json", garbage),
            ],
        );
        for engine in [Engine::Docker, Engine::Podman, Engine::Containerd, Engine::CriO, Engine::Kubernetes] {
            let container = files.identify(engine);
            assert_eq!((container.id.as_str(), container.name), (ID, None), "{engine:?} {garbage}");
        }
    }
}

#[test]
fn long_names_are_cut_between_characters() {
    assert_eq!(short(Some(&"\u{e4}".repeat(300))).unwrap().len(), NAME_MAX_BYTES);
    assert_eq!(short(Some("")), None);
}

#[test]
fn what_is_no_file_is_not_read() {
    assert_eq!(read(Path::new("/dev/zero")), None);
    assert_eq!(read(Path::new("/proc")), None);
}
