"""Ways to give the student its signal and to decode with it."""

import itertools
import json
import math

import pytest
import torch

import sample
import train
from data.algorithmic import prepare
from data.tools.batch import Reasoning
from data.tools.evaluation import annotated_traces
from data.tools.flags import UserError
from model import GPT, gpt_config
from sample import evaluate, reason, search, signal_named
from scaffold import (
    CONCLUSION,
    NO_SIGNAL,
    RESPONSE,
    SIGNAL_NAMES,
    Step,
    Tokenizer,
    Trace,
    collate,
    encode,
    taxonomy,
    view,
)

FORMS = ("embed", "input", "token", "none")
TRACE = Trace("a", [Step(2, "b"), Step(5, "c"), Step(0, "d"), Step(5, "e"), Step(6, "f")], "f")


def student_of(tokenizer, conditioning, signal_loss="ce", n_signals=7):
    torch.manual_seed(0)
    gpt = GPT(
        gpt_config(
            2,
            tokenizer.vocab_size,
            1024,
            conditioning=conditioning,
            signal_loss=signal_loss,
            n_signals=n_signals,
        )
    )
    for p in gpt.parameters():
        torch.nn.init.normal_(p, std=0.1)
    with torch.no_grad():
        gpt.signal_embedding.weight[-1] = 0
    return gpt.eval()


def test_views_by_hand():
    def texts(what):
        return [("".join(s.text for s in t.steps), t.n_context) for t in view(TRACE, what)]

    assert (
        texts("all") == [("bcdef", 0)]
        and texts("answer") == [("f", 0)]
        and texts("conclusions") == [("cef", 0)]
    )
    assert texts("pruned") == [("bc", 0), ("cde", 1), ("cef", 2)]
    assert TRACE.n_context == 0 and len(TRACE.steps) == 5


def test_given_steps_are_context_only():
    tok = Tokenizer([" " + c for c in "abcdef"])
    a, c, e, f = (tok.encode(x)[0] for x in "acef")
    idx, signals, targets, signal_targets = collate([encode(view(TRACE, "pruned")[2], tok)], tok)
    step, N = tok.step_id, NO_SIGNAL
    assert idx.tolist() == [[a, step, c, step, e, step, f]]
    assert signals.tolist() == [[N, N, N, N, N, 6, 6]] and targets.tolist() == [
        [-1, -1, -1, -1, -1, f, tok.end_id]
    ]
    assert signal_targets.tolist() == [[-1, -1, -1, -1, -1, 6, -1]]


def test_only_the_last_stage_ends(tokenizer):
    """A conclusion before the answer closes with <|step|>: there --prune goes on."""
    ends = [encode(t, tokenizer).ids[-1] for t in view(TRACE, "pruned")]
    assert ends == [tokenizer.step_id, tokenizer.step_id, tokenizer.end_id]
    (first,) = collate([encode(view(TRACE, "pruned")[0], tokenizer)], tokenizer)[2]
    assert first[-1] == tokenizer.step_id


def test_taxonomies_by_hand():
    flow = [2, 4, 0, 4, 3, 5, 6]
    assert (
        taxonomy(flow, 7) == flow
        and taxonomy(flow, 1) == [4] * 7
        and taxonomy(flow, 3) == [4, 4, 4, 4, 3, 6, 6]
    )
    assert taxonomy(flow, 14) == [2, 4, 0, 11, 3, 5, 6] and NO_SIGNAL > 13


def test_shuffled_labels_keep_their_frequencies(traces):
    copies = [
        Trace(t.question, [Step(s.signal, s.text) for s in t.steps], t.answer) for t in traces
    ]
    train.relabel(copies, train.TrainConfig(shuffle=True))
    before, after = ([s.signal for t in some for s in t.steps] for some in (traces, copies))
    assert (
        sorted(before) == sorted(after)
        and 0.1 < sum(a == b for a, b in zip(before, after, strict=False)) / len(before) < 0.5
    )


