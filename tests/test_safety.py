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
from data.algorithmic import prepare
from data.algorithmic.check import check, task_of
from data.benchmarks.answers import extract, same
from data.tools.batch import graphed_step
from data.tools.kv_cache import KVCache
from data.tools.traces import to_trace
from model import GPT, gpt_config
from sample import evaluate, reason
from scaffold import (
    CONCLUSION,
    CONTRAST,
    REASONING,
    RECALL,
    RESPONSE,
    SIGNAL_NAMES,
    Step,
    Tokenizer,
    Trace,
    collate,
    encode,
    encode_all,
)
from train import TrainConfig, backward

ROOT = Path(__file__).parent.parent
CPU = torch.device("cpu")
TASKS = ["object_counting", "boolean_expressions"]
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def rows():
    """Questions of several lengths and families, one of no family among them, with their traces."""
    pairs = prepare.rows(TASKS, "test", 8) + prepare.rows(["web_of_lies"], "test", 2)
    other = {"question": "How far is it?", "trace": "I think far.\n\nSo 3 miles.", "answer": "3"}
    return [*(row for row, _ in pairs), other]


@pytest.fixture(scope="module")
def questions(rows):
    return [row["question"] for row in rows]


def outcome(reasoning):
    return reasoning.steps, reasoning.tokens, reasoning.finished, reasoning.answer


# ------------------------------------------------------------------------- rows keep to themselves
@pytest.mark.slow
def test_an_answer_does_not_depend_on_its_neighbours(student, questions):
    def write(chosen):
        return reason(student.model, student.tokenizer, chosen, student.method, max_tokens=60)

    alone = [write([question])[0] for question in questions]
    # Some end at other times than others, or never.
    assert len({r.tokens for r in alone}) > 1 or not all(r.finished for r in alone)
    n = len(questions)
    for size, seed in ((2, 0), (4, 1), (n, 2), (n, 3)):
        order = random.Random(seed).sample(range(n), n)
        for start in range(0, n, size):
            numbers = order[start : start + size]
            together = write([questions[i] for i in numbers])
            for i, reasoning in zip(numbers, together, strict=True):
                assert outcome(reasoning) == outcome(alone[i])
                assert abs(reasoning.logp - alone[i].logp) < 1e-3


def test_states_do_not_depend_on_padding_or_neighbours(model, tokenizer, questions):
    """With and without a cache, and two tokens on from the prompts, each row at its own place."""
    prompts = [tokenizer.encode(question) for question in questions]
    B = len(prompts)
    lengths = torch.tensor([len(p) for p in prompts])
    T = int(lengths.max()) + 3
    first = torch.arange(B) + 66  # the token that follows each prompt

    def logit_gap(states, expected):
        return (model.lm_head(states) - model.lm_head(expected)).abs().max()

    for filler in (tokenizer.end_id, 65):
        idx = torch.tensor([p + [filler] * (T - len(p)) for p in prompts])  # (B, T)
        cache = KVCache(model.config, B, model.lm_head.weight)
        batched = model.hidden(idx)  # (B, T, C)
        cached = model.prefill(idx, lengths, cache, torch.arange(B))  # (B, T, C)
        later = [model.next_hidden(first, cache), model.next_hidden(first + 1, cache)]  # (B, C)
        for b, prompt in enumerate(prompts):
            alone = model.hidden(torch.tensor([[*prompt, 66 + b, 67 + b]]))[0]  # (n + 2, C)
            n = len(prompt)
            assert logit_gap(batched[b, :n], alone[:n]) < 1e-4
            assert logit_gap(cached[b, :n], alone[:n]) < 1e-4
            assert logit_gap(later[0][b], alone[n]) < 1e-4
            assert logit_gap(later[1][b], alone[n + 1]) < 1e-4


STATIC_CACHE_OPTIONS = [
    {},
    {"tau": 0.8, "flows": [[RECALL, REASONING, CONTRAST][: i % 4] for i in range(11)]},
    {"prune": True},
    {"method": "clone"},
]


@pytest.mark.slow
@pytest.mark.parametrize("options", STATIC_CACHE_OPTIONS, ids=["greedy", "gate", "prune", "clone"])
def test_a_static_cache_with_refilled_rows_writes_the_same(student, rows, options, monkeypatch):
    """As on CUDA, but for the graph itself: one fixed shape for all tokens, compiled once.

    Three rows take up the next of eleven questions as they become free, so that they stand at
    different places of their answers.
    """
    torch_compile = torch.compile
    modes = []

    def compile_on_cpu(function, mode, fullgraph):
        modes.append(mode)
        return torch_compile(function, backend="aot_eager", fullgraph=fullgraph)

    monkeypatch.setattr(torch, "compile", compile_on_cpu)
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    graphed_step.cache_clear()
    questions = [row["question"] for row in rows]

    def write(graph_rows=0):
        settings = {"max_tokens": 150, "graph_rows": graph_rows, **options}
        reasonings = reason(student.model, student.tokenizer, questions, **settings)
        return [outcome(r) for r in reasonings]

    n_tokens = [tokens for _, tokens, _, _ in write()]
    shortest = n_tokens.index(min(n_tokens))
    questions.insert(0, questions.pop(shortest))  # so that its row becomes free before the others
    expected = write()  # anew: a flow belongs to a place, not to a question
    assert expected[0][1] < expected[1][1]
    assert write(graph_rows=3) == expected
    assert write(graph_rows=3) == expected  # on memory that has been used
    assert modes == ["reduce-overhead"]
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1
    assert write(graph_rows=16) == expected  # rows that never get a question
    graphed_step.cache_clear()


