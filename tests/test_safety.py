"""What must hold whatever the student writes.

Decoding ends, rows keep to themselves, figures are what they say, no code of the user's is run.
"""

import math
import random
import re
from pathlib import Path

import pytest
import torch

import train
from annotate import annotate
from data.algorithmic import check, prepare
from data.benchmarks.answers import extract, same
from data.tools.batch import graphed_step
from data.tools.traces import to_trace
from model import GPT, KVCache, gpt_config
from sample import evaluate, reason
from scaffold import SIGNAL_NAMES, Step, Tokenizer, Trace, collate, encode, encode_all
from train import TrainConfig, backward

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.usefixtures("one_thread")
TASKS = ["object_counting", "boolean_expressions"]


@pytest.fixture(scope="module")
def rows():
    """Questions of several lengths and families, one of no family among them, with their traces."""
    return [
        *(r for r, _ in prepare.rows(TASKS, "test", 8)),
        *(r for r, _ in prepare.rows(["web_of_lies"], "test", 2)),
        {"question": "How far is it?", "trace": "I think far.\n\nSo 3 miles.", "answer": "3"},
    ]


def test_an_answer_does_not_depend_on_its_neighbours(student, rows):
    questions, write = (
        [r["question"] for r in rows],
        lambda qs: reason(student.model, student.tokenizer, qs, student.method, max_tokens=60),
    )

    def what(r):
        return ([(s.signal, s.text) for s in r.steps], r.tokens, r.finished, r.answer)

    alone = [write([q])[0] for q in questions]
    for size, seed in ((2, 0), (4, 1), (len(rows), 2), (len(rows), 3)):
        order = random.Random(seed).sample(range(len(rows)), len(rows))
        for at in range(0, len(rows), size):
            for i, r in zip(
                order[at : at + size],
                write([questions[i] for i in order[at : at + size]]),
                strict=False,
            ):
                assert what(r) == what(alone[i]) and abs(r.logp - alone[i].logp) < 1e-3
    assert len({r.tokens for r in alone}) > 1 or not all(
        r.finished for r in alone
    )  # rows that end at different times, or never, are among them


def test_states_do_not_depend_on_padding_or_neighbours(model, tokenizer, rows):
    prompts = [tokenizer.encode(r["question"]) for r in rows]
    lengths, longest = torch.tensor([len(p) for p in prompts]), max(map(len, prompts))
    for filler in (tokenizer.end_id, 65):
        idx = torch.tensor([p + [filler] * (longest + 3 - len(p)) for p in prompts])
        cache, written = (
            KVCache(model.config, len(prompts), model.lm_head.weight),
            torch.arange(len(prompts)) + 66,
        )
        batched, cached = (
            model.hidden(idx),
            model.prefill(idx, lengths, cache, torch.arange(len(prompts))),
        )
        later = [
            model.next_hidden(written, cache),
            model.next_hidden(written + 1, cache),
        ]  # two tokens on from the prompts, each row at its own place
        for b, p in enumerate(prompts):
            alone = model.hidden(torch.tensor([[*p, 66 + b, 67 + b]]))[0]
            for states in (batched[b, : len(p)], cached[b, : len(p)]):
                assert (model.lm_head(states) - model.lm_head(alone[: len(p)])).abs().max() < 1e-4
            for t, states in enumerate(later):
                assert (
                    model.lm_head(states[b]) - model.lm_head(alone[len(p) + t])
                ).abs().max() < 1e-4


@pytest.mark.parametrize("prune", (False, True))
def test_a_student_that_never_ends_is_stopped(tokenizer, rows, prune):
    torch.manual_seed(0)
    model = GPT(gpt_config(1, tokenizer.vocab_size, 256)).eval()
    forward, questions = model.token_logits, [r["question"] for r in rows]
    model.token_logits = lambda *args: forward(*args).index_fill(
        -1, torch.tensor([tokenizer.end_id]), -1e9
    )
    for r in reason(model, tokenizer, questions, max_tokens=20, prune=prune):
        assert 0 < r.tokens <= 20 + 20 * prune and not r.finished and r.answer is None
    lengths = [len(tokenizer.encode(q)) for q in questions]
    for n, r in zip(lengths, reason(model, tokenizer, questions, max_tokens=10**6), strict=False):
        assert (
            r.tokens == 256 - n and not r.finished and r.answer is None
        )  # its own room, whatever stands beside it
    step = (
        model.token_logits
    )  # nothing but empty steps: the shortest thing that could go on forever
    model.token_logits = lambda *args: step(*args).index_fill(
        -1, torch.tensor([tokenizer.step_id]), 1e9
    )
    assert all(
        r.tokens <= 256 and not r.finished
        for r in reason(model, tokenizer, questions, max_tokens=10**6, prune=prune)
    )


