//! `hoodydb-runc`: stands before an engine's runtime and gives each new container the mount's parent.
//!
//! Called by docker and containerd instead of runc; everything it knows is in [`hoodydb::runtime`]. It returns only if no
//! runtime can be run.

use std::process::ExitCode;

fn main() -> ExitCode {
    let error = hoodydb::runtime::stand_in(std::env::args_os().skip(1).collect());
    eprintln!("hoodydb-runc: {error}");
    // As a shell says of a command that is not there.
    ExitCode::from(127)
}
