//! Which tasks a stage practises and which random numbers it draws: functions of the recipe and its tasks alone, so that a
//! resumed run goes on where it was.
//!
//! Without them every stage would begin with task 0 and draw the same numbers for it: a stage that samples demonstrations
//! would ask what the stage before has just practised, and answer it with the same luck. So a stage's tasks begin where
//! those of the stages before it end, and its number stands in the key of its random numbers. The first stage that
//! practises has the number 0 and begins with task 0.

use super::reject::different_tasks;
use super::tasks::Tasks;
use crate::config::{Recipe, Stage, StageSettings};

/// Stands in the key of stages that sample without learning.
const SAMPLING: u32 = 1 << 31;
/// Bits of the key that hold the step; those above them, but for [`SAMPLING`], hold the stage's number.
const STEP_BITS: u32 = 24;

/// Where a stage's tasks begin, and what its random numbers are told apart by from those of other stages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Draws {
    /// The position of its first task.
    pub(crate) first: u64,
    stage: u32,
}

impl Draws {
    /// Those of every stage of the recipe, by its place. Stages that practise nothing have what the next one has.
    pub(crate) fn of_stages(recipe: &Recipe, tasks: &mut Tasks) -> Vec<Draws> {
        let last = recipe.stages.iter().rposition(practises);
        let (mut first, mut number) = (0, 0);
        let mut all = Vec::new();
        for (place, stage) in recipe.stages.iter().enumerate() {
            let kind = if matches!(stage.settings, StageSettings::Reject(_)) { SAMPLING } else { 0 };
            all.push(Draws { first, stage: kind | ((number << STEP_BITS) & !SAMPLING) });
            // Nobody asks where the tasks of the last one end.
            if practises(stage) && Some(place) != last {
                tasks.practise(stage.families.as_ref());
                first += taken(stage, tasks, first);
                number += 1;
            }
        }
        all
    }

    /// What stands for a step of the stage in the key of random numbers.
    pub(super) fn key(self, step: u64) -> u32 {
        self.stage | (step as u32 & ((1 << STEP_BITS) - 1))
    }
}

fn practises(stage: &Stage) -> bool {
    matches!(stage.settings, StageSettings::Grpo(_) | StageSettings::Reject(_))
}

/// How many positions from `first` on a stage goes through, without those of dynamic sampling, whose number is not known
/// before.
fn taken(stage: &Stage, tasks: &Tasks, first: u64) -> u64 {
    match &stage.settings {
        StageSettings::Grpo(settings) => settings.steps * settings.prompts_per_step as u64,
        StageSettings::Reject(sampling) => different_tasks(tasks, first, sampling.settings.tasks).1,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::config::{SHIPPED, find_shipped};

    /// Of a shipped recipe, the place of each stage that practises and its draws; the tasks are generated ones.
    fn draws(name: &str) -> Vec<(usize, Draws)> {
        let recipe = find_shipped(name).unwrap().recipe(&[]).unwrap();
        let families = recipe.tasks.weighted_families();
        let mut tasks = Tasks::Families { practised: families.clone(), families, seed: recipe.seed };
        let all = Draws::of_stages(&recipe, &mut tasks).into_iter().enumerate();
        all.filter(|(place, _)| practises(&recipe.stages[*place])).collect()
    }

    #[test]
    fn a_stage_begins_where_the_one_before_ends() {
        let first = |name: &str| -> Vec<u64> { draws(name).iter().map(|(_, draws)| draws.first).collect() };
        assert_eq!(first("r1-zero"), [0]);
        assert_eq!(first("open-r1-step3"), [0, 200 * 32]);
        let r1 = first("r1");
        assert_eq!((r1[0], r1[1]), (0, 60 * 30));
        // 2000 different ones take a few more positions than that.
        assert!((2000..4000).contains(&(r1[2] - r1[1])), "{r1:?}");
        assert_eq!(r1[3] - r1[2], 60 * 30);
        assert!((3000..6000).contains(&(r1[4] - r1[3])), "{r1:?}");
    }

    #[test]
    fn no_two_stages_draw_the_same_numbers() {
        for shipped in SHIPPED {
            let keys: Vec<u32> =
                draws(shipped.name).iter().flat_map(|(_, draws)| (1..=3).map(|step| draws.key(step))).collect();
            assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), keys.len(), "{}", shipped.name);
        }
        // Those of the first one are told apart by the step alone.
        assert_eq!(draws("r1-zero")[0].1.key(7), 7);
    }
}
