//! The shipped recipes; the smoke recipe from its first stage to its report.

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use datasets::{Family, Split};
use policy::checkpoint::verify;
use policy::{Policy, Tokenizer};
use recipes::config::{SHIPPED, find_shipped};
use recipes::metrics::MetricRow;
use recipes::{Recipe, RunSummary};
use serde_json::Value;

use crate::support::{finish, options, place, rows};

/// The smoke recipe as it is shipped, run once for all tests.
pub(crate) fn smoke() -> &'static RunSummary {
    static SMOKE: LazyLock<RunSummary> =
        LazyLock::new(|| finish(&find_shipped("smoke").unwrap().recipe(&[]).unwrap(), &options(&place("smoke"))));
    &SMOKE
}

#[test]
fn every_shipped_recipe_is_fine_and_comes_back_from_its_resolved_form() {
    assert!(SHIPPED.len() >= 2);
    for shipped in SHIPPED {
        let recipe = shipped.recipe(&[]).unwrap_or_else(|error| panic!("{error}"));
        let again = Recipe::parse("recipe.toml", &recipe.to_toml().unwrap(), &[]).unwrap();
        assert_eq!(recipe, again);
    }
}

#[test]
fn the_run_folder_holds_what_is_needed_to_understand_it() {
    let run = &smoke().run_dir;
    for name in
        ["recipe.toml", "run.json", "metrics.jsonl", "summary.json", "report.html", "completions/step-000001.jsonl"]
    {
        assert!(fs::metadata(run.join(name)).is_ok_and(|file| file.len() > 0), "{name}");
    }
    let stored = Recipe::read(&run.join("recipe.toml"), &[]).unwrap();
    assert_eq!(stored, find_shipped("smoke").unwrap().recipe(&[]).unwrap());
    let info: Value = serde_json::from_str(&fs::read_to_string(run.join("run.json")).unwrap()).unwrap();
    assert_eq!((&info["seed"], &info["version"]), (&Value::from(0), &Value::from(env!("CARGO_PKG_VERSION"))));
    let summary: RunSummary = serde_json::from_str(&fs::read_to_string(run.join("summary.json")).unwrap()).unwrap();
    assert_eq!(&summary, smoke());
}

#[test]
fn checkpoints_are_model_folders_with_the_trainers_state() {
    let run = &smoke().run_dir;
    let mut checkpoints: Vec<_> =
        run.join("checkpoints").read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    checkpoints.sort();
    assert_eq!(checkpoints.last().unwrap(), &run.join("checkpoints/step-000003"));
    for folder in &checkpoints {
        let files = verify(folder).unwrap().files;
        for name in ["config.json", "model.safetensors", "tokenizer.json", "optimizer.safetensors", "trainer.json"] {
            assert!(files.contains_key(name), "{} lacks {name}", folder.display());
        }
        let policy = Policy::load(folder).unwrap();
        let tokenizer = Tokenizer::from_dir(folder).unwrap();
        assert!(tokenizer.vocab_size() <= policy.config().vocab_size);
    }
    assert!(verify(run.join("base")).is_ok());
}

#[test]
fn completions_can_be_read_by_people() {
    let text = fs::read_to_string(smoke().run_dir.join("completions/step-000001.jsonl")).unwrap();
    let records: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(records.len(), 6 * 4);
    let sources: HashSet<&str> = records.iter().map(|record| record["source"].as_str().unwrap()).collect();
    assert_eq!(sources.len(), 3, "{sources:?}");
    for record in &records {
        assert!(record["prompt"].as_str().unwrap().len() > 5 && record["completion"].is_string());
        let names: Vec<&str> =
            record["parts"].as_array().unwrap().iter().map(|part| part["name"].as_str().unwrap()).collect();
        let judge = if record["source"] == "python" { "binary_code" } else { "accuracy" };
        assert_eq!(names, [judge, "format"]);
        // The weighted sum, as the recipe says.
        let part = |index: usize| record["parts"][index]["score"].as_f64().unwrap();
        assert!((record["reward"].as_f64().unwrap() - part(0) - 0.1 * part(1)).abs() < 1e-12);
    }
}

