//! `MinHash` signatures (Broder: On the resemblance and containment of documents, 1997) and their bands (Leskovec, Rajaraman,
//! Ullman: Mining of Massive Datasets, chapter 3).
//!
//! For sets A and B and a random order of all elements, the probability that both have the same first element is their
//! Jaccard similarity. A signature has the first element under each of `permutations` orders. Cut into bands of r values,
//! two signatures agree in all of some band with probability `1 - (1 - s^r)^b`: that makes candidates, which are then
//! compared as sets. So a signature decides what is looked at and never what is dropped.

use crate::random::mix;

/// An order of all hashes: multiplication by an odd number after an exclusive or is a bijection of 64 bits; of its value the
/// upper half is kept, which the lower bits of the input reach.
#[derive(Debug, Clone, Copy)]
struct Permutation {
    flip: u64,
    odd: u64,
}

/// The hash functions of a signature.
pub(super) struct Signer {
    permutations: Vec<Permutation>,
}

impl Signer {
    pub(super) fn new(count: usize) -> Self {
        let word = |place: usize, purpose: u64| mix(mix(place as u64 + 1) ^ purpose);
        let permutations =
            (0..count).map(|place| Permutation { flip: word(place, 0x5157), odd: word(place, 0xA11C) | 1 });
        Self { permutations: permutations.collect() }
    }

    /// The smallest value of each permutation over the shingles. All values are the largest there is for no shingles.
    pub(super) fn sign(&self, shingles: &[u64]) -> Vec<u32> {
        self.permutations
            .iter()
            .map(|permutation| {
                let values = shingles.iter().map(|&shingle| (shingle ^ permutation.flip).wrapping_mul(permutation.odd));
                (values.min().unwrap_or(u64::MAX) >> 32) as u32
            })
            .collect()
    }
}

/// How well pairs exactly at the threshold are found, at least.
const RECALL: f64 = 0.999;

/// Bands and the values of each: as many values in a band as still let a pair at the threshold become a candidate with
/// probability [`RECALL`]. The more values, the fewer comparisons in vain.
pub(super) fn bands_for(permutations: usize, threshold: f64) -> (usize, usize) {
    (1..=permutations)
        .rev()
        .map(|rows| (permutations / rows, rows))
        .find(|&(bands, rows)| {
            let in_a_band = threshold.powi(i32::try_from(rows).unwrap_or(i32::MAX));
            1.0 - (1.0 - in_a_band).powi(i32::try_from(bands).unwrap_or(i32::MAX)) >= RECALL
        })
        // With so few permutations that nothing is enough: each value is a band.
        .unwrap_or((permutations, 1))
}

/// A hash of one band of a signature.
pub(super) fn band_key(band: &[u32], number: usize) -> u64 {
    band.iter().fold(mix(number as u64), |key, &value| mix(key ^ u64::from(value)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::curate::text::jaccard;
    use crate::random::Counter;

    #[test]
    fn equal_values_are_as_frequent_as_sets_are_similar() {
        let signer = Signer::new(512);
        for (shared, apart) in [(90, 5), (50, 25), (20, 40), (0, 50)] {
            let mut counter = Counter::new(&[shared, apart]);
            let mut draw = |count: u64| (0..count).map(|_| counter.next_word()).collect::<Vec<_>>();
            let common = draw(shared);
            let mut one = [common.clone(), draw(apart)].concat();
            let mut other = [common, draw(apart)].concat();
            one.sort_unstable();
            other.sort_unstable();
            let similarity = jaccard(&one, &other);
            let (left, right) = (signer.sign(&one), signer.sign(&other));
            let equal = left.iter().zip(&right).filter(|(left, right)| left == right).count() as f64 / 512.0;
            // Four standard deviations of a share of 512.
            let margin = 4.0 * (similarity * (1.0 - similarity) / 512.0).sqrt() + 0.005;
            assert!((equal - similarity).abs() <= margin, "{equal} for {similarity}");
        }
    }

    #[test]
    fn bands_find_what_is_at_the_threshold() {
        let recall =
            |bands: usize, rows: usize, threshold: f64| 1.0 - (1.0 - threshold.powi(rows as i32)).powi(bands as i32);
        for (permutations, threshold) in [(128, 0.8), (128, 0.5), (128, 0.95), (256, 0.7), (32, 0.9)] {
            let (bands, rows) = bands_for(permutations, threshold);
            assert!(recall(bands, rows, threshold) >= RECALL && bands * rows <= permutations, "{threshold}");
            // One value more in each band, and pairs at the threshold would be missed.
            assert!(recall(permutations / (rows + 1), rows + 1, threshold) < RECALL, "{threshold}: {bands} of {rows}");
        }
    }
}
