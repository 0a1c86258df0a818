//! Evaluations: the same figures however often they were stopped, graded as training grades, compared in pairs.

use std::fs;
use std::path::{Path, PathBuf};

use policy::model::batch::BatchBuilder;
use policy::{Policy, Tokenizer, Track};
use recipes::evaluation::{Answered, EvalOptions, Evaluation, Template, evaluate, find};
use recipes::{Interrupt, Reporter, Verbosity};

use crate::support::{base, cache, copy_folder, folder, place, whole};

fn options(models: &[&Path], benches: &[&str], out: &Path) -> EvalOptions {
    EvalOptions {
        models: models.iter().map(|model| (*model).to_owned()).collect(),
        benchmarks: benches.iter().map(|name| find(name).unwrap()).collect(),
        data: PathBuf::from("."),
        limit: Some(12),
        samples: Some(4),
        temperature: None,
        top_p: None,
        max_tokens: Some(40),
        template: None,
        system: None,
        k: Vec::new(),
        seed: 3,
        threads: None,
        place: policy::Place::Cpu,
        batch: 16,
        out: Some(out.to_owned()),
        cache_dir: cache().to_owned(),
        reporter: Reporter::new(Verbosity::Silent),
        interrupt: Interrupt::new(),
    }
}

fn rows(out: &Path, file: &str) -> Vec<Answered> {
    let text = fs::read_to_string(out.join("answers").join(file)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Everything that an evaluation leaves, but for the report.
fn left(out: &Path, model: &str, bench: &str) -> [Vec<u8>; 2] {
    [out.join("summary.json"), out.join(format!("answers/{model}/{bench}.jsonl"))].map(|path| fs::read(path).unwrap())
}

#[test]
fn what_was_stopped_goes_on_to_the_same_figures_with_any_threads_and_batch() {
    let first = place("eval-whole");
    evaluate(&options(&[base()], &["countdown"], &first)).unwrap();
    assert_eq!(rows(&first, "base/countdown.jsonl").len(), 12);

    // As a kill leaves it: some problems noted in any order, and half a line.
    let second = place("eval-killed");
    copy_folder(&first, &second);
    let folder = second.join("answers/base");
    let text = fs::read_to_string(folder.join("countdown.jsonl")).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    fs::remove_file(folder.join("countdown.jsonl")).unwrap();
    let partial = format!("{}\n{}\n{}", lines[7], lines[2], &lines[4][..lines[4].len() / 2]);
    fs::write(folder.join("countdown.partial.jsonl"), partial).unwrap();
    let mut again = options(&[base()], &["countdown"], &second);
    (again.threads, again.batch) = (Some(1), 3);
    evaluate(&again).unwrap();
    assert!(left(&first, "base", "countdown") == left(&second, "base", "countdown"));
    assert!(!folder.join("countdown.partial.jsonl").exists());

    // Of other settings nothing is mixed in; more problems are.
    let mut other = options(&[base()], &["countdown"], &second);
    other.seed = 4;
    let error = evaluate(&other).unwrap_err().to_string();
    assert!(error.contains("with seed = 3, and now seed is 4"), "{error}");
    let mut more = options(&[base()], &["countdown"], &second);
    more.limit = Some(20);
    let (evaluation, _) = evaluate(&more).unwrap();
    assert_eq!(evaluation.benchmarks[0].results[0].judged, 20);
    let grown = rows(&second, "base/countdown.jsonl");
    for row in rows(&first, "base/countdown.jsonl") {
        assert!(grown.contains(&row), "a problem that was answered is kept");
    }
}

#[test]
fn what_the_same_models_were_asked_earlier_stays_in_the_summary() {
    let (at_once, by_turns) = (place("eval-at-once"), place("eval-by-turns"));
    evaluate(&options(&[base()], &["countdown", "arithmetic"], &at_once)).unwrap();
    evaluate(&options(&[base()], &["countdown"], &by_turns)).unwrap();
    let (evaluation, _) = evaluate(&options(&[base()], &["arithmetic"], &by_turns)).unwrap();
    let names: Vec<&str> = evaluation.benchmarks.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["countdown", "arithmetic"]);
    for file in ["summary.json", "report.html"] {
        assert!(fs::read(at_once.join(file)).unwrap() == fs::read(by_turns.join(file)).unwrap(), "{file}");
    }
    // Asked again, a benchmark keeps its place.
    evaluate(&options(&[base()], &["countdown"], &by_turns)).unwrap();
    assert!(left(&at_once, "base", "countdown") == left(&by_turns, "base", "countdown"));

    // Of other models nothing is kept, nor figures whose answers are gone.
    let (evaluation, _) = evaluate(&options(&[base(), whole()], &["countdown"], &by_turns)).unwrap();
    assert_eq!(evaluation.benchmarks.len(), 1);
    fs::remove_file(at_once.join("answers/base/countdown.jsonl")).unwrap();
    let (evaluation, _) = evaluate(&options(&[base()], &["arithmetic"], &at_once)).unwrap();
    assert_eq!(evaluation.benchmarks.len(), 1);
}

/// What stands in a cut text by chance is no answer.
#[test]
fn what_was_cut_off_is_not_right_without_a_mark() {
    let out = place("eval-cut-off");
    let mut options = options(&[base()], &["arithmetic"], &out);
    (options.max_tokens, options.temperature) = (Some(3), Some(1.0));
    let (evaluation, _) = evaluate(&options).unwrap();
    let scored = &evaluation.benchmarks[0].results[0];
    let cut: Vec<_> = rows(&out, "base/arithmetic.jsonl")
        .into_iter()
        .flat_map(|row| row.answers)
        .filter(|answer| answer.truncated && !answer.text.contains("<answer>"))
        .collect();
    assert!(!cut.is_empty());
    assert!(cut.iter().all(|answer| answer.right == Some(false) && answer.vote.is_none()));
    assert_eq!(scored.causes["cut_off"], cut.len() as u64);
}

#[test]
fn two_models_are_compared_on_the_same_problems() {
    let out = place("eval-pair");
    let (evaluation, _) = evaluate(&options(&[whole(), base()], &["arithmetic", "countdown"], &out)).unwrap();
    let names: Vec<&str> = evaluation.models.iter().map(|model| model.name.as_str()).collect();
    assert_eq!(names, ["whole", "base"]);
    // A run means its newest model.
    assert!(evaluation.models[0].folder.ends_with("checkpoints/step-000006"), "{:?}", evaluation.models[0]);
    for one in &evaluation.benchmarks {
        let paired = one.paired.as_ref().unwrap();
        let [first, second] = &one.results[..] else { panic!() };
        let difference = first.pass_at_1().mean - second.pass_at_1().mean;
        assert!((paired.difference.mean - difference).abs() < 1e-12, "{paired:?}");
        assert_eq!(paired.problems, 12);
    }
    let stored: Evaluation = serde_json::from_slice(&fs::read(out.join("summary.json")).unwrap()).unwrap();
    assert_eq!(stored, evaluation);
    assert!(fs::read_to_string(out.join("report.html")).unwrap().contains("whole less base"));

    // A model against itself differs nowhere.
    let same = place("eval-same");
    let (evaluation, _) = evaluate(&options(&[base(), base()], &["countdown"], &same)).unwrap();
    assert_eq!(evaluation.models[1].name, "base-2");
    let paired = evaluation.benchmarks[0].paired.as_ref().unwrap();
    assert_eq!((paired.p_value, paired.better, paired.worse), (1.0, 0, 0));
}

/// Not an earlier one in its place: the figures would be those of another model.
#[test]
fn a_run_whose_newest_model_is_damaged_is_not_examined() {
    let run = place("eval-damaged");
    copy_folder(whole(), &run);
    let file = run.join("checkpoints/step-000006/model.safetensors");
    let mut bytes = fs::read(&file).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&file, bytes).unwrap();
    let error = evaluate(&options(&[&run], &["countdown"], &place("eval-damaged-out"))).unwrap_err().to_string();
    assert!(error.contains("is damaged: ") && error.contains("step-000006") && error.contains("--resume"), "{error}");
}

