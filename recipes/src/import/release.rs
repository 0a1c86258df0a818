//! The releases of TRL whose defaults are known: what a file means depends on them where it is silent.

use std::fmt;

use super::Reader;

/// A release of TRL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// 0.18, which Open R1's published files were made for.
    Old,
    /// 1.16.
    New,
}

/// The defaults of `GRPOConfig` that are not the same in both.
pub(super) struct Defaults {
    pub(super) beta: f64,
    pub(super) loss_type: &'static str,
    pub(super) max_completion_length: u64,
    pub(super) use_bias_correction_kl: bool,
}

/// Keys that Open R1's scripts have and TRL has not.
const OF_OPEN_R1: [&str; 21] = [
    "benchmarks",
    "callbacks",
    "code_language",
    "code_provider",
    "cosine_max_len",
    "cosine_max_value_correct",
    "cosine_max_value_wrong",
    "cosine_min_value_correct",
    "cosine_min_value_wrong",
    "dataset_prompt_column",
    "hub_model_revision",
    "max_completion_len",
    "overwrite_hub_revision",
    "parallel_code_exec_per_proc",
    "push_to_hub_revision",
    "repetition_max_penalty",
    "repetition_n_grams",
    "soft_punish_cache",
    "system_prompt",
    "wandb_entity",
    "wandb_project",
];

impl Release {
    /// All that are known.
    pub const ALL: [Release; 2] = [Release::Old, Release::New];

    pub(super) fn defaults(self) -> Defaults {
        match self {
            Release::Old => {
                Defaults { beta: 0.04, loss_type: "bnpo", max_completion_length: 256, use_bias_correction_kl: false }
            }
            Release::New => {
                Defaults { beta: 0.0, loss_type: "dapo", max_completion_length: 512, use_bias_correction_kl: true }
            }
        }
    }

    fn other(self) -> Release {
        match self {
            Release::Old => Release::New,
            Release::New => Release::Old,
        }
    }
}

/// As it is written.
impl fmt::Display for Release {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Release::Old => "0.18",
            Release::New => "1.16",
        })
    }
}

/// The release that a configuration of GRPO was written for: as a person says; else that of Open R1 where the file has a key
/// of its own; else the newest. What follows from it, where nobody said so, is named key by key.
pub(super) fn release(reader: &mut Reader) -> Release {
    if let Some(named) = reader.named {
        return named;
    }
    let of_open_r1 = OF_OPEN_R1.into_iter().find(|key| reader.look(key).is_some());
    let release = if of_open_r1.is_some() { Release::Old } else { Release::New };
    let (here, there, other) = (release.defaults(), release.other().defaults(), release.other());
    let silent = |key: &str| reader.look(key).is_none();
    let mut differ = Vec::new();
    for (key, here, there) in [
        ("beta", here.beta.to_string(), there.beta.to_string()),
        ("loss_type", here.loss_type.to_owned(), there.loss_type.to_owned()),
        ("max_completion_length", here.max_completion_length.to_string(), there.max_completion_length.to_string()),
    ] {
        if silent(key) {
            differ.push((key, format!("{here} stands in the recipe, TRL {release}'s default; {other} has {there}")));
        }
    }
    let penalizes = reader.look("beta").map_or(here.beta, |entry| entry.value.number().unwrap_or(here.beta)) > 0.0;
    if silent("use_bias_correction_kl") && penalizes {
        let (here, there) = (here.use_bias_correction_kl, there.use_bias_correction_kl);
        let what = format!("kl_importance = {here} stands in the recipe, as TRL {release} has it; {other} has {there}");
        differ.push(("use_bias_correction_kl", what));
    }
    if release == Release::Old && silent("max_prompt_length") {
        differ.push((
            "max_prompt_length",
            format!("TRL {release} cuts prompts to their last 512 tokens; here they are never cut, as in {other}"),
        ));
    }
    if differ.is_empty() {
        return release;
    }
    let why = match of_open_r1 {
        Some(key) => format!("{release} assumed, which Open R1 pins: {key} is a key of its own"),
        None => format!("{release} assumed, the newest that is known here"),
    };
    reader.missing("release of TRL", format!("{why} (--trl {other} says otherwise)"));
    for (key, what) in differ {
        reader.missing(key, what);
    }
    release
}
