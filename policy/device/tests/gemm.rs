//! Products of matrices against plain loops in f64: all four ways to lie in memory, gaps, batches, adding.

use device::{Batch, Device, Gemm, Numbers, bf16};

/// Whole numbers from -4 to 4: exact in bf16, and so are sums of few products.
fn numbers(len: usize, factor: usize) -> Vec<bf16> {
    (0..len).map(|at| bf16::from_f32((at * factor % 9) as f32 - 4.0)).collect()
}

struct Case {
    shape: [usize; 3],
    transpose: [bool; 2],
    /// Numbers between a row's end and the next one's start, for a, b, c.
    gaps: [usize; 3],
    count: usize,
    alpha: f32,
    beta: f32,
    bf16: bool,
}

fn check(device: &Device, case: &Case) {
    let Case { shape: [m, n, k], transpose: [transpose_a, transpose_b], gaps, count, alpha, beta, .. } = *case;
    let (rows_a, columns_a) = if transpose_a { (k, m) } else { (m, k) };
    let (rows_b, columns_b) = if transpose_b { (n, k) } else { (k, n) };
    let [lda, ldb, ldc] = [columns_a + gaps[0], columns_b + gaps[1], n + gaps[2]];
    // A stride that is more than the matrix; b is the same for all.
    let batch = Batch { count, stride_a: rows_a * lda + 3, stride_b: 0, stride_c: m * ldc + 5 };
    let a = numbers(batch.stride_a * count, 7);
    let b = numbers(rows_b * ldb, 5);
    let c = numbers(batch.stride_c * count, 11);
    let mut expected: Vec<f64> = c.iter().map(|c| c.to_f64()).collect();
    for index in 0..count {
        for row in 0..m {
            for column in 0..n {
                let sum: f64 = (0..k)
                    .map(|inner| {
                        let at_a = if transpose_a { inner * lda + row } else { row * lda + inner };
                        let at_b = if transpose_b { column * ldb + inner } else { inner * ldb + column };
                        a[index * batch.stride_a + at_a].to_f64() * b[at_b].to_f64()
                    })
                    .sum();
                let at = index * batch.stride_c + row * ldc + column;
                expected[at] = f64::from(alpha) * sum + f64::from(beta) * expected[at];
            }
        }
    }
    let [on_a, on_b, on_c] = [&a, &b, &c].map(|values| device.upload(values, "matrix").expect("memory"));
    let c_f32: Vec<f32> = c.iter().map(|c| c.to_f32()).collect();
    let on_c_f32 = device.upload(&c_f32, "matrix").expect("memory");
    let output = if case.bf16 { Numbers::Bf16(on_c.view()) } else { Numbers::F32(on_c_f32.view()) };
    let gemm = Gemm {
        lda,
        ldb,
        ldc,
        transpose_a,
        transpose_b,
        alpha,
        beta,
        batch: Some(batch),
        ..Gemm::new([m, n, k], on_a.view(), on_b.view(), output)
    };
    device.gemm(&gemm).expect("matrices in their slices");
    let got: Vec<f64> = if case.bf16 {
        on_c.download().expect("numbers").iter().map(|c| c.to_f64()).collect()
    } else {
        on_c_f32.download().expect("numbers").iter().map(|&c| f64::from(c)).collect()
    };
    // What lies in the gaps is compared too. Sums are exact in f32; bf16 rounds once.
    let expected: Vec<f64> =
        expected.into_iter().map(|value| if case.bf16 { bf16::from_f64(value).to_f64() } else { value }).collect();
    assert_eq!(got, expected, "{:?} transposed {:?}", case.shape, case.transpose);
}

