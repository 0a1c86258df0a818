//! `recipe run --dry-run`: what a recipe would do and what it would take, without doing it.
//!
//! Tokens are upper bounds: every answer as long as it may be, nothing dropped; those of demonstrations in files are
//! estimated from their letters. Time is the tokens over the rates of this machine's processor. A model of at most
//! [`MEASURED`] parameters is made and timed for a moment; for a larger one, or one that is not here, [`ASSUMED`] operations
//! per second and thread are taken, and it is said so. What depends on files that are not here is not known, nor is it said
//! to be nothing.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::time::{Duration, Instant};

use anyhow::Context;
use policy::grpo::{Sampled, pack};
use policy::{ModelConfig, Policy, Request, RolloutEngine, RolloutOptions, SamplingParams, Track};

use crate::config::{ModelSettings, Recipe, Stage, StageSettings, TaskSettings};
use crate::hub::hub_name;
use crate::progress::{Reporter, duration_text};
use crate::stage::{self, Tasks};
use crate::table::{bytes_text, count_text};
use crate::wording::counted;

/// Models up to this size are timed.
const MEASURED: usize = 30_000_000;
/// Floating-point operations per second of a thread, for models that are not timed.
const ASSUMED: f64 = 1e10;
/// How long each rate is measured.
const MOMENT: Duration = Duration::from_millis(400);
/// Bytes of a demonstration's text for each token; tokenizers of real models have more.
const BYTES_PER_TOKEN: u64 = 3;
/// Tokens of a prompt.
const PROMPT: u64 = 24;

/// Parameters of a model that is not here, where no name says how many.
const USUAL_SIZE: f64 = 1.5e9;

/// Tokens per second.
struct Rates {
    sampled: f64,
    trained: f64,
    measured: bool,
}

/// What a stage would do.
#[derive(Default)]
struct Work {
    what: String,
    sampled: u64,
    trained: u64,
    /// Whether more of it depends on files that are not here.
    is_open: bool,
}

/// Which stages are planned: from one on, up to one; none is the first, or the last.
#[derive(Clone, Copy, Default)]
pub struct Span<'a> {
    /// The first; those before it are taken over from an earlier run.
    pub from: Option<&'a str>,
    /// The last.
    pub until: Option<&'a str>,
}

