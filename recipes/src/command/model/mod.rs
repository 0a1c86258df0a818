//! `recipe model`: what a model is, what it answers, how it judges texts, and what others can read of it.

mod card;
mod export;
mod info;
mod sample;
mod score;
mod written;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;
use rewards::Registry;

use super::print;
use crate::evaluation::Subject;
use crate::progress::{Reporter, Verbosity};
use card::Card;
use export::ExportArguments;
use info::Needs;
use sample::SampleArguments;

/// What can be asked of a model.
#[derive(Debug, Subcommand)]
pub(super) enum ModelCommand {
    /// Count a model's parameters, and say what memory it needs
    #[command(after_help = "Examples:
  recipe model info DIR             a Hugging Face folder or its config.json
  recipe model info runs/r1-zero    the newest model of a run
  recipe model info r1-zero         the model that a recipe makes
  recipe model info DIR --sequences 64 --tokens 4096
  recipe model info DIR --lora 16   and what adapters of that rank would take
  recipe model info DIR --device cuda
                                    whether it fits, or what to change
  recipe model info DIR --card-memory 80
                                    the same of one that is not here")]
    Info {
        /// A Hugging Face folder, a config.json, a checkpoint, the folder of a run or stage (its newest model), or a recipe's
        /// name or file
        #[arg(value_name = "DIR|NAME")]
        model: String,
        /// Sequences sampled at a time
        #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
        sequences: u64,
        /// Tokens of each
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
        tokens: Option<u64>,
        /// State what LoRA adapters of this rank on every projection would take
        #[arg(long, value_name = "RANK", value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
        lora: Option<usize>,
        /// Rows of a micro-batch, for --device and --card-memory
        #[arg(long, value_name = "N", default_value_t = 8192, value_parser = clap::value_parser!(u64).range(1..=1 << 30))]
        micro_batch_tokens: u64,
        /// State whether it fits on this card: cuda, or cuda:1 for the second
        #[arg(long, value_name = "DEVICE", value_parser = crate::place::name)]
        device: Option<String>,
        /// State whether it fits on a card with so much free memory, here or elsewhere
        #[arg(long, value_name = "GIB", conflicts_with = "device", value_parser = clap::value_parser!(u64).range(1..=4096))]
        card_memory: Option<u64>,
    },
    /// Ask a model, and print what it answers
    #[command(
        long_about = "Ask a model, and print what it answers.

Prompts are arguments, or else the lines of standard input; on a terminal each line is answered before the next is read. \
They are asked in the template in which the model was trained here, else in its own chat template; `--template plain` lets \
it go on from the text as it stands.",
        after_help = "Examples:
  recipe model sample runs/r1-zero 'Make 24 from 4 6 8'
                           the newest model of a run
  recipe model sample runs/r1-zero/base 'Make 24 from 4 6 8'
                           and what it began with
  recipe model sample DIR --samples 4 --temperature 0.7 --top-p 0.95 'Why?'
  recipe model sample DIR --template plain 'Once upon a time'
  recipe model sample DIR  asks for one question after the other
  recipe model sample DIR --json < questions.txt > answers.jsonl"
    )]
    Sample(SampleArguments),
    /// Log-probabilities and perplexity of texts
    #[command(
        long_about = "Log-probabilities and perplexity of texts.

Reads JSON Lines whose objects have `text` (a string), `messages` (a conversation, each with `role` and `content`) or \
`token_ids` (a list), and writes one object for each row: its line, its token_ids, the logprob of each token in nats (null for \
the first, which nothing precedes), and the perplexity over the others.

A text is preceded by what the tokenizer itself begins texts with. What spells a special token in it, such as <|im_end|>, is \
text like any other: only in messages, which are put into the model's chat template, is it the token. token_ids are taken as \
they are.",
        after_help = "Examples:
  recipe model score DIR texts.jsonl > scores.jsonl
  recipe model score runs/r1-zero texts.jsonl  under the newest model of a run"
    )]
    Score {
        /// A Hugging Face folder, a checkpoint, or the folder of a run or stage (its newest model)
        #[arg(value_name = "DIR")]
        model: PathBuf,
        /// The texts
        #[arg(value_name = "FILE.jsonl")]
        file: PathBuf,
        /// Compute on a card: cuda, or cuda:1 for the second [default: cpu]
        #[arg(long, value_name = "DEVICE", value_parser = crate::place::name)]
        device: Option<String>,
    },
    /// Write a model as a folder for others to use, with a model card
    #[command(
        long_about = "Write a model as a folder for others to use, with a model card.

What the trainer keeps beside a checkpoint is left out. The card (README.md) says what the model was made of and how \
to ask it, as far as that is known, and names no folder of this machine.",
        after_help = "Examples:
  recipe model export runs/r1-zero my-model        the newest model of a run
  recipe model export runs/r1/checkpoints/sft DIR  the newest of a stage
  recipe model export runs/r1-zero/checkpoints/step-000050 DIR --dtype bf16"
    )]
    Export(ExportArguments),
}

/// The folder of the model that is meant; says which it is, where a run or a stage was named.
fn chosen(typed: &Path, reporter: &Reporter) -> anyhow::Result<PathBuf> {
    let (folder, _) = Subject::folder_of(typed)?;
    if folder != typed {
        reporter.note(&format!("the newest model in {} is {}", typed.display(), folder.display()));
    }
    Ok(folder)
}

pub(super) fn run(command: &ModelCommand, known: &Registry) -> anyhow::Result<ExitCode> {
    let reporter = Reporter::new(Verbosity::Auto);
    let text = match command {
        ModelCommand::Sample(arguments) => return sample::sample(arguments, &reporter),
        ModelCommand::Export(arguments) => export::export(arguments, known, &reporter)?,
        ModelCommand::Info { model, sequences, tokens, lora, micro_batch_tokens, device, card_memory } => {
            let needs = Needs::of(model, (*sequences, *tokens), *lora, known, &reporter)?;
            let mut text = info::info(model, &needs)?;
            let imagined = card_memory.map(Card::imagined);
            if let Some(card) = imagined.map_or_else(|| card(device.as_deref()), |card| Ok(Some(card)))? {
                text += &card::describe(&needs, *micro_batch_tokens, &card);
            }
            text
        }
        ModelCommand::Score { model, file, device } => {
            let place = crate::place::open(device.as_deref())?;
            score::score(&chosen(model, &reporter)?, file, &place)?
        }
    };
    print(&text)
}

/// The card that is meant, with its memory; none where it is the CPU.
fn card(device: Option<&str>) -> anyhow::Result<Option<Card>> {
    let place = crate::place::open(device)?;
    let Some(card) = crate::place::card(&place) else { return Ok(None) };
    let memory = card.memory()?;
    Ok(Some(Card { name: card.name(), free: memory.free as u64, total: memory.total as u64 }))
}