/// A policy and the base that it was trained from, with a tokenizer that has a chat template: the difference is that of the
/// training, and of no template.
#[test]
fn a_base_is_asked_in_the_template_of_its_run() {
    let run = place("eval-templates-run");
    copy_folder(whole(), &run);
    let (trained, base) = (run.join("checkpoints/step-000006"), run.join("base"));
    for model in [&trained, &base] {
        let file = model.join("tokenizer_config.json");
        let mut config: serde_json::Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        config["chat_template"] = "{% for m in messages %}{{ m.content }}{% endfor %}".into();
        fs::write(&file, config.to_string()).unwrap();
    }
    let templates = |evaluation: &Evaluation| -> Vec<Option<Template>> {
        evaluation.benchmarks[0].results.iter().map(|scored| scored.asked.template).collect()
    };
    let few =
        |models: &[&Path], out: &str| EvalOptions { limit: Some(2), ..options(models, &["countdown"], &place(out)) };
    let (evaluation, _) = evaluate(&few(&[&trained, &base], "eval-templates")).unwrap();
    assert_eq!(templates(&evaluation), [Some(Template::R1Zero); 2]);
    // One from elsewhere is asked in it as well, and by itself in its own.
    let other = place("eval-templates-other");
    copy_folder(&base, &other);
    let (evaluation, _) = evaluate(&few(&[&other, &trained], "eval-templates-both")).unwrap();
    assert_eq!(templates(&evaluation), [Some(Template::R1Zero); 2]);
    let (evaluation, _) = evaluate(&few(&[&other], "eval-templates-alone")).unwrap();
    assert_eq!(templates(&evaluation), [Some(Template::Chat)]);

    // What cannot be read is asked for, not guessed.
    let text = fs::read_to_string(run.join("recipe.toml")).unwrap();
    fs::write(run.join("recipe.toml"), format!("no_such_key = 1\n{text}")).unwrap();
    let unread = few(&[&base], "eval-templates-unread");
    let error = format!("{:#}", evaluate(&unread).unwrap_err());
    assert!(error.contains("recipe.toml") && error.contains("--template"), "{error}");
    let (evaluation, _) = evaluate(&EvalOptions { template: Some(Template::R1Zero), ..unread }).unwrap();
    assert_eq!(templates(&evaluation), [Some(Template::R1Zero)]);
}

