//! Rotary positions: the base, the order of pairs, and how the positions are stretched beyond those of pretraining.
//!
//! Frequencies follow transformers' `modeling_rope_utils`: `linear` divides all of them by the factor (Chen et al., 2023);
//! `llama3` divides the low ones only (Llama 3.1); `yarn` blends by how often a pair turns within the pretraining context
//! and sharpens attention by `mscale` (Peng et al., "YaRN", 2023; DeepSeek-V3, section 4.3).

use std::f64::consts::TAU;

use serde_json::{Map, Value, json};

use super::json::{Keys, config_error};
use super::{ModelConfig, ensure};
use crate::error::Result;

const ALL_DIM: &str = "mscale_all_dim";

/// How positions are encoded.
#[derive(Clone, Debug, PartialEq)]
pub struct Rope {
    /// Base of the rotary frequencies.
    pub theta: f64,
    /// Whether rotary pairs are neighbours (2i, 2i+1) in the stored weights, as DeepSeek's are; others pair i and i + d/2.
    pub interleave: bool,
    /// How the positions are stretched.
    pub scaling: RopeScaling,
}

/// How positions are stretched. Field names are the keys of `rope_scaling`.
#[derive(Clone, Debug, PartialEq)]
pub enum RopeScaling {
    /// Not at all.
    None,
    /// All alike.
    Linear {
        /// How many times longer the context is.
        factor: f64,
    },
    /// The slow pairs only.
    Llama3 {
        /// How many times slower the slow pairs turn.
        factor: f64,
        /// Pairs that turn less often than this within the original context are slowed in full.
        low_freq_factor: f64,
        /// Pairs that turn more often than this are left as they are.
        high_freq_factor: f64,
        /// The context of pretraining.
        original_max_position_embeddings: usize,
    },
    /// By how often a pair turns, with sharper attention.
    Yarn(Yarn),
}

/// The numbers of YaRN.
#[derive(Clone, Debug, PartialEq)]
pub struct Yarn {
    /// How many times longer the context is.
    pub factor: f64,
    /// The context of pretraining.
    pub original_max_position_embeddings: usize,
    /// Pairs that turn more often than this within the original context are left as they are.
    pub beta_fast: f64,
    /// Pairs that turn less often than this are slowed in full.
    pub beta_slow: f64,
    /// Weight of the factor's logarithm in the amplitude of the rotary part; 0 is none.
    pub mscale: Option<f64>,
    /// Weight of the factor's logarithm in the scale of the scores (DeepSeek's addition); 0 is none.
    pub mscale_all_dim: Option<f64>,
    /// The amplitude, where it is given rather than computed.
    pub attention_factor: Option<f64>,
    /// Whether the borders between fast and slow pairs are rounded outwards.
    pub truncate: bool,
}

impl Rope {
    /// The angle by which each pair of a rotary part `width` wide turns from one position to the next.
    #[must_use]
    pub fn frequencies(&self, width: usize) -> Vec<f64> {
        let plain = |pair: usize| self.theta.powf(-2.0 * pair as f64 / width as f64);
        let scaled = |pair: usize| match &self.scaling {
            RopeScaling::None => plain(pair),
            RopeScaling::Linear { factor } => plain(pair) / factor,
            RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_position_embeddings } => {
                let turns = *original_max_position_embeddings as f64 * plain(pair) / TAU;
                let kept = ((turns - low_freq_factor) / (high_freq_factor - low_freq_factor)).clamp(0.0, 1.0);
                plain(pair) * (kept + (1.0 - kept) / factor)
            }
            RopeScaling::Yarn(yarn) => {
                let slowed = yarn.slowed(pair, width, self.theta);
                plain(pair) * ((1.0 - slowed) + slowed / yarn.factor)
            }
        };
        (0..width / 2).map(scaled).collect()
    }

    /// What the rotary parts of queries and keys are multiplied with.
    #[must_use]
    pub fn amplitude(&self) -> f64 {
        match &self.scaling {
            RopeScaling::Yarn(yarn) => yarn.amplitude(),
            _ => 1.0,
        }
    }

    /// What the scores of latent attention are multiplied with besides `1 / sqrt(width)`.
    #[must_use]
    pub fn score_factor(&self) -> f64 {
        match &self.scaling {
            RopeScaling::Yarn(Yarn { factor, mscale_all_dim: Some(mscale), .. }) if *mscale != 0.0 => {
                magnitude(*factor, *mscale).powi(2)
            }
            _ => 1.0,
        }
    }

    pub(super) fn validate(&self, config: &ModelConfig) -> Result<()> {
        let positive = |key: &str, value: f64| {
            ensure(value.is_finite() && value > 0.0, key, || format!("expected a positive number, found {value}"))
        };
        positive("rope_theta", self.theta)?;
        match &self.scaling {
            RopeScaling::None => Ok(()),
            RopeScaling::Linear { factor } => positive("rope_scaling.factor", *factor),
            RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, .. } => {
                positive("rope_scaling.factor", *factor)?;
                positive("rope_scaling.low_freq_factor", *low_freq_factor)?;
                ensure(high_freq_factor > low_freq_factor, "rope_scaling.high_freq_factor", || {
                    format!("expected more than low_freq_factor ({low_freq_factor}), found {high_freq_factor}")
                })
            }
            RopeScaling::Yarn(yarn) => {
                positive("rope_scaling.factor", yarn.factor)?;
                positive("rope_scaling.beta_slow", yarn.beta_slow)?;
                positive("rope_scaling.beta_fast", yarn.beta_fast)?;
                positive("rope_scaling.attention_factor", yarn.attention_factor.unwrap_or(1.0))?;
                for (key, weight) in [("mscale", yarn.mscale), ("mscale_all_dim", yarn.mscale_all_dim)] {
                    // Zero is as good as none.
                    let weight = weight.unwrap_or(0.0);
                    ensure(weight.is_finite() && weight >= 0.0, &format!("rope_scaling.{key}"), || {
                        format!("expected a number of 0 or more, found {weight}")
                    })?;
                }
                let original = yarn.original_max_position_embeddings;
                let key = "rope_scaling.original_max_position_embeddings";
                ensure(original > 0 && original <= config.max_position_embeddings, key, || {
                    format!(
                        "expected 1 to max_position_embeddings ({}), found {original}",
                        config.max_position_embeddings
                    )
                })
            }
        }
    }
}

