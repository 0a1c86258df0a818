//! Drawing tokens, against a plain sequential implementation with the same random numbers; and the step to the next token.

use device::ops::{DRAWING, Draws, ENDED, FULL, Sampling, Sequences, advance, sample};
use device::{Device, Grid, Source};

use crate::support::numbers;

/// The first word of Philox 4x32-10.
fn philox(mut counter: [u32; 4], mut key: [u32; 2]) -> u32 {
    for _ in 0..10 {
        let (a, b) = (0xD251_1F53 * u64::from(counter[0]), 0xCD9E_8D57 * u64::from(counter[2]));
        counter = [(b >> 32) as u32 ^ counter[1] ^ key[0], b as u32, (a >> 32) as u32 ^ counter[3] ^ key[1], a as u32];
        key = [key[0].wrapping_add(0x9E37_79B9), key[1].wrapping_add(0xBB67_AE85)];
    }
    counter[0]
}

fn uniform(counter: [u32; 4], key: [u32; 2]) -> f32 {
    (philox(counter, key) >> 8) as f32 / 16_777_216.0
}

const UNIFORMS: Source = Source {
    name: "uniforms.cu",
    text: concat!(
        include_str!("../../src/kernels/sampler.cu"),
        "KERNEL(uniforms, float* out, const unsigned* key, const unsigned* task, const unsigned* number,
                const unsigned* position, int count) {
            int i = blockIdx.x * blockDim.x + threadIdx.x;
            if (i < count) out[i] = uniform(key, task[i], number[i], position[i]);
        }"
    ),
};

#[test]
fn random_numbers_are_philox_to_the_bit() {
    let device = Device::for_tests();
    let check = |key: [u32; 2], counters: &[[u32; 4]], step: u32| -> Vec<f32> {
        let word = |i: usize| counters.iter().map(|counter| counter[i]).collect::<Vec<u32>>();
        let upload = |values: &[u32]| device.upload(values, "counters").unwrap();
        let (position, number, task) = (upload(&word(0)), upload(&word(1)), upload(&word(2)));
        let key_on = upload(&[key[0], key[1], step]);
        let out = device.zeros::<f32>(counters.len(), "numbers").unwrap();
        let kernel = device.kernel_of(UNIFORMS, &[], "uniforms").unwrap();
        let count = (counters.len() as i32).into();
        let arguments = [(&out).into(), (&key_on).into(), (&task).into(), (&number).into(), (&position).into(), count];
        // SAFETY: the kernel keeps to the first `count` numbers of each.
        unsafe { device.launch(&kernel, Grid::covering(counters.len(), 64), &arguments) }.unwrap();
        out.download().unwrap()
    };
    // From the file `kat_vectors` of the authors' library, Random123: philox4x32, 10 rounds.
    for (counter, key, expected) in [
        ([0; 4], [0; 2], 0x6627_e8d5_u32),
        ([u32::MAX; 4], [u32::MAX; 2], 0x408f_276d),
        ([0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344], [0xa409_3822, 0x299f_31d0], 0xd16c_fe09),
    ] {
        assert_eq!(check(key, &[counter], counter[3]), [(expected >> 8) as f32 / 16_777_216.0]);
    }
    let counters: Vec<[u32; 4]> = (0..100).map(|i| [i, i * 7 % 13, i / 5, 3]).collect();
    let expected: Vec<f32> = counters.iter().map(|counter| uniform(*counter, [11, 12])).collect();
    assert_eq!(check([11, 12], &counters, 3), expected);
}

const KEY: [u32; 2] = [77, 1];
const STEP: u32 = 6;

/// Samples a row for each position; returns tokens and log-probabilities.
fn run(device: &Device, logits: &[f32], positions: &[u32], sampling: Sampling) -> (Vec<u32>, Vec<f32>) {
    let rows = positions.len();
    let upload = |values: &[u32]| device.upload(values, "draws").unwrap();
    let (key, length) = (upload(&[KEY[0], KEY[1], STEP]), upload(positions));
    let (task, number) = (upload(&vec![4; rows]), upload(&vec![5; rows]));
    let state = device.zeros::<u8>(rows, "state").unwrap();
    let draws =
        Draws { key: key.view(), task: task.view(), sample: number.view(), length: length.view(), state: state.view() };
    let logits = device.upload(logits, "logits").unwrap();
    let tokens = device.alloc::<u32>(rows, "tokens").unwrap();
    let logprobs = device.alloc::<f32>(rows, "logprobs").unwrap();
    sample(device, (tokens.view(), logprobs.view()), logits.view(), draws, sampling).unwrap();
    (tokens.download().unwrap(), logprobs.download().unwrap())
}

