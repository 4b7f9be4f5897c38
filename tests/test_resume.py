"""A stopped, killed or failing run leaves a whole checkpoint; going on changes nothing."""

import json
import multiprocessing
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
from data.tools.files import read_jsonl
from data.tools.flags import UserError
from data.tools.flags import run_program as run
from data.tools.machine import lock_folder

SMALL = [
    *TINY,
    "--n_train",
    "80",
    "--n_test",
    "0",
    "--depth",
    "1",
    "--eval_interval",
    "7",
    "--accumulate",
    "2",
    "--first_tasks",
    "object_counting",
]


def same(a, b):
    """Equal down to the last bit, clocks aside."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(
            same(a[k], b[k])
            for k in a
            if k not in ("seconds", "tokens_per_second", "resume", "out_dir")
        )
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return torch.equal(a, b) if torch.is_tensor(a) else a == b


@pytest.fixture
def stop_before(monkeypatch):
    """A function: let the run be asked to stop while it is in its n-th step."""
    original = train.backward

    def stop(n, number=signal.SIGTERM):
        calls = []

        def backward(*args):
            calls.append(1)
            if len(calls) == n:
                os.kill(os.getpid(), number)
            return original(*args)

        monkeypatch.setattr(train, "backward", backward)

    yield stop


@pytest.fixture
def annotated(tmp_path):
    rows = annotate([r for r, _ in prepare.rows(["object_counting"], "train", 60)])[0]
    (tmp_path / "annotated.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    return [
        "--data",
        str(tmp_path / "annotated.jsonl"),
        "--depth",
        "1",
        "--max_steps",
        "90",
        "--eval_interval",
        "1",
        "--device",
        "cpu",
    ]


def test_a_padded_vocabulary_stays_on_another_device(tmp_path, stop_before, monkeypatch):
    """A run begun on a GPU, where the embedding is padded, goes on where it would not be."""
    plain = train.gpt_config
    monkeypatch.setattr(
        train, "gpt_config", lambda *args, padding, **others: plain(*args, padding=7, **others)
    )
    stop_before(9)
    with pytest.raises(KeyboardInterrupt):
        train.main([*SMALL, "--max_steps", "12", "--out_dir", str(tmp_path)])
    monkeypatch.setattr(train, "gpt_config", plain)
    train.main(["--resume", "--out_dir", str(tmp_path)])
    saved = read_checkpoint(tmp_path / "ckpt.pt")
    assert saved["gpt"]["padding"] == 7 and saved["training"]["state"]["step"] == 12


def test_resumed_is_uninterrupted(tmp_path, stop_before, capsys):
    """Model, both optimizers, data order, schedule and metrics.

    Stopped in the easy share, at a validation and at none; resumed with other flags and with none.
    """
    argv = [*SMALL, "--max_steps", "120", "--first_share", "0.3"]
    train.main([*argv, "--out_dir", str(tmp_path / "a")])
    handlers = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    go_on = ["--resume", "--out_dir", str(tmp_path / "b")]
    for steps, number, args in (
        (9, signal.SIGTERM, [*argv, "--out_dir", str(tmp_path / "b")]),
        (5, signal.SIGINT, go_on),
        (50, signal.SIGTERM, [*argv, *go_on]),
    ):
        stop_before(steps, number)
        with pytest.raises(KeyboardInterrupt, match="--resume --out_dir"):
            train.main(args)
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == handlers
    assert read_checkpoint(tmp_path / "b" / "ckpt.pt")["training"]["state"]["step"] == 64
    stop_before(10**9)
    train.main(go_on)
    a, b = (read_checkpoint(tmp_path / x / "ckpt.pt") for x in "ab")
    assert same(a, b)
    rows = [(r["step"], r["split"]) for r in read_jsonl(tmp_path / "b" / "metrics.jsonl")]
    assert rows == [
        (r["step"], r["split"]) for r in read_jsonl(tmp_path / "a" / "metrics.jsonl")
    ] and len(set(rows)) == len(rows)
    train.main(go_on)  # a finished run: nothing to do, nothing changes
    assert same(a, read_checkpoint(tmp_path / "b" / "ckpt.pt"))


def test_evaluation_leaves_training_alone(tmp_path):
    for name, interval in (("a", "3"), ("b", "1000")):
        train.main(
            [
                *SMALL,
                "--max_steps",
                "12",
                "--out_dir",
                str(tmp_path / name),
                "--eval_interval",
                interval,
            ]
        )
    a, b = (read_checkpoint(tmp_path / name / "ckpt.pt") for name in "ab")
    assert same(a["model"], b["model"]) and same(
        a["training"]["optimizers"], b["training"]["optimizers"]
    )


def test_resume_refuses_what_is_another_run(tmp_path):
    argv = [*SMALL, "--max_steps", "8", "--out_dir", str(tmp_path)]
    with pytest.raises(UserError, match="no such checkpoint"):
        train.main([*argv, "--resume"])
    train.main(argv)
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
    argv, file = (
        [*annotated, "--max_steps", "4", "--out_dir", str(tmp_path / "out")],
        tmp_path / "annotated.jsonl",
    )
    train.main(argv)
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    reworded, relabelled = json.loads(json.dumps(rows)), json.loads(json.dumps(rows))
    for other, key, value in (
        (reworded, "text", "Something else."),
        (relabelled, "signal", "Contrast and Concession"),
    ):
        train_row = next(r for r in other if prepare.split_of(r["question"]) == "train")
        train_row["steps"][1][key] = (
            value if train_row["steps"][1][key] != value else "Reasoning and Analysis"
        )
    for other in (reworded, relabelled, rows[::-1]):
        file.write_text("".join(json.dumps(r) + "\n" for r in other))
        with pytest.raises(UserError, match="not the traces that the run in .* began with"):
            train.main(["--resume", "--out_dir", str(tmp_path / "out")])


def test_a_new_run_is_the_one_that_is_resumed(tmp_path, stop_before):
    """Killed early, it must not leave an earlier run's checkpoint to go on from."""
    train.main([*SMALL, "--max_steps", "8", "--out_dir", str(tmp_path)])
    stop_before(2)
    with pytest.raises(KeyboardInterrupt):
        train.main([*SMALL, "--max_steps", "9", "--beta", "0.7", "--out_dir", str(tmp_path)])
    assert read_checkpoint(tmp_path / "ckpt.pt")["config"]["beta"] == 0.7