#[test]
fn the_metrics_hold_every_figure() {
    let rows = rows(&smoke().run_dir);
    let of = |kind: &str| rows.iter().filter(|row| row["kind"] == kind).cloned().collect::<Vec<_>>();
    let (pretrain, steps, evals) = (of("pretrain"), of("step"), of("eval"));
    assert_eq!((pretrain.len(), steps.len(), evals.len()), (14, 3, 4));
    assert_eq!(rows.len(), 21);
    for row in &rows {
        serde_json::from_value::<MetricRow>(row.clone()).unwrap_or_else(|error| panic!("{error}: {row}"));
    }
    let number = |row: &Value, path: &str| {
        row.pointer(path).and_then(Value::as_f64).unwrap_or_else(|| panic!("no {path} in {row:#}"))
    };
    for row in &steps {
        for path in [
            "/reward/mean",
            "/reward/std",
            "/reward_parts/accuracy",
            "/reward_parts/binary_code",
            "/reward_parts/format",
            "/accuracy/arithmetic",
            "/accuracy/countdown",
            "/accuracy/python",
            "/length/mean",
            "/length/max",
            "/length/wrong_mean",
            "/truncated_share",
            "/trained_share",
            "/flat_groups_share",
            "/loss",
            "/kl",
            "/clip_fraction",
            "/ratio/min",
            "/ratio/max",
            "/gradient_norm",
            "/learning_rate",
            "/max_vio",
        ] {
            assert!(number(row, path).is_finite());
        }
        for path in ["/entropy", "/prompt_tokens", "/sampled_tokens", "/trained_tokens", "/time/seconds"] {
            assert!(number(row, path) > 0.0, "{path}");
        }
        for phase in ["sampling", "update"] {
            assert!(number(row, &format!("/time/phases/{phase}/seconds")) > 0.0);
            assert!(number(row, &format!("/time/phases/{phase}/tokens_per_second")) > 0.0);
        }
        assert!(row.pointer("/time/phases/grading threads/seconds").is_some(), "{row:#}");
        assert!(number(row, "/logprob_difference_max") <= 1e-4);
    }
    let losses: Vec<f64> = pretrain.iter().map(|row| number(row, "/loss")).collect();
    assert!(losses[13] < losses[0], "{losses:?}");
}

#[test]
fn it_is_examined_before_and_after() {
    let summary = smoke();
    let (before, after) = summary.before_and_after().unwrap();
    assert_eq!((before.stage.as_str(), before.step, after.stage.as_str(), after.step), ("before", 0, "after", 3));
    for evaluation in [before, after] {
        assert_eq!(evaluation.families.keys().collect::<Vec<_>>(), ["arithmetic", "countdown", "python"]);
        for family in evaluation.families.values() {
            assert_eq!((family.tasks, family.samples), (6, 2));
            assert!(family.greedy.is_some() && family.majority.is_some() && family.mean_length > 0.0);
        }
    }
    let stages: Vec<&str> = summary.stages.iter().map(|stage| stage.name.as_str()).collect();
    assert_eq!(stages, ["pretrain", "before", "grpo", "after"]);
    assert!(summary.stages.iter().all(|stage| stage.seconds > 0.0 && stage.flops > 0.0));
    let table = recipes::table::render(summary);
    for family in ["arithmetic", "countdown", "python"] {
        assert!(table.contains(family), "{table}");
    }
}

#[test]
fn the_report_needs_nothing_but_itself() {
    let html = fs::read_to_string(smoke().run_dir.join("report.html")).unwrap();
    for loading in ["src=", "<link", "@import", "url(http", "<iframe", "fetch(", "XMLHttpRequest"] {
        assert!(!html.contains(loading), "{loading}");
    }
    // A link to be clicked may point elsewhere; the name of SVG's notation is none.
    for (at, _) in html.match_indices("http") {
        let before = &html[..at];
        assert!(
            before.ends_with("href=\"") || before.ends_with("xmlns=\""),
            "{}",
            &html[at.saturating_sub(60)..at + 40]
        );
    }
    assert!(html.contains("<svg") && html.contains("smoke, seed 0") && html.trim_end().ends_with("</html>"));
}

#[test]
fn what_is_practised_is_never_examined() {
    for family in Family::WORKED {
        let held: HashSet<String> =
            family.distinct(Split::Held, 0, 500).unwrap().into_iter().map(|task| task.prompt).collect();
        assert_eq!(held.len(), 500, "{family}");
        for seed in 0..3 {
            // As many as a run of r1-zero draws, and the texts that its base reads.
            for index in 0..6400 {
                let prompt = family.task(Split::Train, seed, index).prompt;
                assert!(!held.contains(&prompt), "{family}: {prompt}");
            }
            for index in 0..10_000 {
                let prompt = family.worked(seed, index).prompt;
                assert!(!held.contains(&prompt), "{family}: {prompt}");
            }
        }
    }
}

/// That nothing was written outside of the run's folder and the cache.
#[test]
fn the_run_lies_where_it_was_told() {
    assert!(smoke().run_dir.starts_with(Path::new(env!("CARGO_TARGET_TMPDIR"))));
    assert!(!Path::new(env!("CARGO_MANIFEST_DIR")).join("runs").exists());
}
