"""Forks: where several ways are right the teacher chooses, its rows say which, all are accepted."""

import json
import random
import re
from collections import defaultdict

import pytest
import torch

import sample
from annotate import annotate
from data.algorithmic import prepare
from data.algorithmic.check import check
from data.algorithmic.common import write
from data.experiments import forks, grid, rescore
from data.experiments.plan import StudentPlan, read_results, student_plans, traces_file
from data.tools.batch import Reasoning
from data.tools.checkpoint import load_student
from data.tools.checks import check_training
from data.tools.files import write_jsonl
from data.tools.flags import UserError
from data.tools.loading import load_data
from scaffold import (
    ADDITION,
    CONCLUSION,
    CONTRAST,
    EXAMPLES,
    RECALL,
    RESPONSE,
    SIGNAL_NAMES,
    keyword_signal,
)
from train import TrainConfig

FORKED = prepare.FORKED


def forked_problem(task, seed, choices):
    """Problem number `seed` of a task; choices: another seed, of what is done at its forks."""
    forks = None if choices is None else random.Random(choices)
    return prepare.problem(random.Random(seed), task, forks=forks)


@pytest.mark.parametrize("task", prepare.FAMILIES)
def test_the_flag_changes_no_question(task):
    plain = list(prepare.generate(task, "train", 60))
    forked = list(prepare.generate(task, "train", 60, forks=True))
    assert [row["question"] for row, _ in plain] == [row["question"] for row, _ in forked]
    assert [row["answer"] for row, _ in plain] == [row["answer"] for row, _ in forked]
    assert not any("open" in row for row, _ in plain)
    same = [row["trace"] for row, _ in plain] == [row["trace"] for row, _ in forked]
    assert same == (task not in FORKED)
    for row, signals in forked:
        for signal, open_signals in zip(signals, row["open"], strict=True):
            assert signal in open_signals == sorted(set(open_signals))
            assert task in FORKED or open_signals == [signal]


@pytest.mark.parametrize("task", FORKED)
def test_a_trace_has_two_to_four_forks(task):
    forked = [row["open"] for row, _ in prepare.generate(task, "train", 300, forks=True)]
    n_forks = sum(len(signals) > 1 for row in forked for signals in row)
    assert 2 <= n_forks / len(forked) <= 4


@pytest.mark.parametrize("task", FORKED)
def test_most_questions_have_several_flows(task):
    n_flows = []
    for seed in range(20):
        problems = [forked_problem(task, seed, choices) for choices in range(20)]
        assert len({p.question for p in problems}) == 1
        n_flows.append(len({tuple(signal for signal, _ in p.steps) for p in problems}))
    assert sum(n > 1 for n in n_flows) >= 15


@pytest.mark.slow
@pytest.mark.parametrize("task", FORKED)
def test_every_way_is_accepted_and_open(task):
    """Of 300 traces of a question, those that began alike go on with every signal that is open."""
    n_forks = 0
    for seed in range(12):
        going_on = defaultdict(list)  # (signal, what is done) of the first steps -> next signals
        said_open = {}
        for choices in range(300):
            p = forked_problem(task, seed, choices)
            rng = random.Random(choices)
            steps = [*p.steps, (RESPONSE, p.answer)]
            verdicts = check(p.question, [write(rng, *step) for step in steps])
            assert not any(verdicts), (p, verdicts)
            for i, (signal, _) in enumerate(steps):
                begun = tuple(steps[:i])
                going_on[begun].append(signal)
                open_signals = p.open_signals.get(i, {signal})
                assert said_open.setdefault(begun, open_signals) == open_signals
        often = {begun: found for begun, found in going_on.items() if len(found) >= 60}
        for begun, found in often.items():
            assert set(found) == said_open[begun], (p.question, begun)
            n_forks += len(set(found)) > 1
    assert n_forks >= 12


WORDS = [  # (task, the words of what is done at a fork, the signal that it has)
    *[(task, words, signal) for task, (words, signal) in forks.WAYS.items()],
    ("boolean_expressions", "[Nn]ot (True|False) (is|gives|makes) ", CONTRAST),
    ("boolean_expressions", " comes? (first|before)", RECALL),
    ("word_problems", " does not (matter|count)", CONTRAST),
    ("reachability", r"from here|^(?!.*look).*[A-Z]\w+ is new", EXAMPLES),
]


@pytest.mark.parametrize("task, words, signal", WORDS)
def test_a_signal_is_decided_by_what_is_done(task, words, signal):
    for row, signals in prepare.generate(task, "train", 200, forks=True):
        for text, gold in zip(row["trace"].split("\n\n"), signals, strict=True):
            assert bool(re.search(words, text)) == (gold == signal), (row, text)


