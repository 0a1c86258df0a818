//! TRL's `GRPOConfig` with Open R1's script arguments, as a recipe with one grpo stage.
//!
//! Batches: TRL counts completions. Each time it samples, it samples `per_device_train_batch_size` on each of the GPUs,
//! `steps_per_generation` times over (unless said, as often as gradients are accumulated): `generation_batch_size` in all,
//! from that many over `num_generations` prompts. `gradient_accumulation_steps` of these make an optimizer step. Here a step
//! samples `prompts_per_step` x `group_size` and has `mini_batches` optimizer steps in each of its `epochs`.

use std::fmt::Write;

use rewards::Registry;

use super::Reader;
use super::common::{Table, adapters, float, model, quoted, schedule, take_starting};
use super::yaml::Value;

/// Steps where the file gives epochs and so leaves it to the data's size.
const STEPS: u64 = 200;

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

pub(super) fn recipe(reader: &mut Reader, name: &str, shown: &str, processes: u64) -> String {
    let mut stage = Table::default();
    let seed = reader.whole("seed", "seed", 42).min(crate::config::LARGEST_SEED);
    let batch = batches(reader, &mut stage, processes);
    sampling(reader, &mut stage);
    let steps = steps(reader, &mut stage, batch);
    optimizer(reader, &mut stage, steps);
    loss(reader, &mut stage);
    reference(reader, &mut stage);
    saving(reader, &mut stage);
    let model = model(reader);
    let tasks = tasks(reader) + &asking(reader);
    let rewards = rewards(reader);

    let mut text = format!(
        "# Made of {shown} by `recipe import`: read its account of what needs attention.\n\nname = {}\ndescription = {}\n\
         seed = {seed}\n\n{model}\n{tasks}\n{rewards}\n[[stage]]\nkind = \"grpo\"\n",
        quoted(name),
        quoted(&format!("GRPO as {shown} has it"))
    );
    for (key, value, remark) in &stage.0 {
        let remark = if remark.is_empty() { String::new() } else { format!("    # {remark}") };
        let _ = writeln!(text, "{key} = {value}{remark}");
    }
    text
}

/// Completions of a step, and optimizer steps in it.
#[derive(Clone, Copy)]
struct Batch {
    optimizer_steps: u64,
}

fn batches(reader: &mut Reader, stage: &mut Table, processes: u64) -> Batch {
    let group = reader.whole("num_generations", "group_size", 8).max(1);
    let device = reader.whole("per_device_train_batch_size", "prompts_per_step", 8).max(1);
    let accumulated = reader.whole("gradient_accumulation_steps", "prompts_per_step", 1).max(1);
    let each = reader.whole("steps_per_generation", "prompts_per_step and mini_batches", accumulated).max(1);
    let completions = reader.whole("generation_batch_size", "prompts_per_step", device * processes * each).max(1);
    reader.missing(
        "number of GPUs",
        format!(
            "{processes} assumed (--gpus N says otherwise): a step then samples {completions} completions of {} prompts",
            completions.div_ceil(group)
        ),
    );
    if !completions.is_multiple_of(group) {
        reader.worked_out(
            "prompts_per_step",
            format!("{completions} completions are not whole groups of {group}: rounded up to whole ones"),
        );
    }
    let optimizer_steps = (completions / (device * processes * accumulated)).max(1);
    let epochs = reader.whole("num_iterations", "epochs", 1).max(1);
    stage.set("prompts_per_step", completions.div_ceil(group));
    stage.set("group_size", group);
    if optimizer_steps > 1 {
        stage.set("mini_batches", optimizer_steps);
    }
    if epochs > 1 {
        stage.set("epochs", epochs);
    }
    Batch { optimizer_steps: optimizer_steps * epochs }
}

fn sampling(reader: &mut Reader, stage: &mut Table) {
    stage.set("max_new_tokens", reader.whole("max_completion_length", "max_new_tokens", 512).max(1));
    stage.set("temperature", float(reader.number("temperature", "temperature", 1.0)));
    let top_p = reader.number("top_p", "top_p", 1.0);
    if top_p < 1.0 {
        stage.set("top_p", float(top_p));
    }
    if let Some(entry) = reader.take("top_k") {
        match entry.value.whole() {
            // Both mean all tokens.
            Some(..=0) => reader.carried(&entry, "top_k = 0, which is the default"),
            Some(top_k) => {
                stage.set("top_k", top_k);
                reader.carried(&entry, "top_k");
            }
            None => reader.attention(&entry, "expected a whole number"),
        }
    }
    for key in ["min_p", "repetition_penalty", "generation_kwargs"] {
        if let Some(entry) = reader.take(key) {
            if key == "repetition_penalty" && entry.value.number() == Some(1.0) {
                reader.carried(&entry, "1 is none");
            } else {
                reader.attention(&entry, "sampling has no such setting here: completions will differ");
            }
        }
    }
    if let Some(entry) = reader.take("max_prompt_length") {
        reader.attention(
            &entry,
            "prompts are never cut here: one that leaves no room for an answer stops the run before it begins",
        );
    }
}

