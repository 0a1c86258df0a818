//! What both kinds of configuration have: the model, the schedule, adapters, and how a table is written.

use super::Reader;
use super::yaml::Entry;

/// The stage's table as it grows: key, value as TOML, remark.
#[derive(Default)]
pub(super) struct Table(pub(super) Vec<(&'static str, String, &'static str)>);

impl Table {
    pub(super) fn set(&mut self, key: &'static str, value: impl ToString) {
        self.0.push((key, value.to_string(), ""));
    }

    pub(super) fn remark(&mut self, key: &'static str, value: impl ToString, remark: &'static str) {
        self.0.push((key, value.to_string(), remark));
    }
}

/// A number as TOML: always with a dot or an exponent.
pub(super) fn float(value: f64) -> String {
    if value != 0.0 && value.abs() < 1e-3 { format!("{value:e}") } else { format!("{value:?}") }
}

pub(super) fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

/// Every entry whose key begins so.
pub(super) fn take_starting(reader: &mut Reader, prefixes: &[&str]) -> Vec<Entry> {
    let fits = |entry: &&Entry| prefixes.iter().any(|prefix| entry.key.starts_with(prefix));
    let keys: Vec<String> = reader.entries.iter().filter(fits).map(|entry| entry.key.clone()).collect();
    keys.iter().filter_map(|key| reader.take(key)).collect()
}

/// `schedule` and `min_ratio`. `default` is the learning rate where the file has none.
pub(super) fn schedule(reader: &mut Reader, stage: &mut Table, default: f64) {
    let kind = reader.take("lr_scheduler_type");
    let rate = reader.take("lr_scheduler_kwargs.min_lr_rate");
    let floor = reader.take("lr_scheduler_kwargs.min_lr");
    let learning_rate = reader
        .entries
        .iter()
        .find(|entry| entry.key == "learning_rate")
        .and_then(|entry| entry.value.number())
        .unwrap_or(default);
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
            true => reader.carried(&entry, format!("schedule = \"{schedule}\"")),
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

/// That the whole model is trained, in 32-bit floats.
pub(super) fn whole_model(reader: &mut Reader) {
    for entry in take_starting(reader, &["lora_", "peft_"]) {
        reader.attention(&entry, "the whole model is trained: there are no adapters in this stage");
    }
    if let Some(entry) = reader.take("use_peft") {
        match entry.value.flag() {
            Some(false) => reader.carried(&entry, "the whole model is trained"),
            _ => reader.attention(&entry, "the whole model is trained: there are no adapters in this stage"),
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
    let name = entry.value.to_string();
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
