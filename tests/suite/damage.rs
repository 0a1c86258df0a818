//! Bad input, one kind at a time: a message that says what and where, no panic, and no finished work lost.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use policy::checkpoint::{CheckpointWriter, TensorView, load_tensors, save_tensors};
use recipes::config::find_shipped;
use recipes::{Recipe, RunOptions};

use crate::support::{
    base, copy_folder, failure, finish, folder, in_a_process, model_setting, options, path_setting, place, resuming,
    same, small, step_rows, whole,
};

/// What a process said, having ended by itself.
#[track_caller]
fn words(output: &Output, code: i32) -> String {
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{words}");
    assert!(!words.contains("panicked"), "{words}");
    words
}

/// Runs in a process of its own; what it said.
#[track_caller]
fn said(recipe: &Recipe, options: &RunOptions, code: i32) -> String {
    words(&in_a_process(recipe, options).output().unwrap(), code)
}

#[track_caller]
fn contains(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "`{part}` is not in:\n{text}");
    }
}

/// A damaged checkpoint is found out by its hash; the one before is used, that is said, and the end is the same.
fn damaged_checkpoint(name: &str, damage: fn(&mut Vec<u8>), expected: &str) {
    let path = place(name);
    copy_folder(whole(), &path);
    let file = path.join("checkpoints/step-000006/model.safetensors");
    let mut bytes = fs::read(&file).unwrap();
    damage(&mut bytes);
    fs::write(&file, bytes).unwrap();
    let words = said(&small(&[]), &resuming(&path), 0);
    contains(&words, &["step-000006 is damaged and not used", "model.safetensors", expected]);
    contains(&words, &["grpo: going on after step 4"]);
    same(&path, whole());
}

#[test]
fn a_truncated_checkpoint() {
    damaged_checkpoint("truncated", |bytes| bytes.truncate(bytes.len() / 2), "truncated");
}

#[test]
fn a_checkpoint_with_one_bit_flipped() {
    damaged_checkpoint("flipped", |bytes| *bytes.last_mut().unwrap() ^= 1, "SHA-256");
}

#[test]
fn no_checkpoint_is_left_whole() {
    let path = place("all-damaged");
    copy_folder(whole(), &path);
    for entry in path.join("checkpoints").read_dir().unwrap() {
        fs::remove_file(entry.unwrap().path().join("optimizer.safetensors")).unwrap();
    }
    let words = said(&small(&[]), &resuming(&path), 0);
    assert!(words.matches("is damaged and not used").count() >= 2, "{words}");
    contains(&words, &["no checkpoint is left: grpo begins anew (6 steps are lost)"]);
    same(&path, whole());
}

#[test]
fn lost_completions_are_told_of_once() {
    let path = place("without-completions");
    copy_folder(whole(), &path);
    fs::remove_dir_all(path.join("completions")).unwrap();
    let words = said(&small(&[]), &resuming(&path), 0);
    assert_eq!(words.matches("grpo: the completions of 6 steps are gone, and stay so").count(), 1, "{words}");
}

/// A file of four tasks in GSM8K's layout, the third of which is cut off.
fn tasks_with_a_bad_line(name: &str) -> PathBuf {
    let file = folder(name).join("sums.jsonl");
    let good = |n: u32| format!("{{\"question\": \"What is {n} + {n}?\", \"answer\": \"So.\\n#### {}\"}}\n", 2 * n);
    let bad = "{\"question\": \"What is\n".to_owned();
    let rows = [good(1), good(2), bad].into_iter().chain((4..=12).map(good));
    fs::write(&file, rows.collect::<String>()).unwrap();
    file
}

/// The settings of a run on a task file, of whose questions half are held out.
fn on_tasks(file: &Path, settings: &[&str]) -> Recipe {
    let (files, model) = (path_setting("tasks.files=[", file, "]"), model_setting(base()));
    let mut all = vec![files.as_str(), &model, "grpo.steps=1", "grpo.eval_every=0", "tasks.held_out_share=0.5"];
    all.extend(settings);
    small(&all)
}

#[test]
fn a_malformed_line_of_a_task_file_stops_the_run() {
    let file = tasks_with_a_bad_line("bad-line-stop");
    let path = place("bad-line-stops");
    let error = failure(&on_tasks(&file, &[]), &options(&path));
    contains(&error, &[&format!("{}, line 3: ", file.display())]);
    assert!(!error.contains("--resume goes on"), "{error}");
    assert!(!path.exists(), "the file can be mended and the run begun: nothing is to be in the way");
}