/// The keys of `[tasks]` that say how questions are asked. A file with a system message or a chat template means a model
/// that has been taught to chat; without one, nothing tells what the data set's prompts are.
fn asking(reader: &mut Reader) -> String {
    let mut text = String::new();
    let system = reader.take("system_prompt");
    let own = [reader.take("chat_template"), reader.take("chat_template_kwargs")];
    if system.is_some() || own.iter().any(Option::is_some) {
        text.push_str("template = \"chat\"\n");
    }
    if let Some(entry) = system {
        let _ = writeln!(text, "system_prompt = {}", quoted(entry.value.text().unwrap_or_default()));
        reader.carried(&entry, "tasks.template = \"chat\" and tasks.system_prompt");
    }
    for entry in own.into_iter().flatten() {
        reader.attention(&entry, "the chat template is the model's own: put yours into its tokenizer_config.json");
    }
    text
}

fn steps(reader: &mut Reader, stage: &mut Table, batch: Batch) -> u64 {
    let epochs = reader.take("num_train_epochs");
    if let Some(entry) = reader.take("max_steps") {
        if let Some(steps @ 1..) = entry.value.whole() {
            let steps = (steps as u64).div_ceil(batch.optimizer_steps);
            stage.set("steps", steps);
            reader.carried(&entry, format!("steps = {steps} (TRL counts optimizer steps)"));
            if let Some(epochs) = epochs {
                reader.note(&epochs, super::Outcome::Ignored("max_steps decides"));
            }
            return steps;
        }
        reader.note(&entry, super::Outcome::Ignored("it is not set"));
    }
    stage.remark("steps", STEPS, "epochs x prompts / prompts_per_step: fill in");
    let what = format!(
        "how many steps that is depends on the data's size: steps = {STEPS} stands in the recipe; set it to epochs x \
         prompts / prompts_per_step"
    );
    match epochs {
        Some(entry) => reader.attention(&entry, what),
        None => reader.missing("num_train_epochs", format!("TRL's default is 3; {what}")),
    }
    STEPS
}

fn optimizer(reader: &mut Reader, stage: &mut Table, steps: u64) {
    stage.set("learning_rate", float(reader.number("learning_rate", "learning_rate", 1e-6)));
    let ratio = reader.take("warmup_ratio");
    let fixed = reader.take("warmup_steps");
    let warmup = match (&fixed, &ratio) {
        // TRL takes a share of the steps for a number below 1.
        (Some(entry), _) if entry.value.number().is_some_and(|value| value > 0.0) => {
            let value = entry.value.number().unwrap_or(0.0);
            if value < 1.0 { (value * steps as f64).ceil() } else { value.round() }
        }
        (_, Some(entry)) => (entry.value.number().unwrap_or(0.0) * steps as f64).ceil(),
        _ => 0.0,
    };
    stage.set("warmup_steps", warmup.max(0.0) as u64);
    for entry in [fixed, ratio].into_iter().flatten() {
        reader.carried(&entry, format!("warmup_steps = {}", warmup.max(0.0) as u64));
    }
    schedule(reader, stage, 1e-6);
    stage.set("max_grad_norm", float(reader.number("max_grad_norm", "max_grad_norm", 1.0)));
    let decay = reader.number("weight_decay", "weight_decay", 0.0);
    if decay > 0.0 {
        stage.set("weight_decay", float(decay));
    }
    let (beta1, beta2) = (reader.number("adam_beta1", "beta1", 0.9), reader.number("adam_beta2", "beta2", 0.999));
    stage.set("beta1", float(beta1));
    stage.set("beta2", float(beta2));
    if let Some(entry) = reader.take("router_aux_loss_coef") {
        if entry.value.number() == Some(0.0) {
            reader.carried(&entry, "0 is none: the router's bias balances experts here (router_bias_rate)");
        } else {
            reader
                .attention(&entry, "experts are balanced by the router's bias here (router_bias_rate), not by a loss");
        }
    }
    adapters(reader, stage);
}

