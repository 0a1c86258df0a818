//! Log-probabilities of given tokens, and the entropy, without ever holding the logits of a whole batch.
//!
//! The logits `hidden head^T / temperature` are made for a block of rows and a chunk of the vocabulary at a time, in f32, in
//! the forward pass and again in the backward pass. See `kernels/logprob.cu` for the equations.

use half::bf16;

use super::checks::{Checks, EIGHT};
use crate::{Argument, Buffer, Device, Gemm, Grid, Result, Slice};

/// Rows and tokens whose logits are held at once, if nothing else is asked for: 192 MiB with their gradients, and products
/// large enough for a card.
const AT_ONCE: (usize, usize) = (4096, 8192);

/// The head, and the rows that it is asked about.
#[derive(Clone, Copy)]
pub struct Logprob<'a> {
    /// `[vocabulary, width]`; the width is a multiple of 8.
    pub head: Slice<'a, bf16>,
    /// `[rows, width]`: what the head is multiplied with.
    pub hidden: Slice<'a, bf16>,
    /// For each row, the token whose log-probability is wanted; inside the vocabulary, which is for the caller to see to.
    pub targets: Slice<'a, u32>,
    /// What the logits are divided by; positive.
    pub temperature: f32,
}

/// A number for each row, `[rows]`.
#[derive(Clone, Copy)]
pub struct Logprobs<'a> {
    /// The targets' log-probabilities.
    pub logprobs: Slice<'a, f32>,
    /// The entropy of the row's distribution in nats.
    pub entropy: Slice<'a, f32>,
    /// log(sum(exp(logits))), which the backward pass needs.
    pub totals: Slice<'a, f32>,
}

/// Gradients by what [`Logprob::forward`] computes, `[rows]`.
#[derive(Clone, Copy)]
pub struct Slopes<'a> {
    /// By the log-probabilities.
    pub logprobs: Slice<'a, f32>,
    /// By the entropies, if the loss asks for them.
    pub entropy: Option<Slice<'a, f32>>,
}

/// The place where logits are while they are needed.
#[derive(Debug)]
pub struct Workspace {
    rows: usize,
    tokens: usize,
    /// `[rows, tokens]`
    logits: Buffer<f32>,
    /// The same, of their gradients; empty if there is no backward pass.
    d_logits: Buffer<bf16>,
    /// `[rows, 3]`: what is known of a row so far.
    running: Buffer<f32>,
    /// `[rows]`: the targets' logits.
    picked: Buffer<f32>,
}

impl Workspace {
    /// For batches of at most `rows` rows and a vocabulary of `vocabulary` tokens; more rows are done in several blocks.
    ///
    /// # Errors
    /// Too little memory.
    pub fn new(device: &Device, rows: usize, vocabulary: usize, backward: bool) -> Result<Self> {
        Self::with_sizes(device, rows.min(AT_ONCE.0), vocabulary.min(AT_ONCE.1), backward)
    }

    /// With room for so many rows and tokens at once; the tokens are rounded up to a multiple of 8.
    ///
    /// # Errors
    /// Too little memory.
    pub fn with_sizes(device: &Device, rows: usize, tokens: usize, backward: bool) -> Result<Self> {
        let (rows, tokens) = (rows.max(1), tokens.max(1).next_multiple_of(EIGHT));
        Ok(Workspace {
            rows,
            tokens,
            logits: device.alloc(rows * tokens, "logits")?,
            d_logits: device.alloc(if backward { rows * tokens } else { 0 }, "the gradient of the logits")?,
            running: device.alloc(rows * 3, "sums over logits")?,
            picked: device.alloc(rows, "logits of targets")?,
        })
    }
}

/// A chunk of the vocabulary.
#[derive(Clone, Copy)]
struct Chunk {
    first: usize,
    width: usize,
}

