//! Attention over packed trees against plain loops in f64, forward and backward.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use device::ops::attention::{Attended, Attention, Gradients};
use device::ops::heads::{Heads, assemble_keys, take_keys_apart};
use device::ops::tree::{Segment, Tree};
use device::{Device, bf16};

/// Numbers between -1 and 1, the same each time.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as f64 / f64::from(1_u32 << 30) - 1.0
    }

    fn bf16(&mut self, len: usize) -> Vec<bf16> {
        (0..len).map(|_| bf16::from_f64(2.0 * self.next())).collect()
    }
}

fn wide(values: &[bf16]) -> Vec<f64> {
    values.iter().map(|value| value.to_f64()).collect()
}

/// Segments of these lengths and parents.
fn segments(of: &[(usize, Option<usize>)]) -> Vec<Segment> {
    let mut end = 0;
    let segment = |&(len, parent): &(usize, Option<usize>)| {
        end += len;
        Segment { rows: end - len..end, parent }
    };
    of.iter().map(segment).collect()
}

/// The rows that each row sees.
fn seen(segments: &[Segment]) -> Vec<Vec<usize>> {
    let mut all = Vec::new();
    for segment in segments {
        let mut before = Vec::new();
        let mut next = segment.parent;
        while let Some(ancestor) = next {
            before.extend(segments[ancestor].rows.clone());
            next = segments[ancestor].parent;
        }
        all.extend(segment.rows.clone().map(|row| before.iter().copied().chain(segment.rows.start..row + 1).collect()));
    }
    all
}

/// Attention by its definition, over arrays without gaps.
struct Plain {
    heads: usize,
    group: usize,
    query_width: usize,
    value_width: usize,
    scale: f64,
    seen: Vec<Vec<usize>>,
}

impl Plain {
    fn key_heads(&self) -> usize {
        self.heads / self.group
    }

    /// The weights of what row and head see, and the log of their sum before the division.
    fn weights(&self, q: &[f64], k: &[f64], row: usize, head: usize) -> (Vec<f64>, f64) {
        let width = self.query_width;
        let query = &q[(row * self.heads + head) * width..][..width];
        let score = |&other: &usize| {
            let key = &k[(other * self.key_heads() + head / self.group) * width..][..width];
            self.scale * query.iter().zip(key).map(|(q, k)| q * k).sum::<f64>()
        };
        let scores: Vec<f64> = self.seen[row].iter().map(score).collect();
        let largest = scores.iter().copied().fold(f64::MIN, f64::max);
        let total = largest + scores.iter().map(|score| (score - largest).exp()).sum::<f64>().ln();
        (scores.iter().map(|score| (score - total).exp()).collect(), total)
    }

    /// The results `[rows, heads, value]` and totals `[heads, rows]`.
    fn forward(&self, [q, k, v]: [&[f64]; 3]) -> [Vec<f64>; 2] {
        let (rows, width) = (self.seen.len(), self.value_width);
        let (mut out, mut totals) = (vec![0.0; rows * self.heads * width], vec![0.0; rows * self.heads]);
        for (row, head) in (0..rows).flat_map(|row| (0..self.heads).map(move |head| (row, head))) {
            let (weights, total) = self.weights(q, k, row, head);
            totals[head * rows + row] = total;
            let out = &mut out[(row * self.heads + head) * width..][..width];
            for (weight, other) in weights.iter().zip(&self.seen[row]) {
                let value = &v[(other * self.key_heads() + head / self.group) * width..][..width];
                out.iter_mut().zip(value).for_each(|(out, value)| *out += weight * value);
            }
        }
        [out, totals]
    }

