//! The worker or the keeper dies, hangs or is upgraded while clients work: locks, queues, open files and counters are as they
//! were, and no client notices.
//!
//! Every kill is real (SIGKILL of the process that serves) and every client is a process of its own. The random mixture of all
//! of this is soak.rs; every single point at which a worker can die is fault_points.rs.

use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, Instant};

use hoodydb_tests::clients::{make_writer, puppet, python, second_copy, waits_in_fcntl};
use hoodydb_tests::database::{self, Mode};
use hoodydb_tests::mount::{binary, is_gone, text};
use hoodydb_tests::{Client, Crowd, Inserter, Ledger, Mount, amid, eventually, runs};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Longer than any test: what ends a wait is never the deadline.
const FOREVER: [&str; 2] = ["--max-wait", "1h"];

/// Kills within a minute after which the keeper pauses before the next worker; a test that measures time stays below.
const CRASHES_TOLERATED: usize = 10;

fn session(mount: &Mount) -> Client {
    let mut command = python("session.py");
    command.arg(mount.path("app.db"));
    Client::ready(command)
}

/// A session whose process is known for a writer, and waits for its turn in WAL mode too.
fn writer(mount: &Mount) -> Client {
    let mut client = session(mount);
    make_writer(&mut client);
    client
}

/// One way of replacing a process of the daemon.
type Kill = fn(&Mount, usize);

fn worker(mount: &Mount, _: usize) {
    mount.kill_worker();
}

fn keeper(mount: &Mount, _: usize) {
    mount.kill_keeper();
}

fn in_turn(mount: &Mount, number: usize) {
    [worker, keeper][number % 2](mount, number);
}

/// Clients with kept connections insert; between two kills each gets a row in. Nothing fails, nothing is lost or doubled.
fn inserts_go_on_through(kills: usize, clients: usize, kill: Kill) {
    for mode in Mode::ALL {
        for timeout in [0, 5] {
            let mount = Mount::new();
            let path = mount.path("app.db");
            database::create(&path, mode);
            let mut ledger = Ledger::default();
            let mut inserters: Vec<Inserter> =
                (0..clients).map(|number| Inserter::start(&path, &format!("client {number}"), timeout)).collect();
            for number in 0..kills {
                inserters.iter_mut().for_each(|one| one.wait_for_one(&mut ledger));
                kill(&mount, number);
            }
            // What was said before the last kill is still in the pipe: these are rows of after it.
            let rows = database::events(&path);
            eventually("rows arrive after the last kill", || database::events(&path) > rows);
            assert!(mount.restarts() >= kills as u64);
            inserters.into_iter().for_each(|one| one.end(&mut ledger));
            eprintln!("{mode:?}, timeout {timeout}: {kills} kills, {} rows", ledger.acknowledged.len());
            ledger.assert_exactly(&path);
        }
    }
}

#[test]
fn a_kept_connection_inserts_through_twenty_kills_of_the_worker() {
    inserts_go_on_through(20, 1, worker);
}

#[test]
fn writers_that_compete_insert_through_kills_of_the_worker() {
    inserts_go_on_through(5, 4, worker);
}

#[test]
fn a_kept_connection_inserts_through_five_kills_of_the_keeper() {
    inserts_go_on_through(5, 1, keeper);
}

#[test]
fn a_kept_connection_inserts_through_kills_of_the_keeper_and_the_worker_in_turn() {
    inserts_go_on_through(6, 1, in_turn);
}

#[test]
fn a_single_writer_stalls_for_less_than_200_ms() {
    for mode in Mode::ALL {
        let mount = Mount::new();
        let path = mount.path("app.db");
        database::create(&path, mode);
        let mut command = python("soak.py");
        command.args(["write", "0"]).arg(&path).args(["alone", "0"]);
        let mut client = Client::ready(command);
        client.tell("go");
        let mut stalls = Vec::new();
        for _ in 0..CRASHES_TOLERATED {
            let before = client.ask("longest").parse::<u64>().expect("a number");
            assert!(before < 200_000, "{mode:?}: an insert without any kill took {before} us: the machine is too slow");
            mount.kill_worker();
            stalls.push(client.ask("longest").parse::<u64>().expect("a number"));
        }
        stalls.sort_unstable();
        eprintln!("{mode:?}: the longest insert about each kill, in us: {stalls:?}");
        // One disk flush of a loaded machine is not the daemon's: the median tells.
        assert!(stalls[stalls.len() / 2] < 200_000, "{mode:?}: {stalls:?}");
    }
}

/// A holder in a write transaction and three writers that wait for it, in this order.
fn holder_and_queue(mount: &Mount) -> (Client, Vec<Client>) {
    let mut writers: Vec<Client> = (0..3).map(|_| writer(mount)).collect();
    let mut holder = session(mount);
    holder.does("BEGIN IMMEDIATE");
    holder.does("INSERT INTO events(client) VALUES ('holder')");
    for (number, writer) in writers.iter_mut().enumerate() {
        writer.tell(&format!("INSERT INTO events(client) VALUES ('waiter {number}')"));
        eventually("it waits", || mount.waiters_of("app.db").contains(&writer.id()));
    }
    (holder, writers)
}

/// Who inserted, in the order of the rows, without the rows that made a process known for a writer.
fn order(mount: &Mount) -> Vec<String> {
    let connection = database::open(&mount.path("app.db"));
    let mut query =
        connection.prepare("SELECT client FROM events WHERE client IS NOT NULL ORDER BY id").expect("a query");
    query.query_map([], |row| row.get(0)).expect("rows").map(|row| row.expect("a row")).collect()
}

