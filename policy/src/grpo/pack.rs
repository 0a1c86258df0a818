//! From sampled completions to packed micro-batches in which a group's prompt stands once.

use crate::Result;
use crate::model::batch::{BatchBuilder, PackedBatch};
use crate::ops::router::ExpertChoices;
use crate::rollout::Completion;

/// A completion to be trained on.
#[derive(Debug, Clone, Copy)]
pub struct Sampled<'a> {
    /// The prompt's token ids. Completions of one group stand next to each other and share it.
    pub prompt: &'a [u32],
    /// The completion's token ids.
    pub token_ids: &'a [u32],
    /// Where the prompt's and the completion's tokens went when it was sampled; without it the routers choose anew.
    pub choices: Option<(&'a ExpertChoices, &'a ExpertChoices)>,
}

impl<'a> Sampled<'a> {
    /// A completion as it was sampled: each token will go to the experts that it went to then.
    pub fn of(prompt: &'a [u32], completion: &'a Completion) -> Self {
        let choices = Some((&*completion.prompt_choices, &completion.choices));
        Sampled { prompt, token_ids: &completion.token_ids, choices }
    }
}

/// A packed batch and which completions it holds.
#[derive(Debug)]
pub struct MicroBatch {
    /// The batch; its targets are the completions' tokens, one completion after the other.
    pub batch: PackedBatch,
    /// Indices into the list that was packed.
    pub completions: Vec<usize>,
}

/// Packs completions into micro-batches of at most `rows` rows (more only where a single completion needs them).
///
/// What all prompts begin with (the template) stands once in each batch, and each prompt's remainder once for its group.
///
/// # Errors
/// If a prompt or a completion is empty.
pub fn pack(completions: &[Sampled<'_>], rows: usize) -> Result<Vec<MicroBatch>> {
    let shared = common_prefix(completions.iter().map(|completion| completion.prompt));
    let mut batches = Vec::new();
    let mut builder = BatchBuilder::default();
    let mut members = Vec::new();
    let mut root = None;
    let mut open: Option<(&[u32], _)> = None;
    for (index, completion) in completions.iter().enumerate() {
        let same_prompt = open.is_some_and(|(prompt, _)| prompt == completion.prompt);
        // A completion's last token takes no row.
        let own = completion.token_ids.len().saturating_sub(1);
        let needed = own + if same_prompt { 0 } else { completion.prompt.len() - shared };
        if builder.rows() > 0 && builder.rows() + needed > rows {
            let batch = std::mem::take(&mut builder).build()?;
            batches.push(MicroBatch { batch, completions: std::mem::take(&mut members) });
            (root, open) = (None, None);
        }
        let segment = match open {
            Some((prompt, segment)) if prompt == completion.prompt => segment,
            _ => {
                let (prompt, tokens) = (completion.prompt, completion.prompt.len());
                if root.is_none() && shared > 0 {
                    root = Some(builder.context(&prompt[..shared], None)?);
                    if let Some((choices, _)) = completion.choices {
                        builder.repeat(&choices.part(0..shared, tokens));
                    }
                }
                let segment = builder.context(&prompt[shared..], root)?;
                if let Some((choices, _)) = completion.choices {
                    builder.repeat(&choices.part(shared..tokens, tokens));
                }
                segment
            }
        };
        open = Some((completion.prompt, segment));
        builder.completion(segment, completion.token_ids)?;
        if let Some((_, choices)) = completion.choices {
            builder.repeat(choices);
        }
        members.push(index);
    }
    if !members.is_empty() {
        batches.push(MicroBatch { batch: builder.build()?, completions: members });
    }
    Ok(batches)
}

/// Tokens that all prompts begin with, leaving each at least one of its own.
pub(crate) fn common_prefix<'a>(mut prompts: impl Iterator<Item = &'a [u32]>) -> usize {
    let Some(first) = prompts.next() else { return 0 };
    prompts.fold(first.len().saturating_sub(1), |shared, prompt| {
        let same = first.iter().zip(prompt).take_while(|(a, b)| a == b).count();
        same.min(shared).min(prompt.len().saturating_sub(1))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_all_prompts_share_stands_once_in_a_batch() {
        let completions = [([1u32, 2, 3], [7u32, 8]), ([1, 2, 4], [7, 9]), ([1, 2, 5], [7, 9])];
        let completions: Vec<Sampled<'_>> =
            completions.iter().map(|(prompt, token_ids)| Sampled { prompt, token_ids, choices: None }).collect();
        let batches = pack(&completions, 7).unwrap();
        let ids: Vec<_> = batches.iter().map(|b| b.batch.token_ids.clone()).collect();
        assert_eq!(ids, [vec![1, 2, 3, 7, 4, 7], vec![1, 2, 5, 7]]);
        assert_eq!(batches[0].batch.positions(), [0, 1, 2, 3, 2, 3]);
    }

    #[test]
    fn a_prompt_is_packed_once_for_its_group_and_again_in_the_next_batch() {
        let (p, q): (&[u32], &[u32]) = (&[1, 2, 3], &[4]);
        let completions: Vec<Sampled<'_>> = [(p, &[5u32, 6][..]), (p, &[7]), (p, &[8, 9, 10]), (q, &[11, 12])]
            .map(|(prompt, token_ids)| Sampled { prompt, token_ids, choices: None })
            .to_vec();
        let batches = pack(&completions, 5).unwrap();
        let ids: Vec<_> = batches.iter().map(|b| b.batch.token_ids.clone()).collect();
        assert_eq!(ids, [vec![1, 2, 3, 5], vec![1, 2, 3, 8, 9], vec![4, 11]]);
        assert_eq!(batches.iter().map(|b| b.completions.clone()).collect::<Vec<_>>(), [vec![0, 1], vec![2], vec![3]]);
        assert_eq!(batches[0].batch.target_ids, [5, 6, 7]);
    }
}
