"""The step checkers accept every gold trace, and catch mutations that change the meaning."""

import random
import re

import pytest

from data.algorithmic import check, prepare
from data.algorithmic.common import NAMES, SHUFFLERS, TOWNS
from data.algorithmic.navigate import COMPASS
from data.algorithmic.object_counting import NUMBER_WORDS
from scaffold import CONCLUSION, CONTRAST, RECALL, RESPONSE

TASKS = list(prepare.FAMILIES)
NAMED = "web_of_lies tracking_shuffled_objects family_relations reachability".split()
OPPOSITES = {  # one phrase for another that means the opposite, wherever it stands in a trace
    "web_of_lies": [
        ("tells the truth", "lies"),
        ("is truthful", "is lying"),
        ("is honest", "is a liar"),
        ("is true", "is false"),
        ("is right", "is wrong"),
        ("is correct", "is a lie"),
    ],
    "navigate": [
        ("back at the start", "away from the start"),
        ("which is the starting point", "not at the starting point"),
    ],
    "boolean_expressions": [("True", "False")],
    "object_counting": [
        ("a fruit", "a vegetable"),
        ("fruits", "vegetables"),
        ("an animal", "a musical instrument"),
        ("animals", "musical instruments"),
    ],
    "family_relations": [
        ("was not met", "was met"),
        ("is not among them", "is among them"),
    ],
    "reachability": [
        ("is reached", "is never reached"),
        ("can be reached", "cannot be reached"),
    ],
}


def other(rng, old, choices):
    return rng.choice(sorted(set(choices) - {old}))


def replaced(rng, steps, pattern, new):
    """The steps with one occurrence of the pattern, taken by chance, replaced by new(old), "
    "or None."""
    spots = [(i, m) for i, s in enumerate(steps) for m in re.finditer(pattern, s)]
    if not spots:
        return None
    i, m = rng.choice(spots)
    return steps[:i] + [steps[i][: m.start()] + new(m[0]) + steps[i][m.end() :]] + steps[i + 1 :]


def name(rng, task, question, steps, updates):
    names = set(re.findall(r"\b[A-Z][a-z]+\b", question)) & set(NAMES + SHUFFLERS + TOWNS)
    return (
        replaced(rng, steps, rf"\b(?:{'|'.join(names)})\b", lambda old: other(rng, old, names))
        if task in NAMED
        else None
    )


def count(rng, task, question, steps, updates):
    if task == "object_counting" and rng.random() < 0.3:
        return replaced(
            rng,
            steps,
            r"(?<=[Tt]he )(?:two|three|four|five)\b",
            lambda old: other(rng, old, NUMBER_WORDS[1:]),
        )
    return replaced(
        rng,
        steps,
        r"\d+",
        lambda old: str(max(0, int(old) + rng.choice((1, 2, -1))) if int(old) else 1),
    )


def truth(rng, task, question, steps, updates):
    pairs = OPPOSITES.get(task, [])
    flip = {a: b for pair in pairs for a, b in (pair, pair[::-1])}
    return (
        replaced(
            rng, steps, r"\b(?:" + "|".join(sorted(flip, key=len, reverse=True)) + r")\b", flip.get
        )
        if pairs
        else None
    )


def direction(rng, task, question, steps, updates):
    if task == "navigate":
        return replaced(
            rng,
            steps,
            r"\b(?:forward|right|backward|left)\b(?!,)",
            lambda old: other(rng, old, COMPASS),
        )


def symbol(rng, task, question, steps, updates):
    if task == "dyck_languages":
        return replaced(rng, steps, r"[()\[\]{}<>]", lambda old: other(rng, old, "()[]{}<>"))
    if (
        task == "boolean_expressions"
    ):  # not in the rule of precedence, where "and" may only join the words
        spots = replaced(
            rng,
            steps[1:],
            r"\b(?:and|or)\b(?= (?:True|False|not|\())",
            lambda old: other(rng, old, ("and", "or")),
        )
        return spots and steps[:1] + spots
    if task == "tracking_shuffled_objects":
        things = re.findall(r"(?m)^\([A-G]\) (.+)$", question)
        return replaced(
            rng, steps, "|".join(map(re.escape, things)), lambda old: other(rng, old, things)
        )


