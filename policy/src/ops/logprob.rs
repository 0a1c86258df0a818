//! Log-probabilities of given tokens, and the entropy, without ever holding the logits of a whole batch.
//!
//! For a hidden row h, the head W `[vocabulary, width]` and a target t: `z = W h / temperature`,
//! `logprob = z_t - log(sum(exp(z)))`, `entropy = log(sum(exp(z))) - sum(p z)`. The logits are made for a chunk of rows
//! at a time, in the forward pass and again in the backward pass, where
//! `dz = (dlogprob * (onehot(t) - p) - dentropy * p (log(p) + entropy)) / temperature`.
//!
//! A chunk's logits lie in panels of [`PANEL`] tokens of the vocabulary, `[panels, rows, PANEL]`, so that tasks can share a
//! large vocabulary among them as well as the rows. How many rows a chunk has depends on the vocabulary alone.

use rayon::prelude::*;

use super::matmul::{View, add_weight_gradient, matmul};
use super::packed::{LARGE, PackedWeight, Rows, Store};
use super::{Real, vectorised};

/// Tokens of the vocabulary whose logits lie side by side.
const PANEL: usize = 4096;
/// Tokens of a large vocabulary that are laid out at once: what the second cache holds.
const PART: usize = 128;
/// Rows that one task multiplies.
const ROW_BLOCK: usize = 64;
/// Rows of a chunk: at least, where the vocabulary is large, and at most.
const CHUNK_ROWS: (usize, usize) = (128, 2048);
/// Logits of a chunk, where the rows can be chosen: 64 MiB in f32.
const CHUNK_LOGITS: usize = 1 << 24;
const LANES: usize = 16;

/// The head and what is asked of it.
#[derive(Clone, Copy)]
pub struct Logprob<'a, T> {
    /// The head's weight, `[vocabulary, width]`.
    pub head: &'a [T],
    /// Numbers of a hidden row.
    pub width: usize,
    /// For each hidden row, the token whose log-probability is wanted; inside the vocabulary.
    pub targets: &'a [u32],
    /// What the logits are divided by; positive.
    pub temperature: f64,
}

/// What [`Logprob::forward`] computes, a number for each row.
pub struct Logprobs<T> {
    /// The targets' log-probabilities.
    pub logprobs: Vec<T>,
    /// The entropy of the row's distribution in nats.
    pub entropy: Vec<T>,
    /// log(sum(exp(z))), which the backward pass needs.
    totals: Vec<T>,
}

/// The logarithm of the sum of exponentials of one row.
#[inline(always)]
pub(crate) fn log_sum_exp<T: Real>(logits: &[T]) -> T {
    log_sum_exp_of(|| std::iter::once(logits))
}

/// The same of a row that lies in parts, all of which but the last are a multiple of 16 long. The parts make no difference
/// to the bits.
#[inline(always)]
fn log_sum_exp_of<'a, T: Real, I: Iterator<Item = &'a [T]>>(parts: impl Fn() -> I) -> T {
    let mut lanes = [T::from_f64(f64::NEG_INFINITY); LANES];
    let mut largest = T::from_f64(f64::NEG_INFINITY);
    for part in parts() {
        let (blocks, rest) = part.as_chunks::<LANES>();
        for block in blocks {
            for i in 0..LANES {
                lanes[i] = lanes[i].larger(block[i]);
            }
        }
        largest = rest.iter().fold(largest, |largest, z| largest.larger(*z));
    }
    largest = lanes.into_iter().fold(largest, Real::larger);
    let mut lanes = [T::zero(); LANES];
    let mut tail = T::zero();
    for part in parts() {
        let (blocks, rest) = part.as_chunks::<LANES>();
        for block in blocks {
            for i in 0..LANES {
                lanes[i] += (block[i] - largest).exp();
            }
        }
        for z in rest {
            tail += (*z - largest).exp();
        }
    }
    let total = lanes.into_iter().fold(T::zero(), |total, lane| total + lane) + tail;
    largest + total.ln()
}

