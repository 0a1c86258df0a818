//! Which commit the program is built from, for `run.json`: `RECIPE_COMMIT` while this package is compiled, and nothing
//! outside of a checkout of this repository or without git.
//!
//! It is looked up again when the checkout moves to another commit and when a source file changes. Both compile this
//! package again (the second does so by itself) and no other but those that stand on it.

use std::path::Path;
use std::process::Command;

/// What the program is made of, in the root of the repository.
const SOURCES: [&str; 11] = [
    "Cargo.lock",
    "Cargo.toml",
    "datasets/src",
    "policy/device/src",
    "policy/src",
    "recipes/shipped",
    "recipes/src",
    "rewards/src",
    "rewards/wit",
    "sandbox/guest",
    "sandbox/src",
];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let root = Path::new("..");
    let git = |arguments: &[&str]| -> Option<String> {
        let output = Command::new("git").args(arguments).current_dir(root).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    // Unpacked inside of another repository, it would be that one's commit.
    let top = git(&["rev-parse", "--show-toplevel"]);
    if top.and_then(|top| Path::new(&top).canonicalize().ok()) != root.canonicalize().ok() {
        return;
    }
    let Some(commit) = git(&["rev-parse", "--short=12", "HEAD"]) else { return };
    let branch = git(&["symbolic-ref", "--quiet", "HEAD"]);
    for name in ["HEAD", "packed-refs"].into_iter().chain(branch.as_deref()) {
        let path = git(&["rev-parse", "--git-path", name]).map(|path| root.join(path));
        // A file that is not there would count as changed each time.
        if let Some(path) = path.filter(|path| path.exists()) {
            println!("cargo::rerun-if-changed={}", path.display());
        }
    }
    for source in SOURCES.iter().filter(|source| root.join(source).exists()) {
        println!("cargo::rerun-if-changed={}", root.join(source).display());
    }
    let changes = git(&[&["status", "--porcelain", "--"][..], &SOURCES].concat());
    let changed = changes.is_none_or(|changes| !changes.is_empty());
    println!("cargo::rustc-env=RECIPE_COMMIT={commit}{}", if changed { ", changed" } else { "" });
}
