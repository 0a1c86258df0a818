//! A report of a made-up run: everything that was measured is on the page, and nothing that a model
//! wrote is read as HTML.

use super::*;
use crate::alarms::{Alarm, Cause, RaisedAlarm};
use crate::config::find_shipped;
use crate::metrics::{
    Estimate, EvalMetrics, Extremes, FamilyEval, Lengths, MetricRow, PretrainMetrics, Spread, StepMetrics,
};
use crate::run::{RewardPart, RunInfo, StageRecord};
use crate::run::{RunStatus, RunSummary};

/// Noise that is the same every time.
fn noise(step: u64, channel: u64) -> f64 {
    let mixed = (step * 31 + channel * 17 + 7).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40;
    let unit = mixed as f64 / (1_u64 << 24) as f64;
    unit - 0.5
}

const FAMILIES: [(&str, f64, f64); 3] = [("arithmetic", 0.31, 0.93), ("countdown", 0.12, 0.44), ("python", 0.18, 0.71)];

fn eval(stage: &str, step: u64, quick: bool, progress: f64) -> EvalMetrics {
    let tasks = if quick { 64 } else { 500 };
    let half_width = if quick { 0.08 } else { 0.027 };
    let families = FAMILIES
        .iter()
        .map(|&(name, from, to)| {
            let mean = from + (to - from) * progress;
            let family = FamilyEval {
                tasks,
                samples: 8,
                sampled: Estimate { mean, half_width: Some(half_width) },
                greedy: (!quick).then_some(mean + 0.04),
                majority: (!quick).then_some(mean + 0.06),
                mean_length: 62.0 - 8.0 * progress,
                ..FamilyEval::default()
            };
            (name.to_owned(), family)
        })
        .collect();
    EvalMetrics { stage: stage.to_owned(), step, quick, families, ..EvalMetrics::default() }
}

fn step(step: u64, total: u64) -> StepMetrics {
    let progress = 1.0 - (-3.0 * step as f64 / total as f64).exp();
    let mut metrics = StepMetrics {
        stage: "grpo".to_owned(),
        step,
        reward: Spread { mean: 0.2 + 0.6 * progress + 0.1 * noise(step, 0), std: 0.3 },
        length: Lengths {
            mean: 62.0 - 8.0 * progress + 6.0 * noise(step, 1),
            max: 128,
            right_mean: Some(50.0 + 5.0 * noise(step, 2)),
            wrong_mean: Some(70.0 + 9.0 * noise(step, 3)),
        },
        truncated_share: 0.05 * (1.0 - progress),
        flat_groups_share: 0.2 + 0.4 * progress + 0.1 * noise(step, 4),
        entropy: Some(0.9 - 0.6 * progress + 0.05 * noise(step, 5)),
        repetition: 0.2 * progress,
        ratio: Extremes { min: 0.7 + 0.1 * noise(step, 12), max: 1.4 + 0.1 * noise(step, 13) },
        clip_low_fraction: 0.004 + 0.002 * noise(step, 14),
        clip_high_fraction: 0.006 + 0.004 * noise(step, 15),
        kl: Some(0.002 * (step % 100) as f64 + 0.01 * noise(step, 6).abs()),
        clip_fraction: 0.01 + 0.01 * noise(step, 7),
        logprob_difference_max: 2.4e-6,
        gradient_norm: 0.5 + 0.4 * noise(step, 8),
        max_vio: 0.4 + 0.3 * noise(step, 9) - 0.2 * progress,
        sampled_tokens: 31_000,
        ..StepMetrics::default()
    };
    metrics.reward_parts.insert("format".to_owned(), 0.8 + 0.2 * progress);
    metrics.reward_parts.insert("accuracy".to_owned(), 0.2 + 0.5 * progress + 0.1 * noise(step, 10));
    metrics.reward_correlation.insert("accuracy, format".to_owned(), 0.4 + 0.2 * noise(step, 16));
    for (index, (name, from, to)) in FAMILIES.iter().enumerate() {
        let share = from + (to - from) * progress + 0.12 * noise(step, 11 + index as u64);
        metrics.accuracy.insert((*name).to_owned(), share.clamp(0.0, 1.0));
    }
    metrics.time.add("sampling", 1.4 + 0.3 * noise(step, 20), 31_000);
    metrics.time.add("update", 1.9 + 0.3 * noise(step, 21), 45_000);
    metrics
}