impl<T: Real> Logprob<'_, T> {
    fn vocabulary(&self) -> usize {
        self.head.len() / self.width
    }

    /// Rows whose logits are held at once.
    fn chunk_rows(&self) -> usize {
        let (least, most) = CHUNK_ROWS;
        (CHUNK_LOGITS / self.vocabulary() / ROW_BLOCK * ROW_BLOCK).clamp(least, most)
    }

    /// The head's panels, laid out as decoding multiplies with them. That takes as much memory again, so a large head is
    /// laid out a part at a time.
    fn packed(&self) -> Option<Vec<PackedWeight<T>>> {
        let panels = || self.head.chunks(PANEL * self.width).map(|panel| PackedWeight::from_rows(panel, self.width));
        (self.head.len() < LARGE).then(|| panels().collect())
    }

    /// Makes the logits of a chunk's rows.
    fn logits(&self, out: &mut [T], hidden: &[T], packed: Option<&[PackedWeight<T>]>) {
        let (width, rows) = (self.width, hidden.len() / self.width);
        let store = Store::Scaled(T::from_f64(1.0 / self.temperature));
        let panels = out.par_chunks_mut(rows * PANEL).zip(self.head.par_chunks(PANEL * width));
        panels.enumerate().for_each(|(index, (out, head))| {
            let out_stride = head.len() / width;
            let Some(packed) = packed else {
                for (part, head) in head.chunks(PART * width).enumerate() {
                    let weight = PackedWeight::of_rows(head, (head.len() / width, width), width);
                    let out = &mut out[part * PART..];
                    let to = Rows { out, out_stride, x: hidden, x_stride: width, transposed: false, count: rows };
                    weight.multiply_rows(to, store);
                }
                return;
            };
            out.par_chunks_mut(ROW_BLOCK * out_stride)
                .zip(hidden.par_chunks(ROW_BLOCK * width))
                .for_each(|(out, hidden)| packed[index].multiply(out, hidden, store));
        });
    }

    /// The log-probabilities of the targets, one for each row of `hidden` `[rows, width]`.
    pub fn forward(&self, hidden: &[T]) -> Logprobs<T> {
        let (width, vocabulary, chunk) = (self.width, self.vocabulary(), self.chunk_rows());
        let mut logits = vec![T::zero(); chunk.min(self.targets.len()) * vocabulary];
        let packed = self.packed();
        let mut out = Logprobs { logprobs: Vec::new(), entropy: Vec::new(), totals: Vec::new() };
        for (hidden, targets) in hidden.chunks(chunk * width).zip(self.targets.chunks(chunk)) {
            let rows = targets.len();
            let logits = &mut logits[..rows * vocabulary];
            self.logits(logits, hidden, packed.as_deref());
            let logits = &*logits;
            let each: Vec<(T, T, T)> = targets
                .par_iter()
                .enumerate()
                .with_min_len(ROW_BLOCK / 4)
                .map(|(row, target)| {
                    let parts = || {
                        logits.chunks(rows * PANEL).map(move |panel| {
                            let width = panel.len() / rows;
                            &panel[row * width..(row + 1) * width]
                        })
                    };
                    vectorised(
                        #[inline(always)]
                        || {
                            let total = log_sum_exp_of(parts);
                            let mut lanes = [T::zero(); LANES];
                            for part in parts() {
                                let (blocks, rest) = part.as_chunks::<LANES>();
                                for block in blocks {
                                    for i in 0..LANES {
                                        lanes[i] += (block[i] - total).exp() * block[i];
                                    }
                                }
                                for (lane, z) in lanes.iter_mut().zip(rest) {
                                    *lane += (*z - total).exp() * *z;
                                }
                            }
                            let mean = lanes.into_iter().fold(T::zero(), |mean, lane| mean + lane);
                            let (panel, token) = (*target as usize / PANEL, *target as usize % PANEL);
                            let width = PANEL.min(vocabulary - panel * PANEL);
                            let z = logits[rows * PANEL * panel + row * width + token];
                            (z - total, total, total - mean)
                        },
                    )
                })
                .collect();
            for (logprob, total, entropy) in each {
                out.logprobs.push(logprob);
                out.totals.push(total);
                out.entropy.push(entropy);
            }
        }
        out
    }

    /// The gradient of `hidden`, in new rows, for the gradients of the log-probabilities and of the entropies (one for each
    /// row, or none at all); `d_head +=` the head's.
    pub fn backward(
        &self,
        d_head: &mut [T],
        hidden: &[T],
        out: &Logprobs<T>,
        (d_logprobs, d_entropy): (&[T], &[T]),
    ) -> Vec<T> {
        let (width, vocabulary, chunk) = (self.width, self.vocabulary(), self.chunk_rows());
        let scale = T::from_f64(1.0 / self.temperature);
        let mut d_hidden = vec![T::zero(); hidden.len()];
        let mut d_logits = vec![T::zero(); chunk.min(self.targets.len()) * vocabulary];
        let packed = self.packed();
        for (index, (hidden, d_hidden)) in
            hidden.chunks(chunk * width).zip(d_hidden.chunks_mut(chunk * width)).enumerate()
        {
            let (first, rows) = (index * chunk, hidden.len() / width);
            let d_logits = &mut d_logits[..rows * vocabulary];
            self.logits(d_logits, hidden, packed.as_deref());
            d_logits.par_chunks_mut(rows * PANEL).enumerate().for_each(|(panel, d_logits)| {
                let (start, panel) = (panel * PANEL, d_logits.len() / rows);
                d_logits.par_chunks_mut(ROW_BLOCK * panel).enumerate().for_each(|(block, d_logits)| {
                    vectorised(
                        #[inline(always)]
                        || {
                            for (i, z) in d_logits.chunks_exact_mut(panel).enumerate() {
                                let row = first + block * ROW_BLOCK + i;
                                let (g, total) = (d_logprobs[row] * scale, out.totals[row]);
                                // Few losses ask for the entropy's gradient: the others do not pay for it.
                                if let Some(e) = d_entropy.get(row) {
                                    let (e, entropy) = (*e * scale, out.entropy[row]);
                                    for z in z.iter_mut() {
                                        let log = *z - total;
                                        *z = -(g + e * (log + entropy)) * log.exp();
                                    }
                                } else {
                                    for z in z.iter_mut() {
                                        *z = -g * (*z - total).exp();
                                    }
                                }
                                let target = self.targets[row] as usize;
                                if let Some(z) = target.checked_sub(start).and_then(|at| z.get_mut(at)) {
                                    *z += g;
                                }
                            }
                        },
                    );
                });
            });
            let d_logits = &*d_logits;
            d_hidden.par_chunks_mut(ROW_BLOCK * width).enumerate().for_each(|(block, d_hidden)| {
                let m = d_hidden.len() / width;
                for (index, head) in self.head.chunks(PANEL * width).enumerate() {
                    let panel = head.len() / width;
                    let d_logits = &d_logits[index * rows * PANEL + block * ROW_BLOCK * panel..][..m * panel];
                    let (d_logits, head) = (View::rows(d_logits, panel), View::rows(head, width));
                    matmul(d_hidden, width, (m, width, panel), d_logits, head, T::one(), index > 0);
                }
            });
            d_head.par_chunks_mut(PANEL * width).zip(d_logits.par_chunks(rows * PANEL)).for_each(
                |(d_head, d_logits)| {
                    add_weight_gradient(d_head, d_logits, hidden, d_head.len() / width, width);
                },
            );
        }
        d_hidden
    }
}
