//! The command line: arguments as typed, what they mean, and what is printed.
//!
//! Exit status: 0 if all went well, 1 if a run failed, 2 if what was asked for makes no sense
//! (wrong arguments, a wrong recipe), 130 if a run was stopped by Ctrl-C and can be resumed.

mod arguments;
mod curate;
mod grade;
mod model;
mod sandbox;
mod show;
mod tasks;

use std::fmt::Write as _;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;

use crate::config::{Recipe, RecipeError, find_shipped};
use crate::interrupt::Interrupt;
use crate::run::RunDir;
use crate::session::{RunOptions, RunStatus, RunSummary, run_recipe, run_to_resume};
use crate::table;
use arguments::{Arguments, Command, RunArguments};

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
    // clap prints help and its own errors, and ends the process with 0 or 2.
    let arguments = Arguments::parse();
    let done = match arguments.command {
        Command::Run(arguments) => run(&arguments),
        Command::Model(command) => model::answer(&command).and_then(|text| print(&text)),
        Command::List => print(&show::list()),
        Command::Show { recipe, settings } => show::show(&recipe, &settings).and_then(|text| print(&text)),
        Command::Keys => print(&show::keys()),
        Command::Curate(arguments) => curate::run(&arguments),
        Command::Tasks(command) => tasks::run(&command),
        Command::Grade(arguments) => grade::grade(&arguments),
        Command::Validate { files, settings } => show::validate(&files, &settings).and_then(|text| print(&text)),
        Command::Sandbox(command) => sandbox::run(&command),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            complain(&error);
            let wrong = error.chain().any(|cause| cause.is::<RecipeError>() || cause.is::<Wrong>());
            ExitCode::from(if wrong { WRONG } else { FAILED })
        }
    }
}

/// To standard output. A reader that went away (`recipe list | head -1`) is no error.
fn print(text: &str) -> anyhow::Result<ExitCode> {
    let mut output = std::io::stdout().lock();
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to standard output")
        }
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// `error: what failed`, then each cause on a line of its own.
fn complain(error: &anyhow::Error) {
    let mut text = format!("error: {error}\n");
    for cause in error.chain().skip(1) {
        let _ = writeln!(text, "  because: {cause}");
    }
    let _ = std::io::stderr().write_all(text.as_bytes());
}

fn run(arguments: &RunArguments) -> anyhow::Result<ExitCode> {
    let interrupt = Interrupt::new();
    let mut options = RunOptions {
        runs_root: arguments.runs.clone(),
        run_dir: arguments.run_dir.clone(),
        resume: arguments.resume,
        threads: arguments.threads.map(usize::from),
        interrupt: interrupt.clone(),
        command: std::env::args().collect(),
        ..RunOptions::default()
    };
    let recipe = load(arguments, &mut options)?;
    interrupt.on_ctrl_c(|| {
        let _ = std::io::stderr()
            .write_all(b"\nstopping after this step, with a checkpoint (Ctrl-C again stops at once)\n");
    })?;
    let summary = run_recipe(&recipe, &options)?;
    print(&table::render(&summary))?;
    if let RunStatus::Interrupted { stage, step } = &summary.status {
        let text = format!(
            "stopped in {stage} after step {step}; nothing is lost. To go on:\n  {}\n",
            resume_command(arguments, &summary)
        );
        let _ = std::io::stderr().write_all(text.as_bytes());
        return Ok(ExitCode::from(INTERRUPTED));
    }
    Ok(ExitCode::SUCCESS)
}

fn resume_command(arguments: &RunArguments, summary: &RunSummary) -> String {
    let threads = arguments.threads.map_or_else(String::new, |threads| format!(" --threads {threads}"));
    format!("recipe run {} --resume --run-dir {}{threads}", arguments.recipe, summary.run_dir.display())
}

/// A recipe by the name of a shipped one or by its file, with settings on top.
fn read_recipe(name: &str, settings: &[String]) -> Result<Recipe, RecipeError> {
    let path = Path::new(name);
    let looks_like_file = path.extension().is_some() || path.components().count() > 1;
    if looks_like_file || (path.is_file() && find_shipped(name).is_err()) {
        Recipe::read(path, settings)
    } else {
        find_shipped(name)?.recipe(settings)
    }
}

/// The recipe that the arguments mean. A resumed run takes the settings that it was started with
/// again, so that they need not be typed twice.
fn load(arguments: &RunArguments, options: &mut RunOptions) -> anyhow::Result<Recipe> {
    let mut settings = Vec::new();
    if options.resume {
        // Only the name is of interest: the settings may not fit without those of the run.
        let name = read_recipe(&arguments.recipe, &[]).map_or_else(|_| stem(&arguments.recipe), |recipe| recipe.name);
        let path = run_to_resume(options, &name)?;
        settings = RunDir::read_info(&path)?.settings;
        options.run_dir = Some(path);
    }
    settings.extend(given_settings(arguments)?);
    let recipe = read_recipe(&arguments.recipe, &settings)?;
    options.settings = settings;
    Ok(recipe)
}

