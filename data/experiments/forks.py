"""What students do where several ways are right: at the forks of a plan's test questions.

    python -m data.experiments.forks data/experiments/forks/plan.jsonl

For plans whose flags have "forks". A fork is a step at which the teacher had ways with different
signals. There the decoding "told" names the signal of the teacher's trace, which took one of these
ways by chance: a right signal, but often not the student's own. Elsewhere the head decides. To obey
is to be named, by the annotator, as one was told; mostly the opening words decide that. So it is
also counted whether a step *does* what it was told, and how much more often than with "embed", in
pairs of one seed. Steps are compared as long as student and teacher are on one path: all steps
before were right, had the teacher's signals and did what these mean. The grid counts them, as
"steps" in the results. Nothing is trained.
"""

import re
from collections import defaultdict
from dataclasses import dataclass

from data.experiments.plan import check_sizes, read_results
from data.experiments.report import PLAN, interval
from data.tools.flags import UserError, parse_flags, run_program
from scaffold import CONCLUSION, EXAMPLES, SIGNAL_NAMES

# {family: (the words of one of the two ways at its forks, the signal of this way)}
WAYS = {
    "object_counting": (r"\d [a-z ]+ (so far|up to here|by now|in (all|total)|alto)", CONCLUSION),
    "web_of_lies": (" would ", EXAMPLES),  # the contrary is supposed
}
DONE, DONE_PAIRED = "done, told, fork", "done, told, fork, minus that of embed"


@dataclass
class ForksConfig:
    """There is nothing to choose."""


def does(task, signal, text):
    """Does a step's text do what its signal (an index) means? Where `WAYS` cannot tell, True."""
    if task not in WAYS:
        return True
    words, way = WAYS[task]
    return bool(re.search(words, text)) == (signal == way)


def compared_steps(record, question):
    """Yield (is it a fork, is it right, does it obey, does it do what it was told) for each step.

    record: a student's answer, as sample.evaluate keeps it. question: with the teacher's "steps",
    and "open", the signals that were right at each of them. The last step is left out: the
    annotator names it for its place. A step without the teacher's signal, or one that is wrong,
    does not obey or does something else, is the last that is compared.
    """
    obeyed = record["obeyed"] or []
    paths = zip(record["steps"], obeyed, question["steps"], question["open"], strict=False)
    for step, obeys, teachers_step, right_signals in paths:
        is_right = not step["verdict"]
        is_done = does(question["task"], SIGNAL_NAMES.index(step["signal"]), step["text"])
        yield len(right_signals) > 1, is_right, obeys, is_done
        if step["signal"] != teachers_step["signal"] or not (is_right and obeys and is_done):
            return


def count_steps(records, questions):
    """{"fork" or "elsewhere": {"all", "right", "obeyed" or "done": n}}; of a clone, nothing."""
    counts = {}
    for record, question in zip(records, questions, strict=True):
        for is_fork, is_right, obeys, is_done in compared_steps(record, question):
            place = "fork" if is_fork else "elsewhere"
            count = counts.setdefault(place, {"all": 0, "right": 0, "obeyed": 0, "done": 0})
            count["all"] += 1
            count["right"] += is_right
            count["obeyed"] += obeys
            count["done"] += is_done
    return counts


def measure(rows):
    """{(task, arm): {name of a measure: {seed: its value, in % or a number of steps}}}."""
    measures = defaultdict(lambda: defaultdict(dict))
    for row in sorted(rows, key=lambda row: row["decoding"] == "told"):  # the others come first
        task, seed = row["flags"]["tasks"], row["flags"]["seed"]
        student = measures[task, row["arm"]]
        if row["decoding"] == "predicted":
            student["accuracy"][seed] = 100 * row["accuracy"]
        if row["decoding"] == "told":
            student["lost when told"][seed] = student["accuracy"][seed] - 100 * row["accuracy"]
        for place, count in row.get("steps", {}).items():
            student[f"all, {row['decoding']}, {place}"][seed] = count["all"]
            for name in ("right", "obeyed", "done"):
                share = 100 * count[name] / count["all"]
                if name != "done" or task in WAYS:
                    student[f"{name}, {row['decoding']}, {place}"][seed] = share
    for (task, arm), student in measures.items():
        if arm != "embed" and (task, "embed") in measures:
            done, embed = student[DONE], measures[task, "embed"][DONE]
            student[DONE_PAIRED] = {seed: done[seed] - embed[seed] for seed in done.keys() & embed}
    return measures


COLUMNS = [  # (heading, measure)
    ("accuracy", "accuracy"),
    ("lost when told", "lost when told"),
    ("obeys at forks", "obeyed, told, fork"),
    ("elsewhere", "obeyed, told, elsewhere"),
    ("does it at forks", DONE),
    ("does it - embed", DONE_PAIRED),
    ("forks compared", "all, told, fork"),
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
        cells = [show(list(values[name].values())) for _, name in COLUMNS]
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
    check_sizes(rows, plan_path)
    print(table(measure(rows)))


if __name__ == "__main__":
    run_program(main)
