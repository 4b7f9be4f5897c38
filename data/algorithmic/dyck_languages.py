"""Dyck languages (BBH): close the brackets that a sequence leaves open.

Hard: the stack of open brackets has to be carried along, over up to seventy symbols. An example:

    Complete the rest of the sequence, making sure that the parentheses are closed properly.
    Input: { < { } < ( { } )
        RECALL      Remember that the newest bracket opened must close first.
        REASONING   Now { < { } leaves { <.
        ADDITION    Now < ( { } gives { < < (.
        CONTRAST    But ) leaves { < <.
        CONCLUSION  So { < < stays open, which needs > > }.
        RESPONSE    The final answer is > > }.
"""

import re

from data.algorithmic.common import Family, Problem, say, tidy
from scaffold import ADDITION, CONCLUSION, CONTRAST, REASONING, RECALL

BRACKETS = {"(": ")", "[": "]", "{": "}", "<": ">"}
INTRODUCTION = (
    "Complete the rest of the sequence, making sure that the parentheses are closed properly. "
    "Input: "
)


# ---------------------------------------------------------------------------------- the teacher
STRIDE = 4  # symbols read in one step: a fixed number keeps the place in a long input
DEEPEST = 14  # open brackets


def draw_length(rng, low, high):
    """Most questions of BBH are short, and a few are very long."""
    return round(low * (high / low) ** rng.random() ** 1.3)


def sequence(rng, n):
    """(about n symbols, the stack of one to three brackets that stay open, as in BBH)."""
    symbols, stack = [], []
    n_open = rng.randint(1, 3)
    while len(symbols) < n or len(stack) != n_open:
        after_opening = bool(symbols) and symbols[-1] in BRACKETS
        p_open = 0.66 if after_opening else 0.42  # BBH nests deep and closes in runs
        may_grow = len(symbols) < n and len(stack) < DEEPEST
        if may_grow and (rng.random() < p_open or not stack) or len(stack) < n_open:
            stack.append(rng.choice(list(BRACKETS)))
            symbols.append(stack[-1])
        else:
            symbols.append(BRACKETS[stack.pop()])
    return symbols, stack


def read_chunk(stack, chunk):
    """(the stack of open brackets after the chunk, its lowest height on the way)."""
    stack, lowest = list(stack), len(stack)
    for symbol in chunk:
        if symbol in BRACKETS:
            stack.append(symbol)
        else:
            stack.pop()
        lowest = min(lowest, len(stack))
    return stack, lowest


def make(rng, n):
    """A problem of about n symbols."""
    symbols, still_open = sequence(rng, n)
    rule = say(rng, "the [last|newest] bracket opened [closes first|must close first]")
    steps = [(RECALL, rule)]
    stack = []
    for i in range(0, len(symbols), STRIDE):
        chunk = symbols[i : i + STRIDE]
        before = stack
        stack, lowest = read_chunk(before, chunk)
        if lowest < len(before):  # it closes a bracket of an earlier step
            signal = CONTRAST
        elif stack == before or i == 0:
            signal = REASONING
        else:
            signal = ADDITION
        left = " ".join(stack) or "nothing"
        template = "{chunk} [leaves|makes it|gives] {left}"
        steps.append((signal, say(rng, template, chunk=" ".join(chunk), left=left)))
    answer = " ".join(BRACKETS[bracket] for bracket in reversed(still_open))
    template = "{left} [stays|is still|remains] open, [which needs|to be closed by] {answer}"
    steps.append((CONCLUSION, say(rng, template, left=" ".join(still_open), answer=answer)))
    return Problem(INTRODUCTION + " ".join(symbols), answer, steps)


# ---------------------------------------------------------------------------------- the checker
BRACKET = r"[()\[\]{}<>]"
RUN = rf"(?<!{BRACKET}\ )(?<!{BRACKET}){BRACKET}(?:\ ?{BRACKET})*"  # as long as it can be


def brackets_in(text):
    """The brackets of a text that a claim quotes, without spaces and words."""
    return re.sub(r"[\s\w]", "", text or "")


