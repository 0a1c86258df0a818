//! The rewards of a measured step, given as a recipe's are: by threads of their own, while others are still being sampled.

use std::sync::{Mutex, PoisonError};

use datasets::{Family, Split, Task};
use policy::{Completion, Tokenizer};
use rewards::{RewardSet, RewardSpec};

use crate::stage::{Grader, Spent};

/// Tokens of the tokenizer that spells what a model without one of its own writes.
const VOCABULARY: usize = 512;
/// Texts that it is learned from.
const TEXTS: u64 = 500;

/// What completions are read with, and what they are scored by.
pub(super) struct Graded {
    tokenizer: Tokenizer,
    /// Those of `r1-zero` that need no program.
    rewards: RewardSet,
    /// Asked in turn.
    tasks: [Task; 2],
}

impl Graded {
    /// By the model's own tokenizer, where it has one.
    pub(super) fn new(tokenizer: Option<Tokenizer>) -> anyhow::Result<Self> {
        let families = [Family::Arithmetic, Family::Countdown];
        let learned = || {
            let text = |index: u64| families.map(|family| family.solution(Split::Train, 0, index)).join("\n");
            Tokenizer::train((0..TEXTS).map(text), VOCABULARY)
        };
        let format = RewardSpec { weight: 0.1, ..RewardSpec::named("format") };
        Ok(Graded {
            tokenizer: tokenizer.map_or_else(learned, Ok)?,
            rewards: RewardSet::build(&[RewardSpec::named("accuracy"), format], None)?,
            tasks: families.map(|family| family.task(Split::Train, 0, 0)),
        })
    }

    /// Runs `sample`, which hands over completions as they finish, `group` of them for each of so many prompts; returns each
    /// group's rewards, and how long it all took.
    pub(super) fn while_sampling(
        &self,
        (prompts, group): (usize, usize),
        sample: impl FnOnce(&mut dyn FnMut(&Completion)) -> policy::Result<()>,
    ) -> anyhow::Result<(Vec<Vec<Option<f64>>>, Spent)> {
        let tasks: Vec<Task> = self.tasks.iter().cycle().take(prompts).cloned().collect();
        let grader = Grader {
            rewards: &self.rewards,
            tokenizer: &self.tokenizer,
            tasks: &tasks,
            opening: "",
            votes: false,
            threads: rayon::current_num_threads(),
        };
        let scores = Mutex::new(Vec::new());
        let spent = grader.each(
            group as u32,
            |finish| sample(&mut |completion| finish(self.spelled(completion))),
            &|graded| {
                let place = (graded.completion.task, graded.completion.sample);
                scores.lock().unwrap_or_else(PoisonError::into_inner).push((place, graded.breakdown.total));
                Ok(())
            },
        )?;
        let mut scores = scores.into_inner().unwrap_or_else(PoisonError::into_inner);
        scores.sort_by_key(|(place, _)| *place);
        let groups = scores.chunk_by(|((a, _), _), ((b, _), _)| a == b);
        Ok((groups.map(|group| group.iter().map(|(_, score)| *score).collect()).collect(), spent))
    }

    /// The completion in tokens that can be read: ids beyond the tokenizer's stand for those that they leave as a remainder, so
    /// that what a model of random weights writes is as long a text as any, with numbers and tags.
    fn spelled(&self, completion: &Completion) -> Completion {
        let mut spelled = completion.clone();
        let size = self.tokenizer.vocab_size() as u32;
        spelled.token_ids.iter_mut().for_each(|id| *id %= size);
        spelled
    }
}

#[cfg(test)]
mod tests {
    use policy::FinishReason;

    use super::*;

    #[test]
    fn answers_are_rewarded_as_in_a_recipe_in_the_order_of_samples() {
        let graded = Graded::new(None).unwrap();
        let size = graded.tokenizer.vocab_size() as u32;
        let right = Family::Countdown.solution(Split::Train, 0, 0);
        let completion = |task, sample, text: &str| Completion {
            task,
            sample,
            // As of a larger vocabulary.
            token_ids: graded.tokenizer.encode(text).iter().map(|id| id + sample * size).collect(),
            logprobs: Vec::new(),
            prompt_choices: std::sync::Arc::default(),
            choices: Default::default(),
            finish_reason: FinishReason::Stop,
        };
        let wrong = "<think> no </think> <answer> 0 </answer>";
        let (rewards, spent) = graded
            .while_sampling((2, 2), |finish| {
                [(1, 1, right.as_str()), (0, 1, "12 + 7"), (1, 0, wrong), (0, 0, wrong)]
                    .into_iter()
                    .for_each(|(task, sample, text)| finish(&completion(task, sample, text)));
                Ok(())
            })
            .unwrap();
        assert_eq!(rewards, [[Some(0.1), Some(0.0)], [Some(0.1), Some(1.1)]]);
        assert!(spent.grading > std::time::Duration::ZERO);
    }
}
