//! One token's attention over earlier tokens that lie in blocks: in decoding over the cache, in training over the batch.
//!
//! The tokens' keys lie side by side in [`TokenBlocks`], so the scores of a block's tokens are computed in the lanes of a
//! vector; their values lie one after the other, so a weighted sum of values is computed in lanes too. Neither needs a sum
//! across lanes. A token's lane is its position in its sequence modulo [`BLOCK`], and values are added up in the order of
//! positions. So the result does not depend on how the sequence is cut into runs, to the bit: a template, a prompt and a
//! completion in the cache, or as many segments of a packed batch. Heads that read the same key are computed together, up to
//! four at once, so that what they read is loaded once.

use pulp::Simd;

use super::sum::{LANES, fold};
use super::{Real, vectorised};

/// Tokens that lie side by side.
pub(crate) const BLOCK: usize = LANES;

/// Numbers of a token's key, and of its value.
pub(crate) type Widths = (usize, usize);

/// A run of tokens.
#[derive(Debug, Clone)]
pub(crate) struct TokenBlocks<T> {
    widths: Widths,
    /// The lane of the first token.
    first: usize,
    tokens: usize,
    /// `[blocks, key width, BLOCK]`, zeros where a block holds no token.
    keys: Vec<[T; BLOCK]>,
    /// `[tokens, value width]`
    values: Vec<T>,
}

/// The first tokens of a run.
#[derive(Clone, Copy)]
pub(crate) struct Tokens<'a, T> {
    keys: &'a [[T; BLOCK]],
    values: &'a [T],
    widths: Widths,
    first: usize,
    /// How many they are; the last block may hold more, which do not count.
    count: usize,
}

impl<T: Real> TokenBlocks<T> {
    /// No tokens yet; the first will stand at `position` of its sequence.
    pub(crate) fn new(widths: Widths, position: usize, capacity: usize) -> Self {
        let first = position % BLOCK;
        let keys = Vec::with_capacity((first + capacity).div_ceil(BLOCK) * widths.0);
        TokenBlocks { widths, first, tokens: 0, keys, values: Vec::with_capacity(capacity * widths.1) }
    }

    /// Appends one token.
    pub(crate) fn push(&mut self, key: &[T], value: &[T]) {
        let width = self.widths.0;
        debug_assert_eq!((key.len(), value.len()), self.widths);
        let (block, lane) = ((self.first + self.tokens) / BLOCK, (self.first + self.tokens) % BLOCK);
        if self.keys.len() <= block * width {
            self.keys.resize((block + 1) * width, [T::zero(); BLOCK]);
        }
        self.keys[block * width..].iter_mut().zip(key).for_each(|(lanes, number)| lanes[lane] = *number);
        self.values.extend_from_slice(value);
        self.tokens += 1;
    }

    /// The first `count` tokens.
    pub(crate) fn first(&self, count: usize) -> Tokens<'_, T> {
        let blocks = if count == 0 { 0 } else { (self.first + count).div_ceil(BLOCK) };
        let (keys, values) = (&self.keys[..blocks * self.widths.0], &self.values[..count * self.widths.1]);
        Tokens { keys, values, widths: self.widths, first: self.first, count }
    }
}

impl<'a, T: Real> Tokens<'a, T> {
    /// Each block's keys, `[key width, BLOCK]`.
    #[inline(always)]
    fn blocks(&self) -> std::slice::ChunksExact<'a, [T; BLOCK]> {
        self.keys.chunks_exact(self.widths.0)
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

    /// Stores the scores of blocks from `index` on, where each head has `stride` blocks.
    #[inline(always)]
    fn store<const H: usize, const B: usize>(
        &self,
        sums: Sums<T, H, B>,
        index: usize,
        scores: &mut [[T; BLOCK]],
        stride: usize,
    ) {
        for (b, sums) in sums.into_iter().enumerate() {
            for (head, mut sums) in sums.into_iter().enumerate() {
                self.mask(index + b, &mut sums);
                scores[head * stride + index + b] = sums;
            }
        }
    }
}

/// Where in a token's key and value those lie that some heads share.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) key: usize,
    pub(crate) key_width: usize,
    pub(crate) value: usize,
    pub(crate) value_width: usize,
}

/// Memory that is used again from row to row.
pub struct Scratch<T> {
    query: Vec<T>,
    /// `[heads, blocks, BLOCK]`
    scores: Vec<[T; BLOCK]>,
}

impl<T> Default for Scratch<T> {
    fn default() -> Self {
        Scratch { query: Vec::new(), scores: Vec::new() }
    }
}

/// `B` times [`BLOCK`] sums for each of `H` heads.
type Sums<T, const H: usize, const B: usize> = [[[T; BLOCK]; H]; B];

