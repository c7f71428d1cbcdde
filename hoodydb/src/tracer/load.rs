//! Programs and maps on their way into the kernel, and back from another process. Called by [`super::Tracer`].

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use aya::maps::{Array, HashMap, Map, MapData, RingBuf};
use aya::programs::{BtfTracePoint, ProgramError, ProgramFd, RawTracePoint};
use aya::{Btf, Ebpf, EbpfLoader};
use hoodydb_ebpf::{Fold, Record, Row, RowKey, Target};

use super::support::{Begin, KERNEL_TYPES, Plan};
use super::{Handed, Missing, Watched};

/// The programs; `cargo xtask build-ebpf` makes them from hoodydb-ebpf/src.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("CARGO_MANIFEST_DIR"), "/../hoodydb-ebpf/locks.bpf.o"));

/// Offset of SQLite's PENDING byte (os.h).
const PENDING: u64 = 0x4000_0000;

/// A record as aya takes it.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(super) struct Plain<T>(pub(super) T);

// SAFETY: a record has no padding and every bit pattern is one of its values; the wrapper adds nothing.
unsafe impl<T: Record> aya::Pod for Plain<T> {}

/// The maps that the daemon reads.
pub(super) struct Maps {
    pub(super) rows: HashMap<MapData, Plain<RowKey>, Plain<Row>>,
    pub(super) overflow: Array<MapData, Plain<Row>>,
    pub(super) counts: Array<MapData, u64>,
    pub(super) switch: Array<MapData, u32>,
    pub(super) journal: Array<MapData, Plain<Fold>>,
    pub(super) events: RingBuf<MapData>,
    numbers: [RawFd; MAPS],
    rows_max: usize,
}

/// Names of [`Maps`], in their order.
const NAMES: [&str; MAPS] = ["ROWS", "OVERFLOW", "COUNTS", "SWITCH", "JOURNAL", "EVENTS"];

/// How many those are.
pub(super) const MAPS: usize = 6;

/// Most links of one tracer.
pub(super) const LINKS: usize = 2;

impl Maps {
    pub(super) fn descriptors(&self) -> [RawFd; MAPS] {
        self.numbers
    }

    /// Most rows there is room for.
    pub(super) fn rows_max(&self) -> usize {
        self.rows_max
    }

    /// Maps in the order of [`NAMES`].
    fn of(maps: [Map; MAPS]) -> Result<Self, aya::maps::MapError> {
        let number = |map: &Map| match map {
            Map::HashMap(data) | Map::Array(data) | Map::RingBuf(data) => data.fd().as_fd().as_raw_fd(),
            _ => -1,
        };
        let numbers = maps.each_ref().map(number);
        let rows_max = match &maps[0] {
            Map::HashMap(data) => data.info()?.max_entries() as usize,
            _ => 0,
        };
        let [rows, overflow, counts, switch, journal, events] = maps;
        Ok(Self {
            rows: rows.try_into()?,
            overflow: overflow.try_into()?,
            counts: counts.try_into()?,
            switch: switch.try_into()?,
            journal: journal.try_into()?,
            events: events.try_into()?,
            numbers,
            rows_max,
        })
    }
}

