//! A policy as a Hugging Face folder for others to use: weights, tokenizer, and a model card. Stages of kind `export`
//! write it, and `recipe model export`.

mod card;

use std::path::Path;

use anyhow::Context;
use policy::checkpoint::{CheckpointWriter, Numbers, remove_partial_of};

use crate::config::ExportType;
use crate::model::Model;

pub(crate) use card::{CARD, Made, OfRun, mark};

/// Writes the folder, whole or not at all.
pub(crate) fn write(target: &Path, model: &Model, dtype: ExportType, made: &Made<'_>) -> anyhow::Result<()> {
    // A folder outside of the run's is not among those that are looked through when the run goes on.
    remove_partial_of(target)?;
    let writer = CheckpointWriter::begin(target)?;
    let numbers = match dtype {
        ExportType::F32 => Numbers::F32,
        ExportType::Bf16 => Numbers::Bf16,
    };
    model.policy.save_as(writer.path(), numbers)?;
    model.tokenizer.save(writer.path())?;
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    let path = writer.path().join(CARD);
    std::fs::write(&path, made.card(model, &name)?).with_context(|| format!("cannot write {}", path.display()))?;
    if let Some(lineage) = &made.lineage {
        lineage.write(writer.path())?;
    }
    writer.finish()?;
    Ok(())
}
