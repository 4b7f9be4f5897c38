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

from data.experiments.report import interval
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
            method, accuracy = config["method"], result["accuracy"]
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            raise UserError(f"{path}: not a result.json of train.py") from None
        if method in pairs[same]:
            print(f"left out, the same run was there: {path} (accuracy {accuracy:.1%})")
        pairs[same].setdefault(method, result)
    for same, pair in pairs.items():
        if len(pair) == 1:
            print(
                f"left out, without a partner: {next(iter(pair))}, seed {json.loads(same)['seed']}"
            )
    return [pair for pair in pairs.values() if len(pair) == 2]


def draw(pairs, path):
    """A line for each pair, from its clone to its scaffold."""
    import matplotlib.pyplot as plt

    fig, axes = plt.subplots(1, len(MEASURES), figsize=(9, 4))
    for ax, measure in zip(axes, MEASURES, strict=True):
        for pair in pairs:
            values = [100 * pair[method][measure] for method in ("clone", "scaffold")]
            ax.plot([0, 1], values, "o-", color="0.5", alpha=0.7)
        ax.set_xticks([0, 1], ["clone", "scaffold"])
        ax.set_xlim(-0.3, 1.3)
        ax.set_ylabel(f"{measure.replace('_', ' ')} in %")
    fig.tight_layout()
    fig.savefig(path, dpi=150)


def main(argv=None):
    results = Positional("results", "result.json of many runs", "+")
    config, paths = parse_flags(PoolConfig, argv, __doc__.split("\n")[0], results)
    # Not every shell replaces a * by the names that there are.
    paths = [path for name in paths for path in sorted(glob.glob(name)) or [name]]
    check_outputs([config.figure], *paths)
    pairs = read_pairs(paths)
    if not pairs:
        raise UserError("no pair of a scaffold and a clone; name the result.json of both")
    for measure in MEASURES:
        differences = [100 * (p["scaffold"][measure] - p["clone"][measure]) for p in pairs]
        mean, half = interval(differences)
        text = f"{mean:+.1f} ±{half:.1f}" if len(pairs) > 1 else f"{mean:+.1f}"
        n_pairs = f"{len(pairs)} pair{'s' if len(pairs) > 1 else ''}"
        print(f"{measure.replace('_', ' ')}, scaffold minus clone, {n_pairs}: {text}")
    draw(pairs, config.figure)
    print(f"{config.figure}: a line for each pair")


if __name__ == "__main__":
    run_program(main)
