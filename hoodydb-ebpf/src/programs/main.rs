//! The lock tracer's programs: when a lock call on the watched mount begins, when it ends, and when a file is closed.
//!
//! Loaded by `hoodydb::tracer`. They only watch: no program changes what a call does. On every other file of the host they end
//! after the comparison of the device.
//!
//! ```text
//!   fuse_request_send   SETLK, SETLKW   the thread's call begins             -> STARTS
//!                       FLUSH, RELEASE  locks that end by close or exit      -> ROWS, EVENTS
//!   fcntl_setlk         F_SETLK ..      the thread's call ends: grants begin -> ROWS, HOLDS, EVENTS
//!   sys_enter           fcntl           begins it where fuse_request_send does not exist
//! ```
//!
//! flock(2) never gets here: the kernel keeps those locks itself. Locks of open file descriptions (F_OFD_SETLK) do.
#![cfg_attr(target_arch = "bpf", no_std, no_main, feature(asm_experimental_arch))]

mod atomic;
mod call;
mod close;
mod events;
mod holds;
mod kernel;
mod maps;
mod rows;

use aya_ebpf::macros::{btf_tracepoint, raw_tracepoint};
use aya_ebpf::programs::{BtfTracePointContext, RawTracePointContext};

/// `trace_fuse_request_send(req)`: in the thread that asks, but for requests of the background.
///
/// A raw tracepoint: FUSE may be a module, whose type information a BTF program could not use.
#[raw_tracepoint(tracepoint = "fuse_request_send")]
fn request_begins(context: RawTracePointContext) -> i32 {
    close::or_begin(kernel::Request(context.arg(0)));
    0
}

/// `trace_fcntl_setlk(inode, fl, ret)`: in the calling thread, at the end of every F_SETLK, F_SETLKW and F_OFD_SETLK.
#[btf_tracepoint(function = "fcntl_setlk")]
fn call_ends(context: BtfTracePointContext) -> i32 {
    call::ended(kernel::Inode(context.arg(0)), kernel::FileLock(context.arg(1)), context.arg(2));
    0
}

/// `trace_sys_enter(regs, id)`: at every system call of the host, so only where there is nothing better.
#[raw_tracepoint(tracepoint = "sys_enter")]
fn system_call_begins(context: RawTracePointContext) -> i32 {
    call::system_call(kernel::Registers(context.arg(0)), context.arg(1));
    0
}

#[cfg(target_arch = "bpf")]
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    // The kernel refuses a program that could get here.
    loop {}
}

#[cfg(not(target_arch = "bpf"))]
fn main() {
    eprintln!("these programs run in the kernel: cargo xtask build-ebpf");
}
