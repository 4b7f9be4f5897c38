"""The step checkers accept every gold trace, and catch mutations that change the meaning."""

import json
import random
import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from data.algorithmic import check, prepare
from data.algorithmic.common import NAMES, SHUFFLERS, TOWNS
from data.algorithmic.navigate import COMPASS
from scaffold import CONCLUSION, CONTRAST, EXAMPLES, RECALL, RESPONSE

TASKS = list(prepare.FAMILIES)
TEACHERS = [(task, False) for task in TASKS]  # and those that choose at forks
TEACHERS += [(task, True) for task in TASKS if prepare.FAMILIES[task].has_forks]
CASES = json.loads(Path(__file__).with_name("checker_cases.json").read_text(encoding="utf-8"))
READER_FILE = Path(__file__).with_name("reader_traces.jsonl")  # by readers who knew no checker
READER_TRACES = [json.loads(line) for line in READER_FILE.read_text(encoding="utf-8").splitlines()]
LONGER = {
    "web_of_lies": (7, 9),
    "navigate": (9, 14),
    "boolean_expressions": (10, 16),
    "dyck_languages": (90, 150),
    "object_counting": (12, 15),
    "reachability": (9, 14),
    "word_problems": (7, 9),
}


@dataclass
class GoldTrace:
    task: str
    question: str
    steps: list  # of str
    updates: list  # places of the steps that the reasoning cannot do without
    sums: list  # places of the steps that sum up in between


def traces(task, n, split="test", seed=0, lengths=None, forks=False):
    spare = {RECALL, CONCLUSION, RESPONSE}
    if task in ("family_relations", "reachability", "word_problems"):  # it goes on without a turn
        spare.add(CONTRAST)
    if task == "reachability":  # at a fork, it may take another town first
        spare.add(EXAMPLES)
    if task == "family_relations":  # its first step states a fact that matters
        spare.remove(RECALL)
    for row, signals in prepare.generate(task, split, n, seed, lengths, forks):
        steps = row["trace"].split("\n\n")
        updates = [i for i, signal in enumerate(signals) if signal not in spare]
        # That a line of ancestors ends only matters to those who are not in it.
        updates = [i for i in updates if "has no parent" not in steps[i]]
        sums = [i for i, signal in enumerate(signals[:-2]) if signal == CONCLUSION]
        yield GoldTrace(task, row["question"], steps, updates, sums)


@pytest.mark.slow
@pytest.mark.parametrize("task, forks", TEACHERS)
def test_gold_is_accepted(task, forks):
    for split, seed, lengths in [
        ("train", 0, None),
        ("test", 1, None),
        ("train", 1, LONGER.get(task)),
    ]:
        for trace in traces(task, 120, split, seed, lengths, forks):
            assert check.task_of(trace.question) == task
            assert not any(check.check(trace.question, trace.steps)), trace


# ------------------------------------------------------------------------------------- mutations
# Each operator takes (rng, trace) and returns the steps with one mutation, or None where it has
# nothing to change.
TASKS_WITH_NAMES = [
    "web_of_lies",
    "tracking_shuffled_objects",
    "family_relations",
    "reachability",
    "word_problems",
]
OPPOSITES = {  # phrases of opposite meaning, wherever one of them stands in a trace
    "web_of_lies": [
        ("tells the truth", "lies"),
        ("is truthful", "is lying"),
        ("is honest", "is a liar"),
        ("is true", "is false"),
        ("is right", "is wrong"),
        ("is correct", "is a lie"),
        ("would tell the truth", "would lie"),
        ("were true", "were false"),
        ("were right", "were wrong"),
    ],
    "navigate": [
        ("back at the start", "away from the start"),
        ("back at the starting point", "not at the starting point"),
        ("the same", "not the same"),
    ],
    "boolean_expressions": [
        ("True", "False"),
    ],
    "object_counting": [
        ("a fruit", "a vegetable"),
        ("fruits", "vegetables"),
        ("an animal", "a musical instrument"),
        ("animals", "musical instruments"),
    ],
    "family_relations": [
        ("is not above", "is above"),
        ("is not an ancestor of", "is an ancestor of"),
    ],
    "reachability": [
        ("is reached", "is never reached"),
        ("is new", "is not new"),
        ("can be reached", "cannot be reached"),
    ],
    "word_problems": [
        ("more", "fewer"),
        ("twice", "half"),
        ("does not", "does"),
    ],
}
OPPOSITE_ANSWERS = {"True": "False", "False": "True", "Yes": "No", "No": "Yes"}
CLOSINGS = [") ]", "]", ">", "} )", ") ) ]", "} >"]
NUMBER_WORDS = ["two", "three", "four", "five", "six"]


