//! The command line: arguments as typed, what they mean, and what is printed.
//!
//! Exit status: 0 if all went well, 1 if a run failed, 2 if what was asked for makes no sense
//! (wrong arguments, a wrong recipe, a model, task file or card that is not there or of no kind that is used, a run that
//! is not there or was made with other settings, a folder that is not empty, a file that may not be read or written), 130
//! if a run was stopped by Ctrl-C and can be resumed.

mod arguments;
mod bench;
mod curate;
mod doctor;
mod eval;
mod experiment;
mod grade;
mod import;
mod model;
mod out;
mod reward;
mod run;
mod sandbox;
mod show;
mod tasks;

use std::fmt::Write as _;
use std::io::Write;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;

use ::sandbox::SandboxError;
use anyhow::Context;
use clap::{CommandFactory, FromArgMatches};
use datasets::source::hub::Hub;
use datasets::{DatasetError, Split};
use device::DeviceError;
use policy::PolicyError;
use rewards::{Registry, RewardError};

use crate::config::RecipeError;
use crate::hub::Fetcher;
use crate::interrupt::Interrupt;
use crate::progress::{Reporter, Verbosity};
use crate::run::{RunFailed, Unusable};
use crate::session::NothingToTakeOver;
use arguments::{Arguments, Command};

/// What was asked for makes no sense; why.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Wrong(String);

const FAILED: u8 = 1;
const WRONG: u8 = 2;
const INTERRUPTED: u8 = 130;

/// The command: reads the arguments of this process and does what they say.
#[must_use]
pub fn main() -> ExitCode {
    main_with(&Registry::builtin())
}

/// The command, with rewards of one's own beside those that come with it: what a program of a few lines calls to have
/// them. `recipes/examples/custom_reward.rs` is one.
#[must_use]
pub fn main_with(known: &Registry) -> ExitCode {
    // clap prints help and its own errors, and ends the process with 0 or 2.
    let matches = with_negative_numbers(Arguments::command()).get_matches();
    let arguments = Arguments::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let done = match arguments.command {
        Command::Run(arguments) => run::run(&arguments, known),
        Command::Bench(arguments) => bench::bench(&arguments),
        Command::Model(command) => model::run(&command, known),
        Command::List => print(&show::list()),
        Command::Show { recipe, settings } => show::show(&recipe, &settings, known).and_then(|text| print(&text)),
        Command::Keys => print(&show::keys()),
        Command::Curate(arguments) => curate::run(&arguments),
        Command::Eval(arguments) => eval::run(&arguments),
        Command::Experiment(command) => experiment::run(&command),
        Command::Import(arguments) => import::run(&arguments),
        Command::Doctor => doctor::doctor(),
        Command::Tasks(command) => tasks::run(&command),
        Command::Reward(command) => reward::run(&command, known),
        Command::Grade(arguments) => grade::grade(&arguments, known),
        Command::Validate { files, settings } => validate(&files, &settings, known),
        Command::Sandbox(command) => sandbox::run(&command),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            complain(&error);
            ExitCode::from(status(&error))
        }
    }
}

/// That `-1` is a number, which may be out of range, and no option.
fn with_negative_numbers(command: clap::Command) -> clap::Command {
    command.allow_negative_numbers(true).mut_subcommands(with_negative_numbers)
}

/// The exit status that stands for an error.
fn status(error: &anyhow::Error) -> u8 {
    // A file that was to be read and is not there was named wrongly. In the middle of a run, it is gone: a failure.
    let under_way = error.is::<RunFailed>();
    let wrong = error.chain().any(|cause| {
        let no_tasks = cause.downcast_ref().is_some_and(makes_no_sense);
        let is_damaged = matches!(cause.downcast_ref(), Some(DatasetError::Damaged { .. }));
        let no_file = !under_way && (is_damaged || cause.downcast_ref().is_some_and(is_no_place));
        // A reward's file that is wrong. One that fails on completions is a run that failed.
        let no_reward = matches!(cause.downcast_ref(), Some(RewardError::Custom { .. }));
        let no_card = matches!(
            cause.downcast_ref(),
            Some(
                DeviceError::NoDriver
                    | DeviceError::NoLibrary { .. }
                    | DeviceError::NoCard { .. }
                    | DeviceError::TooOld { .. }
            )
        );
        // A config.json of a model that is not computed here, or that is none.
        let no_model = match cause.downcast_ref() {
            Some(PolicyError::UnsupportedArchitecture { .. } | PolicyError::Config { .. }) => true,
            Some(PolicyError::Json { .. }) => !under_way,
            _ => false,
        };
        let no_package = matches!(cause.downcast_ref(), Some(SandboxError::Package { .. }));
        // A folder that is in use, settings that are not those of the run to go on with or to begin from.
        let no_run = cause.is::<Unusable>() || cause.is::<NothingToTakeOver>();
        let no_input = no_tasks || no_file || no_reward || no_card || no_model || no_package || no_run;
        no_input || cause.is::<RecipeError>() || cause.is::<Wrong>()
    });
    if wrong { WRONG } else { FAILED }
}

