//! Setting up a host and its engines, on a host of its own: what is changed, and that it all can be taken back.

use hoodydb_tests::host::{DOCKER, program};
use hoodydb_tests::{Client, Host};

/// No differences.
const NONE: [&str; 0] = [];

/// A host on which docker runs once: it makes files of its own in /etc/docker.
fn host_with_docker() -> Option<Host> {
    let host = Host::new()?;
    host.hoodydb(&["install", "--no-start"]);
    host.start_docker();
    Some(host)
}

fn default_runtime(host: &Host) -> String {
    host.run(&[DOCKER, "info", "--format", "{{.DefaultRuntime}}"]).trim().to_owned()
}

#[test]
fn engines_get_their_files_back_byte_for_byte() {
    let Some(host) = host_with_docker() else { return };
    host.write("/etc/docker/daemon.json", "{ \"debug\": false,\n\t\"max-concurrent-downloads\": 4 }\n");
    host.script("chmod 640 /etc/docker/daemon.json; touch -d '2020-02-02 02:02:02' /etc/docker/daemon.json");
    host.write("/etc/containers/containers.conf.d/10-site.conf", "[containers]\nvolumes = [\"/srv:/srv:ro\"]\n");
    let before = host.snapshot(&["/etc"]);
    assert_eq!(default_runtime(&host), "runc");

    host.hoodydb(&["containers", "enable"]);
    assert_eq!(default_runtime(&host), "hoodydb");
    // Not the one beside the program that was run, which lies where it was built.
    assert!(host.read("/etc/docker/daemon.json").contains("\"/usr/local/bin/hoodydb-runc\""));
    assert!(host.read("/etc/containers/containers.conf.d/99-hoodydb.conf").contains("\"/srv:/srv:ro\""));
    let enabled = host.snapshot(&["/etc"]);
    assert!(enabled != before);
    let again = host.hoodydb(&["containers", "enable"]);
    assert!(again.lines().all(|line| line.contains("already")), "{again}");
    assert_eq!(enabled.differences(&host.snapshot(&["/etc"])), NONE, "a second time changes nothing");

    let tar = host.image();
    host.run(&[DOCKER, "import", &tar, "test"]);
    host.run(&[DOCKER, "create", "--network=none", "--name=old", "test", "true"]);
    let said = host.hoodydb(&["containers", "disable"]);
    assert!(
        said.contains("still name the runtime hoodydb") && said.lines().any(|line| line.ends_with(": old")),
        "{said}"
    );
    assert_eq!(before.differences(&host.snapshot(&["/etc"])), NONE);
    assert_eq!(default_runtime(&host), "runc");
    assert!(host.hoodydb(&["containers", "disable"]).lines().all(|line| line.contains("was not enabled")));
}

#[test]
fn what_others_changed_meanwhile_stays() {
    let Some(host) = host_with_docker() else { return };
    host.hoodydb(&["containers", "enable"]);
    host.script("sed -i 's/^{/{\\n  \"debug\": false,/' /etc/docker/daemon.json");
    host.script("sed -i 's/^version = 2/version = 2\\noom_score = -1/' /etc/containerd/config.toml");
    host.script("echo '# mine' >> /etc/containers/containers.conf.d/99-hoodydb.conf");
    let (code, said) = host.hoodydb_fails(&["containers", "disable"]);
    assert_eq!(code, 1);
    assert!(said.contains("99-hoodydb.conf was changed since and is left alone"), "{said}");
    assert_eq!(host.read("/etc/docker/daemon.json"), "{\n  \"debug\": false\n}\n");
    let containerd = host.read("/etc/containerd/config.toml");
    assert!(containerd.contains("oom_score = -1") && !containerd.contains("hoodydb"), "{containerd}");
}

