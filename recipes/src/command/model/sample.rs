//! `recipe model sample`: what a model answers.
//!
//! The prompts of a command line, file or pipe are sampled together, as many at once as `--batch` says; those that are typed at a
//! terminal one after the other. An answer is the same whatever is sampled beside it: its random numbers go by the seed, its
//! prompt's number and its own.

use std::collections::BTreeMap;
use std::io::{BufRead, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use policy::{Completion, FinishReason, Request, RolloutEngine, RolloutOptions, SamplingParams};
use serde::Serialize;

use super::super::arguments::{EngineArguments, MOST_SAMPLES, MOST_TOKENS, share, temperature};
use super::super::{Wrong, print};
use crate::evaluation::{Subject, Template};
use crate::progress::{Reporter, Verbosity};
use crate::stage::{Model, opening_of};
use crate::wording::{counted, one_line};

#[derive(Args, Debug)]
pub(in crate::command) struct SampleArguments {
    /// A Hugging Face folder, a run's folder (its newest model), or a checkpoint
    model: PathBuf,

    /// What to ask [default: the lines of standard input]
    #[arg(value_name = "PROMPT")]
    prompts: Vec<String>,

    /// Answers to each prompt
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=MOST_SAMPLES))]
    samples: u32,

    /// Sampling temperature; 0 takes the likeliest token
    #[arg(long, value_name = "T", default_value_t = 1.0, value_parser = temperature)]
    temperature: f64,

    /// Sample among the likeliest tokens that hold this share of the probability
    #[arg(long, value_name = "SHARE", default_value_t = 1.0, value_parser = share)]
    top_p: f64,

    /// Cut an answer off after so many tokens, or where the model's positions end
    #[arg(long, value_name = "N", default_value_t = 2048, value_parser = clap::value_parser!(u64).range(1..=MOST_TOKENS))]
    max_tokens: u64,

    /// What stands around a prompt [default: the template of the run that the model is of; else its own chat template, or
    /// R1-Zero's]
    #[arg(long, value_enum)]
    template: Option<Template>,

    /// A system message before the prompt, in the chat template
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    system: String,

    /// Write a JSON object for each answer: its prompt, sample, text, token_ids, logprobs (in nats) and finish_reason
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    engine: EngineArguments,
}

/// How much of a prompt is shown, in characters.
const SHOWN: usize = 60;

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

pub(super) fn sample(arguments: &SampleArguments) -> anyhow::Result<ExitCode> {
    let reporter = Reporter::new(Verbosity::Auto);
    let subject = Subject::find(&arguments.model)?;
    let model = Model::load(&subject.folder, &crate::place::open(arguments.engine.device.as_deref())?)?;
    let tokenizer = &model.tokenizer;
    let template = match arguments.template {
        Some(template) => template,
        None => Template::for_models(std::slice::from_ref(&subject), std::slice::from_ref(tokenizer), &reporter)?,
    };
    template.check(&subject, tokenizer)?;
    if template != Template::Chat && !arguments.system.is_empty() {
        let message = format!("--system: the template {} has no room for a system message", template.name());
        return Err(
            Wrong(format!("{message}\n  hint: --template chat has, where the model has a chat template")).into()
        );
    }
    if arguments.temperature == 0.0 && arguments.samples > 1 {
        let message = format!("--samples: {} answers at the temperature 0 would all be the same", arguments.samples);
        return Err(Wrong(message).into());
    }
    let threads = arguments.engine.threads.map_or_else(rayon::current_num_threads, usize::from);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().context("cannot start the threads")?;
    let engine = RolloutEngine::new(&model.policy)?;
    let asker = Asker { arguments, model: &model, engine, template, reporter: &reporter };
    let answer = |prompts: &[String], first| {
        let mut write = |text: &str| reporter.suspend(|| print(text).map(drop));
        pool.install(|| asker.answer(prompts, first, &mut write))
    };

    if !arguments.prompts.is_empty() {
        answer(&arguments.prompts, 0)?;
        return Ok(ExitCode::SUCCESS);
    }
    let input = std::io::stdin();
    let mut lines = input.lock().lines().map(|line| line.context("cannot read standard input"));
    if !input.is_terminal() {
        let prompts = lines.filter(|line| !matches!(line, Ok(line) if line.trim().is_empty()));
        let prompts = prompts.collect::<anyhow::Result<Vec<String>>>()?;
        if prompts.is_empty() {
            return Err(
                Wrong("there is no prompt: give one as an argument, or lines on standard input".to_owned()).into()
            );
        }
        answer(&prompts, 0)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut number = 0;
    loop {
        let _ = std::io::stderr().write_all(b"> ");
        let Some(line) = lines.next().transpose()? else {
            let _ = std::io::stderr().write_all(b"\n");
            return Ok(ExitCode::SUCCESS);
        };
        if !line.trim().is_empty() {
            // What is wrong with one question is no reason to read no other.
            if let Err(error) = answer(&[line], number) {
                super::super::complain(&error);
            }
            number += 1;
        }
    }
}

/// What asks.
struct Asker<'a> {
    arguments: &'a SampleArguments,
    model: &'a Model,
    engine: RolloutEngine,
    template: Template,
    reporter: &'a Reporter,
}

