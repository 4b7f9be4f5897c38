"""The student: one decoder of the Llama/Qwen block with two branches (section 2.2 of the paper).

    h = last hidden state, after the final norm                             (B, T, C)
    next token:   lm_head(h + signal_embedding[signal of the target])       (B, T, V)   L_token
    next signal:  signal_head(h)                                            (B, T, K)   L_signal
    loss = (1 - beta) * L_token + beta * L_signal

This is conditioning "embed", the paper's: for each signal a fixed bias on the logits. Two other
forms let the backbone see the signal. "input" also adds the embedding to the step's input tokens.
"token" adds it only to the <|step|> that opens the step; the signal head then reads the state one
token earlier. With "none" the student is never told a signal: the head is only a second loss.
"""

from dataclasses import dataclass
from functools import partial

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint

from data.tools.kv_cache import LayerCache
from data.tools.memory import LOGITS_AT_ONCE
from data.tools.pretrained import fill_weights, pretrained_folder, read_config, save_weights
from scaffold import NO_SIGNAL, SIGNALS


@dataclass
class GPTConfig:
    vocab_size: int
    block_size: int = 1024  # longest sequence, in tokens
    n_layer: int = 4
    n_head: int = 4
    n_kv_head: int = 4  # fewer than n_head: grouped-query attention
    n_embd: int = 128
    n_hidden: int = 352  # width of the SwiGLU
    head_size: int = 0  # 0: n_embd / n_head
    rope_base: float = 10000.0
    rope_scaling: tuple = ()  # Llama 3's: see `rope_frequencies`
    norm_eps: float = 1e-6
    qk_norm: bool = True
    qkv_bias: bool = False
    tied: bool = True  # the LM head shares the weights of the token embedding
    # sqrt(n_embd) as in Gemma: the LM head, which shares the embedding, needs small weights; this
    # scales the first hidden states to a variance of 1.
    embed_scale: float = 128**0.5  # Llama: 1
    n_signals: int = len(SIGNALS)  # classes of the signal head
    conditioning: str = "embed"  # or "input", "token", "none": see above
    signal_loss: str = "ce"  # cross-entropy, or "mse": squared distance to the one-hot signal
    padding: int = 0  # rows of the embedding without a token: GPUs like matrices of round sizes
    answer_opening: tuple = ()  # ids that open the answer which the gate forces
    conv_width: int = 4  # tokens that the short convolution spans; 1: none, as in Llama
    step_id: int = -2  # of <|step|>, see Tokenizer; below 0: from the end of the vocabulary
    end_id: int = -1  # of <|end|>

    def __post_init__(self):
        self.head_size = self.head_size or self.n_embd // self.n_head
        self.step_id %= self.vocab_size
        self.end_id %= self.vocab_size


def gpt_config(depth, vocab_size, block_size, width=0, **others):
    """GPTConfig from one dial, the depth in layers.

    The width is 32 * depth where none is given; a head has 32 channels, from width 512 on 64; the
    SwiGLU is about 8/3 as wide as the rest.
    """
    width = width or 32 * depth
    head_size = 64 if width % 64 == 0 and width >= 512 else 32
    return GPTConfig(
        vocab_size,
        block_size,
        n_layer=depth,
        n_head=width // head_size,
        n_kv_head=width // head_size,
        n_embd=width,
        n_hidden=32 * round(width / 12),
        embed_scale=width**0.5,
        **others,
    )


# ----------------------------------------------------------------------------------------- blocks
def rope_frequencies(c):
    """Radians by which each pair of channels of a head turns per position (hs / 2,).

    Llama 3.1 was trained on short texts first. For long ones its rope_scaling (factor, low, high,
    positions) divides by the factor the frequencies that turn less than `low` times in the short
    texts' positions, keeps those that turn more than `high` times, and interpolates in between.
    """
    frequencies = c.rope_base ** (-torch.arange(0, c.head_size, 2) / c.head_size)
    if not c.rope_scaling:
        return frequencies
    factor, low, high, positions = c.rope_scaling
    turns = positions * frequencies / (2 * torch.pi)
    kept = ((turns - low) / (high - low)).clamp(0, 1)
    return frequencies * (kept + (1 - kept) / factor)


def rotate(x, cos, sin):
    """Rotary position embedding (RoFormer) of x (B, nh, T, hs); cos, sin (B or 1, 1, T, hs / 2)."""
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)


