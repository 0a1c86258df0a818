//! What stands in a setup and belongs to the tests: the submission must not have it, and must have the rest.

use super::*;

/// A submission that returns the word, if it finds it anywhere in its guest. It does not stand in its own text.
const SPY: &str = "import gc, sys, types
def f(x):
    word, found = ''.join(('sec', 'ret')), []
    for thing in gc.get_objects():
        if isinstance(thing, types.FunctionType):
            thing = (repr(thing.__code__.co_consts), repr(thing.__defaults__), repr(thing.__kwdefaults__))
        elif isinstance(thing, dict):
            thing = list(thing.values())
        elif isinstance(thing, (types.CodeType, types.FrameType)):
            thing = (repr(getattr(thing, 'co_consts', '')),)
        if isinstance(thing, (list, tuple, set)):
            found += [text for text in thing if isinstance(text, str) and word in text]
    frame = sys._getframe(1)
    while frame:
        found += [word] if word in repr((frame.f_globals, frame.f_locals, frame.f_code.co_consts)) else []
        frame = frame.f_back
    for name, value in list(globals().items()):
        if name not in ('f', 'gc', 'sys', 'types'):
            try:
                found += [word] if word in (value(x), value.answers[x]) else []
            except Exception:
                pass
    return word if found else ''";

#[track_caller]
fn asked(question: &str, submission: &str, reference: &Reference) -> Option<f64> {
    let completion = format!("<answer>\n{submission}\n</answer>");
    code().score(&Sample::new(question, &completion, reference)).unwrap().value
}

#[track_caller]
fn check_hidden(setup: &str, assertions: &[&str]) {
    let reference = tests(setup, assertions);
    assert_eq!(asked("", SPY, &reference), Some(0.0), "{setup}\n{assertions:?}");
    assert_eq!(asked("", "def f(x): return 'secret'", &reference), Some(1.0), "{setup}\n{assertions:?}");
}

#[test]
fn answers_that_stand_in_the_setup_are_not_there() {
    let oracle = "def ref(x):\n    return 'secret'\n";
    for (setup, assertions) in [
        // HumanEval+ as it is published.
        (
            "import numpy as np\ndef assertion(out, exp, atol):\n    exact_match = out == exp\n    if not exact_match and atol != 0:\n        np.testing.assert_allclose(out, exp, atol=atol)\n    else:\n        assert exact_match\n\ndef ref_func(x):\n    return 'secret'\n\ndef check(candidate):\n    for inp in [[3], [4]]:\n        assertion(candidate(*inp), ref_func(*inp), 0)\n",
            &["check(f)"][..],
        ),
        (&format!("{oracle}ORACLE = ref"), &["assert f(3) == ORACLE(3)"]),
        (&format!("{oracle}KNOWN = {{'f': ref}}"), &["assert f(3) == KNOWN['f'](3)"]),
        (oracle, &["assert list(map(f, [1, 2])) == list(map(ref, [1, 2]))"]),
        (oracle, &["assert f(3) == globals()['ref'](3)"]),
        (&format!("{oracle}def check(c):\n    expected = ref(3)\n    assert c(3) == expected"), &["check(f)"]),
        (
            &format!("{oracle}def check(c):\n    if ref(3) == 'secret':\n        k = 'secret'\n    assert c(3) == k"),
            &["check(f)"],
        ),
        ("ref = lambda x: 'secret'", &["assert f(3) == ref(3)"]),
        ("class Oracle:\n    answers = {3: 'secret'}", &["assert f(3) == Oracle.answers[3]"]),
        ("table = {}\nfor k in range(5):\n    table[k] = 'secret'", &["assert f(3) == table[3]"]),
        ("expected = {}\nexpected[3] = 'secret'", &["assert f(3) == expected[3]"]),
        ("CASES = [(3, 'secret')]", &["for x, y in CASES:\n    assert f(x) == y"]),
        ("CASES = [(3, 'secret')]", &["assert f(CASES[0][0]) == 'secret'"]),
        // Not all of what the tests are judged by is in their assertions.
        ("CASES = [(3, 'secret')]\nCASES.append((4, 'secret'))", &["assert f(3) == 'secret'"]),
        ("def check(c):\n    assert c(3) == 'secret'", &["assert f(3) == 'secret'"]),
        ("def check_all(c):\n    if c(3) != 'secret': raise ValueError", &["assert f(3) == 'secret'"]),
        ("def again():\n    return f(3) == 'secret'", &["assert f(3) == 'secret'"]),
        // Of two tests neither shows the other's part.
        (
            "def first(c):\n    if c(3) != 'secret': raise ValueError\ndef second(c):\n    if c(4) != 'secret': raise ValueError",
            &["first(f)", "second(f)"],
        ),
        (
            "import unittest\nclass TestF(unittest.TestCase):\n    def test(self):\n        self.assertEqual(f(3), 'secret')\ndef go():\n    return unittest.TestResult(), unittest.defaultTestLoader.loadTestsFromTestCase(TestF)",
            &["result, suite = go()\nsuite.run(result)\nassert result.wasSuccessful()"],
        ),
    ] {
        check_hidden(setup, assertions);
    }
    // The spy finds what is there.
    assert_eq!(asked(oracle, SPY, &tests(oracle, &["assert f(3) == ref(3)"])), Some(1.0));
}

