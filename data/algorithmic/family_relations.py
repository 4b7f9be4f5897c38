"""Family relations (after farel-bench): given parents, what is one person to another?

Hard: a climb that ends at the top starts again from the other person. Who is above somebody, and
the number of an option, are looked up: each stands within three tokens of the one word that names
it in the question, the reach of the student's short convolution. With two facts (or 5, or 9):

    Given the family relationships:
    * Edith has parent Hana.
    * Greta has no parent.
    * Hana has parent Greta.
    Options:
    - parent: 1.
    - child: 2.
    What is Greta's relationship to Hana?
        RECALL      I know that I climb from Greta and look for Hana.
        CONTRAST    But Greta has no parent, and Hana was not met, so I climb from Hana.
        REASONING   Let me see: Hana has parent Greta, 1 up from Hana.
        CONCLUSION  Then Greta is 1 up from Hana.
        CONCLUSION  So Greta is Hana's parent, option 1.
        RESPONSE    That makes the answer 1.
"""

import re
from itertools import pairwise, permutations

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
        parent = {people[i]: people[rng.randrange(max(0, i - 3), i)] for i in range(1, n + 1)}
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
    end = f"{a} is {possessive(b)} {KIN[kind]}, option {answer}"
    steps.append((CONCLUSION, say(rng, end)))
    return Problem("\n".join(lines), answer, steps)


def parent_of(child, parent):
    return f"parent {parent[child]}" if child in parent else "no parent"


def possessive(name):
    return f"{name}'" if name.endswith("s") else f"{name}'s"


def reason(rng, a, b, parent):
    """Climb from a to b; where b does not come, turn at the top and climb from b."""
    line_a, line_b = line_of(a, parent), line_of(b, parent)
    up_a, up_b = generations(a, b, parent)
    steps = [(RECALL, say(rng, f"I [climb|go up] from {a} and [look for|want to meet] {b}"))]
    if up_b == 0:
        steps += climb(line_a[: up_a + 1])
    else:
        unmet = f"{line_a[-1]} has no parent, and {b} [was not met|is not among them]"
        turn = say(rng, f"{unmet}, so I [climb|go up] from {b}")
        steps += [*climb(line_a), (CONTRAST, turn), *climb(line_b[: up_b + 1])]
    places = [f"{up} up from {person}" for up, person in ((up_a, a), (up_b, b)) if up]
    return [*steps, (CONCLUSION, f"{line_a[up_a]} is {' and '.join(places)}")]


def climb(line):
    """A step for each fact on the way up a line, which counts the generations."""
    signals = [REASONING, *[ADDITION] * len(line)]
    return [
        (signals[up - 1], f"{child} has parent {above}, {up} up from {line[0]}")
        for up, (child, above) in enumerate(pairwise(line), 1)
    ]


# ---------------------------------------------------------------------------------- the checker
ASKED = re.compile(
    r"Given the family relationships:\n[^?]+\n"
    r"What is ([\w-]+)'s? relationship to ([\w-]+)\?"
)
FACT = re.compile(r"(?m)^\* ([\w-]+) has parent ([\w-]+)\.")
OPTION = re.compile(rf"(?m)^- ([a-z ]+): ({DIGITS})\.")