class Checker:
    """Symbols are read on from where the last step stopped; after them stands what is open."""

    answers = RUN
    claims = rf"""
        (?P<open>{RUN})\ (?:(?:stays?|remains?|is|are|still|left)\ )+open\b  # [ < stays open
      | \b(?:needs?|requires?|closed\ (?:by|with)|closes\ with)\ (?P<close>{RUN})  # needs > ]
      | (?P<chunk>{RUN})  # ( ) leaves [ <
        (?:[,:= ]|\b(?:leaves?|leaving|makes?|making|gives?|giving|it|the|stack|open|becomes?|is|now
                      |which|so|us|with)\b)+
        (?P<stack>{RUN}|nothing\b|none\b|empty\b)
      | \b(?P<which>last|newest|latest|most\ recent|first|oldest)\b(?:\ \w+){{0,3}}?
        \ (?:closes|(?:must|has\ to|should|to)\ (?:be\ )?closed?|is\ closed)
        \ (?P<when>first|last)\b  # the last bracket opened closes first
    """

    def __init__(self, symbols, stacks):
        self.symbols = symbols  # str
        self.stacks = stacks  # stacks[i] (str) is open after i symbols
        self.read = 0  # so many symbols have been read
        self.closers = "".join(BRACKETS[bracket] for bracket in reversed(stacks[-1]))

    def judge(self, claims):
        """Yield what is wrong with the claims of one step."""
        for claim in claims:
            if claim["chunk"]:
                yield from self.judge_chunk(claim)
            elif claim["which"]:
                from_the_bottom = claim["which"].lower() in ("first", "oldest")
                if from_the_bottom == (claim["when"].lower() == "first"):
                    yield "the last bracket opened closes first"
            else:
                yield from self.judge_end(claim)

    def judge_chunk(self, claim):
        """The chunk has to come next, and the stack to be what is open after it."""
        symbols = self.symbols
        chunk, stack = brackets_in(claim["chunk"]), brackets_in(claim["stack"])
        starts = [i for i in range(self.read, len(symbols)) if symbols.startswith(chunk, i)]
        in_turn = self.read in starts
        if in_turn:
            self.read += len(chunk)
        else:  # go on where the chunk leaves such a stack, else nearby
            ends = [i + len(chunk) for i in starts if self.stacks[i + len(chunk)] == stack]
            if ends:
                self.read = ends[0]
            elif not symbols[: self.read].endswith(chunk):
                self.read = min(self.read + len(chunk), len(symbols))
        if not in_turn:
            yield f"'{claim['chunk']}' is not what comes next"
        elif self.stacks[self.read] != stack:
            yield f"says '{claim['stack']}', but {self.stacks[self.read] or 'nothing'} is open"

    def judge_end(self, claim):
        """What stays open, or what closes it, is said after the last symbol."""
        stack, closers = brackets_in(claim["open"]), brackets_in(claim["close"])
        if self.read < len(self.symbols):
            yield "sums up before all is read"
        elif stack not in ("", self.stacks[-1]) or closers not in ("", self.closers):
            yield f"says '{claim[0]}' of {self.stacks[-1]}"

    def conclude(self):
        """(the true answer, what is missing for it)"""
        return self.closers, "the rest of the symbols" if self.read < len(self.symbols) else ""


def read_question(question):
    """A checker of the question's steps, or None."""
    text = tidy(question)
    symbols = text.removeprefix(INTRODUCTION).replace(" ", "")
    if not text.startswith(INTRODUCTION) or not re.fullmatch(rf"{BRACKET}+", symbols):
        return None
    stacks = [""]
    for symbol in symbols:
        if symbol in BRACKETS:
            stacks.append(stacks[-1] + symbol)
        elif BRACKETS.get(stacks[-1][-1:]) == symbol:
            stacks.append(stacks[-1][:-1])
        else:
            return None
    return Checker(symbols, stacks)


FAMILY = Family("dyck_languages", make, read_question, (2, 70), draw_length=draw_length)