def test_one_run_a_folder(tmp_path):
    with lock_folder(tmp_path), pytest.raises(UserError, match="another run is writing there"):
        train.main([*SMALL, "--max_steps", "2", "--out_dir", str(tmp_path)])
    train.main([*SMALL, "--max_steps", "2", "--out_dir", str(tmp_path)])
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        train.main([*SMALL, "--max_steps", "2", "--out_dir", str(tmp_path / "file" / "out")])


# -------------------------------------------------------------------------------- killed for good
@pytest.fixture(scope="module")
def forks():
    """Processes that start with torch already imported."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["train", "torch._dynamo"])
    return context


def live(forks, *args):
    """The exit code of one whole life."""
    p = forks.Process(target=life, args=args)
    p.start()
    p.join()
    return p.exitcode


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
    run(lambda: train.main(argv))


def test_twenty_kills_later(forks, annotated, tmp_path):
    """kill -9 at 20 random moments, every third one inside a save.

    Always a whole checkpoint, no stale lock, and in the end the weights of the run nobody killed.
    """
    whole, out, log, rng = tmp_path / "whole", tmp_path / "out", tmp_path / "log", random.Random(0)
    assert live(forks, [*annotated, "--out_dir", str(whole)], log) == 0, log.read_text()
    inside, step = 0, -1
    for i in range(20):
        argv = (
            ["--resume", "--out_dir", str(out)]
            if (out / "ckpt.pt").exists()
            else [*annotated, "--out_dir", str(out)]
        )
        p = forks.Process(target=life, args=(argv, log))
        p.start()

        def saved():
            return (out / "ckpt.pt").stat().st_mtime_ns if (out / "ckpt.pt").exists() else 0

        before = saved()
        while saved() == before and p.is_alive():  # it lives and goes on
            time.sleep(0.002)
        time.sleep(0.03 * rng.random())
        while i % 3 == 0 and not (out / "ckpt.pt.part").exists() and p.is_alive():
            pass
        os.kill(p.pid, signal.SIGKILL)
        p.join()
        assert p.exitcode == -signal.SIGKILL, log.read_text()[-2000:]
        inside += (out / "ckpt.pt.part").exists()
        now = read_checkpoint(out / "ckpt.pt")["training"]["state"]["step"]
        assert now > step
        step = now
    assert inside >= 3 and step < 90
    assert live(forks, ["--resume", "--out_dir", str(out)], log) == 0, log.read_text()
    assert same(*(read_checkpoint(x / "ckpt.pt") for x in (whole, out)))
    assert not list(out.glob("*.part"))


def test_a_full_disk_keeps_the_checkpoint_before(forks, annotated, tmp_path):
    out, log = tmp_path / "out", tmp_path / "log"
    first = [*annotated, "--max_steps", "3", "--out_dir", str(out)]
    assert live(forks, first, log) == 0
    before = (out / "ckpt.pt").read_bytes()
    for limit in (len(before) // 5, len(before) // 10):
        log = tmp_path / f"log {limit}"
        code, last = (
            live(forks, [*annotated, "--out_dir", str(out)], log, limit),
            log.read_text().strip().splitlines()[-1],
        )
        assert (
            code == 2
            and last.startswith("error: ")
            and "cannot be written" in last
            and "Traceback" not in log.read_text()
        )
        assert (out / "ckpt.pt").read_bytes() == before and not list(out.glob("*.part"))


# ---------------------------------------------------------------------------------- watched numbers
@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_a_number_that_is_none_stops_the_run(tmp_path, monkeypatch, what):
    original, calls = train.backward, []

    def backward(forward, micro, *args):
        losses = original(forward, micro, *args)
        calls.append(1)
        if len(calls) == 13:
            if what == "loss":
                return losses * float("nan")
            forward.norm.weight.grad[0] = float("inf")
        return losses

    monkeypatch.setattr(train, "backward", backward)
    with pytest.raises(
        UserError, match=r"step 13: a loss or gradient is not finite, on the traces train-"
    ) as e:
        train.main([*SMALL, "--max_steps", "60", "--out_dir", str(tmp_path)])
    assert str(e.value).count("train-") == 16
    saved = read_checkpoint(tmp_path / "ckpt.pt")
    assert saved["training"]["state"]["step"] == 7 and all(
        v.isfinite().all() for v in saved["model"].values()
    )
