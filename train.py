"""Train a student to reason: signal and step together, in one readable loop.

    python train.py                                            # embedded data, minutes on two cores
    python train.py --data annotated.jsonl --method clone      # your traces; behavioural cloning
    python train.py --minutes 3 --depth 3                      # a workshop's budget
    python train.py --resume                                   # goes on after a stop, bit for bit
    torchrun --standalone --nproc_per_node=2 train.py          # data-parallel

Writes to --out_dir: ckpt.pt, result.json, curves.png, annotation.png, metrics.jsonl, traces.jsonl
(test answers) and report.html.
"""

import itertools
import json
import math
import sys
import time
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from data.algorithmic import prepare
from data.tools import initial, machine, memory, parallel, workers
from data.tools.annotation_report import describe
from data.tools.checkpoint import Student, load_run, load_student, restore, save_checkpoint
from data.tools.checks import check_training
from data.tools.display import show, show_reasoning
from data.tools.evaluation import report
from data.tools.figures import draw_annotation, draw_curves
from data.tools.files import check_outputs, question_hash, write_jsonl, write_text
from data.tools.flags import UserError, as_flags, flag, parse_flags, run_program
from data.tools.loading import load_data, relabel
from data.tools.optimizers import make_optimizers, set_learning_rates
from data.tools.report_page import write_page
from data.tools.terminal import printable
from data.tools.training_log import FILES, TrainLog, TrainState, clear_folder, fingerprint
from model import GPT, GPTConfig, gpt_config
from sample import ask, evaluate
from scaffold import (
    N_CLASSES,
    SIGNALS,
    Tokenizer,
    answer_opening,
    batches,
    collate,
    encode_all,
    view,
)


