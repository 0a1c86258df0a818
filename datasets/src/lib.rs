//! Tasks: reading them from files, generating them, ordering them.
//!
//! - [`task`]: the one record that everything here makes, [`Task`].
//! - [`source`]: task files (JSON Lines, JSON, gzip, CSV, Parquet) in the layouts in which public
//!   problem sets lie, each behind a small adapter.
//! - [`generate`]: procedural families with a training and a held-out split that cannot overlap,
//!   and the worked text that a base is pretrained on.
//! - [`curate`]: jobs that make training data of raw problem sets.
//! - [`order`]: seeded, resumable shuffles; [`template`]: from a question to the prompt of a base.
//!
//! Nothing here prints, and polars stays inside this crate.

pub mod curate;
pub mod error;
pub mod generate;
pub mod order;
mod random;
mod solution;
pub mod source;
pub mod task;
pub mod template;

pub use error::DatasetError;
pub use generate::{Family, FamilyDescription, Quality, Voice, WorkedText};
pub use order::Order;
pub use solution::{programs, solutions};
pub use source::{BadLine, Demonstration, OnBadLine, ReadTasks};
pub use task::{Domain, Message, Split, Task};
