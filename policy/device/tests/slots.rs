//! What decoding does around a step, against plain loops.

use device::Device;
use device::ops::paged_cache::PageTable;
use device::ops::slots::{NotedChoices, edit_pages, place_tokens};

#[test]
fn only_slots_that_are_drawn_write_and_read() {
    let device = Device::for_tests();
    let position: Vec<u32> = (0..300).map(|slot| slot * 3).collect();
    let state: Vec<u8> = (0..300).map(|slot| [0, 1, 0, 2, 255][slot % 5]).collect();
    let (places, lengths) = (device.alloc(300, "places").unwrap(), device.alloc(300, "lengths").unwrap());
    let given = (device.upload(&position, "positions").unwrap(), device.upload(&state, "states").unwrap());
    place_tokens(&device, (places.view(), lengths.view()), given.0.view(), given.1.view()).unwrap();
    let expected = |of_drawn: &dyn Fn(i32) -> i32, otherwise: i32| -> Vec<i32> {
        let each = position.iter().zip(&state);
        each.map(|(position, state)| if *state == 0 { of_drawn(*position as i32) } else { otherwise }).collect()
    };
    assert_eq!(places.download().unwrap(), expected(&|position| position, -1));
    assert_eq!(lengths.download().unwrap(), expected(&|position| position + 1, 0));
}

#[test]
fn pages_are_set_where_edits_say() {
    let device = Device::for_tests();
    let pages = device.zeros::<i32>(20, "pages").unwrap();
    let edits = device.upload(&[3, 7, 19, 2, 0, 5], "edits").unwrap();
    edit_pages(&device, pages.view(), edits.view()).unwrap();
    let found = pages.download().unwrap();
    assert_eq!((found[3], found[19], found[0]), (7, 2, 5));
    assert_eq!(found.iter().filter(|page| **page == 0).count(), 17);
}

#[test]
fn choices_are_noted_with_their_tokens_and_taken_by_sequence() {
    const TOKENS: usize = 4;
    const LAYERS: usize = 2;
    const TOP_K: usize = 3;
    let device = Device::for_tests();
    // Two sequences of up to three pages; the first page is both's.
    let table = [5, 0, 2, 5, 3, 1];
    let pages = device.upload(&table, "pages").unwrap();
    let noted = device.alloc::<u16>(6 * TOKENS * LAYERS * TOP_K, "choices").unwrap();
    noted.write(0, &vec![u16::MAX; noted.len()]).unwrap();
    let choices = NotedChoices { choices: noted.view(), layers: LAYERS, top_k: TOP_K };
    let whole = PageTable { pages: pages.view(), row: 3, tokens: TOKENS };
    // Sequence 0 has tokens 0 to 9, sequence 1 its own from 4 to 8; one row is not to be noted.
    let rows: Vec<(i32, i32)> = (0..10).map(|at| (0, at)).chain((4..9).map(|at| (1, at))).chain([(1, -1)]).collect();
    let experts = |layer: usize, (sequence, at): (i32, i32), k: usize| {
        (100 * layer + 40 * sequence as usize + 3 * at as usize + k) as u16
    };
    let sequences = device.upload(&rows.iter().map(|row| row.0).collect::<Vec<_>>(), "sequences").unwrap();
    let positions = device.upload(&rows.iter().map(|row| row.1).collect::<Vec<_>>(), "positions").unwrap();
    for layer in 0..LAYERS {
        let of_row = |row: &(i32, i32)| {
            let row = (row.0, row.1.max(0));
            (0..TOP_K).map(move |k| experts(layer, row, k))
        };
        let chosen: Vec<u16> = rows.iter().flat_map(of_row).collect();
        let chosen = device.upload(&chosen, "chosen").unwrap();
        choices.note(&device, layer, chosen.view(), whole, (sequences.view(), positions.view())).unwrap();
    }
    for (sequence, first, count) in [(0, 0, 10), (0, 3, 5), (1, 4, 5), (1, 5, 0)] {
        let out = device.alloc(count * LAYERS * TOP_K, "taken").unwrap();
        let own = PageTable { pages: pages.slice(sequence * 3..(sequence + 1) * 3), ..whole };
        choices.take(&device, out.view(), own, first).unwrap();
        let expected: Vec<u16> = (first..first + count)
            .flat_map(|at| (0..LAYERS * TOP_K).map(move |i| (at, i)))
            .map(|(at, i)| experts(i / TOP_K, (sequence as i32, at as i32), i % TOP_K))
            .collect();
        assert_eq!(out.download().unwrap(), expected, "sequence {sequence}");
    }
}
