"""Two workers, or two processes, learn from one global batch what one learns from it."""

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import torch.distributed as dist

import train
from conftest import TINY
from data.algorithmic import prepare
from data.tools import parallel, workers
from data.tools.checkpoint import read_checkpoint
from data.tools.files import read_jsonl
from data.tools.flags import UserError
from data.tools.training_log import LOG_INTERVAL
from sample import evaluate
from train import Data, Run, TrainConfig, backward, validate

CPU = torch.device("cpu")


# --------------------------------------------------------------------------------------- gradients
def first_step(config, data):
    """(losses (2,), {name: gradient}) of this process in the first step of a run."""
    run = Run(config, data, CPU)
    torch.manual_seed(0)
    for p in run.model.parameters():
        torch.nn.init.normal_(p, std=0.1)  # no weight at its zero initial value
    _, micro_batches = run.next_batch(progress=0.5)
    losses = backward(run.forward, micro_batches, config, CPU)
    gradients = {}
    for name, p in run.model.named_parameters():
        gradients[name] = torch.zeros_like(p) if p.grad is None else p.grad
    return losses, gradients


def one_of_two(rank, folder, config, data):
    """What a process under torchrun does; its result goes to folder/RANK.pt."""
    torch.set_num_threads(1)
    parallel.RANK, parallel.WORLD = rank, 2
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    torch.save(first_step(config, data), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture
def two_workers(monkeypatch):
    with ThreadPoolExecutor(2, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        monkeypatch.setattr(workers, "N", 2)
        monkeypatch.setattr(workers, "POOL", pool)
        yield


FLAGS = [
    {"method": "scaffold"},
    {"method": "scaffold", "conditioning": "none"},
    {"method": "clone"},
]


@pytest.mark.parametrize("flags", FLAGS, ids=str)
@pytest.mark.parametrize("batch_size, accumulate", [(5, 2), (1, 1)])
def test_two_workers_have_the_gradients_of_one(
    flags, batch_size, accumulate, examples, tokenizer, traces, request
):
    data = Data(tokenizer, examples, traces, [], [], None)
    settings = {"depth": 2, "batch_size": batch_size, "accumulate": accumulate, "beta": 0.3}
    config = TrainConfig(**settings, **flags)
    losses, gradients = first_step(config, data)
    request.getfixturevalue("two_workers")
    found_losses, found_gradients = first_step(config, data)
    torch.testing.assert_close(found_losses, losses, rtol=1e-5, atol=1e-6)
    for name, gradient in gradients.items():
        atol = 1e-6 * float(gradient.abs().max())
        torch.testing.assert_close(found_gradients[name], gradient, rtol=1e-5, atol=atol, msg=name)
    again_losses, again_gradients = first_step(config, data)
    assert torch.equal(again_losses, found_losses)  # whichever worker is faster
    assert all(torch.equal(again_gradients[name], g) for name, g in found_gradients.items())


def test_two_workers_see_every_step_of_the_optimizer(examples, tokenizer, traces, two_workers):
    """Their weights are one memory, and each step begins without gradients."""
    data = Data(tokenizer, examples, traces, [], [], None)
    config = TrainConfig(depth=2, batch_size=4)
    run = Run(config, data, CPU)
    model, twin = run.forward.models
    for _ in range(2):
        _, micro_batches = run.next_batch(progress=0.5)
        backward(run.forward, micro_batches, config, CPU)
        before = twin.embed.weight.clone()
        for optimizer in run.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        assert torch.equal(twin.embed.weight, model.embed.weight)
        assert not torch.equal(twin.embed.weight, before)
        assert all(p.grad is None for m in (model, twin) for p in m.parameters())


def test_two_workers_validate_as_one(model, examples, tokenizer, request):
    losses = validate(model, examples[:70], tokenizer, TrainConfig(), CPU)
    request.getfixturevalue("two_workers")
    assert validate(model, examples[:70], tokenizer, TrainConfig(), CPU) == losses


@pytest.mark.parametrize("options", [{}, {"temperature": 1.0, "signals": "random"}], ids=str)
def test_two_workers_answer_as_one(options, student, request):
    rows = [row for row, _ in prepare.rows(["object_counting", "web_of_lies"], "val", 6)]
    settings = {"batch_size": 2, "max_tokens": 20, **options}
    _, records = evaluate(student, rows, **settings)
    request.getfixturevalue("two_workers")
    assert evaluate(student, rows, **settings)[1] == records


def test_a_share_of_the_cpu_is_respected(monkeypatch):
    """A container's limit, as "quota period" in microseconds, or "max period" without one."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    for text, threads in (("350000 100000", 3), ("50000 100000", 1), ("max 100000", 8)):
        monkeypatch.setattr(workers.Path, "read_text", lambda *_, text=text, **__: text)
        assert workers.cpu_threads() == threads


@pytest.mark.parametrize("threads, processes, n", [(2, 1, 2), (5, 1, 2), (1, 1, 1), (4, 2, 1)])
def test_workers_share_the_threads(threads, processes, n, monkeypatch):
    """One alone keeps them all; started twice, they are the same."""
    monkeypatch.setattr(workers, "N", 1)
    monkeypatch.setattr(workers, "POOL", None)
    torch.set_num_threads(threads)
    try:
        for _ in range(2):
            assert workers.start_workers(CPU, processes) == threads // n * n
            assert n == workers.N
            assert set(workers.side_by_side(lambda i: torch.get_num_threads(), range(9))) == {
                threads // n
            }
    finally:
        torch.set_num_threads(1)


@pytest.mark.slow
@pytest.mark.parametrize("flags", FLAGS, ids=str)
def test_two_processes_have_the_gradients_of_one(
    flags, examples, tokenizer, traces, tmp_path, forks
):
    """Their micro-batches have unequal lengths: a mean of the processes' means would differ."""
    data = Data(tokenizer, examples, traces, [], [], None)
    settings = {"depth": 2, "batch_size": 5, "beta": 0.3, **flags}
    losses, gradients = first_step(TrainConfig(**settings, accumulate=4), data)
    config = TrainConfig(**settings, accumulate=2)
    processes = []
    for rank in range(2):
        args = (rank, str(tmp_path), config, data)
        processes.append(forks.Process(target=one_of_two, args=args))
        processes[-1].start()
    for process in processes:
        process.join()
    for rank in range(2):
        found_losses, found_gradients = torch.load(tmp_path / f"{rank}.pt")
        torch.testing.assert_close(found_losses, losses, rtol=1e-5, atol=1e-6)
        for name, gradient in gradients.items():
            atol = 1e-6 * float(gradient.abs().max())
            torch.testing.assert_close(
                found_gradients[name], gradient, rtol=1e-5, atol=atol, msg=name
            )


# ---------------------------------------------------------------------------------------- torchrun
LAUNCH = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
LAUNCH.append(train.__file__)


@pytest.mark.slow
def test_torchrun_end_to_end(tmp_path, one_thread):
    """Two processes with 1 micro-batch each report the losses of one with 2, each row once.

    A signal to one of them stops both at the same step; resumed they come to the same end.
    """
    out = {1: tmp_path / "one", 2: tmp_path / "two"}
    flags = "--n_train 60 --n_val 10 --n_test 4 --depth 1 --max_steps 150 --eval_interval 100"
    argv = [*TINY, *flags.split()]
    train.main([*argv, "--accumulate", "2", "--out_dir", str(out[1])])

    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    running = subprocess.Popen([*LAUNCH, *argv, "--out_dir", str(out[2])], **pipes)
    stop_one_worker(running, out[2] / "ckpt.pt")
    printed, errors = running.communicate()
    assert running.returncode != 0
    assert printed.count("2 processes") == 1
    assert errors.count("go on with: torchrun") == 1
    step = read_checkpoint(out[2] / "ckpt.pt")["training"]["state"]["step"]
    assert 0 < step < 150
    assert step % LOG_INTERVAL == 0

    go_on = ["--resume", "--out_dir", str(out[2])]
    with pytest.raises(UserError, match="has 2 processes, not 1"):
        train.main(go_on)
    resumed = subprocess.run([*LAUNCH, *go_on], capture_output=True, text=True)
    assert resumed.returncode == 0, resumed.stderr[-2000:]
    assert resumed.stdout.count("\naccuracy: ") == 1
    for a, b in zip(*(read_jsonl(out[n] / "metrics.jsonl") for n in (1, 2)), strict=True):
        assert (a["step"], a["split"]) == (b["step"], b["split"])
        assert abs(a["token_loss"] - b["token_loss"]) < 2e-3 * a["token_loss"]
    assert json.loads((out[2] / "result.json").read_text())["tokens_per_second"] > 0


def stop_one_worker(launcher, checkpoint):
    """Send SIGTERM to one of the launcher's processes once the first checkpoint is there."""
    while not checkpoint.exists() and launcher.poll() is None:
        time.sleep(0.01)
    children = subprocess.run(["pgrep", "-P", str(launcher.pid)], capture_output=True, text=True)
    os.kill(int(children.stdout.split()[-1]), signal.SIGTERM)


@pytest.mark.parametrize("flags", [["--minutes", "1"], ["--grid", "plan.json"]])
def test_two_processes_refuse_what_only_one_can_do(flags, tmp_path, monkeypatch):
    monkeypatch.setattr(parallel, "WORLD", 2)
    with pytest.raises(UserError, match="leave them out under torchrun"):
        train.main([*TINY, *flags, "--out_dir", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()
