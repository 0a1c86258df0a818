"""Curation steps beside the same work in Python, in one run on one machine.

    python3 -m venv VENV && VENV/bin/pip install datasets datasketch
    VENV/bin/python datasets/bench/beside_python.py target/release/recipe [--rows 100000] [--processes 2]

Both sides get the same JSON Lines: made-up rows, some of them others with a few words changed, and an exam of which pieces
stand in some rows. Both are timed from rows in their own format on disk (Arrow there, Parquet parts here) to rows that are
kept, with `--processes` processes there and as many threads here; reading the JSON Lines is not counted on either side.

- decontamination as Open R1 describes it: 8-grams of lower-cased words of the exam's prompts in a set, `Dataset.map` over
  the rows, `Dataset.filter`;
- MinHash as datasketch's documentation has it: 128 permutations of three-word shingles by `Dataset.map`, `MinHashLSH` at
  0.8, candidates checked by their Jaccard similarity.
"""

import argparse
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time

os.environ.setdefault("HF_DATASETS_OFFLINE", "1")

import datasets
import datasketch

WORD = re.compile(r"\w+")
NGRAM = 8
SHINGLE = 3
PERMUTATIONS = 128
THRESHOLD = 0.8


def words(text):
    return WORD.findall(text.lower())


def write_rows(folder, count):
    """Rows of 40 to 80 words; one in ten is another with a few words changed, one in fifty holds a piece of the exam."""
    draw = random.Random(0)
    vocabulary = ["".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=draw.randrange(2, 9))) for _ in range(5_000)]

    def text():
        return draw.choices(vocabulary, k=draw.randrange(40, 81))

    exam = [text() for _ in range(2_000)]
    rows = []
    while len(rows) < count:
        row = text()
        if rows and draw.random() < 0.1:
            row = list(draw.choice(rows))
            for _ in range(draw.randrange(1, 6)):
                row[draw.randrange(len(row))] = "something"
        elif draw.random() < 0.02:
            row[5:17] = draw.choice(exam)[3:15]
        rows.append(row)
    for name, texts in [("rows.jsonl", rows), ("exam.jsonl", exam)]:
        with open(os.path.join(folder, name), "w") as file:
            for words_of_row in texts:
                file.write(json.dumps({"prompt": " ".join(words_of_row) + ".", "answer": "1"}) + "\n")


JOB = """
name = "bench"
[[step]]
kind = "load"
sources = [{ path = "rows.jsonl" }]
[[step]]
kind = "decontaminate"
ngram = %d
against = ["exam.jsonl"]
[[step]]
kind = "dedup"
exact = false
near = %s
shingle = %d
permutations = %d
"""


def in_rust(recipe, folder, threads):
    job = os.path.join(folder, "bench.toml")
    open(job, "w").write(JOB % (NGRAM, THRESHOLD, SHINGLE, PERMUTATIONS))
    done = subprocess.run(
        [recipe, "curate", job, "--out", os.path.join(folder, "out"), "--threads", str(threads)],
        check=True, capture_output=True, text=True)
    seconds, rows = {}, {}
    for line in done.stderr.splitlines():
        found = re.match(r"(\w+): ([\d,]+) -> ([\d,]+) rows in ([\d.]+) s", line)
        if found:
            seconds[found[1]] = float(found[4])
            rows[found[1]] = int(found[3].replace(",", ""))
    return seconds, rows


def decontaminate(rows, exam, processes):
    lookup = set()
    for prompt in exam["prompt"]:
        tokens = words(prompt)
        for at in range(len(tokens) - NGRAM + 1):
            lookup.add(" ".join(tokens[at:at + NGRAM]))

    def mark(row):
        tokens = words(row["prompt"])
        grams = {" ".join(tokens[at:at + NGRAM]) for at in range(len(tokens) - NGRAM + 1)}
        return {"contaminated": bool(grams & lookup)}

    marked = rows.map(mark, num_proc=processes, load_from_cache_file=False)
    return marked.filter(lambda row: not row["contaminated"], num_proc=processes, load_from_cache_file=False)


def shingles(text):
    tokens = words(text)
    return {" ".join(tokens[at:at + SHINGLE]) for at in range(max(1, len(tokens) - SHINGLE + 1))}


def sign(row):
    signature = datasketch.MinHash(num_perm=PERMUTATIONS)
    signature.update_batch([shingle.encode() for shingle in shingles(row["prompt"])])
    return {"signature": signature.hashvalues.tolist()}


def near_duplicates(rows, processes):
    signed = rows.map(sign, num_proc=processes, load_from_cache_file=False)
    index = datasketch.MinHashLSH(threshold=THRESHOLD, num_perm=PERMUTATIONS)
    scheme = datasketch.MinHash(num_perm=PERMUTATIONS).scheme
    kept = {}
    gone = 0
    for place, row in enumerate(signed):
        signature = datasketch.MinHash(num_perm=PERMUTATIONS, hashvalues=row["signature"], scheme=scheme)
        mine = None
        for other in index.query(signature):
            mine = mine or shingles(row["prompt"])
            theirs = shingles(kept[other])
            if len(mine & theirs) / len(mine | theirs) >= THRESHOLD:
                gone += 1
                break
        else:
            index.insert(place, signature)
            kept[place] = row["prompt"]
    return len(signed) - gone


def main():
    options = argparse.ArgumentParser()
    options.add_argument("recipe")
    options.add_argument("--rows", type=int, default=100_000)
    options.add_argument("--processes", type=int, default=2)
    options = options.parse_args()
    recipe = os.path.abspath(options.recipe)
    datasets.disable_progress_bars()
    with tempfile.TemporaryDirectory() as folder:
        count = options.rows
        write_rows(folder, count)
        seconds, left = in_rust(recipe, folder, options.processes)
        cache = os.path.join(folder, "cache")
        rows = datasets.load_dataset("json", data_files=os.path.join(folder, "rows.jsonl"), split="train", cache_dir=cache)
        exam = datasets.load_dataset("json", data_files=os.path.join(folder, "exam.jsonl"), split="train", cache_dir=cache)
        start = time.perf_counter()
        clean = decontaminate(rows, exam, options.processes)
        python_decontaminate = time.perf_counter() - start
        start = time.perf_counter()
        unique = near_duplicates(clean, options.processes)
        python_minhash = time.perf_counter() - start
    print(f"{count:,} rows, {options.processes} processes or threads; datasets {datasets.__version__}, "
          f"datasketch {datasketch.__version__}, Python {sys.version.split()[0]}")
    print("| step | Python, s | recipe, s | times | rows left, Python | rows left, recipe |\n|---|---|---|---|---|---|")
    for name, python, rows_python, key in [
        ("8-gram decontamination", python_decontaminate, len(clean), "decontaminate"),
        ("MinHash near repetitions", python_minhash, unique, "dedup"),
    ]:
        print(f"| {name} | {python:.1f} | {seconds[key]:.2f} | {python / seconds[key]:.0f} | {rows_python:,} | {left[key]:,} |")


if __name__ == "__main__":
    main()
