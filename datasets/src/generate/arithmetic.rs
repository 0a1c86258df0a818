//! Arithmetic: the value of a chain such as `7 + 5 * 3 - 4`.
//!
//! - Draws from: three or four numbers joined by `+`, `-` and `*` under the usual precedence. The
//!   numbers are 1 to 9, factors 2 to 9, and no product has more than two factors.
//! - Range: every product, partial sum and result lies in -40..=40, and below 0 in few chains.
//! - Size: tens of thousands of contents (below), each in several orders.
//! - Verifier: `Reference::Integer`: the number written out; the question repeated, or half worked out, is no answer.
//!
//! Two chains with the same signed products in another order are one content.

use rewards::Reference;

use super::Quality;
use super::problem::{Attempt, GUESS_THINK, Problem};
use crate::random::Counter;

/// Shares of the corpus.
const QUALITIES: &[(Quality, u32)] =
    &[(Quality::Guess, 44), (Quality::Worked, 36), (Quality::Slip, 6), (Quality::GivesUp, 4), (Quality::Bare, 10)];

/// How many of 100 guesses are right.
const GUESS_RIGHT_PERCENT: u32 = 30;

/// How many operands, as weights.
const LENGTHS: &[(usize, u32)] = &[(3, 60), (4, 40)];

/// Operators, as weights.
const OPERATORS: &[(Operator, u32)] = &[(Operator::Plus, 40), (Operator::Minus, 30), (Operator::Times, 30)];

/// How many of 100 draws may have a value below 0 on their way.
const NEGATIVE_PERCENT: u32 = 8;

/// The largest absolute value on the way and at the end.
const LARGEST: i64 = 40;

/// The largest number in a chain, whether it is a factor or not.
const LARGEST_OPERAND: i64 = 9;

/// How a wrong guess comes about, as weights.
const WRONG_GUESSES: &[(WrongGuess, u32)] =
    &[(WrongGuess::NoPrecedence, 40), (WrongGuess::OperatorSlip, 20), (WrongGuess::NearMiss, 40)];

/// By how much a slip or a near miss is off.
const OFFSETS: &[i64] = &[-10, -2, -1, 1, 2, 10];

/// Between which bounds chains lie, for lists.
pub(super) fn range() -> String {
    format!("numbers 1 to {LARGEST_OPERAND}, results and what is on the way to them -{LARGEST} to {LARGEST}")
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Plus,
    Minus,
    Times,
}

#[derive(Debug, Clone, Copy)]
enum WrongGuess {
    /// From left to right, as if `*` bound no tighter.
    NoPrecedence,
    /// One operator mistaken for another.
    OperatorSlip,
    /// Right but for a small amount.
    NearMiss,
}

/// One step of the work: `left operator right = value`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Step {
    left: i64,
    operator: Operator,
    right: i64,
    value: i64,
}

/// Operands and the operators between them.
#[derive(Debug, Clone)]
pub(crate) struct Chain {
    operands: Vec<i64>,
    operators: Vec<Operator>,
}

impl Operator {
    fn sign(self) -> char {
        match self {
            Self::Plus => '+',
            Self::Minus => '-',
            Self::Times => '*',
        }
    }

    fn apply(self, left: i64, right: i64) -> i64 {
        match self {
            Self::Plus => left + right,
            Self::Minus => left - right,
            Self::Times => left * right,
        }
    }
}

impl Chain {
    fn expression(&self) -> String {
        let mut text = self.operands[0].to_string();
        for (operator, operand) in self.operators.iter().zip(&self.operands[1..]) {
            text.push_str(&format!(" {} {operand}", operator.sign()));
        }
        text
    }

