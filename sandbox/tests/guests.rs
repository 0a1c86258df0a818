//! What surrounds single Python programs: tests that share an instance, batches, packages, other languages, the cache.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::ops::ControlFlow;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use sandbox::{Cause, Component, Job, Limits, Outcome, Packages, Python, Sharing, WasiCommand};
use support::{cache, limits, python, run};

fn run_tests(program: &str, tests: &[&str], sharing: Sharing, limits: &Limits) -> Vec<Outcome> {
    python().run_tests(program, tests, sharing, limits, ControlFlow::Continue).unwrap()
}

#[test]
fn tests_share_an_instance_or_not() {
    let program = "calls = []\ndef f(x):\n    calls.append(x)\n    return x * x";
    let tests =
        ["assert f(2) == 4\nassert len(calls) == 1", "assert f(3) == 8", "print(len(calls))", "assert f(3) == 9"];
    let check = |sharing, causes: [Cause; 4], printed: &str| {
        let outcomes = run_tests(program, &tests, sharing, &limits());
        assert_eq!(outcomes.iter().map(|outcome| outcome.cause).collect::<Vec<_>>(), causes);
        assert_eq!(outcomes[2].stdout, printed);
        assert_eq!(outcomes[1].detail, "AssertionError");
        assert_eq!(outcomes[3].detail, "");
    };
    let causes = [Cause::Ok, Cause::AssertionFailed, Cause::Ok, Cause::Ok];
    check(Sharing::Instance, causes, "2\n");
    check(Sharing::Nothing, causes, "0\n");
}

#[test]
fn a_test_that_ends_the_instance_does_not_end_the_others() {
    let tests = ["x = 1", "import os; os._exit(0)", "assert 'x' not in globals()", "while True: pass", "pass"];
    let limits = Limits { fuel: 100_000_000, ..limits() };
    let outcomes = run_tests("pass", &tests, Sharing::Instance, &limits);
    let causes: Vec<Cause> = outcomes.iter().map(|outcome| outcome.cause).collect();
    assert_eq!(causes, [Cause::Ok, Cause::Exit, Cause::Ok, Cause::OutOfFuel, Cause::Ok]);
    let outcomes = run_tests("1 / 0", &tests, Sharing::Instance, &limits);
    assert!(
        outcomes.len() == 5 && outcomes.iter().all(|outcome| outcome.detail == "ZeroDivisionError: division by zero")
    );
    assert!(run_tests("pass", &[], Sharing::Nothing, &limits).is_empty());
}

#[test]
fn each_test_may_write_what_the_limit_says() {
    let outcomes = run_tests("print('a' * 60_000)", &["print('b' * 60_000)"; 20], Sharing::Instance, &limits());
    assert!(outcomes.iter().all(|outcome| outcome.cause == Cause::Ok && outcome.stdout.len() == 60_001));
    let outcomes = run_tests("", &["print('b' * 70_000, flush=True)", "pass"], Sharing::Instance, &limits());
    assert_eq!([outcomes[0].cause, outcomes[1].cause], [Cause::TooMuchOutput, Cause::Ok]);
}

/// What the frames of a test held that failed is free for the next one.
#[test]
fn a_test_that_failed_does_not_hold_its_memory() {
    let program = "def f(error):\n    x = bytearray(150_000_000)\n    raise error";
    let direct = "f(ValueError())";
    let handled = "try: f(KeyError())\nexcept KeyError: f(ValueError())";
    let hostile = "class E(Exception):\n    def __setattr__(self, name, value): 1 / 0\nf(E())";
    let outcomes = run_tests(program, &[direct, direct, hostile, direct], Sharing::Instance, &limits());
    assert!(outcomes.iter().all(|outcome| outcome.cause == Cause::Exception), "{outcomes:?}");
    let program = program.replace("150", "70");
    let outcomes = run_tests(&program, &[handled; 4], Sharing::Instance, &limits());
    assert!(outcomes.iter().all(|outcome| outcome.detail == "ValueError"), "{outcomes:?}");
}

#[test]
fn the_outcome_of_a_program_that_fails_is_kept_once() {
    let mut times = 0;
    let kept = python()
        .run_tests("print('x')\n1 / 0", &["pass"; 9], Sharing::Nothing, &limits(), |outcome| {
            times += 1;
            ControlFlow::Continue(outcome.stdout)
        })
        .unwrap();
    assert_eq!((kept.len(), kept[8].as_str(), times), (9, "x\n", 1));
}

