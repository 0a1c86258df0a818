//! Chat templates: from messages to the text that a model was trained on, as transformers' `apply_chat_template`.
//!
//! A template is Jinja, rendered with what transformers offers there: blocks trimmed, `break` and `continue`, the methods
//! of Python's strings, lists and dicts, `tojson`, `raise_exception`, and `strftime_now`, which answers with the date that
//! the caller gives: nothing here reads a clock. Python's `%` on strings is missing (the filter `format` is not), so a template
//! that uses it is refused. Rendering is bounded in steps, so that a template that loops ends; in memory it is not, so a template
//! is to be trusted as much as the model that it comes with.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Serde, Value, from_args};
use minijinja::{Environment, Error, ErrorKind, State};
use serde::{Deserialize, Serialize};

use super::{Tokenizer, tokenizer_error};
use crate::error::{PolicyError, Result};

/// Steps that rendering may take; long conversations need some hundred for each message.
const FUEL: u64 = 50_000_000;

/// One turn of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks: `system`, `user`, `assistant`.
    pub role: String,
    /// What is said.
    pub content: String,
}

/// What a template is rendered with besides the messages.
#[derive(Clone, Debug, Default)]
pub struct ChatOptions {
    /// Whether the text ends where the assistant is to begin.
    pub add_generation_prompt: bool,
    /// Seconds since 1970 in universal time, for templates that state the date.
    pub now: Option<i64>,
    /// Further variables that a template knows, such as `enable_thinking`, or `tools` and `documents`, which are none where
    /// they are not given.
    pub variables: BTreeMap<String, serde_json::Value>,
}

impl Tokenizer {
    /// The chat template, if the model has one.
    #[must_use]
    pub fn chat_template(&self) -> Option<&str> {
        match self.config.get("chat_template")? {
            serde_json::Value::String(template) => Some(template),
            // Several by name, of which transformers takes this one unless told otherwise.
            serde_json::Value::Array(named) => named
                .iter()
                .find(|entry| entry.get("name").and_then(serde_json::Value::as_str) == Some("default"))?
                .get("template")?
                .as_str(),
            _ => None,
        }
    }

    /// The text of a conversation. `messages` is a list of [`Message`]s, or of what else a template reads in their place.
    ///
    /// # Errors
    /// There is no template, it is malformed, or it refuses the messages; the message has its line.
    pub fn render_chat<M: Serialize>(&self, messages: &[M], options: &ChatOptions) -> Result<String> {
        let Some(template) = self.chat_template() else {
            return Err(refuse("this tokenizer has none"));
        };
        let mut environment = environment(options.now).map_err(|error| refuse(&explain(&error)))?;
        // As Jinja reads a template, whatever its lines end with.
        let template = without_marks(&template.replace("\r\n", "\n").replace('\r', "\n"));
        environment.add_template("chat_template", &template).map_err(|error| refuse(&explain(&error)))?;
        let mut variables: BTreeMap<String, Value> =
            options.variables.iter().map(|(name, value)| (name.clone(), Value::from(Serde(value)))).collect();
        // transformers passes these two to every template, so templates ask whether they are none, not whether they are there.
        for name in ["tools", "documents"] {
            variables.entry(name.into()).or_insert_with(|| ().into());
        }
        variables.insert("messages".into(), Value::from(Serde(messages)));
        variables.insert("add_generation_prompt".into(), options.add_generation_prompt.into());
        for role in ["bos", "eos", "pad", "unk"] {
            let key = format!("{role}_token");
            if let Some(spelled) = self.config.get(&key).and_then(super::files::spelling) {
                variables.entry(key).or_insert_with(|| spelled.into());
            }
        }
        let template = environment.get_template("chat_template").map_err(|error| refuse(&explain(&error)))?;
        template.render(variables).map_err(|error| refuse(&explain(&error)))
    }

    /// The ids of a conversation; here, unlike in [`encode`](Self::encode), what spells a special token becomes one.
    ///
    /// # Errors
    /// As [`render_chat`](Self::render_chat).
    pub fn encode_chat<M: Serialize>(&self, messages: &[M], options: &ChatOptions) -> Result<Vec<u32>> {
        self.encode_rendered(&self.render_chat(messages, options)?)
    }

    /// The ids of a text that [`render_chat`](Self::render_chat) made: what spells a special token becomes one.
    ///
    /// # Errors
    /// The tokenizer cannot encode the text.
    pub fn encode_rendered(&self, text: &str) -> Result<Vec<u32>> {
        let encoding = self.with_special().encode_fast(text, false);
        Ok(encoding.map_err(|error| refuse(&error.to_string()))?.get_ids().to_vec())
    }
}

/// The template without `generation` and `endgeneration`, by which transformers marks what the assistant says. They put nothing
/// into the text; in their place stand tags that do as little and trim white space alike.
fn without_marks(template: &str) -> String {
    let mut text = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, tag)) = rest.split_once("{%")
        && let Some((tag, after)) = tag.split_once("%}")
    {
        let name = tag.trim_matches(|c: char| c.is_whitespace() || c == '-' || c == '+');
        let plain = match name {
            "generation" => tag.replacen(name, "if true", 1),
            "endgeneration" => tag.replacen(name, "endif", 1),
            _ => tag.to_owned(),
        };
        text.extend([before, "{%", &plain, "%}"]);
        rest = after;
    }
    text + rest
}