/// The plan, as text. What there is to say of task files goes to the reporter, as in a run.
///
/// # Errors
/// If the model's configuration cannot be read, or a model cannot be timed; if a run would refuse the tasks, or where it is to
/// write.
pub fn render(recipe: &Recipe, threads: usize, span: Span<'_>, reporter: &Reporter) -> anyhow::Result<String> {
    stage::check_targets(recipe)?;
    let are_here = recipe.task_files().all(|path| path.is_file());
    let tasks = if are_here { Some(Tasks::read(recipe, reporter)?) } else { None };
    let mut text = format!("{}: {}\n\n", recipe.name, recipe.description);
    let mut models: Vec<(&ModelSettings, Option<ModelConfig>, Rates)> = Vec::new();
    let all = std::iter::once(&recipe.model).chain(recipe.stages.iter().filter_map(|stage| stage.model.as_ref()));
    for model in all {
        if models.iter().any(|(known, ..)| *known == model) {
            continue;
        }
        let config = configuration(recipe, model)?;
        let rates = rates(model, config.as_ref(), missing_size(recipe, model), threads)?;
        models.push((model, config, rates));
    }
    let _ = writeln!(
        text,
        "{:20}  {:8}  {:18}  {:>8}  {:>8}  {:>8}  what",
        "stage", "kind", "begins with", "sampled", "trained", "time"
    );
    let place_of = |name: &str| recipe.stages.iter().position(|stage| stage.name == name);
    let first = span.from.and_then(place_of).unwrap_or(0);
    let last = span.until.and_then(place_of).unwrap_or(recipe.stages.len());
    let (mut total, mut is_open) = (0.0, false);
    let mut model_of: Vec<(String, usize)> = vec![(crate::config::BASE.to_owned(), 0)];
    for (place, stage) in recipe.stages.iter().enumerate() {
        let own = stage.model.as_ref().and_then(|model| models.iter().position(|(known, ..)| *known == model));
        let origin = recipe.origin(place).to_owned();
        let inherited = model_of.iter().find(|(name, _)| *name == origin).map_or(0, |(_, model)| *model);
        let model = own.unwrap_or(inherited);
        model_of.push((stage.name.clone(), model));
        if !(first..=last).contains(&place) {
            continue;
        }
        let mut work = work(recipe, stage, tasks.as_ref())?;
        if let Some(lora) = &stage.lora {
            let _ = write!(work.what, ", LoRA of rank {}", lora.rank);
            let trained = models[model].1.as_ref().map(|config| lora.adapters().parameters(config)).transpose()?;
            let _ = trained.map_or(Ok(()), |trained| write!(work.what, ": {} numbers", count_text(trained as u64)));
        }
        let rates = &models[model].2;
        let seconds = work.sampled as f64 / rates.sampled + work.trained as f64 / rates.trained;
        total += seconds;
        is_open |= work.is_open;
        let tokens = |count: u64| if count == 0 { "-".to_owned() } else { count_text(count) };
        let kind = stage.settings.kind();
        let origin = if kind == "pretrain" { "nothing".to_owned() } else { origin };
        let _ = writeln!(
            text,
            "{:20}  {kind:8}  {origin:18}  {:>8}  {:>8}  {:>8}  {}",
            stage.name,
            tokens(work.sampled),
            tokens(work.trained),
            match (seconds > 0.0, work.is_open) {
                (true, _) => duration_text(seconds),
                (false, true) => "?".to_owned(),
                (false, false) => "-".to_owned(),
            },
            work.what
        );
    }
    let on = counted(threads, "thread", "threads");
    let _ = match (total > 0.0, is_open) {
        (_, false) => writeln!(text, "\nat most {} in all on {on}", duration_text(total)),
        (true, true) => writeln!(
            text,
            "\nat most {} on {on}, without what depends on files that are not here or cannot be read: that is not known",
            duration_text(total)
        ),
        (false, true) => {
            writeln!(
                text,
                "\nhow long it takes on {on} is not known: it depends on files that are not here or cannot be read"
            )
        }
    };
    text.push_str(&missing_files(recipe));
    for (model, config, rates) in &models {
        let name = match model {
            ModelSettings::Folder { path } => path.display().to_string(),
            ModelSettings::Shape(_) => "a new deepseek_v3".to_owned(),
            ModelSettings::Dense(_) => "a new dense model".to_owned(),
        };
        let Some(config) = config else {
            let size = match missing_size(recipe, model) {
                Some(size) => {
                    format!("times are those of the {} parameters that its name says", count_text(size as u64))
                }
                None => format!(
                    "its size is not known and times are those of a model of {} parameters",
                    count_text(USUAL_SIZE as u64)
                ),
            };
            let _ = writeln!(text, "{name}: not here, so {size}\n  hint: a folder on this machine: --model DIR");
            continue;
        };
        let (parameters, active) = config.parameters();
        let memory = config.memory(256, 256);
        let how = if rates.measured { "measured just now" } else { "assumed, not measured" };
        let _ = writeln!(
            text,
            "{name}: {} parameters, {} for each token; memory from {} to train, without activations; {:.0} tokens/s \
             sampled, {:.0} trained ({how})",
            count_text(parameters as u64),
            count_text(active as u64),
            bytes_text(memory.train),
            rates.sampled,
            rates.trained
        );
    }
    text.push_str("tokens and times are upper bounds: every answer as long as it may be; nothing was started\n");
    if recipe.data_files().next().is_some() {
        text.push_str("but for demonstrations in files, whose tokens are estimated from their letters\n");
    }
    Ok(text)
}

/// The configuration of a model; none where its folder is not here.
fn configuration(recipe: &Recipe, model: &ModelSettings) -> anyhow::Result<Option<ModelConfig>> {
    if let ModelSettings::Folder { path } = model {
        let file = path.join("config.json");
        return if file.is_file() { Ok(Some(ModelConfig::from_file(file)?)) } else { Ok(None) };
    }
    let vocabulary = recipe.pretrain().map_or(512, |settings| settings.vocab_size);
    let json = model.hf_config(vocabulary).context("a new model has a configuration")?;
    Ok(Some(ModelConfig::from_json(&json.to_string())?))
}

/// The parameters of a model that is not here, as its folder's name says, or else the recipe's.
fn missing_size(recipe: &Recipe, model: &ModelSettings) -> Option<f64> {
    let ModelSettings::Folder { path } = model else { return None };
    let folder = path.file_name().unwrap_or_default().to_string_lossy();
    size_in(&folder).or_else(|| size_in(&recipe.name))
}

/// The size in a name such as `Qwen2.5-0.5B-Instruct`.
fn size_in(name: &str) -> Option<f64> {
    name.split(['-', '_', ' ']).find_map(|word| {
        let digits = word.strip_suffix(['B', 'b'])?;
        let is_number =
            digits.starts_with(|c: char| c.is_ascii_digit()) && digits.ends_with(|c: char| c.is_ascii_digit());
        let billions: f64 = digits.parse().ok().filter(|_| is_number)?;
        // Nothing larger has ever been trained: it is a number of something else.
        (billions > 0.0 && billions < 1e5).then_some(billions * 1e9)
    })
}

