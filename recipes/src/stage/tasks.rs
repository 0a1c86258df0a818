//! Which task comes next, and which are examined: from the families, or from files.

mod held_out;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::Context;
use datasets::{DatasetError, Domain, Family, Order, Split, Task};

use crate::config::{Recipe, RecipeError, StageSettings, TaskSettings, Template, weighted};
use crate::progress::Reporter;
use crate::wording::counted;

use super::prompt::only_question;
pub(super) use held_out::held_out_questions;
use held_out::{Questions, says_held_out, share_of};

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
            check_enough(&families, recipe)?;
            return Ok(Tasks::Families { practised: families.clone(), families, seed: recipe.seed });
        }
        let asks = recipe.stages.iter().any(|stage| stage.settings.grades());
        let read = |paths: &[PathBuf]| -> anyhow::Result<Vec<Vec<Task>>> {
            let mut files: Vec<Vec<Task>> =
                paths.iter().map(|path| read_file(path, settings, asks, reporter)).collect::<anyhow::Result<_>>()?;
            name_apart(paths, &mut files);
            Ok(files)
        };
        let (mut train, mut held_out) = (Vec::new(), Vec::new());
        // What tasks are held out by.
        let mut by = BTreeSet::new();
        if !settings.held_out_files.is_empty() {
            by.insert("tasks.held_out_files".to_owned());
        }
        for (path, tasks) in settings.files.iter().zip(read(&settings.files)?) {
            let said = tasks.iter().filter(|task| says_held_out(task)).count();
            if said > 0 {
                by.insert("the split that their rows name".to_owned());
                let (path, count) = (path.display(), counted(said, "task", "tasks"));
                reporter
                    .note(&format!("{path}: {count} held out, as the rows' own split says; the rest is trained on"));
            }
            // A file that says itself what is held out says it of all of its tasks.
            let share = if said > 0 || !settings.held_out_files.is_empty() { 0.0 } else { settings.held_out_share };
            if share > 0.0 {
                by.insert(format!("tasks.held_out_share = {share}"));
            }
            for task in tasks {
                let aside = says_held_out(&task) || share_of(&task) < share;
                if aside { held_out.push(task) } else { train.push(task) }
            }
        }
        held_out.extend(read(&settings.held_out_files)?.into_iter().flatten());
        let examined = Questions::of(&held_out);
        let before = train.len();
        train.retain(|task| !examined.has(&task.messages()));
        if train.len() < before {
            let count = counted(before - train.len(), "task", "tasks");
            reporter.note(&format!("{count} not trained on: the same questions are held out"));
        }
        if train.is_empty() {
            let by: Vec<String> = by.into_iter().collect();
            let hint = format!("all {} are held out, by {}", held_out.len(), by.join(" and "));
            return Err(RecipeError::new(recipe.name.as_str(), "no task is left to train on").hint(hint).into());
        }
        if let (Some(examiner), true) = (recipe.examiner(), held_out.is_empty()) {
            let message = format!(
                "no task is set aside for stage `{}` to examine the policy on: all {} are trained on",
                examiner.name,
                train.len()
            );
            let hint = format!(
                "name tasks.held_out_files, raise tasks.held_out_share from {}, name more tasks, or leave out what examines",
                settings.held_out_share
            );
            return Err(RecipeError::new(recipe.name.as_str(), message).hint(hint).into());
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
        self.held_out_after(0, count)
    }

    /// Up to `count` held-out tasks of each family or file behind the first `skipped`; where there are not so many, the last
    /// ones, some of which may be among those that were to be skipped.
    pub(crate) fn held_out_after(&self, skipped: usize, count: usize) -> anyhow::Result<Vec<Task>> {
        let mut sources: Vec<Vec<Task>> = Vec::new();
        match self {
            Tasks::Families { families, .. } => {
                for (family, _) in families {
                    sources.push(up_to(*family, skipped + count)?);
                }
            }
            Tasks::Files { held_out, .. } => {
                for task in held_out {
                    match sources.iter_mut().find(|source| source[0].source == task.source) {
                        Some(source) => source.push(task.clone()),
                        None => sources.push(vec![task.clone()]),
                    }
                }
            }
        }
        let behind = |mut source: Vec<Task>| {
            source.truncate(skipped + count);
            source.split_off(source.len().saturating_sub(count))
        };
        Ok(sources.into_iter().flat_map(behind).collect())
    }
}

