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

/// What of an answer is left to be written behind a prompt that ends with its opening, and maybe with white space behind that.
fn rest_of<'t>(answer: &'t str, prompt: &str) -> &'t str {
    let Some(mut rest) = answer.strip_prefix(OPENING).filter(|_| !opening_of(prompt).is_empty()) else { return answer };
    for written in prompt[prompt.trim_end().len()..].chars() {
        let Some(shorter) = rest.strip_prefix(written) else { break };
        rest = shorter;
    }
    rest
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
    fn before_answer(&self) -> &'static str {
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
        let text = self.text(messages, &subject)?;
        self.ids(&text).with_context(subject)
    }

    /// The token ids of a conversation up to its question, and those of what follows them if the answer is `answer`: of this
    /// nothing is written twice that the template writes already.
    ///
    /// # Errors
    /// As [`PromptEncoder::ask`].
    pub(crate) fn demonstrate(
        &self,
        messages: Vec<Message>,
        answer: &str,
        subject: impl Fn() -> String,
    ) -> anyhow::Result<(Vec<u32>, Vec<u32>)> {
        let text = self.text(messages, &subject)?;
        let answer = format!("{}{}", self.before_answer(), rest_of(answer, &text));
        Ok((self.ids(&text).with_context(subject)?, self.tokenizer.encode_after(&text, &answer)))
    }

    /// The token ids of R1-Zero's template around `question`.
    pub(crate) fn encode(&self, question: &str) -> Vec<u32> {
        self.ids_behind_head(&datasets::template::r1_zero(question))
    }

    /// The template around a conversation.
    fn text(&self, messages: Vec<Message>, subject: &dyn Fn() -> String) -> anyhow::Result<String> {
        let Some(system) = self.chat else {
            return Ok(datasets::template::r1_zero(only_question(&messages, "R1-Zero's template", subject)?));
        };
        self.tokenizer.render_chat(&with_system(system, messages), &chat_options()).with_context(subject)
    }

    /// The token ids of a text that the template made.
    fn ids(&self, text: &str) -> anyhow::Result<Vec<u32>> {
        if self.chat.is_some() { Ok(self.tokenizer.encode_rendered(text)?) } else { Ok(self.ids_behind_head(text)) }
    }

    fn ids_behind_head(&self, text: &str) -> Vec<u32> {
        let mut ids = self.head.clone();
        let head = template_head();
        ids.extend(self.tokenizer.encode_after(head, &text[head.len()..]));
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
pub(crate) fn with_system(system: &str, mut messages: Vec<Message>) -> Vec<Message> {
    if !system.is_empty() && messages.first().is_none_or(|first| first.role != "system") {
        messages.insert(0, Message { role: "system".to_owned(), content: system.to_owned() });
    }
    messages
}

/// The template up to the space before the question, which belongs to the question's first word.
fn template_head() -> &'static str {
    datasets::template::R1_ZERO_PREFIX.trim_end()
}

/// As SentencePiece's: spaces are letters, one goes before every text, and so does `<s>`; other letters are bytes.
#[cfg(test)]
pub(crate) fn sentence_piece(template: &str) -> Tokenizer {
    use serde_json::json;
    let bytes = (0..256).map(|byte| format!("<0x{byte:02X}>"));
    let tokens = ["<unk>", "<s>", "</s>", "\u{2581}"].map(str::to_owned).into_iter().chain(bytes);
    let vocab: serde_json::Map<String, serde_json::Value> = tokens.zip((0..).map(|id: u32| id.into())).collect();
    let special = |id: u32, content: &str| {
        json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
            "special": true})
    };
    let file = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": [special(0, "<unk>"), special(1, "<s>"), special(2, "</s>")],
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "\u{2581}"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "\u{2581}"}]},
        "pre_tokenizer": null,
        "post_processor": {"type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}},
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "\u{2581}"}, "content": " "},
            {"type": "ByteFallback"}, {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
        "model": {"type": "BPE", "dropout": null, "unk_token": "<unk>", "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true, "vocab": vocab, "merges": []}
    });
    let folder = tempfile::tempdir().expect("a folder can be made");
    std::fs::write(folder.path().join("tokenizer.json"), file.to_string()).expect("it can be written to");
    let config = json!({"eos_token": "</s>", "chat_template": template}).to_string();
    std::fs::write(folder.path().join("tokenizer_config.json"), config).expect("it can be written to");
    Tokenizer::from_dir(folder.path()).expect("it is a tokenizer")
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
