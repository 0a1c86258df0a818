//! What a guest's memories and tables may take.

use wasmtime::{Error, ResourceLimiter, Result};

use crate::ending::{HostFailure, is_of_the_host};

/// What all tables of function pointers of a guest may grow to, together: CPython's have 10,000 entries and do not grow.
const MOST_TABLE_ELEMENTS: usize = 100_000;

/// Refuses memory beyond the limit (Python then raises `MemoryError`) and remembers that it did. What counts is the sum
/// over all memories of an instance, and over all tables.
pub(crate) struct MemoryLimit {
    limit: usize,
    bytes: usize,
    elements: usize,
    /// Whether memory or a table was refused since the instance was made, or since somebody forgot it.
    pub(crate) refused: bool,
}

impl MemoryLimit {
    pub(crate) fn new(limit: usize) -> MemoryLimit {
        MemoryLimit { limit, bytes: 0, elements: 0, refused: false }
    }
}

/// What there will be, if it is not too much. What is refused is not counted.
fn grown(now: usize, current: usize, desired: usize, most: usize) -> Option<usize> {
    Some(now.saturating_add(desired.saturating_sub(current))).filter(|sum| *sum <= most)
}

impl ResourceLimiter for MemoryLimit {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> Result<bool> {
        // The module's own maximum refuses it, whatever is allowed here: nothing is counted, and our limit has no part in it.
        if maximum.is_some_and(|most| desired > most) {
            return Ok(false);
        }
        let bytes = grown(self.bytes, current, desired, self.limit);
        self.bytes = bytes.unwrap_or(self.bytes);
        self.refused |= bytes.is_none();
        Ok(bytes.is_some())
    }

    /// Of a growth that was allowed, this can only be the operating system: the guest must not be graded by it, so it ends
    /// here. (A growth beyond what the memory's type can express is told here too, without having been asked.)
    fn memory_grow_failed(&mut self, error: Error) -> Result<()> {
        if is_of_the_host(&error) {
            return Err(Error::new(HostFailure(format!("the system has no memory for the guest: {error:#}"))));
        }
        Ok(())
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> Result<bool> {
        if maximum.is_some_and(|most| desired > most) {
            return Ok(false);
        }
        let elements = grown(self.elements, current, desired, MOST_TABLE_ELEMENTS);
        self.elements = elements.unwrap_or(self.elements);
        self.refused |= elements.is_none();
        Ok(elements.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ending::HostFailure;

    #[test]
    fn only_what_is_there_is_counted() {
        let mut memory = MemoryLimit::new(100);
        assert!(memory.memory_growing(0, 60, None).unwrap());
        // Beyond its own maximum.
        assert!(!memory.memory_growing(60, 90, Some(80)).unwrap() && !memory.refused);
        assert!(!memory.memory_growing(60, 101, None).unwrap() && memory.refused);
        assert!(memory.memory_growing(60, 100, Some(100)).unwrap());
        assert!(!memory.memory_growing(0, 1, None).unwrap());
    }

    #[test]
    fn tables_that_are_refused_count_as_memory() {
        let mut memory = MemoryLimit::new(100);
        assert!(memory.table_growing(0, MOST_TABLE_ELEMENTS, None).unwrap() && !memory.refused);
        assert!(!memory.table_growing(0, 2, Some(1)).unwrap() && !memory.refused);
        assert!(!memory.table_growing(0, 1, None).unwrap() && memory.refused);
    }

    #[test]
    fn a_growth_that_the_system_refuses_is_not_the_guests() {
        let mut memory = MemoryLimit::new(100);
        let error = memory.memory_grow_failed(Error::new(std::io::Error::from_raw_os_error(12))).unwrap_err();
        assert!(error.is::<HostFailure>() && error.to_string().contains("os error 12"), "{error}");
        assert!(memory.memory_grow_failed(wasmtime::format_err!("memory growth exceeds memory type's limits")).is_ok());
        assert!(!memory.refused);
    }
}
