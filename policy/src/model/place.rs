//! A policy's weights and where they live: copies, averages, and moves to another place.

use candle_core::Var;

use super::weights::Weights;
#[cfg(feature = "cuda")]
use super::{parameters, with_numbers};
#[cfg(feature = "cuda")]
use crate::cuda::{Resident, Sums};
use crate::error::During;
use crate::ops::router::Balance;
use crate::optim::Gradients;
use crate::{Place, Policy, PolicyError, Result};

impl Policy {
    /// Where the policy lives.
    pub fn place(&self) -> Place {
        #[cfg(feature = "cuda")]
        if let Some(resident) = self.weights.resident() {
            return Place::Card(resident.device().clone());
        }
        Place::Cpu
    }

    /// Takes the policy to another place, where from then on it computes, learns and is sampled from. An optimizer and
    /// gradients belong to the place where they were made: take the policy there first.
    ///
    /// # Errors
    /// Too little memory there, or sizes that a card's kernels do not take. The policy stays where it was then.
    pub fn to_place(&mut self, place: &Place) -> Result<()> {
        match place {
            Place::Cpu => {
                self.parameters()?;
                self.weights.stay_on_host();
                Ok(())
            }
            #[cfg(feature = "cuda")]
            Place::Card(device) => self.go_to_card(device),
        }
    }

    #[cfg(feature = "cuda")]
    fn go_to_card(&mut self, device: &device::Device) -> Result<()> {
        if self.weights.resident().is_some_and(|resident| resident.device().is(device)) {
            return Ok(());
        }
        if let Some(message) = crate::cuda::unsupported(&self.config) {
            return Err(PolicyError::Argument { operation: "take a policy to a card", message });
        }
        let resident = with_numbers(self.parameters()?, |numbers| {
            Resident::new(device, &self.config, &self.attention, numbers.into_iter(), &self.router_bias)
        })?;
        self.weights = Weights::on_card(resident.during("take a policy to a card")?);
        Ok(())
    }

    /// The weights on the card, if they are on one.
    #[cfg(feature = "cuda")]
    pub(crate) fn resident(&self) -> Option<&std::sync::Arc<Resident>> {
        self.weights.resident()
    }

    /// A copy with weights of its own at the same place, such as a reference that stays while this one learns.
    ///
    /// # Errors
    /// If memory cannot be had.
    pub fn duplicate(&self) -> Result<Self> {
        #[cfg(feature = "cuda")]
        if let Some(resident) = self.weights.resident() {
            return Ok(self.with_weights(Weights::on_card(resident.duplicate().during("duplicate a policy")?)));
        }
        let copy = |(name, var): &(String, Var)| {
            let tensor = var.copy().and_then(|tensor| Var::from_tensor(&tensor)).during("duplicate a policy")?;
            Ok((name.clone(), tensor))
        };
        let parameters = self.parameters()?.iter().map(copy).collect::<Result<_>>()?;
        Ok(self.with_weights(Weights::on_host(parameters)))
    }

    /// Moves every weight, and the routers' biases, a share `rate` (0 to 1) of the way to another policy's: what a reference
    /// does that is a moving average.
    ///
    /// # Errors
    /// If the two are not of one configuration, or not at one place.
    pub fn move_towards(&mut self, other: &Policy, rate: f64) -> Result<()> {
        let bad = |message: &str| {
            Err(PolicyError::Argument { operation: "average two policies", message: message.to_owned() })
        };
        if self.config != other.config {
            return bad("their configurations differ");
        }
        match (self.place(), other.place()) {
            (Place::Cpu, Place::Cpu) => {
                for ((_, mine), (_, theirs)) in self.parameters()?.iter().zip(other.parameters()?) {
                    let average = || mine.affine(1.0 - rate, 0.0)? + theirs.affine(rate, 0.0)?;
                    average().and_then(|average| mine.set(&average)).during("average two policies")?;
                }
            }
            #[cfg(feature = "cuda")]
            (Place::Card(mine), Place::Card(theirs)) if mine.is(&theirs) => {
                if let (Some(mine), Some(theirs)) = (self.resident(), other.resident()) {
                    mine.move_towards(theirs, rate).during("average two policies")?;
                }
            }
            #[cfg(feature = "cuda")]
            _ => return bad("they are at different places"),
        }
        for (mine, theirs) in self.router_bias.iter_mut().flatten().zip(other.router_bias.iter().flatten()) {
            *mine = ((1.0 - rate) * f64::from(*mine) + rate * f64::from(*theirs)) as f32;
        }
        self.router_bias_has_moved()
    }

    /// The trainable parameters with their names, in a fixed order, in the host's memory. Those of a policy on a card are
    /// copied from it when they have changed; what is written to that copy does not reach the card.
    ///
    /// # Errors
    /// If a card fails.
    pub fn parameters(&self) -> Result<&[(String, Var)]> {
        #[cfg(feature = "cuda")]
        return self.weights.host(&self.config);
        #[cfg(not(feature = "cuda"))]
        Ok(self.weights.get())
    }

    /// Sets the numbers of the parameter at a place of [`Policy::parameters`], wherever the policy lives.
    ///
    /// # Errors
    /// Another number of them; if a card fails.
    pub(crate) fn set_parameter(&self, index: usize, values: Vec<f32>) -> Result<()> {
        self.weights.set(index, values)
    }

    /// Gradients of all parameters to add to, at the policy's place.
    ///
    /// # Errors
    /// Too little memory on a card.
    pub fn gradients(&self) -> Result<Gradients> {
        #[cfg(feature = "cuda")]
        if let Some(resident) = self.weights.resident() {
            let sums = Sums::new(resident).during("make gradients on the card")?;
            let named = parameters::specs(&self.config).into_iter();
            return Ok(Gradients::on_card(named.map(|spec| (spec.name, spec.shape.iter().product())), sums));
        }
        Ok(Gradients::zeros(self.weights.get()))
    }

    /// Moves the routers' biases against the load of a step. DeepSeek-V3 report, section 2.1.2.
    ///
    /// # Errors
    /// If a card fails.
    pub fn update_router_bias(&mut self, balance: &[Balance], rate: f32) -> Result<()> {
        for (bias, balance) in self.router_bias.iter_mut().zip(balance) {
            balance.update_bias(bias, rate);
        }
        self.router_bias_has_moved()
    }

    /// Takes the routers' biases to where the policy lives.
    fn router_bias_has_moved(&self) -> Result<()> {
        #[cfg(feature = "cuda")]
        if let Some(resident) = self.weights.resident() {
            resident.write_router_bias(&self.router_bias).during("set the routers' biases on the card")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ModelConfig;

    #[test]
    fn an_average_goes_the_rate_of_the_way() {
        let policy = |seed, bias| {
            let mut policy = Policy::new(ModelConfig::tiny(48), seed).unwrap();
            policy.router_bias[0][0] = bias;
            policy
        };
        let weight = |policy: &Policy| {
            let values: Vec<f32> = policy.parameters().unwrap()[0].1.flatten_all().unwrap().to_vec1().unwrap();
            values[5]
        };
        let (mut mine, theirs) = (policy(1, 1.0), policy(2, 3.0));
        let (old, target) = (weight(&mine), weight(&theirs));
        assert!((old - target).abs() > 1e-4, "{old} {target}");
        mine.move_towards(&theirs, 0.25).unwrap();
        assert!((weight(&mine) - (0.75 * old + 0.25 * target)).abs() < 1e-7, "{}", weight(&mine));
        assert_eq!(mine.router_bias[0][0], 1.5);
    }
}
