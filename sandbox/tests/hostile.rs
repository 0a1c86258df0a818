//! Programs that try to take more than they may, to get out, to stay, or to break the interpreter: one property at a
//! time. Each ends with its cause, and an honest program right after it is none the wiser.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::time::{Duration, Instant};

use sandbox::{Cause, Limits, Outcome};
use support::{limits, python, run};

/// Finds what a program could have left behind, and what no program may have.
const HONEST: &str = "import builtins, json, math, os, random, sys
assert not hasattr(builtins, 'evil') and 'evil' not in sys.modules and 'evil' not in globals()
assert math.pi > 3.14 and json.dumps([1]) == '[1]' and len('abc') == 3
assert random.random() == 0.8444218515250481
assert sys.getrecursionlimit() == 1000 and not os.environ
print('fine')";

fn honest() {
    let outcome = run(HONEST);
    assert_eq!((outcome.cause, outcome.stdout.as_str()), (Cause::Ok, "fine\n"), "{}", outcome.stderr);
}

/// Runs each program; its cause must be among `allowed`.
#[track_caller]
fn end_with(allowed: &[Cause], programs: &[&str]) {
    for program in programs {
        let outcome = run(program);
        let shown: String = program.chars().take(300).collect();
        assert!(
            allowed.contains(&outcome.cause),
            "{shown}\n{:?}: {}\n{}",
            outcome.cause,
            outcome.detail,
            outcome.stderr
        );
        within_limits(&outcome);
        honest();
    }
}

#[track_caller]
fn within_limits(outcome: &Outcome) {
    // Each byte that is no text is shown as one character.
    let written = outcome.stdout.chars().count() + outcome.stderr.chars().count();
    assert!(written <= limits().output_bytes, "{written}");
}

#[test]
fn loops_in_python_and_in_c_run_out_of_fuel() {
    end_with(
        &[Cause::OutOfFuel],
        &[
            "while True: pass",
            "while True:\n    try:\n        raise ValueError\n    except BaseException:\n        pass",
            "sum(range(10**18))",
            "x = 3**(10**7)",
            "x = 3**(10**9)",
            "x = 10**5000\nwhile True: x = x * x % (10**4999 + 1)",
            "import math\nmath.factorial(10**6)",
            "import sys\nsys.set_int_max_str_digits(0)\nstr(7**(10**6))",
            "import re\nre.match('(a+)+$', 'a' * 40 + 'b')",
            "import re\nre.match('(.*)*x', 'a' * 5000)",
            "list(__import__('itertools').permutations(range(12)))[0:0] or max(__import__('itertools').repeat(1))",
            "'x' in __import__('itertools').cycle('a')",
            "import hashlib\nx = bytes(10**7)\nwhile True: hashlib.sha256(x)",
            "from decimal import *\ngetcontext().prec = 10**6\nwhile True: Decimal(2).sqrt()",
            "class A:\n    def __eq__(self, o):\n        while True: pass\n[A()].index(1)",
            "x = b'a' * 10**7\nwhile True: bytearray(x)",
            "class L(list):\n    def __len__(self): return 5\nx = iter(int, 1)\nfor _ in x: pass",
        ],
    );
}

#[test]
fn more_memory_than_allowed_is_refused() {
    end_with(
        &[Cause::OutOfMemory, Cause::Exception],
        &["'a' * 10**12", "x = [0] * 10**9", "range(10**18).__reversed__().__length_hint__() and [0] * 10**18"],
    );
    end_with(
        &[Cause::OutOfMemory],
        &[
            "'a' * 10**9",
            "x = [0]\nwhile True: x += x",
            "x = {}\nfor i in range(10**9): x[i] = bytes(10_000)",
            "x = []\nwhile True: x.append('a' * 10**6)",
            "import array\narray.array('d', bytes(8)) * 10**8",
            "x = 'a'\nwhile True: x = f'{x}{x}'",
            "int('9' * 10) ** 10**9 if False else bytearray(2**31 - 100)",
            "import itertools\nitertools.tee(itertools.count(), 10**9)",
        ],
    );
    // What is caught does not stay refused.
    end_with(&[Cause::Ok], &["try: 'a' * 10**9\nexcept MemoryError: pass\nx = 'a' * 10**6"]);
}

