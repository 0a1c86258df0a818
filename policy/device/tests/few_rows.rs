//! Products of few rows and a weight against plain loops in f64.

use device::ops::{FewRows, FewRowsWeight, RmsNorm, swiglu};
use device::{Device, bf16};
use support::numbers;

#[path = "mixture/support.rs"]
mod support;

/// Whole numbers from -4 to 4: exact in bf16, and so are sums of products in f32.
fn whole(len: usize, factor: usize) -> Vec<bf16> {
    (0..len).map(|at| bf16::from_f32((at * factor % 9) as f32 - 4.0)).collect()
}

/// Numbers without a pattern, from -1 to 1.
fn broken(len: usize, seed: u64) -> Vec<bf16> {
    numbers(seed, len).into_iter().map(bf16::from_f32).collect()
}

/// `[rows, columns, depth]` of products whose tiles are narrow and wide, whole and cut, by one block and by all.
const SHAPES: [[usize; 3]; 8] = [
    [1, 8, 8],
    [3, 40, 72],
    [16, 72, 1000],
    [17, 264, 200],
    [33, 8, 4000],
    [64, 136, 520],
    [50, 1000, 136],
    [64, 1600, 24],
];

#[test]
fn products_are_those_of_plain_loops() {
    let device = Device::for_tests();
    let products = FewRows::new(&device, 1600).unwrap();
    for [rows, columns, depth] in SHAPES {
        let (x, weight) = (whole(rows * depth, 7), whole(columns * depth, 5));
        let before: Vec<f32> = whole(rows * columns, 11).iter().map(|x| x.to_f32()).collect();
        let transposed: Vec<bf16> =
            (0..depth * columns).map(|at| weight[at % columns * depth + at / columns]).collect();
        let sum = |at: usize| -> f32 {
            let [row, column] = [&x[at / columns * depth..], &weight[at % columns * depth..]];
            row.iter().zip(column).take(depth).map(|(x, w)| x.to_f32() * w.to_f32()).sum()
        };
        let sums: Vec<f32> = (0..rows * columns).map(sum).collect();
        let added: Vec<f32> = sums.iter().zip(&before).map(|(sum, before)| sum + before).collect();
        let rounded: Vec<bf16> = sums.iter().map(|&sum| bf16::from_f32(sum)).collect();

        let x = device.upload(&x, "rows").unwrap();
        let weights = [&weight, &transposed].map(|weight| device.upload(weight, "weight").unwrap());
        let lying = [FewRowsWeight::Outputs(weights[0].view()), FewRowsWeight::Inputs(weights[1].view())];
        for weight in lying {
            let out = device.upload(&before, "results").unwrap();
            products.multiply(&device, out.view(), x.view(), (weight, depth), true).unwrap();
            assert!(out.download().unwrap() == added, "{rows} x {columns} x {depth}, added, {weight:?}");
            products.multiply(&device, out.view(), x.view(), (weight, depth), false).unwrap();
            assert!(out.download().unwrap() == sums, "{rows} x {columns} x {depth}, {weight:?}");
        }
        let out = device.alloc::<bf16>(rows * columns, "results").unwrap();
        products.multiply(&device, out.view(), x.view(), (lying[0], depth), false).unwrap();
        assert!(out.download().unwrap() == rounded, "{rows} x {columns} x {depth}, bf16");
    }
}

#[test]
fn an_activation_is_that_of_the_rounded_product() {
    let device = Device::for_tests();
    let products = FewRows::new(&device, 1600).unwrap();
    for [rows, inner, depth] in SHAPES {
        // Of whole numbers the product is the same to the bit, in whatever order it is summed.
        let x = device.upload(&whole(rows * depth, 7), "rows").unwrap();
        let small: Vec<bf16> = whole(2 * inner * depth, 5).iter().map(|x| bf16::from_f32(x.to_f32() / 64.0)).collect();
        let weight = device.upload(&small, "weight").unwrap();
        let gate_up = device.alloc::<bf16>(rows * 2 * inner, "gate and up").unwrap();
        let [expected, found] = [0; 2].map(|_| device.alloc::<bf16>(rows * inner, "activations").unwrap());
        let product = FewRowsWeight::Outputs(weight.view());
        products.multiply(&device, gate_up.view(), x.view(), (product, depth), false).unwrap();
        swiglu(&device, expected.view(), gate_up.view(), inner).unwrap();
        products.activate(&device, found.view(), x.view(), (weight.view(), depth)).unwrap();
        assert!(found.download().unwrap() == expected.download().unwrap(), "{rows} x {inner} x {depth}");
    }
}

