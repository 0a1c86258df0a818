//! Submissions in the real sandbox: honest, broken and hostile ones.

use std::sync::{Arc, LazyLock};

use sandbox::{Limits, Python};

use super::{CallCase, Checker, Code, CodeGrader, Marking, StdinCase, Tolerance};
use crate::{Reference, Reward, Sample, Score, corpus};

mod bounds;
mod handled;
mod hostile;
mod secrets;

/// Prepared once for all tests.
static PYTHON: LazyLock<Arc<Python>> = LazyLock::new(|| {
    Arc::new(Python::prepare(&sandbox::default_cache_dir(), &mut |_| {}).expect("the interpreter can be prepared"))
});

fn code() -> Code {
    Code::binary(Arc::clone(&PYTHON), Limits::brief())
}

/// The causes of all tests, each run whatever became of the others.
fn each(submission: &str, reference: &Reference) -> Vec<Option<&'static str>> {
    let grader = CodeGrader::new(Arc::clone(&PYTHON), Limits::brief());
    grader.grade(submission, reference, Marking::Fraction).unwrap().tests
}

fn tests(setup: &str, assertions: &[&str]) -> Reference {
    Reference::Tests {
        setup: setup.to_owned(),
        assertions: assertions.iter().map(|assertion| (*assertion).to_owned()).collect(),
    }
}

fn score(code: &Code, completion: &str, reference: &Reference) -> Score {
    code.score(&Sample::new("", completion, reference)).unwrap()
}

#[track_caller]
fn check(submission: &str, reference: &Reference, expected: Option<&str>) {
    let completion = format!("<think> so </think> <answer>\n{submission}\n</answer>");
    let score = score(&code(), &completion, reference);
    assert_eq!(score.cause.as_deref(), expected, "{submission}");
    assert_eq!(score.value, Some(if expected.is_none() { 1.0 } else { 0.0 }), "{submission}");
}

fn stdin(pairs: &[(&str, &str)]) -> Reference {
    let case =
        |(stdin, stdout): &(&str, &str)| StdinCase { stdin: (*stdin).into(), stdout: (*stdout).into(), weight: 1 };
    Reference::Stdin { cases: pairs.iter().map(case).collect(), checker: Checker::Lines, tolerance: None }
}

fn calls(function: &str, pairs: &[(&str, &str)]) -> Reference {
    let case = |(arguments, expected): &(&str, &str)| CallCase {
        arguments: (*arguments).into(),
        expected: (*expected).into(),
        wrapped: false,
        weight: 1,
    };
    let cases = pairs.iter().map(case).collect();
    Reference::Calls { setup: "from typing import *".into(), function: function.into(), cases, tolerance: None }
}

/// The ways in which a function is tested: judged outside, in a guest of its own, by HumanEval's `check`, in a `map`, by calls,
/// beside the submission.
fn squares() -> [Reference; 6] {
    [
        tests("", &["assert square(3) == 9", "assert square(-4) == 16"]),
        tests("", &["assert 9 <= square(3) <= 9", "assert square(-4) in [16]"]),
        tests(
            "def check(candidate):\n    assert candidate(3) == 9\n    for x in range(4, 6):\n        assert candidate(-x) == x * x, 'no'",
            &["check(square)"],
        ),
        tests("", &["assert all(map(lambda case: square(case[0]) == case[1], [(3, 9), (-4, 16)]))"]),
        calls("square", &[("[3]", "9"), ("[-4]", "16")]),
        tests("", &["assert square.__call__(3) == 9 and 'x' != 'y'", "assert square.__call__(-4) in [16]"]),
    ]
}

/// A value that is not right: an assertion's cause, or a call's.
fn wrong(reference: &Reference) -> Option<&'static str> {
    Some(if matches!(reference, Reference::Calls { .. }) { "wrong_value" } else { "assertion_failed" })
}

