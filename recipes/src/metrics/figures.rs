//! What many values come to: a mean with its spread, or with the interval that it lies in; how two go together.

use serde::{Deserialize, Serialize};

/// Mean and standard deviation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// The mean.
    pub mean: f64,
    /// The standard deviation.
    pub std: f64,
}

impl Spread {
    /// Mean and standard deviation of the values; zeros if there are none.
    #[must_use]
    pub fn of(values: &[f64]) -> Spread {
        if values.is_empty() {
            return Spread::default();
        }
        let mean = mean(values);
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        Spread { mean, std: (squares / count(values.len())).sqrt() }
    }
}

/// The smallest and the largest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Extremes {
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
}

/// A mean with its 95% confidence interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The mean.
    pub mean: f64,
    /// How far the interval reaches: from `mean - half_width` to `mean + half_width`. None where fewer than two tasks leave
    /// nothing to tell it from.
    #[serde(default)]
    pub half_width: Option<f64>,
}

/// Standard deviations of a normal distribution on each side that hold 95% of it.
const NORMAL_95: f64 = 1.959_964;

impl Estimate {
    /// The mean of one share per task (each the mean over that task's samples), with the interval
    /// over tasks: the samples of one task are no independent evidence.
    #[must_use]
    pub fn over_tasks(values: &[f64]) -> Estimate {
        Estimate::within(values, (0.0, 1.0))
    }

    /// The mean of one difference of shares per task, with the interval over tasks.
    #[must_use]
    pub fn of_differences(values: &[f64]) -> Estimate {
        Estimate::within(values, (-1.0, 1.0))
    }

    /// The mean of values that lie between these bounds, by the normal approximation. Where all are equal, or all but a few,
    /// that would claim to be nearly certain. Wilson's interval for how many more would differ, given that none of n did, ends
    /// at `z^2 / (n + z^2)`; each of those could lie as far away as the bounds are, and so far the interval reaches at least.
    /// For shares that are all 0 or all 1 it is Wilson's own; of values that are 0 or 1 it is the normal one from about four
    /// of each on.
    fn within(values: &[f64], (low, high): (f64, f64)) -> Estimate {
        let (mean, number) = (mean(values), count(values.len()));
        if values.len() < 2 {
            return Estimate { mean, half_width: None };
        }
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let normal = NORMAL_95 * (squares / (number - 1.0) / number).sqrt();
        let square = NORMAL_95 * NORMAL_95;
        let least = square / (number + square) * (mean - low).max(high - mean);
        // To a millionth, as the quantile is: so short a number is the same when it is read from a file again.
        Estimate { mean, half_width: Some(normal.max((least * 1e6).round() / 1e6)) }
    }

    /// The mean of independent estimates, each counting the same; without an interval where one has none.
    #[must_use]
    pub fn mean_of(estimates: &[Estimate]) -> Estimate {
        if estimates.is_empty() {
            return Estimate::default();
        }
        let number = count(estimates.len());
        let sum: f64 = estimates.iter().map(|estimate| estimate.mean).sum();
        let squares: Option<f64> = estimates.iter().map(|estimate| Some(estimate.half_width?.powi(2))).sum();
        Estimate { mean: sum / number, half_width: squares.map(|squares| squares.sqrt() / number) }
    }

    /// How far the interval reaches, in percent: `±2.7`; nothing where there is none.
    #[must_use]
    pub fn reach(&self) -> String {
        self.half_width.map_or_else(String::new, |half_width| format!("±{:.1}", half_width * 100.0))
    }
}

/// In percent: `31.0% ±2.7`.
impl std::fmt::Display for Estimate {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = format!("{:.1}% {}", self.mean * 100.0, self.reach());
        formatter.pad(text.trim_end())
    }
}

/// The mean; 0 of nothing.
#[must_use]
pub fn mean(values: &[f64]) -> f64 {
    if values.is_empty() { 0.0 } else { values.iter().sum::<f64>() / count(values.len()) }
}

/// Whether a share is larger than another. One that was written to a file and read again may differ in its last bit.
pub(crate) fn is_more(one: f64, other: f64) -> bool {
    one > other + 1e-9
}