#[test]
fn a_prompt_without_room_for_an_answer_is_named_before_anything_is_sampled() {
    let file = folder("long-prompt").join("sums.jsonl");
    let row = |question: &str| format!("{{\"question\": \"{question}\", \"answer\": \"So.\\n#### 3\"}}\n");
    fs::write(&file, row("1 + 2?") + &row("2 + 1?") + &row(&"0 + 3 + ".repeat(6000)) + &row("3 + 0?")).unwrap();
    let path = place("long-prompt-run");
    // Wherever the task falls, it is looked at: it need not come up in the first step.
    let error = failure(&on_tasks(&file, &["grpo.prompts_per_step=1"]), &options(&path));
    contains(&error, &[&file.display().to_string(), "task 3 (", "the prompt is too long: its ", "hint: shorten"]);
    assert!(!error.contains("--resume goes on"), "{error}");
    assert!(step_rows(&path).is_empty());
}

/// A cache that cannot be written costs the next run its time, and this one nothing.
#[test]
fn a_cache_in_the_way_does_not_cost_the_base() {
    let recipe = small(&["pretrain.tokens=10_000", "grpo.steps=1", "grpo.eval_every=0", "eval.tasks_per_family=1"]);
    let cache = folder("cache-in-the-way");
    fs::write(cache.join("bases"), "").unwrap();
    let path = place("with-cache-in-the-way");
    let words =
        words(&in_a_process(&recipe, &RunOptions { cache_dir: cache.clone(), ..options(&path) }).output().unwrap(), 0);
    contains(&words, &["the base is not kept for other runs", &cache.join("bases").display().to_string()]);
    assert!(path.join("base/model.safetensors").is_file());
}

#[test]
fn a_damaged_base_in_the_cache_is_said_and_replaced() {
    let recipe =
        small(&["pretrain.tokens=10_000", "pretrain.batch_tokens=512", "grpo.steps=0", "eval.tasks_per_family=1"]);
    let cache = folder("cache-damaged");
    let with = |path: PathBuf| RunOptions { cache_dir: cache.clone(), ..options(&path) };
    finish(&recipe, &with(place("cache-whole")));
    let cached = cache.join("bases").read_dir().unwrap().next().unwrap().unwrap().path();
    let sound = fs::read(cached.join("model.safetensors")).unwrap();
    fs::write(cached.join("model.safetensors"), "").unwrap();
    let said = words(&in_a_process(&recipe, &with(place("cache-was-damaged"))).output().unwrap(), 0);
    contains(&said, &["the base in the cache is damaged and not used", "model.safetensors"]);
    assert!(fs::read(cached.join("model.safetensors")).unwrap() == sound);

    fs::remove_dir_all(&cached).unwrap();
    fs::write(&cached, "").unwrap();
    let said = words(&in_a_process(&recipe, &with(place("cache-was-a-file"))).output().unwrap(), 0);
    assert!(!said.contains("is not kept"), "{said}");
    assert!(fs::read(cached.join("model.safetensors")).unwrap() == sound);
    assert_eq!(cache.join("bases").read_dir().unwrap().count(), 1);
}

#[test]
fn a_malformed_line_of_a_task_file_is_skipped_and_counted() {
    let file = tasks_with_a_bad_line("bad-line-skip");
    let path = place("bad-line-skipped");
    let words = said(&on_tasks(&file, &["tasks.on_bad_line=skip"]), &options(&path), 0);
    contains(&words, &[&format!("{}: 1 line left out, the first at line 3: ", file.display())]);
    assert_eq!(step_rows(&path).len(), 1);
}

#[test]
fn a_task_whose_reference_is_unusable_is_left_out_and_counted() {
    let file = folder("unscorable").join("sums.jsonl");
    let rows = |answer: &str, numbers: std::ops::Range<u32>| -> String {
        numbers.map(|n| format!("{{\"question\": \"What is {n}?\", \"answer\": \"#### {answer}\"}}\n")).collect()
    };
    fs::write(&file, rows("1/0", 0..20) + &rows("3", 20..40)).unwrap();
    let path = place("unscorable-left-out");
    finish(&on_tasks(&file, &["grpo.prompts_per_step=16", "grpo.steps=2"]), &options(&path));
    let left_out: u64 = step_rows(&path).iter().map(|row| row["unscorable"].as_u64().unwrap()).sum();
    // Whole groups of four, some of the 32 and not all.
    assert!(left_out > 0 && left_out < 128 && left_out.is_multiple_of(4), "{left_out}");
}

