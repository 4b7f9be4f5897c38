"""A stopped, killed or failing run leaves a whole checkpoint; going on changes nothing."""

import copy
import json
import os
import random
import resource
import signal
import time

import pytest
import torch

import train
from annotate import annotate
from conftest import TINY
from data.algorithmic import prepare
from data.tools.checkpoint import read_checkpoint
from data.tools.files import read_jsonl, write_jsonl
from data.tools.flags import UserError, run_program
from data.tools.machine import lock_folder

SMALL = [*TINY, *"--n_train 80 --n_test 0 --depth 1 --eval_interval 7 --accumulate 2".split()]
SMALL += ["--first_tasks", "object_counting"]


def run_to(folder, *flags):
    """Train a small student in a folder."""
    train.main([*SMALL, *flags, "--out_dir", str(folder)])


def saved_step(folder):
    return read_checkpoint(folder / "ckpt.pt")["training"]["state"]["step"]


def same(a, b):
    """Are two values of a checkpoint equal down to the last bit, clocks and folders aside?"""
    if isinstance(a, dict):
        names = a.keys() - {"seconds", "tokens_per_second", "resume", "out_dir"}
        return a.keys() == b.keys() and all(same(a[name], b[name]) for name in names)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return torch.equal(a, b) if torch.is_tensor(a) else a == b


def same_checkpoints(folder, other):
    return same(read_checkpoint(folder / "ckpt.pt"), read_checkpoint(other / "ckpt.pt"))


@pytest.fixture
def annotated(tmp_path):
    """An annotated file of 60 traces."""
    rows, _ = annotate([row for row, _ in prepare.rows(["object_counting"], "train", 60)])
    write_jsonl(tmp_path / "annotated.jsonl", rows)
    return tmp_path / "annotated.jsonl"


# -------------------------------------------------------------------------------- stopped, resumed
@pytest.mark.slow
def test_resumed_is_uninterrupted(tmp_path, stop_in):
    """Model, both optimizers, data order, schedule and metrics.

    Stopped in the easy share, at a validation and at none; resumed with other flags and with none.
    """
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    flags = "--max_steps 80 --first_share 0.4".split()
    run_to(whole, *flags)
    handlers = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    begin = [*SMALL, *flags, "--out_dir", str(parts)]
    go_on = ["--resume", "--out_dir", str(parts)]
    for n_steps, number, argv in (
        (9, signal.SIGTERM, begin),
        (5, signal.SIGINT, go_on),
        (50, signal.SIGTERM, [*begin, "--resume"]),
    ):
        stop_in(n_steps, number)
        with pytest.raises(KeyboardInterrupt, match="--resume --out_dir"):
            train.main(argv)
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == handlers
    assert saved_step(parts) == 9 + 5 + 50
    train.main(go_on)
    assert same_checkpoints(whole, parts)
    metrics = [read_jsonl(folder / "metrics.jsonl") for folder in (whole, parts)]
    assert metrics[0] == metrics[1]
    points = {(m["step"], m["split"]) for m in metrics[1]}
    assert len(points) == len(metrics[1])  # nothing twice
    train.main(go_on)  # a finished run: nothing to do, nothing changes
    assert same_checkpoints(whole, parts)


def test_a_padded_vocabulary_stays_on_another_device(tmp_path, stop_in, monkeypatch):
    """A run begun on a GPU, where the embedding is padded, goes on where it would not be."""
    gpt_config = train.gpt_config

    def padded(*args, padding, **others):
        return gpt_config(*args, padding=7, **others)

    monkeypatch.setattr(train, "gpt_config", padded)
    stop_in(9)
    with pytest.raises(KeyboardInterrupt):
        run_to(tmp_path, "--max_steps", "12")
    monkeypatch.setattr(train, "gpt_config", gpt_config)
    train.main(["--resume", "--out_dir", str(tmp_path)])
    assert read_checkpoint(tmp_path / "ckpt.pt")["gpt"]["padding"] == 7
    assert saved_step(tmp_path) == 12