fn draw_at(position: u32) -> f32 {
    uniform([position, 5, 4, STEP], KEY)
}

/// One row, in f64 but for the logits and their order. `None` if rounding may decide.
fn plain(logits: &[f32], sampling: Sampling, draw: f32) -> Option<usize> {
    const CLOSE: f64 = 1e-6;
    let scale = if sampling.temperature == 0.0 { 1.0 } else { (1.0 / sampling.temperature) as f32 };
    let z: Vec<f32> = logits.iter().map(|z| z * scale).collect();
    let mut order: Vec<usize> = (0..z.len()).collect();
    order.sort_by(|a, b| z[*b].total_cmp(&z[*a]).then(a.cmp(b)));
    if sampling.temperature == 0.0 {
        return Some(order[0]);
    }
    let largest = f64::from(z[order[0]]);
    let p: Vec<f64> = z.iter().map(|z| (f64::from(*z) - largest).exp()).collect();
    if sampling.top_k > 0 {
        order.truncate(sampling.top_k);
    }
    if sampling.top_p < 1.0 {
        let target = sampling.top_p * order.iter().map(|i| p[*i]).sum::<f64>();
        let mut kept = 0.0;
        for count in 1..=order.len() {
            kept += p[order[count - 1]];
            if (kept - target).abs() < CLOSE * target {
                return None;
            }
            if kept > target {
                order.truncate(count);
                break;
            }
        }
    }
    order.sort_unstable();
    let total: f64 = order.iter().map(|i| p[*i]).sum();
    let mut running = 0.0;
    for token in order {
        running += p[token] / total;
        if (running - f64::from(draw)).abs() < CLOSE {
            return None;
        }
        if running > f64::from(draw) {
            return Some(token);
        }
    }
    None
}

/// Compares rows with different draws; returns how many were left to rounding.
fn check(device: &Device, logits: &[f32], positions: &[u32], sampling: Sampling) -> usize {
    let vocabulary = logits.len() / positions.len();
    let (tokens, logprobs) = run(device, logits, positions, sampling);
    let mut open = 0;
    for (row, (token, logprob)) in tokens.iter().zip(&logprobs).enumerate() {
        let own = &logits[row * vocabulary..][..vocabulary];
        match plain(own, sampling, draw_at(positions[row])) {
            Some(expected) => {
                assert_eq!(*token as usize, expected, "row {row} of {vocabulary} tokens, {sampling:?}");
            }
            None => open += 1,
        }
        let temperature = if sampling.temperature == 0.0 { 1.0 } else { sampling.temperature };
        let z: Vec<f64> = own.iter().map(|z| f64::from(*z) / temperature).collect();
        let largest = z.iter().fold(f64::NEG_INFINITY, |a, b| a.max(*b));
        let total = largest + z.iter().map(|z| (z - largest).exp()).sum::<f64>().ln();
        let expected = z[*token as usize] - total;
        assert!(
            (f64::from(*logprob) - expected).abs() < 3e-6 * (1.0 + largest.abs()),
            "{logprob}, expected {expected}"
        );
    }
    open
}

/// Positions whose draws are spread over the unit interval, the two most extreme of many first.
fn positions(count: usize) -> Vec<u32> {
    let by_draw = |a: &u32, b: &u32| draw_at(*a).total_cmp(&draw_at(*b));
    let (low, high) = ((0..200_000).min_by(by_draw).unwrap(), (0..200_000).max_by(by_draw).unwrap());
    assert!(draw_at(low) < 1e-5 && draw_at(high) > 1.0 - 1e-5);
    [low, high].into_iter().chain(300_000..300_000 + count as u32 - 2).collect()
}

fn sampling(temperature: f64, top_k: usize, top_p: f64) -> Sampling {
    Sampling { temperature, top_k, top_p }
}

const SAMPLINGS: [(f64, usize, f64); 9] = [
    (1.0, 0, 1.0),
    (0.0, 0, 1.0),
    (0.7, 0, 1.0),
    (1.0, 5, 1.0),
    (1.3, 0, 0.9),
    (1.0, 40, 0.8),
    (0.5, 1, 0.5),
    (1.0, 0, 1e-9),
    (1.0, 900, 0.999),
];

const ROWS: usize = 5;

