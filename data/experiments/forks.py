"""What students do where several ways are right: at the forks of a plan's test questions.

    python -m data.experiments.forks data/experiments/forks/plan.jsonl

For plans whose flags have "forks". A fork is a step at which the teacher had ways with different
signals. There the decoding "told" names the signal of the teacher's trace, which took one of these
ways by chance: a right signal, but often not the student's own. Elsewhere the head decides. Steps
are compared as long as student and teacher are on one path: all steps before were right and had
the teacher's signals. Nothing is trained; the answers are those that the grid keeps in the folder
traces.
"""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from data.algorithmic import prepare
from data.experiments.plan import read_results, results_file, traces_file
from data.experiments.report import PLAN, interval
from data.tools.files import read_jsonl
from data.tools.flags import UserError, parse_flags, run_program
from scaffold import SIGNAL_NAMES


@dataclass
class ForksConfig:
    """There is nothing to choose."""


def compared_steps(record, gold, open_signals):
    """Yield (is it a fork, is it right, does it obey) for each step.

    record: of the kept answers. gold: the signals of the teacher's trace; open_signals: the right
    ones at each of its steps. The last step is left out: the annotator names it for its place. A
    step without the teacher's signal, or a wrong one, is the last that is compared.
    """
    told = zip(record["steps"], record["obeyed"] or [], gold, open_signals, strict=False)
    for step, obeys, signal, right_signals in told:
        is_right = not step["verdict"]
        yield len(right_signals) > 1, is_right, obeys
        if step["signal"] != SIGNAL_NAMES[signal] or not (is_right and obeys):
            return


def count_steps(records, task, split):
    """{"fork" or "elsewhere": (n, 2): of each step, is it right, does it obey}."""
    problems = prepare.rows([task], split, len(records), forks=True)
    teachers = {row["id"]: (signals, row["open"]) for row, signals in problems}
    judged = defaultdict(list)
    for record in records:
        for is_fork, *of_step in compared_steps(record, *teachers[record["id"]]):
            judged["fork" if is_fork else "elsewhere"].append(of_step)
    return {place: np.array(of_steps) for place, of_steps in judged.items()}


def measure(rows, results):
    """{(task, arm): {name of a measure: its value, in %, for each seed}}."""
    measures = defaultdict(lambda: defaultdict(list))
    accuracy = {}
    for row in sorted(rows, key=lambda row: row["decoding"] == "told"):  # the others come first
        task, seed = row["flags"]["tasks"], row["flags"]["seed"]
        student = measures[task, row["arm"]]
        if row["decoding"] == "predicted":
            accuracy[task, row["arm"], seed] = row["accuracy"]
            student["accuracy"].append(100 * row["accuracy"])
        if row["decoding"] == "told":
            lost = accuracy[task, row["arm"], seed] - row["accuracy"]
            student["lost when told"].append(100 * lost)
        if row["decoding"] not in ("predicted", "told") or row["obedience"] is None:
            continue
        records = read_jsonl(traces_file(results, row))
        split = row["options"].get("split", "test")
        for place, of_steps in count_steps(records, task, split).items():
            is_right, obeys = of_steps.T
            if row["decoding"] == "told":
                student[f"obeys, {place}"].append(100 * obeys.mean())
            student[f"right, {row['decoding']}, {place}"].append(100 * is_right.mean())
    return measures


COLUMNS = [  # (heading, measure)
    ("accuracy", "accuracy"),
    ("lost when told", "lost when told"),
    ("obeys at forks", "obeys, fork"),
    ("elsewhere", "obeys, elsewhere"),
    ("own signals: right steps at forks", "right, predicted, fork"),
    ("elsewhere", "right, predicted, elsewhere"),
    ("told: right steps at forks", "right, told, fork"),
    ("elsewhere", "right, told, elsewhere"),
]


def table(measures):
    """Markdown: a line for each family and arm; means in % with 95% t-intervals over the seeds."""
    headings = ["family", "arm", "seeds", *(heading for heading, _ in COLUMNS)]
    lines = [f"| {' | '.join(headings)} |", "|---" * len(headings) + "|"]
    for (task, arm), values in sorted(measures.items()):
        cells = [show(values[name]) for _, name in COLUMNS]
        lines.append(f"| {task} | {arm} | {len(values['accuracy'])} | {' | '.join(cells)} |")
    return "\n".join(lines)


def show(values):
    """The mean of some seeds, with its interval where there are several."""
    if not values:
        return ""
    mean, half = interval(values)
    return f"{mean:.1f}" if len(values) == 1 else f"{mean:.1f} ±{half:.1f}"


def main(argv=None):
    _, plan_path = parse_flags(ForksConfig, argv, __doc__.split("\n")[0], PLAN)
    rows = [row for row in read_results(plan_path) if row["flags"].get("forks")]
    if not rows:
        raise UserError(f"{plan_path}: no student of forked traces has finished yet")
    print(table(measure(rows, results_file(plan_path))))


if __name__ == "__main__":
    run_program(main)
