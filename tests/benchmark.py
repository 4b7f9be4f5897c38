"""Speed, as ratios of two things timed in turn in one run: python tests/benchmark.py [--device cuda]. No test, no network.

What it compares, each the median over pairs (A, B, B, A, ...):
    train_scaffold_vs_clone     seconds of a training step: what the second branch costs
    train_vs_gpt2_block         tokens/s: the default student and its optimizers, against a plain GPT-2 block of the same depth and width with AdamW
    time_to_loss_vs_gpt2_adamw  seconds until GPT-2's last validation loss: GPT-2 / ours, both with the same learning rate schedule
    train_vs_transformers       tokens/s: the default student against Qwen3ForCausalLM of the same shape, both with AdamW
    train_vs_transformers_random  the same where its batches are drawn at random, its Trainer's default, ours alike in length; padding is no token
    decode_scaffold_vs_clone    seconds of decoding
    decode_vs_transformers      tokens/s of 64 answers (CUDA: 256) against its generate() with a cache, same weights, same text
    decode_full_vs_transformers the same where no answer ends before its 150th token
    decode_vs_uncached          tokens/s against reading everything anew for every token
    mfu                         CUDA: model FLOPs utilisation of training at GPT-2's 124M shape, where the GPU's peak is known
    bandwidth_1, bandwidth_256  CUDA: decoding at that shape in bf16, as a share of what reading weights, keys and values allows
"""
import argparse
import statistics
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).parent.parent))
from annotate import annotate
from data.algorithmic import prepare
from model import GPT, flops_utilisation, gpt_config, gpu_peaks, pick_device
from sample import decode, reason
from scaffold import Example, Tokenizer, batches, collate, encode_all, to_trace
from train import TrainConfig, backward, learning_rate, validate

try:
    import transformers
except ImportError:
    transformers = None


def paired(a, b, pairs):
    """(median seconds of a, of b, median of a / b) over pairs run in turn; the first pair warms up. The order alternates."""
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
    return [statistics.median(column) for column in zip(*times[1:])]


# ------------------------------------------------------------------------------------------------ peers
class GPT2Block(nn.Module):
    def __init__(self, C, n_head):
        super().__init__()
        self.n_head, self.ln_1, self.ln_2 = n_head, nn.LayerNorm(C), nn.LayerNorm(C)
        self.attn, self.proj, self.up, self.down = nn.Linear(C, 3 * C), nn.Linear(C, C), nn.Linear(C, 4 * C), nn.Linear(4 * C, C)

    def forward(self, x):
        B, T, C = x.shape
        q, k, v = self.attn(self.ln_1(x)).view(B, T, 3, self.n_head, C // self.n_head).permute(2, 0, 3, 1, 4)  # (B, nh, T, hs) each
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.proj(y.transpose(1, 2).reshape(B, T, C))
        return x + self.down(F.gelu(self.up(self.ln_2(x)), approximate="tanh"))


class GPT2(nn.Module):
    """GPT-2 (Radford et al. 2019): learned positions, LayerNorm, GELU, tied head; its initialisation."""

    def __init__(self, c):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(c.vocab_size, c.n_embd), nn.Embedding(c.block_size, c.n_embd)
        self.blocks, self.ln = nn.ModuleList(GPT2Block(c.n_embd, c.n_head) for _ in range(c.n_layer)), nn.LayerNorm(c.n_embd)
        for name, p in self.named_parameters():
            if p.dim() == 2:
                nn.init.normal_(p, std=0.02 / (2 * c.n_layer) ** 0.5 if name.endswith(("proj.weight", "down.weight")) else 0.02)

    def forward(self, idx, signals, targets, signal_targets):
        x = self.wte(idx) + self.wpe.weight[: idx.size(1)]
        for block in self.blocks:
            x = block(x)
        logits = F.linear(self.ln(x), self.wte.weight)
        return F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), ignore_index=-1, reduction="sum"), logits.new_zeros(())


def qwen3(c):
    """The same block in transformers (without the short convolution, which it does not have)."""
    config = transformers.Qwen3Config(vocab_size=c.vocab_size, hidden_size=c.n_embd, intermediate_size=c.n_hidden, num_hidden_layers=c.n_layer, num_attention_heads=c.n_head,
                                      num_key_value_heads=c.n_kv_head, head_dim=c.n_embd // c.n_head, max_position_embeddings=c.block_size, rms_norm_eps=1e-6,
                                      tie_word_embeddings=True, rope_parameters={"rope_type": "default", "rope_theta": c.rope_base}, attn_implementation="sdpa",
                                      bos_token_id=None, eos_token_id=None, pad_token_id=c.vocab_size - 1)
    return transformers.Qwen3ForCausalLM(config)


