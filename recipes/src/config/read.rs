//! The parts of a recipe whose keys depend on what they are: the model, and each stage.

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use super::document::Document;
use super::error::RecipeError;
use super::grpo::GrpoTable;
use super::keys::{Problem, name_problem};
use super::model::{ModelSettings, ModelShape, ModelTable};
use super::settings::suggested;
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
    let shape = ModelTable::deserialize(value(model))
        .map_err(|error| document.read_error(&error, &["path"]))?
        .validate()
        .and_then(|shape| shape.check().map(|()| shape))
        .map_err(|problem| document.error(at_span(problem, span)))?;
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
    elements.into_iter().map(|element| read_stage(document, element)).collect()
}

fn read_stage(document: &Document, element: Spanned<DeValue<'_>>) -> Result<Stage, RecipeError> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct NoKeys {}
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
    let name = match take_text(document, &mut table, "name")? {
        None => kind.clone(),
        Some((name, name_span)) => match name_problem(&name) {
            None => name,
            Some(message) => return Err(document.error(Problem::at(name_span, message))),
        },
    };
    let rest = value(Spanned::new(span.clone(), DeValue::Table(table)));
    let unreadable = |error: toml::de::Error| document.read_error(&error, &["kind", "name"]);
    let located = |problem| document.error(at_span(problem, span.clone()));
    let settings = match kind.as_str() {
        "pretrain" => {
            let table = PretrainTable::deserialize(rest).map_err(unreadable)?;
            StageSettings::Pretrain(table.validate().map_err(located)?)
        }
        "grpo" => {
            let table = GrpoTable::deserialize(rest).map_err(unreadable)?;
            let settings = table.validate().map_err(located)?;
            settings.check().map_err(located)?;
            StageSettings::Grpo(settings)
        }
        "eval" => {
            NoKeys::deserialize(rest).map_err(|error| {
                document
                    .read_error(&error, &["kind", "name"])
                    .hint("the settings of evaluations stand in the table [eval]")
            })?;
            StageSettings::Eval {}
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
    Ok(Stage { name, settings })
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
