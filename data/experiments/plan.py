"""A plan of experiments: which students to train, and what to ask them.

A plan is a JSONL file. One line of it is an arm, and each (n_train, task, seed) of it is a student:

    {"arm": "scaffold", "tasks": ["web_of_lies"], "n_train": [250, 600], "seeds": [0, 1],
     "questions": 200, "flags": {"max_steps": 700}, "decodings": {"gold": {"signals": "gold"}}}

"flags" are those of train.py. With a flag "data" the student answers the test split of that file.
"decodings" name more ways to answer than "predicted", the default one: by flags of sample.py, or
other questions, by "split", "lengths" or the name of a JSONL "file".
"""

from dataclasses import dataclass
from itertools import product
from pathlib import Path
from urllib.parse import quote

from data.tools.files import read_jsonl
from data.tools.flags import UserError

FIELDS = {  # of a line
    "arm": str,
    "tasks": list,  # of names
    "n_train": list,  # numbers of training traces
    "seeds": list,
    "questions": int,  # number of test questions of the embedded teacher
    "flags": dict,
    "decodings": dict,  # of dicts
}


@dataclass
class StudentPlan:
    """One student to train."""

    arm: str
    flags: dict  # with its task, number of traces and seed
    questions: int
    decodings: dict  # under which it has not answered yet

    def argv(self):
        """The flags as a command line of train.py."""
        return command_line(self.flags)

    def row(self, decoding):
        """What defines a row of the results."""
        return {
            "arm": self.arm,
            "decoding": decoding,
            "flags": self.flags,
            "questions": self.questions,
            "options": self.decodings[decoding],
        }


def command_line(flags):
    """{name: value} as the arguments of a program."""
    parts = []
    for name, value in flags.items():
        values = value if isinstance(value, list) else [value]
        parts += [f"--{name}", *map(str, [] if value is True else values)]
    return parts


def read_plan(path):
    """The lines (dicts with FIELDS) of a plan. Raises UserError."""
    lines = read_jsonl(path, "arm")
    for line in lines:
        line.setdefault("decodings", {})
        if not (
            all(isinstance(line.get(name), kind) for name, kind in FIELDS.items())
            and all(isinstance(task, str) for task in line["tasks"])
            and all(isinstance(options, dict) for options in line["decodings"].values())
        ):
            lists = 'lists "tasks" (of names), "n_train" and "seeds", a number "questions"'
            objects = 'an object "flags" and, if any, "decodings" of objects'
            raise UserError(f"{path}, line {line['line']}: a plan needs {lists}, {objects}")
    return lines


def student_plans(lines):
    """All students of a plan, in the order of its lines."""
    students = []
    for line in lines:
        for n_train, task, seed in product(line["n_train"], line["tasks"], line["seeds"]):
            flags = {**line["flags"], "tasks": task, "n_train": n_train, "seed": seed}
            decodings = {"predicted": {}, **line["decodings"]}
            students.append(StudentPlan(line["arm"], flags, line["questions"], decodings))
    return students


def results_file(plan_path):
    """Where the students of a plan leave their results."""
    return Path(plan_path).with_name("results.jsonl")


def traces_file(results, row):
    """Where the answers behind a row of the results are kept; `rescore` reads them."""
    flags = row["flags"]
    parts = row["arm"], row["decoding"], flags["tasks"], flags["n_train"], flags["seed"]
    name = "+".join(quote(str(part), safe=" ,") for part in parts)  # no two rows share one
    return results.with_name("traces") / f"{name}.jsonl.gz"


def check_sizes(rows, plan_path):
    """Raise UserError where a family's students differ in number of traces: they are no pairs."""
    sizes = {}  # of each family
    for row in rows:
        task, n_train = row["flags"]["tasks"], row["flags"]["n_train"]
        if sizes.setdefault(task, n_train) != n_train:
            problem = "has several numbers of traces here, and this report compares at one"
            raise UserError(f"{plan_path}: {task} {problem}")


def read_results(plan_path):
    """The rows of the results so far, one for each student and decoding."""
    path = results_file(plan_path)
    return read_jsonl(path, "arm", "decoding") if path.exists() else []
