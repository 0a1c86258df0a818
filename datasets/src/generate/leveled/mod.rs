//! Families with levels: problems in the manner of reasoning-gym, each with an exact verifier.
//!
//! A family is one line of [`LEVELED`]: its name, how many levels it has, what it draws from, its range, its verifier, and
//! the function that draws a problem. The function sees a level and a stream of random numbers and nothing else, so a
//! problem is a pure function of (family, level, split, seed, index).
//!
//! A problem also says what it is called whatever its wording ([`Drawn::content`]; docs/data.md lists what makes two prompts
//! one problem): the fence between training and held-out goes by it.
//!
//! Where an expression that equals the answer could be read off the question, the verifier wants a number written out
//! ([`Reference::Integer`]) or a tuple: repeating the question is never right.

mod algebra;
mod calendar;
mod combinatorics;
mod counting;
mod graph;
mod listing;
mod logic;
mod number;
mod program;
mod puzzle;
mod same;
mod sequence;
mod story;

use rewards::Reference;

use crate::random::Counter;
use crate::task::Domain;

/// One problem of a family with levels.
#[derive(Debug, Clone)]
pub(crate) struct Drawn {
    /// The question in plain text.
    pub(crate) prompt: String,
    /// Equal for problems that are the same but for their wording, order or names: it decides the split.
    pub(crate) content: String,
    /// What answers are compared with.
    pub(crate) reference: Reference,
    /// An answer that is right.
    pub(crate) right: String,
    /// An answer that is wrong, though not by much.
    pub(crate) wrong: String,
}

impl Drawn {
    /// A problem whose answer is a whole number. `off` is how far the wrong answer is off, and is not 0.
    fn integer(prompt: String, value: i64, off: i64) -> Self {
        let reference = Reference::Integer { value };
        let wrong = (value + if off == 0 { 1 } else { off }).to_string();
        Self { content: prompt.clone(), prompt, reference, right: value.to_string(), wrong }
    }

    /// A problem whose answer is compared as a mathematical answer: a tuple, a set, a word.
    fn compared(prompt: String, right: String, wrong: String) -> Self {
        let reference = Reference::Math { answer: right.clone() };
        Self { content: prompt.clone(), prompt, reference, right, wrong }
    }

    /// A problem whose answer is a list of numbers in order, given as a tuple. The wrong answer differs in one of them.
    fn tuple(prompt: String, items: &[i64], counter: &mut Counter) -> Self {
        let mut other = items.to_vec();
        let place = counter.below(items.len());
        other[place] += if counter.percent(50) { 1 } else { -1 };
        Self::compared(prompt, written(items), written(&other))
    }

    /// Another name for the problem, where several prompts ask the same.
    fn same_as(mut self, content: String) -> Self {
        self.content = content;
        self
    }
}

/// `(3, 1, 2)`; a single item stands alone.
fn written(items: &[i64]) -> String {
    let texts: Vec<String> = items.iter().map(i64::to_string).collect();
    if texts.len() == 1 { texts[0].clone() } else { format!("({})", texts.join(", ")) }
}

/// A small amount that a wrong answer is off by.
fn slip(counter: &mut Counter) -> i64 {
    *counter.pick(&[-10, -2, -1, 1, 2, 10])
}

/// A family with levels, as its documentation and its draw.
pub(crate) struct Leveled {
    /// The name by which recipes, jobs and commands call it.
    pub(crate) name: &'static str,
    /// What kind of answer it asks for.
    pub(crate) domain: Domain,
    /// Levels are `1..=levels`, 1 the easiest.
    pub(crate) levels: u8,
    /// What a problem is made of.
    pub(crate) draws: &'static str,
    /// Between which bounds, from the first level to the last.
    pub(crate) range: &'static str,
    /// How an answer is judged.
    pub(crate) verifier: &'static str,
    /// Draws a problem of a level.
    pub(crate) draw: fn(u8, &mut Counter) -> Drawn,
}

const INTEGER: &str = "the whole number, written out";
const TUPLE: &str = "the numbers in order, as a tuple";

macro_rules! leveled {
    ($name:literal, $domain:ident, $levels:literal, $draw:path, $draws:literal, $range:literal, $verifier:expr) => {
        Leveled {
            name: $name,
            domain: Domain::$domain,
            levels: $levels,
            draws: $draws,
            range: $range,
            verifier: $verifier,
            draw: $draw,
        }
    };
}

