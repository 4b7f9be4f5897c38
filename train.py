"""Train a student to reason: signal and step together, one readable loop.

    python train.py                                            # the embedded data, minutes on two CPU cores
    python train.py --data annotated.jsonl --method clone      # your traces; behavioural cloning, the baseline
    python train.py --minutes 3 --depth 3                      # a workshop's budget
    python train.py --resume                                   # goes on after a stop, to the very same weights
    torchrun --standalone --nproc_per_node=2 train.py          # data-parallel

Writes to --out_dir: ckpt.pt, result.json, curves.png, annotation.png, metrics.jsonl and traces.jsonl (every test answer).
"""
import hashlib
import itertools
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from contextlib import contextmanager, nullcontext, redirect_stderr, redirect_stdout
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

try:
    import fcntl
except ImportError:  # Windows: two runs in one folder go unnoticed there
    fcntl = None

from annotate import annotate, check_outputs, describe, draw, write_atomically
from data.algorithmic import prepare
from model import GPT, checked_config, flops_utilisation, gpt_config, load_checkpoint, pick_device, read_checkpoint, reading, save_checkpoint
from sample import evaluate, lines_of, load_questions, reason, report
from scaffold import (SIGNALS, Tokenizer, UserError, batches, collate, encode_all, flag, parse_flags, printable, question_hash, read_jsonl, read_traces, run,
                      show, taxonomy, to_trace, view)

RANK, WORLD = (int(os.environ.get(name, default)) for name, default in (("RANK", 0), ("WORLD_SIZE", 1)))  # torchrun sets them
LOG = 50  # steps between two lines of the metrics
OUTPUTS = "ckpt.pt", "metrics.jsonl", "traces.jsonl", "result.json", "curves.png", "annotation.png"


@dataclass
class TrainConfig:
    # data
    data: str = flag("algorithmic", "the embedded teacher (algorithmic), or an annotated JSONL file")
    tasks: str = flag("", f"tasks to keep, comma-separated; empty: all of a file, or {prepare.DEFAULT_TASKS}")
    n_train: int = flag(20000, "training traces at most", low=1, high=10**7)
    n_val: int = flag(250, "validation traces at most", high=10**7)
    n_test: int = flag(500, "test questions at most", high=10**7)
    tokenizer: str = flag("pieces", "built from the training data (pieces), or GPT-2's", choices=("pieces", "gpt2"))
    vocab_size: int = flag(2048, "of the tokenizer built, at most", low=300, high=100000)
    view: str = flag("all", "of each trace: all of it, only its answer, only its conclusions, or pruned, as sample.py --prune leaves it",
                     choices=("all", "answer", "conclusions", "pruned"))
    classes: int = flag(7, "of signals: 1, 3 (go on, turn, close), 7, or 14 (each for the first time, and again)", choices=(1, 3, 7, 14))
    labels: str = flag("annotated", "of the embedded teacher's steps: annotated, or its own (gold), as from an annotator without fault",
                       choices=("annotated", "gold"))
    shuffle: bool = flag(False, "control: the labels of all training steps change places, structure without meaning")
    show: int = flag(0, "print this many encoded examples, signals in colour, masked text in grey, and stop")
    # student
    method: str = flag("scaffold", "signals and steps, or behavioural cloning: the same ids without any signal", choices=("scaffold", "clone"))
    beta: float = flag(0.1, "weight of the signal loss: (1 - beta) * L_token + beta * L_signal (paper: equal, 0.5)", high=1.0)
    conditioning: str = flag("embed", "where the signal goes in: added to the last hidden state (embed, the paper), to the step's input tokens too (input), "
                             "to the <|step|> that opens it (token), nowhere (none)", choices=("embed", "input", "token", "none"))
    signal_loss: str = flag("ce", "cross-entropy, or squared distance to the one-hot signal", choices=("ce", "mse"))
    signal_positions: str = flag("boundary", "where the signal loss counts: at the boundary, or at every position of the step (the paper)",
                                 choices=("boundary", "every"))
    depth: int = flag(4, "layers", low=1, high=64)
    width: int = flag(0, "of the student, a multiple of 32; 0: 32 * depth", high=8192)
    block_size: int = flag(1024, "longest trace in tokens; longer ones are dropped and counted", low=8, high=10**6)
    # optimization
    max_steps: int = flag(3000, "optimizer steps", low=1)
    first_tasks: str = flag("web_of_lies,object_counting", "tasks to learn first, where the data has them: these teach copying names out of the question")
    first_share: float = flag(0.15, "share of the run that sees only first_tasks", high=1.0)
    minutes: float = flag(0.0, "train for so long instead of max_steps; 0: off")
    batch_size: int = flag(8, "traces in a micro-batch", low=1)
    accumulate: int = flag(1, "micro-batches in a step, of each process under torchrun", low=1)
    muon_lr: float = flag(0.01, "Muon's learning rate: the blocks' matrices")
    adam_lr: float = flag(0.003, "AdamW's learning rate: embeddings, heads, norms")
    warmup: float = flag(0.02, "share of the run over which the learning rate rises", high=1.0)
    decay: float = flag(0.5, "share of the run, its last, over which the learning rate falls to 0", high=1.0)
    clip: float = flag(1.0, "gradient norm above which a step is scaled down")
    eval_interval: int = flag(500, "steps between two validations, each with a checkpoint", low=1)
    # machine
    seed: int = flag(0, "of the initial weights and the order of the data", high=2**31)
    device: str = flag("auto", "cuda, mps or cpu", choices=("auto", "cuda", "mps", "cpu"))
    compile: bool = flag(True, "torch.compile on CUDA")
    out_dir: str = flag("out", "where everything is written")
    resume: bool = flag(False, "go on from the checkpoint in --out_dir, which knows all other flags")
    grid: str = flag("", "a plan of experiments (JSONL): run all its students, append to results.jsonl beside it; --minutes limits it")
    reference: str = flag("clone", "with --grid: the arm that differences are taken to, or an arm and its decoding, as scaffold:predicted")


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
    if not (folder / "test.jsonl").exists() and not RANK:  # first use: the questions on disk, to read and to --eval
        prepare.main(["--n_train", "0", "--out_dir", str(folder)])
    try:
        train, val, test = (prepare.rows(tasks, split, n, config.seed if split == "train" else 0)
                            for split, n in (("train", config.n_train), ("val", config.n_val), ("test", config.n_test)))
    except ValueError as e:  # a family with few short problems ran dry
        raise UserError(str(e)) from None
    rows, stats = annotate([r for r, _ in train], gold={r["id"]: g for r, g in train})
    val_rows, _ = annotate([r for r, _ in val], weight=stats["classifier"])
    if config.labels == "gold":
        for row, (_, signals) in zip([*rows, *val_rows], [*train, *val]):
            row["steps"] = [{**s, "signal": SIGNALS[g]} for s, g in zip(row["steps"], signals)]
    return list(map(to_trace, rows)), list(map(to_trace, val_rows)), [r for r, _ in test], stats


