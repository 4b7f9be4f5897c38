"""Family relations (farel-bench): given who is whose parent, what is one person to another?

Hard: a climb that ends at the top starts again from the other person. With two facts (or 5, or 9):

    Given the family relationships:
    * Hana is Edith's parent.
    * Greta is Hana's parent.
    What is Greta's relationship to Hana?
    Select the correct answer:
    1. Greta is Hana's parent.
    2. Greta is Hana's child.
    Answer with selected option number.
        CONTRAST    Nobody is given as Greta's parent, and Hana is not among them.
        REASONING   Going up from Hana, Greta is Hana's parent.
        CONCLUSION  So Greta is Hana's parent, so option 1.
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

    children = rng.sample(sorted(parent), n)
    tag = "Enclose the selected answer number in the <ANSWER> tag, for example: <ANSWER>1</ANSWER>."
    lines = [
        "Given the family relationships:",
        *[f"* {parent[child]} is {possessive(child)} parent." for child in children],
        f"What is {possessive(a)} relationship to {b}?",
        "Select the correct answer:",
        *[f"{i}. {a} is {possessive(b)} {option}." for i, option in enumerate(options, 1)],
        rng.choice((tag, "Answer with selected option number.")),
    ]
    steps = reason(rng, a, b, parent)
    end = f"{a} is {possessive(b)} {KIN[kind]}, [which is|that is|so] option {answer}"
    steps.append((CONCLUSION, say(rng, end)))
    return Problem("\n".join(lines), answer, steps)


def possessive(name):
    return f"{name}'" if name.endswith("s") else f"{name}'s"


def reason(rng, a, b, parent):
    """Climb from a to b; where b does not come, turn at the top and climb from b."""
    line_a, line_b = line_of(a, parent), line_of(b, parent)
    up_a, up_b = generations(a, b, parent)
    if up_b == 0:
        return climb(line_a[: up_a + 1], RECALL)
    nobody = "[nobody is given as|no one is named as|nothing is said of]"
    unmet = f"{b} [was not met|is not among them]"
    turn = say(rng, f"{nobody} {possessive(line_a[-1])} parent, and {unmet}")
    from_b = climb(line_b[: up_b + 1], REASONING, f"going up from {b}, ")
    return [*climb(line_a, RECALL), (CONTRAST, turn), *from_b]


def climb(line, signal, opening=""):
    """A step for each fact on the way up a line."""
    steps = []
    for child, above in pairwise(line):
        steps.append((signal, f"{opening}{above} is {possessive(child)} parent"))
        signal, opening = ADDITION, ""
    return steps


# ---------------------------------------------------------------------------------- the checker
ASKED = re.compile(
    r"Given the family relationships:[^?]+\n"
    r"What is ([\w-]+)'s? relationship to ([\w-]+)\?"
)
FACT = re.compile(r"(?m)^\* ([\w-]+) is ([\w-]+)'s? parent\.")
OPTION = re.compile(rf"(?m)^({DIGITS})\. [\w-]+ is [\w-]+'s? ([a-z ]+)\.")


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
          | (?P<y3>{name})'s?\ parent\ is\ (?P<x3>{name})
          | \b(?:nobody|no\ one|nothing)  # nobody is given as Ann's parent
            (?:\ (?:is|was|given|named|listed|said|known|told|as|of|about|to|be))*
            \ (?P<top>{name})'s?\ parent\b
          | (?P<top2>{name})\ has\ no\ (?:given\ |known\ |listed\ )?parent\b
          | (?P<unmet>{name})\ (?:was|is|has)(?:\ not|n't)(?:\ been)?  # Tom was not met
            \ (?:met|among\ (?:them|these)|seen|reached)\b
          | \b(?:up\ )?from\ (?P<base>{name})  # going up from Tom
          | \boption\ (?P<option>{DIGITS})\b
        """

    def judge(self, claims):
        self.base = None  # from whom this step goes up, until a fact follows
        # A fact that earlier steps have stated can be the relation asked for.
        is_known = self.b in self.stated and self.parent.get(self.b) == self.a
        for claim in claims:
            x = claim["x"] or claim["x3"]
            y = claim["y"] or claim["y2"] or claim["y3"]
            kin = (claim["kin"] or claim["kin2"] or "parent").lower()
            top = claim["top"] or claim["top2"]
            if x and kin == "parent" and not (is_known and (x, y) == (self.a, self.b)):
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
            self.base = claim["base"] or self.base
        if self.base:
            yield f"says nothing of {self.base}"

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
    parent = {child: above for above, child in facts}
    options = {relation: digits for digits, relation in OPTION.findall(question)}
    up = generations(a, b, parent)
    kin = KIN.get(up)
    if kin not in options or len(parent) < len(facts):
        return None
    proof = {*line_of(a, parent)[: up[0]], *line_of(b, parent)[: up[1]]}
    return Checker(a, b, parent, kin, options[kin], proof)


FAMILY = Family("family_relations", make, read_question, (2, 9), only_lengths=(2, 5, 9))
