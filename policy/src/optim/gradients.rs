//! Gradients of a list of parameters, summed over micro-batches in f32.

use std::borrow::Cow;
use std::collections::BTreeMap;

use candle_core::Var;
use rayon::prelude::*;

use super::CHUNK;
#[cfg(feature = "cuda")]
use crate::cuda::Sums;
#[cfg(feature = "cuda")]
use crate::error::During;
use crate::error::{PolicyError, Result};

/// A parameter's name and its gradient, if it has one.
pub type NamedGradient<'a> = (&'a str, Option<Cow<'a, [f32]>>);

/// One gradient per parameter, in the order of their names; absent until something adds to it.
///
/// Absent is not zero: a parameter that no micro-batch reached is left alone by the optimizer,
/// its moments and weight decay included (as in PyTorch).
#[derive(Debug, Default)]
pub struct Gradients {
    entries: Vec<Entry>,
    /// The sums themselves, if they are on a card.
    #[cfg(feature = "cuda")]
    card: Option<Sums>,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) name: String,
    /// The parameter's place in the list.
    #[cfg(feature = "cuda")]
    pub(super) parameter: usize,
    pub(super) elements: usize,
    pub(super) values: Option<Vec<f32>>,
}

impl Gradients {
    /// No gradient yet for any of the parameters.
    #[must_use]
    pub fn zeros(params: &[(String, Var)]) -> Self {
        Self::of(params.iter().map(|(name, var)| (name.clone(), var.elem_count())))
    }

    fn of(params: impl Iterator<Item = (String, usize)>) -> Self {
        let entry = |(_parameter, (name, elements))| Entry {
            name,
            #[cfg(feature = "cuda")]
            parameter: _parameter,
            elements,
            values: None,
        };
        let mut entries: Vec<Entry> = params.enumerate().map(entry).collect();
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Self {
            entries,
            #[cfg(feature = "cuda")]
            card: None,
        }
    }

    /// Of a policy's parameters, names and numbers of elements, on the card.
    #[cfg(feature = "cuda")]
    pub(crate) fn on_card(params: impl Iterator<Item = (String, usize)>, sums: Sums) -> Self {
        Self { card: Some(sums), ..Self::of(params) }
    }

    /// The sums on the card, if that is where they are.
    #[cfg(feature = "cuda")]
    pub(crate) fn sums(&self) -> Option<&Sums> {
        self.card.as_ref()
    }

    /// The same, to be added to.
    #[cfg(feature = "cuda")]
    pub(crate) fn sums_mut(&mut self) -> Option<&mut Sums> {
        self.card.as_mut()
    }

    /// The sums of `params`, in their order, to be added to; zeros where nothing has been added yet.
    ///
    /// # Errors
    /// A parameter that this container was not made for.
    pub(crate) fn in_order_of(&mut self, params: &[(String, Var)]) -> Result<Vec<&mut [f32]>> {
        let places: BTreeMap<&str, usize> =
            params.iter().enumerate().map(|(at, (name, _))| (name.as_str(), at)).collect();
        let mut sums: Vec<Option<&mut [f32]>> = params.iter().map(|_| None).collect();
        for Entry { name, elements, values, .. } in &mut self.entries {
            if let Some(at) = places.get(name.as_str())
                && params[*at].1.elem_count() == *elements
            {
                sums[*at] = Some(values.get_or_insert_with(|| vec![0.0; *elements]));
            }
        }
        let named = sums.into_iter().zip(params);
        named
            .map(|(sum, (name, _))| sum.ok_or_else(|| mismatch(name, "is not one of the parameters".to_owned())))
            .collect()
    }

    /// Adds `scale` times one parameter's gradient, given as plain numbers in the parameter's order.
    ///
    /// # Errors
    /// An unknown name or another number of elements; gradients on a card, which only passes there add to.
    pub fn add_slice(&mut self, name: &str, gradient: &[f32], scale: f64) -> Result<()> {
        let entry = match self.entries.binary_search_by(|entry| entry.name.as_str().cmp(name)) {
            Ok(at) => &mut self.entries[at],
            Err(_) => return Err(mismatch(name, "is not one of the parameters".to_owned())),
        };
        #[cfg(feature = "cuda")]
        if self.card.is_some() {
            return Err(mismatch(name, "its gradient is on a card".to_owned()));
        }
        if gradient.len() != entry.elements {
            return Err(mismatch(name, format!("expected {} elements, found {}", entry.elements, gradient.len())));
        }
        let scale = scale as f32;
        match &mut entry.values {
            None => entry.values = Some(gradient.iter().map(|g| scale * g).collect()),
            Some(values) => {
                values.par_chunks_mut(CHUNK).zip(gradient.par_chunks(CHUNK)).for_each(|(values, gradient)| {
                    for (value, g) in values.iter_mut().zip(gradient) {
                        *value += scale * g;
                    }
                })
            }
        }
        Ok(())
    }

    /// The Euclidean norm of all gradients together, summed in f64 in a fixed order.
    ///
    /// # Errors
    /// If a card fails.
    pub fn norm(&self) -> Result<f64> {
        #[cfg(feature = "cuda")]
        if let Some(sums) = &self.card {
            return sums.norm().during("norm of the gradients");
        }
        let present: Vec<&[f32]> = self.entries.iter().filter_map(|entry| entry.values.as_deref()).collect();
        let partial: Vec<Vec<f64>> =
            present.par_iter().map(|values| values.par_chunks(CHUNK).map(sum_of_squares).collect()).collect();
        Ok(partial.into_iter().flatten().sum::<f64>().sqrt())
    }

