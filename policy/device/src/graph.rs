//! Recorded work that is run again: on a card one launch instead of hundreds, which a step of decoding needs.

use crate::backend::Recorded;
use crate::{Device, Result};

/// Work recorded by [`Device::capture`]. It uses the same places in memory each time. One thread launches it at a time, as
/// the driver asks for: it is not `Sync`.
pub struct Graph {
    recorded: Box<dyn Recorded>,
    /// For its memory that products work in.
    _device: Device,
}

impl Graph {
    pub(crate) fn new(recorded: Box<dyn Recorded>, device: Device) -> Self {
        Graph { recorded, _device: device }
    }

    /// Does the work, after all that was given to the device before.
    ///
    /// # Errors
    /// If the device fails.
    pub fn launch(&self) -> Result<()> {
        self.recorded.launch()
    }
}

impl std::fmt::Debug for Graph {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Graph")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    trait Shared<Which> {
        fn is_refused() {}
    }
    impl<T> Shared<()> for T {}
    impl<T: Sync> Shared<u8> for T {}

    #[test]
    fn what_could_not_be_recorded_is_named() {
        let device = Device::for_tests();
        // SAFETY: nothing is recorded.
        let capture = |what, work: &dyn Fn() -> Result<()>| unsafe { device.capture(what, work) };
        let nested = capture("outer", &|| capture("inner", &|| Ok(())).map(drop));
        let expected = "recording: inner: cannot be done while work is being recorded";
        assert_eq!(nested.unwrap_err().to_string(), expected);
    }

    #[test]
    fn threads_do_not_share_a_graph() {
        // Compiles only where one of the two applies.
        <Graph as Shared<_>>::is_refused();
    }
}
