//! Rewards for length: `length` (Kimi), `cosine`, `soft_overlong`.
//!
//! `length`, over the completions of one prompt, the shortest of `min` and the longest of `max`:
//!
//! ```text
//! l = 1/2 - (length - min) / (max - min)        length = l if right, else min(0, l);   0 where all are equally long
//! ```
//!
//! Range: -0.5 to 0.5. Source: Kimi k1.5, section 2.3.3; Open R1's `len_reward`. Deviations: there the lengths of a whole batch
//! are compared, so that a hard question makes an easy one's answers look short; here those of one prompt. A sample whose
//! reference cannot be read counts as right there, and is unscorable here.
//!
//! `cosine`, from the value at length 0 to the value at `max_len`:
//!
//! ```text
//! p = min(1, length / max_len)     cosine = long + (short - long) (1 + cos(pi p)) / 2
//! right: short = max_value_correct, long = min_value_correct;     wrong: short = min_value_wrong, long = max_value_wrong
//! ```
//!
//! Range: between the two values. Source: Yeo et al., "Demystifying Long Chain-of-Thought Reasoning"; Open R1's
//! `get_cosine_scaled_reward`. Deviation: there the length is not bounded, and beyond `max_len` the curve turns back.
//!
//! `soft_overlong`, on tokens, M for `max_completion_len` and C for `soft_punish_cache`:
//!
//! ```text
//! 0 up to M - C;     (M - C - tokens) / C up to M;     -1 beyond
//! ```
//!
//! Range: -1 to 0. Source: DAPO, section 3.4 (L_max is M, 20,480, and L_cache is C, 4,096); TRL's
//! `get_soft_overlong_punishment`. Deviation: M is what a completion of the stage may have at most, and C a fifth of M, as in
//! DAPO, unless they are given; TRL's are 16,384 and 4,096 whatever the limit is, and punish nothing below 12,288 tokens.

use serde_json::Value;

use crate::math::Accuracy;
use crate::parameter::{OneOf, Parameters as _, at_least, between};
use crate::{Reference, Reward, RewardError, RewardSpec, Sample, Score};

/// What is counted. Open R1 counts characters.
const UNITS: OneOf = OneOf(&["characters", "tokens"]);

/// Values that a score may be set to.
const VALUE: f64 = 1e6;

crate::parameters! {
    /// What `length` can be told.
    pub(crate) LengthParameters {
        /// What is counted.
        unit: String = "characters".to_owned(), UNITS;
    }
}

crate::parameters! {
    /// What `cosine` can be told.
    pub(crate) CosineParameters {
        /// A wrong answer of no length.
        min_value_wrong: f64 = -1.0, between(-VALUE, VALUE);
        /// A wrong answer of `max_len` or more.
        max_value_wrong: f64 = -0.5, between(-VALUE, VALUE);
        /// A right answer of `max_len` or more.
        min_value_correct: f64 = 0.5, between(-VALUE, VALUE);
        /// A right answer of no length.
        max_value_correct: f64 = 1.0, between(-VALUE, VALUE);
        /// The length from which the value stays.
        max_len: u64 = 1000, at_least(1.0);
        /// What is counted.
        unit: String = "characters".to_owned(), UNITS;
    }
}

crate::parameters! {
    /// What `soft_overlong` can be told.
    pub(crate) OverlongParameters {
        /// Tokens beyond which the punishment is whole: the limit of sampling, or less. 0 is the limit of the stage; outside of
        /// a recipe there is none, and nothing is scored.
        max_completion_len: u64 = 0, at_least(0.0);
        /// Tokens before that over which the punishment grows. 0 is a fifth of them, as in DAPO.
        soft_punish_cache: u64 = 0, at_least(0.0);
    }
    check |given: &OverlongParameters| {
        if given.max_completion_len > 0 && given.soft_punish_cache > given.max_completion_len {
            Err("`soft_punish_cache` is more than `max_completion_len`".to_owned())
        } else {
            Ok(())
        }
    };
}

/// DAPO's cache, 4,096 tokens, is this part of its limit, 20,480.
const CACHE_OF_LIMIT: u64 = 5;

impl OverlongParameters {
    /// M and C; none where the limit is not known.
    fn range(&self) -> Option<(u64, u64)> {
        let (most, cache) = (self.max_completion_len, self.soft_punish_cache);
        let cache = if cache == 0 { most.div_ceil(CACHE_OF_LIMIT) } else { cache };
        (most > 0).then_some((most, cache))
    }
}

