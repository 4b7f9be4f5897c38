"""Print and draw what the students of a plan have answered so far; nothing is trained.

    python -m data.experiments.report data/experiments/plan.jsonl
    python -m data.experiments.report data/experiments/plan.jsonl --reference scaffold:predicted

Reads results.jsonl beside the plan; draws results.png and, with an eval_interval, curves.png there.
"""

import math
from collections import Counter, defaultdict
from dataclasses import dataclass
from operator import itemgetter

import numpy as np

from annotate import annotate
from data.algorithmic import prepare
from data.experiments.plan import read_plan, read_results, results_file
from data.tools.figures import draw_curves
from data.tools.files import check_outputs
from data.tools.flags import Positional, UserError, flag, parse_flags, run_program
from data.tools.terminal import printable

PLAN = Positional("plan", "the plan (JSONL); results.jsonl is beside it")


@dataclass
class ReportConfig:
    reference: str = flag(
        "clone", "differences are taken to this arm, or arm and decoding: scaffold:predicted"
    )


def t_quantile(df):
    """The 97.5% quantile of Student's t: df**0.5 times the tangent of an angle.

    The density of that angle goes with cos(angle) ** (df - 1).
    """
    angles = np.linspace(0, np.pi / 2, 10001)
    area = np.cumsum(np.cos(angles[1:] - angles[1] / 2) ** (df - 1))
    return df**0.5 * np.tan(np.interp(0.95 * area[-1], area, angles[1:]))


def interval(values):
    """(mean, half the width of its 95% t-interval); the half is nan for a single value."""
    n = len(values)
    error = np.std(values, ddof=1) / n**0.5 if n > 1 else math.nan
    return np.mean(values), t_quantile(n - 1) * error


def welch(groups):
    """Half of the 95% interval of a sum or difference of the groups' means; nothing is paired.

    groups: lists of at least two values. With Satterthwaite's degrees of freedom, among which those
    of the least exact mean count most.
    """
    squared_errors = np.array([np.var(group, ddof=1) / len(group) for group in groups])
    by_freedom = squared_errors**2 / [len(group) - 1 for group in groups]
    df = squared_errors.sum() ** 2 / (by_freedom.sum() or 1)
    return t_quantile(df) * squared_errors.sum() ** 0.5


def percent(values):
    """Mean and interval of shares, as "95.5 ±2.3"; "-" where a value is missing."""
    if not values or None in values:
        return "-"
    mean, half = interval(values)
    return f"{100 * mean:.1f} ±{100 * half:.1f}".removesuffix(" ±nan")


def group_of(row):
    """(task, number of traces, arm, decoding), which the rows of different seeds share."""
    return row["flags"]["tasks"], row["flags"]["n_train"], row["arm"], row["decoding"]


def by_size(rows, task, arm, measure):
    """{number of traces: [the measure of every seed]} of an arm, smallest first."""
    values = defaultdict(list)
    for row in rows:
        n_train = row["flags"]["n_train"]
        if group_of(row) == (task, n_train, arm, "predicted") and row[measure] is not None:
            values[n_train].append(row[measure])
    return dict(sorted(values.items()))


def fewer(rows, task):
    """Lines that say with how many traces the scaffold has the mean accuracy of the clone.

    Between two sizes the scaffold's best accuracy so far is taken as linear in log n. The interval
    is that of 2,000 drawings from the seeds; beyond the scaffold's sizes its last one counts.
    """
    clone = by_size(rows, task, "clone", "accuracy")
    scaffold = by_size(rows, task, "scaffold", "accuracy")
    rng = np.random.default_rng(0)

    def means(values):
        """The mean of the seeds, then of each drawing from them."""
        return [np.mean(values), *rng.choice(values, (2000, len(values))).mean(1)]

    best = np.maximum.accumulate([means(values) for values in scaffold.values()])  # (sizes, 2001)
    lines = []
    for n, values in clone.items():
        if len(best) and best[0, 0] < np.mean(values) <= best[-1, 0]:
            points = zip(means(values), best.T, strict=True)
            same = np.exp([np.interp(x, xs, np.log(list(scaffold))) for x, xs in points])
            low, high = np.percentile(n / same[1:], (2.5, 97.5))
            lines.append(
                f"{task}: the clone's {np.mean(values):.1%} with {n} traces takes the scaffold "
                f"{same[0]:.0f}, {n / same[0]:.1f} times fewer ({low:.1f} to {high:.1f})"
            )
    return lines