def relabel(traces, config):
    """Give the steps the signals of --classes, or, with --shuffle, those of other steps."""
    for t in traces:
        for s, other in zip(t.steps, taxonomy([s.signal for s in t.steps], config.classes)):
            s.signal = other
    if config.shuffle:
        steps = [s for t in traces for s in t.steps]
        for s, other in zip(steps, np.random.default_rng(config.seed).permutation([s.signal for s in steps]).tolist()):
            s.signal = other


def learning_rate(progress, config):
    """Share of the peak rate at progress in [0, 1]: up, flat, down to 0."""
    return min(1.0, (progress + 1e-4) / max(config.warmup, 1e-9), (1 - progress) / max(config.decay, 1e-9))


def backward(forward, micro, config, device, precision=nullcontext()):
    """Add the gradients of one global batch, given as micro-batches. Returns its mean (L_token, L_signal), shape (2,).

    Each micro-batch's summed losses are divided by the supervised positions of the whole batch: 1 x 8 is 2 x 4, and two
    processes with 4 each, whose gradients DistributedDataParallel averages.
    """
    counts = send(torch.tensor([sum(int((m[k] >= 0).sum()) for m in micro) for k in (2, 3)]), device)  # supervised tokens, signals
    if dist.is_initialized():
        dist.all_reduce(counts)
    beta, total = config.beta if config.method == "scaffold" else 0.0, torch.zeros(2, device=device)
    for i, batch in enumerate(micro):
        together = i == len(micro) - 1 or not dist.is_initialized()  # gradients are exchanged once a step
        with precision, nullcontext() if together else forward.no_sync():
            losses = torch.stack(forward(*on_device(batch, config, device))) / counts.clamp(min=1)
        (WORLD * ((1 - beta) * losses[0] + beta * losses[1])).backward()
        total += losses.detach()
    if dist.is_initialized():
        dist.all_reduce(total)
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
    idx, signals, targets, signal_targets = (send(x, device) for x in batch)
    return idx, signals if config.method == "scaffold" else None, targets, signal_targets


