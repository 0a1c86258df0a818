//! Between this crate's parameters and the tensors of a Hugging Face checkpoint.
//!
//! A checkpoint has one matrix for each projection of each expert (`gate_proj` and `up_proj` `[inner, hidden]`,
//! `down_proj` `[hidden, inner]`); here all experts of a layer are one tensor `[experts, 3 * inner, hidden]`. Weights of
//! eight-bit floats are widened as they are read: each block of `weight_block_size` times its `weight_scale_inv`
//! (DeepSeek-V3, section 3.3.2). Every name and shape is checked before the first number is read.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::Policy;
use super::feed_forward::is_fused;
use super::parameters::{Parameters, Spec, from_values, layer_prefix, specs, values};
use crate::checkpoint::{Numbers, TensorArchive, TensorView, remove_shards, save_tensors_as};
use crate::config::ModelConfig;
use crate::{PolicyError, Result};

const BIAS: &str = "mlp.gate.e_score_correction_bias";
const SCALE: &str = "_scale_inv";

/// The checkpoint's names of one fused tensor's experts: prefixes to which `gate_proj.weight` and its like are added.
fn expert_prefixes(spec: &Spec) -> Vec<String> {
    match spec.name.strip_suffix("mlp.experts") {
        Some(layer) => (0..spec.shape[0]).map(|expert| format!("{layer}mlp.experts.{expert}.")).collect(),
        None => vec![format!("{}.", spec.name)],
    }
}

/// The checkpoint's tensors that make up a parameter, with their shapes, in the order in which they are put together.
fn stored(spec: &Spec) -> Vec<(String, Vec<usize>)> {
    if !is_fused(spec) {
        return vec![(spec.name.clone(), spec.shape.clone())];
    }
    let (inner, hidden) = (spec.shape[1] / 3, spec.shape[2]);
    let of_expert = |prefix: String| {
        [("gate_proj", inner, hidden), ("up_proj", inner, hidden), ("down_proj", hidden, inner)]
            .map(|(name, rows, columns)| (format!("{prefix}{name}.weight"), vec![rows, columns]))
    };
    expert_prefixes(spec).into_iter().flat_map(of_expert).collect()
}

/// The tensors of the routers' biases, with their shapes.
fn stored_biases(config: &ModelConfig) -> impl Iterator<Item = (String, Vec<usize>)> {
    config.moe_layers().map(|(layer, mixture)| (layer_prefix(layer) + BIAS, vec![mixture.n_routed_experts]))
}

/// The layer, from 0, that a tensor of this name belongs to.
fn layer_of(name: &str) -> Option<usize> {
    name.strip_prefix("model.layers.")?.split('.').next()?.parse().ok()
}

fn transpose(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    (0..columns).flat_map(|column| (0..rows).map(move |row| values[row * columns + column])).collect()
}

/// The parameters and the routers' biases of a model folder.
pub(super) fn load(folder: &Path, config: &ModelConfig) -> Result<(Parameters, Vec<Vec<f32>>)> {
    let source = Source { archive: TensorArchive::open(folder)?, folder, config };
    source.check()?;
    let parameters = from_values(config, |spec| {
        let mut values = Vec::with_capacity(spec.shape.iter().product());
        for (name, shape) in stored(spec) {
            let part = source.read(&name)?;
            if is_fused(spec) && name.ends_with("down_proj.weight") {
                values.extend(transpose(&part, shape[0], shape[1]));
            } else {
                values.extend(part);
            }
        }
        Ok(values)
    })?;
    let bias = stored_biases(config).map(|(name, _)| source.read(&name)).collect::<Result<_>>()?;
    Ok((parameters, bias))
}

struct Source<'a> {
    archive: TensorArchive,
    folder: &'a Path,
    config: &'a ModelConfig,
}