def other(rng, old, choices):
    """One of the choices, but not the old one."""
    return rng.choice(sorted(set(choices) - {old}))


def replace_one(rng, steps, pattern, new):
    """Replace one occurrence of the pattern, drawn at random, by new(its text)."""
    spots = [(i, match) for i, step in enumerate(steps) for match in re.finditer(pattern, step)]
    if not spots:
        return None
    i, match = rng.choice(spots)
    step = steps[i][: match.start()] + new(match[0]) + steps[i][match.end() :]
    return [*steps[:i], step, *steps[i + 1 :]]


def any_phrase(phrases):
    longest_first = sorted(phrases, key=len, reverse=True)
    return rf"\b(?:{'|'.join(longest_first)})\b"


def name(rng, trace):
    if trace.task not in TASKS_WITH_NAMES:
        return None
    words = set(re.findall(r"\b[A-Z][a-z]+\b", trace.question))
    names = words & set(NAMES + SHUFFLERS + TOWNS)
    return replace_one(rng, trace.steps, any_phrase(names), lambda old: other(rng, old, names))


def count(rng, trace):
    def other_digits(old):
        return str(max(0, int(old) + rng.choice((1, 2, -1)))) if int(old) else "1"

    if trace.task == "object_counting" and rng.random() < 0.3:
        words = r"(?<=[Tt]he )(?:two|three|four|five)\b"
        return replace_one(rng, trace.steps, words, lambda old: other(rng, old, NUMBER_WORDS))
    return replace_one(rng, trace.steps, r"\d+", other_digits)


def truth(rng, trace):
    opposite = {}
    for phrase, contrary in OPPOSITES.get(trace.task, []):
        opposite[phrase] = contrary
        opposite[contrary] = phrase
    return replace_one(rng, trace.steps, any_phrase(opposite), opposite.get) if opposite else None


def direction(rng, trace):
    if trace.task != "navigate":
        return None
    sides = r"\b(?:forward|right|backward|left)\b(?!,)"
    return replace_one(rng, trace.steps, sides, lambda old: other(rng, old, COMPASS))


def bracket(rng, trace):
    if trace.task != "dyck_languages":
        return None
    return replace_one(rng, trace.steps, r"[()\[\]{}<>]", lambda old: other(rng, old, "()[]{}<>"))


def operation(rng, trace):
    if trace.task != "boolean_expressions":
        return None
    rule, *steps = trace.steps  # in the rule of precedence "and" may only join the words
    pattern = r"\b(?:and|or)\b(?= (?:True|False|not|\())"
    steps = replace_one(rng, steps, pattern, lambda old: other(rng, old, ("and", "or")))
    return steps and [rule, *steps]


def thing(rng, trace):
    if trace.task != "tracking_shuffled_objects":
        return None
    things = re.findall(r"(?m)^\([A-G]\) (.+)$", trace.question)
    pattern = "|".join(map(re.escape, things))
    return replace_one(rng, trace.steps, pattern, lambda old: other(rng, old, things))


def drop(rng, trace):
    i = rng.choice(trace.updates)
    return trace.steps[:i] + trace.steps[i + 1 :]


FACTS = re.compile(  # what a step says, whatever its wording
    r"""[A-Z][a-z]+ | \d+ | [^\w\s,.:]
      | \b(?:True|False|not|and|or|left|right|around)\b""",
    re.VERBOSE,
)


def swap(rng, trace):
    places = []  # of steps that cannot change places with the next one
    for i in trace.updates:
        if i + 1 not in trace.updates:
            continue
        first, second = trace.steps[i : i + 2]
        found = re.search(r"(\w+) owns \d+\. We need", first)
        if found and found[1] not in second:  # an operation that the next one does not need
            continue
        if FACTS.findall(first) != FACTS.findall(second):
            places.append(i)
    if not places:
        return None
    i = rng.choice(places)
    first, second = trace.steps[i : i + 2]
    return [*trace.steps[:i], second, first, *trace.steps[i + 2 :]]


