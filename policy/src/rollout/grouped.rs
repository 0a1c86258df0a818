//! Decoding with grouped queries: the cache holds, for each token and layer, the turned keys and the values of the key
//! heads.

use super::decoder::{Projection, Span, normalise};
use super::matrix::Source;
use crate::model::parts::GroupedParts;
use crate::ops::attend::{Attention, Place, Scratch};
use crate::ops::grouped_attention::GroupedConfig;

/// A layer's weights.
pub(super) struct GroupedLayer {
    query: Projection,
    key: Projection,
    value: Projection,
    /// Scales of the norms on each head's query and key.
    norms: Option<[Vec<f32>; 2]>,
    output: Projection,
}

impl GroupedLayer {
    /// `queries`: numbers of all heads' queries.
    pub(super) fn new(parts: &GroupedParts<Source<'_>>, queries: usize, width: usize) -> Self {
        GroupedLayer {
            query: Projection::new(&parts.query, width),
            key: Projection::new(&parts.key, width),
            value: Projection::new(&parts.value, width),
            norms: parts.norms.as_ref().map(|norms| norms.each_ref().map(|norm| norm.numbers.to_vec())),
            output: Projection::new(&parts.output, queries),
        }
    }

    /// What attention adds to the residual stream, for the spans' rows; the rows' keys and
    /// values are appended to the spans' caches.
    pub(super) fn attend(
        &self,
        index: usize,
        operation: &GroupedConfig,
        eps: f64,
        normed: &[f32],
        spans: &mut [Span<'_>],
    ) -> Vec<f32> {
        let GroupedConfig { heads, key_heads, width, scale, ref table } = *operation;
        let (mut query, mut key, value) = (self.query.apply(normed), self.key.apply(normed), self.value.apply(normed));
        if let Some([query_norm, key_norm]) = &self.norms {
            for (rows, norm) in [(&mut query, query_norm), (&mut key, key_norm)] {
                let raw = rows.clone();
                normalise(rows, &raw, norm, eps);
            }
        }
        let (queries, shared) = (heads * width, key_heads * width);
        let group = operation.group() * width;
        let mut attended = vec![0.0; query.len()];
        let mut scratch = Scratch::default();
        let mut row = 0;
        for span in spans.iter_mut() {
            let start = span.prefix.map_or(0, |prefix| prefix.end()) + span.cached;
            for offset in 0..span.token_ids.len() {
                let at = (row + offset) * shared..(row + offset + 1) * shared;
                let key = &mut key[at.clone()];
                key.chunks_exact_mut(width).for_each(|key| table.turn(key, start + offset, 1.0));
                span.own.push(index, key, &value[at]);
            }
            let mut chain = Vec::new();
            if let Some(prefix) = span.prefix {
                prefix.chain(index, &mut chain);
            }
            let before = chain.len();
            for offset in 0..span.token_ids.len() {
                let own = row * queries..(row + 1) * queries;
                let query = &mut query[own.clone()];
                for head in query.chunks_exact_mut(width) {
                    head.iter_mut().for_each(|q| *q *= scale as f32);
                    table.turn(head, start + offset, 1.0);
                }
                chain.truncate(before);
                chain.push(span.own.rows(index, span.cached + offset + 1));
                let each = query.chunks_exact(group).zip(attended[own].chunks_exact_mut(group));
                for (key_head, (query, out)) in each.enumerate() {
                    let at = key_head * width;
                    let place = Place { key: at, key_width: width, value: at, value_width: width };
                    Attention { query, place, chain: &chain, out, totals: None }.run(&mut scratch);
                }
                row += 1;
            }
        }
        self.output.apply(&attended)
    }
}
