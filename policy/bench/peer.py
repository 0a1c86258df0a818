"""The work of `recipe bench`, done with PyTorch, transformers and TRL on the CPU: the peer that `beside_torch.py` runs.

usage: python peer.py PHASE SHAPE [--runs N] [--threads N]

PHASE is decode, train or step; SHAPE is tiny or qwen2.5-0.5b. Prints one JSON object: the seconds of each run, the tokens of
each, and the process's largest resident memory. The work is that of `recipe bench` with its defaults:

- decode: `generate` with a cache, 16 tokens of prompt, exactly 64 sampled at batch 64 (qwen: 32 at batch 16);
- train: forward, log-probabilities of the next tokens, backward, fused AdamW, over 64 x 96 tokens (qwen: 4 x 128);
- step (tiny only): TRL's GRPOTrainer, 8 prompts x 8 completions of at most 64 tokens. The reward differs within every
  group, so that no side can leave a group out.

Weights are random and in f32 on both sides. Needs torch, transformers; for step also trl, datasets, tokenizers.
"""

import argparse
import json
import resource
import tempfile
import time

import torch
from transformers import DeepseekV3Config, DeepseekV3ForCausalLM, Qwen2Config, Qwen2ForCausalLM

PROMPT = 16
VOCABULARY = 98


def tiny():
    """The sizes of `ModelConfig::tiny`."""
    return DeepseekV3ForCausalLM(DeepseekV3Config(
        vocab_size=VOCABULARY, hidden_size=128, intermediate_size=384, moe_intermediate_size=96, num_hidden_layers=4,
        num_attention_heads=4, num_key_value_heads=4, n_routed_experts=8, num_experts_per_tok=2, n_shared_experts=1,
        n_group=1, topk_group=1, first_k_dense_replace=1, routed_scaling_factor=1.0, kv_lora_rank=32, q_lora_rank=None,
        qk_rope_head_dim=16, qk_nope_head_dim=32, v_head_dim=32, bos_token_id=1, eos_token_id=2, pad_token_id=0))


def qwen():
    """Qwen2.5-0.5B's `config.json`."""
    return Qwen2ForCausalLM(Qwen2Config(
        vocab_size=151936, hidden_size=896, intermediate_size=4864, num_hidden_layers=24, num_attention_heads=14,
        num_key_value_heads=2, rms_norm_eps=1e-6, rope_theta=1e6, max_position_embeddings=32768,
        tie_word_embeddings=True))


SHAPES = {
    "tiny": {"model": tiny, "batch": 64, "train": (64, 96), "new_tokens": 64},
    "qwen2.5-0.5b": {"model": qwen, "batch": 16, "train": (4, 128), "new_tokens": 32},
}


def timed(runs, work):
    """Seconds and tokens of each run, after one to warm up."""
    work()
    seconds, tokens = [], []
    for _ in range(runs):
        start = time.perf_counter()
        tokens.append(work())
        seconds.append(time.perf_counter() - start)
    return seconds, tokens


def decode(shape, runs):
    model = shape["model"]().eval()
    ids = torch.randint(3, min(model.config.vocab_size, 4096), (shape["batch"], PROMPT))
    new = shape["new_tokens"]

    @torch.no_grad()
    def work():
        out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=new, min_new_tokens=new,
                             do_sample=True, top_k=0, pad_token_id=0)
        return (out.shape[1] - PROMPT) * out.shape[0]

    return timed(runs, work)


def train(shape, runs):
    model = shape["model"]()
    sequences, length = shape["train"]
    ids = torch.randint(3, min(model.config.vocab_size, 4096), (sequences, length + 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.0, fused=True)

    def work():
        logits = model(ids[:, :-1], use_cache=False).logits
        logprobs = torch.log_softmax(logits, -1).gather(2, ids[:, 1:, None])
        (-logprobs.mean()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return sequences * length

    return timed(runs, work)


def step(runs):
    from datasets import Dataset
    from tokenizers import Tokenizer, decoders, models
    from transformers import PreTrainedTokenizerFast, TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    marks = ["<pad>", "<bos>", "<eos>"]
    characters = [chr(code) for code in range(32, 127)]
    vocabulary = {text: index for index, text in enumerate(marks + characters)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.decoder = decoders.Fuse()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<bos>",
                                        eos_token="<eos>")
    prompts = Dataset.from_list([{"prompt": f"{i % 90 + 10:04d} + {i % 83 + 10:04d} = ?!"[:PROMPT]} for i in range(512)])

    def reward(completions, **_):
        return [sum(ord(c) % 2 == 0 for c in text) / max(len(text), 1) for text in completions]

    class Times(TrainerCallback):
        """The wall time and the completions' tokens of each step."""

        seconds, tokens = [], []

        def on_step_begin(self, *_, **__):
            self.start = time.perf_counter()

        def on_step_end(self, *_, **__):
            self.seconds.append(time.perf_counter() - self.start)

        def on_log(self, args, state, control, logs=None, **_):
            if "completions/mean_length" in logs:
                self.tokens.append(64 * float(logs["completions/mean_length"]))

    times = Times()
    arguments = GRPOConfig(
        output_dir=tempfile.mkdtemp(), per_device_train_batch_size=64, num_generations=8, max_completion_length=64,
        max_steps=runs + 2, learning_rate=1e-4, logging_steps=1, report_to="none", beta=0.0, temperature=1.0,
        use_cpu=True, bf16=False, save_strategy="no", gradient_checkpointing=False, disable_tqdm=True)
    GRPOTrainer(model=tiny(), reward_funcs=[reward], args=arguments, train_dataset=prompts,
                processing_class=tokenizer, callbacks=[times]).train()
    # The first two steps warm up.
    return times.seconds[2:], times.tokens[2:]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("phase", choices=["decode", "train", "step"])
    parser.add_argument("shape", choices=list(SHAPES))
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(1)
    if arguments.phase == "step":
        if arguments.shape != "tiny":
            parser.error("step is measured with the tiny shape only")
        seconds, tokens = step(arguments.runs)
    else:
        work = decode if arguments.phase == "decode" else train
        seconds, tokens = work(SHAPES[arguments.shape], arguments.runs)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    print(json.dumps({"seconds": seconds, "tokens": tokens, "peak_memory_bytes": peak}))


if __name__ == "__main__":
    main()
