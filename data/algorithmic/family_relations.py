"""Family relations (after farel-bench): given parents, what is one person to another?

Hard: two lines of ancestors, and where they meet. Each word hangs on words just before it: who
somebody's parent is stands behind "has parent", and how far up somebody is, behind "is", where the
name has occurred before. With two facts (or 5, or 9):

    Given the family relationships:
    * Edith has parent Hana.
    * Greta has no parent.
    * Hana has parent Greta.
    Options:
    - parent: 1.
    - child: 2.
    What is Edith's relationship to Hana?
        RECALL      I know that Hana is 0 up from Hana, and Hana has parent Greta.
        REASONING   Let me see: Greta is 1 up from Hana, and Greta has no parent.
        CONTRAST    But I climb from Edith, 0 up from Edith, and Edith is not above Hana.
        REASONING   Now Edith has parent Hana, 1 up from Edith, and Hana is 0 up from Hana.
        CONCLUSION  Therefore, 1 and 0 make child, so Edith is Hana's child: 2.
        RESPONSE    That makes the answer 2.
"""

import re
from itertools import permutations

from data.algorithmic.common import DIGITS, NAMES, Family, Problem, any_of, say
from scaffold import ADDITION, CONCLUSION, CONTRAST, REASONING, RECALL

KIN = {  # what A is to B, by the generations from A and from B up to where their lines meet
    (1, 0): "child",
    (0, 1): "parent",
    (2, 0): "grandchild",
    (0, 2): "grandparent",
    (1, 1): "sibling",
    (3, 0): "great grandchild",
    (0, 3): "great grandparent",
    (2, 1): "niece or nephew",
    (1, 2): "aunt or uncle",
}
GENERATIONS = {2: 1, 5: 2, 9: 3}  # of a question's relations, by the number of its facts


def line_of(person, parent):
    """[person, parent, grandparent, ...] up to the top; a circle ends before it repeats."""
    line = [person]
    while parent.get(line[-1], person) not in line:
        line.append(parent[line[-1]])
    return line


def generations(a, b, parent):
    """How many generations up from a, and from b, their lines meet; None where they do not."""
    line_b = line_of(b, parent)
    for i, person in enumerate(line_of(a, parent)):
        if person in line_b:
            return i, line_b.index(person)
    return None


# ---------------------------------------------------------------------------------- the teacher
def make(rng, n):
    """A problem of n facts (2, 5 or 9): a small tree, and two of its people."""
    related = []
    while not related:
        people = rng.sample(NAMES, n + 1)
        parent = {people[i]: people[rng.randrange(max(0, i - 4), i)] for i in range(1, n + 1)}
        pairs = {pair: generations(*pair, parent) for pair in permutations(people, 2)}
        related = [pair for pair in pairs if sum(pairs[pair]) == GENERATIONS[n]]
    kind = rng.choice(sorted({pairs[pair] for pair in related}))  # all as often as the trees allow
    a, b = rng.choice([pair for pair in related if pairs[pair] == kind])
    relations = sorted(KIN[key] for key in KIN if sum(key) == GENERATIONS[n])
    options = rng.sample(relations, len(relations))
    answer = str(options.index(KIN[kind]) + 1)

    lines = [
        "Given the family relationships:",
        *[f"* {child} has {parent_of(child, parent)}." for child in rng.sample(people, n + 1)],
        "Options:",
        *[f"- {option}: {i}." for i, option in enumerate(options, 1)],
        f"What is {possessive(a)} relationship to {b}?",
    ]
    steps = reason(rng, a, b, parent)
    up = " and ".join(map(str, kind))
    end = f"{up} [mean|make] {KIN[kind]}, so {a} is {possessive(b)} {KIN[kind]}: {answer}"
    steps.append((CONCLUSION, say(rng, end)))
    return Problem("\n".join(lines), answer, steps)


def parent_of(child, parent):
    return f"parent {parent[child]}" if child in parent else "no parent"


def possessive(name):
    return f"{name}'" if name.endswith("s") else f"{name}'s"


