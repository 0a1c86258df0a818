//! Decoding attention over a paged cache against plain loops in f64, the cache itself, and the products in the latent space.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use device::ops::absorbed::{LatentSizes, absorb_queries, expand_values};
use device::ops::decode_attention::{CachedHeads, DecodeAttention, DecodeWorkspace};
use device::ops::decode_heads::{DecodeHeads, HeadCache};
use device::ops::heads::Heads;
use device::ops::paged_cache::{Appended, PageTable, append, copy_pages};
use device::ops::{self, Direction, RmsNorm, Rope, add_bias};
use device::{Buffer, Device, bf16};

/// Tokens of a page.
const PAGE: usize = 64;
/// Pages that a sequence may have.
const ROW: usize = 4;

/// Numbers between -2 and 2, the same each time.
struct Numbers(u64);

impl Numbers {
    fn bf16(&mut self, len: usize) -> Vec<bf16> {
        let mut next = || {
            self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (self.0 >> 33) as f64 / f64::from(1_u32 << 29) - 2.0
        };
        (0..len).map(|_| bf16::from_f64(next())).collect()
    }
}

fn assert_close(what: &str, given: &[bf16], expected: &[f64], tolerance: f64) {
    assert_eq!(given.len(), expected.len());
    let largest = expected.iter().fold(0.0_f64, |largest, value| largest.max(value.abs()));
    for (at, (given, expected)) in given.iter().zip(expected).enumerate() {
        let close = (given.to_f64() - expected).abs() <= tolerance * largest;
        assert!(close, "{what}, number {at}: {given} is not {expected} ({largest} is the largest)");
    }
}

/// Sizes of a case.
#[derive(Clone, Copy)]
struct Sizes {
    heads: usize,
    key_heads: usize,
    query_width: usize,
    value_width: usize,
    /// Whether the value is the first numbers of the key.
    latent: bool,
}

/// A cache with random tokens, and sequences over it. Their first page is shared, as a prompt's; the others are their own.
struct Case {
    device: Device,
    sizes: Sizes,
    scale: f32,
    lengths: Vec<usize>,
    table: Vec<i32>,
    query: Vec<bf16>,
    keys: Vec<bf16>,
    values: Vec<bf16>,
}

impl Case {
    fn new(sizes: Sizes, lengths: &[usize]) -> Self {
        let Sizes { heads, key_heads, query_width, value_width, .. } = sizes;
        let pages = 1 + lengths.len() * (ROW - 1);
        // The sequences' pages lie mixed with each other. What is past a sequence's end is no page at all.
        let page = |sequence: usize, number: usize| match number {
            _ if number * PAGE >= lengths[sequence] => -1_000_000,
            0 => 0,
            _ => (1 + (number - 1) * lengths.len() + (lengths.len() - 1 - sequence)) as i32,
        };
        let table =
            (0..lengths.len()).flat_map(|sequence| (0..ROW).map(move |number| page(sequence, number))).collect();
        let mut numbers = Numbers(9);
        Case {
            device: Device::for_tests(),
            sizes,
            scale: 0.7 / (query_width as f32).sqrt(),
            lengths: lengths.to_vec(),
            table,
            query: numbers.bf16(lengths.len() * heads * query_width),
            keys: numbers.bf16(pages * PAGE * key_heads * query_width),
            values: numbers.bf16(pages * PAGE * key_heads * value_width),
        }
    }

    /// The results by the definition.
    fn expected(&self) -> Vec<f64> {
        let Sizes { heads, key_heads, query_width, value_width, latent } = self.sizes;
        let mut out = Vec::new();
        for (sequence, length) in self.lengths.iter().enumerate() {
            for head in 0..heads {
                let shared = head / (heads / key_heads);
                let query = &self.query[(sequence * heads + head) * query_width..][..query_width];
                // Where each token's key and value lie, in heads.
                let places: Vec<usize> = (0..*length)
                    .map(|token| {
                        let page = self.table[sequence * ROW + token / PAGE] as usize;
                        (page * PAGE + token % PAGE) * key_heads + shared
                    })
                    .collect();
                let score = |place: &usize| {
                    let key = &self.keys[place * query_width..];
                    let product: f64 = query.iter().zip(key).map(|(q, k)| q.to_f64() * k.to_f64()).sum();
                    (f64::from(self.scale) * product).exp()
                };
                let weights: Vec<f64> = places.iter().map(score).collect();
                let total: f64 = weights.iter().sum();
                let value = |place: usize, i: usize| match latent {
                    true => self.keys[place * query_width + i].to_f64(),
                    false => self.values[place * value_width + i].to_f64(),
                };
                out.extend((0..value_width).map(|i| {
                    let sum: f64 = weights.iter().zip(&places).map(|(weight, place)| weight * value(*place, i)).sum();
                    if *length == 0 { 0.0 } else { sum / total }
                }));
            }
        }
        out
    }

