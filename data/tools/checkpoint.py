"""Checkpoints: a student to sample from, and a run to go on with."""

import warnings
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from data.tools.files import replacing
from data.tools.flags import UserError
from data.tools.terminal import first_line
from model import GPT, GPTConfig
from scaffold import NO_SIGNAL, Tokenizer

FORMAT = 3  # of the checkpoint


@dataclass
class Student:
    """A student and what sampling from it needs."""

    model: GPT
    tokenizer: Tokenizer
    classifier: torch.Tensor | None  # the annotator's; None where the data came annotated
    method: str  # "scaffold" or "clone"
    classes: int  # of the taxonomy it was trained with
    seen: set  # question_hash of the training questions
    tokens_per_second: float  # of its training


def save_checkpoint(path, student, config, training):
    """Write a checkpoint in plain types, whole or not at all. Raises UserError.

    config: the run's TrainConfig; training: what resuming needs beside the weights (dict).
    """
    checkpoint = {
        "format": FORMAT,
        "model": {name: w.cpu() for name, w in student.model.state_dict().items()},
        "gpt": asdict(student.model.config),
        "pieces": student.tokenizer.pieces,
        "classifier": student.classifier,
        "config": asdict(config),
        "seen": torch.tensor(sorted(student.seen), dtype=torch.long),
        "tokens_per_second": student.tokens_per_second,
        "training": training,
    }
    with replacing(path) as part:
        torch.save(checkpoint, part)


@contextmanager
def blame_file(path):
    """Whatever goes wrong inside is the fault of the checkpoint's contents. Raises UserError."""
    try:
        with warnings.catch_warnings(action="ignore"):  # the one line is enough
            yield
    except UserError:
        raise
    except Exception as e:  # some other file can raise anything
        problem = f"not a checkpoint of this project, or a damaged one ({first_line(e)})"
        raise UserError(f"{path}: {problem}") from None


def read_checkpoint(path):
    """A checkpoint's dict as it was saved. Raises UserError where there is none of this format."""
    if not Path(path).exists():
        raise UserError(f"{path}: no such checkpoint; train a student first: python train.py")
    with blame_file(path):
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        if checkpoint["format"] != FORMAT:
            raise ValueError(f"this version reads format {FORMAT}")
        return checkpoint


def load_student(path, device):
    """A trained Student on the device, its model in eval mode. Raises UserError."""
    checkpoint = read_checkpoint(path)
    with blame_file(path):
        model = GPT(GPTConfig(**checkpoint["gpt"]))
        if checkpoint["model"]["signal_embedding.weight"].size(0) != NO_SIGNAL + 1:
            raise UserError(f"{path}: trained with other signals than scaffold.SIGNALS has")
        model.load_state_dict(checkpoint["model"])
        return Student(
            model=model.to(device).eval(),
            tokenizer=Tokenizer(checkpoint["pieces"]),
            classifier=checkpoint["classifier"],
            method=checkpoint["config"]["method"],
            classes=checkpoint["config"]["classes"],
            seen=set(checkpoint["seen"].tolist()),
            tokens_per_second=float(checkpoint["tokens_per_second"]),
        )


# ----------------------------------------------------------------------------------------- resume
def load_run(config, argv):
    """(config, checkpoint) of the run in --out_dir, for --resume.

    argv: the command line. A flag there that contradicts the run raises UserError; so does a folder
    without a run.
    """
    path = Path(config.out_dir) / "ckpt.pt"
    checkpoint = read_checkpoint(path)
    with blame_file(path):
        saved = checkpoint["config"] | {"out_dir": config.out_dir, "resume": True}
        flags = [arg.partition("=")[0].removeprefix("--") for arg in argv if arg.startswith("--")]
        for name in (flag.removeprefix("no-") for flag in flags):
            value = getattr(config, name)
            if value != saved[name]:
                problem = f"the run in {path.parent} has {saved[name]}"
                raise UserError(f"--{name} {value}: {problem}; leave the flag out")
        return type(config)(**saved), checkpoint


def restore(checkpoint, state, model, optimizers, config):
    """Put model, optimizers and state (a dataclass, new) where the checkpoint left them.

    Raises UserError where the traces or the number of processes are not those that the run began
    with.
    """
    folder = Path(config.out_dir)
    with blame_file(folder / "ckpt.pt"):
        training = checkpoint["training"]
        saved = training["state"]
        if saved["data"] != state.data:
            raise UserError(f"--data: not the traces that the run in {folder} began with")
        if saved["processes"] != state.processes:
            problem = f"the run in {folder} has {saved['processes']} processes"
            raise UserError(f"--resume: {problem}, not {state.processes}")
        model.load_state_dict(checkpoint["model"])
        if training["optimizers"]:  # a run that is over and kept its best student has none
            for optimizer, saved_optimizer in zip(optimizers, training["optimizers"], strict=True):
                optimizer.load_state_dict(saved_optimizer)
        for name in vars(state):
            setattr(state, name, saved[name])