@dataclass
class TrainConfig:
    # ---- data
    data: str = flag("algorithmic", "the embedded teacher, or a JSONL file of annotated traces")
    tasks: str = flag(
        "", f"tasks, comma-separated, or all; empty: all of --data, or {prepare.DEFAULT_TASKS}"
    )
    n_train: int = flag(20000, "most training traces to use", low=1, high=10**7)
    n_val: int = flag(250, "most validation traces to use", high=10**7)
    n_test: int = flag(500, "most test questions to answer at the end", high=10**7)
    tokenizer: str = flag(
        "pieces", "a vocabulary built from the data, or GPT-2's", choices=("pieces", "gpt2")
    )
    vocab_size: int = flag(2048, "largest size of a built vocabulary", low=300, high=100000)
    view: str = flag(
        "all",
        "what to learn of a trace: all, its answer, its conclusions, or stages as --prune has them",
        choices=("all", "answer", "conclusions", "pruned"),
    )
    classes: int = flag(
        len(SIGNALS),
        "classes of signals: 1, 3 (go on, turn, close), all, or twice as many (first time, again)",
        choices=(1, 3, len(SIGNALS), N_CLASSES),
    )
    labels: str = flag(
        "annotated",
        "signals of the embedded teacher's steps: annotated, or its own, without a fault",
        choices=("annotated", "gold"),
    )
    forks: bool = flag(False, "the embedded teacher chooses where several ways are right")
    shuffle: bool = flag(False, "control: exchange the signals of all steps")
    show: int = flag(0, "examples to print as encoded, masked text in grey, and stop")
    # ---- student
    init: str = flag(
        "",
        "start from a student of ours (.pt), or a published Qwen2, Qwen3 or Llama (a folder, or "
        f"its name on the Hub) with other defaults: {as_flags(initial.FINE_TUNING)}",
    )
    method: str = flag(
        "scaffold",
        "learn signals and steps, or the same text without signals, the baseline",
        choices=("scaffold", "clone"),
    )
    beta: float = flag(
        0.1, "weight of the signal loss; the text has 1 - beta (paper: equal, 0.5)", high=1.0
    )
    conditioning: str = flag(
        "embed",
        "where the signal goes in: the last hidden state (embed, the paper), there and the step's "
        "input tokens (input), the <|step|> before it (token), nowhere (none)",
        choices=("embed", "input", "token", "none"),
    )
    signal_loss: str = flag(
        "ce", "cross-entropy, or squared distance to the one-hot signal", choices=("ce", "mse")
    )
    signal_positions: str = flag(
        "boundary",
        "where the signal loss counts: before a step's first word, or everywhere (the paper)",
        choices=("boundary", "every"),
    )
    depth: int = flag(4, "layers; the width follows from it", low=1, high=64)
    width: int = flag(0, "channels, a multiple of 32; 0: 32 * depth", high=8192)
    block_size: int = flag(1024, "longest trace in tokens; longer ones drop", low=8, high=10**6)
    # ---- optimization
    max_steps: int = flag(3500, "optimizer steps", low=1)
    epochs: float = flag(0.0, "passes over the traces, in place of --max_steps; 0: off")
    first_tasks: str = flag(
        "web_of_lies,object_counting", "tasks to learn first: they teach to copy names"
    )
    first_share: float = flag(0.1, "share of the run that sees only --first_tasks", high=1.0)
    minutes: float = flag(0.0, "train for so many minutes instead of --max_steps; 0: off")
    batch_size: int = flag(8, "traces in a micro-batch; more need more memory", low=1)
    accumulate: int = flag(1, "micro-batches in a step: larger batches, same memory", low=1)
    muon_lr: float = flag(
        0.01, "peak learning rate of Muon (matrices of the blocks); 0: AdamW alone"
    )
    adam_lr: float = flag(0.003, "peak learning rate of AdamW (embeddings, heads, norms)")
    head_lr: float = flag(
        0.0, "with AdamW alone: its rate for the signals and both new tokens; 0: --adam_lr"
    )
    warmup: float = flag(0.02, "share of the run in which the learning rate rises", high=1.0)
    decay: float = flag(0.5, "share of the run, its last, in which the rate falls to 0", high=1.0)
    clip: float = flag(1.0, "gradient norm above which a step is scaled down")
    eval_interval: int = flag(500, "steps between two validations, each with a checkpoint", low=1)
    keep_best: bool = flag(False, "keep the student of the lowest validation loss, not the last")
    # ---- machine
    seed: int = flag(0, "seed of the initial weights and of the data", high=2**31)
    device: str = flag("auto", "auto takes a GPU if any", choices=("auto", "cuda", "mps", "cpu"))
    weights: str = flag(
        "float32",
        "bfloat16 needs half the memory, but a step below 1/256 of a weight is lost",
        choices=("float32", "bfloat16"),
    )
    recompute: bool = flag(False, "compute activations twice: far less memory, a third slower")
    compile: bool = flag(True, "torch.compile on CUDA: a slower start, faster steps")
    out_dir: str = flag("out", "folder for everything that is written")
    resume: bool = flag(False, "go on from --out_dir's checkpoint, which knows all other flags")
    grid: str = flag("", "run a plan of experiments: see data/experiments; --minutes limits it")
    reference: str = flag("clone", "with --grid: the arm to compare with, or arm:decoding")


# -------------------------------------------------------------------------------------------- data
@dataclass
class Data:
    """What a run learns from."""

    tokenizer: Tokenizer
    examples: list  # of Example, for training
    traces: list  # of Trace, for training; Example.row is a place in it
    val_examples: list
    test_rows: list  # of dicts with "question" and "answer"
    report: dict | None  # of the annotation; None where the data came annotated


def prepare_data(config, tokenizer=None):
    """Load, label and encode everything: the run's Data. Prints what it found.

    tokenizer: None for one that is built from the traces.
    """
    traces, val_traces, test_rows, annotation = load_data(config)
    if annotation:
        print(describe(annotation))
    if tokenizer is None:
        texts = [" ".join([t.question, *(step.text for step in t.steps)]) for t in traces]
        tokenizer = Tokenizer.train(texts, config.vocab_size)
    traces = [v for trace in traces for v in view(trace, config.view)]
    val_traces = [v for trace in val_traces for v in view(trace, config.view)]
    relabel(traces, config)
    relabel(val_traces, config)
    examples, dropped = encode_all(traces, tokenizer, config.block_size)
    val_examples, val_dropped = encode_all(val_traces, tokenizer, config.block_size)
    val_examples.sort(key=lambda e: len(e.ids))  # little padding
    if dropped + val_dropped:
        print(
            f"dropped {dropped} of {len(traces)} training and {val_dropped} of {len(val_traces)} "
            f"validation traces: longer than --block_size {config.block_size}"
        )
    if not examples:
        raise UserError(f"no trace fits into --block_size {config.block_size}")
    length = np.mean([len(e.ids) for e in examples])
    print(
        f"{len(val_examples)} validation traces, {len(test_rows)} test questions, "
        f"{len(examples)} training traces of {length:.0f} tokens, "
        f"vocabulary {tokenizer.vocab_size}"
    )
    return Data(tokenizer, examples, traces, val_examples, test_rows, annotation)


