//! containerd as Kubernetes uses it, and LXC: every new container has the databases.

use hoodydb_tests::host::program;
use hoodydb_tests::mount::text;
use hoodydb_tests::{Host, clients_directory, eventually, rootfs};

/// Debian's configuration with an image that is there, and the limits of a machine without CAP_SYS_RESOURCE.
const CONTAINERD: &str = r#"version = 2
# a comment of the user

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/test:latest"
  restrict_oom_score_adj = true
"#;

const SOCKET: &str = "/run/containerd/containerd.sock";

/// The image that is there.
const IMAGE: &str = "localhost/test:latest";

/// What containers get.
const PARENT: &str = "/hoody";

fn start_containerd(host: &Host) {
    host.script(
        "setsid containerd --log-level warn >> /run/containerd.log 2>&1 < /dev/null & echo $! > /run/containerd.pid",
    );
    eventually("containerd answers", || host.output(&["ctr", "version"]).status.success());
}

fn stop_containerd(host: &Host) {
    host.script("kill $(cat /run/containerd.pid)");
    eventually("containerd is gone", || {
        !host.output(&["sh", "-c", "kill -0 $(cat /run/containerd.pid)"]).status.success()
    });
}

/// Asks containerd for something as a kubelet does; it must succeed.
fn cri(host: &Host, words: &[&str]) -> String {
    let output = ask(host, words);
    assert!(output.status.success(), "{words:?}: {output:?}");
    text(&output.stdout)
}

fn ask(host: &Host, words: &[&str]) -> std::process::Output {
    // What the tests' other helpers share with the host is mounted at the same path.
    let client = std::fs::read_to_string(clients_directory().join("cri.py")).expect("cri.py");
    host.write("/run/cri.py", &client);
    host.output(&[&["/usr/bin/python3", "/run/cri.py", SOCKET], words].concat())
}

/// Starts containerd with an image of busybox, sqlite3 and further programs.
fn import_image(host: &Host, programs: &[&str]) {
    let tar = rootfs::tar_with(&host.files(), programs).display().to_string();
    let changes = ["--change", "CMD [\"sleep\", \"100000\"]", "--change", "ENV PATH=/bin:/usr/bin"];
    host.run(&[&["podman", "import", "--quiet"], &changes[..], &[&tar, "test"]].concat());
    let archive = host.files().join("image.tar").display().to_string();
    host.run(&["podman", "save", "--quiet", "--format=docker-archive", "--output", &archive, "test"]);
    start_containerd(host);
    host.run(&["ctr", "--namespace=k8s.io", "images", "import", &archive]);
}

#[test]
fn pods_have_the_databases() {
    let Some(host) = Host::new() else { return };
    host.write("/etc/containerd/config.toml", CONTAINERD);
    host.hoodydb(&["mount"]);
    host.script("sqlite3 /hoody/databases/app.db 'CREATE TABLE events(client, body)'");
    import_image(&host, &[]);
    let in_pod = |script: &str| ask(&host, &["once", IMAGE, "sh", "-euc", script]);
    let insert = "sqlite3 /hoody/databases/app.db \"INSERT INTO events VALUES ('pod', 1)\"";
    assert!(!in_pod(insert).status.success(), "it is not enabled yet");

    let said = host.hoodydb(&["containers", "enable", "--engine", "containerd"]);
    assert!(said.contains("restart containerd"), "{said}");
    // What the kernel remembers of /proc it makes anew, with the time of then.
    host.script("echo 2 > /proc/sys/vm/drop_caches");
    assert!(host.hoodydb(&["containers", "status"]).contains("has not read its configuration"));
    stop_containerd(&host);
    start_containerd(&host);
    host.script(&format!("test -S {SOCKET}"));
    let output = in_pod(insert);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(host.script("sqlite3 /hoody/databases/app.db 'SELECT count(*) FROM events'"), "1");

    host.hoodydb(&["containers", "disable", "--engine", "containerd"]);
    assert_eq!(host.read("/etc/containerd/config.toml"), CONTAINERD);
}