class Checker:
    """Given facts, climbed from one of the two or from whom they led to, until they prove it."""

    answers = DIGITS

    def __init__(self, a, b, parent, kin, option, proof):
        self.a, self.b = a, b  # what is A to B?
        self.parent = parent  # {child: parent}: the facts
        self.kin = kin  # the true relation
        self.option = option  # its number (str)
        self.proof = proof  # the children of the facts that it follows from
        self.stated = set()  # the children of the facts that the steps have stated
        self.met = {a}  # A, and those above somebody in these facts
        self.concluded = False
        name = any_of({a, b, *parent, *parent.values()})
        kin = any_of(KIN.values(), "i")
        self.claims = rf"""
            (?P<x>{name})\ is\ (?:  # Ann is Tom's parent
                (?:the\ )?(?P<y>{name})'s?\ (?P<kin>{kin})
              | (?:the|an?)\ (?P<kin2>{kin})\ of\ (?P<y2>{name}))
          | (?P<y3>{name})(?:'s?\ parent\ is|\ has\ parent)\ (?P<x3>{name})
          | (?:(?P<who>{name})\ is\ )?\b(?P<up>{DIGITS})\ (?:generations?\ )?up  # 2 up from Ann
            \ from\ (?P<line>{name})
          | \b(?:look(?:ing)?\ for|want\ to\ meet)\ (?P<goal>{name})
          | \b(?:nobody|no\ one|nothing)  # nobody is given as Ann's parent
            (?:\ (?:is|was|given|named|listed|said|known|told|as|of|about|to|be))*
            \ (?P<top>{name})'s?\ parent\b
          | (?P<top2>{name})(?:'s?\ parent\ is\ not\ (?:given|known|named)
            |\ has\ no\ (?:given\ |known\ |listed\ )?parent)\b
          | (?P<unmet>{name})\ (?:was|is|has)(?:\ not|n't)(?:\ been)?  # Tom was not met
            \ (?:met|among\ (?:them|these)|seen|reached)\b
          | \b(?:(?:up|climb(?:ing)?)\ )?from\ (?P<base>{name})  # going up from Tom
          | \boption\ (?P<option>{DIGITS})\b
        """

    def judge(self, claims):
        self.base = None  # from whom this step goes up, until a fact follows
        who = None  # whose place in a line is counted
        # A fact that earlier steps have stated can be the relation asked for.
        is_known = self.b in self.stated and self.parent.get(self.b) == self.a
        for claim in claims:
            x = claim["x"] or claim["x3"]
            y = claim["y"] or claim["y2"] or claim["y3"]
            kin = (claim["kin"] or claim["kin2"] or "parent").lower()
            top = claim["top"] or claim["top2"]
            is_end = is_known and (x, y) == (self.a, self.b) and not claim["x3"]
            if x and kin == "parent" and not is_end:
                yield from self.judge_fact(claim, x, y)
            elif x and (x, y, kin) != (self.a, self.b, self.kin):
                yield f"says '{claim[0]}', but {self.a} is the {self.kin} of {self.b}"
            elif x:
                self.concluded = True
                if not self.proof <= self.stated:
                    yield f"'{claim[0]}' needs more facts"
            elif top:
                yield from self.judge_fact(claim, None, top)
            elif claim["option"] and not self.concluded:
                yield f"no relation leads to {claim[0]}"
            elif claim["option"] and claim["option"] != self.option:
                yield f"says {claim[0]}, but {self.kin} is {self.option}"
            elif claim["unmet"] and (claim["unmet"] != self.b or self.b in self.met):
                yield f"'{claim[0]}' does not matter or is false"
            elif claim["up"]:
                yield from self.judge_count(claim, claim["who"] or who)
            elif claim["base"] or claim["goal"]:
                yield from self.judge_plan(claim)
            who = claim["who"] or x or who

    def judge_plan(self, claim):
        """A climb starts from one of the two who has not been left yet, to meet the other."""
        self.base = claim["base"] or self.base
        if claim["base"] and (
            claim["base"] not in (self.a, self.b) or claim["base"] in self.stated
        ):
            yield f"'{claim[0]}' leads nowhere"
        elif claim["goal"] and {claim["goal"], self.base or self.a} != {self.a, self.b}:
            yield f"'{claim[0]}': the question asks for {self.a} and {self.b}"

    def judge_count(self, claim, who):
        """The steps have to have stated all facts from the line's begin up to who."""
        line = line_of(claim["line"], self.parent)
        up = int(claim["up"])
        if claim["line"] not in (self.a, self.b) or line[up : up + 1] != [who]:
            yield f"'{claim[0]}' is false or does not matter"
        elif not self.stated.issuperset(line[:up]):
            yield f"'{claim[0]}' needs more facts"

    def judge_fact(self, claim, above, child):
        """A fact has to be given, new, and about someone met, or about B. None is above a top."""
        is_given = self.parent.get(child) == above
        if not is_given:
            yield f"the question does not say '{claim[0]}'" if above else f"{child} has a parent"
        elif child in self.stated:
            yield f"'{claim[0]}' has been said"
        elif child not in self.met | {self.b} or above and self.base not in (None, child):
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
    up = generations(a, b, parent)
    kin = KIN.get(up)
    if kin not in options or len(parent) < len(facts):
        return None
    proof = {*line_of(a, parent)[: up[0]], *line_of(b, parent)[: up[1]]}
    return Checker(a, b, parent, kin, options[kin], proof)


FAMILY = Family("family_relations", make, read_question, (2, 9), only_lengths=(2, 5, 9))