#[test]
fn a_choice_is_the_likeliest_letter() {
    let data = folder("eval-mmlu");
    let questions = [("2 + 2", 1), ("3 + 4", 0), ("a cat", 2)];
    let row = |(question, answer): (&str, u32)| {
        format!(
            "{{\"question\": \"{question}\", \"type\": \"logic\", \"choices\": [\"7\", \"4\", \"an animal\"], \"answer\": {answer}}}\n"
        )
    };
    fs::write(data.join("mmlu.jsonl"), questions.map(row).concat()).unwrap();
    let out = place("eval-mmlu-out");
    let mut options = options(&[base()], &["mmlu"], &out);
    options.data = data;
    let (evaluation, _) = evaluate(&options).unwrap();
    let answered = rows(&out, "base/mmlu.jsonl");
    let right = answered.iter().filter(|row| row.answers[0].right == Some(true)).count() as f64;
    assert!((evaluation.benchmarks[0].results[0].pass_at_1().mean - right / 3.0).abs() < 1e-12);

    // One question alone, and each letter by itself.
    let (policy, tokenizer) = (Policy::load(base()).unwrap(), Tokenizer::from_dir(base()).unwrap());
    let text = "The following are multiple choice questions (with answers) about logic.\n\n3 + 4\nA. 7\nB. 4\nC. an animal\nAnswer:";
    for (place, letter) in ["A", "B", "C"].into_iter().enumerate() {
        let mut builder = BatchBuilder::default();
        let context = builder.context(&[tokenizer.begin_ids(), &tokenizer.encode(text)].concat(), None).unwrap();
        builder.completion(context, &tokenizer.encode(&format!(" {letter}"))).unwrap();
        let logprobs = policy.forward(&builder.build().unwrap(), 1.0, Track::Nothing).unwrap().logprobs;
        let sum: f32 = logprobs.iter().sum();
        let noted = answered[1].answers[0].choices[place];
        assert!((f64::from(sum) - noted).abs() < 1e-4, "{letter}: {sum} {noted}");
    }
}

#[test]
fn what_cannot_be_asked_is_said_before_any_work() {
    let out = place("eval-refused");
    #[track_caller]
    fn check(options: &EvalOptions, expected: &[&str]) {
        let error = format!("{:#}", evaluate(options).unwrap_err());
        for part in expected {
            assert!(error.contains(part), "{part} is not in: {error}");
        }
    }
    let fine = || options(&[base()], &["countdown"], &out);
    check(&EvalOptions { k: vec![1, 8], ..fine() }, &["pass@8 cannot be told from 4 answers", "raise --samples to 8"]);
    check(&EvalOptions { temperature: Some(0.0), ..fine() }, &["4 samples at the temperature 0", "--samples 1"]);
    check(&EvalOptions { template: Some(Template::Chat), ..fine() }, &["has no chat template"]);
    check(&options(&[base()], &["gsm8k"], &out), &["its file does not lie in .", "gsm8k_test.jsonl", "--data DIR"]);
    check(&options(&[&out.join("none")], &["countdown"], &out), &["there is no such folder"]);
    let bare = place("eval-without-tokenizer");
    copy_folder(base(), &bare);
    fs::remove_file(bare.join("tokenizer.json")).unwrap();
    check(&options(&[&bare], &["countdown"], &out), &["the model has no tokenizer.json"]);
    assert!(!out.exists(), "nothing was begun");
}

/// The published sets, where they lie beside the checkout: each is found by its name, asked and graded.
#[test]
#[allow(clippy::print_stderr, reason = "says that a test shows nothing here")]
fn the_public_sets_as_they_lie() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/tasks");
    if !data.is_dir() {
        eprintln!("no public sets beside the checkout: not tested");
        return;
    }
    let out = place("eval-public");
    let benches =
        ["gsm8k", "svamp", "math500", "aime24", "mmlu", "mmlu-generate", "humaneval", "mbpp", "mbpp-sanitized"];
    let mut options = options(&[base()], &benches, &out);
    (options.data, options.limit, options.max_tokens) = (data, Some(2), Some(8));
    let (evaluation, _) = evaluate(&options).unwrap();
    for one in &evaluation.benchmarks {
        let scored = &one.results[0];
        assert_eq!((scored.judged, scored.unscorable), (2, 0), "{}", one.name);
    }
}
