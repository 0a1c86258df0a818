//! Programs that nobody wrote: a seeded generator of text that is sometimes Python, and of bytecode that hardly ever is.
//! Whatever they do, the host neither fails nor hangs, and the same program has the same outcome.
//!
//! `SANDBOX_FUZZ=20000 cargo test --release --workspace --test fuzz` runs more of them.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::time::Duration;

use sandbox::{Cause, Job, Limits, Outcome};
use support::{limits, python};

/// SplitMix64.
struct Draw(u64);

impl Draw {
    fn below(&mut self, count: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ (mixed >> 31)) % count as u64) as usize
    }

    fn of<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.below(choices.len())]
    }
}

const ATOMS: &[&str] = &[
    "0",
    "1",
    "-1",
    "2**70",
    "1.5",
    "1e308",
    "nan",
    "'a'",
    "b'a'",
    "'\\ud800'",
    "[]",
    "()",
    "{}",
    "{1}",
    "None",
    "True",
    "x",
    "y",
    "f",
    "A",
    "A()",
    "len",
    "int",
    "type",
    "object",
    "range(5)",
    "iter([1, 2])",
    "(i for i in x)",
    "...",
    "lambda: x",
    "open",
    "sys",
    "os",
    "gc.get_objects()",
    "bytearray(9)",
    "memoryview(bytearray(9))",
    "slice(1)",
    "Ellipsis",
    "globals()",
    "sys._getframe()",
    "f.__code__",
    "A.__dict__",
    "1j",
    "10**1000",
    "'a' * 10**6",
    "Exception()",
];
const OPERATORS: &[&str] =
    &["+", "-", "*", "/", "//", "%", "**", "@", "<<", ">>", "&", "|", "^", "==", "<", "in", "is", "and", "or"];
const CALLS: &[&str] = &[
    "len",
    "str",
    "repr",
    "int",
    "float",
    "list",
    "tuple",
    "set",
    "dict",
    "sorted",
    "sum",
    "max",
    "iter",
    "next",
    "type",
    "hash",
    "id",
    "dir",
    "vars",
    "bytes",
    "bytearray",
    "memoryview",
    "reversed",
    "enumerate",
    "zip",
    "map",
    "super",
    "eval",
    "exec",
    "compile",
    "isinstance",
    "setattr",
    "delattr",
    "getattr",
    "format",
    "ord",
    "chr",
    "print",
    "pickle.dumps",
    "pickle.loads",
    "marshal.loads",
    "marshal.dumps",
    "copy.deepcopy",
    "re.compile",
    "json.loads",
    "json.dumps",
    "struct.unpack",
    "os.open",
    "os.read",
    "os.write",
    "os.close",
    "os.listdir",
    "ast.parse",
    "itertools.chain",
    "itertools.product",
    "functools.partial",
    "collections.deque",
    "array.array",
    "zlib.decompress",
    "decimal.Decimal",
    "weakref.ref",
    "sys.setrecursionlimit",
    "types.SimpleNamespace",
    "operator.itemgetter",
    "gc.collect",
    "time.sleep",
    "threading.Thread",
    "io.BytesIO",
    "id",
];
const ATTRIBUTES: &[&str] = &[
    "__class__",
    "__dict__",
    "__code__",
    "__init__",
    "__del__",
    "__eq__",
    "__globals__",
    "append",
    "clear",
    "pop",
    "sort",
    "update",
    "f_back",
    "f_locals",
    "__bases__",
    "__mro__",
    "__subclasses__()",
    "__reduce_ex__(2)",
    "co_code",
    "release()",
    "__setstate__",
    "__defaults__",
    "gi_frame",
    "__name__",
    "__slots__",
    "__get__",
    "__iter__()",
    "stdout",
    "modules",
];
const HEAD: &str = "import array, ast, collections, copy, decimal, functools, gc, io, itertools, json, marshal, operator\n\
    import os, pickle, re, struct, sys, threading, time, types, weakref, zlib\n\
    nan = float('nan')\nx = [1, 2, 3]\ny = {'a': 1}\ndef f(*a, **k): return a\nclass A: pass\n";

fn expression(draw: &mut Draw, depth: usize) -> String {
    if depth == 0 {
        return draw.of(ATOMS).to_owned();
    }
    let mut inner = || expression(draw, depth - 1);
    let (first, second) = (inner(), inner());
    match draw.below(9) {
        0 => draw.of(ATOMS).to_owned(),
        1 | 2 => format!("({first} {} {second})", draw.of(OPERATORS)),
        3 => format!("{}({first})", draw.of(CALLS)),
        4 => format!("{}({first}, {second})", draw.of(CALLS)),
        5 => format!("{first}.{}", draw.of(ATTRIBUTES)),
        6 => format!("{first}[{second}]"),
        7 => format!("[{first} for i in {second}]"),
        _ => format!("[{first}, {second}]"),
    }
}

