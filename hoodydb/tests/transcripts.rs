//! Scenarios as text: a command per line, and under it everything that the lock manager decided.
//!
//! ```text
//!   MS CLIENT VERB     at MS milliseconds, CLIENT makes a call
//!   MS tick            only time passes
//!   => ...             what was decided, in order; `waits` where there is no decision yet
//! ```
//! Clients are names such as `A`; `A2` is a second descriptor, `A*` a second copy of SQLite in the process of `A`.
//! `UPDATE_TRANSCRIPTS=1 cargo test -p hoodydb --test transcripts` writes the files anew.

use std::collections::BTreeMap;
use std::fmt::Write;

use hoodydb::lock::{ByteRange, FileId, Handle, LockKind, LockOwner, Pid, Tid};
use hoodydb::manager::{
    Activity, Config, Decision, Denial, Event, Group, LockCall, LockManager, Policy, Ticket, Timestamp,
};

const MS: u64 = 1_000_000;
const PENDING: u64 = 0x4000_0000;

struct Script {
    manager: LockManager,
    tickets: BTreeMap<Ticket, String>,
    ticket: u64,
    now: Timestamp,
    /// The last probe that was asked for.
    probe: Option<(FileId, u64)>,
    text: String,
}

fn file(database: &str) -> (FileId, FileId) {
    let number = database.bytes().fold(7, |sum, byte| sum * 31 + u64::from(byte));
    (FileId { dev: 1, ino: number }, FileId { dev: 2, ino: number })
}

impl Script {
    fn new() -> Self {
        let config = Config { max_waiters_per_process: 3, max_records_per_holder: 4, ..Config::default() };
        Self {
            manager: LockManager::new(config),
            tickets: BTreeMap::new(),
            ticket: 0,
            now: Timestamp(0),
            probe: None,
            text: String::new(),
        }
    }

    fn tell(&mut self, event: Event) {
        let mut out = Vec::new();
        self.manager.handle(self.now, event, &mut out);
        for decision in out {
            match decision {
                Decision::Answer(ticket, result) => {
                    let who = self.tickets.remove(&ticket).expect("every answer has a ticket that waited");
                    let _ = match result {
                        Ok(()) => writeln!(self.text, "=> {who} granted"),
                        Err(Denial::Deadlock { .. }) => writeln!(self.text, "=> {who} refused: Deadlock"),
                        Err(Denial::Cancelled { .. }) => writeln!(self.text, "=> {who} refused: Cancelled"),
                        Err(why) => writeln!(self.text, "=> {who} refused: {why:?}"),
                    };
                }
                Decision::Probe { tid, database, turn } => {
                    self.probe = Some((database, turn));
                    let _ = writeln!(self.text, "=> probe of thread {}", tid.0);
                }
            }
        }
    }

    /// Lets time pass, with every timer at its own moment.
    fn advance(&mut self, to: Timestamp) {
        while let Some(due) = self.manager.next_deadline().filter(|due| *due <= to) {
            self.now = due.max(self.now);
            let before = self.text.len();
            self.tell(Event::Tick);
            if self.text.len() > before {
                let line = format!("   at {} ms\n", self.now.0 / MS);
                self.text.insert_str(before, &line);
            }
        }
        self.now = to;
    }

