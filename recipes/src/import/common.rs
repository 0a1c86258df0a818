//! What both kinds of configuration have: the model, the schedule, adapters, and how a table is written.

use std::fmt::Write;

use policy::lora::LoraConfig;

use super::yaml::{Entry, Value};
use super::{Outcome, Reader};

/// The stage's table as it grows: key, value as TOML, remark.
#[derive(Default)]
pub(super) struct Table(Vec<(&'static str, String, String)>);

impl Table {
    pub(super) fn set(&mut self, key: &'static str, value: impl ToString) {
        self.remark(key, value, "");
    }

    pub(super) fn remark(&mut self, key: &'static str, value: impl ToString, remark: impl Into<String>) {
        self.0.push((key, value.to_string(), remark.into()));
    }

    /// As lines of TOML.
    pub(super) fn lines(&self) -> String {
        let mut text = String::new();
        for (key, value, remark) in &self.0 {
            let remark = if remark.is_empty() { String::new() } else { format!("    # {remark}") };
            let _ = writeln!(text, "{key} = {value}{remark}");
        }
        text
    }
}

/// A number as TOML: always with a dot or an exponent.
pub(super) fn float(value: f64) -> String {
    if value != 0.0 && value.abs() < 1e-3 { format!("{value:e}") } else { format!("{value:?}") }
}

pub(super) fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

/// Every entry whose key begins so, but for those that were taken already.
pub(super) fn take_starting(reader: &mut Reader, prefixes: &[&str]) -> Vec<Entry> {
    let begins = |entry: &Entry| prefixes.iter().any(|prefix| entry.key.starts_with(prefix));
    let fits = |entry: &&Entry| begins(entry) && !reader.taken.contains(&entry.key);
    let keys: Vec<String> = reader.entries.iter().filter(fits).map(|entry| entry.key.clone()).collect();
    keys.iter().filter_map(|key| reader.take(key)).collect()
}

/// `schedule` and `min_ratio`. `default` is the learning rate where the file has none.
pub(super) fn schedule(reader: &mut Reader, stage: &mut Table, default: f64) {
    let kind = reader.take("lr_scheduler_type");
    let rate = reader.take("lr_scheduler_kwargs.min_lr_rate");
    let floor = reader.take("lr_scheduler_kwargs.min_lr");
    let learning_rate = reader.look("learning_rate").and_then(|entry| entry.value.number()).unwrap_or(default);
    let named = kind.as_ref().and_then(|entry| entry.value.text()).unwrap_or("linear").to_owned();
    let min_ratio = match (&rate, &floor) {
        (Some(rate), _) => rate.value.number(),
        (_, Some(floor)) => {
            floor.value.number().map(|floor| if learning_rate > 0.0 { floor / learning_rate } else { 0.0 })
        }
        _ => None,
    };
    let (schedule, known) = match named.as_str() {
        "cosine" | "cosine_with_min_lr" => ("cosine", true),
        "linear" => ("linear", true),
        "constant" | "constant_with_warmup" => ("constant", true),
        _ => ("cosine", false),
    };
    stage.set("schedule", quoted(schedule));
    if schedule == "cosine" {
        stage.set("min_ratio", float(min_ratio.unwrap_or(0.0).clamp(0.0, 1.0)));
    }
    if let Some(entry) = kind {
        match known {
            true => {
                let remark = match schedule {
                    "cosine" => {
                        " (its last step has the floor, which in transformers the step after the last would have)"
                    }
                    _ => "",
                };
                reader.carried(&entry, format!("schedule = \"{schedule}\"{remark}"));
            }
            false => reader
                .attention(&entry, "expected constant, linear or cosine; schedule = \"cosine\" stands in the recipe"),
        }
    }
    for entry in [rate, floor].into_iter().flatten() {
        match (schedule, entry.value.number()) {
            ("cosine", Some(_)) => reader.carried(&entry, "min_ratio"),
            ("cosine", None) => reader.attention(&entry, "expected a number; min_ratio = 0 stands in the recipe"),
            _ => reader.attention(&entry, "only a cosine has a floor here"),
        }
    }
}

/// A warm-up as the file has it: `number` steps, or that share of all steps.
pub(super) struct Warmup {
    /// Where the file says it; what became of it is still to be said.
    pub(super) entry: Entry,
    pub(super) number: f64,
    pub(super) is_share: bool,
}

/// What is said of a warm-up that is carried over.
pub(super) const WARMING: &str = " (its first step has a share of the rate already, where in transformers it has none)";

/// The warm-up, if there is one. Of two keys the one that decides is given, and the other is dealt with.
pub(super) fn warmup(reader: &mut Reader) -> Option<Warmup> {
    if without_warmup(reader) {
        return None;
    }
    let mut found = None;
    for key in ["warmup_steps", "warmup_ratio"] {
        let Some(entry) = reader.take(key) else { continue };
        match entry.value.number() {
            Some(number) if number > 0.0 && found.is_none() => {
                // In transformers 5 a number of steps below 1 is a share, too.
                let is_share = key == "warmup_ratio" || number < 1.0;
                found = Some(Warmup { entry, number: if is_share { number.min(1.0) } else { number }, is_share });
            }
            Some(number) if number > 0.0 => reader.attention(
                &entry,
                "warmup_steps decides here, as in transformers 4; where both are given, transformers 5 takes this one",
            ),
            Some(0.0) => reader.carried(&entry, "0 is none"),
            _ => reader.attention(&entry, "expected a number, 0 or more: it counts for none in the recipe"),
        }
    }
    found
}

/// Whether there is no warm-up, whatever the file says of one: transformers' `constant` has none, which is what
/// `constant_with_warmup` is for.
fn without_warmup(reader: &mut Reader) -> bool {
    if reader.look("lr_scheduler_type").and_then(|entry| entry.value.text()) != Some("constant") {
        return false;
    }
    for key in ["warmup_steps", "warmup_ratio"] {
        if let Some(entry) = reader.take(key) {
            reader.note(&entry, Outcome::Ignored("lr_scheduler_type constant has no warm-up"));
        }
    }
    true
}

/// How many checkpoints stay.
pub(super) fn kept_checkpoints(reader: &mut Reader, stage: &mut Table) {
    const USUAL: i64 = 2;
    match reader.take("save_total_limit") {
        None => stage.remark("keep_checkpoints", USUAL, "the newest; TRL keeps all"),
        Some(entry) => match entry.value.whole() {
            Some(kept @ 1..) => {
                stage.set("keep_checkpoints", kept);
                reader.carried(&entry, "keep_checkpoints");
            }
            _ => reader.attention(&entry, "expected a number of checkpoints, 1 or more"),
        },
    }
}

/// How experts are kept busy.
pub(super) fn experts(reader: &mut Reader) {
    let Some(entry) = reader.take("router_aux_loss_coef") else { return };
    if entry.value.number() == Some(0.0) {
        reader.carried(&entry, "0 is none: the router's bias balances experts here (router_bias_rate)");
    } else {
        reader.attention(&entry, "experts are balanced by the router's bias here (router_bias_rate), not by a loss");
    }
}

/// `checkpoint_layers`, which is the same under another name: more work for less memory, and the same gradients.
pub(super) fn checkpointed_layers(reader: &mut Reader, stage: &mut Table) {
    let named = ["gradient_checkpointing", "activation_checkpointing"].map(|key| reader.take_flag(key));
    let named: Vec<(Entry, bool)> = named.into_iter().flatten().collect();
    if !named.is_empty() {
        stage.set("checkpoint_layers", named.iter().any(|(_, checkpointed)| *checkpointed));
    }
    for (entry, _) in &named {
        reader.carried(entry, "checkpoint_layers");
    }
}

/// Adapters, where the file asks for some, over 32-bit floats.
pub(super) fn adapters(reader: &mut Reader, stage: &mut Table) {
    let asked = reader.take_flag("use_peft");
    let wanted = asked.as_ref().is_some_and(|(_, wanted)| *wanted);
    if let Some((entry, _)) = &asked {
        reader.carried(entry, if wanted { "lora" } else { "the whole model is trained" });
    }
    if wanted {
        let rank = reader.whole("lora_r", "lora.rank", 16).max(1);
        let alpha = reader.number("lora_alpha", "lora.alpha", 32.0);
        // What PEFT takes for Llama and Qwen where nothing is said.
        let mut targets = vec!["q_proj".to_owned(), "v_proj".to_owned()];
        if let Some(entry) = reader.take("lora_target_modules") {
            let named: Vec<String> = entry.value.elements().iter().map(Value::full).collect();
            match named.iter().find(|name| !LoraConfig::TARGETS.contains(&name.as_str())) {
                Some(strange) => reader.attention(
                    &entry,
                    format!("`{strange}` cannot be adapted here; {} stand in the recipe", targets.join(", ")),
                ),
                None => {
                    targets = named;
                    reader.carried(&entry, "lora.targets");
                }
            }
        }
        match reader.take("lora_dropout") {
            Some(entry) if entry.value.number() == Some(0.0) => reader.carried(&entry, "there is no dropout"),
            Some(entry) => reader.attention(&entry, "adapters have no dropout here"),
            None => reader.missing("lora_dropout", "TRL's default is 0.05; adapters have no dropout here"),
        }
        let targets: Vec<String> = targets.iter().map(|target| quoted(target)).collect();
        let table = format!("{{ rank = {rank}, alpha = {}, targets = [{}] }}", float(alpha), targets.join(", "));
        stage.set("lora", table);
    }
    for entry in take_starting(reader, &["lora_", "peft_", "use_rslora", "use_dora"]) {
        match (wanted, entry.value.flag()) {
            (false, _) => reader.note(&entry, Outcome::Ignored("use_peft is not set")),
            (true, Some(false)) => reader.carried(&entry, "plain LoRA"),
            (true, _) => reader.attention(&entry, "adapters have no such setting here"),
        }
    }
    for entry in take_starting(reader, &["load_in_", "use_bnb"]) {
        match entry.value.flag() {
            Some(false) => reader.carried(&entry, "weights are 32-bit floats"),
            _ => reader.attention(&entry, "weights are 32-bit floats here: the model needs more memory"),
        }
    }
}

/// The table `[model]`.
pub(super) fn model(reader: &mut Reader) -> String {
    let revision = reader.take("model_revision");
    if let Some(entry) = revision {
        match entry.value.text() {
            Some("main") => reader.carried(&entry, "the newest, which is what a folder holds"),
            _ => reader.attention(&entry, "take this revision when you fetch the model"),
        }
    }
    for key in ["tokenizer_name_or_path", "tokenizer_name"] {
        if let Some(entry) = reader.take(key) {
            reader.attention(&entry, "the tokenizer is read from the model's folder: put its files there");
        }
    }
    let Some(entry) = reader.take("model_name_or_path") else {
        reader.missing("model_name_or_path", "name the model's folder: --model DIR");
        return "[model]\npath = \"MODEL\"    # the model's folder: fill in\n".to_owned();
    };
    let name = entry.value.full();
    if is_path(&name) {
        reader.carried(&entry, "model.path");
    } else {
        reader.attention(
            &entry,
            "the name of a model hub: fetch it into a folder, and name that with model.path or --model DIR",
        );
    }
    format!("[model]\npath = {}\n", quoted(&name))
}

/// Whether a name is a path rather than a hub's `owner/name`.
fn is_path(name: &str) -> bool {
    let folder = std::path::Path::new(name);
    name.starts_with(['/', '.', '~']) || folder.is_dir() || name.matches('/').count() != 1
}
