//! Numbers and lines out of finished runs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

use crate::config::{Cost, EvalValue, Experiment, Figure, Line, Measure, OfSamples, nearest};
use crate::metrics::{EvalMetrics, FamilyEval, mean};
use crate::run::{Maker, RunDir, RunSummary, read_rows};

/// One in so many steps, at the beginning or the end, makes a measure of steps.
const PART: usize = 10;

/// A finished run.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) summary: RunSummary,
    /// What it was worked on with.
    pub(super) makers: Vec<Maker>,
    /// The rows of its metrics.
    rows: Vec<Value>,
}

/// One line of a figure.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Curve {
    pub(crate) name: String,
    /// As (x, y), the mean over seeds.
    pub(crate) points: Vec<(f64, f64)>,
    /// Over the steps of several stages: after which x each begins, and its name.
    pub(crate) stages: Vec<(f64, String)>,
}

/// A figure's lines.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Lines {
    pub(crate) lines: Vec<Curve>,
    /// Whether x is a number of samples rather than of steps.
    pub(crate) over_samples: bool,
}

impl Run {
    pub(super) fn read(summary: RunSummary, folder: &Path) -> anyhow::Result<Run> {
        let makers = RunDir::read_info(folder)?.makers().cloned().collect();
        Ok(Run { summary, makers, rows: read_rows(&folder.join("metrics.jsonl"))? })
    }

    /// The rows of a stage's steps, or of all `grpo` stages' one after the other.
    fn steps(&self, stage: Option<&str>) -> Vec<&Value> {
        let wanted = |row: &&Value| match stage {
            // The rows of its quick evaluations carry its name too.
            Some(stage) => row["stage"] == stage && row["kind"] != "eval",
            None => row["kind"] == "step",
        };
        self.rows.iter().filter(wanted).collect()
    }

    /// The number that a measure asks for; none where this run has none.
    pub(super) fn measure(&self, measure: &Measure) -> Option<f64> {
        if let Some(cost) = measure.cost {
            let stages = self.summary.stages.iter().filter(|stage| stage.kind != "pretrain");
            return Some(
                stages
                    .map(|stage| match cost {
                        Cost::Flops => stage.flops,
                        Cost::Seconds => stage.seconds,
                        Cost::SampledTokens => stage.sampled_tokens as f64,
                        Cost::TrainedTokens => stage.trained_tokens as f64,
                    })
                    .sum(),
            );
        }
        if let Some(path) = &measure.step {
            let steps = self.steps(measure.stage.as_deref());
            let part = steps.len().div_ceil(PART);
            let from = if measure.first { 0 } else { steps.len() - part };
            let values: Vec<f64> = steps[from..from + part].iter().filter_map(|row| at(row, path)).collect();
            return (!values.is_empty()).then(|| mean(&values));
        }
        let eval = self.evaluation(measure.eval.as_ref()?)?;
        let of = |family: &FamilyEval| match measure.value {
            Some(EvalValue::Sampled) => Some(family.sampled.mean),
            Some(EvalValue::Greedy) => family.greedy,
            Some(EvalValue::Majority) => family.majority,
            Some(EvalValue::Length) => Some(family.mean_length),
            None => family.rewards.get(measure.reward.as_ref()?).copied(),
        };
        over_families(eval, measure.family.as_deref(), of)
    }

    /// Where each stage begins on the axis of a line's steps; nothing where there is one stage, or no steps.
    fn stages(&self, line: &Line) -> Vec<(f64, String)> {
        let mut stages: Vec<(f64, String)> = Vec::new();
        for (before, row) in self.steps(line.stage.as_deref()).into_iter().enumerate() {
            let name = row["stage"].as_str().unwrap_or("");
            if stages.last().is_none_or(|(_, last)| last != name) {
                stages.push((before as f64, name.to_owned()));
            }
        }
        if line.step.is_some() && stages.len() > 1 { stages } else { Vec::new() }
    }

    fn evaluation(&self, stage: &str) -> Option<&EvalMetrics> {
        self.summary.evaluations.iter().find(|eval| eval.stage == stage)
    }

