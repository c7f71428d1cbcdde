//! Containers of runc: bundles of busybox and sqlite3, with the mount bound into them. Called by tests of containers.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::mount::text;
use crate::{Mount, skip};

/// Whether containers can be made here; says so if not.
pub fn can_run() -> bool {
    let there = |program: &str| Command::new(program).arg("--help").output().is_ok();
    let can = there("runc") && Path::new("/bin/busybox").exists();
    if !can {
        skip("runc or busybox-static is not installed");
    }
    can
}

/// Copies a program and the libraries that it is linked with.
fn copy_program(root: &Path, program: &str) {
    let listing = Command::new("ldd").arg(program).output().expect("ldd runs").stdout;
    let listing = text(&listing);
    let libraries = listing.split_whitespace().filter(|word| word.starts_with('/'));
    for file in libraries.chain([program]) {
        let target = root.join(file.trim_start_matches('/'));
        std::fs::create_dir_all(target.parent().expect("a directory")).expect("mkdir");
        std::fs::copy(file, target).expect("copy");
    }
}

/// A root file system of busybox and sqlite3.
fn root_file_system(root: &Path) {
    for name in ["bin", "proc", "dev", "sys", "tmp", "databases"] {
        std::fs::create_dir_all(root.join(name)).expect("mkdir");
    }
    std::fs::copy("/bin/busybox", root.join("bin/busybox")).expect("busybox-static is installed");
    std::os::unix::fs::symlink("busybox", root.join("bin/sh")).expect("symlink");
    copy_program(root, "/usr/bin/sqlite3");
}

/// A bundle that runs a script of sh, with the mount at /databases; `mapped` gives it user ids of its own.
///
/// # Panics
/// If it cannot be made.
pub fn bundle(mount: &Mount, name: &str, script: &str, mapped: bool) -> PathBuf {
    let bundle = mount.outside().join(name);
    root_file_system(&bundle.join("rootfs"));
    let spec = Command::new("runc").arg("spec").current_dir(&bundle).output().expect("runc runs");
    assert!(spec.status.success(), "{}", text(&spec.stderr));
    let path = bundle.join("config.json");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&path).expect("a spec")).expect("JSON");
    config["process"]["terminal"] = json!(false);
    config["process"]["args"] = json!(["sh", "-c", script]);
    config["process"]["env"] = json!(["PATH=/bin:/usr/bin"]);
    let bind = json!({ "destination": "/databases", "type": "bind", "source": mount.point(), "options": ["rbind", "rslave", "rw"] });
    config["mounts"].as_array_mut().expect("mounts").push(bind);
    if mapped {
        let mapping = json!([{ "containerID": 0, "hostID": 100_000, "size": 65_536 }]);
        config["linux"]["uidMappings"] = mapping.clone();
        config["linux"]["gidMappings"] = mapping;
        config["linux"]["namespaces"].as_array_mut().expect("namespaces").push(json!({ "type": "user" }));
    }
    std::fs::write(&path, config.to_string()).expect("a spec");
    bundle
}

/// The id of a bundle's container.
pub fn id(mount: &Mount, bundle: &Path) -> String {
    let name = |path: &Path| path.file_name().unwrap_or_default().display().to_string();
    format!("{}-{}", name(mount.outside()), name(bundle))
}

/// The command that runs it, in the foreground.
pub fn run(mount: &Mount, bundle: &Path) -> Command {
    let mut command = Command::new("runc");
    command
        .arg("--root")
        .arg(mount.outside().join("runc"))
        .arg("run")
        .arg("--bundle")
        .arg(bundle)
        .arg(id(mount, bundle));
    command
}
