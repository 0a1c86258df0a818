"""Runs `recipe bench` and the same work in PyTorch in turn, and prints the ratios.

usage: VENV/bin/python policy/bench/beside_torch.py target/release/recipe [WORK ...] [--rounds N] [--runs N] [--threads N]

where VENV is a virtual environment in which `pip install torch transformers trl datasets` has been done. A WORK is
PHASE:SHAPE; without one, all are done: decode:tiny, train:tiny, step:tiny, decode:qwen2.5-0.5b, train:qwen2.5-0.5b. Each round
starts a fresh process of the peer (`peer.py`) and then one of ours, so that both meet the same machine; each process warms up
once and is then timed `--runs` times. The rates compared are medians over all runs of all rounds, tokens per second; memory
is the largest that a process of that side held. Both sides work in f32, on the same number of threads.
"""

import argparse
import json
import statistics
import subprocess
import sys
from importlib import metadata
from pathlib import Path

# What each has to reach, as a ratio of rates.
TARGETS = {
    "decode:tiny": 8.0, "train:tiny": 3.5, "step:tiny": 5.0, "decode:qwen2.5-0.5b": 1.5, "train:qwen2.5-0.5b": 1.0,
}
PEER = Path(__file__).with_name("peer.py")


def json_lines(command):
    """The JSON objects that a command prints, one a line."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))} failed with status {done.returncode}:\n{done.stderr[-2000:]}")
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


class Side:
    """Rates and memory of one side, over all rounds."""

    def __init__(self):
        self.rates, self.memory = [], 0

    def add(self, seconds, tokens, memory):
        self.rates += [count / taken for count, taken in zip(tokens, seconds)]
        self.memory = max(self.memory, memory or 0)

    def rate(self):
        return statistics.median(self.rates)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("work", nargs="*", metavar="WORK")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    unknown = [work for work in arguments.work if work not in TARGETS]
    if unknown:
        parser.error(f"no such work: {', '.join(unknown)}; there is {', '.join(TARGETS)}")
    common = ["--runs", str(arguments.runs), "--threads", str(arguments.threads)]
    rows, peak = [], 0.0
    for work in arguments.work or list(TARGETS):
        phase, shape = work.split(":")
        peer, ours = Side(), Side()
        for _ in range(arguments.rounds):
            row = json_lines([sys.executable, PEER, phase, shape, *common])[-1]
            peer.add(row["seconds"], row["tokens"], row["peak_memory_bytes"])
            report, row = json_lines([arguments.recipe, "bench", phase, "--shape", shape, "--json", *common])
            ours.add(row["seconds"], row["tokens"], row["peak_memory_bytes"])
            peak = max(peak, report["peak_gflops"])
        rows.append((work, peer, ours, row["share_of_peak"]))
        print(f"{work}: {ours.rate() / peer.rate():.2f} times", file=sys.stderr, flush=True)
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("torch", "transformers", "trl"))
    print(f"{arguments.threads} threads, f32, medians of {arguments.rounds * arguments.runs}; {versions}; "
          f"matrix products reach {peak:.0f} GFLOP/s\n")
    print("| work | peer, tokens/s | recipe, tokens/s | times | at least | of peak | peer, MiB | recipe, MiB |")
    print("|---|---|---|---|---|---|---|---|")
    for work, peer, ours, share in rows:
        print(f"| {work.replace(':', ', ')} | {peer.rate():,.0f} | {ours.rate():,.0f} | {ours.rate() / peer.rate():.2f} "
              f"| {TARGETS[work]} | {100 * share:.0f}% | {peer.memory >> 20:,} | {ours.memory >> 20:,} |")


if __name__ == "__main__":
    main()
