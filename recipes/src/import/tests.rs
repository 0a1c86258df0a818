//! Configurations in the shape of those that Open R1 and TRL's users publish, each key written out here.

mod data;
mod release;
mod steps;

use super::*;
use crate::config::{
    GrpoSettings, LossKind, ModelSettings, ReferenceKind, Schedule, SftSettings, StageSettings, Template,
};

/// As Open R1's recipes for GRPO on mathematics are laid out.
const DEMO: &str = r#"# Model arguments
model_name_or_path: some-org/Base-1.5B-Instruct
model_revision: main
torch_dtype: bfloat16
attn_implementation: flash_attention_2

# Data training arguments
dataset_name: some-org/math-220k
dataset_prompt_column: problem
system_prompt: "You are a helpful assistant. Put your thoughts in <think> </think> and the answer in <answer> </answer>."

# GRPO trainer config
bf16: true
use_vllm: true
do_eval: false
gradient_accumulation_steps: 4
gradient_checkpointing: true
gradient_checkpointing_kwargs:
  use_reentrant: false
hub_model_id: Base-1.5B-GRPO
hub_strategy: every_save
learning_rate: 2.0e-05
log_completions: true
log_level: info
logging_first_step: true
logging_steps: 1
logging_strategy: steps
lr_scheduler_type: cosine_with_min_lr
lr_scheduler_kwargs:
  min_lr_rate: 0.1
max_prompt_length: 512
max_completion_length: 1024
max_steps: -1
num_generations: 16
num_train_epochs: 1
output_dir: data/Base-1.5B-GRPO
overwrite_output_dir: true
per_device_eval_batch_size: 16
per_device_train_batch_size: 16
push_to_hub: true
report_to:
- wandb
reward_funcs:
- accuracy
- format
- my_own_reward
reward_weights:
- 1.0
- 0.5
- 1.0
save_strategy: "epoch"
save_total_limit: 1
seed: 42
warmup_ratio: 0.1
"#;

fn imported(text: &str, gpus: u64) -> (Recipe, Imported) {
    let imported = import("x.yaml", "x", text, gpus, None).unwrap_or_else(|error| panic!("{error}"));
    (Recipe::parse("x.toml", &imported.toml, &[]).unwrap(), imported)
}

fn grpo(text: &str) -> (GrpoSettings, Imported) {
    let (recipe, notes) = imported(text, 1);
    (recipe.grpo().next().unwrap().1.clone(), notes)
}

fn sft(text: &str) -> (SftSettings, Imported) {
    let (recipe, notes) = imported(text, 1);
    (recipe.stages[0].settings.training().unwrap().clone(), notes)
}

/// The keys that need attention, in the order in which they are listed.
fn open(notes: &Imported) -> Vec<&str> {
    let open = |note: &&Note| matches!(note.outcome, Outcome::Attention(_));
    notes.notes.iter().filter(open).map(|note| note.key.as_str()).collect()
}

fn outcome<'a>(imported: &'a Imported, key: &str) -> &'a Outcome {
    let note = imported.notes.iter().find(|note| note.key == key);
    &note.unwrap_or_else(|| panic!("nothing is said of {key}:\n{}", account(imported))).outcome
}

