//! Python functions over a list of numbers: two to five steps in words, with tests from the function's Rust twin.
//!
//! A step takes a list and gives a list; the last may give a number. The words, the Python and the Rust of each step stand
//! on one line of [`step`], so that they cannot drift apart unseen; a test runs the Python in the sandbox.

use rewards::Reference;

use super::Drawn;
use crate::random::{Counter, hash_text};

/// How many assertions a task has.
const ASSERTIONS: usize = 5;

/// What the steps so far have made of a list.
#[derive(Clone, Debug, PartialEq)]
enum Value {
    List(Vec<i64>),
    Number(i64),
}

/// What a step does, in Rust.
type Twin<T> = dyn Fn(&[i64]) -> T;

/// A step: its words, its Python (`x` is the list so far), and what it does.
struct Step {
    words: String,
    python: String,
    apply: Box<Twin<Value>>,
}

fn listed(words: String, python: String, apply: impl Fn(&[i64]) -> Vec<i64> + 'static) -> Step {
    Step { words, python, apply: Box::new(move |list| Value::List(apply(list))) }
}

fn numbered(words: &str, python: &str, apply: impl Fn(&[i64]) -> i64 + 'static) -> Step {
    Step { words: words.to_owned(), python: python.to_owned(), apply: Box::new(move |list| Value::Number(apply(list))) }
}

/// A step that gives a list. `k` is its constant.
fn step(kind: usize, k: i64) -> Step {
    let size = usize::try_from(k).unwrap_or(1);
    let text = |words: &str, python: &str| (words.replace('K', &k.to_string()), python.replace('K', &k.to_string()));
    let plain = |words: &str, python: &str, apply: Box<Twin<Vec<i64>>>| {
        let (words, python) = text(words, python);
        listed(words, python, apply)
    };
    match kind {
        0 => plain(
            "keep the numbers greater than K",
            "[v for v in x if v > K]",
            Box::new(move |x| x.iter().copied().filter(|&v| v > k).collect()),
        ),
        1 => plain(
            "drop the numbers divisible by K",
            "[v for v in x if v % K != 0]",
            Box::new(move |x| x.iter().copied().filter(|&v| v.rem_euclid(k) != 0).collect()),
        ),
        2 => plain("add K to each", "[v + K for v in x]", Box::new(move |x| x.iter().map(|v| v + k).collect())),
        3 => plain("multiply each by K", "[v * K for v in x]", Box::new(move |x| x.iter().map(|v| v * k).collect())),
        4 => plain(
            "replace each by its remainder when divided by K",
            "[v % K for v in x]",
            Box::new(move |x| x.iter().map(|v| v.rem_euclid(k)).collect()),
        ),
        5 => plain(
            "sort from small to large",
            "sorted(x)",
            Box::new(|x| {
                let mut x = x.to_vec();
                x.sort_unstable();
                x
            }),
        ),
        6 => plain("reverse the order", "x[::-1]", Box::new(|x| x.iter().rev().copied().collect())),
        7 => plain(
            "keep the first K (all if there are fewer)",
            "x[:K]",
            Box::new(move |x| x.iter().take(size).copied().collect()),
        ),
        8 => plain("drop the first K", "x[K:]", Box::new(move |x| x.iter().skip(size).copied().collect())),
        9 => plain(
            "remove repeated numbers, keeping the first of each",
            "list(dict.fromkeys(x))",
            Box::new(|x| {
                let mut seen = Vec::new();
                x.iter().for_each(|v| {
                    if !seen.contains(v) {
                        seen.push(*v);
                    }
                });
                seen
            }),
        ),
        10 => plain("take absolute values", "[abs(v) for v in x]", Box::new(|x| x.iter().map(|v| v.abs()).collect())),
        11 => plain("square each", "[v * v for v in x]", Box::new(|x| x.iter().map(|v| v * v).collect())),
        12 => plain(
            "replace each by the running sum up to it",
            "[sum(x[:i + 1]) for i in range(len(x))]",
            Box::new(|x| {
                x.iter()
                    .scan(0, |sum, v| {
                        *sum += v;
                        Some(*sum)
                    })
                    .collect()
            }),
        ),
        13 => plain(
            "replace the list by the differences of neighbours (each minus the one before)",
            "[b - a for a, b in zip(x, x[1:])]",
            Box::new(|x| x.windows(2).map(|pair| pair[1] - pair[0]).collect()),
        ),
        14 => plain(
            "keep every second number, beginning with the first",
            "x[::2]",
            Box::new(|x| x.iter().step_by(2).copied().collect()),
        ),
        _ => plain(
            "replace numbers greater than K by K",
            "[min(v, K) for v in x]",
            Box::new(move |x| x.iter().map(|&v| v.min(k)).collect()),
        ),
    }
}

