//! `recipe reward validate`: a reward against the reference answers of a task file, without a model.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use datasets::{OnBadLine, Task};
use rayon::prelude::*;
use rewards::{Reference, Registry, RewardError, RewardSet, Sample, Score};
use serde::Serialize;

use super::{RewardOptions, build};
use crate::command::out::{check_out, write_results};
use crate::command::{FAILED, Wrong, print};
use crate::progress::{Phase, Reporter, Verbosity};
use crate::wording::{counted, thousands};

/// Exceptions that are shown; all are in `--out`.
const SHOWN: usize = 20;
/// What nobody would answer.
const WRONG_VALUE: &str = "-987654321.123";

#[derive(Args, Debug)]
pub(in crate::command) struct ValidateArguments {
    /// The reward's name, or the file of one of your own
    reward: String,

    /// The task file
    #[arg(long, value_name = "FILE")]
    tasks: PathBuf,

    /// What full marks are: a right answer must score this or more, a wrong one less
    #[arg(long, value_name = "SCORE", default_value_t = 1.0, value_parser = number)]
    full: f64,

    /// Write a line of JSON for everything that does not hold
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,

    #[command(flatten)]
    options: RewardOptions,
}

fn number(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|value: &f64| value.is_finite()).ok_or_else(|| "expected a number".to_owned())
}

/// How an answer is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
enum Form {
    #[serde(rename = "\\boxed")]
    Boxed,
    #[serde(rename = "<answer>")]
    Answer,
    #[serde(rename = "####")]
    Hashes,
    #[serde(rename = "own solution")]
    Solution,
    #[serde(rename = "empty")]
    Empty,
    #[serde(rename = "wrong")]
    Wrong,
}

impl Form {
    fn text(self) -> &'static str {
        match self {
            Form::Boxed => "\\boxed",
            Form::Answer => "<answer>",
            Form::Hashes => "####",
            Form::Solution => "own solution",
            Form::Empty => "empty",
            Form::Wrong => "wrong",
        }
    }

    fn must_be_full(self) -> bool {
        !matches!(self, Form::Empty | Form::Wrong)
    }
}

/// Something that does not hold.
#[derive(Debug, Serialize)]
struct Exception {
    /// The task's place in the file, counted from 1.
    task: usize,
    id: String,
    form: Form,
    score: Option<f64>,
    cause: Option<String>,
    reference: String,
}

/// What came of a task: each form that was tried, and its score.
type Tried = Vec<(Form, Score)>;

