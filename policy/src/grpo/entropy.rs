//! Which tokens the policy was undecided about.
//!
//! Wang et al., "Beyond the 80/20 Rule", 2025: the policy's term is kept for the share of tokens with the highest entropy
//! alone. The threshold is the (1 - share) quantile of all entropies, interpolated between neighbours, and tokens that
//! reach it are kept, as in TRL.
//!
//! Deviation from TRL: there the quantile is taken over what one forward pass holds; here over all of the optimizer step's
//! tokens, so that it does not depend on how much fits into memory at once.

/// The least entropy that a token must have to be among the `share` (0 to 1) highest; no token reaches that of none.
pub(super) fn top_entropy_threshold(entropies: &[f32], share: f64) -> f32 {
    let mut sorted = entropies.to_vec();
    sorted.sort_unstable_by(f32::total_cmp);
    let Some(last) = sorted.len().checked_sub(1) else { return f32::INFINITY };
    let place = (1.0 - share).clamp(0.0, 1.0) * last as f64;
    let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    (f64::from(below) + (f64::from(above) - f64::from(below)) * place.fract()) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_by_hand() {
        fn check(entropies: &[f32], share: f64, expected: f32) {
            assert!((top_entropy_threshold(entropies, share) - expected).abs() < 1e-6, "{entropies:?} {share}");
        }
        check(&[3.0, 0.0, 1.0, 2.0, 4.0], 1.0, 0.0);
        check(&[3.0, 0.0, 1.0, 2.0, 4.0], 0.5, 2.0);
        check(&[3.0, 0.0, 1.0, 2.0, 4.0], 0.4, 2.4);
        check(&[3.0, 0.0, 1.0, 2.0, 4.0], 0.0, 4.0);
        assert_eq!(top_entropy_threshold(&[], 0.2), f32::INFINITY);
    }
}
