//! TRL's `SFTConfig` with Open R1's script arguments, as a recipe with one sft stage.

use std::fmt::Write;

use super::common::{Table, adapters, float, model, quoted, schedule};
use super::{Outcome, Reader};

pub(super) fn recipe(reader: &mut Reader, name: &str, shown: &str, processes: u64) -> String {
    let mut stage = Table::default();
    let seed = reader.whole("seed", "seed", 42).min(crate::config::LARGEST_SEED);
    let model = model(reader);
    data(reader, &mut stage);
    stage.set("template", quoted("chat"));
    let device = reader.whole("per_device_train_batch_size", "batch_size", 8).max(1);
    let accumulated = reader.whole("gradient_accumulation_steps", "batch_size", 1).max(1);
    let batch = device * processes * accumulated;
    stage.set("batch_size", batch);
    reader.missing(
        "number of GPUs",
        format!("{processes} assumed (--gpus N says otherwise): an optimizer step then has {batch} demonstrations"),
    );
    steps(reader, &mut stage);
    length(reader, &mut stage);
    stage.set("learning_rate", float(reader.number("learning_rate", "learning_rate", 2e-5)));
    stage.set("warmup_share", float(reader.number("warmup_ratio", "warmup_share", 0.0).clamp(0.0, 1.0)));
    if let Some(entry) = reader.take("warmup_steps") {
        match entry.value.number() {
            Some(0.0) => reader.carried(&entry, "warmup_share decides"),
            _ => reader.attention(&entry, "set warmup_share to these steps over all of them"),
        }
    }
    schedule(reader, &mut stage, 2e-5);
    stage.set("max_grad_norm", float(reader.number("max_grad_norm", "max_grad_norm", 1.0)));
    stage.set("weight_decay", float(reader.number("weight_decay", "weight_decay", 0.0)));
    stage.set("beta1", float(reader.number("adam_beta1", "beta1", 0.9)));
    stage.set("beta2", float(reader.number("adam_beta2", "beta2", 0.999)));
    adapters(reader, &mut stage);
    stage.set("checkpoint_every", reader.whole("save_steps", "checkpoint_every", 500));
    stage.set("keep_checkpoints", reader.whole("save_total_limit", "keep_checkpoints", 2).max(1));

    let mut text = format!(
        "# Made of {shown} by `recipe import`: read its account of what needs attention.\n\nname = {}\ndescription = {}\n\
         seed = {seed}\n\n{model}\n[[stage]]\nkind = \"sft\"\n",
        quoted(name),
        quoted(&format!("Supervised fine-tuning as {shown} has it"))
    );
    for (key, value, remark) in &stage.0 {
        let remark = if remark.is_empty() { String::new() } else { format!("    # {remark}") };
        let _ = writeln!(text, "{key} = {value}{remark}");
    }
    text
}

fn data(reader: &mut Reader, stage: &mut Table) {
    let Some(entry) = reader.take("dataset_name") else {
        reader.missing("dataset_name", "name the files with demonstrations in the stage's `data`");
        stage.remark("data", "[\"DEMONSTRATIONS.jsonl\"]", "the files: fill in");
        return;
    };
    let name = entry.value.to_string();
    if [".jsonl", ".json", ".csv", ".parquet", ".gz"].iter().any(|end| name.ends_with(end)) {
        reader.carried(&entry, "data");
        stage.set("data", format!("[{}]", quoted(&name)));
        return;
    }
    reader.attention(&entry, "the name of a data hub: fetch its file, and name that in the stage's `data`");
    let file = format!("{}.parquet", name.replace('/', "--"));
    stage.remark("data", format!("[{}]", quoted(&file)), "the file that you fetched");
}

fn steps(reader: &mut Reader, stage: &mut Table) {
    let epochs = reader.take("num_train_epochs");
    let whole = epochs.as_ref().map_or(Some(3), |entry| entry.value.whole().filter(|epochs| *epochs >= 1));
    stage.set("epochs", whole.unwrap_or(1));
    if let Some(entry) = epochs {
        match whole {
            Some(_) => reader.carried(&entry, "epochs"),
            None => reader.attention(&entry, "passes are whole here; epochs = 1 stands in the recipe"),
        }
    }
    if let Some(entry) = reader.take("max_steps") {
        match entry.value.whole() {
            Some(steps @ 1..) => {
                stage.set("max_steps", steps);
                reader.carried(&entry, "max_steps");
            }
            _ => reader.note(&entry, Outcome::Ignored("it is not set")),
        }
    }
}

fn length(reader: &mut Reader, stage: &mut Table) {
    let named = ["max_length", "max_seq_length"].iter().find_map(|key| reader.take(key));
    let tokens = named.as_ref().map_or(Some(1024), |entry| entry.value.whole().filter(|tokens| *tokens >= 1));
    stage.set("max_length", tokens.unwrap_or(1024));
    if let Some(entry) = named {
        match tokens {
            Some(_) => reader.carried(&entry, "max_length; what is longer is left out here, where TRL cuts it off"),
            None => reader.attention(&entry, "expected a number of tokens; max_length = 1024 stands in the recipe"),
        }
    }
    for (key, meaning) in [
        ("packing", "batches are always packed, and demonstrations do not see each other"),
        ("packing_strategy", "batches are always packed, and demonstrations do not see each other"),
        ("eval_packing", "batches are always packed, and demonstrations do not see each other"),
        ("padding_free", "batches are always packed, without padding"),
        ("assistant_only_loss", "the loss is on the answers alone"),
        ("completion_only_loss", "the loss is on the answers alone"),
        ("dataset_text_field", "rows are read by the columns that they have"),
        ("dataset_kwargs", "rows are read by the columns that they have"),
    ] {
        if let Some(entry) = reader.take(key) {
            reader.note(&entry, Outcome::Ignored(meaning));
        }
    }
    for (key, what) in [
        ("chat_template", "the chat template is the model's own: put yours into its tokenizer_config.json"),
        ("chat_template_path", "the chat template is the model's own: put yours into its tokenizer_config.json"),
        ("eos_token", "the end token is the model's own: put yours into its tokenizer_config.json"),
        ("system_prompt", "put a system message into the rows of the demonstrations"),
        ("neftune_noise_alpha", "no noise is added to embeddings"),
        ("loss_type", "the loss is the negative log-likelihood of the answers"),
    ] {
        if let Some(entry) = reader.take(key) {
            reader.attention(&entry, what);
        }
    }
}
