//! What the samples of one problem come to: pass@1, pass@k, the majority's answer.
//!
//! Of n samples of which c are right, pass@k is the chance that k of them, drawn without putting back, hold a right one:
//! `1 - C(n-c, k) / C(n, k)`, which is unbiased (Chen et al., "Evaluating Large Language Models Trained on Code", 2021,
//! section 2.1). pass@1 is c/n.
//!
//! cons@k is whether the answer that most of k samples give is right; of equally many, the one given first. It is
//! estimated over disjoint parts of k samples in the order of sampling (n/k of them, rounded down), since samples are
//! independent: cons@1 is pass@1. A sample without an answer has no vote.

use std::collections::BTreeMap;

/// Of each sample of one problem, whether it is right and under which key its answer votes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answers {
    /// Whether it is right.
    pub right: Vec<bool>,
    /// The key of its answer; equal answers have equal keys.
    pub votes: Vec<Option<String>>,
}

impl Answers {
    /// pass@1: the share of right samples.
    #[must_use]
    pub fn share(&self) -> f64 {
        self.right_ones() as f64 / self.right.len().max(1) as f64
    }

    /// pass@k, unbiased. `k` is at most the number of samples.
    #[must_use]
    pub fn pass_at(&self, k: usize) -> f64 {
        let (n, wrong) = (self.right.len(), self.right.len() - self.right_ones());
        if wrong < k {
            return 1.0;
        }
        // C(wrong, k) / C(n, k), factor by factor, so that nothing overflows.
        let all_wrong: f64 = (0..k).map(|i| (wrong - i) as f64 / (n - i) as f64).product();
        1.0 - all_wrong
    }

    /// cons@k: how often the majority of k samples is right.
    #[must_use]
    pub fn majority_at(&self, k: usize) -> f64 {
        let k = k.max(1);
        let parts = self.right.chunks_exact(k).zip(self.votes.chunks_exact(k));
        let number = self.right.len() / k;
        parts.filter(|(right, votes)| majority(right, votes)).count() as f64 / number.max(1) as f64
    }

    fn right_ones(&self) -> usize {
        self.right.iter().filter(|right| **right).count()
    }
}

fn majority(right: &[bool], votes: &[Option<String>]) -> bool {
    let mut counts = BTreeMap::<&str, (usize, usize)>::new();
    for (place, vote) in votes.iter().enumerate() {
        if let Some(vote) = vote {
            counts.entry(vote).or_insert((0, place)).0 += 1;
        }
    }
    // The most votes; of equally many, the smallest place.
    let best = counts.into_values().max_by_key(|(votes, place)| (*votes, std::cmp::Reverse(*place)));
    best.is_some_and(|(_, place)| right[place])
}

/// 1, 2, 4 and so on up to `samples`, and `samples` itself: for which k pass@k and cons@k are stated.
#[must_use]
pub fn powers(samples: usize) -> Vec<usize> {
    let mut powers: Vec<usize> = std::iter::successors(Some(1), |k| Some(k * 2)).take_while(|k| *k < samples).collect();
    powers.push(samples.max(1));
    powers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(right: &[u8], votes: &str) -> Answers {
        let votes = votes.chars().map(|vote| (vote != '-').then(|| vote.to_string())).collect();
        Answers { right: right.iter().map(|one| *one == 1).collect(), votes }
    }

    #[test]
    fn pass_at_k_is_the_chance_of_a_right_one_among_k() {
        // 2 of 5 right: of the 10 pairs, 3 hold two wrong ones; of the 10 triples, 1.
        let one = answers(&[1, 0, 0, 1, 0], "abcde");
        for (k, expected) in [(1, 0.4), (2, 0.7), (3, 0.9), (4, 1.0), (5, 1.0)] {
            assert!((one.pass_at(k) - expected).abs() < 1e-12, "{k}: {}", one.pass_at(k));
        }
        assert_eq!(one.share(), one.pass_at(1));
        assert_eq!(answers(&[0; 4], "abcd").pass_at(4), 0.0);
        assert_eq!(answers(&[1; 4], "aaaa").pass_at(1), 1.0);
        // Large numbers: 1 - (1 - 1/2)... by the definition's limit, not by factorials that overflow.
        let many = Answers { right: (0..2000).map(|i| i % 2 == 0).collect(), votes: vec![None; 2000] };
        assert!((many.pass_at(2) - (1.0 - 1000.0 * 999.0 / (2000.0 * 1999.0))).abs() < 1e-12);
    }

    /// The estimate over all subsets, counted out.
    #[test]
    fn pass_at_k_agrees_with_counting() {
        let right = [true, false, true, false, false, false];
        let all = Answers { right: right.to_vec(), votes: vec![None; 6] };
        for k in 1..=6_u32 {
            let subsets: Vec<u32> = (0_u32..64).filter(|set| set.count_ones() == k).collect();
            let hold = |set: &u32| (0..6).any(|i| set & (1 << i) != 0 && right[i]);
            let counted = subsets.iter().filter(|set| hold(set)).count() as f64 / subsets.len() as f64;
            assert!((all.pass_at(k as usize) - counted).abs() < 1e-12, "{k}");
        }
    }

    #[test]
    fn the_majority_is_what_most_say_and_of_equals_the_first() {
        #[track_caller]
        fn check(right: &[u8], votes: &str, k: usize, expected: f64) {
            assert_eq!(answers(right, votes).majority_at(k), expected, "{votes} {k}");
        }
        check(&[0, 1, 1, 0], "abbc", 4, 1.0);
        check(&[1, 0, 0, 1], "abba", 4, 1.0);
        check(&[0, 1, 1, 0], "abba", 4, 0.0);
        check(&[0, 0, 1, 0], "--a-", 4, 1.0);
        check(&[0, 0], "--", 2, 0.0);
        // Parts: ab | ba | rest left out.
        check(&[1, 0, 0, 1, 1], "abbaa", 2, 0.5);
        // One vote is pass@1.
        check(&[1, 0, 0, 1, 1], "abbaa", 1, 0.6);
    }

    #[test]
    fn k_goes_in_powers_of_two_to_all() {
        assert_eq!(powers(1), [1]);
        assert_eq!(powers(8), [1, 2, 4, 8]);
        assert_eq!(powers(12), [1, 2, 4, 8, 12]);
    }
}
