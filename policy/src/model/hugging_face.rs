//! Between this crate's parameters and the tensors of a Hugging Face checkpoint.
//!
//! A checkpoint has one matrix for each projection of each expert (`gate_proj` and `up_proj` `[inner, hidden]`,
//! `down_proj` `[hidden, inner]`); here all experts of a layer are one tensor `[experts, 3 * inner, hidden]`. Weights of
//! eight-bit floats are widened as they are read: each block of `weight_block_size` times its `weight_scale_inv`
//! (DeepSeek-V3, section 3.3.2). Every name and shape is checked before the first number is read.

use std::collections::BTreeMap;
use std::path::Path;

use super::Policy;
use super::feed_forward::is_fused;
use super::parameters::{Parameters, Spec, from_values, layer_prefix, specs, values};
use crate::checkpoint::{Numbers, TensorArchive, TensorView, remove_shards, save_tensors_as};
use crate::config::ModelConfig;
use crate::{PolicyError, Result};

const BIAS: &str = "mlp.gate.e_score_correction_bias";
const SCALE: &str = "_scale_inv";

/// The checkpoint's matrices of an expert, by the ends of their names, in the order in which they are put together.
const OF_EXPERT: [&str; 3] = [".gate_proj.weight", ".up_proj.weight", ".down_proj.weight"];

/// The shape of the matrix with this end among those that make up a fused parameter.
fn expert_shape(spec: &Spec, end: &str) -> Vec<usize> {
    let (inner, hidden) = (spec.shape[1] / 3, spec.shape[2]);
    if end == OF_EXPERT[2] { vec![hidden, inner] } else { vec![inner, hidden] }
}

/// Whether a fused parameter is of routed experts, which a checkpoint numbers.
fn is_numbered(spec: &Spec) -> bool {
    spec.name.ends_with("mlp.experts")
}