def reason(rng, a, b, parent):
    """Climb from b to the top; then from a until somebody of b's line is met."""
    line_a, line_b = line_of(a, parent), line_of(b, parent)
    up_a, up_b = generations(a, b, parent)
    signals = [RECALL, REASONING, *[ADDITION] * len(parent)]
    steps = [
        (signals[up], f"{person} is {up} up from {b}, and {person} has {parent_of(person, parent)}")
        for up, person in enumerate(line_b)
    ]
    signals[0] = CONTRAST  # now from the other one
    for up, person in enumerate(line_a[: up_a + 1]):
        climb = f"{line_a[up - 1]} has parent {person}" if up else f"I [climb|go up] from {a}"
        place = f"{up_b} up from" if up == up_a else "not [above|an ancestor of]"
        text = f"{climb}, {up} up from {a}, and {person} is {place} {b}"
        steps.append((signals[up], say(rng, text)))
    return steps


# ---------------------------------------------------------------------------------- the checker
ASKED = re.compile(
    r"Given the family relationships:\n[^?]+\n"
    r"What is ([\w-]+)'s? relationship to ([\w-]+)\?"
)
FACT = re.compile(r"(?m)^\* ([\w-]+) has parent ([\w-]+)\.")
OPTION = re.compile(rf"(?m)^- ([a-z ]+): ({DIGITS})\.")


