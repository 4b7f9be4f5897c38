"""Boolean expressions (BBH): work out an expression of True, False, not, and, or and brackets.

Hard: what binds tighter goes first, and what is left has to be copied without a slip. An example:

    not ( True ) or True is
        RECALL      I think not comes before and, and comes before or.
        REASONING   ( True ) is True, leaving not True or True.
        CONTRAST    But not True gives False, which leaves False or True.
        REASONING   Let's see: False or True gives True, so we have True.
        CONCLUSION  So the whole expression is True.
        RESPONSE    The answer is True.
"""

import functools
import re

from data.algorithmic.common import Family, Problem, any_of, say
from scaffold import ADDITION, CONCLUSION, CONTRAST, REASONING, RECALL


# ---------------------------------------------------------------------------------- the teacher
def expression(rng, n):
    """A random expression of n tokens."""
    if n == 1:
        return [rng.choice(("True", "False"))]
    kind = rng.random()
    if n >= 3 and kind < 0.45:
        n_left = rng.randint(1, n - 2)
        left = expression(rng, n_left)
        op = rng.choice(("and", "or"))
        return [*left, op, *expression(rng, n - 1 - n_left)]
    if n >= 3 and kind < 0.7:
        return ["(", *expression(rng, n - 2), ")"]
    return ["not", *expression(rng, n - 1)]


def next_operation(tokens):
    """(start, end, name) of the operation to do next: the first innermost bracket goes first, and
    in it not before and before or."""
    close = tokens.index(")") if ")" in tokens else len(tokens)
    start = close  # of what stands in the bracket
    while start > 0 and tokens[start - 1] != "(":
        start -= 1
    inner = tokens[start:close]
    if start > 0 and len(inner) == 1:
        return start - 1, close + 1, "("
    if "not" in inner:  # the last not of a chain stands before a value
        end = close - inner[::-1].index("not") + 1
        return end - 2, end, "not"
    op = "and" if "and" in inner else "or"
    k = start + inner.index(op)
    return k - 1, k + 2, op


def value_of(part, op):
    """The value ("True" or "False") of one operation; a bracket holds one value."""
    values = [token == "True" for token in part if token in ("True", "False")]
    if op == "not":
        return str(not values[0])
    return str(any(values) if op == "or" else all(values))


@functools.cache  # most expressions come up many times before enough new ones are found
def reduction(tokens):
    """[(signal, part worked out, its value, what is then left), ...] down to one value."""
    steps = []
    last = None  # the operation before
    while len(tokens) > 1:
        start, end, op = next_operation(tokens)
        part = tokens[start:end]
        value = value_of(part, op)
        tokens = (*tokens[:start], value, *tokens[end:])
        signal = ADDITION if op == last else REASONING
        if op == "not":
            signal = CONTRAST
        steps.append((signal, " ".join(part), value, " ".join(tokens)))
        last = op
    return steps


def make(rng, n):
    """An expression of n tokens (BBH: 8), reduced one operation at a time."""
    if n < 3:
        raise ValueError("boolean_expressions: no expression of 2 tokens has an and or an or")
    tokens = expression(rng, n)
    while "and" not in tokens and "or" not in tokens:  # a bare chain of not is no BBH question
        tokens = expression(rng, n)
    steps = []
    if len({"not", "and", "or"} & set(tokens)) > 1:
        full_rule = "brackets come first, then not, and, or"
        short_rule = "not comes before and, and comes before or"
        steps.append((RECALL, say(rng, f"[{full_rule}|{short_rule}]")))
    template = "{part} [is|gives|makes] {value}[, leaving|, which leaves|, so we have] {rest}"
    for signal, part, value, rest in reduction(tuple(tokens)):
        steps.append((signal, say(rng, template, part=part, value=value, rest=rest)))
    summary = say(rng, "the [whole expression|whole|expression] is {value}", value=value)
    steps.append((CONCLUSION, summary))
    return Problem(" ".join(tokens) + " is", value, steps)


# ---------------------------------------------------------------------------------- the checker
def tokens_of(text):
    return re.findall(r"[a-z]+|[()]", text.lower())


def negate(m):
    return "false" if m[1] == "true" else "true"


BOTH = r"\b(true|false) and (true|false)\b"
EITHER = r"(?<!and )\b(true|false) or (true|false)\b(?! and)"


def worked_out(tokens):
    """What the tokens come to: "true", "false", or a longer text when they are no expression."""
    text = " ".join(tokens)
    before = None
    while text != before:
        before = text
        text = re.sub(r"\( (true|false) \)", r"\1", text.replace("not not ", ""))
        text = re.sub(r"\bnot (true|false)", negate, text)
        if text == before:  # by the alphabet, the least is and, the greatest is or
            text = re.sub(BOTH, lambda m: min(m.groups()), text)
            text = re.sub(EITHER, lambda m: max(m.groups()), text)
    return text


