//! `recipe reward replay`: the completions that a run left, scored again.
//!
//! A run keeps its completions with their task's id. The tasks are found again as the run found them: in its task files,
//! or by generating them anew. Token ids are not kept, only how many there were: a reward that counts them sees so many.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Context;
use clap::Args;
use datasets::Task;
use rayon::prelude::*;
use rewards::{Registry, RewardError, RewardSet, Sample, Score};

use super::{RewardOptions, build};
use crate::command::{Wrong, print};
use crate::config::{Recipe, StageSettings};
use crate::progress::{Reporter, Verbosity};
use crate::run::{CompletionRecord, RunDir};
use crate::stage::{Draws, Tasks, candidate_positions};
use crate::wording::thousands;

/// Changes that are shown.
const SHOWN: usize = 5;
/// Characters of a completion that are shown.
const SHOWN_CHARACTERS: usize = 200;
/// Different scores that are counted one by one; more are put into as many equal parts.
const BARS: usize = 10;
const BAR_WIDTH: f64 = 40.0;

#[derive(Args, Debug)]
pub(in crate::command) struct ReplayArguments {
    /// The reward's name, one of your own in the run's recipe too, or the file of one
    reward: String,

    /// The run's folder
    #[arg(long, value_name = "DIR")]
    run: PathBuf,

    /// The stage whose completions are scored [default: every stage of reinforcement learning]
    #[arg(long, value_name = "STAGE")]
    stage: Option<String>,

    /// Only this step
    #[arg(long, value_name = "N")]
    step: Option<u64>,

    #[command(flatten)]
    options: RewardOptions,
}

/// The completions to one prompt in one step.
struct Group {
    stage: String,
    step: u64,
    records: Vec<CompletionRecord>,
}

/// A completion with its score then and now.
struct Scored<'a> {
    group: &'a Group,
    record: &'a CompletionRecord,
    before: Option<Option<f64>>,
    now: Score,
}

pub(super) fn replay(arguments: &ReplayArguments, known: &Registry) -> anyhow::Result<ExitCode> {
    let recipe_file = arguments.run.join("recipe.toml");
    if !recipe_file.is_file() {
        let text = format!("{} is no run's folder: it holds no recipe.toml", arguments.run.display());
        return Err(Wrong(text).into());
    }
    let recipe = Recipe::read_with(&recipe_file, &[], known)?;
    let spec = arguments.options.spec_among(&arguments.reward, &recipe.rewards, known)?;
    let stages = chosen(&recipe, arguments)?;
    let groups = read_groups(&arguments.run, &recipe, &stages, arguments.step)?;
    let reporter = Reporter::new(Verbosity::Auto);
    let tasks = find_tasks(&recipe, &groups, &reporter)?;
    let sampled = |name: &String| recipe.stages.iter().find(|stage| stage.name == *name)?.settings.max_new_tokens();
    let limit = stages.iter().filter_map(sampled).max().unwrap_or_else(|| recipe.eval_max_new_tokens());
    let rewards = build(&rewards::within_limit(&spec, limit as u64), known, &reporter)?;
    let total: usize = groups.iter().map(|group| group.records.len()).sum();
    let lost = AtomicUsize::new(0);
    let phase = reporter.phase("completions", Some(total as u64), "completions");
    let scored: Vec<Vec<Scored<'_>>> = groups
        .par_iter()
        .map(|group| {
            let scored = match tasks.get(&group.records[0].task) {
                Some(task) => score_group(&rewards, group, task)?,
                None => {
                    lost.fetch_add(group.records.len(), Ordering::Relaxed);
                    Vec::new()
                }
            };
            phase.inc(group.records.len() as u64);
            Ok(scored)
        })
        .collect::<Result<_, RewardError>>()?;
    phase.finish("");
    let mut text = String::new();
    for printed in rewards.take_printed() {
        let _ = writeln!(text, "on {:?} the reward prints:\n{}", printed.prompt, printed.text.trim_end());
    }
    text.push_str(&report(&spec.name, &scored));
    let lost = lost.into_inner();
    let others = total - lost - scored.iter().map(Vec::len).sum::<usize>();
    for (count, why) in
        [(others, "the reward does not apply to their tasks"), (lost, "their tasks are not found any more")]
    {
        if count > 0 {
            let _ = writeln!(text, "{} completions are left out: {why}", thousands(count as u64));
        }
    }
    print(&text)
}

