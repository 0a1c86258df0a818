//! Products of experts' rows and weights, and the layer made of them, against plain loops in f64.

use device::ops::{
    ExpertGradients, ExpertMatrices, ExpertScratch, ExpertWeights, Grouped, Grouping, GroupingScratch, PairRows, Tile,
    activate_rows, add_experts, add_weight_gradient, experts_backward, multiply_rows, sum_slots, swiglu,
};
use device::{Device, bf16};

use crate::support::numbers;

const TILES: [Tile; 3] = [Tile::Small, Tile::Medium, Tile::Large];

fn halves(seed: u64, count: usize, scale: f32) -> Vec<bf16> {
    numbers(seed, count).iter().map(|x| bf16::from_f32(x * scale)).collect()
}

fn wide(values: &[bf16]) -> Vec<f64> {
    values.iter().map(|x| x.to_f64()).collect()
}

/// How tokens are spread over experts.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Load {
    /// Unevenly, with an expert that has none.
    Uneven,
    /// All to the same.
    One,
}

/// A batch's choices, and what is sorted of them.
struct Batch {
    rows: usize,
    experts: usize,
    top_k: usize,
    chosen: Vec<u16>,
    grouping: Grouping,
}

impl Batch {
    fn new(device: &Device, (rows, experts, top_k): (usize, usize, usize), load: Load) -> Self {
        let mut chosen = Vec::new();
        for scores in numbers(9, rows * experts).chunks(experts) {
            let score = |expert: usize| match load {
                Load::Uneven => scores[expert] - expert as f32 * 0.3 - if expert == 1 { 99.0 } else { 0.0 },
                Load::One => -((expert + experts - 2) as f32 % experts as f32),
            };
            let mut order: Vec<usize> = (0..experts).collect();
            order.sort_by(|a, b| score(*b).total_cmp(&score(*a)));
            order.truncate(top_k);
            order.sort_unstable();
            chosen.extend(order.iter().map(|expert| *expert as u16));
        }
        let scratch = GroupingScratch::new(device, rows, experts, top_k).unwrap();
        let grouping = Grouping::new(device, &scratch).unwrap();
        let on_device = device.upload(&chosen, "chosen").unwrap();
        grouping.sort(device, &scratch, on_device.view(), None).unwrap();
        Batch { rows, experts, top_k, chosen, grouping }
    }

    fn grouped(&self) -> Grouped<'_> {
        self.grouping.grouped(self.rows)
    }

    fn pairs(&self) -> usize {
        self.chosen.len()
    }

    /// The pairs in expert order: token and expert.
    fn sorted(&self) -> Vec<(usize, usize)> {
        let mut pairs: Vec<_> =
            self.chosen.iter().enumerate().map(|(pair, expert)| (pair / self.top_k, usize::from(*expert))).collect();
        pairs.sort_by_key(|(_, expert)| *expert);
        pairs
    }
}

/// That each found number is the expected one but for rounding to bf16, and the order of a sum of terms of size 1.
fn assert_close(found: &[bf16], expected: &[f64], what: &str) {
    assert_eq!(found.len(), expected.len());
    for (i, (f, e)) in found.iter().zip(expected).enumerate() {
        assert!((f.to_f64() - e).abs() <= e.abs() / 256.0 + 1e-4, "{what}, number {i}: {f}, expected {e}");
    }
}

fn check_rows_by(device: &Device, batch: &Batch, (height, width): (usize, usize), transposed: bool, of_tokens: bool) {
    let (columns, depth) = if transposed { (height, width) } else { (width, height) };
    // ExpertMatrices lie further apart than they are large, and begin later, as parts of larger ones.
    let (begin, stride) = (16, height * width + 24);
    let weights = halves(1, begin + batch.experts * stride, 1.0);
    let rows = halves(2, if of_tokens { batch.rows } else { batch.pairs() } * depth, 1.0);
    let mut expected = Vec::new();
    for (place, (token, expert)) in batch.sorted().into_iter().enumerate() {
        let row = &rows[if of_tokens { token } else { place } * depth..][..depth];
        let matrix = &weights[begin + expert * stride..];
        for column in 0..columns {
            let weight = |k: usize| matrix[if transposed { column * width + k } else { k * width + column }].to_f64();
            expected.push((0..depth).map(|k| row[k].to_f64() * weight(k)).sum());
        }
    }
    let weights = device.upload(&weights, "weights").unwrap();
    let rows = device.upload(&rows, "rows").unwrap();
    let matrices = ExpertMatrices { values: weights.slice(begin..), height, width, stride };
    let rows = if of_tokens { PairRows::OfTokens(rows.view()) } else { PairRows::Sorted(rows.view()) };
    let mut first = None;
    for tile in TILES {
        let out = device.alloc::<bf16>(batch.pairs() * columns, "results").unwrap();
        multiply_rows(device, out.view(), rows, (matrices, transposed), &batch.grouped(), tile).unwrap();
        let out = out.download().unwrap();
        assert_close(&out, &expected, &format!("{height} x {width}, {transposed}, {of_tokens}, {tile:?}"));
        // The tile makes no difference, to the bit.
        assert!(first.get_or_insert_with(|| out.clone()) == &out, "{tile:?} differs");
    }
}

