//! The figures at the end of a run, as a table of at most 100 columns.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use crate::metrics::{Estimate, EvalMetrics, FamilyEval};
use crate::progress::duration_text;
use crate::run::StageRecord;
use crate::run::{RunStatus, RunSummary};
use crate::wording::counted;

/// The widths of the table's columns: family, tasks, then before and after of each figure.
const WIDTHS: [usize; 10] = [12, 5, 12, 12, 6, 6, 6, 6, 6, 6];
const GAP: &str = "  ";

/// The table, and below it what the run took.
#[must_use]
pub fn render(summary: &RunSummary) -> String {
    let mut text = String::from("\n");
    match (summary.before_and_after(), summary.evaluations.last()) {
        (Some((before, after)), _) => comparison(&mut text, before, after),
        (None, Some(only)) => one_evaluation(&mut text, only, summary.status == RunStatus::Finished),
        (None, None) => {}
    }
    each_evaluation(&mut text, summary);
    costs(&mut text, summary);
    text
}

/// Where there are more than two evaluations, what came after which stage: pass@1, and the mean scores of rewards that look
/// at an answer's shape.
fn each_evaluation(text: &mut String, summary: &RunSummary) {
    if summary.evaluations.len() < 3 {
        return;
    }
    let first = width_of(summary.evaluations.iter().map(|eval| eval.stage.as_str()));
    let families: BTreeSet<&str> =
        summary.evaluations.iter().flat_map(|eval| eval.families.keys()).map(String::as_str).collect();
    let scores: Vec<BTreeMap<String, f64>> = summary.evaluations.iter().map(EvalMetrics::rewards).collect();
    let rewards: BTreeSet<&str> = scores.iter().flat_map(|scores| scores.keys()).map(String::as_str).collect();
    let columns: Vec<&str> = families.iter().copied().chain(["mean"]).chain(rewards.iter().copied()).collect();
    let line = |text: &mut String, name: &str, cells: &[String]| {
        let _ = write!(text, "{:first$}", shortened(name, first));
        for (cell, column) in cells.iter().zip(&columns) {
            let _ = write!(text, "{GAP}{cell:>width$}", width = column.chars().count().clamp(6, LONGEST));
        }
        text.push('\n');
    };
    let names: Vec<String> = columns.iter().map(|name| shortened(name, LONGEST)).collect();
    line(text, "pass@1", &names);
    for (eval, scores) in summary.evaluations.iter().zip(&scores) {
        let shares = families.iter().map(|name| eval.families.get(*name).map(|family| family.sampled.mean));
        let shares = shares.chain([Some(eval.sampled().mean)]).map(share);
        let scores = rewards.iter().map(|name| scores.get(*name).map_or_else(|| "-".to_owned(), |s| format!("{s:.2}")));
        line(text, &eval.stage, &shares.chain(scores).collect::<Vec<_>>());
    }
    text.push('\n');
}

/// The longest name of a stage or a column that is written out.
const LONGEST: usize = 20;

fn width_of<'n>(names: impl Iterator<Item = &'n str>) -> usize {
    names.map(|name| name.chars().count()).max().unwrap_or(0).clamp(12, LONGEST)
}

fn share(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{:.1}%", value * 100.0))
}

fn estimate(value: Option<Estimate>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

fn length(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.1}"))
}

fn comparison(text: &mut String, before: &EvalMetrics, after: &EvalMetrics) {
    let samples = after.families.values().map(|family| family.samples).max().unwrap_or(0);
    heading(text, samples);
    row(
        text,
        &["family", "tasks", "before", "after", "before", "after", "before", "after", "before", "after"]
            .map(str::to_owned),
    );
    rule(text);
    // A family that only one of the two has is shown with blanks for the other.
    let mut names: Vec<&String> = before.families.keys().chain(after.families.keys()).collect();
    names.sort();
    names.dedup();
    let count = names.len();
    for name in names {
        let (old, new) = (before.families.get(name), after.families.get(name));
        let tasks = new.or(old).map_or(0, |family| family.tasks);
        family_row(text, name, &tasks.to_string(), &Figures::of(old), &Figures::of(new));
    }
    if count > 1 {
        rule(text);
        family_row(text, "mean", "", &Figures::mean(before), &Figures::mean(after));
    }
    text.push_str(BELOW);
}

