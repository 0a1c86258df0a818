//! A model's parameters by their place in it, whatever stands for one: its numbers, its gradient, its layout for decoding.
//!
//! [`ModelParts::new`] takes them in the order of [`super::parameters::specs`]; this is the one place that knows the order.

use crate::config::{AttentionKind, ModelConfig};

/// A weight, with a bias or without.
pub(crate) struct Projection<S> {
    pub(crate) weight: S,
    pub(crate) bias: Option<S>,
}

/// Multi-head latent attention.
pub(crate) struct LatentParts<S> {
    pub(crate) query: QueryParts<S>,
    pub(crate) compress: Projection<S>,
    pub(crate) latent_norm: S,
    /// For each head, from a latent to the key's part without position, and to the value.
    pub(crate) expand: S,
    pub(crate) output: Projection<S>,
}

/// How latent attention makes its queries.
pub(crate) enum QueryParts<S> {
    Full(S),
    Compressed { down: Projection<S>, norm: S, up: S },
}

/// Attention with grouped queries.
pub(crate) struct GroupedParts<S> {
    pub(crate) query: Projection<S>,
    pub(crate) key: Projection<S>,
    pub(crate) value: Projection<S>,
    /// Scales of the norms on each head's query and key.
    pub(crate) norms: Option<[S; 2]>,
    pub(crate) output: Projection<S>,
}

pub(crate) enum AttentionParts<S> {
    Latent(LatentParts<S>),
    Grouped(GroupedParts<S>),
}

pub(crate) enum FeedForwardParts<S> {
    Dense(S),
    Mixed { router: S, experts: S, shared: Option<S> },
}

pub(crate) struct LayerParts<S> {
    pub(crate) attention_norm: S,
    pub(crate) attention: AttentionParts<S>,
    pub(crate) feed_forward_norm: S,
    pub(crate) feed_forward: FeedForwardParts<S>,
}

pub(crate) struct ModelParts<S> {
    pub(crate) embedding: S,
    pub(crate) layers: Vec<LayerParts<S>>,
    pub(crate) norm: S,
    /// None where it is the embedding.
    pub(crate) head: Option<S>,
}

/// Hands out the parts in order.
struct Order<I>(I);

impl<S, I: Iterator<Item = S>> Order<I> {
    fn next(&mut self) -> S {
        self.0.next().expect("a policy holds every parameter of its specs, in their order")
    }

    fn next_if(&mut self, present: bool) -> Option<S> {
        present.then(|| self.next())
    }

    fn projection(&mut self, biased: bool) -> Projection<S> {
        Projection { weight: self.next(), bias: self.next_if(biased) }
    }
}

impl<S> ModelParts<S> {
    /// The parts of a model of this configuration.
    pub(crate) fn new(config: &ModelConfig, parts: impl Iterator<Item = S>) -> Self {
        let mut order = Order(parts);
        let embedding = order.next();
        let layers = (0..config.num_hidden_layers).map(|layer| LayerParts::new(config, layer, &mut order)).collect();
        let norm = order.next();
        ModelParts { embedding, layers, norm, head: order.next_if(!config.tie_word_embeddings) }
    }
}

impl<S> LayerParts<S> {
    fn new(config: &ModelConfig, layer: usize, order: &mut Order<impl Iterator<Item = S>>) -> Self {
        let attention_norm = order.next();
        let attention = match &config.attention {
            AttentionKind::Latent(sizes) => {
                let bias = sizes.attention_bias;
                let query = match sizes.q_lora_rank {
                    None => QueryParts::Full(order.next()),
                    Some(_) => {
                        QueryParts::Compressed { down: order.projection(bias), norm: order.next(), up: order.next() }
                    }
                };
                AttentionParts::Latent(LatentParts {
                    query,
                    compress: order.projection(bias),
                    latent_norm: order.next(),
                    expand: order.next(),
                    output: order.projection(bias),
                })
            }
            AttentionKind::Grouped(sizes) => {
                let bias = sizes.input_bias;
                AttentionParts::Grouped(GroupedParts {
                    query: order.projection(bias),
                    key: order.projection(bias),
                    value: order.projection(bias),
                    norms: sizes.query_key_norm.then(|| [order.next(), order.next()]),
                    output: order.projection(sizes.output_bias),
                })
            }
        };
        let feed_forward_norm = order.next();
        let feed_forward = match config.mixture_of(layer) {
            None => FeedForwardParts::Dense(order.next()),
            Some(mixture) => FeedForwardParts::Mixed {
                router: order.next(),
                experts: order.next(),
                shared: order.next_if(mixture.n_shared_experts > 0),
            },
        };
        LayerParts { attention_norm, attention, feed_forward_norm, feed_forward }
    }
}
