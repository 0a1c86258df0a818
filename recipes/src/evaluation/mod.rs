//! `recipe eval`: models on benchmarks, from the questions to the table and the page.
//!
//! | file | what it holds |
//! |---|---|
//! | `benchmark` | the benchmarks that are known, and how each is asked |
//! | `problems` | a benchmark's problems, from its file or generated |
//! | `subject` | the model that is examined |
//! | `prompt` | from a problem to the tokens that the model reads, in one template for all models |
//! | `ask` | sampling and grading; comparing choices |
//! | `store` | answers on disk, so that a run that was killed goes on |
//! | `result` | the figures of a benchmark |
//! | `earlier` | benchmarks that were asked earlier in the same folder |
//! | `paired` | two models on the same problems |
//! | `table` | what is printed |
//!
//! Answers are graded by the verifiers that training uses. The page is drawn in `report/eval`.

mod ask;
mod benchmark;
mod earlier;
mod paired;
mod problems;
mod prompt;
mod result;
mod store;
mod subject;
mod table;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use datasets::Domain;
use policy::{Place, Tokenizer};
use sandbox::Limits;
use serde::{Deserialize, Serialize};

use crate::config::RecipeError;
use crate::interrupt::Interrupt;
use crate::model::Model;
use crate::progress::Reporter;
use crate::run::write_whole;
use crate::stage;

pub use crate::answers::{Answers, powers};
pub use crate::lineage::Template;
pub use benchmark::{Benchmark, Method, Source, find, published};
pub use paired::Paired;
pub(crate) use prompt::Asking;
pub use result::Scored;
#[cfg(test)]
pub(crate) use result::tests as test_support;
pub use store::{Answer, Answered, Asked};
pub use subject::Subject;
pub(crate) use table::{difference, settings};
pub use table::{list, render};

use ask::{Asker, choice_positions};
use problems::Problems;
use store::Store;

/// The file of the figures.
const SUMMARY: &str = "summary.json";

/// What is examined on what, and how.
#[derive(Clone, Debug)]
pub struct EvalOptions {
    /// The models: one, or two to be compared.
    pub models: Vec<PathBuf>,
    /// The benchmarks.
    pub benchmarks: Vec<Benchmark>,
    /// Where their files lie.
    pub data: PathBuf,
    /// Problems of each at most.
    pub limit: Option<usize>,
    /// Answers to each problem, instead of the benchmark's number; so with the four that follow.
    pub samples: Option<u32>,
    /// Sampling temperature.
    pub temperature: Option<f64>,
    /// Share of the probability to sample from.
    pub top_p: Option<f64>,
    /// Tokens of an answer at most.
    pub max_tokens: Option<usize>,
    /// What stands around a question.
    pub template: Option<Template>,
    /// The system message before it, in the chat template, instead of that of the model's training.
    pub system: Option<String>,
    /// For which k pass@k and cons@k are stated, instead of the powers of two.
    pub k: Vec<usize>,
    /// All randomness comes from this.
    pub seed: u64,
    /// Threads; as many as there are cores unless given.
    pub threads: Option<usize>,
    /// Where the models live.
    pub place: Place,
    /// Most sequences decoded at once.
    pub batch: usize,
    /// Where answers and figures go, instead of `evals/NAME`.
    pub out: Option<PathBuf>,
    /// Where the prepared Python lies.
    pub cache_dir: PathBuf,
    /// Where progress goes.
    pub reporter: Reporter,
    /// Told to a person who asks to stop.
    pub interrupt: Interrupt,
}

/// What came out: what `summary.json` holds, of this call and of earlier ones in the same folder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// The models, in the order in which they were named.
    pub models: Vec<Subject>,
    /// Each benchmark, in the order in which they were first asked.
    pub benchmarks: Vec<BenchmarkResult>,
}

