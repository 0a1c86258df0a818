use device::ops::{Direction, Heads, Numbers, Rope};
use device::{Device, Slice, bf16};

use super::support::{Real, close, exact, numbers, on};

const POSITIONS: usize = 50;

fn table(pairs: usize, amplitude: f64) -> Vec<f32> {
    let angles = (0..POSITIONS).flat_map(|position| {
        (0..pairs).flat_map(move |pair| {
            let angle = position as f64 * 100f64.powf(-(pair as f64) / pairs as f64);
            [(angle.cos() * amplitude) as f32, (angle.sin() * amplitude) as f32]
        })
    });
    angles.collect()
}

fn turn(
    rows: &mut [f64],
    table: &[f32],
    positions: &[u32],
    heads: Heads,
    (pairs, interleaved, back): (usize, bool, bool),
) {
    for (row, position) in rows.chunks_mut(heads.stride).zip(positions) {
        for head in 0..heads.count {
            let part = &mut row[head * heads.width + heads.offset..];
            for pair in 0..pairs {
                let at = (*position as usize * pairs + pair) * 2;
                let (cos, sin) = (f64::from(table[at]), f64::from(table[at + 1]) * if back { -1.0 } else { 1.0 });
                let (i, j) = if interleaved { (2 * pair, 2 * pair + 1) } else { (pair, pair + pairs) };
                (part[i], part[j]) = (part[i] * cos - part[j] * sin, part[j] * cos + part[i] * sin);
            }
        }
    }
}

fn check<T: Real>(n: usize, heads: Heads, pairs: usize)
where
    for<'a> Numbers<'a>: From<Slice<'a, T>>,
{
    let device = Device::for_tests();
    let angles = table(pairs, 1.3);
    let positions: Vec<u32> = (0..n).map(|row| (row * 37 % POSITIONS) as u32).collect();
    for (interleaved, back) in [(false, false), (false, true), (true, false), (true, true)] {
        let before = T::of(&numbers(n * heads.stride, 1));
        let mut expected = exact(&T::to(&before));
        turn(&mut expected, &angles, &positions, heads, (pairs, interleaved, back));
        let (rows, table) = (on(&device, &before), on(&device, &angles));
        let rope = Rope { table: table.view(), pairs, interleaved };
        assert_eq!(rope.positions(), POSITIONS);
        let direction = if back { Direction::Back } else { Direction::Forward };
        rope.turn(&device, rows.view(), on(&device, &positions).view(), heads, direction).unwrap();
        let found = T::to(&rows.download().unwrap());
        close(
            &format!("{heads:?}, {pairs} pairs, interleaved {interleaved}, back {back}"),
            &found,
            &expected,
            T::ROUNDING * 8.0,
        );
        for (index, (found, before)) in found.iter().zip(T::to(&before)).enumerate() {
            let in_row = index % heads.stride;
            let in_head = in_row % heads.width;
            let turned =
                in_row < heads.count * heads.width && (heads.offset..heads.offset + 2 * pairs).contains(&in_head);
            assert!(turned || *found == before, "number {index} is not to be turned");
        }
    }
}

#[test]
fn heads_are_turned_by_their_position_and_back() {
    // Read eight numbers at a time, and one by one.
    check::<bf16>(5, Heads { stride: 80, count: 3, width: 24, offset: 8 }, 8);
    check::<bf16>(40, Heads { stride: 24, count: 1, width: 24, offset: 8 }, 4);
    check::<bf16>(7, Heads { stride: 320, count: 2, width: 160, offset: 32 }, 64);
    check::<bf16>(3, Heads { stride: 25, count: 2, width: 11, offset: 1 }, 5);
    check::<f32>(5, Heads { stride: 80, count: 3, width: 24, offset: 8 }, 8);
    check::<f32>(2, Heads { stride: 13, count: 1, width: 12, offset: 0 }, 6);
}

#[test]
fn heads_must_lie_in_their_rows() {
    let device = Device::for_tests();
    let (rows, table, positions) =
        (on(&device, &numbers(48, 1)), on(&device, &table(4, 1.0)), on(&device, &[1_u32, 2]));
    let rope = Rope { table: table.view(), pairs: 4, interleaved: true };
    let message = |stride, count, width, offset| {
        let heads = Heads { stride, count, width, offset };
        rope.turn(&device, rows.view(), positions.view(), heads, Direction::Forward).map_err(|error| error.to_string())
    };
    assert_eq!(message(24, 2, 12, 4), Ok(()));
    let refused =
        |result: Result<(), String>| assert!(result.as_ref().is_err_and(|m| m.contains("have no room")), "{result:?}");
    refused(message(24, 2, 12, 5));
    refused(message(23, 2, 12, 0));
    assert_eq!(message(40, 2, 12, 0), Err("turn rows: the rows: expected at least 64 numbers, found 48".into()));
}
