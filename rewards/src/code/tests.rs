//! Submissions in the real sandbox: honest, broken and hostile ones.

use std::sync::{Arc, LazyLock};

use sandbox::{Limits, Python};

use super::Code;
use crate::{Reference, Reward, Sample, Score, corpus};

/// Prepared once for all tests.
static PYTHON: LazyLock<Arc<Python>> = LazyLock::new(|| {
    Arc::new(Python::prepare(&sandbox::default_cache_dir(), &mut |_| {}).expect("the interpreter can be prepared"))
});

fn code() -> Code {
    Code::new(Arc::clone(&PYTHON), Limits::brief())
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

/// Both kinds of check: one judged outside, one run inside.
fn squares() -> [Reference; 2] {
    [tests("", &["assert square(3) == 9", "assert square(-4) == 16"]), tests("", &["assert 9 <= square(3) <= 9"])]
}

#[test]
fn honest_submissions() {
    for reference in &squares() {
        check("def square(x):\n    return x * x", reference, None);
        check("def square(x):\n    return float(x) ** 2", reference, None);
        check("print('hello')\ndef square(x):\n    print(x)\n    return x * x", reference, None);
        check("def square(x):\n    return x + x", reference, Some("assertion_failed"));
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
fn talking_its_way_out_scores_nothing() {
    let everything = "class Everything:
    def __eq__(self, other): return True
    def __le__(self, other): return True
    def __ge__(self, other): return True
    def __lt__(self, other): return True
    def __gt__(self, other): return True
    def __hash__(self): return 0
";
    let attempts = [
        "import sys\nsys.exit(0)".to_owned(),
        "raise SystemExit".to_owned(),
        "import os\nos._exit(0)".to_owned(),
        "def square(x):\n    raise SystemExit(0)".to_owned(),
        "def square(x):\n    import os\n    os._exit(0)".to_owned(),
        "quit()".to_owned(),
        format!("{everything}def square(x): return Everything()"),
        format!(
            "{everything}class Integer(int, Everything):\n    __eq__ = Everything.__eq__\n    __hash__ = int.__hash__\n    __le__ = __ge__ = Everything.__le__\ndef square(x): return Integer(7)"
        ),
        "class AssertionError(Exception): pass\ndef square(x): return 0".to_owned(),
        "import builtins\nbuiltins.AssertionError = type('E', (BaseException,), {})\ndef square(x): return 0"
            .to_owned(),
        "import builtins\nbuiltins.eval = builtins.exec = lambda *a: 9\ndef square(x): return 0".to_owned(),
        "import builtins\nbuiltins.compile = lambda *a, **k: 'None'\ndef square(x): return 0".to_owned(),
        "__debug__ = False".to_owned(),
        "assert True".to_owned(),
        "print('ok')\nprint('held')\nprint(9)\nprint(16)\ndef square(x): return 0".to_owned(),
        "import sys\nsys.stdout.write = lambda text: None\ndef square(x): return 0".to_owned(),
        "import sys\nsys.stdout = None\ndef square(x): return 0".to_owned(),
        "import sys\nsys.settrace(lambda *a: None)\ndef square(x): return 0".to_owned(),
        "def _grade(*a): pass\ndef square(x): return 0".to_owned(),
        "import __main__\n__main__._literal = lambda value: '9'\ndef square(x): return 0".to_owned(),
        "import __main__\n__main__._statements = lambda *a: (None, lambda *a: None)\ndef square(x): return 0"
            .to_owned(),
        "def square(x):\n    try:\n        return 0\n    finally:\n        pass".to_owned(),
        String::new(),
        "\"\"\"".to_owned(),
        "\\".to_owned(),
        "def square(x):\n    return square(x)".to_owned(),
        "def square(x):\n    return [0] * 10 ** 12".to_owned(),
    ];
    for reference in &squares() {
        for attempt in &attempts {
            let completion = format!("<answer>\n{attempt}\n</answer>");
            let score = score(&code(), &completion, reference);
            assert_eq!(score.value, Some(0.0), "{attempt}");
            assert!(score.cause.is_some(), "{attempt}");
        }
    }
}

/// The harness's own frame is within reach, and with it the marker; the expected values are not there.
#[test]
fn climbing_the_frames_finds_nothing_to_forge() {
    let climb = "import sys
harness = sys._getframe(1).f_locals
checks, marker = harness['checks'], harness['marker']
for _ in list(checks):
    print(marker, True)
harness['checks'] = []
def square(x): return 0";
    let [judged_outside, _] = squares();
    check(climb, &judged_outside, Some("assertion_failed"));
}

#[test]
fn shadowed_names_do_not_help_within_statements() {
    let reference = tests("import math", &["assert math.isclose(f(1), 2.5)", "assert abs(f(1) - 2.5) < 1e-6"]);
    check("def f(x): return 2.5", &reference, None);
    check("def abs(x): return 0\ndef f(x): return 1.0", &reference, Some("assertion_failed"));
    check(
        "import math\nmath.isclose = lambda *a: True\nabs = lambda x: 0\ndef f(x): return 1.0",
        &reference,
        Some("assertion_failed"),
    );
    check("class math:\n    isclose = lambda *a: True\ndef f(x): return 1.0", &reference, Some("assertion_failed"));
}

#[test]
fn unusable_tests_are_unscorable() {
    let code = code();
    let completion = "<answer>\ndef f(): return 1\n</answer>";
    for (reference, cause) in [
        (tests("", &[]), "reference_without_tests"),
        (tests("", &["assert f( == 1"]), "reference_syntax_error"),
        (tests("import", &["assert f() == 1"]), "reference_syntax_error"),
    ] {
        assert_eq!(score(&code, completion, &reference), Score::unscorable(cause));
    }
    assert_eq!(score(&code, "def f(): return 1", &tests("", &["assert f() == 1"])), Score::zero("no_answer"));
}

#[test]
fn many_threads_share_one_reward() {
    let code = code();
    let [reference, _] = squares();
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