    /// The work: products first, from left to right, then sums from left to right. With a slip,
    /// the value of that step is off by that much, and the work goes on with it.
    fn steps(&self, slip: Option<(usize, i64)>) -> Vec<Step> {
        let mut steps = Vec::with_capacity(self.operators.len());
        let mut step = |left, operator: Operator, right| {
            let off = slip.filter(|&(at, _)| at == steps.len()).map_or(0, |(_, off)| off);
            let value = operator.apply(left, right) + off;
            steps.push(Step { left, operator, right, value });
            value
        };
        let mut terms = vec![(Operator::Plus, self.operands[0])];
        for (&operator, &operand) in self.operators.iter().zip(&self.operands[1..]) {
            match terms.last_mut() {
                Some((_, term)) if operator == Operator::Times => *term = step(*term, operator, operand),
                _ => terms.push((operator, operand)),
            }
        }
        let mut sum = terms[0].1;
        for &(operator, term) in &terms[1..] {
            sum = step(sum, operator, term);
        }
        steps
    }

    fn value(&self) -> i64 {
        self.steps(None).last().map_or(self.operands[0], |step| step.value)
    }

    /// A value that is not the chain's, but plausible.
    fn wrong_value(&self, counter: &mut Counter) -> i64 {
        let right = self.value();
        let guess = match counter.weighted(WRONG_GUESSES) {
            WrongGuess::NoPrecedence => self
                .operators
                .iter()
                .zip(&self.operands[1..])
                .fold(self.operands[0], |value, (operator, &operand)| operator.apply(value, operand)),
            WrongGuess::OperatorSlip => {
                let mut mistaken = self.clone();
                let at = counter.below(mistaken.operators.len());
                mistaken.operators[at] = match mistaken.operators[at] {
                    Operator::Plus => Operator::Minus,
                    Operator::Minus | Operator::Times => Operator::Plus,
                };
                mistaken.value()
            }
            WrongGuess::NearMiss => right + counter.pick(OFFSETS),
        };
        if guess == right || guess.abs() > LARGEST { right + counter.pick(OFFSETS) } else { guess }
    }

    fn work(&self, steps: &[Step]) -> String {
        let steps: Vec<String> = steps
            .iter()
            .map(|step| format!("{} {} {} = {}", step.left, step.operator.sign(), step.right, step.value))
            .collect();
        format!("{} : {}", self.expression(), steps.join(" , "))
    }
}

impl Problem for Chain {
    const QUALITIES: &'static [(Quality, u32)] = QUALITIES;

    fn draw(counter: &mut Counter) -> Self {
        let lowest = if counter.percent(NEGATIVE_PERCENT) { -LARGEST } else { 0 };
        let length = counter.weighted(LENGTHS);
        // Ends: 1 + 1 + 1 is among the draws.
        loop {
            let mut operators: Vec<Operator> = Vec::with_capacity(length - 1);
            for _ in 1..length {
                let operator = counter.weighted(OPERATORS);
                let third_factor = operator == Operator::Times && operators.last() == Some(&Operator::Times);
                operators.push(if third_factor { Operator::Plus } else { operator });
            }
            let is_factor = |at: usize| {
                operators.get(at) == Some(&Operator::Times)
                    || at.checked_sub(1).and_then(|before| operators.get(before)) == Some(&Operator::Times)
            };
            let operands = (0..length).map(|at| counter.between(if is_factor(at) { 2 } else { 1 }, LARGEST_OPERAND));
            let chain = Self { operands: operands.collect(), operators };
            if chain.steps(None).iter().all(|step| (lowest..=LARGEST).contains(&step.value)) {
                return chain;
            }
        }
    }

    fn content(&self) -> String {
        let mut terms: Vec<(char, Vec<i64>)> = vec![('+', vec![self.operands[0]])];
        for (operator, &operand) in self.operators.iter().zip(&self.operands[1..]) {
            match terms.last_mut() {
                Some((_, factors)) if *operator == Operator::Times => factors.push(operand),
                _ => terms.push((operator.sign(), vec![operand])),
            }
        }
        terms.iter_mut().for_each(|(_, factors)| factors.sort_unstable());
        terms.sort_unstable();
        format!("arithmetic {terms:?}")
    }

    fn prompt(&self) -> String {
        format!("Compute {}", self.expression())
    }

    fn reference(&self) -> Reference {
        Reference::Integer { value: self.value() }
    }

