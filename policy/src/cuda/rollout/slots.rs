//! The sequences that are decoded side by side, one a slot, as the card knows them.
//!
//! Those in use are always the first ones, so that a step computes no more rows than it must. Tokens go from one step to the
//! next without the host.

use std::ops::Range;

use device::ops::paged_cache::PageTable;
use device::ops::slots::{edit_pages, place_tokens};
use device::ops::{DRAWING, Draws, Sampling, Sequences, advance, sample};
use device::{Buffer, Device, Element, Result, Slice};

use super::decoder::Rows;

/// The state of a slot that nobody uses, or whose sequence waits for a page.
const IDLE: u8 = u8::MAX;

/// How many there are, and what one holds.
#[derive(Clone, Copy)]
pub(super) struct Sizes {
    pub(super) slots: usize,
    /// Tokens that may be drawn.
    pub(super) capacity: usize,
    /// Pages of a context.
    pub(super) row: usize,
    /// Tokens of a page.
    pub(super) page_tokens: usize,
}

/// A sequence that begins: its draws, and where its prompt's last token stands.
pub(super) struct Start {
    pub(super) task: u32,
    pub(super) sample: u32,
    pub(super) position: u32,
    /// Most tokens to be drawn.
    pub(super) limit: u32,
}

/// The slots' state. All arrays are `[slots]`, where nothing else is said.
pub(super) struct Slots<'a> {
    device: &'a Device,
    sizes: Sizes,
    sampling: Sampling,
    /// `[slots, capacity]`
    tokens: Buffer<u32>,
    logprobs: Buffer<f32>,
    next: Buffer<u32>,
    length: Buffer<u32>,
    position: Buffer<u32>,
    limit: Buffer<u32>,
    task: Buffer<u32>,
    sample: Buffer<u32>,
    state: Buffer<u8>,
    running: Buffer<u32>,
    /// `[slots, row]`
    pages: Buffer<i32>,
    places: Buffer<i32>,
    lengths: Buffer<i32>,
    drawn: Buffer<u32>,
    drawn_logprobs: Buffer<f32>,
    /// The seed's words and the step: `[3]`.
    key: Buffer<u32>,
    /// Tokens that end a completion.
    ends: Buffer<u32>,
    /// `[1]`
    idle: Buffer<u8>,
}

impl<'a> Slots<'a> {
    pub(super) fn new(
        device: &'a Device,
        sizes: Sizes,
        sampling: Sampling,
        key: [u32; 3],
        ends: &[u32],
    ) -> Result<Self> {
        const WHAT: &str = "the state of sequences";
        let Sizes { slots, capacity, row, .. } = sizes;
        let numbers = || device.zeros(slots, WHAT);
        Ok(Slots {
            device,
            sizes,
            sampling,
            tokens: device.alloc(slots * capacity, WHAT)?,
            logprobs: device.alloc(slots * capacity, WHAT)?,
            next: numbers()?,
            length: numbers()?,
            position: numbers()?,
            limit: numbers()?,
            task: numbers()?,
            sample: numbers()?,
            state: device.upload(&vec![IDLE; slots], WHAT)?,
            running: device.zeros(1, WHAT)?,
            pages: device.zeros(slots * row, WHAT)?,
            places: device.zeros(slots, WHAT)?,
            lengths: device.zeros(slots, WHAT)?,
            drawn: numbers()?,
            drawn_logprobs: device.zeros(slots, WHAT)?,
            key: device.upload(&key, WHAT)?,
            ends: device.upload(ends, WHAT)?,
            idle: device.upload(&[IDLE], WHAT)?,
        })
    }

