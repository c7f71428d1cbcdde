//! What this kernel and this process have, apart from what follows from it. Called by [`super::Tracer::start`].
//!
//! [`Facts::gather`] looks; [`Facts::plan`] decides, and knows nothing but the facts.

use std::io;
use std::path::Path;

use hoodydb_ebpf::Offsets;

use super::btf::{BtfError, Types};

/// The kernel's own type information.
pub(super) const KERNEL_TYPES: &str = "/sys/kernel/btf/vmlinux";
/// That of FUSE where it is a module.
const MODULE_TYPES: &str = "/sys/kernel/btf/fuse";

/// Capability numbers of the uapi header capability.h.
const CAP_SYS_ADMIN: u32 = 21;
const CAP_PERFMON: u32 = 38;
const CAP_BPF: u32 = 39;

/// Why there is no tracer: which piece is missing, and how to get it.
#[derive(Debug, thiserror::Error)]
pub enum Missing {
    /// The mount was made so.
    #[error("it was left out (--no-trace): mount without that option")]
    LeftOut,
    /// The kernel has no eBPF.
    #[error("this kernel has no eBPF (CONFIG_BPF_SYSCALL): use one that is built with it")]
    Ebpf,
    /// The daemon may not load programs.
    #[error("the daemon lacks {0}: start it as root, or add the capability to its service or container")]
    Capability(&'static str),
    /// The kernel does not tell its types.
    #[error("this kernel tells no type information ({KERNEL_TYPES}): use one that is built with CONFIG_DEBUG_INFO_BTF")]
    Types,
    /// The type information is damaged, or lacks something.
    #[error("{0}: use another kernel, or a hoodydb that knows this one")]
    Field(#[from] BtfError),
    /// The tracepoint for the end of lock calls.
    #[error("this kernel has no tracepoint {0}: use one that is built with CONFIG_FTRACE and CONFIG_FILE_LOCKING")]
    Tracepoint(&'static str),
    /// The kernel refused a step.
    #[error("the kernel refused to {step}: {reason}")]
    Refused {
        /// What was tried.
        step: String,
        /// Its answer, in one line.
        reason: String,
    },
}

/// What was found.
#[derive(Debug)]
pub(super) struct Facts {
    /// Effective capabilities, a bit each; none if that could not be told.
    pub(super) capabilities: Option<u64>,
    /// Whether bpf(2) exists.
    pub(super) has_bpf: bool,
    /// The kernel's types, and those of its FUSE module; none if the kernel does not tell them.
    pub(super) types: Option<Result<Types, BtfError>>,
}

/// How calls are seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Begin {
    /// At the FUSE request: closes are seen too, and nobody else pays.
    Request,
    /// At the system call: no hold ends by close, and every system call of the host costs more.
    SystemCall,
}

/// What will be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) begin: Begin,
    pub(super) offsets: Offsets,
}

impl Facts {
    /// Looks.
    pub(super) fn gather() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let has_bpf = Path::new("/proc/sys/kernel/unprivileged_bpf_disabled").exists();
        Self { capabilities: capabilities(&status), has_bpf, types: types() }
    }

    /// Decides; `by_system_call` is the way of a kernel without FUSE tracepoints.
    pub(super) fn plan(&self, by_system_call: bool) -> Result<Plan, Missing> {
        if !self.has_bpf {
            return Err(Missing::Ebpf);
        }
        if let Some(capability) = self.missing_capability() {
            return Err(Missing::Capability(capability));
        }
        let types = match &self.types {
            None => return Err(Missing::Types),
            Some(Err(error)) => return Err(Missing::Field(BtfError::clone(error))),
            Some(Ok(types)) => types,
        };
        if !types.has_typedef("btf_trace_fcntl_setlk") {
            return Err(Missing::Tracepoint("filelock:fcntl_setlk"));
        }
        let mut offsets = Offsets::default();
        call_offsets(types, &mut offsets)?;
        if types.has_typedef("btf_trace_fuse_request_send") && !by_system_call {
            request_offsets(types, &mut offsets)?;
            return Ok(Plan { begin: Begin::Request, offsets });
        }
        if !types.has_typedef("btf_trace_sys_enter") {
            return Err(Missing::Tracepoint("fuse:fuse_request_send, nor raw_syscalls:sys_enter in its place"));
        }
        offsets.regs_second = types.first_offset(&["pt_regs.si", "pt_regs.regs"])?;
        if types.offset("pt_regs.si").is_err() {
            // An array of 64-bit registers: the second one.
            offsets.regs_second += 8;
        }
        Ok(Plan { begin: Begin::SystemCall, offsets })
    }

    fn missing_capability(&self) -> Option<&'static str> {
        // A list that could not be read is no lack: the kernel will tell.
        let has = |number: u32| self.capabilities.is_none_or(|all| all >> number & 1 == 1);
        if has(CAP_SYS_ADMIN) {
            return None;
        }
        match (has(CAP_BPF), has(CAP_PERFMON)) {
            (true, true) => None,
            (false, true) => Some("CAP_BPF"),
            (true, false) => Some("CAP_PERFMON"),
            (false, false) => Some("CAP_BPF and CAP_PERFMON"),
        }
    }
}

