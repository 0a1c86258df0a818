//! Programs that attack the grader, as a policy might write them: each scores 0 with a cause, and the batch goes on.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rewards::{Reference, RewardSet, RewardSpec, Sample, Score};
use sandbox::{Cause, Limits};

use crate::support::python;

fn rewards() -> RewardSet {
    let specs = [RewardSpec::named("code")];
    RewardSet::build_limited(&specs, Some(python()), Limits::brief()).unwrap()
}

/// `f(3)` is to be 9.
fn square() -> Reference {
    Reference::Tests { setup: String::new(), assertions: vec!["assert f(3) == 9".to_owned()] }
}

fn score(rewards: &RewardSet, program: &str, reference: &Reference) -> Score {
    let completion = format!("<think> so </think> <answer>\n{program}\n</answer>");
    let sample = Sample::new("", &completion, reference);
    let breakdown = rewards.score(&sample).unwrap();
    assert_eq!(breakdown.components.len(), 1);
    breakdown.components[0].score.clone()
}

const HONEST: &str = "def f(x):\n    return x * x";

/// What a policy might write, and the cause that it should be given.
const ATTACKS: &[(&str, &str)] = &[
    ("def f(x):\n    while True: pass", "out_of_fuel"),
    ("while True: pass", "out_of_fuel"),
    ("def f(x):\n    keep = []\n    while True: keep.append(bytearray(1 << 24))", "out_of_memory"),
    ("def f(x):\n    return 'x' * (1 << 30)", "out_of_memory"),
    ("def f(x):\n    while True: print('x' * 10000)", "too_much_output"),
    ("import sys\ndef f(x):\n    while True: sys.stderr.write('x' * 10000)", "too_much_output"),
    ("import sys\nsys.exit(0)", "exit"),
    ("import os\ndef f(x):\n    os._exit(0)", "exit"),
    ("raise SystemExit", "exit"),
    ("def f(x):\n    return f(x)", "exception"),
    ("def f(x):\n    open('/etc/passwd').read()\n    return 9", "exception"),
    ("def f(x):\n    open('/tmp/here', 'w').write('x')\n    return 9", "exception"),
    ("import os\ndef f(x):\n    os.remove('/usr/bin/env')\n    return 9", "exception"),
    ("import os\ndef f(x):\n    os.system('true')\n    return 9", "exception"),
    ("import os\ndef f(x):\n    os.fork()\n    return 9", "exception"),
    ("import socket\ndef f(x):\n    socket.create_connection(('192.0.2.1', 80), 1)\n    return 9", "exception"),
    ("import subprocess\ndef f(x):\n    subprocess.run(['true'])\n    return 9", "exception"),
    ("class Equal:\n    def __eq__(self, other): return True\ndef f(x):\n    return Equal()", "assertion_failed"),
    ("import builtins\nbuiltins.AssertionError = Exception\ndef f(x):\n    return 8", "assertion_failed"),
    ("def f(x) return 9", "syntax_error"),
];

#[test]
fn attacks_score_nothing_and_the_batch_goes_on() {
    let (rewards, reference) = (rewards(), square());
    // An honest program after each attack, graded on two threads at once, as a step's completions are. The number in it
    // keeps it from being remembered.
    let honest = |index: usize| format!("{HONEST} # {index}");
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some((program, cause)) = ATTACKS.get(index) else { return };
                    assert_eq!(score(&rewards, program, &reference), Score::zero(*cause), "{program}");
                    assert_eq!(score(&rewards, &honest(index), &reference), Score::full(), "after {program}");
                }
            });
        }
    });
}

#[test]
fn one_program_leaves_nothing_for_the_next() {
    let (rewards, reference) = (rewards(), square());
    let spoiling = "import builtins, sys\nbuiltins.len = None\nsys.modules['math'] = None\nsys.setrecursionlimit(5)";
    assert_eq!(score(&rewards, spoiling, &reference).value, Some(0.0));
    let needing = "import math\ndef g(n):\n    return n and 1 + g(n - 1)\ndef f(x):\n    return g(50) * 0 + len([x]) * math.prod([x, x])";
    assert_eq!(score(&rewards, needing, &reference), Score::full());
}

#[test]
fn a_reference_that_attacks_is_not_held_against_the_completion() {
    let broken = Reference::Tests { setup: "def (".to_owned(), assertions: vec!["assert f(3) == 9".to_owned()] };
    assert_eq!(score(&rewards(), HONEST, &broken).value, None);
    let empty = Reference::Tests { setup: String::new(), assertions: vec![] };
    assert_eq!(score(&rewards(), HONEST, &empty), Score::unscorable("reference_without_tests"));
}

#[test]
fn limits_end_what_exceeds_them() {
    let python = python();
    let loose = Limits::default();
    let run = |program: &str, limits: Limits| python.run(program, "", &limits).unwrap();

    let started = Instant::now();
    let limits = Limits { fuel: u64::MAX / 4, wall: Duration::from_millis(300), ..loose };
    assert_eq!(run("while True: pass", limits).cause, Cause::TimedOut);
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());

    let limits = Limits { fuel: 100_000_000, ..loose };
    let (first, second) = (run("while True: pass", limits), run("while True: pass", limits));
    assert_eq!((first.cause, first.fuel), (Cause::OutOfFuel, second.fuel), "fuel is counted alike at each run");

    let hungry = "keep = bytearray(100 << 20)\nprint(len(keep))";
    assert_eq!(run(hungry, loose).cause, Cause::Ok);
    assert_eq!(run(hungry, Limits { memory_bytes: 96 << 20, ..loose }).cause, Cause::OutOfMemory);

    let chatty = "print('x' * 1000)";
    assert_eq!(run(chatty, loose).cause, Cause::Ok);
    let outcome = run(chatty, Limits { output_bytes: 100, ..loose });
    assert_eq!(outcome.cause, Cause::TooMuchOutput);
    assert!(outcome.stdout.len() <= 100);
}