impl Asker<'_> {
    /// Writes the answers to the prompts in their order, each as soon as those before it are there. The first prompt's number in
    /// the random numbers is `first`.
    fn answer(
        &self,
        prompts: &[String],
        first: u32,
        write: &mut (dyn FnMut(&str) -> anyhow::Result<()> + Send),
    ) -> anyhow::Result<()> {
        let Asker { arguments, model, .. } = self;
        let tokenizer = &model.tokenizer;
        let positions = model.policy.config().max_position_embeddings;
        // By the limit of their answers: a long prompt leaves little room for its own answer, and takes none from the others.
        let mut requests: BTreeMap<usize, Vec<Request>> = BTreeMap::new();
        let mut openings = Vec::with_capacity(prompts.len());
        for (number, prompt) in (first..).zip(prompts) {
            let ids = self.template.ask(tokenizer, prompt, &arguments.system)?;
            if ids.is_empty() || ids.len() >= positions {
                let (prompt, tokens) = (one_line(prompt, SHOWN), counted(ids.len(), "token", "tokens"));
                let message = format!("the prompt `{prompt}` has {tokens}; the model has {positions} positions");
                return Err(Wrong(message).into());
            }
            // What a chat template begins an answer with is the answer's; what was typed is not.
            let by_template = self.template == Template::Chat;
            openings.push(if by_template { opening_of(&tokenizer.decode(&ids)) } else { "" });
            let limit = (arguments.max_tokens as usize).min(positions - ids.len());
            let request = Request { task: number, prompt: ids, samples: arguments.samples };
            requests.entry(limit).or_default().push(request);
        }
        let options = RolloutOptions {
            seed: arguments.engine.seed,
            step: 0,
            end_of_text: tokenizer.end_ids().to_vec(),
            batch: arguments.engine.batch as usize,
        };
        let total = prompts.len() as u64 * u64::from(arguments.samples);
        let phase = self.reporter.inner_phase("sampling", Some(total), "answers");
        let mut waiting = BTreeMap::new();
        let mut next = (first, 0);
        let mut written = Ok(());
        let mut finish = |completion: Completion| {
            phase.inc(1);
            waiting.insert((completion.task, completion.sample), completion);
            while let Some(completion) = waiting.remove(&next) {
                next = if next.1 + 1 < arguments.samples { (next.0, next.1 + 1) } else { (next.0 + 1, 0) };
                let place = (completion.task - first) as usize;
                let text = openings[place].to_owned() + &tokenizer.decode(&completion.token_ids);
                let told = told(&prompts[place], &completion, text, Form { json: arguments.json, headed: total > 1 });
                if written.is_ok() {
                    written = write(&told);
                }
            }
        };
        for (max_tokens, requests) in requests {
            let SampleArguments { temperature, top_p, .. } = **arguments;
            let params = SamplingParams { temperature, top_p, top_k: 0, max_tokens };
            self.engine.generate(&requests, &params, &options, &mut finish)?;
        }
        written
    }
}

/// How an answer is printed.
#[derive(Clone, Copy)]
struct Form {
    json: bool,
    /// Under a line that says what it answers, where there are several.
    headed: bool,
}

