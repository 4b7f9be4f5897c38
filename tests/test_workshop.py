"""The workshop: its solutions are right, and the exercises say what is wrong in plain words."""

import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from data.algorithmic import prepare
from data.tools.files import read_jsonl, write_jsonl
from data.tools.flags import UserError
from data.workshop import label, pool
from model import summed_loss
from scaffold import SIGNALS

ROOT = Path(__file__).resolve().parent.parent
WORKSHOP = ROOT / "data" / "workshop"


def checked(folder, program):
    """What pytest says of a file of exercises (str) that lies in the folder."""
    (folder / "mine.py").write_text(program, encoding="utf-8")
    path = os.pathsep.join([str(folder), str(ROOT)])
    done = subprocess.run(
        # "-rN": no summary, which repeats each message where the variable CI is set.
        [sys.executable, "-m", "pytest", "-q", "-rN", "-p", "no:cacheprovider", str(WORKSHOP)],
        cwd=ROOT,
        env={**os.environ, "EXERCISES": "mine", "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        encoding="utf-8",
    )
    return done.stdout


@pytest.fixture(scope="module")
def solutions():
    return (WORKSHOP / "solutions.py").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_solutions_are_right(solutions, tmp_path):
    assert "6 passed" in checked(tmp_path, solutions)


@pytest.mark.slow
def test_untouched_exercises_wait(tmp_path):
    program = (WORKSHOP / "exercises.py").read_text(encoding="utf-8")
    assert not re.search(r"^(from|import) .*solutions", program, re.MULTILINE)
    said = checked(tmp_path, program)
    assert "6 failed" in said
    assert said.count("waits for you in data/workshop/exercises.py") == 6
    assert "Traceback" not in said and "During handling" not in said


def test_the_loss_is_the_projects(monkeypatch):
    monkeypatch.syspath_prepend(WORKSHOP)
    torch.manual_seed(0)
    means, args = [], []
    for n_classes in (11, 7):
        logits, targets = torch.randn(2, 9, n_classes), torch.randint(-1, n_classes, (2, 9))
        args += [logits, targets]
        head = torch.nn.Linear(n_classes, n_classes, bias=False)
        torch.nn.init.eye_(head.weight)
        means.append(summed_loss(head, logits, targets) / (targets >= 0).sum())
    found = importlib.import_module("solutions").joint_loss(*args, 0.3)
    torch.testing.assert_close(found, 0.7 * means[0] + 0.3 * means[1])


# At most one for each exercise: what is replaced in the solutions, by what, and what is said.
MISTAKES = [
    [
        (
            "[NO_SIGNAL] * len(question)",
            "[signals[0]] * len(question)",
            "not to learn the question",
        ),
        ("return (1 - beta) * token_loss", "return token_loss", "text's loss has a weight, too"),
        ("hidden[idx == step_id]", "hidden[:, :, :].flatten(0, 1)", "There are 5 boundaries"),
        ("if confidence < tau", "if confidence <= tau", "only *below* tau"),
        ("            stage = []", "            pass", "it reads [Conclusion 2], not"),
        ("append((ADDITION", "append((CONTRAST", "This step should be"),
    ],
    [
        ("row[-1] = end_id", "pass", "ends with <|end|>"),
        ("beta * signal_loss", "beta**2 * signal_loss", "With beta 0.3"),
        (".softmax(-1)", "", "A confidence is a probability"),
        ("idx + step, signal", "idx, signal", "Is each one read"),
        ("read.append((signal, text))", "pass", "never forgotten"),
        ("rng.sample(", "__import__('random').sample(", "draw everything from rng"),
    ],
    [
        ("return row[:-1]", "return row", "never read"),
        ("ignore_index=-1)", "ignore_index=-1, reduction='sum')", "not the sum"),
        ("idx == step_id", "(idx == step_id).roll(1, 1)", "not from the word after it"),
        ("            break", "            pass", "goes on after its"),
        ("return read + stage", "return steps", "you keep all of them"),
        ("str(largest), steps", "str(first), steps", "the answer is"),
    ],
    [
        (
            "return row[:-1], targets",
            "question.pop(); return row[:-1], targets",
            "has changed question",
        ),
        (
            "token_loss = F.cross_entropy(token_logits.flatten(0, 1), targets.flatten(), "
            "ignore_index=-1)",
            "token_loss = sum(map(F.cross_entropy, token_logits, targets.clone().where("
            "targets >= 0, -100))) / 2",
            "one mean over the whole batch",
        ),
        ("return signals, confidences", "return confidences, signals", "First the signals"),
        ("student.logits(idx + step, signal)", "student.logits(idx + step, 0)", "under the signal"),
        ("return read + stage", "return [text for _, text in read + stage]", "(signal, text)"),
        ("range(1, 100)", "range(1, 50)", "not 1 to 99"),
    ],
    [
        ("targets, target_signals", "targets, [NO_SIGNAL, *target_signals[:-1]]", "one late"),
        (
            "return (1 - beta) * token_loss + beta * signal_loss",
            "return beta * token_loss + (1 - beta) * signal_loss",
            "beta is the weight of the signals' loss",
        ),
        (".softmax(-1)", ".softmax(0)", "over the signals, the last dimension"),
        ("while len(step) < room", "while True", "never ends"),
        ("return read + stage", "read + stage", "what_is_read returned nothing"),
        ("str(largest), steps", "largest, steps", "the answer is '"),
    ],
    [
        (
            "row += [*step, step_id]",
            "row += [*step, end_id if step == steps[-1] else step_id]",
            "c <|step|> a b <|end|>",
        ),
        (
            "return (1 - beta) * token_loss + beta * signal_loss",
            "return ((1 - beta) * token_loss + beta * signal_loss).detach()",
            "training needs its gradient",
        ),
        ("return signals, confidences", "return signals + 1, confidences", "Signals count from 0"),
        ("while len(step) < room", "while len(step) <= room", "or without room"),
        ("signal == CONCLUSION", "signal >= CONCLUSION", "not [Conclusion, Response]"),
        ("range(1, 100)", "range(1, 99)", "from 1 to 98, not 1 to 99"),
    ],
    [
        (
            "+= [signal] * (len(step) + 1)",
            "+= [signals[steps.index(step)]] * (len(step) + 1)",
            "target_signals should be",
        ),
        (
            "targets.flatten(), ignore_index=-1",
            "targets.flatten().where(targets.flatten() > 0, -1), ignore_index=-1",
            "0 is a target like any other",
        ),
        ("return signals, confidences", "return signals, confidences[:, None]", "not [5, 1]"),
        ("in (student.step_id, student.end_id)", "== student.step_id", "goes on after its"),
        (
            "return read + stage",
            "return list(dict.fromkeys(read + stage))",
            "not [Conclusion, Recall, Response]",
        ),
        (
            "rng.sample(range(1, 100), n)",
            "sorted(rng.sample(range(1, 100), n))",
            "never in some places",
        ),
    ],
    [
        ("row[:-1], targets,", "row[:-1], row[:-1],", "shift the row"),
        (
            "token_loss = F.cross_entropy(token_logits.flatten(0, 1), targets.flatten(), "
            "ignore_index=-1)",
            "targets[targets == -1] = -100; "
            "token_loss = F.cross_entropy(token_logits.flatten(0, 1), targets.flatten())",
            "joint_loss has changed targets",
        ),
        (
            "states = hidden[idx == step_id]",
            "hidden[idx != step_id] = 0; states = hidden[idx == step_id]",
            "has changed hidden",
        ),
        ("idx + step, signal)", "[*idx, *step], RECALL)", "under the signal"),
        ("return read + stage", "return (step for step in read + stage)", "type generator"),
        ("{', '.join(map(str, numbers))}", "{numbers}", "is not in the form"),
    ],
    [
        ("def encode_trace(", "def encode(", "has no function encode_trace"),
        ("signal_targets, beta)", "signal_targets)", "The check calls it with 5 arguments"),
        ("while len(step) < room", "while not step or len(step) < room", "or without room"),
        ("rng.sample(range(1, 100), n)", "list(set(rng.sample(range(1, 100), n)))", "a set of"),
    ],
]


@pytest.mark.slow
@pytest.mark.parametrize("mistakes", MISTAKES, ids=range(len(MISTAKES)))
def test_a_mistake_is_named(mistakes, solutions, tmp_path):
    program = solutions
    for right, mistaken, _ in mistakes:
        assert right in program
        program = program.replace(right, mistaken)
    said = checked(tmp_path, program)
    assert f"{len(mistakes)} failed" in said
    assert "Traceback" not in said and "During handling" not in said
    for _, _, message in mistakes:
        assert message in said


# ------------------------------------------------------------------------------- results of a class
def result_file(folder, accuracy, **flags):
    """A result.json as a run with these flags leaves it."""
    config = {"seed": 0, "n_train": 600, "adam_lr": 0.003, "out_dir": str(folder), **flags}
    result = {"accuracy": accuracy, "erroneous_paths": 1 - (accuracy or 0), "config": config}
    folder.mkdir()
    (folder / "result.json").write_text(json.dumps(result))
    return str(folder / "result.json")


def test_only_pairs_are_pooled(tmp_path, capsys):
    runs = [
        ("a", 0.9, {"method": "scaffold"}),
        ("b", 0.7, {"method": "clone", "adam_lr": 0.006}),
        ("c", 0.8, {"method": "scaffold", "seed": 1}),
        ("d", 0.7, {"method": "clone", "seed": 1}),
        ("again", 0.1, {"method": "clone", "seed": 1}),
        ("other", 0.1, {"method": "clone", "seed": 2, "n_train": 250}),
        ("alone", 0.1, {"method": "scaffold", "seed": 2}),
    ]
    paths = [result_file(tmp_path / name, accuracy, **flags) for name, accuracy, flags in runs]
    figure = tmp_path / "pooled.png"
    pool.main([*paths, "--figure", str(figure)])
    said = capsys.readouterr().out
    assert "accuracy, scaffold minus clone, 2 pairs: +15.0 ±63.5" in said  # 20 and 10; t of one df
    assert "erroneous paths, scaffold minus clone, 2 pairs: -15.0 ±63.5" in said
    assert said.count("without a partner") == 2
    assert f"the same run was there: {tmp_path / 'again' / 'result.json'}" in said
    assert figure.stat().st_size > 1000


def test_what_is_no_result_is_not_pooled(tmp_path):
    (tmp_path / "result.json").write_text("{}")
    with pytest.raises(UserError, match="not a result.json"):
        pool.main([str(tmp_path / "result.json"), "--figure", str(tmp_path / "pooled.png")])
    alone = result_file(tmp_path / "a", 0.9, method="scaffold")
    with pytest.raises(UserError, match="no pair"):
        pool.main([alone, "--figure", str(tmp_path / "pooled.png")])
    unasked = result_file(tmp_path / "b", None, method="scaffold")  # --n_test 0
    with pytest.raises(UserError, match="not a result.json of train.py with answers"):
        pool.main([unasked, "--figure", str(tmp_path / "pooled.png")])
    with pytest.raises(UserError, match="is no picture"):
        pool.main([alone, "--figure", str(tmp_path / "pooled.txt")])


def test_paths_that_nobody_judges_are_not_pooled(tmp_path, capsys):
    """Of a task without a checker."""
    paths = []
    for method, accuracy in (("scaffold", 0.9), ("clone", 0.7)):
        paths.append(result_file(tmp_path / method, accuracy, method=method))
        result = json.loads(Path(paths[-1]).read_text())
        Path(paths[-1]).write_text(json.dumps({**result, "erroneous_paths": None}))
    pool.main([*paths, "--figure", str(tmp_path / "new" / "pooled.png")])
    said = capsys.readouterr().out
    assert "accuracy, scaffold minus clone, 1 pair: +20.0" in said
    assert "left out, not known of every run: erroneous paths" in said


# ----------------------------------------------------------------------------------- labels by hand
def test_labels_by_hand(tmp_path, monkeypatch, capsys):
    """Asked step by step, stopped and gone on with, then compared."""
    pairs = prepare.rows(list(prepare.FAMILIES), "val", 2)
    gold = [signal for _, signals in pairs for signal in signals]
    anna, ben = str(tmp_path / "anna.jsonl"), str(tmp_path / "ben.jsonl")

    def type_in(signals):
        typed = iter([str(signal + 1) for signal in signals])

        def answer(prompt):
            try:
                return next(typed)
            except StopIteration:
                raise EOFError from None

        monkeypatch.setattr("builtins.input", answer)

    n_first = len(pairs[0][1])
    type_in(gold[: n_first + 1])  # the second trace is not finished
    with pytest.raises(KeyboardInterrupt, match="goes on"):
        label.main([anna, "--n", "2"])
    assert [row["signals"] for row in read_jsonl(anna)] == [gold[:n_first]]
    type_in(gold[n_first:])
    label.main([anna, "--n", "2"])
    type_in([(signal + 1) % 3 for signal in gold])
    label.main([ben, "--n", "2"])
    capsys.readouterr()
    label.main([anna, "--n", "2", "--compare", ben])
    said = capsys.readouterr().out
    assert f"100%  the teacher and {anna}" in said
    assert f"  0%  the teacher and {ben}" in said
    with pytest.raises(UserError, match="not the labels of these traces"):
        label.main([anna, "--n", "3", "--compare", ben])


def test_a_file_without_labels_is_not_added_to(tmp_path):
    rows = [row for row, _ in prepare.rows(list(prepare.FAMILIES), "val", 2)]
    first, n_steps = rows[0]["question"], rows[0]["trace"].count("\n\n") + 1
    labels = ([1], "Recall", [[]] * n_steps, [len(SIGNALS)] * n_steps, ["1"] * n_steps)
    wrong = [{"question": first, "signals": signals} for signals in labels]
    for others in (rows, [{"question": "another", "signals": [1]}], *([row] for row in wrong)):
        write_jsonl(tmp_path / "t.jsonl", others)
        before = (tmp_path / "t.jsonl").read_bytes()
        with pytest.raises(UserError, match="not the labels of these traces"):
            label.main([str(tmp_path / "t.jsonl"), "--n", "3"])
        assert (tmp_path / "t.jsonl").read_bytes() == before
