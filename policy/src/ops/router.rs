//! The router of DeepSeek-V3's mixture of experts: sigmoid affinities, choice by biased scores, gates without the bias.
//!
//! For a token with logits z over E experts: `s = sigmoid(z)`; the experts are chosen by `s + bias` (inside the best
//! groups, a group's score being the sum of its two best); the gates are `s` of the chosen, divided by their sum if
//! `norm_topk_prob`, times `routed_scaling_factor`. DeepSeek-V3 technical report, section 2.1.2. The bias moves after each
//! step by a fixed rate against the load ([`Balance`]); it has no gradient, and neither has the choice.

use std::cmp::Ordering;
use std::ops::Range;

use super::{Real, sigmoid, vectorised};

/// How experts are chosen and weighted; the names are those of `config.json`.
#[derive(Debug, Clone, PartialEq)]
pub struct RouterConfig {
    /// Routed experts in all.
    pub experts: usize,
    /// Experts chosen for each token.
    pub top_k: usize,
    /// Groups that the experts are cut into.
    pub groups: usize,
    /// Groups that a token may choose from.
    pub top_groups: usize,
    /// Whether the chosen gates are divided by their sum.
    pub normalise: bool,
    /// What the gates are multiplied with at the end.
    pub scale: f64,
}

/// Chooses a token's experts by `affinities + bias`; `chosen` (of length `top_k`) receives their numbers in ascending order.
///
/// Ties go to the expert with the lower number. A score that is not a number loses to every number, as on a card.
pub(crate) fn choose<T: Real>(affinities: &[T], bias: &[f32], config: &RouterConfig, chosen: &mut [u32]) {
    let score = |expert: usize| affinities[expert].to_f64() + f64::from(bias[expert]);
    let group_size = config.experts / config.groups;
    let mut open = vec![config.groups == config.top_groups; config.experts];
    if config.top_groups < config.groups {
        let mut groups: Vec<(f64, usize)> = (0..config.groups)
            .map(|group| {
                let mut scores: Vec<f64> = (group * group_size..(group + 1) * group_size).map(score).collect();
                scores.sort_by(|a, b| best_first(*a, *b));
                (scores.iter().take(2).sum(), group)
            })
            .collect();
        groups.sort_by(|a, b| best_first(a.0, b.0).then(a.1.cmp(&b.1)));
        for (_, group) in groups.iter().take(config.top_groups) {
            open[group * group_size..(group + 1) * group_size].fill(true);
        }
    }
    for slot in chosen.iter_mut() {
        let mut best: Option<(f64, usize)> = None;
        for expert in (0..config.experts).filter(|expert| open[*expert]) {
            let score = score(expert);
            // The second part: the first open one may be a NaN, than which nothing is greater.
            if best.is_none_or(|(b, _)| score > b || b.is_nan() && !score.is_nan()) {
                best = Some((score, expert));
            }
        }
        let expert = best.map_or(0, |(_, expert)| expert);
        open[expert] = false;
        *slot = expert as u32;
    }
    chosen.sort_unstable();
}

/// The order of scores from the best, those that are not numbers last.
fn best_first(a: f64, b: f64) -> Ordering {
    a.is_nan().cmp(&b.is_nan()).then(b.total_cmp(&a))
}

/// The gates of a token's chosen experts.
#[inline(always)]
pub(crate) fn gates<T: Real>(affinities: &[T], chosen: &[u32], config: &RouterConfig, out: &mut [T]) {
    let mut total = T::zero();
    for expert in chosen {
        total += affinities[*expert as usize];
    }
    let scale = T::from_f64(config.scale);
    let factor = if config.normalise { scale / (total + T::from_f64(1e-20)) } else { scale };
    for (gate, expert) in out.iter_mut().zip(chosen) {
        *gate = affinities[*expert as usize] * factor;
    }
}

/// Which experts every token of a batch goes to.
#[derive(Debug, Clone, PartialEq)]
pub struct Routing {
    /// The chosen experts: token-major, `top_k` for each, ascending.
    pub chosen: Vec<u32>,
    /// Experts chosen for each token.
    pub top_k: usize,
    /// Tokens that went to each expert.
    pub load: Vec<u32>,
}

