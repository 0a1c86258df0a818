//! Verdicts already reached: a bounded table that many threads share.
//!
//! A policy that has learned writes the same program many times over, and the sandbox's outcome depends on
//! nothing but the program and the tests; so a pair is run once. Two generations bound the memory without
//! bookkeeping at each use: when the younger is full it becomes the older, and the older is dropped.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::Score;

/// Verdicts in one generation; at most twice as many are held, a few hundred bytes each.
const GENERATION: usize = 8192;

/// What was run, in full: a clash of hashes must not hand a score to another program.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key(Box<str>);

impl Key {
    pub(crate) fn new(submission: &str, setup: &str, assertions: &[String]) -> Self {
        // The lengths come first, so that no two triples are written alike.
        let mut text = format!("{} {}\n{setup}{submission}", setup.len(), submission.len());
        for assertion in assertions {
            text.push_str(&format!("\n{} {assertion}", assertion.len()));
        }
        Self(text.into_boxed_str())
    }
}

#[derive(Default)]
struct Generations {
    young: HashMap<Key, Score>,
    old: HashMap<Key, Score>,
}

/// The table. Sharded, so that threads seldom wait for one another.
pub(crate) struct Memo {
    shards: [Mutex<Generations>; 8],
    hasher: RandomState,
}

impl Memo {
    pub(crate) fn new() -> Self {
        Self { shards: Default::default(), hasher: RandomState::new() }
    }

    pub(crate) fn get(&self, key: &Key) -> Option<Score> {
        let mut shard = self.shard(key);
        if let Some(score) = shard.young.get(key) {
            return Some(score.clone());
        }
        let score = shard.old.remove(key)?;
        shard.young.insert(key.clone(), score.clone());
        Some(score)
    }

    pub(crate) fn put(&self, key: Key, score: Score) {
        let mut shard = self.shard(&key);
        if shard.young.len() >= GENERATION / self.shards.len() {
            shard.old = std::mem::take(&mut shard.young);
        }
        shard.young.insert(key, score);
    }

    fn shard(&self, key: &Key) -> MutexGuard<'_, Generations> {
        let index = self.hasher.hash_one(key) as usize % self.shards.len();
        // Nothing that holds the lock can leave the maps half changed.
        self.shards[index].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(submission: &str) -> Key {
        Key::new(submission, "", &["assert f() == 1".to_owned()])
    }

    #[test]
    fn remembers_and_stays_bounded() {
        let memo = Memo::new();
        for index in 0..10 * GENERATION {
            memo.put(key(&index.to_string()), Score::full());
        }
        let held = (0..10 * GENERATION).filter(|index| memo.get(&key(&index.to_string())).is_some()).count();
        assert!((GENERATION / 2..=2 * GENERATION).contains(&held), "{held}");
        assert_eq!(memo.get(&key("never")), None);
        let last = (10 * GENERATION - 1).to_string();
        assert_eq!(memo.get(&key(&last)), Some(Score::full()));
    }

    #[test]
    fn keys_do_not_run_together() {
        let assertions = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        assert_ne!(Key::new("ab", "", &[]), Key::new("b", "a", &[]));
        assert_ne!(Key::new("a", "", &assertions(&["x", "y"])), Key::new("a", "", &assertions(&["x\n1 y"])));
    }
}
