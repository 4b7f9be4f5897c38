"""The embedded teacher: deterministic, disjoint splits, BBH's formats, signals with a reason."""

import json
import random
import re
from collections import Counter
from pathlib import Path

import pytest

from annotate import annotate
from data.algorithmic import prepare
from data.algorithmic.check import task_of
from data.algorithmic.common import WORDS, write
from data.tools.files import question_hash, read_jsonl
from data.tools.flags import UserError
from data.tools.loading import load_data
from scaffold import (
    ADDITION,
    CONCLUSION,
    CONTRAST,
    EXAMPLES,
    REASONING,
    RECALL,
    RESPONSE,
    SIGNALS,
)
from train import TrainConfig

TASKS = list(prepare.FAMILIES)
FEW_ANSWERS = [  # yes or no, or the number of one of a few options
    "web_of_lies",
    "navigate",
    "boolean_expressions",
    "reachability",
    "family_relations",
]


def questions_of(split, seed):
    return {row["question"] for row, _ in prepare.rows(TASKS, split, 200, seed)}


def test_rows_are_deterministic_and_a_longer_file_starts_like_a_shorter_one():
    rows = prepare.rows(TASKS, "train", 80)
    assert rows == prepare.rows(TASKS, "train", 160)[:80]
    assert rows != prepare.rows(TASKS, "train", 80, seed=1)


def test_splits_share_no_question_whatever_the_seed():
    train, val, test = (
        questions_of(split, 0) | questions_of(split, 1) for split in ("train", "val", "test")
    )
    assert not train & val
    assert not train & test
    assert not val & test


@pytest.mark.parametrize("change", ["{}\n", " {}", "{}\r\n"])
def test_white_space_moves_no_question_to_another_split(change):
    """A question that is edited or read from another file is the same question."""
    questions = [row["question"] for task in TASKS for row, _ in prepare.rows([task], "test", 20)]
    for question in questions:
        other = change.format(question.replace("\n", "\r\n"))
        assert prepare.split_of(other) == "test"
        assert question_hash(other) == question_hash(question)


@pytest.mark.parametrize("task", TASKS)
def test_family(task):
    pairs = list(prepare.generate(task, "train", 400))
    for row, signals in pairs:
        assert set(row) == {"id", "task", "question", "trace", "answer"}
        assert len(row["trace"].split("\n\n")) == len(signals)
        assert signals.index(RESPONSE) == len(signals) - 1  # the last step, and it alone
        assert row["trace"].rstrip(".").endswith(row["answer"])
        assert task_of(row["question"]) == task
    assert len({signal for _, signals in pairs for signal in signals}) >= 4
    answers = Counter(row["answer"] for row, _ in pairs)
    most_frequent = answers.most_common(1)[0][1] / len(pairs)
    assert most_frequent < (0.7 if task in FEW_ANSWERS else 0.5)


def test_every_signal_with_openings_occurs_over_the_families():
    found = {signal for _, signals in prepare.rows(TASKS, "train", 200) for signal in signals}
    assert {SIGNALS[signal].short for signal in found} == WORDS["openers"].keys()
    assert len(found) >= 7  # those of the paper


@pytest.mark.parametrize("task", TASKS)
def test_gold_signals_do_not_hang_on_the_wording(task):
    """The same problem written five times: other words, the same signals."""
    wordings, problems = set(), set()
    for seed in range(5):
        rng = random.Random(7)
        problem = prepare.problem(rng, task)
        rng.seed(seed)
        wordings.add(" ".join(write(rng, signal, body) for signal, body in problem.steps))
        problems.add((problem.question, tuple(signal for signal, _ in problem.steps)))
    assert len(wordings) == 5
    assert len(problems) == 1


def read_lies(question, texts):
    """The signals of a trace of web_of_lies, by its words: a lie turns, truths after it go on."""
    is_true = [bool(re.search(" is (true|right|correct), so ", text)) for text in texts]
    signals = [RECALL]
    for i in range(1, len(texts) - 2):
        confirms = ADDITION if is_true[i - 1] else REASONING
        signals.append(confirms if is_true[i] else CONTRAST)
    return [*signals, CONCLUSION, RESPONSE]


def read_counting(question, texts):
    """The signals of a trace of object_counting, by its words: a thing of another kind turns."""
    asked = re.search("How many (.+) do I have", question)[1]
    signals = [RECALL]
    for item in texts[1:-2:2]:  # the step after it is its count
        kind = re.search(r" (?:is an?|are) (.+?)\.", item)[1]
        signals.append(ADDITION if len(signals) > 1 else EXAMPLES)
        signals.append(REASONING if asked.startswith(kind) else CONTRAST)
    return [*signals, CONCLUSION, RESPONSE]


def read_story(question, texts):
    """The signals of a trace of word_problems, by its words: one equation after another adds."""
    signals = [RECALL]
    for i in range(1, len(texts) - 2):
        computes = ADDITION if " = " in texts[i - 1] else REASONING
        told = CONTRAST if " does not " in texts[i] else RECALL
        signals.append(computes if " = " in texts[i] else told)
    return [*signals, CONCLUSION, RESPONSE]