impl Logprob<'_> {
    fn width(&self) -> usize {
        self.hidden.len() / self.targets.len().max(1)
    }

    /// Checks the sizes; returns the vocabulary's.
    fn check(&self, check: Checks, out: Logprobs<'_>) -> Result<usize> {
        let (rows, width) = (self.targets.len(), self.width());
        check.in_eights("the width of the hidden rows", width)?;
        check.holds("the hidden rows", self.hidden.len(), rows * width)?;
        let vocabulary = self.head.len() / width;
        check.holds("the head", self.head.len(), vocabulary * width)?;
        check.that(self.temperature > 0.0, || format!("a temperature of {}", self.temperature))?;
        check.holds("the log-probabilities", out.logprobs.len(), rows)?;
        check.holds("the entropies", out.entropy.len(), rows)?;
        check.holds("the totals", out.totals.len(), rows)?;
        check.int("the vocabulary", vocabulary)?;
        Ok(vocabulary)
    }

    /// The same for some of the rows.
    fn block(&self, start: usize, rows: usize) -> Self {
        let width = self.width();
        Logprob {
            hidden: self.hidden.slice(start * width..(start + rows) * width),
            targets: self.targets.slice(start..start + rows),
            ..*self
        }
    }

    /// Makes the logits of a chunk, `[rows, tokens of the workspace]`.
    fn logits(&self, device: &Device, workspace: &Workspace, chunk: Chunk) -> Result<()> {
        let width = self.width();
        let head = self.head.slice(chunk.first * width..(chunk.first + chunk.width) * width);
        let gemm = Gemm::new([self.targets.len(), chunk.width, width], self.hidden, head, workspace.logits.view());
        device.gemm(&Gemm { ldc: workspace.tokens, alpha: 1.0 / self.temperature, ..gemm.transposed_b() })
    }

    /// The log-probabilities of the targets, the entropies and the totals.
    ///
    /// # Errors
    /// Lengths that do not fit, a width that is no multiple of 8, or the card's.
    pub fn forward(&self, device: &Device, workspace: &Workspace, out: Logprobs<'_>) -> Result<()> {
        let check = Checks("log-probabilities");
        if self.targets.is_empty() {
            return Ok(());
        }
        let vocabulary = self.check(check, out)?;
        let tokens = check.int("tokens at once", workspace.tokens)?;
        let update = device.kernel("logprob", &[], "logprob_chunk")?;
        let finish = device.kernel("logprob", &[], "logprob_finish")?;
        for (start, rows) in pieces(self.targets.len(), workspace.rows) {
            let block = self.block(start, rows);
            for (first, width) in pieces(vocabulary, workspace.tokens) {
                block.logits(device, workspace, Chunk { first, width })?;
                let arguments = [
                    (&workspace.running).into(),
                    (&workspace.picked).into(),
                    (&workspace.logits).into(),
                    block.targets.into(),
                    (first as i32).into(),
                    (width as i32).into(),
                    tokens.into(),
                ];
                device.submit(&update, Grid::blocks(rows, 256), &arguments)?;
            }
            let range = start..start + rows;
            let arguments = [
                out.logprobs.slice(range.clone()).into(),
                out.entropy.slice(range.clone()).into(),
                out.totals.slice(range).into(),
                (&workspace.running).into(),
                (&workspace.picked).into(),
                check.int("rows", rows)?.into(),
            ];
            device.submit(&finish, Grid::covering(rows, 256), &arguments)?;
        }
        Ok(())
    }

    /// `d_hidden` `[rows, width]` is set, `d_head` `[vocabulary, width]`, if it is wanted, added to. `out` is what
    /// [`Logprob::forward`] has made.
    ///
    /// # Errors
    /// As [`Logprob::forward`]; a workspace without room for a backward pass.
    pub fn backward(
        &self,
        device: &Device,
        workspace: &Workspace,
        (d_hidden, d_head): (Slice<'_, f32>, Option<Slice<'_, f32>>),
        out: Logprobs<'_>,
        slopes: Slopes<'_>,
    ) -> Result<()> {
        let check = Checks("log-probabilities, backward");
        if self.targets.is_empty() {
            return Ok(());
        }
        let (vocabulary, inner) = (self.check(check, out)?, self.width());
        check.has_room("the workspace of the gradient", workspace.d_logits.len(), workspace.logits.len())?;
        check.holds("the slopes by log-probability", slopes.logprobs.len(), self.targets.len())?;
        check.holds("the gradient of the hidden rows", d_hidden.len(), self.hidden.len())?;
        if let Some(entropy) = slopes.entropy {
            check.holds("the slopes by entropy", entropy.len(), self.targets.len())?;
        }
        if let Some(d_head) = d_head {
            check.holds("the gradient of the head", d_head.len(), self.head.len())?;
        }
        let tokens = check.int("tokens at once", workspace.tokens)?;
        let kernel = device.kernel("logprob", &[], "logprob_backward")?;
        for (start, rows) in pieces(self.targets.len(), workspace.rows) {
            let block = self.block(start, rows);
            let range = start..start + rows;
            let d_hidden = d_hidden.slice(start * inner..(start + rows) * inner);
            for (first, width) in pieces(vocabulary, workspace.tokens) {
                block.logits(device, workspace, Chunk { first, width })?;
                let arguments = [
                    (&workspace.d_logits).into(),
                    (&workspace.logits).into(),
                    block.targets.into(),
                    out.totals.slice(range.clone()).into(),
                    out.entropy.slice(range.clone()).into(),
                    slopes.logprobs.slice(range.clone()).into(),
                    slopes.entropy.map_or(Argument::null(), |entropy| entropy.slice(range.clone()).into()),
                    (first as i32).into(),
                    (width as i32).into(),
                    tokens.into(),
                    (1.0 / self.temperature).into(),
                ];
                device.submit(&kernel, Grid::blocks(rows, 256), &arguments)?;
                let places = first * inner..(first + width) * inner;
                let d_logits = workspace.d_logits.view();
                let back = Gemm::new([rows, inner, width], d_logits, self.head.slice(places.clone()), d_hidden);
                let beta = if first > 0 { 1.0 } else { 0.0 };
                device.gemm(&Gemm { lda: workspace.tokens, beta, ..back })?;
                if let Some(d_head) = d_head {
                    let gemm = Gemm::new([width, inner, rows], d_logits, block.hidden, d_head.slice(places));
                    device.gemm(&Gemm { lda: workspace.tokens, ..gemm.transposed_a().added() })?;
                }
            }
        }
        Ok(())
    }
}

/// Starts and lengths of the pieces of `0..len`, at most `most` long.
fn pieces(len: usize, most: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..len).step_by(most).map(move |start| (start, most.min(len - start)))
}
