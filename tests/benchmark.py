"""Speed as ratios of two things timed in turn: python tests/benchmark.py [--device cuda].

No test, no network. What it compares, each the median over pairs (A, B, B, A, ...):
    train_scaffold_vs_clone       seconds of a training step: what the second branch costs
    train_vs_gpt2_block           tokens/s: the default student and its optimizers, against a plain
                                  GPT-2 block of the same depth and width with AdamW
    time_to_loss_vs_gpt2_adamw    seconds until GPT-2's last validation loss: GPT-2 / ours, both
                                  with the same learning rate schedule
    train_vs_transformers         tokens/s: the default student against Qwen3ForCausalLM of the same
                                  shape, both with AdamW
    train_vs_transformers_random  the same where its batches are drawn at random, its Trainer's
                                  default, ours alike in length; padding is no token
    decode_scaffold_vs_clone      seconds of decoding
    decode_vs_transformers        tokens/s of 64 answers (CUDA: 256) against its generate() with a
                                  cache, same weights, same text
    decode_full_vs_transformers   the same where no answer ends before its 150th token
    decode_vs_uncached            tokens/s against reading everything anew for every token
    seconds_start                 seconds from the command `python sample.py "..."` to its answer
    busy_training_1, _2           CPU: ten training steps beside one or two busy cores / alone
    busy_evaluation_1, _2         the same for the answers to 256 questions
    share_training                CPU: a training step's arithmetic, without the optimizer's, as a
                                  share of what the cores' matrix products allow in its time
    share_decoding                CPU: what matrix products and memory allow for decoding 64 answers
                                  on each worker, as a share of the time that it takes
    share_decoding_full           the same where no answer ends before its 150th token
    mfu                           CUDA: model FLOPs utilisation of training at GPT-2's 124M shape
    bandwidth_1, bandwidth_256    CUDA: decoding at that shape in bf16, as a share of what reading
                                  weights, keys and values allows
With --accuracy_runs the figures of tests/time_to_accuracy.py follow.
"""

import statistics
import subprocess
import sys
import time
from contextlib import contextmanager, nullcontext
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
from annotate import annotate  # noqa: E402
from data.algorithmic import prepare  # noqa: E402
from data.tools import parallel, workers  # noqa: E402
from data.tools.checkpoint import Student, save_checkpoint  # noqa: E402
from data.tools.flags import flag, parse_flags  # noqa: E402
from data.tools.machine import flops_utilisation, gpu_peaks, pick_device  # noqa: E402
from data.tools.optimizers import make_optimizers, set_learning_rates  # noqa: E402
from data.tools.traces import to_trace  # noqa: E402
from model import GPT, gpt_config  # noqa: E402
from sample import Decoding, decode, reason  # noqa: E402
from scaffold import Example, Tokenizer, batches, collate, encode_all  # noqa: E402
from train import (  # noqa: E402
    TrainConfig,
    backward,
    lr_multiplier,
    validate,
)

try:
    import transformers
except ImportError:
    transformers = None

GAP = " " * 28


@dataclass
class BenchmarkConfig:
    device: str = flag("auto", "where to compute", choices=("auto", "cuda", "mps", "cpu"))
    pairs: int = flag(9, "pairs timed", low=1)
    runs: int = flag(5, "seeds of time_to_loss")
    steps: int = flag(600, "GPT-2's steps for time_to_loss; ours has a third of them", low=3)
    train: int = flag(300, "training steps of the student that decodes", low=1)
    gpt2_lr: float = flag(
        1e-3,
        "AdamW's peak rate for GPT-2: after 500 steps the best of 0.0005, 0.001, 0.002, 0.003, "
        "0.006 and 0.01",
    )
    accuracy_runs: int = flag(
        0, "seeds of tests/time_to_accuracy.py, run at the end; five take hours"
    )


def paired(a, b, pairs):
    """(median seconds of a, of b, median of a / b) over pairs run in turn.

    The first pair warms up; the order alternates.
    """
    times = []
    for i in range(pairs + 1):
        seconds = {}
        for f in (a, b) if i % 2 else (b, a):
            start = time.perf_counter()
            f(i)
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            seconds[f] = time.perf_counter() - start
        times.append((seconds[a], seconds[b], seconds[a] / seconds[b]))
    return [statistics.median(column) for column in zip(*times[1:], strict=True)]


