//! Exit codes.
//!
//! Called by `main` with the error that a command ended with; the numbers are part of the interface and never change.

use crate::control::ControlError;
use crate::model::printable;

/// It failed.
pub const FAILURE: u8 = 1;
/// The command line is wrong; clap uses the same number.
pub const USAGE: u8 = 2;
/// Nothing is mounted there, or no daemon runs.
pub const NOT_MOUNTED: u8 = 3;
/// The mount point or the data directory is in use.
pub const BUSY: u8 = 4;
/// A check found something that is not as it should be.
pub const WARNING: u8 = 5;
/// A check found damage.
pub const DAMAGED: u8 = 6;

/// An error that has an exit code of its own.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    /// A failure with an exit code.
    pub fn new(code: u8, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// Nothing is mounted at a path.
    pub fn not_mounted(mountpoint: &std::path::Path) -> Self {
        let shown = printable(mountpoint);
        Self::new(NOT_MOUNTED, format!("{shown} is not a mount of hoodydb: mount it with hoodydb mount {shown}"))
    }
}

/// What the HTTP interface did not do.
#[derive(Debug, thiserror::Error)]
#[error("Error: {text} ({code})")]
pub struct Refused {
    text: String,
    code: String,
}

impl Refused {
    /// A refusal, with the code that programs compare.
    pub fn new(text: impl Into<String>, code: impl Into<String>) -> Self {
        Self { text: printable(text.into()), code: printable(code.into()) }
    }
}

/// The answer is no, which the exit code alone tells.
#[derive(Debug, thiserror::Error)]
#[error("no")]
pub struct No;

/// What is said of an error on standard error; nothing of one that only the exit code tells.
pub fn said(error: &anyhow::Error) -> Option<String> {
    if error.is::<No>() {
        return None;
    }
    match error.downcast_ref::<Refused>() {
        Some(refused) => Some(refused.to_string()),
        None => Some(format!("hoodydb: {}", line_of(error))),
    }
}

/// The exit code of an error.
pub fn code_of(error: &anyhow::Error) -> u8 {
    if let Some(failure) = error.downcast_ref::<Failure>() {
        return failure.code;
    }
    match error.downcast_ref::<ControlError>() {
        Some(ControlError::Socket { source, .. })
            if matches!(source.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused) =>
        {
            NOT_MOUNTED
        }
        _ => FAILURE,
    }
}

/// The error with its causes on one line; a cause that the words before it contain is not said twice.
pub fn line_of(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if line.is_empty() {
            line = cause;
        } else if !line.contains(&cause) {
            line.push_str(": ");
            line.push_str(&cause);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn no_cause_is_said_twice() {
        let silent = ControlError::Silent { path: "/s".into(), source: io::Error::from_raw_os_error(5) };
        let line = line_of(&anyhow::Error::from(silent).context("cannot ask"));
        let said = "the daemon behind /s does not answer: Input/output error (os error 5)";
        assert_eq!(line, format!("cannot ask: {said}"));
    }

    #[test]
    fn refusals_of_the_interface_are_said_as_it_says_them() {
        assert_eq!(said(&Refused::new("a\nb", "X").into()).as_deref(), Some("Error: a\\nb (X)"));
        assert_eq!(said(&anyhow::anyhow!("x")).as_deref(), Some("hoodydb: x"));
        assert_eq!((said(&No.into()), code_of(&No.into())), (None, FAILURE));
    }

    #[test]
    fn each_error_has_its_code() {
        assert_eq!(code_of(&anyhow::anyhow!("x")), FAILURE);
        assert_eq!(code_of(&Failure::new(BUSY, "x").into()), BUSY);
        assert_eq!(code_of(&anyhow::Error::from(Failure::not_mounted("/m".as_ref())).context("more")), NOT_MOUNTED);
        let socket = |kind: io::ErrorKind| ControlError::Socket { action: "x", path: "/s".into(), source: kind.into() };
        assert_eq!(code_of(&socket(io::ErrorKind::ConnectionRefused).into()), NOT_MOUNTED);
        assert_eq!(code_of(&socket(io::ErrorKind::PermissionDenied).into()), FAILURE);
        assert_eq!(code_of(&ControlError::Refused("no".to_owned()).into()), FAILURE);
    }
}
