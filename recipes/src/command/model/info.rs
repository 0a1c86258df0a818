//! `recipe model info`: parameters, cache and memory, from the sizes alone: no weight is read.

use std::fmt::Write;
use std::path::Path;

use anyhow::Context;
use policy::ModelConfig;
use policy::config::AttentionKind;
use rewards::Registry;

use super::super::Wrong;
use super::chosen;
use crate::config::{LoraSettings, ModelSettings, Recipe, RecipeError, find_shipped};
use crate::progress::Reporter;
use crate::table::bytes_text as bytes;

/// What memory is stated for, unless it is said.
const TOKENS: u64 = 2048;
/// Bytes of a cached number.
const BYTES: usize = size_of::<f32>();

pub(super) fn info(model: &str, needs: &Needs) -> anyhow::Result<String> {
    let Needs { config, sequences, tokens, lora } = needs;
    let mut text = describe(model, config, *sequences, *tokens);
    if let Some(rank) = *lora {
        let adapters = LoraSettings { rank, ..LoraSettings::default() }.adapters();
        let trained = adapters.parameters(config).map_err(|error| Wrong(format!("--lora {rank}: {error}")))?;
        let memory = adapters.memory(config, *sequences, *tokens)?;
        let share = 100.0 * trained as f64 / config.parameters().0 as f64;
        let _ = writeln!(
            text,
            "{:26} {} ({share:.2}% of the parameters)",
            format!("LoRA of rank {rank} trains"),
            count(trained)
        );
        let _ =
            writeln!(text, "{:26} {} and the activations of a micro-batch", "memory to train it", bytes(memory.train));
    }
    Ok(text)
}

/// The model, and how much is sampled from it at a time.
pub(super) struct Needs {
    pub(super) config: ModelConfig,
    pub(super) sequences: u64,
    /// Of each sequence.
    pub(super) tokens: u64,
    /// The rank of the adapters, where these are trained in place of the model.
    pub(super) lora: Option<usize>,
}

impl Needs {
    /// What was asked about, with what is meant where nothing was said.
    pub(super) fn of(
        model: &str,
        (sequences, tokens): (u64, Option<u64>),
        lora: Option<usize>,
        known: &Registry,
        reporter: &Reporter,
    ) -> anyhow::Result<Needs> {
        let config = find(model, known, reporter)?;
        let limit = config.max_position_embeddings as u64;
        let tokens = tokens.unwrap_or(TOKENS.min(limit));
        if tokens > limit {
            return Err(Wrong(format!("--tokens {tokens}: {model} has {limit} positions")).into());
        }
        Ok(Needs { config, sequences, tokens, lora })
    }
}

/// A folder, a `config.json`, or a recipe.
fn find(model: &str, known: &Registry, reporter: &Reporter) -> anyhow::Result<ModelConfig> {
    let path = Path::new(model);
    if path.is_dir() {
        match chosen(path, reporter) {
            Ok(folder) => return Ok(ModelConfig::from_file(folder.join("config.json"))?),
            // A folder that happens to have a recipe's name hides it only if it is a model.
            Err(error) if find_shipped(model).is_err() => return Err(error),
            Err(_) => {}
        }
    }
    if path.extension().is_some_and(|extension| extension == "json") {
        if !path.is_file() {
            return Err(RecipeError::new(model, "there is no such file").into());
        }
        return Ok(ModelConfig::from_file(path)?);
    }
    let recipe =
        Recipe::find_with(model, &[], known).with_context(|| format!("{model} is neither a folder nor a recipe"))?;
    match &recipe.model {
        ModelSettings::Folder { path } if !path.join("config.json").is_file() => {
            let what = format!("it begins with the model in {}, which is not here", path.display());
            Err(RecipeError::new(model, what)
                .hint("fetch the model, and name its folder in place of the recipe")
                .into())
        }
        ModelSettings::Folder { path } => Ok(ModelConfig::from_file(path.join("config.json"))?),
        shape => {
            let vocabulary = recipe.pretrain().map(|settings| settings.vocab_size);
            let vocabulary =
                vocabulary.with_context(|| format!("{model} makes no base, so its vocabulary is not known"))?;
            let config = shape.hf_config(vocabulary).unwrap_or_default();
            Ok(ModelConfig::from_json(&config.to_string())?)
        }
    }
}

