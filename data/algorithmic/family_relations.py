"""family_relations: given who is whose parent, what is one person to another? (farel-bench)

One problem with the teacher's reasoning; of 2, 5 or 9 facts some lead nowhere:

    Given the family relationships:
    * Ada is Boris' parent.
    * Ada is Cora's parent.
    ...
    What is Boris' relationship to Cora?
    Select the correct answer:
    1. Boris is Cora's sibling.
    ...
    Answer with selected option number.

    RECALL      We are told that Ada is Boris' parent.
    CONTRAST    But nobody is given as Ada's parent, and Cora was not met.
    REASONING   Now going up from Cora, Ada is Cora's parent.
    CONCLUSION  So Boris is Cora's sibling, which is option 1.
    RESPONSE    The answer is 1.

The teacher climbs from the first person to the second; where that ends at the top, from the second
person to where the two lines meet.
"""

import itertools
import re

from data.algorithmic.common import DIGITS, NAMES, Family, Problem, any_of, say
from scaffold import ADDITION, CONCLUSION, CONTRAST, REASONING, RECALL

# By the number of facts: what A is to B, by the generations from A and from B to where they meet.
RELATIONS = {
    2: {(1, 0): "child", (0, 1): "parent"},
    5: {(2, 0): "grandchild", (0, 2): "grandparent", (1, 1): "sibling"},
    9: {
        (3, 0): "great grandchild",
        (0, 3): "great grandparent",
        (2, 1): "niece or nephew",
        (1, 2): "aunt or uncle",
    },
}


def make(rng, length):
    """A Problem of `length` facts (2, 5 or 9): a small tree, and two of its people."""
    relations = RELATIONS[length]
    pairs = {}
    while not pairs:
        people = rng.sample(NAMES, length + 1)
        parent = {people[i]: people[rng.randrange(max(0, i - 3), i)] for i in range(1, length + 1)}
        pairs = related_pairs(people, parent, relations)
    kind = rng.choice(sorted(set(pairs.values())))  # every relation as often as the trees allow
    a, b = rng.choice([pair for pair in pairs if pairs[pair] == kind])
    relation = relations[kind]
    options = rng.sample(sorted(relations.values()), len(relations))
    question = ["Given the family relationships:"]
    for child in rng.sample(sorted(parent), length):
        question.append(f"* {parent[child]} is {possessive(child)} parent.")
    question.append(f"What is {possessive(a)} relationship to {b}?")
    question.append("Select the correct answer:")
    for i, option in enumerate(options, 1):
        question.append(f"{i}. {a} is {possessive(b)} {option}.")
    tag = "Enclose the selected answer number in the <ANSWER> tag, for example: <ANSWER>1</ANSWER>."
    question.append(rng.choice((tag, "Answer with selected option number.")))

    answer = str(options.index(relation) + 1)
    steps = reason(rng, a, b, parent)
    template = "{a} is {b} {relation}, [which is|that is|so] option {o}"
    body = say(rng, template, a=a, b=possessive(b), relation=relation, o=answer)
    steps.append((CONCLUSION, body))
    return Problem("\n".join(question), answer, steps)


def possessive(name):
    return f"{name}'" if name.endswith("s") else f"{name}'s"


def line_of(person, parent):
    """[person, parent, grandparent, ...] up to the one at the top."""
    line = [person]
    while line[-1] in parent:
        line.append(parent[line[-1]])
    return line


def related_pairs(people, parent, relations):
    """{(a, b): key of their relation} of all pairs that are so related."""
    pairs = {}
    for a, b in itertools.permutations(people, 2):
        line_a, line_b = line_of(a, parent), line_of(b, parent)
        meet = next(person for person in line_a if person in line_b)
        generations = line_a.index(meet), line_b.index(meet)
        if generations in relations:
            pairs[a, b] = generations
    return pairs


def reason(rng, a, b, parent):
    """The teacher's steps up to the conclusion."""
    line_a, line_b = line_of(a, parent), line_of(b, parent)
    if b in line_a:
        return climb(line_a[: line_a.index(b) + 1], RECALL)
    template = (
        "[nobody is given as|no one is named as|nothing is said of] {top} parent, "
        "and {b} [was not met|is not among them]"
    )
    turn = say(rng, template, top=possessive(line_a[-1]), b=b)
    meet = next(i for i, person in enumerate(line_b) if person in line_a)
    up_from_b = climb(line_b[: meet + 1], REASONING, f"going up from {b}, ")
    return [*climb(line_a, RECALL), (CONTRAST, turn), *up_from_b]


def climb(line, first_signal, opening=""):
    """A step for every fact on the way up a line."""
    steps = []
    for child, above in itertools.pairwise(line):
        fact = f"{above} is {possessive(child)} parent"
        steps.append((ADDITION, fact) if steps else (first_signal, opening + fact))
    return steps