#[test]
fn products_are_those_of_plain_loops() {
    let device = Device::for_tests();
    for transpose in [[false, false], [false, true], [true, false], [true, true]] {
        for bf16 in [false, true] {
            let plain = Case { shape: [5, 7, 9], transpose, gaps: [0; 3], count: 1, alpha: 1.0, beta: 0.0, bf16 };
            check(&device, &plain);
            check(&device, &Case { shape: [33, 24, 40], gaps: [8, 16, 4], alpha: 0.5, beta: 1.0, ..plain });
            check(&device, &Case { shape: [3, 8, 16], count: 3, beta: -2.0, ..plain });
            check(&device, &Case { shape: [1, 1, 1], ..plain });
            check(&device, &Case { shape: [2, 3, 0], beta: 1.0, ..plain });
            check(&device, &Case { shape: [2, 3, 0], gaps: [0, 0, 3], count: 2, ..plain });
        }
    }
}

#[test]
fn what_is_in_the_output_is_not_read_without_beta() {
    let device = Device::for_tests();
    let (a, b) = (device.upload(&numbers(6, 1), "a").unwrap(), device.upload(&numbers(6, 1), "b").unwrap());
    let c = device.upload(&[f32::NAN; 4], "c").unwrap();
    let gemm = Gemm::new([2, 2, 3], a.view(), b.view(), c.view());
    device.gemm(&gemm.transposed_b()).unwrap();
    // Rows [-4, -3, -2] and [-1, 0, 1].
    assert_eq!(c.download().unwrap(), [29.0, 2.0, 2.0, 2.0]);
    device.gemm(&gemm.transposed_b().added()).unwrap();
    assert_eq!(c.download().unwrap(), [58.0, 4.0, 4.0, 4.0]);
}

#[test]
fn a_matrix_outside_of_its_slice_is_refused() {
    let device = Device::for_tests();
    let a = device.upload(&numbers(12, 1), "a").unwrap();
    let c = device.zeros::<f32>(9, "c").unwrap();
    let gemm = Gemm::new([3, 3, 4], a.view(), a.view(), c.view());
    device.gemm(&gemm).unwrap();
    let check = |gemm: Gemm<'_>, expected: &str| {
        assert_eq!(device.gemm(&gemm).unwrap_err().to_string(), format!("gemm: {expected}"));
    };
    check(
        Gemm { a: a.slice(1..), ..gemm },
        "matrix a: 1 times [3, 4], rows 4 apart, need 12 numbers, and there are 11",
    );
    check(Gemm { ldc: 4, ..gemm }, "matrix c: 1 times [3, 3], rows 4 apart, need 11 numbers, and there are 9");
    check(Gemm { ldb: 2, ..gemm }, "matrix b: rows of 3 numbers, but 2 from one row to the next");
    let batch = Batch { count: 2, stride_a: 0, stride_b: 0, stride_c: 0 };
    check(Gemm { batch: Some(batch), ..gemm }, "stride 0 of c: the results overlap");
    // One whose bytes or numbers, added up, would wrap to few.
    let batch = Batch { count: 3, stride_a: 1 << 63, stride_b: 0, stride_c: 9 };
    check(
        Gemm { batch: Some(batch), ..gemm },
        &format!("matrix a: 3 times [3, 4], rows 4 apart, need {} numbers, and there are 12", usize::MAX),
    );
    check(Gemm { k: 0, beta: 2.0, ..gemm }, "no numbers to add up, and a beta of 2");
}

#[test]
fn a_result_in_the_memory_of_a_factor_is_refused() {
    let device = Device::for_tests();
    let numbers = device.upload(&numbers(12, 1), "numbers").unwrap();
    let part = |from: usize| numbers.slice(from..from + 4);
    let gemm = |a, b, c| device.gemm(&Gemm::new([2; 3], part(a), part(b), part(c)));
    gemm(0, 0, 4).unwrap();
    gemm(8, 0, 4).unwrap();
    for (a, b, c, expected) in [(0, 4, 3, "a"), (0, 8, 5, "b"), (4, 0, 4, "a"), (5, 0, 2, "a")] {
        let error = gemm(a, b, c).unwrap_err().to_string();
        assert_eq!(error, format!("gemm: matrix c lies in the memory of matrix {expected}"), "{a}, {b}, {c}");
    }
    // An empty factor lies nowhere.
    device.gemm(&Gemm::new([2, 2, 0], part(4).slice(1..1), part(0), part(4))).unwrap();
}