    fn run(&self, splits: usize) -> Vec<bf16> {
        let Sizes { heads, key_heads, query_width, value_width, latent } = self.sizes;
        let device = &self.device;
        let attention = DecodeAttention { heads, key_heads, query_width, value_width, scale: self.scale, splits };
        let upload = |values: &[bf16]| device.upload(values, "test").unwrap();
        let (query, keys, values) = (upload(&self.query), upload(&self.keys), upload(&self.values));
        let lengths: Vec<i32> = self.lengths.iter().map(|length| *length as i32).collect();
        let lengths = device.upload(&lengths, "lengths").unwrap();
        let pages = device.upload(&self.table, "pages").unwrap();
        let out = device.alloc(self.lengths.len() * heads * value_width, "out").unwrap();
        let workspace = DecodeWorkspace::new(device, &[(attention, self.lengths.len())]).unwrap();
        let cached = CachedHeads {
            keys: Heads::packed(keys.view(), key_heads, query_width),
            values: (!latent).then(|| Heads::packed(values.view(), key_heads, value_width)),
            table: PageTable { pages: pages.view(), row: ROW, tokens: PAGE },
            lengths: lengths.view(),
        };
        attention.run(device, out.view(), query.view(), cached, &workspace).unwrap();
        out.download().unwrap()
    }
}

fn check(sizes: Sizes, lengths: &[usize], splits: &[usize]) {
    let case = Case::new(sizes, lengths);
    let expected = case.expected();
    for &splits in splits {
        assert_close(&format!("{splits} splits"), &case.run(splits), &expected, 4e-3);
    }
}

fn grouped(heads: usize, key_heads: usize, query_width: usize, value_width: usize) -> Sizes {
    Sizes { heads, key_heads, query_width, value_width, latent: false }
}

fn latent(heads: usize, query_width: usize, value_width: usize) -> Sizes {
    Sizes { heads, key_heads: 1, query_width, value_width, latent: true }
}

const LENGTHS: [usize; 10] = [1, 2, 0, 63, 64, 65, 100, 128, 200, 129];

#[test]
fn grouped_queries() {
    check(grouped(14, 2, 64, 64), &LENGTHS, &[1, 4, 16]);
    check(grouped(2, 2, 128, 128), &[1, 130, 200], &[1, 4]);
}

#[test]
fn widths_filled_up() {
    check(grouped(6, 3, 40, 24), &LENGTHS, &[1, 3]);
    check(grouped(2, 1, 24, 16), &LENGTHS, &[2]);
}

#[test]
fn groups_of_several_tiles() {
    check(grouped(40, 2, 32, 32), &[5, 200], &[1, 4]);
    check(grouped(70, 1, 32, 80), &[5, 200], &[2]);
}

#[test]
fn small_latents() {
    check(latent(4, 40, 32), &LENGTHS, &[1, 4]);
    check(latent(20, 96, 24), &LENGTHS, &[2]);
}

#[test]
fn latents_of_deepseek() {
    check(latent(16, 576, 512), &[1, 70, 130], &[2]);
    check(latent(20, 576, 512), &[70], &[1]);
    check(latent(128, 576, 512), &[65, 0], &[2]);
}

#[test]
fn widths_with_room_for_one_tile_of_keys() {
    check(latent(20, 832, 768), &[1, 70, 0, 200], &[1, 2]);
    check(grouped(4, 2, 512, 512), &[64, 130], &[1]);
}

#[test]
fn long_contexts_are_split_into_more_parts() {
    let splits = [0, 64, 2048, 2049, 16384, 100_000].map(DecodeAttention::splits_for);
    assert_eq!(splits, [2, 2, 2, 3, 16, 16]);
}

