"""Judge the kept answers of a plan's students again, after a change of the checkers.

    python -m data.experiments.rescore data/experiments/plan.jsonl

Nothing is trained or decoded: the grid keeps every answer in the folder traces beside the plan.
Accuracy, erroneous paths and the steps at forks are made anew in results.jsonl where a row's
answers are there.
"""

from dataclasses import dataclass

from data.experiments.forks import count_steps
from data.experiments.grid import questions_of
from data.experiments.plan import read_results, results_file, traces_file
from data.experiments.report import PLAN
from data.tools.evaluation import judge_record, score
from data.tools.files import read_jsonl, write_jsonl
from data.tools.flags import UserError, parse_flags, run_program
from data.tools.machine import lock_folder


@dataclass
class RescoreConfig:
    """There is nothing to choose."""


def rescore(row, path):
    """Score a row of the results by the answers that are kept in path. Says what has changed."""
    records = read_jsonl(path)
    for record in records:
        judge_record(record)
    scores = score(records)
    for name in ("accuracy", "erroneous_paths"):
        if row[name] != scores[name]:
            print(f"{path.name}: {name} {row[name]} -> {scores[name]}")
            row[name] = scores[name]
    if "steps" in row:
        row["steps"] = count_steps(records, questions_of(row))


def rescore_all(plan, results):
    """`rescore` each row of a plan's results whose answers are kept.

    Raises UserError where no answers are kept.
    """
    rows = read_results(plan)
    n_judged = 0
    for row in rows:
        del row["line"]
        path = traces_file(results, row)
        if path.exists():
            rescore(row, path)
            n_judged += 1
    if not n_judged:
        raise UserError(f"{results.with_name('traces')}: no answers of {plan} are kept there")
    write_jsonl(results, rows)
    print(f"{results}: {n_judged} of {len(rows)} rows judged again")


def main(argv=None):
    _, plan = parse_flags(RescoreConfig, argv, __doc__.split("\n")[0], PLAN)
    results = results_file(plan)
    if not results.exists():
        raise UserError(f"{results}: no such file; the grid writes it")
    with lock_folder(results.parent):
        rescore_all(plan, results)


if __name__ == "__main__":
    run_program(main)