class Peer(nn.Module):
    """transformers' model behind the signature of ours."""

    def __init__(self, c):
        super().__init__()
        self.model = qwen3(c)

    def forward(self, idx, signals, targets, signal_targets):
        logits = self.model(input_ids=idx, use_cache=False).logits
        return F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), ignore_index=-1, reduction="sum"), logits.new_zeros(())


def copy_weights(model, peer):
    """Ours (conv_width 1, embed_scale 1) into transformers' model."""
    c, to = model.config, {}
    hs = c.n_embd // c.n_head
    for name, w in model.state_dict().items():
        where, _, part = name.rpartition(".")
        i = where.split(".")[1] if where.startswith("blocks") else ""
        layer = f"model.layers.{i}."
        if name in ("embed.weight", "lm_head.weight"):
            to["model.embed_tokens.weight"] = to["lm_head.weight"] = w
        elif name == "norm.weight":
            to["model.norm.weight"] = w
        elif name.endswith("attn.qkv.weight"):
            for x, piece in zip("qkv", w.split((c.n_head * hs, c.n_kv_head * hs, c.n_kv_head * hs))):
                to[f"{layer}self_attn.{x}_proj.weight"] = piece
        elif name.endswith("gate_up.weight"):
            to[layer + "mlp.gate_proj.weight"], to[layer + "mlp.up_proj.weight"] = w.chunk(2)
        elif i:
            new = {"attn.proj": "self_attn.o_proj", "attn.q_norm": "self_attn.q_norm", "attn.k_norm": "self_attn.k_norm", "mlp.down": "mlp.down_proj",
                   "attn_norm": "input_layernorm", "mlp_norm": "post_attention_layernorm"}.get(where.split(".", 2)[2])
            if new:
                to[layer + new + "." + part] = w
    peer.load_state_dict(to)


# -------------------------------------------------------------------------------------------- measuring
class Training:
    """A model with its optimizers; run(i) does the i-th ten steps, so that two of them do the same work."""

    def __init__(self, model, optimizers, batched, tokenizer, device, method="scaffold"):
        self.model, self.optimizers, self.tokenizer, self.device = model.to(device), optimizers, tokenizer, device
        self.forward = torch.compile(self.model, dynamic=True) if device.type == "cuda" else self.model
        self.batched, self.config, self.seconds = batched, TrainConfig(method=method), 0.0

    def step(self, batch):
        precision = torch.autocast("cuda", torch.bfloat16) if self.device.type == "cuda" else nullcontext()
        backward(self.forward, [collate(batch, self.tokenizer)], self.config, self.device, precision)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    def run(self, i):
        for batch in self.batched[10 * i % 200 :][:10]:
            self.step(batch)

    def validate(self, examples):
        return validate(self.forward, examples, self.tokenizer, self.config, self.device, nullcontext())[0]

    def until(self, n_steps, val_examples, goal=None, every=20):
        """Train n_steps under the schedule; (seconds without validation, last validation loss) at the goal or the end; None: goal missed."""
        seconds, peaks = 0.0, [[g["lr"] for g in o.param_groups] for o in self.optimizers]
        for step in range(n_steps):
            if goal and step and step % every == 0 and (loss := self.validate(val_examples)) <= goal:
                return seconds, loss
            start = time.perf_counter()
            for optimizer, peak in zip(self.optimizers, peaks):
                for group, lr in zip(optimizer.param_groups, peak):
                    group["lr"] = lr * learning_rate(step / n_steps, self.config)
            self.step(self.batched[step % len(self.batched)])
            if self.device.type == "cuda":
                torch.cuda.synchronize()
            seconds += time.perf_counter() - start
        loss = self.validate(val_examples)
        return (seconds, loss) if not goal or loss <= goal else (None, loss)


@torch.inference_mode()
def uncached(model, idx, n):
    for _ in range(n):
        idx = torch.cat((idx, model.token_logits(model.hidden(idx)[:, -1:]).argmax(-1)), dim=1)
    return idx