    fn attempt(&self, quality: Quality, counter: &mut Counter) -> Attempt {
        let (think, value) = match quality {
            Quality::Guess | Quality::Bare => {
                let right = counter.percent(GUESS_RIGHT_PERCENT);
                (GUESS_THINK.to_owned(), if right { self.value() } else { self.wrong_value(counter) })
            }
            Quality::Worked => (self.work(&self.steps(None)), self.value()),
            Quality::Slip => {
                let slip = (counter.below(self.operators.len()), *counter.pick(OFFSETS));
                let steps = self.steps(Some(slip));
                (self.work(&steps), steps.last().map_or(0, |step| step.value))
            }
            Quality::GivesUp => {
                // All steps but the last; its value is the answer.
                let steps = self.steps(None);
                let done = &steps[..steps.len() - 1];
                (self.work(done), done.last().map_or(self.operands[0], |step| step.value))
            }
        };
        Attempt { think, answer: value.to_string(), right: value == self.value() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(operands: &[i64], signs: &str) -> Chain {
        let operators = signs.chars().map(|sign| match sign {
            '+' => Operator::Plus,
            '-' => Operator::Minus,
            _ => Operator::Times,
        });
        Chain { operands: operands.to_vec(), operators: operators.collect() }
    }

    #[test]
    fn products_come_first_then_sums_from_the_left() {
        for (operands, signs, work) in [
            (&[7, 5, 3, 4][..], "+*-", "7 + 5 * 3 - 4 : 5 * 3 = 15 , 7 + 15 = 22 , 22 - 4 = 18"),
            (&[2, 3, 4, 5], "*+*", "2 * 3 + 4 * 5 : 2 * 3 = 6 , 4 * 5 = 20 , 6 + 20 = 26"),
            (&[3, 9, 2], "-+", "3 - 9 + 2 : 3 - 9 = -6 , -6 + 2 = -4"),
            (&[20, 2, 9], "-*", "20 - 2 * 9 : 2 * 9 = 18 , 20 - 18 = 2"),
        ] {
            let chain = chain(operands, signs);
            assert_eq!(chain.work(&chain.steps(None)), work);
        }
    }

    #[test]
    fn a_slip_is_carried_on_and_makes_the_answer_wrong() {
        let chain = chain(&[7, 5, 3, 4], "+*-");
        let slipped = chain.steps(Some((0, -1)));
        assert_eq!(chain.work(&slipped), "7 + 5 * 3 - 4 : 5 * 3 = 14 , 7 + 14 = 21 , 21 - 4 = 17");
        let mut counter = Counter::new(&[1]);
        for _ in 0..200 {
            let chain = Chain::draw(&mut counter);
            assert!(!chain.attempt(Quality::Slip, &mut counter).right, "{}", chain.expression());
            assert_ne!(chain.wrong_value(&mut counter), chain.value(), "{}", chain.expression());
        }
    }

    #[test]
    fn reordered_terms_are_one_content() {
        let content = chain(&[7, 5, 3, 4], "+*-").content();
        assert_eq!(content, chain(&[3, 5, 7, 4], "*+-").content());
        assert_eq!(content, chain(&[7, 4, 5, 3], "-+*").content());
        assert_ne!(content, chain(&[4, 5, 3, 7], "+*-").content());
        assert_ne!(content, chain(&[7, 15, 4], "+-").content());
    }

    #[test]
    fn draws_keep_to_the_stated_range() {
        let mut counter = Counter::new(&[2]);
        let mut negative = 0;
        for _ in 0..5_000 {
            let chain = Chain::draw(&mut counter);
            assert!(matches!(chain.operands.len(), 3 | 4));
            assert!(chain.operands.iter().all(|operand| (1..=LARGEST_OPERAND).contains(operand)));
            let steps = chain.steps(None);
            assert!(steps.iter().all(|step| step.value.abs() <= LARGEST), "{}", chain.expression());
            negative += usize::from(steps.iter().any(|step| step.value < 0));
        }
        assert!((10..=500).contains(&negative), "{negative} of 5,000 go below 0");
    }
}