/// Pearson's correlation; none where one of the two does not vary.
#[must_use]
pub fn correlation(pairs: &[(f64, f64)]) -> Option<f64> {
    let (one, other): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
    let (mean_one, mean_other) = (mean(&one), mean(&other));
    let sum = |product: fn(f64, f64) -> f64| -> f64 {
        pairs.iter().map(|(a, b)| product(a - mean_one, b - mean_other)).sum()
    };
    let (squares, other_squares) = (sum(|a, _| a * a), sum(|_, b| b * b));
    // Equal values may leave a rounding error.
    let varies = |squares: f64, mean: f64| squares > 1e-18 * count(pairs.len()) * (1.0 + mean * mean);
    (varies(squares, mean_one) && varies(other_squares, mean_other))
        .then(|| sum(|a, b| a * b) / (squares * other_squares).sqrt())
}

fn count(number: usize) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_is_over_tasks() {
        // 40 of 100 tasks right: sqrt(0.4 * 0.6 / 99) * 1.96.
        let mut values = vec![0.0; 60];
        values.extend(vec![1.0; 40]);
        let estimate = Estimate::over_tasks(&values);
        assert!((estimate.mean - 0.4).abs() < 1e-12);
        assert!((estimate.half_width.unwrap() - 1.959_964 * (0.24_f64 / 99.0).sqrt()).abs() < 1e-12);
    }

    #[test]
    fn tasks_that_all_agree_are_no_certainty() {
        #[track_caller]
        fn check(estimate: Estimate, expected: &str) {
            assert_eq!(estimate.to_string(), expected);
        }
        // Wilson's upper end for 0 of 30: 3.8415 / 33.8415.
        check(Estimate::over_tasks(&[0.0; 30]), "0.0% ±11.4");
        check(Estimate::over_tasks(&[1.0; 30]), "100.0% ±11.4");
        check(Estimate::over_tasks(&[0.5; 30]), "50.0% ±5.7");
        // A mean whose sum rounds is spread over nothing all the same.
        check(Estimate::over_tasks(&[0.1; 30]), "10.0% ±10.2");
        check(Estimate::of_differences(&[0.0; 30]), "0.0% ±11.4");
        check(Estimate::of_differences(&[1.0; 30]), "100.0% ±22.7");
        check(Estimate::over_tasks(&[1.0]), "100.0%");
        check(Estimate::of_differences(&[1.0]), "100.0%");
        check(Estimate::over_tasks(&[]), "0.0%");
        check(Estimate::mean_of(&[Estimate::over_tasks(&[0.0; 30]), Estimate::over_tasks(&[1.0])]), "50.0%");
    }

    #[test]
    fn one_right_answer_does_not_make_the_rest_certain() {
        #[track_caller]
        fn check(values: &[f64], most: f64) {
            let without = Estimate::over_tasks(&vec![0.0; values.len()]).half_width.unwrap();
            let found = Estimate::over_tasks(values).half_width.unwrap();
            assert!(found > without - 0.01 && found <= most, "{without} {found}");
        }
        // One of 64 samples of one of 30 problems; one of 4 samples of one of 40.
        check(&[vec![1.0 / 64.0], vec![0.0; 29]].concat(), 0.114);
        check(&[vec![0.25], vec![0.0; 39]].concat(), 0.088);
        // With enough of both it is the normal approximation's.
        let tasks = [vec![1.0; 10], vec![0.0; 90]].concat();
        assert!(
            (Estimate::over_tasks(&tasks).half_width.unwrap() - 1.959_964 * (0.09_f64 / 99.0).sqrt()).abs() < 1e-12
        );
    }

    #[test]
    fn families_count_the_same() {
        let estimates = [(0.2, 0.03), (0.6, 0.04)].map(|(mean, reach)| Estimate { mean, half_width: Some(reach) });
        let both = Estimate::mean_of(&estimates);
        assert!((both.mean - 0.4).abs() < 1e-12);
        assert!((both.half_width.unwrap() - 0.025).abs() < 1e-12);
    }

    #[test]
    fn correlations_by_hand() {
        fn check(pairs: &[(f64, f64)], expected: Option<f64>) {
            let found = correlation(pairs);
            let close = found.zip(expected).is_none_or(|(found, expected)| (found - expected).abs() < 1e-12);
            assert!(found.is_some() == expected.is_some() && close, "{pairs:?}: {found:?}");
        }
        check(&[(0.0, 0.1), (1.0, 1.1), (2.0, 2.1)], Some(1.0));
        check(&[(0.0, 1.0), (1.0, 0.0)], Some(-1.0));
        // Covariance 1/3 over the root of 2/3 times 2/3, both times 3.
        check(&[(0.0, 0.0), (1.0, 0.0), (1.0, 1.0)], Some(0.5));
        check(&[(0.1, 0.0), (0.1, 1.0), (0.1, 1.0)], None);
        check(&[], None);
    }
}
