//! Submissions that would talk their way out, or rig what they are compared with.

use super::*;

/// What a submission could try, each in place of a right `square`.
fn attempts() -> Vec<String> {
    let everything = "class Everything:
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __le__(self, other): return True
    __ge__ = __lt__ = __gt__ = __contains__ = __le__
    def __hash__(self): return 0
    def __bool__(self): return True
";
    let of = |kind: &str, body: &str| {
        format!(
            "{everything}class Forged({kind}, Everything):\n    __eq__ = Everything.__eq__\n    __ne__ = Everything.__ne__\n    __le__ = __ge__ = __lt__ = __gt__ = Everything.__le__\n    def __hash__(self): return 0\n{body}"
        )
    };
    let returning = |value: &str| format!("def square(x): return {value}");
    let mut attempts = vec![
        format!("{everything}{}", returning("Everything()")),
        format!("{everything}{}", returning("[Everything()]")),
        of("int", &returning("Forged(7)")),
        of("float", &returning("Forged(7.5)")),
        of("str", &returning("Forged('9')")),
        of("list", &returning("Forged([9])")),
        of("dict", &returning("Forged()")),
        of("tuple", &returning("Forged((9, 16))")),
        // A type that lies about itself.
        "class Meta(type):\n    def __instancecheck__(self, other): return True\n    def __eq__(self, other): return True\n    def __hash__(self): return 0\nclass Any(int, metaclass=Meta):\n    def __repr__(self): return '9'\ndef square(x): return Any(1)".to_owned(),
        "class Liar:\n    @property\n    def __class__(self): return int\n    def __repr__(self): return '9'\n    __str__ = __repr__\ndef square(x): return Liar()".to_owned(),
        "class Liar(int):\n    def __repr__(self): return '9 if True else 16'\n    __str__ = __repr__\ndef square(x): return Liar(1)".to_owned(),
        "class Deep:\n    def __repr__(self): return repr(self)\ndef square(x): return Deep()".to_owned(),
        "class Meta(type):\n    def __eq__(self, other): return True\n    def __hash__(self): return hash(int)\nclass Any(metaclass=Meta):\n    def __eq__(self, other): return True\ndef square(x): return Any()".to_owned(),
        // One that stands for another.
        format!("{everything}kept = Everything()\nimport weakref\n{}", returning("weakref.proxy(kept)")),
        format!("{everything}kept = Everything()\nimport collections\n{}", returning("collections.deque([kept])")),
        format!("{everything}import collections\nkept = collections.UserList()\nkept.data = Everything()\n{}", returning("kept")),
        "def square(x):\n    a = []\n    a.append(a)\n    return a".to_owned(),
    ];
    let fixed = [
        // Leaving early.
        "import sys\nsys.exit(0)",
        "raise SystemExit",
        "import os\nos._exit(0)",
        "quit()",
        "def square(x):\n    raise SystemExit(0)",
        "def square(x):\n    import os\n    os._exit(0)",
        "import atexit, os\natexit.register(os._exit, 0)\ndef square(x): return 0",
        "class Last:\n    def __del__(self):\n        import os\n        os._exit(0)\nlast = Last()\ndef square(x): return 0",
        "import threading, os\nthreading.Thread(target=os._exit, args=(0,)).start()\ndef square(x): return 0",
        "import signal\ntry:\n    signal.raise_signal(9)\nexcept BaseException: pass\ndef square(x): return 0",
        // Asserting nothing.
        "class AssertionError(Exception): pass\ndef square(x): return 0",
        "import builtins\nbuiltins.AssertionError = type('E', (BaseException,), {})\ndef square(x): return 0",
        "class Quiet(BaseException): pass\ndef square(x): raise Quiet",
        "class Exit(SystemExit): pass\ndef square(x): raise Exit(0)",
        "def square(x):\n    raise type('SystemExit', (Exception,), {'__module__': 'builtins'})('0')",
        "def square(x):\n    raise StopIteration(9)",
        "def square(x):\n    raise GeneratorExit",
        "__debug__ = False",
        "assert True",
        "import sys\nsys.flags = type('F', (), {'optimize': 2})\ndef square(x): return 0",
        // Taking the machinery over.
        "import builtins\nbuiltins.eval = builtins.exec = lambda *a: 9\ndef square(x): return 0",
        "import builtins\nbuiltins.compile = lambda *a, **k: 'None'\ndef square(x): return 0",
        "import builtins\nbuiltins.isinstance = lambda *a: True\nbuiltins.repr = lambda v: '9'\ndef square(x): return 0",
        "import builtins\nbuiltins.abs = lambda v: 0\nbuiltins.range = lambda *a: ()\nbuiltins.len = lambda v: 9\ndef square(x): return 0",
        "__builtins__ = {}\ndef square(x): return 0",
        "def _load(*a): pass\ndef square(x): return 0",
        "import __main__\n__main__._literal = __main__._told = lambda value: '9'\ndef square(x): return 0",
        "import __main__\n__main__.value = __main__.truth = __main__.call = __main__.calls = lambda *a: None\ndef square(x): return 0",
        "import __main__\n__main__.__dict__.clear()\ndef square(x): return 0",
        "import sys\nsys.modules['solution'] = sys.modules['__main__'] = None\ndef square(x): return 0",
        "import sys\nsys.modules['math'] = sys.modules['ast'] = type('M', (), {'__getattr__': lambda *a: (lambda *a: True)})()\ndef square(x): return 0",
        "import math, re, json, collections, operator\nmath.isclose = re.match = json.loads = operator.eq = lambda *a, **k: True\ndef square(x): return 0",
        "import sys\nsys.meta_path.clear()\ndef square(x): return 0",
        "import sys\nsys.settrace(lambda *a: None)\ndef square(x): return 0",
        "import sys\nsys.setprofile(lambda *a: None)\ndef square(x): return 0",
        "import sys\nsys.setrecursionlimit(5)\ndef square(x): return 0",
        "import gc, types\nfor thing in gc.get_objects():\n    if isinstance(thing, types.FunctionType) and thing.__name__ in ('say', 'value', 'truth', 'call'):\n        thing.__code__ = (lambda *a: None).__code__\ndef square(x): return 0",
        // Saying what was not asked.
        "print('ok')\nprint('held')\nprint(9)\nprint(16)\ndef square(x): return 0",
        "import os\nos.write(1, b'held\\n9\\n16\\nTrue\\n')\ndef square(x): return 0",
        "import sys\nsys.stdout.write = lambda text: None\ndef square(x): return 0",
        "import sys\nsys.stdout = None\ndef square(x): return 0",
        "import sys\nsys.stdout.close()\ndef square(x): return 0",
        "import builtins\nbuiltins.print = builtins.open = lambda *a, **k: None\ndef square(x): return 0",
        "import sys\nmarker = '0' * 32\nprint(marker, 'held')\nprint(marker, 9)\nprint(marker, 16)\ndef square(x): return 0",
        // The harness's own frames, and with them the marker.
        "import sys\nframe = sys._getframe(1)\nlocal = frame.f_locals\nfor _ in range(9):\n    print(local.get('marker'), 'held')\n    print(local.get('marker'), 'True')\nraise SystemExit",
        "import sys\nlocal = sys._getframe(1).f_locals\nfor name in ('write', 'told', 'evaluate'):\n    local[name] = lambda *a: '9'\ndef square(x): return 0",
        "import sys\ndef square(x):\n    frame = sys._getframe()\n    while frame:\n        for value in list(frame.f_locals.values()):\n            for text in value if isinstance(value, (list, tuple)) else [value]:\n                if isinstance(text, str) and '==' in text and 'square' in text:\n                    return int(text.split('==')[1].split()[0])\n        frame = frame.f_back\n    return 0",
        "import sys\ndef square(x):\n    frame = sys._getframe()\n    while frame.f_back:\n        frame = frame.f_back\n        for name in list(frame.f_locals):\n            if name in ('said', 'result', 'expected'):\n                frame.f_locals[name] = 9\n    return 0",
        "import gc\ndef square(x):\n    for thing in gc.get_objects():\n        if isinstance(thing, dict) and ('expected' in thing or 'candidate' in thing):\n            return thing.get('expected')\n    return 0",
        "import inspect, re\ndef square(x):\n    for frame in inspect.stack():\n        found = re.search(r'square.-?%d. *== *(\\d+)' % abs(x), repr(frame))\n        if found: return int(found[1])\n    return 0",
        "import linecache, re\ndef square(x):\n    text = repr(linecache.cache) + repr(__import__('sys').argv)\n    found = re.search(r'square\\(%d\\) == (\\d+)' % x, text)\n    return int(found[1]) if found else 0",
        "import sys\nlocal = sys._getframe(1).f_locals\nlocal['run_statement'] = local['statement'] = lambda *a: None\ndef square(x): return 0",
        "import sys\nframe = sys._getframe()\nwhile frame.f_back:\n    frame = frame.f_back\n    for name, value in list(frame.f_locals.items()):\n        if callable(value): frame.f_locals[name] = lambda *a, **k: None\ndef square(x): return 0",
        "import gc, types\nfor thing in gc.get_objects():\n    if isinstance(thing, types.FunctionType) and thing.__code__.co_filename == '<program>':\n        for cell in thing.__closure__ or ():\n            try:\n                if callable(cell.cell_contents): cell.cell_contents = lambda *a, **k: None\n            except ValueError: pass\ndef square(x): return 0",
        "import gc, types\ngc.unfreeze()\nfor thing in gc.get_objects():\n    if isinstance(thing, types.FunctionType) and not thing.__closure__:\n        thing.__code__ = (lambda *a, **k: None).__code__\ndef square(x): return 0",
        "import ast, builtins\nast.parse = ast.walk = lambda *a, **k: ast.Module([], [])\nbuiltins.compile = lambda *a, **k: (lambda: 0).__code__\ndef square(x): return 0",
        "import linecache, sys\nclass Lines(dict):\n    def __setitem__(self, name, value):\n        sys._getframe(1).f_locals['source'] = ''\nlinecache.cache = Lines()\ndef square(x): return 0",
        "import solution\ndef square(x): return getattr(solution, 'expected', 0)",
        "from __main__ import *\ndef square(x): return globals().get('expected', 0)",
        // Blaming the tests.
        "import sys\nprint(sys._getframe(1).f_locals.get('marker'), 'reference')\nraise SystemExit",
        "import sys\nsys._getframe(1).f_locals['say']('reference')\nraise SystemExit",
        "import __main__\n__main__.value('(')\nraise SystemExit",
        // No programs.
        "",
        "\"\"\"",
        "\\",
        "\0",
        "def square(x):\n    return square(x)",
        "def square(x):\n    return [0] * 10 ** 12",
        "def square(x):\n    while True: pass",
        "def square(x):\n    while True: print(x)",
        "def square(x):\n    return iter(int, 1)",
        "def square(x):\n    yield x * x",
        "async def square(x): return x * x",
        "square = 9",
    ];
    attempts.extend(fixed.iter().map(|attempt| (*attempt).to_owned()));
    attempts
}

