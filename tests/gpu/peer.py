"""The work of `recipe bench` on a card, done with PyTorch and transformers: the peer that `run` measures beside.

usage: python peer.py WORK [--tiny]

WORK is copy, product, decode or train. Prints one JSON object. Weights are random.

- copy: bytes read and written per second by a copy of 1 GiB;
- product: floating-point operations per second of an 8192 x 8192 x 8192 product in bf16, the median after half a second of
  products, as `recipe` measures it: a card's clock falls when it multiplies for longer than a moment;
- decode: `generate` in bf16 with its cache, 64 prompts of 512 tokens, exactly 1024 sampled; `prefill_seconds` is that to the
  first token;
- train: forward, log-probabilities of the next tokens, backward and fused AdamW over 16 sequences of 2048 tokens, 4 at a time;
  weights, gradients and moments in f32, computed in bf16 (autocast), attention by FlashAttention-2 where it is installed, else
  PyTorch's own (SDPA). These are the numbers that `recipe` keeps, too. Nothing is compiled (torch.compile). Where the card's
  memory is too small for 4 at a time, fewer are tried: `at_once` says how many it were.

Where PyTorch has no card, `left_out` says so and nothing is measured.

`--tiny` does each with a small model, on the CPU if there is no card: to see that it works.
"""

import argparse
import importlib.util
import json
import os
import statistics
import time

# So that PyTorch can let pieces of memory grow, and less is lost between them. It reads this when it is imported.
os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")

import torch

PROMPT, NEW, DECODED = 512, 1024, 64
SEQUENCES, LENGTH, AT_ONCE = 16, 2048, 4


def device():
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def now():
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def fastest(times, work):
    """Seconds of `work` when it was fastest, after once to warm up."""
    work()
    seconds = []
    for _ in range(times):
        start = now()
        work()
        seconds.append(now() - start)
    return min(seconds)


def median(times, seconds, work):
    """Seconds of `work`, the median after it has gone on for so many seconds."""
    start = now()
    while now() - start < seconds:
        for _ in range(8):
            work()
    measured = []
    for _ in range(times):
        start = now()
        work()
        measured.append(now() - start)
    return statistics.median(measured)


def model(dtype, tiny):
    """Qwen2.5-1.5B's `config.json`, or a small one."""
    from transformers import Qwen2Config, Qwen2ForCausalLM
    sizes = dict(vocab_size=151936, hidden_size=1536, intermediate_size=8960, num_hidden_layers=28, num_attention_heads=12,
                 num_key_value_heads=2, max_position_embeddings=32768)
    if tiny:
        sizes.update(vocab_size=512, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4)
    flash = importlib.util.find_spec("flash_attn") is not None and not tiny
    config = Qwen2Config(**sizes, rms_norm_eps=1e-6, rope_theta=1e6, tie_word_embeddings=True,
                         attn_implementation="flash_attention_2" if flash else "sdpa")
    torch.set_default_dtype(dtype)
    with device():
        made = Qwen2ForCausalLM(config)
    torch.set_default_dtype(torch.float32)
    return made, config._attn_implementation


def copy(tiny):
    count = (1 << 20) if tiny else (1 << 30)
    source = torch.ones(count, dtype=torch.uint8, device=device())
    target = torch.empty_like(source)
    return {"gb_per_second": 2 * count / fastest(10, lambda: target.copy_(source)) / 1e9}


def product(tiny):
    side = 128 if tiny else 8192
    a, b = (torch.randn(side, side, dtype=torch.bfloat16, device=device()) for _ in range(2))
    out = torch.empty_like(a)
    return {"gflops": 2 * side**3 / median(10, 0.5, lambda: torch.matmul(a, b.t(), out=out)) / 1e9}


@torch.no_grad()
def decode(tiny):
    made, attention = model(torch.bfloat16, tiny)
    made.eval()
    prompt, new, batch = (8, 4, 2) if tiny else (PROMPT, NEW, DECODED)
    ids = torch.randint(3, min(made.config.vocab_size, 4096), (batch, prompt), device=device())

    def generate(tokens):
        out = made.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=tokens, min_new_tokens=tokens,
                            do_sample=True, top_k=0, pad_token_id=0)
        assert out.shape == (batch, prompt + tokens), out.shape

    prefill = fastest(1, lambda: generate(1))
    # The warm-up above is enough: the second call of `generate` is as fast as the tenth.
    start = now()
    generate(new)
    seconds = now() - start
    return {"attention": attention, "tokens": batch * new, "seconds": seconds, "prefill_seconds": prefill,
            "tokens_per_second": batch * new / seconds}


def train(tiny):
    made, attention = model(torch.float32, tiny)
    sequences, length, at_once = (2, 8, 1) if tiny else (SEQUENCES, LENGTH, AT_ONCE)
    ids = torch.randint(3, min(made.config.vocab_size, 4096), (sequences, length + 1), device=device())

    def steps(at_once):
        optimizer = torch.optim.AdamW(made.parameters(), lr=1e-4, weight_decay=0.0, fused=True)

        def step():
            for part in ids.split(at_once):
                with torch.autocast(device().type, dtype=torch.bfloat16):
                    logits = made(part[:, :-1], use_cache=False).logits
                loss = torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), part[:, 1:].flatten(),
                                                         reduction="sum")
                (loss / (sequences * length)).backward()
            torch.nn.utils.clip_grad_norm_(made.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()

        return fastest(1 if tiny else 2, step)

    seconds = None
    while seconds is None:
        try:
            seconds = steps(at_once)
        except torch.cuda.OutOfMemoryError:
            if at_once == 1:
                raise
        if seconds is None:
            # Out here, where the error no longer holds on to what was computed.
            made.zero_grad()
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
            at_once //= 2
    peak = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None
    return {"attention": attention, "tokens": sequences * length, "seconds": seconds, "at_once": at_once,
            "tokens_per_second": sequences * length / seconds, "card_memory_bytes": peak}


def main():
    works = {"copy": copy, "product": product, "decode": decode, "train": train}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", choices=list(works))
    parser.add_argument("--tiny", action="store_true")
    arguments = parser.parse_args()
    torch.manual_seed(1)
    if not arguments.tiny and not torch.cuda.is_available():
        why = "PyTorch sees no card" if torch.version.cuda else "PyTorch is built without CUDA"
        print(json.dumps({"torch": torch.__version__, "left_out": why}))
        return
    result = works[arguments.work](arguments.tiny)
    print(json.dumps({"torch": torch.__version__, **result}))


if __name__ == "__main__":
    main()
