//! Files that are no databases behave as on any disk; the kernel is the oracle: the same steps by real processes on a tmpfs
//! and on the mount have the same answers.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use hoodydb_tests::clients::{python, waits_in_fcntl};
use hoodydb_tests::{Client, Mount, Place, eventually};

/// One step: a process, what it is told, and whether its answer is awaited now (`?` only collects the answer of before).
const TRANSCRIPTS: &[(&str, &str)] = &[
    (
        "ranges split, join and change kind",
        "0 open a f; 1 open a f; 0 lock a w 0 100; 1 test a r 0 1; 1 lock a r 50 1; 0 lock a u 40 20; 1 lock a w 45 10;
         1 test a w 0 200; 0 test a w 0 200; 0 lock a r 0 40; 1 lock a r 10 5; 1 lock a w 10 5; 1 test a w 0 40;
         1 lock a r 0 0; 0 lock a w 200 0; 0 test a w 30 100; 1 lock a u 0 0; 0 lock a w 0 0; 1 test a r 1000000 1",
    ),
    (
        "the far end of the range",
        "0 open a f; 1 open a f; 0 lock a w 9223372036854775806 1; 1 lock a w 9223372036854775807 1;
         1 test a r 9223372036854775800 0; 0 lock a w 9223372036854775807 2; 0 lock a w 100 -50; 1 test a r 60 1;
         1 test a r 49 1; 0 lock a w 10 -11",
    ),
    (
        "close drops everything of the process",
        "0 open a f; 0 open b f; 1 open a f; 0 lock a w 0 10; 0 lock b r 20 5; 1 lock a w 0 1; 0 close b; 1 lock a w 0 1;
         1 lock a w 20 5; 1 test a w 0 100; 0 lock a w 5 1; 1 close a; 0 lock a w 0 100",
    ),
    (
        "a file named as a WAL is a file",
        "0 open a f; 0 open b f-wal; 0 open c f-wal; 1 open b f-wal; 0 lock b w 0 10; 1 lock b w 0 1; 0 close c; 1 lock b w 0 10;
         0 lock b w 0 1; 1 close b; 0 lock b w 0 10",
    ),
    (
        "rights of the descriptor",
        "0 open a f; 0 open b f r; 0 open c f a; 0 lock b w 0 1; 0 lock c r 0 1; 0 lock b r 0 1; 0 lock c w 0 1; 0 lock a u 0 0",
    ),
    (
        "a wait ends with the unlock, in the order of asking",
        "0 open a f; 1 open a f; 2 open a f; 0 lock a w 0 10; 1 wait! a w 5 10; 0 test a w 0 20; 0 lock a u 0 10; 1 ?;
         2 test a r 0 20; 2 wait! a r 5 1; 1 close a; 2 ?; 0 lock a w 0 20",
    ),
    (
        "two that wait for one another",
        "0 open a f; 1 open a f; 0 lock a w 0 1; 1 lock a w 10 1; 0 wait! a w 10 1; 1 wait a w 0 1; 1 lock a u 10 1; 0 ?;
         1 test a r 10 1",
    ),
    (
        "three in a ring",
        "0 open a f; 1 open a f; 2 open a f; 0 lock a w 0 1; 1 lock a w 1 1; 2 lock a w 2 1; 0 wait! a w 1 1; 1 wait! a w 2 1;
         2 wait a w 0 1; 2 close a; 1 ?; 1 close a; 0 ?",
    ),
    (
        "open file descriptions lock for themselves",
        "0 open a f; 0 open b f; 1 open a f; 0 ofd a w 0 10; 0 ofd b w 5 1; 1 lock a r 0 1; 1 ofd a r 20 5; 0 lock a w 20 1;
         0 close b; 0 ofd a r 0 10; 1 lock a r 0 1; 0 close a; 1 lock a w 0 10",
    ),
    (
        "whole files by flock, which fcntl does not see",
        "0 open a f; 0 open b f; 1 open a f; 0 flock a ex; 1 flock a sh; 0 flock b sh; 1 lock a w 0 0; 0 flock a sh; 1 flock a sh;
         0 flock b ex; 1 flock a un; 0 flock a un; 0 flock b ex; 0 close b; 1 flock a ex",
    ),
];

