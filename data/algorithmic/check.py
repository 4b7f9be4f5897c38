"""Is each step of a *student's* free text true, and does it follow from the question and the steps?

Each family reads a question and returns a checker, see data/algorithmic/web_of_lies.py for one.
Between the claims that it finds in a step only NEUTRAL words may stand, and no negation is one:
what cannot be parsed counts as wrong. After a wrong step the state is the true one again, as far as
can be told, for the later verdicts. Nothing is shared with the teacher's wording.
"""

import re

from data.algorithmic.common import NUMBERS, tidy
from data.algorithmic.prepare import FAMILIES

NEUTRAL = """
i we me us my our you one's it its it's i'm this that that's these those there here the a an so then
thus hence therefore but and yet however although though now next also too again finally lastly
eventually wait hmm hm oh ah well ok okay alright fine good great sure indeed obviously clearly
naturally see let let's lets check look looking at consider think know believe recall remember note
notice told given is are was be being been am have has had go goes going on continue continuing
proceed move moving try take takes taking get gets moves say suppose assume imagine work out begin
begins beginning start starts starting started first for example instance from to in into of with by
as since because when while after afterwards later once which what where who how make makes means
mean gives give giving leads lead leading leaves leave leaving puts put putting brings bring
bringing lands land raises raise need needs want do can will sense step steps point time case
moreover furthermore addition additionally besides similarly likewise meanwhile summary sum overall
conclusion conclude short result end all altogether both together total count counting number order
same way just simply still already further more consequently accordingly current currently position
final expression remaining rest far . , : ; ! - " '
"""
NEUTRAL = set(NEUTRAL.split())
FILLERS = re.compile(
    r"""^\W*(?:all[ ])?right(?=[,.:!])     # All right,
      | \bon[ ]the[ ]other[ ]hand\b
      | \bone[ ](?:step|thing)[ ]at[ ]a[ ]time\b
      | \btake[ ]this[ ]one\b""",
    re.IGNORECASE | re.VERBOSE,
)
ANSWER = r"""
    \banswer(?:[\s:=]|\b(?:is|must|be|to|the|question|answer|option|number)\b){0,12}
    (?P<answer>ANSWERS)(?!\w)"""
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
    answer = ANSWER.replace("ANSWERS", checker.answers)
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
    wrong = []
    if unknown or len(step) > LONGEST:
        wrong.append(f"cannot parse '{unknown[0][:40] if unknown else '...'}'")
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