    /// The gradients of query, key and value.
    fn backward(&self, [q, k, v]: [&[f64]; 3], d_out: &[f64]) -> [Vec<f64>; 3] {
        let [mut dq, mut dk, mut dv] = [q, k, v].map(|x| vec![0.0; x.len()]);
        let (rows, width) = (self.seen.len(), self.value_width);
        for (row, head) in (0..rows).flat_map(|row| (0..self.heads).map(move |head| (row, head))) {
            let (weights, _) = self.weights(q, k, row, head);
            let d = &d_out[(row * self.heads + head) * width..][..width];
            let shared = |other: usize| other * self.key_heads() + head / self.group;
            let product = |&other: &usize| d.iter().zip(&v[shared(other) * width..]).map(|(d, v)| d * v).sum::<f64>();
            let products: Vec<f64> = self.seen[row].iter().map(product).collect();
            let dot: f64 = weights.iter().zip(&products).map(|(weight, product)| weight * product).sum();
            for ((other, weight), product) in self.seen[row].iter().zip(&weights).zip(&products) {
                for (dv, d) in dv[shared(*other) * width..][..width].iter_mut().zip(d) {
                    *dv += weight * d;
                }
                let d_score = self.scale * weight * (product - dot);
                for i in 0..self.query_width {
                    let (at, key_at) =
                        ((row * self.heads + head) * self.query_width + i, shared(*other) * self.query_width + i);
                    dq[at] += d_score * k[key_at];
                    dk[key_at] += d_score * q[at];
                }
            }
        }
        [dq, dk, dv]
    }
}

/// Fails unless each number is as expected, up to `tolerance` of the largest.
fn assert_close(what: &str, given: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(given.len(), expected.len());
    let largest = expected.iter().fold(0.0_f64, |largest, value| largest.max(value.abs()));
    for (at, (given, expected)) in given.iter().zip(expected).enumerate() {
        let close = (given - expected).abs() <= tolerance * largest;
        assert!(close, "{what}, number {at}: {given} is not {expected} ({largest} is the largest)");
    }
}

/// Forward and backward; keys and values lie side by side in one row, with 8 numbers that belong to neither.
fn check(of: &[(usize, Option<usize>)], sizes: [usize; 4]) {
    check_with(of, sizes, 0.7, |value| value);
}

/// The same with other scores: of this scale, and of queries `sign(x)` and keys `-sign(x)` for random numbers x.
fn check_with(
    of: &[(usize, Option<usize>)],
    [heads, group, query_width, value_width]: [usize; 4],
    scale: f64,
    sign: fn(bf16) -> bf16,
) {
    let device = Device::for_tests();
    // The gradient of a score is a difference, of which the result's rounding is a part.
    let tolerance = 8e-3 * scale.sqrt().max(1.0);
    let segments = segments(of);
    let rows = segments.last().unwrap().rows.end;
    let scale = scale / (query_width as f64).sqrt();
    let plain = Plain { heads, group, query_width, value_width, scale, seen: seen(&segments) };
    let key_heads = heads / group;
    let mut numbers = Numbers(7);
    let q: Vec<bf16> = numbers.bf16(rows * heads * query_width).into_iter().map(sign).collect();
    let row = key_heads * (query_width + value_width) + 8;
    let key_value: Vec<bf16> = numbers.bf16(rows * row).into_iter().map(|value| -sign(value)).collect();
    let d_out = numbers.bf16(rows * heads * value_width);
    let split = |all: &[f64]| -> [Vec<f64>; 2] {
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        for row in all.chunks_exact(row) {
            keys.extend_from_slice(&row[..key_heads * query_width]);
            values.extend_from_slice(&row[key_heads * query_width..row.len() - 8]);
        }
        [keys, values]
    };
    let [k, v] = split(&wide(&key_value));
    let arguments = [&wide(&q)[..], &k, &v];
    let [expected_out, expected_totals] = plain.forward(arguments);

    let tree = Tree::new(&device, &segments, group).unwrap();
    let (q, key_value) = (device.upload(&q, "q").unwrap(), device.upload(&key_value, "kv").unwrap());
    let out = device.alloc(rows * heads * value_width, "out").unwrap();
    let totals = device.alloc(rows * heads, "totals").unwrap();
    let d_key_value = device.zeros(key_value.len(), "d_kv").unwrap();
    let in_row = |data, width| Heads { data, heads: key_heads, width, row_stride: row, head_stride: width };
    let attention = Attention {
        tree: &tree,
        query: Heads::packed(q.view(), heads, query_width),
        key: in_row(key_value.view(), query_width),
        value: in_row(key_value.slice(key_heads * query_width..), value_width),
        scale: scale as f32,
    };
    let attended = Attended { out: out.view(), totals: totals.view() };
    attention.forward(&device, attended).unwrap();
    assert_close("result", &wide(&out.download().unwrap()), &expected_out, 4e-3);
    let given: Vec<f64> = totals.download().unwrap().into_iter().map(f64::from).collect();
    assert_close("totals", &given, &expected_totals, 1e-4);

    // The query's gradient with a gap after each row, too.
    let (q_row, d_q_row) = (heads * query_width, heads * query_width + 8);
    let d_q = device.zeros(rows * d_q_row, "d_q").unwrap();
    let gradients = Gradients {
        query: Heads { row_stride: d_q_row, ..Heads::packed(d_q.view(), heads, query_width) },
        key: in_row(d_key_value.view(), query_width),
        value: in_row(d_key_value.slice(key_heads * query_width..), value_width),
    };
    let workspace = device.alloc(attention.backward_workspace(), "workspace").unwrap();
    let d_out_buffer = device.upload(&d_out, "d_out").unwrap();
    attention.backward(&device, gradients, attended, d_out_buffer.view(), workspace.view()).unwrap();
    let [expected_dq, expected_dk, expected_dv] = plain.backward(arguments, &wide(&d_out));
    let d_key_value = d_key_value.download().unwrap();
    let [dk, dv] = split(&wide(&d_key_value));
    let (dq, gaps): (Vec<Vec<f64>>, Vec<Vec<f64>>) = wide(&d_q.download().unwrap())
        .chunks_exact(d_q_row)
        .map(|row| (row[..q_row].to_vec(), row[q_row..].to_vec()))
        .unzip();
    assert!(gaps.concat().iter().all(|value| *value == 0.0));
    assert_close("query's gradient", &dq.concat(), &expected_dq, tolerance);
    assert_close("key's gradient", &dk, &expected_dk, tolerance);
    assert_close("value's gradient", &dv, &expected_dv, tolerance);
    assert!(d_key_value.chunks_exact(row).all(|row| row[row.len() - 8..].iter().all(|value| value.to_f32() == 0.0)));
}

