"""TRL's losses and advantages, and their gradients: writes trl_losses.json.

    pip install trl==1.16.0 torch==2.15.0 transformers==5.24.0
    python trl_losses.py

A `GRPOTrainer` (or `RLOOTrainer`) is made for each case, around a model that is never run. What it would ask of the model,
the log-probabilities and entropies, is given to it in float64; the rest is TRL's own code:
    losses      `_compute_loss`, and autograd of it by the log-probabilities and the entropies
    advantages  `_generate_and_score_completions`, with the completions and their rewards given

Lists are cut to each completion's tokens. `null` is a completion that cannot be scored.
"""

import json
import pathlib
import random
import tempfile

import torch
import transformers
import trl
from datasets import Dataset
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM
from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer

VERSIONS = ("1.16.0", "2.15.0", "5.24.0")
assert (trl.__version__, torch.__version__.split("+")[0], transformers.__version__) == VERSIONS, VERSIONS
HERE = pathlib.Path(__file__).parent
SCRATCH = tempfile.mkdtemp()
LENGTHS = [5, 3, 7, 1, 4, 6]  # of the completions of one optimizer step; one of them is masked where a case says so
LONGEST = 8  # max_completion_length
OTHERS = 9  # tokens of the other optimizer step's completions, which dapo counts as well

DATA = random.Random(20)


def numbers(low, high):
    return [[DATA.uniform(low, high) for _ in range(length)] for length in LENGTHS]


BATCH = {
    "new": numbers(-3.0, -0.05),
    "advantages": [1.3, -0.7, 0.4, -1.9, 0.0, 2.1],
    # TRL takes the quantile in float32: these are the same in both.
    "entropy": [[round(x * 1024) / 1024 for x in row] for row in numbers(0.0, 2.5)],
}
# Far enough from the new ones that every branch of every loss is taken.
BATCH["old"] = [[x + DATA.uniform(-1.2, 1.2) for x in row] for row in BATCH["new"]]
BATCH["reference"] = [[x + DATA.uniform(-0.8, 0.8) for x in row] for row in BATCH["new"]]

MASKED = dict(mask_truncated_completions=True)
LOSSES = {
    "grpo": dict(loss_type="grpo"),
    "grpo_higher": dict(loss_type="grpo", epsilon=0.1, epsilon_high=0.4),
    "grpo_delta": dict(loss_type="grpo", delta=1.6),
    "grpo_kl": dict(loss_type="grpo", beta=0.3),
    "grpo_kl_corrected": dict(loss_type="grpo", beta=0.3, use_bias_correction_kl=True),
    "grpo_masked": dict(loss_type="grpo", beta=0.3, **MASKED),
    "grpo_top_entropy": dict(loss_type="grpo", beta=0.3, top_entropy_quantile=0.3),
    "grpo_entropy": dict(loss_type="grpo", entropy_coef=0.05),
    "grpo_entropy_of_top": dict(loss_type="grpo", entropy_coef=0.05, top_entropy_quantile=0.4, **MASKED),
    "bnpo": dict(loss_type="bnpo"),
    "bnpo_masked": dict(loss_type="bnpo", beta=0.3, entropy_coef=0.05, **MASKED),
    "dr_grpo": dict(loss_type="dr_grpo"),
    "dr_grpo_masked": dict(loss_type="dr_grpo", beta=0.3, **MASKED),
    "dapo": dict(loss_type="dapo", epsilon_high=0.28),
    "dapo_masked": dict(loss_type="dapo", beta=0.3, delta=1.5, top_entropy_quantile=0.5, **MASKED),
    "dapo_split": dict(loss_type="dapo", gradient_accumulation_steps=1, steps_per_generation=2),
    # TRL's bound is ours plus 1.
    "cispo": dict(loss_type="cispo", epsilon_high=1.3),
    "cispo_kl": dict(loss_type="cispo", epsilon_high=2.0, beta=0.3, entropy_coef=0.05),
    "gspo": dict(loss_type="grpo", importance_sampling_level="sequence"),
    "gspo_narrow": dict(loss_type="grpo", importance_sampling_level="sequence", epsilon=0.03, epsilon_high=0.04),
    "gspo_delta": dict(loss_type="grpo", importance_sampling_level="sequence", delta=1.3),
    "gspo_kl_corrected": dict(
        loss_type="grpo", importance_sampling_level="sequence", beta=0.3, use_bias_correction_kl=True, **MASKED
    ),
    "sapo": dict(loss_type="sapo"),
    "sapo_steep": dict(loss_type="sapo", sapo_temperature_pos=0.7, sapo_temperature_neg=2.5, beta=0.3),
}
TRUNCATED = 2  # which of the completions is cut off, where truncated ones are masked

REWARDS = [
    [1.0, 0.0, 1.0, 0.0],
    [0.1, 1.1, None, 0.0],
    [0.7, 0.7, 0.7, 0.7],
    [0.0, 0.0, 0.0, 2.5],
]
# Log-probabilities of three tokens of each completion, for the penalty that is taken off the reward.
SAMPLED = {
    name: [[round(DATA.uniform(-2.0, -0.1), 3) for _ in range(3)] for row in REWARDS for _ in row]
    for name in ("old", "reference")
}
RLOO = RLOOTrainer, RLOOConfig
ADVANTAGES = {
    "group": (GRPOTrainer, GRPOConfig, dict(scale_rewards="group")),
    "batch": (GRPOTrainer, GRPOConfig, dict(scale_rewards="batch")),
    "none": (GRPOTrainer, GRPOConfig, dict(scale_rewards="none")),
    "leave_one_out": (*RLOO, dict(normalize_advantages=False)),
    "leave_one_out_kl": (*RLOO, dict(normalize_advantages=False, beta=0.4)),
}