def leak(task):
    """Shares of validation answers right by (the flow of signals alone, the most frequent answer).

    A flow stands for the answer that is most frequent in training after its longest ending there.
    """
    counts = defaultdict(Counter)  # ending of a flow -> how often each answer follows it
    for flow, answer in flows(task, "train", 2000):
        for start in range(len(flow) + 1):
            counts[flow[start:]][answer] += 1
    guesses = {ending: answers.most_common(1)[0][0] for ending, answers in counts.items()}
    right = []
    for flow, answer in flows(task, "val", 500):
        while flow not in guesses:
            flow = flow[1:]
        right.append((answer == guesses[flow], answer == guesses[()]))
    return np.mean(right, axis=0)


def flows(task, split, n):
    """[(signals of the annotated steps, answer)] of n problems of the embedded teacher."""
    rows, _ = annotate([row for row, _ in prepare.rows(prepare.parse_tasks(task), split, n)])
    return [(tuple(step["signal"] for step in row["steps"]), row["answer"]) for row in rows]


def table(rows, reference="clone"):
    """Markdown: mean and 95% interval over the seeds of every task, size, arm and decoding.

    Differences are to the reference's decoding, if it names one ("clone:5 tries"), else to its
    decoding of the same name, or to "predicted" where it has none: with the interval that pairs the
    seeds, the one that does not (Welch's), and the correlation r of the pairs.
    """
    if not rows:
        return "no student has finished yet"
    groups = defaultdict(dict)  # group -> {seed: row}
    for row in rows:
        groups[group_of(row)][row["flags"]["seed"]] = row
    arm, _, named = reference.partition(":")
    cells = []
    for group in sorted(groups, key=itemgetter(0, 1)):
        base = groups.get((*group[:2], arm, named or group[3]))
        base = base or groups.get((*group[:2], arm, "predicted"), {})
        cells.append(columns(groups[group], base, reference))
    lines = [cells[0].keys(), ["---"] * len(cells[0]), *(line.values() for line in cells)]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def columns(by_seed, base, reference):
    """{column: content} of a group; by_seed and base, the reference's group, are {seed: row}."""
    rows = list(by_seed.values())
    pairs = [(row, base[seed]) for seed, row in by_seed.items() if base.get(seed, row) is not row]

    def share(name):
        return percent([row[name] for row in rows])

    def difference(name):
        values = [(a[name], b[name]) for a, b in pairs if a[name] is not None]
        paired = percent([x - y for x, y in values])
        if len(values) < 2:
            return paired
        with np.errstate(invalid="ignore"):  # equal values correlate with nothing
            r = np.corrcoef(values, rowvar=False)[0, 1]
        return f"{paired} / ±{100 * welch(np.transpose(values)):.1f}, r {r:.2f}"

    def mean(name, decimals):
        return f"{np.mean([row[name] for row in rows]):.{decimals}f}"

    ratios = [
        row["signal_accuracy"] / row["signal_ceiling"]
        for row in rows
        if row["signals_kept"] == 1 and not {"classes", "forks"} & row["flags"].keys()
    ]  # the ceiling is that of all signals, annotated, of traces without forks
    taus = [row["tau"] for row in rows if "tau" in row]
    task, n_train, arm, decoding = group_of(rows[0])
    return {
        "task": task,
        "traces": n_train,
        "arm": arm,
        "decoding": decoding,
        "seeds": len(rows),
        "accuracy": share("accuracy"),
        "erroneous": share("erroneous_paths"),
        f"accuracy - {reference}": difference("accuracy"),
        f"erroneous - {reference}": difference("erroneous_paths"),
        "signals": share("signal_accuracy"),
        "signals / ceiling": percent(ratios),
        "tau": " to ".join(f"{tau:.2f}" for tau in sorted({min(taus), max(taus)})) if taus else "-",
        "kept": share("signals_kept"),
        "gated": percent([row.get("gated") for row in rows]),
        "of these answered": percent([row.get("gated_answered") for row in rows]),
        "obedience": share("obedience"),
        "tokens": mean("tokens_per_answer", 0),
        "steps/s": mean("steps_per_second", 2),
        "s to answer": mean("decoding_seconds", 1),
    }