@pytest.mark.parametrize("form", FORMS)
def test_no_signal_is_seen_before_it_is_predicted(form, examples, tokenizer):
    """Changing a step's signal moves neither the head's prediction of it nor anything before.

    In its own step it moves the text's logits (but for "none"), after it what the backbone saw.
    """
    model = student_of(tokenizer, form)
    idx, signals, *_ = collate([examples[3]], tokenizer)
    boundaries = (idx[0] == tokenizer.step_id).nonzero()[:, 0].tolist()
    at, after = boundaries[2], boundaries[3]
    other = signals.clone()
    other[0, at:after] = (signals[0, at] + 1) % len(SIGNAL_NAMES)
    runs = []
    for s in (signals, other):
        hidden = model.hidden(idx, input_signals=model.input_signals(idx, s))
        runs.append((model.signal_head(model.signal_states(hidden)), model.token_logits(hidden, s)))
    heads, logits = ((x != y).any(-1)[0] for x, y in zip(*runs, strict=False))
    assert not heads[: at + 1].any() and not logits[:at].any()
    assert bool(logits[at]) == bool(logits[at:after].all()) == (form != "none")
    assert bool(logits[after + 1 :].any()) == bool(heads[after]) == (form in ("input", "token"))


def test_squared_loss_against_plain_sums(examples, tokenizer):
    model = student_of(tokenizer, "embed", "mse")
    batch = collate(examples[:3], tokenizer)
    idx, signals, targets, signal_targets = batch
    out = model.signal_head(model.hidden(idx))
    expected = sum(
        ((out[b, t] - torch.eye(7)[signal_targets[b, t]]) ** 2).sum().item()
        for b, t in itertools.product(range(idx.size(0)), range(idx.size(1)))
        if signal_targets[b, t] >= 0
    )
    assert model(*batch)[1].item() == pytest.approx(expected, rel=1e-4)
    assert torch.allclose(
        model.signal_probs(model.hidden(idx)).sum(-1), torch.ones(idx.shape), atol=1e-5
    )


@torch.no_grad()
def naive(model, tokenizer, question, max_tokens, tau=0.0, flow=(), prune=False):
    """The oracle with plans and pruning: no cache. Returns [(signal, text), ...]."""
    form, step_id = model.config.conditioning, tokenizer.step_id
    ids, own, steps = tokenizer.encode(question), [NO_SIGNAL] * len(tokenizer.encode(question)), []

    def read():
        return model.hidden(torch.tensor([ids]), input_signals=torch.tensor([own]))[0, -1]

    last, forced = step_id, False
    for _ in range(max_tokens):
        opens = last == step_id
        if opens and form == "token":
            h = read()
        ids.append(last)
        if opens and form != "token":
            own.append(NO_SIGNAL)  # a boundary's own signal is nothing that these forms read
            h = read()
        if opens:
            p = model.signal_probs(h)
            given = flow[len(steps)] if len(steps) < len(flow) else -1
            forced = given < 0 and bool(p.max() < tau)
            signal = RESPONSE if forced else given if given >= 0 else int(p.argmax())
            steps.append([signal, []])
            if form == "token":
                own.append(signal)
        else:
            own.append(signal)
        h = read()
        last = int(model.token_logits(h, torch.tensor(signal)).argmax())
        if forced and last == step_id:
            last = tokenizer.end_id
        steps[-1][1].append(last)
        if last == tokenizer.end_id:
            break
        if prune and last == step_id and signal == CONCLUSION:
            kept = [i for i, (s, _) in enumerate(steps) if s == CONCLUSION]
            ids = tokenizer.encode(question) + [
                t for i in kept for t in (step_id, *tokenizer.encode(tokenizer.decode(steps[i][1])))
            ]
            own = [NO_SIGNAL] * len(ids)
    return [(s, tokenizer.decode(t)) for s, t in steps]


def plain(reasonings):
    return [[(s.signal, s.text) for s in r.steps] for r in reasonings]


