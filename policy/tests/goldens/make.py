"""Small random checkpoints of every architecture, and what transformers computes with them.

    pip install torch==2.15.0 transformers==5.23.0 safetensors==0.8.0
    python make.py              writes a folder for each case beside this file
    python make.py check        saves each case again with `cargo run --example resave`, opens the result in
                                transformers and compares its logits with the expected ones

A folder holds a Hugging Face model and `expected.safetensors`:
    token_ids   [2, 14]         two sequences that begin with the same 5 tokens
    logits      [2, 14, vocabulary]
    weights     [2, 9]          g of the loss below
    grad.NAME                   the gradient of  sum(g * logprob of tokens 5..14)  by each tensor of the checkpoint
    experts.L   [2, 14, top_k]  where layer L sent each token, ascending

Everything is computed in f32 on the CPU, with eager attention, from the weights as the checkpoint holds them (after
rounding to bf16, f16 or eight bits).
"""

import json
import pathlib
import subprocess
import sys
import tempfile

import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    DeepseekV3Config,
    LlamaConfig,
    Qwen2Config,
    Qwen3Config,
)

VERSIONS = ("2.15.0", "5.23.0")
HERE = pathlib.Path(__file__).parent
PROMPT, LENGTH, VOCABULARY = 5, 14, 32

SMALL = dict(
    vocab_size=VOCABULARY,
    hidden_size=16,
    intermediate_size=24,
    num_hidden_layers=2,
    num_attention_heads=4,
    max_position_embeddings=64,
    # Large, so that a norm with another epsilon (those of the latents) cannot pass for one with this.
    rms_norm_eps=1e-2,
    bos_token_id=0,
    eos_token_id=1,
    pad_token_id=2,
    tie_word_embeddings=False,
)
DEEPSEEK = SMALL | dict(
    num_attention_heads=2,
    num_key_value_heads=2,
    moe_intermediate_size=6,
    n_routed_experts=8,
    n_shared_experts=1,
    num_experts_per_tok=3,
    n_group=1,
    topk_group=1,
    first_k_dense_replace=1,
    kv_lora_rank=10,
    q_lora_rank=None,
    qk_rope_head_dim=4,
    qk_nope_head_dim=6,
    v_head_dim=5,
    num_nextn_predict_layers=0,
)
YARN = dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=16, rope_theta=10000.0)

# name: (configuration, how it is stored)
CASES = {
    # The published model's every feature: both latents, groups, YaRN with mscale, several shared experts.
    "deepseek": (
        DeepseekV3Config(
            **DEEPSEEK
            | dict(
                q_lora_rank=12,
                n_group=4,
                topk_group=2,
                n_shared_experts=2,
                routed_scaling_factor=2.5,
                rope_parameters=YARN | dict(mscale=1.0, mscale_all_dim=1.0, beta_fast=32, beta_slow=1),
            )
        ),
        {},
    ),
    # The other way round, wherever there is another way; two shards; a module for multi-token prediction to skip.
    "deepseek_full_query": (
        DeepseekV3Config(
            **DEEPSEEK
            | dict(
                attention_bias=True,
                norm_topk_prob=False,
                routed_scaling_factor=1.5,
                rope_interleave=False,
                tie_word_embeddings=True,
                eos_token_id=[1, 3],
                num_nextn_predict_layers=1,
                rope_parameters=YARN | dict(mscale=0.7, mscale_all_dim=0.4),
            )
        ),
        dict(shards=True, dtype=torch.bfloat16, mtp=True),
    ),
    "deepseek_fp8": (DeepseekV3Config(**DEEPSEEK | dict(q_lora_rank=12)), dict(fp8=(8, 12))),
    "llama": (
        LlamaConfig(
            **SMALL
            | dict(
                num_key_value_heads=2,
                head_dim=8,
                attention_bias=True,
                rope_parameters=dict(
                    rope_type="llama3",
                    factor=8.0,
                    low_freq_factor=1.0,
                    high_freq_factor=4.0,
                    original_max_position_embeddings=32,
                    rope_theta=500.0,
                ),
            )
        ),
        dict(dtype=torch.float16),
    ),
    "llama_linear": (
        LlamaConfig(
            **SMALL
            | dict(
                num_key_value_heads=1,
                tie_word_embeddings=True,
                rope_parameters=dict(rope_type="linear", factor=3.0, rope_theta=10000.0),
            )
        ),
        {},
    ),
    "qwen2": (
        Qwen2Config(**SMALL | dict(num_key_value_heads=2, tie_word_embeddings=True, rope_parameters=YARN)),
        dict(shards=True),
    ),
    "qwen3": (Qwen3Config(**SMALL | dict(num_key_value_heads=2, head_dim=6)), {}),
}


