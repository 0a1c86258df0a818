//! What each stage would do: its tokens, with answers as long as they may be.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::num::Saturating;

use crate::config::{
    DataSource, GrpoSettings, PretrainSettings, Recipe, ReferenceKind, RejectSettings, SftSettings, Stage,
    StageSettings, TaskSettings, Template,
};
use crate::stage::{Passes, TOKENIZER_SECONDS, Tasks};
use crate::wording::counted;

/// Bytes of a demonstration's text for each token; tokenizers of real models have more.
const BYTES_PER_TOKEN: u64 = 3;
/// Bytes of a question for each token of a tokenizer that a recipe makes, which is small.
const BYTES_PER_SMALL_TOKEN: u64 = 2;
/// Tokens of R1-Zero's template in such a tokenizer, which has been trained on it.
const SMALL_TEMPLATE: u64 = 14;
/// Bytes that a chat template puts around a question.
const CHAT_BYTES: u64 = 90;
/// Bytes of a question in files that are not here.
const USUAL_QUESTION: u64 = 200;
/// How many questions are looked at for their length.
const LOOKED_AT: u64 = 200;

/// What a stage would do.
#[derive(Default)]
pub(super) struct Work {
    pub(super) what: String,
    pub(super) sampled: u64,
    pub(super) trained: u64,
    /// Tokens that go through the model besides those that are sampled: prompts that are read, what is trained on, and the
    /// passes that only look.
    pub(super) passes: Passes,
    /// What takes no model.
    pub(super) seconds: f64,
    /// Whether more of it depends on files that are not here.
    pub(super) is_open: bool,
}

/// What a stage would do.
pub(super) fn work(recipe: &Recipe, stage: &Stage, tasks: Option<&Tasks>) -> anyhow::Result<Work> {
    match &stage.settings {
        StageSettings::Pretrain(settings) => Ok(pretraining(settings)),
        StageSettings::Grpo(settings) => reinforcement(recipe, stage, settings, tasks),
        StageSettings::Reject(sampling) => Ok(rejection(recipe, &sampling.settings, tasks)),
        StageSettings::Sft(settings) | StageSettings::Distill(settings) => Ok(fine_tuning(recipe, stage, settings)),
        StageSettings::Eval {} => examination(recipe, tasks),
        StageSettings::Export(settings) => {
            let to = if settings.path.is_empty() { "into the run's folder" } else { &settings.path };
            Ok(Work { what: to.to_owned(), ..Work::default() })
        }
    }
}

fn pretraining(settings: &PretrainSettings) -> Work {
    Work {
        what: format!("{} steps, or from the cache", settings.steps()),
        trained: settings.tokens,
        passes: Passes::training(settings.tokens, settings.track()),
        seconds: TOKENIZER_SECONDS,
        ..Work::default()
    }
}

fn reinforcement(
    recipe: &Recipe,
    stage: &Stage,
    settings: &GrpoSettings,
    tasks: Option<&Tasks>,
) -> anyhow::Result<Work> {
    let mut what = format!(
        "{} steps of {} tasks x {} answers of up to {} tokens",
        settings.steps, settings.prompts_per_step, settings.group_size, settings.max_new_tokens
    );
    if settings.refill_rounds > 0 {
        let _ = write!(what, ", refilled up to {} times", settings.refill_rounds);
    }
    let (steps, prompt) = (Saturating(settings.steps), prompt_tokens(recipe, tasks));
    let groups = steps * many(settings.prompts_per_step);
    let rounds = many(1 + settings.refill_rounds);
    let learned = steps * many(settings.completions_per_step()) * many(settings.max_new_tokens);
    let rows = learned + groups * prompt;
    let trained = rows * many(settings.epochs);
    // One answer to each task, and the last step has one in any case.
    let examinations = if stage.examines() { settings.steps.div_ceil(settings.eval_every) } else { 0 };
    let quick = Saturating(examinations) * many(examined(recipe, tasks, settings.eval_tasks)?.tasks);

    let mut passes = Passes::forward(((groups * rounds + quick) * prompt).0);
    passes += Passes::training(trained.0, settings.track());
    if settings.reference_kind() != ReferenceKind::None {
        // Once: what the reference says of an answer is kept for further passes.
        passes += Passes::forward(rows.0);
    }
    if settings.top_entropy_share < 1.0 {
        passes += Passes::forward(trained.0);
    }
    let sampled = learned * rounds + quick * many(recipe.eval_max_new_tokens());
    Ok(Work { what, sampled: sampled.0, trained: trained.0, passes, ..Work::default() })
}

