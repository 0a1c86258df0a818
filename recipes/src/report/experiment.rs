//! `report.html` of an experiment, and its figures as files.

use std::fmt::Write;

use super::html::{escape, page};
use super::scale::{self, Unit};
use super::svg::{self, Chart, Mark, Point, Series};
use crate::config::{Experiment, Figure, NumberKind};
use crate::experiment::{Curve, Lines, Outcome, notes, written};
use crate::wording::counted;

const BODY: &str = include_str!("experiment.html");

/// The figures, for the page and as files of their own.
pub(crate) struct Drawn {
    /// HTML.
    pub(crate) page: String,
    /// SVG, one for each figure.
    pub(crate) files: Vec<String>,
}

/// Draws the figures.
pub(crate) fn figures(experiment: &Experiment, lines: &[Lines]) -> Drawn {
    let charts: Vec<Chart> = experiment.figures.iter().zip(lines).map(|(figure, lines)| chart(figure, lines)).collect();
    Drawn { page: charts.iter().map(svg::render).collect(), files: charts.iter().map(svg::standalone).collect() }
}

fn unit(kind: NumberKind) -> Unit {
    match kind {
        NumberKind::Share => Unit::Share,
        NumberKind::Number => Unit::Number,
    }
}

fn chart(figure: &Figure, lines: &Lines) -> Chart {
    let x = |x: f64| if lines.over_samples { x.log2() } else { x };
    let series = lines.lines.iter().map(|line| Series {
        name: line.name.clone(),
        points: line.points.iter().map(|(at, y)| Point { x: x(*at), y: *y, half_width: 0.0 }).collect(),
        breaks: line.stages.iter().map(|(after, _)| *after).collect(),
    });
    Chart {
        title: figure.title.clone().into(),
        note: "mean over seeds".into(),
        x_label: if lines.over_samples { "samples" } else { "step" }.into(),
        y_label: figure.y_label.clone().into(),
        unit: unit(figure.unit),
        x_powers: lines.over_samples,
        from_zero: true,
        marks: marks(&lines.lines),
        joined: false,
        series: series.filter(|series| !series.points.is_empty()).collect(),
    }
}

/// Where stages begin, if they begin at the same steps in all lines.
fn marks(lines: &[Curve]) -> Vec<Mark> {
    let mut all = lines.iter().filter(|line| !line.points.is_empty()).map(|line| &line.stages);
    let Some(stages) = all.next().filter(|first| all.all(|other| other == *first)) else { return Vec::new() };
    stages.iter().map(|(after, name)| Mark { after: *after, name: name.clone() }).collect()
}

/// The page; `charts` are its figures.
pub(crate) fn render(experiment: &Experiment, outcome: &Outcome, charts: &str) -> String {
    page(
        &format!("{}, {}", experiment.name, counted(outcome.seeds as usize, "seed", "seeds")),
        "",
        BODY,
        &[
            ("description", &escape(&experiment.description)),
            ("question", &escape(&experiment.question)),
            ("table", &table(experiment, outcome)),
            ("charts", charts),
            ("seeds", &seeds(experiment, outcome)),
            ("experiment", &escape(&experiment.text)),
            ("version", env!("CARGO_PKG_VERSION")),
        ],
    )
}

fn head(outcome: &Outcome, more: &str) -> String {
    let names: String = outcome.measures.iter().map(|name| format!("<th>{}</th>", escape(name))).collect();
    format!("<div class=\"scroll\"><table><thead><tr><th>variant</th>{more}{names}</tr></thead><tbody>")
}

fn table(experiment: &Experiment, outcome: &Outcome) -> String {
    let mut text = head(outcome, "");
    for (name, cells) in &outcome.variants {
        let _ = write!(text, "<tr><td>{}</td>", escape(name));
        for (cell, measure) in cells.iter().zip(&experiment.measures) {
            let _ = write!(text, "<td>{}</td>", escape(&written(cell, measure.unit)));
        }
        text.push_str("</tr>");
    }
    text.push_str("</tbody></table></div>");
    for note in notes(outcome) {
        let _ = write!(text, "<p class=\"notice small\">{}</p>", escape(&note));
    }
    if outcome.seeds > 1 {
        text.push_str("<p class=\"small\">Mean ± standard deviation over seeds.</p>");
    }
    text
}

fn seeds(experiment: &Experiment, outcome: &Outcome) -> String {
    let mut text = head(outcome, "<th>seed</th>");
    for (name, cells) in &outcome.variants {
        for seed in 0..outcome.seeds as usize {
            let _ = write!(text, "<tr><td>{}</td><td>{seed}</td>", escape(name));
            for (cell, measure) in cells.iter().zip(&experiment.measures) {
                let value = cell.values.get(seed).copied().flatten();
                let shown = value.map_or_else(|| "–".to_owned(), |value| scale::value(value, unit(measure.unit)));
                let _ = write!(text, "<td>{shown}</td>");
            }
            text.push_str("</tr>");
        }
    }
    text.push_str("</tbody></table></div>\n");
    text
}
