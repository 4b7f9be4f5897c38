"""object_counting: how many things of one category are in a list of several categories.

What an item is and whether it counts are two steps. The turn ("But that does not count") then
depends only on the words just before it. One problem with the teacher's reasoning:

    I have a garlic, a cat, and two onions. How many vegetables do I have?

    RECALL      I think I have to count the vegetables.
    EXAMPLES    Take this one: the garlic is a vegetable.
    REASONING   Now that makes 0 + 1 = 1.
    ADDITION    Next, the cat is an animal.
    CONTRAST    But that does not count, so it stays 1.
    ADDITION    The two onions are vegetables.
    REASONING   Let's see: we have 1 + 2 = 3.
    CONCLUSION  So there are 3 vegetables in all.
    RESPONSE    The answer is 3.
"""

import re

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

# ------------------------------------------------------------------------------------- the teacher
NUMBER_WORDS = ["one", "two", "three", "four", "five", "six"]


def make(rng, length):
    """A Problem with `length` kinds of item; up to three are not of the category asked for."""
    category = rng.choice(list(ITEMS))
    items = draw_items(rng, category, length)
    steps = [(RECALL, say(rng, "[I have to|I need to|we have to] count the {kind}", kind=category))]
    total = 0
    phrases = []  # the items as the question lists them
    for (singular, plural), item_category in items:
        count = rng.choice((1, 1, 1, 2, 3)) if rng.random() < 0.8 else rng.randint(1, 5)
        if count == 1:
            phrases.append(with_article(singular))
            body = f"the {singular} is {with_article(item_category[:-1])}"
        else:
            phrases.append(f"{NUMBER_WORDS[count - 1]} {plural}")
            body = f"the {phrases[-1]} are {item_category}"
        steps.append((EXAMPLES if len(steps) == 1 else ADDITION, body))

        if item_category == category:
            template = "[that makes|we have|the count is] {a} + {n} = {b}"
            body = say(rng, template, a=total, n=count, b=total + count)
            steps.append((REASONING, body))
            total += count
        else:
            template = (
                "[that does not count|this is not asked for], "
                "so [it stays|the count is still|the total stays] {total}"
            )
            steps.append((CONTRAST, say(rng, template, total=total)))
    template = "[there are|I have|that makes] {total} {kind} [in all|altogether|in total]"
    steps.append((CONCLUSION, say(rng, template, total=total, kind=category)))
    question = f"I have {listing(phrases)}. How many {category} do I have?"
    return Problem(question, str(total), steps)


