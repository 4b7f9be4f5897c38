"""Checks the exercises against the project's own code, and says what is wrong in plain words."""

import copy
import importlib
import inspect
import os
import random
import re
import traceback
from functools import partial
from itertools import zip_longest

import pytest
import torch
import torch.nn.functional as F

from data.algorithmic.common import Problem
from model import GPT, gpt_config
from sample import generate
from scaffold import (
    ADDITION,
    CONCLUSION,
    CONTRAST,
    NO_SIGNAL,
    REASONING,
    RECALL,
    RESPONSE,
    SIGNALS,
    Step,
    Tokenizer,
    Trace,
    collate,
    encode,
    view,
)

# The project's own tests check the solutions in the same way.
exercises = importlib.import_module(os.environ.get("EXERCISES", "exercises"))

TOKENIZER = Tokenizer([" a", " b", " c", " d"])
STEP_ID, END_ID = TOKENIZER.step_id, TOKENIZER.end_id
SIGNAL_WORDS = dict(enumerate(signal.short for signal in SIGNALS)) | {NO_SIGNAL: "NO_SIGNAL"}
WORDS = {256: "a", 257: "b", 258: "c", 259: "d", STEP_ID: "<|step|>", END_ID: "<|end|>"}


def wrong(message):
    raise pytest.fail.Exception(message, pytrace=False) from None


def attempt(name, *args):
    """What the exercise of this name returns for these arguments. They have to stay as they are."""
    function = getattr(exercises, name, None)
    if not callable(function):
        wrong(f"data/workshop/exercises.py has no function {name} any more.")
    given = copy.deepcopy(args)
    try:
        found = function(*args)
    except NotImplementedError:
        wrong(f"{name} waits for you in data/workshop/exercises.py")
    except Exception as e:
        frames = traceback.extract_tb(e.__traceback__)
        lines = [frame for frame in frames if frame.filename == exercises.__file__]
        where = f"The check calls it with {len(args)} arguments, as its docstring says."
        if lines:
            where = f"(line {lines[-1].lineno}: {lines[-1].line})"
        wrong(f"{name} stopped with {type(e).__name__}: {e}\n{where}")
    names = inspect.signature(function).parameters
    for argument, before, after in zip(names, given, args, strict=False):
        is_same = torch.equal if torch.is_tensor(before) else list.__eq__
        if isinstance(before, (list, torch.Tensor)) and not is_same(before, after):
            wrong(f"{name} has changed {argument}, which it was given: work on a copy.")
    if found is None:
        wrong(f"{name} returned nothing: is a `return` missing?")
    return found


def as_list(found, what, n=None):
    """found, a list or a tuple (of n elements), as a list."""
    if not isinstance(found, (list, tuple)):
        wrong(f"Return {what}. This is of the type {type(found).__name__}.")
    if n not in (None, len(found)):
        wrong(f"Return {what}, not {len(found)} elements.")
    return list(found)


def expect(found, right, likely, difference):
    """Fail unless found is right. likely: {hint: what a likely mistake gives}."""
    if found != right:
        hints = [hint for hint, mistaken in likely.items() if found == mistaken]
        wrong("\n".join([*hints[:1], difference]))


def expect_row(what, found, right, likely, words=WORDS):
    """Expect a row of numbers, and show it in words ({number: word})."""
    words = {repr(number): word for number, word in words.items()}
    rows = [" ".join(words.get(repr(item), repr(item)) for item in row) for row in (right, found)]
    expect(found, right, likely, f"{what} should be\n    {rows[0]}\nnot\n    {rows[1]}")


def test_exercise_1_encode_trace():
    traces = [
        ("a b", [(RECALL, "c d c"), (CONCLUSION, "b"), (RESPONSE, "d d")]),
        ("c", [(ADDITION, "a b"), (RESPONSE, "d"), (CONTRAST, "a b"), (ADDITION, "a b")]),
        ("b d a", [(CONCLUSION, "c")]),
    ]
    for question, steps in traces:
        check_trace(Trace(question, [Step(*step) for step in steps], ""))