/// Two trees, with segments around the sizes of blocks, one of them empty, and siblings apart from their parent.
const ODD: [(usize, Option<usize>); 9] = [
    (1, None),
    (63, Some(0)),
    (64, Some(0)),
    (65, Some(2)),
    (130, None),
    (0, Some(4)),
    (17, Some(5)),
    (70, Some(4)),
    (5, Some(6)),
];

#[test]
fn small_heads() {
    check(&ODD, [3, 1, 24, 16]);
}

/// All scores far below zero, where 2 to the power of an absent key's score, less the total, would be no number.
#[test]
fn scores_far_below_zero() {
    check_with(&ODD[..3], [1, 1, 32, 16], 40.0, |value| bf16::from_f32(value.to_f32().abs()));
}

#[test]
fn widths_filled_up() {
    check(&ODD, [4, 2, 40, 24]);
}

#[test]
fn groups_of_six_and_seven() {
    check(&ODD[..4], [6, 6, 64, 64]);
    check(&[(130, None), (40, Some(0)), (64, Some(0))], [14, 7, 64, 64]);
}

#[test]
fn large_heads() {
    check(&[(70, None), (65, Some(0)), (3, Some(0))], [2, 2, 128, 128]);
}

#[test]
fn keys_seen_by_many_are_added_up_in_parts() {
    check(&[(70, None), (65, Some(0)), (100, Some(0))], [64, 64, 16, 8]);
}

#[test]
fn one_row() {
    check(&[(1, None)], [1, 1, 8, 8]);
}