fn completion(source: &str, task: &str, text: &str, score: f64) -> CompletionRecord {
    let part = |name: &str, score: f64, cause: Option<&str>| RewardPart {
        name: name.to_owned(),
        score: Some(score),
        cause: cause.map(str::to_owned),
    };
    CompletionRecord {
        task: task.to_owned(),
        source: source.to_owned(),
        prompt: format!("Use the numbers 3, 5 and 8 to make 16 (task {task})."),
        completion: text.to_owned(),
        reward: Some(score + 0.1),
        parts: vec![part("accuracy", score, (score < 1.0).then_some("13 is not 16")), part("format", 1.0, None)],
        tokens: 58,
        ..CompletionRecord::default()
    }
}

/// A finished run of made-up figures, in a folder.
fn made_up(root: &std::path::Path, steps: u64) -> (RunDir, crate::config::Recipe, RunSummary) {
    let recipe = find_shipped("r1-zero").unwrap().recipe(&[]).unwrap();
    let info = RunInfo::collect(0, 2, &[], &[], &[]).unwrap();
    let mut run = RunDir::create(root, None, &recipe, info).unwrap();
    for number in 1..=400 {
        let metrics = PretrainMetrics {
            stage: "pretrain".to_owned(),
            step: number,
            loss: 0.9 + 5.0 * (-(number as f64) / 60.0).exp() + 0.1 * noise(number, 30),
            ..PretrainMetrics::default()
        };
        run.push_metrics(&MetricRow::Pretrain(metrics)).unwrap();
    }
    run.push_metrics(&MetricRow::Eval(eval("before", 0, false, 0.0))).unwrap();
    for number in 1..=steps {
        run.push_metrics(&MetricRow::Step(step(number, steps))).unwrap();
        if number % 50 == 0 {
            let progress = 1.0 - (-3.0 * number as f64 / steps as f64).exp();
            run.push_metrics(&MetricRow::Eval(eval("grpo", number, true, progress))).unwrap();
        }
    }
    let after = eval("after", steps, false, 0.95);
    run.push_metrics(&MetricRow::Eval(after.clone())).unwrap();
    for (number, score) in [(1, 0.0), (steps, 1.0)] {
        let text = "<think> 3 + 5 = 8, 8 + 8 = 16 <script>alert('no')</script> </think> <answer> 3 + 5 + 8 </answer>";
        let records: Vec<CompletionRecord> = FAMILIES
            .iter()
            .flat_map(|(name, ..)| ["a", "a", "b", "c"].map(|task| completion(name, task, text, score)))
            .collect();
        run.write_completions("grpo", number, &records).unwrap();
    }
    let stage = |name: &str, seconds: f64, steps: u64| StageRecord {
        name: name.to_owned(),
        kind: name.to_owned(),
        steps,
        sampled_tokens: steps * 31_000,
        trained_tokens: steps * 45_000,
        seconds,
        flops: 4.2e12,
        ..StageRecord::default()
    };
    let summary = RunSummary {
        recipe: recipe.name.clone(),
        seed: 0,
        run_dir: run.path().to_owned(),
        status: RunStatus::Finished,
        stages: vec![stage("pretrain", 280.0, 400), stage("grpo", 390.0, steps)],
        unfinished: None,
        evaluations: vec![eval("before", 0, false, 0.0), after],
        best: Vec::new(),
        alarms: vec![RaisedAlarm {
            stage: "grpo".to_owned(),
            step: 12,
            alarm: Alarm {
                cause: Cause::CutOff,
                what: "answers are 120 tokens long on average, and 60% of them were cut off".to_owned(),
                advice: "a larger max_new_tokens; a base that ends its answers".to_owned(),
            },
        }],
        parameters: 1_520_000,
        active_parameters: 610_000,
        threads: 2,
        host_cores: 2,
        card: None,
    };
    (run, recipe, summary)
}

#[test]
fn the_page_holds_the_run_and_loads_nothing() {
    let root = tempfile::tempdir().unwrap();
    let (run, recipe, summary) = made_up(root.path(), 200);
    write(&run, &recipe, &summary).unwrap();
    let page = std::fs::read_to_string(run.path().join("report.html")).unwrap();
    assert_eq!(page.matches("<svg").count(), 14);
    for expected in [
        "from 20.3%",
        "countdown",
        "step 200",
        "learning_rate = ",
        "13 is not 16",
        "60% of them were cut off.",
        "a base that",
    ] {
        assert!(page.contains(expected), "{expected}");
    }
    // Model-written text is text.
    assert!(!page.contains("<script"));
    assert!(page.contains("&lt;script&gt;alert(&#39;no&#39;)"));
    // Nothing is loaded from anywhere.
    for loading in ["http:", "https:", "src=", "url(", "@import", "<link"] {
        assert!(!page.contains(loading), "{loading}");
    }
    assert!(!page.contains("NaN") && !page.contains("<!--#"));
    // Two tasks of each of three families, early and late.
    assert_eq!(page.matches("<article>").count(), 12);
    // To look at: a copy where the environment asks for one.
    if let Some(copy) = std::env::var_os("RECIPE_REPORT_COPY") {
        std::fs::write(copy, &page).unwrap();
    }
}

