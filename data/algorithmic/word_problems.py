"""Word problems (as GSM8K): amounts that hang on one another, told out of order.

Hard: what to compute first, and what does not matter. The teacher goes down from the amount asked
for to numbers that are told, and computes on the way back up. A small student copies this best: the
way down goes on with the name just written, the way up with the fact written before. An example:

    Amir has 6 more camels than Fidel. Amir also has 8 donkeys. Fidel has 7 boxes of 9 camels each.
    How many camels does Amir have?
        RECALL      Okay, we need to find the camels of Amir.
        CONTRAST    The 8 donkeys of Amir do not matter.
        RECALL      I think Amir has 6 more camels than Fidel.
        RECALL      Fidel has 7 boxes of 9 camels each.
        REASONING   Fidel has 7 * 9 = 63.
        ADDITION    Amir has 6 more camels than Fidel, so Amir has 63 + 6 = 69.
        CONCLUSION  Amir has 69 camels.
        RESPONSE    So the answer is 69.
"""

import re
from dataclasses import dataclass
from operator import add, floordiv, mul, sub

from data.algorithmic.common import COUNT, ITEMS, NAMES, Family, Problem, any_of, number, say, tidy
from scaffold import ADDITION, CONCLUSION, CONTRAST, REASONING, RECALL

OPERATIONS = {"": add, "+": add, "-": sub, "*": mul, "/": floordiv}
# How an amount is told: on how many others it hangs, the operation that finds it, if any, the
# choices for its second operand, and the sentence, where {a} and {b} are numbers or people.
ANY = range(2, 10)
TOLD = [
    (0, "*", ANY, "{who} has {a} [bags|boxes] [with|of] {b} {items} each"),
    (0, "+", ANY, "{who} bought {a} {items} and [then|later] {b} more"),
    (0, "-", ANY, "{who} [had|bought] {a} {items} and gave away {b} of them"),
    (1, "+", ANY, "{who} has {b} more {items} than {a}"),
    (1, "-", ANY, "{who} has {b} fewer {items} than {a}"),
    (1, "*", [2], "{who} has twice as many {items} as {a}"),
    (1, "*", [3, 4], "{who} has {b} times as many {items} as {a}"),
    (1, "/", [2], "{who} has half as many {items} as {a}"),
    (2, "+", ANY, "{who} has as many {items} as {a} and {b} together"),
    (0, "", [0], "{who} [has|owns] {a} {items}"),
]
LARGEST = 99  # of what one person has


# ---------------------------------------------------------------------------------- the teacher
@dataclass(eq=False)
class Amount:
    """What one person has, and how it is told."""

    who: str
    sources: list  # of Amount: those that it hangs on
    equation: str  # empty where the amount itself is told
    value: int
    told: str  # the sentence, without its full stop


def draw_amount(rng, who, items, sources):
    """An Amount that hangs on these."""
    while True:
        n, sign, choices, template = rng.choice([form for form in TOLD if form[0] == len(sources)])
        drawn = [rng.randint(2, 9 if sign == "*" else 30), rng.choice(choices)]
        a, b = [source.value for source in sources] + drawn[n:]
        value = OPERATIONS[sign](a, b)
        if 1 < value <= LARGEST and (sign != "/" or a % b == 0):
            x, y = [source.who for source in sources] + drawn[n:]
            told = say(rng, template).format(who=who, items=items, a=x, b=y)
            return Amount(who, sources, f"{a} {sign} {b} = {value}" if sign else "", value, told)


def draw_story(rng, n, items):
    """(amounts, those asked for, a stranger's name); it takes n operations."""
    while True:
        n_asked = rng.choice((1, 1, 2))
        n_left = n + 1 - n_asked  # two are added up in the end
        names = rng.sample(NAMES, n + 5)
        amounts = []
        ends = []  # amounts on which no other hangs
        while n_left and names[1:]:
            sources = []
            if len(ends) == 2 or ends and rng.random() < 0.8:
                x, y = rng.choice(ends), rng.choice(amounts)
                is_sum = x is not y and x.value + y.value <= LARGEST and rng.random() < 0.3
                sources = [x, y] if is_sum else [x]
            amounts.append(draw_amount(rng, names.pop(), items, sources))
            ends = [*(x for x in ends if x not in sources), amounts[-1]]
            n_left -= bool(amounts[-1].equation)
        others = [x for x in amounts if x not in ends]
        asked = [*ends, *rng.sample(others, len(others))][:n_asked]
        if not n_left and len(ends) <= len(asked) == n_asked:
            return amounts, asked, names[0]


