//! What a `load` step reads: files, with what is said of them, and families.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use datasets::Family;
use datasets::curate::{FamilySource, FileSource, Load, Source, Step};
use datasets::source::ColumnNames;
use serde::Deserialize;
use toml::Spanned;

use super::super::keys::{Problem, between, checked};
use super::super::settings::OnBadLine;
use super::{Split, located, one_of, split_named};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LoadTable {
    sources: Vec<Spanned<SourceTable>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SourceTable {
    path: Option<Spanned<PathBuf>>,
    name: Option<String>,
    layout: Option<Spanned<String>>,
    columns: Option<Spanned<ColumnsTable>>,
    licence: Option<String>,
    origin: Option<String>,
    optional: Option<bool>,
    on_bad_line: Option<OnBadLine>,
    family: Option<Spanned<String>>,
    level: Option<Spanned<u64>>,
    count: Option<Spanned<u64>>,
    split: Option<Spanned<String>>,
}

/// Which columns are what.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ColumnsTable {
    prompt: Option<String>,
    answer: Option<String>,
}

/// Tasks of one family in a job, at most: the ids of all are kept in memory while it draws.
const MOST_DRAWN: u32 = 100_000_000;

pub(super) fn load(table: LoadTable, data: &Path) -> Result<Step, Problem> {
    if table.sources.is_empty() {
        return Err(
            Problem::anywhere("a load step without sources").hint("add [[step.sources]] with `path` or `family`")
        );
    }
    let sources = table.sources.into_iter().map(|source| {
        let span = source.span();
        self::source(source.into_inner(), span, data)
    });
    Ok(Step::Load(Load { sources: sources.collect::<Result<_, _>>()? }))
}

fn source(table: SourceTable, span: Range<usize>, data: &Path) -> Result<Source, Problem> {
    let misplaced =
        |key: &str, needs: &str| Problem::at(span.clone(), format!("`{key}` has a meaning only with `{needs}`"));
    match (table.path, table.family) {
        (Some(path), None) => {
            if table.level.is_some() || table.count.is_some() || table.split.is_some() {
                return Err(misplaced("level, count and split", "family"));
            }
            let path = located(path, data)?;
            if let Some(layout) = &table.layout {
                let names = datasets::source::layout_names();
                let known = names.contains(&layout.get_ref().as_str()).then_some(());
                one_of(layout, "layout", &names, known)?;
            }
            if let (Some(columns), Some(layout)) = (&table.columns, &table.layout)
                && layout.get_ref() != "plain"
            {
                let message = "`columns` has a meaning only where no `layout` says it, or `layout = \"plain\"`";
                return Err(Problem::at(columns.span(), message));
            }
            let columns = table.columns.map(Spanned::into_inner);
            Ok(Source::File(FileSource {
                path,
                name: table.name,
                layout: table.layout.map(Spanned::into_inner),
                columns: columns.map(|named| ColumnNames { prompt: named.prompt, answer: named.answer }),
                licence: table.licence,
                origin: table.origin,
                optional: table.optional.unwrap_or(false),
                on_bad_line: table.on_bad_line.unwrap_or(OnBadLine::Stop).into(),
            }))
        }
        (None, Some(family)) => {
            let of_file = table.layout.is_some() || table.columns.is_some() || table.name.is_some();
            if of_file || table.optional.is_some() || table.on_bad_line.is_some() {
                return Err(misplaced("name, layout, columns, optional and on_bad_line", "path"));
            }
            let names: Vec<&str> = Family::ALL.iter().map(|family| family.name()).collect();
            let found = one_of(&family, "family", &names, Family::from_str(family.get_ref()).ok())?;
            let levels = u32::from(found.levels());
            let level = match table.level {
                None => None,
                level => Some(checked("level", level, 1, &between(1, levels))?),
            };
            Ok(Source::Family(FamilySource {
                family: found,
                level: level.and_then(|level| u8::try_from(level).ok()),
                count: checked("count", table.count, 1_000, &between(1, MOST_DRAWN))?,
                split: table.split.as_ref().map_or(Ok(Split::Train), split_named)?,
            }))
        }
        _ => Err(Problem::at(span, "a source has either a `path` or a `family`")),
    }
}
