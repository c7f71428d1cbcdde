//! The worker is killed at every point of every operation, one by one: before and after each table write, each backing call and
//! each reply. The result of the operation and what is in the directory must be what they are without any fault.
//!
//! A short run leaves out some of the later points of operations that have many; a long run leaves out none.
//!
//! Needs a daemon that was built with `--features fault-points`, named by `HOODYDB_FAULTS_BIN`: `cargo xtask test` builds one.

use std::path::{Path, PathBuf};
use std::time::Duration;

use hoodydb_tests::clients::{puppet, waits_in_fcntl};
use hoodydb_tests::mount::text;
use hoodydb_tests::{Client, Mount, eventually, is_long, skip};

/// So many workers may die on one mount: at more within a minute the keeper pauses before the next one.
const CRASHES_TOLERATED: usize = 9;

/// No operation passes so many points: a number that is never reached is an error of the test or of the daemon.
const MOST_POINTS: u64 = 3000;

/// In a short run every point up to twice this one, and fewer and fewer of those after it.
const EVERY_UP_TO: u64 = 8;

/// So many numbers in a row must not be reached before an operation is done: some points come after the client has its answer
/// (a release, a forget), and may be passed too late to be seen once.
const MISSES: usize = 2;

/// One line for one of two processes (puppet.py), and the answer. The answer `waits` means that the process is left waiting in
/// fcntl(2); an empty line collects the answer to what waited.
type Step = (usize, &'static str, &'static str);

/// What is done, in a fresh directory.
struct Operation {
    name: &'static str,
    /// Done before the fault is armed.
    prepare: &'static [Step],
    /// Done while it is armed.
    steps: &'static [Step],
}

const MADE: &[Operation] = &[
    Operation {
        name: "create",
        prepare: &[],
        steps: &[
            (0, "f = os.open('new', os.O_RDWR | os.O_CREAT, 0o640)", "ok"),
            (0, "os.write(f, b'text')", "4"),
            (0, "os.close(f)", "ok"),
        ],
    },
    Operation {
        name: "exclusive create",
        prepare: &[],
        steps: &[
            (0, "f = os.open('new', os.O_RDWR | os.O_CREAT | os.O_EXCL)", "ok"),
            (0, "os.open('new', os.O_RDWR | os.O_CREAT | os.O_EXCL)", "EEXIST"),
            (0, "os.write(f, b'text')", "4"),
        ],
    },
    Operation {
        name: "link",
        prepare: &[(0, "write('a', 'x')", "ok")],
        steps: &[
            (0, "os.link('a', 'b')", "ok"),
            (0, "os.link('a', 'b')", "EEXIST"),
            (1, "(os.stat('a').st_ino == os.stat('b').st_ino, os.stat('a').st_nlink)", "(True, 2)"),
        ],
    },
    Operation {
        name: "symlink",
        prepare: &[],
        steps: &[
            (0, "os.symlink('to', 'a')", "ok"),
            (0, "os.symlink('to', 'a')", "EEXIST"),
            (1, "os.readlink('a')", "to"),
        ],
    },
    Operation {
        name: "mkdir",
        prepare: &[],
        steps: &[(0, "os.mkdir('a', 0o750)", "ok"), (0, "os.mkdir('a')", "EEXIST"), (1, "os.listdir('a')", "[]")],
    },
    Operation {
        name: "mknod of a fifo",
        prepare: &[],
        steps: &[
            (0, "os.mkfifo('a', 0o600)", "ok"),
            (0, "os.mkfifo('a', 0o600)", "EEXIST"),
            (1, "stat.S_ISFIFO(os.lstat('a').st_mode)", "True"),
        ],
    },
];

