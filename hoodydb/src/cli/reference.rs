//! `hoodydb reference`: docs/CLI.md, made from the command line's own definition.
//!
//! Called by [`super::Cli`] and by a test that compares the file with it.

use anyhow::Result;
use clap::{Command, CommandFactory};

const HEAD: &str = "\
# The command line

Made by `hoodydb reference`; change the help texts in `hoodydb/src/cli/`, then make this file again.
The fields of `--json` are described in `hoodydb/src/model.rs`.
";

/// Prints the reference of all commands as Markdown
#[derive(Debug, clap::Args)]
#[command(
    hide = true,
    after_help = "\
Example:
  hoodydb reference > docs/CLI.md

Exit codes:
  0  done
  1  it failed; the line on standard error says why
  2  the command line is wrong"
)]
pub(super) struct Args {}

pub(super) fn run(_args: &Args) -> Result<()> {
    super::print(&markdown())
}

/// The whole file.
fn markdown() -> String {
    let mut root = super::Cli::command().term_width(100);
    root.build();
    let mut text = HEAD.to_owned();
    add(&mut text, &mut root);
    text
}

/// One section per command, in the order of the help.
fn add(text: &mut String, command: &mut Command) {
    let name = command.get_bin_name().unwrap_or(command.get_name()).to_owned();
    let help = command.render_long_help().to_string();
    let lines: Vec<&str> = help.lines().map(str::trim_end).collect();
    text.push_str(&format!("\n## {name}\n\n```text\n{}\n```\n", lines.join("\n").trim_end()));
    for subcommand in command.get_subcommands_mut().filter(|subcommand| !subcommand.is_hide_set()) {
        add(text, subcommand);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_in_docs_is_current() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/CLI.md");
        let written = std::fs::read_to_string(path).unwrap_or_default();
        assert!(written == markdown(), "docs/CLI.md is old: cargo run -- reference > docs/CLI.md");
    }
}
