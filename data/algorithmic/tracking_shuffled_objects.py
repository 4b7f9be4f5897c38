"""tracking_shuffled_objects: people swap what they hold; what does one of them hold in the end?

Every step changes the state that the next one needs, so that one slip spoils the rest. BBH has 3,
5 or 7 people. One problem with the teacher's reasoning (with three of seven steps):

    Alice, Bob, and Claire are playing a game. At the start of the game, they are each holding a
    ball: Alice has a red ball, Bob has a blue ball, and Claire has a pink ball.
    As the game progresses, pairs of players trade balls. First, Bob and Claire swap balls. Then,
    Alice and Bob swap balls. Finally, Bob and Alice swap balls. At the end of the game, Bob has the
    Options:
    (A) red ball
    (B) blue ball
    (C) pink ball

    RECALL      I know that Alice has red ball, Bob has blue ball, and Claire has pink ball.
    REASONING   Now Bob and Claire swap, so Bob has pink ball and Claire gets blue ball.
    ...
    CONCLUSION  So Bob ends up with pink ball, which is (C).
    RESPONSE    The answer is (C).

A swap of the same two again is a CONTRAST, one of two others an ADDITION, else it is REASONING.
"""

import re
from dataclasses import dataclass

from data.algorithmic.common import (
    BOOKS,
    COLORS,
    PARTNERS,
    POSITIONS,
    SHUFFLERS,
    Family,
    Problem,
    advance,
    any_of,
    listing,
    say,
)
from scaffold import ADDITION, CONCLUSION, CONTRAST, REASONING, RECALL


@dataclass
class Setting:
    opening: str
    holds: str
    things: list  # of str
    habit: str
    swap: str
    closing: str


SETTINGS = [
    Setting(
        "are dancers at a square dance. At the start of a song, they each have a partner",
        "is dancing with",
        PARTNERS,
        "Throughout the song, the dancers often trade partners.",
        "switch partners",
        "At the end of the dance, {} is dancing with",
    ),
    Setting(
        "are on the same team in a soccer match. "
        "At the start of the match, they are each assigned to a position",
        "is playing",
        POSITIONS,
        "As the game progresses, pairs of players occasionally swap positions.",
        "trade positions",
        "At the end of the match, {} is playing",
    ),
    Setting(
        "are playing a game. At the start of the game, they are each holding a ball",
        "has a",
        [f"{color} ball" for color in COLORS],
        "As the game progresses, pairs of players trade balls.",
        "swap balls",
        "At the end of the game, {} has the",
    ),
    Setting(
        "are holding a white elephant gift exchange. "
        "At the start of the event, they are each holding a present of a different color",
        "has a",
        [f"{color} present" for color in COLORS] + ["pink ball", "orange ball", "black ball"],
        "As the event progresses, pairs of people swap gifts.",
        "swap their gifts",
        "At the end of the event, {} has the",
    ),
    Setting(
        "are friends and avid readers who occasionally trade books. "
        "At the start of the semester, they each buy one new book",
        "gets",
        BOOKS,
        "As the semester proceeds, they start trading around the new books.",
        "swap books",
        "At the end of the semester, {} has",
    ),
]


def make(rng, length):
    """A Problem with `length` people and as many swaps."""
    setting = rng.choice(SETTINGS)
    people = SHUFFLERS[:length]
    things = rng.sample(setting.things, length)
    has = dict(zip(people, things, strict=True))
    held = listing([f"{person} {setting.holds} {thing}" for person, thing in has.items()])
    steps = [(RECALL, listing([f"{person} has {thing}" for person, thing in has.items()]))]
    told = [setting.habit]
    previous = set()
    for i in range(length):
        a, b = rng.sample(people, 2)
        order = "First" if i == 0 else "Then"
        if i == length - 1:
            order = "Finally"
        told.append(f"{order}, {a} and {b} {setting.swap}.")
        has[a], has[b] = has[b], has[a]

        signal = REASONING
        if {a, b} == previous:
            signal = CONTRAST
        elif i and not {a, b} & previous:
            signal = ADDITION
        template = (
            "{a} and {b} [swap|trade|switch], "
            "so {a} [has|gets|now has] {x} and {b} [has|gets|now has] {y}"
        )
        steps.append((signal, say(rng, template, a=a, b=b, x=has[a], y=has[b])))
        previous = {a, b}

    asked = rng.choice(people)
    letters = [f"({letter})" for letter in "ABCDEFG"]
    answer = letters[things.index(has[asked])]
    template = "{p} [ends up with|finally has|ends with] {x}, [which is|that is|option] {o}"
    steps.append((CONCLUSION, say(rng, template, p=asked, x=has[asked], o=answer)))
    told.append(setting.closing.format(asked))
    options = [f"{letter} {thing}" for letter, thing in zip(letters, things, strict=False)]
    question = [f"{listing(people)} {setting.opening}: {held}.", " ".join(told), "Options:"]
    return Problem("\n".join(question + options), answer, steps)


