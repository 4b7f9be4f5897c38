"""Ways to give the student its signal and to decode with it."""

import json
import math
import re
from dataclasses import replace

import pytest
import torch

import sample
from data.algorithmic import prepare
from data.tools.batch import Reasoning
from data.tools.checkpoint import Student, load_student
from data.tools.display import unknown_words
from data.tools.evaluation import annotated_traces
from data.tools.flags import UserError
from model import GPT, gpt_config
from sample import evaluate, generate, push_alternatives, reason, search, signal_named
from scaffold import (
    ADDITION,
    CONCLUSION,
    CONTRAST,
    N_CLASSES,
    NO_SIGNAL,
    REASONING,
    RECALL,
    RESPONSE,
    SIGNAL_NAMES,
    SIGNALS,
    Step,
    Tokenizer,
    Trace,
    answer_opening,
    classes_of,
    collate,
    encode,
    encode_all,
    taxonomy,
    view,
)
from train import TrainConfig, load_data, prepare_data, relabel

FORMS = ("embed", "input", "token", "none")
TASKS = ["object_counting", "boolean_expressions"]
QUESTIONS = [row["question"] for row, _ in prepare.rows(TASKS, "test", 6)]
TRACE = Trace(
    "a",
    [
        Step(RECALL, "b"),
        Step(CONCLUSION, "c"),
        Step(ADDITION, "d"),
        Step(CONCLUSION, "e"),
        Step(RESPONSE, "f"),
    ],
    "f",
)


def random_student(tokenizer, conditioning, signal_loss="ce"):
    """A small student with no weight at its zero initial value, so that every path counts."""
    torch.manual_seed(0)
    form = {"conditioning": conditioning, "signal_loss": signal_loss}
    model = GPT(gpt_config(2, tokenizer.vocab_size, 1024, **form))
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.1)
    with torch.no_grad():
        model.signal_embedding.weight[-1] = 0
    return model.eval()


# -------------------------------------------------------------------------------- views and labels
@pytest.mark.parametrize(
    "what, expected",
    [
        ("all", [("bcdef", 0)]),
        ("answer", [("f", 0)]),
        ("conclusions", [("cef", 0)]),
        ("pruned", [("bc", 0), ("cde", 1), ("cef", 2)]),
    ],
)
def test_views_by_hand(what, expected):
    """Each view as the texts of its steps, and how many of them are context only."""
    views = view(TRACE, what)
    assert [("".join(s.text for s in t.steps), t.n_context) for t in views] == expected
    assert TRACE.n_context == 0
    assert len(TRACE.steps) == 5


def test_context_steps_are_read_but_not_learned():
    tok = Tokenizer([" " + letter for letter in "abcdef"])
    a, c, e, f = (tok.encode(letter)[0] for letter in "acef")
    step, end, N = tok.step_id, tok.end_id, NO_SIGNAL
    last_stage = encode(view(TRACE, "pruned")[2], tok)
    idx, signals, targets, signal_targets = collate([last_stage], tok)
    assert idx.tolist() == [[a, step, c, step, e, step, f]]
    assert signals.tolist() == [[N, N, N, N, N, RESPONSE, RESPONSE]]
    assert targets.tolist() == [[-1, -1, -1, -1, -1, f, end]]
    assert signal_targets.tolist() == [[-1, -1, -1, -1, -1, RESPONSE, -1]]


def test_words_that_are_spelt_in_bytes_are_named():
    question = "Does Zoë lie? Ana, Zoë and Nanabah say that Ana lies (Ana) 12 times."
    tokenizer = Tokenizer([" Does", " lie", " Ana", " and", " say", " that", " lies", " times"])
    unknown = unknown_words(question, tokenizer)
    assert unknown == ["Zoë", "Nanabah", "Ana"]  # each once; "(Ana" has no space in front
    for word, n_tokens in (("Zoë", 5), ("Nanabah", 8), ("Ana", 1)):
        assert len(tokenizer.encode(word)) == n_tokens
    assert unknown_words("Ana lies", tokenizer) == []


def test_only_the_last_stage_ends(tokenizer):
    """A stage that ends with a conclusion closes with <|step|>: there --prune goes on."""
    step, end = tokenizer.step_id, tokenizer.end_id
    stages = [encode(trace, tokenizer) for trace in view(TRACE, "pruned")]
    assert [stage.ids[-1] for stage in stages] == [step, step, end]
    _, _, targets, _ = collate(stages[:1], tokenizer)
    assert targets[0, -1] == step


