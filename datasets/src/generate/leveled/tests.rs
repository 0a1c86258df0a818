//! What holds for every family with levels: enough different problems, a right answer that passes, a wrong one that fails.

#![allow(clippy::print_stdout, reason = "figures for whoever runs the tests with --nocapture")]

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use rewards::{RewardSet, RewardSpec, Sample};

mod normal;

use super::*;
use crate::error::DatasetError;
use crate::generate::Family;
use crate::task::{Split, Task};

fn families() -> impl Iterator<Item = Family> {
    Family::ALL.into_iter().filter(|family| matches!(family, Family::Leveled(_)))
}

fn verdict(rewards: &RewardSet, prompt: &str, answer: &str, reference: &Reference) -> Option<f64> {
    let completion = format!("<think> </think> <answer> {answer} </answer>");
    rewards.score(&Sample::new(prompt, &completion, reference)).unwrap().total
}

fn set(name: &str, python: Option<Arc<sandbox::Python>>) -> RewardSet {
    RewardSet::build(&[RewardSpec::named(name)], python).unwrap()
}

#[test]
fn names_are_the_families_own() {
    let names: HashSet<&str> = Family::ALL.iter().map(|family| family.name()).collect();
    assert_eq!(names.len(), Family::ALL.len());
    assert!(families().count() >= 20);
}

/// Ten thousand of each family, over all levels: none twice. Below, what each level's range gives.
#[test]
fn ten_thousand_tasks_without_a_repetition() {
    let mut narrow = Vec::new();
    for family in families() {
        let started = std::time::Instant::now();
        let tasks = family.distinct(Split::Train, 1, 10_000).unwrap_or_else(|error| panic!("{error}"));
        let draws: HashSet<String> = (0..10_000).map(|index| family.task(Split::Train, 1, index).id).collect();
        let took = started.elapsed();
        println!("{family}: {} different among the first 10,000 draws; {took:?} for both", draws.len());
        assert_eq!(tasks.len(), 10_000);
        if draws.len() < 5_000 {
            narrow.push(format!("{family}: {} different tasks in 10,000 draws", draws.len()));
        }
        let levels: HashSet<u64> = tasks.iter().filter_map(|task| task.extra["level"].as_u64()).collect();
        assert_eq!(levels.len(), usize::from(family.levels()), "{family}: {levels:?}");
    }
    assert!(narrow.is_empty(), "{narrow:?}");
}

#[test]
fn the_right_answer_passes_and_the_wrong_one_fails() {
    let rewards = set("accuracy", None);
    for family in families().filter(|family| family.domain() != Domain::Code) {
        for level in 1..=family.levels() {
            for index in 0..300 {
                let task = family.task_at(Some(level), Split::Held, 3, index);
                let (right, wrong) = family.answers(Some(level), Split::Held, 3, index).unwrap();
                let score = |answer: &str| verdict(&rewards, &task.prompt, answer, &task.reference);
                assert_eq!(score(&right), Some(1.0), "{family} {level}: {}\n{right}", task.prompt);
                assert_eq!(score(&wrong), Some(0.0), "{family} {level}: {}\n{wrong} for {right}", task.prompt);
                // What is asked must not be an answer.
                if index > 30 {
                    continue;
                }
                assert_eq!(score(&task.prompt), Some(0.0), "{family} {level}: {}", task.prompt);
            }
        }
    }
}

#[test]
fn programs_run_as_their_twins_say() {
    let python = sandbox::Python::prepare(&sandbox::default_cache_dir(), &mut |_| {}).unwrap();
    let rewards = set("code", Some(Arc::new(python)));
    for family in families().filter(|family| family.domain() == Domain::Code) {
        for level in 1..=family.levels() {
            for index in 0..100 {
                let task = family.task_at(Some(level), Split::Train, 4, index);
                let (right, wrong) = family.answers(Some(level), Split::Train, 4, index).unwrap();
                let score = |answer: &str| {
                    verdict(&rewards, &task.prompt, &format!("\n```python\n{answer}\n```\n"), &task.reference)
                };
                assert_eq!(score(&right), Some(1.0), "{}\n{right}\n{:?}", task.prompt, task.reference);
                assert_eq!(score(&wrong), Some(0.0), "{}\n{wrong}", task.prompt);
            }
        }
    }
}

#[test]
fn the_fence_holds_at_every_level() {
    for family in families() {
        let prompts = |split| -> HashSet<String> {
            (0..1_500).map(|index| family.task(split, index % 3, index).prompt).collect()
        };
        let (train, held) = (prompts(Split::Train), prompts(Split::Held));
        assert!(train.is_disjoint(&held), "{family}");
    }
}

/// As many different tasks as a level has, up to `count`.
fn up_to(family: Family, level: u8, split: Split, count: usize) -> Vec<Task> {
    let draw = |count| family.distinct_at(Some(level), split, 2, count);
    draw(count).unwrap_or_else(|error| match error {
        DatasetError::TooFewDistinct { found, .. } => draw(found).unwrap(),
        error => panic!("{error}"),
    })
}

/// A problem told in other words, in another order or with other names is on the same side, and is made once. What is one
/// problem is read off the prompts here, not asked of the families.
#[test]
fn no_problem_is_on_both_sides_or_made_twice_however_it_is_told() {
    for family in families() {
        for level in 1..=family.levels() {
            let sides = [(Split::Train, 2_000), (Split::Held, 1_000)].map(|(split, count)| {
                let tasks = up_to(family, level, split, count);
                let mut told = HashMap::new();
                for task in tasks {
                    let normal = normal::of(family.name(), &task.prompt);
                    if let Some(twin) = told.insert(normal, task.prompt.clone()) {
                        panic!("{family}, level {level}: twice:\n{twin}\n{}", task.prompt);
                    }
                }
                told
            });
            let [train, held] = sides;
            println!("{family}, level {level}: {} and {}", train.len(), held.len());
            assert!(train.len() > 60 && held.len() > 20, "{family}, level {level}");
            for (normal, prompt) in &held {
                let twin = train.get(normal);
                assert!(twin.is_none(), "{family}, level {level}: on both sides:\n{prompt}\n{}", twin.unwrap());
            }
        }
    }
}

/// What is called the same has one answer: nothing that matters is left out of a problem's name.
#[test]
fn one_problem_has_one_answer() {
    for family in families() {
        let Family::Leveled(leveled) = family else { continue };
        let mut answers = HashMap::new();
        for index in 0..6_000 {
            let (_, drawn) = family.drawn(leveled, None, Split::Train, 6, index);
            let Reference::Integer { value } = drawn.reference else { continue };
            let (known, prompt) = answers.entry(drawn.content).or_insert((value, drawn.prompt.clone()));
            assert_eq!(*known, value, "{family}:\n{prompt}\n{}", drawn.prompt);
        }
    }
}
