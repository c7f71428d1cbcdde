//! Several words at once: written down first, then carried out; the next worker carries out again what was written down.
//!
//! # Layout
//! The number of pairs (0: nothing to do), then pairs of word and value. The values are absolute, so carrying them out twice is
//! the same as once.

use super::Memory;
use super::layout::REDO_PAIRS;

/// Changes that happen together.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pairs: Vec<(usize, u64)>,
}

impl Changes {
    /// This word shall have this value; one that has it already costs nothing.
    pub(super) fn set(&mut self, memory: &Memory, index: usize, value: u64) {
        if memory.get(index) != value {
            self.pairs.push((index, value));
        }
    }

    /// All of them, or, if the process is killed before, none. The caller has the mutex of the tables that they change.
    ///
    /// # Panics
    /// If they are more than the area has room for.
    pub(super) fn commit(self, memory: &Memory) {
        crate::fault::point();
        // One word needs no help.
        if let [(index, value)] = self.pairs[..] {
            memory.put(index, value);
        } else if !self.pairs.is_empty() {
            let area = memory.layout().redo;
            assert!(self.pairs.len() <= REDO_PAIRS, "{} changes at once", self.pairs.len());
            for (place, (index, value)) in self.pairs.iter().enumerate() {
                memory.put(area + 1 + 2 * place, *index as u64);
                memory.put(area + 2 + 2 * place, *value);
            }
            memory.put(area, self.pairs.len() as u64);
            crate::fault::point();
            carry_out(memory);
        }
        crate::fault::point();
    }
}

/// Carries out what is written down.
pub(super) fn carry_out(memory: &Memory) {
    let area = memory.layout().redo;
    let count = usize::try_from(memory.get(area)).unwrap_or(0).min(REDO_PAIRS);
    for place in 0..count {
        let index = usize::try_from(memory.get(area + 1 + 2 * place)).unwrap_or(usize::MAX);
        if index < memory.layout().end {
            memory.put(index, memory.get(area + 2 + 2 * place));
        }
    }
    memory.put(area, 0);
}