/// What is printed of an answer.
fn told(prompt: &str, completion: &Completion, text: String, form: Form) -> String {
    let finish_reason = match completion.finish_reason {
        FinishReason::Stop => "stop",
        FinishReason::Length => "length",
    };
    if form.json {
        let Completion { sample, token_ids, logprobs, .. } = completion;
        let answer = Answer { prompt, sample: *sample, text, token_ids, logprobs, finish_reason };
        return serde_json::to_string(&answer).expect("texts and numbers are JSON") + "\n";
    }
    let tokens = counted(completion.token_ids.len(), "token", "tokens");
    let end = if finish_reason == "length" { ", cut off" } else { "" };
    let text = text.trim_end();
    match form.headed {
        true => format!("--- {}, answer {} ({tokens}{end})\n{text}\n", one_line(prompt, SHOWN), completion.sample + 1),
        false if end.is_empty() => format!("{text}\n"),
        false => format!("{text} [cut off after {tokens}]\n"),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use policy::{ModelConfig, Policy, Tokenizer};

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: SampleArguments,
    }

    /// What a small model of random weights answers.
    fn answers(arguments: &[&str], prompts: &[&str], first: u32) -> anyhow::Result<String> {
        let tokenizer = Tokenizer::train(std::iter::once("What is 1 + 1?".to_owned()), 300)?;
        let config = ModelConfig { max_position_embeddings: 32, ..ModelConfig::tiny(tokenizer.vocab_size()) };
        let model = Model { policy: Policy::new(config, 1)?, tokenizer };
        let line = ["sample", "DIR", "--template", "plain"].iter().chain(arguments);
        let arguments = Line::try_parse_from(line)?.arguments;
        let engine = RolloutEngine::new(&model.policy)?;
        let reporter = Reporter::new(Verbosity::Silent);
        let template = arguments.template.unwrap();
        let asker = Asker { arguments: &arguments, model: &model, engine, template, reporter: &reporter };
        let prompts: Vec<String> = prompts.iter().map(|prompt| (*prompt).to_owned()).collect();
        let mut out = String::new();
        asker.answer(&prompts, first, &mut |text| {
            out.push_str(text);
            Ok(())
        })?;
        Ok(out)
    }

    #[test]
    fn answers_come_in_order_whatever_is_sampled_beside_them() {
        let settings = ["--samples", "3", "--json", "--batch", "4"];
        let together = answers(&settings, &["1 + 1", "What", "is"], 0).unwrap();
        let rows: Vec<serde_json::Value> = together.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let order: Vec<_> =
            rows.iter().map(|row| (row["prompt"].as_str().unwrap(), row["sample"].as_u64().unwrap())).collect();
        assert_eq!(order[..4], [("1 + 1", 0), ("1 + 1", 1), ("1 + 1", 2), ("What", 0)]);
        assert_eq!(rows.len(), 9);
        assert_ne!(rows[0]["token_ids"], rows[1]["token_ids"]);
        let one_by_one =
            (0..).zip(["1 + 1", "What", "is"]).map(|(number, prompt)| answers(&settings, &[prompt], number));
        assert_eq!(one_by_one.collect::<anyhow::Result<String>>().unwrap(), together);
        assert_ne!(
            answers(&[&settings[..], &["--seed", "1"]].concat(), &["1 + 1", "What", "is"], 0).unwrap(),
            together
        );
    }

    #[test]
    fn the_models_positions_end_an_answer_and_refuse_a_prompt() {
        let text = answers(&["--temperature", "0"], &["What"], 0).unwrap();
        let positions =
            32 - Tokenizer::train(std::iter::once("What is 1 + 1?".to_owned()), 300).unwrap().encode("What").len();
        assert!(text.ends_with(&format!("[cut off after {positions} tokens]\n")), "{text}");
        let error = answers(&[], &["What", &"1 + ".repeat(40)], 0).unwrap_err();
        assert!(error.is::<Wrong>() && error.to_string().contains("the model has 32 positions"), "{error}");
        let error = answers(&[], &[""], 0).unwrap_err().to_string();
        assert!(error.contains("has 0 tokens"), "{error}");
    }

    /// The tag is the prompt's, and no answer to another prompt begins with it.
    #[test]
    fn what_was_typed_is_no_part_of_an_answer() {
        let text = answers(&["--json"], &["is", "What <think>"], 0).unwrap();
        assert_eq!((text.lines().count(), text.matches("<think>").count()), (2, 1), "{text}");
    }

    #[test]
    fn an_answer_says_where_it_was_cut_off() {
        #[track_caller]
        fn check(finish_reason: FinishReason, headed: bool, expected: &str) {
            let completion = Completion {
                task: 0,
                sample: 1,
                token_ids: vec![5, 6],
                logprobs: vec![-0.5, 0.0],
                prompt_choices: Default::default(),
                choices: Default::default(),
                finish_reason,
            };
            assert_eq!(told("1 +\n1?", &completion, " 2 \n".to_owned(), Form { json: false, headed }), expected);
        }
        check(FinishReason::Stop, false, " 2\n");
        check(FinishReason::Length, false, " 2 [cut off after 2 tokens]\n");
        check(FinishReason::Stop, true, "--- 1 + 1?, answer 2 (2 tokens)\n 2\n");
        check(FinishReason::Length, true, "--- 1 + 1?, answer 2 (2 tokens, cut off)\n 2\n");
    }
}