/// The stages whose completions are scored.
fn chosen(recipe: &Recipe, arguments: &ReplayArguments) -> anyhow::Result<Vec<String>> {
    let Some(name) = &arguments.stage else {
        return Ok(recipe.grpo().map(|(stage, _)| stage.name.clone()).collect());
    };
    if !recipe.stages.iter().any(|stage| stage.name == *name) {
        let names: Vec<&str> = recipe.stages.iter().map(|stage| stage.name.as_str()).collect();
        return Err(Wrong(format!("the run has no stage `{name}`\n  hint: its stages are {}", names.join(", "))).into());
    }
    Ok(vec![name.clone()])
}

/// Every group of completions of these stages, in the order of stages and steps.
fn read_groups(run: &Path, recipe: &Recipe, stages: &[String], step: Option<u64>) -> anyhow::Result<Vec<Group>> {
    let mut files = Vec::new();
    for stage in stages {
        list_files(&RunDir::folder_of(run, recipe, "completions", stage), stage, &mut files)?;
    }
    files.retain(|(_, number, _)| step.is_none_or(|step| step == *number));
    if files.is_empty() {
        let which = step.map_or(String::new(), |step| format!(" of step {step}"));
        return Err(Wrong(format!("{} holds no completions{which} of {}", run.display(), stages.join(", "))).into());
    }
    let mut groups: Vec<Group> = Vec::new();
    for (stage, step, path) in files {
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut records = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let record: CompletionRecord = serde_json::from_str(line)
                .with_context(|| format!("{}, line {}: is no completion of a run", path.display(), index + 1))?;
            records.push(record);
        }
        let same = |a: &CompletionRecord, b: &CompletionRecord| (&a.task, a.group) == (&b.task, b.group);
        groups.extend(records.chunk_by(same).map(|records| Group {
            stage: stage.clone(),
            step,
            records: records.to_vec(),
        }));
    }
    Ok(groups)
}

/// The files of a stage's steps, in order; a stage that has not sampled yet has no folder.
fn list_files(folder: &Path, stage: &str, files: &mut Vec<(String, u64, PathBuf)>) -> anyhow::Result<()> {
    if !folder.is_dir() {
        return Ok(());
    }
    let context = || format!("cannot read {}", folder.display());
    let begun = files.len();
    for entry in std::fs::read_dir(folder).with_context(context)? {
        let path = entry.with_context(context)?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if let Some(step) = name.strip_prefix("step-").and_then(|rest| rest.strip_suffix(".jsonl")?.parse::<u64>().ok())
        {
            files.push((stage.to_owned(), step, path));
        }
    }
    files[begun..].sort();
    Ok(())
}

