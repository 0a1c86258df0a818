//! Why a guest was stopped from outside, or gave up: the error that a call of it ends with, as a cause.

use std::io;

use wasmtime::{OutOfMemory, PoolConcurrencyLimitError, Trap};
use wasmtime_wasi::I32Exit;

use crate::deadline::TimeIsOver;
use crate::error::SandboxError;
use crate::outcome::Cause;

/// The error of a guest that writes more than it may.
#[derive(Debug, thiserror::Error)]
#[error("more output than allowed")]
pub(crate) struct OutputExceeded;

/// The error of a guest that is not to blame: the host could not do for it what it may ask for.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct HostFailure(pub(crate) String);

/// The cause, with a text for people. Only what the host itself could not do is an error: everything else, however odd, was
/// brought about by the guest.
///
/// `who` is the guest in such texts; `memory_refused` says whether it had asked for more memory than it may have.
pub(crate) fn cause_of(
    error: &wasmtime::Error,
    memory_refused: bool,
    who: &str,
) -> Result<(Cause, String), SandboxError> {
    let trap = error.downcast_ref::<Trap>();
    Ok(if let Some(exit) = error.downcast_ref::<I32Exit>() {
        (Cause::Exit, format!("exited with status {}", exit.0))
    } else if error.is::<OutputExceeded>() {
        (Cause::TooMuchOutput, OutputExceeded.to_string())
    } else if error.is::<TimeIsOver>() {
        timed_out()
    } else if error.is::<HostFailure>() || trap.is_none() && is_of_the_host(error) {
        return Err(SandboxError::run("calling the guest")(wasmtime::format_err!("{error:#}")));
    } else if trap == Some(&Trap::OutOfFuel) {
        (Cause::OutOfFuel, "more work than allowed".to_owned())
    } else if memory_refused {
        // The interpreter aborts where it can do nothing without memory; what a module declares may be refused too.
        (Cause::OutOfMemory, "more memory than allowed".to_owned())
    } else if trap == Some(&Trap::StackOverflow) {
        (Cause::Exception, format!("{who}'s stack overflowed"))
    } else if let Some(trap) = trap {
        (Cause::Exception, format!("{who} crashed: {trap}"))
    } else {
        // It broke a rule of its interface: a handle that is none, a request that is too long, a text that is not UTF-8.
        (Cause::Exception, format!("{who} was stopped: {}", error.root_cause()))
    })
}

/// Whether the operating system or the engine's pool refused something.
pub(crate) fn is_of_the_host(error: &wasmtime::Error) -> bool {
    error.is::<OutOfMemory>()
        || error.is::<PoolConcurrencyLimitError>()
        || error.root_cause().is::<io::Error>()
        // Some are of another crate's type, which shows itself as the standard library's does. The contexts around the root
        // name functions of the guest's, which it may call as it likes.
        || error.root_cause().to_string().contains("(os error ")
}

pub(crate) fn timed_out() -> (Cause, String) {
    (Cause::TimedOut, TimeIsOver.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_causes() {
        let check = |error: wasmtime::Error, refused, expected| {
            assert_eq!(cause_of(&error, refused, "it").unwrap().0, expected);
        };
        check(Trap::OutOfFuel.into(), false, Cause::OutOfFuel);
        check(Trap::OutOfFuel.into(), true, Cause::OutOfFuel);
        check(Trap::StackOverflow.into(), false, Cause::Exception);
        check(Trap::UnreachableCodeReached.into(), false, Cause::Exception);
        check(Trap::UnreachableCodeReached.into(), true, Cause::OutOfMemory);
        check(wasmtime::Error::new(I32Exit(0)), false, Cause::Exit);
        check(wasmtime::Error::new(OutputExceeded).context("writing"), false, Cause::TooMuchOutput);
        check(wasmtime::Error::new(TimeIsOver).context("writing"), true, Cause::TimedOut);
        check(wasmtime::format_err!("requested len 9 exceeds limit 8"), false, Cause::Exception);
        check(wasmtime::format_err!("table minimum size of 9 elements"), true, Cause::OutOfMemory);
    }

    #[test]
    fn what_the_host_could_not_do_is_no_cause() {
        let no_memory = || io::Error::from_raw_os_error(12);
        for error in [
            wasmtime::Error::new(HostFailure("no memory".to_owned())),
            wasmtime::Error::new(no_memory()).context("growing"),
            wasmtime::format_err!("{}", no_memory()),
        ] {
            assert!(cause_of(&error, true, "it").is_err(), "{error:#}");
        }
    }
}
