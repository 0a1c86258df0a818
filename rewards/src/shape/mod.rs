//! Rewards for a completion's shape, whatever it says.

mod code_format;
mod format;
mod language;
mod length;
mod repetition;
mod script;
mod steps;
mod tags;

pub(crate) use code_format::{CodeFormat, CodeFormatParameters};
pub(crate) use format::Format;
pub(crate) use language::{LanguageConsistency, LanguageParameters};
pub(crate) use length::{Cosine, CosineParameters, Length, LengthParameters, OverlongParameters, SoftOverlong};
pub use length::{overlong_begins, within_limit};
pub(crate) use repetition::{RepetitionParameters, RepetitionPenalty};
pub(crate) use steps::{ReasoningSteps, Steps};
pub(crate) use tags::TagCount;
