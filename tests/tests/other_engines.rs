//! containerd as Kubernetes uses it, and LXC: every new container has the databases.

use hoodydb_tests::host::program;
use hoodydb_tests::{Host, clients_directory, eventually};

/// Debian's configuration with an image that is there, and the limits of a machine without CAP_SYS_RESOURCE.
const CONTAINERD: &str = r#"version = 2
# a comment of the user

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/test:latest"
  restrict_oom_score_adj = true
"#;

const SOCKET: &str = "/run/containerd/containerd.sock";

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

fn in_pod(host: &Host, script: &str) -> std::process::Output {
    // What the tests' other helpers share with the host is mounted at the same path.
    let client = std::fs::read_to_string(clients_directory().join("cri.py")).expect("cri.py");
    host.write("/run/cri.py", &client);
    host.output(&["/usr/bin/python3", "/run/cri.py", SOCKET, "localhost/test:latest", "sh", "-euc", script])
}

#[test]
fn pods_have_the_databases() {
    let Some(host) = Host::new() else { return };
    host.write("/etc/containerd/config.toml", CONTAINERD);
    host.hoodydb(&["mount"]);
    host.script("sqlite3 /hoody/databases/app.db 'CREATE TABLE events(client, body)'");
    let tar = host.image();
    host.run(&[
        "podman",
        "import",
        "--quiet",
        "--change",
        "CMD [\"sleep\", \"100000\"]",
        "--change",
        "ENV PATH=/bin:/usr/bin",
        &tar,
        "test",
    ]);
    let archive = host.files().join("image.tar").display().to_string();
    host.run(&["podman", "save", "--quiet", "--format=docker-archive", "--output", &archive, "test"]);
    start_containerd(&host);
    host.run(&["ctr", "--namespace=k8s.io", "images", "import", &archive]);
    let insert = "sqlite3 /hoody/databases/app.db \"INSERT INTO events VALUES ('pod', 1)\"";
    assert!(!in_pod(&host, insert).status.success(), "it is not enabled yet");

    let said = host.hoodydb(&["containers", "enable", "--engine", "containerd"]);
    assert!(said.contains("restart containerd"), "{said}");
    assert!(host.hoodydb(&["containers", "status"]).contains("has not read its configuration"));
    stop_containerd(&host);
    start_containerd(&host);
    host.script(&format!("test -S {SOCKET}"));
    let output = in_pod(&host, insert);
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

/// What docs/kubernetes/daemonset.yaml asks of a node, by podman.
fn start_as_daemonset(host: &Host) {
    let program = program();
    let mut words =
        vec!["podman", "run", "--detach", "--name=daemonset", "--pid=host", "--cap-add=SYS_ADMIN,SYS_PTRACE"];
    words.extend(["--device=/dev/fuse", "--security-opt=seccomp=unconfined", "--volume=/hoody:/hoody:rshared"]);
    words.extend(["--volume=/var/lib/hoodydb:/var/lib/hoodydb", "--volume=/run/hoodydb:/run/hoodydb"]);
    let own = format!("--volume={program}:/hoodydb:ro");
    words.extend([own.as_str(), "--volume=/lib:/lib:ro", "--volume=/lib64:/lib64:ro", "--volume=/usr:/usr:ro"]);
    words.extend(["test", "/hoodydb", "mount", "--foreground"]);
    host.run(&words);
    eventually("the daemon serves", || {
        host.output(&[&program, "status", "--mount", "/hoody/databases"]).status.success()
    });
}

#[test]
fn a_daemon_in_a_container_serves_the_node() {
    let Some(host) = Host::new() else { return };
    // As on a node that runs systemd.
    host.script("mount --make-rshared /; mkdir -p /hoody /run/hoodydb");
    host.run(&["podman", "import", "--quiet", &host.image(), "test"]);
    start_as_daemonset(&host);
    host.script("sqlite3 /hoody/databases/app.db 'CREATE TABLE events(client, body)'");
    assert!(host.run(&["findmnt", "-no", "FSTYPE,OPTIONS", "/hoody"]).starts_with("tmpfs  ro,"));
    host.run(&["podman", "run", "--detach", "--name=pod", "--volume=/hoody:/hoody:rslave", "test", "sleep", "100000"]);
    let insert = "sqlite3 /hoody/databases/app.db 'INSERT INTO events VALUES (1, 1)'";
    host.run(&["podman", "exec", "pod", "sh", "-euc", insert]);
    // Its death leaves a dead mount on the node, which the next one takes over.
    host.run(&["podman", "rm", "--force", "--time=0", "daemonset"]);
    host.fails(&["ls", "/hoody/databases"]);
    start_as_daemonset(&host);
    host.run(&["podman", "exec", "pod", "sh", "-euc", insert]);
    assert_eq!(host.script("sqlite3 /hoody/databases/app.db 'SELECT count(*) FROM events'"), "2");
    let mounts = host.script("findmnt -rno TARGET | grep ^/hoody");
    assert_eq!(mounts, "/hoody\n/hoody/databases", "nothing is mounted twice");
}
