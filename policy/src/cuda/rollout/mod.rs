//! Sampling from a policy on a card: the twin of [`crate::rollout`], whose contract it keeps.
//!
//! Sequences are decoded in slots and join and leave as places and pages come free ([`scheduler`]). The cache lies in
//! pages ([`cache`], [`pages`]) that samples of a prompt share: all that its tokens fill; the last one, which they go on to
//! fill each in its own way, is copied. What all prompts begin with is computed once, in whole pages. A step of decoding is
//! recorded for each number of rows and run again; it draws its tokens and feeds them to the next step on the card
//! ([`slots`]), and the host reads one step behind who has ended ([`leaving`]).
//!
//! Random numbers are the host's, and what a row computes depends on the row alone, but for two things: products of more than
//! [`device::ops::FewRows::MOST`] rows, and those of latent attention, are a library's, which may add up in another order for
//! another number of rows; and the longer the longest context may become, the more parts attention is computed in. So for the
//! same requests and options the results are the same to the bit, as long as the cache has as many pages ([`plan`]); with
//! another batch, or among other requests, they may differ in rounding.

mod cache;
mod decoder;
mod feed_forward;
mod grouped;
mod latent;
mod leaving;
mod pages;
mod plan;
mod products;
mod prompts;
mod scheduler;
mod slots;

use std::sync::Arc;

use device::Result as DeviceResult;
use device::ops::Sampling;

use super::Resident;
use crate::config::ModelConfig;
use crate::error::During;
use crate::grpo::common_prefix;
use crate::model::{Attention, Policy};
use crate::ops::router::RouterConfig;
use crate::rollout::limit_of;
use crate::rollout::listener::Audience;
use crate::{PolicyError, Request, Result, RolloutOptions, SamplingParams};

use cache::{Cache, Shape};
use decoder::{Decoder, Model, Room};
use plan::{Plan, pages_on_card};
use scheduler::Scheduler;
use slots::{Sizes, Slots};

/// Samples from a policy on a card.
pub(crate) struct CardRollout {
    resident: Arc<Resident>,
    config: ModelConfig,
    attention: Attention,
    router: Option<RouterConfig>,
    settings: Settings,
}

/// Sizes that no result depends on.
#[derive(Debug, Clone, Copy)]
struct Settings {
    /// Tokens of a page of the cache.
    page_tokens: usize,
    /// Pages of the cache; None for what is needed and planned to fit into the card's memory.
    pages: Option<usize>,
    /// Tokens of prompts that are computed at once.
    prompt_rows: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { page_tokens: 64, pages: None, prompt_rows: 2048 }
    }
}

impl CardRollout {
    /// For a policy that lives on the card. Its weights are shared, not copied.
    pub(crate) fn new(policy: &Policy, resident: &Arc<Resident>) -> Self {
        CardRollout {
            resident: Arc::clone(resident),
            config: policy.config().clone(),
            attention: policy.attention().clone(),
            router: policy.router(),
            settings: Settings::default(),
        }
    }

    pub(crate) fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Completes requests that have been checked.
    pub(crate) fn generate(
        &self,
        requests: &[Request],
        params: &SamplingParams,
        options: &RolloutOptions,
        audience: &mut Audience<'_>,
    ) -> Result<()> {
        const OPERATION: &str = "sample on the card";
        let samples: usize = requests.iter().map(|request| request.samples as usize).sum();
        if samples == 0 {
            return Ok(());
        }
        let shape = Shape::new(&self.config, self.settings.page_tokens);
        let shared = common_prefix(requests.iter().map(|request| request.prompt.as_slice()));
        let plan = Plan {
            batch: options.batch.clamp(1, samples),
            max_tokens: requests.iter().map(|request| limit_of(&self.config, request, params)).max().unwrap_or(0),
            positions: self.config.max_position_embeddings,
            shared_pages: shared / shape.page_tokens,
            prompt_rows: self.settings.prompt_rows,
        };
        let longest = requests.iter().map(|request| request.prompt.len() + plan.limit(request)).max().unwrap_or(0);
        let row = shape.pages_of(longest);
        let (prompts, context) = (plan.prompt_rows_of(requests, shape), row * shape.page_tokens);
        let room = Room { prompts, slots: plan.batch, context };
        let model = Model {
            resident: &self.resident,
            config: &self.config,
            attention: &self.attention,
            router: self.router.as_ref(),
        };
        let decoder = Decoder::new(model, room).during(OPERATION)?;
        let sizes = Sizes { slots: plan.batch, capacity: plan.max_tokens, row, page_tokens: shape.page_tokens };
        let slots = self.slots(params, options, sizes).during(OPERATION)?;
        let least = plan.least_pages(requests, shape);
        let pages = self.pages(plan, requests, shape).during(OPERATION)?;
        if pages < least.pages {
            let (needed, there) = (least.pages * shape.page_bytes(), pages * shape.page_bytes());
            let message = format!(
                "task {}: a prompt of {} tokens and a completion of up to {} need {} MiB of cache; there is room for {} MiB",
                least.task,
                least.prompt,
                least.completion,
                needed.div_ceil(1 << 20),
                there >> 20,
            );
            return Err(PolicyError::Argument { operation: "sample", message });
        }
        let cache = Cache::new(self.resident.device(), shape, pages).during(OPERATION)?;
        let scheduler = Scheduler::new(self.resident.device(), (&decoder, &slots, &cache), plan, requests, pages);
        scheduler.and_then(|mut scheduler| scheduler.run(audience)).during(OPERATION)
    }

    fn slots(&self, params: &SamplingParams, options: &RolloutOptions, sizes: Sizes) -> DeviceResult<Slots<'_>> {
        let sampling = Sampling { temperature: params.temperature, top_k: params.top_k, top_p: params.top_p };
        let key = [options.seed as u32, (options.seed >> 32) as u32, options.step];
        Slots::new(self.resident.device(), sizes, sampling, key, &options.end_of_text)
    }

    /// Pages of the cache: what could be in use at once, or what the card's memory is planned to hold.
    fn pages(&self, plan: Plan, requests: &[Request], shape: Shape) -> DeviceResult<usize> {
        if let Some(pages) = self.settings.pages {
            return Ok(pages);
        }
        let wanted = plan.most_pages(requests, shape);
        let device = self.resident.device();
        if device.is_emulated() {
            return Ok(wanted);
        }
        // What was given back before counts as free once the work that used it is done.
        device.synchronize()?;
        Ok(pages_on_card(wanted, shape.page_bytes(), device.memory()?))
    }
}

#[cfg(test)]
mod tests;
