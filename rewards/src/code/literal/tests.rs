use super::*;

#[track_caller]
fn check_equal(left: &str, right: &str) {
    assert!(canonical(left).is_some(), "{left}");
    assert_eq!(canonical(left), canonical(right), "{left} and {right}");
}

#[test]
fn equal_in_python() {
    check_equal("1", "1.0");
    check_equal("1", "True");
    check_equal("-0.0", "0");
    check_equal("1e22", "10000000000000000000000");
    check_equal("0xff", "255");
    check_equal("1_000", "1000");
    check_equal("0.1", ".1");
    check_equal("[1, 2,]", "[ 1,2 ]");
    check_equal("(5)", "5");
    check_equal("((1, 2))", "(1, 2)");
    check_equal("{2, 1, 1}", "{1, 2}");
    check_equal("set([2, 1])", "{1, 2}");
    check_equal("set((1, 2))", "{1.0, True, 2}");
    check_equal("frozenset([1])", "frozenset({1, 1})");
    check_equal("frozenset([1])", "{1}");
    check_equal("{'a': 1, 'b': [2]}", "{\"b\": [2], \"a\": 1}");
    check_equal(r"'a\x41\n\u00e9'", "'''aA\né'''");
    check_equal("'ab' \"c\"", "'abc'");
    check_equal(r"r'\n'", r"'\\n'");
    check_equal("float('inf')", "inf");
    check_equal("b'a'", r"b'\x61'");
    check_equal("bytearray(b'a')", "b'a'");
    check_equal("Fraction(5, 2)", "2.5");
    check_equal("Decimal('2.50')", "2.5");
    check_equal("Decimal('1E+2')", "100");
    check_equal("complex(2.0, 0.0)", "2");
    check_equal("range(5)", "range(0, 5, 1)");
    check_equal("range(0, 4, 2)", "range(0, 3, 2)");
    check_equal("range(5, 0, -2)", "range(5, 0x0, -2)");
    check_equal("range(3, 3)", "range(0, 4, -1)");
    check_equal("range(7, 9, 3)", "range(7, 8)");
    check_equal("keys_of([2, 1])", "{1, 2}");
    check_equal("items_of([('a', [1])])", "items_of([('a', [1.0])])");
    check_equal("deque()", "deque([])");
    check_equal("deque((1, 2))", "deque([1.0, 2])");
    check_equal(&format!("1{}", "0".repeat(5000)), &format!("1{}", "0".repeat(5000)));
}

#[test]
fn different_in_python() {
    for (left, right) in [
        ("[1, 2]", "(1, 2)"),
        ("(1,)", "1"),
        ("1", "'1'"),
        ("{}", "set()"),
        ("'a'", "b'a'"),
        ("0.1", "0.10000000000000002"),
        ("0.1", "Decimal('0.1')"),
        ("9007199254740993", "9007199254740992.0"),
        ("None", "False"),
        ("['a,b']", "['a', 'b']"),
        ("[[1], 2]", "[1, [2]]"),
        ("'a'", "'A'"),
        ("[1]", "deque([1])"),
        ("range(5)", "range(1, 5)"),
        ("range(0, 4, 2)", "range(0, 5, 2)"),
        ("range(1, 2)", "range(2, 3)"),
        ("range(2)", "[0, 1]"),
    ] {
        assert!(canonical(left).is_some() && canonical(right).is_some(), "{left}, {right}");
        assert_ne!(canonical(left), canonical(right), "{left} and {right}");
    }
}

#[test]
fn not_literals() {
    for text in ["", "f(1)", "x", "1 + 2", "[1", "'a", "1j", "nan", "f'a'", "{[}", "1 2", "'a\nb'", "lambda: 1", "?Foo"]
    {
        assert_eq!(canonical(text), None, "{text}");
    }
    assert_eq!(canonical(&"[".repeat(100_000)), None);
    assert_eq!(canonical(&format!("{}{}", "[".repeat(1000), "]".repeat(1000))), None);
    assert_eq!(canonical(&"{".repeat(100_000)), None);
    assert_eq!(canonical(&"(".repeat(100_000)), None);
    assert_eq!(canonical("Decimal('1e999999999')"), None);
    assert_eq!(canonical("Fraction(1, 0)"), None);
    // Their values are not worked out here: a guest says it.
    for text in [
        "range(1, 2, 0)",
        "range()",
        "range(1.5)",
        "values_of([1])",
        "keys_of()",
        "deque([1, 2], 1)",
        "deque('ab')",
        "deque({1, 2})",
    ] {
        assert_eq!(canonical(text), None, "{text}");
    }
    assert_eq!(canonical(&format!("range(-{0}, {0})", "9".repeat(38))), None);
}