#[test]
fn a_published_recipe_becomes_ours() {
    let (recipe, notes) = imported(DEMO, 7);
    let (_, grpo) = recipe.grpo().next().unwrap();
    // 16 on each of 7 GPUs, 4 times over: 448 completions of 28 prompts, one optimizer step.
    assert_eq!((grpo.prompts_per_step, grpo.group_size, grpo.mini_batches), (28, 16, 1));
    assert_eq!((grpo.learning_rate, grpo.schedule, grpo.min_ratio), (2e-5, Schedule::Cosine, 0.1));
    assert_eq!((grpo.max_new_tokens, grpo.steps, grpo.warmup_steps), (1024, 200, 20));
    // What the file does not say is as in the release of TRL that Open R1 pins.
    assert_eq!((grpo.kl_coefficient, grpo.kl_importance, grpo.loss), (0.04, false, LossKind::Bnpo));
    assert_eq!(grpo.beta2, 0.999);
    assert_eq!(recipe.seed, 42);
    let rewards: Vec<(&str, f64)> = recipe.rewards.iter().map(|one| (one.name.as_str(), one.weight)).collect();
    assert_eq!(rewards, [("accuracy", 1.0), ("format", 0.5)]);
    assert_eq!(recipe.model, ModelSettings::Folder { path: "some-org/Base-1.5B-Instruct".into() });

    assert_eq!(recipe.tasks.template, Template::Chat);
    assert!(
        recipe.tasks.system_prompt.ends_with("the answer in <answer> </answer>."),
        "{}",
        recipe.tasks.system_prompt
    );

    // Nothing is to be evaluated: all tasks are trained on, as in TRL.
    assert_eq!((recipe.tasks.held_out_share, recipe.grpo().next().unwrap().1.eval_every), (0.0, 0));

    let carried = [
        "do_eval",
        "learning_rate",
        "num_generations",
        "lr_scheduler_kwargs.min_lr_rate",
        "dataset_name",
        "seed",
        "system_prompt",
    ];
    for key in carried {
        assert!(matches!(outcome(&notes, key), Outcome::Carried(_)), "{key}");
    }
    assert!(grpo.checkpoint_layers);
    for key in ["bf16", "use_vllm", "hub_model_id", "report_to", "gradient_checkpointing_kwargs.use_reentrant"] {
        assert!(matches!(outcome(&notes, key), Outcome::Ignored(_)), "{key}");
    }
    let asks = ["reward_funcs", "warmup_ratio", "model_name_or_path", "num_train_epochs", "number of GPUs"];
    let of_the_release = ["release of TRL", "beta", "loss_type", "use_bias_correction_kl"];
    for key in asks.into_iter().chain(of_the_release) {
        assert!(matches!(outcome(&notes, key), Outcome::Attention(_)), "{key}");
    }
    // Every key of the file is accounted for, once.
    let keys = yaml::read("x.yaml", DEMO).unwrap();
    for entry in &keys {
        let said: Vec<&Note> = notes.notes.iter().filter(|note| note.key == entry.key && note.line.is_some()).collect();
        assert_eq!(said.len(), 1, "{}: {said:?}", entry.key);
        assert_eq!(said[0].line, Some(entry.line));
    }
    assert!(account(&notes).contains("my_own_reward"), "{}", account(&notes));
}

#[test]
fn adapters_are_carried_over() {
    let peft = "max_length: 512\nuse_peft: true\nlora_r: 8\nlora_alpha: 16\nlora_dropout: 0.05\n";
    let (recipe, notes) = imported(&format!("{peft}lora_target_modules: [q_proj, o_proj]\n"), 1);
    let lora = recipe.stages[0].lora.as_ref().unwrap();
    assert_eq!((lora.rank, lora.alpha, lora.targets.join(" ")), (8, 16.0, "q_proj o_proj".to_owned()));
    assert!(matches!(outcome(&notes, "lora_dropout"), Outcome::Attention(_)));
    assert_eq!(notes.notes.iter().filter(|note| note.key == "lora_r").count(), 1, "{}", account(&notes));

    let (recipe, notes) = imported(&format!("{peft}lora_target_modules: [wte]\n"), 1);
    assert_eq!(recipe.stages[0].lora.as_ref().unwrap().targets, ["q_proj", "v_proj"]);
    assert!(matches!(outcome(&notes, "lora_target_modules"), Outcome::Attention(what) if what.contains("`wte`")));

    let (_, notes) = imported("max_length: 512\nuse_peft: true\n", 1);
    assert!(matches!(outcome(&notes, "lora_dropout"), Outcome::Attention(what) if what.contains("0.05")));

    let (recipe, notes) = imported("num_generations: 8\nlora_r: 8\n", 1);
    assert!(recipe.stages[0].lora.is_none() && matches!(outcome(&notes, "lora_r"), Outcome::Ignored(_)));
}

