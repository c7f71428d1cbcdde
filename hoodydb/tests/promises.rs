//! docs/SEMANTICS.md names a test for each promise; every name must be one.

use std::path::Path;

#[test]
fn every_test_that_semantics_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace");
    let text = std::fs::read_to_string(root.join("docs/SEMANTICS.md")).expect("docs/SEMANTICS.md is there");
    let mut named = 0;
    for quoted in text.split('`').skip(1).step_by(2) {
        let quoted = quoted.split_whitespace().collect::<Vec<_>>().join(" ");
        if let Some((file, test)) = quoted.split_once(": ").filter(|(file, _)| file.ends_with(".rs")) {
            let source = std::fs::read_to_string(root.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
            assert!(source.contains(&format!("fn {test}(")), "{file} has no test {test}");
            named += 1;
        } else if quoted.ends_with(".rs") {
            assert!(root.join(&quoted).is_file(), "{quoted} is not there");
        }
    }
    let transcripts = root.join("hoodydb/tests/transcripts");
    let listed = std::fs::read_dir(transcripts).expect("the transcripts are there");
    for entry in listed {
        let name = entry.expect("a readable directory").file_name().into_string().expect("a plain name");
        let stem = name.trim_end_matches(".txt").to_owned();
        // Every scenario belongs to a promise, or it proves nothing that anybody was told.
        assert!(text.contains(&format!("`{stem}`")), "no promise names the transcript {stem}");
    }
    assert!(named >= 25, "only {named} tests are named");
}

/// The sizes that docs/SEMANTICS.md states.
#[test]
fn the_sizes_are_as_stated() {
    let (record, waiter, _) = hoodydb::manager::LockManager::sizes();
    assert_eq!((record, waiter), (48, 152));
}
