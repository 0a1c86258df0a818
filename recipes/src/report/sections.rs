//! The parts of the report that are words and tables.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use serde_json::Value;

use super::StepCompletions;
use super::html::{escape, shortened};
use crate::metrics::{Estimate, EvalMetrics};
use crate::progress::duration_text;
use crate::run::{CompletionRecord, RunInfo};
use crate::run::{RunStatus, RunSummary};
use crate::table::count_text;
use crate::wording::counted;

/// Completions shown of each family, for each of early and late.
const SHOWN_PER_SOURCE: usize = 2;
/// Characters of a completion that are shown.
const SHOWN_CHARACTERS: usize = 3000;
/// Characters of what a reward says of a completion that are shown: a program's error may go on for pages.
pub(super) const SHOWN_OF_CAUSE: usize = 120;

fn percent(share: f64) -> String {
    format!("{:.1}%", share * 100.0)
}

/// What a reader must know first: that the run is not at its end, and what looked like a collapse.
pub(super) fn notice(summary: &RunSummary) -> String {
    let mut text = match &summary.status {
        RunStatus::Finished => String::new(),
        RunStatus::StoppedAfter { stage } => {
            format!("<p class=\"notice\">The run was to do its stages up to {}.</p>", escape(stage))
        }
        RunStatus::Interrupted { stage, step } => format!(
            "<p class=\"notice\">The run was stopped in {} after step {step}: this is what there \
             was until then.</p>",
            escape(stage)
        ),
        RunStatus::Failed { why } => {
            format!(
                "<p class=\"notice\"><b>The run failed:</b> {}. This is what there was until then.</p>",
                escape(why)
            )
        }
    };
    for raised in &summary.alarms {
        let _ = write!(
            text,
            "<p class=\"notice\"><b>{}, step {}:</b> {}.<br><span class=\"small\">What to try: {}.</span></p>",
            escape(&raised.stage),
            raised.step,
            escape(&raised.alarm.what),
            escape(&raised.alarm.advice)
        );
    }
    text
}

/// The figures that matter, large.
pub(super) fn tiles(summary: &RunSummary, rows: &[Value]) -> String {
    let mut tiles = String::new();
    let mut tile = |value: &str, small: &str, label: &str| {
        let _ = write!(
            tiles,
            "<div class=\"tile\"><b>{} <small>{}</small></b><span>{}</span></div>",
            escape(value),
            escape(small),
            escape(label)
        );
    };
    if let Some((before, after)) = summary.before_and_after() {
        let (old, new) = (before.sampled(), after.sampled());
        let from = format!("from {}", percent(old.mean));
        tile(&percent(new.mean), &from, "held-out pass@1, sampled");
        if let (Some(old), Some(new)) = (before.greedy(), after.greedy()) {
            tile(&percent(new), &format!("from {}", percent(old)), "held-out pass@1, greedy");
        }
        let from = format!("from {:.0}", before.mean_length());
        tile(&format!("{:.0}", after.mean_length()), &from, "tokens of an answer");
    } else if let Some(only) = summary.evaluations.last() {
        let value = only.sampled();
        tile(&percent(value.mean), &value.reach(), &format!("held-out pass@1 ({})", only.stage));
    }
    let seconds: f64 = summary.stages_begun().map(|stage| stage.seconds).sum();
    if seconds > 0.0 {
        let card = summary.card.as_ref().map_or_else(String::new, |card| format!(", {card}"));
        let threads = counted(summary.threads, "thread", "threads");
        let cores = format!("{threads} on {}{card}", counted(summary.host_cores, "core", "cores"));
        tile(&duration_text(seconds), "", &cores);
    }
    let sampled: u64 = rows.iter().filter_map(|row| row["sampled_tokens"].as_u64()).sum();
    if sampled > 0 {
        tile(&count_text(sampled), "", "tokens sampled in training");
    }
    if summary.parameters > 0 {
        let used = format!("parameters, {} used for each token", count_text(summary.active_parameters));
        tile(&count_text(summary.parameters), "", &used);
    }
    let difference = rows.iter().filter_map(|row| row["logprob_difference_max"].as_f64()).fold(0.0, f64::max);
    if difference > 0.0 {
        tile(&format!("{difference:.1e}"), "", "largest log-probability difference, sampling against training");
    }
    tiles
}