class Checker:
    """Given facts, climbed from either of the two or from whom they led to, until they prove it."""

    answers = DIGITS

    def __init__(self, a, b, parent, option):
        self.a, self.b = a, b  # what is A to B?
        self.parent = parent  # {child: parent}: the facts
        self.up = generations(a, b, parent)
        self.kin = KIN[self.up]
        self.option = option  # its number (str)
        up_a, up_b = self.up
        self.proof = {*line_of(a, parent)[:up_a], *line_of(b, parent)[:up_b]}  # of whose parents
        self.stated = set()  # whose parents the steps have stated, or that they have none
        self.met = {a, b}  # the two, and those above somebody in these facts
        self.left = set()  # from whom the steps have said that they climb
        self.unrelated = set()  # who has been said not to be above one of the two
        self.concluded = False
        name = any_of({a, b, *parent, *parent.values()})
        kin = any_of(KIN.values(), "i")
        self.claims = rf"""
            (?P<x>{name})\ is\ (?:  # Ann is Tom's parent
                (?:the\ )?(?P<y>{name})'s?\ (?P<kin>{kin})
              | (?:the|an?)\ (?P<kin2>{kin})\ of\ (?P<y2>{name}))
          | (?P<y3>{name})(?:'s?\ parent\ is|\ has\ parent)\ (?P<x3>{name})
          | (?:(?P<who>{name})\ is\ )?\b(?P<up>{DIGITS})\ (?:generations?\ )?  # 2 up from Tom
            (?:up\ from|above)\ (?P<line>{name})
          | (?P<who2>{name})\ (?:is|was)(?P<no>\ not|n't)?  # Ann is not above Tom
            \ (?:above|an\ ancestor\ of)\ (?P<line2>{name})
          | (?:\b(?P<up_a>{DIGITS})(?:\ up)?\ and\ (?P<up_b>{DIGITS})(?:\ up)?\ )?
            \b(?:make|mean|give)s?\ (?:an?\ )?(?P<kin3>{kin})  # 1 and 0 make child
          | \b(?:nobody|no\ one|nothing)  # nobody is given as Ann's parent
            (?:\ (?:is|was|given|named|listed|said|known|told|as|of|about|to|be))*
            \ (?P<top>{name})'s?\ parent\b
          | (?P<top2>{name})(?:'s?\ parent\ is\ not\ (?:given|known|named)
            |\ has\ no\ (?:given\ |known\ |listed\ )?parent)\b
          | \b(?:(?:climb(?:ing)?|up)\ )*from\ (?P<base>{name})  # going up from Tom
          | (?:\boption|:)\ (?P<option>{DIGITS})\b
        """

    def judge(self, claims):
        self.base = None  # from whom this step goes up, until a fact follows
        self.places = set()  # in lines, that this step has counted
        who = None  # whose place in a line is counted
        # A fact that earlier steps have stated can be the relation asked for.
        is_known = self.b in self.stated and self.parent.get(self.b) == self.a
        for claim in claims:
            x = claim["x"] or claim["x3"]
            y = claim["y"] or claim["y2"] or claim["y3"]
            kin = (claim["kin"] or claim["kin2"] or claim["kin3"] or "parent").lower()
            is_end = is_known and (x, y) == (self.a, self.b) and not claim["x3"]
            top = claim["top"] or claim["top2"]
            if x and kin == "parent" and not is_end:
                yield from self.judge_fact(claim, x, y)
            elif x or claim["kin3"]:
                yield from self.judge_kin(claim, (x or self.a, y or self.b, kin))
            elif top:
                yield from self.judge_fact(claim, None, top)
            elif claim["option"] and not (self.concluded and claim["option"] == self.option):
                yield f"no relation leads to {claim[0]}"
            elif claim["up"]:
                yield from self.judge_count(claim, claim["who"] or who)
            elif claim["who2"]:
                yield from self.judge_ancestor(claim)
            elif claim["base"]:
                yield from self.judge_turn(claim)
            who = claim["who"] or x or claim["base"] or who

    def judge_kin(self, claim, relation):
        """It has to be the relation asked for, and to follow from the facts in earlier steps."""
        up = int(claim["up_a"] or self.up[0]), int(claim["up_b"] or self.up[1])
        if relation != (self.a, self.b, self.kin) or up != self.up:
            yield f"says '{claim[0]}', but {self.a} is the {self.kin} of {self.b}"
        else:
            self.concluded = True
            if not self.proof <= self.stated:
                yield f"'{claim[0]}' needs more facts"

    def judge_turn(self, claim):
        """A climb starts once from each of the two, also where it is in the other's line."""
        self.base = claim["base"]
        other = self.b if self.base == self.a else self.a
        is_done = self.base in self.stated and self.base not in line_of(other, self.parent)
        if self.base not in (self.a, self.b) or self.base in self.left or is_done:
            yield f"'{claim[0]}' leads nowhere"
        self.left.add(self.base)

    def judge_count(self, claim, who):
        """The steps have to have stated all facts from the line's begin up to who."""
        line = line_of(claim["line"], self.parent)
        up = int(claim["up"])
        if claim["line"] not in (self.a, self.b) or line[up : up + 1] != [who]:
            yield f"'{claim[0]}' is false or does not matter"
        elif not self.stated.issuperset(line[:up]):
            yield f"'{claim[0]}' needs more facts"
        elif (who, line[0]) in self.places:
            yield f"'{claim[0]}' has been said"
        self.places.add((who, line[0]))

    def judge_ancestor(self, claim):
        """Who is not above one of the two: that needs a line up to the top, and is new."""
        who = claim["who2"]
        line = line_of(claim["line2"], self.parent)
        is_false = who in line if claim["no"] else who not in line[1:]
        needed = line if claim["no"] else line[: line.index(who)] if who in line else []
        if is_false or claim["line2"] not in (self.a, self.b) or who not in self.met:
            yield f"'{claim[0]}' is false or does not matter"
        elif not self.stated.issuperset(needed):
            yield f"'{claim[0]}' needs more facts"
        elif who in self.unrelated:
            yield f"'{claim[0]}' has been said"
        self.unrelated.add(who)

    def judge_fact(self, claim, above, child):
        """A fact has to be given, new, and about someone met, or about B. None is above a top."""
        is_given = self.parent.get(child) == above
        if not is_given:
            yield f"the question does not say '{claim[0]}'" if above else f"{child} has a parent"
        elif child in self.stated:
            yield f"'{claim[0]}' has been said"
        elif child not in self.met or above and self.base not in (None, child):
            yield f"nothing so far leads to {child}"
        if is_given:
            self.stated.add(child)
            self.met.add(above)
        if above:
            self.base = None

    def conclude(self):
        proven = self.concluded and self.proof <= self.stated
        return self.option, "" if proven else f"what {self.a} is to {self.b}"


def read_question(question):
    asked = ASKED.match(question)
    if not asked:
        return None
    a, b = asked.groups()
    facts = FACT.findall(question)
    parent = dict(facts)
    options = dict(OPTION.findall(question))
    kin = KIN.get(generations(a, b, parent))
    if kin not in options or len(parent) < len(facts):
        return None
    return Checker(a, b, parent, options[kin])


FAMILY = Family("family_relations", make, read_question, (2, 9), only_lengths=(2, 5, 9))
