"""What a training run writes down: its state, its metrics, its progress bar, its checkpoint."""

import hashlib
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch
from tqdm import tqdm

from data.tools import parallel
from data.tools.checkpoint import save_checkpoint
from data.tools.files import write_jsonl
from data.tools.flags import UserError
from data.tools.report_page import PICTURES

RESULTS = ["traces.jsonl", "result.json", "report.html", *PICTURES]  # what the end of a run writes
FILES = ["ckpt.pt", "metrics.jsonl", *RESULTS]  # what a run leaves, hf/ aside
LOG_INTERVAL = 50  # steps between two lines of the metrics


@dataclass
class TrainState:
    """All that changes while a student learns, but for its weights and its optimizers."""

    data: str  # fingerprint of the examples: a resumed run must have the same
    processes: int
    step: int = 0
    tokens: int = 0  # learned from, padding aside
    seconds: float = 0.0  # of training
    n_easy: int = 0  # micro-batches drawn from the easy tasks
    n_all: int = 0  # micro-batches drawn from all tasks
    recent: list = field(default_factory=list)  # (losses and gradient norm, trace ids) not logged
    metrics: list = field(default_factory=list)  # rows of metrics.jsonl

    @property
    def tokens_per_second(self):
        return self.tokens / max(self.seconds, 1e-9)

    def summary(self):
        """What result.json says of the training; validation: [step, token loss, signal loss]."""
        validation = [m for m in self.metrics if m["split"] == "val"]
        return {
            "validation": [[m["step"], m["token_loss"], m["signal_loss"]] for m in validation],
            "steps_per_second": self.step / max(self.seconds, 1e-9),
            "tokens_per_second": self.tokens_per_second,
            "steps": self.step,
        }


def fingerprint(examples):
    parts = (e.ids.tobytes() + e.signals.tobytes() for e in examples)
    return hashlib.blake2b(b"".join(parts)).hexdigest()


def clear_folder(config):
    """Remove from a run's folder what an earlier run left half written when it was killed.

    Unless the run is resumed, whole results go, too: they would be taken for its own.
    """
    if parallel.RANK:
        return
    folder = Path(config.out_dir)
    for name in ["best.pt", *FILES]:
        for part in folder.glob(f"{name}.*.part"):
            part.unlink()
    if not config.resume:
        for name in ["best.pt", *RESULTS]:
            (folder / name).unlink(missing_ok=True)


class TrainLog:
    """The state of a run, and all that tells of it."""

    def __init__(self, config, state, device):
        self.config, self.state, self.device = config, state, device
        self.first_step = state.step
        self.clock = time.time()  # when state.seconds was up to date
        done, total = self.work()
        unit = "s" if config.minutes else "step"
        disable = True if parallel.RANK else None  # None: where there is no terminal
        self.bar = tqdm(total=total, initial=done, unit=unit, desc="training", disable=disable)

    def work(self):
        """(done, total) in steps or, with --minutes, in seconds."""
        if self.config.minutes:
            return self.state.seconds, 60 * self.config.minutes
        return self.state.step, self.config.max_steps

    def progress(self, step):
        """Take note that a step begins. Returns the share of the run that is done."""
        now = time.time()
        self.state.step = step
        self.state.seconds += now - self.clock
        self.clock = now
        done, total = self.work()
        self.bar.update(min(done, total) - self.bar.n)
        return done / total

    def must_stop(self, requests):
        """Has any process been asked to stop? Several processes look at the same steps only."""
        if parallel.WORLD > 1 and self.state.step % LOG_INTERVAL:
            return False
        return parallel.any_process(bool(requests), self.device)

    def log_step(self, examples, traces, losses, norm):
        """Take note of a step: its examples of these traces, losses (2,), gradient norm."""
        state = self.state
        ids = [traces[e.row].id for e in examples]
        step = state.step + 1  # steps done
        state.tokens += sum(len(e.signals) for e in examples)
        state.recent.append((torch.stack((*losses, norm)), ids))
        if step % LOG_INTERVAL == 0:
            losses = self.check_finite(step)
            state.recent.clear()
            self.add_metrics("train", step, losses)
            text = f"loss {losses[0]:.3f}, {state.tokens_per_second:,.0f} tokens/s"
            self.bar.set_postfix_str(text, refresh=False)
        if self.device.type == "cuda" and state.step == self.first_step:
            torch.cuda.synchronize()
            self.clock = time.time()  # compiling is no training

    def check_finite(self, step):
        """Mean (L_token, L_signal) of the recent ones of `step` steps; None where there are none.

        Raises UserError where a number is not finite. Looking at every step would wait for the GPU.
        """
        recent = self.state.recent
        if not recent:
            return None
        values = torch.stack([v for v, _ in recent]).cpu()  # (n, 3)
        is_finite = values.isfinite().all(1)  # (n,)
        if not is_finite.all():
            first = is_finite.tolist().index(False)
            ids = ", ".join(recent[first][1])
            raise UserError(
                f"step {step - len(recent) + 1 + first}: a loss or gradient is not finite, on the "
                f"traces {ids}; look at them, or lower --muon_lr or --adam_lr"
            )
        return values[:, :2].mean(0).tolist()

    def add_metrics(self, split, step, losses):
        token_loss, signal_loss = losses
        row = {"step": step, "split": split, "token_loss": token_loss, "signal_loss": signal_loss}
        self.state.metrics.append(row)

    def needs_validation(self):
        """Not twice at one step, which a resumed run would do; and one process is enough."""
        validated = [m["step"] for m in self.state.metrics if m["split"] == "val"]
        return not parallel.RANK and self.state.step not in validated

    def log_validation(self, losses):
        """Take note of (mean token loss, mean signal loss) on the validation examples."""
        self.add_metrics("val", self.state.step, losses)
        token_loss, signal_loss = losses
        text = f"step {self.state.step}: validation token loss {token_loss:.4f}, "
        if self.config.method == "scaffold":
            text += f"signal loss {signal_loss:.4f}, "
        self.bar.write(text + f"{self.state.tokens_per_second:,.0f} tokens/s")

    def is_best(self):
        """Is the loss of the newest validation the lowest so far?"""
        beta = self.config.beta if self.config.method == "scaffold" else 0.0
        losses = [
            (1 - beta) * m["token_loss"] + beta * m["signal_loss"]
            for m in self.state.metrics
            if m["split"] == "val"
        ]
        return losses[-1] == min(losses)

    def save(self, student, optimizers):
        """Write the checkpoint and the metrics, unless nothing is new since the run went on."""
        is_new = self.state.step > self.first_step or not self.config.resume
        if is_new and not parallel.RANK:
            recent = [(values.cpu(), ids) for values, ids in self.state.recent]
            training = {
                "optimizers": [optimizer.state_dict() for optimizer in optimizers],
                "state": {**vars(self.state), "recent": recent},
            }
            folder = Path(self.config.out_dir)
            save_checkpoint(folder / "ckpt.pt", student, self.config, training)
            write_jsonl(folder / "metrics.jsonl", self.state.metrics)
        self.clock = time.time()  # validating and saving is no training

    def stopped(self):
        """The KeyboardInterrupt that ends the run, with the command that goes on with it."""
        python = "python" if parallel.WORLD == 1 else "torchrun ..."
        command = f"{python} train.py --resume --out_dir {Path(self.config.out_dir)}"
        message = f"stopped after step {self.state.step}; go on with: {command}"
        return KeyboardInterrupt("" if parallel.RANK else message)
