//! The policy of a `difficulty` step: asked as the stages of a recipe ask theirs, many tasks in one call of the engine.
//!
//! Each token's random number is addressed by the job's seed, the task's id, the sample and the position. So what is written
//! to a task does not depend on which others are attempted with it, nor on how many sequences are decoded at once.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context;
use datasets::Task;
use datasets::curate::{Difficulty, PromptTemplate};
use policy::{Place, Request, RolloutEngine, RolloutOptions, SamplingParams, Tokenizer};
use rayon::prelude::*;

use crate::config::{RecipeError, Template};
use crate::model::Model;
use crate::stage::PromptEncoder;

/// A policy ready to answer.
pub(super) struct Solver {
    engine: RolloutEngine,
    tokenizer: Tokenizer,
    /// Tokens of a prompt and its completion together, at most.
    positions: usize,
}

impl Solver {
    /// Reads a Hugging Face folder; the policy lives at `place`.
    pub(super) fn load(folder: &Path, place: &Place) -> anyhow::Result<Solver> {
        let model = Model::load(folder, place)?;
        let engine = RolloutEngine::new(&model.policy)?;
        let positions = model.policy.config().max_position_embeddings;
        Ok(Solver { engine, tokenizer: model.tokenizer, positions })
    }

    /// The token ids of each task's prompt. An error names the first task that cannot be asked.
    pub(super) fn prompts(&self, step: &Difficulty, tasks: &[Task]) -> anyhow::Result<Vec<Vec<u32>>> {
        let encoder = encoder(&self.tokenizer, step)?;
        let prompt = |task: &Task| {
            let ids = encoder.ask(task)?;
            let room = self.positions.saturating_sub(step.max_new_tokens);
            if ids.len() > room {
                let message = format!(
                    "its prompt has {} tokens; with max_new_tokens = {} the model's {} positions leave room for {room}",
                    ids.len(),
                    step.max_new_tokens,
                    self.positions
                );
                let subject = format!("the task {} of {} ({:.60})", task.id, task.source, task.prompt);
                let hint = "lower max_new_tokens, or leave out such rows first: kind = \"filter\", max_words = N";
                return Err(RecipeError::new(subject, message).hint(hint).into());
            }
            Ok(ids)
        };
        tasks.par_iter().map(prompt).collect()
    }

    /// Has the policy write `step.samples` answers to each task, and hands over each as it ends: the task's place, the sample,
    /// the text. So many sequences are decoded at once as `batch` says.
    pub(super) fn attempt(
        &self,
        step: &Difficulty,
        tasks: &[Task],
        seed: u64,
        batch: usize,
        take: &mut dyn FnMut(usize, usize, String),
    ) -> anyhow::Result<()> {
        let mut prompts = self.prompts(step, tasks)?;
        let opening = encoder(&self.tokenizer, step)?.opening();
        let samples = u32::try_from(step.samples)?;
        let params =
            SamplingParams { temperature: step.temperature, top_p: 1.0, top_k: 0, max_tokens: step.max_new_tokens };
        let options = RolloutOptions { seed, step: 0, end_of_text: self.tokenizer.end_ids().to_vec(), batch };
        for places in calls(tasks.iter().map(|task| task.id.as_str())) {
            let requests: Vec<Request> = places
                .iter()
                .map(|(&task, &place)| Request { task, prompt: std::mem::take(&mut prompts[place]), samples })
                .collect();
            self.engine.generate(&requests, &params, &options, |completion| {
                let text = format!("{opening}{}", self.tokenizer.decode(&completion.token_ids));
                take(places[&completion.task], completion.sample as usize, text);
            })?;
        }
        Ok(())
    }
}

/// What puts a task to the policy of a step.
pub(super) fn encoder<'a>(tokenizer: &'a Tokenizer, step: &'a Difficulty) -> anyhow::Result<PromptEncoder<'a>> {
    let template = match step.template {
        PromptTemplate::R1Zero => Template::R1Zero,
        PromptTemplate::Chat => Template::Chat,
    };
    PromptEncoder::of_template(tokenizer, template, &step.system_prompt)
        .context("the policy cannot be asked in its chat template")
}

/// The tasks of each call of the engine, as their places by number. The engine tells the requests of a call apart by a number
/// of 32 bits, half of what an id has: where two ids come to one number, the second waits for the next call.
fn calls<'a>(ids: impl Iterator<Item = &'a str>) -> Vec<BTreeMap<u32, usize>> {
    let mut calls: Vec<BTreeMap<u32, usize>> = Vec::new();
    for (place, id) in ids.enumerate() {
        // An id is 16 hex digits; of what is none, any number does.
        let id = u64::from_str_radix(id, 16).unwrap_or(0);
        let number = (id ^ (id >> 32)) as u32;
        match calls.iter_mut().find(|call| !call.contains_key(&number)) {
            Some(call) => {
                call.insert(number, place);
            }
            None => calls.push(BTreeMap::from([(number, place)])),
        }
    }
    calls
}

#[cfg(test)]
pub(super) mod tests;