#[test]
fn tokens_are_those_of_a_sequential_search() {
    let device = Device::for_tests();
    let positions = positions(ROWS);
    let mut open = 0;
    // Some are a multiple of four, some more than all threads read at a time.
    for vocabulary in [1, 3, 33, 1000, 5003, 5004] {
        // Spread out; on a grid, so that many are equal; and with tokens that cannot be drawn.
        let spread: Vec<f32> = numbers(1, ROWS * vocabulary).iter().map(|x| x * 8.0 - 3.0).collect();
        let coarse: Vec<f32> = spread.iter().map(|x| (x * 2.0).round() / 2.0).collect();
        let masked = |(i, x): (usize, &f32)| if i % 3 == 1 && vocabulary > 1 { f32::NEG_INFINITY } else { *x };
        let masked: Vec<f32> = spread.iter().enumerate().map(masked).collect();
        for logits in [spread, coarse, masked] {
            for (temperature, top_k, top_p) in SAMPLINGS {
                open += check(&device, &logits, &positions, sampling(temperature, top_k, top_p));
            }
        }
    }
    // Of 810; the extreme draws of a vocabulary of one or three lie next to a boundary.
    assert!(open < 35, "{open} draws were left to rounding");
}

#[test]
fn draws_follow_the_distribution() {
    let device = Device::for_tests();
    let positions: Vec<u32> = (0..200).collect();
    for ((temperature, top_k, top_p), expected) in [
        ((1.0, 0, 1.0), [0.1, 0.6, 0.3]),
        ((1.0, 0, 0.8), [0.0, 2.0 / 3.0, 1.0 / 3.0]),
        // Temperature 1/2 squares the odds: 1 to 36 to 9.
        ((0.5, 0, 1.0), [1.0 / 46.0, 36.0 / 46.0, 9.0 / 46.0]),
    ] {
        let row = [0.1f32.ln(), 0.6f32.ln(), 0.3f32.ln()];
        let logits: Vec<f32> = (0..positions.len()).flat_map(|_| row).collect();
        let (tokens, _) = run(&device, &logits, &positions, sampling(temperature, top_k, top_p));
        for (token, expected) in expected.iter().enumerate() {
            let share = tokens.iter().filter(|t| **t as usize == token).count() as f64 / positions.len() as f64;
            // Five standard deviations; what cannot be drawn never is.
            let deviation = (expected * (1.0 - expected) / positions.len() as f64).sqrt();
            assert!((share - expected).abs() <= 5.0 * deviation, "{share}, expected {expected}");
        }
    }
}

#[test]
fn large_logits_do_not_overflow_and_no_number_does_not_hang() {
    let device = Device::for_tests();
    let (tokens, logprobs) = run(&device, &[3e4, -3e4, 3e4, 2.9e4], &[9], sampling(1.0, 0, 1.0));
    assert!(tokens[0] == 0 || tokens[0] == 2);
    assert!((logprobs[0] + 2f32.ln()).abs() < 1e-2);
    for (temperature, top_k, top_p) in SAMPLINGS {
        let (tokens, logprobs) = run(&device, &[f32::NAN; 6], &[9, 10], sampling(temperature, top_k, top_p));
        assert_eq!(tokens, [0, 0]);
        assert!(logprobs.iter().all(|logprob| logprob.is_nan()));
    }
    // What is no number is the least, and of equals the first is taken, whether four are read at a time or not.
    for vocabulary in [8, 9] {
        let mut row = vec![f32::NEG_INFINITY; vocabulary];
        (row[0], row[3], row[5], row[6], row[7]) = (f32::NAN, -1.0, f32::NAN, -1.0, -2.0);
        assert_eq!(run(&device, &row, &[9], sampling(0.0, 0, 1.0)).0, [3]);
    }
    let (tokens, logprobs) =
        run(&device, &[f32::NEG_INFINITY, 0.5, f32::NEG_INFINITY, f32::NEG_INFINITY], &[9], sampling(1.0, 0, 1.0));
    assert_eq!((tokens[0], logprobs[0]), (1, 0.0));
}

#[test]
fn logits_that_are_not_aligned_are_refused_where_four_are_read_at_a_time() {
    let device = Device::for_tests();
    let (logits, words) = (device.zeros::<f32>(9, "logits").unwrap(), device.zeros::<u32>(3, "draws").unwrap());
    let state = device.zeros::<u8>(1, "state").unwrap();
    let (tokens, logprobs) = (device.zeros::<u32>(1, "tokens").unwrap(), device.zeros::<f32>(1, "logprobs").unwrap());
    let row = words.slice(..1);
    let draws = Draws { key: words.view(), task: row, sample: row, length: row, state: state.view() };
    let sample = |logits| sample(&device, (tokens.view(), logprobs.view()), logits, draws, sampling(1.0, 0, 1.0));
    assert!(sample(logits.slice(1..8)).is_ok());
    let error = sample(logits.slice(1..9)).unwrap_err().to_string();
    assert_eq!(error, "sample: the memory of the logits does not begin at a multiple of 16 bytes");
}

