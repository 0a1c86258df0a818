//! Low-rank adaptation: a frozen matrix and a small correction that is learnt.
//!
//! ```text
//! W' = W + s B A      s = alpha / rank,  B [out, rank],  A [rank, in]
//! dB = s dW' A^T
//! dA = s B^T dW'
//! ```
//!
//! Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2021, section 4.1. A begins random, B with zeros, so
//! that the first forward pass is the frozen model's to the bit. A's numbers are normal with variance 1 / (3 in), the
//! variance of PEFT's uniform start; the paper says no more than "random Gaussian".
//!
//! Deviation: the model computes with W' itself, which is made anew after each step, and A and B get their gradients from
//! that of W', which the training pass makes anyway. This spares the optimizer's two moments for all of W, and what is
//! learnt is small; it spares neither the product that makes dW' nor its memory. The weights stand in memory twice, frozen
//! and merged, so what is sampled, saved and exported is a plain model at every step.
//!
//! A matrix is adapted if its last name is among the targets (`q_proj`, `down_proj`, ...), as in PEFT; each expert's by
//! itself. Embedding, head and router, which are none of the targets, stay as they are, as do norms and biases.

use std::borrow::Cow;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use candle_core::{Device, Tensor, Var};
use rayon::prelude::*;

use crate::checkpoint::TensorData;
use crate::config::{Memory, ModelConfig};
use crate::error::During;
use crate::model::parameters::{Spec, specs, values};
use crate::ops::matmul::{View, matmul};
use crate::optim::Gradients;
use crate::random::Normal;
use crate::{Policy, PolicyError, Result};

/// Which matrices are adapted, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct LoraConfig {
    /// The inner width of the correction.
    pub rank: usize,
    /// The correction is scaled by `alpha / rank`.
    pub alpha: f64,
    /// The last names of the adapted matrices; [`LoraConfig::ALL`] stands for all that the model has.
    pub targets: Vec<String>,
}

impl LoraConfig {
    /// Every projection that the model has.
    pub const ALL: &'static str = "all-linear";

    /// Every target there is, in whatever architecture.
    pub const TARGETS: [&'static str; 12] = [
        Self::ALL,
        "q_proj",
        "k_proj",
        "v_proj",
        "o_proj",
        "q_a_proj",
        "q_b_proj",
        "kv_a_proj_with_mqa",
        "kv_b_proj",
        "gate_proj",
        "up_proj",
        "down_proj",
    ];

    /// That the model has the targets, and that each has room for the rank.
    ///
    /// # Errors
    /// A rank of 0 or larger than a matrix, no target, or one that the model does not have.
    pub fn check(&self, config: &ModelConfig) -> Result<()> {
        self.adapted(config).map(|_| ())
    }

    /// Numbers that are trained in place of the model's.
    ///
    /// # Errors
    /// As [`LoraConfig::check`].
    pub fn parameters(&self, config: &ModelConfig) -> Result<usize> {
        let adapted = self.adapted(config)?;
        Ok(adapted.iter().map(|one| one.count * (one.rows + one.columns) * self.rank).sum())
    }

    /// Bytes to sample and to train: as [`ModelConfig::memory`], with the parameters that hold adapted weights a second time,
    /// and moments for the adapters alone.
    ///
    /// # Errors
    /// As [`LoraConfig::check`].
    pub fn memory(&self, config: &ModelConfig, sequences: u64, tokens: u64) -> Result<Memory> {
        const BYTES: u64 = size_of::<f32>() as u64;
        // A parameter is kept as a whole, such as an expert's three matrices of which one is adapted.
        let kept: BTreeSet<usize> = self.adapted(config)?.into_iter().map(|one| one.parameter).collect();
        let specs = specs(config);
        let frozen: usize = kept.into_iter().map(|parameter| specs[parameter].shape.iter().product::<usize>()).sum();
        let whole = config.memory(sequences, tokens);
        // Of the model the moments are spared; each adapter has its gradient and two moments.
        let train = whole.train - 2 * whole.weights + BYTES * (frozen + 4 * self.parameters(config)?) as u64;
        Ok(Memory { train, ..whole })
    }

