//! A policy's weights in a card's memory.
//!
//! All parameters lie in one array, in the order of `model::parameters::specs` but for queries, keys and values, each from a
//! multiple of 16 bytes on; between them lie zeros, which stay zeros. The weights that make a layer's queries, keys and values lie
//! side by side, and so do their biases: one product makes all three. There is an array in f32, which the optimizer moves, and its copy in bf16, which products
//! read. Gradients and moments are arrays of the same layout, so that norm, clipping and averaging are one launch each.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use device::ops::{self, Rope, Weights};
use device::{Buffer, Device, Result, Slice, bf16};

use crate::config::{AttentionKind, ModelConfig};
use crate::model::Attention;
use crate::model::parameters::specs;
use crate::model::parts::{AttentionParts, GroupedParts, ModelParts};

/// Parameters begin at a multiple of so many numbers: 16 bytes of bf16.
const ALIGNMENT: usize = 8;

/// A policy's weights on a card, its routers' biases, and the angles of its rotary embedding.
pub(crate) struct Resident {
    device: Device,
    layout: Arc<Layout>,
    /// The weights in full precision, `[layout.len]`.
    masters: Buffer<f32>,
    /// The same, rounded.
    copies: Buffer<bf16>,
    /// `[MoE layers, experts]`
    router_bias: Buffer<f32>,
    angles: Arc<Angles>,
    /// How often the weights have changed.
    version: AtomicU64,
}

/// Where each parameter lies in an array of all.
pub(crate) struct Layout {
    /// In the order of the specs.
    pub(crate) ranges: Vec<Range<usize>>,
    /// Of each, whether it is a matrix (or several): those decay.
    pub(crate) is_matrix: Vec<bool>,
    /// Numbers of the array.
    pub(crate) len: usize,
}

/// One parameter on the card.
#[derive(Clone, Copy)]
pub(crate) struct Parameter<'a> {
    /// In full precision: what vectors (scales of norms, biases) are read from.
    pub(crate) master: Slice<'a, f32>,
    /// Rounded: what matrices are read from.
    pub(crate) copy: Slice<'a, bf16>,
}

/// cos and sin for each position.
struct Angles {
    /// `[positions, pairs, 2]`
    table: Buffer<f32>,
    pairs: usize,
    interleaved: bool,
}

impl Layout {
    fn new(config: &ModelConfig) -> Layout {
        let specs = specs(config);
        let mut len = 0;
        let mut ranges = vec![0..0; specs.len()];
        for index in order(config, specs.len()) {
            let end = len + specs[index].shape.iter().product::<usize>();
            ranges[index] = len..end;
            len = end.next_multiple_of(ALIGNMENT);
        }
        Layout { ranges, is_matrix: specs.iter().map(|spec| spec.shape.len() >= 2).collect(), len }
    }

    /// An array of this layout by the places of its parts in the model.
    pub(crate) fn parts<'a>(&self, config: &ModelConfig, values: Slice<'a, f32>) -> ModelParts<Slice<'a, f32>> {
        ModelParts::new(config, self.ranges.iter().map(|range| values.slice(range.clone())))
    }
}

/// The places of `count` parameters in the specs, in the order in which they lie.
fn order(config: &ModelConfig, count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    for layer in ModelParts::new(config, 0..count).layers {
        if let AttentionParts::Grouped(GroupedParts { query, key, value, .. }) = layer.attention {
            let first = query.weight;
            let biases = [query.bias, key.bias, value.bias].into_iter().flatten();
            for (at, index) in [query.weight, key.weight, value.weight].into_iter().chain(biases).enumerate() {
                order[first + at] = index;
            }
        }
    }
    order
}

impl<'a> Parameter<'a> {
    /// This and another as one, which lie side by side.
    pub(crate) fn joined(self, next: Parameter<'a>) -> Result<Parameter<'a>> {
        Ok(Parameter { master: self.master.joined(next.master)?, copy: self.copy.joined(next.copy)? })
    }
}

impl Resident {
    /// Puts weights, in the order of the specs, on a card.
    pub(crate) fn new<'n>(
        device: &Device,
        config: &ModelConfig,
        attention: &Attention,
        numbers: impl Iterator<Item = &'n [f32]>,
        router_bias: &[Vec<f32>],
    ) -> Result<Resident> {
        let layout = Layout::new(config);
        let masters = device.zeros(layout.len, "the policy's weights")?;
        for (range, numbers) in layout.ranges.iter().zip(numbers) {
            masters.slice(range.clone()).write(numbers)?;
        }
        let resident = Resident {
            device: device.clone(),
            masters,
            copies: device.zeros(layout.len, "the copy of the policy's weights")?,
            router_bias: device.upload(&router_bias.concat(), "the routers' biases")?,
            angles: Arc::new(Angles::new(device, attention)?),
            layout: Arc::new(layout),
            version: AtomicU64::new(0),
        };
        ops::narrow(device, resident.copies.view(), resident.masters.view())?;
        Ok(resident)
    }

    /// The card.
    pub(crate) fn device(&self) -> &Device {
        &self.device
    }

    /// Where each parameter lies in the arrays.
    pub(crate) fn layout(&self) -> &Arc<Layout> {
        &self.layout
    }