#[test]
fn honest_submissions() {
    for reference in &squares() {
        check("def square(x):\n    return x * x", reference, None);
        check("def square(x):\n    return float(x) ** 2", reference, None);
        check("print('hello')\ndef square(x):\n    print(x)\n    return x * x", reference, None);
        check("def square(x):\n    return x + x", reference, wrong(reference));
        check("def square(x):\n    return x / 0", reference, Some("exception"));
        check("def square(x) return x", reference, Some("syntax_error"));
        check("def quadrat(x): return x * x", reference, Some("exception"));
        check("def square(x):\n    while True: pass", reference, Some("out_of_fuel"));
    }
}

#[test]
fn values_of_every_kind() {
    let reference = tests(
        "import math",
        &[
            "assert f(1) == {'a': [1, (2, 3)], 'b': {4, 5}}",
            "assert f(2) == 'caf\\u00e9\\n\"'",
            "assert f(3) == None",
            "assert math.isclose(f(4), 0.3, rel_tol=1e-9)",
            "assert f(5) == 2 ** 100",
            "assert not f(6)",
            "assert f(7), 'message'",
            "assert set(f(8)) == set([1, 2])",
            "assert f(9) == 2.5",
        ],
    );
    let honest = "from collections import Counter
def f(n):
    return [None, Counter() | {'b': {5, 4}, 'a': [1.0, (2, 3)]}, 'caf\u{e9}\\n\"', None, 0.1 + 0.2, 2 ** 100, [], 'x',
            (2, 1, 1), __import__('fractions').Fraction(5, 2)][n]";
    check(honest, &reference, None);
    check(&honest.replace("(2, 3)", "[2, 3]"), &reference, Some("assertion_failed"));
    check(&honest.replace("0.1 + 0.2", "0.31"), &reference, Some("assertion_failed"));
    check(&honest.replace("'x'", "''"), &reference, Some("assertion_failed"));
}

#[test]
fn setup_may_come_before_or_need_the_submission() {
    let before = tests("import re\nLIMIT = 5", &["assert f() == 5"]);
    check("def f():\n    return LIMIT if re.match('a', 'a') else 0", &before, None);
    let after = tests("root = Node(7)", &["assert value(root) == 7", "assert value(root) <= 7"]);
    check("class Node:\n    def __init__(self, x): self.x = x\ndef value(node): return node.x", &after, None);
}

#[test]
fn tests_run_in_a_guest_of_their_own_as_they_would_beside() {
    let reference = |body: &str| tests(&format!("import math, random\ndef check(candidate):\n{body}"), &["check(f)"]);
    // A call that depends on a result; arguments by name; what is changed in place; exceptions; generators; floats.
    let honest = "def f(x, *rest, scale=1):
    if isinstance(x, list):
        x.sort()
        return None
    if x == 'raise':
        raise ValueError('no ' + x)
    if x == 'generate':
        return (n * n for n in range(3))
    return x * scale + 1";
    let body = "    assert candidate(candidate(candidate(1))) == 4
    assert candidate(2, scale=10) == 21
    numbers = [3, 1, 2]
    assert candidate(numbers) is None and numbers == [1, 2, 3]
    try:
        candidate('raise')
        assert False
    except ValueError as error:
        assert str(error) == 'no raise'
    assert list(candidate('generate')) == [0, 1, 4]
    assert math.isclose(candidate(0.1) - 1, 0.1)
    for _ in range(20):
        n = random.randint(0, 99)
        assert candidate(n) == n + 1
    assert isinstance(candidate(1), int) and type(candidate(1.5)) is float
";
    check(honest, &reference(body), None);
    for (right, broken) in
        [("x.sort()", "sorted(x)"), ("'no '", "'yes '"), ("ValueError", "KeyError"), ("+ 1", "+ 2"), ("n * n", "n")]
    {
        let cause = if right == "ValueError" { "exception" } else { "assertion_failed" };
        check(&honest.replace(right, broken), &reference(body), Some(cause));
    }
    // What a test does not do, but might have done, is no fault of the submission's.
    let branch = "    if candidate(1) == 5:\n        candidate('loop')\n    assert candidate(2) == 3\n";
    check("def f(x):\n    while x == 'loop': pass\n    return x + 1", &reference(branch), None);
    let objects = tests("", &["p = Point(1)\nassert p.x == 1", "assert area(Square(2)) in (4,)"]);
    let classes =
        "class Point:\n    def __init__(self, x): self.x = x\nclass Square(Point): pass\ndef area(s): return s.x * s.x";
    check(classes, &objects, None);
    check(&classes.replace("s.x * s.x", "0"), &objects, Some("assertion_failed"));
}

