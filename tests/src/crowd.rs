//! Many clients at once: all are ready, then all go, and what they report is added up.
//!
//! Called by the tests of concurrency. A client reports one line of JSON: `{"done": 50, "errors": {"database is locked": 3}}`.

use std::collections::BTreeMap;
use std::process::Command;

use serde::Deserialize;

use crate::Client;
use crate::clients::Finished;

/// What one client, or all of them, did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Report {
    /// Operations that were acknowledged.
    pub done: u64,
    /// Errors by their text.
    pub errors: BTreeMap<String, u64>,
}

impl Report {
    /// Adds another one.
    pub fn add(&mut self, other: Report) {
        self.done += other.done;
        for (text, count) in other.errors {
            *self.errors.entry(text).or_default() += count;
        }
    }
}

/// Clients that wait for the word.
#[derive(Default)]
pub struct Crowd(Vec<Client>);

impl Crowd {
    /// Starts all of them, and waits until all are ready.
    ///
    /// # Panics
    /// If one cannot be started.
    pub fn ready(commands: impl IntoIterator<Item = Command>) -> Self {
        let mut clients: Vec<Client> = commands.into_iter().map(Client::start).collect();
        clients.iter_mut().for_each(|client| client.expect("ready"));
        Self(clients)
    }

    /// Lets all go, waits for all, and gives how each ended.
    ///
    /// # Panics
    /// If one does not end in time.
    pub fn run(mut self) -> Vec<Finished> {
        self.0.iter_mut().for_each(|client| client.tell("go"));
        self.0.into_iter().map(Client::finish).collect()
    }

    /// Lets all go, gives each its input, waits for all, and gives how each ended.
    ///
    /// # Panics
    /// If one does not end in time.
    pub fn run_with_input(mut self, input: &str) -> Vec<Finished> {
        self.0.iter_mut().for_each(|client| client.tell("go"));
        self.0.iter_mut().for_each(|client| client.tell(input));
        self.0.into_iter().map(Client::finish).collect()
    }

    /// The same for clients that report; the sum of their reports.
    ///
    /// # Panics
    /// If one ends badly or does not report.
    pub fn report(self) -> Report {
        let mut sum = Report::default();
        for client in self.run() {
            assert!(client.status.success(), "{}: {}: {}", client.name, client.status, client.errors);
            let report = client.output.last().and_then(|line| serde_json::from_str(line).ok());
            sum.add(report.unwrap_or_else(|| panic!("{}: no report in {:?}", client.name, client.output)));
        }
        sum
    }
}

/// Asserts that every command succeeded and wrote nothing to standard error.
///
/// # Panics
/// If not.
pub fn assert_all_succeeded(finished: &[Finished]) {
    let failed: Vec<_> = finished.iter().filter(|one| !one.status.success() || !one.errors.is_empty()).collect();
    assert!(failed.is_empty(), "{} of {} failed: {:#?}", failed.len(), finished.len(), &failed[..failed.len().min(3)]);
}
