//! The one owner of all lock state: mutex, clock, parked replies, deadlines, the reaper of killed waiters.
//!
//! The FUSE room calls it on its reader threads; no call sleeps. It never knows FUSE: a reply is anything that implements
//! [`Reply`], and no reply is sent under the mutex.
//!
//! ```text
//!   reader threads --set_lock--> [ mutex: LockManager, parked replies ] <--Tick, Probed-- timer thread
//!                                                                       <--Cancel-------- reaper thread
//! ```

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard, Weak};
use std::time::Duration;

use crate::lock::{Conflict, FileId, Handle, LockOwner, Pid, Tid};
use crate::manager::view::{Tally, View};
use crate::manager::{Admission, Config, Decision, Denial, Event, LockCall, LockManager, Policy, Ticket, Timestamp};

mod activity;
mod groups;
mod reaper;
mod record;
mod signals;

pub use crate::sqlite::family::{MAGIC, Member, side_file};
use groups::Groups;
pub use groups::{Seen, group_of};
pub use reaper::descriptors_of_waits;
pub use record::{Left, NoRecord, Record, RecordFull};

/// Where the answer to one lock call goes.
pub trait Reply: Send + 'static {
    /// The lock is held (or released).
    fn granted(self);
    /// The lock is refused.
    ///
    /// # Errors
    /// See [`Refusal`] for the errno of each.
    fn refused(self, why: Refusal);
}

/// Why a lock call is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// `EAGAIN`: a conflict, a deadline or a cycle; the only errno that SQLite takes for "busy" on every file.
    Again,
    /// `EDEADLK`: `F_SETLKW` on a file that is no database would wait for itself.
    Deadlock,
    /// `EINTR`: the waiter of an `F_SETLKW` has a signal to take.
    Interrupted,
    /// `ENOLCK`: a limit is reached.
    NoLocks,
}

impl From<Denial> for Refusal {
    fn from(why: Denial) -> Self {
        match why {
            Denial::Conflict | Denial::Upgrade | Denial::Deadline => Refusal::Again,
            Denial::Deadlock { posix: false } | Denial::Cancelled { wait: false } => Refusal::Again,
            Denial::Deadlock { posix: true } => Refusal::Deadlock,
            Denial::Cancelled { wait: true } => Refusal::Interrupted,
            Denial::Limit => Refusal::NoLocks,
        }
    }
}

/// What the coordinator is told at the start.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Longest wait of a call that the client did not ask to wait (`--max-wait`).
    pub max_wait: Duration,
    /// Policy of databases that have none of their own.
    pub policy: Policy,
}

/// The shared lock state of one mount.
pub struct Coordinator<R: Reply> {
    state: Mutex<State<R>>,
    timer: Condvar,
    reaper: Condvar,
    /// Held for reading from before a decision until its replies are sent: whoever has it for writing knows that every decision
    /// has reached the kernel.
    sending: RwLock<()>,
    /// The record wants the whole state.
    due: AtomicBool,
    /// Who is told of new processes.
    seen: OnceLock<Seen>,
}

struct State<R> {
    manager: LockManager,
    record: Box<dyn Record>,
    /// Answers of the process before this one, for requests that the kernel sends once more.
    answered: HashMap<Ticket, Result<(), Denial>>,
    parked: BTreeMap<Ticket, Parked<R>>,
    decisions: Vec<Decision>,
    probes: Vec<(FileId, u64, Tid)>,
    last_saved_bytes: usize,
    /// The containers of the processes seen lately.
    groups: Groups,
    /// When the timer thread wakes by itself.
    armed: Option<Timestamp>,
    /// Something has happened since it last looked.
    busy: bool,
    /// The reaper sleeps until somebody waits.
    reaper_idle: bool,
    ended: bool,
}

struct Parked<R> {
    reply: R,
    pid: Pid,
    tid: Tid,
    wait: bool,
    since: Timestamp,
}

/// Deadlines are kept to so many ns, or better.
const TIMER_GRAIN_NS: u64 = 1_000_000;

/// Answers on their way out of the mutex.
type Answers<R> = Vec<(R, Result<(), Denial>)>;

