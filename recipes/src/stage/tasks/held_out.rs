//! Which tasks of files are held out: examined on, and never trained on.
//!
//! 1. those of `tasks.held_out_files`;
//! 2. those of `tasks.files` whose row says so: the column `split`, or verl's `extra_info.split`, is `held`, `test` or
//!    `validation`;
//! 3. of each other file, unless there are `held_out_files`, a share: by a hash of the question, the same in every run.
//!
//! A question is held out as a whole, whatever its references are and however it is spaced: what is trained on has no question
//! of 1 and 2, and 3 goes by the question.

use std::collections::HashSet;

use anyhow::Context;
use datasets::{Message, Split, Task};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::Tasks;
use crate::config::Recipe;
use crate::progress::{Reporter, Verbosity};

/// Questions that are told apart by what they ask.
#[derive(Debug, Default)]
pub(in crate::stage) struct Questions(HashSet<[u8; 32]>);

impl Questions {
    /// The questions of these tasks.
    pub(super) fn of(tasks: &[Task]) -> Questions {
        Questions(tasks.iter().map(|task| question(&task.messages())).collect())
    }

    /// Whether the last of these messages asks one of them.
    pub(in crate::stage) fn has(&self, messages: &[Message]) -> bool {
        !self.0.is_empty() && self.0.contains(&question(messages))
    }
}

/// The questions that no demonstration may answer: those that the recipe's files hold out, or of generated families those that
/// are examined. (No task that is practised is one of them; a file of demonstrations may have come from anywhere.)
pub(in crate::stage) fn held_out_questions(recipe: &Recipe) -> anyhow::Result<Questions> {
    // What there is to say of the files has been said when the run began.
    let tasks =
        Tasks::read(recipe, &Reporter::new(Verbosity::Silent)).context("cannot tell which tasks are held out")?;
    match &tasks {
        Tasks::Files { held_out, .. } => Ok(Questions::of(held_out)),
        Tasks::Families { .. } => Ok(Questions::of(&tasks.held_out(recipe.held_out_tasks())?)),
    }
}

/// Whether the row says that nothing is to be trained on it.
pub(super) fn says_held_out(task: &Task) -> bool {
    let means = |value: Option<&Value>| value.and_then(Value::as_str).and_then(Split::from_word);
    let column = || means(task.extra.get("split"));
    let of_verl = || means(task.extra.get("extra_info").and_then(|info| info.get("split")));
    task.split != Split::Train || column().or_else(of_verl).is_some_and(|split| split != Split::Train)
}

/// A number in [0, 1) from what a task asks.
pub(super) fn share_of(task: &Task) -> f64 {
    let digest = question(&task.messages());
    f64::from(u32::from_le_bytes([digest[0], digest[1], digest[2], digest[3]])) / 2f64.powi(32)
}

/// What may stand around a word without making it another one. Brackets and, behind a number, an exclamation mark mean
/// something in mathematics.
const AROUND_WORDS: [char; 18] =
    ['.', ',', ';', ':', '?', '"', '\'', '`', '“', '”', '„', '‘', '’', '«', '»', '…', '¿', '¡'];

/// A word without what stands around it.
fn bare(word: &str) -> &str {
    let word = word.trim_matches(AROUND_WORDS);
    let exclaimed = word.trim_end_matches('!').trim_end_matches(AROUND_WORDS);
    if exclaimed.ends_with(|c: char| c.is_alphabetic()) && exclaimed.chars().nth(1).is_some() {
        exclaimed
    } else {
        word
    }
}

/// SHA-256 of a question with what was said before it, in lower case, without white space and punctuation around words: copies
/// that differ in nothing else are one question. A system message only says how to answer.
fn question(messages: &[Message]) -> [u8; 32] {
    let mut digest = Sha256::new();
    for message in messages.iter().filter(|message| message.role != "system") {
        let text = message.content.to_lowercase();
        let words = text.split_whitespace().map(bare);
        for word in words.filter(|word| !word.is_empty()) {
            digest.update(word);
            digest.update([b' ']);
        }
        digest.update([0]);
    }
    digest.finalize().into()
}

