//! The stages of a recipe: the keys of each depend on its kind.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use super::chain::{BASE, DataSource, default_data, read_data_source, read_from, read_teacher};
use super::document::Document;
use super::error::RecipeError;
use super::fine_tuning::{
    ExportTable, LoraSettings, LoraTable, RejectStage, RejectTable, SftSettings, SftTable, Template,
};
use super::grpo::{GrpoSettings, GrpoTable};
use super::keys::{Problem, name_problem};
use super::model::ModelSettings;
use super::read::{at_span, read_model, take_text, value};
use super::settings::{TypedFamilies, read_families, read_scores, read_weights, suggested};
use super::stages::{PretrainTable, Stage, StageSettings};

pub(super) fn read_stages(
    document: &Document,
    stages: Option<Spanned<DeValue<'_>>>,
    template: Template,
) -> Result<Vec<Stage>, RecipeError> {
    let elements = match stages.map(Spanned::into_inner) {
        Some(DeValue::Array(elements)) => elements,
        Some(_) => {
            return Err(document.error(
                Problem::anywhere("`stage` is one table, expected a list of tables")
                    .hint("write [[stage]] in double brackets"),
            ));
        }
        None => {
            return Err(document.error(
                Problem::anywhere("the recipe has no stage")
                    .hint("add [[stage]] with kind = \"pretrain\", \"grpo\" or \"eval\""),
            ));
        }
    };
    let mut read = Vec::with_capacity(elements.len());
    for element in elements {
        let stages = read_stage(document, element, &read, template)?;
        read.extend(stages);
    }
    Ok(read)
}

/// The keys that stages of a kind have besides their settings.
fn more_keys(kind: &str) -> &'static [&'static str] {
    match kind {
        "pretrain" => &["kind", "name", "model"],
        "sft" => &["kind", "name", "from", "data", "lora"],
        "grpo" => &["kind", "name", "from", "families", "reward_weights", "lora"],
        "reject" => &["kind", "name", "from", "families", "model", "require"],
        "distill" => &["kind", "name", "from", "data", "families", "lora", "model", "teacher", "traces"],
        _ => &["kind", "name", "from"],
    }
}

/// A stage; a distill stage with a teacher is two, the first of which samples the teacher.
fn read_stage(
    document: &Document,
    element: Spanned<DeValue<'_>>,
    earlier: &[Stage],
    template: Template,
) -> Result<Vec<Stage>, RecipeError> {
    let span = element.span();
    let DeValue::Table(mut table) = element.into_inner() else {
        return Err(document.error(Problem::at(span, "a stage must be a table")));
    };
    let Some((kind, kind_span)) = take_text(document, &mut table, "kind")? else {
        let expected = StageSettings::KINDS.join("\", \"");
        return Err(
            document.error(Problem::at(span, "this stage has no `kind`").hint(format!("one of \"{expected}\"")))
        );
    };
    let name = read_name(document, &mut table, &kind)?;
    let reader = StageReader { document, earlier, template, more: more_keys(&kind), kind_span, span };
    let mut links = reader.links(&mut table)?;
    let mut before = None;
    let settings = match kind.as_str() {
        "pretrain" => StageSettings::Pretrain(reader.checked(reader.settings::<PretrainTable>(table)?.validate())?),
        "sft" => StageSettings::Sft(reader.sft(table, &mut links)?),
        "grpo" => StageSettings::Grpo(reader.grpo(table)?),
        "reject" => StageSettings::Reject(reader.reject(table, reader.more)?),
        "distill" => {
            let (training, teacher) = reader.distill(table, &name, &mut links)?;
            before = teacher;
            StageSettings::Distill(training)
        }
        "eval" => reader.eval(table)?,
        "export" => StageSettings::Export(reader.checked(reader.settings::<ExportTable>(table)?.validate())?),
        _ => return Err(reader.unknown(&kind)),
    };
    let Links { from, data, families, reward_weights, lora, model } = links;
    let stage = Stage { name, from, data, settings, families, reward_weights, lora, model };
    Ok(before.into_iter().chain([stage]).collect())
}

/// The stage's name, which is the kind's where none is given.
fn read_name(document: &Document, table: &mut DeTable<'_>, kind: &str) -> Result<String, RecipeError> {
    let Some((name, span)) = take_text(document, table, "name")? else { return Ok(kind.to_owned()) };
    let wrong = match name_problem(&name) {
        Some(message) => message,
        None if name.contains('.') => {
            format!("`name` is {name:?}: a stage's has no dot, which --set has a meaning for")
        }
        None if policy::checkpoint::step_of(Path::new(&name)).is_some() => {
            format!("`name` is {name:?}: the folders of checkpoints are called so")
        }
        None => return Ok(name),
    };
    Err(document.error(Problem::at(span, wrong)))
}

