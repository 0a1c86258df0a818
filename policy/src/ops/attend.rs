//! One token's attention over earlier tokens that lie in blocks: in decoding over the cache, in training over the batch.
//!
//! Tokens lie side by side in [`TokenBlocks`], so the scores of a block's tokens are computed in the lanes of a vector,
//! without a sum across lanes. A token's lane is its position in its sequence modulo [`BLOCK`], and the sums over tokens are
//! kept lane by lane until the end. So the result does not depend on how the sequence is cut into runs, to the bit: a
//! template, a prompt and a completion in the cache, or as many segments of a packed batch. Heads that read the same key are
//! computed together, up to four at once, so that what they read is loaded once.

use super::sum::{LANES, fold};
use super::{Real, vectorised};

/// Tokens that lie side by side.
pub(crate) const BLOCK: usize = LANES;

/// A run of tokens, `[blocks, width, BLOCK]`.
#[derive(Debug, Clone)]
pub(crate) struct TokenBlocks<T> {
    width: usize,
    /// The lane of the first token.
    first: usize,
    tokens: usize,
    /// Zeros where a block holds no token.
    numbers: Vec<[T; BLOCK]>,
}

/// The first tokens of a run.
#[derive(Clone, Copy)]
pub(crate) struct Tokens<'a, T> {
    numbers: &'a [[T; BLOCK]],
    width: usize,
    first: usize,
    /// How many they are; the last block may hold more, which do not count.
    count: usize,
}

impl<T: Real> TokenBlocks<T> {
    /// No tokens yet; the first will stand at `position` of its sequence.
    pub(crate) fn new(width: usize, position: usize, capacity: usize) -> Self {
        let first = position % BLOCK;
        let numbers = Vec::with_capacity((first + capacity).div_ceil(BLOCK) * width);
        TokenBlocks { width, first, tokens: 0, numbers }
    }

    /// Appends one token's row.
    pub(crate) fn push(&mut self, row: &[T]) {
        debug_assert_eq!(row.len(), self.width);
        let (block, lane) = ((self.first + self.tokens) / BLOCK, (self.first + self.tokens) % BLOCK);
        if self.numbers.len() <= block * self.width {
            self.numbers.resize((block + 1) * self.width, [T::zero(); BLOCK]);
        }
        self.numbers[block * self.width..].iter_mut().zip(row).for_each(|(lanes, value)| lanes[lane] = *value);
        self.tokens += 1;
    }

    /// The first `count` tokens.
    pub(crate) fn first(&self, count: usize) -> Tokens<'_, T> {
        let blocks = if count == 0 { 0 } else { (self.first + count).div_ceil(BLOCK) };
        Tokens { numbers: &self.numbers[..blocks * self.width], width: self.width, first: self.first, count }
    }
}

impl<'a, T: Real> Tokens<'a, T> {
    /// Each block's `[width, BLOCK]`.
    #[inline(always)]
    fn blocks(&self) -> std::slice::ChunksExact<'a, [T; BLOCK]> {
        self.numbers.chunks_exact(self.width)
    }

    /// Minus infinity for the lanes of block `index` that hold none of the tokens.
    #[inline(always)]
    fn mask(&self, index: usize, scores: &mut [T; BLOCK]) {
        let hidden = T::from_f64(f64::NEG_INFINITY);
        if index == 0 {
            scores[..self.first].fill(hidden);
        }
        if let Some(absent) = scores.get_mut(self.first + self.count - index * BLOCK..) {
            absent.fill(hidden);
        }
    }
}

/// Where in a token's row the key and the value lie that some heads share.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) key: usize,
    pub(crate) key_width: usize,
    pub(crate) value: usize,
    pub(crate) value_width: usize,
}

/// Memory that is used again from row to row.
pub(crate) struct Scratch<T> {
    query: Vec<T>,
    /// `[heads, blocks, BLOCK]`
    scores: Vec<[T; BLOCK]>,
}

impl<T> Default for Scratch<T> {
    fn default() -> Self {
        Scratch { query: Vec::new(), scores: Vec::new() }
    }
}

