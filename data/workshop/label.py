"""Label the steps of ten traces by hand, then compare with the keywords and with one another.

    python -m data.workshop.label anna.jsonl                        # asks, step by step
    python -m data.workshop.label anna.jsonl --compare ben.jsonl    # who agrees with whom

A file of labels has a line for each trace; who stops in between goes on where he or she was.
"""

from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from data.algorithmic import prepare
from data.tools.files import check_outputs, read_jsonl, write_jsonl
from data.tools.flags import Positional, UserError, flag, parse_flags, run_program
from data.tools.terminal import paint, printable
from data.tools.traces import load_traces
from scaffold import SIGNALS, keyword_signal, split_steps


@dataclass
class LabelConfig:
    traces: str = flag("", "JSONL file of traces to label; empty: the embedded teacher's")
    n: int = flag(10, "traces to label", low=1)
    compare: tuple = flag((), "other people's labels: print who agrees with whom", nargs="+")


def traces_to_label(config):
    """([(question, its steps), ...], the teacher's own signals of all steps, or None)."""
    if config.traces:
        rows, gold = load_traces(config.traces)[: config.n], None
    else:
        pairs = prepare.rows(list(prepare.FAMILIES), "val", config.n)
        rows, gold = [row for row, _ in pairs], [s for _, signals in pairs for s in signals]
    return [(row["question"], split_steps(row["trace"])) for row in rows], gold


def ask_signal(step):
    """The signal (int) that somebody types for a step; EOFError where the input ends."""
    print("\n  " + printable(step))
    while True:
        typed = input(f"signal, 1 to {len(SIGNALS)}: ").strip()
        if typed.isdecimal() and 1 <= int(typed) <= len(SIGNALS):
            return int(typed) - 1


def label(traces, path):
    """Ask for the signals of all traces that the file at path has none of yet."""
    done = read_jsonl(path) if Path(path).exists() else []
    check_labels(done, traces[: len(done)], path)
    for number, (question, steps) in enumerate(traces[len(done) :], len(done) + 1):
        print(f"\ntrace {number} of {len(traces)}: {printable(question)}\n")
        for i, signal in enumerate(SIGNALS, 1):
            print(paint(f"{i} {signal.name}: {signal.meaning}", signal.color))
        done.append({"question": question, "signals": [ask_signal(step) for step in steps]})
        write_jsonl(path, done)
    print(f"all {len(traces)} traces are labelled in {path}; now --compare it with others")


def check_labels(rows, traces, path):
    """Raise UserError unless the rows of a file are labels of these traces, and of all of them."""
    if len(rows) != len(traces) or not all(map(has_labels_of, rows, traces)):
        raise UserError(
            f"{path}: not the labels of these traces, or not of all: label them first, or mind --n"
        )


def has_labels_of(row, trace):
    """Does a row have a signal for every step of a trace, a (question, steps)?"""
    question, steps = trace
    signals = row.get("signals")
    return (
        row.get("question") == question
        and isinstance(signals, list)
        and len(signals) == len(steps)
        and all(signal in range(len(SIGNALS)) for signal in signals)
    )


def read_labels(path, traces):
    """The signals of all steps, in one list. Raises UserError where they are of other traces."""
    rows = read_jsonl(path)
    check_labels(rows, traces, path)
    return [signal for row in rows for signal in row["signals"]]


def agreement(a, b):
    """Share of the steps on which two lists of signals agree, where both have one."""
    pairs = [(x, y) for x, y in zip(a, b, strict=True) if x is not None and y is not None]
    return sum(x == y for x, y in pairs) / max(1, len(pairs))


def compare(labels, traces):
    """Print the agreement of all pairs of labels ({name: signals}), and where most differ."""
    for a, b in combinations(labels, 2):
        print(f"{agreement(labels[a], labels[b]):4.0%}  {a} and {b}")
    steps = [step for _, steps in traces for step in steps]
    people = [signals for name, signals in labels.items() if name.endswith(".jsonl")]
    disputed = [i for i in range(len(steps)) if len({signals[i] for signals in people}) > 1]
    for i in disputed[:5]:
        print("\n  " + printable(steps[i]))
        for name, signals in labels.items():
            short = "no keyword" if signals[i] is None else SIGNALS[signals[i]].short
            print(f"    {short:<12}{name}")


def main(argv=None):
    path = Positional("labels", "JSONL file of your labels, written where there is none")
    config, path = parse_flags(LabelConfig, argv, __doc__.split("\n")[0], path)
    traces, gold = traces_to_label(config)
    if not config.compare:
        check_outputs([path], config.traces)
        try:
            return label(traces, path)
        except EOFError:
            raise KeyboardInterrupt("stopped; the same command goes on at this trace") from None
    steps = [step for _, steps in traces for step in steps]
    labels = {"the keywords": [keyword_signal(step)[0] for step in steps]}
    if gold:
        labels["the teacher"] = gold
    compare(labels | {p: read_labels(p, traces) for p in [path, *config.compare]}, traces)


if __name__ == "__main__":
    run_program(main)