class ShortConv(nn.Module):
    """Adds to each token a weighted sum of the few tokens before it, channel by channel.

    This is the Canon layer (Allen-Zhu 2025). Attention need not fetch what stands next to a token,
    and the student learns in fewer steps to copy names.
    """

    def __init__(self, c):
        super().__init__()
        # Row i weighs the token i + 1 positions to the left.
        weight = torch.zeros(c.conv_width - 1, c.n_embd)
        self.weight = nn.Parameter(weight, requires_grad=c.conv_width > 1)

    def forward(self, x, previous):
        """x (B, T, C); previous (B, conv_width - 1, C): the inputs before it.

        Returns the sum (B, T, C), and both inputs joined.
        """
        T, reach = x.size(1), previous.size(1)
        joined = torch.cat((previous, x), dim=1)  # (B, conv_width - 1 + T, C)
        shifted = [joined[:, reach - 1 - i : reach - 1 - i + T] for i in range(reach)]
        return x + sum(w * s for w, s in zip(self.weight, shifted, strict=True)), joined


@dataclass
class CacheWrite:
    """Where an Attention stores new keys and values, and what it may read."""

    layer: LayerCache
    rows: torch.Tensor  # (B, 1) rows of the cache
    positions: torch.Tensor  # (B or 1, T) positions of the new tokens
    mask: torch.Tensor | None = None  # (B, 1, 1, L) which slots to read; None: the new ones, causal


