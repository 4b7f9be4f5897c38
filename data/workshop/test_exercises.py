"""Checks the exercises against the project's own code, and says what is wrong in plain words."""

import importlib
import os
import random
import traceback

import pytest
import torch

from data.algorithmic.common import Problem
from model import GPT, gpt_config, summed_loss
from sample import generate
from scaffold import (
    ADDITION,
    CONCLUSION,
    CONTRAST,
    NO_SIGNAL,
    REASONING,
    RECALL,
    RESPONSE,
    Step,
    Tokenizer,
    Trace,
    collate,
    encode,
    view,
)

# The project's own tests check the solutions in the same way.
exercises = importlib.import_module(os.environ.get("EXERCISES", "exercises"))


def wrong(message):
    pytest.fail(message, pytrace=False)


def attempt(name, *args):
    """What the exercise of this name returns for these arguments."""
    try:
        return getattr(exercises, name)(*args)
    except NotImplementedError:
        problem = f"{name} waits for you in data/workshop/exercises.py"
    except Exception as e:
        frames = traceback.extract_tb(e.__traceback__)
        line = [frame for frame in frames if frame.filename == exercises.__file__][-1]
        problem = f"{name} stopped with {type(e).__name__}: {e}\n(line {line.lineno}: {line.line})"
    wrong(problem)


def test_exercise_1_encode_trace():
    tokenizer = Tokenizer([" a", " b", " c", " d"])
    trace = Trace("a b", [Step(RECALL, "c d c"), Step(CONCLUSION, "b"), Step(RESPONSE, "d d")], "d")
    question = tokenizer.encode(trace.question)
    steps = [tokenizer.encode(step.text) for step in trace.steps]
    signals = [step.signal for step in trace.steps]
    ids = tokenizer.step_id, tokenizer.end_id
    given = list(question), [list(step) for step in steps], list(signals)
    found = attempt("encode_trace", *given, *ids)
    if given != (question, steps, signals):
        wrong("The lists that were given have changed: write into lists of your own.")
    if not isinstance(found, tuple) or len(found) != 3:
        wrong("Return three lists: inputs, targets, target_signals.")
    inputs, targets, target_signals = (list(part) for part in found)
    batch = collate([encode(trace, tokenizer)], tokenizer)
    right_inputs, right_signals, right_targets, _ = (part[0].tolist() for part in batch)
    if not len(inputs) == len(targets) == len(target_signals):
        wrong(f"The lists have {len(inputs)}, {len(targets)} and {len(target_signals)} elements.")
    if inputs == [*right_inputs, ids[1]]:
        wrong("The last token of the row is never read: after it there is nothing to predict.")
    if inputs != right_inputs:
        wrong(f"inputs should be {right_inputs}, not {inputs}.")
    if targets == inputs:
        wrong("A target is the *next* token: shift the row by one.")
    n = len(question)
    if targets[:n] != [-1] * n:
        problem = "The student is not to learn the question, nor the <|step|> that ends it"
        wrong(f"{problem}: the first {n} targets are -1, not {targets[:n]}.")
    if targets[n] == -1:
        wrong("The first word of the first step is to be learned: its target is not -1.")
    if targets[-1] == ids[0]:
        wrong("The last step ends with <|end|>, not with <|step|>.")
    if targets != right_targets:
        wrong(f"targets should be {right_targets}, not {targets}.")
    check_target_signals(target_signals, right_signals, n + len(steps[0]))


def check_target_signals(found, right, end_of_first):
    """end_of_first: where the target is the terminator of the first step."""
    if found[1:] == right[:-1]:
        wrong("Each signal is one late: it is that of the target, not of the token that is read.")
    for signal, right_signal in zip(found, right, strict=True):
        if right_signal == NO_SIGNAL != signal:
            wrong("Where there is nothing to learn, the signal is NO_SIGNAL.")
    if found[end_of_first] != right[end_of_first]:
        wrong("The terminator of a step belongs to the step that it ends, not to the next one.")
    if found != right:
        wrong(f"target_signals should be {right}, not {found}.")