/// The files that are not here, each on a line; data sets of the Hub are fetched when a run begins.
fn missing_files(recipe: &Recipe) -> String {
    let mut text = String::new();
    let tasks = recipe.task_files().map(|path| (path, "tasks"));
    let data = recipe.data_files().map(|path| (path, "demonstrations"));
    for (path, what) in tasks.chain(data).filter(|(path, _)| !path.is_file()) {
        let of_hub = what == "tasks" && matches!(hub_name(path), Ok(Some(_)));
        let why = if of_hub { "a data set of the Hub, fetched when a run begins" } else { "not here" };
        let _ = writeln!(text, "{}: {why} ({what})", path.display());
    }
    text
}

fn rates(
    model: &ModelSettings,
    config: Option<&ModelConfig>,
    missing_size: Option<f64>,
    threads: usize,
) -> anyhow::Result<Rates> {
    let active = config.map_or(missing_size.unwrap_or(USUAL_SIZE), |config| config.parameters().1 as f64);
    let is_new = !matches!(model, ModelSettings::Folder { .. });
    match config {
        Some(config) if is_new && config.parameters().0 <= MEASURED => measure(config, threads),
        _ => {
            let speed = ASSUMED * threads as f64;
            Ok(Rates { sampled: speed / (2.0 * active), trained: speed / (6.0 * active), measured: false })
        }
    }
}

/// Times a fresh model for a moment.
fn measure(config: &ModelConfig, threads: usize) -> anyhow::Result<Rates> {
    const BATCH: u32 = 64;
    const LENGTH: usize = 48;
    let policy = Policy::new(config.clone(), 0)?;
    let token = |row: u32, place: usize| (row * 31 + place as u32 * 17) % (config.vocab_size as u32 - 3) + 3;
    let rows: Vec<Vec<u32>> = (0..BATCH).map(|row| (0..LENGTH).map(|place| token(row, place)).collect()).collect();
    let shown: Vec<Sampled<'_>> =
        rows.iter().map(|row| Sampled { prompt: &row[..1], token_ids: &row[1..], choices: None }).collect();
    let batches = pack(&shown, 4096)?;
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().context("cannot start the threads")?;
    pool.install(|| {
        let mut trained = 0;
        let mut gradients = policy.gradients()?;
        let start = Instant::now();
        while start.elapsed() < MOMENT {
            for micro in &batches {
                let forward = policy.forward(&micro.batch, 1.0, Track::Gradients)?;
                let slopes = vec![1.0; forward.logprobs.len()].into();
                policy.backward(forward, &slopes, 0.0, &mut gradients)?;
                trained += micro.batch.token_ids.len();
            }
        }
        let trained = trained as f64 / start.elapsed().as_secs_f64();
        let engine = RolloutEngine::new(&policy)?;
        let requests: Vec<Request> =
            (0..).zip(&rows).map(|(task, row)| Request { task, prompt: row[..8].to_vec(), samples: 1 }).collect();
        let params = SamplingParams { temperature: 1.0, top_p: 1.0, top_k: 0, max_tokens: LENGTH };
        let options = RolloutOptions { seed: 0, step: 0, end_of_text: Vec::new(), batch: BATCH as usize };
        let mut sampled = 0;
        let start = Instant::now();
        while start.elapsed() < MOMENT {
            engine.generate(&requests, &params, &options, |completion| sampled += completion.token_ids.len())?;
        }
        Ok(Rates { sampled: sampled as f64 / start.elapsed().as_secs_f64(), trained, measured: true })
    })
}

