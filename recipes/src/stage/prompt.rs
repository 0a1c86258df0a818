//! From a task to the tokens that the policy goes on from: R1-Zero's template, or the model's own chat template.

use anyhow::Context;
use datasets::{Message, Task};
use policy::Tokenizer;
use policy::tokenizer::ChatOptions;

use crate::config::{RecipeError, TaskSettings, Template};

/// The day that chat templates are told which ask for one, so that a prompt is the same every day: 26 July 2024, which
/// Llama's own template falls back on.
const DAY: i64 = 1_721_952_000;
/// What opens a thought, which some chat templates have written already.
const OPENING: &str = "<think>";

/// What a chat template is rendered with, where the assistant is to go on.
pub(crate) fn chat_options() -> ChatOptions {
    ChatOptions { add_generation_prompt: true, now: Some(DAY), ..ChatOptions::default() }
}

/// What a completion begins with that stands at the end of its prompt: `<think>`, where a chat template has written that
/// already, else nothing.
pub(crate) fn opening_of(prompt: &str) -> &'static str {
    if prompt.trim_end().ends_with(OPENING) { OPENING } else { "" }
}

/// Encodes questions in a template; the words of R1-Zero's are encoded once.
pub(crate) struct PromptEncoder<'a> {
    tokenizer: &'a Tokenizer,
    head: Vec<u32>,
    /// The system message, where questions are asked in the chat template.
    chat: Option<&'a str>,
    opening: &'static str,
}

impl<'a> PromptEncoder<'a> {
    /// Of R1-Zero's template.
    pub(crate) fn new(tokenizer: &'a Tokenizer) -> Self {
        // What the model's own tokenizer begins every text with, if anything, then the template.
        let head = [tokenizer.begin_ids(), &tokenizer.encode(template_head())].concat();
        PromptEncoder { tokenizer, head, chat: None, opening: "" }
    }

    /// Of the template that a recipe's tasks are asked in.
    pub(crate) fn of_tasks(tokenizer: &'a Tokenizer, settings: &'a TaskSettings) -> anyhow::Result<Self> {
        PromptEncoder::of_template(tokenizer, settings.template, &settings.system_prompt)
    }

    /// Of a template; the chat template gets the system message `system`, unless it is empty.
    pub(crate) fn of_template(tokenizer: &'a Tokenizer, template: Template, system: &'a str) -> anyhow::Result<Self> {
        match template {
            Template::R1Zero => Ok(PromptEncoder::new(tokenizer)),
            Template::Chat => PromptEncoder::chat(tokenizer, system),
        }
    }

    /// Of the model's chat template, with a system message unless it is empty.
    pub(crate) fn chat(tokenizer: &'a Tokenizer, system: &'a str) -> anyhow::Result<Self> {
        let question = Message { role: "user".to_owned(), content: "What is 1 + 1?".to_owned() };
        let text = tokenizer.render_chat(&with_system(system, vec![question]), &chat_options())?;
        Ok(PromptEncoder { chat: Some(system), opening: opening_of(&text), ..PromptEncoder::new(tokenizer) })
    }

    /// What stands at the end of every prompt and belongs to the completion.
    pub(crate) fn opening(&self) -> &'static str {
        self.opening
    }

    /// What stands between a prompt and its answer: a completion begins right after R1-Zero's template, with a space.
    pub(crate) fn before_answer(&self) -> &'static str {
        if self.chat.is_some() { "" } else { " " }
    }

    /// The token ids of a task's prompt.
    ///
    /// # Errors
    /// If the task has earlier turns and the template room for one question, or the chat template fails on it.
    pub(crate) fn ask(&self, task: &Task) -> anyhow::Result<Vec<u32>> {
        self.converse(task.messages(), || format!("the task {} of {} ({:.60})", task.id, task.source, task.prompt))
    }

    /// The token ids of a conversation up to its question. `subject` is what an error calls it.
    ///
    /// # Errors
    /// As [`PromptEncoder::ask`].
    pub(crate) fn converse(&self, messages: Vec<Message>, subject: impl Fn() -> String) -> anyhow::Result<Vec<u32>> {
        let Some(system) = self.chat else {
            return Ok(self.encode(only_question(&messages, "R1-Zero's template", &subject)?));
        };
        self.tokenizer.encode_chat(&with_system(system, messages), &chat_options()).with_context(subject)
    }

    /// The token ids of R1-Zero's template around `question`.
    pub(crate) fn encode(&self, question: &str) -> Vec<u32> {
        let prompt = datasets::template::r1_zero(question);
        let mut ids = self.head.clone();
        ids.extend(self.tokenizer.encode(&prompt[template_head().len()..]));
        ids
    }
}

