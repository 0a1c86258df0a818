//! Who is decoded when: sequences join as slots and pages come free, and leave as they end.
//!
//! The host is one step behind the card: it gives step k + 1, then reads who ended in step k. A sequence that has ended is
//! computed for nothing once more, which changes nothing.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use device::ops::gather;
use device::ops::paged_cache::PageTable;
use device::{Buffer, Device, Graph, Result};

use super::cache::Cache;
use super::decoder::Decoder;
use super::leaving::{Ended, Known, Leaving, Progress};
use super::pages::{Claim, Pages};
use super::plan::{Plan, rows_of};
use super::prompts::{Prompt, compute};
use super::slots::{Slots, Start};
use crate::ops::router::ExpertChoices;
use crate::rollout::listener::Audience;
use crate::{Partial, Request};

/// A prompt in the cache, of which samples run or wait.
struct Group {
    /// All pages of the prompt but those that all prompts share.
    pages: Vec<i32>,
    choices: Arc<ExpertChoices>,
    /// The row of its last token's hidden row.
    hidden: usize,
    /// Samples that have not ended.
    left: u32,
}

/// A sequence in a slot.
struct Sequence {
    /// Counts all sequences in the order in which they joined.
    number: u64,
    /// Which request, and which sample of it.
    request: usize,
    sample: u32,
    /// Its own pages: from the one on in which it begins.
    pages: Vec<i32>,
    most_pages: usize,
    /// Where its next token will be cached, as far as it goes on.
    place: usize,
    /// Whether it waits for a page.
    paused: bool,
}

/// What is decoded, and what waits.
pub(super) struct Scheduler<'a> {
    device: &'a Device,
    decoder: &'a Decoder<'a>,
    slots: &'a Slots<'a>,
    cache: &'a Cache,
    plan: Plan,
    requests: &'a [Request],
    waiting: VecDeque<(usize, u32)>,
    /// By request.
    groups: HashMap<usize, Group>,
    /// In the order of their slots.
    running: Vec<Sequence>,
    pages: Pages,
    /// What all prompts begin with.
    shared: Vec<i32>,
    /// Hidden rows of prompts' last tokens; the first is that of the group of which some samples still wait.
    hidden: Buffer<f32>,
    /// Steps by their number of rows. The first of each is not recorded: it readies what recording cannot.
    graphs: HashMap<usize, Graph>,
    readied: HashSet<usize>,
    leaving: Leaving<'a>,
    joined: u64,
}

