//! Packed batches: sequences as a tree of segments, without padding, and the tokens to predict.

use std::sync::Arc;

use crate::ops::layouts::{Layouts, Segment};
use crate::ops::router::ExpertChoices;
use crate::{PolicyError, Result};

/// Token ids laid out row by row, with how they hang together and what is to be predicted from them.
///
/// [`BatchBuilder`] makes one whose parts fit; [`Policy::forward`](crate::Policy::forward) refuses one whose parts do not.
#[derive(Debug, Clone)]
pub struct PackedBatch {
    /// One token id per row.
    pub token_ids: Vec<u32>,
    /// Who continues whom, and so each row's position.
    pub layouts: Arc<Layouts>,
    /// For each prediction, the row from which it is made.
    pub target_rows: Vec<u32>,
    /// For each prediction, the token that comes next.
    pub target_ids: Vec<u32>,
    /// Where every row goes, if that is not for this policy's routers to say but is to be repeated from sampling.
    pub choices: Option<ExpertChoices>,
}

impl PackedBatch {
    /// The position of each row in its sequence.
    #[must_use]
    pub fn positions(&self) -> Vec<u32> {
        let segments = self.layouts.segments().iter();
        segments.flat_map(|segment| (segment.position..).take(segment.rows.len()).map(|p| p as u32)).collect()
    }

    /// What does not fit in it, if anything does not, whatever the model.
    pub(super) fn fault(&self) -> Option<String> {
        let (rows, laid_out) = (self.token_ids.len(), self.layouts.rows());
        if rows != laid_out {
            return Some(format!("{rows} token ids for a layout of {laid_out} rows"));
        }
        let (from, targets) = (self.target_rows.len(), self.target_ids.len());
        if from != targets {
            return Some(format!("{from} rows to predict from for {targets} tokens to predict"));
        }
        let outside = self.target_rows.iter().find(|row| **row as usize >= rows);
        outside.map(|row| format!("a token to predict from row {row} of {rows}"))
    }

    /// The same rows, for a policy that chooses its experts itself.
    #[must_use]
    pub fn without_choices(&self) -> Self {
        PackedBatch { choices: None, ..self.clone() }
    }
}

/// Builds a [`PackedBatch`]: shared prefixes once, completions as their children.
#[derive(Debug, Default)]
pub struct BatchBuilder {
    token_ids: Vec<u32>,
    segments: Vec<Segment>,
    target_rows: Vec<u32>,
    target_ids: Vec<u32>,
    choices: ExpertChoices,
}

/// A segment of the batch under construction, to be continued by others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentId(usize);

impl BatchBuilder {
    /// Rows so far.
    pub fn rows(&self) -> usize {
        self.token_ids.len()
    }

    /// Predictions so far.
    pub fn targets(&self) -> usize {
        self.target_ids.len()
    }

    /// Adds tokens from which nothing is predicted: a prompt, or a prefix that many prompts share.
    ///
    /// A parent must belong to the tree that was begun last.
    ///
    /// # Errors
    /// If `token_ids` is empty.
    pub fn context(&mut self, token_ids: &[u32], parent: Option<SegmentId>) -> Result<SegmentId> {
        if token_ids.is_empty() {
            return Err(PolicyError::Argument { operation: "pack a batch", message: "a prompt without tokens".into() });
        }
        let position = parent.map_or(0, |SegmentId(parent)| {
            let parent = &self.segments[parent];
            parent.position + parent.rows.len()
        });
        let start = self.token_ids.len();
        self.token_ids.extend_from_slice(token_ids);
        self.segments.push(Segment { rows: start..self.token_ids.len(), parent: parent.map(|id| id.0), position });
        Ok(SegmentId(self.segments.len() - 1))
    }

    /// Adds a completion of `prompt`, every token of which is predicted.
    ///
    /// Its last token is predicted but never read from, so it takes no row.
    ///
    /// # Errors
    /// If the completion is empty.
    pub fn completion(&mut self, prompt: SegmentId, token_ids: &[u32]) -> Result<()> {
        let Some((last, read)) = token_ids.split_last() else {
            return Err(PolicyError::Argument { operation: "pack a batch", message: "an empty completion".into() });
        };
        let mut row = self.segments[prompt.0].rows.end - 1;
        for (offset, id) in read.iter().enumerate() {
            self.target_rows.push(row as u32);
            self.target_ids.push(*id);
            row = self.token_ids.len() + offset;
        }
        self.target_rows.push(row as u32);
        self.target_ids.push(*last);
        if !read.is_empty() {
            self.context(read, Some(prompt))?;
        }
        Ok(())
    }

    /// Notes the experts of the rows that were added last. Either every row of a batch is given its experts, or none is.
    pub fn repeat(&mut self, choices: &ExpertChoices) {
        self.choices.extend(choices);
    }

    /// The finished batch.
    ///
    /// # Errors
    /// If a segment continues one that is not in its tree, or only some rows were given their experts.
    pub fn build(self) -> Result<PackedBatch> {
        let (rows, noted) = (self.token_ids.len(), self.choices.layers());
        if noted.iter().any(|layer| layer.is_empty() || layer.len() % rows != 0 || layer.len() != noted[0].len()) {
            return Err(PolicyError::Argument {
                operation: "pack a batch",
                message: format!("{rows} rows, and experts for {:?}", noted.iter().map(Vec::len).collect::<Vec<_>>()),
            });
        }
        let choices = (!noted.is_empty()).then_some(self.choices);
        let layouts = Layouts::new(self.segments)
            .map_err(|source| PolicyError::Tensor { operation: "pack a batch".into(), source })?;
        Ok(PackedBatch {
            token_ids: self.token_ids,
            layouts: Arc::new(layouts),
            target_rows: self.target_rows,
            target_ids: self.target_ids,
            choices,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn completions_share_their_prompt_and_predict_every_token() {
        let mut builder = BatchBuilder::default();
        let prompt = builder.context(&[10, 11, 12], None).unwrap();
        builder.completion(prompt, &[20, 21, 22]).unwrap();
        builder.completion(prompt, &[30]).unwrap();
        builder.completion(prompt, &[40, 41]).unwrap();
        let batch = builder.build().unwrap();
        assert_eq!(batch.token_ids, [10, 11, 12, 20, 21, 40]);
        assert_eq!(batch.positions(), [0, 1, 2, 3, 4, 3]);
        let predictions: Vec<(u32, u32)> = batch.target_rows.iter().copied().zip(batch.target_ids.clone()).collect();
        assert_eq!(predictions, [(2, 20), (3, 21), (4, 22), (2, 30), (2, 40), (5, 41)]);
    }
}
