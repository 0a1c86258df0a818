//! The model of a recipe, whose keys depend on what it is, and what is read elsewhere in the same way.

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use super::document::Document;
use super::error::RecipeError;
use super::keys::Problem;
use super::model::{DenseTable, ModelSettings, ModelShape, ModelTable};

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
pub(super) fn at_span(mut problem: Problem, span: std::ops::Range<usize>) -> Problem {
    problem.span.get_or_insert(span);
    problem
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
