//! What is left after a death at every single store: the state before, or the state after, never anything between.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::mem::ManuallyDrop;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};

use proptest::prelude::*;

use super::*;

thread_local! {
    static STORES_LEFT: Cell<Option<usize>> = const { Cell::new(None) };
}

/// Dies here, if a test wants the thread to die before this store.
pub(super) fn crash_point() {
    let left = STORES_LEFT.get();
    if left == Some(0) {
        STORES_LEFT.set(None);
        // Not panic!: nothing is printed for thousands of them.
        std::panic::resume_unwind(Box::new("killed"));
    }
    STORES_LEFT.set(left.map(|left| left - 1));
}

/// Runs `act` and kills it before its store number `stores`; true if it came to its end before that.
fn dies_after(stores: usize, act: impl FnOnce()) -> bool {
    STORES_LEFT.set(Some(stores));
    let ended = catch_unwind(AssertUnwindSafe(|| {
        act();
        // What is dropped at the end of a whole act is dropped alive.
        STORES_LEFT.set(None);
    }));
    STORES_LEFT.set(None);
    ended.is_ok()
}

fn small() -> Memory {
    Memory::create(Limits { inodes: 8, handles: 8, operations: 4, log_bytes: 512, checkpoint_bytes: 256 }).unwrap()
}

/// Everything that a successor sees.
#[derive(Clone, Debug, Default, PartialEq)]
struct Seen {
    inodes: BTreeMap<u64, InodeRecord>,
    handles: BTreeMap<u64, HandleRecord>,
    operations: BTreeMap<u64, (u64, [u64; 6], Vec<u64>)>,
    state: Option<Vec<u8>>,
    entries: Vec<Vec<u8>>,
    context: Vec<u8>,
}

fn seen(memory: &Memory) -> Seen {
    // As another process would: by the descriptor.
    let fd: OwnedFd = memory.fd().try_clone().unwrap();
    let memory = Memory::open(fd).unwrap();
    memory.recover();
    let inodes = InodeTable::open(&memory).1.into_iter().map(|(_, inode)| (inode.node, inode)).collect();
    let handles = HandleTable::open(&memory).1.into_iter().map(|(_, handle)| (handle.handle, handle)).collect();
    let mut operations = BTreeMap::new();
    for (unique, operation) in Operations::open(&memory).1 {
        let counted = (0..operation.counted()).map(|index| operation.counted_at(index)).collect();
        operations.insert(unique, (operation.kind(), operation.arguments(), counted));
        // The slot stays as it is.
        std::mem::forget(operation);
    }
    let log = Log::open(&memory);
    Seen { inodes, handles, operations, state: log.state(), entries: log.entries(), context: memory.context() }
}

/// Kills `act` before each of its stores in turn, each time on fresh memory made by `prepare`.
fn all_or_nothing<T>(prepare: impl Fn(&Memory) -> T, act: impl Fn(&Memory, T)) {
    let before = {
        let memory = small();
        std::mem::forget(prepare(&memory));
        seen(&memory)
    };
    let after = {
        let memory = small();
        let prepared = prepare(&memory);
        act(&memory, prepared);
        seen(&memory)
    };
    assert_ne!(before, after, "the act does something");
    let (mut befores, mut afters) = (0, 0);
    for stores in 0.. {
        let memory = small();
        let prepared = prepare(&memory);
        let ended = dies_after(stores, || act(&memory, prepared));
        match seen(&memory) {
            left if left == before => befores += 1,
            left if left == after => afters += 1,
            left => panic!("killed before store {stores}: {left:#?}\nneither {before:#?}\nnor {after:#?}"),
        }
        if ended {
            break;
        }
    }
    assert!(befores > 0 && afters > 0, "{befores} times as before, {afters} times as after");
}

fn inode(node: u64, name: &str) -> InodeRecord {
    InodeRecord {
        node,
        dev: 3,
        ino: node,
        parent: 1,
        lookups: 1,
        path_fd: Some(40),
        name: name.as_bytes().to_vec(),
        ..InodeRecord::default()
    }
}

const LONG: &str = "a name of many letters, so that it takes more than one word of the table, and more than two";

#[test]
fn an_inode_is_there_or_not() {
    all_or_nothing(
        |memory| InodeTable::open(memory).0,
        |_, mut table| _ = table.insert(&inode(7, LONG), None).unwrap(),
    );
    all_or_nothing(
        |memory| {
            let mut table = InodeTable::open(memory).0;
            let slot = table.insert(&inode(7, LONG), None).unwrap();
            (table, slot)
        },
        |_, (mut table, slot)| table.remove(slot, None),
    );
}

