//! From a problem to the tokens that the model reads.

use anyhow::Context;
use datasets::{Message, Task};
use policy::Tokenizer;

use super::subject::Subject;
use crate::config::RecipeError;
use crate::lineage::{Template, trained_in};
use crate::progress::Reporter;
use crate::stage::{PromptEncoder, chat_options, only_question, with_system};
use crate::wording::one_line;

/// How questions are asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asking {
    /// What stands around them.
    pub(crate) template: Template,
    /// The system message before them, in the chat template; none if it is empty.
    pub(crate) system: String,
}

impl Asking {
    /// The one way for all of these models: as it is given or, where it is not, as they were trained. Says what was not given, and
    /// why it is so.
    ///
    /// # Errors
    /// It cannot be known, or would not be the same for all models; a model cannot be asked so.
    pub(crate) fn of_models(
        (template, system): (Option<Template>, Option<&str>),
        subjects: &[Subject],
        tokenizers: &[Tokenizer],
        reporter: &Reporter,
    ) -> anyhow::Result<Asking> {
        let (template, why) = match template {
            Some(template) => (template, None),
            None => Template::of_models(subjects, tokenizers).map(|(template, why)| (template, Some(why)))?,
        };
        for (subject, tokenizer) in subjects.iter().zip(tokenizers) {
            template.check(subject, tokenizer)?;
        }
        if let Some(why) = why {
            let name = template.name();
            reporter.note(&format!("questions are asked in the template {name} ({why}); --template takes another"));
        }
        let system = match system {
            Some(system) => system.to_owned(),
            None if template == Template::Chat => {
                let system = system_of(subjects)?;
                if !system.is_empty() {
                    let shown = one_line(&system, SHOWN);
                    reporter.note(&format!(
                        "they have the system message of the training, `{shown}`; --system gives another, or with \"\" none"
                    ));
                }
                system
            }
            None => String::new(),
        };
        if template != Template::Chat && !system.is_empty() {
            let message = format!("the template {} has no room for a system message", template.name());
            let error = RecipeError::new("--system", message);
            return Err(error.hint("--template chat has, where the model has a chat template").into());
        }
        Ok(Asking { template, system })
    }
}

/// The system message with which these models were trained in the chat template; empty for those from elsewhere.
fn system_of(subjects: &[Subject]) -> anyhow::Result<String> {
    let trained = |subject: &Subject| {
        // Where it is not known how a model was trained, its template has been given.
        let trained = trained_in(&subject.folder, true).ok().flatten();
        trained.filter(|trained| trained.template == Template::Chat).map(|trained| trained.system_prompt)
    };
    let systems: Vec<String> = subjects.iter().filter_map(trained).collect();
    match &systems[..] {
        [first, second] if first != second => {
            let message = "the two models were trained with different system messages; the difference of the models would be \
                           that of the messages as well";
            Err(RecipeError::new("--system", message).hint("choose one for both, or none: --system \"\"").into())
        }
        systems => Ok(systems.first().cloned().unwrap_or_default()),
    }
}

/// How much of a system message is shown, in characters.
const SHOWN: usize = 60;