#[test]
fn configurations_that_are_not_understood_are_left_alone() {
    let Some(host) = Host::new() else { return };
    host.hoodydb(&["install", "--no-start"]);
    let mut said = String::new();
    let mut try_out = |engine: &str, path: &str, text: &str| {
        let before = (host.script(&format!("test -e {path} && cat {path} || true")), path);
        host.write(path, text);
        let (code, line) = host.hoodydb_fails(&["containers", "enable", "--engine", engine]);
        assert_eq!((code, host.read(path).as_str()), (1, text), "{engine}");
        said.push_str(&format!("{engine}: {}\n    {line}\n", text.trim_end().replace('\n', "\n        ")));
        host.write(before.1, &before.0);
    };
    let json = "/etc/docker/daemon.json";
    try_out("docker", json, "{\n  // comment\n  \"debug\": true\n}\n");
    try_out("docker", json, "{ \"debug\": tr");
    try_out("docker", json, "{ \"runtimes\": { \"kata\": { \"path\": \"/usr/bin/kata\" } } }");
    try_out("docker", json, "{ \"runtimes\": { \"kata\": { \"path\": \"/k\" } }, \"default-runtime\": \"kata\" }");
    try_out("podman", "/etc/containers/containers.conf.d/50-site.conf", "[containers\n");
    let late = "/etc/containers/containers.conf.d/zz-late.conf";
    try_out("podman", late, "[containers]\nvolumes = [\"/srv:/srv\"]\n");
    try_out("containerd", "/etc/containerd/config.toml", "root = \"/x\"\n");
    try_out("containerd", "/etc/containerd/config.toml", "version = 2\ndisabled_plugins = [\"cri\"]\n");
    try_out("lxc", "/usr/share/lxc/config/common.conf", "lxc.tty.max = 4\n");
    let said = said.replace(&program(), "/usr/bin/hoodydb");
    insta::assert_snapshot!(said);
}

#[test]
fn a_docker_that_does_not_take_it_keeps_its_file() {
    let Some(host) = host_with_docker() else { return };
    // A key that dockerd knows as a flag too: it refuses to read the file anew.
    host.stop_docker();
    host.start_docker_with("--log-level=error");
    let text = "{ \"log-level\": \"warn\" }\n";
    host.write("/etc/docker/daemon.json", text);
    let (code, said) = host.hoodydb_fails(&["containers", "enable", "--engine", "docker"]);
    assert_eq!(code, 1);
    assert!(said.contains("did not take the new configuration"), "{said}");
    assert_eq!(host.read("/etc/docker/daemon.json"), text);
}

#[test]
fn a_containerd_that_is_there_for_docker_alone_is_no_failure() {
    let Some(host) = Host::new() else { return };
    host.hoodydb(&["install", "--no-start"]);
    // As docker's own packages have it.
    let text = "disabled_plugins = [\"cri\"]\n";
    host.write("/etc/containerd/config.toml", text);
    let said = host.hoodydb(&["containers", "enable"]);
    assert!(
        said.contains("docker: enabled") && said.contains("containerd: /etc/containerd/config.toml is left"),
        "{said}"
    );
    assert_eq!(host.read("/etc/containerd/config.toml"), text);
    assert_eq!(host.hoodydb_fails(&["containers", "enable", "--engine", "containerd"]).0, 1, "it was asked for");
    assert!(host.hoodydb(&["containers", "status"]).contains("its CRI plugin is disabled"));
}

#[test]
fn what_selinux_denies_containers_is_named() {
    let Some(host) = Host::new() else { return };
    host.hoodydb(&["install", "--no-start"]);
    host.script("mount -t tmpfs tmpfs /sys/fs; mkdir -p /sys/fs/selinux/booleans; echo 1 > /sys/fs/selinux/enforce");
    let enabled = || host.hoodydb(&["containers", "enable", "--engine", "podman"]);
    assert!(enabled().contains("podman: SELinux is enforcing and may deny"));
    host.write("/sys/fs/selinux/booleans/virt_sandbox_use_fusefs", "0 0");
    let denies = "SELinux denies containers the databases (fusefs_t): setsebool -P virt_sandbox_use_fusefs on";
    assert!(enabled().contains(denies));
    let status = || host.hoodydb(&["containers", "status"]);
    assert!(status().contains(denies), "{}", status());
    host.write("/sys/fs/selinux/booleans/virt_sandbox_use_fusefs", "1 1");
    assert!(!enabled().contains("SELinux") && !status().contains("SELinux"));
    host.script("echo '0 0' > /sys/fs/selinux/booleans/virt_sandbox_use_fusefs; echo 0 > /sys/fs/selinux/enforce");
    assert!(!enabled().contains("SELinux") && !status().contains("SELinux"));
}

