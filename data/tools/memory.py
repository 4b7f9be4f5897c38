"""What fine-tuning needs of the memory, and the flags that make it fit.

    python -m data.tools.memory  # a table of published models and cards

These are estimates from shapes, about a tenth too low; 1 GB is left for CUDA itself.
"""

from types import SimpleNamespace

import torch

from data.tools import workers

LOGITS_AT_ONCE = 2**27  # half a GiB, their gradient as much

SHAPE = ["n_layer", "n_head", "n_kv_head", "n_embd", "n_hidden", "head_size", "vocab_size", "tied"]
MODELS = {
    "SmolLM2-135M": (30, 9, 3, 576, 1536, 64, 49154, True),
    "Qwen2.5-0.5B": (24, 14, 2, 896, 4864, 64, 151936, True),
    "Qwen3-0.6B": (28, 16, 8, 1024, 3072, 128, 151936, True),
    "Llama-3.2-1B": (16, 32, 8, 2048, 8192, 64, 128256, True),
}
CARDS = (8, 16, 24, 80)  # GB


def needed(c, length, batch_size, recompute, weights):
    """{part: GB} for traces of this length (tokens) in a student of GPTConfig c.

    Its products are computed in bfloat16, as on CUDA.
    """
    block = c.n_embd * (attention_width(c) + 3 * c.n_hidden)
    n_weights = c.n_layer * block + (1 if c.tied else 2) * c.vocab_size * c.n_embd
    size = n_weights * (4 if weights == "float32" else 2)
    kept = kept_bytes(c)
    blocks = 4 * c.n_embd * c.n_layer + kept if recompute else kept * c.n_layer
    n_tokens = batch_size * length
    logits = 10 * min(n_tokens * c.vocab_size, LOGITS_AT_ONCE)  # and their gradient; and bfloat16
    parts = {
        "weights": size,
        "gradients": workers.N * size,
        "optimizer": 2 * size,
        "activations": n_tokens * blocks + logits,
    }
    return {part: n_bytes / 1e9 for part, n_bytes in parts.items()}


def attention_width(c):
    """Channels of the queries, keys, values and the attention's output together."""
    return 2 * (c.n_head + c.n_kv_head) * c.head_size


def kept_bytes(c, bytes_of_a_product=2):
    """Bytes per token that a block keeps for the gradient; made anew, it keeps its input alone.

    Those are its two residual states, and what its products, norms and attention multiply.
    """
    n_channels = 2 * c.n_embd + 2 * attention_width(c) + 4 * c.n_hidden
    return 8 * c.n_embd + bytes_of_a_product * n_channels


def cheapening(c, config, length):
    """{flags: GB}: what a run needs with these flags besides its own, more and more of them."""
    batch = config.batch_size
    one = f"--recompute --batch_size 1 --accumulate {batch * config.accumulate}"
    settings = {
        "": (batch, config.recompute, config.weights),
        "--recompute": (batch, True, config.weights),
        one: (1, True, config.weights),
        f"{one} --weights bfloat16": (1, True, "bfloat16"),
    }
    return {flags: sum(needed(c, length, *s).values()) for flags, s in settings.items()}


def first_fit(sizes, room):
    """The first flags of `cheapening` with which it fits into so many GB; None where none do."""
    return next((flags for flags, size in sizes.items() if size + 1 < room), None)


def forecast(c, config, length, device):
    """What training will need, and the flags that make it fit where it does not (str)."""
    parts = needed(c, length, config.batch_size, config.recompute, config.weights)
    text = ", ".join(f"{part} {size:.1f}" for part, size in parts.items())
    sizes = cheapening(c, config, length)
    text = f"memory: about {sizes['']:.1f} GB ({text})"
    if device.type != "cuda":
        return text
    room = torch.cuda.mem_get_info(device)[1] / 1e9
    flags = first_fit(sizes, room)
    if flags is None:
        return f"{text}; the GPU has {room:.1f}: too little with any flags"
    return f"{text}; the GPU has {room:.1f}: take {flags} ({sizes[flags]:.1f})" if flags else text


def main():
    length = 2048
    config = SimpleNamespace(batch_size=4, accumulate=4, recompute=False, weights="float32")
    print("| GB with | " + " | ".join(f"{room} GB" for room in CARDS) + " |")
    print("|---" * (len(CARDS) + 1) + "|")
    for name, shape in MODELS.items():
        c = SimpleNamespace(**dict(zip(SHAPE, shape, strict=True)))
        sizes = cheapening(c, config, length)
        fits = [first_fit(sizes, room) for room in CARDS]
        cells = ["no" if f is None else f"{sizes[f]:.1f} {f and f'`{f}`'}".strip() for f in fits]
        print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