def test_taxonomies_by_hand():
    flow = [RECALL, REASONING, ADDITION, REASONING, CONTRAST, CONCLUSION, RESPONSE]
    coarse = [REASONING, REASONING, REASONING, REASONING, CONTRAST, RESPONSE, RESPONSE]
    again = REASONING + len(SIGNALS)  # a signal that has come before in its trace
    fine = [RECALL, REASONING, ADDITION, again, CONTRAST, CONCLUSION, RESPONSE]
    assert taxonomy(flow, 1) == [REASONING] * 7
    assert taxonomy(flow, 3) == coarse
    assert taxonomy(flow, len(SIGNALS)) == flow
    assert taxonomy(flow, N_CLASSES) == fine
    assert NO_SIGNAL >= N_CLASSES
    assert classes_of(1) == [REASONING]
    assert classes_of(3) == [CONTRAST, REASONING, RESPONSE]
    assert classes_of(len(SIGNALS)) == [*range(len(SIGNALS))]
    assert classes_of(N_CLASSES) == [*range(N_CLASSES)]


@pytest.mark.slow
@pytest.mark.parametrize("what", ["conclusions", "pruned"])
def test_views_do_not_depend_on_the_taxonomy(what):
    """Other labels, or none that mean anything, train on the same text."""
    config = TrainConfig(tasks="object_counting", n_train=40, n_val=4, n_test=1, view=what)
    expected = [e.ids.tolist() for e in prepare_data(config).examples]
    others = ({"classes": 1}, {"classes": 3}, {"classes": N_CLASSES}, {"shuffle": True})
    for options in others:
        examples = prepare_data(replace(config, **options)).examples
        assert [e.ids.tolist() for e in examples] == expected
        assert all(e.loss_mask.any() for e in examples)


def test_a_trace_without_a_step_to_learn_is_refused(tokenizer):
    for steps, n_context in (([], 0), ([Step(CONCLUSION, "c")], 1)):
        with pytest.raises(UserError, match="t7"):
            encode_all([Trace("q", steps, "a", id="t7", n_context=n_context)], tokenizer, 64)


def flat_signals(traces):
    return [step.signal for trace in traces for step in trace.steps]


def test_shuffled_labels_keep_their_frequencies(traces):
    copies = [replace(t, steps=[replace(step) for step in t.steps]) for t in traces]
    relabel(copies, TrainConfig(shuffle=True))
    signals, shuffled = flat_signals(traces), flat_signals(copies)
    assert sorted(signals) == sorted(shuffled)
    n_equal = sum(a == b for a, b in zip(signals, shuffled, strict=True))
    assert 0.1 < n_equal / len(signals) < 0.5
    for places in (-2, -1, 1, 2):  # nor are they another step's by a rule
        moved = signals[places:] + signals[:places]
        n_equal = sum(a == b for a, b in zip(moved, shuffled, strict=True))
        assert n_equal / len(signals) < 0.5


def test_gold_labels_are_the_teachers():
    config = TrainConfig(tasks="object_counting", n_train=40, n_val=5, n_test=1, labels="gold")
    train_traces, val_traces, *_ = load_data(config)
    for split, traces in (("train", train_traces), ("val", val_traces)):
        gold = {row["id"]: flow for row, flow in prepare.rows(["object_counting"], split, 40)}
        assert all([step.signal for step in t.steps] == gold[t.id] for t in traces)
    annotated, *_ = load_data(replace(config, labels="annotated"))
    assert flat_signals(annotated) != flat_signals(train_traces)


@pytest.mark.parametrize("classes", [1, 3, N_CLASSES])
def test_all_traces_have_the_classes_that_the_head_learns(classes):
    """Those to train on and those to validate on."""
    config = TrainConfig(tasks="web_of_lies", n_train=40, n_val=20, n_test=0, classes=classes)
    data = prepare_data(config)
    for examples in (data.examples, data.val_examples):
        found = {signal for e in examples for signal in e.signals[e.loss_mask].tolist()}
        assert found <= set(classes_of(classes))
        assert classes < N_CLASSES or max(found) >= len(SIGNALS)  # some signals come again