def epochs(examples, batch_size, rng):
    """Batches without an end. Their order follows from the seed and from how many were drawn."""
    while True:
        yield from batches(examples, batch_size, rng)


# ------------------------------------------------------------------------------------------ a step
def lr_multiplier(progress, config):
    """Share of the peak rate at progress in [0, 1]: up, flat, down to 0."""
    rise = (progress + 1e-4) / max(config.warmup, 1e-9)
    fall = (1 - progress) / max(config.decay, 1e-9)
    return min(1.0, rise, fall)


def backward(forward, micro_batches, config, device, precision=None):
    """Add the gradients of one global batch. Returns its mean (L_token, L_signal), shape (2,).

    forward: the model, maybe compiled. micro_batches: what `collate` returns, of this process. The
    summed losses of each are divided by the supervised positions of the whole batch, in all
    processes: 8 traces give the same gradient in one batch, in two micro-batches, in two processes.
    """
    n_tokens, n_signals = count_targets(micro_batches, device)
    beta = config.beta if config.method == "scaffold" else 0.0

    def add_gradients(forward, batch):
        with precision or nullcontext():
            token_loss, signal_loss = forward(*to_device(batch, config, device))
            token_loss = token_loss / n_tokens
            signal_loss = signal_loss / n_signals
        loss = (1 - beta) * token_loss + beta * signal_loss
        (parallel.WORLD * loss).backward()  # DDP divides by WORLD, but n_tokens counts all
        return torch.stack((token_loss, signal_loss)).detach()

    losses = parallel.each(forward, add_gradients, micro_batches)
    return parallel.sum_over_processes(sum(losses))


def count_targets(micro_batches, device):
    """(tokens, signals) that are supervised in the global batch, as tensors; at least 1 each."""
    n_tokens = sum(int((targets >= 0).sum()) for _, _, targets, _ in micro_batches)
    n_signals = sum(int((signal_targets >= 0).sum()) for _, _, _, signal_targets in micro_batches)
    counts = machine.send(torch.tensor([n_tokens, n_signals]), device)
    return parallel.sum_over_processes(counts).clamp(min=1)


def to_device(batch, config, device):
    """Move a batch; the clone gets no signals."""
    idx, signals, targets, signal_targets = (machine.send(x, device) for x in batch)
    return idx, signals if config.method == "scaffold" else None, targets, signal_targets


def validate(model, examples, tokenizer, config, device, precision=None):
    """Mean token loss (nats) and boundary signal loss; draws no random number."""
    model.eval()

    @torch.no_grad()
    def sums_from(i):
        """(token loss, signal loss, tokens, signals), summed over 32 examples."""
        batch = collate(examples[i : i + 32], tokenizer)
        with precision or nullcontext():
            losses = model(*to_device(batch, config, device))
        return torch.tensor([*losses, *[(targets >= 0).sum() for targets in batch[2:]]])

    sums = sum(workers.side_by_side(sums_from, range(0, len(examples), 32)))
    model.train()
    return (sums[:2] / sums[2:].clamp(min=1)).tolist()