impl Template {
    /// The one template for all of these models, and why it is that one. Between two models asked in different ones the templates
    /// would differ as well.
    ///
    /// It is the template that they were trained in here, or that the run trained in which began with them; for models from
    /// elsewhere their own chat template, and R1-Zero's for those that have none.
    fn of_models(subjects: &[Subject], tokenizers: &[Tokenizer]) -> anyhow::Result<(Template, String)> {
        let chats = |tokenizer: &Tokenizer| tokenizer.chat_template().is_some();
        let mut trained = Vec::new();
        for (subject, tokenizer) in subjects.iter().zip(tokenizers) {
            trained.extend(trained_in(&subject.folder, chats(tokenizer))?.map(|trained| (subject, trained)));
        }
        let refused = |message: String| {
            let message = format!("{message}; the difference of the models would be that of the templates as well");
            anyhow::Error::from(
                RecipeError::new("--template", message).hint("choose one for both: --template r1-zero, chat or plain"),
            )
        };
        let (template, why) = match &trained[..] {
            [(first, one), (second, other)] if one.template != other.template => {
                let (first, second) = (&first.name, &second.name);
                let (one, other) = (one.template.name(), other.template.name());
                return Err(refused(format!("{first} was trained in {one}, {second} in {other}")));
            }
            [(subject, trained), ..] => (trained.template, trained.known_from.text(&subject.name)),
            [] if tokenizers.iter().all(chats) => (Template::Chat, "the model's own".to_owned()),
            [] if !tokenizers.iter().any(chats) => (Template::R1Zero, "there is no chat template".to_owned()),
            [] => {
                let (with, without): (Vec<_>, Vec<_>) =
                    subjects.iter().zip(tokenizers).partition(|(_, tokenizer)| chats(tokenizer));
                let name = |of: &[(&Subject, &Tokenizer)]| of[0].0.name.clone();
                let (with, without) = (name(&with), name(&without));
                return Err(refused(format!("{with} has a chat template of its own, {without} has none")));
            }
        };
        for (subject, tokenizer) in subjects.iter().zip(tokenizers) {
            if template == Template::Chat && !chats(tokenizer) {
                return Err(refused(format!("{why}, which is chat, and {} has no chat template", subject.name)));
            }
        }
        Ok((template, why))
    }

    /// That the model can be asked so.
    ///
    /// # Errors
    /// It is the chat template, and the model has none.
    pub(crate) fn check(self, subject: &Subject, tokenizer: &Tokenizer) -> Result<(), RecipeError> {
        if self == Template::Chat && tokenizer.chat_template().is_none() {
            let error = RecipeError::new("--template chat", format!("{} has no chat template", subject.name));
            return Err(error.hint("take --template r1-zero or plain"));
        }
        Ok(())
    }

    /// The token ids of a question by itself, in the chat template with the system message `system` unless that is empty. The
    /// plain template goes on from the text as it stands.
    ///
    /// # Errors
    /// If the chat template fails on it.
    pub(crate) fn ask(self, tokenizer: &Tokenizer, question: &str, system: &str) -> anyhow::Result<Vec<u32>> {
        let encoder = match self {
            Template::R1Zero => PromptEncoder::new(tokenizer),
            Template::Chat => PromptEncoder::chat(tokenizer, system)?,
            Template::Plain => return Ok([tokenizer.begin_ids(), &tokenizer.encode(question)].concat()),
        };
        let message = Message { role: "user".to_owned(), content: question.to_owned() };
        encoder.converse(vec![message], || format!("the prompt {question:.60}"))
    }

    /// The token ids of the prompt of each task, in the chat template with the system message `system` unless that is empty.
    pub(super) fn encode(
        self,
        tokenizer: &Tokenizer,
        (system, instruction): (&str, &str),
        tasks: &[Task],
    ) -> anyhow::Result<Vec<Vec<u32>>> {
        match self {
            Template::R1Zero => {
                let encoder = PromptEncoder::new(tokenizer);
                tasks.iter().map(|task| encoder.ask(task)).collect()
            }
            Template::Plain => {
                let ids = |task: &Task| {
                    let (messages, subject) = (task.messages(), || format!("the problem {}", task.id));
                    let question = only_question(&messages, "the template plain", &subject)?;
                    let text = format!("{question}\n{instruction}\n");
                    Ok([tokenizer.begin_ids(), &tokenizer.encode(&text)].concat())
                };
                tasks.iter().map(ids).collect()
            }
            Template::Chat => {
                let options = chat_options();
                let ids = |task: &Task| {
                    let mut messages = task.messages();
                    if let Some(question) = messages.last_mut() {
                        question.content = format!("{}\n{instruction}", question.content);
                    }
                    let ids = tokenizer.encode_chat(&with_system(system, messages), &options);
                    ids.with_context(|| format!("the problem {} cannot be asked: {:.60}", task.id, task.prompt))
                };
                tasks.iter().map(ids).collect()
            }
        }
    }
}