fn stem(recipe: &str) -> String {
    let stem = Path::new(recipe).file_stem().and_then(|stem| stem.to_str());
    stem.unwrap_or(recipe).to_owned()
}

/// Every option that changes the recipe, as settings: those of `--set` come last, so that they
/// have the last word.
fn given_settings(arguments: &RunArguments) -> anyhow::Result<Vec<String>> {
    let mut settings = Vec::new();
    if let Some(seed) = arguments.seed {
        settings.push(format!("seed={seed}"));
    }
    if !arguments.tasks.is_empty() {
        for file in &arguments.tasks {
            std::fs::File::open(file).with_context(|| format!("cannot read the task file {}", file.display()))?;
        }
        settings.push(format!("tasks.files={}", toml_list(&arguments.tasks)?));
    }
    if arguments.skip_bad_lines {
        settings.push("tasks.on_bad_line=skip".to_owned());
    }
    if let Some(model) = &arguments.model {
        // Said now rather than after the sandbox has been prepared.
        if !model.join("config.json").is_file() {
            anyhow::bail!("{} is no model folder: it holds no config.json", model.display());
        }
        settings.push(format!("model={{ path = {} }}", toml_text(model)?));
    }
    if let Some(steps) = arguments.steps {
        let recipe = read_recipe(&arguments.recipe, &[])?;
        settings.extend(recipe.grpo().map(|(stage, _)| format!("{}.steps={steps}", stage.name)));
    }
    settings.extend(arguments.settings.iter().cloned());
    Ok(settings)
}

/// As TOML text, and absolute: a resumed run may be started from another folder.
fn toml_text(path: &Path) -> anyhow::Result<String> {
    let path = std::path::absolute(path).with_context(|| format!("cannot find the folder of {}", path.display()))?;
    let text = path.to_str().with_context(|| format!("the path {} is not Unicode text", path.display()))?;
    Ok(toml::Value::from(text).to_string())
}

fn toml_list(paths: &[PathBuf]) -> anyhow::Result<String> {
    let texts = paths.iter().map(|path| toml_text(path)).collect::<anyhow::Result<Vec<_>>>()?;
    Ok(format!("[{}]", texts.join(", ")))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn run_arguments(line: &[&str]) -> RunArguments {
        let arguments = Arguments::try_parse_from(["recipe", "run"].iter().chain(line));
        match arguments.unwrap_or_else(|error| panic!("{error}")).command {
            Command::Run(arguments) => arguments,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_arguments_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn options_become_settings_and_set_has_the_last_word() {
        fn check(line: &[&str], expected: &[&str]) {
            assert_eq!(given_settings(&run_arguments(line)).unwrap(), expected, "{line:?}");
        }
        check(&["smoke"], &[]);
        check(&["smoke", "--set", "seed=2", "--seed", "1"], &["seed=1", "seed=2"]);
        check(&["smoke", "--steps", "7"], &["grpo.steps=7"]);
        check(&["smoke", "--skip-bad-lines"], &["tasks.on_bad_line=skip"]);
    }

    #[test]
    fn files_are_looked_for_before_any_work() {
        let folder = tempfile::tempdir().unwrap();
        let tasks = folder.path().join("it's \"tasks\".jsonl");
        let model = folder.path().join("model");
        let tasks_text = tasks.to_str().unwrap();
        let model_text = model.to_str().unwrap();
        let line = ["smoke", "--tasks", tasks_text, "--model", model_text];
        let error = given_settings(&run_arguments(&line)).unwrap_err().to_string();
        assert!(error.starts_with("cannot read the task file "), "{error}");
        std::fs::write(&tasks, "").unwrap();
        let error = given_settings(&run_arguments(&line)).unwrap_err().to_string();
        assert!(error.ends_with("is no model folder: it holds no config.json"), "{error}");
        std::fs::create_dir(&model).unwrap();
        std::fs::write(model.join("config.json"), "{}").unwrap();
        let settings = given_settings(&run_arguments(&line)).unwrap();
        let recipe = read_recipe("smoke", &settings).unwrap();
        assert_eq!(recipe.tasks.files, [tasks]);
        assert_eq!(recipe.model, crate::config::ModelSettings::Folder { path: model });
    }

    #[test]
    fn paths_are_kept_absolute() {
        let here = std::env::current_dir().unwrap();
        assert_eq!(toml_text(Path::new("a.jsonl")).unwrap(), toml_text(&here.join("a.jsonl")).unwrap());
    }

    #[test]
    fn a_resumed_run_takes_its_settings_again() {
        let folder = tempfile::tempdir().unwrap();
        let mut options = RunOptions { runs_root: folder.path().to_owned(), ..RunOptions::default() };
        let first = load(&run_arguments(&["smoke", "--steps", "9"]), &mut options).unwrap();
        let info = crate::run::RunInfo::collect(0, 1, &[], &options.settings, &[]).unwrap();
        let path = RunDir::create(folder.path(), None, &first, info).unwrap().path().to_owned();
        options.resume = true;
        let again = load(&run_arguments(&["smoke", "--resume"]), &mut options).unwrap();
        assert_eq!(again, first);
        assert_eq!(options.run_dir, Some(path));
    }
}