def check_trace(trace):
    question = TOKENIZER.encode(trace.question)
    steps = [TOKENIZER.encode(step.text) for step in trace.steps]
    signals = [step.signal for step in trace.steps]
    found = attempt("encode_trace", question, steps, signals, STEP_ID, END_ID)
    what = "three lists: inputs, targets, target_signals"
    inputs, targets, signals = (as_list(part, what) for part in as_list(found, what, 3))
    batch = collate([encode(trace, TOKENIZER)], TOKENIZER)
    right_inputs, right_signals, right_targets, _ = (part[0].tolist() for part in batch)
    n = len(question)

    row = [*right_inputs, END_ID]
    likely = {
        "The last token of the row is never read: after it there is nothing to predict.": row,
        "The question ends with <|step|>, too.": row[:n] + row[n + 1 : -1],
        "<|end|> stands in place of the last <|step|>, not after it.": [*right_inputs, STEP_ID],
    }
    expect_row("inputs", inputs, right_inputs, likely)

    unshifted = [-1 if t == -1 else i for t, i in zip(targets, inputs, strict=False)]
    likely = {
        "The last step ends with <|end|>, not with <|step|>.": [*right_targets[:-1], STEP_ID],
        "The student is not to learn the question.": row[1:],
        "The <|step|> of the question is not to be learned.": [-1] * (n - 1) + row[n:],
        "The first word of the first step is to be learned.": [-1] * (n + 1) + row[n + 2 :],
        "Nothing is learned.": [-1] * len(inputs),
        "A target is the *next* token: shift the row by one.": unshifted,
    }
    expect_row("targets", targets, right_targets, likely)

    triples = zip(signals, right_signals, targets, strict=False)
    likely = {
        "Each signal is one late: it is that of the target, not of what is read.": (
            [NO_SIGNAL, *right_signals[:-1]]
        ),
        "Each signal is one early.": [*right_signals[1:], right_signals[-1]],
        "Where nothing is to be learned, it is NO_SIGNAL.": signals[:n] + right_signals[n:],
        "The terminator of a step belongs to the step that it ends.": (
            [found if target in (STEP_ID, END_ID) else right for found, right, target in triples]
        ),
    }
    expect_row("target_signals", signals, right_signals, likely, SIGNAL_WORDS)


cross_entropy = partial(F.cross_entropy, ignore_index=-1)


def likely_means(logits, targets, n_others):
    """{hint: loss of a likely mistake}. n_others: the number of the other loss's targets."""
    losses = cross_entropy(logits.mT, targets, reduction="none")  # (B, T), 0 where no target is
    row_means = losses.sum(1) / (targets >= 0).sum(1)
    reshaped = logits.reshape(logits.mT.shape)
    return {
        "Take the mean over the targets that are not -1, not the sum.": losses.sum(),
        "Divide by the number of targets that are not -1, not of positions.": losses.mean(),
        "Divide by the number of targets that are not -1, not of rows.": losses.sum() / len(losses),
        "Take one mean over the whole batch, not one for each row.": row_means.mean(),
        "Each loss is divided by the number of its own targets.": losses.sum() / n_others,
        "0 is a target like any other: only -1 means none.": losses[targets > 0].mean(),
        "-1 is no target: leave it out.": cross_entropy(logits.mT, targets.clamp(0)),
        "cross_entropy does the softmax itself.": cross_entropy(logits.mT.softmax(1), targets),
        "Reshaped to (B, V, T), positions mix: transpose.": cross_entropy(reshaped, targets),
    }


