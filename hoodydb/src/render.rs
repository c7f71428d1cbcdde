//! From the model to text: tables for people, JSON for programs.
//!
//! Called by [`crate::cli`]; it knows no terminal, only the [`Style`] that it is given, and every name goes through
//! [`printable`](crate::model::printable).

mod care;
mod containers;
mod history;
mod locks;
mod schedule;
mod screen;
mod status;
mod table;
mod top;
pub mod trace;
mod units;

pub use care::{backup, check, databases, restore, vacuum};
pub use containers::containers;
pub use history::history;
pub use locks::locks;
pub use schedule::{schedule, schedules};
pub use screen::{Key, Screen, Sort, Ui};
pub use status::status;
pub use table::rows;
pub use top::top;
pub use units::bytes;

use crate::model::{PolicyAnswer, SingleFileBind, UnmountAnswer, printable};

/// How text may look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Style {
    /// Whether escape sequences for colours and weights are wanted.
    pub colour: bool,
}

impl Style {
    fn bold(self, text: &str) -> String {
        self.wrap("1", text)
    }

    fn warning(self, text: &str) -> String {
        self.wrap("33", text)
    }

    fn wrap(self, code: &str, text: &str) -> String {
        if self.colour { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

/// A value as JSON, indented, on lines of their own. Control characters of names are escaped, those above 0x7f too.
pub fn json<T: serde::Serialize>(value: &T) -> Result<String, serde_json::Error> {
    Ok(harmless(&serde_json::to_string_pretty(value)?))
}

/// As [`json`], on one line.
pub fn json_line<T: serde::Serialize>(value: &T) -> Result<String, serde_json::Error> {
    Ok(harmless(&serde_json::to_string(value)?))
}

fn harmless(json: &str) -> String {
    let mut text = String::new();
    for character in json.chars() {
        match character {
            '\u{7f}'..='\u{9f}' => text.push_str(&format!("\\u{:04x}", u32::from(character))),
            other => text.push(other),
        }
    }
    text.push('\n');
    text
}

/// The answer of `policy get` and `policy set`.
pub fn policy(answer: &PolicyAnswer) -> String {
    let origin = if answer.own { "its own" } else { "the mount's" };
    format!("{}: mode={} ({origin})\n", printable(&answer.path), answer.mode)
}

/// A command line in a table or a warning: the program without its directory; of a long one all paths without theirs, and its
/// beginning. The whole one is in the JSON.
fn short_command(command: &str) -> String {
    const SHOWN_MAX_CHARS: usize = 60;
    let is_long = command.chars().count() > SHOWN_MAX_CHARS;
    let shown = |(position, word): (usize, &str)| {
        let without_directory = position == 0 || (is_long && word.starts_with('/'));
        printable(if without_directory { file_name(word) } else { word })
    };
    let text = command.split(' ').enumerate().map(shown).collect::<Vec<_>>().join(" ");
    match text.char_indices().nth(SHOWN_MAX_CHARS) {
        Some((end, _)) => format!("{}..", &text[..end]),
        None => text,
    }
}

/// The last part of a path; all of it where that is empty.
fn file_name(path: &str) -> &str {
    path.rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or(path)
}

/// One line per user and running transaction of a mount that is to go away.
pub fn unmount_users(answer: &UnmountAnswer) -> String {
    let mut text = String::new();
    for user in &answer.users {
        let (command, path) = (short_command(&user.process.command), printable(&user.path));
        text.push_str(&format!("open: {path} by pid {} ({command})\n", user.process.pid));
    }
    for process in &answer.running {
        text.push_str(&format!("transaction runs: pid {} ({})\n", process.pid, short_command(&process.command)));
    }
    text
}

fn single_file_bind(bind: &SingleFileBind, style: Style) -> String {
    let warning = style.warning("WARNING");
    format!(
        "{warning}: pid {} ({}) sees the single file {} as {}: its -journal, -wal and -shm are not beside it there. Bind the \
         directory instead of the file.\n",
        bind.process.pid,
        short_command(&bind.process.command),
        printable(&bind.path),
        printable(&bind.seen_at),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{OpenFile, ProcessName};

    #[test]
    fn json_has_no_raw_control_character() {
        let answer = PolicyAnswer { path: "a\u{1b}\u{9b}\u{7f}.db".to_owned(), ..PolicyAnswer::default() };
        let text = json(&answer).unwrap();
        assert!(text.contains(r"a\u001b\u009b\u007f.db"), "{text}");
        assert_eq!(serde_json::from_str::<PolicyAnswer>(&text).unwrap(), answer);
    }

    #[test]
    fn commands_are_told_without_directories() {
        assert_eq!(short_command("/usr/bin/sqlite3 /data/app.db"), "sqlite3 /data/app.db");
        let long = format!("/opt/python/bin/python3 -u /srv/{}/app.py --port 80", "deep".repeat(12));
        assert_eq!(short_command(&long), "python3 -u app.py --port 80");
        assert_eq!(short_command("a/ /\n"), "a/ /\\n");
        assert_eq!(short_command(""), "");
    }

    #[test]
    fn users_are_named_on_a_line_each() {
        let process = ProcessName { pid: 7, command: "sqlite3 a\nb".to_owned() };
        let answer = UnmountAnswer {
            users: vec![OpenFile { process: process.clone(), path: "/m/a.db".to_owned() }],
            running: vec![process],
            ..UnmountAnswer::default()
        };
        insta::assert_snapshot!(unmount_users(&answer), @r"
        open: /m/a.db by pid 7 (sqlite3 a\nb)
        transaction runs: pid 7 (sqlite3 a\nb)
        ");
    }

    #[test]
    fn policy_says_whose_it_is() {
        let mut answer =
            PolicyAnswer { path: "a.db".to_owned(), mode: "serial".to_owned(), own: true, ..PolicyAnswer::default() };
        assert_eq!(policy(&answer), "a.db: mode=serial (its own)\n");
        answer.own = false;
        assert_eq!(policy(&answer), "a.db: mode=serial (the mount's)\n");
    }
}