#[test]
fn the_same_bits_each_time() {
    let device = Device::for_tests();
    let tree = Tree::new(&device, &segments(&ODD), 64).unwrap();
    let (rows, mut numbers) = (tree.rows(), Numbers(3));
    let q = device.upload(&numbers.bf16(rows * 64 * 16), "q").unwrap();
    let k = device.upload(&numbers.bf16(rows * 16), "k").unwrap();
    let d_out = device.upload(&numbers.bf16(rows * 64 * 16), "d_out").unwrap();
    let shared = Heads::packed(k.view(), 1, 16);
    let attention =
        Attention { tree: &tree, query: Heads::packed(q.view(), 64, 16), key: shared, value: shared, scale: 0.3 };
    let run = || {
        let out = device.alloc(rows * 64 * 16, "out").unwrap();
        let totals = device.alloc(rows * 64, "totals").unwrap();
        let [d_key, d_value] = [(); 2].map(|()| device.alloc(rows * 16, "gradient").unwrap());
        let d_query = device.alloc(rows * 64 * 16, "gradient").unwrap();
        let workspace = device.alloc(attention.backward_workspace(), "workspace").unwrap();
        let attended = Attended { out: out.view(), totals: totals.view() };
        attention.forward(&device, attended).unwrap();
        let [key, value] = [&d_key, &d_value].map(|gradient| Heads::packed(gradient.view(), 1, 16));
        let gradients = Gradients { query: Heads::packed(d_query.view(), 64, 16), key, value };
        attention.backward(&device, gradients, attended, d_out.view(), workspace.view()).unwrap();
        [out, d_query, d_key, d_value].map(|buffer| buffer.download().unwrap())
    };
    assert_eq!(run(), run());
}

/// Multi-head latent attention's expanded form: keys put together, attention, and the gradients taken apart.
#[test]
fn latent_attention() {
    let device = Device::for_tests();
    let segments = segments(&[(66, None), (70, Some(0)), (1, Some(0))]);
    let (rows, heads, nope, rope, value) = (137, 2, 128, 64, 128);
    let mut numbers = Numbers(5);
    let q = numbers.bf16(rows * heads * (nope + rope));
    let key_value = numbers.bf16(rows * heads * (nope + value));
    let rotary = numbers.bf16(rows * rope);
    let d_out = numbers.bf16(rows * heads * value);
    let (mut k, mut v) = (Vec::new(), Vec::new());
    for (row, parts) in wide(&key_value).chunks_exact(heads * (nope + value)).enumerate() {
        for head in parts.chunks_exact(nope + value) {
            k.extend_from_slice(&head[..nope]);
            k.extend(wide(&rotary[row * rope..(row + 1) * rope]));
            v.extend_from_slice(&head[nope..]);
        }
    }
    let scale = 0.06;
    let plain = Plain { heads, group: 1, query_width: nope + rope, value_width: value, scale, seen: seen(&segments) };
    let arguments = [&wide(&q)[..], &k, &v];
    let [expected_out, _] = plain.forward(arguments);
    let [expected_dq, expected_dk, expected_dv] = plain.backward(arguments, &wide(&d_out));
    let (mut expected_d_key_value, mut expected_d_rotary) = (Vec::new(), vec![0.0; rows * rope]);
    let heads_of = expected_dk.chunks_exact(nope + rope).zip(expected_dv.chunks_exact(value));
    for (at, (dk, dv)) in heads_of.enumerate() {
        expected_d_key_value.extend_from_slice(&dk[..nope]);
        expected_d_key_value.extend_from_slice(dv);
        let shared = &mut expected_d_rotary[at / heads * rope..][..rope];
        shared.iter_mut().zip(&dk[nope..]).for_each(|(sum, d)| *sum += d);
    }

    let upload = |values: &[bf16]| device.upload(values, "test").unwrap();
    let (q, key_value, rotary, d_out) = (upload(&q), upload(&key_value), upload(&rotary), upload(&d_out));
    let alloc = |len| device.alloc::<bf16>(len, "test").unwrap();
    let tree = Tree::new(&device, &segments, 1).unwrap();
    let keys = alloc(rows * heads * (nope + rope));
    let key = Heads::packed(keys.view(), heads, nope + rope);
    let key_value = Heads::packed(key_value.view(), heads, nope + value);
    assemble_keys(&device, key, key_value, Heads::packed(rotary.view(), 1, rope), rows).unwrap();
    let query = Heads::packed(q.view(), heads, nope + rope);
    let value_columns = nope..nope + value;
    let attention =
        Attention { tree: &tree, query, key, value: key_value.columns(value_columns.clone()), scale: scale as f32 };
    let (out, totals) = (alloc(rows * heads * value), device.alloc(rows * heads, "test").unwrap());
    let attended = Attended { out: out.view(), totals: totals.view() };
    attention.forward(&device, attended).unwrap();
    assert_close("result", &wide(&out.download().unwrap()), &expected_out, 4e-3);

    let (d_query, d_keys, d_rotary) = (alloc(q.len()), alloc(keys.len()), alloc(rows * rope));
    let d_key_value = alloc(rows * heads * (nope + value));
    let d_key = Heads::packed(d_keys.view(), heads, nope + rope);
    let d_parts = Heads::packed(d_key_value.view(), heads, nope + value);
    let query = Heads { data: d_query.view(), ..query };
    let gradients = Gradients { query, key: d_key, value: d_parts.columns(value_columns) };
    let workspace = device.alloc(attention.backward_workspace(), "workspace").unwrap();
    attention.backward(&device, gradients, attended, d_out.view(), workspace.view()).unwrap();
    take_keys_apart(&device, d_parts, Heads::packed(d_rotary.view(), 1, rope), d_key, rows).unwrap();
    assert_close("query's gradient", &wide(&d_query.download().unwrap()), &expected_dq, 8e-3);
    assert_close("gradient of keys and values", &wide(&d_key_value.download().unwrap()), &expected_d_key_value, 8e-3);
    assert_close("rotary key's gradient", &wide(&d_rotary.download().unwrap()), &expected_d_rotary, 8e-3);
}

