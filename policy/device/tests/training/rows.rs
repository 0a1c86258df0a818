use device::ops::{
    Numbers, Sources, add, add_bias, fill, gather, gather_backward, narrow, scale, sum_rows, sum_rows_partial_len,
    widen,
};
use device::{Device, Slice, bf16};

use super::support::{Real, UNTOUCHED, close, exact, narrowed, numbers, on, rounded, widened};

const TABLE: usize = 11;

/// Rows of a table, some often, some never.
fn ids(count: usize) -> Vec<u32> {
    (0..count).map(|row| (if row % 3 == 0 { 4 } else { row * row % 9 }) as u32).collect()
}

fn check_gather<To: Real, From_: Real>()
where
    for<'a> Numbers<'a>: From<Slice<'a, To>> + From<Slice<'a, From_>>,
{
    let device = Device::for_tests();
    for (count, width) in [(1, 8), (13, 24), (300, 40), (3, 2056)] {
        let (table, ids) = (From_::of(&numbers(TABLE * width, 1)), ids(count));
        let out = on(&device, &To::of(&vec![f32::NAN; count * width]));
        gather(&device, out.view(), on(&device, &table).view(), on(&device, &ids).view(), width).unwrap();
        let table = From_::to(&table);
        let expected: Vec<f32> =
            ids.iter().flat_map(|id| &table[*id as usize * width..(*id as usize + 1) * width]).copied().collect();
        assert_eq!(To::to(&out.download().unwrap()), To::to(&To::of(&expected)), "{count} x {width}");
    }
}

#[test]
fn rows_are_gathered_in_each_precision() {
    check_gather::<f32, f32>();
    check_gather::<f32, bf16>();
    check_gather::<bf16, f32>();
    check_gather::<bf16, bf16>();
}

fn check_gather_backward<G: Real>()
where
    for<'a> Numbers<'a>: From<Slice<'a, G>>,
{
    let device = Device::for_tests();
    for (count, width) in [(1, 8), (13, 24), (300, 40), (3, 1048)] {
        let (ids, d_y) = (ids(count), G::of(&numbers(count * width, 2)));
        let before = numbers(TABLE * width, 3);
        let mut expected = exact(&before);
        for (id, d_y) in ids.iter().zip(G::to(&d_y).chunks_exact(width)) {
            for (d, g) in expected[*id as usize * width..].iter_mut().zip(d_y) {
                *d += f64::from(*g);
            }
        }
        let d_table = on(&device, &before);
        let sources = Sources::new(&device, &ids, TABLE).unwrap();
        gather_backward(&device, d_table.view(), on(&device, &d_y).view(), &sources, width).unwrap();
        let found = d_table.download().unwrap();
        close(&format!("{count} x {width}"), &found, &expected, 1e-5);
        let untouched = |id: usize| id == 10 || !ids.contains(&(id as u32));
        for id in (0..TABLE).filter(|id| untouched(*id)) {
            assert_eq!(found[id * width..(id + 1) * width], before[id * width..(id + 1) * width], "row {id}");
        }
    }
}

#[test]
fn gradients_go_back_to_the_rows_they_came_from() {
    check_gather_backward::<f32>();
    check_gather_backward::<bf16>();
    let error = Sources::new(&Device::for_tests(), &[3, 11], TABLE).unwrap_err();
    assert_eq!(error.to_string(), "sort rows: row 1 is of row 11, of a table of 11");
}

fn check_bias<T: Real>()
where
    for<'a> Numbers<'a>: From<Slice<'a, T>>,
{
    let device = Device::for_tests();
    for (n, width, stride) in [(1, 8, 8), (5, 24, 40), (300, 40, 40), (2, 2056, 2064)] {
        let what = format!("{n} x {width} of {stride}");
        let (before, bias) = (T::of(&numbers(n * stride, 4)), numbers(width, 5));
        let rows = on(&device, &before);
        add_bias(&device, (rows.view(), n, stride), on(&device, &bias).view()).unwrap();
        let wide = T::to(&before);
        let sums = (0..n * stride).map(|i| if i % stride < width { wide[i] + bias[i % stride] } else { wide[i] });
        assert_eq!(T::to(&rows.download().unwrap()), T::to(&T::of(&sums.collect::<Vec<_>>())), "{what}");

        // The gradient: the sums of the same rows.
        let sum = on(&device, &bias);
        let partial = device.alloc(sum_rows_partial_len(n, width), "partial sums").unwrap();
        let rows = on(&device, &before);
        sum_rows(&device, sum.view(), (rows.view(), n, stride), partial.view()).unwrap();
        let expected: Vec<f64> = (0..width)
            .map(|i| f64::from(bias[i]) + (0..n).map(|row| f64::from(wide[row * stride + i])).sum::<f64>())
            .collect();
        close(&what, &sum.download().unwrap(), &expected, 1e-4);
    }
}

#[test]
fn a_bias_is_added_to_rows_and_its_gradient_is_their_sum() {
    check_bias::<f32>();
    check_bias::<bf16>();
}

#[test]
fn sums_over_rows_of_any_width() {
    let device = Device::for_tests();
    let (n, width, stride) = (129, 37, 41);
    let rows = numbers(n * stride, 6);
    let sum = on(&device, &vec![0.0; width]);
    let partial = on(&device, &vec![UNTOUCHED; sum_rows_partial_len(n, width)]);
    sum_rows(&device, sum.view(), (on(&device, &rows).view(), n, stride), partial.view()).unwrap();
    let expected: Vec<f64> =
        (0..width).map(|i| (0..n).map(|row| f64::from(rows[row * stride + i])).sum::<f64>()).collect();
    close("37 columns", &sum.download().unwrap(), &expected, 1e-4);
}

#[test]
fn number_by_number() {
    let device = Device::for_tests();
    // From places that are not aligned.
    for len in [0, 1, 259, 1000] {
        let (a, b) = (numbers(len + 1, 7), rounded(&numbers(len + 3, 8)));
        let narrow_b = on(&device, &narrowed(&b));
        let (a, b) = (on(&device, &a), on(&device, &b));
        let (old, b_values) = (a.slice(1..).download().unwrap(), b.slice(3..).download().unwrap());
        let sum: Vec<f32> = old.iter().zip(&b_values).map(|(a, b)| a + b).collect();

        add(&device, a.slice(1..), narrow_b.slice(3..)).unwrap();
        assert_eq!(a.slice(1..).download().unwrap(), sum);
        a.slice(1..).write(&old).unwrap();
        add(&device, a.slice(1..), b.slice(3..)).unwrap();
        assert_eq!(a.slice(1..).download().unwrap(), sum);

        scale(&device, a.slice(1..), 0.5).unwrap();
        let half: Vec<f32> = sum.iter().map(|sum| sum * 0.5).collect();
        assert_eq!(a.slice(1..).download().unwrap(), half);
        narrow(&device, narrow_b.slice(3..), a.slice(1..)).unwrap();
        assert_eq!(widened(&narrow_b.slice(3..).download().unwrap()), rounded(&half));
        widen(&device, a.slice(1..), narrow_b.slice(3..)).unwrap();
        assert_eq!(a.slice(1..).download().unwrap(), rounded(&half));
        fill(&device, a.slice(1..), -2.5).unwrap();
        assert_eq!(a.slice(1..).download().unwrap(), vec![-2.5; len]);
        assert_eq!(a.download().unwrap()[0], numbers(1, 7)[0], "what stands before is left alone");
    }
}