def double(rng, trace):
    i = rng.choice(trace.updates)
    return trace.steps[: i + 1] + trace.steps[i:]


def repeated_sum(rng, trace):
    if not trace.sums:
        return None
    i = rng.choice(trace.sums)
    return trace.steps[: i + 1] + trace.steps[i:]


def early_sum(rng, trace):
    if not trace.sums:
        return None
    i = rng.choice(trace.sums)
    place = rng.randrange(i)
    rest = trace.steps[place:i] + trace.steps[i + 1 :]
    return [*trace.steps[:place], trace.steps[i], *rest]


def answer(rng, trace):
    *steps, last = trace.steps
    old = re.search(r"(?:answer is|answer:|answer) (.+)\.$", last)
    if trace.task == "dyck_languages":
        wrong = other(rng, old[1], CLOSINGS)
    elif trace.task == "tracking_shuffled_objects":
        wrong = other(rng, old[1], re.findall(r"(?m)^\([A-G]\)", trace.question))
    elif old[1] in OPPOSITE_ANSWERS:
        wrong = OPPOSITE_ANSWERS[old[1]]
    else:
        wrong = str(int(old[1]) + rng.choice((1, -1, 2)))
    return [*steps, f"{last[: old.start(1)]}{wrong}."]


def bare(rng, trace):
    return trace.steps[-1:]


OPERATORS = [
    name,
    count,
    truth,
    direction,
    bracket,
    operation,
    thing,
    drop,
    swap,
    double,
    repeated_sum,
    early_sum,
    answer,
    bare,
]


@pytest.mark.slow
@pytest.mark.parametrize("task, forks", TEACHERS)
def test_mutations_are_caught(task, forks):
    rng = random.Random(f"0/{task}")
    tried = {}  # by operator, for every mutant: whether it is caught
    slipped = []
    for trace in traces(task, 150, forks=forks):
        for operator in OPERATORS:
            mutant = operator(rng, trace)
            if mutant is None or mutant == trace.steps:
                continue
            is_caught = any(check.check(trace.question, mutant))
            tried.setdefault(operator.__name__, []).append(is_caught)
            if not is_caught:
                slipped.append((operator.__name__, trace.question, mutant))
    assert {"drop", "double", "answer", "bare"} <= set(tried)
    assert len(tried) >= 6
    n_tried = sum(len(caught) for caught in tried.values())
    assert len(slipped) <= 0.01 * n_tried, slipped[:5]
    for operator, caught in tried.items():
        if len(caught) >= 40:
            missed = [case for case in slipped if case[0] == operator]
            assert len(missed) <= 0.01 * len(caught), missed[:3]