/// Where there is one evaluation, it stands under its own name: it may be the one before or the one after.
fn one_evaluation(text: &mut String, only: &EvalMetrics, finished: bool) {
    let so_far = if finished { "" } else { " so far" };
    let _ = writeln!(text, "{}, the only evaluation{so_far}\n", only.stage);
    let samples = only.families.values().map(|family| family.samples).max().unwrap_or(0);
    let majority = format!("majority of {samples}");
    let columns = ["family", "tasks", "pass@1, sampled", "greedy", &majority, "length"];
    let widths: Vec<usize> = columns.iter().map(|name| name.chars().count()).collect();
    let line = |text: &mut String, cells: [&str; 6]| {
        let _ = write!(text, "{:first$}", shortened(cells[0], WIDTHS[0]), first = WIDTHS[0]);
        for (cell, width) in cells.iter().zip(&widths).skip(1) {
            let _ = write!(text, "{GAP}{cell:>width$}");
        }
        let end = text.trim_end().len();
        text.truncate(end);
        text.push('\n');
    };
    let rule = "─".repeat(WIDTHS[0] + widths.iter().skip(1).map(|width| GAP.len() + width).sum::<usize>()) + "\n";
    let row = |text: &mut String, name: &str, tasks: &str, of: &Figures| {
        line(text, [name, tasks, &estimate(of.sampled), &share(of.greedy), &share(of.majority), &length(of.length)]);
    };
    line(text, columns);
    text.push_str(&rule);
    for (name, family) in &only.families {
        row(text, name, &family.tasks.to_string(), &Figures::of(Some(family)));
    }
    if only.families.len() > 1 {
        text.push_str(&rule);
        row(text, "mean", "", &Figures::mean(only));
    }
    text.push_str(BELOW);
}

/// What is to be known of the figures above.
const BELOW: &str = "held-out tasks; ± is half of the 95% confidence interval over tasks; length in tokens\n\n";

/// The figures of one row, for one of before and after.
#[derive(Default)]
struct Figures {
    sampled: Option<Estimate>,
    greedy: Option<f64>,
    majority: Option<f64>,
    length: Option<f64>,
}

impl Figures {
    fn of(family: Option<&FamilyEval>) -> Figures {
        family.map_or_else(Figures::default, |family| Figures {
            sampled: Some(family.sampled),
            greedy: family.greedy,
            majority: family.majority,
            length: Some(family.mean_length),
        })
    }

    fn mean(eval: &EvalMetrics) -> Figures {
        if eval.families.is_empty() {
            return Figures::default();
        }
        Figures {
            sampled: Some(eval.sampled()),
            greedy: eval.greedy(),
            majority: eval.majority(),
            length: Some(eval.mean_length()),
        }
    }
}

fn family_row(text: &mut String, name: &str, tasks: &str, before: &Figures, after: &Figures) {
    row(
        text,
        &[
            shortened(name, WIDTHS[0]),
            tasks.to_owned(),
            estimate(before.sampled),
            estimate(after.sampled),
            share(before.greedy),
            share(after.greedy),
            share(before.majority),
            share(after.majority),
            length(before.length),
            length(after.length),
        ],
    );
}

/// The names of the figures, each over its pair of columns.
fn heading(text: &mut String, samples: u64) {
    let first = WIDTHS[0] + GAP.len() + WIDTHS[1];
    let mut line = " ".repeat(first);
    let majority = format!("majority of {samples}");
    for (index, name) in ["pass@1, sampled", "greedy", &majority, "length"].into_iter().enumerate() {
        let width = WIDTHS[2 + 2 * index] + GAP.len() + WIDTHS[3 + 2 * index];
        let _ = write!(line, "{GAP}{name:^width$}");
    }
    let _ = writeln!(text, "{}", line.trim_end());
}

fn row(text: &mut String, cells: &[String; 10]) {
    let mut line = String::new();
    for (index, (cell, width)) in cells.iter().zip(WIDTHS).enumerate() {
        if index == 0 {
            let _ = write!(line, "{cell:width$}");
        } else {
            let _ = write!(line, "{GAP}{cell:>width$}");
        }
    }
    let _ = writeln!(text, "{}", line.trim_end());
}

fn rule(text: &mut String) {
    let width = WIDTHS.iter().sum::<usize>() + GAP.len() * (WIDTHS.len() - 1);
    let _ = writeln!(text, "{}", "─".repeat(width));
}

fn shortened(name: &str, width: usize) -> String {
    if name.chars().count() <= width {
        return name.to_owned();
    }
    let kept: String = name.chars().take(width - 1).collect();
    format!("{kept}…")
}