/// The holder holds on, a newcomer waits, and the queue is served in the order in which it came.
fn the_queue_is_kept(kill: Kill) {
    for mode in Mode::ALL {
        // A process that gets its turn and then no processor loses the turn, also without any kill.
        let orders: Vec<_> = std::iter::repeat_with(|| order_after_kills(mode, kill)).take(ATTEMPTS).collect();
        let expected = ["holder", "waiter 0", "waiter 1", "waiter 2", "fifth"];
        assert!(orders.iter().any(|order| *order == expected), "{mode:?}: {orders:?}");
    }
}

/// How often the order of the commits may be another one on a machine that has no time for the clients.
const ATTEMPTS: usize = 3;

fn order_after_kills(mode: Mode, kill: Kill) -> Vec<String> {
    let mount = Mount::with(&FOREVER);
    database::create(&mount.path("app.db"), mode);
    let mut fifth = writer(&mount);
    let (mut holder, mut writers) = holder_and_queue(&mount);
    let before = (mount.holders_of("app.db"), mount.waiters_of("app.db"));
    for number in 0..3 {
        kill(&mount, number);
        assert_eq!((mount.holders_of("app.db"), mount.waiters_of("app.db")), before, "{mode:?}: kill {number}");
    }
    fifth.tell("INSERT INTO events(client) VALUES ('fifth')");
    eventually("the fifth waits", || mount.waiters_of("app.db").contains(&fifth.id()));
    kill(&mount, 3);
    let queue: Vec<u32> = writers.iter().chain([&fifth]).map(Client::id).collect();
    assert_eq!(mount.waiters_of("app.db"), queue, "{mode:?}: the queue is in the order of arrival");
    assert!(writers.iter_mut().chain([&mut fifth]).all(|client| client.line_now().is_none()), "{mode:?}: all wait");
    holder.does("COMMIT");
    writers.iter_mut().chain([&mut fifth]).for_each(|client| client.expect("ok"));
    eventually("nobody waits", || mount.locks_of("app.db")["waiters"].as_array().is_none_or(Vec::is_empty));
    database::assert_sound(&mount.path("app.db"));
    order(&mount)
}

#[test]
fn a_transaction_and_the_queue_behind_it_survive_the_worker() {
    the_queue_is_kept(worker);
}

#[test]
fn a_transaction_and_the_queue_behind_it_survive_the_keeper() {
    the_queue_is_kept(keeper);
}

#[test]
fn a_holder_and_a_waiter_that_die_after_a_kill_are_forgotten() {
    for mode in Mode::ALL {
        let mount = Mount::with(&FOREVER);
        database::create(&mount.path("app.db"), mode);
        let (holder, mut writers) = holder_and_queue(&mount);
        mount.kill_worker();
        writers[1].signal(Signal::KILL);
        eventually("the waiter dies of it", || writers[1].has_ended());
        holder.signal(Signal::KILL);
        for number in [0, 2] {
            writers[number].expect("ok");
        }
        assert_eq!(order(&mount), ["waiter 0", "waiter 2"], "{mode:?}");
    }
}

#[test]
fn two_that_wait_for_each_other_over_two_databases_are_found_after_a_kill() {
    let mount = Mount::with(&FOREVER);
    for name in ["a.db", "b.db"] {
        database::create(&mount.path(name), Mode::Delete);
    }
    let script = "c = connect('a.db'); sql(c, \"ATTACH 'b.db' AS b\")";
    let mut clients: Vec<Client> = (0..2).map(|_| puppet(&mount.point())).collect();
    for client in &mut clients {
        client.does(script);
        // Reads both schemas, for which it would otherwise wait below.
        client.ask("sql(c, 'SELECT count(*) FROM main.events, b.events')");
    }
    for (client, mine) in clients.iter_mut().zip(["main", "b"]) {
        client.does("sql(c, 'BEGIN')");
        client.does(&format!("sql(c, \"INSERT INTO {mine}.events(client) VALUES ('x')\")"));
    }
    clients[0].tell("sql(c, \"INSERT INTO b.events(client) VALUES ('y')\")");
    eventually("the first waits", || mount.waiters_of("b.db").contains(&clients[0].id()));
    mount.kill_worker();
    assert_eq!(clients[1].ask("sql(c, \"INSERT INTO main.events(client) VALUES ('y')\")"), "error: database is locked");
    clients[1].does("sql(c, 'ROLLBACK')");
    clients[0].expect("ok");
    clients[0].does("sql(c, 'COMMIT')");
}

#[test]
fn a_deadline_does_not_start_anew_with_a_new_worker() {
    for mode in Mode::ALL {
        let mount = Mount::with(&["--max-wait", "3s"]);
        database::create(&mount.path("app.db"), mode);
        let mut waiter = writer(&mount);
        let mut holder = session(&mount);
        holder.does("BEGIN IMMEDIATE");
        let begun = Instant::now();
        waiter.tell("INSERT INTO events(client) VALUES ('x')");
        let pace = Duration::from_millis(300);
        let (answer, kills) = amid(&mount, pace, CRASHES_TOLERATED, worker, || {
            let answer = waiter.line();
            (answer, begun.elapsed())
        });
        let (answer, waited) = answer;
        assert_eq!(answer, "error: database is locked", "{mode:?}");
        assert!(kills >= 5, "{mode:?}: only {kills} kills");
        let bounds = Duration::from_millis(2_900)..=Duration::from_millis(3_500);
        assert!(bounds.contains(&waited), "{mode:?}: {waited:?} with {kills} kills");
        holder.does("COMMIT");
        waiter.does("INSERT INTO events(client) VALUES ('y')");
    }
}

