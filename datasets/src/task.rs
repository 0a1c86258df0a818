//! The record: a question, what its answers are compared with, and where it came from.

use std::fmt;
use std::fmt::Write as _;

use rewards::Reference;
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
}

/// Which side of the fence between training and evaluation a task stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Split {
    /// May be trained on.
    Train,
    /// For evaluation only.
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
            Self::Held => "held-out",
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
    /// What an answer is compared with.
    pub reference: Reference,
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
        let domain = match reference {
            Reference::Tests { .. } => Domain::Code,
            Reference::Math { .. } | Reference::Integer { .. } | Reference::Countdown { .. } => Domain::Math,
        };
        Self { id: content_id(&prompt, &reference), source: source.to_owned(), domain, prompt, reference, split, extra }
    }
}

/// First 16 hex digits of SHA-256 over the parts, each preceded by its length so that moving a
/// character from one part to the next gives another id.
fn content_id(prompt: &str, reference: &Reference) -> String {
    let mut digest = Sha256::new();
    let mut part = |text: &str| {
        digest.update((text.len() as u64).to_le_bytes());
        digest.update(text.as_bytes());
    };
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
    fn the_domain_follows_from_the_reference() {
        let tests = Reference::Tests { setup: String::new(), assertions: vec!["assert f(1) == 2".into()] };
        assert_eq!(Task::new("test", "p".into(), tests, Split::Held, Map::new()).domain, Domain::Code);
        assert_eq!(task("p", "1").domain, Domain::Math);
    }

    #[test]
    fn a_task_survives_json() {
        let before = task("Compute 2 * 3", "6");
        let text = serde_json::to_string(&before).expect("a task is plain data");
        assert_eq!(serde_json::from_str::<Task>(&text).expect("as written"), before);
    }
}
