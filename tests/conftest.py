import pytest
import torch

from annotate import annotate
from data.algorithmic import prepare
from model import GPT, gpt_config, load_checkpoint
from scaffold import Tokenizer, encode_all, to_trace
from train import main as train_main

torch.set_num_threads(2)


@pytest.fixture(scope="session")
def traces():
    """160 annotated traces of all families."""
    rows = [r for r, _ in prepare.rows(list(prepare.TASKS), "train", 160)]
    return [to_trace(r) for r in annotate(rows)[0]]


@pytest.fixture(scope="session")
def tokenizer(traces):
    return Tokenizer.train([" ".join([t.question, *(s.text for s in t.steps)]) for t in traces], 1000)


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


TINY = ["--tasks", "object_counting,boolean_expressions", "--n_train", "400", "--n_val", "20", "--n_test", "12", "--depth", "2", "--max_steps", "150",
        "--eval_interval", "75", "--device", "cpu"]


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """The out_dir of a small student, trained for seconds: it writes steps and answers, not right ones."""
    out = tmp_path_factory.mktemp("out")
    train_main([*TINY, "--out_dir", str(out)])
    return out


@pytest.fixture(scope="session")
def student(trained):
    return load_checkpoint(trained / "ckpt.pt", "cpu")