#[test]
fn behind_a_break_no_test_is_run() {
    for sharing in [Sharing::Instance, Sharing::Nothing] {
        let mut seen = 0;
        let kept = python()
            .run_tests("", &["pass", "1 / 0", "pass"], sharing, &limits(), |outcome| {
                seen += 1;
                match outcome.cause {
                    Cause::Ok => ControlFlow::Continue(outcome.cause),
                    cause => ControlFlow::Break(cause),
                }
            })
            .unwrap();
        assert_eq!((&kept[..], seen), (&[Cause::Ok, Cause::Exception][..], 2));
        let kept =
            python().run_tests("1 / 0", &["pass"; 3], sharing, &limits(), |it| ControlFlow::Break(it.cause)).unwrap();
        assert_eq!(kept, [Cause::Exception]);
    }
}

/// All outcomes add up to all of the work: what a program takes before its tests is in that of the first test behind it.
#[test]
fn loading_is_counted_each_time() {
    let program = "import os\nfor _ in range(10 ** 6): pass";
    let load = run(program).fuel;
    let loads = |tests: &[&str], sharing| {
        let outcomes = run_tests(program, tests, sharing, &limits());
        outcomes.iter().map(|outcome| outcome.fuel / load).collect::<Vec<_>>()
    };
    assert_eq!(loads(&["pass"; 3], Sharing::Instance), [1, 0, 0]);
    assert_eq!(loads(&["pass"; 3], Sharing::Nothing), [1, 1, 1]);
    assert_eq!(loads(&["pass", "os._exit(0)", "pass", "1 / 0"], Sharing::Instance), [1, 0, 1, 0]);
}

#[test]
fn a_refusal_of_memory_counts_for_the_text_that_met_it() {
    let refused = "try: 'a' * 10**9\nexcept MemoryError: pass";
    let outcomes = run_tests("", &[refused, "import os\nos.abort()"], Sharing::Instance, &limits());
    assert_eq!([outcomes[0].cause, outcomes[1].cause], [Cause::Ok, Cause::Exception], "{}", outcomes[1].detail);
}

#[test]
fn a_batch_keeps_its_order() {
    let programs: Vec<String> =
        (0..200).map(|n| if n % 7 == 0 { "1 / 0".into() } else { format!("print({n})") }).collect();
    let jobs: Vec<Job> = programs.iter().map(|program| Job { program, stdin: "", limits: limits() }).collect();
    let seen = Mutex::new(Vec::new());
    let outcomes = python().run_batch(&jobs, &|done| seen.lock().unwrap().push(done)).unwrap();
    for (n, outcome) in outcomes.iter().enumerate() {
        let expected = if n % 7 == 0 { (Cause::Exception, String::new()) } else { (Cause::Ok, format!("{n}\n")) };
        assert_eq!((outcome.cause, outcome.stdout.clone()), expected);
    }
    let mut seen = seen.into_inner().unwrap();
    seen.sort_unstable();
    assert_eq!(seen, (1..=200).collect::<Vec<_>>());
    assert!(python().run_batch(&[], &|_| ()).unwrap().is_empty());
    let jobs = [jobs[0], Job { limits: Limits { fuel: 0, ..limits() }, ..jobs[1] }];
    assert!(python().run_batch(&jobs, &|_| panic!("nothing is to run")).is_err());
}

/// The same outcomes and the same fuel, alone and among others.
#[test]
fn a_batch_has_the_outcomes_of_its_programs_alone() {
    let programs = [
        "print(hash('a'), id([]))",
        "import time; print(time.time())",
        "raise ValueError(object())",
        "print({*'abc'})",
    ];
    let jobs: Vec<Job> =
        programs.iter().cycle().take(40).map(|program| Job { program, stdin: "", limits: limits() }).collect();
    for (job, outcome) in jobs.iter().zip(python().run_batch(&jobs, &|_| ()).unwrap()) {
        let alone = run(job.program);
        assert_eq!(
            (outcome.cause, outcome.stdout, outcome.stderr, outcome.fuel),
            (alone.cause, alone.stdout, alone.stderr, alone.fuel)
        );
    }
}