#[test]
fn an_unknown_key_names_the_nearest() {
    let error = Recipe::parse("mine.toml", "[[stage]]\nkind = \"grpo\"\nlerning_rate = 1e-4\n", &[]).unwrap_err();
    contains(&error.to_string(), &["mine.toml, line 3", "unknown key `lerning_rate`", "did you mean `learning_rate`?"]);
    let error = find_shipped("smoke").unwrap().recipe(&["grpo.grup_size=8".to_owned()]).unwrap_err();
    contains(&error.to_string(), &["--set", "grup_size", "did you mean `group_size`?"]);
}

#[test]
fn files_that_are_not_there() {
    let nowhere = place("nowhere");
    let error = Recipe::read(&nowhere.join("mine.toml"), &[]).unwrap_err().to_string();
    contains(&error, &[&nowhere.join("mine.toml").display().to_string(), "No such file"]);

    let tasks = nowhere.join("tasks.jsonl");
    let error = failure(&on_tasks(&tasks, &[]), &options(&place("without-tasks")));
    contains(&error, &["cannot read the task file", &tasks.display().to_string(), "No such file"]);

    let model = nowhere.join("model");
    let error = failure(&small(&[&model_setting(&model)]), &options(&place("without-model")));
    contains(&error, &[&model.display().to_string(), "config.json", "No such file"]);

    let error = failure(&small(&[]), &resuming(&nowhere));
    contains(&error, &[&nowhere.display().to_string()]);
}

#[test]
fn a_run_folder_that_cannot_be_made() {
    let file = folder("in-the-way").join("file");
    fs::write(&file, "").unwrap();
    let error = failure(&small(&[]), &options(&file.join("run")));
    contains(&error, &["cannot make the run folder", &file.display().to_string()]);
}

/// A copy of the base that something is wrong with.
fn spoilt_model(name: &str, spoil: impl FnOnce(&Path)) -> PathBuf {
    let model = place(name);
    copy_folder(base(), &model);
    // A model from elsewhere has none.
    fs::remove_file(model.join("manifest.json")).unwrap();
    spoil(&model);
    model
}

fn failure_of_model(name: &str, spoil: impl FnOnce(&Path)) -> String {
    let model = spoilt_model(&format!("model-{name}"), spoil);
    failure(&small(&[&model_setting(&model)]), &options(&place(&format!("run-{name}"))))
}

fn change(file: PathBuf, from: &str, to: &str) {
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains(from), "{text}");
    fs::write(file, text.replace(from, to)).unwrap();
}

#[test]
fn models_that_cannot_be_used() {
    let error = failure_of_model("of-another-architecture", |model| {
        change(model.join("config.json"), "deepseek_v3", "gpt_neox");
        change(model.join("config.json"), "DeepseekV3ForCausalLM", "GPTNeoXForCausalLM");
    });
    contains(&error, &["config.json", "the model is", "neox", "supported: "]);

    let error = failure_of_model("of-another-shape", |model| {
        change(model.join("config.json"), "\"n_routed_experts\": 4", "\"n_routed_experts\": 5");
    });
    contains(&error, &["tensor `", "config.json asks for"]);

    let error = failure_of_model("truncated", |model| {
        let file = model.join("model.safetensors");
        let bytes = fs::read(&file).unwrap();
        fs::write(file, &bytes[..bytes.len() / 2]).unwrap();
    });
    contains(&error, &["model.safetensors"]);

    let error = failure_of_model("without-tokenizer", |model| {
        fs::remove_file(model.join("tokenizer.json")).unwrap();
    });
    contains(&error, &["tokenizer.json", "No such file"]);
}

/// Puts a value that is no number into the output layer.
fn poison(model: &Path) {
    let file = model.join("model.safetensors");
    let mut tensors = load_tensors(&file).unwrap();
    tensors.get_mut("lm_head.weight").unwrap().values[7] = f32::NAN;
    let views: Vec<TensorView<'_>> =
        tensors.iter().map(|(name, data)| (name.clone(), data.shape.clone(), data.values.as_slice())).collect();
    save_tensors(&file, &views, &Default::default()).unwrap();
}