@pytest.mark.parametrize("task", forks.WAYS)
def test_what_is_done_tells_the_ways_of_a_fork_apart(task):
    for row, signals in prepare.generate(task, "train", 200, forks=True):
        texts = row["trace"].split("\n\n")
        for text, gold, right_signals in zip(texts, signals, row["open"], strict=True):
            done = [signal for signal in right_signals if forks.does(task, signal, text)]
            assert done == [gold], (row, text)


def test_a_keyword_alone_does_not_do_what_was_told():
    """Told to sum up, it names the next item, and opens with a word of conclusions."""
    assert forks.does("object_counting", CONCLUSION, "So there are 2 fruits so far.")
    item = "So the grape is a fruit."
    assert keyword_signal(item)[0] == CONCLUSION
    assert not forks.does("object_counting", CONCLUSION, item)
    assert forks.does("object_counting", ADDITION, item)
    assert not forks.does("web_of_lies", EXAMPLES, "First, Ann says Bob lies, which is true.")


def test_prepare_writes_what_was_open(tmp_path):
    flags = ["--n_train", "6", "--n_val", "0", "--n_test", "0", "--out_dir", str(tmp_path)]
    prepare.main([*flags, "--forks"])
    tasks = prepare.DEFAULT_TASKS.split(",")
    pairs = prepare.rows(tasks, "train", 6, forks=True)
    rows, gold = (
        [json.loads(line) for line in (tmp_path / name).read_text().splitlines()]
        for name in ("train.jsonl", "train.gold.jsonl")
    )
    assert [line["open"] for line in gold] == [row.pop("open") for row, _ in pairs]
    assert rows == [row for row, _ in pairs]
    assert any(len(signals) > 1 for line in gold for signals in line["open"])
    prepare.main(flags)
    assert '"open"' not in (tmp_path / "train.gold.jsonl").read_text()


def texts(traces):
    return [[step.text for step in trace.steps] for trace in traces]


def test_train_learns_from_forks_and_an_experiment_asks_with_them():
    config = TrainConfig(forks=True, n_train=40, n_val=9, n_test=9)
    traces, val_traces, test_rows, _ = load_data(config)
    tasks = prepare.DEFAULT_TASKS.split(",")
    for loaded, split, n in [(traces, "train", 40), (val_traces, "val", 9)]:
        rows = [row for row, _ in prepare.rows(tasks, split, n, forks=True)]
        assert texts(loaded) == [row["trace"].split("\n\n") for row in rows]
    line = {
        "arm": "forked",
        "tasks": [prepare.DEFAULT_TASKS],
        "n_train": [40],
        "seeds": [0],
        "questions": 9,
        "flags": {"forks": True},
        "decodings": {},
    }
    (student,) = student_plans([line])
    assert "--forks" in student.argv()
    questions, _ = grid.find_questions(student, None)
    pairs = prepare.rows(tasks, "test", 9, forks=True)
    assert test_rows == [row for row, _ in pairs]
    assert [row["id"] for row in questions] == [row["id"] for row in test_rows]
    assert [row["open"] for row in questions] == [row["open"] for row in test_rows]  # to be counted
    # "gold" names the teacher's own signals, not the annotator's.
    named = [[SIGNAL_NAMES.index(step["signal"]) for step in row["steps"]] for row in questions]
    assert named == [signals for _, signals in pairs]


def test_a_file_has_no_forks_to_choose_nor_have_all_families():
    with pytest.raises(UserError, match="--forks: .* leave it out with --data"):
        check_training(TrainConfig(forks=True, data="data/example.jsonl"))
    task = next(task for task in prepare.FAMILIES if task not in FORKED)
    with pytest.raises(UserError, match=f"--forks: {task} has none"):
        load_data(TrainConfig(forks=True, tasks=task))
    with pytest.raises(UserError, match=f"--forks: {task} has none"):
        prepare.main(["--forks", "--tasks", task])


# --------------------------------------------------------------------- the report of an experiment
def forked_questions(task, n):
    """As the grid asks them: the steps have the teacher's own signals."""
    pairs = prepare.rows([task], "test", n, forks=True)
    return annotate([row for row, _ in pairs], llm=[signals for _, signals in pairs])[0]


def answer_like(question):
    """The record of a student that wrote what the teacher did, under the teacher's signals."""
    steps = [{**step, "verdict": ""} for step in question["steps"]]
    return {"steps": steps, "obeyed": [True] * (len(steps) - 1)}