# ----------------------------------------------------------------------------------- decoding ends
def set_logit(model, token, logit):
    """Let the model write a token always (logit 1e9) or never (-1e9)."""
    token_logits = model.token_logits

    def changed(*args):
        return token_logits(*args).index_fill(-1, torch.tensor([token]), logit)

    model.token_logits = changed


@pytest.mark.parametrize("prune", [False, True])
def test_a_student_that_never_ends_is_stopped(tokenizer, questions, prune):
    torch.manual_seed(0)
    block_size = 256
    model = GPT(gpt_config(1, tokenizer.vocab_size, block_size)).eval()
    set_logit(model, tokenizer.end_id, -1e9)
    for r in reason(model, tokenizer, questions, max_tokens=20, prune=prune):
        assert 0 < r.tokens <= (40 if prune else 20)
        assert not r.finished
        assert r.answer is None
    # Each row has its own room, whatever stands beside it.
    reasonings = reason(model, tokenizer, questions, max_tokens=10**6)
    for question, r in zip(questions, reasonings, strict=True):
        assert r.tokens == block_size - len(tokenizer.encode(question))
        assert not r.finished
        assert r.answer is None
    # Nothing but empty steps is the shortest text that could go on forever.
    set_logit(model, tokenizer.step_id, 1e9)
    for r in reason(model, tokenizer, questions, max_tokens=10**6, prune=prune):
        assert r.tokens <= block_size
        assert not r.finished


@pytest.mark.parametrize("n_free", [20, 21])
def test_conclusions_are_kept_as_far_as_they_fit(tokenizer, questions, n_free):
    """Where each step is an empty conclusion, pruned text ends with the model's positions."""
    torch.manual_seed(0)
    prompt = tokenizer.encode(questions[0])
    model = GPT(gpt_config(1, tokenizer.vocab_size, len(prompt) + n_free)).eval()
    set_logit(model, tokenizer.step_id, 1e9)
    options = {"flows": [[CONCLUSION] * n_free], "prune": True, "max_tokens": 10**6}
    (r,) = reason(model, tokenizer, questions[:1], **options)
    assert len(r.steps) == 10  # of two tokens each
    assert not r.finished


# ----------------------------------------------------------------------- figures are what they say
def slow_signal_hits(student, row):
    """For each step of the row's trace: does the head name its signal?

    Every signal is predicted anew from the bare beginning of the trace.
    """
    model, tokenizer = student.model, student.tokenizer
    annotated, _ = annotate([row], weight=student.classifier)
    ids = tokenizer.encode(row["question"].strip())
    hits = []
    for step in annotated[0]["steps"]:
        ids.append(tokenizer.step_id)
        state = model.hidden(torch.tensor([ids]))[0, -1]  # (C,)
        predicted = int(model.signal_head(state).argmax())
        hits.append(predicted == SIGNAL_NAMES.index(step["signal"]))
        ids += tokenizer.encode(step["text"])
    return hits


def slow_record(student, row):
    """What `evaluate` should say of a row, from its question alone in the batch."""
    question, method = row["question"], student.method
    reasoning = reason(student.model, student.tokenizer, [question], method, max_tokens=150)[0]
    texts = [step.text for step in reasoning.steps]
    given = extract(texts[-1]) if reasoning.finished else None
    is_correct = same(given, row["answer"])
    verdicts = check(question, texts)
    is_erroneous = None
    if verdicts is not None:
        is_erroneous = not is_correct or any(verdicts) or not texts
    return {
        "task": task_of(question) or "other",
        "texts": texts,
        "given": given,
        "correct": is_correct,
        "erroneous": is_erroneous,
        "hits": slow_signal_hits(student, row),
    }


def slow_scores(records):
    """The figures of some slow records."""

    def mean(values):
        return sum(values) / len(values) if values else None

    return {
        "questions": len(records),
        "accuracy": mean([r["correct"] for r in records]),
        "erroneous_paths": mean([r["erroneous"] for r in records if r["erroneous"] is not None]),
        "signal_accuracy": mean([hit for r in records for hit in r["hits"]]),
    }


@pytest.mark.slow
def test_the_figures_by_a_slow_path(student, rows):
    result, records = evaluate(student, rows, batch_size=4, max_tokens=150)
    slow_records = [slow_record(student, row) for row in rows]
    for record, slow in zip(records, slow_records, strict=True):
        assert [step["text"] for step in record["steps"]] == slow["texts"]
        assert record["given"] == slow["given"]
        assert record["correct"] == slow["correct"]
    assert set(result["tasks"]) == {*TASKS, "web_of_lies", "other"}
    assert 0 < result["signal_accuracy"] < 1
    expected = slow_scores(slow_records)
    assert {name: result[name] for name in expected} == pytest.approx(expected)
    for task, scores in result["tasks"].items():
        expected = slow_scores([r for r in slow_records if r["task"] == task])
        assert {name: scores[name] for name in expected} == pytest.approx(expected)


