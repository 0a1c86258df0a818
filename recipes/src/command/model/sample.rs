//! `recipe model sample`: what a model answers.
//!
//! The prompts of a command line, file or pipe are sampled together, as many at once as `--batch` says; those that are typed
//! at a terminal one after the other. An answer is the same whatever is sampled beside it: its random numbers go by the seed,
//! its prompt's number and its own. A single answer is printed while it is written.

use std::io::{BufRead, IsTerminal, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use policy::{Request, RolloutEngine, RolloutOptions, SamplingParams};
use serde_json::Value;

use super::super::arguments::{EngineArguments, MOST_SAMPLES, MOST_TOKENS, share, temperature};
use super::super::{Wrong, write_out};
use super::chosen;
use super::written::Written;
use crate::evaluation::{Asking, Subject, Template};
use crate::model::Model;
use crate::progress::Reporter;
use crate::stage::opening_of;
use crate::wording::{counted, one_line};

#[derive(Args, Debug)]
pub(in crate::command) struct SampleArguments {
    /// A Hugging Face folder, a checkpoint, or the folder of a run or stage (its newest model)
    model: PathBuf,

    /// What to ask [default: the lines of standard input]
    #[arg(value_name = "PROMPT")]
    prompts: Vec<String>,

    /// Answers to each prompt
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=MOST_SAMPLES))]
    samples: u32,

    /// Sampling temperature; 0 takes the likeliest token [default: what generation_config.json says of a model that was not
    /// trained here; else 1]
    #[arg(long, value_name = "T", value_parser = temperature)]
    temperature: Option<f64>,

    /// Sample among the likeliest tokens that hold this share of the probability [default: as for the temperature]
    #[arg(long, value_name = "SHARE", value_parser = share)]
    top_p: Option<f64>,

    /// Sample among so many of the likeliest tokens, 0 for all [default: as for the temperature; else 0]
    #[arg(long, value_name = "N")]
    top_k: Option<u32>,

    /// Cut an answer off after so many tokens, or where the model's positions end
    #[arg(long, value_name = "N", default_value_t = 2048, value_parser = clap::value_parser!(u64).range(1..=MOST_TOKENS))]
    max_tokens: u64,

    /// What stands around a prompt [default: the template of the run that the model is of; else its own chat template, or
    /// R1-Zero's]
    #[arg(long, value_enum)]
    template: Option<Template>,

    /// A system message before the prompt, in the chat template [default: that of the run that the model is of]
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,

    /// Write a JSON object for each answer: its prompt, sample, text, token_ids, logprobs (in nats) and finish_reason
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    engine: EngineArguments,
}

/// How much of a prompt is shown, in characters.
pub(super) const SHOWN: usize = 60;

pub(super) fn sample(arguments: &SampleArguments, reporter: &Reporter) -> anyhow::Result<ExitCode> {
    let subject = Subject::named(&chosen(&arguments.model, reporter)?)?;
    let model = Model::load(&subject.folder, &crate::place::open(arguments.engine.device.as_deref())?)?;
    let tokenizer = &model.tokenizer;
    let given = (arguments.template, arguments.system.as_deref());
    let asking = Asking::of_models(given, std::slice::from_ref(&subject), std::slice::from_ref(tokenizer), reporter)?;
    let is_from_elsewhere = subject.is_from_elsewhere();
    let said = |key: &str| tokenizer.generation_setting(key).filter(|_| is_from_elsewhere);
    let (params, taken) = sampling(arguments, said);
    if !taken.is_empty() {
        params.validate().with_context(|| format!("{}/generation_config.json", subject.folder.display()))?;
        reporter.note(&format!("answers are sampled at {}, as its generation_config.json says", taken.join(", ")));
    }
    if params.temperature == 0.0 && arguments.samples > 1 {
        let message = format!("--samples: {} answers at the temperature 0 would all be the same", arguments.samples);
        return Err(Wrong(message).into());
    }
    let threads = arguments.engine.threads.map_or_else(rayon::current_num_threads, usize::from);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().context("cannot start the threads")?;
    let engine = RolloutEngine::new(&model.policy)?;
    let asker = Asker { arguments, model: &model, engine, params, asking, reporter };
    let answer = |prompts: &[String], first| {
        let mut write = |text: &str| reporter.suspend(|| write_out(text));
        pool.install(|| asker.answer(prompts, first, &mut write))
    };

    if !arguments.prompts.is_empty() {
        // Whether all was written or the reader went away.
        return answer(&arguments.prompts, 0).map(|_| ExitCode::SUCCESS);
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
        return answer(&prompts, 0).map(|_| ExitCode::SUCCESS);
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
            match answer(&[line], number) {
                Ok(ControlFlow::Break(())) => return Ok(ExitCode::SUCCESS),
                Ok(ControlFlow::Continue(())) => {}
                Err(error) => super::super::complain(&error),
            }
            number += 1;
        }
    }
}