def utilisation(config, tokenizer, device, runs):
    """Train the scaffold of this shape on random tokens, 8 rows at a time; its model FLOPs utilisation (nan: a GPU of unknown peak)."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    rng, model = np.random.default_rng(0), GPT(config).to(device)
    rows = [Example(rng.integers(0, config.vocab_size - 2, config.block_size + 1), np.zeros(config.block_size, dtype=np.int8)) for _ in range(80)]
    training = Training(model, model.optimizers(0.01, 0.003, fused=device.type == "cuda"), [rows[i : i + 8] for i in range(0, 80, 8)] * 20, tokenizer, device)
    seconds, _, _ = paired(training.run, lambda i: None, runs)
    speed = 80 * config.block_size / seconds
    memory = f", {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB" if device.type == "cuda" else ""
    print(f"{'':28}{sum(p.numel() for p in model.parameters()) / 1e6:.0f}M parameters, T = {config.block_size}, 8 rows: {speed:,.0f} tokens/s{memory}")
    return flops_utilisation(model, speed, config.block_size) or float("nan")


def share_of_bandwidth(config, tokenizer, device, B, runs, prompt=64, new=512):
    """Decode B answers of so many tokens in bf16; tokens/s over the limit B * bandwidth / (weights + B * t * KV), all in bytes, t the mean length read."""
    model, bandwidth = GPT(config).to(device, torch.bfloat16).eval(), gpu_peaks()[1] or float("nan")
    with torch.no_grad():
        model.lm_head.weight[tokenizer.end_id] = 0  # no answer ends
    prompts = np.random.default_rng(0).integers(0, tokenizer.step_id, (B, prompt)).tolist()
    seconds, _, _ = paired(lambda i: decode(model, tokenizer, prompts, "clone", [[]] * B, new, graph=B), lambda i: None, runs)
    speed, weights = B * new / seconds, 2 * sum(p.numel() for p in model.parameters())
    kv = 2 * 2 * config.n_layer * config.n_kv_head * config.n_embd // config.n_head  # of one position
    print(f"{'':28}{weights / 2e6:.0f}M parameters, {B} answers of {new}: {speed:,.0f} tokens/s")
    return speed / (B * bandwidth / (weights + B * (prompt + new / 2) * kv))


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--device", default="auto", help="cuda, mps or cpu")
    parser.add_argument("--pairs", type=int, default=9, help="pairs timed")
    parser.add_argument("--runs", type=int, default=5, help="seeds of time_to_loss")
    parser.add_argument("--steps", type=int, default=600, help="GPT-2's steps for time_to_loss; ours has a third of them")
    parser.add_argument("--train", type=int, default=300, help="steps of the student that decodes")
    parser.add_argument("--gpt2_lr", type=float, default=1e-3, help="AdamW's peak rate for GPT-2: the best of 0.0005, 0.001, 0.002, 0.003, 0.006 and 0.01 after 500 steps")
    args = parser.parse_args(argv)
    device, why = pick_device(args.device)
    print(f"device: {device} ({why}), {torch.get_num_threads()} threads, torch {torch.__version__}" + ("" if transformers else "; transformers is not installed: its rows are skipped"))

    tasks = prepare.DEFAULT_TASKS.split(",")
    traces, val_traces = ([to_trace(r) for r in annotate([r for r, _ in prepare.rows(tasks, split, n)])[0]] for split, n in (("train", 8000), ("val", 256)))
    tokenizer = Tokenizer.train([" ".join([t.question, *(s.text for s in t.steps)]) for t in traces], 2048)
    (examples, _), (val_examples, _) = (encode_all(t, tokenizer, 1024) for t in (traces, val_traces[:250]))
    batched, ratios = list(batches(examples, 8, np.random.default_rng(0))), {}
    config = gpt_config(4, tokenizer.vocab_size, 1024)
    tokens = statistics.mean(len(e.signals) for b in batched[:200] for e in b) * 80  # in ten steps

    def ours(method="scaffold", seed=0, adamw=False):
        torch.manual_seed(seed)
        model = GPT(config).to(device)
        optimizers = [torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)] if adamw else model.optimizers(0.01, 0.003, fused=device.type == "cuda")
        return Training(model, optimizers, batched, tokenizer, device, method)

    def plain(seed=0):
        torch.manual_seed(seed)
        model = GPT2(config).to(device)
        return Training(model, [torch.optim.AdamW(model.parameters(), lr=args.gpt2_lr, betas=(0.9, 0.95), weight_decay=0.0, fused=True)], batched, tokenizer, device, "clone")

    def compare(name, what, a, b, per_s=1.0, pairs=args.pairs):
        """Time a(i) against b(i); the ratio is that of speeds, or of seconds where nothing is counted per second."""
        seconds, other, ratio = paired(a, b, pairs)
        ratios[name] = ratio if per_s == 1.0 else 1 / ratio
        print(f"{name:30}{what:60}" + (f"{1000 * seconds:9.0f} ms {1000 * other:9.0f} ms" if per_s == 1.0 else f"{per_s / seconds:9,.0f}/s  {per_s / other:9,.0f}/s") + f"{ratios[name]:9.3f}", flush=True)

    compare("train_scaffold_vs_clone", "ten training steps", ours().run, ours("clone").run)
    compare("train_vs_gpt2_block", "training tokens", ours().run, plain().run, tokens)
    if transformers:
        order = np.random.default_rng(0).permutation(len(examples))
        for name, its in (("train_vs_transformers", batched), ("train_vs_transformers_random", [[examples[j] for j in order[i : i + 8]] for i in range(0, 1600, 8)])):
            torch.manual_seed(0)
            peer = Peer(config).to(device)
            optimizers = [torch.optim.AdamW(peer.parameters(), lr=1e-3, fused=True)]
            compare(name, "training tokens", ours("clone", adamw=True).run, Training(peer, optimizers, its, tokenizer, device, "clone").run, tokens)

    times = []
    for seed in range(args.runs):
        slow, goal = plain(seed).until(args.steps, val_examples)
        fast, loss = ours(seed=seed).until(args.steps // 3, val_examples, goal)
        print(f"{'':28}seed {seed}: GPT-2 has a validation loss of {goal:.3f} after {slow:.0f} s, " + (f"we after {fast:.0f} s" if fast else f"we never ({loss:.3f})"), flush=True)
        times.append(slow / fast if fast else 0.0)
    if times:
        ratios["time_to_loss_vs_gpt2_adamw"] = statistics.median(times)

    # a clone without short convolution, which transformers lacks, but with a signal head: its signals stay zero vectors, so that
    # decoding it as scaffold, as clone and by transformers writes the very same tokens
    torch.manual_seed(0)
    config = gpt_config(4, tokenizer.vocab_size, 1024, conv_width=1)
    config.embed_scale = 1.0
    model = GPT(config).to(device)
    _, loss = Training(model, model.optimizers(0.01, 0.003, fused=device.type == "cuda"), batched, tokenizer, device, "clone").until(args.train, val_examples)
    model.eval()
    cuda = device.type == "cuda"
    questions = [t.question for t in val_traces[: 256 if cuda else 64]]
    answer = lambda method, n=300: lambda i: reason(model, tokenizer, questions, method, max_tokens=n, graph=len(questions) * cuda)
    written = [r.tokens for r in answer("clone")(0)]
    assert [r.tokens for r in answer("scaffold")(0)] == written
    what = f"tokens, {len(questions)} answers of {min(written)} to {max(written)}"
    compare("decode_scaffold_vs_clone", "seconds, the same answers", answer("scaffold"), answer("clone"))
    if transformers:
        peer = qwen3(config).to(device).eval()
        copy_weights(model, peer)
        prompts = [tokenizer.encode(q) + [tokenizer.step_id] for q in questions]
        longest = max(map(len, prompts))
        idx = torch.tensor([[tokenizer.end_id] * (longest - len(p)) + p for p in prompts], device=device)
        mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts], device=device)
        theirs = lambda n, end: lambda i: peer.generate(input_ids=idx, attention_mask=mask, max_new_tokens=n, do_sample=False, use_cache=True, eos_token_id=end, pad_token_id=tokenizer.end_id)
        texts = [tokenizer.decode(row.tolist()) for row in theirs(300, tokenizer.end_id)(0)[:, longest:]]
        ours_ = [tokenizer.decode([t for s in r.steps for t in tokenizer.encode(s.text)]) for r in answer("clone")(0)]
        print(f"{'':28}{sum(a.split() == b.split() for a, b in zip(texts, ours_))} of {len(texts)} texts are the same as those of transformers")
        compare("decode_vs_transformers", what, answer("scaffold"), theirs(300, tokenizer.end_id), sum(written))
        with torch.no_grad():  # from now on no answer ends
            model.lm_head.weight[tokenizer.end_id] = peer.lm_head.weight[tokenizer.end_id] = 0
        compare("decode_full_vs_transformers", f"tokens, {len(questions)} answers of 150", answer("scaffold", 150), theirs(150, None), len(questions) * 150)
    prompt = [p for q in questions if len(p := tokenizer.encode(q)[:40]) == 40][:8]
    cached = lambda i: decode(model, tokenizer, prompt, "clone", [[]] * 8, 512, graph=8 * cuda)
    idx = torch.tensor([p + [tokenizer.step_id] for p in prompt], device=device)
    compare("decode_vs_uncached", "tokens, 8 answers of 512", cached, lambda i: uncached(model, idx, 512), 8 * 512, min(args.pairs, 5))

    if cuda:
        config = gpt_config(12, 50304, 1024, width=768)
        ratios["mfu"] = utilisation(config, tokenizer, device, args.pairs)
        for B in (1, 256):
            ratios[f"bandwidth_{B}"] = share_of_bandwidth(config, tokenizer, device, B, min(args.pairs, 5))
    print("\n" + "\n".join(f"{name}: {value:.3f}" for name, value in ratios.items()))


if __name__ == "__main__":
    main()