def mean_loss(logits, targets):
    """The project's loss of logits (B, T, V), by a head that changes nothing."""
    head = torch.nn.Linear(logits.size(-1), logits.size(-1), bias=False)
    torch.nn.init.eye_(head.weight)
    return summed_loss(head, logits, targets) / (targets >= 0).sum()


def test_exercise_2_joint_loss():
    torch.manual_seed(0)
    token_logits, signal_logits = torch.randn(2, 9, 11), torch.randn(2, 9, 7)
    targets, signal_targets = torch.randint(0, 11, (2, 9)), torch.randint(0, 7, (2, 9))
    targets[0, :3] = -1  # the rows have different numbers of targets
    targets[1, :7] = -1
    signal_targets[0, [0, 1, 2, 4, 5, 7, 8]] = -1
    signal_targets[1, :8] = -1
    args = token_logits, targets, signal_logits, signal_targets
    token_loss = mean_loss(token_logits, targets)
    signal_loss = mean_loss(signal_logits, signal_targets)
    by_row = [mean_loss(*row) for row in zip(token_logits, targets, strict=True)]

    def is_close(found, right):
        return torch.is_tensor(found) and found.dim() == 0 and torch.allclose(found, right)

    found = attempt("joint_loss", *args, 0.1)
    if not torch.is_tensor(found) or found.dim():
        wrong("Return one number, as a tensor without dimensions.")
    if is_close(found, 0.1 * token_loss + 0.9 * signal_loss):
        wrong("beta is the weight of the signals' loss; the text has 1 - beta.")
    if is_close(found, token_loss + 0.1 * signal_loss):
        wrong("The text's loss has a weight, too: 1 - beta.")
    n_tokens, n_signals = (targets >= 0).sum(), (signal_targets >= 0).sum()
    if is_close(found, 0.9 * token_loss * n_tokens + 0.1 * signal_loss * n_signals):
        wrong("Take the mean over the positions that have a target, not the sum.")
    if is_close(found, (0.9 * token_loss * n_tokens + 0.1 * signal_loss * n_signals) / 18):
        wrong("Divide by the number of positions that have a target, not by all positions.")
    if is_close(attempt("joint_loss", *args, 0.0), sum(by_row) / 2):
        wrong(
            "Take one mean over the whole batch: a mean for each row gives short rows more weight."
        )
    if not is_close(attempt("joint_loss", *args, 0.0), token_loss):
        wrong(
            "With beta 0 only the text's loss is left. Is it the mean over targets that are not -1?"
        )
    if not is_close(attempt("joint_loss", *args, 1.0), signal_loss):
        wrong("With beta 1 only the signals' loss is left. Is it the mean over its own targets?")
    if not is_close(found, 0.9 * token_loss + 0.1 * signal_loss):
        wrong("Both losses are right, but not how they are added.")


def random_student(tokenizer, seed=7):
    """A GPT without a zero weight, so that every signal makes a difference; its steps are short."""
    torch.manual_seed(seed)
    model = GPT(gpt_config(1, tokenizer.vocab_size, 64)).eval()
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.3)
    with torch.no_grad():
        model.lm_head.weight[tokenizer.step_id :] *= 1.5
    return model


