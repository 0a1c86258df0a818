use device::ops::{Logprob, LogprobWorkspace, Logprobs, Slopes};
use device::{Device, bf16};

use super::support::{close, differences, distance, exact, narrowed, numbers, on, widened};

/// What is asked: rows, width, vocabulary; and what the hidden rows are multiplied with.
struct Case {
    rows: usize,
    width: usize,
    vocabulary: usize,
    size: f32,
    temperature: f64,
}

impl Case {
    fn hidden(&self) -> Vec<bf16> {
        narrowed(&numbers(self.rows * self.width, 1).iter().map(|x| x * self.size).collect::<Vec<_>>())
    }

    fn head(&self) -> Vec<bf16> {
        narrowed(&numbers(self.vocabulary * self.width, 2))
    }

    /// The first and the last token among them.
    fn targets(&self) -> Vec<u32> {
        (0..self.rows).map(|row| ((row * row * 31 + row * 100) % self.vocabulary) as u32).collect()
    }

    /// Log-probabilities and entropies.
    fn forward(&self, hidden: &[f64], head: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let each = hidden.chunks_exact(self.width).zip(self.targets()).map(|(h, target)| {
            let logits: Vec<f64> = head
                .chunks_exact(self.width)
                .map(|w| w.iter().zip(h).map(|(w, h)| w * h).sum::<f64>() / self.temperature)
                .collect();
            let largest = logits.iter().fold(f64::NEG_INFINITY, |a, b| a.max(*b));
            let total = largest + logits.iter().map(|z| (z - largest).exp()).sum::<f64>().ln();
            let entropy = logits.iter().map(|z| (z - total).exp() * (total - z)).sum::<f64>();
            (logits[target as usize] - total, entropy)
        });
        each.unzip()
    }
}

const CASES: [Case; 3] = [
    Case { rows: 7, width: 24, vocabulary: 101, size: 1.0, temperature: 0.7 },
    Case { rows: 5, width: 40, vocabulary: 64, size: 1.0, temperature: 1.0 },
    // Probabilities close to 0 and 1.
    Case { rows: 4, width: 8, vocabulary: 33, size: 30.0, temperature: 0.5 },
];

/// Rows and tokens at once: all, or in several blocks and chunks that do not come out even.
const AT_ONCE: [(usize, usize); 3] = [(100, 200), (3, 40), (2, 16)];

fn run(case: &Case, (rows, tokens): (usize, usize), slopes: Option<(&[f32], Option<&[f32]>)>) -> [Vec<f32>; 4] {
    let device = Device::for_tests();
    let (hidden, head, targets) =
        (on(&device, &case.hidden()), on(&device, &case.head()), on(&device, &case.targets()));
    let logprob = Logprob {
        head: head.view(),
        hidden: hidden.view(),
        targets: targets.view(),
        temperature: case.temperature as f32,
    };
    let workspace = LogprobWorkspace::with_sizes(&device, rows, tokens, slopes.is_some()).unwrap();
    let [logprobs, entropy, totals] = [(); 3].map(|()| on(&device, &vec![f32::NAN; case.rows]));
    let out = Logprobs { logprobs: logprobs.view(), entropy: entropy.view(), totals: totals.view() };
    logprob.forward(&device, &workspace, out).unwrap();
    let d_hidden = on(&device, &vec![f32::NAN; case.rows * case.width]);
    let d_head = on(&device, &vec![0.125; case.vocabulary * case.width]);
    if let Some((by_logprob, by_entropy)) = slopes {
        let by_logprob = on(&device, by_logprob);
        let by_entropy = by_entropy.map(|slopes| on(&device, slopes));
        let slopes = Slopes { logprobs: by_logprob.view(), entropy: by_entropy.as_ref().map(|slopes| slopes.view()) };
        logprob.backward(&device, &workspace, (d_hidden.view(), Some(d_head.view())), out, slopes).unwrap();
        let again = on(&device, &vec![f32::NAN; case.rows * case.width]);
        logprob.backward(&device, &workspace, (again.view(), None), out, slopes).unwrap();
        assert_eq!(again.download().unwrap(), d_hidden.download().unwrap(), "without the head's gradient");
    }
    [&logprobs, &entropy, &d_hidden, &d_head].map(|buffer| buffer.download().unwrap())
}

#[test]
fn logprobs_and_entropies() {
    for case in &CASES {
        let (logprobs, entropy) = case.forward(&exact(&widened(&case.hidden())), &exact(&widened(&case.head())));
        for at_once in AT_ONCE {
            let [found, found_entropy, ..] = run(case, at_once, None);
            let what = format!("{} tokens, {at_once:?}", case.vocabulary);
            close(&format!("{what}, log-probability"), &found, &logprobs, 3e-5);
            // The entropy of a sharp distribution is a small difference; what counts is its distance in nats.
            for (found, expected) in found_entropy.iter().zip(&entropy) {
                assert!((f64::from(*found) - expected).abs() < 3e-5, "{what}, entropy: {found} {expected}");
            }
        }
    }
}

#[test]
fn gradients_are_those_by_differences() {
    for case in &CASES {
        let (hidden, head) = (exact(&widened(&case.hidden())), exact(&widened(&case.head())));
        let by_logprob = numbers(case.rows, 3);
        let entropy_slopes = numbers(case.rows, 4);
        for by_entropy in [None, Some(&entropy_slopes[..])] {
            let loss = |hidden: &[f64], head: &[f64]| {
                let (logprobs, entropy) = case.forward(hidden, head);
                (0..case.rows)
                    .map(|row| {
                        let slope = by_entropy.map_or(0.0, |slopes| f64::from(slopes[row]));
                        logprobs[row] * f64::from(by_logprob[row]) + entropy[row] * slope
                    })
                    .sum::<f64>()
            };
            let d_hidden = differences(&hidden, |hidden| loss(hidden, &head));
            let d_head: Vec<f64> = differences(&head, |head| loss(&hidden, head)).iter().map(|d| d + 0.125).collect();
            for at_once in AT_ONCE {
                let [.., found, found_head] = run(case, at_once, Some((&by_logprob, by_entropy)));
                let what = format!("{} tokens, {at_once:?}, entropy {}", case.vocabulary, by_entropy.is_some());
                // The logits' gradients are bf16s.
                for (name, error) in [("hidden", distance(&found, &d_hidden)), ("head", distance(&found_head, &d_head))]
                {
                    assert!(error < 4e-3, "{what}, {name}: {error}");
                }
            }
        }
    }
}

#[test]
fn no_targets_are_no_work() {
    let case = Case { rows: 0, width: 8, vocabulary: 9, size: 1.0, temperature: 1.0 };
    let [logprobs, _, d_hidden, d_head] = run(&case, (4, 8), Some((&[], None)));
    assert!(logprobs.is_empty() && d_hidden.is_empty());
    assert!(d_head.iter().all(|d| *d == 0.125));
}