    fn line(&self, line: &Line) -> BTreeMap<u64, f64> {
        if let Some(path) = &line.step {
            let steps = self.steps(line.stage.as_deref());
            return (1..).zip(steps).filter_map(|(step, row)| Some((step, at(row, path)?))).collect();
        }
        let Some(eval) = line.eval.as_ref().and_then(|stage| self.evaluation(stage)) else { return BTreeMap::new() };
        let by_k = |family: &FamilyEval| -> BTreeMap<usize, f64> {
            let of = if line.of == Some(OfSamples::Majority) { &family.majority_at } else { &family.pass_at };
            of.iter().copied().collect()
        };
        let ks = eval.families.values().flat_map(|family| by_k(family).into_keys());
        ks.filter_map(|k| {
            Some((k as u64, over_families(eval, line.family.as_deref(), |family| by_k(family).get(&k).copied())?))
        })
        .collect()
    }
}

/// The mean over families, or of the one that is named; none where any has none.
fn over_families(eval: &EvalMetrics, family: Option<&str>, of: impl Fn(&FamilyEval) -> Option<f64>) -> Option<f64> {
    let families = eval.families.iter().filter(|(name, _)| family.is_none_or(|family| *name == family));
    let values: Vec<f64> = families.map(|(_, family)| of(family)).collect::<Option<_>>()?;
    (!values.is_empty()).then(|| mean(&values))
}

/// The number at a path such as `length.mean`.
fn at(row: &Value, path: &str) -> Option<f64> {
    path.split('.').try_fold(row, |value, key| value.get(key))?.as_f64()
}

/// The lines of a figure, each the mean over the seeds that have the point.
pub(super) fn lines(experiment: &Experiment, figure: &Figure, runs: &[Vec<Option<Run>>]) -> Lines {
    let mut lines = Vec::new();
    for (variant, runs) in experiment.variants.iter().zip(runs) {
        for line in &figure.lines {
            let mut points = BTreeMap::<u64, Vec<f64>>::new();
            for (x, y) in runs.iter().flatten().flat_map(|run| run.line(line)) {
                points.entry(x).or_default().push(y);
            }
            let name = match (experiment.variants.len(), line.name.as_str()) {
                (_, "") => variant.name.clone(),
                (1, name) => name.to_owned(),
                (_, name) => format!("{}, {name}", variant.name),
            };
            let points = points.into_iter().map(|(x, values)| (x as f64, mean(&values))).collect();
            // Seeds of a variant have the same stages.
            let stages = runs.iter().flatten().next().map(|run| run.stages(line)).unwrap_or_default();
            lines.push(Curve { name, points, stages });
        }
    }
    Lines { lines, over_samples: figure.lines.iter().any(|line| line.eval.is_some()) }
}

/// What a misspelt path or a name that no run has comes to: measures and figures without a number in any run, each with
/// where it looked. Nothing if no run came to its end.
pub(super) fn without_numbers(experiment: &Experiment, runs: &[Vec<Option<Run>>]) -> Vec<String> {
    let runs: Vec<&Run> = runs.iter().flatten().flatten().collect();
    if runs.is_empty() {
        return Vec::new();
    }
    let measures = experiment.measures.iter().filter(|measure| runs.iter().all(|run| run.measure(measure).is_none()));
    let mut found: Vec<String> = measures
        .map(|measure| format!("the measure `{}`: {}", measure.name, searched_by_measure(measure, &runs)))
        .collect();
    for figure in &experiment.figures {
        let empty = figure.lines.iter().filter(|line| runs.iter().all(|run| run.line(line).is_empty()));
        found.extend(empty.map(|line| format!("the figure `{}`: {}", figure.title, searched_by_line(line, &runs))));
    }
    found
}

fn searched_by_measure(measure: &Measure, runs: &[&Run]) -> String {
    if let Some(path) = &measure.step {
        return searched_steps(path, measure.stage.as_deref(), runs);
    }
    let what = match (measure.value, &measure.reward) {
        (Some(EvalValue::Sampled), _) => "sampled",
        (Some(EvalValue::Greedy), _) => "greedy",
        (Some(EvalValue::Majority), _) => "majority",
        (Some(EvalValue::Length), _) => "length",
        (None, reward) => reward.as_deref().unwrap_or_default(),
    };
    searched_evaluation(what, measure.eval.as_deref(), measure.family.as_deref())
}

fn searched_by_line(line: &Line, runs: &[&Run]) -> String {
    if let Some(path) = &line.step {
        return searched_steps(path, line.stage.as_deref(), runs);
    }
    let what = if line.of == Some(OfSamples::Majority) { "majority" } else { "pass" };
    searched_evaluation(what, line.eval.as_deref(), line.family.as_deref())
}

