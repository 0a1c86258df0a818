//! Algebra: linear systems, polynomials, inequalities, matrices.

use super::same::{unordered, whatever_called};
use super::{Drawn, slip};
use crate::random::Counter;

/// A number of `-size..=size` that is not 0.
fn nonzero(size: i64, counter: &mut Counter) -> i64 {
    let number = counter.between(1, size);
    if counter.percent(50) { number } else { -number }
}

/// A sum of terms such as `3x - y + 4`, without those that are 0.
fn sum_of(terms: &[(i64, &str)]) -> String {
    let mut text = String::new();
    for &(coefficient, name) in terms.iter().filter(|term| term.0 != 0) {
        let sign = match (text.is_empty(), coefficient < 0) {
            (true, true) => "-",
            (true, false) => "",
            (false, true) => " - ",
            (false, false) => " + ",
        };
        let size = coefficient.abs();
        let number = if size == 1 && !name.is_empty() { String::new() } else { size.to_string() };
        text.push_str(&format!("{sign}{number}{name}"));
    }
    if text.is_empty() { "0".to_owned() } else { text }
}

/// The determinant by expansion along the first row; matrices here are at most 4 by 4.
fn determinant(matrix: &[Vec<i64>]) -> i64 {
    if matrix.len() == 1 {
        return matrix[0][0];
    }
    (0..matrix.len())
        .map(|column| {
            let minor: Vec<Vec<i64>> = matrix[1..]
                .iter()
                .map(|row| row.iter().enumerate().filter(|(at, _)| *at != column).map(|(_, &entry)| entry).collect())
                .collect();
            let sign = if column % 2 == 0 { 1 } else { -1 };
            sign * matrix[0][column] * determinant(&minor)
        })
        .sum()
}

pub(super) fn linear_system(level: u8, counter: &mut Counter) -> Drawn {
    let (unknowns, size) = [(2, 9), (2, 20), (3, 20)][usize::from(level) - 1];
    let names = &["x", "y", "z"][..unknowns];
    let solution: Vec<i64> = (0..unknowns).map(|_| counter.between(-size, size)).collect();
    // Ends: a random matrix is singular seldom.
    let matrix = loop {
        let matrix: Vec<Vec<i64>> = (0..unknowns)
            .map(|_| (0..unknowns).map(|_| nonzero(4 + 3 * i64::from(level), counter)).collect())
            .collect();
        if determinant(&matrix) != 0 {
            break matrix;
        }
    };
    let value = |row: &[i64]| row.iter().zip(&solution).map(|(factor, unknown)| factor * unknown).sum::<i64>();
    let equations: Vec<String> = matrix
        .iter()
        .map(|row| {
            let terms: Vec<(i64, &str)> = row.iter().copied().zip(names.iter().copied()).collect();
            format!("{} = {}", sum_of(&terms), value(row))
        })
        .collect();
    let prompt = format!("Solve {}. Give ({}).", equations.join(" and "), names.join(", "));
    let content = whatever_called(unknowns, |numbers| {
        let equation = |row: &Vec<i64>| {
            let factors: Vec<i64> = numbers.iter().map(|&number| row[number]).collect();
            format!("{factors:?} = {}", value(row))
        };
        unordered(matrix.iter().map(equation))
    });
    Drawn::tuple(prompt, &solution, counter).same_as(content)
}

/// A polynomial from its coefficients, the constant first.
fn polynomial(coefficients: &[i64]) -> String {
    const NAMES: [&str; 5] = ["", "x", "x^2", "x^3", "x^4"];
    let terms: Vec<(i64, &str)> = coefficients.iter().copied().zip(NAMES).rev().collect();
    sum_of(&terms)
}

fn value_at(coefficients: &[i64], x: i64) -> i64 {
    coefficients.iter().rev().fold(0, |value, coefficient| value * x + coefficient)
}