/// Every family with levels, in the order of lists.
pub(crate) const LEVELED: &[Leveled] = &[
    leveled!(
        "chains",
        Math,
        4,
        number::chain,
        "sums, differences and products of several numbers under the usual precedence, with brackets",
        "3 to 7 numbers, to 12, 20, 50, 99; brackets from level 2",
        INTEGER
    ),
    leveled!(
        "fractions",
        Math,
        4,
        number::fractions,
        "two to four fractions added, subtracted, multiplied, divided",
        "denominators to 9, 20, 30, 40",
        "m + n for the result m/n in lowest terms, written out"
    ),
    leveled!(
        "decimals",
        Math,
        3,
        number::decimals,
        "sums, differences and products of decimal numbers",
        "sums of numbers to 10, 100, 1,000 with 1, 2, 3 decimals; tenths to 9.9, 19.8, 29.7 times hundredths to 9.99",
        "how many thousandths, written out"
    ),
    leveled!(
        "percentages",
        Math,
        3,
        number::percentages,
        "shares, rises and falls, the original before a change, two changes after each other",
        "amounts to 2,000, 20,000, 200,000, changed by 5 to 95 percent",
        INTEGER
    ),
    leveled!(
        "bases",
        Math,
        3,
        number::bases,
        "a number from one base to another, or a sum in a base",
        "bases 2 to 9, values to 4,095, 65,535, 1,048,575",
        "the digits in the base asked for"
    ),
    leveled!(
        "gcd_lcm",
        Math,
        3,
        number::gcd_lcm,
        "the greatest common divisor of two to four numbers, the least common multiple of two",
        "numbers to 120, 600, 2,400, with common factors",
        INTEGER
    ),
    leveled!(
        "primes",
        Math,
        3,
        number::primes,
        "how many primes lie between, the next prime, the largest prime factor, the sum of the prime factors",
        "numbers of 20 to 1,500, 6,000, 30,000, intervals of 10 to 40, 60, 80",
        INTEGER
    ),
    leveled!(
        "linear_systems",
        Math,
        3,
        algebra::linear_system,
        "two or three linear equations with one whole solution",
        "unknowns -9 to 9, -20 to 20; three of them at level 3",
        TUPLE
    ),
    leveled!(
        "polynomials",
        Math,
        3,
        algebra::polynomials,
        "values, roots and coefficients of products of polynomials",
        "values: degrees 2, 3, 4, coefficients -9 to 9; roots -10 to 10, -14 to 14, -18 to 18; products of degrees 3, 4, 5",
        "the number, or the set of the roots"
    ),
    leveled!(
        "inequalities",
        Math,
        3,
        algebra::inequalities,
        "how many whole numbers satisfy linear, absolute and quadratic inequalities",
        "coefficients to 12, bounds -60 to 90, -200 to 300, -400 to 600; quadratic ones from level 2",
        INTEGER
    ),
    leveled!(
        "matrices",
        Math,
        3,
        algebra::matrices,
        "determinants, and entries of products, of matrices",
        "determinants of 2 by 2, 3 by 3, 4 by 4, products of 2 by 2 and 3 by 3, entries -9 to 9",
        INTEGER
    ),
    leveled!(
        "modular",
        Math,
        3,
        counting::modular,
        "powers, products and inverses modulo a number",
        "moduli to 50, 300, 2,000; exponents to 60, 2,000, 100,000",
        INTEGER
    ),
    leveled!(
        "divisors",
        Math,
        3,
        counting::divisors,
        "how many divisors, their sum, Euler's totient, how many numbers up to it another divides",
        "numbers to 3,000, 8,000, 40,000",
        INTEGER
    ),
    leveled!(
        "combinatorics",
        Math,
        3,
        combinatorics::combinatorics,
        "committees, arrangements of letters, seatings with a condition, ways to share, codes of digits",
        "two groups to 10, 14, 20, at level 3 also three; words to 8, 9, 10 letters; rows to 7, 8, 9 seats; balls to 22, 26, 32; codes to 4, 5, 6 digits",
        INTEGER
    ),
    leveled!(
        "coins",
        Math,
        3,
        counting::coins,
        "ways to pay an amount with given coins, or the fewest coins for it",
        "three to five values, amounts to 40, 90, 200",
        INTEGER
    ),
    leveled!(
        "lattice_paths",
        Math,
        3,
        counting::lattice_paths,
        "shortest ways through a grid around blocked crossings",
        "grids to 6 by 6, 8 by 8, 10 by 10, with 2 to 8 crossings blocked",
        INTEGER
    ),
    leveled!(
        "word_problems",
        Math,
        4,
        story::word_problem,
        "a story of 2 to 7 events, each drawn by itself, about who has how many of what",
        "12 kinds of events, amounts at first to 60, 100, 200, 400",
        INTEGER
    ),
    leveled!(
        "shopping",
        Math,
        3,
        story::shopping,
        "a bill of 2 to 5 lines with discounts and change",
        "prices to 20, 60, 150; quantities to 12",
        INTEGER
    ),
    leveled!(
        "ages",
        Math,
        3,
        story::ages,
        "ages of 2 to 4 people from how they stand to each other, now and in other years",
        "ages to 90",
        INTEGER
    ),
    leveled!(
        "dates",
        Math,
        3,
        calendar::dates,
        "days between dates, the date so many days on or back, the day of the week, how often it comes",
        "first dates of 1990 to 2040; spans of 2 to 60, 1,000, 10,000 days",
        "the number, the weekday, or (year, month, day)"
    ),
    leveled!(
        "clocks",
        Math,
        3,
        calendar::clocks,
        "times after so many minutes, time between, the angle of the hands, across midnight and time zones",
        "minutes to 300, 1,440, 5,000",
        "the number, or (hour, minute) of the 24-hour clock"
    ),
    leveled!(
        "propositional",
        Logic,
        3,
        logic::propositional,
        "how many assignments of truth values make a formula true",
        "3 to 5 variables, formulas of 4 to 9 connectives",
        INTEGER
    ),
    leveled!(
        "knights_knaves",
        Logic,
        3,
        logic::knights_and_knaves,
        "islanders who always or never tell the truth, speaking of each other, with one solution",
        "3 to 6 islanders",
        "the tuple of `knight` and `knave`, in order"
    ),
    leveled!(
        "ordering",
        Logic,
        3,
        logic::ordering,
        "runners and clues about their places, with one solution",
        "4 to 6 runners",
        "the tuple of the names, first to last"
    ),
    leveled!(
        "sudoku4",
        Logic,
        3,
        puzzle::sudoku,
        "sudoku of 4 by 4 with one solution",
        "4 to 10 cells empty",
        "the 16 digits in order, as a tuple"
    ),
    leveled!(
        "sequences",
        Math,
        4,
        sequence::sequences,
        "the next term: arithmetic, geometric, second differences, two woven together, each from the two before",
        "steps to 12, 25, 60, 120",
        INTEGER
    ),
    leveled!(
        "strings",
        Text,
        3,
        listing::strings,
        "a made-up word reversed, shifted, thinned out, several such steps after each other",
        "words of 5 to 11 letters, 1 to 3 steps",
        "the word, letter by letter"
    ),
    leveled!(
        "lists",
        Math,
        3,
        listing::lists,
        "a list of numbers sorted, rotated, filtered, summed up, several such steps after each other",
        "lists of 5 to 11 numbers of 0 to 99, 1 to 3 steps",
        TUPLE
    ),
    leveled!(
        "sets",
        Math,
        3,
        listing::sets,
        "how many numbers lie in unions, intersections and differences of two or three sets",
        "sets of 6 to 13 numbers of 1 to 30",
        INTEGER
    ),
    leveled!(
        "graph_paths",
        Math,
        3,
        graph::graph_paths,
        "the length of the shortest way between two places of a weighted graph",
        "5 to 10 places, 4 to 19 roads of length 1 to 20",
        INTEGER
    ),
    leveled!(
        "reachability",
        Math,
        3,
        graph::reachability,
        "how many places can be reached along one-way roads, or the fewest roads to take",
        "6 to 12 places, 6 to 23 roads",
        INTEGER
    ),
    leveled!(
        "programs",
        Code,
        3,
        program::programs,
        "a Python function over a list, of 2 to 5 steps in words, with tests generated from its Rust twin",
        "22 kinds of steps; lists of 4 to 9 numbers of -20 to 50",
        "five assertions in the sandbox"
    ),
];

#[cfg(test)]
mod tests;
