//! `report.html` of a curation job: where rows went, what is left, and examples of both.

use std::collections::BTreeMap;
use std::fmt::Write;

use datasets::Task;
use datasets::curate::{Histogram, JobOutcome, Stats, StepOutcome};

use super::html::{escape, page, shortened};
use crate::config::JobFile;
use crate::wording::{answer_line, thousands};

const BODY: &str = include_str!("job.html");
const STYLE: &str = include_str!("job.css");
/// Characters of a prompt that are shown.
const SHOWN: usize = 700;

/// The page of a job.
pub(crate) fn render(job: &JobFile, outcome: &JobOutcome) -> String {
    page(
        &format!("{}, seed {}", job.job.name, job.job.seed),
        STYLE,
        BODY,
        &[
            ("description", &escape(&job.description)),
            ("tiles", &tiles(outcome)),
            ("flow", &flow(&outcome.steps)),
            ("notes", &notes(&outcome.steps)),
            ("charts", &charts(outcome)),
            ("kept", &kept(outcome)),
            ("dropped", &dropped(outcome)),
            ("files", &files(outcome)),
            ("job", &escape(&job.text)),
            ("version", env!("CARGO_PKG_VERSION")),
        ],
    )
}

fn tiles(outcome: &JobOutcome) -> String {
    let mut text = String::new();
    let mut tile = |value: String, small: &str, label: &str| {
        let _ = write!(
            text,
            "<div class=\"tile\"><b>{value} <small>{}</small></b><span>{}</span></div>",
            escape(small),
            escape(label)
        );
    };
    // Also those that could not be read: they are among the dropped ones.
    let read = outcome.steps.first().map_or(0, |load| load.tally.rows_in);
    let from = format!("of {}", thousands(read));
    tile(thousands(outcome.left.rows), &from, "tasks left");
    let gone: u64 = outcome.steps.iter().flat_map(|step| step.tally.dropped.values()).sum();
    tile(thousands(gone), "", "rows dropped, each with a reason");
    tile(outcome.left.sources.len().to_string(), "", "sources");
    tile(format!("{:.1}", outcome.left.mean_words()), "", "words of a prompt on average");
    text
}

/// Each step as a bar: what went on, what was dropped and why. All bars share one scale.
fn flow(steps: &[StepOutcome]) -> String {
    const WIDTH: f64 = 1000.0;
    const BAR: f64 = 560.0;
    const LEFT: f64 = 150.0;
    const ROW: f64 = 46.0;
    let most = steps.iter().map(|step| step.tally.rows_in.max(step.tally.rows_out)).max().unwrap_or(0).max(1) as f64;
    let height = ROW * steps.len() as f64 + 8.0;
    let mut svg = format!(
        "<svg class=\"flow\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"rows through the steps\">"
    );
    for (place, step) in steps.iter().enumerate() {
        let y = ROW * place as f64 + 8.0;
        let (kept, all) = (step.tally.rows_out as f64 / most * BAR, step.tally.rows_in as f64 / most * BAR);
        let next = steps.get(place + 1).map_or(kept, |next| next.tally.rows_in as f64 / most * BAR);
        let _ = write!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\" class=\"name\">{}</text>\
             <rect x=\"{LEFT}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"22\" rx=\"3\" class=\"kept\"/>",
            LEFT - 10.0,
            y + 15.0,
            escape(&step.name),
            kept.max(0.5)
        );
        if all > kept {
            let _ = write!(
                svg,
                "<rect x=\"{:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"22\" rx=\"3\" class=\"gone\"/>",
                LEFT + kept,
                (all - kept).max(0.5)
            );
        }
        if place + 1 < steps.len() {
            let (top, bottom) = (y + 22.0, y + ROW);
            let _ = write!(
                svg,
                "<path class=\"stream\" d=\"M{LEFT} {top:.1}L{:.1} {top:.1}L{:.1} {bottom:.1}L{LEFT} {bottom:.1}Z\"/>",
                LEFT + kept,
                LEFT + next
            );
        }
        let reasons: Vec<String> =
            step.tally.dropped.iter().map(|(reason, count)| format!("-{} {reason}", thousands(*count))).collect();
        let marks = step.tally.marked.iter().map(|(mark, count)| format!("{} {mark}", thousands(*count)));
        let why: Vec<String> = reasons.into_iter().chain(marks).collect();
        // The reasons stand below the bar: beside a long one there is no room.
        let _ = write!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" class=\"count\">{}</text><text x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            LEFT + kept.max(all) + 10.0,
            y + 15.0,
            thousands(step.tally.rows_out),
            LEFT + 6.0,
            y + 37.0,
            escape(&shortened(&why.join(", "), 120))
        );
    }
    svg.push_str("</svg>");
    svg
}

/// What steps have to say beside their counts.
fn notes(steps: &[StepOutcome]) -> String {
    let notes = steps.iter().flat_map(|step| step.tally.notes.iter().map(move |note| (&step.name, note)));
    let items: String =
        notes.map(|(name, note)| format!("<li><b>{}</b>: {}</li>", escape(name), escape(note))).collect();
    if items.is_empty() { items } else { format!("<ul class=\"small\">{items}</ul>") }
}

fn charts(outcome: &JobOutcome) -> String {
    let (before, after) = (&outcome.loaded, &outcome.left);
    let mut text = histogram("Length", "words of a prompt", &before.words, &after.words);
    text.push_str(&histogram("Difficulty", "share of attempts that failed", &before.difficulty, &after.difficulty));
    let named = |stats: &Stats| -> BTreeMap<String, u64> {
        stats.domains.iter().map(|(name, &count)| ((*name).to_owned(), count)).collect()
    };
    text.push_str(&shares("Domains", &named(before), &named(after)));
    text.push_str(&shares("Sources", &before.sources, &after.sources));
    text
}