def make(rng, n):
    """A problem of n operations, with one or two sentences that do not matter."""
    items, *others = [plural for _, plural in rng.sample(rng.choice(list(ITEMS.values())), 3)]
    amounts, asked, stranger = draw_story(rng, n, items)
    sentences = [amount.told for amount in amounts]
    for noun in others[: rng.choice((1, 1, 2))]:
        sentences.append(f"{rng.choice(amounts).who} also has {rng.randint(2, 20)} {noun}")
    if rng.random() < 0.3:  # nobody asks for this one
        sentences.append(draw_amount(rng, stranger, items, [rng.choice(amounts)]).told)
    rng.shuffle(sentences)
    people = " and ".join(amount.who for amount in asked)
    steps = [(RECALL, say(rng, f"[we have|I have|we need] to find the {items} of {people}"))]
    for sentence in sentences:
        who, also, thing = sentence.partition(" also has ")
        if also:
            steps.append((CONTRAST, say(rng, f"the {thing} of {who} do not [matter|count]")))
    for amount in asked:
        find(steps, amount)
    total = sum(amount.value for amount in asked)
    if len(asked) == 1:
        question = f"How many {items} does {people} have?"
        end = f"{people} has {total} {items}"
    else:
        x, y = asked
        start = f"{x.who} has {x.value} and {y.who} has {y.value}, so they have"
        compute(steps, f"{start} {x.value} + {y.value} = {total}")
        question = f"How many {items} do {people} have in all?"
        end = f"they have {total} {items} in all"
    steps.append((CONCLUSION, end))
    return Problem(". ".join([*sentences, question]), str(total), steps)


def find(steps, amount):
    """Add the steps that find an amount: what is told, what it hangs on, its operation."""
    if (RECALL, amount.told) in steps:
        return
    steps.append((RECALL, amount.told))
    for source in amount.sources:
        find(steps, source)
    if amount.equation:
        start = f"{amount.told}, so " if amount.sources else ""
        compute(steps, f"{start}{amount.who} has {amount.equation}")


def compute(steps, body):
    """Add the step of one operation."""
    signal = ADDITION if steps[-1][0] in (REASONING, ADDITION) else REASONING
    steps.append((signal, body))


# ---------------------------------------------------------------------------------- the checker
TOTAL = "the total"  # in place of a person, where two are asked for
NAME = r"[A-Z]\w*"


def sentence_pattern(template, items, who, a, b):
    """Regex (verbose) of a sentence of TOLD, with or without the items."""
    words = re.sub(r"\[(.*?)\]", r"(?:\1)", template).replace("has", "ha[sd]")
    words = words.replace(" {items}", "(?: {items})?").replace(" ", r"\ ")
    return words.format(items=items, who=rf"\b{who}", a=a, b=rf"{b}\b")


def read_fact(sentence, items):
    """(whose, sign, operands, template) of a sentence, or None; an operand can be a person."""
    for n, sign, choices, template in TOLD:
        a, b = ([NAME] * n + [COUNT] * 2)[:2]
        words = {"who": f"(?P<who>{NAME})", "a": f"(?P<a>{a})", "b": f"(?P<b>{b})"}
        m = re.fullmatch(sentence_pattern(template, items, **words) + r"\.", sentence, re.VERBOSE)
        if m:
            operands = [m["a"], m.groupdict().get("b", str(choices[0]))]
            return m["who"], sign, (*operands[:n], *map(number, operands[n:])), template
    return None


def evaluate(facts):
    """{whose: amount}: of those that the facts fix, in whole numbers."""
    values = {}
    for _ in facts:
        for who, (sign, *operands) in facts.items():
            a, b = (values.get(x, x) for x in operands)
            if isinstance(a, int) and isinstance(b, int) and (sign != "/" or a % b == 0):
                values[who] = OPERATIONS[sign](a, b)
    return values