/// Attention of heads that share a key: `query` `[heads, key width]`, scaled; `out` `[heads, value width]`. `totals`, where
/// it is wanted, receives the log-sum-exp of each head's scores.
pub(crate) fn attend<T: Real>(
    query: &[T],
    place: Place,
    chain: &[Tokens<'_, T>],
    (out, totals): (&mut [T], Option<&mut [T]>),
    scratch: &mut Scratch<T>,
) {
    vectorised(
        #[inline(always)]
        || {
            let (mut query, mut out, mut totals) = (query, out, totals);
            loop {
                let heads = match query.len() / place.key_width {
                    0 => return,
                    1 => few::<T, 1>(query, place, chain, (out, totals.as_deref_mut()), scratch),
                    2 | 3 => few::<T, 2>(query, place, chain, (out, totals.as_deref_mut()), scratch),
                    _ => few::<T, 4>(query, place, chain, (out, totals.as_deref_mut()), scratch),
                };
                query = &query[heads * place.key_width..];
                out = &mut out[heads * place.value_width..];
                totals = totals.map(|totals| &mut totals[heads..]);
            }
        },
    );
}

/// The first `H` heads.
#[inline(always)]
fn few<T: Real, const H: usize>(
    query: &[T],
    place: Place,
    chain: &[Tokens<'_, T>],
    (out, totals): (&mut [T], Option<&mut [T]>),
    scratch: &mut Scratch<T>,
) -> usize {
    let Place { key, key_width, value, value_width } = place;
    let Scratch { query: turned, scores } = scratch;
    turned.resize(H * key_width, T::zero());
    for head in 0..H {
        let heads = turned.as_chunks_mut::<H>().0;
        heads.iter_mut().zip(&query[head * key_width..]).for_each(|(heads, q)| heads[head] = *q);
    }
    let turned = turned.as_chunks::<H>().0;
    let blocks: usize = chain.iter().map(|tokens| tokens.blocks().len()).sum();
    scores.resize(H * blocks, [T::zero(); BLOCK]);

    let mut at = 0;
    for tokens in chain {
        for (index, block) in tokens.blocks().enumerate() {
            let mut sums = [[T::zero(); BLOCK]; H];
            for (query, row) in turned.iter().zip(&block[key..key + key_width]) {
                for head in 0..H {
                    for token in 0..BLOCK {
                        sums[head][token] = Real::mul_add(query[head], row[token], sums[head][token]);
                    }
                }
            }
            for head in 0..H {
                scores[head * blocks + at] = sums[head];
                tokens.mask(index, &mut scores[head * blocks + at]);
            }
            at += 1;
        }
    }

    let mut sums_of_weights = [T::zero(); H];
    let mut logs = [T::zero(); H];
    for (head, scores) in scores.chunks_exact_mut(blocks).enumerate().take(H) {
        let mut lanes = [T::from_f64(f64::NEG_INFINITY); BLOCK];
        for scores in &*scores {
            for token in 0..BLOCK {
                lanes[token] = lanes[token].larger(scores[token]);
            }
        }
        let largest = lanes.into_iter().fold(T::from_f64(f64::NEG_INFINITY), Real::larger);
        let mut lanes = [T::zero(); BLOCK];
        for scores in scores {
            for token in 0..BLOCK {
                scores[token] = Real::exp(scores[token] - largest);
                lanes[token] += scores[token];
            }
        }
        sums_of_weights[head] = fold(lanes);
        logs[head] = largest + Real::ln(sums_of_weights[head]);
    }
    if let Some(totals) = totals {
        totals[..H].copy_from_slice(&logs);
    }

    for d in 0..value_width {
        let mut sums = [[T::zero(); BLOCK]; H];
        let mut at = 0;
        for tokens in chain {
            for block in tokens.blocks() {
                let row = block[value + d];
                for head in 0..H {
                    let scores = scores[head * blocks + at];
                    for token in 0..BLOCK {
                        sums[head][token] = Real::mul_add(scores[token], row[token], sums[head][token]);
                    }
                }
                at += 1;
            }
        }
        for head in 0..H {
            out[head * value_width + d] = fold(sums[head]) / sums_of_weights[head];
        }
    }
    H
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place = Place { key: 1, key_width: 5, value: 4, value_width: 3 };
    const HEADS: usize = 5;
    const WIDTH: usize = 8;

    fn number(i: usize) -> f32 {
        ((i * 37) % 101) as f32 / 50.0 - 1.0
    }

    fn row(token: usize) -> Vec<f32> {
        (0..WIDTH).map(|d| number(token * WIDTH + d)).collect()
    }

    fn query() -> Vec<f32> {
        (0..HEADS * PLACE.key_width).map(|i| 2.0 * number(7 * i + 3)).collect()
    }

    /// Five heads over the first 42 tokens, which lie in runs that end at `ends`; the last run goes on behind them.
    fn over_runs(ends: &[usize]) -> (Vec<f32>, Vec<f32>) {
        let mut start = 0;
        let mut runs = Vec::new();
        for end in ends {
            let mut run = TokenBlocks::new(WIDTH, start, 4);
            (start..*end).for_each(|token| run.push(&row(token)));
            runs.push((run, start));
            start = *end;
        }
        let chain: Vec<_> = runs.iter().map(|(run, start)| run.first((42 - start).min(run.tokens))).collect();
        let (mut out, mut totals) = (vec![0.0; HEADS * PLACE.value_width], vec![0.0; HEADS]);
        attend(&query(), PLACE, &chain, (&mut out, Some(&mut totals)), &mut Scratch::default());
        (out, totals)
    }

    #[test]
    fn it_is_softmax_attention_over_the_chain() {
        let (out, totals) = over_runs(&[3, 22, 60]);
        for (head, query) in query().chunks_exact(PLACE.key_width).enumerate() {
            let score = |token: usize| -> f64 {
                let key = &row(token)[PLACE.key..][..PLACE.key_width];
                query.iter().zip(key).map(|(q, k)| f64::from(*q) * f64::from(*k)).sum::<f64>().exp()
            };
            let total: f64 = (0..42).map(score).sum();
            assert!((f64::from(totals[head]) - total.ln()).abs() < 1e-6, "head {head}: the log-sum-exp");
            for d in 0..PLACE.value_width {
                let value = |token: usize| f64::from(row(token)[PLACE.value + d]);
                let expected: f64 = (0..42).map(|token| score(token) / total * value(token)).sum();
                let found = f64::from(out[head * PLACE.value_width + d]);
                assert!((found - expected).abs() < 1e-6, "head {head}, {d}: {found} where {expected} was expected");
            }
        }
    }

    #[test]
    fn how_the_tokens_are_cut_into_runs_makes_no_difference() {
        let whole = over_runs(&[60]);
        for ends in [&[3, 22, 60][..], &[16, 42], &[1, 2, 17, 33, 50], &[0, 41, 41, 43]] {
            assert_eq!(over_runs(ends), whole, "{ends:?}");
        }
    }
}
