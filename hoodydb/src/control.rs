//! The daemon's unix socket: one JSON line asks, one JSON line answers.
//!
//! The server runs in [`crate::daemon`], the client in [`crate::cli`]; the wire carries values of [`crate::model`] and knows
//! nothing of locks or FUSE.

pub mod client;
pub mod server;
pub mod socket;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::manager::Policy;
use crate::model::history::MountHistory;
use crate::model::{
    LockEvents, MountLocks, MountStatus, NewSchedule, Observation, PolicyAnswer, Sample, ScheduleStatus, UnmountAnswer,
};

/// The wire's version; a daemon answers only its own.
pub const VERSION: u32 = 1;

/// Longest request line, in bytes: a path of `PATH_MAX` bytes, escaped, fits.
const REQUEST_MAX_BYTES: u64 = 64 * 1024;

/// One question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// [`VERSION`] of the asker.
    pub version: u32,
    /// What is asked.
    #[serde(flatten)]
    pub command: Command,
}

/// What can be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum Command {
    /// Everything about the mount.
    Status,
    /// One look at the mount, for `top`.
    Observe,
    /// The minutes of the last hours, of one database or of all.
    History {
        /// How far back.
        since_s: u64,
        /// A path below the mount point; it may be gone by now.
        db: Option<PathBuf>,
    },
    /// Holders and waiters, of one database or of all.
    Locks {
        /// A path below the mount point.
        db: Option<PathBuf>,
    },
    /// What the lock tracer has counted so far.
    Sample,
    /// Lock events behind a cursor, or only a cursor: events are kept from the first question on.
    Events {
        /// Where the last answer ended.
        cursor: Option<u64>,
        /// A path below the mount point: only this database and its WAL index.
        db: Option<PathBuf>,
    },
    /// The policy of a database.
    PolicyGet {
        /// A path below the mount point.
        db: PathBuf,
    },
    /// A new policy for a database.
    PolicySet {
        /// A path below the mount point.
        db: PathBuf,
        /// The policy.
        mode: Policy,
        /// Whether a file that does not look like SQLite is taken too.
        force: bool,
    },
    /// A new schedule of backups; its first run begins at once.
    ScheduleAdd {
        /// What is to be done, and how often.
        schedule: NewSchedule,
    },
    /// No more runs of a schedule; one that is at work goes on.
    ScheduleRemove {
        /// Its number.
        id: u64,
    },
    /// Begin to unmount, as SIGTERM does; `lazy` detaches at once and serves what is open until it is closed.
    Unmount {
        /// Detach at once.
        lazy: bool,
    },
    /// How far an unmount is; starts nothing.
    UnmountProgress,
    /// Go over to another program. Answered only if it is refused: else the worker is gone before it could.
    Upgrade {
        /// The program.
        binary: PathBuf,
    },
    /// Arm a fault point (none: only ask); builds with fault points only.
    #[cfg(feature = "fault-points")]
    Fault {
        /// The n-th from now.
        arm: Option<u64>,
    },
}

/// One answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Response {
    /// [`VERSION`] of the answerer.
    pub version: u32,
    /// The answer.
    #[serde(flatten)]
    pub body: Answer,
}

/// What can be answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// To [`Command::Status`].
    Status(Box<MountStatus>),
    /// To [`Command::Observe`].
    Observation(Box<Observation>),
    /// To [`Command::History`].
    History(Box<MountHistory>),
    /// To [`Command::Locks`].
    Locks(MountLocks),
    /// To [`Command::Sample`].
    Sample(Box<Sample>),
    /// To [`Command::Events`].
    Events(LockEvents),
    /// To [`Command::PolicyGet`] and [`Command::PolicySet`].
    Policy(PolicyAnswer),
    /// To [`Command::ScheduleAdd`] and [`Command::ScheduleRemove`].
    Schedule(Box<ScheduleStatus>),
    /// To [`Command::Unmount`] and [`Command::UnmountProgress`].
    Unmount(UnmountAnswer),
    /// To [`Command::Fault`]: points left.
    #[cfg(feature = "fault-points")]
    Fault(u64),
    /// The question could not be answered: one line that says why.
    Error(String),
}

/// What can go wrong between the command and the daemon.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The socket cannot be made, found or reached.
    #[error("{action} {}: {source}", crate::model::printable(path))]
    Socket {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The kernel's answer.
        source: std::io::Error,
    },
    /// The daemon did not answer in time, or hung up.
    #[error("the daemon behind {} does not answer: {source}", crate::model::printable(path))]
    Silent {
        /// The socket.
        path: PathBuf,
        /// The kernel's answer.
        source: std::io::Error,
    },
    /// The answer is not one that this version knows.
    #[error(
        "the daemon behind {} speaks another version ({reason}): use the hoodydb that it was started with",
        crate::model::printable(path)
    )]
    Version {
        /// The socket.
        path: PathBuf,
        /// What did not fit.
        reason: String,
    },
    /// The daemon's own words.
    #[error("{0}")]
    Refused(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_one_flat_object() {
        let set = Command::PolicySet { db: "a.db".into(), mode: Policy::Serial, force: false };
        let line = serde_json::to_string(&Request { version: VERSION, command: set.clone() }).unwrap();
        assert_eq!(line, r#"{"version":1,"command":"policy_set","db":"a.db","mode":"serial","force":false}"#);
        assert_eq!(serde_json::from_str::<Request>(&line).unwrap().command, set);
        let status: Request = serde_json::from_str(r#"{"version":1,"command":"status"}"#).unwrap();
        assert_eq!(status.command, Command::Status);
    }

    #[test]
    fn answers_are_one_flat_object() {
        let line = serde_json::to_string(&Response { version: VERSION, body: Answer::Error("no".to_owned()) }).unwrap();
        assert_eq!(line, r#"{"version":1,"error":"no"}"#);
    }
}
