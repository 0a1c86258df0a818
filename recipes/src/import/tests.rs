//! Configurations in the shape of those that Open R1 and TRL's users publish, each key written out here.

use super::*;
use crate::config::{LossKind, ModelSettings, Schedule, StageSettings, Template};

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
    let imported = import("x.yaml", "x", text, gpus).unwrap_or_else(|error| panic!("{error}"));
    (Recipe::parse("x.toml", &imported.toml, &[]).unwrap(), imported)
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
    // What the file does not say is as TRL has it.
    assert_eq!((grpo.kl_coefficient, grpo.loss, grpo.beta2), (0.0, LossKind::Dapo, 0.999));
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

    let carried = [
        "learning_rate",
        "num_generations",
        "lr_scheduler_kwargs.min_lr_rate",
        "warmup_ratio",
        "seed",
        "system_prompt",
    ];
    for key in carried {
        assert!(matches!(outcome(&notes, key), Outcome::Carried(_)), "{key}");
    }
    for key in ["bf16", "use_vllm", "hub_model_id", "report_to", "gradient_checkpointing_kwargs.use_reentrant"] {
        assert!(matches!(outcome(&notes, key), Outcome::Ignored(_)), "{key}");
    }
    let asks = ["reward_funcs", "dataset_name", "model_name_or_path", "num_train_epochs", "number of GPUs"];
    for key in asks {
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

    let (recipe, notes) = imported("num_generations: 8\nlora_r: 8\n", 1);
    assert!(recipe.stages[0].lora.is_none() && matches!(outcome(&notes, "lora_r"), Outcome::Ignored(_)));
}

/// What follows from what the file says is not said to be missing from it.
#[test]
fn groups_that_are_not_whole_are_rounded_up() {
    let (recipe, notes) = imported("num_generations: 6\nper_device_train_batch_size: 8\n", 1);
    assert_eq!(recipe.grpo().next().unwrap().1.prompts_per_step, 2);
    let text = account(&notes);
    assert!(
        text.contains("prompts_per_step: worked out") && !text.contains("num_generations: not in the file"),
        "{text}"
    );
}

#[test]
fn the_options_of_the_loss_are_carried_over() {
    let text = "model_name_or_path: ./model\ndataset_name: tasks.jsonl\nreward_funcs: [accuracy]\nmax_steps: 1000\n\
                num_generations: 8\nper_device_train_batch_size: 8\ngradient_accumulation_steps: 2\n\
                steps_per_generation: 8\nnum_iterations: 2\nbeta: 0.04\nepsilon: 0.2\nepsilon_high: 0.28\ndelta: 4\n\
                loss_type: bnpo\nscale_rewards: batch\nmask_truncated_completions: true\nsync_ref_model: true\n\
                ref_model_sync_steps: 100\nref_model_mixup_alpha: 1.0\ntemperature: 0.7\ntop_k: -1\n\
                lr_scheduler_type: constant_with_warmup\nwarmup_steps: 10\nlearning_rate: 1e-6\n";
    let (recipe, notes) = imported(text, 1);
    let (_, grpo) = recipe.grpo().next().unwrap();
    // 64 completions of 8 prompts, 4 optimizer steps in each of 2 passes: 1000 optimizer steps are 125.
    assert_eq!((grpo.prompts_per_step, grpo.mini_batches, grpo.epochs, grpo.steps), (8, 4, 2, 125));
    assert_eq!((grpo.clip_low, grpo.clip_high, grpo.dual_clip), (0.2, 0.28, 4.0));
    assert_eq!((grpo.kl_coefficient, grpo.reference_every, grpo.kl_importance), (0.04, 100, true));
    assert_eq!((grpo.loss, grpo.mask_truncated), (LossKind::Bnpo, true));
    assert_eq!((grpo.schedule, grpo.warmup_steps, grpo.learning_rate), (Schedule::Constant, 10, 1e-6));
    let open: Vec<&str> = notes
        .notes
        .iter()
        .filter(|note| matches!(note.outcome, Outcome::Attention(_)))
        .map(|note| note.key.as_str())
        .collect();
    assert_eq!(open, ["number of GPUs"]);
}

#[test]
fn gspo_is_a_loss_of_its_own_here() {
    let loss = |text: &str| imported(&format!("num_generations: 4\n{text}"), 1).0.grpo().next().unwrap().1.loss;
    assert_eq!(loss("importance_sampling_level: sequence\nloss_type: grpo\n"), LossKind::Gspo);
    assert_eq!(loss("loss_type: cispo\n"), LossKind::Cispo);
    assert_eq!(loss("loss_type: vespo\n"), LossKind::Dapo);
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
        let error = import("x.yaml", "x", text, 1).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    check("learning_rate: 1e-4\n", "this is no configuration of GRPO or SFT");
    check("num_generations: 1\n", "`group_size` is 1");
    check("num_generations: 8\ntemperature: 0\n", "`temperature` is 0");
    let (_, notes) = imported("num_generations: many\nno_such_key: 1\n", 1);
    assert!(matches!(outcome(&notes, "num_generations"), Outcome::Attention(what) if what.contains("a whole number")));
    assert!(matches!(outcome(&notes, "no_such_key"), Outcome::Attention(what) if what.contains("not known here")));
}
