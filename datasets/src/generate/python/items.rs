//! Functions of a list of integers: keep some, change each, finish.

use super::value::Value;
use super::{ITEMS, LIST_LENGTHS, Spec};
use crate::random::Counter;

/// A function of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ItemsFunction {
    keep: Keep,
    change: Change,
    finish: Finish,
}

/// Which elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keep {
    All,
    Even,
    Odd,
    Above(i64),
    Below(i64),
}

/// What becomes of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Same,
    Plus(i64),
    Minus(i64),
    Times(i64),
    Squared,
}

/// What becomes of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Finish {
    Sum,
    Largest,
    Smallest,
    Count,
    Sorted,
    List,
    First,
    Last,
}

const FINISHES: &[Finish] = &[
    Finish::Sum,
    Finish::Largest,
    Finish::Smallest,
    Finish::Count,
    Finish::Sorted,
    Finish::List,
    Finish::First,
    Finish::Last,
];

impl Keep {
    fn phrase(self) -> String {
        match self {
            Self::All => "all numbers".to_owned(),
            Self::Even => "the even numbers".to_owned(),
            Self::Odd => "the odd numbers".to_owned(),
            Self::Above(bound) => format!("the numbers above {bound}"),
            Self::Below(bound) => format!("the numbers below {bound}"),
        }
    }

    fn plan(self) -> String {
        match self {
            Self::All => "keep all".to_owned(),
            Self::Even => "keep even".to_owned(),
            Self::Odd => "keep odd".to_owned(),
            Self::Above(bound) => format!("keep above {bound}"),
            Self::Below(bound) => format!("keep below {bound}"),
        }
    }

    fn code(self) -> String {
        match self {
            Self::All => String::new(),
            Self::Even => " if x % 2 == 0".to_owned(),
            Self::Odd => " if x % 2 == 1".to_owned(),
            Self::Above(bound) => format!(" if x > {bound}"),
            Self::Below(bound) => format!(" if x < {bound}"),
        }
    }

    fn keeps(self, item: i64) -> bool {
        match self {
            Self::All => true,
            // Python's remainder has the sign of the divisor.
            Self::Even => item.rem_euclid(2) == 0,
            Self::Odd => item.rem_euclid(2) == 1,
            Self::Above(bound) => item > bound,
            Self::Below(bound) => item < bound,
        }
    }
}

impl Change {
    fn phrase(self) -> String {
        match self {
            Self::Same => String::new(),
            Self::Plus(by) => format!(" each plus {by}"),
            Self::Minus(by) => format!(" each minus {by}"),
            Self::Times(by) => format!(" each times {by}"),
            Self::Squared => " each squared".to_owned(),
        }
    }

    fn plan(self) -> String {
        match self {
            Self::Same => String::new(),
            Self::Plus(by) => format!(" , plus {by}"),
            Self::Minus(by) => format!(" , minus {by}"),
            Self::Times(by) => format!(" , times {by}"),
            Self::Squared => " , squared".to_owned(),
        }
    }

    fn code(self) -> String {
        match self {
            Self::Same => "x".to_owned(),
            Self::Plus(by) => format!("x + {by}"),
            Self::Minus(by) => format!("x - {by}"),
            Self::Times(by) => format!("x * {by}"),
            Self::Squared => "x * x".to_owned(),
        }
    }

    fn apply(self, item: i64) -> i64 {
        match self {
            Self::Same => item,
            Self::Plus(by) => item + by,
            Self::Minus(by) => item - by,
            Self::Times(by) => item * by,
            Self::Squared => item * item,
        }
    }
}

impl Finish {
    fn word(self) -> &'static str {
        match self {
            Self::Sum => "sum",
            Self::Largest => "largest",
            Self::Smallest => "smallest",
            Self::Count => "count",
            Self::Sorted => "sorted list",
            Self::List => "list",
            Self::First => "first",
            Self::Last => "last",
        }
    }

    fn code(self, elements: &str) -> String {
        match self {
            Self::Sum => format!("sum ( {elements} )"),
            Self::Largest => format!("max ( {elements} )"),
            Self::Smallest => format!("min ( {elements} )"),
            Self::Count => format!("len ( [ {elements} ] )"),
            Self::Sorted => format!("sorted ( {elements} )"),
            Self::List => format!("[ {elements} ]"),
            Self::First => format!("[ {elements} ] [ 0 ]"),
            Self::Last => format!("[ {elements} ] [ -1 ]"),
        }
    }

    fn apply(self, mut items: Vec<i64>) -> Option<Value> {
        match self {
            Self::Sum => Some(Value::Integer(items.iter().sum())),
            Self::Largest => items.into_iter().max().map(Value::Integer),
            Self::Smallest => items.into_iter().min().map(Value::Integer),
            Self::Count => Some(Value::Integer(items.len() as i64)),
            Self::Sorted => {
                items.sort_unstable();
                Some(Value::List(items))
            }
            Self::List => Some(Value::List(items)),
            Self::First => items.first().copied().map(Value::Integer),
            Self::Last => items.last().copied().map(Value::Integer),
        }
    }

    /// What it is easily taken for.
    fn mistaken(self) -> Self {
        match self {
            Self::Sum => Self::Count,
            Self::Largest => Self::Smallest,
            Self::Smallest => Self::Largest,
            Self::Count => Self::Sum,
            Self::Sorted => Self::List,
            Self::List => Self::Sorted,
            Self::First => Self::Last,
            Self::Last => Self::First,
        }
    }
}