@torch.no_grad()
def test_exercise_3_signals_at_boundaries():
    tokenizer = Tokenizer([" a", " b"])
    model, step_id = random_student(tokenizer), tokenizer.step_id
    idx = torch.tensor([[1, 2, step_id, 4, 5, step_id, 7], [step_id, 2, 3, 4, step_id, 6, step_id]])
    hidden = torch.randn(2, 7, model.config.n_embd)
    found = attempt("signals_at_boundaries", hidden, idx, model.signal_head, step_id)
    if not isinstance(found, tuple) or len(found) != 2:
        wrong("Return two tensors: signals, confidences.")
    signals, confidences = found
    if not torch.is_tensor(signals) or not torch.is_tensor(confidences):
        wrong("Return tensors, not lists or numbers.")
    if signals.is_floating_point() and not confidences.is_floating_point():
        wrong("First the signals, then the confidences.")
    probs = model.signal_probs(hidden)
    right_confidences, right_signals = probs[idx == step_id].max(-1)
    if signals.shape != right_signals.shape:
        n = len(right_signals)
        wrong(
            f"There are {n} boundaries in this batch; signals has the shape {list(signals.shape)}."
        )
    after = torch.roll(idx == step_id, 1, dims=1)
    if torch.equal(signals, probs[after].argmax(-1)) and not torch.equal(signals, right_signals):
        wrong("Predict from the <|step|> itself, not from the word after it.")
    if not torch.equal(signals, right_signals):
        wrong(f"signals should be {right_signals.tolist()}, not {signals.tolist()}.")
    if not torch.allclose(confidences, right_confidences):
        wrong("The signals are right. A confidence is a probability: softmax, then the largest.")


class Student:
    """The project's model as exercise 4 sees it."""

    def __init__(self, model, tokenizer):
        self.model, self.step_id, self.end_id = model, tokenizer.step_id, tokenizer.end_id
        self.start = None  # where the step begins

    def logits(self, idx, signal):
        self.start = self.start or len(idx)
        if len(idx) > 50:
            wrong("The step never ends: after `room` tokens it has to.")
        signals = [NO_SIGNAL] * (self.start - 1) + [signal] * (len(idx) - self.start + 1)
        idx, signals = torch.tensor([idx]), torch.tensor([signals])
        hidden = self.model.hidden(idx, self.model.input_signals(idx, signals))[0, -1]
        return self.model.token_logits(hidden, signals[0, -1])


@torch.no_grad()
def test_exercise_4_write_step():
    tokenizer = Tokenizer([" a", " b"])
    prompt = [*tokenizer.encode("a b"), tokenizer.step_id]
    for seed in (1, 7, 9, 25):  # their steps end with <|step|>, with <|end|>, or nowhere
        model = random_student(tokenizer, seed)
        probs = model.signal_probs(model.hidden(torch.tensor([prompt])))[0, -1]
        confidence, signal = float(probs.max()), int(probs.argmax())
        for tau, room in [(0.0, 30), (1.0, 30), (confidence, 30), (0.0, 2)]:
            ((right_signal, right_text), *_) = generate(model, tokenizer, "a b", tau, room)
            right = greedy_step(Student(model, tokenizer), prompt, right_signal, room)
            assert tokenizer.decode(right) == right_text
            idx = list(prompt)
            student = Student(model, tokenizer)
            found = attempt("write_step", student, idx, signal, confidence, tau, room)
            if idx != prompt:
                wrong("The list idx was changed: write into a list of your own.")
            check_step(found, (right_signal, right), (signal, confidence, tau, room), student)


def greedy_step(student, prompt, signal, room):
    """The tokens of a step: the most probable ones."""
    step = []
    while len(step) < room and not {student.step_id, student.end_id} & set(step):
        step.append(int(student.logits(prompt + step, signal).argmax()))
    return step


def check_step(found, right, settings, student):
    """Say what is wrong with (signal, tokens) of exercise 4, and right is what they should be."""
    if not isinstance(found, tuple) or len(found) != 2:
        wrong("Return the signal of the step and the list of its tokens.")
    (found_signal, found_tokens), (right_signal, right_tokens) = found, right
    found_tokens = [int(token) for token in found_tokens]
    signal, confidence, tau, room = settings
    if tau == confidence and found_signal != signal:
        wrong("The gate closes only *below* tau: a head that is as sure as tau goes on.")
    if found_signal != right_signal and tau:
        wrong(f"Confidence {confidence:.2f}, tau {tau}: the signal should be RESPONSE.")
    if found_signal != right_signal:
        wrong("With tau 0 the gate is off, and the signal stays the head's.")
    if len(found_tokens) > room:
        wrong(f"{len(found_tokens)} tokens were written; there was room for {room}.")
    ends = [i for i, t in enumerate(found_tokens) if t in (student.step_id, student.end_id)]
    if ends and ends[0] != len(found_tokens) - 1:
        wrong(
            "The step goes on after its <|step|> or <|end|>, or does not begin with its own words."
        )
    if found_tokens == right_tokens[: len(found_tokens)] != right_tokens:
        wrong("The step ends too early. Its terminator is the last of its tokens.")
    if found_tokens != right_tokens:
        wrong(
            "These are not the most probable tokens. Is each one read before the next is asked, and"
            " all of them under the signal of the step?"
        )


