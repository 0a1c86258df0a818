//! The optimizer's state, to be saved and taken back. It is the same on the host and on a card.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::{AdamW, At, Moments, Slot, mismatch};
use crate::Result;
use crate::checkpoint::{TensorData, TensorView};
#[cfg(feature = "cuda")]
use crate::error::During;

const FIRST: &str = "first_moment.";
const SECOND: &str = "second_moment.";
const STEPS: &str = "steps";

/// An optimizer's state: named tensors, to be saved.
#[derive(Debug)]
pub struct AdamWState<'a>(Vec<(String, Vec<usize>, Cow<'a, [f32]>)>);

impl AdamWState<'_> {
    /// The tensors as [`save_tensors`](crate::checkpoint::save_tensors) takes them.
    #[must_use]
    pub fn views(&self) -> Vec<TensorView<'_>> {
        self.0.iter().map(|(name, shape, values)| (name.clone(), shape.clone(), &**values)).collect()
    }
}

impl AdamW {
    /// The whole state as named tensors: `first_moment.NAME`, `second_moment.NAME` (in the
    /// parameter's shape) and `steps`. It is the same on a card, from which it is copied: a run can go on elsewhere.
    ///
    /// # Errors
    /// If a card fails.
    pub fn state(&self) -> Result<AdamWState<'_>> {
        let mut state = Vec::with_capacity(2 * self.slots.len() + 1);
        for slot in &self.slots {
            let [first, second] = self.moments(slot)?;
            state.push((format!("{FIRST}{}", slot.name), slot.shape.clone(), first));
            state.push((format!("{SECOND}{}", slot.name), slot.shape.clone(), second));
        }
        state.push((STEPS.to_owned(), vec![1], Cow::Borrowed(self.steps_saved.as_slice())));
        Ok(AdamWState(state))
    }

    fn moments<'a>(&self, slot: &'a Slot) -> Result<[Cow<'a, [f32]>; 2]> {
        match &slot.moments {
            At::Host(Moments { first, second, .. }) => Ok([Cow::Borrowed(first), Cow::Borrowed(second)]),
            #[cfg(feature = "cuda")]
            At::Card(parameter) => {
                let Some(card) = &self.card else { unreachable!("moments on a card have it") };
                Ok(card.read(*parameter).during("copy the optimizer's moments")?.map(Cow::Owned))
            }
        }
    }

    /// Takes back a state that [`state`](Self::state) gave. Nothing changes if it does not fit.
    ///
    /// # Errors
    /// A tensor that is missing, of another shape, or of no parameter of ours; the message names it.
    pub fn restore(&mut self, state: &BTreeMap<String, TensorData>) -> Result<()> {
        const OPERATION: &str = "restore the optimizer";
        let find = |name: String, shape: &[usize]| -> Result<Vec<f32>> {
            let Some(tensor) = state.get(&name) else {
                return Err(mismatch(OPERATION, &name, "missing".to_owned()));
            };
            if tensor.shape != shape {
                let message = format!("expected shape {shape:?}, found {:?}", tensor.shape);
                return Err(mismatch(OPERATION, &name, message));
            }
            Ok(tensor.values.clone())
        };
        let steps = find(STEPS.to_owned(), &[1])?[0];
        if !(steps >= 0.0 && steps.fract() == 0.0) {
            return Err(mismatch(OPERATION, STEPS, format!("{steps} is not a count")));
        }
        let mut moments = Vec::with_capacity(self.slots.len());
        for slot in &self.slots {
            let first = find(format!("{FIRST}{}", slot.name), &slot.shape)?;
            moments.push((first, find(format!("{SECOND}{}", slot.name), &slot.shape)?));
        }
        if state.len() != 2 * self.slots.len() + 1 {
            let ours = |name: &str| {
                let named = name.strip_prefix(FIRST).or_else(|| name.strip_prefix(SECOND));
                name == STEPS || named.is_some_and(|name| self.slots.iter().any(|slot| slot.name == name))
            };
            if let Some(stranger) = state.keys().find(|name| !ours(name)) {
                let message = "is of no parameter of this model".to_owned();
                return Err(mismatch(OPERATION, stranger, message));
            }
        }
        for (slot, (first, second)) in self.slots.iter_mut().zip(moments) {
            match &mut slot.moments {
                At::Host(moments) => (moments.first, moments.second) = (first, second),
                #[cfg(feature = "cuda")]
                At::Card(parameter) => {
                    let Some(card) = &mut self.card else { unreachable!("moments on a card have it") };
                    card.write(*parameter, [&first, &second]).during(OPERATION)?;
                }
            }
        }
        self.steps = steps as u64;
        self.steps_saved = [steps];
        Ok(())
    }
}