    fn adapted(&self, config: &ModelConfig) -> Result<Vec<Adapted>> {
        let bad = |message| Err(PolicyError::Argument { operation: "adapt a model by LoRA", message });
        if self.rank == 0 {
            return bad("the rank is 0, expected at least 1".to_owned());
        }
        let all = projections(config);
        let mut known: Vec<&str> = Vec::new();
        for one in &all {
            if !known.contains(&one.target) {
                known.push(one.target);
            }
        }
        if self.targets.is_empty() {
            return bad(format!("no target is named, expected \"{}\" or some of {}", Self::ALL, known.join(", ")));
        }
        if let Some(strange) =
            self.targets.iter().find(|target| *target != Self::ALL && !known.contains(&target.as_str()))
        {
            let kind = config.architecture.name();
            return bad(format!("a {kind} of this configuration has no `{strange}`; it has {}", known.join(", ")));
        }
        let wanted = |one: &Adapted| self.targets.iter().any(|target| target == Self::ALL || target == one.target);
        let adapted: Vec<Adapted> = all.into_iter().filter(wanted).collect();
        let room = |one: &Adapted| one.rows.min(one.columns);
        if let Some(small) = adapted.iter().min_by_key(|one| room(one)).filter(|small| self.rank > room(small)) {
            return bad(format!(
                "the rank {} is larger than `{}`, which is {} x {}: expected at most {}",
                self.rank,
                small.name,
                small.rows,
                small.columns,
                room(small)
            ));
        }
        Ok(adapted)
    }
}

/// A matrix of a model that can be adapted, or one of each expert of a layer.
#[derive(Clone, Debug, PartialEq)]
struct Adapted {
    /// Its name in a checkpoint, without `.weight`, and without the expert's number.
    name: String,
    target: &'static str,
    /// The parameter that holds it, in the order of the policy's.
    parameter: usize,
    /// How many there are.
    count: usize,
    /// Where the first begins within the parameter, and how far the next one is.
    start: usize,
    stride: usize,
    /// W is `[rows, columns]`.
    rows: usize,
    columns: usize,
    /// Whether the parameter holds its transpose.
    transposed: bool,
}

impl Adapted {
    /// The numbers of each matrix within the parameter's.
    fn places(&self) -> impl Iterator<Item = std::ops::Range<usize>> {
        let (start, stride, size) = (self.start, self.stride, self.rows * self.columns);
        (0..self.count).map(move |index| start + index * stride..start + index * stride + size)
    }

    /// The matrix W, or its gradient, in the parameter's numbers.
    fn view<'a>(&self, stored: &'a [f32]) -> View<'a, f32> {
        if self.transposed { View::rows(stored, self.rows).t() } else { View::rows(stored, self.columns) }
    }

    /// A's and B's names.
    fn names(&self) -> [String; 2] {
        ["A", "B"].map(|factor| format!("{}.lora_{factor}.weight", self.name))
    }
}

/// Every projection of a model, in the order of its parameters.
fn projections(config: &ModelConfig) -> Vec<Adapted> {
    specs(config).iter().enumerate().flat_map(|(parameter, spec)| projections_of(parameter, spec)).collect()
}