def send(x, device):
    """A tensor on the device; a copy from pinned memory need not be waited for."""
    return x.pin_memory().to(device, non_blocking=True) if torch.device(device).type == "cuda" else x.to(device)


def distributed(forward, config):
    """The model under DistributedDataParallel, which must be told where some weights stay without a gradient."""
    return DistributedDataParallel(forward, find_unused_parameters=config.method == "clone" or config.conditioning == "none")


def any_asked(asked, device):
    """Has any of the processes been asked to stop? All of them must call this at the same step."""
    votes = torch.tensor(len(asked), device=device)
    dist.all_reduce(votes)
    return bool(votes)


def resumed(config, argv):
    """(config of the run in --out_dir, its checkpoint). Raises UserError where there is none or a flag contradicts it."""
    path = Path(config.out_dir) / "ckpt.pt"
    saved = read_checkpoint(path)
    with reading(path):
        for name in {a.partition("=")[0].removeprefix("--").removeprefix("no-") for a in argv if a.startswith("--")} - {"resume", "out_dir"}:
            if getattr(config, name) != saved["config"][name]:
                raise UserError(f"--{name} {getattr(config, name)}: the run in {path.parent} has {saved['config'][name]}; "
                                "leave the flag out, or start anew without --resume")
        return TrainConfig(**{**saved["config"], "out_dir": config.out_dir, "resume": True}), saved


