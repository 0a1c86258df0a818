//! An experiment: variants and seeds as ordinary runs, a table and figures of what they left.

use std::fs;

use recipes::config::Experiment;
use recipes::experiment::{ExperimentOptions, run};
use recipes::{Interrupt, Verbosity};

use crate::support::{cache, folder, place, small};

#[test]
fn an_experiment_goes_on_where_it_stopped_and_takes_more_seeds() {
    let files = folder("experiment-files");
    let recipe = files.join("small.toml");
    fs::write(&recipe, small(&[]).to_toml().unwrap()).unwrap();
    let text = format!(
        "name = \"steps\"\ndescription = \"More steps\"\nquestion = \"Do they help?\"\nrecipe = '{}'\n\
         set = [\"pretrain.tokens=20_000\", \"grpo.eval_every=0\", \"grpo.reference_every=0\"]\n\n\
         [[variant]]\nname = \"one\"\nset = [\"grpo.steps=1\"]\n\n[[variant]]\nname = \"two\"\nset = [\"grpo.steps=2\"]\n\n\
         [[measure]]\nname = \"pass@1\"\neval = \"after\"\nvalue = \"sampled\"\nunit = \"share\"\n\n\
         [[measure]]\nname = \"length\"\nstep = \"length.mean\"\n\n\
         [[measure]]\nname = \"entropy\"\nstep = \"entropi\"\n\n\
         [[figure]]\ntitle = \"Length\"\ny_label = \"tokens\"\n[[figure.line]]\nstep = \"length.mean\"\n\n\
         [[figure]]\ntitle = \"Votes\"\ny_label = \"right\"\nunit = \"share\"\n[[figure.line]]\neval = \"after\"\nof = \"majority\"\n",
        recipe.display()
    );
    let experiment = Experiment::parse("steps.toml", &text).unwrap();
    let out = place("experiment");
    let options = |seeds| ExperimentOptions {
        seeds,
        out: out.clone(),
        threads: None,
        device: None,
        cache_dir: cache().to_owned(),
        verbosity: Verbosity::Silent,
        interrupt: Interrupt::new(),
        command: Vec::new(),
        asked: "mine/steps.toml".to_owned(),
    };
    let stopped = ExperimentOptions { interrupt: Interrupt::new(), ..options(1) };
    stopped.interrupt.request();
    assert_eq!(run(&experiment, &stopped).unwrap(), None);

    let first = run(&experiment, &options(1)).unwrap().unwrap();
    let begun = out.join("runs/one-seed-0/run.json");
    let before = fs::read(&begun).unwrap();
    assert!(first.failed.is_empty());

    // What stands where a run's folder should be makes it fail, and the other is run all the same.
    let in_the_way = out.join("runs/two-seed-1");
    fs::write(&in_the_way, "").unwrap();
    let part = run(&experiment, &options(2)).unwrap().unwrap();
    let failed: Vec<(&str, u64)> = part.failed.iter().map(|one| (one.variant.as_str(), one.seed)).collect();
    assert_eq!(failed, [("two", 1)]);
    assert!(!part.failed[0].why.contains("--resume"), "{}", part.failed[0].why);
    let table = fs::read_to_string(out.join("table.md")).unwrap();
    assert!(table.contains("(1 of 2)") && table.contains("**Failed: two, seed 1: "), "{table}");
    assert!(fs::read_to_string(out.join("report.html")).unwrap().contains("Failed: two, seed 1: "));
    fs::remove_file(&in_the_way).unwrap();

    let both = run(&experiment, &options(2)).unwrap().unwrap();
    assert_eq!(fs::read(&begun).unwrap(), before, "a finished run is not touched");
    assert!(both.failed.is_empty(), "what failed was tried again: {:?}", both.failed);
    for ((name, one), (_, two)) in first.variants.iter().zip(&both.variants) {
        for (one, two) in one.iter().zip(two) {
            assert_eq!(one.values[0], two.values[0], "{name}");
            assert_eq!((one.values.len(), two.values.len()), (1, 2));
        }
    }
    // The length of a variant's run is the mean of its rows.
    let rows = crate::support::step_rows(&out.join("runs/two-seed-1"));
    assert_eq!(rows.len(), 2);
    assert_eq!(both.variants[1].1[1].values[1], rows[1]["length"]["mean"].as_f64());

    let table = fs::read_to_string(out.join("table.md")).unwrap();
    assert!(table.contains("| variant | pass@1 | length | entropy |") && table.contains("2 seeds, mean ±"), "{table}");
    // A path that no row has is told of, and what the command was is how it can be given again.
    let vain = "**No number: the measure `entropy`: no run has a number at `entropi` in the steps of the grpo stages; did \
                you mean `entropy`?**";
    assert!(table.contains(vain), "{table}");
    assert!(table.contains("`recipe experiment run mine/steps.toml --seeds 2`"), "{table}");
    for name in ["results.json", "figure-1.svg", "figure-2.svg", "report.html", "experiment.toml"] {
        assert!(fs::metadata(out.join(name)).is_ok_and(|file| file.len() > 0), "{name}");
    }
    let svg = fs::read_to_string(out.join("figure-1.svg")).unwrap();
    assert!(svg.contains("Length") && svg.contains("one") && svg.contains("two"), "{svg}");

    // Of another recipe, what is there is not gone on with, and nothing is written.
    let changed = Experiment::parse("steps.toml", &text.replace("grpo.steps=2", "grpo.steps=3")).unwrap();
    let error = run(&changed, &options(3)).unwrap_err().to_string();
    assert!(error.contains("two-seed-0") && error.contains("grpo.steps"), "{error}");
    assert!(error.contains("another `name` or --out, or remove the folder") && !error.contains("--resume"), "{error}");
    assert_eq!(fs::read_to_string(out.join("table.md")).unwrap(), table);
    assert!(!out.join("runs/one-seed-2").exists());
}