    /// Readies the first `count` slots for a step, and returns their rows.
    pub(super) fn rows(&self, count: usize) -> Result<Rows<'_>> {
        let (places, lengths) = (self.places.slice(..count), self.lengths.slice(..count));
        let positions = self.position.slice(..count);
        place_tokens(self.device, (places, lengths), positions, self.state.slice(..count))?;
        let (ids, table) = (self.next.slice(..count), self.table(0..count));
        Ok(Rows { ids, positions, places, lengths, table, decoding: true })
    }

    /// The tables of pages of some slots.
    pub(super) fn table(&self, slots: Range<usize>) -> PageTable<'_> {
        PageTable { pages: self.cut(&self.pages, &slots), row: self.sizes.row, tokens: self.sizes.page_tokens }
    }

    /// Draws a token for each of some slots from logits `[slots, vocabulary]`, and takes it up.
    pub(super) fn draw(&self, slots: Range<usize>, logits: Slice<'_, f32>) -> Result<()> {
        let drawn = (self.drawn.slice(slots.clone()), self.drawn_logprobs.slice(slots.clone()));
        let draws = Draws {
            key: self.key.view(),
            task: self.task.slice(slots.clone()),
            sample: self.sample.slice(slots.clone()),
            length: self.length.slice(slots.clone()),
            state: self.state.slice(slots.clone()),
        };
        sample(self.device, drawn, logits, draws, self.sampling)?;
        let sequences = Sequences {
            tokens: self.cut(&self.tokens, &slots),
            logprobs: self.cut(&self.logprobs, &slots),
            next: self.next.slice(slots.clone()),
            length: draws.length,
            position: self.position.slice(slots.clone()),
            state: draws.state,
            limit: self.limit.slice(slots),
            running: self.running.view(),
        };
        advance(self.device, sequences, drawn, self.ends.view())
    }

    /// Puts sequences that begin into the slots from `first` on.
    pub(super) fn start(&self, first: usize, starts: &[Start]) -> Result<()> {
        let slots = first..first + starts.len();
        let fields = [
            (&self.task, starts.iter().map(|start| start.task).collect::<Vec<_>>()),
            (&self.sample, starts.iter().map(|start| start.sample).collect()),
            (&self.position, starts.iter().map(|start| start.position).collect()),
            (&self.limit, starts.iter().map(|start| start.limit).collect()),
        ];
        // One upload: each costs the host as much as a launch.
        let numbers: Vec<u32> = fields.iter().flat_map(|(_, values)| values).copied().collect();
        let uploaded = self.device.upload(&numbers, "sequences that begin")?;
        for (index, (field, _)) in fields.iter().enumerate() {
            let values = uploaded.slice(index * starts.len()..(index + 1) * starts.len());
            field.slice(slots.clone()).copy_from(&values)?;
        }
        self.length.slice(slots.clone()).fill_zero()?;
        self.set_drawing(slots)
    }

    /// Sets pages of contexts: slot, place in its row, page.
    pub(super) fn set_pages(&self, pages: &[(usize, usize, i32)]) -> Result<()> {
        if pages.is_empty() {
            return Ok(());
        }
        let edit = |&(slot, place, page): &(usize, usize, i32)| [(slot * self.sizes.row + place) as i32, page];
        let edits: Vec<i32> = pages.iter().flat_map(edit).collect();
        edit_pages(self.device, self.pages.view(), self.device.upload(&edits, "pages of sequences")?.view())
    }

    /// Stops the sequence in a slot until [`Slots::resume`]. Whether it has ended is forgotten.
    pub(super) fn pause(&self, slot: usize) -> Result<()> {
        self.state.slice(slot..=slot).copy_from(&self.idle.view())
    }

    /// Lets the sequence in a slot go on.
    pub(super) fn resume(&self, slot: usize) -> Result<()> {
        self.set_drawing(slot..slot + 1)
    }

    /// Takes the sequence out of a slot; that of the `last` one moves there.
    pub(super) fn remove(&self, slot: usize, last: usize) -> Result<()> {
        if slot != last {
            for field in [&self.next, &self.length, &self.position, &self.limit, &self.task, &self.sample] {
                field.slice(slot..=slot).copy_from(&field.slice(last..=last))?;
            }
            self.state.slice(slot..=slot).copy_from(&self.state.slice(last..=last))?;
            let (to, from) = (slot..slot + 1, last..last + 1);
            self.cut(&self.tokens, &to).copy_from(&self.cut(&self.tokens, &from))?;
            self.cut(&self.logprobs, &to).copy_from(&self.cut(&self.logprobs, &from))?;
            self.cut(&self.pages, &to).copy_from(&self.cut(&self.pages, &from))?;
        }
        self.pause(last)
    }

    /// States and lengths of the first `count` slots.
    pub(super) fn progress(&self, count: usize) -> (Slice<'_, u8>, Slice<'_, u32>) {
        (self.state.slice(..count), self.length.slice(..count))
    }

    /// The first `count` tokens drawn in a slot, and their log-probabilities.
    pub(super) fn drawn(&self, slot: usize, count: usize) -> (Slice<'_, u32>, Slice<'_, f32>) {
        let start = slot * self.sizes.capacity;
        (self.tokens.slice(start..start + count), self.logprobs.slice(start..start + count))
    }

    /// The places for tokens of the first `count` slots, and for their log-probabilities, one slot after the other.
    pub(super) fn all_drawn(&self, count: usize) -> (Slice<'_, u32>, Slice<'_, f32>) {
        (self.cut(&self.tokens, &(0..count)), self.cut(&self.logprobs, &(0..count)))
    }

    fn set_drawing(&self, slots: Range<usize>) -> Result<()> {
        const { assert!(DRAWING == 0) };
        self.state.slice(slots).fill_zero()
    }

    /// The rows of some slots in an array `[slots, ..]`.
    fn cut<'b, T: Element>(&self, values: &'b Buffer<T>, slots: &Range<usize>) -> Slice<'b, T> {
        let row = values.len() / self.sizes.slots;
        values.slice(slots.start * row..slots.end * row)
    }
}