#[test]
fn talking_its_way_out_scores_nothing() {
    let code = code();
    let attempts = attempts();
    assert!(attempts.len() >= 70, "{}", attempts.len());
    for reference in &squares() {
        for attempt in &attempts {
            let completion = format!("<answer>\n{attempt}\n</answer>");
            let score = score(&code, &completion, reference);
            assert_eq!(score.value, Some(0.0), "{reference:?}\n{attempt}");
            assert!(score.cause.is_some(), "{attempt}");
        }
    }
}

/// What is expected may be worked out of the very list that the submission was given.
#[test]
fn emptying_an_argument_does_not_change_what_is_expected() {
    for (setup, assertion) in [
        ("", "x = [3, 1]\nassert f(x) == sorted(x)"),
        ("", "x = [3, 1]\nassert sorted(x) == sorted(x) == f(x)"),
        ("", "x = [3, 1]\nassert f(x=x) == sorted(x)"),
        ("", "x = [3, 1]\nassert not f(x) != sorted(x)"),
        (
            "def ref_func(x): return sorted(x)\ndef check(c):\n    for inp in [[[3,1,2]],[[5,4]]]:\n        assert c(*inp) == ref_func(*inp)",
            "check(f)",
        ),
        (
            "def ref(x):\n    y = list(x)\n    return sorted(y)\ndef assertion(out, exp):\n    assert out == exp",
            "x = [3, 1]\nassertion(f(x), ref(x))",
        ),
        (
            "def ref(x):\n    return sorted(x)\ndef run(c, x):\n    return c(x)",
            "x = [3, 1]\nassert run(f, x) == ref(x)",
        ),
        ("def ref(x): return sorted(x)", "xs = [[3, 1], [2, 1]]\nassert list(map(f, xs)) == list(map(ref, xs))"),
        ("def ref(x): return sorted(x)", "xs = [[3, 1], [2, 1]]\nassert all(f(x) == ref(x) for x in xs)"),
    ] {
        let reference = tests(setup, &[assertion]);
        check("def f(x): return sorted(x)", &reference, None);
        check("def f(x):\n    x.sort()\n    return x", &reference, None);
        check("def f(x):\n    x.clear()\n    return []", &reference, Some("assertion_failed"));
    }
    let reference = tests("def first(x): return x[0] if x else None", &["x = [3, 1]\nassert f(x) == first(x)"]);
    check("def f(x): return x[0]", &reference, None);
    check("def f(x): x.clear()", &reference, Some("assertion_failed"));
}