def random_model(config, seed):
    """A model whose every tensor is random, norms, biases and the routers' biases included."""
    torch.manual_seed(seed)
    config._attn_implementation = config._experts_implementation = "eager"
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    tensors = list(model.named_parameters()) + list(model.named_buffers())
    with torch.no_grad():
        for name, tensor in tensors:
            if "norm" in name:
                tensor.copy_(1 + 0.3 * torch.randn_like(tensor))
            elif "inv_freq" not in name:
                spread = 0.1 if name.endswith("bias") else 0.35
                tensor.copy_(spread * torch.randn_like(tensor))
    return model


def by_checkpoint_name(tensors, config):
    """transformers 5 keeps all experts in one tensor; a checkpoint has one for each."""
    out = {}
    for name, tensor in tensors.items():
        layer, _, kind = name.partition("mlp.experts.")
        if kind == "gate_up_proj":
            for expert, both in enumerate(tensor):
                gate, up = both.chunk(2, dim=0)
                out[f"{layer}mlp.experts.{expert}.gate_proj.weight"] = gate.contiguous()
                out[f"{layer}mlp.experts.{expert}.up_proj.weight"] = up.contiguous()
        elif kind == "down_proj":
            for expert, down in enumerate(tensor):
                out[f"{layer}mlp.experts.{expert}.down_proj.weight"] = down.contiguous()
        elif not (config.tie_word_embeddings and name == "lm_head.weight"):
            out[name] = tensor.contiguous()
    return out


