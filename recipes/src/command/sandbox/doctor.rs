//! `recipe sandbox doctor`: what is prepared, and whether the sandbox does what it must on this machine.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use ::sandbox::{CacheState, Cause, Limits, Packages, Python};

use super::prepare_python;
use crate::command::{FAILED, print};
use crate::progress::{Reporter, Verbosity};

/// What must hold: in words, the program, and how it must end.
const CHECKS: &[(&str, &str, Cause)] = &[
    ("runs programs", "print(sum(range(10)))", Cause::Ok),
    (
        "has the usual modules",
        "import math, re, collections, typing, heapq, itertools, sys, cmath, operator, bisect, random, functools\n\
         import array, copy, hashlib, string, datetime, queue, statistics, io, json, decimal, fractions, enum, abc\n\
         import dataclasses, time",
        Cause::Ok,
    ),
    ("counts work", "while True: pass", Cause::OutOfFuel),
    ("limits memory", "x = [0]\nwhile True: x += x", Cause::OutOfMemory),
    ("limits output", "while True: print('x' * 1000)", Cause::TooMuchOutput),
    ("has no files", "try: open('/etc/hostname')\nexcept OSError: pass\nelse: raise SystemExit", Cause::Ok),
    ("has no network", "import socket\ntry: socket.socket()\nexcept OSError: pass\nelse: raise SystemExit", Cause::Ok),
    ("has no environment", "import os\nassert not os.environ", Cause::Ok),
];

pub(super) fn doctor(packages: &Packages) -> anyhow::Result<ExitCode> {
    let folder = ::sandbox::default_cache_dir();
    let before = CacheState::look(&folder, packages)?;
    let state = match (before.bytes, before.whole) {
        (None, _) => "not prepared yet; made now".to_owned(),
        (Some(bytes), true) => format!("prepared, {} MiB", bytes >> 20),
        (Some(_), false) => "damaged; made anew".to_owned(),
    };
    let mut text = format!("Python     {state}\n           {}\n", before.path.display());
    let python = prepare_python(&Reporter::new(Verbosity::Auto), packages)?;
    let limits =
        Limits { fuel: 2_000_000_000, memory_bytes: 256 << 20, wall: Duration::from_secs(20), ..Limits::default() };
    let mut sound = true;
    for (what, program, expected) in CHECKS {
        let outcome = python.run(program, "", &limits)?;
        let found = if outcome.cause == *expected { "yes".to_owned() } else { format!("NO: {}", outcome.cause) };
        sound &= outcome.cause == *expected;
        let _ = writeln!(text, "{what:22} {found}");
    }
    let _ = writeln!(text, "same outcome each time {}", if repeats(&python, &limits)? { "yes" } else { "NO" });
    print(&text)?;
    Ok(if sound { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

/// Whether a program that asks for all that may differ prints the same twice, for the same fuel.
fn repeats(python: &Python, limits: &Limits) -> anyhow::Result<bool> {
    let program =
        "import os, random, time, uuid\nprint(os.urandom(8), random.random(), time.time(), uuid.uuid4(), hash('x'))";
    let (first, second) = (python.run(program, "", limits)?, python.run(program, "", limits)?);
    Ok(first.cause == Cause::Ok && (first.stdout, first.fuel) == (second.stdout, second.fuel))
}