/// What is wrong is said of the file, since the recipe is not written.
#[test]
fn errors_name_the_key_of_the_file() {
    #[track_caller]
    fn check(text: &str, expected: &str) {
        let error = import("x.yaml", "x", text, 1, None).unwrap_err().to_string();
        assert!(error.starts_with(expected) && !error.contains("the imported recipe"), "{error}");
    }
    check(
        "beta: 0\nnum_generations: 1\n",
        "x.yaml: `num_generations: 1` (line 2) becomes `group_size` here: `group_size` is 1",
    );
    check("num_generations: 4\ntemperature: 0\n", "x.yaml: `temperature: 0` (line 2) becomes `temperature` here: ");
    check("num_generations: 4\ndelta: 1.1\n", "x.yaml: `delta: 1.1` (line 2) becomes `dual_clip` here: ");
    check(
        "num_generations: 4\nper_device_train_batch_size: 4\ngradient_accumulation_steps: 9000000\n",
        "x.yaml: `per_device_train_batch_size: 4` (line 2) and `gradient_accumulation_steps: 9000000` (line 3) become",
    );
}

/// A punishment that begins where no answer reaches is none.
#[test]
fn a_punishment_of_long_answers_goes_by_their_limit() {
    #[track_caller]
    fn check(text: &str, parameters: &[(&str, u64)], key: &str, asks: bool) {
        let text = format!("reward_funcs: [accuracy, soft_overlong_punishment]\n{text}");
        let (recipe, notes) = imported(&text, 1);
        let given = &recipe.rewards.iter().find(|reward| reward.name == "soft_overlong").unwrap().parameters;
        let expected: Vec<(String, u64)> =
            parameters.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
        let found: Vec<(String, u64)> =
            given.iter().map(|(name, value)| (name.clone(), value.as_u64().unwrap())).collect();
        assert_eq!(found, expected);
        assert_eq!(open(&notes).contains(&key), asks, "{}", account(&notes));
    }
    let usual = [("max_completion_len", 16_384), ("soft_punish_cache", 4_096)];
    check("max_completion_length: 16384\n", &usual, "max_completion_len", false);
    check("max_completion_length: 2048\n", &[], "max_completion_len", true);
    check("", &[], "max_completion_len", true);
    let own = "max_completion_length: 2048\nmax_completion_len: 2000\nsoft_punish_cache: 500\n";
    check(own, &[("max_completion_len", 2000), ("soft_punish_cache", 500)], "max_completion_len", false);
    check("max_completion_len: 9000\n", &[], "max_completion_len", true);
}

#[test]
fn a_loss_on_questions_is_said() {
    #[track_caller]
    fn check(text: &str, asks: &[&str]) {
        let (_, notes) = sft(&format!("dataset_name: x.jsonl\nmodel_name_or_path: ./model\nmax_length: 64\n{text}"));
        let open = open(&notes);
        let said: Vec<&str> = open.into_iter().filter(|key| key.ends_with("_only_loss")).collect();
        assert_eq!(said, asks, "{}", account(&notes));
    }
    check("", &["assistant_only_loss"]);
    check("assistant_only_loss: false\n", &["assistant_only_loss"]);
    check("completion_only_loss: false\n", &["completion_only_loss"]);
    check("assistant_only_loss: true\n", &[]);
    check("completion_only_loss: true\n", &[]);
    check("completion_only_loss: true\nassistant_only_loss: false\n", &[]);
}

/// `null` is no limit, and silence is TRL's default.
#[test]
fn no_limit_of_length_is_none() {
    assert_eq!(sft("max_length: null\n").0.max_length, 0);
    assert_eq!(sft("max_length:\n").0.max_length, 0);
    assert_eq!(sft("packing: true\n").0.max_length, 1024);
    assert_eq!(sft("max_length: 64\n").0.max_length, 64);
}