# ------------------------------------------------------------------------------ written by hand
LIES = "Question: Ann lies. Bob says Ann lies. Cleo says Bob lies. Does Cleo tell the truth?"
WALK = (
    "If you follow these instructions, do you return to the starting point? "
    "Always face forward. Take 3 steps right. Take 2 steps backward.\nOptions:\n- Yes\n- No"
)
TURN = (
    "If you follow these instructions, do you return to the starting point? "
    "Take 4 steps. Turn around. Take 4 steps.\nOptions:\n- Yes\n- No"
)
BOOL = "not ( True and False ) or False is"
DYCK = (
    "Complete the rest of the sequence, making sure that the parentheses are closed properly. "
    "Input: [ < ( ) { }"
)
COUNT = "I have two onions, a cat, and three heads of broccoli. How many vegetables do I have?"
SHUFFLE = (
    "Alice, Bob, and Claire are playing a game. "
    "At the start of the game, they are each holding a ball: "
    "Alice has a red ball, Bob has a blue ball, and Claire has a green ball.\n"
    "As the game progresses, pairs of players trade balls. "
    "First, Alice and Bob swap balls. Then, Bob and Claire swap balls. "
    "Finally, Alice and Bob swap balls. At the end of the game, Bob has the\n"
    "Options:\n(A) red ball\n(B) blue ball\n(C) green ball"
)
KIN = (
    "Given the family relationships:\n* Tomas has parent Ann.\n* Ann has parent Bea.\n"
    "* Bea has no parent.\nOptions:\n- grandparent: 1.\n- sibling: 2.\n- grandchild: 3.\n"
    "What is Tomas' relationship to Bea?"
)
ROADS = (
    "All roads are one-way. Ash leads to Elm and Oak. Elm leads nowhere. Oak leads to Fir. "
    "Fir leads nowhere. Can you get from Ash to Fir?\nOptions:\n- Yes\n- No"
)
STORY = (
    "Some friends count figs. Ann has twice Bob's number. Cleo has 5 fewer than Bob. "
    "There are also 8 beds with Bob. The age of Cleo is 7. Bob has 4 boxes of 3 each. "
    "How many figs do Ann and Bob have in all?"
)
RIGHT = {  # the steps are in other words than the generator's
    LIES: [
        "Ann does not tell the truth.",
        "Bob says that Ann is lying. This is correct, so he is honest.",
        "Cleo claimed Bob isn't honest; that's not true.",
        "Cleo says Bob lies, so Cleo must be lying.",
        "So the answer is no.",
    ],
    WALK: [
        "We begin at (0,0).",
        "Three steps to the right: now I am at (3, 0).",
        "2 steps back, and I land at (3,−2).",
        "So I do not return to the starting point.",
        "Answer: No",
    ],
    TURN: [
        "4 steps takes me to (0, 4).",
        "I turn around, so now I am facing backward. Then 4 steps lead to (0, 0).",
        "The answer is Yes.",
    ],
    BOOL: [
        "Brackets come first, then not, then and, and then or.",
        "True and False is False, which leaves not (False) or False.",
        "( False ) = False.",
        "not False or False is True.",
        "The final answer is: True",
    ],
    DYCK: [
        "First [ < ( gives [ < (. And then ) { } leaves us with [ <.",
        "The answer is > ]",
    ],
    COUNT: [
        "Two onions make 2.",
        "A cat isn't a vegetable. The total remains 2.",
        "The three heads of broccoli bring us to five.",
        "Final answer: 5",
    ],
    SHUFFLE: [
        "In the end Bob has it. Alice and Bob trade balls in swap 3, so it was with Alice before.",
        "Swap 2: Bob swaps with Claire, so Alice still has it.",
        "In the first swap Alice and Bob trade, so Bob had it at the start.",
        "So it is the blue ball, option B.",
    ],
    KIN: [
        "Ann is the parent of Tomas.",
        "Ann's parent is Bea.",
        "Tomas is the grandchild of Bea, so option 3.",
        "The answer is <ANSWER>3</ANSWER>.",
    ],
    ROADS: [
        "I begin in Ash and I want to get to Fir.",
        "From Ash, there are roads to Elm and Oak.",
        "Elm is new. Oak is not known yet.",
        "Next, I go on to Oak from Ash.",
        "A road from Oak to Fir is there.",
        "Fir is my goal.",
        "I can get from Ash to Fir.",
        "The answer is Yes",
    ],
    STORY: [
        "Bob has 4 boxes of 3 figs each, and three x four = 12.",
        "Bob's 8 beds don't matter.",
        "Next we need Bob for Ann.",
        "Ann has twice as many as Bob, so Ann has 24 figs.",
        "12 + 24 = 36, so they have 36 figs in total.",
        "The answer is 36.",
    ],
}
QUESTIONS = list(RIGHT)
WRONG = {  # the last step of each is wrong, the steps before it (| stands between them) are right
    LIES: [
        "Cleo says Bob lies, which is false, so Cleo lies.",
        "Bob says Ann tells the truth.",
        "Ann lies.|Ann lies.",
        "Ann never lies.",
        "Bob says Ann lies, which is true, so Bob is not honest.",
        "The answer is No.",
        "Perhaps Ann lies.",
        "Bob tells the truth.",
        "Ann lies, which is true.",
    ],
    WALK: [
        "2 steps backward takes me to (0, -2).",
        "3 steps right takes me to (0, 3).",
        "3 steps left takes me to (3, 0).",
        "3 steps right.",
        "3 steps right takes me to (3, 0), where I stop.",
    ],
    TURN: [
        "4 steps takes me to (0, 4).|Turning around.",
        "4 steps takes me to (0, 4).|I end at (0, 4), away from the start.",
        "4 steps takes me to (0, 4).|4 steps lead to (0, 0).",
    ],
    BOOL: [
        "False or False is False, leaving not ( True and False ) or False.",
        "False ) or False is False.",
        "True and False is True.",
        "not comes before brackets.",
        "and comes before and.",
        "True and False is False, leaving ( False ) or False.",
        "The expression is True.",
        "and comes first, then not",
    ],
    "True and True or True and True is": [
        "True and True is True.",
    ],
    DYCK: [
        "[ < leaves [ <.|{ } leaves [ <.",
        "[ < ( ) gives [ < (.",
        "[ < stays open, which needs > ].",
        "The first bracket opened closes first.",
        "The last bracket never closes first.",
    ],
    COUNT: [
        "Two onions make 2.|The three heads of broccoli make 5.",
        "Two onions make 2.|The cat brings the count to 3.",
        "Two onions make 2.|The cat brings the count to 2.",
        "I have to count the fruits.",
        "The onion makes 1.",
        "Two onions are not vegetables, so it stays 0.",
        "Two onions.",
        "Two onions make 2, so I have 2 vegetables.",
    ],
    SHUFFLE: [
        "Bob has it; in swap 2 Bob and Claire trade, so Claire had it before.",
        "Bob has it; in swap 3 Alice and Bob trade.",
        "Alice has it; in swap 3 Alice and Bob trade, so Bob had it before.",
        "Bob ends up with blue ball, which is (B).",
        "Alice has blue ball.",
        "In swap 1 Alice and Bob trade, in 2 Alice and Bob.",
        "Bob has it; in swap 3 Alice and Bob trade, so Alice had it before.|"
        "Alice has it; in swap 2 Bob and Claire trade, so Alice had it before.|"
        "Alice has it; in swap 1 Alice and Bob trade, so Bob had it before.|"
        "At the start Bob has blue ball, option (C).",
    ],
    KIN: [
        "Tomas is Bea's grandchild, option 3.",
        "Bea is Ann's parent.",
        "Ann is Tomas' parent.|Nobody is given as Ann's parent.",
        "Tomas is Ann's parent.",
    ],
    ROADS: [
        "From Ash I go to Fir.",
        "From Oak I go to Fir.",
        "Oak leads to Fir.",
        "Ash is a dead end.",
        "Fir can be reached from Ash.",
        "From Ash I go to Elm.|Elm is a dead end, so back to Fir.",
        "From Ash I go to Elm.|From Ash I go to Oak.",
        "Ash leads to Elm and Fir.",
        "Ash only leads to Oak.",
        "Ash is new.",
        "Elm is new.|Elm is known.",
        "Elm is new and Oak is my goal.",
        "Elm is new and Oak is new.|Nothing there is new, and after Ash comes Elm.",
        "Elm is new and Oak is new.|My list is Elm and Oak.",
        "Elm is new and Oak is new.|My list is Ash, Elm, Oak, and after Ash comes Oak.",
        "Elm is new and Oak is new.|After Ash comes Elm.|Elm leads nowhere.|After Ash comes Oak.",
        "From Ash I go to Elm.|Elm is a dead end, so next is nothing.",
        "From Ash I go to Elm.|Elm is a dead end, so back to Ash.|Fir is never reached from Ash.",
    ],
    STORY: [
        "Bob has 4 * 3 = 13.",
        "Bob has 4 * 3 = 12.|Ann has 12 / 2 = 6.",
        "Ann has 12 * 2 = 24.",
        "Bob has 12 figs.",
        "Bob has 4 * 3 = 12.|Ann has 12 figs.",
        "Ann has half Bob's number.",
        "Bob has 4 * 3 = 12.|They have 12 + 24 = 36.",
        "Bob has 4 * 3 = 12.|Ann has 12 * 2 = 24.|They have 36 figs in all.",
        "Bob has 4 * 3 = 12.|The answer is 36.",
        "Bob's figs do not matter.",
        "The 8 beds of Ann do not matter.",
        "The age of Ann does not matter.",
        "We have to find the figs of Cleo.",
        "We need Cleo for the total.",
        "We need Bob for Cleo.",
        "We need Ann for Bob.",
        "12 * 2 = 24.",
    ],
}
OTHER_QUESTIONS = [
    "",
    "How many vegetables do I have?",
    "Sort the following words alphabetically: List: oven cat",
    "((-9 * -3 - 8 - 5) + (1 * -2)) =",
    "What is left is",
    "On the table, I see a red cup. How many things are not red?\nOptions:\n(A) zero\n(B) one",
    "Ann has 3 apples and buys 2 more. How many apples does she have?",
    "Ann has 3 apples. Bob has 2 more apples than Ann. How many pears does Bob have?",
    "Some friends own figs. Ann has 3. Bob has 2 more than Ann. How many pears does Bob have?",
    "Some friends own figs. Ann has 2 more than Bob. Bob has 2 more than Ann. "
    "How many figs does Ann have?",
    "Today, Ann went to the zoo. Between what times could they have gone?",
]
FILLERS = [
    "Okay, let me see.",
    "Hmm. One step at a time.",
    "On the other hand, wait...",
]
GIBBERISH = [
    "purple elephants",
    "This is not so.",
    "No.",
    "42",
    "zq zq",
    "Everyone lies!",
    "Is it?",
]
ODD_WORDS = ["answer", "(", ")", "<", "\x00", "é", "７", "²", "'s", "9" * 21, "|", "𝔘"]
LONG_TEXTS = [
    "not " * 5000 + "True",
    "( " * 3000,
    "[" * 5000,
    "a " * 9000,
    "Ann " * 3000,
    "9" * 6000,
    "(1," * 3000,
    "x" * 100_000,
    "answer is " * 3000,
]


