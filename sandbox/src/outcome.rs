//! How a program ended.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a program ended. Exactly one holds; which one is decided outside Python.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// It ran to its last line.
    Ok,
    /// An uncaught `AssertionError` (or a subclass).
    AssertionFailed,
    /// Any other uncaught exception, or the interpreter itself gave up (a crash, a host stack overflow).
    Exception,
    /// The text is not a Python program: nothing of it ran.
    SyntaxError,
    /// It ended itself: `sys.exit`, `raise SystemExit`, `os._exit`, whatever the exit code.
    Exit,
    /// It used up [`Limits::fuel`](crate::Limits::fuel).
    OutOfFuel,
    /// An uncaught `MemoryError`, or the interpreter could not go on within
    /// [`Limits::memory_bytes`](crate::Limits::memory_bytes).
    OutOfMemory,
    /// It wrote more than [`Limits::output_bytes`](crate::Limits::output_bytes).
    TooMuchOutput,
    /// It ran longer than [`Limits::wall`](crate::Limits::wall). The only cause that depends on the machine.
    TimedOut,
}

impl Cause {
    /// The name, as in JSON: `assertion_failed`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Cause::Ok => "ok",
            Cause::AssertionFailed => "assertion_failed",
            Cause::Exception => "exception",
            Cause::SyntaxError => "syntax_error",
            Cause::Exit => "exit",
            Cause::OutOfFuel => "out_of_fuel",
            Cause::OutOfMemory => "out_of_memory",
            Cause::TooMuchOutput => "too_much_output",
            Cause::TimedOut => "timed_out",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Cause::Ok => "ok",
            Cause::AssertionFailed => "assertion failed",
            Cause::Exception => "exception",
            Cause::SyntaxError => "syntax error",
            Cause::Exit => "exit",
            Cause::OutOfFuel => "out of fuel",
            Cause::OutOfMemory => "out of memory",
            Cause::TooMuchOutput => "too much output",
            Cause::TimedOut => "timed out",
        })
    }
}

/// What came of one program.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// How it ended.
    pub cause: Cause,
    /// The traceback's last line, such as `ZeroDivisionError: division by zero`; for limits, which one. For people:
    /// a program can influence this text, never the cause. Empty when the cause is `Ok`.
    pub detail: String,
    /// What it wrote to standard output, up to the limit; bytes that are not UTF-8 are replaced.
    pub stdout: String,
    /// What it wrote to standard error, the traceback last.
    pub stderr: String,
    /// Fuel used until it ended; the same at every run. See [`Limits::fuel`](crate::Limits::fuel).
    pub fuel: u64,
    /// Wall-clock time on this machine, instantiation included.
    pub seconds: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_have_the_names_that_people_filter_by() {
        for (cause, name, shown) in [
            (Cause::AssertionFailed, "assertion_failed", "assertion failed"),
            (Cause::OutOfFuel, "out_of_fuel", "out of fuel"),
            (Cause::Ok, "ok", "ok"),
        ] {
            assert_eq!(cause.name(), name);
            assert_eq!(cause.to_string(), shown);
        }
    }
}