#[test]
fn nesting_without_end_is_an_exception() {
    let brackets = "(".repeat(50_000);
    let indented: String = (0..110).map(|depth| format!("{}if 1:\n", " ".repeat(depth))).collect();
    end_with(
        &[Cause::Exception, Cause::SyntaxError, Cause::OutOfMemory, Cause::OutOfFuel, Cause::Ok],
        &[
            &brackets,
            &format!("{indented}{}pass", " ".repeat(111)),
            &format!("x = {}1", "not ".repeat(100_000)),
            &format!("x = 1{}", " + 1".repeat(100_000)),
            &format!("x = a{}", ".a".repeat(100_000)),
            &format!("x = f{}", "()".repeat(100_000)),
            &format!("{}: pass", "lambda: ".repeat(10_000)),
            "def f(): return f()\nf()",
            "import sys\nsys.setrecursionlimit(2**31 - 1)\ndef f(): return f()\nf()",
            "import sys\nsys.setrecursionlimit(2**31 - 1)\nclass A:\n    def __getattr__(s, n): return getattr(s, n)\nA().x",
            "import sys\nsys.setrecursionlimit(2**31 - 1)\nx = []\nx.append(x)\nprint(x == [x], repr(x)[:5])",
            "x = ()\nfor _ in range(10**6): x = (x,)\ndel x",
            "import functools\nf = len\nfor _ in range(10**5): f = functools.partial(f)\nf([])",
            "x = int\nfor _ in range(10**5): x = x | None if x is int else list[x]\nrepr(x)",
            "import itertools\nx = iter(())\nfor _ in range(10**5): x = itertools.chain(x)\nnext(x, 0)",
            "import re\nre.compile('(' * 5000 + ')' * 5000)",
            "import pickle\nx = []\nfor _ in range(10**5): x = [x]\npickle.dumps(x)",
            "import json\njson.loads('[' * 10**5)",
            "import ast\nx = ast.Constant(1)\nfor _ in range(10**5): x = ast.UnaryOp(ast.USub(), x)\n\
             compile(ast.fix_missing_locations(ast.Expression(x)), 'x', 'eval')",
            "e = None\nfor _ in range(10**5):\n    n = ValueError()\n    n.__cause__ = e\n    e = n\nraise e",
            "e = ValueError()\nfor _ in range(10**4): e = ExceptionGroup('', [e])\nraise e",
        ],
    );
}

#[test]
fn floods_of_output_are_cut() {
    end_with(
        &[Cause::TooMuchOutput],
        &[
            "while True: print('x')",
            "print('x' * 10**7)",
            "import sys\nwhile True: sys.stderr.write('x' * 1000)",
            "import os\nwhile True: os.write(1, b'x' * 10**6)",
            "import sys\nwhile True: sys.stdout.buffer.raw.write(b'x' * 1000)",
            "import warnings\nwhile True: warnings.warn_explicit('x' * 100, UserWarning, 'x', 1, registry={})",
        ],
    );
    // An error message has its own end.
    end_with(&[Cause::Exception], &["raise ValueError('x' * 10**7)"]);
}