@pytest.mark.parametrize("question, steps", RIGHT.items())
def test_paraphrases(question, steps):
    verdicts = check.check(question, steps)
    if "answer" not in steps[-1].lower():
        assert verdicts.pop() == "hands over no answer"
    assert not any(verdicts), verdicts


@pytest.mark.parametrize(
    "question, text", [(question, text) for question in WRONG for text in WRONG[question]]
)
def test_wrong_steps(question, text):
    steps = text.split("|")
    *verdicts, _ = check.check(question, [*steps, "Good."])  # that no answer came is said there
    assert verdicts[-1]
    assert not any(verdicts[:-1]), verdicts


def edited(steps, edit):
    """Steps changed by {"2": new text (or None: without it), "+2": one before it, "2-5": for them}.

    "2-5" puts one step in the place of the steps from 2 up to 5.
    """
    parts = [[step] for step in steps]
    for place, text in edit.items():
        first, _, end = place.removeprefix("+").partition("-")
        if place.startswith("+"):
            parts[int(first)].insert(0, text)
            continue
        parts[int(first)][-1:] = [text] if text else []
        for i in range(int(first) + 1, int(end or 0)):
            parts[i] = []
    return [step for part in parts for step in part]


@pytest.mark.parametrize("task", CASES)
def test_sneaky_traces_are_refused_and_other_words_accepted(task):
    """Traces that were written to deceive or to vary; the lists of those misjudged are short."""
    case = CASES[task]
    question, steps = case["question"], case["steps"]
    assert not any(check.check(question, steps))

    def accepted(edits):
        traces = [edited(steps, {k: v for k, v in e.items() if k != "why"}) for e in edits]
        return [not any(check.check(question, trace)) for trace in traces]

    assert not any(accepted(case["wrong"]))
    assert all(accepted(case["right"]))
    assert len(case["wrong_but_accepted"]) <= 0.15 * len(case["wrong"])
    assert len(case["right_but_refused"]) <= 0.2 * len(case["right"] + case["right_but_refused"])


