//! The plain pass, which says what bf16 costs by itself: without rounding it is the host's, with it nearly the card's.

use super::*;
use crate::rounding::{Rounding, forward};

#[test]
fn a_plain_pass_is_the_hosts_pass() {
    each(|name, config| {
        let (host, _) = both(config);
        let expected = host.forward(&batch(), TEMPERATURE, Track::Nothing).unwrap();
        let found = forward(&host, &batch(), TEMPERATURE, Rounding::None).unwrap();
        let off = largest_difference(&found.logprobs, &expected.logprobs);
        assert!(off < 1e-4, "{name}: off by {off}");
        let chosen = found.routers.iter().map(|routed| &routed.routing);
        assert!(chosen.eq(&expected.routing), "{name}");
    });
}

#[test]
fn the_card_is_closer_to_the_rounded_pass_than_to_the_host() {
    each(|name, config| {
        let (host, card) = both(config);
        let expected = host.forward(&batch(), TEMPERATURE, Track::Nothing).unwrap();
        let batch = with_choices(&batch(), &expected);
        let found = card.forward(&batch, TEMPERATURE, Track::Nothing).unwrap().logprobs;
        let rounded = forward(&host, &batch, TEMPERATURE, Rounding::Bf16).unwrap();
        let floor = root_mean_square(&rounded.logprobs, &expected.logprobs);
        let (near, far) = (root_mean_square(&found, &rounded.logprobs), root_mean_square(&found, &expected.logprobs));
        // Two ways to round that have nothing to do with each other would be 1.4 times as far apart as each is from the host.
        assert!(near < 0.9 * far, "{name}: {near} from the rounded pass, {far} from the host");
        assert!(far < 1.5 * floor && floor < 1.5 * far, "{name}: {far} from the host, {floor} by rounding alone");
        let choices = batch.choices.as_ref().map_or(&[][..], |choices| choices.layers());
        for (routed, given) in rounded.routers.iter().zip(choices) {
            assert!(
                routed.routing.chosen.iter().zip(given).all(|(chosen, given)| *chosen == u32::from(*given)),
                "{name}"
            );
        }
    });
}