def model_and_tokenizer():
    words = {"<pad>": 0, "<eos>": 1, "a": 2, "b": 3}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel(words, unk_token="a")), pad_token="<pad>", eos_token="<eos>"
    )
    config = Qwen2Config(
        vocab_size=4, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1,
        num_key_value_heads=1, pad_token_id=0, eos_token_id=1, bos_token_id=None,
    )
    # TRL loads the reference again from where the model came from.
    Qwen2ForCausalLM(config).save_pretrained(SCRATCH)
    return Qwen2ForCausalLM.from_pretrained(SCRATCH), tokenizer


def trainer(kind, settings_of, settings, group):
    model, tokenizer = model_and_tokenizer()
    defaults = dict(
        output_dir=SCRATCH, report_to=[], use_cpu=True, bf16=False, beta=0.0, num_generations=group,
        max_completion_length=LONGEST, gradient_accumulation_steps=1, per_device_train_batch_size=group,
    )
    return kind(
        model=model,
        reward_funcs=lambda completions, **_: [0.0] * len(completions),
        args=settings_of(**(defaults | settings)),
        train_dataset=Dataset.from_dict({"prompt": ["a"] * 32}),
        processing_class=tokenizer,
    )


def padded(rows):
    return torch.tensor([row + [0.0] * (LONGEST - len(row)) for row in rows], dtype=torch.float64)


def cut(tensor):
    return [row[:length].tolist() for row, length in zip(tensor, LENGTHS)]


def loss_case(settings):
    settings = dict(use_bias_correction_kl=False) | settings
    made = trainer(GRPOTrainer, GRPOConfig, settings, len(LENGTHS))
    made.model.train()
    made.current_gradient_accumulation_steps = made.args.gradient_accumulation_steps
    new = padded(BATCH["new"]).requires_grad_()
    entropy = padded(BATCH["entropy"]).requires_grad_()
    mask = torch.tensor([[int(t < length) for t in range(LONGEST)] for length in LENGTHS])
    if settings.get("mask_truncated_completions"):
        mask[TRUNCATED] = 0
    counted = mask.sum() + (OTHERS if made.args.steps_per_generation == 2 else 0)
    made._get_per_token_logps_and_entropies = lambda *_, **__: (new, entropy, None)
    ids = torch.ones_like(mask)
    loss = made._compute_loss(
        made.model,
        dict(
            prompt_ids=ids[:, :1], prompt_mask=ids[:, :1], completion_ids=ids, completion_mask=mask,
            advantages=torch.tensor(BATCH["advantages"], dtype=torch.float64),
            old_per_token_logps=padded(BATCH["old"]), ref_per_token_logps=padded(BATCH["reference"]),
            num_items_in_batch=counted,
        ),
    )
    loss.backward()
    by_entropy = torch.zeros_like(entropy) if entropy.grad is None else entropy.grad
    return dict(settings=settings, loss=loss.item(), by_new=cut(new.grad), by_entropy=cut(by_entropy))


def advantage_case(kind, settings_of, settings):
    group, batch = len(REWARDS[0]), sum(map(len, REWARDS))
    made = trainer(kind, settings_of, settings | dict(per_device_train_batch_size=batch), group)
    made.model.train()
    completions = [[2, 3, 1] for _ in range(batch)]
    made._generate_single_turn = lambda *_: (completions, None) if kind is GRPOTrainer else completions
    rewards = [float("nan") if r is None else r for row in REWARDS for r in row]
    made._calculate_rewards = lambda *_: torch.tensor(rewards, dtype=torch.float64).unsqueeze(1)
    made.reward_weights = made.reward_weights.double()

    def logprobs(model, *_, **__):
        name = "reference" if model is made.ref_model else "old"
        return torch.tensor(SAMPLED[name], dtype=torch.float64), None, None

    made._get_per_token_logps_and_entropies = logprobs
    out = made._generate_and_score_completions([dict(prompt="a") for _ in range(batch)])["advantages"].tolist()
    return dict(settings=settings, advantages=[out[i : i + group] for i in range(0, batch, group)])


def main():
    cases = dict(
        versions=dict(zip(("trl", "torch", "transformers"), VERSIONS)),
        longest=LONGEST,
        others=OTHERS,
        truncated=TRUNCATED,
        batch=BATCH,
        losses={name: loss_case(settings) for name, settings in LOSSES.items()},
        rewards=REWARDS,
        sampled=SAMPLED,
        advantages={name: advantage_case(*case) for name, case in ADVANTAGES.items()},
    )
    # A line for each case, so that a change can be seen.
    lines = (f"{json.dumps(key)}: {by_line(value)}" for key, value in cases.items())
    (HERE / "trl_losses.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


def by_line(value):
    if not isinstance(value, dict):
        return json.dumps(value)
    return "{\n" + ",\n".join(f"  {json.dumps(key)}: {json.dumps(inner)}" for key, inner in value.items()) + "\n}"


if __name__ == "__main__":
    main()
