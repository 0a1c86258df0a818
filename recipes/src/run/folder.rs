//! The folder of a run: made, locked, written to, and opened again.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use policy::checkpoint::{remove_partial, step_of};
use rewards::Printed;
use serde::Serialize;

use super::files::{
    MAKING, RECIPE, check_unused, clear_unfinished, create_numbered, drop_checkpoints, drop_files_after, lock,
    read_json, write_json, write_whole,
};
use super::info::{RunInfo, check_same_model, hash_files, input_change, now};
use super::kept::{Kept, recipe_file};
use super::lines::{JsonLines, read_rows};
use super::maker::Maker;
use super::records::{CompletionRecord, StageRecord};
use super::unusable::Unusable;
use crate::config::{Recipe, Stage};
use crate::metrics::{EvalMetrics, MetricRow, StepMetrics};

/// The folder of a run. While it exists, no other process can use the folder.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    stages: Vec<String>,
    /// The grpo stage whose files lie directly in `completions` and `checkpoints`.
    only_grpo_stage: Option<String>,
    info: RunInfo,
    metrics: JsonLines,
    moved: Vec<(PathBuf, PathBuf)>,
    changed_rewards: Vec<String>,
    earlier_maker: Option<Maker>,
    /// Locked; the system unlocks it when the process ends, however it ends.
    lock: File,
}

pub(super) const INFO: &str = "run.json";
pub(super) const METRICS: &str = "metrics.jsonl";
pub(super) const STAGES: &str = "stages.json";
const SUMMARY: &str = "summary.json";

impl Drop for RunDir {
    fn drop(&mut self) {
        // Closing the file is not enough: a process that is just being started (by another thread)
        // may still hold a copy of it. If this fails, closing it is what is left.
        let _ = self.lock.unlock();
    }
}

impl RunDir {
    /// Makes the folder of a new run: at `explicit`, or below `root` under the recipe's name, with
    /// a number after it if there are runs of that name already.
    ///
    /// # Errors
    /// If `explicit` holds something already, or the folder cannot be written.
    pub fn create(root: &Path, explicit: Option<&Path>, recipe: &Recipe, info: RunInfo) -> anyhow::Result<RunDir> {
        RunDir::create_with(root, explicit, recipe, info, |_| Ok(()))
    }

    /// The same; `fill` puts into the folder what the run begins with.
    pub(crate) fn create_with(
        root: &Path,
        explicit: Option<&Path>,
        recipe: &Recipe,
        info: RunInfo,
        fill: impl FnOnce(&Path) -> anyhow::Result<()>,
    ) -> anyhow::Result<RunDir> {
        let path = match explicit {
            Some(path) => {
                fs::create_dir_all(path).with_context(|| format!("cannot make the run folder {}", path.display()))?;
                path.to_owned()
            }
            None => create_numbered(root, &recipe.name)?,
        };
        check_unused(&path)?;
        let lock = lock(&path)?;
        clear_unfinished(&path)?;
        let making = path.join(MAKING);
        fs::write(&making, "").with_context(|| format!("cannot write {}", making.display()))?;
        write_json(&path.join(INFO), &info)?;
        write_json(&path.join(STAGES), &[(); 0])?;
        fill(&path)?;
        let run = RunDir::assemble(path, recipe, info, lock)?;
        // Last: a folder with a recipe in it is a run, and has all the other files.
        write_whole(&run.path.join(RECIPE), recipe_file(recipe)?.as_bytes())?;
        fs::remove_file(&making).with_context(|| format!("cannot remove {}", making.display()))?;
        Ok(run)
    }

    /// Opens the folder of a run that is to go on.
    ///
    /// # Errors
    /// If the run is not there or in use, if one of its files is gone, or if the recipe or a file that it reads
    /// differs from what the run was made with: the error names the key or the file.
    ///
    /// A reward may have changed, for a fault in it may be why the run stopped: [`RunDir::changed_rewards`]. What the recipe
    /// reads may lie elsewhere, if it is what it was: [`RunDir::moved`].
    pub fn open(path: &Path, recipe: &Recipe) -> anyhow::Result<RunDir> {
        RunDir::open_with(path, recipe, None)
    }