const REMOVED: &[Operation] = &[
    Operation {
        name: "unlink",
        prepare: &[(0, "write('a', 'x'); write('b', 'y')", "ok")],
        steps: &[(0, "os.unlink('a')", "ok"), (0, "os.unlink('a')", "ENOENT"), (1, "os.listdir('.')", "['b']")],
    },
    Operation {
        name: "unlink of an open file",
        prepare: &[(0, "write('a', 'x'); f = os.open('a', os.O_RDWR)", "ok")],
        steps: &[
            (0, "os.unlink('a')", "ok"),
            (0, "os.pwrite(f, b'yz', 1)", "2"),
            (0, "(os.pread(f, 9, 0).decode(), os.fstat(f).st_nlink)", "('xyz', 0)"),
            (0, "os.close(f)", "ok"),
        ],
    },
    Operation {
        name: "rmdir",
        prepare: &[(0, "os.makedirs('a/b')", "ok")],
        steps: &[
            (0, "os.rmdir('a')", "ENOTEMPTY"),
            (0, "os.rmdir('a/b')", "ok"),
            (0, "os.rmdir('a/b')", "ENOENT"),
            (0, "os.rmdir('a')", "ok"),
            (1, "os.listdir('.')", "[]"),
        ],
    },
];

const RENAMED: &[Operation] = &[
    Operation {
        name: "rename",
        prepare: &[(0, "write('a', 'x'); os.mkdir('d')", "ok")],
        steps: &[
            (0, "os.rename('a', 'd/b')", "ok"),
            (0, "os.rename('a', 'd/b')", "ENOENT"),
            (1, "read('d/b')", "x"),
            (0, "os.rename('d', 'e')", "ok"),
            (1, "read('e/b')", "x"),
        ],
    },
    Operation {
        name: "rename over an open file",
        prepare: &[(0, "write('a', 'new'); write('b', 'old')", "ok"), (1, "f = os.open('b', os.O_RDWR)", "ok")],
        steps: &[
            (0, "os.rename('a', 'b')", "ok"),
            (0, "read('b')", "new"),
            (1, "(os.pread(f, 9, 0).decode(), os.fstat(f).st_nlink)", "('old', 0)"),
            (1, "os.pwrite(f, b'still', 0)", "5"),
            (0, "read('b')", "new"),
        ],
    },
];

const EXCHANGED: &[Operation] = &[
    Operation {
        name: "rename that exchanges",
        prepare: &[(0, "write('a', 'x'); os.mkdir('b'); f = os.open('a', os.O_RDWR)", "ok")],
        steps: &[
            (0, "rename2('a', 'b', EXCHANGE)", "ok"),
            (1, "(read('b'), os.listdir('a'))", "('x', [])"),
            (0, "os.pwrite(f, b'y', 0)", "1"),
            (1, "read('b')", "y"),
            (0, "rename2('a', 'missing', EXCHANGE)", "ENOENT"),
        ],
    },
    Operation {
        name: "rename that does not replace",
        prepare: &[(0, "write('a', 'x'); write('b', 'y')", "ok")],
        steps: &[
            (0, "rename2('a', 'b', NOREPLACE)", "EEXIST"),
            (0, "rename2('a', 'c', NOREPLACE)", "ok"),
            (1, "(read('b'), read('c'))", "('y', 'x')"),
        ],
    },
];

const LISTED: &[Operation] = &[
    Operation {
        name: "listing of 300 names",
        prepare: &[(0, "for n in range(300): os.symlink('x', 'a rather long name %d' % n)", "ok")],
        steps: &[
            (1, "sorted(os.listdir('.')) == sorted('a rather long name %d' % n for n in range(300))", "True"),
            (1, "sum(one.is_symlink() for one in os.scandir('.'))", "300"),
        ],
    },
    Operation {
        name: "lookup of a missing name",
        prepare: &[],
        steps: &[
            (0, "os.stat('missing')", "ENOENT"),
            (0, "os.path.exists('missing/too')", "False"),
            (1, "write('missing', 'x')", "ok"),
            (0, "read('missing')", "x"),
        ],
    },
];