fn costs(text: &mut String, summary: &RunSummary) {
    // Stopped in its first stage, a run has nothing to tell yet.
    let stages: Vec<&StageRecord> = summary.stages_begun().collect();
    if !stages.is_empty() {
        stage_rows(text, &stages);
        let seconds: f64 = stages.iter().map(|stage| stage.seconds).sum();
        let flops: f64 = stages.iter().map(|stage| stage.flops).sum();
        let _ = writeln!(
            text,
            "\n{}, seed {}: {} in its stages, {}{} on {}{}",
            summary.recipe,
            summary.seed,
            duration_text(seconds),
            // Nothing computed, nothing to tell.
            if flops > 0.0 { format!("about {} FLOPs, ", flops_text(flops)) } else { String::new() },
            counted(summary.threads, "thread", "threads"),
            counted(summary.host_cores, "core", "cores"),
            summary.card.as_ref().map_or_else(String::new, |card| format!(", {card}")),
        );
    }
    if summary.parameters > 0 {
        let (all, active) = (count_text(summary.parameters), count_text(summary.active_parameters));
        let _ = writeln!(text, "{all} parameters, {active} used for each token");
    }
    for best in &summary.best {
        let _ = writeln!(
            text,
            "best: {}, step {}{}: {} in the best of {}: {}",
            best.stage,
            best.step,
            if best.handed_on { ", handed on" } else { "" },
            best.sampled,
            counted(best.of as usize, "quick evaluation", "quick evaluations"),
            best.folder.display()
        );
    }
    for raised in &summary.alarms {
        let _ = writeln!(text, "look: {}, step {}: {}", raised.stage, raised.step, raised.alarm.what);
    }
    let report = summary.run_dir.join("report.html");
    let state = match &summary.status {
        RunStatus::Finished => "report".to_owned(),
        RunStatus::StoppedAfter { stage } => format!("report up to stage {stage}"),
        RunStatus::Interrupted { stage, step } => format!("report up to step {step} of {stage}"),
        RunStatus::Failed { .. } => "report up to the failure".to_owned(),
    };
    let _ = writeln!(text, "{state}: {}", report.display());
}

fn stage_rows(text: &mut String, stages: &[&StageRecord]) {
    let width = width_of(stages.iter().map(|stage| stage.name.as_str()));
    let _ = writeln!(
        text,
        "{:width$}{GAP}{:>7}{GAP}{:>9}{GAP}{:>9}{GAP}{:>12}{GAP}{:>10}",
        "stage", "steps", "sampled", "trained", "time", "FLOPs"
    );
    for stage in stages {
        let note = stage.note.as_ref().map_or_else(String::new, |note| format!("{GAP}{note}"));
        let _ = writeln!(
            text,
            "{:width$}{GAP}{:>7}{GAP}{:>9}{GAP}{:>9}{GAP}{:>12}{GAP}{:>10}{note}",
            shortened(&stage.name, width),
            stage.steps,
            count_text(stage.sampled_tokens),
            count_text(stage.trained_tokens),
            duration_text(stage.seconds),
            flops_text(stage.flops),
        );
    }
}

/// A count as people say it: `512`, `12.3K`, `4.0M`, `1.2G`.
#[must_use]
pub fn count_text(count: u64) -> String {
    let value = count as f64;
    match count {
        0..1_000 => count.to_string(),
        1_000..1_000_000 => format!("{:.1}K", value / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1}M", value / 1e6),
        _ => format!("{:.1}G", value / 1e9),
    }
}

/// Floating-point operations: `3.2e13`; a dash for none.
fn flops_text(flops: f64) -> String {
    if flops > 0.0 { format!("{flops:.1e}") } else { "-".to_owned() }
}

/// Bytes as people say them: `12 bytes`, `1.5 GiB`.
#[must_use]
pub fn bytes_text(bytes: u64) -> String {
    let units = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
    match units.into_iter().find(|(_, shift)| bytes >> shift > 0) {
        Some((unit, shift)) => format!("{:.1} {unit}", bytes as f64 / 2f64.powi(shift)),
        None => format!("{bytes} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_read_easily() {
        for (bytes, expected) in [(3 << 29, "1.5 GiB"), (1 << 20, "1.0 MiB"), (12, "12 bytes")] {
            assert_eq!(bytes_text(bytes), expected);
        }
    }
}
