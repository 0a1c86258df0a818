//! The rewards of `GRPOConfig` and of Open R1's script, as `[[rewards]]`.

use std::fmt::Write;

use rewards::Registry;

use super::Reader;
use super::common::{float, quoted};
use super::release::Defaults;
use super::yaml::Value;

/// Rewards of Open R1 and TRL by their names here.
const REWARDS: &[(&str, &str)] = &[
    ("accuracy", "accuracy"),
    ("format", "format"),
    ("code", "code"),
    ("binary_code", "binary_code"),
    ("tag_count", "tag_count"),
    ("reasoning_steps", "reasoning_steps"),
    ("length", "length"),
    ("cosine", "cosine"),
    ("repetition_penalty", "repetition_penalty"),
    ("soft_overlong_punishment", "soft_overlong"),
    ("code_format", "code_format"),
    ("accuracy_reward", "accuracy"),
    ("think_format_reward", "format"),
    ("trl.rewards.accuracy_reward", "accuracy"),
    ("trl.rewards.think_format_reward", "format"),
];

/// Those of them that look for the tags of thoughts alone, where ours looks for the answer's as well.
const THOUGHTS_ALONE: [&str; 2] = ["think_format_reward", "trl.rewards.think_format_reward"];

/// What Open R1's script tells its rewards.
const REWARD_PARAMETERS: [&str; 9] = [
    "cosine_min_value_wrong",
    "cosine_max_value_wrong",
    "cosine_min_value_correct",
    "cosine_max_value_correct",
    "cosine_max_len",
    "repetition_n_grams",
    "repetition_max_penalty",
    "max_completion_len",
    "soft_punish_cache",
];

/// What Open R1's parameters of `soft_overlong_punishment` are where the file is silent.
const OVERLONG: [(&str, i64); 2] = [("max_completion_len", 16_384), ("soft_punish_cache", 4_096)];

/// The parameters of `soft_overlong`. Those under which no answer could be punished are left out: ours follow the limit.
fn overlong(reader: &mut Reader, defaults: &Defaults) -> String {
    let limit = reader.look("max_completion_length").and_then(|entry| entry.value.whole());
    let limit = limit.unwrap_or(defaults.max_completion_length as i64);
    let given = OVERLONG.map(|(key, usual)| (key, usual, reader.take(key)));
    let [most, cache] =
        given.each_ref().map(|(_, usual, entry)| entry.as_ref().map_or(Some(*usual), |entry| entry.value.whole()));
    let works = most.zip(cache).filter(|(most, cache)| *cache >= 1 && most >= cache && most - cache < limit);
    if let Some((most, cache)) = works {
        for (key, _, entry) in given {
            if let Some(entry) = entry {
                reader.carried(&entry, format!("rewards.parameters.{key}"));
            }
        }
        return format!("parameters = {{ max_completion_len = {most}, soft_punish_cache = {cache} }}\n");
    }
    const OURS: &str = "soft_overlong goes by max_new_tokens instead, over the last fifth of it";
    if given.iter().all(|(_, _, entry)| entry.is_none()) {
        let [(_, most), (_, cache)] = OVERLONG;
        let what = format!(
            "Open R1's {most}, with a cache of {cache}, punishes nothing where answers end at {limit} tokens: {OURS}"
        );
        reader.missing("max_completion_len", what);
    }
    for (_, _, entry) in given {
        if let Some(entry) = entry {
            let what = format!("no answer of up to {limit} tokens would be punished: {OURS}");
            reader.attention(&entry, what);
        }
    }
    String::new()
}

pub(super) fn rewards(reader: &mut Reader, defaults: &Defaults) -> String {
    let functions = reader.take("reward_funcs");
    let weights = reader.take("reward_weights");
    let weighed: Vec<f64> =
        weights.iter().flat_map(|entry| entry.value.elements()).map(|weight| weight.number().unwrap_or(1.0)).collect();
    let names: Vec<String> = match &functions {
        Some(entry) => entry.value.elements().iter().map(Value::full).collect(),
        // Open R1's own default.
        None => ["accuracy", "format", "tag_count"].map(str::to_owned).to_vec(),
    };
    let known_here = Registry::builtin().names();
    let mut text = String::new();
    let (mut carried, mut lost): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
    let mut open: Vec<String> = Vec::new();
    for (place, name) in names.iter().enumerate() {
        let ours = REWARDS.iter().find(|(theirs, _)| theirs == name).map(|(_, ours)| *ours);
        match ours.filter(|ours| known_here.iter().any(|known| known == ours)) {
            Some(ours) if !carried.iter().any(|other| other == ours) => {
                let weight = weighed.get(place).copied().unwrap_or(1.0);
                let _ = writeln!(text, "[[rewards]]\nname = {}\nweight = {}", quoted(ours), float(weight));
                if ours == "soft_overlong" {
                    text.push_str(&overlong(reader, defaults));
                }
                text.push('\n');
                carried.push(ours.to_owned());
                if THOUGHTS_ALONE.contains(&name.as_str()) {
                    open.push(format!(
                        "{name} asks for <think>...</think> alone, and `format` here for <answer>...</answer> after it too"
                    ));
                }
            }
            Some(_) => lost.push(format!("{name} (listed twice)")),
            None => lost.push(name.clone()),
        }
    }
    if carried.is_empty() {
        text.push_str("[[rewards]]\nname = \"accuracy\"    # none of the file's rewards is known here\n\n");
    }
    if names.len() != weighed.len() && weights.is_some() {
        reader.worked_out(
            "reward_weights",
            format!("{} weights for {} rewards: what has none got 1", weighed.len(), names.len()),
        );
    }
    if !lost.is_empty() {
        let names = lost.join(", ");
        open.push(format!("there is no reward here for {names}; `recipe reward list` lists those that there are"));
    }
    if let Some(entry) = &functions {
        match open.is_empty() {
            true => reader.carried(entry, format!("rewards: {}", carried.join(", "))),
            false => reader.attention(entry, open.join("; ")),
        }
    } else {
        reader.missing("reward_funcs", "Open R1's default is accuracy, format and tag_count");
    }
    if let Some(entry) = weights {
        match entry.value.elements().iter().all(|weight| weight.number().is_some()) {
            true => reader.carried(&entry, "rewards.weight"),
            false => reader.attention(&entry, "expected a list of numbers; what is none counts as 1 in the recipe"),
        }
    }
    if let Some(entry) = reader.take("multi_objective_aggregation") {
        match entry.value.text() {
            Some("sum_then_normalize") => reader.carried(&entry, "rewards are summed, then compared within the group"),
            _ => reader
                .attention(&entry, "rewards are summed, then compared within the group; nothing else is known here"),
        }
    }
    let open = REWARD_PARAMETERS.into_iter().filter(|key| !reader.taken.iter().any(|taken| taken == key));
    for key in open.collect::<Vec<_>>() {
        if let Some(entry) = reader.take(key) {
            reader.attention(&entry, "a parameter of a reward: `recipe reward show NAME` says how it is named here");
        }
    }
    text
}