/// The plain loops themselves, by finite differences.
#[test]
fn plain_gradients_are_slopes() {
    let segments = segments(&[(2, None), (3, Some(0)), (1, Some(0))]);
    let plain = Plain { heads: 2, group: 2, query_width: 3, value_width: 2, scale: 0.6, seen: seen(&segments) };
    let mut numbers = Numbers(11);
    let mut random = |len: usize| (0..len).map(|_| numbers.next()).collect::<Vec<f64>>();
    let arguments = [random(36), random(18), random(12)];
    let d_out = random(24);
    let loss = |arguments: &[Vec<f64>; 3]| {
        let [out, _] = plain.forward(arguments.each_ref().map(|argument| &argument[..]));
        out.iter().zip(&d_out).map(|(out, d)| out * d).sum::<f64>()
    };
    let gradients = plain.backward(arguments.each_ref().map(|argument| &argument[..]), &d_out);
    for (which, gradient) in gradients.iter().enumerate() {
        for (at, gradient) in gradient.iter().enumerate() {
            let at_distance = |distance: f64| {
                let mut moved = arguments.clone();
                moved[which][at] += distance;
                loss(&moved)
            };
            let slope = (at_distance(1e-5) - at_distance(-1e-5)) / 2e-5;
            assert!((slope - gradient).abs() < 1e-8, "argument {which}, number {at}: {gradient}, slope {slope}");
        }
    }
}

#[test]
fn wrong_sizes_are_refused() {
    let device = Device::for_tests();
    let tree = Tree::new(&device, &segments(&[(3, None)]), 2).unwrap();
    let (numbers, totals) = (device.zeros(3 * 2 * 16, "x").unwrap(), device.zeros(6, "totals").unwrap());
    let heads = |heads, width| Heads::packed(numbers.view(), heads, width);
    let run = |query, key, value| {
        let attended = Attended { out: numbers.view(), totals: totals.view() };
        Attention { tree: &tree, query, key, value, scale: 1.0 }.forward(&device, attended).map_err(|e| e.to_string())
    };
    run(heads(2, 16), heads(1, 16), heads(1, 16)).unwrap();
    assert!(run(heads(2, 12), heads(1, 12), heads(1, 16)).unwrap_err().contains("only multiples of 8"));
    assert!(run(heads(2, 16), heads(2, 16), heads(2, 16)).unwrap_err().contains("in groups of 2"));
    assert!(run(heads(4, 16), heads(2, 16), heads(2, 16)).unwrap_err().contains("need 192 numbers"));
}
