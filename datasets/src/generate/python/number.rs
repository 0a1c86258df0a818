//! Functions of one integer.

use super::value::Value;
use super::{LARGEST_CONSTANT, NUMBERS, Spec};
use crate::random::Counter;

/// A function of an integer. Constants are positive, but for the shift, which is not 0 where it
/// is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NumberFunction {
    /// `x * factor + shift`, with a factor of 1 and a shift of 0 left unsaid.
    Linear { factor: i64, shift: i64 },
    /// `x * x + shift`.
    Square { shift: i64 },
    /// `( x + shift ) * factor`.
    Grouped { shift: i64, factor: i64 },
    /// `x % divisor`.
    Remainder { divisor: i64 },
    /// `x // divisor`.
    Quotient { divisor: i64 },
    /// `max ( x , bound )`.
    Larger { bound: i64 },
    /// `min ( x , bound )`.
    Smaller { bound: i64 },
    /// `abs ( x - to )`.
    Distance { to: i64 },
}

/// ` + 3`, ` - 3`, or nothing for 0.
fn signed(shift: i64, plus: &str, minus: &str) -> String {
    match shift {
        0 => String::new(),
        1.. => format!(" {plus} {shift}"),
        _ => format!(" {minus} {}", -shift),
    }
}

fn draw_shift(counter: &mut Counter) -> i64 {
    let size = counter.between(1, LARGEST_CONSTANT);
    if counter.percent(50) { size } else { -size }
}

impl Spec for NumberFunction {
    const PARAMETER: &'static str = "x";

    fn draw(counter: &mut Counter) -> Self {
        // About as often as there are functions of each form.
        match counter.below(20) {
            0..=8 => Self::Linear { factor: counter.between(2, 9), shift: draw_shift(counter) },
            9 | 10 => Self::Square { shift: draw_shift(counter) },
            11..=15 => Self::Grouped { shift: draw_shift(counter), factor: counter.between(2, 9) },
            16 => match counter.below(2) {
                0 => Self::Remainder { divisor: counter.between(2, 9) },
                _ => Self::Quotient { divisor: counter.between(2, 9) },
            },
            17 | 18 => match counter.below(2) {
                0 => Self::Larger { bound: counter.between(1, LARGEST_CONSTANT) },
                _ => Self::Smaller { bound: counter.between(1, LARGEST_CONSTANT) },
            },
            _ => Self::Distance { to: counter.between(1, LARGEST_CONSTANT) },
        }
    }

    fn phrase(&self) -> String {
        match *self {
            Self::Linear { factor: 1, shift } => format!("x{}", signed(shift, "plus", "minus")),
            Self::Linear { factor, shift } => format!("x times {factor}{}", signed(shift, "plus", "minus")),
            Self::Square { shift } => format!("x squared{}", signed(shift, "plus", "minus")),
            Self::Grouped { shift, factor } => {
                format!("the result of x{} , times {factor}", signed(shift, "plus", "minus"))
            }
            Self::Remainder { divisor } => format!("the remainder of x by {divisor}"),
            Self::Quotient { divisor } => format!("the quotient of x by {divisor}"),
            Self::Larger { bound } => format!("the larger of x and {bound}"),
            Self::Smaller { bound } => format!("the smaller of x and {bound}"),
            Self::Distance { to } => format!("the distance of x and {to}"),
        }
    }

    fn plan(&self) -> String {
        match *self {
            Self::Linear { factor: 1, shift } => format!("x {}", signed(shift, ", plus", ", minus").trim()),
            Self::Linear { factor, shift } => format!("times {factor}{}", signed(shift, ", plus", ", minus")),
            Self::Square { shift } => format!("squared{}", signed(shift, ", plus", ", minus")),
            Self::Grouped { shift, factor } => {
                format!("{} , times {factor}", signed(shift, "plus", "minus").trim_start())
            }
            Self::Remainder { divisor } => format!("remainder by {divisor}"),
            Self::Quotient { divisor } => format!("quotient by {divisor}"),
            Self::Larger { bound } => format!("larger , {bound}"),
            Self::Smaller { bound } => format!("smaller , {bound}"),
            Self::Distance { to } => format!("distance , {to}"),
        }
    }

