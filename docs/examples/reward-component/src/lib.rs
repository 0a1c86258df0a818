//! A reward as a WebAssembly component: full marks for the shortest right answer of its group, less for longer ones.
//!
//! ```sh
//! rustup target add wasm32-wasip2
//! cargo build --release --target wasm32-wasip2
//! recipe reward test target/wasm32-wasip2/release/reward_component.wasm --cases cases.jsonl
//! ```

wit_bindgen::generate!({ path: "../../../rewards/wit", world: "reward" });

use exports::recipe::reward::grading::{Guest, Sample, Score};

struct Shortest;

impl Guest for Shortest {
    fn score_group(samples: Vec<Sample>, parameters: String) -> Result<Vec<Score>, String> {
        if parameters != "{}" {
            return Err(format!("it takes no parameters, and was given {parameters}"));
        }
        let shortest = samples.iter().filter(|sample| answers(sample)).map(length).min().unwrap_or(0);
        let score = |sample: &Sample| match length(sample) {
            _ if !answers(sample) => Score { value: Some(0.0), cause: Some("no_answer".to_owned()) },
            own if own == shortest => Score { value: Some(1.0), cause: None },
            own => Score { value: Some(shortest as f64 / own as f64), cause: Some("longer_than_others".to_owned()) },
        };
        Ok(samples.iter().map(score).collect())
    }
}

/// Whether it gives an answer at all.
fn answers(sample: &Sample) -> bool {
    sample.completion.contains("<answer>")
}

/// Characters; at least one, to divide by.
fn length(sample: &Sample) -> usize {
    sample.completion.chars().count().max(1)
}

export!(Shortest);
