//! The `hoodydb` command: parses, dispatches, and turns results into exit codes.

use std::process::ExitCode;

use clap::Parser;
use hoodydb::cli::{Cli, exit};

fn main() -> ExitCode {
    match Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if let Some(line) = exit::said(&error) {
                eprintln!("{line}");
            }
            ExitCode::from(exit::code_of(&error))
        }
    }
}
