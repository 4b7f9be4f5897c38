"""Train a student to reason: signal and step together, one readable loop.

    python train.py                                            # the embedded data, minutes on two CPU cores
    python train.py --data annotated.jsonl --method clone      # your traces; behavioural cloning, the baseline
    python train.py --minutes 3 --depth 3                      # a workshop's budget

Writes to --out_dir: ckpt.pt, result.json, curves.png, annotation.png, metrics.jsonl and traces.jsonl (every test answer).
"""
import itertools
import json
import os
import time
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from annotate import annotate, describe, draw, write_atomically
from data.algorithmic import prepare
from model import GPT, gpt_config, load_checkpoint, pick_device, save_checkpoint
from sample import evaluate, lines_of, reason, report
from scaffold import (SIGNALS, Tokenizer, UserError, batches, collate, encode_all, flag, parse_flags, question_hash, read_traces, run,
                      show, to_trace)


@dataclass
class TrainConfig:
    # data
    data: str = flag("algorithmic", "the embedded teacher (algorithmic), or an annotated JSONL file")
    tasks: str = flag("", f"tasks to keep, comma-separated; empty: all of a file, or {prepare.DEFAULT_TASKS}")
    n_train: int = flag(20000, "training traces at most", low=1)
    n_val: int = flag(250, "validation traces at most")
    n_test: int = flag(500, "test questions at most")
    tokenizer: str = flag("pieces", "built from the training data (pieces), or GPT-2's", choices=("pieces", "gpt2"))
    vocab_size: int = flag(2048, "of the tokenizer built, at most", low=300, high=100000)
    show: int = flag(0, "print this many encoded examples, signals in colour, masked text in grey, and stop")
    # student
    method: str = flag("scaffold", "signals and steps, or behavioural cloning: the same ids without any signal", choices=("scaffold", "clone"))
    beta: float = flag(0.5, "weight of the signal loss: (1 - beta) * L_token + beta * L_signal", high=1.0)
    signal_positions: str = flag("boundary", "where the signal loss counts: at the boundary, or at every position of the step (the paper)", choices=("boundary", "every"))
    depth: int = flag(4, "layers; heads = depth, width = 32 * depth", low=1, high=64)
    block_size: int = flag(1024, "longest trace in tokens; longer ones are dropped and counted", low=8)
    # optimization
    max_steps: int = flag(3200, "optimizer steps", low=1)
    first_tasks: str = flag("web_of_lies,object_counting", "tasks to learn first, where the data has them: these teach copying names out of the question")
    first_share: float = flag(0.15, "share of the run that sees only first_tasks", high=1.0)
    minutes: float = flag(0.0, "train for so long instead of max_steps; 0: off")
    batch_size: int = flag(8, "traces in a micro-batch", low=1)
    accumulate: int = flag(1, "micro-batches in a step", low=1)
    muon_lr: float = flag(0.01, "Muon's learning rate: the blocks' matrices")
    adam_lr: float = flag(0.003, "AdamW's learning rate: embeddings, heads, norms")
    warmup: float = flag(0.02, "share of the run over which the learning rate rises", high=1.0)
    decay: float = flag(0.5, "share of the run, its last, over which the learning rate falls to 0", high=1.0)
    clip: float = flag(1.0, "gradient norm above which a step is scaled down")
    eval_interval: int = flag(500, "steps between two validations", low=1)
    # machine
    seed: int = flag(0, "of the initial weights and the order of the data", high=2**31)
    device: str = flag("auto", "cuda, mps or cpu", choices=("auto", "cuda", "mps", "cpu"))
    compile: bool = flag(True, "torch.compile on CUDA")
    out_dir: str = flag("out", "where everything is written")


def load_data(config):
    """Annotated traces for training and validation, test rows, and the annotation's report (None: it came annotated)."""
    tasks = [t for t in config.tasks.split(",") if t]
    if config.data != "algorithmic":
        split = {"train": [], "val": [], "test": []}
        for t in read_traces(config.data):
            if not tasks or t.task in tasks:
                split[prepare.split_of(t.question)].append(t)  # by question: several traces may share one
        if not split["train"]:
            raise UserError(f"{config.data}: no training trace" + (f" of the tasks {config.tasks}" if tasks else ""))
        test = {t.question: {"id": t.id, "task": t.task, "question": t.question, "answer": t.answer,
                             "steps": [{"signal": SIGNALS[s.signal], "text": s.text} for s in t.steps]} for t in split["test"]}
        return split["train"][: config.n_train], split["val"][: config.n_val], list(test.values())[: config.n_test], None
    tasks = tasks or prepare.DEFAULT_TASKS.split(",")
    if unknown := set(tasks) - set(prepare.TASKS):
        raise UserError(f"--tasks: unknown task {sorted(unknown)[0]!r}; choose from {', '.join(prepare.TASKS)}")
    folder = Path(prepare.__file__).parent
    if not (folder / "test.jsonl").exists():  # first use: the same rows on disk, to read and to --eval
        prepare.main(["--out_dir", str(folder)])
    try:
        train, val, test = (prepare.rows(tasks, s, n) for s, n in (("train", config.n_train), ("val", config.n_val), ("test", config.n_test)))
    except ValueError as e:  # a family with few short problems ran dry
        raise UserError(str(e)) from None
    rows, stats = annotate([r for r, _ in train], gold={r["id"]: g for r, g in train})
    val_rows, _ = annotate([r for r, _ in val], weight=stats["classifier"])
    return list(map(as_trace, rows)), list(map(as_trace, val_rows)), [r for r, _ in test], stats