/// The two loops in which attention spends its time, for `H` heads and `B` blocks at once.
pub(crate) trait Loops<T>: Copy {
    /// Whether two blocks are computed at once: where a block is one vector, the sums of one would be too few to keep the
    /// processor busy.
    const TWO: bool;
    /// The scores of blocks of tokens: `query` `[key width, H]`, `keys` `[key width, BLOCK]` of each.
    fn scores<const H: usize, const B: usize>(self, query: &[[T; H]], keys: [&[[T; BLOCK]]; B]) -> Sums<T, H, B>;
    /// `B` times [`BLOCK`] numbers, from `at` on, of the sums of the chain's values: `weights` `[H, blocks, BLOCK]`.
    fn sums<const H: usize, const B: usize>(
        self,
        weights: &[[T; BLOCK]],
        chain: &[Tokens<'_, T>],
        at: usize,
    ) -> Sums<T, H, B>;
}

/// Attention of heads that share a key.
pub struct Attention<'a, T> {
    /// `[heads, key width]`, scaled.
    pub(crate) query: &'a [T],
    pub(crate) place: Place,
    pub(crate) chain: &'a [Tokens<'a, T>],
    /// `[heads, value width]`
    pub(crate) out: &'a mut [T],
    /// Receives the log-sum-exp of each head's scores, where it is wanted.
    pub(crate) totals: Option<&'a mut [T]>,
}

impl<T: Real> Attention<'_, T> {
    /// Attends.
    pub(crate) fn run(self, scratch: &mut Scratch<T>) {
        T::attend(self, scratch);
    }

    #[inline(always)]
    fn by<L: Loops<T>>(mut self, loops: L, scratch: &mut Scratch<T>) {
        let heads = self.query.len() / self.place.key_width;
        let mut head = 0;
        while head < heads {
            head += match heads - head {
                1 => self.few::<1, L>(head, loops, scratch),
                2 | 3 => self.few::<2, L>(head, loops, scratch),
                _ => self.few::<4, L>(head, loops, scratch),
            };
        }
    }

    /// `H` heads from `first` on.
    #[inline(always)]
    fn few<const H: usize, L: Loops<T>>(&mut self, first: usize, loops: L, scratch: &mut Scratch<T>) -> usize {
        let Place { key, key_width, value, value_width } = self.place;
        let Scratch { query: turned, scores } = scratch;
        turned.resize(H * key_width, T::zero());
        for head in 0..H {
            let heads = turned.as_chunks_mut::<H>().0;
            let query = &self.query[(first + head) * key_width..];
            heads.iter_mut().zip(query).for_each(|(heads, q)| heads[head] = *q);
        }
        let turned = turned.as_chunks::<H>().0;
        let blocks: usize = self.chain.iter().map(|tokens| tokens.blocks().len()).sum();
        scores.resize(H * blocks, [T::zero(); BLOCK]);

        let mut at = 0;
        for tokens in self.chain {
            let mut keys = tokens.blocks().map(|block| &block[key..key + key_width]).enumerate();
            while L::TWO && keys.len() >= 2 {
                let (Some((index, one)), Some((_, two))) = (keys.next(), keys.next()) else { break };
                let sums = loops.scores::<H, 2>(turned, [one, two]);
                tokens.store(sums, index, &mut scores[at..], blocks);
            }
            for (index, keys) in keys {
                let sums = loops.scores::<H, 1>(turned, [keys]);
                tokens.store(sums, index, &mut scores[at..], blocks);
            }
            at += tokens.blocks().len();
        }

        let mut weights = [T::zero(); H];
        for (head, scores) in scores.chunks_exact_mut(blocks).enumerate().take(H) {
            let mut lanes = [T::from_f64(f64::NEG_INFINITY); BLOCK];
            for scores in &*scores {
                for token in 0..BLOCK {
                    lanes[token] = lanes[token].larger(scores[token]);
                }
            }
            let largest = lanes.into_iter().fold(T::from_f64(f64::NEG_INFINITY), Real::larger);
            scores.as_flattened_mut().iter_mut().for_each(|score| *score = Real::exp(*score - largest));
            let mut lanes = [T::zero(); BLOCK];
            for scores in &*scores {
                for token in 0..BLOCK {
                    lanes[token] += scores[token];
                }
            }
            weights[head] = fold(lanes);
            if let Some(totals) = &mut self.totals {
                totals[first + head] = largest + Real::ln(weights[head]);
            }
        }

        let whole = value_width / BLOCK * BLOCK;
        let mut d = 0;
        while L::TWO && d + 2 * BLOCK <= whole {
            self.divided(loops.sums::<H, 2>(scores, self.chain, value + d), weights, (first, d));
            d += 2 * BLOCK;
        }
        while d < whole {
            self.divided(loops.sums::<H, 1>(scores, self.chain, value + d), weights, (first, d));
            d += BLOCK;
        }
        for d in whole..value_width {
            for head in 0..H {
                let mut sum = T::zero();
                let scores = scores[head * blocks..(head + 1) * blocks].as_flattened();
                each_value(
                    self.chain,
                    #[inline(always)]
                    |token, row| sum = Real::mul_add(scores[token], row[value + d], sum),
                );
                self.out[(first + head) * value_width + d] = sum / weights[head];
            }
        }
        H
    }

    /// The sums of values, divided by those of their weights: the results from number `at` on, of heads from `first` on.
    #[inline(always)]
    fn divided<const H: usize, const B: usize>(
        &mut self,
        sums: Sums<T, H, B>,
        weights: [T; H],
        (first, at): (usize, usize),
    ) {
        for (b, sums) in sums.iter().enumerate() {
            for head in 0..H {
                let out = &mut self.out[(first + head) * self.place.value_width + at + b * BLOCK..][..BLOCK];
                out.iter_mut().zip(&sums[head]).for_each(|(out, sum)| *out = *sum / weights[head]);
            }
        }
    }
}

