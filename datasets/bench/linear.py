"""Time and peak memory of a curation job over 10 thousand to 1 million generated rows.

    python3 datasets/bench/linear.py target/release/recipe [--rows 10000 100000 1000000]

The job loads rows of every family with levels, filters, looks for exact and near repetitions, decontaminates against
held-out tasks, samples, splits and writes. Each size runs in a process of its own; the peak is the resident memory that the
system counted for it.
"""

import argparse
import os
import subprocess
import tempfile
import time

FAMILIES = (
    "chains decimals bases linear_systems inequalities matrices combinatorics coins lattice_paths word_problems shopping ages "
    "dates clocks propositional knights_knaves ordering sudoku4 sequences strings lists sets graph_paths reachability programs"
).split()

REST = """
[[step]]
kind = "filter"
where = "words >= 3 and not prompt contains '[asy]'"
[[step]]
kind = "dedup"
near = 0.9
[[step]]
kind = "decontaminate"
against = ["exam.jsonl"]
[[step]]
kind = "sample"
share = 0.9
[[step]]
kind = "split"
shares = { train = 0.9, validation = 0.1 }
[[step]]
kind = "write"
path = "all.parquet"
"""


def main():
    options = argparse.ArgumentParser()
    options.add_argument("recipe")
    options.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    options.add_argument("--threads", type=int, default=2)
    options = options.parse_args()
    recipe = os.path.abspath(options.recipe)
    print("| rows | seconds | microseconds a row | peak memory, MiB | rows left |\n|---|---|---|---|---|")
    for rows in options.rows:
        with tempfile.TemporaryDirectory() as folder:
            exam = os.path.join(folder, "exam.jsonl")
            subprocess.run([recipe, "tasks", "generate", "shopping", "--split", "held", "--count", "500", "--out", exam],
                           check=True, stdout=subprocess.DEVNULL)
            job = os.path.join(folder, "job.toml")
            with open(job, "w") as file:
                file.write('name = "linear"\n[[step]]\nkind = "load"\n')
                for family in FAMILIES:
                    file.write(f'[[step.sources]]\nfamily = "{family}"\ncount = {rows // len(FAMILIES)}\n')
                file.write(REST)
            start = time.perf_counter()
            process = subprocess.Popen(
                [recipe, "curate", job, "--out", os.path.join(folder, "out"), "--threads", str(options.threads)],
                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
            table = process.stdout.read()
            _, status, usage = os.wait4(process.pid, 0)
            seconds = time.perf_counter() - start
            assert status == 0, table
            left = [line.split() for line in table.splitlines() if line.startswith("split ")][0][2]
            print(f"| {rows:,} | {seconds:.1f} | {seconds / rows * 1e6:.1f} | {usage.ru_maxrss / 1024:.0f} | {left} |",
                  flush=True)


if __name__ == "__main__":
    main()
