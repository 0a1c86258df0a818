//! What one optimizer step counts: the completions of its mini-batch, their tokens, and which of these are kept.

use super::Counts;
use super::entropy::top_entropy_threshold;

/// A completion as the optimizer steps on what was sampled together count it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// Its tokens.
    pub tokens: usize,
    /// Whether they count in the loss. Where they do not, the completion is still one of those that are divided by.
    pub counts: bool,
}

/// The completions of one optimizer step.
#[derive(Debug, Clone, PartialEq)]
pub struct MiniBatch {
    /// Those whose tokens count, by their places among all that were sampled together.
    pub counted: Vec<usize>,
    /// What the losses divide by.
    pub counts: Counts,
    /// The least entropy that a token must have to be kept.
    threshold: f32,
}

impl MiniBatch {
    /// Some `members` of the completions `all` that were sampled together, by their places; a pass over all of them takes
    /// `parts` optimizer steps. Every token is kept.
    ///
    /// # Panics
    /// If there is no completion at a place.
    #[must_use]
    pub fn of(all: &[Member], members: &[usize], parts: usize) -> MiniBatch {
        let counted: Vec<usize> = members.iter().copied().filter(|place| all[*place].counts).collect();
        let tokens = counted.iter().map(|place| all[*place].tokens).sum();
        let sampled_together: usize = all.iter().filter(|member| member.counts).map(|member| member.tokens).sum();
        let counts = Counts {
            completions: members.len(),
            tokens,
            kept_tokens: tokens,
            tokens_per_part: sampled_together as f64 / parts as f64,
        };
        MiniBatch { counted, counts, threshold: f32::NEG_INFINITY }
    }

    /// Keeps the `share` (0 to 1) of the tokens with the highest of these `entropies`, which are those of all that count.
    pub fn keep_top_entropies(&mut self, entropies: &[f32], share: f64) {
        self.threshold = top_entropy_threshold(entropies, share);
        self.counts.kept_tokens = self.kept(entropies).into_iter().filter(|kept| *kept).count();
    }

    /// Whether tokens of these entropies are kept.
    #[must_use]
    pub fn kept(&self, entropies: &[f32]) -> Vec<bool> {
        entropies.iter().map(|entropy| *entropy >= self.threshold).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masked_completions_are_divided_by_and_their_tokens_are_not() {
        let member = |tokens, counts| Member { tokens, counts };
        let all = [member(5, true), member(3, true), member(7, false), member(2, true), member(4, true)];
        let mut mini_batch = MiniBatch::of(&all, &[0, 2, 3], 2);
        assert_eq!(mini_batch.counted, [0, 3]);
        // 5 and 2 of 5 + 3 + 2 + 4 tokens in two parts.
        let expected = Counts { completions: 3, tokens: 7, kept_tokens: 7, tokens_per_part: 7.0 };
        assert_eq!(mini_batch.counts, expected);

        let entropies = [0.1, 0.9, 0.2, 0.8, 0.3, 0.7, 0.4];
        assert_eq!(mini_batch.kept(&entropies), [true; 7]);
        // The quantile at half of the way is 0.4.
        mini_batch.keep_top_entropies(&entropies, 0.5);
        assert_eq!(mini_batch.kept(&entropies), [false, true, false, true, false, true, true]);
        assert_eq!(mini_batch.counts, Counts { kept_tokens: 4, ..expected });
    }
}
