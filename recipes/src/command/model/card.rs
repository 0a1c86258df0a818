//! `recipe model info --device`: whether a model fits on a card, and what to change if it does not.

use std::fmt::Write;

use policy::config::CardMemory;

use super::info::Needs;
use crate::table::bytes_text as bytes;

/// A card's memory, in bytes.
pub(super) struct Card {
    pub(super) name: String,
    pub(super) free: u64,
    pub(super) total: u64,
}

impl Card {
    /// One that need not be here, with so many GiB, all of them free.
    pub(super) fn imagined(gib: u64) -> Card {
        Card { name: "any".to_owned(), free: gib << 30, total: gib << 30 }
    }
}

/// Rows of a micro-batch below which a card is not kept busy, so that there is no point in advising fewer.
const FEWEST_ROWS: u64 = 1024;

/// What the model takes to sample and to train, and what it could do to take less.
pub(super) fn describe(needs: &Needs, rows: u64, card: &Card) -> String {
    let Needs { sequences, tokens, lora, .. } = needs;
    let memory = taken(needs);
    let cached = sequences.saturating_mul(*tokens);
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "{name:26} {value}");
    };
    line("card", format!("{}, {} of {} free", card.name, bytes(card.free), bytes(card.total)));
    line("weights, f32 and bf16", bytes(memory.weights));
    line("gradients", bytes(memory.gradients));
    match lora {
        None => line("AdamW's moments", bytes(memory.moments)),
        Some(rank) => line("AdamW's moments", format!("none: adapters of rank {rank} and theirs are on the host")),
    }
    line(
        "cache",
        format!("{} ({sequences} sequences of {tokens} tokens)", bytes(cached.saturating_mul(memory.cached_token))),
    );
    let activations = |checkpoint| bytes(memory.train(rows, checkpoint) - memory.train(0, checkpoint));
    line(
        "activations, about",
        format!("{} for {rows} rows; {} with checkpoint_layers", activations(false), activations(true)),
    );
    let verdict = |needed: u64| if needed <= card.free { "fits" } else { "does not fit" };
    let (sample, train) = (memory.sample(cached), memory.train(rows, false));
    line("to sample, about", format!("{}: {}", bytes(sample), verdict(sample)));
    line("to train, about", format!("{}: {}", bytes(train), verdict(train)));
    // Weights stay while a step samples; gradients are there only while it trains.
    let step = memory.moments.saturating_add(sample.max(train - memory.moments));
    line("a GRPO step, about", format!("{}: {}", bytes(step), verdict(step)));
    if memory.moments.saturating_add(sample) > card.free {
        let room = card.free.saturating_sub(memory.sample(0) + memory.moments);
        match room / memory.cached_token.max(1) / tokens {
            0 => {}
            fits => {
                line("hint", format!("about {fits} sequences at once leave room for the cache; others wait their turn"))
            }
        }
    }
    if train > card.free {
        line("hint", advice(needs, rows, card));
    }
    text
}

/// What the model takes. With adapters the card makes all gradients, and the host makes the adapters' of them and steps.
fn taken(needs: &Needs) -> CardMemory {
    let memory = needs.config.memory_on_card();
    if needs.lora.is_some() { CardMemory { moments: 0, ..memory } } else { memory }
}