#[test]
fn there_is_nobody_else_to_talk_to() {
    end_with(
        &[Cause::Exception],
        &[
            "import os\nos.fork()",
            "import os\nos.spawnv(os.P_WAIT, '/bin/sh', ['sh'])",
            "import subprocess\nsubprocess.check_output('id', shell=True)",
            "import os\nos.popen('id').read()",
            "import multiprocessing\nmultiprocessing.Process(target=print).start()",
            "import _thread\n_thread.start_new_thread(print, ())",
            "import concurrent.futures as c\nc.ProcessPoolExecutor().submit(print).result()",
            "import socket\nsocket.socket(socket.AF_INET, socket.SOCK_STREAM)",
            "import socket\nsocket.socket(socket.AF_INET, socket.SOCK_DGRAM)",
            "import socket\nsocket.gethostbyname('localhost')",
            "import socket\nsocket.create_connection(('127.0.0.1', 80))",
            "import socket\nsocket.getaddrinfo('example.org', 80)",
            "import os\nos.system('ls')",
            "import os\nos.execv('/bin/ls', ['ls'])",
            "import urllib.request\nurllib.request.urlopen('http://127.0.0.1')",
            "import ctypes\nctypes.CDLL(None)",
            "import _ctypes",
            "import mmap\nmmap.mmap(-1, 4096)",
            "import fcntl",
            "import os\nos.kill(1, 9)",
            "import signal\nsignal.raise_signal(signal.SIGKILL)\nraise ValueError",
            "import signal\nsignal.setitimer(signal.ITIMER_REAL, 1)",
            "import importlib.machinery as m\nm.ExtensionFileLoader('x', '/x.so').create_module(m.ModuleSpec('x', None))",
        ],
    );
}

#[test]
fn no_path_leads_anywhere() {
    let mut programs: Vec<String> = [
        "/",
        ".",
        "..",
        "/etc/passwd",
        "/proc/self/mem",
        "/proc/self/environ",
        "/dev/null",
        "/dev/stdin",
        "/tmp",
        "/stdlib",
        "/stdlib/os.py",
        "/-packages",
        "../../../etc/passwd",
        "file:///etc/passwd",
        "~",
        "\\0",
        "//etc//passwd",
    ]
    .iter()
    .flat_map(|path| {
        ["open({path!r})", "open({path!r}, 'w')", "os.listdir({path!r})", "os.stat({path!r})", "os.open({path!r}, 64)"]
            .map(|call| format!("import os\npath = '{path}'\n{}", call.replace("{path!r}", "path")))
    })
    .collect();
    programs.extend(
        [
            "os.symlink('/etc', 'x')",
            "os.link('/etc/passwd', 'x')",
            "os.readlink('/proc/self/exe')",
            "os.mkdir('/x')",
            "__import__('pathlib').Path('/tmp/x').write_text('x')",
            "__import__('tempfile').TemporaryFile()",
            "os.rename('/etc', '/x')",
            "os.unlink('/etc/passwd')",
            "os.truncate('/etc/passwd', 0)",
            "os.chdir('/')\nos.stat('etc')",
            "os.utime('/')",
            "os.stat(0, dir_fd=3)",
            "os.open('etc', 0, dir_fd=3)",
            "[os.stat(n) for n in range(3, 50)]",
            "__import__('shutil').copyfile('/etc/passwd', '/x')",
            "__import__('tempfile').mkstemp()",
            "__import__('sqlite3').connect('/x')",
            "__import__('zipfile').ZipFile('/x', 'w')",
            "__import__('pathlib').Path('/').resolve(strict=True).iterdir().__next__()",
            "__import__('runpy').run_path('/etc/passwd')",
        ]
        .map(|call| format!("import os\n{call}")),
    );
    for program in &programs {
        let outcome = run(program);
        assert_eq!(outcome.cause, Cause::Exception, "{program}\n{}{}", outcome.stdout, outcome.stderr);
    }
    honest();
}

#[test]
fn environment_clock_and_randomness_are_everybodys() {
    let program = "import os, platform, random, secrets, sys, time, uuid, datetime, socket, getpass
print(dict(os.environ), sys.argv, os.getcwd() if hasattr(os, 'x') else '', time.time(), time.monotonic_ns())
print(time.localtime(), time.tzname, datetime.date.today(), random.random(), secrets.token_hex(), uuid.uuid1())
print(hash('x'), id(object()), object(), os.getpid(), platform.node(), sys.platform, os.urandom(100_000)[-4:])
print({str(i) for i in range(50)}, time.process_time(), sys.getrefcount(None), time.perf_counter())";
    let first = run(program);
    assert_eq!(first.cause, Cause::Ok, "{}", first.stderr);
    let strip = |outcome: &Outcome| (outcome.stdout.clone(), outcome.fuel);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..6).map(|_| scope.spawn(|| strip(&run(program)))).collect();
        threads.into_iter().for_each(|thread| assert_eq!(thread.join().unwrap(), strip(&first)));
    });
    assert!(first.stdout.starts_with("{} ['program']"), "{}", first.stdout);
}

