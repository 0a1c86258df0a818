//! Verdicts already reached: a bounded table that many threads share.
//!
//! A policy that has learned writes the same program many times over, and the sandbox's outcome depends on
//! nothing but the program and the tests; so a pair is run once. Two generations bound the memory without
//! bookkeeping at each use: when the younger is full it becomes the older, and the older is dropped.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash as _, Hasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};

use sha2::{Digest as _, Sha256};

use crate::{Reference, Score};

/// Verdicts in one generation; at most twice as many are held, some hundred bytes each.
const GENERATION: usize = 8192;

/// What was run: the SHA-256 of question, submission and tests. Tests may be many megabytes, and a clash must not hand a score to another
/// program.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key([u8; 32]);

impl Key {
    #[cfg(test)]
    pub(crate) fn new(submission: &str, reference: &Reference) -> Self {
        Self::asked("", submission, reference)
    }

    pub(crate) fn asked(question: &str, submission: &str, reference: &Reference) -> Self {
        let mut parts = Parts(Sha256::new());
        question.hash(&mut parts);
        submission.hash(&mut parts);
        reference.hash(&mut parts);
        Self(parts.0.finalize().into())
    }
}

/// `Hash` into SHA-256: the standard library marks where each text and list ends, so that no two values are written alike.
struct Parts(Sha256);

impl Hasher for Parts {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Never asked: the digest is taken whole.
    fn finish(&self) -> u64 {
        0
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

    fn tests(setup: &str, assertions: &[&str]) -> Reference {
        let assertions = assertions.iter().map(|text| (*text).to_owned()).collect();
        Reference::Tests { setup: setup.to_owned(), assertions }
    }

    fn key(submission: &str) -> Key {
        Key::new(submission, &tests("", &["assert f() == 1"]))
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
        assert_ne!(Key::new("ab", &tests("", &[])), Key::new("a", &tests("b", &[])));
        assert_ne!(Key::new("a", &tests("", &["x", "y"])), Key::new("a", &tests("", &["xy"])));
        assert_ne!(Key::new("a", &tests("", &["x", "y"])), Key::new("a", &tests("x", &["y"])));
        assert_ne!(Key::asked("a", "b", &tests("", &[])), Key::asked("", "b", &tests("", &[])));
    }
}