/// What a stage begins with, learns from and changes: the keys that several kinds have.
struct Links {
    from: Option<String>,
    data: Vec<DataSource>,
    families: Option<BTreeMap<String, f64>>,
    reward_weights: BTreeMap<String, f64>,
    lora: Option<LoraSettings>,
    model: Option<ModelSettings>,
}

/// Reads the table of one stage.
struct StageReader<'a> {
    document: &'a Document,
    /// The stages before it.
    earlier: &'a [Stage],
    /// How the recipe's tasks are asked.
    template: Template,
    /// The keys that its kind has besides its settings.
    more: &'static [&'static str],
    /// Where the kind stands in the document, and the whole table.
    kind_span: Range<usize>,
    span: Range<usize>,
}

impl StageReader<'_> {
    /// An error of the whole table, unless the problem says where it is.
    fn located(&self, problem: Problem) -> RecipeError {
        self.document.error(at_span(problem, self.span.clone()))
    }

    fn checked<T>(&self, read: Result<T, Problem>) -> Result<T, RecipeError> {
        read.map_err(|problem| self.located(problem))
    }

    /// A key of the table, if the kind has it and it is given.
    fn take<'t>(&self, table: &mut DeTable<'t>, key: &str) -> Option<Spanned<DeValue<'t>>> {
        if self.more.contains(&key) { table.remove(key) } else { None }
    }

    /// What is left of a table, as the settings of its kind.
    fn settings<'t, T: Deserialize<'t>>(&self, table: DeTable<'t>) -> Result<T, RecipeError> {
        self.settings_beside(table, self.more)
    }

    /// The same where other keys stand beside the settings.
    fn settings_beside<'t, T: Deserialize<'t>>(&self, table: DeTable<'t>, more: &[&str]) -> Result<T, RecipeError> {
        T::deserialize(self.rest(table)).map_err(|error| self.document.read_error(&error, more))
    }

    fn rest<'t>(&self, table: DeTable<'t>) -> ValueDeserializer<'t> {
        value(Spanned::new(self.span.clone(), DeValue::Table(table)))
    }

    /// The value of a key.
    fn typed<'t, T: Deserialize<'t>>(&self, typed: Spanned<DeValue<'t>>) -> Result<T, RecipeError> {
        T::deserialize(value(typed)).map_err(|error| self.document.read_error(&error, &[]))
    }

    fn links(&self, table: &mut DeTable<'_>) -> Result<Links, RecipeError> {
        let has = |key: &str| self.more.contains(&key);
        let from = if has("from") { take_text(self.document, table, "from")? } else { None };
        let from = from.map(|(name, span)| read_from(self.earlier, &name, &span)).transpose();
        let from = self.checked(from)?;
        let data = if has("data") { read_data(self.document, table, self.earlier)? } else { Vec::new() };
        let families = match self.take(table, "families") {
            Some(typed) => Some(self.checked(read_families(self.typed::<TypedFamilies>(typed)?))?),
            None => None,
        };
        let reward_weights = match self.take(table, "reward_weights") {
            Some(typed) => self.checked(read_weights(self.typed(typed)?))?,
            None => BTreeMap::new(),
        };
        let model = self.take(table, "model").map(|typed| read_model(self.document, Some(typed))).transpose()?;
        let lora = self.take(table, "lora").map(|typed| read_lora(self.document, typed)).transpose()?;
        Ok(Links { from, data, families, reward_weights, lora, model })
    }

    fn sft(&self, table: DeTable<'_>, links: &mut Links) -> Result<SftSettings, RecipeError> {
        let settings = self.settings(table)?;
        if links.data.is_empty() {
            let nothing = || {
                Problem::at(self.kind_span.clone(), "this stage has no data, and no stage before it makes any")
                    .hint("name files, such as data = [\"sft.jsonl\"], or put a stage of kind \"reject\" before it")
            };
            links.data.push(self.checked(default_data(self.earlier).ok_or_else(nothing))?);
        }
        self.in_template(settings)
    }

    /// Demonstrations are shown in the template that tasks are asked in, unless it is said otherwise.
    fn in_template(&self, mut settings: SftTable) -> Result<SftSettings, RecipeError> {
        settings.template.get_or_insert_with(|| Spanned::new(0..0, self.template));
        self.checked(settings.validate())
    }

    fn grpo(&self, table: DeTable<'_>) -> Result<GrpoSettings, RecipeError> {
        let settings = self.checked(self.settings::<GrpoTable>(table)?.validate())?;
        self.checked(settings.check())?;
        Ok(settings)
    }

    fn reject(&self, mut table: DeTable<'_>, more: &[&str]) -> Result<RejectStage, RecipeError> {
        let mut require = BTreeMap::new();
        if let Some(typed) = table.remove("require") {
            require = read_scores(self.typed(typed)?).map_err(|problem| self.document.error(problem))?;
        }
        let settings = self.settings_beside::<RejectTable>(table, more)?.validate();
        let settings = self.checked(settings.and_then(|settings| settings.check().map(|()| settings)))?;
        Ok(RejectStage { settings, require })
    }

    /// How the student is trained and, where there is a teacher, the stage before it that samples the teacher.
    fn distill(
        &self,
        mut table: DeTable<'_>,
        name: &str,
        links: &mut Links,
    ) -> Result<(SftSettings, Option<Stage>), RecipeError> {
        let teacher = take_text(self.document, &mut table, "teacher")?;
        let traces = match table.remove("traces").map(Spanned::into_inner) {
            None => DeTable::new(),
            Some(DeValue::Table(traces)) => traces,
            Some(_) => {
                let problem = Problem::anywhere("`traces` should be a table: how the teacher is sampled");
                return Err(self.located(problem));
            }
        };
        let traces = self.reject(traces, &["require"])?;
        let training = self.in_template(self.settings(table)?)?;
        let problem = match (&teacher, links.data.is_empty()) {
            (None, true) => Some(Problem::at(self.kind_span.clone(), "this stage has no teacher").hint(
                "name one, a stage or a folder: teacher = \"grpo\"; or its saved answers: data = [\"traces.jsonl\"]",
            )),
            (Some(_), false) => Some(Problem::at(
                self.kind_span.clone(),
                "this stage has both a `teacher`, who answers anew, and `data`, saved answers: expected one of them",
            )),
            _ if links.model.is_some() && links.from.is_some() => {
                Some(Problem::anywhere("`from` and `model` both name the student: expected one of them"))
            }
            _ => None,
        };
        if let Some(problem) = problem {
            return Err(self.located(problem));
        }
        let Some((text, teacher_span)) = teacher else { return Ok((training, None)) };
        let (from, model) = self.checked(read_teacher(self.earlier, &text, &teacher_span))?;
        let sampled = Stage {
            name: format!("{name}-traces"),
            from,
            data: Vec::new(),
            settings: StageSettings::Reject(traces),
            families: links.families.take(),
            reward_weights: BTreeMap::new(),
            lora: None,
            model,
        };
        links.data.push(DataSource::Stage(sampled.name.clone()));
        // The student is not the teacher, whom the stage before this one would hand on.
        if links.model.is_none() && links.from.is_none() {
            links.from = Some(self.earlier.last().map_or(BASE, |stage| stage.name.as_str()).to_owned());
        }
        Ok((training, Some(sampled)))
    }

    fn eval(&self, table: DeTable<'_>) -> Result<StageSettings, RecipeError> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct NoKeys {}
        NoKeys::deserialize(self.rest(table)).map_err(|error| {
            let hint = "the settings of evaluations stand in the table [eval]";
            self.document.read_error(&error, self.more).hint(hint)
        })?;
        Ok(StageSettings::Eval {})
    }

    fn unknown(&self, kind: &str) -> RecipeError {
        let expected = StageSettings::KINDS.join("\", \"");
        let message = format!("no kind of stage is called \"{kind}\", expected one of \"{expected}\"");
        let problem = Problem::at(self.kind_span.clone(), message);
        self.document.error(suggested(problem, kind, &StageSettings::KINDS))
    }
}

