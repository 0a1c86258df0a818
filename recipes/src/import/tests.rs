//! Configurations in the shape of those that Open R1 and TRL's users publish, each key written out here.

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
    let imported = import("x.yaml", "x", text, gpus).unwrap_or_else(|error| panic!("{error}"));
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
    for key in ["bf16", "use_vllm", "hub_model_id", "report_to", "gradient_checkpointing_kwargs.use_reentrant"] {
        assert!(matches!(outcome(&notes, key), Outcome::Ignored(_)), "{key}");
    }
    let asks = ["reward_funcs", "warmup_ratio", "model_name_or_path", "num_train_epochs", "number of GPUs"];
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
    let (_, notes) = imported("num_generations: 14\nper_device_train_batch_size: 64\n", 1);
    let text = account(&notes);
    assert!(text.contains("a step then samples 70 completions of 5 prompts"), "{text}");
    assert!(text.contains("a step samples 70, 14 for each of 5 prompts"), "{text}");
}

/// A share of steps that only stand in for others is not what it will be.
#[test]
fn a_share_of_unknown_steps_is_to_be_filled_in() {
    #[track_caller]
    fn check(text: &str, key: &str, asks: bool, warmup: u64) {
        let (grpo, notes) = grpo(&format!("num_generations: 4\n{text}"));
        assert_eq!(grpo.warmup_steps, warmup);
        let what = outcome(&notes, key);
        let is_said = matches!(what, Outcome::Attention(what) if what.contains("set it to 0.1 x steps"));
        assert_eq!(is_said, asks, "{what:?}");
        assert_eq!(notes.toml.contains("# 0.1 x steps: fill in with steps"), asks, "{}", notes.toml);
    }
    check("num_train_epochs: 1\nwarmup_ratio: 0.1\n", "warmup_ratio", true, 20);
    check("num_train_epochs: 1\nwarmup_steps: 0.1\n", "warmup_steps", true, 20);
    check("max_steps: 50\nwarmup_ratio: 0.1\n", "warmup_ratio", false, 5);
    check("num_train_epochs: 1\nwarmup_steps: 7\n", "warmup_steps", false, 7);
    check("num_train_epochs: 1\nwarmup_ratio: 0\n", "warmup_ratio", false, 0);
    check("warmup_ratio: 0.1\nwarmup_steps: 7\n", "warmup_steps", false, 7);
}

#[test]
fn a_warmup_in_steps_becomes_a_share_where_all_steps_are_known() {
    #[track_caller]
    fn check(text: &str, key: &str, asks: bool, share: f64) {
        let (sft, notes) = sft(&format!("packing: true\n{text}"));
        assert_eq!(sft.warmup_share, share);
        assert_eq!(open(&notes).contains(&key), asks, "{}", account(&notes));
    }
    check("max_steps: 1000\nwarmup_steps: 100\n", "warmup_steps", false, 0.1);
    check("max_steps: 10\nwarmup_steps: 100\n", "warmup_steps", false, 1.0);
    check("warmup_steps: 100\n", "warmup_steps", true, 0.0);
    check("warmup_steps: 0.05\n", "warmup_steps", false, 0.05);
    check("warmup_steps: 0\nwarmup_ratio: 0.03\n", "warmup_steps", false, 0.03);
    // Both are given, which transformers 4 and 5 read otherwise.
    check("max_steps: 1000\nwarmup_steps: 100\nwarmup_ratio: 0.03\n", "warmup_ratio", true, 0.1);
    // As many steps as the file says, although 0.28 x 25 is a hair above 7.
    let (sft, _) = sft("packing: true\nmax_steps: 25\nwarmup_steps: 7\n");
    assert_eq!((sft.warmup_share * 25.0).ceil(), 7.0);
}