fn rejection(recipe: &Recipe, settings: &RejectSettings, tasks: Option<&Tasks>) -> Work {
    let asked = many(settings.tasks);
    Work {
        what: format!(
            "{} tasks x {} answers, at most {} kept of each",
            settings.tasks, settings.samples, settings.keep
        ),
        sampled: (asked * many(settings.samples) * many(settings.max_new_tokens)).0,
        passes: Passes::forward((asked * prompt_tokens(recipe, tasks)).0),
        ..Work::default()
    }
}

fn fine_tuning(recipe: &Recipe, stage: &Stage, settings: &SftSettings) -> Work {
    let demonstrations = demonstrations(recipe, stage);
    let (count, tokens) = demonstrations.unwrap_or_default();
    let steps = settings.steps(count as usize);
    let shown = (steps * settings.batch_size as u64).min(settings.epochs * count);
    let trained = (u128::from(tokens) * u128::from(shown)).div_ceil(u128::from(count.max(1)));
    let trained = u64::try_from(trained).unwrap_or(u64::MAX);
    let mut passes = Passes::training(trained, settings.track());
    // What is set aside is measured after each pass over the others, and at the end.
    let times = steps.div_ceil(count.div_ceil(settings.batch_size as u64).max(1));
    let set_aside = (tokens as f64 * settings.validation_share) as u64;
    passes += Passes::forward(times.saturating_mul(set_aside));
    let sources: Vec<String> = stage.data.iter().map(ToString::to_string).collect();
    let what = match demonstrations {
        Some(_) => format!("up to {steps} steps on up to {count} demonstrations of {}", sources.join(", ")),
        None => format!(
            "{} over {}, {}",
            counted(settings.epochs as usize, "pass", "passes"),
            sources.join(", "),
            if sources.len() == 1 { "which is not here" } else { "not all of which are here" }
        ),
    };
    Work { what, is_open: demonstrations.is_none(), trained, passes, ..Work::default() }
}

fn examination(recipe: &Recipe, tasks: Option<&Tasks>) -> anyhow::Result<Work> {
    let eval = &recipe.eval;
    let examined = examined(recipe, tasks, eval.tasks_per_family)?;
    let asked = many(examined.tasks);
    Ok(Work {
        what: format!(
            "{}, {} and the greedy answer",
            examined.text(eval.tasks_per_family),
            counted(eval.samples, "sample", "samples")
        ),
        sampled: (asked * many(eval.samples + 1) * many(recipe.eval_max_new_tokens())).0,
        // Once for the samples, once for the greedy answer.
        passes: Passes::forward((many(2) * asked * prompt_tokens(recipe, tasks)).0),
        ..Work::default()
    })
}

