//! What lies in a job's folder: after a kill, after damage, after a change of the job.

use polars::prelude::{Column, DataFrame, NamedFrom, ParquetWriter, Series};

use super::*;

fn four_rows() -> (tempfile::TempDir, PathBuf) {
    rows(&["Say one", "Say two", "say TWO", "Say three"].map(|prompt| (prompt.to_owned(), "1")))
}

#[test]
fn a_kill_after_a_file_has_its_name_leaves_nothing_that_blocks() {
    let (folder, path) = four_rows();
    let out = folder.path().join("out");
    let job = job(vec![load(&path), ("dedup", dedup(None)), write_to("all.jsonl")]);
    run_in(folder.path(), &job);
    let expected = left(&out);
    // As if the process had been killed before it noted what it wrote, and while it did.
    fs::remove_file(out.join("written.json")).unwrap();
    fs::write(out.join("written.partial"), "").unwrap();
    run_in(folder.path(), &job);
    assert_eq!(left(&out), expected);

    // As if it had been killed between noting a changed job's file and giving it its name, or just after: either is its own.
    let mut changed = job.clone();
    changed.steps.remove(1);
    run_in(folder.path(), &changed);
    let (old, new) = (&expected["all.jsonl"], fs::read(out.join("all.jsonl")).unwrap());
    assert_ne!(old, &new);
    let ledger = fs::read_to_string(out.join("written.json")).unwrap();
    let mut entries: serde_json::Value = serde_json::from_str(&ledger).unwrap();
    let hash = hash_file(&out.join("all.jsonl")).unwrap();
    for on_disk in [old, &new] {
        fs::write(out.join("all.jsonl"), on_disk).unwrap();
        let now = hash_file(&out.join("all.jsonl")).unwrap();
        entries["all.jsonl"]["replaces"] = json!(if now == hash { "0".repeat(64) } else { now });
        fs::write(out.join("written.json"), entries.to_string()).unwrap();
        run_in(folder.path(), &changed);
        assert_eq!(fs::read(out.join("all.jsonl")).unwrap(), new);
        assert_eq!(fs::read_to_string(out.join("written.json")).unwrap(), ledger);
    }
}

#[test]
fn what_is_written_already_is_not_written_again() {
    let (folder, path) = four_rows();
    let out = folder.path().join("out");
    let job = job(vec![load(&path), write_to("all.jsonl"), write_to("all.parquet")]);
    run_in(folder.path(), &job);
    let times = || ["all.jsonl", "all.parquet"].map(|name| fs::metadata(out.join(name)).unwrap().modified().unwrap());
    let before = times();
    let again = run_in(folder.path(), &job);
    assert_eq!(again.steps.iter().map(|step| step.reused).collect::<Vec<_>>(), [true; 3]);
    assert_eq!((times(), again.written["all.jsonl"].rows), (before, 4));
    // A file that went away is written anew.
    fs::remove_file(out.join("all.jsonl")).unwrap();
    let again = run_in(folder.path(), &job);
    assert_eq!(again.steps.iter().map(|step| step.reused).collect::<Vec<_>>(), [true, false, true]);
}

#[test]
fn a_damaged_step_is_said_and_done_again() {
    let (folder, path) = four_rows();
    let out = folder.path().join("out");
    let job = job(vec![load(&path), ("dedup", dedup(None)), write_to("all.jsonl")]);
    run_in(folder.path(), &job);
    let expected = left(&out);
    let steps = entries(&out.join("steps")).unwrap();
    let with = |name: &str| steps.iter().map(|step| step.join(name)).find(|path| path.is_file()).unwrap();
    for (file, step) in [
        (with("kept/part-00000.parquet"), "step 1 (load)"),
        (with("dropped/part-00000.parquet"), "step 2 (dedup)"),
        (with("finished.json"), "step "),
    ] {
        fs::write(&file, "junk").unwrap();
        let host = TestHost::default();
        run(&job, &out, &host).unwrap_or_else(|error| panic!("{error}"));
        let notes = host.notes.into_inner().unwrap();
        assert!(notes.len() == 1 && notes[0].starts_with(step) && notes[0].contains("is done again: "), "{notes:?}");
        assert_eq!(left(&out), expected);
    }
    fs::remove_file(with("kept/part-00000.parquet")).unwrap();
    run_in(folder.path(), &job);
    assert_eq!(left(&out), expected);
}