/// The tasks that the groups answer, by their ids.
fn find_tasks(recipe: &Recipe, groups: &[Group], reporter: &Reporter) -> anyhow::Result<HashMap<String, Task>> {
    let mut wanted: HashSet<&str> = groups.iter().map(|group| group.records[0].task.as_str()).collect();
    let mut found = HashMap::new();
    let mut take = |task: Task, wanted: &mut HashSet<&str>| {
        if wanted.remove(task.id.as_str()) {
            found.insert(task.id.clone(), task);
        }
    };
    let mut tasks = Tasks::read(recipe, reporter)?;
    if let Tasks::Files { train, held_out, .. } = &tasks {
        train.iter().chain(held_out).for_each(|task| take(task.clone(), &mut wanted));
        return Ok(found);
    }
    for task in tasks.held_out(recipe.held_out_tasks())? {
        take(task, &mut wanted);
    }
    let last = groups.iter().map(|group| group.step).max().unwrap_or(0);
    let draws = Draws::of_stages(recipe, &mut tasks);
    for (stage, draws) in recipe.stages.iter().zip(draws) {
        // A step's tasks are a function of its number and, where groups were refilled, of how many were.
        let positions = match &stage.settings {
            StageSettings::Grpo(settings) => {
                last.min(settings.steps) * settings.prompts_per_step as u64 * (1 + settings.refill_rounds as u64)
            }
            StageSettings::Reject(sampling) => candidate_positions(sampling.settings.tasks),
            _ => continue,
        };
        tasks.practise(stage.families.as_ref());
        for position in draws.first..draws.first + positions {
            if wanted.is_empty() {
                break;
            }
            take(tasks.training(position), &mut wanted);
        }
    }
    Ok(found)
}

fn score_group<'a>(rewards: &RewardSet, group: &'a Group, task: &Task) -> Result<Vec<Scored<'a>>, RewardError> {
    let ids: Vec<Vec<u32>> = group.records.iter().map(|record| vec![0; record.tokens as usize]).collect();
    let samples: Vec<Sample<'_>> = group
        .records
        .iter()
        .zip(&ids)
        .map(|(record, ids)| Sample {
            completion_ids: ids,
            truncated: record.truncated,
            ..task.sample(&record.completion)
        })
        .collect();
    let breakdowns = rewards.score_group(&samples)?;
    let name = rewards.names().next().unwrap_or_default();
    let scored = group.records.iter().zip(breakdowns).filter_map(|(record, breakdown)| {
        // A reward that does not apply to this kind of task says nothing of it.
        let now = breakdown.components.into_iter().next()?.score;
        let before = record.parts.iter().find(|part| part.name == name).map(|part| part.score);
        Some(Scored { group, record, before, now })
    });
    Ok(scored.collect())
}