#[test]
fn packages_can_be_imported_and_not_looked_at() {
    let folder = tempfile::tempdir().unwrap();
    let package = folder.path().join("site/shape");
    fs::create_dir_all(&package).unwrap();
    fs::write(package.join("__init__.py"), "from .square import area\nimported = True").unwrap();
    fs::write(package.join("square.py"), "def area(x): return x * x").unwrap();
    fs::write(folder.path().join("site/json.py"), "evil = 1").unwrap();
    fs::write(folder.path().join("site/broken.py"), "def (").unwrap();
    let packages = Packages { paths: vec![folder.path().join("site")], preload: vec!["shape".to_owned()] };
    let with = Python::prepare_with(&cache(), &packages, &mut |_| ()).unwrap();
    let program = "import sys\nassert 'shape' in sys.modules\nimport shape, json\nassert shape.area(3) == 9\n\
        assert json.loads('1') == 1\ntry: open('/stdlib/-packages/0/shape/square.py')\nexcept OSError: pass\nelse: 1 / 0";
    let outcome = with.run(program, "", &limits()).unwrap();
    assert_eq!(outcome.cause, Cause::Ok, "{}", outcome.stderr);
    assert_eq!(run("import shape").detail, "ModuleNotFoundError: No module named 'shape'");
    let absent = Packages { preload: vec!["no_such_module".to_owned()], ..Packages::default() };
    let error = Python::prepare_with(&cache(), &absent, &mut |_| ()).err().unwrap().to_string();
    assert!(error.contains("no_such_module"), "{error}");
}

/// As little as shows the streams: copies standard
/// input to standard output, then exits with the number of its arguments.
const COPY: &str = r#"(module
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $sizes (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (loop $more
      (i32.store (i32.const 0) (i32.const 64))
      (i32.store (i32.const 4) (i32.const 1000))
      (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
      (i32.store (i32.const 4) (i32.load (i32.const 8)))
      (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 12)))
      (br_if $more (i32.load (i32.const 8))))
    (drop (call $sizes (i32.const 16) (i32.const 20)))
    (call $exit (i32.sub (i32.load (i32.const 16)) (i32.const 1)))))"#;

fn command(body: &str) -> WasiCommand {
    let text = format!(
        r#"(module
          (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
          (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
          (import "wasi_snapshot_preview1" "clock_time_get" (func $clock (param i32 i64 i32) (result i32)))
          (import "wasi_snapshot_preview1" "args_get" (func $arguments (param i32 i32) (result i32)))
          (import "wasi_snapshot_preview1" "path_open"
            (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
          (memory (export "memory") 1)
          {body})"#
    );
    WasiCommand::new(text.as_bytes()).unwrap()
}

#[test]
fn a_command_reads_writes_and_exits() {
    let copy = WasiCommand::new(COPY.as_bytes()).unwrap();
    let stdin = "a line\n".repeat(500);
    let outcome = copy.run(&[], stdin.as_bytes(), &limits()).unwrap();
    assert_eq!((outcome.cause, outcome.stdout), (Cause::Ok, stdin), "{}", outcome.detail);
    let outcome = copy.run(&["one", "two"], b"", &limits()).unwrap();
    assert_eq!((outcome.cause, outcome.detail.as_str()), (Cause::Exit, "exited with status 2"));
}

#[test]
fn a_command_has_the_limits_of_a_program() {
    let check = |body: &str, cause: Cause| {
        let command = command(body);
        let first = command.run(&[], b"", &limits()).unwrap();
        assert_eq!(first.cause, cause, "{body}: {}", first.detail);
        let again = command.run(&[], b"", &limits()).unwrap();
        assert_eq!((first.fuel, first.stdout), (again.fuel, again.stdout), "{body}");
    };
    let start = |code: &str| format!(r#"(func (export "_start") {code})"#);
    check(&start(""), Cause::Ok);
    check(&start("(loop (br 0))"), Cause::OutOfFuel);
    check(&start("unreachable"), Cause::Exception);
    check(r#"(func $f (export "_start") (call $f))"#, Cause::Exception);
    check(&start("(drop (i32.load (i32.const -1)))"), Cause::Exception);
    // Host functions charge for what they do.
    check(
        &start(
            "(drop (memory.grow (i32.const 2000))) (loop (drop (call $random (i32.const 0) (i32.const 100000000))) (br 0))",
        ),
        Cause::OutOfFuel,
    );
    check(
        &start(
            "(i32.store (i32.const 4) (i32.const 60000))
             (loop (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))) (br 0))",
        ),
        Cause::TooMuchOutput,
    );
    // Addresses beyond the memory, and lists without end, are answered.
    check(
        &start(
            "(if (i32.ne (call $write (i32.const 1) (i32.const -4) (i32.const 1) (i32.const 0)) (i32.const 21)) (then unreachable))
             (if (i32.ne (call $write (i32.const 1) (i32.const 0) (i32.const -1) (i32.const 0)) (i32.const 28)) (then unreachable))
             (if (i32.ne (call $random (i32.const 65530) (i32.const 100)) (i32.const 21)) (then unreachable))",
        ),
        Cause::Ok,
    );
    check(
        &start("(if (i32.ne (memory.grow (i32.const 5000)) (i32.const -1)) (then unreachable)) unreachable"),
        Cause::OutOfMemory,
    );
    // No folder, no file.
    check(
        &start(
            "(if (i32.ne (call $open (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 0)
               (i64.const 0) (i64.const 0) (i32.const 0) (i32.const 0)) (i32.const 76)) (then unreachable))",
        ),
        Cause::Ok,
    );
    // Its clock and its random bytes are the same each time: they go into the output that is compared.
    check(
        &start(
            "(drop (call $clock (i32.const 0) (i64.const 1) (i32.const 64)))
             (drop (call $random (i32.const 72) (i32.const 8)))
             (i32.store (i32.const 0) (i32.const 64)) (i32.store (i32.const 4) (i32.const 16))
             (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))",
        ),
        Cause::Ok,
    );
}