#[test]
fn each_test_counts_for_itself() {
    let assertions = tests(
        "",
        &[
            "assert f(0) == 0",
            "assert f(1) == 1",
            "assert f(2) == 2",
            "assert f(3) in (3,)",
            "assert f(4) == 4",
            "assert f(5) == 5",
        ],
    );
    let submission = "import os
def f(x):
    if x == 1:
        while True: pass
    if x == 2:
        os._exit(0)
    if x == 3:
        return x / 0
    return 9 if x == 4 else x";
    assert_eq!(
        each(submission, &assertions),
        [None, Some("out_of_fuel"), Some("exit"), Some("exception"), Some("assertion_failed"), None]
    );
    let share = |reference: &Reference, marking| {
        let grader = CodeGrader::new(Arc::clone(&PYTHON), Limits::brief());
        grader.grade(submission, reference, marking).unwrap().score
    };
    assert_eq!(
        share(&assertions, Marking::Fraction),
        Score { value: Some(2.0 / 6.0), cause: Some("out_of_fuel".into()) }
    );
    assert_eq!(share(&assertions, Marking::All).value, Some(0.0));

    let calls = calls("f", &[("[0]", "0"), ("[1]", "1"), ("[2]", "2"), ("[3]", "3"), ("[4]", "4"), ("[5]", "5")]);
    assert_eq!(
        each(submission, &calls),
        [None, Some("out_of_fuel"), Some("exit"), Some("exception"), Some("wrong_value"), None]
    );

    let Reference::Stdin { mut cases, checker, tolerance } =
        stdin(&[("0", "0"), ("1", "1"), ("2", "2"), ("3", "3"), ("4", "4"), ("5", "5")])
    else {
        panic!("stdin")
    };
    let program = "x = int(input())\nif x == 1: bytearray(10 ** 9)\nif x == 2:\n    while True: print(x)\nif x == 3: x / 0\nassert x != 4\nprint(x)";
    cases[0].weight = 5;
    let stdin = Reference::Stdin { cases, checker, tolerance };
    assert_eq!(
        each(program, &stdin),
        [None, Some("out_of_memory"), Some("too_much_output"), Some("exception"), Some("assertion_failed"), None]
    );
    let grader = CodeGrader::new(Arc::clone(&PYTHON), Limits::brief());
    let weighted = grader.grade(program, &stdin, Marking::Weighted).unwrap();
    assert_eq!(weighted.score.value, Some(0.6));
    assert_eq!(each("def f(x) return x", &stdin), [Some("syntax_error"); 6]);
    assert_eq!(each("def f(x) return x", &assertions), [Some("syntax_error"); 6]);
}