def drop(rng, task, question, steps, updates):
    i = rng.choice(updates)
    return steps[:i] + steps[i + 1 :]


def swap(rng, task, question, steps, updates):
    def told(i):
        return re.findall(
            r"[A-Z][a-z]+|\d+|[^\w\s,.:]|\b(?:True|False|not|and|or|left|right|around)\b", steps[i]
        )

    pairs = [i for i in updates if i + 1 in updates and told(i) != told(i + 1)]
    if (
        task == "family_relations"
    ):  # the last fact above one person and the first above the other may stand in any order
        pairs = [i for i in pairs if "going up" not in steps[i + 1]]
    if pairs:
        i = rng.choice(pairs)
        return steps[:i] + [steps[i + 1], steps[i]] + steps[i + 2 :]


def double(rng, task, question, steps, updates):
    i = rng.choice(updates)
    return steps[: i + 1] + steps[i:]


def answer(rng, task, question, steps, updates):
    old = re.search(r"(?:answer is|answer:|answer) (.+)\.$", steps[-1])
    wrong = {"True": "False", "False": "True", "Yes": "No", "No": "Yes"}.get(old[1])
    if task == "dyck_languages":
        wrong = other(rng, old[1], [") ]", "]", ">", "} )", ") ) ]", "} >"])
    elif task == "tracking_shuffled_objects":
        wrong = other(rng, old[1], re.findall(r"(?m)^\([A-G]\)", question))
    return steps[:-1] + [
        steps[-1][: old.start(1)] + (wrong or str(int(old[1]) + rng.choice((1, -1, 2)))) + "."
    ]


def bare(rng, task, question, steps, updates):
    return steps[-1:]


OPERATORS = name, count, truth, direction, symbol, drop, swap, double, answer, bare


def traces(task, n, split="test", seed=0, lengths=None):
    for row, signals in prepare.generate(task, split, n, seed, lengths):
        steps = row["trace"].split("\n\n")
        passive = (
            (CONTRAST, CONCLUSION, RESPONSE)
            if task == "family_relations"
            else (RECALL, CONCLUSION, RESPONSE)
        )
        yield row["question"], steps, [i for i, s in enumerate(signals) if s not in passive]


def caught(task, n, seed=0):
    """({operator: [caught, tried]}, the traces that slipped through) of n traces.

    Each operator makes one mutation of each trace.
    """
    rng, score, slipped = random.Random(f"{seed}/{task}"), {}, []
    for question, steps, updates in traces(task, n, seed=seed):
        for operator in OPERATORS:
            mutant = operator(rng, task, question, steps, updates)
            if mutant is None or mutant == steps:
                continue
            found = any(check.check(question, mutant))
            tally = score.setdefault(operator.__name__, [0, 0])
            tally[0] += found
            tally[1] += 1
            if not found:
                slipped.append((operator.__name__, question, mutant))
    return score, slipped


@pytest.mark.parametrize("task", TASKS)
def test_gold_is_accepted(task):
    longer = {
        "web_of_lies": (7, 9),
        "navigate": (9, 14),
        "boolean_expressions": (10, 16),
        "dyck_languages": (90, 150),
        "object_counting": (12, 15),
        "reachability": (9, 14),
    }
    for split, seed, lengths in (
        ("train", 0, None),
        ("test", 1, None),
        ("train", 1, longer.get(task)),
    ):
        for question, steps, _ in traces(task, 120, split, seed, lengths):
            assert check.task_of(question) == task
            assert check.check(question, steps) == [""] * len(steps), (question, steps)


@pytest.mark.parametrize("task", TASKS)
def test_mutations_are_caught(task):
    score, slipped = caught(task, 150)
    assert {"drop", "double", "answer", "bare"} <= set(score) and len(score) >= 6
    assert sum(c for c, _ in score.values()) >= 0.99 * sum(n for _, n in score.values()), slipped[
        :5
    ]
    for operator, (found, tried) in score.items():
        assert tried < 40 or found >= 0.99 * tried, (
            operator,
            found,
            tried,
            [s for s in slipped if s[0] == operator][:3],
        )


