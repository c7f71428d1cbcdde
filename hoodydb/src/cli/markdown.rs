//! `hoodydb markdown`: docs/CLI.md, made from the command line's own definition.
//!
//! Called by [`super::Cli`] and by a test that compares the file with it.

use anyhow::Result;
use clap::{Command, CommandFactory};

const HEAD: &str = "\
# The command line

Made by `hoodydb markdown`; change the help texts in `hoodydb/src/cli/`, then make this file again.
The fields of `--json` stand at the end.
";

/// The schema of `--json`, in words.
const JSON: &str = include_str!("markdown/json.md");

/// Prints the reference of all commands as Markdown
#[derive(Debug, clap::Args)]
#[command(
    hide = true,
    after_help = "\
Example:
  hoodydb markdown > docs/CLI.md

Exit codes:
  0  done
  1  it failed; the line on standard error says why
  2  the command line is wrong"
)]
pub(super) struct Args {
    /// Print docs/openapi.yaml instead
    #[arg(long)]
    openapi: bool,
}

pub(super) fn run(args: &Args) -> Result<()> {
    if args.openapi { super::print(crate::api::openapi()) } else { super::print(&document()) }
}

/// The whole file.
fn document() -> String {
    let mut root = super::Cli::command().term_width(100);
    root.build();
    let mut text = HEAD.to_owned();
    add(&mut text, &mut root);
    text.push_str(JSON);
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

    fn fields_of(value: &serde_json::Value, fields: &mut std::collections::BTreeSet<String>) {
        match value {
            serde_json::Value::Object(object) => object.iter().for_each(|(name, value)| {
                fields.insert(name.clone());
                fields_of(value, fields);
            }),
            serde_json::Value::Array(values) => values.iter().for_each(|value| fields_of(value, fields)),
            _ => (),
        }
    }

    #[test]
    fn every_field_is_described() {
        use crate::model::*;
        let database =
            DatabaseLocks { holders: vec![Holder::default()], waiters: vec![Waiter::default()], ..<_>::default() };
        let locks = MountLocks { databases: vec![database], ..MountLocks::default() };
        let status = MountStatus {
            databases: vec![DatabaseStatus::default()],
            refused_databases: vec![RefusedDatabase { users: vec![ProcessName::default()], ..<_>::default() }],
            single_file_binds: vec![SingleFileBind::default()],
            schedules: vec![ScheduleStatus { last: Some(ScheduleRun::default()), ..<_>::default() }],
            ..MountStatus::default()
        };
        let containers =
            Containers { engines: vec![EngineStatus::default()], containers: vec![ContainerStatus::default()] };
        let list = MountDatabases { databases: vec![DatabaseFacts::default()], ..<_>::default() };
        let checked = Checked { findings: vec![Finding::default()], ..<_>::default() };
        let holder = Holder { container: Some(Container::default()), ..Holder::default() };
        let database =
            DatabaseTop { holder: Some(holder), wal_pinned_by: Some(Pinned::default()), ..DatabaseTop::default() };
        let top = MountTop { databases: vec![database], ..MountTop::default() };
        let longest = history::LongestHold::default();
        let minute = history::HistoryRow { longest_holder: Some(longest), ..<_>::default() };
        let minutes = history::MountHistory { minutes: vec![minute], ..<_>::default() };
        let all = serde_json::json!([
            containers,
            Status { mounts: vec![status] },
            Locks { mounts: vec![locks] },
            Top { mounts: vec![top] },
            history::History { mounts: vec![minutes] },
            PolicyAnswer::default(),
            BackupAnswer { backups: vec![Backup::default()], failed: vec![FailedDatabase::default()] },
            RestoreAnswer::default(),
            VacuumAnswer { databases: vec![Vacuumed::default()], failed: vec![] },
            CheckAnswer { databases: vec![checked] },
            DatabaseList { mounts: vec![list] },
        ]);
        let mut fields = std::collections::BTreeSet::new();
        fields_of(&all, &mut fields);
        for field in fields {
            let names = [format!("`{field}`"), format!("\"{field}\""), format!("`{field}."), format!(".{field}`")];
            assert!(names.iter().any(|name| JSON.contains(name)), "json.md does not describe {field}");
        }
    }

    #[test]
    fn the_file_in_docs_is_current() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/CLI.md");
        let written = std::fs::read_to_string(path).unwrap_or_default();
        assert!(written == document(), "docs/CLI.md is old: cargo run -- markdown > docs/CLI.md");
    }
}