# ---------------------------------------------------------------------------- forms of conditioning
@torch.no_grad()
@pytest.mark.parametrize("form", FORMS)
def test_no_signal_is_seen_before_it_is_predicted(form, examples, tokenizer):
    """Changing a step's signal moves neither the head's prediction of it nor anything before.

    In its own step it moves the text's logits (but for "none"), after it what the backbone saw.
    """
    model = random_student(tokenizer, form)
    idx, signals, *_ = collate([examples[3]], tokenizer)
    boundaries = (idx[0] == tokenizer.step_id).nonzero()[:, 0].tolist()
    start, end = boundaries[2], boundaries[3]  # of the third step
    other_signals = signals.clone()
    other_signals[0, start:end] = (signals[0, start] + 1) % len(SIGNALS)

    def logits(signals):
        hidden = model.hidden(idx, input_signals=model.input_signals(idx, signals))
        signal_logits = model.signal_head(model.signal_states(hidden))[0]  # (T, K)
        return signal_logits, model.token_logits(hidden, signals)[0]  # (T, V)

    signal_logits, token_logits = logits(signals)
    other_signal_logits, other_token_logits = logits(other_signals)
    head_moves = (signal_logits != other_signal_logits).any(-1)  # (T,)
    text_moves = (token_logits != other_token_logits).any(-1)  # (T,)
    assert not head_moves[: start + 1].any()
    assert not text_moves[:start].any()
    conditions_text = form != "none"
    assert bool(text_moves[start]) == conditions_text
    assert bool(text_moves[start:end].all()) == conditions_text
    backbone_reads_signals = form in ("input", "token")
    assert bool(text_moves[end + 1 :].any()) == backbone_reads_signals
    assert bool(head_moves[end]) == backbone_reads_signals


@torch.no_grad()
def test_squared_loss_against_plain_sums(examples, tokenizer):
    model = random_student(tokenizer, "embed", "mse")
    batch = collate(examples[:3], tokenizer)
    idx, _, _, signal_targets = batch
    hidden = model.hidden(idx)
    output = model.signal_head(hidden)  # (B, T, K)
    expected = 0.0
    for b, t in (signal_targets >= 0).nonzero().tolist():
        one_hot = torch.eye(len(SIGNALS))[signal_targets[b, t]]
        expected += ((output[b, t] - one_hot) ** 2).sum().item()
    _, signal_loss = model(*batch)
    assert signal_loss.item() == pytest.approx(expected, rel=1e-4)
    total = model.signal_probs(hidden).sum(-1)
    torch.testing.assert_close(total, torch.ones(idx.shape), rtol=0, atol=1e-5)


# ----------------------------------------------------------------------------------------- decoding
@torch.no_grad()
def generate_planned(model, tokenizer, question, flow, max_tokens, tau=0.0, prune=False):
    """The oracle for what `sample.generate` leaves out: planned signals, and pruning."""
    prompt = [*tokenizer.encode(question), tokenizer.step_id]
    idx, signals = [*prompt], [NO_SIGNAL] * len(prompt)
    steps = []
    room = max_tokens
    while True:
        states = model.signal_states(sample.read(model, idx, signals))
        confidence, predicted = model.signal_probs(states)[0, -1].max(-1)
        is_planned = len(steps) < len(flow)
        is_gated = not is_planned and bool(confidence < tau)
        signals[-1] = flow[len(steps)] if is_planned else int(predicted)
        if is_gated:
            signals[-1] = RESPONSE
        text = list(model.config.answer_opening[:room]) if is_gated else []  # ids of the step
        signals += [signals[-1]] * len(text)
        room -= len(text)
        while room and (not text or text[-1] not in (tokenizer.step_id, tokenizer.end_id)):
            hidden = sample.read(model, idx + text, signals)[0, -1]
            logits = model.token_logits(hidden, torch.tensor(signals[-1]))
            text.append(int(logits.argmax()))
            signals.append(signals[-1])
            room -= 1
        idx += text
        steps.append((signals[-1], tokenizer.decode(text)))
        if is_gated or idx[-1] == tokenizer.end_id or not room:
            return steps
        if prune and signals[-1] == CONCLUSION:  # of its stage, only the conclusion is left
            prompt += [*tokenizer.encode(steps[-1][1]), tokenizer.step_id]
            idx, signals = [*prompt], [NO_SIGNAL] * len(prompt)


def plain(reasonings):
    """The steps of each Reasoning as `generate` returns them: [(signal, text), ...]."""
    return [[(step.signal, step.text) for step in r.steps] for r in reasonings]