const CONTENTS: &[Operation] = &[
    Operation {
        name: "open of a file that is there",
        prepare: &[(0, "write('a', 'text')", "ok")],
        steps: &[
            (0, "f = os.open('a', os.O_RDWR)", "ok"),
            (1, "g = os.open('a', os.O_RDONLY)", "ok"),
            (0, "os.pwrite(f, b'b', 0)", "1"),
            (1, "os.pread(g, 9, 0).decode()", "bext"),
            (0, "os.close(f)", "ok"),
            (1, "os.pread(g, 9, 0).decode()", "bext"),
        ],
    },
    Operation {
        name: "truncate",
        prepare: &[(0, "write('a', 'text'); f = os.open('a', os.O_RDWR)", "ok")],
        steps: &[
            (1, "os.truncate('a', 2)", "ok"),
            (0, "os.fstat(f).st_size", "2"),
            (0, "os.ftruncate(f, 6)", "ok"),
            (1, "read('a')", "te\0\0\0\0"),
            (1, "f = os.open('a', os.O_WRONLY | os.O_TRUNC)", "ok"),
            (0, "os.fstat(f).st_size", "0"),
        ],
    },
    Operation {
        name: "write and read",
        prepare: &[
            (0, "f = os.open('a', os.O_RDWR | os.O_CREAT)", "ok"),
            (1, "g = os.open('a', os.O_WRONLY | os.O_APPEND)", "ok"),
        ],
        steps: &[
            (0, "os.write(f, b'x' * 300000)", "300000"),
            (1, "os.write(g, b'end')", "3"),
            (0, "len(os.pread(f, 400000, 0))", "300003"),
            (0, "os.pread(f, 9, 299998).decode()", "xxend"),
        ],
    },
    Operation {
        name: "fsync",
        prepare: &[(0, "f = os.open('a', os.O_RDWR | os.O_CREAT); d = os.open('.', os.O_RDONLY)", "ok")],
        steps: &[
            (0, "os.write(f, b'text')", "4"),
            (0, "os.fsync(f)", "ok"),
            (0, "os.fdatasync(f)", "ok"),
            (0, "os.fsync(d)", "ok"),
        ],
    },
];

const ATTRIBUTES: &[Operation] = &[
    Operation {
        name: "chmod",
        prepare: &[(0, "write('a', 'x'); f = os.open('a', os.O_RDONLY)", "ok")],
        steps: &[
            (0, "os.chmod('a', 0o600)", "ok"),
            (1, "oct(os.stat('a').st_mode)", "0o100600"),
            (0, "os.fchmod(f, 0o644)", "ok"),
            (1, "oct(os.stat('a').st_mode)", "0o100644"),
        ],
    },
    Operation {
        name: "utimens",
        prepare: &[(0, "write('a', 'x')", "ok")],
        steps: &[
            (0, "os.utime('a', ns=(10**18 + 1, 10**18 + 2))", "ok"),
            (1, "(os.stat('a').st_atime_ns - 10**18, os.stat('a').st_mtime_ns - 10**18)", "(1, 2)"),
        ],
    },
    Operation {
        name: "setting an extended attribute that must be new",
        prepare: &[(0, "write('a', 'x')", "ok")],
        steps: &[
            (0, "os.setxattr('a', 'user.x', b'1', os.XATTR_CREATE)", "ok"),
            (0, "os.setxattr('a', 'user.x', b'2', os.XATTR_CREATE)", "EEXIST"),
            (0, "os.setxattr('a', 'user.x', b'3', os.XATTR_REPLACE)", "ok"),
            (1, "os.getxattr('a', 'user.x').decode()", "3"),
        ],
    },
    Operation {
        name: "removing an extended attribute",
        prepare: &[(0, "write('a', 'x'); os.setxattr('a', 'user.x', b'1')", "ok")],
        steps: &[
            (0, "os.removexattr('a', 'user.x')", "ok"),
            (0, "os.removexattr('a', 'user.x')", "ENODATA"),
            (1, "os.listxattr('a')", "[]"),
        ],
    },
];