QUESTIONS = [
    r["question"] for r, _ in prepare.rows(["object_counting", "boolean_expressions"], "test", 6)
]


@pytest.mark.parametrize("form", FORMS)
def test_decoding_equals_the_naive_loop(form, tokenizer, monkeypatch):
    model = student_of(tokenizer, form)
    flow, expected = [2, 4, 3], [naive(model, tokenizer, q, 25) for q in QUESTIONS[:3]]
    assert plain(reason(model, tokenizer, QUESTIONS[:3], max_tokens=25)) == expected
    monkeypatch.setattr(torch, "compile", lambda f, **_: f)
    assert (
        plain(reason(model, tokenizer, QUESTIONS[:3], max_tokens=25, graph_rows=2)) == expected
    )  # two rows, three questions
    flows = [flow, [], flow[:1]]
    assert plain(reason(model, tokenizer, QUESTIONS[:3], flows=flows, max_tokens=25)) == [
        naive(model, tokenizer, q, 25, flow=f) for q, f in zip(QUESTIONS, flows, strict=False)
    ]


def test_gate_forces_one_last_answer_step(student):
    model, tok = student.model, student.tokenizer
    for tau in (0.6, 0.8):
        found = reason(model, tok, QUESTIONS, tau=tau, max_tokens=120)
        assert plain(found) == [naive(model, tok, q, 120, tau=tau) for q in QUESTIONS]
    assert any(r.steps[-1].signal == RESPONSE and r.finished for r in found)
    at_once = reason(model, tok, QUESTIONS, tau=1.0, max_tokens=120)
    assert all([s.signal for s in r.steps] == [RESPONSE] for r in at_once)
    assert plain(reason(model, tok, QUESTIONS, tau=1.0, flows=[[2, 4]] * 6, max_tokens=120)) == [
        naive(model, tok, q, 120, 1.0, [2, 4]) for q in QUESTIONS
    ]


def test_pruning_reads_what_is_left_anew(student):
    model, tok = student.model, student.tokenizer
    flows = [
        [2, CONCLUSION, 4],
        [CONCLUSION, CONCLUSION],
        [],
        [CONCLUSION],
        [2],
        [4, 4, CONCLUSION],
    ]
    pruned = reason(model, tok, QUESTIONS, flows=flows, prune=True, max_tokens=90)
    for q, flow, r in zip(QUESTIONS, flows, pruned, strict=False):
        expected = naive(model, tok, q, 400, flow=flow, prune=True)
        assert plain([r])[0][:3] == expected[:3]
    assert plain(pruned) != plain(reason(model, tok, QUESTIONS, flows=flows, max_tokens=90))


def test_search_tries_the_most_probable_flows_in_order(student, monkeypatch):
    model, tok, tried = student.model, student.tokenizer, []
    real = sample.reason

    def spy(model, tokenizer, questions, method, flows, **options):
        found = real(model, tokenizer, questions, method, flows, **options)
        tried.append((flows[0], found[0]))
        return found

    monkeypatch.setattr(sample, "reason", spy)
    (best,) = search(model, tok, QUESTIONS[:1], 12, max_tokens=120)
    assert tried[0][0] == [] and plain([tried[0][1]]) == plain(
        real(model, tok, QUESTIONS[:1], max_tokens=120)
    )
    whole = [tuple(s.signal for s in r.steps) for _, r in tried]
    assert len(set(whole)) == len(whole) == 12
    cost = [
        -sum(math.log(p[s.signal]) for p, s in zip(r.probs, r.steps[: len(flow)], strict=False))
        for flow, r in tried
    ]
    assert cost == sorted(cost) and best.tokens == sum(r.tokens for _, r in tried)
    alternatives = [
        whole[0][:j] + (a,) for j in range(len(whole[0])) for a in range(7) if a != whole[0][j]
    ]  # one decision away
    second = min(
        alternatives,
        key=lambda f: -sum(math.log(p[s]) for p, s in zip(tried[0][1].probs, f, strict=False)),
    )
    assert tuple(tried[1][0]) == second


