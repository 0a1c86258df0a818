//! `recipe model score`: log-probabilities of texts under a model, as JSON Lines.
//!
//! All rows are read and checked before the first is scored, so that a bad one is known at once, with its line.

use std::fmt::Write;
use std::path::Path;

use anyhow::Context;
use policy::model::batch::BatchBuilder;
use policy::tokenizer::ChatOptions;
use policy::{Place, Policy, PolicyError, Tokenizer, Track};
use serde::Serialize;
use serde_json::Value;

use super::super::Wrong;
use crate::model::load_policy;
use crate::stage::chat_options;

/// Tokens that go through the model at a time, where rows are shorter.
const BATCH: usize = 2048;
/// Bad rows named in one message.
const NAMED: usize = 10;

/// What a row has in place of token ids.
enum Words<'r> {
    Text(&'r str),
    Messages(&'r [Value]),
}

/// A row to be scored.
#[derive(Debug, PartialEq)]
struct Row {
    line: usize,
    token_ids: Vec<u32>,
}

/// What is written for a row.
#[derive(Serialize)]
struct Scored<'a> {
    line: usize,
    token_ids: &'a [u32],
    /// In nats; none for the first token.
    logprobs: Vec<Option<f32>>,
    /// Over all tokens but the first; the largest number where it is larger than any.
    perplexity: Option<f64>,
}

/// A line for each row of the file, under the model in this folder.
pub(super) fn score(model: &Path, file: &Path, place: &Place) -> anyhow::Result<String> {
    let text = match std::fs::read_to_string(file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(Wrong(format!("{}: there is no such file", file.display())).into());
        }
        text => text.with_context(|| format!("cannot read {}", file.display()))?,
    };
    let tokenizer = Tokenizer::from_dir(model);
    let policy = load_policy(model, place)?;
    // Nothing is asked here: a conversation ends with what was said last.
    let options = ChatOptions { add_generation_prompt: false, ..chat_options() };
    // A model without a tokenizer can still score token ids.
    let encode = |words: Words<'_>| match (&tokenizer, words) {
        (Ok(tokenizer), Words::Text(text)) => Ok([tokenizer.begin_ids(), &tokenizer.encode(text)].concat()),
        (Ok(tokenizer), Words::Messages(messages)) => {
            tokenizer.encode_chat(messages, &options).map_err(|error| error.to_string())
        }
        (Err(error), Words::Text(_)) => Err(format!("`text` needs a tokenizer: {error}")),
        (Err(error), Words::Messages(_)) => Err(format!("`messages` needs a tokenizer: {error}")),
    };
    let config = policy.config();
    let (rows, bad) = read_rows(&text, config.vocab_size, config.max_position_embeddings, encode);
    if !bad.is_empty() {
        let mut message =
            format!("{}: {} of {} rows cannot be scored", file.display(), bad.len(), bad.len() + rows.len());
        for (line, why) in bad.iter().take(NAMED) {
            let _ = write!(message, "\n  line {line}: {why}");
        }
        if bad.len() > NAMED {
            let _ = write!(message, "\n  and {} more", bad.len() - NAMED);
        }
        return Err(Wrong(message).into());
    }
    if rows.is_empty() {
        return Err(Wrong(format!("{} holds no rows", file.display())).into());
    }
    let mut out = String::new();
    for batch in batches(&rows) {
        write_scores(&policy, batch, &mut out).with_context(|| format!("cannot score {}", file.display()))?;
    }
    Ok(out)
}

/// The rows of a file, and those that cannot be used, each with its line and the reason. Empty lines are passed over.
fn read_rows(
    text: &str,
    vocabulary: usize,
    positions: usize,
    encode: impl Fn(Words<'_>) -> Result<Vec<u32>, String>,
) -> (Vec<Row>, Vec<(usize, String)>) {
    let (mut rows, mut bad) = (Vec::new(), Vec::new());
    for (index, text) in text.lines().enumerate().filter(|(_, text)| !text.trim().is_empty()) {
        let line = index + 1;
        match read_row(text, vocabulary, positions, &encode) {
            Ok(token_ids) => rows.push(Row { line, token_ids }),
            Err(why) => bad.push((line, why)),
        }
    }
    (rows, bad)
}

fn read_row(
    text: &str,
    vocabulary: usize,
    positions: usize,
    encode: impl Fn(Words<'_>) -> Result<Vec<u32>, String>,
) -> Result<Vec<u32>, String> {
    let row: Value = serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))?;
    let given: Vec<(&str, &Value)> =
        ["text", "messages", "token_ids"].into_iter().filter_map(|key| Some((key, row.get(key)?))).collect();
    // A column that another row has.
    let given: Vec<(&str, &Value)> = given.into_iter().filter(|(_, value)| !value.is_null()).collect();
    let ids: Vec<u32> = match given[..] {
        [("text", Value::String(text))] => encode(Words::Text(text))?,
        [("messages", Value::Array(messages))] => {
            if let Some(other) = messages.iter().find(|message| !is_message(message)) {
                return Err(format!("`messages` holds {other}, expected objects with `role` and `content`"));
            }
            encode(Words::Messages(messages))?
        }
        [("token_ids", Value::Array(ids))] => ids
            .iter()
            .map(|id| id.as_u64().and_then(|id| u32::try_from(id).ok()).ok_or(id))
            .collect::<Result<_, _>>()
            .map_err(|id| format!("`token_ids` holds {id}, expected integers of 0 or more"))?,
        [] => return Err("neither `text` nor `messages` nor `token_ids`".to_owned()),
        [("text", other)] => return Err(format!("`text` is {other}, expected a string")),
        [(key, other)] => return Err(format!("`{key}` is {other}, expected a list")),
        [(one, _), (other, _), ..] => return Err(format!("both `{one}` and `{other}`, expected one of them")),
    };
    if ids.is_empty() {
        return Err("no tokens".to_owned());
    }
    if ids.len() > positions {
        return Err(format!("{} tokens; the model has {positions} positions", ids.len()));
    }
    match ids.iter().find(|id| **id as usize >= vocabulary) {
        Some(id) => Err(format!("token {id} lies outside the vocabulary of {vocabulary}")),
        None => Ok(ids),
    }
}

