"""Pool the results of a class: does the scaffold beat cloning, over everybody's seeds?

    python -m data.workshop.pool everybody/*/result.json

Every run of train.py leaves a result.json. A pair is a scaffold and a clone with the same flags,
their learning rates aside; a run without its partner is left out, and named.
"""

import glob
import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data.experiments.report import interval
from data.tools.figures import check_picture, panels
from data.tools.files import check_outputs
from data.tools.flags import Positional, UserError, flag, parse_flags, run_program

MEASURES = ["accuracy", "erroneous_paths"]
OWN = {"method", "muon_lr", "adam_lr", "out_dir", "resume"}  # flags in which a pair may differ


@dataclass
class PoolConfig:
    figure: str = flag("pooled.png", "picture to write: a line for each pair")


def read_pairs(paths):
    """[{method: result}, ...] of the runs that have a partner. Raises UserError."""
    pairs = defaultdict(dict)
    for path in paths:
        try:
            result = json.loads(Path(path).read_text(encoding="utf-8"))
            config = result["config"]
            same = json.dumps({name: v for name, v in config.items() if name not in OWN})
            method, accuracy = config["method"], float(result["accuracy"])
            result.setdefault("erroneous_paths", None)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            raise UserError(f"{path}: not a result.json of train.py with answers") from None
        if method in pairs[same]:
            print(f"left out, the same run was there: {path} (accuracy {accuracy:.1%})")
        pairs[same].setdefault(method, result)
    for same, pair in pairs.items():
        if len(pair) == 1:
            print(
                f"left out, without a partner: {next(iter(pair))}, seed {json.loads(same)['seed']}"
            )
    return [pair for pair in pairs.values() if len(pair) == 2]


def measures(pairs):
    """Those that all results have: nobody judges the paths where no checker knows the task."""
    results = [result for pair in pairs for result in pair.values()]
    return [name for name in MEASURES if all(result[name] is not None for result in results)]


def count(pairs):
    """The number of pairs in words."""
    return f"{len(pairs)} pair{'s' if len(pairs) > 1 else ''}"


def in_points(pairs, measure):
    """(clones, scaffolds): a measure of all pairs, in %."""
    methods = ("clone", "scaffold")
    return [np.array([100 * pair[method][measure] for pair in pairs]) for method in methods]


def difference(pairs, measure):
    """The mean of scaffold minus clone in points, with its 95% t-interval from two pairs on."""
    clones, scaffolds = in_points(pairs, measure)
    mean, half = interval(scaffolds - clones)
    return f"{mean:+.1f}" if len(pairs) == 1 else f"{mean:+.1f} ±{half:.1f}"


def draw(pairs, path):
    """A line for each pair, from its clone to its scaffold, and a thick one for their means."""
    names = measures(pairs)
    figure, axes = panels(len(names), 4.5, 4.5)
    figure.suptitle(f"scaffold minus clone, {count(pairs)}, mean and 95% interval")
    for ax, measure in zip(axes, names, strict=True):
        values = in_points(pairs, measure)
        ax.plot([0, 1], values, "o-", color="0.5", alpha=0.6)
        ax.plot([0, 1], np.mean(values, axis=1), "o-", color="tab:blue", linewidth=3)
        ax.set_title(f"{difference(pairs, measure)} points")
        ax.set_xticks([0, 1], ["clone", "scaffold"])
        ax.set_xlim(-0.3, 1.3)
        ax.set_ylabel(f"{measure.replace('_', ' ')} in %")
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


def main(argv=None):
    results = Positional("results", "result.json of many runs", "+")
    config, paths = parse_flags(PoolConfig, argv, __doc__.split("\n")[0], results)
    # Not every shell replaces a * by the names that there are.
    paths = [path for name in paths for path in sorted(glob.glob(name)) or [name]]
    check_outputs([config.figure], *paths)
    check_picture(config.figure)
    pairs = read_pairs(paths)
    if not pairs:
        raise UserError("no pair of a scaffold and a clone; name the result.json of both")
    if measures(pairs) != MEASURES:
        print("left out, not known of every run: erroneous paths")
    for measure in measures(pairs):
        name = measure.replace("_", " ")
        print(f"{name}, scaffold minus clone, {count(pairs)}: {difference(pairs, measure)}")
    draw(pairs, config.figure)
    print(f"{config.figure}: a line for each pair, a thick one for their means")


if __name__ == "__main__":
    run_program(main)