/// What came out of one benchmark.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BenchmarkResult {
    /// The benchmark.
    pub name: String,
    /// The figures of each model.
    pub results: Vec<Scored>,
    /// The first model against the second, where there are two.
    pub paired: Option<Paired>,
}

/// A benchmark that can be asked: its settings and its problems.
struct Ready {
    benchmark: Benchmark,
    problems: Problems,
    k: Vec<usize>,
}

/// Asks every model every benchmark, or what is left of it, and writes `summary.json` and `report.html`.
///
/// # Errors
/// What was asked for makes no sense (a [`RecipeError`], before any work), or a file cannot be read or written.
pub fn evaluate(options: &EvalOptions) -> anyhow::Result<(Evaluation, PathBuf)> {
    let mut subjects = options.models.iter().map(|folder| Subject::find(folder)).collect::<anyhow::Result<Vec<_>>>()?;
    if let [first, second] = &mut subjects[..] {
        if first.fingerprint == second.fingerprint {
            options.reporter.note("the two models are the same, file for file: they differ nowhere");
        }
        Subject::tell_apart(first, second);
    }
    let mut tokenizers = Vec::new();
    for subject in &subjects {
        let tokenizer = Tokenizer::from_dir(&subject.folder)
            .with_context(|| format!("cannot use the model in {}", subject.folder.display()))?;
        tokenizers.push(tokenizer);
    }
    let ready = options.benchmarks.iter().map(|one| prepare(one, options)).collect::<anyhow::Result<Vec<_>>>()?;
    let generates = ready.iter().any(|one| one.benchmark.method == Method::Generate);
    let asking = if generates {
        let given = (options.template, options.system.as_deref());
        Asking::of_models(given, &subjects, &tokenizers, &options.reporter)?
    } else {
        // Where nothing is sampled, no template is used.
        Asking { template: Template::Plain, system: String::new() }
    };

    let names: Vec<&str> = subjects.iter().map(|subject| subject.name.as_str()).collect();
    let out = options.out.clone().unwrap_or_else(|| PathBuf::from("evals").join(names.join("-against-")));
    std::fs::create_dir_all(&out).with_context(|| format!("cannot make the folder {}", out.display()))?;
    let _lock = crate::run::lock(&out)?;
    let programs = ready.iter().any(|one| one.problems.tasks.iter().any(|task| task.domain == Domain::Code));
    let python = if programs {
        Some(Arc::new(stage::prepare_python(&options.reporter, &options.interrupt, &options.cache_dir)?))
    } else {
        None
    };
    let verdict = stage::verdict(python, Limits::default())?;

    let threads = options.threads.unwrap_or_else(rayon::current_num_threads);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().context("cannot start the threads")?;
    let mut answered: Vec<Vec<(Asked, Vec<Answered>)>> = Vec::new();
    for subject in &subjects {
        let model = Model::load(&subject.folder, &options.place)?;
        let asker = Asker { model: &model, verdict: &verdict, batch: options.batch, threads };
        let folder = out.join("answers").join(&subject.name);
        // All before the first is asked, which may take hours.
        let planned = ready.iter().map(|one| plan(options, subject, one, &asking, &model));
        let planned = planned.collect::<anyhow::Result<Vec<_>>>()?;
        let each = |one: Planned<'_>| pool.install(|| ask(options, subject, one, &asker, &folder));
        answered.push(planned.into_iter().map(each).collect::<anyhow::Result<_>>()?);
    }

    let mut answered: Vec<_> = answered.into_iter().map(Vec::into_iter).collect();
    let figures = |one: &Ready| {
        let of_models: Vec<(Asked, Vec<Answered>)> = answered.iter_mut().filter_map(Iterator::next).collect();
        let results = of_models.iter().map(|(asked, rows)| result::score(asked, rows, &one.k)).collect();
        let paired = match &of_models[..] {
            [(_, first), (_, second)] => result::pair(first, second, options.seed),
            _ => None,
        };
        let result = BenchmarkResult { name: one.benchmark.name.clone(), results, paired };
        (result, of_models.into_iter().map(|(_, rows)| rows).collect())
    };
    let now = ready.iter().map(figures).collect();
    let all = earlier::with_earlier(&out, &subjects, now, &options.reporter)?;
    let (benchmarks, answered): (Vec<BenchmarkResult>, Vec<Vec<Vec<Answered>>>) = all.into_iter().unzip();
    let evaluation = Evaluation { benchmarks, models: subjects };
    let text = serde_json::to_string_pretty(&evaluation)? + "\n";
    write_whole(&out.join(SUMMARY), text.as_bytes())?;
    // The page wants them by model, then by benchmark.
    let of_model = |model: usize| answered.iter().map(|of_models| of_models[model].as_slice()).collect();
    let rows: Vec<Vec<&[Answered]>> = (0..evaluation.models.len()).map(of_model).collect();
    write_whole(&out.join("report.html"), crate::report::eval::render(&evaluation, &rows).as_bytes())?;
    Ok((evaluation, out))
}