    /// The parameters by their places in the model.
    pub(crate) fn parts(&self, config: &ModelConfig) -> ModelParts<Parameter<'_>> {
        let parameter = |range: &Range<usize>| {
            let (master, copy) = (self.masters.slice(range.clone()), self.copies.slice(range.clone()));
            Parameter { master, copy }
        };
        ModelParts::new(config, self.layout.ranges.iter().map(parameter))
    }

    /// All weights and their copies, to be changed; tell [`Resident::has_moved`] when they have been.
    pub(crate) fn weights(&self) -> Weights<'_> {
        Weights { master: self.masters.view(), copy: Some(self.copies.view()) }
    }

    /// The bias by which the router of a MoE layer, counted without the others, chooses: `[experts]`.
    pub(crate) fn router_bias(&self, layer: usize, experts: usize) -> Slice<'_, f32> {
        self.router_bias.slice(layer * experts..(layer + 1) * experts)
    }

    /// The rotary embedding.
    pub(crate) fn rope(&self) -> Rope<'_> {
        let Angles { table, pairs, interleaved } = &*self.angles;
        Rope { table: table.view(), pairs: *pairs, interleaved: *interleaved }
    }

    /// How often the weights have changed.
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Notes that the weights have changed.
    pub(crate) fn has_moved(&self) {
        self.version.fetch_add(1, Ordering::AcqRel);
    }

    /// The numbers of one parameter, by its place in the specs.
    pub(crate) fn read(&self, parameter: usize) -> Result<Vec<f32>> {
        self.masters.slice(self.layout.ranges[parameter].clone()).download()
    }

    /// Sets the numbers of one parameter.
    pub(crate) fn write(&self, parameter: usize, numbers: &[f32]) -> Result<()> {
        let range = self.layout.ranges[parameter].clone();
        let master = self.masters.slice(range.clone());
        master.write(numbers)?;
        ops::narrow(&self.device, self.copies.slice(range), master)?;
        self.has_moved();
        Ok(())
    }

    /// Sets the routers' biases.
    pub(crate) fn write_router_bias(&self, bias: &[Vec<f32>]) -> Result<()> {
        self.router_bias.write(0, &bias.concat())
    }

    /// The same weights once more.
    pub(crate) fn duplicate(&self) -> Result<Resident> {
        let masters = self.device.alloc(self.layout.len, "a second policy's weights")?;
        masters.copy_from(&self.masters.view())?;
        let copies = self.device.alloc(self.layout.len, "the copy of a second policy's weights")?;
        copies.copy_from(&self.copies.view())?;
        let router_bias = self.device.alloc(self.router_bias.len(), "the routers' biases")?;
        router_bias.copy_from(&self.router_bias.view())?;
        Ok(Resident {
            device: self.device.clone(),
            layout: Arc::clone(&self.layout),
            masters,
            copies,
            router_bias,
            angles: Arc::clone(&self.angles),
            version: AtomicU64::new(0),
        })
    }

    /// Moves the weights a share `rate` of the way to another policy's on the same card.
    pub(crate) fn move_towards(&self, other: &Resident, rate: f64) -> Result<()> {
        ops::move_towards(&self.device, self.weights(), other.masters.view(), rate)?;
        self.has_moved();
        Ok(())
    }
}

impl std::fmt::Debug for Resident {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Resident({} numbers on {})", self.layout.len, self.device.name())
    }
}

impl Angles {
    fn new(device: &Device, attention: &Attention) -> Result<Angles> {
        let table = match attention {
            Attention::Latent(config) => &config.table,
            Attention::Grouped(_, config) => &config.table,
        };
        Ok(Angles {
            table: device.upload(&table.numbers(), "angles of the rotary embedding")?,
            pairs: table.pairs(),
            interleaved: table.is_interleaved(),
        })
    }
}

/// What a card's kernels cannot do with a model of these sizes, if there is such.
pub(crate) fn unsupported(config: &ModelConfig) -> Option<String> {
    let width = |name: &'static str, width: usize| (name, width);
    let mut widths = vec![width("hidden_size", config.hidden_size)];
    match &config.attention {
        AttentionKind::Latent(latent) => {
            widths.extend([
                width("kv_lora_rank", latent.kv_lora_rank),
                width("qk_rope_head_dim", latent.qk_rope_head_dim),
                width("qk_nope_head_dim", latent.qk_nope_head_dim),
                width("v_head_dim", latent.v_head_dim),
            ]);
            widths.extend(latent.q_lora_rank.map(|rank| width("q_lora_rank", rank)));
        }
        AttentionKind::Grouped(grouped) => widths.push(width("head_dim", grouped.head_dim)),
    }
    if (0..config.num_hidden_layers).any(|layer| config.mixture_of(layer).is_none()) {
        widths.push(width("intermediate_size", config.intermediate_size));
    }
    if let Some(mixture) = &config.mixture {
        widths.push(width("moe_intermediate_size", mixture.moe_intermediate_size));
        let (experts, chosen) = (mixture.n_routed_experts, mixture.num_experts_per_tok);
        if experts > ops::MAX_EXPERTS || chosen > ops::MAX_CHOSEN {
            let most = (ops::MAX_EXPERTS, ops::MAX_CHOSEN);
            return Some(format!(
                "{chosen} of {experts} experts for each token; at most {} of {} can be",
                most.1, most.0
            ));
        }
    }
    let odd = widths.into_iter().find(|(_, width)| !width.is_multiple_of(ALIGNMENT));
    odd.map(|(name, width)| format!("`{name}` is {width}, and only multiples of {ALIGNMENT} can be computed with"))
}