/// How tokens are drawn: as the flags say, else as the model's `generation_config.json` does, of which `said` knows; and what
/// was taken from there.
fn sampling<'v>(
    arguments: &SampleArguments,
    said: impl Fn(&str) -> Option<&'v Value>,
) -> (SamplingParams, Vec<String>) {
    let mut taken = Vec::new();
    let mut take = |key: &str, flag: Option<f64>, otherwise: f64, said: Option<f64>| {
        let of_model = said.filter(|value| flag.is_none() && *value != otherwise);
        taken.extend(of_model.map(|value| format!("{key} {value}")));
        flag.or(of_model).unwrap_or(otherwise)
    };
    let number = |key: &str| said(key)?.as_f64();
    // The likeliest token is always the same: who wants several answers wants them sampled.
    let is_greedy = arguments.samples == 1 && said("do_sample") == Some(&Value::Bool(false));
    let likeliest = if is_greedy { Some(0.0) } else { number("temperature") };
    let temperature = take("temperature", arguments.temperature, 1.0, likeliest);
    // Of the likeliest token nothing is cut off.
    let number = |key: &str| number(key).filter(|_| temperature != 0.0);
    let top_p = take("top_p", arguments.top_p, 1.0, number("top_p"));
    let top_k = take("top_k", arguments.top_k.map(f64::from), 0.0, number("top_k")) as usize;
    (SamplingParams { temperature, top_p, top_k, max_tokens: arguments.max_tokens as usize }, taken)
}

/// What asks.
struct Asker<'a> {
    arguments: &'a SampleArguments,
    model: &'a Model,
    engine: RolloutEngine,
    params: SamplingParams,
    asking: Asking,
    reporter: &'a Reporter,
}

impl Asker<'_> {
    /// Writes the answers to the prompts in their order, each as soon as those before it are there, and a single one as it
    /// comes. The first prompt's number in the random numbers is `first`. Breaks where `write` did: there is nobody to write to.
    fn answer(
        &self,
        prompts: &[String],
        first: u32,
        write: &mut (dyn FnMut(&str) -> anyhow::Result<ControlFlow<()>> + Send),
    ) -> anyhow::Result<ControlFlow<()>> {
        let Asker { arguments, model, .. } = self;
        let tokenizer = &model.tokenizer;
        let positions = model.policy.config().max_position_embeddings;
        let mut requests = Vec::with_capacity(prompts.len());
        let mut openings = Vec::with_capacity(prompts.len());
        for (number, prompt) in (first..).zip(prompts) {
            let ids = self.asking.template.ask(tokenizer, prompt, &self.asking.system)?;
            if ids.is_empty() || ids.len() >= positions {
                let (prompt, tokens) = (one_line(prompt, SHOWN), counted(ids.len(), "token", "tokens"));
                let message = format!("the prompt `{prompt}` has {tokens}; the model has {positions} positions");
                return Err(Wrong(message).into());
            }
            // What a chat template begins an answer with is the answer's; what was typed is not.
            let by_template = self.asking.template == Template::Chat;
            openings.push(if by_template { opening_of(&tokenizer.decode(&ids)) } else { "" });
            requests.push(Request { task: number, prompt: ids, samples: arguments.samples });
        }
        let options = RolloutOptions {
            seed: arguments.engine.seed,
            step: 0,
            end_of_text: tokenizer.end_ids().to_vec(),
            batch: arguments.engine.batch as usize,
        };
        let total = prompts.len() as u64 * u64::from(arguments.samples);
        let text = |place: usize, before: &[u32], ids: &[u32]| match self.asking.template {
            _ if !before.is_empty() => tokenizer.decode_after(before, ids),
            Template::Plain => tokenizer.decode_after(&requests[place].prompt, ids),
            _ => openings[place].to_owned() + &tokenizer.decode(ids),
        };
        let mut written = Written::new(prompts, (first, arguments.samples), arguments.json, &text, write);
        // A bar and half a line have no room on one line.
        written.phase = (total > 1).then(|| self.reporter.inner_phase("sampling", Some(total), "answers"));
        self.engine.stream(&requests, &self.params, &options, &mut written)?;
        written.result
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use policy::{ModelConfig, Policy, Tokenizer};
    use serde_json::json;

    use super::*;
    use crate::progress::Verbosity;

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
        let asking = Asking { template: arguments.template.unwrap(), system: String::new() };
        let (params, _) = sampling(&arguments, |_| None);
        let asker = Asker { arguments: &arguments, model: &model, engine, params, asking, reporter: &reporter };
        let prompts: Vec<String> = prompts.iter().map(|prompt| (*prompt).to_owned()).collect();
        let mut out = String::new();
        let _ = asker.answer(&prompts, first, &mut |text| {
            out.push_str(text);
            Ok(ControlFlow::Continue(()))
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
    fn a_model_from_elsewhere_says_how_it_is_sampled() {
        #[track_caller]
        fn check(flags: &[&str], said: Value, expected: (f64, f64, usize), notes: &[&str]) {
            let arguments = Line::try_parse_from(["sample", "DIR"].iter().chain(flags)).unwrap().arguments;
            let (params, taken) = sampling(&arguments, |key| said.get(key));
            assert_eq!((params.temperature, params.top_p, params.top_k), expected);
            assert_eq!(taken, notes);
        }
        let all = || json!({"do_sample": true, "temperature": 0.6, "top_p": 0.95, "top_k": 20, "eos_token_id": 2});
        check(&[], json!({}), (1.0, 1.0, 0), &[]);
        check(&[], all(), (0.6, 0.95, 20), &["temperature 0.6", "top_p 0.95", "top_k 20"]);
        check(&["--top-p", "1", "--top-k", "5"], all(), (0.6, 1.0, 5), &["temperature 0.6"]);
        check(&["--temperature", "0"], all(), (0.0, 1.0, 0), &[]);
        check(&[], json!({"do_sample": false, "top_k": 50}), (0.0, 1.0, 0), &["temperature 0"]);
        check(&["--samples", "2"], json!({"do_sample": false}), (1.0, 1.0, 0), &[]);
        check(&[], json!({"temperature": null, "top_k": "many"}), (1.0, 1.0, 0), &[]);
    }
}