def test_the_figures_by_a_slow_path(student, rows):
    """One question at a time, and every signal from the bare beginning of the trace."""
    model, tokenizer = student.model, student.tokenizer
    result, records = evaluate(student, rows, batch_size=4, max_tokens=150)
    found = []
    for row, record in zip(rows, records, strict=False):
        r = reason(model, tokenizer, [row["question"]], student.method, max_tokens=150)[0]
        texts = [s.text for s in r.steps]
        answer = extract(texts[-1]) if r.finished else None
        right, wrong = same(answer, row["answer"]), check.check(row["question"], texts)
        assert (
            [s["text"] for s in record["steps"]] == texts
            and record["given"] == answer
            and record["correct"] == right
        )
        hits, ids = [], tokenizer.encode(row["question"].strip())
        for step in annotate([row], weight=student.classifier)[0][0]["steps"]:
            ids = [*ids, tokenizer.step_id]
            hits.append(
                int(model.signal_head(model.hidden(torch.tensor([ids]))[0, -1]).argmax())
                == SIGNAL_NAMES.index(step["signal"])
            )
            ids += tokenizer.encode(step["text"])
        found.append(
            (
                check.task_of(row["question"]) or "other",
                right,
                None if wrong is None else not right or any(wrong) or not texts,
                hits,
            )
        )

    def mean(xs):
        return sum(xs) / len(xs) if xs else None

    for task, scores in (("", result), *result["tasks"].items()):
        mine = [f for f in found if task in ("", f[0])]
        expected = (
            len(mine),
            mean([f[1] for f in mine]),
            mean([f[2] for f in mine if f[2] is not None]),
            mean([h for f in mine for h in f[3]]),
        )
        assert (
            scores["questions"],
            scores["accuracy"],
            scores["erroneous_paths"],
            scores["signal_accuracy"],
        ) == pytest.approx(expected)
    assert (
        set(result["tasks"]) == {*TASKS, "web_of_lies", "other"}
        and 0 < result["signal_accuracy"] < 1
    )


@pytest.mark.parametrize("method", ("scaffold", "clone"))
@pytest.mark.parametrize("loss", ("ce", "mse"))
def test_a_batch_without_targets_is_harmless(tokenizer, method, loss):
    """No boundary to learn from, alone and beside a micro-batch that has some."""
    torch.manual_seed(0)
    model, config = (
        GPT(gpt_config(2, tokenizer.vocab_size, 128, signal_loss=loss)),
        TrainConfig(method=method),
    )
    bare = collate(
        [encode(Trace("a question", [Step(2, "a step")], "1", n_context=1), tokenizer)], tokenizer
    )
    full = collate(
        [
            encode(
                Trace("another", [Step(2, "a step"), Step(6, "The answer is 1.")], "1"), tokenizer
            )
        ],
        tokenizer,
    )
    tokens_only = (*full[:3], torch.full_like(full[3], -1))
    assert not (bare[2] >= 0).any() and not (bare[3] >= 0).any()
    for micro, zero in (
        ([bare], [True, True]),
        ([bare, bare], [True, True]),
        ([tokens_only], [False, True]),
        ([bare, full], [False, method == "clone"]),
    ):
        model.zero_grad()
        losses = backward(model, micro, config, torch.device("cpu")).tolist()
        assert all(map(math.isfinite, losses)) and [x == 0 for x in losses] == zero
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        assert all(g.isfinite().all() for g in gradients) and (
            any(g.any() for g in gradients) != all(zero)
        )
    alone = backward(model, [full], config, torch.device("cpu"))
    assert torch.allclose(
        backward(model, [bare, full, bare], config, torch.device("cpu")), alone
    )  # nor does it dilute the others


