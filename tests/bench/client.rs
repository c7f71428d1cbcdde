//! A client process: it connects, says `ready`, waits for the word, works, and reports one line of JSON.
//!
//! Started by [`crate::crew`] with its [`Spec`] as an argument; the word is one byte on standard input. After the report it
//! stays connected until standard input ends, so that the server's processor time can be read while its processes live.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use hdrhistogram::Histogram;
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use crate::cases::{End, Journal, Work};
use crate::postgres_client::PostgresClient;
use crate::sqlite_client::SqliteClient;

/// What a client is to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Spec {
    /// Where.
    pub target: Target,
    /// What.
    pub work: Work,
    /// How long.
    pub end: End,
    /// Between operations.
    pub think_ms: u64,
    /// Tells it from the others.
    pub number: u64,
}

/// The database of a client.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Target {
    /// A file.
    Sqlite {
        /// Its path, on the mount or on the disk.
        path: PathBuf,
        /// Its journal.
        journal: Journal,
        /// `sqlite3_busy_timeout`.
        busy_timeout_ms: u64,
    },
    /// The temporary cluster.
    Postgres {
        /// The directory of its socket.
        socket: PathBuf,
        /// Where its programs are.
        programs: PathBuf,
        /// Whether a commit waits for the disk.
        is_durable: bool,
    },
}

/// A connection that does the work, or opens one for each operation.
pub trait Session {
    /// Reads one row by its key.
    fn select(&mut self, key: i64) -> Result<()>;
    /// Writes one row, autocommit.
    fn insert(&mut self) -> Result<()>;
    /// Writes one row in a transaction.
    fn write_transaction(&mut self) -> Result<()>;
    /// Reads the rows of the keys and writes one for each, in one transaction.
    fn ten_and_ten(&mut self, keys: [i64; 10]) -> Result<()>;
    /// Writes [`BULK_ROWS`] rows in one transaction.
    fn bulk(&mut self) -> Result<()>;
    /// Reads every row of the wide table.
    fn scan(&mut self) -> Result<()>;
    /// Connects, reads one row, disconnects.
    fn open(&mut self, key: i64) -> Result<()>;
    /// Runs the shell for one row.
    fn shell(&mut self, key: i64) -> Result<()>;
    /// A short name of an error that can happen to anybody; none ends the run.
    fn refusal(&self, error: &anyhow::Error) -> Option<String>;
}

/// Rows in `items`, with the keys 1 to this.
pub const ROWS: i64 = 10_000;
/// Rows of one [`Work::Bulk`].
pub const BULK_ROWS: u64 = 100_000;
/// What is written into each row.
pub const BODY: &str =
    "a row of a hundred bytes, as it may be: 0123456789 abcdefghijklmnopqrstuvwxyz ABCDEFGHIJKLMNOPQRSTU";

/// What a client did.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// From the word to the end of the last operation.
    pub elapsed_ns: u64,
    /// Of this process and of the shells that it ran.
    pub cpu_ns: u64,
    /// Operations that read.
    pub reads: Tally,
    /// Operations that write.
    pub writes: Tally,
}

/// Operations of one class.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Tally {
    /// How many operations took how many nanoseconds: (upper end of the bucket, count).
    pub buckets: Vec<(u64, u64)>,
    /// Failed ones by the error's text.
    pub errors: BTreeMap<String, u64>,
}

/// Latencies of one class while they are taken.
struct Recorder {
    histogram: Histogram<u64>,
    errors: BTreeMap<String, u64>,
}

/// An empty histogram; its buckets are a thousandth wide.
///
/// # Errors
/// Never: the precision is valid.
pub fn histogram() -> Result<Histogram<u64>> {
    Ok(Histogram::new(3)?)
}

impl Recorder {
    fn new() -> Result<Self> {
        Ok(Self { histogram: histogram()?, errors: BTreeMap::new() })
    }

    fn into_tally(self) -> Tally {
        let buckets = self.histogram.iter_recorded().map(|at| (at.value_iterated_to(), at.count_at_value())).collect();
        Tally { buckets, errors: self.errors }
    }
}

/// Runs a client to its end.
///
/// # Errors
/// If the specification is none, the database cannot be used, or an operation fails for a reason that is not contention.
pub fn run(spec: &str) -> Result<()> {
    let spec: Spec = serde_json::from_str(spec).context("the specification of a client")?;
    let mut session = connect(&spec)?;
    let mut random = Random(spec.number * 2 + 1);
    warm_up(&spec, session.as_mut(), &mut random)?;
    say("ready")?;
    wait_for_word()?;
    let report = work(&spec, session.as_mut(), &mut random)?;
    say(&serde_json::to_string(&report)?)?;
    wait_for_end();
    Ok(())
}