    /// Names and gradients, in the order of the names; those on a card are copied from it.
    ///
    /// # Errors
    /// If a card fails.
    pub fn values(&self) -> Result<Vec<NamedGradient<'_>>> {
        self.entries.iter().map(|entry| Ok((entry.name.as_str(), self.value(entry)?))).collect()
    }

    fn value<'a>(&self, entry: &'a Entry) -> Result<Option<Cow<'a, [f32]>>> {
        #[cfg(feature = "cuda")]
        if let Some(sums) = &self.card {
            let values = sums.read(entry.parameter).during("copy a gradient to the host")?;
            return Ok(values.map(Cow::Owned));
        }
        Ok(entry.values.as_deref().map(Cow::Borrowed))
    }

    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }
}

/// Eight running sums, so that the loop vectorises; their order is part of the result and fixed.
fn sum_of_squares(values: &[f32]) -> f64 {
    let mut sums = [0f64; 8];
    let chunks = values.chunks_exact(8);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (sum, value) in sums.iter_mut().zip(chunk) {
            *sum += f64::from(*value) * f64::from(*value);
        }
    }
    for (sum, value) in sums.iter_mut().zip(rest) {
        *sum += f64::from(*value) * f64::from(*value);
    }
    sums.iter().sum()
}

fn mismatch(name: &str, message: String) -> PolicyError {
    PolicyError::TensorMismatch { operation: "accumulate gradients".into(), tensor: name.to_owned(), message }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    fn variable(values: &[f32]) -> Var {
        Var::from_slice(values, values.len(), &Device::Cpu).unwrap()
    }

    fn values<'a>(gradients: &'a Gradients, name: &str) -> Option<Cow<'a, [f32]>> {
        gradients.values().unwrap().into_iter().find(|(found, _)| *found == name).unwrap().1
    }

    #[test]
    fn micro_batches_add_up_and_untouched_parameters_stay_absent() {
        let params = [
            ("b".to_owned(), variable(&[1.0, 2.0])),
            ("a".to_owned(), variable(&[3.0, 4.0])),
            ("unused".to_owned(), variable(&[5.0])),
        ];
        let mut gradients = Gradients::zeros(&params);
        for scale in [0.5, 2.0] {
            gradients.add_slice("a", &[1.0, 2.0], scale).unwrap();
            gradients.add_slice("b", &[3.0, 4.0], scale).unwrap();
        }
        assert_eq!(values(&gradients, "a").as_deref(), Some(&[2.5, 5.0][..]));
        assert_eq!(values(&gradients, "b").as_deref(), Some(&[7.5, 10.0][..]));
        assert_eq!(values(&gradients, "unused"), None);
        let expected = (2.5f64 * 2.5 + 25.0 + 7.5 * 7.5 + 100.0).sqrt();
        assert!((gradients.norm().unwrap() - expected).abs() < 1e-12);
    }

    #[test]
    fn sums_are_handed_out_in_the_order_of_the_parameters() {
        let params = [("b".to_owned(), variable(&[1.0, 2.0])), ("a".to_owned(), variable(&[3.0]))];
        let mut gradients = Gradients::zeros(&params);
        gradients.add_slice("b", &[1.0, 2.0], 1.0).unwrap();
        let mut sums = gradients.in_order_of(&params).unwrap();
        assert_eq!(sums, [&mut [1.0, 2.0][..], &mut [0.0]]);
        sums[1][0] += 5.0;
        assert_eq!(values(&gradients, "a").as_deref(), Some(&[5.0][..]));
        let stranger = [("b".to_owned(), variable(&[1.0]))];
        assert!(gradients.in_order_of(&stranger).unwrap_err().to_string().contains("`b`"));
    }

    #[test]
    fn the_norm_is_the_same_to_the_bit_with_any_number_of_threads() {
        let stream = crate::random::Normal::new(5, "gradient");
        let values = stream.take(3 * CHUNK + 77, 1.0);
        let params = [("w".to_owned(), variable(&values)), ("v".to_owned(), variable(&[2.0]))];
        let norm = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let mut gradients = Gradients::zeros(&params);
                gradients.add_slice("w", &values, 0.3).unwrap();
                gradients.add_slice("w", &values, 0.1).unwrap();
                gradients.norm().unwrap().to_bits()
            })
        };
        assert_eq!(norm(1), norm(2));
        assert_eq!(norm(1), norm(5));
        let plain: f64 = values.iter().map(|&v| (f64::from(v) * 0.4).powi(2)).sum::<f64>().sqrt();
        assert!((f64::from_bits(norm(1)) / plain - 1.0).abs() < 1e-6);
    }

    #[test]
    fn strangers_are_refused_by_name() {
        let params = [("w".to_owned(), variable(&[1.0, 2.0]))];
        let mut gradients = Gradients::zeros(&params);
        let message = gradients.add_slice("x", &[1.0], 1.0).unwrap_err().to_string();
        assert!(message.contains("`x`"), "{message}");
        let message = gradients.add_slice("w", &[1.0], 1.0).unwrap_err().to_string();
        assert!(message.contains("`w`") && message.contains("expected 2 elements"), "{message}");
    }
}
