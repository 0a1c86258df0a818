//! The table of an experiment, in Markdown: what goes into docs/experiments.md.

use std::fmt::Write;

use super::{Cell, Outcome, Run};
use crate::config::{Experiment, NumberKind};
use crate::metrics::mean;
use crate::progress::duration_text;
use crate::wording::counted;

/// Title, question, table, figures, and what made them.
#[must_use]
pub(crate) fn markdown(experiment: &Experiment, outcome: &Outcome, runs: &[Vec<Run>]) -> String {
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
    let all = || runs.iter().flatten().map(|run| &run.summary);
    let seconds: Vec<f64> = all().map(|run| run.stages.iter().map(|stage| stage.seconds).sum()).collect();
    let machine = all().next().map_or_else(String::new, |run| {
        let card = run.card.as_ref().map_or_else(String::new, |card| format!(", {card}"));
        format!(
            " on {} of {}{card}",
            counted(run.threads, "thread", "threads"),
            counted(run.host_cores, "core", "cores")
        )
    });
    let _ = writeln!(text, "\n{seeds}{spread}; {} a run{machine}.\n", duration_text(mean(&seconds)));
    for (number, figure) in experiment.figures.iter().enumerate() {
        let _ = writeln!(text, "![{}](figure-{}.svg)\n", figure.title, number + 1);
    }
    let _ = writeln!(
        text,
        "`recipe experiment run {} --seeds {}`, recipe {}.",
        experiment.name,
        outcome.seeds,
        env!("CARGO_PKG_VERSION")
    );
    text
}

/// Mean and standard deviation over seeds; a dash where a run has no such number.
pub(crate) fn written(cell: &Cell, unit: NumberKind) -> String {
    let Some(values) = cell.values.iter().copied().collect::<Option<Vec<f64>>>() else { return "–".to_owned() };
    let (factor, sign, decimals) = match unit {
        NumberKind::Share => (100.0, "%", 1),
        NumberKind::Number => match mean(&values).abs() {
            size if size >= 1000.0 => (1.0, "", 0),
            size if size >= 10.0 => (1.0, "", 1),
            size if size >= 1.0 => (1.0, "", 2),
            _ => (1.0, "", 3),
        },
    };
    let middle = mean(&values) * factor;
    let shown = if middle.abs() >= 1e7 { format!("{middle:.2e}") } else { format!("{middle:.decimals$}{sign}") };
    if values.len() < 2 {
        return shown;
    }
    let squares: f64 = values.iter().map(|value| (value * factor - middle).powi(2)).sum();
    let deviation = (squares / (values.len() - 1) as f64).sqrt();
    if middle.abs() >= 1e7 {
        format!("{shown} ± {deviation:.1e}")
    } else {
        format!("{shown} ± {deviation:.decimals$}")
    }
}

#[cfg(test)]
mod tests {
    use super::super::read::tests::{TEXT, made_up};
    use super::*;

    fn outcome() -> (Experiment, Outcome, Vec<Vec<Run>>) {
        let experiment = Experiment::parse("x.toml", TEXT).unwrap();
        let runs = vec![vec![made_up(0.2, 10), made_up(0.4, 10)], vec![made_up(0.1, 10), made_up(0.1, 10)]];
        let cells = |runs: &[Run]| -> Vec<Cell> {
            let measures = experiment.measures.iter();
            measures.map(|one| Cell { values: runs.iter().map(|run| run.measure(one)).collect() }).collect()
        };
        let outcome = Outcome {
            experiment: "x".to_owned(),
            measures: experiment.measures.iter().map(|measure| measure.name.clone()).collect(),
            variants: vec![("with".to_owned(), cells(&runs[0])), ("without".to_owned(), cells(&runs[1]))],
            seeds: 2,
        };
        (experiment, outcome, runs)
    }

    #[test]
    fn the_table_of_an_experiment() {
        let (experiment, outcome, runs) = outcome();
        let text = markdown(&experiment, &outcome, &runs);
        let expected = "\
## x: d

q

| variant | pass@1 | of b | length, first | length, last | sampled | greedy |
|---|---|---|---|---|---|---|
| with | 40.0% ± 14.1 | 60.0% ± 14.1 | 11.0 ± 0.0 | 20.0 ± 0.0 | 200.0 ± 0.0 | – |
| without | 20.0% ± 0.0 | 40.0% ± 0.0 | 11.0 ± 0.0 | 20.0 ± 0.0 | 200.0 ± 0.0 | – |

2 seeds, mean ± standard deviation over them; 0.0 s a run on 1 thread of 1 core.

![Length](figure-1.svg)

![Votes](figure-2.svg)

`recipe experiment run x --seeds 2`, recipe 0.1.0.
";
        assert_eq!(text, expected, "{text}");
    }
}
