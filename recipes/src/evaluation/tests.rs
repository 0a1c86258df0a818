use policy::{ModelConfig, Policy};

use super::*;
use crate::progress::Verbosity;

/// A model of no use with so many positions.
fn model(positions: usize) -> Model {
    let tokenizer = Tokenizer::train(std::iter::once("What is 1 + 1?".to_owned()), 300).unwrap();
    let config = ModelConfig { max_position_embeddings: positions, ..ModelConfig::tiny(tokenizer.vocab_size()) };
    Model { policy: Policy::new(config, 1).unwrap(), tokenizer }
}

fn options(limit: Option<usize>) -> EvalOptions {
    EvalOptions {
        models: Vec::new(),
        benchmarks: Vec::new(),
        data: PathBuf::from("."),
        limit,
        samples: None,
        temperature: None,
        top_p: None,
        max_tokens: None,
        template: None,
        system: None,
        k: Vec::new(),
        seed: 0,
        threads: None,
        place: Place::Cpu,
        batch: 16,
        out: None,
        cache_dir: PathBuf::from("."),
        reporter: Reporter::new(Verbosity::Silent),
        interrupt: Interrupt::new(),
    }
}

/// The limit of an answer, or why the problems in the file cannot be asked.
fn planned(benchmark: &str, rows: &[String], positions: usize, limit: Option<usize>) -> Result<usize, String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rows.jsonl");
    std::fs::write(&file, rows.concat()).unwrap();
    let (benchmark, options) = (find(&format!("{benchmark}={}", file.display())).unwrap(), options(limit));
    let ready = prepare(&benchmark, &options).unwrap();
    let subject = Subject { name: "small".to_owned(), folder: PathBuf::new(), fingerprint: String::new() };
    let asking = Asking { template: Template::Plain, system: String::new() };
    let planned = plan(&options, &subject, &ready, &asking, &model(positions));
    planned.map(|planned| planned.asked.max_tokens).map_err(|error| error.to_string())
}

#[test]
fn a_problem_that_does_not_fit_is_named_and_one_that_is_not_asked_stands_in_no_way() {
    let row = |length: usize| format!("{{\"question\": \"{}\", \"answer\": \"#### 1\"}}\n", "1 ".repeat(length));
    // With a limit of 2 the others of five rows are asked.
    let order = datasets::Order::new(5, 0);
    let (asked, left_out) = (order.index(0), order.index(3));
    let mut rows = vec![row(1); 5];
    rows[asked] = row(50);
    let Ok(room) = planned("gsm8k", &rows, 500, Some(2)) else { panic!("all of it fits") };

    rows[left_out] = row(90);
    // The longest of all: asking more later does not change how the first are asked.
    let with_longer = planned("gsm8k", &rows, 500, Some(2)).unwrap();
    assert_eq!(planned("gsm8k", &rows, 500, None), Ok(with_longer));
    assert!(with_longer < room, "{with_longer} {room}");

    rows[left_out] = row(600);
    assert_eq!(planned("gsm8k", &rows, 500, Some(2)), Ok(room));
    let error = planned("gsm8k", &rows, 500, None).unwrap_err();
    for part in ["--bench gsm8k: the problem ", " tokens, and the 500 positions of small leave no room for an answer"] {
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn choices_that_do_not_fit_are_told_of_before_any_is_asked() {
    let row = |length: usize| {
        format!("{{\"question\": \"{}\", \"choices\": [\"x\", \"y\"], \"answer\": 1}}\n", "1 ".repeat(length))
    };
    assert_eq!(planned("mmlu", &[row(1), row(2)], 500, None), Ok(0));
    let error = planned("mmlu", &[row(1), row(600)], 500, None).unwrap_err();
    for part in ["--bench mmlu: the problem ", " tokens, and the 500 positions of small leave no room for its letters"]
    {
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn a_choice_takes_as_many_positions_as_the_policy_says() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rows.jsonl");
    std::fs::write(&file, "{\"question\": \"1 1\", \"choices\": [\"x\", \"y\"], \"answer\": 1}\n").unwrap();
    let benchmark = find(&format!("mmlu={}", file.display())).unwrap();
    let problems = Problems::read(&benchmark, folder.path(), None).unwrap();
    let least = choice_positions(&model(500).tokenizer, &problems.tasks[0]).unwrap();
    let verdict = stage::verdict(None, Limits::default()).unwrap();
    let store = Store::open(folder.path(), &test_support::asked("mmlu", 1)).unwrap();
    for (positions, expected) in [(least, true), (least - 1, false)] {
        let model = model(positions);
        let asker = Asker { model: &model, verdict: &verdict, batch: 1, threads: 1 };
        let phase = Reporter::new(Verbosity::Silent).phase("mmlu", None, "answers");
        assert_eq!(asker.choose(&problems, &problems.asked, &store, &phase).is_ok(), expected, "{positions}");
    }
}
