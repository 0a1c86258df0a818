//! Chains of stages: what each does, killed in each and resumed, and what is said of chains that do not fit.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::LazyLock;
use std::time::Duration;

use datasets::{Family, Split};
use policy::checkpoint::load_tensors;
use policy::{Policy, Tokenizer};
use recipes::{Recipe, RunOptions, RunStatus, run_recipe};
use serde_json::Value;

use crate::support::{failure, finish, folder, in_a_process, options, path_setting, place, resuming, rows, same};

/// The stages after the base: they sample, fine-tune, learn by reinforcement, distil into a dense student, and export.
const CHAIN: &str = r#"
name = "chain"
seed = 5

[model]
hidden_size = 32
num_hidden_layers = 2
num_attention_heads = 2
kv_lora_rank = 16
qk_nope_head_dim = 8
qk_rope_head_dim = 8
v_head_dim = 8
intermediate_size = 64
moe_intermediate_size = 16
n_routed_experts = 4

[tasks.families]
arithmetic = 1.0
countdown = 1.0

[eval]
tasks_per_family = 4
samples = 2

[[rewards]]
name = "accuracy"

[[rewards]]
name = "format"
weight = 0.5

[[stage]]
kind = "pretrain"
vocab_size = 384
tokens = 300_000
batch_tokens = 1024
learning_rate = 1e-2

[[stage]]
kind = "reject"
families = { arithmetic = 1.0 }
tasks = 300
tasks_per_step = 100
samples = 8
keep = 2
max_new_tokens = 40
require = { format = 1.0 }

[[stage]]
kind = "sft"
epochs = 3
batch_size = 4
learning_rate = 1e-3
validation_share = 0.2
checkpoint_every = 2

[[stage]]
kind = "grpo"
steps = 2
prompts_per_step = 4
group_size = 4
max_new_tokens = 40
learning_rate = 1e-3
kl_coefficient = 0
checkpoint_every = 1
eval_every = 0

[[stage]]
kind = "distill"
teacher = "grpo"
model = { model_type = "llama", hidden_size = 32, num_hidden_layers = 1, num_attention_heads = 2, head_dim = 16, intermediate_size = 64 }
traces = { tasks = 200, tasks_per_step = 100, samples = 8, keep = 4, max_new_tokens = 40 }
epochs = 1
batch_size = 4
learning_rate = 1e-2
validation_share = 0
checkpoint_every = 2

[[stage]]
kind = "export"
dtype = "bf16"

[[stage]]
kind = "eval"
"#;

fn chain(settings: &[&str]) -> Recipe {
    let settings: Vec<String> = settings.iter().map(|setting| (*setting).to_owned()).collect();
    Recipe::parse("chain.toml", CHAIN, &settings).unwrap_or_else(|error| panic!("{error}"))
}

/// The chain, run through without any disturbance.
fn whole() -> &'static Path {
    static WHOLE: LazyLock<PathBuf> = LazyLock::new(|| {
        // Once for the base, so that the runs after it find it in the cache.
        let path = place("chain-base");
        finish(&chain(&["grpo.steps=0"]), &options(&path));
        let path = place("chain-whole");
        finish(&chain(&[]), &options(&path));
        path
    });
    &WHOLE
}

fn of_stage(run: &Path, stage: &str) -> Vec<Value> {
    rows(run).into_iter().filter(|row| row["stage"] == stage).collect()
}

