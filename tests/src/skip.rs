//! What cannot run on a machine is said: an error in CI, loud elsewhere. Called by tests that need a program.

use std::io::Write;

/// How often a test repeats itself: once, or `long` times in a long run.
pub fn runs(long: usize) -> usize {
    if is_long() { long } else { 1 }
}

/// Whether this is a long run (`HOODYDB_TEST_LONG=1`).
pub fn is_long() -> bool {
    std::env::var_os("HOODYDB_TEST_LONG").is_some_and(|value| value == "1")
}

/// Says that a test cannot run here.
///
/// # Panics
/// In CI, where nothing may be left out.
pub fn skip(why: &str) {
    let name = std::thread::current().name().unwrap_or("a test").to_owned();
    assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{name} cannot be left out in CI: {why}");
    eprintln!("\nNOT RUN: {name}: {why}\n");
    if let Some(list) = std::env::var_os("HOODYDB_TEST_SKIPPED")
        && let Ok(mut list) = std::fs::OpenOptions::new().create(true).append(true).open(list)
    {
        let _ = writeln!(list, "{name}: {why}");
    }
}