    fn line(&mut self, line: &str) {
        let mut words = line.split_whitespace();
        let at: u64 = words.next().and_then(|word| word.parse().ok()).expect("a line starts with its time");
        self.advance(Timestamp(at * MS));
        let _ = writeln!(self.text, "{line}");
        let who = words.next().expect("a line names a client");
        let Some(verb) = words.next() else { return };
        let database = words.next().unwrap_or("db");
        let (main, index) = file(database);
        let client = u64::from(who.as_bytes()[0]);
        let descriptor = who.as_bytes().get(1).copied().map_or(0, u64::from);
        let handle = |on: FileId| Handle(client * 1_000 + descriptor * 2 + on.dev - 1);
        let owner = LockOwner(client);
        match verb {
            "policy" => {
                let policy = match words.next() {
                    Some("serial") => Policy::Serial,
                    Some("posix") => Policy::Posix,
                    _ => Policy::Turn,
                };
                return self.tell(Event::SetPolicy(main, policy));
            }
            "close" => {
                self.tell(Event::Flush { file: index, owner, handle: handle(index) });
                return self.tell(Event::Flush { file: main, owner, handle: handle(main) });
            }
            "signal" => {
                let mut waiting = self.tickets.iter().filter(|(_, name)| name.starts_with(who));
                let ticket = *waiting.next().expect("a signal is for somebody who waits").0;
                return self.tell(Event::Cancel(ticket));
            }
            "starved" | "asleep" => {
                let activity = if verb == "starved" { Activity::Starved } else { Activity::Asleep };
                let (database, turn) = self.probe.take().expect("a probe was asked for");
                return self.tell(Event::Probed { database, turn, activity });
            }
            "readonly" => {
                return self.tell(Event::Opened { file: main, handle: handle(main), read_only: true });
            }
            _ => {}
        }
        let (on, start, length, kind, wait) = match verb {
            "r:pending" => (main, PENDING, 1, Some(LockKind::Read), false),
            "w:pending" => (main, PENDING, 1, Some(LockKind::Write), false),
            "w:reserved" => (main, PENDING + 1, 1, Some(LockKind::Write), false),
            "r:shared" => (main, PENDING + 2, 510, Some(LockKind::Read), false),
            "w:shared" => (main, PENDING + 2, 510, Some(LockKind::Write), false),
            "u:pending" => (main, PENDING, 1, None, false),
            "u:all" => (main, 0, ByteRange::END_OF_FILE, None, false),
            "r:dms" => (index, 128, 1, Some(LockKind::Read), false),
            "r:mark" => (index, 124, 1, Some(LockKind::Read), false),
            "w:mark" => (index, 124, 1, Some(LockKind::Write), false),
            "u:mark" => (index, 124, 1, None, false),
            "w:write" => (index, 120, 1, Some(LockKind::Write), false),
            "u:write" => (index, 120, 1, None, false),
            "w:ckpt" => (index, 121, 1, Some(LockKind::Write), false),
            "w:0" | "w:2" | "w:4" | "w:6" | "w:8" => {
                let byte = u64::from(verb.as_bytes()[2] - b'0');
                (main, byte, 1, Some(LockKind::Write), false)
            }
            "W:0" | "W:2" => (main, u64::from(verb.as_bytes()[2] - b'0'), 1, Some(LockKind::Write), true),
            "r:0" => (main, 0, 1, Some(LockKind::Read), false),
            "u:0" => (main, 0, 1, None, false),
            other => panic!("no such verb: {other}"),
        };
        if on == index {
            self.tell(Event::WalIndex { index, database: main });
        }
        self.ticket += 1;
        let ticket = Ticket(self.ticket);
        self.tickets.insert(ticket, format!("{who} {verb} {database}").trim_end_matches(" db").to_owned());
        let call = LockCall {
            file: on,
            owner,
            handle: handle(on),
            pid: Pid(client as u32),
            tid: Tid(client as u32),
            range: ByteRange::new(start, start + length.min(ByteRange::END_OF_FILE - start)).expect("not empty"),
            kind,
            wait,
        };
        self.tell(Event::Set(ticket, call, Group::default()));
        if let Some(name) = self.tickets.get(&ticket) {
            let _ = writeln!(self.text, "=> {name} waits");
        }
    }
}

fn replay(text: &str) -> String {
    let mut script = Script::new();
    for line in text.lines() {
        if line.starts_with("=>") || line.starts_with("   at ") {
            continue;
        }
        if line.is_empty() || line.starts_with('#') {
            script.text.push_str(line);
            script.text.push('\n');
        } else {
            script.line(line);
        }
    }
    script.text
}

#[test]
fn every_transcript_is_what_the_manager_does() {
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    let mut checked = 0;
    for entry in std::fs::read_dir(&directory).expect("the transcripts are there") {
        let path = entry.expect("a readable directory").path();
        let expected = std::fs::read_to_string(&path).expect("a readable transcript");
        let actual = replay(&expected);
        if std::env::var_os("UPDATE_TRANSCRIPTS").is_some() {
            std::fs::write(&path, &actual).expect("a writable transcript");
            checked += 1;
            continue;
        }
        assert!(actual == expected, "{}:\n{actual}", path.display());
        checked += 1;
    }
    assert!(checked >= 12, "only {checked} transcripts were found");
}