#[test]
fn a_rename_is_one_change() {
    let one = |memory: &Memory| {
        let mut table = InodeTable::open(memory).0;
        let slot = table.insert(&inode(7, LONG), None).unwrap();
        (table, slot)
    };
    all_or_nothing(one, |_, (mut table, slot)| {
        table.update(slot, &InodeRecord { parent: 9, nameless: true, ..inode(7, "b") }, None);
    });
}

#[test]
fn a_lookup_is_counted_in_both_tables_or_in_none() {
    let begun = |memory: &Memory| {
        let mut table = InodeTable::open(memory).0;
        let slot = table.insert(&inode(7, "a"), None).unwrap();
        let mut operation = Operations::open(memory).0.begin(100, 1, [1, 2, 3, 4, 5, 6]).unwrap();
        operation.about_to_count(7);
        (table, slot, operation)
    };
    all_or_nothing(begun, |_, (mut table, slot, operation)| {
        // A killed process drops nothing.
        let operation = ManuallyDrop::new(operation);
        table.update(slot, &InodeRecord { lookups: 2, ..inode(7, "a") }, Some(Effect::Counted(&operation)));
    });
    let counted = |memory: &Memory| {
        let (mut table, slot, operation) = begun(memory);
        table.update(slot, &InodeRecord { lookups: 2, ..inode(7, "a") }, Some(Effect::Counted(&operation)));
        (table, slot, operation)
    };
    all_or_nothing(counted, |_, (mut table, slot, operation)| {
        let operation = ManuallyDrop::new(operation);
        table.remove(slot, Some(Effect::TakenBack(&operation)));
    });
}

#[test]
fn an_operation_is_at_work_or_not() {
    all_or_nothing(
        |memory| Operations::open(memory).0,
        |_, operations| std::mem::forget(operations.begin(100, 1, [9; 6]).unwrap()),
    );
    all_or_nothing(|memory| Operations::open(memory).0.begin(100, 1, [9; 6]).unwrap(), |_, operation| drop(operation));
}

fn handle(number: u64) -> HandleRecord {
    let (opened_by, opener) = (100, 4_000_000);
    HandleRecord {
        handle: number,
        node: 7,
        dev: 3,
        ino: 7,
        opened_by,
        fd: 41,
        read_only: true,
        no_flush: false,
        opener,
    }
}

#[test]
fn a_handle_is_there_or_not() {
    all_or_nothing(|memory| HandleTable::open(memory).0, |_, mut table| _ = table.insert(&handle(5)).unwrap());
    let one = |memory: &Memory| {
        let mut table = HandleTable::open(memory).0;
        let slot = table.insert(&handle(5)).unwrap();
        (table, slot)
    };
    all_or_nothing(one, |_, (mut table, slot)| table.remove(slot));
}

#[test]
fn an_entry_is_there_or_not() {
    all_or_nothing(Log::open, |_, mut log| log.append(b"an entry of the log").unwrap());
}

#[test]
fn a_checkpoint_takes_the_place_of_its_entries() {
    let with_entries = |memory: &Memory| {
        let mut log = Log::open(memory);
        log.checkpoint(b"the first state").unwrap();
        log.append(b"one").unwrap();
        log.append(b"two").unwrap();
        log
    };
    all_or_nothing(with_entries, |_, mut log| log.checkpoint(b"the second state").unwrap());
}

#[test]
fn a_text_is_replaced_as_a_whole() {
    let texts = |memory: &Memory| memory.set_context(b"the first text, longer than the second").unwrap();
    all_or_nothing(texts, |memory, ()| memory.set_context(b"the second text").unwrap());
}

#[test]
fn full_tables_say_so_and_lose_nothing() {
    let memory = small();
    let (mut inodes, mut handles) = (InodeTable::open(&memory).0, HandleTable::open(&memory).0);
    let operations = Operations::open(&memory).0;
    let slots: Vec<Slot> = (2..10).map(|node| inodes.insert(&inode(node, "x"), None).unwrap()).collect();
    assert_eq!(inodes.insert(&inode(10, "x"), None), Err(TableFull { table: "inodes", slots: 8 }));
    inodes.remove(slots[3], None);
    inodes.insert(&inode(11, "y"), None).unwrap();
    (1..9).for_each(|number| _ = handles.insert(&handle(number)).unwrap());
    assert!(handles.insert(&handle(9)).is_err());
    let at_work: Vec<Operation> = (1..5).map(|unique| operations.begin(unique, 0, [0; 6]).unwrap()).collect();
    assert!(operations.begin(5, 0, [0; 6]).is_err());
    drop(at_work);
    assert!(operations.begin(5, 0, [0; 6]).is_ok());
    let mut log = Log::open(&memory);
    while log.append(&[7; 30]).is_ok() {}
    assert!(log.is_due());
    assert_eq!(log.checkpoint(&[1; 257]), Err(LogFull));
    let left = seen(&memory);
    assert_eq!(left.inodes.keys().copied().collect::<Vec<_>>(), [2, 3, 4, 6, 7, 8, 9, 11]);
    assert_eq!(left.handles.len(), 8);
    assert_eq!(left.entries.len(), 12);
}