fn describe(model: &str, config: &ModelConfig, sequences: u64, tokens: u64) -> String {
    let (total, active) = config.parameters();
    let (cached, plain) = (config.cache_width(), config.attention.plain_cache_width(config.num_attention_heads));
    let memory = config.memory(sequences, tokens);
    let attention = match &config.attention {
        AttentionKind::Latent(latent) => format!("latent, rank {}", latent.kv_lora_rank),
        AttentionKind::Grouped(grouped) => format!("{} key heads", grouped.num_key_value_heads),
    };
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "{name:26} {value}");
    };
    line("model", format!("{model} ({})", config.architecture.name()));
    line(
        "layers",
        format!(
            "{} of width {}, {} heads ({attention}), vocabulary {}",
            config.num_hidden_layers, config.hidden_size, config.num_attention_heads, config.vocab_size
        ),
    );
    line("parameters", count(total));
    line("activated per token", format!("{} ({:.1}%)", count(active), 100.0 * active as f64 / total as f64));
    line(
        "cache per token and layer",
        format!(
            "{} bytes; plain multi-head attention {} ({:.1}%)",
            cached * BYTES,
            plain * BYTES,
            100.0 * cached as f64 / plain as f64
        ),
    );
    line("weights in f32", bytes(memory.weights));
    line("memory to sample", format!("{} ({sequences} sequences of {tokens} tokens)", bytes(memory.sample)));
    line("memory to train", format!("{} and the activations of a micro-batch", bytes(memory.train)));
    text
}

/// A count with its unit, and in full.
fn count(number: usize) -> String {
    let (divisor, unit) = match number {
        1_000_000_000.. => (1e9, "B"),
        1_000_000.. => (1e6, "M"),
        _ => (1e3, "K"),
    };
    format!("{:.1}{unit} ({number})", number as f64 / divisor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Verbosity;

    fn told(model: &str, sequences: u64, tokens: Option<u64>, lora: Option<usize>) -> anyhow::Result<String> {
        let reporter = Reporter::new(Verbosity::Silent);
        info(model, &Needs::of(model, (sequences, tokens), lora, &Registry::builtin(), &reporter)?)
    }

    #[test]
    fn a_recipe_names_the_model_that_it_makes() {
        let text = told("r1-zero", 64, None, None).unwrap();
        for expected in ["DeepseekV3ForCausalLM", "latent", "activated per token", "64 sequences of"] {
            assert!(text.contains(expected), "{text}");
        }
    }

    #[test]
    fn a_configuration_is_enough() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("config.json"), ModelConfig::tiny(64).to_json()).unwrap();
        let text = told(folder.path().to_str().unwrap(), 2, Some(100), Some(8)).unwrap();
        // (32 + 16) and 4 * (32 + 32) numbers of four bytes.
        assert!(text.contains("192 bytes; plain multi-head attention 1024 (18.8%)"), "{text}");
        assert!(text.contains("2 sequences of 100 tokens"), "{text}");
        assert!(text.contains("LoRA of rank 8 trains      ") && text.contains("memory to train it"), "{text}");
    }

    #[test]
    fn what_is_no_model_is_named() {
        fn check(model: &str, tokens: Option<u64>, expected: &str) {
            let message = format!("{:#}", told(model, 1, tokens, None).unwrap_err());
            assert!(message.contains(expected), "{message}");
        }
        check("no-such-model", None, "no-such-model is neither a folder nor a recipe");
        check("no/such/config.json", None, "no/such/config.json");
        check("r1-zero", Some(1 << 40), "positions");
    }

    #[test]
    fn numbers_read_easily() {
        assert_eq!(count(671_026_404_352), "671.0B (671026404352)");
        assert_eq!(count(1_500), "1.5K (1500)");
    }
}