#[test]
fn a_result_does_not_depend_on_the_batch() {
    let sizes = grouped(14, 2, 64, 64);
    let mut batch = Case::new(sizes, &LENGTHS);
    let all = batch.run(4);
    let (row, query_row) = (14 * 64, 14 * 64);
    let (table, query) = (batch.table.clone(), batch.query.clone());
    for sequence in [0, 6, 8] {
        batch.lengths = vec![LENGTHS[sequence]];
        batch.table = table[sequence * ROW..(sequence + 1) * ROW].to_vec();
        batch.query = query[sequence * query_row..(sequence + 1) * query_row].to_vec();
        assert_eq!(batch.run(4), all[sequence * row..(sequence + 1) * row]);
    }
}

/// The same launches, recorded once, for each length.
#[test]
fn recorded_steps() {
    let mut case = Case::new(grouped(4, 2, 32, 32), &[200, 200]);
    let device = case.device.clone();
    let attention =
        DecodeAttention { heads: 4, key_heads: 2, query_width: 32, value_width: 32, scale: case.scale, splits: 3 };
    let upload = |values: &[bf16]| device.upload(values, "test").unwrap();
    let (query, keys, values) = (upload(&case.query), upload(&case.keys), upload(&case.values));
    let lengths = device.upload(&[1, 1], "lengths").unwrap();
    let pages = device.upload(&case.table, "pages").unwrap();
    let out = device.alloc(2 * 4 * 32, "out").unwrap();
    let workspace = DecodeWorkspace::new(&device, &[(attention, 2)]).unwrap();
    let step = || {
        let cached = CachedHeads {
            keys: Heads::packed(keys.view(), 2, 32),
            values: Some(Heads::packed(values.view(), 2, 32)),
            table: PageTable { pages: pages.view(), row: ROW, tokens: PAGE },
            lengths: lengths.view(),
        };
        attention.run(&device, out.view(), query.view(), cached, &workspace)
    };
    step().unwrap();
    // SAFETY: what the step uses lives to the end of this test, whose thread alone has the device.
    let graph = unsafe { device.capture("a step", step) }.unwrap();
    for later in [[1, 200], [64, 65], [0, 130]] {
        lengths.write(0, &later.map(|length| length as i32)).unwrap();
        graph.launch().unwrap();
        case.lengths = later.to_vec();
        assert_close("a step", &out.download().unwrap(), &case.expected(), 4e-3);
    }
}

#[test]
fn rows_are_appended_to_their_pages() {
    let device = Device::for_tests();
    let mut numbers = Numbers(1);
    // Three rows of keys and values in one projection's row, with 8 numbers before and after.
    let rows = numbers.bf16(3 * 40);
    let buffer = device.upload(&rows, "rows").unwrap();
    let part = |data, width, row_stride| Heads { data, heads: 1, width, row_stride, head_stride: width };
    let [keys, values]: [Buffer<bf16>; 2] = [16, 8].map(|width| device.zeros(3 * 4 * width, "cache").unwrap());
    let pages = device.upload(&[2, 0, 1, -7], "pages").unwrap();
    let sequences = device.upload(&[1, 0, 0], "sequences").unwrap();
    let positions = device.upload(&[3, 6, -1], "positions").unwrap();
    let parts = [
        Appended { cache: part(keys.view(), 16, 16), rows: part(buffer.slice(8..), 16, 40) },
        Appended { cache: part(values.view(), 8, 8), rows: part(buffer.slice(24..), 8, 40) },
    ];
    let table = PageTable { pages: pages.view(), row: 2, tokens: 4 };
    append(&device, parts, table, sequences.view(), positions.view()).unwrap();
    let [mut expected_keys, mut expected_values] = [vec![bf16::ZERO; 12 * 16], vec![bf16::ZERO; 12 * 8]];
    // Sequence 1's fourth token lies in page 1, sequence 0's seventh in page 0.
    for (row, token) in [(0, 7), (1, 2)] {
        expected_keys[token * 16..(token + 1) * 16].copy_from_slice(&rows[row * 40 + 8..][..16]);
        expected_values[token * 8..(token + 1) * 8].copy_from_slice(&rows[row * 40 + 24..][..8]);
    }
    assert_eq!(keys.download().unwrap(), expected_keys);
    assert_eq!(values.download().unwrap(), expected_values);

    let pairs = device.upload(&[1, 2, 0, 1], "pairs").unwrap();
    let before = values.download().unwrap();
    copy_pages(&device, values.view(), 4 * 8, pairs.slice(..2)).unwrap();
    copy_pages(&device, values.view(), 4 * 8, pairs.slice(2..)).unwrap();
    let after = values.download().unwrap();
    assert_eq!(after, [&before[..32], &before[..32], &before[32..64]].concat());
}

