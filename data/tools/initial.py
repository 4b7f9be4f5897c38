"""What a run starts from, if not from noise, and what it leaves for others."""

import torch

from data.tools.checkpoint import blame_file, read_checkpoint
from data.tools.files import replacing
from data.tools.hf_tokenizer import save_tokenizer
from data.tools.pretrained import pretrained_folder
from model import GPT, GPTConfig
from scaffold import Tokenizer

# Defaults of train.py that are others for a published model: it needs small steps, and few.
FINE_TUNING = {
    "muon_lr": 0.0,
    "adam_lr": 2e-5,
    "head_lr": 1e-3,
    "epochs": 3.0,
    "first_share": 0.0,
    "batch_size": 4,
    "accumulate": 4,
    "block_size": 2048,
    "eval_interval": 100,
    "keep_best": True,
}


def is_published(init):
    """Does --init name a published model, and no checkpoint of this project?"""
    return bool(init) and not init.endswith(".pt")


def load_tokenizer(config, checkpoint):
    """The Tokenizer of a run; None where it is to be built from the traces. Raises UserError.

    checkpoint: where the run goes on from, or None.
    """
    if checkpoint:
        return Tokenizer(checkpoint["pieces"])
    if is_published(config.init):
        return Tokenizer.from_pretrained(pretrained_folder(config.init))
    if config.init:
        return Tokenizer(read_checkpoint(config.init)["pieces"])
    return Tokenizer(None) if config.tokenizer == "gpt2" else None


def load_model(init, tokenizer, settings):
    """The GPT that a run starts from. settings: fields of GPTConfig that the run decides itself.

    Of a checkpoint a head with other classes is left as it is: untrained. Raises UserError.
    """
    if is_published(init):
        return GPT.from_pretrained(init, tokenizer, **settings)
    checkpoint = read_checkpoint(init)
    with blame_file(init):
        model = GPT(GPTConfig(**checkpoint["gpt"] | settings))
        weights = checkpoint["model"]
        if len(weights["signal_head.bias"]) != model.config.n_signals:
            weights |= {f"signal_head.{k}": w for k, w in model.signal_head.state_dict().items()}
        model.load_state_dict(weights)
        return model


def keep_best(folder):
    """The run in a folder is over: its checkpoint gets the weights of the best validation.

    What the optimizers remember is dropped, two thirds of the file.
    """
    best = folder / "best.pt"
    if best.exists():
        checkpoint = read_checkpoint(folder / "ckpt.pt")
        checkpoint["model"] = read_checkpoint(best)["model"]
        checkpoint["training"]["optimizers"] = []
        with replacing(folder / "ckpt.pt") as part:
            torch.save(checkpoint, part)
        best.unlink()


def export(student, folder):
    """Write a student that was a published model as one, for `transformers`. Raises UserError."""
    if isinstance(student.tokenizer.pieces, str):
        student.model.save_pretrained(folder)
        save_tokenizer(student.tokenizer, folder)
        print(f"{folder}: the backbone for transformers; signals do not condition it there")
