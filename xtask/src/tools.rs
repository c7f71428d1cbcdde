//! Programs that extend cargo: those that are installed, or compiled once below `target/`. Called by `gate` and `package`.

use std::process::Command;

use anyhow::Result;

use crate::shell;

/// A cargo that knows the program `name`; `version` is compiled where none is installed.
///
/// # Errors
/// If it cannot be compiled.
pub fn cargo(name: &str, version: &str) -> Result<Command> {
    let mut cargo = shell::cargo();
    if shell::has(name) {
        return Ok(cargo);
    }
    let tools = shell::target().join("tools");
    if !tools.join("bin").join(name).exists() {
        println!("{name} is not installed: compiling one for this repository (a few minutes, once)");
        let mut install = shell::cargo();
        install.args(["install", "--quiet", "--locked", name, "--version", version, "--root"]).arg(&tools);
        shell::run(&mut install)?;
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let paths = [tools.join("bin")].into_iter().chain(std::env::split_paths(&path));
    cargo.env("PATH", std::env::join_paths(paths)?);
    Ok(cargo)
}
