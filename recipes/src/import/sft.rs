//! TRL's `SFTConfig` with Open R1's script arguments, as a recipe with one sft stage.

use super::common::{
    Table, WARMING, adapters, checkpointed_layers, experts, float, kept_checkpoints, model, quoted, schedule,
    take_starting, warmup,
};
use super::yaml::Entry;
use super::{NOT_SET, Outcome, Reader, data};
use crate::config::SftSettings;

pub(super) fn recipe(reader: &mut Reader, name: &str, shown: &str, processes: u64) -> String {
    let mut stage = Table::default();
    let seed = reader.whole("seed", "seed", 42).min(crate::config::LARGEST_SEED);
    let model = model(reader);
    const FILES: data::Files =
        data::Files { setting: "data", place: "the stage's `data`", unnamed: "DEMONSTRATIONS.jsonl", from_hub: false };
    let (files, remark) = data::files(reader, &FILES);
    stage.remark("data", files, remark);
    stage.set("template", quoted("chat"));
    reader.missing(
        "template",
        "every row is put into the model's chat template; TRL does so where rows are messages, and learns texts as they are",
    );
    let device = reader.whole("per_device_train_batch_size", "batch_size", 8).max(1);
    let accumulated = reader.whole("gradient_accumulation_steps", "batch_size", 1).max(1);
    let batch = device * processes * accumulated;
    stage.set("batch_size", batch);
    reader.missing(
        "number of GPUs",
        format!("{processes} assumed (--gpus N says otherwise): an optimizer step then has {batch} demonstrations"),
    );
    let max_steps = steps(reader, &mut stage);
    length(reader, &mut stage);
    learned(reader);
    others(reader);
    stage.set("learning_rate", float(reader.number("learning_rate", "learning_rate", 2e-5)));
    stage.set("warmup_share", float(warmup_share(reader, max_steps)));
    schedule(reader, &mut stage, 2e-5);
    stage.set("max_grad_norm", float(reader.number("max_grad_norm", "max_grad_norm", 1.0)));
    stage.set("weight_decay", float(reader.number("weight_decay", "weight_decay", 0.0)));
    stage.set("beta1", float(reader.number("adam_beta1", "beta1", 0.9)));
    stage.set("beta2", float(reader.number("adam_beta2", "beta2", 0.999)));
    experts(reader);
    adapters(reader, &mut stage);
    checkpointed_layers(reader, &mut stage);
    let every = checkpoint_every(reader, max_steps);
    stage.set("checkpoint_every", every);
    kept_checkpoints(reader, &mut stage);
    evaluation(reader, &mut stage);

    format!(
        "# Made of {shown} by `recipe import`: read its account of what needs attention.\n\nname = {}\ndescription = {}\n\
         seed = {seed}\n\n{model}\n[[stage]]\nkind = \"sft\"\n{}",
        quoted(name),
        quoted(&format!("Supervised fine-tuning as {shown} has it")),
        stage.lines()
    )
}

/// `warmup_share`. `max_steps` is the number of all steps, where the file gives it.
fn warmup_share(reader: &mut Reader, max_steps: Option<u64>) -> f64 {
    let Some(warmup) = warmup(reader) else { return 0.0 };
    if warmup.is_share {
        reader.carried(&warmup.entry, format!("warmup_share{WARMING}"));
        return warmup.number;
    }
    match max_steps {
        Some(all) => {
            let share = share_of(warmup.number.floor(), all as f64);
            reader.carried(&warmup.entry, format!("warmup_share = {share} (of max_steps){WARMING}"));
            share
        }
        None => {
            let what = "how many steps there are depends on the data's size: warmup_share = 0 stands in the recipe; set it to \
                        these steps over all of them";
            reader.attention(&warmup.entry, what);
            0.0
        }
    }
}

/// `checkpoint_every`. A number of steps below 1 is a share of all steps.
fn checkpoint_every(reader: &mut Reader, max_steps: Option<u64>) -> u64 {
    const USUAL: u64 = 500;
    let share = reader.look("save_steps").and_then(|entry| entry.value.number()).filter(|share| *share < 1.0);
    let Some((share, entry)) = share.filter(|share| *share > 0.0).zip(reader.take("save_steps")) else {
        return reader.whole("save_steps", "checkpoint_every", USUAL);
    };
    let Some(all) = max_steps else {
        let what = format!(
            "it is a share of all steps, and how many there are depends on the data's size: checkpoint_every = {USUAL} \
             stands in the recipe; set it to {share} x steps"
        );
        reader.attention(&entry, what);
        return USUAL;
    };
    let every = (share * all as f64).ceil() as u64;
    reader.carried(&entry, format!("checkpoint_every = {every} (a share of {all})"));
    every
}

/// The share of `all` steps that a stage takes for this many: it rounds up, so that a share that is a hair too large would
/// be a step more.
fn share_of(steps: f64, all: f64) -> f64 {
    let mut share = (steps / all).min(1.0);
    while (share * all).ceil() > steps {
        share = share.next_down();
    }
    share
}

fn evaluation(reader: &mut Reader, stage: &mut Table) {
    let usual = SftSettings::default().validation_share;
    let evaluation = data::evaluation(reader, "validation_share", usual, None);
    stage.set("validation_share", float(evaluation.share));
    if let Some(entry) = evaluation.steps {
        reader.note(&entry, Outcome::Ignored("the loss on what is set aside is measured after each pass"));
    }
}

