//! The steps of a job as typed, and what each is as validated.

mod sources;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Component, Path, PathBuf};

use datasets::curate::{
    Decontaminate, Dedup, Difficulty, EvaluationSet, Expression, Filter, Group, LANGUAGES, Map, Mix, MixBy, OnConflict,
    PromptTemplate, Sample, Shares, Step, Verify, Write, check_name, check_template,
};
use datasets::source::hub::HubName;
use datasets::{Domain, Split};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::document::Document;
use super::error::RecipeError;
use super::fine_tuning::Template;
use super::keys::{Any, Problem, at_least, between, checked, positive, positive_up_to, temperatures};
use super::read::value;
use super::settings::suggested;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MapTable {
    rename: Option<BTreeMap<String, String>>,
    remove: Option<Vec<String>>,
    template: Option<Spanned<String>>,
    system: Option<Spanned<String>>,
    source: Option<Spanned<String>>,
    domain: Option<Spanned<String>>,
    difficulty_from: Option<String>,
    difficulty_scale: Option<Spanned<f64>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FilterTable {
    min_chars: Option<usize>,
    max_chars: Option<Spanned<usize>>,
    min_words: Option<usize>,
    max_words: Option<Spanned<usize>>,
    #[serde(rename = "where")]
    condition: Option<Spanned<String>>,
    languages: Option<Vec<Spanned<String>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DedupTable {
    exact: Option<bool>,
    by: Option<Spanned<String>>,
    near: Option<Spanned<f64>>,
    shingle: Option<Spanned<u64>>,
    permutations: Option<Spanned<u64>>,
    numbers_matter: Option<bool>,
    on_conflict: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DecontaminateTable {
    against: Vec<Spanned<EvaluationTable>>,
    ngram: Option<Spanned<u64>>,
    label: Option<bool>,
}

/// A path alone, or a table.
#[derive(Deserialize)]
#[serde(untagged)]
enum EvaluationTable {
    Path(PathBuf),
    Table {
        path: PathBuf,
        layout: Option<String>,
        #[serde(default)]
        optional: bool,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VerifyTable {
    solutions: Option<Vec<String>>,
    keep_without_solution: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DifficultyTable {
    completions: Option<PathBuf>,
    model: Option<PathBuf>,
    template: Option<Spanned<Template>>,
    system_prompt: Option<Spanned<String>>,
    samples: Option<Spanned<u64>>,
    max_new_tokens: Option<Spanned<u64>>,
    temperature: Option<Spanned<f64>>,
    keep: Option<Spanned<Vec<f64>>>,
    keep_unmeasured: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MixTable {
    by: Option<Spanned<String>>,
    weights: Option<BTreeMap<String, Spanned<f64>>>,
    total: Option<Spanned<u64>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SplitTable {
    shares: Spanned<BTreeMap<Spanned<String>, Spanned<f64>>>,
    group: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SampleTable {
    count: Option<Spanned<u64>>,
    share: Option<Spanned<f64>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WriteTable {
    path: Spanned<PathBuf>,
    split: Option<Spanned<String>>,
}

/// A step of this kind from its other keys.
pub(super) fn read_step(
    document: &Document,
    kind: &str,
    table: DeTable<'_>,
    span: Range<usize>,
    data: &Path,
) -> Result<Step, RecipeError> {
    let reader = Reader { document, span: span.clone() };
    let step = match kind {
        "load" => sources::load(reader.table(table)?, data),
        "map" => map(reader.table(table)?),
        "filter" => filter(reader.table(table)?),
        "dedup" => dedup(reader.table(table)?),
        "decontaminate" => decontaminate(reader.table(table)?, data),
        "verify" => Ok(verify(reader.table(table)?)),
        "difficulty" => difficulty(reader.table(table)?, data),
        "mix" => mix(reader.table(table)?),
        "balance" => mix(reader.table(table)?).and_then(|step| match step {
            Step::Mix(Mix { weights: Some(_), .. }) => {
                Err(Problem::anywhere("`weights` has no meaning where all get the same")
                    .hint("kind = \"mix\" has weights"))
            }
            step => Ok(step),
        }),
        "split" => split(reader.table(table)?),
        "sample" => sample(reader.table(table)?),
        _ => write(reader.table(table)?),
    };
    step.map_err(|mut problem| {
        problem.span.get_or_insert(span);
        document.error(problem)
    })
}

struct Reader<'a> {
    document: &'a Document,
    span: Range<usize>,
}

impl Reader<'_> {
    fn table<T: DeserializeOwned>(&self, table: DeTable<'_>) -> Result<T, RecipeError> {
        T::deserialize(value(Spanned::new(self.span.clone(), DeValue::Table(table))))
            .map_err(|error| self.document.read_error(&error, &["kind", "name"]))
    }
}

fn one_of<T>(typed: &Spanned<String>, what: &str, names: &[&str], found: Option<T>) -> Result<T, Problem> {
    found.ok_or_else(|| {
        let problem = Problem::at(
            typed.span(),
            format!("no {what} is called \"{}\", expected {}", typed.get_ref(), names.join(", ")),
        );
        suggested(problem, typed.get_ref(), names)
    })
}

const SPLITS: [&str; 3] = ["train", "validation", "held"];

fn split_named(typed: &Spanned<String>) -> Result<Split, Problem> {
    one_of(typed, "split", &SPLITS, Split::from_name(typed.get_ref()))
}

/// A file below `data`, or the name of a data set of the Hub as it was typed.
fn located(path: Spanned<PathBuf>, data: &Path) -> Result<PathBuf, Problem> {
    let full = data.join(path.get_ref());
    match HubName::recognise(path.get_ref()).filter(|_| !full.exists()) {
        None => Ok(full),
        Some(Ok(_)) => Ok(path.into_inner()),
        Some(Err(error)) => Err(Problem::at(path.span(), error.to_string())),
    }
}

fn map(table: MapTable) -> Result<Step, Problem> {
    let names: Vec<&str> = Domain::ALL.iter().map(|domain| domain.name()).collect();
    let domain = match &table.domain {
        None => None,
        Some(name) => Some(one_of(name, "domain", &names, Domain::from_name(name.get_ref()))?),
    };
    Ok(Step::Map(Map {
        // As typed: old name = "new name".
        rename: table.rename.unwrap_or_default().into_iter().map(|(old, new)| (new, old)).collect(),
        remove: table.remove.unwrap_or_default(),
        template: template("template", table.template)?,
        system: template("system", table.system)?,
        source: template("source", table.source)?,
        domain,
        difficulty_from: table.difficulty_from,
        difficulty_scale: checked("difficulty_scale", table.difficulty_scale, 1.0, &positive())?,
    }))
}

/// A text with `{names}` in it.
fn template(key: &str, typed: Option<Spanned<String>>) -> Result<Option<String>, Problem> {
    let Some(typed) = typed else { return Ok(None) };
    check_template(typed.get_ref())
        .map_err(|what| Problem::at(typed.span(), format!("`{key}` cannot be filled in: {what}")))?;
    Ok(Some(typed.into_inner()))
}

/// The most that is allowed, which is not below the least.
fn at_most(what: &str, least: Option<usize>, most: Option<Spanned<usize>>) -> Result<Option<usize>, Problem> {
    let Some(most) = most else { return Ok(None) };
    match least {
        Some(least) if least > *most.get_ref() => Err(Problem::at(
            most.span(),
            format!("`max_{what}` is {}, below `min_{what}`, which is {least}: no row could stay", most.get_ref()),
        )),
        _ => Ok(Some(most.into_inner())),
    }
}

fn filter(table: FilterTable) -> Result<Step, Problem> {
    let condition = match table.condition {
        None => None,
        Some(text) => Some(
            Expression::parse(text.get_ref())
                .map_err(|what| Problem::at(text.span(), format!("`where` cannot be read: {what}")))?,
        ),
    };
    let mut languages = Vec::new();
    for language in table.languages.unwrap_or_default() {
        let known = LANGUAGES.contains(&language.get_ref().as_str()).then_some(());
        one_of(&language, "language", LANGUAGES, known)?;
        languages.push(language.into_inner());
    }
    Ok(Step::Filter(Filter {
        min_chars: table.min_chars,
        max_chars: at_most("chars", table.min_chars, table.max_chars)?,
        min_words: table.min_words,
        max_words: at_most("words", table.min_words, table.max_words)?,
        condition,
        languages,
    }))
}

fn size(key: &str, typed: Option<Spanned<u64>>, default: u64, low: u32, high: u32) -> Result<usize, Problem> {
    let value = checked(key, typed, default, &between(low, high))?;
    Ok(usize::try_from(value).unwrap_or(usize::MAX))
}

/// The name of a further column: those that every row has are none.
fn further_column(key: &str, typed: Spanned<String>) -> Result<String, Problem> {
    const OWN: [&str; 7] = ["id", "source", "domain", "split", "prompt", "answer", "difficulty"];
    if OWN.contains(&typed.get_ref().as_str()) || typed.get_ref().is_empty() {
        let message = format!("`{key}` is \"{}\", expected a further column, such as \"task_id\"", typed.get_ref());
        return Err(Problem::at(typed.span(), message));
    }
    Ok(typed.into_inner())
}

fn dedup(table: DedupTable) -> Result<Step, Problem> {
    let near = match table.near {
        None => None,
        near => Some(checked("near", near, 1.0, &positive_up_to(1))?),
    };
    let exact = table.exact.unwrap_or(true);
    if !exact && near.is_none() && table.by.is_none() {
        return Err(Problem::anywhere("a dedup step that looks for no kind of repetitions")
            .hint("set `near` to a similarity, such as 0.8"));
    }
    let numbers_matter = table.numbers_matter.unwrap_or(true);
    let on_conflict = match &table.on_conflict {
        None => OnConflict::First,
        Some(typed) if !exact || !numbers_matter => {
            let message =
                "`on_conflict` has a meaning only with `exact` and `numbers_matter`: it is for equal questions";
            return Err(Problem::at(typed.span(), message));
        }
        Some(typed) => {
            let found = match typed.get_ref().as_str() {
                "first" => Some(OnConflict::First),
                "drop" => Some(OnConflict::Drop),
                _ => None,
            };
            one_of(typed, "way to settle a conflict", &["first", "drop"], found)?
        }
    };
    Ok(Step::Dedup(Dedup {
        exact,
        by: table.by.map(|column| further_column("by", column)).transpose()?,
        near,
        shingle: size("shingle", table.shingle, 3, 1, 100)?,
        permutations: size("permutations", table.permutations, 128, 16, 1_024)?,
        numbers_matter,
        on_conflict,
    }))
}

fn decontaminate(table: DecontaminateTable, data: &Path) -> Result<Step, Problem> {
    if table.against.is_empty() {
        return Err(Problem::anywhere("`against` names no evaluation set"));
    }
    let mut against = Vec::with_capacity(table.against.len());
    for set in table.against {
        let span = set.span();
        let (path, layout, optional) = match set.into_inner() {
            EvaluationTable::Path(path) => (path, None, false),
            EvaluationTable::Table { path, layout, optional } => (path, layout, optional),
        };
        against.push(EvaluationSet { path: located(Spanned::new(span, path), data)?, layout, optional });
    }
    Ok(Step::Decontaminate(Decontaminate {
        against,
        ngram: size("ngram", table.ngram, 8, 1, 1_000)?,
        label: table.label.unwrap_or(false),
    }))
}

fn verify(table: VerifyTable) -> Step {
    Step::Verify(Verify {
        solutions: table.solutions.unwrap_or_else(Verify::usual_solutions),
        keep_without_solution: table.keep_without_solution.unwrap_or(false),
    })
}

fn difficulty(table: DifficultyTable, data: &Path) -> Result<Step, Problem> {
    if table.completions.is_none() && table.model.is_none() {
        return Err(Problem::anywhere("a difficulty step needs `completions` (a file) or `model` (a folder)"));
    }
    let template = checked("template", table.template, Template::R1Zero, &Any)?;
    if let (Some(prompt), Template::R1Zero) = (&table.system_prompt, template) {
        let message = "`system_prompt` has a meaning only with `template = \"chat\"`: R1-Zero's template says itself what is asked";
        return Err(Problem::at(prompt.span(), message));
    }
    let keep = match table.keep {
        None => (0.0, 1.0),
        Some(keep) => match keep.get_ref()[..] {
            [low, high] if (0.0..=1.0).contains(&low) && (low..=1.0).contains(&high) => (low, high),
            _ => {
                let message =
                    format!("`keep` is {:?}, expected [low, high] with 0 <= low <= high <= 1", keep.get_ref());
                return Err(Problem::at(keep.span(), message));
            }
        },
    };
    Ok(Step::Difficulty(Difficulty {
        completions: table.completions.map(|path| data.join(path)),
        model: table.model.map(|path| data.join(path)),
        template: match template {
            Template::R1Zero => PromptTemplate::R1Zero,
            Template::Chat => PromptTemplate::Chat,
        },
        system_prompt: table.system_prompt.map(Spanned::into_inner).unwrap_or_default(),
        samples: size("samples", table.samples, 8, 1, 1_024)?,
        max_new_tokens: size("max_new_tokens", table.max_new_tokens, 96, 1, 1_000_000)?,
        temperature: checked("temperature", table.temperature, 1.0, &temperatures())?,
        keep,
        keep_unmeasured: table.keep_unmeasured.unwrap_or(false),
    }))
}

fn mix(table: MixTable) -> Result<Step, Problem> {
    let by = match &table.by {
        None => MixBy::Source,
        Some(name) => {
            let found = match name.get_ref().as_str() {
                "source" => Some(MixBy::Source),
                "domain" => Some(MixBy::Domain),
                _ => None,
            };
            one_of(name, "thing to weigh", &["source", "domain"], found)?
        }
    };
    let weights = match table.weights {
        None => None,
        Some(typed) => {
            let weights = typed
                .into_iter()
                .map(|(name, weight)| checked(&name, Some(weight), 1.0, &at_least(0)).map(|weight| (name, weight)));
            Some(weights.collect::<Result<BTreeMap<_, _>, _>>()?)
        }
    };
    if weights.as_ref().is_some_and(|weights| weights.values().all(|&weight| weight == 0.0)) {
        return Err(Problem::anywhere("no row has a weight: all weights are 0"));
    }
    let total = match table.total {
        None => None,
        total => Some(checked("total", total, 1, &at_least(1))?),
    };
    Ok(Step::Mix(Mix { by, weights, total }))
}

fn split(table: SplitTable) -> Result<Step, Problem> {
    let mut shares = Vec::new();
    let mut sum = 0.0;
    let span = table.shares.span();
    for (name, share) in table.shares.into_inner() {
        let share = checked(name.get_ref(), Some(share), 0.0, &between(0, 1))?;
        sum += share;
        shares.push((split_named(&name)?, share));
    }
    if (sum - 1.0_f64).abs() > 1e-9 {
        // As written: 0.7 + 0.5 is 1.2.
        let sum = (sum * 1e9).round() / 1e9;
        return Err(Problem::at(span, format!("the shares add up to {sum}, expected 1")));
    }
    shares.sort_by_key(|(split, _)| split.name() != "train");
    let group = match table.group.as_deref() {
        None | Some("prompt") => Group::Prompt,
        Some("template") => Group::Template,
        Some(column) => Group::Column(column.to_owned()),
    };
    Ok(Step::Split(Shares { shares, group }))
}

fn sample(table: SampleTable) -> Result<Step, Problem> {
    if table.count.is_none() && table.share.is_none() {
        return Err(Problem::anywhere("a sample step needs `count` or `share`"));
    }
    let count = match table.count {
        None => None,
        count => Some(checked("count", count, 1, &at_least(1))?),
    };
    let share = match table.share {
        None => None,
        share => Some(checked("share", share, 1.0, &positive_up_to(1))?),
    };
    Ok(Step::Sample(Sample { count, share }))
}

/// What a job keeps in its folder under names that could be those of rows to be written.
const TAKEN: [&str; 3] = ["steps", "dropped", "completions"];

fn write(table: WriteTable) -> Result<Step, Problem> {
    let path_span = table.path.span();
    let path = table.path.into_inner();
    check_name(&path).map_err(|error| Problem::at(path_span.clone(), error.to_string()))?;
    let outside = path.is_absolute() || path.components().any(|part| part == Component::ParentDir);
    if outside {
        return Err(Problem::at(path_span, "a job writes into its own folder; give a path below it"));
    }
    // `./a.jsonl` is `a.jsonl`.
    let path: PathBuf = path.components().filter(|part| *part != Component::CurDir).collect();
    let first = path.components().next().map(|part| part.as_os_str().to_string_lossy().to_lowercase());
    if let Some(taken) = TAKEN.into_iter().find(|taken| first.as_deref() == Some(taken)) {
        let message = format!("`{taken}` in a job's folder is the job's own; write under another name");
        return Err(Problem::at(path_span, message));
    }
    let split = table.split.as_ref().map(split_named).transpose()?;
    Ok(Step::Write(Write { path, split }))
}
