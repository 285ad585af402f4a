//! Eviction order of a bounded set of keys: expired keys first, then SIEVE.
//!
//! SIEVE (NSDI 2024) evicts the oldest key that was not used since the hand last
//! passed it. Compared with LRU, a hit only sets a flag.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

/// Order of insertion and of expiry. Each key has exactly one entry in both, so
/// both are as large as the set.
pub(super) struct Sieve<K> {
    last: u64,
    /// From the oldest to the newest.
    nodes: BTreeMap<u64, Node<K>>,
    /// Position at which the search for a key to evict continues.
    hand: u64,
    /// Expiry and number of each node.
    expiries: BTreeSet<(u64, u64)>,
}

struct Node<K> {
    key: K,
    expires_at: u64,
}

impl<K> Sieve<K> {
    pub(super) fn new() -> Self {
        Self {
            last: 0,
            nodes: BTreeMap::new(),
            hand: 0,
            expiries: BTreeSet::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Adds a key as the newest and returns its number.
    pub(super) fn push(&mut self, key: K, expires_at: u64) -> u64 {
        let number = self.last + 1;
        self.restore(number, key, expires_at);
        number
    }

    /// Adds a key under its previous number.
    pub(super) fn restore(&mut self, number: u64, key: K, expires_at: u64) {
        self.last = self.last.max(number);
        self.nodes.insert(number, Node { key, expires_at });
        self.expiries.insert((expires_at, number));
    }

    /// Changes the expiry of a key, if the set has it.
    pub(super) fn set_expiry(&mut self, number: u64, expires_at: u64) {
        if let Some(node) = self.nodes.get_mut(&number) {
            self.expiries.remove(&(node.expires_at, number));
            node.expires_at = expires_at;
            self.expiries.insert((expires_at, number));
        }
    }

    pub(super) fn remove(&mut self, number: u64) -> Option<K> {
        let node = self.nodes.remove(&number)?;
        self.expiries.remove(&(node.expires_at, number));
        Some(node.key)
    }

    /// The key that expired first, if any has expired.
    pub(super) fn expired(&self, now: u64) -> Option<(u64, &K)> {
        let (_, number) = self.expiries.first().filter(|(at, _)| *at <= now)?;
        self.nodes.get(number).map(|node| (*number, &node.key))
    }

    /// The next key to evict for which `is_kept` returns false. After two
    /// rounds without one, the next key is evicted in any case, so that the set
    /// stays bounded.
    pub(super) fn victim(&mut self, is_kept: impl Fn(&K) -> bool) -> Option<u64> {
        let mut skips = 2 * self.nodes.len();
        loop {
            let after_hand = (Bound::Excluded(self.hand), Bound::Unbounded);
            let (number, node) = self
                .nodes
                .range(after_hand)
                .next()
                .or_else(|| self.nodes.iter().next())?;
            self.hand = *number;
            if skips == 0 || !is_kept(&node.key) {
                return Some(*number);
            }
            skips -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b15_unused_keys_are_evicted_oldest_first() {
        let mut sieve = Sieve::new();
        for key in 0..4 {
            sieve.push(key, 100);
        }
        let used = |key: &u32| *key == 0 || *key == 2;
        let mut evicted = Vec::new();
        while let Some(number) = sieve.victim(used) {
            evicted.extend(sieve.remove(number));
        }
        assert_eq!(
            evicted,
            [1, 3, 0, 2],
            "kept keys are evicted last, after two rounds"
        );
    }

    #[test]
    fn b15_each_key_has_exactly_one_expiry() {
        let mut sieve = Sieve::new();
        for round in 0..1_000 {
            let number = sieve.push(round, round);
            sieve.set_expiry(number, round + 5_000);
            sieve.set_expiry(number, round + 9_000);
            if sieve.len() > 10 {
                let victim = sieve.victim(|_| false);
                sieve.remove(victim.unwrap());
            }
            assert_eq!(sieve.expiries.len(), sieve.nodes.len());
        }
        assert_eq!(sieve.len(), 10);
        sieve.set_expiry(1, 7);
        assert_eq!(sieve.expiries.len(), 10, "an evicted key has no expiry");
    }

    #[test]
    fn b15_key_that_expires_first_is_found() {
        let mut sieve = Sieve::new();
        sieve.push("late", 50);
        let early = sieve.push("early", 20);
        assert_eq!(sieve.expired(19), None);
        assert_eq!(sieve.expired(20), Some((early, &"early")));
        sieve.set_expiry(early, 60);
        assert_eq!(sieve.expired(50).map(|(_, key)| *key), Some("late"));
    }
}