@contextmanager
def locked(folder):
    """Hold a folder; a process that ends, however it ends, lets go. Raises UserError where another one holds it, or it can't be made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = fcntl and os.open(folder, os.O_RDONLY)
        if fcntl:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UserError(f"--out_dir {folder}: another run is writing there; wait for it or name another folder") from None
    except OSError as e:
        raise UserError(f"--out_dir {folder}: cannot be written ({e.strerror})") from None
    try:
        yield
    finally:
        if fcntl:
            os.close(handle)


@contextmanager
def stop_asked():
    """A list, no longer empty once the user (SIGINT) or the machine (SIGTERM) has asked the run to stop."""
    asked = []
    before = {n: signal.signal(n, lambda n, frame: asked.append(n)) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for n, handler in before.items():
            signal.signal(n, handler)


def check_finite(recent, step):
    """Mean (L_token, L_signal) of the recent steps, [(L_token, L_signal, gradient norm), ids], the last of them `step`. Raises
    UserError where one is not finite. Looked at now and then, so that the GPU is not waited for in every step."""
    values = torch.stack([v for v, _ in recent]).cpu()
    for i, (ok, (_, ids)) in enumerate(zip(values.isfinite().all(1).tolist(), recent)):
        if not ok:
            raise UserError(f"step {step - len(recent) + 1 + i}: a loss or gradient is not finite, on the traces {', '.join(ids)}; "
                            "the last checkpoint is from before: look at these traces, or lower --muon_lr or --adam_lr")
    return values[:, :2].mean(0).tolist()


def draw_curves(metrics, path):
    """Both losses against the step, a line for every split."""
    from matplotlib.figure import Figure

    names = [n for n in ("token_loss", "signal_loss") if any(m[n] for m in metrics)] or ["token_loss"]
    figure = Figure(figsize=(5.5 * len(names), 4), layout="tight")
    for ax, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names):
        for split in dict.fromkeys(m["split"] for m in metrics):
            ax.plot(*zip(*((m["step"], m[name]) for m in metrics if m["split"] == split)), "o-", label=split, markersize=1 if split == "train" else 3)
        ax.set(xlabel="step", ylabel=name.replace("_", " ") + " (nats)", yscale="log")
        ax.legend(*ax.get_legend_handles_labels())
        ax.grid(alpha=0.3)
    figure.savefig(path, dpi=120)


# ------------------------------------------------------------------------------------------------ one run
def encoded_data(config):
    """(tokenizer, training examples, their traces, validation examples, test rows, the annotation's report), with a report printed."""
    traces, val_traces, test_rows, stats = load_data(config)
    relabel(traces, config)
    relabel(val_traces, config)
    if stats:
        print(describe(stats))
    text = [" ".join([t.question, *(" " + s.text for s in t.steps)]) for t in traces]
    tokenizer = Tokenizer(None) if config.tokenizer == "gpt2" else Tokenizer.train(text, config.vocab_size)
    traces, val_traces = ([v for t in some for v in view(t, config.view)] for some in (traces, val_traces))
    (examples, dropped), (val_examples, val_dropped) = (encode_all(t, tokenizer, config.block_size) for t in (traces, val_traces))
    val_examples.sort(key=lambda e: len(e.ids))  # little padding
    if dropped + val_dropped:
        print(f"dropped {dropped} of {len(traces)} training and {val_dropped} of {len(val_traces)} validation traces: "
              f"longer than --block_size {config.block_size}")
    if not examples:
        raise UserError(f"no trace fits into --block_size {config.block_size}")
    print(f"{len(val_examples)} validation traces, {len(test_rows)} test questions, {len(examples)} training traces of "
          f"{np.mean([len(e.ids) for e in examples]):.0f} tokens, vocabulary {tokenizer.vocab_size}")
    return tokenizer, examples, traces, val_examples, test_rows, stats


def restore(saved, done, model, optimizers, config):
    """Put model and optimizers where the checkpoint left them. Returns its `done` in place of the new run's. Raises UserError
    where the traces or the number of processes are not those that the run began with."""
    out = Path(config.out_dir)
    with reading(out / "ckpt.pt"):
        before = saved["training"]["done"]
        if before.keys() != done.keys():
            raise ValueError("another state of training")
        if before["data"] != done["data"]:
            raise UserError(f"--data {config.data}: not the traces that the run in {out} began with; start anew without --resume")
        if before["processes"] != WORLD:
            raise UserError(f"--resume: the run in {out} has {before['processes']} processes, not {WORLD}; start as many")
        model.load_state_dict(saved["model"])
        for optimizer, state in zip(optimizers, saved["training"]["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        device = model.lm_head.weight.device
        return {**before, "recent": [(v.to(device), ids) for v, ids in before["recent"]]}


def train(config, saved=None):
    """Train a student and let it answer; saved: the checkpoint to go on from."""
    start, out = time.time(), Path(config.out_dir)
    device, why = pick_device(config.device)
    cuda = device.type == "cuda"
    if WORLD > 1:
        if cuda:
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        dist.init_process_group("nccl" if cuda else "gloo")
        if RANK:
            sys.stdout = open(os.devnull, "w")
    print(f"device: {device} ({why}), {torch.get_num_threads()} threads, torch {torch.__version__}" + (f", {WORLD} processes" if WORLD > 1 else ""))
    tokenizer, examples, traces, val_examples, test_rows, stats = encoded_data(config)
    if config.show:
        for e in examples[: config.show]:
            print(show(e, tokenizer), "\n")
        return

    # the student
    torch.manual_seed(config.seed)
    with reading(out / "ckpt.pt"):  # a run that goes on, on whatever device, keeps its shape
        padding = checked_config(saved["gpt"], saved["model"]).padding if saved else -tokenizer.vocab_size % 64 * cuda
    model = GPT(gpt_config(config.depth, tokenizer.vocab_size, config.block_size, config.width, padding=padding,
                           n_signals=max(config.classes, len(SIGNALS)), conditioning=config.conditioning, signal_loss=config.signal_loss)).to(device)
    optimizers = model.optimizers(config.muon_lr, config.adam_lr, fused=cuda)
    print(f"{config.method}: {sum(p.numel() for p in model.parameters()) / 1e6:.2f}M parameters, "
          f"{model.config.n_layer} layers of {model.config.n_embd}, {model.config.n_head} heads")
    fingerprint = hashlib.blake2b(b"".join(e.ids.tobytes() + e.signals.tobytes() for e in examples)).hexdigest()
    done = {"data": fingerprint, "processes": WORLD, "step": 0, "tokens": 0, "seconds": 0.0,
            "easy": 0, "all": 0, "recent": [], "metrics": []}  # easy, all: micro-batches drawn of the easy traces, of all
    if saved:
        done = restore(saved, done, model, optimizers, config)
    forward = model
    if config.compile and cuda:
        torch.compiler.reset()  # what earlier runs of this process compiled would count towards a limit
        forward = torch.compile(model, dynamic=True)
    if WORLD > 1:
        forward = distributed(forward, config)
    precision = torch.autocast("cuda", torch.bfloat16) if cuda else nullcontext()
    questions, metrics, recent = {question_hash(t.question) for t in traces}, done["metrics"], done["recent"]

    def save():
        if not RANK:
            state = {"optimizers": [o.state_dict() for o in optimizers], "done": {**done, "recent": [(v.cpu(), ids) for v, ids in recent]}}
            save_checkpoint(out / "ckpt.pt", model, tokenizer, stats and stats["classifier"], config, questions,
                            done["tokens"] / max(done["seconds"], 1e-9), state)
            write_atomically(out / "metrics.jsonl", "".join(json.dumps(m) + "\n" for m in metrics))

    # the loop
    rng = np.random.default_rng(config.seed)
    endless = lambda some: itertools.chain.from_iterable(batches(some, config.batch_size, rng) for _ in itertools.count())  # epoch after epoch
    easy = [e for e in examples if traces[e.row].task in config.first_tasks.split(",")]
    streams = {"easy": endless(easy or examples), "all": endless(examples)}
    for name, stream in streams.items():  # resumed: go over what was learned
        next(itertools.islice(stream, done[name], done[name]), None)
    budget, began = config.minutes * 60, time.time() - done["seconds"]
    bar = tqdm(total=round(budget) or config.max_steps, initial=round(done["seconds"]) if budget else done["step"], unit="s" if budget else "step",
               desc="training", disable=bool(RANK) or None)
    first = done["step"]
    with stop_asked() as asked:
        for step in itertools.count(first):
            done |= {"step": step, "seconds": time.time() - began}
            progress = done["seconds"] / budget if budget else step / config.max_steps
            last = progress >= 1
            stop = bool(asked) if WORLD == 1 else step % LOG == 0 and any_asked(asked, device)
            if stop or last or step % config.eval_interval == 0:
                pause = time.time()
                if recent:
                    check_finite(recent, step)
                if val_examples and not stop and not RANK and not any((m["step"], m["split"]) == (step, "val") for m in metrics):
                    token_loss, signal_loss = validate(model if WORLD > 1 else forward, val_examples, tokenizer, config, device, precision)
                    metrics.append({"step": step, "split": "val", "token_loss": token_loss, "signal_loss": signal_loss})
                    bar.write(f"step {step}: validation token loss {token_loss:.4f}, " + (f"signal loss {signal_loss:.4f}, " if config.method == "scaffold" else "")
                              + f"{done['tokens'] / max(done['seconds'], 1e-9):,.0f} tokens/s")
                if step > first or not saved:
                    save()
                began += time.time() - pause
            if stop:
                python = "python" if WORLD == 1 else "torchrun ..."
                raise KeyboardInterrupt("" if RANK else f"stopped after step {step}; go on with: {python} train.py --resume --out_dir {out}")
            if last:
                break
            for optimizer in optimizers:
                for group in optimizer.param_groups:
                    group["lr"] = group.setdefault("peak_lr", group["lr"]) * learning_rate(progress, config)
            name = "easy" if progress < config.first_share else "all"
            drawn = [next(streams[name]) for _ in range(config.accumulate * WORLD)]
            micro = [collate(b, tokenizer, config.signal_positions, 64 if cuda else 1) for b in drawn[RANK::WORLD]]
            losses = backward(forward, micro, config, device, precision)
            norm = torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip)
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
            done[name] += len(drawn)
            done["tokens"] += sum(len(e.signals) for b in drawn for e in b)
            recent.append((torch.stack((*losses, norm)), [traces[e.row].id for b in drawn for e in b]))
            if (step + 1) % LOG == 0:
                token_loss, signal_loss = check_finite(recent, step + 1)
                recent.clear()
                metrics.append({"step": step + 1, "split": "train", "token_loss": token_loss, "signal_loss": signal_loss})
                bar.set_postfix_str(f"loss {token_loss:.3f}, {done['tokens'] / (time.time() - began):,.0f} tokens/s", refresh=False)
            bar.update(min(done["seconds"], budget) - bar.n if budget else 1)
            if cuda and step == first:  # compiling is no training
                torch.cuda.synchronize()
                began = time.time() - done["seconds"]
    bar.close()
    if WORLD > 1:
        dist.destroy_process_group()
    if not RANK:
        finish(config, device, test_rows, stats, done, np.mean([len(e.ids) for e in examples]), start)


def finish(config, device, test_rows, stats, done, length, start):
    """Figures, answers to the test questions, and result.json of a run with traces of this mean length."""
    out, metrics = Path(config.out_dir), done["metrics"]
    draw_curves(metrics, out / "curves.png")
    if stats:
        draw(stats, out / "annotation.png")
    student = load_checkpoint(out / "ckpt.pt", device)
    model, speed = student["gpt"], student["tokens_per_second"]
    result, records = evaluate(student, test_rows, compile=config.compile) if test_rows else ({"tasks": {}}, [])
    write_atomically(out / "traces.jsonl", "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records))
    for row in test_rows[:3]:
        print("\n" + printable(f"{row['question']}  (right: {row['answer']})"))
        print("\n".join(lines_of(reason(model, student["tokenizer"], [row["question"]], config.method)[0], row["question"])))
    result |= {"validation": [[m["step"], m["token_loss"], m["signal_loss"]] for m in metrics if m["split"] == "val"],
               "steps_per_second": done["step"] / max(done["seconds"], 1e-9), "tokens_per_second": speed, "seconds": time.time() - start,
               "steps": done["step"], "flops_utilisation": flops_utilisation(model, speed / WORLD, length),
               "parameters": sum(p.numel() for p in model.parameters())}
    write_atomically(out / "result.json", json.dumps({**result, "config": asdict(config), "torch": torch.__version__}, indent=1))
    print("\n" + report(result))
    print(f"checkpoint, figures, traces and result: {out}{os.sep}")


# ------------------------------------------------------------------------------------------ experiments
def run_cell(cell):
    """One student of the grid in a process of its own, one thread: train, then evaluate under every decoding. Returns rows."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as out, open(os.devnull, "w") as null, redirect_stdout(null), redirect_stderr(null):
        main([*argv_of(cell), "--n_test", "0", "--out_dir", out])
        trained = json.loads((Path(out) / "result.json").read_text())
        student = load_checkpoint(Path(out) / "ckpt.pt", pick_device(cell["flags"].get("device", "auto"))[0])
        tasks, embedded, rows = cell["flags"]["tasks"].split(","), "data" not in cell["flags"], []
        for name, how in cell["decodings"].items():
            how, ceiling = dict(how), 1.0  # without gold signals nobody knows it
            split, lengths, file = how.pop("split", "test"), how.pop("lengths", None), how.pop("file", None)
            if embedded:
                pairs = prepare.rows(tasks, split, cell["questions"], lengths=lengths)
                confusion = annotate([r for r, _ in pairs], {r["id"]: g for r, g in pairs}, student["classifier"])[1]["confusion"]
                questions, ceiling = [r for r, _ in pairs], float(confusion.max(1).sum() / confusion.sum())
            else:
                questions = load_data(parse_flags(TrainConfig, [*argv_of(cell), "--n_test", str(cell["questions"])], "")[0])[2]
            questions = load_questions(file) if file else questions
            if not questions:
                raise UserError(f"arm {cell['arm']}, {name}: there is no question to answer")
            result, _ = evaluate(student, questions, **how)
            rows.append({"arm": cell["arm"], "decoding": name, "flags": cell["flags"], **{k: result[k] for k in MEASURES},
                         "signal_ceiling": ceiling, "decoding_seconds": result["seconds"],
                         "tokens_per_second": trained["tokens_per_second"], "steps_per_second": trained["steps_per_second"], "validation": trained["validation"]})
    return rows


def leave_with(parent):
    """End this process, whatever it does, soon after its parent was killed."""
    def watch():
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)
    threading.Thread(target=watch, daemon=True).start()


def argv_of(cell):
    return [part for k, v in cell["flags"].items() for part in ([f"--{k}"] if v is True else [f"--{k}", str(v)])]


MEASURES = "accuracy", "erroneous_paths", "signal_accuracy", "signals_kept", "obedience", "tokens_per_answer"


def grid(config):
    """Run what a plan lists and results.jsonl does not hold yet, then print the table and draw the figure.

    A plan is a JSONL of {"arm", "tasks", "n_train", "seeds", "questions", "flags": {...}, "decodings": {name: options of evaluate, or
    other questions: "split", "lengths", "file"}}; every (arm, task, n_train, seed) is one student. With a flag "data" it answers that
    file's test split. --minutes: start no new one after so long.
    """
    plan, results, start = read_jsonl(config.grid, "arm"), Path(config.grid).with_name("results.jsonl"), time.time()
    check_outputs([results, *(results.with_name(name) for name in ("results.png", "curves.png"))], config.grid)
    for p in plan:
        p.setdefault("decodings", {})
        kinds = {"tasks": list, "n_train": list, "seeds": list, "questions": int, "flags": dict, "decodings": dict}
        if not (all(isinstance(p.get(k), kind) for k, kind in kinds.items())
                and all(isinstance(t, str) for t in p["tasks"]) and all(isinstance(how, dict) for how in p["decodings"].values())):
            raise UserError(f'{config.grid}, line {p["line"]}: a plan needs lists "tasks" (of names), "n_train" and "seeds", a number "questions", '
                            'an object "flags" and, if any, "decodings" of objects')
    done = read_jsonl(results, "arm", "decoding") if results.exists() else []
    code = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, cwd=Path(__file__).parent).stdout.strip()
    cells = [{"arm": p["arm"], "decodings": {"predicted": {}, **p["decodings"]}, "questions": p["questions"],
              "flags": {**p["flags"], "tasks": task, "n_train": n, "seed": seed}} for p in plan for n in p["n_train"] for task in p["tasks"] for seed in p["seeds"]]
    for c in cells:
        parse_flags(TrainConfig, argv_of(c), "")  # a flag that is wrong ends the grid before it begins
        there = {r["decoding"] for r in done if (r["arm"], r["flags"]) == (c["arm"], c["flags"])}
        c["decodings"] = {name: how for name, how in c["decodings"].items() if name not in there}
    cells = sorted((c for c in cells if c["decodings"]), key=lambda c: c["flags"]["seed"])  # all of one seed before the next: what is there can be compared
    workers = 1 if torch.cuda.is_available() else max(1, (os.cpu_count() or 1))
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), leave_with, (os.getpid(),)) as pool, tqdm(total=len(cells), desc="students") as bar:
        waiting, running, failed = iter(cells), set(), None
        while True:
            while len(running) < workers and not (config.minutes and time.time() - start > 60 * config.minutes) and (cell := next(waiting, None)):
                running.add(pool.submit(run_cell, cell))
            if not running:
                break
            finished, running = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                if failed := future.exception() or failed:  # what the others are at is not lost
                    waiting = iter(())
                if future.exception():
                    continue
                with open(results, "a", encoding="utf-8") as f:
                    f.write("".join(json.dumps({**row, "code": code}) + "\n" for row in future.result()))
                bar.update()
    if failed:
        raise failed
    rows = read_jsonl(results) if results.exists() else []
    print(printable(table(rows, config.reference)))
    for task in sorted({task for p in plan if "data" not in p["flags"] for task in p["tasks"]}):
        print("{}: the oracle's signals alone give away {:.1%} of the answers, the most frequent answer {:.1%}".format(task, *leak(task)))
        print(printable("\n".join(fewer(rows, task))))
    draw_sizes(rows, Path(config.grid).with_name("results.png"))
    if curves := [{"step": step, "split": r["arm"], "token_loss": token_loss, "signal_loss": signal_loss} for r in rows
                  if "eval_interval" in r["flags"] and r["flags"]["seed"] == 0 for step, token_loss, signal_loss in r["validation"][1:]]:
        draw_curves(curves, Path(config.grid).with_name("curves.png"))  # of the arms that ask for an eval_interval


def leak(task):
    """Shares of the validation answers right by (the flow of annotated signals alone, the most frequent answer): each flow stands for
    the answer most frequent in training with the longest of its endings that occurred there."""
    train, test = ([to_trace(row) for row in annotate([r for r, _ in prepare.rows(task.split(","), split, n)])[0]] for split, n in (("train", 2000), ("val", 500)))
    endings = lambda t: [tuple(s.signal for s in t.steps[k:]) for k in range(len(t.steps) + 1)]
    answers = {}
    for t in train:
        for ending in endings(t):
            answers.setdefault(ending, Counter())[t.answer] += 1
    right = [t.answer == answers[e].most_common(1)[0][0] for t in test for e in [next(e for e in endings(t) if e in answers)]]
    return np.mean(right), np.mean([t.answer == answers[()].most_common(1)[0][0] for t in test])


def by_size(rows, task, arm, measure):
    """{traces: [value of each seed]} of an arm, smallest first."""
    found = {}
    for r in sorted(rows, key=lambda r: r["flags"]["n_train"]):
        if (r["flags"]["tasks"], r["arm"], r["decoding"]) == (task, arm, "predicted") and r[measure] is not None:
            found.setdefault(r["flags"]["n_train"], []).append(r[measure])
    return found


def fewer(rows, task):
    """Lines: with how many traces the scaffold has the clone's mean accuracy; between two sizes that is taken as linear in log n."""
    clone, scaffold = ({n: np.mean(xs) for n, xs in by_size(rows, task, arm, "accuracy").items()} for arm in ("clone", "scaffold"))
    best, lines = np.maximum.accumulate(list(scaffold.values())), []
    for n, accuracy in clone.items():
        if len(best) and best[0] < accuracy <= best[-1]:
            same = np.exp(np.interp(accuracy, best, np.log(list(scaffold))))
            lines.append(f"{task}: the clone's {accuracy:.1%} with {n} traces takes the scaffold {same:.0f}, {n / same:.1f} times fewer")
    return lines


def interval(xs):
    """(mean, half the width of its 95% t-interval; nan of a single value)."""
    t = dict(zip(range(2, 11), (12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26))).get(len(xs), 2.0)
    return np.mean(xs), t * np.std(xs, ddof=1) / len(xs) ** 0.5 if len(xs) > 1 else float("nan")


def table(rows, reference="clone"):
    """Mean and 95% interval over the seeds of every task, size, arm and decoding, and the paired difference to the reference arm,
    under the same decoding if none is named and it has it."""
    groups, percent = {}, lambda xs: "{:.1f} ±{:.1f}".format(*(100 * x for x in interval(xs))).replace(" ±nan", "") if xs and None not in xs else "-"
    for r in rows:
        groups.setdefault((r["flags"]["tasks"], r["flags"]["n_train"], r["arm"], r["decoding"]), {})[r["flags"]["seed"]] = r
    lines, columns = [], {}
    for (task, n, arm, decoding), by_seed in sorted(groups.items(), key=lambda g: g[0][:2]):
        other, _, how = reference.partition(":")
        base = groups.get((task, n, other, how or decoding)) or groups.get((task, n, other, "predicted"), {})
        value = lambda name: [r[name] for r in by_seed.values()]
        minus = lambda name: [r[name] - base[s][name] for s, r in by_seed.items() if s in base and base[s] is not r and r[name] is not None]
        ratio = [r["signal_accuracy"] / r["signal_ceiling"] for r in by_seed.values() if r["signal_accuracy"] and "classes" not in r["flags"]]
        columns = {"task": task, "traces": n, "arm": arm, "decoding": decoding, "seeds": len(by_seed),
                   "accuracy": percent(value("accuracy")), "erroneous": percent(value("erroneous_paths")),
                   f"accuracy - {reference}": percent(minus("accuracy")), f"erroneous - {reference}": percent(minus("erroneous_paths")),
                   "signals / ceiling": percent(ratio), "kept": percent(value("signals_kept")), "obedience": percent(value("obedience")),
                   "tokens": f"{np.mean(value('tokens_per_answer')):.0f}", "steps/s": f"{np.mean(value('steps_per_second')):.2f}",
                   "s to answer": f"{np.mean(value('decoding_seconds')):.1f}"}
        lines.append(columns.values())
    printed = [columns, ["---"] * len(columns), *lines]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in printed) if lines else "no student has finished yet"


def draw_sizes(rows, path):
    """Accuracy and erroneous paths against the number of traces: a dot a seed, a line through the means, the interval as a band."""
    from matplotlib.figure import Figure

    tasks = sorted({r["flags"]["tasks"] for r in rows})
    figure = Figure(figsize=(5 * max(1, len(tasks)), 7), layout="tight")
    for column, task in zip(figure.subplots(2, max(1, len(tasks)), squeeze=False, sharex=True).T, tasks):
        for ax, measure in zip(column, ("accuracy", "erroneous_paths")):
            for arm, color in (("clone", "tab:gray"), ("scaffold", "tab:blue")):
                points = by_size(rows, task, arm, measure)
                mean, half = 100 * np.array([interval(xs) for xs in points.values()]).reshape(-1, 2).T
                ax.plot([n for n, xs in points.items() for _ in xs], [100 * x for xs in points.values() for x in xs], ".", color=color, alpha=0.5)
                ax.plot(list(points), mean, color=color, label=arm)
                ax.fill_between(list(points), np.clip(mean - half, 0, 100), np.clip(mean + half, 0, 100), color=color, alpha=0.15)
            ax.set(xscale="log", ylim=(-3, 103), ylabel=measure.replace("_", " ") + " (%)", title=task if measure == "accuracy" else "")
            ax.set_xticks(list(points), list(points))
            ax.minorticks_off()
            ax.grid(alpha=0.3)
            ax.legend(*ax.get_legend_handles_labels())
        column[-1].set_xlabel("teacher traces")
    figure.savefig(path, dpi=120)


def main(argv=None):
    config, = parse_flags(TrainConfig, argv, __doc__.split("\n")[0])
    if WORLD > 1 and (config.grid or config.minutes):
        raise UserError("--grid starts its own processes, and for --minutes the clocks of several differ: leave them out under torchrun")
    if config.grid:
        return grid(config)
    if config.width % 32:
        raise UserError(f"--width {config.width}: must be a multiple of 32, the size of a head")
    config, saved = resumed(config, sys.argv[1:] if argv is None else argv) if config.resume else (config, None)
    check_outputs([Path(config.out_dir) / name for name in OUTPUTS], config.data)
    with nullcontext() if RANK or config.show else locked(Path(config.out_dir)):
        train(config, saved)


if __name__ == "__main__":
    run(main)
