//! `[[stage]]` of kind `grpo`: what is sampled, what an advantage is, which loss, and what holds it back.

use super::keys::{Any, Problem, at_least, between, positive, positive_up_to, settings, temperatures, words};
use super::stages::{Balance, MOST_COMPLETIONS, MOST_TOKENS, Schedule};

words! {
    /// Which loss, and how its tokens become one number.
    LossKind {
        /// PPO's clipped objective, averaged over each completion's tokens and then over completions (R1).
        Grpo = "grpo",
        /// The same, averaged over the tokens of each optimizer step.
        Bnpo = "bnpo",
        /// The same, summed and divided by completions times max_new_tokens (Dr. GRPO).
        DrGrpo = "dr_grpo",
        /// The same, averaged over all tokens of the step: long completions count in full (DAPO).
        Dapo = "dapo",
        /// A clipped importance weight that silences no token (MiniMax-M1).
        Cispo = "cispo",
        /// One importance weight for each completion (Qwen's GSPO).
        Gspo = "gspo",
        /// A smooth gate in the place of the clip (Qwen's SAPO).
        Sapo = "sapo",
    }
}

words! {
    /// What an advantage is divided by.
    AdvantageScale {
        /// The standard deviation of the group's rewards (GRPO).
        Group = "group",
        /// The standard deviation of all rewards of the step.
        Batch = "batch",
        /// Nothing: only the mean is taken off (Dr. GRPO).
        None = "none",
    }
}

words! {
    /// Which estimate of the KL divergence.
    KlEstimator {
        /// The log-ratio: for the reward.
        K1 = "k1",
        /// Half of its square.
        K2 = "k2",
        /// `exp(d) - d - 1`: never negative.
        K3 = "k3",
    }
}

words! {
    /// Where the KL penalty stands.
    KlPlace {
        /// In the loss of each token (GRPO).
        Loss = "loss",
        /// In the reward of each completion (PPO, RLOO); not divided by what `advantage_scale` divides rewards by.
        Reward = "reward",
    }
}

words! {
    /// What the policy is compared with.
    ReferenceKind {
        /// As the other keys say: none if `kl_coefficient` is 0, else frozen, else replaced every `reference_every` steps.
        Auto = "auto",
        /// Nothing.
        None = "none",
        /// The policy that the stage began with.
        Frozen = "frozen",
        /// The policy of up to `reference_every` steps ago (R1-Zero).
        Replaced = "replaced",
        /// A moving average of the policy: `reference_rate` of the way to it every `reference_every` steps.
        MovingAverage = "moving_average",
    }
}

words! {
    /// How a step's completions are split into mini-batches.
    MiniBatchSplit {
        /// At random, seeded, anew in each pass (R1-Zero).
        Random = "random",
        /// In order: groups stay together as far as they fit.
        InOrder = "in_order",
    }
}

words! {
    /// Which of its checkpoints a stage hands on.
    HandOn {
        /// The last.
        Last = "last",
        /// The one that did best in a quick evaluation; of equals the earliest.
        Best = "best",
    }
}

