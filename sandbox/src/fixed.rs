//! What is the same for every guest: its clock and its random bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Time that passes only when the guest looks at the clock or sleeps: sleeping takes none of ours, and a program that waits
/// in a loop for a moment to come sees it come. Clones are the same clock.
#[derive(Clone, Default)]
pub(crate) struct VirtualClock(Arc<AtomicU64>);

impl VirtualClock {
    /// What the wall clock shows at the beginning, since 1970: 2026-01-01.
    pub(crate) const EPOCH: Duration = Duration::from_secs(1_767_225_600);
    /// How far one look at the clock moves it.
    pub(crate) const STEP: Duration = Duration::from_micros(10);

    /// Nanoseconds since the beginning, moved on by this look.
    pub(crate) fn look(&self) -> u64 {
        self.advance(Self::STEP.as_nanos() as u64)
    }

    /// The time of day, moved on by this look.
    pub(crate) fn look_at_wall(&self) -> Duration {
        Self::EPOCH + Duration::from_nanos(self.look())
    }

    /// Nanoseconds since the beginning, after moving on by so many.
    pub(crate) fn advance(&self, nanoseconds: u64) -> u64 {
        // One instance runs on one thread, so the two steps are not raced. Saturating: a program may sleep for ever.
        let now = self.0.load(Ordering::Relaxed).saturating_add(nanoseconds);
        self.0.store(now, Ordering::Relaxed);
        now
    }
}

/// The same bytes for every guest, without end: SplitMix64.
///
/// Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
#[derive(Default)]
pub(crate) struct FixedRandom(u64);

impl FixedRandom {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Fills `bytes`, from a new number on.
    pub(crate) fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_le_bytes()[..chunk.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// The first numbers for the seed 0, as the paper's own program (and Java's `SplittableRandom`) gives them.
    #[test]
    fn random_numbers_are_those_of_splitmix64() {
        let mut random = FixedRandom::default();
        assert_eq!(
            [random.next(), random.next(), random.next()],
            [0xE220_A839_7B1D_CDAF, 0x6E78_9E6A_A1B9_65F4, 0x06C4_5D18_8009_454F]
        );
        let mut bytes = vec![0; 1 << 20];
        random.fill(&mut bytes);
        let words: HashSet<&[u8]> = bytes.chunks(8).collect();
        assert_eq!(words.len(), bytes.len() / 8);
    }

    #[test]
    fn the_clock_moves_when_it_is_looked_at() {
        let clock = VirtualClock::default();
        assert_eq!((clock.look(), clock.clone().look()), (10_000, 20_000));
        assert_eq!(clock.advance(0), 20_000);
        assert_eq!(clock.look_at_wall(), VirtualClock::EPOCH + Duration::from_micros(30));
        assert_eq!(clock.advance(u64::MAX), u64::MAX);
        assert_eq!(clock.look(), u64::MAX);
    }
}