def test_exercise_5_what_is_read():
    signals = [RECALL, REASONING, CONCLUSION, ADDITION, CONTRAST, CONCLUSION, REASONING, RESPONSE]
    steps = [(signal, f"step {i}") for i, signal in enumerate(signals)]
    trace = Trace("?", [Step(*step) for step in steps], "")
    right = {}  # by the number of steps written
    n_written = 0
    for stage in view(trace, "pruned"):
        texts = [(step.signal, step.text) for step in stage.steps]
        for n_read in range(stage.n_context, len(texts)):
            right[n_written] = texts[:n_read]
            n_written += 1
    for n, expected in right.items():
        found = attempt("what_is_read", steps[:n])
        if found == steps[:n] != expected:
            wrong("After a conclusion the steps of its stage are forgotten; you keep all of them.")
        if not all(step in steps for step in found):
            wrong("Return a list of (signal, text), as they were given.")
        kept = [step for step in expected if step[0] == CONCLUSION]
        if not all(step in found for step in kept):
            wrong(f"Conclusions are never forgotten, not even those of stages before: {kept}.")
        if found != expected:
            wrong(f"Of {steps[:n]} the student reads {expected}, not {found}.")


def check_problem(problem, n):
    """Say what is wrong with a Problem of exercise 6. Returns its numbers."""
    if not isinstance(problem, Problem):
        wrong("Return a Problem(question, answer, steps).")
    numbers = [int(word) for word in problem.question.rstrip("?").split(": ")[-1].split(", ")]
    if len(set(numbers)) != n or not all(1 <= number <= 99 for number in numbers):
        wrong(f"{problem.question}: not {n} different numbers from 1 to 99.")
    if problem.question != f"Which is the largest: {', '.join(map(str, numbers))}?":
        wrong(f"{problem.question}: not in the form that the docstring shows.")
    if problem.answer != str(max(numbers)):
        wrong(f"{problem.question}: the answer is {str(max(numbers))!r}, not {problem.answer!r}.")
    expected = [(RECALL, f"the first number is {numbers[0]}")]
    for i, number in enumerate(numbers[1:], 1):
        largest = max(numbers[:i])
        turn, more = f"{number} is larger than {largest}", f"{number} is not larger than {largest}"
        expected.append((CONTRAST, turn) if number > largest else (ADDITION, more))
    expected.append((CONCLUSION, f"the largest is {max(numbers)}"))
    for step, right in zip(problem.steps, expected, strict=False):
        if step != right:
            wrong(f"{problem.question}\nThis step should be {right}, not {step}.")
    if len(problem.steps) != len(expected):
        wrong(f"{problem.question}\n{len(expected)} steps were expected, not {len(problem.steps)}.")
    return numbers


def test_exercise_6_largest_number():
    firsts = [attempt("largest_number", random.Random(seed), 4) for seed in (1, 1, 2)]
    if firsts[0] != firsts[1]:
        wrong("The same rng gives another problem: draw everything from rng, nothing from random.")
    if firsts[0] == firsts[2]:
        wrong("Another rng gives the same problem: draw the numbers from rng.")
    drawn = set()
    for seed in range(200):
        n = 2 + seed % 6
        drawn.update(check_problem(attempt("largest_number", random.Random(seed), n), n))
    if not min(drawn) <= 3 <= 97 <= max(drawn):
        wrong(f"In 200 problems the numbers go from {min(drawn)} to {max(drawn)}, not 1 to 99.")
