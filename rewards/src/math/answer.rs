//! An answer as text and as what it may mean, and the comparison of two.

use super::budget::{Budget, Stop, VERDICT_STEPS};
use super::clean::clean;
use super::compare::Comparison;
use super::exact::rational;
use super::node::Node;
use super::parser::{self, NoParse};
use super::text;

/// An answer: its text in normal form, and its readings, the usual one first.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    form: String,
    /// The form of the sentence that the answer was taken from, if it was.
    around: Option<String>,
    choice: Option<(char, String)>,
    /// `1000,99` as 1000.99.
    pub(crate) decimal_comma: Option<Node>,
    pub(crate) readings: Vec<Node>,
}

/// The answer that `text` says.
pub(crate) fn parse(text: &str) -> Result<Answer, NoParse> {
    let text = text.trim();
    if text.len() > super::lexer::MAX_LENGTH {
        return Err(NoParse::Budget);
    }
    let text = text::narrow(text);
    let text = text.as_ref();
    let form = text::normal_form(text);
    if form.is_empty() {
        return Err(NoParse::Unparsable);
    }
    // Emphasis says nothing: **42**.
    let bare = text.strip_prefix("**").and_then(|text| text.strip_suffix("**")).unwrap_or(text);
    let readings = parser::parse(bare)?;
    Ok(Answer { form, around: None, choice: text::choice(text), decimal_comma: decimal_comma(bare), readings })
}

/// The number that a comma without a space makes, with two digits at least behind it.
fn decimal_comma(text: &str) -> Option<Node> {
    if !text.contains(',') || text.len() > 64 {
        return None;
    }
    let cleaned = clean(text)?;
    let (whole, places) = cleaned.split_once(',')?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole.strip_prefix('-').unwrap_or(whole)) || !digits(places) || places.len() < 2 {
        return None;
    }
    parser::parse(&format!("{whole}.{places}")).ok()?.into_iter().next()
}

impl Answer {
    /// The same answer, taken from a sentence that may itself be what was asked for.
    pub(crate) fn within(mut self, sentence: &Self) -> Self {
        self.around = Some(sentence.form.clone());
        self
    }

    /// Whether it is words, or holds any.
    pub(crate) fn has_words(&self) -> bool {
        self.readings.iter().all(|reading| reading.any(&mut |node| matches!(node, Node::Text(_))))
    }

    /// Whether it is the letter of a choice, perhaps with what is written behind it.
    pub(crate) fn is_choice(&self) -> bool {
        self.choice.is_some()
    }

    /// Why a reference cannot be compared with anything.
    pub(crate) fn unusable(&self) -> Option<Stop> {
        let first = self.readings.first()?;
        match rational(first, &mut vec![], &mut Budget::new(VERDICT_STEPS / 8)) {
            Err(Stop::DivisionByZero) => Some(Stop::DivisionByZero),
            _ => None,
        }
    }

    /// Whether the candidate says what this reference says; if not, in what they differ.
    pub(crate) fn compare(&self, candidate: &Self) -> Result<(), &'static str> {
        if self.form == candidate.form || candidate.around.as_ref() == Some(&self.form) {
            return Ok(());
        }
        if let Some(same) = choices(self, candidate) {
            return same;
        }
        let mut cause = None;
        // Every reading of one with every reading of the other; usually there is one of each.
        // A decimal comma is one where a single number is asked for; where two are, it parts them.
        let decimal_comma = candidate.decimal_comma.as_ref().filter(|_| self.readings.iter().all(Node::is_scalar));
        let readings: Vec<&Node> = candidate.readings.iter().chain(decimal_comma).collect();
        let pairs = (self.readings.len() * readings.len()).max(1) as u64;
        for reference in &self.readings {
            for candidate in &readings {
                match Comparison::new(Budget::new(VERDICT_STEPS / pairs)).compare(reference, candidate) {
                    Ok(()) => return Ok(()),
                    Err(found) if cause.is_none() || found == "budget" => cause = Some(found),
                    Err(_) => {}
                }
            }
        }
        Err(cause.unwrap_or("wrong_kind"))
    }
}