fn loss(reader: &mut Reader, stage: &mut Table) {
    let level = reader.take("importance_sampling_level");
    let sequence = level.as_ref().and_then(|entry| entry.value.text()).is_some_and(|text| text.starts_with("sequence"));
    let kind = reader.take("loss_type");
    let named = kind.as_ref().and_then(|entry| entry.value.text()).unwrap_or("dapo").to_owned();
    const KNOWN: [&str; 6] = ["grpo", "bnpo", "dr_grpo", "dapo", "cispo", "sapo"];
    let known = KNOWN.contains(&named.as_str());
    let chosen = if sequence {
        "gspo"
    } else if known {
        &named
    } else {
        "dapo"
    };
    stage.set("loss", quoted(chosen));
    if let Some(entry) = level {
        match (entry.value.text(), named.as_str()) {
            (Some("token"), _) => reader.carried(&entry, "every loss but gspo weighs each token"),
            (Some("sequence"), "grpo") => reader.carried(&entry, "loss = \"gspo\""),
            (Some("sequence"), _) => reader.attention(
                &entry,
                format!(
                    "loss = \"gspo\" averages each completion by itself, as loss_type grpo does; the file has {named}"
                ),
            ),
            _ => reader.attention(&entry, "only token and sequence are known here; loss = \"gspo\" is the nearest"),
        }
    }
    if let Some(entry) = kind {
        match known {
            true => reader.carried(&entry, format!("loss = \"{chosen}\"")),
            false => reader
                .attention(&entry, "there is no such loss here; loss = \"dapo\", TRL's default, stands in the recipe"),
        }
    }
    let low = reader.number("epsilon", "clip_low and clip_high", 0.2);
    let high = reader.number("epsilon_high", "clip_high", low);
    stage.set("clip_low", float(low.clamp(f64::MIN_POSITIVE, 1.0)));
    stage.set("clip_high", float(high));
    let dual = reader.number("delta", "dual_clip", 0.0);
    if dual > 0.0 {
        stage.set("dual_clip", float(dual));
    }
    if named == "sapo" {
        stage.set("sapo_positive", float(reader.number("sapo_temperature_pos", "sapo_positive", 1.0)));
        stage.set("sapo_negative", float(reader.number("sapo_temperature_neg", "sapo_negative", 1.05)));
    }
    let scale = reader.take("scale_rewards");
    let scaled = scale.as_ref().map_or(Some("group"), |entry| match (&entry.value, entry.value.flag()) {
        (_, Some(true)) => Some("group"),
        (_, Some(false)) => Some("none"),
        (Value::Text(text), _) => ["group", "batch", "none"].into_iter().find(|known| known == text),
        _ => None,
    });
    stage.set("advantage_scale", quoted(scaled.unwrap_or("group")));
    if let Some(entry) = scale {
        match scaled {
            Some(scaled) => reader.carried(&entry, format!("advantage_scale = \"{scaled}\"")),
            None => reader.attention(&entry, "expected group, batch or none; group stands in the recipe"),
        }
    }
    if let Some(entry) = reader.take("mask_truncated_completions") {
        let masked = entry.value.flag() == Some(true);
        stage.set("mask_truncated", masked);
        reader.carried(&entry, "mask_truncated");
    }
    let share = reader.number("top_entropy_quantile", "top_entropy_share", 1.0);
    if share < 1.0 {
        stage.set("top_entropy_share", float(share));
    }
    let entropy = reader.number("entropy_coef", "entropy_coefficient", 0.0);
    if entropy > 0.0 {
        stage.set("entropy_coefficient", float(entropy));
    }
}

fn reference(reader: &mut Reader, stage: &mut Table) {
    let beta = reader.number("beta", "kl_coefficient", 0.0);
    stage.set("kl_coefficient", float(beta));
    let corrected = reader.take("use_bias_correction_kl");
    let corrects = corrected.as_ref().is_none_or(|entry| entry.value.flag() != Some(false));
    if beta > 0.0 {
        stage.set("kl_importance", corrects);
    }
    if let Some(entry) = corrected {
        match beta > 0.0 {
            true => reader.carried(&entry, "kl_importance"),
            false => reader.note(&entry, super::Outcome::Ignored("there is no KL penalty (beta is 0)")),
        }
    }
    let moves = reader.take("sync_ref_model");
    let moving = moves.as_ref().is_some_and(|entry| entry.value.flag() == Some(true));
    if let Some(entry) = &moves {
        reader.carried(entry, if moving { "reference" } else { "a reference that does not move, the default" });
    }
    let every = reader.take("ref_model_sync_steps");
    let alpha = reader.take("ref_model_mixup_alpha");
    if moving && beta > 0.0 {
        let rate = alpha.as_ref().and_then(|entry| entry.value.number()).unwrap_or(0.6);
        let steps = every.as_ref().and_then(|entry| entry.value.whole()).unwrap_or(512).max(1);
        stage.set("reference_every", steps);
        // All of the way is a replacement, as in R1-Zero.
        if rate >= 1.0 {
            stage.set("reference", quoted("replaced"));
        } else {
            stage.set("reference", quoted("moving_average"));
            stage.set("reference_rate", float(rate.clamp(1e-6, 1.0)));
        }
    }
    for (entry, setting) in [(every, "reference_every"), (alpha, "reference_rate")] {
        let Some(entry) = entry else { continue };
        match moving && beta > 0.0 {
            true => reader.carried(&entry, setting),
            false => reader.note(&entry, super::Outcome::Ignored("the reference does not move, or there is none")),
        }
    }
}