impl Spec for ItemsFunction {
    const PARAMETER: &'static str = "items";

    fn draw(counter: &mut Counter) -> Self {
        let keep = match counter.below(5) {
            0 => Keep::All,
            1 => Keep::Even,
            2 => Keep::Odd,
            3 => Keep::Above(counter.between(1, 9)),
            _ => Keep::Below(counter.between(1, 9)),
        };
        let finish = *counter.pick(FINISHES);
        let change = match counter.below(9) {
            // Counting does not see what became of each.
            _ if finish == Finish::Count => Change::Same,
            0 => Change::Same,
            1..=3 => Change::Plus(counter.between(1, 9)),
            4 | 5 => Change::Minus(counter.between(1, 9)),
            6 | 7 => Change::Times(counter.between(2, 9)),
            _ => Change::Squared,
        };
        match (keep, change, finish) {
            // The list as it is asks for nothing.
            (Keep::All, Change::Same, Finish::List) => Self { keep, change: Change::Squared, finish },
            _ => Self { keep, change, finish },
        }
    }

    fn phrase(&self) -> String {
        format!("the {} of {}{}", self.finish.word(), self.keep.phrase(), self.change.phrase())
    }

    fn plan(&self) -> String {
        format!("{}{} , {}", self.keep.plan(), self.change.plan(), self.finish.word())
    }

    fn code(&self) -> String {
        self.finish.code(&format!("{} for x in items{}", self.change.code(), self.keep.code()))
    }

    fn evaluate(&self, input: &Value) -> Option<Value> {
        let Value::List(items) = input else { return None };
        let kept = items.iter().copied().filter(|&item| self.keep.keeps(item)).map(|item| self.change.apply(item));
        self.finish.apply(kept.collect())
    }

    fn input(&self, counter: &mut Counter) -> Value {
        // Ends: every filter keeps and drops a good part of `ITEMS`, and random lists of four or
        // more are seldom sorted or begin with their largest.
        loop {
            let (fewest, most) = LIST_LENGTHS;
            let length = fewest + counter.below(most - fewest + 1);
            let items: Vec<i64> = (0..length).map(|_| counter.between(ITEMS.0, ITEMS.1)).collect();
            let kept: Vec<i64> = items.iter().copied().filter(|&item| self.keep.keeps(item)).collect();
            let drops = self.keep == Keep::All || kept.len() < items.len();
            if kept.len() >= 2 && drops && !kept.is_sorted() {
                return Value::List(items);
            }
        }
    }

    fn forget(&self) -> Self {
        match (self.change, self.keep) {
            (Change::Same, Keep::All) => Self { finish: self.finish.mistaken(), ..*self },
            (Change::Same, _) => Self { keep: Keep::All, ..*self },
            _ => Self { change: Change::Same, ..*self },
        }
    }

    fn mistake(&self, counter: &mut Counter) -> Self {
        match counter.below(3) {
            0 => Self { finish: self.finish.mistaken(), ..*self },
            1 => {
                let change = match self.change {
                    Change::Same => Change::Plus(1),
                    Change::Plus(by) => Change::Minus(by),
                    Change::Minus(by) => Change::Plus(by),
                    Change::Times(by) => Change::Times(by + 1),
                    Change::Squared => Change::Times(2),
                };
                // Counting would not see it.
                let finish = if self.finish == Finish::Count { Finish::Sum } else { self.finish };
                Self { change, finish, ..*self }
            }
            _ => {
                let keep = match self.keep {
                    Keep::All | Keep::Odd => Keep::Even,
                    Keep::Even => Keep::Odd,
                    Keep::Above(bound) => Keep::Below(bound),
                    Keep::Below(bound) => Keep::Above(bound),
                };
                Self { keep, ..*self }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_the_code_and_the_value_agree() {
        let input = Value::List(vec![4, -3, 7, 10]);
        for (keep, change, finish, phrase, code, value) in [
            (
                Keep::Even,
                Change::Plus(3),
                Finish::Sum,
                "the sum of the even numbers each plus 3",
                "sum ( x + 3 for x in items if x % 2 == 0 )",
                Value::Integer(20),
            ),
            (
                Keep::Odd,
                Change::Squared,
                Finish::Sorted,
                "the sorted list of the odd numbers each squared",
                "sorted ( x * x for x in items if x % 2 == 1 )",
                Value::List(vec![9, 49]),
            ),
            (
                Keep::Above(4),
                Change::Same,
                Finish::Count,
                "the count of the numbers above 4",
                "len ( [ x for x in items if x > 4 ] )",
                Value::Integer(2),
            ),
            (
                Keep::All,
                Change::Minus(5),
                Finish::Last,
                "the last of all numbers each minus 5",
                "[ x - 5 for x in items ] [ -1 ]",
                Value::Integer(5),
            ),
        ] {
            let function = ItemsFunction { keep, change, finish };
            assert_eq!((function.phrase().as_str(), function.code().as_str()), (phrase, code));
            assert_eq!(function.evaluate(&input), Some(value), "{phrase}");
        }
    }

    #[test]
    fn the_largest_of_nothing_is_not_a_value() {
        let function = ItemsFunction { keep: Keep::Above(50), change: Change::Same, finish: Finish::Largest };
        assert_eq!(function.evaluate(&Value::List(vec![1, 2])), None);
    }
}
