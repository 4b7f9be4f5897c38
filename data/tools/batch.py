"""What the student writes, and a batch while it is decoded: rows come in and leave."""

from dataclasses import dataclass, field
from functools import lru_cache

import torch
from torch.nn.utils.rnn import pad_sequence

from data.benchmarks.answers import extract
from data.tools.flags import UserError
from data.tools.kv_cache import KVCache
from scaffold import CONCLUSION, NO_SIGNAL, Step, stands_for


@dataclass
class Reasoning:
    """What the student wrote for one question."""

    steps: list = field(default_factory=list)  # of Step; a clone's signal is NO_SIGNAL
    probs: list = field(default_factory=list)  # P(signal) before each step; empty for a clone
    tokens: int = 0  # written, terminators included
    logp: float = 0.0  # log-probability of all these tokens
    finished: bool = False  # it wrote <|end|>
    gated: bool = False  # the gate forced its last step

    @property
    def answer(self):
        """The final answer (str), or None."""
        return extract(self.steps[-1].text) if self.finished else None

    @property
    def confidence(self):
        """P(its signal) for each step; 1 for a clone."""
        pairs = zip(self.steps, self.probs, strict=True)
        return [probs[step.signal] if probs else 1.0 for step, probs in pairs]

    def extend(self, part):
        """Append the Reasoning of a later stage."""
        self.steps += part.steps
        self.probs += part.probs
        self.tokens += part.tokens
        self.logp += part.logp
        self.finished = part.finished
        self.gated = part.gated


@dataclass
class Rows:
    """The rows of a decoding batch. A row is free, or it answers one prompt."""

    prompt: torch.Tensor  # (B,) number of the prompt; -1: the row is free
    token: torch.Tensor  # (B,) its newest token, which the model has not read yet
    signal: torch.Tensor  # (B,) signal of its step
    n_steps: torch.Tensor  # (B,) steps that it has begun
    n_written: torch.Tensor  # (B,) tokens that it has written of its step
    gated: torch.Tensor  # (B,) the gate forced this step: it is the last one
    probs: torch.Tensor  # (B, K) P(signal) before its step
    hidden: torch.Tensor  # (B, C) its last hidden state

    def keep(self, mask):
        """Drop all other rows."""
        for name, tensor in vars(self).items():
            setattr(self, name, tensor[mask])


@lru_cache(maxsize=1)
def graphed_step(model, batch_size):
    """(`next_hidden` as a CUDA graph, its static cache). Kept: compiling takes long."""
    like = model.lm_head.weight
    cache = KVCache(model.config, batch_size, like, static_length=model.config.block_size)
    return torch.compile(model.next_hidden, mode="reduce-overhead", fullgraph=True), cache