/// Whether a test runs beside the submission is the test's to say: an object where a value is asked for does not bring it there,
/// nor does the name of a class.
#[test]
fn an_object_does_not_bring_a_test_to_the_submission() {
    let setup = "TABLE = [7]\ndef check(c):\n    assert len(c(3)) == TABLE[0]";
    for (name, assertion) in [
        ("square", "check(square)"),
        ("Square", "check(Square)"),
        ("square", "assert len(square(3)) == TABLE[0]"),
        ("Square_Of", "assert len(Square_Of(3)) == TABLE[0]"),
    ] {
        let spy = format!(
            "import sys\nclass Any:\n    def __len__(self): return sys._getframe(1).f_globals['TABLE'][0]\ndef {name}(x): return Any()"
        );
        let reference = tests(setup, &[assertion]);
        check(&spy, &reference, Some("exception"));
        check(&format!("def {name}(x): return 'x' * 7"), &reference, None);
    }
}

/// One who writes to the files or the output that a judge would read gains nothing either.
#[test]
fn talking_its_way_out_of_an_output_scores_nothing() {
    let reference = stdin(&[("3\n", "9\n"), ("4\n", "16\n")]);
    check("print(int(input()) ** 2)", &reference, None);
    check("import sys\nprint(int(sys.stdin.read()) ** 2)\nsys.exit(3)", &reference, None);
    for attempt in [
        "print(9)\nprint(16)",
        "print(9)",
        "print('9\\n16')",
        "import os\nos._exit(0)",
        "",
        "pass",
        "import sys\nsys.stdout = open('/dev/stdout', 'w')",
        "print(open('expected.txt').read())",
        "import gc\nprint([thing for thing in gc.get_objects() if isinstance(thing, str) and thing == '9'])",
        "import glob\nprint(*glob.glob('/**', recursive=True))",
        "class Everything(str):\n    def __eq__(self, other): return True\nprint(Everything())",
        "while True: print(9)",
    ] {
        let completion = format!("<answer>\n{attempt}\n</answer>");
        assert_eq!(score(&code(), &completion, &reference).value, Some(0.0), "{attempt}");
    }
}