/// The question of a conversation that has no earlier turns, for a template that has room for nothing else. A system message
/// gives way to what such a template says itself; to drop what was said before would leave another question.
pub(crate) fn only_question<'m>(
    messages: &'m [Message],
    template: &str,
    subject: &dyn Fn() -> String,
) -> Result<&'m str, RecipeError> {
    let mut turns = messages.iter().filter(|message| message.role != "system");
    match (turns.next(), turns.next()) {
        (Some(question), None) => Ok(&question.content),
        (first, _) => {
            let count = first.map_or(0, |_| 2 + turns.count());
            let message = format!("a conversation of {count} messages, but {template} has room for one question");
            Err(RecipeError::new(subject(), message).hint(
                "template = \"chat\" takes the model's chat template, which has room for all of them (of `recipe eval`: \
                 --template chat); or leave such rows out",
            ))
        }
    }
}

/// The conversation that a task is asked as in the chat template; none in a template that has room for the question alone.
pub(super) fn conversation(settings: &TaskSettings, task: &Task) -> Option<Vec<Message>> {
    (settings.template == Template::Chat).then(|| with_system(&settings.system_prompt, task.messages()))
}

/// The messages with a system message before them, unless it is empty or they have one.
fn with_system(system: &str, mut messages: Vec<Message>) -> Vec<Message> {
    if !system.is_empty() && messages.first().is_none_or(|first| first.role != "system") {
        messages.insert(0, Message { role: "system".to_owned(), content: system.to_owned() });
    }
    messages
}

/// The template up to the space before the question, which belongs to the question's first word.
fn template_head() -> &'static str {
    datasets::template::R1_ZERO_PREFIX.trim_end()
}

#[cfg(test)]
mod tests {
    use datasets::Split;
    use rewards::Reference;

    use super::*;

    /// A tokenizer with this chat template.
    fn tokenizer(template: &str) -> Tokenizer {
        let folder = tempfile::tempdir().unwrap();
        let text = "system: Be brief. user: What is 1 + 1? assistant: <think> 2 </think>";
        Tokenizer::train(std::iter::once(text.to_owned()), 300).unwrap().save(folder.path()).unwrap();
        let path = folder.path().join("tokenizer_config.json");
        let mut config: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        config["chat_template"] = template.into();
        std::fs::write(&path, config.to_string()).unwrap();
        Tokenizer::from_dir(folder.path()).unwrap()
    }

    fn task(turns: &[(&str, &str)]) -> Task {
        let reference = Reference::Math { answer: "2".to_owned() };
        let turn = |(role, content): &(&str, &str)| Message { role: (*role).into(), content: (*content).into() };
        Task::new("sums", "1 + 1?".to_owned(), reference, Split::Train, serde_json::Map::new())
            .after(turns.iter().map(turn).collect())
    }

    const LINES: &str = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:";

    #[test]
    fn a_task_is_asked_in_the_chat_template() {
        #[track_caller]
        fn check(system: &str, turns: &[(&str, &str)], expected: &str) {
            let tokenizer = tokenizer(LINES);
            let encoder = PromptEncoder::chat(&tokenizer, system).unwrap();
            assert_eq!(tokenizer.decode(&encoder.ask(&task(turns)).unwrap()), expected);
            assert_eq!(encoder.opening(), "");
        }
        check("", &[], "user: 1 + 1?\nassistant:");
        check("Be brief.", &[], "system: Be brief.\nuser: 1 + 1?\nassistant:");
        check("Be brief.", &[("system", "Be long.")], "system: Be long.\nuser: 1 + 1?\nassistant:");
    }

    #[test]
    fn what_was_said_before_is_never_dropped() {
        let tokenizer = tokenizer(LINES);
        let encoder = PromptEncoder::new(&tokenizer);
        // What a system message asks for, R1-Zero's template asks for itself.
        assert_eq!(encoder.ask(&task(&[("system", "Be brief.")])).unwrap(), encoder.encode("1 + 1?"));
        let earlier = task(&[("system", "Be brief."), ("user", "Hello"), ("assistant", "Hello!")]);
        let error = encoder.ask(&earlier).unwrap_err();
        assert!(error.is::<RecipeError>());
        let text = error.to_string();
        let expected = format!("the task {} of sums (1 + 1?): a conversation of 3 messages", earlier.id);
        assert!(text.starts_with(&expected) && text.contains("template = \"chat\""), "{text}");
        let encoder = PromptEncoder::chat(&tokenizer, "").unwrap();
        let asked = tokenizer.decode(&encoder.ask(&earlier).unwrap());
        assert_eq!(asked, "system: Be brief.\nuser: Hello\nassistant: Hello!\nuser: 1 + 1?\nassistant:");
    }

    #[test]
    fn a_thought_that_the_template_opens_belongs_to_the_answer() {
        let tokenizer = tokenizer(&format!("{LINES} <think>\n"));
        assert_eq!(PromptEncoder::chat(&tokenizer, "").unwrap().opening(), "<think>");
    }

    #[test]
    fn a_template_that_fails_is_told_before_a_task_is_asked() {
        let tokenizer = tokenizer("{{ raise_exception('only two messages') }}");
        let error = PromptEncoder::chat(&tokenizer, "").err().unwrap();
        assert!(format!("{error:#}").contains("only two messages"), "{error:#}");
    }
}