/// The prompt under which the letters of a choice are compared: as the Language Model Evaluation Harness asks MMLU without
/// examples, a line that names the subject, the question, its choices, `Answer:`.
pub(super) fn choice_prompt(task: &Task) -> String {
    let subject = ["subject", "type"].iter().find_map(|key| task.extra.get(*key)?.as_str());
    let about = subject.map_or_else(String::new, |subject| format!(" about {}", subject.replace('_', " ")));
    // The layout's own last line asks for a letter in words; here `Answer:` does.
    let question = task.prompt.strip_suffix("\nAnswer with the letter of the right choice.").unwrap_or(&task.prompt);
    format!("The following are multiple choice questions (with answers){about}.\n\n{question}\nAnswer:")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use datasets::Split;
    use rewards::Reference;

    use super::*;

    /// A model's folder, with or without a chat template; what is in it is not looked at.
    fn model(folder: &Path, name: &str, chat: bool) -> (Subject, Tokenizer) {
        let folder = folder.join(name);
        std::fs::create_dir_all(&folder).unwrap();
        Tokenizer::train(std::iter::once("What is 1 + 1?".to_owned()), 300).unwrap().save(&folder).unwrap();
        if chat {
            let path = folder.join("tokenizer_config.json");
            let mut config: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
            config["chat_template"] = "{% for m in messages %}{{ m.content }}{% endfor %}".into();
            std::fs::write(&path, config.to_string()).unwrap();
        }
        let tokenizer = Tokenizer::from_dir(&folder).unwrap();
        (Subject { name: name.replace('/', "-"), fingerprint: String::new(), folder }, tokenizer)
    }

    #[test]
    fn two_models_are_asked_in_one_template() {
        let folder = tempfile::tempdir().unwrap();
        for (run, template) in [("zero", "r1-zero"), ("chat", "chat")] {
            let run = folder.path().join(run);
            std::fs::create_dir(&run).unwrap();
            let recipe = format!("tasks.template = \"{template}\"\nmodel.path = \"m\"\n[[stage]]\nkind = \"grpo\"\n");
            std::fs::write(run.join("recipe.toml"), recipe).unwrap();
            std::fs::write(run.join("run.json"), "{}").unwrap();
        }
        let choose = |models: &[(&str, bool)]| {
            let models = models.iter().map(|(name, chat)| model(folder.path(), name, *chat));
            let (subjects, tokenizers): (Vec<_>, Vec<_>) = models.unzip();
            Template::of_models(&subjects, &tokenizers).map_err(|error| error.to_string())
        };
        #[track_caller]
        fn check(found: Result<(Template, String), String>, expected: Result<Template, &str>) {
            match (found, expected) {
                (Ok((found, why)), Ok(expected)) => assert!(found == expected && !why.is_empty(), "{found:?}: {why}"),
                (Err(error), Err(part)) => assert!(error.contains(part) && error.contains("--template"), "{error}"),
                (found, expected) => panic!("{found:?}, expected {expected:?}"),
            }
        }
        // A trained policy, its base, and the model that the run began with, each with a chat template.
        check(choose(&[("zero/checkpoints/step-000010", true), ("zero/base", true)]), Ok(Template::R1Zero));
        check(choose(&[("zero/checkpoints/step-000010", true), ("given", true)]), Ok(Template::R1Zero));
        check(choose(&[("chat/base", true), ("chat/export", true)]), Ok(Template::Chat));
        check(choose(&[("given", true), ("other", true)]), Ok(Template::Chat));
        check(choose(&[("plain", false), ("bare", false)]), Ok(Template::R1Zero));
        check(choose(&[("given", true)]), Ok(Template::Chat));
        check(
            choose(&[("zero/base", true), ("chat/base", true)]),
            Err("zero-base was trained in r1-zero, chat-base in chat"),
        );
        check(choose(&[("bare", false), ("given", true)]), Err("given has a chat template of its own, bare has none"));
        check(choose(&[("chat/base", true), ("bare", false)]), Err("bare has no chat template"));
    }

    #[test]
    fn a_model_is_asked_with_the_system_message_of_its_training() {
        let folder = tempfile::tempdir().unwrap();
        for (run, system) in [("one", "Use tags."), ("two", "Be brief.")] {
            let run = folder.path().join(run);
            std::fs::create_dir(&run).unwrap();
            let recipe = format!(
                "tasks = {{ template = \"chat\", system_prompt = \"{system}\" }}\nmodel.path = \"m\"\n[[stage]]\nkind = \"grpo\"\n"
            );
            std::fs::write(run.join("recipe.toml"), recipe).unwrap();
            std::fs::write(run.join("run.json"), "{}").unwrap();
        }
        let ask = |given: (Option<Template>, Option<&str>), models: &[&str]| {
            let models = models.iter().map(|name| model(folder.path(), name, true));
            let (subjects, tokenizers): (Vec<_>, Vec<_>) = models.unzip();
            let reporter = Reporter::new(crate::progress::Verbosity::Silent);
            let asking = Asking::of_models(given, &subjects, &tokenizers, &reporter);
            asking.map(|Asking { template, system }| (template, system)).map_err(|error| error.to_string())
        };
        let chat = |system: &str| Ok((Template::Chat, system.to_owned()));
        assert_eq!(ask((None, None), &["one/base"]), chat("Use tags."));
        assert_eq!(ask((Some(Template::Chat), None), &["one/base", "given"]), chat("Use tags."));
        assert_eq!(ask((None, Some("")), &["one/base", "two/base"]), chat(""));
        assert_eq!(ask((None, None), &["given"]), chat(""));
        assert_eq!(ask((Some(Template::Plain), None), &["one/base"]), Ok((Template::Plain, String::new())));
        let error = ask((None, None), &["one/base", "two/base"]).unwrap_err();
        assert!(error.contains("different system messages"), "{error}");
        let error = ask((Some(Template::R1Zero), Some("Hello")), &["one/base"]).unwrap_err();
        assert!(error.contains("no room for a system message"), "{error}");
    }

    #[test]
    fn what_was_said_before_is_never_dropped() {
        let reference = Reference::Math { answer: "2".to_owned() };
        let turn = |role: &str| Message { role: role.to_owned(), content: "Hello".to_owned() };
        let task = Task::new("mine", "1 + 1?".to_owned(), reference, Split::Held, serde_json::Map::new());
        let tokenizer = Tokenizer::train(std::iter::once("What is 1 + 1?".to_owned()), 300).unwrap();
        for template in [Template::R1Zero, Template::Plain] {
            assert!(template.encode(&tokenizer, ("", ""), std::slice::from_ref(&task)).is_ok());
            let later = task.clone().after(vec![turn("user"), turn("assistant")]);
            let error = template.encode(&tokenizer, ("", ""), &[later]).unwrap_err().to_string();
            assert!(error.contains("a conversation of 3 messages") && error.contains("--template chat"), "{error}");
        }
    }

    /// The harness (EleutherAI's lm-evaluation-harness, lm_eval/tasks/mmlu/default) puts `description` before `doc_to_text`.
    #[test]
    fn a_choice_is_asked_as_the_harness_asks_it() {
        let description = "The following are multiple choice questions (with answers) about college biology.\n\n";
        let doc_to_text = "What is it?\nA. this\nB. that\nC. both\nD. neither\nAnswer:";
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("mmlu.jsonl");
        #[track_caller]
        fn check(file: &Path, subject: &str, expected: &str) {
            let row = format!(
                "{{\"question\": \" What is it?\", {subject}\"choices\": [\"this\", \"that\", \"both\", \"neither\"], \
                 \"answer\": 1}}\n"
            );
            std::fs::write(file, row).unwrap();
            let task = datasets::source::read(file, datasets::OnBadLine::Stop).unwrap().tasks.remove(0);
            assert_eq!(choice_prompt(&task), expected);
        }
        let expected = format!("{description}{doc_to_text}");
        check(&file, "\"subject\": \"college_biology\", ", &expected);
        check(&file, "\"type\": \"college biology\", ", &expected);
        let without = format!("The following are multiple choice questions (with answers).\n\n{doc_to_text}");
        check(&file, "", &without);
    }
}
