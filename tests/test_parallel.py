"""torchrun: two processes learn from one global batch what one process learns from it."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
import torch.distributed as dist

import train
from conftest import TINY
from data.tools import parallel
from data.tools.checkpoint import read_checkpoint
from data.tools.files import read_jsonl
from data.tools.flags import UserError
from data.tools.training_log import LOG_INTERVAL
from model import GPT, gpt_config
from scaffold import batches, collate
from train import TrainConfig, backward


def gradients(model, forward, micro, config):
    losses = backward(forward, micro, config, torch.device("cpu"))
    return losses, {
        n: p.grad if p.grad is not None else torch.zeros_like(p)
        for n, p in model.named_parameters()
    }


def student(vocab_size, config):
    torch.manual_seed(0)
    model = GPT(gpt_config(2, vocab_size, 1024, conditioning=config.conditioning))
    for p in model.parameters():  # none at its zero initial value
        torch.nn.init.normal_(p, std=0.1)
    return model


def one_of_two(rank, folder, vocab_size, micro, config):
    torch.set_num_threads(1)
    parallel.RANK, parallel.WORLD = rank, 2
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    model = student(vocab_size, config)
    is_partly_unused = config.method == "clone" or config.conditioning == "none"
    result = gradients(model, parallel.wrap(model, is_partly_unused), micro[rank::2], config)
    torch.save(result, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.parametrize(
    "flags",
    [{"method": "scaffold"}, {"method": "scaffold", "conditioning": "none"}, {"method": "clone"}],
    ids=str,
)
def test_two_processes_have_the_gradients_of_one(flags, examples, tokenizer, tmp_path):
    config = TrainConfig(**flags, beta=0.3)
    drawn = list(batches(examples, 5, np.random.default_rng(0)))[
        :4
    ]  # unequal lengths: the means of the halves would differ
    micro = [collate(b, tokenizer) for b in drawn]
    model = student(tokenizer.vocab_size, config)
    losses, whole = gradients(model, model, micro, config)
    context = multiprocessing.get_context("forkserver")
    processes = [
        context.Process(
            target=one_of_two, args=(rank, str(tmp_path), tokenizer.vocab_size, micro, config)
        )
        for rank in range(2)
    ]
    for p in processes:
        p.start()
    for p in processes:
        p.join()
    for rank in range(2):
        other_losses, halves = torch.load(tmp_path / f"{rank}.pt")
        torch.testing.assert_close(other_losses, losses, rtol=1e-5, atol=1e-6)
        for name, g in whole.items():
            torch.testing.assert_close(
                halves[name], g, rtol=1e-5, atol=1e-6 * float(g.abs().max()), msg=name
            )


def test_torchrun_end_to_end(tmp_path, one_thread):
    """Two processes with 1 micro-batch each report the losses of one with 2, each row once.

    A signal to one of them stops both at the same step; resumed they come to the same end.
    """
    argv = [
        *TINY,
        "--n_train",
        "60",
        "--n_val",
        "10",
        "--n_test",
        "4",
        "--depth",
        "1",
        "--max_steps",
        "150",
        "--eval_interval",
        "100",
    ]
    train.main([*argv, "--accumulate", "2", "--out_dir", str(tmp_path / "one")])
    launch = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc_per_node=2",
        train.__file__,
    ]
    running = subprocess.Popen(
        [*launch, *argv, "--out_dir", str(tmp_path / "two")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not (tmp_path / "two" / "ckpt.pt").exists() and running.poll() is None:
        time.sleep(0.01)
    workers = subprocess.run(
        ["pgrep", "-P", str(running.pid)], capture_output=True, text=True
    ).stdout.split()
    os.kill(int(workers[-1]), signal.SIGTERM)
    printed, errors = running.communicate()
    assert (
        running.returncode
        and printed.count("2 processes") == 1
        and errors.count("go on with: torchrun") == 1
    )
    step = read_checkpoint(tmp_path / "two" / "ckpt.pt")["training"]["state"]["step"]
    assert 0 < step < 150 and step % LOG_INTERVAL == 0
    with pytest.raises(UserError, match="has 2 processes, not 1"):
        train.main(["--resume", "--out_dir", str(tmp_path / "two")])
    done = subprocess.run(
        [*launch, "--resume", "--out_dir", str(tmp_path / "two")], capture_output=True, text=True
    )
    assert done.returncode == 0 and done.stdout.count("\naccuracy: ") == 1, done.stderr[-2000:]
    one, two = (read_jsonl(tmp_path / name / "metrics.jsonl") for name in ("one", "two"))
    assert [(m["step"], m["split"]) for m in one] == [(m["step"], m["split"]) for m in two]
    for a, b in zip(one, two, strict=False):
        assert abs(a["token_loss"] - b["token_loss"]) < 2e-3 * a["token_loss"]
    assert json.loads((tmp_path / "two" / "result.json").read_text())["tokens_per_second"] > 0
    done = subprocess.run(
        [*launch, *argv, "--minutes", "1", "--out_dir", str(tmp_path / "two")],
        capture_output=True,
        text=True,
    )
    assert done.returncode and "clocks" in done.stderr
