//! `cargo xtask build-ebpf`: the lock tracer's programs from their sources, and whether the committed object is made of them.
//!
//! Called by hand and by the gate. The daemon embeds `hoodydb-ebpf/locks.bpf.o`, which is committed: the compiler that makes it
//! needs the sources of Rust's core library and a linker of its own, and few hosts have both.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::shell;

/// The object, and the checksums of what it was made of.
const OBJECT: &str = "hoodydb-ebpf/locks.bpf.o";
const SUMS: &str = "hoodydb-ebpf/locks.bpf.sums";

/// The linker that is compiled for Debian's rustc, which has LLVM 22.
const BPF_LINKER: &str = "0.10.3";

/// Debian's packages of a compiler with the sources of its library (bookworm-security), and what they are linked with.
const PACKAGES: &[&str] = &["rustc-web", "libstd-rust-web-1.96", "libstd-rust-web-dev", "rust-web-src", "libllvm22"];

/// Arguments of `build-ebpf`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only check that the committed object is made of these sources
    #[arg(long)]
    check: bool,
}

impl Args {
    /// Builds the object, or says why the committed one stays.
    ///
    /// # Errors
    /// If a build fails, or with `--check` if the object does not match.
    pub fn run(self) -> Result<()> {
        if self.check {
            return check();
        }
        let toolchain = match find() {
            Some(toolchain) => toolchain,
            None if shell::has("apt-get") && shell::has("dpkg") => match unpack() {
                Ok(toolchain) => toolchain,
                Err(error) => return keep_committed(&format!("{error:#}")),
            },
            None => return keep_committed("neither a nightly Rust with rust-src and bpf-linker nor apt-get is here"),
        };
        let built = toolchain.build()?;
        std::fs::copy(&built, shell::root().join(OBJECT)).context("cannot keep the object")?;
        std::fs::write(shell::root().join(SUMS), sums()?).context("cannot keep the checksums")?;
        println!("{OBJECT} is new, made by {}", toolchain.name);
        Ok(())
    }
}

/// The committed object is good if its checksums match; a host without the toolchain can say no more.
fn keep_committed(why: &str) -> Result<()> {
    println!("cannot build the programs here: {why}");
    check_sums()?;
    println!("the committed {OBJECT} is used; it is made of these sources");
    Ok(())
}

/// Checks the checksums, and builds and compares where the toolchain is present. Installs nothing.
///
/// # Errors
/// If the committed object is not made of the sources.
pub fn check() -> Result<()> {
    println!("$ check that {OBJECT} is made of its sources");
    check_sums()?;
    let Some(toolchain) = find() else {
        println!("checksums match; the toolchain that could build and compare is not here (cargo xtask build-ebpf)");
        return Ok(());
    };
    let built = toolchain.build()?;
    if std::fs::read(built)? != std::fs::read(shell::root().join(OBJECT))? {
        bail!("{OBJECT} is not what {} makes of the sources: cargo xtask build-ebpf", toolchain.name);
    }
    println!("{OBJECT} is byte for byte what {} makes of the sources", toolchain.name);
    Ok(())
}

fn check_sums() -> Result<()> {
    let committed = std::fs::read_to_string(shell::root().join(SUMS)).context(SUMS)?;
    if committed != sums()? {
        bail!("the programs' sources or {OBJECT} have changed since it was made: cargo xtask build-ebpf");
    }
    Ok(())
}

