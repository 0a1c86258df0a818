//! What tests do with a submission's results beside comparing them: lists that it changes, objects, dates, closures.

use super::*;

#[test]
fn what_a_call_changes_in_its_arguments_is_seen_behind_it() {
    let unique = "def f(xs, *, log=None):
    xs[:] = sorted(set(xs))
    if log is not None: log[len(xs)] = xs
    return len(xs)";
    let pop = "def f(xs): return xs.pop()";
    let shortened = "def shortened(c, xs):\n    k = c(xs)\n    return xs[:k]";
    for (setup, assertion, submission) in [
        ("", "xs = [2, 1, 1]\nk = f(xs)\nassert xs[:k] == [1, 2]", unique),
        ("", "xs = [2, 1, 1]\nassert f(xs) == 2 and xs == [1, 2]", unique),
        ("", "xs = [2, 1, 1]\nif f(xs) == 2:\n    assert xs == [1, 2]\nelse:\n    assert False", unique),
        (shortened, "xs = [2, 1, 1]\nassert shortened(f, xs) == [1, 2]", unique),
        ("", "log = {}\nf([2, 1, 1], log=log)\nassert log == {2: [1, 2]}", unique),
        ("", "xs = [2, 1, 1]\nf(xs=xs)\nassert xs == [1, 2]", unique),
        ("", "xs = [3, 1, 2]\nassert f(xs) is None and xs == [1, 2, 3]", "def f(xs): xs.sort()"),
        ("", "xs = [1, 2, 3]\nassert [f(xs) for _ in range(3)] == [3, 2, 1]", pop),
    ] {
        check(submission, &tests(setup, &[assertion]), None);
        check("def f(xs, **_): return 1", &tests(setup, &[assertion]), Some("assertion_failed"));
    }
}

#[test]
fn tests_of_classes_closures_and_constants_run_beside_the_submission() {
    let classes = "import abc, contextlib, enum
class Point:
    def __init__(self, x, y): self.x, self.y = x, y
    def __str__(self): return f'({self.x}, {self.y})'
    def __repr__(self): return f'Point{self}'
    def __len__(self): return 2
    def __iter__(self): return iter((self.x, self.y))
    def __getitem__(self, at): return (self.x, self.y)[at]
    def __abs__(self): return self.x + self.y
    def __bool__(self): return self.x > 0
    def __mul__(self, other): return self.x * other.x + self.y * other.y
    def __hash__(self): return self.x
    def __eq__(self, other): return self.x == other.x
class Stack:
    def __init__(self): self.items = []
    def append(self, item): self.items.append(item)
    def pop(self): return self.items.pop()
class Refused(Exception): pass
def f(x):
    if x < 0: raise Refused
    return x
def adder(n): return lambda x: x + n
@contextlib.contextmanager
def opened(): yield 3
class Shape(abc.ABC): pass
class Round(Shape): pass
class Colour(enum.Enum): RED = 1
LIMIT = 9
NOTHING = None";
    for assertion in [
        "assert str(Point(1, 2)) == '(1, 2)'",
        "assert repr(Point(1, 2)) == 'Point(1, 2)'",
        "assert f'{Point(1, 2)}' == '(1, 2)'",
        "assert len(Point(1, 2)) == 2",
        "assert list(Point(1, 2)) == [1, 2] and tuple(Point(1, 2)) == (1, 2)",
        "assert abs(Point(1, 2)) in [3]",
        "assert bool(Point(1, 2)) and not bool(Point(0, 2))",
        "assert Point(1, 2) * Point(3, 4) == 11",
        "assert len({Point(1, 2), Point(1, 3)}) == 1",
        "p = Point(1, 2)\nassert p[0] == 1",
        "p = Point(1, 2)\nassert p is not None and p != None",
        "s = Stack()\ns.append(3)\nassert s.pop() == 3",
        "assert adder(3)(4) in [7]",
        "add = adder(3)\nassert add(4) == 7",
        "with opened() as value:\n    assert value == 3",
        "try:\n    f(-1)\n    assert False\nexcept Refused:\n    pass",
        "assert callable(f)",
        "assert str(LIMIT) == '9'",
        "assert LIMIT == 9",
        "assert NOTHING is None",
        "r = Round()\nassert type(r) == Round and isinstance(r, Shape) and type(Colour.RED) == Colour",
    ] {
        check(classes, &tests("", &[assertion]), None);
        let completion = "<answer>\nx = 1\n</answer>";
        assert_eq!(score(&code(), completion, &tests("", &[assertion])), Score::zero("exception"), "{assertion}");
    }
    for (assertion, right, broken) in [
        ("assert str(Point(1, 2)) == '(1, 2)'", "f'({", "f'<{"),
        ("assert len(Point(1, 2)) == 2", "return 2", "return 3"),
        ("s = Stack()\ns.append(3)\nassert s.pop() == 3", "items.pop()", "items[:]"),
        ("assert adder(3)(4) in [7]", "x + n", "x - n"),
        ("assert str(LIMIT) == '9'", "LIMIT = 9", "LIMIT = 8"),
        ("try:\n    f(-1)\n    assert False\nexcept Refused:\n    pass", "x < 0", "x < -1"),
    ] {
        check(&classes.replace(right, broken), &tests("", &[assertion]), Some("assertion_failed"));
    }
    // A function may have such a name, and what it returns is judged as any other's.
    let functions = tests("", &["assert len(Diff([1, 2], [2])) == 1", "assert Diff([1], []) in [[1]]"]);
    check("def Diff(xs, ys): return [x for x in xs if x not in ys]", &functions, None);
    check("def Diff(xs, ys): return ys", &functions, Some("assertion_failed"));
}