/// YaRN's `0.1 m ln(s) + 1`.
fn magnitude(factor: f64, mscale: f64) -> f64 {
    if factor <= 1.0 { 1.0 } else { 0.1 * mscale * factor.ln() + 1.0 }
}

impl Yarn {
    fn amplitude(&self) -> f64 {
        let given = |weight: Option<f64>| weight.filter(|weight| *weight != 0.0);
        match (self.attention_factor, given(self.mscale), given(self.mscale_all_dim)) {
            (Some(factor), ..) => factor,
            (None, Some(mscale), Some(all)) => magnitude(self.factor, mscale) / magnitude(self.factor, all),
            _ => magnitude(self.factor, 1.0),
        }
    }

    /// How far a pair is slowed, from 0 (it turns as before) to 1 (`factor` times slower).
    fn slowed(&self, pair: usize, width: usize, theta: f64) -> f64 {
        let original = self.original_max_position_embeddings as f64;
        // The pair, as a real number, that turns so many times within the original context.
        let turning = |turns: f64| width as f64 * (original / (turns * TAU)).ln() / (2.0 * theta.ln());
        let (mut low, mut high) = (turning(self.beta_fast), turning(self.beta_slow));
        if self.truncate {
            (low, high) = (low.floor(), high.ceil());
        }
        (low, high) = (low.max(0.0), high.min(width as f64 - 1.0));
        if low == high {
            high += 0.001;
        }
        ((pair as f64 - low) / (high - low)).clamp(0.0, 1.0)
    }
}

/// Reads `rope_theta`, and `rope_scaling` or, as transformers 5 writes both, `rope_parameters`.
pub(super) fn parse(keys: &Keys<'_>, interleave: bool) -> Result<Rope> {
    let (place, inner) = ["rope_scaling", "rope_parameters"]
        .into_iter()
        .find_map(|key| Some((key, keys.0.get(key).filter(|value| !value.is_null())?)))
        .unzip();
    let (place, empty) = (place.unwrap_or("rope_scaling"), Map::new());
    let inner = match inner {
        None => &empty,
        Some(Value::Object(map)) => map,
        Some(other) => return Err(config_error(place, format!("expected an object or null, found {other}"))),
    };
    if let Some((kind, found)) = inner.iter().find(|(_, found)| found.is_object()) {
        let message =
            format!("parameters of one kind of layer are not implemented; only those of all are, found {found}");
        return Err(config_error(&format!("{place}.{kind}"), message));
    }
    let inner = Keys(inner);
    // The inner keys by their whole path, as the file nests them.
    let nested = |error: crate::PolicyError| match error {
        crate::PolicyError::Config { path, key, message } => {
            crate::PolicyError::Config { path, key: format!("{place}.{key}"), message }
        }
        other => other,
    };
    let theta = match keys.optional("rope_theta", "a number", Value::as_f64)? {
        Some(theta) => theta,
        None => inner.number("rope_theta", Some(10_000.0)).map_err(nested)?,
    };
    const PARTIAL: &str = "partial_rotary_factor";
    let whole = |factor: f64| ensure(factor == 1.0, PARTIAL, || format!("only 1 is implemented, found {factor}"));
    whole(keys.number(PARTIAL, Some(1.0))?)?;
    inner.number(PARTIAL, Some(1.0)).and_then(whole).map_err(nested)?;
    let scaling = parse_scaling(keys, &inner).map_err(nested)?;
    Ok(Rope { theta, interleave, scaling })
}

