"""Published models in Hugging Face's format: config.json and *.safetensors, in and out.

Qwen2 and 2.5, Qwen3, Llama 3.x and SmolLM2 are all the block of model.py. They differ in sizes and
in three details: a bias on query, key and value; a norm of query and key; Llama 3's rotation. What
is none of these is refused: a wrong detail would go unnoticed and only make the model worse.
"""

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from data.tools.files import replacing, write_text
from data.tools.flags import UserError
from data.tools.terminal import first_line

MODELS = ["Qwen2ForCausalLM", "Qwen3ForCausalLM", "LlamaForCausalLM"]
FILES = ["config.json", "model*.safetensors", "model.safetensors.index.json", "tokenizer.json"]
FIELDS = {  # of GPTConfig, and their names in config.json
    "vocab_size": "vocab_size",
    "block_size": "max_position_embeddings",
    "n_layer": "num_hidden_layers",
    "n_head": "num_attention_heads",
    "n_kv_head": "num_key_value_heads",
    "n_embd": "hidden_size",
    "n_hidden": "intermediate_size",
    "head_size": "head_dim",
    "norm_eps": "rms_norm_eps",
    "tied": "tie_word_embeddings",
}
# What model.py computes; other values are refused.
FIXED = {"hidden_act": "silu", "attention_bias": False, "mlp_bias": False}
NEVER = {"use_sliding_window": False, "partial_rotary_factor": 1.0, "quantization_config": None}
LLAMA3 = [
    "factor",
    "low_freq_factor",
    "high_freq_factor",
    "original_max_position_embeddings",
]
# Our name of a block's tensor, and the published ones of those that it joins.
BLOCK = {
    "attn_norm.weight": ["input_layernorm.weight"],
    "attn.qkv.weight": [f"self_attn.{x}_proj.weight" for x in "qkv"],
    "attn.qkv.bias": [f"self_attn.{x}_proj.bias" for x in "qkv"],
    "attn.q_norm.weight": ["self_attn.q_norm.weight"],
    "attn.k_norm.weight": ["self_attn.k_norm.weight"],
    "attn.proj.weight": ["self_attn.o_proj.weight"],
    "mlp_norm.weight": ["post_attention_layernorm.weight"],
    "mlp.gate_up.weight": ["mlp.gate_proj.weight", "mlp.up_proj.weight"],
    "mlp.down.weight": ["mlp.down_proj.weight"],
}


def published_names(model):
    """{our name: published names of what it joins} of a GPT's tensors, but for the branches'."""
    names = {"embed.weight": ["model.embed_tokens.weight"], "norm.weight": ["model.norm.weight"]}
    if not model.config.tied:
        names["lm_head.weight"] = ["lm_head.weight"]
    for i in range(model.config.n_layer):
        for ours, theirs in BLOCK.items():
            names[f"blocks.{i}.{ours}"] = [f"model.layers.{i}.{name}" for name in theirs]
    own = model.state_dict()
    return {ours: theirs for ours, theirs in names.items() if ours in own}


# --------------------------------------------------------------------------------------------- in
def pretrained_folder(path):
    """The folder of a published model: path itself, or the download of that name from the Hub.

    Raises UserError where there is neither.
    """
    if Path(path).is_dir():
        return Path(path)
    from huggingface_hub import snapshot_download  # only here: slow to import

    try:
        return Path(snapshot_download(str(path), allow_patterns=FILES))
    except Exception as e:  # the library lets through whatever its download raised
        problem = f"no such folder, and none from the Hub ({first_line(e)})"
        raise UserError(f"{path}: {problem}") from None


def read_config(folder):
    """Fields of GPTConfig (dict) from a folder's config.json. Raises UserError."""
    path = folder / "config.json"
    try:
        return parse_config(json.loads(path.read_text(encoding="utf-8")))
    except OSError as e:
        problem = e.strerror
    except KeyError as e:
        problem = f"{e} is missing"
    except (ValueError, TypeError, AttributeError, LookupError, RecursionError) as e:
        problem = first_line(e)
    raise UserError(f"{path}: {problem}")


def parse_config(c):
    """Fields of GPTConfig from a published config (dict). Raises ValueError for unknown values."""
    architecture = c["architectures"][0]
    if architecture not in MODELS:
        raise ValueError(f"{architecture} is not known here, only {', '.join(MODELS)}")
    for setting, known in (FIXED | NEVER).items():
        if c.get(setting, known) != known:
            raise ValueError(f"{setting} {c[setting]!r} is not known here, only {known!r}")
    # transformers 5 joins in rope_parameters what its fourth version wrote as two settings.
    old_rope = {"rope_theta": c.get("rope_theta", 10000.0), **(c.get("rope_scaling") or {})}
    rope = c.get("rope_parameters") or old_rope
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind not in ("default", "llama3"):
        raise ValueError(f"rotation of the type {kind!r} is not known here")
    # A setting that is left out has the value that transformers gives it.
    heads = c["num_attention_heads"]
    c = {"num_key_value_heads": heads, "head_dim": None, "tie_word_embeddings": False, **c}
    c["head_dim"] = c["head_dim"] or c["hidden_size"] // heads
    return {
        **{ours: c[theirs] for ours, theirs in FIELDS.items()},
        "rope_base": float(rope["rope_theta"]),
        "rope_scaling": tuple(rope[name] for name in LLAMA3) if kind == "llama3" else (),
        "qk_norm": architecture == "Qwen3ForCausalLM",
        "qkv_bias": architecture == "Qwen2ForCausalLM",
        "embed_scale": 1.0,
        "conv_width": 1,
    }


