//! `recipe tasks head|show|stats`: what is in a task file, whatever its layout.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use datasets::curate::{Histogram, Stats};
use datasets::source::TaskStream;
use datasets::{OnBadLine, ReadTasks, Task};
use rewards::Reference;

use crate::wording::{counted, thousands};

#[derive(Args, Debug)]
pub(in crate::command) struct HeadArguments {
    /// The file
    file: PathBuf,

    /// How many tasks
    #[arg(short = 'n', long, value_name = "N", default_value_t = 5)]
    count: usize,

    /// The layout, where the columns alone do not tell it
    #[arg(long)]
    layout: Option<String>,
}

#[derive(Args, Debug)]
pub(in crate::command) struct ShowArguments {
    /// The file
    file: PathBuf,

    /// The task: its id (or the beginning of it), or its place in the file, counted from 1
    #[arg(default_value = "1")]
    task: String,

    /// The layout, where the columns alone do not tell it
    #[arg(long)]
    layout: Option<String>,
}

#[derive(Args, Debug)]
pub(in crate::command) struct StatsArguments {
    /// The file
    file: PathBuf,

    /// The layout, where the columns alone do not tell it
    #[arg(long)]
    layout: Option<String>,
}

/// The rows of a file, or of all files of a data set of the Hub, one file after the other.
struct Looked {
    files: std::vec::IntoIter<PathBuf>,
    layout: Option<String>,
    open: Option<TaskStream>,
}

impl Looked {
    fn next_batch(&mut self) -> anyhow::Result<Option<ReadTasks>> {
        loop {
            if let Some(stream) = &mut self.open
                && let Some(batch) = stream.next_batch()?
            {
                return Ok(Some(batch));
            }
            let Some(file) = self.files.next() else { return Ok(None) };
            // Looking is what one does with a file that is not in order: what cannot be read is counted.
            self.open = Some(TaskStream::open(&file, self.layout.as_deref(), OnBadLine::Skip)?);
        }
    }
}

fn open(file: &Path, layout: Option<&str>) -> anyhow::Result<Looked> {
    let files = super::super::fetched(&[file.to_owned()])?.into_iter();
    Ok(Looked { files, layout: layout.map(str::to_owned), open: None })
}

pub(super) fn head(arguments: &HeadArguments) -> anyhow::Result<String> {
    let mut stream = open(&arguments.file, arguments.layout.as_deref())?;
    let mut text = String::new();
    let mut shown = 0;
    while shown < arguments.count
        && let Some(batch) = stream.next_batch()?
    {
        for task in batch.tasks.iter().take(arguments.count - shown) {
            shown += 1;
            let _ = writeln!(
                text,
                "{shown}. {}\n   {}  [{} {}]\n",
                one_line(&task.prompt, 300),
                answer(task),
                task.source,
                task.id
            );
        }
    }
    Ok(text)
}

/// The text on one line, cut off where it is long.
fn one_line(text: &str, most: usize) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let line = words.join(" ");
    if line.chars().count() <= most { line } else { line.chars().take(most).chain(['…']).collect() }
}

fn answer(task: &Task) -> String {
    match &task.reference {
        Reference::Math { answer } => format!("answer: {}", one_line(answer, 100)),
        Reference::Integer { value } => format!("answer: {value}"),
        Reference::Countdown { numbers, target } => format!("make {target} of {numbers:?}"),
        Reference::Tests { assertions, .. } => {
            format!(
                "{} tests, the first: {}",
                assertions.len(),
                one_line(assertions.first().map_or("", String::as_str), 100)
            )
        }
        Reference::Stdin { cases, .. } => {
            let first = cases.first().map_or(("", ""), |case| (&case.stdin, &case.stdout));
            format!(
                "{} inputs with their outputs, the first: {} -> {}",
                cases.len(),
                one_line(first.0, 50),
                one_line(first.1, 50)
            )
        }
        Reference::Calls { function, cases, .. } => {
            let first = cases.first().map_or(("", ""), |case| (&case.arguments, &case.expected));
            format!(
                "{} calls, the first: {function} of {} is {}",
                cases.len(),
                one_line(first.0, 50),
                one_line(first.1, 50)
            )
        }
    }
}

pub(super) fn show(arguments: &ShowArguments) -> anyhow::Result<String> {
    let mut stream = open(&arguments.file, arguments.layout.as_deref())?;
    let place = arguments.task.parse::<usize>().ok().filter(|_| arguments.task.len() < 12);
    let mut passed = 0;
    while let Some(batch) = stream.next_batch()? {
        let found = batch.tasks.iter().enumerate().find(|(index, task)| {
            place.map_or_else(|| task.id.starts_with(&arguments.task), |place| passed + index + 1 == place)
        });
        if let Some((_, task)) = found {
            let row = datasets::curate::row(task);
            return Ok(format!("{}\n\n{}\n", task.prompt, serde_json::to_string_pretty(&row)?));
        }
        passed += batch.tasks.len();
    }
    anyhow::bail!(
        "{} has {}, and none that `{}` names",
        arguments.file.display(),
        counted(passed, "task", "tasks"),
        arguments.task
    )
}

pub(super) fn stats(arguments: &StatsArguments) -> anyhow::Result<String> {
    let mut stream = open(&arguments.file, arguments.layout.as_deref())?;
    let mut stats = Stats::default();
    let (mut bad, mut first_bad) = (0, None);
    while let Some(batch) = stream.next_batch()? {
        batch.tasks.iter().for_each(|task| stats.add(task));
        bad += batch.bad.len();
        if first_bad.is_none() {
            first_bad = batch.bad.into_iter().next();
        }
    }
    let mut text = format!(
        "{}: {}, {:.1} words a prompt\n",
        arguments.file.display(),
        counted(stats.rows as usize, "task", "tasks"),
        stats.mean_words()
    );
    if let Some(first) = first_bad {
        let _ = writeln!(
            text,
            "{} cannot be read; the first, at line {}: {}",
            counted(bad, "row", "rows"),
            first.line,
            first.what
        );
    }
    let fixed = |counts: &BTreeMap<&'static str, u64>| {
        counts.iter().map(|(name, &count)| ((*name).to_owned(), count)).collect::<BTreeMap<_, _>>()
    };
    for (title, counts) in [
        ("source", stats.sources.clone()),
        ("domain", fixed(&stats.domains)),
        ("split", fixed(&stats.splits)),
        ("reference", fixed(&stats.references)),
        ("further columns", stats.columns.clone()),
    ] {
        if counts.is_empty() {
            continue;
        }
        let _ = writeln!(text, "\n{title}");
        for (name, count) in counts {
            let _ = writeln!(
                text,
                "  {:24} {:>9}  {:5.1}%",
                name,
                thousands(count),
                count as f64 / stats.rows as f64 * 100.0
            );
        }
    }
    histogram(&mut text, "words of a prompt", &stats.words);
    histogram(&mut text, "difficulty", &stats.difficulty);
    Ok(text)
}

fn histogram(text: &mut String, title: &str, histogram: &Histogram) {
    const BAR: f64 = 40.0;
    let Some(most) = histogram.bins.values().max() else { return };
    let _ = writeln!(text, "\n{title}");
    for (&bin, &count) in &histogram.bins {
        let from = bin as f64 * histogram.width;
        let shown = if histogram.width < 1.0 { format!("{from:.1}") } else { format!("{from:.0}") };
        // At least one mark for what is there.
        let marks = (count as f64 / *most as f64 * BAR).ceil() as usize;
        let _ = writeln!(text, "  {shown:>6}  {:>9}  {}", thousands(count), "▇".repeat(marks));
    }
}