/// Loaded (faint) and left (strong) in steps of equal width.
fn histogram(title: &str, label: &str, before: &Histogram, after: &Histogram) -> String {
    const BINS: u64 = 24;
    if before.bins.is_empty() && after.bins.is_empty() {
        return String::new();
    }
    // What lies beyond is counted in the last bar.
    let last = before.bins.keys().chain(after.bins.keys()).max().copied().unwrap_or(0).min(BINS - 1);
    let counts = |histogram: &Histogram| {
        let mut counts = vec![0_u64; usize::try_from(last).unwrap_or(0) + 1];
        for (&bin, &count) in &histogram.bins {
            counts[usize::try_from(bin.min(last)).unwrap_or(0)] += count;
        }
        counts
    };
    let (before_counts, after_counts) = (counts(before), counts(after));
    let most = before_counts.iter().chain(&after_counts).max().copied().unwrap_or(1).max(1) as f64;
    let step = 440.0 / before_counts.len() as f64;
    let mut svg = format!("<svg viewBox=\"0 0 480 210\" role=\"img\" aria-label=\"{}\">", escape(title));
    for (bin, (&loaded, &left)) in before_counts.iter().zip(&after_counts).enumerate() {
        let x = 30.0 + bin as f64 * step;
        for (count, class) in [(loaded, "loaded"), (left, "kept")] {
            let height = count as f64 / most * 160.0;
            let _ = write!(
                svg,
                "<rect x=\"{x:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{height:.1}\" class=\"{class}\"/>",
                175.0 - height,
                (step - 1.5).max(0.5)
            );
        }
        if bin % before_counts.len().div_ceil(8) == 0 {
            let value = before.width * bin as f64;
            let shown = if before.width < 1.0 { format!("{value:.1}") } else { format!("{value:.0}") };
            let _ = write!(svg, "<text x=\"{x:.1}\" y=\"190\">{shown}</text>");
        }
    }
    let _ = write!(svg, "<line class=\"axis\" x1=\"30\" x2=\"470\" y1=\"175\" y2=\"175\"/></svg>");
    format!(
        "<figure><figcaption><b>{}</b><span>{}; faint: loaded, strong: left</span></figcaption>{svg}</figure>\n",
        escape(title),
        escape(label)
    )
}

fn shares(title: &str, before: &BTreeMap<String, u64>, after: &BTreeMap<String, u64>) -> String {
    let all: u64 = after.values().sum();
    let mut rows = String::new();
    for (name, loaded) in before {
        let left = after.get(name).copied().unwrap_or(0);
        let share = left as f64 / all.max(1) as f64 * 100.0;
        let _ = write!(
            rows,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{share:.1}%</td></tr>",
            escape(name),
            thousands(*loaded),
            thousands(left)
        );
    }
    format!(
        "<figure><figcaption><b>{}</b></figcaption><div class=\"tall\"><table><thead><tr><th></th><th>loaded</th><th>left</th>\
         <th>share</th></tr></thead><tbody>{rows}</tbody></table></div></figure>\n",
        escape(title)
    )
}

fn article(task: &Task, badge: &str, class: &str, detail: &str) -> String {
    let answer = answer_line(task);
    format!(
        "<article><header><span class=\"badge {class}\">{}</span><span>{}</span><span>{}</span></header>\
         <pre class=\"prompt\">{}</pre><pre>{}</pre>{}</article>\n",
        escape(badge),
        escape(&task.source),
        escape(&task.id),
        escape(&shortened(&task.prompt, SHOWN)),
        escape(&shortened(&answer, SHOWN / 2)),
        if detail.is_empty() {
            String::new()
        } else {
            format!("<p class=\"small\">{}</p>", escape(&shortened(detail, SHOWN / 2)))
        }
    )
}

fn kept(outcome: &JobOutcome) -> String {
    if outcome.kept.is_empty() {
        return "<p class=\"small\">No row is left.</p>".to_owned();
    }
    outcome.kept.iter().map(|task| article(task, "kept", "full", "")).collect()
}

fn dropped(outcome: &JobOutcome) -> String {
    let mut text = String::new();
    for group in &outcome.dropped {
        let articles: String =
            group.rows.iter().map(|(task, detail)| article(task, &group.reason, "none", detail)).collect();
        let _ = writeln!(
            text,
            "<details><summary>{}: {}</summary>{articles}</details>",
            escape(&group.step),
            escape(&group.reason)
        );
    }
    if text.is_empty() { "<p class=\"small\">No row was dropped.</p>".to_owned() } else { text }
}

fn files(outcome: &JobOutcome) -> String {
    let mut rows = String::new();
    for (name, written) in &outcome.written {
        let _ = write!(
            rows,
            "<tr><td>{}</td><td>{}</td><td><code>{}</code></td></tr>",
            escape(name),
            thousands(written.rows),
            escape(&written.sha256)
        );
    }
    for (name, hash) in &outcome.files {
        let name = std::path::Path::new(name).file_name().unwrap_or_default().to_string_lossy();
        let _ =
            write!(rows, "<tr><td>read: {}</td><td></td><td><code>{}</code></td></tr>", escape(&name), escape(hash));
    }
    format!(
        "<div class=\"scroll\"><table><thead><tr><th>file</th><th>rows</th><th>SHA-256</th></tr></thead><tbody>{rows}</tbody>\
         </table></div>"
    )
}
