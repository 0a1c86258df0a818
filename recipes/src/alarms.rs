//! Alarms: what looks like one of the known ways in which reinforcement learning collapses, in plain words, with what to
//! try.
//!
//! Each is judged over the last [`WINDOW`] steps, so that a single odd step raises none; and where "much more" is meant,
//! against the stage's first [`WINDOW`] steps. A cause is said once in a stage. What was seen follows from the metrics
//! alone, so that a resumed run goes on where it was.
//!
//! | cause | raised when, over the window |
//! |---|---|
//! | [`Cause::NeverEarned`] | a part of the reward that must be earned (answer, program, format) was at most 0.1% on average |
//! | [`Cause::EntropyCollapse`] | entropy below a tenth of the first steps', and less than 95% of the answers right |
//! | [`Cause::LengthExplosion`] | answers more than three times as long as in the first steps, a quarter of them cut off |
//! | [`Cause::CutOff`] | more than half of the answers were cut off |
//! | [`Cause::Repetition`] | more than half of the runs of four tokens repeated, and 20 points more than in the first steps |
//! | [`Cause::NothingToLearn`] | at least 95% of the groups without variance |
//! | [`Cause::FarFromReference`] | a divergence of more than 1 nat per token |

use std::collections::{BTreeSet, VecDeque};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::metrics::{StepMetrics, mean};

/// Steps that are looked at together.
pub const WINDOW: usize = 10;

const NEVER: f64 = 0.001;
const ENTROPY_LEFT: f64 = 0.1;
const NEARLY_ALL: f64 = 0.95;
const LONGER: f64 = 3.0;
const OFTEN_CUT: f64 = 0.25;
const MOSTLY: f64 = 0.5;
const NEARLY: f64 = 0.9;
const MORE_REPEATED: f64 = 0.2;
const FAR: f64 = 1.0;

/// Parts of the reward of which a policy that learns gets some: not those that take something off.
const EARNED: [&str; 5] = ["accuracy", "choice", "code", "binary_code", "format"];

/// What an alarm is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// A part of the reward stays at 0.
    NeverEarned(String),
    /// The policy has stopped to explore.
    EntropyCollapse,
    /// Answers grow until they are cut off.
    LengthExplosion,
    /// Most answers are cut off.
    CutOff,
    /// Answers repeat themselves.
    Repetition,
    /// In nearly every group all rewards are equal.
    NothingToLearn,
    /// The policy has gone far from the reference.
    FarFromReference,
}

/// Something to look at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alarm {
    /// What it is about.
    pub cause: Cause,
    /// What was seen.
    pub what: String,
    /// What to try.
    #[serde(rename = "try")]
    pub advice: String,
}

impl fmt::Display for Alarm {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}\n  try: {}", self.what, self.advice)
    }
}

/// The figures of a step that alarms look at.
#[derive(Clone, Debug)]
struct Seen {
    parts: Vec<(String, f64)>,
    entropy: Option<f64>,
    right: Option<f64>,
    length: f64,
    truncated: f64,
    repetition: f64,
    flat: f64,
    kl: Option<f64>,
}

/// An alarm and where it was raised.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RaisedAlarm {
    /// The stage.
    pub stage: String,
    /// The step, from 1.
    pub step: u64,
    /// The alarm.
    #[serde(flatten)]
    pub alarm: Alarm,
}

/// What a stage's steps have shown so far.
#[derive(Clone, Debug, Default)]
pub struct Alarms {
    first: Vec<Seen>,
    last: VecDeque<Seen>,
    raised: BTreeSet<Cause>,
}

impl Alarms {
    /// Looks at the next step; what it raises has not been raised before.
    pub fn watch(&mut self, step: &StepMetrics) -> Vec<Alarm> {
        let seen = Seen::of(step);
        if self.first.len() < WINDOW {
            self.first.push(seen.clone());
        }
        self.last.push_back(seen);
        if self.last.len() > WINDOW {
            self.last.pop_front();
        }
        if self.last.len() < WINDOW {
            return Vec::new();
        }
        let mut alarms = self.judge();
        alarms.retain(|alarm| self.raised.insert(alarm.cause.clone()));
        alarms
    }

