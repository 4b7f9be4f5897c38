"""What the families share: how the teacher says a step, and how a checker reads a student's words.

The two sides share nothing: a student may say a step in words that the teacher never uses.
"""

import json
import random
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from scaffold import RESPONSE, SIGNALS


@dataclass
class Problem:
    question: str
    answer: str
    steps: list  # of (signal, body): the reasoning, without the step that hands over the answer
    # {place in steps: set of all signals that are right there}; elsewhere it is the step's alone.
    open_signals: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Family:
    name: str
    make: Callable  # (rng, length) -> Problem; bodies begin small, have no full stop, and use `say`
    read: Callable  # (question) -> a new checker, see check.py; None where it is no such question
    lengths: tuple  # shortest and longest default length
    only_lengths: tuple = ()  # where only these lengths occur
    train_share: float = 1.0  # of the training rows, against 1 of another family
    most_train: int = 10**9  # training rows beside other families, where questions are few
    draw_length: Callable = random.Random.randint  # (rng, low, high) -> length
    # Whether `make` takes forks, too: a random.Random that chooses where several ways are right and
    # words what is done there; None: no choice. The question may not depend on it.
    has_forks: bool = False


# ------------------------------------------------------------------------------- the teacher's side
# Openers name the signal of their step, sound like another one, or name none. These shares give the
# paper's figures: 74% of the steps open with a keyword, and 87% of the keywords name the signal.
OPENER_SHARES = {"naming": 0.64, "misleading": 0.10, "plain": 0.26}
FILLER_SHARE = 0.08  # of the steps that end in a filler

# Broad lists: a name met in training is copied better. An item is [singular, plural]; the
# shufflers are those of BBH, who always come in this order.
WORDS = json.loads(Path(__file__).with_name("words.json").read_text(encoding="utf-8"))
NAMES, SHUFFLERS, TOWNS = WORDS["names"], WORDS["shufflers"], WORDS["towns"]
ITEMS = WORDS["items"]


def say(rng, template):
    """One wording of a template: every [a|b] becomes a or b."""
    return re.sub(r"\[(.*?)\]", lambda match: rng.choice(match[1].split("|")), template)


def write(rng, signal, body):
    """One step of the trace: an opener, the body, now and then a filler."""
    kind = rng.choices(list(OPENER_SHARES), OPENER_SHARES.values())[0]
    opener = rng.choice(WORDS["openers"][SIGNALS[signal].short][kind])
    text = f"{opener} {body}." if opener else f"{body[0].upper()}{body[1:]}."
    if signal != RESPONSE and rng.random() < FILLER_SHARE:
        text += " " + rng.choice(WORDS["fillers"])
    return text


def listing(parts):
    """The parts as a sentence lists them: "a, b, and c"."""
    if len(parts) == 1:
        return parts[0]
    return ", ".join(parts[:-1]) + ", and " + parts[-1]


# ------------------------------------------------------------------------------- the checker's side
NUMBERS = "zero one two three four five six seven eight nine ten eleven twelve".split()
DIGITS = r"\d{1,9}"
COUNT = rf"(?:{DIGITS}|{'|'.join(NUMBERS)})\b"
PLAIN_MARKS = str.maketrans("’‘“”−–—", "''\"\"---")


def tidy(text):
    """On one line, with plain quotes, dashes and signs; an answer in tags becomes "answer X"."""
    text = re.sub("(?i)<answer>", " answer ", text.translate(PLAIN_MARKS))
    text = re.sub(r"(?i)\bplus\b", "+", re.sub(r"(?i)\bminus\b", "-", text))
    return " ".join(re.sub("(?i)</answer>", "", text).split())


def any_of(words, cased="-i"):
    """Regex of one of the words, the longest first; it can stand in a re.VERBOSE pattern.

    Names keep their case ("Will" is no "will"); cased="i" ignores it.
    """
    escaped = [re.escape(word) for word in sorted(words, key=len, reverse=True)]
    return rf"(?{cased}:\b(?:{'|'.join(escaped)})\b)"


def number(word):
    """The number that digits, "a", "an" or a word up to twelve mean."""
    if word.isdecimal():
        return int(word)
    return 1 if word.lower() in ("a", "an") else NUMBERS.index(word.lower())


def advance(todo, done, item):
    """Take `item` for the next of todo: (how many are done then, what is wrong with it or "")."""
    if todo[done : done + 1] == [item]:
        return done + 1, ""
    if item in todo[done:]:
        return todo.index(item, done) + 1, "leaves out what comes before it in the question"
    if done and item == todo[done - 1]:
        return done, "has been done"
    return min(done + 1, len(todo)), "is not what comes next in the question"
