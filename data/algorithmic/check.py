"""Is each step of a *student's* free text true, and does it follow from the question and the steps?

A family's `read` returns a checker of the question, see data/algorithmic/web_of_lies.py for one:

    answers        regex of all that may be handed over as the answer
    claims         regex of all that a step may claim; its groups name the parts of a claim, and
                   none is called "answer". It is read as re.VERBOSE and re.IGNORECASE
    judge(claims)  yields what is wrong with the claims (matches) of the next step
    conclude()     (the true answer, what the steps have not shown for it yet or "")

A step takes one thing up: it is no leap. Between claims only the neutral words of
checker_words.json may stand, which say nothing of amounts, ends or likeness; no negation is one.
What cannot be parsed counts as wrong, and so does a long step without a claim. After a wrong step
the state is the true one again, as far as can be told.
"""

import json
import re
from pathlib import Path

from data.algorithmic.common import NUMBERS, tidy
from data.algorithmic.prepare import FAMILIES

CHECKER_WORDS = Path(__file__).with_name("checker_words.json")
NEUTRAL = set(json.loads(CHECKER_WORDS.read_text(encoding="utf-8"))["neutral"])
FILLERS = re.compile(
    r"""^\W*(?:all[ ])?right(?=[,.:!])     # All right,
      | \b(?:so[ ]far|as[ ]a[ ]result|in[ ]short|to[ ]sum[ ]up)\b
      | \bon[ ]the[ ]other[ ]hand\b
      | \bone[ ](?:step|thing)[ ]at[ ]a[ ]time\b
      | \btake[ ]this[ ]one\b""",
    re.IGNORECASE | re.VERBOSE,
)
ANSWER = r"""\b(?:(?:final|correct)\ )*answer
    (?:[\s:="]|\b(?:is|must|be|to|the|this|question|answer|option|number)\b){0,12}"""
LONGEST_FILLER = 8  # words and marks of a step that claims nothing
LONGEST = 50_000  # characters of a step: a longer one is no reasoning, and parsing takes seconds


def checker_of(question):
    """(name of the family, a new checker of its steps), or (None, None)."""
    for name, family in FAMILIES.items():
        checker = family.read(question)
        if checker is not None:
            return name, checker
    return None, None


def task_of(question):
    """The task (str) whose question format this is; None when it is no family's."""
    return checker_of(question)[0]


def check(question, steps):
    """For each step (list of str): "" when it is right or neutral, else what is wrong with it.

    The last step has to hand over the answer that the steps establish. None when the question
    (str) is no family's. Never raises.
    """
    _, checker = checker_of(question)
    if checker is None:
        return None
    answer = rf"{ANSWER}(?P<answer>{checker.answers})(?!\w)"
    pattern = re.compile(f"{answer}|{checker.claims}", re.IGNORECASE | re.VERBOSE)
    verdicts = []
    has_answered = False
    for step in steps:
        wrong, answers = check_step(checker, pattern, step, has_answered)
        has_answered = has_answered or answers
        verdicts.append(wrong[0] if wrong else "")
    if steps and not has_answered:
        verdicts[-1] = verdicts[-1] or "hands over no answer"
    return verdicts


def check_step(checker, pattern, step, has_answered):
    """(all that is wrong with one step, whether it hands over an answer)."""
    text = tidy(FILLERS.sub(" ", step[:LONGEST]))
    found = list(pattern.finditer(text))
    claims = [match for match in found if not match["answer"]]
    answers = [match["answer"] for match in found if match["answer"]]
    rest = re.findall(r"[\w']*\w|\S", pattern.sub(" . ", text).lower())
    unknown = [word for word in rest if word not in NEUTRAL]
    if len(step) > LONGEST:
        unknown.append("...")
    wrong = []
    if unknown:
        wrong.append(f"cannot parse '{unknown[0][:40]}'")
    elif not found and len(rest) > LONGEST_FILLER:
        wrong.append("claims nothing")
    wrong += list(checker.judge(claims))
    if claims and has_answered:
        wrong.append("goes on after the answer")
    right, missing = checker.conclude()
    for answer in answers:
        if missing:
            wrong.append(f"answers without {missing}")
        elif plain_answer(answer, right) != right.lower():
            wrong.append(f"answers {answer}, but it is {right}")
    return wrong, bool(answers)


def plain_answer(text, right):
    """An answer in the spelling of the right one: digits, no space, no brackets about a letter."""
    if text in NUMBERS:
        return str(NUMBERS.index(text))
    plain = re.sub(r"\s", "", text).lower()
    return plain.strip("()") if right.isalpha() else plain