/// Runs a transcript by three processes in a directory; owners of locks are told by their number.
fn play(directory: &Path, transcript: &str) -> Vec<String> {
    let mut clients: Vec<Client> = (0..3)
        .map(|_| {
            let mut command = python("files.py");
            command.arg(directory);
            Client::ready(command)
        })
        .collect();
    let pids: Vec<String> = clients.iter().map(|client| client.id().to_string()).collect();
    let mut answers = Vec::new();
    for step in transcript.split(';').map(str::trim) {
        let (who, what) = step.split_once(' ').expect("a process and what it does");
        let client = &mut clients[who.parse::<usize>().expect("the number of a process")];
        let answer = if what == "?" {
            client.line()
        } else if what.contains("wait!") {
            client.tell(&what.replace('!', ""));
            eventually("the process waits in fcntl", || waits_in_fcntl(client.id()));
            continue;
        } else {
            client.ask(what)
        };
        let mut words: Vec<String> = answer.split(' ').map(str::to_owned).collect();
        if let Some(owner) = words.get(3).and_then(|pid| pids.iter().position(|other| other == pid)) {
            words[3] = format!("process {owner}");
        }
        answers.push(format!("{step} -> {}", words.join(" ")));
    }
    answers
}

#[test]
fn locks_answer_as_the_kernel_does() {
    let mount = Mount::new();
    let memory = Place::within(Path::new("/dev/shm"));
    for (name, transcript) in TRANSCRIPTS {
        let kernel = play(memory.path(), transcript);
        let ours = play(&mount.point(), transcript);
        assert_eq!(ours, kernel, "{name}");
        assert!(!kernel.iter().all(|answer| answer.ends_with("ok")), "{name}: a transcript shows a conflict");
    }
}

/// A mount whose daemon may have few descriptors: about 200 of them are for open files.
fn small_mount() -> Mount {
    Mount::behind(&["prlimit", "--nofile=800"], &[])
}

#[test]
fn links_that_come_and_go_pin_no_descriptor() {
    let mount = small_mount();
    // As git stores an object: written under a passing name, linked to its own, and the passing name removed.
    let passing = mount.path("passing");
    for number in 0..600 {
        std::fs::write(&passing, number.to_string()).unwrap_or_else(|error| panic!("file {number}: {error}"));
        std::fs::hard_link(&passing, mount.path(&format!("object {number}"))).expect("a link");
        std::fs::remove_file(&passing).expect("the passing name goes");
    }
    for number in 0..600 {
        let text = std::fs::read_to_string(mount.path(&format!("object {number}"))).expect("an object");
        assert_eq!(text, number.to_string());
    }
}

#[test]
fn a_file_that_cannot_be_opened_is_not_made() {
    let mount = small_mount();
    let mut open = Vec::new();
    let refused = loop {
        match File::create(mount.path(&format!("file {}", open.len()))) {
            Ok(file) => open.push(file),
            Err(error) => break error,
        }
    };
    assert_eq!(refused.raw_os_error(), Some(rustix::io::Errno::MFILE.raw_os_error()), "{refused}");
    assert!(open.len() > 100, "{} files are open", open.len());
    let names = std::fs::read_dir(mount.point()).expect("a directory").count();
    let made = std::fs::read_dir(mount.backing()).expect("a directory").count() - 1;
    assert_eq!((names, made), (open.len(), open.len()), "the daemon's own directory aside");
    let next = mount.path(&format!("file {}", open.len()));
    open.truncate(50);
    eventually("there is room again", || File::create_new(&next).is_ok());
}

/// Runs the same on the plain disk and on the mount; the two must agree with what `steps` asserts.
fn on_disk_and_mount(steps: impl Fn(&Path)) {
    let mount = Mount::new();
    let disk = Place::new();
    steps(disk.path());
    steps(&mount.point());
    let plain = Mount::with(&["--no-passthrough"]);
    steps(&plain.point());
}

#[test]
fn rename_unlink_and_hard_links() {
    on_disk_and_mount(|top| {
        let path = |name: &str| top.join(name);
        std::fs::write(path("a"), "first").expect("write");
        let mut open = File::open(path("a")).expect("open");
        std::fs::write(path("b"), "second").expect("write");
        std::fs::rename(path("b"), path("a")).expect("rename over an open file");
        let mut kept = String::new();
        open.read_to_string(&mut kept).expect("read");
        assert_eq!((kept.as_str(), std::fs::read_to_string(path("a")).expect("read").as_str()), ("first", "second"));
        std::fs::hard_link(path("a"), path("c")).expect("link");
        let (a, c) = (std::fs::metadata(path("a")).expect("stat"), std::fs::metadata(path("c")).expect("stat"));
        assert_eq!((a.ino(), a.nlink(), c.nlink()), (c.ino(), 2, 2));
        OpenOptions::new().append(true).open(path("c")).expect("open").write_all(b"+").expect("append");
        assert_eq!(std::fs::read_to_string(path("a")).expect("read"), "second+");
        std::fs::remove_file(path("a")).expect("unlink");
        assert_eq!(std::fs::metadata(path("c")).expect("stat").nlink(), 1);
        let last = OpenOptions::new().read(true).write(true).open(path("c")).expect("open");
        std::fs::remove_file(path("c")).expect("unlink an open file");
        last.write_all_at(b"still", 0).expect("an unlinked file can be written");
        assert_eq!(last.metadata().expect("stat").nlink(), 0);
        std::fs::create_dir(path("d")).expect("mkdir");
        std::fs::write(path("d/x"), "").expect("write");
        let full = std::fs::remove_dir(path("d")).expect_err("not empty");
        assert_eq!(full.kind(), std::io::ErrorKind::DirectoryNotEmpty);
        std::os::unix::fs::symlink("d/x", path("s")).expect("symlink");
        assert_eq!(std::fs::read_link(path("s")).expect("readlink"), PathBuf::from("d/x"));
        assert!(std::fs::metadata(path("s")).expect("stat").is_file());
    });
}

