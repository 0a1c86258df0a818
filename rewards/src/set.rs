//! The weighted set of rewards that a recipe asks for.

use std::collections::BTreeMap;
use std::slice;
use std::sync::Arc;

use sandbox::Limits;
use serde::{Deserialize, Serialize};

use crate::parameter::Given;
use crate::{
    Component, CustomReward, Printed, Reference, Registry, Reward, RewardError, Sample, ScoreBreakdown, Surroundings,
};

/// A reward as a recipe names it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RewardSpec {
    /// One of the known names; or any other, for a reward of a file.
    pub name: String,
    /// Its weight in the total; 1 unless given.
    #[serde(default = "one")]
    pub weight: f64,
    /// The file that it comes from, if it is none of the known ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub custom: Option<CustomReward>,
    /// What it is told, by name; what is not given has the default.
    #[serde(default, skip_serializing_if = "Given::is_empty")]
    pub parameters: Given,
}

fn one() -> f64 {
    1.0
}

impl RewardSpec {
    /// The reward of this name, with the weight 1 and default parameters.
    #[must_use]
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into(), weight: one(), custom: None, parameters: Given::new() }
    }
}

/// Several rewards and their weights.
pub struct RewardSet {
    rewards: Vec<(Arc<dyn Reward>, f64)>,
}

/// A sample's scores as far as they need no group.
#[derive(Debug, Clone, PartialEq)]
pub struct Pending {
    /// By the reward's place in the set. Those that wait for the group are not there yet.
    components: BTreeMap<usize, Component>,
}

impl RewardSet {
    /// The built-in rewards that `specs` name. `python` runs the programs of those that need it, under the default
    /// limits.
    ///
    /// # Errors
    /// As [`Registry::build`].
    pub fn build(specs: &[RewardSpec], python: Option<Arc<sandbox::Python>>) -> Result<Self, RewardError> {
        Self::build_limited(specs, python, Limits::default())
    }

    /// As [`RewardSet::build`], with limits for each program.
    ///
    /// # Errors
    /// As [`Registry::build`].
    pub fn build_limited(
        specs: &[RewardSpec],
        python: Option<Arc<sandbox::Python>>,
        limits: Limits,
    ) -> Result<Self, RewardError> {
        Registry::builtin().build(specs, &Surroundings { python, limits })
    }

    /// A set of rewards of one's own, with their weights.
    #[must_use]
    pub fn from_rewards(rewards: Vec<(Box<dyn Reward>, f64)>) -> Self {
        Self { rewards: rewards.into_iter().map(|(reward, weight)| (Arc::from(reward), weight)).collect() }
    }

    /// The same rewards, of which those that `weights` names have another weight.
    #[must_use]
    pub fn reweighed(&self, weights: &BTreeMap<String, f64>) -> Self {
        let reweighed = |(reward, weight): &(Arc<dyn Reward>, f64)| {
            (Arc::clone(reward), weights.get(reward.name()).copied().unwrap_or(*weight))
        };
        Self { rewards: self.rewards.iter().map(reweighed).collect() }
    }

    /// Whether a reward that applies to `reference` can only be asked once the whole group is there.
    #[must_use]
    pub fn needs_group(&self, reference: &Reference) -> bool {
        self.rewards.iter().any(|(reward, _)| reward.needs_group() && reward.applies(reference))
    }

    /// Scores a completion by every reward that applies and needs no group.
    ///
    /// # Errors
    /// Only for the host's own failures.
    pub fn score_alone(&self, sample: &Sample<'_>) -> Result<Pending, RewardError> {
        let mut components = BTreeMap::new();
        for (place, (reward, weight)) in self.rewards.iter().enumerate() {
            if !reward.needs_group() && reward.applies(sample.reference) {
                let score = reward.score(sample)?;
                components.insert(place, Component { name: reward.name().to_owned(), weight: *weight, score });
            }
        }
        Ok(Pending { components })
    }