def test_exercise_2_joint_loss():
    torch.manual_seed(0)
    token_logits = torch.randn(2, 9, 11, requires_grad=True)
    signal_logits = torch.randn(2, 9, 7, requires_grad=True)
    targets, signal_targets = torch.randint(0, 11, (2, 9)), torch.randint(0, 7, (2, 9))
    targets[0, 1:4] = -1  # the rows have different numbers of targets
    targets[1, :7] = -1
    signal_targets[0, [1, 2, 3, 4, 5, 7, 8]] = -1
    signal_targets[1, :8] = -1
    targets[0, 4] = signal_targets[0, 6] = 0  # a token and a signal like any other
    args = token_logits, targets, signal_logits, signal_targets
    n_tokens, n_signals = (targets >= 0).sum(), (signal_targets >= 0).sum()
    text = cross_entropy(token_logits.mT, targets)
    signal = cross_entropy(signal_logits.mT, signal_targets)
    likely_of_beta = {
        0.0: likely_means(token_logits, targets, n_signals),
        1.0: likely_means(signal_logits, signal_targets, n_tokens),
        0.3: {},
    }
    for beta, likely in likely_of_beta.items():
        found = attempt("joint_loss", *args, beta)
        if not torch.is_tensor(found) or found.dim():
            wrong("Return a tensor without dimensions.")
        right = (1 - beta) * text + beta * signal
        likely |= {
            "beta is the weight of the signals' loss.": beta * text + (1 - beta) * signal,
            "The text's loss has a weight, too: 1 - beta.": text + beta * signal,
            "The signals' loss has a weight, too: beta.": (1 - beta) * text + signal,
            "beta is given: do not write 0.1.": 0.9 * text + 0.1 * signal,
        }
        likely = {hint: pytest.approx(loss.item(), rel=1e-4) for hint, loss in likely.items()}
        difference = f"With beta {beta} it should be {1 - beta} * L_token + {beta} * L_signal ="
        difference += f" {right:.4f}, not {found:.4f}."
        expect(found.item(), pytest.approx(right.item(), rel=1e-4), likely, difference)
    check_gradient(found, right, (token_logits, signal_logits))


def check_gradient(found, right, logits):
    if found.requires_grad:
        gradients = torch.autograd.grad(found, logits, allow_unused=True)
        right_gradients = torch.autograd.grad(right, logits)
        pairs = zip(gradients, right_gradients, strict=True)
        if all(g is not None and torch.allclose(g, r, atol=1e-6) for g, r in pairs):
            return
    wrong(
        "The number is right, but training needs its gradient to both logits: compute it from them"
        " without item(), detach(), torch.tensor() or no_grad()."
    )


def random_student(seed):
    """A GPT without a zero weight, so that every signal makes a difference; its steps are short."""
    torch.manual_seed(seed)
    model = GPT(gpt_config(1, TOKENIZER.vocab_size, 64)).eval()
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.3)
    with torch.no_grad():
        model.lm_head.weight[STEP_ID:] *= 1.5
    return model


@torch.no_grad()
def test_exercise_3_signals_at_boundaries():
    model = random_student(seed=7)
    idx = torch.tensor([[1, 2, STEP_ID, 4, 5, STEP_ID, 7], [STEP_ID, 2, 3, 4, STEP_ID, 6, STEP_ID]])
    hidden = torch.randn(2, 7, model.config.n_embd)
    found = attempt("signals_at_boundaries", hidden, idx, model.signal_head, STEP_ID)
    signals, confidences = as_list(found, "two tensors: signals, confidences", 2)
    is_boundary = idx == STEP_ID
    probs = model.signal_probs(hidden)
    right_confidences, right_signals = probs[is_boundary].max(-1)
    for part in (signals, confidences):
        if not torch.is_tensor(part):
            wrong("Return tensors, not lists or numbers.")
        if part.shape != right_signals.shape:
            places = is_boundary.nonzero().tolist()
            wrong(
                f"There are 5 boundaries, at (row, position) {places}. Return tensors of the shape"
                f" [5], not {list(part.shape)}."
            )
    if signals.is_floating_point():
        wrong("First the signals, whole numbers, then the confidences.")
    softmax_of_columns = model.signal_head(hidden[is_boundary]).softmax(0)
    likely = {
        "Predict from <|step|> itself, not from the word after it.": probs[is_boundary.roll(1, 1)],
        "Predict from <|step|>, not from the word before it.": probs[is_boundary.roll(-1, 1)],
        "Take the boundaries row by row.": probs.transpose(0, 1)[is_boundary.T],
        "The softmax is over the signals, the last dimension.": softmax_of_columns,
    }
    likely = {hint: mistaken.argmax(-1).tolist() for hint, mistaken in likely.items()}
    likely["Signals count from 0."] = (right_signals + 1).tolist()
    found, right = signals.tolist(), right_signals.tolist()
    expect(found, right, likely, f"signals should be {right}, not {found}.")
    if not torch.allclose(confidences.float(), right_confidences):
        wrong(
            "The signals are right. A confidence is a probability: softmax over the signals, then"
            " the largest."
        )