LIES = "Question: Ann lies. Bob says Ann lies. Cleo says Bob lies. Does Cleo tell the truth?"
WALK = (
    "If you follow these instructions, do you return to the starting point? Always face "
    "forward. Take 3 steps right. Take 2 steps backward.\nOptions:\n- Yes\n- No"
)
TURN = (
    "If you follow these instructions, do you return to the starting point? Take 4 steps. Turn "
    "around. Take 4 steps.\nOptions:\n- Yes\n- No"
)
BOOL = "not ( True and False ) or False is"
DYCK = (
    "Complete the rest of the sequence, making sure that the parentheses are closed properly. "
    "Input: [ < ( ) { }"
)
COUNT = "I have two onions, a cat, and three heads of broccoli. How many vegetables do I have?"
SHUFFLE = (
    "Alice, Bob, and Claire are playing a game. At the start of the game, they are each "
    "holding a ball: Alice has a red ball, Bob has a blue ball, and Claire has a "
    "green ball.\nAs the game progresses, pairs of players trade balls. First, Alice and Bob "
    "swap balls. Then, Bob and Claire swap balls. Finally, Alice and Bob swap "
    "balls. At the end of the game, Bob has the\nOptions:\n(A) red ball\n(B) blue ball\n(C) "
    "green ball"
)
KIN = (
    "Given the family relationships:\n* Ann is Tomas' parent.\n* Bea is Ann's parent.\nWhat "
    "is Tomas' relationship to Bea?\nSelect the correct answer:\n"
    "1. Tomas is Bea's grandparent.\n2. Tomas is Bea's sibling.\n3. Tomas is Bea's "
    "grandchild.\nAnswer with selected option number."
)
ROADS = (
    "All roads are one-way. A road leads from Ash to Elm. A road leads from Ash to Oak. A road "
    "leads from Oak to Fir. Can you get from Ash to Fir?\nOptions:\n- Yes\n- No"
)
QUESTIONS = LIES, WALK, TURN, BOOL, DYCK, COUNT, SHUFFLE, KIN, ROADS

