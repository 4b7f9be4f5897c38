"""Tracking shuffled objects (BBH): people swap what they hold; what has one of them in the end?

Hard: every swap starts from what the swaps before it left. An example of three people (or 5, or 7):

    Alice, Bob, and Claire are dancers at a square dance. At the start of a song, they each have a
    partner: Alice is dancing with Sam, Bob is dancing with Greta, and Claire is dancing with Otto.
    Throughout the song, the dancers often trade partners. First, Bob and Alice switch partners.
    Then, Alice and Bob switch partners. Finally, Claire and Alice switch partners. At the end of
    the dance, Alice is dancing with
    Options:
    (A) Sam
    (B) Greta
    (C) Otto
        RECALL      I think Alice has Sam, Bob has Greta, and Claire has Otto.
        REASONING   Let's see: Bob and Alice switch, so Bob now has Sam and Alice gets Greta.
        CONTRAST    Wait, Alice and Bob swap, so Alice gets Sam and Bob now has Greta.
        REASONING   Let's see: Claire and Alice swap, so Claire has Sam and Alice gets Otto.
        CONCLUSION  So Alice ends with Otto, that is (C).
        RESPONSE    That makes the answer (C).
"""

import re

from data.algorithmic.common import WORDS, Family, Problem, advance, any_of, listing, say
from scaffold import ADDITION, CONCLUSION, CONTRAST, REASONING, RECALL


# ---------------------------------------------------------------------------------- the teacher
def make(rng, n):
    """A problem of n people and n swaps."""
    story = rng.choice(WORDS["shuffles"])
    people = WORDS["shufflers"][:n]
    things = rng.sample(WORDS[story["things"]], n)
    has = dict(zip(people, things, strict=True))
    held = listing([f"{person} {story['holds']} {thing}" for person, thing in has.items()])
    steps = [(RECALL, listing([f"{person} has {thing}" for person, thing in has.items()]))]
    told = []
    previous = set()
    for i in range(n):
        a, b = rng.sample(people, 2)
        has[a], has[b] = has[b], has[a]
        order = {0: "First", n - 1: "Finally"}.get(i, "Then")
        told.append(f"{order}, {a} and {b} {story['swap']}.")
        signal = REASONING
        if {a, b} == previous:  # turns the last swap back
            signal = CONTRAST
        elif previous and previous.isdisjoint((a, b)):
            signal = ADDITION
        swap = f"{a} and {b} [swap|trade|switch]"
        holds = f"{a} [has|gets|now has] {has[a]} and {b} [has|gets|now has] {has[b]}"
        steps.append((signal, say(rng, f"{swap}, so {holds}")))
        previous = {a, b}

    asked = rng.choice(people)
    options = [f"({letter}) {thing}" for letter, thing in zip("ABCDEFG", things, strict=False)]
    answer = options[things.index(has[asked])][:3]
    end = f"{asked} [ends up with|finally has|ends with] {has[asked]}"
    steps.append((CONCLUSION, say(rng, f"{end}, [which is|that is|option] {answer}")))
    opening = story["opening"].format(people=listing(people), held=held)
    closing = story["closing"].format(swaps=" ".join(told), asked=asked)
    return Problem("\n".join([opening, closing, "Options:", *options]), answer, steps)


# ---------------------------------------------------------------------------------- the checker
QUESTION = re.compile(
    r"""[^:]+:\ (?P<start>[^\n]+)\.\n
    (?P<swaps>[^\n]+)\ At\ the\ end\ of\ the\ [\w ]+,
    \ (?P<asked>\w+)\ (?:is\ dancing\ with|is\ playing|has\ the|has)\s+
    Options:\n(?P<options>(?:\([A-Z]\)\ [^\n]+(?:\n|$))+)""",
    re.VERBOSE,
)
ORDINALS = "first second third fourth fifth sixth seventh".split()
HOLDS = r"(?:^|, |and )(\w+) (?:is dancing with|is playing|has an?|gets) (.+?)(?=, |$)"
SWAP = r"\b(\w+) and (\w+) (?:swap|switch|trade)\b"