/// Whether a template can know who says what. What is said may be a list of parts, and may be missing beside calls of tools.
fn is_message(message: &Value) -> bool {
    let said = match &message["content"] {
        Value::String(_) | Value::Array(_) => true,
        Value::Null => message["tool_calls"].is_array(),
        _ => false,
    };
    message["role"].is_string() && said
}

/// Neighbouring rows, so many that they fill a batch.
fn batches(rows: &[Row]) -> Vec<&[Row]> {
    let mut batches = Vec::new();
    let (mut start, mut tokens) = (0, 0);
    for (index, row) in rows.iter().enumerate() {
        if index > start && tokens + row.token_ids.len() > BATCH {
            batches.push(&rows[start..index]);
            (start, tokens) = (index, 0);
        }
        tokens += row.token_ids.len();
    }
    if start < rows.len() {
        batches.push(&rows[start..]);
    }
    batches
}

fn write_scores(policy: &Policy, rows: &[Row], out: &mut String) -> anyhow::Result<()> {
    let mut builder = BatchBuilder::default();
    for row in rows {
        let first = builder.context(&row.token_ids[..1], None)?;
        if row.token_ids.len() > 1 {
            builder.completion(first, &row.token_ids[1..])?;
        }
    }
    let mut logprobs = Vec::new();
    if builder.targets() > 0 {
        logprobs = policy.forward(&builder.build()?, 1.0, Track::Nothing)?.logprobs;
    }
    if logprobs.iter().any(|logprob| !logprob.is_finite()) {
        return Err(PolicyError::NotFinite { operation: "score" }.into());
    }
    let mut rest = logprobs.as_slice();
    for Row { line, token_ids } in rows {
        let (own, after) = rest.split_at(token_ids.len() - 1);
        rest = after;
        let perplexity = perplexity(own);
        let logprobs = std::iter::once(None).chain(own.iter().copied().map(Some)).collect();
        out.push_str(&serde_json::to_string(&Scored { line: *line, token_ids, logprobs, perplexity })?);
        out.push('\n');
    }
    Ok(())
}