/// The first held-out tasks of a family, or all where it has no more.
fn up_to(family: Family, count: usize) -> anyhow::Result<Vec<Task>> {
    let tasks = match family.distinct(Split::Held, HELD_OUT_SEED, count) {
        Err(DatasetError::TooFewDistinct { found, .. }) => family.distinct(Split::Held, HELD_OUT_SEED, found),
        tasks => tasks,
    };
    tasks.context("cannot make held-out tasks")
}

/// Files of one name, such as `gsm8k/test.jsonl` and `math/test.jsonl`, are examined each by itself: their tasks are called
/// after their folders, too. Rows that say themselves where they are from stay with that.
fn name_apart(paths: &[PathBuf], files: &mut [Vec<Task>]) {
    let own_name = |path: &Path, tasks: &[Task]| {
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        let of_file = |task: &&Task| file.strip_prefix(task.source.as_str()).is_some_and(|end| end.starts_with('.'));
        tasks.iter().find(of_file).map(|task| task.source.clone())
    };
    let names: Vec<Option<String>> = paths.iter().zip(&*files).map(|(path, tasks)| own_name(path, tasks)).collect();
    let mut taken = BTreeSet::new();
    for ((path, tasks), name) in paths.iter().zip(files).zip(&names) {
        let Some(own) = name else { continue };
        if names.iter().filter(|other| *other == name).count() < 2 {
            continue;
        }
        let folder = path.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy();
        let mut longer = format!("{folder}/{own}");
        while !taken.insert(longer.clone()) {
            longer.push('\'');
        }
        for task in tasks.iter_mut().filter(|task| task.source == *own) {
            task.source.clone_from(&longer);
        }
    }
}

