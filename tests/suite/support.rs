//! A recipe small enough to be run many times, places to run it, and what a run leaves behind.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, LazyLock};

use recipes::{Recipe, RunOptions, RunStatus, RunSummary, Verbosity, run_recipe};
use sandbox::Python;
use serde_json::Value;

/// What every small recipe has before its stages: a model of 0.1 M parameters, two families, two rewards.
const FOUNDATION: &str = r#"
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
"#;

/// Six steps of reinforcement learning with all that a step can have: two mini-batches, a KL penalty, a reference that
/// is replaced, checkpoints, a quick evaluation. The base has read enough to close its tags now and then, so that
/// completions of one group differ in reward and the policy moves. No Python, which takes a while to load.
const SMALL: &str = r#"
[[stage]]
kind = "pretrain"
vocab_size = 384
tokens = 100_000
batch_tokens = 1024
learning_rate = 1e-2

[[stage]]
kind = "eval"
name = "before"

[[stage]]
kind = "grpo"
steps = 6
prompts_per_step = 4
group_size = 4
max_new_tokens = 40
learning_rate = 1e-3
warmup_steps = 2
kl_coefficient = 0.01
reference_every = 3
mini_batches = 2
checkpoint_every = 2
eval_every = 3
eval_tasks = 2

[[stage]]
kind = "eval"
name = "after"
"#;

/// Where the runs of this process lie: in cargo's folder for tests' files, emptied when the next process begins, so that
/// the run of a failed test can be looked at.
fn scratch() -> &'static Path {
    static SCRATCH: LazyLock<(PathBuf, File)> = LazyLock::new(|| {
        let root = Path::new(env!("CARGO_TARGET_TMPDIR"));
        fs::create_dir_all(root).unwrap();
        // Held until the process ends.
        let lock = File::create(root.join("suite.lock")).unwrap();
        lock.lock().unwrap();
        let path = root.join("suite");
        if path.exists() {
            fs::remove_dir_all(&path).unwrap();
        }
        fs::create_dir(&path).unwrap();
        (path, lock)
    });
    &SCRATCH.0
}

/// A path of one's own, at which there is nothing yet.
pub(crate) fn place(name: &str) -> PathBuf {
    let path = scratch().join(name);
    assert!(!path.exists(), "two tests use the name {name}");
    path
}

/// An empty folder of one's own.
pub(crate) fn folder(name: &str) -> PathBuf {
    let path = place(name);
    fs::create_dir(&path).unwrap();
    path
}

/// Prepared once for all tests, where other tests and the command find it as well.
pub(crate) fn python() -> Arc<Python> {
    static PYTHON: LazyLock<Arc<Python>> =
        LazyLock::new(|| Arc::new(Python::prepare(&sandbox::default_cache_dir(), &mut |_| ()).unwrap()));
    Arc::clone(&PYTHON)
}

/// A cache for bases that begins empty in each process, with the prepared Python in it.
pub(crate) fn cache() -> &'static Path {
    static CACHE: LazyLock<PathBuf> = LazyLock::new(|| {
        let cache = folder("cache");
        let _ = python();
        for entry in fs::read_dir(sandbox::default_cache_dir()).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "cwasm") {
                std::os::unix::fs::symlink(&path, cache.join(path.file_name().unwrap())).unwrap();
            }
        }
        cache
    });
    &CACHE
}

/// The text of a recipe for the small model with these stages.
pub(crate) fn with_stages(name: &str, stages: &str) -> String {
    format!("name = \"{name}\"{FOUNDATION}{stages}")
}

/// A recipe with settings on top.
pub(crate) fn recipe(name: &str, text: &str, settings: &[&str]) -> Recipe {
    let settings: Vec<String> = settings.iter().map(|setting| (*setting).to_owned()).collect();
    Recipe::parse(&format!("{name}.toml"), text, &settings).unwrap_or_else(|error| panic!("{error}"))
}

/// The small recipe with settings on top.
pub(crate) fn small(settings: &[&str]) -> Recipe {
    recipe("small", &with_stages("small", SMALL), settings)
}

/// A setting that names a path.
pub(crate) fn path_setting(before: &str, path: &Path, after: &str) -> String {
    format!("{before}'{}'{after}", path.display())
}

/// The setting that starts from the model in `folder`.
pub(crate) fn model_setting(folder: &Path) -> String {
    path_setting("model={ path = ", folder, " }")
}

/// A silent run at `path`.
pub(crate) fn options(path: &Path) -> RunOptions {
    RunOptions {
        run_dir: Some(path.to_owned()),
        cache_dir: cache().to_owned(),
        verbosity: Verbosity::Silent,
        ..RunOptions::default()
    }
}

/// The same, going on with what lies there.
pub(crate) fn resuming(path: &Path) -> RunOptions {
    RunOptions { resume: true, ..options(path) }
}

/// Runs to the end.
pub(crate) fn finish(recipe: &Recipe, options: &RunOptions) -> RunSummary {
    let summary = run_recipe(recipe, options).unwrap_or_else(|error| panic!("{error:?}"));
    assert_eq!(summary.status, RunStatus::Finished);
    summary
}

/// What a person reads when the run fails.
pub(crate) fn failure(recipe: &Recipe, options: &RunOptions) -> String {
    match run_recipe(recipe, options) {
        Ok(summary) => panic!("the run should have failed: {:?}", summary.status),
        Err(error) => format!("{error:#}"),
    }
}

