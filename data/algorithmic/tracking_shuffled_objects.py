"""Tracking shuffled objects (BBH): people swap what they hold; what has one of them in the end?

Hard: all swaps matter. One who goes back from the end has to keep but one name in mind: of the
person who has, before each swap, what is asked for. An example of three people (or 5, or 7):

    Alice, Bob, and Claire are dancers at a square dance. At the start of a song, they each have a
    partner: Alice is dancing with Patrick, Bob is dancing with Lola, and Claire is dancing with
    Jamie. Throughout the song, the dancers often trade partners. First, Claire and Alice switch
    partners. Then, Bob and Claire switch partners. Finally, Alice and Bob switch partners. At the
    end of the dance, Claire is dancing with
    Options:
    (A) Patrick
    (B) Lola
    (C) Jamie
        RECALL      In swap 1 Claire and Alice trade, in 2 Bob and Claire, and in 3 Alice and Bob.
        RECALL      I recall that we want what Claire has in the end.
        REASONING   Now Claire has it; in swap 3 Alice and Bob trade, so Claire had it before.
        ADDITION    Also, Claire has it; in swap 2 Bob and Claire trade, so Bob had it before.
        CONTRAST    But Bob has it; in swap 1 Claire and Alice trade, so Bob had it before.
        CONCLUSION  So Bob has (B) at the start.
        RESPONSE    That makes the answer (B).
"""

import re

from data.algorithmic.common import (
    COUNT,
    WORDS,
    Family,
    Problem,
    advance,
    any_of,
    listing,
    number,
    say,
)
from scaffold import ADDITION, CONCLUSION, CONTRAST, REASONING, RECALL

LETTERS = "ABCDEFG"


# ---------------------------------------------------------------------------------- the teacher
def make(rng, n):
    """A problem of n people and n swaps."""
    story = rng.choice(WORDS["shuffles"])
    people = WORDS["shufflers"][:n]
    things = rng.sample(WORDS[story["things"]], n)
    pairs = []
    while len(pairs) < n:
        pair = rng.sample(people, 2)
        if not pairs or set(pair) != set(pairs[-1]):  # never the same two twice in a row (BBH)
            pairs.append(pair)
    asked = rng.choice(people)

    swaps = [f"in {i} {a} and {b}" for i, (a, b) in enumerate(pairs, 1)]
    swaps[0] = say(rng, f"in swap 1 {' and '.join(pairs[0])} [trade|switch]")
    goal = say(rng, f"[we want|we look for] what {asked} has in the end")
    steps = [(RECALL, listing(swaps)), (RECALL, goal)]
    owner = asked  # who has, after the swap in hand, what is asked for
    signal = REASONING
    for i in range(n, 0, -1):
        a, b = pairs[i - 1]
        previous = {a: b, b: a}.get(owner, owner)
        swap = f"in swap {i} {a} and {b} [trade|switch]"
        before = f"{previous} had it [before|before that]"
        steps.append((signal, say(rng, f"{owner} [has|holds] it; {swap}, so {before}")))
        # A signal must not tell whether its swap matters: the student has to find out. So it tells
        # whether the owner is another one than in the step before.
        signal = ADDITION if previous == owner else CONTRAST
        owner = previous

    answer = f"({LETTERS[people.index(owner)]})"
    start = "[at the start|in the beginning]"
    steps.append((CONCLUSION, say(rng, f"{owner} [has|holds] {answer} {start}")))
    orders = ["First", *["Then"] * (n - 2), "Finally"]
    told = [
        f"{order}, {a} and {b} {story['swap']}."
        for order, (a, b) in zip(orders, pairs, strict=True)
    ]
    held = [
        f"{person} {story['holds']} {thing}" for person, thing in zip(people, things, strict=True)
    ]
    options = [f"({letter}) {thing}" for letter, thing in zip(LETTERS, things, strict=False)]
    opening = story["opening"].format(people=listing(people), held=listing(held))
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
HAS = r"(?:has|have|holds?|keeps?|gets|owns|is\ (?:now\ )?(?:playing|dancing\ with|holding))"
HAD = r"(?:had|held|kept|owned|must\ have\ had|used\ to\ have)"
TIME = r"(?:\ (?:now|then|still|already|also|too|first))*"


