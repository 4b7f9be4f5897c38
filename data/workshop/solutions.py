"""One solution of each exercise. Yours may look different and be right, too."""

import torch.nn.functional as F

from data.algorithmic.common import Problem
from scaffold import ADDITION, CONCLUSION, CONTRAST, NO_SIGNAL, RECALL, RESPONSE


def encode_trace(question, steps, signals, step_id, end_id):
    row = [*question, step_id]
    target_signals = [NO_SIGNAL] * len(question)  # targets: the question's rest and its <|step|>
    for step, signal in zip(steps, signals, strict=True):
        row += [*step, step_id]
        target_signals += [signal] * (len(step) + 1)
    row[-1] = end_id
    pairs = zip(row[1:], target_signals, strict=True)
    targets = [-1 if signal == NO_SIGNAL else token for token, signal in pairs]
    return row[:-1], targets, target_signals


def joint_loss(token_logits, targets, signal_logits, signal_targets, beta):
    # cross_entropy wants rows of logits: (B * T, V) and (B * T,). It leaves out ignore_index.
    token_loss = F.cross_entropy(token_logits.flatten(0, 1), targets.flatten(), ignore_index=-1)
    signal_loss = F.cross_entropy(
        signal_logits.flatten(0, 1), signal_targets.flatten(), ignore_index=-1
    )
    return (1 - beta) * token_loss + beta * signal_loss


def signals_at_boundaries(hidden, idx, signal_head, step_id):
    states = hidden[idx == step_id]  # (N, C)
    probs = signal_head(states).softmax(-1)  # (N, K)
    confidences, signals = probs.max(-1)
    return signals, confidences


def write_step(student, idx, signal, confidence, tau, room):
    if confidence < tau:
        signal = RESPONSE
    step = []
    while len(step) < room:
        logits = student.logits(idx + step, signal)
        step.append(int(logits.argmax()))
        if step[-1] in (student.step_id, student.end_id):
            break
    return signal, step


def what_is_read(steps):
    read, stage = [], []
    for signal, text in steps:
        stage.append((signal, text))
        if signal == CONCLUSION:
            read.append((signal, text))
            stage = []
    return read + stage


def largest_number(rng, n):
    first, *others = numbers = rng.sample(range(1, 100), n)
    steps = [(RECALL, f"the first number is {first}")]
    largest = first
    for number in others:
        if number > largest:
            steps.append((CONTRAST, f"{number} is larger than {largest}"))
            largest = number
        else:
            steps.append((ADDITION, f"{number} is not larger than {largest}"))
    steps.append((CONCLUSION, f"the largest is {largest}"))
    question = f"Which is the largest: {', '.join(map(str, numbers))}?"
    return Problem(question, str(largest), steps)
