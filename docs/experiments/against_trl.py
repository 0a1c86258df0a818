"""The same reinforcement learning here and in TRL: one base, the same tasks, reward and settings, three seeds each.

    pip install trl==1.16.0 torch==2.15.0 transformers==5.24.0
    cargo build --release --bin recipe
    python against_trl.py ../../target/release/recipe WORK

makes in the folder WORK a base (a small Qwen2 that has read sums of which 40% are right), trains it from there with TRL's
GRPOTrainer and with `recipe run`, and writes against_trl.json and against_trl.svg beside this file. What is there already
is not made again. Questions are asked in a chat template of the base's own, `Compute 3 + 4 =`. The two sides draw different
random numbers, so curves can agree only as those of two seeds do.
"""

import json
import math
import pathlib
import random
import re
import statistics
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).parent
SEEDS = (0, 1, 2)
STEPS, PROMPTS, GROUP, MOST_TOKENS, RATE = 60, 8, 8, 12, 3e-4
LARGEST = 9
CHAT = "{% for message in messages %}{{ message.content }}{% endfor %} ="
TASKS = [(f"Compute {a} + {b}", str(a + b)) for a in range(LARGEST + 1) for b in range(LARGEST + 1)]


def prompt(question):
    return f"{question} ="


def make_base(folder):
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=512,
        special_tokens=["<pad>", "<eos>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([f"{prompt(q)} <answer> {a} </answer>" for q, a in TASKS], trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>")
    tokenizer.chat_template = CHAT
    torch.manual_seed(0)
    model = Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=len(tokenizer), hidden_size=64, intermediate_size=192, num_hidden_layers=3,
            num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=256, initializer_range=0.05,
            tie_word_embeddings=True, bos_token_id=None, eos_token_id=1, pad_token_id=0,
        )
    )
    draw = random.Random(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, betas=(0.9, 0.95), weight_decay=0.0)
    steps = 600
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda s: min(1, (s + 1) / 30) * (1 - s / steps))
    for step in range(steps):
        rows = []
        for question, answer in draw.choices(TASKS, k=48):
            if draw.random() > 0.4:
                answer = str(max(0, int(answer) + draw.choice([-3, -2, -1, 1, 2, 3])))
            context = tokenizer(prompt(question)).input_ids
            rows.append((context, tokenizer(f" <answer> {answer} </answer>").input_ids + [1]))
        longest = max(len(c) + len(r) for c, r in rows)
        ids = torch.tensor([c + r + [0] * (longest - len(c) - len(r)) for c, r in rows])
        labels = torch.tensor(
            [[-100] * len(c) + r + [-100] * (longest - len(c) - len(r)) for c, r in rows]
        )
        loss = model(input_ids=ids, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 100 == 99:
            print(f"base, step {step + 1}: loss {loss.item():.3f}", flush=True)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def with_trl(base, work, seed):
    from datasets import Dataset
    from transformers import AutoTokenizer
    from trl import GRPOConfig, GRPOTrainer

    def accuracy(completions, answer, **_):
        found = [re.findall(r"<answer>(.*?)</answer>", text, re.S) for text in completions]
        return [float(bool(f) and f[-1].strip() == a) for f, a in zip(found, answer)]

    config = GRPOConfig(
        output_dir=str(work / f"trl-{seed}"), seed=seed, use_cpu=True, bf16=False, report_to=[], save_strategy="no",
        max_steps=STEPS, per_device_train_batch_size=PROMPTS * GROUP, gradient_accumulation_steps=1,
        num_generations=GROUP, max_completion_length=MOST_TOKENS, temperature=1.0, top_p=1.0, top_k=0,
        loss_type="grpo", scale_rewards="group", beta=0.0, epsilon=0.2,
        learning_rate=RATE, lr_scheduler_type="constant", warmup_steps=0, optim="adamw_torch", adam_beta1=0.9,
        adam_beta2=0.95, adam_epsilon=1e-8, weight_decay=0.0, max_grad_norm=1.0, logging_steps=1, disable_tqdm=True,
        gradient_checkpointing=False,
    )
    data = Dataset.from_dict({"prompt": [prompt(q) for q, _ in TASKS], "answer": [a for _, a in TASKS]})
    trainer = GRPOTrainer(
        model=str(base), reward_funcs=accuracy, args=config, train_dataset=data,
        processing_class=AutoTokenizer.from_pretrained(base),
    )
    began = time.time()
    trainer.train()
    rows = [row for row in trainer.state.log_history if "reward" in row]
    return {
        "reward": [row["reward"] for row in rows],
        "entropy": [row["entropy"] for row in rows],
        "length": [row["completions/mean_length"] for row in rows],
        "seconds": time.time() - began,
    }


def with_recipe(binary, base, work, seed):
    tasks = work / "sums.jsonl"
    tasks.write_text("".join(json.dumps({"question": q, "answer": a}) + "\n" for q, a in TASKS))
    recipe = work / "against-trl.toml"
    recipe.write_text(f"""
name = "against-trl"
model = {{ path = '{base}' }}
[tasks]
files = ['{tasks}']
held_out_share = 0
template = "chat"
[[rewards]]
name = "accuracy"
[[stage]]
kind = "grpo"
steps = {STEPS}
prompts_per_step = {PROMPTS}
group_size = {GROUP}
max_new_tokens = {MOST_TOKENS}
loss = "grpo"
kl_coefficient = 0
learning_rate = {RATE}
schedule = "constant"
warmup_steps = 0
eval_every = 0
checkpoint_every = 0
""")
    folder = work / f"recipe-{seed}"
    began = time.time()
    if not (folder / "summary.json").exists():
        subprocess.run([binary, "run", recipe, "--seed", str(seed), "--run-dir", folder], check=True)
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    rows = [row for row in rows if row["kind"] == "step"]
    return {
        "reward": [row["reward"]["mean"] for row in rows],
        "entropy": [row["entropy"] for row in rows],
        "length": [row["length"]["mean"] for row in rows],
        "seconds": time.time() - began,
    }


def smoothed(values, width=10):
    return [statistics.mean(values[max(0, i - width + 1) : i + 1]) for i in range(len(values))]


def figure(results):
    width, height, left, top, right, bottom = 720, 360, 48, 16, 12, 36
    x = lambda step: left + (width - left - right) * step / (STEPS - 1)
    best = max(max(smoothed(seed["reward"])) for seeds in results.values() for seed in seeds.values())
    highest = math.ceil(best * 10) / 10
    y = lambda reward: height - bottom - (height - top - bottom) * reward / highest
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    for tick in range(round(highest * 10) + 1):
        at = y(tick / 10)
        parts.append(f'<line x1="{left}" x2="{width - right}" y1="{at:.1f}" y2="{at:.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{left - 6}" y="{at + 4:.1f}" text-anchor="end" fill="#555">{tick * 10}%</text>')
    for step in range(0, STEPS + 1, 10):
        at = x(max(step - 1, 0))
        parts.append(
            f'<text x="{at:.1f}" y="{height - 14}" text-anchor="middle" fill="#555">{max(step, 1)}</text>'
        )
    for (name, colour), label_y in zip((("recipe", "#2459c4"), ("trl", "#d2600f")), (40, 58)):
        for seed in results[name].values():
            points = " ".join(f"{x(i):.1f},{y(v):.1f}" for i, v in enumerate(smoothed(seed["reward"])))
            parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.6"/>')
        parts.append(f'<line x1="{left + 16}" x2="{left + 40}" y1="{label_y - 4}" y2="{label_y - 4}" stroke="{colour}" stroke-width="3"/>')
        parts.append(f'<text x="{left + 46}" y="{label_y}" fill="#222">{name}, seeds 0, 1, 2</text>')
    parts.append("</svg>")
    return "\n".join(parts) + "\n"


def table(results):
    spans = [(first, first + 10) for first in range(0, STEPS, 10)]
    lines = ["| steps | recipe, seeds 0 / 1 / 2 | mean | TRL, seeds 0 / 1 / 2 | mean |", "|---|---|---|---|---|"]
    for first, last in spans:
        cells = []
        for name in ("recipe", "trl"):
            means = [100 * statistics.mean(seed["reward"][first:last]) for seed in results[name].values()]
            cells += [" / ".join(f"{m:.1f}" for m in means), f"{statistics.mean(means):.1f}"]
        lines.append(f"| {first + 1} to {last} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main():
    binary, work = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2]).resolve()
    work.mkdir(parents=True, exist_ok=True)
    base = work / "base"
    if not (base / "config.json").exists():
        make_base(base)
    results = {"recipe": {}, "trl": {}}
    for seed in SEEDS:
        results["recipe"][seed] = with_recipe(binary, base, work, seed)
        kept = work / f"trl-{seed}.json"
        if not kept.exists():
            kept.write_text(json.dumps(with_trl(base, work, seed)))
        results["trl"][seed] = json.loads(kept.read_text())
    rounded = {
        name: {
            seed: {
                key: [round(v, 4) for v in value] if isinstance(value, list) else round(value, 1)
                for key, value in one.items()
            }
            for seed, one in seeds.items()
        }
        for name, seeds in results.items()
    }
    (HERE / "against_trl.json").write_text(json.dumps(rounded) + "\n")
    (HERE / "against_trl.svg").write_text(figure(results))
    print(table(results))


if __name__ == "__main__":
    main()
