//! Properties over many seeded inputs: comparison is symmetric and reflexive, nothing panics, nothing is slow.
//!
//! To look for longer, with an optimised build:
//! `FUZZ_INPUTS=5000000 FUZZ_SEED=7 cargo test --release --workspace --lib property_tests -- --nocapture`. Then each test
//! also says what its slowest verdict was, and fails where that took over 50 ms.

// What was measured is for people to read.
#![allow(clippy::print_stderr)]

use std::time::{Duration, Instant};

use super::answer::{self, Answer};
use super::budget::{Budget, VERDICT_STEPS};
use super::compare::Comparison;
use super::node::Node;
use super::{countdown, math};
use crate::Score;
use crate::corpus;

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|error| panic!("{name} is `{text}`: {error}")))
}

/// Verdicts on many inputs, and the slowest.
struct Fuzz {
    random: Random,
    inputs: u64,
    timed: bool,
    slowest: (Duration, String),
}

impl Fuzz {
    /// As many inputs as the environment says, else `usual`.
    fn new(seed: u64, usual: u64) -> Self {
        let asked = from_environment("FUZZ_INPUTS");
        let random = Random(seed + from_environment("FUZZ_SEED").unwrap_or(0));
        Self { random, inputs: asked.unwrap_or(usual), timed: asked.is_some(), slowest: Default::default() }
    }

    fn judge(&mut self, completion: &str, reference: &str) -> Score {
        if !self.timed {
            return math(completion, reference);
        }
        let once = || {
            let start = Instant::now();
            (math(completion, reference), start.elapsed())
        };
        let (score, mut took) = once();
        // The machine may have been busy with something else.
        for _ in 0..4 {
            if took > self.slowest.0 {
                took = took.min(once().1);
            }
        }
        if took > self.slowest.0 {
            self.slowest = (took, format!("{completion:?} for {reference:?}: {score:?}"));
        }
        score
    }
}

impl Drop for Fuzz {
    fn drop(&mut self) {
        if self.timed && !std::thread::panicking() {
            let (took, input) = &self.slowest;
            eprintln!("{} inputs, the slowest verdict took {took:?}: {input}", self.inputs);
            assert!(*took <= Duration::from_millis(50), "{took:?}: {input}");
        }
    }
}

/// A small counter-based generator (splitmix64): the tests need no more.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}

const PIECES: &[&str] = &[
    "1",
    "2",
    "3",
    "0",
    "25",
    "0.5",
    ".5",
    "1/3",
    "0.333333",
    "1,000",
    "1 000",
    "-",
    "+",
    "*",
    "/",
    "^",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    "\\{",
    "\\}",
    "\\frac",
    "\\frac12",
    "{1}{2}",
    "\\dfrac{3}{4}",
    "%",
    "\\%",
    "$",
    "\\$",
    " ",
    ",",
    ", ",
    " or ",
    " and ",
    "\\pm ",
    "=",
    "x",
    "x = ",
    " cm",
    " m",
    " dollars",
    "\\text{ apples}",
    "e9",
    "E-2",
    "\\boxed{",
    "\\boxed",
    "<answer>",
    "</answer>",
    "####",
    "**",
    "answer is ",
    "\\sqrt{3}",
    "\\sqrt[3]{2}",
    "\\pi",
    "\\sin",
    "\\log_2",
    "\\ln",
    "x",
    "y",
    "x^2",
    "e^{x}",
    "i",
    "=",
    "<",
    "\\le",
    "\\in",
    "\\cup",
    "\\infty",
    "\\pm",
    "|",
    "!",
    "_",
    ";",
    ":",
    "&",
    "\\\\",
    "\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}",
    "\\begin{pmatrix}",
    "\\end{pmatrix}",
    "\\binom{5}{2}",
    "\\sum_{k=1}^{n}",
    "\\int",
    "\\overline{3}",
    "f(x)",
    "\\langle",
    "\\rangle",
    "\\lfloor",
    "\\rfloor",
    "\\ldots",
    "\\mathbb{R}",
    "\\setminus",
    "\\mod",
    "\\frac{d}{dx}",
    "Matrix([[1, 2]])",
    "Symbol('x')",
    "°",
    "^\\circ",
    "½",
    "×",
    "÷",
    "−",
    "\n",
    ". ",
    "A",
    "(B)",
    "north",
    "\\",
    "\u{2983}",
    "\u{2984}",
    "9999999999",
    "🦀",
];

fn garbage(random: &mut Random) -> String {
    let count = 1 + random.below(12);
    (0..count).map(|_| PIECES[random.below(PIECES.len())]).collect()
}

/// Whether one of the asymmetric rules, on decimals and on decimal commas, could tell the two orders apart.
fn asymmetric(answer: &Answer) -> bool {
    let mut is_decimal = |node: &Node| matches!(node, Node::Number(literal) if literal.places > 0);
    answer.decimal_comma.is_some() || answer.readings.iter().any(|reading| reading.any(&mut is_decimal))
}

