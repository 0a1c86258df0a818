//! `recipe reward bench`: how fast a reward is, on generated tasks with right and wrong answers.

use std::fmt::Write;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context;
use clap::Args;
use datasets::{Family, Split, Task};
use rayon::prelude::*;
use rewards::{PythonUse, Registry, RewardError, RewardSet, Sample};

use super::{RewardOptions, build};
use crate::command::print;
use crate::progress::{Reporter, Verbosity};
use crate::wording::thousands;

/// Completions of a group.
const GROUP: usize = 16;
/// Times that everything is measured; the median counts.
const ROUNDS: usize = 5;

#[derive(Args, Debug)]
pub(in crate::command) struct BenchArguments {
    /// The reward's name, or the file of one of your own
    reward: String,

    /// Completions that are scored, in groups of 16
    #[arg(long, value_name = "N", default_value_t = 1600, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    count: u64,

    #[command(flatten)]
    options: RewardOptions,
}

/// A task with completions to it.
struct Group {
    task: Task,
    completions: Vec<String>,
    ids: Vec<Vec<u32>>,
}

impl Group {
    /// Half of the completions are right; each is another text, as the memory of what was graded would help otherwise.
    fn new(family: Family, index: u64) -> Group {
        let task = family.task(Split::Train, 0, index);
        let right = family.solution(Split::Train, 0, index);
        let completions: Vec<String> = (0..GROUP)
            .map(|place| {
                let thought = format!("<think> try {index} {place} ");
                let other = family.solution(Split::Train, 0, index + 1 + place as u64);
                let text = if place % 2 == 0 { &right } else { &other };
                let comment = if family == Family::PythonFunctions {
                    format!("# {index} {place}\n</answer>")
                } else {
                    "</answer>".to_owned()
                };
                text.replacen("<think>", &thought, 1).replacen("</answer>", &comment, 1)
            })
            .collect();
        // About four characters to a token.
        let ids = completions.iter().map(|text| vec![0; text.len() / 4]).collect();
        Group { task, completions, ids }
    }

    /// The seconds that the group takes.
    fn time(&self, rewards: &RewardSet) -> Result<f64, RewardError> {
        let texts = self.completions.iter().zip(&self.ids);
        let samples: Vec<Sample<'_>> =
            texts.map(|(text, ids)| Sample { completion_ids: ids, ..self.task.sample(text) }).collect();
        let start = Instant::now();
        rewards.score_group(&samples)?;
        let seconds = start.elapsed().as_secs_f64();
        drop(rewards.take_printed());
        Ok(seconds)
    }
}

pub(super) fn bench(arguments: &BenchArguments, known: &Registry) -> anyhow::Result<ExitCode> {
    let spec = arguments.options.spec(&arguments.reward, known)?;
    let reporter = Reporter::new(Verbosity::Auto);
    let programs = known.python_use(&spec) == PythonUse::ForPrograms;
    let family = if programs { Family::PythonFunctions } else { Family::Arithmetic };
    let groups = arguments.count.div_ceil(GROUP as u64);
    let phase = reporter.phase("measuring", Some(2 * ROUNDS as u64), "rounds");
    let mut rates = [Vec::new(), Vec::new()];
    let mut slowest = 0.0_f64;
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let alone = rayon::ThreadPoolBuilder::new().num_threads(1).build().context("cannot start a thread")?;
    let all = rayon::ThreadPoolBuilder::new().num_threads(threads).build().context("cannot start the threads")?;
    for round in 0..ROUNDS as u64 {
        for (pool, rates) in [&alone, &all].into_iter().zip(&mut rates) {
            // A new set and other tasks each time: nothing is remembered.
            let rewards = build(&spec, known, &Reporter::new(Verbosity::Silent))?;
            let work: Vec<Group> =
                (0..groups).map(|index| Group::new(family, (round * groups + index) * (GROUP as u64 + 1))).collect();
            work[0].time(&rewards)?;
            let start = Instant::now();
            let times: Vec<f64> =
                pool.install(|| work.par_iter().map(|group| group.time(&rewards)).collect::<Result<_, _>>())?;
            rates.push(work.len() as f64 * GROUP as f64 / start.elapsed().as_secs_f64());
            slowest = times.into_iter().fold(slowest, f64::max);
            phase.inc(1);
        }
    }
    phase.finish("");
    let median = |rates: &mut Vec<f64>| {
        rates.sort_by(f64::total_cmp);
        thousands(rates[rates.len() / 2] as u64)
    };
    let mut text = String::new();
    let _ = writeln!(
        text,
        "{}, {} completions of {family} in groups of {GROUP}, median of {ROUNDS}:\n  one thread   {} a second\n  {threads} threads    {} a second\n  \
         slowest group {:.2} ms",
        spec.name,
        thousands(groups * GROUP as u64),
        median(&mut rates[0]),
        median(&mut rates[1]),
        slowest * 1e3
    );
    print(&text)
}

#[cfg(test)]
mod tests {
    use rewards::RewardSpec;

    use super::*;

    #[test]
    fn half_of_the_answers_are_right() {
        let rewards = RewardSet::build(&[RewardSpec::named("accuracy"), RewardSpec::named("format")], None).unwrap();
        let group = Group::new(Family::Arithmetic, 40);
        let right: Vec<bool> = group
            .completions
            .iter()
            .map(|text| rewards.score(&group.task.sample(text)).unwrap().get("accuracy") == Some(1.0))
            .collect();
        assert!(right.iter().step_by(2).all(|right| *right), "{:?}", group.completions[0]);
        assert!(right.iter().filter(|right| !**right).count() >= GROUP / 4);
        assert!(group.time(&rewards).unwrap() > 0.0);
    }
}