settings! {
    /// Reinforcement learning with group-relative policy optimization.
    GrpoSettings typed GrpoTable {
        /// Steps: each samples, grades, and updates the policy.
        steps: u64 = 200, between(0, 1e9);
        /// Different tasks in a step.
        prompts_per_step: usize = 32, between(1, MOST_COMPLETIONS);
        /// Completions sampled for each task; they are compared with each other.
        group_size: usize = 16, between(2, MOST_COMPLETIONS);
        /// A completion is cut off after so many tokens.
        max_new_tokens: usize = 128, between(1, MOST_TOKENS);
        /// Sampling temperature; 1 samples the policy as it is.
        temperature: f64 = 1.0, temperatures();
        /// Sample among the likeliest tokens that hold this share of the probability; 1 is all.
        top_p: f64 = 1.0, positive_up_to(1);
        /// Sample among this many likeliest tokens; 0 is all.
        top_k: usize = 0, at_least(0);
        /// Dynamic sampling (DAPO): groups whose rewards are all equal are dropped, and further tasks sampled in their place,
        /// in up to so many rounds of a step; 0 is never.
        refill_rounds: usize = 0, between(0, 1000);
        /// Peak learning rate. At 0 nothing changes, the routers' balancing included.
        learning_rate: f64 = 3e-4, at_least(0);
        /// Steps over which the learning rate rises: step s of them has s/warmup_steps of the peak (transformers: one s less).
        warmup_steps: u64 = 5, at_least(0);
        /// How the learning rate moves after the warm-up.
        schedule: Schedule = Schedule::Cosine, Any;
        /// Where the cosine ends, as a share of the peak: at the last step (transformers: one step after it).
        min_ratio: f64 = 0.1, between(0, 1);
        /// Which loss, and how the tokens' losses are averaged. See policy/src/grpo/loss for equations and papers.
        loss: LossKind = LossKind::Grpo, Any;
        /// What advantages are divided by.
        advantage_scale: AdvantageScale = AdvantageScale::Group, Any;
        /// Compare a completion with the mean of the group's others, not with the mean of all (RLOO).
        leave_one_out: bool = false, Any;
        /// How far below 1 the probability ratio may push the policy. gspo needs far less (its paper: 0.0003); cispo and sapo
        /// do not use it.
        clip_low: f64 = 0.2, positive_up_to(1);
        /// How far above 1 the probability ratio may push the policy. gspo needs far less (its paper: 0.0004), cispo more
        /// (TRL: 4); sapo does not use it.
        clip_high: f64 = 0.2, positive();
        /// Above this probability ratio, completions that did worse are not pushed down any more (dual clip; TRL's delta); 0
        /// is no such bound.
        dual_clip: f64 = 0.0, at_least(0);
        /// sapo: how soon its gate closes where the advantage is positive.
        sapo_positive: f64 = 1.0, positive();
        /// sapo: how soon its gate closes where the advantage is negative.
        sapo_negative: f64 = 1.05, positive();
        /// Weight of the KL penalty, which holds the policy near the reference; 0 is none.
        kl_coefficient: f64 = 0.001, at_least(0);
        /// How the divergence from the reference is estimated.
        kl_estimator: KlEstimator = KlEstimator::K3, Any;
        /// Where the KL penalty stands. In the reward it is compared with the group's as rewards are, and not divided by what
        /// `advantage_scale` says: its coefficient weighs the same in every group.
        kl_in: KlPlace = KlPlace::Loss, Any;
        /// Multiply the estimate by the probability ratio, so that it stays right when the policy has moved on from the one
        /// that sampled (DeepSeek-V3.2; TRL's use_bias_correction_kl).
        kl_importance: bool = false, Any;
        /// What the policy is compared with.
        reference: ReferenceKind = ReferenceKind::Auto, Any;
        /// The reference moves every so many steps; 0 is never. R1-Zero: every 400 of its 10400 optimizer steps, of which a step
        /// here makes mini_batches x epochs.
        reference_every: u64 = 0, at_least(0);
        /// reference = "moving_average": how much of the way to the policy the reference goes each time.
        reference_rate: f64 = 0.0, between(0, 1);
        /// Weight of the mean entropy, which is taken off the loss: it keeps the policy exploring; 0 is none.
        entropy_coefficient: f64 = 0.0, at_least(0);
        /// Learn from the tokens with the highest entropy alone, this share of them (paper: 0.2); 1 is all.
        top_entropy_share: f64 = 1.0, positive_up_to(1);
        /// Leave completions that were cut off out of the loss. They still count for what their group is compared with.
        mask_truncated: bool = false, Any;
        /// Optimizer steps a pass over a step's completions is split into.
        mini_batches: usize = 1, between(1, MOST_COMPLETIONS);
        /// How completions come into mini-batches.
        mini_batch_split: MiniBatchSplit = MiniBatchSplit::Random, Any;
        /// Passes over a step's completions.
        epochs: usize = 1, between(1, 1000);
        /// Gradients longer than this are shortened to it.
        max_grad_norm: f64 = 1.0, positive();
        /// AdamW's decoupled weight decay.
        weight_decay: f64 = 0.0, at_least(0);
        /// AdamW's decay of the first moment.
        beta1: f64 = 0.9, between(0, 0.9999);
        /// AdamW's decay of the second moment.
        beta2: f64 = 0.95, between(0, 0.99999);
        /// Tokens that go through the model at once while training: more is faster, less is
        /// smaller in memory.
        micro_batch_tokens: usize = 8192, between(16, MOST_TOKENS);
        /// Keep only the layers' inputs while training and compute the layers again: a third more work, less memory.
        checkpoint_layers: bool = false, Any;
        /// On a card: keep AdamW's moments in the host's memory, for a model that does not fit otherwise. Steps take longer.
        moments_on_host: bool = false, Any;
        /// How the experts are kept evenly busy: in one way at a time (DeepSeek-V3: by the bias and, at 1e-4 and for each
        /// sequence by itself, a balance loss).
        balance: Balance = Balance::Bias, Any;
        /// With `balance = "bias"`: the step of the router's bias, per optimizer step.
        router_bias_rate: f64 = 1e-3, at_least(0);
        /// With `balance = "auxiliary"`: the weight of the balance loss, which asks for balance within each micro-batch: with
        /// fewer `micro_batch_tokens` it asks for more.
        balance_coefficient: f64 = 1e-2, at_least(0);
        /// A checkpoint is written every so many steps, and at the end; 0 is only at the end.
        checkpoint_every: u64 = 20, at_least(0);
        /// The newest checkpoints that are kept, besides the best one.
        keep_checkpoints: usize = 2, at_least(1);
        /// A quick evaluation on held-out tasks every so many steps, and after the last one; 0 is never.
        eval_every: u64 = 50, at_least(0);
        /// Held-out tasks of each family in a quick evaluation.
        eval_tasks: usize = 64, between(1, MOST_COMPLETIONS);
        /// Which policy later stages begin with, examine and export: that of the last step, or that which did best in a quick
        /// evaluation. The best of several noisy figures flatters: what it can, a stage of kind eval says.
        hand_on: HandOn = HandOn::Last, Any;
    }
}

