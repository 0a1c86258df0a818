//! `report.html` of an evaluation: figures, curves over k, answers to read, and how everything was asked.

use std::fmt::Write;

use super::html::{escape, page, shortened};
use super::scale::Unit;
use super::sections::SHOWN_OF_CAUSE;
use super::svg::{self, Chart, Point, Series};
use crate::evaluation::{Answered, BenchmarkResult, Evaluation, Method, Scored, difference, settings};
use crate::metrics::Estimate;
use crate::wording::{counted, thousands};

const BODY: &str = include_str!("eval.html");
const STYLE: &str = include_str!("eval.css");
/// Characters of a question or answer that are shown.
const SHOWN: usize = 3000;
/// Right and wrong answers shown for each benchmark and model.
const EXAMPLES: usize = 2;

/// The page. `rows` are the answers by model, then by benchmark.
pub(crate) fn render(evaluation: &Evaluation, rows: &[Vec<&[Answered]>]) -> String {
    let names: Vec<&str> = evaluation.models.iter().map(|subject| subject.name.as_str()).collect();
    let benchmarks: Vec<&str> = evaluation.benchmarks.iter().map(|one| one.name.as_str()).collect();
    page(
        &names.join(" and "),
        STYLE,
        BODY,
        &[
            ("lead", &escape(&format!("examined on {}", benchmarks.join(", ")))),
            ("tiles", &tiles(evaluation, &names)),
            ("table", &table(evaluation, &names)),
            ("paired", &paired(evaluation, &names)),
            ("charts", &evaluation.benchmarks.iter().map(|one| svg::render(&chart(one, &names))).collect::<String>()),
            ("examples", &examples(evaluation, &names, rows)),
            ("settings", &how(evaluation, &names)),
            ("version", env!("CARGO_PKG_VERSION")),
        ],
    )
}

fn percent(share: f64) -> String {
    format!("{:.1}%", share * 100.0)
}

fn tiles(evaluation: &Evaluation, names: &[&str]) -> String {
    let mut text = String::new();
    for one in &evaluation.benchmarks {
        for (name, scored) in names.iter().zip(&one.results) {
            let pass = scored.pass_at_1();
            let whose = if names.len() > 1 { format!("{}: {name}", one.name) } else { format!("{}, pass@1", one.name) };
            let _ = write!(
                text,
                "<div class=\"tile\"><b>{} <small>{}</small></b><span>{}</span></div>",
                percent(pass.mean),
                pass.reach(),
                escape(&whose)
            );
        }
    }
    text
}

fn table(evaluation: &Evaluation, names: &[&str]) -> String {
    let mut text = String::from(
        "<div class=\"scroll\"><table><thead><tr><th>benchmark</th><th>model</th><th>problems</th><th>answers each</th>\
         <th>pass@1</th><th>pass@k</th><th>majority of k</th><th>tokens</th><th>of right ones</th><th>cut off</th>\
         </tr></thead><tbody>",
    );
    let largest = |values: Option<(&usize, &Estimate)>| match values {
        Some((k, value)) => format!("{} <span class=\"pm\">of {k}</span>", percent(value.mean)),
        None => "–".to_owned(),
    };
    for one in &evaluation.benchmarks {
        for (name, scored) in names.iter().zip(&one.results) {
            let pass = scored.pass_at_1();
            let generated = scored.asked.method == Method::Generate;
            let tokens = |value: Option<f64>| {
                value.filter(|_| generated).map_or_else(|| "–".to_owned(), |value| format!("{value:.1}"))
            };
            let _ = write!(
                text,
                "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{} <span class=\"pm\">{}</span></td><td>{}</td>\
                 <td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
                escape(&one.name),
                escape(name),
                thousands(scored.judged),
                scored.asked.samples,
                percent(pass.mean),
                pass.reach(),
                largest(scored.pass.iter().next_back().filter(|(k, _)| **k > 1)),
                largest(scored.majority.iter().next_back()),
                tokens(Some(scored.tokens)),
                tokens(scored.tokens_right),
                percent(scored.truncated),
            );
        }
    }
    text.push_str(
        "</tbody></table></div>\n<p class=\"small\">± is half of the 95% confidence interval over problems. Length in \
         tokens.</p>\n",
    );
    text
}

fn paired(evaluation: &Evaluation, names: &[&str]) -> String {
    let [first, second] = names else { return String::new() };
    let mut text = format!(
        "<h2>{} less {}</h2><div class=\"scroll\"><table><thead><tr><th>benchmark</th>\
         <th class=\"words\">difference</th></tr></thead><tbody>",
        escape(first),
        escape(second)
    );
    for one in &evaluation.benchmarks {
        let words = one.paired.as_ref().map_or_else(|| "no problem was judged for both".to_owned(), difference);
        let class = match &one.paired {
            Some(paired) if paired.p_value < 0.05 && paired.difference.mean > 0.0 => "words up",
            Some(paired) if paired.p_value < 0.05 => "words down",
            _ => "words",
        };
        let _ = write!(text, "<tr><td>{}</td><td class=\"{class}\">{}</td></tr>", escape(&one.name), escape(&words));
    }
    text.push_str(
        "</tbody></table></div>\n<p class=\"small\">On the problems that both were judged on. p is two-sided, of the \
         permutation of signs over problems; green or red where it is below 0.05.</p>\n",
    );
    text
}