def test_a_clone_samples_its_answers(student):
    model, tok = student.model, student.tokenizer
    once, thrice = (
        search(
            model,
            tok,
            QUESTIONS[:2],
            k,
            method="clone",
            temperature=1.0,
            max_tokens=40,
            generator=torch.Generator().manual_seed(0),
        )
        for k in (1, 3)
    )
    assert all(a.tokens < b.tokens <= 120 for a, b in zip(once, thrice, strict=False))


def test_vote_and_score_choose_by_hand(monkeypatch, student):
    def found(answer, logp):
        return Reasoning([Step(6, f"The answer is {answer}.")], [[0.1] * 7], 4, logp, True)

    drawn = [found("7", -4.0), found("3", -1.0), found("7", -9.0)]
    for choose, expected in (("vote", "7"), ("score", "3")):
        assert sample.choose_one(drawn, choose).answer == expected


def test_signal_sources(trained, student):
    rows = [r for r, _ in prepare.rows(["object_counting", "boolean_expressions"], "test", 8)]
    gold = annotated_traces(student, rows)
    _, records = evaluate(student, rows, signals="gold")
    for i, r in enumerate(records):
        told = [SIGNAL_NAMES[s.signal] for s in gold[i].steps]
        assert [s["signal"] for s in r["steps"]][: len(told)] == told[: len(r["steps"])]
    result, records = evaluate(student, rows, signals="random")
    assert (
        len({s["signal"] for r in records for s in r["steps"]}) == 7
        and 0 <= result["obedience"] <= 1
    )
    whole, kept = evaluate(student, rows)[0], evaluate(student, rows, tau=0.6)[0]
    assert (
        whole["signals_kept"] == 1
        and 0 < kept["signals_kept"] < 1
        and kept["signal_accuracy"] > whole["signal_accuracy"]
    )


def test_signal_sources_that_are_not_there(trained, tmp_path):
    row = {"question": QUESTIONS[0], "answer": "1"}
    (tmp_path / "q.jsonl").write_text(
        json.dumps({**row, "trace": "So 1."}) + "\n" + json.dumps({**row, "trace": "  "}) + "\n"
    )
    run = [
        "--eval",
        str(tmp_path / "q.jsonl"),
        "--ckpt",
        str(trained / "ckpt.pt"),
        "--device",
        "cpu",
        "--out",
        str(tmp_path / "o.jsonl"),
    ]
    for argv, says in (
        (["--signals", "gold"], "row 2 has no trace"),
        (["--signals", "random", "--k", "2"], "--k searches"),
        (["--flow", "recall"], "--flow is for"),
        (["--flow", "doubt"], "no signal"),
    ):
        with pytest.raises(UserError, match=says):
            sample.main(run + argv)
    assert not (tmp_path / "o.jsonl").exists()


def test_flow_names():
    assert [signal_named(n) for n in ("recall", "Contrast", " reasoning", "response")] == [
        2,
        3,
        4,
        6,
    ]
    for bad in ("", "and", "doubt"):
        with pytest.raises(UserError, match="--flow"):
            signal_named(bad)


def test_gold_labels_are_the_teachers():
    config = train.TrainConfig(
        tasks="object_counting", n_train=40, n_val=5, n_test=1, labels="gold"
    )
    train_traces, val_traces, *_ = train.load_data(config)
    for split, traces in (("train", train_traces), ("val", val_traces)):
        gold = {r["id"]: signals for r, signals in prepare.rows(["object_counting"], split, 40)}
        assert all([s.signal for s in t.steps] == gold[t.id] for t in traces)
    annotated, *_ = train.load_data(
        train.TrainConfig(tasks="object_counting", n_train=40, n_val=5, n_test=1)
    )
    assert any(
        [s.signal for s in a.steps] != [s.signal for s in b.steps]
        for a, b in zip(annotated, train_traces, strict=False)
    )