fn lock_client(mount: &Mount) -> Client {
    let mut command = python("files.py");
    command.arg(mount.point());
    let mut client = Client::ready(command);
    client.does("open a f");
    client
}

#[test]
fn locks_of_plain_files_survive() {
    for kill in [worker, keeper] {
        let mount = Mount::new();
        let (mut first, mut second) = (lock_client(&mount), lock_client(&mount));
        first.does("lock a w 0 10");
        first.does("lock a r 20 5");
        second.does("lock a r 22 10");
        second.does("open b f");
        second.does("ofd b w 100 1");
        first.does("open g g");
        first.does("flock g ex");
        kill(&mount, 0);
        assert_eq!(second.ask("test a w 0 100"), format!("w 0 10 {}", first.id()));
        assert_eq!(second.ask("lock a w 5 1"), "EAGAIN");
        assert_eq!(first.ask("test a w 20 10"), format!("r 22 10 {}", second.id()));
        assert_eq!(first.ask("lock a w 100 1"), "EAGAIN", "the lock of an open file description");
        second.does("open g g");
        assert_eq!(second.ask("flock g sh"), "EAGAIN");
        // What a close drops, it drops: nothing is left over from before the kill.
        first.does("close a");
        second.does("lock a w 0 50");
        first.does("close g");
        second.does("flock g ex");
        second.does("close b");
        first.does("open a f");
        first.does("lock a w 100 1");
    }
}

#[test]
fn a_wait_for_a_lock_of_a_plain_file_goes_on() {
    for kill in [worker, keeper] {
        let mount = Mount::new();
        let (mut first, mut second) = (lock_client(&mount), lock_client(&mount));
        first.does("lock a w 0 10");
        second.does("lock a w 20 1");
        second.tell("wait a w 5 10");
        eventually("it waits in fcntl", || waits_in_fcntl(second.id()));
        kill(&mount, 0);
        kill(&mount, 1);
        assert!(waits_in_fcntl(second.id()), "it still waits");
        assert_eq!(second.line_now(), None);
        // The graph of who waits for whom is there too (Python's name of EDEADLK).
        assert_eq!(first.ask("wait a w 20 1"), "EDEADLOCK");
        first.does("lock a u 0 10");
        second.expect("ok");
        assert_eq!(first.ask("test a w 0 19"), format!("w 5 10 {}", second.id()));
    }
}

#[test]
fn two_copies_of_sqlite_in_one_process_survive() {
    const OPERATIONS: u64 = 100;
    for mode in Mode::ALL {
        let mount = Mount::new();
        let library = second_copy(mount.outside());
        let path = mount.path("app.db");
        database::create(&path, mode);
        let crowd = Crowd::ready((0..3).map(|_| {
            let mut command = python("two_copies.py");
            command.arg(&path).arg(OPERATIONS.to_string()).arg(&library);
            command
        }));
        let (report, kills) = amid(&mount, Duration::from_millis(100), CRASHES_TOLERATED, worker, || crowd.report());
        assert!(kills > 0, "{mode:?}: it was over before the first kill");
        assert!(report.errors.is_empty(), "{mode:?}: {kills} kills: {:?}", report.errors);
        assert_eq!(report.done, 3 * OPERATIONS, "{mode:?}");
        assert_eq!(database::events(&path), 3 * OPERATIONS, "{mode:?}");
        assert_eq!(database::number(&path, "SELECT value FROM counter"), 3 * OPERATIONS, "{mode:?}");
        database::assert_sound(&path);
    }
}

/// Runs steps with one client around a kill of either process, with and without passthrough.
fn around_a_kill(steps: impl Fn(&mut Client, &mut Client, &dyn Fn())) {
    for options in [&[][..], &["--no-passthrough"]] {
        for kill in [worker, keeper] {
            let mount = Mount::with(options);
            let (mut client, mut other) = (puppet(&mount.point()), puppet(&mount.point()));
            steps(&mut client, &mut other, &|| kill(&mount, 0));
            drop((client, other));
            eventually("no handle is left", || mount.status()["handles"] == 0);
        }
    }
}

#[test]
fn an_open_file_that_has_no_name_is_read_and_written() {
    around_a_kill(|client, other, kill| {
        client.does("f = os.open('gone', os.O_RDWR | os.O_CREAT)");
        client.ask("os.write(f, b'before')");
        other.does("g = os.open('gone', os.O_RDWR)");
        client.does("os.unlink('gone')");
        kill();
        assert_eq!(client.ask("os.pread(f, 100, 0).decode()"), "before");
        assert_eq!(client.ask("os.pwrite(f, b'after!', 6)"), "6");
        assert_eq!(other.ask("os.pread(g, 100, 0).decode()"), "beforeafter!");
        assert_eq!(client.ask("(os.fstat(f).st_nlink, os.fstat(f).st_size)"), "(0, 12)");
        client.does("os.ftruncate(f, 3)");
        assert_eq!(other.ask("os.fstat(g).st_size"), "3");
        assert_eq!(other.ask("os.stat('gone')"), "ENOENT");
        client.does("os.close(f)");
        assert_eq!(other.ask("os.pread(g, 100, 0).decode()"), "bef");
        other.does("os.close(g)");
    });
}

