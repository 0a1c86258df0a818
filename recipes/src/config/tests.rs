//! Recipes that are read as meant, and what is said of those that are wrong.

use super::*;

const SMALL: &str = r#"
name = "small"
seed = 7

[tasks.families]
countdown = 2.0

[[rewards]]
name = "accuracy"
weight = 0.5

[[stage]]
kind = "pretrain"
tokens = 1000

[[stage]]
kind = "grpo"
name = "train"
group_size = 4

[[stage]]
kind = "eval"
"#;

fn parse(text: &str, settings: &[&str]) -> Result<Recipe, String> {
    let settings: Vec<String> = settings.iter().map(|&setting| setting.to_owned()).collect();
    Recipe::parse("small.toml", text, &settings).map_err(|error| error.to_string())
}

#[test]
fn every_shipped_recipe_is_fine() {
    for shipped in SHIPPED {
        let recipe = shipped.recipe(&[]).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(recipe.name, shipped.name);
        let kinds: Vec<&str> = recipe.stages.iter().map(|stage| stage.settings.kind()).collect();
        if ["r1-zero", "smoke"].contains(&shipped.name) {
            assert_eq!(kinds, ["pretrain", "eval", "grpo", "eval"], "{}", shipped.name);
        }
    }
}

#[test]
fn what_is_typed_is_meant_and_the_rest_has_defaults() {
    let recipe = parse(SMALL, &[]).unwrap();
    assert_eq!((recipe.name.as_str(), recipe.seed), ("small", 7));
    assert_eq!(recipe.rewards, [rewards::RewardSpec { weight: 0.5, ..rewards::RewardSpec::named("accuracy") }.into()]);
    assert_eq!(recipe.tasks.weighted_families().len(), 1);
    let (stage, grpo) = recipe.grpo().next().unwrap();
    assert_eq!((stage.name.as_str(), grpo.group_size), ("train", 4));
    let expected = GrpoSettings { group_size: 4, ..GrpoSettings::default() };
    assert_eq!(*grpo, expected);
    assert_eq!(recipe.stages[2].name, "eval");
}

#[test]
fn the_resolved_recipe_is_the_same_recipe() {
    for shipped in SHIPPED {
        let recipe = shipped.recipe(&["tasks.files=[\"a.jsonl\"]".to_owned()]).unwrap();
        let text = recipe.to_toml().unwrap();
        let again = Recipe::parse("recipe.toml", &text, &[]).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(recipe, again);
        assert_eq!(recipe.difference(&again), None);
    }
}

#[test]
fn settings_go_on_top() {
    fn check(setting: &str, look: fn(&Recipe) -> String, expected: &str) {
        let recipe = parse(SMALL, &[setting]).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(look(&recipe), expected, "{setting}");
    }
    fn grpo(recipe: &Recipe) -> &GrpoSettings {
        recipe.grpo().next().expect("there is a grpo stage").1
    }
    check("seed=3", |recipe| recipe.seed.to_string(), "3");
    check("train.learning_rate=1e-6", |recipe| grpo(recipe).learning_rate.to_string(), "0.000001");
    check("train.loss=dapo", |recipe| format!("{:?}", grpo(recipe).loss), "Dapo");
    check("train.loss=\"dapo\"", |recipe| format!("{:?}", grpo(recipe).loss), "Dapo");
    check("train.kl_coefficient=0", |recipe| grpo(recipe).kl_coefficient.to_string(), "0");
    check("eval.samples=2", |recipe| recipe.eval.samples.to_string(), "2");
    check("rewards.accuracy.weight=-2", |recipe| recipe.rewards[0].weight.to_string(), "-2");
    check("tasks.families.python=1", |recipe| recipe.tasks.families["python"].to_string(), "1");
    check("tasks.files=['a b.csv']", |recipe| recipe.tasks.files[0].display().to_string(), "a b.csv");
    let shape = ModelShape { hidden_size: 64, ..ModelShape::default() };
    assert_eq!(parse(SMALL, &["model.hidden_size=64"]).unwrap().model, ModelSettings::Shape(shape));
    // The last word counts.
    let recipe = parse(SMALL, &["seed=3", "seed=4"]).unwrap();
    assert_eq!(recipe.seed, 4);
    assert_eq!(parse(SMALL, &["stage.pretrain.tokens=2000"]).unwrap().pretrain().unwrap().tokens, 2000);
}

