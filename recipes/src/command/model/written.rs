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

/// Writes the answers in their order, each as soon as those before it are there, and a single one as it comes.
pub(super) struct Written<'a> {
    prompts: &'a [String],
    /// The first prompt's number in the random numbers.
    first: u32,
    /// Answers to each prompt.
    samples: u32,
    form: Form,
    /// What tokens answer to the prompt at this place.
    text: &'a dyn Fn(usize, &[u32]) -> String,
    write: &'a mut dyn FnMut(&str) -> anyhow::Result<ControlFlow<()>>,
    /// Counts the answers.
    pub(super) phase: Option<Phase>,
    /// What is there before it can be written, and the task and sample that come next.
    waiting: BTreeMap<(u32, u32), Completion>,
    next: (u32, u32),
    /// What was written of the answer that is under way.
    shown: String,
    /// How writing went.
    pub(super) result: anyhow::Result<ControlFlow<()>>,
}

impl<'a> Written<'a> {
    pub(super) fn new(
        prompts: &'a [String],
        (first, samples): (u32, u32),
        json: bool,
        text: &'a dyn Fn(usize, &[u32]) -> String,
        write: &'a mut dyn FnMut(&str) -> anyhow::Result<ControlFlow<()>>,
    ) -> Self {
        let form = match json {
            true => Form::Json,
            false if prompts.len() > 1 || samples > 1 => Form::Headed,
            false => Form::Bare,
        };
        let result = Ok(ControlFlow::Continue(()));
        let (waiting, shown) = (BTreeMap::new(), String::new());
        Written { prompts, first, samples, form, text, write, phase: None, waiting, next: (first, 0), shown, result }
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
        let text = (self.text)((partial.task - self.first) as usize, partial.token_ids);
        // A character of which bytes are missing may still become another, and space at the end is never written.
        let settled = text.trim_end_matches(|c: char| c == char::REPLACEMENT_CHARACTER || c.is_whitespace());
        let Some(more) = settled.strip_prefix(self.shown.as_str()).filter(|more| !more.is_empty()) else {
            return ControlFlow::Continue(());
        };
        let flow = self.put(more);
        settled.clone_into(&mut self.shown);
        flow
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
            let told = told(&self.prompts[place], &completion, (self.text)(place, &completion.token_ids), self.form);
            let shown = std::mem::take(&mut self.shown);
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
    fn text(_: usize, ids: &[u32]) -> String {
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
