//! Chains of stages: what each does, killed in each and resumed; what each finds (`handed_on`), and what is said of chains that
//! do not fit (`misfits`).

mod handed_on;
mod misfits;

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
use recipes::config::{Template, find_shipped};
use recipes::{Recipe, RunOptions, RunStatus, run_recipe};
use serde_json::Value;

use crate::support::{
    cache, copy_folder, failure, finish, folder, in_a_process, lines, options, path_setting, place, recipe, resuming,
    rows, same, with_stages,
};

/// The stages after the base: they sample, fine-tune, learn by reinforcement, distil into a dense student, and export.
const CHAIN: &str = r#"
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

fn text() -> String {
    with_stages("chain", CHAIN)
}

fn chain(settings: &[&str]) -> Recipe {
    recipe("chain", &text(), settings)
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

/// Where a run is killed.
enum Kill {
    /// Once the metrics hold that step of that stage.
    Step(&'static str, usize),
    /// Once this is in the run's folder.
    Path(&'static str),
}

/// Runs in a process of its own and kills it; whether it was in time.
fn killed(recipe: &Recipe, kill: &Kill, options: &RunOptions) -> bool {
    let path = options.run_dir.as_ref().unwrap();
    let mut process = in_a_process(recipe, options).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    loop {
        let now = match kill {
            Kill::Step(stage, step) => of_stage(path, stage).len() >= *step,
            Kill::Path(inner) => path.join(inner).exists(),
        };
        if now {
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

/// Kills a run at each of these places in turn, lets it come to its end, and compares it with one that was left alone.
fn killed_again_and_again(recipe: &Recipe, path: &Path, kills: &[Kill], cache: &Path, whole: &Path) {
    let options = |resume| RunOptions { cache_dir: cache.to_owned(), resume, ..options(path) };
    let in_time = |(number, kill): (usize, &Kill)| killed(recipe, kill, &options(number > 0));
    let in_time = kills.iter().enumerate().filter(|(number, kill)| in_time((*number, kill))).count();
    // On a machine that is very busy, some may come too late.
    assert!(in_time > kills.len() / 2, "{in_time} of {} were in time", kills.len());
    finish(recipe, &options(true));
    same(path, whole);
}

/// Every kind of stage, the base among them, which has nothing in the cache.
#[test]
fn killed_in_each_stage_and_resumed_it_is_the_same_run() {
    whole();
    let kills = [
        Kill::Path("recipe.toml"),
        Kill::Step("reject", 1),
        Kill::Step("reject", 2),
        Kill::Step("sft", 1),
        Kill::Step("sft", 3),
        Kill::Step("grpo", 1),
        Kill::Step("distill-traces", 1),
        Kill::Step("distill", 3),
        Kill::Path("export"),
        Kill::Path("completions/eval"),
    ];
    let cache = folder("chain-killed-cache");
    killed_again_and_again(&chain(&[]), &place("chain-killed"), &kills, &cache, whole());
}

/// R1's four stages, at the small model's size.
#[test]
fn r1_killed_in_each_stage_and_resumed_is_the_same_run() {
    let text = find_shipped("r1").unwrap().text;
    let small = [
        "model={ hidden_size = 32, num_hidden_layers = 2, num_attention_heads = 2, kv_lora_rank = 16, qk_nope_head_dim = 8, \
         qk_rope_head_dim = 8, v_head_dim = 8, intermediate_size = 64, moe_intermediate_size = 16, n_routed_experts = 4 }",
        "tasks.families={ arithmetic = 1.0, countdown = 1.0 }",
        "eval.tasks_per_family=4",
        "eval.samples=2",
        "pretrain.tokens=400_000",
        "pretrain.batch_tokens=1024",
        "pretrain.learning_rate=1e-2",
        "pretrain.mixed_thoughts=0.2",
        "zero.families={ arithmetic = 1.0, countdown = 1.0 }",
        "zero.steps=2",
        "zero.prompts_per_step=4",
        "zero.group_size=4",
        "zero.max_new_tokens=64",
        "zero.checkpoint_every=1",
        "cold-data.families={ arithmetic = 1.0, countdown = 1.0 }",
        "cold-data.tasks=200",
        "cold-data.samples=8",
        "cold-data.tasks_per_step=100",
        "cold-data.max_new_tokens=64",
        "cold-start.batch_size=2",
        "reasoning.steps=2",
        "reasoning.prompts_per_step=4",
        "reasoning.group_size=4",
        "reasoning.max_new_tokens=64",
        "reasoning.checkpoint_every=1",
        "data.tasks=200",
        "data.samples=8",
        "data.tasks_per_step=100",
        "data.max_new_tokens=64",
        "fine-tuning.batch_size=2",
        "all-tasks.steps=2",
        "all-tasks.prompts_per_step=4",
        "all-tasks.group_size=4",
        "all-tasks.max_new_tokens=64",
        "all-tasks.checkpoint_every=1",
    ];
    let recipe = recipe("r1", text, &small);
    let path = place("r1-whole");
    finish(&recipe, &options(&path));
    let names: Vec<String> = rows(&path).iter().map(|row| row["stage"].as_str().unwrap().to_owned()).collect();
    let stages = ["zero", "cold-data", "cold-start", "reasoning", "data", "fine-tuning", "all-tasks"];
    assert!(stages.iter().all(|stage| names.iter().any(|name| name == stage)), "{names:?}");
    let kills = stages.map(|stage| Kill::Step(stage, 1));
    killed_again_and_again(&recipe, &place("r1-killed"), &kills, cache(), &path);
}

/// Two stages that train adapters, each with frozen weights of its own.
#[test]
fn adapters_learn_alone_and_are_the_same_after_a_kill() {
    whole();
    let adapters = ["sft.lora={ rank = 4, targets = ['q_proj', 'gate_proj'] }", "grpo.lora.rank=2"];
    let recipe = chain(&adapters);
    let path = place("lora-whole");
    finish(&recipe, &options(&path));
    let weights = |folder: &str| load_tensors(path.join(folder).join("model.safetensors")).unwrap();
    let steps = of_stage(&path, "sft").len();
    let (base, after) = (weights("base"), weights(&format!("checkpoints/sft/step-{steps:06}")));
    let moved: BTreeSet<&str> = base
        .iter()
        .filter(|(name, tensor)| tensor.values != after[*name].values && !name.ends_with("e_score_correction_bias"))
        .map(|(name, _)| name.trim_end_matches(".weight").rsplit('.').next().unwrap())
        .collect();
    assert_eq!(moved, BTreeSet::from(["gate_proj", "q_proj"]));
    // What is exported and goes on to later stages is a model like any other.
    assert!(Policy::load(&path.join("checkpoints/step-000002")).is_ok());
    let loss = |row: &Value| row["loss"].as_f64().unwrap();
    assert!(
        loss(&of_stage(&path, "sft")[0]) == loss(&of_stage(whole(), "sft")[0]),
        "the first step's model is the base"
    );

    let kills = [Kill::Step("sft", 1), Kill::Step("sft", 3), Kill::Step("grpo", 1)];
    killed_again_and_again(&recipe, &place("lora-killed"), &kills, cache(), &path);
}

/// A model with a chat template of its own, asked in it by every stage.
#[test]
fn a_model_is_asked_in_its_chat_template() {
    let model = folder("chat-model");
    for entry in fs::read_dir(whole().join("base")).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), model.join(entry.file_name())).unwrap();
    }
    let file = model.join("tokenizer_config.json");
    let with_template = |template: &str| {
        let mut config: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
        config["chat_template"] = template.into();
        fs::write(&file, config.to_string()).unwrap();
    };
    // The base knows no other prompt than R1-Zero's, so the template says the same, and opens the thought. It fails where the
    // system message of the tasks is missing, in whichever stage that is.
    let opens = "{% if messages[0].content != 'Think.' %}{{ raise_exception('no system message') }}{% endif %}\
                 {{ messages[0].content }} {% for m in messages %}{% if m.role == 'user' %}{{ PREFIX }} {{ m.content }}. \
                 Assistant: <think>{% endif %}{% endfor %}";
    with_template(&opens.replace("{{ PREFIX }}", datasets::template::R1_ZERO_PREFIX.trim_end()));
    let shown = folder("chat-demonstrations").join("shown.jsonl");
    fs::write(&shown, "{\"prompt\": \"Compute 1 + 1\", \"response\": \"<think> 2 </think>\"}\n").unwrap();
    let path = place("chat-run");
    let model = path_setting("model={ path = ", &model, " }");
    let data = path_setting("sft.data=['reject', ", &shown, "]");
    let settings = [model.as_str(), data.as_str(), "tasks.template=chat", "tasks.system_prompt=Think."];
    finish(&chain(&settings), &options(&path));
    let recipe = Recipe::read(&path.join("recipe.toml"), &[]).unwrap();
    assert!(
        recipe.stages.iter().filter_map(|stage| stage.settings.training()).all(|sft| sft.template == Template::Chat)
    );
    for file in ["completions/reject/step-000001.jsonl", "completions/step-000001.jsonl"] {
        for row in lines(&path.join(file)) {
            let completion = row["completion"].as_str().unwrap();
            assert!(
                completion.starts_with("<think>"),
                "what the template has written belongs to the answer: {completion}"
            );
        }
    }
    let kept = lines(&path.join("data/reject.jsonl"));
    assert!(!kept.is_empty());
    for row in &kept {
        let messages = row["messages"].as_array().unwrap();
        let roles: Vec<&str> = messages.iter().map(|message| message["role"].as_str().unwrap()).collect();
        assert_eq!(
            (roles.as_slice(), &messages[0]["content"]),
            (["system", "user", "assistant"].as_slice(), &"Think.".into())
        );
        assert!(row["prompt"].is_null() && messages[2]["content"].as_str().unwrap().starts_with("<think>"), "{row}");
    }
    let carried: Value = serde_json::from_str(&fs::read_to_string(path.join("export/training.json")).unwrap()).unwrap();
    assert_eq!(carried["template"], "chat");

    with_template("{{ raise_exception('no system message is known here') }}");
    let error = failure(&chain(&settings), &options(&place("chat-refused")));
    for part in ["stage `reject` cannot use its chat template", "no system message is known here"] {
        assert!(error.contains(part), "{error}");
    }
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

/// What a later stage left stays, or is made again to the same bits, whatever an earlier one has lost.
#[test]
fn what_is_lost_of_a_finished_run_is_made_again() {
    let path = place("chain-lost");
    copy_folder(whole(), &path);
    fs::remove_dir_all(path.join("export")).unwrap();
    finish(&chain(&[]), &resuming(&path));
    same(&path, whole());
    assert!(path.join("export/model.safetensors").is_file());

    // All checkpoints of the fine-tuning, upon which all others rest, and what it is made of.
    fs::remove_dir_all(path.join("checkpoints/sft")).unwrap();
    spoil(&path.join("base/model.safetensors"));
    let data = path.join("data/reject.jsonl");
    let kept = fs::read_to_string(&data).unwrap();
    fs::write(&data, kept.split_once('\n').unwrap().1).unwrap();
    finish(&chain(&[]), &resuming(&path));
    same(&path, whole());
    assert!(fs::read_to_string(&data).unwrap() == kept);

    let metrics = path.join("metrics.jsonl");
    let rows = fs::read_to_string(&metrics).unwrap();
    fs::write(&metrics, rows.split_inclusive('\n').take(3).collect::<String>()).unwrap();
    let summary = fs::read(path.join("summary.json")).unwrap();
    let error = failure(&chain(&[]), &resuming(&path));
    assert!(error.contains("metrics.jsonl has lost rows of stage `"), "{error}");
    assert!(fs::read(path.join("summary.json")).unwrap() == summary);
}

#[test]
fn a_damaged_model_is_named() {
    let folder = place("damaged-model");
    copy_folder(&whole().join("export"), &folder);
    spoil(&folder.join("model.safetensors"));
    let model = path_setting("model={ path = ", &folder, " }");
    let error = failure(&chain(&[&model]), &options(&place("damaged-model-run")));
    assert!(error.contains("model.safetensors: damaged: expected SHA-256"), "{error}");
}

/// Changes the last byte of a file.
fn spoil(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(path, bytes).unwrap();
}

/// A chain that judges no answer needs neither tasks with programs nor the Python that runs them.
#[test]
fn a_chain_without_a_judge_runs() {
    let file = folder("sft-alone").join("sft.jsonl");
    fs::write(&file, "{\"prompt\": \"Compute 1 + 1\", \"response\": \"2\"}\n".repeat(8)).unwrap();
    let text = format!(
        "name = \"alone\"\n[model]\npath = '{}'\n[[stage]]\nkind = \"sft\"\ndata = ['{}']\nvalidation_share = 0\nepochs = 1\n",
        whole().join("base").display(),
        file.display()
    );
    let path = place("sft-alone-run");
    let cache = folder("sft-alone-cache");
    finish(&recipe("alone", &text, &[]), &RunOptions { cache_dir: cache.clone(), ..options(&path) });
    assert_eq!(of_stage(&path, "sft").len(), 1);
    assert!(fs::read_dir(&cache).unwrap().next().is_none(), "Python was prepared");
}

/// What is examined is not learnt by heart first, in whatever template and with whatever system message it is shown.
#[test]
fn a_demonstration_of_a_held_out_task_is_left_out() {
    let folder = folder("sft-held-out");
    let files = ["train", "held", "shown"].map(|name| folder.join(format!("{name}.jsonl")));
    let task = |n: usize| format!("{{\"question\": \"What is {n} + 1?\", \"answer\": \"{}\"}}\n", n + 1);
    fs::write(&files[0], (0..8).map(task).collect::<String>()).unwrap();
    fs::write(&files[1], (6..10).map(task).collect::<String>()).unwrap();
    let shown =
        |n: usize| format!("{{\"system\": \"s\", \"prompt\": \"what is {n} + 1\", \"response\": \"{}\"}}\n", n + 1);
    fs::write(&files[2], (4..12).map(shown).collect::<String>()).unwrap();
    let [train, held, shown] = files.each_ref().map(|file| file.display());
    let text = format!(
        "name = \"held\"\n[model]\npath = '{}'\n[tasks]\nfiles = ['{train}']\nheld_out_files = ['{held}']\n\
         [[rewards]]\nname = \"accuracy\"\n[eval]\nsamples = 1\n[[stage]]\nkind = \"sft\"\ndata = ['{shown}']\n\
         validation_share = 0\nepochs = 1\nbatch_size = 1\n[[stage]]\nkind = \"eval\"\n",
        whole().join("base").display()
    );
    let path = place("sft-held-out-run");
    let output = in_a_process(&recipe("held", &text, &[]), &options(&path)).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    assert!(said.contains("2 tasks not trained on: the same questions are held out"), "{said}");
    assert!(said.contains("4 demonstrations left out: they answer held-out tasks"), "{said}");
    assert_eq!(of_stage(&path, "sft").len(), 4);
    assert_eq!(of_stage(&path, "eval")[0]["families"]["held"]["tasks"], 4);
}

/// Where nothing is learnt, nothing changes.
#[test]
fn a_learning_rate_of_0_changes_no_bit() {
    whole();
    let path = place("chain-rate-0");
    let recipe = chain(&["sft.learning_rate=0", "grpo.steps=0"]);
    finish(&recipe, &options(&path));
    let base = fs::read(path.join("base/model.safetensors")).unwrap();
    let steps = of_stage(&path, "sft").len();
    let after = fs::read(path.join(format!("checkpoints/sft/step-{steps:06}/model.safetensors"))).unwrap();
    assert!(base == after);
}