class Batch:
    """Rows and their cache, waiting prompts, and what is written."""

    def __init__(self, model, tokenizer, prompts, decoding):
        """prompts: lists of ids without their last <|step|>. decoding: see sample.py.

        Raises UserError for a prompt that leaves no room.
        """
        self.model, self.tokenizer = model, tokenizer
        self.prompts, self.decoding = prompts, decoding
        like, block_size = model.lm_head.weight, model.config.block_size
        longest = max(map(len, prompts))
        if longest >= block_size - 1:
            raise UserError(f"the question has {longest} of {block_size} tokens; shorten it")
        B = decoding.graph_rows or len(prompts)
        if decoding.graph_rows:
            self.next_hidden, self.cache = graphed_step(model, B)
        else:
            self.next_hidden, self.cache = model.next_hidden, KVCache(model.config, B, like)
        zeros = torch.zeros(B, dtype=torch.long, device=like.device)
        self.rows = Rows(
            prompt=zeros - 1,
            token=zeros,
            signal=zeros,
            n_steps=zeros,
            n_written=zeros,
            gated=zeros > 0,
            probs=like.new_zeros(B, model.config.n_signals),
            hidden=like.new_zeros(B, model.config.n_embd),
        )
        limits = [min(len(p) + decoding.max_tokens, block_size) for p in prompts]
        self.limits = torch.tensor(limits, device=like.device)  # (N,) longest text of each prompt
        self.waiting = list(range(len(prompts)))[::-1]
        self.written = []  # position by position, see `collect`

    def refill(self):
        """Let waiting prompts in and finished rows out. Returns False once all are done."""
        free = (self.rows.prompt < 0).nonzero()[:, 0]
        B = len(self.rows.prompt)
        many_free = 4 * len(free) >= B  # each time costs a prefill, or a copy of the whole cache
        if self.waiting and many_free:
            self.admit(free)
        elif len(free) == B:
            return False
        elif many_free and not self.decoding.graph_rows:  # a graph's rows must stay as many
            busy = self.rows.prompt >= 0
            self.rows.keep(busy)
            self.cache.keep(busy)
        return True

    def admit(self, free):
        """Read the next prompts into free rows (their numbers)."""
        numbers = [self.waiting.pop() for _ in range(min(len(free), len(self.waiting)))]
        n = len(numbers)
        free = free[:n]
        device = free.device
        prompts = [torch.tensor(self.prompts[i], device=device) for i in numbers]
        lengths = torch.tensor([len(p) for p in prompts], device=device)
        idx = pad_sequence(prompts, batch_first=True)  # (n, T)
        hidden = self.model.prefill(idx, lengths, self.cache, free)  # (n, T, C)
        rows = self.rows
        rows.hidden[free] = hidden[torch.arange(n, device=device), lengths - 1]
        # New tensors, not changed in place: what is written refers to the old ones.
        rows.prompt = rows.prompt.index_copy(0, free, torch.tensor(numbers, device=device))
        rows.token = rows.token.index_fill(0, free, self.tokenizer.step_id)
        rows.signal = rows.signal.index_fill(0, free, NO_SIGNAL)
        rows.n_steps = rows.n_steps.index_fill(0, free, 0)

    def at_boundary(self):
        """(B,) True where a row's newest token is <|step|>: now it needs a signal."""
        return self.rows.token == self.tokenizer.step_id

    def read_token(self):
        """The model reads the newest token of every row."""
        self.rows.hidden = self.next_hidden(self.rows.token, self.cache, self.rows.signal)

    def write_token(self, token, logp):
        """Every row gets its next token (B,) with its log-probability (B,)."""
        rows = self.rows
        rows.token = token
        self.written.append((rows.prompt, token, rows.signal, logp, rows.probs, rows.gated))

    def retire(self):
        """Free the rows that have answered, have no room left, or, to prune, have concluded."""
        rows = self.rows
        over = rows.token == self.tokenizer.end_id
        over |= self.cache.lengths >= self.limits[rows.prompt]
        if self.decoding.prune:
            over |= self.at_boundary() & stands_for(rows.signal, CONCLUSION)
        rows.prompt = torch.where(over, -1, rows.prompt)
        self.cache.lengths *= rows.prompt >= 0  # a free row stays where it is


def collect(written, n, tokenizer):
    """The n Reasonings in what `Batch` wrote position by position."""
    reasonings = [Reasoning() for _ in range(n)]
    step_ids = [[] for _ in range(n)]  # tokens of each step of each prompt
    columns = [torch.cat(column).tolist() for column in zip(*written, strict=True)]
    for prompt, token, signal, logp, probs, gated in zip(*columns, strict=True):
        if prompt < 0:
            continue
        r, ids = reasonings[prompt], step_ids[prompt]
        if not ids or ids[-1][-1] == tokenizer.step_id:
            ids.append([])
            r.steps.append(Step(signal, ""))
            r.probs.append([] if signal == NO_SIGNAL else probs)
        ids[-1].append(token)
        r.tokens += 1
        r.logp += logp
        r.finished = token == tokenizer.end_id
        r.gated = gated
    for r, ids in zip(reasonings, step_ids, strict=True):
        for step, tokens in zip(r.steps, ids, strict=True):
            step.text = tokenizer.decode(tokens)
    return reasonings