def round_weights(model, how):
    """Rounds every weight as the checkpoint will; returns the eight-bit weights and their scales by name."""
    eight_bit = {}
    with torch.no_grad():
        if dtype := how.get("dtype"):
            for tensor in model.parameters():
                tensor.copy_(tensor.to(dtype))
            for name, tensor in model.named_buffers():
                if "inv_freq" not in name:
                    tensor.copy_(tensor.to(dtype))
        if block := how.get("fp8"):
            for name, tensor in model.named_parameters():
                if "_proj" not in name or name.endswith("bias"):
                    continue
                # Of the fused experts each matrix is rounded by itself: gate and up have blocks of their own.
                halves = 2 if name.endswith("gate_up_proj") else 1
                matrices = tensor.view(-1, tensor.shape[-2] // halves, tensor.shape[-1])
                rounded = []
                for matrix in matrices:
                    small, scale, wide = to_eight_bit(matrix, block)
                    matrix.copy_(wide)
                    rounded.append((small, scale))
                eight_bit[name] = rounded
    return eight_bit


def to_eight_bit(matrix, block):
    """DeepSeek-V3's storage: each block's largest magnitude becomes 448; `weight_scale_inv` undoes it."""
    rows, columns = matrix.shape
    scale = torch.zeros(-(-rows // block[0]), -(-columns // block[1]))
    small = torch.zeros_like(matrix, dtype=torch.float8_e4m3fn)
    wide = torch.zeros_like(matrix)
    for i in range(scale.shape[0]):
        for j in range(scale.shape[1]):
            at = (slice(i * block[0], (i + 1) * block[0]), slice(j * block[1], (j + 1) * block[1]))
            scale[i, j] = matrix[at].abs().max() / 448
            small[at] = (matrix[at] / scale[i, j]).to(torch.float8_e4m3fn)
            wide[at] = small[at].float() * scale[i, j]
    return small, scale, wide


def expected(model):
    config = model.config
    ids = torch.randint(3, VOCABULARY, (2, LENGTH))
    ids[1, :PROMPT] = ids[0, :PROMPT]
    chosen = {}

    def note(layer):
        return lambda _module, _inputs, output: chosen.__setitem__(layer, output[2].sort(-1).values)

    for layer, block in enumerate(model.model.layers):
        if hasattr(block.mlp, "gate"):
            block.mlp.gate.register_forward_hook(note(layer))
    logits = model(ids, use_cache=False).logits
    logprobs = torch.log_softmax(logits, -1)[:, :-1].gather(2, ids[:, 1:, None])[..., 0][:, PROMPT - 1 :]
    weights = torch.cos(0.7 * torch.arange(logprobs.numel())).view_as(logprobs)
    (weights * logprobs).sum().backward()
    gradients = {
        name: torch.zeros_like(p) if p.grad is None else p.grad for name, p in model.named_parameters()
    }
    out = {"token_ids": ids.int(), "logits": logits.detach(), "weights": weights}
    out |= {f"grad.{name}": tensor for name, tensor in by_checkpoint_name(gradients, config).items()}
    out |= {f"experts.{layer}": experts.view(2, LENGTH, -1).int() for layer, experts in chosen.items()}
    return out


def checkpoint(model, how, eight_bit):
    config = model.config
    state = {name: t for name, t in model.state_dict().items() if "inv_freq" not in name}
    tensors = by_checkpoint_name(state, config)
    if dtype := how.get("dtype"):
        tensors = {name: tensor.to(dtype) for name, tensor in tensors.items()}
    for name, rounded in eight_bit.items():
        layer, _, kind = name.partition("mlp.experts.")
        for index, (small, scale) in enumerate(rounded):
            target = name
            if kind == "gate_up_proj":
                target = f"{layer}mlp.experts.{index // 2}.{('gate', 'up')[index % 2]}_proj.weight"
            elif kind == "down_proj":
                target = f"{layer}mlp.experts.{index}.down_proj.weight"
            assert target in tensors, target
            tensors[target] = small
            tensors[target + "_scale_inv"] = scale
    if how.get("mtp"):
        extra = f"model.layers.{config.num_hidden_layers}."
        tensors[extra + "eh_proj.weight"] = torch.randn(4, 4)
        tensors[extra + "enorm.weight"] = torch.randn(4)
    return tensors


def write(name, config, how, seed):
    folder = HERE / name
    folder.mkdir(exist_ok=True)
    for file in folder.iterdir():
        file.unlink()
    model = random_model(config, seed)
    eight_bit = round_weights(model, how)
    save_file(expected(model), folder / "expected.safetensors")
    tensors = checkpoint(model, how, eight_bit)
    stored = json.loads(config.to_json_string(use_diff=False))
    # A file as the publishers write it: what transformers fills in by itself is left out.
    for key in [k for k, v in stored.items() if v in (None, [], {}) and k != "q_lora_rank"]:
        del stored[key]
    for key in ("id2label", "label2id", "chunk_size_feed_forward", "is_encoder_decoder", "output_attentions",
                "output_hidden_states", "return_dict", "problem_type", "transformers_version"):
        stored.pop(key, None)
    stored["architectures"] = [type(model).__name__]
    stored["dtype"] = str(how.get("dtype", torch.float32)).removeprefix("torch.")
    if block := how.get("fp8"):
        stored["quantization_config"] = dict(
            quant_method="fp8", fmt="e4m3", activation_scheme="dynamic", weight_block_size=list(block)
        )
    (folder / "config.json").write_text(json.dumps(stored, indent=2, sort_keys=True) + "\n")
    if how.get("shards"):
        names = sorted(tensors)
        parts = [names[::2], names[1::2]]
        files = [f"model-{i + 1:05}-of-00002.safetensors" for i in range(2)]
        for part, file in zip(parts, files):
            save_file({n: tensors[n] for n in part}, folder / file, metadata={"format": "pt"})
        index = {"metadata": {}, "weight_map": {n: f for part, f in zip(parts, files) for n in part}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")
    else:
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def check(name):
    """A folder that this workspace saved opens in transformers as it lies and gives the same logits."""
    want = load_file(HERE / name / "expected.safetensors")
    with tempfile.TemporaryDirectory() as folder:
        command = ["cargo", "run", "--release", "--quiet", "--example", "resave", "--"]
        subprocess.run([*command, HERE / name, folder], check=True, cwd=HERE.parents[2])
        model, info = AutoModelForCausalLM.from_pretrained(
            folder, output_loading_info=True, attn_implementation="eager", experts_implementation="eager"
        )
        problems = {kind: found for kind, found in info.items() if found}
        with torch.no_grad():
            got = model(want["token_ids"].long(), use_cache=False).logits
    worst = ((got - want["logits"]).abs().max() / want["logits"].abs().max()).item()
    print(f"{name:20} {type(model).__name__:22} {got.dtype} largest relative difference {worst:.1e} {problems or ''}")
    assert worst < 1e-5 and not problems and got.dtype == torch.float32, name


if __name__ == "__main__":
    found = (torch.__version__.split("+")[0], transformers.__version__)
    assert found == VERSIONS, f"made with torch and transformers {VERSIONS}, found {found}"
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    for seed, (name, (config, how)) in enumerate(CASES.items()):
        if sys.argv[1:] == ["check"]:
            check(name)
        else:
            write(name, config, how, seed)
