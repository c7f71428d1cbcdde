//! What the kernel's structs say, read at the offsets of the kernel that runs. Called by every program.
//!
//! A plain load needs the type of what it reads, which a BTF tracepoint's arguments have; the others are read by a helper. Either
//! way an address that cannot be read gives 0.

use aya_ebpf::helpers::bpf_probe_read_kernel;
use hoodydb_ebpf::{Offsets, Target};

/// Set by the loader before the kernel checks the programs.
#[unsafe(no_mangle)]
static OFFSETS: Offsets = Offsets {
    inode_sb: 0,
    inode_ino: 0,
    sb_dev: 0,
    lock_type: 0,
    lock_flags: 0,
    lock_file: 0,
    lock_start: 0,
    lock_end: 0,
    file_dentry: 0,
    dentry_len: 0,
    dentry_name: 0,
    request_mount: 0,
    mount_connection: 0,
    connection_dev: 0,
    request_opcode: 0,
    request_node: 0,
    request_args: 0,
    args_value: 0,
    regs_second: 0,
    reserved: 0,
};

/// Set by the loader.
#[unsafe(no_mangle)]
static TARGET: Target = Target { device: 0, by_system_call: 0, pending: 0, fcntl_number: 0 };

macro_rules! offset {
    ($field:ident) => {
        set_by_loader(&OFFSETS.$field) as usize
    };
}

/// Reads what the loader has put in place of what the compiler sees.
#[inline(always)]
fn set_by_loader<T: Copy>(word: &'static T) -> T {
    // SAFETY: a reference.
    unsafe { core::ptr::read_volatile(word) }
}

/// Reads a field.
///
/// # Safety
/// `base` is a pointer of the kernel's, and `offset` that of a field of type `T` in what it points to.
#[inline(always)]
unsafe fn load<T: Copy>(base: *const u8, offset: usize) -> T {
    // SAFETY: as above; the kernel's verifier checks the type of the field too. Volatile keeps it one load.
    unsafe { core::ptr::read_volatile(base.add(offset).cast::<T>()) }
}

/// Reads a field through a helper, which bears any address.
#[inline(always)]
fn probe<T: Copy + Default>(base: usize, offset: usize) -> T {
    // SAFETY: the helper checks the address.
    unsafe { bpf_probe_read_kernel((base + offset) as *const T) }.unwrap_or_default()
}

/// Whether calls begin at the system call.
#[inline(always)]
pub(crate) fn by_system_call() -> bool {
    set_by_loader(&TARGET.by_system_call) == 1
}

/// The number of fcntl(2).
#[inline(always)]
pub(crate) fn fcntl_number() -> u64 {
    set_by_loader(&TARGET.fcntl_number)
}

/// Offset of SQLite's PENDING byte.
#[inline(always)]
pub(crate) fn pending() -> u64 {
    set_by_loader(&TARGET.pending)
}

/// `struct inode`.
pub(crate) struct Inode(pub(crate) *const u8);

impl Inode {
    #[inline(always)]
    pub(crate) fn is_watched(&self) -> bool {
        // SAFETY: a tracepoint's inode, and the fields that the offsets name.
        let device: u32 = unsafe {
            let super_block: *const u8 = load(self.0, offset!(inode_sb));
            load(super_block, offset!(sb_dev))
        };
        device == set_by_loader(&TARGET.device)
    }

    #[inline(always)]
    pub(crate) fn number(&self) -> u64 {
        // SAFETY: as above.
        unsafe { load(self.0, offset!(inode_ino)) }
    }
}

/// `struct file_lock`; null where the kernel had no memory for one.
pub(crate) struct FileLock(pub(crate) *const u8);

impl FileLock {
    #[inline(always)]
    pub(crate) fn is_none(&self) -> bool {
        self.0.is_null()
    }

    #[inline(always)]
    pub(crate) fn kind(&self) -> u8 {
        // SAFETY: a tracepoint's lock that is not null, and the field that the offset names.
        unsafe { load(self.0, offset!(lock_type)) }
    }

    #[inline(always)]
    pub(crate) fn flags(&self) -> u32 {
        // SAFETY: as above.
        unsafe { load(self.0, offset!(lock_flags)) }
    }

    #[inline(always)]
    pub(crate) fn start(&self) -> u64 {
        // SAFETY: as above.
        unsafe { load(self.0, offset!(lock_start)) }
    }

    #[inline(always)]
    pub(crate) fn end(&self) -> u64 {
        // SAFETY: as above.
        unsafe { load(self.0, offset!(lock_end)) }
    }

    /// Whether the file's name ends in "-shm".
    #[inline(always)]
    pub(crate) fn is_wal_index(&self) -> bool {
        // SAFETY: as above; the name is read by a helper that bears any address.
        unsafe {
            let file: *const u8 = load(self.0, offset!(lock_file));
            let entry: *const u8 = load(file, offset!(file_dentry));
            let length: u32 = load(entry, offset!(dentry_len));
            let name: usize = load(entry, offset!(dentry_name));
            length > 4
                && matches!(bpf_probe_read_kernel((name + length as usize - 4) as *const [u8; 4]), Ok(end) if end == *b"-shm")
        }
    }
}

/// `struct fuse_req`.
pub(crate) struct Request(pub(crate) usize);

impl Request {
    #[inline(always)]
    pub(crate) fn is_watched(&self) -> bool {
        let mount: usize = probe(self.0, offset!(request_mount));
        let connection: usize = probe(mount, offset!(mount_connection));
        probe::<u32>(connection, offset!(connection_dev)) == set_by_loader(&TARGET.device)
    }

    #[inline(always)]
    pub(crate) fn opcode(&self) -> u32 {
        probe(self.0, offset!(request_opcode))
    }

    #[inline(always)]
    pub(crate) fn node(&self) -> u64 {
        probe(self.0, offset!(request_node))
    }

    /// The body of the request.
    #[inline(always)]
    pub(crate) fn body<T: Copy>(&self) -> Option<T> {
        let arguments: usize = probe(self.0, offset!(request_args));
        let value: usize = probe(arguments, offset!(args_value));
        // SAFETY: the helper checks the address.
        unsafe { bpf_probe_read_kernel(value as *const T) }.ok()
    }
}

/// `struct pt_regs`.
pub(crate) struct Registers(pub(crate) usize);

impl Registers {
    /// The second argument of the system call.
    #[inline(always)]
    pub(crate) fn second(&self) -> u64 {
        probe(self.0, offset!(regs_second))
    }
}
