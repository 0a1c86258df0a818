//! Asking: each problem that has no answers yet, graded as its answers end and noted as a whole.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use anyhow::Context;
use datasets::{Domain, Task};
use policy::model::batch::BatchBuilder;
use policy::{PolicyError, Request, RolloutEngine, RolloutOptions, SamplingParams, Tokenizer, Track};
use rewards::{Reference, RewardSet};
use sha2::{Digest, Sha256};

use super::problems::Problems;
use super::prompt::choice_prompt;
use super::store::{Answer, Answered, Asked, Store};
use crate::model::Model;
use crate::progress::Phase;
use crate::run::JsonLines;
use crate::stage::{Graded, Grader, opening_of};

/// Answers after which errors of grading or writing are looked at: enough that the decoder's batch rarely runs dry.
const AT_A_TIME: usize = 4096;
/// Tokens that go through the model at a time where choices are compared.
const ROWS: usize = 4096;

/// Why an answer is not right that was cut off before it was given.
const CUT_OFF: &str = "cut_off";

/// What asks.
pub(super) struct Asker<'a> {
    pub(super) model: &'a Model,
    pub(super) verdict: &'a RewardSet,
    /// Most sequences decoded at once.
    pub(super) batch: usize,
    pub(super) threads: usize,
}

impl Asker<'_> {
    /// Samples answers to the problems at `places`; `prompts` are those of all problems.
    pub(super) fn generate(
        &self,
        asked: &Asked,
        problems: &Problems,
        places: &[u32],
        prompts: &[Vec<u32>],
        store: &Store,
        phase: &Phase,
    ) -> anyhow::Result<()> {
        let notes = Notes { tasks: &problems.tasks, samples: asked.samples as usize, under_way: Mutex::default() };
        let writer = Mutex::new(store.writer()?);
        let engine = RolloutEngine::new(&self.model.policy)?;
        let params = SamplingParams {
            temperature: asked.temperature,
            top_p: asked.top_p,
            top_k: 0,
            max_tokens: asked.max_tokens,
        };
        let options = RolloutOptions {
            seed: asked.seed,
            step: step_of(&asked.benchmark),
            end_of_text: self.model.tokenizer.end_ids().to_vec(),
            batch: self.batch,
        };
        let first = prompts.first().map(|ids| self.model.tokenizer.decode(ids));
        let grader = Grader {
            rewards: self.verdict,
            opening: first.map_or("", |prompt| opening_of(&prompt)),
            tokenizer: &self.model.tokenizer,
            tasks: &problems.tasks,
            votes: true,
            threads: self.threads,
        };
        for places in places.chunks(AT_A_TIME.div_ceil(asked.samples as usize)) {
            let request = |place: &u32| Request {
                task: *place,
                prompt: prompts[*place as usize].clone(),
                samples: asked.samples,
            };
            let requests: Vec<Request> = places.iter().map(request).collect();
            grader.each(
                asked.samples,
                |finish| {
                    engine.generate(&requests, &params, &options, |completion| {
                        phase.inc(1);
                        finish(completion);
                    })
                },
                &|graded| notes.take(&graded, &writer),
            )?;
        }
        Ok(())
    }

    /// Compares the log-probabilities of the choices' letters.
    pub(super) fn choose(
        &self,
        problems: &Problems,
        places: &[u32],
        store: &Store,
        phase: &Phase,
    ) -> anyhow::Result<()> {
        let mut writer = store.writer()?;
        let tokenizer = &self.model.tokenizer;
        let mut rest = places.iter().copied().peekable();
        while rest.peek().is_some() {
            let mut builder = BatchBuilder::default();
            let mut members: Vec<(u32, Vec<usize>)> = Vec::new();
            while builder.rows() < ROWS
                && let Some(place) = rest.next()
            {
                let task = &problems.tasks[place as usize];
                let (prompt, letters) = choices(tokenizer, task)?;
                let context = builder.context(&prompt, None)?;
                for ids in &letters {
                    builder.completion(context, ids)?;
                }
                members.push((place, letters.iter().map(Vec::len).collect()));
            }
            let forward = self.model.policy.forward(&builder.build()?, 1.0, Track::Nothing)?;
            let mut logprobs = forward.logprobs.into_iter().map(f64::from);
            for (place, lengths) in members {
                let task = &problems.tasks[place as usize];
                let sums: Vec<f64> = lengths.iter().map(|length| logprobs.by_ref().take(*length).sum()).collect();
                writer.push(&chosen(place, task, sums)?)?;
                phase.inc(1);
            }
        }
        Ok(())
    }
}