impl Routing {
    /// The routing that [`ExpertChoices`] noted for a batch's rows in one layer.
    pub(crate) fn repeat(chosen: &[u16], config: &RouterConfig) -> Self {
        let mut load = vec![0; config.experts];
        chosen.iter().for_each(|expert| load[usize::from(*expert)] += 1);
        Routing { chosen: chosen.iter().map(|expert| u32::from(*expert)).collect(), top_k: config.top_k, load }
    }
}

/// The experts that a run of tokens went to in each MoE layer: noted while sampling, repeated while training.
///
/// The routers' biases move between sampling and a later optimizer step on what was sampled, and on a card the two passes
/// round differently (on the host they agree to the bit). Where two experts' scores are nearly equal, either would send a
/// token elsewhere: a jump in its log-probability far above rounding. So the choice is kept, and only the gates are computed
/// anew. (The field's remedy for two engines that disagree, "routing replay": Ma et al., 2025, arXiv 2510.11370.)
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExpertChoices {
    /// For each MoE layer `[tokens, top_k]`.
    layers: Vec<Vec<u16>>,
}

impl ExpertChoices {
    pub(crate) fn new(layers: usize) -> Self {
        ExpertChoices { layers: vec![Vec::new(); layers] }
    }

    /// Of choices `[tokens, layers, top_k]`.
    #[cfg(feature = "cuda")]
    pub(crate) fn of_tokens(chosen: &[u16], layers: usize, top_k: usize) -> Self {
        let of_layer =
            |layer: usize| chosen.chunks_exact(top_k).skip(layer).step_by(layers).flatten().copied().collect();
        ExpertChoices { layers: (0..layers).map(of_layer).collect() }
    }

    /// Notes the experts of one more token, or of several, in a layer.
    pub(crate) fn push(&mut self, layer: usize, chosen: &[u32]) {
        self.layers[layer].extend(chosen.iter().map(|expert| *expert as u16));
    }

    /// Continues this run of tokens with another.
    pub(crate) fn extend(&mut self, other: &ExpertChoices) {
        self.layers.resize(self.layers.len().max(other.layers.len()), Vec::new());
        self.layers.iter_mut().zip(&other.layers).for_each(|(all, more)| all.extend_from_slice(more));
    }

    /// Some of the run's tokens, of `tokens` in all.
    pub(crate) fn part(&self, range: Range<usize>, tokens: usize) -> Self {
        let cut = |layer: &Vec<u16>| {
            let top_k = layer.len() / tokens.max(1);
            layer[range.start * top_k..range.end * top_k].to_vec()
        };
        ExpertChoices { layers: self.layers.iter().map(cut).collect() }
    }

    /// For each MoE layer `[tokens, top_k]`.
    pub fn layers(&self) -> &[Vec<u16>] {
        &self.layers
    }
}

/// Chooses experts for all tokens from the router's logits `[tokens, experts]`.
pub fn route<T: Real>(logits: &[T], bias: &[f32], config: &RouterConfig) -> Routing {
    let mut chosen = vec![0; logits.len() / config.experts * config.top_k];
    let mut load = vec![0; config.experts];
    let mut affinities = vec![T::zero(); config.experts];
    for (row, chosen) in logits.chunks_exact(config.experts).zip(chosen.chunks_exact_mut(config.top_k)) {
        sigmoids(&mut affinities, row);
        choose(&affinities, bias, config, chosen);
        chosen.iter().for_each(|expert| load[*expert as usize] += 1);
    }
    Routing { chosen, top_k: config.top_k, load }
}

fn sigmoids<T: Real>(out: &mut [T], logits: &[T]) {
    vectorised(
        #[inline(always)]
        || out.iter_mut().zip(logits).for_each(|(s, z)| *s = sigmoid(*z)),
    );
}