/// What is harmless at one value is not at another.
#[test]
fn values_that_differ_from_ours_are_said() {
    #[track_caller]
    fn check(line: &str, asks: bool) {
        let key = line.split(':').next().unwrap();
        let (_, notes) = grpo(&format!("num_generations: 4\n{line}\n"));
        let what = outcome(&notes, key);
        assert!(
            if asks { matches!(what, Outcome::Attention(_)) } else { matches!(what, Outcome::Ignored(_)) },
            "{what:?}"
        );
    }
    check("adam_epsilon: 1e-8", false);
    check("adam_epsilon: 1e-6", true);
    check("optim: adamw_torch_fused", false);
    check("optim: paged_adamw_8bit", false);
    check("optim: adafactor", true);
    check("dataset_config: default", false);
    check("dataset_config:", false);
    check("dataset_config: algebra", true);
    check("dataset_train_split: train", false);
    check("dataset_train_split: train[:10%]", true);
    check("shuffle_dataset: true", false);
    check("shuffle_dataset: false", true);
    check("label_smoothing_factor: 0", false);
    check("label_smoothing_factor: 0.1", true);
    check("load_best_model_at_end: false", false);
    check("load_best_model_at_end: true", true);
    check("average_tokens_across_devices: true", false);
    check("average_tokens_across_devices: false", true);
    // Not set, whatever the key is.
    check("some_key_of_tomorrow: null", false);
    check("some_key_of_tomorrow: 1", true);
    check("sapo_temperature_pos: 1.0", false);
    check("eval_delay: 0", false);
}

/// What is infinite or no number at all is said of its key, and not handed on to the recipe's reader.
#[test]
fn numbers_are_finite() {
    #[track_caller]
    fn check(line: &str) {
        let key = line.split(':').next().unwrap();
        let (_, notes) = grpo(&format!("num_generations: 4\n{line}\n"));
        assert!(
            matches!(outcome(&notes, key), Outcome::Attention(what) if what.starts_with("expected a")),
            "{}",
            account(&notes)
        );
    }
    check("learning_rate: .nan");
    check("max_grad_norm: .inf");
    check("beta: nan");
    check("reward_weights: [.nan]");
}

/// It is our setting under another name; how PyTorch does it is not.
#[test]
fn checkpointed_layers_are_carried_over() {
    #[track_caller]
    fn check(text: &str, expected: bool, key: &str, carried: bool) {
        let (grpo, notes) = grpo(&format!("num_generations: 4\n{text}"));
        assert_eq!(grpo.checkpoint_layers, expected, "{}", account(&notes));
        assert_eq!(sft(&format!("packing: true\n{text}")).0.checkpoint_layers, expected);
        assert_eq!(matches!(outcome(&notes, key), Outcome::Carried(_)), carried, "{}", account(&notes));
    }
    check("gradient_checkpointing: true\n", true, "gradient_checkpointing", true);
    check("gradient_checkpointing: false\n", false, "gradient_checkpointing", true);
    check("gradient_checkpointing: sometimes\n", false, "gradient_checkpointing", false);
    check("gradient_checkpointing:\nactivation_checkpointing: true\n", true, "activation_checkpointing", true);
    let with_options = "gradient_checkpointing: true\ngradient_checkpointing_kwargs:\n  use_reentrant: false\n";
    check(with_options, true, "gradient_checkpointing_kwargs.use_reentrant", false);
}

/// A table of options is not less known than a single one.
#[test]
fn options_in_tables_are_recognised() {
    let text =
        "num_generations: 4\nchat_template_kwargs:\n  enable_thinking: false\ngeneration_kwargs:\n  min_p: 0.1\n";
    let (recipe, notes) = imported(text, 1);
    assert_eq!(recipe.tasks.template, Template::Chat);
    #[track_caller]
    fn check(notes: &Imported, key: &str, expected: &str) {
        let said = format!("{:?}", outcome(notes, key));
        assert!(said.contains(expected), "{said}");
    }
    check(&notes, "chat_template_kwargs.enable_thinking", "the chat template is given nothing but messages here");
    check(&notes, "generation_kwargs.min_p", "sampling has no such setting here");

    let (_, notes) = sft("packing: true\ndataset_kwargs:\n  skip_prepare_dataset: true\nloss_type: nll\n");
    check(&notes, "dataset_kwargs.skip_prepare_dataset", "rows are read by the columns that they have");
    check(&notes, "loss_type", "the negative log-likelihood");
}

