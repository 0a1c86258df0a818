//! The numbers along a chart's axes: round ones, written short.

/// What a chart's numbers are, which decides how they are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// A share from 0 to 1, written in per cent.
    Share,
    /// A plain number.
    Number,
}

pub(super) fn range(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    values.filter(|value| value.is_finite()).fold(None, |range, value| match range {
        None => Some((value, value)),
        Some((low, high)) => Some((low.min(value), high.max(value))),
    })
}

/// Round numbers (1, 2 or 5 times a power of ten apart) that cover the range: about `count`.
pub(super) fn ticks(low: f64, high: f64, count: u32) -> Vec<f64> {
    let span = (high - low).max(f64::MIN_POSITIVE);
    let rough = span / f64::from(count);
    let power = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|factor| factor * power)
        .find(|&step| step >= rough * 0.999)
        .unwrap_or(10.0 * power);
    let (first, last) = ((low / step).floor(), (high / step - 1e-9).ceil());
    // At most about twice `count` of them, so the loop is short whatever the numbers are.
    let mut ticks = vec![first * step];
    while ticks.len() < 3 * count as usize && ticks[ticks.len() - 1] < last * step - step * 0.5 {
        ticks.push((first + ticks.len() as f64) * step);
    }
    ticks
}

/// Round numbers that cover the range, none of them between two whole ones: there is no step 1.5.
pub(super) fn whole_ticks(low: f64, high: f64, count: u32) -> Vec<f64> {
    let span = (high - low).max(1.0);
    let whole = span.min(f64::from(count)) as u32;
    ticks(low, low + span, whole)
}

pub(super) fn tick_step(ticks: &[f64]) -> f64 {
    if ticks.len() > 1 { ticks[1] - ticks[0] } else { 1.0 }
}

/// A tick's number, with as many digits as the steps between ticks need.
pub(super) fn number(value: f64, step: f64, unit: Unit) -> String {
    let (value, step, sign) = match unit {
        Unit::Share => (value * 100.0, step * 100.0, "%"),
        Unit::Number => (value, step, ""),
    };
    let size = value.abs();
    let text = if size < step * 1e-6 {
        "0".to_owned()
    } else if !(1e-3..1e9).contains(&size) {
        // Ticks are sums of steps: one that should be a power of ten may be a little less.
        let power = |number: f64| (number.log10() + 1e-9).floor();
        let digits = places(power(size) - power(step));
        format!("{value:.digits$e}")
    } else if size >= 1e6 {
        format!("{}M", trimmed(value / 1e6, decimals(step / 1e6)))
    } else if size >= 1e4 {
        format!("{}K", trimmed(value / 1e3, decimals(step / 1e3)))
    } else {
        let decimals = decimals(step);
        format!("{value:.decimals$}")
    };
    format!("{text}{sign}")
}

/// Decimals that tell numbers apart that are a step away from each other.
fn decimals(step: f64) -> usize {
    // A step of a tenth needs one, also where it is a little less than a tenth.
    places((-step.log10() - 0.01).ceil())
}

/// As many digits as this, and no more than anybody reads.
fn places(digits: f64) -> usize {
    digits.clamp(0.0, 6.0) as usize
}