class Checker:
    """From the last swap back to the first, each with who had before it what is asked for."""

    answers = r"\(?[A-Z]\b\)?"

    def __init__(self, start, pairs, asked, letters, goods):
        self.start = {person: thing.lower() for person, thing in start.items()}
        self.things = {letter: thing.lower() for thing, letter in letters.items()}
        self.pairs = [set(pair) for pair in reversed(pairs)]
        self.owners = [asked]  # owners[i]: who has it before the last i swaps
        for a, b in reversed(pairs):
            self.owners.append({a: b, b: a}.get(self.owners[-1], self.owners[-1]))
        self.thing = self.start[self.owners[-1]]  # what is asked for
        self.letter = letters[start[self.owners[-1]]]  # of the right option
        self.done = 0  # so many swaps have been undone
        self.concluded = False  # a step has said, after all of them, what it is
        name = any_of(start)
        thing = any_of(letters, "i")
        swap = r"(?:swap|switch|trade|exchange)(?:e?s|d|ed|ped)?\b"
        goods = rf"(?:(?:\ their)?\ {goods})?"
        begin = r"\ ?\b(?:at|in|from)\ the\ (?:start|beginning)"
        later = r"\ it\ (?:afterwards|later|after(?:\ (?:it|that))?[.,;])"
        before = r"(?:\ (?:before|earlier)(?:\ (?:it|that|this|then))?\b)"
        self.claims = rf"""
            (?P<a>{name})\ (?:and\ (?P<b>{name})(?:\ {swap}|(?!\ {HAS}|\ {HAD}))  # Ann and Bob swap
              |{swap}{goods}\ with\ (?P<b2>{name})){goods}
          | (?:\b(?P<when>before|after)\ )?(?:\bthe\ )?  # the third swap, in swap 3, 3:
            (?:(?P<nth>{"|".join(ORDINALS)}|last)\ {swap}|(?:\b{swap}\ )?(?P<i>{COUNT}))
          | \b(?:want(?:ed)?\ (?:to\ know\ )?)?what\ (?P<goal>{name})\ (?:{HAS}|ends\ with)
            (?!{begin}|\ before)
          | (?:(?P<who>{name}){TIME}\ (?:(?P<had>{HAD})(?!{later})|{HAS})\ it\b  # Bob had it before
            |\bit\ (?:is|stays|(?P<was>was|came))\ (?:with|from)\ (?P<who2>{name}))
            {TIME}(?P<before>{before})?
          | (?P<owner>{name}|\bit\ is)(?P<last>\ finally|\ ends?(?:\ up)?)?  # Bob has the red ball
            (?:\ with|:|{TIME}\ (?:{HAS}|{HAD}))?(?:\ an?|\ the)?
            \ (?:(?:option\ )?\((?P<option>[A-Z])\)(?:\ (?P<thing>{thing}))?|(?P<thing2>{thing}))
          | (?P<end>\b(?:in|at)\ the\ end(?:\ of\ the\ \w+)?\b)
          | (?P<begin>{begin}(?:\ of\ the\ \w+)?\b)
          | (?:\boption\ )?\((?P<letter>[A-Z])\)|\boption\ (?P<letter2>[A-Z])\b  # (C)
          | \bbefore\ (?:it|that|this)\b
        """

    def judge(self, claims):
        claims = list(claims)
        self.before = self.done  # what the steps before this one have undone
        self.listed = 0  # the number of the swap that was named last
        self.settled = False  # whether the step has said who had it before the swap
        tracks = any(claim["who"] or claim["who2"] for claim in claims)
        ends = any(claim["end"] or claim["last"] for claim in claims)
        begins = any(claim["begin"] for claim in claims)
        for claim in claims:
            if claim["a"]:
                pair = {claim["a"], claim["b"] or claim["b2"]}
                yield from self.judge_swap(pair) if tracks else self.judge_list(pair)
            elif claim["i"] or claim["nth"]:
                yield from self.judge_number(claim, tracks)
            elif claim["who"] or claim["who2"]:
                yield from self.judge_owner(claim, ends)
            elif claim["owner"] or claim["letter"] or claim["letter2"]:
                yield from self.judge_thing(claim, ends, begins)
            else:
                yield from self.judge_frame(claim, tracks)
        if self.done > self.before and not self.settled:
            yield "does not say who had it before"

    def judge_frame(self, claim, tracks):
        """What the question asks for, and words for its start and its end."""
        if claim["goal"] and claim["goal"] != self.owners[0]:
            yield f"the question asks what {self.owners[0]} has"
        elif claim["end"] and self.done not in (0, len(self.pairs)):
            yield "this is not the end"
        elif claim["begin"] and self.done < len(self.pairs) and (tracks or self.done):
            yield "this is not the start"

    def judge_number(self, claim, tracks):
        """The number of a swap has to be that of the next one to undo, unless it is in a list."""
        if claim["i"]:
            i = number(claim["i"])
        else:
            nth = claim["nth"].lower()
            i = len(self.pairs) if nth == "last" else ORDINALS.index(nth) + 1
        is_out_of_order = self.listed and i != self.listed + 1
        self.listed = i - 1
        if not 0 < i <= len(self.pairs) or not tracks and is_out_of_order:
            yield f"'{claim[0]}' is not the swap to name next"
        elif tracks and i != len(self.pairs) - self.before:
            yield f"'{claim[0]}' is not the swap to undo next"
        elif tracks and claim["when"] and claim["when"].lower() == "before":
            self.done = self.before + 1

    def judge_list(self, pair):
        """A list names the swaps by their numbers, or all of them in their order."""
        self.listed += 1
        in_order = self.pairs[::-1]
        if in_order[self.listed - 1 : self.listed] != [pair]:
            yield f"swap {self.listed} is not that of {' and '.join(sorted(pair))}"

    def judge_swap(self, pair):
        """The two have to be those of the next swap to undo."""
        if self.done > self.before:
            if pair != self.pairs[self.before]:
                yield "undoes two swaps"
            return
        self.done, reason = advance(self.pairs, self.done, pair)
        self.before = max(self.before, self.done - 1)
        if reason:
            yield f"the swap of {' and '.join(sorted(pair))} is not the one to undo next"

    def judge_owner(self, claim, ends):
        """Who has it: after the swap that the step undoes, or in the past, before it."""
        who = claim["who"] or claim["who2"]
        in_past = claim["had"] or claim["was"] or claim["before"]
        right = self.owners[self.done]
        if self.done > self.before:
            after = self.owners[self.before]
            self.settled = self.settled or bool(in_past) or after == right
            right = right if in_past else after
        elif claim["before"]:
            yield "does not say before which swap"
        elif ends:
            right = self.owners[0]
        if who != right:
            yield f"says '{claim[0]}', but {right} has it then"

    def judge_thing(self, claim, ends, begins):
        """What somebody has at the start, or the one who is asked about in the end."""
        letter = (claim["option"] or claim["letter"] or claim["letter2"] or "").upper()
        thing = (claim["thing"] or claim["thing2"] or self.things.get(letter, "")).lower()
        owner = claim["owner"] or "it is"
        is_over = self.done == self.before == len(self.pairs)
        right = thing == self.start.get(owner) and not ends
        if is_over and (owner.lower() == "it is" or owner == self.owners[0] and not begins):
            right = right or thing == self.thing
        if self.done and not is_over:
            yield "stops before the first swap"
        elif not right or letter and self.things.get(letter) != thing:
            yield f"says '{claim[0]}' wrongly"
        self.concluded = self.concluded or is_over and right and thing == self.thing

    def conclude(self):
        return self.letter, "" if self.concluded else f"what {self.owners[-1]} has at the start"


def read_question(question):
    m = QUESTION.fullmatch(question)
    if not m:
        return None
    start = dict(re.findall(HOLDS, m["start"]))
    pairs = re.findall(SWAP, m["swaps"])
    letters = {
        thing.strip(): letter for letter, thing in re.findall(r"\((\w)\) (.+)", m["options"])
    }
    holders_known = {m["asked"]}.union(*pairs) <= set(start)
    if not pairs or not holders_known or not set(start.values()) <= set(letters):
        return None
    goods = re.findall(r"\w+", m["swaps"])[-1]  # what they swap
    return Checker(start, pairs, m["asked"], letters, goods)


FAMILY = Family("tracking_shuffled_objects", make, read_question, (3, 7), only_lengths=(3, 5, 7))