class Checker:
    """An equation has to be true, the operation of a fact, and its operands have to be known.

    What it restates of the question has to be so there, or it cannot be parsed.
    """

    answers = COUNT

    def __init__(self, items, facts, asked, told, asides):
        """facts: {whose: (sign, operand, operand)}; told, asides: regexes of what is told."""
        self.facts = facts
        self.goal = asked[0] if len(asked) == 1 else TOTAL
        self.values = evaluate(facts)
        self.needed = [self.goal]
        for who in self.needed:  # grows
            self.needed += [x for x in facts[who] if x in facts]
        self.known = {who for who, (sign, *_) in facts.items() if not sign}
        people = any_of([*asked, " and ".join(asked), " and ".join(asked[::-1])])
        self.claims = rf"""
            {"|".join(asides) or "(?!)"}
          | (?P<fact>{"|".join(told)})
          | (?:(?P<owner>{any_of(facts)}|\bthey|\btotal)\ (?:ha(?:s|d|ve)|owns|is)\ )?
            (?:(?P<a>{COUNT})\ ?(?P<sign>[-+*/x×÷])\ ?(?P<b>{COUNT})\ (?:=|is|equals)\ )?
            (?P<c>{COUNT})(?:\ {items})?(?:\ (?:in\ (?:all|total)|altogether))?  # they have 36 figs
          | \b(?:find|count|add\ up|know)\ (?:how\ many|the)\ {items}(?:\ of)?
            \ {people}(?:\ ha(?:s|ve))?
        """

    def judge(self, claims):
        self.restated = []  # whose facts this step restates
        n_known = len(self.known)
        for claim in claims:
            if claim["fact"]:
                self.restated.append(self.person(claim["fact"].split()[0]))
            elif claim["a"]:
                yield from self.judge_equation(claim)
            elif claim["c"]:
                yield from self.judge_value(claim)
        if len(self.known) > n_known + 1:
            yield "takes up two amounts"

    def person(self, word):
        """The person that the word names, or else what is asked for, as "they"."""
        return word if word in self.facts else self.goal

    def is_ready(self, who):
        """Whether one operation finds this amount now."""
        return who not in self.known and self.known.issuperset(self.facts.keys() & self.facts[who])

    def judge_equation(self, claim):
        """It finds an amount that can be found now: the one that the step names, if it does."""
        a, b, c = (number(claim[group]) for group in "abc")
        sign = {"x": "*", "×": "*", "÷": "/"}.get(claim["sign"].lower(), claim["sign"])
        is_true = a == b * c if sign == "/" else OPERATIONS[sign](a, b) == c
        if not is_true:
            yield f"'{claim[0]}' is false"
        same = [[sign, a, b], [sign, b, a] if sign in "+*" else None]
        named = [self.person(claim["owner"])] if claim["owner"] else self.restated[-1:]
        found = [
            who
            for who in named or self.needed
            if self.is_ready(who) and [self.values.get(x, x) for x in self.facts[who]] in same
        ]
        if not found:
            yield f"nothing that is known asks for '{claim[0]}'"
        self.known.update((found or named)[:1])

    def judge_value(self, claim):
        """It is known, or the step restates the one operation that finds it."""
        who = self.person(claim["owner"])
        if who in self.restated and self.is_ready(who):
            self.known.add(who)
        if who not in self.known or number(claim["c"]) != self.values[who]:
            yield f"'{claim[0]}' is false, or has not been computed"

    def conclude(self):
        return str(self.values[self.goal]), "" if self.goal in self.known else "what is asked for"


def read_question(question):
    *sentences, last = re.split(r"(?<=\.) ", tidy(question))
    form = rf"How many ([a-z ]+) (?:does ({NAME}) have|do ({NAME}) and ({NAME}) have in all)\?"
    m = re.fullmatch(form, last)
    if not m:
        return None
    items = re.escape(m[1])
    asked = [who for who in m.groups()[1:] if who]
    facts = {TOTAL: ("+", *asked)} if len(asked) == 2 else {}
    told, asides = [], []
    for sentence in sentences:
        fact = read_fact(sentence, items)
        aside = re.fullmatch(rf"({NAME}) also has (\d{{1,9}}) ([a-z ]+)\.", sentence)
        if aside and aside[3] != m[1]:
            who, k, noun = map(re.escape, aside.groups())
            start = rf"(?:\b{who}(?:'s|\ (?:also\ )?has)\ )?(?:the\ )?(?:\b{k}\ )?"
            end = rf"(?:\ of\ {who})?(?:\ do(?:\ not|n't)\ (?:matter|count))?"
            asides.append(rf"{start}\b{noun}{end}")
        elif fact and fact[0] not in facts:
            who, sign, operands, template = fact
            facts[who] = sign, *operands
            if sign:
                told.append(sentence_pattern(template, items, who, *operands))
        else:
            return None
    is_solved = {*facts, *asked} == evaluate(facts).keys()
    return Checker(items, facts, asked, told, asides) if told and is_solved else None


def draw_length(rng, low, high):
    """Short ones more often: they teach to follow the names."""
    return min(rng.randint(low, high), rng.randint(low, high))


FAMILY = Family("word_problems", make, read_question, lengths=(2, 6), draw_length=draw_length)