const LOCKS: &[Operation] = &[
    Operation {
        name: "close with locks",
        prepare: &[
            (0, "f = os.open('a', os.O_RDWR | os.O_CREAT); lock(f, fcntl.LOCK_EX)", "ok"),
            (1, "f = os.open('a', os.O_RDWR)", "ok"),
            (1, "lock(f, fcntl.LOCK_SH)", "EAGAIN"),
        ],
        steps: &[(0, "os.close(f)", "ok"), (1, "lock(f, fcntl.LOCK_EX)", "ok")],
    },
    Operation {
        name: "lock and unlock",
        prepare: &[(0, "f = os.open('a', os.O_RDWR | os.O_CREAT)", "ok"), (1, "f = os.open('a', os.O_RDWR)", "ok")],
        steps: &[
            (0, "lock(f, fcntl.LOCK_EX, 10, 10)", "ok"),
            (1, "lock(f, fcntl.LOCK_SH, 15, 1)", "EAGAIN"),
            (1, "lock(f, fcntl.LOCK_EX, 20, 10)", "ok"),
            (0, "lock(f, fcntl.LOCK_UN, 12, 3)", "ok"),
            (1, "lock(f, fcntl.LOCK_EX, 12, 3)", "ok"),
            (1, "lock(f, fcntl.LOCK_EX, 11, 1)", "EAGAIN"),
            (0, "lock(f, fcntl.LOCK_EX, 12, 1)", "EAGAIN"),
            (0, "lock(f, fcntl.LOCK_SH, 10, 2)", "ok"),
            (1, "lock(f, fcntl.LOCK_SH, 10, 2)", "ok"),
            (0, "lock(f, fcntl.LOCK_UN)", "ok"),
            (1, "lock(f, fcntl.LOCK_EX)", "ok"),
        ],
    },
    Operation {
        name: "a lock that is waited for",
        prepare: &[
            (0, "f = os.open('a', os.O_RDWR | os.O_CREAT); lock(f, fcntl.LOCK_EX)", "ok"),
            (1, "f = os.open('a', os.O_RDWR)", "ok"),
        ],
        steps: &[
            (1, "fcntl.lockf(f, fcntl.LOCK_EX)", "waits"),
            (0, "lock(f, fcntl.LOCK_UN)", "ok"),
            (1, "", "ok"),
            (0, "lock(f, fcntl.LOCK_SH)", "EAGAIN"),
            (1, "lock(f, fcntl.LOCK_UN)", "ok"),
            (0, "lock(f, fcntl.LOCK_SH)", "ok"),
        ],
    },
    Operation {
        name: "two that wait for each other",
        prepare: &[
            (0, "f = os.open('a', os.O_RDWR | os.O_CREAT); lock(f, fcntl.LOCK_EX, 0, 1)", "ok"),
            (1, "f = os.open('a', os.O_RDWR); lock(f, fcntl.LOCK_EX, 1, 1)", "ok"),
        ],
        steps: &[
            (1, "fcntl.lockf(f, fcntl.LOCK_EX, 1, 0)", "waits"),
            (0, "fcntl.lockf(f, fcntl.LOCK_EX, 1, 1)", "EDEADLOCK"),
            (0, "os.close(f)", "ok"),
            (1, "", "ok"),
        ],
    },
];

const OPEN: Step = (0, "c = connect('app.db')", "ok");
const COUNT: Step = (1, "sql(connect('app.db'), 'SELECT count(*) || sum(x) FROM t')", "23");
const SOUND: Step = (1, "sql(connect('app.db'), 'PRAGMA integrity_check')", "ok");

const ROLLBACK_JOURNAL: &[Operation] = &[
    Operation {
        name: "insert with a rollback journal",
        prepare: &[OPEN, (0, "sql(c, 'CREATE TABLE t(x)')", "ok"), (0, "sql(c, 'INSERT INTO t VALUES (1)')", "ok")],
        steps: &[(0, "sql(c, 'INSERT INTO t VALUES (2)')", "ok"), COUNT, SOUND],
    },
    Operation {
        name: "two writers with a rollback journal",
        prepare: &[OPEN, (0, "sql(c, 'CREATE TABLE t(x)')", "ok"), (1, "c = connect('app.db', 5)", "ok")],
        steps: &[
            (0, "sql(c, 'BEGIN IMMEDIATE')", "ok"),
            (0, "sql(c, 'INSERT INTO t VALUES (1)')", "ok"),
            (1, "sql(c, 'INSERT INTO t VALUES (2)')", "waits"),
            (0, "sql(c, 'COMMIT')", "ok"),
            (1, "", "ok"),
            COUNT,
            SOUND,
        ],
    },
];

