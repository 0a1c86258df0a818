//! Benchmarks that the same models were asked earlier in the same folder: their figures stay in the summary and on the page.

use std::path::Path;

use super::store::{Answered, Store};
use super::{BenchmarkResult, Evaluation, SUMMARY, Subject};
use crate::progress::Reporter;

/// A benchmark's figures with the answers of each model.
pub(super) type WithAnswers = (BenchmarkResult, Vec<Vec<Answered>>);

/// What was asked `now` and what the folder's summary holds of the same models, in the order in which it was first asked: as if
/// all had been asked at once.
pub(super) fn with_earlier(
    out: &Path,
    models: &[Subject],
    mut now: Vec<WithAnswers>,
    reporter: &Reporter,
) -> anyhow::Result<Vec<WithAnswers>> {
    let mut all = Vec::new();
    let mut kept = Vec::new();
    for result in of_summary(out, models, reporter) {
        if let Some(place) = now.iter().position(|(one, _)| one.name == result.name) {
            all.push(now.remove(place));
            continue;
        }
        let of_model = |model: &Subject| Store::of(&out.join("answers").join(&model.name), &result.name).done();
        let of_models = models.iter().map(of_model).collect::<anyhow::Result<Vec<_>>>()?;
        // Figures whose answers were removed are no longer backed by anything.
        if of_models.iter().all(|rows| !rows.is_empty()) {
            kept.push(result.name.clone());
            all.push((result, of_models.into_iter().map(|rows| rows.into_values().collect()).collect()));
        }
    }
    if !kept.is_empty() {
        reporter.note(&format!("{SUMMARY} and report.html keep what was asked earlier: {}", kept.join(", ")));
    }
    all.extend(now);
    Ok(all)
}

/// The benchmarks of the folder's summary, if it is of these models.
fn of_summary(out: &Path, models: &[Subject], reporter: &Reporter) -> Vec<BenchmarkResult> {
    let Ok(text) = std::fs::read(out.join(SUMMARY)) else { return Vec::new() };
    let Ok(old) = serde_json::from_slice::<Evaluation>(&text) else {
        reporter.note(&format!("{SUMMARY} cannot be read as one of this program, and is written anew"));
        return Vec::new();
    };
    let of = |models: &[Subject]| -> Vec<(String, String)> {
        models.iter().map(|model| (model.name.clone(), model.fingerprint.clone())).collect()
    };
    if of(&old.models) == of(models) {
        return old.benchmarks;
    }
    let names: Vec<&str> = old.models.iter().map(|model| model.name.as_str()).collect();
    reporter.note(&format!(
        "{SUMMARY} and report.html were of other models ({}), and are written anew; their answers stay below answers/",
        names.join(", ")
    ));
    Vec::new()
}
