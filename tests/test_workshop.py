"""The workshop: its solutions are right, and the exercises say what is wrong in plain words."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from data.algorithmic import prepare
from data.tools.files import read_jsonl
from data.tools.flags import UserError
from data.workshop import label, pool

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
        ("            stage = []", "            pass", "the student reads"),
        ("append((ADDITION", "append((CONTRAST", "This step should be"),
    ],
    [
        ("row[-1] = end_id", "pass", "ends with <|end|>"),
        ("beta * signal_loss", "beta**2 * signal_loss", "not how they are added"),
        (".softmax(-1)", "", "A confidence is a probability"),
        ("idx + step, signal", "idx, signal", "Is each one read"),
        ("read.append((signal, text))", "pass", "never forgotten"),
        ("rng.sample(", "__import__('random').sample(", "draw everything from rng"),
    ],
    [
        ("return row[:-1]", "return row", "elements"),
        ("ignore_index=-1)", "ignore_index=-1, reduction='sum')", "With beta 0"),
        ("idx == step_id", "(idx == step_id).roll(1, 1)", "not from the word after it"),
        ("            break", "            pass", "goes on after its"),
        ("return read + stage", "return steps", "you keep all of them"),
        ("str(largest), steps", "str(first), steps", "the answer is"),
    ],
    [
        ("return row[:-1], targets", "question.pop(); return row[:-1], targets", "have changed"),
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
        ("while len(step) < room", "while True", "never ends"),
        ("str(largest), steps", "largest, steps", "the answer is '"),
    ],
    [("while len(step) < room", "while len(step) <= room", "there was room for")],
    [("in (student.step_id, student.end_id)", "== student.step_id", "goes on after its")],
    [("idx + step, signal)", "[*idx, *step], RECALL)", "under the signal")],
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
    for _, _, message in mistakes:
        assert message in said


# ------------------------------------------------------------------------------- results of a class
def result_file(folder, accuracy, **flags):
    """A result.json as a run with these flags leaves it."""
    config = {"seed": 0, "n_train": 600, "adam_lr": 0.003, "out_dir": str(folder), **flags}
    result = {"accuracy": accuracy, "erroneous_paths": 1 - accuracy, "config": config}
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
