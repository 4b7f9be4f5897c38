"""The claim on every family: the number of traces of each, and the difference over all of them.

    python -m data.experiments.by_family data/experiments/families/ladder/plan.jsonl
    python -m data.experiments.by_family data/experiments/families/plan.jsonl

Of clones alone it prints which size of the ladder is halfway. Of clones and scaffolds it prints
their differences and draws families.png beside the plan. Nothing is trained.
"""

from collections import Counter
from dataclasses import dataclass

import numpy as np

from data.algorithmic import prepare
from data.experiments.plan import check_sizes, read_results, results_file
from data.experiments.report import PLAN, by_size, interval, welch
from data.tools.figures import panels
from data.tools.files import check_outputs
from data.tools.flags import UserError, flag, parse_flags, run_program
from train import TrainConfig

MEASURES = ["accuracy", "erroneous_paths"]


@dataclass
class FamiliesConfig:
    tuned_on: str = flag(
        "web_of_lies,object_counting", "families of the tuning: drawn hollow, and not pooled"
    )


# ------------------------------------------------------------------------------------- the ladder
def guessing(task, n=500):
    """The share of validation questions that the commonest answer gets right."""
    answers = Counter(row["answer"] for row, _ in prepare.rows([task], "val", n))
    return answers.most_common(1)[0][1] / n


def halfway(sizes, guess):
    """(the accuracy halfway between guessing and plenty, the smallest size that has it or None).

    sizes: {number of traces: [accuracy of each seed]}, smallest first; the last one is plenty.
    """
    means = {n: np.mean(values) for n, values in sizes.items()}
    mark = (guess + list(means.values())[-1]) / 2
    return mark, next((n for n, mean in means.items() if mean >= mark), None)


def ladder_table(rows):
    """Markdown: a line for each family with its clones' accuracies in %, and its size."""
    lines = [
        "| family | guessing | accuracy by traces | halfway | traces |",
        "|---|---|---|---|---|",
    ]
    for task in families_in(rows):
        sizes, guess = by_size(rows, task, "clone", "accuracy"), guessing(task)
        mark, size = halfway(sizes, guess)
        steps = ", ".join(f"{n}: {100 * np.mean(values):.1f}" for n, values in sizes.items())
        lines.append(f"| {task} | {100 * guess:.1f} | {steps} | {100 * mark:.1f} | {size} |")
    return "\n".join(lines)


# --------------------------------------------------------------------------------- the comparison
def families_in(rows):
    """The families of the results, in the order of FAMILY_NAMES."""
    found = {row["flags"]["tasks"] for row in rows}
    return [task for task in prepare.FAMILY_NAMES if task in found]


def families_with_pairs(rows):
    """The families with at least two pairs: one pair has no interval."""
    return [task for task in families_in(rows) if len(differences(rows, task, "accuracy")) > 1]


def pooled_families(rows, tuned_on):
    """Those that the pooled estimate is over: nothing was tuned on them."""
    return [task for task in families_with_pairs(rows) if task not in tuned_on]


def differences(rows, task, measure):
    """[points of scaffold - clone], one for each seed that both have."""
    by_seed = {"clone": {}, "scaffold": {}}
    for row in rows:
        if row["flags"]["tasks"] == task and row["decoding"] == "predicted":
            by_seed.get(row["arm"], {})[row["flags"]["seed"]] = row[measure]
    clones, scaffolds = by_seed["clone"], by_seed["scaffold"]
    seeds = sorted(clones.keys() & scaffolds)
    return [100 * (scaffolds[seed] - clones[seed]) for seed in seeds]


def difference(rows, task, measure):
    """(mean, half of its 95% interval) of scaffold - clone over the seeds."""
    return interval(differences(rows, task, measure))


def pool_over_families(rows, measure, tuned_on):
    """(mean, half of its 95% interval) over `pooled_families`.

    The family is the unit: each counts once, with the mean of its seeds, and the t-interval is over
    these means. So it speaks of other families like these, not only of other seeds.
    """
    tasks = pooled_families(rows, tuned_on)
    return interval([difference(rows, task, measure)[0] for task in tasks])


def pool_over_seeds(rows, measure, tuned_on):
    """The same mean; its interval is made of the families' own ones, which are over the seeds.

    So it speaks of these families alone. A seed is not paired across families: the students of two
    families share nothing. It was no part of the plan.
    """
    families = [differences(rows, task, measure) for task in pooled_families(rows, tuned_on)]
    mean = np.mean([np.mean(points) for points in families])
    return mean, welch(families) / len(families)  # a mean is a sum over n, and so is its interval