/// A last step that gives a number, 0 for an empty list.
fn ending(kind: usize) -> Step {
    match kind {
        0 => numbered("return the sum", "sum(x)", |x| x.iter().sum()),
        1 => numbered("return how many are left", "len(x)", |x| i64::try_from(x.len()).unwrap_or(0)),
        2 => numbered("return the largest, or 0 if none is left", "max(x, default=0)", |x| {
            x.iter().copied().max().unwrap_or(0)
        }),
        3 => numbered("return the smallest, or 0 if none is left", "min(x, default=0)", |x| {
            x.iter().copied().min().unwrap_or(0)
        }),
        4 => numbered("return how many different numbers are left", "len(set(x))", |x| {
            let mut x = x.to_vec();
            x.sort_unstable();
            x.dedup();
            i64::try_from(x.len()).unwrap_or(0)
        }),
        _ => numbered("return the sum of the numbers at even positions (counted from 0)", "sum(x[::2])", |x| {
            x.iter().step_by(2).sum()
        }),
    }
}

fn run(steps: &[Step], input: &[i64]) -> Value {
    steps.iter().fold(Value::List(input.to_vec()), |value, step| match value {
        Value::List(list) => (step.apply)(&list),
        // Only the last step gives a number.
        Value::Number(number) => Value::Number(number),
    })
}

fn literal(value: &Value) -> String {
    match value {
        Value::List(list) => format!("{list:?}"),
        Value::Number(number) => number.to_string(),
    }
}

/// The function as Python.
fn source(steps: &[Step]) -> String {
    let mut text = "def solve(x):\n".to_owned();
    for (at, step) in steps.iter().enumerate() {
        let target = if at + 1 == steps.len() { "return" } else { "x =" };
        text.push_str(&format!("    {target} {}\n", step.python));
    }
    text.trim_end().to_owned()
}

pub(super) fn programs(level: u8, counter: &mut Counter) -> Drawn {
    let count = 1 + usize::from(level) + counter.below(2);
    let mut steps: Vec<Step> = Vec::new();
    let mut last = usize::MAX;
    while steps.len() < count {
        let kind = counter.below(16);
        if kind != last {
            steps.push(step(kind, counter.between(2, 9)));
            last = kind;
        }
    }
    if counter.percent(60) {
        steps.pop();
        steps.push(ending(counter.below(6)));
    }
    let words: Vec<&str> = steps.iter().map(|step| step.words.as_str()).collect();
    let returns = if words.last().is_some_and(|words| words.starts_with("return")) { "" } else { "; return the list" };
    let prompt = format!(
        "Write a Python function solve(x) that takes a list of whole numbers and does this in order: {}{returns}.",
        words.join("; ")
    );
    // One question has one reference: the inputs follow from the question.
    let mut inputs = Counter::new(&[hash_text("program inputs"), hash_text(&prompt)]);
    let assertions: Vec<String> = (0..ASSERTIONS)
        .map(|at| {
            // The last input is the empty list, which many wrong functions stumble over.
            let length = if at + 1 == ASSERTIONS { 0 } else { 4 + inputs.below(6) };
            let input: Vec<i64> = (0..length).map(|_| inputs.between(-20, 50)).collect();
            format!("assert solve({input:?}) == {}", literal(&run(&steps, &input)))
        })
        .collect();
    let right = source(&steps);
    // Off by one in what it returns, or by one element.
    let wrong = right.replacen("    return ", "    return [7] + ", 1);
    let wrong = if returns.is_empty() { right.replacen("    return ", "    return 1 + ", 1) } else { wrong };
    let reference = Reference::Tests { setup: String::new(), assertions };
    Drawn { content: prompt.clone(), prompt, reference, right, wrong }
}
