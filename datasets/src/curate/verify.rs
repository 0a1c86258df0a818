//! `verify`: a reference must satisfy its own verifier.
//!
//! - A mathematical answer is given as the answer to its own question: it must parse, and equal itself.
//! - A program task's own solution, from a further column, must pass its tests in the sandbox.
//! - A Countdown target must be reachable from its numbers, of which there may be [`countdown::MOST_NUMBERS`].

mod countdown;

use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;
use rewards::{Reference, RewardSet};

use super::frame::{text, to_tasks};
use super::job::Verify;
use super::work::{SeenColumns, Verdict, Work, no_row_has};
use crate::error::DatasetError;
use crate::solution::programs;
use crate::task::Task;

pub(super) fn run(verify: &Verify, work: &mut Work<'_>) -> Result<(), DatasetError> {
    // Python is prepared only where there is a program to run.
    let mut programs = false;
    for index in 0..work.input.len() {
        let references = work.input.read_columns(index, &["reference"])?;
        programs |=
            text(&references, "reference")?.iter().flatten().any(|json| CODE.iter().any(|kind| json.contains(kind)));
        if programs {
            break;
        }
    }
    let rewards = work.host.rewards(programs)?;
    // Of the usual columns a source has one, and need not have any.
    let named = verify.solutions != Verify::usual_solutions();
    let columns = SeenColumns::of(verify.solutions.iter().filter(|_| named).map(String::as_str));
    let unchecked = AtomicUsize::new(0);
    work.judge(&[], |_, frame| {
        let tasks = to_tasks(frame)?;
        columns.look(&tasks);
        tasks.par_iter().map(|task| judge(verify, &rewards, task, &unchecked)).collect()
    })?;
    for column in columns.missing().into_iter().filter(|_| programs) {
        let note = format!("solutions: {}", no_row_has(column, work)?);
        work.tally.notes.push(note);
    }
    let note = match unchecked.into_inner() {
        0 => return Ok(()),
        1 => "1 task about a program has no solution, and was kept without being checked".to_owned(),
        many => format!("{many} tasks about programs have no solution, and were kept without being checked"),
    };
    work.tally.notes.push(note);
    Ok(())
}

/// How references of programs begin.
const CODE: [&str; 3] = ["\"kind\":\"tests\"", "\"kind\":\"stdin\"", "\"kind\":\"calls\""];

/// Whether a task is kept; one that is without a look is counted in `unchecked`.
fn judge(verify: &Verify, rewards: &RewardSet, task: &Task, unchecked: &AtomicUsize) -> Result<Verdict, DatasetError> {
    let completion = match &task.reference {
        Reference::Math { answer } => format!("<answer> {answer} </answer>"),
        Reference::Integer { value } => format!("<answer> {value} </answer>"),
        Reference::Countdown { numbers, .. } if numbers.len() > countdown::MOST_NUMBERS => {
            let most = countdown::MOST_NUMBERS;
            return Ok(Verdict::drop(
                "too many numbers to check",
                format!("{} numbers; {most} at most", numbers.len()),
            ));
        }
        Reference::Countdown { numbers, target } => match countdown::expression(numbers, *target) {
            Some(expression) => format!("<answer> {expression} </answer>"),
            None => return Ok(Verdict::drop("target cannot be reached", format!("{numbers:?} for {target}"))),
        },
        Reference::Tests { .. } | Reference::Stdin { .. } | Reference::Calls { .. } => {
            let mut texts = verify.solutions.iter().filter_map(|name| task.extra.get(name)).flat_map(programs);
            match texts.next() {
                Some(solution) => format!("<answer>\n```python\n{solution}\n```\n</answer>"),
                None if verify.keep_without_solution => {
                    unchecked.fetch_add(1, Ordering::Relaxed);
                    return Ok(Verdict::Keep);
                }
                None => {
                    let columns: Vec<&str> = task.extra.keys().map(String::as_str).collect();
                    return Ok(Verdict::drop("no solution to run", format!("columns: {}", columns.join(", "))));
                }
            }
        }
    };
    let breakdown = rewards.score(&task.sample(&completion)).map_err(DatasetError::host)?;
    let cause = breakdown.components.iter().find_map(|component| component.score.cause.clone());
    Ok(match breakdown.total {
        Some(total) if total >= 1.0 => Verdict::Keep,
        Some(_) if task.reference.is_code() => Verdict::drop("solution fails its tests", cause.unwrap_or_default()),
        Some(_) => Verdict::drop("answer does not equal itself", shown(task, cause)),
        None if breakdown.components.is_empty() => Verdict::drop("nothing verifies this kind", task.reference.kind()),
        None => Verdict::drop("reference cannot be used", shown(task, cause)),
    })
}

fn shown(task: &Task, cause: Option<String>) -> String {
    let answer = match &task.reference {
        Reference::Math { answer } => answer.as_str(),
        other => other.kind(),
    };
    format!("{}: {}", cause.unwrap_or_default(), answer.chars().take(80).collect::<String>())
}
