//! The `recipe` command: see `recipes::command`.

use std::process::ExitCode;

fn main() -> ExitCode {
    recipes::command::main()
}