#[test]
fn comparison_is_symmetric_and_reflexive() {
    let mut random = Random(1);
    let answers: Vec<Answer> = (0..6000).filter_map(|_| answer::parse(&garbage(&mut random)).ok()).collect();
    assert!(answers.len() > 2000, "the generator makes too few answers: {}", answers.len());
    let mut same = 0;
    for answer in &answers {
        assert_eq!(answer.compare(answer), Ok(()), "{answer:?}");
    }
    for _ in 0..300_000 {
        let (left, right) = (&answers[random.below(answers.len())], &answers[random.below(answers.len())]);
        if asymmetric(left) || asymmetric(right) {
            continue;
        }
        let verdict = left.compare(right).is_ok();
        assert_eq!(verdict, right.compare(left).is_ok(), "{left:?} and {right:?}");
        same += usize::from(verdict);
    }
    assert!(same > 100, "too few equal pairs to mean anything: {same}");
}

#[test]
fn garbage_never_panics() {
    let mut fuzz = Fuzz::new(2, 200_000);
    for _ in 0..fuzz.inputs {
        let (completion, reference) = (garbage(&mut fuzz.random), garbage(&mut fuzz.random));
        let score = fuzz.judge(&completion, &reference);
        assert_eq!(score.cause.is_none(), score.value == Some(1.0), "{completion:?} for {reference:?}: {score:?}");
        let _ = countdown::check(&completion, &[1, 2, 3], 6);
    }
}

#[test]
fn random_bytes_never_panic() {
    let mut fuzz = Fuzz::new(3, 50_000);
    for _ in 0..fuzz.inputs {
        let bytes: Vec<u8> = (0..fuzz.random.below(40)).map(|_| fuzz.random.next() as u8).collect();
        let text = String::from_utf8_lossy(&bytes);
        let _ = fuzz.judge(&format!("<answer>{text}</answer>"), "1");
        let _ = fuzz.judge(&text, &text);
    }
}

/// A text with pieces cut out, doubled, put in, or taken from another.
fn mutated(random: &mut Random, texts: &[String]) -> String {
    let mut letters: Vec<char> = texts[random.below(texts.len())].chars().collect();
    for _ in 0..1 + random.below(4) {
        let from = random.below(letters.len() + 1);
        let to = (from + random.below(12)).min(letters.len());
        let new: Vec<char> = match random.below(4) {
            0 => Vec::new(),
            1 => letters[from..to].repeat(1 + random.below(4)),
            2 => PIECES[random.below(PIECES.len())].chars().collect(),
            _ => {
                let other: Vec<char> = texts[random.below(texts.len())].chars().collect();
                let start = random.below(other.len() + 1);
                other[start..(start + random.below(20)).min(other.len())].to_vec()
            }
        };
        letters.splice(from..to, new);
    }
    letters.into_iter().collect()
}

/// Real answers, changed a little, get further than garbage does.
#[test]
fn changed_answers_never_panic() {
    let files = [("math_verify.jsonl", "gold"), ("issues_and_probes.jsonl", "gold"), ("latex_to_sympy.jsonl", "latex")];
    let mut texts = Vec::new();
    for (file, key) in files {
        let Some(text) = corpus::read("grader", file) else { return };
        for line in text.lines() {
            let row: serde_json::Value = serde_json::from_str(line).unwrap();
            texts.extend([key, "pred", "sympy"].iter().filter_map(|key| row[*key].as_str().map(str::to_owned)));
        }
    }
    let mut fuzz = Fuzz::new(4, 20_000);
    for _ in 0..fuzz.inputs {
        let (completion, reference) = (mutated(&mut fuzz.random, &texts), mutated(&mut fuzz.random, &texts));
        let score = fuzz.judge(&completion, &reference);
        assert_eq!(score.cause.is_none(), score.value == Some(1.0), "{completion:?} for {reference:?}: {score:?}");
        let _ = fuzz.judge(&reference, &reference);
    }
}