/// The effective capabilities in the text of /proc/PID/status.
fn capabilities(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

fn types() -> Option<Result<Types, BtfError>> {
    let kernel = std::fs::read(KERNEL_TYPES).ok()?;
    let mut types = Types::default();
    let read = types.add(&kernel).and_then(|()| match std::fs::read(MODULE_TYPES) {
        Ok(module) => types.add(&module),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(_) => Err(BtfError::Damaged),
    });
    Some(read.map(|()| types))
}

/// What the end of a call needs. Linux 6.9 moved what all kinds of locks have into a struct of its own.
fn call_offsets(types: &Types, offsets: &mut Offsets) -> Result<(), BtfError> {
    offsets.inode_sb = types.offset("inode.i_sb")?;
    offsets.inode_ino = types.offset("inode.i_ino")?;
    offsets.sb_dev = types.offset("super_block.s_dev")?;
    offsets.lock_type = types.first_offset(&["file_lock.c.flc_type", "file_lock.fl_type"])?;
    offsets.lock_flags = types.first_offset(&["file_lock.c.flc_flags", "file_lock.fl_flags"])?;
    offsets.lock_file = types.first_offset(&["file_lock.c.flc_file", "file_lock.fl_file"])?;
    offsets.lock_start = types.offset("file_lock.fl_start")?;
    offsets.lock_end = types.offset("file_lock.fl_end")?;
    offsets.file_dentry = types.offset("file.f_path.dentry")?;
    offsets.dentry_len = types.first_offset(&["dentry.d_name.len", "dentry.__d_name.len"])?;
    offsets.dentry_name = types.first_offset(&["dentry.d_name.name", "dentry.__d_name.name"])?;
    Ok(())
}

fn request_offsets(types: &Types, offsets: &mut Offsets) -> Result<(), BtfError> {
    offsets.request_mount = types.offset("fuse_req.fm")?;
    offsets.mount_connection = types.offset("fuse_mount.fc")?;
    offsets.connection_dev = types.offset("fuse_conn.dev")?;
    offsets.request_opcode = types.offset("fuse_req.in.h.opcode")?;
    offsets.request_node = types.offset("fuse_req.in.h.nodeid")?;
    offsets.request_args = types.offset("fuse_req.args")?;
    offsets.args_value = types.offset("fuse_args.in_args.value")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a kernel has that has everything.
    const STRUCTS: &[(&str, &[&str])] = &[
        ("inode", &["i_sb", "i_ino"]),
        ("super_block", &["s_dev"]),
        ("file_lock", &["fl_type", "fl_flags", "fl_file", "fl_start", "fl_end"]),
        ("pt_regs", &["di", "si"]),
    ];
    const TYPEDEFS: &[&str] = &["btf_trace_fcntl_setlk", "btf_trace_sys_enter"];

    fn facts() -> Facts {
        Facts { capabilities: Some(1 << CAP_SYS_ADMIN), has_bpf: true, types: super::types() }
    }

    fn why(facts: &Facts) -> String {
        facts.plan(false).map(|_| String::new()).unwrap_or_else(|missing| missing.to_string())
    }

    #[test]
    fn a_kernel_with_everything_is_seen_at_the_request() {
        let plan = facts().plan(false).expect("this machine has what the tests need");
        assert_eq!(plan.begin, Begin::Request);
        assert_eq!((plan.offsets.request_opcode + 12, plan.offsets.regs_second), (plan.offsets.request_node, 0));
        let plan = facts().plan(true).unwrap();
        assert_eq!((plan.begin, plan.offsets.request_opcode), (Begin::SystemCall, 0));
        assert!(plan.offsets.regs_second > 0);
    }

    #[test]
    fn what_is_missing_is_named() {
        let with = |numbers: &[u32]| {
            let capabilities = numbers.iter().map(|number| 1_u64 << number).sum();
            why(&Facts { capabilities: Some(capabilities), ..facts() })
        };
        assert_eq!(with(&[CAP_SYS_ADMIN]), "");
        assert_eq!(with(&[CAP_BPF, CAP_PERFMON]), "");
        assert!(with(&[CAP_BPF]).starts_with("the daemon lacks CAP_PERFMON: start it as root"));
        assert!(with(&[CAP_PERFMON]).starts_with("the daemon lacks CAP_BPF: "));
        assert!(with(&[]).starts_with("the daemon lacks CAP_BPF and CAP_PERFMON: "));
        assert_eq!(why(&Facts { capabilities: None, ..facts() }), "", "what cannot be told is not missing");
        assert!(why(&Facts { has_bpf: false, ..facts() }).contains("CONFIG_BPF_SYSCALL"));
        assert!(why(&Facts { types: None, ..facts() }).contains("CONFIG_DEBUG_INFO_BTF"));
        let damaged = Facts { types: Some(Err(BtfError::Damaged)), ..facts() };
        assert!(why(&damaged).starts_with("the kernel's type information cannot be read: use another kernel"));
    }

    #[test]
    fn a_kernel_that_lacks_a_piece_is_told_which() {
        let mut types = crate::tracer::btf::tests::types_of(STRUCTS, TYPEDEFS);
        let missing = why(&Facts { types: Some(Ok(types)), ..facts() });
        assert_eq!(
            missing,
            "this kernel has no file.f_path.dentry: use another kernel, or a hoodydb that knows this one"
        );
        types = crate::tracer::btf::tests::types_of(STRUCTS, &["btf_trace_sys_enter"]);
        assert!(why(&Facts { types: Some(Ok(types)), ..facts() }).contains("no tracepoint filelock:fcntl_setlk"));
    }

    #[test]
    fn capabilities_are_read_from_proc() {
        assert_eq!(capabilities("Name:\tx\nCapEff:\t000001fffeffffff\n"), Some(0x01ff_feff_ffff));
        assert_eq!(capabilities("Name:\tx\n"), None);
    }
}