/// A step's number that sets a benchmark's random numbers apart from another's.
fn step_of(benchmark: &str) -> u32 {
    let digest = Sha256::digest(benchmark);
    u32::from_le_bytes([digest[0], digest[1], digest[2], digest[3]])
}

/// The letters that a task offers.
fn letters(task: &Task) -> anyhow::Result<Vec<char>> {
    let choices = task.extra.get("choices").and_then(serde_json::Value::as_array);
    let count = choices.map(Vec::len).filter(|_| matches!(task.reference, Reference::Math { .. }));
    let count = count.with_context(|| {
        format!("the problem {} has no choices: only a multiple-choice set can be asked by likelihood", task.id)
    })?;
    Ok(('A'..='Z').take(count).collect())
}

/// The token ids of a problem's prompt, and those of each letter behind it.
fn choices(tokenizer: &Tokenizer, task: &Task) -> anyhow::Result<(Vec<u32>, Vec<Vec<u32>>)> {
    let text = choice_prompt(task);
    let letters =
        letters(task)?.into_iter().map(|letter| tokenizer.encode_after(&text, &format!(" {letter}"))).collect();
    Ok(([tokenizer.begin_ids(), &tokenizer.encode(&text)].concat(), letters))
}

/// Positions that a problem takes where its choices are compared: those of the prompt, and of a letter all tokens but the last,
/// which is predicted and not read.
pub(super) fn choice_positions(tokenizer: &Tokenizer, task: &Task) -> anyhow::Result<usize> {
    let (prompt, letters) = choices(tokenizer, task)?;
    let longest = letters.iter().map(Vec::len).max().unwrap_or(1);
    Ok(prompt.len() + longest.saturating_sub(1))
}

/// The likeliest choice as an answer.
fn chosen(place: u32, task: &Task, sums: Vec<f64>) -> anyhow::Result<Answered> {
    if sums.iter().any(|sum| !sum.is_finite()) {
        return Err(PolicyError::NotFinite { operation: "compare choices" }.into());
    }
    let mut best = 0;
    for (index, sum) in sums.iter().enumerate() {
        if *sum > sums[best] {
            best = index;
        }
    }
    let letter = char::from(b'A' + best as u8).to_string();
    let right = matches!(&task.reference, Reference::Math { answer } if *answer == letter);
    let answer = Answer {
        text: letter.clone(),
        right: Some(right),
        cause: (!right).then(|| "wrong_choice".to_owned()),
        vote: Some(letter),
        choices: sums,
        ..Answer::default()
    };
    Ok(Answered { problem: place, task: task.id.clone(), question: task.prompt.clone(), answers: vec![answer] })
}

/// Gathers the answers of each problem until they are all there.
struct Notes<'a> {
    tasks: &'a [Task],
    samples: usize,
    under_way: Mutex<HashMap<u32, BTreeMap<u32, Answer>>>,
}

impl Notes<'_> {
    fn take(&self, graded: &Graded, writer: &Mutex<JsonLines>) -> anyhow::Result<()> {
        let place = graded.completion.task;
        let mut answer = Answer {
            text: graded.text.clone(),
            right: graded.right(),
            cause: graded.breakdown.cause().map(str::to_owned),
            vote: graded.vote.clone(),
            tokens: graded.completion.token_ids.len() as u32,
            truncated: graded.truncated(),
            choices: Vec::new(),
        };
        // A program has its fence, which the verifier looks for.
        if self.tasks[place as usize].domain != Domain::Code {
            without_end(&mut answer);
        }
        let whole = {
            let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
            let answers = under_way.entry(place).or_default();
            answers.insert(graded.completion.sample, answer);
            if answers.len() < self.samples { None } else { under_way.remove(&place) }
        };
        let Some(answers) = whole else { return Ok(()) };
        let task = &self.tasks[place as usize];
        let row = Answered {
            problem: place,
            task: task.id.clone(),
            question: task.prompt.clone(),
            answers: answers.into_values().collect(),
        };
        writer.lock().unwrap_or_else(PoisonError::into_inner).push(&row)
    }
}

