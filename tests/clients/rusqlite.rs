//! A rusqlite client: inserts rows, then reads them back. Called by the test of languages, as `rusqlite-client DB NAME COUNT`.

use std::io::BufRead;

use anyhow::{Context, Result};

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut argument = || arguments.next().context("usage: rusqlite-client DB NAME COUNT");
    let (path, name, count) = (argument()?, argument()?, argument()?.parse::<u32>()?);
    println!("ready");
    std::io::stdin().lock().lines().next().transpose()?;
    let connection = rusqlite::Connection::open(path)?;
    connection.busy_timeout(std::time::Duration::ZERO)?;
    let (mut done, mut errors) = (0u32, std::collections::BTreeMap::<String, u64>::new());
    for body in 0..count {
        match connection.execute("INSERT INTO events(client, body) VALUES (?, ?)", (&name, body)) {
            Ok(_) => done += 1,
            Err(error) => *errors.entry(error.to_string()).or_default() += 1,
        }
    }
    let query = "SELECT count(*) FROM events WHERE client = ?";
    let read: u32 = connection.query_row(query, [&name], |row| row.get(0))?;
    anyhow::ensure!(read == done, "{read} rows read back of {done} written");
    println!("{}", serde_json::json!({ "done": done, "errors": errors }));
    Ok(())
}