/// Letters of choices, with or without what is written behind them. `None` where it is not about choices.
fn choices(reference: &Answer, candidate: &Answer) -> Option<Result<(), &'static str>> {
    // The text alone also says which choice it is.
    for (one, other) in [(reference, candidate), (candidate, reference)] {
        if one.choice.as_ref().is_some_and(|(_, text)| !text.is_empty() && *text == other.form) {
            return Some(Ok(()));
        }
    }
    let ((letter, text), (other, other_text)) = (reference.choice.as_ref()?, candidate.choice.as_ref()?);
    if letter != other {
        // Variables are compared as such.
        return (!text.is_empty() || !other_text.is_empty()).then_some(Err("wrong_text"));
    }
    // Choices go to J; beyond, x and X are two variables, and x: 3 is no choice of x.
    if (text.is_empty() || other_text.is_empty()) && *letter > 'J' {
        return None;
    }
    (text.is_empty() || other_text.is_empty() || text == other_text).then_some(Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(reference: &str, candidate: &str, expected: Result<(), &'static str>) {
        let (left, right) = (parse(reference).unwrap(), parse(candidate).unwrap());
        assert_eq!(left.compare(&right), expected, "{reference:?} and {candidate:?}: {left:?} {right:?}");
    }

    #[track_caller]
    fn same(pairs: &[(&str, &str)]) {
        for (left, right) in pairs {
            check(left, right, Ok(()));
            check(right, left, Ok(()));
        }
    }

    #[track_caller]
    fn differ(pairs: &[(&str, &str)]) {
        for (left, right) in pairs {
            for (reference, candidate) in [(left, right), (right, left)] {
                let (a, b) = (parse(reference).unwrap(), parse(candidate).unwrap());
                assert!(a.compare(&b).is_err(), "{reference:?} and {candidate:?}: {a:?} {b:?}");
            }
        }
    }

    #[test]
    fn numbers() {
        same(&[
            ("0.5", r"\frac{1}{2}"),
            (".1", "0.1"),
            ("7,425,000", "7425000"),
            ("1 000", "1000"),
            (r"1{,}234{,}567", "1,234,567"),
            (r"32,\! 349", "32349"),
            ("10^{30}", "1000000000000000000000000000000"),
            (r"3\frac{1}{2}", "7/2"),
            ("3 1/2", "3.5"),
            (r"0.\overline{3}", r"\frac13"),
            (r"0.1\overline{6}", "1/6"),
            ("0.333...", "1/3"),
            ("6.02e23", r"6.02\times10^{23}"),
            ("5!", "120"),
            (r"\binom{5}{2}", "10"),
            (r"5 \choose 2", "10"),
            (r"{1 \over 2}", "0.5"),
            (r"x+1 \over 2", r"\frac{x+1}{2}"),
            (r"3 x 10^8", r"3\times10^8"),
            ("3x10^{-4}", "0.0003"),
            (r"{16 \choose 2}", "120"),
            ("½", "0.5"),
            ("３．５", "3.5"),
            ("（１，２）", "(1,2)"),
            (r"2\sqrt3", r"\sqrt{12}"),
            ("1/3", "0.333333"),
            ("−5", "-5"),
        ]);
        differ(&[
            ("10^{30}", "10^{30}+1"),
            ("1/3", "0.333334"),
            ("3.14", "3.14159"),
            (r"\pi", "22/7"),
            ("32349", "32, 349"),
            ("5", "-5"),
            ("1/2", "2"),
            ("4", r"4\sqrt(2)"),
        ]);
        // A decimal comma, where one number is asked for.
        for text in ["1000,99", "$1000,99$", "1000{,}99"] {
            check("1000.99", text, Ok(()));
        }
        check("1.05", "1,05", Ok(()));
        check("-1.25", "-1,25", Ok(()));
        differ(&[
            ("3 1/2", "31/2"),
            ("1 1/2", "11/2"),
            ("2 3", "23"),
            ("(1 2)(3 4)", "(12)(34)"),
            ("10, 25", "10.25"),
            ("1, 12", "1.12"),
            ("1.5", "1,5"),
        ]);
        check("10,25", "10.25", Err("wrong_number_of_values"));
        check("1/3", "0.33", Err("wrong_value"));
        check("0.33", "1/3", Ok(()));
        check("0.34", "1/3", Err("wrong_value"));
        check(r"\pi", "3.14159", Ok(()));
        check(r"\pi", "3.1415", Err("wrong_value"));
        check("3.14", r"\pi", Ok(()));
    }

    #[test]
    fn percent_currency_units_degrees() {
        same(&[
            ("25%", "25"),
            ("25%", "0.25"),
            (r"25\%", "25 percent"),
            (r"\$18.00", "18 dollars"),
            ("18", r"\$18"),
            ("$18", "18"),
            ("5 km", "5000 m"),
            (r"5\text{ cm}", "5"),
            (r"125\textnormal{ miles}", "125"),
            (r"90^\circ", "90"),
            (r"60^\circ", r"\frac{\pi}{3}"),
            ("5 million", "5000000"),
            (r"14\text{ right triangles}", "14"),
            (r"20\text{ cm}^2", "20"),
            ("36 km/h", "10 m/s"),
            ("approximately 5 cm", "5"),
            (r"10\text{ inches}", "10 in"),
        ]);
        same(&[
            ("2 hours 30 minutes", "150 minutes"),
            (r"4\text{ ft }3\text{ in}", "51 inches"),
            ("5 feet and 6 inches", "66 in"),
            ("2 hours 30 minutes", "2.5 hours"),
            (r"4\text{ kW}", "4000 watts"),
            ("5 N", "5 newtons"),
            (r"9.8\ \mathrm{m/s^2}", r"9.8 \frac{m}{s^2}"),
            (r"100^\circ\text{C}", "100 degrees Celsius"),
            ("100 °C", "100"),
            ("3 dozen", "36"),
            (r"10\ \Omega", "10 ohms"),
        ]);
        differ(&[
            ("2 hours 30 minutes", "2 hours"),
            ("2 hours 30 minutes", "2 hours 20 minutes"),
            ("3 m and 5 kg", "3 m"),
            (r"4\text{ MW}", r"4\text{ mW}"),
            ("2N", "2"),
            ("100 °C", "100 °F"),
        ]);
        differ(&[("5 m", "5 cm"), ("5 m", "5 kg"), ("5 apples", "5 pears"), ("25%", "26"), ("28/100", "28")]);
    }

    #[test]
    fn collections() {
        same(&[
            ("1, 2, 3", r"\{3, 2, 1\}"),
            ("1, 2, and 3", "3,2,1"),
            (r"\{1,1,2\}", r"\{1,2\}"),
            (r"\pm 5", "5, -5"),
            (r"3 \pm 2", "1, 5"),
            ("x = 2 or x = 3", "2, 3"),
            (r"\langle 1,2,3\rangle", "(1,2,3)"),
            (r"\begin{pmatrix} 1 \\ 2 \\ 3 \end{pmatrix}", "(1,2,3)"),
            ("[[1, 2], [3, 4]]", r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}"),
            (r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}", r"\begin{bmatrix} 1 & 2 \\ 3 & 4 \end{bmatrix}"),
            ("(1,2),(3,4)", "(3,4), (1,2)"),
            ("(0;0;6)", "(0,0,6)"),
            ("AB=4,CD=5", "4, 5"),
            ("a=4, b=5", "b = 5, a = 4"),
            ("x_1 = 2, x_2 = 3", "3, 2"),
            (r"a=4,\,-8,\,-10", "-10,-8,4"),
            (r"\frac{1\pm\sqrt5}{2}", r"\frac{1+\sqrt5}{2}, \frac{1-\sqrt5}{2}"),
            (r"1,2,\ldots,10", "1, 2, ..., 10"),
            (r"15\frac{39}{40}, \frac{639}{40}", "639/40"),
            ("1,2,3...", r"1,2,3,\ldots"),
            ("A(1,2)", "(1,2)"),
        ]);
        differ(&[
            ("7", "5 or 7"),
            ("2021", r"\pm 2021"),
            ("(1, 2)", "(2, 1)"),
            ("(3,1)", "{1,3}"),
            ("[1, 2]", "(1, 2)"),
            (r"\{1,2\}", r"\{1,2,3\}"),
            (r"1,2,\ldots,10", "1,2,10"),
            ("7", "1,2,3,4,5,6,7"),
            ("0,1", "0.1"),
            ("1,2,3...", "1,2,3"),
            ("a=4, b=5", "5, 4"),
            ("AB=4, CD=5", "AB=5, CD=4"),
            ("a=4, b=5", "a=5, b=4"),
        ]);
    }

    #[test]
    fn intervals_and_inequalities() {
        same(&[
            (r"[0,\infty)", r"x\ge 0"),
            ("(0, 12.5)", "0 < x < 12.5"),
            (r"m \in [\sqrt{2}, +\infty)", r"m \geq \sqrt{2}"),
            (r"(-\infty,-1)\cup(1,\infty)", r"(1,\infty)\cup(-\infty,-1)"),
            (r"(-\infty,-1)\cup(1,\infty)", "x<-1 or x>1"),
            (r"\mathbb{R}", r"(-\infty,\infty)"),
            (r"\mathbb{R}\setminus\{1\}", r"(-\infty,1)\cup(1,\infty)"),
            (r"x \neq 5", r"(-\infty,5)\cup(5,\infty)"),
            ("2x> 6", "x>3"),
            ("x <= 1", "-x >= -1"),
            (r"5 \geq x", r"x \leq 5"),
            (r"1\leq|z|\leq \frac{3}{2}", r"z \in \left[-\frac{3}{2}, -1\right] \cup \left[1, \frac{3}{2}\right]"),
            ("x^2 < 4", "(-2,2)"),
            ("$0<f(x)<1$", "$(0,1)$"),
            (r"x+y\le 2", r"2x+2y\le 4"),
            (r"x+y\le 2", r"-x-y\ge -2"),
            (r"\frac{x-1}{x+2}\ge 0", r"(-\infty,-2)\cup[1,\infty)"),
            ("[0,1[", "[0,1)"),
            (r"\left]0,1\right]\cup]2,3[", r"(0,1]\cup(2,3)"),
        ]);
        differ(&[
            ("x> 3", r"x\ge 3"),
            ("[0,1)", "[0,9)"),
            ("x < 1", "x > -1"),
            (r"x+y\le 2", r"x+y\ge 2"),
            (r"x+y\le 2", "x+y<2"),
        ]);
    }

    #[test]
    fn equations_and_functions() {
        same(&[
            ("x = 4", "4"),
            ("f(x)=x^2+1", "x^2+1"),
            ("2x+4y=6", "x+2y=3"),
            ("x^2/4 + y^2/3 = 1", "x^2/16 + y^2/12 = 1/4"),
            ("y = 2x-13", "2x-y-13=0"),
            (r"\frac{NO}{BO}=\frac{1}{\sqrt{6}}", r"\frac{1}{\sqrt{6}}"),
            ("|AB|=1", "1"),
            ("V_{1}:V_{2}=11:21", "11:21"),
            ("z = 1 + 1 = 2", "z = 3+3 = 2"),
            (r"x=1/3\approx1.3", "1/3"),
            (r"\$\dfrac23 \approx \$0.67", "2/3"),
            ("(x, y) = (1, 2)", "(1,2)"),
            ("x^2=4", "2, -2"),
            (r"\sqrt2 x + y = 1", r"2x+\sqrt2 y=\sqrt2"),
            (r"\sin\theta=\frac35", "3/5"),
            (r"3\cdot 4 = 12", "12"),
            (r"x \equiv 2 \pmod 5", r"2 \pmod{5}"),
            (r"x \equiv 7 \pmod 5", "x ≡ 2 (mod 5)"),
            (r"x \equiv 2 \pmod 5", "2"),
            (r"2 \operatorname{cis} 90^\circ", "2i"),
            (r"\cis(\pi)", "-1"),
        ]);
        differ(&[
            ("7 = 11a+c", "11a+c"),
            ("2x + z = 1", "1"),
            ("3*x-1*y+13=0", "3x + 4y + 14=0"),
            ("x = 4", "x = 5"),
            ("12:00", "1:00"),
            (r"x \equiv 2 \pmod 5", r"x \equiv 2 \pmod 7"),
            (r"x \equiv 2 \pmod 5", r"x \equiv 3 \pmod 5"),
            (r"\sin\theta=\frac35", r"\cos\theta=\frac35"),
            (r"3\cdot 4 = 12", "x = 3"),
        ]);
    }

    #[test]
    fn words_and_choices() {
        same(&[
            (r"\text{blue}", "Blue"),
            (r"\text{(C)}", "C"),
            ("A", "(A)"),
            ("(B) 42", "B"),
            ("North", "north."),
            (r"\text{no solution}", "No solution"),
            ("odd", r"\text{odd}"),
            (r"\text{B,E}", "E, B"),
            ("D", "Option D."),
            ("11:30 a.m.", r"11{:}30\text{ AM}"),
            ("6:15", r"6{:}15"),
            ("all real numbers", r"\mathbb{R}"),
        ]);
        differ(&[(r"\text{blue}", r"\text{red}"), ("A", "B"), ("4", "four"), ("x", "X"), ("11:30 a.m.", "11:30 p.m.")]);
        differ(&[
            ("x: 3 apples", "x"),
            ("the numbers in (0, 1)", "the numbers in [0, 1]"),
            ("the set of x with -x < 2", "the set of x with x < 2"),
        ]);
    }

    #[test]
    fn what_is_no_answer() {
        assert_eq!(parse("").unwrap_err(), NoParse::Unparsable);
        assert_eq!(parse(r"\frac{1}{").unwrap_err(), NoParse::Unparsable);
        assert_eq!(parse(&"9".repeat(5000)).unwrap_err(), NoParse::Budget);
        assert_eq!(parse(&"(".repeat(100)).unwrap_err(), NoParse::Budget);
    }
}