/// Tasks may be named as on the Hub, demonstrations may not.
#[test]
fn a_data_set_of_the_hub_stays_one_where_it_may() {
    #[track_caller]
    fn check(text: &str, file: &str, asks: &[&str]) {
        let (recipe, notes) = imported(&format!("num_generations: 4\n{text}"), 1);
        assert_eq!(recipe.tasks.files, [std::path::PathBuf::from(file)]);
        let open: Vec<&str> = open(&notes).into_iter().filter(|key| key.starts_with("dataset_")).collect();
        assert_eq!(open, asks, "{}", account(&notes));
    }
    check("dataset_name: openai/gsm8k\n", "openai/gsm8k", &[]);
    check("dataset_name: openai/gsm8k\ndataset_config: socratic\n", "openai/gsm8k:socratic", &[]);
    check(
        "dataset_name: openai/gsm8k\ndataset_config: main\ndataset_train_split: test\n",
        "openai/gsm8k:main/test",
        &[],
    );
    check(
        "dataset_name: openai/gsm8k\ndataset_config: default\ndataset_train_split: train[:10%]\n",
        "openai/gsm8k",
        &["dataset_train_split"],
    );
    check("dataset_name: a/math.v2\n", "hub:a/math.v2", &[]);
    check("dataset_name: gsm8k\n", "gsm8k.parquet", &["dataset_name"]);

    let (recipe, notes) = imported("packing: true\ndataset_name: a/traces\n", 1);
    assert!(recipe.to_toml().unwrap().contains("a--traces.parquet") && open(&notes).contains(&"dataset_name"));
}