fn connect(spec: &Spec) -> Result<Box<dyn Session>> {
    Ok(match &spec.target {
        Target::Sqlite { path, journal, busy_timeout_ms } => {
            Box::new(SqliteClient::new(path, *journal, Duration::from_millis(*busy_timeout_ms)))
        }
        Target::Postgres { socket, programs, is_durable } => {
            Box::new(PostgresClient::new(socket, programs, *is_durable))
        }
    })
}

/// Opens the database and prepares statements by reading; nothing is written before the word.
fn warm_up(spec: &Spec, session: &mut dyn Session, random: &mut Random) -> Result<()> {
    let reads = match spec.work {
        // These connect anew each time, and the last connection that closes tidies up.
        Work::Open | Work::Shell => 0,
        work if work.writes() => 1,
        _ => 20,
    };
    for _ in 0..reads {
        // Somebody else may be opening the database with no busy timeout.
        if let Err(error) = session.select(random.key()) {
            session.refusal(&error).ok_or(error)?;
        }
    }
    Ok(())
}

fn work(spec: &Spec, session: &mut dyn Session, random: &mut Random) -> Result<Report> {
    let (mut reads, mut writes) = (Recorder::new()?, Recorder::new()?);
    let cpu_before = cpu_ns();
    let begun = Instant::now();
    let mut tried = 0;
    let is_over = |tried: u64| match spec.end {
        End::Seconds(seconds) => begun.elapsed().as_secs_f64() >= seconds,
        End::Operations(operations) => tried >= operations,
    };
    while !is_over(tried) {
        let writes_now = spec.work.writes() || (spec.work == Work::Mixed && random.below(10) == 0);
        let recorder = if writes_now { &mut writes } else { &mut reads };
        let key = random.key();
        let before = Instant::now();
        let done = match spec.work {
            Work::Mixed if writes_now => session.insert(),
            Work::Select | Work::Mixed => session.select(key),
            Work::Insert => session.insert(),
            Work::WriteTransaction => session.write_transaction(),
            Work::TenAndTen => session.ten_and_ten(std::array::from_fn(|_| random.key())),
            Work::Bulk => session.bulk(),
            Work::Scan => session.scan(),
            Work::Open => session.open(key),
            Work::Shell => session.shell(key),
        };
        let took = before.elapsed();
        match done {
            Ok(()) => recorder.histogram.record(u64::try_from(took.as_nanos())?)?,
            Err(error) => {
                let refusal = session.refusal(&error).ok_or(error)?;
                *recorder.errors.entry(refusal).or_default() += 1;
            }
        }
        tried += 1;
        if spec.think_ms > 0 {
            std::thread::sleep(Duration::from_millis(spec.think_ms));
        }
    }
    let elapsed_ns = u64::try_from(begun.elapsed().as_nanos())?;
    let cpu_ns = cpu_ns() - cpu_before;
    Ok(Report { elapsed_ns, cpu_ns, reads: reads.into_tally(), writes: writes.into_tally() })
}

/// Processor time of this process and of its children that ended.
fn cpu_ns() -> u64 {
    let own = clock_gettime(ClockId::ProcessCPUTime);
    let own_ns = own.tv_sec as u64 * 1_000_000_000 + own.tv_nsec as u64;
    own_ns + crate::daemon::ended_children_cpu_ns()
}

/// Says a line to the driver.
///
/// # Errors
/// If the driver is gone.
pub fn say(line: &str) -> Result<()> {
    let mut output = std::io::stdout().lock();
    writeln!(output, "{line}").and_then(|()| output.flush()).context("the driver is gone")
}

/// Reads exactly one byte: the clients share the pipe, and the others' bytes are theirs.
///
/// # Errors
/// If the driver ended first.
pub fn wait_for_word() -> Result<()> {
    let read = rustix::io::retry_on_intr(|| rustix::io::read(std::io::stdin(), &mut [0u8; 1]))?;
    ensure!(read == 1, "the driver ended before the word to go");
    Ok(())
}

/// Waits until the driver dismisses its clients.
pub fn wait_for_end() {
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}

/// Numbers that are spread evenly enough for keys, the same in every run.
pub struct Random(pub u64);

impl Random {
    /// A number below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        // splitmix64
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }

    /// The key of a row of `items`.
    pub fn key(&mut self) -> i64 {
        1 + (self.below(ROWS as u64) as i64)
    }
}