class Checker:
    """Swap by swap as in the question, each with what the two have after it."""

    answers = r"\(?[A-Z]\b\)?"

    def __init__(self, has, pairs, asked, letters, goods):
        self.asked = asked
        self.pairs = [set(pair) for pair in pairs]
        self.states = [has]  # states[i]: {person: thing} after i swaps
        for a, b in pairs:
            has = {**has, a: has[b], b: has[a]}
            self.states.append(has)
        self.letter = letters[has[asked]]  # of the right option
        self.done = 0  # so many swaps have been made
        self.concluded = False  # a step has said what the one asked for has in the end
        name = any_of(has)
        thing = any_of(letters, "i")
        swap = r"(?:swap|switch|trade|exchange)(?:e?s|d|ed|ped)?\b"
        goods = rf"(?:(?:\ their)?\ {goods})?"
        self.claims = rf"""
            (?P<a>{name})\ (?:and\ (?P<b>{name})\ {swap}  # Ann and Bob swap balls
              |{swap}{goods}\ with\ (?P<b2>{name})){goods}
          | \bthe\ (?P<nth>{"|".join(ORDINALS)}|last)\ (?:swap|switch|trade|exchange)\b
          | (?P<who>{name}):?(?P<last>\ finally|\ ends?(?:\ up)?)?  # Bob ends with the ball
            (?:\ with|(?:\ now|\ then|\ still)?\ (?:has|holds|gets|got|plays
              |is\ (?:now\ )?(?:playing|dancing\ with|holding|left\ with)))?
            (?:\ now)?(?:\ the|\ an?)?\ (?P<what>{thing})
          | (?P<end>\b(?:in|at)\ the\ end(?:\ of\ the\ \w+)?\b)
          | (?:\boption\ )?\([A-Z]\)|\boption\ [A-Z]\b  # (C)
        """

    def judge(self, claims):
        self.due = set()  # those who swapped and of whom the step has not said what they have
        self.swapped = False  # whether this step makes a swap
        for claim in claims:
            if claim["a"] or claim["nth"]:
                yield from self.judge_swap(claim)
            elif claim["who"]:
                yield from self.judge_thing(claim)
            elif self.done < len(self.pairs):
                yield "stops before the last swap"
            elif not claim["end"] and claim[0].rstrip(")")[-1].upper() != self.letter:
                yield f"says {claim[0]}, but {self.states[-1][self.asked]} is ({self.letter})"
        if self.due:
            yield "does not say who has what then"

    def judge_swap(self, claim):
        """The swap, by its two or by its place in the order, has to be the next one."""
        if claim["nth"]:
            nth = claim["nth"].lower()
            i = len(self.pairs) - 1 if nth == "last" else ORDINALS.index(nth)
            pair = self.pairs[i] if i == self.done < len(self.pairs) else {nth}
        else:
            pair = {claim["a"], claim["b"] or claim["b2"]}
        if self.due == pair:
            return
        self.done, reason = advance(self.pairs, self.done, pair)
        if self.swapped:
            yield "makes two swaps"
        elif reason:
            yield f"'{claim[0]}' {reason}"
        self.due = pair
        self.swapped = True

    def judge_thing(self, claim):
        """What somebody has has to be true after the swaps so far."""
        who = claim["who"]
        thing = self.states[self.done][who]
        at_end = self.done == len(self.pairs)
        if claim["what"].lower() != thing.lower():
            yield f"says '{claim[0]}', but {who} has {thing}"
        elif claim["last"] and not at_end:
            yield "stops before the last swap"
        self.due = self.due - {who}
        if who == self.asked and at_end and not self.swapped:
            self.concluded = True

    def conclude(self):
        return self.letter, "" if self.concluded else f"what {self.asked} has in the end"


def read_question(question):
    m = QUESTION.fullmatch(question)
    if not m:
        return None
    has = dict(re.findall(HOLDS, m["start"]))
    pairs = re.findall(SWAP, m["swaps"])
    options = re.findall(r"\((\w)\) (.+)", m["options"])
    letters = {thing.strip(): letter for letter, thing in options}
    holders_known = {m["asked"]}.union(*pairs) <= set(has)
    if not pairs or not holders_known or not set(has.values()) <= set(letters):
        return None
    goods = re.findall(r"\w+", m["swaps"])[-1]  # what they swap
    return Checker(has, pairs, m["asked"], letters, goods)


FAMILY = Family("tracking_shuffled_objects", make, read_question, (3, 7), only_lengths=(3, 5, 7))
