//! Which task comes next, and which are examined: from the families, or from files.

use std::collections::BTreeMap;

use anyhow::Context;
use datasets::{Domain, Family, Order, Split, Task};

use crate::config::{Recipe, weighted};
use crate::progress::Reporter;

/// The seed of held-out tasks: the same for every run, so that runs can be compared.
pub(crate) const HELD_OUT_SEED: u64 = 0;

/// The tasks of a recipe.
pub(crate) enum Tasks {
    /// Generated ones, without end: the families that are examined, and those that the stage at hand practises.
    Families { families: Vec<(Family, f64)>, practised: Vec<(Family, f64)>, seed: u64 },
    /// Those of files: what is trained on, in a seeded order, and what is set aside.
    Files { train: Vec<Task>, held_out: Vec<Task>, order: Order },
}

impl Tasks {
    pub(crate) fn read(recipe: &Recipe, reporter: &Reporter) -> anyhow::Result<Tasks> {
        let settings = &recipe.tasks;
        if settings.files.is_empty() {
            let families = settings.weighted_families();
            return Ok(Tasks::Families { practised: families.clone(), families, seed: recipe.seed });
        }
        let (mut train, mut held_out) = (Vec::new(), Vec::new());
        for path in &settings.files {
            let read = datasets::source::read(path, settings.on_bad_line.into())?;
            if let Some(first) = read.bad.first() {
                reporter.note(&format!(
                    "{}: {} left out, the first at line {}: {}",
                    path.display(),
                    if read.bad.len() == 1 { "1 line".to_owned() } else { format!("{} lines", read.bad.len()) },
                    first.line,
                    first.what
                ));
            }
            for task in read.tasks {
                let aside = share_of(&task.id)? < settings.held_out_share;
                if aside { held_out.push(task) } else { train.push(task) }
            }
        }
        anyhow::ensure!(
            !train.is_empty(),
            "no task is left to train on\n  hint: all {} fell into the held-out share of {}; lower tasks.held_out_share",
            held_out.len(),
            settings.held_out_share
        );
        if let Some(examiner) = recipe.examiner() {
            anyhow::ensure!(
                !held_out.is_empty(),
                "no task is set aside for stage `{}` to examine the policy on: all {} are trained on\n  hint: raise \
                 tasks.held_out_share from {}, name more tasks, or leave out what examines",
                examiner.name,
                train.len(),
                settings.held_out_share
            );
        }
        let order = Order::new(train.len(), recipe.seed);
        Ok(Tasks::Files { train, held_out, order })
    }

    /// Whether any task is answered by a program.
    pub(super) fn have_programs(&self) -> bool {
        match self {
            Tasks::Families { families, .. } => families.iter().any(|(family, _)| family.domain() == Domain::Code),
            Tasks::Files { train, held_out, .. } => {
                train.iter().chain(held_out).any(|task| task.domain == Domain::Code)
            }
        }
    }

    /// From now on tasks are of these families; without any, of all that are examined. Tasks of files stay what they are.
    pub(crate) fn practise(&mut self, families: Option<&BTreeMap<String, f64>>) {
        if let Tasks::Families { families: all, practised, .. } = self {
            *practised = families.map_or_else(|| all.clone(), weighted);
        }
    }

    /// The training task at a position, counted over the whole stage: a pure function, so that a resumed run goes on
    /// where it was.
    pub(crate) fn training(&self, position: u64) -> Task {
        match self {
            Tasks::Families { practised, seed, .. } => pick(practised, position).task(Split::Train, *seed, position),
            Tasks::Files { train, order, .. } => train[order.index(position)].clone(),
        }
    }

    /// Up to `count` held-out tasks of each family or file.
    pub(crate) fn held_out(&self, count: usize) -> anyhow::Result<Vec<Task>> {
        match self {
            Tasks::Families { families, .. } => {
                let mut tasks = Vec::new();
                for (family, _) in families {
                    let of_family = family.distinct(Split::Held, HELD_OUT_SEED, count);
                    tasks.extend(of_family.with_context(|| format!("cannot make {count} held-out tasks"))?);
                }
                Ok(tasks)
            }
            Tasks::Files { held_out, .. } => {
                let mut taken = BTreeMap::<&str, usize>::new();
                let mut tasks = Vec::new();
                for task in held_out {
                    let number = taken.entry(&task.source).or_default();
                    *number += 1;
                    if *number <= count {
                        tasks.push(task.clone());
                    }
                }
                Ok(tasks)
            }
        }
    }
}

/// The family at a position: the fractional parts of multiples of the golden ratio spread evenly over the weights.
pub(super) fn pick(families: &[(Family, f64)], position: u64) -> Family {
    const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
    let share = position.wrapping_mul(GOLDEN) as f64 / 2f64.powi(64);
    let total: f64 = families.iter().map(|(_, weight)| weight).sum();
    let mut running = 0.0;
    for (family, weight) in families {
        running += weight / total;
        if share < running {
            return *family;
        }
    }
    families[families.len() - 1].0
}

/// A number in [0, 1) from a task's id (the first digits of a hash), the same in every run.
fn share_of(id: &str) -> anyhow::Result<f64> {
    let digits = id.get(..8).unwrap_or(id);
    let number = u32::from_str_radix(digits, 16).with_context(|| format!("`{id}` is not the id of a task"))?;
    Ok(f64::from(number) / 2f64.powi(32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_too_short_to_examine_is_refused_when_it_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("one.jsonl");
        std::fs::write(&path, "{\"question\": \"What is 1 + 1?\", \"answer\": \"#### 2\"}\n").unwrap();
        let recipe = |more: &[&str]| {
            let file = format!("tasks.files=['{}']", path.display());
            let settings = [&[file.as_str(), "tasks.held_out_share=1e-9"], more].concat();
            let settings: Vec<String> = settings.into_iter().map(str::to_owned).collect();
            crate::config::find_shipped("smoke").unwrap().recipe(&settings).unwrap()
        };
        let silent = Reporter::new(crate::progress::Verbosity::Silent);
        let error = Tasks::read(&recipe(&[]), &silent).err().expect("there is nothing to examine on").to_string();
        assert!(error.starts_with("no task is set aside for stage `before`"), "{error}");
        // Without what examines there is nothing to miss.
        let mut unexamined = recipe(&["grpo.eval_every=0"]);
        unexamined.stages.retain(|stage| stage.settings != crate::config::StageSettings::Eval {});
        assert!(Tasks::read(&unexamined, &silent).is_ok());
    }

    #[test]
    fn families_come_in_proportion() {
        let families = [(Family::Arithmetic, 1.0), (Family::Countdown, 2.0), (Family::PythonFunctions, 1.0)];
        let count = |family| (0..4000).filter(|p| pick(&families, *p) == family).count();
        assert!((count(Family::Arithmetic) as i64 - 1000).abs() < 20);
        assert!((count(Family::Countdown) as i64 - 2000).abs() < 20);
        // Early steps are mixed as well.
        assert!((0..8).any(|p| pick(&families, p) == Family::PythonFunctions));
    }
}