#[test]
fn sequences_go_on_until_they_end_or_are_full() {
    let device = Device::for_tests();
    let unused = 9;
    // Slots: goes on; ends; is full; ends with its last token; had ended; is not in use.
    let state = device.upload(&[DRAWING, DRAWING, DRAWING, DRAWING, ENDED, unused], "state").unwrap();
    let tokens = device.upload(&[0_u32; 24], "tokens").unwrap();
    let logprobs = device.upload(&[0_f32; 24], "logprobs").unwrap();
    let next = device.upload(&[100_u32, 101, 102, 103, 104, 105], "next").unwrap();
    let length = device.upload(&[0_u32, 1, 2, 3, 1, 0], "length").unwrap();
    let position = device.upload(&[10_u32, 11, 12, 13, 14, 15], "position").unwrap();
    let limit = device.upload(&[4_u32, 4, 3, 4, 4, 4], "limit").unwrap();
    let running = device.alloc::<u32>(1, "running").unwrap();
    let drawn = device.upload(&[20_u32, 2, 22, 1, 24, 25], "drawn").unwrap();
    let drawn_logprobs = device.upload(&[-0.1_f32, -0.2, -0.3, -0.4, -0.5, -0.6], "drawn").unwrap();
    let ends = device.upload(&[1_u32, 2], "ends").unwrap();
    let sequences = Sequences {
        tokens: tokens.view(),
        logprobs: logprobs.view(),
        next: next.view(),
        length: length.view(),
        position: position.view(),
        state: state.view(),
        limit: limit.view(),
        running: running.view(),
    };
    advance(&device, sequences, (drawn.view(), drawn_logprobs.view()), ends.view()).unwrap();
    assert_eq!(state.download().unwrap(), [DRAWING, ENDED, FULL, ENDED, ENDED, unused]);
    assert_eq!(running.download().unwrap(), [1]);
    assert_eq!(next.download().unwrap(), [20, 2, 22, 1, 104, 105]);
    assert_eq!(length.download().unwrap(), [1, 2, 3, 4, 1, 0]);
    assert_eq!(position.download().unwrap(), [11, 12, 13, 14, 14, 15]);
    let expected = [20, 0, 0, 0, 0, 2, 0, 0, 0, 0, 22, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(tokens.download().unwrap(), expected);
    let at = logprobs.download().unwrap();
    assert_eq!([at[0], at[5], at[10], at[15]], [-0.1, -0.2, -0.3, -0.4]);

    // No end tokens: the other one goes on until it is full.
    for expected in [1, 1, 0] {
        advance(&device, sequences, (drawn.view(), drawn_logprobs.view()), ends.slice(..0)).unwrap();
        assert_eq!(running.download().unwrap(), [expected]);
    }
    assert_eq!(state.download().unwrap(), [FULL, ENDED, FULL, ENDED, ENDED, unused]);
    assert_eq!(tokens.download().unwrap()[..5], [20, 20, 20, 20, 0]);
}

#[test]
fn rows_that_are_not_drawn_are_left_alone() {
    let device = Device::for_tests();
    let upload = |values: &[u32]| device.upload(values, "draws").unwrap();
    let (key, rows) = (upload(&[1, 2, 3]), upload(&[0, 0, 0]));
    let state = device.upload(&[DRAWING, ENDED, DRAWING], "state").unwrap();
    let draws =
        Draws { key: key.view(), task: rows.view(), sample: rows.view(), length: rows.view(), state: state.view() };
    let logits = device.upload(&[0.0_f32, 9.0, 9.0, 0.0, 0.0, 9.0], "logits").unwrap();
    let (tokens, logprobs) = (upload(&[7, 7, 7]), device.upload(&[5_f32; 3], "logprobs").unwrap());
    let out = (tokens.view(), logprobs.view());
    sample(&device, out, logits.view(), draws, sampling(0.0, 0, 1.0)).unwrap();
    assert_eq!(tokens.download().unwrap(), [1, 7, 1]);
    assert_eq!(logprobs.download().unwrap()[1], 5.0);
    let error = sample(&device, out, logits.view(), draws, sampling(1.0, 0, 1.5)).unwrap_err();
    assert_eq!(error.to_string(), "sample: top-p 1.5 is not in (0, 1]");
}
