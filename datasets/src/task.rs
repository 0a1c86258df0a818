//! The record: a question, what its answers are compared with, and where it came from.

use std::fmt;
use std::fmt::Write as _;

pub use rewards::Message;
use rewards::{Checker, Reference, Sample};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

/// What kind of answer a task asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Domain {
    /// A value or an expression.
    Math,
    /// A program.
    Code,
    /// One of several given answers.
    Choice,
    /// What follows from what is given.
    Logic,
    /// Words.
    Text,
}

impl Domain {
    /// All of them, in the order of tables.
    pub const ALL: [Self; 5] = [Self::Math, Self::Code, Self::Choice, Self::Logic, Self::Text];

    /// The domain as it is written in files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Math => "math",
            Self::Code => "code",
            Self::Choice => "choice",
            Self::Logic => "logic",
            Self::Text => "text",
        }
    }

    /// The domain of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|domain| domain.name() == name)
    }
}

/// Which side of the fence between training and evaluation a task stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Split {
    /// May be trained on.
    Train,
    /// For choosing between models while training goes on.
    Validation,
    /// For evaluation only. Public sets call it `test`.
    #[serde(alias = "test")]
    Held,
}

impl fmt::Display for Split {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.label())
    }
}

impl Split {
    /// The split in words, for messages.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Train => "training",
            Self::Validation => "validation",
            Self::Held => "held-out",
        }
    }

    /// The split as it is written in files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Validation => "validation",
            Self::Held => "held",
        }
    }

    /// The split that a word of public sets stands for: in the names of their files, or in a column of their rows.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        match word.trim().to_ascii_lowercase().as_str() {
            "train" | "training" => Some(Self::Train),
            "validation" | "valid" | "val" | "dev" => Some(Self::Validation),
            "test" | "testing" | "eval" | "evaluation" | "held" => Some(Self::Held),
            _ => None,
        }
    }

    /// The split of this name in our own files and jobs; `test` is another word for `held`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "train" => Some(Self::Train),
            "validation" => Some(Self::Validation),
            "held" | "test" => Some(Self::Held),
            _ => None,
        }
    }
}

/// One problem with its verifier.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// First 16 hex digits of the SHA-256 of prompt and reference: equal tasks have equal ids.
    pub id: String,
    /// The family that drew it, or the stem of the file it was read from.
    pub source: String,
    /// What kind of answer it asks for.
    pub domain: Domain,
    /// The question in plain text, without any template.
    pub prompt: String,
    /// What stands before the question: a system message, earlier turns. Empty for nearly all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub turns: Vec<Message>,
    /// What an answer is compared with.
    pub reference: Reference,
    /// The share of a policy's attempts that failed, 0 to 1, where it has been measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub difficulty: Option<f64>,
    /// Training or held-out. Rows of files are training tasks: what a file is for is the caller's
    /// decision, not something to guess from its name.
    pub split: Split,
    /// The columns of the source that went into neither the prompt nor the reference.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub extra: Map<String, Value>,
}

impl Task {
    /// A task, its id computed from what it says. The domain follows from the reference.
    #[must_use]
    pub fn new(source: &str, prompt: String, reference: Reference, split: Split, extra: Map<String, Value>) -> Self {
        let domain = if reference.is_code() { Domain::Code } else { Domain::Math };
        let id = content_id(&[], &prompt, &reference);
        let source = source.to_owned();
        Self { id, source, domain, prompt, turns: Vec::new(), reference, difficulty: None, split, extra }
    }

    /// The same task with turns before its question, and the id that follows.
    #[must_use]
    pub fn after(mut self, turns: Vec<Message>) -> Self {
        self.turns = turns;
        self.renew_id();
        self
    }

    /// Computes the id anew, after prompt, turns or reference have changed.
    pub fn renew_id(&mut self) {
        self.id = content_id(&self.turns, &self.prompt, &self.reference);
    }

    /// An answer to this task, as rewards judge it.
    #[must_use]
    pub fn sample<'a>(&'a self, completion: &'a str) -> Sample<'a> {
        Sample { turns: &self.turns, columns: &self.extra, ..Sample::new(&self.prompt, completion, &self.reference) }
    }

    /// The prompt as messages: what stands before the question, and the question.
    #[must_use]
    pub fn messages(&self) -> Vec<Message> {
        let mut messages = self.turns.clone();
        messages.push(Message { role: "user".to_owned(), content: self.prompt.clone() });
        messages
    }
}

/// A question behind what was said before it. Who sets the system message is no part of the conversation, and sets the same one
/// for many.
pub(crate) fn conversation(turns: &[Message], question: &str) -> String {
    let said = turns.iter().filter(|turn| turn.role != "system").map(|turn| turn.content.as_str());
    said.chain([question]).collect::<Vec<_>>().join("\n")
}