/// What the kernel said, in one line: an error of aya tells its causes one by one, and a verifier's words are many lines.
pub(super) fn refused(step: impl Into<String>, error: &(dyn std::error::Error + 'static)) -> Missing {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let reasons: Vec<String> =
        causes.map(|cause| cause.to_string().lines().next().unwrap_or_default().to_owned()).collect();
    Missing::Refused { step: step.into(), reason: reasons.join(": ") }
}

/// Loads and attaches.
pub(super) fn load(watched: &Watched, plan: &Plan) -> Result<(Maps, Vec<OwnedFd>), Missing> {
    let target = Plain(Target {
        device: kernel_device(watched.device),
        by_system_call: u32::from(plan.begin == Begin::SystemCall),
        pending: PENDING,
        fcntl_number: u64::try_from(libc::SYS_fcntl).unwrap_or(u64::MAX),
    });
    let offsets = Plain(plan.offsets);
    let types = Btf::from_sys_fs().map_err(|error| refused(format!("read {KERNEL_TYPES}"), &error))?;
    let mut loaded = EbpfLoader::new()
        .btf(Some(&types))
        .override_global("TARGET", &target, true)
        .override_global("OFFSETS", &offsets, true)
        .map_max_entries("STARTS", watched.sizes.starts)
        .map_max_entries("ROWS", watched.sizes.rows)
        .map_max_entries("HOLDS", watched.sizes.holds)
        .map_max_entries("EVENTS", watched.sizes.events_bytes)
        .load(OBJECT)
        .map_err(|error| refused("make the tables", &error))?;
    let begins = match plan.begin {
        Begin::Request => ("request_begins", c"fuse_request_send"),
        Begin::SystemCall => ("system_call_begins", c"sys_enter"),
    };
    // The end first: a begin without an end would stay in its table.
    let ends = attach_end(&mut loaded, &types)?;
    let begins = attach_begin(&mut loaded, begins.0, begins.1)?;
    let maps = NAMES.map(|name| loaded.take_map(name));
    let missing = || Missing::Refused { step: "find the tables".to_owned(), reason: "the object lacks one".to_owned() };
    let mut found = Vec::with_capacity(MAPS);
    for map in maps {
        found.push(map.ok_or_else(missing)?);
    }
    let maps = <[Map; MAPS]>::try_from(found).map_err(|_| missing())?;
    let maps = Maps::of(maps).map_err(|error| refused("open the tables", &error))?;
    Ok((maps, vec![ends, begins]))
}

fn attach_end(loaded: &mut Ebpf, types: &Btf) -> Result<OwnedFd, Missing> {
    const NAME: &str = "call_ends";
    let wrong = |error: ProgramError| refused(format!("load {NAME}"), &error);
    let program = loaded.program_mut(NAME).ok_or_else(|| wrong(ProgramError::NotLoaded))?;
    let program: &mut BtfTracePoint = program.try_into().map_err(wrong)?;
    program.load("fcntl_setlk", types).map_err(wrong)?;
    attach(program.fd().map_err(wrong)?, None).map_err(|error| refused(format!("attach {NAME}"), &error))
}

fn attach_begin(loaded: &mut Ebpf, name: &str, tracepoint: &CStr) -> Result<OwnedFd, Missing> {
    let wrong = |error: ProgramError| refused(format!("load {name}"), &error);
    let program = loaded.program_mut(name).ok_or_else(|| wrong(ProgramError::NotLoaded))?;
    let program: &mut RawTracePoint = program.try_into().map_err(wrong)?;
    program.load().map_err(wrong)?;
    attach(program.fd().map_err(wrong)?, Some(tracepoint))
        .map_err(|error| refused(format!("attach {name} to {}", tracepoint.to_string_lossy()), &error))
}

/// Attaches a program to its tracepoint, or to the one named. aya does not give the descriptor of a link away, which is to
/// outlive this process.
///
/// # Source
/// bpf(2), `BPF_RAW_TRACEPOINT_OPEN`: a pointer to the name, then the program.
fn attach(program: &ProgramFd, tracepoint: Option<&CStr>) -> io::Result<OwnedFd> {
    const BPF_RAW_TRACEPOINT_OPEN: libc::c_int = 17;
    #[repr(C)]
    struct Attributes {
        name: u64,
        program: u32,
        padding: u32,
    }
    let program = u32::try_from(program.as_fd().as_raw_fd()).map_err(io::Error::other)?;
    let name = tracepoint.map_or(0, |name| name.as_ptr() as u64);
    let attributes = Attributes { name, program, padding: 0 };
    // SAFETY: the kernel reads the attributes and the name, which both outlive the call.
    let fd = unsafe {
        libc::syscall(libc::SYS_bpf, BPF_RAW_TRACEPOINT_OPEN, &raw const attributes, size_of::<Attributes>())
    };
    let fd = RawFd::try_from(fd).ok().filter(|fd| *fd >= 0).ok_or_else(io::Error::last_os_error)?;
    // SAFETY: a new descriptor, nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// `st_dev` as the kernel writes it inside.
fn kernel_device(device: u64) -> u32 {
    rustix::fs::major(device) << 20 | rustix::fs::minor(device)
}

/// Takes over what another process loaded; none if it is anything else.
///
/// # Safety
/// The descriptors are nobody else's, or none.
pub(super) unsafe fn adopt(handed: &Handed) -> Option<(Maps, Vec<OwnedFd>)> {
    let (maps, links) = handed.descriptors.split_first_chunk::<MAPS>()?;
    let links: Vec<RawFd> = links.iter().copied().filter(|fd| *fd >= 0).collect();
    // A program in between that knew nothing of them has closed them, and the numbers may be other files' by now.
    let are_ours = handed.begin().is_some()
        && maps.iter().zip(NAMES).all(|(fd, name)| is_map(*fd, name))
        && links.iter().all(|fd| is_link(*fd));
    if !are_ours {
        return None;
    }
    // SAFETY: the caller's, and they are what they should be.
    let own = |fd: RawFd| unsafe { OwnedFd::from_raw_fd(fd) };
    let links = links.into_iter().map(own).collect();
    let mut opened = Vec::with_capacity(MAPS);
    for fd in maps {
        opened.push(MapData::from_fd(own(*fd)).and_then(Map::from_map_data).ok()?);
    }
    Some((Maps::of(opened.try_into().ok()?).ok()?, links))
}

/// Whether a descriptor is a map of this name.
fn is_map(fd: RawFd, name: &str) -> bool {
    // SAFETY: looked at only; a number that is not open is EBADF.
    let copy = (fd >= 0).then(|| unsafe { BorrowedFd::borrow_raw(fd) }.try_clone_to_owned());
    let Some(Ok(copy)) = copy else { return false };
    let named = |map: MapData| map.info().is_ok_and(|info| info.name_as_str() == Some(name));
    MapData::from_fd(copy).is_ok_and(named)
}

/// Whether a descriptor is a link of a program.
fn is_link(fd: RawFd) -> bool {
    let target = std::fs::read_link(format!("/proc/self/fd/{fd}"));
    target.is_ok_and(|target| target.as_os_str().as_encoded_bytes().starts_with(b"anon_inode:bpf"))
}