/// The base of the small recipe, made once; from then on it is in the cache.
pub(crate) fn base() -> &'static Path {
    static BASE: LazyLock<PathBuf> = LazyLock::new(|| {
        let path = place("base");
        // What follows the base does not make it.
        let shorter = ["grpo.steps=0", "eval.tasks_per_family=1"];
        finish(&small(&shorter), &options(&path));
        path.join("base")
    });
    &BASE
}

/// The small recipe, run through without any disturbance, with its base from the cache.
pub(crate) fn whole() -> &'static Path {
    static WHOLE: LazyLock<PathBuf> = LazyLock::new(|| {
        base();
        let path = place("whole");
        finish(&small(&[]), &options(&path));
        path
    });
    &WHOLE
}

/// The rows of a run's metrics, with their times.
pub(crate) fn rows(run: &Path) -> Vec<Value> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap_or_default();
    // The last line may be under way.
    text.split_inclusive('\n').filter(|l| l.ends_with('\n')).map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The rows of a file of JSON Lines.
pub(crate) fn lines(path: &Path) -> Vec<Value> {
    fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The rows of the grpo steps.
pub(crate) fn step_rows(run: &Path) -> Vec<Value> {
    rows(run).into_iter().filter(|row| row["kind"] == "step").collect()
}

/// Everything that a run leaves and that does not tell the time: metrics, completions, the base, checkpoints.
pub(crate) fn left(run: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut left = BTreeMap::new();
    for (number, mut row) in rows(run).into_iter().enumerate() {
        assert!(row.as_object_mut().unwrap().remove("time").is_some());
        left.insert(format!("metrics.jsonl, line {}", number + 1), row.to_string().into_bytes());
    }
    for name in ["base", "bases", "checkpoints", "completions", "data", "export"] {
        // There is no base where the model was given, and few recipes have data or an export.
        if run.join(name).exists() {
            collect(run, Path::new(name), &mut left);
        }
    }
    left
}

fn collect(root: &Path, inner: &Path, left: &mut BTreeMap<String, Vec<u8>>) {
    for entry in fs::read_dir(root.join(inner)).unwrap() {
        let name = inner.join(entry.unwrap().file_name());
        let path = root.join(&name);
        let file_name = name.file_name().unwrap().to_str().unwrap();
        if path.is_dir() {
            collect(root, &name, left);
        } else if file_name == "trainer.json" {
            let mut state: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
            assert!(state.as_object_mut().unwrap().remove("seconds").is_some());
            left.insert(name.display().to_string(), state.to_string().into_bytes());
        } else if file_name != "manifest.json" {
            // A manifest holds the hash of the file with the times.
            left.insert(name.display().to_string(), fs::read(path).unwrap());
        }
    }
}

/// That two runs left the same, to the byte.
#[track_caller]
pub(crate) fn same(one: &Path, other: &Path) {
    let (left, right) = (left(one), left(other));
    let names = |files: &BTreeMap<String, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&left), names(&right));
    for kind in ["model.safetensors", "optimizer.safetensors", "line 1", "step-000001.jsonl", "trainer.json"] {
        assert!(left.keys().any(|name| name.ends_with(kind)), "there is no {kind} to compare");
    }
    for (name, content) in &left {
        let shown = |bytes: &[u8]| String::from_utf8_lossy(&bytes[..bytes.len().min(3000)]).into_owned();
        assert!(*content == right[name], "{name} differs:\n{}\n{}", shown(content), shown(&right[name]));
    }
}

/// A copy of a folder and what is in it.
pub(crate) fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// What a run in a process of its own is told, as JSON in this environment variable.
const REQUEST: &str = "SUITE_RUN";

/// The exit status of a run that was interrupted in a process of its own.
pub(crate) const INTERRUPTED: i32 = 130;

/// A run of a recipe in a process of its own, which can be killed and whose words can be read: this binary again, with
/// the test below and no other.
pub(crate) fn in_a_process(recipe: &Recipe, options: &RunOptions) -> Command {
    let request = serde_json::json!({
        "recipe": recipe.to_toml().unwrap(),
        "run_dir": options.run_dir,
        "cache_dir": options.cache_dir,
        "resume": options.resume,
    });
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "support::the_run_in_a_process", "--ignored", "--nocapture"]);
    command.env(REQUEST, request.to_string());
    command
}

/// Listens to Ctrl-C and exits with 1 where the run fails and 130 where it was interrupted, as the command does.
#[test]
#[ignore = "is what other tests start as a process of its own"]
#[allow(clippy::print_stderr, reason = "read by the test that started it")]
fn the_run_in_a_process() {
    let Ok(request) = std::env::var(REQUEST) else { return };
    let request: Value = serde_json::from_str(&request).unwrap();
    let path = |key: &str| PathBuf::from(request[key].as_str().unwrap());
    let recipe = Recipe::parse("recipe.toml", request["recipe"].as_str().unwrap(), &[]).unwrap();
    let options = RunOptions {
        run_dir: Some(path("run_dir")),
        cache_dir: path("cache_dir"),
        resume: request["resume"].as_bool().unwrap(),
        verbosity: Verbosity::Plain,
        ..RunOptions::default()
    };
    options.interrupt.on_ctrl_c(|_| eprintln!("interrupted")).unwrap();
    match run_recipe(&recipe, &options) {
        Ok(summary) if summary.status == RunStatus::Finished => {}
        Ok(_) => std::process::exit(INTERRUPTED),
        Err(error) => {
            eprintln!("error: {error:#}");
            std::process::exit(1);
        }
    }
}