    /// The totals of all completions of one prompt, whose scores by [`RewardSet::score_alone`] are `pending`, one for each:
    /// asks the rewards that were waiting for the group. The group of a reward is the samples that it applies to.
    ///
    /// # Errors
    /// For the host's own failures, and where a reward of somebody else's breaks its contract.
    pub fn score_rest(
        &self,
        samples: &[Sample<'_>],
        pending: Vec<Pending>,
    ) -> Result<Vec<ScoreBreakdown>, RewardError> {
        let mut parts: Vec<BTreeMap<usize, Component>> = pending.into_iter().map(|one| one.components).collect();
        for (place, (reward, weight)) in self.rewards.iter().enumerate() {
            if !reward.needs_group() {
                continue;
            }
            let applying = parts.iter_mut().zip(samples).filter(|(_, sample)| reward.applies(sample.reference));
            let (asked, group): (Vec<_>, Vec<Sample<'_>>) = applying.map(|(parts, sample)| (parts, *sample)).unzip();
            if group.is_empty() {
                continue;
            }
            let scores = reward.score_group(&group)?;
            if scores.len() != group.len() {
                return Err(RewardError::WrongCount {
                    reward: reward.name().to_owned(),
                    expected: group.len(),
                    found: scores.len(),
                });
            }
            for (parts, score) in asked.into_iter().zip(scores) {
                parts.insert(place, Component { name: reward.name().to_owned(), weight: *weight, score });
            }
        }
        Ok(parts.into_iter().map(|parts| ScoreBreakdown::new(parts.into_values().collect())).collect())
    }

    /// Scores all completions of one prompt by every reward that applies to its reference.
    ///
    /// # Errors
    /// As [`RewardSet::score_rest`].
    pub fn score_group(&self, samples: &[Sample<'_>]) -> Result<Vec<ScoreBreakdown>, RewardError> {
        let pending = samples.iter().map(|sample| self.score_alone(sample)).collect::<Result<_, _>>()?;
        self.score_rest(samples, pending)
    }

    /// Scores a completion that is a group of its own.
    ///
    /// # Errors
    /// As [`RewardSet::score_rest`].
    pub fn score(&self, sample: &Sample<'_>) -> Result<ScoreBreakdown, RewardError> {
        let scored = self.score_group(slice::from_ref(sample))?;
        Ok(scored.into_iter().next().unwrap_or_else(|| ScoreBreakdown::new(Vec::new())))
    }

    /// The rewards' names, in the order of the recipe.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.rewards.iter().map(|(reward, _)| reward.name())
    }

    /// What the rewards printed since this was last asked, in an order that does not depend on threads.
    #[must_use]
    pub fn take_printed(&self) -> Vec<Printed> {
        let mut printed: Vec<Printed> = self.rewards.iter().flat_map(|(reward, _)| reward.take_printed()).collect();
        printed.sort();
        printed
    }
}

impl std::fmt::Debug for RewardSet {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_list().entries(self.rewards.iter().map(|(reward, weight)| (reward.name(), weight))).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Score;

    fn spec(name: &str, weight: f64) -> RewardSpec {
        RewardSpec { weight, ..RewardSpec::named(name) }
    }

    #[test]
    fn only_rewards_that_apply_are_summed() {
        let set = RewardSet::build(&[spec("accuracy", 1.0), spec("format", 0.5)], None).unwrap();
        let reference = Reference::Math { answer: "17".to_owned() };
        let right = " <think> 8 + 9 </think> <answer> 17 </answer>";
        assert_eq!(set.score(&Sample::new("", right, &reference)).unwrap().total, Some(1.5));
        assert_eq!(set.score(&Sample::new("", "<answer>17</answer>", &reference)).unwrap().total, Some(1.0));
        let tests = Reference::Tests { setup: String::new(), assertions: vec!["assert f() == 1".to_owned()] };
        let breakdown = set.score(&Sample::new("", right, &tests)).unwrap();
        assert_eq!((breakdown.get("accuracy"), breakdown.get("format")), (None, Some(1.0)));
        assert_eq!(breakdown.total, Some(0.5));
        assert_eq!(set.names().collect::<Vec<_>>(), ["accuracy", "format"]);
        let reweighed = set.reweighed(&BTreeMap::from([("format".to_owned(), -2.0), ("other".to_owned(), 9.0)]));
        assert_eq!(reweighed.score(&Sample::new("", right, &reference)).unwrap().total, Some(-1.0));
    }

    #[test]
    fn a_specification_has_the_weight_one_and_no_other_keys() {
        let parsed: RewardSpec = serde_json::from_str(r#"{"name":"format"}"#).unwrap();
        assert_eq!(parsed, spec("format", 1.0));
        assert!(serde_json::from_str::<RewardSpec>(r#"{"name":"format","wieght":2}"#).is_err());
    }

    /// Full marks for the shortest of the group; `extra` scores too many.
    struct Shortest {
        extra: usize,
    }

    impl Reward for Shortest {
        fn name(&self) -> &str {
            "shortest"
        }

        fn applies(&self, _: &Reference) -> bool {
            true
        }

        fn score(&self, sample: &Sample<'_>) -> Result<Score, RewardError> {
            Ok(self.score_group(slice::from_ref(sample))?.remove(0))
        }

        fn needs_group(&self) -> bool {
            true
        }

        fn score_group(&self, samples: &[Sample<'_>]) -> Result<Vec<Score>, RewardError> {
            let least = samples.iter().map(|sample| sample.completion_ids.len()).min();
            let score =
                |sample: &Sample<'_>| Score::of(f64::from(u8::from(Some(sample.completion_ids.len()) == least)));
            Ok(samples.iter().map(score).chain((0..self.extra).map(|_| Score::full())).collect())
        }
    }

    fn shortest(extra: usize) -> RewardSet {
        let format = Registry::builtin().build(&[spec("format", 1.0)], &Surroundings::default()).unwrap();
        let mut set = RewardSet::from_rewards(vec![(Box::new(Shortest { extra }), 2.0)]);
        set.rewards.extend(format.rewards);
        set
    }

    #[test]
    fn rewards_that_need_the_group_are_asked_when_it_is_there() {
        let set = shortest(0);
        let reference = Reference::Integer { value: 1 };
        let ids: [&[u32]; 3] = [&[1, 2, 3], &[4, 5], &[6, 7]];
        let whole = "<think> </think> <answer> 1 </answer>";
        let samples: Vec<Sample<'_>> = ids
            .iter()
            .zip([whole, whole, ""])
            .map(|(ids, text)| Sample { completion_ids: ids, ..Sample::new("", text, &reference) })
            .collect();
        assert!(set.needs_group(&reference));
        let pending: Vec<Pending> = samples.iter().map(|sample| set.score_alone(sample).unwrap()).collect();
        assert_eq!(pending[0].components.keys().collect::<Vec<_>>(), [&1]);
        let scored = set.score_rest(&samples, pending).unwrap();
        assert_eq!(scored.iter().map(|one| one.total).collect::<Vec<_>>(), [Some(1.0), Some(3.0), Some(2.0)]);
        // In the order of the recipe, whoever was asked first.
        let names: Vec<&str> = scored[0].components.iter().map(|component| component.name.as_str()).collect();
        assert_eq!(names, ["shortest", "format"]);
        assert_eq!(set.score_group(&samples).unwrap(), scored);
    }

    /// What is before it in the set may apply to some of the samples and not to others.
    #[test]
    fn a_group_may_have_references_of_several_kinds() {
        let mut set = RewardSet::build(&[spec("accuracy", 1.0)], None).unwrap();
        set.rewards.extend(shortest(0).rewards);
        let number = Reference::Integer { value: 1 };
        let tests = Reference::Tests { setup: String::new(), assertions: Vec::new() };
        let samples = [&number, &tests].map(|reference| Sample::new("", "<answer> 1 </answer>", reference));
        let totals: Vec<_> = set.score_group(&samples).unwrap().into_iter().map(|one| one.total).collect();
        assert_eq!(totals, [Some(3.0), Some(2.0)]);
    }

    #[test]
    fn a_score_too_many_is_an_error() {
        let reference = Reference::Integer { value: 1 };
        let error = shortest(1).score(&Sample::new("", "", &reference)).unwrap_err();
        assert_eq!(error.to_string(), "reward `shortest` gave 2 scores for 1 completion");
    }
}
