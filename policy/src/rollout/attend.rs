//! One token's attention over the cache, whichever kind of attention filled it.
//!
//! Cached tokens lie side by side in blocks (see [`super::cache`]), so the scores of a block's tokens are computed in the
//! lanes of a vector, without a sum across lanes. Heads that read the same key are computed together, up to four at once,
//! so that what they read is loaded once.

use super::cache::{BLOCK, Cached};
use crate::ops::sum::fold;
use crate::ops::{Real, vectorised};

/// Where in a cached row the key and the value lie that some heads share.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) key: usize,
    pub(super) key_width: usize,
    pub(super) value: usize,
    pub(super) value_width: usize,
}

/// Memory that is used again from row to row.
#[derive(Default)]
pub(super) struct Scratch {
    query: Vec<f32>,
    /// `[heads, blocks, BLOCK]`
    scores: Vec<[f32; BLOCK]>,
}

/// Attention of heads that share a key: `query` `[heads, key width]`, scaled; `out` `[heads, value width]`.
pub(super) fn attend(query: &[f32], place: Place, chain: &[Cached<'_>], out: &mut [f32], scratch: &mut Scratch) {
    vectorised(
        #[inline(always)]
        || {
            let (mut query, mut out) = (query, out);
            loop {
                let heads = match query.len() / place.key_width {
                    0 => return,
                    1 => few::<1>(query, place, chain, out, scratch),
                    2 | 3 => few::<2>(query, place, chain, out, scratch),
                    _ => few::<4>(query, place, chain, out, scratch),
                };
                query = &query[heads * place.key_width..];
                out = &mut out[heads * place.value_width..];
            }
        },
    );
}

/// The first `H` heads.
#[inline(always)]
fn few<const H: usize>(
    query: &[f32],
    place: Place,
    chain: &[Cached<'_>],
    out: &mut [f32],
    scratch: &mut Scratch,
) -> usize {
    let Place { key, key_width, value, value_width } = place;
    let Scratch { query: turned, scores } = scratch;
    turned.resize(H * key_width, 0.0);
    for head in 0..H {
        let heads = turned.as_chunks_mut::<H>().0;
        heads.iter_mut().zip(&query[head * key_width..]).for_each(|(heads, q)| heads[head] = *q);
    }
    let turned = turned.as_chunks::<H>().0;
    let blocks: usize = chain.iter().map(|cached| cached.blocks().len()).sum();
    scores.resize(H * blocks, [0.0; BLOCK]);

    let mut at = 0;
    for cached in chain {
        for (index, block) in cached.blocks().enumerate() {
            let mut sums = [[0.0f32; BLOCK]; H];
            for (query, row) in turned.iter().zip(&block[key..key + key_width]) {
                for head in 0..H {
                    for token in 0..BLOCK {
                        sums[head][token] = query[head].mul_add(row[token], sums[head][token]);
                    }
                }
            }
            for head in 0..H {
                scores[head * blocks + at] = sums[head];
                if let Some(absent) = scores[head * blocks + at].get_mut(cached.tokens - index * BLOCK..) {
                    absent.fill(f32::NEG_INFINITY);
                }
            }
            at += 1;
        }
    }

    let mut totals = [0.0f32; H];
    for (scores, total) in scores.chunks_exact_mut(blocks).zip(&mut totals) {
        let mut lanes = [f32::NEG_INFINITY; BLOCK];
        for scores in &*scores {
            for token in 0..BLOCK {
                lanes[token] = Real::larger(lanes[token], scores[token]);
            }
        }
        let largest = lanes.into_iter().fold(f32::NEG_INFINITY, Real::larger);
        let mut lanes = [0.0f32; BLOCK];
        for scores in scores {
            for token in 0..BLOCK {
                scores[token] = Real::exp(scores[token] - largest);
                lanes[token] += scores[token];
            }
        }
        *total = fold(lanes);
    }

    for d in 0..value_width {
        let mut sums = [[0.0f32; BLOCK]; H];
        let mut at = 0;
        for cached in chain {
            for block in cached.blocks() {
                let row = block[value + d];
                for head in 0..H {
                    let scores = scores[head * blocks + at];
                    for token in 0..BLOCK {
                        sums[head][token] = scores[token].mul_add(row[token], sums[head][token]);
                    }
                }
                at += 1;
            }
        }
        for head in 0..H {
            out[head * value_width + d] = fold(sums[head]) / totals[head];
        }
    }
    H
}

#[cfg(test)]
mod tests {
    use super::super::cache::CacheRows;
    use super::*;

    /// Five heads over three runs of cached tokens, one of them longer than a block and read only in part.
    #[test]
    fn it_is_softmax_attention_over_the_chain() {
        let place = Place { key: 1, key_width: 5, value: 4, value_width: 3 };
        let (heads, width) = (5, 8);
        let number = |i: usize| ((i * 37) % 101) as f32 / 50.0 - 1.0;
        let row = |token: usize| -> Vec<f32> { (0..width).map(|d| number(token * width + d)).collect() };
        let query: Vec<f32> = (0..heads * place.key_width).map(|i| 2.0 * number(7 * i + 3)).collect();
        let mut runs = Vec::new();
        for tokens in [0..3, 3..22, 22..60] {
            let mut rows = CacheRows::new(1, 0, width, 4);
            tokens.for_each(|token| rows.push(0, &row(token)));
            runs.push(rows);
        }
        let chain = [runs[0].rows(0, 3), runs[1].rows(0, 19), runs[2].rows(0, 20)];
        let mut out = vec![0.0; heads * place.value_width];
        attend(&query, place, &chain, &mut out, &mut Scratch::default());
        for head in 0..heads {
            let query = &query[head * place.key_width..(head + 1) * place.key_width];
            let score = |token: usize| -> f64 {
                let key = &row(token)[place.key..][..place.key_width];
                query.iter().zip(key).map(|(q, k)| f64::from(*q) * f64::from(*k)).sum::<f64>().exp()
            };
            let total: f64 = (0..42).map(score).sum();
            for d in 0..place.value_width {
                let value = |token: usize| f64::from(row(token)[place.value + d]);
                let expected: f64 = (0..42).map(|token| score(token) / total * value(token)).sum();
                let found = f64::from(out[head * place.value_width + d]);
                assert!((found - expected).abs() < 1e-6, "head {head}, {d}: {found} where {expected} was expected");
            }
        }
    }
}