#[test]
fn an_open_database_whose_name_changes_goes_on() {
    around_a_kill(|client, other, kill| {
        client.does("os.mkdir('d'); c = connect('d/app.db')");
        assert_eq!(client.ask("sql(c, 'PRAGMA journal_mode = WAL')"), "wal");
        client.does("sql(c, 'CREATE TABLE t(x)')");
        client.does("sql(c, 'INSERT INTO t VALUES (1)')");
        client.does("os.rename('d', 'e')");
        kill();
        client.does("sql(c, 'INSERT INTO t VALUES (2)')");
        other.does("c = connect('e/app.db')");
        other.does("sql(c, 'INSERT INTO t VALUES (3)')");
        assert_eq!(client.ask("sql(c, 'SELECT sum(x) FROM t')"), "6");
        client.does("sql(c, 'BEGIN IMMEDIATE')");
        client.does("sql(c, 'INSERT INTO t VALUES (4)')");
        client.does("os.rename('e/app.db', 'e/was.db')");
        kill();
        client.does("sql(c, 'COMMIT')");
        assert_eq!(other.ask("sql(c, 'SELECT sum(x) FROM t')"), "10");
        assert_eq!(other.ask("sql(c, 'PRAGMA integrity_check')"), "ok");
        client.does("c.close()");
        other.does("c.close()");
    });
}

#[test]
fn a_listing_that_is_under_way_has_every_name_once() {
    around_a_kill(|client, _, kill| {
        client.does("os.mkdir('many')");
        client.does("for n in range(5000): os.close(os.open('many/file number %d' % n, os.O_CREAT | os.O_WRONLY))");
        client.does("it = os.scandir('many'); seen = [next(it).name for _ in range(2500)]");
        kill();
        client.does("seen += [entry.name for entry in it]");
        assert_eq!(client.ask("(len(seen), len(set(seen)))"), "(5000, 5000)");
        assert_eq!(client.ask("set(seen) == {'file number %d' % n for n in range(5000)}"), "True");
        client.does("it.close()");
    });
}

#[test]
fn a_map_stays_a_map_of_the_file() {
    around_a_kill(|client, other, kill| {
        client.does("f = os.open('map', os.O_RDWR | os.O_CREAT); os.ftruncate(f, 8192)");
        client.does("m = mmap.mmap(f, 8192); m[0:6] = b'before'");
        other.does("g = os.open('map', os.O_RDWR); w = mmap.mmap(g, 8192)");
        kill();
        client.does("m[100:105] = b'after'; m[5000:5004] = b'page'");
        assert_eq!(other.ask("(w[0:6] + w[100:105] + w[5000:5004]).decode()"), "beforeafterpage");
        client.does("m.flush()");
        other.does("h = os.open('map', os.O_RDONLY)");
        assert_eq!(other.ask("os.pread(h, 5, 100).decode()"), "after");
    });
}

#[test]
fn the_index_of_a_write_ahead_log_stays_shared() {
    around_a_kill(|client, other, kill| {
        client.does("c = connect('app.db')");
        assert_eq!(client.ask("sql(c, 'PRAGMA journal_mode = WAL')"), "wal");
        client.does("sql(c, 'CREATE TABLE t(x)')");
        other.does("c = connect('app.db')");
        assert_eq!(other.ask("sql(c, 'SELECT count(*) FROM t')"), "0");
        for round in 1..=3 {
            client.does("sql(c, 'INSERT INTO t VALUES (1)')");
            kill();
            // Both maps of app.db-shm are of one file, or the other would not see the new row.
            assert_eq!(other.ask("sql(c, 'SELECT count(*) FROM t')"), round.to_string());
        }
        other.does("sql(c, 'BEGIN')");
        assert_eq!(other.ask("sql(c, 'SELECT count(*) FROM t')"), "3");
        kill();
        client.does("sql(c, 'INSERT INTO t VALUES (1)')");
        // The read mark of the snapshot is still held: a checkpoint may not write over what it needs.
        client.does("row = c.execute('PRAGMA wal_checkpoint(PASSIVE)').fetchone()");
        assert_eq!(client.ask("row[1] > row[2]"), "True");
        assert_eq!(other.ask("sql(c, 'SELECT count(*) FROM t')"), "3", "the snapshot is the same");
        other.does("sql(c, 'COMMIT')");
        assert_eq!(other.ask("sql(c, 'SELECT count(*) FROM t')"), "4");
        client.does("c.close()");
        other.does("c.close()");
        assert_eq!(client.ask("os.listdir('.')"), "['app.db']", "the last close knew that it was the last");
    });
}

#[test]
fn appends_never_write_over_each_other() {
    around_a_kill(|client, other, kill| {
        for one in [&mut *client, &mut *other] {
            one.does("f = os.open('log', os.O_WRONLY | os.O_CREAT | os.O_APPEND)");
        }
        for round in 0..3 {
            for one in [&mut *client, &mut *other] {
                assert_eq!(one.ask(&format!("os.write(f, b'line {round}')")), "6");
            }
            kill();
        }
        assert_eq!(client.ask("read('log')"), "line 0line 0line 1line 1line 2line 2");
    });
}