/// The reward's name, by which a specification is known as its.
const OVERLONG: &str = "soft_overlong";

/// A reward as it is where completions end after `limit` tokens: `soft_overlong` is told this limit, unless the recipe tells it
/// one. Any other reward is what it was.
#[must_use]
pub fn within_limit(spec: &RewardSpec, limit: u64) -> RewardSpec {
    let mut spec = spec.clone();
    let is_told = spec.parameters.get("max_completion_len").is_some_and(|given| given.as_u64() != Some(0));
    if spec.name == OVERLONG && spec.custom.is_none() && !is_told {
        spec.parameters.insert("max_completion_len".to_owned(), Value::from(limit));
    }
    spec
}

/// The tokens up to which `soft_overlong` punishes nothing, where completions end after `limit`; none for other rewards.
///
/// # Errors
/// If its parameters do not fit together, the limit among them.
pub fn overlong_begins(spec: &RewardSpec, limit: u64) -> Result<Option<u64>, RewardError> {
    if spec.name != OVERLONG || spec.custom.is_some() {
        return Ok(None);
    }
    let given = OverlongParameters::read(OVERLONG, &within_limit(spec, limit).parameters)?;
    Ok(given.range().map(|(most, cache)| most.saturating_sub(cache)))
}

/// The length in the unit; `None` where tokens are asked for and not known.
fn length(sample: &Sample<'_>, unit: &str) -> Option<f64> {
    match unit {
        "tokens" if sample.completion_ids.is_empty() && !sample.completion.is_empty() => None,
        "tokens" => Some(sample.completion_ids.len() as f64),
        _ => Some(sample.completion.chars().count() as f64),
    }
}

fn without_tokens() -> Score {
    Score::unscorable("tokens_not_known")
}

/// The reward `length`.
pub(crate) struct Length(pub(crate) LengthParameters);

impl Reward for Length {
    fn name(&self) -> &str {
        "length"
    }

    fn applies(&self, reference: &Reference) -> bool {
        Accuracy.applies(reference)
    }

    fn score(&self, sample: &Sample<'_>) -> Result<Score, RewardError> {
        Ok(self.score_group(std::slice::from_ref(sample))?.remove(0))
    }

    fn needs_group(&self) -> bool {
        true
    }

    fn score_group(&self, samples: &[Sample<'_>]) -> Result<Vec<Score>, RewardError> {
        let Some(lengths) = samples.iter().map(|sample| length(sample, &self.0.unit)).collect::<Option<Vec<f64>>>()
        else {
            return Ok(samples.iter().map(|_| without_tokens()).collect());
        };
        let shortest = lengths.iter().copied().fold(f64::INFINITY, f64::min);
        let longest = lengths.iter().copied().fold(0.0, f64::max);
        samples
            .iter()
            .zip(lengths)
            .map(|(sample, length)| {
                let verdict = Accuracy.score(sample)?;
                let Some(right) = verdict.value else { return Ok(verdict) };
                if longest == shortest {
                    return Ok(Score::of(0.0));
                }
                let value = 0.5 - (length - shortest) / (longest - shortest);
                Ok(Score { value: Some(if right >= 1.0 { value } else { value.min(0.0) }), cause: verdict.cause })
            })
            .collect()
    }
}

/// The reward `cosine`.
pub(crate) struct Cosine(pub(crate) CosineParameters);

impl Reward for Cosine {
    fn name(&self) -> &str {
        "cosine"
    }

    fn applies(&self, reference: &Reference) -> bool {
        Accuracy.applies(reference)
    }

    fn score(&self, sample: &Sample<'_>) -> Result<Score, RewardError> {
        let Some(length) = length(sample, &self.0.unit) else { return Ok(without_tokens()) };
        let verdict = Accuracy.score(sample)?;
        let Some(right) = verdict.value else { return Ok(verdict) };
        let (short, long) = if right >= 1.0 {
            (self.0.max_value_correct, self.0.min_value_correct)
        } else {
            (self.0.min_value_wrong, self.0.max_value_wrong)
        };
        let progress = (length / self.0.max_len as f64).min(1.0);
        let value = long + (short - long) * (1.0 + (progress * std::f64::consts::PI).cos()) / 2.0;
        Ok(Score { value: Some(value), cause: verdict.cause })
    }
}

/// The reward `soft_overlong`.
pub(crate) struct SoftOverlong(pub(crate) OverlongParameters);

impl Reward for SoftOverlong {
    fn name(&self) -> &str {
        OVERLONG
    }