pub(super) fn validate(arguments: &ValidateArguments, known: &Registry) -> anyhow::Result<ExitCode> {
    let spec = arguments.options.spec(&arguments.reward, known)?;
    if !arguments.tasks.is_file() {
        return Err(Wrong(format!("cannot read the task file {}: there is none", arguments.tasks.display())).into());
    }
    let read = datasets::source::read(&arguments.tasks, OnBadLine::Skip)?;
    if let Some(path) = &arguments.out {
        check_out(path, &arguments.tasks)?;
    }
    let reporter = Reporter::new(Verbosity::Auto);
    let rewards = build(&spec, known, &reporter)?;
    let phase = reporter.phase("references", Some(read.tasks.len() as u64), "tasks");
    let tried = try_all(&rewards, &read.tasks, &phase).map_err(|error| match error {
        error @ RewardError::Sandbox { .. } => anyhow::Error::from(error),
        // Said of the reward, whatever the task.
        error => anyhow::anyhow!("{error}"),
    })?;
    phase.finish("");
    let (exceptions, mut text) = report(&read.tasks, &tried, arguments.full);
    if let Some(path) = &arguments.out {
        let lines = exceptions.iter().map(|exception| Ok(serde_json::to_string(exception)? + "\n"));
        write_results(path, &lines.collect::<anyhow::Result<String>>()?)?;
    }
    for bad in read.bad.iter().take(SHOWN) {
        let _ = writeln!(text, "{}, line {}, is left out: {}", arguments.tasks.display(), bad.line, bad.what);
    }
    if read.bad.len() > SHOWN {
        let _ = writeln!(text, "{} lines in all are left out", thousands(read.bad.len() as u64));
    }
    print(&text)?;
    let fine = exceptions.is_empty() && read.bad.is_empty();
    Ok(if fine { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

fn try_all(rewards: &RewardSet, tasks: &[Task], phase: &Phase) -> Result<Vec<Tried>, RewardError> {
    tasks
        .par_iter()
        .map(|task| {
            let tried = try_task(rewards, task);
            phase.inc(1);
            tried
        })
        .collect()
}

/// All forms of a task's answer, as one group.
fn try_task(rewards: &RewardSet, task: &Task) -> Result<Tried, RewardError> {
    let forms = forms(task);
    let samples: Vec<Sample<'_>> = forms.iter().map(|(_, completion)| task.sample(completion)).collect();
    let scored = rewards.score_group(&samples)?;
    let tried = forms.iter().zip(scored).map(|((form, _), breakdown)| {
        let component = breakdown.components.into_iter().next();
        (*form, component.map_or_else(|| Score::unscorable("does_not_apply"), |component| component.score))
    });
    Ok(tried.collect())
}

/// The answers that a task is tried with.
fn forms(task: &Task) -> Vec<(Form, String)> {
    let mut forms = Vec::new();
    let value = match &task.reference {
        Reference::Math { answer } => Some(answer.clone()),
        Reference::Integer { value } => Some(value.to_string()),
        Reference::Countdown { .. } | Reference::Tests { .. } | Reference::Stdin { .. } | Reference::Calls { .. } => {
            None
        }
    };
    if let Some(value) = value {
        forms.push((Form::Boxed, format!("The answer is \\boxed{{{value}}}.")));
        forms.push((Form::Answer, format!("<think> so </think> <answer> {value} </answer>")));
        forms.push((Form::Hashes, format!("So it is.\n#### {value}")));
    }
    if task.domain == datasets::Domain::Code {
        if let Some(solution) = datasets::solutions(task).first() {
            forms.push((Form::Solution, format!("<answer>\n```python\n{solution}\n```\n</answer>")));
        }
        forms.push((Form::Wrong, "<answer>\n```python\nunfinished = None\n```\n</answer>".to_owned()));
    } else {
        forms.push((Form::Wrong, format!("<think> so </think> <answer> {WRONG_VALUE} </answer>")));
    }
    forms.push((Form::Empty, String::new()));
    forms
}

/// What does not hold, and the words for all of it.
fn report(tasks: &[Task], tried: &[Tried], full: f64) -> (Vec<Exception>, String) {
    let mut exceptions = Vec::new();
    let mut counts = BTreeMap::<Form, (usize, usize)>::new();
    let mut without = 0;
    for (index, (task, tried)) in tasks.iter().zip(tried).enumerate() {
        without += usize::from(!tried.iter().any(|(form, _)| form.must_be_full()));
        for (form, score) in tried {
            let is_full = score.value.map(|value| value >= full - 1e-9);
            let holds = is_full == Some(form.must_be_full());
            let (all, right) = counts.entry(*form).or_default();
            *all += 1;
            *right += usize::from(holds);
            if !holds {
                let (score, cause) = (score.value, score.cause.clone());
                let reference = reference_text(task);
                exceptions.push(Exception {
                    task: index + 1,
                    id: task.id.clone(),
                    form: *form,
                    score,
                    cause,
                    reference,
                });
            }
        }
    }
    let mut text = String::new();
    for exception in exceptions.iter().take(SHOWN) {
        let score = exception.score.map_or_else(|| "no score".to_owned(), |score| score.to_string());
        let cause = exception.cause.as_deref().map_or(String::new(), |cause| format!(" ({cause})"));
        let must = if exception.form.must_be_full() { "expected full marks" } else { "expected less" };
        let _ = writeln!(
            text,
            "task {} ({}), {}: {score}{cause}, {must}; the reference is {}",
            exception.task,
            exception.id,
            exception.form.text(),
            exception.reference,
        );
    }
    if exceptions.len() > SHOWN {
        let _ = writeln!(text, "{} more: --out FILE writes all", thousands((exceptions.len() - SHOWN) as u64));
    }
    let _ = writeln!(text, "{}", counted(tasks.len(), "task", "tasks"));
    for (form, (all, right)) in counts {
        let what = if form.must_be_full() { "have full marks" } else { "have less" };
        let (right, all) = (thousands(right as u64), thousands(all as u64));
        let _ = writeln!(text, "  {:14}{right} of {all} {what}", form.text());
    }
    if without > 0 {
        let _ = writeln!(text, "  no known answer to try, only wrong ones: {}", counted(without, "task", "tasks"));
    }
    (exceptions, text)
}

fn reference_text(task: &Task) -> String {
    let text = match &task.reference {
        Reference::Math { answer } => answer.clone(),
        other => serde_json::to_string(other).unwrap_or_default(),
    };
    format!("{:?}", text.chars().take(120).collect::<String>())
}

#[cfg(test)]
mod tests {
    use rewards::RewardSpec;
    use serde_json::{Map, Value, json};

    use super::*;

    fn task(reference: Reference, columns: Value) -> Task {
        let extra: Map<String, Value> = columns.as_object().unwrap().clone();
        Task::new("test", "q".to_owned(), reference, datasets::Split::Train, extra)
    }

    fn math(answer: &str) -> Task {
        task(Reference::Math { answer: answer.to_owned() }, json!({}))
    }

    fn run(reward: &str, tasks: &[Task]) -> (Vec<Exception>, String) {
        let rewards = RewardSet::build(&[RewardSpec::named(reward)], None).unwrap();
        let phase = Reporter::new(Verbosity::Silent).phase("", None, "");
        report(tasks, &try_all(&rewards, tasks, &phase).unwrap(), 1.0)
    }

    #[test]
    fn references_equal_themselves_and_nothing_else_does() {
        let countdown = Reference::Countdown { numbers: vec![3, 4], target: 7 };
        let tasks = [
            math("\\frac{1}{2}"),
            math("[1, 2)"),
            task(Reference::Integer { value: -3 }, json!({})),
            task(countdown, json!({})),
        ];
        let (exceptions, text) = run("accuracy", &tasks);
        assert!(exceptions.is_empty(), "{exceptions:?}");
        let expected = "4 tasks\n  \\boxed        3 of 3 have full marks\n  <answer>      3 of 3 have full marks\n  \
                        ####          3 of 3 have full marks\n  empty         4 of 4 have less\n  wrong         4 of 4 have less\n  \
                        no known answer to try, only wrong ones: 1 task\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn what_does_not_hold_is_named() {
        let (exceptions, text) = run("accuracy", &[math("2"), math(WRONG_VALUE), math("")]);
        let found: Vec<(usize, Form)> = exceptions.iter().map(|exception| (exception.task, exception.form)).collect();
        assert_eq!(found[0], (2, Form::Wrong));
        assert!(found[1..].iter().all(|(task, _)| *task == 3), "{found:?}");
        assert!(text.contains("(reference_unparsable), expected full marks; the reference is \"\""), "{text}");
        // A reward that does not look at the answer.
        let (exceptions, _) = run("format", &[math("2")]);
        let forms: Vec<Form> = exceptions.iter().map(|exception| exception.form).collect();
        assert_eq!(forms, [Form::Boxed, Form::Hashes, Form::Wrong]);
    }

    #[test]
    fn programs_are_tried_with_their_own_solution() {
        let tests = Reference::Tests { setup: String::new(), assertions: vec!["assert f() == 1".to_owned()] };
        let shown =
            |columns| forms(&task(tests.clone(), columns)).into_iter().map(|(form, _)| form).collect::<Vec<_>>();
        assert_eq!(shown(json!({"code": "def f(): return 1"})), [Form::Solution, Form::Wrong, Form::Empty]);
        assert_eq!(shown(json!({"solutions": ["def f(): return 1"]})), [Form::Solution, Form::Wrong, Form::Empty]);
        assert_eq!(shown(json!({})), [Form::Wrong, Form::Empty]);
    }
}
