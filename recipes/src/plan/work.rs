//! What each stage would do: its tokens, at most.

use std::collections::BTreeSet;
use std::fmt::Write;

use crate::config::{DataSource, Recipe, Stage, StageSettings, TaskSettings};
use crate::stage::Tasks;
use crate::wording::counted;

/// Bytes of a demonstration's text for each token; tokenizers of real models have more.
const BYTES_PER_TOKEN: u64 = 3;
/// Tokens of a prompt.
const PROMPT: u64 = 24;

/// What a stage would do.
#[derive(Default)]
pub(super) struct Work {
    pub(super) what: String,
    pub(super) sampled: u64,
    pub(super) trained: u64,
    /// Whether more of it depends on files that are not here.
    pub(super) is_open: bool,
}

/// What a stage would do, at most.
pub(super) fn work(recipe: &Recipe, stage: &Stage, tasks: Option<&Tasks>) -> anyhow::Result<Work> {
    let eval = &recipe.eval;
    let work = match &stage.settings {
        StageSettings::Pretrain(settings) => Work {
            what: format!("{} steps, or from the cache", settings.steps()),
            trained: settings.tokens,
            ..Work::default()
        },
        StageSettings::Grpo(settings) => {
            let answers = settings.steps * settings.completions_per_step() as u64;
            let learned = answers * settings.max_new_tokens as u64;
            // One answer to each task, and the last step has one in any case.
            let quick = if stage.examines() {
                let asked = examined(recipe, tasks, settings.eval_tasks)?.tasks * recipe.eval_max_new_tokens();
                settings.steps.div_ceil(settings.eval_every) * asked as u64
            } else {
                0
            };
            let mut what = format!(
                "{} steps of {} tasks x {} answers of up to {} tokens",
                settings.steps, settings.prompts_per_step, settings.group_size, settings.max_new_tokens
            );
            if settings.refill_rounds > 0 {
                let _ = write!(what, ", refilled up to {} times", settings.refill_rounds);
            }
            Work {
                what,
                sampled: learned * (1 + settings.refill_rounds as u64) + quick,
                trained: learned * settings.epochs as u64 + settings.steps * settings.prompts_per_step as u64 * PROMPT,
                ..Work::default()
            }
        }
        StageSettings::Reject(sampling) => {
            let settings = &sampling.settings;
            let answers = (settings.tasks * settings.samples) as u64;
            Work {
                what: format!(
                    "{} tasks x {} answers, at most {} kept of each",
                    settings.tasks, settings.samples, settings.keep
                ),
                sampled: answers * settings.max_new_tokens as u64,
                ..Work::default()
            }
        }
        StageSettings::Sft(settings) | StageSettings::Distill(settings) => {
            let demonstrations = demonstrations(recipe, stage);
            let sources: Vec<String> = stage.data.iter().map(ToString::to_string).collect();
            Work {
                what: match demonstrations {
                    Some((count, _)) => format!(
                        "up to {} steps on up to {count} demonstrations of {}",
                        settings.steps(count as usize),
                        sources.join(", ")
                    ),
                    None => format!(
                        "{} over {}, {}",
                        counted(settings.epochs as usize, "pass", "passes"),
                        sources.join(", "),
                        if sources.len() == 1 { "which is not here" } else { "not all of which are here" }
                    ),
                },
                is_open: demonstrations.is_none(),
                trained: demonstrations.map_or(0, |(count, tokens)| {
                    let shown = settings.steps(count as usize) * settings.batch_size as u64;
                    (tokens * shown.min(settings.epochs * count)).div_ceil(count.max(1))
                }),
                ..Work::default()
            }
        }
        StageSettings::Eval {} => {
            let examined = examined(recipe, tasks, eval.tasks_per_family)?;
            Work {
                what: format!(
                    "{}, {} and the greedy answer",
                    examined.text(eval.tasks_per_family),
                    counted(eval.samples, "sample", "samples")
                ),
                sampled: (examined.tasks * (eval.samples + 1) * recipe.eval_max_new_tokens()) as u64,
                ..Work::default()
            }
        }
        StageSettings::Export(settings) => Work {
            what: if settings.path.is_empty() { "into the run's folder".to_owned() } else { settings.path.clone() },
            ..Work::default()
        },
    };
    Ok(work)
}

/// What an examination asks.
struct Examined {
    /// Families or files, each examined by itself.
    sources: usize,
    /// Of all of them; at most, where files are not here.
    tasks: usize,
}

impl Examined {
    /// `of_each` is how many tasks of each source are asked for; a file may hold fewer.
    fn text(&self, of_each: usize) -> String {
        let Examined { sources, tasks } = self;
        if *tasks == sources * of_each {
            return format!("{sources} x {of_each} held-out tasks");
        }
        let tasks = counted(*tasks, "held-out task", "held-out tasks");
        if *sources == 1 { tasks } else { format!("{tasks} of {sources} sources") }
    }
}

fn examined(recipe: &Recipe, tasks: Option<&Tasks>, of_each: usize) -> anyhow::Result<Examined> {
    let Some(tasks) = tasks else {
        // Which of the files hold tasks out is not known before they are read.
        let TaskSettings { files, held_out_files, .. } = &recipe.tasks;
        let sources = if held_out_files.is_empty() { files.len() } else { held_out_files.len() };
        return Ok(Examined { sources, tasks: sources * of_each });
    };
    let held_out = tasks.held_out(of_each)?;
    let sources: BTreeSet<&str> = held_out.iter().map(|task| task.source.as_str()).collect();
    Ok(Examined { sources: sources.len(), tasks: held_out.len() })
}

/// Demonstrations that a stage would read at most, and their tokens; none where a file is not here.
fn demonstrations(recipe: &Recipe, stage: &Stage) -> Option<(u64, u64)> {
    let mut sum = (0, 0);
    for source in &stage.data {
        let (count, tokens) = match source {
            DataSource::File(path) => {
                let read = datasets::source::read_demonstrations(path, recipe.tasks.on_bad_line.into()).ok()?;
                let bytes = read.demonstrations.iter().map(|one| {
                    one.answer.len() + one.messages.iter().map(|message| message.content.len()).sum::<usize>()
                });
                (read.demonstrations.len() as u64, bytes.sum::<usize>() as u64 / BYTES_PER_TOKEN)
            }
            DataSource::Stage(name) => {
                let maker = recipe.stages.iter().find(|stage| stage.name == *name)?;
                let settings = &maker.settings.sampling()?.settings;
                let count = (settings.tasks * settings.keep) as u64;
                (count, count * (PROMPT + settings.max_new_tokens as u64))
            }
        };
        sum = (sum.0 + count, sum.1 + tokens);
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::{Reporter, Verbosity};

    #[test]
    fn tokens_are_those_of_the_settings() {
        let recipe = crate::config::find_shipped("smoke").unwrap().recipe(&[]).unwrap();
        let tasks = Tasks::read(&recipe, &Reporter::new(Verbosity::Silent)).unwrap();
        let of = |name: &str| {
            let stage = recipe.stages.iter().find(|stage| stage.name == name).unwrap();
            work(&recipe, stage, Some(&tasks)).unwrap()
        };
        let grpo = of("grpo");
        assert_eq!((grpo.sampled, grpo.trained), (3 * 6 * 4 * 32 + 2 * 3 * 4 * 32, 3 * 6 * 4 * 32 + 3 * 6 * PROMPT));
        assert_eq!(of("before").sampled, 3 * 6 * 3 * 32);
        assert_eq!(of("pretrain").trained, 60_000);
    }
}
