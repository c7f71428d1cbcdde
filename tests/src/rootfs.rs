//! A root file system of busybox and sqlite3, for containers of every engine. Called by tests of containers.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::mount::text;

/// Makes one in an empty directory.
///
/// # Panics
/// If busybox-static or sqlite3 is not installed.
pub fn make(root: &Path) {
    for name in ["bin", "dev", "etc", "proc", "sys", "tmp"] {
        std::fs::create_dir_all(root.join(name)).expect("mkdir");
    }
    std::fs::copy("/bin/busybox", root.join("bin/busybox")).expect("busybox-static is installed");
    let applets = Command::new("/bin/busybox").arg("--list").output().expect("busybox runs").stdout;
    for applet in text(&applets).lines().filter(|applet| *applet != "busybox") {
        std::os::unix::fs::symlink("busybox", root.join("bin").join(applet)).expect("symlink");
    }
    copy_program(root, "/usr/bin/sqlite3");
}

/// The same as a tar file, as `podman import` and `docker import` take it.
///
/// # Panics
/// If it cannot be made.
pub fn tar(directory: &Path) -> PathBuf {
    tar_with(directory, &[])
}

/// The same with more programs of this host, in `/bin`.
///
/// # Panics
/// If it cannot be made.
pub fn tar_with(directory: &Path, programs: &[&str]) -> PathBuf {
    let (root, tar) = (directory.join("rootfs"), directory.join("rootfs.tar"));
    make(&root);
    for program in programs.iter().map(Path::new) {
        copy_program(&root, &program.display().to_string());
        let name = program.file_name().unwrap_or_default();
        std::os::unix::fs::symlink(program, root.join("bin").join(name)).expect("symlink");
    }
    let status = Command::new("tar").arg("-C").arg(&root).arg("-cf").arg(&tar).arg(".").status();
    assert!(status.expect("tar runs").success());
    tar
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