    fn judge(&self) -> Vec<Alarm> {
        let mut alarms = Vec::new();
        let mut raise =
            |cause, what: String, advice: &str| alarms.push(Alarm { cause, what, advice: advice.to_owned() });
        let now = |figure: fn(&Seen) -> f64| mean(&self.last.iter().map(figure).collect::<Vec<_>>());
        let then = |figure: fn(&Seen) -> f64| mean(&self.first.iter().map(figure).collect::<Vec<_>>());
        let some = |figure: fn(&Seen) -> Option<f64>, seen: &mut dyn Iterator<Item = &Seen>| {
            let values: Vec<f64> = seen.filter_map(figure).collect();
            (!values.is_empty()).then(|| mean(&values))
        };
        let right = some(|seen| seen.right, &mut self.last.iter());

        for name in EARNED {
            let scores: Vec<f64> = self
                .last
                .iter()
                .flat_map(|seen| &seen.parts)
                .filter(|(part, _)| part == name)
                .map(|part| part.1)
                .collect();
            if scores.len() == WINDOW && mean(&scores) <= NEVER {
                let what = format!("the reward `{name}` was {} in the last {WINDOW} steps", percent(mean(&scores)));
                raise(Cause::NeverEarned(name.to_owned()), what, never_earned(name));
            }
        }
        let entropy = some(|seen| seen.entropy, &mut self.last.iter());
        let entropy_first = some(|seen| seen.entropy, &mut self.first.iter());
        if let (Some(now), Some(then)) = (entropy, entropy_first)
            && now < ENTROPY_LEFT * then
            && right.is_none_or(|right| right < NEARLY_ALL)
        {
            raise(
                Cause::EntropyCollapse,
                format!(
                    "the entropy fell from {then:.2} to {now:.3} nats per token: the policy has stopped to explore"
                ),
                "a higher clip_high (0.28), entropy_coefficient = 0.001 to 0.01, kl_coefficient, a lower learning_rate, or \
                 fewer optimizer steps on the same completions (mini_batches, epochs)",
            );
        }
        let (length, length_first) = (now(|seen| seen.length), then(|seen| seen.length));
        let truncated = now(|seen| seen.truncated);
        let cut = format!("{} of them were cut off", percent(truncated));
        if length > LONGER * length_first && truncated > OFTEN_CUT {
            raise(
                Cause::LengthExplosion,
                format!("answers grew from {length_first:.0} to {length:.0} tokens, and {cut}"),
                "a reward against length (soft_overlong, which begins at four fifths of max_new_tokens), loss = \"dr_grpo\" or \"dapo\" (with \"grpo\" long wrong answers \
                 cost little), mask_truncated = true; read some completions, whether they still think or only go on",
            );
        } else if truncated > MOSTLY {
            raise(
                Cause::CutOff,
                format!("answers are {length:.0} tokens long on average, and {cut}"),
                "a larger max_new_tokens; a base that ends its answers; mask_truncated = true, so that being cut off \
                 teaches nothing wrong",
            );
        }
        let (repetition, repetition_first) = (now(|seen| seen.repetition), then(|seen| seen.repetition));
        if repetition > MOSTLY && repetition > repetition_first + MORE_REPEATED {
            raise(
                Cause::Repetition,
                format!(
                    "answers repeat themselves: {} of their runs of four tokens were there before, {} at first",
                    percent(repetition),
                    percent(repetition_first)
                ),
                "a reward against repetition, kl_coefficient, a lower learning_rate; read some completions: a reward may \
                 be paying for it",
            );
        }
        let flat = now(|seen| seen.flat);
        if flat >= NEARLY_ALL {
            let all = match right {
                Some(right) if right >= NEARLY => ": nearly all answers are right",
                Some(right) if right <= 1.0 - NEARLY => ": nearly all answers are wrong",
                Some(_) => ": a task is solved each time or never",
                None => "",
            };
            let advice = match right {
                Some(right) if right > MOSTLY => {
                    "harder tasks, or stop here; refill_rounds, to look for tasks that still teach"
                }
                _ => {
                    "easier tasks to begin with, a stronger base, a larger group_size, a reward that tells bad from worse; \
                      refill_rounds, to look for tasks that teach"
                }
            };
            raise(
                Cause::NothingToLearn,
                format!("in {} of the groups all rewards are equal, which teaches nothing{all}", percent(flat)),
                advice,
            );
        }
        let kl = some(|seen| seen.kl, &mut self.last.iter());
        if let Some(kl) = kl.filter(|kl| *kl > FAR) {
            raise(
                Cause::FarFromReference,
                format!("the policy is {kl:.1} nats per token away from the reference"),
                "a higher kl_coefficient, a lower learning_rate, or a reference that follows (reference_every)",
            );
        }
        alarms
    }
}

impl Seen {
    fn of(step: &StepMetrics) -> Seen {
        let right: Vec<f64> = step.accuracy.values().copied().collect();
        Seen {
            parts: step.reward_parts.iter().map(|(name, value)| (name.clone(), *value)).collect(),
            entropy: step.entropy,
            right: (!right.is_empty()).then(|| mean(&right)),
            length: step.length.mean,
            truncated: step.truncated_share,
            repetition: step.repetition,
            flat: step.flat_groups_share,
            kl: step.kl,
        }
    }
}

fn never_earned(part: &str) -> &'static str {
    match part {
        "format" => {
            "a base that has seen the tags, a prompt that shows them, a larger max_new_tokens if answers are cut off before \
             they close them, or a reward for each tag by itself; read some completions"
        }
        _ => {
            "easier tasks to begin with, a stronger base, a larger group_size or max_new_tokens; grade some answers by \
             hand: the reference or the grader may be wrong (recipe grade)"
        }
    }
}