#[test]
fn functions_are_called_with_json() {
    let reference = calls(
        "add",
        &[
            ("[[1, 2], {\"a\": null}]", "[true, [1, 2], \"é\"]"),
            ("[1e400, 123456789012345678901]", "123456789012345678902"),
        ],
    );
    let method = "class Solution:
    def add(self, xs: List[int], n) -> List:
        return (n == {'a': None}, xs, 'é') if isinstance(xs, list) else n + 1";
    check(method, &reference, None);
    check("def add(xs, n):\n    return [True, xs, 'é'] if isinstance(xs, list) else n + 1", &reference, None);
    check(
        "def add(xs, n):\n    return [True, xs, 'é'] if isinstance(xs, list) else float(n)",
        &reference,
        Some("wrong_value"),
    );
    check("def other(xs, n): pass", &reference, Some("exception"));
    let Reference::Calls { setup, function, mut cases, .. } = calls("half", &[("[1]", "[0.5]")]) else {
        panic!("calls")
    };
    cases[0].wrapped = true;
    let with =
        |tolerance, cases| Reference::Calls { setup: setup.clone(), function: function.clone(), cases, tolerance };
    check("def half(x): return x / 2", &with(None, cases.clone()), None);
    check("def half(x): return [x / 2]", &with(None, cases.clone()), None);
    check("def half(x): return 0.5000001", &with(None, cases.clone()), Some("wrong_value"));
    check("def half(x): return 0.5000001", &with(Tolerance::new(1e-6), cases.clone()), None);
    cases[0].expected = "0.5".into();
    check("def half(x): return [x / 2]", &with(None, cases.clone()), Some("wrong_value"));
    cases[0].expected = "(0.5)".into();
    let unusable = score(&code(), "<answer>\nx = 1\n</answer>", &with(None, cases));
    assert_eq!(unusable, Score::unscorable("reference_is_no_json"));
}

#[test]
fn a_task_may_bring_its_checker() {
    let checker = "import sys
given, expected, output = (open(name).read().split() for name in sys.argv[1:4])
numbers = [int(word) for word in output]
print(1 if sum(numbers) == int(given[0]) and len(numbers) == len(expected) else 0)";
    let cases = vec![StdinCase { stdin: "5\n".into(), stdout: "1 4\n".into(), weight: 1 }];
    let with = |checker: &str| Reference::Stdin {
        cases: cases.clone(),
        checker: Checker::Program(checker.to_owned()),
        tolerance: None,
    };
    check("n = int(input())\nprint(2, n - 2)", &with(checker), None);
    check("print(1, 3)", &with(checker), Some("wrong_output"));
    check("print('five')", &with(checker), Some("wrong_output"));
    check("print('1\\n')\nprint('print(1)')", &with(checker), Some("wrong_output"));
    // A number counts where it stands alone: the last line may be the submission's.
    let message = "import sys
expected, output = (open(name).read().strip() for name in sys.argv[2:4])
print(1 if expected == output else f'wrong: expected {expected} found:\\n{output}')";
    check("print('1 4')", &with(message), None);
    check("print(4, 1)", &with(message), Some("wrong_output"));
    check("print('bad')\nprint(1)", &with(message), Some("wrong_output"));
    for checker in ["import nothing", "print('checked')\nprint(1)", "print('1 4')"] {
        let unusable = score(&code(), "<answer>\nprint(1)\n</answer>", &with(checker));
        assert_eq!(unusable, Score::unscorable("checker_fails"), "{checker}");
    }
}

#[test]
fn tests_that_cannot_be_used_leave_the_sample_unscored() {
    let missing = tests("import no_such_module\ndef check(f):\n    assert f(1) == 1", &["check(f)"]);
    assert_eq!(
        score(&code(), "<answer>\ndef f(x): return 1\n</answer>", &missing),
        Score::unscorable("reference_fails")
    );
    // Their numpy, as far as HumanEval+ and MBPP+ use it.
    let close = tests("import numpy as np\ndef check(f):\n    assert np.allclose(f(1), [0.5, 1.0])", &["check(f)"]);
    check("def f(x): return [x / 2, x + 1e-12]", &close, None);
    check("def f(x): return [x / 2, x + 1e-3]", &close, Some("assertion_failed"));
}

