"""Object counting (BBH): how many of the things listed are of one category?

Hard: some are of another. What a thing is and whether it counts are two steps: the turn depends on
the words just written, and its signal can be predicted in one look. An example of three things:

    I have a grape, a deer, and a dog. How many animals do I have?
        RECALL      We have to count the animals.
        EXAMPLES    So, the grape is a fruit.
        CONTRAST    Now this is not asked for, so the total stays 0.
        ADDITION    From there, the deer is an animal.
        REASONING   Okay, that makes 0 + 1 = 1.
        ADDITION    From there, the dog is an animal.
        REASONING   Then that makes 1 + 1 = 2.
        CONCLUSION  In summary, I have 2 animals in total.
        RESPONSE    Final answer: 2.

A fork: two items after the last sum, and while items are left, the teacher goes on or sums up:

        CONCLUSION  So there are 2 animals so far.
"""

import json
import re
from pathlib import Path

from data.algorithmic.common import (
    COUNT,
    ITEMS,
    Family,
    Problem,
    advance,
    any_of,
    listing,
    number,
    say,
    tidy,
)
from scaffold import ADDITION, CONCLUSION, CONTRAST, EXAMPLES, REASONING, RECALL

# ---------------------------------------------------------------------------------- the teacher
NUMBER_WORDS = "one two three four five".split()
SUM_UP = 0.5  # at a fork: the share of interim sums


def make(rng, n, forks=None):
    """A problem of n kinds of thing, of which up to three are not of the category asked for."""
    asked = rng.choice(list(ITEMS))
    items = draw_items(rng, asked, n)
    steps = [(RECALL, say(rng, f"[I have to|I need to|we have to] count the {asked}"))]
    phrases = []  # "a grape", "two onions"
    open_signals = {}
    total = 0
    summed_up = 0  # so many items had been counted at the last interim sum
    for (one, many), category in items:
        k = rng.choice((1, 1, 1, 2, 3)) if rng.random() < 0.8 else rng.randint(1, 5)
        if k == 1:
            phrases.append(with_article(one))
            body = f"the {one} is {with_article(category[:-1])}"
        else:
            phrases.append(f"{NUMBER_WORDS[k - 1]} {many}")
            body = f"the {phrases[-1]} are {category}"
        steps.append((ADDITION if len(steps) > 1 else EXAMPLES, body))
        if category == asked:
            body = f"[that makes|we have|the count is] {total} + {k} = {total + k}"
            steps.append((REASONING, say(rng, body)))
            total += k
        else:
            body = "[that does not count|this is not asked for], so "
            body += f"[it stays|the count is still|the total stays] {total}"
            steps.append((CONTRAST, say(rng, body)))
        done = len(phrases)
        if forks and total and done >= summed_up + 2 and done < n:
            open_signals[len(steps)] = {ADDITION, CONCLUSION}
            if forks.random() < SUM_UP:
                body = f"[there are|I have|that makes] {total} {asked} [so far|up to here|by now]"
                steps.append((CONCLUSION, say(forks, body)))
                summed_up = done
    summary = f"[there are|I have|that makes] {total} {asked} [in all|altogether|in total]"
    steps.append((CONCLUSION, say(rng, summary)))
    question = f"I have {listing(phrases)}. How many {asked} do I have?"
    return Problem(question, str(total), steps, open_signals)