#[test]
fn a_kernel_without_the_newer_mount_calls_is_named() {
    let Some(host) = Host::new() else { return };
    let client = std::fs::read_to_string(hoodydb_tests::clients_directory().join("without.py")).expect("without.py");
    host.write("/run/without.py", &client);
    let program = program();
    let without = |call: &str, words: &[&str]| {
        host.output(&[&["/usr/bin/python3", "/run/without.py", call, &program], words].concat())
    };
    let says = |output: &std::process::Output| hoodydb_tests::mount::text(&output.stderr);
    let wanted = "hoodydb: this kernel cannot make the mount at /hoody (no move_mount, Linux 5.2): \
                  mount another place with hoodydb mount MOUNTPOINT";
    let look = || host.snapshot(&["/etc", "/usr/local/bin", "/usr/local/share"]);
    let before = look();
    for (call, command) in
        [("fsopen", "mount"), ("move_mount", "mount"), ("fsopen", "install"), ("move_mount", "install")]
    {
        let output = without(call, &[command]);
        assert_eq!((output.status.code(), says(&output).as_str()), (Some(1), wanted), "{call}, {command}");
    }
    assert_eq!(host.script("findmnt -rno TARGET /hoody || true"), "");
    assert_eq!(before.differences(&look()), NONE, "nothing is half done");
    // The way out that is named.
    host.script("mkdir -p /srv/databases /srv/data");
    let output = without("move_mount", &["mount", "/srv/databases", "--data", "/srv/data"]);
    assert!(output.status.success(), "{}", says(&output));
    host.script("sqlite3 /srv/databases/app.db 'CREATE TABLE t(x)'");
    host.hoodydb(&["umount", "/srv/databases"]);

    host.run(&["podman", "import", "--quiet", &host.image(), "test"]);
    host.run(&["podman", "run", "--detach", "--name=plain", "test", "sleep", "100000"]);
    host.hoodydb(&["mount"]);
    for call in ["open_tree", "move_mount", "pidfd_open"] {
        let output = without(call, &["containers", "inject", "plain"]);
        let wanted = format!(
            "hoodydb: podman:plain: this kernel cannot give a mount to a container that runs (no {call}): start the container anew"
        );
        assert_eq!((output.status.code(), says(&output)), (Some(1), wanted));
    }
    assert!(host.hoodydb(&["containers", "inject", "plain"]).contains("has it now"));
}

#[test]
fn a_host_is_set_up_and_taken_back() {
    let Some(host) = Host::new() else { return };
    let look = || host.snapshot(&["/etc", "/usr/local/bin", "/usr/local/share", "$(ls -d /h*)"]);
    let before = look();
    let shown = host.hoodydb(&["install", "--dry-run"]);
    assert!(shown.contains("write /etc/init.d/hoodydb\n") && shown.contains("mount /hoody"), "{shown}");
    assert_eq!(before.differences(&look()), NONE, "--dry-run changes nothing");

    let done = host.hoodydb(&["install"]);
    let steps = |text: &str| text.lines().filter(|line| !line.contains("--")).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(steps(&shown)[..], steps(&done)[..steps(&done).len() - 1], "what was shown is what was done");
    assert_eq!(host.hoodydb(&["install"]), "everything is set up already");
    host.run(&["/etc/init.d/hoodydb", "status"]);
    assert!(host.run(&["findmnt", "-no", "FSTYPE,OPTIONS,PROPAGATION", "/hoody"]).starts_with("tmpfs  ro,"));
    host.fails(&["touch", "/hoody/stray"]);
    host.script("sqlite3 /hoody/databases/app.db 'CREATE TABLE t(x)'; man -w hoodydb-containers-enable");
    host.run(&["/etc/init.d/hoodydb", "restart"]);
    host.script("sqlite3 /hoody/databases/app.db 'INSERT INTO t VALUES (1)'");

    host.run(&["/usr/local/bin/hoodydb", "containers", "enable", "--engine", "podman"]);
    // Somebody's shell is in it.
    let shell = Client::ready(host.command(&["sh", "-c", "cd /hoody && echo ready && read -r _"]));
    host.run(&["/usr/local/bin/hoodydb", "uninstall"]);
    drop(shell);
    assert_eq!(before.differences(&look()), NONE);
    host.script("sqlite3 /var/lib/hoodydb/databases/app.db 'SELECT * FROM t' | grep -q 1");
    host.hoodydb(&["uninstall"]);
}

#[test]
fn files_in_hoody_are_never_hidden() {
    let Some(host) = Host::new() else { return };
    host.write("/hoody/notes.txt", "mine");
    let look = || host.snapshot(&["/etc", "/usr/local/bin", "/usr/local/share", "/hoody"]);
    let before = look();
    for command in ["install", "mount"] {
        let (_, said) = host.hoodydb_fails(&[command]);
        let expected = "hoodydb: /hoody has files in it (notes.txt), which a mount there would hide: move them away";
        assert_eq!(said, expected, "{command}");
    }
    assert_eq!(before.differences(&look()), NONE, "nothing is half done");
    host.script("rm /hoody/notes.txt; mkdir /hoody/databases; echo mine > /hoody/databases/old.db");
    assert!(host.hoodydb_fails(&["mount"]).1.contains("/hoody/databases has files in it (old.db)"));
    host.script("rm -r /hoody; ln -s /srv /hoody");
    assert!(host.hoodydb_fails(&["mount"]).1.contains("/hoody is not a directory"));
    host.script("rm /hoody; mkdir /hoody");
    host.hoodydb(&["mount"]);
}
