//! From files of demonstrations, or what an earlier stage wrote, to token ids.
//!
//! A question is put into its template as tasks are, by [`PromptEncoder`]: a stage that learns from answers then shows what a
//! stage that asks would ask, the system message of `[tasks]` included.

use std::path::{Path, PathBuf};

use datasets::source::read_demonstrations;
use datasets::{Demonstration, Message};
use policy::Tokenizer;
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::RunContext;
use super::prompt::PromptEncoder;
use super::start::Refused;
use super::tasks::held_out_questions;
use crate::config::{OnTooLong, RecipeError, SftSettings};
use crate::wording::counted;

/// A demonstration in token ids.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Example {
    pub(super) prompt: Vec<u32>,
    /// What is learnt, the end token included.
    pub(super) answer: Vec<u32>,
}

/// What is learnt from, and what the loss is measured on.
#[derive(Debug, Default)]
pub(super) struct Examples {
    pub(super) train: Vec<Example>,
    pub(super) validation: Vec<Example>,
}

impl Examples {
    /// Reads and encodes the demonstrations of the files.
    pub(super) fn read(
        context: &RunContext<'_>,
        settings: &SftSettings,
        tokenizer: &Tokenizer,
        positions: usize,
        files: &[PathBuf],
    ) -> anyhow::Result<Examples> {
        let longest = if settings.max_length == 0 { positions } else { settings.max_length.min(positions) };
        let system = &context.recipe.tasks.system_prompt;
        let encoder = Encoder { tokenizer, prompt: PromptEncoder::of_template(tokenizer, settings.template, system)? };
        let held_out = held_out_questions(context.recipe)?;
        let mut examples = Examples::default();
        let (mut too_long, mut bad, mut examined) = (0, 0, 0);
        for path in files {
            let read = read_demonstrations(path, context.recipe.tasks.on_bad_line.into())?;
            bad += read.bad.len();
            let encoded: Vec<anyhow::Result<Example>> =
                read.demonstrations.par_iter().map(|shown| encoder.encode(shown, path)).collect();
            for (shown, example) in read.demonstrations.iter().zip(encoded) {
                let example = example?;
                if held_out.has(&shown.messages) {
                    examined += 1;
                    continue;
                }
                let length = example.prompt.len() + example.answer.len();
                if length > longest {
                    if settings.on_too_long == OnTooLong::Stop {
                        return Err(Refused::because(format!(
                            "{}, line {}: the demonstration has {length} tokens, expected at most {longest}\n  hint: shorten \
                             it, raise max_length, or leave such out: on_too_long = \"drop\"",
                            path.display(),
                            shown.line
                        )));
                    }
                    too_long += 1;
                    continue;
                }
                let aside = share_of(context.recipe.seed, &shown.messages) < settings.validation_share;
                if aside { examples.validation.push(example) } else { examples.train.push(example) }
            }
        }
        if bad > 0 {
            context.reporter.note(&format!("{} left out: they show no answer", counted(bad, "line", "lines")));
        }
        if examined > 0 {
            let what = counted(examined, "demonstration", "demonstrations");
            context.reporter.note(&format!("{what} left out: they answer held-out tasks, which nothing is trained on"));
        }
        if too_long > 0 {
            let what = counted(too_long, "demonstration", "demonstrations");
            context.reporter.note(&format!("{what} of more than {longest} tokens left out"));
        }
        if examples.train.is_empty() {
            return Err(Refused::because(format!(
                "no demonstration is left to learn from: {too_long} are longer than {longest} tokens, {examined} answer held-out \
                 tasks, {} are set aside for validation",
                examples.validation.len()
            )));
        }
        Ok(examples)
    }
}

/// Encodes demonstrations in a template.
struct Encoder<'a> {
    tokenizer: &'a Tokenizer,
    prompt: PromptEncoder<'a>,
}

impl Encoder<'_> {
    fn encode(&self, shown: &Demonstration, path: &Path) -> anyhow::Result<Example> {
        let place = || format!("{}, line {}", path.display(), shown.line);
        let encoded = self.prompt.demonstrate(shown.messages.clone(), shown.answer.trim(), place);
        let (prompt, mut answer) = encoded.map_err(|error| {
            match error.downcast::<RecipeError>() {
                // What has no room in the template now has none later either.
                Ok(error) => Refused::because(error.to_string()),
                Err(error) => error,
            }
        })?;
        answer.push(self.tokenizer.eos_id());
        Ok(Example { prompt, answer })
    }
}