/// Whether an error about tasks is one of what was asked for, and not of doing it.
fn makes_no_sense(error: &DatasetError) -> bool {
    match error {
        // A job looks for its files before it begins.
        DatasetError::InStep { error, .. } => makes_no_sense(error) || is_absent(error),
        DatasetError::Exists { .. }
        | DatasetError::UnknownKind { .. }
        | DatasetError::CannotWriteKind { .. }
        | DatasetError::UnknownLayout { .. }
        | DatasetError::NoSuchLayout { .. }
        | DatasetError::Empty { .. }
        | DatasetError::UnknownFamily { .. }
        | DatasetError::TooFewDistinct { .. }
        | DatasetError::HubName { .. }
        | DatasetError::NoSource { .. }
        | DatasetError::NoFolder { .. }
        | DatasetError::Template { .. }
        | DatasetError::NoRowHasColumn { .. } => true,
        _ => false,
    }
}

/// Whether there is no file of tasks, or none that can be one.
fn is_absent(error: &DatasetError) -> bool {
    matches!(error, DatasetError::Read { source, .. } if is_no_place(source))
}

/// Whether what was named is not there, not what it would have to be (a file, a folder, text), or not for this user.
fn is_no_place(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{
        AlreadyExists, InvalidData, IsADirectory, NotADirectory, NotFound, PermissionDenied, ReadOnlyFilesystem,
    };
    matches!(
        error.kind(),
        AlreadyExists | InvalidData | IsADirectory | NotADirectory | NotFound | PermissionDenied | ReadOnlyFilesystem
    )
}

/// Checks files: all of them, also if one is wrong.
fn validate(files: &[String], settings: &[String], known: &Registry) -> anyhow::Result<ExitCode> {
    let (text, errors) = show::validate(files, settings, known);
    print(&text)?;
    let wrong = !errors.is_empty();
    for error in errors {
        complain(&error.into());
    }
    Ok(if wrong { ExitCode::from(WRONG) } else { ExitCode::SUCCESS })
}

/// To standard output. A reader that went away (`recipe list | head -1`) is no error.
fn print(text: &str) -> anyhow::Result<ExitCode> {
    write_out(text).map(|_| ExitCode::SUCCESS)
}

/// The same for who has more to say: breaks where the reader went away.
fn write_out(text: &str) -> anyhow::Result<ControlFlow<()>> {
    let mut output = std::io::stdout().lock();
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        Ok(()) => Ok(ControlFlow::Continue(())),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(ControlFlow::Break(())),
        Err(error) => Err(error).context("cannot write to standard output"),
    }
}

/// The files of what is named: paths as they are, data sets of the Hub fetched.
fn fetched(paths: &[PathBuf], purpose: Split) -> anyhow::Result<Vec<PathBuf>> {
    let (hub, reporter, interrupt) = (Hub::from_env(), Reporter::new(Verbosity::Auto), Interrupt::new());
    Fetcher { hub: &hub, reporter: &reporter, interrupt: &interrupt }.task_files(paths, purpose)
}

/// `error: what failed`, then each cause on a line of its own.
fn complain(error: &anyhow::Error) {
    let _ = std::io::stderr().write_all(complaint(error).as_bytes());
}