/// Before and after, family by family.
pub(super) fn table(summary: &RunSummary) -> String {
    let (before, after) = match (summary.before_and_after(), summary.evaluations.last()) {
        (Some(pair), _) => pair,
        (None, Some(only)) => return one_evaluation(only),
        (None, None) => return String::new(),
    };
    let samples = after.families.values().map(|family| family.samples).max().unwrap_or(0);
    let mut text = format!(
        "<h2>Before and after</h2>\n<div class=\"scroll\"><table><thead><tr><th></th><th></th>\
         <th colspan=\"2\">pass@1, sampled</th><th colspan=\"2\">greedy</th>\
         <th colspan=\"2\">majority of {samples}</th><th colspan=\"2\">length</th></tr><tr>\
         <th>family</th><th>tasks</th>"
    );
    text.push_str(&"<th>before</th><th>after</th>".repeat(4));
    text.push_str("</tr></thead><tbody>");
    let mut names: Vec<&String> = before.families.keys().chain(after.families.keys()).collect();
    names.sort();
    names.dedup();
    for name in &names {
        let (old, new) = (before.families.get(*name), after.families.get(*name));
        let tasks = new.or(old).map_or(0, |family| family.tasks).to_string();
        let _ = write!(text, "<tr><td>{}</td><td>{tasks}</td>", escape(name));
        pair(&mut text, old.map(|family| family.sampled), new.map(|family| family.sampled));
        shares(&mut text, &[old, new].map(|family| family.and_then(|family| family.greedy)));
        shares(&mut text, &[old, new].map(|family| family.and_then(|family| family.majority)));
        lengths(&mut text, &[old, new].map(|family| family.map(|family| family.mean_length)));
        text.push_str("</tr>");
    }
    if names.len() > 1 {
        let known = |eval: &EvalMetrics| !eval.families.is_empty();
        text.push_str("<tr class=\"mean\"><td>mean</td><td></td>");
        pair(&mut text, known(before).then(|| before.sampled()), known(after).then(|| after.sampled()));
        shares(&mut text, &[before.greedy(), after.greedy()]);
        shares(&mut text, &[before.majority(), after.majority()]);
        lengths(&mut text, &[before, after].map(|eval| known(eval).then(|| eval.mean_length())));
        text.push_str("</tr>");
    }
    text.push_str(
        "</tbody></table></div>\n<p class=\"small\">Held-out tasks. pass@1 is the mean over tasks of \
         the share of right samples, ± half of its 95% confidence interval over tasks; it is green \
         or red where the intervals of before and after do not meet. Length in tokens.</p>\n",
    );
    text
}

/// Family by family, where there is one evaluation: it may be the one before or the one after.
fn one_evaluation(only: &EvalMetrics) -> String {
    let samples = only.families.values().map(|family| family.samples).max().unwrap_or(0);
    let mut text = format!(
        "<h2>Evaluation: {}</h2>\n<div class=\"scroll\"><table><thead><tr><th>family</th><th>tasks</th>\
         <th>pass@1, sampled</th><th>greedy</th><th>majority of {samples}</th><th>length</th></tr></thead><tbody>",
        escape(&only.stage)
    );
    for (name, family) in &only.families {
        let _ = write!(text, "<tr><td>{}</td><td>{}</td>", escape(name), family.tasks);
        text.push_str(&cell(Some(family.sampled), ""));
        shares(&mut text, &[family.greedy, family.majority]);
        lengths(&mut text, &[Some(family.mean_length)]);
        text.push_str("</tr>");
    }
    if only.families.len() > 1 {
        text.push_str("<tr class=\"mean\"><td>mean</td><td></td>");
        text.push_str(&cell(Some(only.sampled()), ""));
        shares(&mut text, &[only.greedy(), only.majority()]);
        lengths(&mut text, &[Some(only.mean_length())]);
        text.push_str("</tr>");
    }
    text.push_str(
        "</tbody></table></div>\n<p class=\"small\">Held-out tasks. pass@1 is the mean over tasks of the share of right \
         samples, ± half of its 95% confidence interval over tasks. Length in tokens.</p>\n",
    );
    text
}

