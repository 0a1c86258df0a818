//! Keys without which nothing is lost, each with the reason; some of them at one value only.

use super::yaml::Value;
use super::{Outcome, Reader};

const HARDWARE: &str = "how the work is spread over devices: this program runs on one machine, and packs its batches by \
                        tokens (micro_batch_tokens)";
const PRECISION: &str = "weights and sums are 32-bit floats here";
const ENGINE: &str = "sampling and training share one engine here, so there is no other to set up or to correct for";
const LOGGING: &str = "metrics, completions and a report are always written to the run's folder";
const HUB: &str = "nothing is uploaded; a checkpoint is a Hugging Face folder";
const DATA: &str = "rows are read as they lie, by the columns that they have";
const PLACE: &str = "runs lie below runs/; --run-dir names another folder";
const EVALUATION: &str = "held-out tasks are examined as the recipe's [eval] table says";
const TIED: &str = "it has no meaning without the keys beside it";
const CHECKPOINTING: &str = "layers are computed again in one way here (checkpoint_layers), with the same gradients";
const RESUMING: &str = "a resumed run always goes on with what it would have had";

/// Prefixes and keys with their reasons; an entry that ends in `*` stands for all that begins so.
const IGNORED: &[(&str, &str)] = &[
    ("vllm_*", ENGINE),
    ("use_vllm", ENGINE),
    ("use_transformers_*", ENGINE),
    ("transformers_continuous_batching_config*", ENGINE),
    ("cache_implementation", ENGINE),
    ("use_liger*", HARDWARE),
    ("bf16*", PRECISION),
    ("fp16*", PRECISION),
    ("tf32", PRECISION),
    ("cast_lm_head_to_fp32", PRECISION),
    ("bnb_4bit_*", TIED),
    ("torch_dtype", PRECISION),
    ("dtype", PRECISION),
    ("model_init_kwargs*", PRECISION),
    ("attn_implementation", HARDWARE),
    ("gradient_checkpointing_kwargs*", CHECKPOINTING),
    ("activation_checkpointing_kwargs*", CHECKPOINTING),
    ("activation_offloading", HARDWARE),
    ("accelerator_config*", HARDWARE),
    ("parallelism_config*", HARDWARE),
    ("use_cache", HARDWARE),
    ("enable_jit_checkpoint", HARDWARE),
    ("save_on_each_node", HARDWARE),
    ("eval_do_concat_batches", HARDWARE),
    ("eval_use_gather_object", HARDWARE),
    ("length_column_name", HARDWARE),
    ("liger_kernel_config*", HARDWARE),
    ("per_device_eval_batch_size", HARDWARE),
    ("dataloader_*", HARDWARE),
    ("deepspeed*", HARDWARE),
    ("fsdp*", HARDWARE),
    ("ddp_*", HARDWARE),
    ("local_rank", HARDWARE),
    ("torch_compile*", HARDWARE),
    ("ds3_gather_for_generation", HARDWARE),
    ("eval_accumulation_steps", HARDWARE),
    ("torch_empty_cache_steps", HARDWARE),
    ("group_by_length", HARDWARE),
    ("pad_to_multiple_of", HARDWARE),
    ("dataset_num_proc", HARDWARE),
    ("trust_remote_code", "no code is read from a model's folder"),
    ("logging_*", LOGGING),
    ("log_*", LOGGING),
    ("report_to", LOGGING),
    ("run_name", LOGGING),
    ("num_completions_to_print", LOGGING),
    ("wandb_*", LOGGING),
    ("trackio_*", LOGGING),
    ("disable_tqdm", LOGGING),
    ("debug", LOGGING),
    ("project", LOGGING),
    ("skip_memory_metrics", LOGGING),
    ("batch_eval_metrics", LOGGING),
    ("prediction_loss_only", LOGGING),
    ("include_*", LOGGING),
    ("push_to_hub*", HUB),
    ("hub_*", HUB),
    ("callbacks", HUB),
    ("benchmarks", "`recipe eval` examines a checkpoint; nothing is started from within a run"),
    ("output_dir", PLACE),
    ("overwrite_output_dir", "a run never overwrites another"),
    ("resume_from_checkpoint", "--resume goes on with a run"),
    ("save_strategy", "checkpoints are written every checkpoint_every steps and at the end"),
    ("save_safetensors", "checkpoints are safetensors"),
    ("save_only_model", "a checkpoint always holds what resuming needs"),
    ("restore_callback_states_from_checkpoint", RESUMING),
    ("ignore_data_skip", RESUMING),
    ("do_train", TIED),
    ("do_predict", TIED),
    ("entropy_coef_*", TIED),
    ("entropy_target", TIED),
    ("vespo_*", TIED),
    ("metric_for_best_model", TIED),
    ("greater_is_better", TIED),
    ("eval_on_start", EVALUATION),
    ("num_generations_eval", EVALUATION),
    ("dataset_test_split", EVALUATION),
    ("remove_unused_columns", DATA),
    ("data_seed", "all randomness comes from the one seed"),
    ("full_determinism", "runs are repeatable to the bit"),
    ("disable_dropout", "models are trained without dropout"),
    ("optim_*", "the optimizer is AdamW"),
    ("use_cpu", "this program runs on the CPU"),
    ("wait_for_*", "code runs in a sandbox of the program's own"),
    ("e2b_*", "code runs in a sandbox of the program's own"),
    ("morph_*", "code runs in a sandbox of the program's own"),
    ("piston_*", "code runs in a sandbox of the program's own"),
    ("code_provider", "code runs in a sandbox of the program's own"),
    ("parallel_code_exec_per_proc", "code runs in a sandbox of the program's own, on all cores"),
    ("code_language", "code is Python; a task with tests says what is run"),
];

