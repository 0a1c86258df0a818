//! Where a policy lives: in the host's memory, or on a card.

use crate::{PolicyError, Result};

/// Where a policy's weights are, and so where it computes.
#[derive(Debug, Clone, Default)]
pub enum Place {
    /// The host.
    #[default]
    Cpu,
    /// A card; or the emulator, in tests.
    #[cfg(feature = "cuda")]
    Card(device::Device),
}

impl Place {
    /// The place of this name: `cpu`, `cuda` (the first card) or `cuda:1` (the second).
    ///
    /// # Errors
    /// Another name; a card that cannot be had, with what to do about it.
    pub fn parse(name: &str) -> Result<Place> {
        const OPERATION: &str = "choose where to compute";
        let number = match name {
            "cpu" => return Ok(Place::Cpu),
            "cuda" => Some(0),
            _ => name.strip_prefix("cuda:").and_then(|number| number.parse().ok()),
        };
        let Some(number) = number else {
            let message = format!("`{name}` is no place; there are `cpu`, `cuda`, and `cuda:1` for the second card");
            return Err(PolicyError::Argument { operation: OPERATION, message });
        };
        Place::card(number)
    }

    #[cfg(feature = "cuda")]
    fn card(number: usize) -> Result<Place> {
        use crate::error::During;
        Ok(Place::Card(device::Device::cuda(number).during(format!("open card {number}"))?))
    }

    #[cfg(not(feature = "cuda"))]
    fn card(number: usize) -> Result<Place> {
        let message = "this program was built without the feature `cuda`".to_owned();
        Err(PolicyError::Argument { operation: "open a card", message: format!("card {number}: {message}") })
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Place::Cpu => formatter.write_str("the CPU"),
            #[cfg(feature = "cuda")]
            Place::Card(device) => formatter.write_str(&device.name()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_names_are_refused() {
        assert!(matches!(Place::parse("cpu").unwrap(), Place::Cpu));
        for name in ["gpu", "cuda:", "cuda:x", "cuda:-1", ""] {
            let message = Place::parse(name).unwrap_err().to_string();
            assert!(message.contains("is no place"), "{name}: {message}");
        }
    }
}
