//! Checkpoints: folders of files that are either whole or not there.
//!
//! A folder is written under another name, its files flushed and listed with their SHA-256 in
//! `manifest.json`, and only then renamed into place; so a kill or a full disk at any moment leaves
//! the earlier checkpoints of other names as they were. One of the same name is renamed aside first,
//! and removed once the new one is in its place; where a kill comes between the two renames, neither
//! is there until [`remove_partial`], or the next writer of that name, puts the earlier one back.
//! What the files are is the caller's business: a policy's are those of a Hugging Face model folder,
//! and tools that read such a folder ignore the manifest.

mod archive;
mod folder;
mod series;
mod tensors;

pub use archive::TensorArchive;
pub(crate) use archive::remove_shards;
pub use folder::{CheckpointWriter, FileRecord, MANIFEST, Manifest, verify, verify_where};
pub use series::{LatestValid, latest_valid, prune, remove_partial, remove_partial_of, step_dir, step_of};
pub use tensors::{Numbers, TensorData, TensorView, load_tensors, save_tensors, save_tensors_as};