const WRITE_AHEAD_LOG: &[Operation] = &[Operation {
    name: "insert with a write-ahead log",
    prepare: &[
        OPEN,
        (0, "sql(c, 'PRAGMA journal_mode = WAL')", "wal"),
        (0, "sql(c, 'CREATE TABLE t(x)')", "ok"),
        (0, "sql(c, 'INSERT INTO t VALUES (1)')", "ok"),
    ],
    steps: &[(0, "sql(c, 'INSERT INTO t VALUES (2)')", "ok"), COUNT, SOUND],
}];

const FIRST_AND_LAST: &[Operation] = &[
    Operation {
        name: "first open of a database with a write-ahead log",
        prepare: &[
            OPEN,
            (0, "sql(c, 'PRAGMA journal_mode = WAL')", "wal"),
            (0, "sql(c, 'CREATE TABLE t(x)')", "ok"),
            (0, "sql(c, 'INSERT INTO t VALUES (1), (2)')", "ok"),
            (0, "c.close()", "ok"),
        ],
        steps: &[
            (1, "d = connect('app.db')", "ok"),
            (1, "sql(d, 'SELECT count(*) || sum(x) FROM t')", "23"),
            (1, "sorted(os.listdir('.'))", "['app.db', 'app.db-shm', 'app.db-wal']"),
            SOUND,
        ],
    },
    Operation {
        name: "last close of a database with a write-ahead log",
        prepare: &[
            OPEN,
            (0, "sql(c, 'PRAGMA journal_mode = WAL')", "wal"),
            (0, "sql(c, 'CREATE TABLE t(x)')", "ok"),
            (0, "sql(c, 'INSERT INTO t VALUES (1), (2)')", "ok"),
        ],
        steps: &[(0, "c.close()", "ok"), (1, "os.listdir('.')", "['app.db']"), COUNT, SOUND],
    },
];

/// A mount, the two processes that do the operations, and who looks on.
struct Bench {
    mount: Mount,
    clients: [Client; 2],
    /// On the mount, and behind it.
    observers: [Client; 2],
    crashes: usize,
    directories: usize,
}

impl Bench {
    fn new(binary: &Path, options: &[&str]) -> Self {
        let options = [&["--max-wait", "1h"], options].concat();
        let mount = Mount::of(binary.to_path_buf(), &[], &options);
        let observers = [puppet(&mount.point()), puppet(&mount.backing())];
        let clients = [puppet(&mount.point()), puppet(&mount.point())];
        Self { mount, clients, observers, crashes: 0, directories: 0 }
    }

    /// `hoodydb fault ..`: what it prints. While a worker is being replaced nobody answers.
    fn fault(&self, words: &[&str]) -> u64 {
        let mut answer = None;
        eventually("the daemon answers", || {
            let output = self.mount.hoodydb().arg("fault").args(words).arg("--mount").arg(self.mount.point()).output();
            let output = output.expect("hoodydb runs");
            if output.status.success() {
                answer = Some(text(&output.stdout).parse().unwrap_or(0));
            }
            answer.is_some()
        });
        answer.unwrap_or(0)
    }

    /// Does the operation with a crash at point `number` (none: 0); says whether it came, and how the directory looks.
    fn play(&mut self, operation: &Operation, number: u64) -> (bool, String) {
        self.directories += 1;
        let name = format!("work {}", self.directories);
        let directory = self.mount.path(&name);
        std::fs::create_dir(&directory).expect("mkdir");
        let start = format!("os.chdir({:?})", directory.display().to_string());
        self.clients.iter_mut().for_each(|client| client.does(&start));
        let context = |step: &Step| format!("{}, a crash at point {number}: {}", operation.name, step.1);
        for step in operation.prepare {
            take(&mut self.clients, step, &context(step));
        }
        if number > 0 {
            self.fault(&["arm", &number.to_string()]);
        }
        for step in operation.steps {
            take(&mut self.clients, step, &context(step));
        }
        let crashed = number > 0 && self.fault(&["left"]) == 0;
        if number > 0 {
            self.fault(&["arm", "0"]);
        }
        let look = format!("tree('{name}')");
        let seen = self.observers.each_mut().map(|observer| observer.ask(&look));
        assert_eq!(seen[0], seen[1], "{}, a crash at point {number}: the mount shows what is there", operation.name);
        self.clients.iter_mut().for_each(|client| client.does("close_all()"));
        // What that brings about must not pass the points of the next operation.
        eventually("nothing is open or locked", || {
            self.mount.status_now().is_some_and(|status| status["handles"] == 0 && status["records"] == 0)
        });
        self.crashes += usize::from(crashed);
        let [seen, _] = seen;
        (crashed, seen)
    }
}