fn parse_scaling(keys: &Keys<'_>, inner: &Keys<'_>) -> Result<RopeScaling> {
    let original = || -> Result<usize> {
        const ORIGINAL: &str = "original_max_position_embeddings";
        let read = |keys: &Keys<'_>| keys.optional(ORIGINAL, "an integer", super::json::as_size);
        // transformers takes a size outside of the object first, and the whole context where there is none.
        match (read(keys)?, read(inner)?) {
            (Some(size), _) | (None, Some(size)) => Ok(size),
            (None, None) => keys.size("max_position_embeddings"),
        }
    };
    // The older name is read where the newer one says nothing.
    let said = |key: &str| inner.0.get(key).is_some_and(|value| !value.is_null());
    let kind_key = if said("rope_type") { "rope_type" } else { "type" };
    let kind = inner.text(&[kind_key], "default")?;
    if let ("linear" | "llama3", Some(weight)) = (kind.as_str(), inner.optional(ALL_DIM, "a number", Value::as_f64)?) {
        // In a DeepSeek-V3, transformers scales the scores by it whatever the kind.
        let refused = || format!("{weight} is not implemented with {kind:?}; only with \"yarn\"");
        ensure(weight == 0.0, ALL_DIM, refused)?;
    }
    match kind.as_str() {
        "default" => Ok(RopeScaling::None),
        "linear" => Ok(RopeScaling::Linear { factor: inner.number("factor", None)? }),
        "llama3" => Ok(RopeScaling::Llama3 {
            factor: inner.number("factor", None)?,
            low_freq_factor: inner.number("low_freq_factor", None)?,
            high_freq_factor: inner.number("high_freq_factor", None)?,
            original_max_position_embeddings: original()?,
        }),
        "yarn" => {
            let original = original()?;
            let whole = keys.size("max_position_embeddings")?;
            let factor = inner.optional("factor", "a number", Value::as_f64)?;
            let number = |key: &str| inner.optional(key, "a number", Value::as_f64);
            // Zero means the default, as in transformers.
            let or = |value: Option<f64>, default: f64| value.filter(|value| *value != 0.0).unwrap_or(default);
            Ok(RopeScaling::Yarn(Yarn {
                factor: factor.unwrap_or(whole as f64 / original.max(1) as f64),
                original_max_position_embeddings: original,
                beta_fast: or(number("beta_fast")?, 32.0),
                beta_slow: or(number("beta_slow")?, 1.0),
                mscale: number("mscale")?,
                mscale_all_dim: number(ALL_DIM)?,
                attention_factor: number("attention_factor")?,
                truncate: inner.flag("truncate", true)?,
            }))
        }
        other => Err(config_error(
            kind_key,
            format!("{other:?} is not implemented; expected \"default\", \"linear\", \"llama3\" or \"yarn\""),
        )),
    }
}

/// The value of `rope_scaling`.
pub(super) fn write(scaling: &RopeScaling) -> Value {
    let mut value = match scaling {
        RopeScaling::None => return Value::Null,
        RopeScaling::Linear { factor } => json!({ "rope_type": "linear", "factor": factor }),
        RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_position_embeddings } => json!({
            "rope_type": "llama3",
            "factor": factor,
            "low_freq_factor": low_freq_factor,
            "high_freq_factor": high_freq_factor,
            "original_max_position_embeddings": original_max_position_embeddings,
        }),
        RopeScaling::Yarn(yarn) => json!({
            "rope_type": "yarn",
            // Read by DeepSeek's own code, which knows no `rope_type`.
            "type": "yarn",
            "factor": yarn.factor,
            "original_max_position_embeddings": yarn.original_max_position_embeddings,
            "beta_fast": yarn.beta_fast,
            "beta_slow": yarn.beta_slow,
            "mscale": yarn.mscale,
            "mscale_all_dim": yarn.mscale_all_dim,
            "attention_factor": yarn.attention_factor,
            "truncate": yarn.truncate,
        }),
    };
    if let Value::Object(map) = &mut value {
        map.retain(|_, value| !value.is_null());
    }
    value
}