class Attention(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.n_head, self.n_kv_head = c.n_head, c.n_kv_head
        self.head_size = c.head_size
        n_all = c.n_head + 2 * c.n_kv_head
        self.qkv = nn.Linear(c.n_embd, n_all * self.head_size, bias=c.qkv_bias)
        self.proj = nn.Linear(c.n_head * self.head_size, c.n_embd, bias=False)
        self.q_norm = nn.RMSNorm(self.head_size, eps=c.norm_eps) if c.qk_norm else nn.Identity()
        self.k_norm = nn.RMSNorm(self.head_size, eps=c.norm_eps) if c.qk_norm else nn.Identity()

    def forward(self, x, cos, sin, write=None):
        """x (B, T, C). write: a CacheWrite, or None to attend within x alone."""
        B, T, _ = x.shape
        qkv = self.qkv(x).view(B, T, -1, self.head_size).transpose(1, 2)  # (B, nh + 2 nkv, T, hs)
        q, k, v = qkv.split((self.n_head, self.n_kv_head, self.n_kv_head), dim=1)
        q = rotate(self.q_norm(q), cos, sin)
        k = rotate(self.k_norm(k), cos, sin)
        mask = None
        if write is not None:
            cache, mask = write.layer, write.mask
            cache.k[write.rows, :, write.positions] = k.transpose(1, 2)  # (B, T, nkv, hs)
            cache.v[write.rows, :, write.positions] = v.transpose(1, 2)
            if mask is not None:
                L = mask.size(-1)
                k, v = cache.k[:, :, :L], cache.v[:, :, :L]  # (B, nkv, L, hs)
        y = F.scaled_dot_product_attention(
            q, k, v, mask, is_causal=mask is None, enable_gqa=self.n_head != self.n_kv_head
        )
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
        self.attn_norm = nn.RMSNorm(c.n_embd, eps=c.norm_eps)
        self.conv = ShortConv(c)
        self.attn = Attention(c)
        self.mlp_norm = nn.RMSNorm(c.n_embd, eps=c.norm_eps)
        self.mlp = SwiGLU(c)

    def forward(self, x, previous, cos, sin, write=None):
        """x (B, T, C) and the convolution's inputs before it. Returns x, and all these inputs."""
        h, joined = self.conv(self.attn_norm(x), previous)
        x = x + self.attn(h, cos, sin, write)
        x = x + self.mlp(self.mlp_norm(x))
        return x, joined


# ------------------------------------------------------------------------------------ the student
def summed_loss(head, hidden, targets, squared=False):
    """Loss of head(hidden), summed over the targets that are not -1.

    hidden (B, T, C), targets (B, T). Cross-entropy, or the squared distance to the one-hot target.
    """
    if targets.numel() * head.out_features > LOGITS_AT_ONCE:
        from data.tools.chunked_loss import loss_in_chunks  # loads torch's compiler: a second

        return loss_in_chunks(summed_loss, head, hidden, targets, squared)
    if not hidden.is_cuda:  # drop unsupervised positions; compiled code wants fixed shapes instead
        is_target = targets >= 0
        hidden, targets = hidden[is_target], targets[is_target]  # (N, C), (N,)
    logits = head(hidden).float()
    if squared:
        one_hot = F.one_hot(targets.clamp(min=0), logits.size(-1))
        distance = (logits - one_hot).square().sum(-1)
        return (distance * (targets >= 0)).sum()
    flat = logits.flatten(0, -2)
    return F.cross_entropy(flat, targets.flatten(), ignore_index=-1, reduction="sum")


class GPT(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config = c = config
        self.recompute = False  # training: keep no block's inner states, make them anew
        self.embed = nn.Embedding(c.vocab_size + c.padding, c.n_embd)
        self.blocks = nn.ModuleList(Block(c) for _ in range(c.n_layer))
        self.norm = nn.RMSNorm(c.n_embd, eps=c.norm_eps)
        self.lm_head = nn.Linear(c.n_embd, c.vocab_size + c.padding, bias=False)
        if c.tied:
            self.lm_head.weight = self.embed.weight
        # NO_SIGNAL has a row too, which stays zero.
        self.signal_embedding = nn.Embedding(NO_SIGNAL + 1, c.n_embd, padding_idx=NO_SIGNAL)
        self.signal_head = nn.Linear(c.n_embd, c.n_signals)
        self.apply(self.init_weights)
        nn.init.zeros_(self.signal_embedding.weight)
        for block in self.blocks:  # every block starts as the identity
            nn.init.zeros_(block.attn.proj.weight)
            nn.init.zeros_(block.mlp.down.weight)
        positions = torch.arange(-(-c.block_size // 64) * 64)  # as many as `collate` may pad to
        angle = positions[:, None] * rope_frequencies(c)  # (block_size, hs / 2)
        self.register_buffer("cos", angle.cos(), persistent=False)
        self.register_buffer("sin", angle.sin(), persistent=False)

    def init_weights(self, module):
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=module.in_features**-0.5)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=self.config.n_embd**-0.5)

    # ---- where the signal goes in
    def input_signals(self, idx, signals):
        """Signals of the input tokens (B, T), from the signals of their targets (B, T).

        A token has the signal of the step that it is part of; a <|step|> has that of the step
        which it opens.
        """
        shifted = F.pad(signals[:, :-1], (1, 0), value=NO_SIGNAL)
        return torch.where(idx == self.config.step_id, signals, shifted)

    def embed_tokens(self, idx, input_signals=None):
        """Embeddings (B, T, C) of idx (B, T), plus those of signals with "input" and "token"."""
        x = self.embed(idx)
        conditioning = self.config.conditioning
        if input_signals is not None and conditioning in ("input", "token"):
            is_boundary = idx == self.config.step_id
            untold = is_boundary if conditioning == "input" else ~is_boundary
            x = x + self.signal_embedding(input_signals.masked_fill(untold, NO_SIGNAL))
        return x * self.config.embed_scale

    def condition(self, hidden, signals):
        """Add the embedding of each target's signal to the last hidden states (..., C)."""
        if signals is None or self.config.conditioning not in ("embed", "input"):
            return hidden
        return hidden + self.signal_embedding(signals)

    def signal_states(self, hidden):
        """The states (B, T, C) from which the head predicts the signal of each target.

        With conditioning "token" the boundary's own state knows the signal already: take the one
        before it.
        """
        if self.config.conditioning != "token":
            return hidden
        return torch.cat((hidden[:, :1], hidden[:, :-1]), dim=1)

    # ---- hidden states
    def hidden(self, idx, input_signals=None):
        """Last hidden states (B, T, C) of idx (B, T); input_signals: see `input_signals`."""
        T = idx.size(1)
        x = self.embed_tokens(idx, input_signals)
        nothing = x.new_zeros(x.size(0), self.config.conv_width - 1, x.size(-1))
        for block in self.blocks:
            forward = partial(checkpoint, block, use_reentrant=False) if self.recompute else block
            x, _ = forward(x, nothing, self.cos[:T], self.sin[:T])
        return self.norm(x)

    def prefill(self, idx, lengths, cache, rows):
        """Read prompts idx (B, T), right-padded, of these lengths (B,) into rows (B,) of the cache.

        These rows begin anew. Returns the last hidden states (B, T, C).
        """
        B, T = idx.shape
        reach = self.config.conv_width - 1
        x = self.embed_tokens(idx)
        nothing = x.new_zeros(B, reach, x.size(-1))
        cache.reserve(T)
        cache.lengths[rows] = lengths
        batch = torch.arange(B, device=idx.device)[:, None]  # (B, 1)
        # In the joined inputs a token stands `reach` places further right than in idx.
        newest = lengths[:, None] + torch.arange(reach, device=idx.device)
        positions = torch.arange(T, device=idx.device)
        for block, layer in zip(self.blocks, cache.layers, strict=True):
            write = CacheWrite(layer, rows[:, None], positions)
            x, joined = block(x, nothing, self.cos[:T], self.sin[:T], write)
            layer.recent[rows] = joined[batch, newest]
        return self.norm(x)

    def next_hidden(self, token, cache, input_signal=None):
        """Last hidden states (B, C) of one more token (B,) in each row of the cache.

        input_signal (B,): the token's signal, see `input_signals`.
        """
        signal = None if input_signal is None else input_signal[:, None]
        x = self.embed_tokens(token[:, None], signal)  # (B, 1, C)
        positions = cache.lengths[:, None]  # (B, 1)
        L = cache.layers[0].k.size(2) if cache.is_static else int(positions.max()) + 1
        cache.reserve(L)
        rows = torch.arange(len(token), device=token.device)[:, None]  # (B, 1)
        is_later = torch.arange(L, device=token.device) > positions  # (B, L)
        mask = x.new_zeros(is_later.shape).masked_fill(is_later, -torch.inf)[:, None, None]
        cos = self.cos[positions].unsqueeze(1)  # (B, 1, 1, hs / 2)
        sin = self.sin[positions].unsqueeze(1)
        for block, layer in zip(self.blocks, cache.layers, strict=True):
            write = CacheWrite(layer, rows, positions, mask)
            x, joined = block(x, layer.recent, cos, sin, write)
            layer.recent.copy_(joined[:, 1:])
        cache.lengths += 1
        return self.norm(x)[:, 0]

    # ---- both branches
    def token_logits(self, hidden, signals=None):
        """Next-token logits (..., V) of hidden (..., C), given the signals (...) of the targets."""
        return self.lm_head(self.condition(hidden, signals))[..., : self.config.vocab_size]

    def signal_probs(self, states):
        """P(next signal) (..., n_signals) of the states (..., C) it is predicted from."""
        signal_logits = self.signal_head(states).float()
        if self.config.signal_loss == "ce":
            return signal_logits.softmax(-1)
        return F.normalize(signal_logits.clamp(min=1e-6), p=1, dim=-1)

    def forward(self, idx, signals, targets, signal_targets):
        """Summed losses (L_token, L_signal) of a batch. All inputs (B, T); a target of -1 is none.

        signals None: the clone, behavioural cloning without any signal. These are sums so that the
        caller can divide by the supervised positions of the whole global batch: gradient
        accumulation then equals one large batch, and a batch without a target costs 0, not NaN.
        """
        if signals is None:
            hidden = self.hidden(idx)
            return summed_loss(self.lm_head, hidden, targets), hidden.new_zeros(())
        hidden = self.hidden(idx, self.input_signals(idx, signals))
        token_loss = summed_loss(self.lm_head, self.condition(hidden, signals), targets)
        squared = self.config.signal_loss == "mse"
        states = self.signal_states(hidden)
        signal_loss = summed_loss(self.signal_head, states, signal_targets, squared)
        return token_loss, signal_loss

    # ---- published models
    @classmethod
    def from_pretrained(cls, path, tokenizer=None, **others):
        """The published model (Qwen2, Qwen3, Llama) in a folder, or of this name on the Hub.

        With a Tokenizer the model has a row for each of its tokens. others: fields of GPTConfig.
        Until it is trained its token logits are the published ones, but for <|step|> and <|end|>.
        Raises UserError for what is not there, damaged, or of an architecture not known here.
        """
        folder = pretrained_folder(path)
        settings = read_config(folder)
        n_rows, new_rows = settings["vocab_size"], []
        if tokenizer:
            settings["vocab_size"] = max(n_rows, tokenizer.vocab_size)
            settings |= {"step_id": tokenizer.step_id, "end_id": tokenizer.end_id}
            new_rows = [tokenizer.step_id, tokenizer.end_id]
        model = cls(GPTConfig(**settings | others))
        fill_weights(model, folder, n_rows, new_rows)
        return model

    def save_pretrained(self, folder):
        """Write the backbone for `transformers`, and the two branches as signals.safetensors.

        Raises UserError where no published architecture computes the same.
        """
        save_weights(self, folder)