/// Numbers that would keep this side busy for hours are refused unread.
#[test]
fn a_number_without_end_is_a_wrong_value() {
    let submission = "class N:
    def __init__(self, text): self.text = text
    def __repr__(self): return self.text * 700_000 + '1'
class Fraction: pass
Fraction.__module__ = 'fractions'
def f(x):
    number = Fraction()
    number.numerator, number.denominator = N('7'), N('123456789')
    return number";
    check(submission, &tests("", &["assert f(1) == 2"]), Some("assertion_failed"));
    check(submission, &calls("f", &[("[1]", "2")]), Some("wrong_value"));
}

/// Arguments that `json.loads` refuses fail whatever the submission: the reference is at fault.
#[test]
fn arguments_that_are_no_json_are_the_references_fault() {
    for arguments in ["[1,]", "[\"a\tb\"]", "[+1]", "[.5]", "[0x10]", "[1_000]", "['a']"] {
        let unusable = score(&code(), "<answer>\ndef f(k): return 1\n</answer>", &calls("f", &[(arguments, "1")]));
        assert_eq!(unusable, Score::unscorable("reference_is_no_json"), "{arguments}");
    }
}

#[test]
fn unusable_tests_are_unscorable() {
    let code = code();
    let completion = "<answer>\ndef f(): return 1\n</answer>";
    for (reference, cause) in [
        (tests("", &[]), "reference_without_tests"),
        (tests("", &["assert f( == 1"]), "reference_syntax_error"),
        (tests("import", &["assert f() == 1"]), "reference_syntax_error"),
        // Whatever compares them is the submission's own.
        (tests("", &["assert Point(1, 2) == Point(1, 2)"]), "compares_objects"),
        (tests("", &["assert Point(1, 2) + Point(3, 4) == Point(4, 6)"]), "compares_objects"),
        (tests("", &["assert [Point(1, 2)] != [Point(2, 1)]"]), "compares_objects"),
    ] {
        assert_eq!(score(&code, completion, &reference), Score::unscorable(cause));
    }
    assert_eq!(score(&code, "def f(): return 1", &tests("", &["assert f() == 1"])), Score::zero("no_answer"));
}

#[test]
fn many_threads_share_one_reward() {
    let code = code();
    let [reference, ..] = squares();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (code, reference) = (&code, &reference);
            scope.spawn(move || {
                for index in 0..10 {
                    let right = (thread + index) % 2 == 0;
                    let sign = if right { '*' } else { '-' };
                    let completion = format!("<answer>\ndef square(x): return x {sign} x\n</answer>");
                    assert_eq!(score(code, &completion, reference).value, Some(if right { 1.0 } else { 0.0 }));
                }
            });
        }
    });
}

/// MBPP's own solutions pass their own tests, and a program that returns nothing does not.
#[test]
#[allow(clippy::print_stderr)] // The measurement is for people to read.
fn reference_solutions_of_mbpp() {
    let Some(text) = corpus::read("tasks", "mbpp.jsonl") else { return };
    let code = code();
    let (mut count, mut failures) = (0, Vec::new());
    // Every seventh: the whole takes minutes where the interpreter is slow.
    for line in text.lines().step_by(7) {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        let field = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
        let assertions = row["test_list"].as_array().unwrap().iter().map(|test| test.as_str().unwrap().to_owned());
        let reference = Reference::Tests { setup: field("test_setup_code"), assertions: assertions.collect() };
        count += 1;
        let solved = score(&code, &format!("<answer>\n```python\n{}\n```\n</answer>", field("code")), &reference);
        if solved.value != Some(1.0) {
            failures.push(format!("task {}: {solved:?}", row["task_id"]));
        }
        let empty = score(&code, "<answer>\npass\n</answer>", &reference);
        assert_eq!(empty.value, Some(0.0), "task {}", row["task_id"]);
    }
    eprintln!("mbpp: {} of {count} reference solutions pass; {failures:#?}", count - failures.len());
    assert!(failures.len() * 50 <= count, "{failures:#?}");
}
