//! `recipe reward new`: a file that works, and cases to try it on.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use rewards::Registry;

use crate::command::Wrong;
use crate::config::name_problem;

const TEMPLATE: &str = include_str!("template.py");
const CASES: &str = include_str!("template.jsonl");

#[derive(Args, Debug)]
pub(in crate::command) struct NewArguments {
    /// What it is to be called: the file is NAME.py
    name: String,

    /// The folder to put it in
    #[arg(long, value_name = "DIR", default_value = "rewards")]
    dir: PathBuf,
}

pub(super) fn new(arguments: &NewArguments, known: &Registry) -> anyhow::Result<String> {
    let name = arguments.name.as_str();
    if let Some(problem) = name_problem(name) {
        return Err(Wrong(problem).into());
    }
    if known.description(name).is_some() {
        return Err(Wrong(format!("`{name}` is one of this program's own rewards; give yours another name")).into());
    }
    let file = arguments.dir.join(format!("{name}.py"));
    let cases = file.with_extension("jsonl");
    for path in [&file, &cases] {
        if path.exists() {
            return Err(Wrong(format!("{} is there already, and is left as it is", path.display())).into());
        }
    }
    std::fs::create_dir_all(&arguments.dir).with_context(|| format!("cannot make {}", arguments.dir.display()))?;
    let text = TEMPLATE.replace("NAME", name).replace("FILE", &file.display().to_string());
    write(&file, &text)?;
    // A completion that is far too long.
    write(&cases, &CASES.replace("WORDS", &["so"; 80].join(" ")))?;
    Ok(format!(
        "wrote {file}, a reward that works, and {cases}, cases to try it on. Next:
  recipe reward test {file}
In a recipe, with the path as it is seen from the recipe's file:
  [[rewards]]
  name = \"{name}\"
  path = \"{file}\"
  weight = 1.0
",
        file = file.display(),
        cases = cases.display(),
    ))
}

/// Writes a file that must not be there yet.
fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let context = || format!("cannot write {}", path.display());
    let mut file = std::fs::File::create_new(path).with_context(context)?;
    file.write_all(text.as_bytes()).with_context(context)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(folder: &Path, name: &str) -> NewArguments {
        NewArguments { name: name.to_owned(), dir: folder.join("mine") }
    }

    #[test]
    fn what_is_there_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let known = Registry::builtin();
        let said = new(&arguments(folder.path(), "brief"), &known).unwrap();
        assert!(said.contains("recipe reward test "), "{said}");
        let file = folder.path().join("mine/brief.py");
        std::fs::write(&file, "precious").unwrap();
        let check = |name: &str, expected: &str| {
            let error = new(&arguments(folder.path(), name), &known).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        check("brief", "brief.py is there already, and is left as it is");
        check("accuracy", "one of this program's own rewards");
        check("../brief", "letters, digits");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious");
    }
}
