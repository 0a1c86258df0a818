//! Prompts through the decoder, several at once, in pieces of as many rows as there is memory for.

use device::ops::gather;
use device::ops::paged_cache::PageTable;
use device::{Device, Result, Slice};

use super::cache::Cache;
use super::decoder::{Decoder, Rows};

/// Tokens to be computed, after those that the cache holds already.
pub(super) struct Prompt<'r> {
    pub(super) token_ids: &'r [u32],
    /// Tokens before them.
    pub(super) start: usize,
    /// The pages of all tokens from the first on.
    pub(super) pages: Vec<i32>,
    /// The row of `hidden` that the last token's hidden row goes to.
    pub(super) hidden: Option<usize>,
}

/// A token of a prompt.
#[derive(Clone, Copy)]
struct Row<'p, 'r> {
    prompt: &'p Prompt<'r>,
    /// Which of its tokens.
    token: usize,
}

impl Row<'_, '_> {
    fn position(&self) -> usize {
        self.prompt.start + self.token
    }

    /// Where its hidden row goes, if it is its prompt's last.
    fn hidden(&self) -> Option<usize> {
        self.prompt.hidden.filter(|_| self.token + 1 == self.prompt.token_ids.len())
    }
}

/// Computes prompts, up to `most` rows at once; the hidden rows of their last tokens go to `hidden` `[.., width]`.
pub(super) fn compute(
    device: &Device,
    (decoder, cache): (&Decoder<'_>, &Cache),
    prompts: &[Prompt<'_>],
    most: usize,
    (hidden, width): (Slice<'_, f32>, usize),
) -> Result<()> {
    let rows: Vec<Row<'_, '_>> =
        prompts.iter().flat_map(|prompt| (0..prompt.token_ids.len()).map(move |token| Row { prompt, token })).collect();
    let page_tokens = cache.shape().page_tokens;
    for rows in rows.chunks(most) {
        let count = rows.len();
        let row = rows.iter().map(|row| row.prompt.pages.len()).max().unwrap_or(0);
        let last: Vec<(usize, usize)> =
            rows.iter().enumerate().filter_map(|(at, row)| Some((at, row.hidden()?))).collect();
        let mut unsigned: Vec<u32> = rows.iter().map(|row| row.prompt.token_ids[row.token]).collect();
        unsigned.extend(rows.iter().map(|row| row.position() as u32));
        unsigned.extend(last.iter().map(|(at, _)| *at as u32));
        let mut signed: Vec<i32> = rows.iter().map(|row| row.position() as i32).collect();
        signed.extend(rows.iter().map(|row| row.position() as i32 + 1));
        for Row { prompt, .. } in rows {
            signed.extend_from_slice(&prompt.pages);
            signed.resize(signed.len() + row - prompt.pages.len(), 0);
        }
        let unsigned = device.upload(&unsigned, "tokens of prompts")?;
        let signed = device.upload(&signed, "places of prompts")?;
        let given = Rows {
            ids: unsigned.slice(..count),
            positions: unsigned.slice(count..2 * count),
            places: signed.slice(..count),
            lengths: signed.slice(count..2 * count),
            table: PageTable { pages: signed.slice(2 * count..), row, tokens: page_tokens },
            decoding: false,
        };
        decoder.forward(given, cache)?;
        // Rows that end here go to neighbouring places: prompts are in the order of theirs.
        if let (Some((_, first)), Some((_, end))) = (last.first(), last.last()) {
            let to = hidden.slice(first * width..(end + 1) * width);
            gather(device, to, decoder.hidden(count), unsigned.slice(2 * count..), width)?;
        }
    }
    Ok(())
}