class Student:
    """The project's model as exercise 4 sees it."""

    step_id, end_id = STEP_ID, END_ID

    def __init__(self, model, prompt):
        self.model, self.prompt = model, prompt

    def logits(self, tokens, signal):
        tokens = [int(token) for token in tokens]
        if tokens[: len(self.prompt)] != self.prompt:
            wrong("student.logits reads all tokens so far: those of idx, then those of the step.")
        if len(tokens) > 50:
            wrong("The step never ends: after `room` tokens it has to.")
        hidden = self.model.hidden(torch.tensor([tokens]))[0, -1]  # without any signal
        return self.model.token_logits(hidden, torch.tensor(int(signal)))


@torch.no_grad()
def test_exercise_4_write_step():
    prompt = [*TOKENIZER.encode("a b"), STEP_ID]
    for seed in (1, 15, 20, 28):  # their steps end with <|step|>, with <|end|>, or nowhere
        model = random_student(seed)
        probs = model.signal_probs(model.hidden(torch.tensor([prompt])))[0, -1]
        confidence, signal = float(probs.max()), int(probs.argmax())
        for tau, room in [(0.0, 30), (1.0, 30), (confidence, 30), (0.0, 2), (0.0, 0)]:
            ((right_signal, right_text), *_) = generate(model, TOKENIZER, "a b", tau, room)
            student = Student(model, prompt)
            right = greedy_step(student, right_signal, room)
            assert TOKENIZER.decode(right) == right_text
            found = attempt("write_step", student, list(prompt), signal, confidence, tau, room)
            what = f"With confidence {confidence:.2f}, tau {tau:.2f}, room {room}"
            check_step(what, found, right_signal, right, prompt)


def greedy_step(student, signal, room):
    """The tokens of a step: the most probable ones."""
    step = []
    while len(step) < room and not {STEP_ID, END_ID} & set(step):
        step.append(int(student.logits(student.prompt + step, signal).argmax()))
    return step


def check_step(what, found, right_signal, right, prompt):
    """Say what is wrong with the (signal, tokens) of exercise 4."""
    try:
        signal, tokens = found
        tokens = [int(token) for token in tokens]
    except (TypeError, ValueError, RuntimeError):
        wrong("Return the signal of the step and the list of its tokens, which are numbers.")
    likely = {"The signal becomes RESPONSE only *below* tau, and there always.": [signal]}
    expect_row(f"{what} the signal", [signal], [right_signal], likely, SIGNAL_WORDS)
    is_ended = right[-1:] in ([STEP_ID], [END_ID])
    likely = {
        "Return the tokens of the step alone, without those of idx.": prompt + right,
        "Nothing was written. Neither the gate nor the <|step|> of idx ends the step.": [],
        "The terminator is the last token of the step.": right[:-1] if is_ended else None,
        "Too early: <|step|>, <|end|> or `room` new tokens end a step.": right[: len(tokens)],
        "The step goes on after its <|step|> or <|end|>, or without room.": (
            right + tokens[len(right) :]
        ),
        "These are not the most probable tokens. Is each one read before the next is asked, and"
        " all of them under the signal of the step?": tokens,
    }
    expect_row(f"{what} the step", tokens, right, likely)


def as_steps(found):
    """A list of (signal, text), whatever lists or tuples it consists of."""
    what = "the steps as a list of (signal, text)"
    return [tuple(as_list(step, what, 2)) for step in as_list(found, what)]


