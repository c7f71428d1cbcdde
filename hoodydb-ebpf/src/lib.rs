//! Records that the lock tracer's eBPF programs share with the daemon.
//!
//! Planned; this crate holds no records and no programs yet.
#![no_std]
