//! A policy's parameters: on the host, or on a card with a copy on the host once somebody has asked for it.

use std::sync::OnceLock;
#[cfg(feature = "cuda")]
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{Device, Tensor, Var};

use super::parameters::Parameters;
use crate::Result;
#[cfg(feature = "cuda")]
use crate::config::ModelConfig;
#[cfg(feature = "cuda")]
use crate::cuda::Resident;
use crate::error::During;

/// The parameters, in the order of `parameters::specs`.
pub(super) struct Weights {
    /// Present wherever there is no card.
    host: OnceLock<Parameters>,
    #[cfg(feature = "cuda")]
    card: Option<OnCard>,
}

#[cfg(feature = "cuda")]
struct OnCard {
    resident: Arc<Resident>,
    /// Which version of the card's weights the host has a copy of.
    copied: Mutex<Option<u64>>,
}

impl Weights {
    /// On the host.
    pub(super) fn on_host(parameters: Parameters) -> Weights {
        Weights {
            host: OnceLock::from(parameters),
            #[cfg(feature = "cuda")]
            card: None,
        }
    }

    /// On a card.
    #[cfg(feature = "cuda")]
    pub(super) fn on_card(resident: Resident) -> Weights {
        let card = OnCard { resident: Arc::new(resident), copied: Mutex::new(None) };
        Weights { host: OnceLock::new(), card: Some(card) }
    }

    /// The card's, if they are on one.
    #[cfg(feature = "cuda")]
    pub(super) fn resident(&self) -> Option<&Arc<Resident>> {
        self.card.as_ref().map(|card| &card.resident)
    }

    /// Gives up the card's. Only after the host's have been asked for.
    pub(super) fn stay_on_host(&mut self) {
        #[cfg(feature = "cuda")]
        {
            self.card = None;
        }
    }

    /// The host's. Those of a card are copied first, if they have changed since they were last.
    #[cfg(feature = "cuda")]
    pub(super) fn host(&self, config: &ModelConfig) -> Result<&[(String, Var)]> {
        if let Some(OnCard { resident, copied }) = &self.card {
            let mut copied = copied.lock().unwrap_or_else(PoisonError::into_inner);
            let version = resident.version();
            if *copied != Some(version) {
                self.copy(config, resident)?;
                *copied = Some(version);
            }
        }
        Ok(self.get())
    }

    /// Copies a card's weights to the host.
    #[cfg(feature = "cuda")]
    fn copy(&self, config: &ModelConfig, resident: &Resident) -> Result<()> {
        let read = |index: usize| resident.read(index).during("copy the policy's weights to the host");
        match self.host.get() {
            Some(parameters) => {
                parameters.iter().enumerate().try_for_each(|(index, (name, var))| set(name, var, read(index)?))
            }
            None => {
                let mut index = 0..;
                let parameters = super::parameters::from_values(config, |_| read(index.next().unwrap_or(usize::MAX)))?;
                self.host.get_or_init(|| parameters);
                Ok(())
            }
        }
    }

    /// Sets the numbers of the parameter at a place.
    pub(super) fn set(&self, index: usize, values: Vec<f32>) -> Result<()> {
        #[cfg(feature = "cuda")]
        if let Some(card) = &self.card {
            return card.resident.write(index, &values).during("set a parameter on the card");
        }
        let (name, var) = &self.get()[index];
        set(name, var, values)
    }

    /// The host's as they are. Only for weights of which the host has any.
    pub(super) fn get(&self) -> &[(String, Var)] {
        self.host.get().expect("the host has weights where there is no card, and where they have been copied")
    }
}

fn set(name: &str, var: &Var, values: Vec<f32>) -> Result<()> {
    let tensor = Tensor::from_vec(values, var.dims(), &Device::Cpu);
    tensor.and_then(|tensor| var.set(&tensor)).during(format!("set `{name}`"))
}
