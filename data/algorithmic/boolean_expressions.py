"""Boolean expressions (BBH): work out an expression of True, False, not, and, or and brackets.

Hard: what binds tighter goes first, and the rest has to be copied without a slip.

    not ( True ) or True is
        RECALL      I think not comes before and, and comes before or.
        REASONING   ( True ) is True, leaving not True or True.
        CONTRAST    But not True gives False, which leaves False or True.
        REASONING   Let's see: False or True gives True, so we have True.
        CONCLUSION  So the whole expression is True.
        RESPONSE    The answer is True.

A fork: which operation goes first where none is part of another, now and then the rule before one,
and no conclusion before the answer.
"""

import re

from data.algorithmic.common import Family, Problem, any_of, say
from scaffold import ADDITION, CONCLUSION, CONTRAST, REASONING, RECALL, RESPONSE

# ---------------------------------------------------------------------------------- the teacher
RULES = "[brackets come first, then not, and, or|not comes before and, and comes before or]"
INNERMOST = re.compile(r"\([^()]*\)|^[^()]+$")  # the first pair of brackets without others in it
VALUE = "(?:True|False)"
OPERATIONS = {  # each where it can be worked out: what binds tighter than it beside it is done
    "not": re.compile(rf"not {VALUE}"),
    "and": re.compile(rf"(?<!not ){VALUE} and {VALUE}"),
    "or": re.compile(rf"(?<!not )(?<!and ){VALUE} or {VALUE}(?! and)"),
    "(": re.compile(rf"\( {VALUE} \)"),
}
RECALL_RULE, CONCLUDE = 0.4, 0.5  # at a fork: the share of these steps


def expression(rng, n):
    """A random expression (str) of n tokens."""
    if n == 1:
        return rng.choice(("True", "False"))
    kind = rng.random()
    if n >= 3 and kind < 0.45:
        n_left = rng.randint(1, n - 2)
        left = expression(rng, n_left)
        op = rng.choice(("and", "or"))
        return f"{left} {op} {expression(rng, n - 1 - n_left)}"
    if n >= 3 and kind < 0.7:
        return f"( {expression(rng, n - 2)} )"
    return f"not {expression(rng, n - 1)}"


def ready(text, *span):
    """{operation: matches} of all operations that can be worked out now, in a span of the text."""
    found = {op: list(pattern.finditer(text, *span)) for op, pattern in OPERATIONS.items()}
    return {op: matches for op, matches in found.items() if matches}


def signal_of(op, last):
    """The signal of an operation; last: the one before, or None."""
    if op == "not":
        return CONTRAST
    return ADDITION if op == last else REASONING


def make(rng, n, forks=None):
    """An expression of n tokens (BBH: 8), worked out one operation at a time.

    At a fork: another operation first, no rule, or the answer without a conclusion.
    """
    if n < 3:
        raise ValueError("boolean_expressions: no expression of 2 tokens has an and or an or")
    text = expression(rng, n)
    while "and" not in text and "or" not in text:  # a bare chain of not is no BBH question
        text = expression(rng, n)
    question = f"{text} is"
    steps = []
    open_signals = {}
    has_rule = False
    last = None  # the operation before
    while " " in text:
        # Without forks the innermost brackets go first.
        found = ready(text) if forks else ready(text, *INNERMOST.search(text).span())
        signals = {signal_of(op, last) for op in found}
        if not has_rule and sum(op in text for op in ("not", "and", "or")) > 1:
            if forks:
                open_signals[len(steps)] = signals | {RECALL}
            if not forks or forks.random() < RECALL_RULE:
                steps.append((RECALL, say(rng, RULES)))
                has_rule = True
        if forks:
            open_signals.setdefault(len(steps), signals)
            op = forks.choice(list(found))
            part = forks.choice(found[op])
        else:
            op = next(iter(found))
            part = found[op][-1 if op == "not" else 0]  # the last not stands before a value
        is_true = "True" in part[0] if op == "or" else "False" not in part[0]
        if op == "not":
            is_true = not is_true
        text = f"{text[: part.start()]}{is_true}{text[part.end() :]}"
        link = say(rng, f"[is|gives|makes] {is_true}[, leaving|, which leaves|, so we have]")
        steps.append((signal_of(op, last), f"{part[0]} {link} {text}"))
        last = op
    if forks:
        open_signals[len(steps)] = {CONCLUSION, RESPONSE}
    if not forks or forks.random() < CONCLUDE:
        summary = say(rng, f"the [whole expression|whole|expression] is {text}")
        steps.append((CONCLUSION, summary))
    return Problem(question, text, steps, open_signals)


# ---------------------------------------------------------------------------------- the checker
BOTH = r"\b(true|false) and (true|false)\b"
EITHER = r"(?<!and )\b(true|false) or (true|false)\b(?! and)"


def tokens_of(text):
    return re.findall(r"[a-z]+|[()]", text.lower())