/// What was cut off before it gave its answer gives none: its last number is on the way, and of what a model without any
/// skill writes, one in ten would be right by it.
fn without_end(answer: &mut Answer) {
    // Where such a mark is begun and not finished, the verifier finds no answer by itself.
    let is_marked = ["<answer>", "\\boxed", "\\fbox"].iter().any(|mark| answer.text.contains(mark));
    if !answer.truncated || is_marked || answer.right.is_none() {
        return;
    }
    answer.right = Some(false);
    answer.cause = Some(CUT_OFF.to_owned());
    answer.vote = None;
}

#[cfg(test)]
mod tests {
    use datasets::Split;

    use super::*;

    #[test]
    fn what_was_cut_off_has_no_answer_but_a_marked_one() {
        let judged = |text: &str, truncated: bool, right: Option<bool>| {
            let vote = Some("4".to_owned());
            let mut answer = Answer { text: text.to_owned(), right, truncated, vote, ..Answer::default() };
            without_end(&mut answer);
            (answer.right, answer.cause.is_some(), answer.vote.is_some())
        };
        assert_eq!(judged("3 1 4", true, Some(true)), (Some(false), true, false));
        assert_eq!(judged("3 1 4", true, Some(false)), (Some(false), true, false));
        assert_eq!(judged("3 1 4", false, Some(true)), (Some(true), false, true));
        assert_eq!(judged("<answer> 4 </answer> and", true, Some(true)), (Some(true), false, true));
        assert_eq!(judged("\\boxed{4}. Now", true, Some(true)), (Some(true), false, true));
        // A reference that cannot be used makes nothing wrong.
        assert_eq!(judged("3 1 4", true, None), (None, false, true));
    }

    /// As the harness takes a continuation: what it adds to the ids of its context.
    #[test]
    fn letters_are_what_they_add_to_the_prompt() {
        let mut extra = serde_json::Map::new();
        extra.insert("choices".to_owned(), serde_json::json!(["x", "y"]));
        let task = Task::new("mmlu", "q".to_owned(), Reference::Math { answer: "B".to_owned() }, Split::Held, extra);
        let tokenizer = crate::stage::sentence_piece("");
        let (prompt, letters) = choices(&tokenizer, &task).unwrap();
        for (letter, ids) in ["A", "B"].into_iter().zip(letters) {
            let whole = tokenizer.encode(&format!("{} {letter}", choice_prompt(&task)));
            assert_eq!([prompt.as_slice(), &ids].concat(), [tokenizer.begin_ids(), &whole].concat());
        }
    }

    #[test]
    fn the_likeliest_letter_is_the_answer_and_of_equals_the_first() {
        let mut extra = serde_json::Map::new();
        extra.insert("choices".to_owned(), serde_json::json!(["x", "y", "z"]));
        let task = Task::new("mmlu", "q".to_owned(), Reference::Math { answer: "B".to_owned() }, Split::Held, extra);
        assert_eq!(letters(&task).unwrap(), ['A', 'B', 'C']);
        let answer = |sums: &[f64]| chosen(0, &task, sums.to_vec()).unwrap().answers.remove(0);
        assert_eq!((answer(&[-3.0, -1.0, -2.0]).text.as_str(), answer(&[-3.0, -1.0, -2.0]).right), ("B", Some(true)));
        assert_eq!(answer(&[-1.0, -1.0, -2.0]).text, "A");
        assert!(chosen(0, &task, vec![f64::NAN, 0.0]).is_err());
        let open = Task::new(
            "gsm8k",
            "q".to_owned(),
            Reference::Math { answer: "4".to_owned() },
            Split::Held,
            Default::default(),
        );
        assert!(letters(&open).unwrap_err().to_string().contains("has no choices"));
    }
}
