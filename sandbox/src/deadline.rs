//! The wall clock: until when a guest may run, and who looks.
//!
//! A guest gives way every [`FUEL_BETWEEN_LOOKS`], and whoever drives it looks at the clock then. That alone would leave two
//! holes. A function of the host's that charges fuel sets the guest's fuel, whereupon wasmtime begins a new interval: a guest
//! that is charged in every interval would never give way. And a function whose work grows with its arguments may take long
//! on little fuel. So both look at the clock themselves ([`charge`]). What is left are functions that do a bounded little
//! (some hundred nanoseconds) for at least five instructions of the guest's: between two looks at most 200,000 calls.

use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use wasmtime::{AsContextMut, Result, Trap};

/// How often a guest is interrupted to look at the wall clock: several times in a millisecond, for some thousandth of its
/// time.
pub(crate) const FUEL_BETWEEN_LOOKS: u64 = 1_000_000;

/// The moment at which a guest's time is over; `None` if no clock reaches it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline(Option<Instant>);

/// The error that ends a guest in a function of the host's.
#[derive(Debug, thiserror::Error)]
#[error("more time than allowed")]
pub(crate) struct TimeIsOver;

impl Deadline {
    pub(crate) const NEVER: Deadline = Deadline(None);

    pub(crate) fn after(wall: Duration) -> Deadline {
        Deadline(Instant::now().checked_add(wall))
    }

    fn is_over(self) -> bool {
        self.0.is_some_and(|end| Instant::now() >= end)
    }
}

/// Takes `cost` from the guest's fuel for what the host is about to do, unless its time is over.
pub(crate) fn charge(mut store: impl AsContextMut, deadline: Deadline, cost: u64) -> Result<()> {
    if deadline.is_over() {
        return Err(wasmtime::Error::new(TimeIsOver));
    }
    let mut store = store.as_context_mut();
    let fuel = store.get_fuel()?;
    store.set_fuel(fuel.saturating_sub(cost))?;
    if fuel < cost { Err(wasmtime::Error::new(Trap::OutOfFuel)) } else { Ok(()) }
}

/// Runs a guest to its end, or until its time is over (`None`). Giving way is all that it ever waits for. Dropping its future
/// ends it where it is.
pub(crate) fn drive<T>(future: impl Future<Output = T>, deadline: Deadline) -> Option<T> {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(value) => return Some(value),
            Poll::Pending if deadline.is_over() => return None,
            Poll::Pending => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_never_ends_is_given_up() {
        let never = std::future::poll_fn(|_| Poll::<()>::Pending);
        assert_eq!(drive(never, Deadline::after(Duration::from_millis(5))), None);
        assert_eq!(drive(async { 7 }, Deadline::after(Duration::ZERO)), Some(7));
        assert!(!Deadline::after(Duration::MAX).is_over() && !Deadline::NEVER.is_over());
    }
}
