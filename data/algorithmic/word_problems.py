"""Word problems (as GSM8K): amounts that hang on one another, told out of order.

Hard: what to compute first, and what does not matter. The teacher goes down from the amount asked
for to numbers that are told, and computes on the way back up. A small student finds what stands
right behind a name that it has just written: so a name is the subject of one sentence, and each
step ends with the name that the next one begins with. An example:

    Some friends collect figs. There are also 8 pears with Amir. Amir has 6 more than Fidel.
    Fidel has 3 boxes of 9 each. How many figs does Amir have?
        RECALL      Okay, we need Amir for the answer.
        CONTRAST    But there are also 8 pears with Amir, and this does not matter.
        RECALL      I think Amir has 6 more than Fidel, so we need Fidel for Amir.
        RECALL      Fidel has 3 boxes of 9 each.
        REASONING   3 * 9 = 27, so Fidel owns 27. We need Fidel for Amir.
        ADDITION    Also, Fidel owns 27 and Amir has 6 more, so 27 + 6 = 33 and Amir owns 33. We
                    need Amir for the answer.
        CONCLUSION  Amir owns 33 figs.
        RESPONSE    So the answer is 33.

A fork: any of the asides, needed facts or ready operations comes next.
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
    (0, "*", ANY, "{who} has {a} [bags|boxes] of {b} each"),
    (0, "+", ANY, "{who} has {a} [old|big|red] and {b} [new|small|green] ones"),
    (0, "-", ANY, "{who} had {a} and gave away {b}"),
    (1, "+", ANY, "{who} has {b} more than {a}"),
    (1, "-", ANY, "{who} has {b} fewer than {a}"),
    (1, "*", [2], "{who} has twice {a}'s number"),
    (1, "*", [3, 4], "{who} has {b} times {a}'s number"),
    (1, "/", [2], "{who} has half {a}'s number"),
    (2, "+", ANY, "{who} has what {b} and {a} have together"),
    (0, "", [0], "{who} has {a}"),
]
LARGEST = 30  # of what one person has


# ---------------------------------------------------------------------------------- the teacher
@dataclass(eq=False)
class Amount:
    """What one person has, and how it is told."""

    who: str
    sources: list  # of Amount: those that it hangs on
    equation: str  # empty where the amount itself is told
    value: int
    told: str  # the sentence, without its full stop


def draw_amount(rng, who, sources, amounts):
    """An Amount that hangs on these, told in other words than the others: the name apart."""
    while True:
        n, sign, choices, template = rng.choice([form for form in TOLD if form[0] == len(sources)])
        drawn = [rng.randint(2, 9 if sign == "*" else LARGEST), rng.choice(choices)][n:]
        a, b = [source.value for source in reversed(sources)] + drawn
        value = OPERATIONS[sign](a, b)
        x, y = [source.who for source in reversed(sources)] + drawn
        told = say(rng, template).format(who=who, a=x, b=y)
        is_new = told.split()[1:4] not in [amount.told.split()[1:4] for amount in amounts]
        if is_new and 1 < value <= LARGEST and (sign != "/" or a % b == 0):
            equation = f"{a} {sign} {b} = {value}" if sign else ""
            return Amount(who, sources, equation, value, told)


def draw_story(rng, n):
    """(amounts, those asked for, a stranger's name); it takes n operations."""
    while True:
        n_asked = rng.choice((1, 1, 2))
        n_left = n + 1 - n_asked  # two are added up in the end
        names = rng.sample(NAMES, n + 5)
        amounts = []
        ends = []  # one or two amounts on which no other hangs
        while n_left and names[1:]:
            sources = []
            if len(ends) == 2 and rng.random() < 0.4:
                sources = ends
            elif len(ends) == 2 or ends and rng.random() < 0.8:
                sources = [rng.choice(ends)]
            if sum(x.value for x in sources) <= LARGEST:
                amounts.append(draw_amount(rng, names.pop(), sources, amounts))
                ends = [*(x for x in ends if x not in sources), amounts[-1]]
                n_left -= bool(amounts[-1].equation)
        if not n_left and len(ends) == n_asked and sum(x.value for x in ends) <= LARGEST:
            return amounts, ends, names[0]


def make(rng, n, forks=None):
    """A problem of n operations, with one or two sentences that do not matter.

    At a fork: another aside, fact or operation first.
    """
    items, other = [plural for _, plural in rng.sample(rng.choice(list(ITEMS.values())), 2)]
    amounts, asked, stranger = draw_story(rng, n)
    asides = [
        f"there are also {rng.randint(2, 20)} {other} with {rng.choice(amounts).who}",
        f"the age of {rng.choice(amounts).who} is {rng.randint(2, 20)}",
    ]
    asides = rng.choice((asides, asides[:1], asides[1:]))
    sentences = [amount.told for amount in amounts]
    sentences += [aside[0].upper() + aside[1:] for aside in asides]
    if rng.random() < 0.3:  # nobody asks for this one
        sentences.append(draw_amount(rng, stranger, [rng.choice(amounts)], amounts).told)
    rng.shuffle(sentences)
    start = say(rng, f"Some [friends|people] [collect|count|own] {items}")
    first, *second = [amount.who for amount in asked]
    total = sum(amount.value for amount in asked)
    if second:
        question = f"How many {items} do {first} and {second[0]} have in all?"
        end = f"they own {total} {items} in all"
        equation = f"{asked[1].value} + {asked[0].value} = {total}"
        whom = "the total"
    else:
        question = f"How many {items} does {first} have?"
        end = f"{first} owns {total} {items}"
        equation = ""
        whom = "the answer"
    asides = [say(rng, f"{aside}, [and|but] this does not [matter|count]") for aside in asides]
    steps, open_signals = reason(Amount(whom, asked, equation, total, ""), asides, forks)
    steps.append((CONCLUSION, end))
    question = ". ".join([start, *sentences, question])
    return Problem(question, str(total), steps, open_signals)


def reason(goal, asides, forks):
    """(steps, open signals at forks): down from the goal to what is told, and up again.

    Without forks: what does not matter first, and then the first operation that is ready.
    """
    steps = [(RECALL, need(goal))]
    open_signals = {}
    uses = dict.fromkeys(goal.sources, goal)  # what each amount is needed for
    todo = goal.sources[::-1]  # to be recalled, the next one last
    waiting = [goal] if goal.equation else []  # recalled, but their operation is still to come
    found = []
    while asides or todo or waiting:
        ready = [amount for amount in waiting if set(found).issuperset(amount.sources)]
        operation = ADDITION if steps[-1][0] in (REASONING, ADDITION) else REASONING
        ways = [(CONTRAST, aside) for aside in asides]
        ways += [(operation, amount) for amount in ready]
        ways += [(RECALL, amount) for amount in reversed(todo)]
        signal, chosen = forks.choice(ways) if forks else ways[0]
        if forks:
            open_signals[len(steps)] = {signal for signal, _ in ways}
        if signal == CONTRAST:
            asides = [aside for aside in asides if aside != chosen]
            steps.append((CONTRAST, chosen))
            continue
        parts = []
        if signal == RECALL:
            todo.remove(chosen)
            parts.append(chosen.told)
            if chosen.sources:
                parts.append(need(chosen))
                todo += chosen.sources[::-1]
                uses |= dict.fromkeys(chosen.sources, chosen)
            if chosen.equation:
                waiting.append(chosen)
        else:
            waiting.remove(chosen)
            parts += operands(chosen, found, steps[-1][1])
            parts.append(chosen.equation + " in all" * (chosen is goal))
        if chosen not in [*waiting, goal]:
            found.append(chosen)
            and_owns = " and " if chosen.sources else ", so "
            parts[-1] += f"{and_owns}{owned([chosen])}. We need {link(chosen, uses[chosen], found)}"
        steps.append((signal, ", so ".join(parts)))
    return steps, open_signals


def link(amount, user, found):
    """For what an amount is needed: "Ann, then Bob" if Bob is missing, "Ann with Bob for Cleo"."""
    other = next((x for x in user.sources if x is not amount), None)
    if other and other not in found:
        return f"{amount.who}, then {other.who}"
    return (
        f"{amount.who} with {other.who} for {user.who}" if other else f"{amount.who} for {user.who}"
    )


def need(user):
    """All that an amount needs: "we need Ann, then Bob with Ann for Cleo"."""
    *first, last = user.sources
    return "we need " + "".join(f"{x.who}, then " for x in first) + link(last, user, user.sources)


def owned(amounts):
    return " and ".join(f"{amount.who} owns {amount.value}" for amount in amounts)


def operands(amount, found, before):
    """What is known of the operands of an amount, unless the step before has said it."""
    if not amount.sources:
        return [] if before == amount.told else [amount.told]
    known = owned([x for x in reversed(found) if x in amount.sources])  # the latest stands nearest
    if len(amount.sources) == 1:  # Amir has 6 more, or twice that
        source = amount.sources[0].who
        told = amount.told.replace(f" than {source}", "")
        known += " and " + told.replace(f"{source}'s number", "that")
    return [known]


# ---------------------------------------------------------------------------------- the checker
TOTAL = "the total"  # in place of a person, where two are asked for
NAME = r"[A-Z]\w*"
ASIDES = [
    rf"There are also (?P<k>\d{{1,9}}) (?P<noun>[a-z ]+) with (?P<who>{NAME})\.",
    rf"The (?P<noun>age) of (?P<who>{NAME}) is (?P<k>\d{{1,9}})\.",
]
# What a student may say in place of a part of a sentence of TOLD.
SPOKEN = {
    "has": "ha[sd]",
    "had": "ha[sd]",
    " each": "(?: {items})?(?: each)?",
    " ones": "(?: ones| {items})?",
    "{a} and gave away {b}": "{a}(?: {items})? and gave (?:away )?{b}(?: of them)?(?: away)?",
    " than {a}": "(?: {items})?(?: than {a})?",
    "{a}'s number": "(?:{a}'s (?:number|{items})|that|as many(?: {items})?(?: as {a})?)",
    "what {b} and {a} have": "(?:what|as many as) (?:{a} and {b}|{b} and {a})(?: have)?",
}


def sentence_pattern(template, spoken, **words):
    """Regex (verbose) of a sentence of TOLD; spoken: the ways to say its parts."""
    template = re.sub(r"\[(.*?)\]", r"(?:\1)", template)
    for part, ways in spoken.items():
        template = template.replace(part, ways)
    return template.replace(" ", r"\ ").format(**words)


def read_fact(sentence):
    """(whose, sign, operands, template) of a sentence, or None; an operand can be a person."""
    for n, sign, choices, template in TOLD:
        a, b = ([NAME] * n + [COUNT] * 2)[:2]
        words = {"who": f"(?P<who>{NAME})", "a": f"(?P<a>{a})", "b": f"(?P<b>{b})"}
        m = re.fullmatch(sentence_pattern(template, {}, **words) + r"\.", sentence, re.VERBOSE)
        if m:
            operands = [m["a"], m.groupdict().get("b", str(choices[0]))]
            template = re.sub(  # in the words of this sentence: [bags|boxes] becomes boxes
                r"\[(.*?)\]", lambda ways: re.search(rf"\b({ways[1]})\b", sentence)[0], template
            )
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
        self.uses = {who: facts[who] for who in self.needed}  # what hangs on what
        self.uses |= {"the answer": asked, "the total": asked}
        self.known = {who for who, (sign, *_) in facts.items() if not sign}
        people = any_of([*asked, " and ".join(asked), " and ".join(asked[::-1])])
        person = any_of(facts.keys() - {TOTAL})
        self.claims = rf"""
            {"|".join(asides) or "(?!)"}
          | (?P<fact>{"|".join(told)})
          | \bneed(?:\ to\ (?:find|know))?
            \ (?P<need>{person}(?:(?:\ and|,?\ then|\ with)\ {person})*)
            (?:\ for\ (?P<whom>{person}|the\ (?:answer|total)))?  # Ann, then Bob with Ann for Cy
          | (?:(?P<owner>{person}|\bthey|\btotal)\ (?:ha(?:s|d|ve)|owns?|is)\ )?
            (?:(?P<a>{COUNT})\ ?(?P<sign>[-+*/x×÷])\ ?(?P<b>{COUNT})\ (?:=|is|equals)\ )?
            (?P<c>{COUNT})(?:\ {items})?(?:\ (?:in\ (?:all|total)|altogether))?  # they own 36 figs
          | (?<=\d)\ {items}\b  # the answer is 36 figs
          | \b(?:find|count|add\ up|know)\ (?:how\ many|the)\ {items}(?:\ of)?
            \ {people}(?:\ ha(?:s|ve))?
        """

    def judge(self, claims):
        self.restated = []  # whose facts this step restates
        n_known = len(self.known)
        self.told = set()  # of whom this step has said what they own
        for i, claim in enumerate(claims):
            if claim["fact"]:
                self.restated.append(self.person(claim["fact"].split()[0]))
            elif claim["need"]:
                names = re.findall(NAME, claim["need"])
                uses = [self.uses.get(claim["whom"], ())] if claim["whom"] else self.uses.values()
                is_twice = any(x == y for x, y in zip(names, names[1:], strict=False))
                if is_twice or not any(set(names).issubset(sources) for sources in uses):
                    yield f"'{claim[0]}' is not so"
            elif claim["a"]:  # "6 + 9 = 15 and Ann owns 15" names the owner after it
                after = [x["owner"] for x in claims[i:] if x["owner"]][:1]
                yield from self.judge_equation(claim, after)
            elif claim["c"]:
                yield from self.judge_value(claim)
            if claim["owner"]:
                self.told.add(claim["owner"])
        if len(self.known) > n_known + 1:
            yield "takes up two amounts"

    def person(self, word):
        """The person that the word names, or else what is asked for, as "they"."""
        return word if word in self.facts else self.goal

    def is_ready(self, who):
        """Whether one operation finds this amount now, and this step tells of nobody else's."""
        sources = self.facts.keys() & self.facts[who]
        is_about_it = not sources or self.told <= sources
        return who not in self.known and self.known >= sources and is_about_it

    def judge_equation(self, claim, owners):
        """It finds an amount that can be found now: its owner's, if the step names one."""
        a, b, c = (number(claim[group]) for group in "abc")
        sign = {"x": "*", "×": "*", "÷": "/"}.get(claim["sign"].lower(), claim["sign"])
        is_true = a == b * c if sign == "/" else OPERATIONS[sign](a, b) == c
        if not is_true:
            yield f"'{claim[0]}' is false"
        same = [[sign, a, b], [sign, b, a] if sign in "+*" else None]
        named = [self.person(word) for word in owners] or self.restated[-1:]
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


def aside_pattern(sentence):
    """Regex (verbose) of a sentence that does not matter, or "" where it is none."""
    for form in ASIDES:
        m = re.fullmatch(form, sentence)
        if m:
            who, k, noun = (re.escape(m[group]) for group in ("who", "k", "noun"))
            words = r"(?:\ (?:and|but|which|this|they))*"
            end = rf",?{words}\ do(?:es)?(?:\ not|n't)\ (?:matter|count)"
            # "Ann owns 14 beds" is none: where no such word comes first, the end has to follow.
            start = rf"(?:(?:\b(?:there\ are(?:\ also)?|the|{who}'s|{k})\ )+|\b(?={noun}{end}))"
            return rf"{start}{noun}(?:\ (?:with|of)\ {who})?(?:\ is\ {k}\b)?(?:{end})?"
    return ""


def read_question(question):
    *sentences, last = re.split(r"(?<=\.) ", tidy(question))
    form = rf"How many ([a-z ]+) (?:does ({NAME}) have|do ({NAME}) and ({NAME}) have in all)\?"
    m = re.fullmatch(form, last)
    if not m or not re.fullmatch(rf"Some \w+ \w+ {m[1]}\.", "".join(sentences[:1])):
        return None
    items = re.escape(m[1])
    asked = [who for who in m.groups()[1:] if who]
    facts = {TOTAL: ("+", *asked)} if len(asked) == 2 else {}
    told, asides = [], []
    for sentence in sentences[1:]:
        fact = read_fact(sentence)
        aside = aside_pattern(sentence)
        if aside:
            asides.append(aside)
        elif fact and fact[0] not in facts:
            who, sign, (a, b), template = fact
            facts[who] = sign, a, b
            if sign:
                told.append(
                    sentence_pattern(template, SPOKEN, items=items, who=rf"\b{who}", a=a, b=b)
                )
        else:
            return None
    is_solved = {*facts, *asked} == evaluate(facts).keys()
    return Checker(items, facts, asked, told, asides) if told and is_solved else None


def draw_length(rng, low, high):
    """Short ones more often: they teach to follow the names."""
    return min(rng.randint(low, high), rng.randint(low, high))


FAMILY = Family(
    "word_problems", make, read_question, lengths=(2, 6), draw_length=draw_length, has_forks=True
)
