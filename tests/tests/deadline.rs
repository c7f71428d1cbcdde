//! A holder that never lets go: every wait has an end, and the error is SQLite's own.

use std::time::{Duration, Instant};

use hoodydb_tests::clients::python;
use hoodydb_tests::database::{self, Mode};
use hoodydb_tests::{Client, Mount};

fn session(mount: &Mount, timeout: u32) -> Client {
    let mut command = python("session.py");
    command.arg(mount.path("app.db")).arg(timeout.to_string());
    Client::ready(command)
}

/// How long a client with a busy timeout waits for a holder that never lets go, and what it is told.
fn wait_in_vain(options: &[&str], mode: Mode, timeout: u32) -> Duration {
    let mount = Mount::with(options);
    database::create(&mount.path("app.db"), mode);
    let mut holder = session(&mount, 0);
    holder.does("BEGIN IMMEDIATE");
    let mut waiter = session(&mount, timeout);
    let begun = Instant::now();
    assert_eq!(waiter.ask("INSERT INTO events(body) VALUES ('x')"), "error: database is locked");
    let waited = begun.elapsed();
    assert!(mount.holders_of("app.db").contains(&holder.id()), "the holder holds on");
    holder.does("COMMIT");
    waiter.does("INSERT INTO events(body) VALUES ('y')");
    waited
}

#[test]
fn a_stuck_holder_fails_a_client_after_the_longest_wait() {
    for mode in Mode::ALL {
        let waited = wait_in_vain(&["--max-wait", "1s"], mode, 0);
        assert!(waited >= Duration::from_secs(1), "{mode:?}: {waited:?}");
        assert!(waited < Duration::from_secs(5), "{mode:?}: {waited:?}");
    }
}

#[test]
fn a_busy_timeout_does_not_multiply_the_wait() {
    for mode in Mode::ALL {
        // SQLite's handler tries about 15 times within a second: one wait, not fifteen.
        let waited = wait_in_vain(&["--max-wait", "2s"], mode, 1);
        assert!(waited >= Duration::from_secs(2), "{mode:?}: {waited:?}");
        assert!(waited < Duration::from_secs(8), "{mode:?}: {waited:?}");
    }
}

#[cfg(long_tests)]
#[test]
fn the_defaults_end_within_31_and_37_seconds() {
    for mode in Mode::ALL {
        let waited = wait_in_vain(&[], mode, 0);
        assert!(waited <= Duration::from_secs(31), "{mode:?}: {waited:?}");
        let waited = wait_in_vain(&[], mode, 5);
        assert!(waited <= Duration::from_secs(37), "{mode:?}: {waited:?}");
    }
}