impl GrpoSettings {
    /// Completions of one step.
    #[must_use]
    pub fn completions_per_step(&self) -> usize {
        self.prompts_per_step * self.group_size
    }

    /// What the policy is compared with; never `auto`.
    #[must_use]
    pub fn reference_kind(&self) -> ReferenceKind {
        match self.reference {
            ReferenceKind::Auto if self.kl_coefficient == 0.0 => ReferenceKind::None,
            ReferenceKind::Auto if self.reference_every == 0 => ReferenceKind::Frozen,
            ReferenceKind::Auto => ReferenceKind::Replaced,
            kind => kind,
        }
    }

    /// Whether the reference is to move, but not before there is nothing left to be compared with it.
    #[must_use]
    pub fn reference_moves_too_late(&self) -> bool {
        self.reference_every > 0 && (1..=self.reference_every).contains(&self.steps)
    }

    /// What must hold between the keys.
    pub(crate) fn check(&self) -> Result<(), Problem> {
        if self.completions_per_step() > MOST_COMPLETIONS as usize {
            return Err(Problem::anywhere(format!(
                "a step would have {} completions (prompts_per_step {} x group_size {}), expected at most \
                 {MOST_COMPLETIONS}",
                self.completions_per_step(),
                self.prompts_per_step,
                self.group_size
            )));
        }
        if self.mini_batches > self.completions_per_step() {
            return Err(Problem::anywhere(format!(
                "`mini_batches` is {}, but a step has only {} completions \
                 (prompts_per_step {} x group_size {})",
                self.mini_batches,
                self.completions_per_step(),
                self.prompts_per_step,
                self.group_size
            )));
        }
        if self.hand_on == HandOn::Best && self.eval_every == 0 {
            return Err(Problem::anywhere("`hand_on` is \"best\", but with `eval_every = 0` nothing says which is")
                .hint("set eval_every to a number of steps, or hand_on = \"last\""));
        }
        self.check_reference()?;
        self.check_loss()
    }