def draw_items(rng, category, length):
    """List of ((singular, plural), category); everything is an object, so objects stay alone."""
    n_others = 0 if category == "objects" else rng.choice((0, 1, 1, 2, 3))
    n_others = min(n_others, (length - 1) // 2)
    others = [(item, other) for other in ITEMS if other != category for item in ITEMS[other]]
    items = [(item, category) for item in rng.sample(ITEMS[category], length - n_others)]
    items += rng.sample(others, n_others)
    rng.shuffle(items)
    return items


def with_article(noun):
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"


# ------------------------------------------------------------------------------------- the checker
# Its own nouns, many more than the teacher's; "_" stands for a space within a noun.
NOUNS = {
    "fruit": """
        apple apricot banana blackberry blueberry cherry coconut cranberry date fig grape grapefruit
        guava kiwi lemon lime mango melon nectarine orange papaya peach pear pineapple plum
        pomegranate raspberry strawberry tangerine watermelon""",
    "vegetable": """
        artichoke asparagus beet beetroot bell_pepper broccoli cabbage carrot cauliflower celery
        cucumber eggplant garlic head_of_broccoli kale leek lettuce lettuce_head onion parsnip pea
        potato pumpkin radish shallot spinach squash stalk_of_celery sweet_potato turnip yam
        zucchini""",
    "animal": """
        bear bee bird camel cat chicken cow crow deer dog donkey duck elephant fish fox frog geese
        goat goose hamster hen horse lion lizard llama mice monkey mouse owl pig pony rabbit rat
        sheep snail snake spider squirrel tiger toad turkey turtle whale wolf zebra""",
    "musical instrument": """
        accordion bagpipe banjo bassoon cello clarinet cymbal drum fiddle flute guitar harmonica
        harp lute mandolin oboe organ piano piccolo recorder saxophone sitar tambourine trombone
        trumpet tuba ukulele viola violin xylophone""",
    "object": """
        bed bench bookcase book car chair clock couch cup desk door dresser fridge kettle lamp
        microwave mirror oven pen phone pillow radio rug shelf sofa stool stove table telephone
        television toaster vase wardrobe window""",
}
CATEGORY_OF = {
    noun.replace("_", " "): category for category, nouns in NOUNS.items() for noun in nouns.split()
}
CATEGORY = r"\b(?:(?:musical\ )?instrument|fruit|vegetable|animal|object)s?\b"
QUESTION = re.compile(
    r"""I\ have\ (?P<items>[\w ,'-]+)\.\ How\ many\ (?P<category>
    fruit|vegetable|animal|musical\ instrument|object)s\ do\ I\ have\?""",
    re.VERBOSE,
)
ITEM = re.compile(rf"(an?|{COUNT}) ([\w' -]+)")


def category_of(noun):
    """The category of a noun in the singular or in the plural, or None."""
    forms = [noun, noun.replace("s of ", " of ")]
    if noun.endswith("s"):
        forms += [noun[:-1], noun[:-2], noun[:-3] + "y"]
    return next((CATEGORY_OF[form] for form in forms if form in CATEGORY_OF), None)


def read_question(question):
    """The Checker of a question of this family; None for any other question."""
    match = QUESTION.fullmatch(tidy(question))
    if not match:
        return None
    phrases = [ITEM.fullmatch(part) for part in re.split(r",? and |, ", match["items"])]
    if not all(phrases):
        return None
    items = [(number(phrase[1]), phrase[2]) for phrase in phrases]
    if match["category"] != "object" and any(category_of(noun) is None for _, noun in items):
        return None
    return Checker(match["category"], items)


class Checker:
    """Item by item as in the question: what it is, then in this step or the next one the count."""

    answers = COUNT

    def __init__(self, category, items):
        self.category = category  # asked for, in the singular
        self.items = items  # (number, noun), in the order of the question
        self.counts = [False]  # counts[i]: whether the item before place i counts
        self.totals = [0]  # totals[i]: the count of the items before place i
        for count, noun in items:
            self.counts.append(category in ("object", category_of(noun)))
            self.totals.append(self.totals[-1] + count * self.counts[-1])
        self.done = 0  # items named so far
        self.pending = False  # an item was named, and the count after it was not
        nouns = any_of({noun for _, noun in items}, "i")
        self.claims = rf"""
            (?:\b(?P<number>an?|{COUNT})\ )?(?P<noun>{nouns})             # the two onions
            | \b(?:is|are)(?P<no>\ not|n't)?(?:\ an?)?\ (?P<member>{CATEGORY})  # are vegetables
            | (?P<out>\b(?:do|does|is|are)\ not\ (?:count|asked\ for)\b)  # does not count
            | \b(?P<sum>{COUNT})\ (?P<sum_category>{CATEGORY})            # 3 vegetables
            | (?P<goal>{CATEGORY})                                        # count the vegetables
            | (?:
                \b(?P<a>{COUNT})\ ?\+\ ?(?P<b>{COUNT})\ ?=\ ?             # 1 + 2 = 3
                | \b(?:                                                   # stays at 3, makes 3
                    (?P<stay>stays?|remains?|still)(?:\ at)?
                    | to|is|are|makes?|making|gives?|becomes?|have|of|reach(?:es)?
                  )\ #
              )(?P<total>{COUNT})(?!\ ?\+|\ (?:{nouns}|{CATEGORY}))
        """

    def judge(self, claims):
        """Yields what is wrong with the claims of one step."""
        self.excluded = False  # this step says that its item is not of the category
        self.moved = False  # this step names an item
        for claim in claims:
            category = claim["sum_category"] or claim["goal"]
            if category and not self.category.endswith(category.lower().rstrip("s")):
                yield f"the question asks for {self.category}s, not '{category}'"
            if claim["noun"]:
                yield from self.judge_item(claim)
            elif claim["out"]:
                self.excluded = True
                if not self.pending or self.counts[self.done]:
                    yield f"says '{claim[0]}' wrongly"
            elif claim["member"]:
                yield from self.judge_member(claim)
            elif claim["total"] or claim["sum"]:
                yield from self.judge_total(claim)
        if self.moved and self.pending and not any(claim["member"] for claim in claims):
            yield "says nothing of it"

    def judge_item(self, claim):
        item = number(claim["number"] or "a"), claim["noun"].lower()
        self.done, reason = advance(self.items, self.done, item)
        if self.pending:
            yield "leaves the count open"
        elif reason:
            yield f"'{claim[0]}' {reason}"
        self.pending = True
        self.excluded = False
        self.moved = True

    def judge_member(self, claim):
        category = claim["member"].lower().rstrip("s")
        denies = bool(claim["no"])
        if self.category.endswith(category):  # "instrument" is short for "musical instrument"
            self.excluded = denies
            belongs = self.counts[self.done]
        else:
            self.excluded = not denies
            noun = self.items[self.done - 1][1]
            belongs = (category_of(noun) or "").endswith(category)
        if not self.moved or denies == belongs:
            yield f"says '{claim[0]}' wrongly"

    def judge_total(self, claim):
        total = self.totals[self.done]
        counts = self.counts[self.done]
        if claim["a"]:
            terms = number(claim["a"]), number(claim["b"])
            if not self.pending or terms != (
                self.totals[self.done - 1],
                self.items[self.done - 1][0],
            ):
                yield f"adds up wrongly: '{claim[0]}'"
        said = claim["total"] or claim["sum"]
        if number(said) != total:
            yield f"says {said}, but it is {total}"

        unfinished = self.done < len(self.items)
        if claim["sum"]:
            stops_early = self.pending or unfinished
        else:
            stops_early = not self.pending and self.done > 0 and unfinished
        if stops_early:
            yield "stops before the last item"

        if claim["stay"]:
            miscounts = counts or not self.pending
        else:
            miscounts = self.pending and not counts and not self.excluded
        if miscounts:
            yield "counts what does not, or does not count what does"
        self.pending = False

    def conclude(self):
        """(the true answer, what is left out for it)"""
        unfinished = self.pending or self.done < len(self.items)
        return str(self.totals[-1]), "the rest of the items" if unfinished else ""


FAMILY = Family("object_counting", make, read_question, lengths=(2, 10))