@pytest.mark.parametrize(
    "task, read",
    [
        ("web_of_lies", read_lies),
        ("object_counting", read_counting),
        ("word_problems", read_story),
    ],
)
def test_gold_signals_follow_from_the_text(task, read):
    """The teacher's own signals are those that a reader of its words finds: no coin decides."""
    for row, signals in prepare.generate(task, "train", 200):
        texts = row["trace"].split("\n\n")
        assert read(row["question"], texts) == signals, row


FORMATS = {
    "web_of_lies": r"""
        Question:\ \w+\ (lies|tells\ the\ truth)\.
        (\ \w+\ says\ \w+\ (lies|tells\ the\ truth)\.)+
        \ Does\ \w+\ tell\ the\ truth\?""",
    "navigate": r"""
        If\ you\ follow\ these\ instructions,\ do\ you\ return\ to\ the\ starting\ point\?\s
        (Always\ face\ forward\.\ )?
        ((Take\ \d+\ steps?(\ (left|right|forward|backward))?|Turn\ (left|right|around))\.\ ?)+
        \nOptions:\n-\ Yes\n-\ No""",
    "boolean_expressions": r"(True|False|not|and|or|\(|\)|\ )+\ is",
    "dyck_languages": r"""
        Complete\ the\ rest\ of\ the\ sequence,
        \ making\ sure\ that\ the\ parentheses\ are\ closed\ properly\.
        \ Input:(\ [\[\](){}<>])+""",
    "object_counting": r"""
        I\ have\ (an?|two|three|four|five)\ [\w ]+
        (,\ (and\ )?(an?|two|three|four|five)\ [\w ]+)+\.
        \ How\ many\ (fruits|vegetables|animals|musical\ instruments|objects)\ do\ I\ have\?""",
}


@pytest.mark.parametrize("task", FORMATS)
def test_question_format_is_bbhs(task):
    for row, _ in prepare.generate(task, "test", 200):
        assert re.fullmatch(FORMATS[task], row["question"], re.VERBOSE), row["question"]


def number_of_people(lengths=None):
    """(smallest, largest) number of people in a hundred questions of web_of_lies."""
    pairs = prepare.generate("web_of_lies", "test", 100, lengths=lengths)
    counts = [row["question"].count(" says ") + 1 for row, _ in pairs]
    return min(counts), max(counts)


def test_longer_problems_on_demand():
    assert number_of_people() == (3, 6)
    assert number_of_people(lengths=(9, 12)) == (9, 12)


def test_the_files_hold_the_rows_and_their_gold_signals(tmp_path, capsys):
    flags = ["--tasks", "navigate", "--lengths", "12-14", "--out_dir", str(tmp_path)]
    prepare.main([*flags, "--n_train", "5", "--n_val", "0", "--n_test", "3"])
    assert capsys.readouterr().out.startswith(f"5 train, 3 test problems in {tmp_path}")
    files = {"train.jsonl", "train.gold.jsonl", "test.jsonl", "test.gold.jsonl"}
    assert {path.name for path in tmp_path.iterdir()} == files
    pairs = prepare.rows(["navigate"], "test", 3, lengths=(12, 14))
    lines = (tmp_path / "test.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [row for row, _ in pairs]
    gold = read_jsonl(tmp_path / "test.gold.jsonl", "id")
    assert [(g["id"], g["signals"]) for g in gold] == [(row["id"], s) for row, s in pairs]


def test_families_have_their_shares_of_the_training_rows():
    tasks = prepare.DEFAULT_TASKS.split(",")
    counts = Counter(row["task"] for row, _ in prepare.rows(tasks, "train", 500))
    assert [counts[task] for task in tasks] == [75, 75, 200, 150]


def test_the_example_is_what_its_commands_write():
    """Those of data/README.md: a change of the teacher or the annotator changes the row, too."""
    example = json.loads((Path(prepare.__file__).parents[1] / "example.jsonl").read_text())
    rows, _ = annotate([row for row, _ in prepare.rows(["web_of_lies"], "train", 5000)])
    assert example in rows


def test_all_is_every_family(tmp_path):
    """In prepare, in train.py, and of a file."""
    prepare.main(f"--tasks all --n_train 20 --n_val 0 --n_test 0 --out_dir {tmp_path}".split())
    rows = read_jsonl(tmp_path / "train.jsonl", "task")
    assert {row["task"] for row in rows} == set(prepare.FAMILIES)
    embedded = TrainConfig(tasks="all", n_train=20, n_val=9, n_test=0)
    annotated = TrainConfig(
        data=str(Path(prepare.__file__).parents[1] / "example.jsonl"), tasks="all"
    )
    assert {t.task for t in load_data(embedded)[0]} == set(prepare.FAMILIES)
    assert load_data(annotated)[0]


@pytest.mark.slow
def test_running_dry_is_said(tmp_path):
    with pytest.raises(ValueError, match="only"):
        list(prepare.generate("boolean_expressions", "test", 500, lengths=(3, 3)))
    flags = ["--tasks", "boolean_expressions", "--lengths", "3-3", "--out_dir", str(tmp_path)]
    with pytest.raises(UserError, match="widen --lengths"):
        prepare.main([*flags, "--n_train", "3"])
    assert not list(tmp_path.iterdir())