def worked_out(tokens):
    """What the tokens come to: "true", "false", or a longer text when they are no expression."""
    text = " ".join(tokens)
    before = None
    while text != before:
        before = text
        text = re.sub(r"\( (true|false) \)", r"\1", text.replace("not not ", ""))
        text = re.sub(r"\bnot (true|false)", lambda m: str(m[1] == "false").lower(), text)
        if text == before:  # by the alphabet, the least is and, the greatest is or
            text = re.sub(BOTH, lambda m: min(m.groups()), text)
            text = re.sub(EITHER, lambda m: max(m.groups()), text)
    return text


def reduced(tokens, part):
    """All that `tokens` can become when `part`, as an operand, gives way to its value."""
    n = len(part)
    loose = {part[i] for i in range(n) if part[:i].count("(") == part[:i].count(")")}
    found = []
    for i in range(len(tokens)):
        head, tail = tokens[:i], tokens[i + n :]
        # An "or" is torn apart by an "and" beside it, both are by a "not" before them.
        torn = "or" in loose and ["and"] in (head[-1:], tail[:1])
        torn = torn or loose & {"and", "or"} and head[-1:] == ["not"]
        if n > 1 and tokens[i : i + n] == part and not torn:
            found.append([*head, worked_out(part), *tail])
    return found


RANK = {"brackets": 0, "parentheses": 0, "not": 1, "and": 2, "or": 3}
OP = any_of(RANK, "i")
IS = r"(?:is|gives?|makes?|equals?|becomes|evaluates\ to|simplifies\ to|comes\ to|=)"
OPERAND = r"(?:(?:\bnot\b|\()\ ?)*\b(?:true|false)\b"
RUN = rf"""(?<!\()(?<!\(\ )(?<!\bnot\ )  # as long as it can be
    {OPERAND}(?:\ ?\)|\ ?\b(?:and|or)\b\ ?{OPERAND})*"""

MOST_OPERATORS = 2  # that a step works out: "not False or False" is True


class Checker:
    """Every step works out a genuine part of the expression and says what is left."""

    answers = "true|false"
    claims = rf"""
        \b(?:whole|entire|expression|result|value)(?:\ expression|\ thing)?
          \ {IS}\ (?P<whole>true|false)\b(?!\ (?:and|or)\b)  # the whole expression is True
      | (?P<part>{RUN})\ ?{IS}\ (?P<value>true|false)\b(?!\ (?:and|or)\ (?:true|false|not|\())
      | (?P<rest>{RUN})
      | (?P<first>{OP}\ (?:come|go|are|is)(?:e?s)?\ first)  # not comes first, then and
          (?:,?\ ?(?:\band\ |\bthen\ )*{OP})*
      | {OP}\ (?:comes?|goes|go|is|are|binds?)(?:\ done|\ evaluated)?
          \ (?P<relation>before|after|tighter\ than)\ {OP}
    """

    def __init__(self, tokens):
        self.now = tokens  # what is left of the expression
        self.options = [tokens]  # all that can be left after the part that has been worked out
        self.truth = worked_out(tokens)
        self.tightest = 1 if "(" not in tokens else 0  # rank of what goes first

    def judge(self, claims):
        for claim in claims:
            if claim["first"] or claim["relation"]:  # a rule names the operators in their order
                ranks = [RANK[word] for word in tokens_of(claim[0]) if word in RANK]
                in_order = ranks == sorted(ranks, reverse=claim["relation"] == "after")
                alike = claim["relation"] and len(set(ranks)) == 1  # and comes before and
                if not in_order or alike or claim["first"] and ranks[0] > self.tightest:
                    yield "not the order of precedence"
                continue
            yield from self.settle(claim["rest"])
            if claim["part"]:
                part = tokens_of(claim["part"])
                options = reduced(self.now, part)  # a part has to be an operand of its own
                if sum(word in RANK for word in part) > MOST_OPERATORS:
                    yield f"'{claim['part']}' is too much for one step"
                elif not options:
                    yield f"'{claim['part']}' is no part to be worked out here"
                elif worked_out(part) != claim["value"].lower():
                    yield f"'{claim['part']}' is not {claim['value']}"
                self.options = options or self.options
            elif claim["whole"] and self.now != [claim["whole"].lower()]:
                yield f"says '{claim[0]}' of '{' '.join(self.now)}'"
        yield from self.settle()

    def settle(self, said=None):
        """What is said to be left has to be left. Where there is no choice it need not be said."""
        rest = tokens_of(said) if said else self.options[0]
        if rest not in self.options:
            yield f"'{said}' is not what is left"
            shorter = len(rest) < len(self.now) and worked_out(rest) == self.truth
            rest = rest if shorter else self.options[0]
        elif not said and any(option != rest for option in self.options):
            yield "does not say what is left"
        self.now = rest
        self.options = [rest]

    def conclude(self):
        return self.truth, "the rest of the expression" if len(self.now) > 1 else ""


def read_question(question):
    *words, last = question.split() or [""]
    if last != "is" or set(words) - {"True", "False", "not", "and", "or", "(", ")"}:
        return None
    checker = Checker(tokens_of(" ".join(words)))
    return checker if checker.truth in ("true", "false") else None


# There are fewer than 8,000 training questions of these lengths.
FAMILY = Family(
    "boolean_expressions",
    make,
    read_question,
    lengths=(5, 9),
    train_share=0.75,
    most_train=7500,
    has_forks=True,
)
