//! What surrounds single Python programs: tests that share an instance, batches, packages, other languages, the cache.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::sync::Mutex;

use sandbox::{Cause, Job, Limits, Packages, Python, Sharing, WasiCommand};
use support::{cache, limits, python, run};

#[test]
fn tests_share_an_instance_or_not() {
    let program = "calls = []\ndef f(x):\n    calls.append(x)\n    return x * x";
    let tests =
        ["assert f(2) == 4\nassert len(calls) == 1", "assert f(3) == 8", "print(len(calls))", "assert f(3) == 9"];
    let check = |sharing, causes: [Cause; 4], printed: &str| {
        let outcomes = python().run_tests(program, &tests, sharing, &limits()).unwrap();
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
    let outcomes = python().run_tests("pass", &tests, Sharing::Instance, &limits).unwrap();
    let causes: Vec<Cause> = outcomes.iter().map(|outcome| outcome.cause).collect();
    assert_eq!(causes, [Cause::Ok, Cause::Exit, Cause::Ok, Cause::OutOfFuel, Cause::Ok]);
    let outcomes = python().run_tests("1 / 0", &tests, Sharing::Instance, &limits).unwrap();
    assert!(
        outcomes.len() == 5 && outcomes.iter().all(|outcome| outcome.detail == "ZeroDivisionError: division by zero")
    );
    assert!(python().run_tests("pass", &[], Sharing::Nothing, &limits).unwrap().is_empty());
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