def reduced(tokens, part):
    """All that `tokens` can become when `part`, as an operand, gives way to its value."""
    n = len(part)
    depths = [part[:i].count("(") - part[:i].count(")") for i in range(n)]
    loose = {token for token, depth in zip(part, depths, strict=True) if depth == 0}
    tears = {"not"} if "and" in loose else set()  # what would tear it apart when it stands before
    if "or" in loose:
        tears = {"and", "not"}
    found = []
    for i in range(len(tokens)):
        head, tail = tokens[:i], tokens[i + n :]
        torn = tears & set(head[-1:]) or "or" in loose and tail[:1] == ["and"]
        if n > 1 and tokens[i : i + n] == part and not torn:
            found.append([*head, worked_out(part), *tail])
    return found


RANK = {"brackets": 0, "parentheses": 0, "not": 1, "and": 2, "or": 3}
OP = any_of(RANK, "i")
IS = r"(?:is|gives?|makes?|equals?|becomes|evaluates\ to|simplifies\ to|comes\ to|=)"
OPERAND = r"(?:(?:\bnot\b|\()\ ?)*\b(?:true|false)\b"
RUN = rf"""(?<!\()(?<!\(\ )(?<!\bnot\ )  # as long as it can be
    {OPERAND}(?:\ ?\)|\ ?\b(?:and|or)\b\ ?{OPERAND})*"""


class Checker:
    """Every step works out a genuine part of the expression and says what is left."""

    answers = "true|false"
    claims = rf"""
        \b(?:whole|entire|expression|result|value)(?:\ expression|\ thing)?
          \ {IS}\ (?P<whole>true|false)\b(?!\ (?:and|or)\b)  # the whole expression is True
      | (?P<part>{RUN})\ ?{IS}\ (?P<value>true|false)\b(?!\ (?:and|or)\ (?:true|false|not|\())
      | (?P<rest>{RUN})
      | (?P<first>{OP})\ (?:come|go|are|is)(?:e?s)?\ first  # not comes first, then and
          (?P<then>(?:,?\ ?(?:\band\ |\bthen\ )*{OP})*)
      | (?P<a>{OP})\ (?:comes?|goes|go|is|are|binds?)(?:\ done|\ evaluated)?
          \ (?P<relation>before|after|tighter\ than)\ (?P<b>{OP})
    """

    def __init__(self, tokens):
        self.now = tokens  # what is left of the expression
        self.truth = worked_out(tokens)
        self.tightest = 1 if "(" not in tokens else 0  # rank of what goes first
        self.options = []  # what can be left after a part that has been worked out

    def judge(self, claims):
        """Yield what is wrong with the claims of one step."""
        for claim in claims:
            if claim["rest"]:
                yield from self.judge_rest(claim["rest"])
            elif claim["part"]:
                yield from self.settle()
                yield from self.judge_part(claim["part"], claim["value"])
            elif claim["whole"]:
                yield from self.settle()
                if self.now != [claim["whole"].lower()]:
                    yield f"says '{claim[0]}' of '{' '.join(self.now)}'"
            else:
                yield from self.judge_rule(claim)
        yield from self.settle()

    def judge_rest(self, text):
        """What is said to be left has to be what is left."""
        rest = tokens_of(text)
        options = self.options or [self.now]
        if rest not in options:
            yield f"'{text}' is not what is left"
        shorter = len(rest) < len(self.now) and worked_out(rest) == self.truth
        self.now = rest if rest in options or shorter else options[0]
        self.options = []

    def settle(self):
        """Not saying what is left will do when there is no choice."""
        if any(option != self.options[0] for option in self.options):
            yield "does not say what is left"
        if self.options:
            self.now = self.options[0]
        self.options = []

    def judge_part(self, text, value):
        """A part has to be an operand of its own, and to have this value."""
        part = tokens_of(text)
        self.options = reduced(self.now, part)
        if not self.options:
            yield f"'{text}' is no part to be worked out here"
        elif worked_out(part) != value.lower():
            yield f"'{text}' is not {value}"

    def judge_rule(self, claim):
        """A rule of precedence has to name the operators in their order."""
        names = ("first", "then") if claim["first"] else ("a", "b")
        words = tokens_of(" ".join(claim[name] for name in names))
        ranks = [RANK[word] for word in words if word in RANK]
        in_order = ranks == sorted(ranks, reverse=claim["relation"] == "after")
        if not in_order or claim["first"] and ranks[0] > self.tightest:
            yield "not the order of precedence"

    def conclude(self):
        """(the true answer, what is missing for it)"""
        return self.truth, "the rest of the expression" if len(self.now) > 1 else ""


def read_question(question):
    """A checker of the question's steps, or None."""
    *words, last = question.split() or [""]
    if last != "is" or set(words) - {"True", "False", "not", "and", "or", "(", ")"}:
        return None
    checker = Checker(tokens_of(" ".join(words)))
    return checker if checker.truth in ("true", "false") else None


FAMILY = Family("boolean_expressions", make, read_question, lengths=(5, 9))