#[test]
fn weights_that_are_no_numbers_stop_the_run() {
    let model = spoilt_model("model-poisoned", poison);
    for (name, kl) in [("poisoned-with-reference", "grpo.kl_coefficient=0.01"), ("poisoned", "grpo.kl_coefficient=0")] {
        let mut settings = vec![kl, "grpo.reference_every=0", "eval.tasks_per_family=1"];
        let model = model_setting(&model);
        settings.push(&model);
        let words = said(&small(&settings), &options(&place(name)), 1);
        contains(&words, &["log-probabilities are not finite", "hint: a model that was given may be damaged"]);
    }
}

#[test]
fn a_learning_rate_that_breaks_the_policy_stops_the_run() {
    let model = model_setting(base());
    let settings = [&model, "grpo.learning_rate=1e30", "grpo.warmup_steps=0", "eval.tasks_per_family=1"];
    let path = place("diverged");
    let words = said(&small(&settings), &options(&path), 1);
    contains(&words, &["not finite", "learning_rate", "metrics.jsonl", "what it did is kept"]);
    assert!((1..6).contains(&step_rows(&path).len()), "{words}");
}

/// A reference that is no number makes a loss that is none, of a policy that is sound.
#[test]
fn a_loss_that_is_no_number_changes_nothing_and_stops_the_run() {
    let path = place("loss-is-nan");
    copy_folder(whole(), &path);
    let checkpoint = path.join("checkpoints/step-000004");
    fs::remove_dir_all(path.join("checkpoints/step-000006")).unwrap();
    let sound = place("sound-checkpoint");
    fs::rename(&checkpoint, &sound).unwrap();
    let writer = CheckpointWriter::begin(&checkpoint).unwrap();
    fs::remove_dir(writer.path()).unwrap();
    copy_folder(&sound, writer.path());
    poison(&writer.path().join("reference"));
    writer.finish().unwrap();

    let words = said(&small(&[]), &resuming(&path), 1);
    // Two mini-batches of step 5 and the first of step 6.
    contains(&words, &["step 5: the gradient is not finite", "this optimizer step was not applied", "step 6: "]);
    contains(&words, &["3 optimizer steps in a row, so the run stops", "metrics.jsonl", "what it did is kept"]);
    let rows = step_rows(&path);
    assert!(rows[4]["step"] == 5 && rows[4]["loss"].is_null() && rows[4]["logprob_difference_max"].is_number());
    assert!(!path.join("checkpoints/step-000006").exists());

    fs::remove_dir_all(&checkpoint).unwrap();
    fs::rename(&sound, &checkpoint).unwrap();
    finish(&small(&[]), &resuming(&path));
    same(&path, whole());
}

/// A disk that fills up while a checkpoint is written, played by the limit on a file's size: the system refuses the
/// write in the same place.
#[test]
fn a_full_disk_loses_no_finished_work() {
    base();
    let length = |name: &str| fs::metadata(whole().join("checkpoints/step-000006").join(name)).unwrap().len();
    // The base can be copied; the optimizer, with its two moments, cannot be written.
    let (model, optimizer) = (length("model.safetensors"), length("optimizer.safetensors"));
    assert!(model * 3 < optimizer * 2, "{model} {optimizer}");
    let blocks = model.midpoint(optimizer) / 512;
    let path = place("full-disk");
    let process = in_a_process(&small(&[]), &options(&path));
    // Without the trap the signal would end the process; ignored, the write fails.
    let mut limited = Command::new("sh");
    limited.args(["-c", "trap '' XFSZ; ulimit -f $0; exec \"$@\"", &blocks.to_string()]);
    limited.arg(process.get_program()).args(process.get_args());
    limited.envs(process.get_envs().filter_map(|(key, value)| Some((key, value?))));
    let words = words(&limited.output().unwrap(), 1);
    contains(&words, &["optimizer.safetensors", "File too large", "what it did is kept, and --resume goes on"]);
    assert_eq!(step_rows(&path).len(), 2, "the steps before the first checkpoint");
    assert_eq!(path.join("checkpoints").read_dir().unwrap().count(), 0, "half a checkpoint stayed");
    // With space again, it goes on to the same end.
    finish(&small(&[]), &resuming(&path));
    same(&path, whole());
}