fn trimmed(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// A value to read: three significant digits.
pub(super) fn value(value: f64, unit: Unit) -> String {
    if unit == Unit::Share {
        return format!("{:.1}%", value * 100.0);
    }
    match value.abs() {
        size if size >= 1e9 => format!("{value:.1e}"),
        size if size >= 1e6 => format!("{:.1}M", value / 1e6),
        size if size >= 1e4 => format!("{:.1}K", value / 1e3),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 0.01 => format!("{value:.3}"),
        0.0 => "0".to_owned(),
        _ => format!("{value:.1e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_cover_the_range() {
        fn check(low: f64, high: f64, expected: &[f64]) {
            let found = ticks(low, high, 5);
            assert_eq!(found.len(), expected.len(), "{found:?}");
            for (found, expected) in found.iter().zip(expected) {
                assert!((found - expected).abs() < 1e-9 * expected.abs().max(1.0), "{found} {expected}");
            }
        }
        check(0.0, 1.0, &[0.0, 0.2, 0.4, 0.6, 0.8, 1.0]);
        check(0.0, 0.97, &[0.0, 0.2, 0.4, 0.6, 0.8, 1.0]);
        check(3.0, 117.0, &[0.0, 50.0, 100.0, 150.0]);
        check(-0.3, 0.4, &[-0.4, -0.2, 0.0, 0.2, 0.4]);
        // Hostile ranges end.
        assert!(ticks(0.0, 0.0, 5).len() <= 16);
        assert!(ticks(1e300, 1.1e300, 5).len() <= 16);
    }

    #[test]
    fn numbers_are_short() {
        fn check(number_: f64, step: f64, unit: Unit, expected: &str) {
            assert_eq!(number(number_, step, unit), expected);
        }
        check(0.4, 0.2, Unit::Share, "40%");
        check(0.005, 0.005, Unit::Share, "0.5%");
        check(0.25, 0.05, Unit::Number, "0.25");
        check(0.03, 0.01, Unit::Number, "0.03");
        check(0.1, 0.1 - 1e-12, Unit::Number, "0.1");
        check(150.0, 50.0, Unit::Number, "150");
        check(12_000.0, 2000.0, Unit::Number, "12K");
        check(3e-4, 1e-4, Unit::Number, "3e-4");
        check(0.0, 1e-4, Unit::Number, "0");
        check(0.0, 0.2, Unit::Share, "0%");
        check(7.5e12, 5e11, Unit::Number, "7.5e12");
        check(2e9, 1e9, Unit::Number, "2e9");
    }

    #[test]
    fn each_tick_is_told_from_the_next() {
        #[track_caller]
        fn check(low: f64, high: f64) {
            let ticks = ticks(low, high, 5);
            let step = tick_step(&ticks);
            let labels: Vec<String> = ticks.iter().map(|tick| number(*tick, step, Unit::Number)).collect();
            for (tick, label) in ticks.iter().zip(&labels) {
                let (digits, factor) = match label.strip_suffix(['K', 'M']) {
                    Some(digits) if label.ends_with('K') => (digits, 1e3),
                    Some(digits) => (digits, 1e6),
                    None => (label.as_str(), 1.0),
                };
                let read: f64 = digits.parse().unwrap();
                assert!((read * factor - tick).abs() < 0.01 * step, "{labels:?}: {tick}");
            }
        }
        check(0.0, 2e-4);
        check(0.0, 1.5e-6);
        check(-3e-5, 1e-4);
        check(0.0, 2e-3);
        check(4.01e-4, 4.03e-4);
        check(0.0, 1.2e10);
        check(0.0, 1.2e6);
        check(20_000.0, 20_020.0);
    }

    #[test]
    fn steps_are_whole() {
        fn check(low: f64, high: f64, expected: &[f64]) {
            assert_eq!(whole_ticks(low, high, 6), expected);
        }
        check(1.0, 1.0, &[1.0, 2.0]);
        check(0.0, 1.0, &[0.0, 1.0]);
        check(1.0, 3.0, &[1.0, 2.0, 3.0]);
        check(0.0, 6.0, &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        check(1.0, 61.0, &[0.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0]);
    }

    #[test]
    fn values_are_short() {
        fn check(value_: f64, unit: Unit, expected: &str) {
            assert_eq!(value(value_, unit), expected);
        }
        check(7.6e12, Unit::Number, "7.6e12");
        check(-2.0e9, Unit::Number, "-2.0e9");
        check(7.64e6, Unit::Number, "7.6M");
        check(0.456, Unit::Share, "45.6%");
    }
}