fn projections_of(parameter: usize, spec: &Spec) -> Vec<Adapted> {
    let target = |name: &str| LoraConfig::TARGETS.into_iter().find(|target| name.rsplit('.').next() == Some(*target));
    match *spec.shape.as_slice() {
        [rows, columns] => {
            let name = spec.name.trim_end_matches(".weight").to_owned();
            let one = target(&name).map(|target| Adapted {
                name,
                target,
                parameter,
                count: 1,
                start: 0,
                stride: rows * columns,
                rows,
                columns,
                transposed: false,
            });
            one.into_iter().collect()
        }
        // Gate, up, and down transposed, of each expert.
        [count, inner, width] => {
            let (inner, size) = (inner / 3, inner / 3 * width);
            let part = |(place, target): (usize, &'static str)| {
                let down = target == "down_proj";
                let (rows, columns) = if down { (width, inner) } else { (inner, width) };
                let name = format!("{}.{target}", spec.name);
                let (start, stride) = (place * size, 3 * size);
                Adapted { name, target, parameter, count, start, stride, rows, columns, transposed: down }
            };
            ["gate_proj", "up_proj", "down_proj"].into_iter().enumerate().map(part).collect()
        }
        _ => Vec::new(),
    }
}

/// The adapters of a policy, and its adapted weights as they were.
pub struct Lora {
    rank: usize,
    scale: f32,
    adapted: Vec<Adapted>,
    /// A `[count, rank, in]` and B `[count, out, rank]` of each, in turn.
    factors: Vec<(String, Var)>,
    /// The weights W of each parameter that holds an adapted matrix.
    frozen: BTreeMap<usize, Vec<f32>>,
}

impl Lora {
    /// Adapters of a policy that change nothing yet. A depends on the seed and the matrix's name alone.
    ///
    /// # Errors
    /// As [`LoraConfig::check`].
    pub fn new(policy: &Policy, config: &LoraConfig, seed: u64) -> Result<Lora> {
        let adapted = config.adapted(policy.config())?;
        let rank = config.rank;
        let mut factors = Vec::with_capacity(2 * adapted.len());
        let mut frozen = BTreeMap::new();
        for one in &adapted {
            let [a, b] = one.names();
            let deviation = (1.0 / (3.0 * one.columns as f64)).sqrt();
            let start = Normal::new(seed, &a).take(one.count * rank * one.columns, deviation as f32);
            factors.push(factor(a, start, [one.count, rank, one.columns])?);
            factors.push(factor(b, vec![0.0; one.count * one.rows * rank], [one.count, one.rows, rank])?);
            if let Entry::Vacant(place) = frozen.entry(one.parameter) {
                place.insert(values(&policy.parameters()?[one.parameter])?);
            }
        }
        Ok(Lora { rank, scale: (config.alpha / rank as f64) as f32, adapted, factors, frozen })
    }

    /// What is trained: A and B of each matrix, with their names.
    #[must_use]
    pub fn parameters(&self) -> &[(String, Var)] {
        &self.factors
    }

    /// The adapters' gradients from those of all the policy's parameters.
    ///
    /// # Errors
    /// `full` is of another model.
    pub fn gradients(&self, policy: &Policy, full: &Gradients) -> Result<Gradients> {
        let full: BTreeMap<&str, Option<Cow<'_, [f32]>>> = full.values()?.into_iter().collect();
        let specs = specs(policy.config());
        let of = |(one, factors): (&Adapted, &[(String, Var)])| -> Result<Option<[Vec<f32>; 2]>> {
            let name = specs[one.parameter].name.as_str();
            let Some(gradient) = full.get(name) else {
                let message = "has no gradient among those that were given".to_owned();
                return Err(PolicyError::TensorMismatch { operation: OPERATION.into(), tensor: name.into(), message });
            };
            let Some(gradient) = gradient else { return Ok(None) };
            let (a, b) = (values(&factors[0])?, values(&factors[1])?);
            let (mut d_a, mut d_b) = (vec![0.0; a.len()], vec![0.0; b.len()]);
            let (rows, columns, rank) = (one.rows, one.columns, self.rank);
            let parts = one.places().zip(a.chunks_exact(rank * columns)).zip(b.chunks_exact(rows * rank));
            let sums = d_a.chunks_exact_mut(rank * columns).zip(d_b.chunks_exact_mut(rows * rank));
            for (((place, a), b), (d_a, d_b)) in parts.zip(sums) {
                let d_w = one.view(&gradient[place]);
                let (a, b) = (View::rows(a, columns), View::rows(b, rank));
                matmul(d_b, rank, (rows, rank, columns), d_w, a.t(), self.scale, false);
                matmul(d_a, columns, (rank, columns, rows), b.t(), d_w, self.scale, false);
            }
            Ok(Some([d_a, d_b]))
        };
        let found: Vec<_> =
            self.adapted.par_iter().zip(self.factors.par_chunks(2)).map(of).collect::<Result<Vec<_>>>()?;
        let mut gradients = Gradients::zeros(&self.factors);
        for (factors, found) in self.factors.chunks_exact(2).zip(found) {
            for ((name, _), gradient) in factors.iter().zip(found.into_iter().flatten()) {
                gradients.add_slice(name, &gradient, 1.0)?;
            }
        }
        Ok(gradients)
    }