#[test]
fn rows_are_multiplied_with_their_experts_weights() {
    let device = Device::for_tests();
    for (sizes, load) in [((29, 5, 2), Load::Uneven), ((90, 4, 3), Load::Uneven), ((150, 3, 1), Load::One)] {
        let batch = Batch::new(&device, sizes, load);
        for (shape, transposed, of_tokens) in
            [((24, 40), true, true), ((136, 72), false, false), ((40, 200), false, true), ((136, 264), true, false)]
        {
            check_rows_by(&device, &batch, shape, transposed, of_tokens);
        }
    }
}

#[test]
fn activated_rows_are_those_of_product_and_activation() {
    let device = Device::for_tests();
    for (sizes, load, inner, width) in
        [((29, 5, 2), Load::Uneven, 24, 40), ((90, 4, 3), Load::Uneven, 72, 136), ((150, 3, 1), Load::One, 136, 24)]
    {
        let batch = Batch::new(&device, sizes, load);
        let stride = 3 * inner * width;
        let weights = device.upload(&halves(1, batch.experts * stride, 1.0), "weights").unwrap();
        let rows = device.upload(&halves(2, batch.rows * width, 1.0), "rows").unwrap();
        let matrices = ExpertMatrices { values: weights.view(), height: 2 * inner, width, stride };
        let (rows, grouped) = (PairRows::OfTokens(rows.view()), batch.grouped());
        let alloc = |width: usize| device.alloc::<bf16>(batch.pairs() * width, "results").unwrap();
        let (gate_up, hidden) = (alloc(2 * inner), alloc(inner));
        multiply_rows(&device, gate_up.view(), rows, (matrices, true), &grouped, Tile::Medium).unwrap();
        swiglu(&device, hidden.view(), gate_up.view(), inner).unwrap();
        let (gate_up, hidden) = (gate_up.download().unwrap(), hidden.download().unwrap());
        for tile in TILES {
            let (both, activated, alone) = (alloc(2 * inner), alloc(inner), alloc(inner));
            let out = (activated.view(), Some(both.view()));
            activate_rows(&device, out, rows, matrices, &grouped, tile).unwrap();
            activate_rows(&device, (alone.view(), None), rows, matrices, &grouped, tile).unwrap();
            assert!(both.download().unwrap() == gate_up, "{tile:?}");
            assert!(activated.download().unwrap() == hidden, "{tile:?}");
            assert!(alone.download().unwrap() == hidden, "{tile:?}");
        }
    }
}

#[test]
fn weights_gradients_are_sums_over_their_experts_rows() {
    let device = Device::for_tests();
    // A card's tensor cores do not round what they add up, but cut it off: so over many rows errors add up too.
    let most = if device.is_emulated() { 2e-5 } else { 4e-4 };
    for (sizes, load, (height, width), a_of_tokens, b_of_tokens) in [
        ((29, 5, 2), Load::Uneven, (24, 40), false, true),
        ((150, 3, 2), Load::Uneven, (136, 72), true, false),
        ((140, 3, 1), Load::One, (40, 136), false, false),
        ((3, 70, 2), Load::Uneven, (8, 16), true, true),
        // More steps than a ring of stages holds.
        ((700, 2, 1), Load::One, (8, 16), true, true),
    ] {
        let batch = Batch::new(&device, sizes, load);
        let (begin, stride) = (16, height * width + 24);
        let before = numbers(3, begin + batch.experts * stride);
        let length = |of_tokens: bool| if of_tokens { batch.rows } else { batch.pairs() };
        let a = halves(4, length(a_of_tokens) * height, 1.0);
        let b = halves(5, length(b_of_tokens) * width, 1.0);
        let mut expected: Vec<f64> = before.iter().map(|x| f64::from(*x)).collect();
        for (place, (token, expert)) in batch.sorted().into_iter().enumerate() {
            let a = &a[if a_of_tokens { token } else { place } * height..][..height];
            let b = &b[if b_of_tokens { token } else { place } * width..][..width];
            for (i, a) in a.iter().enumerate() {
                for (j, b) in b.iter().enumerate() {
                    expected[begin + expert * stride + i * width + j] += a.to_f64() * b.to_f64();
                }
            }
        }
        let d_weights = device.upload(&before, "gradients").unwrap();
        let (a, b) = (device.upload(&a, "a").unwrap(), device.upload(&b, "b").unwrap());
        let rows = |values, of_tokens| if of_tokens { PairRows::OfTokens(values) } else { PairRows::Sorted(values) };
        let gradients = ExpertMatrices { values: d_weights.slice(begin..), height, width, stride };
        let (a, b) = (rows(a.view(), a_of_tokens), rows(b.view(), b_of_tokens));
        add_weight_gradient(&device, gradients, a, b, &batch.grouped()).unwrap();
        for (i, (found, expected)) in d_weights.download().unwrap().iter().zip(&expected).enumerate() {
            assert!((f64::from(*found) - expected).abs() < most, "{sizes:?}, number {i}: {found}, expected {expected}");
        }
    }
}