#[test]
fn a_process_stays_in_its_directory_whatever_its_name() {
    around_a_kill(|client, other, kill| {
        client.does("top = os.getcwd(); os.makedirs('a/b'); os.chdir('a/b')");
        other.does("os.rename('a', 'c')");
        kill();
        assert_eq!(client.ask("os.path.relpath(os.getcwd(), top)"), "c/b");
        client.does("write('x', 'here')");
        assert_eq!(other.ask("read('c/b/x')"), "here");
        other.does("os.unlink('c/b/x'); os.rmdir('c/b')");
        kill();
        assert_eq!(client.ask("os.listdir('.')"), "[]");
        assert_eq!(client.ask("write('x', 'nowhere')"), "ENOENT");
        client.does("os.chdir(top)");
    });
}

#[test]
fn inodes_and_links_are_the_same_as_before() {
    around_a_kill(|client, other, kill| {
        client.does("write('a', 'text'); os.link('a', 'b'); os.symlink('a', 's'); os.mkdir('d')");
        client.does("numbers = {n: os.lstat(n).st_ino for n in 'absd'}");
        client.does("f = os.open('a', os.O_RDWR)");
        kill();
        assert_eq!(client.ask("numbers == {n: os.lstat(n).st_ino for n in 'absd'}"), "True");
        assert_eq!(client.ask("(os.stat('a').st_nlink, os.fstat(f).st_nlink)"), "(2, 2)");
        client.does("os.unlink('a')");
        assert_eq!(client.ask("(os.stat('b').st_nlink, os.fstat(f).st_ino == os.stat('b').st_ino)"), "(1, True)");
        other.does("write('b', 'other')");
        assert_eq!(client.ask("os.pread(f, 10, 0).decode()"), "other");
        assert_eq!(client.ask("os.readlink('s')"), "a");
        client.does("os.close(f)");
    });
}

#[test]
fn a_file_that_was_created_exclusively_is_there_once() {
    around_a_kill(|client, other, kill| {
        client.does("f = os.open('x', os.O_RDWR | os.O_CREAT | os.O_EXCL)");
        kill();
        for one in [&mut *client, &mut *other] {
            assert_eq!(one.ask("os.open('x', os.O_RDWR | os.O_CREAT | os.O_EXCL)"), "EEXIST");
        }
        assert_eq!(client.ask("os.write(f, b'mine')"), "4");
        assert_eq!(other.ask("read('x')"), "mine");
        client.does("os.close(f)");
    });
}

#[test]
fn names_are_made_and_removed_once_amid_kills() {
    // Each of these fails if it is done twice: EEXIST or ENOENT.
    let rounds = 1500 * runs(10);
    let script = format!(
        "def go():\\n for n in range({rounds}):\\n  a, b = str(n), 'b%d' % n\\n  os.close(os.open(a, os.O_CREAT | os.O_EXCL))\\n  \
         os.link(a, b)\\n  os.unlink(a)\\n  os.rename(b, a)\\n  os.unlink(a)\\n  os.mkdir(a)\\n  os.rmdir(a)\\n  \
         os.symlink('x', a)\\n  os.unlink(a)\\n"
    );
    let mount = Mount::new();
    let mut clients: Vec<Client> = (0..2)
        .map(|number| {
            let directory = mount.path(&format!("client {number}"));
            std::fs::create_dir(&directory).expect("mkdir");
            puppet(&directory)
        })
        .collect();
    clients.iter_mut().for_each(|client| client.does(&script));
    clients.iter_mut().for_each(|client| client.tell("go()"));
    let ((), kills) = amid(&mount, Duration::from_millis(50), CRASHES_TOLERATED, worker, || {
        clients.iter_mut().for_each(|client| client.expect("ok"));
    });
    assert!(kills > 0, "it was over before the first kill");
    clients.iter_mut().for_each(|client| assert_eq!(client.ask("os.listdir('.')"), "[]"));
}

/// What `locks` shows of one database, without the ages.
fn locks_without_ages(mount: &Mount) -> Value {
    let mut locks = mount.locks_of("app.db");
    for list in ["holders", "waiters"] {
        for one in locks[list].as_array_mut().into_iter().flatten() {
            for age in ["age_ms", "left_ms"] {
                one.as_object_mut().map(|fields| fields.remove(age));
            }
        }
    }
    locks
}

#[test]
fn locks_shows_the_same_after_a_kill() {
    for kill in [worker, keeper] {
        for mode in Mode::ALL {
            let mount = Mount::with(&FOREVER);
            database::create(&mount.path("app.db"), mode);
            let (mut holder, mut writers) = holder_and_queue(&mount);
            let age = |mount: &Mount| mount.locks_of("app.db")["waiters"][0]["age_ms"].as_u64().unwrap_or(0);
            let (before, aged) = (locks_without_ages(&mount), age(&mount));
            kill(&mount, 0);
            assert_eq!(locks_without_ages(&mount), before, "{mode:?}");
            assert!(age(&mount) >= aged, "{mode:?}: a wait is as old as it was");
            holder.does("COMMIT");
            writers.iter_mut().for_each(|client| client.expect("ok"));
        }
    }
}