def test_steps_are_compared_until_the_paths_part():
    texts = ["We count the fruits.", "So I have 2 fruits so far.", "The deer is an animal.", "2"]
    signals = (RECALL, CONCLUSION, ADDITION, RESPONSE)
    steps = [
        {"signal": SIGNAL_NAMES[signal], "text": text}
        for signal, text in zip(signals, texts, strict=True)
    ]
    right_signals = [[RECALL], [ADDITION, CONCLUSION], [ADDITION], [RESPONSE]]
    question = {"task": "object_counting", "steps": steps, "open": right_signals}
    record = answer_like(question)

    def compared():
        return list(forks.compared_steps(record, question))

    assert compared() == [(False, *[True] * 3), (True, *[True] * 3), (False, *[True] * 3)]
    record["obeyed"][1] = False
    assert compared()[1:] == [(True, True, False, True)]
    record["obeyed"][1] = True
    record["steps"][1]["text"] = "So the deer is an animal."  # named as told, but no sum
    assert compared()[1:] == [(True, True, True, False)]
    record["steps"][1]["signal"] = SIGNAL_NAMES[ADDITION]  # right, but not the teacher's way
    assert compared()[1:] == [(True, True, True, True)]
    record["steps"][0]["verdict"] = "false"
    assert compared() == [(False, False, True, True)]


def test_the_grid_counts_the_steps_and_judging_again_counts_them_anew(trained, tmp_path):
    flags = {"tasks": "object_counting", "n_train": 30, "seed": 0, "forks": True}
    decodings = {"told": {"split": "val", "signals": "forks"}}
    ((row, records),) = grid.question(StudentPlan("a", flags, 5, decodings), trained)
    n_compared = {place: count["all"] for place, count in row["steps"].items()}
    assert sum(n_compared.values()) >= 5  # the first step of each answer, at least
    plan, results = tmp_path / "plan.jsonl", tmp_path / "results.jsonl"
    write_jsonl(results, [{**row, "steps": {}}])
    write_jsonl(traces_file(results, row), records)
    rescore.main([str(plan)])
    assert read_results(plan)[0]["steps"] == row["steps"]


def test_the_report_of_the_forks(tmp_path, capsys):
    """Told by others it obeys elsewhere, at no fork, and errs in half of the first steps."""
    plan, task = tmp_path / "plan.jsonl", "object_counting"
    plan.write_text("")
    with pytest.raises(UserError, match="no student of forked traces"):
        forks.main([str(plan)])
    questions = forked_questions(task, 20)
    flags = {"tasks": task, "n_train": 5, "seed": 0, "forks": True}
    records = [answer_like(question) for question in questions]
    own = forks.count_steps(records, questions)
    for i, (record, question) in enumerate(zip(records, questions, strict=True)):
        record["obeyed"] = [len(signals) == 1 for signals in question["open"][:-1]]
        record["steps"][0]["verdict"] = "false" if i % 2 else ""
    told = forks.count_steps(records, questions)
    shared = {"arm": "embed", "flags": flags}
    rows = [
        {**shared, "decoding": "told", "accuracy": 0.7, "steps": told},
        {**shared, "decoding": "predicted", "accuracy": 0.9, "steps": own},
    ]
    write_jsonl(tmp_path / "results.jsonl", rows)
    forks.main([str(plan)])
    last_line = capsys.readouterr().out.splitlines()[-1]
    cells = [cell.strip() for cell in last_line.strip("|").split("|")]
    # Told: every second path ends at its first step, which is wrong; the others at a fork, if any.
    n_right = n_forks = 0
    for question in questions[::2]:
        is_fork = [len(signals) > 1 for signals in question["open"][:-1]]
        n_right += is_fork.index(True) if any(is_fork) else len(is_fork)
        n_forks += any(is_fork)
    expected = f"object_counting embed 1 90.0 20.0 0.0 100.0 100.0  {n_forks}.0 100.0 100.0 100.0"
    # the empty cell: embed has no difference to itself
    assert cells == [*expected.split(" "), f"{100 * n_right / (n_right + 10):.1f}"]


def test_signals_are_told_at_forks_alone(trained, monkeypatch):
    pairs = prepare.rows(["object_counting"], "val", 12, forks=True)
    rows, _ = annotate([row for row, _ in pairs], llm=[signals for _, signals in pairs])
    asked = {}

    def ask(student, questions, flows, *_, **__):
        asked.update(zip(questions, flows, strict=True))
        return [Reasoning() for _ in questions]

    monkeypatch.setattr(sample, "ask", ask)
    sample.evaluate(load_student(trained / "ckpt.pt", torch.device("cpu")), rows, signals="forks")
    assert len(asked) == 12
    for row, signals in pairs:
        for told, signal, choices in zip(asked[row["question"]], signals, row["open"], strict=True):
            assert told == (signal if len(choices) > 1 else -1)
