"""The workshop: its solutions are right, and the exercises say what is wrong in plain words."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
WORKSHOP = ROOT / "data" / "workshop"


def checked(folder, program):
    """What pytest says of a file of exercises (str) that lies in the folder."""
    (folder / "mine.py").write_text(program, encoding="utf-8")
    path = os.pathsep.join([str(folder), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(WORKSHOP)],
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


MISTAKES = [  # one for each exercise: what is replaced in the solutions, by what, what is said
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
]


@pytest.mark.slow
@pytest.mark.parametrize("mistakes", MISTAKES, ids=range(len(MISTAKES)))
def test_a_mistake_is_named(mistakes, solutions, tmp_path):
    program = solutions
    for right, mistaken, _ in mistakes:
        assert right in program
        program = program.replace(right, mistaken)
    said = checked(tmp_path, program)
    assert "6 failed" in said
    for _, _, message in mistakes:
        assert message in said