fn complaint(error: &anyhow::Error) -> String {
    let mut text = format!("error: {error}\n");
    for cause in error.chain().skip(1).map(ToString::to_string) {
        // Many errors say what caused them within their own text.
        if !text.contains(&cause) {
            let _ = writeln!(text, "  because: {cause}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        with_negative_numbers(Arguments::command()).debug_assert();
    }

    /// A terminal of the usual width shows it as it is written here.
    const COLUMNS: usize = 80;

    /// The words of an example as a shell takes it: without what it does about files and pipes, and without the remark.
    fn words(example: &str) -> Vec<String> {
        let command = example.split("  ").next().unwrap_or_default();
        let command = [" > ", " < ", " | "].iter().fold(command, |text, sign| text.split(sign).next().unwrap());
        let quoted = command.split('\'').enumerate();
        quoted
            .flat_map(|(place, part)| match place % 2 {
                0 => part.split_whitespace().map(str::to_owned).collect::<Vec<_>>(),
                _ => vec![part.to_owned()],
            })
            .collect()
    }

    /// Every command with its name as it is typed.
    fn commands(command: &clap::Command, name: &str, found: &mut Vec<(String, clap::Command)>) {
        found.push((name.to_owned(), command.clone()));
        for inner in command.get_subcommands().filter(|inner| inner.get_name() != "help") {
            commands(inner, &format!("{name} {}", inner.get_name()), found);
        }
    }

    #[test]
    fn help_fits_a_terminal_and_its_examples_are_commands() {
        let mut found = Vec::new();
        commands(&with_negative_numbers(Arguments::command()), "recipe", &mut found);
        assert!(found.len() > 30);
        let mut examples = 0;
        for (name, command) in found {
            let shown = command.clone().term_width(COLUMNS).render_long_help().to_string();
            for line in shown.lines() {
                assert!(line.chars().count() <= COLUMNS, "{name}: {line}");
            }
            let Some(after) = command.get_after_long_help().or(command.get_after_help()) else { continue };
            let after = after.to_string();
            for line in after.lines() {
                assert!(shown.lines().any(|shown| shown == line), "{name}: it is broken in two: {line}");
                // A line further in remarks on the one above.
                let Some(example) = line.strip_prefix("  ").filter(|line| !line.starts_with(' ')) else { continue };
                let words = words(example);
                assert_eq!(words[0], "recipe", "{name}: {line}");
                let read = with_negative_numbers(Arguments::command()).try_get_matches_from(&words);
                assert!(read.is_ok(), "{name}: {line}: {}", read.unwrap_err());
                examples += 1;
            }
        }
        assert!(examples > 40, "{examples}");
    }

    #[test]
    fn what_cannot_be_read_or_written_was_named_wrongly() {
        use std::io::ErrorKind::{AlreadyExists, InvalidData, NotADirectory, PermissionDenied, StorageFull};
        let of = |kind: std::io::ErrorKind| anyhow::Error::from(std::io::Error::from(kind)).context("cannot use it");
        for kind in [AlreadyExists, InvalidData, NotADirectory, PermissionDenied] {
            assert_eq!(status(&of(kind)), WRONG, "{kind}");
            let failed = RunFailed { folder: "runs/smoke".to_owned(), resumable: true };
            assert_eq!(status(&of(kind).context(failed)), FAILED, "{kind}");
        }
        assert_eq!(status(&of(StorageFull)), FAILED);
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("config.json"), "").unwrap();
        let config = policy::ModelConfig::from_file(folder.path().join("config.json")).unwrap_err();
        assert_eq!(status(&config.into()), WRONG);
        let package = SandboxError::Package { path: "nothing".into(), reason: "it is no wheel".to_owned() };
        assert_eq!(status(&package.into()), WRONG);
        let file = folder.path().join("a.csv");
        std::fs::write(&file, b"\xFF\xFEp\0").unwrap();
        let disguised = datasets::source::read(&file, datasets::OnBadLine::Stop).unwrap_err();
        assert_eq!(status(&disguised.into()), WRONG);
    }

    #[test]
    fn a_negative_number_is_a_number() {
        let line = ["recipe", "eval", "model", "--temperature", "-1"];
        let error = with_negative_numbers(Arguments::command()).try_get_matches_from(line).unwrap_err().to_string();
        assert!(error.starts_with("error: invalid value '-1' for '--temperature <T>'"), "{error}");
        for (line, expected) in [
            ("recipe sandbox run a.py --wall -1", "expected a number of seconds, 0 or more"),
            ("recipe sandbox run a.py --wall nan", "expected a number of seconds, 0 or more"),
            ("recipe reward validate accuracy --tasks a.jsonl --full nan", "expected a number"),
        ] {
            let error = with_negative_numbers(Arguments::command()).try_get_matches_from(words(line)).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        }
    }

    #[test]
    fn the_exit_status_tells_wrong_input_from_a_failure() {
        fn check(error: anyhow::Error, expected: u8) {
            assert_eq!(status(&error), expected, "{error:#}");
        }
        let folder = tempfile::tempdir().unwrap();
        let there = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let tasks = |path: PathBuf| {
            let read = datasets::source::read(&path, datasets::OnBadLine::Stop);
            anyhow::Error::from(read.unwrap_err()).context("before there is a run")
        };
        let failed = || RunFailed { folder: "runs/smoke".to_owned(), resumable: true };
        check(tasks(there("tasks.xlsx", "{}")), WRONG);
        check(tasks(there("tasks.jsonl", "{\"x\": 1}\n")), WRONG);
        check(tasks(there("empty.jsonl", "")), WRONG);
        check(tasks(folder.path().join("gone.jsonl")), WRONG);
        check(tasks(folder.path().join("gone.jsonl")).context(failed()), FAILED);
        let reward = || {
            let (place, reward, problem) = ("mine.py, line 2".into(), "mine".into(), "raised ValueError".into());
            RewardError::Custom { place, reward, problem, shown: None, hint: None }
        };
        check(reward().into(), WRONG);
        check(anyhow::Error::from(RewardError::Failed(Box::new(reward()))).context(failed()), FAILED);
        check(anyhow::anyhow!("the disk is full"), FAILED);
        check(
            anyhow::Error::from(DeviceError::NoCard { ordinal: 1, count: 1 }).context("cannot compute on cuda:1"),
            WRONG,
        );

        let typed = |line: &[&str]| {
            let arguments = Arguments::try_parse_from(["recipe"].iter().chain(line)).unwrap();
            match arguments.command {
                Command::Tasks(command) => tasks::run(&command).unwrap_err(),
                Command::Model(command) => model::run(&command, &Registry::builtin()).unwrap_err(),
                Command::Curate(arguments) => curate::run(&arguments).unwrap_err(),
                other => panic!("{other:?}"),
            }
        };
        let file = there("config.json", "{\"model_type\": \"gpt2\"}");
        let rows = there("rows.jsonl", "{\"token_ids\": [1]}\n");
        let none = folder.path().join("none");
        let [file, rows, model, none] =
            [file.as_path(), &rows, folder.path(), &none].map(|path| path.to_str().unwrap());
        for line in [
            ["model", "info", file].as_slice(),
            &["model", "info", model],
            &["model", "info", none],
            &["model", "info", "none/config.json"],
            &["model", "info", "smoke", "--tokens", "1000000000"],
            &["model", "info", "smoke", "--lora", "1000000000"],
            &["model", "score", model, rows],
            &["model", "score", none, rows],
            &["model", "score", model, none],
        ] {
            check(typed(line), WRONG);
        }
        for option in ["--sequences", "--micro-batch-tokens"] {
            let error = Arguments::try_parse_from(["recipe", "model", "info", "smoke", option, "18446744073709551615"]);
            assert!(error.unwrap_err().to_string().contains("is not in 1..="));
        }

        let nowhere = folder.path().join("nowhere/x.jsonl");
        let nowhere = nowhere.to_str().unwrap();
        let two_rows = there("two.jsonl", "{\"prompt\": \"p\", \"answer\": 1}\n{\"prompt\": \"q\", \"answer\": 1}\n");
        check(typed(&["tasks", "head", "nothere.jsonl"]), WRONG);
        check(typed(&["tasks", "show", two_rows.to_str().unwrap(), "3"]), WRONG);
        check(typed(&["tasks", "generate", "nosuch"]), WRONG);
        check(typed(&["tasks", "generate", "chains", "--level", "99"]), WRONG);
        check(typed(&["tasks", "generate", "chains", "--out", "o.xlsx"]), WRONG);
        check(typed(&["tasks", "generate", "chains", "--out", nowhere]), WRONG);
        assert!(!folder.path().join("nowhere").exists());
        // A level has far fewer: said, and no memory taken for them.
        check(typed(&["tasks", "generate", "coins", "--level", "1", "--count", "1000000"]), WRONG);
        for count in ["0", "1000000000000"] {
            let error = Arguments::try_parse_from(["recipe", "tasks", "generate", "chains", "--count", count]);
            assert!(error.unwrap_err().to_string().contains("is not in 1..=1000000"));
        }
        let job = there("job.toml", "[[step]]\nkind = \"load\"\nsources = [{ path = \"none.jsonl\" }]\n");
        check(typed(&["curate", job.to_str().unwrap(), "--check"]), WRONG);
        check(typed(&["curate", job.to_str().unwrap(), "--out", folder.path().join("out").to_str().unwrap()]), WRONG);
    }

    #[test]
    fn a_cause_is_said_once() {
        fn check(error: anyhow::Error, expected: &str) {
            assert_eq!(complaint(&error), expected);
        }
        let missing = || std::io::Error::other("no such file");
        let read = DatasetError::Read { path: "a.jsonl".into(), source: missing() };
        check(anyhow::Error::from(read), "error: cannot read the task file a.jsonl: no such file\n");
        check(anyhow::Error::from(missing()).context("stopped"), "error: stopped\n  because: no such file\n");
    }
}
