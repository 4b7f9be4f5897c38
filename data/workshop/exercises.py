"""Six exercises at the heart of the method. Fill in a function, then look what the check says:

    python -m pytest data/workshop

Each takes five to fifteen lines. Replace `raise NotImplementedError`; names, arguments and results
stay as the docstrings say. Do not change the lists and tensors that are given: work on copies.
Signals are numbers: the place of a signal in `scaffold.SIGNALS`, from 0 on (the handout counts
from 1).
"""

import torch
import torch.nn.functional as F

from data.algorithmic.common import Problem
from scaffold import ADDITION, CONCLUSION, CONTRAST, NO_SIGNAL, RECALL, RESPONSE


def encode_trace(question, steps, signals, step_id, end_id):
    """Exercise 1: what the student learns from one trace.

    A trace is one row of tokens. <|step|> ends the question and every step, <|end|> the last one:

        question <|step|> step <|step|> step <|end|>

    At each position the student reads one token and predicts the next. It is not to learn to write
    the question, nor the <|step|> that ends it. The terminator of a step belongs to its step.

    question: list of token ids. steps: a list of token ids each. signals: the signal of each step.
    Two steps can be the same, and any signal can stand anywhere.
    Returns three lists of the same length, one shorter than the row:
        inputs           the token that is read
        targets          the next token, or -1 where it is not to be learned
        target_signals   the signal of the step that the target belongs to, or NO_SIGNAL
    """
    raise NotImplementedError


def joint_loss(token_logits, targets, signal_logits, signal_targets, beta):
    """Exercise 2: the two losses of a batch, as one number.

        loss = (1 - beta) * L_token + beta * L_signal

    Each L is the mean cross-entropy over the positions that have a target; -1 means none. (0 is a
    token and a signal like any other.)

    token_logits: (B, T, V). targets: (B, T) of token ids. signal_logits: (B, T, K).
    signal_targets: (B, T) of signals. Returns a tensor without dimensions, whose gradient training
    can take.
    """
    raise NotImplementedError


def signals_at_boundaries(hidden, idx, signal_head, step_id):
    """Exercise 3: which signal comes next?

    The head's real prediction is made where the student reads a <|step|>: before any word of the
    next step. The confidence is the probability of the most probable signal.

    hidden: (B, T, C), the last hidden states of the tokens idx (B, T). signal_head: a linear layer
    from C to K. Returns (signals, confidences) of all N boundaries of the batch, row by row: two
    tensors of the shape (N,).
    """
    raise NotImplementedError


def write_step(student, idx, signal, confidence, tau, room):
    """Exercise 4: one step of the reasoning, once the head has named its signal.

    If the head is less sure than tau (the gate), the step gets the signal RESPONSE instead: the
    student has to answer. Then token by token: ask for the logits, take the most probable token,
    and go on until that token is student.step_id or student.end_id, or `room` tokens are written:
    none where room is 0.
    (The project also gives a forced step the opening of the teacher's answers; leave that out.)

    idx: the list of tokens so far, which ends with <|step|>.
    student.logits(tokens, signal): the logits (V,) of the token that follows these tokens in a step
    with this signal. The tokens are those of idx, then those of the step so far.
    Returns (the signal of the step, the list of its tokens): without those of idx, and with the
    terminator where one was written.
    """
    raise NotImplementedError


def what_is_read(steps):
    """Exercise 5: pruning, a shorter context (section 2.3 of the paper).

    A stage of the reasoning ends with a step whose signal is CONCLUSION. Once it has ended, the
    student forgets its steps, but for the conclusion.

    steps: a list of (signal, text), all that was written so far: at first none, and some can be the
    same. Returns a list of those that the student still reads when it writes the next step, in
    their order.
    """
    raise NotImplementedError


def largest_number(rng, n):
    """Exercise 6: a family of your own. Which of n different numbers is the largest?

    rng: a random.Random. Returns a Problem(question, answer, steps) with a question such as

        Which is the largest: 12, 45, 7?

    of n different numbers from 1 to 99 (n is 1 or more) in random order, the answer "45", and steps
    as a list of (signal, text):

        (RECALL, "the first number is 12")       the largest so far
        (CONTRAST, "45 is larger than 12")       a number that beats it: a turn
        (ADDITION, "7 is not larger than 45")    one that does not: one more case
        (CONCLUSION, "the largest is 45")

    What a step does decides its signal, never a coin. The project adds the step that answers.
    """
    raise NotImplementedError
