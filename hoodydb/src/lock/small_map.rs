//! An ordered map that costs little while it has few entries.
//!
//! Most databases have a handful of users, so most of their maps have a handful of entries; a node of a B-tree has room for eleven
//! from the first one on. This one is a sorted list up to [`FEW`] entries, and a B-tree beyond, until it is empty again.

use std::collections::BTreeMap;
use std::ops::Bound;

/// Most entries of the list: searching it takes no longer than a B-tree's nodes.
const FEW: usize = 16;

/// The map.
///
/// # Layout
/// 32 bytes, and 1.5 times its entries on average.
#[derive(Clone, Debug)]
pub(crate) enum SmallMap<K, V> {
    Few(Vec<(K, V)>),
    Many(BTreeMap<K, V>),
}

impl<K, V> Default for SmallMap<K, V> {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

/// One of two iterators.
enum Either<A, B> {
    Few(A),
    Many(B),
}

impl<T, A: Iterator<Item = T>, B: Iterator<Item = T>> Iterator for Either<A, B> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        match self {
            Self::Few(few) => few.next(),
            Self::Many(many) => many.next(),
        }
    }
}

impl<K: Ord + Copy, V> SmallMap<K, V> {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Few(few) => few.len(),
            Self::Many(many) => many.len(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        match self {
            Self::Few(few) => place(few, key).ok().map(|at| &few[at].1),
            Self::Many(many) => many.get(key),
        }
    }

    pub(crate) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        match self {
            Self::Few(few) => place(few, key).ok().map(|at| &mut few[at].1),
            Self::Many(many) => many.get_mut(key),
        }
    }

    pub(crate) fn contains_key(&self, key: &K) -> bool {
        self.get(key).is_some()
    }

    /// The value of a key, which `make` makes where there is none.
    pub(crate) fn get_or_insert_with(&mut self, key: K, make: impl FnOnce() -> V) -> &mut V {
        if let Self::Few(few) = self
            && few.len() == FEW
            && place(few, &key).is_err()
        {
            *self = Self::Many(std::mem::take(few).into_iter().collect());
        }
        match self {
            Self::Few(few) => {
                let at = place(few, &key).unwrap_or_else(|at| {
                    if few.capacity() == 0 {
                        few.reserve_exact(1);
                    }
                    few.insert(at, (key, make()));
                    at
                });
                &mut few[at].1
            }
            Self::Many(many) => many.entry(key).or_insert_with(make),
        }
    }

    /// Gives the value that the key had.
    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<V> {
        let mut new = Some(value);
        let kept = self.get_or_insert_with(key, || new.take().expect("made once"));
        new.map(|value| std::mem::replace(kept, value))
    }

    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        match self {
            Self::Few(few) => place(few, key).ok().map(|at| few.remove(at).1),
            Self::Many(many) => {
                let removed = many.remove(key);
                if many.is_empty() {
                    *self = Self::default();
                }
                removed
            }
        }
    }

    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&K, &mut V) -> bool) {
        match self {
            Self::Few(few) => few.retain_mut(|(key, value)| keep(key, value)),
            Self::Many(many) => many.retain(keep),
        }
    }

    /// Every entry, in the order of the keys.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        match self {
            Self::Few(few) => Either::Few(few.iter().map(|(key, value)| (key, value))),
            Self::Many(many) => Either::Many(many.iter()),
        }
    }

    /// The entries from one key on, up to another, which is left out.
    pub(crate) fn range(&self, from: K, to: K) -> impl Iterator<Item = (&K, &V)> {
        match self {
            Self::Few(few) => {
                let first = few.partition_point(|(key, _)| *key < from);
                Either::Few(few[first..].iter().take_while(move |(key, _)| *key < to).map(|(key, value)| (key, value)))
            }
            Self::Many(many) if from < to => Either::Many(many.range(from..to)),
            Self::Many(many) => Either::Many(many.range((Bound::Excluded(to), Bound::Included(to)))),
        }
    }

    /// The last entry whose key is not greater.
    pub(crate) fn last_up_to(&self, key: &K) -> Option<(&K, &V)> {
        match self {
            Self::Few(few) => {
                let beyond = few.partition_point(|(other, _)| other <= key);
                few[..beyond].last().map(|(key, value)| (key, value))
            }
            Self::Many(many) => many.range(..=key).next_back(),
        }
    }
}

/// Where a key is in a sorted list, or where it belongs.
fn place<K: Ord, V>(few: &[(K, V)], key: &K) -> Result<usize, usize> {
    few.binary_search_by(|(other, _)| other.cmp(key))
}

impl<K: Ord + Copy, V> FromIterator<(K, V)> for SmallMap<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let many: BTreeMap<K, V> = entries.into_iter().collect();
        if many.len() > FEW { Self::Many(many) } else { Self::Few(many.into_iter().collect()) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever is done, it is the same map as the standard library's.
        #[test]
        fn it_is_an_ordered_map(steps in prop::collection::vec((0..6_u8, 0..40_u64, 0..40_u64), 0..200)) {
            let (mut small, mut model) = (SmallMap::default(), BTreeMap::new());
            for (what, key, other) in steps {
                match what {
                    0 | 1 => prop_assert_eq!(small.insert(key, other), model.insert(key, other)),
                    2 => prop_assert_eq!(small.remove(&key), model.remove(&key)),
                    3 => {
                        let made = small.get_or_insert_with(key, || other);
                        prop_assert_eq!(made, model.entry(key).or_insert(other));
                    }
                    4 => {
                        small.retain(|one, _| one % 7 != key % 7);
                        model.retain(|one, _| one % 7 != key % 7);
                    }
                    _ => {
                        let found: Vec<_> = small.range(key, other).collect();
                        let wanted: Vec<_> =
                            model.iter().filter(|(one, _)| **one >= key && **one < other).collect();
                        prop_assert_eq!(found, wanted);
                        prop_assert_eq!(small.last_up_to(&key), model.range(..=key).next_back());
                        prop_assert_eq!(small.get_mut(&key), model.get_mut(&key));
                    }
                }
                prop_assert!(small.iter().eq(model.iter()));
                prop_assert_eq!((small.len(), small.is_empty()), (model.len(), model.is_empty()));
            }
        }
    }
}
