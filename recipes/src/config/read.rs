//! The parts of a recipe whose keys depend on what they are: the model, and each stage.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use super::chain::{BASE, DataSource, default_data, read_data_source, read_from, read_teacher};
use super::document::Document;
use super::error::RecipeError;
use super::fine_tuning::{ExportTable, LoraSettings, LoraTable, RejectStage, RejectTable, SftTable, Template};
use super::grpo::GrpoTable;
use super::keys::{Problem, name_problem};
use super::model::{DenseTable, ModelSettings, ModelShape, ModelTable};
use super::settings::{TypedFamilies, read_families, read_scores, read_weights, suggested};
use super::stages::{PretrainTable, Stage, StageSettings};

pub(super) fn value(value: Spanned<DeValue<'_>>) -> ValueDeserializer<'_> {
    ValueDeserializer::from(value)
}

pub(super) fn read_model(
    document: &Document,
    model: Option<Spanned<DeValue<'_>>>,
) -> Result<ModelSettings, RecipeError> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct FolderTable {
        path: std::path::PathBuf,
    }
    let Some(model) = model else { return Ok(ModelSettings::Shape(ModelShape::default())) };
    let span = model.span();
    let named = model.get_ref().as_table().and_then(|table| Some(table.get("path")?.span()));
    if let Some(path_span) = named {
        if model.get_ref().as_table().is_some_and(|table| table.len() > 1) {
            return Err(document.error(
                Problem::at(path_span, "`path` names a finished model, so no other key of [model] has a meaning")
                    .hint("--model DIR replaces the whole table"),
            ));
        }
        let folder = FolderTable::deserialize(value(model)).map_err(|error| document.read_error(&error, &[]))?;
        return Ok(ModelSettings::Folder { path: folder.path });
    }
    let located = |problem| document.error(at_span(problem, span.clone()));
    let kind = model.get_ref().as_table().and_then(|table| table.get("model_type")?.get_ref().as_str());
    if kind.is_some() && kind != Some("deepseek_v3") {
        let table = DenseTable::deserialize(value(model)).map_err(|error| document.read_error(&error, &["path"]))?;
        let shape = table.validate().and_then(|shape| shape.check().map(|()| shape)).map_err(located)?;
        return Ok(ModelSettings::Dense(shape));
    }
    let mut model = model;
    if let DeValue::Table(table) = model.get_mut() {
        table.remove("model_type");
    }
    let shape = ModelTable::deserialize(value(model))
        .map_err(|error| document.read_error(&error, &["path", "model_type"]))?
        .validate()
        .and_then(|shape| shape.check().map(|()| shape))
        .map_err(located)?;
    Ok(ModelSettings::Shape(shape))
}

