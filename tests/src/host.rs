//! A host of its own, for tests that install, run container engines and change /etc.
//!
//! It is a mount namespace over a copy of the real root that keeps every change to itself, and a pid namespace whose processes all
//! end with it: tests/clients/host.sh. The kernel, the network and the control groups are the real ones.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use crate::mount::text;
use crate::{Place, clients_directory, eventually, mount, rootfs, skip};

/// The programs without which there are no engines to test.
const PROGRAMS: [&str; 6] = ["podman", "dockerd", "containerd", "lxc-start", "runc", "docker-init"];

/// Debian's client, where another docker may come first in `PATH`.
pub const DOCKER: &str = "/usr/bin/docker";

/// A host.
pub struct Host {
    place: Place,
    outermost: Child,
    init: u32,
}

impl Host {
    /// Makes one; none, loudly, where engines are not installed.
    ///
    /// # Panics
    /// If it cannot be made.
    pub fn new() -> Option<Self> {
        let directories = ["/usr/bin", "/usr/sbin", "/bin", "/sbin"];
        let missing = PROGRAMS.iter().find(|name| directories.iter().all(|dir| !Path::new(dir).join(name).exists()));
        if let Some(missing) = missing {
            skip(&format!("{missing} is not installed"));
            return None;
        }
        let place = Place::new();
        let mut command = Command::new("unshare");
        command.args(["--mount", "--pid", "--fork", "--kill-child", "--propagation", "private"]);
        command.arg(clients_directory().join("host.sh")).arg(place.path());
        command.arg(programs()).arg(place.directory("files")).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut outermost = command.spawn().expect("unshare runs");
        let mut line = String::new();
        let stdout = outermost.stdout.take().expect("stdout is a pipe");
        BufReader::new(stdout).read_line(&mut line).expect("host.sh speaks");
        assert_eq!(line, "ready\n", "host.sh did not come up");
        let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", outermost.id()));
        let init = children.expect("children").trim().parse().expect("unshare has one child");
        let host = Self { place, outermost, init };
        host.write("/etc/containers/containers.conf", CONTAINERS_CONF);
        Some(host)
    }

    /// A directory that is the same inside and outside.
    pub fn files(&self) -> PathBuf {
        self.place.path().join("files")
    }

