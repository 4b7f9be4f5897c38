import multiprocessing
import os
import signal

import pytest
import torch

import train
from annotate import annotate
from data.algorithmic import prepare
from data.tools.checkpoint import load_student
from data.tools.traces import to_trace
from model import GPT, gpt_config
from scaffold import Tokenizer, encode_all
from train import main as train_main

torch.set_num_threads(1)  # with two, many tiny calls mostly wait for one another


def pytest_configure(config):
    """Declare the marker that `-m "not slow"` leaves out."""
    config.addinivalue_line("markers", "slow: takes more than about three seconds")
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # pytest in the background of a script:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # programs would ignore it, too


@pytest.fixture(scope="session")
def traces():
    """160 annotated traces of all families."""
    rows = [row for row, _ in prepare.rows(list(prepare.FAMILIES), "train", 160)]
    return [to_trace(row) for row in annotate(rows)[0]]


@pytest.fixture(scope="session")
def tokenizer(traces):
    texts = [" ".join([t.question, *(step.text for step in t.steps)]) for t in traces]
    return Tokenizer.train(texts, 1000)


@pytest.fixture(scope="session")
def examples(traces, tokenizer):
    return encode_all(traces, tokenizer, 1024)[0]


@pytest.fixture(scope="module")
def one_thread():
    """Many tiny calls: threads would only wait for one another."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def model(tokenizer):
    """A small student with no weight at its zero initial value, so that every path counts."""
    torch.manual_seed(0)
    gpt = GPT(gpt_config(2, tokenizer.vocab_size, 1024))
    for p in gpt.parameters():
        torch.nn.init.normal_(p, std=0.1)
    with torch.no_grad():
        gpt.signal_embedding.weight[-1] = 0
    return gpt.eval()


@pytest.fixture(scope="session")
def forks():
    """Processes that start with torch already imported: the first to ask decides what is."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["train", "torch._dynamo"])
    return context


@pytest.fixture
def stop_in(monkeypatch):
    """A function: let the run be asked to stop while it is in its n-th step from here on."""
    original = train.backward

    def stop(n, number=signal.SIGTERM):
        calls = []

        def backward(*args):
            calls.append(1)
            if len(calls) == n:
                os.kill(os.getpid(), number)
            return original(*args)

        monkeypatch.setattr(train, "backward", backward)

    return stop


TINY = (
    "--tasks object_counting,boolean_expressions --n_train 400 --n_val 20 --n_test 12 --depth 2 "
    "--max_steps 150 --eval_interval 75 --device cpu"
).split()


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """The out_dir of a small student, trained for seconds: its answers are not right."""
    out = tmp_path_factory.mktemp("out")
    train_main([*TINY, "--out_dir", str(out)])
    return out


@pytest.fixture(scope="session")
def student(trained):
    return load_student(trained / "ckpt.pt", "cpu")
