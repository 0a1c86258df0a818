//! Sudoku of 4 by 4, with exactly one solution.

use super::{Drawn, written};
use crate::random::Counter;

/// Cells row by row; 0 is empty.
type Grid = [i64; 16];

fn fits(grid: &Grid, cell: usize, digit: i64) -> bool {
    let (row, column) = (cell / 4, cell % 4);
    (0..16).all(|other| {
        let (r, c) = (other / 4, other % 4);
        grid[other] != digit || !(r == row || c == column || (r / 2 == row / 2 && c / 2 == column / 2))
    })
}

/// Counts solutions, at most two, and leaves the last one found in `found`.
fn solve(grid: &mut Grid, digits: &[i64], count: &mut usize, found: &mut Grid) {
    let Some(cell) = grid.iter().position(|&digit| digit == 0) else {
        *count += 1;
        *found = *grid;
        return;
    };
    for &digit in digits {
        if *count < 2 && fits(grid, cell, digit) {
            grid[cell] = digit;
            solve(grid, digits, count, found);
            grid[cell] = 0;
        }
    }
}

pub(super) fn sudoku(level: u8, counter: &mut Counter) -> Drawn {
    let empty = [4, 6, 8][usize::from(level) - 1] + counter.below(3);
    let mut digits = [1, 2, 3, 4];
    counter.shuffle(&mut digits);
    // A first row at random, the rest by search in a random order of digits.
    let mut grid: Grid = [0; 16];
    grid[..4].copy_from_slice(&digits);
    counter.shuffle(&mut digits);
    let mut full = grid;
    let mut count = 1;
    solve(&mut grid, &digits, &mut count, &mut full);
    // Rows within a band, and bands, may change places.
    let mut rows = [0, 1, 2, 3];
    if counter.percent(50) {
        rows.swap(0, 1);
    }
    if counter.percent(50) {
        rows.swap(2, 3);
    }
    if counter.percent(50) {
        rows.rotate_left(2);
    }
    let full: Vec<i64> = rows.iter().flat_map(|&row| full[4 * row..4 * row + 4].to_vec()).collect();
    let mut puzzle: Grid = [0; 16];
    puzzle.copy_from_slice(&full);
    let mut cells: Vec<usize> = (0..16).collect();
    counter.shuffle(&mut cells);
    let mut taken = 0;
    for cell in cells {
        if taken == empty {
            break;
        }
        let digit = std::mem::take(&mut puzzle[cell]);
        let (mut count, mut found) = (0, puzzle);
        let mut search = puzzle;
        solve(&mut search, &[1, 2, 3, 4], &mut count, &mut found);
        if count == 1 {
            taken += 1;
        } else {
            puzzle[cell] = digit;
        }
    }
    let shown: Vec<String> = puzzle
        .chunks(4)
        .map(|row| {
            row.iter()
                .map(|&digit| if digit == 0 { "_".to_owned() } else { digit.to_string() })
                .collect::<Vec<_>>()
                .join(" ")
        })
        .collect();
    let prompt = format!(
        "Fill in the blanks so that each row, each column and each 2 by 2 corner block holds 1, 2, 3 and 4.\n{}\nGive the \
         16 digits row by row as one tuple.",
        shown.join("\n")
    );
    let mut wrong = full.clone();
    wrong.swap(0, 1);
    Drawn::compared(prompt, written(&full), written(&wrong))
}