def test_too_long_traces_are_dropped_and_counted(tmp_path, capsys):
    kept = [r for r, _ in prepare.rows(TASKS, "train", 60)] + [
        r for r, _ in prepare.rows(TASKS, "val", 30)
    ]
    traces = [to_trace(r) for r in annotate(kept)[0]]
    argv = [
        "--n_train",
        "60",
        "--n_val",
        "30",
        "--n_test",
        "0",
        "--tasks",
        ",".join(TASKS),
        "--show",
        "1",
        "--out_dir",
        str(tmp_path),
    ]
    tokenizer = Tokenizer.train(
        [" ".join([t.question, *(" " + s.text for s in t.steps)]) for t in traces[:60]],
        TrainConfig.vocab_size,
    )

    def positions(t):
        return len(tokenizer.encode(t.question)) + sum(
            1 + len(tokenizer.encode(s.text)) for s in t.steps
        )  # the last token is only a target

    longer = [positions(t) > 150 for t in traces]
    train.main([*argv, "--block_size", "150"])
    assert (
        f"dropped {sum(longer[:60])} of 60 training and {sum(longer[60:])} of 30 validation traces"
        in capsys.readouterr().out
    )
    assert 0 < sum(longer[:60]) < 60 and 0 < sum(longer[60:]) < 30
    train.main(argv)
    assert "dropped" not in capsys.readouterr().out
    exact = traces[0]
    assert encode_all([exact], tokenizer, positions(exact))[1] == 0 and encode_all(
        [exact], tokenizer, positions(exact) - 1
    ) == ([], 1)
    assert len(encode(exact, tokenizer).ids) == positions(exact) + 1  # nothing is ever cut


def test_nothing_of_the_users_is_run():
    """No code, pickle or shell for what comes from a file; a checkpoint holds plain types only."""
    sources = [p for p in ROOT.rglob("*.py") if p.relative_to(ROOT).parts[0] in ("data", p.name)]
    assert {p.name for p in sources} >= {
        "scaffold.py",
        "train.py",
        "sample.py",
        "model.py",
        "annotate.py",
        "answers.py",
        "arithmetic.py",
        "check.py",
        "prepare.py",
    }
    for path in sources:
        text = path.read_text(encoding="utf-8")
        banned = re.findall(
            r"(?<![\w.])(?:eval|exec|compile|__import__)\(|\b(?:pickle|marshal|shelve|joblib|dill)\b|os\.system|shell=True|allow_pickle|literal_eval|yaml\.load|trust_remote_code",
            text,
        )
        assert not banned, f"{path}: {banned}"
        assert all(
            "weights_only=True" in line for line in text.splitlines() if "torch.load(" in line
        )


@pytest.mark.parametrize(
    "options",
    (
        {},
        {"tau": 0.8, "flows": [[2, 4, 3][: i % 4] for i in range(11)]},
        {"prune": True},
        {"method": "clone"},
    ),
)
def test_a_static_cache_with_refilled_rows_writes_the_same(student, rows, options, monkeypatch):
    """As on CUDA, but for the graph itself: one fixed shape for all tokens, compiled once.

    Three rows take up the next of eleven questions as they become free, so that they stand at
    different places of their answers.
    """
    real, compiled = torch.compile, []
    monkeypatch.setattr(
        torch,
        "compile",
        lambda f, mode, fullgraph: (
            compiled.append(mode) or real(f, backend="aot_eager", fullgraph_rows=fullgraph)
        ),
    )
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    graphed_step.cache_clear()
    questions = [
        r["question"] for r in (rows[-1], *rows[:-1])
    ]  # the first one has the shortest answer

    def write(**more):
        return [
            (r.steps, r.tokens, r.finished, r.answer)
            for r in reason(
                student.model, student.tokenizer, questions, max_tokens=60, **options, **more
            )
        ]

    first, *others = [tokens for _, tokens, _, _ in write()]
    assert first < others[0]
    assert write(graph_rows=3) == write()
    assert write(graph_rows=3) == write()  # on memory that has been used
    assert (
        compiled == ["reduce-overhead"]
        and torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1
    )
    assert write(graph_rows=16) == write()  # rows that never get a question
    graphed_step.cache_clear()
