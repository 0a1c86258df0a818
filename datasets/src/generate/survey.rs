//! What the pretraining corpus of a family is made of: shares, how often it is right, how long.

use super::{Family, Quality};

/// The texts of one quality among those surveyed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct QualityShare {
    /// The quality.
    pub quality: Quality,
    /// How many texts are of it.
    pub texts: usize,
    /// How many of those answer rightly.
    pub right: usize,
    /// Mean length of the response in words parted by spaces.
    pub mean_words: f64,
}

impl Family {
    /// Counts the first `count` texts of the corpus under a seed, by quality.
    #[must_use]
    pub fn survey(self, seed: u64, count: u64) -> Vec<QualityShare> {
        let texts: Vec<_> = (0..count).map(|index| self.worked(seed, index)).collect();
        Quality::ALL
            .into_iter()
            .map(|quality| {
                let of: Vec<_> = texts.iter().filter(|text| text.quality == quality).collect();
                let words: usize = of.iter().map(|text| text.response.split_whitespace().count()).sum();
                let right = of.iter().filter(|text| text.right).count();
                let mean_words = words as f64 / of.len().max(1) as f64;
                QualityShare { quality, texts: of.len(), right, mean_words }
            })
            .collect()
    }
}