impl<'a> Scheduler<'a> {
    pub(super) fn new(
        device: &'a Device,
        (decoder, slots, cache): (&'a Decoder<'a>, &'a Slots<'a>, &'a Cache),
        plan: Plan,
        requests: &'a [Request],
        pages: usize,
    ) -> Result<Self> {
        let samples = |(index, request): (usize, &Request)| (0..request.samples).map(move |sample| (index, sample));
        let mut pages = Pages::new(pages);
        Ok(Scheduler {
            device,
            decoder,
            slots,
            cache,
            plan,
            requests,
            waiting: requests.iter().enumerate().flat_map(samples).collect(),
            groups: HashMap::new(),
            running: Vec::new(),
            shared: pages.take(plan.shared_pages),
            pages,
            hidden: device.alloc((plan.batch + 1) * decoder.hidden(1).len(), "hidden rows of prompts")?,
            graphs: HashMap::new(),
            readied: HashSet::new(),
            leaving: Leaving::new(device, plan.max_tokens),
            joined: 0,
        })
    }

    /// Decodes until all samples have ended, or nobody is left to take them.
    pub(super) fn run(&mut self, audience: &mut Audience<'_>) -> Result<()> {
        self.compute_shared()?;
        let capacity = if audience.follows() { self.plan.max_tokens } else { 0 };
        let mut now = Progress::new(self.device, self.plan.batch, capacity)?;
        let mut before = Progress::new(self.device, self.plan.batch, capacity)?;
        while !(audience.is_gone() || self.waiting.is_empty() && self.running.is_empty()) {
            self.admit()?;
            self.give_pages()?;
            self.step()?;
            now.start(self.slots, self.running.iter().map(|sequence| sequence.number))?;
            // While the card works on this step: what has come of the one before.
            self.leaving.finish(self.cache, audience)?;
            self.remove(before.ended()?, audience)?;
            self.tell(&mut before, audience)?;
            std::mem::swap(&mut now, &mut before);
        }
        self.leaving.finish(self.cache, audience)
    }

    /// Computes what all prompts begin with.
    fn compute_shared(&mut self) -> Result<()> {
        let tokens = self.plan.shared_pages * self.page_tokens();
        if let Some(request) = self.requests.first().filter(|_| tokens > 0) {
            let (token_ids, pages) = (&request.prompt[..tokens], self.shared.clone());
            self.compute(&[Prompt { token_ids, start: 0, pages, hidden: None }])?;
        }
        Ok(())
    }

    /// Lets sequences join, as long as there are slots and pages, in the order of the requests.
    fn admit(&mut self) -> Result<()> {
        let (first, shape) = (self.running.len(), self.cache.shape());
        let mut fresh = Vec::new();
        while self.running.len() < self.plan.batch
            && let Some(&(index, sample)) = self.waiting.front()
        {
            let request = &self.requests[index];
            let is_fresh = !self.groups.contains_key(&index);
            let prompt_pages = if is_fresh { self.plan.prompt_pages(request, shape) } else { 0 };
            let most_pages = self.plan.own_pages(request, shape);
            let claim = Claim { held: most_pages.min(1), most: most_pages };
            let claims = self.running.iter().map(Sequence::claim).chain([claim]);
            if !self.pages.may_take(prompt_pages + claim.held, claims) {
                break;
            }
            self.waiting.pop_front();
            if is_fresh {
                fresh.push(index);
                let (pages, hidden) = (self.pages.take(prompt_pages), fresh.len());
                self.groups.insert(index, Group { pages, choices: Arc::default(), hidden, left: request.samples });
            }
            self.running.push(Sequence {
                number: self.joined,
                request: index,
                sample,
                pages: self.pages.take(claim.held),
                most_pages,
                place: request.prompt.len(),
                paused: false,
            });
            self.joined += 1;
        }
        debug_assert!(!self.running.is_empty(), "one sequence alone has room");
        if self.running.len() > first {
            self.compute_groups(&fresh)?;
            self.start(first)?;
        }
        Ok(())
    }

    /// Computes the prompts of groups that are new.
    fn compute_groups(&mut self, fresh: &[usize]) -> Result<()> {
        let start = self.plan.shared_pages * self.page_tokens();
        let prompt = |index: &usize| {
            let group = &self.groups[index];
            let pages = [self.shared.as_slice(), group.pages.as_slice()].concat();
            Prompt { token_ids: &self.requests[*index].prompt[start..], start, pages, hidden: Some(group.hidden) }
        };
        let prompts: Vec<Prompt<'_>> = fresh.iter().map(prompt).collect();
        self.compute(&prompts)?;
        let shape = self.cache.shape();
        let (layers, top_k) = shape.mixture();
        for (index, prompt) in fresh.iter().zip(prompts) {
            let choices = match self.cache.choices() {
                None => ExpertChoices::new(layers),
                Some(choices) => {
                    let tokens = start + prompt.token_ids.len();
                    let pages = self.device.upload(&prompt.pages, "pages of a prompt")?;
                    let table = PageTable { pages: pages.view(), row: pages.len(), tokens: shape.page_tokens };
                    let taken = self.device.alloc(tokens * layers * top_k, "experts of a prompt")?;
                    choices.take(self.device, taken.view(), table, 0)?;
                    ExpertChoices::of_tokens(&taken.download()?, layers, top_k)
                }
            };
            if let Some(group) = self.groups.get_mut(index) {
                group.choices = Arc::new(choices);
            }
        }
        Ok(())
    }

    fn compute(&self, prompts: &[Prompt<'_>]) -> Result<()> {
        let (work, width) = ((self.decoder, self.cache), self.decoder.hidden(1).len());
        compute(self.device, work, prompts, self.plan.prompt_rows, (self.hidden.view(), width))
    }

    /// Puts the sequences from slot `first` on into their slots and draws their first tokens.
    fn start(&mut self, first: usize) -> Result<()> {
        let joining = &self.running[first..];
        let (mut starts, mut table, mut copies, mut rows) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (slot, sequence) in (first..).zip(joining) {
            let (request, group) = (&self.requests[sequence.request], &self.groups[&sequence.request]);
            starts.push(Start {
                task: request.task,
                sample: sequence.sample,
                position: request.prompt.len() as u32 - 1,
                limit: self.plan.limit(request) as u32,
            });
            rows.push(group.hidden as u32);
            // The prompt's pages that are full are read, the last one is copied and gone on with.
            let prompt = self.shared.iter().chain(&group.pages);
            let full = request.prompt.len() / self.page_tokens();
            let pages = prompt.clone().take(full).chain(&sequence.pages).enumerate();
            table.extend(pages.map(|(place, page)| (slot, place, *page)));
            copies.extend(prompt.skip(full).zip(&sequence.pages).flat_map(|(from, to)| [*from, *to]));
        }
        self.slots.start(first, &starts)?;
        self.slots.set_pages(&table)?;
        if !copies.is_empty() {
            let copies = self.device.upload(&copies, "pages to be copied")?;
            self.cache.copy_pages(self.device, copies.view())?;
        }
        let (count, rows) = (rows.len(), self.device.upload(&rows, "rows of prompts")?);
        let hidden = self.decoder.hidden(count);
        gather(self.device, hidden, self.hidden.view(), rows.view(), hidden.len() / count)?;
        self.slots.draw(first..first + count, self.decoder.logits(count)?)?;
        self.keep_hidden()
    }

    /// Keeps the hidden row of a group of which some samples wait, where no later prompt's goes.
    fn keep_hidden(&mut self) -> Result<()> {
        let Some((index, _)) = self.waiting.front() else { return Ok(()) };
        if let Some(group) = self.groups.get_mut(index).filter(|group| group.hidden > 0) {
            let width = self.decoder.hidden(1).len();
            let row = |row: usize| self.hidden.slice(row * width..(row + 1) * width);
            row(0).copy_from(&row(group.hidden))?;
            group.hidden = 0;
        }
        Ok(())
    }

    /// Gives a page to each sequence whose next token needs one, the oldest first; who may not have it waits.
    fn give_pages(&mut self) -> Result<()> {
        let mut order: Vec<usize> = (0..self.running.len()).collect();
        order.sort_unstable_by_key(|slot| self.running[*slot].number);
        let mut table = Vec::new();
        for slot in order {
            let sequence = &self.running[slot];
            let begins = self.requests[sequence.request].prompt.len() / self.page_tokens();
            let place = sequence.place / self.page_tokens();
            let needed = place - begins + 1;
            // Beyond its limit it has ended, and the host will learn of it.
            if needed <= sequence.pages.len() || needed > sequence.most_pages {
                continue;
            }
            let grown = |other: (usize, &Sequence)| {
                let claim = other.1.claim();
                Claim { held: claim.held + usize::from(other.0 == slot), ..claim }
            };
            let may_take = self.pages.may_take(1, self.running.iter().enumerate().map(grown));
            let sequence = &mut self.running[slot];
            if may_take {
                let pages = self.pages.take(1);
                table.extend(pages.iter().map(|page| (slot, place, *page)));
                sequence.pages.extend(pages);
            }
            match (may_take, sequence.paused) {
                (true, true) => self.slots.resume(slot)?,
                (false, false) => self.slots.pause(slot)?,
                _ => {}
            }
            sequence.paused = !may_take;
        }
        self.slots.set_pages(&table)
    }

    /// One more token for each sequence.
    fn step(&mut self) -> Result<()> {
        let rows = rows_of(self.running.len(), self.plan.batch);
        let work = || {
            self.decoder.forward(self.slots.rows(rows)?, self.cache)?;
            self.slots.draw(0..rows, self.decoder.logits(rows)?)
        };
        match self.graphs.get(&rows) {
            Some(graph) => graph.launch()?,
            None if self.readied.insert(rows) => work()?,
            None => {
                // SAFETY: the memory of decoder, slots and cache is borrowed for as long as this lives, and the graphs with
                // it. While sequences are sampled, no other thread computes on the device.
                let graph = unsafe { self.device.capture(&format!("a step of {rows} sequences"), work) }?;
                graph.launch()?;
                self.graphs.insert(rows, graph);
            }
        }
        self.running.iter_mut().filter(|sequence| !sequence.paused).for_each(|sequence| sequence.place += 1);
        Ok(())
    }

    /// Lets sequences leave that have ended.
    fn remove(&mut self, ended: Vec<Ended>, audience: &mut Audience<'_>) -> Result<()> {
        for Ended { sequence, length, reason } in ended {
            // One that ended a step before has left already.
            let Some(slot) = self.running.iter().position(|running| running.number == sequence) else { continue };
            let last = self.running.len() - 1;
            let sequence = self.running.swap_remove(slot);
            let request = &self.requests[sequence.request];
            let Some(group) = self.groups.get_mut(&sequence.request) else { continue };
            let known = Known {
                task: request.task,
                sample: sequence.sample,
                slot,
                prompt: request.prompt.len(),
                length,
                prompt_choices: Arc::clone(&group.choices),
                reason,
            };
            group.left -= 1;
            let is_done = group.left == 0;
            self.leaving.start(self.slots, self.cache, known, audience)?;
            self.slots.remove(slot, last)?;
            self.pages.give_back(sequence.pages);
            if is_done && let Some(group) = self.groups.remove(&sequence.request) {
                self.pages.give_back(group.pages);
            }
        }
        Ok(())
    }

    /// Tells those who follow it how far sequences had come that go on.
    fn tell(&self, progress: &mut Progress, audience: &mut Audience<'_>) -> Result<()> {
        progress.drawn(|number, token_ids, logprobs| {
            if let Some(sequence) = self.running.iter().find(|sequence| sequence.number == number) {
                let (task, sample) = (self.requests[sequence.request].task, sequence.sample);
                audience.tokens(Partial { task, sample, token_ids, logprobs });
            }
        })
    }

    fn page_tokens(&self) -> usize {
        self.cache.shape().page_tokens
    }
}

impl Sequence {
    fn claim(&self) -> Claim {
        Claim { held: self.pages.len(), most: self.most_pages }
    }
}