#[test]
fn what_a_job_does_not_write_any_more_goes() {
    let (folder, path) = four_rows();
    let out = folder.path().join("out");
    run_in(folder.path(), &job(vec![load(&path), ("dedup", dedup(None)), write_to("old.jsonl"), write_to("mine.csv")]));
    assert!(out.join("dropped/02-dedup.jsonl").is_file());
    fs::write(out.join("mine.csv"), "changed").unwrap();
    let host = TestHost::default();
    run(&job(vec![load(&path), write_to("new.jsonl")]), &out, &host).unwrap();
    assert_eq!(left(&out).keys().collect::<Vec<_>>(), ["mine.csv", "new.jsonl", "written.json"]);
    let notes = host.notes.into_inner().unwrap();
    assert!(notes[0].starts_with("old.jsonl is removed") && notes[1].starts_with("mine.csv stays"), "{notes:?}");
}

#[test]
fn rows_that_cannot_be_read_are_kept_aside_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.jsonl");
    fs::write(&path, "{\"prompt\": \"p\", \"answer\": 1}\noops\n{\"prompt\": \"p\"}\n").unwrap();
    let Source::File(source) = file(&path) else { unreachable!() };
    let source = Source::File(FileSource { on_bad_line: OnBadLine::Skip, ..source });
    let steps = vec![("load", Step::Load(Load { sources: vec![source] }))];
    let outcome = run_in(folder.path(), &job(steps));
    assert_eq!(outcome.steps[0].tally.dropped["unreadable row"], 2);
    let aside = fs::read_to_string(folder.path().join("out/dropped/01-load.jsonl")).unwrap();
    let aside: Vec<serde_json::Value> = aside.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((aside.len(), &aside[0]["file"], &aside[0]["line"]), (2, &json!("rows.jsonl"), &json!(2)));
    assert_eq!(aside[1]["dropped"]["reason"], "unreadable row");

    // A file of Parquet has rows, not lines.
    let path = folder.path().join("rows.parquet");
    let texts = |name: &str, texts: [Option<&str>; 2]| Column::from(Series::new(name.into(), texts));
    let columns = vec![texts("prompt", [Some("p"), Some("q")]), texts("answer", [Some("1"), None])];
    ParquetWriter::new(fs::File::create(&path).unwrap()).finish(&mut DataFrame::new(2, columns).unwrap()).unwrap();
    let Source::File(source) = file(&path) else { unreachable!() };
    let source = Source::File(FileSource { on_bad_line: OnBadLine::Skip, ..source });
    let outcome = run_in(folder.path(), &job(vec![("load", Step::Load(Load { sources: vec![source] }))]));
    let notes = &outcome.steps[0].tally.notes;
    assert!(notes[0].contains("1 row left out, the first at row 2: the column `answer`"), "{notes:?}");
}

/// A file's last bytes are written when all else is done. `/dev/full` takes none, and here so few are written that no byte goes
/// out before.
#[test]
#[cfg(target_os = "linux")]
fn a_disk_that_is_full_at_the_last_is_an_error() {
    let (folder, path) = four_rows();
    let out = folder.path().join("out");
    fs::create_dir_all(out.join("dropped")).unwrap();
    let full = |unfinished: &str| std::os::unix::fs::symlink("/dev/full", out.join(unfinished)).unwrap();
    for name in ["all.jsonl", "all.csv", "all.jsonl.gz", "all.parquet"] {
        full(&format!("{name}.partial"));
        let error = run(&job(vec![load(&path), write_to(name)]), &out, &TestHost::default()).unwrap_err().to_string();
        assert!(error.starts_with("step 2 (write): cannot write ") && error.contains("space"), "{error}");
        assert!(!out.join(name).exists(), "{name}");
    }
    full("dropped/02-dedup.partial");
    let job = job(vec![load(&path), ("dedup", dedup(None))]);
    let error = run(&job, &out, &TestHost::default()).unwrap_err().to_string();
    assert!(error.starts_with("step 2 (dedup): cannot write ") && error.contains("space"), "{error}");
}