# ------------------------------------------------------------------------------------- the checker
QUESTION = re.compile(
    r"""[^:]+:\ (?P<start>[^\n]+)\.\n
    (?P<swaps>[^\n]+)\ At\ the\ end\ of\ the\ [\w ]+,
    \ (?P<asked>\w+)\ (?:is\ dancing\ with|is\ playing|has\ the|has)\s+
    Options:\n(?P<options>(?:\([A-Z]\)\ [^\n]+(?:\n|$))+)""",
    re.VERBOSE,
)
HOLDS = re.compile(
    r"""(?:^|,\ |and\ )(\w+)\ (?:is\ dancing\ with|is\ playing|has\ an?|gets)
    \ (.+?)(?=,\ |$)""",
    re.VERBOSE,
)
SWAP = re.compile(r"\b(\w+) and (\w+) (?:swap|switch|trade)\b")


def read_question(question):
    """The Checker of a question of this family; None for any other question."""
    match = QUESTION.fullmatch(question)
    if not match:
        return None
    has = dict(HOLDS.findall(match["start"]))
    swaps = SWAP.findall(match["swaps"])
    letters = re.findall(r"\((\w)\) (.+)", match["options"])
    letters = {thing.strip(): letter for letter, thing in letters}
    people = {match["asked"]}.union(*swaps)
    if not swaps or not people <= set(has) or not set(has.values()) <= set(letters):
        return None
    return Checker(has, swaps, match["asked"], letters)


class Checker:
    """Swap by swap as in the question, each with what the two have after it."""

    answers = r"\(?[A-Z]\b\)?"

    def __init__(self, has, swaps, asked, letters):
        self.asked = asked
        self.swaps = [set(pair) for pair in swaps]
        self.states = [has]  # states[i]: {person: thing} after i swaps
        for a, b in swaps:
            has = {**has, a: has[b], b: has[a]}
            self.states.append(has)
        self.letter = letters[has[asked]]  # of the right option
        self.done = 0  # swaps made so far
        self.concluded = False  # a step said what the person asked for has in the end

        name = any_of(has)
        thing = any_of(letters, "i")
        swap = r"(?:swap|switch|trade|exchange)(?:e?s|d|ed|ped)?\b"
        self.claims = rf"""
            (?P<a>{name})\ (?:                       # Bob and Eve swap, Bob trades balls with Eve
                and\ (?P<b>{name})\ {swap}
                | {swap}(?:\ \w+)?\ with\ (?P<b2>{name})
              )(?:\ their)?(?:\ (?:balls|gifts|presents|books|partners|positions))?
            | (?P<who>{name})\ (?P<last>finally\ |ends?\ (?:up\ )?)?(?:  # Bob finally has the ball
                (?:now\ |then\ )?
                (?:has|holds|gets|got|plays|is\ (?:now\ )?(?:playing|dancing\ with|holding))
                | with
              )(?:\ now)?(?:\ the|\ an?)?\ (?P<what>{thing})
            | (?:\boption\ )?\((?P<letter>[A-Z])\)   # option (C)
            | \boption\ (?P<letter2>[A-Z])\b         # option C
        """

    def judge(self, claims):
        """Yields what is wrong with the claims of one step."""
        self.due = set()  # those of the last swap of whom this step has not said what they have
        self.swapped = False  # this step makes a swap
        for claim in claims:
            if claim["a"]:
                yield from self.judge_swap(claim)
            elif claim["who"]:
                yield from self.judge_holder(claim)
            elif self.done < len(self.swaps):
                yield "stops before the last swap"
            elif (claim["letter"] or claim["letter2"]).upper() != self.letter:
                yield f"says {claim[0]}, but {self.states[-1][self.asked]} is ({self.letter})"
        if self.due:
            yield "does not say who has what then"

    def judge_swap(self, claim):
        pair = {claim["a"], claim["b"] or claim["b2"]}
        self.done, reason = advance(self.swaps, self.done, pair)
        if self.due:
            yield "does not say who has what then"
        elif reason:
            yield f"'{claim[0]}' {reason}"
        self.due = pair
        self.swapped = True

    def judge_holder(self, claim):
        who = claim["who"]
        thing = self.states[self.done][who]
        at_end = self.done == len(self.swaps)
        if claim["what"].lower() != thing.lower():
            yield f"says '{claim[0]}', but {who} has {thing}"
        if claim["last"] and not at_end:
            yield "stops before the last swap"
        self.due = self.due - {who}
        if who == self.asked and at_end and not self.swapped:
            self.concluded = True

    def conclude(self):
        """(the true answer, what is left out for it)"""
        return self.letter, "" if self.concluded else f"what {self.asked} has in the end"


FAMILY = Family(
    "tracking_shuffled_objects", make, read_question, lengths=(3, 7), only_lengths=(3, 5, 7)
)