RIGHT = [  # in other words than the generator's
    (
        LIES,
        "Ann does not tell the truth.|"
        "Bob says that Ann is lying. This is correct, so he is honest.|"
        "Cleo claimed Bob isn't honest; that's not true.|"
        "Cleo says Bob lies, so Cleo must be lying.|So the answer is no.",
    ),
    (
        WALK,
        "We begin at (0,0).|Three steps to the right: now I am at (3, 0).|"
        "2 steps back, and I land at (3,−2).|So I do not return to the starting point.|"
        "Answer: No",
    ),
    (
        TURN,
        "4 steps takes me to (0, 4).|"
        "I turn around, so now I am facing backward. Then 4 steps lead to (0, 0).|"
        "The answer is Yes.",
    ),
    (
        BOOL,
        "Brackets come first, then not, then and, and then or.|"
        "True and False is False, which leaves not (False) or False.|( False ) = False.|"
        "not False or False is True.|The final answer is: True",
    ),
    (DYCK, "First [ < ( gives [ < (. And then ) { } leaves us with [ <.|The answer is > ]"),
    (
        COUNT,
        "Two onions make 2.|A cat isn't a vegetable. The total remains 2.|"
        "The three heads of broccoli bring us to five.|Final answer: 5",
    ),
    (
        SHUFFLE,
        "Alice and Bob trade balls: Alice holds the blue ball and Bob has the red ball.|"
        "Bob swaps with Claire, so Bob has the green ball and Claire has the red ball.",
    ),
    (
        KIN,
        "Ann is the parent of Tomas.|Ann's parent is Bea.|"
        "Tomas is the grandchild of Bea, so option 3.|The answer is <ANSWER>3</ANSWER>.",
    ),
    (
        ROADS,
        "I begin in Ash and I want to get to Fir.|From Ash, I go to Oak.|"
        "From Oak the road goes to Fir.|I can get from Ash to Fir.|The answer is Yes",
    ),
]
WRONG = [  # the last step of each is wrong, the steps before it are right
    (LIES, "Cleo says Bob lies, which is false, so Cleo lies."),
    (LIES, "Bob says Ann tells the truth."),
    (LIES, "Ann lies.|Ann lies."),
    (
        LIES,
        "Ann never lies.",
    ),
    (LIES, "Bob says Ann lies, which is true, so Bob is not honest."),
    (LIES, "The answer is No."),
    (LIES, "Perhaps Ann lies."),
    (
        LIES,
        "Bob tells the truth.",
    ),
    (WALK, "2 steps backward takes me to (0, -2)."),
    (WALK, "3 steps right takes me to (0, 3)."),
    (WALK, "3 steps left takes me to (3, 0)."),
    (
        WALK,
        "3 steps right.",
    ),
    (TURN, "4 steps takes me to (0, 4).|Turning around."),
    (TURN, "4 steps takes me to (0, 4).|I end at (0, 4), away from the start."),
    (
        TURN,
        "4 steps takes me to (0, 4).|4 steps lead to (0, 0).",
    ),
    (BOOL, "False or False is False, leaving not ( True and False ) or False."),
    (BOOL, "False ) or False is False."),
    (BOOL, "True and False is True."),
    (
        BOOL,
        "not comes before brackets.",
    ),
    (BOOL, "True and False is False, leaving ( False ) or False."),
    (BOOL, "The expression is True."),
    (
        BOOL,
        "and comes first, then not",
    ),
    (DYCK, "[ < leaves [ <.|{ } leaves [ <."),
    (DYCK, "[ < ( ) gives [ < (."),
    (DYCK, "[ < stays open, which needs > ]."),
    (
        DYCK,
        "The first bracket opened closes first.",
    ),
    (COUNT, "Two onions make 2.|The three heads of broccoli make 5."),
    (COUNT, "Two onions make 2.|The cat brings the count to 3."),
    (
        COUNT,
        "Two onions make 2.|The cat brings the count to 2.",
    ),
    (COUNT, "I have to count the fruits."),
    (COUNT, "The onion makes 1."),
    (
        COUNT,
        "Two onions are not vegetables, so it stays 0.",
    ),
    (SHUFFLE, "Bob and Claire swap, so Bob has green ball and Claire has blue ball."),
    (SHUFFLE, "Alice and Bob swap."),
    (
        SHUFFLE,
        "Bob ends up with blue ball, which is (B).",
    ),
    (KIN, "Tomas is Bea's grandchild, option 3."),
    (KIN, "Bea is Ann's parent."),
    (KIN, "Ann is Tomas' parent.|Nobody is given as Ann's parent."),
    (
        KIN,
        "Tomas is Ann's parent.",
    ),
    (ROADS, "From Ash I go to Fir."),
    (ROADS, "From Oak I go to Fir."),
    (ROADS, "Ash is a dead end, and there is nowhere to go back to."),
    (
        ROADS,
        "Fir can be reached from Ash.",
    ),
    (LIES, "Ann lies, which is true."),
    (WALK, "3 steps right takes me to (3, 0), where I stop."),
    ("True and True or True and True is", "True and True is True."),
    (
        COUNT,
        "Two onions.",
    ),
    (COUNT, "Two onions make 2, so I have 2 vegetables."),
    (SHUFFLE, "Alice ends up with red ball."),
    (
        ROADS,
        "From Ash I go to Elm.|Elm is a dead end, back to Oak.",
    ),
    (
        SHUFFLE,
        "Alice and Bob swap, so Alice has blue ball and Bob has red ball.|Bob and Claire "
        "swap, so Bob has green ball and Claire has red ball.|"
        "Alice and Bob swap, so Alice has green ball and Bob has blue ball.|Bob ends up with "
        "blue ball, option (C).",
    ),
    (ROADS, "From Ash I go to Elm.|Elm is a dead end."),
    (ROADS, "From Ash I go to Elm.|From Ash I go to Oak."),
    (
        ROADS,
        "From Ash I go to Elm.|Elm is a dead end, back to Ash.|Fir is never reached from Ash.",
    ),
]


