//! What `common.cuh` gives to kernels, against plain loops: conversions, a warp's operations, matrix instructions, copies.

use device::{Argument, Buffer, Device, Element, Grid, Source, bf16};

const WARP: Source = Source { name: "warp.cu", text: include_str!("kernels/warp.cu") };

fn run(device: &Device, name: &str, grid: Grid, arguments: &[Argument<'_>]) {
    let kernel = device.kernel_of(WARP, &[], name).expect("it compiles");
    // SAFETY: the tests pass as many numbers as the file's kernels read and write.
    unsafe { device.launch(&kernel, grid, arguments) }.expect("it runs");
}

/// Runs a kernel of the file with these arguments.
macro_rules! launch {
    ($device:expr, $name:literal, $grid:expr, $($argument:expr),*) => {
        run(&$device, $name, $grid, &[$(($argument).into()),*]);
    };
}

fn outputs<T: Element>(device: &Device, len: usize) -> Buffer<T> {
    device.alloc(len, "outputs").expect("memory")
}

/// Small whole numbers, whose products and sums are exact.
fn small(len: usize, factor: usize) -> Vec<bf16> {
    (0..len).map(|at| bf16::from_f32((at * factor % 13) as f32 - 6.0)).collect()
}

/// `a [m, k] b [k, n]`
fn product(a: &[bf16], b: impl Fn(usize, usize) -> bf16, [m, n, k]: [usize; 3]) -> Vec<f32> {
    let mut out = vec![0.0; m * n];
    for row in 0..m {
        for column in 0..n {
            out[row * n + column] =
                (0..k).map(|inner| a[row * k + inner].to_f32() * b(inner, column).to_f32()).sum::<f32>();
        }
    }
    out
}

#[test]
fn fragments_of_mma_are_those_of_the_manual() {
    let device = Device::for_tests();
    let (a, b) = (small(256, 5), small(128, 7));
    let c: Vec<f32> = (0..128_u8).map(|at| f32::from(at) * 100.0).collect();
    let [on_a, on_b] = [&a, &b].map(|values| device.upload(values, "matrix").unwrap());
    let (on_c, d) = (device.upload(&c, "c").unwrap(), outputs::<f32>(&device, 128));
    launch!(device, "multiply_by_formula", Grid::blocks(1, 32), &d, &on_a, &on_b, &on_c);
    let mut expected = product(&a, |inner, column| b[inner * 8 + column], [16, 8, 16]);
    expected.iter_mut().zip(&c).for_each(|(sum, c)| *sum += c);
    assert_eq!(d.download().unwrap(), expected);
}

#[test]
fn matrices_are_loaded_as_in_the_manual() {
    let device = Device::for_tests();
    // The number at (matrix, row, column) is 64 matrix + 8 row + column.
    let table: Vec<u16> = (0..256).collect();
    let on_table = device.upload(&table, "table").unwrap();
    for (name, matrices) in [("load_x4", 4_u16), ("load_x2", 2)] {
        for transposed in [false, true] {
            let out = outputs::<u16>(&device, 64 * usize::from(matrices));
            let grid = Grid::blocks(1, 32).with_shared(256);
            run(&device, name, grid, &[(&out).into(), (&on_table).into(), i32::from(transposed).into()]);
            let mut expected = Vec::new();
            for lane in 0..32 {
                for matrix in 0..matrices {
                    for half in 0..2 {
                        let (along, across) = (lane / 4, lane % 4 * 2 + half);
                        let (row, column) = if transposed { (across, along) } else { (along, across) };
                        expected.push(64 * matrix + 8 * row + column);
                    }
                }
            }
            assert_eq!(out.download().unwrap(), expected, "{name}, transposed: {transposed}");
        }
    }
}

#[test]
fn tiles_are_multiplied() {
    let device = Device::for_tests();
    let (a, b) = (small(256, 5), small(128, 7));
    let [on_a, on_b] = [&a, &b].map(|values| device.upload(values, "matrix").unwrap());
    for transposed in [false, true] {
        let d = outputs::<f32>(&device, 128);
        launch!(device, "multiply_tiles", Grid::blocks(1, 32), &d, &on_a, &on_b, i32::from(transposed));
        let at = |inner: usize, column: usize| b[if transposed { column * 16 + inner } else { inner * 8 + column }];
        assert_eq!(d.download().unwrap(), product(&a, at, [16, 8, 16]), "transposed: {transposed}");
    }
}

#[test]
fn lanes_exchange_numbers() {
    let device = Device::for_tests();
    let values: Vec<i32> = (0..64).map(|at| at * 37 % 101 - 20).collect();
    let (input, out) = (device.upload(&values, "values").unwrap(), outputs::<i32>(&device, 64 * 9));
    launch!(device, "shuffles", Grid::blocks(1, 64), &out, &input);
    let out = out.download().unwrap();
    for (at, &value) in values.iter().enumerate() {
        let (first, lane) = (at / 32 * 32, at % 32);
        let warp = &values[first..first + 32];
        let threes = (0..32).filter(|&lane| warp[lane] % 3 == 0).fold(0_u32, |bits, lane| bits | 1 << lane);
        let expected = [
            warp[lane ^ 5],
            warp[(lane + 3) % 32],
            if lane < 2 { value } else { warp[lane - 2] },
            if lane >= 30 { value } else { warp[lane + 2] },
            threes.cast_signed(),
            warp.iter().sum(),
            *warp.iter().max().unwrap(),
            values.iter().sum(),
            *values.iter().max().unwrap(),
        ];
        let got: Vec<i32> = (0..9).map(|row| out[row * 64 + at]).collect();
        assert_eq!(got, expected, "thread {at}");
    }
}

#[test]
fn copies_arrive_where_they_are_waited_for() {
    let device = Device::for_tests();
    let values: Vec<u32> = (1..=256).collect();
    let (input, out) = (device.upload(&values, "values").unwrap(), outputs::<u32>(&device, 256));
    launch!(device, "copies", Grid::blocks(1, 32), &out, &input);
    let expected: Vec<u32> =
        values.iter().map(|&value| if value > 128 && (value - 129) / 4 % 2 == 1 { 0 } else { value }).collect();
    assert_eq!(out.download().unwrap(), expected);
}

#[test]
fn floats_are_rounded_to_the_nearest_even() {
    let device = Device::for_tests();
    let mut values = vec![0.0, -0.0, 1.0, f32::INFINITY, f32::MAX, f32::MIN_POSITIVE, 1e-40, f32::NAN];
    // Ties and their neighbours, at even and odd last bits.
    for bits in [0x3F80_8000_u32, 0x3F81_8000, 0x3F80_7FFF, 0x3F80_8001, 0xBF81_8000, 0x7F7F_8000, 0x0000_8000] {
        values.push(f32::from_bits(bits));
    }
    let input = device.upload(&values, "values").unwrap();
    let (out, pairs) = (outputs::<bf16>(&device, values.len()), outputs::<u32>(&device, values.len()));
    let n = values.len() as i32;
    launch!(device, "round_floats", Grid::covering(values.len(), 32), &out, &pairs, &input, n);
    let (out, pairs) = (out.download().unwrap(), pairs.download().unwrap());
    for ((&value, out), pair) in values.iter().zip(out).zip(pairs) {
        if value.is_nan() {
            assert!(out.is_nan(), "{out}");
            continue;
        }
        let (expected, negative) = (bf16::from_f32(value), bf16::from_f32(-value));
        assert_eq!(out.to_bits(), expected.to_bits(), "{value}");
        assert_eq!(pair, u32::from(expected.to_bits()) | u32::from(negative.to_bits()) << 16, "{value}");
    }
}

#[test]
fn eight_numbers_are_read_and_written_in_order() {
    let device = Device::for_tests();
    let values: Vec<bf16> = (0..200_u8).map(|at| bf16::from_f32(f32::from(at))).collect();
    let (input, rounded, exact) =
        (device.upload(&values, "values").unwrap(), outputs::<bf16>(&device, 200), outputs::<f32>(&device, 200));
    launch!(device, "halve_8", Grid::covering(25, 32), &rounded, &exact, &input, 200_i32);
    let halves: Vec<f32> = values.iter().map(|value| value.to_f32() / 2.0).collect();
    assert_eq!(exact.download().unwrap(), halves);
    let halves: Vec<bf16> = halves.iter().map(|&half| bf16::from_f32(half)).collect();
    assert_eq!(rounded.download().unwrap(), halves);
}
