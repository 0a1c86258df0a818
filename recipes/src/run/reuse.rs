//! `--from STAGE` and `--only STAGE`: a new run that takes over what an earlier one did before that stage.
//!
//! The earlier run stays as it is. What is taken over is copied, so that the new run can be resumed and moved like any
//! other. All that made it must be the same: the settings of the stages before, the model, the tasks, the seed. A reward's own
//! file may have changed, which is noted.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use super::files::{read_json, write_json, write_whole};
use super::folder::{METRICS, RunDir, STAGES};
use super::info::{copy_change, hash_files, input_change, model_change};
use super::kept::Kept;
use super::lines::RowHead;
use super::records::StageRecord;
use crate::config::{ModelSettings, Recipe};

/// What of an earlier run a new one takes over.
#[derive(Debug)]
pub(crate) struct Reuse {
    source: PathBuf,
    recipe: Recipe,
    /// The stages that are not done again.
    stages: Vec<String>,
    records: Vec<StageRecord>,
    changed_rewards: Vec<String>,
}

impl Reuse {
    /// Looks at the run in `source`, whose stages before `first` are to be taken over.
    pub(crate) fn find(source: &Path, recipe: &Recipe, first: &str) -> anyhow::Result<Reuse> {
        let Kept { recipe: stored, info: then, changed_rewards: mut changed, .. } =
            Kept::read(source, recipe, "begin from")?;
        let before = |recipe: &Recipe| -> anyhow::Result<Recipe> {
            let place = recipe.stages.iter().position(|stage| stage.name == first);
            let place = place.with_context(|| format!("the run in {} has no stage `{first}`", source.display()))?;
            let mut recipe = recipe.clone();
            recipe.stages.truncate(place);
            Ok(recipe)
        };
        let (wanted, there) = (before(recipe)?, before(&stored)?);
        if let Some((key, now, then)) = wanted.difference(&there) {
            bail!(
                "the run in {} has {key} = {then}, the recipe now has {now}: what it did before stage `{first}` cannot be \
                 taken over\n  hint: take the change back, name another run with --of, or do all stages anew",
                source.display()
            );
        }
        // An evaluation's answers may be as long as the longest that any stage samples, a later one too.
        let longest = recipe.eval_max_new_tokens();
        if wanted.examiner().is_some() && longest != stored.eval_max_new_tokens() {
            bail!(
                "the evaluations of the run in {} had answers of up to {} tokens, those of the recipe now have {longest}: \
                 they cannot be compared\n  hint: set eval.max_new_tokens, or start a new run without --from",
                source.display(),
                stored.eval_max_new_tokens()
            );
        }
        for folder in wanted.other_models() {
            if let Some(what) = model_change(folder, &then.model_files)? {
                bail!("{what}\n  hint: put the model back that was there, or do all stages anew");
            }
        }
        let base = source.join("base");
        if let (ModelSettings::Folder { path }, true) = (&wanted.model, base.is_dir())
            && let Some(what) = copy_change(path, &base)?
        {
            bail!("{what}\n  hint: put the model back that was there, or do all stages anew");
        }
        if let Some(what) = input_change(&wanted, &then.task_files, source)? {
            bail!("{what}\n  hint: put the file back that was there, or do all stages anew");
        }
        // As where a run goes on, a reward may be mended.
        let mut changed_rewards = Vec::new();
        if wanted.stages.iter().any(|stage| stage.settings.grades()) {
            let rewards = hash_files("reward file", &wanted.reward_files())?;
            let is_other = |(file, hash): &(String, String)| then.reward_files.get(file) != Some(hash);
            changed_rewards.append(&mut changed);
            changed_rewards.extend(rewards.into_iter().filter(is_other).map(|(file, _)| file));
        }
        let done: Vec<StageRecord> = read_json(&source.join(STAGES))?.unwrap_or_default();
        let mut records = Vec::new();
        for stage in &wanted.stages {
            let record = done.iter().find(|record| record.name == stage.name);
            let record = record.with_context(|| {
                format!(
                    "the run in {} has not done stage `{}`, which stands before `{first}`\n  hint: --resume --run-dir {} does \
                     the stages that are missing; or name another run with --of",
                    source.display(),
                    stage.name,
                    source.display()
                )
            })?;
            records.push(record.clone());
        }
        let stages = wanted.stages.iter().map(|stage| stage.name.clone()).collect();
        Ok(Reuse { source: source.to_owned(), recipe: stored, stages, records, changed_rewards })
    }

    /// Copies it into the folder of a new run, which is empty but for its own first files.
    pub(crate) fn take_over(mut self, run: &Path, recipe: &Recipe) -> anyhow::Result<()> {
        let copy = |from: PathBuf, to: PathBuf| if from.exists() { copy_all(&from, &to) } else { Ok(()) };
        for name in ["base", "bases"] {
            copy(self.source.join(name), run.join(name))?;
        }
        for stage in &self.stages {
            for kind in ["checkpoints", "completions"] {
                let from = RunDir::folder_of(&self.source, &self.recipe, kind, stage);
                let to = RunDir::folder_of(run, recipe, kind, stage);
                // A folder without a stage's name also holds those of the other stages.
                for entry in fs::read_dir(&from).into_iter().flatten().flatten() {
                    if entry.file_name().to_str().is_some_and(|name| name.starts_with("step-")) {
                        copy(entry.path(), to.join(entry.file_name()))?;
                    }
                }
            }
            // What a stage kept, and the same step by step.
            for name in [format!("{stage}.jsonl"), format!("{stage}.parts")] {
                copy(self.source.join("data").join(&name), run.join("data").join(&name))?;
            }
        }
        let path = self.source.join(METRICS);
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let kept: String = text
            .split_inclusive('\n')
            .filter(|line| {
                let head = serde_json::from_str::<RowHead>(line);
                head.is_ok_and(|head| self.stages.contains(&head.stage))
            })
            .collect();
        write_whole(&run.join(METRICS), kept.as_bytes())?;
        let origin = self.source.file_name().unwrap_or_default().to_string_lossy().into_owned();
        for record in &mut self.records {
            record.note = Some(format!("from {origin}"));
        }
        write_json(&run.join(STAGES), &self.records)
    }

    /// The files of rewards that are not what they were when the stages that are not done again were scored by them.
    pub(crate) fn changed_rewards(&self) -> &[String] {
        &self.changed_rewards
    }

    /// The stages that are not done again, for a message.
    pub(crate) fn stages(&self) -> &[String] {
        &self.stages
    }
}

/// A file, or a folder with all that is in it.
fn copy_all(from: &Path, to: &Path) -> anyhow::Result<()> {
    let context = || format!("cannot copy {} to {}", from.display(), to.display());
    if !from.is_dir() {
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent).with_context(context)?;
        }
        fs::copy(from, to).with_context(context)?;
        return Ok(());
    }
    fs::create_dir_all(to).with_context(context)?;
    let entries: BTreeMap<_, _> =
        fs::read_dir(from).with_context(context)?.flatten().map(|entry| (entry.file_name(), entry.path())).collect();
    for (name, path) in entries {
        copy_all(&path, &to.join(name))?;
    }
    Ok(())
}