    /// The same; `settings` are those in the recipe, to be noted where it is not word for word the one that the run keeps.
    pub(crate) fn open_with(path: &Path, recipe: &Recipe, settings: Option<&[String]>) -> anyhow::Result<RunDir> {
        let lock = lock(path)?;
        let kept = RunDir::kept(path, recipe)?;
        if let Some(why) = kept.difference(path, recipe) {
            return Err(why.into());
        }
        for name in [METRICS, STAGES] {
            let file = path.join(name);
            // Without them it would pass for a run that has done nothing, and what it did would be dropped.
            if !file.try_exists().with_context(|| format!("cannot read {}", file.display()))? {
                return Err(gone(&file, path).into());
            }
        }
        let mut info = kept.info;
        if let Some(what) = input_change(recipe, &info.task_files, path)? {
            let mut why = Unusable::put_back(what, "put the file back that was there");
            why.hint += "; if it lies elsewhere now, name it there, as when the run began (--tasks, --held-out, --set)";
            return Err(why.into());
        }
        let rewards = hash_files("reward file", &recipe.reward_files())?;
        let changed_files = rewards.iter().filter(|(file, hash)| info.reward_files.get(*file) != Some(hash));
        let mut changed = kept.changed_rewards;
        changed.extend(changed_files.map(|(file, _)| file.clone()));
        info.reward_files.extend(rewards);
        if let (true, Some(settings)) = (kept.is_changed, settings) {
            info.settings = settings.to_vec();
        }
        let done: Vec<StageRecord> = read_json(&path.join(STAGES))?.unwrap_or_default();
        let ahead = recipe.stages.iter().filter(|stage| done.iter().all(|record| record.name != stage.name));
        for folder in ahead.filter_map(|stage| stage.model.as_ref()?.folder()) {
            check_same_model(folder, &info.model_files)?;
        }
        let (last, here) = (info.makers().last().unwrap_or(&info.maker).clone(), Maker::here());
        if !info.makers().any(|maker| *maker == here) {
            info.other_makers.push(here.clone());
        }
        info.resumed.push(now());
        write_json(&path.join(INFO), &info)?;
        // After what was noted of the new places, which is not looked for there before.
        if kept.is_changed {
            write_whole(&path.join(RECIPE), recipe_file(&kept.recipe)?.as_bytes())?;
        }
        // Of a base or an export in whose middle the process was killed. (Checkpoints are seen to where they are read.)
        for folder in [path.to_owned(), path.join("bases")].iter().filter(|folder| folder.is_dir()) {
            remove_partial(folder)?;
        }
        let mut run = RunDir::assemble(path.to_owned(), recipe, info, lock)?;
        run.moved = kept.moved;
        run.changed_rewards = changed;
        run.earlier_maker = (!last.is_like(&here)).then_some(last);
        run.check_rows()?;
        Ok(run)
    }

    /// Why the run in a folder cannot go on with this recipe: it was made with another.
    ///
    /// # Errors
    /// If there is no run, or its recipe cannot be read.
    pub(crate) fn difference(path: &Path, recipe: &Recipe) -> anyhow::Result<Option<Unusable>> {
        Ok(RunDir::kept(path, recipe)?.difference(path, recipe))
    }

    fn kept(path: &Path, recipe: &Recipe) -> anyhow::Result<Kept> {
        let file = path.join(RECIPE);
        if !file.exists() && path.join(INFO).exists() && !path.join(MAKING).exists() {
            return Err(gone(&file, path).into());
        }
        Kept::read(path, recipe, "resume")
    }

    /// Whether the run in a folder, made with this recipe, has done all of its stages.
    pub(crate) fn has_finished(path: &Path, recipe: &Recipe) -> anyhow::Result<bool> {
        let done: Vec<StageRecord> = read_json(&path.join(STAGES))?.unwrap_or_default();
        Ok(recipe.stages.iter().all(|stage| done.iter().any(|record| record.name == stage.name)))
    }

    /// That the model in a folder, if it is one that stages read where it lies, is what it was when the run began.
    pub(crate) fn check_model(&self, folder: &Path) -> anyhow::Result<()> {
        check_same_model(folder, &self.info.model_files)
    }

    /// That the metrics hold the rows of every stage that is done: a summary and a report without them would pass for
    /// those of the run.
    fn check_rows(&self) -> anyhow::Result<()> {
        for done in self.stages_done()? {
            if done.kind != "eval" {
                self.check_steps(&done.name, done.steps)?;
            } else if !self.metrics()?.iter().any(|row| row["stage"] == done.name.as_str() && row["kind"] == "eval") {
                return Err(self.lost_rows(&done.name));
            }
        }
        Ok(())
    }