def of_a_reader(kind, task):
    return [row for row in READER_TRACES if row["kind"] == kind and row["task"] == task]


def refused_steps(row):
    verdicts = check.check(row["question"], row["steps"])
    return {i for i, verdict in enumerate(verdicts) if verdict}


@pytest.mark.parametrize("task", TASKS)
def test_a_reader_and_the_checker_agree_on_what_students_write(task):
    """Once a step is wrong, it is open how to read those that build on it.

    So steps are compared up to the first one that either of the two refuses.
    """
    n_steps = n_alike = 0
    for row in of_a_reader("student", task):
        refused, wrong = refused_steps(row), set(row["wrong"])
        assert refused or not wrong  # no wrong trace is accepted
        end = min(refused | wrong | {len(row["steps"]) - 1}) + 1
        n_steps += end
        n_alike += sum((i in refused) == (i in wrong) for i in range(end))
    print(f"{task}: {n_alike} of {n_steps} steps alike")
    assert n_steps >= 100 and n_alike >= 0.97 * n_steps


@pytest.mark.parametrize("task", TASKS)
def test_what_a_reader_wrote_to_deceive_is_refused(task):
    rows = of_a_reader("sneaky", task)
    n_refused = sum(bool(refused_steps(row)) for row in rows)
    print(f"{task}: {n_refused} of {len(rows)} sneaky traces refused")
    assert n_refused >= 0.85 * len(rows) > 0