#[test]
fn whoever_ends_itself_has_not_passed() {
    end_with(
        &[Cause::Exit],
        &[
            "import sys\nsys.exit(0)",
            "import os\nos._exit(0)",
            "raise SystemExit",
            "quit()",
            "import sys\ndef f():\n    try: sys.exit(0)\n    finally: pass\nf()",
            "class D:\n    def __del__(self):\n        import os\n        os._exit(0)\nD()",
            "import gc, os\nclass D:\n    def __del__(self): os._exit(0)\nd = D()\nd.d = d\ndel d\ngc.collect()",
        ],
    );
    end_with(&[Cause::Exception], &["import os\nos.abort()", "raise KeyboardInterrupt", "raise GeneratorExit"]);
    end_with(
        &[Cause::AssertionFailed],
        &[
            "import atexit, os\natexit.register(os._exit, 0)\nassert False",
            "class D:\n    def __del__(self): raise SystemExit(0)\nd = D()\nassert False",
            "import sys\nsys.excepthook = lambda *a: sys.exit(0)\nassert False",
            "import sys\nsys.unraisablehook = None\nclass D:\n    def __del__(self): 1 / 0\nD()\nassert False",
        ],
    );
    // Complaints of `__del__` go to standard error, as in any Python.
    end_with(
        &[Cause::Ok],
        &["class D:\n    def __del__(self): 1 / 0\nD()", "class D:\n    def __del__(self): raise SystemExit\nD()"],
    );
}

#[test]
fn texts_that_are_hardly_programs() {
    end_with(
        &[Cause::SyntaxError],
        &["\0", "x = '\0'", "x = '", "\u{feff}\u{feff}x", "é = ", "x = 1\n\ty = 2", "λ x: x"],
    );
    end_with(
        &[Cause::Ok],
        &[
            "",
            "\n\n\n",
            "#",
            "\u{feff}x = 1",
            "é = 'ü'",
            "# coding: latin-1\nx = 'é'",
            "x = 1\r\ny = 2\rz = 3",
            "\u{c}",
        ],
    );
    let line = format!("x = '{}'", "a".repeat(2 << 20));
    let many = "x = 1\n".repeat(300_000);
    end_with(&[Cause::Ok, Cause::OutOfMemory, Cause::OutOfFuel], &[&line, &many]);
    end_with(&[Cause::SyntaxError], &[&format!("x = '{}", "a".repeat(1 << 20))]);
    // Bytes that are no UTF-8 inside, where a program makes them itself.
    end_with(
        &[Cause::SyntaxError, Cause::Exception],
        &["exec(b'x = \"\\xff\"')", "compile(b'\\xff\\xfe', 'x', 'exec')"],
    );
    end_with(
        &[Cause::Ok],
        &["import sys\nsys.stdout.buffer.write(b'\\xff\\xfe\\x00')", "print('\\ud800'.encode('utf-8', 'replace'))"],
    );
}

#[test]
fn garbage_on_standard_input_is_only_text() {
    let limits = limits();
    let large = "7 ".repeat(2_000_000);
    for (stdin, program) in [
        ("\0\u{1}\u{7f}\u{fffd}\n\n", "import sys\nsys.stdin.read()"),
        ("", "import sys\nassert sys.stdin.read() == ''"),
        (large.as_str(), "import sys\nassert sum(map(int, sys.stdin.buffer.read().split())) == 14000000"),
        ("no newline at the end", "assert input() == 'no newline at the end'"),
    ] {
        let outcome = python().run(program, stdin, &limits).unwrap();
        assert_eq!(outcome.cause, Cause::Ok, "{program}\n{}", outcome.stderr);
    }
    assert_eq!(run("input()").detail, "EOFError: EOF when reading a line");
    honest();
}

