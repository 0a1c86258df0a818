//! Between this crate's parameters and the tensors of a Hugging Face checkpoint.
//!
//! A checkpoint has one matrix for each projection of each expert (`gate_proj` and `up_proj` `[inner, hidden]`,
//! `down_proj` `[hidden, inner]`); here all experts of a layer are one tensor `[experts, 3 * inner, hidden]`.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::DType;

use super::Policy;
use super::parameters::{Parameters, Spec, from_values, layer_prefix, specs};
use crate::checkpoint::{TensorData, TensorView, load_tensors, save_tensors};
use crate::config::ModelConfig;
use crate::{PolicyError, Result};

const BIAS: &str = "mlp.gate.e_score_correction_bias";

/// The checkpoint's names of one fused tensor's experts: prefixes to which `gate_proj.weight` and its like are added.
fn expert_prefixes(spec: &Spec) -> Vec<String> {
    match spec.name.strip_suffix("mlp.experts") {
        Some(layer) => (0..spec.shape[0]).map(|expert| format!("{layer}mlp.experts.{expert}.")).collect(),
        None => vec![format!("{}.", spec.name)],
    }
}

fn is_fused(spec: &Spec) -> bool {
    spec.shape.len() == 3
}

fn transpose(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    (0..columns).flat_map(|column| (0..rows).map(move |row| values[row * columns + column])).collect()
}

/// The parameters and the routers' biases of a model folder.
pub(super) fn load(folder: &Path, config: &ModelConfig) -> Result<(Parameters, Vec<Vec<f32>>)> {
    let mut tensors = load_tensors(folder)?;
    let parameters = from_values(
        config,
        |spec| {
            if !is_fused(spec) {
                return take(&mut tensors, folder, &spec.name, &spec.shape);
            }
            let (inner, hidden) = (spec.shape[1] / 3, spec.shape[2]);
            let mut fused = Vec::with_capacity(spec.shape.iter().product());
            for prefix in expert_prefixes(spec) {
                fused.extend(take(&mut tensors, folder, &format!("{prefix}gate_proj.weight"), &[inner, hidden])?);
                fused.extend(take(&mut tensors, folder, &format!("{prefix}up_proj.weight"), &[inner, hidden])?);
                let down = take(&mut tensors, folder, &format!("{prefix}down_proj.weight"), &[hidden, inner])?;
                fused.extend(transpose(&down, hidden, inner));
            }
            Ok(fused)
        },
        DType::F32,
    )?;
    let moe_layers = (0..config.num_hidden_layers).filter(|layer| config.is_moe_layer(*layer));
    let bias = moe_layers
        .map(|layer| take(&mut tensors, folder, &(layer_prefix(layer) + BIAS), &[config.n_routed_experts]))
        .collect::<Result<_>>()?;
    Ok((parameters, bias))
}

fn take(tensors: &mut BTreeMap<String, TensorData>, folder: &Path, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
    let mismatch = |message| PolicyError::TensorMismatch {
        operation: format!("load {}", folder.display()).into(),
        tensor: name.to_owned(),
        message,
    };
    let tensor = tensors.remove(name).ok_or_else(|| mismatch("missing from the checkpoint".into()))?;
    if tensor.shape != shape {
        return Err(mismatch(format!("of shape {:?}, where config.json asks for {shape:?}", tensor.shape)));
    }
    Ok(tensor.values)
}

/// Writes `model.safetensors` with the checkpoint's names.
pub(super) fn save(folder: &Path, policy: &Policy) -> Result<()> {
    let config = policy.config();
    let mut named: Vec<(String, Vec<usize>, Vec<f32>)> = Vec::new();
    for (spec, values) in specs(config).into_iter().zip(policy.values()?) {
        if !is_fused(&spec) {
            named.push((spec.name, spec.shape, values));
            continue;
        }
        let (inner, hidden) = (spec.shape[1] / 3, spec.shape[2]);
        for (prefix, expert) in expert_prefixes(&spec).into_iter().zip(values.chunks_exact(3 * inner * hidden)) {
            let (gate, rest) = expert.split_at(inner * hidden);
            let (up, down) = rest.split_at(inner * hidden);
            named.push((format!("{prefix}gate_proj.weight"), vec![inner, hidden], gate.to_vec()));
            named.push((format!("{prefix}up_proj.weight"), vec![inner, hidden], up.to_vec()));
            named.push((format!("{prefix}down_proj.weight"), vec![hidden, inner], transpose(down, inner, hidden)));
        }
    }
    let moe_layers = (0..config.num_hidden_layers).filter(|layer| config.is_moe_layer(*layer));
    for (layer, bias) in moe_layers.zip(policy.router_bias()) {
        named.push((layer_prefix(layer) + BIAS, vec![bias.len()], bias.clone()));
    }
    let tensors: Vec<TensorView<'_>> =
        named.iter().map(|(name, shape, values)| (name.clone(), shape.clone(), values.as_slice())).collect();
    save_tensors(folder.join("model.safetensors"), &tensors, &BTreeMap::new())
}