def as_trace(row):
    return to_trace(row, [(SIGNALS.index(s["signal"]), s["text"]) for s in row["steps"]])


def learning_rate(progress, config):
    """Share of the peak rate at progress in [0, 1]: up, flat, down to 0."""
    return min(1.0, (progress + 1e-4) / max(config.warmup, 1e-9), (1 - progress) / max(config.decay, 1e-9))


def backward(forward, micro, config, device, precision=nullcontext()):
    """Add the gradients of one global batch, given as micro-batches. Returns its mean (L_token, L_signal), shape (2,).

    Each micro-batch's summed losses are divided by the supervised positions of the whole batch: 1 x 8 is 2 x 4.
    """
    n_tokens, n_signals = (max(1, sum(int((m[k] >= 0).sum()) for m in micro)) for k in (2, 3))
    beta = config.beta if config.method == "scaffold" else 0.0
    total = torch.zeros(2, device=device)
    for batch in micro:
        with precision:
            token_loss, signal_loss = forward(*on_device(batch, config, device))
        token_loss, signal_loss = token_loss / n_tokens, signal_loss / n_signals
        ((1 - beta) * token_loss + beta * signal_loss).backward()
        total += torch.stack((token_loss.detach(), signal_loss.detach()))
    return total


@torch.no_grad()
def validate(model, examples, tokenizer, config, device, precision):
    """Mean token loss and mean boundary signal loss (nats) over the examples; draws no random number."""
    model.eval()
    sums = torch.zeros(4)
    for i in range(0, len(examples), 32):
        batch = collate(examples[i : i + 32], tokenizer)
        with precision:
            losses = model(*on_device(batch, config, device))
        sums += torch.tensor([*losses, (batch[2] >= 0).sum(), (batch[3] >= 0).sum()])
    model.train()
    return (sums[:2] / sums[2:].clamp(min=1)).tolist()


def on_device(batch, config, device):
    """Move a batch; the clone gets no signals."""
    idx, signals, targets, signal_targets = (x.to(device, non_blocking=True) for x in batch)
    return idx, signals if config.method == "scaffold" else None, targets, signal_targets