/// Calls of the host are charged and so begin a new interval of giving way; the clock is looked at all the same.
#[test]
fn the_wall_clock_ends_a_command_that_only_calls_the_host() {
    let limits = Limits { fuel: u64::MAX, wall: Duration::from_millis(200), ..limits() };
    for call in [
        "(call $write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 16))",
        "(call $random (i32.const 64) (i32.const 8))",
        "(call $random (i32.const 64) (i32.const 65000))",
        "(call $clock (i32.const 1) (i64.const 1) (i32.const 64))",
        "(call $open (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 0)
           (i64.const 0) (i64.const 0) (i32.const 0) (i32.const 0))",
    ] {
        let command = command(&format!(r#"(func (export "_start") (loop (drop {call}) (br 0)))"#));
        let started = Instant::now();
        let outcome = command.run(&[], b"", &limits).unwrap();
        assert_eq!(outcome.cause, Cause::TimedOut, "{call}: {}", outcome.detail);
        assert!(started.elapsed() < Duration::from_secs(5), "{call}: {:?}", started.elapsed());
    }
}

#[test]
fn a_command_pays_for_its_arguments() {
    let command = command(
        r#"(func (export "_start") (drop (memory.grow (i32.const 40)))
             (drop (call $arguments (i32.const 0) (i32.const 1024))))"#,
    );
    let fuel = |argument: &str| command.run(&[argument], b"", &limits()).unwrap().fuel;
    assert_eq!(fuel(&"x".repeat(1_000_001)) - fuel("x"), 1_000_000);
}