# ------------------------------------------------------------------------------------------- a run
class Run:
    """One student in training: everything its loop works with."""

    def __init__(self, config, data, device, checkpoint=None):
        """checkpoint: where an earlier part of the run stopped."""
        self.config, self.data, self.device = config, data, device
        is_cuda = device.type == "cuda"
        torch.manual_seed(config.seed)
        model = build_model(config, data, device, checkpoint)
        self.model = model.to(device, getattr(torch, config.weights))
        self.model.recompute = config.recompute
        rates = config.muon_lr, config.adam_lr, config.head_lr
        self.optimizers = make_optimizers(self.model, *rates, fused=is_cuda)
        self.state = TrainState(fingerprint(data.examples), parallel.WORLD)
        if checkpoint:
            restore(checkpoint, self.state, self.model, self.optimizers, config)
        self.log = TrainLog(config, self.state, device)
        self.easy_batches, self.all_batches = self.start_batches()
        self.compiled = self.model
        if machine.can_compile(config.compile, device):
            torch.compiler.reset()  # a process may compile only so often
            self.compiled = torch.compile(self.model, dynamic=True)
        is_partly_unused = config.method == "clone" or config.conditioning == "none"
        self.forward = parallel.wrap(self.compiled, is_partly_unused)
        self.precision = torch.autocast("cuda", torch.bfloat16) if is_cuda else nullcontext()
        self.multiple = 64 if is_cuda else 1  # see `collate`

    def start_batches(self):
        """Batches of --first_tasks, and of all tasks; a resumed run skips what it has learned.

        Both draw from one generator: all easy batches are drawn before the first of the others.
        """
        config, data = self.config, self.data
        first_tasks = config.first_tasks.split(",")
        easy = [e for e in data.examples if data.traces[e.row].task in first_tasks]
        rng = np.random.default_rng(config.seed)
        easy_batches = epochs(easy or data.examples, config.batch_size, rng)
        all_batches = epochs(data.examples, config.batch_size, rng)
        for _ in range(self.state.n_easy):
            next(easy_batches)
        for _ in range(self.state.n_all):
            next(all_batches)
        return easy_batches, all_batches

    def next_batch(self, progress):
        """(examples of the step in all processes, its micro-batches for this process)."""
        n = self.config.accumulate * parallel.WORLD
        if progress < self.config.first_share:
            drawn = [next(self.easy_batches) for _ in range(n)]
            self.state.n_easy += n
        else:
            drawn = [next(self.all_batches) for _ in range(n)]
            self.state.n_all += n
        mine = drawn[parallel.RANK :: parallel.WORLD]
        parts = [part for batch in mine for part in workers.split(batch)]
        positions, tokenizer = self.config.signal_positions, self.data.tokenizer
        micro_batches = [collate(part, tokenizer, positions, self.multiple) for part in parts]
        return [e for part in drawn for e in part], micro_batches


def build_model(config, data, device, checkpoint):
    """The student that training starts from. A resumed run keeps its shape on every device."""
    tokenizer, opening = data.tokenizer, answer_opening(data.traces)
    settings = {
        "block_size": config.block_size,
        "n_signals": max(config.classes, len(SIGNALS)),
        "conditioning": config.conditioning,
        "signal_loss": config.signal_loss,
        "answer_opening": tuple(tokenizer.encode(opening)) if opening else (),
    }
    if checkpoint:
        model = GPT(GPTConfig(**checkpoint["gpt"]))
    elif config.init:
        model = initial.load_model(config.init, tokenizer, settings)
    else:
        settings["padding"] = -tokenizer.vocab_size % 64 if device.type == "cuda" else 0
        model = GPT(gpt_config(config.depth, tokenizer.vocab_size, width=config.width, **settings))
    gpt = model.config
    millions = sum(p.numel() for p in model.parameters()) / 1e6
    if config.init:
        longest = max(len(e.ids) for e in data.examples)
        print(memory.forecast(gpt, config, longest, device))
    shape = f"{gpt.n_layer} layers of {gpt.n_embd}, {gpt.n_head} heads"
    print(f"{config.method}: {millions:.2f}M parameters, {shape}")
    return model


def validate_and_save(run, is_stopping):
    """A checkpoint and, unless the run is stopping, a validation before it."""
    config, data, log = run.config, run.data, run.log
    log.check_finite(run.state.step)
    student = Student(
        model=run.model,
        tokenizer=data.tokenizer,
        classifier=data.report and data.report["classifier"],
        method=config.method,
        classes=config.classes,
        seen={question_hash(trace.question) for trace in data.traces},
        tokens_per_second=run.state.tokens_per_second,
    )
    if data.val_examples and not is_stopping and log.needs_validation():
        examples, tokenizer = data.val_examples, data.tokenizer
        losses = validate(run.compiled, examples, tokenizer, config, run.device, run.precision)
        log.log_validation(losses)
        if config.keep_best and log.is_best():
            save_checkpoint(Path(config.out_dir) / "best.pt", student, config, training={})
    log.save(student, run.optimizers)


