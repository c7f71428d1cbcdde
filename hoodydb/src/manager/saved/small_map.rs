//! A small map in the saved state: the bytes that the standard library's map would be.

use std::collections::BTreeMap;

use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::lock::small_map::SmallMap;

impl<K: Ord + Copy + Serialize, V: Serialize> Serialize for SmallMap<K, V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // The binary formats need the length first.
        let mut map = serializer.serialize_map(Some(self.len()))?;
        for (key, value) in self.iter() {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

impl<'de, K: Ord + Copy + Deserialize<'de>, V: Deserialize<'de>> Deserialize<'de> for SmallMap<K, V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(BTreeMap::<K, V>::deserialize(deserializer)?.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_map_is_saved_as_the_map_that_it_stands_for() {
        for entries in [0, 1, 16, 17, 300_u64] {
            let (small, model): (SmallMap<_, _>, BTreeMap<_, _>) =
                ((0..entries).map(|key| (key, key * 7)).collect(), (0..entries).map(|key| (key, key * 7)).collect());
            let saved = postcard::to_stdvec(&small).expect("it can be saved");
            assert_eq!(saved, postcard::to_stdvec(&model).expect("it can be saved"));
            let again: SmallMap<u64, u64> = postcard::from_bytes(&saved).expect("it can be read");
            assert!(again.iter().eq(model.iter()));
        }
    }
}