/// The checkpoint's tensors that make up a parameter, with their shapes, in the order in which they are put together.
fn stored(spec: &Spec) -> Vec<(String, Vec<usize>)> {
    if !is_fused(spec) {
        return vec![(spec.name.clone(), spec.shape.clone())];
    }
    let of_expert = |prefix: String| OF_EXPERT.map(|end| (format!("{prefix}{end}"), expert_shape(spec, end)));
    if is_numbered(spec) {
        (0..spec.shape[0]).flat_map(|expert| of_expert(format!("{}.{expert}", spec.name))).collect()
    } else {
        of_expert(spec.name.clone()).into()
    }
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
            if is_fused(spec) && name.ends_with(OF_EXPERT[2]) {
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

/// What a configuration asks of a checkpoint, by name. A few bytes of a config.json can ask for more experts in all layers than
/// there is memory for their names, so these are not listed.
struct Expected<'a> {
    parameters: BTreeMap<&'a str, &'a Spec>,
    biases: BTreeMap<String, Vec<usize>>,
}

impl<'a> Expected<'a> {
    fn of(parameters: &'a [Spec], config: &ModelConfig) -> Expected<'a> {
        let parameters = parameters.iter().map(|spec| (spec.name.as_str(), spec)).collect();
        Expected { parameters, biases: stored_biases(config).collect() }
    }

    /// The shape that a tensor of the checkpoint is to have; `None` where none of this name is asked for.
    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        if let Some(shape) = self.biases.get(name) {
            return Some(shape.clone());
        }
        if let Some(spec) = self.parameters.get(name).filter(|spec| !is_fused(spec)) {
            return Some(spec.shape.clone());
        }
        let (expert, end) = OF_EXPERT.iter().find_map(|end| Some((name.strip_suffix(end)?, *end)))?;
        let fused = |name: &str| self.parameters.get(name).copied().filter(|spec| is_fused(spec));
        let numbered = || {
            let (experts, number) = expert.rsplit_once('.')?;
            let is_written_so = |expert: &usize| expert.to_string() == number;
            let expert = number.parse().ok().filter(is_written_so)?;
            fused(experts).filter(|spec| is_numbered(spec) && expert < spec.shape[0])
        };
        let spec = fused(expert).filter(|spec| !is_numbered(spec)).or_else(numbered)?;
        Some(expert_shape(spec, end))
    }
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
        let expected = Expected::of(&parameters, self.config);
        let kind = self.config.architecture.name();
        // What is there and does not fit says more than what is missing, so it comes first.
        for name in self.archive.names() {
            if let (Some(found), Some(shape)) = (self.archive.shape(name), expected.shape(name))
                && *found != shape
            {
                return Err(self.mismatch(name, format!("of shape {found:?}, where config.json asks for {shape:?}")));
            }
        }
        // At the latest behind as many as are there, one is missing, however many are asked for.
        let mut asked = parameters.iter().flat_map(stored).chain(stored_biases(self.config));
        if let Some((missing, shape)) = asked.find(|(name, _)| self.archive.shape(name).is_none()) {
            let strange =
                |name: &&str| expected.shape(name).is_none() && !name.ends_with(SCALE) && !self.is_left_out(name);
            let hint = self.archive.names().find(strange).map_or_else(String::new, |name| {
                format!("; `{name}` is there, which a {kind} of this config.json does not have")
            });
            let message = format!("missing from the checkpoint, where config.json asks for {shape:?}{hint}");
            return Err(self.mismatch(&missing, message));
        }
        for name in self.archive.names() {
            if let Some(shape) = expected.shape(name) {
                self.archive.check(name)?;
                if self.archive.is_eight_bit(name) {
                    self.check_scales(name, &shape)?;
                }
            } else if !self.is_scale_of(name, &expected) && !self.is_left_out(name) {
                let hint = match layer_of(name) {
                    Some(layer) if layer >= self.config.num_hidden_layers => {
                        format!(": `num_hidden_layers` is {}", self.config.num_hidden_layers)
                    }
                    _ => String::new(),
                };
                return Err(self.mismatch(name, format!("a {kind} of this config.json has no such tensor{hint}")));
            }
        }
        Ok(())
    }

    /// Whether these are the scales of an eight-bit weight that is asked for.
    fn is_scale_of(&self, name: &str, expected: &Expected<'_>) -> bool {
        let weight = name.strip_suffix(SCALE);
        weight.is_some_and(|weight| expected.shape(weight).is_some() && self.archive.is_eight_bit(weight))
    }

    /// Checks that the scales of an eight-bit weight are there and fit it.
    fn check_scales(&self, name: &str, shape: &[usize]) -> Result<()> {
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
            Some(_) => self.archive.check(&scales),
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
            let down = name.ends_with(OF_EXPERT[2]);
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What is asked for by name is what is put together, and nothing besides.
    #[test]
    fn names_of_experts_are_known_without_a_list() {
        let config = ModelConfig { num_hidden_layers: 2, ..ModelConfig::tiny(64) };
        let parameters = specs(&config);
        let expected = Expected::of(&parameters, &config);
        let listed: Vec<_> = parameters.iter().flat_map(stored).chain(stored_biases(&config)).collect();
        assert!(listed.iter().all(|(name, shape)| expected.shape(name).as_ref() == Some(shape)));
        assert!(listed.iter().any(|(name, _)| name == "model.layers.1.mlp.experts.7.down_proj.weight"));
        for strange in [
            "model.layers.1.mlp.experts.8.down_proj.weight",
            "model.layers.1.mlp.experts.07.down_proj.weight",
            "model.layers.1.mlp.experts.down_proj.weight",
            "model.layers.1.mlp.experts",
            "model.layers.1.mlp.shared_experts.0.up_proj.weight",
            "model.layers.0.mlp.0.gate_proj.weight",
            "model.layers.0.mlp",
            "model.layers.2.mlp.gate_proj.weight",
        ] {
            assert_eq!(expected.shape(strange), None, "{strange}");
        }
    }
}
