use device::ops::{Numbers, RmsNorm, Sides, WeightGradient};
use device::{Device, Slice, bf16};

use super::support::{Real, UNTOUCHED, close, differences, exact, narrowed, numbers, on, rounded};

const EPS: f64 = 1e-3;

/// Rows, width and stride: narrow and wide, of more than one block in the backward pass, and no multiple of one.
const SIZES: [(usize, usize, usize); 5] = [(1, 8, 8), (300, 24, 24), (37, 40, 56), (70, 520, 528), (3, 2056, 2056)];

fn forward(x: &[f64], stride: usize, weight: &[f64]) -> Vec<f64> {
    let width = weight.len();
    x.chunks_exact(stride)
        .flat_map(|row| {
            let mean = row[..width].iter().map(|x| x * x).sum::<f64>() / width as f64;
            row[..width].iter().zip(weight).map(move |(x, w)| x / (mean + EPS).sqrt() * w).collect::<Vec<_>>()
        })
        .collect()
}

/// The gradients of rows (close together) and weight.
fn backward(x: &[f64], stride: usize, weight: &[f64], d_y: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let width = weight.len();
    let (mut d_x, mut d_weight) = (Vec::new(), vec![0.0; width]);
    for (row, d_y) in x.chunks_exact(stride).zip(d_y.chunks_exact(width)) {
        let r = 1.0 / (row[..width].iter().map(|x| x * x).sum::<f64>() / width as f64 + EPS).sqrt();
        let products: f64 = (0..width).map(|i| d_y[i] * weight[i] * row[i]).sum();
        for i in 0..width {
            d_x.push(r * (d_y[i] * weight[i] - row[i] * r * r * products / width as f64));
            d_weight[i] += d_y[i] * row[i] * r;
        }
    }
    (d_x, d_weight)
}

#[test]
fn the_reference_gradients_are_those_of_the_reference() {
    let (x, weight, d_y) = (exact(&numbers(3 * 24, 1)), exact(&numbers(16, 2)), exact(&numbers(3 * 16, 3)));
    let loss = |x: &[f64], weight: &[f64]| -> f64 { forward(x, 24, weight).iter().zip(&d_y).map(|(y, d)| y * d).sum() };
    let (d_x, d_weight) = backward(&x, 24, &weight, &d_y);
    let by_differences: Vec<f32> = differences(&x, |x| loss(x, &weight))
        .chunks_exact(24)
        .flat_map(|row| row[..16].iter().map(|d| *d as f32).collect::<Vec<_>>())
        .collect();
    close("rows", &by_differences, &d_x, 1e-4);
    let by_differences: Vec<f32> = differences(&weight, |weight| loss(&x, weight)).iter().map(|d| *d as f32).collect();
    close("weight", &by_differences, &d_weight, 1e-4);
}

fn check_forward<X: Real>()
where
    for<'a> Numbers<'a>: From<Slice<'a, X>>,
{
    let device = Device::for_tests();
    for (rows, width, stride) in SIZES {
        let x = X::of(&numbers(rows * stride, 4));
        let weight = numbers(width, 5);
        let out = on(&device, &vec![bf16::NAN; rows * width]);
        let norm_weight = on(&device, &weight);
        let norm = RmsNorm { weight: norm_weight.view(), eps: EPS as f32 };
        norm.forward(&device, out.view(), on(&device, &x).view(), stride).unwrap();
        let expected = forward(&exact(&X::to(&x)), stride, &exact(&weight));
        close(&format!("{rows} x {width}"), &bf16::to(&out.download().unwrap()), &expected, bf16::ROUNDING);
    }
}

#[test]
fn rows_are_normalised() {
    check_forward::<f32>();
    check_forward::<bf16>();
}