impl<R: Reply> Coordinator<R> {
    /// The lock state as a predecessor left it (empty if there was none); starts the timer and reaper threads, which end with
    /// the last reference.
    ///
    /// # Errors
    /// EAGAIN if there is no room for the threads; InvalidData if what was left is damaged or of another version.
    pub fn start(limits: Limits, record: Box<dyn Record>, left: &Left) -> std::io::Result<Arc<Self>> {
        let max_wait_ns = u64::try_from(limits.max_wait.as_nanos()).unwrap_or(u64::MAX);
        let config = Config { max_wait_ns, policy: limits.policy, ..Config::default() };
        let recovered = record::recover(config, left).map_err(|error| {
            std::io::Error::new(std::io::ErrorKind::InvalidData, format!("the lock state cannot be rebuilt: {error}"))
        })?;
        let state = State {
            manager: recovered.manager,
            record,
            answered: recovered.answered,
            parked: BTreeMap::new(),
            decisions: Vec::new(),
            probes: Vec::new(),
            last_saved_bytes: 0,
            groups: Groups::default(),
            armed: None,
            busy: false,
            reaper_idle: false,
            ended: false,
        };
        let this = Arc::new(Self {
            state: Mutex::new(state),
            timer: Condvar::new(),
            reaper: Condvar::new(),
            sending: RwLock::new(()),
            // The first thing kept is a whole state: a successor need not replay what this process has replayed.
            due: AtomicBool::new(true),
            seen: OnceLock::new(),
        });
        if left.state.is_some() || !left.entries.is_empty() {
            this.happened(Event::Resumed);
        }
        let weak = Arc::downgrade(&this);
        std::thread::Builder::new().name("lock-timer".into()).spawn(move || Self::run_timer(&weak))?;
        let weak = Arc::downgrade(&this);
        std::thread::Builder::new().name("lock-reaper".into()).spawn(move || reaper::run(&weak))?;
        Ok(this)
    }

    fn now(&self) -> Timestamp {
        // Not since the start: a successor's time goes on where this one's ends.
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        Timestamp(u64::try_from(now.tv_sec * 1_000_000_000 + now.tv_nsec).unwrap_or(0))
    }

