//! What a step learns: advantages, then `epochs` passes over its completions in `mini_batches` optimizer steps.

use policy::grpo::{
    LossInput, LossOutput, Member, MicroBatch, MiniBatch, Sampled, advantages, advantages_less, loss, pack, sequence_kl,
};
use policy::random::permutation;
use policy::{Policy, Slopes, Track};

use super::super::grade::Graded;
use super::super::passes::Passes;
use super::super::trainer::{StepSettings, Stepped};
use super::Learner;
use super::rollout::{Rollout, rewards};
use crate::config::{GrpoSettings, MiniBatchSplit};
use crate::metrics::{Extremes, StepMetrics, mean};

/// A completion that is learned from.
struct Example<'a> {
    /// Its place in the rollout.
    index: usize,
    prompt: &'a [u32],
    graded: &'a Graded,
    /// Its tokens' log-probabilities under the reference, once they were computed.
    reference: Option<Vec<f32>>,
    advantage: f64,
    /// Its tokens count in the loss.
    counts: bool,
}

impl Example<'_> {
    fn tokens(&self) -> usize {
        self.graded.completion.token_ids.len()
    }

    /// Whether it goes through training. Without a penalty or bonus, a completion that did as well as its group teaches
    /// nothing: it need not be computed.
    fn teaches(&self, settings: &GrpoSettings) -> bool {
        let loss = settings.loss_settings();
        self.counts && (loss.kl.is_some() || loss.entropy_coefficient > 0.0 || self.advantage != 0.0)
    }

    fn member(&self) -> Member {
        Member { tokens: self.tokens(), counts: self.counts }
    }

    fn sampled(&self) -> Sampled<'_> {
        Sampled::of(self.prompt, &self.graded.completion)
    }
}

/// What the optimizer steps of a step add up to.
#[derive(Default)]
struct Totals {
    loss: LossOutput,
    logprob_difference_max: f64,
}

