use device::ops::{Factors, SwigluGradients, swiglu, swiglu_backward};
use device::{Device, bf16};

use super::support::{Real, close, differences, exact, narrowed, numbers, on, widened};

/// Rows and inner width. The widest take more than one round of a block: in a block each where rows are few, in one where they
/// are many.
const SIZES: [(usize, usize); 5] = [(1, 8), (7, 24), (3, 40), (2, 3080), (20, 1048)];

fn activation(row: &[f64]) -> Vec<f64> {
    let (gate, up) = row.split_at(row.len() / 2);
    gate.iter().zip(up).map(|(g, u)| g / (1.0 + (-g).exp()) * u).collect()
}

/// d_gate_up of a row, for the gradient of the activation.
fn gradient(row: &[f64], d_hidden: &[f64]) -> Vec<f64> {
    let (gate, up) = row.split_at(row.len() / 2);
    let sigmoid = |g: f64| 1.0 / (1.0 + (-g).exp());
    let d_gate = (0..gate.len()).map(|i| {
        let s = sigmoid(gate[i]);
        d_hidden[i] * up[i] * s * (1.0 + gate[i] * (1.0 - s))
    });
    let d_up = (0..gate.len()).map(|i| d_hidden[i] * gate[i] * sigmoid(gate[i]));
    d_gate.chain(d_up).collect()
}

fn inputs(rows: usize, inner: usize) -> (Vec<bf16>, Vec<bf16>, Vec<f32>) {
    let gate_up = numbers(rows * 2 * inner, 1).iter().map(|x| x * 8.0).collect::<Vec<_>>();
    (narrowed(&gate_up), narrowed(&numbers(rows * inner, 2)), numbers(rows, 3))
}

#[test]
fn the_reference_gradient_is_that_of_the_reference() {
    let (row, d) = (exact(&numbers(12, 4)), exact(&numbers(6, 5)));
    let found = differences(&row, |row| activation(row).iter().zip(&d).map(|(h, d)| h * d).sum());
    close("gate and up", &found.iter().map(|d| *d as f32).collect::<Vec<_>>(), &gradient(&row, &d), 1e-5);
}

#[test]
fn gate_and_up_are_joined() {
    let device = Device::for_tests();
    for (rows, inner) in SIZES {
        let (gate_up, ..) = inputs(rows, inner);
        let hidden = on(&device, &vec![bf16::NAN; rows * inner]);
        swiglu(&device, hidden.view(), on(&device, &gate_up).view(), inner).unwrap();
        let expected: Vec<f64> = exact(&widened(&gate_up)).chunks_exact(2 * inner).flat_map(activation).collect();
        close(&format!("{rows} x {inner}"), &widened(&hidden.download().unwrap()), &expected, bf16::ROUNDING);
    }
}

#[test]
fn gradients_with_and_without_factors() {
    let device = Device::for_tests();
    for (rows, inner) in SIZES {
        for with_factors in [false, true] {
            let what = format!("{rows} x {inner}, factors {with_factors}");
            let (gate_up, d_hidden, factors) = inputs(rows, inner);
            let (mut d_gate_up, mut hidden, mut d_factors) = (Vec::new(), Vec::new(), Vec::new());
            let (wide, d_wide) = (exact(&widened(&gate_up)), exact(&widened(&d_hidden)));
            for (row, (x, d)) in wide.chunks_exact(2 * inner).zip(d_wide.chunks_exact(inner)).enumerate() {
                let factor = if with_factors { f64::from(factors[row]) } else { 1.0 };
                d_gate_up.extend(gradient(x, d).iter().map(|d| d * factor));
                let h = activation(x);
                d_factors.push(h.iter().zip(d).map(|(h, d)| h * d).sum::<f64>());
                hidden.extend(h.iter().map(|h| h * factor));
            }

            let (gate_up, d_hidden) = (on(&device, &gate_up), on(&device, &d_hidden));
            let (factors, found_d_factors) = (on(&device, &factors), on(&device, &vec![f32::NAN; rows]));
            let found_hidden = on(&device, &vec![bf16::NAN; rows * inner]);
            let found = on(&device, &vec![bf16::NAN; rows * 2 * inner]);
            let given = Factors { factors: factors.view(), d_factors: found_d_factors.view() };
            let given = with_factors.then_some(given);
            let gradients = SwigluGradients { d_gate_up: found.view(), hidden: Some(found_hidden.view()) };
            swiglu_backward(&device, gradients, gate_up.view(), d_hidden.view(), given, inner).unwrap();
            let found = widened(&found.download().unwrap());
            close(&format!("{what}, gate and up"), &found, &d_gate_up, bf16::ROUNDING);
            close(&format!("{what}, activation"), &widened(&found_hidden.download().unwrap()), &hidden, bf16::ROUNDING);
            if with_factors {
                close(&format!("{what}, factors"), &found_d_factors.download().unwrap(), &d_factors, 1e-4);
            }

            // In the place of gate and up.
            let gradients = SwigluGradients { d_gate_up: gate_up.view(), hidden: None };
            swiglu_backward(&device, gradients, gate_up.view(), d_hidden.view(), given, inner).unwrap();
            assert_eq!(widened(&gate_up.download().unwrap()), found, "{what}");
        }
    }
}

#[test]
fn lengths_must_fit() {
    let device = Device::for_tests();
    let (gate_up, hidden) = (on(&device, &narrowed(&numbers(64, 6))), on(&device, &narrowed(&numbers(32, 7))));
    let message = |hidden, inner| swiglu(&device, hidden, gate_up.view(), inner).unwrap_err().to_string();
    assert_eq!(message(hidden.view(), 12), "swiglu: the inner width: expected a multiple of 8, found 12");
    assert_eq!(message(hidden.slice(..16), 8), "swiglu: gate and up or their gradient: expected 32 numbers, found 64");
}
