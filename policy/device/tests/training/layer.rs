//! A layer's feed-forward from the residual stream back to it: `y = x + swiglu(norm(x) W^T) V`, with all its gradients.

use device::ops::{RmsNorm, SwigluGradients, WeightGradient, narrow, swiglu, swiglu_backward};
use device::{Device, Gemm, bf16};

use super::support::{differences, distance, exact, narrowed, numbers, on, rounded};

const ROWS: usize = 5;
const WIDTH: usize = 24;
const INNER: usize = 16;
const EPS: f64 = 1e-5;

/// The residual stream `[rows, width]`, the norm's weight, gate and up `[2 inner, width]`, down transposed `[inner, width]`.
type Arguments<T> = [Vec<T>; 4];

fn forward([x, norm, gate_up, down]: &Arguments<f64>) -> Vec<f64> {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let mut y = x.clone();
    for (x, y) in x.chunks_exact(WIDTH).zip(y.chunks_exact_mut(WIDTH)) {
        let r = 1.0 / (dot(x, x) / WIDTH as f64 + EPS).sqrt();
        let normed: Vec<f64> = x.iter().zip(norm).map(|(x, w)| x * r * w).collect();
        let both: Vec<f64> = gate_up.chunks_exact(WIDTH).map(|w| dot(&normed, w)).collect();
        for (i, down) in down.chunks_exact(WIDTH).enumerate() {
            let hidden = both[i] / (1.0 + (-both[i]).exp()) * both[INNER + i];
            y.iter_mut().zip(down).for_each(|(y, w)| *y += hidden * w);
        }
    }
    y
}

fn arguments() -> Arguments<f32> {
    [
        numbers(ROWS * WIDTH, 1),
        numbers(WIDTH, 2).iter().map(|w| 1.0 + 0.3 * w).collect(),
        rounded(&numbers(2 * INNER * WIDTH, 3)),
        rounded(&numbers(INNER * WIDTH, 4)),
    ]
}

#[test]
fn forward_and_gradients() {
    let device = Device::for_tests();
    let [x, norm, gate_up, down] = arguments();
    let slopes = rounded(&numbers(ROWS * WIDTH, 5));

    let residual = on(&device, &x);
    let (norm_weight, gate_up_weight, down_weight) =
        (on(&device, &norm), on(&device, &narrowed(&gate_up)), on(&device, &narrowed(&down)));
    let normalise = RmsNorm { weight: norm_weight.view(), eps: EPS as f32 };
    let activations = |width: usize| on(&device, &vec![bf16::NAN; ROWS * width]);
    let (normed, both, hidden) = (activations(WIDTH), activations(2 * INNER), activations(INNER));
    normalise.forward(&device, normed.view(), residual.view(), WIDTH).unwrap();
    let product = Gemm::new([ROWS, 2 * INNER, WIDTH], normed.view(), gate_up_weight.view(), both.view());
    device.gemm(&product.transposed_b()).unwrap();
    swiglu(&device, hidden.view(), both.view(), INNER).unwrap();
    let y = on(&device, &x);
    let product = Gemm::new([ROWS, WIDTH, INNER], hidden.view(), down_weight.view(), y.view());
    device.gemm(&product.added()).unwrap();

    let exact_arguments = [exact(&x), exact(&norm), exact(&gate_up), exact(&down)];
    let error = distance(&y.download().unwrap(), &forward(&exact_arguments));
    assert!(error < 4e-3, "forward: {error}");

    // Back: the gradient of sum(slopes * y).
    let d_residual = on(&device, &slopes);
    let d_y = activations(WIDTH);
    narrow(&device, d_y.view(), d_residual.view()).unwrap();
    let zeros = |count: usize| on(&device, &vec![0.0_f32; count]);
    let (d_norm, d_gate_up_weight, d_down) = (zeros(WIDTH), zeros(2 * INNER * WIDTH), zeros(INNER * WIDTH));
    let (d_hidden, d_normed) = (activations(INNER), activations(WIDTH));
    let product = Gemm::new([ROWS, INNER, WIDTH], d_y.view(), down_weight.view(), d_hidden.view());
    device.gemm(&product.transposed_b()).unwrap();
    let gradients = SwigluGradients { d_gate_up: both.view(), hidden: Some(hidden.view()) };
    swiglu_backward(&device, gradients, both.view(), d_hidden.view(), None, INNER).unwrap();
    let product = Gemm::new([INNER, WIDTH, ROWS], hidden.view(), d_y.view(), d_down.view());
    device.gemm(&product.transposed_a().added()).unwrap();
    let product = Gemm::new([2 * INNER, WIDTH, ROWS], both.view(), normed.view(), d_gate_up_weight.view());
    device.gemm(&product.transposed_a().added()).unwrap();
    let product = Gemm::new([ROWS, WIDTH, 2 * INNER], both.view(), gate_up_weight.view(), d_normed.view());
    device.gemm(&product).unwrap();
    let partial = device.alloc(normalise.partial_len(ROWS), "partial sums").unwrap();
    let d_weight = WeightGradient { sum: d_norm.view(), partial: partial.view() };
    normalise.backward(&device, d_residual.view(), Some(d_weight), (residual.view(), WIDTH), d_normed.view()).unwrap();

    let found = [&d_residual, &d_norm, &d_gate_up_weight, &d_down];
    for (index, found) in found.iter().enumerate() {
        let expected = differences(&exact_arguments[index], |values| {
            let mut arguments = exact_arguments.clone();
            arguments[index] = values.to_vec();
            forward(&arguments).iter().zip(&slopes).map(|(y, slope)| y * f64::from(*slope)).sum()
        });
        let error = distance(&found.download().unwrap(), &expected);
        // A bf16 is off by up to 2^-9 of itself; a few of them follow one another.
        assert!(error < 1e-2, "gradient {index}: {error}");
    }
}