/// TRL's reward asks for the tags of thoughts alone.
#[test]
fn a_reward_that_asks_for_more_is_said() {
    let (recipe, notes) = imported("reward_funcs: [accuracy_reward, think_format_reward]\n", 1);
    let names: Vec<&str> = recipe.rewards.iter().map(|reward| reward.name.as_str()).collect();
    assert_eq!(names, ["accuracy", "format"]);
    assert!(matches!(outcome(&notes, "reward_funcs"), Outcome::Attention(what) if what.contains("<answer>")));

    let (_, notes) = imported("reward_funcs: [think_format_reward, other]\n", 1);
    let both = |what: &str| what.contains("<answer>") && what.contains("there is no reward here for other");
    assert!(matches!(outcome(&notes, "reward_funcs"), Outcome::Attention(what) if both(what)));

    let (_, notes) = imported("reward_funcs: [accuracy, format]\n", 1);
    assert!(matches!(outcome(&notes, "reward_funcs"), Outcome::Carried(_)));
}

/// As Open R1's distillation is laid out.
#[test]
fn a_published_fine_tuning_becomes_ours() {
    let text = "model_name_or_path: some-org/Base-1.5B\nmodel_revision: main\ntorch_dtype: bfloat16\n\
                dataset_name: some-org/traces\ndataset_num_proc: 12\neos_token: <|im_end|>\nbf16: true\n\
                gradient_accumulation_steps: 2\ngradient_checkpointing: true\nlearning_rate: 4.0e-05\n\
                lr_scheduler_type: cosine_with_min_lr\nlr_scheduler_kwargs:\n  min_lr_rate: 0.1\npacking: false\n\
                max_grad_norm: 0.2\nmax_length: 32768\nmax_steps: -1\nnum_train_epochs: 5\n\
                per_device_train_batch_size: 2\nwarmup_ratio: 0.03\nseed: 7\nuse_liger_kernel: true\n";
    let (recipe, notes) = imported(text, 8);
    let [stage] = &recipe.stages[..] else { panic!("{:?}", recipe.stages) };
    let StageSettings::Sft(sft) = &stage.settings else { panic!("{stage:?}") };
    assert_eq!((sft.batch_size, sft.epochs, sft.max_length), (32, 5, 32_768));
    assert_eq!((sft.learning_rate, sft.min_ratio, sft.warmup_share, sft.max_grad_norm), (4e-5, 0.1, 0.03, 0.2));
    assert_eq!((recipe.seed, sft.beta2), (7, 0.999));
    for entry in yaml::read("x.yaml", text).unwrap() {
        let said = notes.notes.iter().filter(|note| note.line == Some(entry.line)).count();
        assert_eq!(said, 1, "{}", entry.key);
    }
    assert!(matches!(outcome(&notes, "eos_token"), Outcome::Attention(_)));
    assert!(matches!(outcome(&notes, "packing"), Outcome::Ignored(_)));
}

#[test]
fn what_cannot_be_imported_is_said() {
    #[track_caller]
    fn check(text: &str, expected: &str) {
        let error = import("x.yaml", "x", text, 1, None).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    check("learning_rate: 1e-4\n", "this is no configuration of GRPO or SFT");
    // A preference loss has a `beta` too.
    check("beta: 0.1\nloss_type: sigmoid\n", "this is no configuration of GRPO or SFT");
    check("num_generations: 1\n", "`group_size` is 1");
    check("num_generations: 8\ntemperature: 0\n", "`temperature` is 0");
    let (_, notes) = imported("num_generations: many\nno_such_key: 1\n", 1);
    assert!(matches!(outcome(&notes, "num_generations"), Outcome::Attention(what) if what.contains("a whole number")));
    assert!(matches!(outcome(&notes, "no_such_key"), Outcome::Attention(what) if what.contains("not known here")));
}
