"""The student: one decoder of the Llama/Qwen block with two branches (section 2.2 of arXiv 2509.23619).

    h = last hidden state, after the final norm                              (B, T, C)
    next token:   lm_head(h + signal_embedding[signal of the target's step])  (B, T, V)   equation of L_token
    next signal:  signal_head(h)                                              (B, T, 7)   equation of L_signal
    loss = (1 - beta) * L_token + beta * L_signal

That is conditioning "embed", the paper's: a fixed bias on the logits for each signal. Two stronger forms let the backbone
see the signal: "input" adds the embedding to the step's input tokens as well, "token" to its opening <|step|> instead
(seven different boundary tokens, in effect; the head then reads the state before it). "none": the head is an extra loss only.
"""
import os
import warnings
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch
import torch.nn as nn
import torch.nn.functional as F

from annotate import BUCKETS
from scaffold import CLASSES, NO_SIGNAL, SIGNALS, Tokenizer, UserError

FORMAT = 2  # of the checkpoint


@dataclass
class GPTConfig:
    vocab_size: int
    block_size: int = 1024
    n_layer: int = 4
    n_head: int = 4
    n_kv_head: int = 4  # fewer than n_head: grouped-query attention
    n_embd: int = 128
    n_hidden: int = 352  # of the SwiGLU
    rope_base: float = 10000.0
    qk_norm: bool = True
    qkv_bias: bool = False
    tied: bool = True  # the LM head shares the token embedding's weights
    embed_scale: float = 128**0.5  # sqrt(n_embd), as in Gemma: states of unit variance from embeddings that fit the head too; Llama: 1
    n_signals: int = 7  # classes of the signal head
    conditioning: str = "embed"
    signal_loss: str = "ce"  # cross-entropy, or "mse": squared distance of the head's outputs to the one-hot signal
    padding: int = 0  # rows of the embedding that no token uses: a GPU multiplies matrices of round sizes faster
    conv_width: int = 4  # tokens that the short convolution before attention spans; 1: none, as in Llama


def gpt_config(depth, vocab_size, block_size, width=0, **others):
    """One dial: depth layers, a width of 32 * depth where none is given, heads of 32 (of 64 from 512 on), a SwiGLU of about 8/3 the width."""
    width = width or 32 * depth
    heads = width // (64 if width % 64 == 0 and width >= 512 else 32)
    return GPTConfig(vocab_size, block_size, n_layer=depth, n_head=heads, n_kv_head=heads, n_embd=width, n_hidden=32 * round(width / 12), embed_scale=width**0.5, **others)


