//! Settings in the types that the other crates take: one place that says what each word of a recipe
//! means there.

use policy::grpo::{AdvantageSettings, GrpoLoss, KlPenalty};
use policy::optim::{AdamWConfig, Decay};
use policy::{SamplingParams, Track};

use super::fine_tuning::SftSettings;
use super::grpo::{AdvantageScale, GrpoSettings, KlEstimator, KlPlace, LossKind};
use super::recipe::Recipe;
use super::settings::OnBadLine;
use super::stages::{Balance, PretrainSettings, Schedule};

fn decay(schedule: Schedule, min_ratio: f64) -> Decay {
    match schedule {
        Schedule::Constant => Decay::Constant,
        Schedule::Cosine => Decay::Cosine { min_ratio },
        Schedule::Linear => Decay::Linear,
    }
}

/// What all stages that train have in common.
macro_rules! training_passes {
    ($($settings:ty),*) => { $(
        impl $settings {
            /// What a training pass keeps.
            #[must_use]
            pub fn track(&self) -> Track {
                if self.checkpoint_layers { Track::LayerInputs } else { Track::Gradients }
            }

            /// The step of the routers' bias, and the weight of the balance loss; what is not used is 0. A learning rate
            /// of 0 changes nothing, the balance of the routers included.
            #[must_use]
            pub fn balancing(&self) -> (f64, f64) {
                match self.balance {
                    _ if self.learning_rate == 0.0 => (0.0, 0.0),
                    Balance::Bias => (self.router_bias_rate, 0.0),
                    Balance::Auxiliary => (0.0, self.balance_coefficient),
                    Balance::None => (0.0, 0.0),
                }
            }
        }
    )* };
}

training_passes!(PretrainSettings, SftSettings, GrpoSettings);

impl PretrainSettings {
    /// How worked thoughts are put into words.
    #[must_use]
    pub fn voice(&self) -> datasets::Voice {
        if self.mixed_thoughts == 0.0 {
            return datasets::Voice::Terse;
        }
        datasets::Voice::Connected { mixed: self.mixed_thoughts }
    }

    /// Optimizer steps: as many as the budget of tokens gives, and at least one.
    #[must_use]
    pub fn steps(&self) -> u64 {
        (self.tokens / self.batch_tokens as u64).max(1)
    }

    /// The learning rate of each step.
    #[must_use]
    pub fn lr_schedule(&self) -> policy::optim::Schedule {
        policy::optim::Schedule {
            peak: self.learning_rate,
            warmup_steps: self.warmup_steps,
            total_steps: self.steps(),
            decay: decay(self.schedule, self.min_ratio),
        }
    }

    /// The optimizer's constants.
    #[must_use]
    pub fn adamw(&self) -> AdamWConfig {
        AdamWConfig { beta1: self.beta1, beta2: self.beta2, weight_decay: self.weight_decay, ..AdamWConfig::default() }
    }
}

impl SftSettings {
    /// The learning rate of each of `steps` steps.
    #[must_use]
    pub fn lr_schedule(&self, steps: u64) -> policy::optim::Schedule {
        policy::optim::Schedule {
            peak: self.learning_rate,
            warmup_steps: (self.warmup_share * steps as f64).ceil() as u64,
            total_steps: steps,
            decay: decay(self.schedule, self.min_ratio),
        }
    }

    /// The optimizer's constants.
    #[must_use]
    pub fn adamw(&self) -> AdamWConfig {
        AdamWConfig { beta1: self.beta1, beta2: self.beta2, weight_decay: self.weight_decay, ..AdamWConfig::default() }
    }

    /// Optimizer steps of training on so many demonstrations.
    #[must_use]
    pub fn steps(&self, demonstrations: usize) -> u64 {
        let all = self.epochs * demonstrations.div_ceil(self.batch_size) as u64;
        if self.max_steps == 0 { all } else { all.min(self.max_steps) }
    }
}

impl GrpoSettings {
    /// The learning rate of each step. All optimizer steps of one step share it.
    #[must_use]
    pub fn lr_schedule(&self) -> policy::optim::Schedule {
        policy::optim::Schedule {
            peak: self.learning_rate,
            warmup_steps: self.warmup_steps,
            total_steps: self.steps,
            decay: decay(self.schedule, self.min_ratio),
        }
    }

    /// The optimizer's constants.
    #[must_use]
    pub fn adamw(&self) -> AdamWConfig {
        AdamWConfig { beta1: self.beta1, beta2: self.beta2, weight_decay: self.weight_decay, ..AdamWConfig::default() }
    }

    /// The loss.
    #[must_use]
    pub fn loss_settings(&self) -> GrpoLoss {
        GrpoLoss {
            kind: match self.loss {
                LossKind::Grpo => policy::grpo::LossKind::Grpo,
                LossKind::Bnpo => policy::grpo::LossKind::Bnpo,
                LossKind::DrGrpo => policy::grpo::LossKind::DrGrpo { max_tokens: self.max_new_tokens },
                LossKind::Dapo => policy::grpo::LossKind::Dapo,
                LossKind::Cispo => policy::grpo::LossKind::Cispo,
                LossKind::Gspo => policy::grpo::LossKind::Gspo,
                LossKind::Sapo => {
                    policy::grpo::LossKind::Sapo { positive: self.sapo_positive, negative: self.sapo_negative }
                }
            },
            clip_low: self.clip_low,
            clip_high: self.clip_high,
            dual_clip: (self.dual_clip > 0.0).then_some(self.dual_clip),
            kl: (self.kl_coefficient > 0.0 && self.kl_in == KlPlace::Loss).then(|| KlPenalty {
                coefficient: self.kl_coefficient,
                estimator: self.estimator(),
                importance: self.kl_importance,
            }),
            entropy_coefficient: self.entropy_coefficient,
        }
    }