#[test]
fn foreign_memory_is_refused() {
    let memory = small();
    memory.put(1, LAYOUT_VERSION + 1);
    let found = Memory::open(memory.fd().try_clone().unwrap()).unwrap_err().to_string();
    assert_eq!(found, "its tables have version 2, this hoodydb knows version 1");
    memory.put(1, LAYOUT_VERSION);
    memory.put(2, 9000);
    assert!(matches!(Memory::open(memory.fd().try_clone().unwrap()), Err(LayoutError::Size { .. })));
    memory.put(2, u64::MAX);
    assert!(matches!(Memory::open(memory.fd().try_clone().unwrap()), Err(LayoutError::NotOurs)));
    let null = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null").unwrap();
    assert!(matches!(Memory::open(null.into()), Err(LayoutError::NotOurs)));
    // Shared memory that somebody could still make shorter.
    let unsealed = rustix::fs::memfd_create("x", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    rustix::fs::ftruncate(&unsealed, 1 << 20).unwrap();
    assert!(matches!(Memory::open(unsealed), Err(LayoutError::NotOurs)));
}

#[derive(Clone, Debug)]
enum Act {
    Insert(u64, String),
    Rename(usize, String),
    Lookups(usize, u64),
    Remove(usize),
    Open(u64),
    Close(usize),
    Entry(Vec<u8>),
    Checkpoint(Vec<u8>),
}

fn acts() -> impl Strategy<Value = Vec<(Act, Option<usize>)>> {
    let act = prop_oneof![
        (2..50_u64, ".{0,40}").prop_map(|(node, name)| Act::Insert(node, name)),
        (0..8_usize, ".{0,40}").prop_map(|(which, name)| Act::Rename(which, name)),
        (0..8_usize, 1..9_u64).prop_map(|(which, count)| Act::Lookups(which, count)),
        (0..8_usize).prop_map(Act::Remove),
        (1..50_u64).prop_map(Act::Open),
        (0..8_usize).prop_map(Act::Close),
        proptest::collection::vec(any::<u8>(), 0..40).prop_map(Act::Entry),
        proptest::collection::vec(any::<u8>(), 0..200).prop_map(Act::Checkpoint),
    ];
    proptest::collection::vec((act, proptest::option::weighted(0.3, 0..60_usize)), 1..60)
}

/// Does one act on the memory as it is; false if there is nothing to do it on.
fn do_act(memory: &Memory, act: &Act) {
    let (mut inodes, records) = InodeTable::open(memory);
    let (mut handles, open) = HandleTable::open(memory);
    let mut log = Log::open(memory);
    match act {
        Act::Insert(node, name) => {
            if records.iter().all(|(_, record)| record.node != *node) {
                let _ = inodes.insert(&inode(*node, name), None);
            }
        }
        Act::Rename(which, name) => {
            if let Some((slot, record)) = records.get(*which) {
                inodes.update(*slot, &InodeRecord { name: name.as_bytes().to_vec(), ..record.clone() }, None);
            }
        }
        Act::Lookups(which, count) => {
            if let Some((slot, _)) = records.get(*which) {
                inodes.set_lookups(*slot, *count);
            }
        }
        Act::Remove(which) => {
            if let Some((slot, _)) = records.get(*which) {
                inodes.remove(*slot, None);
            }
        }
        Act::Open(number) => {
            if open.iter().all(|(_, record)| record.handle != *number) {
                let _ = handles.insert(&handle(*number));
            }
        }
        Act::Close(which) => {
            if let Some((slot, _)) = open.get(*which) {
                handles.remove(*slot);
            }
        }
        Act::Entry(bytes) => _ = log.append(bytes),
        Act::Checkpoint(bytes) => _ = log.checkpoint(bytes),
    }
}

proptest! {
    /// The same acts on memory whose worker is killed now and then, and is followed by another that does the act again if it
    /// was not done: both see the same in the end.
    #[test]
    fn many_deaths_change_nothing(acts in acts()) {
        let (killed, undisturbed) = (small(), small());
        for (act, death) in acts {
            let before = seen(&undisturbed);
            do_act(&undisturbed, &act);
            let after = seen(&undisturbed);
            if let Some(stores) = death {
                dies_after(stores, || do_act(&killed, &act));
                killed.recover();
                let left = seen(&killed);
                prop_assert!(left == before || left == after, "{act:?} killed before store {stores}: {left:#?}");
                if left != after {
                    do_act(&killed, &act);
                }
            } else {
                do_act(&killed, &act);
            }
            prop_assert_eq!(seen(&killed), after);
        }
    }
}