/// That every family has as many held-out tasks as the policy is examined on.
fn check_enough(families: &[(Family, f64)], recipe: &Recipe) -> anyhow::Result<()> {
    let Some((stage, wanted)) = recipe.longest_examination() else { return Ok(()) };
    for (family, _) in families {
        match family.distinct(Split::Held, HELD_OUT_SEED, wanted) {
            Err(DatasetError::TooFewDistinct { family, found, .. }) => {
                let message = format!(
                    "stage `{}` examines the policy on {wanted} held-out tasks of each family, and `{family}` has about {found}",
                    stage.name
                );
                let key = match stage.settings {
                    StageSettings::Grpo(_) => format!("{}.eval_tasks", stage.name),
                    _ => "eval.tasks_per_family".to_owned(),
                };
                let hint = format!("lower {key}: --set {key}={found}");
                return Err(RecipeError::new(recipe.name.as_str(), message).hint(hint).into());
            }
            other => other.map(drop)?,
        }
    }
    Ok(())
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

/// The tasks of a file. Where they are `asked`, that their template has room for them is seen now rather than in the middle of a
/// run.
fn read_file(path: &Path, settings: &TaskSettings, asked: bool, reporter: &Reporter) -> anyhow::Result<Vec<Task>> {
    let read = datasets::source::read(path, settings.on_bad_line.into())?;
    let shown = path.display();
    if let Some(first) = read.bad.first() {
        let count = counted(read.bad.len(), "line", "lines");
        reporter.note(&format!("{shown}: {count} left out, the first at line {}: {}", first.line, first.what));
    }
    if asked && settings.template == Template::R1Zero {
        let mut instructed = 0;
        for (number, task) in (1..).zip(&read.tasks).filter(|(_, task)| !task.turns.is_empty()) {
            let subject = || format!("{shown}, task {number} ({})", task.id);
            only_question(&task.messages(), "R1-Zero's template", &subject)?;
            instructed += 1;
        }
        if instructed > 0 {
            let count = counted(instructed, "task", "tasks");
            reporter.note(&format!(
                "{shown}: {count} with a system message, which R1-Zero's template has no room for: tasks.template = \"chat\" \
                 keeps it"
            ));
        }
    }
    Ok(read.tasks)
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
        let error = Tasks::read(&recipe(&[]), &silent()).err().expect("there is nothing to examine on").to_string();
        assert!(error.starts_with("smoke: no task is set aside for stage `before`"), "{error}");
        // Without what examines there is nothing to miss.
        let mut unexamined = recipe(&["grpo.eval_every=0"]);
        unexamined.stages.retain(|stage| stage.settings != crate::config::StageSettings::Eval {});
        assert!(Tasks::read(&unexamined, &silent()).is_ok());
    }

    /// Notes nothing: what is said of files is tested where it is read.
    fn silent() -> Reporter {
        Reporter::new(crate::progress::Verbosity::Silent)
    }

    /// The smoke recipe over these files, by what is in them, with further settings.
    fn over(files: &[(&str, &str)], settings: &[&str]) -> anyhow::Result<Tasks> {
        let folder = tempfile::tempdir().unwrap();
        let named = |list: &str| {
            let names = files.iter().filter(|(name, _)| name.starts_with(list));
            let paths: Vec<String> =
                names.map(|(name, _)| format!("'{}'", folder.path().join(name).display())).collect();
            format!("[{}]", paths.join(", "))
        };
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let lists = [format!("tasks.files={}", named("train")), format!("tasks.held_out_files={}", named("held"))];
        let settings: Vec<String> =
            lists.into_iter().chain(settings.iter().map(|setting| (*setting).to_owned())).collect();
        Tasks::read(&crate::config::find_shipped("smoke").unwrap().recipe(&settings).unwrap(), &silent())
    }

    /// The questions that are trained on, and those that are held out.
    fn sides(tasks: &Tasks) -> (Vec<&str>, Vec<&str>) {
        let Tasks::Files { train, held_out, .. } = tasks else { panic!("tasks of files were asked for") };
        (
            train.iter().map(|task| task.prompt.as_str()).collect(),
            held_out.iter().map(|task| task.prompt.as_str()).collect(),
        )
    }

    #[test]
    fn files_of_their_own_are_held_out_and_win() {
        let row = |question: &str| format!("{{\"question\": \"{question}\", \"answer\": \"2\"}}\n");
        let train = ["a?", "b?", "c?"].map(row).concat();
        let held = ["B", "d?"].map(row).concat();
        // No share is cut off, however large it is.
        let tasks = over(&[("train.jsonl", &train), ("held.jsonl", &held)], &["tasks.held_out_share=0.9"]).unwrap();
        assert_eq!(sides(&tasks), (vec!["a?", "c?"], vec!["B", "d?"]));

        let error = over(&[("train.jsonl", &row("B?")), ("held.jsonl", &held)], &[]).err().unwrap().to_string();
        assert_eq!(error, "smoke: no task is left to train on\n  hint: all 2 are held out, by tasks.held_out_files");
    }

    #[test]
    fn what_a_row_says_of_its_split_holds() {
        let row = |(question, split): (&str, &str)| {
            format!("{{\"question\": \"{question}\", \"answer\": \"2\", \"split\": \"{split}\"}}\n")
        };
        let rows = [("a?", "train"), ("b?", "test"), ("c?", "validation"), ("d?", "train")].map(row).concat();
        let tasks = over(&[("train.jsonl", &rows)], &["tasks.held_out_share=0.9"]).unwrap();
        assert_eq!(sides(&tasks), (vec!["a?", "d?"], vec!["b?", "c?"]));
    }

    #[test]
    fn files_of_one_name_are_examined_each_by_itself() {
        let folder = tempfile::tempdir().unwrap();
        let file = |place: &str, first: usize| {
            let path = folder.path().join(place);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            let row = |n: usize| format!("{{\"question\": \"{n}?\", \"answer\": \"2\"}}\n");
            std::fs::write(&path, (first..first + 4).map(row).collect::<String>()).unwrap();
            format!("'{}'", path.display())
        };
        let held = [file("gsm8k/test.jsonl", 10), file("math/test.jsonl", 20), file("x/math/test.jsonl", 30)];
        let settings = [
            format!("tasks.files=[{}]", file("train.jsonl", 0)),
            format!("tasks.held_out_files=[{}]", held.join(", ")),
        ];
        let recipe = crate::config::find_shipped("smoke").unwrap().recipe(&settings).unwrap();
        let tasks = Tasks::read(&recipe, &silent()).unwrap().held_out(3).unwrap();
        let counted: BTreeMap<&str, usize> = tasks.iter().fold(BTreeMap::new(), |mut counted, task| {
            *counted.entry(task.source.as_str()).or_default() += 1;
            counted
        });
        assert_eq!(counted, [("gsm8k/test", 3), ("math/test", 3), ("math/test'", 3)].into());
    }

    #[test]
    fn copies_of_a_question_are_never_on_both_sides() {
        let row = |n: usize| {
            let (copy, answer) = (["", " "][n % 2], n % 3);
            format!("{{\"question\": \"What is {}{copy}?\", \"answer\": \"{answer}\"}}\n", n / 6)
        };
        let rows: String = (0..600).map(row).collect();
        let tasks = over(&[("train.jsonl", &rows)], &["tasks.held_out_share=0.3"]).unwrap();
        let (train, held_out) = sides(&tasks);
        let words = |prompts: Vec<&str>| -> std::collections::BTreeSet<String> {
            prompts.into_iter().map(|prompt| prompt.replace(' ', "")).collect()
        };
        let (train, held_out) = (words(train), words(held_out));
        assert!(train.is_disjoint(&held_out) && train.len() + held_out.len() == 100 && held_out.len() > 10);
    }

    /// Before there is a run, with the file and what to do.
    #[test]
    fn earlier_turns_need_a_template_with_room_for_them() {
        let turn = |role: &str, content: &str| serde_json::json!({ "role": role, "content": content });
        let row = |prompt: &[serde_json::Value]| {
            let model = serde_json::json!({ "ground_truth": "2" });
            serde_json::json!({ "prompt": prompt, "reward_model": model }).to_string() + "\n"
        };
        let plain: String = (0..30).map(|n| row(&[turn("user", &format!("What is {n}?"))])).collect();
        let turns = row(&[turn("user", "Hi"), turn("assistant", "Hi!"), turn("user", "What is 1 + 1?")]);
        let error = over(&[("train.jsonl", &(plain.clone() + &turns))], &[]).err().unwrap();
        let text = error.to_string();
        assert!(error.is::<RecipeError>() && text.contains("train.jsonl, task 31 ("), "{text}");
        assert!(text.contains("a conversation of 3 messages") && text.contains("template = \"chat\""), "{text}");
        let system = row(&[turn("system", "Be brief."), turn("user", "What is 1 + 1?")]);
        assert!(over(&[("train.jsonl", &(plain + &system))], &[]).is_ok());
    }

    /// Found out before a base is made, with what would do.
    #[test]
    fn an_examination_on_more_tasks_than_there_are_is_refused_at_once() {
        let read = |settings: &[&str]| {
            let families = "tasks.families={arithmetic=1, coins=1}";
            let settings: Vec<String> = [&[families], settings].concat().into_iter().map(str::to_owned).collect();
            Tasks::read(&crate::config::find_shipped("smoke").unwrap().recipe(&settings).unwrap(), &silent())
        };
        let check = |settings: &[&str], stage: &str, key: &str| {
            let error = read(settings).err().expect("there are not that many");
            let text = error.to_string();
            assert!(error.is::<RecipeError>() && text.contains(stage) && text.contains(key), "{text}");
            let enough = text.rsplit("--set ").next().unwrap();
            assert!(read(&[settings, &[enough]].concat()).is_ok(), "{text}");
        };
        check(&["eval.tasks_per_family=40000"], "stage `before`", "--set eval.tasks_per_family=");
        check(&["grpo.eval_tasks=40000"], "stage `grpo`", "--set grpo.eval_tasks=");
        // Who is never asked needs none.
        assert!(read(&["grpo.eval_tasks=40000", "grpo.eval_every=0"]).is_ok());
    }

    #[test]
    fn quick_evaluations_ask_other_tasks_where_there_are_some() {
        let ids = |tasks: &[Task]| -> BTreeSet<String> { tasks.iter().map(|task| task.id.clone()).collect() };
        let generated =
            Tasks::read(&crate::config::find_shipped("smoke").unwrap().recipe(&[]).unwrap(), &silent()).unwrap();
        let (first, quick) = (generated.held_out(10).unwrap(), generated.held_out_after(10, 4).unwrap());
        assert_eq!((first.len(), quick.len()), (3 * 10, 3 * 4));
        assert!(ids(&first).is_disjoint(&ids(&quick)));
        let row = |n: usize| format!("{{\"question\": \"{n}?\", \"answer\": \"2\"}}\n");
        let (train, held): (String, String) = (row(100), (0..12).map(row).collect());
        let files = over(&[("train.jsonl", &train), ("held.jsonl", &held)], &[]).unwrap();
        let (first, quick) = (files.held_out(10).unwrap(), files.held_out_after(10, 4).unwrap());
        assert_eq!((first.len(), quick.len(), ids(&first).intersection(&ids(&quick)).count()), (10, 4, 2));
        assert_eq!(files.held_out_after(10, 20).unwrap().len(), 12);
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
