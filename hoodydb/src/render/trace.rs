//! The lines of `hoodydb trace`.

use super::units::micros;
use crate::model::{LockEvent, Traced, printable};

/// The heading.
pub fn head() -> String {
    row(["TIME (UTC)", "PID", "COMMAND", "CALL", "RESULT", "TOOK"], "FILE")
}

/// One call.
pub fn line(traced: &Traced) -> String {
    let event = &traced.event;
    let took = match event.kind.as_str() {
        "unlock" | "close" if event.held_ns > 0 => format!("held {}", micros(event.held_ns / 1_000)),
        "close" => String::new(),
        _ => format!("wait {}", micros(event.wait_ns / 1_000)),
    };
    let columns = [
        &time_of_day(traced.time_us),
        &event.pid.to_string(),
        &printable(&event.comm),
        &call(event),
        &result(event),
        &took,
    ];
    row(columns.map(String::as_str), &printable(&event.path))
}

/// Calls that are missing between two lines.
pub fn lost(count: u64) -> String {
    format!("... {count} events are missing here: they came faster than they were read\n")
}

fn row([time, pid, command, call, result, took]: [&str; 6], file: &str) -> String {
    format!("{time:<15}  {pid:>7}  {command:<15}  {call:<23}  {result:<11}  {took:<13}  {file}\n")
}

fn call(event: &LockEvent) -> String {
    let waits = if event.waits { " (waits)" } else { "" };
    let owner = if event.of_description { " (OFD)" } else { "" };
    if event.role != "BYTES" {
        return format!("{} {}{waits}{owner}", event.kind, event.role);
    }
    let end = if event.end >= i64::MAX.cast_unsigned() { "end".to_owned() } else { event.end.to_string() };
    format!("{} {}..{end}{waits}{owner}", event.kind, event.start)
}

/// Errnos of fcntl(2) on a mount; ERESTARTSYS (512) is what the kernel has inside for a call that a signal ended.
fn result(event: &LockEvent) -> String {
    let name = match -event.result {
        0 if matches!(event.kind.as_str(), "unlock" | "close") => "done",
        0 => "granted",
        4 | 512 => "interrupted",
        5 => "EIO",
        11 => "EAGAIN",
        13 => "EACCES",
        35 => "EDEADLK",
        37 => "ENOLCK",
        107 => "ENOTCONN",
        103 => "ECONNABORTED",
        number => return format!("errno {number}"),
    };
    name.to_owned()
}

fn time_of_day(time_us: u64) -> String {
    let (seconds, micros) = (time_us / 1_000_000 % 86_400, time_us % 1_000_000);
    format!("{:02}:{:02}:{:02}.{micros:06}", seconds / 3_600, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> LockEvent {
        LockEvent {
            path: "app.db".to_owned(),
            pid: 4_242,
            comm: "python3".to_owned(),
            role: "RESERVED".to_owned(),
            kind: "write".to_owned(),
            wait_ns: 1_234_567,
            ..LockEvent::default()
        }
    }

    #[test]
    fn lines_of_a_trace() {
        let unlock = LockEvent { kind: "unlock".to_owned(), held_ns: 2_000_000_000, ..event() };
        let closed = LockEvent { kind: "close".to_owned(), role: "DMS".to_owned(), wait_ns: 0, ..event() };
        let refused = LockEvent { result: -11, waits: true, ..event() };
        let hostile = LockEvent { comm: "\u{1b}[2J\n".to_owned(), path: "a\u{1b}]0;x\u{7}.db".to_owned(), ..event() };
        let range = i64::MAX.cast_unsigned();
        let bytes = LockEvent { role: "BYTES".to_owned(), start: 7, end: range, of_description: true, ..event() };
        let events = [event(), unlock, closed, refused, hostile, bytes];
        let lines = events.into_iter().map(|event| line(&Traced { time_us: 1_795_000_083_000_042, event }));
        insta::assert_snapshot!(head() + &lines.collect::<String>() + &lost(3));
    }

    #[test]
    fn errnos_have_names() {
        let named = |result| super::result(&LockEvent { result, ..event() });
        assert_eq!([0, -4, -512, -37, -99].map(named), ["granted", "interrupted", "interrupted", "ENOLCK", "errno 99"]);
    }
}