pub(super) fn polynomials(level: u8, counter: &mut Counter) -> Drawn {
    let degree = 1 + usize::from(level);
    let draw = |degree: usize, counter: &mut Counter| -> Vec<i64> {
        let mut coefficients: Vec<i64> = (0..degree).map(|_| counter.between(-9, 9)).collect();
        coefficients.push(nonzero(5, counter));
        coefficients
    };
    match counter.below(3) {
        0 => {
            let (coefficients, x) = (draw(degree, counter), counter.between(-6, 6));
            let prompt = format!("What is the value of {} at x = {x}?", polynomial(&coefficients));
            Drawn::integer(prompt, value_at(&coefficients, x), slip(counter))
        }
        1 => {
            let reach = 6 + 4 * i64::from(level);
            let (first, second) = (counter.between(-reach, reach), counter.between(-reach, reach));
            let lead = counter.between(1, i64::from(level));
            let coefficients = [lead * first * second, -lead * (first + second), lead];
            let prompt = format!("Give the set of all solutions of {} = 0.", polynomial(&coefficients));
            let set =
                |a: i64, b: i64| if a == b { format!("{{{a}}}") } else { format!("{{{}, {}}}", a.min(b), a.max(b)) };
            Drawn::compared(prompt, set(first, second), set(first, second + 1 + i64::from(first == second + 1)))
        }
        _ => {
            let (left, right) = (draw(degree.min(2), counter), draw(degree - degree.min(2) + 1, counter));
            let mut product = vec![0; left.len() + right.len() - 1];
            for (i, a) in left.iter().enumerate() {
                for (j, b) in right.iter().enumerate() {
                    product[i + j] += a * b;
                }
            }
            let power = counter.below(product.len());
            let (left, right) = (polynomial(&left), polynomial(&right));
            let prompt = format!("What is the coefficient of x^{power} in ({left}) * ({right})?");
            let content = format!("x^{power} of {} multiplied", unordered([left, right]));
            Drawn::integer(prompt, product[power], slip(counter)).same_as(content)
        }
    }
}

pub(super) fn inequalities(level: u8, counter: &mut Counter) -> Drawn {
    let bound = [60, 200, 400][usize::from(level) - 1];
    // Everything below is false outside of this, so counting through it counts all.
    let reach = 4 * bound;
    let count =
        |holds: &dyn Fn(i64) -> bool| i64::try_from((-reach..=reach).filter(|&x| holds(x)).count()).unwrap_or(i64::MAX);
    let (factor, shift) = (counter.between(2, 12), counter.between(-20, 20));
    let line = sum_of(&[(factor, "x"), (shift, "")]);
    let (text, value) = match counter.below(if level == 1 { 2 } else { 3 }) {
        0 => {
            let low = counter.between(-bound, bound / 2);
            let high = low + counter.between(1, bound);
            let value = count(&|x| low < factor * x + shift && factor * x + shift <= high);
            (format!("{low} < {line} <= {high}"), value)
        }
        1 => {
            let high = counter.between(1, bound);
            (format!("|{line}| < {high}"), count(&|x| (factor * x + shift).abs() < high))
        }
        _ => {
            let high = counter.between(1, bound);
            let text = sum_of(&[(1, "x^2"), (factor, "x"), (shift, "")]);
            (format!("{text} <= {high}"), count(&|x| x * x + factor * x + shift <= high))
        }
    };
    Drawn::integer(format!("How many whole numbers x satisfy {text}?"), value, counter.between(1, 3))
}

pub(super) fn matrices(level: u8, counter: &mut Counter) -> Drawn {
    let size = 1 + usize::from(level);
    let mut draw = |size: usize| -> Vec<Vec<i64>> {
        (0..size).map(|_| (0..size).map(|_| counter.between(-9, 9)).collect()).collect()
    };
    let (left, right) = (draw(size), draw(size.min(3)));
    let shown = |matrix: &[Vec<i64>]| format!("{matrix:?}");
    if counter.percent(50) {
        let prompt = format!("What is the determinant of the matrix {}, written row by row?", shown(&left));
        Drawn::integer(prompt, determinant(&left), slip(counter))
    } else {
        let left: Vec<Vec<i64>> = left.iter().take(right.len()).map(|row| row[..right.len()].to_vec()).collect();
        let (row, column) = (counter.below(right.len()), counter.below(right.len()));
        let value = (0..right.len()).map(|at| left[row][at] * right[at][column]).sum();
        let prompt = format!(
            "A = {} and B = {}, written row by row. What stands in row {}, column {} of the product AB?",
            shown(&left),
            shown(&right),
            row + 1,
            column + 1
        );
        Drawn::integer(prompt, value, slip(counter))
    }
}