    fn code(&self) -> String {
        match *self {
            Self::Linear { factor: 1, shift } => format!("x{}", signed(shift, "+", "-")),
            Self::Linear { factor, shift } => format!("x * {factor}{}", signed(shift, "+", "-")),
            Self::Square { shift } => format!("x * x{}", signed(shift, "+", "-")),
            Self::Grouped { shift, factor } => format!("( x{} ) * {factor}", signed(shift, "+", "-")),
            Self::Remainder { divisor } => format!("x % {divisor}"),
            Self::Quotient { divisor } => format!("x // {divisor}"),
            Self::Larger { bound } => format!("max ( x , {bound} )"),
            Self::Smaller { bound } => format!("min ( x , {bound} )"),
            Self::Distance { to } => format!("abs ( x - {to} )"),
        }
    }

    fn evaluate(&self, input: &Value) -> Option<Value> {
        let Value::Integer(x) = *input else { return None };
        Some(Value::Integer(match *self {
            Self::Linear { factor, shift } => x * factor + shift,
            Self::Square { shift } => x * x + shift,
            Self::Grouped { shift, factor } => (x + shift) * factor,
            // Python rounds down, and so does Euclid for positive divisors.
            Self::Remainder { divisor } => x.checked_rem_euclid(divisor)?,
            Self::Quotient { divisor } => x.checked_div_euclid(divisor)?,
            Self::Larger { bound } => x.max(bound),
            Self::Smaller { bound } => x.min(bound),
            Self::Distance { to } => (x - to).abs(),
        }))
    }

    fn input(&self, counter: &mut Counter) -> Value {
        // 0 and 1 are left out: too many wrong functions agree with the right one there.
        let (least, largest) = NUMBERS;
        Value::Integer(if counter.percent(20) { counter.between(least, -2) } else { counter.between(2, largest) })
    }

    fn forget(&self) -> Self {
        match *self {
            Self::Linear { factor, .. } => Self::Linear { factor, shift: 0 },
            Self::Square { .. } => Self::Square { shift: 0 },
            Self::Grouped { shift, .. } => Self::Linear { factor: 1, shift },
            Self::Remainder { divisor } => Self::Quotient { divisor },
            Self::Quotient { divisor } => Self::Remainder { divisor },
            Self::Larger { bound } => Self::Smaller { bound },
            Self::Smaller { bound } => Self::Larger { bound },
            Self::Distance { to } => Self::Linear { factor: 1, shift: -to },
        }
    }

    fn mistake(&self, counter: &mut Counter) -> Self {
        let nudge = if counter.percent(50) { 1 } else { -1 };
        match *self {
            Self::Linear { factor, shift } => Self::Linear { factor, shift: -shift },
            Self::Square { shift } => Self::Linear { factor: 2, shift },
            // The brackets forgotten.
            Self::Grouped { shift, factor } => Self::Linear { factor, shift },
            Self::Remainder { divisor } => Self::Remainder { divisor: divisor + 1 },
            Self::Quotient { divisor } => Self::Quotient { divisor: divisor + 1 },
            Self::Larger { bound } => Self::Larger { bound: bound + 10 },
            Self::Smaller { bound } => Self::Smaller { bound: bound + 10 },
            Self::Distance { to } => Self::Distance { to: to + nudge },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_the_code_and_the_value_agree() {
        for (function, phrase, code, value) in [
            (NumberFunction::Linear { factor: 3, shift: 5 }, "x times 3 plus 5", "x * 3 + 5", -16),
            (NumberFunction::Linear { factor: 3, shift: -5 }, "x times 3 minus 5", "x * 3 - 5", -26),
            (NumberFunction::Square { shift: -4 }, "x squared minus 4", "x * x - 4", 45),
            (NumberFunction::Grouped { shift: 2, factor: 6 }, "the result of x plus 2 , times 6", "( x + 2 ) * 6", -30),
            (NumberFunction::Remainder { divisor: 4 }, "the remainder of x by 4", "x % 4", 1),
            (NumberFunction::Quotient { divisor: 4 }, "the quotient of x by 4", "x // 4", -2),
            (NumberFunction::Larger { bound: 9 }, "the larger of x and 9", "max ( x , 9 )", 9),
            (NumberFunction::Distance { to: 3 }, "the distance of x and 3", "abs ( x - 3 )", 10),
        ] {
            assert_eq!((function.phrase().as_str(), function.code().as_str()), (phrase, code));
            assert_eq!(function.evaluate(&Value::Integer(-7)), Some(Value::Integer(value)), "{code}");
        }
    }
}
