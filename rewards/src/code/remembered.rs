//! What was found out about tests, whatever the submission: a bounded table that threads share.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use crate::RewardError;

/// Entries at most. A table that is full is emptied: it only saves work.
const ENTRIES: usize = 1_024;

pub(super) struct Remembered<K, V>(Mutex<HashMap<K, Arc<V>>>);

impl<K, V> Default for Remembered<K, V> {
    fn default() -> Self {
        Self(Mutex::new(HashMap::new()))
    }
}

impl<K: Hash + Eq, V> Remembered<K, V> {
    /// What is known of `key`, or what `find` finds; kept where `lasts` says so.
    pub(super) fn of(
        &self,
        key: K,
        find: impl FnOnce() -> Result<V, RewardError>,
        lasts: impl FnOnce(&V) -> bool,
    ) -> Result<Arc<V>, RewardError> {
        let known = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(value) = known().get(&key) {
            return Ok(Arc::clone(value));
        }
        let value = Arc::new(find()?);
        if lasts(&value) {
            let mut known = known();
            if known.len() >= ENTRIES {
                known.clear();
            }
            known.insert(key, Arc::clone(&value));
        }
        Ok(value)
    }
}