/// None where there is no token to be judged. JSON has no number for what is larger than any.
fn perplexity(logprobs: &[f32]) -> Option<f64> {
    let total: f64 = logprobs.iter().map(|logprob| f64::from(*logprob)).sum();
    (!logprobs.is_empty()).then(|| (-total / logprobs.len() as f64).exp().min(f64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Vec<Row>, Vec<(usize, String)>) {
        read_rows(text, 100, 4, |words| {
            let Words::Text(text) = words else { return Err("no template".to_owned()) };
            Ok(text.bytes().map(|byte| u32::from(byte - b'a')).collect())
        })
    }

    #[test]
    fn a_perplexity_is_a_number() {
        assert_eq!(perplexity(&[]), None);
        assert_eq!(perplexity(&[0.0, 0.0]), Some(1.0));
        assert_eq!(perplexity(&[-1000.0]), Some(f64::MAX));
    }

    #[test]
    fn rows_have_text_or_token_ids() {
        let ids = "{\"token_ids\": [5, 6], \"other\": 1, \"text\": null, \"messages\": null}";
        let (rows, bad) = read(&format!("{{\"text\": \"abc\"}}\n\n{ids}\n"));
        assert_eq!(bad, []);
        assert_eq!(rows, [Row { line: 1, token_ids: vec![0, 1, 2] }, Row { line: 3, token_ids: vec![5, 6] }]);
    }

    #[test]
    fn bad_rows_are_named_with_their_line() {
        fn check(text: &str, expected: &str) {
            let (rows, bad) = read(&format!("{{\"text\": \"a\"}}\n{text}\n"));
            assert_eq!(rows.len(), 1);
            let [(2, why)] = bad.as_slice() else { panic!("{text}: {bad:?}") };
            assert!(why.contains(expected), "{why}");
        }
        check("{\"text\":", "not JSON");
        check("[1]", "neither `text` nor `messages` nor `token_ids`");
        check("{\"messages\": \"hello\"}", "`messages` is \"hello\", expected a list");
        check("{\"messages\": []}", "no template");
        let turn = |rest: &str| format!("{{\"messages\": [{{\"role\": \"user\", \"content\": \"a\"}}, {rest}]}}");
        check(&turn("{\"role\": \"user\", \"content\": [{\"type\": \"text\"}]}"), "no template");
        check(&turn("{\"role\": \"assistant\", \"tool_calls\": []}"), "no template");
        for other in [
            "\"x\"",
            "null",
            "{\"role\": \"user\", \"contents\": \"b\"}",
            "{\"role\": \"user\", \"content\": 3}",
            "{\"content\": \"b\"}",
        ] {
            check(&turn(other), "expected objects with `role` and `content`");
        }
        check("{\"text\": null}", "neither `text` nor `messages` nor `token_ids`");
        check("{\"text\": \"a\", \"messages\": []}", "both `text` and `messages`");
        check("{\"text\": 3}", "`text` is 3, expected a string");
        check("{\"token_ids\": \"3\"}", "expected a list");
        check("{\"token_ids\": [3, -1]}", "`token_ids` holds -1");
        check("{\"token_ids\": [3, 100]}", "token 100 lies outside the vocabulary of 100");
        check("{\"token_ids\": []}", "no tokens");
        check("{\"text\": \"\"}", "no tokens");
        check("{\"text\": \"abcde\"}", "5 tokens; the model has 4 positions");
        check("{\"text\": \"a\", \"token_ids\": [1]}", "expected one of them");
    }

    #[test]
    fn batches_hold_every_row_once() {
        let rows: Vec<Row> = [1500, 500, 100, 4000, 3].map(|n| Row { line: 0, token_ids: vec![0; n] }).into();
        let sizes: Vec<usize> = batches(&rows).into_iter().map(<[Row]>::len).collect();
        assert_eq!(sizes, [2, 1, 1, 1]);
        assert!(batches(&[]).is_empty());
    }

    #[test]
    fn a_file_is_scored_in_order_and_the_first_token_has_no_score() {
        let folder = tempfile::tempdir().unwrap();
        Policy::new(policy::ModelConfig::tiny(64), 1).unwrap().save(folder.path()).unwrap();
        let file = folder.path().join("rows.jsonl");
        std::fs::write(&file, "{\"token_ids\": [3, 4, 5]}\n{\"token_ids\": [9]}\n{\"token_ids\": [3, 4]}\n").unwrap();
        let out = score(folder.path(), &file, &Place::Cpu).unwrap();
        let rows: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(rows.len(), 3);
        assert_eq!((&rows[0]["line"], &rows[2]["line"]), (&Value::from(1), &Value::from(3)));
        let logprob = |row: usize, at: usize| rows[row]["logprobs"][at].as_f64().unwrap();
        assert!(rows[0]["logprobs"][0].is_null() && rows[1]["perplexity"].is_null());
        assert!((logprob(0, 1) - logprob(2, 1)).abs() < 1e-6, "the same prefix");
        let expected = (-(logprob(0, 1) + logprob(0, 2)) / 2.0).exp();
        assert!((rows[0]["perplexity"].as_f64().unwrap() - expected).abs() < 1e-6 * expected);

        // Special tokens are tokens in a conversation and nowhere else.
        let template = "{% for m in messages %}{{ m.content }}<|eos|>{% endfor %}";
        let tokenizer = Tokenizer::train(std::iter::once("a b".to_owned()), 267).unwrap();
        tokenizer.save(folder.path()).unwrap();
        Policy::new(policy::ModelConfig::tiny(267), 1).unwrap().save(folder.path()).unwrap();
        std::fs::write(folder.path().join("chat_template.jinja"), template).unwrap();
        let messages = "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}]}";
        std::fs::write(&file, format!("{messages}\n{{\"text\": \"a<|eos|>\"}}\n")).unwrap();
        let out = score(folder.path(), &file, &Place::Cpu).unwrap();
        let ids = |line: &str| serde_json::from_str::<Value>(line).unwrap()["token_ids"].clone();
        let ids: Vec<Value> = out.lines().map(ids).collect();
        assert_eq!(ids[0], serde_json::json!([tokenizer.encode("a")[0], tokenizer.eos_id()]));
        assert_eq!(ids[1], serde_json::json!(tokenizer.encode("a<|eos|>")));

        std::fs::write(&file, "\n").unwrap();
        let error = score(folder.path(), &file, &Place::Cpu).unwrap_err();
        assert!(error.is::<Wrong>() && error.to_string().ends_with("rows.jsonl holds no rows"), "{error}");

        // A text needs a tokenizer, and there is none here.
        std::fs::remove_file(folder.path().join("tokenizer.json")).unwrap();
        std::fs::write(&file, "{\"text\": \"a\"}\n").unwrap();
        let message = format!("{:#}", score(folder.path(), &file, &Place::Cpu).unwrap_err());
        assert!(
            message.contains("line 1: `text` needs a tokenizer") && message.contains("tokenizer.json"),
            "{message}"
        );
    }
}