@pytest.mark.parametrize("form", FORMS)
def test_decoding_equals_the_naive_loop(form, tokenizer, monkeypatch):
    model = random_student(tokenizer, form)
    questions = QUESTIONS[:3]
    expected = [generate(model, tokenizer, q, max_tokens=25) for q in questions]
    assert plain(reason(model, tokenizer, questions, max_tokens=25)) == expected

    flows = [[RECALL, REASONING, CONTRAST], [], [RECALL]]
    pairs = zip(questions, flows, strict=True)
    planned = [generate_planned(model, tokenizer, q, flow, 25) for q, flow in pairs]
    assert plain(reason(model, tokenizer, questions, flows=flows, max_tokens=25)) == planned

    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    two_rows = reason(model, tokenizer, questions, max_tokens=25, graph_rows=2)
    assert plain(two_rows) == expected


def test_decoding_writes_as_far_as_the_naive_loop(tokenizer):
    """Where the positions end before the answer does, both stop at the same token."""
    torch.manual_seed(0)
    block_size = 12 + max(len(tokenizer.encode(q)) for q in QUESTIONS[:3])
    model = GPT(gpt_config(1, tokenizer.vocab_size, block_size)).eval()
    expected = [generate(model, tokenizer, q, max_tokens=10**6) for q in QUESTIONS[:3]]
    found = reason(model, tokenizer, QUESTIONS[:3], max_tokens=10**6)
    assert not any(r.finished for r in found)
    assert plain(found) == expected


def test_gate_forces_one_last_answer_step(student):
    model, tokenizer = student.model, student.tokenizer
    for tau in (0.6, 0.8):
        gated = reason(model, tokenizer, QUESTIONS, tau=tau, max_tokens=120)
        assert plain(gated) == [generate(model, tokenizer, q, tau, 120) for q in QUESTIONS]
    assert any(r.steps[-1].signal == RESPONSE and r.finished for r in gated)

    at_once = reason(model, tokenizer, QUESTIONS, tau=1.0, max_tokens=120)
    assert all([step.signal for step in r.steps] == [RESPONSE] for r in at_once)
    opening = tokenizer.decode(model.config.answer_opening)
    assert opening in ("The answer is", "Final answer:", "The final answer is")
    assert all(r.steps[0].text.startswith(opening) for r in at_once)

    flow = [RECALL, REASONING]  # the gate leaves planned steps alone
    flows = [flow] * len(QUESTIONS)
    planned = reason(model, tokenizer, QUESTIONS, tau=1.0, flows=flows, max_tokens=120)
    expected = [generate_planned(model, tokenizer, q, flow, 120, tau=1.0) for q in QUESTIONS]
    assert plain(planned) == expected


@pytest.mark.parametrize("form", FORMS)
def test_a_forced_answer_opens_as_answers_do(form, tokenizer, monkeypatch):
    """In every form, also with the static cache, and where there is room for a part of it."""
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    model = random_student(tokenizer, form)
    model.config.answer_opening = tuple(tokenizer.encode("The answer is"))
    questions = QUESTIONS[:3]
    for tau, max_tokens in ((0.3, 40), (1.0, 20), (1.0, 2)):
        expected = [generate(model, tokenizer, q, tau, max_tokens) for q in questions]
        assert all(steps[-1][1].startswith("The answer") for steps in expected if tau == 1)
        for graph_rows in (0, 2):
            options = {"tau": tau, "max_tokens": max_tokens, "graph_rows": graph_rows}
            assert plain(reason(model, tokenizer, questions, **options)) == expected


@pytest.mark.parametrize(
    ("texts", "answer", "opening"),
    [
        (["The answer is 4.", "Final answer: 4.", "The answer is 4."], "4", "The answer is"),
        (["As 4 is even, it is 4.", "As 4 is even, it is 4."], "4", "As 4 is even, it is"),
        ([r"\boxed{(B)}", r"\boxed{(B)}"], "(B)", r"\boxed{"),
        (["We found 4.", "Clearly it is 4.", "4"], "4", ""),  # no two alike
        (["nothing of it", "nothing of it"], "4", ""),  # no answer in it
    ],
)
def test_how_answers_open(texts, answer, opening):
    traces = [Trace("q", [Step(RESPONSE, text)], answer) for text in texts]
    assert answer_opening(traces) == opening


