//! Map for many reads and few writes.
//!
//! A reader takes no lock and writes nothing that other readers use: it looks up
//! the current table of its shard. A writer copies the table of the shard,
//! changes the copy and swaps it in; with many shards a table is small. A fork at
//! any moment therefore leaves a consistent map.

use std::hash::{BuildHasher as _, Hash};

use arc_swap::ArcSwap;
use foldhash::fast::RandomState;
use hashbrown::{Equivalent, HashTable};
use once_cell::race::OnceBox;

/// With 100,000 keys a table has 400 entries. Copying it takes microseconds;
/// fetching the value of the new key takes hundreds of microseconds.
const SHARDS: usize = 256;

type Shard<K, T> = ArcSwap<HashTable<(K, T)>>;

pub(super) struct ReadMap<K, T> {
    /// Made on first use: many clients keep no value here, and making and dropping
    /// shards costs more than the rest of a client.
    shards: OnceBox<[Shard<K, T>; SHARDS]>,
    hasher: RandomState,
}

impl<K, T> ReadMap<K, T>
where
    K: Clone + Eq + Hash,
    T: Clone,
{
    pub(super) fn new() -> Self {
        Self {
            shards: OnceBox::new(),
            hasher: RandomState::default(),
        }
    }

    fn make(&self) -> &[Shard<K, T>; SHARDS] {
        self.shards
            .get_or_init(|| Box::new(std::array::from_fn(|_| ArcSwap::default())))
    }

    /// Calls `read` with the value of a key, if the map has it.
    #[inline]
    pub(super) fn with<Q, R>(&self, key: &Q, read: impl FnOnce(&T) -> R) -> Option<R>
    where
        Q: Hash + Equivalent<K>,
    {
        self.with_or_default(key, |value| Some(read(value)))
    }

    /// As [`with`](Self::with), with the default as the result for a missing key.
    #[inline]
    pub(super) fn with_or_default<Q, R>(&self, key: &Q, read: impl FnOnce(&T) -> R) -> R
    where
        Q: Hash + Equivalent<K>,
        R: Default,
    {
        let hash = self.hasher.hash_one(key);
        let shards = self.shards.get();
        let Some(shard) = shards.and_then(|shards| shard(shards, hash)) else {
            return R::default();
        };
        let table = shard.load();
        match table.find(hash, |(other, _)| key.equivalent(other)) {
            Some((_, value)) => read(value),
            None => R::default(),
        }
    }

    /// Adds or replaces a key. The caller ensures that one writer runs at a time.
    pub(super) fn insert(&self, key: K, value: T) {
        let hash = self.hasher.hash_one(&key);
        let Some(shard) = shard(self.make(), hash) else {
            return;
        };
        let mut table = HashTable::clone(&shard.load());
        if let Ok(old) = table.find_entry(hash, |(other, _)| *other == key) {
            old.remove();
        }
        table.insert_unique(hash, (key, value), |(key, _)| self.hasher.hash_one(key));
        shard.store(table.into());
    }

    /// Removes a key. The caller ensures that one writer runs at a time.
    pub(super) fn remove(&self, key: &K) {
        let hash = self.hasher.hash_one(key);
        let Some(shard) = self.shards.get().and_then(|shards| shard(shards, hash)) else {
            return;
        };
        let mut table = HashTable::clone(&shard.load());
        if let Ok(entry) = table.find_entry(hash, |(other, _)| other == key) {
            entry.remove();
            shard.store(table.into());
        }
    }

    /// Calls `visit` for each key and value, one shard at a time.
    pub(super) fn for_each(&self, mut visit: impl FnMut(&K, &T)) {
        for shard in self.shards.get().into_iter().flatten() {
            for (key, value) in shard.load().iter() {
                visit(key, value);
            }
        }
    }
}

#[inline]
fn shard<K, T>(shards: &[Shard<K, T>; SHARDS], hash: u64) -> Option<&Shard<K, T>> {
    // The table uses the top seven bits of the hash as tags and the low bits as
    // positions. The middle bits are free.
    shards.get((hash >> 32) as usize % SHARDS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b15_keys_are_found_until_they_are_removed() {
        let map = ReadMap::new();
        for key in 0..5_000_u32 {
            map.insert(key, key * 2);
        }
        for key in 0..5_000 {
            assert_eq!(map.with(&key, |value| *value), Some(key * 2));
        }
        map.insert(7, 1);
        assert_eq!(map.with(&7, |value| *value), Some(1));
        for key in 0..2_500 {
            map.remove(&key);
            map.remove(&key);
        }
        let mut left = Vec::new();
        map.for_each(|key, _| left.push(*key));
        left.sort_unstable();
        assert_eq!(left, (2_500..5_000).collect::<Vec<_>>());
        assert_eq!(map.with(&3, |_| ()), None);
    }
}
