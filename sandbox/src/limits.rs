//! What a program may use.

use std::time::Duration;

use crate::error::SandboxError;

/// The largest memory that a 32-bit guest can have.
pub(crate) const LARGEST_MEMORY: usize = 1 << 32;

/// Output is kept in the host's memory.
const LARGEST_OUTPUT: usize = 1 << 30;

/// What one program may use. Fuel, memory and output are counted the same on every machine; `wall` is the backstop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Work: one unit for each WebAssembly instruction, and one for each byte that a bulk instruction moves or fills. A
    /// common machine does some 7 x 10^9 in a second; a second of native CPython's work takes some 3 x 10^10.
    pub fuel: u64,
    /// Linear memory, the interpreter's own (about 46 MiB) included. At most 4 GiB.
    pub memory_bytes: usize,
    /// Standard output and standard error together.
    pub output_bytes: usize,
    /// Wall-clock time: ends what takes longer than its fuel should, on a machine that is slow or busy.
    pub wall: Duration,
}

impl Default for Limits {
    /// Meant for what the reference solutions of public problem sets need: 2 x 10^11 fuel (some 30 seconds of work),
    /// 1 GiB, 1 MiB of output, 2 minutes.
    fn default() -> Self {
        Limits { fuel: 200_000_000_000, memory_bytes: 1 << 30, output_bytes: 1 << 20, wall: Duration::from_secs(120) }
    }
}

impl Limits {
    /// Limits for short exercises, where a loop without end must not cost a training step much: a tenth of the
    /// default fuel and half of its memory.
    #[must_use]
    pub fn brief() -> Limits {
        Limits { fuel: 20_000_000_000, memory_bytes: 512 << 20, wall: Duration::from_secs(30), ..Limits::default() }
    }

    /// Refuses limits under which nothing could run. Every run does this first.
    ///
    /// # Errors
    /// Names the limit, its value and what is wrong with it.
    pub fn check(&self) -> Result<(), SandboxError> {
        let refuse = |limit, value: usize, reason| Err(SandboxError::Limit { limit, value: value as u64, reason });
        if self.fuel == 0 {
            return refuse("fuel", 0, "must be at least 1");
        }
        if self.memory_bytes > LARGEST_MEMORY {
            return refuse("memory_bytes", self.memory_bytes, "a 32-bit guest has at most 4 GiB");
        }
        if self.memory_bytes == 0 {
            return refuse("memory_bytes", 0, "must be at least what the program itself takes");
        }
        if self.output_bytes == 0 || self.output_bytes > LARGEST_OUTPUT {
            return refuse("output_bytes", self.output_bytes, "must be between 1 and 1 GiB");
        }
        if self.wall.is_zero() {
            return refuse("wall", 0, "must be longer than nothing");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(limits: Limits, expected: Option<&str>) {
        assert_eq!(limits.check().err().map(|error| error.to_string()).as_deref(), expected);
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        let default = Limits::default();
        check(default, None);
        check(Limits { fuel: 0, ..default }, Some("the limit `fuel` = 0 cannot be used: must be at least 1"));
        check(
            Limits { memory_bytes: (1 << 32) + 1, ..default },
            Some("the limit `memory_bytes` = 4294967297 cannot be used: a 32-bit guest has at most 4 GiB"),
        );
        check(
            Limits { output_bytes: 0, ..default },
            Some("the limit `output_bytes` = 0 cannot be used: must be between 1 and 1 GiB"),
        );
        check(
            Limits { wall: Duration::ZERO, ..default },
            Some("the limit `wall` = 0 cannot be used: must be longer than nothing"),
        );
    }
}