def train(run):
    """The training loop."""
    config, log = run.config, run.log
    with machine.stop_requests() as requests, log.bar:
        for step in itertools.count(run.state.step):
            progress = log.progress(step)
            is_last, must_stop = progress >= 1, log.must_stop(requests)
            if is_last or must_stop or step % config.eval_interval == 0:
                validate_and_save(run, must_stop)
            if must_stop:
                raise log.stopped()
            if is_last:
                break
            set_learning_rates(run.optimizers, lr_multiplier(progress, config))
            examples, micro_batches = run.next_batch(progress)
            losses = backward(run.forward, micro_batches, config, run.device, run.precision)
            norm = torch.nn.utils.clip_grad_norm_(run.model.parameters(), config.clip)
            for optimizer in run.optimizers:
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
            log.log_step(examples, run.data.traces, losses, norm)


def finish(run, start):
    """Figures, test answers, result.json and page. start: when the run began."""
    config, rows = run.config, run.data.test_rows
    out = Path(config.out_dir)
    initial.keep_best(out)
    draw_curves(run.state.metrics, out / "curves.png")
    draw_annotation(run.data.report, out / "annotation.png")
    student = load_student(out / "ckpt.pt", run.device)
    result, records = evaluate(student, rows, compile=config.compile)
    write_jsonl(out / "traces.jsonl", records)
    initial.export(student, out / "hf")
    for row in rows[:3]:
        question = row["question"]
        print("\n" + printable(f"{question}  (right: {row['answer']})"))
        print("\n".join(show_reasoning(ask(student, [question])[0], question)))
    speed = student.tokens_per_second / parallel.WORLD
    length = np.mean([len(e.ids) for e in run.data.examples])
    result |= run.state.summary() | {
        "seconds": time.time() - start,
        "flops_utilisation": machine.flops_utilisation(student.model, speed, length),
        "parameters": sum(p.numel() for p in student.model.parameters()),
    }
    settings = {"config": asdict(config), "torch": torch.__version__}
    write_text(out / "result.json", json.dumps(result | settings, indent=1))
    print("\n" + report(result))
    write_page(out / "report.html", result, records, out / "ckpt.pt")


def run_training(config, checkpoint=None):
    """Train a student and let it answer. checkpoint: where to go on from."""
    start = time.time()
    device, why = machine.pick_device(config.device)
    parallel.start_processes(device)
    processes = f", {parallel.WORLD} processes" if parallel.WORLD > 1 else ""
    threads = workers.start_workers(device, parallel.WORLD)
    print(f"device: {device} ({why}), {threads} threads, torch {torch.__version__}{processes}")
    data = prepare_data(config, initial.load_tokenizer(config, checkpoint))
    if config.epochs:
        per_step = config.batch_size * config.accumulate * parallel.WORLD
        config.max_steps = math.ceil(config.epochs * len(data.examples) / per_step)
    if config.show:
        for example in data.examples[: config.show]:
            print(show(example, data.tokenizer), "\n")
        return
    run = Run(config, data, device, checkpoint)
    clear_folder(config)
    train(run)
    parallel.end_processes(run)
    if not parallel.RANK:
        finish(run, start)


def main(argv=None):
    description = __doc__.split("\n")[0]
    (config,) = parse_flags(TrainConfig, argv, description)
    if initial.is_published(config.init):
        (config,) = parse_flags(TrainConfig, argv, description, defaults=initial.FINE_TUNING)
    check_training(config)
    if config.grid:
        settings = ["--minutes", str(config.minutes), "--reference", config.reference]
        machine.become_module("data.experiments.grid", config.grid, *settings)
    checkpoint = None
    if config.resume:
        config, checkpoint = load_run(config, sys.argv[1:] if argv is None else argv)
    out = Path(config.out_dir)
    check_outputs([out / name for name in FILES], config.data)
    writes_nothing = parallel.RANK or config.show
    with nullcontext() if writes_nothing else machine.lock_folder(out):
        run_training(config, checkpoint)


if __name__ == "__main__":
    run_program(main)