def do_nothing(i):
    """The other half of a pair where only one thing is timed."""


# ------------------------------------------------------------------------------------------ peers
class GPT2Block(nn.Module):
    def __init__(self, C, n_head):
        super().__init__()
        self.n_head = n_head
        self.ln_1, self.ln_2 = nn.LayerNorm(C), nn.LayerNorm(C)
        self.attn, self.proj = nn.Linear(C, 3 * C), nn.Linear(C, C)
        self.up, self.down = nn.Linear(C, 4 * C), nn.Linear(4 * C, C)

    def forward(self, x):
        B, T, C = x.shape
        qkv = self.attn(self.ln_1(x)).view(B, T, 3, self.n_head, C // self.n_head)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # (B, nh, T, hs) each
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.proj(y.transpose(1, 2).reshape(B, T, C))
        return x + self.down(F.gelu(self.up(self.ln_2(x)), approximate="tanh"))


def token_loss(logits, targets):
    """Summed cross-entropy of logits (B, T, V), in the form that `backward` expects."""
    flat = logits.flatten(0, 1).float()
    loss = F.cross_entropy(flat, targets.flatten(), ignore_index=-1, reduction="sum")
    return loss, logits.new_zeros(())


class GPT2(nn.Module):
    """GPT-2 (Radford et al. 2019): learned positions, LayerNorm, GELU, tied head, its weights."""

    def __init__(self, c):
        super().__init__()
        self.wte = nn.Embedding(c.vocab_size, c.n_embd)
        self.wpe = nn.Embedding(c.block_size, c.n_embd)
        self.blocks = nn.ModuleList(GPT2Block(c.n_embd, c.n_head) for _ in range(c.n_layer))
        self.ln = nn.LayerNorm(c.n_embd)
        for name, p in self.named_parameters():
            if p.dim() == 2:
                ends_branch = name.endswith(("proj.weight", "down.weight"))
                nn.init.normal_(p, std=0.02 / (2 * c.n_layer) ** 0.5 if ends_branch else 0.02)

    def logits(self, idx):
        """(B, T, V) of idx (B, T)."""
        x = self.wte(idx) + self.wpe.weight[: idx.size(1)]
        for block in self.blocks:
            x = block(x)
        return F.linear(self.ln(x), self.wte.weight)

    def forward(self, idx, signals, targets, signal_targets):
        return token_loss(self.logits(idx), targets)


def gpt2_adamw(model, lr):
    betas = (0.9, 0.95)
    return torch.optim.AdamW(model.parameters(), lr, betas, weight_decay=0.0, fused=True)


def qwen3(c):
    """The same block in transformers, without the short convolution, which it does not have."""
    config = transformers.Qwen3Config(
        vocab_size=c.vocab_size,
        hidden_size=c.n_embd,
        intermediate_size=c.n_hidden,
        num_hidden_layers=c.n_layer,
        num_attention_heads=c.n_head,
        num_key_value_heads=c.n_kv_head,
        head_dim=c.n_embd // c.n_head,
        max_position_embeddings=c.block_size,
        rms_norm_eps=1e-6,
        tie_word_embeddings=True,
        rope_parameters={"rope_type": "default", "rope_theta": c.rope_base},
        attn_implementation="sdpa",
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=c.vocab_size - 1,
    )
    return transformers.Qwen3ForCausalLM(config)


class Peer(nn.Module):
    """transformers' model behind the signature of ours."""

    def __init__(self, c):
        super().__init__()
        self.model = qwen3(c)

    def forward(self, idx, signals, targets, signal_targets):
        return token_loss(self.model(input_ids=idx, use_cache=False).logits, targets)


def copy_weights(model, peer):
    """Ours (conv_width 1, embed_scale 1) into transformers' model."""
    c, weights = model.config, model.state_dict()
    hs = c.n_embd // c.n_head
    embedding = weights["embed.weight"]
    copied = {
        "model.embed_tokens.weight": embedding,
        "lm_head.weight": embedding,
        "model.norm.weight": weights["norm.weight"],
    }
    same_shape = {
        "attn.proj": "self_attn.o_proj",
        "attn.q_norm": "self_attn.q_norm",
        "attn.k_norm": "self_attn.k_norm",
        "mlp.down": "mlp.down_proj",
        "attn_norm": "input_layernorm",
        "mlp_norm": "post_attention_layernorm",
    }
    for i in range(c.n_layer):
        ours, theirs = f"blocks.{i}.", f"model.layers.{i}."
        for a, b in same_shape.items():
            copied[f"{theirs}{b}.weight"] = weights[f"{ours}{a}.weight"]
        sizes = (c.n_head * hs, c.n_kv_head * hs, c.n_kv_head * hs)
        qkv = weights[f"{ours}attn.qkv.weight"].split(sizes)
        for name, part in zip("qkv", qkv, strict=True):
            copied[f"{theirs}self_attn.{name}_proj.weight"] = part
        gate, up = weights[f"{ours}mlp.gate_up.weight"].chunk(2)
        copied[f"{theirs}mlp.gate_proj.weight"] = gate
        copied[f"{theirs}mlp.up_proj.weight"] = up
    peer.load_state_dict(copied)


def generate(peer, tokenizer, questions, max_tokens, end_id):
    """Ids (a list each) that transformers' model writes on questions, greedily, with a cache.

    end_id: what ends an answer; after it comes padding. None: nothing does.
    """
    prompts = [tokenizer.encode_question(q) + [tokenizer.step_id] for q in questions]
    longest = max(map(len, prompts))
    padded = [[tokenizer.end_id] * (longest - len(p)) + p for p in prompts]
    masks = [[0] * (longest - len(p)) + [1] * len(p) for p in prompts]
    ids = peer.generate(
        input_ids=torch.tensor(padded, device=peer.device),
        attention_mask=torch.tensor(masks, device=peer.device),
        max_new_tokens=max_tokens,
        do_sample=False,
        use_cache=True,
        eos_token_id=end_id,
        pad_token_id=tokenizer.end_id,
    )
    return ids[:, longest:].tolist()


# -------------------------------------------------------------------------------------- measuring
class Training:
    """A model with its optimizers; run(i) does the i-th ten steps, so that two do the same work."""

    def __init__(self, model, optimizers, batched, tokenizer, device, method="scaffold"):
        self.model, self.optimizers = model.to(device), optimizers
        self.batched, self.tokenizer, self.device = batched, tokenizer, device
        self.config = TrainConfig(method=method)
        self.is_cuda = device.type == "cuda"
        compiled = torch.compile(self.model, dynamic=True) if self.is_cuda else self.model
        self.forward = parallel.wrap(compiled, has_unused_weights=False)

    def step(self, batch):
        precision = torch.autocast("cuda", torch.bfloat16) if self.is_cuda else nullcontext()
        micro_batches = [collate(part, self.tokenizer) for part in workers.split(batch)]
        backward(self.forward, micro_batches, self.config, self.device, precision)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    def run(self, i):
        for batch in self.batched[10 * i % 200 :][:10]:
            self.step(batch)

    def validate(self, examples):
        return validate(self.model, examples, self.tokenizer, self.config, self.device)[0]

    def until(self, n_steps, val_examples, goal=None, every=20):
        """Train n_steps under the schedule, or until the validation loss is at the goal.

        Returns (seconds without validation, last validation loss); None seconds: goal missed.
        """
        seconds = 0.0
        for step in range(n_steps):
            if goal and step and step % every == 0:
                loss = self.validate(val_examples)
                if loss <= goal:
                    return seconds, loss
            start = time.perf_counter()
            set_learning_rates(self.optimizers, lr_multiplier(step / n_steps, self.config))
            self.step(self.batched[step % len(self.batched)])
            if self.is_cuda:
                torch.cuda.synchronize()
            seconds += time.perf_counter() - start
        loss = self.validate(val_examples)
        return (seconds, loss) if not goal or loss <= goal else (None, loss)


class Benchmark:
    """The data, the device, and the ratios found so far."""

    def __init__(self, config):
        self.config = config
        self.device, self.why = pick_device(config.device)
        self.is_cuda = self.device.type == "cuda"
        self.ratios = {}
        # Three families, as when the figures of tests/README.md were measured; shares differ now.
        tasks = ["web_of_lies", "boolean_expressions", "object_counting"]
        train_rows = [row for row, _ in prepare.rows(tasks, "train", 8000)]
        val_rows = [row for row, _ in prepare.rows(tasks, "val", 256)]
        traces = [to_trace(row) for row in annotate(train_rows)[0]]
        self.val_traces = [to_trace(row) for row in annotate(val_rows)[0]]
        texts = [" ".join([t.question, *(step.text for step in t.steps)]) for t in traces]
        self.tokenizer = Tokenizer.train(texts, 2048)
        self.examples, _ = encode_all(traces, self.tokenizer, 1024)
        self.val_examples, _ = encode_all(self.val_traces[:250], self.tokenizer, 1024)
        self.batched = list(batches(self.examples, 8, np.random.default_rng(0)))
        self.gpt = gpt_config(4, self.tokenizer.vocab_size, 1024)
        lengths = [len(e.signals) for batch in self.batched[:200] for e in batch]
        self.tokens = statistics.mean(lengths) * 80  # in ten steps
        self.student = self.student_to_decode()

    def compare(self, name, what, a, b, count=0, pairs=0):
        """Time a(i) against b(i). With a count of what they do the ratio is that of speeds."""
        seconds, other, ratio = paired(a, b, pairs or self.config.pairs)
        if count:
            ratio = 1 / ratio
            figures = f"{count / seconds:9,.0f}/s  {count / other:9,.0f}/s"
        else:
            figures = f"{1000 * seconds:9.0f} ms {1000 * other:9.0f} ms"
        self.ratios[name] = ratio
        print(f"{name:30}{what:60}{figures}{ratio:9.3f}", flush=True)

    def ours(self, method="scaffold", seed=0, adamw=False):
        torch.manual_seed(seed)
        model = GPT(self.gpt).to(self.device)
        if adamw:
            optimizers = [torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)]
        else:
            optimizers = make_optimizers(model, 0.01, 0.003, fused=self.is_cuda)
        return Training(model, optimizers, self.batched, self.tokenizer, self.device, method)

    def gpt2(self, seed=0):
        torch.manual_seed(seed)
        model = GPT2(self.gpt).to(self.device)
        adamw = gpt2_adamw(model, self.config.gpt2_lr)
        return Training(model, [adamw], self.batched, self.tokenizer, self.device, "clone")

    def peer(self, batched):
        torch.manual_seed(0)
        model = Peer(self.gpt).to(self.device)
        adamw = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
        return Training(model, [adamw], batched, self.tokenizer, self.device, "clone")

    def measure_training(self):
        what = "training tokens"
        clone = self.ours("clone")
        self.compare("train_scaffold_vs_clone", "ten training steps", self.ours().run, clone.run)
        self.compare("train_vs_gpt2_block", what, self.ours().run, self.gpt2().run, self.tokens)
        if not transformers:
            return
        order = np.random.default_rng(0).permutation(len(self.examples))
        at_random = [[self.examples[j] for j in order[i : i + 8]] for i in range(0, 1600, 8)]
        alike, random = self.peer(self.batched), self.peer(at_random)
        for name, peer in (("", alike), ("_random", random)):
            ours = self.ours("clone", adamw=True)
            self.compare(f"train_vs_transformers{name}", what, ours.run, peer.run, self.tokens)

    def measure_time_to_loss(self):
        times = []
        for seed in range(self.config.runs):
            slow, goal = self.gpt2(seed).until(self.config.steps, self.val_examples)
            ours = self.ours(seed=seed)
            fast, loss = ours.until(self.config.steps // 3, self.val_examples, goal)
            reached = f"we after {fast:.0f} s" if fast else f"we never ({loss:.3f})"
            print(f"{GAP}seed {seed}: GPT-2 has {goal:.3f} after {slow:.0f} s, {reached}")
            times.append(slow / fast if fast else 0.0)
        if times:
            self.ratios["time_to_loss_vs_gpt2_adamw"] = statistics.median(times)

    def student_to_decode(self):
        """A clone without short convolution, which transformers lacks, but with a signal head.

        Its signal embeddings stay zero, so that decoding it as scaffold, as clone and by
        transformers writes the very same tokens.
        """
        torch.manual_seed(0)
        config = gpt_config(4, self.tokenizer.vocab_size, 1024, conv_width=1)
        config.embed_scale = 1.0
        model = GPT(config).to(self.device)
        optimizers = make_optimizers(model, 0.01, 0.003, fused=self.is_cuda)
        training = Training(
            model, optimizers, self.batched, self.tokenizer, self.device, method="clone"
        )
        training.until(self.config.train, self.val_examples)
        return model.eval()

    def measure_decoding(self):
        model, tokenizer = self.student, self.tokenizer
        questions = [t.question for t in self.val_traces[: 256 if self.is_cuda else 64]]
        n, graph_rows = len(questions), len(questions) if self.is_cuda else 0

        def answer(method, max_tokens=300):
            options = {"max_tokens": max_tokens, "graph_rows": graph_rows}
            return lambda i: reason(model, tokenizer, questions, method, **options)

        scaffold, clone = answer("scaffold"), answer("clone")
        reasonings = clone(0)
        written = [r.tokens for r in reasonings]
        assert [r.tokens for r in scaffold(0)] == written
        name = "decode_scaffold_vs_clone"
        self.compare(name, "seconds, the same answers", scaffold, clone)
        if transformers:
            generate = self.peer_decoder(model, questions)
            texts = generate(300, tokenizer.end_id)
            same = 0
            for text, r in zip(texts(0), reasonings, strict=True):
                ours = tokenizer.decode([t for s in r.steps for t in tokenizer.encode(s.text)])
                same += text.split() == ours.split()
            print(f"{GAP}{same} of {n} texts are the same as those of transformers")
            what = f"tokens, {n} answers of {min(written)} to {max(written)}"
            self.compare("decode_vs_transformers", what, scaffold, texts, sum(written))
            model = self.endless_student()  # `answer` takes it, too
            full = self.peer_decoder(model, questions)(150, None)
            what = f"tokens, {n} answers of 150"
            name = "decode_full_vs_transformers"
            self.compare(name, what, answer("scaffold", 150), full, n * 150)
        self.measure_uncached(self.endless_student(), questions)

    def peer_decoder(self, model, questions):
        """transformers with our weights: (most tokens, id that ends) -> a function of i."""
        peer = qwen3(model.config).to(self.device).eval()
        copy_weights(model, peer)
        tokenizer = self.tokenizer

        def generate_texts(max_tokens, end_id):
            def run(i):
                ids = generate(peer, tokenizer, questions, max_tokens, end_id)
                return [tokenizer.decode(row) for row in ids]

            return run

        return generate_texts

    def measure_uncached(self, model, questions):
        tokenizer = self.tokenizer
        prompts = [tokenizer.encode(q)[:40] for q in questions]
        prompts = [p for p in prompts if len(p) == 40][:8]
        decoding = Decoding(max_tokens=512, graph_rows=8 if self.is_cuda else 0)
        flows = [[] for _ in prompts]
        idx = torch.tensor([p + [tokenizer.step_id] for p in prompts], device=self.device)

        def cached(i):
            list(decode(model, tokenizer, prompts, flows, "clone", decoding))

        def anew(i):
            uncached(model, idx, 512)

        pairs = min(self.config.pairs, 5)
        name = "decode_vs_uncached"
        self.compare(name, "tokens, 8 answers of 512", cached, anew, 8 * 512, pairs)

    def answer_side_by_side(self, model, questions, max_tokens=1024):
        """A Reasoning for each question: 64 rows at a time on each worker."""

        def answer(first):
            part = questions[first : first + 64]
            return reason(model, self.tokenizer, part, max_tokens=max_tokens)

        parts = workers.side_by_side(answer, range(0, len(questions), 64))
        return [reasoning for part in parts for reasoning in part]

    def measure_start(self):
        """The seconds of `python sample.py "..."`, all that it imports and reads included."""
        with TemporaryDirectory() as folder:
            ckpt = Path(folder) / "ckpt.pt"
            student = Student(self.student, self.tokenizer, None, "scaffold", 7, set(), 0.0)
            save_checkpoint(ckpt, student, TrainConfig(), training={})
            command = [sys.executable, ROOT / "sample.py", self.val_traces[0].question]

            def answer(i):
                subprocess.run([*command, "--ckpt", ckpt], check=True, stdout=subprocess.DEVNULL)

            self.ratios["seconds_start"], _, _ = paired(answer, do_nothing, pairs=5)

    def measure_beside_others(self):
        """What other programs cost: a fair share of the cores would make one cost 1.5 times."""
        questions = [t.question for t in self.val_traces]
        works = {
            "training": self.ours().run,
            "evaluation": lambda i: self.answer_side_by_side(self.student, questions),
        }
        for name, work in works.items():
            seconds = {}
            for n in range(3):
                with busy_cores(n):
                    seconds[n], _, _ = paired(work, do_nothing, pairs=3)
            for n in (1, 2):
                self.ratios[f"busy_{name}_{n}"] = seconds[n] / seconds[0]
            told = ", ".join(f"{1000 * seconds[n]:.0f} ms" for n in range(3))
            print(f"{GAP}{name} alone, and beside one and two busy cores: {told}")

    def measure_shares(self):
        """Of what the CPU allows: how much training and decoding get out of it."""
        training = self.ours()
        n_weights = sum(p.numel() for p in training.model.parameters())
        flops, bandwidth = cpu_peaks(self.gpt)
        print(
            f"{GAP}matrix products: {flops / 1e9:.0f} GFLOP/s, memory: {bandwidth / 1e9:.1f} GB/s"
        )
        seconds, _, _ = paired(training.run, do_nothing, self.config.pairs)
        self.ratios["share_training"] = 6 * n_weights * self.tokens / flops / seconds

        for name, model in (("", self.student), ("_full", self.endless_student())):
            share = self.share_of_decoding(model, 150 if name else 1024, flops, bandwidth)
            self.ratios[f"share_decoding{name}"] = share

    def share_of_decoding(self, model, max_tokens, flops, bandwidth):
        """What flops and bandwidth allow for answers of so many tokens, over the time they take."""
        questions = [t.question for t in self.val_traces[: 64 * workers.N]]

        def answer(i):
            return self.answer_side_by_side(model, questions, max_tokens)

        n_tokens = n_read = 0  # tokens read or written; keys that all of them attend to
        for question, r in zip(questions, answer(0), strict=True):
            n_prompt = len(self.tokenizer.encode_question(question))
            n_tokens += n_prompt + r.tokens
            n_read += sum(range(n_prompt, n_prompt + r.tokens))
        n_weights = sum(p.numel() for p in model.parameters())
        n_bytes = 2 * 4 * self.gpt.n_layer * self.gpt.n_embd * n_read  # keys and values
        allowed = 2 * n_weights * n_tokens / flops + n_bytes / bandwidth
        seconds, _, _ = paired(answer, do_nothing, self.config.pairs)
        return allowed / seconds

    def endless_student(self):
        """A copy of the student whose answers never end."""
        model = deepcopy(self.student)
        with torch.no_grad():
            model.lm_head.weight[self.tokenizer.end_id] = 0
        return model

    def measure_gpu(self):
        """GPT-2's 124M shape, which is too large for a CPU."""
        gpt = gpt_config(12, 50304, 1024, width=768)
        pairs = self.config.pairs
        self.ratios["mfu"] = utilisation(gpt, self.tokenizer, self.device, pairs)
        for B in (1, 256):
            share = share_of_bandwidth(gpt, self.tokenizer, self.device, B, min(pairs, 5))
            self.ratios[f"bandwidth_{B}"] = share


@contextmanager
def busy_cores(n):
    """So many other programs, each of which would take a whole core."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(n)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def cpu_peaks(gpt, repeats=200):
    """(FLOP/s, bytes/s) of all workers together, the best of five.

    FLOP/s in products of the size that they have in training, bytes/s in summing up what fits into
    no cache.
    """
    n_tokens = 1150 // workers.N  # of half a batch
    x, w = torch.randn(n_tokens, gpt.n_embd), torch.randn(gpt.n_embd, 2 * gpt.n_hidden)
    large = [torch.zeros(2**25) for _ in range(workers.N)]

    def multiply(i):
        for _ in range(repeats):
            x @ w

    def read(i):
        large[i].sum()

    fastest = {}
    for work in (multiply, read):
        times = []
        for _ in range(5):
            start = time.perf_counter()
            list(workers.side_by_side(work, range(workers.N)))
            times.append(time.perf_counter() - start)
        fastest[work] = min(times)
    n_flops = 2 * n_tokens * gpt.n_embd * 2 * gpt.n_hidden * repeats * workers.N
    return n_flops / fastest[multiply], 4 * 2**25 * workers.N / fastest[read]


@torch.inference_mode()
def uncached(model, idx, n):
    """Write n tokens, reading the whole text anew for every one."""
    for _ in range(n):
        token = model.token_logits(model.hidden(idx)[:, -1:]).argmax(-1)  # (B, 1)
        idx = torch.cat((idx, token), dim=1)
    return idx


def utilisation(gpt, tokenizer, device, pairs):
    """Train the scaffold on random tokens, 8 rows at a time; its model FLOPs utilisation.

    nan on a GPU of unknown peak.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    rng, model, T = np.random.default_rng(0), GPT(gpt).to(device), gpt.block_size
    rows = []
    for _ in range(80):
        ids = rng.integers(0, gpt.vocab_size - 2, T + 1)
        rows.append(Example(ids, np.zeros(T, dtype=np.int8)))
    batched = [rows[i : i + 8] for i in range(0, 80, 8)] * 20
    optimizers = make_optimizers(model, 0.01, 0.003, fused=device.type == "cuda")
    training = Training(model, optimizers, batched, tokenizer, device)
    seconds, _, _ = paired(training.run, do_nothing, pairs)
    speed = 80 * T / seconds
    memory = ""
    if device.type == "cuda":
        memory = f", {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB"
    n = sum(p.numel() for p in model.parameters())
    print(f"{GAP}{n / 1e6:.0f}M parameters, T = {T}, 8 rows: {speed:,.0f} tokens/s{memory}")
    return flops_utilisation(model, speed, T) or float("nan")


def share_of_bandwidth(gpt, tokenizer, device, B, pairs, prompt=64, new=512):
    """Decode B answers of so many new tokens in bf16; tokens/s over what the memory allows.

    That limit is B * bandwidth / (weights + B * t * KV), in bytes, with t the mean length read.
    """
    bandwidth = gpu_peaks()[1] or float("nan")
    model = GPT(gpt).to(device, torch.bfloat16).eval()
    with torch.no_grad():
        model.lm_head.weight[tokenizer.end_id] = 0  # no answer ends
    prompts = np.random.default_rng(0).integers(0, tokenizer.step_id, (B, prompt)).tolist()
    flows = [[] for _ in prompts]
    decoding = Decoding(max_tokens=new, graph_rows=B)

    def run(i):
        list(decode(model, tokenizer, prompts, flows, "clone", decoding))

    seconds, _, _ = paired(run, do_nothing, pairs)
    speed = B * new / seconds
    weights = 2 * sum(p.numel() for p in model.parameters())
    kv = 2 * 2 * gpt.n_layer * gpt.n_kv_head * gpt.n_embd // gpt.n_head  # of one position
    print(f"{GAP}{weights / 2e6:.0f}M parameters, {B} answers of {new}: {speed:,.0f} tokens/s")
    return speed / (B * bandwidth / (weights + B * (prompt + new / 2) * kv))


def main(argv=None):
    (config,) = parse_flags(BenchmarkConfig, argv, __doc__.split("\n")[0])
    benchmark = Benchmark(config)
    skipped = "" if transformers else "; transformers is not installed: its rows are skipped"
    threads, version = torch.get_num_threads(), torch.__version__
    device = f"{benchmark.device} ({benchmark.why})"
    print(f"device: {device}, {threads} threads, torch {version}{skipped}")
    benchmark.measure_start()
    benchmark.measure_decoding()  # against programs that know no workers
    workers.start_workers(benchmark.device)
    benchmark.measure_training()
    benchmark.measure_time_to_loss()
    if benchmark.is_cuda:
        benchmark.measure_gpu()
    elif benchmark.device.type == "cpu":
        benchmark.measure_beside_others()
        benchmark.measure_shares()
    lines = [f"{name}: {value:.3f}" for name, value in benchmark.ratios.items()]
    print("\n" + "\n".join(lines), flush=True)
    if config.accuracy_runs:
        program = Path(__file__).with_name("time_to_accuracy.py")
        settings = ["--runs", str(config.accuracy_runs), "--device", config.device]
        subprocess.run([sys.executable, program, *settings], check=True)


if __name__ == "__main__":
    main()
