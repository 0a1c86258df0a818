//! Recorded work that is run again: on a card one launch instead of hundreds, which a step of decoding needs.

use crate::Result;
use crate::backend::Recorded;

/// Work recorded by [`crate::Device::capture`]. It uses the same places in memory each time.
pub struct Graph(Box<dyn Recorded>);

impl Graph {
    pub(crate) fn new(recorded: Box<dyn Recorded>) -> Self {
        Graph(recorded)
    }

    /// Does the work, after all that was given to the device before.
    ///
    /// # Errors
    /// If the device fails.
    pub fn launch(&self) -> Result<()> {
        self.0.launch()
    }
}

impl std::fmt::Debug for Graph {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Graph")
    }
}