/// Heads of new tokens: how many of queries and of keys, their width, pairs that turn.
struct NewHeads {
    heads: usize,
    key_heads: usize,
    width: usize,
    pairs: usize,
    interleaved: bool,
    biased: bool,
    normed: bool,
}

/// One launch against one for each step: the same numbers, rounded at the same places.
fn check_new_heads(case: &NewHeads) {
    const ROWS: usize = 5;
    const POSITIONS: usize = 40;
    let &NewHeads { heads, key_heads, width, pairs, interleaved, biased, normed } = case;
    let device = Device::for_tests();
    let mut numbers = Numbers(3);
    let (all, queries, shared) = ((heads + 2 * key_heads) * width, heads * width, key_heads * width);
    let x = numbers.bf16(ROWS * all);
    let mut floats = |len: usize| numbers.bf16(len).iter().map(|value| value.to_f32() * 1.001).collect::<Vec<f32>>();
    let bias = device.upload(&floats(all), "bias").unwrap();
    let weights = [(); 2].map(|()| device.upload(&floats(width), "norm").unwrap());
    let table = device.upload(&floats(POSITIONS * 2 * pairs), "angles").unwrap();
    let rope = Rope { table: table.view(), pairs, interleaved };
    let norms = weights.each_ref().map(|weight| RmsNorm { weight: weight.view(), eps: 1e-3 });
    // Two pages of four tokens a row, one row's token in its first, one that is not to be cached.
    let pages = device.upload(&[3, 0, 5, 1, 2, 4, 9, 8, 6, 7], "pages").unwrap();
    let places = device.upload(&[7, 4, 2, -1, 5], "places").unwrap();
    let positions = device.upload(&[7_u32, 4, 2, 39, 5], "positions").unwrap();
    let sequences = device.upload(&[0, 1, 2, 3, 4], "sequences").unwrap();
    let table = PageTable { pages: pages.view(), row: 2, tokens: 4 };
    let upload = |values: &[bf16]| device.upload(values, "rows").unwrap();
    let caches = || [(); 2].map(|()| device.zeros::<bf16>(10 * 4 * shared, "cache").unwrap());

    let part = |from: usize, len: usize| -> Buffer<bf16> {
        upload(&x.chunks_exact(all).flat_map(|row| &row[from..from + len]).copied().collect::<Vec<_>>())
    };
    let [query, key, value] = [(0, queries), (queries, shared), (queries + shared, shared)].map(|(from, len)| {
        let rows = part(from, len);
        if biased {
            add_bias(&device, (rows.view(), ROWS, len), bias.slice(from..from + len)).unwrap();
        }
        rows
    });
    let [query, key] = [(query, heads, norms[0]), (key, key_heads, norms[1])].map(|(rows, count, norm)| {
        let turned = device.alloc::<bf16>(rows.len(), "rows").unwrap();
        match normed {
            true => norm.forward(&device, turned.view(), rows.view(), width).unwrap(),
            false => turned.copy_from(&rows.view()).unwrap(),
        }
        let of_rows = ops::Heads { stride: count * width, count, width, offset: 0 };
        rope.turn(&device, turned.view(), positions.view(), of_rows, Direction::Forward).unwrap();
        turned
    });
    let [keys, values] = caches();
    let whole = |data| Heads::packed(data, 1, shared);
    let parts = [(&keys, &key), (&values, &value)]
        .map(|(cache, rows)| Appended { cache: whole(cache.view()), rows: whole(rows.view()) });
    append(&device, parts, table, sequences.view(), places.view()).unwrap();

    let fused = DecodeHeads {
        heads,
        key_heads,
        width,
        bias: biased.then(|| bias.view()),
        norms: normed.then_some(norms),
        rope,
    };
    let [fused_keys, fused_values] = caches();
    let fused_query = device.alloc::<bf16>(query.len(), "queries").unwrap();
    let cache = HeadCache { keys: fused_keys.view(), values: fused_values.view(), table, places: places.view() };
    fused.run(&device, fused_query.view(), upload(&x).view(), positions.view(), cache).unwrap();
    for (what, fused, plain) in
        [("queries", &fused_query, &query), ("keys", &fused_keys, &keys), ("values", &fused_values, &values)]
    {
        let (fused, plain) = (fused.download().unwrap(), plain.download().unwrap());
        // A card's compiler may fuse other multiplications and additions in one kernel than in another.
        if device.is_emulated() || what == "values" {
            assert!(fused == plain, "{what}");
        } else {
            assert_close(what, &fused, &plain.iter().map(|value| value.to_f64()).collect::<Vec<_>>(), 4e-3);
        }
    }
}