/// pass@1 of each evaluation, where there are more than before and after.
pub(super) fn each_evaluation(summary: &RunSummary) -> String {
    if summary.evaluations.len() < 3 {
        return String::new();
    }
    let mut names: Vec<&String> = summary.evaluations.iter().flat_map(|eval| eval.families.keys()).collect();
    names.sort();
    names.dedup();
    let mut text =
        String::from("<h2>After each stage</h2>\n<div class=\"scroll\"><table><thead><tr><th>pass@1, sampled</th>");
    let scores: Vec<BTreeMap<String, f64>> = summary.evaluations.iter().map(EvalMetrics::rewards).collect();
    let rewards: BTreeSet<&String> = scores.iter().flat_map(BTreeMap::keys).collect();
    let columns = names.iter().map(|name| name.as_str()).chain(["mean"]);
    for name in columns.chain(rewards.iter().map(|name| name.as_str())) {
        let _ = write!(text, "<th>{}</th>", escape(&name.replace('_', " ")));
    }
    text.push_str("</tr></thead><tbody>");
    for (eval, scores) in summary.evaluations.iter().zip(&scores) {
        let _ = write!(text, "<tr><td>{}</td>", escape(&eval.stage));
        let families = names.iter().map(|name| eval.families.get(*name).map(|family| family.sampled));
        for estimate in families.chain([Some(eval.sampled())]) {
            text.push_str(&cell(estimate, ""));
        }
        for name in &rewards {
            let score = scores.get(*name).map_or_else(|| "–".to_owned(), |score| format!("{score:.3}"));
            let _ = write!(text, "<td>{score}</td>");
        }
        text.push_str("</tr>");
    }
    text.push_str("</tbody></table></div>\n");
    text
}

fn pair(text: &mut String, before: Option<Estimate>, after: Option<Estimate>) {
    let apart = |old: Estimate, new: Estimate| Some((new.mean - old.mean).abs() > old.half_width? + new.half_width?);
    let class = match (before, after) {
        (Some(old), Some(new)) if apart(old, new) == Some(true) => {
            if new.mean > old.mean {
                "up"
            } else {
                "down"
            }
        }
        _ => "",
    };
    text.push_str(&cell(before, ""));
    text.push_str(&cell(after, class));
}

/// An estimate with its reach.
fn cell(estimate: Option<Estimate>, class: &str) -> String {
    match estimate {
        None => "<td>–</td>".to_owned(),
        Some(value) => {
            format!("<td class=\"{class}\">{} <span class=\"pm\">{}</span></td>", percent(value.mean), value.reach())
        }
    }
}

fn shares(text: &mut String, values: &[Option<f64>]) {
    for value in values {
        let _ = write!(text, "<td>{}</td>", value.map_or_else(|| "–".to_owned(), percent));
    }
}

fn lengths(text: &mut String, values: &[Option<f64>]) {
    for value in values {
        let value = value.map_or_else(|| "–".to_owned(), |value| format!("{value:.1}"));
        let _ = write!(text, "<td>{value}</td>");
    }
}

/// What the policy wrote in the first and in the last step.
pub(super) fn completions(early_and_late: Option<&(StepCompletions, StepCompletions)>) -> String {
    let Some((early, late)) = early_and_late else { return String::new() };
    let mut text = String::from(
        "<h2>What it writes</h2>\n<p class=\"small\">The first completions of each family in the \
         first and in the last step: not chosen by their scores.</p>\n<div class=\"pair\">",
    );
    for (name, (step, completions)) in [("Early", early), ("Late", late)] {
        let _ = write!(text, "<section><h3>{name}: {}</h3>", escape(step));
        for completion in shown(completions) {
            article(&mut text, completion);
        }
        text.push_str("</section>");
    }
    text.push_str("</div>\n");
    text
}

/// The first completion of each of the first tasks, family by family.
fn shown(completions: &[CompletionRecord]) -> Vec<&CompletionRecord> {
    let mut by_source: BTreeMap<&str, Vec<&CompletionRecord>> = BTreeMap::new();
    for completion in completions {
        let of_source = by_source.entry(&completion.source).or_default();
        let new_task = of_source.iter().all(|other| other.task != completion.task);
        if new_task && of_source.len() < SHOWN_PER_SOURCE {
            of_source.push(completion);
        }
    }
    by_source.into_values().flatten().collect()
}

/// A number with so many decimals, without the sign of what is rounded to zero.
fn rounded(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    match text.strip_prefix('-') {
        Some(digits) if digits.parse() == Ok(0.0) => digits.to_owned(),
        _ => text,
    }
}