#[test]
fn pickles_do_what_programs_do_and_no_more() {
    end_with(
        &[Cause::Exception, Cause::Exit, Cause::AssertionFailed],
        &[
            "import pickle\npickle.loads(b\"cos\\nsystem\\n(S'id'\\ntR.\")\nassert False",
            "import pickle\npickle.loads(b'cos\\n_exit\\n(I0\\ntR.')",
            "import pickle\npickle.loads(b'garbage')",
            "import marshal\nmarshal.loads(b'\\xff' * 100)",
        ],
    );
}

#[test]
fn nothing_stays_for_the_next_program() {
    end_with(
        &[Cause::Ok],
        &[
            "import builtins, sys\nbuiltins.evil = sys.modules['evil'] = 1\nevil = 2",
            "import builtins\nbuiltins.len = None",
            "import math, json, random\nmath.pi = 3\njson.dumps = None\nrandom.seed(7)\nrandom.random = lambda: 4",
            "import sys\nsys.setrecursionlimit(50)\nsys.path.append('/')\nsys.stdout.close()",
            "import os\nos.environ['evil'] = '1'\nos.putenv('evil', '1')",
            "import os\nfor n in range(10):\n    try: os.close(n)\n    except OSError: pass",
            "import gc\ngc.disable()\ngc.set_threshold(0)",
            "import gc\nfor x in gc.get_objects():\n    if type(x) is dict: x['evil'] = 1",
            "import locale, decimal\ndecimal.getcontext().prec = 1",
            "import sys\nsys.meta_path.clear()\nsys.modules.clear()",
        ],
    );
}

/// What crashes an interpreter crashes one instance. Several of these are CPython's own list of crashers.
#[test]
fn a_broken_interpreter_breaks_alone() {
    let random_bytecode = "import random
def f(a, b):
    return a + b
r = random.Random(SEED)
code = f.__code__.replace(co_code=bytes(r.randrange(256) for _ in range(60)))
try: exec(code)
except BaseException: pass
f.__code__ = code
f(1, 2)";
    let mut programs: Vec<String> = (0..40).map(|seed| random_bytecode.replace("SEED", &seed.to_string())).collect();
    programs.extend(
        [
            "(lambda: 0).__code__.replace(co_stacksize=0)\nexec((lambda a: [a, [a, [a]]]).__code__.replace(co_stacksize=1))",
            "exec((lambda: x).__code__.replace(co_names=()))",
            "exec((lambda: 1000).__code__.replace(co_consts=()))",
            "import marshal\nmarshal.loads(b'\\xe3' + b'\\xff' * 200)",
            "import marshal, random\nr = random.Random(1)\nc = bytearray(marshal.dumps((lambda x: [y for y in x]).__code__))\n\
             for _ in range(300):\n    d = bytearray(c)\n    d[r.randrange(len(d))] = r.randrange(256)\n    \
             try: exec(marshal.loads(bytes(d)))\n    except BaseException: pass",
            "import gc\nt = tuple(iter([1, 2]))\nfor x in gc.get_objects():\n    if type(x) is tuple: gc.get_referrers(x); break",
            "import faulthandler\nfaulthandler._sigsegv()",
            "import faulthandler\nfaulthandler._stack_overflow()",
            "import faulthandler\nfaulthandler._fatal_error_c_thread()",
            "import sys\nsys.settrace",
            "class A:\n    def __hash__(s): return 0\n    def __eq__(s, o): d.clear(); return False\nd = {A(): 1, A(): 2}",
            "x = list(range(10))\nx.sort(key=lambda _: x.clear())",
            "import io\nb = io.BytesIO(b'abc')\nv = b.getbuffer()\nb.close()",
            "import _testinternalcapi",
            "class M(type):\n    def mro(c): return (c, object) if c.__name__ else ()\nM('A', (), {})\nM('', (), {})",
            "import operator\noperator.setitem(type.__dict__ if 0 else {}, 1, 2)\nobject.__new__(type)",
            "import itertools\ni = itertools.chain.from_iterable(x for x in [i] if 0) if 0 else None\nraise i",
            "f = open\nf.__init__ = None",
            "import types\ntypes.CodeType(0, 0, 0, 0, 0, 0, b'', (), (), (), '', '', '', 0, b'', b'', (), ())",
            "import struct\nx = struct.pack_into\nstruct.unpack_from('Q', bytes(1), 2**31)",
            "import array\na = array.array('b', bytes(10))\nm = memoryview(a)\na.frombytes(b'x')",
            "def g():\n    yield from g2\ng2 = g()\nnext(g2)",
        ]
        .map(str::to_owned),
    );
    for program in &programs {
        // Any cause will do, as long as there is one.
        within_limits(&run(program));
        honest();
    }
}

