//! The table of an experiment, in Markdown: what goes into docs/experiments.md.

use std::fmt::Write;

use super::{Cell, Outcome, Run};
use crate::config::{Experiment, NumberKind};
use crate::metrics::mean;
use crate::progress::duration_text;
use crate::wording::{counted, one_line};

/// Title, question, table, figures, and what made them.
#[must_use]
pub(crate) fn markdown(experiment: &Experiment, asked: &str, outcome: &Outcome, runs: &[Vec<Option<Run>>]) -> String {
    let question = experiment.question.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut text = format!("## {}: {}\n\n{question}\n\n", experiment.name, experiment.description);
    let _ = writeln!(text, "| variant | {} |", outcome.measures.join(" | "));
    let _ = writeln!(text, "|---|{}", "---|".repeat(outcome.measures.len()));
    for (name, cells) in &outcome.variants {
        let written: Vec<String> =
            cells.iter().zip(&experiment.measures).map(|(cell, measure)| written(cell, measure.unit)).collect();
        let _ = writeln!(text, "| {name} | {} |", written.join(" | "));
    }
    let seeds = counted(outcome.seeds as usize, "seed", "seeds");
    let spread = if outcome.seeds > 1 { ", mean ± standard deviation over them" } else { "" };
    let _ = writeln!(text, "\n{seeds}{spread}; {}.\n", took(runs));
    for note in notes(outcome) {
        let _ = writeln!(text, "**{note}**\n");
    }
    for (number, figure) in experiment.figures.iter().enumerate() {
        let _ = writeln!(text, "![{}](figure-{}.svg)\n", figure.title, number + 1);
    }
    let makers: Vec<String> = outcome.makers.iter().map(|made| format!(", {}", made.maker)).collect();
    let _ = writeln!(text, "`recipe experiment run {} --seeds {}`{}.", as_typed(asked), outcome.seeds, makers.concat());
    text
}

/// What a run took, on what machine.
fn took(runs: &[Vec<Option<Run>>]) -> String {
    let all = || runs.iter().flatten().flatten().map(|run| &run.summary);
    let Some(one) = all().next() else { return "no run came to its end".to_owned() };
    let seconds: Vec<f64> = all().map(|run| run.stages.iter().map(|stage| stage.seconds).sum()).collect();
    let card = one.card.as_ref().map_or_else(String::new, |card| format!(", {card}"));
    format!(
        "{} a run, {} on {}{card}",
        duration_text(mean(&seconds)),
        counted(one.threads, "thread", "threads"),
        counted(one.host_cores, "core", "cores")
    )
}

/// What the table does not show by itself: runs that failed or do not compare, and what was looked for in vain.
pub(crate) fn notes(outcome: &Outcome) -> Vec<String> {
    let failed = outcome.failed.iter().map(|failure| {
        let why = one_line(&failure.why, LONGEST);
        format!("Failed: {}, seed {}: {why}", failure.variant, failure.seed)
    });
    let mixed = outcome.is_mixed().then(|| {
        let makers = outcome.makers.iter().map(|made| format!("{} made {}", made.maker, made.runs.join("; ")));
        format!(
            "Mixed: the runs differ by more than variants and seeds. To compare, remove those of one and run the same command \
             again. {}",
            makers.collect::<Vec<_>>().join(". ")
        )
    });
    let vain = outcome.without_numbers.iter().map(|what| format!("No number: {what}"));
    failed.chain(mixed).chain(vain).collect()
}

/// The characters of a failure that are shown beside the table.
const LONGEST: usize = 400;

