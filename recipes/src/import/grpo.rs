//! TRL's `GRPOConfig` with Open R1's script arguments, as a recipe with one grpo stage.
//!
//! Batches: TRL counts completions. Each time it samples, it samples `per_device_train_batch_size` on each of the GPUs,
//! `steps_per_generation` times over (unless said, as often as gradients are accumulated): `generation_batch_size` in all,
//! from that many over `num_generations` prompts. `gradient_accumulation_steps` of these make an optimizer step. Here a step
//! samples `prompts_per_step` x `group_size` and has `mini_batches` optimizer steps in each of its `epochs`. TRL counts
//! optimizer steps wherever it counts steps; here steps are counted.

use std::fmt::Write;

use super::common::{
    Table, WARMING, Warmup, adapters, checkpointed_layers, experts, float, kept_checkpoints, model, quoted, schedule,
    take_starting, warmup,
};
use super::release::{Defaults, release};
use super::rewards::rewards;
use super::yaml::{Entry, Value};
use super::{NOT_SET, Outcome, Reader, data};
use crate::config::GrpoSettings;

/// Steps where the file gives epochs and so leaves it to the data's size.
const STEPS: u64 = 200;

/// What `tasks.held_out_share` is by default.
const HELD_OUT_SHARE: f64 = 0.1;

/// The `epsilon_high` that TRL recommends for cispo.
const CISPO_BOUND: f64 = 5.0;

pub(super) fn recipe(reader: &mut Reader, name: &str, shown: &str, processes: u64) -> String {
    let mut stage = Table::default();
    let seed = reader.whole("seed", "seed", 42).min(crate::config::LARGEST_SEED);
    let defaults = release(reader).defaults();
    let batch = batches(reader, &mut stage, processes);
    sampling(reader, &mut stage, &defaults);
    let steps = steps(reader, &mut stage, batch);
    optimizer(reader, &mut stage, batch, steps);
    loss(reader, &mut stage, &defaults);
    reference(reader, &mut stage, batch, &defaults);
    saving(reader, &mut stage, batch, steps);
    let model = model(reader);
    let tasks = tasks(reader) + &examination(reader, &mut stage, batch, steps) + &asking(reader);
    let rewards = rewards(reader, &defaults);
    format!(
        "# Made of {shown} by `recipe import`: read its account of what needs attention.\n\nname = {}\ndescription = {}\n\
         seed = {seed}\n\n{model}\n{tasks}\n{rewards}\n[[stage]]\nkind = \"grpo\"\n{}",
        quoted(name),
        quoted(&format!("GRPO as {shown} has it")),
        stage.lines()
    )
}

/// How many steps there are.
#[derive(Clone, Copy)]
struct Steps {
    number: u64,
    /// Whether the file says so: else a person has to fill them in.
    are_known: bool,
}

/// What TRL's counts have to be divided by.
#[derive(Clone, Copy)]
struct Batch {
    /// Optimizer steps of a step.
    optimizer_steps: u64,
}

impl Batch {
    /// The steps that have so many optimizer steps.
    fn steps(self, optimizer_steps: u64) -> u64 {
        optimizer_steps.div_ceil(self.optimizer_steps)
    }

    /// What the account says of a number of steps.
    fn said(self, setting: &str, steps: u64) -> String {
        match self.optimizer_steps {
            1 => format!("{setting} = {steps}"),
            several => format!("{setting} = {steps} (TRL counts optimizer steps, of which a step has {several})"),
        }
    }

    /// "Every so many optimizer steps", in steps; what is no such number is named, and `default` steps taken.
    fn every(self, reader: &mut Reader, entry: Option<&Entry>, setting: &str, default: u64) -> u64 {
        let Some(entry) = entry else { return default };
        match entry.value.whole() {
            Some(optimizer_steps @ 1..) => {
                let steps = self.steps(optimizer_steps as u64);
                reader.carried(entry, self.said(setting, steps));
                steps
            }
            _ => {
                let what = "expected a number of steps, 1 or more";
                reader.attention(entry, format!("{what}; {setting} = {default} stands in the recipe"));
                default
            }
        }
    }
}