#[test]
fn widths_that_cannot_be_read_in_eights_are_refused() {
    let device = Device::for_tests();
    let batch = Batch::new(&device, (4, 3, 2), Load::Uneven);
    let weights = device.zeros::<bf16>(3 * 8 * 12, "weights").unwrap();
    let rows = device.zeros::<bf16>(8 * 12, "rows").unwrap();
    let out = device.zeros::<bf16>(8 * 8, "results").unwrap();
    let matrices = ExpertMatrices { values: weights.view(), height: 8, width: 12, stride: 96 };
    let outcome = multiply_rows(
        &device,
        out.view(),
        PairRows::Sorted(rows.view()),
        (matrices, true),
        &batch.grouped(),
        Tile::Small,
    );
    assert_eq!(
        outcome.unwrap_err().to_string(),
        "product of experts' rows and weights: the width of an expert's matrix: expected a multiple of 8, found 12"
    );
}

#[test]
fn slots_are_summed_into_either_precision() {
    let device = Device::for_tests();
    let batch = Batch::new(&device, (29, 5, 3), Load::Uneven);
    let width = 2104;
    let values = halves(1, batch.pairs() * width, 1.0);
    let before = halves(2, batch.rows * width, 1.0);
    let values_on = device.upload(&values, "values").unwrap();
    for add in [false, true] {
        let mut expected = if add { wide(&before) } else { vec![0.0; before.len()] };
        for (place, (token, _)) in batch.sorted().into_iter().enumerate() {
            for column in 0..width {
                expected[token * width + column] += values[place * width + column].to_f64();
            }
        }
        let single: Vec<f32> = before.iter().map(|x| x.to_f32()).collect();
        let (half, single) = (device.upload(&before, "sums").unwrap(), device.upload(&single, "sums").unwrap());
        sum_slots(&device, half.view().into(), values_on.view(), &batch.grouped(), width, add).unwrap();
        sum_slots(&device, single.view().into(), values_on.view(), &batch.grouped(), width, add).unwrap();
        assert_close(&half.download().unwrap(), &expected, "bf16");
        for (found, expected) in single.download().unwrap().iter().zip(&expected) {
            assert!((f64::from(*found) - expected).abs() < 1e-6, "{found}, expected {expected}");
        }
    }
}

/// The layer in f64, and `sum(y * c)` for the finite differences.
struct Layer<'a> {
    batch: &'a Batch,
    inner: usize,
    width: usize,
}

impl Layer<'_> {
    fn forward(&self, x: &[f64], gates: &[f64], weights: &[f64]) -> Vec<f64> {
        let (inner, width, top_k) = (self.inner, self.width, self.batch.top_k);
        let mut y = vec![0.0; x.len()];
        for (pair, expert) in self.batch.chosen.iter().enumerate() {
            let token = pair / top_k * width;
            let weights = &weights[usize::from(*expert) * 3 * inner * width..][..3 * inner * width];
            let dot = |row: usize| -> f64 { (0..width).map(|k| weights[row * width + k] * x[token + k]).sum() };
            for i in 0..inner {
                let (gate, up) = (dot(i), dot(inner + i));
                let hidden = gate / (1.0 + (-gate).exp()) * up * gates[pair];
                (0..width).for_each(|k| y[token + k] += hidden * weights[(2 * inner + i) * width + k]);
            }
        }
        y
    }

    fn loss(&self, x: &[f64], gates: &[f64], weights: &[f64], c: &[f64]) -> f64 {
        self.forward(x, gates, weights).iter().zip(c).map(|(y, c)| y * c).sum()
    }
}