#[test]
fn a_norm_adds_up_a_product_in_parts() {
    let device = Device::for_tests();
    let products = FewRows::new(&device, 1600).unwrap();
    for [rows, columns, depth] in SHAPES {
        // Of whole numbers the sums are the same to the bit, in whatever order.
        let x = device.upload(&whole(rows * depth, 7), "rows").unwrap();
        let weight = device.upload(&whole(columns * depth, 5), "weight").unwrap();
        let before: Vec<f32> = whole(rows * columns, 11).iter().map(|x| x.to_f32()).collect();
        let scales: Vec<f32> = whole(columns, 3).iter().map(|x| x.to_f32()).collect();
        let scales = device.upload(&scales, "scales").unwrap();
        let norm = RmsNorm { weight: scales.view(), eps: 1e-6 };
        for weight in [FewRowsWeight::Outputs(weight.view()), FewRowsWeight::Inputs(weight.view())] {
            let [added, summed] = [0; 2].map(|_| device.upload(&before, "sums").unwrap());
            let [expected, found] = [0; 2].map(|_| device.alloc::<bf16>(rows * columns, "normed").unwrap());
            products.multiply(&device, added.view(), x.view(), (weight, depth), true).unwrap();
            norm.forward(&device, expected.view(), added.view(), columns).unwrap();
            let parts = products.multiply_parts(&device, x.view(), (weight, depth)).unwrap();
            norm.add_forward(&device, found.view(), summed.view(), parts).unwrap();
            let what = format!("{rows} x {columns} x {depth}, {} parts, {weight:?}", parts.count);
            assert!(summed.download().unwrap() == added.download().unwrap(), "{what}");
            assert!(found.download().unwrap() == expected.download().unwrap(), "{what}");
        }
    }
}

#[test]
fn a_row_is_the_same_to_the_bit_whatever_the_others_are() {
    let device = Device::for_tests();
    let products = FewRows::new(&device, 1600).unwrap();
    for [columns, depth] in [[72, 1000], [8, 4000], [1000, 136]] {
        let weight = device.upload(&broken(columns * depth, 1), "weight").unwrap();
        let x = device.upload(&broken(64 * depth, 2), "rows").unwrap();
        let multiply = |from: usize, rows: usize| {
            let out = device.alloc::<f32>(rows * columns, "results").unwrap();
            let x = x.slice(from * depth..(from + rows) * depth);
            let weight = FewRowsWeight::Outputs(weight.view());
            products.multiply(&device, out.view(), x, (weight, depth), false).unwrap();
            out.download().unwrap()
        };
        let all = multiply(0, 64);
        for (from, rows) in [(0, 64), (0, 1), (63, 1), (5, 20), (31, 33)] {
            let expected = &all[from * columns..(from + rows) * columns];
            assert!(multiply(from, rows) == expected, "{rows} rows from {from}, {columns} x {depth}");
        }
    }
}

#[test]
fn what_the_kernels_do_not_take_is_refused() {
    let device = Device::for_tests();
    let products = FewRows::new(&device, 1600).unwrap();
    let [x, weight, out] = [0; 3].map(|_| device.zeros::<bf16>(65 * 80, "numbers").unwrap());
    let check = |rows: usize, columns: usize, depth: usize, expected: &str| {
        let weight = FewRowsWeight::Outputs(weight.slice(..columns * depth));
        let x = x.slice(..rows * depth);
        let error = products.multiply(&device, out.slice(..rows * columns), x, (weight, depth), false).unwrap_err();
        assert_eq!(error.to_string(), format!("product of few rows and a weight: {expected}"));
    };
    check(65, 8, 8, "65 rows: from 1 to 64");
    check(1, 8, 12, "inputs: expected a multiple of 8, found 12");
    check(1, 12, 8, "outputs: expected a multiple of 8, found 12");
    let inputs = FewRowsWeight::Inputs(weight.slice(..64));
    let outcome = products.multiply(&device, out.slice(..8), x.slice(..8), (inputs, 8), false);
    assert!(outcome.unwrap_err().to_string().contains("bf16 can only be set"));
    assert!(FewRows::take(x.slice(..8), weight.slice(..64), 8));
    for (x, inputs) in
        [(x.slice(..0), 8), (x.slice(..520), 8), (x.slice(1..9), 8), (x.slice(..4), 4), (x.slice(..0), 0)]
    {
        assert!(!FewRows::take(x, weight.slice(..64), inputs), "{} of {inputs}", x.len());
    }
}
