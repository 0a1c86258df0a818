//! How much is decoded at once, and how much of the cache that needs.

use super::cache::Shape;
use crate::Request;

/// How much is decoded at once.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    /// Sequences side by side.
    pub(super) batch: usize,
    /// Of a completion, of which the prompt leaves room for so many.
    pub(super) max_tokens: usize,
    /// Of the model.
    pub(super) positions: usize,
    /// Pages that what all prompts begin with fills.
    pub(super) shared_pages: usize,
    /// Tokens of prompts computed at once.
    pub(super) prompt_rows: usize,
}

/// The request that needs most of the cache, if it is decoded alone.
pub(super) struct Least {
    pub(super) task: u32,
    pub(super) prompt: usize,
    /// Most tokens of a completion.
    pub(super) completion: usize,
    pub(super) pages: usize,
}

impl Plan {
    /// Most tokens of a completion.
    pub(super) fn limit(&self, request: &Request) -> usize {
        self.max_tokens.min(self.positions - request.prompt.len())
    }

    /// Pages of a prompt beyond the shared ones.
    pub(super) fn prompt_pages(&self, request: &Request, shape: Shape) -> usize {
        shape.pages_of(request.prompt.len()) - self.shared_pages
    }

    /// Pages that a completion may fill, the one that it begins in among them. Its last token is never cached.
    pub(super) fn own_pages(&self, request: &Request, shape: Shape) -> usize {
        let tokens = request.prompt.len() + self.limit(request) - 1;
        shape.pages_of(tokens) - request.prompt.len() / shape.page_tokens
    }

    /// What the request needs that needs most.
    pub(super) fn least_pages(&self, requests: &[Request], shape: Shape) -> Least {
        let sampled = requests.iter().filter(|request| request.samples > 0);
        let each = sampled.map(|request| Least {
            task: request.task,
            prompt: request.prompt.len(),
            completion: self.limit(request),
            pages: self.shared_pages + self.prompt_pages(request, shape) + self.own_pages(request, shape),
        });
        each.max_by_key(|least| least.pages).unwrap_or(Least { task: 0, prompt: 0, completion: 0, pages: 0 })
    }

    /// What a full batch may need.
    pub(super) fn most_pages(&self, requests: &[Request], shape: Shape) -> usize {
        let most = |pages: &dyn Fn(&Request) -> usize| requests.iter().map(pages).max().unwrap_or(0);
        let own = most(&|request| self.own_pages(request, shape));
        let prompt = most(&|request| self.prompt_pages(request, shape));
        self.shared_pages + self.batch * own + self.batch.min(requests.len()) * prompt
    }

    /// Rows of prompts that are ever computed at once.
    pub(super) fn prompt_rows_of(&self, requests: &[Request], shape: Shape) -> usize {
        let shared = self.shared_pages * shape.page_tokens;
        let rows = shared + requests.iter().map(|request| request.prompt.len() - shared).sum::<usize>();
        rows.min(self.prompt_rows)
    }
}

/// How many rows a step for so many sequences has, at most `most`: few different numbers, since each step is recorded for
/// itself, and never many more than are needed.
pub(super) fn rows_of(sequences: usize, most: usize) -> usize {
    let rows = match sequences {
        0..=64 => sequences.next_power_of_two(),
        65..=128 => sequences.next_multiple_of(32),
        129..=256 => sequences.next_multiple_of(64),
        _ => sequences.next_multiple_of(128),
    };
    rows.min(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_have_rows_for_all_sequences_and_few_numbers_of_them() {
        let numbers: std::collections::BTreeSet<usize> = (1..=256).map(|sequences| rows_of(sequences, 256)).collect();
        assert!(numbers.into_iter().eq([1, 2, 4, 8, 16, 32, 64, 96, 128, 192, 256]));
        assert!((1..600).all(|sequences| rows_of(sequences, 600) >= sequences));
        assert_eq!((rows_of(5, 6), rows_of(300, 1000), rows_of(600, 600)), (6, 384, 600));
    }
}