def test_exercise_5_what_is_read():
    stages = [RECALL, REASONING, CONCLUSION, ADDITION, CONTRAST, CONCLUSION, REASONING, RESPONSE]
    check_reading([Step(signal, f"{SIGNALS[signal].short} {i}") for i, signal in enumerate(stages)])
    repeated = [CONCLUSION, RECALL, RESPONSE, RECALL, CONCLUSION, CONCLUSION, RECALL, RECALL]
    check_reading([Step(signal, SIGNALS[signal].short) for signal in repeated])


def check_reading(steps):
    written = []
    for stage in view(Trace("?", steps, ""), "pruned"):
        texts = [(step.signal, step.text) for step in stage.steps]
        for n_read in range(stage.n_context, len(texts)):
            check_read(written, texts[:n_read])
            written.append(texts[n_read])


def check_read(written, right):
    """written: the steps so far. right: those that are read."""
    found = as_steps(attempt("what_is_read", list(written)))
    if not all(step in written for step in found):
        wrong("Return a list of (signal, text), as they were given.")
    kept = [step for step in found if step[0] == CONCLUSION]
    is_forgotten = len(kept) < sum(signal == CONCLUSION for signal, _ in right)
    likely = {
        "After a conclusion the steps of its stage are forgotten; you keep all of them.": written,
        "Conclusions are never forgotten, not even of stages before.": found if is_forgotten else 0,
    }
    rows = [", ".join(text for _, text in steps) for steps in (written, right, found)]
    expect(found, right, likely, f"Of [{rows[0]}] it reads [{rows[1]}], not [{rows[2]}].")


def check_problem(problem, n):
    """Say what is wrong with a Problem of exercise 6. Returns its numbers."""
    if not isinstance(problem, Problem):
        wrong("Return a Problem(question, answer, steps).")
    question = problem.question
    in_form = re.fullmatch(r"Which is the largest: (\d+(, \d+)*)\?", str(question))
    if not in_form:
        wrong(f"{question!r} is not in the form 'Which is the largest: 12, 45, 7?'.")
    numbers = [int(word) for word in in_form[1].split(", ")]
    if not len(numbers) == len(set(numbers)) == n or not set(numbers) <= set(range(1, 100)):
        wrong(f"{question}: not {n} different numbers from 1 to 99.")
    if problem.answer != str(max(numbers)):
        wrong(f"{question}: the answer is {str(max(numbers))!r}, not {problem.answer!r}.")
    expected = [(RECALL, f"the first number is {numbers[0]}")]
    for i, number in enumerate(numbers[1:], 1):
        largest = max(numbers[:i])
        turn, more = f"{number} is larger than {largest}", f"{number} is not larger than {largest}"
        expected.append((CONTRAST, turn) if number > largest else (ADDITION, more))
    expected.append((CONCLUSION, f"the largest is {max(numbers)}"))
    for step, right in zip_longest(as_steps(problem.steps), expected, fillvalue="no step"):
        if step != right:
            wrong(f"{question}\nThis step should be {right}, not {step}.")
    return numbers


def draw_numbers(seed, n):
    return check_problem(attempt("largest_number", random.Random(seed), n), n)


def test_exercise_6_largest_number():
    first, again, other = draw_numbers(1, 4), draw_numbers(1, 4), draw_numbers(2, 4)
    if first != again:
        wrong("The same rng gives another problem: draw everything from rng, nothing from random.")
    if first == other:
        wrong("Another rng gives the same problem: draw the numbers from rng.")
    drawn, places = set(), set()  # where the smallest and the largest stand
    for seed in range(600):
        numbers = draw_numbers(seed, 1 + seed % 5)
        drawn.update(numbers)
        for extreme in (min, max):
            places.add((len(numbers), extreme, numbers.index(extreme(numbers))))
    if not {1, 99} <= drawn:
        wrong(f"In 600 problems the numbers go from {min(drawn)} to {max(drawn)}, not 1 to 99.")
    if len(places) < 2 * (1 + 2 + 3 + 4 + 5):
        wrong("The order is not random: the smallest or the largest is never in some places.")
    many = draw_numbers(1, 30)
    if many == sorted(many):
        wrong("The order is not random: a set of many small numbers has them sorted.")