    /// A command that runs in it.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--mount", "--pid", "--target", &self.init.to_string(), "--"]).args(words);
        command
    }

    /// Runs a command to its end.
    ///
    /// # Panics
    /// If it cannot be run.
    pub fn output(&self, words: &[&str]) -> Output {
        self.command(words).output().expect("nsenter runs")
    }

    /// Runs a command that must succeed, and gives what it printed.
    ///
    /// # Panics
    /// If it fails.
    pub fn run(&self, words: &[&str]) -> String {
        let output = self.output(words);
        assert!(output.status.success(), "{words:?}: {}{}", text(&output.stdout), text(&output.stderr));
        text(&output.stdout)
    }

    /// Runs a command that must fail, and gives its exit code and what it said.
    ///
    /// # Panics
    /// If it succeeds.
    pub fn fails(&self, words: &[&str]) -> (i32, String) {
        let output = self.output(words);
        assert!(!output.status.success(), "{words:?} succeeded: {}", text(&output.stdout));
        (output.status.code().unwrap_or(-1), text(&output.stderr))
    }

    /// Runs a shell script that must succeed.
    ///
    /// # Panics
    /// If it fails.
    pub fn script(&self, script: &str) -> String {
        self.run(&["sh", "-euc", script])
    }

    /// Runs `hoodydb`, which must succeed.
    ///
    /// # Panics
    /// If it fails.
    pub fn hoodydb(&self, words: &[&str]) -> String {
        self.run(&[&[program().as_str()], words].concat())
    }

    /// Runs `hoodydb`, which must fail.
    ///
    /// # Panics
    /// If it succeeds.
    pub fn hoodydb_fails(&self, words: &[&str]) -> (i32, String) {
        self.fails(&[&[program().as_str()], words].concat())
    }

    /// The file of a path inside, from outside.
    pub fn path(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.init))
    }

    /// Writes a file inside, with the directories above it.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn write(&self, path: &str, contents: &str) {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().expect("a directory")).expect("mkdir");
        std::fs::write(&path, contents).expect("a file can be written");
    }

    /// Reads a file inside.
    ///
    /// # Panics
    /// If it cannot be read.
    pub fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.path(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// Every file below some directories.
    ///
    /// # Panics
    /// If they cannot be listed.
    pub fn snapshot(&self, directories: &[&str]) -> Snapshot {
        let directories = directories.join(" ");
        let lines = self.script(&format!(
            "find {directories} -type d -printf '%p %m %U %G\\n' -o -printf '%p %m %U %G %s %T@ %l\\n'; \
             find {directories} -type f -print0 | xargs -0 sha256sum"
        ));
        Snapshot(lines.lines().map(str::to_owned).collect())
    }

    /// Starts docker's daemon, and gives it and podman an image of busybox and sqlite3 named `test`.
    ///
    /// # Panics
    /// If that does not come about.
    pub fn start_engines(&self) {
        self.start_docker();
        let tar = self.image();
        self.run(&[DOCKER, "import", &tar, "test"]);
        self.run(&["podman", "import", "--quiet", &tar, "test"]);
    }

    /// The image as a file.
    pub fn image(&self) -> String {
        rootfs::tar(&self.files()).display().to_string()
    }

    /// Starts docker's daemon and waits until it answers.
    ///
    /// # Panics
    /// If it does not.
    pub fn start_docker(&self) {
        self.start_docker_with("");
    }

    /// The same with flags of one's own.
    ///
    /// # Panics
    /// If it does not answer.
    pub fn start_docker_with(&self, flags: &str) {
        let common = "--iptables=false --ip6tables=false --bridge=none";
        self.script(&format!("setsid dockerd {common} {flags} >> /run/dockerd.log 2>&1 < /dev/null &"));
        eventually("dockerd answers", || self.output(&[DOCKER, "version"]).status.success());
    }

    /// Ends docker's daemon; its containers end with it.
    ///
    /// # Panics
    /// If it stays.
    pub fn stop_docker(&self) {
        self.script("kill $(cat /run/docker.pid)");
        eventually("dockerd is gone", || !self.path("/run/docker.pid").exists());
    }
}

/// Files with their rights, owners, times and what is in them.
#[derive(Clone, PartialEq, Eq)]
pub struct Snapshot(BTreeSet<String>);

impl Snapshot {
    /// What is not the same in another one, a line each.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let only = |sign, one: &Self, other: &Self| {
            one.0.difference(&other.0).map(|line| format!("{sign} {line}")).collect::<Vec<_>>()
        };
        [only('-', self, other), only('+', other, self)].concat()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for log in [
                "/run/dockerd.log",
                "/run/containerd.log",
                "/run/hoodydb/hoody-databases.log",
                "/run/hoodydb/hoodydb-runc.log",
            ] {
                let log_text = std::fs::read_to_string(self.path(log)).unwrap_or_default();
                let worth = log_text.lines().filter(|line| !line.contains("level=info"));
                eprintln!("--- {log}\n{}", worth.collect::<Vec<_>>().join("\n"));
            }
        }
        // By their engines, so that no control groups are left behind.
        let _ = self.output(&["sh", "-c", "podman rm --all --force --time 0; docker=$(/usr/bin/docker ps --all --quiet) && /usr/bin/docker rm --force $docker"]);
        let _ = self.outermost.kill();
        let _ = self.outermost.wait();
        let init = self.init;
        eventually("the host is gone", || !Path::new(&format!("/proc/{init}/root/proc")).exists());
    }
}

/// The program under test, as it is called inside too.
pub fn program() -> String {
    mount::binary().canonicalize().expect("hoodydb is built").display().to_string()
}

fn programs() -> PathBuf {
    PathBuf::from(program()).parent().expect("a directory").to_owned()
}

/// Containers without a network, on every kind of control groups, within the limits of a machine without CAP_SYS_RESOURCE.
const CONTAINERS_CONF: &str = r#"[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4000:4000"]
netns = "none"

[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
"#;