/// The gates `[tokens, top_k]` of the chosen experts, from the router's logits `[tokens, experts]`.
pub fn router_gates<T: Real>(logits: &[T], routing: &Routing, config: &RouterConfig) -> Vec<T> {
    let mut out = vec![T::zero(); routing.chosen.len()];
    let mut affinities = vec![T::zero(); config.experts];
    let rows = logits.chunks_exact(config.experts).zip(routing.chosen.chunks_exact(config.top_k));
    for (out, (z, chosen)) in out.chunks_exact_mut(config.top_k).zip(rows) {
        sigmoids(&mut affinities, z);
        gates(&affinities, chosen, config, out);
    }
    out
}

/// The gradient of the logits for the gates' gradients `d_gates`.
pub fn router_gates_backward<T: Real>(logits: &[T], routing: &Routing, config: &RouterConfig, d_gates: &[T]) -> Vec<T> {
    let (experts, top_k) = (config.experts, config.top_k);
    let scale = T::from_f64(config.scale);
    let mut d_logits = vec![T::zero(); logits.len()];
    let mut s = vec![T::zero(); top_k];
    for (((dz, z), dg), chosen) in d_logits
        .chunks_exact_mut(experts)
        .zip(logits.chunks_exact(experts))
        .zip(d_gates.chunks_exact(top_k))
        .zip(routing.chosen.chunks_exact(top_k))
    {
        s.iter_mut().zip(chosen).for_each(|(s, expert)| *s = sigmoid(z[*expert as usize]));
        let total = s.iter().fold(T::from_f64(1e-20), |a, b| a + *b);
        // g_i = scale s_i / total, so dL/ds_i = scale / total (dg_i - sum_j dg_j s_j / total).
        let mean = s.iter().zip(dg).fold(T::zero(), |a, (s, g)| a + *s * *g) / total;
        for ((expert, s), g) in chosen.iter().zip(&s).zip(dg) {
            let ds = if config.normalise { scale / total * (*g - mean) } else { scale * *g };
            dz[*expert as usize] = ds * *s * (T::one() - *s);
        }
    }
    d_logits
}

/// `d_logits += coefficient * the gradient of the balance loss` `sum_i f_i P_i`, which is 1 where all experts are used alike.
///
/// `f_i = E / (K T) * (tokens that chose i)`, `P_i = 1/T sum_t s_it / sum_j s_jt`; the choice, and so f, has no gradient.
/// DeepSeek-V3 report, equations 17 to 20, over a batch of T tokens in place of a sequence (section 4.5.3 compares the two).
pub fn add_balance_backward<T: Real>(
    d_logits: &mut [T],
    logits: &[T],
    routing: &Routing,
    config: &RouterConfig,
    coefficient: f64,
) {
    let tokens = (logits.len() / config.experts).max(1) as f64;
    let factor = coefficient * config.experts as f64 / (routing.chosen.len().max(1) as f64 * tokens);
    let slope: Vec<T> = routing.load.iter().map(|load| T::from_f64(factor * f64::from(*load))).collect();
    let mut affinities = vec![T::zero(); config.experts];
    for (d_row, row) in d_logits.chunks_exact_mut(config.experts).zip(logits.chunks_exact(config.experts)) {
        sigmoids(&mut affinities, row);
        let total = affinities.iter().fold(T::zero(), |a, s| a + *s);
        let mean = affinities.iter().zip(&slope).fold(T::zero(), |a, (s, g)| a + *s * *g) / total;
        for ((d, s), g) in d_row.iter_mut().zip(&affinities).zip(&slope) {
            *d += (*g - mean) / total * *s * (T::one() - *s);
        }
    }
}

/// Load of one MoE layer over a step, and the rule that balances it without an auxiliary loss.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Balance {
    /// Tokens that went to each expert since the last update.
    pub load: Vec<u64>,
}

impl Balance {
    /// Counts a batch's routing.
    pub fn count(&mut self, routing: &Routing) {
        self.load.resize(routing.load.len(), 0);
        self.load.iter_mut().zip(&routing.load).for_each(|(sum, load)| *sum += u64::from(*load));
    }