#[test]
fn a_wrong_experiment_is_refused_when_it_is_read() {
    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        let error = Experiment::parse("mine.toml", text).unwrap_err().to_string();
        for part in expected {
            assert!(error.contains(part), "{part} is not in: {error}");
        }
    }
    let head = "name = \"x\"\ndescription = \"d\"\nquestion = \"q\"\nrecipe = \"smoke\"\n";
    let measure = "[[measure]]\nname = \"m\"\nstep = \"length.mean\"\n";
    let variant = "[[variant]]\nname = \"v\"\n";
    check(&format!("{head}variants = 1\n"), &["mine.toml, line 5", "unknown key `variants`"]);
    check(
        &format!("{head}{variant}set = [\"grpo.setps=1\"]\n{measure}"),
        &["--set grpo.setps=1", "did you mean `steps`?"],
    );
    check(&format!("{head}{variant}{variant}{measure}"), &["two variants are called `v`"]);
    check(
        &format!("{head}{variant}[[measure]]\nname = \"m\"\n"),
        &["the measure `m` needs one of `eval`, `step` and `cost`"],
    );
    check(
        &format!("{head}{variant}[[measure]]\nname = \"m\"\neval = \"after\"\n"),
        &["needs `value` or `reward` with `eval`"],
    );
    check(
        &format!("{head}{variant}{measure}stage = \"gpro\"\n"),
        &["names the stage \"gpro\"", "did you mean \"grpo\"?"],
    );
    let of_eval = |rest: &str| format!("{head}{variant}[[measure]]\nname = \"m\"\n{rest}\n");
    check(&of_eval("eval = \"last\"\nvalue = \"greedy\""), &["names the evaluation \"last\"", "has before, after"]);
    check(&of_eval("eval = \"after\"\nreward = \"formt\""), &["did you mean \"format\"?"]);
    check(&of_eval("eval = \"after\"\nreward = \"format\"\nvalue = \"greedy\""), &["needs `value` or `reward`"]);
    let wrong = head.replace("smoke", "smok");
    check(&format!("{wrong}{variant}{measure}"), &["did you mean `smoke`?"]);
    let figure = "[[figure]]\ntitle = \"f\"\ny_label = \"y\"\n[[figure.line]]\neval = \"after\"\n";
    check(&format!("{head}{variant}{measure}{figure}"), &["the figure `f` has a line without"]);
}
