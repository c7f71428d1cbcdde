//! Debian packages that a task needs: says what is missing and installs it. Called by `demo`, `test`, `package` and `bench`.
//!
//! It only ever adds packages; on a system without apt it names what to install by hand.

use std::process::Command;

use anyhow::{Result, bail};

use crate::shell;

/// What the demonstration needs.
pub const DEMO: &[&str] = &["sqlite3", "gcc"];

/// What the Debian package is built with.
pub const PACKAGE: &[&str] = &["dpkg-dev"];

/// What the benchmark needs.
pub const BENCH: &[&str] = &["sqlite3", "gcc", "util-linux", "curl", "wrk"];

/// What it is measured against.
pub const BENCH_PEER: &[&str] = &["postgresql"];

/// What the tests need, the SQLite of every language above all.
pub const TESTS: &[&str] = &[
    "sqlite3",
    "gcc",
    "g++",
    "make",
    "php-cli",
    "php-sqlite3",
    "libdbd-sqlite3-perl",
    "ruby-sqlite3",
    "golang-go",
    "golang-github-mattn-go-sqlite3-dev",
    "libxerial-sqlite-jdbc-java",
    "rsync",
    "attr",
    "runc",
    "busybox-static",
    "podman",
    "docker.io",
    "lxc",
    "python3-grpcio",
    "curl",
    "openssl",
    "python3-yaml",
    "util-linux",
];

/// Installs the packages that are missing, and those whose program is missing: another origin of the program will do.
///
/// # Errors
/// If apt is not there or fails.
pub fn install(packages: &[&str], programs: &[(&str, &str)]) -> Result<()> {
    let mut missing: Vec<&str> = packages.iter().copied().filter(|name| !is_installed(name)).collect();
    missing.extend(programs.iter().filter(|(program, _)| !shell::has(program)).map(|(_, package)| *package));
    if missing.is_empty() {
        return Ok(());
    }
    println!("missing Debian packages: {}", missing.join(" "));
    if !shell::has("apt-get") {
        bail!("there is no apt-get here; install by hand: {}", missing.join(" "));
    }
    let apt = || {
        let mut apt = Command::new("apt-get");
        apt.env("DEBIAN_FRONTEND", "noninteractive").arg("-q");
        apt
    };
    shell::run(apt().arg("update"))?;
    shell::run(apt().args(["install", "-y", "--no-install-recommends"]).args(&missing))
}

fn is_installed(package: &str) -> bool {
    let mut query = Command::new("dpkg-query");
    shell::read(query.args(["-W", "-f", "${Status}", package])).is_ok_and(|status| status.ends_with(" installed"))
}

/// Makes `require("sqlite3")` work for the `node` in `PATH`, and gives the directory to run it in.
///
/// Debian's node-sqlite3 is linked with Debian's node; any other node gets the npm package, compiled with the headers that
/// come with that node.
///
/// # Errors
/// If neither can be installed.
pub fn install_node_sqlite() -> Result<std::path::PathBuf> {
    let directory = shell::target().join("clients/node");
    std::fs::create_dir_all(&directory)?;
    let loads = || {
        let mut node = Command::new("node");
        node.current_dir(&directory).args(["-e", "require('sqlite3').VERSION"]);
        shell::read(&mut node).is_ok()
    };
    if !shell::has("node") {
        install(&["nodejs", "node-sqlite3"], &[])?;
    }
    if loads() {
        return Ok(directory);
    }
    if is_installed("libnode108") {
        install(&["node-sqlite3"], &[])?;
    } else {
        println!("node is not Debian's: compiling the npm package sqlite3 for it (about a minute)");
        let mut npm = Command::new("npm");
        npm.current_dir(&directory).env("npm_config_nodedir", node_prefix()?);
        shell::run(npm.args(["install", "--no-audit", "--no-fund", "--no-save", "sqlite3"]))?;
    }
    if !loads() {
        bail!("node cannot load its sqlite3 module from {}", directory.display());
    }
    Ok(directory)
}

/// The version of schemathesis, which makes requests up from the OpenAPI document.
const SCHEMATHESIS: &str = "schemathesis==4.32.5";

/// Installs schemathesis into an environment of its own, and gives the program.
///
/// # Errors
/// If python3 has no venv, or pip fails.
pub fn install_schemathesis() -> Result<std::path::PathBuf> {
    let directory = shell::target().join("clients/schemathesis");
    let program = directory.join("bin/schemathesis");
    let is_current = std::fs::read_to_string(directory.join("version")).is_ok_and(|version| version == SCHEMATHESIS);
    if is_current && program.is_file() {
        return Ok(program);
    }
    let ensures = |module: &str| shell::read(Command::new("python3").args(["-m", module, "--help"])).is_ok();
    if !ensures("ensurepip") {
        install(&["python3-venv"], &[])?;
    }
    shell::run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&directory))?;
    shell::run(Command::new(directory.join("bin/pip")).args(["install", "--quiet", SCHEMATHESIS]))?;
    std::fs::write(directory.join("version"), SCHEMATHESIS)?;
    Ok(program)
}

/// Where node's headers are: `PREFIX/include/node`.
fn node_prefix() -> Result<String> {
    let script = "console.log(require('path').dirname(require('path').dirname(process.execPath)))";
    Ok(shell::read(Command::new("node").args(["-e", script]))?.trim().to_owned())
}