/// Every number in `status` that only grows, by its path.
fn growing(status: &Value) -> Vec<(String, u64)> {
    let mut numbers = Vec::new();
    for name in ["requests_total", "uptime_s", "restarts"] {
        numbers.push((name.to_owned(), status[name].as_u64().unwrap_or(0)));
    }
    for (name, value) in status["requests"].as_object().into_iter().flatten() {
        numbers.push((format!("requests.{name}"), value.as_u64().unwrap_or(0)));
    }
    for name in ["granted", "waited", "wait_max_us", "interrupted"] {
        numbers.push((format!("totals.{name}"), status["totals"][name].as_u64().unwrap_or(0)));
    }
    for (name, value) in status["totals"]["refusals"].as_object().into_iter().flatten() {
        numbers.push((format!("refusals.{name}"), value.as_u64().unwrap_or(0)));
    }
    numbers
}

#[test]
fn counters_and_uptime_never_go_back() {
    let mount = Mount::new();
    database::create(&mount.path("app.db"), Mode::Delete);
    let mut client = writer(&mount);
    let mut reader = lock_client(&mount);
    reader.does("lock a w 0 1");
    let mut other = lock_client(&mount);
    assert_eq!(other.ask("lock a w 0 1"), "EAGAIN");
    eventually("the mount is up for some time", || mount.status()["uptime_s"].as_u64() >= Some(2));
    let mut before = growing(&mount.status());
    let value = |list: &[(String, u64)], name: &str| list.iter().find(|(other, _)| other == name).map(|one| one.1);
    assert!(value(&before, "totals.granted") > Some(0) && value(&before, "requests_total") > Some(0), "{before:?}");
    for number in 0..6 {
        in_turn(&mount, number);
        client.does("INSERT INTO events(client) VALUES ('x')");
        let after = growing(&mount.status());
        for (name, was) in &before {
            let is = value(&after, name).unwrap_or_else(|| panic!("{name} is not there any more"));
            assert!(is >= *was, "{name} went back from {was} to {is}");
        }
        assert!(value(&after, "requests_total") > value(&before, "requests_total"), "and they go on");
        before = after;
    }
}

#[test]
fn a_policy_that_was_set_is_there_after() {
    let mount = Mount::new();
    database::create(&mount.path("app.db"), Mode::Delete);
    let mut client = session(&mount);
    client.does("INSERT INTO events(client) VALUES ('x')");
    let set = mount.command(&["policy", "set", &mount.path("app.db").to_string_lossy(), "mode=serial"]);
    assert!(set.status.success(), "{}", text(&set.stderr));
    for number in 0..2 {
        in_turn(&mount, number);
        let status = mount.status();
        assert_eq!(status["databases"][0]["policy"], "serial", "{status:#}");
        // And it is not only shown: a reader waits for a reader.
        client.does("BEGIN");
        assert_ne!(client.ask("rows SELECT count(*) FROM events"), "");
        let mut second = session(&mount);
        second.tell("rows SELECT count(*) FROM events");
        eventually("the second reader waits", || mount.waiters_of("app.db").contains(&second.id()));
        client.does("COMMIT");
        assert_ne!(second.line(), "");
    }
}

#[test]
fn a_worker_that_hangs_is_replaced() {
    for mode in Mode::ALL {
        let mount = Mount::new();
        let path = mount.path("app.db");
        database::create(&path, mode);
        let mut ledger = Ledger::default();
        let mut inserters: Vec<Inserter> =
            [0, 5].map(|timeout| Inserter::start(&path, &format!("{timeout}"), timeout)).into();
        inserters.iter_mut().for_each(|one| one.wait_for_one(&mut ledger));
        let hung = mount.worker();
        let begun = Instant::now();
        mount.hang_worker();
        assert!(begun.elapsed() < Duration::from_secs(10), "{mode:?}: {:?}", begun.elapsed());
        assert!(is_gone(hung), "{mode:?}: what hangs is killed, or it would go on when it wakes");
        assert_eq!(mount.last_reason(), "it hung (no heartbeat)");
        let rows = database::events(&path);
        eventually("the rows go on", || database::events(&path) > rows);
        inserters.into_iter().for_each(|one| one.end(&mut ledger));
        ledger.assert_exactly(&path);
    }
}

#[test]
fn status_tells_why_and_how_long() {
    let mount = Mount::new();
    let status = mount.status();
    assert_eq!((&status["restarts"], &status["last_restart"]), (&Value::from(0), &Value::Null), "{status:#}");
    assert_eq!(status["pid"], status["keeper_pid"], "{status:#}");
    assert_ne!(status["worker_pid"], status["keeper_pid"], "{status:#}");
    mount.kill_worker();
    assert_eq!((mount.restarts(), mount.last_reason().as_str()), (1, "it was killed by SIGKILL"));
    let stall = mount.status()["last_restart"]["stall_us"].as_u64();
    assert!(stall.is_some_and(|us| us > 0 && us < 1_000_000), "{stall:?}");
    mount.kill_keeper();
    assert_eq!(mount.last_reason(), "the keeper died");
    assert_eq!(mount.restarts(), 2);
}

#[test]
fn an_unmount_that_waits_for_a_transaction_survives_the_worker() {
    for mode in Mode::ALL {
        let mount = Mount::with(&["--drain", "1m"]);
        database::create(&mount.path("app.db"), mode);
        let mut holder = session(&mount);
        holder.does("BEGIN IMMEDIATE");
        holder.does("INSERT INTO events(client) VALUES ('kept')");
        let keeper = mount.keeper();
        kill_process(keeper, Signal::TERM).expect("the keeper can be told to end");
        eventually("the daemon drains", || mount.status()["phase"] == "draining");
        mount.kill_worker();
        let status = mount.status();
        assert_eq!(status["phase"], "draining", "{mode:?}: the next worker goes on with it");
        let worker = mount.worker();
        holder.does("INSERT INTO events(client) VALUES ('kept too')");
        holder.does("COMMIT");
        drop(holder);
        eventually("the daemon has ended", || is_gone(keeper) && is_gone(worker));
        assert!(!is_mounted(&mount.point()), "{mode:?}");
        let output = mount.start();
        assert!(output.status.success(), "{mode:?}: {}", text(&output.stderr));
        assert_eq!(order(&mount), ["kept", "kept too"], "{mode:?}");
        database::assert_sound(&mount.path("app.db"));
    }
}