    /// How the divergence from the reference is estimated.
    #[must_use]
    pub fn estimator(&self) -> policy::grpo::KlEstimator {
        match self.kl_estimator {
            KlEstimator::K1 => policy::grpo::KlEstimator::K1,
            KlEstimator::K2 => policy::grpo::KlEstimator::K2,
            KlEstimator::K3 => policy::grpo::KlEstimator::K3,
        }
    }

    /// What the KL divergence of a completion takes off its reward, for each nat; none where it takes nothing.
    #[must_use]
    pub fn kl_in_reward(&self) -> Option<f64> {
        (self.kl_coefficient > 0.0 && self.kl_in == KlPlace::Reward).then_some(self.kl_coefficient)
    }

    /// How advantages are made.
    #[must_use]
    pub fn advantages(&self) -> AdvantageSettings {
        AdvantageSettings {
            scale: match self.advantage_scale {
                AdvantageScale::Group => policy::grpo::AdvantageScale::Group,
                AdvantageScale::Batch => policy::grpo::AdvantageScale::Batch,
                AdvantageScale::None => policy::grpo::AdvantageScale::None,
            },
            leave_one_out: self.leave_one_out,
        }
    }

    /// How completions are sampled.
    #[must_use]
    pub fn sampling(&self) -> SamplingParams {
        SamplingParams {
            temperature: self.temperature,
            top_p: self.top_p,
            top_k: self.top_k,
            max_tokens: self.max_new_tokens,
        }
    }
}

impl Recipe {
    /// How an evaluation samples; its greedy pass takes the same with the temperature 0.
    #[must_use]
    pub fn eval_sampling(&self) -> SamplingParams {
        SamplingParams {
            temperature: self.eval.temperature,
            top_p: self.eval.top_p,
            top_k: 0,
            max_tokens: self.eval_max_new_tokens(),
        }
    }
}

impl From<OnBadLine> for datasets::OnBadLine {
    fn from(on_bad_line: OnBadLine) -> datasets::OnBadLine {
        match on_bad_line {
            OnBadLine::Stop => datasets::OnBadLine::Stop,
            OnBadLine::Skip => datasets::OnBadLine::Skip,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ModelSettings, SHIPPED};

    #[test]
    fn the_policy_takes_the_shape_of_every_shipped_recipe() {
        for shipped in SHIPPED {
            let recipe = shipped.recipe(&[]).unwrap();
            let ModelSettings::Shape(shape) = &recipe.model else { continue };
            let json = shape.hf_config(512).to_string();
            let config = policy::ModelConfig::from_json(&json).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(config.hidden_size, shape.hidden_size, "{}", shipped.name);
            assert_eq!(
                config.mixture.map(|mixture| mixture.n_routed_experts),
                Some(shape.n_routed_experts),
                "{}",
                shipped.name
            );
            assert_eq!(config.vocab_size, 512, "{}", shipped.name);
        }
    }

    #[test]
    fn a_schedule_ends_where_the_recipe_says() {
        fn check(schedule: Schedule, last: f64) {
            let settings = GrpoSettings {
                steps: 10,
                warmup_steps: 2,
                learning_rate: 1.0,
                schedule,
                min_ratio: 0.25,
                ..GrpoSettings::default()
            };
            assert!((settings.lr_schedule().lr(1) - 1.0).abs() < 1e-12);
            assert!((settings.lr_schedule().lr(9) - last).abs() < 1e-12, "{schedule:?}");
        }
        check(Schedule::Constant, 1.0);
        check(Schedule::Cosine, 0.25);
        check(Schedule::Linear, 0.125);
    }

    #[test]
    fn experts_are_balanced_in_one_way() {
        fn check(balance: Balance, expected: (f64, f64)) {
            let settings = PretrainSettings {
                balance,
                router_bias_rate: 0.002,
                balance_coefficient: 0.03,
                ..PretrainSettings::default()
            };
            assert_eq!(settings.balancing(), expected, "{balance:?}");
        }
        check(Balance::Bias, (0.002, 0.0));
        check(Balance::Auxiliary, (0.0, 0.03));
        check(Balance::None, (0.0, 0.0));
    }

    #[test]
    fn a_budget_of_tokens_is_a_number_of_steps() {
        fn check(tokens: u64, batch_tokens: usize, expected: u64) {
            let settings = PretrainSettings { tokens, batch_tokens, ..PretrainSettings::default() };
            assert_eq!(settings.steps(), expected);
        }
        check(1000, 100, 10);
        check(1099, 100, 10);
        check(10, 100, 1);
    }
}