#[test]
fn a_long_cause_is_shown_by_its_beginning() {
    let mut record = completion("python", "a", "1", 0.0);
    record.parts[0].cause = Some("x".repeat(500));
    let step = ("step 1".to_owned(), vec![record]);
    let page = super::sections::completions(Some(&(step.clone(), step)));
    assert!(page.contains(&format!("accuracy 0: {}…<", "x".repeat(120))) && !page.contains(&"x".repeat(121)), "{page}");
}

/// Scores of a reward of one's own lie where they like.
#[test]
fn scores_are_shown_as_they_are() {
    #[track_caller]
    fn check(score: f64, expected: &str) {
        let mut record = completion("python", "a", "1", score);
        record.parts[0].cause = None;
        record.reward = Some(score);
        let step = ("step 1".to_owned(), vec![record]);
        let page = super::sections::completions(Some(&(step.clone(), step)));
        assert!(page.contains(expected), "{page}");
        assert!(!page.contains("-0<") && !page.contains("-0.00<"), "{page}");
    }
    check(1.0, "badge full\">accuracy 1<");
    check(1.5, "badge full\">accuracy 1.50<");
    check(0.25, "badge \">accuracy 0.25<");
    check(0.0, "badge none\">accuracy 0<");
    check(-0.0, "badge none\">accuracy 0<");
    check(-0.4, "badge none\">accuracy -0.40<");
    check(-0.001, "badge none\">accuracy 0.00<");
    check(-3.0, "badge none\">accuracy -3<");
}

