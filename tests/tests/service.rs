//! What a service manager sees of the two processes: who is the main one, that it lives, and which of them the kernel is to end
//! first when memory runs out.

use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use hoodydb_tests::{Mount, Place};
use rustix::process::Pid;

/// Far longer than any handover: a message that does not come is a failure, not a hang of the test.
const LIMIT: Duration = Duration::from_secs(100);

/// Everything that is sent to a socket, as it comes: a sender would wait for a reader.
fn messages(socket: UnixDatagram) -> Receiver<String> {
    let (heard, messages) = channel();
    std::thread::spawn(move || {
        let mut buffer = [0; 512];
        while let Ok(length) = socket.recv(&mut buffer) {
            if heard.send(String::from_utf8_lossy(&buffer[..length]).into_owned()).is_err() {
                return;
            }
        }
    });
    messages
}

fn wait_for(messages: &Receiver<String>, wanted: &str) {
    while messages.recv_timeout(LIMIT).unwrap_or_else(|error| panic!("{wanted:?} is not told: {error}")) != wanted {}
}

#[test]
fn the_main_process_is_told_and_that_it_lives() {
    let place = Place::new();
    let path = place.path().join("notify");
    let messages = messages(UnixDatagram::bind(&path).expect("a socket"));
    let socket = format!("NOTIFY_SOCKET={}", path.display());
    let mount = Mount::behind(&["env", &socket, "WATCHDOG_USEC=100000"], &[]);
    let told = || {
        wait_for(&messages, &format!("READY=1\nMAINPID={}", mount.keeper().as_raw_nonzero()));
        wait_for(&messages, "WATCHDOG=1");
    };
    told();
    for handover in Mount::HANDOVERS {
        handover(&mount);
        told();
    }
}

fn score(pid: Pid) -> String {
    std::fs::read_to_string(format!("/proc/{}/oom_score_adj", pid.as_raw_nonzero())).expect("it runs").trim().to_owned()
}

/// Whether a process here may ask to be spared at all (CAP_SYS_RESOURCE; a container seldom may).
fn may_ask() -> bool {
    let asking = Command::new("sh").args(["-c", "echo -1 > /proc/self/oom_score_adj"]).stderr(Stdio::null()).status();
    asking.is_ok_and(|status| status.success())
}

#[test]
fn the_worker_goes_before_the_keeper_when_memory_runs_out() {
    let mount = Mount::new();
    let scores = || [score(mount.keeper()), score(mount.worker())];
    // Who may not ask is served all the same.
    let expected = if may_ask() { ["-900", "-500"] } else { ["0", "0"] };
    eprintln!("scores of keeper and worker: {expected:?}");
    assert_eq!(scores(), expected);
    for handover in Mount::HANDOVERS {
        handover(&mount);
        assert_eq!(scores(), expected);
    }
}

#[test]
fn the_unit_does_not_end_with_one_of_its_processes() {
    let unit = include_str!("../../hoodydb/assets/hoodydb.service");
    // systemd's default for the first is to stop the whole service when the kernel has ended any process of it.
    for line in ["OOMPolicy=continue", "OOMScoreAdjust=-900", "ExitType=cgroup", "NotifyAccess=all", "Restart=always"] {
        assert!(unit.lines().any(|other| other == line), "{line}");
    }
}
