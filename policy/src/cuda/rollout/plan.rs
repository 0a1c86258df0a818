//! How much is decoded at once, and how much of the cache that needs.

use device::Memory;

use super::cache::Shape;
use crate::Request;

/// Memory that is left to what comes and goes: products' workspace, uploads, what is copied of completions.
const KEPT_BACK: usize = 1 << 30;
/// The part of a card's memory, one in so many, that the driver and other programs may have and no plan counts on.
const OTHERS: usize = 16;
/// Pages of the cache are a multiple of this, if there is memory for so many.
const PAGE_STEP: usize = 64;

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

/// How many of the pages that are wanted the cache gets. Their number decides which sequences are decoded together, and with that
/// products' rounding: so it follows from the card's whole memory and from what the run itself holds there, which are the same
/// each time. Only where other programs have more of it than their part are there as many as what is left has room for.
pub(super) fn pages_on_card(wanted: usize, page_bytes: usize, memory: Memory) -> usize {
    let Memory { free, total, held } = memory;
    let room = |bytes: usize| in_steps(bytes.saturating_sub(KEPT_BACK) / page_bytes);
    wanted.min(room((total - total / OTHERS).saturating_sub(held))).min(room(free))
}

/// A number of pages rounded down to whole steps, as long as there is one: a few more bytes in use than the last time must not
/// change it.
pub(super) fn in_steps(pages: usize) -> usize {
    if pages < PAGE_STEP { pages } else { pages / PAGE_STEP * PAGE_STEP }
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

    /// A card of 80 GiB, of which the run holds 20, and pages of 2 MiB.
    #[test]
    fn the_cache_has_as_many_pages_whatever_is_free() {
        const GIB: usize = 1 << 30;
        let pages = |wanted, free| pages_on_card(wanted, GIB / 512, Memory { free, total: 80 * GIB, held: 20 * GIB });
        let planned = (80 - 5 - 20 - 1) * 512;
        // The driver has a part, another time another program some of it too.
        for free in [60 * GIB, 59 * GIB + 12345, 57 * GIB, 55 * GIB] {
            assert_eq!(pages(100_000, free), planned, "{free}");
        }
        // What is enough is enough; and who finds the card full makes do.
        assert_eq!(pages(1000, 55 * GIB), 1000);
        assert_eq!(pages(100_000, 41 * GIB), 40 * 512);
        assert_eq!(pages(100_000, 3 * GIB / 2 + (2 << 20)), 256);
        assert_eq!(pages(100_000, GIB + (7 << 20)), 3);
        assert_eq!(pages(100_000, GIB / 2), 0);
    }

    #[test]
    fn steps_have_rows_for_all_sequences_and_few_numbers_of_them() {
        let numbers: std::collections::BTreeSet<usize> = (1..=256).map(|sequences| rows_of(sequences, 256)).collect();
        assert!(numbers.into_iter().eq([1, 2, 4, 8, 16, 32, 64, 96, 128, 192, 256]));
        assert!((1..600).all(|sequences| rows_of(sequences, 600) >= sequences));
        assert_eq!((rows_of(5, 6), rows_of(300, 1000), rows_of(600, 600)), (6, 384, 600));
    }
}