/// A word as a shell takes it.
fn as_typed(word: &str) -> String {
    let plain = |letter: char| letter.is_alphanumeric() || "._-/+@%,:=".contains(letter);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

/// Mean and standard deviation over seeds, and of how many if some run has no such number; a dash where none has.
pub(crate) fn written(cell: &Cell, unit: NumberKind) -> String {
    let values: Vec<f64> = cell.values.iter().copied().flatten().collect();
    if values.is_empty() {
        return "–".to_owned();
    }
    let (have, all) = (values.len(), cell.values.len());
    let part = if have < all { format!(" ({have} of {all})") } else { String::new() };
    mean_and_deviation(&values, unit) + &part
}

fn mean_and_deviation(values: &[f64], unit: NumberKind) -> String {
    let (factor, sign, decimals) = match unit {
        NumberKind::Share => (100.0, "%", 1),
        NumberKind::Number => match mean(values).abs() {
            size if size >= 1000.0 => (1.0, "", 0),
            size if size >= 10.0 => (1.0, "", 1),
            size if size >= 1.0 => (1.0, "", 2),
            _ => (1.0, "", 3),
        },
    };
    let middle = mean(values) * factor;
    let squares: f64 = values.iter().map(|value| (value * factor - middle).powi(2)).sum();
    let deviation = (values.len() > 1).then(|| (squares / (values.len() - 1) as f64).sqrt());
    // Three decimals would leave nothing of what is smaller than this.
    let largest = middle.abs().max(deviation.unwrap_or(0.0));
    let small = unit == NumberKind::Number && largest > 0.0 && largest < 0.01;
    let short = small || middle.abs() >= 1e7;
    let shown = if short { format!("{middle:.2e}") } else { format!("{middle:.decimals$}{sign}") };
    match deviation {
        None => shown,
        Some(deviation) if short => format!("{shown} ± {deviation:.1e}"),
        Some(deviation) => format!("{shown} ± {deviation:.decimals$}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::read::tests::{TEXT, made_up};
    use super::super::{Failure, makers};
    use super::*;

    fn outcome() -> (Experiment, Outcome, Vec<Vec<Option<Run>>>) {
        let runs = [[0.2, 0.4], [0.1, 0.1]].map(|seeds| seeds.map(|after| Some(made_up(after, 10))).into());
        outcome_of(runs.into())
    }

    fn outcome_of(runs: Vec<Vec<Option<Run>>>) -> (Experiment, Outcome, Vec<Vec<Option<Run>>>) {
        let experiment = Experiment::parse("x.toml", TEXT).unwrap();
        let cells = |runs: &[Option<Run>]| -> Vec<Cell> {
            let of = |one| runs.iter().map(|run| run.as_ref()?.measure(one)).collect();
            experiment.measures.iter().map(|one| Cell { values: of(one) }).collect()
        };
        let outcome = Outcome {
            experiment: "x".to_owned(),
            measures: experiment.measures.iter().map(|measure| measure.name.clone()).collect(),
            variants: vec![("with".to_owned(), cells(&runs[0])), ("without".to_owned(), cells(&runs[1]))],
            seeds: 2,
            failed: Vec::new(),
            makers: makers(&experiment, &runs),
            without_numbers: Vec::new(),
        };
        (experiment, outcome, runs)
    }

    #[test]
    fn the_table_of_an_experiment() {
        let (experiment, outcome, runs) = outcome();
        let text = markdown(&experiment, "x", &outcome, &runs);
        let expected = "\
## x: d

q

| variant | pass@1 | of b | length, first | length, last | sampled | greedy |
|---|---|---|---|---|---|---|
| with | 40.0% ± 14.1 | 60.0% ± 14.1 | 11.0 ± 0.0 | 20.0 ± 0.0 | 200.0 ± 0.0 | – |
| without | 20.0% ± 0.0 | 40.0% ± 0.0 | 11.0 ± 0.0 | 20.0 ± 0.0 | 200.0 ± 0.0 | – |

2 seeds, mean ± standard deviation over them; 0.0 s a run, 1 thread on 1 core.

![Length](figure-1.svg)

![Votes](figure-2.svg)

`recipe experiment run x --seeds 2`, recipe 0.1.0.
";
        assert_eq!(text, expected, "{text}");
        // The file as it was typed: the experiment's own name would start another one, or none.
        let of_file = |file: &str| markdown(&experiment, file, &outcome, &runs);
        assert!(of_file("mine/exp.toml").contains("`recipe experiment run mine/exp.toml --seeds 2`"));
        assert!(of_file("my exp.toml").contains("`recipe experiment run 'my exp.toml' --seeds 2`"));
    }

    #[test]
    fn numbers_of_any_size_are_read() {
        #[track_caller]
        fn check(values: &[f64], unit: NumberKind, expected: &str) {
            assert_eq!(mean_and_deviation(values, unit), expected);
        }
        check(&[2e-4, 4e-4], NumberKind::Number, "3.00e-4 ± 1.4e-4");
        check(&[2e-4], NumberKind::Number, "2.00e-4");
        check(&[0.0, 0.0], NumberKind::Number, "0.000 ± 0.000");
        // Small beside what it varies by.
        check(&[-0.2, 0.21], NumberKind::Number, "0.005 ± 0.290");
        check(&[0.02, 0.04], NumberKind::Number, "0.030 ± 0.014");
        check(&[12.0, 14.0], NumberKind::Number, "13.0 ± 1.4");
        check(&[7e12, 8e12], NumberKind::Number, "7.50e12 ± 7.1e11");
        check(&[1e-4, 3e-4], NumberKind::Share, "0.0% ± 0.0");
    }

    #[test]
    fn runs_that_differ_by_more_than_their_settings_are_told_of() {
        let mut runs = outcome().2;
        let other = |run: &mut Option<Run>| run.as_mut().unwrap().makers[0].commit = Some("a1".to_owned());
        // One that does not say its commit may be of the same.
        other(&mut runs[0][0]);
        let (experiment, outcome, runs) = outcome_of(runs);
        assert!(!outcome.is_mixed() && !markdown(&experiment, "x", &outcome, &runs).contains("Mixed"));
        let mut runs = runs;
        for run in runs.iter_mut().flatten() {
            run.as_mut().unwrap().makers[0].processor = "EPYC, AVX2".to_owned();
        }
        runs[1][1].as_mut().unwrap().makers[0].processor = "EPYC, AVX-512".to_owned();
        let (experiment, outcome, runs) = outcome_of(runs);
        let text = markdown(&experiment, "x", &outcome, &runs);
        assert!(
            text.contains("**Mixed: the runs differ by more") && text.contains("AVX-512 made without, seed 1"),
            "{text}"
        );
    }

    #[test]
    fn a_run_that_failed_is_marked_and_the_others_count() {
        let (experiment, mut outcome, runs) =
            outcome_of(vec![vec![None, Some(made_up(0.4, 10))], vec![Some(made_up(0.1, 10)), Some(made_up(0.1, 10))]]);
        let why = "the reward broke\n  hint: mend it".to_owned();
        outcome.failed.push(Failure { variant: "with".to_owned(), seed: 0, why });
        outcome.without_numbers.push("the measure `x`".to_owned());
        let text = markdown(&experiment, "x", &outcome, &runs);
        assert!(text.contains("| with | 50.0% (1 of 2) | 70.0% (1 of 2) |"), "{text}");
        assert!(text.contains("| without | 20.0% ± 0.0 |"), "{text}");
        assert!(text.contains("**Failed: with, seed 0: the reward broke hint: mend it**"), "{text}");
        assert!(text.contains("**No number: the measure `x`**"), "{text}");
        let page = crate::report::experiment::render(&experiment, &outcome, "");
        assert!(page.contains("Failed: with, seed 0: the reward broke") && page.contains("50.0% (1 of 2)"), "{page}");

        let (experiment, outcome, runs) = outcome_of(vec![vec![None, None], vec![None, None]]);
        let text = markdown(&experiment, "x", &outcome, &runs);
        assert!(text.contains("| with | – | – |") && text.contains("; no run came to its end."), "{text}");
    }
}