# ------------------------------------------------------------------------------------- the checker
KIN = {  # by the generations from A and from B up to where they meet
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
FACT = re.compile(r"(?m)^\* ([\w-]+) is ([\w-]+)'s? parent\.")
ASKED = re.compile(
    r"""Given\ the\ family\ relationships:[^?]+\n
    What\ is\ ([\w-]+)'s?\ relationship\ to\ ([\w-]+)\?""",
    re.VERBOSE,
)
OPTION = re.compile(rf"(?m)^({DIGITS})\. [\w-]+ is [\w-]+'s? ([a-z ]+)\.")


def read_question(question):
    """The Checker of a question of this family; None for any other question."""
    match = ASKED.match(question)
    if not match:
        return None
    facts = FACT.findall(question)
    parent = {child: above for above, child in facts}
    options = {relation: digits for digits, relation in OPTION.findall(question)}
    up, down = ancestors(match[1], parent), ancestors(match[2], parent)
    meet = next((person for person in up if person in down), None)
    if meet is None or len(parent) < len(facts):
        return None
    kin = KIN.get((up.index(meet), down.index(meet)))
    if kin not in options:
        return None
    children = up[: up.index(meet)] + down[: down.index(meet)]
    proof = {(parent[child], child) for child in children}
    return Checker(facts, match.groups(), kin, options[kin], proof)


def ancestors(person, parent):
    """The person, the parent, the grandparent, ...; a circle ends before it repeats."""
    line = [person]
    while parent.get(line[-1], person) not in line:
        line.append(parent[line[-1]])
    return line


class Checker:
    """Given facts, climbed from one of the two or from whom they led to, until they prove it."""

    answers = DIGITS

    def __init__(self, facts, asked, kin, option, proof):
        self.facts = set(facts)  # of (parent, child)
        self.has_parent = {child for _, child in facts}
        self.a, self.b = asked
        self.kin = kin  # what A is to B
        self.option = option  # its number
        self.proof = proof  # the facts that it follows from
        self.stated = set()  # facts that the steps have given so far
        self.closed = set()  # people of whom the steps said that they have no parent
        self.concluded = False

        name = any_of({person for fact in facts for person in fact} | set(asked))
        kin = any_of(KIN.values(), "i")
        self.claims = rf"""
            (?P<x>{name})\ is\ (?:
                (?:the\ )?(?P<y>{name})'s?\ (?P<kin>{kin})                 # Ann is Tom's parent
                | (?:the|an?)\ (?P<kin2>{kin})\ of\ (?P<y2>{name}))        # Ann is a parent of Tom
            | (?P<y3>{name})'s?\ parent\ is\ (?P<x3>{name})                # Tom's parent is Ann
            | \b(?:nobody|no\ one|nothing)                                 # nobody is Ann's parent
              (?:\ (?:is|was|given|named|listed|said|known|told|as|of|about|to|be))*
              \ (?P<top>{name})'s?\ parent\b
            | (?P<top2>{name})\ has\ no\ (?:given\ |known\ |listed\ )?parent\b
            | (?P<unmet>{name})\ (?:was|is|has)(?:\ not|n't)(?:\ been)?    # Eve was not met
              \ (?:met|among\ (?:them|these)|seen|reached)\b
            | \b(?:up\ )?from\ (?P<base>{name})                            # going up from Eve
            | \boption\ (?P<option>{DIGITS})\b
        """

    def judge(self, claims):
        """Yields what is wrong with the claims of one step."""
        self.base = None  # whom this step goes up from and has said nothing about yet
        known = set(self.stated)
        for claim in claims:
            x = claim["x"] or claim["x3"]
            y = claim["y"] or claim["y2"] or claim["y3"]
            kin = (claim["kin"] or claim["kin2"] or "parent").lower()
            repeats_fact = (x, y) == (self.a, self.b) and (x, y) in known  # as the conclusion
            if x and kin == "parent" and not repeats_fact:
                yield from self.judge_fact(claim, (x, y))
            elif x:
                yield from self.judge_relation(claim, (x, y, kin))
            elif claim["top"] or claim["top2"]:
                yield from self.judge_top(claim, claim["top"] or claim["top2"])
            elif claim["option"] and not self.concluded:
                yield f"no relation leads to {claim[0]}"
            elif claim["option"] and claim["option"] != self.option:
                yield f"says {claim[0]}, but {self.kin} is {self.option}"
            elif claim["unmet"] and (claim["unmet"] != self.b or self.b in self.met()):
                yield f"'{claim[0]}' does not matter or is false"
            self.base = claim["base"] or self.base
        if self.base:
            yield f"says nothing of {self.base}"

    def met(self):
        """The people that the steps have come to from A."""
        return {self.a} | {above for above, _ in self.stated}

    def judge_fact(self, claim, fact):
        _, child = fact
        if fact not in self.facts:
            yield f"the question does not say '{claim[0]}'"
        elif fact in self.stated:
            yield f"'{claim[0]}' has been said"
        if child not in self.met() | {self.b} or self.base not in (None, child):
            yield f"nothing so far leads to {child}"
        self.stated |= {fact} & self.facts
        self.base = None

    def judge_relation(self, claim, relation):
        if relation != (self.a, self.b, self.kin):
            yield f"says '{claim[0]}', but {self.a} is the {self.kin} of {self.b}"
            return
        self.concluded = True
        if not self.proof <= self.stated:
            yield f"'{claim[0]}' needs more facts"

    def judge_top(self, claim, top):
        if top in self.has_parent:
            yield f"{top} has a parent"
        elif top in self.closed:
            yield f"'{claim[0]}' has been said"
        elif top not in self.met() | {self.b}:
            yield f"nothing so far leads to {top}"
        self.closed.add(top)

    def conclude(self):
        """(the true answer, what is left out for it)"""
        proven = self.concluded and self.proof <= self.stated
        return self.option, "" if proven else f"what {self.a} is to {self.b}"


FAMILY = Family("family_relations", make, read_question, lengths=(2, 9), only_lengths=(2, 5, 9))
