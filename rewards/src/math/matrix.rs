//! Matrices: sums, products, multiples, transposes and determinants worked out on expressions.

use super::budget::{Budget, Stop};
use super::node::{Function, Node};

type Rows = Vec<Vec<Node>>;

/// The most entries of a matrix.
const MAX_ENTRIES: usize = 144;

/// The matrix that `node` is; `None` where it is none.
pub(crate) fn value(node: &Node, budget: &mut Budget) -> Result<Option<Rows>, Stop> {
    budget.spend(10)?;
    Ok(match node {
        Node::Matrix(rows) => {
            let width = rows.first().map_or(0, Vec::len);
            if rows.len() * width > MAX_ENTRIES {
                return Err(Stop::Budget);
            }
            rows.iter().all(|row| row.len() == width).then(|| rows.clone())
        }
        // [[1, 2], [3, 4]]
        Node::Tuple('[', ']', items) => {
            let row = |item: &Node| match item {
                Node::Tuple('[', ']', cells) => Some(cells.clone()),
                _ => None,
            };
            let rows: Option<Rows> = items.iter().map(row).collect();
            rows.filter(|rows| rows.iter().all(|row| Some(row.len()) == rows.first().map(Vec::len)))
        }
        Node::Sum(items) => {
            let mut total: Option<Rows> = None;
            for item in items {
                let Some(rows) = value(item, budget)? else { return Ok(None) };
                total = match total {
                    None => Some(rows),
                    Some(so_far) => {
                        if so_far.len() != rows.len() || so_far.first().map(Vec::len) != rows.first().map(Vec::len) {
                            return Ok(None);
                        }
                        let add = |(a, b): (Vec<Node>, Vec<Node>)| {
                            a.into_iter().zip(b).map(|(a, b)| Node::Sum(vec![a, b])).collect()
                        };
                        Some(so_far.into_iter().zip(rows).map(add).collect())
                    }
                };
            }
            total
        }
        Node::Product(items) => {
            let mut product: Option<Rows> = None;
            let mut scalars = vec![];
            for item in items {
                match value(item, budget)? {
                    None if item.is_scalar() => scalars.push(item.clone()),
                    None => return Ok(None),
                    Some(rows) => {
                        product = match product {
                            None => Some(rows),
                            Some(left) => match multiply(&left, &rows, budget)? {
                                Some(product) => Some(product),
                                None => return Ok(None),
                            },
                        };
                    }
                }
            }
            match product {
                Some(rows) if !scalars.is_empty() => {
                    let scale = |cell: Node| {
                        let mut factors = scalars.clone();
                        factors.push(cell);
                        Node::Product(factors)
                    };
                    Some(rows.into_iter().map(|row| row.into_iter().map(scale).collect()).collect())
                }
                other => other,
            }
        }
        Node::Call(Function::Transpose, inner) => match inner.first() {
            Some(inner) => value(inner, budget)?.map(|rows| {
                let width = rows.first().map_or(0, Vec::len);
                (0..width).map(|column| rows.iter().map(|row| row[column].clone()).collect()).collect()
            }),
            None => None,
        },
        Node::Power(base, exponent) => {
            let Node::Number(literal) = &**exponent else { return Ok(None) };
            let count = if literal.plain { literal.value.to_integer().try_into().unwrap_or(0_u32) } else { 0 };
            if !(1..=8).contains(&count) {
                return Ok(None);
            }
            let Some(rows) = value(base, budget)? else { return Ok(None) };
            let mut product = rows.clone();
            for _ in 1..count {
                match multiply(&product, &rows, budget)? {
                    Some(next) => product = next,
                    None => return Ok(None),
                }
            }
            Some(product)
        }
        _ => None,
    })
}

fn multiply(left: &Rows, right: &Rows, budget: &mut Budget) -> Result<Option<Rows>, Stop> {
    let (inner, width) = (right.len(), right.first().map_or(0, Vec::len));
    if left.iter().any(|row| row.len() != inner) {
        return Ok(None);
    }
    let size: usize = left.iter().chain(right).flatten().map(weight).sum();
    budget.spend(20 * (left.len() * width) as u64 * size as u64)?;
    let entry = |row: &Vec<Node>, column: usize| {
        Node::Sum((0..inner).map(|k| Node::Product(vec![row[k].clone(), right[k][column].clone()])).collect())
    };
    Ok(Some(left.iter().map(|row| (0..width).map(|column| entry(row, column)).collect()).collect()))
}

fn weight(node: &Node) -> usize {
    1 + node.children().into_iter().map(weight).sum::<usize>()
}

/// A row as a column; anything else as it is.
pub(crate) fn as_column(rows: Rows) -> Rows {
    if rows.len() == 1 { rows.into_iter().flatten().map(|cell| vec![cell]).collect() } else { rows }
}

/// The entries of a single column or row.
pub(crate) fn vector(rows: &Rows) -> Option<Vec<Node>> {
    if rows.len() == 1 {
        return rows.first().cloned();
    }
    rows.iter().all(|row| row.len() == 1).then(|| rows.iter().flatten().cloned().collect())
}

/// The determinant of a square matrix, expanded along its first row.
pub(crate) fn determinant(rows: &Rows, budget: &mut Budget) -> Result<Option<Node>, Stop> {
    let size = rows.len();
    if size == 0 || size > 4 || rows.iter().any(|row| row.len() != size) {
        return Ok(None);
    }
    budget.spend(200)?;
    if size == 1 {
        return Ok(rows.first().and_then(|row| row.first()).cloned());
    }
    let mut terms = vec![];
    for column in 0..size {
        let minor: Rows = rows[1..]
            .iter()
            .map(|row| row.iter().enumerate().filter(|(at, _)| *at != column).map(|(_, cell)| cell.clone()).collect())
            .collect();
        let Some(minor) = determinant(&minor, budget)? else { return Ok(None) };
        let term = Node::Product(vec![rows[0][column].clone(), minor]);
        terms.push(if column % 2 == 1 { term.negated() } else { term });
    }
    Ok(Some(Node::Sum(terms)))
}