#[test]
fn lxc_containers_have_the_databases() {
    let Some(host) = Host::new() else { return };
    host.hoodydb(&["mount"]);
    host.script("sqlite3 /hoody/databases/app.db 'CREATE TABLE events(client, body)'");
    let before = host.snapshot(&["/usr/share/lxc/config"]);
    host.hoodydb(&["containers", "enable", "--engine", "lxc"]);
    let tar = host.image();
    host.script(&format!("mkdir -p /var/lib/lxc/web/rootfs; tar -C /var/lib/lxc/web/rootfs -xf {tar}"));
    host.write(
        "/var/lib/lxc/web/config",
        "lxc.include = /usr/share/lxc/config/common.conf\n\
         lxc.rootfs.path = dir:/var/lib/lxc/web/rootfs\n\
         lxc.uts.name = web\n\
         lxc.net.0.type = none\n\
         lxc.init.cmd = /bin/sleep 100000\n",
    );
    host.run(&["lxc-start", "--name=web", "--logfile=/run/lxc.log", "--logpriority=INFO"]);
    let insert = "sqlite3 /hoody/databases/app.db 'INSERT INTO events VALUES (1, 1)'";
    host.run(&["lxc-attach", "--name=web", "--", "/bin/sh", "-euc", insert]);
    host.hoodydb(&["umount"]);
    host.hoodydb(&["mount"]);
    host.run(&["lxc-attach", "--name=web", "--", "/bin/sh", "-euc", insert]);
    let status = host.hoodydb(&["containers", "status"]);
    assert!(status.lines().any(|line| line.contains("lxc:web") && line.contains("live")), "{status}");
    host.run(&["lxc-stop", "--kill", "--name=web"]);
    host.hoodydb(&["containers", "disable", "--engine", "lxc"]);
    let after = host.snapshot(&["/usr/share/lxc/config"]);
    assert_eq!(before.differences(&after), [""; 0]);
}

/// The pod of a manifest of docs/kubernetes, by the image that is there; gives the ids of the pod and of its container.
fn apply(host: &Host, manifest: &str, command: &[&str]) -> (String, String) {
    let path = clients_directory().join("../../docs/kubernetes").join(manifest);
    let inside = format!("/run/{manifest}");
    host.write(&inside, &std::fs::read_to_string(path).expect("a manifest"));
    let said = cri(host, &[&["apply", &inside, IMAGE], command].concat());
    let (pod, container) = said.trim().split_once(' ').expect("two ids");
    (pod.to_owned(), container.to_owned())
}

fn text_of(value: &serde_json::Value) -> &str {
    value.as_str().unwrap_or("?")
}

#[test]
fn the_manifests_give_every_node_a_daemon_and_a_pod_its_databases() {
    let Some(host) = Host::new() else { return };
    // As on a node that runs systemd.
    host.script("mount --make-rshared /");
    host.write("/etc/containerd/config.toml", CONTAINERD);
    import_image(&host, &[&program()]);
    let serves = || {
        let status = host.output(&[&program(), "status", "--mount", "/hoody/databases"]);
        status.status.success()
    };
    let (daemon, _) = apply(&host, "daemonset.yaml", &[]);
    eventually("the daemon serves", serves);
    host.script("sqlite3 /hoody/databases/app.db 'CREATE TABLE events(client, body)'");
    assert!(host.run(&["findmnt", "-no", "FSTYPE,OPTIONS", PARENT]).starts_with("tmpfs  ro,"));
    let (_, user) = apply(&host, "pod.yaml", &["sleep", "100000"]);
    let insert = "sqlite3 /hoody/databases/app.db 'INSERT INTO events VALUES (1, 1)'";
    cri(&host, &["exec", &user, "sh", "-euc", insert]);
    let status: serde_json::Value =
        serde_json::from_str(&host.hoodydb(&["containers", "status", "--json"])).expect("JSON");
    let shown = |one: &serde_json::Value| format!("{} {}", text_of(&one["container"]["name"]), text_of(&one["mount"]));
    let containers: Vec<String> = status["containers"].as_array().into_iter().flatten().map(shown).collect();
    assert_eq!(containers, ["hoodydb/hoodydb live", "uses-hoodydb/app live"], "and not what holds the pods together");
    // Its death leaves a dead mount on the node, which the next one takes over; the other pod follows.
    cri(&host, &["delete", &daemon]);
    host.fails(&["ls", "/hoody/databases"]);
    apply(&host, "daemonset.yaml", &[]);
    eventually("the next daemon serves", serves);
    cri(&host, &["exec", &user, "sh", "-euc", insert]);
    assert_eq!(host.script("sqlite3 /hoody/databases/app.db 'SELECT count(*) FROM events'"), "2");
    let mounts = host.script("findmnt -rno TARGET | grep ^/hoody");
    assert_eq!(mounts, "/hoody\n/hoody/databases", "nothing is mounted twice");
}
