//! Where a command computes: `--device`.
//!
//! As the number of threads, it is no setting of a recipe: the same recipe runs on the CPU and on a card, whose numbers are
//! rounded otherwise. `run.json` keeps what was asked for, and a resumed run computes there unless it is told otherwise.

use anyhow::Context;
use policy::Place;

/// Where it is computed unless something else is said.
pub const CPU: &str = "cpu";
/// The card's kernels, compiled for the host and run there, slowly: for tests, and said nowhere else.
const EMULATOR: &str = "emulator";

/// A device's name as `--device` takes it.
///
/// # Errors
/// Another text, with what is expected. Whether the device is there is seen by [`open`].
pub(crate) fn name(text: &str) -> Result<String, String> {
    let number = |text: &str| !text.is_empty() && text.len() < 4 && text.bytes().all(|byte| byte.is_ascii_digit());
    let known = [CPU, "cuda", EMULATOR].contains(&text) || text.strip_prefix("cuda:").is_some_and(number);
    if known { Ok(text.to_owned()) } else { Err("expected cpu, cuda, or cuda:1 for the second card".to_owned()) }
}

/// The device of this name, ready to compute; the CPU if none is named.
///
/// # Errors
/// There is no such device, with what is missing and how to get it.
pub(crate) fn open(device: Option<&str>) -> anyhow::Result<Place> {
    let device = device.unwrap_or(CPU);
    let opened = match device {
        EMULATOR => device::Device::emulated().map(Place::Card).map_err(anyhow::Error::from),
        _ => Place::parse(device).map_err(anyhow::Error::from),
    };
    opened.with_context(|| format!("cannot compute on {device} (`recipe doctor` says what is missing)"))
}

/// The card, if it is one.
pub(crate) fn card(place: &Place) -> Option<&device::Device> {
    match place {
        Place::Cpu => None,
        Place::Card(card) => Some(card),
    }
}

/// The card's name, for reports.
pub(crate) fn card_name(place: &Place) -> Option<String> {
    card(place).map(device::Device::name)
}

/// What the answers of a card's model are told apart by from those of the CPU, in caches and on resume.
pub(crate) fn mark(place: &Place) -> String {
    card_name(place).map_or_else(String::new, |name| format!("on {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_have_names() {
        for text in ["cpu", "cuda", "cuda:0", "cuda:11", "emulator"] {
            assert_eq!(name(text).unwrap(), text);
        }
        for text in ["", "gpu", "CUDA", "cuda:", "cuda:-1", "cuda:1a", "cuda:1234"] {
            assert!(name(text).unwrap_err().contains("expected cpu, cuda"), "{text}");
        }
    }

    #[test]
    fn the_cpu_is_always_there() {
        for device in [None, Some("cpu")] {
            let place = open(device).unwrap();
            assert!(card(&place).is_none() && card_name(&place).is_none() && mark(&place).is_empty());
        }
    }
}
