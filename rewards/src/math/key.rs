//! A text that equal answers share, for majority votes: the normal form of the value, as far as there is one.

use super::budget::Budget;
use super::exact::{Normalizer, rational};
use super::meaning::{Measured, counted, meaning, named_value};
use super::naming::names;
use super::node::Node;
use super::pair::stated_value;

const STEPS: u64 = 400_000;

/// The key of an answer. Equal answers nearly always have equal keys (a rounded value has its own, and so has a bare `1, 2` that
/// stands for `x = 1, y = 2`, which is keyed as `(1, 2)`). Unequal values never do, but what an answer says besides its value is
/// left out: the unit, and the name. `x = 4` must vote with `4`, and so must `y = 4`, so that these two have one key though as
/// answers they differ: all votes are on one question, which has one name for what it asks.
pub(crate) fn key(node: &Node) -> String {
    // Whatever letters only count are called.
    let counters: Vec<String> = counted(node).into_iter().map(|(name, _)| name.clone()).collect();
    let numbered: Vec<String> = (1..=counters.len()).map(|at| format!("counter {at}")).collect();
    key_of(&meaning(node.renamed(&counters, &numbered)), &mut Budget::new(STEPS))
}

fn key_of(node: &Node, budget: &mut Budget) -> String {
    if let Some(value) = named_value(node).map(|(_, value)| value).or_else(|| stated_value(node, true)) {
        return key_of(value, budget);
    }
    let each = |items: &[Node], budget: &mut Budget| -> Vec<String> {
        items.iter().map(|item| key_of(&meaning(item.clone()), budget)).collect()
    };
    match node {
        // x = 1, y = 2 is (1, 2), and not y = 1, x = 2: the names' order is that of the values.
        Node::List(_, items) if names(items).is_some() => {
            let named = items.iter().filter_map(named_value);
            let mut named: Vec<(String, String)> =
                named.map(|(name, value)| (format!("{name:?}"), key_of(&meaning(value.clone()), budget))).collect();
            named.sort();
            let values: Vec<String> = named.into_iter().map(|(_, value)| value).collect();
            format!("({})", values.join(","))
        }
        Node::Set(items) | Node::List(_, items) => {
            let mut keys = each(items, budget);
            keys.sort();
            keys.dedup();
            if keys.len() == 1 { keys.swap_remove(0) } else { format!("{{{}}}", keys.join(",")) }
        }
        Node::Tuple(open, close, items) => format!("{open}{}{close}", each(items, budget).join(",")),
        Node::Relation(terms, relations) => format!("{}{relations:?}", each(terms, budget).join("~")),
        Node::Text(text) => format!("'{text}'"),
        scalar if scalar.is_scalar() => {
            let measured = Measured::of(scalar);
            let value = if measured.percent { Node::Percent(Box::new(measured.value)) } else { measured.value };
            if let Ok(Some(value)) = rational(&value, &mut vec![], budget) {
                return value.to_string();
            }
            let normal = (Normalizer { budget }).normalize(&value);
            match normal.and_then(|normal| normal.key(budget)) {
                Ok(key) => key,
                Err(_) => format!("{value:?}"),
            }
        }
        other => format!("{other:?}"),
    }
}
