//! `report.html`: a run on one page that needs nothing but itself.
//!
//! `curves` finds what to draw in the metrics, `svg` draws it, `sections` writes the rest, `html`
//! keeps model-written text from being read as HTML; `job` is the page of a curation job, `eval` that of an evaluation,
//! `experiment` that of an experiment.

mod curves;
pub(crate) mod eval;
pub(crate) mod experiment;
mod html;
pub(crate) mod job;
mod scale;
mod sections;
mod svg;

use anyhow::Context;
use serde_json::Value;

use crate::config::Recipe;
use crate::run::{CompletionRecord, RunDir, RunSummary};
use html::{escape, page};

const BODY: &str = include_str!("run.html");

/// A step's completions: what it is called, and what was sampled.
type StepCompletions = (String, Vec<CompletionRecord>);

/// Writes the report of a run into its folder.
///
/// # Errors
/// If the metrics or completions cannot be read, or the page cannot be written.
pub fn write(run: &RunDir, recipe: &Recipe, summary: &RunSummary) -> anyhow::Result<()> {
    let rows = run.metrics().context("cannot make the report")?;
    let early_and_late = completions(run, recipe, &rows).context("cannot make the report")?;
    let page = render(recipe, summary, run, &rows, early_and_late.as_ref())?;
    run.write_report(&page)?;
    Ok(())
}

fn render(
    recipe: &Recipe,
    summary: &RunSummary,
    run: &RunDir,
    rows: &[Value],
    early_and_late: Option<&(StepCompletions, StepCompletions)>,
) -> anyhow::Result<String> {
    let charts: String = curves::charts(rows).iter().map(svg::render).collect();
    Ok(page(
        &format!("{}, seed {}", recipe.name, recipe.seed),
        "",
        BODY,
        &[
            ("description", &escape(&recipe.description)),
            ("notice", &sections::notice(summary)),
            ("tiles", &sections::tiles(summary, rows)),
            ("table", &(sections::table(summary) + &sections::each_evaluation(summary))),
            ("charts", &charts),
            ("completions", &sections::completions(early_and_late)),
            ("stages", &(sections::stages(summary) + &sections::best(summary) + &sections::rejected(rows))),
            ("recipe", &escape(&recipe.to_toml()?)),
            ("footer", &sections::footer(run.info())),
        ],
    ))
}

/// The completions of the first and of the last step that has any.
fn completions(
    run: &RunDir,
    recipe: &Recipe,
    rows: &[Value],
) -> anyhow::Result<Option<(StepCompletions, StepCompletions)>> {
    let steps: Vec<(&str, u64)> = rows
        .iter()
        .filter(|row| row["kind"] == "step")
        .filter_map(|row| Some((row["stage"].as_str()?, row["step"].as_u64()?)))
        .filter(|(stage, step)| {
            recipe.grpo().any(|(other, _)| other.name == *stage) && run.completions(stage, *step).exists()
        })
        .collect();
    let (Some(&first), Some(&last)) = (steps.first(), steps.last()) else { return Ok(None) };
    let several = recipe.grpo().count() > 1;
    let called = |stage: &str, step| if several { format!("{stage}, step {step}") } else { format!("step {step}") };
    let read = |(stage, step): (&str, u64)| anyhow::Ok((called(stage, step), run.read_completions(stage, step)?));
    Ok(Some((read(first)?, read(last)?)))
}

#[cfg(test)]
mod tests;