/// Whatever a text asks for, its verdict comes by counted steps and on a small stack. (Times are `recipe grade`'s to say:
/// here a runaway would show as a test that does not end.)
#[test]
fn hostile_texts_end_on_a_small_stack() {
    let long = 1_000_000;
    let deep = 100_000;
    let texts = [
        "9".repeat(long),
        format!("0.{}", "3".repeat(long)),
        "(".repeat(deep),
        format!("{}1{}", "(".repeat(deep), ")".repeat(deep)),
        format!("{}1{}", "{".repeat(deep), "}".repeat(deep)),
        "\\frac{".repeat(deep),
        "-".repeat(long),
        "1,".repeat(long / 2),
        "1,000".repeat(long / 5),
        "\\boxed{".repeat(deep),
        "<answer>".repeat(deep),
        "**".repeat(deep),
        "answer".repeat(deep),
        "answer is ".repeat(deep),
        "box".repeat(deep),
        "####".repeat(deep),
        "1/".repeat(long / 2),
        "```\n".repeat(deep),
        "9^9^9^9^9".to_owned(),
        "2^{99999999999999999999}".to_owned(),
        "1e999999999999".to_owned(),
        // The largest that stay within the budget of length and operations.
        "1/97+".repeat(126) + "1/97",
        (1000..1126).map(|number| format!("1/{number}+")).collect::<String>() + "1",
        format!("{}*{}", "9".repeat(1000), "8".repeat(1000)),
        format!("{}/{}", "9".repeat(1000), "7".repeat(1000)),
        format!("0.{}", "7".repeat(2000)),
        "7^{400}/3^{900}+".repeat(60) + "1",
        "2^{2000}-".repeat(100) + "1",
        format!("{{{}}}", "1/3,".repeat(60)),
        "\\pm".repeat(600),
        " and ".repeat(400),
        ", or ".repeat(400),
        "(1,".repeat(600),
        "\\[".repeat(deep),
        "\\(".repeat(deep),
        "$ one two $ 3 ".repeat(deep),
        "a1 ".repeat(deep),
        "{1,".repeat(39) + "1" + &"}".repeat(39),
        "\\sqrt{2+".repeat(38) + "1" + &"}".repeat(38),
        "\\sin(".repeat(38) + "x" + &")".repeat(38),
        "2^".repeat(60) + "2",
        "|x-".repeat(30) + "1" + &"|".repeat(30),
        "e^{e^{e^{e^{e}}}}".to_owned(),
        "20000!".to_owned(),
        "\\binom{20000}{10000}".to_owned(),
        "\\sum_{k=1}^{2000}\\frac{1}{k}".to_owned(),
        "\\sum_{k=1}^{1000}\\sum_{j=1}^{1000}kj".to_owned(),
        "(x+y+z+w)^{60}".to_owned(),
        "\\begin{pmatrix}x&1&2\\\\3&y&5\\\\6&7&z\\end{pmatrix}^8".to_owned(),
        "\\begin{pmatrix}1&1\\\\1&0\\end{pmatrix}".repeat(25),
        (2..60)
            .map(|k| format!("\\setminus\\{{\\sqrt{{{k}}}\\}}"))
            .fold("\\mathbb{R}".to_owned(), |all, one| all + &one),
        (2..100).map(|k| format!("\\sqrt{{{k}}}+\\sqrt{{{}}},", k + 1)).collect(),
        "|||||x|-1|-2|-3|-4|<5".to_owned(),
        "x^{11}+x^7-3x^2-1>0".to_owned(),
        "\\sin(10^{1000})".to_owned(),
        "10^{999999999}".to_owned(),
        "10^{10^{999999999}}-10^{10^{999999998}}".to_owned(),
        "1e1500".repeat(60),
        "99999!!!!!!".to_owned(),
        "((((((9!)!)!)!)!)!".to_owned(),
        "999!".repeat(100),
        format!("5 {}", "km^4 kg^4 ".repeat(400)),
        format!("5 km{}", "/kg^4".repeat(800)),
        "\\frac{1}{1+".repeat(38) + "1" + &"}".repeat(38),
        "\\frac{99999}{1+77777^{99}+".repeat(30) + "1" + &"}".repeat(30),
        format!("{}_7", "6".repeat(4000)),
        format!("\\gcd({},{})", "9".repeat(2000), "7".repeat(1999)),
        format!("0.\\overline{{{}}}", "37".repeat(2000)),
    ];
    let judge = move || {
        for text in &texts {
            for completion in [text.clone(), format!("<answer>{text}</answer>"), format!("\\boxed{{{text}}}")] {
                for other in ["1/3", "x", "(0,1)", text.as_str()] {
                    let _ = math(&completion, other);
                    let _ = math(other, &completion);
                }
                let _ = countdown::check(&completion, &[1, 2], 3);
                let _ = super::math_key(&completion);
            }
        }
    };
    std::thread::Builder::new().stack_size(512 << 10).spawn(judge).unwrap().join().unwrap();
}

/// Two formulas are compared as formulas, however alike their texts are: letter case, separators and powers say something.
#[test]
fn texts_do_not_decide_over_formulas() {
    const PARTS: [&str; 10] = ["x", "X", "y", "2", ",", ":", ";", " ", "**", "*"];
    let mut texts = Vec::new();
    for first in PARTS {
        for second in PARTS {
            texts.extend(PARTS.map(|third| format!("{first}{second}{third}")));
        }
    }
    let formulas: Vec<(String, Answer)> =
        texts.into_iter().filter_map(|text| answer::parse(&text).ok().map(|answer| (text, answer))).collect();
    let formulas: Vec<_> =
        formulas.into_iter().filter(|(_, one)| !one.has_words() && !one.is_choice() && !one.is_word()).collect();
    assert!(formulas.len() > 100, "too few formulas: {}", formulas.len());
    let said = |answer: &Answer, other: &Answer| {
        let mut pairs = answer.readings.iter().flat_map(|one| other.readings.iter().map(move |two| (one, two)));
        pairs.any(|(one, two)| {
            one == two || Comparison::new(Budget::new(VERDICT_STEPS), false).compare(one, two).is_ok()
        })
    };
    for (text, answer) in &formulas {
        for (other_text, other) in &formulas {
            if answer.compare(other).is_ok() {
                assert!(said(answer, other) || asymmetric(other), "{text:?} and {other_text:?}: {answer:?} {other:?}");
            }
        }
    }
}
