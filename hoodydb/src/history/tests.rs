use super::*;
use crate::model::Counters;

fn place(name: &str) -> PathBuf {
    let directory = std::env::temp_dir().join(format!("hoodydb-historian-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&directory);
    std::fs::create_dir_all(&directory).unwrap();
    directory
}

fn look(granted: u64) -> Look {
    let counters = Counters { granted, ..Counters::default() };
    Box::new(move || Some(vec![Seen { inode: 1, path: "a.db".to_owned(), counters: counters.clone(), oldest: None }]))
}

#[test]
fn the_running_minute_is_answered_and_outlives_the_thread() {
    let directory = place("outlives");
    let first = Historian::start(directory.join("history.db"), true, look(5)).unwrap();
    let sum = |answer: Answer| answer.rows.iter().map(|row| row.acquisitions).sum::<u64>();
    assert_eq!(sum(first.read(0, None).unwrap()), 5);
    first.stop();
    let second = Historian::start(directory.join("history.db"), false, look(5)).unwrap();
    assert_eq!(sum(second.read(0, Some("a.db".to_owned())).unwrap()), 5, "the same counts are no new ones");
    assert_eq!(second.missing(), None);
    second.stop();
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn a_disk_that_takes_nothing_is_told_and_the_minute_is_answered_from_memory() {
    let directory = place("nowhere");
    let historian = Historian::start(directory.join("missing/history.db"), true, look(5)).unwrap();
    let answer = historian.read(0, None).unwrap();
    assert_eq!(answer.rows.len(), 1);
    let reason = answer.missing.unwrap();
    assert!(reason.contains("missing/history.db"), "{reason}");
    assert_eq!(historian.missing(), Some(reason));
    historian.stop();
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn the_thread_ends_with_the_mount() {
    let directory = place("ends");
    let historian = Historian::start(directory.join("history.db"), true, Box::new(|| None)).unwrap();
    while historian.read(0, None).is_ok() {
        std::thread::yield_now();
    }
    std::fs::remove_dir_all(directory).unwrap();
}