/// The most passes that a recipe may ask for.
const MOST_PASSES: u64 = 1000;

/// `epochs` and `max_steps`; the second is given, where the file has it. In TRL it decides, however many passes it takes; here a
/// stage ends with whichever of the two ends first.
fn steps(reader: &mut Reader, stage: &mut Table) -> Option<u64> {
    let epochs = reader.take("num_train_epochs");
    let max_steps = reader.take("max_steps");
    if let Some((entry, steps @ 1..)) = max_steps.as_ref().and_then(|entry| Some((entry, entry.value.whole()?))) {
        stage.remark("epochs", MOST_PASSES, "as many as max_steps takes");
        stage.set("max_steps", steps);
        reader
            .carried(entry, format!("max_steps (with epochs = {MOST_PASSES}, the most, so that it decides as in TRL)"));
        if let Some(epochs) = epochs {
            reader.note(&epochs, Outcome::Ignored("max_steps decides"));
        }
        return Some(steps as u64);
    }
    if let Some(entry) = max_steps {
        reader.note(&entry, Outcome::Ignored(NOT_SET));
    }
    let whole = epochs.as_ref().map_or(Some(3), |entry| entry.value.whole().filter(|epochs| *epochs >= 1));
    stage.set("epochs", whole.unwrap_or(1));
    if let Some(entry) = epochs {
        match whole {
            Some(_) => reader.carried(&entry, "epochs"),
            None => reader.attention(&entry, "passes are whole here; epochs = 1 stands in the recipe"),
        }
    }
    None
}

fn length(reader: &mut Reader, stage: &mut Table) {
    if let Some(entry) = reader.take_null("max_length") {
        stage.set("max_length", 0);
        reader.carried(&entry, "max_length = 0: nothing is left out that the model has positions for");
        return;
    }
    let named = ["max_length", "max_seq_length"].iter().find_map(|key| reader.take(key));
    let tokens = named.as_ref().map_or(Some(1024), |entry| entry.value.whole().filter(|tokens| *tokens >= 1));
    stage.set("max_length", tokens.unwrap_or(1024));
    if let Some(entry) = named {
        match tokens {
            Some(_) => reader.carried(&entry, "max_length; what is longer is left out here, where TRL cuts it off"),
            None => reader.attention(&entry, "expected a number of tokens; max_length = 1024 stands in the recipe"),
        }
    }
}

/// Which tokens bear the loss: here those of the answer, in TRL all of them unless the file or the rows say otherwise.
fn learned(reader: &mut Reader) {
    const ALL: &str =
        "the loss is on the answers alone here; in TRL it is on all tokens, those of the questions included";
    const UNLESS: &str = ", unless rows have a `prompt` and a `completion`";
    let keys = [("assistant_only_loss", UNLESS), ("completion_only_loss", "")];
    let given: Vec<(Entry, &str)> =
        keys.iter().filter_map(|(key, unless)| Some((reader.take(key)?, *unless))).collect();
    let alone = |entry: &Entry| entry.value.flag() == Some(true);
    let one_is_true = given.iter().any(|(entry, _)| alone(entry));
    for (entry, unless) in &given {
        if alone(entry) {
            reader.carried(entry, "the loss is on the answers alone; of a conversation, on the last one");
        } else if one_is_true {
            reader.note(entry, Outcome::Ignored("the key beside it has the loss on the answers alone"));
        } else {
            reader.attention(entry, format!("{ALL}{unless}"));
        }
    }
    if given.is_empty() {
        reader.missing("assistant_only_loss", format!("{ALL}{UNLESS}"));
    }
}

/// What is done otherwise here, or is the model's own affair.
fn others(reader: &mut Reader) {
    for (key, meaning) in [
        ("packing", "batches are always packed, and demonstrations do not see each other"),
        ("packing_strategy", "batches are always packed, and demonstrations do not see each other"),
        ("eval_packing", "batches are always packed, and demonstrations do not see each other"),
        ("padding_free", "batches are always packed, without padding"),
        // Whatever its value is, TRL's trainer draws rows at random, too.
        ("shuffle_dataset", "demonstrations come in a seeded order, which a resumed run goes on with"),
        ("pad_token", "batches are packed, without padding"),
        ("truncation_mode", "a demonstration that is too long is left out, and none is cut"),
        ("dataset_text_field", "rows are read by the columns that they have"),
        ("dataset_kwargs", "rows are read by the columns that they have"),
    ] {
        for entry in take_starting(reader, &[key]) {
            reader.note(&entry, Outcome::Ignored(meaning));
        }
    }
    for (key, what) in [
        // Also `chat_template_path` and `chat_template_kwargs`.
        ("chat_template", "the chat template is the model's own: put yours into its tokenizer_config.json"),
        ("dataset_prompt_column", "rows are read by the columns that they have: call that of the question `prompt`"),
        ("eos_token", "the end token is the model's own: put yours into its tokenizer_config.json"),
        ("system_prompt", "tasks.system_prompt puts it before demonstrations that have none of their own"),
    ] {
        for entry in take_starting(reader, &[key]) {
            reader.attention(&entry, what);
        }
    }
    if let Some(entry) = reader.take("loss_type") {
        const LOSS: &str = "the loss is the negative log-likelihood";
        match entry.value.text() {
            Some("nll") => reader.carried(&entry, LOSS),
            _ => reader.attention(&entry, format!("{LOSS} here, which TRL calls nll")),
        }
    }
}