def draw_items(rng, asked, n):
    """[((singular, plural), category), ...]; where objects are asked for, of nothing else."""
    n_others = 0 if asked == "objects" else rng.choice((0, 1, 1, 2, 3))
    n_others = min(n_others, (n - 1) // 2)
    others = [(item, kind) for kind in ITEMS if kind != asked for item in ITEMS[kind]]
    items = [(item, asked) for item in rng.sample(ITEMS[asked], n - n_others)]
    items += rng.sample(others, n_others)
    rng.shuffle(items)
    return items


def with_article(noun):
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"


# ---------------------------------------------------------------------------------- the checker
WORDS = json.loads(Path(__file__).with_name("checker_words.json").read_text(encoding="utf-8"))
CATEGORIES = {noun: category for category, nouns in WORDS["nouns"].items() for noun in nouns}
KIND = r"\b(?:(?:musical\ )?instrument|fruit|vegetable|animal|object)s?\b"
KINDS = "|".join(WORDS["nouns"])
QUESTION = rf"I have (?P<items>[\w ,'-]+)\. How many (?P<asked>{KINDS})s do I have\?"
ITEM = rf"(an?|{COUNT}) ([\w' -]+)"


def category_of(noun):
    """The category of a noun in the singular or the plural, or ""."""
    forms = [noun, noun.replace("s of ", " of ")]
    if noun.endswith("s"):
        forms += [noun[:-1], noun[:-2], noun[:-3] + "y"]
    return next((CATEGORIES[form] for form in forms if form in CATEGORIES), "")


def means(word, category):
    """Whether the word names the category; "instrument" is short for a musical one."""
    return category.endswith(word.lower().rstrip("s"))


class Checker:
    """Item by item as in the question: what it is, in the same step or the next the count."""

    answers = COUNT

    def __init__(self, asked, items):
        self.asked = asked  # the category, in the singular
        self.items = items  # [(number, noun), ...]
        self.numbers = {noun: k for k, noun in items}
        self.counts = [False]  # counts[i]: whether the last of i items counts
        self.totals = [0]  # totals[i]: the count after i items
        for k, noun in items:
            self.counts.append(asked in ("object", category_of(noun)))
            self.totals.append(self.totals[-1] + k * self.counts[-1])
        self.done = 0  # so many items have been named
        self.pending = False  # whether the count after the last of them is still due
        self.summed_up = 0  # so many had been counted at the last interim sum
        noun = any_of({noun for _, noun in items}, "i")
        self.claims = rf"""
            (?:\b(?P<n>an?|{COUNT})\ )?(?P<noun>{noun})  # the two onions
          | (?:\b(?:is|are)|(?=\ not))(?P<no>\ not|n't)?  # are vegetables
            (?:\ also|\ an?)*\ (?P<kind>{KIND})
          | (?P<out>\b(?:(?:they\ )?(?:do|does|is|are)(?:\ not|n't)\ (?:count|asked\ for)
            |skip|ignore)\b)
          | (?:\b(?P<sum>{COUNT})|\b(?:count|asks?\ for|(?:number|count)\ of)(?:\ only|\ the)*)
            \ (?P<goal>{KIND})  # 3 vegetables, count the vegetables
          | \b(?:thus\ far|(?:up\ to|until)\ (?:here|now|this\ (?:point|item|one)))\b
          | (?P<all>\b(?:in\ (?:all|total|the\ end)|altogether|final)\b)
          | (?:\b(?:total|count)(?:\ is)?\ )?  # 1 + 2 = 3, or: makes 3, the count stays at 3
            (?:\b(?P<a>{COUNT})\ ?\+\ ?(?P<b>{COUNT})\ (?:=|is|are|equals|makes|gives)\s
              |\b(?:(?P<stay>stays?|remains?|still(?:\ have)?)(?:\ at)?|to|is|are|makes?|making
                   |gives?|becomes?|have|of|reach(?:es)?)\ )
            (?P<total>{COUNT})(?!\ ?\+|\ (?:{noun}|{KIND}))
        """

    def judge(self, claims):
        self.was_pending = self.pending
        self.named = False  # whether this step names an item
        self.excluded = False  # whether it says that the item is not asked for
        done = self.done
        for claim in claims:
            if claim["goal"] and not means(claim["goal"], self.asked):
                yield f"the question asks for {self.asked}s, not '{claim['goal']}'"
            if claim["noun"]:
                yield from self.judge_item(claim)
            elif claim["kind"]:
                yield from self.judge_kind(claim)
            elif claim["out"]:
                self.excluded = True
            elif claim["total"] or claim["sum"]:
                yield from self.judge_total(claim)
            elif claim["all"] and (self.pending or self.done < len(self.items)):
                yield "stops before the last item"
        says_out = any(claim["out"] for claim in claims)
        if says_out:
            self.pending = False
            if self.counts[self.done]:
                yield "does not count what does"
        is_new = self.done > done
        says_kind = is_new and any(claim["kind"] for claim in claims)
        if self.named and not says_kind and (self.pending or is_new and says_out):
            yield "says nothing of it"

    def judge_item(self, claim):
        """The item has to be the next one, and the count of the last one has to be known."""
        noun = claim["noun"].lower()
        item = number(claim["n"]) if claim["n"] else self.numbers.get(noun), noun
        if self.pending and item == self.items[self.done - 1]:
            self.named = True  # once more: to count it
            return
        self.done, reason = advance(self.items, self.done, item)
        if self.pending:
            yield "leaves the count open"
        elif self.named:
            yield "takes up two things"
        elif reason:
            yield f"'{claim[0]}' {reason}"
        self.named = True
        self.pending = True
        self.excluded = False

    def judge_kind(self, claim):
        """The item of this step has to be of the kind, or not."""
        denies = bool(claim["no"])
        is_asked = means(claim["kind"], self.asked)
        is_kind = self.counts[self.done]
        if not is_asked:
            is_kind = means(claim["kind"], category_of(self.items[self.done - 1][1]))
        self.excluded = denies == is_asked
        if not self.named or denies == is_kind:
            yield f"says '{claim[0]}' wrongly"

    def judge_total(self, claim):
        """The count has to be right, said once an item, and moved by what counts alone."""
        done = self.done
        total = self.totals[done]
        counts = self.counts[done]
        if claim["a"]:
            terms = number(claim["a"]), number(claim["b"])
            k = self.items[done - 1][0] * counts
            if not self.pending or terms != (self.totals[done - 1], k):
                yield f"adds up wrongly: '{claim[0]}'"
        said = claim["total"] or claim["sum"]
        if number(said) != total:
            yield f"says {said}, but it is {total}"
        if claim["sum"] or not self.pending:
            yield from self.judge_sum(total)
        miscounts = self.pending and not counts and not self.excluded
        if claim["stay"]:
            miscounts = counts or not self.pending
        if miscounts:
            yield "counts what does not, or does not count what does"
        self.pending = False

    def judge_sum(self, total):
        """At the end, or in between as a step of its own, once there is something new to sum up."""
        if self.pending or self.done < len(self.items) and (self.named or self.was_pending):
            yield "stops before the last item"
        elif self.done < len(self.items):
            if not total or self.done < self.summed_up + 2:
                yield "has nothing to sum up yet"
            self.summed_up = self.done

    def conclude(self):
        unfinished = self.pending or self.done < len(self.items)
        return str(self.totals[-1]), "the rest of the items" if unfinished else ""


def read_question(question):
    m = re.fullmatch(QUESTION, tidy(question))
    parts = re.split(r",? and |, ", m["items"]) if m else []
    matches = [re.fullmatch(ITEM, part) for part in parts]
    if not matches or not all(matches):
        return None
    items = [(number(match[1]), match[2]) for match in matches]
    if m["asked"] != "object" and not all(category_of(noun) for _, noun in items):
        return None
    return Checker(m["asked"], items)


FAMILY = Family(
    "object_counting", make, read_question, lengths=(2, 10), train_share=1.5, has_forks=True
)