#[cfg(test)]
mod tests {
    use rewards::Reference;

    use super::*;

    fn task(prompt: &str, answer: &str) -> Task {
        let reference = Reference::Math { answer: answer.to_owned() };
        Task::new("mine", prompt.to_owned(), reference, Split::Train, serde_json::Map::new())
    }

    fn turn(role: &str, content: &str) -> Message {
        Message { role: role.to_owned(), content: content.to_owned() }
    }

    #[test]
    fn one_question_is_on_one_side() {
        let first = task("What is 1 + 1?", "2");
        let near = ["What is 1 + 1 ?", "what is  1 + 1", "What is\n1 + 1?"];
        for copy in near.map(|prompt| task(prompt, "two")).into_iter().chain([task("What is 1 + 1?", "2.0")]) {
            assert_ne!(copy.id, first.id);
            assert_eq!(share_of(&copy), share_of(&first), "{}", copy.prompt);
        }
        assert_eq!(share_of(&first.clone().after(vec![turn("system", "Be brief.")])), share_of(&first));
        // What was said before makes it another one.
        let later = first.clone().after(vec![turn("user", "Hello"), turn("assistant", "Hello!")]);
        for other in [task("What is 1 - 1?", "0"), task("What is 1 + -1?", "0"), task("What is 11?", "11"), later] {
            assert_ne!(share_of(&other), share_of(&first), "{}", other.prompt);
        }
        let shares: Vec<f64> = (0..1000).map(|n| share_of(&task(&format!("What is {n} + 1?"), "n"))).collect();
        let below = shares.iter().filter(|share| **share < 0.1).count();
        assert!((70..130).contains(&below), "{below}");
    }

    #[test]
    fn punctuation_is_told_from_mathematics() {
        let same = |one: &str, other: &str| share_of(&task(one, "1")) == share_of(&task(other, "1"));
        for (one, other) in
            [("Is it so!", "Is it so?"), ("Solve this one", "Solve “this” one…"), ("«Find» x", "Find x.")]
        {
            assert!(same(one, other), "{one} / {other}");
        }
        // A factorial, a variable's factorial, and brackets that decide what comes first.
        for (one, other) in [("Compute 5!", "Compute 5"), ("Compute n!", "Compute n"), ("(1 + 2) * 3", "1 + (2 * 3)")] {
            assert!(!same(one, other), "{one} / {other}");
        }
    }

    #[test]
    fn no_demonstration_answers_a_generated_task_that_is_examined() {
        let recipe =
            crate::config::find_shipped("smoke").unwrap().recipe(&["eval.tasks_per_family=9".to_owned()]).unwrap();
        let questions = held_out_questions(&recipe).unwrap();
        let asked = |split| datasets::Family::Arithmetic.distinct(split, super::super::HELD_OUT_SEED, 9).unwrap();
        assert!(asked(Split::Held).iter().all(|task| questions.has(&task.messages())));
        assert!(!asked(Split::Train).iter().any(|task| questions.has(&task.messages())));
    }

    #[test]
    fn a_row_may_say_where_it_belongs() {
        #[track_caller]
        fn check(extra: &Value, expected: bool) {
            let mut task = task("p", "1");
            task.extra = extra.as_object().unwrap().clone();
            assert_eq!(says_held_out(&task), expected, "{extra}");
        }
        for (split, held_out) in
            [("train", false), ("test", true), ("held", true), ("validation", true), ("dev", true), ("easy", false)]
        {
            check(&serde_json::json!({ "split": split }), held_out);
            check(&serde_json::json!({ "extra_info": { "split": split, "index": 3 } }), held_out);
        }
        check(&serde_json::json!({ "split": 1, "extra_info": "test" }), false);
        assert!(says_held_out(&Task { split: Split::Validation, ..task("p", "1") }));
    }
}