fn article(text: &mut String, completion: &CompletionRecord) {
    let reward = completion.reward.map(|reward| format!("reward {}", rounded(reward, 2)));
    let reward = reward.unwrap_or_else(|| "not scored".to_owned());
    let _ = write!(text, "<article><header><b>{}</b><span class=\"badge\">{reward}</span>", escape(&completion.source));
    for part in &completion.parts {
        let class = match part.score {
            Some(1.0..) => "full",
            Some(..=0.0) => "none",
            _ => "",
        };
        // Rewards of one's own need not lie between 0 and 1.
        let score = part.score.map(|score| rounded(score, if score.fract() == 0.0 { 0 } else { 2 }));
        let score = score.unwrap_or_else(|| "–".to_owned());
        let cause = part.cause.as_deref();
        let cause = cause.map_or_else(String::new, |cause| format!(": {}", shortened(cause, SHOWN_OF_CAUSE)));
        let label = format!("{} {score}{cause}", part.name);
        let _ = write!(text, "<span class=\"badge {class}\">{}</span>", escape(&label));
    }
    let cut = if completion.truncated { ", cut off" } else { "" };
    let _ = write!(
        text,
        "<span>{}{cut}</span></header><pre class=\"prompt\">{}</pre><pre>{}</pre></article>",
        counted(completion.tokens as usize, "token", "tokens"),
        escape(&shortened(&completion.prompt, SHOWN_CHARACTERS)),
        escape(&shortened(completion.completion.trim(), SHOWN_CHARACTERS))
    );
}

/// What each stage took.
pub(super) fn stages(summary: &RunSummary) -> String {
    if summary.stages_begun().next().is_none() {
        return String::new();
    }
    let mut text = String::from(
        "<div class=\"scroll\"><table><thead><tr><th>stage</th><th>steps</th><th>tokens sampled</th>\
         <th>tokens trained</th><th>time</th><th>FLOPs, estimated</th></tr></thead><tbody>",
    );
    for stage in summary.stages_begun() {
        let note = stage.note.as_deref().map_or_else(String::new, |note| format!(" ({note})"));
        let flops = if stage.flops > 0.0 { format!("{:.1e}", stage.flops) } else { "–".to_owned() };
        let _ = write!(
            text,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{flops}</td></tr>",
            escape(&format!("{}{note}", stage.name)),
            stage.steps,
            count_text(stage.sampled_tokens),
            count_text(stage.trained_tokens),
            duration_text(stage.seconds)
        );
    }
    text.push_str("</tbody></table></div>\n");
    text
}

/// The best checkpoint of each grpo stage, by its quick evaluations.
pub(super) fn best(summary: &RunSummary) -> String {
    let mut text = String::new();
    for best in &summary.best {
        let folder = best.folder.strip_prefix(&summary.run_dir).unwrap_or(&best.folder).display().to_string();
        let _ = writeln!(
            text,
            "<p class=\"small\">The best checkpoint of {} is that of step {}, with {} in a quick evaluation: {}{}. It is the \
             best of {}, on few tasks with one answer each, and so it flatters.</p>",
            escape(&best.stage),
            best.step,
            best.sampled,
            escape(&folder),
            if best.handed_on { ", which later stages begin with" } else { "" },
            best.of
        );
    }
    text
}

/// What stages of kind `reject` kept and dropped, and why.
pub(super) fn rejected(rows: &[Value]) -> String {
    let mut stages: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    let mut order = Vec::new();
    for row in rows.iter().filter(|row| row["kind"] == "reject") {
        let Some(stage) = row["stage"].as_str() else { continue };
        if !stages.contains_key(stage) {
            order.push(stage);
        }
        stages.entry(stage).or_default().push(row);
    }
    if order.is_empty() {
        return String::new();
    }
    let mut text = String::from(
        "<h2>Answers kept and dropped</h2>\n<div class=\"scroll\"><table><thead><tr><th>stage</th><th>tasks</th>\
         <th>answers</th><th>kept</th><th>dropped, by the first reason that applied</th></tr></thead><tbody>",
    );
    for stage in order {
        let rows = &stages[stage];
        let sum = |key: &str| rows.iter().filter_map(|row| row[key].as_u64()).sum::<u64>();
        let counts = |key: &str| {
            let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
            for (name, count) in rows.iter().filter_map(|row| row[key].as_object()).flatten() {
                *counts.entry(name).or_default() += count.as_u64().unwrap_or(0);
            }
            let counts: Vec<String> = counts.iter().map(|(name, count)| format!("{name} {count}")).collect();
            counts.join(", ")
        };
        let _ = write!(
            text,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            escape(stage),
            sum("tasks"),
            sum("answers"),
            escape(&counts("kept")),
            escape(&counts("dropped"))
        );
    }
    text.push_str("</tbody></table></div>\n");
    text
}

/// Version and machine.
pub(super) fn footer(info: &RunInfo) -> String {
    let card = info.card.as_ref().map_or_else(String::new, |card| format!(", {card}"));
    let makers: Vec<String> = info.makers().map(ToString::to_string).collect();
    escape(&format!(
        "{}; {}, {} on {}{card}",
        makers.join(", then "),
        info.host,
        counted(info.threads, "thread", "threads"),
        counted(info.host_cores, "core", "cores")
    ))
}