/// A key without which nothing is lost as long as its value is the one that things have here anyway.
struct AtOneValue {
    key: &'static str,
    fits: fn(&Value) -> bool,
    reason: &'static str,
    /// What is lost at any other value.
    otherwise: &'static str,
}

fn is_on(value: &Value) -> bool {
    value.flag() == Some(true)
}

fn is_off(value: &Value) -> bool {
    value.flag() == Some(false)
}

fn is_zero(value: &Value) -> bool {
    value.number() == Some(0.0)
}

const AT_ONE_VALUE: &[AtOneValue] = &[
    AtOneValue {
        key: "dataset_config",
        fits: |value| value.text() == Some("default"),
        reason: DATA,
        otherwise: "it names which files of the data set are meant: fetch those",
    },
    AtOneValue {
        key: "dataset_train_split",
        fits: |value| value.text() == Some("train"),
        reason: DATA,
        otherwise: "it names which files of the data set are meant: fetch those",
    },
    AtOneValue {
        key: "optim",
        // As whole numbers of 8 bits, paged or fused, it is the same optimizer.
        fits: |value| value.text().is_some_and(|name| name.trim_start_matches("paged_").starts_with("adamw")),
        reason: "the optimizer is AdamW",
        otherwise: "the optimizer is AdamW here: a learning rate meant for another one may not suit it",
    },
    AtOneValue {
        key: "adam_epsilon",
        fits: |value| value.number() == Some(1e-8),
        reason: "AdamW's epsilon is 1e-8, as in TRL",
        otherwise: "AdamW's epsilon is 1e-8 here",
    },
    AtOneValue {
        key: "auto_find_batch_size",
        fits: is_off,
        reason: HARDWARE,
        otherwise: "the batch that is found depends on the GPU: put it into the recipe",
    },
    AtOneValue {
        key: "average_tokens_across_devices",
        fits: is_on,
        reason: "a loss is averaged over all of an optimizer step",
        otherwise: "a loss is averaged over all of an optimizer step here, not over the part of each GPU by itself",
    },
    AtOneValue {
        key: "use_adaptive_entropy",
        fits: is_off,
        reason: "entropy_coefficient does not move",
        otherwise: "entropy_coefficient does not move here",
    },
    AtOneValue {
        key: "eval_delay",
        fits: is_zero,
        reason: EVALUATION,
        otherwise: "evaluations here begin with the first eval_every steps",
    },
    AtOneValue {
        key: "label_smoothing_factor",
        fits: is_zero,
        reason: "labels are not smoothed",
        otherwise: "labels are not smoothed here",
    },
    AtOneValue {
        key: "neftune_noise_alpha",
        fits: is_zero,
        reason: "no noise is added to embeddings",
        otherwise: "no noise is added to embeddings here",
    },
    AtOneValue {
        key: "load_best_model_at_end",
        fits: is_off,
        reason: "the last policy is handed on",
        otherwise: "the last policy is handed on here; hand_on = \"best\" in a stage of kind grpo takes that which did best in a \
                    quick evaluation",
    },
    AtOneValue {
        key: "train_sampling_strategy",
        fits: |value| value.text() == Some("random"),
        reason: "rows come in a seeded random order",
        otherwise: "rows come in a seeded random order here",
    },
];

/// Deals with the keys that may be left out at one value.
pub(super) fn at_one_value(reader: &mut Reader) {
    for known in AT_ONE_VALUE {
        // Some of them are carried over where a setting has a place for them.
        if reader.taken.iter().any(|key| key == known.key) {
            continue;
        }
        let Some(entry) = reader.take(known.key) else { continue };
        match (known.fits)(&entry.value) {
            true => reader.note(&entry, Outcome::Ignored(known.reason)),
            false => reader.attention(&entry, known.otherwise),
        }
    }
}

/// Why a key may be left out, whatever its value is, if it may.
pub(super) fn reason(key: &str) -> Option<&'static str> {
    let fits = |pattern: &str| pattern.strip_suffix('*').map_or(key == pattern, |prefix| key.starts_with(prefix));
    IGNORED.iter().find(|(pattern, _)| fits(pattern)).map(|(_, reason)| *reason)
}