fn is_mounted(point: &Path) -> bool {
    let table = std::fs::read_to_string("/proc/self/mountinfo").expect("the mount table");
    table.lines().any(|line| line.split(' ').nth(4).is_some_and(|mounted| Path::new(mounted) == point))
}

#[test]
fn a_crash_loop_is_told_once_and_served_on() {
    let mount = Mount::new();
    let path = mount.path("app.db");
    database::create(&path, Mode::Delete);
    let mut ledger = Ledger::default();
    let mut inserter = Inserter::start(&path, "client", 0);
    inserter.wait_for_one(&mut ledger);
    (0..12).for_each(|_| mount.kill_worker());
    let log = mount.log();
    let loud: Vec<&str> = log.lines().filter(|line| line.contains("ERROR")).collect();
    assert_eq!(loud.len(), 1, "{loud:?}");
    assert!(log.contains("SIGKILL"), "the log tells why: {log}");
    let rows = database::events(&path);
    eventually("the rows go on", || database::events(&path) > rows);
    inserter.end(&mut ledger);
    ledger.assert_exactly(&path);
}

/// `hoodydb upgrade` of this mount.
fn upgrade(mount: &Mount, binary: &Path) -> Output {
    let mut command = mount.hoodydb();
    command.arg("upgrade").arg("--mount").arg(mount.point()).arg("--binary").arg(binary);
    command.output().expect("hoodydb runs")
}

fn executable(path: PathBuf, text: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(&path, text).expect("a file");
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).expect("chmod");
    path
}

/// The file that a process runs.
fn program(pid: Pid) -> PathBuf {
    std::fs::read_link(format!("/proc/{}/exe", pid.as_raw_nonzero())).expect("it runs")
}

#[test]
fn an_upgrade_under_load_is_noticed_by_nobody() {
    for mode in Mode::ALL {
        let mount = Mount::new();
        let path = mount.path("app.db");
        database::create(&path, mode);
        let mut ledger = Ledger::default();
        let mut inserters: Vec<Inserter> =
            [0, 5].map(|timeout| Inserter::start(&path, &format!("{timeout}"), timeout)).into();
        let mut open = puppet(&mount.point());
        open.does("f = os.open('f', os.O_RDWR | os.O_CREAT); os.unlink('f'); fcntl.lockf(f, fcntl.LOCK_EX)");
        for round in 0..5 {
            inserters.iter_mut().for_each(|one| one.wait_for_one(&mut ledger));
            let other = mount.outside().join(format!("hoodydb {round}"));
            std::fs::copy(binary(), &other).expect("the binary can be copied");
            let (restarts, uptime) = (mount.restarts(), mount.status()["uptime_s"].as_u64());
            let output = upgrade(&mount, &other);
            assert_eq!(output.status.code(), Some(0), "{mode:?}: {}", text(&output.stderr));
            assert_eq!(mount.last_reason(), "upgraded");
            assert!(mount.restarts() > restarts, "{mode:?}");
            assert!(mount.status()["uptime_s"].as_u64() >= uptime, "{mode:?}: the mount is as old as it was");
            for process in [mount.keeper(), mount.worker()] {
                assert_eq!(program(process), other, "{mode:?}: both processes are the new program");
            }
            assert_eq!(open.ask(&format!("os.write(f, b'{round}')")), "1");
        }
        assert_eq!(open.ask("os.pread(f, 10, 0).decode()"), "01234");
        inserters.into_iter().for_each(|one| one.end(&mut ledger));
        ledger.assert_exactly(&path);
    }
}

#[test]
fn the_default_upgrade_is_to_the_program_that_is_run() {
    let mount = Mount::new();
    let output = mount.hoodydb().arg("upgrade").output().expect("hoodydb runs");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(mount.last_reason(), "upgraded");
    assert_eq!(program(mount.worker()), std::fs::canonicalize(binary()).expect("the binary is there"));
}

#[test]
fn an_upgrade_to_what_is_no_hoodydb_is_refused_or_taken_back() {
    let mount = Mount::new();
    let path = mount.path("app.db");
    database::create(&path, Mode::Delete);
    let mut ledger = Ledger::default();
    let mut inserter = Inserter::start(&path, "client", 0);
    let before = program(mount.worker());
    let version = mount.status()["version"].clone();
    let at = |name: &str| mount.outside().join(name);
    let plain = at("plain text");
    std::fs::write(&plain, "not a program\n").expect("a file");
    let liar = format!("#!/bin/sh\necho 'hoodydb {}'\nexit 1\n", version.as_str().unwrap_or_default());
    let agreeable = "#!/bin/sh\necho yes\nexit 0\n";
    let wrong = [
        PathBuf::from("/bin/true"),
        plain,
        executable(at("text that may run"), "not a program\n"),
        at("missing"),
        mount.outside().to_owned(),
        executable(at("liar"), &liar),
        executable(at("agreeable"), agreeable),
    ];
    for binary in wrong {
        inserter.wait_for_one(&mut ledger);
        let output = upgrade(&mount, &binary);
        let said = text(&output.stderr);
        let name = binary.display();
        assert_eq!(output.status.code(), Some(1), "{name}: {said}");
        assert_eq!(said.lines().count(), 1, "{name}: one line: {said}");
        eventually("the program of before serves", || {
            mount.status_now().is_some_and(|status| status["version"] == version && status["phase"] == "serving")
        });
        for process in [mount.keeper(), mount.worker()] {
            assert_eq!(program(process), before, "{name}: {said}");
        }
        let rows = database::events(&path);
        eventually("the rows go on", || database::events(&path) > rows);
    }
    inserter.end(&mut ledger);
    ledger.assert_exactly(&path);
}

