//! Models as they are loaded: a policy with its tokenizer.

use std::path::Path;

use anyhow::Context;
use policy::checkpoint::verify_where;
use policy::{Place, Policy, Tokenizer};

/// The policy in a folder, at `place`.
pub(crate) fn load_policy(folder: &Path, place: &Place) -> anyhow::Result<Policy> {
    // Tokenizer and configuration may have been changed by a person; numbers have not.
    verify_where(folder, |name| name.ends_with(".safetensors")).with_context(|| unusable(folder))?;
    read_policy(folder, place)
}

/// The same of a folder that was just verified: its files are not hashed again.
pub(crate) fn read_policy(folder: &Path, place: &Place) -> anyhow::Result<Policy> {
    let mut policy = Policy::load(folder).with_context(|| unusable(folder))?;
    policy.to_place(place).with_context(|| unusable(folder))?;
    Ok(policy)
}

fn unusable(folder: &Path) -> String {
    format!("cannot use the model in {}", folder.display())
}

/// A policy and its tokenizer.
pub(crate) struct Model {
    pub(crate) policy: Policy,
    pub(crate) tokenizer: Tokenizer,
}

impl Model {
    /// Reads a Hugging Face folder; the policy lives at `place`.
    pub(crate) fn load(folder: &Path, place: &Place) -> anyhow::Result<Model> {
        Model::with_tokenizer(load_policy(folder, place)?, folder)
    }

    /// The same of a folder that was just verified: its files are not hashed again.
    pub(crate) fn read(folder: &Path, place: &Place) -> anyhow::Result<Model> {
        Model::with_tokenizer(read_policy(folder, place)?, folder)
    }

    fn with_tokenizer(policy: Policy, folder: &Path) -> anyhow::Result<Model> {
        let tokenizer = Tokenizer::from_dir(folder).with_context(|| unusable(folder))?;
        anyhow::ensure!(
            tokenizer.vocab_size() <= policy.config().vocab_size,
            "the tokenizer in {} has {} tokens, the model {}",
            folder.display(),
            tokenizer.vocab_size(),
            policy.config().vocab_size
        );
        Ok(Model { policy, tokenizer })
    }

    /// A new model; the policy lives at `place`.
    pub(crate) fn new(mut policy: Policy, tokenizer: Tokenizer, place: &Place) -> anyhow::Result<Model> {
        policy.to_place(place)?;
        Ok(Model { policy, tokenizer })
    }

    /// Writes a Hugging Face folder: weights, configuration, tokenizer.
    pub(crate) fn save(&self, folder: &Path) -> anyhow::Result<()> {
        self.policy.save(folder)?;
        self.tokenizer.save(folder)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_verified_unless_it_was_just_now() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("model");
        let tokenizer = crate::stage::sentence_piece("");
        let policy = Policy::new(policy::ModelConfig::tiny(tokenizer.vocab_size()), 1).unwrap();
        let writer = policy::checkpoint::CheckpointWriter::begin(&folder).unwrap();
        Model::new(policy, tokenizer, &Place::Cpu).unwrap().save(writer.path()).unwrap();
        writer.finish().unwrap();
        Model::load(&folder, &Place::Cpu).unwrap();
        let weights = folder.join("model.safetensors");
        let mut bytes = std::fs::read(&weights).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(&weights, bytes).unwrap();
        let error = Model::load(&folder, &Place::Cpu).err().unwrap();
        assert!(format!("{error:#}").contains("damaged"), "{error:#}");
        Model::read(&folder, &Place::Cpu).unwrap();
    }
}