/// pass@k and the majority of k over k, for each model.
fn chart(one: &BenchmarkResult, names: &[&str]) -> Chart {
    let mut series = Vec::new();
    for (name, scored) in names.iter().zip(&one.results) {
        let whose = |figure: &str| if names.len() > 1 { format!("{name}, {figure}") } else { figure.to_owned() };
        let points = |values: &mut dyn Iterator<Item = (&usize, &Estimate)>| -> Vec<Point> {
            values
                .map(|(k, value)| Point {
                    x: (*k as f64).log2(),
                    y: value.mean,
                    half_width: value.half_width.unwrap_or(0.0),
                })
                .collect()
        };
        let first = scored.pass.iter().filter(|(k, _)| **k == 1);
        series.push(Series { name: whose("pass@k"), points: points(&mut scored.pass.iter()), ..Series::default() });
        series.push(Series {
            name: whose("majority of k"),
            points: points(&mut first.chain(&scored.majority)),
            ..Series::default()
        });
    }
    // One answer makes no curve.
    series.retain(|series| series.points.len() > 1);
    Chart {
        title: one.name.clone().into(),
        note: "by the number of answers".into(),
        x_label: "k".into(),
        y_label: "right".into(),
        unit: Unit::Share,
        x_powers: true,
        from_zero: true,
        marks: Vec::new(),
        joined: false,
        series,
    }
}

fn examples(evaluation: &Evaluation, names: &[&str], rows: &[Vec<&[Answered]>]) -> String {
    let mut text = String::new();
    for (place, one) in evaluation.benchmarks.iter().enumerate() {
        for (name, of_model) in names.iter().zip(rows) {
            let Some(rows) = of_model.get(place) else { continue };
            let mut articles = String::new();
            for right in [true, false] {
                let fitting =
                    rows.iter().filter(|row| row.answers.first().is_some_and(|answer| answer.right == Some(right)));
                fitting.take(EXAMPLES).for_each(|row| article(&mut articles, row));
            }
            let _ = write!(
                text,
                "<details{}><summary>{}: {}</summary>{articles}</details>",
                if text.is_empty() { " open" } else { "" },
                escape(&one.name),
                escape(name)
            );
        }
    }
    text
}

fn article(text: &mut String, row: &Answered) {
    let Some(answer) = row.answers.first() else { return };
    let right = row.answers.iter().filter(|answer| answer.right == Some(true)).count();
    let (class, word) = if answer.right == Some(true) { ("full", "right") } else { ("none", "wrong") };
    let cause = answer.cause.as_deref();
    let cause = cause.map_or_else(String::new, |cause| format!(": {}", shortened(cause, SHOWN_OF_CAUSE)));
    let cut = if answer.truncated { ", cut off" } else { "" };
    let _ = write!(
        text,
        "<article><header><b>problem {}</b><span class=\"badge {class}\">{word}{}</span><span>{right} of {} answers right{}\
         {cut}</span></header><pre class=\"prompt\">{}</pre><pre>{}</pre></article>",
        row.problem + 1,
        escape(&cause),
        row.answers.len(),
        if answer.tokens > 0 {
            format!("; {}", counted(answer.tokens as usize, "token", "tokens"))
        } else {
            String::new()
        },
        escape(&shortened(&row.question, SHOWN)),
        escape(&shortened(answer.text.trim(), SHOWN))
    );
}

fn how(evaluation: &Evaluation, names: &[&str]) -> String {
    let mut text = String::from(
        "<div class=\"scroll\"><table><thead><tr><th>benchmark</th><th>model</th><th></th></tr></thead><tbody>",
    );
    let mut line = |first: &str, second: &str, words: &str| {
        let _ = write!(
            text,
            "<tr><td>{}</td><td>{}</td><td class=\"words\">{}</td></tr>",
            escape(first),
            escape(second),
            escape(words)
        );
    };
    for one in &evaluation.benchmarks {
        for (name, scored) in names.iter().zip(&one.results) {
            line(&one.name, name, &format!("{}. {}", settings(scored), wrong(scored)));
        }
    }
    for subject in &evaluation.models {
        line("model", &subject.name, &format!("{}, SHA-256 {}", subject.folder.display(), subject.fingerprint));
    }
    text.push_str("</tbody></table></div>\n");
    text
}

/// Why answers were not right.
fn wrong(scored: &Scored) -> String {
    let causes: Vec<String> =
        scored.causes.iter().map(|(cause, count)| format!("{cause} {}", thousands(*count))).collect();
    let hash = scored.asked.problems_sha256.as_ref().map_or_else(String::new, |hash| format!(" File: SHA-256 {hash}."));
    let causes = if causes.is_empty() { "none".to_owned() } else { causes.join(", ") };
    format!("Answers that are not right: {causes}.{hash}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluation::test_support::made_up;

    #[test]
    fn the_page_shows_the_figures_and_reads_nothing_as_html() {
        let (evaluation, rows) = made_up();
        let rows: Vec<Vec<&[Answered]>> = rows.iter().map(|of_model| vec![of_model.as_slice()]).collect();
        let page = render(&evaluation, &rows);
        for part in ["75.0%", "after less base", "4 samples each", "What is 0 &lt; 1?", "&lt;answer&gt; a", "<svg"] {
            assert!(page.contains(part), "{part} is missing");
        }
        assert!(!page.contains("<answer>") && !page.contains("NaN"));
    }
}