    fn applies(&self, _: &Reference) -> bool {
        true
    }

    fn score(&self, sample: &Sample<'_>) -> Result<Score, RewardError> {
        let Some(tokens) = length(sample, "tokens") else { return Ok(without_tokens()) };
        let Some((most, cache)) = self.0.range() else { return Ok(Score::unscorable("limit_not_known")) };
        let (most, cache) = (most as f64, cache as f64);
        let punishment = ((most - cache - tokens) / cache).max(-1.0);
        Ok(if punishment >= 0.0 {
            Score::of(0.0)
        } else {
            Score { value: Some(punishment), cause: Some("too_long".to_owned()) }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Map, json};

    fn given(value: &Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    fn group(answers: &[&str]) -> Vec<Option<f64>> {
        let reference = Reference::Integer { value: 4 };
        let samples: Vec<Sample<'_>> = answers.iter().map(|text| Sample::new("", text, &reference)).collect();
        let reward = Length(LengthParameters::read("length", &Map::new()).unwrap());
        assert!(reward.needs_group());
        reward.score_group(&samples).unwrap().into_iter().map(|score| score.value).collect()
    }

    /// Lengths 17, 19, 21, by hand: l = 1/2, 0, -1/2.
    #[test]
    fn shorter_right_answers_are_better() {
        let (short, middle, long) = ("<answer>4</answer>", "<answer> 4 </answer>", "<answer>  4  </answer>");
        assert_eq!(group(&[short, middle, long]), [Some(0.5), Some(0.0), Some(-0.5)]);
        let (wrong, wrong_long) = ("<answer>5</answer>", "<answer>  5  </answer>");
        assert_eq!(group(&[wrong, middle, wrong_long]), [Some(0.0), Some(0.0), Some(-0.5)]);
        assert_eq!(group(&[short, wrong]), [Some(0.0), Some(0.0)]);
        assert_eq!(group(&[short]), [Some(0.0)]);
        assert_eq!(group(&["", &"x".repeat(100_000)]), [Some(0.0), Some(-0.5)]);
        assert_eq!(group(&[]), [] as [Option<f64>; 0]);
    }

    fn cosine(answer: &str, length: usize, told: &Value) -> f64 {
        let reference = Reference::Integer { value: 4 };
        let text = format!("<answer>{answer}</answer>");
        let text = " ".repeat(length.saturating_sub(text.len())) + &text;
        let reward = Cosine(CosineParameters::read("cosine", &given(told)).unwrap());
        reward.score(&Sample::new("", &text, &reference)).unwrap().value.unwrap()
    }

    #[test]
    fn the_cosine_falls_and_then_stays() {
        let near = |found: f64, expected: f64| assert!((found - expected).abs() < 1e-12, "{found} {expected}");
        // cos(pi / 2) = 0: half way.
        near(cosine("4", 500, &json!({})), 0.75);
        near(cosine("5", 500, &json!({})), -0.75);
        near(cosine("4", 250, &json!({})), 0.5 + 0.25 * (1.0 + 0.5_f64.sqrt()));
        near(cosine("4", 1000, &json!({})), 0.5);
        near(cosine("4", 1500, &json!({})), 0.5);
        near(cosine("4", 2000, &json!({})), 0.5);
        near(cosine("5", 2000, &json!({})), -0.5);
        near(cosine("4", 100, &json!({"max_len": 200, "max_value_correct": 2.0, "min_value_correct": 0.0})), 1.0);
        let values: Vec<f64> = (20..2200).step_by(20).map(|length| cosine("4", length, &json!({}))).collect();
        assert!(values.windows(2).all(|pair| pair[1] <= pair[0]) && values.iter().all(|v| (0.5..=1.0).contains(v)));
        let values: Vec<f64> = (20..2200).step_by(20).map(|length| cosine("5", length, &json!({}))).collect();
        assert!(values.windows(2).all(|pair| pair[1] >= pair[0]) && values.iter().all(|v| (-1.0..=-0.5).contains(v)));
    }

    #[test]
    fn the_punishment_grows_over_the_cache() {
        let parameters = OverlongParameters::read(
            "soft_overlong",
            &given(&json!({"max_completion_len": 100, "soft_punish_cache": 20})),
        )
        .unwrap();
        let reference = Reference::Integer { value: 4 };
        let reward = SoftOverlong(parameters);
        for (tokens, expected) in [(0, 0.0), (80, 0.0), (81, -0.05), (90, -0.5), (100, -1.0), (101, -1.0), (5000, -1.0)]
        {
            let ids = vec![1; tokens];
            let sample =
                Sample { completion_ids: &ids, ..Sample::new("", if tokens == 0 { "" } else { "x" }, &reference) };
            assert_eq!(reward.score(&sample).unwrap().value, Some(expected), "{tokens}");
        }
        assert_eq!(reward.score(&Sample::new("", "text", &reference)).unwrap(), Score::unscorable("tokens_not_known"));
        let wrong = given(&json!({"max_completion_len": 10, "soft_punish_cache": 20}));
        let error = OverlongParameters::read("soft_overlong", &wrong).unwrap_err().to_string();
        assert!(error.contains("`soft_punish_cache` is more than `max_completion_len`"), "{error}");
    }

    /// The stage's limit and a fifth of it, unless they are given.
    #[test]
    fn the_limit_is_that_of_the_stage() {
        #[track_caller]
        fn check(told: &Value, limit: u64, begins: u64, last: f64) {
            let spec = RewardSpec { parameters: given(told), ..RewardSpec::named("soft_overlong") };
            assert_eq!(overlong_begins(&spec, limit).unwrap(), Some(begins), "{told}");
            let reward =
                SoftOverlong(OverlongParameters::read(OVERLONG, &within_limit(&spec, limit).parameters).unwrap());
            let reference = Reference::Integer { value: 4 };
            let score = |tokens: u64| {
                let ids = vec![1; tokens as usize];
                reward.score(&Sample { completion_ids: &ids, ..Sample::new("", "x", &reference) }).unwrap().value
            };
            assert_eq!((score(begins), score(limit)), (Some(0.0), Some(last)), "{told}");
            assert!(score(begins + 1) < Some(0.0) || begins >= limit, "{told}");
        }
        check(&json!({}), 20_480, 16_384, -1.0);
        check(&json!({}), 128, 102, -1.0);
        check(&json!({"soft_punish_cache": 64}), 128, 64, -1.0);
        check(&json!({"max_completion_len": 100}), 128, 80, -1.0);
        check(&json!({"max_completion_len": 200, "soft_punish_cache": 80}), 160, 120, -0.5);
        // TRL's defaults, at the limit of a shipped recipe: nothing is ever punished.
        check(&json!({"max_completion_len": 16_384, "soft_punish_cache": 4_096}), 2_048, 12_288, 0.0);

        let other = RewardSpec::named("format");
        assert_eq!((overlong_begins(&other, 128).unwrap(), within_limit(&other, 128)), (None, other));
        let large =
            RewardSpec { parameters: given(&json!({"soft_punish_cache": 200})), ..RewardSpec::named("soft_overlong") };
        assert!(overlong_begins(&large, 128).is_err());
        let unknown = SoftOverlong(OverlongParameters::default());
        let reference = Reference::Integer { value: 4 };
        let sample = Sample { completion_ids: &[1], ..Sample::new("", "x", &reference) };
        assert_eq!(unknown.score(&sample).unwrap(), Score::unscorable("limit_not_known"));
    }

    #[test]
    fn tokens_are_counted_where_asked_for() {
        let reference = Reference::Integer { value: 4 };
        let reward = Length(LengthParameters { unit: "tokens".to_owned() });
        let text = "<answer>4</answer>";
        let samples = [
            Sample { completion_ids: &[1], ..Sample::new("", text, &reference) },
            Sample { completion_ids: &[1, 2, 3], ..Sample::new("", text, &reference) },
        ];
        let values: Vec<_> = reward.score_group(&samples).unwrap().into_iter().map(|score| score.value).collect();
        assert_eq!(values, [Some(0.5), Some(-0.5)]);
        assert_eq!(reward.score(&Sample::new("", text, &reference)).unwrap().value, None);
    }
}