/// Exact values cost the square of their digits: what a guest says is refused before it is worked out.
#[test]
fn numbers_that_take_long_are_no_values() {
    let sevens = |count: usize| "7".repeat(count);
    assert!(canonical(&format!("Fraction({}, {})", sevens(4_000), "3".repeat(4_000))).is_some());
    for text in [
        "Decimal('1e-9223372036854775808')".to_owned(),
        "Decimal('1e9223372036854775807')".to_owned(),
        "Decimal('0.5e-9223372036854775808')".to_owned(),
        format!("Decimal('{}')", sevens(20_000)),
        format!("Fraction({}, 3)", sevens(20_000)),
        format!("Fraction({}1, {}7)", sevens(4_000_000), "123456789".repeat(400_000)),
        // Each is cheap, all of them are not.
        format!("[{}]", "Decimal('1e-5000'),".repeat(500_000)),
        format!("[{}]", format!("Fraction({}, {}),", sevens(900), "3".repeat(901)).repeat(4_000)),
        format!("[{}]", "1e308,".repeat(2_000_000)),
    ] {
        assert_eq!(canonical(&text), None, "{}", &text[..60.min(text.len())]);
    }
    let honest = format!("[{}]", "Fraction(355, 113), Decimal('3.14159'), 1e30,".repeat(50_000));
    assert!(canonical(&honest).is_some());
    // A list inside of a list of a list ... is moved, not copied at each level.
    let nested = format!("{}{}{}", "list([".repeat(40), "1,".repeat(500_000), "])".repeat(40));
    assert!(canonical(&nested).is_some());
    // Keys are put in order, not each looked up among all.
    let many = format!("{{{}}}", (0..100_000).map(|key| format!("{key}: 0.5,")).collect::<String>());
    let many = Literal::parse(&many).unwrap();
    assert!(many.near(&many, 1e-6));
}

#[test]
fn what_is_written_is_read_again() {
    for text in [
        "[1,-2.5,\"a\\\"\\n\\U000000e9\",(),(1,),None,True,set([]),{1:{\"a\":inf,},},b\"\\x00\\xff\",]",
        "Decimal(\"1.5\",)",
        "-inf",
        "deque([1,],)",
    ] {
        let value = Literal::parse(text).unwrap_or_else(|| panic!("{text}"));
        assert_eq!(Literal::parse(&value.python()), Some(value.clone()), "{text}");
        assert_eq!(value.python(), text);
    }
}

#[test]
fn json_is_read_and_compared_as_json() {
    for (json, python, same) in [
        ("[1, 2]", "(1, 2)", true),
        ("[[1, \"a\"]]", "[(1, 'a')]", true),
        ("true", "True", true),
        ("null", "None", true),
        ("{\"1\": [2]}", "{1: (2,)}", true),
        (r#""\/\ud83d\ude00""#, "'/\u{1f600}'", true),
        ("\"\"", "''", true),
        ("123456789012345678901234567890", "123456789012345678901234567890", true),
        ("123456789012345678901234567890", "123456789012345678901234567891", false),
        ("2.0", "2", true),
        ("-1.5E+2", "-150", true),
        ("[-0, -Infinity, 1e400]", "(0, -inf, inf)", true),
        (" { \"a\" : [ ] }\r\n", "{'a': []}", true),
        ("[1]", "{1}", false),
        ("\"1\"", "1", false),
    ] {
        let expected = Literal::parse_json(json).unwrap_or_else(|| panic!("{json}")).canonical();
        let found = Literal::parse(python).unwrap().into_json().canonical();
        assert_eq!(found == expected, same, "{json} {python}");
    }
    // json.loads refuses them, and so the call would fail whatever the submission.
    for text in [
        "None",
        "(1)",
        "'a'",
        "[1, 2",
        "set([1])",
        "{1, 2}x",
        "[1,]",
        "{\"a\": 1,}",
        "{1: 2}",
        "{null: 2}",
        "[\"a\tb\"]",
        "\"a\" \"b\"",
        "+1",
        "-inf",
        "- 1",
        ".5",
        "1.",
        "1e",
        "01",
        "1_000",
        "0x10",
        r#""\x41""#,
        r#""\'""#,
        "[1,\x0c2]",
    ] {
        assert_eq!(Literal::parse_json(text), None, "{text}");
    }
}

#[test]
fn a_tolerance_is_for_numbers_that_are_not_whole() {
    let near = |left: &str, right: &str| Literal::parse(left).unwrap().near(&Literal::parse(right).unwrap(), 1e-6);
    assert!(near("[0.3000000001, 'a']", "[0.3, 'a']") && near("2", "2.0000001") && near("2000000.5", "2000001.0"));
    assert!(!near("0.3001", "0.3") && !near("1000000", "1000001") && !near("nan", "nan") && !near("[0.3]", "[0.3, 1]"));
    assert!(near("{'a': 0.3}", "{'a': 0.30000001}") && !near("{'b': 0.3}", "{'a': 0.3}"));
    let long = format!("1{}", "0".repeat(400));
    assert!(near("inf", "inf") && !near("-inf", "inf") && !near("0.5", "inf") && !near("inf", "0.5"));
    assert!(!near("0.5", &long) && !near("inf", &long) && !near(&long, "inf"));
}
