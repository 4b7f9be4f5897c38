"""Dyck languages (BBH): close the brackets that a sequence leaves open.

Hard: the stack of open brackets has to be carried along, over up to seventy symbols.

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
INTRODUCTION = """\
Complete the rest of the sequence, making sure that the parentheses are closed properly. Input: """

# ---------------------------------------------------------------------------------- the teacher
STRIDE = 4  # symbols read in one step: a fixed number keeps the place in a long input
DEEPEST = 14  # open brackets


def draw_length(rng, low, high):
    """Most questions of BBH are short, and a few are very long."""
    return round(low * (high / low) ** rng.random() ** 1.3)


def sequence(rng, n):
    """(about n symbols, what is open before the first and after each); 1 to 3 stay open (BBH)."""
    symbols, stacks = "", [""]
    n_open = rng.randint(1, 3)
    while len(symbols) < n or len(stacks[-1]) != n_open:
        stack = stacks[-1]
        p_open = 0.66 if symbols[-1:] in BRACKETS else 0.42  # BBH nests deep and closes in runs
        may_grow = len(symbols) < n and len(stack) < DEEPEST
        if may_grow and (rng.random() < p_open or not stack) or len(stack) < n_open:
            symbols += rng.choice(list(BRACKETS))
            stacks.append(stack + symbols[-1])
        else:
            symbols += BRACKETS[stack[-1]]
            stacks.append(stack[:-1])
    return symbols, stacks


def make(rng, n):
    """A problem of about n symbols."""
    symbols, stacks = sequence(rng, n)
    steps = [(RECALL, say(rng, "the [last|newest] bracket opened [closes|must close] first"))]
    for i in range(0, len(symbols), STRIDE):
        before, *after = stacks[i : i + STRIDE + 1]
        if min(map(len, after)) < len(before):  # it closes a bracket of an earlier step
            signal = CONTRAST
        else:
            signal = REASONING if after[-1] == before or i == 0 else ADDITION
        chunk = " ".join(symbols[i : i + STRIDE])
        left = " ".join(after[-1]) or "nothing"
        steps.append((signal, f"{chunk} {say(rng, '[leaves|makes it|gives]')} {left}"))
    left = " ".join(stacks[-1])
    answer = " ".join(BRACKETS[bracket] for bracket in reversed(stacks[-1]))
    link = say(rng, "[stays|is still|remains] open, [which needs|to be closed by]")
    steps.append((CONCLUSION, f"{left} {link} {answer}"))
    return Problem(INTRODUCTION + " ".join(symbols), answer, steps)


# ---------------------------------------------------------------------------------- the checker
BRACKET = r"[()\[\]{}<>]"
RUN = rf"(?<!{BRACKET}\ )(?<!{BRACKET}){BRACKET}(?:\ ?{BRACKET})*"  # as long as it can be


def brackets_in(text):
    """The brackets of a text that a claim quotes, without spaces and words."""
    return re.sub(r"[\s\w]", "", text)


LONGEST_CHUNK = 6  # symbols that a step reads


class Checker:
    """Symbols are read on from where the last step stopped; after them stands what is open."""

    answers = RUN
    claims = rf"""
        (?P<open>{RUN})\ (?:(?=needs?\b)  # [ < stays open, or: [ < needs > ]
        |(?:(?:stays?|remains?|is|are|still|left)\ )+open\b)
      | \b(?:needs?|requires?|closed\ (?:by|with)|closes\ with)\ (?P<close>{RUN})  # needs > ]
      | (?P<chunk>{RUN})  # ( ) leaves [ <
        (?:[,:= ]|\b(?:leaves?|leaving|makes?|making|gives?|giving|it|the|stack|open|becomes?|is|now
                      |which|so|us|with)\b)+
        (?P<stack>{RUN}|nothing\b|none\b|empty\b)(?:\ open\b)?
      | (?:\bbracket\ opened\ )?
        \b(?P<which>last|newest|latest|most\ recent|first|oldest)\b
          (?:\ (?:one|brackets?|symbol|opened|opening|open|still|that|was|is)\b){{0,3}}?
        \ (?:closes|(?:must|has\ to|should|to)\ (?:be\ )?closed?|is\ closed)
        \ (?P<when>first|last)\b  # the last bracket opened closes first
    """

    def __init__(self, symbols, stacks):
        self.symbols = symbols  # str
        self.stacks = stacks  # stacks[i] (str) is open after i symbols
        self.read = 0  # so many symbols have been read
        self.closers = "".join(BRACKETS[bracket] for bracket in reversed(stacks[-1]))

    def judge(self, claims):
        for claim in claims:
            if claim["chunk"]:
                yield from self.judge_chunk(claim)
            elif claim["which"]:
                is_oldest = claim["which"].lower() in ("first", "oldest")
                if is_oldest == (claim["when"].lower() == "first"):
                    yield "the last bracket opened closes first"
            elif self.read < len(self.symbols):
                yield "sums up before all is read"
            else:
                right = self.stacks[-1] if claim["open"] else self.closers
                if brackets_in(claim["open"] or claim["close"]) != right:
                    yield f"says '{claim[0]}' of {self.stacks[-1]}"

    def judge_chunk(self, claim):
        """The chunk has to come next, and the stack to be what is open after it."""
        symbols, stacks = self.symbols, self.stacks
        chunk, stack = brackets_in(claim["chunk"]), brackets_in(claim["stack"])
        if len(chunk) > LONGEST_CHUNK:
            yield f"reads more than {LONGEST_CHUNK} symbols at once"
        if symbols.startswith(chunk, self.read):
            self.read += len(chunk)
            if stacks[self.read] != stack:
                yield f"says '{claim['stack']}', but {stacks[self.read] or 'nothing'} is open"
            return
        yield f"'{claim['chunk']}' is not what comes next"
        # Go on where the chunk leaves such a stack, else nearby.
        ends = [i for i in range(self.read, len(stacks)) if symbols.endswith(chunk, self.read, i)]
        ends = [i for i in ends if stacks[i] == stack]
        if ends:
            self.read = ends[0]
        elif not symbols.endswith(chunk, 0, self.read):
            self.read = min(self.read + len(chunk), len(symbols))

    def conclude(self):
        return self.closers, "the rest of the symbols" if self.read < len(self.symbols) else ""


def read_question(question):
    text = tidy(question)
    if not text.startswith(INTRODUCTION):
        return None
    symbols = text.removeprefix(INTRODUCTION).replace(" ", "")
    stacks = [""]
    for symbol in symbols:
        if symbol in BRACKETS:
            stacks.append(stacks[-1] + symbol)
        elif BRACKETS.get(stacks[-1][-1:]) == symbol:
            stacks.append(stacks[-1][:-1])
        else:
            return None
    return Checker(symbols, stacks)


FAMILY = Family(
    "dyck_languages", make, read_question, (2, 70), train_share=2.0, draw_length=draw_length
)