fn batches(reader: &mut Reader, stage: &mut Table, processes: u64) -> Batch {
    let group = reader.whole("num_generations", "group_size", 8).max(1);
    let device = reader.whole("per_device_train_batch_size", "prompts_per_step", 8).max(1);
    let accumulated = reader.whole("gradient_accumulation_steps", "prompts_per_step", 1).max(1);
    let each = reader.whole("steps_per_generation", "prompts_per_step and mini_batches", accumulated).max(1);
    let at_once = device.saturating_mul(processes);
    let generated = reader.whole("generation_batch_size", "prompts_per_step", at_once.saturating_mul(each)).max(1);
    // Optimizer steps keep their size. Where what TRL samples at a time is not a whole number of them, more is sampled.
    let learned = at_once.saturating_mul(accumulated);
    let mini_batches = generated.div_ceil(learned);
    let completions = mini_batches.saturating_mul(learned);
    if completions != generated {
        let what = format!(
            "TRL samples {generated} completions at a time, and an optimizer step learns from {learned}; here a step has \
             whole optimizer steps: it samples {completions} at once, so that an optimizer step has as many as in TRL"
        );
        reader.worked_out("prompts_per_step", what);
    }
    let prompts = completions.div_ceil(group);
    let sampled = prompts.saturating_mul(group);
    reader.missing(
        "number of GPUs",
        format!(
            "{processes} assumed (--gpus N says otherwise): a step then samples {sampled} completions of {prompts} prompts"
        ),
    );
    if sampled != completions {
        let what = format!(
            "the batch of {completions} completions is not whole groups of {group}, which TRL refuses; here it is rounded up \
             to whole ones: a step samples {sampled}, {group} for each of {prompts} prompts"
        );
        reader.worked_out("prompts_per_step", what);
    }
    let epochs = reader.whole("num_iterations", "epochs", 1).max(1);
    stage.set("prompts_per_step", prompts);
    stage.set("group_size", group);
    if mini_batches > 1 {
        stage.set("mini_batches", mini_batches);
    }
    if epochs > 1 {
        stage.set("epochs", epochs);
    }
    Batch { optimizer_steps: mini_batches.saturating_mul(epochs) }
}

