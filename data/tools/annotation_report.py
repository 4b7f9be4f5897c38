"""What annotate.py prints: its report as lines of text, and what is odd about the rows."""

import numpy as np

from data.benchmarks.answers import extract, same
from scaffold import SIGNAL_NAMES


def describe(report):
    """The report as lines of text."""
    rows, steps = report["rows"], report["steps"]
    lines = [f"{rows} traces, {steps} steps, {steps / max(1, rows):.1f} a trace"]
    lines += [f"dropped {n}: {reason}" for reason, n in report["dropped"].items()]
    lines.append(f"keyword coverage {report['keyword_coverage']:.1%} of the steps (paper: 74%)")
    if "judge" in report:
        lines.append(
            f"agreement with {report['judge']}, which name {report['judged']:.1%} of the steps: "
            f"keywords {percent(report['keyword_agreement'])} (paper, with an LLM: 87%), "
            f"the rest {percent(report['classifier_agreement'])}, "
            f"all {percent(report['agreement'])}"
        )
    if "classifier_held_out" in report:
        lines.append(
            "the classifier names the keyword's signal, the keyword removed, "
            f"of {report['classifier_held_out']:.1%} of held-out steps"
        )
    for i, name in enumerate(SIGNAL_NAMES):
        line = f"  {report['shares'][i]:6.1%}  {name}"
        if "judge" in report:
            line = f"{line:36}{recall(report['confusion'], i)}"
        lines.append(line)
    return "\n".join(lines)


def percent(share):
    return "n/a" if np.isnan(share) else f"{share:.1%}"


def recall(confusion, signal):
    """How many of the judge's steps with a signal have it; by chance: ours, dealt out at random."""
    total = confusion[signal].sum()
    if total == 0:
        return ""
    chance = confusion[:, signal].sum() / confusion.sum()
    hits = confusion[signal, signal] / total
    return f"{hits:6.0%} of the judge's {total:6} (by chance {chance:.0%})"


def print_warnings(rows):
    """Say what is odd about the annotated rows."""
    wrong = 0
    for row in rows:
        given = extract(row["steps"][-1]["text"])
        wrong += not same(given, row["answer"], row.get("task"))
    if wrong:
        print(
            f"{wrong} traces end in another answer than their row's: "
            "a student would learn them all the same"
        )
    if sum(len(r["steps"]) for r in rows) < 1.5 * len(rows):
        print("hardly a trace has more than one step: steps are split by blank lines")
