//! Two containers, one of them with mapped user ids, write to one database through the bound mount at the same time.

use std::path::{Path, PathBuf};
use std::process::Command;

use hoodydb_tests::crowd::assert_all_succeeded;
use hoodydb_tests::database::{self, Mode};
use hoodydb_tests::mount::text;
use hoodydb_tests::{Crowd, Mount, skip};
use serde_json::{Value, json};

const INSERTS: u64 = 25;

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

/// A bundle that inserts rows by a sqlite3 process each, once it is told to.
fn bundle(mount: &Mount, name: &str, mapped: bool) -> PathBuf {
    let bundle = mount.outside().join(name);
    root_file_system(&bundle.join("rootfs"));
    let spec = Command::new("runc").arg("spec").current_dir(&bundle).output().expect("runc runs");
    assert!(spec.status.success(), "{}", text(&spec.stderr));
    let path = bundle.join("config.json");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&path).expect("a spec")).expect("JSON");
    let script = format!(
        "echo ready; read -r _; n=0; while [ $n -lt {INSERTS} ]; do n=$((n+1)); \
         sqlite3 /databases/app.db \"INSERT INTO events(client, body) VALUES ('{name}', $n)\" || exit 1; done"
    );
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

fn run(mount: &Mount, bundle: &Path) -> Command {
    let name = format!(
        "{}-{}",
        mount.outside().file_name().unwrap_or_default().display(),
        bundle.file_name().unwrap_or_default().display()
    );
    let mut command = Command::new("runc");
    command.arg("--root").arg(mount.outside().join("runc")).arg("run").arg("--bundle").arg(bundle).arg(name);
    command
}

#[test]
fn two_containers_write_at_once() {
    let there = |program: &str| Command::new(program).arg("--help").output().is_ok();
    if !there("runc") || !Path::new("/bin/busybox").exists() {
        return skip("runc or busybox-static is not installed");
    }
    for mode in Mode::ALL {
        let mount = Mount::with(&["--access", "shared"]);
        database::create(&mount.path("app.db"), mode);
        let bundles = [("plain", false), ("mapped", true)].map(|(name, mapped)| bundle(&mount, name, mapped));
        assert_all_succeeded(&Crowd::ready(bundles.iter().map(|bundle| run(&mount, bundle))).run());
        for name in ["plain", "mapped"] {
            let rows = database::number(
                &mount.path("app.db"),
                &format!("SELECT count(*) FROM events WHERE client = '{name}'"),
            );
            assert_eq!(rows, INSERTS, "{mode:?}, {name}");
        }
        database::assert_sound(&mount.path("app.db"));
    }
}
