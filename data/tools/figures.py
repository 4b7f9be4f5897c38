"""The pictures of annotate.py and train.py. matplotlib is slow to import: only where it draws."""

from pathlib import Path

import numpy as np

from data.tools.flags import UserError
from scaffold import SIGNALS

NAMES = [signal.short for signal in SIGNALS]


def check_picture(path):
    """Raise UserError unless the file name of a --figure ends as a picture's does."""
    if Path(path).suffix not in (".png", ".pdf", ".svg"):
        raise UserError(f"--figure {path}: is no picture; let it end in .png, .pdf or .svg")


def panels(n, width, height):
    """(a figure, its n axes side by side), each of them width by height inches."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(n * width, height), layout="tight")
    return figure, figure.subplots(1, n, squeeze=False)[0]


def draw_annotation(report, path):
    """Draw how signals follow one another and, where a judge named them too, both names.

    report: what annotate.annotate returns, with counts "transitions" (S + 1, S), whose last row is
    the question's, and perhaps "confusion" (S, S); S = len(SIGNALS). None, where the data came
    annotated: a picture of an earlier run goes.
    """
    if report is None:
        return Path(path).unlink(missing_ok=True)
    judged = "confusion" in report
    figure, axes = panels(1 + judged, 7, 5.5)
    draw_matrix(axes[0], report["transitions"], [*NAMES, "(question)"], "signal", "next signal")
    if judged:
        draw_matrix(axes[1], report["confusion"], NAMES, report["judge"], "annotated signal")
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def draw_matrix(ax, counts, row_names, row_label, column_label):
    """Draw counts, with a column for every signal, as shares of their row."""
    shares = counts / np.maximum(1, counts.sum(1, keepdims=True))
    ax.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    ax.set_xticks(range(len(NAMES)), NAMES, rotation=35, ha="right")
    ax.set_yticks(range(len(row_names)), row_names)
    for (row, column), share in np.ndenumerate(shares):
        if share >= 0.005:
            style = {"color": "white" if share > 0.5 else "black", "fontsize": 9}
            ax.text(column, row, f"{share:.0%}", ha="center", va="center", **style)
    ax.set(title=f"{column_label}, by {row_label}", xlabel=column_label, ylabel=row_label)


def draw_curves(metrics, path):
    """Draw both losses (nats) against the step, with a line for every split.

    metrics: rows {"step", "split", "token_loss", "signal_loss"}; a clone's signal losses are all 0.
    """
    losses = ["token_loss"]
    if any(row["signal_loss"] for row in metrics):
        losses.append("signal_loss")
    figure, axes = panels(len(losses), 5.5, 4)
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
    if high > 5 * low:
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    else:
        axis.set_major_locator(MaxNLocator(6, steps=(1, 2, 5, 10)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_locator(NullLocator())
