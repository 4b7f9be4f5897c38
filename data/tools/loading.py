"""The traces and questions of a run, as its flags ask for them."""

from pathlib import Path

import numpy as np

from annotate import annotate
from data.algorithmic import prepare
from data.tools import parallel
from data.tools.evaluation import of_tasks
from data.tools.flags import UserError
from data.tools.traces import read_questions, to_trace
from scaffold import Step, taxonomy


def load_data(config):
    """(training Traces, validation Traces, test rows, the annotation's report or None).

    Raises UserError for unknown tasks and for data without a training trace.
    """
    if config.data == "algorithmic":
        return load_embedded(config)
    splits = {"train": [], "val": [], "test": []}
    rows = read_questions(config.data, annotated=True)
    for row in of_tasks(rows, config.tasks, config.data):
        splits[prepare.split_of(row["question"])].append(row)  # questions stay together
    if not splits["train"]:
        raise UserError(f"{config.data}: no training trace (--tasks {config.tasks or 'all'})")
    train = [to_trace(row) for row in splits["train"][: config.n_train]]
    val = [to_trace(row) for row in splits["val"][: config.n_val]]
    test_rows = {row["question"]: row for row in splits["test"]}
    return train, val, list(test_rows.values())[: config.n_test], None


def load_embedded(config):
    """`load_data` for the embedded teacher: traces are generated, then annotated."""
    tasks = prepare.parse_tasks(config.tasks or prepare.DEFAULT_TASKS, config.forks)
    folder = Path(prepare.__file__).parent
    if not (folder / "test.jsonl").exists() and not parallel.RANK:  # to read, and for --eval
        prepare.main(["--n_train", "0", "--out_dir", str(folder)])
    try:
        train = prepare.rows(tasks, "train", config.n_train, config.seed, forks=config.forks)
        val = prepare.rows(tasks, "val", config.n_val, forks=config.forks)
        test = prepare.rows(tasks, "test", config.n_test, forks=config.forks)
    except ValueError as e:  # a family with few short problems ran dry
        raise UserError(str(e)) from None
    gold = {row["id"]: signals for row, signals in train}
    rows, annotation = annotate([row for row, _ in train], gold=gold)
    val_rows, _ = annotate([row for row, _ in val], weight=annotation["classifier"])
    traces = [to_trace(row) for row in rows]
    val_traces = [to_trace(row) for row in val_rows]
    if config.labels == "gold":
        for trace, (_, signals) in zip(traces + val_traces, train + val, strict=True):
            set_signals(trace, signals)
    return traces, val_traces, [row for row, _ in test], annotation


def set_signals(trace, signals):
    """Give the trace new steps, which have these signals; views of a trace share the old ones."""
    pairs = zip(signals, trace.steps, strict=True)
    trace.steps = [Step(signal, step.text) for signal, step in pairs]


def relabel(traces, config):
    """Give the steps the signals of --classes or, with --shuffle, those of other steps."""
    for trace in traces:
        set_signals(trace, taxonomy([step.signal for step in trace.steps], config.classes))
    if config.shuffle:
        steps = [step for trace in traces for step in trace.steps]
        rng = np.random.default_rng(config.seed)
        shuffled = rng.permutation([step.signal for step in steps]).tolist()
        for step, signal in zip(steps, shuffled, strict=True):
            step.signal = signal
