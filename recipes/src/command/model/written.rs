//! What `recipe model sample` writes of completions.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use policy::{Completion, FinishReason, Listener, Partial};
use serde::Serialize;

use super::sample::SHOWN;
use crate::progress::Phase;
use crate::wording::{counted, one_line};

/// An answer, as `--json` writes it.
#[derive(Serialize)]
struct Answer<'a> {
    prompt: &'a str,
    sample: u32,
    text: String,
    token_ids: &'a [u32],
    logprobs: &'a [f32],
    finish_reason: &'static str,
}

/// How an answer is printed.
#[derive(Clone, Copy, PartialEq)]
enum Form {
    Json,
    /// Under a line that says what it answers: one of several.
    Headed,
    Bare,
}

/// What tokens answer to the prompt at a place: an answer's first, or those that go on from the tokens in between.
pub(super) type Decode<'a> = dyn Fn(usize, &[u32], &[u32]) -> String + 'a;

/// Writes the answers in their order, each as soon as those before it are there, and a single one as it comes.
pub(super) struct Written<'a> {
    prompts: &'a [String],
    /// The first prompt's number in the random numbers.
    first: u32,
    /// Answers to each prompt.
    samples: u32,
    form: Form,
    text: &'a Decode<'a>,
    write: &'a mut dyn FnMut(&str) -> anyhow::Result<ControlFlow<()>>,
    /// Counts the answers.
    pub(super) phase: Option<Phase>,
    /// What is there before it can be written, and the task and sample that come next.
    waiting: BTreeMap<(u32, u32), Completion>,
    next: (u32, u32),
    /// Of the answer that is under way, what was written.
    shown: String,
    /// Space behind it, which is written once something follows.
    space: String,
    /// The tokens of which all that is, up to the second number; those from the first on were the last to be.
    settled: (usize, usize),
    /// How writing went.
    pub(super) result: anyhow::Result<ControlFlow<()>>,
}

impl<'a> Written<'a> {
    pub(super) fn new(
        prompts: &'a [String],
        (first, samples): (u32, u32),
        json: bool,
        text: &'a Decode<'a>,
        write: &'a mut dyn FnMut(&str) -> anyhow::Result<ControlFlow<()>>,
    ) -> Self {
        let form = match json {
            true => Form::Json,
            false if prompts.len() > 1 || samples > 1 => Form::Headed,
            false => Form::Bare,
        };
        let result = Ok(ControlFlow::Continue(()));
        let (waiting, shown, space, settled) = (BTreeMap::new(), String::new(), String::new(), (0, 0));
        let (phase, next) = (None, (first, 0));
        Written { prompts, first, samples, form, text, write, phase, waiting, next, shown, space, settled, result }
    }

    /// Writes, and says whether there is a point in going on.
    fn put(&mut self, text: &str) -> ControlFlow<()> {
        self.result = (self.write)(text);
        if let Ok(ControlFlow::Continue(())) = self.result { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    }
}

impl Listener for Written<'_> {
    fn follows(&self) -> bool {
        self.form == Form::Bare
    }

    fn on_tokens(&mut self, partial: Partial<'_>) -> ControlFlow<()> {
        // Only the new tokens are decoded, behind those that were the last to be: what one spells depends on its neighbours.
        let ((from, to), ids) = (self.settled, partial.token_ids);
        let more = (self.text)((partial.task - self.first) as usize, &ids[from..to], &ids[to..]);
        // A character of which bytes are missing may still become another.
        if more.is_empty() || more.ends_with(char::REPLACEMENT_CHARACTER) {
            return ControlFlow::Continue(());
        }
        self.settled = (to, ids.len());
        // Space at the end of an answer is never written.
        let more = std::mem::take(&mut self.space) + &more;
        let shown = more.trim_end();
        more[shown.len()..].clone_into(&mut self.space);
        self.shown.push_str(shown);
        if shown.is_empty() { ControlFlow::Continue(()) } else { self.put(shown) }
    }

    fn on_finish(&mut self, completion: Completion) -> ControlFlow<()> {
        if let Some(phase) = &self.phase {
            phase.inc(1);
        }
        self.waiting.insert((completion.task, completion.sample), completion);
        while let Some(completion) = self.waiting.remove(&self.next) {
            let (task, sample) = self.next;
            self.next = if sample + 1 < self.samples { (task, sample + 1) } else { (task + 1, 0) };
            let place = (task - self.first) as usize;
            let text = (self.text)(place, &[], &completion.token_ids);
            let told = told(&self.prompts[place], &completion, text, self.form);
            let shown = std::mem::take(&mut self.shown);
            (self.space, self.settled) = (String::new(), (0, 0));
            match told.strip_prefix(shown.as_str()) {
                Some(rest) => self.put(rest)?,
                // A tokenizer may write tokens otherwise once others follow.
                None => self.put(&format!("\n{told}"))?,
            }
        }
        ControlFlow::Continue(())
    }
}

/// What is printed of an answer.
fn told(prompt: &str, completion: &Completion, text: String, form: Form) -> String {
    let finish_reason = match completion.finish_reason {
        FinishReason::Stop => "stop",
        FinishReason::Length => "length",
    };
    let tokens = || counted(completion.token_ids.len(), "token", "tokens");
    let cut_off = completion.finish_reason == FinishReason::Length;
    let shown = text.trim_end();
    match form {
        Form::Json => {
            let Completion { sample, token_ids, logprobs, .. } = completion;
            let answer = Answer { prompt, sample: *sample, text, token_ids, logprobs, finish_reason };
            serde_json::to_string(&answer).expect("texts and numbers are JSON") + "\n"
        }
        Form::Headed => {
            let (prompt, end) = (one_line(prompt, SHOWN), if cut_off { ", cut off" } else { "" });
            format!("--- {prompt}, answer {} ({}{end})\n{shown}\n", completion.sample + 1, tokens())
        }
        Form::Bare if cut_off => format!("{shown} [cut off after {}]\n", tokens()),
        Form::Bare => format!("{shown}\n"),
    }
}

