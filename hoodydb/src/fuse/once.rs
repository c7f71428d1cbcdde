//! A request that must take effect once, although the kernel may send it to two workers.
//!
//! The first worker notes what it does in a slot of the shared tables; it may die at any point before the reply. The next one
//! takes back what was counted for the request, and carries it out as one that may have been carried out already: a name that
//! is there now and was not before is the request's own work.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::io::Errno;

use super::adopt::RESENT;
use super::inodes::Inodes;
use super::requests;
use crate::handover::{Memory, Operation, Operations};

/// The requests at work.
#[derive(Debug)]
pub(super) struct AtWork {
    operations: Arc<Operations>,
    /// Those of the process before this one; most of them were answered, and never come again.
    left: Mutex<HashMap<u64, Operation>>,
}

impl AtWork {
    /// As the process before this one left them.
    pub(super) fn new(memory: &Memory) -> Self {
        let (operations, left) = Operations::open(memory);
        Self { operations, left: Mutex::new(left.into_iter().collect()) }
    }

    /// A request that the kernel sent; `unique` is as it came.
    pub(super) fn request(&self, unique: u64) -> Once {
        let number = unique & !RESENT;
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        // Not even looked for, but after a handover.
        let operation = if left.is_empty() { None } else { left.remove(&number) };
        Once { operations: Arc::clone(&self.operations), number, is_repeated: operation.is_some(), operation }
    }

    /// Forgets what will not come again.
    pub(super) fn forget_left(&self) {
        let left = std::mem::take(&mut *self.left.lock().unwrap_or_else(PoisonError::into_inner));
        drop(left);
    }
}

/// One such request; dropped after its reply.
#[derive(Debug)]
pub(super) struct Once {
    operations: Arc<Operations>,
    number: u64,
    operation: Option<Operation>,
    is_repeated: bool,
}

impl Once {
    /// The request's number, the same each time it is sent.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// What was written down when the request was first carried out; none if it was not.
    pub(super) fn before(&self) -> Option<[u64; 6]> {
        self.operation.as_ref().filter(|_| self.is_repeated).map(Operation::arguments)
    }

    /// Writes down what is about to be done. The second time nothing is written: the first time counts.
    ///
    /// # Errors
    /// ENFILE if too many requests are at work.
    pub(super) fn begin(&mut self, kind: requests::Operation, arguments: [u64; 6]) -> io::Result<()> {
        if self.operation.is_none() {
            let begun = self.operations.begin(self.number, kind as u64, arguments);
            self.operation = Some(begun.map_err(|_| Errno::NFILE)?);
        }
        Ok(())
    }

    /// The slot, for what is counted.
    ///
    /// # Errors
    /// As [`Self::begin`].
    pub(super) fn operation(&mut self) -> io::Result<&mut Operation> {
        self.begin(requests::Operation::Lookup, [0; 6])?;
        self.operation.as_mut().ok_or_else(|| Errno::NFILE.into())
    }

    /// Takes back the last inode that was counted.
    pub(super) fn take_back_one(&mut self, inodes: &Inodes) {
        if let Some(operation) = &self.operation {
            drop(inodes.take_back(operation));
        }
    }

    /// Takes back everything that was counted.
    pub(super) fn take_back(&mut self, inodes: &Inodes) {
        while self.counted() > 0 {
            self.take_back_one(inodes);
        }
    }

    /// How many inodes were counted.
    pub(super) fn counted(&self) -> usize {
        self.operation.as_ref().map_or(0, Operation::counted)
    }
}