/// A problem of a whole table is shown where the table begins.
fn at_span(mut problem: Problem, span: std::ops::Range<usize>) -> Problem {
    problem.span.get_or_insert(span);
    problem
}

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
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct NoKeys {}
    let span = element.span();
    let located = |problem| document.error(at_span(problem, span.clone()));
    let DeValue::Table(mut table) = element.into_inner() else {
        return Err(document.error(Problem::at(span, "a stage must be a table")));
    };
    let Some((kind, kind_span)) = take_text(document, &mut table, "kind")? else {
        let expected = StageSettings::KINDS.join("\", \"");
        return Err(
            document.error(Problem::at(span, "this stage has no `kind`").hint(format!("one of \"{expected}\"")))
        );
    };
    let name = match take_text(document, &mut table, "name")? {
        None => kind.clone(),
        Some((name, name_span)) => match name_problem(&name) {
            None if name.contains('.') => {
                let message = format!("`name` is {name:?}: a stage's has no dot, which --set has a meaning for");
                return Err(document.error(Problem::at(name_span, message)));
            }
            None if policy::checkpoint::step_of(Path::new(&name)).is_some() => {
                let message = format!("`name` is {name:?}: the folders of checkpoints are called so");
                return Err(document.error(Problem::at(name_span, message)));
            }
            None => name,
            Some(message) => return Err(document.error(Problem::at(name_span, message))),
        },
    };
    let more = more_keys(&kind);
    let has = |key: &str| more.contains(&key);
    let mut from = None;
    if has("from") {
        from = take_text(document, &mut table, "from")?;
    }
    let mut from = from.map(|(name, span)| read_from(earlier, &name, &span)).transpose().map_err(located)?;
    let mut data = if has("data") { read_data(document, &mut table, earlier)? } else { Vec::new() };
    let mut families = None;
    if has("families")
        && let Some(typed) = table.remove("families")
    {
        let typed = TypedFamilies::deserialize(value(typed)).map_err(|error| document.read_error(&error, &[]))?;
        families = Some(read_families(typed).map_err(located)?);
    }
    let mut reward_weights = BTreeMap::new();
    if has("reward_weights")
        && let Some(typed) = table.remove("reward_weights")
    {
        let typed = BTreeMap::deserialize(value(typed)).map_err(|error| document.read_error(&error, &[]))?;
        reward_weights = read_weights(typed).map_err(located)?;
    }
    let mut model = None;
    if has("model")
        && let Some(typed) = table.remove("model")
    {
        model = Some(read_model(document, Some(typed))?);
    }
    let mut lora = None;
    if has("lora")
        && let Some(typed) = table.remove("lora")
    {
        lora = Some(read_lora(document, typed)?);
    }
    let mut before = None;
    let unreadable = |error: toml::de::Error| document.read_error(&error, more);
    let settings = match kind.as_str() {
        "pretrain" => {
            let table = PretrainTable::deserialize(rest(&span, table)).map_err(unreadable)?;
            StageSettings::Pretrain(table.validate().map_err(located)?)
        }
        "sft" => {
            let table = SftTable::deserialize(rest(&span, table)).map_err(unreadable)?;
            if data.is_empty() {
                let nothing = || {
                    Problem::at(kind_span.clone(), "this stage has no data, and no stage before it makes any")
                        .hint("name files, such as data = [\"sft.jsonl\"], or put a stage of kind \"reject\" before it")
                };
                data.push(default_data(earlier).ok_or_else(nothing).map_err(located)?);
            }
            StageSettings::Sft(in_template(table, template).validate().map_err(located)?)
        }
        "grpo" => {
            let table = GrpoTable::deserialize(rest(&span, table)).map_err(unreadable)?;
            let settings = table.validate().map_err(located)?;
            settings.check().map_err(located)?;
            StageSettings::Grpo(settings)
        }
        "reject" => StageSettings::Reject(read_reject(document, table, &span, more)?),
        "distill" => {
            let teacher = take_text(document, &mut table, "teacher")?;
            let traces = match table.remove("traces") {
                None => DeTable::new(),
                Some(traces) => match traces.into_inner() {
                    DeValue::Table(traces) => traces,
                    _ => {
                        return Err(located(Problem::anywhere(
                            "`traces` should be a table: how the teacher is sampled",
                        )));
                    }
                },
            };
            let traces = read_reject(document, traces, &span, &["require"])?;
            let training = SftTable::deserialize(rest(&span, table)).map_err(unreadable)?;
            let training = in_template(training, template).validate().map_err(located)?;
            let problem = match (&teacher, data.is_empty()) {
                (None, true) => Some(
                    Problem::at(kind_span, "this stage has no teacher").hint(
                        "name one, a stage or a folder: teacher = \"grpo\"; or its saved answers: data = [\"traces.jsonl\"]",
                    ),
                ),
                (Some(_), false) => Some(Problem::at(
                    kind_span,
                    "this stage has both a `teacher`, who answers anew, and `data`, saved answers: expected one of them",
                )),
                _ if model.is_some() && from.is_some() => {
                    Some(Problem::anywhere("`from` and `model` both name the student: expected one of them"))
                }
                _ => None,
            };
            if let Some(problem) = problem {
                return Err(located(problem));
            }
            if let Some((text, teacher_span)) = teacher {
                let (origin, folder) = read_teacher(earlier, &text, &teacher_span).map_err(located)?;
                let traces_name = format!("{name}-traces");
                data.push(DataSource::Stage(traces_name.clone()));
                // The student is not the teacher, whom the stage before this one would hand on.
                if model.is_none() && from.is_none() {
                    from = Some(earlier.last().map_or(BASE, |stage| stage.name.as_str()).to_owned());
                }
                let settings = StageSettings::Reject(traces);
                let (data, families, reward_weights) = (Vec::new(), families.take(), BTreeMap::new());
                before = Some(Stage {
                    name: traces_name,
                    from: origin,
                    data,
                    settings,
                    families,
                    reward_weights,
                    lora: None,
                    model: folder,
                });
            }
            StageSettings::Distill(training)
        }
        "eval" => {
            NoKeys::deserialize(rest(&span, table)).map_err(|error| {
                document.read_error(&error, more).hint("the settings of evaluations stand in the table [eval]")
            })?;
            StageSettings::Eval {}
        }
        "export" => {
            let table = ExportTable::deserialize(rest(&span, table)).map_err(unreadable)?;
            StageSettings::Export(table.validate().map_err(located)?)
        }
        _ => {
            let expected = StageSettings::KINDS.join("\", \"");
            let problem = Problem::at(
                kind_span,
                format!("no kind of stage is called \"{kind}\", expected one of \"{expected}\""),
            );
            return Err(document.error(suggested(problem, &kind, &StageSettings::KINDS)));
        }
    };
    let stage = Stage { name, from, data, settings, families, reward_weights, lora, model };
    Ok(before.into_iter().chain([stage]).collect())
}

