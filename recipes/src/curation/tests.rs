//! Jobs that ask a policy, from the file to the folder.

use std::fs;
use std::time::Duration;

use datasets::source::ColumnNames;
use policy::{ModelConfig, Policy};

use super::*;
use crate::progress::Verbosity;

/// Runs a job whose second step is this, over three questions, with `model` beside them.
fn measure(folder: &Path, step: &str) -> anyhow::Result<JobOutcome> {
    let rows: String =
        (1..4).map(|n| format!("{{\"prompt\": \"What is {n} + 1?\", \"answer\": \"{}\"}}\n", n + 1)).collect();
    fs::write(folder.join("rows.jsonl"), rows)?;
    let text = format!(
        "[[step]]\nkind = \"load\"\nsources = [{{ path = \"rows.jsonl\" }}]\n[[step]]\nkind = \"difficulty\"\nmodel = \
         \"model\"\nmax_new_tokens = 4\n{step}\n[[step]]\nkind = \"write\"\npath = \"all.jsonl\"\n"
    );
    let job = JobFile::parse("job.toml", &text, folder)?;
    let hub = Hub {
        endpoint: String::new(),
        cache: folder.join("hub"),
        token: None,
        offline: true,
        patience: Duration::from_secs(1),
    };
    let options = CurateOptions {
        folder: folder.join("out"),
        cache_dir: folder.join("cache"),
        reporter: Reporter::new(Verbosity::Silent),
        interrupt: Interrupt::new(),
        hub,
        threads: Some(2),
        place: Place::Cpu,
    };
    curate(&job, &options)
}

fn files_in(folder: &Path) -> usize {
    fs::read_dir(folder).unwrap().count()
}

#[test]
fn a_policy_that_was_trained_further_in_its_folder_is_measured_anew() {
    let folder = tempfile::tempdir().unwrap();
    let (folder, out) = (folder.path(), folder.path().join("out"));
    let model = folder.join("model");
    fs::create_dir_all(&model).unwrap();
    solver::tests::model(&model);
    let first = measure(folder, "samples = 2").unwrap();
    assert_eq!((first.steps[1].tally.marked["measured"], files_in(&out.join("completions"))), (3, 1));
    let card = || fs::read_to_string(out.join("README.md")).unwrap();
    let hash = |outcome: &JobOutcome| outcome.files[&model.display().to_string()].clone();
    let expected =
        format!("## Measured with\n\n| policy | SHA-256 of its files |\n|---|---|\n| `model` | `{}` |", hash(&first));
    assert!(card().contains(&expected) && !card().contains("## Compared with"), "{}", card());
    assert!(measure(folder, "samples = 2").unwrap().steps[1].reused);

    // What a trainer keeps beside the weights is not the policy.
    fs::write(model.join("trainer.json"), "{}").unwrap();
    assert!(measure(folder, "samples = 2").unwrap().steps[1].reused);
    let config = ModelConfig::from_file(model.join("config.json")).unwrap();
    Policy::new(config, 2).unwrap().save(&model).unwrap();
    let trained = measure(folder, "samples = 2").unwrap();
    assert_ne!(hash(&trained), hash(&first));
    assert_eq!((trained.steps[1].reused, files_in(&out.join("completions"))), (false, 2));
}

#[test]
fn a_policy_without_the_template_is_refused_before_the_first_step() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model");
    fs::create_dir_all(&model).unwrap();
    solver::tests::model(&model);
    assert_eq!(measure(folder.path(), "template = \"chat\"").unwrap().steps.len(), 3);
    fs::remove_dir_all(folder.path().join("out")).unwrap();
    let path = model.join("tokenizer_config.json");
    let mut config: serde_json::Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    config.as_object_mut().unwrap().remove("chat_template");
    fs::write(&path, config.to_string()).unwrap();
    let error = format!("{:#}", measure(folder.path(), "template = \"chat\"").unwrap_err());
    assert!(error.starts_with("step 2 (difficulty): the policy cannot be asked in its chat template"), "{error}");
    assert!(!folder.path().join("out").exists());
}

#[test]
fn a_source_says_which_columns_are_question_and_answer() {
    let parse = |source: &str| {
        let text = format!(
            "[[step]]\nkind = \"load\"\nsources = [{{ {source} }}]\n[[step]]\nkind = \"write\"\npath = \"all.jsonl\"\n"
        );
        JobFile::parse("job.toml", &text, Path::new("."))
    };
    let job = parse("path = \"rows.jsonl\", columns = { answer = \"final\" }").unwrap();
    let Some(Source::File(file)) = sources(&job).next() else { panic!("a file") };
    assert_eq!(file.columns, Some(ColumnNames { prompt: None, answer: Some("final".to_owned()) }));
    for (source, what) in [
        (
            "path = \"a.jsonl\", layout = \"gsm8k\", columns = { answer = \"a\" }",
            "`columns` has a meaning only where no",
        ),
        ("family = \"gcd_lcm\", columns = { answer = \"a\" }", "has a meaning only with `path`"),
        ("path = \"a.jsonl\", columns = { reply = \"a\" }", "reply"),
    ] {
        let error = parse(source).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
    }
}