fn refuse(message: &str) -> PolicyError {
    tokenizer_error("render a chat template", "tokenizer_config.json", message)
}

/// The error with its line and what caused it.
fn explain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

fn environment(now: Option<i64>) -> Result<Environment<'static>, Error> {
    let mut environment = Environment::new();
    environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    environment.set_fuel(Some(FUEL));
    environment.set_unknown_method_callback(method);
    environment.add_filter("tojson", to_json);
    environment.add_function("raise_exception", |message: String| -> Result<Value, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, message))
    });
    environment.add_function("strftime_now", move |format: &str| strftime(now, format));
    Ok(environment)
}

fn strftime(now: Option<i64>, format: &str) -> Result<String, Error> {
    let refuse = |message: &str| Error::new(ErrorKind::InvalidOperation, message.to_owned());
    let now: DateTime<Utc> = now
        .and_then(|seconds| DateTime::from_timestamp(seconds, 0))
        .ok_or_else(|| refuse("the template asks for the date, and none was given"))?;
    let mut text = String::new();
    match std::fmt::Write::write_fmt(&mut text, format_args!("{}", now.format(format))) {
        Ok(()) => Ok(text),
        Err(_) => Err(refuse(&format!("unknown date format {format:?}"))),
    }
}

/// A method of Python's strings, lists or dicts, where a value has none of this name.
fn method(state: &mut State<'_, '_>, value: &Value, name: &str, arguments: &[Value]) -> Result<Value, Error> {
    match value.as_str().map(|text| method_of_text(text, name, arguments)).transpose()?.flatten() {
        Some(result) => Ok(result),
        None => minijinja_contrib::pycompat::unknown_method_callback(state, value, name, arguments),
    }
}

/// Methods of Python's strings that minijinja's set of them lacks; `None` for any other. `rsplit` needs a separator here.
fn method_of_text(text: &str, name: &str, arguments: &[Value]) -> Result<Option<Value>, Error> {
    let one = || from_args::<(&str,)>(arguments).map(|(one,)| one);
    let check = |separator: &str| match separator {
        "" => Err(Error::new(ErrorKind::InvalidOperation, format!("{name}: empty separator"))),
        _ => Ok(()),
    };
    let parts = match name {
        "removeprefix" => return Ok(Some(text.strip_prefix(one()?).unwrap_or(text).into())),
        "removesuffix" => return Ok(Some(text.strip_suffix(one()?).unwrap_or(text).into())),
        "partition" => {
            let at = one()?;
            check(at)?;
            text.split_once(at).map_or(vec![text, "", ""], |(before, after)| vec![before, at, after])
        }
        "rpartition" => {
            let at = one()?;
            check(at)?;
            text.rsplit_once(at).map_or(vec!["", "", text], |(before, after)| vec![before, at, after])
        }
        "rsplit" => {
            let (at, most): (&str, Option<i64>) = from_args(arguments)?;
            check(at)?;
            // As in Python, a negative number is no limit.
            let most = most.and_then(|most| usize::try_from(most).ok()).unwrap_or(text.len());
            let mut parts: Vec<&str> = text.rsplitn(most + 1, at).collect();
            parts.reverse();
            parts
        }
        _ => return Ok(None),
    };
    Ok(Some(parts.into_iter().map(Value::from).collect()))
}

/// Python's `json.dumps(value, ensure_ascii=False)`: a space after commas and colons, nothing escaped for HTML.
fn to_json(value: Value, options: Kwargs) -> Result<String, Error> {
    let indent: Option<usize> = options.get("indent")?;
    // transformers' own default, which templates sometimes spell out.
    if options.get::<Option<bool>>("ensure_ascii")? == Some(true) {
        return Err(Error::new(ErrorKind::InvalidOperation, "tojson: only ensure_ascii=False is implemented"));
    }
    options.assert_all_used()?;
    let mut bytes = Vec::new();
    let done = match indent {
        Some(width) => {
            let indent = " ".repeat(width.min(16));
            let format = serde_json::ser::PrettyFormatter::with_indent(indent.as_bytes());
            value.serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, format))
        }
        None => value.serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, Spaced)),
    };
    done.map_err(|error| Error::new(ErrorKind::BadSerialization, error.to_string()))?;
    String::from_utf8(bytes).map_err(|error| Error::new(ErrorKind::BadSerialization, error.to_string()))
}

/// JSON on one line, with Python's spaces.
struct Spaced;

impl serde_json::ser::Formatter for Spaced {
    fn begin_array_value<W: ?Sized + std::io::Write>(&mut self, out: &mut W, first: bool) -> std::io::Result<()> {
        if first { Ok(()) } else { out.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + std::io::Write>(&mut self, out: &mut W, first: bool) -> std::io::Result<()> {
        if first { Ok(()) } else { out.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + std::io::Write>(&mut self, out: &mut W) -> std::io::Result<()> {
        out.write_all(b": ")
    }
}