@pytest.mark.parametrize("question, text", RIGHT)
def test_paraphrases(question, text):
    steps = text.split("|")
    verdicts = check.check(question, steps)
    if "answer" not in steps[-1].lower():
        assert verdicts.pop() == "hands over no answer"
    assert not any(verdicts), list(zip(steps, verdicts, strict=False))


@pytest.mark.parametrize("question, text", WRONG)
def test_wrong_steps(question, text):
    steps = text.split("|")
    verdicts = check.check(question, steps + ["Good."])[
        : len(steps)
    ]  # the answer is missing from the step after them
    assert verdicts[-1] and not any(verdicts[:-1]), list(zip(steps, verdicts, strict=False))


def test_task_of():
    assert [check.task_of(q) for q in QUESTIONS] == [
        "web_of_lies",
        "navigate",
        "navigate",
        *TASKS[2:],
    ]
    others = (
        "",
        "How many vegetables do I have?",
        "Sort the following words alphabetically: List: oven cat",
        "((-9 * -3 - 8 - 5) + (1 * -2)) =",
        "What is left is",
        "On the table, I see a red cup. How many things are not red?\nOptions:\n(A) zero\n(B) one",
        "Today, Ann went to the zoo. Between what times could they have gone?",
    )
    assert [check.task_of(q) for q in others] == [None] * len(others)
    assert check.check(others[1], ["The answer is 2."]) is None and check.check(LIES, []) == []


def test_fillers_and_gibberish():
    for question in QUESTIONS:
        assert (
            check.check(
                question,
                [
                    "Okay, let me see.",
                    "Hmm. One step at a time.",
                    "On the other hand, wait...",
                    "x",
                ],
            )[:3]
            == [""] * 3
        )
        for text in (
            "purple elephants",
            "This is not so.",
            "No.",
            "42",
            "zq zq",
            "Everyone lies!",
            "Is it?",
        ):
            assert check.check(question, [text, "Okay."])[0], text


def test_later_steps_are_judged_by_the_true_state():
    steps = (
        "Okay.|3 steps right takes me to (4, 0).|2 steps backward takes me to (3, -2).|I end "
        "at (3, -2), away from the start.|The answer is No."
    ).split("|")
    assert [bool(v) for v in check.check(WALK, steps)] == [False, True, False, False, False]
    assert check.check(WALK, steps + ["3 steps right takes me to (3, 0)."])[-1]


def test_never_raises():
    rng = random.Random(0)
    pool = " ".join(QUESTIONS + tuple(text for _, text in RIGHT + WRONG)).split() + [
        "answer",
        "(",
        ")",
        "<",
        "\x00",
        "é",
        "７",
        "²",
        "'s",
        "999999999999999999999",
        "|",
        "𝔘",
    ]
    for question in QUESTIONS:
        words = question.split(" ")
        for _ in range(60):
            check.check(
                question, [" ".join(rng.choices(pool, k=rng.randint(0, 30))) for _ in range(4)]
            )
            broken = [w for w in words if rng.random() < 0.95]
            broken.insert(rng.randrange(len(broken)), rng.choice(pool))
            check.check(" ".join(broken), ["The answer is Yes.", " ".join(rng.choices(pool, k=9))])
        for text in (
            "not " * 5000 + "True",
            "( " * 3000,
            "[" * 5000,
            "a " * 9000,
            "Ann " * 3000,
            "9" * 6000,
            "(1," * 3000,
            "x" * 100_000,
            "answer is " * 3000,
        ):
            check.check(question, [text])
            check.check(f"{question} {text[:9000]}", ["Okay."])
    assert check.task_of(SHUFFLE + " (A) x" * 100 + "\n?") is None
    assert (
        check.check(
            "not " * 5000 + "True or False is",
            [
                "not " * 5000 + "True is True, leaving True or False.",
                "True or False is True.",
                "The answer is True.",
            ],
        )
        == [""] * 3
    )
