//! From a problem to the tokens that the model reads.

use anyhow::Context;
use datasets::Task;
use policy::Tokenizer;
use serde::{Deserialize, Serialize};

use super::subject::Subject;
use crate::config::RecipeError;
use crate::stage::{PromptEncoder, chat_options};

/// What stands around a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Template {
    /// R1-Zero's, in which `recipe run` trains: the answer stands in tags.
    R1Zero,
    /// The model's own chat template, with the benchmark's instruction after the question.
    Chat,
    /// The question, and the benchmark's instruction on a line of its own.
    Plain,
}

impl Template {
    /// The template for a model, where none was asked for: R1-Zero's for one that was trained here, else the model's own,
    /// and R1-Zero's for a base without one.
    pub(super) fn for_model(subject: &Subject, tokenizer: &Tokenizer) -> Template {
        let chat = !subject.trained_here && tokenizer.chat_template().is_some();
        if chat { Template::Chat } else { Template::R1Zero }
    }

    /// As it is written.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Template::R1Zero => "r1-zero",
            Template::Chat => "chat",
            Template::Plain => "plain",
        }
    }

    /// That the model can be asked so.
    pub(super) fn check(self, subject: &Subject, tokenizer: &Tokenizer) -> Result<(), RecipeError> {
        if self == Template::Chat && tokenizer.chat_template().is_none() {
            let error = RecipeError::new("--template chat", format!("{} has no chat template", subject.name));
            return Err(error.hint("take --template r1-zero or plain"));
        }
        Ok(())
    }

    /// The token ids of the prompt of each task.
    pub(super) fn encode(
        self,
        tokenizer: &Tokenizer,
        instruction: &str,
        tasks: &[Task],
    ) -> anyhow::Result<Vec<Vec<u32>>> {
        match self {
            Template::R1Zero => {
                let encoder = PromptEncoder::new(tokenizer);
                Ok(tasks.iter().map(|task| encoder.encode(&task.prompt)).collect())
            }
            Template::Plain => {
                let ids = |task: &Task| {
                    let text = format!("{}\n{instruction}\n", task.prompt);
                    [tokenizer.begin_ids(), &tokenizer.encode(&text)].concat()
                };
                Ok(tasks.iter().map(ids).collect())
            }
            Template::Chat => {
                let options = chat_options();
                let ids = |task: &Task| {
                    let mut messages = task.messages();
                    if let Some(question) = messages.last_mut() {
                        question.content = format!("{}\n{instruction}", question.content);
                    }
                    let ids = tokenizer.encode_chat(&messages, &options);
                    ids.with_context(|| format!("the problem {} cannot be asked: {:.60}", task.id, task.prompt))
                };
                tasks.iter().map(ids).collect()
            }
        }
    }
}

/// The prompt under which the letters of a choice are compared: as the Language Model Evaluation Harness asks MMLU, a line
/// that names the subject, the question, its choices, `Answer:`.
pub(super) fn choice_prompt(task: &Task) -> String {
    let subject = ["subject", "type"].iter().find_map(|key| task.extra.get(*key)?.as_str());
    let about = subject.map_or_else(String::new, |subject| format!(" about {}", subject.replace('_', " ")));
    // The layout's own last line asks for a letter in words; here `Answer:` does.
    let question = task.prompt.strip_suffix("\nAnswer with the letter of the right choice.").unwrap_or(&task.prompt);
    format!("The following is a multiple choice question (with its answer){about}.\n\n{question}\nAnswer:")
}

#[cfg(test)]
mod tests {
    use datasets::Split;
    use rewards::Reference;

    use super::*;

    #[test]
    fn a_choice_is_asked_by_its_letters() {
        let mut extra = serde_json::Map::new();
        extra.insert("type".to_owned(), "college_biology".into());
        let prompt = "What is it?\nA. this\nB. that\nAnswer with the letter of the right choice.";
        let reference = Reference::Math { answer: "B".to_owned() };
        let task = Task::new("mmlu", prompt.to_owned(), reference, Split::Held, extra);
        assert_eq!(
            choice_prompt(&task),
            "The following is a multiple choice question (with its answer) about college biology.\n\n\
             What is it?\nA. this\nB. that\nAnswer:"
        );
    }
}