fn read_lora(document: &Document, typed: Spanned<DeValue<'_>>) -> Result<LoraSettings, RecipeError> {
    let span = typed.span();
    let table = LoraTable::deserialize(value(typed)).map_err(|error| document.read_error(&error, &[]))?;
    let settings = table.validate().and_then(|settings| settings.check().map(|()| settings));
    settings.map_err(|problem| document.error(at_span(problem, span)))
}

/// `data`: one stage or file, or a list of them.
fn read_data(document: &Document, table: &mut DeTable<'_>, earlier: &[Stage]) -> Result<Vec<DataSource>, RecipeError> {
    let Some(typed) = table.remove("data") else { return Ok(Vec::new()) };
    let span = typed.span();
    let entries = match typed.into_inner() {
        DeValue::Array(entries) => entries.into_iter().collect(),
        one => vec![Spanned::new(span, one)],
    };
    let read = |entry: Spanned<DeValue<'_>>| {
        let span = entry.span();
        match entry.into_inner() {
            DeValue::String(text) => read_data_source(earlier, &text, &span),
            other => Err(Problem::at(
                span,
                format!("`data` is of type {}, expected stages or files, each in quotes", other.type_str()),
            )),
        }
    };
    entries.into_iter().map(|entry| read(entry).map_err(|problem| document.error(problem))).collect()
}