#[test]
fn heads_of_new_tokens_in_one_launch() {
    let qwen2 =
        NewHeads { heads: 6, key_heads: 2, width: 64, pairs: 32, interleaved: false, biased: true, normed: false };
    check_new_heads(&qwen2);
    check_new_heads(&NewHeads { width: 24, pairs: 12, key_heads: 3, biased: false, normed: true, ..qwen2 });
    check_new_heads(&NewHeads { heads: 1, key_heads: 1, width: 264, pairs: 132, normed: true, ..qwen2 });
    // Neighbours turn, and not all of them.
    check_new_heads(&NewHeads { width: 16, pairs: 5, interleaved: true, ..qwen2 });
    check_new_heads(&NewHeads { width: 32, pairs: 12, biased: false, ..qwen2 });
}

#[test]
fn products_in_the_latent_space() {
    let device = Device::for_tests();
    let sizes = LatentSizes { heads: 3, nope: 16, rope: 8, value: 24, latent: 40 };
    let LatentSizes { heads, nope, rope, value, latent } = sizes;
    let rows = 5;
    let mut numbers = Numbers(4);
    let query = numbers.bf16(rows * heads * (nope + rope));
    let weight = numbers.bf16(heads * (nope + value) * latent);
    let summed = numbers.bf16(rows * heads * latent);
    let (mut absorbed, mut expanded) = (Vec::new(), Vec::new());
    for (at, query) in query.chunks_exact(nope + rope).enumerate() {
        let weight = &weight[at % heads * (nope + value) * latent..];
        let column = |i: usize| (0..nope).map(|j| query[j].to_f64() * weight[j * latent + i].to_f64()).sum::<f64>();
        absorbed.extend((0..latent).map(column));
        absorbed.extend(query[nope..].iter().map(|q| q.to_f64()));
        let summed = &summed[at * latent..];
        let row =
            |j: usize| (0..latent).map(|i| summed[i].to_f64() * weight[(nope + j) * latent + i].to_f64()).sum::<f64>();
        expanded.extend((0..value).map(row));
    }
    let upload = |values: &[bf16]| device.upload(values, "test").unwrap();
    let (query, weight, summed) = (upload(&query), upload(&weight), upload(&summed));
    let out = device.alloc(absorbed.len(), "out").unwrap();
    absorb_queries(&device, sizes, out.view(), query.view(), weight.view(), rows).unwrap();
    assert_close("absorbed", &out.download().unwrap(), &absorbed, 4e-3);
    let out = device.alloc(expanded.len(), "out").unwrap();
    expand_values(&device, sizes, out.view(), summed.view(), weight.view(), rows).unwrap();
    assert_close("expanded", &out.download().unwrap(), &expanded, 4e-3);
}

#[test]
fn wrong_sizes_are_refused() {
    let case = Case::new(grouped(4, 2, 32, 32), &[3]);
    let device = &case.device;
    let numbers = device.zeros(64 * 64, "x").unwrap();
    let (lengths, pages) = (device.upload(&[3], "lengths").unwrap(), device.upload(&case.table, "pages").unwrap());
    let of = |heads, width, splits| DecodeAttention {
        heads,
        key_heads: 2,
        query_width: width,
        value_width: width,
        scale: 1.0,
        splits,
    };
    let workspace = DecodeWorkspace::new(device, &[(of(4, 32, 1), 1), (of(2, 8, 1), 1)]).unwrap();
    let run = |heads, width, splits| {
        let attention = of(heads, width, splits);
        let both = Heads::packed(numbers.view(), 2, width);
        let table = PageTable { pages: pages.view(), row: ROW, tokens: PAGE };
        let cached = CachedHeads { keys: both, values: Some(both), table, lengths: lengths.view() };
        let run = attention.run(device, numbers.view(), numbers.view(), cached, &workspace);
        run.map_err(|error| error.to_string())
    };
    run(4, 32, 1).unwrap();
    assert!(run(3, 32, 1).unwrap_err().contains("3 heads over 2 heads of keys"));
    assert!(run(4, 32, 2).unwrap_err().contains("a workspace of 132"));
    assert!(run(4, 12, 1).unwrap_err().contains("only multiples of 8"));
    assert!(run(4, 64, 1).unwrap_err().contains("need"));
}
