//! Log-probabilities of given tokens, and the entropy, without ever holding the logits of a whole batch.
//!
//! For a hidden row h, the head W `[vocabulary, width]` and a target t: `z = W h / temperature`,
//! `logprob = z_t - log(sum(exp(z)))`, `entropy = log(sum(exp(z))) - sum(p z)`. The logits are made for a chunk of rows
//! at a time, in the forward pass and again in the backward pass, where
//! `dz = (dlogprob * (onehot(t) - p) - dentropy * p (log(p) + entropy)) / temperature`.

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::matmul::{View, add_weight_gradient, matmul};
use super::{Real, Stash, dispatch, read, slice, vectorised};

const NAME: &str = "logprob";
/// Rows whose logits one task makes.
const ROW_BLOCK: usize = 64;
/// Rows whose logits' gradients are held at once in the backward pass.
const GRADIENT_ROWS: usize = 2048;

struct Logprob {
    targets: Vec<u32>,
    temperature: f64,
    /// log(sum(exp(z))) of each row.
    stash: Stash,
}

/// What [`logprob`] computes.
pub struct Logprobs {
    /// The targets' log-probabilities `[rows]`, differentiable.
    pub logprobs: Tensor,
    /// The entropy of each row's distribution in nats `[rows]`, differentiable.
    pub entropy: Tensor,
}

/// Log-probabilities of `targets` (one for each row) under `softmax(head hidden / temperature)`.
///
/// `hidden` `[rows, width]`, `head` `[vocabulary, width]`.
///
/// # Errors
/// If the shapes do not fit, a target lies outside the vocabulary, the temperature is not positive, or the number type is
/// neither f32 nor f64.
pub fn logprob(hidden: &Tensor, head: &Tensor, targets: Vec<u32>, temperature: f64) -> Result<Logprobs> {
    let ((rows, width), (vocabulary, columns)) = (hidden.dims2()?, head.dims2()?);
    if width != columns || targets.len() != rows {
        candle_core::bail!(
            "{NAME}: {} targets of rows {:?} under a head {:?}",
            targets.len(),
            hidden.shape(),
            head.shape()
        );
    }
    if let Some(target) = targets.iter().find(|target| **target as usize >= vocabulary) {
        candle_core::bail!("{NAME}: target {target} outside the vocabulary of {vocabulary}");
    }
    if temperature.is_nan() || temperature <= 0.0 {
        candle_core::bail!("{NAME}: temperature {temperature} is not positive");
    }
    let op = Logprob { targets, temperature, stash: Stash::default() };
    let both = hidden.contiguous()?.apply_op2(&head.contiguous()?, op)?; // [2, rows]
    Ok(Logprobs { logprobs: both.get(0)?, entropy: both.get(1)? })
}

/// The largest logit, and the logarithm of the sum of exponentials, of one row.
#[inline(always)]
pub(crate) fn log_sum_exp<T: Real>(logits: &[T]) -> T {
    let mut largest = logits[0];
    for z in logits {
        largest = largest.larger(*z);
    }
    let mut lanes = [T::zero(); 16];
    let (blocks, rest) = logits.as_chunks::<16>();
    for block in blocks {
        for i in 0..16 {
            lanes[i] += (block[i] - largest).exp();
        }
    }
    let mut total = T::zero();
    for lane in lanes {
        total += lane;
    }
    for z in rest {
        total += (*z - largest).exp();
    }
    largest + total.ln()
}

impl Logprob {
    /// The log-probabilities, then the entropies.
    fn forward<T: Real>(&self, hidden: &[T], head: &[T], width: usize) -> Result<Vec<T>> {
        let vocabulary = head.len() / width;
        let scale = T::from_f64(1.0 / self.temperature);
        let rows: Vec<(T, T, T)> = hidden
            .par_chunks(ROW_BLOCK * width)
            .zip(self.targets.par_chunks(ROW_BLOCK))
            .flat_map_iter(|(hidden, targets)| {
                let mut logits = vec![T::zero(); targets.len() * vocabulary];
                let shape = (targets.len(), vocabulary, width);
                matmul(
                    &mut logits,
                    vocabulary,
                    shape,
                    View::rows(hidden, width),
                    View::rows(head, width).t(),
                    scale,
                    false,
                );
                vectorised(
                    #[inline(always)]
                    || {
                        let rows = logits.chunks_exact(vocabulary).zip(targets);
                        rows.map(|(z, target)| {
                            let total = log_sum_exp(z);
                            let mut mean = T::zero();
                            for z in z {
                                mean += (*z - total).exp() * *z;
                            }
                            (z[*target as usize] - total, total, total - mean)
                        })
                        .collect::<Vec<_>>()
                    },
                )
            })
            .collect();
        self.stash.keep(NAME, rows.iter().map(|row| row.1).collect::<Vec<T>>())?;
        Ok(rows.iter().map(|row| row.0).chain(rows.iter().map(|row| row.2)).collect())
    }