/// The setup's and `check`'s own text is where the expected values of HumanEval stand: not in the submission's guest.
#[test]
fn the_text_of_the_tests_is_out_of_reach() {
    let reference = tests(
        "import math\ndef helper(x):\n    return x + 1\nTABLE = {3: 'secret'}\ndef check(candidate):\n    assert candidate(3) == TABLE[3]\n    assert helper(1) == 2",
        &["check(f)"],
    );
    check("def f(x): return 'secret' if helper(math.floor(1.5)) == 2 else ''", &reference, None);
    // Everything that the frames above it hold, searched for the word. It stands in no text of the submission's own.
    let spy = "import sys
def f(x):
    word, frame, texts = ''.join(('sec', 'ret')), sys._getframe(1), []
    while frame:
        texts.append(repr(frame.f_globals) + repr(frame.f_locals) + repr(frame.f_code.co_consts))
        frame = frame.f_back
    return word if any(word in text for text in texts) else ''";
    check(spy, &reference, Some("assertion_failed"));
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

/// What a test computes with a result, or compares it with, is out of the submission's reach in an equation too.
#[test]
fn rigged_comparisons_do_not_help_within_equations() {
    let everything = "class E:\n    def __eq__(self, other): return True\n    def __sub__(self, other): return 0
    def __round__(self, places): return 4.5\n    def startswith(self, text): return True\ndef f(x): return E()";
    for (setup, assertion, rigged, honest) in [
        ("", "assert round(f(3) - 4.5, 5) == 0", "def round(*a): return 0\ndef f(x): return 0", "4.5"),
        ("", "assert round(f(3) - 4.5, 5) == 0", everything, "4.5"),
        ("", "assert round(f(3), 1) == 4.5", everything, "4.5000001"),
        (
            "def close(a, b): return abs(a - b) < 1e-6",
            "assert close(f(3), 2.5) == True",
            "def close(a, b): return True\ndef f(x): return 0",
            "2.5",
        ),
        ("", "assert (f(3) in [1, 2, 3]) == True", everything, "2"),
        ("", "assert max(f(3), 7) == 7", "def max(*a): return 7\ndef f(x): return 8", "6"),
        ("", "assert all(map(f, [1])) == True", "def all(xs): return True\ndef f(x): return 0", "1"),
        ("", "assert f(3).startswith('ab') == True", everything, "'abc'"),
        ("", "assert int(f(3)) == 35", "def f(x): return 36", "35.0"),
    ] {
        let reference = tests(setup, &[assertion]);
        check(&format!("def f(x): return {honest}"), &reference, None);
        let completion = format!("<answer>\n{rigged}\n</answer>");
        assert_eq!(score(&code(), &completion, &reference).value, Some(0.0), "{assertion}\n{rigged}");
    }
}