fn searched_evaluation(what: &str, eval: Option<&str>, family: Option<&str>) -> String {
    let family = family.map_or_else(String::new, |family| format!(" of the family `{family}`"));
    format!("no run has `{what}`{family} in the evaluation `{}`", eval.unwrap_or_default())
}

fn searched_steps(path: &str, stage: Option<&str>, runs: &[&Run]) -> String {
    let whose = stage.map_or_else(|| "the grpo stages".to_owned(), |stage| format!("the stage `{stage}`"));
    let rows = || runs.iter().flat_map(|run| run.steps(stage));
    if rows().next().is_none() {
        return format!("looked for `{path}`, but no run has steps of {whose}");
    }
    let text = format!("no run has a number at `{path}` in the steps of {whose}");
    // One that holds nothing but blanks is spelt as it should be.
    if rows().any(|row| path.split('.').try_fold(row, |value, key| value.get(key)).is_some()) {
        return text;
    }
    let mut paths = BTreeSet::new();
    rows().for_each(|row| paths_of(row, "", &mut paths));
    match nearest(path, paths.iter().map(String::as_str)) {
        Some(near) => format!("{text}; did you mean `{near}`?"),
        None => text,
    }
}

/// The paths of all numbers.
fn paths_of(value: &Value, path: &str, paths: &mut BTreeSet<String>) {
    if value.is_number() {
        paths.insert(path.to_owned());
    }
    for (key, inner) in value.as_object().into_iter().flatten() {
        let inner_path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        paths_of(inner, &inner_path, paths);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::metrics::Estimate;
    use crate::run::{RunStatus, StageRecord};

    /// A run whose pass@1 after is `after` and whose answers grow from 10 to `10 + steps`.
    pub(crate) fn made_up(after: f64, steps: u64) -> Run {
        let family = |mean: f64| FamilyEval {
            sampled: Estimate { mean, half_width: Some(0.01) },
            majority: Some(mean + 0.1),
            majority_at: vec![(1, mean), (2, mean + 0.05), (4, mean + 0.1)],
            pass_at: vec![(1, mean), (2, mean + 0.1), (4, mean + 0.2)],
            rewards: [("format".to_owned(), mean)].into(),
            ..FamilyEval::default()
        };
        let eval = |stage: &str, mean: f64| EvalMetrics {
            stage: stage.to_owned(),
            families: [("arithmetic".to_owned(), family(mean)), ("countdown".to_owned(), family(mean + 0.2))].into(),
            ..EvalMetrics::default()
        };
        let stage = StageRecord { sampled_tokens: 100, flops: 1e9, ..StageRecord::default() };
        let summary = RunSummary {
            recipe: "r".to_owned(),
            seed: 0,
            run_dir: "r".into(),
            status: RunStatus::Finished,
            stages: vec![stage.clone(), stage],
            unfinished: None,
            evaluations: vec![eval("before", 0.1), eval("after", after)],
            best: Vec::new(),
            alarms: Vec::new(),
            parameters: 1,
            active_parameters: 1,
            threads: 1,
            host_cores: 1,
            card: None,
        };
        let row = |step: u64| serde_json::json!({"kind": "step", "step": step, "length": {"mean": 10 + step}});
        let base =
            |step: u64| serde_json::json!({"kind": "pretrain", "stage": "pretrain", "step": step, "loss": 5 - step});
        let makers = vec![Maker { version: "0.1.0".to_owned(), ..Maker::default() }];
        Run { summary, makers, rows: (1..=2).map(base).chain((1..=steps).map(row)).collect() }
    }

    pub(crate) const TEXT: &str = r#"
name = "x"
description = "d"
question = "q"
recipe = "smoke"

[[variant]]
name = "with"

[[variant]]
name = "without"
set = ["grpo.steps=2"]

[[measure]]
name = "pass@1"
eval = "after"
value = "sampled"
unit = "share"

[[measure]]
name = "of b"
eval = "after"
value = "majority"
family = "countdown"
unit = "share"

[[measure]]
name = "length, first"
step = "length.mean"
first = true

[[measure]]
name = "length, last"
step = "length.mean"

[[measure]]
name = "sampled"
cost = "sampled_tokens"

[[measure]]
name = "greedy"
eval = "after"
value = "greedy"

[[figure]]
title = "Length"
y_label = "tokens"
[[figure.line]]
step = "length.mean"

[[figure]]
title = "Votes"
y_label = "right"
unit = "share"
[[figure.line]]
name = "votes"
eval = "after"
of = "majority"
"#;

    #[test]
    fn measures_are_found_where_runs_keep_them() {
        let experiment = Experiment::parse("x.toml", TEXT).unwrap();
        let run = made_up(0.4, 20);
        let values: Vec<Option<f64>> = experiment.measures.iter().map(|measure| run.measure(measure)).collect();
        let base = Measure {
            step: Some("loss".to_owned()),
            stage: Some("pretrain".to_owned()),
            ..experiment.measures[3].clone()
        };
        assert_eq!(run.measure(&base), Some(3.0), "the last of the base's two steps");
        let form = Measure { value: None, reward: Some("format".to_owned()), ..experiment.measures[1].clone() };
        assert!(run.measure(&form).is_some_and(|score| (score - 0.6).abs() < 1e-12));
        let expected = [Some(0.5), Some(0.7), Some(11.5), Some(29.5), Some(200.0), None];
        for (value, expected) in values.iter().zip(expected) {
            match (value, expected) {
                (Some(value), Some(expected)) => assert!((value - expected).abs() < 1e-12, "{values:?}"),
                (value, expected) => assert_eq!(*value, expected),
            }
        }
    }

    #[test]
    fn lines_are_means_over_seeds() {
        let experiment = Experiment::parse("x.toml", TEXT).unwrap();
        let runs = [vec![Some(made_up(0.2, 2)), None, Some(made_up(0.4, 3))], vec![Some(made_up(0.1, 1))]];
        let length = lines(&experiment, &experiment.figures[0], &runs);
        let names: Vec<&str> = length.lines.iter().map(|line| line.name.as_str()).collect();
        assert_eq!((names, length.over_samples), (vec!["with", "without"], false));
        assert_eq!(length.lines[0].points, [(1.0, 11.0), (2.0, 12.0), (3.0, 13.0)]);
        let votes = lines(&experiment, &experiment.figures[1], &runs);
        assert_eq!(votes.lines[1].name, "without, votes");
        // Means of 0.2, 0.4 (seed 0) and 0.4, 0.6 (seed 1).
        assert!((votes.lines[0].points[0].1 - 0.4).abs() < 1e-12 && votes.over_samples, "{votes:?}");
        assert_eq!(votes.lines[0].points.iter().map(|(k, _)| *k).collect::<Vec<_>>(), [1.0, 2.0, 4.0]);
    }

    #[test]
    fn what_finds_no_number_is_named_with_where_it_looked() {
        let text = TEXT.replacen("length.mean", "lenght.mean", 1)
            + "[[figure]]\ntitle = \"Mood\"\ny_label = \"y\"\n\
            [[figure.line]]\nstep = \"something.else\"\n";
        let experiment = Experiment::parse("x.toml", &text).unwrap();
        let runs = [vec![Some(made_up(0.2, 2)), None], vec![None, Some(made_up(0.1, 1))]];
        let expected = [
            "the measure `length, first`: no run has a number at `lenght.mean` in the steps of the grpo stages; did you \
             mean `length.mean`?",
            "the measure `greedy`: no run has `greedy` in the evaluation `after`",
            "the figure `Mood`: no run has a number at `something.else` in the steps of the grpo stages",
        ];
        assert_eq!(without_numbers(&experiment, &runs), expected);
        assert!(without_numbers(&experiment, &[vec![None], vec![None]]).is_empty(), "there was nothing to look in");
    }

    #[test]
    fn a_line_over_several_stages_knows_where_each_begins() {
        let mut run = made_up(0.2, 3);
        let line = Experiment::parse("x.toml", TEXT).unwrap().figures[0].lines[0].clone();
        assert!(run.stages(&line).is_empty());
        run.rows.push(serde_json::json!({"kind": "step", "stage": "two", "step": 1, "length": {"mean": 1}}));
        assert_eq!(run.stages(&line), [(0.0, String::new()), (3.0, "two".to_owned())]);
        let of_one = Line { stage: Some("two".to_owned()), ..line };
        assert!(run.stages(&of_one).is_empty());
    }
}