    /// Gives the policy the weights W + s B A.
    ///
    /// # Errors
    /// If memory cannot be had.
    pub fn merge(&self, policy: &Policy) -> Result<()> {
        self.frozen.par_iter().try_for_each(|(parameter, frozen)| {
            let mut weights = frozen.clone();
            for (one, factors) in self.adapted.iter().zip(self.factors.chunks_exact(2)) {
                if one.parameter != *parameter {
                    continue;
                }
                let (a, b) = (values(&factors[0])?, values(&factors[1])?);
                let (rows, columns, rank) = (one.rows, one.columns, self.rank);
                let parts = a.chunks_exact(rank * columns).zip(b.chunks_exact(rows * rank));
                for (place, (a, b)) in one.places().zip(parts) {
                    let (a, b) = (View::rows(a, columns), View::rows(b, rank));
                    let weights = &mut weights[place];
                    if one.transposed {
                        matmul(weights, rows, (columns, rows, rank), a.t(), b.t(), self.scale, true);
                    } else {
                        matmul(weights, columns, (rows, columns, rank), b, a, self.scale, true);
                    }
                }
            }
            policy.set_parameter(*parameter, weights)
        })
    }

    /// The adapters' numbers by name, to be saved.
    ///
    /// # Errors
    /// If memory cannot be had.
    pub fn state(&self) -> Result<BTreeMap<String, TensorData>> {
        let one = |named: &(String, Var)| {
            let tensor = TensorData { shape: named.1.dims().to_vec(), values: values(named)? };
            Ok((named.0.clone(), tensor))
        };
        self.factors.iter().map(one).collect()
    }

    /// Takes back what [`Lora::state`] gave. The policy's weights stay: those beside a saved state are merged.
    ///
    /// # Errors
    /// A tensor that is missing or of another shape; the message names it.
    pub fn restore(&self, state: &BTreeMap<String, TensorData>) -> Result<()> {
        for (name, var) in &self.factors {
            let mismatch = |message| {
                Err(PolicyError::TensorMismatch {
                    operation: "restore the adapters".into(),
                    tensor: name.clone(),
                    message,
                })
            };
            let Some(saved) = state.get(name) else { return mismatch("missing".to_owned()) };
            if saved.shape != var.dims() {
                return mismatch(format!("expected shape {:?}, found {:?}", var.dims(), saved.shape));
            }
            let tensor = Tensor::from_slice(&saved.values, var.dims(), &Device::Cpu);
            tensor.and_then(|tensor| var.set(&tensor)).during(format!("restore `{name}`"))?;
        }
        Ok(())
    }
}

const OPERATION: &str = "make the adapters' gradients";

fn factor(name: String, start: Vec<f32>, shape: [usize; 3]) -> Result<(String, Var)> {
    let tensor = Tensor::from_vec(start, &shape, &Device::Cpu);
    let var = tensor.and_then(|tensor| Var::from_tensor(&tensor)).during(format!("make `{name}`"))?;
    Ok((name, var))
}

#[cfg(test)]
mod tests;