#[test]
fn what_a_submission_says_that_is_neither_number_nor_text() {
    let submission = "import datetime
from collections import deque
def day(n): return datetime.date(2020, 1, n)
def moment(n): return datetime.datetime(2020, 1, n, 12, 30)
def span(n): return datetime.timedelta(hours=n)
def clock(n): return datetime.time(n, 5)
def queue(n): return deque(range(n), maxlen=9)
def numbers(n): return range(0, n, 2)
def partly(n):
    yield n
    raise ValueError('no more')";
    let reference = tests(
        "import datetime\nfrom datetime import timedelta\nfrom collections import deque",
        &[
            "assert day(3) == datetime.date(2020, 1, 3)",
            "assert [moment(3)] == [datetime.datetime(2020, 1, 3, 12, 30)]",
            "assert span(25) == timedelta(days=1, hours=1) and span(1) < span(2)",
            "assert clock(3).isoformat() == '03:05:00'",
            "assert day(datetime.date(2020, 2, 9).day) < datetime.date(2020, 1, 10)",
            "assert queue(2) == deque((0, 1))",
            "assert queue(2) == deque([9, 0, 1], 2)",
            "assert numbers(3) == range(0, 4, 2)",
            "try:\n    list(partly(1))\n    assert False\nexcept ValueError as error:\n    assert str(error) == 'no more'",
        ],
    );
    check(submission, &reference, None);
    for (right, broken) in
        [("1, n)", "2, n)"), ("12, 30", "12, 31"), ("hours=n", "hours=1"), ("n, 2)", "n, 3)"), ("range(n)", "[n]")]
    {
        check(&submission.replace(right, broken), &reference, Some("assertion_failed"));
    }
}

/// An exception is what the tests know it as: by its class, or the next one of its bases that they have.
#[test]
fn exceptions_keep_their_class_and_what_they_were_made_of() {
    let setup = "import json, statistics, decimal\nclass BadInput(ValueError):\n    def __init__(self, text, code):\n        super().__init__(text)\n        self.code = code";
    // Where the question shows a class, the submission may write it once more.
    let submission = "import json, statistics, decimal
class BadInput(ValueError):
    def __init__(self, text, code):
        super().__init__(text)
        self.code = code
class Own(KeyError): pass
class Said(ValueError):
    def __str__(self): return 'said'
def f(kind):
    if kind == 'json': json.loads('[1,')
    if kind == 'statistics': statistics.mean([])
    if kind == 'decimal': decimal.Decimal(1) / 0
    if kind == 'bad': raise BadInput('no', 7)
    if kind == 'utf8': b'\\xff'.decode()
    if kind == 'said': raise Said('other')
    raise Own('a', 3)";
    for (kind, caught, holds) in [
        ("json", "json.JSONDecodeError", "e.pos == 3 and str(e).startswith('Expecting')"),
        ("json", "ValueError", "'Expecting' in str(e)"),
        ("statistics", "statistics.StatisticsError", "'data' in str(e)"),
        ("decimal", "decimal.DivisionByZero", "True"),
        ("decimal", "ZeroDivisionError", "True"),
        ("bad", "BadInput", "e.code == 7 and e.args == ('no',) and str(e) == 'no'"),
        ("utf8", "UnicodeDecodeError", "e.object == b'\\xff' and e.start == 0"),
        ("said", "ValueError", "str(e) == 'said'"),
        ("own", "KeyError", "e.args[0] == 'a' and e.args[1] == 3"),
        ("own", "LookupError", "type(e) is KeyError"),
    ] {
        let form =
            |caught| format!("try:\n    f('{kind}')\n    assert False\nexcept {caught} as e:\n    assert {holds}");
        check(submission, &tests(setup, &[&form(caught)]), None);
        check(submission, &tests(setup, &[&form("OSError")]), Some("exception"));
    }
    // What the tests do not name is no class to them: a test that is skipped is no success.
    let unit = "import unittest\nclass TestF(unittest.TestCase):\n    def test(self):\n        self.assertEqual(f(3), 9)\ndef go():\n    return unittest.TestResult(), unittest.defaultTestLoader.loadTestsFromTestCase(TestF)";
    let reference = tests(unit, &["result, suite = go()\nsuite.run(result)\nassert result.wasSuccessful()"]);
    check("def f(x): return 9", &reference, None);
    check("import unittest\ndef f(x): raise unittest.SkipTest('no')", &reference, Some("assertion_failed"));
}

