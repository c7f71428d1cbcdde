//! The `hoodydb` command: parses, sets up telemetry, dispatches, and turns results into exit codes.
fn main() {}