# ------------------------------------------------------------------------------ what training does
@pytest.mark.parametrize("method", ["scaffold", "clone"])
@pytest.mark.parametrize("loss", ["ce", "mse"])
def test_a_batch_without_targets_is_harmless(tokenizer, method, loss):
    """No boundary to learn from, alone and beside a micro-batch that has some."""
    torch.manual_seed(0)
    model = GPT(gpt_config(2, tokenizer.vocab_size, 128, signal_loss=loss))
    config = TrainConfig(method=method)
    recall, answer = Step(RECALL, "a step"), Step(RESPONSE, "The answer is 1.")
    bare_trace = Trace("a question", [recall], "1", n_context=1)
    bare = collate([encode(bare_trace, tokenizer)], tokenizer)
    full = collate([encode(Trace("another", [recall, answer], "1"), tokenizer)], tokenizer)
    tokens_only = (*full[:3], torch.full_like(full[3], -1))
    assert not (bare[2] >= 0).any()
    assert not (bare[3] >= 0).any()
    no_signal_loss = method == "clone"
    for micro_batches, is_zero in (  # is_zero: of the token loss and of the signal loss
        ([bare], [True, True]),
        ([bare, bare], [True, True]),
        ([tokens_only], [False, True]),
        ([bare, full], [False, no_signal_loss]),
    ):
        model.zero_grad()
        losses = backward(model, micro_batches, config, CPU).tolist()
        assert all(math.isfinite(x) for x in losses)
        assert [x == 0 for x in losses] == is_zero
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        assert all(g.isfinite().all() for g in gradients)
        assert any(g.any() for g in gradients) != all(is_zero)
    alone = backward(model, [full], config, CPU)
    assert torch.allclose(backward(model, [bare, full, bare], config, CPU), alone)  # not diluted


def n_positions(trace, tokenizer):
    """Positions of an encoded trace; the last token is only a target."""
    steps = [1 + len(tokenizer.encode(step.text)) for step in trace.steps]
    return len(tokenizer.encode(trace.question)) + sum(steps)


def test_too_long_traces_are_dropped_and_counted(tmp_path, capsys):
    pairs = prepare.rows(TASKS, "train", 60) + prepare.rows(TASKS, "val", 30)
    annotated, _ = annotate([row for row, _ in pairs])
    traces = [to_trace(row) for row in annotated]
    texts = [" ".join([t.question, *(" " + step.text for step in t.steps)]) for t in traces[:60]]
    tokenizer = Tokenizer.train(texts, TrainConfig.vocab_size)
    is_long = [n_positions(trace, tokenizer) > 150 for trace in traces]
    n_train, n_val = sum(is_long[:60]), sum(is_long[60:])
    assert 0 < n_train < 60
    assert 0 < n_val < 30
    argv = "--n_train 60 --n_val 30 --n_test 0 --show 1".split()
    argv += ["--tasks", ",".join(TASKS), "--out_dir", str(tmp_path)]
    train.main([*argv, "--block_size", "150"])
    line = f"dropped {n_train} of 60 training and {n_val} of 30 validation traces"
    assert line in capsys.readouterr().out
    train.main(argv)
    assert "dropped" not in capsys.readouterr().out
    # A trace that just fits is kept whole.
    trace = traces[0]
    size = n_positions(trace, tokenizer)
    examples, n_dropped = encode_all([trace], tokenizer, size)
    assert n_dropped == 0
    assert len(examples[0].ids) == size + 1
    assert encode_all([trace], tokenizer, size - 1) == ([], 1)


# --------------------------------------------------------------------------------- no code is run
DANGEROUS = re.compile(
    r"""(?<![\w.])(?:eval|exec|compile|__import__)\(         # code from text
      | \b(?:pickle|marshal|shelve|joblib|dill)\b            # objects that run code when read
      | allow_pickle | yaml\.load | trust_remote_code
      | os\.system | shell=True                              # a shell
      | literal_eval""",
    re.VERBOSE,
)


def test_nothing_of_the_users_is_run():
    """No code, pickle or shell for what comes from a file; a checkpoint holds plain types only."""
    sources = [*ROOT.glob("*.py"), *(ROOT / "data").rglob("*.py")]
    names = {path.name for path in sources}
    assert names >= {"scaffold.py", "model.py", "train.py", "sample.py", "annotate.py"}
    assert names >= {"answers.py", "arithmetic.py", "check.py", "prepare.py", "checkpoint.py"}
    n_loads = 0
    for path in sources:
        for line in path.read_text(encoding="utf-8").splitlines():
            assert not DANGEROUS.search(line), f"{path}: {line}"
            if "torch.load(" in line:
                n_loads += 1
                assert "weights_only=True" in line, f"{path}: {line}"
    assert n_loads > 0