fn percent(share: f64) -> String {
    format!("{:.0}%", share * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Lengths;

    /// A step of a run that does well.
    fn fine() -> StepMetrics {
        let mut step = StepMetrics {
            entropy: Some(0.6),
            length: Lengths { mean: 40.0, ..Lengths::default() },
            flat_groups_share: 0.3,
            repetition: 0.1,
            kl: Some(0.01),
            ..StepMetrics::default()
        };
        step.reward_parts = [("accuracy".to_owned(), 0.4), ("format".to_owned(), 0.8)].into();
        step.accuracy = [("countdown".to_owned(), 0.4)].into();
        step
    }

    /// The causes that a history raises, with the step of each.
    fn raised(steps: impl IntoIterator<Item = StepMetrics>) -> Vec<(usize, Cause)> {
        let mut alarms = Alarms::default();
        let each = steps.into_iter().enumerate();
        each.flat_map(|(index, step)| {
            let alarms = alarms.watch(&step);
            assert!(alarms.iter().all(|alarm| !alarm.what.is_empty() && !alarm.advice.is_empty()));
            alarms.into_iter().map(move |alarm| (index + 1, alarm.cause)).collect::<Vec<_>>()
        })
        .collect()
    }

    /// Thirty steps, of which those after the fifteenth are changed.
    fn turned(change: impl Fn(&mut StepMetrics)) -> Vec<StepMetrics> {
        let mut steps = vec![fine(); 30];
        steps[15..].iter_mut().for_each(change);
        steps
    }

    #[test]
    fn a_run_that_does_well_raises_none() {
        assert_eq!(raised(turned(|_| ())), []);
        // Where everything is right, entropy falls for a good reason; that there is nothing to learn is still said.
        let solved = turned(|step| {
            (step.entropy, step.flat_groups_share) = (Some(0.01), 0.99);
            step.accuracy = [("countdown".to_owned(), 0.999)].into();
        });
        assert_eq!(raised(solved), [(25, Cause::NothingToLearn)]);
    }

    #[test]
    fn each_collapse_is_seen_once() {
        fn check(change: impl Fn(&mut StepMetrics), expected: &[(usize, Cause)]) {
            assert_eq!(raised(turned(change)), expected);
        }
        let part = |name: &str| Cause::NeverEarned(name.to_owned());
        check(|step| *step.reward_parts.entry("format".to_owned()).or_default() = 0.0, &[(25, part("format"))]);
        check(|step| *step.reward_parts.entry("accuracy".to_owned()).or_default() = 0.0, &[(25, part("accuracy"))]);
        // A part that only takes something off may well be 0.
        check(|step| *step.reward_parts.entry("soft_overlong".to_owned()).or_default() = 0.0, &[]);
        // With one step of ten at 0.6 the mean is 0.069, more than a tenth; one step later it is less.
        check(|step| step.entropy = Some(0.01), &[(25, Cause::EntropyCollapse)]);
        check(|step| (step.length.mean, step.truncated_share) = (160.0, 0.4), &[(22, Cause::LengthExplosion)]);
        check(|step| step.truncated_share = 0.8, &[(22, Cause::CutOff)]);
        check(|step| step.repetition = 0.85, &[(21, Cause::Repetition)]);
        check(|step| step.flat_groups_share = 1.0, &[(25, Cause::NothingToLearn)]);
        check(|step| step.kl = Some(3.0), &[(19, Cause::FarFromReference)]);
    }

    #[test]
    fn a_stage_may_be_bad_from_its_first_step() {
        let mut bad = fine();
        bad.reward_parts.insert("format".to_owned(), 0.0);
        assert_eq!(raised(vec![bad.clone(); WINDOW - 1]), []);
        assert_eq!(raised(vec![bad; 30]), [(WINDOW, Cause::NeverEarned("format".to_owned()))]);
    }

    #[test]
    fn steps_without_an_update_have_no_entropy() {
        assert_eq!(raised(turned(|step| step.entropy = None)), []);
    }

    #[test]
    fn an_alarm_says_what_to_try() {
        let mut alarms = Alarms::default();
        let steps = turned(|step| step.flat_groups_share = 1.0);
        let alarm = steps.iter().flat_map(|step| alarms.watch(step)).next().unwrap();
        let text = alarm.to_string();
        assert!(text.starts_with("in 100% of the groups all rewards are equal"), "{text}");
        assert!(text.contains("a task is solved each time or never\n  try: easier tasks"), "{text}");
        let json = serde_json::to_string(&alarm).unwrap();
        assert!(json.starts_with(r#"{"cause":"nothing_to_learn","what":"#), "{json}");
        assert_eq!(serde_json::from_str::<Alarm>(&json).unwrap(), alarm);
    }
}
