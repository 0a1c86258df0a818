//! How much one submission may use over all its tests, and how much it may say.

use super::*;

fn graded(fuel: u64, submission: &str, reference: &Reference) -> crate::Graded {
    let grader = CodeGrader::new(Arc::clone(&PYTHON), Limits { fuel, ..Limits::brief() });
    let first = grader.grade(submission, reference, Marking::Fraction).unwrap();
    let second = grader.grade(submission, reference, Marking::Fraction).unwrap();
    // The second time the tests are known; it must make no difference.
    assert_eq!((&first.score, &first.tests), (&second.score, &second.tests));
    second
}

/// Forty tests of each kind: `f(n)` is `n`, or the program copies it.
fn forty() -> [(&'static str, Reference); 4] {
    let many = |form: &dyn Fn(u32) -> String| (0..40).map(form).collect::<Vec<_>>();
    let of = |assertions: Vec<String>| Reference::Tests { setup: String::new(), assertions };
    let pairs = many(&|n| n.to_string());
    let argument = many(&|n| format!("[{n}]"));
    let texts: Vec<(&str, &str)> = pairs.iter().map(|n| (n.as_str(), n.as_str())).collect();
    let arguments: Vec<(&str, &str)> = argument.iter().zip(&pairs).map(|(a, n)| (a.as_str(), n.as_str())).collect();
    [
        ("print(f(int(input())))", stdin(&texts)),
        ("", calls("f", &arguments)),
        ("", of(many(&|n| format!("assert f({n}) == {n}")))),
        ("", of(many(&|n| format!("assert f({n}) in ({n},)")))),
    ]
}

#[test]
fn a_submission_that_hangs_in_every_test_is_done_with_soon() {
    const FUEL: u64 = 2_000_000_000;
    for (end, reference) in forty() {
        let graded_of = |body: &str| graded(FUEL, &format!("def f(n):\n    {body}\n    return n\n{end}"), &reference);
        let loops = graded_of("while True: pass");
        assert_eq!(loops.tests, [Some("out_of_fuel"); 40], "{reference:?}");
        assert_eq!(loops.score, Score { value: Some(0.0), cause: Some("out_of_fuel".into()) });
        assert!(loops.fuel < 6 * FUEL, "{} {reference:?}", loops.fuel);
        // Three without an end count for themselves, as do any number that fail otherwise.
        let some = graded_of("while n % 10 == 9 and n < 35: pass");
        let expected: Vec<_> = (0..40).map(|n| (n % 10 == 9 && n < 35).then_some("out_of_fuel")).collect();
        assert_eq!(some.tests, expected, "{reference:?}");
        let raises = graded_of("if n < 39: n / 0");
        assert_eq!(raises.tests.iter().filter(|cause| **cause == Some("exception")).count(), 39, "{reference:?}");
        assert_eq!(raises.tests.last(), Some(&None), "{reference:?}");
        // What fails before its tests does so once.
        let broken = graded(FUEL, &format!("x = 1 / 0\n{end}"), &reference);
        assert_eq!(broken.tests, [Some("exception"); 40], "{reference:?}");
    }
}

#[test]
fn the_work_of_all_tests_together_has_a_bound() {
    for (end, reference) in forty() {
        let slow = format!("def f(n):\n    for _ in range(3 * 10 ** 5): pass\n    return n\n{end}");
        let free = graded(20_000_000_000, &slow, &reference);
        assert_eq!(free.tests, [None; 40], "{reference:?}");
        let slow = graded(free.fuel / 40 * 3 / 2, &slow, &reference);
        let passed = slow.tests.iter().take_while(|cause| cause.is_none()).count();
        assert!((17..40).contains(&passed), "{passed} {} {reference:?}", slow.fuel);
        assert!(slow.tests[passed..].iter().all(|cause| *cause == Some("out_of_fuel")), "{reference:?}");
    }
}

/// What runs before the tests is work as well, and done once for all tests that its guest survives.
#[test]
fn loading_a_submission_is_part_of_its_work() {
    const LOOP: &str = "import os\nfor _ in range(10 ** 6): pass\n";
    let load = graded(20_000_000_000, LOOP, &stdin(&[("", "")])).fuel;
    for (end, reference) in forty().into_iter().skip(1) {
        let beside = matches!(&reference, Reference::Tests { assertions, .. } if assertions[0].contains(" in "));
        // A test in a guest of its own asks a guest of the submission's of its own.
        let loads = if beside { 40 } else { 1 };
        let honest = graded(20_000_000_000, &format!("{LOOP}def f(n): return n\n{end}"), &reference);
        assert_eq!(honest.tests, [None; 40], "{reference:?}");
        assert!((loads * load..2 * loads * load).contains(&honest.fuel), "{} {load} {reference:?}", honest.fuel);
        // One that ends its guest in each test is loaded anew for each, as long as all its tests may run.
        let fuel = load * 3 / 2;
        let leaves = graded(fuel, &format!("{LOOP}def f(n): os._exit(0)\n{end}"), &reference);
        let ran = leaves.tests.iter().take_while(|cause| **cause == Some("exit")).count();
        assert!((20..30).contains(&ran), "{ran} {reference:?}");
        assert!(leaves.tests[ran..].iter().all(|cause| *cause == Some("out_of_fuel")), "{reference:?}");
        assert!(leaves.fuel < 18 * fuel, "{} {reference:?}", leaves.fuel);
    }
}

/// All or nothing is asked under the same limits, test by test.
#[test]
fn all_or_nothing_is_all_of_the_single_tests() {
    for (end, reference) in forty() {
        let slow = format!("def f(n):\n    for _ in range(3 * 10 ** 5): pass\n    return n\n{end}");
        // So much that four tests may use it, but not forty.
        let fuel = graded(20_000_000_000, &slow, &reference).fuel / 10;
        let grader = CodeGrader::new(Arc::clone(&PYTHON), Limits { fuel, ..Limits::brief() });
        let all = |submission: &str| grader.grade(submission, &reference, Marking::All).unwrap();
        assert_eq!(all(&slow).score, Score::full(), "{reference:?}");
        // Behind the first that fails nothing is run.
        let failing = all(&slow.replace("return n", "return n if n < 2 else -1"));
        assert_eq!((failing.score.value, failing.tests.len()), (Some(0.0), 3), "{reference:?}");
        assert_eq!(
            all(&slow.replace("pass", "\n        while True: pass")).tests,
            [Some("out_of_fuel")],
            "{reference:?}"
        );
    }
}

/// Answers that are more than one guest may say are asked for in parts.
#[test]
fn long_answers_are_right_answers() {
    let setup =
        "def check(candidate):\n    for n in range(5):\n        assert candidate(n) == 'ab' * 3_000_000 + str(n)";
    let reference = tests(setup, &["check(f)"]);
    check("def f(n): return 'ab' * 3_000_000 + str(n)", &reference, None);
    check("def f(n): return 'ab' * 3_000_000 + str(min(n, 3))", &reference, Some("assertion_failed"));
    check("def f(n): return 'ab' * (9_000_000 if n == 3 else 3_000_000) + str(n)", &reference, Some("too_much_output"));
    check("def f(n):\n    if n == 4: raise SystemExit\n    return 'ab' * 3_000_000 + str(n)", &reference, Some("exit"));
}

/// What tests use numpy for.
#[test]
fn numbers_are_close_as_numpy_has_it() {
    let close = |form: &str| tests(&format!("import numpy as np\ndef check(f):\n    {form}"), &["check(f)"]);
    let testing = close("out = f(1)\n    if out != 0.3: np.testing.assert_allclose(out, 0.3, atol=1e-6)");
    check("def f(x): return 0.1 + 0.2", &testing, None);
    check("def f(x): return 0.31", &testing, Some("assertion_failed"));
    check("def f(x): return []", &testing, Some("assertion_failed"));
    let lists = tests(
        "from numpy.testing import assert_allclose\ndef check(f):\n    assert_allclose(f(1), [0.5, 1.0])\n    assert_allclose(f(2), [1.0, 2.0])",
        &["check(f)"],
    );
    check("def f(x): return [x / 2, x + 1e-12]", &lists, None);
    for wrong in ["[x / 2, x + 1e-3]", "[x / 2]", "[]", "x / 2"] {
        check(&format!("def f(x): return {wrong}"), &lists, Some("assertion_failed"));
    }
    let number = close("assert np.allclose(f(1), 0.5)");
    check("def f(x): return x / 2", &number, None);
    for wrong in ["[]", "[0.5]", "()", "[[]]"] {
        check(&format!("def f(x): return {wrong}"), &number, Some("assertion_failed"));
    }
}
