//! Pairs of a token and one of its experts, sorted by expert, so that each expert's rows lie side by side.
//!
//! A counting sort on the device: the host learns nothing of it, so a step can be recorded once and run again. Inside an
//! expert the pairs keep their order, and the result is a function of the choices alone. See `kernels/grouping.cu`.

use super::checks::Checks;
use super::router::{MAX_CHOSEN, MAX_EXPERTS};
use crate::{Buffer, Device, Grid, Result, Slice};

const THREADS: u32 = 1024;
/// Pairs of a block, as in the kernels.
const CHUNK: usize = 4096;

/// Room for the grouping of a batch.
#[derive(Debug)]
pub struct Grouping {
    offsets: Buffer<u32>,
    token: Buffer<u32>,
    place: Buffer<u32>,
    top_k: usize,
}

/// What sorting a large batch needs besides; one serves all layers.
#[derive(Debug)]
pub struct GroupingScratch {
    /// For each expert, its pairs in each chunk: `[experts, chunks]`.
    counts: Buffer<u32>,
    totals: Buffer<u32>,
    rows: usize,
    experts: usize,
    top_k: usize,
}

/// A batch's pairs in expert order.
#[derive(Debug, Clone, Copy)]
pub struct Grouped<'a> {
    /// Where each expert's pairs begin, and the end: `[experts + 1]`.
    pub offsets: Slice<'a, u32>,
    /// For each pair in expert order, its token: `[pairs]`.
    pub token: Slice<'a, u32>,
    /// For each pair in token order, its place in expert order: `[n, top_k]`.
    pub place: Slice<'a, u32>,
    /// Experts chosen for each token.
    pub top_k: usize,
}

impl GroupingScratch {
    /// For batches of up to `rows` tokens.
    ///
    /// # Errors
    /// Sizes beyond the limits, or the device's memory.
    pub fn new(device: &Device, rows: usize, experts: usize, top_k: usize) -> Result<Self> {
        let check = Checks("grouping by expert");
        check.that((1..=MAX_EXPERTS).contains(&experts), || format!("{experts} experts: at most {MAX_EXPERTS}"))?;
        check.that((1..=MAX_CHOSEN).contains(&top_k), || format!("{top_k} experts a token: at most {MAX_CHOSEN}"))?;
        check.int("the pairs of tokens and experts", rows * top_k)?;
        let counts = device.alloc((rows * top_k).div_ceil(CHUNK) * experts, "counts of tokens by expert")?;
        let totals = device.alloc(experts, "counts of tokens by expert")?;
        Ok(GroupingScratch { counts, totals, rows, experts, top_k })
    }
}

impl Grouping {
    /// For as large batches as `scratch` is for.
    ///
    /// # Errors
    /// The device's memory.
    pub fn new(device: &Device, scratch: &GroupingScratch) -> Result<Self> {
        let pairs = scratch.rows * scratch.top_k;
        Ok(Grouping {
            offsets: device.alloc(scratch.experts + 1, "where experts' tokens begin")?,
            token: device.alloc(pairs, "tokens by expert")?,
            place: device.alloc(pairs, "places of tokens by expert")?,
            top_k: scratch.top_k,
        })
    }

    /// Sorts the pairs of `chosen` `[n, top_k]`; adds to `load` `[experts]`, if given, how many tokens each expert has.
    ///
    /// # Errors
    /// More tokens than there is room for, sizes that do not fit together, or the device's. That `chosen` names experts that
    /// exist is the caller's to know.
    pub fn sort(
        &self,
        device: &Device,
        scratch: &GroupingScratch,
        chosen: Slice<'_, u16>,
        load: Option<Slice<'_, u32>>,
    ) -> Result<Grouped<'_>> {
        let check = Checks("grouping by expert");
        let (pairs, experts) = (chosen.len(), self.offsets.len() - 1);
        check.that(scratch.experts == experts && scratch.top_k == self.top_k, || "another mixture's scratch".into())?;
        check.that(pairs.is_multiple_of(self.top_k), || format!("{pairs} choices of {} a token", self.top_k))?;
        check.has_room("the tokens by expert", self.token.len().min(scratch.rows * scratch.top_k), pairs)?;
        if let Some(load) = load {
            check.holds("the load", load.len(), experts)?;
        }
        // Without tokens a block still writes the offsets.
        let chunks = pairs.div_ceil(CHUNK).max(1);
        let counts = scratch.counts.slice(..if chunks > 1 { chunks * experts } else { 0 });
        let (pairs_argument, experts_argument) = ((pairs as u64).into(), (experts as i32).into());
        if chunks > 1 {
            let kernel = device.kernel("grouping", &[], "grouping_count")?;
            let arguments = [counts.into(), chosen.into(), pairs_argument, experts_argument];
            device.submit(&kernel, Grid::blocks(chunks, THREADS), &arguments)?;
            let kernel = device.kernel("grouping", &[], "grouping_scan")?;
            let arguments = [counts.into(), (&scratch.totals).into(), check.int("chunks", chunks)?.into()];
            device.submit(&kernel, Grid::blocks(experts, THREADS), &arguments)?;
        }
        let kernel = device.kernel("grouping", &[], "grouping_place")?;
        let arguments = [
            (&self.offsets).into(),
            (&self.token).into(),
            (&self.place).into(),
            load.map_or(crate::Argument::null(), Into::into),
            counts.into(),
            (&scratch.totals).into(),
            chosen.into(),
            pairs_argument,
            experts_argument,
            (self.top_k as i32).into(),
        ];
        device.submit(&kernel, Grid::blocks(chunks, THREADS), &arguments)?;
        Ok(self.grouped(pairs / self.top_k))
    }

    /// What was sorted last, which had `rows` tokens.
    ///
    /// # Panics
    /// If there is no room for as many.
    pub fn grouped(&self, rows: usize) -> Grouped<'_> {
        let pairs = rows * self.top_k;
        Grouped {
            offsets: self.offsets.view(),
            token: self.token.slice(..pairs),
            place: self.place.slice(..pairs),
            top_k: self.top_k,
        }
    }
}

impl Grouped<'_> {
    /// Routed experts in all.
    pub fn experts(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Pairs of a token and an expert.
    pub fn pairs(&self) -> usize {
        self.token.len()
    }

    /// Tokens.
    pub fn rows(&self) -> usize {
        self.token.len() / self.top_k
    }
}