    /// That the metrics hold a row for each of a stage's steps up to this one.
    fn check_steps(&self, stage: &str, last: u64) -> anyhow::Result<()> {
        let rows = self.metrics()?;
        let of_stage = rows.iter().filter(|row| row["stage"] == stage && row["kind"] != "eval");
        let steps: BTreeSet<u64> = of_stage.filter_map(|row| row["step"].as_u64()).collect();
        if (1..=last).all(|step| steps.contains(&step)) { Ok(()) } else { Err(self.lost_rows(stage)) }
    }

    fn lost_rows(&self, stage: &str) -> anyhow::Error {
        let what = format!("{} has lost rows of stage `{stage}`", self.path.join(METRICS).display());
        Unusable::put_back(what, "put the file back").into()
    }

    /// Makes sure that the rows so far outlive a loss of power, as a checkpoint does that is written after them.
    ///
    /// # Errors
    /// If the disk does not take them.
    pub(crate) fn sync_metrics(&self) -> anyhow::Result<()> {
        self.metrics.sync()
    }

    /// What made the run in this folder.
    ///
    /// # Errors
    /// If the folder holds no run.
    pub fn read_info(path: &Path) -> anyhow::Result<RunInfo> {
        read_json(&path.join(INFO))?.with_context(|| format!("{} holds no run: no {INFO} in it", path.display()))
    }

    fn assemble(path: PathBuf, recipe: &Recipe, info: RunInfo, lock: File) -> anyhow::Result<RunDir> {
        let metrics = JsonLines::open(&path.join(METRICS))?;
        let run = RunDir {
            stages: recipe.stages.iter().map(|stage| stage.name.clone()).collect(),
            only_grpo_stage: only_grpo_stage(recipe).map(str::to_owned),
            path,
            info,
            metrics,
            moved: Vec::new(),
            changed_rewards: Vec::new(),
            earlier_maker: None,
            lock,
        };
        for folder in [run.path.join("completions"), run.path.join("checkpoints")] {
            fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        }
        Ok(run)
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What made the run.
    #[must_use]
    pub fn info(&self) -> &RunInfo {
        &self.info
    }

    /// What the recipe reads that lies elsewhere than when the run was last worked on, and is the same: where then, and now.
    #[must_use]
    pub fn moved(&self) -> &[(PathBuf, PathBuf)] {
        &self.moved
    }

    /// What of rewards is not what it was when the run was last worked on: their files, and what the recipe says of them.
    #[must_use]
    pub fn changed_rewards(&self) -> &[String] {
        &self.changed_rewards
    }

    /// What the run was last worked on with, where that is not what works on it now: from here on it may come to other bits.
    #[must_use]
    pub fn earlier_maker(&self) -> Option<&Maker> {
        self.earlier_maker.as_ref()
    }

    /// Where the model lies that reinforcement learning began with.
    #[must_use]
    pub fn base(&self) -> PathBuf {
        self.path.join("base")
    }

    /// Where the model lies that a pretrain stage makes: the base, unless the stage has a model of its own.
    #[must_use]
    pub fn base_of(&self, stage: &Stage) -> PathBuf {
        if stage.model.is_none() { self.base() } else { self.path.join("bases").join(&stage.name) }
    }

    /// The file of the demonstrations that a stage of kind `reject` makes.
    #[must_use]
    pub fn data(&self, stage: &str) -> PathBuf {
        // A stage's name may have a dot in it.
        self.path.join("data").join(format!("{stage}.jsonl"))
    }

    /// The folder of a grpo stage's checkpoints.
    #[must_use]
    pub fn checkpoints(&self, stage: &str) -> PathBuf {
        self.of_stage("checkpoints", stage)
    }

    /// The folder of the checkpoint after a step.
    #[must_use]
    pub fn checkpoint(&self, stage: &str, step: u64) -> PathBuf {
        self.checkpoints(stage).join(step_name(step))
    }

    /// The file of a step's completions.
    #[must_use]
    pub fn completions(&self, stage: &str, step: u64) -> PathBuf {
        self.of_stage("completions", stage).join(format!("{}.jsonl", step_name(step)))
    }

    fn of_stage(&self, folder: &str, stage: &str) -> PathBuf {
        let folder = self.path.join(folder);
        if self.only_grpo_stage.as_deref() == Some(stage) { folder } else { folder.join(stage) }
    }

    /// The folder of a stage's checkpoints or completions, in the folder of a run of that recipe.
    pub(crate) fn folder_of(run: &Path, recipe: &Recipe, kind: &str, stage: &str) -> PathBuf {
        let folder = run.join(kind);
        if only_grpo_stage(recipe) == Some(stage) { folder } else { folder.join(stage) }
    }

    /// Adds a row to the metrics.
    ///
    /// # Errors
    /// If it cannot be written; the file then holds the rows it held before.
    pub fn push_metrics(&mut self, row: &MetricRow) -> anyhow::Result<()> {
        self.metrics.push(row)
    }

    /// The rows of the metrics, as JSON.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn metrics(&self) -> anyhow::Result<Vec<serde_json::Value>> {
        read_rows(&self.path.join(METRICS))
    }