/// The benchmark with what was asked for on top, checked.
fn prepare(benchmark: &Benchmark, options: &EvalOptions) -> anyhow::Result<Ready> {
    let mut benchmark = benchmark.clone();
    if benchmark.method == Method::Generate {
        benchmark.samples = options.samples.unwrap_or(benchmark.samples);
        benchmark.temperature = options.temperature.unwrap_or(benchmark.temperature);
        benchmark.top_p = options.top_p.unwrap_or(benchmark.top_p);
        benchmark.max_tokens = options.max_tokens.unwrap_or(benchmark.max_tokens);
    }
    let subject = || format!("--bench {}", benchmark.name);
    let samples = benchmark.samples as usize;
    // Where choices are compared there is nothing to take k of.
    let asked_k: &[usize] = if benchmark.method == Method::Generate { &options.k } else { &[] };
    if benchmark.temperature == 0.0 && samples > 1 {
        let message = format!("{samples} samples at the temperature 0 would all be the same");
        return Err(RecipeError::new(subject(), message).hint("add --samples 1, or a temperature above 0").into());
    }
    if let Some(k) = asked_k.iter().find(|k| **k > samples) {
        let message = format!("pass@{k} cannot be told from {samples} answers to a problem");
        return Err(RecipeError::new(subject(), message).hint(format!("raise --samples to {k}, or lower --k")).into());
    }
    let k = if asked_k.is_empty() { powers(samples) } else { asked_k.to_vec() };
    let problems = Problems::read(&benchmark, &options.data, options.limit)?;
    Ok(Ready { benchmark, problems, k })
}

/// A benchmark as one model is asked it.
struct Planned<'r> {
    problems: &'r Problems,
    asked: Asked,
    /// Those of all problems; none where choices are compared.
    prompts: Vec<Vec<u32>>,
}