/// Lists within lists are the test's own.
#[test]
fn what_a_call_changes_within_its_arguments_is_seen_where_it_is_held() {
    for (assertion, submission) in [
        (
            "row = [3, 1]\ngrid = [row]\nf(grid)\nassert row == [1, 3] and grid == [[1, 3]] and grid[0] is row",
            "def f(g): g[0].sort()",
        ),
        ("row = [3, 1]\nf((row, 1))\nassert row == [1, 3]", "def f(pair): pair[0].sort()"),
        ("row = [3, 1]\nd = {'a': (row,)}\nf(d)\nf(d)\nassert row == [3, 1, 7, 7]", "def f(d): d['a'][0].append(7)"),
        (
            "a, b = [3], [1]\nxs = [a, b]\nf(xs)\nassert xs == [b, a] and a == [3]\nxs[0].append(4)\nassert b == [1, 4]",
            "def f(xs): xs.sort()",
        ),
        ("xs = [1]\nys = f(xs)\nys.append(5)\nassert xs == [1, 5] and ys is xs", "def f(xs): return xs"),
        (
            "xs = [[1], [2]]\nys = f(xs)\nfor y in ys:\n    y.append(5)\nassert xs == [[1, 5], [2]]",
            "def f(xs): return xs[:1]",
        ),
        ("xs = []\nf(xs)\nassert xs == [1, [2]]", "def f(xs): xs.extend([1, [2]])"),
        ("a = []\nb = []\nf(a, b)\nb.append(1)\nassert a == [[1]]", "def f(a, b): a.append(b)"),
        ("xs = [3, 1]\nassert f(xs) == [1, 3] and xs == [1, 3]", "def f(xs):\n    xs.sort()\n    return xs"),
    ] {
        check(submission, &tests("", &[assertion]), None);
        check("def f(*_): return []", &tests("", &[assertion]), Some("assertion_failed"));
    }
}

#[test]
fn what_a_call_changes_before_it_raises_is_seen_as_well() {
    let reference =
        tests("", &["xs = [1, 2]\ntry:\n    f(xs)\nexcept ValueError:\n    assert xs == []\nassert xs == []"]);
    check("def f(xs):\n    xs.clear()\n    raise ValueError", &reference, None);
    check("def f(xs): raise ValueError", &reference, Some("assertion_failed"));
}

#[test]
fn views_of_a_dictionary_are_what_they_are() {
    for (assertion, returned) in [
        ("assert list(f()) == ['zeta', 'alpha', 'mid']", "d.keys()"),
        ("assert f() == {'alpha', 'mid', 'zeta'}", "d.keys()"),
        ("assert list(f()) == [3, 1, 1]", "d.values()"),
        ("assert sorted(f()) == [1, 1, 3] and sum(f()) == 5", "d.values()"),
        ("assert list(f()) == [('zeta', 3), ('alpha', 1), ('mid', 1)]", "d.items()"),
        ("assert ('mid', 1) in f() and len(f()) == 3", "d.items()"),
    ] {
        let submission = |values: &str| {
            format!("def f():\n    d = dict(zip(['zeta', 'alpha', 'mid'], {values}))\n    return {returned}")
        };
        check(&submission("[3, 1, 1]"), &tests("", &[assertion]), None);
        if returned != "d.keys()" {
            check(&submission("[3, 1, 2]"), &tests("", &[assertion]), Some("assertion_failed"));
        }
    }
}

/// A test of more steps than are taken is failed, for a reason that `tasks validate` shows of the task's own solution.
#[test]
fn a_test_of_too_many_dependent_calls_is_named() {
    let chain =
        |calls: u32| tests("", &[&format!("x = 0\nfor _ in range({calls}):\n    x = f(x)\nassert x == {calls}")]);
    check("def f(x): return x + 1", &chain(14), None);
    check("def f(x): return x + 1", &chain(18), Some("too_many_dependent_calls"));
}

/// Statements of a test are in one module with those of its setup.
#[test]
fn functions_of_the_setup_see_what_a_test_defines() {
    let reference = tests("def helper(): return data[0]", &["data = [3]\nassert f(data) == helper()"]);
    check("def f(xs): return xs[0]", &reference, None);
    check("def f(xs): return 4", &reference, Some("assertion_failed"));
}
