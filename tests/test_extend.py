"""What the README promises to whoever extends the project: a signal or a family is one line.

Each test extends a copy of the repository, as a reader would, and runs the programs of the copy.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
RESULTS = shutil.ignore_patterns("__pycache__", "*.png", "results*.jsonl", "real")
TINY = "--n_train 60 --n_val 5 --n_test 4 --depth 1 --max_steps 20 --device cpu".split()

EIGHTH_SIGNAL = """\
    Signal("Question and Doubt", "Doubt", "asks what is not known yet", 95, "why|what if|is it"),
"""

TENTH_FAMILY = '''\
"""Sums: add a few numbers, one after the other.

    What is 3 + 4 + 5?
        REASONING   Let me see: 3 + 4 = 7.
        REASONING   Now 7 + 5 = 12.
        RESPONSE    The answer is 12.
"""

import re

from data.algorithmic.common import DIGITS, Family, Problem
from scaffold import REASONING


def make(rng, n):
    """A sum of n numbers."""
    numbers = [rng.randint(1, 99) for _ in range(n)]
    steps = []
    total = numbers[0]
    for number in numbers[1:]:
        steps.append((REASONING, f"{total} + {number} = {total + number}"))
        total += number
    question = f"What is {' + '.join(map(str, numbers))}?"
    return Problem(question, str(total), steps)


class Checker:
    """Every step adds the next number to the sum so far."""

    answers = DIGITS
    claims = rf"(?P<a>{DIGITS})\\ \\+\\ (?P<b>{DIGITS})\\ =\\ (?P<total>{DIGITS})"

    def __init__(self, numbers):
        self.total, *self.todo = numbers

    def judge(self, claims):
        """Yield what is wrong with the claims of one step."""
        for claim in claims:
            expected = [self.total, *self.todo[:1]]
            if [int(claim["a"]), int(claim["b"])] != expected:
                yield "is not what comes next"
            self.total += self.todo.pop(0) if self.todo else 0
            if int(claim["total"]) != self.total:
                yield f"is not {self.total}"

    def conclude(self):
        """(the true answer, what is missing for it)"""
        return str(self.total), "all of the numbers" if self.todo else ""


def read_question(question):
    """A checker of the question's steps, or None."""
    if not re.fullmatch(r"What is \\d+( \\+ \\d+)+\\?", question):
        return None
    return Checker([int(number) for number in re.findall(r"\\d+", question)])


FAMILY = Family("sums", make, read_question, lengths=(3, 5))
'''

# A program for the copy: the new family's checker accepts the teacher and catches a wrong sum.
VERDICTS = """\
import json
from data.algorithmic.check import check

for line in open("sums/train.jsonl", encoding="utf-8"):
    row = json.loads(line)
    steps = row["trace"].split("\\n\\n")
    assert check(row["question"], steps) == [""] * len(steps), row
    steps[0] = steps[0].replace("= ", "= 1")
    assert "is not" in check(row["question"], steps)[0], row
"""


@pytest.fixture
def copy(tmp_path):
    """The folder of a copy of the project, without its results."""
    folder = tmp_path / "copy"
    shutil.copytree(ROOT / "data", folder / "data", ignore=RESULTS)
    for path in ROOT.glob("*.py"):
        shutil.copy(path, folder)
    return folder


def insert_at_end(path, table, line):
    """Insert one line at the end of a table, a list that a Python file writes line by line."""
    head, rest = path.read_text(encoding="utf-8").split(f"\n{table} = [\n")
    body, tail = rest.split("\n]", 1)
    path.write_text(f"{head}\n{table} = [\n{body}\n{line}]{tail}", encoding="utf-8")


def run(folder, *argv):
    """What a program of the copy prints. It has to end with exit code 0."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, *map(str, argv)],
        cwd=folder,
        env={**environment, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        encoding="utf-8",
        timeout=900,
    )
    assert done.returncode == 0, f"{argv}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def read_rows(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def write_traces_with_doubts(path):
    """60 traces of three steps, of which the second one asks why."""
    rows = []
    for i in range(60):
        steps = [
            f"First, I add {i} and 2.",
            f"Why {i} and 2? The question names both.",
            f"So it is {i + 2}.",
            f"The answer is {i + 2}.",
        ]
        row = {"question": f"What is {i} plus 2?", "answer": str(i + 2)}
        rows.append({"id": f"row-{i}", **row, "trace": "\n\n".join(steps)})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.mark.slow
def test_an_eighth_signal_is_one_line(copy):
    insert_at_end(copy / "scaffold.py", "SIGNALS", EIGHTH_SIGNAL)
    write_traces_with_doubts(copy / "traces.jsonl")
    printed = run(copy, "annotate.py", "traces.jsonl", "annotated.jsonl")
    assert "Question and Doubt" in printed
    annotated = read_rows(copy / "annotated.jsonl")
    assert {row["steps"][1]["signal"] for row in annotated} == {"Question and Doubt"}
    assert (copy / "annotated.png").read_bytes().startswith(b"\x89PNG")

    run(copy, "train.py", "--data", "annotated.jsonl", *TINY)
    (copy / "few.jsonl").write_text(
        "".join(json.dumps(row) + "\n" for row in annotated[:4]), encoding="utf-8"
    )
    printed = run(copy, "sample.py", "--eval", "few.jsonl", "--device", "cpu")
    assert "signal_accuracy" in printed
    assert len(read_rows(copy / "out" / "eval-few.jsonl")) == 4

    flow = ["--flow", "recall,doubt", "--device", "cpu"]
    assert "Question and Doubt" in run(copy, "sample.py", "What is 3 plus 2?", *flow)
    run(copy, "sample.py", "What is 3 plus 2?", "--device", "cpu")


@pytest.mark.slow
def test_a_tenth_family_is_one_file_and_one_line(copy):
    (copy / "data" / "algorithmic" / "sums.py").write_text(TENTH_FAMILY, encoding="utf-8")
    insert_at_end(copy / "data" / "algorithmic" / "prepare.py", "FAMILY_NAMES", '    "sums",\n')
    sizes = ["--n_train", "20", "--n_val", "5", "--n_test", "4"]
    prepare = ["-m", "data.algorithmic.prepare", "--tasks", "sums", "--out_dir", "sums"]
    run(copy, *prepare, *sizes)
    rows = read_rows(copy / "sums" / "test.jsonl")
    assert len(rows) == 4
    assert {row["task"] for row in rows} == {"sums"}

    (copy / "verdicts.py").write_text(VERDICTS, encoding="utf-8")
    run(copy, "verdicts.py")

    run(copy, "train.py", "--tasks", "sums", *TINY)
    result = json.loads((copy / "out" / "result.json").read_text(encoding="utf-8"))
    assert list(result["tasks"]) == ["sums"]
    assert result["erroneous_paths"] is not None