/// Whatever a program is doing when its time is over, and whatever it has prepared for its end, it is gone soon after. The
/// best of several tries, as other tests keep the cores busy.
#[test]
fn nothing_outlives_its_limit_by_a_tenth_of_a_second() {
    let wall = Duration::from_millis(150);
    let timed = Limits { fuel: 2_000_000_000_000, wall, ..limits() };
    let least_over = |program: &str, limits: &Limits, allowed: &[Cause]| {
        let tries = (0..5).map(|_| {
            let started = Instant::now();
            let outcome = python().run(program, "", limits).unwrap();
            assert!(allowed.contains(&outcome.cause), "{program}\n{:?}", outcome.cause);
            started.elapsed().saturating_sub(limits.wall)
        });
        tries.min().unwrap()
    };
    python();
    for program in [
        "while True: pass",
        "sum(range(10**18))",
        "x = 3**(10**7)",
        "import re\nre.match('(a+)+$', 'a' * 40 + 'b')",
        "import hashlib\nx = bytes(10**7)\nwhile True: hashlib.sha256(x)",
        "x = b'a' * 10**7\nwhile True: bytearray(x)",
        "while True:\n    try:\n        while True: pass\n    except BaseException: pass",
        "import time\nwhile True: time.sleep(1)",
    ] {
        let over = least_over(program, &timed, &[Cause::TimedOut]);
        assert!(over < Duration::from_millis(100), "{program}: {over:?} too late");
    }
    // Of programs that have ended, only the report is still to be written. (On a busy machine the limit may come first.)
    let at_once = Limits { wall: Duration::from_millis(20), ..limits() };
    let causes = [Cause::Exception, Cause::AssertionFailed, Cause::OutOfMemory, Cause::TimedOut];
    for program in [
        "class E(Exception):\n    def __str__(self):\n        while True: pass\nraise E",
        "class S:\n    def flush(self):\n        while True: pass\nimport sys\nsys.stdout = S()\nassert False",
        "class M(type):\n    @property\n    def __module__(cls):\n        while True: pass\n\
         class E(Exception, metaclass=M): pass\nraise E",
        "def f(n):\n    if n: f(n - 1)\n    else: 1 / 0\nimport sys\nsys.setrecursionlimit(10**6)\nf(10_000)",
    ] {
        let over = least_over(program, &at_once, &causes);
        assert!(over < Duration::from_millis(100), "{program}: {over:?} too late");
    }
    // One bulk instruction is never interrupted: writing so much fresh memory takes what it takes on this machine.
    let program = "class E(Exception):\n    def __str__(self): return 'x' * 10**8\nraise E";
    let over = least_over(program, &at_once, &causes);
    let writing = (0..5).map(|_| {
        let started = Instant::now();
        drop(std::hint::black_box(vec![b'x'; 100_000_000]));
        started.elapsed()
    });
    let writing = writing.min().unwrap();
    assert!(over < Duration::from_millis(100) + writing, "{program}: {over:?} too late; writing takes {writing:?}");
}

#[test]
fn limits_that_make_no_sense_are_refused_before_anything_runs() {
    for limits in [
        Limits { fuel: 0, ..limits() },
        Limits { memory_bytes: 0, ..limits() },
        Limits { memory_bytes: usize::MAX, ..limits() },
        Limits { output_bytes: 0, ..limits() },
        Limits { output_bytes: usize::MAX, ..limits() },
        Limits { wall: Duration::ZERO, ..limits() },
    ] {
        let error = python().run("print(1)", "", &limits).unwrap_err();
        assert!(matches!(error, sandbox::SandboxError::Limit { .. }), "{error}");
    }
}