/// Calls `visit` for each token in order, with its place among the scores and its values.
#[inline(always)]
fn each_value<T: Real>(chain: &[Tokens<'_, T>], mut visit: impl FnMut(usize, &[T])) {
    let mut block = 0;
    for tokens in chain {
        for (token, row) in tokens.values.chunks_exact(tokens.widths.1).enumerate() {
            visit(block * BLOCK + tokens.first + token, row);
        }
        block += tokens.blocks().len();
    }
}

/// How a number type runs an [`Attention`].
pub trait Attend: Sized {
    /// Attends.
    fn attend(attention: Attention<'_, Self>, scratch: &mut Scratch<Self>);
}

impl Attend for f32 {
    fn attend(attention: Attention<'_, f32>, scratch: &mut Scratch<f32>) {
        struct Work<'a, 'b>(Attention<'a, f32>, &'b mut Scratch<f32>);
        impl pulp::WithSimd for Work<'_, '_> {
            type Output = ();
            #[inline(always)]
            fn with_simd<S: Simd>(self, simd: S) {
                match S::F32_LANES {
                    16 => self.0.by(Wide::<S, 1>(simd), self.1),
                    8 => self.0.by(Wide::<S, 2>(simd), self.1),
                    4 => self.0.by(Wide::<S, 4>(simd), self.1),
                    _ => self.0.by(Wide::<S, BLOCK>(simd), self.1),
                }
            }
        }
        pulp::Arch::new().dispatch(Work(attention, scratch));
    }
}

/// Only tests run in f64.
impl Attend for f64 {
    fn attend(attention: Attention<'_, f64>, scratch: &mut Scratch<f64>) {
        vectorised(
            #[inline(always)]
            || attention.by(Plain, scratch),
        );
    }
}

/// A block is `V` vectors. Written out for them: left to the compiler, the sums go through memory.
#[derive(Clone, Copy)]
struct Wide<S, const V: usize>(S);

impl<S: Simd, const V: usize> Wide<S, V> {
    #[inline(always)]
    fn add<const H: usize>(self, sums: &mut [[S::f32s; V]; H], factors: [S::f32s; H], numbers: &[f32; BLOCK]) {
        let numbers = S::as_simd_f32s(numbers).0;
        for (sums, factor) in sums.iter_mut().zip(factors) {
            for v in 0..V {
                sums[v] = self.0.mul_add_f32s(factor, numbers[v], sums[v]);
            }
        }
    }

    #[inline(always)]
    fn lanes<const H: usize, const B: usize>(sums: [[[S::f32s; V]; H]; B]) -> Sums<f32, H, B> {
        sums.map(|sums| {
            sums.map(|sums| {
                let mut lanes = [0.0; BLOCK];
                S::as_mut_simd_f32s(&mut lanes).0.copy_from_slice(&sums);
                lanes
            })
        })
    }
}

impl<S: Simd, const V: usize> Loops<f32> for Wide<S, V> {
    const TWO: bool = V == 1;

    #[inline(always)]
    fn scores<const H: usize, const B: usize>(self, query: &[[f32; H]], keys: [&[[f32; BLOCK]]; B]) -> Sums<f32, H, B> {
        let mut sums = [[[self.0.splat_f32s(0.0); V]; H]; B];
        let keys = keys.map(|keys| &keys[..query.len()]);
        for (i, query) in query.iter().enumerate() {
            let factors = query.map(|q| self.0.splat_f32s(q));
            for b in 0..B {
                self.add(&mut sums[b], factors, &keys[b][i]);
            }
        }
        Self::lanes(sums)
    }

    #[inline(always)]
    fn sums<const H: usize, const B: usize>(
        self,
        weights: &[[f32; BLOCK]],
        chain: &[Tokens<'_, f32>],
        at: usize,
    ) -> Sums<f32, H, B> {
        let blocks = weights.len() / H;
        let weights: [&[f32]; H] =
            std::array::from_fn(|head| weights[head * blocks..(head + 1) * blocks].as_flattened());
        let mut sums = [[[self.0.splat_f32s(0.0); V]; H]; B];
        each_value(
            chain,
            #[inline(always)]
            |token, row| {
                let factors = std::array::from_fn(|head| self.0.splat_f32s(weights[head][token]));
                let numbers = row[at..at + B * BLOCK].as_chunks().0;
                for b in 0..B {
                    self.add(&mut sums[b], factors, &numbers[b]);
                }
            },
        );
        Self::lanes(sums)
    }
}

#[derive(Clone, Copy)]
struct Plain;

impl<T: Real> Loops<T> for Plain {
    const TWO: bool = false;

    #[inline(always)]
    fn scores<const H: usize, const B: usize>(self, query: &[[T; H]], keys: [&[[T; BLOCK]]; B]) -> Sums<T, H, B> {
        let mut sums = [[[T::zero(); BLOCK]; H]; B];
        for (keys, sums) in keys.iter().zip(&mut sums) {
            for (query, keys) in query.iter().zip(*keys) {
                for (sums, query) in sums.iter_mut().zip(query) {
                    sums.iter_mut().zip(keys).for_each(|(sum, key)| *sum = Real::mul_add(*query, *key, *sum));
                }
            }
        }
        sums
    }

    #[inline(always)]
    fn sums<const H: usize, const B: usize>(
        self,
        weights: &[[T; BLOCK]],
        chain: &[Tokens<'_, T>],
        at: usize,
    ) -> Sums<T, H, B> {
        let blocks = weights.len() / H;
        let mut sums = [[[T::zero(); BLOCK]; H]; B];
        each_value(
            chain,
            #[inline(always)]
            |token, row| {
                for (sums, numbers) in sums.iter_mut().zip(row[at..].chunks(BLOCK)) {
                    for (head, sums) in sums.iter_mut().enumerate() {
                        let weight = weights[head * blocks..].as_flattened()[token];
                        let each = sums.iter_mut().zip(numbers);
                        each.for_each(|(sum, number)| *sum = Real::mul_add(weight, *number, *sum));
                    }
                }
            },
        );
        sums
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place = Place { key: 1, key_width: 5, value: 2, value_width: 19 };
    const HEADS: usize = 5;
    const WIDTHS: Widths = (7, 23);

    fn number(i: usize) -> f32 {
        ((i * 37) % 101) as f32 / 50.0 - 1.0
    }

    fn key(token: usize) -> Vec<f32> {
        (0..WIDTHS.0).map(|d| number(token * WIDTHS.0 + d)).collect()
    }

    fn value(token: usize) -> Vec<f32> {
        (0..WIDTHS.1).map(|d| number(token * WIDTHS.1 + 3 * d)).collect()
    }

    fn query() -> Vec<f32> {
        (0..HEADS * PLACE.key_width).map(|i| 2.0 * number(7 * i + 3)).collect()
    }

    /// Five heads over the first 42 tokens, which lie in runs that end at `ends`; the last run goes on behind them.
    fn over_runs(ends: &[usize]) -> (Vec<f32>, Vec<f32>) {
        let mut start = 0;
        let mut runs = Vec::new();
        for end in ends {
            let mut run = TokenBlocks::new(WIDTHS, start, 4);
            (start..*end).for_each(|token| run.push(&key(token), &value(token)));
            runs.push((run, start));
            start = *end;
        }
        let chain: Vec<_> = runs.iter().map(|(run, start)| run.first((42 - start).min(run.tokens))).collect();
        let (mut out, mut totals) = (vec![0.0; HEADS * PLACE.value_width], vec![0.0; HEADS]);
        let attention =
            Attention { query: &query(), place: PLACE, chain: &chain, out: &mut out, totals: Some(&mut totals) };
        attention.run(&mut Scratch::default());
        (out, totals)
    }

    #[test]
    fn it_is_softmax_attention_over_the_chain() {
        let (out, totals) = over_runs(&[3, 22, 60]);
        for (head, query) in query().chunks_exact(PLACE.key_width).enumerate() {
            let score = |token: usize| -> f64 {
                let key = &key(token)[PLACE.key..][..PLACE.key_width];
                query.iter().zip(key).map(|(q, k)| f64::from(*q) * f64::from(*k)).sum::<f64>().exp()
            };
            let total: f64 = (0..42).map(score).sum();
            assert!((f64::from(totals[head]) - total.ln()).abs() < 1e-6, "head {head}: the log-sum-exp");
            for d in 0..PLACE.value_width {
                let value = |token: usize| f64::from(value(token)[PLACE.value + d]);
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