fn statement(draw: &mut Draw) -> String {
    let (first, second) = (expression(draw, 3), expression(draw, 2));
    let attribute = draw.of(ATTRIBUTES).trim_end_matches("()").trim_end_matches("(2)");
    let line = match draw.below(10) {
        0 => format!("x = {first}"),
        1 => format!("y[{second}] = {first}"),
        2 => format!("A.{attribute} = {first}"),
        3 => format!("f.{attribute} = {second}"),
        4 => format!("del x[{second}]"),
        5 => format!("for i in {first}: x = {second}"),
        6 => format!("raise {second}"),
        7 => format!("def f(a={second}): return {first}"),
        8 => format!(
            "class A(A): __{} = {first}",
            draw.of(&["eq__", "hash__", "del__", "getattr__", "repr__", "len__", "iter__"])
        ),
        _ => first,
    };
    format!("try:\n    {line}\nexcept Exception: pass\n")
}

/// A program of one of four kinds.
fn program(seed: u64) -> String {
    let draw = &mut Draw(seed);
    match draw.below(4) {
        // Statements that compile, most of them.
        0 | 1 => (0..20).fold(HEAD.to_owned(), |text, _| text + &statement(draw)),
        // The same with its characters shuffled about.
        2 => {
            let mut text: Vec<char> = (0..6).fold(HEAD.to_owned(), |text, _| text + &statement(draw)).chars().collect();
            for _ in 0..1 + draw.below(20) {
                let (from, to) = (draw.below(text.len()), draw.below(text.len()));
                match draw.below(3) {
                    0 => text.swap(from, to),
                    1 => drop(text.remove(from)),
                    _ => text.insert(to, char::from_u32(draw.below(0x3000) as u32).unwrap_or('x')),
                }
            }
            text.into_iter().collect()
        }
        // Bytecode with some of its bytes replaced: it may write anywhere in the instance's memory.
        _ => format!(
            "import random\nr = random.Random({seed})\ndef f(a, b=[1, 2]):\n    for i in b:\n        try: a += i * len(b)\n        \
             except TypeError: a = [a]\n    return {{a: b}}\nc = bytearray(f.__code__.co_code)\n\
             for _ in range(r.randrange(1, 6)): c[r.randrange(len(c))] = r.randrange(256)\n\
             f.__code__ = f.__code__.replace(co_code=bytes(c))\nfor _ in range(50):\n    try: f(1)\n    except Exception: pass\n"
        ),
    }
}

fn strip(outcome: &Outcome) -> (Cause, &str, &str, &str, u64) {
    (outcome.cause, &outcome.detail, &outcome.stdout, &outcome.stderr, outcome.fuel)
}

#[test]
fn no_program_disturbs_the_host() {
    let count = std::env::var("SANDBOX_FUZZ").ok().and_then(|count| count.parse().ok()).unwrap_or(600);
    let limits = Limits { fuel: 150_000_000, memory_bytes: 128 << 20, wall: Duration::from_secs(60), ..limits() };
    let mut causes = std::collections::BTreeMap::new();
    for start in (0..count).step_by(500) {
        let programs: Vec<String> = (start..count.min(start + 500)).map(program).collect();
        let jobs: Vec<Job> = programs.iter().map(|program| Job { program, stdin: "1\n2\n", limits }).collect();
        let outcomes = python().run_batch(&jobs, &|_| ()).unwrap();
        for (job, outcome) in jobs.iter().zip(&outcomes) {
            assert_ne!(outcome.cause, Cause::TimedOut, "{}", job.program);
            *causes.entry(outcome.cause.name()).or_insert(0) += 1;
        }
        // One in eight again, alone.
        for (job, outcome) in jobs.iter().zip(&outcomes).step_by(8) {
            let again = python().run(job.program, job.stdin, &limits).unwrap();
            assert_eq!(strip(&again), strip(outcome), "{}", job.program);
        }
    }
    assert!(causes.len() > 2, "the generator has become dull: {causes:?}");
    let honest = python().run("print('fine')", "", &limits).unwrap();
    assert_eq!(honest.stdout, "fine\n");
    if count > 600 {
        let text: Vec<String> = causes.iter().map(|(cause, count)| format!("{cause} {count}")).collect();
        std::fs::write(support::cache().with_extension("fuzz.txt"), text.join("\n")).unwrap();
    }
}