def passes(rows, task):
    """How often training saw each trace of a family."""
    flags = next(row["flags"] for row in rows if row["flags"]["tasks"] == task)
    batch_size = flags.get("batch_size", TrainConfig.batch_size)
    max_steps = flags.get("max_steps", TrainConfig.max_steps)
    return max_steps * batch_size / flags["n_train"]


def signals_learned(rows, task):
    """The scaffolds' signal accuracy as a share of its ceiling: the mean over the seeds."""
    scaffolds = [
        row
        for row in rows
        if (row["flags"]["tasks"], row["arm"], row["decoding"]) == (task, "scaffold", "predicted")
    ]
    return np.mean([row["signal_accuracy"] / row["signal_ceiling"] for row in scaffolds])


def comparison_table(rows, tuned_on):
    """Markdown: scaffold - clone in points with its 95% interval, by family and pooled.

    Beside it, what may explain it: the passes over the traces, and how good the signals are.
    """
    lines = [
        "| family | seeds | accuracy | erroneous paths | passes | signals, % of the ceiling |",
        "|---|---|---|---|---|---|",
    ]
    for task in families_with_pairs(rows):
        texts = cells(difference(rows, task, measure) for measure in MEASURES)
        star = " (tuned on, not pooled)" if task in tuned_on else ""
        n_seeds = len(differences(rows, task, "accuracy"))
        learned = f"{passes(rows, task):.0f} | {100 * signals_learned(rows, task):.0f}"
        lines.append(f"| {task}{star} | {n_seeds} | {texts} | {learned} |")
    over_families = cells(pool_over_families(rows, measure, tuned_on) for measure in MEASURES)
    over_seeds = cells(pool_over_seeds(rows, measure, tuned_on) for measure in MEASURES)
    n = len(pooled_families(rows, tuned_on))
    lines.append(f"| pooled over {n} families | | {over_families} | | |")
    lines.append(f"| the same mean, its interval over the seeds | | {over_seeds} | | |")
    return "\n".join(lines)


def cells(intervals):
    """[(mean, half)] as cells of a table."""
    return " | ".join(f"{mean:+.1f} ±{half:.1f}" for mean, half in intervals)


def draw(rows, tuned_on, path):
    """A row for each family, hollow where it was tuned on; below, the mean and both intervals."""
    tasks = families_with_pairs(rows)
    names = [f"{task} ({len(differences(rows, task, 'accuracy'))} seeds)" for task in tasks]
    names += [f"pooled over {len(pooled_families(rows, tuned_on))}", "the same, over the seeds"]
    figure, axes = panels(len(MEASURES), 6, 0.5 * len(tasks) + 2)
    for ax, measure in zip(axes, MEASURES, strict=True):
        for place, task in enumerate(tasks):
            mean, half = difference(rows, task, measure)
            fill = "white" if task in tuned_on else "tab:blue"
            style = {"color": "tab:blue", "markerfacecolor": fill, "capsize": 3, "markersize": 8}
            ax.errorbar(mean, place, xerr=half, fmt="o", **style)
        style = {"color": "black", "capsize": 5, "markersize": 11, "linewidth": 2}
        for place, pool in enumerate([pool_over_families, pool_over_seeds], len(tasks)):
            mean, half = pool(rows, measure, tuned_on)
            ax.errorbar(mean, place, xerr=half, fmt="D", **style)
        ax.axvline(0, color="0.4", linewidth=1)
        ax.set_yticks(range(len(names)), names)
        ax.invert_yaxis()
        ax.grid(axis="x", alpha=0.3)
        better = {"accuracy": "right", "erroneous_paths": "left"}[measure]
        name = measure.replace("_", " ")
        ax.set(title=f"{name}: better to the {better}", xlabel="scaffold - clone, points")
    axes[1].set_yticklabels([])
    figure.savefig(path, dpi=120)


def main(argv=None):
    config, plan_path = parse_flags(FamiliesConfig, argv, __doc__.split("\n")[0], PLAN)
    rows = read_results(plan_path)
    if not rows:
        raise UserError(f"{plan_path}: no student has finished yet")
    if {row["arm"] for row in rows} == {"clone"}:
        print(ladder_table(rows))
        return
    check_sizes(rows, plan_path)
    path = results_file(plan_path).with_name("families.png")
    check_outputs([path], plan_path)
    tuned_on = prepare.parse_tasks(config.tuned_on) if config.tuned_on else []
    if len(pooled_families(rows, tuned_on)) < 2:
        problem = "two families have to have two pairs of the arms clone and scaffold"
        beside = f", beside {', '.join(tuned_on)}" if tuned_on else ""
        raise UserError(f"{plan_path}: {problem}{beside}")
    print(comparison_table(rows, tuned_on))
    draw(rows, tuned_on, path)
    print(f"drawn: {path}")


if __name__ == "__main__":
    run_program(main)