#[test]
fn what_is_no_command_is_refused() {
    let check = |module: &[u8], expected: &str| {
        let error = WasiCommand::new(module).err().unwrap().to_string();
        assert!(error.contains(expected), "{error}");
    };
    check(b"", "not valid");
    check(b"print('hello')", "not valid");
    check(b"\0asm\x01\0\0\0garbage", "not valid");
    check(b"(module)", "no function `_start`");
    check(br#"(module (func (export "_start") (param i32)))"#, "no function `_start`");
    check(br#"(module (func (export "_start")))"#, "no `memory`");
    check(
        br#"(module (import "env" "system" (func)) (memory (export "memory") 1) (func (export "_start")))"#,
        "asks for more than WASI preview 1",
    );
    check(
        br#"(module (import "wasi_snapshot_preview1" "fd_write" (func)) (memory (export "memory") 1) (func (export "_start")))"#,
        "asks for more than WASI preview 1",
    );
    check(b"(component)", "not valid");
}

#[test]
fn memory_that_a_command_declares_counts() {
    let module = r#"(module (memory (export "memory") 60000) (func (export "_start")))"#;
    let outcome = WasiCommand::new(module.as_bytes()).unwrap().run(&[], b"", &limits()).unwrap();
    assert_eq!(outcome.cause, Cause::OutOfMemory, "{}", outcome.detail);
    let module = r#"(module (table 100001 funcref) (memory (export "memory") 1) (func (export "_start")))"#;
    let outcome = WasiCommand::new(module.as_bytes()).unwrap().run(&[], b"", &limits()).unwrap();
    assert_eq!(outcome.cause, Cause::OutOfMemory, "{}", outcome.detail);
}

/// What a module's own maximum forbids is not the limit's doing, and takes nothing of it.
#[test]
fn a_growth_beyond_its_own_maximum_is_the_commands_affair() {
    let check = |memory: &str, body: &str, cause: Cause| {
        let module = format!(r#"(module (memory (export "memory") {memory}) (func (export "_start") {body}))"#);
        let outcome = WasiCommand::new(module.as_bytes()).unwrap().run(&[], b"", &limits()).unwrap();
        assert_eq!(outcome.cause, cause, "{memory}: {body}: {}", outcome.detail);
    };
    check("1 2", "(drop (memory.grow (i32.const 10000))) unreachable", Cause::Exception);
    check("1", "(drop (memory.grow (i32.const 65536))) unreachable", Cause::Exception);
    check("1", "(drop (memory.grow (i32.const 10000))) unreachable", Cause::OutOfMemory);
    let often = "(drop (memory.grow (i32.const 3000)))".repeat(9);
    let then = "(if (i32.eq (memory.grow (i32.const 99)) (i32.const -1)) (then unreachable))";
    check("1 100", &format!("{often} {then}"), Cause::Ok);
}

/// A component that exports `f`, with what it may call.
fn component(body: &str) -> Component {
    let text = format!(
        r#"(component
          (import "wasi:random/random@0.2.0" (instance $random
            (export "get-random-bytes" (func (param "len" u64) (result (list u8))))))
          (import "wasi:io/poll@0.2.0" (instance $poll
            (export "pollable" (type $pollable (sub resource)))
            (export "poll" (func (param "in" (list (borrow $pollable))) (result (list u32))))))
          (import "wasi:io/streams@0.2.0" (instance $streams (export "output-stream" (type (sub resource)))))
          (alias export $streams "output-stream" (type $stream))
          (import "wasi:cli/stdout@0.2.0" (instance $stdout
            (export "output-stream" (type $same (eq $stream)))
            (export "get-stdout" (func (result (own $same))))))
          (core module $libc
            (memory (export "memory") 40)
            (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 65536)))
          (core instance $libc (instantiate $libc))
          (core func $bytes
            (canon lower (func $random "get-random-bytes") (memory $libc "memory") (realloc (func $libc "realloc"))))
          (core func $wait (canon lower (func $poll "poll") (memory $libc "memory") (realloc (func $libc "realloc"))))
          (core func $open (canon lower (func $stdout "get-stdout")))
          (core module $main
            (import "host" "bytes" (func $bytes (param i64 i32)))
            (import "host" "wait" (func $wait (param i32 i32 i32)))
            (import "host" "open" (func $open (result i32)))
            (func (export "f") {body}))
          (core instance $main (instantiate $main (with "host" (instance
            (export "bytes" (func $bytes)) (export "wait" (func $wait)) (export "open" (func $open))))))
          (func $f (canon lift (core func $main "f")))
          (instance $exported (export "f" (func $f)))
          (export "test:guest/calls" (instance $exported)))"#
    );
    Component::new(text.as_bytes(), "test:guest/calls", "f").unwrap()
}

/// Whatever a component asks of the host, what comes back is an outcome.
#[test]
fn what_a_component_may_not_ask_for_ends_it_alone() {
    let check = |body: &str, cause: Cause, detail: &str| {
        let outcome = component(body).call::<(), ()>((), &limits()).unwrap().outcome;
        assert_eq!(outcome.cause, cause, "{body}: {}", outcome.detail);
        assert!(outcome.detail.contains(detail), "{body}: {}", outcome.detail);
    };
    check("(call $bytes (i64.const 1048576) (i32.const 0))", Cause::Ok, "");
    check("(call $bytes (i64.const 1048577) (i32.const 0))", Cause::Exception, "random bytes are more than");
    check("(call $wait (i32.const 0) (i32.const 0) (i32.const 0))", Cause::Exception, "waiting for nothing");
    check("(call $wait (i32.const 0) (i32.const 1) (i32.const 0))", Cause::Exception, "unknown handle");
    check("(loop (drop (call $open)) (br 0))", Cause::Exception, "the component was stopped");
}

/// Random bytes cost fuel, and whoever only asks for them does not escape the clock.
#[test]
fn calls_of_the_host_are_within_a_components_limits() {
    let endless = component("(loop (call $bytes (i64.const 1048576) (i32.const 0)) (br 0))");
    let outcome = endless.call::<(), ()>((), &Limits { fuel: 100_000_000, ..limits() }).unwrap().outcome;
    assert_eq!(outcome.cause, Cause::OutOfFuel, "{}", outcome.detail);
    let limits = Limits { fuel: u64::MAX, wall: Duration::from_millis(200), ..limits() };
    let started = Instant::now();
    let outcome = endless.call::<(), ()>((), &limits).unwrap().outcome;
    assert_eq!(outcome.cause, Cause::TimedOut, "{}", outcome.detail);
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

#[test]
fn a_cache_that_cannot_be_made_is_an_error_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let mut steps = 0;
    let error = Python::prepare(&file.join("cache"), &mut |_| steps += 1).err().unwrap().to_string();
    assert!(error.contains("making the folder") && steps == 0, "{error}");
}