@torch.no_grad()
def fill_weights(model, folder, n_rows, new_rows):
    """Copy a folder's weights into a GPT one after another, of whatever type they are.

    n_rows: embeddings in the file. new_rows: ids of new tokens. Their embedding, and that of ids
    which the file has no row for, is the mean of the file's. Raises UserError.
    """
    own = model.state_dict()
    try:
        files = tensor_files(folder)
        for ours, theirs in published_names(model).items():
            is_by_token = ours in ("embed.weight", "lm_head.weight")
            weight = own[ours][:n_rows] if is_by_token else own[ours]
            value = torch.cat([read_tensor(files.pop(name), name) for name in theirs])
            if value.shape != weight.shape:
                problem = f"{list(value.shape)} numbers, where config.json has {list(weight.shape)}"
                raise ValueError(f"{theirs[0]}: {problem}")
            weight.copy_(value)
            if is_by_token:
                mean = weight.mean(0)
                own[ours][n_rows:] = mean
                own[ours][new_rows] = mean
        for name in files:
            if not name.endswith("rotary_emb.inv_freq") and name != "lm_head.weight":
                raise ValueError(f"{name} is no part of this architecture")
    except KeyError as e:
        raise UserError(f"{folder}: {e} is missing") from None
    except OSError as e:
        raise UserError(f"{folder}: {e}") from None
    except (ValueError, TypeError, RuntimeError, SafetensorError) as e:
        raise UserError(f"{folder}: {first_line(e)}") from None


def tensor_files(folder):
    """{name of a tensor: its file} of a folder with one file of weights, or with an index."""
    index = folder / "model.safetensors.index.json"
    if index.exists():
        files = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        return {name: folder / file for name, file in files.items()}
    path = folder / "model.safetensors"
    with safe_open(path, "pt") as file:
        return dict.fromkeys(file.keys(), path)


def read_tensor(path, name):
    with safe_open(path, "pt") as file:
        return file.get_tensor(name)


# -------------------------------------------------------------------------------------------- out
def save_weights(model, folder):
    """Write a GPT as model.safetensors, config.json and generation_config.json into a folder.

    The two branches, which `transformers` does not know, go to signals.safetensors. Raises
    UserError where no architecture of MODELS computes the same.
    """
    c, folder = model.config, Path(folder)
    own, tensors = model.state_dict(), {}
    if c.conv_width > 1 or c.embed_scale != 1 or (c.qk_norm and c.qkv_bias):
        problem = "no published architecture has its short convolution or its scaled embeddings"
        raise UserError(f"{folder}: not written, {problem}")
    for ours, theirs in published_names(model).items():
        weight = own[ours]
        rows = [len(weight)]
        if "qkv" in ours:
            rows = [n * c.head_size for n in (c.n_head, c.n_kv_head, c.n_kv_head)]
        elif "gate_up" in ours:
            rows = [c.n_hidden, c.n_hidden]
        elif ours in ("embed.weight", "lm_head.weight"):
            weight, rows = weight[: c.vocab_size], [c.vocab_size]
        for name, part in zip(theirs, weight.split(rows), strict=True):
            tensors[name] = part.clone()
    branches = {name: weight for name, weight in own.items() if name.startswith("signal_")}
    for name, content in [("model", tensors), ("signals", branches)]:
        with replacing(folder / f"{name}.safetensors") as part:
            save_file(content, part, metadata={"format": "pt"})
    architecture = MODELS[1] if c.qk_norm else MODELS[0] if c.qkv_bias else MODELS[2]
    tokens = {"eos_token_id": c.end_id, "pad_token_id": c.end_id}
    config = {
        "architectures": [architecture],
        "model_type": architecture.removesuffix("ForCausalLM").lower(),
        **{theirs: getattr(c, ours) for ours, theirs in FIELDS.items()},
        **FIXED,
        "rope_theta": c.rope_base,
        "rope_scaling": None,
        "torch_dtype": str(model.lm_head.weight.dtype).removeprefix("torch."),
        **tokens,
    }
    if c.rope_scaling:
        scaling = dict(zip(LLAMA3, c.rope_scaling, strict=True))
        config["rope_scaling"] = {"rope_type": "llama3", **scaling}
    for name, content in [("config", config), ("generation_config", tokens)]:
        write_text(folder / f"{name}.json", json.dumps(content, indent=2) + "\n")