    /// `out` and `grad` are `[2, rows]`, as `forward` returns them.
    fn backward<T: Real>(
        &self,
        (hidden, head): (&[T], &[T]),
        out: &[T],
        grad: &[T],
        width: usize,
    ) -> Result<(Vec<T>, Vec<T>)> {
        let (grad, entropy_grad) = grad.split_at(self.targets.len());
        let entropy = &out[self.targets.len()..];
        let vocabulary = head.len() / width;
        let scale = T::from_f64(1.0 / self.temperature);
        let totals: &Vec<T> = self.stash.get(NAME)?;
        let mut d_hidden = vec![T::zero(); hidden.len()];
        let mut d_head = vec![T::zero(); head.len()];
        let mut d_logits = vec![T::zero(); GRADIENT_ROWS.min(grad.len()) * vocabulary];
        for start in (0..grad.len()).step_by(GRADIENT_ROWS) {
            let end = (start + GRADIENT_ROWS).min(grad.len());
            let d_logits = &mut d_logits[..(end - start) * vocabulary];
            d_logits
                .par_chunks_mut(ROW_BLOCK * vocabulary)
                .zip(hidden[start * width..end * width].par_chunks(ROW_BLOCK * width))
                .zip(d_hidden[start * width..end * width].par_chunks_mut(ROW_BLOCK * width))
                .enumerate()
                .for_each(|(block, ((d_logits, hidden), d_hidden))| {
                    let (first, rows) = (start + block * ROW_BLOCK, d_logits.len() / vocabulary);
                    let shape = (rows, vocabulary, width);
                    matmul(
                        d_logits,
                        vocabulary,
                        shape,
                        View::rows(hidden, width),
                        View::rows(head, width).t(),
                        scale,
                        false,
                    );
                    vectorised(
                        #[inline(always)]
                        || {
                            for (i, z) in d_logits.chunks_exact_mut(vocabulary).enumerate() {
                                let (g, total) = (grad[first + i] * scale, totals[first + i]);
                                let (e, entropy) = (entropy_grad[first + i] * scale, entropy[first + i]);
                                // Few losses ask for the entropy's gradient: the others should not pay for it.
                                if e == T::zero() {
                                    for z in z.iter_mut() {
                                        *z = -g * (*z - total).exp();
                                    }
                                } else {
                                    for z in z.iter_mut() {
                                        let log = *z - total;
                                        *z = -(g + e * (log + entropy)) * log.exp();
                                    }
                                }
                                z[self.targets[first + i] as usize] += g;
                            }
                        },
                    );
                    let shape = (rows, width, vocabulary);
                    matmul(
                        d_hidden,
                        width,
                        shape,
                        View::rows(d_logits, vocabulary),
                        View::rows(head, width),
                        T::one(),
                        false,
                    );
                });
            add_weight_gradient(&mut d_head, d_logits, &hidden[start * width..end * width], vocabulary, width);
        }
        Ok((d_hidden, d_head))
    }
}

impl CustomOp2 for Logprob {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(&self, h: &CpuStorage, lh: &Layout, w: &CpuStorage, lw: &Layout) -> Result<(CpuStorage, Shape)> {
        use candle_core::backend::BackendStorage;
        let (rows, width) = lh.shape().dims2()?;
        dispatch!(NAME, h, T => {
            let out = self.forward::<T>(slice(NAME, h, lh)?, slice(NAME, w, lw)?, width)?;
            Ok((<T as candle_core::WithDType>::to_cpu_storage_owned(out), (2, rows).into()))
        })
    }

    fn bwd(&self, h: &Tensor, w: &Tensor, out: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let grad = grad.contiguous()?;
        let (h_read, w_read, out_read, g_read) = (read(h), read(w), read(out), read(&grad));
        dispatch!(NAME, h, T => {
            let inputs = (h_read.slice(NAME)?, w_read.slice(NAME)?);
            let (dh, dw) = self.backward::<T>(inputs, out_read.slice(NAME)?, g_read.slice(NAME)?, h.dims2()?.1)?;
            Ok((Some(Tensor::from_vec(dh, h.shape(), h.device())?), Some(Tensor::from_vec(dw, w.shape(), h.device())?)))
        })
    }
}