@pytest.mark.slow
def test_pruning_reads_what_is_left_anew(student):
    model, tokenizer = student.model, student.tokenizer
    flows = [
        [RECALL, CONCLUSION, REASONING],
        [CONCLUSION, CONCLUSION],
        [],
        [CONCLUSION],
        [RECALL],
        [REASONING, REASONING, CONCLUSION],
    ]
    pruned = plain(reason(model, tokenizer, QUESTIONS, flows=flows, prune=True, max_tokens=90))
    for question, flow, steps in zip(QUESTIONS, flows, pruned, strict=True):
        expected = generate_planned(model, tokenizer, question, flow, 400, prune=True)
        assert steps[:3] == expected[:3]
    assert pruned != plain(reason(model, tokenizer, QUESTIONS, flows=flows, max_tokens=90))


# ------------------------------------------------------------------------------------------- search
def cost_of(probs, signals):
    """-log of the probability of signals, given the probabilities before each step."""
    return -sum(math.log(p[s]) for p, s in zip(probs, signals, strict=False))


@pytest.mark.slow
def test_search_leaves_a_tried_flow_where_that_is_most_probable(student, monkeypatch):
    model, tokenizer = student.model, student.tokenizer
    questions = QUESTIONS[:1]
    greedy = reason(model, tokenizer, questions, max_tokens=120)
    tries = []  # of (planned signals, Reasoning)

    def recording_reason(model, tokenizer, questions, method, flows, **options):
        found = reason(model, tokenizer, questions, method, flows, **options)
        tries.append((flows[0], found[0]))
        return found

    monkeypatch.setattr(sample, "reason", recording_reason)
    (best,) = search(model, tokenizer, questions, 12, max_tokens=120)
    assert best.tokens == sum(r.tokens for _, r in tries)

    first_flow, first = tries[0]
    assert first_flow == []
    assert plain([first]) == plain(greedy)

    whole_flows = [[step.signal for step in r.steps] for _, r in tries]
    assert len({tuple(flow) for flow in whole_flows}) == 12

    costs = []  # of the steps that were planned
    for (flow, r), whole in zip(tries, whole_flows, strict=True):
        costs.append(cost_of(r.probs, whole[: len(flow)]))
    assert costs == sorted(costs)

    one_decision_away = []
    for j, signal in enumerate(whole_flows[0]):
        others = [other for other in range(len(SIGNALS)) if other != signal]
        one_decision_away += [whole_flows[0][:j] + [other] for other in others]
    second_flow, _ = tries[1]
    assert second_flow == min(one_decision_away, key=lambda flow: cost_of(first.probs, flow))


def test_a_flow_is_left_at_every_step_that_is_not_planned():
    """Each flow that leaves it, with the probability of its signals."""
    reasoning = Reasoning([Step(0, "a"), Step(1, "b")], [[0.7, 0.3], [0.4, 0.6]])
    for n_planned, expected in ((0, {(1,): 0.3, (0, 0): 0.7 * 0.4}), (1, {(0, 0): 0.7 * 0.4})):
        heap = []
        push_alternatives(heap, reasoning, n_planned)
        assert {tuple(flow): math.exp(-cost) for cost, flow in heap} == pytest.approx(expected)


def test_a_clone_samples_its_answers(student):
    model, tokenizer = student.model, student.tokenizer

    def draw(k):
        generator = torch.Generator().manual_seed(0)
        options = {"temperature": 1.0, "max_tokens": 40, "generator": generator}
        return search(model, tokenizer, QUESTIONS[:2], k, method="clone", **options)

    for once, thrice in zip(draw(1), draw(3), strict=True):
        assert once.tokens < thrice.tokens <= 3 * 40


@pytest.mark.parametrize(
    ("choose", "answers", "chosen"),
    [
        ("vote", "7 3 7", "7"),
        ("vote", "3 7 7", "7"),
        ("vote", "7 3 5", "7"),  # the first of equals, the head's own flow
        ("vote", "- - 7", "7"),  # no answer is none to vote for
        ("score", "7 3 7", "3"),
    ],
)
def test_vote_and_score_choose_by_hand(choose, answers, chosen, monkeypatch):
    def reasoning(answer, logp):
        step = Step(RESPONSE, f"The answer is {answer}.")
        probs = [[0.1] * len(SIGNALS)]
        return Reasoning([step], probs, tokens=4, logp=logp, finished=answer != "-")

    logps = (-4.0, -1.0, -9.0)
    draws = map(reasoning, answers.split(), logps)
    monkeypatch.setattr(sample, "reason", lambda *_, **__: [next(draws)])
    (best,) = search(None, None, ["question"], 3, choose)
    assert best.answer == chosen
    assert best.tokens == 3 * 4