@pytest.mark.slow
def test_evaluation_leaves_training_alone(tmp_path):
    often, never = tmp_path / "often", tmp_path / "never"
    run_to(often, "--max_steps", "12", "--eval_interval", "3")
    run_to(never, "--max_steps", "12", "--eval_interval", "1000")
    a, b = read_checkpoint(often / "ckpt.pt"), read_checkpoint(never / "ckpt.pt")
    assert same(a["model"], b["model"])
    assert same(a["training"]["optimizers"], b["training"]["optimizers"])


def test_a_new_run_is_the_one_that_is_resumed(tmp_path, stop_in):
    """Killed early, it must not leave an earlier run's checkpoint to go on from."""
    run_to(tmp_path, "--max_steps", "8")
    stop_in(2)
    with pytest.raises(KeyboardInterrupt):
        run_to(tmp_path, "--max_steps", "9", "--beta", "0.7")
    assert read_checkpoint(tmp_path / "ckpt.pt")["config"]["beta"] == 0.7


# ------------------------------------------------------------------------------------------ refused
def test_resume_refuses_what_is_another_run(tmp_path):
    with pytest.raises(UserError, match="no such checkpoint"):
        run_to(tmp_path, "--max_steps", "8", "--resume")
    run_to(tmp_path, "--max_steps", "8")
    before = (tmp_path / "ckpt.pt").read_bytes()
    for flag, value in (
        ("--beta", "0.2"),
        ("--max_steps", "9"),
        ("--seed", "1"),
        ("--method", "clone"),
    ):
        with pytest.raises(UserError, match=f"{flag} {value}: the run in .* leave the flag out"):
            train.main(["--resume", "--out_dir", str(tmp_path), flag, value])
    assert (tmp_path / "ckpt.pt").read_bytes() == before


def test_resume_refuses_other_traces(annotated, tmp_path):
    """One step reworded, one signal changed, or another order make another run's data."""
    out = ["--out_dir", str(tmp_path / "out")]
    flags = "--depth 1 --max_steps 4 --eval_interval 1 --device cpu".split()
    train.main(["--data", str(annotated), *flags, *out])
    rows = [json.loads(line) for line in annotated.read_text().splitlines()]
    in_training = [i for i, r in enumerate(rows) if prepare.split_of(r["question"]) == "train"]
    reworded, relabelled = copy.deepcopy(rows), copy.deepcopy(rows)
    reworded[in_training[0]]["steps"][1]["text"] = "Something else."
    step = relabelled[in_training[0]]["steps"][1]
    is_contrast = step["signal"] == "Contrast and Concession"
    step["signal"] = "Reasoning and Analysis" if is_contrast else "Contrast and Concession"
    for other in (reworded, relabelled, rows[::-1]):
        write_jsonl(annotated, other)
        with pytest.raises(UserError, match="not the traces that the run in .* began with"):
            train.main(["--resume", *out])


def test_one_run_a_folder(tmp_path):
    with lock_folder(tmp_path), pytest.raises(UserError, match="another run is writing there"):
        run_to(tmp_path, "--max_steps", "2")
    run_to(tmp_path, "--max_steps", "2")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        run_to(tmp_path / "file" / "out", "--max_steps", "2")


# --------------------------------------------------------------------------------- killed for good
def life(argv, log, limit=None):
    """One process's run of train.py, its messages to a file.

    limit: no file may grow beyond so many bytes, as on a full disk.
    """
    torch.set_num_threads(1)
    with open(log, "a") as f:
        os.dup2(f.fileno(), 1)
        os.dup2(f.fileno(), 2)
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    run_program(lambda: train.main(argv))


def live(forks, *args):
    """The exit code of one whole life."""
    process = forks.Process(target=life, args=args)
    process.start()
    process.join()
    return process.exitcode