/// What a stage would do, at most.
fn work(recipe: &Recipe, stage: &Stage, tasks: Option<&Tasks>) -> anyhow::Result<Work> {
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
            crate::config::DataSource::File(path) => {
                let read = datasets::source::read_demonstrations(path, recipe.tasks.on_bad_line.into()).ok()?;
                let bytes = read.demonstrations.iter().map(|one| {
                    one.answer.len() + one.messages.iter().map(|message| message.content.len()).sum::<usize>()
                });
                (read.demonstrations.len() as u64, bytes.sum::<usize>() as u64 / BYTES_PER_TOKEN)
            }
            crate::config::DataSource::Stage(name) => {
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
    use crate::config::SHIPPED;
    use crate::progress::Verbosity;

    fn silent() -> Reporter {
        Reporter::new(Verbosity::Silent)
    }

    #[test]
    fn every_shipped_recipe_has_a_plan() {
        for shipped in SHIPPED {
            let recipe = shipped.recipe(&[]).unwrap();
            let text = render(&recipe, 1, Span::default(), &silent())
                .unwrap_or_else(|error| panic!("{}: {error:#}", shipped.name));
            for stage in &recipe.stages {
                assert!(text.contains(&format!("\n{} ", stage.name)), "{text}");
            }
            let is_whole = recipe.data_files().next().is_none();
            assert_eq!(text.contains(" in all on 1 thread\n"), is_whole, "{text}");
            assert!(text.contains(" on 1 thread") && text.contains("nothing was started"), "{text}");
        }
    }

    #[test]
    fn what_is_not_here_is_not_said_to_take_no_time() {
        let text = "[model]\npath = \"none/Qwen2.5-0.5B\"\n[tasks]\nfiles = [\"none.jsonl\", \"openai/gsm8k\"]\n\
                    [[stage]]\nkind = \"sft\"\ndata = [\"shown.jsonl\"]\n";
        let plan = |text: &str| {
            let recipe = Recipe::parse("x.toml", text, &[]).unwrap();
            render(&recipe, 1, Span::default(), &silent()).unwrap()
        };
        let learned = plan(text);
        for part in [
            "how long it takes on 1 thread is not known",
            "\nnone.jsonl: not here (tasks)\n",
            "\nopenai/gsm8k: a data set of the Hub, fetched when a run begins (tasks)\n",
            "\nshown.jsonl: not here (demonstrations)\n",
            "not here, so times are those of the 500.0M parameters that its name says",
        ] {
            assert!(learned.contains(part), "{part}: {learned}");
        }
        let both = plan(&format!("{text}[[stage]]\nkind = \"eval\"\n"));
        assert!(both.contains(" on 1 thread, without what depends on files that are not here"), "{both}");
    }

    #[test]
    fn a_size_is_read_from_a_name() {
        for (name, expected) in [
            ("Qwen2.5-0.5B", Some(0.5e9)),
            ("Qwen3-30B-A3B", Some(30e9)),
            ("llama_7b_chat", Some(7e9)),
            ("Qwen2.5", None),
            ("gpt-4bit", None),
            ("infB", None),
        ] {
            assert_eq!(size_in(name), expected, "{name}");
        }
    }

    #[test]
    fn tokens_are_those_of_the_settings() {
        let recipe = crate::config::find_shipped("smoke").unwrap().recipe(&[]).unwrap();
        let tasks = Tasks::read(&recipe, &silent()).unwrap();
        let of = |name: &str| {
            let stage = recipe.stages.iter().find(|stage| stage.name == name).unwrap();
            work(&recipe, stage, Some(&tasks)).unwrap()
        };
        let grpo = of("grpo");
        assert_eq!((grpo.sampled, grpo.trained), (3 * 6 * 4 * 32 + 2 * 3 * 4 * 32, 3 * 6 * 4 * 32 + 3 * 6 * PROMPT));
        let from = render(&recipe, 1, Span { from: Some("grpo"), until: Some("grpo") }, &silent()).unwrap();
        assert!(from.contains("\ngrpo ") && !from.contains("\nbefore ") && !from.contains("\nafter "), "{from}");
        assert_eq!(of("before").sampled, 3 * 6 * 3 * 32);
        assert_eq!(of("pretrain").trained, 60_000);
    }

    #[test]
    fn files_that_are_here_are_counted_and_refused_as_a_run_would() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mine.jsonl");
        let plan = |rows: &str| {
            std::fs::write(&path, rows).unwrap();
            let file = format!("tasks.files=['{}']", path.display());
            let recipe = crate::config::find_shipped("smoke").unwrap().recipe(&[file]).unwrap();
            render(&recipe, 1, Span::default(), &silent())
        };
        let row = |number: usize, split: &str| {
            format!("{{\"question\": \"{number}?\", \"answer\": \"2\", \"split\": \"{split}\"}}\n")
        };
        let train: String = (0..8).map(|number| row(number, "train")).collect();
        // As many are examined as the rows say, and not as many as the recipe asks for.
        let text = plan(&(train.clone() + &row(8, "test") + &row(9, "test"))).unwrap();
        assert!(text.contains("  2 held-out tasks, 2 samples"), "{text}");
        let error = plan(&row(0, "test")).unwrap_err().to_string();
        assert!(
            error
                .contains("no task is left to train on\n  hint: all 1 are held out, by the split that their rows name"),
            "{error}"
        );
        assert!(plan(&(train + "{\"question\": 1}\n")).is_err());
    }
}