fn lines(path: &Path) -> Vec<Value> {
    fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn rejection_sampling_keeps_right_answers_and_counts_the_others() {
    let kept = lines(&whole().join("data/reject.jsonl"));
    let rows = of_stage(whole(), "reject");
    assert_eq!(rows.len(), 3);
    let count = |value: &Value| value.as_object().unwrap().values().map(|n| n.as_u64().unwrap()).sum::<u64>();
    let (kept_count, dropped): (u64, u64) = rows
        .iter()
        .map(|row| (count(&row["kept"]), count(&row["dropped"])))
        .fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1));
    assert_eq!((kept.len() as u64, kept_count + dropped), (kept_count, 300 * 8));
    let mut answers = BTreeSet::new();
    for row in &kept {
        assert_eq!(row["source"], "arithmetic");
        let response = row["response"].as_str().unwrap();
        assert!(response.starts_with("<think>") && response.ends_with("</answer>"), "{response}");
        assert!(answers.insert((row["task"].to_string(), response.to_owned())), "kept twice: {response}");
    }
    let most = kept.iter().map(|row| kept.iter().filter(|other| other["task"] == row["task"]).count()).max();
    assert!(most <= Some(2), "{most:?}");
    // What is kept is what was graded as right.
    let graded: Vec<Value> =
        (1..=3).flat_map(|step| lines(&whole().join(format!("completions/reject/step-00000{step}.jsonl")))).collect();
    for row in &kept {
        let right = graded.iter().any(|graded| {
            graded["task"] == row["task"]
                && graded["completion"].as_str().unwrap().trim() == row["response"].as_str().unwrap()
                && graded["parts"].as_array().unwrap().iter().all(|part| part["score"] == 1.0)
        });
        assert!(right, "{row}");
    }
}

/// Worked solutions, which a third of the base's texts were: it learns to give nothing else.
#[test]
fn fine_tuning_lowers_the_loss_on_what_was_set_aside() {
    whole();
    let file = folder("sft-worked").join("worked.jsonl");
    let row = |index: u64| {
        let family = Family::Arithmetic;
        let prompt = family.task(Split::Train, 9, index).prompt;
        serde_json::json!({ "prompt": prompt, "response": family.solution(Split::Train, 9, index) }).to_string() + "\n"
    };
    fs::write(&file, (0..200).map(row).collect::<String>()).unwrap();
    let path = place("sft-worked-run");
    let settings = [path_setting("sft.data=", &file, ""), "sft.batch_size=16".to_owned(), "grpo.steps=0".to_owned()];
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    finish(&chain(&settings), &options(&path));
    let rows = of_stage(&path, "sft");
    let validation: Vec<f64> = rows.iter().filter_map(|row| row["validation_loss"].as_f64()).collect();
    assert_eq!(validation.len(), 3, "after each pass");
    assert!(validation[2] < validation[0] && validation[2] < rows[0]["loss"].as_f64().unwrap(), "{validation:?}");
    let rate = |row: &Value| row["learning_rate"].as_f64().unwrap();
    assert!((rate(rows.last().unwrap()) - 0.1 * 1e-3).abs() < 1e-9, "a tenth of the peak");
}

