"""The pictures that annotate.py and train.py leave beside their results.

matplotlib is slow to import, so that each function imports what it needs of it.
"""

from pathlib import Path

import numpy as np

from scaffold import SIGNALS


def draw_annotation(report, path):
    """Draw how signals follow one another and, where a judge named them too, both names.

    report: what annotate.annotate returns, with "transitions" (S + 1, S), whose last row is the
    question's, and perhaps "confusion" (S, S), as counts; S = len(SIGNALS).
    """
    from matplotlib.figure import Figure

    names = [signal.short for signal in SIGNALS]
    judged = "confusion" in report
    figure = Figure(figsize=(14 if judged else 7, 5.5), layout="tight")
    axes = figure.subplots(1, 2 if judged else 1, squeeze=False)[0]
    draw_matrix(axes[0], report["transitions"], [*names, "(question)"], "signal", "next signal")
    if judged:
        draw_matrix(axes[1], report["confusion"], names, report["judge"], "annotated signal")
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def draw_matrix(ax, counts, row_names, row_label, column_label):
    """Draw counts, with a column for every signal, as shares of their row."""
    names = [signal.short for signal in SIGNALS]
    shares = counts / np.maximum(1, counts.sum(1, keepdims=True))
    ax.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    ax.set_xticks(range(len(names)), names, rotation=35, ha="right")
    ax.set_yticks(range(len(row_names)), row_names)
    for (row, column), share in np.ndenumerate(shares):
        if share >= 0.005:
            color = "white" if share > 0.5 else "black"
            text = f"{share:.0%}"
            ax.text(column, row, text, ha="center", va="center", color=color, fontsize=9)
    ax.set(title=f"{column_label}, by {row_label}", xlabel=column_label, ylabel=row_label)


def draw_curves(metrics, path):
    """Draw both losses (nats) against the step, with a line for every split.

    metrics: rows {"step", "split", "token_loss", "signal_loss"}. A clone, whose signal losses are
    all 0, gets the first picture alone.
    """
    from matplotlib.figure import Figure

    losses = ["token_loss"]
    if any(row["signal_loss"] for row in metrics):
        losses.append("signal_loss")
    figure = Figure(figsize=(5.5 * len(losses), 4), layout="tight")
    axes = figure.subplots(1, len(losses), squeeze=False)[0]
    for ax, loss in zip(axes, losses, strict=True):
        for split in dict.fromkeys(row["split"] for row in metrics):
            steps = [row["step"] for row in metrics if row["split"] == split]
            values = [row[loss] for row in metrics if row["split"] == split]
            ax.plot(steps, values, "o-", label=split, markersize=1 if split == "train" else 3)
        ax.set(xlabel="step", ylabel=loss.replace("_", " ") + " (nats)", yscale="log")
        ax.grid(alpha=0.3)
        label_plainly(ax.yaxis)
    if metrics:
        axes[0].legend()
    figure.savefig(path, dpi=120)


def label_plainly(axis):
    """Label a logarithmic axis with a few plain numbers: 0.5, not 5 x 10^-1."""
    from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

    low, high = axis.get_view_interval()
    wide = high > 5 * low
    axis.set_major_locator(
        LogLocator(subs=(1, 2, 5)) if wide else MaxNLocator(6, steps=(1, 2, 5, 10))
    )
    axis.set_major_formatter("{x:g}")
    axis.set_minor_locator(NullLocator())