#[test]
fn append_truncate_seek_and_holes() {
    on_disk_and_mount(|top| {
        let path = top.join("log");
        let writers: Vec<_> = (0..4).map(|name| (name, path.clone())).collect();
        std::thread::scope(|scope| {
            for (name, path) in writers {
                scope.spawn(move || {
                    let mut file = OpenOptions::new().create(true).append(true).open(path).expect("open");
                    (0..100).for_each(|line| file.write_all(format!("{name} {line:03}\n").as_bytes()).expect("append"));
                });
            }
        });
        let text = std::fs::read_to_string(&path).expect("read");
        assert!(text.lines().count() == 400 && text.lines().all(|line| line.len() == 5), "appends do not overwrite");
        let mut file = OpenOptions::new().read(true).write(true).open(&path).expect("open");
        file.set_len(10).expect("truncate");
        file.seek(SeekFrom::Start(1 << 20)).expect("seek");
        file.write_all(b"end").expect("write");
        assert_eq!(file.metadata().expect("stat").len(), (1 << 20) + 3);
        let mut hole = [1; 8];
        file.read_exact_at(&mut hole, 5000).expect("read");
        assert_eq!(hole, [0; 8]);
    });
}

#[test]
fn a_map_shows_what_others_write() {
    let script = "
import mmap, os, sys
name = sys.argv[1]
fd = os.open(name, os.O_RDWR | os.O_CREAT)
os.ftruncate(fd, 8192)
first, second = mmap.mmap(fd, 8192), mmap.mmap(os.open(name, os.O_RDWR), 8192)
first[100:105] = b'hello'
assert second[100:105] == b'hello'
if os.fork() == 0:
    mmap.mmap(os.open(name, os.O_RDWR), 8192)[4096:4101] = b'child'
    os._exit(0)
os.wait()
assert first[4096:4101] == b'child'
assert os.pread(fd, 5, 100) == b'hello'
first.flush()
";
    on_disk_and_mount(|top| {
        let output = std::process::Command::new("python3").args(["-c", script]).arg(top.join("map")).output();
        let output = output.expect("python3 runs");
        assert!(output.status.success(), "{}: {}", top.display(), String::from_utf8_lossy(&output.stderr));
    });
}

#[test]
fn strange_names_and_thousands_of_files() {
    on_disk_and_mount(|top| {
        let long = "n".repeat(255);
        for name in ["line\nbreak", "\u{1b}[31mred", " space ", "ünï", "-rf", long.as_str()] {
            std::fs::write(top.join(name), name).expect("write");
            assert_eq!(std::fs::read_to_string(top.join(name)).expect("read"), name);
        }
        let too_long = std::fs::write(top.join("n".repeat(256)), "").expect_err("too long");
        assert_eq!(too_long.raw_os_error(), Some(rustix::io::Errno::NAMETOOLONG.raw_os_error()));
        std::fs::create_dir(top.join("many")).expect("mkdir");
        for number in 0..3000 {
            std::fs::write(top.join(format!("many/{number}")), "").expect("write");
        }
        let mut listed: Vec<u32> = std::fs::read_dir(top.join("many"))
            .expect("readdir")
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().parse().expect("a number"))
            .collect();
        listed.sort_unstable();
        assert_eq!(listed, (0..3000).collect::<Vec<_>>());
        std::fs::remove_dir_all(top.join("many")).expect("rm -r");
        let left = std::fs::read_dir(top).expect("readdir").count();
        assert_eq!(left, 6);
    });
}

#[test]
fn many_files_open_at_once() {
    let mount = Mount::new();
    let files: Vec<File> = (0..800)
        .map(|number| {
            let path = mount.path(&format!("file {number}"));
            let file = OpenOptions::new().create(true).truncate(true).read(true).write(true).open(path).expect("open");
            file.write_all_at(format!("{number}").as_bytes(), 0).expect("write");
            file
        })
        .collect();
    for (number, file) in files.iter().enumerate() {
        let mut text = vec![0; number.to_string().len()];
        file.read_exact_at(&mut text, 0).expect("read");
        assert_eq!(text, number.to_string().as_bytes());
    }
    let status = mount.status();
    assert!(status["handles"].as_u64().is_some_and(|handles| handles >= 800), "{status:#}");
}