#[test]
fn a_student_of_another_architecture_learns_from_the_teacher() {
    let run = whole();
    let stages: Vec<Value> = serde_json::from_str(&fs::read_to_string(run.join("stages.json")).unwrap()).unwrap();
    let names: Vec<&str> = stages.iter().map(|stage| stage["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["pretrain", "reject", "sft", "grpo", "distill-traces", "distill", "export", "eval"]);
    let rows = of_stage(run, "distill");
    let loss = |row: &Value| row["loss"].as_f64().unwrap();
    assert!(loss(rows.last().unwrap()) < loss(&rows[0]) - 0.5, "{rows:?}");
    let student = Policy::load(&run.join("export")).unwrap();
    assert_eq!(student.config().architecture.name(), "LlamaForCausalLM");
}

#[test]
fn an_export_is_a_model_of_sixteen_bits_with_a_card() {
    let export = whole().join("export");
    let card = fs::read_to_string(export.join("README.md")).unwrap();
    assert!(card.contains("# chain, seed 5") && card.contains("distill (distill)"), "{card}");
    assert!(Tokenizer::from_dir(&export).is_ok());
    let steps = of_stage(whole(), "distill").len();
    let trained = load_tensors(whole().join(format!("checkpoints/distill/step-{steps:06}/model.safetensors"))).unwrap();
    let written = load_tensors(export.join("model.safetensors")).unwrap();
    assert_eq!(trained.keys().collect::<Vec<_>>(), written.keys().collect::<Vec<_>>());
    for (name, tensor) in &written {
        for (written, trained) in tensor.values.iter().zip(&trained[name].values) {
            // Eight significant bits, the first of which is not stored: half of the last is at most 2^-8 of the number.
            assert!((written - trained).abs() <= trained.abs() / 256.0 + 1e-38, "{name}: {trained} became {written}");
            assert_eq!(written.to_bits() & 0xFFFF, 0);
        }
    }
}

/// Runs in a process of its own and kills it once the metrics hold that step of that stage; whether it was in time.
fn killed_at(recipe: &Recipe, stage: &str, step: usize, options: &RunOptions) -> bool {
    let path = options.run_dir.as_ref().unwrap();
    let mut process = in_a_process(recipe, options).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    loop {
        if of_stage(path, stage).len() >= step {
            process.kill().unwrap();
            return process.wait().unwrap().signal() == Some(9);
        }
        if let Some(status) = process.try_wait().unwrap() {
            assert!(status.success(), "{status}");
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn killed_in_each_stage_and_resumed_it_is_the_same_run() {
    whole();
    let path = place("chain-killed");
    let mut killed = 0;
    for (number, (stage, step)) in
        [("reject", 1), ("reject", 2), ("sft", 1), ("sft", 3), ("grpo", 1), ("distill-traces", 1), ("distill", 3)]
            .into_iter()
            .enumerate()
    {
        let options = if number == 0 { options(&path) } else { resuming(&path) };
        killed += usize::from(killed_at(&chain(&[]), stage, step, &options));
    }
    // On a machine that is very busy, some may come too late.
    assert!(killed >= 4, "{killed}");
    finish(&chain(&[]), &resuming(&path));
    same(&path, whole());
}

#[test]
fn a_run_may_begin_with_what_an_earlier_one_did() {
    let path = place("chain-from-grpo");
    let from = RunOptions { from: Some("grpo".to_owned()), of: Some(whole().to_owned()), ..options(&path) };
    finish(&chain(&[]), &from);
    same(&path, whole());

    let path = place("chain-only-grpo");
    let only = RunOptions {
        from: Some("grpo".to_owned()),
        until: Some("grpo".to_owned()),
        of: Some(whole().to_owned()),
        ..options(&path)
    };
    let summary = run_recipe(&chain(&[]), &only).unwrap();
    assert_eq!(summary.status, RunStatus::StoppedAfter { stage: "grpo".to_owned() });
    assert!(of_stage(&path, "distill").is_empty() && of_stage(&path, "grpo").len() == 2);
    finish(&chain(&[]), &resuming(&path));
    same(&path, whole());

    // What was done before must have been done as the recipe now says; what comes after may differ.
    let other = RunOptions { of: Some(whole().to_owned()), ..from };
    let place = place("chain-from-other");
    let error = failure(&chain(&["sft.epochs=1"]), &RunOptions { run_dir: Some(place.clone()), ..other.clone() });
    assert!(error.contains("sft.epochs = 3, the recipe now has 1") && !place.exists(), "{error}");
    finish(&chain(&["grpo.learning_rate=1e-4"]), &RunOptions { run_dir: Some(place), ..other });
}

/// Where nothing is learnt, nothing changes.
#[test]
fn a_learning_rate_of_0_changes_no_bit() {
    whole();
    let path = place("chain-rate-0");
    let recipe = chain(&["sft.learning_rate=0", "sft.router_bias_rate=0", "grpo.steps=0"]);
    finish(&recipe, &options(&path));
    let base = fs::read(path.join("base/model.safetensors")).unwrap();
    let steps = of_stage(&path, "sft").len();
    let after = fs::read(path.join(format!("checkpoints/sft/step-{steps:06}/model.safetensors"))).unwrap();
    assert!(base == after);
}

#[test]
fn a_row_without_an_answer_is_named_before_there_is_a_run() {
    let file = folder("sft-without-answer").join("sft.jsonl");
    fs::write(&file, "{\"prompt\": \"Compute 1 + 1\", \"response\": \"2\"}\n{\"prompt\": \"Compute 1 + 2\"}\n")
        .unwrap();
    let path = place("sft-without-answer-run");
    let error = failure(&chain(&[&path_setting("sft.data=", &file, "")]), &options(&path));
    assert!(error.contains(&format!("{}, line 2: no answer to learn", file.display())), "{error}");
    assert!(!path.exists());
}

#[test]
fn a_template_that_is_not_there_is_named() {
    whole();
    let file = folder("sft-without-template").join("sft.jsonl");
    fs::write(&file, "{\"prompt\": \"Compute 1 + 1\", \"response\": \"2\"}\n").unwrap();
    let settings = [path_setting("sft.data=", &file, ""), "sft.template=chat".to_owned()];
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    let error = failure(&chain(&settings), &options(&place("sft-without-template-run")));
    assert!(error.contains("sft.jsonl, line 1: ") && error.contains("chat template"), "{error}");
}

#[test]
fn chains_that_do_not_fit_are_told_where_and_why() {
    fn check(from: &str, to: &str, expected: &[&str]) {
        assert!(CHAIN.contains(from), "{from}");
        let error = Recipe::parse("chain.toml", &CHAIN.replacen(from, to, 1), &[]).expect_err(to).to_string();
        for part in expected {
            assert!(error.contains(part), "{to}: {part}: {error}");
        }
    }
    let sft = "kind = \"sft\"\n";
    check(
        sft,
        "kind = \"sft\"\nfrom = \"rejct\"\n",
        &["chain.toml, line 51: no earlier stage is called \"rejct\"", "did you mean \"reject\"?"],
    );
    check(sft, "kind = \"sft\"\nfrom = \"grpo\"\n", &["line 51: no earlier stage is called \"grpo\""]);
    check(
        sft,
        "kind = \"sft\"\ndata = \"pretrain\"\n",
        &["line 51: stage \"pretrain\" is of kind \"pretrain\", which makes no data", "data is made by reject"],
    );
    check(
        sft,
        "kind = \"sft\"\ndata = [\"traces\"]\n",
        &["line 51: no earlier stage is called \"traces\", and a file"],
    );
    check("kind = \"reject\"\n", "kind = \"sft\"\nname = \"first\"\n", &["unknown key `families`"]);
    check(
        "teacher = \"grpo\"",
        "teacher = \"gpro\"",
        &["no earlier stage is called \"gpro\"", "did you mean \"grpo\"?"],
    );
    check("teacher = \"grpo\"\n", "", &["this stage has no teacher", "name one, a stage or a folder"]);
    check("teacher = \"grpo\"", "teacher = \"grpo\"\ndata = [\"a.jsonl\"]", &["has both a `teacher`"]);
    check("require = { format = 1.0 }", "require = { fromat = 1.0 }", &["requires the reward `fromat`"]);
    check("families = { arithmetic = 1.0 }", "families = { python = 1.0 }", &["which is not in [tasks.families]"]);
    check("keep = 2", "keep = 9", &["`keep` is 9, but only 8 answers are sampled"]);
    check("dtype = \"bf16\"", "dtype = \"int4\"", &["expected \"f32\" or \"bf16\""]);
    let without_reject = CHAIN.replacen("kind = \"reject\"", "kind = \"eval\"\nname = \"first\"", 1);
    let error = Recipe::parse("chain.toml", &without_reject, &[]).unwrap_err().to_string();
    assert!(error.contains("unknown key `families`"), "{error}");
}

#[test]
fn a_teacher_that_is_not_there_is_named_before_there_is_a_run() {
    let text = CHAIN.replacen("teacher = \"grpo\"", "teacher = \"no/such/model\"", 1);
    let recipe = Recipe::parse("chain.toml", &text, &[]).unwrap();
    let path = place("chain-without-teacher");
    let error = failure(&recipe, &options(&path));
    assert!(error.contains("no/such/model") && error.contains("config.json"), "{error}");
    assert!(!path.exists());
}