def test_some_other_words_for_a_step_are_accepted():
    """Few: the checkers read the teacher's wording. Let them not become fewer."""
    rows = [row for row in READER_TRACES if row["kind"] == "reworded"]
    n_accepted = sum(not refused_steps(row) for row in rows)
    print(f"{n_accepted} of {len(rows)} rewordings accepted")
    assert n_accepted >= 0.29 * len(rows)


def test_task_of():
    tasks = [
        "web_of_lies",
        "navigate",
        "navigate",
        "boolean_expressions",
        "dyck_languages",
        "object_counting",
        "tracking_shuffled_objects",
        "family_relations",
        "reachability",
        "word_problems",
    ]
    assert [check.task_of(question) for question in QUESTIONS] == tasks
    for question in OTHER_QUESTIONS:
        assert check.task_of(question) is None
    assert check.check(OTHER_QUESTIONS[1], ["The answer is 2."]) is None
    assert check.check(LIES, []) == []


@pytest.mark.parametrize("question", QUESTIONS)
def test_fillers_are_neutral_and_gibberish_is_wrong(question):
    *verdicts, _ = check.check(question, [*FILLERS, "x"])
    assert not any(verdicts), verdicts
    for text in GIBBERISH:
        assert check.check(question, [text, "Okay."])[0], text


def test_later_steps_are_judged_by_the_true_state():
    steps = [
        "Okay.",
        "3 steps right takes me to (4, 0).",
        "2 steps backward takes me to (3, -2).",
        "I end at (3, -2), away from the start.",
        "The answer is No.",
    ]
    verdicts = check.check(WALK, steps)
    assert [bool(verdict) for verdict in verdicts] == [False, True, False, False, False]
    assert check.check(WALK, [*steps, "3 steps right takes me to (3, 0)."])[-1]


@pytest.mark.parametrize("question", QUESTIONS)
def test_never_raises(question):
    texts = [*QUESTIONS, *map("|".join, RIGHT.values()), *sum(WRONG.values(), [])]
    pool = [*" ".join(texts).split(), *ODD_WORDS]
    rng = random.Random(f"0/{question}")

    def words(n):
        return " ".join(rng.choices(pool, k=n))

    for _ in range(60):
        check.check(question, [words(rng.randint(0, 30)) for _ in range(4)])
        kept = [word for word in question.split(" ") if rng.random() < 0.95]
        kept.insert(rng.randrange(len(kept)), rng.choice(pool))
        check.check(" ".join(kept), ["The answer is Yes.", words(9)])
    for text in LONG_TEXTS:
        check.check(question, [text])
        check.check(f"{question} {text[:9000]}", ["Okay."])


def test_long_questions_take_no_long_time():
    assert check.task_of(SHUFFLE + " (A) x" * 100 + "\n?") is None
    nots = "not " * 5000  # an even number: they do not change the value
    steps = [
        f"{nots}True is True, leaving True or False.",
        "True or False is True.",
        "The answer is True.",
    ]
    first, *others = check.check(f"{nots}True or False is", steps)
    assert first.endswith("is too much for one step") and others == ["", ""]