/// SHA-256 of the object and of every source, as sha256sum(1) writes and checks them.
fn sums() -> Result<String> {
    let mut files = vec![PathBuf::from(OBJECT), PathBuf::from("hoodydb-ebpf/Cargo.toml")];
    collect(Path::new("hoodydb-ebpf/src"), &mut files)?;
    files.sort();
    shell::read(Command::new("sha256sum").current_dir(shell::root()).args(&files))
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(shell::root().join(directory))? {
        let entry = entry?;
        let path = directory.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            collect(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

/// A compiler that can make eBPF programs.
struct Toolchain {
    name: &'static str,
    rustc: PathBuf,
    /// Before `PATH`: where the linker is.
    tools: PathBuf,
}

fn debian_directory() -> PathBuf {
    shell::target().join("tools/bpf")
}

fn linker_directory() -> PathBuf {
    shell::target().join("tools/bin")
}

/// What is here: a nightly Rust that is complete, else Debian's below `target/tools`.
fn find() -> Option<Toolchain> {
    let debian = debian_directory().join("rustc");
    let has_linker = linker_directory().join("bpf-linker").exists();
    if has_linker && shell::read(Command::new(&debian).arg("--version")).is_ok() {
        return Some(Toolchain { name: "Debian's rustc-web", rustc: debian, tools: linker_directory() });
    }
    let nightly = shell::read(Command::new("rustup").args(["which", "--toolchain", "nightly", "rustc"])).ok()?;
    let rustc = PathBuf::from(nightly.trim());
    let sysroot = shell::read(Command::new(&rustc).args(["--print", "sysroot"])).ok()?;
    let has_sources = Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/core").exists();
    (has_sources && shell::has("bpf-linker")).then(|| Toolchain { name: "nightly Rust", rustc, tools: PathBuf::new() })
}

/// Fetches Debian's packages and unpacks them below `target/tools`; nothing is installed. About 850 MB and five minutes, once.
fn unpack() -> Result<Toolchain> {
    println!("no toolchain for eBPF is here: unpacking Debian's below target/tools (850 MB and five minutes, once)");
    let directory = debian_directory();
    let packages = directory.join("packages");
    std::fs::create_dir_all(&packages)?;
    shell::run(Command::new("apt-get").current_dir(&packages).arg("download").args(PACKAGES))?;
    let root = directory.join("root");
    for package in std::fs::read_dir(&packages)? {
        shell::run(Command::new("dpkg").arg("-x").arg(package?.path()).arg(&root))?;
    }
    std::fs::remove_dir_all(&packages)?;
    std::fs::write(directory.join("rustc"), WRAPPER)?;
    shell::run(Command::new("chmod").arg("+x").arg(directory.join("rustc")))?;
    let mut linker = shell::cargo();
    linker.args(["install", "--quiet", "--locked", "bpf-linker", "--version", BPF_LINKER, "--no-default-features"]);
    shell::run(linker.args(["--features", "llvm-22,rust-llvm-22", "--root"]).arg(shell::target().join("tools")))?;
    find().context("the unpacked compiler does not run: it needs libz3-4, libedit2, libxml2 and libffi8")
}

/// Runs the unpacked compiler with the libraries that were unpacked with it.
const WRAPPER: &str = "#!/bin/sh
root=$(dirname \"$(readlink -f \"$0\")\")/root
LD_LIBRARY_PATH=$(echo \"$root\"/usr/lib/*-linux-gnu) exec \"$root/usr/bin/rustc\" \"$@\"
";

impl Toolchain {
    /// Builds the object, the same bytes from the same sources wherever the repository lies, and gives its path.
    fn build(&self) -> Result<PathBuf> {
        let target = shell::target().join("ebpf");
        let architecture = std::env::consts::ARCH;
        // aya-ebpf wants to know for whose registers it is built; the programs themselves use none.
        let flags = [
            format!("--cfg=bpf_target_arch=\"{architecture}\""),
            "-Cdebuginfo=0".to_owned(),
            format!("--remap-path-prefix={}=.", shell::root().display()),
        ];
        let path = std::env::var_os("PATH").unwrap_or_default();
        let paths = std::iter::once(self.tools.clone()).chain(std::env::split_paths(&path));
        let mut build = shell::cargo();
        build
            .env("PATH", std::env::join_paths(paths)?)
            .env("RUSTC", &self.rustc)
            .env("RUSTC_BOOTSTRAP", "1")
            .env_remove("RUSTFLAGS")
            .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"))
            .args(["build", "--quiet", "--locked", "--release", "--package", "hoodydb-ebpf", "--features", "programs"])
            .args(["--bin", "locks", "--target", "bpfel-unknown-none", "-Zbuild-std=core", "--target-dir"])
            .arg(&target);
        shell::run(&mut build)?;
        Ok(target.join("bpfel-unknown-none/release/locks"))
    }
}
