//! From the rows of `metrics.jsonl` to the charts of the report.

use std::collections::BTreeMap;

use serde_json::Value;

use super::scale::Unit;
use super::svg::{Chart, Mark, Point, Series};

/// Rows of several grpo stages follow each other on one axis of steps.
struct Rows<'a> {
    steps: Vec<(f64, &'a Value)>,
    evals: Vec<(f64, &'a Value)>,
    pretrain: Vec<(f64, &'a Value)>,
    sft: Vec<(f64, &'a Value)>,
    /// Where each grpo stage begins.
    stages: Vec<Mark>,
}

impl<'a> Rows<'a> {
    fn sort(rows: &'a [Value]) -> Rows<'a> {
        let mut sorted =
            Rows { steps: Vec::new(), evals: Vec::new(), pretrain: Vec::new(), sft: Vec::new(), stages: Vec::new() };
        let mut stage = None;
        let mut before = 0.0;
        let mut last = 0.0;
        for row in rows {
            let step = row["step"].as_f64().unwrap_or(0.0);
            match row["kind"].as_str() {
                Some("step") => {
                    let name = row["stage"].as_str().unwrap_or("");
                    if stage != Some(name) {
                        stage = Some(name);
                        before = last;
                        sorted.stages.push(Mark { after: before, name: name.to_owned() });
                    }
                    last = before + step;
                    sorted.steps.push((last, row));
                }
                // An evaluation stands where it was made, whatever its own count of steps is.
                Some("eval") => sorted.evals.push((last, row)),
                Some("pretrain") => sorted.pretrain.push((step, row)),
                Some("sft") => sorted.sft.push((step, row)),
                _ => {}
            }
        }
        sorted
    }
}

/// The number at a path such as `reward.mean`.
fn at(row: &Value, path: &str) -> Option<f64> {
    path.split('.').try_fold(row, |value, key| value.get(key))?.as_f64()
}

fn line(name: &str, rows: &[(f64, &Value)], path: &str) -> Series {
    let points = rows.iter().filter_map(|(x, row)| Some(Point { x: *x, y: at(row, path)?, half_width: 0.0 })).collect();
    Series { name: name.to_owned(), points, breaks: Vec::new() }
}

/// One line for each key of the table at the path; of each, the number at `inner`, and at
/// `half_width` how far its interval reaches.
fn lines(rows: &[(f64, &Value)], path: &str, inner: &str, half_width: &str) -> Vec<Series> {
    let mut series: BTreeMap<String, Vec<Point>> = BTreeMap::new();
    for (x, row) in rows {
        let table = path.split('.').try_fold(*row, |value, key| value.get(key));
        for (name, value) in table.and_then(Value::as_object).into_iter().flatten() {
            let number = |path: &str| if path.is_empty() { value.as_f64() } else { at(value, path) };
            if let Some(y) = number(inner) {
                let half_width = if half_width.is_empty() { None } else { number(half_width) };
                let point = Point { x: *x, y, half_width: half_width.unwrap_or(0.0) };
                series.entry(name.clone()).or_default().push(point);
            }
        }
    }
    series.into_iter().map(|(name, points)| Series { name, points, breaks: Vec::new() }).collect()
}

/// The loss and the validation loss of each stage.
fn by_stage(rows: &[(f64, &Value)]) -> Vec<Series> {
    let mut stages: Vec<&str> = rows.iter().filter_map(|(_, row)| row["stage"].as_str()).collect();
    stages.dedup();
    let of_stage =
        |stage: &str| -> Vec<(f64, &Value)> { rows.iter().filter(|(_, row)| row["stage"] == stage).copied().collect() };
    let both = |stage: &&str| {
        let rows = of_stage(stage);
        [line(stage, &rows, "loss"), line(&format!("{stage}, set aside"), &rows, "validation_loss")]
    };
    stages.iter().flat_map(both).filter(|series| !series.points.is_empty()).collect()
}

/// Every chart of the report, in the order of reading. Those without points are left out when they
/// are drawn.
pub(super) fn charts(rows: &[Value]) -> Vec<Chart> {
    let rows = Rows::sort(rows);
    // Over the steps of all grpo stages. Of one stage there is nothing to tell apart.
    let marks = if rows.stages.len() > 1 { rows.stages.clone() } else { Vec::new() };
    let breaks: Vec<f64> = marks.iter().map(|mark| mark.after).collect();
    let over_stages = |chart: Chart| Chart {
        marks: marks.clone(),
        series: chart.series.into_iter().map(|series| Series { breaks: breaks.clone(), ..series }).collect(),
        ..chart
    };
    let of_steps = [of_answers(&rows.steps), of_updates(&rows.steps), of_causes(&rows.steps)].into_iter().flatten();
    let over_steps = [of_held_out(&rows.evals)].into_iter().chain(of_steps).map(over_stages);
    over_steps.chain(of_losses(&rows.sft, &rows.pretrain)).collect()
}

fn chart(title: &'static str, note: &'static str, y_label: &'static str, unit: Unit, series: Vec<Series>) -> Chart {
    Chart {
        title: title.into(),
        note: note.into(),
        x_label: "step".into(),
        y_label: y_label.into(),
        unit,
        x_powers: false,
        from_zero: true,
        marks: Vec::new(),
        joined: false,
        series: series.into_iter().filter(|series| !series.points.is_empty()).collect(),
    }
}

fn of_held_out(evals: &[(f64, &Value)]) -> Chart {
    Chart {
        // Tasks of the same families each time, though quick evaluations ask others and fewer: the line goes on from stage to
        // stage, also where it jumps.
        joined: true,
        ..chart(
            "Held-out pass@1",
            "tasks that are never trained on; bars are 95% confidence intervals",
            "right",
            Unit::Share,
            lines(evals, "families", "sampled.mean", "sampled.half_width"),
        )
    }
}

/// What the policy answers.
fn of_answers(steps: &[(f64, &Value)]) -> [Chart; 4] {
    let mut reward = vec![line("total", steps, "reward.mean")];
    reward.extend(lines(steps, "reward_parts", "", ""));
    [
        chart("Reward", "the weighted sum and its parts, on training tasks", "reward", Unit::Number, reward),
        chart(
            "Right answers",
            "of each family's completions, on training tasks",
            "right",
            Unit::Share,
            lines(steps, "accuracy", "", ""),
        ),
        chart(
            "Length",
            "tokens of a completion: all, the right and the wrong ones",
            "tokens",
            Unit::Number,
            vec![
                line("all", steps, "length.mean"),
                line("right", steps, "length.right_mean"),
                line("wrong", steps, "length.wrong_mean"),
            ],
        ),
        chart(
            "Entropy",
            "how undecided the policy is, over all completions; near 0 it no longer explores",
            "nats per token",
            Unit::Number,
            vec![line("entropy", steps, "entropy")],
        ),
    ]
}

/// What it learns from, and how far it moves.
fn of_updates(steps: &[(f64, &Value)]) -> [Chart; 4] {
    [
        chart(
            "Divergence from the reference",
            "estimate, of the tokens that were trained on; it falls back where the reference is replaced",
            "nats per token",
            Unit::Number,
            vec![line("kl", steps, "kl")],
        ),
        chart(
            "Groups, cuts and repetition",
            "groups whose rewards are all equal teach nothing",
            "share",
            Unit::Share,
            vec![
                line("completions trained on", steps, "trained_share"),
                line("groups without variance", steps, "flat_groups_share"),
                line("completions cut off", steps, "truncated_share"),
                line("runs of tokens repeated", steps, "repetition"),
            ],
        ),
        chart(
            "Clipped tokens",
            "of those trained on, whose probability ratio left the range: below where they did worse, above where they did \
             better; dual: far above where they did worse",
            "share",
            Unit::Share,
            vec![
                line("below", steps, "clip_low_fraction"),
                line("above", steps, "clip_high_fraction"),
                line("dual", steps, "clip_dual_fraction"),
            ],
        ),
        chart(
            "Probability ratio",
            "the policy's against the one that sampled, of the tokens trained on: the smallest and the largest of a step",
            "ratio",
            Unit::Number,
            vec![line("largest", steps, "ratio.max"), line("smallest", steps, "ratio.min")],
        ),
    ]
}

/// What is looked at where the others are odd.
fn of_causes(steps: &[(f64, &Value)]) -> [Chart; 4] {
    [
        chart(
            "Parts of the reward, two by two",
            "how they go together: near 1 one says nothing new, below 0 they pull against each other",
            "correlation",
            Unit::Number,
            lines(steps, "reward_correlation", "", ""),
        ),
        chart("Gradient norm", "before clipping", "norm", Unit::Number, vec![line("norm", steps, "gradient_norm")]),
        chart(
            "Expert load",
            "MaxVio: the busiest expert's load over the mean, less 1; 0 is balance",
            "MaxVio",
            Unit::Number,
            vec![line("max_vio", steps, "max_vio")],
        ),
        chart(
            "Speed",
            "of each phase",
            "tokens per second",
            Unit::Number,
            lines(steps, "time.phases", "tokens_per_second", ""),
        ),
    ]
}

/// The losses of the stages that learn from texts.
fn of_losses(sft: &[(f64, &Value)], pretrain: &[(f64, &Value)]) -> [Chart; 2] {
    [
        Chart {
            from_zero: false,
            ..chart(
                "Loss on demonstrations",
                "of each sft or distill stage, on the answers' tokens; and on those that were set aside",
                "nats per token",
                Unit::Number,
                by_stage(sft),
            )
        },
        Chart {
            from_zero: false,
            ..chart("The base's loss", "while it was pretrained", "nats per token", Unit::Number, by_stage(pretrain))
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evaluations_stand_where_they_were_made() {
        let rows: Vec<Value> = [
            r#"{"kind":"eval","stage":"before","step":0,"families":{"a":{"sampled":{"mean":0.1,"half_width":0.02}}}}"#,
            r#"{"kind":"step","stage":"one","step":1,"entropy":1.5}"#,
            r#"{"kind":"step","stage":"one","step":2,"entropy":null}"#,
            r#"{"kind":"step","stage":"two","step":1,"entropy":0.5}"#,
            r#"{"kind":"eval","stage":"after","step":1,"families":{"a":{"sampled":{"mean":0.6,"half_width":0.03}}}}"#,
        ]
        .iter()
        .map(|row| serde_json::from_str(row).unwrap())
        .collect();
        let charts = charts(&rows);
        let find = |title: &str| charts.iter().find(|chart| chart.title == title).unwrap();
        let expected = [Point { x: 0.0, y: 0.1, half_width: 0.02 }, Point { x: 3.0, y: 0.6, half_width: 0.03 }];
        assert_eq!(find("Held-out pass@1").series[0].points, expected);
        let places: Vec<f64> = find("Entropy").series[0].points.iter().map(|point| point.x).collect();
        assert_eq!(places, [1.0, 3.0]);
        assert!(find("Divergence from the reference").series.is_empty());

        // Two stages: a mark where each begins, at which lines of steps break and those of evaluations do not.
        let marks: Vec<(f64, &str)> = find("Entropy").marks.iter().map(|mark| (mark.after, &*mark.name)).collect();
        assert_eq!(marks, [(0.0, "one"), (2.0, "two")]);
        assert_eq!(find("Entropy").series[0].breaks, [0.0, 2.0]);
        let held_out = find("Held-out pass@1");
        assert!(held_out.joined && held_out.marks.len() == 2 && !find("Entropy").joined);
        assert!(find("The base's loss").marks.is_empty());
        // Of one stage there is nothing to mark.
        let charts = super::charts(&rows[..3]);
        assert!(charts.iter().all(|chart| chart.marks.is_empty()));
        assert!(charts.iter().flat_map(|chart| &chart.series).all(|series| series.breaks.is_empty()));
    }
}