/// What is wrong is said of the file, since the recipe is not written.
#[test]
fn errors_name_the_key_of_the_file() {
    #[track_caller]
    fn check(text: &str, expected: &str) {
        let error = import("x.yaml", "x", text, 1).unwrap_err().to_string();
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

/// TRL's losses cispo and sapo do not look at `delta`.
#[test]
fn a_bound_that_the_loss_does_not_have_is_left_out() {
    for (loss, bound) in [("cispo\nepsilon_high: 5", 0.0), ("sapo", 0.0), ("dapo", 4.0)] {
        let (grpo, notes) = grpo(&format!("num_generations: 4\ndelta: 4\nloss_type: {loss}\n"));
        assert_eq!(grpo.dual_clip, bound, "{loss}");
        assert_eq!(matches!(outcome(&notes, "delta"), Outcome::Ignored(_)), bound == 0.0, "{loss}");
    }
}

#[test]
fn the_options_of_the_loss_are_carried_over() {
    let text = "model_name_or_path: ./model\ndataset_name: tasks.jsonl\nreward_funcs: [accuracy]\nmax_steps: 1000\n\
                num_generations: 8\nper_device_train_batch_size: 8\ngradient_accumulation_steps: 2\n\
                steps_per_generation: 8\nnum_iterations: 2\nbeta: 0.04\nepsilon: 0.2\nepsilon_high: 0.28\ndelta: 4\n\
                loss_type: bnpo\nscale_rewards: batch\nmask_truncated_completions: true\nsync_ref_model: true\n\
                ref_model_sync_steps: 100\nref_model_mixup_alpha: 1.0\ntemperature: 0.7\ntop_k: -1\n\
                lr_scheduler_type: constant_with_warmup\nwarmup_steps: 10\nlearning_rate: 1e-6\nsave_steps: 100\n\
                eval_strategy: steps\neval_steps: 40\n";
    let (grpo, notes) = grpo(text);
    // 64 completions of 8 prompts, 4 optimizer steps in each of 2 passes: 1000 optimizer steps are 125.
    assert_eq!((grpo.prompts_per_step, grpo.mini_batches, grpo.epochs, grpo.steps), (8, 4, 2, 125));
    assert_eq!((grpo.clip_low, grpo.clip_high, grpo.dual_clip), (0.2, 0.28, 4.0));
    assert_eq!((grpo.loss, grpo.mask_truncated), (LossKind::Bnpo, true));
    assert_eq!((grpo.kl_coefficient, grpo.reference_kind(), grpo.kl_importance), (0.04, ReferenceKind::Replaced, true));
    assert_eq!((grpo.schedule, grpo.learning_rate), (Schedule::Constant, 1e-6));
    // These are optimizer steps in TRL as well: an eighth of them, rounded up.
    assert_eq!((grpo.warmup_steps, grpo.reference_every, grpo.checkpoint_every, grpo.eval_every), (2, 13, 13, 5));
    for key in ["max_steps", "warmup_steps", "ref_model_sync_steps", "save_steps", "eval_steps"] {
        assert!(
            matches!(outcome(&notes, key), Outcome::Carried(what) if what.contains("of which a step has 8")),
            "{key}: {}",
            account(&notes)
        );
    }
    assert_eq!(open(&notes), ["number of GPUs", "tasks.held_out_share", "tasks.template"]);
}

/// TRL's own defaults, 512 and 500, are counts of optimizer steps, too.
#[test]
fn defaults_that_are_counted_in_optimizer_steps_are_divided() {
    let (grpo, _) = grpo("num_generations: 8\nnum_iterations: 4\nbeta: 0.1\nsync_ref_model: true\nwarmup_steps: 0.1\n");
    assert_eq!((grpo.reference_every, grpo.checkpoint_every), (128, 125));
    // A share of the steps is one of ours.
    assert_eq!((grpo.steps, grpo.warmup_steps), (200, 20));
}

/// A step has whole optimizer steps, and these keep the size that they have in TRL: 8 completions each time.
#[test]
fn optimizer_steps_keep_their_size() {
    #[track_caller]
    fn check(accumulated: u64, each: u64, prompts: usize, mini_batches: usize, is_said: bool) {
        let text = format!(
            "num_generations: 4\nper_device_train_batch_size: 8\nnum_iterations: 2\nmax_steps: 120\n\
             gradient_accumulation_steps: {accumulated}\nsteps_per_generation: {each}\n"
        );
        let (grpo, notes) = grpo(&text);
        assert_eq!((grpo.prompts_per_step, grpo.mini_batches), (prompts, mini_batches));
        assert_eq!(grpo.completions_per_step() / grpo.mini_batches, 8 * accumulated as usize);
        assert_eq!(grpo.steps, 120 / (2 * mini_batches as u64));
        assert_eq!(open(&notes).contains(&"prompts_per_step"), is_said, "{}", account(&notes));
    }
    check(2, 2, 4, 1, false);
    check(2, 4, 8, 2, false);
    // Sampled twice in an optimizer step.
    check(4, 2, 8, 1, true);
    // An optimizer step learns from what was sampled at two times.
    check(4, 6, 16, 2, true);
}

#[test]
fn gspo_is_a_loss_of_its_own_here() {
    let loss = |text: &str| imported(&format!("num_generations: 4\n{text}"), 1).0.grpo().next().unwrap().1.loss;
    assert_eq!(loss("importance_sampling_level: sequence\nloss_type: grpo\n"), LossKind::Gspo);
    assert_eq!(loss("loss_type: cispo\n"), LossKind::Cispo);
    assert_eq!(loss("loss_type: vespo\n"), LossKind::Dapo);
}

/// TRL's bound is `epsilon_high` itself, ours is 1 + `clip_high`.
#[test]
fn the_bound_of_cispo_is_one_above_ours() {
    #[track_caller]
    fn check(text: &str, clip_high: f64, asks: bool) {
        let (grpo, notes) = grpo(&format!("num_generations: 4\nloss_type: cispo\n{text}"));
        assert_eq!((grpo.loss, grpo.clip_high), (LossKind::Cispo, clip_high));
        assert_eq!(open(&notes).contains(&"epsilon_high"), asks, "{}", account(&notes));
    }
    check("epsilon_high: 5.0\n", 4.0, false);
    check("epsilon_high: 1.5\nepsilon: 0.2\n", 0.5, false);
    // No ratio may be above 1 or less, which cannot be said here.
    check("epsilon_high: 1.0\n", 4.0, true);
    check("epsilon_high: 0.28\n", 4.0, true);
    // The bound is then `epsilon`.
    check("", 4.0, true);
    check("epsilon: 3\n", 2.0, true);
}

#[test]
fn names_are_not_shortened() {
    let model = "/models/of/some-organization/with-a-name-that-is-long";
    let data = "some-organization/a-data-set-with-a-name-that-is-rather-long";
    let reward = "a_reward_whose_name_is_longer_than_what_is_shown";
    let text = format!("model_name_or_path: {model}\ndataset_name: {data}\n");
    let file = "some-organization--a-data-set-with-a-name-that-is-rather-long.parquet";

    let (recipe, notes) = imported(&format!("{text}reward_funcs: [{reward}]\nlora_r: 8\n"), 1);
    assert_eq!(recipe.model, ModelSettings::Folder { path: model.into() });
    assert_eq!(recipe.tasks.files, [std::path::PathBuf::from(data)]);
    assert!(matches!(outcome(&notes, "reward_funcs"), Outcome::Attention(what) if what.contains(reward)));
    let shown: Vec<&str> = notes.notes.iter().map(|note| note.value.as_str()).collect();
    assert!(shown.contains(&"/models/of/some-organization/with-a-name…"), "{shown:?}");

    let (recipe, _) = imported(&format!("{text}packing: true\n"), 1);
    assert_eq!(recipe.model, ModelSettings::Folder { path: model.into() });
    assert!(recipe.to_toml().unwrap().contains(file));

    let target = "a_projection_whose_name_is_longer_than_what_is_shown";
    let (_, notes) = imported(&format!("packing: true\nuse_peft: true\nlora_target_modules: [{target}]\n"), 1);
    assert!(matches!(outcome(&notes, "lora_target_modules"), Outcome::Attention(what) if what.contains(target)));
}

/// How questions are asked is nothing that a file without a system message says.
#[test]
fn the_template_is_said() {
    let (recipe, notes) = imported("num_generations: 4\n", 1);
    assert_eq!(recipe.tasks.template, Template::R1Zero);
    assert!(open(&notes).contains(&"tasks.template"), "{}", account(&notes));

    let (recipe, notes) = imported("num_generations: 4\nsystem_prompt: Think.\n", 1);
    assert_eq!((recipe.tasks.template, recipe.tasks.system_prompt.as_str()), (Template::Chat, "Think."));
    assert!(!open(&notes).contains(&"tasks.template"), "{}", account(&notes));

    let (sft, notes) = sft("packing: true\n");
    assert_eq!(sft.template, Template::Chat);
    assert!(open(&notes).contains(&"template"), "{}", account(&notes));
}

/// TRL trains on all rows, and examines on a split of its own where the file asks for that.
#[test]
fn rows_are_set_aside_only_for_an_evaluation() {
    #[track_caller]
    fn check(text: &str, of_tasks: f64, eval_every: u64, of_demonstrations: f64) {
        let (recipe, notes) = imported(&format!("num_generations: 4\n{text}"), 1);
        let every = recipe.grpo().next().unwrap().1.eval_every;
        assert_eq!((recipe.tasks.held_out_share, every), (of_tasks, eval_every));
        assert_eq!(open(&notes).contains(&"tasks.held_out_share"), of_tasks > 0.0, "{}", account(&notes));

        let (sft, notes) = sft(&format!("packing: true\n{text}"));
        assert_eq!(sft.validation_share, of_demonstrations);
        assert_eq!(open(&notes).contains(&"validation_share"), of_demonstrations > 0.0, "{}", account(&notes));
    }
    check("", 0.0, 0, 0.0);
    check("do_eval: false\n", 0.0, 0, 0.0);
    check("eval_strategy: \"no\"\n", 0.0, 0, 0.0);
    check("eval_strategy: no\neval_steps: 20\n", 0.0, 0, 0.0);
    check("eval_steps: 20\n", 0.1, 20, 0.05);
    check("eval_strategy: steps\neval_steps: 20\n", 0.1, 20, 0.05);
    // How often is not said, or not in steps.
    check("eval_strategy: epoch\n", 0.1, 50, 0.05);
    check("do_eval: true\n", 0.1, 50, 0.05);
    check("eval_steps: often\n", 0.1, 50, 0.05);
}

/// TRL's split for tests, where it can be named: no row of what is trained on is set aside.
#[test]
fn the_split_for_tests_is_examined_on() {
    #[track_caller]
    fn check(text: &str, held_out: &[&str], share: f64, key: &str, asks: bool) {
        let (recipe, notes) = imported(&format!("num_generations: 4\n{text}"), 1);
        let files: Vec<&str> = recipe.tasks.held_out_files.iter().map(|file| file.to_str().unwrap()).collect();
        assert_eq!((files.as_slice(), recipe.tasks.held_out_share), (held_out, share), "{}", account(&notes));
        assert_eq!(open(&notes).contains(&key), asks, "{}", account(&notes));
        for entry in yaml::read("x.yaml", text).unwrap() {
            assert_eq!(notes.notes.iter().filter(|note| note.key == entry.key).count(), 1, "{}", entry.key);
        }
    }
    let hub = "dataset_name: openai/gsm8k\neval_strategy: steps\neval_steps: 20\n";
    let share = "tasks.held_out_share";
    // What is not used is 0.1, which no file is cut by.
    check(hub, &["openai/gsm8k:test"], 0.1, share, false);
    check(&format!("{hub}dataset_config: main\n"), &["openai/gsm8k:main/test"], 0.1, share, false);
    let named = format!("{hub}dataset_config: main\ndataset_test_split: validation\n");
    check(&named, &["openai/gsm8k:main/validation"], 0.1, "dataset_test_split", false);
    check(&format!("{hub}dataset_test_split: test[:10%]\n"), &[], 0.1, share, true);
    check("dataset_name: a/math.v2\neval_steps: 20\n", &["hub:a/math.v2:test"], 0.1, share, false);
    // Nothing is asked for, or a file has no splits.
    check("dataset_name: openai/gsm8k\ndataset_test_split: test\n", &[], 0.0, share, false);
    check("dataset_name: tasks.jsonl\neval_steps: 20\n", &[], 0.1, share, true);
}

/// TRL goes on past the epochs until `max_steps`.
#[test]
fn a_number_of_steps_decides_over_epochs() {
    let (sft, notes) = sft("packing: true\nnum_train_epochs: 2\nmax_steps: 500\nper_device_train_batch_size: 8\n");
    // 100 demonstrations are 13 steps in each pass.
    assert_eq!(sft.steps(100), 500);
    assert!(matches!(outcome(&notes, "num_train_epochs"), Outcome::Ignored("max_steps decides")));
    let (sft, notes) = self::sft("packing: true\nnum_train_epochs: 2\nmax_steps: -1\nper_device_train_batch_size: 8\n");
    assert_eq!((sft.steps(100), sft.max_steps), (26, 0));
    assert!(matches!(outcome(&notes, "num_train_epochs"), Outcome::Carried(_)));
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

/// Transformers' `constant` begins at the full rate.
#[test]
fn a_constant_rate_has_no_warmup() {
    let warmup = |kind: &str| {
        let text = format!("lr_scheduler_type: {kind}\nwarmup_ratio: 0.1\n");
        let (grpo, notes) = grpo(&format!("num_generations: 4\nmax_steps: 100\n{text}"));
        let ignored = matches!(outcome(&notes, "warmup_ratio"), Outcome::Ignored(_));
        (grpo.schedule, grpo.warmup_steps, sft(&format!("packing: true\n{text}")).0.warmup_share, ignored)
    };
    assert_eq!(warmup("constant"), (Schedule::Constant, 0, 0.0, true));
    assert_eq!(warmup("constant_with_warmup"), (Schedule::Constant, 10, 0.1, false));
    assert_eq!(warmup("linear"), (Schedule::Linear, 10, 0.1, false));
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
