//! The command line that an engine gives to its runtime. Called by [`super::stand_in`]; it reads nothing else.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

/// Names the runtime that stands behind, as the first argument.
pub const RUNTIME_OPTION: &str = "--hoodydb-runtime";

/// Options before the command that take their value from the next argument.
///
/// # Source
/// runc(8), crun(1).
const WITH_VALUE: [&str; 6] = ["--root", "--log", "--log-format", "--criu", "--rootless", "--cgroup-manager"];

/// Commands that make a container from a bundle.
const MAKING: [&str; 3] = ["create", "run", "restore"];

/// Takes our own option out.
pub(super) fn without_own(mut arguments: Vec<OsString>) -> (Option<PathBuf>, Vec<OsString>) {
    let Some(first) = arguments.first() else { return (None, arguments) };
    if first == RUNTIME_OPTION && arguments.len() > 1 {
        let rest = arguments.split_off(2);
        return (arguments.pop().map(PathBuf::from), rest);
    }
    match value_of(first, RUNTIME_OPTION) {
        Some(path) => {
            let rest = arguments.split_off(1);
            (Some(path), rest)
        }
        None => (None, arguments),
    }
}

/// The bundle, if a container is made.
pub(super) fn bundle_of_new_container(arguments: &[OsString]) -> Option<PathBuf> {
    let mut arguments = arguments.iter();
    loop {
        let argument = arguments.next()?;
        if WITH_VALUE.iter().any(|option| argument == option) {
            arguments.next();
        } else if !argument.as_bytes().starts_with(b"-") {
            if !MAKING.iter().any(|command| argument == command) {
                return None;
            }
            break;
        }
    }
    let mut bundle = PathBuf::from(".");
    while let Some(argument) = arguments.next() {
        if ["--bundle", "-bundle", "-b", "--b"].iter().any(|option| argument == option) {
            bundle = arguments.next()?.into();
        } else if let Some(value) = value_of(argument, "--bundle").or_else(|| value_of(argument, "-b")) {
            bundle = value;
        }
    }
    Some(bundle)
}

/// The value of `OPTION=VALUE`.
fn value_of(argument: &OsStr, option: &str) -> Option<PathBuf> {
    let value = argument.as_bytes().strip_prefix(option.as_bytes())?.strip_prefix(b"=")?;
    Some(OsString::from_vec(value.to_vec()).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split_whitespace().map(OsString::from).collect()
    }

    #[test]
    fn what_engines_say_when_they_make_a_container() {
        let rows = [
            ("--root /r --log /l.json --log-format json create --bundle /b --pid-file /p ID", Some("/b")),
            ("--root /r --systemd-cgroup create --bundle=/b ID", Some("/b")),
            ("run -b /b ID", Some("/b")),
            ("--root=/run create ID", Some(".")),
            ("restore --image-path /i --bundle /b ID", Some("/b")),
            ("--log create state ID", None),
            ("start ID", None),
            ("exec ID run --bundle /b", None),
            ("--version", None),
            ("--root", None),
            ("create --bundle", None),
            ("", None),
        ];
        for (line, bundle) in rows {
            assert_eq!(bundle_of_new_container(&words(line)), bundle.map(PathBuf::from), "{line}");
        }
    }

    #[test]
    fn our_option_stands_first() {
        let of = |line: &str| without_own(words(line));
        assert_eq!(of("--hoodydb-runtime /x create"), (Some("/x".into()), words("create")));
        assert_eq!(of("--hoodydb-runtime=/x create"), (Some("/x".into()), words("create")));
        assert_eq!(of("create --hoodydb-runtime /x"), (None, words("create --hoodydb-runtime /x")));
        assert_eq!(of("--hoodydb-runtime"), (None, words("--hoodydb-runtime")));
        assert_eq!(of(""), (None, Vec::new()));
    }
}