# --------------------------------------------------------------------------------- signal sources
def test_each_compared_student_is_told_the_flow_in_its_own_classes(monkeypatch):
    flows = []

    def ask(student, questions, flow, **_):
        flows.extend(flow)
        return [Reasoning([], [])]

    n_classes = iter((len(SIGNALS), 3))
    tokenizer = Tokenizer.train(["how many?"], 300)

    def load(path, device):
        return Student(None, tokenizer, None, "scaffold", next(n_classes), set(), 0.0)

    monkeypatch.setattr(sample, "ask", ask)
    monkeypatch.setattr(sample, "load_student", load)
    monkeypatch.setattr(sample, "side_by_side", lambda *_: "")
    sample.main(["how many?", "--compare", "a", "b", "--flow", "recall,contrast"])
    assert flows == [[RECALL, CONTRAST], taxonomy([RECALL, CONTRAST], 3)]
    assert flows[0] != flows[1]


@pytest.mark.slow
def test_signal_sources(student):
    rows = [row for row, _ in prepare.rows(TASKS, "test", 8)]
    traces = annotated_traces(student, rows)
    _, records = evaluate(student, rows, signals="gold")
    for i, record in enumerate(records):
        gold = [SIGNAL_NAMES[step.signal] for step in traces[i].steps]
        obeyed = [step["signal"] for step in record["steps"]][: len(gold)]
        assert obeyed == gold[: len(record["steps"])]

    result, records = evaluate(student, rows, signals="random")
    assert {s["signal"] for record in records for s in record["steps"]} == set(SIGNAL_NAMES)
    _, records = evaluate(replace(student, classes=3), rows, signals="random")
    trained = {SIGNAL_NAMES[signal] for signal in classes_of(3)}
    assert {s["signal"] for record in records for s in record["steps"]} == trained
    assert 0 <= result["obedience"] <= 1

    ungated, _ = evaluate(student, rows)
    gated, _ = evaluate(student, rows, tau=0.6)
    assert ungated["signals_kept"] == 1
    assert 0 < gated["signals_kept"] < 1
    assert gated["signal_accuracy"] > ungated["signal_accuracy"]


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--signals", "gold"], "row 2 has no trace"),
        (["--signals", "random", "--k", "2"], "--k searches"),
        (["--flow", "recall"], "--flow is for"),
    ],
)
def test_signal_sources_that_are_not_there(flags, message, trained, tmp_path):
    questions, out = tmp_path / "questions.jsonl", tmp_path / "out.jsonl"
    row = {"question": QUESTIONS[0], "answer": "1"}
    rows = [{**row, "trace": "So 1."}, {**row, "trace": "  "}]
    questions.write_text("".join(json.dumps(row) + "\n" for row in rows))
    files = ["--eval", str(questions), "--ckpt", str(trained / "ckpt.pt"), "--out", str(out)]
    with pytest.raises(UserError, match=message):
        sample.main([*files, "--device", "cpu", *flags])
    assert not out.exists()


def test_names_of_a_flow():
    names = ["recall", "Contrast", " reasoning", "response"]
    assert [signal_named(name) for name in names] == [RECALL, CONTRAST, REASONING, RESPONSE]


def test_a_flow_is_in_the_classes_of_the_student(trained, monkeypatch, capsys):
    """A student of three classes goes on where it is told to recall."""
    student = load_student(trained / "ckpt.pt", "cpu")
    student.classes = 3
    monkeypatch.setattr(sample, "load_student", lambda path, device: student)
    sample.main([QUESTIONS[0], "--flow", "recall,contrast,conclusion", "--device", "cpu"])
    lines = [line for line in capsys.readouterr().out.splitlines() if "[" in line]
    names = [re.search(r"\[(.+)  ", line)[1] for line in lines[:3]]
    assert names == [SIGNALS[s].name for s in (REASONING, CONTRAST, RESPONSE)]


@pytest.mark.parametrize("name", ["", "and", "doubt"])
def test_names_that_are_no_signal(name):
    with pytest.raises(UserError, match="--flow"):
        signal_named(name)