    /// Every evaluation so far, in order.
    ///
    /// # Errors
    /// If the metrics cannot be read.
    pub fn evaluations(&self) -> anyhow::Result<Vec<EvalMetrics>> {
        let rows = self.metrics()?.into_iter().filter(|row| row["kind"] == "eval");
        rows.map(|row| serde_json::from_value(row).context("a row of metrics.jsonl is no evaluation")).collect()
    }

    /// Every step of reinforcement learning so far, in order.
    ///
    /// # Errors
    /// If the metrics cannot be read.
    pub fn steps(&self) -> anyhow::Result<Vec<StepMetrics>> {
        let rows = self.metrics()?.into_iter().filter(|row| row["kind"] == "step");
        rows.map(|row| serde_json::from_value(row).context("a row of metrics.jsonl is no step")).collect()
    }

    /// Writes the completions of a step.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn write_completions(&self, stage: &str, step: u64, completions: &[CompletionRecord]) -> anyhow::Result<()> {
        let path = self.completions(stage, step);
        let context = || format!("cannot write {}", path.display());
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).with_context(context)?;
        }
        let mut file = BufWriter::new(File::create(&path).with_context(context)?);
        for completion in completions {
            serde_json::to_writer(&mut file, completion).with_context(context)?;
            file.write_all(b"\n").with_context(context)?;
        }
        file.flush().with_context(context)
    }

    /// Writes what rewards printed in a step beside its completions, if they printed anything.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write_printed(&self, stage: &str, step: u64, printed: &[Printed]) -> anyhow::Result<()> {
        if printed.is_empty() {
            return Ok(());
        }
        let path = self.completions(stage, step).with_extension("log");
        let mut text = String::new();
        for Printed { prompt, reward, text: said } in printed {
            let end = if said.ends_with('\n') { "" } else { "\n" };
            let _ = write!(text, "--- {reward}, on {prompt:?}\n{said}{end}");
        }
        write_whole(&path, text.as_bytes())
    }

    /// The completions of a step, if they were written.
    ///
    /// # Errors
    /// If the file is there and cannot be read.
    pub fn read_completions(&self, stage: &str, step: u64) -> anyhow::Result<Vec<CompletionRecord>> {
        let path = self.completions(stage, step);
        if !path.exists() {
            return Ok(Vec::new());
        }
        let context = || format!("cannot read {}", path.display());
        let text = fs::read_to_string(&path).with_context(context)?;
        text.lines().map(|line| serde_json::from_str(line).with_context(context)).collect()
    }

    /// The last step of a stage that the metrics have a row of; 0 if there is none.
    pub(crate) fn last_step(&self, stage: &str) -> anyhow::Result<u64> {
        let rows = self.metrics()?;
        let of_stage = rows.iter().filter(|row| row["stage"] == stage && row["kind"] != "eval");
        Ok(of_stage.filter_map(|row| row["step"].as_u64()).max().unwrap_or(0))
    }

    /// How many of a stage's steps up to this one have no completions in the folder.
    pub(crate) fn lost_completions(&self, stage: &str, last: u64) -> usize {
        (1..=last).filter(|&step| !self.completions(stage, step).exists()).count()
    }

    /// Goes back to where the checkpoint after `step` of a stage was written: what came later is
    /// dropped, since the resumed run will write it again. Step 0 is the beginning of a stage whose rows count from 1.
    /// Returns the number of rows dropped.
    ///
    /// # Errors
    /// If the files cannot be cut.
    pub fn rewind(&mut self, stage: &str, step: u64) -> anyhow::Result<usize> {
        self.go_back(stage, Some(step))
    }

    /// Goes back to where a stage began, whatever the steps of its rows are: for stages that always begin anew.
    /// Returns the number of rows dropped.
    ///
    /// # Errors
    /// If the files cannot be cut.
    pub fn restart(&mut self, stage: &str) -> anyhow::Result<usize> {
        self.go_back(stage, None)
    }

    /// Drops what a stage did after this step, or all of it, and all that later stages did.
    fn go_back(&mut self, stage: &str, kept: Option<u64>) -> anyhow::Result<usize> {
        let order = self.stages.clone();
        let place = |name: &str| order.iter().position(|stage| stage == name);
        let here = place(stage).with_context(|| format!("the recipe has no stage `{stage}` to go back to"))?;
        // First what says that stages are done: a process that is killed in the middle then leaves stages that are begun again,
        // and none that is done and has lost its rows.
        let mut done = self.stages_done()?;
        let before = done.len();
        done.retain(|record| place(&record.name).is_none_or(|place| place < here));
        if done.len() != before {
            write_json(&self.path.join(STAGES), &done)?;
        }
        let dropped = self.metrics.drop_from(|row| match place(&row.stage) {
            Some(place) => place > here || (place == here && kept.is_none_or(|last| row.step > last)),
            // Not of this recipe: cannot be, since the recipe is compared; kept if it is.
            None => false,
        })?;
        for (index, name) in order.iter().enumerate().skip(here) {
            let last = if index == here { kept } else { None };
            drop_files_after(&self.of_stage("completions", name), last)?;
            // A later stage begins again with its first step, so that its rows are there again; it comes to the same bits.
            if index > here {
                drop_checkpoints(&self.checkpoints(name))?;
            }
        }
        if let Some(step) = kept {
            self.check_steps(stage, step)?;
        }
        Ok(dropped)
    }

    /// The stages that are done, in order.
    ///
    /// # Errors
    /// If the list cannot be read.
    pub fn stages_done(&self) -> anyhow::Result<Vec<StageRecord>> {
        Ok(read_json(&self.path.join(STAGES))?.unwrap_or_default())
    }

    /// Whether a stage is done: a resumed run goes on with the next.
    ///
    /// # Errors
    /// If the list cannot be read.
    pub fn is_done(&self, stage: &str) -> anyhow::Result<bool> {
        Ok(self.stages_done()?.iter().any(|record| record.name == stage))
    }

    /// Whether all stages of the recipe are done.
    ///
    /// # Errors
    /// If the list cannot be read.
    pub fn is_finished(&self) -> anyhow::Result<bool> {
        let done = self.stages_done()?;
        Ok(self.stages.iter().all(|stage| done.iter().any(|record| record.name == *stage)))
    }

    /// Whether there is anything to go on from: a stage that is done, or a checkpoint.
    #[must_use]
    pub fn holds_work(&self) -> bool {
        let holds_folder = |path: PathBuf| {
            fs::read_dir(path).is_ok_and(|entries| entries.flatten().any(|entry| step_of(&entry.path()).is_some()))
        };
        self.stages_done().is_ok_and(|done| !done.is_empty())
            || self.stages.iter().any(|stage| holds_folder(self.checkpoints(stage)))
    }

    /// Notes that a stage is done.
    ///
    /// # Errors
    /// If the list cannot be written.
    pub fn finish_stage(&mut self, record: StageRecord) -> anyhow::Result<()> {
        let mut done = self.stages_done()?;
        done.retain(|other| other.name != record.name);
        done.push(record);
        write_json(&self.path.join(STAGES), &done)
    }

    pub(crate) fn write_summary(&self, summary: &impl Serialize) -> anyhow::Result<()> {
        write_json(&self.path.join(SUMMARY), summary)
    }

    pub(crate) fn write_report(&self, html: &str) -> anyhow::Result<PathBuf> {
        let path = self.path.join("report.html");
        write_whole(&path, html.as_bytes())?;
        Ok(path)
    }
}

fn gone(file: &Path, run: &Path) -> Unusable {
    let what = format!("{} is gone: the run in {} cannot go on without it", file.display(), run.display());
    Unusable::put_back(what, "put the file back")
}

/// The grpo stage, where there is but one.
fn only_grpo_stage(recipe: &Recipe) -> Option<&str> {
    match recipe.grpo().collect::<Vec<_>>()[..] {
        [(stage, _)] => Some(&stage.name),
        _ => None,
    }
}

fn step_name(step: u64) -> String {
    format!("step-{step:06}")
}