    /// Begins a decision and its replies. Keeps the whole state first if it is time to.
    fn begin(&self) -> RwLockReadGuard<'_, ()> {
        loop {
            let sending = self.sending.read().unwrap_or_else(PoisonError::into_inner);
            if !self.due.load(Relaxed) {
                return sending;
            }
            drop(sending);
            self.checkpoint();
        }
    }

    /// Keeps the whole state, at a moment at which no reply is on its way.
    fn checkpoint(&self) {
        let _quiet = self.sending.write().unwrap_or_else(PoisonError::into_inner);
        if self.due.load(Relaxed) {
            self.keep_state(&mut self.lock());
        }
    }

    fn keep_state(&self, state: &mut State<R>) {
        // As large as the last one, and a little: a buffer that doubles would take three times as much.
        let mut bytes = Vec::with_capacity(state.last_saved_bytes + state.last_saved_bytes / 8);
        state.manager.save_into(&mut bytes);
        state.last_saved_bytes = bytes.len();
        if let Err(error) = state.record.checkpoint(&bytes) {
            // Without a record a successor would grant what is held.
            tracing::error!(%error, bytes = bytes.len(), "the daemon ends");
            std::process::abort();
        }
        self.due.store(false, Relaxed);
    }

    /// Keeps the whole state, and decides nothing more: for a program that takes this one's place.
    pub fn freeze_kept(&self) {
        std::mem::forget(self.sending.write());
        let mut state = self.lock();
        self.keep_state(&mut state);
        std::mem::forget(state);
    }

    fn lock(&self) -> MutexGuard<'_, State<R>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `F_SETLK`, `F_SETLKW` and `F_UNLCK`. Answers now or later, exactly once.
    ///
    /// A request that the kernel sends once more, after the death of a process before this one, has the same ticket: it gets
    /// the answer that was decided, or goes on waiting where it waited.
    pub fn set_lock(&self, ticket: Ticket, call: LockCall, reply: R) {
        let _sending = self.begin();
        let mut state = self.lock();
        let mut since = self.now();
        let mut group = state.groups.of(call.pid, since);
        if group.is_none() && call.kind.is_some() {
            // Once per process and a few seconds; the file of /proc is read outside of the mutex.
            drop(state);
            let text = groups::control_groups(call.pid);
            let found = groups::group_in(&text);
            if let Some(seen) = self.seen.get() {
                seen(call.pid, text);
            }
            state = self.lock();
            since = self.now();
            state.groups.remember(call.pid, found, since);
            group = Some(found);
        }
        // Last of all: while the mutex was let go of, its wait may have ended.
        if let Some(result) = state.answered.remove(&ticket) {
            drop(state);
            return Self::send(vec![(reply, result)]);
        }
        state.parked.insert(ticket, Parked { reply, pid: call.pid, tid: call.tid, wait: call.wait, since });
        if state.manager.waits(ticket) {
            // Its place in the queue and its deadline are as they were.
            self.wake(&mut state);
            return;
        }
        self.handle(state, None, Event::Set(ticket, call, group.unwrap_or_default()));
    }

    /// Takes an event that is no lock call.
    fn happened(&self, event: Event) {
        let _sending = self.begin();
        self.handle(self.lock(), None, event);
    }

    /// Takes one event, lets go of the mutex, and only then replies.
    fn handle(&self, mut state: MutexGuard<'_, State<R>>, ticket: Option<Ticket>, event: Event) {
        let answers = self.decide(&mut state, ticket, event);
        drop(state);
        Self::send(answers);
    }

    fn decide(&self, state: &mut State<R>, ticket: Option<Ticket>, event: Event) -> Answers<R> {
        let now = self.now();
        let mut buffer = [0; record::ENTRY_MAX_BYTES];
        if let Err(error) = state.record.append(record::entry(&mut buffer, now, ticket, &event)) {
            tracing::error!(%error, "the daemon ends");
            std::process::abort();
        }
        if state.record.is_due() {
            self.due.store(true, Relaxed);
        }
        let mut decisions = std::mem::take(&mut state.decisions);
        state.manager.handle(now, event, &mut decisions);
        let mut answers = Answers::with_capacity(decisions.len());
        for decision in decisions.drain(..) {
            match decision {
                Decision::Answer(ticket, result) => {
                    match state.parked.remove(&ticket) {
                        Some(parked) => answers.push((parked.reply, result)),
                        // A waiter of the process before this one, whose request has not come again yet.
                        None => {
                            state.answered.insert(ticket, result);
                        }
                    }
                }
                Decision::Probe { database, turn, tid } => state.probes.push((database, turn, tid)),
            }
        }
        state.decisions = decisions;
        self.wake(state);
        answers
    }

    /// Wakes the threads that have something new to do.
    fn wake(&self, state: &mut State<R>) {
        let next = state.manager.next_deadline();
        state.busy = true;
        let sooner = next.is_some_and(|next| state.armed.is_none_or(|armed| next.plus(TIMER_GRAIN_NS) < armed));
        if sooner || !state.probes.is_empty() {
            self.timer.notify_one();
        }
        if state.reaper_idle && !state.parked.is_empty() {
            state.reaper_idle = false;
            self.reaper.notify_one();
        }
    }

    fn send(answers: Answers<R>) {
        for (reply, result) in answers {
            match result {
                Ok(()) => reply.granted(),
                Err(why) => reply.refused(why.into()),
            }
        }
    }

    fn run_timer(weak: &Weak<Self>) {
        // While nothing is due, a look once a second is enough to notice the end.
        const IDLE_NS: u64 = 1_000_000_000;
        let mut watch = activity::Watch::default();
        while let Some(this) = weak.upgrade() {
            let mut state = this.lock();
            if state.ended {
                return;
            }
            let probes = std::mem::take(&mut state.probes);
            if !probes.is_empty() {
                drop(state);
                for (database, turn, tid) in probes {
                    let activity = watch.look(turn, tid);
                    this.happened(Event::Probed { database, turn, activity });
                }
                continue;
            }
            let now = this.now();
            let next = state.manager.next_deadline();
            if next.is_some_and(|next| next <= now) {
                drop(state);
                this.happened(Event::Tick);
                continue;
            }
            // While calls come and go so do deadlines: one look per grain costs less than to be woken for each.
            let soon = std::mem::take(&mut state.busy).then(|| now.plus(TIMER_GRAIN_NS)).filter(|_| next.is_some());
            let until = [next, soon].into_iter().flatten().min().unwrap_or(now.plus(IDLE_NS));
            state.armed = Some(until);
            let sleep = Duration::from_nanos(until.since(now).min(IDLE_NS));
            let (mut state, _) = this.timer.wait_timeout(state, sleep).unwrap_or_else(PoisonError::into_inner);
            // Nobody needs to wake a thread that is awake.
            state.armed = Some(Timestamp(0));
        }
    }

    /// `F_GETLK`: the record that stands in the way, if any.
    pub fn test_lock(&self, call: LockCall) -> Option<Conflict> {
        self.lock().manager.test(&call)
    }

    /// Whether a file is known for a database.
    pub fn is_database(&self, file: FileId) -> bool {
        self.lock().manager.is_database(file)
    }

    /// A handle was opened. `read_only` handles never write, so their read starts take no turn.
    pub fn opened(&self, file: FileId, handle: Handle, read_only: bool) {
        self.happened(Event::Opened { file, handle, read_only });
    }

    /// `wal_index` (a file named `X-shm`) is the WAL index of `database` (the file `X` beside it).
    pub fn set_wal_index(&self, wal_index: FileId, database: FileId) {
        self.happened(Event::WalIndex { index: wal_index, database });
    }

    /// `close(2)` of one descriptor by `owner`: drops what POSIX, or SQLite's rules on a database, say it drops. The same
    /// request sent once more drops nothing again.
    pub fn flush(&self, ticket: Ticket, file: FileId, owner: LockOwner, handle: Handle) {
        let _sending = self.begin();
        let mut state = self.lock();
        if state.answered.remove(&ticket).is_none() {
            self.handle(state, Some(ticket), Event::Flush { file, owner, handle });
        }
    }

    /// The last descriptor of `handle` is gone.
    pub fn release(&self, file: FileId, handle: Handle) {
        self.happened(Event::Release { file, handle });
    }

    /// Sets the policy of one database, whether it is open or not; it is kept until the next call or the daemon's end.
    pub fn set_policy(&self, database: FileId, policy: Policy) {
        self.happened(Event::SetPolicy(database, policy));
    }

    /// Takes and lets go of the mutex: returns if it is not stuck.
    pub fn touch(&self) {
        drop(self.lock());
    }

    /// From now on nothing is decided any more: whoever asks waits for ever.
    pub fn freeze(&self) {
        std::mem::forget(self.lock());
    }

    /// Forgets the answers of the process before this one: by now the kernel has sent again every request that it had not
    /// answered.
    pub fn forget_left(&self) {
        let left = std::mem::take(&mut self.lock().answered);
        drop(left);
    }

    /// A consistent picture of all databases and counters.
    pub fn view(&self) -> View {
        let state = self.lock();
        state.manager.view(self.now())
    }

    /// [`Self::view`] with `waiters_max` waiters of each database at most.
    pub fn view_some(&self, waiters_max: usize) -> View {
        let state = self.lock();
        state.manager.view_some(self.now(), waiters_max)
    }

    /// The counts of every database since the start, of those too that nobody has open now: much less than [`Self::view`] copies
    /// under the mutex.
    pub fn tallies(&self) -> Vec<Tally> {
        let state = self.lock();
        state.manager.tallies(self.now())
    }

    /// From now on `seen` is told of every process at its first lock call; only the first caller is heard.
    pub fn tell_of_processes(&self, seen: Seen) {
        let _ = self.seen.set(seen);
    }

    /// The processes that hold or want a lock of a database: much less than [`Self::view`] copies under the mutex.
    pub fn processes(&self) -> BTreeSet<Pid> {
        self.lock().manager.processes()
    }

    /// Holds back every new read start from now on; running transactions go on.
    pub fn stop_admitting(&self) {
        self.happened(Event::Admit(Admission::Nobody));
    }

    /// Lets transactions of connections begin again that have their WAL and its index open; others are refused from now on.
    pub fn admit_connected(&self) {
        self.happened(Event::Admit(Admission::Connected));
    }

    /// Transactions that run now: the databases and processes that hold a lock which a transaction holds (idle WAL
    /// connections do not count).
    pub fn running_transactions(&self) -> Vec<(FileId, Pid)> {
        self.lock().manager.running_transactions()
    }

    /// Whether a transaction runs on a database.
    pub fn is_running(&self, database: FileId) -> bool {
        self.lock().manager.is_running(database)
    }

    /// Refuses everything that still waits with `EAGAIN`: the last act before the daemon ends.
    pub fn refuse_waiters(&self) {
        self.happened(Event::RefuseAll);
    }
}

impl<R: Reply> Drop for Coordinator<R> {
    fn drop(&mut self) {
        self.lock().ended = true;
        self.timer.notify_all();
        self.reaper.notify_all();
    }
}