#[cfg(test)]
mod tests {
    use policy::Tokenizer;

    use super::*;

    fn completion(token_ids: Vec<u32>, finish_reason: FinishReason) -> Completion {
        Completion {
            task: 0,
            sample: 1,
            logprobs: vec![-0.5; token_ids.len()],
            token_ids,
            prompt_choices: Default::default(),
            choices: Default::default(),
            finish_reason,
        }
    }

    #[test]
    fn an_answer_says_where_it_was_cut_off() {
        #[track_caller]
        fn check(finish_reason: FinishReason, form: Form, expected: &str) {
            let completion = completion(vec![5, 6], finish_reason);
            assert_eq!(told("1 +\n1?", &completion, " 2 \n".to_owned(), form), expected);
        }
        check(FinishReason::Stop, Form::Bare, " 2\n");
        check(FinishReason::Length, Form::Bare, " 2 [cut off after 2 tokens]\n");
        check(FinishReason::Stop, Form::Headed, "--- 1 + 1?, answer 2 (2 tokens)\n 2\n");
        check(FinishReason::Length, Form::Headed, "--- 1 + 1?, answer 2 (2 tokens, cut off)\n 2\n");
    }

    /// A letter for each id, the bytes of `é` for 1 and 2, nothing for 0.
    fn text(_: usize, _: &[u32], ids: &[u32]) -> String {
        let bytes = ids.iter().flat_map(|id| match id {
            0 => vec![],
            1 => vec![0xC3],
            2 => vec![0xA9],
            id => vec![*id as u8],
        });
        String::from_utf8_lossy(&bytes.collect::<Vec<u8>>()).into_owned()
    }

    #[test]
    fn a_single_answer_is_written_as_it_comes() {
        let prompts = ["?".to_owned()];
        let mut parts: Vec<String> = Vec::new();
        let mut write = |part: &str| {
            parts.push(part.to_owned());
            Ok(ControlFlow::Continue(()))
        };
        let mut written = Written::new(&prompts, (0, 1), false, &text, &mut write);
        assert!(written.follows());
        let ids = [b'a', b' ', b'b', 1, 2, b'\n', 0].map(u32::from);
        for count in 1..ids.len() {
            let partial = Partial { task: 0, sample: 0, token_ids: &ids[..count], logprobs: &[] };
            assert!(written.on_tokens(partial).is_continue());
        }
        let last = Completion { sample: 0, ..completion(ids.to_vec(), FinishReason::Stop) };
        assert!(written.on_finish(last).is_continue() && written.result.is_ok());
        assert_eq!(parts, ["a", " b", "é", "\n"]);
    }

    #[test]
    fn what_is_written_bit_by_bit_is_the_whole_and_each_token_is_decoded_a_few_times() {
        let said = "  世界，你好 👩‍🚀 costs é 3.50 €, 𝔘nd 한국어 \u{FFFD} is\n\n no  end 🎉".repeat(20);
        let byte_level = Tokenizer::train(std::iter::once("世界 costs the 한국어 3.50 world".to_owned()), 300).unwrap();
        for tokenizer in [byte_level, crate::stage::sentence_piece("")] {
            let ids = tokenizer.encode(&said);
            let decoded = std::cell::Cell::new(0);
            let text = |_: usize, before: &[u32], ids: &[u32]| {
                decoded.set(decoded.get() + before.len() + ids.len());
                tokenizer.decode_after(before, ids)
            };
            let (prompts, mut parts) = (["?".to_owned()], Vec::new());
            let mut write = |part: &str| {
                parts.push(part.to_owned());
                Ok(ControlFlow::Continue(()))
            };
            let mut written = Written::new(&prompts, (0, 1), false, &text, &mut write);
            for count in 1..=ids.len() {
                let partial = Partial { task: 0, sample: 0, token_ids: &ids[..count], logprobs: &[] };
                assert!(written.on_tokens(partial).is_continue());
            }
            let last = Completion { sample: 0, ..completion(ids.clone(), FinishReason::Stop) };
            assert!(written.on_finish(last).is_continue());
            assert!(decoded.get() < 10 * ids.len(), "{} for {}", decoded.get(), ids.len());
            assert!(parts.len() > ids.len() / 8 && parts[0].contains('世'), "{} parts of {}", parts.len(), ids.len());
            assert_eq!(parts.concat(), tokenizer.decode(&ids) + "\n");
        }
    }

    #[test]
    fn what_nobody_takes_is_not_sampled() {
        let prompts = ["?".to_owned(), "!".to_owned()];
        for gone in [true, false] {
            let mut write =
                |_: &str| if gone { Ok(ControlFlow::Break(())) } else { Err(anyhow::anyhow!("the disk is full")) };
            let mut written = Written::new(&prompts, (0, 1), false, &text, &mut write);
            assert!(!written.follows());
            let first = Completion { sample: 0, ..completion(vec![97], FinishReason::Stop) };
            assert!(written.on_finish(first).is_break());
            assert_eq!(written.result.is_ok(), gone);
        }
    }
}
