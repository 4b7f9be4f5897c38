"""The embedded teacher: deterministic, disjoint splits, BBH's formats, signals that the reasoning explains."""
import json
import re
from collections import Counter

import pytest

from data.algorithmic import prepare
from data.algorithmic.check import task_of
from scaffold import SIGNALS

ALL = list(prepare.TASKS)


def test_signal_numbers_are_scaffolds():
    order = ("Addition", "Examples", "Personal", "Contrast", "Reasoning", "Conclusion", "Response")
    assert all(SIGNALS[i].startswith(name) for i, name in enumerate(order))
    assert (prepare.ADD, prepare.EXAMPLE, prepare.RECALL, prepare.CONTRAST, prepare.REASON, prepare.CONCLUDE, prepare.RESPOND) == tuple(range(7))


def test_rows_are_deterministic_and_a_longer_file_starts_like_a_shorter_one():
    assert prepare.rows(ALL, "train", 80) == prepare.rows(ALL, "train", 160)[:80]
    assert prepare.rows(ALL, "train", 80, seed=1) != prepare.rows(ALL, "train", 80)


def test_splits_share_no_question_whatever_the_seed():
    split = {s: {r["question"] for seed in (0, 1) for r, _ in prepare.rows(ALL, s, 200, seed)} for s in ("train", "val", "test")}
    assert not split["train"] & split["val"] and not split["train"] & split["test"] and not split["val"] & split["test"]


@pytest.mark.parametrize("task", ALL)
def test_family(task):
    pairs = list(prepare.generate(task, "train", 400))
    assert {"id", "task", "question", "trace", "answer"} == pairs[0][0].keys()
    assert all(len(r["trace"].split("\n\n")) == len(g) and g[-1] == prepare.RESPOND and prepare.RESPOND not in g[:-1] for r, g in pairs)
    assert len({s for _, g in pairs for s in g}) >= 4
    assert all(task_of(r["question"]) == task for r, _ in pairs)
    assert all(r["trace"].rstrip(".").endswith(r["answer"]) for r, _ in pairs)
    common = Counter(r["answer"] for r, _ in pairs).most_common(1)[0][1] / len(pairs)
    assert common < (0.65 if task in ("web_of_lies", "navigate", "boolean_expressions", "reachability", "family_relations") else 0.5)


def test_all_seven_signals_occur_over_the_families():
    assert {s for _, g in prepare.rows(ALL, "train", 200) for s in g} == set(range(7))


@pytest.mark.parametrize("task", ALL)
def test_gold_signals_do_not_hang_on_the_wording(task):
    """The same problem written twice: other words, the same signals."""
    import random
    wordings, signals = set(), set()
    for seed in range(5):
        rng = random.Random(7)
        question, answer, steps = prepare.problem(rng, task)
        rng.seed(seed)
        wordings.add(" ".join(prepare.write(rng, s, body) for s, body in steps))
        signals.add((question, tuple(s for s, _ in steps)))
    assert len(wordings) == 5 and len(signals) == 1


FORMATS = {
    "web_of_lies": r"Question: \w+ (lies|tells the truth)\.( \w+ says \w+ (lies|tells the truth)\.)+ Does \w+ tell the truth\?",
    "navigate": r"If you follow these instructions, do you return to the starting point\? (Always face forward\. )?((Take \d+ steps?( (left|right|forward|backward))?|Turn (left|right|around))\. ?)+\nOptions:\n- Yes\n- No",
    "boolean_expressions": r"(True|False|not|and|or|\(|\)| )+ is",
    "dyck_languages": r"Complete the rest of the sequence, making sure that the parentheses are closed properly\. Input:( [\[\](){}<>])+",
    "object_counting": r"I have (an?|two|three|four|five) [\w ]+(, (and )?(an?|two|three|four|five) [\w ]+)+\. How many (fruits|vegetables|animals|musical instruments|objects) do I have\?",
}


@pytest.mark.parametrize("task", FORMATS)
def test_question_format_is_bbhs(task):
    for r, _ in prepare.generate(task, "test", 200):
        assert re.fullmatch(FORMATS[task], r["question"]), r["question"]


def test_longer_problems_on_demand(tmp_path):
    count = lambda q: q.count(" says ") + 1
    assert max(count(r["question"]) for r, _ in prepare.generate("web_of_lies", "test", 100)) <= 6
    assert min(count(r["question"]) for r, _ in prepare.generate("web_of_lies", "test", 100, lengths=(9, 12))) >= 9
    prepare.main(["--tasks", "navigate", "--lengths", "12-14", "--n_train", "5", "--n_val", "1", "--n_test", "3", "--out_dir", str(tmp_path)])
    rows = [json.loads(line) for line in open(tmp_path / "test.jsonl")]
    gold = [json.loads(line) for line in open(tmp_path / "test.gold.jsonl")]
    assert [r["id"] for r in rows] == [g["id"] for g in gold] and len(rows) == 3


def test_running_dry_is_said():
    with pytest.raises(ValueError, match="only"):
        list(prepare.generate("boolean_expressions", "test", 500, lengths=(3, 3)))