    /// MaxVio: the largest load over the mean load, minus one; 0 is perfect balance.
    pub fn max_violation(&self) -> f64 {
        let total: u64 = self.load.iter().sum();
        if total == 0 {
            return 0.0;
        }
        let mean = total as f64 / self.load.len() as f64;
        self.load.iter().copied().max().unwrap_or(0) as f64 / mean - 1.0
    }

    /// Moves the bias by `rate` against the load: down where an expert had more than the mean, up where it had less.
    pub fn update_bias(&self, bias: &mut [f32], rate: f32) {
        let total: u64 = self.load.iter().sum();
        let experts = self.load.len() as u64;
        for (bias, load) in bias.iter_mut().zip(&self.load) {
            match (load * experts).cmp(&total) {
                Ordering::Greater => *bias -= rate,
                Ordering::Less => *bias += rate,
                Ordering::Equal => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(experts: usize, top_k: usize, groups: usize, top_groups: usize) -> RouterConfig {
        RouterConfig { experts, top_k, groups, top_groups, normalise: true, scale: 2.5 }
    }

    #[test]
    fn the_bias_chooses_but_does_not_weigh() {
        let affinities = [0.9f64, 0.5, 0.4, 0.1];
        let config = config(4, 2, 1, 1);
        let mut chosen = [0; 2];
        choose(&affinities, &[0.0, 0.0, 0.0, 0.0], &config, &mut chosen);
        assert_eq!(chosen, [0, 1]);
        choose(&affinities, &[0.0, 0.0, 0.2, 0.0], &config, &mut chosen);
        assert_eq!(chosen, [0, 2]);
        let mut out = [0.0; 2];
        gates(&affinities, &chosen, &config, &mut out);
        assert!((out[0] - 2.5 * 0.9 / 1.3).abs() < 1e-12 && (out[1] - 2.5 * 0.4 / 1.3).abs() < 1e-12);
    }

    #[test]
    fn groups_limit_the_choice_by_their_two_best() {
        // Expert 0 is the best of all, but its group's two best sum to less than the other group's.
        let affinities = [0.9f64, 0.1, 0.6, 0.7];
        let mut chosen = [0; 2];
        choose(&affinities, &[0.0; 4], &config(4, 2, 2, 1), &mut chosen);
        assert_eq!(chosen, [2, 3]);
    }

    #[test]
    fn the_bias_moves_against_the_load() {
        let balance = Balance { load: vec![6, 2, 4, 4] };
        let mut bias = [0.0f32; 4];
        balance.update_bias(&mut bias, 0.001);
        assert_eq!(bias, [-0.001, 0.001, 0.0, 0.0]);
        assert!((balance.max_violation() - 0.5).abs() < 1e-12);
    }

    #[test]
    fn what_is_not_a_number_loses_to_every_number() {
        fn check(affinities: &[f64], config: &RouterConfig, expected: &[u32]) {
            let mut chosen = vec![0; expected.len()];
            choose(affinities, &[0.0; 8][..affinities.len()], config, &mut chosen);
            assert_eq!(chosen, expected, "{affinities:?}");
        }
        const NAN: f64 = f64::NAN;
        let one_group = config(4, 2, 1, 1);
        check(&[NAN, 0.1, 0.3, 0.2], &one_group, &[2, 3]);
        check(&[NAN, 0.0, NAN, 0.0], &one_group, &[1, 3]);
        check(&[0.1, -NAN, NAN, 0.2], &one_group, &[0, 3]);
        // Only where no number is left, and then from the lowest.
        check(&[NAN, NAN, NAN, 0.2], &one_group, &[0, 3]);
        check(&[NAN; 4], &one_group, &[0, 1]);
        let groups = config(6, 2, 2, 1);
        check(&[NAN, NAN, 0.9, 0.1, 0.2, NAN], &groups, &[3, 4]);
        check(&[NAN, 0.8, 0.9, 0.1, 0.2, 0.3], &groups, &[1, 2]);
        check(&[NAN; 6], &groups, &[0, 1]);
    }
}
