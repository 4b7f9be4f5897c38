"""What the families share: the words of the teacher, and the means to read the words of a student.

The teacher's side and the checker's side share nothing: what the teacher can say is no list of
what a student may say.
"""

import functools
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from scaffold import ADDITION, CONCLUSION, CONTRAST, EXAMPLES, REASONING, RECALL, RESPONSE


@dataclass
class Problem:
    question: str
    answer: str
    steps: list  # of (signal, body): the teacher's reasoning, without the step that hands it over


def uniform_length(rng, low, high):
    """A length from low to high, all equally likely."""
    return rng.randint(low, high)


@dataclass(frozen=True)
class Family:
    name: str  # the task's name
    make: Callable  # (rng, length) -> Problem
    read: Callable  # (question) -> a checker of its steps; None where the question is no such task
    lengths: tuple  # shortest and longest default length
    only_lengths: tuple = ()  # where only these lengths occur
    train_share: float = 1.0  # of the training rows, against 1 of another family
    draw_length: Callable = uniform_length  # (rng, low, high) -> length


# ------------------------------------------------------------------------------- the teacher's side
OPENERS = {  # by signal: openers that name it, that sound like another one, that name none
    ADDITION: (
        "Also,|Next,|Moreover,|In addition,|Furthermore,|Similarly,|Besides,",
        "Now|So|Let me see:",
        "|Okay,|From there,",
    ),
    EXAMPLES: (
        "For example,|For instance,|Take this one:|Say we try it:|Suppose we try:",
        "First,|So,",
        "|To begin,|At the start,",
    ),
    RECALL: (
        "I recall that|We are told that|I know that|Remember that|I think",
        "First,|So|Let me see:",
        "|Okay,|To begin,",
    ),
    CONTRAST: ("But|However,|Wait,|But wait,|Yet", "Now|So|Then", "|Hmm,|This time"),
    REASONING: (
        "Let me check:|Let's see:|Now|Looking at this,|Let me see:",
        "So|Then|Also,",
        "|Okay,|Right,",
    ),
    CONCLUSION: (
        "So|Therefore,|Thus|Hence|In summary,|Overall,",
        "Now|Then",
        "|Okay,|At this point",
    ),
    RESPONSE: (
        "The answer is|Final answer:|The final answer is",
        "So the answer is|Therefore, the answer is",
        "This gives the answer|That makes the answer",
    ),
}
OPENERS = {signal: [kind.split("|") for kind in kinds] for signal, kinds in OPENERS.items()}
# The shares of the first two kinds give the paper's figures: 74% of the steps open with a keyword,
# and 87% of those keywords name the right signal.
NAMING_SHARE, MISLEADING_SHARE = 0.64, 0.10
FILLERS = "Okay.|Alright.|Good.|That makes sense.|Let me go on.|One step at a time.|Hmm.|Fine."
FILLERS = FILLERS.split("|")
FILLER_SHARE = 0.08  # of the steps that end in a filler
CHOICE = re.compile(r"\[([^\[\]]*)\]")

# Broad lists: a name met in training is copied better. An item is [singular, plural]; the
# shufflers are those of BBH, who always come in this order.
WORDS = json.loads(Path(__file__).with_name("words.json").read_text(encoding="utf-8"))
NAMES, SHUFFLERS, TOWNS = WORDS["names"], WORDS["shufflers"], WORDS["towns"]
ITEMS, COLORS, BOOKS = WORDS["items"], WORDS["colors"], WORDS["books"]
POSITIONS, PARTNERS = WORDS["positions"], WORDS["partners"]


@functools.cache
def choices(template):
    """The parts of a template: plain text (str), and the list of what each [a|b] may become."""
    parts = CHOICE.split(template)
    parts[1::2] = [part.split("|") for part in parts[1::2]]
    return parts


def say(rng, template, **values):
    """One wording of a template: every [a|b] becomes a or b, then every {name} its value."""
    words = [rng.choice(part) if isinstance(part, list) else part for part in choices(template)]
    return "".join(words).format(**values)


def write(rng, signal, body):
    """One step of the trace: an opener, the body, now and then a filler."""
    naming, misleading, plain = OPENERS[signal]
    u = rng.random()
    if u < NAMING_SHARE:
        opener = rng.choice(naming)
    elif u < NAMING_SHARE + MISLEADING_SHARE:
        opener = rng.choice(misleading)
    else:
        opener = rng.choice(plain)
    text = f"{opener} {body}." if opener else f"{body[0].upper()}{body[1:]}."
    if signal != RESPONSE and rng.random() < FILLER_SHARE:
        text += " " + rng.choice(FILLERS)
    return text


def listing(parts):
    """The parts as a sentence lists them: "a, b, and c"."""
    if len(parts) == 1:
        return parts[0]
    return ", ".join(parts[:-1]) + ", and " + parts[-1]


# ------------------------------------------------------------------------------- the checker's side
NUMBERS = "zero one two three four five six seven eight nine ten eleven twelve"
NUMBERS = NUMBERS.split()
DIGITS = r"\d{1,9}"
COUNT = rf"(?:{DIGITS}|{'|'.join(NUMBERS)})\b"
PLAIN_MARKS = str.maketrans("’‘“”−–—", "''\"\"---")


def tidy(text):
    """On one line, with plain quotes and dashes; an answer in tags becomes "answer X"."""
    text = re.sub("(?i)<answer>", " answer ", text.translate(PLAIN_MARKS))
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
    if item in todo[done:]:
        in_turn = todo[done] == item
        reason = "" if in_turn else "leaves out what comes before it in the question"
        return todo.index(item, done) + 1, reason
    if done and item == todo[done - 1]:
        return done, "has been done"
    return min(done + 1, len(todo)), "is not what comes next in the question"