/// A number in [0, 1) from the seed and the question, so that all answers to one question fall on one side.
fn share_of(seed: u64, messages: &[Message]) -> f64 {
    let mut hash = Sha256::new();
    hash.update(seed.to_le_bytes());
    for message in messages {
        hash.update(&message.role);
        hash.update([0]);
        hash.update(&message.content);
        hash.update([0]);
    }
    let digest = hash.finalize();
    let first = [digest[0], digest[1], digest[2], digest[3]];
    f64::from(u32::from_le_bytes(first)) / 2f64.powi(32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(messages: &[(&str, &str)], answer: &str) -> Demonstration {
        let message = |(role, content): &(&str, &str)| Message { role: (*role).into(), content: (*content).into() };
        Demonstration { messages: messages.iter().map(message).collect(), answer: answer.to_owned(), line: 7 }
    }

    fn tokenizer() -> Tokenizer {
        let text = datasets::template::r1_zero("What is 1 + 1?") + " <think> 1 + 1 = 2 </think> <answer> 2 </answer>";
        Tokenizer::train(std::iter::once(text), 300).unwrap()
    }

    /// The same with this chat template.
    fn with_chat_template(template: &str) -> Tokenizer {
        let folder = tempfile::tempdir().unwrap();
        tokenizer().save(folder.path()).unwrap();
        let path = folder.path().join("tokenizer_config.json");
        let mut config: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        config["chat_template"] = template.into();
        std::fs::write(&path, config.to_string()).unwrap();
        Tokenizer::from_dir(folder.path()).unwrap()
    }

    #[test]
    fn the_answer_follows_the_template_as_a_completion_would() {
        let tokenizer = tokenizer();
        let encoder = Encoder { tokenizer: &tokenizer, prompt: PromptEncoder::new(&tokenizer) };
        let path = Path::new("sft.jsonl");
        let example =
            encoder.encode(&shown(&[("system", "s"), ("user", "1 + 1?")], "<think> a </think>\n"), path).unwrap();
        let text = tokenizer.decode(&[example.prompt.as_slice(), &example.answer].concat());
        assert_eq!(text, datasets::template::r1_zero("1 + 1?") + " <think> a </think>");
        assert_eq!(example.answer.last(), Some(&tokenizer.eos_id()));

        let turns = [("user", "q"), ("assistant", "a"), ("user", "r")];
        let error = encoder.encode(&shown(&turns, "b"), path).unwrap_err().to_string();
        assert!(error.starts_with("sft.jsonl, line 7: a conversation of 3 messages"), "{error}");
    }

    /// In the chat template a demonstration has the system message of the tasks, as a question to the policy has.
    #[test]
    fn a_demonstration_has_the_system_message_of_the_tasks() {
        #[track_caller]
        fn check(messages: &[(&str, &str)], expected: &str) {
            let template = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant: <think>";
            let tokenizer = with_chat_template(template);
            let prompt = PromptEncoder::chat(&tokenizer, "Think.").unwrap();
            let encoder = Encoder { tokenizer: &tokenizer, prompt };
            let example = encoder.encode(&shown(messages, "<think> a </think>"), Path::new("sft.jsonl")).unwrap();
            assert_eq!(tokenizer.decode(&example.prompt), expected);
            // The tag that the template has written is not learnt twice.
            assert_eq!(tokenizer.decode(&example.answer[..example.answer.len() - 1]), " a </think>");
        }
        check(&[("user", "1 + 1?")], "system: Think.\nuser: 1 + 1?\nassistant: <think>");
        check(&[("system", "Own."), ("user", "q")], "system: Own.\nuser: q\nassistant: <think>");
    }

    /// A template may write the tag and the line's end behind it; neither is learnt twice, as in the conversation as a whole.
    #[test]
    fn a_thought_that_the_template_opens_goes_on_where_it_ends() {
        #[track_caller]
        fn check(template_end: &str, answer: &str, expected: &str) {
            let lines = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:";
            let tokenizer = with_chat_template(&format!("{lines}{{{{ '{template_end}' }}}}"));
            let prompt = PromptEncoder::chat(&tokenizer, "").unwrap();
            let encoder = Encoder { tokenizer: &tokenizer, prompt };
            let example = encoder.encode(&shown(&[("user", "1 + 1?")], answer), Path::new("sft.jsonl")).unwrap();
            let whole = tokenizer.encode(&format!("user: 1 + 1?\nassistant:{expected}"));
            assert_eq!([example.prompt, example.answer].concat(), [whole, vec![tokenizer.eos_id()]].concat());
        }
        let trace = "<think>\nOkay, 2.\n</think>\n2";
        check("<think>\\n", trace, trace);
        check("<think>\\n", "<think>\n\nOkay", "<think>\n\nOkay");
        check("<think>\\n", "<think>Okay", "<think>\nOkay");
        check("<think>\\n", "Okay", "<think>\nOkay");
        check("<think>", trace, trace);
        check("", trace, trace);
    }

    /// SentencePiece's tokenizers put a space before a text; neither question nor answer begins one.
    #[test]
    fn pieces_are_those_of_the_whole() {
        let tokenizer = crate::stage::sentence_piece("{% for m in messages %}{{ m.content }}:{% endfor %}");
        let zero = datasets::template::r1_zero("1 + 1?") + " <think> 2";
        for (prompt, begin, whole) in [
            (PromptEncoder::new(&tokenizer), tokenizer.begin_ids(), zero.as_str()),
            (PromptEncoder::chat(&tokenizer, "").unwrap(), &[][..], "1 + 1?:<think> 2"),
        ] {
            let encoder = Encoder { tokenizer: &tokenizer, prompt };
            let example = encoder.encode(&shown(&[("user", "1 + 1?")], "<think> 2"), Path::new("sft.jsonl")).unwrap();
            let expected = [begin, &tokenizer.encode(whole), &[tokenizer.eos_id()]].concat();
            assert_eq!([example.prompt, example.answer].concat(), expected);
        }
    }

    #[test]
    fn a_template_that_fails_is_told_with_the_line() {
        let template = "{% if messages[0].content == 'q' %}{{ raise_exception('no q') }}{% endif %}assistant:";
        let tokenizer = with_chat_template(template);
        let encoder = Encoder { tokenizer: &tokenizer, prompt: PromptEncoder::chat(&tokenizer, "").unwrap() };
        let error = encoder.encode(&shown(&[("user", "q")], "a"), Path::new("sft.jsonl")).unwrap_err();
        let text = format!("{error:#}");
        assert!(text.starts_with("sft.jsonl, line 7: ") && text.contains("no q"), "{text}");
    }

    #[test]
    fn a_question_is_on_one_side_whatever_its_answer() {
        let one = shown(&[("user", "q")], "a");
        let share = share_of(1, &one.messages);
        assert_eq!(share, share_of(1, &shown(&[("user", "q")], "b").messages));
        assert_ne!(share, share_of(2, &one.messages));
        assert!((0.0..1.0).contains(&share));
    }
}