/// Demonstrations are shown in the template that tasks are asked in, unless it is said otherwise.
fn in_template(mut table: SftTable, template: Template) -> SftTable {
    table.template.get_or_insert_with(|| Spanned::new(0..0, template));
    table
}

fn read_lora(document: &Document, typed: Spanned<DeValue<'_>>) -> Result<LoraSettings, RecipeError> {
    let span = typed.span();
    let table = LoraTable::deserialize(value(typed)).map_err(|error| document.read_error(&error, &[]))?;
    let settings = table.validate().and_then(|settings| settings.check().map(|()| settings));
    settings.map_err(|problem| document.error(at_span(problem, span)))
}

/// What is left of a stage's table, to be read by its kind.
fn rest<'t>(span: &std::ops::Range<usize>, table: DeTable<'t>) -> ValueDeserializer<'t> {
    value(Spanned::new(span.clone(), DeValue::Table(table)))
}

fn read_reject(
    document: &Document,
    mut table: DeTable<'_>,
    span: &std::ops::Range<usize>,
    more: &[&str],
) -> Result<RejectStage, RecipeError> {
    let mut require = BTreeMap::new();
    if let Some(typed) = table.remove("require") {
        let typed = BTreeMap::deserialize(value(typed)).map_err(|error| document.read_error(&error, &[]))?;
        require = read_scores(typed).map_err(|problem| document.error(problem))?;
    }
    let table = RejectTable::deserialize(rest(span, table)).map_err(|error| document.read_error(&error, more))?;
    let settings = table.validate().and_then(|settings| settings.check().map(|()| settings));
    let settings = settings.map_err(|problem| document.error(at_span(problem, span.clone())))?;
    Ok(RejectStage { settings, require })
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

pub(super) fn take_text(
    document: &Document,
    table: &mut DeTable<'_>,
    key: &str,
) -> Result<Option<(String, std::ops::Range<usize>)>, RecipeError> {
    let Some(value) = table.remove(key) else { return Ok(None) };
    let span = value.span();
    match value.into_inner() {
        DeValue::String(text) => Ok(Some((text.into_owned(), span))),
        other => Err(document
            .error(Problem::at(span, format!("`{key}` is of type {}, expected a text in quotes", other.type_str())))),
    }
}