/// That the found gradient is that of finite differences, at a few places; the tolerance is of the largest of them.
fn assert_gradient(what: &str, found: &[f64], at: &[f64], loss: impl Fn(&[f64]) -> f64) {
    let step = 1e-4;
    let mut worst: (f64, f64) = (0.0, 0.0);
    for i in (0..at.len()).step_by(at.len() / 150 + 1) {
        let side = |sign: f64| {
            let mut moved = at.to_vec();
            moved[i] += sign * step;
            loss(&moved)
        };
        let expected = (side(1.0) - side(-1.0)) / (2.0 * step);
        worst = (worst.0.max((found[i] - expected).abs()), worst.1.max(expected.abs()));
    }
    // Activations and their gradients are rounded to bf16 on the way, several times.
    assert!(worst.1 > 0.0 && worst.0 < 0.01 * worst.1, "{what}: off by {}, where the largest is {}", worst.0, worst.1);
}

#[test]
fn the_layer_and_its_gradients() {
    let device = Device::for_tests();
    for (sizes, load, inner, width) in [((29, 5, 2), Load::Uneven, 24, 40), ((70, 3, 2), Load::One, 40, 24)] {
        let batch = Batch::new(&device, sizes, load);
        let layer = Layer { batch: &batch, inner, width };
        let (rows, experts) = (batch.rows, batch.experts);
        let x = halves(1, rows * width, 1.0);
        let weights = halves(2, experts * 3 * inner * width, 0.4);
        let gates: Vec<f32> = numbers(3, batch.pairs()).iter().map(|x| x + 1.1).collect();
        let before = numbers(4, rows * width);
        let d_y = halves(5, rows * width, 1.0);

        let x_on = device.upload(&x, "x").unwrap();
        let gates_on = device.upload(&gates, "gates").unwrap();
        let weights_on = device.upload(&weights, "weights").unwrap();
        let expert_weights = ExpertWeights { values: weights_on.view(), inner, width };
        let scratch = ExpertScratch::new(&device, batch.pairs() + 5, inner, width, true).unwrap();
        let gate_up = device.alloc::<bf16>(batch.pairs() * 2 * inner, "gate and up").unwrap();
        let (input, grouped) = ((x_on.view(), gates_on.view()), batch.grouped());
        let mut first: Option<Vec<f32>> = None;
        for tile in TILES {
            let y = device.upload(&before, "y").unwrap();
            add_experts(&device, y.view(), input, expert_weights, &grouped, (Some(gate_up.view()), &scratch), tile)
                .unwrap();
            let y = y.download().unwrap();
            assert!(first.get_or_insert_with(|| y.clone()) == &y, "{tile:?} differs");
        }
        let (x64, weights64) = (wide(&x), wide(&weights));
        let gates64: Vec<f64> = gates.iter().map(|g| f64::from(*g)).collect();
        let expected = layer.forward(&x64, &gates64, &weights64);
        let largest = expected.iter().fold(0.0f64, |a, b| a.max(b.abs()));
        for ((y, before), expected) in first.unwrap().iter().zip(&before).zip(&expected) {
            assert!((f64::from(*y) - f64::from(*before) - expected).abs() < 0.01 * largest, "{y}, expected {expected}");
        }

        let d_y_on = device.upload(&d_y, "gradient").unwrap();
        let (d_x_before, d_weights_before) = (numbers(6, rows * width), numbers(7, weights.len()));
        let d_x = device.upload(&d_x_before, "gradient").unwrap();
        let d_weights = device.upload(&d_weights_before, "gradient").unwrap();
        let d_gates = device.alloc::<f32>(batch.pairs(), "gradient").unwrap();
        let gradients = ExpertGradients {
            d_x: d_x.view().into(),
            add: true,
            d_gates: d_gates.view(),
            d_weights: ExpertWeights { values: d_weights.view(), inner, width },
        };
        experts_backward(
            &device,
            gradients,
            input,
            expert_weights,
            &grouped,
            (gate_up.view(), &scratch),
            d_y_on.view(),
        )
        .unwrap();
        let c = wide(&d_y);
        let added = |found: Vec<f32>, before: &[f32]| -> Vec<f64> {
            found.iter().zip(before).map(|(f, b)| f64::from(*f) - f64::from(*b)).collect()
        };
        let found = added(d_x.download().unwrap(), &d_x_before);
        assert_gradient("x", &found, &x64, |x| layer.loss(x, &gates64, &weights64, &c));
        let found = added(d_weights.download().unwrap(), &d_weights_before);
        assert_gradient("weights", &found, &weights64, |weights| layer.loss(&x64, &gates64, weights, &c));
        let found: Vec<f64> = d_gates.download().unwrap().iter().map(|d| f64::from(*d)).collect();
        assert_gradient("gates", &found, &gates64, |gates| layer.loss(&x64, gates, &weights64, &c));
    }
}