impl Source<'_> {
    fn mismatch(&self, tensor: &str, message: String) -> PolicyError {
        let place = self.archive.file_of(tensor).unwrap_or(self.folder).display();
        PolicyError::TensorMismatch { operation: format!("load {place}").into(), tensor: tensor.to_owned(), message }
    }

    /// Checks that the checkpoint holds what the configuration asks for, and nothing that would be left out of it.
    fn check(&self) -> Result<()> {
        let parameters = specs(self.config);
        let expected: BTreeMap<String, Vec<usize>> =
            parameters.iter().flat_map(stored).chain(stored_biases(self.config)).collect();
        let mut known: BTreeSet<String> = expected.keys().cloned().collect();
        // What is there and does not fit says more than what is missing, so it comes first.
        for (name, shape) in &expected {
            if let Some(found) = self.archive.shape(name)
                && found != shape
            {
                return Err(self.mismatch(name, format!("of shape {found:?}, where config.json asks for {shape:?}")));
            }
        }
        let strange = |name: &&str| !expected.contains_key(*name) && !name.ends_with(SCALE) && !self.is_left_out(name);
        for (name, shape) in &expected {
            if self.archive.shape(name).is_none() {
                let kind = self.config.architecture.name();
                let hint = self.archive.names().find(strange).map_or_else(String::new, |name| {
                    format!("; `{name}` is there, which a {kind} of this config.json does not have")
                });
                let message = format!("missing from the checkpoint, where config.json asks for {shape:?}{hint}");
                return Err(self.mismatch(name, message));
            }
            self.archive.check(name)?;
            if self.archive.is_eight_bit(name) {
                known.insert(self.check_scales(name, shape)?);
            }
        }
        match self.archive.names().find(|name| !known.contains(*name) && !self.is_left_out(name)) {
            Some(name) => {
                let kind = self.config.architecture.name();
                let hint = match layer_of(name) {
                    Some(layer) if layer >= self.config.num_hidden_layers => {
                        format!(": `num_hidden_layers` is {}", self.config.num_hidden_layers)
                    }
                    _ => String::new(),
                };
                Err(self.mismatch(name, format!("a {kind} of this config.json has no such tensor{hint}")))
            }
            None => Ok(()),
        }
    }

    /// The name of the scales of an eight-bit weight, whose shape must fit it.
    fn check_scales(&self, name: &str, shape: &[usize]) -> Result<String> {
        let Some(block) = self.config.weight_block_size else {
            return Err(self.mismatch(name, "of eight-bit floats, but config.json has no quantization_config".into()));
        };
        let scales = format!("{name}{SCALE}");
        let [rows, columns] = *shape else {
            return Err(
                self.mismatch(name, format!("of eight-bit floats, with {} dimensions instead of 2", shape.len()))
            );
        };
        let expected = [rows.div_ceil(block[0]), columns.div_ceil(block[1])];
        match self.archive.shape(&scales) {
            None => {
                Err(self
                    .mismatch(&scales, format!("missing from the checkpoint, though `{name}` is of eight-bit floats")))
            }
            Some(found) if found != expected => {
                Err(self.mismatch(&scales, format!("of shape {found:?}, where blocks of {block:?} make {expected:?}")))
            }
            Some(_) => {
                self.archive.check(&scales)?;
                Ok(scales)
            }
        }
    }

    /// Tensors that checkpoints have and the model does not need: DeepSeek-V3's modules for multi-token prediction, as many
    /// layers after the last as config.json says, tables that older versions of transformers saved, and a tied head.
    fn is_left_out(&self, name: &str) -> bool {
        let after = layer_of(name).and_then(|layer| layer.checked_sub(self.config.num_hidden_layers));
        after.is_some_and(|after| after < self.config.num_nextn_predict_layers)
            || name.ends_with("rotary_emb.inv_freq")
            || (self.config.tie_word_embeddings && name == "lm_head.weight")
    }

    fn read(&self, name: &str) -> Result<Vec<f32>> {
        let mut tensor = self.archive.read(name)?;
        if let (true, Some([rows, columns])) = (self.archive.is_eight_bit(name), self.config.weight_block_size) {
            let scales = self.archive.read(&format!("{name}{SCALE}"))?;
            let (width, across) = (tensor.shape[1], scales.shape[1]);
            for (row, values) in tensor.values.chunks_exact_mut(width).enumerate() {
                let scales = &scales.values[row / rows * across..];
                for (values, scale) in values.chunks_mut(columns).zip(scales) {
                    values.iter_mut().for_each(|value| *value *= scale);
                }
            }
        }
        Ok(tensor.values)
    }
}

/// Writes `model.safetensors` with the checkpoint's names, and takes away the shards that an earlier model left there. The routers' biases keep 32 bits, as in DeepSeek's own files:
/// they choose among scores that differ by little.
pub(super) fn save(folder: &Path, policy: &Policy, numbers: Numbers) -> Result<()> {
    let config = policy.config();
    let mut named: Vec<(String, Vec<usize>, Vec<f32>)> = Vec::new();
    for (spec, parameter) in specs(config).into_iter().zip(policy.parameters()?) {
        let values = values(parameter)?;
        if !is_fused(&spec) {
            named.push((spec.name, spec.shape, values));
            continue;
        }
        let mut rest = values.as_slice();
        for (name, shape) in stored(&spec) {
            let (part, after) = rest.split_at(shape.iter().product());
            rest = after;
            // Down is kept transposed.
            let down = name.ends_with("down_proj.weight");
            let part = if down { transpose(part, shape[1], shape[0]) } else { part.to_vec() };
            named.push((name, shape, part));
        }
    }
    for ((name, shape), bias) in stored_biases(config).zip(policy.router_bias()) {
        named.push((name, shape, bias.clone()));
    }
    let tensors: Vec<TensorView<'_>> =
        named.iter().map(|(name, shape, values)| (name.clone(), shape.clone(), values.as_slice())).collect();
    let of = |name: &str| if name.ends_with(BIAS) { Numbers::F32 } else { numbers };
    save_tensors_as(folder.join("model.safetensors"), &tensors, &BTreeMap::new(), of)?;
    remove_shards(folder)
}