class LayerCache(nn.Module):
    """One layer's part of the KVCache; all its buffers have a row for each row of the batch."""

    def __init__(self, c, batch_size, room, like):
        super().__init__()
        self.register_buffer("k", like.new_zeros(batch_size, c.n_kv_head, room, c.n_embd // c.n_head))  # (B, nkv, L, hs)
        self.register_buffer("v", torch.zeros_like(self.k))
        self.register_buffer("recent", like.new_zeros(batch_size, c.conv_width - 1, c.n_embd))  # newest inputs of the short convolution


class KVCache(nn.Module):
    """Keys and values of the tokens so far. Rows may be of different lengths: row b's token at position p sits in slot p,
    and what lies beyond its length is masked until it is overwritten.

    It grows as it is used, and attention reads as far as the longest row goes. With `room` it is static: of so many positions
    from the start, all of them read, so that a CUDA graph meets the same shapes in the same memory at every token (a module,
    because torch.compile takes a module's buffers to stay where they are).
    """

    def __init__(self, config, batch_size, like, room=0):
        super().__init__()
        self.static, self.layers = room > 0, nn.ModuleList(LayerCache(config, batch_size, room, like) for _ in range(config.n_layer))
        self.register_buffer("lengths", torch.zeros(batch_size, dtype=torch.long, device=like.device))  # (B,)

    def reserve(self, n, block=128):
        """Room for n positions, block by block: what is never written costs no copying."""
        for layer in self.layers if n > self.layers[0].k.size(2) else ():
            more = -(-(n - layer.k.size(2)) // block) * block
            layer.k, layer.v = F.pad(layer.k, (0, 0, 0, more)), F.pad(layer.v, (0, 0, 0, more))

    def keep(self, rows):
        """Drop all rows but these (a (K,) index): finished ones cost nothing more."""
        for module in self.modules():
            for name, buffer in module.named_buffers(recurse=False):
                setattr(module, name, buffer[rows])


def rotate(x, cos, sin):
    """Rotary position embedding (RoFormer) of x (B, nh, T, hs); cos and sin (B or 1, 1, T, hs / 2)."""
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)


class ShortConv(nn.Module):
    """Adds to each token a weighted sum, channel by channel, of the few before it (the Canon layer of Allen-Zhu 2025).

    Attention then need not fetch what stands next to a token, and the student learns to copy names in fewer steps.
    """

    def __init__(self, c):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(c.conv_width - 1, c.n_embd))  # row i: the token i + 1 before

    def forward(self, x, before):
        """x (B, T, C) and the inputs before it (B, width - 1, C). Returns the sum and both inputs, joined."""
        joined, T, reach = torch.cat((before, x), dim=1), x.size(1), before.size(1)
        return x + sum(w * joined[:, reach - 1 - i : reach - 1 - i + T] for i, w in enumerate(self.weight)), joined


class Attention(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.n_head, self.n_kv_head, self.head_size = c.n_head, c.n_kv_head, c.n_embd // c.n_head
        self.qkv = nn.Linear(c.n_embd, (c.n_head + 2 * c.n_kv_head) * self.head_size, bias=c.qkv_bias)
        self.proj = nn.Linear(c.n_head * self.head_size, c.n_embd, bias=False)
        self.q_norm = nn.RMSNorm(self.head_size, eps=1e-6) if c.qk_norm else nn.Identity()
        self.k_norm = nn.RMSNorm(self.head_size, eps=1e-6) if c.qk_norm else nn.Identity()

    def forward(self, x, cos, sin, cache=None, at=None, mask=None):
        B, T, C = x.shape
        qkv = self.qkv(x).view(B, T, -1, self.head_size).transpose(1, 2)  # (B, nh + 2 nkv, T, hs)
        q, k, v = qkv.split((self.n_head, self.n_kv_head, self.n_kv_head), dim=1)
        q, k = rotate(self.q_norm(q), cos, sin), rotate(self.k_norm(k), cos, sin)
        if cache is not None:  # store the new keys and values, then read back all those in use
            rows, positions = at  # (B, 1), (B, T)
            cache.k[rows, :, positions], cache.v[rows, :, positions] = k.transpose(1, 2), v.transpose(1, 2)  # (B, T, nkv, hs)
            if mask is not None:
                k, v = (x[:, :, : mask.size(-1)] for x in (cache.k, cache.v))  # (B, nkv, L, hs)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None, enable_gqa=self.n_head != self.n_kv_head)
        return self.proj(y.transpose(1, 2).reshape(B, T, -1))


class SwiGLU(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.gate_up = nn.Linear(c.n_embd, 2 * c.n_hidden, bias=False)
        self.down = nn.Linear(c.n_hidden, c.n_embd, bias=False)

    def forward(self, x):
        gate, up = self.gate_up(x).chunk(2, dim=-1)
        return self.down(F.silu(gate) * up)


class Block(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.attn_norm, self.conv, self.attn = nn.RMSNorm(c.n_embd, eps=1e-6), ShortConv(c), Attention(c)
        self.mlp_norm, self.mlp = nn.RMSNorm(c.n_embd, eps=1e-6), SwiGLU(c)

    def forward(self, x, before, *attention):
        h, joined = self.conv(self.attn_norm(x), before)
        x = x + self.attn(h, *attention)
        return x + self.mlp(self.mlp_norm(x)), joined


def summed_loss(head, hidden, targets, squared=False):
    """Cross-entropy (or squared distance to one-hot) of head(hidden (B, T, C)), summed over the targets (B, T) that are not -1."""
    if not hidden.is_cuda:  # only supervised positions reach the head; compiled code wants fixed shapes instead
        hidden, targets = hidden[targets >= 0], targets[targets >= 0]  # (N, C), (N,)
    if squared:
        out = head(hidden).float()
        return ((out - F.one_hot(targets.clamp(min=0), out.size(-1))).square().sum(-1) * (targets >= 0)).sum()
    return F.cross_entropy(head(hidden).flatten(0, -2).float(), targets.flatten(), ignore_index=-1, reduction="sum")


class GPT(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config = c = config
        self.step_id = c.vocab_size - 2  # <|step|>, see Tokenizer
        self.embed = nn.Embedding(c.vocab_size + c.padding, c.n_embd)
        self.blocks = nn.ModuleList(Block(c) for _ in range(c.n_layer))
        self.norm = nn.RMSNorm(c.n_embd, eps=1e-6)
        self.lm_head = nn.Linear(c.n_embd, c.vocab_size + c.padding, bias=False)
        if c.tied:
            self.lm_head.weight = self.embed.weight
        self.signal_embedding = nn.Embedding(NO_SIGNAL + 1, c.n_embd, padding_idx=NO_SIGNAL)  # no signal: zero
        self.signal_head = nn.Linear(c.n_embd, c.n_signals)
        head_size = c.n_embd // c.n_head
        angle = torch.arange(-(-c.block_size // 64) * 64)[:, None] * c.rope_base ** (-torch.arange(0, head_size, 2) / head_size)
        self.register_buffer("cos", angle.cos(), persistent=False)  # (block_size, hs / 2), and as many rows as `collate` may pad to
        self.register_buffer("sin", angle.sin(), persistent=False)
        self.apply(self._init)
        nn.init.zeros_(self.signal_embedding.weight)
        for block in self.blocks:  # every block starts as the identity
            nn.init.zeros_(block.attn.proj.weight)
            nn.init.zeros_(block.mlp.down.weight)

    def _init(self, module):
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=module.in_features**-0.5)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=self.config.n_embd**-0.5)

    def embedded(self, idx, own=None):
        """Token embeddings (B, T, C); own (B, T): the signal of each token, a <|step|>'s the one it opens."""
        x = self.embed(idx)
        if own is not None and self.config.conditioning in ("input", "token"):
            opens = idx == self.step_id
            x = x + self.signal_embedding(own.masked_fill(opens if self.config.conditioning == "input" else ~opens, NO_SIGNAL))
        return x * self.config.embed_scale

    def hidden(self, idx, own=None, cache=None, rows=None, lengths=None):
        """Last hidden states (B, T, C) of idx (B, T); own: see `embedded`. With a cache: prefill, right-padded prompts of
        these lengths (B,) begin the cache's rows (B,) anew."""
        (B, T), reach = idx.shape, self.config.conv_width - 1
        x = self.embedded(idx, own)
        before, cos, sin = x.new_zeros(B, reach, x.size(-1)), self.cos[:T], self.sin[:T]
        if cache is None:
            for block in self.blocks:
                x, _ = block(x, before, cos, sin)
            return self.norm(x)
        cache.reserve(T)
        cache.lengths[rows] = lengths
        newest = torch.arange(B, device=idx.device)[:, None], lengths[:, None] + torch.arange(reach, device=idx.device)  # in the joined inputs
        for block, layer in zip(self.blocks, cache.layers):
            x, joined = block(x, before, cos, sin, layer, (rows[:, None], torch.arange(T, device=idx.device)))
            layer.recent[rows] = joined[newest]
        return self.norm(x)

    def next_hidden(self, token, cache, own=None):
        """Last hidden states (B, C) of one more token (B,) in each of the cache's rows; own (B,): its signal."""
        x, at = self.embedded(token[:, None], None if own is None else own[:, None]), cache.lengths[:, None]  # (B, 1, C), (B, 1)
        L = cache.layers[0].k.size(2) if cache.static else int(at.max()) + 1
        cache.reserve(L)
        rows = torch.arange(len(token), device=token.device)[:, None]  # (B, 1)
        mask = (torch.arange(L, device=token.device) <= at)[:, None, None]  # (B, 1, 1, L)
        cos, sin = self.cos[at].unsqueeze(1), self.sin[at].unsqueeze(1)  # (B, 1, 1, hs / 2)
        for block, layer in zip(self.blocks, cache.layers):
            x, joined = block(x, layer.recent, cos, sin, layer, (rows, at), mask)
            layer.recent.copy_(joined[:, 1:])
        cache.lengths += 1
        return self.norm(x)[:, 0]

    def token_logits(self, hidden, signals=None):
        """Next-token logits (..., V) of hidden (..., C), conditioned on the signals (...) of the steps they belong to."""
        return self.lm_head(self.conditioned(hidden, signals))[..., : self.config.vocab_size]

    def conditioned(self, hidden, signals):
        biased = signals is not None and self.config.conditioning in ("embed", "input")
        return hidden + self.signal_embedding(signals) if biased else hidden

    def own_signals(self, idx, signals):
        """Signals of the input tokens (B, T), from those of their targets: one later, but a <|step|> shows the one it opens."""
        return torch.where(idx == self.step_id, signals, F.pad(signals[:, :-1], (1, 0), value=NO_SIGNAL))

    def before_signal(self, hidden):
        """States (B, T, C) from which the head predicts the signal that is wanted at each position."""
        return torch.cat((hidden[:, :1], hidden[:, :-1]), dim=1) if self.config.conditioning == "token" else hidden

    def signal_probs(self, hidden):
        """P(next signal), (..., n_signals), of the states (..., C) it is predicted from."""
        logits = self.signal_head(hidden).float()
        return logits.softmax(-1) if self.config.signal_loss == "ce" else F.normalize(logits.clamp(min=1e-6), p=1, dim=-1)

    def forward(self, idx, signals, targets, signal_targets):
        """Summed losses (L_token, L_signal) of a batch; all inputs (B, T), -1 is no target; signals None: the clone.

        Sums, so that the caller divides by the supervised positions of the whole global batch: gradient accumulation
        then equals one large batch. A batch without any target costs 0, not NaN.
        """
        if signals is None:
            hidden = self.hidden(idx)
            return summed_loss(self.lm_head, hidden, targets), hidden.new_zeros(())
        hidden = self.hidden(idx, own=self.own_signals(idx, signals))
        token_loss = summed_loss(self.lm_head, self.conditioned(hidden, signals), targets)
        return token_loss, summed_loss(self.signal_head, self.before_signal(hidden), signal_targets, squared=self.config.signal_loss == "mse")

    def optimizers(self, muon_lr, adam_lr, fused=False):
        """Muon for the matrices of the blocks, AdamW for all else (embeddings, heads, norms)."""
        matrices = [m.weight for m in self.blocks.modules() if isinstance(m, nn.Linear)]
        rest = [p for p in self.parameters() if not any(p is m for m in matrices)]
        return [torch.optim.Muon(matrices, lr=muon_lr, momentum=0.95, weight_decay=0.0),
                torch.optim.AdamW(rest, lr=adam_lr, betas=(0.9, 0.95), weight_decay=0.0, fused=fused)]


# ------------------------------------------------------------------------------- devices and checkpoints
def pick_device(wanted="auto"):
    """(device, the reason). Raises UserError where the wanted one is missing."""
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if wanted == "auto":
        device = next(d for d, ok in there.items() if ok)
        name = torch.cuda.get_device_name() if device == "cuda" else "Apple GPU" if device == "mps" else "no GPU found"
        return torch.device(device), name
    if not there[wanted]:
        raise UserError(f"--device {wanted}: torch {torch.__version__} finds no such device here; use --device auto")
    return torch.device(wanted), "asked for"


# Dense bf16 FLOP/s and memory's bytes/s, from the makers' data sheets (the fastest variant), by a part of the name that torch gives the GPU.
PEAKS = {"H200": (989e12, 4.8e12), "H100": (989e12, 3.35e12), "A100": (312e12, 2.04e12), "L40S": (362e12, 0.864e12), "L4": (121e12, 0.3e12),
         "RTX 4090": (165e12, 1.008e12), "RTX 3090": (71e12, 0.936e12)}


def gpu_peaks():
    """(FLOP/s, bytes/s) of the GPU at hand; (None, None) without one, or where it is not in the table."""
    name = torch.cuda.get_device_name().replace("-", " ") if torch.cuda.is_available() else ""
    return next((peaks for part, peaks in PEAKS.items() if f" {part} " in f" {name} "), (None, None))  # a GH200 is no H200


def flops_utilisation(model, tokens_per_second, length):
    """Share of the GPU's peak that training's own arithmetic takes (appendix B of PaLM, arXiv 2204.02311): of each token of sequences
    of this mean length 6 FLOP a weight and 12 * n_layer * n_embd * length in attention. None without a GPU whose peak is known."""
    peak, _ = gpu_peaks()
    c, weights = model.config, sum(p.numel() for p in model.parameters())
    return peak and tokens_per_second * (6 * weights + 12 * c.n_layer * c.n_embd * length) / peak


def save_checkpoint(path, model, tokenizer, classifier, config, seen, tokens_per_second, training=None):
    """All that sampling needs and, under "training", what resuming needs too, in plain types: loads with weights_only=True.
    Written whole or not at all: an earlier checkpoint stays until this one is on the disk. Raises UserError."""
    path, part = Path(path), Path(f"{path}.part")
    try:
        with open(part, "wb") as f:
            torch.save({"format": FORMAT, "model": {k: v.cpu() for k, v in model.state_dict().items()}, "gpt": asdict(model.config), "pieces": tokenizer.pieces,
                        "classifier": classifier, "config": asdict(config), "seen": torch.tensor(sorted(seen), dtype=torch.long),
                        "tokens_per_second": tokens_per_second, "training": training}, f)
            f.flush()
            os.fsync(f.fileno())
        part.replace(path)
    except (OSError, RuntimeError) as e:  # a full disk is either to torch.save
        part.unlink(missing_ok=True)
        raise UserError(f"{path}: cannot be written; is the disk full? ({first_line(e)}) A checkpoint that was there before is kept") from None


def read_checkpoint(path):
    """A checkpoint's dict as it was saved, its format checked. Raises UserError where there is none, or another kind of file."""
    if not Path(path).exists():
        raise UserError(f"{path}: no such checkpoint; train a student first: python train.py")
    with reading(path):
        saved = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(saved, dict):
            raise ValueError(f"a {type(saved).__name__}")
        if saved["format"] != FORMAT:
            raise UserError(f"{path}: checkpoint format {saved['format']!r:.40}, this version reads {FORMAT}; train again")
        return saved


def load_checkpoint(path, device):
    """A trained student: {"gpt": GPT in eval mode, "tokenizer", "classifier", "method", "classes", "seen", "tokens_per_second"}."""
    c = read_checkpoint(path)
    with reading(path):
        model, tokenizer, annotator = GPT(checked_config(c["gpt"], c["model"])), Tokenizer(c["pieces"]), c["classifier"]
        model.load_state_dict(c["model"])
        if tokenizer.vocab_size != model.config.vocab_size:
            raise ValueError(f"{tokenizer.vocab_size} tokens for a model of {model.config.vocab_size}")
        if annotator is not None and (annotator.shape, annotator.dtype) != ((BUCKETS, len(SIGNALS)), torch.float32):
            raise ValueError("an annotator of another shape")
        if c["config"]["method"] not in ("scaffold", "clone") or c["config"]["classes"] not in (1, 3, 7, 14):
            raise ValueError("an unknown method, or number of classes")
        return {"gpt": model.to(device).eval(), "tokenizer": tokenizer, "classifier": annotator, "method": c["config"]["method"],
                "classes": c["config"]["classes"], "seen": set(c["seen"].tolist()), "tokens_per_second": float(c["tokens_per_second"])}


def checked_config(saved, weights):
    """The GPTConfig of a checkpoint. Raises ValueError unless it is the one of these weights: before a model of any size is built."""
    config = GPTConfig(**saved)
    for f in fields(config):
        value = getattr(config, f.name)
        among = {"conditioning": ("embed", "input", "token", "none"), "signal_loss": ("ce", "mse"), "n_signals": (len(SIGNALS), CLASSES)}.get(f.name, (value,))
        if type(value) is not f.type or value not in among or f.type in (int, float) and (not 0 <= value <= 10**6 or value == 0 != f.default):
            raise ValueError(f"{f.name} {value!r:.40}")
    if config.n_layer > len(weights):
        raise ValueError(f"{config.n_layer} layers")
    with torch.device("meta"):  # shapes alone
        expected = GPT(config).state_dict()
    wrong = [k for k in expected if weights[k].shape != expected[k].shape or not weights[k].isfinite().all() or weights[k].is_complex()]
    if wrong or len(weights) != len(expected):
        raise ValueError(f"{(wrong or ['some weight'])[0]} is not that of its model, or not finite")
    return config


@contextmanager
def reading(path):
    """What goes wrong with the contents of a checkpoint is the file's fault. Raises UserError."""
    try:
        with warnings.catch_warnings(action="ignore"):  # one line is enough
            yield
    except UserError:
        raise
    except Exception as e:  # some other file can raise anything
        raise UserError(f"{path}: not a checkpoint of this project, or a damaged one ({first_line(e)}); train again") from None


def first_line(error):
    return (str(error) or type(error).__name__).splitlines()[0][:80]