/// `added`: what the rows' gradient is added to, 0 where it is set.
fn check_backward<X: Real, G: Real>(added: f32)
where
    for<'a> Numbers<'a>: From<Slice<'a, X>> + From<Slice<'a, G>>,
{
    let device = Device::for_tests();
    for (rows, width, stride) in SIZES {
        let what = format!("{rows} x {width} of {stride}");
        let (x, d_y) = (X::of(&numbers(rows * stride, 6)), G::of(&numbers(rows * width, 7)));
        let weight = numbers(width, 8);
        let (d_x, d_weight) = backward(&exact(&X::to(&x)), stride, &exact(&weight), &exact(&G::to(&d_y)));

        let before: Vec<f32> = (0..rows * stride).map(|i| if i % stride < width { 0.5 } else { UNTOUCHED }).collect();
        let norm_weight = on(&device, &weight);
        let norm = RmsNorm { weight: norm_weight.view(), eps: EPS as f32 };
        let partial = device.alloc(norm.partial_len(rows), "partial sums").unwrap();
        let (x, d_y, sum) = (on(&device, &x), on(&device, &d_y), on(&device, &vec![0.25_f32; width]));
        let d_rows = on(&device, &X::of(&before));
        let weight_gradient = WeightGradient { sum: sum.view(), partial: partial.view() };
        norm.backward(&device, d_rows.view(), Some(weight_gradient), (x.view(), stride), d_y.view()).unwrap();
        let found = X::to(&d_rows.download().unwrap());
        let mut close_rows = Vec::new();
        for row in found.chunks_exact(stride) {
            close_rows.extend_from_slice(&row[..width]);
            assert!(row[width..].iter().all(|x| *x == UNTOUCHED), "{what}: what lies between rows");
        }
        let expected: Vec<f64> = d_x.iter().map(|d| d + f64::from(added)).collect();
        close(&format!("{what}, rows"), &close_rows, &expected, X::ROUNDING.max(2e-5));
        let expected: Vec<f64> = d_weight.iter().map(|d| d + 0.25).collect();
        close(&format!("{what}, weight"), &sum.download().unwrap(), &expected, 2e-4);

        // Without the weight's gradient the rows' is the same.
        let alone = on(&device, &X::of(&before));
        norm.backward(&device, alone.view(), None, (x.view(), stride), d_y.view()).unwrap();
        assert_eq!(X::to(&alone.download().unwrap()), found, "{what}");
    }
}

#[test]
fn gradients_of_the_residual_stream_are_added() {
    check_backward::<f32, bf16>(0.5);
    check_backward::<f32, f32>(0.5);
}

#[test]
fn gradients_of_projections_are_set() {
    check_backward::<bf16, bf16>(0.0);
    check_backward::<bf16, f32>(0.0);
}

/// Heads of several tokens, with gaps between those, against the same rows without gaps: to the bit.
#[test]
fn rows_side_by_side_are_as_rows_alone() {
    let device = Device::for_tests();
    let (tokens, heads, width) = (9, 3, 24);
    let (rows, row) = (tokens * heads, heads * width);
    let (stride, close_stride) = (row + 16, row + 8);
    let gap = bf16::from_f32(UNTOUCHED);
    let spread = |packed: &[bf16], stride: usize| -> Vec<bf16> {
        packed.chunks_exact(row).flat_map(|token| [token, &vec![gap; stride - row]].concat()).collect()
    };
    let [x, d_y] = [10, 11].map(|seed| narrowed(&numbers(rows * width, seed)));
    let weight = on(&device, &numbers(width, 12));
    let norm = RmsNorm { weight: weight.view(), eps: EPS as f32 };
    let run = |x: &[bf16], d_y: &[bf16], sides: Sides| {
        let (x, d_y) = (on(&device, x), on(&device, d_y));
        let (out, d_x) = (on(&device, &vec![gap; d_y.len()]), on(&device, &vec![gap; x.len()]));
        let sum = on(&device, &vec![0_f32; width]);
        let partial = device.alloc(norm.partial_len(rows), "partial sums").unwrap();
        norm.forward_heads(&device, out.view(), x.view(), rows, sides).unwrap();
        let gradients = (d_x.view(), Some(WeightGradient { sum: sum.view(), partial: partial.view() }));
        norm.backward_heads(&device, gradients, x.view(), d_y.view(), rows, sides).unwrap();
        (out.download().unwrap(), d_x.download().unwrap(), sum.download().unwrap())
    };
    let (out, d_x, sum) = run(&x, &d_y, Sides { heads: 1, stride: width, close_stride: width });
    let expected = (spread(&out, close_stride), spread(&d_x, stride), sum);
    assert!(run(&spread(&x, stride), &spread(&d_y, close_stride), Sides { heads, stride, close_stride }) == expected);
}

#[test]
fn what_does_not_fit_is_refused() {
    let device = Device::for_tests();
    let weight = on(&device, &numbers(20, 9));
    let (x, out) = (on(&device, &numbers(60, 9)), on(&device, &narrowed(&rounded(&numbers(60, 9)))));
    let message = |weight, x: Slice<'_, f32>, stride| {
        let norm = RmsNorm { weight, eps: 1e-6 };
        norm.forward(&device, out.slice(..48), x, stride).unwrap_err().to_string()
    };
    assert_eq!(message(weight.view(), x.view(), 24), "normalise rows: the width: expected a multiple of 8, found 20");
    assert_eq!(
        message(weight.slice(..16), x.view(), 24),
        "normalise rows: the rows: expected at least 64 numbers, found 60"
    );
    assert_eq!(
        message(weight.slice(1..17), x.view(), 16),
        "normalise rows: the weight does not begin at a multiple of 16 bytes"
    );
}