impl Learner<'_> {
    /// The optimizer steps of one step, and the advantage of every completion of the rollout, 0 where it was dropped.
    pub(super) fn update(
        &mut self,
        seed: u64,
        rollout: &Rollout,
        step: u64,
        metrics: &mut StepMetrics,
    ) -> anyhow::Result<(Vec<Stepped>, Vec<f64>)> {
        let settings = self.settings;
        let groups = rollout.learned();
        let example = |index: usize| {
            let graded = &rollout.graded[index];
            Example {
                index,
                prompt: &rollout.requests[graded.completion.task as usize].prompt,
                graded,
                reference: None,
                advantage: 0.0,
                counts: !(settings.mask_truncated && graded.truncated()),
            }
        };
        let mut examples: Vec<Example<'_>> = groups.iter().cloned().flatten().map(example).collect();
        let rewards: Vec<Vec<Option<f64>>> = groups.into_iter().map(|group| rewards(&rollout.graded[group])).collect();
        self.judge(&rewards, &mut examples, metrics)?;
        let mut all = vec![0.0; rollout.graded.len()];
        for example in &examples {
            all[example.index] = example.advantage;
        }

        let trained = examples.iter().filter(|example| example.teaches(settings)).count();
        metrics.trained_share = trained as f64 / rollout.graded.len().max(1) as f64;
        let all_members: Vec<Member> = examples.iter().map(Example::member).collect();
        let mut stepped = Vec::new();
        let mut totals = Totals::default();
        for pass in 0..settings.epochs {
            for (index, members) in
                mini_batches(settings, seed, self.draws.key(step), pass, examples.len()).iter().enumerate()
            {
                let first = pass == 0 && index == 0;
                let mini_batch = MiniBatch::of(&all_members, members, settings.mini_batches);
                let one = self.optimizer_step(&mut examples, mini_batch, step, first, &mut totals)?;
                if let Some(one) = one {
                    metrics.trained_tokens += one.rows;
                    self.state.passes += one.passes;
                    stepped.push(one);
                }
            }
        }
        let steps = stepped.len().max(1) as f64;
        let tokens = totals.loss.tokens.max(1) as f64;
        metrics.loss = totals.loss.loss / steps;
        let measured = self.reference.is_some() && totals.loss.tokens > 0;
        metrics.kl = measured.then(|| totals.loss.kl / tokens);
        metrics.clip_fraction = totals.loss.clipped() as f64 / tokens;
        metrics.clip_low_fraction = totals.loss.clipped_low as f64 / tokens;
        metrics.clip_high_fraction = totals.loss.clipped_high as f64 / tokens;
        metrics.clip_dual_fraction =
            settings.loss_settings().dual_clip.map(|_| totals.loss.clipped_dual as f64 / tokens);
        metrics.ratio = match totals.loss.tokens {
            // Nothing moved.
            0 => Extremes { min: 1.0, max: 1.0 },
            _ => Extremes { min: totals.loss.ratio_min, max: totals.loss.ratio_max },
        };
        metrics.logprob_difference_max = totals.logprob_difference_max;
        metrics.gradient_norm = stepped.iter().map(|one| one.gradient_norm).sum::<f64>() / steps;
        metrics.max_vio = stepped.iter().map(|one| one.max_vio).fold(0.0, f64::max);
        metrics.learning_rate = settings.lr_schedule().lr(step - 1);
        Ok((stepped, all))
    }

    /// The advantages, from the groups' rewards and what the reference takes off them.
    fn judge(
        &mut self,
        groups: &[Vec<Option<f64>>],
        examples: &mut [Example<'_>],
        metrics: &mut StepMetrics,
    ) -> anyhow::Result<()> {
        let settings = self.settings;
        let advantages = if let (Some(coefficient), Some(reference)) = (settings.kl_in_reward(), &self.reference) {
            let sampled: Vec<Sampled<'_>> = examples.iter().map(Example::sampled).collect();
            let mut logprobs = Vec::with_capacity(examples.len());
            for micro in pack(&sampled, settings.micro_batch_tokens)? {
                let all = reference_logprobs(reference, &micro, settings.sampling().logprob_temperature())?;
                self.state.passes += Passes::forward(micro.batch.token_ids.len() as u64);
                logprobs.extend(cut(&all, micro.completions.iter().map(|index| sampled[*index].token_ids.len())));
            }
            let mut penalties = Vec::with_capacity(examples.len());
            for (example, logprobs) in examples.iter_mut().zip(logprobs) {
                let kl = sequence_kl(&example.graded.completion.logprobs, &logprobs, settings.estimator());
                penalties.push(coefficient * kl);
                example.reference = Some(logprobs);
            }
            metrics.kl_penalty = Some(mean(&penalties));
            let mut each = penalties.into_iter();
            let of_groups: Vec<Vec<f64>> =
                groups.iter().map(|group| each.by_ref().take(group.len()).collect()).collect();
            advantages_less(groups, &of_groups, settings.advantages())
        } else {
            advantages(groups, settings.advantages())
        };
        for (example, advantage) in examples.iter_mut().zip(advantages.into_iter().flatten()) {
            example.advantage = advantage;
        }
        Ok(())
    }

    /// One optimizer step over some of the examples; none where there is nothing to learn from them.
    fn optimizer_step(
        &mut self,
        examples: &mut [Example<'_>],
        mut mini_batch: MiniBatch,
        step: u64,
        first: bool,
        totals: &mut Totals,
    ) -> anyhow::Result<Option<Stepped>> {
        let settings = self.settings;
        let loss_settings = settings.loss_settings();
        let temperature = settings.sampling().logprob_temperature();
        let counted = mini_batch.counted.iter().copied();
        let useful: Vec<usize> = counted.filter(|index| examples[*index].teaches(settings)).collect();
        if useful.is_empty() {
            return Ok(None);
        }
        if settings.top_entropy_share < 1.0 {
            let entropies = self.entropies(examples, &mini_batch.counted, temperature)?;
            mini_batch.keep_top_entropies(&entropies, settings.top_entropy_share);
        }
        let batches = {
            let sampled: Vec<Sampled<'_>> = useful.iter().map(|index| examples[*index].sampled()).collect();
            pack(&sampled, settings.micro_batch_tokens)?
        };
        let step_settings = StepSettings {
            temperature,
            learning_rate: settings.lr_schedule().lr(step - 1),
            max_grad_norm: settings.max_grad_norm,
            balancing: settings.balancing(),
            track: settings.track(),
        };
        let (reference, passes) = (&self.reference, &mut self.state.passes);
        let one = self.trainer.step(&batches, &step_settings, |micro, forward| {
            let (new, entropies) = (&forward.logprobs, &forward.entropy);
            let of_micro: Vec<usize> = micro.completions.iter().map(|index| useful[*index]).collect();
            let known = of_micro.iter().all(|index| examples[*index].reference.is_some());
            if let (Some(reference), false) = (reference, known) {
                let all = reference_logprobs(reference, micro, temperature)?;
                *passes += Passes::forward(micro.batch.token_ids.len() as u64);
                let each = cut(&all, of_micro.iter().map(|index| examples[*index].tokens()));
                for (index, logprobs) in of_micro.iter().zip(each) {
                    examples[*index].reference = Some(logprobs);
                }
            }
            let kept = mini_batch.kept(entropies);
            let mut inputs = Vec::with_capacity(of_micro.len());
            let mut end = 0;
            for index in &of_micro {
                let example = &examples[*index];
                let range = end..end + example.tokens();
                end = range.end;
                inputs.push(LossInput {
                    new: &new[range.clone()],
                    old: &example.graded.completion.logprobs,
                    reference: example.reference.as_deref(),
                    entropy: &entropies[range.clone()],
                    kept: Some(&kept[range]),
                    advantage: example.advantage,
                });
            }
            if first {
                let differences = inputs.iter().flat_map(|input| input.new.iter().zip(input.old));
                let largest = differences.map(|(a, b)| f64::from((a - b).abs())).fold(0.0, f64::max);
                totals.logprob_difference_max = totals.logprob_difference_max.max(largest);
            }
            let mut out = loss(&inputs, &loss_settings, &mini_batch.counts);
            let narrow = |slopes: &mut Vec<f64>| std::mem::take(slopes).into_iter().map(|slope| slope as f32).collect();
            let slopes = Slopes { logprobs: narrow(&mut out.gradient), entropy: narrow(&mut out.entropy_gradient) };
            totals.loss.merge(out);
            Ok(slopes)
        })?;
        Ok(Some(one))
    }

    /// The entropies of some examples' tokens, from a pass of their own.
    fn entropies(&mut self, examples: &[Example<'_>], members: &[usize], temperature: f64) -> anyhow::Result<Vec<f32>> {
        let sampled: Vec<Sampled<'_>> = members.iter().map(|index| examples[*index].sampled()).collect();
        let mut entropies = Vec::new();
        for micro in pack(&sampled, self.settings.micro_batch_tokens)? {
            let forward = self.trainer.model.policy.forward(&micro.batch, temperature, Track::Nothing)?;
            entropies.extend(forward.entropy);
            self.state.passes += Passes::forward(micro.batch.token_ids.len() as u64);
        }
        Ok(entropies)
    }
}

/// The examples of each optimizer step of a pass, in order within it, so that what a group shares stands together.
fn mini_batches(settings: &GrpoSettings, seed: u64, key: u32, pass: usize, examples: usize) -> Vec<Vec<usize>> {
    let parts = settings.mini_batches;
    let order: Vec<usize> = match settings.mini_batch_split {
        MiniBatchSplit::Random if parts > 1 => permutation(seed, key, pass as u32, examples),
        MiniBatchSplit::Random | MiniBatchSplit::InOrder => (0..examples).collect(),
    };
    (0..parts)
        .map(|part| {
            let mut members = order[part * examples / parts..(part + 1) * examples / parts].to_vec();
            members.sort_unstable();
            members
        })
        .collect()
}

fn reference_logprobs(reference: &Policy, micro: &MicroBatch, temperature: f64) -> anyhow::Result<Vec<f32>> {
    Ok(reference.forward(&micro.batch.without_choices(), temperature, Track::Nothing)?.logprobs)
}

/// The numbers of completions that follow one another, each by itself.
fn cut(all: &[f32], lengths: impl Iterator<Item = usize>) -> Vec<Vec<f32>> {
    let mut rest = all;
    lengths
        .map(|length| {
            let (one, after) = rest.split_at(length);
            rest = after;
            one.to_vec()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mini_batches_hold_every_completion_once() {
        for split in [MiniBatchSplit::Random, MiniBatchSplit::InOrder] {
            for (parts, examples) in [(1, 10), (3, 10), (4, 16), (5, 3), (2, 0)] {
                let settings = GrpoSettings { mini_batches: parts, mini_batch_split: split, ..GrpoSettings::default() };
                let found = mini_batches(&settings, 1, 2, 0, examples);
                let sizes: Vec<usize> = found.iter().map(Vec::len).collect();
                assert_eq!(sizes.len(), parts);
                assert!(sizes.iter().max().unwrap() - sizes.iter().min().unwrap() <= 1, "{sizes:?}");
                let mut all = found.concat();
                all.sort_unstable();
                assert_eq!(all, (0..examples).collect::<Vec<_>>());
            }
        }
        let random = GrpoSettings { mini_batches: 2, ..GrpoSettings::default() };
        let of = |step, pass| mini_batches(&random, 1, step, pass, 64);
        assert_eq!(of(1, 0), of(1, 0));
        assert!(of(1, 0) != of(1, 1) && of(1, 0) != of(2, 0));
        let ordered = GrpoSettings { mini_batch_split: MiniBatchSplit::InOrder, ..random };
        assert_eq!(mini_batches(&ordered, 1, 1, 0, 4), [vec![0, 1], vec![2, 3]]);
    }
}
