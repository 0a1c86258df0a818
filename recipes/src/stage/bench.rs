//! What the stages share: the tasks, the rewards with their Python, and models as they are loaded.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use policy::{Policy, Tokenizer};
use rewards::{PythonUse, RewardSet, RewardSpec, Surroundings};
use sandbox::{Limits, Python};

use super::tasks::Tasks;
use crate::RunContext;
use crate::config::Recipe;

/// Tasks and rewards, ready to use.
pub(super) struct Bench {
    pub(super) tasks: Tasks,
    /// What the recipe rewards.
    pub(super) rewards: RewardSet,
    /// Right or not, and nothing else: what pass@1 counts.
    pub(super) verdict: RewardSet,
}

impl Bench {
    /// Prepares Python, if a program is to be run at all.
    pub(super) fn prepare(context: &RunContext<'_>, tasks: Tasks) -> anyhow::Result<Bench> {
        let specs = context.recipe.reward_specs();
        let known = &context.recipe.known_rewards;
        let programs = tasks.have_programs();
        let needed = programs || known.need_python(&specs, false);
        let python = needed.then(|| prepare_python(context)).transpose()?;
        // Without a program among the tasks, a reward that judges programs has nothing to apply to.
        let usable = |specs: Vec<RewardSpec>| -> Vec<RewardSpec> {
            specs.into_iter().filter(|spec| programs || known.python_use(spec) != PythonUse::ForPrograms).collect()
        };
        // Generated tasks are short; what a file asks for is not known.
        let generated = context.recipe.tasks.files.is_empty();
        let limits = if generated { Limits::brief() } else { Limits::default() };
        let judges = ["accuracy", "binary_code"].map(RewardSpec::named).into();
        let verdict = RewardSet::build_limited(&usable(judges), python.clone(), limits)?;
        let rewards = known.build(&usable(specs), &Surroundings { python, limits })?;
        Ok(Bench { tasks, rewards, verdict })
    }
}

/// Reads the rewards that the recipe brings along as files, so that a wrong one is found before there is a run.
pub(crate) fn check_rewards(recipe: &Recipe, cache_dir: &Path) -> anyhow::Result<()> {
    let specs: Vec<RewardSpec> = recipe.reward_specs().into_iter().filter(|spec| spec.custom.is_some()).collect();
    if specs.is_empty() {
        return Ok(());
    }
    let known = &recipe.known_rewards;
    let python = known.need_python(&specs, false).then(|| Python::prepare(cache_dir, &mut |_| {})).transpose();
    let python = python.context("cannot prepare the Python sandbox")?.map(Arc::new);
    known.build(&specs, &Surroundings { python, limits: Limits::default() })?;
    Ok(())
}

fn prepare_python(context: &RunContext<'_>) -> anyhow::Result<Arc<Python>> {
    let _awaiting = context.interrupt.awaiting("the Python sandbox is prepared");
    let phase = context.reporter.phase("Python sandbox", Some(sandbox::PrepareStep::ALL.len() as u64), "steps");
    let python = Python::prepare(&context.cache_dir, &mut |step| {
        phase.set_position(step.index() as u64);
        phase.set_message(&step.to_string());
    })
    .context("cannot prepare the Python sandbox")?;
    phase.finish("");
    Ok(Arc::new(python))
}

/// A policy and its tokenizer.
pub(super) struct Model {
    pub(super) policy: Policy,
    pub(super) tokenizer: Tokenizer,
}

impl Model {
    /// Reads a Hugging Face folder.
    pub(super) fn load(folder: &Path) -> anyhow::Result<Model> {
        let context = || format!("cannot use the model in {}", folder.display());
        let policy = Policy::load(folder).with_context(context)?;
        let tokenizer = Tokenizer::from_dir(folder).with_context(context)?;
        anyhow::ensure!(
            tokenizer.vocab_size() <= policy.config().vocab_size,
            "the tokenizer in {} has {} tokens, the model {}",
            folder.display(),
            tokenizer.vocab_size(),
            policy.config().vocab_size
        );
        Ok(Model { policy, tokenizer })
    }

    /// Writes a Hugging Face folder: weights, configuration, tokenizer.
    pub(super) fn save(&self, folder: &Path) -> anyhow::Result<()> {
        self.policy.save(folder)?;
        self.tokenizer.save(folder)?;
        Ok(())
    }
}

/// Encodes questions in R1-Zero's template; the template's own words are encoded once.
pub(super) struct PromptEncoder<'a> {
    tokenizer: &'a Tokenizer,
    head: Vec<u32>,
}

impl<'a> PromptEncoder<'a> {
    pub(super) fn new(tokenizer: &'a Tokenizer) -> Self {
        // What the model's own tokenizer begins every text with, if anything, then the template.
        let head = [tokenizer.begin_ids(), &tokenizer.encode(template_head())].concat();
        PromptEncoder { tokenizer, head }
    }

    /// The token ids of the template around `question`.
    pub(super) fn encode(&self, question: &str) -> Vec<u32> {
        let prompt = datasets::template::r1_zero(question);
        let mut ids = self.head.clone();
        ids.extend(self.tokenizer.encode(&prompt[template_head().len()..]));
        ids
    }
}

/// The template up to the space before the question, which belongs to the question's first word.
fn template_head() -> &'static str {
    datasets::template::R1_ZERO_PREFIX.trim_end()
}
