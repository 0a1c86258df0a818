"""Times `recipe grade` and Math-Verify on the same rows, by turns, in one run.

    python -m venv venv && venv/bin/pip install math-verify==0.9.0
    venv/bin/python docs/grading/compare_math_verify.py --recipe target/release/recipe ROWS.jsonl ...

A row has `gold` and `pred`, and perhaps `expected`; a row with `answer` and `solution` (MATH-500 as it is published) is
graded as the solution against the answer. Each side runs on one thread. Math-Verify is timed around `parse` of both texts
and `verify`, after one row to warm up; ours is the time that `recipe grade` states, which also counts extraction, parsing
and comparison. Medians of the repeats.
"""

import argparse
import json
import re
import statistics
import subprocess
import tempfile
import time
from pathlib import Path


def read_rows(path):
    rows = []
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if "gold" in row:
            rows.append({"gold": row["gold"], "pred": row.get("pred", ""), "expected": row.get("expected")})
        else:
            rows.append({"gold": row["answer"], "pred": row["solution"], "expected": True})
    return rows


def run_ours(recipe, path):
    command = [recipe, "grade", str(path), "--threads", "1", "--out", str(path) + ".out"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds = float(re.search(r"rows in ([0-9.]+) s", done.stderr)[1])
    slowest = float(re.search(r"slowest verdict: ([0-9.]+) ms", done.stderr)[1])
    verdicts = [json.loads(line) for line in Path(str(path) + ".out").read_text().splitlines()]
    return seconds, slowest, [verdict["score"] == 1 for verdict in verdicts]


def run_theirs(rows):
    from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse, verify

    config = [LatexExtractionConfig(), ExprExtractionConfig()]

    def grade(row):
        gold = row["gold"] if "$" in row["gold"] or "\\boxed" in row["gold"] else f"${row['gold']}$"
        return verify(parse(gold, extraction_config=config), parse(row["pred"], extraction_config=config))

    grade(rows[0])
    verdicts, slowest = [], 0.0
    start = time.perf_counter()
    for row in rows:
        begin = time.perf_counter()
        try:
            verdicts.append(bool(grade(row)))
        except Exception:
            verdicts.append(False)
        slowest = max(slowest, time.perf_counter() - begin)
    return time.perf_counter() - start, slowest * 1e3, verdicts


def agreement(rows, verdicts):
    labelled = [(row["expected"], verdict) for row, verdict in zip(rows, verdicts) if row["expected"] is not None]
    return f"{sum(bool(e) == v for e, v in labelled)}/{len(labelled)}" if labelled else "-"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", required=True)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("files", nargs="+")
    arguments = parser.parse_args()
    print("rows | file | ours, rows/s | slowest, ms | agreement | Math-Verify, rows/s | slowest, ms | agreement | ratio")
    for file in arguments.files:
        rows = read_rows(file)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "rows.jsonl"
            path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
            ours, theirs = [], []
            for _ in range(arguments.repeats):
                ours.append(run_ours(arguments.recipe, path))
                theirs.append(run_theirs(rows))
        our_time, their_time = (statistics.median(run[0] for run in runs) for runs in (ours, theirs))
        our_slowest, their_slowest = (statistics.median(run[1] for run in runs) for runs in (ours, theirs))
        print(
            f"{len(rows)} | {Path(file).name} | {len(rows) / our_time:,.0f} | {our_slowest:.2f} | "
            f"{agreement(rows, ours[-1][2])} | {len(rows) / their_time:,.0f} | {their_slowest:.0f} | "
            f"{agreement(rows, theirs[-1][2])} | {their_time / our_time:,.0f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