fn take(clients: &mut [Client; 2], (who, line, answer): &Step, context: &str) {
    let client = &mut clients[*who];
    if !line.is_empty() {
        client.tell(line);
    }
    if *answer == "waits" {
        // A lock call that is granted is seen for an instant too.
        eventually("it waits in fcntl", || {
            (0..5).all(|_| {
                std::thread::sleep(Duration::from_millis(2));
                waits_in_fcntl(client.id())
            })
        });
    } else {
        assert_eq!(client.line(), *answer, "{context}");
    }
}

/// Crashes each operation at its first point, its second, and so on until it has no more.
fn crash_everywhere(operations: &[Operation], options: &[&str]) {
    let Some(binary) = std::env::var_os("HOODYDB_FAULTS_BIN").map(PathBuf::from) else {
        skip("HOODYDB_FAULTS_BIN names no daemon with fault points");
        return;
    };
    let mut bench = Bench::new(&binary, options);
    let mut all = 0;
    for operation in operations {
        let (_, expected) = bench.play(operation, 0);
        let (mut points, mut deaths, mut misses) = (0, 0, 0);
        let mut number = 0;
        while number < MOST_POINTS && misses < MISSES {
            number += if is_long() { 1 } else { (number / EVERY_UP_TO).max(1) };
            if bench.crashes >= CRASHES_TOLERATED {
                bench = Bench::new(&binary, options);
            }
            let (crashed, seen) = bench.play(operation, number);
            assert_eq!(seen, expected, "{}, a crash at point {number}: the directory", operation.name);
            if crashed {
                (points, deaths, misses) = (number, deaths + 1, 0);
            } else {
                misses += 1;
            }
        }
        eprintln!("{}: the worker died at {deaths} of {points} points", operation.name);
        all += points;
        assert!(points < MOST_POINTS, "{}: no end of points", operation.name);
    }
    // A single operation may pass none: with passthrough the kernel reads and writes without the daemon.
    assert!(all > 0, "no point was passed at all");
}

#[test]
fn names_that_are_made_are_as_without_the_crash() {
    crash_everywhere(MADE, &[]);
}

#[test]
fn names_that_are_removed_are_as_without_the_crash() {
    crash_everywhere(REMOVED, &[]);
}

#[test]
fn renames_are_as_without_the_crash() {
    crash_everywhere(RENAMED, &[]);
}

#[test]
fn renames_with_conditions_are_as_without_the_crash() {
    crash_everywhere(EXCHANGED, &[]);
}

#[test]
fn listings_are_as_without_the_crash() {
    crash_everywhere(LISTED, &[]);
}

#[test]
fn contents_are_as_without_the_crash() {
    crash_everywhere(CONTENTS, &[]);
}

#[test]
fn contents_that_pass_the_daemon_are_as_without_the_crash() {
    crash_everywhere(CONTENTS, &["--no-passthrough"]);
}

#[test]
fn attributes_are_as_without_the_crash() {
    crash_everywhere(ATTRIBUTES, &[]);
}

#[test]
fn locks_are_as_without_the_crash() {
    crash_everywhere(LOCKS, &[]);
}

#[test]
fn transactions_with_a_rollback_journal_are_as_without_the_crash() {
    crash_everywhere(ROLLBACK_JOURNAL, &[]);
}

#[test]
fn transactions_with_a_write_ahead_log_are_as_without_the_crash() {
    crash_everywhere(WRITE_AHEAD_LOG, &[]);
}

#[test]
fn the_first_open_and_the_last_close_are_as_without_the_crash() {
    crash_everywhere(FIRST_AND_LAST, &[]);
}