/// What the scores are, and what changes.
fn report(name: &str, groups: &[Vec<Scored<'_>>]) -> String {
    let scored: Vec<&Scored<'_>> = groups.iter().flatten().collect();
    let mut text = String::new();
    if scored.is_empty() {
        return format!("{name} applies to none of these completions\n");
    }
    let now: Vec<f64> = scored.iter().filter_map(|one| one.now.value).collect();
    let _ = writeln!(
        text,
        "{name} on {} completions of {} groups",
        thousands(scored.len() as u64),
        thousands(groups.iter().filter(|group| !group.is_empty()).count() as u64)
    );
    let flat = |value: &dyn Fn(&Scored<'_>) -> Option<f64>| {
        let flat = groups.iter().filter(|group| !group.is_empty()).filter(|group| {
            let values: Vec<f64> = group.iter().filter_map(value).collect();
            values.windows(2).all(|pair| pair[0] == pair[1])
        });
        flat.count()
    };
    let line = |text: &mut String, what: &str, values: &[f64], flat: usize| {
        let mean = values.iter().sum::<f64>() / values.len().max(1) as f64;
        let unscored = scored.len() - values.len();
        let _ = writeln!(text, "  {what:12}mean {mean:.4}, {unscored} without a score, {flat} groups without variance");
    };
    line(&mut text, "now", &now, flat(&|one| one.now.value));
    let had: Vec<&Scored<'_>> = scored.iter().copied().filter(|one| one.before.is_some()).collect();
    if had.is_empty() {
        let _ = writeln!(text, "  the run did not score by {name}");
    } else {
        let before: Vec<f64> = had.iter().filter_map(|one| one.before.flatten()).collect();
        line(&mut text, "in the run", &before, flat(&|one| one.before.flatten()));
    }
    text.push_str("scores\n");
    histogram(&mut text, &now);
    let mut causes = BTreeMap::<&str, usize>::new();
    for cause in scored.iter().filter_map(|one| one.now.cause.as_deref()) {
        *causes.entry(cause).or_default() += 1;
    }
    if !causes.is_empty() {
        let causes: Vec<String> = causes.iter().map(|(cause, count)| format!("{cause} {count}")).collect();
        let _ = writeln!(text, "causes: {}", causes.join(", "));
    }
    if !had.is_empty() {
        changes(&mut text, &had);
    }
    text
}

fn changes(text: &mut String, had: &[&Scored<'_>]) {
    let difference = |one: &Scored<'_>| match (one.before.flatten(), one.now.value) {
        (Some(before), Some(now)) => (now - before).abs(),
        (before, now) if before.is_some() == now.is_some() => 0.0,
        _ => f64::INFINITY,
    };
    let mut changed: Vec<&&Scored<'_>> = had.iter().filter(|one| difference(one) > 1e-9).collect();
    let up = changed.iter().filter(|one| one.now.value > one.before.flatten()).count();
    let (all, changes) = (thousands(had.len() as u64), thousands(changed.len() as u64));
    let _ = writeln!(text, "{changes} of {all} scores change: {up} up, {} down", changed.len() - up);
    // Stable: of equals, those of earlier steps first.
    changed.sort_by(|a, b| difference(b).total_cmp(&difference(a)));
    let shown = |score: Option<f64>| score.map_or_else(|| "none".to_owned(), |score| score.to_string());
    for one in changed.iter().take(SHOWN) {
        let completion: String = one.record.completion.chars().take(SHOWN_CHARACTERS).collect();
        let _ = writeln!(
            text,
            "  {} {}: {} -> {}{}\n    {:?}\n    {:?}",
            one.group.stage,
            one.group.step,
            shown(one.before.flatten()),
            shown(one.now.value),
            one.now.cause.as_deref().map_or(String::new(), |cause| format!(" ({cause})")),
            one.record.prompt.chars().take(SHOWN_CHARACTERS).collect::<String>(),
            completion,
        );
    }
}

/// A line for each score where there are few different ones, else for each of equal parts of their range.
fn histogram(text: &mut String, values: &[f64]) {
    let mut distinct: Vec<f64> = values.to_vec();
    distinct.sort_by(f64::total_cmp);
    distinct.dedup();
    let rows: Vec<(String, usize)> = if distinct.len() <= BARS {
        let count = |score: f64| values.iter().filter(|value| **value == score).count();
        distinct.iter().map(|score| (format!("{score:.4}"), count(*score))).collect()
    } else {
        let (low, high) = (distinct[0], distinct[distinct.len() - 1]);
        let width = (high - low) / BARS as f64;
        let place = |value: f64| (((value - low) / width) as usize).min(BARS - 1);
        let mut counts = [0; BARS];
        values.iter().for_each(|value| counts[place(*value)] += 1);
        let edge = |index: usize| low + width * index as f64;
        counts
            .into_iter()
            .enumerate()
            .map(|(index, count)| (format!("{:.4} to {:.4}", edge(index), edge(index + 1)), count))
            .collect()
    };
    let most = rows.iter().map(|(_, count)| *count).max().unwrap_or(1).max(1);
    let column = rows.iter().map(|(label, _)| label.len()).max().unwrap_or(0);
    for (label, count) in rows {
        let bar = "#".repeat((count as f64 / most as f64 * BAR_WIDTH).ceil() as usize);
        let _ = writeln!(text, "  {label:>column$}  {:>7}  {bar}", thousands(count as u64));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::find_shipped;
    use crate::run::RewardPart;

    fn record(score: Option<f64>) -> CompletionRecord {
        let part = RewardPart { name: "mine".to_owned(), score, cause: None };
        CompletionRecord { completion: "text".to_owned(), parts: vec![part], ..CompletionRecord::default() }
    }

    #[test]
    fn changes_and_distribution_are_told() {
        let records: Vec<CompletionRecord> = [Some(0.0), Some(1.0), Some(1.0), None].map(record).into();
        let group = Group { stage: "grpo".to_owned(), step: 3, records };
        let now = [Score::full(), Score::full(), Score::zero("wrong"), Score::zero("wrong")];
        let scored = group.records.iter().zip(now).map(|(record, now)| {
            let before = record.parts.first().map(|part| part.score);
            Scored { group: &group, record, before, now }
        });
        let text = report("mine", &[scored.collect(), Vec::new()]);
        for expected in [
            "mine on 4 completions of 1 groups\n",
            "  now         mean 0.5000, 0 without a score, 0 groups without variance\n",
            "  in the run  mean 0.6667, 1 without a score, 0 groups without variance\n",
            "causes: wrong 2\n",
            "3 of 4 scores change: 2 up, 1 down\n",
            "  grpo 3: none -> 0 (wrong)\n",
        ] {
            assert!(text.contains(expected), "{expected}\n{text}");
        }
        assert_eq!(report("mine", &[]), "mine applies to none of these completions\n");
    }

    #[test]
    fn a_task_that_comes_twice_in_a_row_is_two_groups() {
        let recipe = find_shipped("smoke").unwrap().recipe(&[]).unwrap();
        let run = tempfile::tempdir().unwrap();
        let record = |group: u32| CompletionRecord { task: "a".to_owned(), group, ..record(Some(1.0)) };
        let text: String = [0, 0, 1, 1].map(|group| serde_json::to_string(&record(group)).unwrap() + "\n").concat();
        std::fs::create_dir(run.path().join("completions")).unwrap();
        std::fs::write(run.path().join("completions/step-000001.jsonl"), text).unwrap();
        let groups = read_groups(run.path(), &recipe, &["grpo".to_owned()], None).unwrap();
        assert_eq!(groups.iter().map(|group| group.records.len()).collect::<Vec<_>>(), [2, 2]);
    }

    #[test]
    fn the_tasks_of_every_stage_are_found_again() {
        let recipe = find_shipped("r1").unwrap().recipe(&[]).unwrap();
        let reporter = Reporter::new(Verbosity::Silent);
        let mut tasks = Tasks::read(&recipe, &reporter).unwrap();
        let mut groups = Vec::new();
        let draws = Draws::of_stages(&recipe, &mut tasks);
        for (stage, draws) in recipe.stages.iter().zip(draws) {
            tasks.practise(stage.families.as_ref());
            // The last task of a second step, or one among those that rejection sampling looks through.
            let position = match &stage.settings {
                StageSettings::Grpo(settings) => 2 * settings.prompts_per_step as u64 - 1,
                StageSettings::Reject(_) => 700,
                _ => continue,
            };
            let position = draws.first + position;
            let record = CompletionRecord { task: tasks.training(position).id, ..CompletionRecord::default() };
            groups.push(Group { stage: stage.name.clone(), step: 2, records: vec![record] });
        }
        let found = find_tasks(&recipe, &groups, &reporter).unwrap();
        let lost: Vec<&str> = groups
            .iter()
            .filter(|group| !found.contains_key(&group.records[0].task))
            .map(|group| group.stage.as_str())
            .collect();
        assert!(groups.len() == 5 && lost.is_empty(), "not found: {lost:?}");
    }

    #[test]
    fn many_scores_are_put_into_parts() {
        let mut text = String::new();
        histogram(&mut text, &(0..100).map(f64::from).collect::<Vec<_>>());
        assert_eq!(text.lines().count(), BARS);
        assert!(text.starts_with("    0.0000 to 9.9000       10  ####"), "{text}");
        let mut few = String::new();
        histogram(&mut few, &[0.0, 1.0, 1.0]);
        assert_eq!(few.lines().count(), 2);
    }
}