/// It need not be whole for that.
#[test]
fn a_recipe_has_a_name_before_it_is_read() {
    let name = |recipe: &str, settings: &[&str]| {
        let settings: Vec<String> = settings.iter().map(|&setting| setting.to_owned()).collect();
        Recipe::name_of(recipe, &settings).map_err(|error| error.to_string())
    };
    let folder = tempfile::tempdir().unwrap();
    let file = |text: &str| {
        let path = folder.path().join("mine.toml");
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let stage = "[[stage]]\nkind = \"grpo\"\nsteps = 0.5\n";
    assert_eq!(name(&file(&format!("name = \"alone\"\n{stage}")), &["no.such=1"]).unwrap(), "alone");
    assert_eq!(name(&file(stage), &[]).unwrap(), "mine");
    assert_eq!(name(&file(stage), &["name = other"]).unwrap(), " other");
    assert_eq!(name("smoke", &["name=other"]).unwrap(), "other");
    assert!(name(&file("name ="), &[]).is_err() && name("smok", &[]).unwrap_err().contains("did you mean `smoke`?"));
}

#[test]
fn a_given_model_is_the_base() {
    let recipe = parse(SMALL, &["model={ path = 'my/model' }"]).unwrap();
    assert_eq!(recipe.model, ModelSettings::Folder { path: "my/model".into() });
    assert_eq!(recipe.pretrain(), None);
    assert_eq!(recipe.stages.len(), 2);
}

#[test]
fn a_wrong_recipe_is_told_where_and_what() {
    fn check(find: &str, replace: &str, expected: &str) {
        assert!(SMALL.contains(find), "{find}");
        let error = parse(&SMALL.replacen(find, replace, 1), &[]).expect_err(replace);
        assert_eq!(error, expected.trim_start_matches('\n'), "{replace}");
    }
    check(
        "group_size = 4",
        "groupsize = 4",
        "
small.toml, line 19: unknown key `groupsize`
     |
  19 | groupsize = 4
     | ^^^^^^^^^
  hint: did you mean `group_size`?",
    );
    check(
        "group_size = 4",
        "group_size = 1",
        "
small.toml, line 19: `group_size` is 1, expected a whole number from 2 to 1048576
     |
  19 | group_size = 1
     |              ^",
    );
    check(
        "tokens = 1000",
        "tokens = -5",
        "
small.toml, line 14: `tokens` is integer -5, expected a whole number, 0 or more
     |
  14 | tokens = -5
     |          ^^",
    );
    check(
        "tokens = 1000",
        "tokens = \"many\"",
        "
small.toml, line 14: `tokens` is the text \"many\", expected a whole number, 0 or more
     |
  14 | tokens = \"many\"
     |          ^^^^^^",
    );
    check(
        "group_size = 4",
        "loss = \"dappo\"",
        "
small.toml, line 19: `loss` is \"dappo\", expected \"grpo\" or \"bnpo\" or \"dr_grpo\" or \"dapo\" or \"cispo\" or \
\"gspo\" or \"sapo\"
     |
  19 | loss = \"dappo\"
     |        ^^^^^^^
  hint: did you mean \"dapo\"?",
    );
    check(
        "kind = \"grpo\"",
        "kind = \"gpro\"",
        "
small.toml, line 17: no kind of stage is called \"gpro\", expected one of \"pretrain\", \"sft\", \"grpo\", \"reject\", \"distill\", \"eval\", \"export\"
     |
  17 | kind = \"gpro\"
     |        ^^^^^^
  hint: did you mean `grpo`?",
    );
    check(
        "countdown = 2.0",
        "coutdown = 2.0",
        "
small.toml, line 6: there is no task family `coutdown`
    |
  6 | coutdown = 2.0
    | ^^^^^^^^
  hint: did you mean `countdown`?",
    );
    check(
        "name = \"accuracy\"",
        "name = \"acuracy\"",
        "
small.toml, line 9: no reward `acuracy`, expected accuracy, code, binary_code, choice, format, tag_count, code_format, reasoning_steps, length, cosine, soft_overlong, repetition_penalty, language_consistency
    |
  9 | name = \"acuracy\"
    |        ^^^^^^^^^
  hint: did you mean `accuracy`?",
    );
    check(
        "seed = 7",
        "sead = 7",
        "
small.toml, line 3: unknown key `sead`
    |
  3 | sead = 7
    | ^^^^
  hint: did you mean `seed`?",
    );
    check(
        "seed = 7",
        "[modell]",
        "
small.toml, line 3: unknown key `modell`
    |
  3 | [modell]
    |  ^^^^^^
  hint: did you mean `model`?",
    );
    check(
        "name = \"small\"",
        "name = \"a/b\"",
        "
small.toml: `name` is \"a/b\", expected up to 100 letters, digits, and -, _ or . (not at the beginning): files and folders are \
called after it",
    );
    check(
        "kind = \"pretrain\"\ntokens = 1000",
        "kind = \"eval\"\nname = \"first\"",
        "
small.toml: there is no model to start from
  hint: begin with a stage of kind \"pretrain\", or name a folder: --model DIR",
    );
    check(
        "kind = \"eval\"",
        "kind = \"eval\"\nsamples = 3",
        "
small.toml, line 23: unknown key `samples`
     |
  23 | samples = 3
     | ^^^^^^^
  hint: the settings of evaluations stand in the table [eval]",
    );
    check(
        "kind = \"eval\"",
        "kind = \"eval\"\nname = \"train\"",
        "
small.toml: two stages are called `train`
  hint: give each a `name` of its own",
    );
    check(
        "group_size = 4",
        "group_size = 4\nreference_every = 5\nkl_coefficient = 0",
        "
small.toml, line 16: `reference_every` is set, but with `kl_coefficient = 0` there is no reference
     |
  16 | [[stage]]
     | ^^^^^^^^^
  hint: set reference_every = 0 as well, or kl_coefficient above 0; with reference = \"replaced\" the divergence is measured and \
not punished",
    );
    check(
        "countdown = 2.0",
        "countdown = 0",
        "
small.toml: there are no tasks: every family has the weight 0
  hint: give a family in [tasks.families] a weight, or name a file: --tasks FILE",
    );
}

#[test]
fn text_that_is_no_toml_is_shown_with_its_line() {
    let error = parse("name = \"x\"\nseed = = 3\n", &[]).unwrap_err();
    assert!(error.starts_with("small.toml, line 2: "), "{error}");
    assert!(error.contains("2 | seed = = 3"), "{error}");
}

#[test]
fn a_wrong_setting_is_told_as_it_was_typed() {
    fn check(setting: &str, expected: &str) {
        let error = parse(SMALL, &["seed=1", setting]).expect_err(setting);
        assert_eq!(error, expected.trim_start_matches('\n'), "{setting}");
    }
    check(
        "train.groupsize=4",
        "
--set train.groupsize=4: unknown key `groupsize`
  hint: did you mean `group_size`?",
    );
    check(
        "train.group_size=1",
        "
--set train.group_size=1: `group_size` is 1, expected a whole number from 2 to 1048576",
    );
    check(
        "train.learning_rate=fast",
        "
--set train.learning_rate=fast: `learning_rate` is the text \"fast\", expected a number",
    );
    check(
        "trian.steps=4",
        "
--set trian.steps=4: no stage or top-level key is called `trian`
  hint: did you mean `train`?",
    );
    check("zzz=4", "
--set zzz=4: no stage or top-level key is called `zzz`
  hint: the stages of this recipe are pretrain, train, eval; the top-level keys name, description, seed, model, tasks, eval, rewards, stage");
    check(
        "train=4",
        "
--set train=4: this is a stage; expected NAME.KEY=VALUE",
    );
    check(
        "seed.x=4",
        "
--set seed.x=4: `seed` has no keys inside it",
    );
    check(
        "rewards.speed.weight=1",
        "
--set rewards.speed.weight=1: no `rewards` is called `speed`
  hint: there are accuracy",
    );
    // A stage without a name goes by its kind here, too.
    check(
        "stage.sft.steps=4",
        "
--set stage.sft.steps=4: no `stage` is called `sft`
  hint: there are pretrain, train, eval",
    );
    check(
        "seed",
        "
--set seed: expected KEY=VALUE
  hint: for example --set grpo.learning_rate=1e-4",
    );
    check(
        "eval.samples=0",
        "
--set eval.samples=0: `samples` is 0, expected a whole number from 1 to 65536",
    );
}

#[test]
fn what_could_not_run_is_refused_when_it_is_read() {
    fn check(settings: &[&str], expected: &str) {
        let error = parse(SMALL, settings).expect_err(expected);
        assert!(error.contains(expected), "{settings:?}: {error}");
    }
    check(&["model.max_position_embeddings=8"], "which leaves no room for a prompt: the model has 8 positions");
    check(&["train.max_new_tokens=9000"], "`train.max_new_tokens` is 9000, which leaves no room");
    check(&["eval.max_new_tokens=9000"], "`eval.max_new_tokens` is 9000, which leaves no room");
    check(&["eval.max_new_tokens=4000000000"], "expected a whole number from 0 to 16777216");
    check(&["train.group_size=1000000000000"], "expected a whole number from 2 to 1048576");
    check(&["train.prompts_per_step=1048576"], "a step would have 4194304 completions");
    check(&["model.hidden_size=1000000000000"], "expected a whole number from 1 to 65536");
    check(&["model.hidden_size=65536", "model.intermediate_size=65536"], "expected at most 10000000000");
    check(&["rewards=[{name='accuracy'}, {name='accuracy', weight=2}]"], "the reward `accuracy` is listed twice");
    check(
        &["rewards=[{name='code'}]"],
        "no reward applies in stage `train`: code judges programs, and no task family asks for one",
    );
    check(&["rewards=[{name='code'}, {name='accuracy', weight=0}]"], "no reward applies");
    check(&["rewards.accuracy.weight=1e308"], "expected a number from -1000000 to 1000000");
    check(&["rewards.accuracy.weight=nan"], "expected a number from -1000000 to 1000000");
    check(&["tasks.families.countdown=1e9"], "expected a number from 0 to 1000000");
    check(&["seed=9223372036854775808"], "seed");
    let files = "tasks.files=['a.jsonl']";
    check(&[files, "tasks.held_out_share=0"], "stage `train` has no held-out task to examine");
    check(&[files, "tasks.held_out_share=0", "train.eval_every=0"], "stage `eval` has no held-out task to examine");
    let held_out = "tasks.held_out_files=['b.jsonl']";
    check(&[held_out], "`tasks.held_out_files` are named, but no `tasks.files`");
    check(&["tasks.val_files=['b.jsonl']"], "it is called `held_out_files` here");
    // Answers end at 128 tokens. TRL's defaults would punish from 12,288 on.
    let overlong = |parameters: &str| {
        format!("rewards=[{{name='accuracy'}}, {{name='soft_overlong', parameters={{ {parameters} }}}}]")
    };
    let trl = overlong("max_completion_len=16384, soft_punish_cache=4096");
    check(
        &[&trl],
        "the reward `soft_overlong` would never punish anything in stage `train`: it begins above 12288 tokens",
    );
    check(&[&overlong("soft_punish_cache=500")], "stage `train`, whose max_new_tokens is");
    check(&["tasks.system_prompt=Think."], "`tasks.system_prompt` has no place in R1-Zero's template");

    fn fine(settings: &[&str]) {
        parse(SMALL, settings).unwrap_or_else(|error| panic!("{settings:?}: {error}"));
    }
    fine(&["seed=9223372036854775807"]);
    fine(&["train.max_new_tokens=2047"]);
    fine(&["tasks.held_out_share=0"]);
    fine(&[files, held_out, "tasks.held_out_share=0"]);
    fine(&[&overlong("")]);
    fine(&[&overlong("soft_punish_cache=30")]);
    fine(&[&trl, "train.reward_weights={ soft_overlong = 0 }"]);
    fine(&[&trl, "train.max_new_tokens=13000", "model.max_position_embeddings=20000"]);
    fine(&["rewards=[{name='code'}]", "tasks.families.python=1"]);
    fine(&["rewards=[{name='code'}]", files]);
    fine(&["rewards.accuracy.weight=-1000000"]);
}

#[test]
fn a_score_to_reach_is_a_number() {
    let with = |score: &str| {
        let stage = format!("[[stage]]\nkind = \"reject\"\nrequire = {{ accuracy = {score} }}\n");
        parse(&format!("{SMALL}{stage}"), &[])
    };
    assert!(with("0.5").is_ok() && with("-1").is_ok());
    for score in ["nan", "inf"] {
        let error = with(score).unwrap_err();
        assert!(error.contains("`accuracy` is") && error.contains("expected a number from"), "{error}");
    }
}

#[test]
fn what_holds_the_policy_back_must_fit_together() {
    fn check(settings: &[&str], expected: &str) {
        let settings: Vec<String> = settings.iter().map(|setting| format!("train.{setting}")).collect();
        let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
        let error = parse(SMALL, &settings).expect_err(expected);
        assert!(error.contains(expected), "{settings:?}: {error}");
    }
    check(&["reference=none"], "`kl_coefficient` is above 0, but with `reference = \"none\"` there is nothing");
    check(&["reference=frozen", "reference_every=5"], "a `frozen` reference does not move");
    check(&["reference=replaced"], "`reference_every` is 0, which is never");
    check(&["reference=moving_average", "reference_every=1"], "needs `reference_rate`");
    check(&["reference=moving_average", "reference_rate=0.1"], "`reference_every` is 0, which is never");
    check(&["reference_rate=0.1"], "`reference_rate` is set, but the reference is no moving average");
    check(&["reference_rate=2"], "expected a number from 0 to 1");
    check(&["reference=frosen"], "did you mean \"frozen\"?");
    check(&["dual_clip=1.1"], "`dual_clip` is 1.1, expected more than 1 + clip_high, which is 1.2");
    check(&["dual_clip=3", "loss=sapo"], "the losses cispo and sapo bound the probability ratio otherwise");
    check(&["kl_importance=true", "kl_coefficient=0"], "there is no KL penalty in the loss");
    check(&["kl_importance=true", "kl_in=reward"], "there is no KL penalty in the loss");
    check(&["kl_estimator=k1"], "it would hold nothing back");
    check(&["top_entropy_share=0"], "expected a number above 0, at most 1");
    check(&["entropy_coefficient=-1"], "expected a number, 0 or more");

    fn kind(settings: &[&str]) -> ReferenceKind {
        let settings: Vec<String> = settings.iter().map(|setting| format!("train.{setting}")).collect();
        let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
        let recipe = parse(SMALL, &settings).unwrap_or_else(|error| panic!("{settings:?}: {error}"));
        recipe.grpo().next().unwrap().1.reference_kind()
    }
    assert_eq!(kind(&[]), ReferenceKind::Frozen);
    assert_eq!(kind(&["kl_coefficient=0"]), ReferenceKind::None);
    assert_eq!(kind(&["reference_every=5"]), ReferenceKind::Replaced);
    // Measured and not punished.
    assert_eq!(kind(&["reference=frozen", "kl_coefficient=0"]), ReferenceKind::Frozen);
    assert_eq!(kind(&["reference=replaced", "reference_every=5", "kl_coefficient=0"]), ReferenceKind::Replaced);
    let average = ["reference=moving_average", "reference_every=1", "reference_rate=0.01"];
    assert_eq!(kind(&average), ReferenceKind::MovingAverage);
    kind(&["kl_estimator=k1", "kl_in=reward"]);
    kind(&["kl_estimator=k1", "kl_importance=true"]);
    kind(&["dual_clip=3", "loss=gspo"]);
}

#[test]
fn names_stay_within_the_run_folder() {
    fn check(name: &str, fine: bool) {
        let stage = SMALL.replacen("name = \"train\"", &format!("name = {name:?}"), 1);
        assert_eq!(parse(&stage, &[]).is_ok(), fine, "stage {name:?}");
        let recipe = SMALL.replacen("name = \"small\"", &format!("name = {name:?}"), 1);
        assert_eq!(parse(&recipe, &[]).is_ok(), fine, "recipe {name:?}");
    }
    check("rl-2_b", true);
    // Checkpoints are called so, beside the folder of a stage's.
    for (name, fine) in [("step-1", false), ("step-one", true), ("step1", true)] {
        assert_eq!(
            parse(&SMALL.replacen("name = \"train\"", &format!("name = {name:?}"), 1), &[]).is_ok(),
            fine,
            "{name}"
        );
    }
    // `--set` finds keys by dots.
    assert!(parse(&SMALL.replacen("name = \"train\"", "name = \"rl.2\"", 1), &[]).is_err());
    assert!(parse(&SMALL.replacen("name = \"small\"", "name = \"qwen2.5\"", 1), &[]).is_ok());
    for name in ["../../../evil", "a/b", "a\\b", ".", "..", ".hidden", "", "a b", &"long".repeat(40)] {
        check(name, false);
    }
}

#[test]
fn a_setting_that_spoils_a_shipped_recipe_is_to_blame() {
    fn check(settings: &[&str], expected: &str) {
        let settings: Vec<String> = settings.iter().map(|&setting| setting.to_owned()).collect();
        let error = find_shipped("smoke").unwrap().recipe(&settings).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{settings:?}: {error}");
    }
    check(&["seed=1", "grpo.kl_coefficient=0"], "--set grpo.kl_coefficient=0: `reference_every` is set, but");
    check(&["grpo.mini_batches=100", "seed=1"], "--set grpo.mini_batches=100: `mini_batches` is 100, but");
    check(&["model.n_routed_experts=1"], "--set model.n_routed_experts=1: `num_experts_per_tok` is 2, but");
    check(&["model.max_position_embeddings=8"], "--set model.max_position_embeddings=8: `grpo.max_new_tokens` is 32");
    // Either alone would be fine: the last is what made it wrong.
    check(&["grpo.prompts_per_step=1", "grpo.mini_batches=24"], "--set grpo.mini_batches=24: ");
    // Where no single one is to blame, at least no file is named that a person does not have.
    check(&["grpo.kl_coefficient=0", "grpo.mini_batches=100"], "the shipped recipe smoke, line ");
}

#[test]
fn a_difference_names_the_key() {
    fn check(settings: &[&str], expected: Option<&str>) {
        let (before, now) = (parse(SMALL, &[]).unwrap(), parse(SMALL, settings).unwrap());
        assert_eq!(now.difference(&before).map(|(key, ..)| key).as_deref(), expected, "{settings:?}");
    }
    check(&[], None);
    check(&["train.checkpoint_every=3", "description=other"], None);
    check(&["train.learning_rate=1"], Some("train.learning_rate"));
    check(&["rewards.accuracy.weight=1"], Some("rewards.accuracy.weight"));
    check(&["tasks.files=[\"x\"]"], Some("tasks.files"));
    check(&["seed=8"], Some("seed"));
    check(&["model={path='m'}"], Some("model.path"));

    let before = parse(SMALL, &[]).unwrap();
    let mut now = before.clone();
    let last = now.stages.len() - 1;
    now.stages.swap(last - 1, last);
    assert_eq!(now.difference(&before).unwrap().0, "stage.order");
}

#[test]
fn the_base_depends_on_what_makes_it_and_on_nothing_else() {
    fn base(recipe: &Recipe) -> String {
        recipe.base_fingerprint(&recipe.stages[0])
    }
    fn check(setting: &str, same: bool) {
        let (before, now) = (parse(SMALL, &[]).unwrap(), parse(SMALL, &[setting]).unwrap());
        assert_eq!(base(&before) == base(&now), same, "{setting}");
    }
    check("train.learning_rate=1", true);
    check("eval.samples=3", true);
    check("seed=8", false);
    check("pretrain.tokens=2000", false);
    check("model.hidden_size=64", false);
    check("tasks.families.python=1", false);
}

#[test]
fn a_missing_recipe_suggests_the_nearest() {
    let error = find_shipped("r1zero").unwrap_err().to_string();
    assert_eq!(error, "r1zero: there is no shipped recipe and no file of this name\n  hint: did you mean `r1-zero`?");
}

#[test]
fn a_rewards_parameters_are_checked_where_they_stand() {
    fn check(line: &str, settings: &[&str], expected: &str) {
        let text = SMALL.replacen("weight = 0.5", line, 1);
        assert_eq!(parse(&text, settings).expect_err(line), expected.trim_start_matches('\n'), "{line}");
    }
    check(
        "parameters = { depth = 3 }",
        &[],
        "
small.toml, line 10: the reward `accuracy` has no parameter `depth`
     |
  10 | parameters = { depth = 3 }
     |                ^^^^^
  hint: it has no parameters",
    );
    check(
        "weight = 0.5",
        &["rewards.accuracy.parameters.depth=3"],
        "
--set rewards.accuracy.parameters.depth=3: the reward `accuracy` has no parameter `depth`
  hint: it has no parameters",
    );
}
