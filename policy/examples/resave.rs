//! Loads a model folder and writes it again: shards as one file, narrow numbers as f32.
//!
//! `cargo run --release -p policy --example resave FROM TO`
#![allow(clippy::print_stderr, reason = "a program for the terminal")]

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [from, to] = arguments.as_slice() else {
        eprintln!("expected two folders, found {} arguments", arguments.len());
        return ExitCode::from(2);
    };
    match policy::Policy::load(Path::new(from)).and_then(|policy| policy.save(Path::new(to))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