/// First 16 hex digits of SHA-256 over the parts, each preceded by its length so that moving a
/// character from one part to the next gives another id.
fn content_id(turns: &[Message], prompt: &str, reference: &Reference) -> String {
    let mut digest = Sha256::new();
    let mut part = |text: &str| {
        digest.update((text.len() as u64).to_le_bytes());
        digest.update(text.as_bytes());
    };
    // Without turns nothing is added, so ids are those of the plain question.
    for turn in turns {
        part(&turn.role);
        part(&turn.content);
    }
    part(prompt);
    match reference {
        Reference::Math { answer } => {
            part("math");
            part(answer);
        }
        Reference::Integer { value } => {
            part("integer");
            part(&value.to_string());
        }
        Reference::Countdown { numbers, target } => {
            part("countdown");
            part(&numbers.iter().map(i64::to_string).collect::<Vec<_>>().join(" "));
            part(&target.to_string());
        }
        Reference::Tests { setup, assertions } => {
            part("tests");
            part(setup);
            assertions.iter().for_each(|assertion| part(assertion));
        }
        Reference::Stdin { cases, checker, tolerance } => {
            part("stdin");
            match checker {
                Checker::Lines => part("lines"),
                Checker::Tokens => part("tokens"),
                Checker::Program(program) => part(program),
            }
            part(&tolerance.map_or(String::new(), |tolerance| tolerance.value().to_string()));
            for case in cases {
                part(&case.stdin);
                part(&case.stdout);
                part(&case.weight.to_string());
            }
        }
        Reference::Calls { setup, function, cases, tolerance } => {
            part("calls");
            part(setup);
            part(function);
            part(&tolerance.map_or(String::new(), |tolerance| tolerance.value().to_string()));
            for case in cases {
                part(&case.arguments);
                part(&case.expected);
                part(&format!("{} {}", case.wrapped, case.weight));
            }
        }
    }
    digest.finalize().iter().take(8).fold(String::with_capacity(16), |mut id, byte| {
        // Writing to a String cannot fail.
        let _ = write!(id, "{byte:02x}");
        id
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(prompt: &str, answer: &str) -> Task {
        let reference = Reference::Math { answer: answer.to_owned() };
        Task::new("test", prompt.to_owned(), reference, Split::Train, Map::new())
    }

    #[test]
    fn the_id_names_the_content_and_nothing_else() {
        let first = task("Compute 1 + 1", "2");
        assert_eq!(first.id.len(), 16);
        assert_eq!(first.id, Task { source: "elsewhere".into(), ..task("Compute 1 + 1", "2") }.id);
        assert_ne!(first.id, task("Compute 1 + 1", "3").id);
        assert_ne!(first.id, task("Compute 1 + 12", "").id);
        let number = Reference::Countdown { numbers: vec![1, 2], target: 3 };
        assert_ne!(first.id, Task::new("test", "Compute 1 + 1".into(), number, Split::Train, Map::new()).id);
    }

    #[test]
    fn turns_before_the_question_are_part_of_the_id() {
        let system = Message { role: "system".into(), content: "Be brief.".into() };
        let after = task("p", "1").after(vec![system]);
        assert_ne!(after.id, task("p", "1").id);
        let roles: Vec<String> = after.messages().into_iter().map(|message| message.role).collect();
        assert_eq!(roles, ["system", "user"]);
        let text = serde_json::to_string(&after).expect("a task is plain data");
        assert_eq!(serde_json::from_str::<Task>(&text).expect("as written"), after);
    }

    #[test]
    fn a_split_is_what_public_sets_call_it() {
        for (words, expected) in [
            ("train training Train", Some(Split::Train)),
            ("validation valid val dev DEV", Some(Split::Validation)),
            ("test testing eval evaluation held", Some(Split::Held)),
            ("easy all", None),
        ] {
            for word in words.split(' ') {
                assert_eq!(Split::from_word(word), expected, "{word}");
            }
        }
    }

    #[test]
    fn the_domain_follows_from_the_reference() {
        let tests = Reference::Tests { setup: String::new(), assertions: vec!["assert f(1) == 2".into()] };
        assert_eq!(Task::new("test", "p".into(), tests, Split::Held, Map::new()).domain, Domain::Code);
        let call = |expected: &str| {
            let text =
                format!(r#"{{"kind":"calls","function":"f","cases":[{{"arguments":"[1]","expected":"{expected}"}}]}}"#);
            let reference = serde_json::from_str(&text).expect("a reference");
            Task::new("test", "p".into(), reference, Split::Held, Map::new())
        };
        assert_eq!(call("2").domain, Domain::Code);
        assert_ne!(call("2").id, call("3").id);
        assert_eq!(task("p", "1").domain, Domain::Math);
    }

    #[test]
    fn a_task_survives_json() {
        let before = task("Compute 2 * 3", "6");
        let text = serde_json::to_string(&before).expect("a task is plain data");
        assert_eq!(serde_json::from_str::<Task>(&text).expect("as written"), before);
    }
}