/// How one model is asked one benchmark: that all of it fits into the model is checked before any of it is asked.
fn plan<'r>(
    options: &EvalOptions,
    subject: &Subject,
    ready: &'r Ready,
    Asking { template, system }: &Asking,
    model: &Model,
) -> anyhow::Result<Planned<'r>> {
    let Ready { benchmark, problems, .. } = ready;
    let generate = benchmark.method == Method::Generate;
    let prompts = match generate {
        true => template.encode(&model.tokenizer, (system, benchmark.instruction), &problems.tasks)?,
        false => Vec::new(),
    };
    let positions = model.policy.config().max_position_embeddings;
    let mut longest_asked = 0;
    for place in problems.asked.iter().map(|place| *place as usize) {
        let task = &problems.tasks[place];
        let (takes, rest) = match generate {
            true => (prompts[place].len(), "an answer"),
            false => (choice_positions(&model.tokenizer, task)?, "its letters"),
        };
        // An answer is at least a token beyond its prompt; the last token of a letter takes no position.
        if takes + usize::from(generate) > positions {
            let message = format!(
                "the problem {} has {takes} tokens, and the {positions} positions of {} leave no room for {rest}",
                task.id, subject.name
            );
            let hint = "take the problem out of the file, or examine a model with more positions";
            return Err(RecipeError::new(format!("--bench {}", benchmark.name), message).hint(hint).into());
        }
        longest_asked = longest_asked.max(takes);
    }
    // Of all problems that fit, so that a larger `--limit` asks as this one does.
    let longest = prompts.iter().map(Vec::len).filter(|takes| *takes < positions).max().unwrap_or(longest_asked);
    let max_tokens = benchmark.max_tokens.min(positions.saturating_sub(longest));
    if max_tokens < benchmark.max_tokens {
        options.reporter.note(&format!(
            "{}: {} answers in up to {max_tokens} tokens instead of {}: it has {positions} positions, of which the longest \
             prompt takes {longest}",
            benchmark.name, subject.name, benchmark.max_tokens
        ));
    }
    let programs = problems.tasks.iter().any(|task| task.domain == Domain::Code);
    let grader = match (generate, programs) {
        (false, _) => "asked in the words of the Language Model Evaluation Harness; the likeliest letter is the answer",
        (true, true) => "code: the program passes every assertion, in the sandbox",
        (true, false) => "accuracy: the answer equals the reference; one that was cut off must stand in tags or a box",
    };
    let asked = Asked {
        benchmark: benchmark.name.clone(),
        about: benchmark.about.clone(),
        problems_from: problems.from.clone(),
        problems_sha256: problems.sha256.clone(),
        problems: problems.asked.len() as u64,
        method: benchmark.method,
        template: generate.then_some(*template),
        system: if generate { system.clone() } else { String::new() },
        instruction: if *template == Template::R1Zero || !generate { "" } else { benchmark.instruction }.to_owned(),
        shots: 0,
        samples: benchmark.samples,
        temperature: if generate { benchmark.temperature } else { 0.0 },
        top_p: if generate { benchmark.top_p } else { 1.0 },
        max_tokens,
        grader: grader.to_owned(),
        seed: options.seed,
        card: crate::place::card_name(&options.place),
        model: subject.fingerprint.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    Ok(Planned { problems, asked, prompts })
}

/// Asks one model what is left of one benchmark, and gives all of its answers.
fn ask(
    options: &EvalOptions,
    subject: &Subject,
    planned: Planned<'_>,
    asker: &Asker<'_>,
    folder: &std::path::Path,
) -> anyhow::Result<(Asked, Vec<Answered>)> {
    let Planned { problems, asked, prompts } = planned;
    let store = Store::open(folder, &asked)?;
    let done = store.done()?;
    let left: Vec<u32> = problems.asked.iter().copied().filter(|place| !done.contains_key(place)).collect();
    if !left.is_empty() {
        let answers = |places: usize| places as u64 * u64::from(asked.samples);
        let name = format!("{} ({})", asked.benchmark, subject.name);
        let phase = options.reporter.phase(&name, Some(answers(problems.asked.len())), "answers");
        phase.set_position(answers(problems.asked.len() - left.len()));
        if left.len() < problems.asked.len() {
            let kept = problems.asked.len() - left.len();
            options.reporter.note(&format!("{name}: {kept} of {} problems are answered already", problems.asked.len()));
        }
        match asked.method {
            Method::Generate => asker.generate(&asked, problems, &left, &prompts, &store, &phase)?,
            Method::Likelihood => asker.choose(problems, &left, &store, &phase)?,
        }
        phase.finish("");
    }
    let mut rows = store.done()?;
    store.finish(&rows)?;
    let rows = problems.asked.iter().filter_map(|place| rows.remove(place)).collect();
    Ok((asked, rows))
}

#[cfg(test)]
mod tests;