/// What the submission needs of a setup is there all the same.
#[test]
fn a_submission_has_what_the_question_shows_and_what_is_no_test() {
    let poly = "def poly(xs: list, x: float):\n    # by Horner\n    return sum(c * x ** i for i, c in enumerate(xs))\n";
    let preamble = format!("import math\n\n{poly}");
    let test = "METADATA = {}\n\ndef check(candidate):\n    for c in [2, 3]:\n        root = candidate([-c, 1])\n        assert math.fabs(poly([-c, 1], root)) < 1e-4\n";
    let reference = tests(&format!("{preamble}\n\n{test}"), &["check(find_zero)"]);
    let honest = "def find_zero(xs): return next(x for x in range(9) if poly(xs, math.floor(x)) == 0)";
    let question = format!("Write this function:\n\n{preamble}\n\ndef find_zero(xs: list):\n    \"\"\" ... \"\"\"");
    assert_eq!(asked(&question, honest, &reference), Some(1.0));
    assert_eq!(asked(&question.replace("* x **", "..."), honest, &reference), Some(0.0));
    assert_eq!(asked("", &format!("import math\n{poly}{honest}"), &reference), Some(1.0));

    for (setup, assertions, honest) in [
        ("import re\nVOWELS = 'aeiou'", "assert f('abc') == 1", "def f(s): return sum(c in VOWELS for c in s)"),
        (
            "VOWELS = ['a', 'e']\ndef vowel(c):\n    return c in VOWELS",
            "assert f('abc') in (1,)",
            "def f(s): return sum(map(vowel, s))",
        ),
        (
            "class Node:\n    def __init__(self, x): self.x = x",
            "assert f(Node(3)) == 3",
            "def f(n): return Node(n.x).x",
        ),
        (
            "from numpy import inf\ntry:\n    import numpy\nexcept ImportError:\n    numpy = None\nroot = Node(1)\nroot.left = Node(2)",
            "assert f(root) == 3",
            "class Node:\n    def __init__(self, x): self.x = x\ndef f(n): return n.x + n.left.x",
        ),
        ("data = [3, 1, 2]", "assert f(data) == [1, 2, 3]", "def f(xs): return sorted(xs)"),
        ("from math import *", "assert f(3) == 9.0", "def f(x): return pow(x, 2)"),
    ] {
        check(honest, &tests(setup, &[assertions]), None);
    }
}

/// `import *` brings names that are not the submission's to define; what the test itself asks for is.
#[test]
fn names_of_star_imports_are_the_tests() {
    for (setup, assertion, rigged, honest) in [
        ("from math import *", "assert isfinite(f(3))", "def isfinite(x): return True\ndef f(x): return inf", "1"),
        ("from operator import *", "assert eq(f(3), 9)", "def eq(*a): return True\ndef f(x): return 0", "9"),
        ("from math import *", "assert gcd(4, f(6)) == 2", "def gcd(*a): return 2\ndef f(x): return 4", "6"),
    ] {
        let reference = tests(setup, &[assertion]);
        check(&format!("def f(x): return {honest}"), &reference, None);
        check(rigged, &reference, Some("assertion_failed"));
    }
    for (setup, assertion) in [
        ("from math import *", "assert gcd(4, 6) == 2"),
        ("from math import gcd", "assert gcd(4, 6) in (2,)"),
        ("def check(c):\n    assert c(4, 6) == 2", "check(max)"),
    ] {
        let reference = tests(setup, &[assertion]);
        let of = |value: u32| format!("def gcd(a, b): return {value}\nmax = gcd");
        check(&of(2), &reference, None);
        check(&of(3), &reference, Some("assertion_failed"));
    }
}