/// A number to count with: absurd settings come to the largest there is, and do not wrap to a small one.
fn many(number: usize) -> Saturating<u64> {
    Saturating(number as u64)
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

/// Tokens of a prompt, on average, estimated from the letters of the first questions.
fn prompt_tokens(recipe: &Recipe, tasks: Option<&Tasks>) -> Saturating<u64> {
    let length = |task: datasets::Task| task.messages().iter().map(|message| message.content.len() as u64).sum::<u64>();
    let question = tasks.map_or(USUAL_QUESTION, |tasks| {
        (0..LOOKED_AT).map(|position| length(tasks.training(position))).sum::<u64>().div_ceil(LOOKED_AT)
    });
    Saturating(match recipe.tasks.template {
        Template::R1Zero if recipe.pretrain().is_some() => question.div_ceil(BYTES_PER_SMALL_TOKEN) + SMALL_TEMPLATE,
        Template::R1Zero => (question + datasets::template::r1_zero("").len() as u64).div_ceil(BYTES_PER_TOKEN),
        Template::Chat => (question + recipe.tasks.system_prompt.len() as u64 + CHAT_BYTES).div_ceil(BYTES_PER_TOKEN),
    })
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
                let count = many(settings.tasks) * many(settings.keep);
                (count.0, (count * (prompt_tokens(recipe, None) + many(settings.max_new_tokens))).0)
            }
        };
        sum = (sum.0 + count, tokens.saturating_add(sum.1));
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
        let prompt = prompt_tokens(&recipe, Some(&tasks)).0;
        assert!((24..48).contains(&prompt), "{prompt}");
        assert_eq!(grpo.sampled, 3 * 6 * 4 * 32 + 2 * 3 * 4 * 32);
        assert_eq!(grpo.trained, 3 * 6 * 4 * 32 + 3 * 6 * prompt);
        // What the reference says of each answer, too.
        let mut passes = Passes::forward((3 * 6 + 2 * 3 * 4) * prompt + grpo.trained);
        passes += Passes { forward: grpo.trained, backward: grpo.trained };
        assert_eq!(grpo.passes, passes);
        assert_eq!(of("before").sampled, 3 * 6 * 3 * 32);
        assert_eq!(of("pretrain").trained, 60_000);
        assert!(of("pretrain").seconds > 0.0);
    }

    #[test]
    fn absurd_numbers_do_not_wrap_to_small_ones() {
        let settings = ["grpo.steps=1000000000", "grpo.prompts_per_step=65536", "grpo.group_size=16"];
        let long = ["grpo.max_new_tokens=10000000", "model.max_position_embeddings=16777216"];
        let settings: Vec<String> = settings.into_iter().chain(long).map(str::to_owned).collect();
        let recipe = crate::config::find_shipped("smoke").unwrap().recipe(&settings).unwrap();
        let (stage, _) = recipe.grpo().next().unwrap();
        let Work { sampled, trained, passes, .. } = work(&recipe, stage, None).unwrap();
        assert_eq!([sampled, trained, passes.forward, passes.backward], [u64::MAX; 4]);
    }

    #[test]
    fn what_a_step_does_beyond_training_is_counted() {
        let passes = |settings: &[&str]| {
            let unmoved = ["grpo.reference_every=0"];
            let settings: Vec<String> = unmoved.iter().chain(settings).map(|setting| (*setting).to_owned()).collect();
            let recipe = crate::config::find_shipped("smoke").unwrap().recipe(&settings).unwrap();
            let tasks = Tasks::read(&recipe, &Reporter::new(Verbosity::Silent)).unwrap();
            let grpo = recipe.stages.iter().find(|stage| stage.name == "grpo").unwrap();
            work(&recipe, grpo, Some(&tasks)).unwrap().passes
        };
        let plain = passes(&["grpo.kl_coefficient=0"]);
        let check = |setting: &str, forward: u64| {
            let more = passes(&["grpo.kl_coefficient=0", setting]);
            assert_eq!((more.forward - plain.forward, more.backward), (forward, plain.backward), "{setting}");
        };
        check("grpo.kl_coefficient=0.01", plain.backward);
        check("grpo.top_entropy_share=0.2", plain.backward);
        check("grpo.checkpoint_layers=true", plain.backward);
        // The reference looks at an answer once, however often it is learnt from.
        let twice = ["grpo.epochs=2", "grpo.kl_coefficient=0"];
        let with_reference = passes(&["grpo.epochs=2", "grpo.kl_coefficient=0.01"]);
        assert_eq!(with_reference.forward - passes(&twice).forward, plain.backward);
    }
}