def time_of(file):
    return file.stat().st_mtime_ns if file.exists() else 0


def kill(process, checkpoint, seconds, in_a_save):
    """Send SIGKILL so many seconds after the process's first checkpoint, or in its next save."""
    before = time_of(checkpoint)
    while time_of(checkpoint) == before and process.is_alive():
        time.sleep(0.002)
    time.sleep(seconds)
    part = checkpoint.with_name(f"ckpt.pt.{process.pid}.part")
    while in_a_save and not part.exists() and process.is_alive():
        pass
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    return part.exists()


def flags_of_lives(annotated, max_steps):
    """Flags of a run that saves at every step."""
    flags = f"--depth 1 --max_steps {max_steps} --eval_interval 1 --device cpu --out_dir"
    return ["--data", str(annotated), *flags.split()]


@pytest.mark.slow
def test_twenty_kills_later(forks, annotated, tmp_path):
    """kill -9 at 20 random moments, every third one inside a save.

    Always a whole checkpoint, no stale lock, and in the end the weights of the run nobody killed.
    """
    whole, out, log = tmp_path / "whole", tmp_path / "out", tmp_path / "log"
    begin = flags_of_lives(annotated, max_steps=90)
    go_on = ["--resume", "--out_dir", str(out)]
    assert live(forks, [*begin, str(whole)], log) == 0, log.read_text()
    rng = random.Random(0)
    step, n_in_a_save = -1, 0
    for i in range(20):
        process = forks.Process(target=life, args=(go_on if i else [*begin, str(out)], log))
        process.start()
        seconds = 0.03 * rng.random()
        n_in_a_save += kill(process, out / "ckpt.pt", seconds, in_a_save=i % 3 == 0)
        assert process.exitcode == -signal.SIGKILL, log.read_text()[-2000:]
        previous, step = step, saved_step(out)
        assert step > previous
    assert n_in_a_save >= 3
    assert step < 90
    assert live(forks, go_on, log) == 0, log.read_text()
    assert same_checkpoints(whole, out)
    assert not list(out.glob("*.part"))


@pytest.mark.slow
def test_a_full_disk_keeps_the_checkpoint_before(forks, annotated, tmp_path):
    out, log = tmp_path / "out", tmp_path / "log"
    assert live(forks, [*flags_of_lives(annotated, max_steps=3), str(out)], log) == 0
    before = (out / "ckpt.pt").read_bytes()
    for share in (5, 10):
        log = tmp_path / f"log of {share}"
        argv = [*flags_of_lives(annotated, max_steps=90), str(out)]
        assert live(forks, argv, log, len(before) // share) == 2
        printed = log.read_text()
        last_line = printed.strip().splitlines()[-1]
        assert last_line.startswith("error: ")
        assert "cannot be written" in last_line
        assert "Traceback" not in printed
        assert (out / "ckpt.pt").read_bytes() == before
        assert not list(out.glob("*.part"))


# --------------------------------------------------------------------------------- watched numbers
@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_a_number_that_is_none_stops_the_run(tmp_path, monkeypatch, what):
    original, calls = train.backward, []

    def backward(forward, *args):
        losses = original(forward, *args)
        calls.append(1)
        if len(calls) == 13 and what == "loss":
            return losses * float("nan")
        if len(calls) == 13:
            forward.norm.weight.grad[0] = float("inf")
        return losses

    monkeypatch.setattr(train, "backward", backward)
    message = "step 13: a loss or gradient is not finite, on the traces train-"
    with pytest.raises(UserError, match=message) as e:
        run_to(tmp_path, "--max_steps", "60")
    assert str(e.value).count("train-") == 16  # 2 micro-batches of 8
    assert saved_step(tmp_path) == 7
    weights = read_checkpoint(tmp_path / "ckpt.pt")["model"]
    assert all(w.isfinite().all() for w in weights.values())