#[test]
fn a_run_that_has_just_begun_has_a_page_too() {
    let root = tempfile::tempdir().unwrap();
    let recipe = find_shipped("smoke").unwrap().recipe(&[]).unwrap();
    let info = RunInfo::collect(0, 1, &[], &[], &[]).unwrap();
    let run = RunDir::create(root.path(), None, &recipe, info).unwrap();
    let summary = RunSummary {
        recipe: "smoke".to_owned(),
        seed: 0,
        run_dir: run.path().to_owned(),
        status: RunStatus::Interrupted { stage: "pretrain".to_owned(), step: 2 },
        stages: Vec::new(),
        unfinished: None,
        evaluations: Vec::new(),
        best: Vec::new(),
        alarms: Vec::new(),
        parameters: 0,
        active_parameters: 0,
        threads: 1,
        host_cores: 1,
        card: None,
    };
    let text = serde_json::to_string(&summary).unwrap();
    assert!(text.contains(r#""status":"interrupted","stage":"pretrain","step":2"#), "{text}");
    assert_eq!(serde_json::from_str::<RunSummary>(&text).unwrap(), summary);
    write(&run, &recipe, &summary).unwrap();
    let page = std::fs::read_to_string(run.path().join("report.html")).unwrap();
    assert!(page.contains("stopped in pretrain after step 2"));
    assert_eq!(page.matches("<svg").count(), 0);
}

#[test]
fn the_page_of_a_run_that_failed_says_why() {
    let root = tempfile::tempdir().unwrap();
    let (run, recipe, mut summary) = made_up(root.path(), 30);
    summary.status = RunStatus::Failed { why: "sample: the logits are <no numbers>".to_owned() };
    summary.stages.pop();
    summary.evaluations.pop();
    write(&run, &recipe, &summary).unwrap();
    let page = std::fs::read_to_string(run.path().join("report.html")).unwrap();
    let expected = "<b>The run failed:</b> sample: the logits are &lt;no numbers&gt;. This is what";
    assert!(page.contains(expected) && page.contains("<h2>Evaluation: before</h2>"), "{page}");
    assert!(page.matches("<svg").count() > 10);
}

#[test]
fn the_table_of_a_run() {
    let root = tempfile::tempdir().unwrap();
    let (_, _, mut summary) = made_up(root.path(), 3);
    summary.run_dir = "runs/r1-zero".into();
    let text = crate::table::render(&summary);
    let expected = "
                          pass@1, sampled            greedy      majority of 8       length
family        tasks        before         after  before   after  before   after  before   after
───────────────────────────────────────────────────────────────────────────────────────────────
arithmetic      500    31.0% ±2.7    89.9% ±2.7   35.0%   93.9%   37.0%   95.9%    62.0    54.4
countdown       500    12.0% ±2.7    42.4% ±2.7   16.0%   46.4%   18.0%   48.4%    62.0    54.4
python          500    18.0% ±2.7    68.3% ±2.7   22.0%   72.4%   24.0%   74.4%    62.0    54.4
───────────────────────────────────────────────────────────────────────────────────────────────
mean                   20.3% ±1.6    66.9% ±1.6   24.3%   70.9%   26.3%   72.9%    62.0    54.4
held-out tasks; ± is half of the 95% confidence interval over tasks; length in tokens

stage           steps    sampled    trained          time       FLOPs
pretrain          400      12.4M      18.0M    4 min 40 s      4.2e12
grpo                3      93.0K     135.0K    6 min 30 s      4.2e12

r1-zero, seed 0: 11 min 10 s in its stages, about 8.4e12 FLOPs, 2 threads on 2 cores
1.5M parameters, 610.0K used for each token
look: grpo, step 12: answers are 120 tokens long on average, and 60% of them were cut off
report: runs/r1-zero/report.html
";
    assert_eq!(text, expected, "{text}");
    let width = text.lines().map(|line| line.chars().count()).max();
    assert!(width <= Some(100), "{width:?}");

    (summary.threads, summary.host_cores) = (1, 1);
    let text = crate::table::render(&summary);
    assert!(text.contains("FLOPs, 1 thread on 1 core\n"), "{text}");
    summary.card = Some("NVIDIA H100".to_owned());
    let text = crate::table::render(&summary);
    assert!(text.contains("FLOPs, 1 thread on 1 core, NVIDIA H100\n"), "{text}");
    let tiles = super::sections::tiles(&summary, &[]);
    assert!(tiles.contains("<span>1 thread on 1 core, NVIDIA H100</span>"), "{tiles}");
    summary.stages.iter_mut().for_each(|stage| stage.flops = 0.0);
    let text = crate::table::render(&summary);
    assert!(text.contains("11 min 10 s in its stages, 1 thread on 1 core, NVIDIA H100\n"), "{text}");
}

#[test]
fn one_evaluation_stands_under_its_own_name() {
    let root = tempfile::tempdir().unwrap();
    let (_, _, mut summary) = made_up(root.path(), 3);
    summary.evaluations.truncate(1);
    summary.status = RunStatus::Interrupted { stage: "grpo".to_owned(), step: 2 };
    summary.unfinished = summary.stages.pop();
    let text = crate::table::render(&summary);
    let expected = "
before, the only evaluation so far

family        tasks  pass@1, sampled  greedy  majority of 8  length
───────────────────────────────────────────────────────────────────
arithmetic      500       31.0% ±2.7   35.0%          37.0%    62.0
countdown       500       12.0% ±2.7   16.0%          18.0%    62.0
python          500       18.0% ±2.7   22.0%          24.0%    62.0
───────────────────────────────────────────────────────────────────
mean                      20.3% ±1.6   24.3%          26.3%    62.0
held-out tasks; ± is half of the 95% confidence interval over tasks; length in tokens
";
    assert!(text.starts_with(expected) && !text.contains("after"), "{text}");
    let page = super::sections::table(&summary);
    assert!(page.contains("<h2>Evaluation: before</h2>") && !page.contains("after"), "{page}");
    assert!(!page.contains("<td>–</td>") && page.contains("<td>24.3%</td><td>26.3%</td><td>62.0</td>"), "{page}");
    summary.status = RunStatus::Finished;
    assert!(crate::table::render(&summary).starts_with("\nbefore, the only evaluation\n"));
}

#[test]
fn each_evaluation_has_a_row_where_there_are_several() {
    let root = tempfile::tempdir().unwrap();
    let (_, _, mut summary) = made_up(root.path(), 3);
    let readable = |stage: &str, share: f64| {
        let mut eval = eval(stage, 0, false, share);
        for family in eval.families.values_mut() {
            family.rewards.insert("language_consistency".to_owned(), share);
        }
        eval
    };
    summary.evaluations =
        vec![eval("before", 0, false, 0.0), readable("after-cold-start", 0.5), readable("after", 1.0)];
    let text = crate::table::render(&summary);
    let expected = "
pass@1            arithmetic  countdown  python    mean  language_consistency
before                 31.0%      12.0%   18.0%   20.3%                     -
after-cold-start       62.0%      28.0%   44.5%   44.8%                  0.50
after                  93.0%      44.0%   71.0%   69.3%                  1.00
";
    assert!(text.contains(expected), "{text}");
    let page = super::sections::each_evaluation(&summary);
    assert!(page.contains("<th>language consistency</th>") && page.contains("<td>–</td></tr><tr>"), "{page}");
    assert!(page.contains("<td>after</td>") && page.ends_with("<td>1.000</td></tr></tbody></table></div>\n"), "{page}");
}
