//! Losses with their options, and what is counted in steps.

use super::*;

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
fn steps_between_checkpoints_may_be_a_share() {
    #[track_caller]
    fn check(text: &str, key: &str, asks: bool, expected: u64) {
        let (grpo, notes) = grpo(&format!("num_generations: 4\neval_strategy: steps\n{text}"));
        let every = if key == "save_steps" { grpo.checkpoint_every } else { grpo.eval_every };
        assert_eq!((every, open(&notes).contains(&key)), (expected, asks), "{}", account(&notes));
    }
    check("max_steps: 100\nsave_steps: 0.1\n", "save_steps", false, 10);
    check("max_steps: 25\neval_steps: 0.1\n", "eval_steps", false, 3);
    check("max_steps: 100\nsave_steps: 40.0\n", "save_steps", false, 40);
    check("num_train_epochs: 1\nsave_steps: 0.1\n", "save_steps", true, 20);
    #[track_caller]
    fn check_sft(text: &str, asks: bool, expected: u64) {
        let (sft, notes) = sft(&format!("packing: true\n{text}"));
        assert_eq!(
            (sft.checkpoint_every, open(&notes).contains(&"save_steps")),
            (expected, asks),
            "{}",
            account(&notes)
        );
    }
    check_sft("max_steps: 1000\nsave_steps: 0.05\n", false, 50);
    check_sft("save_steps: 0.05\n", true, 500);
    check_sft("save_steps: 200\n", false, 200);
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
    let of_the_release = ["release of TRL", "max_completion_length", "use_bias_correction_kl"];
    let open = open(&notes);
    assert_eq!(open[..3], of_the_release);
    assert_eq!(open[3..], ["number of GPUs", "tasks.held_out_share", "tasks.template"]);
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
    // What becomes of the other loss is not said to be carried over.
    let (_, notes) = imported("num_generations: 4\nimportance_sampling_level: sequence\nloss_type: dr_grpo\n", 1);
    assert!(matches!(outcome(&notes, "loss_type"), Outcome::Attention(_)), "{}", account(&notes));
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

/// Transformers' `constant` begins at the full rate.
#[test]
fn yes_and_no_may_be_numbers_and_nothing_else_passes_for_either() {
    let said = |text: &str| grpo(&format!("num_generations: 4\n{text}\n"));
    for (value, masked) in [("1", true), ("0", false), ("yes", true), ("no", false), ("true", true)] {
        assert_eq!(said(&format!("mask_truncated_completions: {value}")).0.mask_truncated, masked, "{value}");
    }
    assert!(!said("beta: 0.1\nuse_bias_correction_kl: 0").0.kl_importance);
    assert!(said("use_peft: 1\nlora_r: 4").1.toml.contains("lora = { rank = 4"));
    for key in ["mask_truncated_completions", "use_peft", "sync_ref_model", "use_bias_correction_kl"] {
        let (_, notes) = said(&format!("{key}: maybe"));
        assert!(open(&notes).contains(&key), "{}", account(&notes));
    }
}

#[test]
fn checkpoints_that_are_dropped_are_written_down() {
    let kept = |text: &str| import("x.yaml", "x", text, 1, None).unwrap().toml;
    for trainer in ["num_generations: 4\n", "packing: true\n"] {
        assert!(kept(trainer).contains("keep_checkpoints = 2    # the newest; TRL keeps all"), "{}", kept(trainer));
        assert!(kept(&format!("{trainer}save_total_limit: 5\n")).contains("keep_checkpoints = 5\n"));
    }
}

/// Where a schedule has other rates than that of transformers, the account says so.
#[test]
fn rates_that_differ_are_said() {
    let said = |notes: &Imported, key: &str, expected: &str| {
        assert!(matches!(outcome(notes, key), Outcome::Carried(what) if what.contains(expected)), "{}", account(notes));
    };
    for (trainer, warmup) in
        [("num_generations: 4\nmax_steps: 100\n", "warmup_steps"), ("packing: true\n", "warmup_ratio")]
    {
        let amount = if warmup == "warmup_steps" { "10" } else { "0.1" };
        let (_, notes) = imported(&format!("{trainer}lr_scheduler_type: cosine\n{warmup}: {amount}\n"), 1);
        said(&notes, warmup, "its first step has a share of the rate already");
        said(&notes, "lr_scheduler_type", "its last step has the floor");
    }
}

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