fn saving(reader: &mut Reader, stage: &mut Table) {
    let every = reader.take("save_steps");
    let steps = every.as_ref().map_or(Some(500), |entry| entry.value.whole().filter(|steps| *steps >= 1));
    stage.set("checkpoint_every", steps.unwrap_or(500));
    if let Some(entry) = every {
        match steps {
            Some(_) => reader.carried(&entry, "checkpoint_every"),
            None => reader.attention(&entry, "expected a number of steps; checkpoint_every = 500 stands in the recipe"),
        }
    }
    if let Some(entry) = reader.take("save_total_limit") {
        match entry.value.whole() {
            Some(kept @ 1..) => {
                stage.set("keep_checkpoints", kept);
                reader.carried(&entry, "keep_checkpoints");
            }
            _ => reader.attention(&entry, "expected a number of checkpoints, 1 or more"),
        }
    }
    let evaluated = reader.whole("eval_steps", "eval_every", 0);
    stage.set("eval_every", evaluated);
}

fn tasks(reader: &mut Reader) -> String {
    if let Some(entry) = reader.take("dataset_mixture") {
        reader.attention(&entry, "mix data sets with `recipe curate` (mix), and name what it makes in tasks.files");
    }
    for entry in take_starting(reader, &["dataset_mixture."]) {
        reader.attention(&entry, "mix data sets with `recipe curate` (mix), and name what it makes in tasks.files");
    }
    let Some(entry) = reader.take("dataset_name") else {
        reader.missing("dataset_name", "name the task files: tasks.files or --tasks FILE");
        return "[tasks]\nfiles = [\"TASKS.jsonl\"]    # the task files: fill in\n".to_owned();
    };
    let name = entry.value.to_string();
    let known = [".jsonl", ".json", ".csv", ".parquet", ".gz"].iter().any(|end| name.ends_with(end));
    if known {
        reader.carried(&entry, "tasks.files");
        return format!("[tasks]\nfiles = [{}]\n", quoted(&name));
    }
    reader
        .attention(&entry, "the name of a data hub: fetch its file, and name that in tasks.files or with --tasks FILE");
    let file = format!("{}.parquet", name.replace('/', "--"));
    format!("[tasks]\nfiles = [{}]    # {name}: the file that you fetched\n", quoted(&file))
}

fn rewards(reader: &mut Reader) -> String {
    let functions = reader.take("reward_funcs");
    let weights = reader.take("reward_weights");
    let weighed: Vec<f64> =
        weights.iter().flat_map(|entry| entry.value.elements()).map(|weight| weight.number().unwrap_or(1.0)).collect();
    let names: Vec<String> = match &functions {
        Some(entry) => entry.value.elements().iter().map(ToString::to_string).collect(),
        // Open R1's own default.
        None => ["accuracy", "format", "tag_count"].map(str::to_owned).to_vec(),
    };
    let known_here = Registry::builtin().names();
    let mut text = String::new();
    let (mut carried, mut lost): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
    for (place, name) in names.iter().enumerate() {
        let ours = REWARDS.iter().find(|(theirs, _)| theirs == name).map(|(_, ours)| *ours);
        match ours.filter(|ours| known_here.iter().any(|known| known == ours)) {
            Some(ours) if !carried.iter().any(|other| other == ours) => {
                let weight = weighed.get(place).copied().unwrap_or(1.0);
                let _ = writeln!(text, "[[rewards]]\nname = {}\nweight = {}\n", quoted(ours), float(weight));
                carried.push(ours.to_owned());
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
    if let Some(entry) = &functions {
        if lost.is_empty() {
            reader.carried(entry, format!("rewards: {}", carried.join(", ")));
        } else {
            reader.attention(
                entry,
                format!(
                    "there is no reward here for {}; `recipe reward list` lists those that there are",
                    lost.join(", ")
                ),
            );
        }
    } else {
        reader.missing("reward_funcs", "Open R1's default is accuracy, format and tag_count");
    }
    if let Some(entry) = weights {
        reader.carried(&entry, "rewards.weight");
    }
    if let Some(entry) = reader.take("multi_objective_aggregation") {
        match entry.value.text() {
            Some("sum_then_normalize") => reader.carried(&entry, "rewards are summed, then compared within the group"),
            _ => reader
                .attention(&entry, "rewards are summed, then compared within the group; nothing else is known here"),
        }
    }
    for key in REWARD_PARAMETERS {
        if let Some(entry) = reader.take(key) {
            reader.attention(&entry, "a parameter of a reward: `recipe reward show NAME` says how it is named here");
        }
    }
    text
}