def draw_sizes(rows, path):
    """Draw accuracy and erroneous paths of clone and scaffold against the number of traces."""
    from matplotlib.figure import Figure  # only here: slow to import

    tasks = sorted({row["flags"]["tasks"] for row in rows}) or ["no student yet"]
    figure = Figure(figsize=(5 * len(tasks), 7), layout="tight")
    axes = figure.subplots(2, len(tasks), squeeze=False, sharex="col")
    for (i, j), ax in np.ndenumerate(axes):
        measure = ("accuracy", "erroneous_paths")[i]
        sizes = set()
        for arm, color in (("clone", "tab:gray"), ("scaffold", "tab:blue")):
            if points := by_size(rows, tasks[j], arm, measure):
                draw_arm(ax, points, arm, color)
                sizes |= points.keys()
        ax.set(xscale="log", ylim=(-3, 103), ylabel=measure.replace("_", " ") + " (%)")
        ax.set(title="" if i else tasks[j], xlabel="teacher traces" if i else "")
        ax.set_xticks(sorted(sizes), sorted(sizes))
        ax.minorticks_off()
        ax.grid(alpha=0.3)
    axes[0, 0].legend(*axes[0, 0].get_legend_handles_labels())  # only the arms that are there
    figure.savefig(path, dpi=120)


def draw_arm(ax, points, label, color):
    """Draw {size: [share of every seed]}: a dot a seed, a line of means, a band of intervals."""
    for size, values in points.items():
        ax.plot([size] * len(values), 100 * np.array(values), ".", color=color, alpha=0.5)
    intervals = [interval(values) for values in points.values()]
    mean, half = 100 * np.array(intervals).T
    band = np.clip((mean - half, mean + half), 0, 100)
    ax.plot(list(points), mean, color=color, label=label)
    ax.fill_between(list(points), *band, color=color, alpha=0.15)


def validation_curves(rows):
    """Rows for draw_curves: seed 0 of every arm that asks for an eval_interval.

    The parts of an arm's name, between commas, that all of them share are left out.
    """
    rows = [r for r in rows if "eval_interval" in r["flags"] and r["flags"]["seed"] == 0]
    arms = {row["arm"] for row in rows}
    shared = set.intersection(*(set(arm.split(", ")) for arm in arms)) if arms else set()
    curves = []
    for row in rows:
        parts = [part for part in row["arm"].split(", ") if part not in shared]
        name = ", ".join(parts) or row["arm"]
        for step, token, signal in row["validation"][1:]:
            losses = {"token_loss": token, "signal_loss": signal}
            curves.append({"step": step, "split": name, **losses})
    return curves


def pictures(plan_path):
    """The two figures that are drawn beside a plan."""
    return [results_file(plan_path).with_name(name) for name in ("results.png", "curves.png")]


def check_reference(reference, rows, plan_path):
    """Raise UserError unless a row (dict with "arm" and "decoding") has the reference's name."""
    names = {name for row in rows for name in (row["arm"], f"{row['arm']}:{row['decoding']}")}
    if rows and reference not in {ReportConfig.reference, *names}:
        raise UserError(f"--reference {reference}: {plan_path} has no such arm, or arm:decoding")


def print_report(plan_path, reference="clone"):
    """Print the table and what follows from it, and draw the figures."""
    plan = read_plan(plan_path)
    check_outputs(pictures(plan_path), plan_path, results_file(plan_path))
    rows = read_results(plan_path)
    check_reference(reference, rows, plan_path)
    print(printable(table(rows, reference)))
    own = [line for line in plan if not {"data", "forks"} & line["flags"].keys()]
    tasks = {task for line in own for task in line["tasks"]}
    for task in sorted(tasks):
        by_flow, by_frequency = leak(task)
        print(
            f"{task}: the oracle's signals alone give away {by_flow:.1%} of the answers, "
            f"the most frequent answer {by_frequency:.1%}"
        )
        print(printable("\n".join(fewer(rows, task))))
    sizes_path, curves_path = pictures(plan_path)
    draw_sizes(rows, sizes_path)
    if curves := validation_curves(rows):
        draw_curves(curves, curves_path)


def main(argv=None):
    config, plan_path = parse_flags(ReportConfig, argv, __doc__.split("\n")[0], PLAN)
    print_report(plan_path, config.reference)


if __name__ == "__main__":
    run_program(main)