fn sampling(reader: &mut Reader, stage: &mut Table, defaults: &Defaults) {
    let longest = reader.whole("max_completion_length", "max_new_tokens", defaults.max_completion_length);
    stage.set("max_new_tokens", longest.max(1));
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
    for entry in take_starting(reader, &["min_p", "repetition_penalty", "generation_kwargs"]) {
        if entry.key == "repetition_penalty" && entry.value.number() == Some(1.0) {
            reader.carried(&entry, "1 is none");
        } else {
            reader.attention(&entry, "sampling has no such setting here: completions will differ");
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
    let system = reader.take("system_prompt");
    let own = take_starting(reader, &["chat_template"]);
    if system.is_none() && own.is_empty() {
        reader.missing(
            "tasks.template",
            "TRL passes prompts on as they are, and those that are messages (Open R1's always) in the model's chat \
             template; \"r1-zero\", R1-Zero's template, stands in the recipe: \"chat\" is the model's own",
        );
        return "template = \"r1-zero\"\n".to_owned();
    }
    let mut text = "template = \"chat\"\n".to_owned();
    if let Some(entry) = system {
        let _ = writeln!(text, "system_prompt = {}", quoted(&entry.value.full()));
        reader.carried(&entry, "tasks.template = \"chat\" and tasks.system_prompt");
    }
    for entry in own {
        let what = match entry.key.starts_with("chat_template_kwargs") {
            true => "the chat template is given nothing but messages here: write this value into that of the model",
            false => "the chat template is the model's own: put yours into its tokenizer_config.json",
        };
        reader.attention(&entry, what);
    }
    text
}

fn steps(reader: &mut Reader, stage: &mut Table, batch: Batch) -> Steps {
    let epochs = reader.take("num_train_epochs");
    if let Some(entry) = reader.take("max_steps") {
        if let Some(steps @ 1..) = entry.value.whole() {
            let steps = batch.steps(steps as u64);
            stage.set("steps", steps);
            reader.carried(&entry, batch.said("steps", steps));
            if let Some(epochs) = epochs {
                reader.note(&epochs, Outcome::Ignored("max_steps decides"));
            }
            return Steps { number: steps, are_known: true };
        }
        reader.note(&entry, Outcome::Ignored(NOT_SET));
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
    Steps { number: STEPS, are_known: false }
}

fn warmup_steps(reader: &mut Reader, stage: &mut Table, batch: Batch, steps: Steps) {
    let Some(Warmup { entry, number, is_share }) = warmup(reader) else { return stage.set("warmup_steps", 0) };
    if !is_share {
        let warmup = batch.steps(number as u64);
        stage.set("warmup_steps", warmup);
        return reader.carried(&entry, batch.said("warmup_steps", warmup) + WARMING);
    }
    share_of_steps(reader, stage, "warmup_steps", &entry, steps, WARMING);
}

/// A setting that the file gives as a share of all steps; `meaning` is said behind what it became.
fn share_of_steps(
    reader: &mut Reader,
    stage: &mut Table,
    setting: &'static str,
    entry: &Entry,
    steps: Steps,
    meaning: &str,
) {
    let share = entry.value.number().unwrap_or(0.0).min(1.0);
    let number = (share * steps.number as f64).ceil() as u64;
    if steps.are_known {
        stage.set(setting, number);
        return reader.carried(entry, format!("{setting} = {number}{meaning}"));
    }
    // A share of steps that only stand in for others is none of those that will be filled in.
    stage.remark(setting, number, format!("{share} x steps: fill in with steps"));
    let what = format!(
        "it is a share of steps that are still to be filled in: {setting} = {number} stands in the recipe, which is that \
         of {}; set it to {share} x steps once `steps` is right",
        steps.number
    );
    reader.attention(entry, what);
}

/// [`Batch::every`], where a number below 1 is a share of all steps.
fn every_or_share(
    reader: &mut Reader,
    stage: &mut Table,
    setting: &'static str,
    entry: Option<&Entry>,
    default: u64,
    (batch, steps): (Batch, Steps),
) {
    match entry.and_then(|entry| Some((entry, entry.value.number()?))) {
        Some((entry, share)) if share > 0.0 && share < 1.0 => {
            let meaning = format!(" (a share of {})", steps.number);
            share_of_steps(reader, stage, setting, entry, steps, &meaning);
        }
        _ => {
            let every = batch.every(reader, entry, setting, default);
            stage.set(setting, every);
        }
    }
}

fn optimizer(reader: &mut Reader, stage: &mut Table, batch: Batch, steps: Steps) {
    stage.set("learning_rate", float(reader.number("learning_rate", "learning_rate", 1e-6)));
    warmup_steps(reader, stage, batch, steps);
    schedule(reader, stage, 1e-6);
    stage.set("max_grad_norm", float(reader.number("max_grad_norm", "max_grad_norm", 1.0)));
    let decay = reader.number("weight_decay", "weight_decay", 0.0);
    if decay > 0.0 {
        stage.set("weight_decay", float(decay));
    }
    let (beta1, beta2) = (reader.number("adam_beta1", "beta1", 0.9), reader.number("adam_beta2", "beta2", 0.999));
    stage.set("beta1", float(beta1));
    stage.set("beta2", float(beta2));
    experts(reader);
    adapters(reader, stage);
    checkpointed_layers(reader, stage);
}

fn loss(reader: &mut Reader, stage: &mut Table, defaults: &Defaults) {
    let level = reader.take("importance_sampling_level");
    let sequence = level.as_ref().and_then(|entry| entry.value.text()).is_some_and(|text| text.starts_with("sequence"));
    let kind = reader.take("loss_type");
    let named = kind.as_ref().and_then(|entry| entry.value.text()).unwrap_or(defaults.loss_type).to_owned();
    const KNOWN: [&str; 6] = ["grpo", "bnpo", "dr_grpo", "dapo", "cispo", "sapo"];
    let known = KNOWN.contains(&named.as_str());
    let chosen = if sequence {
        "gspo"
    } else if known {
        &named
    } else {
        defaults.loss_type
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
            true if sequence && named != "grpo" => {
                reader.attention(&entry, "not carried over: importance_sampling_level decides");
            }
            true => reader.carried(&entry, format!("loss = \"{chosen}\"")),
            false => reader.attention(
                &entry,
                format!("there is no such loss here; loss = \"{chosen}\", TRL's default, stands in the recipe"),
            ),
        }
    }
    let (low, high) = if named == "cispo" {
        let low = reader.number("epsilon", "clip_low", 0.2);
        (low, cispo_bound(reader, low))
    } else {
        let low = reader.number("epsilon", "clip_low and clip_high", 0.2);
        (low, reader.number("epsilon_high", "clip_high", low))
    };
    stage.set("clip_low", float(low.clamp(f64::MIN_POSITIVE, 1.0)));
    stage.set("clip_high", float(high));
    dual_clip(reader, stage, &named);
    if named == "sapo" {
        stage.set("sapo_positive", float(reader.number("sapo_temperature_pos", "sapo_positive", 1.0)));
        stage.set("sapo_negative", float(reader.number("sapo_temperature_neg", "sapo_negative", 1.05)));
    }
    for entry in take_starting(reader, &["sapo_temperature_"]) {
        reader.note(&entry, Outcome::Ignored("only the loss sapo looks at it"));
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
    if let Some((entry, masked)) = reader.take_flag("mask_truncated_completions") {
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

/// `dual_clip`, for the losses that TRL bounds so.
fn dual_clip(reader: &mut Reader, stage: &mut Table, loss: &str) {
    if ["cispo", "sapo"].contains(&loss) {
        if let Some(entry) = reader.take("delta") {
            reader.note(&entry, Outcome::Ignored("TRL's cispo and sapo do not look at it"));
        }
        return;
    }
    let bound = reader.number("delta", "dual_clip", 0.0);
    if bound > 0.0 {
        stage.set("dual_clip", float(bound));
    }
}

/// `clip_high` for cispo. TRL bounds its weight by `epsilon_high` itself, or by `epsilon` where there is none; here it is
/// bounded by 1 + `clip_high`, which is above 1.
fn cispo_bound(reader: &mut Reader, epsilon: f64) -> f64 {
    let given = reader.take("epsilon_high");
    let bound = given.as_ref().map_or(Some(epsilon), |entry| entry.value.number());
    let clip = bound.map(|bound| bound - 1.0).filter(|clip| *clip > 0.0);
    let stands = clip.unwrap_or(CISPO_BOUND - 1.0);
    let what = format!(
        "here it is 1 + clip_high, which is above 1: clip_high = {stands} stands in the recipe (TRL recommends \
         epsilon_high = {CISPO_BOUND}, which is clip_high = {})",
        CISPO_BOUND - 1.0
    );
    match (given, clip) {
        (Some(entry), Some(clip)) => {
            reader
                .carried(&entry, format!("clip_high = {clip} (TRL's bound is epsilon_high, here it is 1 + clip_high)"));
        }
        (Some(entry), None) => reader.attention(&entry, format!("in TRL it is cispo's bound itself; {what}")),
        (None, _) => {
            reader.missing("epsilon_high", format!("cispo's bound in TRL is then epsilon, {epsilon}; {what}"));
        }
    }
    stands
}

fn reference(reader: &mut Reader, stage: &mut Table, batch: Batch, defaults: &Defaults) {
    let beta = reader.number("beta", "kl_coefficient", defaults.beta);
    stage.set("kl_coefficient", float(beta));
    let corrected = reader.take_flag("use_bias_correction_kl");
    let corrects = corrected.as_ref().map_or(defaults.use_bias_correction_kl, |(_, corrects)| *corrects);
    if beta > 0.0 {
        stage.set("kl_importance", corrects);
    }
    if let Some((entry, _)) = corrected {
        match beta > 0.0 {
            true => reader.carried(&entry, "kl_importance"),
            false => reader.note(&entry, Outcome::Ignored("there is no KL penalty (beta is 0)")),
        }
    }
    let moves = reader.take_flag("sync_ref_model");
    let moving = moves.as_ref().is_some_and(|(_, moves)| *moves);
    if let Some((entry, _)) = &moves {
        reader.carried(entry, if moving { "reference" } else { "a reference that does not move, the default" });
    }
    let every = reader.take("ref_model_sync_steps");
    let alpha = reader.take("ref_model_mixup_alpha");
    if !moving || beta <= 0.0 {
        for entry in [every, alpha].into_iter().flatten() {
            reader.note(&entry, Outcome::Ignored("the reference does not move, or there is none"));
        }
        return;
    }
    stage.set("reference_every", batch.every(reader, every.as_ref(), "reference_every", batch.steps(512)));
    let rate = alpha.as_ref().and_then(|entry| entry.value.number()).unwrap_or(0.6);
    // All of the way is a replacement, as in R1-Zero.
    if rate >= 1.0 {
        stage.set("reference", quoted("replaced"));
    } else {
        stage.set("reference", quoted("moving_average"));
        stage.set("reference_rate", float(rate.clamp(1e-6, 1.0)));
    }
    if let Some(entry) = alpha {
        reader.carried(&entry, "reference_rate");
    }
}

fn saving(reader: &mut Reader, stage: &mut Table, batch: Batch, steps: Steps) {
    let every = reader.take("save_steps");
    every_or_share(reader, stage, "checkpoint_every", every.as_ref(), batch.steps(500), (batch, steps));
    kept_checkpoints(reader, stage);
}

/// `eval_every`, and the line of `[tasks]` that names tasks for it or sets some aside.
fn examination(reader: &mut Reader, stage: &mut Table, batch: Batch, steps: Steps) -> String {
    let evaluation = data::evaluation(reader, "tasks.held_out_share", HELD_OUT_SHARE, Some("tasks.held_out_files"));
    let usual = if evaluation.asked { GrpoSettings::default().eval_every } else { 0 };
    if evaluation.asked && evaluation.steps.is_none() {
        let what = format!("how often to evaluate is not said in steps: eval_every = {usual} stands in the recipe");
        reader.missing("eval_steps", what);
    }
    every_or_share(reader, stage, "eval_every", evaluation.steps.as_ref(), usual, (batch, steps));
    match evaluation.held_out {
        Some(name) => format!("held_out_files = [{}]\n", quoted(&name)),
        None => format!("held_out_share = {}\n", float(evaluation.share)),
    }
}

fn tasks(reader: &mut Reader) -> String {
    const FILES: data::Files = data::Files {
        setting: "tasks.files",
        place: "tasks.files or with --tasks FILE",
        unnamed: "TASKS.jsonl",
        from_hub: true,
    };
    let (files, remark) = data::files(reader, &FILES);
    data::prompt_column(reader, FILES.place);
    if let Some(entry) = reader.take("shuffle_dataset") {
        match entry.value.flag() {
            Some(false) => reader.attention(&entry, "tasks come in a seeded order here, not in that of the file"),
            _ => {
                reader.note(&entry, Outcome::Ignored("tasks come in a seeded order, which a resumed run goes on with"))
            }
        }
    }
    let mut table = Table::default();
    table.remark("files", files, remark);
    format!("[tasks]\n{}", table.lines())
}
