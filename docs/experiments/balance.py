"""How evenly a router's experts are used, and what it costs: balance by bias, by an auxiliary loss, and none.

usage: python3 docs/experiments/balance.py target/release/recipe [--tokens N] [--seeds N] [--out DIR] [--threads N]

Runs the pretraining of r1-zero three times for each seed, `--set pretrain.balance=...`, each in a folder below DIR; prints a
table (Markdown) and writes DIR/balance.svg. Nothing but the standard library. A run whose folder is there already is not
repeated.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

KINDS = {"bias": "#1f77b4", "auxiliary": "#d62728", "none": "#7f7f7f"}
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 720, 300, 50, 16, 16, 36
# Steps over which a curve is smoothed.
WINDOW = 20


def rows_of(folder):
    """The pretraining rows of a run's metrics."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [row for row in rows if row["stage"] == "pretrain" and "loss" in row]


def run(recipe, out, kind, seed, tokens, threads):
    folder = out / f"{kind}-{seed}"
    if not folder.exists():
        command = [
            recipe, "run", "r1-zero", "--run-dir", folder, "--seed", str(seed), "--threads", str(threads),
            "--set", f"pretrain.balance={kind}", "--set", f"pretrain.tokens={tokens}",
            "--set", "grpo.steps=0", "--set", "eval.tasks_per_family=1", "--set", "eval.samples=1",
        ]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode != 0:
            sys.exit(f"{' '.join(map(str, command))}\n{done.stdout[-2000:]}")
    return rows_of(folder)


def smooth(values):
    return [statistics.mean(values[max(0, at - WINDOW + 1): at + 1]) for at in range(len(values))]


def figure(curves):
    """MaxVio over the steps, a line for each run."""
    steps = max(len(values) for _, values in curves)
    top = max(max(values) for _, values in curves)
    x = lambda step: LEFT + step / max(steps - 1, 1) * (WIDTH - LEFT - RIGHT)
    y = lambda value: TOP + (1 - value / top) * (HEIGHT - TOP - BOTTOM)
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
             f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>']
    for index in range(5):
        value = top * index / 4
        parts.append(f'<path d="M{LEFT} {y(value):.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>'
                     f'<text x="{LEFT - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{value:.1f}</text>')
    for kind, values in curves:
        points = " ".join(f"{x(step):.1f},{y(value):.1f}" for step, value in enumerate(values))
        parts.append(f'<polyline fill="none" stroke="{KINDS[kind]}" stroke-width="1.5" points="{points}"/>')
    for index, (kind, colour) in enumerate(KINDS.items()):
        parts.append(f'<text x="{WIDTH - RIGHT - 90}" y="{TOP + 14 + 16 * index}" fill="{colour}">{kind}</text>')
    parts.append(f'<text x="{(LEFT + WIDTH) / 2}" y="{HEIGHT - 8}" text-anchor="middle">optimizer step ({steps} in all); '
                 f'MaxVio of the worst layer, mean of {WINDOW} steps</text></svg>')
    return "\n".join(parts) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--tokens", type=int, default=2_000_000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("runs/balance"))
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    curves = []
    print("| balance | seed | MaxVio, first tenth | MaxVio, last tenth | loss, last tenth |\n|---|---|---|---|---|")
    for kind in KINDS:
        for seed in range(arguments.seeds):
            rows = run(arguments.recipe, arguments.out, kind, seed, arguments.tokens, arguments.threads)
            tenth = max(len(rows) // 10, 1)
            mean = lambda key, part: statistics.mean(row[key] for row in part)
            print(f"| {kind} | {seed} | {mean('max_vio', rows[:tenth]):.2f} | {mean('max_vio', rows[-tenth:]):.2f} "
                  f"| {mean('loss', rows[-tenth:]):.4f} |", flush=True)
            curves.append((kind, smooth([row["max_vio"] for row in rows])))
    (arguments.out / "balance.svg").write_text(figure(curves))


if __name__ == "__main__":
    main()