    fn check_reference(&self) -> Result<(), Problem> {
        let problem = |message: &str, hint: &str| Err(Problem::anywhere(message).hint(hint));
        let moves = self.reference_every > 0;
        match self.reference_kind() {
            ReferenceKind::None if self.kl_coefficient > 0.0 => {
                return problem(
                    "`kl_coefficient` is above 0, but with `reference = \"none\"` there is nothing to be held near to",
                    "set kl_coefficient = 0, or leave reference out",
                );
            }
            ReferenceKind::None if moves => {
                return problem(
                    "`reference_every` is set, but with `kl_coefficient = 0` there is no reference",
                    "set reference_every = 0 as well, or kl_coefficient above 0; with reference = \"replaced\" the divergence \
                     is measured and not punished",
                );
            }
            ReferenceKind::Frozen if moves => {
                return problem(
                    "`reference_every` is set, but a `frozen` reference does not move",
                    "set reference = \"replaced\" or \"moving_average\", or reference_every = 0",
                );
            }
            ReferenceKind::Replaced | ReferenceKind::MovingAverage if !moves => {
                return problem(
                    "`reference` is to move, but `reference_every` is 0, which is never",
                    "set reference_every to a number of steps, such as 1 for a moving average",
                );
            }
            _ => {}
        }
        match (self.reference_kind(), self.reference_rate > 0.0) {
            (ReferenceKind::MovingAverage, false) => problem(
                "`reference = \"moving_average\"` needs `reference_rate`",
                "for example 0.01 with reference_every = 1, or 0.6 with reference_every = 512 (TRL's)",
            ),
            (ReferenceKind::MovingAverage, true) | (_, false) => Ok(()),
            (_, true) => problem(
                "`reference_rate` is set, but the reference is no moving average",
                "set reference = \"moving_average\", or leave reference_rate out",
            ),
        }
    }

    fn check_loss(&self) -> Result<(), Problem> {
        let problem = |message: String, hint: &str| Err(Problem::anywhere(message).hint(hint));
        if self.dual_clip > 0.0 && matches!(self.loss, LossKind::Cispo | LossKind::Sapo) {
            return problem(
                "`dual_clip` is set, but the losses cispo and sapo bound the probability ratio otherwise".to_owned(),
                "leave dual_clip out",
            );
        }
        if self.dual_clip > 0.0 && self.dual_clip <= 1.0 + self.clip_high {
            return problem(
                format!(
                    "`dual_clip` is {}, expected more than 1 + clip_high, which is {}",
                    self.dual_clip,
                    1.0 + self.clip_high
                ),
                "3 is usual",
            );
        }
        if self.kl_importance && (self.kl_coefficient == 0.0 || self.kl_in == KlPlace::Reward) {
            return problem(
                "`kl_importance` is set, but there is no KL penalty in the loss".to_owned(),
                "set kl_coefficient above 0 with kl_in = \"loss\", or leave kl_importance out",
            );
        }
        if self.kl_coefficient > 0.0
            && (self.kl_estimator, self.kl_in, self.kl_importance) == (KlEstimator::K1, KlPlace::Loss, false)
        {
            return problem(
                "the KL estimate k1 in the loss has a gradient that is 0 on average: it would hold nothing back"
                    .to_owned(),
                "set kl_in = \"reward\", or kl_estimator = \"k2\" or \"k3\"",
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::SHIPPED;

    #[test]
    fn a_reference_that_moves_after_the_last_step_moves_too_late() {
        fn check(steps: u64, reference_every: u64, expected: bool) {
            let settings = GrpoSettings { steps, reference_every, ..GrpoSettings::default() };
            assert_eq!(settings.reference_moves_too_late(), expected, "{steps} steps, every {reference_every}");
        }
        check(400, 400, true);
        check(2, 30, true);
        check(401, 400, false);
        check(400, 0, false);
        // Nothing is learned, so nothing is compared.
        check(0, 30, false);
        for shipped in SHIPPED {
            for (stage, settings) in shipped.recipe(&[]).unwrap().grpo() {
                assert!(!settings.reference_moves_too_late(), "{}, stage {}", shipped.name, stage.name);
            }
        }
    }
}