/// How to train it after all, the cheapest way first.
fn advice(needs: &Needs, rows: u64, card: &Card) -> String {
    let memory = taken(needs);
    let fits = |rows, checkpoint| memory.train(rows, checkpoint) <= card.free;
    let fits_without_moments = |rows| memory.train(rows, true) - memory.moments <= card.free;
    let halves =
        || std::iter::successors(Some(rows / 2), |rows| Some(rows / 2)).take_while(|rows| *rows >= FEWEST_ROWS);
    if let Some(fewer) = halves().find(|rows| fits(*rows, false)) {
        return format!("micro_batch_tokens = {fewer} fits");
    }
    if fits(rows, true) {
        return "checkpoint_layers = true fits, for a third more work".to_owned();
    }
    if let Some(fewer) = halves().find(|rows| fits(*rows, true)) {
        return format!("checkpoint_layers = true with micro_batch_tokens = {fewer} fits");
    }
    if memory.moments > 0
        && let Some(fewer) = std::iter::once(rows).chain(halves()).find(|rows| fits_without_moments(*rows))
    {
        return format!(
            "checkpoint_layers = true, micro_batch_tokens = {fewer} and moments_on_host = true fit: the moments, {}, pass \
             through the card in each step",
            bytes(memory.moments)
        );
    }
    let short = (memory.train(FEWEST_ROWS, true) - memory.moments).saturating_sub(card.free);
    let and = if memory.moments > 0 { " and moments_on_host = true" } else { "" };
    format!(
        "{} too little even with checkpoint_layers = true{and}: a card with more memory, or a smaller model",
        bytes(short)
    )
}

#[cfg(test)]
mod tests {
    use policy::ModelConfig;

    use super::*;

    /// A model of two billion parameters or so, by its sizes alone.
    fn needs() -> Needs {
        let config = ModelConfig {
            hidden_size: 2048,
            num_hidden_layers: 24,
            intermediate_size: 8192,
            ..ModelConfig::tiny(64_000)
        };
        Needs { config: ModelConfig { mixture: None, ..config }, sequences: 64, tokens: 2048, lora: None }
    }

    #[test]
    fn a_large_card_fits_and_a_small_one_is_told_what_to_do() {
        let parameters = needs().config.parameters().0 as u64;
        let memory = needs().config.memory_on_card();
        assert_eq!(
            (memory.weights, memory.gradients, memory.moments),
            (6 * parameters, 4 * parameters, 8 * parameters)
        );
        let large = describe(&needs(), 8192, &Card::imagined(640));
        assert!(
            large.contains("a GRPO step, about") && !large.contains("not fit") && !large.contains("hint"),
            "{large}"
        );
        let states = memory.train(0, false);
        let between = Card { free: states + 3000 * (memory.row + memory.layer_row), ..Card::imagined(0) };
        let text = describe(&needs(), 8192, &between);
        assert!(text.contains("does not fit") && text.contains("micro_batch_tokens = 2048 fits"), "{text}");
        let tight = Card { free: states + 9000 * (memory.checkpointed_row + memory.layer_row), ..Card::imagined(0) };
        let advised = advice(&needs(), 8192, &tight);
        assert!(advised.contains("fits"), "{advised}");
        let tighter = Card { free: states - memory.moments / 2, ..Card::imagined(0) };
        let advised = advice(&needs(), 8192, &tighter);
        assert!(advised.contains("moments_on_host = true fit"), "{advised}");
        assert!(advice(&needs(), 8192, &Card::imagined(1)).contains("a smaller model"));
    }

    #[test]
    fn sequences_are_advised_only_where_sampling_lacks_room() {
        let memory = needs().config.memory_on_card();
        let sampling = memory.moments + memory.sample(64 * 2048);
        let text = |free, rows| describe(&needs(), rows, &Card { free, ..Card::imagined(0) });
        let trains_not = text(sampling, 1 << 24);
        assert!(trains_not.contains("does not fit") && !trains_not.contains("sequences at once"), "{trains_not}");
        let samples_not = text(sampling - 1, 1024);
        assert!(samples_not.contains("about 63 sequences at once"), "{samples_not}");
    }

    #[test]
    fn adapters_leave_no_moments_on_the_card() {
        let (memory, adapters) = (needs().config.memory_on_card(), Needs { lora: Some(16), ..needs() });
        let free = memory.train(8192, false) - memory.moments;
        let exact = Card { free, ..Card::imagined(0) };
        let text = describe(&adapters, 8192, &exact);
        let trained = text.lines().find(|line| line.starts_with("to train")).unwrap();
        assert!(trained.ends_with(": fits") && text.contains("adapters of rank 16"), "{text}");
        let advised = advice(&adapters, 8192, &Card::imagined(1));
        assert!(advised.contains("a smaller model") && !advised.contains("moments_on_host"), "{advised}");
    }
}