#[test]
fn at_the_limit_of_descriptors_everything_open_survives() {
    let mount = Mount::behind(&["prlimit", "--nofile=400"], &[]);
    let mut client = puppet(&mount.point());
    let fill = "def fill():\\n while True:\\n  n = str(len(files))\\n  files.append(os.open(n, os.O_RDWR | os.O_CREAT))\\n  \
                os.write(files[-1], n.encode())\\n";
    client.does("files = []");
    client.does(fill);
    // The limit of one process near the limit of all.
    assert_eq!(client.ask("fill()"), "EMFILE");
    let open: usize = client.ask("len(files)").parse().expect("a number");
    assert!(open >= 20, "only {open} files could be opened");
    for number in 0..3 {
        in_turn(&mount, number);
        assert_eq!(client.ask("os.open('one more', os.O_RDWR | os.O_CREAT)"), "EMFILE", "the limit is the same");
        assert_eq!(
            client.ask("all(os.pread(f, 5, 0).rstrip(b'\\0') == b'%d' % n for n, f in enumerate(files))"),
            "True"
        );
        assert_eq!(client.ask("sum(os.pwrite(f, b'again', 5) for f in files)"), (5 * open).to_string());
        assert_eq!(client.ask("all(os.fstat(f).st_size == 10 for f in files)"), "True");
    }
    client.does("for f in files: os.close(f)");
    client.does("files.clear()");
    eventually("no handle is left", || mount.status()["handles"] == 0);
    mount.kill_worker();
    assert_eq!(client.ask("fill()"), "EMFILE");
    assert_eq!(client.ask("len(files)"), open.to_string(), "no descriptor was lost on the way");
}

#[test]
fn at_the_limit_of_handles_everything_open_survives() {
    let mount = Mount::new();
    std::fs::write(mount.path("a file"), "whole").expect("a file");
    let limit = mount.status()["handles_max"].as_u64().expect("a number");
    let mut clients: Vec<Client> = (0..20).map(|_| puppet(&mount.point())).collect();
    for client in &mut clients {
        client.does("import resource");
        client.does("resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)");
        client.does("files = []");
        client.does("def fill(most):\\n while len(files) < most:\\n  files.append(os.open('a file', os.O_RDONLY))\\n");
    }
    // Nobody is refused before three quarters; from there on each process has its eighth, until all is full.
    let mut full = None;
    for (number, client) in clients.iter_mut().enumerate() {
        let answer = client.ask(&format!("fill({})", limit / 8 - 1));
        if answer != "ok" {
            full = Some((number, answer));
            break;
        }
    }
    let (last, answer) = full.expect("20 eighths do not fit");
    assert!(answer == "EMFILE" || answer == "ENFILE", "{answer}");
    assert!(last >= 6, "only {last} processes got their eighth");
    let open = mount.status()["handles"].as_u64().expect("a number");
    assert!(open >= limit / 8 * 7, "{open} of {limit} handles");
    for number in 0..3 {
        in_turn(&mount, number);
        assert_eq!(mount.status()["handles"], open, "no handle came or went");
        assert_eq!(clients[last].ask("os.open('a file', os.O_RDONLY)"), answer, "the limit is the same");
        for client in &mut clients[..=last] {
            assert_eq!(client.ask("all(os.pread(f, 9, 0) == b'whole' for f in files)"), "True");
        }
    }
    for client in &mut clients[..=last] {
        client.does("for f in files: os.close(f)");
    }
    eventually("no handle is left", || mount.status()["handles"] == 0);
    assert_eq!(clients[last].ask("os.pread(os.open('a file', os.O_RDONLY), 9, 0)"), "b'whole'");
}

#[test]
fn nothing_is_left_behind_by_kills() {
    let mount = Mount::new();
    let mut client = puppet(&mount.point());
    let load = "for n in range(200): write(str(n), 'x'); os.unlink(str(n))";
    client.does(load);
    mount.kill_worker();
    let counts = || ["handles", "records", "waiters"].map(|name| mount.status()[name].as_u64().unwrap_or(u64::MAX));
    let descriptors = || {
        let keeper = mount.keeper().as_raw_nonzero();
        std::fs::read_dir(format!("/proc/{keeper}/fd")).expect("its descriptors").count()
    };
    eventually("all is closed", || counts() == [0, 0, 0]);
    let before = descriptors();
    for number in 0..CRASHES_TOLERATED - 2 {
        client.does(load);
        in_turn(&mount, number);
    }
    eventually("all is closed", || counts() == [0, 0, 0]);
    let after = descriptors();
    assert!(after <= before + 10, "{before} descriptors became {after}");
}