def draw_curves(metrics, path):
    """Both losses, training and validation, against the step."""
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    names = [n for n in ("token_loss", "signal_loss") if any(m[n] for m in metrics)] or ["token_loss"]
    figure, axes = plt.subplots(1, len(names), figsize=(5.5 * len(names), 4), squeeze=False)
    for ax, name in zip(axes[0], names):
        for part, style in (("train", "-"), ("val", "o-")):
            points = [(m["step"], m[name]) for m in metrics if m["split"] == part]
            if points:
                ax.plot(*zip(*points), style, label=part, markersize=3)
        ax.set(xlabel="step", ylabel=name.replace("_", " ") + " (nats)", yscale="log")
        ax.legend(*ax.get_legend_handles_labels())
        ax.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main(argv=None):
    config, = parse_flags(TrainConfig, argv, __doc__.split("\n")[0])
    start, out = time.time(), Path(config.out_dir)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise UserError(f"--out_dir {out}: cannot be made ({e.strerror})") from None
    device, why = pick_device(config.device)
    print(f"device: {device} ({why}), {torch.get_num_threads()} threads, torch {torch.__version__}")

    # data: traces -> tokenizer -> ids, signals and masks
    train_traces, val_traces, test_rows, stats = load_data(config)
    if stats:
        print(describe(stats))
    text = [" ".join([t.question, *(" " + s.text for s in t.steps)]) for t in train_traces]
    tokenizer = Tokenizer(None) if config.tokenizer == "gpt2" else Tokenizer.train(text, config.vocab_size)
    (examples, dropped), (val_examples, _) = (encode_all(t, tokenizer, config.block_size) for t in (train_traces, val_traces))
    if dropped:
        print(f"dropped {dropped} of {len(train_traces)} training traces: longer than --block_size {config.block_size}")
    if not examples:
        raise UserError(f"no trace fits into --block_size {config.block_size}")
    print(f"{len(examples)} training traces of {np.mean([len(e.ids) for e in examples]):.0f} tokens, vocabulary {tokenizer.vocab_size}")
    if config.show:
        for e in examples[: config.show]:
            print(show(e, tokenizer), "\n")
        return

    # student
    torch.manual_seed(config.seed)
    model = GPT(gpt_config(config.depth, tokenizer.vocab_size, config.block_size)).to(device)
    optimizers = model.optimizers(config.muon_lr, config.adam_lr, fused=device.type == "cuda")
    print(f"{config.method}: {sum(p.numel() for p in model.parameters()) / 1e6:.2f}M parameters, "
          f"{model.config.n_layer} layers of {model.config.n_embd}, {model.config.n_head} heads")
    forward = torch.compile(model, dynamic=True) if config.compile and device.type == "cuda" else model
    precision = torch.autocast("cuda", torch.bfloat16) if device.type == "cuda" else nullcontext()

    # the loop
    rng, metrics, tokens, log = np.random.default_rng(config.seed), [], 0, torch.zeros(2, device=device)
    endless = lambda some: itertools.chain.from_iterable(batches(some, config.batch_size, rng) for _ in itertools.count())  # epoch after epoch
    easy = [e for e in examples if train_traces[e.row].task in config.first_tasks.split(",")]
    stream, easy_stream = endless(examples), endless(easy or examples)
    budget, began, paused = config.minutes * 60, time.time(), 0.0
    bar = tqdm(total=round(budget) or config.max_steps, unit="s" if budget else "step", desc="training", disable=None)
    for step in itertools.count():
        elapsed = time.time() - began - paused
        progress = elapsed / budget if budget else step / config.max_steps
        last = progress >= 1
        if last or step % config.eval_interval == 0:
            pause = time.time()
            if val_examples:
                token_loss, signal_loss = validate(forward, val_examples, tokenizer, config, device, precision)
                metrics.append({"step": step, "split": "val", "token_loss": token_loss, "signal_loss": signal_loss})
                bar.write(f"step {step}: validation token loss {token_loss:.4f}, signal loss {signal_loss:.4f}, {tokens / max(elapsed, 1e-9):,.0f} tokens/s")
            paused += time.time() - pause
        if last:
            break
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group.setdefault("peak_lr", group["lr"]) * learning_rate(progress, config)
        micro = [collate(next(easy_stream if progress < config.first_share else stream), tokenizer, config.signal_positions) for _ in range(config.accumulate)]
        log += backward(forward, micro, config, device, precision)
        tokens += sum(int((m[0] != tokenizer.end_id).sum()) for m in micro)  # padding does not count
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        if (step + 1) % 50 == 0:
            token_loss, signal_loss = (log / 50).tolist()
            log.zero_()
            metrics.append({"step": step + 1, "split": "train", "token_loss": token_loss, "signal_loss": signal_loss})
            if not np.isfinite(token_loss + signal_loss):
                raise UserError(f"the loss is not a number after step {step + 1}; lower --muon_lr or --adam_lr")
            bar.set_postfix_str(f"loss {token_loss:.3f}, {tokens / (time.time() - began - paused):,.0f} tokens/s", refresh=False)
        bar.update(min(elapsed, budget) - bar.n if budget else 1)
    bar.close()
    speed = tokens / max(elapsed, 1e-9)

    # what it learned
    save_checkpoint(out / "ckpt.pt", model, tokenizer, stats and stats["classifier"], config, {question_hash(t.question) for t in train_traces}, speed)
    write_atomically(out / "metrics.jsonl", "".join(json.dumps(m) + "\n" for m in metrics))
    draw_curves(metrics, out / "curves.png")
    if stats:
        draw(stats, out / "annotation.png")
    student = load_checkpoint(out / "ckpt.pt", device)
    result, records = evaluate(student, test_rows) if test_rows else ({"tasks": {}}, [])
    write_atomically(out / "traces.jsonl", "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records))
    for row in test_rows[:3]:
        print("\n" + row["question"] + f"  (right: {row['answer']})")
        print("\n".join(lines_of(reason(student["gpt"], tokenizer, [row["question"]], config.method)[0], row["question"])))
    result |= {"tokens_per_second": speed, "seconds": time.time() - start, "steps": step, "parameters": sum(p.numel() for p in model.parameters())}
    write_atomically(out / "result.json", json.dumps({**result, "config": asdict(config), "torch": torch.__version__}, indent=1))
    print("\n" + report(result))
    print(f"checkpoint, figures, traces and result: {out}{os.sep}")


if __name__ == "__main__":
    run(main)
